//! A layer that waits before it calls needs a service that can be cloned.
//~ the trait `Clone` is not implemented for `BoxService

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::{RequestBody, ValidateLayer};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxService};

type Client = BoxService<Request<RequestBody<Full<Bytes>>>, Response<Full<Bytes>>, BoxError>;

fn ask(client: Client, request: Request<Full<Bytes>>) {
    let stack = ServiceBuilder::new().layer(ValidateLayer::default());
    #[cfg(fixed)]
    let stack = stack.buffer(64);
    let service = stack.service(client);
    let _ = ServiceExt::oneshot(service, request);
}
