//! The service as a process, and callers of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::json;
use tollgate_stack_tests::{Caller, Example, ask};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn an_existing_service_with_three_layers_more() {
    let example = Example::start(env!("CARGO_BIN_EXE_axum-service"), &["127.0.0.1:0"]).await;
    let alice = Caller::at(example.address).with_key("token-of-alice");
    let mut question = ask("Hi there!");
    question["model"] = json!("gpt-4o-mini");

    let answer = alice.post(CHAT, question.to_string()).await;
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "You said: Hi there!"
    );
    assert_eq!(answer.json()["model"], "house-7b");
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 59);
    // What the model reported is what was charged: 6 tokens, and not what was reserved.
    let first = answer.number("x-ratelimit-remaining-tokens");
    let answer = alice.post(CHAT, question.to_string()).await;
    assert_eq!(answer.number("x-ratelimit-remaining-tokens"), first - 6);

    let mut hot = question.clone();
    hot["temperature"] = json!(3);
    alice
        .post(CHAT, hot.to_string())
        .await
        .assert_refused(400, Some("decimal_above_max_value"));
    alice
        .post(CHAT, ask("Hi!").to_string())
        .await
        .assert_refused(404, Some("model_not_found"));

    // Bob has a budget of his own, and a small one.
    let bob = Caller::at(example.address).with_key("token-of-bob");
    for _ in 0..2 {
        assert_eq!(bob.post(CHAT, question.to_string()).await.status, 200);
    }
    let spent = bob.post(CHAT, question.to_string()).await;
    spent.assert_refused(429, Some("rate_limit_exceeded"));

    // The rest of the service is as it was.
    let stranger = Caller::at(example.address).with_key("guess");
    assert_eq!(
        stranger.post(CHAT, question.to_string()).await.text(),
        "who are you?"
    );
    assert_eq!(stranger.get("/healthz").await.text(), "ok");
}
