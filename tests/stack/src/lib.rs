//! What the tests of whole stacks share: layers that fit a scripted upstream and what it answers, a
//! server to put them in, and a caller that sees what goes over the wire.
#![allow(
    clippy::exhaustive_structs,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod answers;
mod caller;
mod check;
mod example;
mod layers;
mod log;
mod serve;

pub use answers::{
    broken_stream, chunk, completion, completion_that_took, error, failed_stream, stalled_stream,
    stream,
};
pub use caller::{Answer, Caller, ask, ask_streamed, call};
pub use check::{check_gateway, good_upstream};
pub use example::Example;
pub use layers::{HttpClient, KEY, Layers, gateway, http_client};
pub use log::Log;
pub use serve::serve;
pub use tollgate_testing::upstream::{Latch, Reply, ScriptedUpstream};

use std::time::Duration;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen soon.
///
/// # Panics
///
/// If it does not.
pub async fn soon<F: Future>(future: F) -> F::Output {
    let within = tokio::time::timeout(PATIENCE, future).await;
    within.expect("it happens within 20 s")
}
