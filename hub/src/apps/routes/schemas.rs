//! Schemas of what a deployment is told, where a type's own does not say enough.

use cloudcore_protocol::command::AppPorts;
use serde_json::Value;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};

use super::deploy::{MAX_DEVICES, MAX_PULL_SECRETS};

pub(super) fn devices_schema() -> Array {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))
        .build();
    ArrayBuilder::new()
        .items(id)
        .min_items(Some(1))
        .max_items(Some(MAX_DEVICES))
        .unique_items(true)
        .description(Some("On which devices."))
        .build()
}

pub(super) fn config_schema() -> Object {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([ABD-Zabd-z_][A-Za-z0-9_]{0,63}|c[A-Za-z0-9_]{0,63})$"))
        .build();
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(name))
        .description(Some(
            "What the app is told, as environment variables: each key one, and all of it as JSON \
             in `CLOUDCORE_APP_CONFIG`. Keys are letters, digits and `_`; at most 16 KiB.",
        ))
        .examples([serde_json::json!({ "model": "yolov5", "confidence": 0.7, "interval": 5 })])
        .build()
}

pub(super) fn ports_schema() -> Array {
    let port = || {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(65_535))
            .build()
    };
    let pair = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("host", port())
        .property("container", port())
        .required("host")
        .required("container")
        .build();
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(pair)
        .max_items(Some(AppPorts::MAX))
        .description(Some("TCP ports of the device that lead into it; none of them twice."))
        .examples([serde_json::json!([{ "host": 5001, "container": 8080 }])])
        .build()
}

/// A quantity is a text, or a number of the plain unit.
fn quantity(about: &str, pattern: &str, (least, most): (f64, f64), example: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Null]))
        .pattern(Some(pattern))
        .minimum(Some(least))
        .maximum(Some(most))
        .description(Some(about))
        .examples([Value::from(example)])
        .build()
}

pub(super) fn cpu_schema() -> Object {
    let pattern = r"^([1-9][0-9]{0,2}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9]|[1-9][0-9]{0,5}m|1e[0-3])$";
    quantity("Cores, 1m to 1024.", pattern, (0.001, 1024.0), "500m")
}

pub(super) fn memory_schema() -> Object {
    let pattern = "^[1-9][0-9]{0,3}(Mi|Gi|G)$";
    let (least, most) = (1_048_576.0, 1_125_899_906_842_624.0);
    quantity("Bytes, 1Mi to 1Pi.", pattern, (least, most), "512Mi")
}

pub(super) fn pull_secrets_schema() -> Array {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(253))
        .pattern(Some(
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
        ))
        .build();
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(name)
        .max_items(Some(MAX_PULL_SECRETS))
        .description(Some(
            "Secrets of the cluster, in the hub's namespace, by which its nodes fetch the image. A \
             device with an engine of its own has its credentials in its settings.",
        ))
        .examples([serde_json::json!(["registry-credentials"])])
        .build()
}
