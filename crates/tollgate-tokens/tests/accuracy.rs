//! How far the estimate is off, on texts that its weights have not seen.
//!
//! `cargo test --features exact --test accuracy -- --nocapture` prints the figures that stand in the
//! docs of `Estimator::text`.
#![cfg(feature = "exact")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{fs, path::Path};

use tollgate_tokens::{Encoding, Estimator, ExactCounter};

const SIZES: [usize; 4] = [200, 500, 1_000, 2_000];

#[test]
fn the_estimate_is_as_good_as_its_docs_say() {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for encoding in Encoding::ALL {
        let (mut everyday, mut others) = (Vec::new(), Vec::new());
        for file in &files {
            let text = fs::read_to_string(file).unwrap();
            let name = file.file_stem().unwrap().to_str().unwrap();
            let mut errors: Vec<f64> = SIZES
                .iter()
                .flat_map(|size| pieces(&text, *size))
                .map(|piece| {
                    let exact = counter.text(piece, encoding).unwrap() as f64;
                    let estimate = Estimator::new().text(piece, encoding).estimate as f64;
                    (estimate - exact) / exact
                })
                .collect();
            println!("{encoding} {name:<14} {}", describe(&mut errors));
            match name {
                "english" | "english_chat" | "code" | "json" => everyday.extend(errors),
                _ => others.extend(errors),
            }
        }
        for (what, errors) in [
            ("English, code, JSON", &mut everyday),
            ("other languages", &mut others),
        ] {
            println!("{encoding} {what}: {}", describe(errors));
            assert!(
                quantile(errors, 0.5) < 0.083 && quantile(errors, 0.99) < 0.25,
                "{what}"
            );
        }
    }
}

/// Cuts a text into pieces of about this many bytes.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > size / 2 {
        let mut end = size.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn describe(errors: &mut [f64]) -> String {
    errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let [p50, p99] = [0.5, 0.99].map(|share| 100.0 * quantile(errors, share));
    let mean = 100.0 * errors.iter().sum::<f64>() / errors.len() as f64;
    let texts = errors.len();
    format!("p50 {p50:.1} % p99 {p99:.1} % mean {mean:+.1} % of {texts} texts")
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].abs()
}
