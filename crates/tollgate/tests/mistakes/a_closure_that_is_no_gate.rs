//! A gate looks at the head alone.
//~ http::request::Parts) -> _`
//~ to implement `Gate`

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body_util::Full;
use tollgate::{GateLayer, Rejection};

fn layer() {
    #[cfg(not(fixed))]
    let _ = GateLayer::new(|_: &mut Request<Full<Bytes>>| Ok::<(), Rejection>(()));
    #[cfg(fixed)]
    let _ = GateLayer::new(|_: &mut Parts| Ok::<(), Rejection>(()));
}
