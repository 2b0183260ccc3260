//! A budget for something that is not a chat completion: text to speech, a token for each
//! character.
//!
//! `cargo run -p tollgate-budget --example metered_route`
//!
//! What a call costs must be known before it is made, or bounded: here by the length of the body
//! that the head announces. What it did cost is recorded when it is known. Callers without a model
//! have one budget for each workspace.
#![allow(clippy::unwrap_used, reason = "an example")]

use std::{convert::Infallible, num::NonZeroU64};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tollgate_budget::{BudgetLayer, Key, Limits, MemoryStore, Quota};
use tollgate_core::{Cost, Fact, Usage, UsageSlot, Workspace};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits::new(Quota::per_minute(
        NonZeroU64::new(30).unwrap(),
        NonZeroU64::new(100).unwrap(),
    ));
    let budget = BudgetLayer::new(MemoryStore::new(), limits).key(|head: &Parts| {
        let workspace = Workspace::require(&head.extensions)?;
        Ok(Key::new(workspace.as_str().to_owned(), "speech"))
    });
    let mut speech = ServiceBuilder::new()
        .map_request(|mut request: Request<Full<Bytes>>| {
            // Your authentication, and the price of your route: no character has less than a byte.
            let most = request.size_hint().upper().unwrap_or(u64::MAX);
            request.extensions_mut().insert(Workspace::new("acme"));
            request.extensions_mut().insert(Cost::tokens(most));
            request
        })
        .layer(budget)
        .service_fn(speak);

    for text in [
        "Grüße aus Köln.",
        "A far longer text, which is read out without any haste and so on.",
        "Too much by now, it is.",
    ] {
        let answer = speech
            .ready()
            .await?
            .call(Request::new(Full::from(text)))
            .await?;
        let left = &answer.headers()["x-ratelimit-remaining-tokens"];
        println!("{}: {left:?} characters were left", answer.status());
    }
    Ok(())
}

async fn speak(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let usage = UsageSlot::of(request.extensions())
        .cloned()
        .unwrap_or_default();
    let text = request.into_body().collect().await?.to_bytes();
    let characters = String::from_utf8_lossy(&text).chars().count();
    usage.record(Usage::new(characters as u64, 0));
    Ok(Response::new(Full::from("♪")))
}
