//! One text of a prompt, looked at as far as a cap allows.

use tollgate_core::{InputKind, TokenBounds, TokenInput};

use crate::{Encoding, scan, text::plain};

/// Whose habits are assumed of other vocabularies.
pub(crate) const UNKNOWN: Encoding = Encoding::Cl100kBase;

/// Bounds of one text, of which at most `cap` bytes are looked at.
pub(crate) fn text_within(
    input: &TokenInput,
    encoding: Option<Encoding>,
    cap: &mut usize,
) -> TokenBounds {
    if let Some(tokens) = role_tokens(input) {
        return TokenBounds::exact(tokens);
    }
    let bytes = input.text.len() as u64;
    // Of a vocabulary that is not known nothing is certain.
    let least = |bound| if encoding.is_some() { bound } else { 0 };
    let seen = beginning(input, *cap);
    *cap -= seen.len();
    let text = plain(seen, input.escaped);
    let mut bounds = scan::bounds(&text, encoding.unwrap_or(UNKNOWN));
    let unseen = bytes - seen.len() as u64;
    if unseen > 0 {
        // The piece at the cut may be one with what follows. An escape makes six bytes of one.
        let fewest_bytes = if input.escaped { unseen / 6 } else { unseen };
        let more = match seen.len() as u64 {
            0 => unseen.div_ceil(3),
            seen => bounds.estimate.saturating_mul(unseen) / seen,
        };
        bounds = TokenBounds::new(
            bounds.lower.saturating_sub(1) + fewest_bytes / LONGEST_TOKEN,
            bounds.estimate.saturating_add(more),
            bounds.upper.saturating_add(unseen),
        );
    }
    TokenBounds::new(least(bounds.lower), bounds.estimate, bounds.upper)
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
const LONGEST_TOKEN: u64 = 128;

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
        let text = "word ".repeat(1_000);
        let text = input(InputKind::Content, &text, false);
        let whole = text_within(&text, Some(Encoding::O200kBase), &mut { usize::MAX });
        assert_eq!(whole.lower, 1_000);
        for cap in [0, 1, 7, 100, 4_999] {
            let mut left = cap;
            let bounds = text_within(&text, Some(Encoding::O200kBase), &mut left);
            assert!(left < cap.max(1), "{cap}");
            assert!(bounds.lower <= 1_000 && 1_000 <= bounds.upper, "{bounds:?}");
            assert!(bounds.lower >= 5_000_u64.div_ceil(128) - 1, "{bounds:?}");
            // From a few words on, the rest is like the beginning.
            if cap >= 100 {
                assert!(
                    bounds.estimate.abs_diff(whole.estimate) <= 300,
                    "{bounds:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_certain_of_an_unknown_vocabulary() {
        let text = input(InputKind::Content, "a b c", false);
        let bounds = text_within(&text, None, &mut { 99 });
        assert_eq!((bounds.lower, bounds.upper), (0, 5));
    }
}
