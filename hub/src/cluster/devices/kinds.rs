//! `KubeEdge`'s `Device` and `DeviceModel` (`devices.kubeedge.io/v1beta1`), as far as the hub writes
//! them, and the schemas of their definitions, which are made from these types.
//!
//! What is written here is in the definitions of `KubeEdge` 1.17 to 1.20 alike; `protocol` of a
//! `DeviceModel`, which some of them lack, is left out.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema};

/// What speaks with the device at its node: the hub's own agent, or the device itself.
pub(super) const PROTOCOL: &str = "cloudcore";

/// One device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceSpec {
    /// The DeviceModel that says what devices of its type have.
    #[schema(inline)]
    pub(super) device_model_ref: ModelRef,
    /// The node that it is at.
    pub(super) node_name: String,
    /// How it is reached from there.
    #[schema(inline)]
    pub(super) protocol: Protocol,
}

/// A DeviceModel of the same namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelRef {
    /// Its name.
    pub(super) name: String,
}

/// How a device is reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    /// Name of the protocol.
    pub(super) protocol_name: String,
    /// What the protocol's own program wants to know.
    pub(super) config_data: Map<String, Value>,
}

/// What devices of a type have.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceModelSpec {
    /// What can be read of them.
    #[schema(inline)]
    pub(super) properties: Vec<ModelProperty>,
}

/// A property of devices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelProperty {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) description: &'static str,
    /// What it holds.
    #[serde(rename = "type")]
    #[schema(inline)]
    pub(super) kind: PropertyType,
    /// Who may write it.
    #[schema(inline)]
    pub(super) access_mode: AccessMode,
    /// What it is measured in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<&'static str>,
}

/// What a property holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    dead_code,
    reason = "the definition takes what KubeEdge knows, not only what the hub writes"
)]
pub(super) enum PropertyType {
    Int,
    Float,
    Double,
    String,
    Boolean,
    Bytes,
    Stream,
}

/// Who may write a property.
#[derive(Debug, Serialize, ToSchema)]
#[allow(
    dead_code,
    reason = "the definition takes what KubeEdge knows, not only what the hub writes"
)]
pub(super) enum AccessMode {
    ReadWrite,
    ReadOnly,
}

impl ModelProperty {
    const fn reading(
        name: &'static str,
        description: &'static str,
        kind: PropertyType,
        unit: Option<&'static str>,
    ) -> Self {
        Self { name, description, kind, access_mode: AccessMode::ReadOnly, unit }
    }
}

impl DeviceModelSpec {
    /// What every device of the hub reports, by the names that its API has for it.
    pub(super) fn of_all() -> Self {
        use PropertyType::{Boolean, Double, Int};
        Self {
            properties: vec![
                ModelProperty::reading("online", "Whether it is connected", Boolean, None),
                ModelProperty::reading("cpu_percent", "Load of all its cores", Double, Some("%")),
                ModelProperty::reading("memory_used_bytes", "Memory in use", Int, Some("bytes")),
                ModelProperty::reading(
                    "temperature_celsius",
                    "Its hottest sensor",
                    Double,
                    Some("degrees Celsius"),
                ),
            ],
        }
    }
}

/// The schema of a `Device`'s `spec`.
pub(in crate::cluster) fn device_schema() -> Value {
    structural(json!(DeviceSpec::schema()))
}

/// The schema of a `DeviceModel`'s `spec`.
pub(in crate::cluster) fn model_schema() -> Value {
    structural(json!(DeviceModelSpec::schema()))
}

/// An OpenAPI schema as one of a definition: structural, and open. Others write these objects too,
/// with fields that the hub does not know, and without some that it writes.
fn structural(schema: Value) -> Value {
    let Value::Object(said) = schema else { return schema };
    let mut schema = Map::new();
    for (key, value) in said {
        match key.as_str() {
            "type" => {
                // OpenAPI 3.1 writes an optional field as one that may be null.
                let kinds = value.as_array().cloned().unwrap_or_else(|| vec![value]);
                schema
                    .extend(kinds.into_iter().find(|kind| kind != "null").map(|kind| (key, kind)));
            }
            "properties" => {
                let Value::Object(all) = value else { continue };
                let all = all.into_iter().map(|(name, of)| (name, structural(of)));
                schema.insert(key, Value::Object(all.collect()));
            }
            "items" => drop(schema.insert(key, structural(value))),
            // What is written in place and has words of its own; and what may be null.
            "allOf" | "oneOf" => {
                let all = value.as_array().cloned().unwrap_or_default();
                let one = all.into_iter().find(|one| one["type"] != "null");
                if let Some(Value::Object(one)) = one.map(structural) {
                    for (key, value) in one {
                        schema.entry(key).or_insert(value);
                    }
                }
            }
            "description" | "enum" | "format" => drop(schema.insert(key, value)),
            _ => {}
        }
    }
    if schema.get("type").is_some_and(|kind| kind == "object") {
        schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_says_what_the_types_say() {
        let device = device_schema();
        assert_eq!(device["type"], "object");
        assert_eq!(device["properties"]["nodeName"]["type"], "string");
        let protocol = &device["properties"]["protocol"];
        assert_eq!(protocol["properties"]["configData"]["type"], "object");
        assert_eq!(protocol["x-kubernetes-preserve-unknown-fields"], true);
        assert_eq!(device["properties"]["deviceModelRef"]["properties"]["name"]["type"], "string");
        let model = model_schema();
        let property = &model["properties"]["properties"]["items"]["properties"];
        assert_eq!(property["accessMode"]["enum"], json!(["ReadWrite", "ReadOnly"]));
        assert_eq!(property["type"]["enum"][6], "STREAM");
        assert_eq!(property["unit"]["type"], "string", "{model}");
        let text = format!("{device}{model}");
        assert!(!text.contains("$ref") && !text.contains("null"), "{text}");
    }
}
