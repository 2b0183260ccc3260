//! Layers answer in HTTP, as what is inside them must.
//~ found `Result<String, Infallible>`

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::{RequestBody, ValidateLayer};
use tower::{ServiceBuilder, ServiceExt};

async fn generate(_: Request<RequestBody<Full<Bytes>>>) -> Result<String, Infallible> {
    Ok(String::from("{}"))
}

fn ask(request: Request<Full<Bytes>>) {
    let stack = ServiceBuilder::new().layer(ValidateLayer::default());
    #[cfg(fixed)]
    let stack = stack.map_response(Response::new);
    let _ = ServiceExt::oneshot(stack.service_fn(generate), request);
}
