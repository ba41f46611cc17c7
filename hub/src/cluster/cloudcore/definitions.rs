//! The definitions of KubeEdge's own kinds, for a cluster that lacks them. What the hub itself writes
//! of them is described by its own types; all other fields are CloudCore's affair: it checks what it
//! reads, and each of its releases knows more of them.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
        CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
        CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::objects::labels;
use crate::{
    cluster::devices::{device_schema, model_schema},
    error::{Error, Result},
};

/// Group, version, kind, plural, and whether its objects belong to namespaces.
const KINDS: [(&str, &str, &str, &str, bool); 6] = [
    ("devices.kubeedge.io", "v1beta1", "Device", "devices", true),
    ("devices.kubeedge.io", "v1beta1", "DeviceModel", "devicemodels", true),
    ("reliablesyncs.kubeedge.io", "v1alpha1", "ObjectSync", "objectsyncs", true),
    ("reliablesyncs.kubeedge.io", "v1alpha1", "ClusterObjectSync", "clusterobjectsyncs", false),
    ("rules.kubeedge.io", "v1", "Rule", "rules", true),
    ("rules.kubeedge.io", "v1", "RuleEndpoint", "ruleendpoints", true),
];

/// All that CloudCore wants to find.
///
/// # Errors
/// API-007.
pub(super) fn all() -> Result<Vec<CustomResourceDefinition>> {
    KINDS
        .iter()
        .map(|(group, version, kind, plural, namespaced)| {
            definition(group, version, kind, plural, *namespaced)
        })
        .collect()
}

fn definition(
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    namespaced: bool,
) -> Result<CustomResourceDefinition> {
    let open = JSONSchemaProps {
        type_: Some("object".into()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    };
    let spec = match kind {
        "Device" => serde_json::from_value(device_schema()).map_err(Error::internal)?,
        "DeviceModel" => serde_json::from_value(model_schema()).map_err(Error::internal)?,
        _ => open.clone(),
    };
    let schema = JSONSchemaProps {
        type_: Some("object".into()),
        properties: Some([("spec".to_owned(), spec), ("status".to_owned(), open)].into()),
        ..JSONSchemaProps::default()
    };
    Ok(CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{plural}.{group}")),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: group.into(),
            names: CustomResourceDefinitionNames {
                kind: kind.into(),
                list_kind: Some(format!("{kind}List")),
                plural: plural.into(),
                singular: Some(kind.to_lowercase()),
                ..CustomResourceDefinitionNames::default()
            },
            scope: if namespaced { "Namespaced" } else { "Cluster" }.into(),
            versions: vec![CustomResourceDefinitionVersion {
                name: version.into(),
                served: true,
                storage: true,
                schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
                subresources: Some(CustomResourceSubresources {
                    status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
                    ..CustomResourceSubresources::default()
                }),
                ..CustomResourceDefinitionVersion::default()
            }],
            ..CustomResourceDefinitionSpec::default()
        },
        ..CustomResourceDefinition::default()
    })
}
