//! What a running gateway charges for prompts whose tokens are known, as its headers tell.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{CONFIG, Caller, start_config};

const CASES: &str = include_str!("../../../tests/fixtures/tokens.jsonl");

/// So narrow that every prompt is counted: one token matters.
const LIMIT: u64 = 800;
/// What is reserved for the answer to a call that states no cap: an eighth of the limit.
const ANSWER: u64 = LIMIT / 8;

#[tokio::test]
async fn prompts_are_charged_what_they_hold() {
    let mut charged = 0;
    let narrow = format!("budget = {{ tokens_per_minute = {LIMIT} }}\nmodels.gpt-35-turbo = {{}}");
    let config = CONFIG
        .replacen("token_counts = \"estimate\"", "token_counts = \"exact\"", 1)
        .replacen("{}", &narrow, 1);
    for case in CASES.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let (input, expected) = (&case["input"], case["expect_tokens"].as_u64().unwrap());
        let (request, expected) = match case["kind"].as_str().unwrap() {
            // The frame of a message, its role, and what opens the answer.
            "text" => {
                let model = match case["encoding"].as_str().unwrap() {
                    "cl100k_base" => "gpt-35-turbo",
                    _ => "gpt-4o",
                };
                let messages = json!([{"role": "user", "content": input}]);
                let request = json!({"model": model, "messages": messages});
                (request, 3 + 1 + expected + 3)
            }
            kind if kind.starts_with("chat") => {
                let mut request = input.clone();
                // What the vocabulary was measured on, and no parameter.
                request.as_object_mut().unwrap().remove("rendered");
                (request, expected)
            }
            // Sizes alone, which the tokens crate tests.
            _ => continue,
        };
        // Each with a budget that nobody has used.
        let gateway = start_config(&config).await;
        let answer = Caller::new(&gateway).chat("us", &request).await;
        let name = &case["name"];
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let remaining = answer.header("x-ratelimit-remaining-tokens").unwrap();
        let remaining: u64 = remaining.parse().unwrap();
        assert_eq!(LIMIT - ANSWER - remaining, expected, "{name}");
        charged += 1;
    }
    assert!(charged > 30, "{charged}");
}
