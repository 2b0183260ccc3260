//! Replaces the digits in streamed answers, and keeps one kind of event back.
//!
//! `cargo run -p tollgate-sse --example redact`

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tollgate_sse::{Flow, SseLayer, Tap};
use tower::{Layer, ServiceExt, service_fn};

/// A rule for single characters: text that a chunk may cut needs a tap that holds some of it back.
#[derive(Clone, Copy)]
struct NoDigits;

impl Tap for NoDigits {
    fn event(&mut self, json: &[u8]) -> Flow {
        // Whoever cannot read an event does not know what is in it.
        let Ok(mut chunk) = serde_json::from_slice::<Value>(json) else {
            return Flow::Drop;
        };
        let delta = &mut chunk["choices"][0]["delta"];
        if delta.get("reasoning_content").is_some() {
            return Flow::Drop;
        }
        match delta["content"].as_str() {
            Some(text) if text.contains(|c: char| c.is_numeric()) => {
                delta["content"] = text.replace(char::is_numeric, "#").into();
                Flow::Replace(chunk.to_string().into())
            }
            _ => Flow::Keep,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = service_fn(|_: Request<()>| async {
        let stream = concat!(
            "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"42?\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"My card is 4929 17\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"23 0001.\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\" Good bye.\"}}]}\n\n",
            "data: [DONE]\n\n",
        );
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, Infallible>(response.body(Full::from(stream)).unwrap_or_default())
    });

    let service = SseLayer::new().tap(NoDigits).layer(upstream);
    let response = service.oneshot(Request::new(())).await?;
    let answer = response.into_body().collect().await?.to_bytes();
    let answer = String::from_utf8(answer.to_vec())?;
    print!("{answer}");
    assert!(answer.contains("My card is #### ##") && answer.contains("## ####."));
    assert!(answer.contains(" Good bye.") && !answer.contains("42?"));
    Ok(())
}
