//! Budgets: headers on every answer, 429 when there is no room, room again after the window.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Caller, ask, ask_streamed, start};
use tokio::time::sleep;

const HEADERS: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
];

#[tokio::test]
async fn answers_say_how_much_is_left() {
    let gateway = start("budget = { requests_per_minute = 7, tokens_per_minute = 9_000 }").await;
    let caller = Caller::new(&gateway);
    for (request, left) in [(ask("Hello"), "6"), (ask_streamed("Hello"), "5")] {
        let answer = caller.chat("eu", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for name in HEADERS {
            assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
        }
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("7"));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("9000"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
    }
}

#[tokio::test]
async fn a_window_that_is_full_has_room_again() {
    // A window of 60 slots of 20 ms.
    let gateway = start("budget = { requests_per_minute = 3, slot_ms = 20 }").await;
    let caller = Caller::new(&gateway);
    for _ in 0..3 {
        assert_eq!(caller.chat("eu", &ask("Hello")).await.status, 200);
    }
    // Regions share a workspace's budget.
    let refused = caller.chat("us", &ask("Hello")).await;
    let error = refused.assert_refusal(429, Some("rate_limit_exceeded"));
    assert_eq!(error["type"], "requests");
    let wait: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
    assert!(wait <= 1_300, "{wait}");
    assert!(refused.headers.contains_key("retry-after"));
    // Another model has its own budget.
    let mut other = ask("Hello");
    other["model"] = json!("gpt-4o-mini");
    assert_eq!(caller.chat("eu", &other).await.status, 200);
    sleep(Duration::from_millis(wait)).await;
    assert_eq!(caller.chat("us", &ask("Hello")).await.status, 200);
}

#[tokio::test]
async fn what_never_fits_is_not_worth_waiting_for() {
    let gateway = start("budget = { tokens_per_minute = 100 }").await;
    let mut request = ask("Hello");
    request["max_tokens"] = json!(5_000);
    let answer = Caller::new(&gateway).chat("eu", &request).await;
    let error = answer.assert_refusal(429, Some("rate_limit_exceeded"));
    assert_eq!(error["type"], "tokens");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_workspace_has_its_own_limits() {
    let gateway = start("").await;
    let mut caller = Caller::new(&gateway);
    caller.key = "sk-small-1";
    let mut request = ask("Hello");
    request["model"] = json!("gpt-4o-mini");
    for _ in 0..2 {
        let answer = caller.chat("eu", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
    }
    caller
        .chat("eu", &request)
        .await
        .assert_refusal(429, Some("rate_limit_exceeded"));
    // What is refused elsewhere in the stack costs nothing.
    caller.key = support::KEY;
    for _ in 0..4 {
        let answer = caller.chat("eu", &json!({"model": "gpt-4o"})).await;
        assert_eq!(answer.status, 400);
    }
    let answer = caller.chat("eu", &ask("Hello")).await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("499"));
}
