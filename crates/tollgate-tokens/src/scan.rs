//! What one pass over a text tells about its tokens, without a vocabulary.

use tollgate_core::TokenBounds;

use crate::{Encoding, features::*};

/// What was found in some texts.
///
/// Both encodings first cut a text into pieces, and no token crosses a cut. A piece has at most
/// three digits, and at most one run of ASCII letters unless the second follows an apostrophe
/// (`don't`) or something that is not ASCII and may be a letter itself. So the runs and digits
/// that follow something else are no more than the pieces, and each piece has a token at least. A
/// token has 1 to 128 bytes.
pub(crate) struct Scan {
    bytes: u64,
    /// Pieces that the texts have at least.
    pieces: u64,
    /// How often each feature occurs that costs tokens.
    counts: [u32; FEATURES],
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self {
            bytes: 0,
            pieces: 0,
            counts: [0; FEATURES],
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut scan = Self::new();
        scan.add(text.as_bytes());
        scan
    }

    /// Bounds of the tokens of all texts, and an estimate between them.
    pub(crate) fn bounds(&self, encoding: Encoding) -> TokenBounds {
        let lower = self.pieces.max(self.bytes.div_ceil(LONGEST_TOKEN));
        let costs = self.counts.iter().zip(weights(encoding));
        let thousandths: i64 = costs.map(|(n, w)| i64::from(*n) * i64::from(*w)).sum();
        let estimate = u64::try_from(thousandths).unwrap_or(0).div_ceil(1_000);
        TokenBounds::new(lower, estimate, self.bytes)
    }

    /// Adds a text, UTF-8 if the bounds are to mean anything.
    pub(crate) fn add(&mut self, text: &[u8]) {
        self.bytes += text.len() as u64;
        let mut at = 0;
        while let Some(&first) = text.get(at) {
            let before = at.checked_sub(1).map(|i| text[i]);
            let rest = &text[at..];
            at += match first {
                b'A'..=b'Z' | b'a'..=b'z' => self.word(before, rest),
                b'0'..=b'9' => self.digits(before, rest),
                b'\n' | b'\r' => self.newlines(before, rest),
                b' ' | b'\t' | 0x0b | 0x0c => self.spaces(rest),
                b'!'..=b'~' => self.punctuation(rest),
                0x80.. => self.other(before, rest),
                _ => {
                    self.counts[CONTROLS] += 1;
                    1
                }
            };
        }
    }

    /// One word: letters up to a capital that follows a small letter.
    fn word(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let mut length = 1;
        while let Some(&letter) = rest.get(length) {
            let camel = letter.is_ascii_uppercase() && rest[length - 1].is_ascii_lowercase();
            if !letter.is_ascii_alphabetic() || camel {
                break;
            }
            length += 1;
        }
        let mut capitals = 0;
        for letter in &rest[..length] {
            self.counts[LETTERS + usize::from((letter | 0x20) - b'a')] += 1;
            capitals += u32::from(letter.is_ascii_uppercase());
        }
        self.counts[CAPITALS] += capitals.saturating_sub(u32::from(rest[0].is_ascii_uppercase()));
        match length {
            1..=12 => self.counts[length - 1] += 1,
            _ => {
                self.counts[LONG_WORD] += 1;
                self.counts[LONG_WORD_LETTERS] += (length - 12) as u32;
            }
        }
        match before {
            Some(0x80..) => self.counts[WORD_AFTER_OTHER] += 1,
            Some(b'\'') => {}
            // A hump of one run of letters.
            Some(letter) if letter.is_ascii_alphabetic() => {}
            _ => self.pieces += 1,
        }
        length
    }

    fn digits(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let length = run(rest, u8::is_ascii_digit);
        let groups = length.div_ceil(3);
        self.counts[DIGITS] += groups as u32;
        if before.is_none_or(|b| b.is_ascii()) {
            self.pieces += groups as u64;
        }
        length
    }

    fn newlines(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let after_punctuation = before.is_some_and(|b| b.is_ascii_punctuation());
        self.counts[if after_punctuation {
            NEWLINES_AFTER_PUNCTUATION
        } else {
            NEWLINES
        }] += 1;
        run(rest, |b| matches!(b, b'\n' | b'\r'))
    }

    fn spaces(&mut self, rest: &[u8]) -> usize {
        let length = run(rest, |b| matches!(b, b' ' | b'\t' | 0x0b | 0x0c));
        let next = rest.get(length);
        match (length, next) {
            // They are part of the line's end.
            (_, Some(b'\n' | b'\r')) => {}
            (1, Some(b'0'..=b'9') | None) => self.counts[SPACE_BEFORE_DIGIT] += 1,
            (1, Some(0x80..)) => self.counts[SPACE_BEFORE_OTHER] += 1,
            (1, _) => {}
            _ => {
                self.counts[SPACES] += 1;
                self.counts[SPACES_MORE] += (length / 64) as u32;
            }
        }
        length
    }

    fn punctuation(&mut self, rest: &[u8]) -> usize {
        let length = run(rest, u8::is_ascii_punctuation);
        let repeated = rest[..length].windows(2).filter(|p| p[0] == p[1]).count();
        if length == 1 && rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
            self.counts[PUNCTUATION_BEFORE_WORD] += 1;
        } else {
            self.counts[PUNCTUATION] += 1;
        }
        self.counts[PUNCTUATION_MORE] += (length - 1 - repeated) as u32;
        self.counts[PUNCTUATION_REPEATED] += repeated.min(16) as u32;
        self.counts[PUNCTUATION_LONG] += repeated.saturating_sub(16) as u32;
        length
    }

    /// One character beyond ASCII; its continuation bytes are skipped.
    fn other(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let (feature, length) = script(rest);
        self.counts[feature] += 1;
        if before.is_some_and(|b| b.is_ascii_alphabetic()) {
            self.counts[OTHER_AFTER_ASCII] += 1;
        }
        length
    }
}

/// Of both vocabularies, special tokens apart, in bytes.
pub(crate) const LONGEST_TOKEN: u64 = 128;

fn run(rest: &[u8], of: impl Fn(&u8) -> bool) -> usize {
    rest.iter().position(|b| !of(b)).unwrap_or(rest.len())
}
