//! From the bytes of a request body to text.

use std::borrow::Cow;

/// The text, its JSON escapes resolved if it has them.
pub(crate) fn plain(bytes: &[u8], escaped: bool) -> Cow<'_, str> {
    if !escaped || !bytes.contains(&b'\\') {
        return String::from_utf8_lossy(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    Cow::Owned(unescape(&text))
}

/// Resolves the escapes of RFC 8259. What is no escape stands for itself, and half of a surrogate
/// pair becomes U+FFFD: a body that was checked has neither.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = after.chars();
        let known = match chars.next() {
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('u') => unicode(&mut chars),
            Some(other) => Some(other),
            None => None,
        };
        plain.push(known.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = chars.as_str();
    }
    plain.push_str(rest);
    plain
}

/// What follows `\u`, the second half of a surrogate pair included.
fn unicode(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let first = hex4(chars)?;
    if let Some(c) = char::from_u32(first) {
        return Some(c);
    }
    let mut ahead = chars.clone();
    if (ahead.next(), ahead.next()) != (Some('\\'), Some('u')) {
        return None;
    }
    let second = hex4(&mut ahead)?;
    if !(0xD800..0xDC00).contains(&first) || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    *chars = ahead;
    char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut ahead = chars.clone();
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + ahead.next()?.to_digit(16)?;
    }
    *chars = ahead;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_resolved() {
        for (escaped, expected) in [
            (r"", ""),
            (r"a\nb\tc\r\b\f", "a\nb\tc\r\u{8}\u{c}"),
            (r#"\"\\\/"#, "\"\\/"),
            (r"\u00e9\u4e2d\uFFFD", "é中\u{fffd}"),
            (r"\ud83d\udc69x", "👩x"),
            (r"\\u0041", r"\u0041"),
            // None of these passes a validator; all of them must end.
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\udc69\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\u12", "\u{fffd}12"),
            (r"\u+123", "\u{fffd}+123"),
            ("\\", "\u{fffd}"),
            (r"\é", "é"),
        ] {
            assert_eq!(plain(escaped.as_bytes(), true), expected, "{escaped}");
        }
        assert_eq!(plain(br"a\nb", false), r"a\nb");
        assert_eq!(plain(b"\xff", true), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_json_parser(text in ".*") {
            let json = serde_json::Value::from(text.clone()).to_string();
            let inside = &json.as_bytes()[1..json.len() - 1];
            prop_assert_eq!(plain(inside, true), text);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            plain(&bytes, true);
        }
    }
}
