//! End-to-end stories: real hubs and real agents as processes, real clients, real photographs.
//!
//! `make test` builds the programs and fetches the model and the photographs first.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that is surprised has failed"
)]

mod api;
mod auth;
mod commands;
mod deploy;
mod detection;
mod join;
mod link;
mod mqtt;
mod ranks;
mod relay;
mod strangers;
mod world;
