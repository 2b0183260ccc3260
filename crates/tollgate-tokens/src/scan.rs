//! What one pass over a text tells about its tokens, without a vocabulary.

use tollgate_core::TokenBounds;

use crate::Encoding;

/// Bounds of a text's tokens, and an estimate between them.
///
/// Both encodings first cut a text into pieces, and no token crosses a cut. A piece has at most
/// three digits, and at most one run of ASCII letters unless the second follows an apostrophe
/// (`don't`) or something that is not ASCII and may be a letter itself. So the runs and digits
/// that follow something else are fewer than the pieces, and each piece has a token at least. A
/// token has 1 to 128 bytes.
pub(crate) fn bounds(text: &str, encoding: Encoding) -> TokenBounds {
    let scan = Scan::of(text.as_bytes());
    let bytes = text.len() as u64;
    let lower = scan.pieces.max(bytes.div_ceil(128));
    TokenBounds::new(lower, scan.estimate(encoding), bytes)
}

/// How often each feature occurs that costs tokens.
pub(crate) struct Scan {
    /// Pieces that the text has at least.
    pieces: u64,
    counts: [u32; FEATURES],
}

const FEATURES: usize = 41;

// Runs of 1 to 12 ASCII letters have their own features; longer ones pay by the letter.
const LONG_WORD: usize = 12;
const LONG_WORD_LETTERS: usize = 13;
const DIGITS: usize = 14;
const SPACE_BEFORE_DIGIT: usize = 15;
const SPACE_BEFORE_OTHER: usize = 16;
const SPACES: usize = 17;
const NEWLINES_AFTER_PUNCTUATION: usize = 18;
const NEWLINES: usize = 19;
const PUNCTUATION: usize = 20;
const PUNCTUATION_MORE: usize = 21;
const PUNCTUATION_REPEATED: usize = 22;
const PUNCTUATION_BEFORE_WORD: usize = 23;
const LATIN: usize = 24;
const CYRILLIC_GREEK: usize = 25;
const HEBREW_ARABIC: usize = 26;
const INDIC: usize = 27;
const SYMBOLS: usize = 28;
const KANA: usize = 29;
const HAN: usize = 30;
const HANGUL: usize = 31;
const PRIVATE_AND_WIDE: usize = 32;
const ASTRAL: usize = 33;
const WORD_AFTER_OTHER: usize = 34;
const CAPITALS: usize = 35;
const OTHER_AFTER_ASCII: usize = 36;
const CONTROLS: usize = 37;
const SPACES_MORE: usize = 38;
const PUNCTUATION_LONG: usize = 39;
const LATIN_MORE: usize = 40;

impl Scan {
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut scan = Self {
            pieces: 0,
            counts: [0; FEATURES],
        };
        let mut at = 0;
        while let Some(&first) = text.get(at) {
            let before = at.checked_sub(1).map(|i| text[i]);
            let rest = &text[at..];
            at += match first {
                b'A'..=b'Z' | b'a'..=b'z' => scan.word(before, rest),
                b'0'..=b'9' => scan.digits(before, rest),
                b'\n' | b'\r' => scan.newlines(before, rest),
                b' ' | b'\t' | 0x0b | 0x0c => scan.spaces(rest),
                b'!'..=b'~' => scan.punctuation(rest),
                0x80.. => scan.other(before, rest),
                _ => {
                    scan.counts[CONTROLS] += 1;
                    1
                }
            };
        }
        scan
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
        let capitals = rest[..length].iter().skip(1);
        self.counts[CAPITALS] += capitals.filter(|b| b.is_ascii_uppercase()).count() as u32;
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
        let (feature, length) = match rest[0] {
            0xc2..=0xcb => (LATIN, 2),
            0xcc..=0xd5 => (CYRILLIC_GREEK, 2),
            0xd6..=0xdf => (HEBREW_ARABIC, 2),
            0xe0 => (INDIC, 3),
            0xe1 => (LATIN_MORE, 3),
            0xe2 => (SYMBOLS, 3),
            0xe3 => (KANA, 3),
            0xe4..=0xe9 => (HAN, 3),
            0xea..=0xed => (HANGUL, 3),
            0xee..=0xef => (PRIVATE_AND_WIDE, 3),
            _ => (ASTRAL, 4),
        };
        self.counts[feature] += 1;
        if before.is_some_and(|b| b.is_ascii_alphabetic()) {
            self.counts[OTHER_AFTER_ASCII] += 1;
        }
        length
    }

    fn estimate(&self, encoding: Encoding) -> u64 {
        let weights = match encoding {
            Encoding::Cl100kBase => &CL100K,
            Encoding::O200kBase => &O200K,
        };
        let costs = self.counts.iter().zip(weights);
        let millis: i64 = costs.map(|(n, w)| i64::from(*n) * i64::from(*w)).sum();
        u64::try_from(millis).unwrap_or(0).div_ceil(1_000)
    }
}

fn run(rest: &[u8], of: impl Fn(&u8) -> bool) -> usize {
    rest.iter().position(|b| !of(b)).unwrap_or(rest.len())
}

// In thousandths of a token.
const CL100K: [i32; FEATURES] = [1000; FEATURES];
const O200K: [i32; FEATURES] = [1000; FEATURES];
