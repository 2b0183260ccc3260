//! Strings as they stand in the body.

use std::{borrow::Cow, cmp::Ordering, ops::Range};

/// The inside of a JSON string whose escapes are known to be good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'j> {
    raw: &'j str,
    start: usize,
    escaped: bool,
}

impl<'j> Text<'j> {
    pub(crate) const fn new(raw: &'j str, start: usize, escaped: bool) -> Self {
        Self {
            raw,
            start,
            escaped,
        }
    }

    /// Where the inside of the quotes stands in the body.
    pub(crate) fn range(self) -> Range<usize> {
        self.start..self.start.saturating_add(self.raw.len())
    }

    /// Whether it has escapes.
    pub(crate) const fn is_escaped(self) -> bool {
        self.escaped
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// What the string says.
    pub(crate) fn unescaped(self) -> Cow<'j, str> {
        if self.escaped {
            Cow::Owned(self.chars().collect())
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// What the string says, for comparing without a copy.
    pub(crate) fn chars(self) -> impl Iterator<Item = char> + 'j {
        Unescape {
            chars: self.raw.chars(),
        }
    }

    /// The number of characters, as JSON Schema counts them.
    pub(crate) fn len_chars(self) -> usize {
        if self.escaped {
            self.chars().count()
        } else {
            self.raw.chars().count()
        }
    }

    /// Whether it has more characters than this; reads no more than it must.
    pub(crate) fn is_longer_than(self, max_chars: usize) -> bool {
        self.raw.len() > max_chars && self.chars().nth(max_chars).is_some()
    }

    pub(crate) fn is(self, other: &str) -> bool {
        if self.escaped {
            self.chars().eq(other.chars())
        } else {
            self.raw == other
        }
    }

    /// An order in which equal texts are neighbours, however they are spelt.
    pub(crate) fn order(self, other: Text<'_>) -> Ordering {
        if self.escaped || other.escaped {
            self.chars().cmp(other.chars())
        } else {
            self.raw.cmp(other.raw)
        }
    }

    pub(crate) fn same_as(self, other: Text<'_>) -> bool {
        if self.escaped || other.escaped {
            self.chars().eq(other.chars())
        } else {
            self.raw == other.raw
        }
    }
}

struct Unescape<'j> {
    chars: std::str::Chars<'j>,
}

impl Unescape<'_> {
    fn hex4(&mut self) -> u32 {
        let digits = self.chars.by_ref().take(4);
        digits.fold(0, |code, c| {
            (code << 4) | c.to_digit(16).unwrap_or_default()
        })
    }
}

impl Iterator for Unescape<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c != '\\' {
            return Some(c);
        }
        Some(match self.chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut code = self.hex4();
                if (0xD800..0xDC00).contains(&code) {
                    // The scanner has seen to it that the other half follows.
                    self.chars.nth(1);
                    let low = self.hex4();
                    code = 0x1_0000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            c => c,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let text = Text::new(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\uDE80z"#, 0, true);
        assert_eq!(text.unescaped(), "a\"\\/\u{8}\u{c}\n\r\té\u{1F680}z");
        assert_eq!(text.len_chars(), 12);
        assert!(text.is_longer_than(11) && !text.is_longer_than(12));
    }

    #[test]
    fn spelling_does_not_matter_to_equality() {
        let escaped = Text::new(r"\u006dodel", 0, true);
        assert!(escaped.is("model") && !escaped.is("models") && !escaped.is("mode"));
        assert!(escaped.same_as(Text::new("model", 9, false)));
    }
}
