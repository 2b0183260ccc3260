//! The recommended order is the one that works. Any other is a 500, and a line in the log that
//! names the layer to move: never a silent pass.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tollgate::{
    ChatRequest, Fact, GateLayer, Model, ModelList, Models, ModelsLayer, Region, Rejection,
    RejectionKind, Upstream, UpstreamLayer, Upstreams, Workspace,
};
use tollgate_stack_tests::{Layers, Log, ScriptedUpstream, ask};
use tower::{Service, ServiceBuilder, ServiceExt};

fn layers() -> Layers {
    // Nothing is sent anywhere.
    Layers::to(&ScriptedUpstream::refusing())
}

fn request() -> Request<Full<Bytes>> {
    tollgate_stack_tests::call(&ask("Hi?"))
}

/// Where a request comes out that passed every layer.
fn answer<B>(_: Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut response = Response::new(Full::from("{}"));
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    ready(Ok(response))
}

/// Asserts that this stack answers 500 because `fact` is missing, and logs that `layer` is.
async fn assert_misbuilt<S, B>(stack: S, fact: &str, layer: &str)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let line = format!("the fact `{fact}` is missing from the request: put {layer}");
    assert_logs(stack, request(), &line).await;
}

/// Asserts that this stack answers 500 because of how it is built, and logs this.
async fn assert_logs<S, B>(stack: S, request: Request<Full<Bytes>>, line: &str)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let log = Log::start();
    let response = stack.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500, "passed, which should log: {line}");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::MissingFact);
    assert!(
        log.text().contains(line),
        "not in the log: {line}\n{}",
        log.text()
    );

    // None of it is the caller's business.
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(
        body.contains("server_error") && !body.contains("Layer"),
        "{body}"
    );
}

#[tokio::test]
async fn the_recommended_order_works() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream)
        .layer(layers.sse)
        .service_fn(answer);
    assert_eq!(stack.oneshot(request()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn models_outside_validate() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.models)
        .layer(layers.validate)
        .service_fn(answer);
    assert_misbuilt(stack, "ChatRequest", "ValidateLayer").await;
}

#[tokio::test]
async fn budget_outside_keys() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.keys)
        .service_fn(answer);
    assert_misbuilt(stack, "Workspace", "ApiKeyLayer").await;
}

#[tokio::test]
async fn budget_outside_models() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.budget)
        .layer(layers.models)
        .service_fn(answer);
    assert_misbuilt(stack, "Model", "ModelsLayer").await;
}

#[tokio::test]
async fn budget_outside_validate() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .map_request(|mut request: Request<Full<Bytes>>| {
            request.extensions_mut().insert(Model::new("gpt-4o"));
            request
        })
        .layer(layers.budget)
        .layer(layers.validate)
        .service_fn(answer);
    assert_misbuilt(stack, "ChatRequest", "ValidateLayer").await;
}

#[tokio::test]
async fn upstream_outside_region() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.upstream)
        .layer(layers.region)
        .service_fn(answer);
    assert_misbuilt(stack, "Region", "RegionLayer").await;
}

#[tokio::test]
async fn upstream_outside_models() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.validate)
        .layer(layers.upstream)
        .layer(layers.models)
        .service_fn(answer);
    assert_misbuilt(stack, "Model", "ModelsLayer").await;
}

#[tokio::test]
async fn an_upstream_that_reads_the_model_from_the_body_outside_validate() {
    let eu = Region::new("eu").unwrap();
    let paris = Upstream::openai("paris", eu.clone(), "http://paris.test/v1", "k")
        .deployment("gpt-4o", "gpt-4o");
    let upstreams = Upstreams::builder().pool(eu, [paris]).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(layers().region)
        .map_request(|mut request: Request<Full<Bytes>>| {
            request.extensions_mut().insert(Model::new("gpt-4o"));
            request
        })
        .layer(UpstreamLayer::new(upstreams))
        .service_fn(answer);
    assert_misbuilt(stack, "SharedBody", "ValidateLayer").await;
}

#[tokio::test]
async fn models_of_workspaces_outside_keys() {
    let layers = layers();
    let models = Models::builder()
        .model(Model::new("gpt-4o"))
        .allow(Workspace::new("acme"), ["gpt-4o"])
        .build()
        .unwrap();
    let stack = ServiceBuilder::new()
        .layer(layers.validate)
        .layer(ModelsLayer::new(models.clone()))
        .layer(layers.keys)
        .service_fn(answer);
    assert_misbuilt(stack, "Workspace", "ApiKeyLayer").await;
    let list = Request::get("/v1/models").body(Full::default()).unwrap();
    let line = "the fact `Workspace` is missing from the request: put ApiKeyLayer";
    assert_logs(ModelList::new(models), list, line).await;
}

#[tokio::test]
async fn a_budget_that_only_watches_outside_models() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.budget.shadow())
        .layer(layers.models)
        .service_fn(answer);
    assert_misbuilt(stack, "Model", "ModelsLayer").await;
}

#[tokio::test]
async fn a_budget_that_caps_outputs_outside_validate() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .map_request(|mut request: Request<Full<Bytes>>| {
            let extensions = request.extensions_mut();
            extensions.insert(Model::new("gpt-4o"));
            extensions.insert(ChatRequest::builder("gpt-4o").build());
            request
        })
        .layer(layers.budget.cap_upstream())
        .service_fn(answer);
    assert_misbuilt(stack, "SharedBody", "ValidateLayer").await;
}

/// Reads a body, as a middleware that logs it might.
fn read<B: Body>(request: Request<B>) -> Request<B> {
    assert!(request.body().size_hint().exact().is_some());
    request
}

#[tokio::test]
async fn whoever_edits_the_body_inside_whoever_reads_it() {
    let layers = layers();
    let stack = ServiceBuilder::new()
        .layer(layers.keys.clone())
        .layer(layers.validate.clone())
        .map_request(read)
        .layer(layers.models.clone())
        .service_fn(answer);
    let alias = request().map(|_| Full::from(ask("Hi?").to_string().replace("gpt-4o", "best")));
    assert_logs(
        stack,
        alias,
        "put ModelsLayer outside whatever reads the body",
    )
    .await;

    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .map_request(read)
        .layer(layers.budget.cap_upstream())
        .service_fn(answer);
    assert_logs(
        stack,
        request(),
        "put BudgetLayer outside whatever reads the body",
    )
    .await;
}

/// A fact of somebody's own.
#[derive(Clone)]
struct Plan;

impl Fact for Plan {
    const NAME: &'static str = "Plan";
    const WRITTEN_BY: &'static str = "the billing middleware";
}

#[tokio::test]
async fn a_gate_of_ones_own_outside_what_it_needs() {
    let gate = || GateLayer::new(|head: &mut Parts| Plan::require(&head.extensions).map(drop));
    let stack = ServiceBuilder::new().layer(gate()).service_fn(answer);
    assert_misbuilt(stack, "Plan", "the billing middleware").await;

    // In gRPC it is a status, as every refusal.
    let mut call = request();
    let grpc = "application/grpc".parse().unwrap();
    call.headers_mut().insert("content-type", grpc);
    let stack = ServiceBuilder::new().layer(gate()).service_fn(answer);
    let response = stack.oneshot(call).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "13");
}

#[tokio::test]
async fn streams_need_nobody() {
    let log = Log::start();
    let layer = layers().sse;
    let stack = ServiceBuilder::new().layer(layer).service_fn(answer);
    assert_eq!(stack.oneshot(request()).await.unwrap().status(), 200);
    assert!(!log.text().contains("missing"), "{}", log.text());
}
