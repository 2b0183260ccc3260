//! What Tollgate's layers share, and what their users implement.
//!
//! A Tollgate layer decides on a request and either passes it on or answers it. This crate holds
//! the vocabulary of that sentence and nothing else: no JSON parser, no runtime, no framework.
//!
//! | you want to | use |
//! |---|---|
//! | refuse a request | [`Rejection`]; its [`kind`](RejectionKind) decides HTTP status, OpenAI error and gRPC status |
//! | refuse from middleware of another kind | [`Stamps`] |
//! | give refusals another look | [`Render`] |
//! | decide on the head of a request | [`Gate`] and [`GateLayer`] |
//! | let only some requests meet a layer | [`Matcher`], the argument of each layer's `.when(..)` |
//! | tell inner layers what you learnt | a [`Fact`] such as [`Workspace`], [`Region`], [`Model`] or [`ChatRequest`] |
//! | change members of a JSON body that was read once | [`SharedBody`] |
//! | learn late what a call cost | [`UsageSlot`] |
//! | count prompt tokens | [`TokenCounter`] |
//! | let callers who are still sending see a refusal | [`DrainOnRefusalLayer`] |
//!
//! # Example
//!
//! A gate that admits only requests with a tenant header, around any service:
//!
//! ```
//! use http::{Request, Response, StatusCode, request::Parts};
//! use tollgate_core::{GateLayer, Rejection, RejectionKind, ResponseBody, Workspace};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let tenants = |head: &mut Parts| match head.headers.get("x-tenant") {
//!     Some(tenant) if tenant == "acme" => {
//!         head.extensions.insert(Workspace::new("acme"));
//!         Ok(())
//!     }
//!     _ => Err(Rejection::new(RejectionKind::Unauthenticated)),
//! };
//! let hello = service_fn(|_: Request<()>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")))
//! });
//! let service = GateLayer::new(tenants).layer(hello);
//!
//! let known = Request::builder().header("x-tenant", "acme").body(()).unwrap();
//! assert_eq!(service.clone().oneshot(known).await.unwrap().status(), StatusCode::OK);
//!
//! // The service's error type is unchanged: a refusal is a response.
//! let unknown = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
//! assert!(unknown.headers().contains_key("x-request-id"));
//! # }
//! ```
//!
//! # Features
//!
//! * `tracing`: logs the private detail of refusals that are the operator's mistake (a missing
//!   fact, a store that failed) at `error`, target `tollgate`. Off by default; nothing that a
//!   client sent is ever logged.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod drain;
mod facts;
mod gate;
mod json;
mod matcher;
mod rejection;
mod render;
mod stamps;
mod tokens;

pub use body::{EditsClosed, Member, RequestBody, ResponseBody, SharedBody};
pub use drain::{DrainBody, DrainFuture, DrainOnRefusal, DrainOnRefusalLayer};
pub use facts::{
    AttemptSettings, ChatRequest, ChatRequestBuilder, Cost, Fact, Feature, Features, IllegalRegion,
    ImageDetail, ImageInput, InputKind, Model, OutputCap, Region, RequestId, TokenInput,
    TokenInputs, UnknownFeature, UpstreamFault, Usage, UsageSlot, Workspace,
};
pub use gate::{Gate, GateFuture, GateLayer, Gated};
pub use matcher::{Always, Matcher};
pub use rejection::{GrpcCode, Rejection, RejectionKind};
pub use render::{DefaultRender, Dialect, Render};
pub use stamps::Stamps;
pub use tokens::{ByteRule, TokenBounds, TokenCounter};
