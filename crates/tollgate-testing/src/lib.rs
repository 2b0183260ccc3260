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
//!
//! The module `own_layer` (it needs `allocations` and `upstream`) tests a layer with all of it.
//!
//! # What is checked with what
//!
//! | mistake | check |
//! |---|---|
//! | a service that cannot be cloned, shared or spawned | [`assert_layered`], [`assert_future`] |
//! | a call without readiness, `Pending` taken for ready | [`ReadyProbe`] |
//! | lengths, ends and trailers that are not as announced | [`check_body`] |
//! | trailers, errors, lengths or ends that are lost on the way | [`check_forwarding`] |
//! | a body that is polled past its end, kept, or never dropped | [`ScriptedBody`], [`BodyWatch`] |
//! | output that depends on how input is cut | [`Splits`] |
//! | time that cannot be tested | [`FakeClock`] |
//! | allocations for each event | `assert_allocations`, feature `allocations` |
//! | a layer whose cost nobody knows | [`compare_calls`] |
//! | a store that goes silent, dies, forgets | `RedisServer`, feature `redis` |
//! | upstreams that stall, break, refuse, dribble | `upstream::ScriptedUpstream`, feature `upstream` |
//!
//! # Features
//!
//! None is on by default, and without them the kit stands on the `http` crates and
//! `tower-service` alone.
//!
//! * `upstream`: an upstream on real sockets that answers, and fails, by script. Brings hyper and
//!   tokio.
//! * `redis`: starts and stops a `redis-server` of a test's own, on Unix.
//! * `allocations`: counts allocations. It replaces the global allocator of every binary that links
//!   this crate, by one that counts and otherwise is the system's; a binary that has an allocator of
//!   its own does not compile with it. Cargo unites the features of what it builds together: ask for
//!   this one in `[dev-dependencies]` only, and in a package whose tests need no other allocator.
//!   Times that tests measure include the counting.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "allocations")]
mod allocations;
mod auto_traits;
mod check_body;
mod check_forwarding;
mod compare_calls;
mod fake_clock;
#[cfg(all(feature = "allocations", feature = "upstream"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "allocations", feature = "upstream"))))]
pub mod own_layer;
mod ready_probe;
#[cfg(all(feature = "redis", unix))]
mod redis_server;
mod scripted_body;
mod splits;
#[cfg(feature = "upstream")]
#[cfg_attr(docsrs, doc(cfg(feature = "upstream")))]
pub mod upstream;

#[cfg(feature = "allocations")]
#[cfg_attr(docsrs, doc(cfg(feature = "allocations")))]
pub use allocations::{
    Allocations, assert_allocations, assert_allocations_async, measure_allocations,
    measure_allocations_async,
};
pub use auto_traits::{assert_future, assert_layered};
pub use check_body::{Received, check_body};
pub use check_forwarding::check_forwarding;
pub use compare_calls::compare_calls;
pub use fake_clock::FakeClock;
pub use ready_probe::ReadyProbe;
#[cfg(all(feature = "redis", unix))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "redis", unix))))]
pub use redis_server::RedisServer;
pub use scripted_body::{BodyWatch, ScriptError, ScriptedBody};
pub use splits::{Splits, byte_by_byte};
