//! The example gateway: OpenAI's chat completions in front of Azure OpenAI, built from Tollgate's
//! layers.
//!
//! | to see | read |
//! |---|---|
//! | how the layers are stacked | `stack.rs` |
//! | what is served where | `routes.rs` |
//! | how connections are accepted, timed and ended | `server/` |
//! | where budgets are counted | `store.rs` |
//! | what can be configured | [`config`] |
//! | the upstreams of the demo | [`simulated`] |
//!
//! The binary only reads its arguments; tests start [`Gateway`]s in their own process.
#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "nothing outside of this repository builds on it"
)]

mod admin;
mod args;
pub mod config;
mod current;
pub mod demo;
mod gateway;
mod metrics;
mod routes;
mod server;
pub mod signals;
pub mod simulated;
mod stack;
mod store;
mod upstream_client;
mod upstreams;

pub use self::{
    args::Args,
    gateway::{Gateway, StartError},
};
