//! Middleware that insists on axum's body, inside a layer that gives it another.
//~ Request<RequestBody<Body>>>` is not implemented for `FromFn

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
};
use tollgate::{RequestBody, ValidateLayer};
use tower::ServiceBuilder;

async fn middleware(request: Request, next: Next) -> Response {
    next.run(request).await
}

fn app() -> Router {
    let stack = ServiceBuilder::new().layer(ValidateLayer::default());
    #[cfg(fixed)]
    let stack = stack.map_request(|request: Request<RequestBody<Body>>| request.map(Body::new));
    Router::new()
        .route("/v1/chat/completions", post(async || {}))
        .layer(stack.layer(from_fn(middleware)))
}
