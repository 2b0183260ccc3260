//! Admission, settlement, what callers see, and the layer contract.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

mod support;

use std::{num::NonZeroU64, time::Duration};

use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use support::{Time, facts, limit, standing};
use tollgate_budget::{BudgetLayer, Dimension, Key, Limits, MemoryStore, Quota};
use tollgate_core::{
    ChatRequest, Cost, Fact, InputKind, Model, Rejection, RejectionKind, RequestId, Usage,
    UsageSlot, Workspace,
};
use tollgate_testing::{ReadyProbe, ScriptedBody, assert_future, assert_layered, check_body};
use tower::{Layer, Service, ServiceExt};

fn quota(requests: u64, tokens: u64) -> Quota {
    Quota::per_minute(limit(requests), limit(tokens))
}

/// A service that records 14 + 86 tokens and says "hello".
fn answer(request: Request<&'static str>) -> Response<ScriptedBody> {
    let slot = UsageSlot::of(request.extensions()).unwrap();
    slot.record(Usage::new(14, 86));
    Response::new(ScriptedBody::new().data("hel").pending().data("lo"))
}

#[tokio::test]
async fn an_answer_passes_whole_and_says_how_much_is_left() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 60_000)));
    let mut service = layer.layer(ReadyProbe::new(answer));
    assert_layered(&service);
    let future = service
        .ready()
        .await
        .unwrap()
        .call(facts("acme", "gpt-4o", 500));
    assert_future(&future);
    let response = future.await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["x-ratelimit-limit-requests"], "500");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "499");
    assert_eq!(headers["x-ratelimit-reset-requests"], "1m1s");
    assert_eq!(headers["x-ratelimit-limit-tokens"], "60000");
    // The byte rule: 34 bytes, 7 of framing, and 500.
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "59459");
    assert_eq!(headers["x-ratelimit-reset-tokens"], "1m1s");
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(check_body(response.into_body()).await.data, "hello");
    // Settled at its end, before anything was dropped.
    let used = standing(&store, "acme", "gpt-4o").await;
    assert_eq!(used, (1, 100));
}

#[tokio::test]
async fn foreign_rate_limits_are_dropped() {
    let store = MemoryStore::new();
    let quota = Quota::tokens_per_minute(limit(60_000));
    let service = BudgetLayer::new(store, Limits::new(quota)).layer(ReadyProbe::new(
        |_: Request<&'static str>| {
            Response::builder()
                .header("x-ratelimit-limit-tokens", "1")
                .header("x-ratelimit-limit-tokens", "2")
                .header("x-ratelimit-remaining-requests", "3")
                .header("x-ratelimit-renewalperiod-tokens", "4")
                .header("x-other", "5")
                .body(ScriptedBody::new())
                .unwrap()
        },
    ));
    let response = service.oneshot(facts("acme", "m", 5)).await.unwrap();
    let names = |headers: &HeaderMap| {
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(response.headers()),
        [
            "x-other",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
            "x-request-id",
        ]
    );
    assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "60000");
}

async fn refusal(
    layer: &BudgetLayer<MemoryStore>,
    request: Request<&'static str>,
) -> (Response<()>, String) {
    let probe = ReadyProbe::new(|_: Request<&'static str>| -> Response<ScriptedBody> {
        panic!("a refused request reached the service")
    });
    let response = layer.layer(probe).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = check_body(body).await;
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    (Response::from_parts(head, ()), text)
}

async fn pass(layer: &BudgetLayer<MemoryStore>, request: Request<&'static str>) -> HeaderMap {
    let response = layer.layer(ReadyProbe::new(answer)).oneshot(request).await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers().clone();
    check_body(response.into_body()).await;
    headers
}

#[tokio::test]
async fn the_minute_is_every_minute() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let layer = BudgetLayer::new(store, Limits::new(quota(3, 60_000)));
    // At 0.5 s, 59 s and 59.9 s.
    for step in [500, 58_500, 900] {
        time.pass(step);
        pass(&layer, facts("acme", "gpt-4o", 500)).await;
    }
    time.pass(600);
    // 60.5 s: the next minute of the clock, but not of the budget.
    let (head, body) = refusal(&layer, facts("acme", "gpt-4o", 500)).await;
    assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        body,
        r#"{"error":{"message":"Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 500ms.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#
    );
    let headers = head.headers();
    // The wait, and a share of a slot that differs from request to request.
    let wait: u64 = headers["retry-after-ms"].to_str().unwrap().parse().unwrap();
    assert!((500..=1_500).contains(&wait), "{wait}");
    let seconds = wait.div_ceil(1_000).to_string();
    assert_eq!(headers["retry-after"], seconds);
    assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "59700");
    let kind = head.extensions().get::<Rejection>().unwrap().kind();
    assert_eq!(kind, RejectionKind::BudgetExceeded);
    // The second slot has left; the other two are a minute old only at 120 s.
    time.pass(500);
    pass(&layer, facts("acme", "gpt-4o", 500)).await;
    refusal(&layer, facts("acme", "gpt-4o", 500)).await;
    time.pass(58_999);
    refusal(&layer, facts("acme", "gpt-4o", 500)).await;
    time.pass(1);
    pass(&layer, facts("acme", "gpt-4o", 500)).await;
}

#[tokio::test]
async fn the_token_that_does_not_fit_is_refused_and_costs_nothing() {
    let store = MemoryStore::new().clock(Time::new().clock());
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 60_000)));
    let mut request = facts("acme", "gpt-4o", 0);
    request.extensions_mut().insert(Cost::tokens(59_900));
    let probe = ReadyProbe::new(|_: Request<&'static str>| Response::new(ScriptedBody::new()));
    let open = layer.layer(probe).oneshot(request).await.unwrap();

    let (head, body) = refusal(&layer, facts("acme", "gpt-4o", 82)).await;
    assert!(body.contains(
        "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 60000, Used 59900, \
         Requested 101. Please try again in 1m1s."
    ));
    assert!(body.contains(r#""type":"tokens""#));
    assert!(!body.contains("acme"));
    // Node ignores waits of a minute.
    assert_eq!(head.headers()["retry-after"], "59");
    assert_eq!(head.headers()["retry-after-ms"], "59900");
    assert_eq!(head.headers()["x-ratelimit-remaining-requests"], "499");
    assert_eq!(standing(&store, "acme", "gpt-4o").await, (1, 59_900));
    // One less fits, by the estimate. Other workspaces and models have budgets of their own.
    pass(&layer, facts("acme", "gpt-4o", 81)).await;
    pass(&layer, facts("acme", "gpt-4", 20_000)).await;
    pass(&layer, facts("other", "gpt-4o", 20_000)).await;
    drop(open);
}

#[tokio::test]
async fn of_a_wait_beyond_a_minute_the_next_refusal_names_the_rest() {
    let time = Time::new();
    let store = MemoryStore::new().clock(time.clock());
    let layer = BudgetLayer::new(store, Limits::new(quota(1, 60_000)));
    pass(&layer, facts("acme", "gpt-4o", 500)).await;
    let wait = async || -> u64 {
        let (head, _) = refusal(&layer, facts("acme", "gpt-4o", 500)).await;
        head.headers()["retry-after-ms"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    // It is 61 seconds, and not more than this is named.
    assert_eq!(wait().await, 59_900);
    time.pass(59_900);
    // With up to a slot on top, in which callers are spread.
    let rest = wait().await;
    assert!((1_100..=2_100).contains(&rest), "{rest}");
    time.pass(rest);
    pass(&layer, facts("acme", "gpt-4o", 500)).await;
}

#[tokio::test]
async fn what_can_never_fit_is_not_to_be_retried() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 1_000)));
    let (head, body) = refusal(&layer, facts("acme", "gpt-4o", 2_000)).await;
    assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        body,
        r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 1000, Requested 2019. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#
    );
    assert_eq!(head.headers()["x-should-retry"], "false");
    assert!(!head.headers().contains_key("retry-after"));
    assert!(!head.headers().contains_key("retry-after-ms"));
    assert_eq!(head.headers()["x-ratelimit-limit-tokens"], "1000");
    assert_eq!(store.keys(), 0);
}

#[tokio::test]
async fn a_call_without_a_cap_is_always_admitted_by_an_idle_budget() {
    for tokens in [100, 1_000, 60_000] {
        let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(quota(5, tokens)));
        let mut request = facts("acme", "m", 0);
        let chat =
            ChatRequest::builder("m")
                .message()
                .text(InputKind::Content, "x".repeat(60), false);
        request.extensions_mut().insert(chat.build());
        let headers = pass(&layer, request).await;
        let left: u64 = headers["x-ratelimit-remaining-tokens"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(left, tokens - 27 - 1_024.min(tokens / 8).min(tokens - 27));
    }
}

#[tokio::test]
async fn every_way_to_end_is_charged_as_the_table_says() {
    let prompt = 19;
    for (status, expected) in [
        (200, (1, prompt + 9)),
        (400, (1, 0)),
        (404, (1, 0)),
        (408, (1, prompt)),
        (429, (0, 0)),
        (500, (0, 0)),
        (503, (0, 0)),
        (504, (1, prompt)),
    ] {
        let store = MemoryStore::new();
        let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 60_000)));
        let probe = ReadyProbe::new(move |request: Request<&'static str>| {
            let slot = UsageSlot::of(request.extensions()).unwrap();
            if status == 200 {
                slot.add_output(7, 27);
            }
            let body = ScriptedBody::new().data("x");
            Response::builder().status(status).body(body).unwrap()
        });
        let response = layer.layer(probe).oneshot(facts("acme", "m", 500)).await;
        let body = response.unwrap().into_body();
        if status != 200 {
            assert_eq!(standing(&store, "acme", "m").await, expected, "{status}");
        }
        check_body(body).await;
        assert_eq!(standing(&store, "acme", "m").await, expected, "{status}");
    }
}

#[tokio::test]
async fn an_error_of_the_service_gives_everything_back() {
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store.clone(), Limits::new(quota(500, 60_000)));
    let broken = tower::service_fn(|_: Request<&'static str>| async {
        Err::<Response<ScriptedBody>, _>("connection refused")
    });
    let error = layer.layer(broken).oneshot(facts("acme", "m", 500)).await;
    assert_eq!(error.unwrap_err(), "connection refused");
    assert_eq!(standing(&store, "acme", "m").await, (0, 0));
}

#[tokio::test]
async fn a_missing_fact_is_our_mistake_and_not_the_callers() {
    let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(quota(5, 500)));
    for missing in 0..3 {
        let mut request = Request::new("");
        let extensions = request.extensions_mut();
        if missing != 0 {
            extensions.insert(Workspace::new("acme"));
        }
        if missing != 1 {
            extensions.insert(Model::new("m"));
        }
        if missing != 2 {
            extensions.insert(ChatRequest::builder("m").build());
        }
        let (head, body) = refusal(&layer, request).await;
        assert_eq!(head.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("Layer"), "{body}");
        let rejection = head.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), RejectionKind::MissingFact);
    }
}

#[tokio::test]
async fn a_key_of_ones_own_needs_no_model() {
    let store = MemoryStore::new();
    let layer =
        BudgetLayer::new(store.clone(), Limits::new(quota(1, 5_000))).key(|head: &Parts| {
            let workspace = Workspace::require(&head.extensions)?;
            Ok(Key::new(workspace.as_str().to_owned(), "everything"))
        });
    for (model, status) in [("a", 200), ("b", 429)] {
        let mut request = facts("acme", model, 5);
        request.extensions_mut().remove::<Model>();
        let service = layer.layer(ReadyProbe::new(answer));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
    }
    assert_eq!(standing(&store, "acme", "everything").await.0, 1);
}

#[tokio::test]
async fn requests_that_do_not_match_pass_without_facts() {
    let probe = ReadyProbe::new(|request: Request<&'static str>| {
        assert!(UsageSlot::of(request.extensions()).is_none());
        assert!(RequestId::of(request.extensions()).is_none());
        Response::new(ScriptedBody::new().data("free"))
    });
    let service = BudgetLayer::new(MemoryStore::new(), Limits::new(quota(5, 500)))
        .when(|head: &Parts| head.uri.path() != "/")
        .layer(probe);
    let response = service.oneshot(Request::new("")).await.unwrap();
    assert!(!response.headers().contains_key("x-ratelimit-limit-tokens"));
    assert_eq!(check_body(response.into_body()).await.data, "free");
}

#[tokio::test]
async fn limits_change_and_counts_stay() {
    let limits = Limits::new(quota(5, 60_000));
    let store = MemoryStore::new();
    let layer = BudgetLayer::new(store, limits.clone());
    pass(&layer, facts("acme", "m", 5)).await;
    pass(&layer, facts("acme", "m", 5)).await;
    limits.replace(Limits::new(quota(500, 60_000)).pair("acme", "m", quota(2, 60_000)));
    let (_, body) = refusal(&layer, facts("acme", "m", 5)).await;
    assert!(body.contains("Limit 2, Used 2"), "{body}");
    limits.replace(Limits::new(quota(3, 60_000)));
    let headers = pass(&layer, facts("acme", "m", 5)).await;
    assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
}

#[tokio::test]
async fn under_grpc_a_refusal_is_a_status() {
    let layer = BudgetLayer::new(MemoryStore::new(), Limits::new(quota(5, 50)));
    let mut request = facts("acme", "m", 500);
    let grpc = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", grpc);
    let (head, body) = refusal(&layer, request).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["grpc-status"], "3");
    assert_eq!(body, "");
}

#[test]
fn units_and_quotas_say_what_they_are() {
    assert_eq!(Dimension::Tokens.to_string(), "tokens");
    let quota = Quota::requests_per_minute(NonZeroU64::MIN).tokens_per_second(limit(7));
    assert_eq!(quota.minute().tokens, None);
    assert_eq!(quota.second().tokens, Some(limit(7)));
    assert_eq!(Duration::from_secs(1), Duration::from_millis(1_000));
}
