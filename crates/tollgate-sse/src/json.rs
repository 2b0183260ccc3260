//! A walk over JSON text that checks its whole grammar and knows where everything stands.
//!
//! Nothing is decoded and nothing is kept: what a caller wants to know is told as spans of the
//! text. There is no recursion over input; nesting is bounded.

use std::{borrow::Cow, ops::Range};

use crate::text;

/// The text is not JSON, or is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// One pass over one JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(json: &'a str) -> Self {
        Self {
            json: json.as_bytes(),
            at: 0,
        }
    }

    /// The first byte of the next token, which is not consumed; white space in front of it is.
    pub(crate) fn peek(&mut self) -> Result<u8, Invalid> {
        while let Some(&byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Invalid)
    }

    /// The position of the next byte.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Enters the object or array that [`peek`](Self::peek) has found.
    pub(crate) fn enter(&mut self) -> Items {
        self.at += 1;
        Items { fresh: true }
    }

    /// The next key of an object; its value follows. `None`: the object has been left.
    pub(crate) fn member(&mut self, items: &mut Items) -> Result<Option<Key<'a>>, Invalid> {
        if self.leave_or_comma(items, b'}')? {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Moves to the next element of an array. `false`: the array has been left.
    pub(crate) fn element(&mut self, items: &mut Items) -> Result<bool, Invalid> {
        if self.leave_or_comma(items, b']')? {
            return Ok(false);
        }
        self.peek()?;
        Ok(true)
    }

    /// Passes over a value of any kind; says where it stood.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, Invalid> {
        self.peek()?;
        let start = self.at;
        // One bit for each open container: is it an object?
        let mut objects = 0u128;
        let mut depth = 0u32;
        loop {
            match self.peek()? {
                open @ (b'{' | b'[') => {
                    let object = open == b'{';
                    self.at += 1;
                    if self.peek()? == closing(object) {
                        self.at += 1;
                    } else {
                        depth += 1;
                        if depth > MAX_DEPTH {
                            return Err(Invalid);
                        }
                        objects = objects << 1 | u128::from(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                if depth == 0 {
                    return Ok(start..self.at);
                }
                let object = objects & 1 == 1;
                let byte = self.peek()?;
                self.at += 1;
                if byte == b',' {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                if byte != closing(object) {
                    return Err(Invalid);
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// Passes over a string; says where its inside stood.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, Invalid> {
        self.text().map(|(inside, _)| inside)
    }

    /// The same, and how many bytes its text has.
    pub(crate) fn text(&mut self) -> Result<(Range<usize>, u64), Invalid> {
        if self.peek()? != b'"' {
            return Err(Invalid);
        }
        let start = self.at + 1;
        let inside = self.json.get(start..).ok_or(Invalid)?;
        let read = text::read(inside).ok_or(Invalid)?;
        let end = start + read.length;
        self.at = end + 1;
        Ok((start..end, read.text_bytes))
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Ok(_) => Err(Invalid),
            Err(Invalid) => Ok(()),
        }
    }

    fn leave_or_comma(&mut self, items: &mut Items, close: u8) -> Result<bool, Invalid> {
        let byte = self.peek()?;
        if byte == close {
            self.at += 1;
            return Ok(true);
        }
        if !std::mem::take(&mut items.fresh) {
            if byte != b',' {
                return Err(Invalid);
            }
            self.at += 1;
        }
        Ok(false)
    }

    fn key(&mut self) -> Result<Key<'a>, Invalid> {
        let inside = self.string()?;
        let key = Key {
            start: inside.start - 1,
            raw: self.json.get(inside).ok_or(Invalid)?,
        };
        if self.peek()? != b':' {
            return Err(Invalid);
        }
        self.at += 1;
        self.peek()?;
        Ok(key)
    }

    fn scalar(&mut self) -> Result<(), Invalid> {
        let rest = self.json.get(self.at..).ok_or(Invalid)?;
        let length = match rest.first() {
            Some(b'"') => return self.string().map(drop),
            Some(b't') if rest.starts_with(b"true") => 4,
            Some(b'f') if rest.starts_with(b"false") => 5,
            Some(b'n') if rest.starts_with(b"null") => 4,
            Some(b'-' | b'0'..=b'9') => number_length(rest).ok_or(Invalid)?,
            _ => return Err(Invalid),
        };
        self.at += length;
        Ok(())
    }
}

/// How far the walk through one object or array has come.
#[derive(Debug)]
pub(crate) struct Items {
    fresh: bool,
}

/// A member's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    /// Where its opening quote stands.
    pub(crate) start: usize,
    raw: &'a [u8],
}

impl<'a> Key<'a> {
    /// The name that the key spells, whatever escapes it uses for it.
    pub(crate) fn name(&self) -> Cow<'a, [u8]> {
        if memchr::memchr(b'\\', self.raw).is_none() {
            return Cow::Borrowed(self.raw);
        }
        let mut quoted = Vec::with_capacity(self.raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.raw);
        quoted.push(b'"');
        // What no decoder can read is no name that we know.
        let name = serde_json::from_slice::<String>(&quoted).unwrap_or_default();
        Cow::Owned(name.into_bytes())
    }
}

fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    at += match (text.get(at)?, digits(at)) {
        (_, 0) => return None,
        // A number may not begin with a zero, unless that is all.
        (b'0', _) => 1,
        (_, count) => count,
    };
    if text.get(at) == Some(&b'.') {
        match digits(at + 1) {
            0 => return None,
            count => at += 1 + count,
        }
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let signed = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        match digits(at + 1 + signed) {
            0 => return None,
            count => at += 1 + signed + count,
        }
    }
    Some(at)
}

const fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// As deep as other parsers go; bounded by the bits that remember it.
const MAX_DEPTH: u32 = 127;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(json: &str) -> bool {
        let mut scanner = Scanner::new(json);
        scanner.skip().is_ok() && scanner.end().is_ok()
    }

    #[test]
    fn the_grammar_is_the_grammar() {
        for good in [
            "0",
            "-0",
            "1.5",
            "-1e3",
            "10E+20",
            "1e-7",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            " [ 1 , {\"a\" : [ ] } ] ",
            r#""\u00e9\n\"""#,
            "[[],[[]],{}]",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "{]",
            "1 2",
            "{}}",
            "[",
            "\u{feff}{}",
            "NaN",
            "'a'",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn depth_is_bounded_without_a_stack() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(&nested(127)));
        assert!(!accepts(&nested(129)));
        assert!(!accepts(&"[".repeat(1 << 20)));
        assert!(!accepts(&"{\"a\":".repeat(1 << 18)));
    }

    #[test]
    fn a_key_is_known_by_its_name() {
        let mut scanner = Scanner::new(r#"{"\u0075sage":1}"#);
        assert_eq!(scanner.peek(), Ok(b'{'));
        let mut items = scanner.enter();
        let key = scanner.member(&mut items).unwrap().unwrap();
        assert_eq!(&*key.name(), b"usage");
        assert_eq!(key.start, 1);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(json in "[\\[\\]{},:\"\\\\a1e.\\-0u \n]{0,16}") {
            prop_assert_eq!(accepts(&json), serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok());
        }
    }
}
