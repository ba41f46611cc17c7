//! Objects of kinds that were defined, against the schemas of their definitions: no field that these
//! don't have, no value that they don't take.

use serde_json::Value;

/// Whether the value is one of the schema's; otherwise where and why not.
pub fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = schema["type"].as_str().unwrap_or(kind);
    if wanted != kind && !(wanted == "number" && kind == "integer") {
        return Err(format!("{at}: Invalid value: must be of type {wanted}, is {kind}"));
    }
    if let Some(choice) = schema["enum"].as_array()
        && !choice.contains(value)
    {
        return Err(format!("{at}: Unsupported value: {value}"));
    }
    match value {
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                if name.as_str().is_none_or(|name| !fields.contains_key(name)) {
                    return Err(format!("{at}.{name}: Required value"));
                }
            }
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                let more = &schema["additionalProperties"];
                if let Some(of) = schema["properties"].get(name) {
                    check(of, value, &at)?;
                } else if more.is_object() {
                    check(more, value, &at)?;
                } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
                    return Err(format!("unknown field \"{}\"", at.trim_start_matches('.')));
                }
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(n, item)| check(&schema["items"], item, &format!("{at}[{n}]"))),
        _ => Ok(()),
    }
}
