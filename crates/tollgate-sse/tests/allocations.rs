//! What an event costs in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use tollgate_sse::{Framer, Reframer};
use tollgate_testing::{Allocations, assert_allocations, measure_allocations};

const WORDS: [&str; 4] = [" of", "", " caf\u{e9}", " \\\"quoted\\\" and more"];

fn chunk(in_choice: &str, at: usize) -> String {
    let word = WORDS[at % WORDS.len()];
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763900000,\
         \"model\":\"gpt-4o\",\"choices\":[{{{in_choice}\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\
         \"finish_reason\":null}}]}}\n\n"
    )
}

/// Pieces of this size of a thousand events.
fn pieces(in_choice: &str, size: usize) -> Vec<Bytes> {
    let text: String = (0..1_000).map(|at| chunk(in_choice, at)).collect();
    let text = Bytes::from(text);
    let starts = (0..text.len()).step_by(size);
    starts
        .map(|at| text.slice(at..text.len().min(at + size)))
        .collect()
}

/// What the pieces cost a re-framer that has seen enough of the stream.
fn cost(pieces: Vec<Bytes>) -> (u64, Allocations) {
    let mut reframer = Reframer::new();
    for at in 0..20 {
        reframer.push(chunk("", at));
        reframer.take_output();
    }
    let mut pieces = pieces.into_iter();
    // The first piece in this form makes room.
    reframer.push(pieces.next().unwrap());
    reframer.take_output();
    let measured = measure_allocations(|| {
        let mut outputs = 0;
        for piece in pieces {
            reframer.push(piece);
            outputs += u64::from(!reframer.take_output().is_empty());
        }
        outputs
    });
    assert!(reframer.end().is_none());
    measured
}

#[test]
fn an_unchanged_event_costs_nothing() {
    let one_each: Vec<Bytes> = (0..1_000).map(|at| chunk("", at).into()).collect();
    let five_each = (0..200).map(|at| (at..at + 5).map(|at| chunk("", at)).collect::<String>());
    for whole in [one_each, five_each.map(Bytes::from).collect()] {
        let (outputs, info) = cost(whole);
        assert!(outputs > 100);
        assert_eq!(info.count, 0);
    }
}

#[test]
fn other_events_cost_a_buffer_for_each_output_at_most() {
    let filters = "\"content_filter_results\":{\"hate\":{\"filtered\":false}},";
    for (in_choice, size) in [("", 17), ("", 1_000), ("", 16_000), (filters, 1_000)] {
        let (outputs, info) = cost(pieces(in_choice, size));
        assert!(
            info.count <= outputs + 16,
            "{size}: {} for {outputs} outputs",
            info.count
        );
        assert!(info.kept <= 4, "{size}");
    }
}

#[test]
fn the_framer_costs_nothing_for_what_comes_whole() {
    let pieces: Vec<Bytes> = (0..1_000).map(|at| chunk("", at).into()).collect();
    let mut framer = Framer::new();
    let events = assert_allocations(0, || {
        let mut events = 0;
        for piece in pieces {
            framer.push(piece);
            while framer.next_event().unwrap().is_some() {
                events += 1;
            }
        }
        events
    });
    assert_eq!(events, 1_000);
}

#[test]
fn hostile_events_take_a_few_times_their_size_and_leave_nothing() {
    const EVENT_BYTES: usize = 1_000_000;
    let filled = |start: &str, middle: &str, end: &str| -> Bytes {
        let middle = middle.repeat((EVENT_BYTES - start.len() - end.len()) / middle.len());
        format!("data: {start}{middle}{end}\n\n").into()
    };
    let choice = r#"{"choices":[{"delta":{}}]"#;
    for event in [
        filled(choice, r#","usage":1"#, "}"),
        filled(choice, r#","usage":1,"a":1"#, "}"),
        filled(choice, r#","obfuscation":"""#, "}"),
        filled(choice, r#","\u0075sage":[]"#, "}"),
        filled(r#"{"choices":[7"#, r#",{"finish_reason":"s"}"#, "]}"),
        filled(r#"{"choices":[{}"#, r#",{}"#, "]}"),
        filled(r#"{"choices":[{"delta":{"a":""#, "a", r#""}}]}"#),
        filled(r#"{"choices":[{"delta":{"a":1"#, r#","a":"b""#, "}}]}"),
    ] {
        for size in [64 << 10, 1 << 20] {
            let mut reframer = Reframer::new().show_usage(false);
            let ((), info) = measure_allocations(|| {
                for _ in 0..3 {
                    for at in (0..event.len()).step_by(size) {
                        reframer.push(event.slice(at..event.len().min(at + size)));
                        reframer.take_output();
                    }
                }
                // One of the usual size.
                reframer.push(chunk("", 0));
                reframer.take_output();
            });
            assert!(reframer.end().is_none());
            let most = info.peak_bytes as usize / EVENT_BYTES;
            assert!(most < 10, "{most} times an event");
            assert!(info.kept_bytes < 300_000, "{} bytes kept", info.kept_bytes);
        }
    }
}
