//! A refusal waits for the rest of the body, within bounds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{convert::Infallible, future::pending, time::Duration};

use http::{Request, Response, Version, request::Parts};
use http_body_util::BodyExt;
use tollgate_core::{
    DrainBody, DrainOnRefusalLayer, GateLayer, Rejection, RejectionKind, ResponseBody,
};
use tollgate_testing::{ScriptedBody, assert_layered};
use tower::{Layer, ServiceExt, service_fn};

type Body = DrainBody<ScriptedBody>;

fn refuse(_: &mut Parts) -> Result<(), Rejection> {
    Err(Rejection::new(RejectionKind::Unauthenticated))
}

async fn answer(_: Request<Body>) -> Result<Response<ScriptedBody>, Infallible> {
    Ok(Response::new(ScriptedBody::new()))
}

async fn refused(
    request: Request<ScriptedBody>,
    max_bytes: u64,
) -> Response<ResponseBody<ScriptedBody>> {
    let layer = DrainOnRefusalLayer::new(max_bytes, || tokio::time::sleep(Duration::from_secs(2)));
    let service = layer.layer(GateLayer::new(refuse).layer(service_fn(answer)));
    assert_layered(&service);
    service.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_read_before_the_refusal_is_sent() {
    let body = ScriptedBody::new().data("12345").pending().data("67890");
    let watch = body.watch();
    assert_eq!(refused(Request::new(body), 10).await.status(), 401);
    assert_eq!(watch.polls(), 4, "two frames, one wait, the end");
    assert!(watch.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn reading_on_is_bounded_in_bytes_and_time() {
    let long = ScriptedBody::new().frames(["12345"; 4]);
    let watch = long.watch();
    assert_eq!(refused(Request::new(long), 10).await.status(), 401);
    assert_eq!(watch.polls(), 3);

    let announced = ScriptedBody::new().frames(["12345"; 4]).announce_length();
    let watch = announced.watch();
    assert_eq!(refused(Request::new(announced), 10).await.status(), 401);
    assert_eq!(watch.polls(), 0, "too long to begin with");

    let start = tokio::time::Instant::now();
    assert_eq!(
        refused(Request::new(ScriptedBody::new().hang()), 10)
            .await
            .status(),
        401
    );
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_waits_for_100_continue_is_not_invited() {
    let body = ScriptedBody::new().data("12345");
    let watch = body.watch();
    let request = Request::builder()
        .header("expect", "100-continue")
        .body(body)
        .unwrap();
    assert_eq!(refused(request, 10).await.status(), 401);
    assert_eq!(watch.polls(), 0);
}

// curl 7.88 drops an answer that a reset of its stream follows.
#[tokio::test(start_paused = true)]
async fn http2_callers_are_heard_out_too() {
    let body = ScriptedBody::new().data("12345").pending().data("67890");
    let watch = body.watch();
    let request = Request::builder()
        .version(Version::HTTP_2)
        .body(body)
        .unwrap();
    assert_eq!(refused(request, 10).await.status(), 401);
    assert_eq!(watch.polls(), 4);
}

#[tokio::test]
async fn answers_that_are_no_refusals_are_not_held_back() {
    let layer = DrainOnRefusalLayer::new(1 << 20, pending::<()>);
    let body = ScriptedBody::new().data("a").hang();
    let response = layer
        .layer(service_fn(answer))
        .oneshot(Request::new(body))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_body_that_was_read_arrives_unchanged() {
    let layer = DrainOnRefusalLayer::new(1 << 20, pending::<()>);
    let echo = |request: Request<Body>| async {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(bytes))
    };
    let body = ScriptedBody::new().data("a").pending().data("b");
    let response = layer
        .layer(service_fn(echo))
        .oneshot(Request::new(body))
        .await
        .unwrap();
    assert_eq!(response.into_body(), "ab");
}
