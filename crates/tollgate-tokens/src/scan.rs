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
    weights: &'static Weights,
    /// What was found so far costs, in thousandths of a token.
    cost: i64,
    bytes: u64,
    /// Pieces that the texts have at least.
    pieces: u64,
}

impl Scan {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            weights: weights(encoding),
            cost: 0,
            bytes: 0,
            pieces: 0,
        }
    }

    pub(crate) fn of(text: &str, encoding: Encoding) -> TokenBounds {
        let mut scan = Self::new(encoding);
        scan.add(text.as_bytes());
        scan.bounds()
    }

    /// Bounds of the tokens of all texts, and an estimate between them.
    pub(crate) fn bounds(&self) -> TokenBounds {
        let lower = self.pieces.max(self.bytes.div_ceil(LONGEST_TOKEN));
        let estimate = u64::try_from(self.cost).unwrap_or(0).div_ceil(1_000);
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
                    self.found(CONTROLS, 1);
                    1
                }
            };
        }
    }

    /// One word: letters up to a capital that follows a small letter.
    fn word(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let (mut length, mut capitals, mut letters) = (0, 0, 0);
        for &letter in rest.iter().take_while(|byte| byte.is_ascii_alphabetic()) {
            let is_capital = letter.is_ascii_uppercase();
            if is_capital && length > 0 {
                if rest[length - 1].is_ascii_lowercase() {
                    break;
                }
                capitals += 1;
            }
            // The last five bits are the place in the alphabet.
            letters += i64::from(self.weights.letters[usize::from(letter & 31)]);
            length += 1;
        }
        self.cost += letters;
        self.found(CAPITALS, capitals);
        match length {
            ..=LONG_WORD => self.found(length - 1, 1),
            _ => {
                self.found(LONG_WORD, 1);
                self.found(LONG_WORD_LETTERS, length - LONG_WORD);
            }
        }
        match before {
            Some(0x80..) => self.found(WORD_AFTER_OTHER, 1),
            Some(b'\'') => {}
            // A hump of a run of letters.
            Some(letter) if letter.is_ascii_alphabetic() => {}
            _ => self.pieces += 1,
        }
        length
    }

    fn digits(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let length = run(rest, u8::is_ascii_digit);
        let groups = length.div_ceil(3);
        self.found(DIGITS, groups);
        if before.is_none_or(|b| b.is_ascii()) {
            self.pieces += groups as u64;
        }
        length
    }

    fn newlines(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let after_punctuation = before.is_some_and(|b| b.is_ascii_punctuation());
        self.found(
            if after_punctuation {
                NEWLINES_AFTER_PUNCTUATION
            } else {
                NEWLINES
            },
            1,
        );
        run(rest, |b| matches!(b, b'\n' | b'\r'))
    }

    fn spaces(&mut self, rest: &[u8]) -> usize {
        let length = run(rest, |b| matches!(b, b' ' | b'\t' | 0x0b | 0x0c));
        let next = rest.get(length);
        match (length, next) {
            // They are part of the line's end.
            (_, Some(b'\n' | b'\r')) => {}
            (1, Some(b'0'..=b'9') | None) => self.found(SPACE_BEFORE_DIGIT, 1),
            (1, Some(0x80..)) => self.found(SPACE_BEFORE_OTHER, 1),
            (1, _) => {}
            _ => {
                self.found(SPACES, 1);
                self.found(SPACES_MORE, length / 64);
            }
        }
        length
    }

    fn punctuation(&mut self, rest: &[u8]) -> usize {
        let length = run(rest, u8::is_ascii_punctuation);
        let repeated = rest[..length].windows(2).filter(|p| p[0] == p[1]).count();
        if length == 1 && rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
            self.found(PUNCTUATION_BEFORE_WORD, 1);
        } else {
            self.found(PUNCTUATION, 1);
        }
        self.found(PUNCTUATION_MORE, length - 1 - repeated);
        self.found(PUNCTUATION_REPEATED, repeated.min(16));
        self.found(PUNCTUATION_LONG, repeated.saturating_sub(16));
        length
    }

    /// One character beyond ASCII; its continuation bytes are skipped.
    fn other(&mut self, before: Option<u8>, rest: &[u8]) -> usize {
        let (feature, length) = script(rest);
        self.found(feature, 1);
        if before.is_some_and(|b| b.is_ascii_alphabetic()) {
            self.found(OTHER_AFTER_ASCII, 1);
        }
        length
    }

    fn found(&mut self, feature: usize, times: usize) {
        self.cost += i64::from(self.weights.features[feature]) * times as i64;
    }
}

/// Of both vocabularies, special tokens apart, in bytes.
pub(crate) const LONGEST_TOKEN: u64 = 128;

fn run(rest: &[u8], of: impl Fn(&u8) -> bool) -> usize {
    rest.iter().position(|b| !of(b)).unwrap_or(rest.len())
}
