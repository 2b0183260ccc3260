//! Bodies are made of `Bytes`.
//~ as Body>::Data == Bytes`

use std::{convert::Infallible, io::Cursor};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tollgate::{RequestBody, ValidateLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};

async fn answer<B>(_: Request<RequestBody<B>>) -> Result<Response<String>, Infallible> {
    Ok(Response::default())
}

fn ask(request: Request<Full<Cursor<Vec<u8>>>>) {
    #[cfg(fixed)]
    let request = request.map(|body| {
        body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
    });
    let service = ServiceBuilder::new()
        .layer(ValidateLayer::default())
        .service(service_fn(answer));
    let _ = ServiceExt::oneshot(service, request);
}
