//! The contract, line by line: what `tests/contract/cloudcore-api.md` shows is done, in its
//! order, as its author wrote it, and what comes is of the shape that it shows.
//!
//! The data beside the page says for each of its requests (`requests.toml`) and of its other facts
//! (`facts.toml`) what is expected, and where that differs from the page, why. Nothing of the page
//! may be missing there.

mod errors;
mod events;
mod facts;
mod front;
mod mqtt;
mod page;
mod requests;
mod shape;
mod story;
mod tables;
mod webhook;
