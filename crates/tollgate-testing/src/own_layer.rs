//! Testing a layer of your own, from its first test to its last.
//!
//! The layer hides digits in answers:
//!
//! ```rust
//! use std::{pin::Pin, task::{Context, Poll}};
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body::{Body, Frame, SizeHint};
//! use http_body_util::{BodyExt, Empty};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tollgate_testing::{
//!     ReadyProbe, ScriptedBody, Splits, assert_allocations_async, assert_future, assert_layered,
//!     check_body, check_forwarding,
//!     upstream::{Reply, ScriptedUpstream},
//! };
//! use tower::{Layer, Service, ServiceExt, util::MapResponseLayer};
//!
//! /// A body whose digits are hidden.
//! struct Masked<B>(B);
//!
//! impl<B: Body<Data = Bytes> + Unpin> Body for Masked<B> {
//!     type Data = Bytes;
//!     type Error = B::Error;
//!
//!     fn poll_frame(
//!         mut self: Pin<&mut Self>,
//!         cx: &mut Context<'_>,
//!     ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
//!         let frame = Pin::new(&mut self.0).poll_frame(cx);
//!         frame.map_ok(|frame| frame.map_data(mask))
//!     }
//!
//!     fn is_end_stream(&self) -> bool {
//!         self.0.is_end_stream()
//!     }
//!
//!     fn size_hint(&self) -> SizeHint {
//!         self.0.size_hint()
//!     }
//! }
//!
//! fn mask_layer<B>() -> MapResponseLayer<fn(Response<B>) -> Response<Masked<B>>> {
//!     MapResponseLayer::new(|response| response.map(Masked))
//! }
//!
//! fn mask(data: Bytes) -> Bytes {
//!     if !data.iter().any(u8::is_ascii_digit) {
//!         return data;
//!     }
//!     let hide = |byte: &u8| if byte.is_ascii_digit() { b'#' } else { *byte };
//!     data.iter().map(hide).collect::<Vec<u8>>().into()
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // It can stand where layers stand. The service inside is polled until it is ready, even if it is not
//! // at once, and then called.
//! let inner = ReadyProbe::new(|_: Request<()>| Response::new(ScriptedBody::new().data("room 101")));
//! let mut service = mask_layer().layer(inner.clone().busy());
//! assert_layered(&service);
//! let future = service.ready().await.unwrap().call(Request::new(()));
//! assert_future(&future);
//! let response = future.await.unwrap();
//! assert_eq!(inner.calls(), 1);
//!
//! // The body keeps its promises, and says what it should.
//! assert_eq!(check_body(response.into_body()).await.data, "room ###");
//!
//! // What needs no change is forwarded as it came: trailers, errors, lengths, ends.
//! check_forwarding(async |body| Masked(body)).await;
//!
//! // It does not matter how the network cuts an answer.
//! let masked = Splits::of("7 of 9").check_async(async |pieces| {
//!     let body = Masked(ScriptedBody::new().frames(pieces));
//!     check_body(body).await.data
//! });
//! assert_eq!(masked.await, "# of #");
//!
//! // A frame without a digit costs nothing, and one with digits one allocation.
//! let mut body = Masked(ScriptedBody::new().data("no digits").data("10 digits"));
//! assert_allocations_async(0, body.frame()).await;
//! assert_allocations_async(1, body.frame()).await;
//!
//! // Around a real client: a connection that breaks stays an error, and whoever leaves lets the
//! // upstream go.
//! let upstream = ScriptedUpstream::in_turn([
//!     Reply::json(r#"{"room": 101}"#).reset_after(10),
//!     Reply::sse(["1 of many"]).stall(),
//! ])
//! .await;
//! let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
//! let request = || Request::get(upstream.url()).body(Empty::new()).unwrap();
//! let service = mask_layer().layer(client);
//!
//! let broken = service.clone().oneshot(request()).await.unwrap();
//! assert!(check_body(broken.into_body()).await.error.is_some());
//!
//! let mut endless = service.oneshot(request()).await.unwrap();
//! let first = endless.frame().await.unwrap().unwrap();
//! assert_eq!(first.into_data().unwrap(), "data: # of many\n\n");
//! drop(endless);
//! upstream.idle().await;
//! assert_eq!(upstream.left(), 1);
//! assert_eq!(upstream.received().len(), 2);
//! # }
//! ```
//!
//! A layer that goes by a clock takes it as a closure, and its tests turn a [`FakeClock`](crate::FakeClock). What it
//! should do when an upstream is slow, a test decides with a [`Latch`](crate::upstream::Latch), and never with
//! a sleep.
