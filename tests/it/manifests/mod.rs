//! The hub on Kubernetes: what `deploy/k8s` sends to a cluster is what a cluster understands, and
//! fits the hub.

mod container;
mod pod;
pub mod render;
mod restricted;

use std::collections::{BTreeMap, BTreeSet};

use cloudcore_hub::config::{Mqtt, Options};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Container, PodSpec, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};

use self::render::{all, folder, kind, lost, name, overlay, own_overlay, through_its_type};
use crate::world::program;

const OVERLAYS: [&str; 2] = ["single", "scaled"];

/// The hub's pod in an overlay.
fn hub(objects: &[Value]) -> (StatefulSet, PodSpec, Container) {
    let [set] = <[StatefulSet; 1]>::try_from(all(objects, "StatefulSet")).expect("one set of pods");
    let pod = set.spec.clone().expect("a spec").template.spec.expect("pods");
    let [container] = <[Container; 1]>::try_from(pod.containers.clone()).expect("one container");
    (set, pod, container)
}

/// How an image is built.
fn container_file(program: &str) -> String {
    let path = folder("../container").join(format!("{program}.Containerfile"));
    std::fs::read_to_string(path).expect("it is there")
}

/// What puts a backup back.
fn restore_pod() -> Value {
    let text = std::fs::read_to_string(folder("restore.yaml")).expect("it is there");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// The Secrets that the administrator is told to make, with their keys.
fn told_secrets() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(folder("README.md")).expect("it is there");
    let mut secrets = BTreeMap::new();
    for command in page.replace("\\\n", " ").lines() {
        let Some((_, rest)) = command.split_once("create secret generic ") else { continue };
        let mut words = rest.split_whitespace();
        let name = words.next().expect("a name").to_owned();
        let keys = words.filter_map(|word| {
            let given =
                word.strip_prefix("--from-literal=").or(word.strip_prefix("--from-file="))?;
            let key = given.split('=').next()?;
            // Without a key it is the file's name.
            Some(key.rsplit('/').next()?.to_owned())
        });
        secrets.insert(name, keys.collect());
    }
    secrets
}

#[test]
fn each_object_is_one_that_kubernetes_knows() {
    let everything = own_overlay("scaled", &["monitoring"]);
    assert!(everything.iter().any(|object| kind(object) == "ServiceMonitor"));
    for objects in [overlay("single"), overlay("scaled"), everything, vec![restore_pod()]] {
        let mut seen = BTreeSet::new();
        for object in &objects {
            let what = format!("{} {}", kind(object), name(object));
            let known = through_its_type(object).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(lost(object, &known), Vec::<String>::new(), "{what}: unknown fields");
            let place = object["metadata"]["namespace"].to_string();
            assert!(seen.insert((what.clone(), place)), "{what} is there twice");
        }
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let mut service = overlay("single").into_iter().find(|o| kind(o) == "Service").expect("one");
    service["spec"]["ports"][0]["nodeport"] = json!(30000);
    let known = through_its_type(&service).expect("the type skips it");
    assert_eq!(lost(&service, &known), [".spec.ports[0].nodeport"]);
    service["spec"]["ports"] = json!({});
    through_its_type(&service).expect_err("ports are a list");
}

#[test]
fn the_pods_are_restricted() {
    for overlay_name in OVERLAYS {
        let objects = overlay(overlay_name);
        let namespace =
            objects.iter().find(|o| kind(o) == "Namespace" && name(o) == "cloudcore").expect("one");
        let labels = &namespace["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        let (_, pod, container) = hub(&objects);
        assert_eq!(restricted::violations(&pod), Vec::<String>::new(), "{overlay_name}");
        let security = container.security_context.expect("rules");
        assert_eq!(security.read_only_root_filesystem, Some(true));
        let limits = container.resources.expect("resources").limits.expect("limits");
        assert!(limits.contains_key("memory"));
        // No other variables than those that are written there.
        assert_eq!(pod.enable_service_links, Some(false));
    }
    let restore: PodSpec = serde_json::from_value(restore_pod()["spec"].clone()).expect("a pod");
    assert_eq!(restricted::violations(&restore), Vec::<String>::new());
}

#[test]
fn all_that_is_named_is_there() {
    let told = told_secrets();
    let restore: PodSpec = serde_json::from_value(restore_pod()["spec"].clone()).expect("a pod");
    for source in restore.volumes.iter().flatten() {
        if let Some(secret) = &source.secret {
            let keys = &told[secret.secret_name.as_deref().expect("a name")];
            assert!(keys.contains("passphrase"));
        }
        if let Some(claim) = &source.persistent_volume_claim {
            // By the template's name, the set's and the pod's number.
            assert_eq!(claim.claim_name, "data-cloudcore-hub-0");
        }
    }
    for overlay_name in OVERLAYS {
        let objects = own_overlay(overlay_name, &["monitoring"]);
        let (set, pod, container) = hub(&objects);
        let there = |wanted: &str, named: &str| {
            let found = objects.iter().any(|o| kind(o) == wanted && name(o) == named);
            assert!(found, "{overlay_name}: no {wanted} {named}");
        };
        let secret = |named: &str, key: Option<&str>| {
            let keys = told.get(named).unwrap_or_else(|| panic!("nobody makes Secret {named}"));
            assert!(key.is_none_or(|key| keys.contains(key)), "Secret {named} has no {key:?}");
        };
        let spec = set.spec.expect("a spec");
        there("ServiceAccount", pod.service_account_name.as_deref().expect("a name"));
        there("Service", spec.service_name.as_deref().expect("a name"));

        let claims = spec.volume_claim_templates.into_iter().flatten();
        let mut volumes: BTreeSet<_> = claims.filter_map(|claim| claim.metadata.name).collect();
        for volume in pod.volumes.into_iter().flatten() {
            if let Some(map) = volume.config_map {
                there("ConfigMap", &map.name);
            }
            if let Some(source) = volume.secret {
                let named = source.secret_name.expect("a name");
                for mount in container.volume_mounts.iter().flatten() {
                    if mount.name == volume.name {
                        secret(&named, mount.sub_path.as_deref());
                    }
                }
            }
            volumes.insert(volume.name);
        }
        for mount in container.volume_mounts.iter().flatten() {
            assert!(volumes.contains(&mount.name), "no volume {}", mount.name);
        }
        for variable in container.env.iter().flatten() {
            let source = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
            if let Some(source) = source {
                secret(&source.name, Some(&source.key));
            }
        }
        for source in container.env_from.iter().flatten() {
            secret(&source.secret_ref.as_ref().expect("a Secret").name, None);
        }
        let [monitor] = <[render::ServiceMonitor; 1]>::try_from(all(&objects, "ServiceMonitor"))
            .ok()
            .expect("one");
        for endpoint in &monitor.spec.endpoints {
            let credentials = &endpoint.authorization.credentials;
            secret(&credentials.name, Some(&credentials.key));
            let of_hub = format!("\"{}\": {{", endpoint.path);
            assert!(document().contains(&of_hub), "the API has no {}", endpoint.path);
            // Of the services that it selects, one has the port: else each pod counts twice.
            let wanted = monitor.spec.selector.match_labels.as_ref().expect("labels");
            let services: Vec<Service> = all(&objects, "Service");
            let selected = services.iter().filter(|service| {
                let labels = service.metadata.labels.clone().unwrap_or_default();
                wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
            });
            let ports = selected.flat_map(|service| {
                service.spec.clone().and_then(|spec| spec.ports).unwrap_or_default()
            });
            let named = ports.filter(|port| port.name.as_deref() == Some(&endpoint.port));
            assert_eq!(named.count(), 1, "port {}", endpoint.port);
        }
    }
}

fn document() -> String {
    let path = folder("../../docs/openapi.json");
    std::fs::read_to_string(path).expect("it is there")
}

#[test]
fn ports_are_the_hubs_and_what_leads_to_them_is_open() {
    let defaults = Options::default().check().expect("defaults");
    for overlay_name in OVERLAYS {
        let objects = overlay(overlay_name);
        let (set, _, container) = hub(&objects);
        let listens: BTreeMap<_, _> = container
            .ports
            .iter()
            .flatten()
            .map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                (port.name.clone().expect("a name"), (port.container_port, protocol))
            })
            .collect();
        let mut expected =
            vec![("cloudhub", defaults.quic.port(), "UDP"), ("http", defaults.http.port(), "TCP")];
        if overlay_name == "single" {
            let Mqtt::Own(plain, None) = &defaults.mqtt else { panic!("{:?}", defaults.mqtt) };
            expected.push(("mqtt", plain.port(), "TCP"));
        }
        let expected: BTreeMap<_, _> = expected
            .into_iter()
            .map(|(name, port, protocol)| (name.to_owned(), (i32::from(port), protocol.to_owned())))
            .collect();
        assert_eq!(listens, expected, "{overlay_name}");

        let labels = set.spec.and_then(|spec| spec.template.metadata?.labels).expect("labels");
        let selects = |selector: &BTreeMap<String, String>| {
            !selector.is_empty()
                && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let mut served = BTreeSet::new();
        for service in all::<Service>(&objects, "Service") {
            let spec = service.spec.expect("a spec");
            assert!(selects(&spec.selector.expect("pods")), "{:?}", service.metadata.name);
            for port in spec.ports.into_iter().flatten() {
                let Some(IntOrString::String(target)) = port.target_port else {
                    panic!("{}: ports have names", port.port)
                };
                let (number, protocol) = listens.get(&target).expect("the hub has this port");
                assert_eq!(port.port, *number);
                assert_eq!(port.protocol.as_deref().unwrap_or("TCP"), protocol);
                served.insert(target);
            }
        }
        let all_ports: BTreeSet<_> = listens.keys().cloned().collect();
        assert_eq!(served, all_ports, "{overlay_name}: each port has a service");

        let mut opened = BTreeSet::new();
        let policies = all::<NetworkPolicy>(&objects, "NetworkPolicy");
        let closed = policies.iter().any(|policy| {
            let spec = policy.spec.clone().expect("a spec");
            spec.pod_selector.is_some_and(|selector| selector.match_labels.is_none())
                && spec.ingress.is_none()
                && spec.egress.is_none()
                && spec.policy_types == Some(vec!["Ingress".into(), "Egress".into()])
        });
        assert!(closed, "what no policy opens is closed");
        for policy in policies {
            let spec = policy.spec.expect("a spec");
            let ports = spec.ingress.into_iter().flatten().flat_map(|rule| rule.ports);
            for port in ports.flatten() {
                let Some(IntOrString::String(target)) = port.port else { panic!("a name") };
                let (_, protocol) = listens.get(&target).expect("the hub has this port");
                assert_eq!(port.protocol.as_ref(), Some(protocol));
                opened.insert(target);
            }
        }
        assert_eq!(opened, all_ports, "{overlay_name}: each port is open");
        for budget in all::<PodDisruptionBudget>(&objects, "PodDisruptionBudget") {
            let selector = budget.spec.and_then(|spec| spec.selector).expect("pods");
            assert!(selects(&selector.match_labels.expect("labels")));
        }
    }
}

#[test]
fn nobody_is_given_everything() {
    let objects = overlay("scaled");
    let in_cluster = all::<ClusterRole>(&objects, "ClusterRole").into_iter().flat_map(|r| r.rules);
    let in_namespace = all::<Role>(&objects, "Role").into_iter().flat_map(|role| role.rules);
    let in_cluster: Vec<_> = in_cluster.flatten().collect();
    let rules: Vec<PolicyRule> = in_cluster.iter().cloned().chain(in_namespace.flatten()).collect();
    assert!(rules.len() > 5);
    for rule in &rules {
        let lists = [&rule.api_groups, &rule.resources, &rule.resource_names];
        let mut words = lists.into_iter().flatten().flatten().chain(&rule.verbs);
        assert!(!words.any(|word| word.contains('*')), "{rule:?}");
        let touches = |what: &str| rule.resources.iter().flatten().any(|r| r == what);
        let named = rule.resource_names.as_ref().is_some_and(|names| !names.is_empty());
        let escalates =
            rule.verbs.iter().any(|v| ["escalate", "bind", "impersonate"].contains(&v.as_str()));
        assert!(named || !escalates, "{rule:?}");
        // Apps have Secrets, where the hub makes their Deployments, which could use any of them; it
        // looks for none.
        let looks = rule.verbs.iter().any(|v| ["list", "watch"].contains(&v.as_str()));
        let is_of_all = in_cluster.contains(rule);
        assert!(named || !touches("secrets") || !(looks || is_of_all), "{rule:?}");
        // What is made in somebody's name could be run.
        assert!(!touches("serviceaccounts/token") && !touches("pods/exec"), "{rule:?}");
    }
    for rule in &in_cluster {
        let named = rule.resource_names.is_some();
        let reads = rule.verbs.iter().all(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
        let resources = rule.resources.clone().unwrap_or_default();
        let asks = rule.verbs == ["create"] && resources.iter().all(|r| r.ends_with("reviews"));
        assert!(named || reads || asks || resources == ["nodes"], "of the whole cluster: {rule:?}");
    }
    // The hub's own roles are given to nobody here, itself among them.
    let given = rules.iter().filter(|rule| rule.verbs == ["use"]);
    assert_eq!(given.count(), 3);
    let bound = all::<ClusterRoleBinding>(&objects, "ClusterRoleBinding").into_iter();
    let bound = bound.map(|binding| (binding.role_ref, binding.subjects));
    let more = all::<RoleBinding>(&objects, "RoleBinding").into_iter();
    for (role, subjects) in bound.chain(more.map(|binding| (binding.role_ref, binding.subjects))) {
        assert!(objects.iter().any(|o| kind(o) == role.kind && name(o) == role.name), "{role:?}");
        let [subject] = <[_; 1]>::try_from(subjects.unwrap_or_default()).expect("one subject");
        assert_eq!(role.name, "cloudcore-hub");
        let who = (subject.kind.as_str(), subject.name.as_str(), subject.namespace.as_deref());
        assert_eq!(who, ("ServiceAccount", "cloudcore-hub", Some("cloudcore")));
    }
}

#[test]
fn the_token_of_the_cluster_is_only_where_it_is_used() {
    let plain = render::render(&folder("base"));
    let (_, pod, _) = hub(&plain);
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert!(!plain.iter().any(|object| kind(object).contains("Role")));
    let (_, pod, _) = hub(&overlay("single"));
    assert_eq!(pod.automount_service_account_token, Some(true));
}

#[test]
fn the_settings_and_the_image_are_of_this_release() {
    let help = std::process::Command::new(program("cloudcore-hub"))
        .args(["serve", "--help"])
        .output()
        .expect("the program starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for overlay_name in OVERLAYS {
        let objects = overlay(overlay_name);
        let [map] = <[ConfigMap; 1]>::try_from(all(&objects, "ConfigMap")).expect("one ConfigMap");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("hub.toml");
        std::fs::write(&file, &map.data.expect("data")["hub.toml"]).expect("written");
        Options::from_file(&file).expect("it parses").check().expect("it is valid");

        let (_, _, container) = hub(&objects);
        for variable in container.env.iter().flatten() {
            let known = variable.name == "CLOUDCORE_ADMIN_PASSWORD"
                || help.contains(&format!("[env: {}", variable.name));
            assert!(known, "the hub does not know {}", variable.name);
        }
        let image = container.image.expect("an image");
        let (_, tag) = image.rsplit_once(':').expect("a tag");
        assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{image}");
        assert_eq!(restore_pod()["spec"]["containers"][0]["image"], image);
    }
    for program in ["hub", "agent"] {
        let file = container_file(program);
        assert!(
            file.contains(concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")),
            "{program}"
        );
        assert!(!file.contains(":latest"), "{program}");
        // Whoever runs it: not root, and by number, which Kubernetes can tell from root.
        assert!(file.contains("\nUSER 65532:65532\n"), "{program}");
    }
}

#[test]
fn an_image_is_built_from_all_sources() {
    let read = |name: &str| std::fs::read_to_string(folder("../..").join(name)).expect("there");
    let workspace: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let members = workspace["workspace"]["members"].as_array().expect("members");
    let kept = read(".dockerignore");
    for member in members {
        let member = member.as_str().expect("a folder");
        assert!(kept.lines().any(|line| line == format!("!{member}")), "{member} is left out");
    }
}
