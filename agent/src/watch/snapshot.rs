//! Pictures of what is detected: the best look at each object, and what was there before it came.
//!
//! Nothing is drawn into them. An object's first picture is kept at once, a better one soon after
//! and then ever more seldom, and the best at its end; in memory is only what is better than the one
//! that was kept. All are JPEGs, so that what is held is small, and it is bounded.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cloudcore_protocol::{
    BoundingBox, Detection, DetectionId, DetectionPhase, PictureKind, PictureOf, Timestamp,
    command::PictureFormat,
};
use image::RgbImage;

use crate::{
    camera::{Frame, encode},
    config::DetectionConfig,
    outbox::ObjectPicture,
};

/// Objects that have pictures at once.
const MOST_OBJECTS: usize = 64;
/// Bytes of pictures that wait in memory for something better; beyond, they are kept as they are.
const MOST_HELD: usize = 16 << 20;
/// Bytes of pictures from before an object.
const MOST_EARLIER: usize = 8 << 20;
/// Largest file.
const MOST_FILE: usize = 16 << 20;
/// After its first picture an object has so long to be seen better; then twice as long, and so on.
const SETTLED: Duration = Duration::from_secs(5);
/// A look is better from this factor on: to encode each of many nearly equal ones is no use.
const BETTER: f32 = 1.1;
/// A box so near to the frame's edge is cut off by it, pixels.
const EDGE: f32 = 2.0;

/// An object as a frame shows it.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// Which object.
    pub(super) id: DetectionId,
    /// Its label.
    pub(super) object: String,
    /// Its score, 0 to 1.
    pub(super) confidence: f32,
    /// Where it is, pixels.
    pub(super) bounding_box: BoundingBox,
}

/// The pictures of the objects in sight.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    objects: HashMap<DetectionId, Object>,
    /// Oldest first.
    earlier: VecDeque<Earlier>,
}

/// The best look at an object so far.
#[derive(Debug)]
struct Object {
    /// When what is held is kept.
    next: Instant,
    /// How long that was to wait.
    wait: Duration,
    /// How good it is; see [`value`].
    value: f32,
    /// Its picture, where that is better than the one that was kept.
    held: Option<ObjectPicture>,
    /// Whether one was kept.
    kept: bool,
}

/// A picture from before an object.
#[derive(Debug)]
struct Earlier {
    at: Instant,
    captured_at: Timestamp,
    bytes: Bytes,
}

impl Snapshots {
    /// Takes in what began and what ended, marks which of it has a picture, and gives the pictures
    /// to be kept with it.
    pub(super) fn told(
        &mut self,
        events: &mut [Detection],
        at: Instant,
        config: &DetectionConfig,
    ) -> Vec<ObjectPicture> {
        let mut pictures = Vec::new();
        for event in events {
            let Some(id) = &event.id else { continue };
            event.snapshot = Some(match event.phase {
                DetectionPhase::Started => {
                    pictures.extend(self.before(id, &event.object, at, config));
                    let has_room = self.objects.len() < MOST_OBJECTS;
                    if config.snapshots && has_room {
                        self.objects.insert(id.clone(), Object::new(at));
                    }
                    config.snapshots && has_room
                }
                DetectionPhase::Ended => {
                    let object = self.objects.remove(id);
                    let held = object.as_ref().and_then(|object| object.held.clone());
                    let has_one = held.is_some() || object.is_some_and(|object| object.kept);
                    pictures.extend(held);
                    has_one
                }
            });
        }
        pictures
    }

    /// The pictures from before an object that comes now.
    fn before<'a>(
        &'a self,
        id: &'a DetectionId,
        object: &'a str,
        now: Instant,
        config: &DetectionConfig,
    ) -> impl Iterator<Item = ObjectPicture> + use<'a> {
        let span = config.pre_roll.duration().unwrap_or_default();
        let count = usize::from(config.pre_roll_pictures.get());
        let young = move |one: &&Earlier| now.saturating_duration_since(one.at) <= span;
        let skip = self.earlier.iter().filter(young).count().saturating_sub(count);
        self.earlier.iter().filter(young).skip(skip).map(move |one| ObjectPicture {
            captured_at: one.captured_at,
            bytes: one.bytes.clone(),
            of: PictureOf {
                id: id.clone(),
                kind: PictureKind::PreRoll,
                object: object.to_owned(),
                confidence: None,
                bounding_box: None,
            },
        })
    }

    /// Takes a frame that was looked at, with what was seen in it; the pictures to be kept now.
    pub(super) async fn frame(
        &mut self,
        frame: Frame,
        looks: Vec<Look>,
        config: &DetectionConfig,
    ) -> Vec<ObjectPicture> {
        let (at, captured_at) = (frame.captured, frame.captured_at);
        let looks: Vec<(Look, f32)> = looks
            .into_iter()
            .filter(|_| config.snapshots)
            .filter_map(|look| {
                let least = self.objects.get(&look.id)?.value * BETTER;
                Some((look, least))
            })
            .collect();
        let for_later = self.wants_earlier(at, config);
        if !looks.is_empty() || for_later {
            let quality = config.snapshot_quality;
            let seen = tokio::task::spawn_blocking(move || {
                let better: Vec<(Look, f32)> = looks
                    .into_iter()
                    .map(|(look, least)| {
                        let value = value(&frame.image, &look);
                        (look, value, least)
                    })
                    .filter(|(_, value, least)| value > least)
                    .map(|(look, value, _)| (look, value))
                    .collect();
                let wanted = for_later || !better.is_empty();
                let file = wanted.then(|| encode(&frame.image, PictureFormat::Jpg, quality, None));
                (better, file)
            });
            match seen.await {
                Ok((better, Some(Ok(file)))) if file.len() <= MOST_FILE => {
                    let bytes = Bytes::from(file);
                    self.hold(better, captured_at, &bytes);
                    if for_later {
                        self.earlier.push_back(Earlier { at, captured_at, bytes });
                    }
                }
                Ok((_, None)) => {}
                Ok((_, Some(Ok(file)))) => {
                    tracing::debug!(bytes = file.len(), "a picture is too large to be kept");
                }
                Ok((_, Some(Err(error)))) => tracing::warn!(%error, "a picture can't be made"),
                Err(error) => tracing::warn!(%error, "a picture can't be made"),
            }
        }
        self.trim(at, config);
        self.due(at)
    }

    fn hold(&mut self, better: Vec<(Look, f32)>, captured_at: Timestamp, bytes: &Bytes) {
        for (look, value) in better {
            let Some(object) = self.objects.get_mut(&look.id) else { continue };
            object.value = value;
            object.held = Some(ObjectPicture {
                captured_at,
                bytes: bytes.clone(),
                of: PictureOf {
                    id: look.id,
                    kind: PictureKind::Snapshot,
                    object: look.object,
                    confidence: Some(look.confidence),
                    bounding_box: Some(look.bounding_box),
                },
            });
        }
    }

    /// What does not wait for its object's end.
    fn due(&mut self, now: Instant) -> Vec<ObjectPicture> {
        let held = self.objects.values().filter_map(|object| object.held.as_ref());
        let full = held.map(|picture| picture.bytes.len()).sum::<usize>() > MOST_HELD;
        let mut due = Vec::new();
        for object in self.objects.values_mut() {
            let is_time = now >= object.next;
            if is_time {
                object.wait = object.wait.saturating_mul(2);
                object.next = now + object.wait;
            }
            if full || is_time || !object.kept {
                object.kept |= object.held.is_some();
                due.extend(object.held.take());
            }
        }
        due
    }

    /// Whether a frame of this time is worth keeping for objects that come later.
    fn wants_earlier(&self, at: Instant, config: &DetectionConfig) -> bool {
        let Some(span) = config.pre_roll.duration() else { return false };
        // One more than asked for, as frames come later than planned.
        let step = span / (u32::from(config.pre_roll_pictures.get()) + 1);
        let last = self.earlier.back();
        last.is_none_or(|last| at.saturating_duration_since(last.at) >= step)
    }

    fn trim(&mut self, now: Instant, config: &DetectionConfig) {
        let span = config.pre_roll.duration().unwrap_or_default();
        let count = usize::from(config.pre_roll_pictures.get()) + 2;
        let mut bytes: usize = self.earlier.iter().map(|one| one.bytes.len()).sum();
        while let Some(oldest) = self.earlier.front() {
            let old = span.is_zero() || now.saturating_duration_since(oldest.at) > span;
            if !old && self.earlier.len() <= count && bytes <= MOST_EARLIER {
                break;
            }
            bytes -= oldest.bytes.len();
            self.earlier.pop_front();
        }
    }
}

impl Object {
    fn new(begun: Instant) -> Self {
        Self { next: begun + SETTLED, wait: SETTLED, value: 0.0, held: None, kept: false }
    }
}

/// How good a look is: sure, large, sharp, and not cut off by the frame's edge. 0 to 1.
fn value(image: &RgbImage, look: &Look) -> f32 {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let place = &look.bounding_box;
    let share = (place.width * place.height / (width * height)).clamp(0.0, 1.0);
    let whole = place.x >= EDGE
        && place.y >= EDGE
        && place.x + place.width <= width - EDGE
        && place.y + place.height <= height - EDGE;
    let value = look.confidence
        * share.powf(0.25)
        * (0.5 + 0.5 * sharpness(image, place))
        * if whole { 1.0 } else { 0.7 };
    if value.is_finite() { value } else { 0.0 }
}

/// Points a side at which sharpness is measured, at most.
const GRID: u32 = 64;
/// The mean step of brightness from pixel to pixel at which sharpness is a half.
const HALF: f32 = 6.0;

/// How much brightness changes from pixel to pixel inside of a box, 0 to 1: a blurred picture of
/// the same thing has less.
fn sharpness(image: &RgbImage, place: &BoundingBox) -> f32 {
    let (left, top) = (place.x.max(0.0) as u32, place.y.max(0.0) as u32);
    let right = ((place.x + place.width).max(0.0) as u32).min(image.width().saturating_sub(1));
    let bottom = ((place.y + place.height).max(0.0) as u32).min(image.height().saturating_sub(1));
    let luma = |x: u32, y: u32| {
        let [r, g, b] = image.get_pixel(x, y).0.map(f32::from);
        0.299 * r + 0.587 * g + 0.114 * b
    };
    let step = |span: u32| usize::try_from((span / GRID).max(1)).unwrap_or(1);
    let (mut sum, mut points) = (0.0, 0.0);
    for y in (top..bottom).step_by(step(bottom.saturating_sub(top))) {
        for x in (left..right).step_by(step(right.saturating_sub(left))) {
            let here = luma(x, y);
            sum += (luma(x + 1, y) - here).abs() + (luma(x, y + 1) - here).abs();
            points += 1.0;
        }
    }
    let mean = if points > 0.0 { sum / points } else { 0.0 };
    mean / (mean + HALF)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn config() -> DetectionConfig {
        DetectionConfig {
            pre_roll: 4.0.try_into().unwrap(),
            pre_roll_pictures: 2.try_into().unwrap(),
            ..DetectionConfig::default()
        }
    }

    fn event(id: &DetectionId, phase: DetectionPhase) -> Detection {
        Detection {
            track_id: 1,
            phase,
            object: "cat".into(),
            confidence: 0.9,
            bounding_box: BoundingBox { x: 10.0, y: 10.0, width: 40.0, height: 40.0 },
            frame_width: 100,
            frame_height: 100,
            model: "m".into(),
            captured_at: Timestamp::now(),
            latency_micros: 0,
            zones: None,
            id: Some(id.clone()),
            snapshot: None,
        }
    }

    /// A frame of stripes, `seconds` after `start`.
    fn frame(start: Instant, seconds: u64) -> Frame {
        let stripes = |x, _| image::Rgb([if x % 4 < 2 { 250 } else { 5 }; 3]);
        let mut frame = Frame::now(RgbImage::from_fn(100, 100, stripes));
        frame.captured = start + Duration::from_secs(seconds);
        frame.captured_at = Timestamp::from_micros(i64::try_from(seconds).unwrap());
        frame
    }

    fn look(id: &DetectionId, confidence: f32) -> Look {
        let bounding_box = BoundingBox { x: 10.0, y: 10.0, width: 40.0, height: 40.0 };
        Look { id: id.clone(), object: "cat".into(), confidence, bounding_box }
    }

    fn times(pictures: &[ObjectPicture]) -> Vec<i64> {
        pictures.iter().map(|picture| picture.captured_at.micros()).collect()
    }

    #[tokio::test]
    async fn the_first_look_is_kept_at_once_and_a_better_one_later() {
        let (start, config, id) = (Instant::now(), config(), DetectionId::generate());
        let mut all = Snapshots::default();
        let mut events = [event(&id, DetectionPhase::Started)];
        assert!(all.told(&mut events, start, &config).is_empty());
        assert_eq!(events[0].snapshot, Some(true));
        let first = all.frame(frame(start, 0), vec![look(&id, 0.5)], &config).await;
        assert_eq!(times(&first), [0]);
        // Not much better, then better, then worse.
        for (second, confidence) in [(1, 0.52), (2, 0.8), (3, 0.6)] {
            let looks = vec![look(&id, confidence)];
            assert!(all.frame(frame(start, second), looks, &config).await.is_empty());
        }
        let settled = all.frame(frame(start, 5), vec![look(&id, 0.6)], &config).await;
        assert_eq!(times(&settled), [2]);
        assert_eq!(settled[0].of.confidence, Some(0.8));
        // What is better waits twice as long.
        assert!(all.frame(frame(start, 9), vec![look(&id, 0.9)], &config).await.is_empty());
        let later = all.frame(frame(start, 15), vec![look(&id, 0.6)], &config).await;
        assert_eq!(times(&later), [9]);
        // Or for the end.
        assert!(all.frame(frame(start, 16), vec![look(&id, 1.0)], &config).await.is_empty());
        let mut events = [event(&id, DetectionPhase::Ended)];
        assert_eq!(times(&all.told(&mut events, start, &config)), [16]);
        assert_eq!(events[0].snapshot, Some(true));
        assert!(all.objects.is_empty());
    }

    #[tokio::test]
    async fn what_was_there_before_is_bounded_by_count_and_age() {
        let (start, config) = (Instant::now(), config());
        let mut all = Snapshots::default();
        for second in 0..20 {
            all.frame(frame(start, second), Vec::new(), &config).await;
            assert!(all.earlier.len() <= 4, "{}", all.earlier.len());
        }
        let mut events = [event(&DetectionId::generate(), DetectionPhase::Started)];
        let now = start + Duration::from_secs(20);
        let before = all.told(&mut events, now, &config);
        assert_eq!(times(&before), [16, 18]);
        assert!(before.iter().all(|one| one.of.kind == PictureKind::PreRoll));
        // Old ones are of no use to one that comes later.
        let late = all.told(&mut events, now + Duration::from_secs(3), &config);
        assert!(late.is_empty(), "{:?}", times(&late));
        let off = DetectionConfig::default();
        all.frame(frame(start, 21), Vec::new(), &off).await;
        assert!(all.earlier.is_empty());
    }

    #[tokio::test]
    async fn there_is_no_picture_where_none_is_wanted_nor_beyond_the_bound() {
        let (start, id) = (Instant::now(), DetectionId::generate());
        let mut all = Snapshots::default();
        let off = DetectionConfig { snapshots: false, ..config() };
        let mut events = [event(&id, DetectionPhase::Started)];
        all.told(&mut events, start, &off);
        assert_eq!(events[0].snapshot, Some(false));
        assert!(all.frame(frame(start, 0), vec![look(&id, 0.9)], &off).await.is_empty());
        let config = config();
        for n in 0..=MOST_OBJECTS {
            let mut events = [event(&DetectionId::generate(), DetectionPhase::Started)];
            all.told(&mut events, start, &config);
            assert_eq!(events[0].snapshot, Some(n < MOST_OBJECTS));
        }
    }

    #[test]
    fn a_sharp_and_whole_look_is_the_better_one() {
        let stripes = frame(Instant::now(), 0).image;
        let blurred = image::imageops::blur(&stripes, 3.0);
        let id = DetectionId::generate();
        let whole = look(&id, 0.9);
        assert!(value(&stripes, &whole) > BETTER * value(&blurred, &whole));
        let mut cut = look(&id, 0.9);
        cut.bounding_box.x = 0.0;
        assert!(value(&stripes, &whole) > BETTER * value(&stripes, &cut));
        for odd in [f32::NAN, f32::INFINITY, -5.0, 1e9] {
            cut.bounding_box.width = odd;
            assert!((0.0..=1.0).contains(&value(&stripes, &cut)), "{odd}");
        }
    }
}
