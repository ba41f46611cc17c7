//! The CloudCore hub.
//!
//! Rooms, highest rank first; a room imports only from below it:
//!
//! `main > app > http, inbox, health, metrics, mqtt, overview > apps, diagnostics > commands >
//! backup, certificates, detections, logs > devices, webhooks > alerts, link > live > blobs,
//! cloudcore, configuration, dashboard, maintenance, models, releases, tokens > auth, pki > api,
//! settings > cluster > keys, db, objects, traffic > error, config`

pub mod app;
pub mod config;
pub mod error;

mod alerts;
mod api;
mod apps;
mod auth;
mod backup;
mod blobs;
mod certificates;
mod cloudcore;
mod cluster;
mod commands;
mod configuration;
mod dashboard;
mod db;
mod detections;
mod devices;
mod diagnostics;
mod health;
mod http;
mod inbox;
mod keys;
mod link;
mod live;
mod logs;
mod maintenance;
mod metrics;
mod models;
mod mqtt;
mod objects;
mod overview;
mod pki;
mod releases;
mod settings;
mod tokens;
mod traffic;
mod webhooks;

pub use auth::Role;
pub use backup::{Include, Order as BackupOrder};
