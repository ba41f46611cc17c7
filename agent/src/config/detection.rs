//! Settings of detection.

use cloudcore_protocol::command::{
    Confidence, Few, Filters, Labels, Masks, ObjectMasks, PreRoll, PreRollPictures, Quality,
    Seconds, Zones,
};
use serde::{Deserialize, Serialize};

use crate::detect::Scene;

/// Settings of detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectionConfig {
    /// Whether it is on; `start_detection` and `stop_detection` set it.
    pub enabled: bool,
    /// Seconds from frame to frame.
    pub interval: Seconds,
    /// Least score of a detection, 0 to 1.
    pub confidence: Confidence,
    /// The most that the model's process may allocate, MiB.
    pub memory_mb: MemoryMb,
    /// The labels that count; all where it is empty.
    #[serde(skip_serializing_if = "is_empty")]
    pub objects: Labels,
    /// Where motion does not count: corners as shares of the frame.
    #[serde(skip_serializing_if = "is_empty")]
    pub masks: Masks,
    /// Where objects do not count.
    #[serde(skip_serializing_if = "is_empty")]
    pub object_masks: ObjectMasks,
    /// Areas whose names events show.
    #[serde(skip_serializing_if = "is_empty")]
    pub zones: Zones,
    /// Whether an object is an event in a zone only.
    pub only_in_zones: bool,
    /// Which objects count, by label.
    #[serde(skip_serializing_if = "is_empty")]
    pub filters: Filters,
    /// Seconds from look to look at what does not move.
    pub stationary_interval: Seconds,
    /// Whether the best look at each object is kept as a picture.
    pub snapshots: bool,
    /// Quality of these pictures and of those before an object came, 1 to 100.
    pub snapshot_quality: Quality,
    /// Seconds before an object came from which on there are pictures; 0 for none.
    pub pre_roll: PreRoll,
    /// How many there are.
    pub pre_roll_pictures: PreRollPictures,
}

fn is_empty<T, const N: usize>(few: &Few<T, N>) -> bool {
    few.is_empty()
}

impl DetectionConfig {
    /// What counts of what a model sees.
    #[must_use]
    pub fn scene(&self) -> Scene {
        Scene {
            objects: self.objects.clone(),
            masks: self.masks.clone(),
            object_masks: self.object_masks.clone(),
            zones: self.zones.clone(),
            only_in_zones: self.only_in_zones,
            filters: self.filters.clone(),
            confidence: self.confidence.get(),
        }
    }
}

/// 64 MiB to 64 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MemoryMb(u32);

impl MemoryMb {
    /// MiB.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for MemoryMb {
    type Error = &'static str;
    fn try_from(value: u32) -> Result<Self, Self::Error> {
        match value {
            64..=65_536 => Ok(Self(value)),
            _ => Err("memory_mb must be 64 to 65536"),
        }
    }
}

impl From<MemoryMb> for u32 {
    fn from(memory: MemoryMb) -> Self {
        memory.0
    }
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: seconds(0.5),
            confidence: confidence(0.5),
            memory_mb: MemoryMb(768),
            objects: Labels::default(),
            masks: Masks::default(),
            object_masks: ObjectMasks::default(),
            zones: Zones::default(),
            only_in_zones: false,
            filters: Filters::default(),
            stationary_interval: seconds(30.0),
            snapshots: true,
            snapshot_quality: Quality::default(),
            pre_roll: PreRoll::default(),
            pre_roll_pictures: PreRollPictures::default(),
        }
    }
}

#[allow(clippy::expect_used, reason = "called with constants only")]
pub(super) fn seconds(value: f64) -> Seconds {
    value.try_into().expect("an interval in range")
}

#[allow(clippy::expect_used, reason = "called with constants only")]
fn confidence(value: f32) -> Confidence {
    value.try_into().expect("a score in range")
}
