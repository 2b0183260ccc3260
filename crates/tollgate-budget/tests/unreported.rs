//! What a call is charged that nobody reports on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use http::{HeaderMap, HeaderValue, Request, Response};
use support::{facts, limit, standing};
use tollgate_budget::{BudgetLayer, Limits, MemoryStore, Quota};
use tollgate_core::{Cost, Fact, Usage, UsageSlot};
use tollgate_testing::{ReadyProbe, ScriptedBody, check_body};
use tower::{Layer, ServiceExt};

const PROMPT: u64 = 19;
/// The prompt's upper bound and the cap of 500.
const RESERVED: u64 = 541;

/// What is used after one call with this answer.
async fn charged<A>(request: Request<&'static str>, answer: A) -> (u64, u64)
where
    A: Fn(&UsageSlot) -> Response<ScriptedBody> + Clone + Send + Sync + 'static,
{
    let store = MemoryStore::new();
    let quota = Quota::per_minute(limit(500), limit(60_000));
    let probe = ReadyProbe::new(move |request: Request<&'static str>| {
        answer(UsageSlot::of(request.extensions()).unwrap())
    });
    let service = BudgetLayer::new(store.clone(), Limits::new(quota)).layer(probe);
    let response = service.oneshot(request).await.unwrap();
    check_body(response.into_body()).await;
    standing(&store, "acme", "m").await
}

fn said(bytes: usize) -> Response<ScriptedBody> {
    let half = "x".repeat(bytes / 2);
    Response::new(ScriptedBody::new().data(half.clone()).pending().data(half))
}

#[tokio::test]
async fn an_answer_that_nobody_counts_is_charged_by_its_bytes_within_what_was_reserved() {
    for (bytes, tokens) in [
        (0, PROMPT),
        (300, PROMPT + 100),
        (20_000, RESERVED),
        (1_000_000, RESERVED),
    ] {
        let charged = charged(facts("acme", "m", 500), move |_| said(bytes)).await;
        assert_eq!(charged, (1, tokens), "{bytes} bytes");
    }
}

#[tokio::test]
async fn what_somebody_counts_or_states_is_not_charged_by_bytes() {
    let call = || facts("acme", "m", 500);
    let watched = charged(call(), |slot| {
        slot.watch_output();
        said(300)
    });
    assert_eq!(watched.await, (1, PROMPT));
    let counted = charged(call(), |slot| {
        slot.add_output(4, 15);
        said(300)
    });
    assert_eq!(counted.await, (1, PROMPT + 5));
    let measured = charged(call(), |slot| {
        slot.add_output(0, 15);
        said(300)
    });
    assert_eq!(measured.await, (1, PROMPT + 5));
    let reported = charged(call(), |slot| {
        slot.record(Usage::new(11, 2));
        said(300)
    });
    assert_eq!(reported.await, (1, 13));
    let mut stated = call();
    stated.extensions_mut().insert(Cost::tokens(30));
    assert_eq!(charged(stated, |_| said(300)).await, (1, 30));
}

#[tokio::test]
async fn a_grpc_status_is_as_good_as_an_http_status() {
    for (status, expected) in [
        ("0", (1, PROMPT)),
        ("1", (1, PROMPT)),
        ("2", (0, 0)),
        ("3", (1, 0)),
        ("4", (1, PROMPT)),
        ("5", (1, 0)),
        ("8", (0, 0)),
        ("13", (0, 0)),
        ("14", (0, 0)),
        ("15", (0, 0)),
        ("16", (1, 0)),
        ("nonsense", (1, 0)),
    ] {
        let trailers_alone = charged(facts("acme", "m", 500), move |_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            Response::new(ScriptedBody::new().trailers(trailers))
        });
        assert_eq!(trailers_alone.await, expected, "{status} in trailers");
        let head = charged(facts("acme", "m", 500), move |_| {
            let mut response = Response::new(ScriptedBody::new());
            let status = HeaderValue::from_static(status);
            response.headers_mut().insert("grpc-status", status);
            response
        });
        assert_eq!(head.await, expected, "{status} in the head");
    }
}

#[tokio::test]
async fn messages_that_came_before_a_grpc_status_are_paid_for() {
    let cut = charged(facts("acme", "m", 500), |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        Response::new(ScriptedBody::new().data("x".repeat(90)).trailers(trailers))
    });
    assert_eq!(cut.await, (1, PROMPT + 30));
}
