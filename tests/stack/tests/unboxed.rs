//! No layer boxes a future or a body.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use allocation_counter::measure;
use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, header::AUTHORIZATION};
use http_body::{Body as _, Frame};
use tollgate_stack_tests::{KEY, Layers, ask};
use tower::{Service, ServiceBuilder, ServiceExt, layer::util::Identity, service_fn};

fn layers() -> Layers {
    // Nothing is sent anywhere.
    Layers::to_address(([127, 0, 0, 1], 1).into())
}

fn request() -> Request<Body> {
    Request::post("/openai/eu/v1/chat/completions")
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(Body::from(ask("Hi?").to_string()))
        .unwrap()
}

const LARGE: usize = 10_000;

/// A future and a body that would make a pointer to it look small.
struct Large([u8; LARGE]);

impl Future for Large {
    type Output = Result<Response<Self>, Infallible>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(Response::new(Self(self.0))))
    }
}

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn what_is_inside_is_held_in_place() {
    let layers = layers();
    let mut stack = ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget)
        .layer(layers.upstream)
        .layer(layers.sse)
        .service_fn(|_| Large([0; LARGE]));
    let future = stack.ready().await.unwrap().call(request());
    assert!(size_of_val(&future) > LARGE, "{}", size_of_val(&future));
    let body = future.await.unwrap().into_body();
    assert!(!body.is_end_stream());
    assert!(size_of_val(&body) > LARGE, "{}", size_of_val(&body));
}

/// The allocations of one call, when it is not the first.
fn allocations<S>(mut service: S) -> u64
where
    S: Service<Request<Body>, Response: Sized, Error = Infallible>,
{
    let mut call = |request| service.call(request).now_or_never().unwrap().map(drop);
    call(request()).unwrap();
    let request = request();
    measure(|| call(request).unwrap()).count_total
}

fn empty<B>(_: Request<B>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::empty())))
}

#[tokio::test]
async fn axum_boxes_the_request_body_and_no_layer() {
    let layers = layers();
    let five = ServiceBuilder::new()
        .layer(layers.region)
        .layer(layers.keys)
        .layer(layers.validate)
        .layer(layers.models)
        .layer(layers.budget);
    let app = Router::new().route("/openai/{region}/v1/chat/completions", post(async || {}));

    let by_themselves =
        allocations(five.clone().service_fn(empty)) - allocations(service_fn(empty));
    let in_axum = allocations(app.clone().layer(five));
    let identity = allocations(app.layer(Identity::new()));
    // One: axum boxes the body that ValidateLayer hands on, which is not of axum's type.
    assert_eq!(in_axum - identity, by_themselves + 1);
}
