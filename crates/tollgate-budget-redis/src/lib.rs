//! Budgets that several processes share, on Redis or Valkey.
//!
//! [`RedisStore`] is a [`Store`](tollgate_budget::Store) for `tollgate-budget`'s layer: gateways that
//! use one server share one budget, and what their memory promises of one process holds of all of
//! them together. A call asks the server once, and does not wait to be settled.
//!
//! ```
//! use std::num::NonZeroU64;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tollgate_budget::{BudgetLayer, Limits, Quota};
//! use tollgate_budget_redis::RedisSettings;
//! use tollgate_core::{Cost, Model, Workspace};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = tollgate_testing::RedisServer::start();
//! # let url = server.url();
//! // let url = "redis://127.0.0.1/";
//! let gateway = || -> Result<_, Box<dyn std::error::Error>> {
//!     let (store, driver) = RedisSettings::new(&*url)?.build();
//!     tokio::spawn(driver);
//!     let quota = Quota::per_minute(NonZeroU64::new(500).unwrap(), NonZeroU64::new(1_000).unwrap());
//!     let answer = service_fn(|_: Request<()>| async {
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("A poem.")))
//!     });
//!     Ok(BudgetLayer::new(store, Limits::new(quota)).layer(answer))
//! };
//! // `ApiKeyLayer`, `ModelsLayer` and others write these facts; here we do.
//! let ask = |tokens: u64| {
//!     let mut request = Request::new(());
//!     request.extensions_mut().insert(Workspace::new("acme"));
//!     request.extensions_mut().insert(Model::new("gpt-4o"));
//!     request.extensions_mut().insert(Cost::tokens(tokens));
//!     request
//! };
//!
//! // Two processes, for all that the server knows.
//! let (one, other) = (gateway()?, gateway()?);
//! let response = one.oneshot(ask(900)).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let refused = other.oneshot(ask(500)).await?;
//! assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! What [`tollgate_budget`] promises, of all processes that use one server, one
//! [prefix](RedisSettings::prefix) and one [length of slots](RedisSettings::slot): the arithmetic is
//! the same, and a test holds both stores side by side. The clock is the server's.
//!
//! | what happens | what holds |
//! |---|---|
//! | a process dies | what it reserved stays charged until a minute has passed |
//! | an admission is given up while the server has it | it is given back, whether it was made before or after that |
//! | an answer is lost with its connection | the call is asked again, and charged once |
//! | the server forgets its scripts | they are sent again |
//! | the server is set back by up to a minute | its time stands still until it has caught up |
//! | the server loses its memory, or is set back further | a limit more may be used within that minute |
//! | a replica takes over before it knows all | as much more may be used as it did not know |
//!
//! # When the server does not answer
//!
//! An admission waits 50 ms [at most](RedisSettings::patience). Then the store cannot decide, and the
//! layer refuses with 503. After five admissions in a row without an answer, or at once where the
//! connection is refused, none waits until the server answers again.
//!
//! Around this store, [`Fallback`](tollgate_budget::Fallback) knows other ways: the process decides by
//! a share of the limits and its own count. What it grants is [charged](tollgate_budget::Store::record)
//! as soon as the server is back, before that is asked anything. When the server comes back empty,
//! which is found out within a second, the share goes on to hold until a minute has passed.
//!
//! Settlements, and what was granted meanwhile, wait in a [queue](RedisSettings::queue) for up to a
//! minute.
//!
//! # Placement
//!
//! In a [`BudgetLayer`](tollgate_budget::BudgetLayer), whose placement is said there. One store is
//! enough for all layers of a process: clones share its connection.
//!
//! # Facts, refusals
//!
//! Those of the layer.
//!
//! # Cancel safety
//!
//! A reservation is settled or given back exactly once, also when the future that waits for it is
//! dropped, wherever it is. [`RedisDriver`] ends when all of that is told; drop the stores and wait
//! for it before a process ends.
//!
//! # Security
//!
//! Names of workspaces, models and levels cannot meet each other in a key, whatever they consist of;
//! those that are longer than 128 bytes are represented by their digest. No error holds a name, an
//! address or a password. Keys begin with `tollgate:`, so that a user whom the server allows
//! `~tollgate:* +@connection +eval +evalsha +get +set +del +time` can do all that is needed.
//!
//! # The server
//!
//! Redis 5 or Valkey 7.2, or newer, with its usual scripts. It should not evict keys:
//! `maxmemory-policy noeviction`, or one that is for the budgets alone. All keys of a call are
//! declared and in one slot of a cluster; but the client here talks with one server, so a cluster
//! needs a proxy before it. Nothing has to be kept when the server restarts.
//!
//! # Cost
//!
//! One call of a script to admit and one behind it to settle, each 16 µs of the server's time where
//! every second of the minute is in use; to deny, one of 20 µs. Calls a second over one connection,
//! server and callers on a machine of two shared cores (`cargo bench -p tollgate-budget-redis`):
//!
//! | | 1 caller | 16 callers |
//! |---|---|---|
//! | `PING` | 66,000 | 265,000 |
//! | `INCR` | 63,000 | 270,000 |
//! | admitted, and settled behind it | 17,000 | 29,000 |
//! | denied | 13,000 | 43,000 |
//!
//! A window takes 1.6 kB of the server's memory where every second of it is in use, and an open
//! reservation about 200 bytes, for a minute at most.
//!
//! # Features
//!
//! * `tls`: servers at `rediss://…`, by rustls. Off by default.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(test, unix))]
mod agreement;
mod driver;
mod ids;
mod inner;
mod link;
mod memory;
mod names;
mod note;
mod script;
mod settings;
mod store;
mod target;
mod ticket;

pub use driver::RedisDriver;
pub use settings::{InvalidAddress, RedisSettings};
pub use store::{RedisHeld, RedisReserve, RedisStore};
