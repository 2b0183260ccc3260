//! What the upstreams of these tests answer, and are asked.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::time::sleep;
use tollgate_stack_tests::{Reply, ScriptedUpstream, chunk, completion_that_took};

/// A completion that used so many tokens of prompt and answer.
pub fn completion(prompt: u64, output: u64) -> Reply {
    completion_that_took(prompt, output, "Hello")
}

/// A stream that is one event and its end.
pub fn short_stream() -> Reply {
    Reply::sse([chunk("Hello", Some("stop"))]).event("[DONE]")
}

/// A stream in these pieces.
pub fn stream(pieces: impl IntoIterator<Item = Bytes>) -> Reply {
    let kind = "text/event-stream; charset=utf-8";
    let start = Reply::new(200).header(CONTENT_TYPE, kind).chunked();
    pieces.into_iter().fold(start, Reply::data)
}

/// A stream whose head comes, and then events as fast as they are read.
pub fn endless() -> Reply {
    let event = format!("data: {}\n\n", chunk(&"cat ".repeat(4_000), None));
    stream([]).endless(event)
}

/// Waits until endless answers are no longer read: every buffer on the way to so many clients fills
/// up, most of them the operating system's. `before` is what was sent before they asked.
pub async fn await_stall(upstream: &ScriptedUpstream, before: u64, clients: u64) {
    let mut last = before;
    loop {
        sleep(Duration::from_millis(300)).await;
        let now = upstream.sent();
        if now == last && now > before {
            return;
        }
        let sent = now - before;
        assert!(sent < clients * (64 << 20), "nothing holds it back");
        last = now;
    }
}

/// What a request says to an upstream.
pub trait Sent {
    fn json(&self) -> Value;

    /// What the last message says.
    fn text(&self) -> String {
        let json = self.json();
        let last = json["messages"].as_array().unwrap().last().unwrap().clone();
        last["content"].as_str().unwrap_or_default().to_owned()
    }
}

impl Sent for Request<Bytes> {
    fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap()
    }
}
