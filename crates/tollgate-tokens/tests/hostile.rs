//! What cannot be counted cheaply is bounded cheaply.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use tollgate_core::{ChatRequest, ImageDetail, ImageInput, InputKind, Model, TokenCounter};
use tollgate_tokens::Estimator;

const MEGABYTE: usize = 1 << 20;

/// Texts that are slow for tokenizers, or would be for a careless scan.
fn monsters() -> Vec<(String, bool)> {
    let mut monsters = Vec::new();
    for unit in [
        " ", "\n", "=", "-", "a", "A", "0", "'", "'s", "\u{0}", "中", "😀", "e\u{301}", "aA",
    ] {
        monsters.push((unit.repeat(MEGABYTE), false));
    }
    // Inside of JSON strings, broken ones included.
    for unit in [r"\n", r"\\", r"\u0000", r"\ud83d\ude00", r"\ud83d", "\\"] {
        monsters.push((unit.repeat(MEGABYTE), true));
    }
    monsters
}

fn request(texts: impl IntoIterator<Item = (Bytes, bool)>) -> ChatRequest {
    let mut request = ChatRequest::builder("gpt-4o");
    for (text, escaped) in texts {
        request = request.message().text(InputKind::Role, "user", false).text(
            InputKind::Content,
            text,
            escaped,
        );
    }
    request.build()
}

#[test]
fn megabytes_of_one_thing_are_bounded() {
    let model = Model::new("gpt-4o");
    for (text, escaped) in monsters() {
        let bytes = text.len() as u64;
        let start = text.chars().take(6).collect::<String>();
        let request = request([(text.into(), escaped)]);
        for bounds in [
            Estimator::new().bounds(&request, &model),
            Estimator::new().count(&request, &model),
        ] {
            let fewest = if escaped { bytes / 6 } else { bytes };
            assert!(bounds.lower >= fewest / 128 - 1, "{start:?}: {bounds:?}");
            assert!(bounds.upper <= 7 + bytes, "{start:?}: {bounds:?}");
        }
    }
}

#[test]
fn a_million_tiny_messages_share_one_cap() {
    let one = Bytes::from_static(b"x");
    let request = request(std::iter::repeat_n((one, false), 1_000_000));
    let bounds = Estimator::new().bounds(&request, &Model::new("gpt-4o"));
    // Each has its framing and role for certain, and a token at most.
    assert!(
        bounds.lower >= 4_000_003 && bounds.upper == 5_000_003,
        "{bounds:?}"
    );
}

#[test]
fn many_images_share_one_budget() {
    // JPEGs that promise a frame after as much as is read, again and again.
    let segment = [&b"\xff\xe1\xff\xff"[..], &[0; 65_533]].concat();
    let jpeg = [&b"\xff\xd8"[..], &segment.repeat(16)].concat();
    let url = Bytes::from(format!("data:image/jpeg;base64,{}", base64(&jpeg)));
    let mut request = ChatRequest::builder("gpt-4o");
    for _ in 0..1_000 {
        request = request.image(ImageInput::new(url.clone(), ImageDetail::High));
    }
    let bounds = Estimator::new().bounds(&request.build(), &Model::new("gpt-4o"));
    assert_eq!((bounds.lower, bounds.upper), (3 + 85_000, 3 + 1_445_000));
}

#[test]
fn schemas_of_any_size_and_sort_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!(
        r#"{{"name":"f","parameters":{{"properties":{{{}}}}}}}"#,
        r#""k":{},"#.repeat(100_000)
    );
    let nested = format!(
        "{}{}",
        r#"{"name":"f","type":"object","parameters":{"properties":{"a":"#.repeat(50),
        "}".repeat(150)
    );
    for json in [
        deep,
        wide,
        nested,
        String::from("{"),
        String::new(),
        String::from("\u{0}"),
    ] {
        for kind in [InputKind::Schema, InputKind::ToolChoice] {
            let bytes = json.len() as u64;
            let request = ChatRequest::builder("gpt-4o")
                .text(kind, json.clone(), false)
                .build();
            let bounds = Estimator::new().count(&request, &Model::new("gpt-4o"));
            assert!(bounds.upper <= 3 + 2 * bytes + 64, "{bounds:?}");
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks_exact(3) {
        let bits = three
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[bits >> shift & 63]));
        }
    }
    text
}

#[cfg(feature = "exact")]
mod exact {
    use tollgate_core::TokenBounds;
    use tollgate_tokens::{Encoding, ExactCounter};

    use super::*;

    #[test]
    fn what_is_beyond_the_cap_is_not_counted() {
        let counter = ExactCounter::new(Encoding::ALL);
        counter.load();
        let model = Model::new("gpt-4o");
        for (text, escaped) in monsters() {
            let request = request([(text.into(), escaped)]);
            let counted = counter.count(&request, &model);
            assert_eq!(counted, Estimator::new().count(&request, &model));
        }
        // One byte less, and it is.
        let text = Bytes::from("word ".repeat(200));
        let request = request([(text, false)]);
        let capped = |bytes| counter.clone().byte_cap(bytes).count(&request, &model);
        assert!(capped(999).lower < capped(999).upper);
        assert_eq!(capped(1_000).lower, capped(1_000).upper);
    }

    #[test]
    fn a_long_run_of_punctuation_is_not_counted() {
        let counter = ExactCounter::new([Encoding::O200kBase]);
        counter.load();
        let model = Model::new("gpt-4o");
        for unit in ["-", "=", "/", "\t"] {
            let is_exact = |text: String, escaped| {
                let request = request([(text.into(), escaped)]);
                let bounds = counter.count(&request, &model);
                bounds.lower == bounds.upper
            };
            let around = |times| format!("a {}b", unit.repeat(times));
            assert!(is_exact(around(128), false));
            assert!(!is_exact(around(129), false));
            // The escapes of a tab are counted as what they are.
            assert!(is_exact(around(128).replace('\t', "\\t"), true));
            assert!(!is_exact(around(129).replace('\t', "\\t"), true));
        }
    }

    #[test]
    fn until_it_is_loaded_a_counter_is_an_estimator() {
        let counter = ExactCounter::for_models(&[Model::new("gpt-4"), Model::new("gpt-4-turbo")]);
        let text = Bytes::from_static(b"Write a short poem about cats.");
        let request = request([(text, false)]);
        let gpt_4 = Model::new("gpt-4");
        let rough = Estimator::new().count(&request, &gpt_4);
        assert!(!counter.is_loaded());
        assert_eq!(counter.count(&request, &gpt_4), rough);
        assert_eq!(counter.text("a", Encoding::Cl100kBase), None);

        let loading = counter.clone();
        loading.load_in_background().unwrap().join().unwrap();
        assert!(counter.is_loaded());
        assert_eq!(counter.count(&request, &gpt_4), TokenBounds::exact(14));
        // The vocabulary that no model needs is not there.
        assert_eq!(counter.text("a", Encoding::O200kBase), None);
        let gpt_4o = Model::new("gpt-4o");
        assert_eq!(
            counter.count(&request, &gpt_4o),
            Estimator::new().count(&request, &gpt_4o)
        );
    }
}
