//! From a frame to events: motion, model, tracks.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Instant,
};

use cloudcore_protocol::{
    BoundingBox, Detection, DetectionId, DetectionPhase, Timestamp, command::Seconds,
};
use image::RgbImage;

use super::{
    WatchError,
    snapshot::{self, Snapshots},
};
use crate::{
    camera::{CameraSource, Frame},
    config::{Config, DetectionConfig, MemoryMb},
    detect::{
        Detection as Seen, Look, Model, ModelError, Motion, MotionGate, MotionSettings, Scene,
        TrackEvent, TrackSettings, Tracker,
    },
    outbox::ObjectPicture,
};

/// Loads the model that is configured, in a process of its own.
///
/// # Errors
/// [`WatchError::NoModel`] or [`WatchError::Model`].
pub async fn load_model(config: &Config) -> Result<Model, WatchError> {
    let path = config.model_path.as_deref().ok_or(WatchError::NoModel)?;
    try_model(path, config).await
}

/// Loads another one, with the same limits.
///
/// # Errors
/// [`WatchError::Model`].
pub async fn try_model(path: &Path, config: &Config) -> Result<Model, WatchError> {
    Model::load(path, config.detection.memory_mb.get())
        .await
        .map_err(|e| WatchError::Model(e.to_string()))
}

/// Why a frame was not looked at.
#[derive(Debug)]
pub(super) struct Problem {
    /// For people.
    pub(super) message: String,
    /// Whether the model has to be loaded again.
    pub(super) is_fatal: bool,
}

impl Problem {
    fn of(error: &ModelError) -> Self {
        let is_fatal = !matches!(error, ModelError::Refused(_) | ModelError::Large(..));
        Self { message: error.to_string(), is_fatal }
    }
}

/// Share of the frame from which on all of it is looked at.
const NEARLY_ALL: f32 = 0.6;
/// What is looked at around something that moves, as a share of its size on each side.
const MARGIN: f32 = 0.2;
/// A box so near to the edge of what was looked at may go on beyond it, pixels.
const EDGE: f32 = 2.0;

/// What is to be kept together.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What began and what ended.
    pub(super) detections: Vec<Detection>,
    /// Pictures of it.
    pub(super) pictures: Vec<ObjectPicture>,
}

/// What a frame passes through.
pub(super) struct Analyser {
    detector: Model,
    gate: MotionGate,
    tracker: Tracker,
    scene: Scene,
    first_id: u64,
    /// Of the tracks that were told and go on, by number.
    ids: HashMap<u64, DetectionId>,
    snapshots: Snapshots,
    /// Of the last frame, pixels.
    size: (u32, u32),
    /// When a frame was inferred last.
    looked: Option<Instant>,
    made_for: MadeFor,
}

/// The settings that a running analyser is made anew for.
#[derive(Clone, PartialEq)]
struct MadeFor {
    model: Option<PathBuf>,
    camera: Option<CameraSource>,
    interval: Seconds,
    memory_mb: MemoryMb,
}

impl MadeFor {
    fn of(config: &Config) -> Self {
        Self {
            model: config.model_path.clone(),
            camera: config.camera.clone(),
            interval: config.detection.interval,
            memory_mb: config.detection.memory_mb,
        }
    }
}

impl Analyser {
    /// With tracks numbered from `first_id` on.
    pub(super) fn new(detector: Model, first_id: u64, config: &Config) -> Self {
        let interval = config.detection.interval.duration();
        Self {
            detector,
            gate: MotionGate::new(MotionSettings::default()),
            tracker: Tracker::new(TrackSettings::for_interval(interval)),
            scene: config.detection.scene(),
            first_id,
            ids: HashMap::new(),
            snapshots: Snapshots::default(),
            size: (0, 0),
            looked: None,
            made_for: MadeFor::of(config),
        }
    }

    /// Whether another would be made for these settings.
    pub(super) fn fits(&self, config: &Config) -> bool {
        self.made_for == MadeFor::of(config)
    }

    /// The model's name.
    pub(super) fn model(&self) -> &str {
        &self.detector.about().name
    }

    /// What a frame shows, as events.
    ///
    /// # Errors
    /// The model's; whether it has to be loaded again stands in [`Problem`].
    pub(super) async fn frame(
        &mut self,
        frame: &Frame,
        config: &DetectionConfig,
    ) -> Result<Found, Problem> {
        self.size = frame.image.dimensions();
        let scene = config.scene();
        if scene != self.scene {
            // What counts now is looked for at once.
            self.scene = scene;
            self.gate.reset();
        }
        let motion = self.gate.look(&frame.image, &self.scene.masks);
        let since = self.looked.map(|looked| frame.captured.saturating_duration_since(looked));
        let stale = since.is_none_or(|since| since >= config.stationary_interval.duration());
        let region = match motion {
            Motion::Still if self.tracker.tracks().next().is_none() || !stale => {
                let events = self.tracker.hold(frame.captured);
                return Ok(self.found(events, Some(frame), config));
            }
            Motion::Within(place) if !stale => self.region(place),
            Motion::Still | Motion::Within(_) | Motion::Unknown => None,
        };
        let (found, region) = match self.find(&frame.image, region).await {
            Ok(found) => found,
            Err(error) => {
                // What was not looked at must be looked at next time.
                self.gate.reset();
                return Err(Problem::of(&error));
            }
        };
        if region.is_none() {
            self.looked = Some(frame.captured);
        }
        let look = Look { at: frame.captured, size: self.size, region, scene: &self.scene };
        let events = self.tracker.update(&look, found);
        Ok(self.found(events, Some(frame), config))
    }

    /// Takes the pictures that a frame is worth, after [`Self::frame`]; those to be kept now.
    pub(super) async fn pictures(&mut self, frame: Frame, config: &DetectionConfig) -> Found {
        let looks = self.tracker.seen(frame.captured).filter_map(|(track, seen)| {
            Some(snapshot::Look {
                id: self.ids.get(&track.id)?.clone(),
                object: seen.label.as_ref().into(),
                confidence: seen.confidence,
                bounding_box: seen.bbox,
            })
        });
        let looks = looks.collect();
        let pictures = self.snapshots.frame(frame, looks, config).await;
        Found { detections: Vec::new(), pictures }
    }

    /// The part of the frame to look at for motion here: with what else moves, and no smaller
    /// than the model's input. `None` for all of it.
    fn region(&self, motion: BoundingBox) -> Option<BoundingBox> {
        let all = (self.size.0 as f32, self.size.1 as f32);
        let least = (self.detector.about().input.0 as f32, self.detector.about().input.1 as f32);
        let (mut left, mut top) = (motion.x, motion.y);
        let (mut right, mut bottom) = (left + motion.width, top + motion.height);
        for moving in self.tracker.moving() {
            (left, top) = (left.min(moving.x), top.min(moving.y));
            right = right.max(moving.x + moving.width);
            bottom = bottom.max(moving.y + moving.height);
        }
        // Whole pixels: what is found is moved by where the region begins.
        let span = |from: f32, to: f32, least: f32, all: f32| {
            let length = ((to - from) * (1.0 + 2.0 * MARGIN)).max(least).min(all).ceil();
            let start = (f32::midpoint(from, to) - length / 2.0).clamp(0.0, all - length).floor();
            (start, length.min(all - start))
        };
        let (x, width) = span(left, right, least.0, all.0);
        let (y, height) = span(top, bottom, least.1, all.1);
        let is_part = width * height < NEARLY_ALL * all.0 * all.1;
        is_part.then_some(BoundingBox { x, y, width, height })
    }

    /// What counts of what the model sees in this part of the frame, and which part that was: an
    /// object that goes on beyond it is looked at in all of the frame.
    async fn find(
        &mut self,
        image: &RgbImage,
        region: Option<BoundingBox>,
    ) -> Result<(Vec<Seen>, Option<BoundingBox>), ModelError> {
        let least = self.scene.least();
        if let Some(part) = region {
            let (x, y, width, height) =
                (part.x as u32, part.y as u32, part.width as u32, part.height as u32);
            let crop = image::imageops::crop_imm(image, x, y, width, height).to_image();
            let mut found = self.detector.detect(&crop, least).await?;
            for one in &mut found {
                (one.bbox.x, one.bbox.y) = (one.bbox.x + part.x, one.bbox.y + part.y);
            }
            let size = self.size;
            found.retain(|one| self.scene.keeps(one, size));
            if !found.iter().any(|one| goes_on(&one.bbox, &part, size)) {
                return Ok((found, region));
            }
        }
        let mut found = self.detector.detect(image, least).await?;
        found.retain(|one| self.scene.keeps(one, self.size));
        Ok((found, None))
    }

    /// Ends what is in sight.
    pub(super) fn finish(&mut self, config: &DetectionConfig) -> Found {
        self.gate.reset();
        self.looked = None;
        let events = self.tracker.finish();
        self.found(events, None, config)
    }

    fn found(
        &mut self,
        events: Vec<TrackEvent>,
        frame: Option<&Frame>,
        config: &DetectionConfig,
    ) -> Found {
        let mut detections = self.events(events, frame);
        let at = frame.map_or_else(Instant::now, |frame| frame.captured);
        let pictures = self.snapshots.told(&mut detections, at, config);
        Found { detections, pictures }
    }

    fn events(&mut self, events: Vec<TrackEvent>, frame: Option<&Frame>) -> Vec<Detection> {
        let model = self.model().to_owned();
        events
            .into_iter()
            .map(|event| {
                let (phase, id, track) = match event {
                    TrackEvent::Started(track) => {
                        let id = DetectionId::generate();
                        self.ids.insert(track.id, id.clone());
                        (DetectionPhase::Started, Some(id), track)
                    }
                    TrackEvent::Ended(track) => {
                        (DetectionPhase::Ended, self.ids.remove(&track.id), track)
                    }
                };
                Detection {
                    track_id: self.first_id.saturating_add(track.id - 1),
                    phase,
                    object: track.best.label.as_ref().into(),
                    confidence: track.best.confidence,
                    bounding_box: track.best.bbox,
                    frame_width: self.size.0,
                    frame_height: self.size.1,
                    model: model.clone(),
                    captured_at: frame.map_or_else(Timestamp::now, |frame| frame.captured_at),
                    latency_micros: frame.map_or(0, |frame| {
                        u64::try_from(frame.captured.elapsed().as_micros()).unwrap_or(u64::MAX)
                    }),
                    zones: Some(track.zones.into_iter().map(String::from).collect()),
                    id,
                    snapshot: None,
                }
            })
            .collect()
    }
}

/// Whether a box ends where the looked-at part does, and the frame does not.
fn goes_on(bbox: &BoundingBox, part: &BoundingBox, (width, height): (u32, u32)) -> bool {
    let left = part.x > 0.0 && bbox.x - part.x < EDGE;
    let top = part.y > 0.0 && bbox.y - part.y < EDGE;
    let end = part.x + part.width;
    let right = end < width as f32 && end - (bbox.x + bbox.width) < EDGE;
    let end = part.y + part.height;
    let bottom = end < height as f32 && end - (bbox.y + bbox.height) < EDGE;
    left || top || right || bottom
}
