//! The texts of a prompt, looked at as far as a cap allows.

use tollgate_core::{InputKind, TokenBounds, TokenInput};

use crate::{
    Encoding,
    scan::{LONGEST_TOKEN, Scan},
    text::plain,
};

/// Whose habits are assumed of other vocabularies.
pub(crate) const UNKNOWN: Encoding = Encoding::Cl100kBase;

/// What is known of texts of which at most `cap` bytes together are looked at.
pub(crate) struct Survey {
    is_known: bool,
    cap: usize,
    roles: u64,
    scan: Scan,
    seen_bytes: u64,
    unseen_bytes: u64,
    /// What is left of the unseen ones when their escapes are resolved, at least.
    fewest_unseen_bytes: u64,
    cuts: u64,
}

impl Survey {
    pub(crate) fn new(encoding: Option<Encoding>, cap: usize) -> Self {
        Self {
            is_known: encoding.is_some(),
            cap,
            roles: 0,
            scan: Scan::new(encoding.unwrap_or(UNKNOWN)),
            seen_bytes: 0,
            unseen_bytes: 0,
            fewest_unseen_bytes: 0,
            cuts: 0,
        }
    }

    pub(crate) fn add(&mut self, input: &TokenInput) {
        if let Some(tokens) = role_tokens(input) {
            self.roles += tokens;
            return;
        }
        let seen = beginning(input, self.cap);
        self.cap -= seen.len();
        if input.escaped && seen.contains(&b'\\') {
            self.scan.add(plain(seen, true).as_bytes());
        } else {
            self.scan.add(seen);
        }
        self.seen_bytes += seen.len() as u64;
        let unseen = (input.text.len() - seen.len()) as u64;
        if unseen > 0 {
            self.cuts += u64::from(!seen.is_empty());
            self.unseen_bytes += unseen;
            // An escape makes six bytes of one.
            self.fewest_unseen_bytes += if input.escaped { unseen / 6 } else { unseen };
        }
    }

    /// Bounds of the tokens of all texts; of an unknown vocabulary only the upper one is certain.
    pub(crate) fn bounds(&self) -> TokenBounds {
        let seen = self.scan.bounds();
        // What is unseen is like the rest. The piece at a cut may be one with what follows.
        let unseen = match self.seen_bytes {
            0 => self.unseen_bytes.div_ceil(3),
            bytes => seen.estimate.saturating_mul(self.unseen_bytes) / bytes,
        };
        let lower = seen.lower.saturating_sub(self.cuts) + self.fewest_unseen_bytes / LONGEST_TOKEN;
        TokenBounds::new(
            if self.is_known { self.roles + lower } else { 0 },
            self.roles
                .saturating_add(seen.estimate)
                .saturating_add(unseen),
            self.roles + seen.upper + self.unseen_bytes,
        )
    }
}

/// A role that is one token in both vocabularies, as all of OpenAI's are.
pub(crate) fn role_tokens(input: &TokenInput) -> Option<u64> {
    let is_one_token = input.kind == InputKind::Role
        && matches!(
            &*input.text,
            b"assistant" | b"developer" | b"function" | b"system" | b"tool" | b"user"
        );
    is_one_token.then_some(1)
}

/// The beginning of a text, up to `cap` bytes and not cut within a character or an escape.
fn beginning(input: &TokenInput, cap: usize) -> &[u8] {
    let text = &*input.text;
    if text.len() <= cap {
        return text;
    }
    let mut end = cap;
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    if input.escaped {
        // The longest escape is a pair of surrogates. A cut is safe before a backslash that no
        // other escapes.
        let start = end.saturating_sub(LONGEST_ESCAPE);
        if let Some(at) = text[start..end].iter().position(|b| *b == b'\\') {
            let before = text[..start + at].iter().rev();
            let is_escaped = before.take_while(|b| **b == b'\\').count() % 2 == 1;
            end = start + at - usize::from(is_escaped);
        }
    }
    &text[..end]
}

const LONGEST_ESCAPE: usize = 12;

#[cfg(test)]
mod tests {
    use tollgate_core::ChatRequest;

    use super::*;

    fn input(kind: InputKind, text: &str, escaped: bool) -> TokenInput {
        let request = ChatRequest::builder("m").text(kind, text.to_owned(), escaped);
        request.build().inputs().texts()[0].clone()
    }

    #[test]
    fn a_text_is_cut_between_characters_and_escapes() {
        for (text, escaped, cap, seen) in [
            ("abc", true, 3, "abc"),
            ("a中c", false, 3, "a"),
            ("a中c", false, 4, "a中"),
            (r"abc\n", false, 4, r"abc\"),
            (r"abc\n", true, 4, "abc"),
            (r"abc\n", true, 5, r"abc\n"),
            (r"abc\ndefghijklmnop", true, 17, r"abc\ndefghijklmno"),
            (r"a\\\\b", true, 3, "a"),
            (r"a\\\\bcdefghijklmno", true, 17, r"a\\\\bcdefghijklm"),
            (r"0\ud83d\udc69.", true, 12, "0"),
            (r"\\\", true, 2, ""),
        ] {
            let input = input(InputKind::Content, text, escaped);
            assert_eq!(beginning(&input, cap), seen.as_bytes(), "{text} {cap}");
        }
    }

    #[test]
    fn a_cap_bounds_the_look_and_not_the_truth() {
        let text = input(InputKind::Content, &"word ".repeat(1_000), false);
        let within = |cap| {
            let mut survey = Survey::new(Some(Encoding::O200kBase), cap);
            survey.add(&text);
            survey.add(&text);
            assert!(survey.seen_bytes <= cap as u64);
            survey.bounds()
        };
        let whole = within(usize::MAX);
        assert_eq!(whole.lower, 2_000);
        for cap in [0, 1, 7, 100, 4_999, 5_000, 5_001] {
            let bounds = within(cap);
            assert!(bounds.lower <= 2_000 && 2_000 <= bounds.upper, "{bounds:?}");
            assert!(bounds.lower >= 10_000 / 128 - 2, "{bounds:?}");
            // From a few words on, the rest is like the beginning.
            if cap >= 100 {
                assert!(
                    bounds.estimate.abs_diff(whole.estimate) <= 200,
                    "{bounds:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_certain_of_an_unknown_vocabulary() {
        let mut survey = Survey::new(None, 99);
        survey.add(&input(InputKind::Role, "user", true));
        survey.add(&input(InputKind::Content, "a b c", false));
        let bounds = survey.bounds();
        assert_eq!((bounds.lower, bounds.upper), (0, 6));
    }
}
