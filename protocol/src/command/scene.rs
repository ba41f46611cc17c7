//! What of a camera's picture matters: masks, zones, filters.

use serde::{Deserialize, Serialize};

use super::{
    Confidence, Seconds,
    parameters::{decimal, short},
};
use crate::BoundingBox;

/// A point of a frame: shares of its width and height from the upper left, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f32; 2]", into = "[f64; 2]")]
pub struct Point {
    x: f32,
    y: f32,
}

impl TryFrom<[f32; 2]> for Point {
    type Error = &'static str;
    fn try_from([x, y]: [f32; 2]) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) {
            Ok(Self { x, y })
        } else {
            Err("a point is [x, y], each 0 to 1")
        }
    }
}

impl From<Point> for [f64; 2] {
    fn from(point: Point) -> Self {
        [point.x, point.y].map(decimal)
    }
}

/// An area of a frame, 3 to 64 corners; what crosses itself is inside where it is crossed an odd
/// number of times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Point>", into = "Vec<Point>")]
pub struct Polygon(Vec<Point>);

impl Polygon {
    /// Whether the point at these shares of width and height is inside.
    #[must_use]
    pub fn contains(&self, x: f32, y: f32) -> bool {
        let mut inside = false;
        let mut previous = self.0.last();
        for corner in &self.0 {
            if let Some(before) = previous
                && (corner.y > y) != (before.y > y)
                && x < (before.x - corner.x) * (y - corner.y) / (before.y - corner.y) + corner.x
            {
                inside = !inside;
            }
            previous = Some(corner);
        }
        inside
    }

    /// Whether the foot of a box (the middle of its lower edge) in a frame of this size is inside:
    /// what stands somewhere stands there with its feet.
    #[must_use]
    pub fn holds(&self, bbox: &BoundingBox, (width, height): (u32, u32)) -> bool {
        let x = (bbox.x + bbox.width / 2.0) / width as f32;
        // Feet on the frame's last line are in an area that reaches down to it.
        let y = ((bbox.y + bbox.height) / height as f32).min(0.9999);
        self.contains(x, y)
    }
}

impl TryFrom<Vec<Point>> for Polygon {
    type Error = &'static str;
    fn try_from(points: Vec<Point>) -> Result<Self, Self::Error> {
        match points.len() {
            3..=64 => Ok(Self(points)),
            _ => Err("an area has 3 to 64 corners"),
        }
    }
}

impl From<Polygon> for Vec<Point> {
    fn from(polygon: Polygon) -> Self {
        polygon.0
    }
}

/// A label of a model, or a zone's name: 1 to 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let length = text.chars().count();
        if (1..=100).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(format!("'{}' is no name of 1 to 100 characters", short(&text)))
        }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

/// An area with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name, as events show it.
    pub name: Label,
    /// Where it is.
    pub points: Polygon,
    /// Which objects count there; all where it is empty.
    #[serde(default)]
    pub objects: Vec<Label>,
    /// How long an object must be in it before it counts; at once where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loitering: Option<Seconds>,
}

/// An area where objects do not count. Motion does: something that walks through is found on its
/// other side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectMask {
    /// Where it is; an object stands in it with its foot.
    pub points: Polygon,
    /// Which objects do not count there; none does where it is empty.
    #[serde(default)]
    pub objects: Vec<Label>,
}

impl ObjectMask {
    /// Whether it hides an object of this label with this box, in a frame of this size.
    #[must_use]
    pub fn hides(&self, label: &str, bbox: &BoundingBox, size: (u32, u32)) -> bool {
        let meant = self.objects.is_empty() || self.objects.iter().any(|one| one.as_str() == label);
        meant && self.points.holds(bbox, size)
    }
}

/// Which objects of a label count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectFilter {
    /// The label.
    pub object: Label,
    /// Least score in a frame; the device's `confidence` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// Least median of an object's scores, from its third frame on: one that was taken for
    /// something else for a moment is no event. None where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Confidence>,
    /// Least area, as a share of the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_area: Option<Confidence>,
    /// Most area, as a share of the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_area: Option<Confidence>,
}

/// At most `N` of something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", into = "Vec<T>", bound(deserialize = "T: Deserialize<'de>"))]
#[serde(bound(serialize = "T: Serialize + Clone"))]
pub struct Few<T, const N: usize>(Vec<T>);

impl<T, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> std::ops::Deref for Few<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for Few<T, N> {
    type Error = String;
    fn try_from(all: Vec<T>) -> Result<Self, String> {
        if all.len() <= N { Ok(Self(all)) } else { Err(format!("more than {N} entries")) }
    }
}

impl<T, const N: usize> From<Few<T, N>> for Vec<T> {
    fn from(few: Few<T, N>) -> Self {
        few.0
    }
}

/// Labels that count.
pub type Labels = Few<Label, 100>;
/// Areas where motion does not count.
pub type Masks = Few<Polygon, 32>;
/// Areas where objects do not count.
pub type ObjectMasks = Few<ObjectMask, 32>;
/// Areas with names.
pub type Zones = Few<Zone, 32>;
/// Which objects count, by label.
pub type Filters = Few<ObjectFilter, 100>;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn polygon(json: &str) -> Polygon {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_was_written_is_shown() {
        let zone = r#"{"name":"door","points":[[0.4,0.3],[0.6,0.3],[0.6,1.0]],"objects":[]}"#;
        let read: Zone = serde_json::from_str(zone).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), zone);
        let filter = r#"{"object":"cat","confidence":0.4,"threshold":0.7}"#;
        let read: ObjectFilter = serde_json::from_str(filter).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), filter);
    }

    #[test]
    fn inside_and_outside() {
        let triangle = polygon("[[0, 0], [1, 0], [0, 1]]");
        assert!(triangle.contains(0.2, 0.2) && !triangle.contains(0.8, 0.8));
        let hole = polygon(
            "[[0,0],[1,0],[1,1],[0,1],[0,0],[0.4,0.4],[0.4,0.6],[0.6,0.6],[0.6,0.4],[0.4,0.4]]",
        );
        assert!(hole.contains(0.2, 0.5) && !hole.contains(0.5, 0.5));
    }

    #[test]
    fn a_box_stands_where_its_foot_is() {
        let floor = polygon("[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]");
        let at = |y: f32, height: f32| BoundingBox { x: 10.0, y, width: 20.0, height };
        assert!(floor.holds(&at(0.0, 90.0), (100, 100)));
        assert!(floor.holds(&at(0.0, 100.0), (100, 100)));
        assert!(!floor.holds(&at(0.0, 40.0), (100, 100)));
    }

    #[test]
    fn a_mask_hides_what_stands_in_it_and_is_meant() {
        let mask = |json: &str| serde_json::from_str::<ObjectMask>(json).unwrap();
        let left = "[[0,0],[0.5,0],[0.5,1],[0,1]]";
        let (all, cats) = (
            mask(&format!(r#"{{"points":{left}}}"#)),
            mask(&format!(r#"{{"points":{left},"objects":["cat"]}}"#)),
        );
        let at = |x: f32| BoundingBox { x, y: 10.0, width: 20.0, height: 20.0 };
        assert!(all.hides("person", &at(30.0), (100, 100)));
        assert!(cats.hides("cat", &at(30.0), (100, 100)));
        assert!(!cats.hides("person", &at(30.0), (100, 100)));
        assert!(!all.hides("cat", &at(45.0), (100, 100)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["[[0,0],[1,1]]", "[[0,0],[1,1],[2,0]]", "[[0,0],[1,1],[\"a\",0]]", "[]"] {
            assert!(serde_json::from_str::<Polygon>(bad).is_err(), "{bad}");
        }
        let many = format!("[{}]", vec!["\"a\""; 101].join(","));
        assert!(serde_json::from_str::<Labels>(&many).is_err());
        for bad in ["\"\"", "\"a\\u0007\""] {
            assert!(serde_json::from_str::<Label>(bad).is_err(), "{bad}");
        }
        let zone = r#"{"name":"door","points":[[0,0],[1,0],[0,1]],"loitering":0}"#;
        assert!(serde_json::from_str::<Zone>(zone).is_err());
    }
}
