//! Finding objects in frames: what is there, and when it comes and goes.
//!
//! A frame passes three stages, each usable alone: the [`MotionGate`] says whether it is worth
//! looking at, the [`Detector`] finds the objects in it, the [`Tracker`] joins the objects of
//! successive frames so that one person standing still is one event with a start and an end.
//!
//! Everything here but [`Model`] is synchronous work for a CPU: call it on a blocking thread. A
//! [`Model`] is a [`Detector`] in a process of its own, with limits: what the agent uses. What a model
//! wants and means stands in the [`ModelDescription`] beside its file, not in code. Nothing here
//! touches the network or keeps a frame.

#[cfg(feature = "detection")]
mod bench;
mod description;
#[cfg(feature = "detection")]
mod detector;
#[cfg_attr(not(feature = "detection"), allow(dead_code))]
mod family;
#[cfg(feature = "detection")]
mod letterbox;
mod motion;
mod process;
mod scene;
mod track;
mod worker;

use std::sync::Arc;

#[cfg(feature = "detection")]
pub use bench::{BenchReport, bench};
pub use cloudcore_protocol::BoundingBox;
pub use description::{
    ColourOrder, DescriptionError, InputDescription, ModelDescription, Placement,
};
#[cfg(feature = "detection")]
pub use detector::{DetectError, Detector};
pub use family::Family;
pub use motion::{Motion, MotionGate, MotionSettings};
pub use process::{Model, ModelError};
pub use scene::Scene;
pub use track::{Look, Track, TrackEvent, TrackSettings, Tracker};
pub use worker::{About, serve};

/// An object in a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Its class's label (`person`).
    pub label: Arc<str>,
    /// Its class's number, in the order of the model's labels.
    pub class: usize,
    /// Score, 0 to 1.
    pub confidence: f32,
    /// Where it is, in pixels of the frame and within it.
    pub bbox: BoundingBox,
}

/// Intersection over union of two boxes, 0 to 1.
fn iou(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let shared = width * height;
    shared / (a.width * a.height + b.width * b.height - shared)
}
