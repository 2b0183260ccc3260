//! Any bytes: the layer accepts what a JSON parser and the rules written over its tree accept, and
//! passes on what it got.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

mod send;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_validate::Policy;

use support::reference;

fuzz_target!(|input: &[u8]| {
    let Some((mode, json)) = input.split_first() else {
        return;
    };
    let strict = mode & 1 == 1;
    let policy = if strict { Policy::strict() } else { Policy::compatible() };
    let ours = send::send(policy, json, |_| {});
    // A byte order mark goes no further.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let theirs = serde_json::from_slice::<Value>(json);
    let Ok(value) = theirs else {
        let rejection = ours.expect_err("what is no JSON is refused");
        assert_eq!(rejection.param(), None);
        return;
    };
    if let Ok((sent, chat)) = &ours {
        if strict {
            assert_eq!(sent, json);
        }
        assert_eq!(value["model"], chat.model());
        for text in chat.inputs().texts().iter().filter(|text| text.escaped) {
            let quoted = [b"\"", &*text.text, b"\""].concat();
            serde_json::from_slice::<String>(&quoted).expect("the inside of a string");
        }
    }
    if let Err(rejection) = &ours {
        // The tree knows nothing of these.
        let message = rejection.message();
        if ["Duplicate", "nested more", "too many values"].iter().any(|why| message.contains(why)) {
            return;
        }
    }
    // Nor of digits that a double does not have.
    let long = |number: &[u8]| number.len() > 15 || number.iter().any(|b| matches!(b, b'e' | b'E'));
    let in_number = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if json.split(|b| !in_number(b)).any(|n| n.iter().any(u8::is_ascii_digit) && long(n)) {
        return;
    }
    assert_eq!(ours.map(|_| ()).ok(), reference::verdict(&value, strict).ok());
});
