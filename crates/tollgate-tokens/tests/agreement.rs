//! The counts agree with a second implementation, and the bounds with the counts.
//!
//! Few cases by default; `TOLLGATE_CASES=20000` is what a release is held to.
#![cfg(feature = "exact")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "tests"
)]

#[path = "support/strings.rs"]
mod strings;

use std::{env, sync::LazyLock};

use proptest::{prelude::*, test_runner::TestRunner};
use strings::strings;
use tollgate_core::{ChatRequest, InputKind, Model, TokenBounds, TokenCounter};
use tollgate_tokens::{Encoding, Estimator, ExactCounter};

static EXACT: LazyLock<ExactCounter> = LazyLock::new(|| {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    counter
});

fn check<V: std::fmt::Debug>(
    strategy: impl Strategy<Value = V>,
    default_cases: u32,
    holds: impl Fn(V) -> Result<(), TestCaseError>,
) {
    let cases = env::var("TOLLGATE_CASES").map_or(default_cases, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    runner.run(&strategy, holds).unwrap();
}

#[test]
fn a_second_implementation_counts_the_same() {
    let second = Encoding::ALL.map(|encoding| {
        (
            encoding,
            toktok::Tokenizer::builtin(encoding.name()).unwrap(),
        )
    });
    check(strings(), 1_000, |text| {
        // The contractions of the vocabularies' expressions ignore case, and so fold ſ to s; the
        // second implementation does not.
        let text = text.replace("'ſ", "'s");
        for (encoding, tokenizer) in &second {
            let expected = tokenizer.count(text.as_bytes()) as u64;
            prop_assert_eq!(EXACT.text(&text, *encoding), Some(expected), "{}", encoding);
        }
        Ok(())
    });
}

#[test]
fn bounds_are_certain() {
    check(strings(), 1_000, |text| {
        for encoding in Encoding::ALL {
            let tokens = EXACT.text(&text, encoding).unwrap();
            let bounds = Estimator::new().text(&text, encoding);
            prop_assert!(
                bounds.lower <= tokens && tokens <= bounds.upper,
                "{}: {} {:?}",
                encoding,
                tokens,
                bounds
            );
        }
        Ok(())
    });
}

#[test]
fn bounds_of_prompts_are_certain_whatever_the_caps() {
    let prompts = (
        proptest::collection::vec((strings(), any::<bool>()), 0..4),
        0..400_usize,
        0..400_usize,
    );
    check(prompts, 250, |(messages, cap, exact_cap)| {
        let mut request = ChatRequest::builder("m");
        let mut plain_texts = Vec::new();
        for (text, ascii) in messages {
            let json = if ascii {
                ascii_json(&text)
            } else {
                serde_json::Value::from(text.as_str()).to_string()
            };
            let inside = json[1..json.len() - 1].to_owned();
            request = request.message().text(InputKind::Role, "user", true).text(
                InputKind::Content,
                inside,
                true,
            );
            plain_texts.push(text);
        }
        let request = request.build();
        for encoding in Encoding::ALL {
            let model = Model::new("m").with_encoding(encoding.name());
            let tokens = plain_texts
                .iter()
                .map(|text| EXACT.text(text, encoding).unwrap());
            let tokens = tokens.sum::<u64>() + 4 * plain_texts.len() as u64 + 3;
            prop_assert_eq!(EXACT.count(&request, &model), TokenBounds::exact(tokens));

            let estimator = Estimator::new().byte_cap(cap);
            let capped = EXACT
                .clone()
                .byte_cap(exact_cap)
                .estimator(estimator.clone());
            for bounds in [
                estimator.bounds(&request, &model),
                capped.count(&request, &model),
            ] {
                prop_assert!(
                    bounds.lower <= tokens && tokens <= bounds.upper,
                    "{}: {} {:?}",
                    encoding,
                    tokens,
                    bounds
                );
            }
        }
        Ok(())
    });
}

/// JSON as some clients write it, each character beyond ASCII escaped.
fn ascii_json(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut ascii = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}
