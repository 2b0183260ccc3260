//! No layer boxes a future or a body.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    response::IntoResponse,
    routing::{Route, post, post_service},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use tollgate::{
    ApiKeyLayer, BudgetLayer, MemoryStore, ModelsLayer, RegionLayer, RequestBody, ResponseBody,
    ValidateLayer,
};
use tollgate_stack_tests::{Layers, ask, call};
use tollgate_testing::measure_allocations;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::util::Identity};

fn layers() -> Layers {
    // Nothing is sent anywhere.
    Layers::to_address(([127, 0, 0, 1], 1).into())
}

fn request() -> Request<Body> {
    call(&ask("Hi?"))
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

type Five = (
    RegionLayer,
    ApiKeyLayer,
    ValidateLayer,
    ModelsLayer,
    BudgetLayer<MemoryStore>,
);

fn five() -> Five {
    let all = layers();
    (all.region, all.keys, all.validate, all.models, all.budget)
}

/// The allocations of one call, when it is not the first.
fn allocations(mut app: Router) -> u64 {
    let mut call = |request: Request<Body>| app.call(request).now_or_never().unwrap();
    assert_eq!(call(request()).unwrap().status(), 200);
    let request = request();
    let ((), measured) = measure_allocations(|| drop(call(request).unwrap()));
    measured.count
}

/// What one call of a handler behind this layer allocates, as axum serves it.
fn around_a_handler<L>(layer: L, handler: impl Handler<((),), ()>) -> u64
where
    L: Layer<Route, Service: Service<Request<Body>, Response: IntoResponse, Error = Infallible>>,
    L: Clone + Send + Sync + 'static,
    L::Service: Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Response: 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
{
    let router = Router::new().route(PATH, post(handler)).layer(layer);
    // `axum::serve` does the same. Without it every call would build the stack anew.
    allocations(router.with_state(()))
}

/// What one call of this service allocates, as axum serves it.
fn by_itself<S>(service: S) -> u64
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    allocations(Router::new().route(PATH, post_service(service)))
}

const PATH: &str = "/openai/{region}/v1/chat/completions";

/// A service that is never boxed when it is cloned.
#[derive(Clone)]
struct Answer(#[allow(dead_code, reason = "services have a size")] u64);

impl<B> Service<Request<B>> for Answer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

/// How many boxes axum makes around these layers, and not around [`Identity`] in their place: all
/// that a call allocates, less what the layers allocate where axum has nothing to box. An empty body
/// takes no memory, in a box or without.
macro_rules! boxes {
    ($layers:expr, $handler:expr) => {{
        let bodiless = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(|_| Body::empty()))
            .layer($layers)
            .service(Answer(7));
        let layers = by_itself(bodiless) - by_itself(Answer(7));
        let around = around_a_handler($layers, $handler);
        around - around_a_handler(Identity::new(), $handler) - layers
    }};
}

#[tokio::test]
async fn in_axum_five_layers_cost_the_boxes_of_one() {
    let keeps_nothing = async || {};
    // Any layer that gives bodies another type has two: `axum::body::Body` is a box, and a body that
    // was read or is being watched can neither go back into the box that it came in nor do without.
    let wraps = || {
        ServiceBuilder::new()
            .map_request(|request: Request<Body>| request.map(RequestBody::streaming))
            .map_response(|response: Response<Body>| response.map(ResponseBody::inner))
    };
    assert_eq!(boxes!(wraps(), keeps_nothing), 2);

    assert_eq!(boxes!(five(), keeps_nothing), 2);

    // These two and no others: where the neighbours get what they take, none is left.
    let neither = || {
        ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(|_| Body::empty()))
            .layer(five())
            .map_request(|request: Request<RequestBody<Body>>| request.map(|_| Body::empty()))
    };
    assert_eq!(boxes!(neither(), keeps_nothing), 0);
}

#[tokio::test]
async fn in_axum_a_layer_that_waits_costs_a_clone_of_the_route() {
    // A `Route` is a box around the handler, and so is each of its clones, if the handler keeps
    // anything. Who waits before it calls needs one, as axum's own `from_fn` does: what was polled
    // ready goes into the future, and the service must be ready to be called again.
    let kept = StatusCode::OK;
    let keeps = move || ready(kept);
    let gates = || {
        let all = layers();
        (all.region, all.keys)
    };
    assert_eq!(boxes!(gates(), keeps), 1, "the answer's body");
    let reads = || layers().validate;
    assert_eq!(boxes!(reads(), keeps), 3, "two bodies, and a clone");
    assert_eq!(boxes!(five(), keeps), 4, "two bodies, and two clones");
}
