//! A test kit for tower layers over HTTP: what every Tollgate layer is checked with, for yours too.
//!
//! The mistakes that middleware makes are few and well hidden: calling a clone that was never
//! polled ready (a `service_fn` never notices), losing trailers or lengths, polling a body past
//! its end, futures that are not `Send`. Each check here makes one of them fail loudly.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tollgate_testing::{ReadyProbe, ScriptedBody, assert_layered, check_body};
//! use tower::{Layer, ServiceExt, layer::layer_fn, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // A service that panics when it is called without having been polled ready.
//! let inner = ReadyProbe::new(|_: Request<()>| {
//!     Response::new(ScriptedBody::new().data("hel").pending().data("lo"))
//! });
//!
//! let my_layer = layer_fn(|service| service); // put your layer here
//! let service = my_layer.layer(inner);
//! assert_layered(&service);
//!
//! let response = service.oneshot(Request::new(())).await.unwrap();
//! let received = check_body(response.into_body()).await;
//! assert_eq!(received.data, "hello");
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod auto_traits;
mod check_body;
mod ready_probe;
mod scripted_body;
mod splits;
#[cfg(feature = "upstream")]
#[cfg_attr(docsrs, doc(cfg(feature = "upstream")))]
pub mod upstream;

pub use auto_traits::{assert_future, assert_layered};
pub use check_body::{Received, check_body};
pub use ready_probe::ReadyProbe;
pub use scripted_body::{BodyWatch, ScriptError, ScriptedBody};
pub use splits::{byte_by_byte, two_way_splits};
