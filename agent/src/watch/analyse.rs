//! From a frame to events: motion, model, tracks.

use std::path::{Path, PathBuf};

use cloudcore_protocol::{
    Detection, DetectionPhase, Timestamp,
    command::{Confidence, Seconds},
};

use super::WatchError;
use crate::{
    camera::{CameraSource, Frame},
    config::Config,
    detect::{Detector, MotionGate, MotionSettings, TrackEvent, TrackSettings, Tracker},
};

/// Loads a model, off the async threads.
///
/// # Errors
/// [`WatchError::NoModel`] or [`WatchError::Model`].
pub async fn load_model(path: Option<&Path>) -> Result<Detector, WatchError> {
    let path = path.ok_or(WatchError::NoModel)?.to_owned();
    tokio::task::spawn_blocking(move || Detector::load(path))
        .await
        .map_err(|e| WatchError::Model(e.to_string()))?
        .map_err(|e| WatchError::Model(e.to_string()))
}

/// What a frame passes through.
pub(super) struct Analyser {
    detector: Detector,
    gate: MotionGate,
    tracker: Tracker,
    first_id: u64,
    /// Of the last frame, pixels.
    size: (u32, u32),
    made_for: MadeFor,
}

/// The settings that a running analyser depends on.
#[derive(Clone, PartialEq)]
struct MadeFor {
    model: Option<PathBuf>,
    camera: Option<CameraSource>,
    interval: Seconds,
    confidence: Confidence,
}

impl MadeFor {
    fn of(config: &Config) -> Self {
        Self {
            model: config.model_path.clone(),
            camera: config.camera.clone(),
            interval: config.detection.interval,
            confidence: config.detection.confidence,
        }
    }
}

impl Analyser {
    /// With tracks numbered from `first_id` on.
    pub(super) fn new(detector: Detector, first_id: u64, config: &Config) -> Self {
        let interval = config.detection.interval.duration();
        Self {
            detector,
            gate: MotionGate::new(MotionSettings::default()),
            tracker: Tracker::new(TrackSettings::for_interval(interval)),
            first_id,
            size: (0, 0),
            made_for: MadeFor::of(config),
        }
    }

    /// Whether another would be made for these settings.
    pub(super) fn fits(&self, config: &Config) -> bool {
        self.made_for == MadeFor::of(config)
    }

    /// The model's name.
    pub(super) fn model(&self) -> &str {
        &self.detector.description().name
    }

    /// What a frame shows, as events. Works the CPU.
    pub(super) fn frame(
        &mut self,
        frame: &Frame,
        confidence: Confidence,
    ) -> Result<Vec<Detection>, String> {
        self.size = frame.image.dimensions();
        if !self.gate.passes(&frame.image) {
            self.tracker.hold(frame.captured);
            return Ok(Vec::new());
        }
        let found = match self.detector.detect(&frame.image, confidence.get()) {
            Ok(found) => found,
            Err(error) => {
                // What was not looked at must be looked at next time.
                self.gate.reset();
                return Err(error.to_string());
            }
        };
        let events = self.tracker.update(frame.captured, found);
        Ok(self.events(events, Some(frame)))
    }

    /// Ends what is in sight.
    pub(super) fn finish(&mut self) -> Vec<Detection> {
        self.gate.reset();
        let events = self.tracker.finish();
        self.events(events, None)
    }

    fn events(&self, events: Vec<TrackEvent>, frame: Option<&Frame>) -> Vec<Detection> {
        let model = self.model();
        events
            .into_iter()
            .map(|event| {
                let (phase, track) = match event {
                    TrackEvent::Started(track) => (DetectionPhase::Started, track),
                    TrackEvent::Ended(track) => (DetectionPhase::Ended, track),
                };
                Detection {
                    track_id: self.first_id.saturating_add(track.id - 1),
                    phase,
                    object: track.best.label.as_ref().into(),
                    confidence: track.best.confidence,
                    bounding_box: track.best.bbox,
                    frame_width: self.size.0,
                    frame_height: self.size.1,
                    model: model.to_owned(),
                    captured_at: frame.map_or_else(Timestamp::now, |frame| frame.captured_at),
                    latency_micros: frame.map_or(0, |frame| {
                        u64::try_from(frame.captured.elapsed().as_micros()).unwrap_or(u64::MAX)
                    }),
                }
            })
            .collect()
    }
}
