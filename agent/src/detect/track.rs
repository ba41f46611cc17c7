//! Objects over time: one person standing still is one event with a start and an end.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use cloudcore_protocol::command::Label;

use super::{BoundingBox, Detection, Scene, iou};

/// When a detection belongs to a track, and when a track has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackSettings {
    /// Least overlap (IoU, 0 to 1) of an object with where it was seen last.
    pub min_iou: f32,
    /// A track ends when it was missed this often in a row …
    pub max_misses: u32,
    /// … or was not seen for this long. Must be longer than the time from frame to frame.
    pub max_silence: Duration,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self { min_iou: 0.3, max_misses: 3, max_silence: Duration::from_secs(10) }
    }
}

impl TrackSettings {
    /// Settings for frames that come at `interval`: silence is never shorter than four of them.
    #[must_use]
    pub fn for_interval(interval: Duration) -> Self {
        let defaults = Self::default();
        Self { max_silence: defaults.max_silence.max(interval.saturating_mul(4)), ..defaults }
    }
}

/// Scores of an object that its median is taken of.
const HISTORY: usize = 25;
/// Scores that a median needs.
const LEAST_HISTORY: usize = 3;
/// An object whose box overlaps so much with where it was (IoU) …
const SAME_PLACE: f32 = 0.8;
/// … for so many looks does not move.
const STILL: u32 = 10;
/// A box lies in what was looked at when this share of it does.
const LOOKED_AT: f32 = 0.9;

/// A look at a frame.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// When. Must not run backwards.
    pub at: Instant,
    /// Size of the frame, pixels.
    pub size: (u32, u32),
    /// The part of it that was looked at; all of it where there is none.
    pub region: Option<BoundingBox>,
    /// What counts.
    pub scene: &'a Scene,
}

/// One object, from its start to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its number, from 1, never used again by the same tracker.
    pub id: u64,
    /// How it was seen best: label, score and place of its highest score.
    pub best: Detection,
    /// When it was seen first.
    pub started: Instant,
    /// When it was seen last.
    pub last_seen: Instant,
    /// The zones that it was in, in their order.
    pub zones: Vec<Label>,
}

/// Something began or ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackEvent {
    /// An object appeared.
    Started(Track),
    /// An object is gone.
    Ended(Track),
}

/// Joins the detections of successive frames.
#[derive(Debug)]
pub struct Tracker {
    settings: TrackSettings,
    last_id: u64,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    track: Track,
    latest: Detection,
    /// When that was.
    seen: Instant,
    misses: u32,
    scores: VecDeque<f32>,
    /// Whether its start was told.
    told: bool,
    /// The zones that it is in, and since when.
    inside: Vec<(Label, Instant)>,
    /// Where it was when it last moved, and for how many looks it has been there.
    place: BoundingBox,
    still: u32,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub const fn new(settings: TrackSettings) -> Self {
        Self { settings, last_id: 0, open: Vec::new() }
    }

    /// Take in what a look shows, of which only what counts. An object that was not looked at is
    /// where it was.
    ///
    /// Ends come before starts; each track that is told has one start and one end.
    pub fn update(&mut self, look: &Look<'_>, detections: Vec<Detection>) -> Vec<TrackEvent> {
        let now = look.at;
        // First, or an object that returns after a long pause would continue a stale track.
        let mut events = self.close_silent(now);
        let mut unmatched: Vec<Option<Detection>> = detections.into_iter().map(Some).collect();
        let mut seen = vec![false; self.open.len()];
        for (track, detection) in self.pairs(&unmatched) {
            if seen[track] {
                continue;
            }
            if let Some(detection) = unmatched[detection].take() {
                seen[track] = true;
                self.open[track].see(look, detection);
            }
        }
        for (open, seen) in self.open.iter_mut().zip(seen) {
            if seen {
                continue;
            }
            match look.region.is_none_or(|region| covers(&region, &open.latest.bbox)) {
                true => open.misses += 1,
                false if open.misses == 0 => open.track.last_seen = now,
                false => {}
            }
        }
        events.extend(self.close(|open, settings| open.misses >= settings.max_misses));
        for detection in unmatched.into_iter().flatten() {
            self.open.push(Open::new(look, detection));
        }
        for open in self.open.iter_mut().filter(|open| !open.told && open.is_sure(look.scene)) {
            open.told = true;
            self.last_id += 1;
            open.track.id = self.last_id;
            events.push(TrackEvent::Started(open.track.clone()));
        }
        events
    }

    /// The objects that a look at this time saw and that were told, each as it was seen.
    pub fn seen(&self, at: Instant) -> impl Iterator<Item = (&Track, &Detection)> {
        let seen = self.open.iter().filter(move |open| open.told && open.seen == at);
        seen.map(|open| (&open.track, &open.latest))
    }

    /// Where objects are that move.
    pub fn moving(&self) -> impl Iterator<Item = &BoundingBox> {
        self.open.iter().filter(|open| open.still < STILL).map(|open| &open.latest.bbox)
    }

    /// A frame without motion was not inferred: all that was there is still there. Only a track
    /// that the last look had already missed falls silent and ends.
    pub fn hold(&mut self, now: Instant) -> Vec<TrackEvent> {
        for open in self.open.iter_mut().filter(|open| open.misses == 0) {
            open.track.last_seen = now;
        }
        self.close_silent(now)
    }

    /// End every track: the camera is no longer watched.
    pub fn finish(&mut self) -> Vec<TrackEvent> {
        self.close(|_, _| true)
    }

    /// The objects that are there now, oldest first.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.open.iter().map(|open| &open.track)
    }

    /// Tracks and detections of one class that overlap, closest first.
    fn pairs(&self, detections: &[Option<Detection>]) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (track, open) in self.open.iter().enumerate() {
            for (index, detection) in detections.iter().enumerate() {
                let Some(detection) = detection else { continue };
                if detection.class != open.latest.class {
                    continue;
                }
                let overlap = iou(&detection.bbox, &open.latest.bbox);
                if overlap >= self.settings.min_iou {
                    pairs.push((overlap, track, index));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        pairs.into_iter().map(|(_, track, detection)| (track, detection)).collect()
    }

    fn close_silent(&mut self, now: Instant) -> Vec<TrackEvent> {
        self.close(|open, settings| {
            now.saturating_duration_since(open.track.last_seen) >= settings.max_silence
        })
    }

    fn close(&mut self, ended: impl Fn(&Open, &TrackSettings) -> bool) -> Vec<TrackEvent> {
        let settings = self.settings;
        self.open
            .extract_if(.., |open| ended(open, &settings))
            .filter(|open| open.told)
            .map(|open| TrackEvent::Ended(open.track))
            .collect()
    }
}

impl Open {
    fn new(look: &Look<'_>, detection: Detection) -> Self {
        let mut open = Self {
            track: Track {
                id: 0,
                best: detection.clone(),
                started: look.at,
                last_seen: look.at,
                zones: Vec::new(),
            },
            place: detection.bbox,
            latest: detection.clone(),
            seen: look.at,
            misses: 0,
            scores: VecDeque::new(),
            told: false,
            inside: Vec::new(),
            still: 0,
        };
        open.see(look, detection);
        open
    }

    fn see(&mut self, look: &Look<'_>, detection: Detection) {
        self.misses = 0;
        self.track.last_seen = look.at;
        if detection.confidence > self.track.best.confidence {
            self.track.best = detection.clone();
        }
        if self.scores.len() == HISTORY {
            self.scores.pop_front();
        }
        self.scores.push_back(detection.confidence);
        if iou(&self.place, &detection.bbox) >= SAME_PLACE {
            self.still = self.still.saturating_add(1);
        } else {
            (self.place, self.still) = (detection.bbox, 0);
        }
        let mut inside = Vec::new();
        for (zone, loitering) in look.scene.zones_at(&detection.label, &detection.bbox, look.size) {
            let before = self.inside.iter().find(|(name, _)| name == zone);
            let since = before.map_or(look.at, |(_, since)| *since);
            if look.at.saturating_duration_since(since) >= loitering
                && !self.track.zones.contains(zone)
            {
                self.track.zones.push(zone.clone());
            }
            inside.push((zone.clone(), since));
        }
        self.inside = inside;
        self.seen = look.at;
        self.latest = detection;
    }

    /// Whether it is an event.
    fn is_sure(&self, scene: &Scene) -> bool {
        let sure = scene.threshold(&self.latest.label).is_none_or(|threshold| {
            self.scores.len() >= LEAST_HISTORY && median(&self.scores) >= threshold
        });
        sure && scene.admits(&self.track.zones)
    }
}

fn median(scores: &VecDeque<f32>) -> f32 {
    let mut sorted: Vec<f32> = scores.iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Whether nearly all of `inner` lies in `outer`.
fn covers(outer: &BoundingBox, inner: &BoundingBox) -> bool {
    let width = (outer.x + outer.width).min(inner.x + inner.width) - outer.x.max(inner.x);
    let height = (outer.y + outer.height).min(inner.y + inner.height) - outer.y.max(inner.y);
    width.max(0.0) * height.max(0.0) >= LOOKED_AT * inner.width * inner.height
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test may fail by panicking
mod tests {
    use super::*;

    fn update(tracker: &mut Tracker, at: Instant, found: Vec<Detection>) -> Vec<TrackEvent> {
        let scene = Scene::default();
        tracker.update(&Look { at, size: (1000, 100), region: None, scene: &scene }, found)
    }

    fn at(x: f32, class: usize, confidence: f32) -> Detection {
        let bbox = BoundingBox { x, y: 0.0, width: 100.0, height: 100.0 };
        Detection { label: format!("class-{class}").into(), class, confidence, bbox }
    }

    /// Feeds frames a second apart and writes down what happens: `+1` a start, `-1` an end.
    fn story(frames: &[&[Detection]]) -> Vec<String> {
        let (mut tracker, start) = (Tracker::new(TrackSettings::default()), Instant::now());
        let mut told = Vec::new();
        for (second, frame) in frames.iter().enumerate() {
            let now = start + Duration::from_secs(second as u64);
            for event in update(&mut tracker, now, frame.to_vec()) {
                told.push(match event {
                    TrackEvent::Started(track) => format!("{second}:+{}", track.id),
                    TrackEvent::Ended(track) => format!("{second}:-{}", track.id),
                });
            }
        }
        told
    }

    #[test]
    fn one_who_stands_still_is_one_event() {
        let still = [at(0.0, 0, 0.8)];
        let frames: Vec<&[Detection]> = vec![&still; 100];
        assert_eq!(story(&frames), ["0:+1"]);
    }

    #[test]
    fn a_short_miss_is_bridged_and_a_long_one_is_the_end() {
        let seen = [at(0.0, 0, 0.8)];
        assert_eq!(story(&[&seen, &[], &[], &seen, &[], &[]]), ["0:+1"]);
        assert_eq!(story(&[&seen, &[], &[], &[], &seen]), ["0:+1", "3:-1", "4:+2"]);
    }

    #[test]
    fn one_who_walks_keeps_the_number_and_two_are_not_mixed_up() {
        let frames: Vec<Vec<Detection>> = (0..20)
            .map(|i| vec![at(900.0 - i as f32 * 20.0, 0, 0.7), at(i as f32 * 20.0, 0, 0.7)])
            .collect();
        let frames: Vec<&[Detection]> = frames.iter().map(Vec::as_slice).collect();
        assert_eq!(story(&frames), ["0:+1", "0:+2"]);
    }

    #[test]
    fn another_class_in_the_same_place_is_another_object() {
        assert_eq!(story(&[&[at(0.0, 0, 0.8)], &[at(0.0, 1, 0.8)]]), ["0:+1", "1:+2"]);
    }

    #[test]
    fn the_closest_pair_is_matched_first() {
        let mut tracker = Tracker::new(TrackSettings::default());
        let now = Instant::now();
        update(&mut tracker, now, vec![at(0.0, 0, 0.5), at(50.0, 0, 0.5)]);
        update(&mut tracker, now, vec![at(45.0, 0, 0.9), at(5.0, 0, 0.6)]);
        let best: Vec<f32> = tracker.tracks().map(|track| track.best.confidence).collect();
        assert_eq!(best, [0.6, 0.9]);
    }

    #[test]
    fn the_best_view_is_kept() {
        let mut tracker = Tracker::new(TrackSettings::default());
        let now = Instant::now();
        for (x, confidence) in [(0.0, 0.5), (10.0, 0.9), (20.0, 0.6)] {
            update(&mut tracker, now, vec![at(x, 0, confidence)]);
        }
        let events = tracker.finish();
        let track = events.into_iter().find_map(|event| match event {
            TrackEvent::Ended(track) => Some(track),
            TrackEvent::Started(_) => None,
        });
        let best = track.map(|track| (track.best.confidence, track.best.bbox.x));
        assert_eq!(best, Some((0.9, 10.0)));
    }

    #[test]
    fn silence_ends_a_track_but_holding_keeps_it() {
        let (start, settings) = (Instant::now(), TrackSettings::default());
        let mut tracker = Tracker::new(settings);
        update(&mut tracker, start, vec![at(0.0, 0, 0.8)]);
        let late = start + settings.max_silence;
        assert!(tracker.hold(late - Duration::from_secs(1)).is_empty());
        assert!(update(&mut tracker, late, vec![at(0.0, 0, 0.8)]).is_empty());
        let events = update(&mut tracker, late + settings.max_silence, vec![at(0.0, 0, 0.8)]);
        assert!(
            matches!(&events[..], [TrackEvent::Ended(a), TrackEvent::Started(b)] if a.id < b.id)
        );
    }

    #[test]
    fn one_who_left_as_the_last_thing_that_moved_ends_without_another_look() {
        let (start, settings) = (Instant::now(), TrackSettings::default());
        let mut tracker = Tracker::new(settings);
        update(&mut tracker, start, vec![at(0.0, 0, 0.8)]);
        update(&mut tracker, start, Vec::new());
        assert!(tracker.hold(start + Duration::from_secs(1)).is_empty());
        let events = tracker.hold(start + settings.max_silence);
        assert!(matches!(&events[..], [TrackEvent::Ended(track)] if track.last_seen == start));
    }

    #[test]
    fn an_object_starts_when_its_median_is_high_enough() {
        let scene = Scene {
            filters: serde_json::from_str(r#"[{"object":"class-0","threshold":0.7}]"#).unwrap(),
            ..Scene::default()
        };
        let (mut tracker, start) = (Tracker::new(TrackSettings::default()), Instant::now());
        let mut told = Vec::new();
        for (second, score) in [0.5, 0.9, 0.6, 0.8, 0.8].into_iter().enumerate() {
            let at = start + Duration::from_secs(second as u64);
            let look = Look { at, size: (1000, 100), region: None, scene: &scene };
            told.push(tracker.update(&look, vec![self::at(0.0, 0, score)]).len());
        }
        assert_eq!(told, [0, 0, 0, 1, 0]);
        // One that was never sure has no end either.
        let mut tracker = Tracker::new(TrackSettings::default());
        let look = Look { at: start, size: (1000, 100), region: None, scene: &scene };
        tracker.update(&look, vec![at(0.0, 0, 0.9)]);
        assert!(tracker.finish().is_empty());
    }

    #[test]
    fn a_zone_counts_from_its_loitering_on_and_only_zones_may_count() {
        let zones = r#"[{"name":"left","points":[[0,0],[0.3,0],[0.3,1],[0,1]]},
            {"name":"bench","points":[[0.5,0],[1,0],[1,1],[0.5,1]],"loitering":2}]"#;
        let zones = serde_json::from_str(zones).unwrap();
        let scene = Scene { zones, only_in_zones: true, ..Scene::default() };
        let (mut tracker, start) = (Tracker::new(TrackSettings::default()), Instant::now());
        let mut told = Vec::new();
        // Half way between, then on the bench for three looks.
        for (second, x) in [400.0, 430.0, 460.0, 470.0, 480.0, 490.0].into_iter().enumerate() {
            let at = start + Duration::from_secs(second as u64);
            let look = Look { at, size: (1000, 100), region: None, scene: &scene };
            for event in tracker.update(&look, vec![self::at(x, 0, 0.9)]) {
                let TrackEvent::Started(track) = event else { panic!("it is there") };
                told.push((second, track.zones[0].as_str().to_owned()));
            }
        }
        assert_eq!(told, [(4, "bench".to_owned())]);
    }

    #[test]
    fn what_was_not_looked_at_is_where_it_was() {
        let (mut tracker, scene) = (Tracker::new(TrackSettings::default()), Scene::default());
        let start = Instant::now();
        update(&mut tracker, start, vec![at(0.0, 0, 0.8)]);
        let region = BoundingBox { x: 300.0, y: 0.0, width: 200.0, height: 100.0 };
        for second in 0..20 {
            let at = start + Duration::from_secs(second);
            let look = Look { at, size: (1000, 100), region: Some(region), scene: &scene };
            assert!(tracker.update(&look, Vec::new()).is_empty(), "{second}");
        }
        assert_eq!(tracker.moving().count(), 1);
        for second in 20..40 {
            update(&mut tracker, start + Duration::from_secs(second), vec![at(1.0, 0, 0.8)]);
        }
        assert_eq!(tracker.moving().count(), 0);
    }
}
