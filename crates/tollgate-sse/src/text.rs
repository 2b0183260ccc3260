//! The insides of JSON strings.

/// What a string's inside was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Its bytes, up to the closing quote.
    pub(crate) length: usize,
    /// Its bytes once its escapes are resolved.
    pub(crate) text_bytes: u64,
    pub(crate) is_ascii: bool,
}

/// Reads the string whose inside begins here.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<Inside> {
    let mut seen = 0;
    let mut at = plain_length(bytes, &mut seen);
    let mut saved = 0;
    while *bytes.get(at)? != b'"' {
        let (taken, spelled) = escape(bytes.get(at..)?)?;
        at += taken;
        saved += taken - spelled;
        at += plain_length(bytes.get(at..)?, &mut seen);
    }
    Some(Inside {
        length: at,
        text_bytes: (at - saved) as u64,
        is_ascii: seen & TOPS == 0,
    })
}

/// How many bytes the escape takes that begins here, and how many it spells.
fn escape(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes {
        [
            b'\\',
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            ..,
        ] => Some((2, 1)),
        [b'\\', b'u', a, b, c, d, ..] => Some((6, unescaped_length([*a, *b, *c, *d])?)),
        _ => None,
    }
}

fn unescaped_length(digits: [u8; 4]) -> Option<usize> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some(match digits {
        [b'0', b'0', b'0'..=b'7', _] => 1,
        [b'0', b'0'..=b'7', ..] => 2,
        // Half of a pair, which takes four bytes together.
        [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => 2,
        _ => 3,
    })
}

/// How many bytes stand before the first quote, backslash or control character; their bits are
/// noted in `seen`.
#[inline]
fn plain_length(bytes: &[u8], seen: &mut u64) -> usize {
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
            // What stands in front of the byte that was found.
            *seen |= word & (found & found.wrapping_neg()).wrapping_sub(1);
            return at + found.trailing_zeros() as usize / 8;
        }
        *seen |= word;
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            break;
        }
        *seen |= u64::from(*byte);
        at += 1;
    }
    at
}

const ONES: u64 = u64::MAX / 255;
const TOPS: u64 = ONES << 7;

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
            let json = serde_json::to_string(text).unwrap();
            let ascii = format!("{ascii}\" and more");
            for inside in [ascii.as_bytes(), &json.as_bytes()[1..]] {
                let read = read(inside).unwrap();
                assert_eq!(read.text_bytes, text.len() as u64, "{text}");
                let length = read.length;
                assert_eq!(inside[length], b'"');
                assert_eq!(read.is_ascii, inside[..length].is_ascii(), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn plain_text_ends_where_a_byte_is_special(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let plain = bytes.iter().position(special).unwrap_or(bytes.len());
            let mut seen = 0;
            prop_assert_eq!(plain_length(&bytes, &mut seen), plain);
            prop_assert_eq!(seen & TOPS == 0, bytes[..plain].is_ascii());
        }
    }
}
