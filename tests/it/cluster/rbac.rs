//! What the hub may do in a cluster, by the roles of `deploy/k8s`: the scripted API server refuses
//! the rest, as a real one would.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::Kind;
use crate::manifests::render::folder;

/// The rights of the hub's account.
pub struct Rights {
    everywhere: Vec<PolicyRule>,
    within: Vec<PolicyRule>,
    /// The namespace that the latter are for.
    namespace: String,
}

/// What somebody wants to do.
#[derive(Debug)]
pub struct Act<'a> {
    pub verb: &'a str,
    pub kind: &'a Kind,
    pub subresource: Option<&'a str>,
    pub namespace: &'a str,
    pub name: Option<&'a str>,
}

/// Of a file with several objects, the one of this kind.
fn object<T: DeserializeOwned>(file: &str, kind: &str) -> T {
    let path = folder("components/cluster").join(file);
    let text = std::fs::read_to_string(path).expect("it is there");
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let object = all.into_iter().find(|object| object["kind"] == kind).expect("it is in there");
    serde_json::from_value(object).expect("it is one")
}

/// Whether a list names this, or everything.
fn names(list: Option<&Vec<String>>, name: &str) -> bool {
    list.is_some_and(|list| list.iter().any(|one| one == name || one == "*"))
}

fn allows(rule: &PolicyRule, group: &str, resource: &str, name: Option<&str>, verb: &str) -> bool {
    names(Some(&rule.verbs), verb)
        && names(rule.api_groups.as_ref(), group)
        && names(rule.resources.as_ref(), resource)
        && match (&rule.resource_names, name) {
            (None, _) => true,
            (Some(names), Some(name)) => names.is_empty() || names.iter().any(|n| n == name),
            (Some(names), None) => names.is_empty(),
        }
}

impl Rights {
    /// As the manifests grant them.
    pub fn read() -> Self {
        let role: Role = object("role.yaml", "Role");
        let everywhere: ClusterRole = object("cluster-role.yaml", "ClusterRole");
        Self {
            everywhere: everywhere.rules.expect("rules"),
            within: role.rules.expect("rules"),
            namespace: role.metadata.namespace.expect("a namespace"),
        }
    }

    fn rules(&self, namespace: &str) -> impl Iterator<Item = &PolicyRule> {
        let within = self.within.iter().filter(move |_| namespace == self.namespace);
        self.everywhere.iter().chain(within)
    }

    pub fn allow(&self, act: &Act<'_>) -> bool {
        let resource = match act.subresource {
            Some(subresource) => format!("{}/{subresource}", act.kind.plural),
            None => act.kind.plural.clone(),
        };
        // A namespace is in itself.
        let namespace = match (act.kind.kind.as_str(), act.name) {
            ("Namespace", Some(name)) => name,
            _ => act.namespace,
        };
        self.rules(namespace)
            .any(|rule| allows(rule, &act.kind.group, &resource, act.name, act.verb))
    }

    /// The first right among these that the hub has not itself: who grants it needs `escalate`.
    pub fn lacks(&self, rules: &Value, namespace: &str) -> Option<String> {
        let rules: Vec<PolicyRule> = serde_json::from_value(rules.clone()).unwrap_or_default();
        for rule in &rules {
            let all = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
            let mut named: Vec<Option<String>> =
                all(&rule.resource_names).into_iter().map(Some).collect();
            if named.is_empty() {
                named.push(None);
            }
            for group in all(&rule.api_groups) {
                for resource in all(&rule.resources) {
                    for (verb, name) in
                        rule.verbs.iter().flat_map(|verb| named.iter().map(move |n| (verb, n)))
                    {
                        let has = self
                            .rules(namespace)
                            .any(|own| allows(own, &group, &resource, name.as_deref(), verb));
                        if !has {
                            return Some(format!("{verb} {resource}.{group} {name:?}"));
                        }
                    }
                }
            }
        }
        None
    }
}
