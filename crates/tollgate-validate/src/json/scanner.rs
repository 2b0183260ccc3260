//! One pass over a JSON text, one token at a time, without recursion.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::{Number, Text};

/// Reads a JSON text from front to back.
///
/// [`value`](Self::value) reads a scalar whole and of a container only its opening bracket; what
/// follows is fetched by [`next_member`](Self::next_member) or [`next_item`](Self::next_item) until
/// they say that the container is closed. Everything read is checked: grammar, escapes and their
/// surrogates, depth, the number of values.
#[derive(Clone, Copy)]
pub(crate) struct Scanner<'j> {
    json: &'j str,
    at: usize,
    /// Whether a container has just been opened, so that no comma is due.
    opened: bool,
    depth: u32,
    /// One bit for each open container, the innermost lowest: set for objects.
    objects: u64,
    values_left: usize,
}

/// A scalar, or the beginning of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'j> {
    Null,
    Bool(bool),
    Number(Number<'j>),
    String(Text<'j>),
    Array,
    Object,
}

/// Why a text was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It is not JSON.
    Syntax,
    /// It is nested more deeply than [`Scanner::MAX_DEPTH`].
    TooDeep,
    /// It has more values than allowed.
    TooManyValues,
}

type Result<T> = std::result::Result<T, Malformed>;

impl<'j> Scanner<'j> {
    /// How many containers may be open at once, the outermost included.
    pub(crate) const MAX_DEPTH: u32 = 64;

    pub(crate) const fn new(json: &'j str, max_values: usize) -> Self {
        Self {
            json,
            at: 0,
            opened: false,
            depth: 0,
            objects: 0,
            values_left: max_values,
        }
    }

    /// How far the text has been read.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Moves to the next value and says where it begins.
    pub(crate) fn value_start(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Reads a scalar, or opens a container.
    pub(crate) fn value(&mut self) -> Result<Value<'j>> {
        self.skip_space();
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(Malformed::TooManyValues)?;
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.open(true).map(|()| Value::Object),
            Some(b'[') => self.open(false).map(|()| Value::Array),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(Malformed::Syntax),
        }
    }

    /// Reads the next key of the innermost container, which is an object, and the colon behind
    /// it; closes the object if there is none.
    pub(crate) fn next_member(&mut self) -> Result<Option<Text<'j>>> {
        if !self.next_in_container(b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        self.skip_space();
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// Whether the innermost container, which is an array, has another item; closes it if not.
    pub(crate) fn next_item(&mut self) -> Result<bool> {
        self.next_in_container(b']')
    }

    /// Whether the innermost container is an object.
    pub(crate) const fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Malformed::Syntax),
        }
    }

    fn open(&mut self, object: bool) -> Result<()> {
        if self.depth >= Self::MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.depth = self.depth.saturating_add(1);
        self.objects = (self.objects << 1) | u64::from(object);
        self.opened = true;
        self.advance(1);
        Ok(())
    }

    fn next_in_container(&mut self, close: u8) -> Result<bool> {
        self.skip_space();
        let first = std::mem::take(&mut self.opened);
        match self.peek() {
            Some(b) if b == close => {
                self.depth = self.depth.saturating_sub(1);
                self.objects >>= 1;
                self.advance(1);
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.advance(1);
                self.skip_space();
                Ok(true)
            }
            _ => Err(Malformed::Syntax),
        }
    }

    fn word(&mut self, word: &str, value: Value<'j>) -> Result<Value<'j>> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(Malformed::Syntax);
        }
        self.advance(word.len());
        Ok(value)
    }

    fn string(&mut self) -> Result<Text<'j>> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = plain_run(self.json.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                // The end, or a control character.
                _ => return Err(Malformed::Syntax),
            }
        }
        let raw = self.json.get(start..self.at).ok_or(Malformed::Syntax)?;
        self.advance(1);
        Ok(Text::new(raw, start, escaped))
    }

    fn escape(&mut self) -> Result<()> {
        self.advance(1);
        let kind = self.peek();
        self.advance(1);
        match kind {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.hex4()? {
                0xD800..=0xDBFF => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    match self.hex4()? {
                        0xDC00..=0xDFFF => Ok(()),
                        _ => Err(Malformed::Syntax),
                    }
                }
                0xDC00..=0xDFFF => Err(Malformed::Syntax),
                _ => Ok(()),
            },
            _ => Err(Malformed::Syntax),
        }
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            code = (code << 4) | digit.ok_or(Malformed::Syntax)?;
            self.advance(1);
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Number<'j>> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.advance(1);
        }
        match self.peek() {
            Some(b'0') => self.advance(1),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.advance(1);
            self.digits()?;
        }
        let mut can_be_infinite = self.at.saturating_sub(start) > LONGEST_SURELY_FINITE;
        if let Some(b'e' | b'E') = self.peek() {
            self.advance(1);
            if let Some(b'+' | b'-') = self.peek() {
                self.advance(1);
            }
            self.digits()?;
            can_be_infinite = true;
        }
        let number = Number::new(self.json.get(start..self.at).ok_or(Malformed::Syntax)?);
        // Some readers make infinity of such a number, others fail.
        if can_be_infinite && number.as_f64().is_infinite() {
            return Err(Malformed::Syntax);
        }
        Ok(number)
    }

    fn digits(&mut self) -> Result<()> {
        let digits = self.rest().iter().take_while(|b| b.is_ascii_digit());
        match digits.count() {
            0 => Err(Malformed::Syntax),
            count => {
                self.advance(count);
                Ok(())
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(Malformed::Syntax);
        }
        self.advance(1);
        Ok(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.advance(1);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'j [u8] {
        self.json.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }
}

// The largest finite double has 309 digits.
const LONGEST_SURELY_FINITE: usize = 300;

const LOW_BITS: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// The position of the next byte that means something inside a string: a quote, a backslash or a
/// control character; the end if there is none.
///
/// Eight bytes at a time: a byte is smaller than `n` where subtracting `n` borrows from its high
/// bit, which was not set before; and a byte equals `n` where their difference is smaller than 1.
/// Borrows run towards later bytes only, so the first one found is always right.
fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(chunk);
        let less_than = |word: u64, n: u8| {
            word.wrapping_sub(LOW_BITS.wrapping_mul(u64::from(n))) & !word & HIGH_BITS
        };
        let equals = |n: u8| less_than(word ^ LOW_BITS.wrapping_mul(u64::from(n)), 1);
        let found = less_than(word, b' ') | equals(b'"') | equals(b'\\');
        if found != 0 {
            return at.saturating_add(found.trailing_zeros() as usize / 8);
        }
        at = at.saturating_add(8);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let plain = |b: &u8| *b >= b' ' && *b != b'"' && *b != b'\\';
    at.saturating_add(rest.iter().take_while(|b| plain(b)).count())
}

#[cfg(test)]
mod tests;
