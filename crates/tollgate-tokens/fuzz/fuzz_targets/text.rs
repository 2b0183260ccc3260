//! One text: the bounds hold the count, and a second implementation counts the same.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollgate_tokens::{Encoding, Estimator, ExactCounter};

static EXACT: LazyLock<ExactCounter> = LazyLock::new(|| {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    counter
});

static SECOND: LazyLock<[toktok::Tokenizer; 2]> = LazyLock::new(|| {
    Encoding::ALL.map(|encoding| toktok::Tokenizer::builtin(encoding.name()).expect("is built in"))
});

fuzz_target!(|text: &str| {
    for (encoding, second) in Encoding::ALL.into_iter().zip(&*SECOND) {
        let tokens = EXACT.text(text, encoding).expect("is loaded");
        let bounds = Estimator::new().text(text, encoding);
        assert!(
            bounds.lower <= tokens && tokens <= bounds.upper,
            "{encoding}: {tokens} {bounds:?}"
        );
        // Beyond ASCII the two know different editions of Unicode.
        if text.is_ascii() {
            assert_eq!(tokens, second.count(text.as_bytes()) as u64, "{encoding}");
        }
    }
});
