//! End-to-end stories: real hubs and real agents as processes, real clients, real photographs.
//!
//! `make test` builds the programs and fetches the model and the photographs first.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that is surprised has failed"
)]

mod alerts;
mod api;
mod apps;
mod auth;
mod authorization;
mod backup;
mod cameras;
mod certificates;
mod cluster;
mod commands;
mod config;
mod contract;
mod deploy;
mod detection;
mod edge;
mod faults;
mod inference;
mod install;
mod join;
mod link;
mod logs;
mod maintenance;
mod manifests;
mod metrics;
mod models;
mod mqtt;
mod objects;
mod offline;
mod openapi;
mod postgres;
mod probes;
mod ranks;
mod relay;
mod rtsp;
mod s3;
mod scene;
mod schemathesis;
mod secrets;
mod snapshots;
mod strangers;
mod tls;
mod tools;
mod volume;
mod webhooks;
mod world;
mod ws;
