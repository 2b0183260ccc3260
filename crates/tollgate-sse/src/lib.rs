//! Streams that no network, upstream or SDK can break: a tower layer that re-frames server-sent
//! events, and the framer it stands on.
//!
//! [`SseLayer`] reads what an upstream answers to a chat completion. A stream leaves as whole
//! events in the one form that every SDK reads, with the oddities of Azure and others taken out,
//! `[DONE]` if and only if the answer is complete, and an error event if it is not. Its usage is
//! asked for, recorded and shown to callers who asked. [`Framer`] parses any event stream, and
//! [`Reframer`] is the layer without HTTP: both are sans-IO and usable alone.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use tollgate_sse::SseLayer;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An upstream that sends comments and filter results, and forgets to say `[DONE]`.
//! const CHUNKS: &str = concat!(
//!     ": hello\r\n\r\n",
//!     "data: {\"choices\":[],\"prompt_filter_results\":[]}\r\n\r\n",
//!     "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",",
//!     "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}",
//! );
//! // Another one that is broken.
//! const ERROR: &str = "data: {\"error\":{\"message\":\"Overloaded\",\"code\":503}}\n\n";
//!
//! let upstream = service_fn(|request: Request<()>| async move {
//!     let body = if request.uri() == "/broken" { ERROR } else { CHUNKS };
//!     Response::builder().header("content-type", "text/event-stream").body(Full::from(body))
//! });
//! let service = SseLayer::new().layer(upstream);
//!
//! let response = service.clone().oneshot(Request::new(())).await?;
//! let answer = response.into_body().collect().await?.to_bytes();
//! assert!(answer.starts_with(b"data: {\"id\":\"c\","));
//! assert!(answer.ends_with(b"\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"));
//!
//! // An error before any output is an answer with a status, which clients can retry.
//! let request = Request::builder().uri("/broken").body(())?;
//! assert_eq!(service.oneshot(request).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! # What happens to an answer
//!
//! Only answers with a 2xx status and without a content encoding are touched. Others, error
//! answers above all, pass as they are, and so do other content types. A 200 without a content type
//! is taken for what a known [`ChatRequest`](tollgate_core::ChatRequest) asked for.
//!
//! **`text/event-stream`** is re-framed. Events that need no change leave as their original bytes;
//! changes are spliced in, and every other byte, member order and number spelling stays.
//!
//! * Comments, `event`, `id` and `retry` lines, empty events, objects without `choices` and chunks
//!   that say nothing are dropped: one or another SDK trips over each of them.
//! * Choices without a `delta` are dropped, or given one if they finish. What content filters say
//!   is removed. Missing `id`, `object`, `created` and `model` are filled in.
//! * An error object, an event that is not a JSON object, an end before every choice has finished,
//!   silence: the stream ends with one error event in OpenAI's form. Nothing follows it.
//! * An error says neither URLs, nor the host and deployment that the request was sent to, nor its
//!   credentials there.
//! * Before the first event is known the head is held back, for at most 64 KiB of input that holds
//!   none ([`SseLayer::hold_bytes`]); an error that is found until then becomes an answer.
//!
//! **`application/json`** is held up to 8 MiB, read once for its usage, freed from filter results
//! and sent with its length. An answer that is cut off or larger is a 502.
//!
//! # Placement
//!
//! Next to the upstream, inside `UpstreamLayer`: then an error in the first event can still move
//! to another upstream. It runs once for each attempt. The inner body must be `Unpin`, as bodies
//! of hyper and axum are. It needs a tokio runtime with time, for the timeouts.
//!
//! # Facts
//!
//! All optional. [`ChatRequest`](tollgate_core::ChatRequest): whether the caller wants usage
//! (without it, usage passes as it came), and the model for chunks that name none.
//! [`SharedBody`](tollgate_core::SharedBody): where `stream_options` is set, so that the upstream
//! tells its usage. A deployment's name that was written into it is not told to callers, unless
//! they know it from their request or as the [`Model`](tollgate_core::Model).
//! [`AttemptSettings`](tollgate_core::AttemptSettings): overrule the layer's.
//! [`UsageSlot`](tollgate_core::UsageSlot): is filled with the usage, and with the output passed on
//! so far. [`RequestId`](tollgate_core::RequestId): for answers that have no id.
//!
//! # Refusals
//!
//! Only before the head is sent, and only for failures of the upstream.
//!
//! * A stream that fails before its first event: an
//!   [`UpstreamFault`](tollgate_core::UpstreamFault) in the extensions, rendered with the status
//!   that its code or type means; 502 `upstream_invalid_event` and `upstream_stream_truncated`,
//!   504 `upstream_timeout`. So is a JSON answer that is nothing but an error object.
//! * A JSON answer that is cut off, not JSON or too large: 502 `upstream_unavailable`; silent: 504.
//!
//! # Cancel safety
//!
//! Dropping the future or the body drops the upstream's body, which is what cancels the call.
//! Usage and output are recorded as they are passed on, so that what a caller got before it left
//! is known.
//!
//! # Cost
//!
//! An event that equals an earlier one but for the insides of a few strings needs no parser: that
//! it is JSON, where it ends and what to change in it is known by comparison, which is made while
//! the event comes. Other events are read once. Events that need no change leave as slices of the
//! piece that brought them, joined to one frame, and allocate nothing. What a cut went through, or
//! what is changed, is written anew; a small output then gets memory of its own, which is one
//! allocation for each.
//!
//! Measured with `cargo bench -p tollgate-sse` on 2 shared virtual CPUs (AMD Zen 4 class): ns for
//! each event of 287 bytes (371 with filters and usage).
//!
//! | in pieces of | 17 bytes | 64 | 100 | 300 | one event | 1 KiB | 16 KiB | 64 KiB |
//! |---|---|---|---|---|---|---|---|---|
//! | handing them out | 272 | 73 | 46 | 15 | 16 | 5 | 0.3 | 0.1 |
//! | [`Framer`] | 250 | 93 | 65 | 36 | 26 | 20 | 14 | 13 |
//! | [`Reframer`], nothing to change | 243-245 | 88-89 | 69-70 | 47-48 | 39-41 | 35 | 18 | 18 |
//! | sse-core, which parses alone | 265-266 | 99-103 | 79 | 54 | 46-48 | 44 | 38 | 37-38 |
//! | sse-core, its events written again | 285-286 | 117-120 | 94-103 | 73-74 | 59-60 | 69-71 | 48 | 45 |
//! | sse-stream, which parses alone | 658 | 230 | 181 | 97 | 71 | 63 | 49 | 47 |
//! | eventsource-stream, the same | 2,530 | 920 | 690 | 450 | 310 | 360 | 460 | 1,050 |
//! | memmem of the blank lines | 109 | 34 | 26 | 14 | 9 | 11 | 9 | 8 |
//! | with filters: [`Reframer`], to take out | 301-303 | 104-106 | 79-80 | 51-52 | 42-43 | 38-39 | 27 | 27 |
//! | with usage: [`Reframer`], to hide | 302-304 | 106 | 80-81 | 52-53 | 43 | 46-47 | 28-29 | 28-29 |
//! | with both: sse-core, which parses alone | 335-336 | 124-126 | 93 | 62-63 | 47-48 | 49 | 41 | 40 |
//! | with both: its events written again | 357-362 | 139-142 | 109-117 | 78-80 | 63-64 | 75-77 | 52-53 | 48-50 |
//!
//! A stream keeps about a kilobyte of state and the buffers of typical events. A large event takes
//! less than ten times its size, for as long as it is looked at.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod body;
mod chunk;
mod edit;
mod event;
mod fault;
mod fields;
mod framer;
mod future;
mod identity;
mod json;
mod json_answer;
mod known;
mod layer;
mod line;
mod members;
mod outlet;
mod output;
mod parser;
mod pattern;
mod reframe;
mod rules;
mod settings;
mod stream;
mod tap;
mod template;
mod text;
mod usage;

pub use body::SseBody;
pub use event::{Event, EventTooLarge};
pub use framer::Framer;
pub use future::SseFuture;
pub use layer::{Sse, SseLayer};
pub use reframe::{Reframer, StreamEnd};
pub use tap::{Flow, NoTap, Tap};
