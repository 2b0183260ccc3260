//! The layer on this store: what callers see, and what a layer owes to those around it.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

mod support;

use std::num::NonZeroU64;

use http::{HeaderMap, Request, Response, StatusCode};
use support::{Instance, settings, used};
use tollgate_budget::{BudgetLayer, Limits, Quota, Store, Units};
use tollgate_core::{Cost, Model, Rejection, Usage, UsageSlot, Workspace};
use tollgate_testing::{
    ReadyProbe, RedisServer, ScriptedBody, assert_future, assert_layered, check_body,
};
use tower::{Layer, Service, ServiceExt};

fn request(tokens: u64) -> Request<()> {
    let mut request = Request::new(());
    let extensions = request.extensions_mut();
    extensions.insert(Workspace::new("acme"));
    extensions.insert(Model::new("gpt-4o"));
    extensions.insert(Cost::tokens(tokens));
    request
}

/// A service that records 14 + 86 tokens and says "hello".
fn answer(request: Request<()>) -> Response<ScriptedBody> {
    use tollgate_core::Fact;
    let slot = UsageSlot::of(request.extensions()).unwrap();
    slot.record(Usage::new(14, 86));
    Response::new(ScriptedBody::new().data("hel").pending().data("lo"))
}

fn layer<St: Store>(store: St) -> BudgetLayer<St> {
    let number = |n| NonZeroU64::new(n).unwrap();
    let quota = Quota::per_minute(number(500), number(60_000));
    BudgetLayer::new(store, Limits::new(quota))
}

fn standing(headers: &HeaderMap) -> [&str; 4] {
    [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
    ]
    .map(|name| headers[name].to_str().unwrap())
}

#[tokio::test]
async fn an_answer_passes_whole_and_says_how_much_is_left() {
    let server = RedisServer::start();
    let instance = Instance::at(&server.url());
    let mut service = layer(instance.store.clone()).layer(ReadyProbe::new(answer));
    assert_layered(&service);
    let future = service.ready().await.unwrap().call(request(500));
    assert_future(&future);
    let response = future.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let left = standing(response.headers());
    assert_eq!(left, ["500", "499", "60000", "59500"]);
    for dimension in ["requests", "tokens"] {
        let reset = &response.headers()[format!("x-ratelimit-reset-{dimension}")];
        assert!(
            reset == "1m1s" || reset.to_str().unwrap().starts_with("1m0."),
            "{reset:?}"
        );
    }
    assert_eq!(check_body(response.into_body()).await.data, "hello");
    // Settled at its end, before anything was dropped.
    instance.settled(1).await;
    assert_eq!(used(&instance.store).await, Units::new(1, 100));
}

#[tokio::test]
async fn another_process_is_refused_what_one_has_used() {
    let server = RedisServer::start();
    let [one, other] = [Instance::at(&server.url()), Instance::at(&server.url())];
    let mut service = layer(one.store.clone()).layer(ReadyProbe::new(answer));
    let open = service
        .ready()
        .await
        .unwrap()
        .call(request(60_000))
        .await
        .unwrap();
    let probe = ReadyProbe::new(|_: Request<()>| -> Response<ScriptedBody> {
        panic!("a refused request reached the service")
    });
    let refuse = async |tokens| {
        let service = layer(other.store.clone()).layer(probe.clone());
        service.oneshot(request(tokens)).await.unwrap()
    };
    let refused = refuse(1).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after-ms"));
    assert_eq!(standing(refused.headers()), ["500", "499", "60000", "0"]);
    let never = refuse(60_001).await;
    assert_eq!(never.headers()["x-should-retry"], "false");
    // Once it is known what was used, the rest is free.
    check_body(open.into_body()).await;
    one.settled(1).await;
    let service = layer(other.store.clone()).layer(ReadyProbe::new(answer));
    let response = service.oneshot(request(59_900)).await.unwrap();
    assert_eq!(standing(response.headers()), ["500", "498", "60000", "0"]);
}

#[tokio::test]
async fn without_a_server_callers_are_refused_and_told_nothing() {
    let mut server = RedisServer::start();
    let instance = Instance::with(settings(&server.url()));
    server.kill();
    let service = layer(instance.store.clone()).layer(ReadyProbe::new(answer));
    let response = service.oneshot(request(1)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    let detail = response
        .extensions()
        .get::<Rejection>()
        .unwrap()
        .to_string();
    assert!(!detail.contains("127.0.0.1"), "{detail}");
    let body = check_body(response.into_body()).await.data;
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(!text.contains("Redis"), "{text}");
}
