//! What is said of a model by whoever uploads it. Agents read it, by their own and stricter rules;
//! the hub needs to know no family.

use std::collections::HashSet;

use cloudcore_protocol::ModelId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Largest, bytes of JSON.
pub const MAX_DESCRIPTION: usize = 64 * 1024;
const MAX_LABELS: usize = 2000;

/// A description whose known fields are in their bounds; kept whole, with those that only agents
/// know.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    whole: Map<String, Value>,
    known: Known,
    id: ModelId,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Known {
    name: String,
    version: String,
    sha256: String,
    licence: String,
    source: String,
    head: Head,
    input: Map<String, Value>,
    labels: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Head {
    family: String,
}

impl Description {
    /// Of a JSON text.
    ///
    /// # Errors
    /// API-001, naming the field.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format!("the description: {why}"));
        if json.len() > MAX_DESCRIPTION {
            return Err(wrong(format!("it must have at most {MAX_DESCRIPTION} bytes")));
        }
        let whole: Map<String, Value> =
            serde_json::from_slice(json).map_err(|e| wrong(e.to_string()))?;
        let whole = Value::Object(whole);
        if has_nul(&whole) {
            return Err(wrong("text must not hold NUL".into()));
        }
        let known = Known::deserialize(&whole).map_err(|e| wrong(e.to_string()))?;
        let Value::Object(whole) = whole else { return Err(wrong("it is no object".into())) };
        known.check().map_err(wrong)?;
        let part = |e: cloudcore_protocol::IdError| wrong(e.to_string());
        let id = ModelId {
            name: known.name.parse().map_err(part)?,
            version: known.version.parse().map_err(part)?,
        };
        Ok(Self { whole, known, id })
    }

    /// Which model it is of.
    pub const fn id(&self) -> &ModelId {
        &self.id
    }

    /// SHA-256 of the ONNX file, hex.
    pub fn sha256(&self) -> &str {
        &self.known.sha256
    }

    /// What its outputs mean: a term that agents know.
    pub fn family(&self) -> &str {
        &self.known.head.family
    }

    /// Terms of use.
    pub fn licence(&self) -> &str {
        &self.known.licence
    }

    /// Where it comes from.
    pub fn source(&self) -> &str {
        &self.known.source
    }

    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.known.labels
    }

    /// What its input must look like.
    pub const fn input(&self) -> &Map<String, Value> {
        &self.known.input
    }

    /// As JSON.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(&self.whole).map_err(Error::internal)
    }
}

impl Known {
    fn check(&self) -> Result<(), String> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err("sha256 must be 64 lower-case hex digits".into());
        }
        for (field, text, most) in [
            ("licence", &self.licence, 500),
            ("source", &self.source, 1000),
            ("head.family", &self.head.family, 64),
        ] {
            if !(1..=most).contains(&text.chars().count()) {
                return Err(format!("{field} must have 1 to {most} characters"));
            }
        }
        if !(1..=MAX_LABELS).contains(&self.labels.len()) {
            return Err(format!("labels must be 1 to {MAX_LABELS}"));
        }
        let mut seen = HashSet::new();
        for label in &self.labels {
            if !(1..=100).contains(&label.chars().count()) {
                return Err("each of labels must have 1 to 100 characters".into());
            }
            if !seen.insert(label) {
                return Err(format!("the label '{label}' is there twice"));
            }
        }
        Ok(())
    }
}

/// No database's text holds NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, item)| key.contains('\0') || has_nul(item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
