//! The wire: what it looks like, what it survives, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by failing"
)]

mod any;
mod bad_input;
mod blobs;
mod compatibility;
mod golden;
mod ids;
mod round_trip;
mod stream;
mod tasks;
mod token;
