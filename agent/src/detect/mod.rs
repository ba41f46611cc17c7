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

mod bench;
mod description;
mod detector;
mod family;
mod letterbox;
mod motion;
mod process;
mod scene;
mod track;
mod worker;

pub use bench::{BenchReport, bench};
pub use cloudcore_protocol::BoundingBox;
pub use description::{
    ColourOrder, DescriptionError, InputDescription, ModelDescription, Placement,
};
pub use detector::{DetectError, Detection, Detector};
pub use family::Family;
pub use motion::{Motion, MotionGate, MotionSettings};
pub use process::{Model, ModelError};
pub use scene::Scene;
pub use track::{Look, Track, TrackEvent, TrackSettings, Tracker};
pub use worker::{About, serve};

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
