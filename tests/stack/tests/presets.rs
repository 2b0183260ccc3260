//! The stacks that one call builds are whole.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::num::NonZeroU64;

use axum::{Extension, Router, routing::post};
use tollgate::{
    ApiKeys, ChatRequest, Limits, Model, Models, Quota, Region, Upstream, Upstreams, Workspace,
    known, presets,
};
use tollgate_stack_tests::{Caller, KEY, ask, check_gateway, good_upstream, http_client, serve};
use tower::Layer;

fn keys() -> ApiKeys {
    ApiKeys::new().key(KEY, Workspace::new("acme")).unwrap()
}

fn limits(requests: u64, tokens: u64) -> Limits {
    let number = |n| NonZeroU64::new(n).unwrap();
    Limits::new(Quota::per_minute(number(requests), number(tokens)))
}

#[tokio::test]
async fn a_gateway() {
    let upstream = good_upstream().await;
    let [eu, us] = ["eu", "us"].map(|name| Region::new(name).unwrap());
    let url = format!("http://{}", upstream.address());
    let sweden = Upstream::azure("sweden", eu.clone(), url, "upstream-secret")
        .deployment("gpt-4o", "gpt-4o-deployment");
    let upstreams = Upstreams::builder().pool(eu, [sweden]).pool(us, []);
    let models = Models::builder()
        .model(known("gpt-4o").unwrap())
        .alias("best", "gpt-4o")
        .build()
        .unwrap();
    let preset = presets::gateway(
        keys(),
        models,
        limits(5, 50_000),
        upstreams.build().unwrap(),
    );
    let address = serve(preset.layer(http_client())).await;
    check_gateway(&Caller::at(address), &upstream).await;
}

#[tokio::test]
async fn a_model_server() {
    async fn chat(request: Extension<ChatRequest>) -> String {
        format!("{} was asked", request.model())
    }
    let models = Models::builder().model(Model::new("house-7b"));
    let preset = presets::model_server(keys(), models.build().unwrap(), limits(5, 50_000));
    let app = Router::new()
        .route("/v1/chat/completions", post(chat))
        .layer(preset);
    let caller = Caller::at(serve(app).await);
    let question = ask("Hi?").to_string();
    let known = question.replace("gpt-4o", "house-7b");
    let path = "/v1/chat/completions";

    let answer = caller.post(path, known.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = caller.post(path, known.clone()).await;
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 3);
    let unknown = caller.post(path, question).await;
    unknown.assert_refused(404, Some("model_not_found"));
    let stranger = caller.with_key("sk-guess").post(path, known).await;
    stranger.assert_refused(401, Some("invalid_api_key"));
}
