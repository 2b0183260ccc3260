//! Tower layers that make an OpenAI-compatible LLM gateway out of any hyper, axum or tonic service:
//! API keys, request validation, model allow-lists, token budgets, regions and event streams.
//!
//! Each layer works alone. They speak `http::Request` and `http::Response` with bodies of any
//! type, keep the error type of what they wrap, and share one way to refuse: an answer that the
//! OpenAI libraries understand. This crate re-exports them behind one feature each; its docs are
//! the guide, theirs are the reference.
//!
//! # Example
//!
//! A model server of your own, which from now on sees only chat completions that are valid, for
//! models that exist, from callers who have tokens left:
//!
//! ```
//! use std::num::NonZeroU64;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tollgate::{
//!     BudgetLayer, Limits, MemoryStore, Model, Models, ModelsLayer, Quota, RequestBody,
//!     ValidateLayer, Workspace,
//! };
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! const MINUTE: Quota =
//!     Quota::per_minute(NonZeroU64::new(60).unwrap(), NonZeroU64::new(20_000).unwrap());
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let models = Models::builder().model(Model::new("house-7b")).build()?;
//!
//! let mut service = ServiceBuilder::new()
//!     .map_request(|mut request: Request<Full<Bytes>>| {
//!         // Your authentication. Or `ApiKeyLayer`.
//!         request.extensions_mut().insert(Workspace::new("acme"));
//!         request
//!     })
//!     .layer(ValidateLayer::default())
//!     .layer(ModelsLayer::new(models))
//!     .layer(BudgetLayer::new(MemoryStore::new(), Limits::new(MINUTE)))
//!     .service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
//!         // Your model.
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("{}")))
//!     });
//!
//! let ask = |body: &'static str| {
//!     Request::post("/v1/chat/completions")
//!         .header("content-type", "application/json")
//!         .body(Full::from(body))
//! };
//! let passes = ask(r#"{"model":"house-7b","messages":[{"role":"user","content":"Hi!"}]}"#)?;
//! let answer = service.ready().await?.call(passes).await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.headers()["x-ratelimit-remaining-requests"], "59");
//!
//! // A refusal is an answer too: the error type is still that of your model.
//! let refused = ask(r#"{"model":"gpt-9","messages":[{"role":"user","content":"Hi!"}]}"#)?;
//! let answer = service.ready().await?.call(refused).await?;
//! assert_eq!(answer.status(), 404);
//! assert!(answer.headers().contains_key("x-request-id"));
//! # Ok(())
//! # }
//! ```
//!
//! # The stack
//!
//! Every line is optional. Outermost first, in the recommended order:
//!
//! | layer | needs | leaves | refuses with |
//! |---|---|---|---|
//! | [`DrainOnRefusalLayer`] | | | |
//! | [`RegionLayer`] | | [`Region`] | 404 |
//! | [`ApiKeyLayer`] | | [`Workspace`] | 401 |
//! | [`ValidateLayer`] | | [`ChatRequest`], [`SharedBody`] | 400, 405, 408, 413, 415 |
//! | [`ModelsLayer`] | [`ChatRequest`] | [`Model`] | 404, 400 |
//! | [`BudgetLayer`] | [`Workspace`], [`Model`], and [`ChatRequest`] or [`Cost`] | [`UsageSlot`] | 429, 503 |
//! | [`UpstreamLayer`] | [`Region`], [`Model`] | [`AttemptSettings`] | 429, 502, 503, 504 |
//! | [`SseLayer`] | | | 502, 504 |
//! | a client, a handler, any `Service<Request<B>>` | | | |
//!
//! Why in this order:
//!
//! * A refusal is cheap, so it comes before what costs: the head before the body, the body before
//!   the budget. Whatever holds a permit for each call (`Buffer`, `ConcurrencyLimit`) goes inside
//!   the layers that refuse.
//! * The budget is outside the upstreams: one call is charged once, over all its attempts.
//! * [`SseLayer`] is next to the upstream, once for each attempt, so that an error in a stream's
//!   first event can still move to another one.
//! * Tracing, CORS, decompression and time limits go outside all of it; compression too, and
//!   never over event streams, which it would hold up.
//!
//! [`ServiceBuilderExt`] adds them to a `tower::ServiceBuilder` by name, and [`presets`] are two
//! whole stacks: in front of a model of your own, and of upstreams.
//!
//! A wrong order is no silent pass: a layer that misses a fact answers 500, and the [`Rejection`]
//! in the answer's extensions names the layer to add. With the feature `tracing` it is logged.
//!
//! # How layers talk
//!
//! What a layer learns about a request is a [`Fact`]: a typed value in the request's extensions,
//! such as [`Workspace`] or [`ChatRequest`]. Your middleware can write ours and read them, in axum
//! as `Extension<ChatRequest>`. What becomes known late, the usage of a stream, goes into the
//! [`UsageSlot`] that the budget left behind.
//!
//! The body of a chat completion is read once, parsed once, and never serialised again. Whoever
//! wants it changed tells [`SharedBody`] which member; all other bytes reach the upstream as the
//! caller wrote them.
//!
//! A refusal is a [`Rejection`]. Its kind decides the HTTP status, OpenAI's error object and the
//! gRPC status, and it stays in the extensions of the answer, where outer layers find it.
//!
//! # Where it runs
//!
//! * **axum**: `Router::layer`, with one `ServiceBuilder` or layer by layer. In `ServiceBuilder`,
//!   middleware that insists on `axum::body::Body`, such as `from_fn`, needs one line between
//!   itself and a [`ValidateLayer`] outside it:
//!   `.map_request(|r: Request<RequestBody<Body>>| r.map(Body::new))`. As one `ServiceBuilder` in one
//!   `Router::layer`, all layers together make axum box two bodies, as any layer does that changes
//!   the types of both.
//! * **hyper**: `hyper_util::service::TowerToHyperService` around the stack.
//! * **tonic**: [`ApiKeyLayer`] and [`RegionLayer`] in `Server::layer` read metadata, and refuse
//!   with a gRPC status. A handler that decodes a message builds its [`ChatRequest`] by hand, calls
//!   an inner stack, and turns the [`Rejection`] of a refusal into a `tonic::Status`.
//! * **clients**: around hyper-util's client, reqwest or async-openai, to budget what you spend
//!   yourself.
//!
//! The repository's `examples/` has each of them as a package that runs.
//!
//! # When it does not compile
//!
//! What is no gate, renderer, counter or store is refused where it is given. What is wrong with a
//! whole stack shows only where it is used, and may sound like *the method `oneshot` exists …, but
//! its trait bounds were not satisfied*. Written as `ServiceExt::oneshot(service, request)`, the same
//! call makes the compiler name the bound:
//!
//! * *the trait `Clone` is not implemented for …*: a layer that waits before it calls needs a service
//!   that can be cloned. Wrap what cannot in a `tower::buffer::Buffer`, inside all layers that refuse.
//! * *`<… as Body>::Data == Bytes`*: bodies are made of `Bytes`. `BodyExt::map_frame` of
//!   `http_body_util` makes them so.
//! * *expected `Result<Response<_>, _>`*: a service inside a layer answers in HTTP. If yours returns
//!   something else, turn it into a response with `map_response`, inside all layers.
//! * *required for … to implement `Classify<…>`*: [`UpstreamLayer::classify`] was given what knows
//!   the errors of another client: [`HyperUtil`] those of hyper-util's. Any `Fn(&E) -> Fault` does.
//! * *expected … `Result<_, Infallible>`*, in axum: the client at the end fails with errors of its
//!   own. They have become answers on the way, but the type remains: put
//!   `axum::error_handling::HandleErrorLayer` outermost.
//! * *`Service<Request<RequestBody<…>>>` is not implemented for `FromFn<…>`*: see axum above.
//!   [`ValidateLayer`] and [`UpstreamLayer`] change the body's type.
//! * *implementation of `FnOnce` is not general enough*: the arguments of closures need types, as in
//!   `|rejection: &Rejection, dialect: Dialect|`.
//!
//! Each stands, with all that the compiler says and what helps, in the repository's
//! `crates/tollgate/tests/mistakes/`.
//!
//! # Recipes
//!
//! ## Only budgets
//!
//! Not everything that costs tokens is a chat completion. State a [`Cost`]:
//!
//! ```
//! # use std::{convert::Infallible, num::NonZeroU64};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Service, ServiceBuilder, ServiceExt};
//! use tollgate::{BudgetLayer, Cost, Limits, MemoryStore, Model, Quota, Workspace};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::new(Quota::tokens_per_minute(NonZeroU64::new(1_000).unwrap()));
//! let mut embeddings = ServiceBuilder::new()
//!     .map_request(|mut request: Request<Full<Bytes>>| {
//!         let extensions = request.extensions_mut();
//!         extensions.insert(Workspace::new("acme"));
//!         extensions.insert(Model::new("embedder"));
//!         extensions.insert(Cost::tokens(600));
//!         request
//!     })
//!     .layer(BudgetLayer::new(MemoryStore::new(), limits))
//!     .service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
//!
//! let first = embeddings.ready().await?.call(Request::default()).await?;
//! assert_eq!(first.status(), 200);
//! let second = embeddings.ready().await?.call(Request::default()).await?;
//! assert_eq!(second.status(), 429);
//! assert!(second.headers().contains_key("retry-after-ms"));
//! # Ok(())
//! # }
//! ```
//!
//! ## Only event streams
//!
//! Around a client, whatever its upstream sends arrives as whole events in one spelling, and a
//! stream that broke off ends in an error instead of in silence:
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::{BodyExt, Full};
//! # use tower::{ServiceBuilder, ServiceExt};
//! use tollgate::SseLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const CHUNK: &str = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
//!
//! let client = ServiceBuilder::new().layer(SseLayer::new()).service_fn(|_: Request<()>| async {
//!     let events = format!(": hello\r\n\r\nid: 7\r\ndata:{CHUNK}\r\n\r\n");
//!     let response = Response::builder().header("content-type", "text/event-stream");
//!     Ok::<_, Infallible>(response.body(Full::<Bytes>::from(events)).unwrap())
//! });
//! let answer = client.oneshot(Request::default()).await?.into_body().collect().await?.to_bytes();
//! let (chunk, error) = std::str::from_utf8(&answer)?.split_once("\n\n").unwrap();
//! assert_eq!(chunk, format!("data: {CHUNK}"));
//! assert!(error.starts_with(r#"data: {"error":{"#), "{error}");
//! # Ok(())
//! # }
//! ```
//!
//! ## My own models
//!
//! [`Models`] are plain data. If yours live elsewhere, write the fact [`Model`] yourself, with a
//! [`Gate`]; everything inside goes by it:
//!
//! ```
//! use http::request::Parts;
//! use tollgate::{ChatRequest, Fact, GateLayer, Model, Rejection, RejectionKind};
//!
//! let layer = GateLayer::new(|head: &mut Parts| {
//!     let name = ChatRequest::require(&head.extensions)?.model();
//!     let model = match name.strip_prefix("tuned-") {
//!         Some(_) => Model::new(name).with_context_window(8_192),
//!         None => return Err(Rejection::new(RejectionKind::ModelNotFound)),
//!     };
//!     head.extensions.insert(model);
//!     Ok(())
//! });
//! # let _ = layer;
//! ```
//!
//! A gate of this form is all that a layer of your own needs, if it decides on the head and the
//! facts alone.
//!
//! ## My own errors
//!
//! Every layer takes a [`Render`]. What refusals carry in any shape, such as `x-request-id` and
//! `retry-after`, the layer adds by itself:
//!
//! ```
//! # use bytes::Bytes;
//! # use http::Response;
//! use tollgate::{DefaultRender, Dialect, Rejection, Render, ValidateLayer};
//!
//! let problem = |rejection: &Rejection, dialect: Dialect| match dialect {
//!     Dialect::OpenAi => Response::builder()
//!         .status(rejection.status())
//!         .header("content-type", "application/problem+json")
//!         .body(Bytes::from(format!(r#"{{"status":{}}}"#, rejection.status().as_u16())))
//!         .expect("these parts make a response"),
//!     _ => DefaultRender::default().render(rejection, dialect),
//! };
//! let layer = ValidateLayer::default().render(problem);
//! # let _ = layer;
//! ```
//!
//! ## A local model server reports its usage
//!
//! A handler that runs the model itself knows what it took, and says so. What it does not report
//! is charged by estimate:
//!
//! ```
//! use axum::{Extension, Json, Router, routing::post};
//! use tollgate::{ChatRequest, Limits, Usage, UsageSlot, presets};
//! # use axum::{body::Body, http::Request};
//! # use tollgate::{ApiKeys, Model, Models, Workspace};
//! # use tower::ServiceExt;
//! # type Answer = ();
//! # fn generate(_: &ChatRequest) -> (Answer, u64, u64) { ((), 3, 4) }
//!
//! async fn chat(
//!     Extension(request): Extension<ChatRequest>,
//!     Extension(usage): Extension<UsageSlot>,
//! ) -> Json<Answer> {
//!     let (answer, prompt_tokens, output_tokens) = generate(&request);
//!     usage.record(Usage::new(prompt_tokens, output_tokens));
//!     Json(answer)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let keys = ApiKeys::new().key("sk-acme-0123456789abcdef", Workspace::new("acme"))?;
//! # let models = Models::builder().model(Model::new("house-7b")).build()?;
//! let app: Router = Router::new()
//!     .route("/v1/chat/completions", post(chat))
//!     .layer(presets::model_server(keys, models, Limits::new(presets::QUOTA)));
//! # let left = async || {
//! #     let question = r#"{"model":"house-7b","messages":[{"role":"user","content":"Hi!"}]}"#;
//! #     let request = Request::post("/v1/chat/completions")
//! #         .header("authorization", "Bearer sk-acme-0123456789abcdef")
//! #         .header("content-type", "application/json");
//! #     let answer = app.clone().oneshot(request.body(Body::from(question)).unwrap()).await.unwrap();
//! #     let left = answer.headers()["x-ratelimit-remaining-tokens"].to_str().unwrap();
//! #     left.parse::<u64>().unwrap()
//! # };
//! # assert_eq!(left().await - left().await, 3 + 4);
//! # Ok(())
//! # }
//! ```
//!
//! ## Changing things while it runs
//!
//! Some values are handles, whose clones share what they hold: keep one and change it.
//! [`Limits::replace`] leaves what was counted as it is, and
//! [`RotatingSecret`](region::RotatingSecret) is the credential of upstreams that get a new one
//! every hour. Keys are whatever a [`KeyRing`] finds, and a closure is one: let it look where you put
//! the latest [`ApiKeys`].
//!
//! [`Models`], [`Upstreams`] and [`Policy`] do not change, so that one request is never judged by
//! two of them. Build another stack from the new ones and swap it. Clone what has to live on, such
//! as the [`MemoryStore`], into both, and let the new [`Upstreams`] follow the old ones. Calls that have
//! begun end on the stack that they began on:
//!
//! ```
//! # use std::{convert::Infallible, sync::{Arc, RwLock}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tollgate::{Model, Models, ModelsLayer, ValidateLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = |model: &str| {
//!     let models = Models::builder().model(Model::new(model)).build()?;
//!     let stack = ServiceBuilder::new()
//!         .layer(ValidateLayer::default())
//!         .layer(ModelsLayer::new(models))
//!         .service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
//!     Ok::<_, Box<dyn std::error::Error>>(BoxCloneSyncService::new(stack))
//! };
//! let current = Arc::new(RwLock::new(stack("old")?));
//! let from = Arc::clone(&current);
//! let service = service_fn(move |request: Request<Full<Bytes>>| {
//!     // The lock is released before the call begins.
//!     let stack = from.read().unwrap().clone();
//!     stack.oneshot(request)
//! });
//! # let ask = || {
//! #     let body = r#"{"model":"new","messages":[{"role":"user","content":"Hi!"}]}"#;
//! #     let request = Request::post("/v1/chat/completions");
//! #     request.header("content-type", "application/json").body(Full::from(body)).unwrap()
//! # };
//! assert_eq!(service.clone().oneshot(ask()).await?.status(), 404);
//! let new = stack("new")?;
//! *current.write().unwrap() = new;
//! assert_eq!(service.oneshot(ask()).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! ## Several gateways, one budget
//!
//! With the feature `budget-redis` budgets are counted where several processes find them, and as
//! exactly. While the server fails, each admits its share:
//!
//! ```
//! # #[cfg(feature = "budget-redis")]
//! # async fn layer(limits: tollgate::Limits) -> Result<(), Box<dyn std::error::Error>> {
//! use std::num::NonZeroU32;
//!
//! use tollgate::{BudgetLayer, Fallback, OnFailure, RedisSettings};
//!
//! let (store, driver) = RedisSettings::new("redis://127.0.0.1/")?.build();
//! tokio::spawn(driver);
//! let instances = NonZeroU32::new(3).unwrap();
//! let store = Fallback::new(store, OnFailure::LocalShare { instances });
//! let layer = BudgetLayer::new(store, limits);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! Another database takes a [`Store`](budget::Store) of your own: the repository's
//! `examples/custom-store` has one.
//!
//! ## axum in front, reqwest behind
//!
//! reqwest wants bodies that are `Sync`, and axum's is not. What [`ValidateLayer`] has read of it is,
//! and keeps its exact `content-length`: in the service at the end,
//! `SharedBody::of(request.extensions())` gives it, and
//! `reqwest::Body::wrap(shared.body::<Empty<Bytes>>())` sends it. It has all changes that layers
//! made. This spares one spelling out the body's type as well, which [`ValidateLayer`] and
//! [`UpstreamLayer`] change both: to `RequestBody<RequestBody<Body>>` where both are in one stack.
//!
//! # Features
//!
//! None is on by default, and none changes what another does. At the root of this crate is what
//! stacks are built from; the rest of each crate, such as its `ConfigError`, is in the module that
//! has the feature's name.
//!
//! * `auth`, `budget`, `models`, `region`, `sse`, `tokens`, `validate`: the layer, or crate, of
//!   that name.
//! * `full`: all of these, with `hyper-util`, `tower` and `tracing`.
//! * `budget-redis`: budgets that several processes share. Implies `budget`, and brings a client of
//!   Redis, so it is not in `full`. With `budget-redis-tls`, by TLS too.
//! * `hyper-util`: knows the errors of hyper-util's client, so that failed attempts can be told
//!   apart and tried again. Implies `region`.
//! * `tokens-exact`: exact token counts. Implies `tokens`, and makes the binary 50 MB larger, so
//!   it is not in `full`.
//! * `tower`: [`ServiceBuilderExt`]. The one feature with a crate before 1.0 in its API: the layers
//!   themselves know `tower-layer` and `tower-service` alone.
//! * `tracing`: logs what refusals hide from the caller, such as the layer that is missing.
//!
//! What a feature alone is built from, this crate included, and what the layer's own crate is, if
//! you depend on that: ecosystem crates such as `http` and `bytes`, and no other layer, tokenizer,
//! TLS library, HTTP client or server.
//!
//! | feature | crates | its crate alone |
//! |---|---|---|
//! | `auth` | 25 | 24 |
//! | `budget` | 15 | 14 |
//! | `models` | 17 | 16 |
//! | `region` | 19 | 18 |
//! | `sse` | 18 | 17 |
//! | `tokens` | 17 | 16 |
//! | `validate` | 15 | 14 |
//! | none: the core | 12 | 11 |
//! | `full` | 56 | |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tower")]
mod builder;
#[cfg(all(
    feature = "auth",
    feature = "budget",
    feature = "models",
    feature = "validate"
))]
#[cfg_attr(
    docsrs,
    doc(cfg(all(
        feature = "auth",
        feature = "budget",
        feature = "models",
        feature = "validate"
    )))
)]
pub mod presets;

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use builder::ServiceBuilderExt;
pub use tollgate_core::*;

#[cfg(feature = "auth")]
#[cfg_attr(docsrs, doc(cfg(feature = "auth")))]
pub use tollgate_auth::{self as auth, ApiKeyLayer, ApiKeys, KeyRing};

#[cfg(feature = "budget")]
#[cfg_attr(docsrs, doc(cfg(feature = "budget")))]
pub use tollgate_budget::{
    self as budget, BudgetLayer, Fallback, Limits, MemoryStore, OnFailure, Quota,
};
#[cfg(feature = "budget-redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "budget-redis")))]
pub use tollgate_budget_redis::{self as budget_redis, RedisSettings, RedisStore};

#[cfg(feature = "models")]
#[cfg_attr(docsrs, doc(cfg(feature = "models")))]
pub use tollgate_models::{self as models, ModelList, Models, ModelsLayer, known};

#[cfg(feature = "hyper-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper-util")))]
pub use tollgate_region::HyperUtil;
#[cfg(feature = "region")]
#[cfg_attr(docsrs, doc(cfg(feature = "region")))]
pub use tollgate_region::{
    self as region, Classify, DeploymentType, Fault, FindRegion, RegionLayer, Secret, Upstream,
    UpstreamLayer, Upstreams,
};

#[cfg(feature = "sse")]
#[cfg_attr(docsrs, doc(cfg(feature = "sse")))]
pub use tollgate_sse::{self as sse, SseLayer};

#[cfg(feature = "tokens-exact")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens-exact")))]
pub use tollgate_tokens::ExactCounter;
#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub use tollgate_tokens::{self as tokens, Encoding, Estimator};

#[cfg(feature = "validate")]
#[cfg_attr(docsrs, doc(cfg(feature = "validate")))]
pub use tollgate_validate::{self as validate, Policy, ValidateLayer};

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
