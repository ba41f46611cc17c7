//! The CloudCore hub.
//!
//! Rooms, highest rank first; a room imports only from below it:
//!
//! `main > app > http, inbox, health, metrics > commands > alerts, certificates, detections >
//! devices, webhooks > link > live > backup, blobs, tokens > auth, pki > api, settings > keys, db,
//! objects > error, config`

pub mod app;
pub mod config;
pub mod error;

mod alerts;
mod api;
mod auth;
mod backup;
mod blobs;
mod certificates;
mod commands;
mod db;
mod detections;
mod devices;
mod health;
mod http;
mod inbox;
mod keys;
mod link;
mod live;
mod metrics;
mod objects;
mod pki;
mod settings;
mod tokens;
mod webhooks;

pub use auth::Role;
pub use backup::{Include, Order as BackupOrder};
