//! One text: the bounds hold the count.
//!
//! No second implementation: the one that tests compare with reads beyond the end of its input, which
//! the fuzzer's address sanitizer rightly stops.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollgate_tokens::{Encoding, Estimator, ExactCounter};

static EXACT: LazyLock<ExactCounter> = LazyLock::new(|| {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    counter
});

fuzz_target!(|text: &str| {
    for encoding in Encoding::ALL {
        let tokens = EXACT.text(text, encoding).expect("is loaded");
        let bounds = Estimator::new().text(text, encoding);
        assert!(
            bounds.lower <= tokens && tokens <= bounds.upper,
            "{encoding}: {tokens} {bounds:?}"
        );
    }
});
