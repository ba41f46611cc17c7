//! The CloudCore edge agent: joins a hub, watches a camera, obeys commands, loses nothing while it
//! is cut off.
//!
//! Rooms, in rank order; imports go downward only:
//! `main > cli > agent > exec, join, schedule > apps, watch > models > link > heartbeat > eye,
//! config > camera, detect, identity, lock, machine, outbox, update > backoff, confine, files, logs,
//! notify`.
//!
//! Start one with [`agent::Agent::start`].

pub mod agent;
#[cfg(feature = "apps")]
pub mod apps;
#[cfg(not(feature = "apps"))]
#[path = "apps/absent.rs"]
pub mod apps;
pub mod camera;
pub mod cli;
pub mod config;
pub mod confine;
pub mod detect;
pub mod exec;
pub mod eye;
pub mod heartbeat;
pub mod identity;
pub mod join;
pub mod link;
pub mod lock;
pub mod logs;
pub mod machine;
pub mod models;
pub mod outbox;
pub mod schedule;
pub mod update;
pub mod watch;

mod backoff;
mod files;
mod notify;
