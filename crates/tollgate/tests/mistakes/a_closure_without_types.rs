//! The arguments of closures need types.
//~ implementation of `FnOnce` is not general enough

use bytes::Bytes;
use http::Response;
use tollgate::{Dialect, Rejection, ValidateLayer};

fn layer() {
    let layer = ValidateLayer::default();
    #[cfg(not(fixed))]
    let _ = layer.render(|_, _| Response::new(Bytes::new()));
    #[cfg(fixed)]
    let _ = layer.render(|_: &Rejection, _: Dialect| Response::new(Bytes::new()));
}
