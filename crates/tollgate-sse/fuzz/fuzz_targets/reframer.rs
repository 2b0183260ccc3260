//! Any bytes, cut anywhere: the same output, and always a stream that a client can read.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_sse::{Reframer, StreamEnd};

fuzz_target!(|input: &[u8]| {
    let (whole, pieces) = pieces(input);
    let show_usage = input.len() % 2 == 0;
    let output = reframe(show_usage, vec![whole]);
    check(&output, show_usage);
    assert_eq!(output, reframe(show_usage, pieces));
});

fn reframe(show_usage: bool, pieces: Vec<Bytes>) -> (Vec<u8>, bool) {
    let mut reframer = Reframer::new().show_usage(show_usage).max_event_bytes(4096);
    let mut output = Vec::new();
    for piece in pieces {
        reframer.push(piece);
        let length = reframer.output_len();
        let taken = reframer.take_output();
        assert_eq!(taken.len(), length);
        output.extend_from_slice(&taken);
    }
    reframer.finish();
    output.extend_from_slice(&reframer.take_output());
    let complete = reframer.end() == Some(&StreamEnd::Complete);
    (output, complete)
}

/// Whole events of JSON objects with at least something to say, and one end.
fn check((output, complete): &(Vec<u8>, bool), show_usage: bool) {
    let text = std::str::from_utf8(output).expect("output is UTF-8");
    let text = text.strip_suffix("\n\n").expect("the last event is whole");
    let (events, last) = text.rsplit_once("\n\n").unwrap_or(("", text));
    let events = events.split("\n\n").filter(|event| !event.is_empty());
    for event in events {
        let json = event
            .strip_prefix("data: ")
            .expect("an event is one data line");
        assert!(!json.contains(['\n', '\r']));
        // What serde_json cannot hold, such as half a surrogate pair, is still JSON.
        let Ok(chunk) = serde_json::from_str::<Value>(json) else {
            continue;
        };
        assert!(chunk["choices"].is_array());
        assert!(show_usage || chunk.get("usage").is_none());
        assert!(chunk.get("prompt_filter_results").is_none());
        for name in ["id", "object", "model"] {
            assert!(chunk[name].as_str().is_some_and(|value| !value.is_empty()));
        }
    }
    let last = last
        .strip_prefix("data: ")
        .expect("the end is one data line");
    assert_eq!(*complete, last == "[DONE]");
    if !complete {
        let error: Value = serde_json::from_str(last).expect("an error is JSON");
        assert_eq!(error["error"].as_object().map(|error| error.len()), Some(4));
    }
}

/// The stream stands before the last NUL; the bytes behind it are the sizes of its pieces.
fn pieces(input: &[u8]) -> (Bytes, Vec<Bytes>) {
    let end = input
        .iter()
        .rposition(|byte| *byte == 0)
        .unwrap_or(input.len());
    let (whole, sizes) = input.split_at(end);
    let whole = Bytes::copy_from_slice(whole);
    let mut rest = whole.clone();
    let sizes = sizes.iter().map(|size| usize::from(*size));
    let mut pieces: Vec<Bytes> = sizes
        .map(|size| rest.split_to(size.min(rest.len())))
        .collect();
    pieces.push(rest);
    (whole, pieces)
}
