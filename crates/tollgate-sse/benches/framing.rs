//! The framer and the re-framer beside other parsers of event streams.
//!
//! `cargo bench -p tollgate-sse` prints a table, `cargo bench -p tollgate-sse -- Framer 1024`
//! the lines of some cases, and of one size (0: one event a piece); a third argument is the number
//! of rounds. Every case reads the same 2 MB of typical events once a round, or 3 MB with the
//! oddities of Azure; rounds are interleaved, and the best of each case counts: whatever else the
//! machine does can only add to it. What matters are the ratios within one run.
#![allow(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "real time is what is measured; a benchmark may panic"
)]

use std::{convert::Infallible, fmt::Write, hint::black_box, time::Instant};

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use memchr::memmem;
use sse_core::{SseDecoder, SseEvent};
use tollgate_sse::{Framer, Reframer};

const EVENTS: usize = 8_000;
const ROUNDS: usize = 100;

type Run = fn(&[Bytes]) -> usize;

/// One event a piece: what a server writes by itself, a reader most often reads by itself.
const WHOLE_EVENTS: usize = 0;

const SIZES: [usize; 8] = [17, 64, 100, WHOLE_EVENTS, 300, 1 << 10, 16 << 10, 64 << 10];

const CASES: [(&str, bool, Run); 12] = [
    ("floor: hand out the pieces", false, hand_out),
    ("floor: memmem of the blank line", false, blank_lines),
    ("Framer", false, framer),
    ("Reframer, nothing to change", false, reframer),
    ("Reframer, usage to hide", true, reframer_hiding_usage),
    ("Reframer, filters to take out", true, reframer),
    ("sse-core, parsing alone", false, sse_core),
    ("sse-core, the same with filters", true, sse_core),
    ("sse-core, and written again", false, sse_core_and_write),
    ("sse-core, the same with filters", true, sse_core_and_write),
    ("sse-stream, parsing alone", false, sse_stream),
    ("eventsource-stream, the same", false, eventsource_stream),
];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let wanted = |name: &str| args.first().is_none_or(|wanted| name.contains(&**wanted));
    let only_size = args.get(1).map(|size| size.parse().unwrap());
    let cases: Vec<_> = CASES
        .into_iter()
        .filter(|(name, ..)| wanted(name))
        .collect();
    let plain = corpus("", "");
    let azure = corpus(
        r#""content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"#,
        r#","usage":null"#,
    );
    println!(
        "{EVENTS} events, {} bytes each ({} with filters and usage); GB/s, ns for each event",
        plain.len() / EVENTS,
        azure.len() / EVENTS,
    );
    for size in SIZES {
        if only_size.is_some_and(|only: usize| only != size) {
            continue;
        }
        match size {
            WHOLE_EVENTS => println!("\npieces of one event"),
            size => println!("\npieces of {size} bytes"),
        }
        let (plain, azure) = (cut(&plain, size), cut(&azure, size));
        let mut best = vec![f64::INFINITY; cases.len()];
        let rounds = args.get(2).map_or(ROUNDS, |n| n.parse().unwrap());
        for _ in 0..rounds {
            for ((_, with_azure, run), best) in cases.iter().zip(&mut best) {
                let pieces = if *with_azure { &azure } else { &plain };
                let start = Instant::now();
                black_box(run(black_box(pieces)));
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        for ((name, with_azure, _), best) in cases.iter().zip(best) {
            let pieces = if *with_azure { &azure } else { &plain };
            let bytes: usize = pieces.iter().map(Bytes::len).sum();
            println!(
                "  {name:34} {:7.2} GB/s {:8.1} ns",
                bytes as f64 / best / 1e9,
                best / EVENTS as f64 * 1e9,
            );
        }
    }
}

/// A stream as OpenAI or Azure sends it, with these members in each choice and each chunk.
fn corpus(in_choice: &str, in_chunk: &str) -> Bytes {
    const WORDS: [&str; 8] = [
        " the",
        " of",
        ",",
        " stream",
        "ing",
        " caf\u{e9}",
        " \\\"quoted\\\"",
        "\\n",
    ];
    let mut text = String::new();
    for at in 0..EVENTS {
        let word = WORDS[at * 7 % WORDS.len()];
        write!(
            text,
            "data: {{\"id\":\"chatcmpl-AzB3xY7qLmN0pQrStUvWxYz012345\",\"object\":\"chat.completion.chunk\",\
             \"created\":1763900000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\
             \"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{{in_choice}\"index\":0,\
             \"delta\":{{\"content\":\"{word}\"}},\"logprobs\":null,\"finish_reason\":null}}]{in_chunk}}}\n\n"
        )
        .unwrap();
    }
    text.into()
}

fn cut(bytes: &Bytes, size: usize) -> Vec<Bytes> {
    let ends: Vec<usize> = match size {
        WHOLE_EVENTS => memmem::find_iter(bytes, "\n\n").map(|at| at + 2).collect(),
        size => (size..bytes.len())
            .step_by(size)
            .chain([bytes.len()])
            .collect(),
    };
    let mut start = 0;
    let piece = |end| bytes.slice(std::mem::replace(&mut start, end)..end);
    ends.into_iter().map(piece).collect()
}

fn hand_out(pieces: &[Bytes]) -> usize {
    let pieces = pieces.iter().cloned();
    pieces.map(|piece| black_box(&piece).len()).sum()
}

fn blank_lines(pieces: &[Bytes]) -> usize {
    let finder = memmem::Finder::new(b"\n\n");
    pieces
        .iter()
        .map(|piece| finder.find_iter(piece).count())
        .sum()
}

fn framer(pieces: &[Bytes]) -> usize {
    let mut framer = Framer::new();
    let mut events = 0;
    for piece in pieces {
        framer.push(piece.clone());
        while let Some(event) = framer.next_event().unwrap() {
            black_box(event.data());
            events += 1;
        }
    }
    assert_eq!(events, EVENTS);
    events
}

fn reframer(pieces: &[Bytes]) -> usize {
    run(Reframer::new(), pieces)
}

fn reframer_hiding_usage(pieces: &[Bytes]) -> usize {
    run(Reframer::new().show_usage(false).keep_filters(true), pieces)
}

fn run(mut reframer: Reframer, pieces: &[Bytes]) -> usize {
    let mut bytes = 0;
    for piece in pieces {
        reframer.push(piece.clone());
        if reframer.output_len() > 0 {
            bytes += black_box(&reframer.take_output()).len();
        }
    }
    assert!(reframer.end().is_none() && bytes > 0);
    bytes
}

fn sse_core(pieces: &[Bytes]) -> usize {
    let mut decoder = SseDecoder::new();
    let mut events = 0;
    for piece in pieces {
        let piece = piece.clone();
        let mut rest = &piece[..];
        while let Some(event) = decoder.next(&mut rest) {
            black_box(&event.unwrap());
            events += 1;
        }
    }
    assert_eq!(events, EVENTS);
    events
}

/// What a re-framer costs that parses with sse-core and changes nothing: its events go out in one
/// buffer for each piece.
///
/// It reads `Bytes` where the other reads slices: each has a decoder of its own for the compiler to
/// inline, without which both are slower.
fn sse_core_and_write(pieces: &[Bytes]) -> usize {
    let mut decoder = SseDecoder::new();
    let mut bytes = 0;
    for piece in pieces {
        let mut piece = piece.clone();
        let mut output = Vec::new();
        while let Some(event) = decoder.next(&mut piece) {
            if let SseEvent::Message(message) = event.unwrap() {
                output.reserve(message.data.len() + 8);
                output.extend_from_slice(b"data: ");
                output.extend_from_slice(message.data.as_bytes());
                output.extend_from_slice(b"\n\n");
            }
        }
        if !output.is_empty() {
            bytes += black_box(&Bytes::from(output)).len();
        }
    }
    assert!(bytes > 0);
    bytes
}

fn sse_stream(pieces: &[Bytes]) -> usize {
    let source = stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>));
    let mut parsed = sse_stream::SseStream::from_bytes_stream(source);
    let mut events = 0;
    while let Some(event) = parsed.next().now_or_never().unwrap() {
        black_box(&event.unwrap());
        events += 1;
    }
    assert_eq!(events, EVENTS);
    events
}

fn eventsource_stream(pieces: &[Bytes]) -> usize {
    let source = stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>));
    let mut parsed = source.eventsource();
    let mut events = 0;
    while let Some(event) = parsed.next().now_or_never().unwrap() {
        black_box(&event.unwrap());
        events += 1;
    }
    assert_eq!(events, EVENTS);
    events
}
