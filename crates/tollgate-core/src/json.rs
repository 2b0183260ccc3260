/// Appends a JSON string: the one thing this crate has to know of JSON.
pub(crate) fn push_json_str(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => {
                json.push_str("\\u00");
                json.push(if c < '\u{10}' { '0' } else { '1' });
                json.push(char::from(HEX[(c as usize) & 15]));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
