//! What counts of what a model sees.

use cloudcore_protocol::command::{
    Filters, Label, Labels, Masks, ObjectFilter, ObjectMasks, Zones,
};

use super::{BoundingBox, Detection};

/// What of a camera's picture matters. The default is everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scene {
    /// The labels that count; all where it is empty.
    pub objects: Labels,
    /// Where motion does not count.
    pub masks: Masks,
    /// Where objects do not count.
    pub object_masks: ObjectMasks,
    /// Areas with names.
    pub zones: Zones,
    /// Whether an object is an event in a zone only.
    pub only_in_zones: bool,
    /// Which objects count, by label.
    pub filters: Filters,
    /// Least score of what has no filter, 0 to 1.
    pub confidence: f32,
}

impl Scene {
    fn filter(&self, label: &str) -> Option<&ObjectFilter> {
        self.filters.iter().find(|filter| filter.object.as_str() == label)
    }

    /// Least score of this label in a frame.
    fn confidence(&self, label: &str) -> f32 {
        let own = self.filter(label).and_then(|filter| filter.confidence);
        own.map_or(self.confidence, |score| score.get())
    }

    /// Least score that a model is asked for: what is lower counts under no label.
    #[must_use]
    pub fn least(&self) -> f32 {
        let own = self.filters.iter().filter_map(|filter| filter.confidence);
        own.map(|score| score.get()).fold(self.confidence, f32::min)
    }

    /// Least median of an object's scores.
    #[must_use]
    pub fn threshold(&self, label: &str) -> Option<f32> {
        self.filter(label)?.threshold.map(|score| score.get())
    }

    /// Whether this, in a frame of this size, counts.
    #[must_use]
    pub fn keeps(&self, found: &Detection, size @ (width, height): (u32, u32)) -> bool {
        let label = &*found.label;
        let wanted =
            self.objects.is_empty() || self.objects.iter().any(|one| one.as_str() == label);
        if !wanted || found.confidence < self.confidence(label) || self.hides(found, size) {
            return false;
        }
        let area = found.bbox.width * found.bbox.height / (width as f32 * height as f32);
        self.filter(label).is_none_or(|filter| {
            filter.min_area.is_none_or(|least| area >= least.get())
                && filter.max_area.is_none_or(|most| area <= most.get())
        })
    }

    /// Whether an object mask hides this.
    fn hides(&self, found: &Detection, size: (u32, u32)) -> bool {
        self.object_masks.iter().any(|mask| mask.hides(&found.label, &found.bbox, size))
    }

    /// The zones that an object with this box stands in, and how long it must.
    pub(super) fn zones_at<'a>(
        &'a self,
        label: &'a str,
        bbox: &'a BoundingBox,
        size: (u32, u32),
    ) -> impl Iterator<Item = (&'a Label, std::time::Duration)> {
        self.zones.iter().filter_map(move |zone| {
            let counts =
                zone.objects.is_empty() || zone.objects.iter().any(|o| o.as_str() == label);
            let loitering = zone.loitering.map_or_else(Default::default, |time| time.duration());
            (counts && zone.points.holds(bbox, size)).then_some((&zone.name, loitering))
        })
    }

    /// Whether an object that has been in these zones is an event.
    pub(super) fn admits(&self, zones: &[Label]) -> bool {
        !self.only_in_zones || self.zones.is_empty() || !zones.is_empty()
    }
}
