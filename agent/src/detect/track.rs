//! Objects over time: one person standing still is one event with a start and an end.

use std::time::{Duration, Instant};

use super::{Detection, iou};

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
    misses: u32,
}

impl Tracker {
    /// A tracker that has seen nothing.
    #[must_use]
    pub const fn new(settings: TrackSettings) -> Self {
        Self { settings, last_id: 0, open: Vec::new() }
    }

    /// Take in what one frame shows. `now` must not run backwards.
    ///
    /// Ends come before starts; each track has one start and one end.
    pub fn update(&mut self, now: Instant, detections: Vec<Detection>) -> Vec<TrackEvent> {
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
                self.open[track].see(now, detection);
            }
        }
        for (open, seen) in self.open.iter_mut().zip(seen) {
            open.misses += u32::from(!seen);
        }
        events.extend(self.close(|open, settings| open.misses >= settings.max_misses));
        for detection in unmatched.into_iter().flatten() {
            self.last_id += 1;
            let track =
                Track { id: self.last_id, best: detection.clone(), started: now, last_seen: now };
            events.push(TrackEvent::Started(track.clone()));
            self.open.push(Open { track, latest: detection, misses: 0 });
        }
        events
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
            .map(|open| TrackEvent::Ended(open.track))
            .collect()
    }
}

impl Open {
    fn see(&mut self, now: Instant, detection: Detection) {
        self.misses = 0;
        self.track.last_seen = now;
        if detection.confidence > self.track.best.confidence {
            self.track.best = detection.clone();
        }
        self.latest = detection;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::BoundingBox, *};

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
            for event in tracker.update(now, frame.to_vec()) {
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
        tracker.update(now, vec![at(0.0, 0, 0.5), at(50.0, 0, 0.5)]);
        tracker.update(now, vec![at(45.0, 0, 0.9), at(5.0, 0, 0.6)]);
        let best: Vec<f32> = tracker.tracks().map(|track| track.best.confidence).collect();
        assert_eq!(best, [0.6, 0.9]);
    }

    #[test]
    fn the_best_view_is_kept() {
        let mut tracker = Tracker::new(TrackSettings::default());
        let now = Instant::now();
        for (x, confidence) in [(0.0, 0.5), (10.0, 0.9), (20.0, 0.6)] {
            tracker.update(now, vec![at(x, 0, confidence)]);
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
        tracker.update(start, vec![at(0.0, 0, 0.8)]);
        let late = start + settings.max_silence;
        assert!(tracker.hold(late - Duration::from_secs(1)).is_empty());
        assert!(tracker.update(late, vec![at(0.0, 0, 0.8)]).is_empty());
        let events = tracker.update(late + settings.max_silence, vec![at(0.0, 0, 0.8)]);
        assert!(
            matches!(&events[..], [TrackEvent::Ended(a), TrackEvent::Started(b)] if a.id < b.id)
        );
    }

    #[test]
    fn one_who_left_as_the_last_thing_that_moved_ends_without_another_look() {
        let (start, settings) = (Instant::now(), TrackSettings::default());
        let mut tracker = Tracker::new(settings);
        tracker.update(start, vec![at(0.0, 0, 0.8)]);
        tracker.update(start, Vec::new());
        assert!(tracker.hold(start + Duration::from_secs(1)).is_empty());
        let events = tracker.hold(start + settings.max_silence);
        assert!(matches!(&events[..], [TrackEvent::Ended(track)] if track.last_seen == start));
    }
}
