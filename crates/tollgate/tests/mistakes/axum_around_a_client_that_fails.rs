//! A client's errors have become answers, but their type remains.
//~ Result<_, Infallible>`

use std::io;

use axum::{Router, body::Body, error_handling::HandleErrorLayer, http::StatusCode};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::{RequestBody, UpstreamLayer, Upstreams};
use tower::ServiceBuilder;

async fn send(_: Request<RequestBody<Body>>) -> io::Result<Response<Full<Bytes>>> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn app(upstreams: Upstreams) -> Router {
    let stack = ServiceBuilder::new();
    #[cfg(fixed)]
    let stack = stack.layer(HandleErrorLayer::new(async |_: io::Error| {
        StatusCode::BAD_GATEWAY
    }));
    let gateway = stack.layer(UpstreamLayer::new(upstreams)).service_fn(send);
    Router::new().route_service("/openai/{region}/v1/chat/completions", gateway)
}
