//! The insides of JSON strings.

/// The length of the string whose inside begins here, up to its closing quote.
pub(crate) fn string_length(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += plain_length(inside.get(at..)?);
        match inside.get(at)? {
            b'"' => return Some(at),
            b'\\' => match inside.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' => {
                    let digits = inside.get(at + 2..at + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at += 6;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// The number of bytes that a string's inside has once its escapes are resolved.
pub(crate) fn text_length(inside: &[u8]) -> u64 {
    let mut length = inside.len() as u64;
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let escape = rest.get(at..).unwrap_or_default();
        let (taken, spelled) = match escape {
            [b'\\', b'u', a, b, c, d, ..] => (6, unescaped_length([*a, *b, *c, *d])),
            _ => (2, 1),
        };
        length = length.saturating_sub(taken as u64 - spelled);
        rest = escape.get(taken..).unwrap_or_default();
    }
    length
}

fn unescaped_length(digits: [u8; 4]) -> u64 {
    match digits {
        [b'0', b'0', b'0'..=b'7', _] => 1,
        [b'0', b'0'..=b'7', ..] => 2,
        // Half of a pair, which takes four bytes together.
        [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => 2,
        _ => 3,
    }
}

/// How many bytes stand before the first quote, backslash or control character.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    // Eight bytes a step. A byte is below n if subtracting n borrows from its top bit. Borrows run
    // into later bytes only, so that the first one found is always right.
    while let Some(step) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*step);
        let below = |value: u64, n: u64| value.wrapping_sub(ONES * n) & !value & TOPS;
        let control = below(word, 0x20);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = control | quote | backslash;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_measured_without_its_escapes() {
        for text in [
            "",
            "plain",
            "é日😀",
            "a\"\\\n\u{1}",
            "\u{7f}\u{80}\u{7ff}\u{800}",
        ] {
            let ascii: String = text
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            assert_eq!(text_length(ascii.as_bytes()), text.len() as u64, "{text}");
            let json = serde_json::to_string(text).unwrap();
            let inside = json.get(1..json.len() - 1).unwrap();
            assert_eq!(text_length(inside.as_bytes()), text.len() as u64, "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_text_ends_where_a_byte_is_special(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            prop_assert_eq!(plain_length(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        }
    }
}
