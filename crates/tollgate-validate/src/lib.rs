//! A tower layer that reads an OpenAI chat completion request once and checks it.
//!
//! [`ValidateLayer`] reads the body under a cap and a clock, checks every parameter that OpenAI's
//! API has, and answers mistakes in OpenAI's words: same status, `param`, `code` and message. What
//! it learns it publishes as facts, so that nobody has to parse again; what is right goes on byte
//! for byte.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use tollgate_core::{ChatRequest, Fact, RequestBody};
//! use tollgate_validate::ValidateLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let which = service_fn(|request: Request<RequestBody<Full<_>>>| async move {
//!     let chat = ChatRequest::of(request.extensions()).unwrap();
//!     Ok::<_, std::convert::Infallible>(Response::new(chat.model().to_owned()))
//! });
//! let service = ValidateLayer::default().layer(which);
//! let ask = |json: &'static str| {
//!     Request::post("/v1/chat/completions")
//!         .header("content-type", "application/json")
//!         .body(Full::from(json))
//!         .unwrap()
//! };
//!
//! let good = ask(r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}"#);
//! let answer = service.clone().oneshot(good).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! let bad = ask(r#"{"model": "gpt-4o", "messages": [{"role": "bot", "content": "Hi"}]}"#);
//! let answer = service.oneshot(bad).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
//! let body = answer.into_body().collect().await.unwrap().to_bytes();
//! assert_eq!(
//!     body,
//!     r#"{"error":{"message":"Invalid value: 'bot'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.","type":"invalid_request_error","param":"messages[0].role","code":"invalid_value"}}"#,
//! );
//! # }
//! ```
//!
//! What is accepted is a [`Policy`], a table that can be changed:
//!
//! ```
//! use tollgate_core::{Rejection, RejectionKind};
//! use tollgate_validate::{Kind, Param, Policy, ValidateLayer};
//!
//! // The documented service to the letter, with a parameter of our upstream's, a tighter bound,
//! // and a rule of our own.
//! let policy = Policy::strict()
//!     .param(Param::new("top_k", Kind::Integer { min: 1, max: 500 }))
//!     .param(Param::new("temperature", Kind::Decimal { min: 0.0, max: 1.0 }))
//!     .request_rule(|request, _body| match request.user() {
//!         Some(_) => Ok(()),
//!         None => Err(Rejection::new(RejectionKind::InvalidRequest)
//!             .with_message("Name the end user.")
//!             .with_param("user")),
//!     });
//! let layer = ValidateLayer::new(policy).max_body_bytes(1 << 20);
//! # let _ = layer;
//! ```
//!
//! # What is checked
//!
//! * The head: `POST`, `application/json` in UTF-8, no content encoding.
//! * JSON as of RFC 8259, with no room for two readings: lone surrogates, numbers beyond a double,
//!   nesting deeper than 64, and members that an object has twice, in whatever spelling, are refused,
//!   also in values that are not looked into. No unknown parameter passes that differs from a known
//!   one in case alone. A byte order mark in front is dropped.
//! * Every parameter: its type, its bounds, and the rules between parameters and between messages.
//!   Null means absent. Unknown parameters are refused as OpenAI refuses them; unknown members of
//!   messages, tools and the like pass, as they do there.
//! * `n`, `parallel_tool_calls`, `service_tier` and `stream_options` more narrowly than OpenAI does,
//!   because not every upstream has them: see [`Policy`], which can be told otherwise.
//! * Not whether a model knows a parameter, whether a JSON Schema is one, or whether an image can
//!   be decoded: `ModelsLayer` and the upstream know better. Where it is disputed what OpenAI
//!   takes, it is passed on.
//!
//! One fault is reported, the first in OpenAI's order: the model, the messages' presence, unknown
//! names, refused ones, the parameters in the order of the [table](Policy::params), and last the
//! rules between them. Errors of the last kind have paths in another notation and mostly no code,
//! as OpenAI's have.
//!
//! # Placement
//!
//! Outside `ModelsLayer`, `BudgetLayer` and whatever else needs to know the request, and inside
//! authentication, so that strangers do not make us read. The inner service gets a
//! [`RequestBody`](tollgate_core::RequestBody) in place of the body type outside; in front of a
//! service that insists on a type of its own put one `map_request`:
//!
//! ```
//! use axum::body::Body;
//! use http::{Request, Response};
//! use tollgate_core::RequestBody;
//! use tollgate_validate::ValidateLayer;
//! use tower::{ServiceBuilder, service_fn};
//!
//! let handler = service_fn(|_: Request<Body>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
//! });
//! let service = ServiceBuilder::new()
//!     .layer(ValidateLayer::default())
//!     .map_request(|request: Request<RequestBody<Body>>| request.map(Body::new))
//!     .service(handler);
//! # fn check<S: tower::Service<Request<Body>>>(_: S) {}
//! # check(service);
//! ```
//!
//! # Facts
//!
//! * Required: none.
//! * Written: [`ChatRequest`], and [`SharedBody`], through which inner layers change members of
//!   the body without parsing it. `content-length` and `transfer-encoding` are taken from the
//!   request's headers, because such changes would make lies of them.
//!
//! Parameters that the policy absorbs are named in the answer's header `x-tollgate-absorbed`: they
//! are not in the body that the inner service saw. It is no warning, and `stream_options` is named
//! too when somebody inside honours it, which this layer cannot know.
//!
//! # Refusals
//!
//! * 400 `invalid_request_error` with OpenAI's `param`, `code` and message.
//! * 405 for other methods than `POST`, 415 for other bodies than plain JSON.
//! * 413 `request_too_large` for bodies above [the cap](ValidateLayer::max_body_bytes): before a
//!   byte is read if the length is declared, and else as soon as the cap is crossed.
//! * 408 for bodies that take [too long](ValidateLayer::body_timeout) or come
//!   [too slowly](ValidateLayer::min_body_rate).
//!
//! Messages repeat names and scalars that OpenAI repeats, cut to 512 characters, and nothing else
//! of the request.
//!
//! # Cancel safety
//!
//! The inner service is called once the whole body was good, and in the same poll. Dropping the
//! future before leaves nothing behind.
//!
//! # Cost
//!
//! One pass over the body, without recursion, at the speed of a scan for strings that nobody needs
//! to look into. What it takes from the request to the call of the inner service, both facts
//! included, beside parsing the body into a tree (`cargo bench -p tollgate-validate`):
//!
//! | body | here | GB/s | instructions | `serde_json::Value` |
//! |---|---|---|---|---|
//! | 1 KB | 1.5 µs | 0.7 | 21,000 | 0.9 µs |
//! | 16 KB | 8 µs | 1.8 | 137,000 | 16 µs |
//! | 256 KB | 0.10 ms | 2.5 | 1.8 million | 0.19 ms |
//! | 1 MB, an image | 0.13 ms | 8.3 | 3.2 million | 0.13 ms |
//!
//! Ten allocations, however many messages there are. A body that arrives in one frame is not
//! copied; several frames are joined once. Hostile bodies cost time in proportion to their length,
//! and less than a megabyte of memory beside them.
//!
//! A clock is only started if the body has not arrived when it is first asked for; that needs a
//! tokio runtime with time enabled.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
mod errors;
mod future;
mod head;
mod json;
mod layer;
mod limits;
mod path;
mod policy;
mod read;
mod service;
mod table;

pub use future::ValidateFuture;
pub use layer::ValidateLayer;
pub use policy::Policy;
pub use service::Validate;
pub use table::{Kind, Param, Plain, Verdict};

#[doc(no_inline)]
pub use tollgate_core::{ChatRequest, SharedBody};
