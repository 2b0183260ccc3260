//! Counts the words of streamed answers, without touching them.
//!
//! `cargo run -p tollgate-sse --example words`

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tollgate_sse::{Flow, SseLayer, StreamEnd, Tap};
use tower::{Layer, ServiceExt, service_fn};

/// Each stream gets a clone: `in_word` is its own, the total is everybody's.
#[derive(Clone, Default)]
struct WordCount {
    total: Arc<AtomicU64>,
    in_word: bool,
}

impl Tap for WordCount {
    fn event(&mut self, json: &[u8]) -> Flow {
        let chunk: Value = serde_json::from_slice(json).unwrap_or_default();
        let content = chunk["choices"][0]["delta"]["content"].as_str();
        // A word may be cut by the end of a chunk, so what counts is where words begin.
        for letter in content.unwrap_or_default().chars() {
            let begins = !self.in_word && letter.is_alphanumeric();
            self.total.fetch_add(u64::from(begins), Ordering::Relaxed);
            self.in_word = letter.is_alphanumeric();
        }
        Flow::Keep
    }

    fn end(&mut self, end: &StreamEnd) {
        let whole = matches!(end, StreamEnd::Complete);
        println!("a stream ended, complete: {whole}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = service_fn(|_: Request<()>| async {
        let texts = ["The night sk", "y is dark", ", mostly."];
        let chunk = |text: &str| {
            let choice = serde_json::json!({"index": 0, "delta": {"content": text}});
            format!("data: {}\n\n", serde_json::json!({"choices": [choice]}))
        };
        let stream = texts.map(chunk).concat() + "data: [DONE]\n\n";
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(Full::from(stream)).unwrap_or_default())
    });

    let words = WordCount::default();
    let service = SseLayer::new().tap(words.clone()).layer(upstream);
    for _ in 0..3 {
        let response = service.clone().oneshot(Request::new(())).await?;
        response.into_body().collect().await?;
    }
    let total = words.total.load(Ordering::Relaxed);
    println!("{total} words");
    assert_eq!(total, 18);
    Ok(())
}
