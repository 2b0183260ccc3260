//! The service as a process, and callers who meet its rules.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};
use tollgate_stack_tests::{Answer, Caller, Example, ask};

/// Asks with one member more, on behalf of somebody.
async fn ask_with(caller: &Caller, name: &str, value: Value) -> Answer {
    let mut body = ask("Hi?");
    body["user"] = json!("anna");
    body[name] = value;
    caller.post("/v1/chat/completions", body.to_string()).await
}

fn assert_problem(answer: &Answer, parameter: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(answer.json()["parameter"], parameter);
}

#[tokio::test]
async fn the_rules_of_the_house() {
    let example = Example::start(env!("CARGO_BIN_EXE_custom-policy"), &["127.0.0.1:0"]).await;
    let caller = Caller::at(example.address);

    let known = ask_with(&caller, "top_k", json!(40)).await;
    assert_eq!(
        (known.status.as_u16(), &known.json()["top_k"]),
        (200, &json!(40))
    );
    let absorbed = ask_with(&caller, "metadata", json!({"trace": "1"})).await;
    assert_eq!(absorbed.headers["x-tollgate-absorbed"], "metadata");
    assert!(absorbed.json().get("metadata").is_none(), "{absorbed:?}");

    assert_problem(&ask_with(&caller, "top_k", json!(0)).await, "top_k");
    assert_problem(
        &ask_with(&caller, "logit_bias", json!({"1": 1})).await,
        "logit_bias",
    );
    assert_problem(&ask_with(&caller, "stop", json!(["a", "b"])).await, "stop");
    assert_problem(&ask_with(&caller, "user", Value::Null).await, "user");
    // OpenAI's own rules still hold.
    assert_problem(
        &ask_with(&caller, "temperature", json!(3)).await,
        "temperature",
    );
}
