//! A whole prompt of any bytes: it ends, and no counter contradicts another.
//!
//! The first byte of a line says what the rest of it is.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollgate_core::{ByteRule, ChatRequest, ImageDetail, ImageInput, InputKind, Model, TokenCounter};
use tollgate_tokens::{Encoding, Estimator, ExactCounter};

static EXACT: LazyLock<ExactCounter> = LazyLock::new(|| {
    let counter = ExactCounter::new(Encoding::ALL);
    counter.load();
    counter
});

fuzz_target!(|data: &[u8]| {
    let mut request = ChatRequest::builder("m");
    for line in data.split(|byte| *byte == b'\n') {
        let Some((what, text)) = line.split_first() else {
            continue;
        };
        let text = Bytes::copy_from_slice(text);
        let kind = match what {
            b'r' | b'R' => {
                request = request.message();
                InputKind::Role
            }
            // A message has one name at most.
            b'n' | b'N' => {
                request = request.message();
                InputKind::Name
            }
            b's' | b'S' => InputKind::Schema,
            b't' | b'T' => InputKind::ToolCall,
            b'c' | b'C' => InputKind::ToolChoice,
            b'i' => {
                request = request.image(ImageInput::new(text, ImageDetail::Auto));
                continue;
            }
            b'o' => {
                request = request.opaque_part();
                continue;
            }
            _ => InputKind::Content,
        };
        let escaped = what.is_ascii_uppercase() && !matches!(what, b'S' | b'C');
        request = request.text(kind, text, escaped);
    }
    let request = request.build();
    let is_text = |bytes: &Bytes| std::str::from_utf8(bytes).is_ok();
    let is_valid = request.inputs().texts().iter().all(|input| is_text(&input.text));
    for encoding in Encoding::ALL {
        let model = Model::new("gpt-4o").with_encoding(encoding.name());
        let all = [
            ByteRule::default().bounds(&request, &model),
            Estimator::new().bounds(&request, &model),
            Estimator::new().count(&request, &model),
            Estimator::new().byte_cap(7).bounds(&request, &model),
            EXACT.count(&request, &model),
            EXACT.clone().byte_cap(7).count(&request, &model),
        ];
        // The truth lies in all of them, so they overlap.
        let lower = all.iter().map(|bounds| bounds.lower).max();
        let upper = all.iter().map(|bounds| bounds.upper).min();
        assert!(!is_valid || lower <= upper, "{encoding}: {all:?}");
    }
});
