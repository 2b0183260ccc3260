//! What budgets promise, kept by a running gateway over real connections.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use gateway::Gateway;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{
    Answer, Caller, start_config,
    upstream::{Sent, completion},
};
use tokio::time::{Instant, sleep, timeout};
use tollgate_stack_tests::{Latch, Reply, ScriptedUpstream, chunk};

const PROMPT: &str = "Write a short poem about cats.";
/// Of the prompt, as OpenAI's own tokenizer counts it.
const PROMPT_TOKENS: u64 = 14;

/// Two workspaces, one of them with two keys, and models without limits of their own.
async fn gateway(budget: &str, upstream: &ScriptedUpstream) -> Gateway {
    start_config(&config(budget, upstream)).await
}

fn config(budget: &str, upstream: &ScriptedUpstream) -> String {
    format!(
        r#"
listen = "127.0.0.1:0"
[budget]
{budget}
[[workspaces]]
name = "acme"
api_keys = ["sk-acme-1", "sk-acme-2"]
[[workspaces]]
name = "other"
api_keys = ["sk-other-1"]
[models.gpt-4o]
context_window = 1_000_000
max_output_tokens = 1_000_000
[models.gpt-4o-mini]
[[regions.eu.upstreams]]
name = "sweden"
url = "{}"
api_key = "upstream-key"
deployments = {{ gpt-4o = "of-4o", gpt-4o-mini = "of-mini" }}
"#,
        upstream.url()
    )
}

async fn prompt_upstream() -> ScriptedUpstream {
    ScriptedUpstream::in_turn([completion(PROMPT_TOKENS, 10)]).await
}

/// A message that is a prompt of 100 tokens.
fn prompt_of_100() -> String {
    ["hello"; 93].join(" ")
}

fn request(max_tokens: u64) -> Value {
    json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": max_tokens,
    })
}

async fn statuses(caller: &Caller, calls: usize, request: &Value) -> [usize; 2] {
    let answers = join_all((0..calls).map(|_| caller.chat("eu", request))).await;
    let count = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    let counts = [count(200), count(429)];
    assert_eq!(counts[0] + counts[1], calls, "{answers:?}");
    counts
}

fn remaining(answer: &Answer, unit: &str) -> u64 {
    let value = answer.header(&format!("x-ratelimit-remaining-{unit}"));
    value.unwrap().parse().unwrap()
}

/// The tokens that are used, as the next call learns; the smallest request there is.
async fn tokens_used(caller: &Caller, limit: u64) -> u64 {
    let mut probe = request(1);
    probe["messages"][0]["content"] = json!("");
    let answer = caller.chat("eu", &probe).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent: u64 = limit - remaining(&answer, "tokens");
    // The probe's own reservation: 3 + 1 + 0 + 3 of prompt, and 1.
    sent - 8
}

#[tokio::test]
async fn of_simultaneous_calls_exactly_the_limit_is_admitted() {
    let upstream = prompt_upstream().await;
    let budget = "requests_per_minute = 500\ntokens_per_minute = 10_000_000";
    let gateway = gateway(budget, &upstream).await;
    let caller = Caller::new(&gateway);
    assert_eq!(statuses(&caller, 600, &request(1)).await, [500, 100]);
    assert_eq!(upstream.received().len(), 500);
    // Operators see it too, and that nothing is left open.
    let metrics = Caller::at(gateway.admin_address().unwrap())
        .get("/metrics")
        .await;
    for line in [
        r#"tollgate_budget_open{workspace="acme",model="gpt-4o"} 0"#,
        r#"tollgate_budget_requests_total{workspace="acme",model="gpt-4o"} 500"#,
        r#"tollgate_budget_tokens_total{workspace="acme",model="gpt-4o"} 12000"#,
        r#"tollgate_budget_denied_total{workspace="acme",model="gpt-4o",unit="requests",wait="later"} 100"#,
    ] {
        assert!(
            metrics.text().lines().any(|l| l == line),
            "{line} is not in\n{}",
            metrics.text()
        );
    }
}

#[tokio::test]
async fn of_simultaneous_calls_no_more_than_the_tokens_are_admitted() {
    // Each reserves 1,100 tokens, and its upstream is silent until all have been decided on.
    let latch = Latch::new();
    let held = Reply::sse([chunk("", Some("stop"))])
        .event("[DONE]")
        .hold_at(0, &latch);
    let upstream = ScriptedUpstream::in_turn([held]).await;
    let gateway = gateway("tokens_per_minute = 60_000", &upstream).await;
    let caller = Caller::new(&gateway);
    let mut request = request(1_000);
    request["messages"][0]["content"] = json!(prompt_of_100());
    request["stream"] = json!(true);
    let calls = statuses(&caller, 200, &request);
    let release = async {
        upstream.called(54).await;
        latch.open();
    };
    let (counts, ()) = tokio::join!(calls, release);
    assert_eq!(counts, [54, 146]);
}

#[tokio::test]
async fn the_token_beyond_the_limit_is_refused() {
    let upstream = prompt_upstream().await;
    for (prompt, tokens) in [(PROMPT.to_owned(), PROMPT_TOKENS), (prompt_of_100(), 100)] {
        for (most, status) in [(60_000, 200), (60_001, 429)] {
            let gateway = gateway("tokens_per_minute = 60_000", &upstream).await;
            let mut request = request(most - tokens);
            request["messages"][0]["content"] = json!(prompt);
            let answer = Caller::new(&gateway).chat("eu", &request).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_costs_what_its_twin_costs() {
    let usage = json!({"prompt_tokens": 14, "completion_tokens": 77, "total_tokens": 91});
    let upstream = ScriptedUpstream::start(|seen| {
        if seen.json()["stream"] != true {
            return completion(PROMPT_TOKENS, 77);
        }
        // Usage is asked for, whatever the caller said.
        assert_eq!(seen.json()["stream_options"]["include_usage"], true);
        let mut last = chunk("", Some("stop"));
        last["choices"] = json!([]);
        last["usage"] = json!({"prompt_tokens": 14, "completion_tokens": 77, "total_tokens": 91});
        Reply::sse([chunk("Hello", Some("stop")), last]).event("[DONE]")
    })
    .await;
    for stream_options in [
        Value::Null,
        json!({"include_usage": true}),
        json!({"include_usage": false}),
        json!("none, and no stream"),
    ] {
        let gateway = gateway("tokens_per_minute = 60_000", &upstream).await;
        let caller = Caller::new(&gateway);
        let mut request = request(500);
        if !stream_options.is_string() {
            request["stream"] = json!(true);
            request["stream_options"] = stream_options.clone();
        }
        let answer = caller.chat("eu", &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let asked = stream_options["include_usage"] == true;
        assert_eq!(
            answer.text().contains("\"usage\""),
            asked || stream_options.is_string()
        );
        let used = tokens_used(&caller, 60_000).await;
        assert_eq!(used, usage["total_tokens"], "{stream_options}");
    }
}

#[tokio::test]
async fn who_leaves_pays_for_what_came() {
    for delivered in [1, 3, 10] {
        let stream = Reply::sse(vec![chunk(" cat", None); delivered]).stall();
        let upstream = ScriptedUpstream::start(move |seen| match seen.json()["stream"] == true {
            true => stream.clone(),
            false => completion(8, 0),
        })
        .await;
        let gateway = gateway("tokens_per_minute = 60_000", &upstream).await;
        let caller = Caller::new(&gateway);
        let mut request = request(20_000);
        request["stream"] = json!(true);
        let response = caller.open(caller.chat_request("eu", &request)).await;
        let mut body = response.into_body();
        let mut events = 0;
        while events < delivered {
            let frame = body.frame().await.unwrap().unwrap();
            events += frame
                .data_ref()
                .unwrap()
                .windows(6)
                .filter(|six| six == b"data: ")
                .count();
        }
        drop(body);
        // The upstream is let go at once.
        timeout(Duration::from_secs(1), upstream.disconnected())
            .await
            .expect("the upstream is let go");
        drop(caller);
        let caller = Caller::new(&gateway);
        let used = tokens_used(&caller, 60_000).await;
        // A token for each piece, or one for each three bytes, whichever is more.
        let output = (delivered as u64 * 4).div_ceil(3).max(delivered as u64);
        let estimated = PROMPT_TOKENS + output;
        assert!(
            used.abs_diff(estimated) <= 3,
            "{delivered} chunks: {used}, not {estimated}"
        );
    }
}

#[tokio::test]
async fn an_upstreams_failure_costs_nothing() {
    let upstream = ScriptedUpstream::start(|seen| match &*seen.text() {
        PROMPT => {
            let error = json!({"error": {"message": "Sorry", "type": "server_error"}});
            Reply::json(error).status(500)
        }
        _ => completion(8, 1),
    })
    .await;
    let gateway = gateway(
        "requests_per_minute = 10\ntokens_per_minute = 60_000",
        &upstream,
    )
    .await;
    let caller = Caller::new(&gateway);
    for stream in [false, true] {
        let mut request = request(30_000);
        request["stream"] = json!(stream);
        assert_eq!(caller.chat("eu", &request).await.status, 500);
    }
    assert_eq!(tokens_used(&caller, 60_000).await, 0);
    let mut small = request(1);
    small["messages"][0]["content"] = json!("");
    assert_eq!(remaining(&caller.chat("eu", &small).await, "requests"), 8);
}

#[tokio::test]
async fn keys_of_a_workspace_share_and_others_do_not() {
    let upstream = prompt_upstream().await;
    let gateway = gateway("requests_per_minute = 10", &upstream).await;
    let mut caller = Caller::new(&gateway);
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        9
    );
    caller.key = "sk-acme-2";
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        8
    );
    caller.key = "sk-other-1";
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        9
    );
    caller.key = "sk-acme-1";
    let mut mini = request(1);
    mini["model"] = json!("gpt-4o-mini");
    assert_eq!(remaining(&caller.chat("eu", &mini).await, "requests"), 9);
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        7
    );
}

#[tokio::test]
async fn a_name_that_is_made_up_has_no_budget() {
    let upstream = prompt_upstream().await;
    let gateway = gateway("requests_per_minute = 3", &upstream).await;
    let caller = Caller::new(&gateway);
    for number in 0..10 {
        let mut request = request(1);
        request["model"] = json!(format!("gpt-4o-{number}"));
        let answer = caller.chat("eu", &request).await;
        answer.assert_refusal(404, Some("model_not_found"));
        assert!(!answer.headers.contains_key("x-ratelimit-limit-requests"));
    }
    assert!(upstream.received().is_empty());
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        2
    );
}

#[tokio::test]
async fn a_retry_at_the_named_time_is_admitted() {
    let upstream = prompt_upstream().await;
    let gateway = gateway("requests_per_minute = 5\nslot_ms = 30", &upstream).await;
    let caller = Caller::new(&gateway);
    for _ in 0..3 {
        let refused = loop {
            let answer = caller.chat("eu", &request(1)).await;
            if answer.status != 200 {
                break answer;
            }
        };
        refused.assert_refusal(429, Some("rate_limit_exceeded"));
        let wait: u64 = refused.header("retry-after-ms").unwrap().parse().unwrap();
        sleep(Duration::from_millis(wait)).await;
        let retried = caller.chat("eu", &request(1)).await;
        assert_eq!(retried.status, 200, "after {wait} ms: {}", retried.text());
    }
}

#[tokio::test]
async fn no_minute_has_more_than_the_limit() {
    const LIMIT: usize = 40;
    // A minute of 600 ms.
    let upstream = prompt_upstream().await;
    let gateway = gateway(
        &format!("requests_per_minute = {LIMIT}\nslot_ms = 10"),
        &upstream,
    )
    .await;
    let caller = Caller::new(&gateway);
    let started = Instant::now();
    // When each admitted call began and ended: it was admitted between the two.
    let mut admitted = Vec::new();
    while started.elapsed() < Duration::from_secs(3) {
        let calls = (0..10).map(|_| async {
            let before = started.elapsed();
            let answer = caller.chat("eu", &request(1)).await;
            (answer.status == 200).then(|| (before, started.elapsed()))
        });
        admitted.extend(join_all(calls).await.into_iter().flatten());
    }
    assert!(admitted.len() > 2 * LIMIT, "{}", admitted.len());
    let mut ends: Vec<_> = admitted.iter().map(|(_, end)| *end).collect();
    ends.sort();
    for (_, end) in &admitted {
        // Calls that certainly were admitted in the minute before this one's end.
        let minute = end.saturating_sub(Duration::from_millis(600))..=*end;
        let within = admitted
            .iter()
            .filter(|(start, end)| minute.contains(start) && minute.contains(end))
            .count();
        assert!(within <= LIMIT, "{within} in the minute before {end:?}");
    }
}

#[tokio::test]
async fn a_reload_changes_limits_and_forgets_nothing() {
    let upstream = prompt_upstream().await;
    let gateway = gateway("requests_per_minute = 5", &upstream).await;
    let caller = Caller::new(&gateway);
    for left in [4, 3, 2] {
        assert_eq!(
            remaining(&caller.chat("eu", &request(1)).await, "requests"),
            left
        );
    }
    let wider = support::parse(&config("requests_per_minute = 7", &upstream));
    gateway.reload(wider).await.unwrap();
    assert_eq!(
        remaining(&caller.chat("eu", &request(1)).await, "requests"),
        3
    );
    let narrower = support::parse(&config("requests_per_minute = 2", &upstream));
    gateway.reload(narrower).await.unwrap();
    let refused = caller.chat("eu", &request(1)).await;
    refused.assert_refusal(429, Some("rate_limit_exceeded"));
}
