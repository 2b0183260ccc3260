//! The many ways to write one JSON value.

use std::fmt::Write;

use serde_json::Value;

use super::Rng;

/// A spelling of an object, and the texts of its members as they stand in it.
pub struct Spelling {
    pub json: String,
    /// Name, and `"name" : value` as written.
    pub members: Vec<(String, String)>,
}

/// Writes a request with its members in any order, with spaces and escapes anywhere.
pub fn request(rng: &mut Rng, request: &Value) -> Spelling {
    let mut members = Vec::new();
    let Value::Object(object) = request else {
        return Spelling {
            json: value(rng, request),
            members,
        };
    };
    for key in shuffled(rng, object.keys()) {
        members.push((key.clone(), member(rng, key, &object[key])));
    }
    let texts: Vec<&str> = members.iter().map(|(_, text)| text.as_str()).collect();
    let json = format!("{0}{{{0}{1}{0}}}{0}", space(rng), join(rng, &texts));
    Spelling { json, members }
}

fn value(rng: &mut Rng, of: &Value) -> String {
    match of {
        Value::Object(members) => {
            let keys = shuffled(rng, members.keys());
            let texts: Vec<String> = keys
                .into_iter()
                .map(|key| member(rng, key, &members[key]))
                .collect();
            format!("{{{}}}", join(rng, &texts))
        }
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(|item| value(rng, item)).collect();
            format!("[{}]", join(rng, &texts))
        }
        Value::String(text) => string(rng, text),
        scalar => scalar.to_string(),
    }
}

fn member(rng: &mut Rng, key: &str, of: &Value) -> String {
    let key = string(rng, key);
    format!("{key}{}:{}{}", space(rng), space(rng), value(rng, of))
}

fn join(rng: &mut Rng, texts: &[impl AsRef<str>]) -> String {
    let mut joined = String::from(space(rng));
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            let (before, after) = (space(rng), space(rng));
            write!(joined, "{before},{after}").unwrap();
        }
        joined.push_str(text.as_ref());
    }
    joined.push_str(space(rng));
    joined
}

fn space(rng: &mut Rng) -> &'static str {
    match rng.below(12) {
        0 => " ",
        1 => "\r\n\t",
        _ => "",
    }
}

fn string(rng: &mut Rng, text: &str) -> String {
    // Most strings are written plainly.
    if !rng.once_in(5) {
        return Value::from(text).to_string();
    }
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '/' if rng.once_in(2) => json.push_str("\\/"),
            '"' | '\\' | '\0'..'\x20' => escape(rng, &mut json, c),
            c if rng.once_in(3) => escape(rng, &mut json, c),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn escape(rng: &mut Rng, json: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        if rng.once_in(2) {
            write!(json, "\\u{unit:04x}").unwrap();
        } else {
            write!(json, "\\u{unit:04X}").unwrap();
        }
    }
}

fn shuffled<'k>(rng: &mut Rng, keys: impl Iterator<Item = &'k String>) -> Vec<&'k String> {
    let mut keys: Vec<_> = keys.collect();
    for i in (1..keys.len()).rev() {
        keys.swap(i, rng.below(i + 1));
    }
    keys
}
