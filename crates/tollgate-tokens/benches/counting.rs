//! What a prompt's bounds, estimate and exact count cost, beside a second implementation.
//!
//! `cargo bench -p tollgate-tokens --features exact`. Each round measures every way once and the
//! best round counts, so that a busy machine does less harm.
#![allow(
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a benchmark"
)]

use std::{hint::black_box, time::Instant};

use tollgate_core::{ByteRule, ChatRequest, InputKind, Model, TokenCounter};
use tollgate_tokens::{Encoding, Estimator, ExactCounter};

const ROUNDS: usize = 15;

fn main() {
    let exact = ExactCounter::new(Encoding::ALL).byte_cap(usize::MAX);
    exact.load();
    let estimator = Estimator::new();
    let second = Encoding::ALL.map(|e| (e, toktok::Tokenizer::builtin(e.name()).unwrap()));

    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9}  ns for each prompt",
        "", "byte rule", "bounds", "exact", "toktok"
    );
    for (what, text, longest) in texts() {
        for (encoding, second) in &second {
            let model = Model::new("m").with_encoding(encoding.name());
            let json = serde_json::Value::from(&*text).to_string();
            let inside = &json[1..json.len() - 1];
            let request = request(inside, longest);
            let plain = pieces(&text, longest);
            let mut best = [u128::MAX; 4];
            for _ in 0..ROUNDS {
                let ways: [&dyn Fn() -> u64; 4] = [
                    &|| ByteRule::default().bounds(&request, &model).estimate,
                    &|| estimator.bounds(&request, &model).estimate,
                    &|| exact.count(&request, &model).estimate,
                    &|| {
                        plain
                            .iter()
                            .map(|text| second.count(text.as_bytes()) as u64)
                            .sum()
                    },
                ];
                for (best, way) in best.iter_mut().zip(ways) {
                    let times = (200_000 / text.len()).clamp(1, 200);
                    let start = Instant::now();
                    for _ in 0..times {
                        black_box(way());
                    }
                    *best = (*best).min(start.elapsed().as_nanos() / times as u128);
                }
            }
            let [rule, bounds, exact, second] = best;
            println!("{what:<12}{encoding:<12} {rule:>9} {bounds:>9} {exact:>9} {second:>9}");
        }
    }
}

fn request(text: &str, longest: usize) -> ChatRequest {
    let mut request = ChatRequest::builder("m");
    for piece in pieces(text, longest) {
        request = request.message().text(InputKind::Role, "user", true).text(
            InputKind::Content,
            piece.to_owned(),
            true,
        );
    }
    request.build()
}

fn pieces(text: &str, longest: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(longest);
        while !rest.is_char_boundary(end) || rest[..end].ends_with('\\') {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Names, texts, and how long a message may be: half a kilobyte, as in conversations.
fn texts() -> Vec<(&'static str, String, usize)> {
    let english = include_str!("../tests/corpus/english_chat.txt");
    let chinese = include_str!("../tests/corpus/chinese.txt");
    let code = include_str!("../tests/corpus/code.txt");
    let of = |text: &str, bytes: usize| {
        let mut whole = text.repeat(bytes / text.len() + 1);
        let mut end = bytes;
        while !whole.is_char_boundary(end) {
            end -= 1;
        }
        whole.truncate(end);
        whole
    };
    vec![
        ("English 1K", of(english, 1 << 10), 512),
        ("English 16K", of(english, 16 << 10), 512),
        ("Chinese 16K", of(chinese, 16 << 10), 512),
        ("code 16K", of(code, 16 << 10), 512),
        ("spaces 1M", " ".repeat(1 << 20), usize::MAX),
        ("'=' 1M", "=".repeat(1 << 20), usize::MAX),
        ("'a' 1M", "a".repeat(1 << 20), usize::MAX),
    ]
}
