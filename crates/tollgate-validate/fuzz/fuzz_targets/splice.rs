//! Any edits of any good request: one object, with what was asked for and all else untouched.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

mod send;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_validate::Policy;

use support::{Rng, generate, spell};

const NAMES: [&str; 8] = [
    "model", "messages", "stream_options", "n", "user", "temperature", "quo\"te\\", "\u{e9}\n",
];
const VALUES: [&str; 5] = [r#""gpt""#, "{\"include_usage\":true}", "[ ]", "1.0", r#"{"a": "}\""}"#];

fuzz_target!(|input: (u64, Vec<(u8, u8)>)| {
    let (seed, edits) = input;
    let mut rng = Rng(seed);
    let request = generate::request(&mut rng, true);
    let spelling = spell::request(&mut rng, &request);
    let edits: Vec<(&str, Option<&str>)> = edits
        .iter()
        .take(32)
        .map(|(name, value)| {
            let name = NAMES[usize::from(*name) % NAMES.len()];
            (name, VALUES.get(usize::from(*value) % (VALUES.len() + 1)).copied())
        })
        .collect();

    let (sent, _) = send::send(Policy::strict(), spelling.json.as_bytes(), |body| {
        for (name, value) in &edits {
            match value {
                Some(value) => body.set(*name, *value).expect("an open body"),
                None => body.remove(*name).expect("an open body"),
            }
        }
    })
    .expect("a good request");

    let mut expected = request;
    let members = expected.as_object_mut().expect("an object");
    for (name, value) in &edits {
        match value {
            Some(value) => {
                let value: Value = serde_json::from_str(value).expect("JSON");
                members.insert((*name).to_owned(), value);
            }
            None => {
                members.remove(*name);
            }
        }
    }
    let text = std::str::from_utf8(&sent).expect("UTF-8");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), expected);
    let mut rest = text;
    for (name, member) in &spelling.members {
        if edits.iter().all(|(edited, _)| edited != name) {
            rest = rest.split_once(member.as_str()).expect("an untouched member").1;
        }
    }
    if edits.is_empty() {
        assert_eq!(text, spelling.json);
    }
});
