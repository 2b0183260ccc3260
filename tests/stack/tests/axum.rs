//! The stack in axum: as one `ServiceBuilder`, and layer by layer with other middleware between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;

use axum::{
    Extension, Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{Method, StatusCode, request::Parts};
use tokio::net::TcpListener;
use tollgate::{ChatRequest, HyperUtil, RequestBody, Usage, UsageSlot, Workspace};
use tollgate_stack_tests::{
    Caller, HttpClient, Layers, ask, check_gateway, good_upstream, http_client,
};
use tower::ServiceBuilder;

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A proxy as people have one in axum: a handler with a client.
fn proxy() -> Router {
    async fn forward(State(client): State<HttpClient<Body>>, request: Request) -> Response {
        match client.request(request).await {
            Ok(response) => response.into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    Router::new()
        .route("/openai/{region}/v1/chat/completions", post(forward))
        .with_state(http_client())
}

/// Somebody else's middleware, which knows one body type.
async fn other(request: Request, next: Next) -> Response {
    next.run(request).await
}

#[tokio::test]
async fn one_service_builder_in_one_layer_call() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let stack = ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream)
        .layer(layers.sse);
    let address = serve(proxy().layer(stack)).await;
    check_gateway(&Caller::at(address), &upstream).await;
}

#[tokio::test]
async fn layer_by_layer_with_other_middleware_between() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    // The last one that is added is the outermost.
    let app = proxy()
        .layer(from_fn(other))
        .layer(layers.sse)
        .layer(from_fn(other))
        .layer(layers.upstream)
        .layer(from_fn(other))
        .layer(layers.budget)
        .layer(from_fn(other))
        .layer(layers.models)
        .layer(from_fn(other))
        .layer(layers.validate)
        .layer(from_fn(other))
        .layer(layers.keys)
        .layer(from_fn(other))
        .layer(layers.region);
    check_gateway(&Caller::at(serve(app).await), &upstream).await;
}

#[tokio::test]
async fn other_middleware_in_the_builder_needs_one_line() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let stack = ServiceBuilder::new()
        .layer(from_fn(other))
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .map_request(|request: Request<RequestBody<Body>>| request.map(Body::new))
        .layer(from_fn(other))
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream)
        .layer(layers.sse);
    let address = serve(proxy().layer(stack)).await;
    check_gateway(&Caller::at(address), &upstream).await;
}

#[tokio::test]
async fn the_stack_around_a_client_is_a_service_of_a_route() {
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let stack = ServiceBuilder::new()
        // The client's errors become answers in UpstreamLayer; axum wants it from the types, too.
        .layer(HandleErrorLayer::new(
            |_: hyper_util::client::legacy::Error| async { StatusCode::BAD_GATEWAY },
        ))
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream.classify(HyperUtil::default()))
        .layer(layers.sse)
        .service(http_client());
    let app = Router::new().fallback_service(stack);
    check_gateway(&Caller::at(serve(app).await), &upstream).await;
}

#[tokio::test]
async fn a_handler_reads_facts_and_reports_usage() {
    async fn model(
        Extension(workspace): Extension<Workspace>,
        Extension(request): Extension<ChatRequest>,
        Extension(usage): Extension<UsageSlot>,
        body: String,
    ) -> String {
        assert_eq!(body, ask("Hi?").to_string());
        usage.record(Usage::new(100, 20));
        format!("{workspace} asks {}", request.model())
    }
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let stack = ServiceBuilder::new()
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget);
    let app = Router::new()
        .route("/v1/chat/completions", post(model))
        .layer(stack);
    let caller = Caller::at(serve(app).await);
    let body = ask("Hi?").to_string();

    let first = caller.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(first.text(), "acme asks gpt-4o");
    let reserved = 50_000 - first.number("x-ratelimit-remaining-tokens");
    let second = caller.post("/v1/chat/completions", body).await;
    assert_eq!(
        second.number("x-ratelimit-remaining-tokens"),
        50_000 - 120 - reserved
    );
}

#[tokio::test]
async fn layers_around_a_whole_service_decide_on_what_matches() {
    fn is_chat(head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path().ends_with("/chat/completions")
    }
    let upstream = good_upstream().await;
    let layers = Layers::to(&upstream);
    let stack = ServiceBuilder::new()
        .layer(layers.region.when(is_chat))
        .layer(layers.keys.when(is_chat))
        .layer(layers.validate.when(is_chat))
        .layer(layers.models.when(is_chat))
        .layer(layers.budget.when(is_chat))
        .layer(layers.upstream.when(is_chat))
        .layer(layers.sse.when(is_chat));
    let app = proxy()
        .route("/echo", post(|body: String| async { body }))
        .layer(stack);
    let caller = Caller::at(serve(app).await);
    let other = caller.post("/echo", "{ not for us").await;
    assert_eq!(other.text(), "{ not for us");
    assert!(!other.headers.contains_key("x-request-id"), "{other:?}");
    check_gateway(&caller, &upstream).await;
}
