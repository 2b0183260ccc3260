//! Who classifies errors must know those of the client.
//~ to implement `Classify<std::io::Error>`

use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::{Fault, HyperUtil, RequestBody, UpstreamLayer, Upstreams};
use tower::{ServiceBuilder, ServiceExt};

async fn send(_: Request<RequestBody<Full<Bytes>>>) -> io::Result<Response<Full<Bytes>>> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn ask(upstreams: Upstreams, request: Request<Full<Bytes>>) {
    let layer = UpstreamLayer::new(upstreams);
    #[cfg(not(fixed))]
    let layer = layer.classify(HyperUtil::default());
    #[cfg(fixed)]
    let layer = layer.classify(|error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Connect,
        io::ErrorKind::ConnectionReset => Fault::BeforeHead,
        _ => Fault::Other,
    });
    let service = ServiceBuilder::new().layer(layer).service_fn(send);
    let _ = ServiceExt::oneshot(service, request);
}
