//! Budgets of requests and tokens that hold in every minute, as a tower layer.
//!
//! [`BudgetLayer`] reserves what a call may cost at most before it is made, and replaces that by
//! what it did cost once that is known. Between any two moments that are a minute apart no more
//! than the limit is used: not only in whole minutes of the clock, and whatever happens at once.
//!
//! ```
//! use std::num::NonZeroU64;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tollgate_budget::{BudgetLayer, Limits, MemoryStore, Quota};
//! use tollgate_core::{ChatRequest, Fact, InputKind, Model, Usage, UsageSlot, Workspace};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let quota = Quota::per_minute(NonZeroU64::new(500).unwrap(), NonZeroU64::new(1_000).unwrap());
//! let answer = service_fn(|request: Request<()>| async move {
//!     // `SseLayer` does this, from what the upstream reports.
//!     let slot = UsageSlot::of(request.extensions()).unwrap();
//!     slot.record(Usage::new(14, 86));
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("A poem.")))
//! });
//! let service = BudgetLayer::new(MemoryStore::new(), Limits::new(quota)).layer(answer);
//!
//! // `ApiKeyLayer`, `ValidateLayer` and `ModelsLayer` write these facts; here we do.
//! let ask = |max_tokens: u64| {
//!     let chat = ChatRequest::builder("gpt-4o")
//!         .output_cap("max_tokens", max_tokens)
//!         .message()
//!         .text(InputKind::Content, "Write a short poem about cats.", false)
//!         .build();
//!     let mut request = Request::new(());
//!     request.extensions_mut().insert(Workspace::new("acme"));
//!     request.extensions_mut().insert(Model::new("gpt-4o"));
//!     request.extensions_mut().insert(chat);
//!     request
//! };
//!
//! // 900 tokens are reserved beside the prompt, 100 are used in the end.
//! let response = service.clone().oneshot(ask(900)).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! drop(response);
//! let response = service.clone().oneshot(ask(500)).await?;
//! assert_eq!(response.headers()["x-ratelimit-limit-tokens"], "1000");
//!
//! // The answer to the second is still under way: its 500 tokens are taken.
//! let refused = service.oneshot(ask(500)).await?;
//! assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert!(refused.headers().contains_key("retry-after-ms"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! A call is charged, in both dimensions and all windows or not at all, when it is admitted. What
//! it did not use leaves the slot of time that it was charged to. So the sum of what is settled
//! and what is reserved never exceeds a limit in any stretch of a minute; the effective rate is a
//! limit per 61 seconds, because a slot of a second counts until all of it is a minute old.
//!
//! Where the caller states an output cap and the prompt is reserved at its exact count or its
//! upper bound, true usage never exceeds the limit either. Otherwise a call may use more than was
//! reserved. The difference is charged when it becomes known, as debt: then nothing is admitted
//! until it has left the window. It is at most the sum of what the calls in flight use beyond
//! their reservations.
//!
//! | the prompt's figure | when |
//! |---|---|
//! | upper bound | a cap is stated, and it fits |
//! | count, or the estimate if nobody can count | a cap is stated, and the upper bound does not fit |
//! | estimate | no cap is stated |
//!
//! Bounds become a count also where they are further apart than a thousandth of the limit, if the
//! [counter](BudgetLayer::counter) can count. The output is the largest stated cap, times `n`. Where
//! none is stated it is what 99 in 100 recent outputs stayed below, to begin with 1,024 tokens, and
//! at most an eighth of the limit; [other rules](DefaultOutput) can be set, also for single models.
//!
//! What that is worth, simulated: twenty minutes of calls under a limit of 60,000 tokens, steadily
//! four a second or 300 at once every 20 seconds. The example `worst_minute` makes the figure.
//!
#![doc = include_str!("../docs/worst-minute.svg")]
//!
//! # Settlement
//!
//! | how the call ends | requests | tokens |
//! |---|---|---|
//! | its usage is recorded in the [`UsageSlot`](tollgate_core::UsageSlot) | 1 | the usage, or its prompt and the pieces seen if these are more |
//! | a success without usage, complete or not | 1 | the prompt's estimate, and the output seen |
//! | the same, and nobody [watches](tollgate_core::UsageSlot::watch_output) the output | 1 | a third of the answer's bytes, from the prompt's estimate up to what was reserved |
//! | the caller leaves before the answer begins, a panic | 1 | the prompt's estimate |
//! | 408, 504 | 1 | the prompt's estimate |
//! | 429, any other 5xx, an error of the inner service | 0 | 0 |
//! | any other 3xx or 4xx | 1 | 0 |
//! | a gRPC status other than `OK`, before any message | | as its HTTP counterpart |
//! | the process dies | 1 | as reserved, until a minute has passed (stores that outlive it) |
//!
//! # Placement
//!
//! Inside `ModelsLayer`, outside whatever retries or chooses an upstream: a call is charged once,
//! over all its attempts. Outside `Buffer` and `ConcurrencyLimit`, so that a refusal holds no
//! permit. Under a server the body must be able to reach its end or be dropped, which hyper sees
//! to.
//!
//! # Facts
//!
//! * Required: [`Workspace`](tollgate_core::Workspace) and [`Model`](tollgate_core::Model), unless
//!   [`BudgetLayer::key`] says otherwise; and [`ChatRequest`](tollgate_core::ChatRequest) or
//!   [`Cost`](tollgate_core::Cost), of which `Cost` goes first. A missing one is a 500: never a
//!   default tenant, never a budget for a name that the caller made up.
//! * Written: [`UsageSlot`](tollgate_core::UsageSlot).
//!
//! Every answer that passed carries the six `x-ratelimit-*` headers of OpenAI's, as things stood
//! at admission; those of the inner service are dropped. `reset` says when the whole limit will
//! be free.
//!
//! # Refusals
//!
//! * 429 `rate_limit_exceeded`, type `requests` or `tokens`, with `retry-after`, `retry-after-ms`
//!   and the six headers, when the call does not fit now. The named time is exact: if nothing else
//!   happens, the same call is admitted then and not earlier. Headers stop below a minute, which
//!   is as long as the Node clients wait; the message does not.
//! * The same without a wait, with `x-should-retry: false`, when the call is larger than a limit.
//! * 503 when the store cannot decide, unless [`Fallback`] does in its place.
//!
//! A refused call costs nothing in either dimension.
//!
//! # Cancel safety
//!
//! The reservation is owned by the future, then by the body. Each is settled once, by its end or
//! its drop. Nothing is awaited to settle. To learn what an answer costs whose caller has left,
//! [`BudgetLayer::drain`] reads on without it.
//!
//! # Cost
//!
//! Nanoseconds for each admission and its settlement in the [`MemoryStore`], the clock included, on
//! a machine of two shared cores (`cargo bench -p tollgate-budget`):
//!
//! | | 1 key | 1,000 keys | 1,000,000 keys |
//! |---|---|---|---|
//! | by the kernel's clock | 71 | 77 | 1,300 |
//! | by [the processor's](Clock) | 48 | 53 | 1,300 |
//! | by the kernel's, smoothed by the second too | 116 | 123 | 1,500 |
//! | governor 0.10, by the processor's: two limiters that admit apart and take nothing back | 63 | 68 | 1,050 |
//!
//! Of the 48, 20 are two uncontended trips through a lock. A denial takes 57 by the kernel's clock.
//! Two threads that run at once on the same keys wait for each other's cache lines: each pays 180
//! for one key and 280 for 1,000, by governor 165 and 310.
//! The layer as a whole, with its facts, six headers and a prompt that the byte rule measures, adds
//! 0.63 µs to a request. A key takes 191 bytes when it was used once and 1.8 KB when it is used in
//! every second; an open reservation takes 64 in the answer's body. What is idle for a minute is
//! dropped by later calls, and keys are capped.
//!
//! For a known key nothing is allocated to decide. There are 64 locks, each for a part of the
//! workspaces; one is held for less than 0.1 µs, and never while anything is awaited.
//!
//! # Features
//!
//! None.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod call;
mod clock;
mod cost;
mod crowd;
mod drain;
mod fallback;
mod future;
mod headers;
mod key;
mod layer;
mod level;
mod limits;
mod memory;
mod observe;
mod outputs;
mod quota;
mod reservation;
mod rules;
mod service;
mod store;
mod sync;
mod units;
mod window;

#[cfg(all(test, shuttle))]
mod interleavings;

pub use body::BudgetBody;
pub use clock::{Clock, MonotonicClock};
pub use drain::{Cancel, Departure, Drain, DrainTask, DrainedBody};
pub use fallback::{Fallback, FallbackHeld, FallbackReserve, OnFailure};
pub use future::BudgetFuture;
pub use key::{ByWorkspaceAndModel, FindKey, Key};
pub use layer::BudgetLayer;
pub use level::Level;
pub use limits::Limits;
pub use memory::{MemoryHeld, MemoryStore};
pub use observe::{Ending, Observe};
pub use outputs::DefaultOutput;
pub use quota::{Limit, Quota};
pub use reservation::Reservation;
pub use service::Budget;
pub use store::{
    Charge, Decision, Denial, Settled, Span, Standing, Standings, Store, StoreError, WindowSpec,
};
pub use units::{Dimension, Units};
