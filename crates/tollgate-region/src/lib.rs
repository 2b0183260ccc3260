//! A call's region, and an upstream of that region: two tower layers for OpenAI-compatible
//! gateways. [`RegionLayer`] finds the region in the path and publishes the fact [`Region`];
//! [`UpstreamLayer`] sends the call to one of that region's [`Upstreams`] and to no other.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use tollgate_core::{Model, RequestBody};
//! use tollgate_region::{Region, RegionLayer, Secret, Upstream, UpstreamLayer, Upstreams};
//! use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eu = Region::new("eu").unwrap();
//! let sweden = Upstream::azure(
//!     "sweden",
//!     eu.clone(),
//!     "https://example-sweden.openai.azure.com",
//!     Secret::new("0123456789abcdef"),
//! )
//! .deployment("gpt-4o", "gpt-4o-eu");
//! let upstreams = Upstreams::builder().pool(eu.clone(), [sweden]).build()?;
//!
//! // Stands in for a client such as hyper-util's.
//! let client = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
//!     assert_eq!(request.uri().host(), Some("example-sweden.openai.azure.com"));
//!     assert_eq!(request.uri().path(), "/openai/deployments/gpt-4o-eu/chat/completions");
//!     assert_eq!(request.headers()["api-key"], "0123456789abcdef");
//!     assert!(!request.headers().contains_key("authorization"));
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::from("{}")))
//! });
//! let service = ServiceBuilder::new()
//!     .layer(RegionLayer::new([eu]))
//!     .map_request(|mut request: Request<Full<Bytes>>| {
//!         // Stands in for `ModelsLayer`.
//!         request.extensions_mut().insert(Model::new("gpt-4o"));
//!         request
//!     })
//!     .layer(UpstreamLayer::new(upstreams))
//!     .service(client);
//!
//! let request = Request::post("/openai/eu/v1/chat/completions")
//!     .header("authorization", "Bearer sk-caller")
//!     .body(Full::from(r#"{"model":"gpt-4o","messages":[]}"#))?;
//! let answer = service.clone().oneshot(request).await?;
//! assert_eq!(answer.headers()["x-tollgate-region"], "eu");
//! assert_eq!(answer.headers()["x-tollgate-upstream"], "sweden");
//!
//! let request = Request::post("/openai/us/v1/chat/completions").body(Full::default())?;
//! let answer = service.oneshot(request).await?;
//! assert_eq!(answer.status(), StatusCode::NOT_FOUND);
//! # Ok(())
//! # }
//! ```
//!
//! # Placement
//!
//! [`RegionLayer`] stands outermost: it needs the head alone. [`UpstreamLayer`] stands inside
//! everything that decides about the call, budgets above all, so that a call is charged once over
//! all its attempts; and outside `SseLayer`, so that an error in a stream's first event can still
//! move to another upstream. Its inner service is called with a
//! [`RequestBody`](tollgate_core::RequestBody).
//!
//! # Facts
//!
//! [`RegionLayer`] writes [`Region`]. [`UpstreamLayer`] requires [`Region`] and
//! [`Model`](tollgate_core::Model); the upstreams that read the model from the body (OpenAI, and
//! Azure's v1 API) also require [`SharedBody`](tollgate_core::SharedBody), because the model of a
//! body that nobody read cannot be vouched for. With Azure's classic API `SharedBody` is optional:
//! without it the request's own body is sent, which works once, so there is one attempt.
//!
//! Every attempt gets, in its extensions, a fork of the `SharedBody` for edits by the layers inside,
//! and the upstream's [`AttemptSettings`](tollgate_core::AttemptSettings).
//!
//! # What reaches an upstream
//!
//! The method, target, credentials and version are the upstream's configuration. Of the caller's
//! request come the body and `accept`, `content-type` and `user-agent`; other headers only if
//! [`forward_to_upstream`](UpstreamLayer::forward_to_upstream) names them, and never credentials,
//! connection or forwarding headers. So nothing that a caller writes can choose a region or an
//! upstream. Answers are asked for without compression. Versions of Azure's classic API before
//! 2024-09-01 get `max_completion_tokens` as `max_tokens`, and are not asked for usage. The way back
//! is the same: content headers and `openai-processing-ms` pass, and `x-tollgate-region` and `x-tollgate-upstream` are added.
//!
//! [`Credentials`] are a key, a key from the environment, a closure's answer, or a
//! [`RotatingSecret`] such as an Entra token, which a task of yours keeps fresh. A call only ever
//! looks at them; where there are none for the moment, it goes to another upstream.
//!
//! # What keeps a call in its region
//!
//! An upstream is built for one region, and its name, address and deployment type are checked
//! before anything runs: no pool mixes regions, no address serves two, and no type that Azure may
//! answer elsewhere stands in a region that it would leave. Each dispatch is compared with the
//! call's region once more; [`RegionStatus::cross_region`] counts the differences, and is 0. What
//! Azure says about where an answer was made is compared too:
//! [`DeploymentStatus::misplaced`] is an alarm.
//!
//! # Choice, and further attempts
//!
//! Among the deployments of the lowest priority that can take calls, two are drawn by weight and
//! the less busy one is taken. A deployment that answers 429, or 503 with `retry-after`, is left
//! alone for as long as it asks, and for 5 s at least; but not if a 429 says, by a wait of a day or
//! in OpenAI's words, that the one request is larger than all of the quota. One that fails five
//! times in a row gets no calls for 5 s; then a single call finds out whether it is back. One that
//! fails often without ever failing five times in a row gets fewer calls, down to a thirty-second
//! of its weight.
//!
//! A breaker moves calls elsewhere, and where there is nowhere else it is of no use: if breakers
//! alone keep a call from all deployments, its first attempt is made in spite of them, and the first
//! that succeeds closes its breaker. No deployment has more than 16 such calls waiting for an answer,
//! so that calls do not pile up before one that accepts them and falls silent; whoever comes later
//! is told when to come back.
//!
//! A call moves on to the next deployment before anything is sent to the caller, if there was no
//! connection, if it broke or the clock struck before the head of an answer, on 404, 408, 429 and
//! 5xx, on a 200 that is neither JSON nor an event stream or is compressed, and on an
//! [`UpstreamFault`](tollgate_core::UpstreamFault). Never after that, never to
//! another region, and never on the caller's own mistakes. All attempts share one clock and three
//! attempts, and all callers of a region a retry budget: a tenth of the calls, and ten for the
//! beginning and quiet times. The last attempt's failure is the answer.
//!
//! [`Upstreams::status`] and [`Upstreams::region_status`] tell all of it, for metrics and admins.
//!
//! # Refusals
//!
//! 404 for an unknown path or region; 503 if no upstream serves the model here, or calls pile up
//! before broken ones, and 429 if they are out of quota, with a `retry-after` each; 504 if the head did not come in
//! time; 502 if the connection failed. An upstream's own errors are rewritten: what the caller did
//! wrong keeps status, `param` and `code`; what the operator did wrong (401, 403, 404, an exhausted
//! quota) becomes 502 and a fixed code; rate limits keep their wait. No body names a key, a URL, a
//! deployment or a tier, and a text that would is replaced by a generic one.
//!
//! Errors of the inner service never come out of the future, except for its `poll_ready`: they are
//! [classified](Classify) and become 502. Without a classifier none is tried again.
//!
//! # Cancel safety
//!
//! Dropping the future or the answer's body drops the attempt, frees its place on the deployment,
//! and, if it was a breaker's probe, lets the next call be one.
//!
//! # Cost
//!
//! Choosing takes no lock and no allocation: among a hundred upstreams it takes 0.3 µs more than
//! among two, and a call through [`UpstreamLayer`] 1.3 µs in all (`cargo bench -p tollgate-region`,
//! on one core of a shared AMD EPYC). [`RegionLayer`] takes 0.2 µs and has 24 bytes for each service.
//! A call that can be tried again costs a clone of the inner
//! service, of the forwarded headers and of the extensions. Clocks are tokio's: the layer must run
//! inside its runtime with time enabled.
//!
//! # Features
//!
//! * `hyper-util`: `HyperUtil`, a [`Classify`] for hyper-util's pooled client, and no passing on of
//!   the reason phrases that it reads. Off by default.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod body;
mod call;
mod choice;
mod classify;
mod config_error;
mod credentials;
mod envelope;
mod error_answer;
mod future;
mod headers;
mod health;
mod layer;
mod pool;
mod region;
mod residency;
mod retry_budget;
mod secret;
mod service;
mod settings;
mod status;
mod target;
mod upstream;
mod upstreams;
mod wait;

pub use body::UpstreamBody;
#[cfg(feature = "hyper-util")]
pub use classify::HyperUtil;
pub use classify::{Classify, Fault, Unclassified};
pub use config_error::ConfigError;
pub use credentials::{CredentialSource, Credentials, RotatingSecret};
pub use future::UpstreamFuture;
pub use health::BreakerState;
pub use layer::UpstreamLayer;
pub use region::{FindRegion, FoundRegion, PathRegions, RegionGate, RegionLayer};
pub use residency::DeploymentType;
pub use secret::Secret;
pub use service::ToUpstream;
pub use status::{DeploymentStatus, RegionStatus};
pub use upstream::Upstream;
pub use upstreams::{Upstreams, UpstreamsBuilder};

#[doc(no_inline)]
pub use tollgate_core::Region;
