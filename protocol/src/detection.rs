//! What a camera saw.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{DetectionId, Timestamp};

/// A rectangle in pixels of the frame, from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    #[n(0)]
    pub x: f32,
    /// Top edge.
    #[n(1)]
    pub y: f32,
    /// Width.
    #[n(2)]
    pub width: f32,
    /// Height.
    #[n(3)]
    pub height: f32,
}

/// An object comes and goes: one person standing still is one start and one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DetectionPhase {
    /// It appeared.
    #[n(0)]
    Started,
    /// It is gone.
    #[n(1)]
    Ended,
}

/// One object, at its start or its end.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Detection {
    /// Number of the object's track, stable from its start to its end.
    #[n(0)]
    pub track_id: u64,
    /// Start or end.
    #[n(1)]
    pub phase: DetectionPhase,
    /// The class's label (`person`).
    #[n(2)]
    pub object: String,
    /// Best score so far, 0 to 1.
    #[n(3)]
    pub confidence: f32,
    /// Where it was at its best score.
    #[n(4)]
    pub bounding_box: BoundingBox,
    /// Width of the frame, pixels.
    #[n(5)]
    pub frame_width: u32,
    /// Height of the frame, pixels.
    #[n(6)]
    pub frame_height: u32,
    /// The model's name.
    #[n(7)]
    pub model: String,
    /// When the frame was captured, by the agent's clock.
    #[n(8)]
    pub captured_at: Timestamp,
    /// From the frame's capture to this event, microseconds, by a monotonic clock.
    #[n(9)]
    pub latency_micros: u64,
    /// Names of the zones that it was in so far.
    #[n(10)]
    pub zones: Option<Vec<String>>,
    /// The object's id, the same at its start and its end.
    #[n(11)]
    pub id: Option<DetectionId>,
    /// Whether a picture of it is on its way to the hub or there.
    #[n(12)]
    pub snapshot: Option<bool>,
}

/// What a picture has to do with a detected object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PictureKind {
    /// The best look at it so far; it replaces one before.
    #[n(0)]
    Snapshot,
    /// What was there shortly before it came.
    #[n(1)]
    PreRoll,
}

/// The object that a picture belongs to.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct PictureOf {
    /// Its id.
    #[n(0)]
    pub id: DetectionId,
    /// Why there is a picture.
    #[n(1)]
    pub kind: PictureKind,
    /// The object's label (`person`).
    #[n(2)]
    pub object: String,
    /// Its score in this picture, 0 to 1; none in one from before it.
    #[n(3)]
    pub confidence: Option<f32>,
    /// Where it is, in pixels of this picture; none in one from before it.
    #[n(4)]
    pub bounding_box: Option<BoundingBox>,
}
