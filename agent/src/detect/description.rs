//! What stands beside a model's file: how to feed it and how to read it.

use std::{collections::HashSet, path::Path};

use serde::{Deserialize, Serialize};

use super::Family;

/// Largest side of a model's input, pixels: keeps a wrong description from asking for gigabytes.
const MAX_INPUT_SIDE: u32 = 4096;

/// A model's description: the JSON file beside its ONNX file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// Name, as events and the catalog show it.
    pub name: String,
    /// Version of the weights.
    pub version: String,
    /// The ONNX file's name, in the description's own folder.
    pub file: String,
    /// SHA-256 of the ONNX file, 64 lower-case hex digits.
    pub sha256: String,
    /// Under which terms the weights may be used.
    pub licence: String,
    /// Where the weights come from.
    pub source: String,
    /// What its outputs mean.
    pub head: Family,
    /// What its input must look like.
    pub input: InputDescription,
    /// Least score where nobody says otherwise, 0 to 1.
    pub confidence: f32,
    /// Two boxes of one class that overlap more than this (IoU, 0 to 1) are one object.
    pub nms_iou: f32,
    /// Name of each class, in the model's order.
    pub labels: Vec<String>,
}

/// A model's input: `1 x 3 x height x width`, `(pixel - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDescription {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Order of the three channels.
    pub colour_order: ColourOrder,
    /// Mean per channel in that order, of pixels 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviation per channel in that order, of pixels 0 to 255.
    pub std: [f32; 3],
    /// Pixel value, 0 to 255, of what the frame does not cover.
    pub padding: u8,
    /// Where the frame lies in it.
    #[serde(default)]
    pub placement: Placement,
}

/// Where a frame lies in a model's input that has other proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// In the middle.
    #[default]
    Centre,
    /// In the upper left corner.
    Corner,
}

/// Order of a model's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// Why a description can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// Not JSON, or not of this form.
    #[error("not a model description: {0}")]
    Json(#[from] serde_json::Error),
    /// A field's value makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl ModelDescription {
    /// Read and check a description.
    ///
    /// # Errors
    /// [`DescriptionError`], naming the field.
    pub fn parse(json: &[u8]) -> Result<Self, DescriptionError> {
        let description: Self = serde_json::from_slice(json)?;
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), DescriptionError> {
        let wrong = |field, problem: String| Err(DescriptionError::Field { field, problem });
        if self.name.is_empty() {
            return wrong("name", "is empty".into());
        }
        // A description comes with its model from elsewhere: it may only name its neighbour.
        if Path::new(&self.file).file_name().is_none_or(|name| name != self.file.as_str()) {
            return wrong("file", format!("'{}' is not a plain file name", self.file));
        }
        if self.sha256.len() != 64
            || !self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return wrong("sha256", "is not 64 lower-case hex digits".into());
        }
        for (field, side) in
            [("input.width", self.input.width), ("input.height", self.input.height)]
        {
            if !(1..=MAX_INPUT_SIDE).contains(&side) {
                return wrong(field, format!("{side} is not 1 to {MAX_INPUT_SIDE}"));
            }
        }
        if !self.input.mean.iter().all(|mean| mean.is_finite()) {
            return wrong("input.mean", "is not finite".into());
        }
        if !self.input.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return wrong("input.std", "must be above 0".into());
        }
        for (field, share) in [("confidence", self.confidence), ("nms_iou", self.nms_iou)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(field, format!("{share} is not 0 to 1"));
            }
        }
        if self.labels.is_empty() {
            return wrong("labels", "is empty".into());
        }
        let mut seen = HashSet::new();
        if let Some(label) = self.labels.iter().find(|label| !seen.insert(label.as_str())) {
            return wrong("labels", format!("'{label}' is there twice"));
        }
        self.head.check(self.labels.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NANODET: &[u8] = include_bytes!("../../../deploy/model/nanodet.json");

    fn with(pointer: &str, value: Value) -> String {
        let mut json: Value = serde_json::from_slice(NANODET).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        ModelDescription::parse(json.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_description_is_good_and_survives_a_round_trip() {
        let description = ModelDescription::parse(NANODET).unwrap();
        assert_eq!(description.labels.len(), 80);
        assert_eq!(description.labels[0], "person");
        let again = serde_json::to_vec(&description).unwrap();
        assert_eq!(ModelDescription::parse(&again).unwrap(), description);
    }

    #[test]
    fn a_bad_field_is_named() {
        assert!(with("/file", json!("../../etc/passwd")).starts_with("file:"));
        assert!(with("/file", json!("..")).starts_with("file:"));
        assert!(with("/file", json!("")).starts_with("file:"));
        assert!(with("/sha256", json!("4495EB")).starts_with("sha256:"));
        assert!(with("/input/width", json!(0)).starts_with("input.width:"));
        assert!(with("/input/height", json!(1_000_000)).starts_with("input.height:"));
        assert!(with("/input/std", json!([1.0, 0.0, 1.0])).starts_with("input.std:"));
        assert!(with("/confidence", json!(1.5)).starts_with("confidence:"));
        assert!(with("/labels", json!(["cat", "cat"])).contains("'cat' is there twice"));
        assert!(with("/head/strides", json!([8, 0])).starts_with("head.strides:"));
        assert!(with("/head/reg_max", json!(0)).starts_with("head.reg_max:"));
    }

    #[test]
    fn an_unknown_family_or_field_is_refused() {
        assert!(with("/head/family", json!("oracle")).contains("oracle"));
        assert!(with("/input/padding", json!(300)).contains("300"));
        assert!(ModelDescription::parse(b"{}").is_err());
        assert!(ModelDescription::parse(b"\xff").is_err());
    }
}
