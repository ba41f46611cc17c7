//! Kubernetes' pod security standard `restricted`, as a function: what it forbids of a pod.

use k8s_openapi::api::core::v1::{Container, PodSpec, SeccompProfile, Volume};

/// Sysctls that are the pod's own.
const SYSCTLS: [&str; 6] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
];

/// What the standard forbids; nothing where the pod is let in.
pub fn violations(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let shared = [pod.host_network, pod.host_pid, pod.host_ipc];
    if shared.contains(&Some(true)) {
        found.push("it shares namespaces of the node".to_owned());
    }
    for volume in pod.volumes.iter().flatten().filter(|volume| !is_of_a_pod(volume)) {
        found.push(format!("volume {}: of a kind that is not allowed", volume.name));
    }
    let security = pod.security_context.clone().unwrap_or_default();
    if security.run_as_user == Some(0) {
        found.push("it runs as root".to_owned());
    }
    if security.windows_options.is_some_and(|options| options.host_process == Some(true)) {
        found.push("it is a process of the node".to_owned());
    }
    for sysctl in security.sysctls.iter().flatten() {
        if !SYSCTLS.contains(&sysctl.name.as_str()) {
            found.push(format!("sysctl {}", sysctl.name));
        }
    }
    let profile = security.seccomp_profile.as_ref();
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    for container in containers {
        let forbidden = of_container(container, security.run_as_non_root, profile);
        found.extend(forbidden.into_iter().map(|what| format!("{}: {what}", container.name)));
    }
    found
}

fn of_container(
    container: &Container,
    pod_is_not_root: Option<bool>,
    pod_profile: Option<&SeccompProfile>,
) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut unless = |holds: bool, what| {
        if !holds {
            found.push(what);
        }
    };
    let security = container.security_context.clone().unwrap_or_default();
    unless(security.privileged != Some(true), "privileged");
    unless(security.allow_privilege_escalation == Some(false), "may gain privileges");
    unless(security.run_as_non_root.or(pod_is_not_root) == Some(true), "may run as root");
    unless(security.run_as_user != Some(0), "runs as root");
    unless(
        security.proc_mount.as_deref().is_none_or(|mount| mount == "Default"),
        "sees more of /proc",
    );
    let profile = security.seccomp_profile.as_ref().or(pod_profile);
    unless(
        profile.is_some_and(|profile| {
            matches!(profile.type_.as_str(), "RuntimeDefault" | "Localhost")
        }),
        "has no seccomp profile",
    );
    let capabilities = security.capabilities.unwrap_or_default();
    unless(
        capabilities.drop.unwrap_or_default().iter().any(|capability| capability == "ALL"),
        "keeps capabilities",
    );
    unless(
        capabilities.add.unwrap_or_default().iter().all(|added| added == "NET_BIND_SERVICE"),
        "adds capabilities",
    );
    let ports = container.ports.iter().flatten();
    unless(
        ports.filter_map(|port| port.host_port).all(|port| port == 0),
        "takes a port of the node",
    );
    found
}

fn is_of_a_pod(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
}

#[test]
fn what_the_standard_forbids_is_found() {
    use serde_json::{Value, json};
    let good = json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "tmp", "emptyDir": {} }],
        "containers": [{ "name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
        } }],
    });
    let judged = |pod: &Value| violations(&serde_json::from_value(pod.clone()).expect("a pod"));
    assert_eq!(judged(&good), Vec::<String>::new());
    for (path, bad) in [
        ("/hostNetwork", json!(true)),
        ("/hostPID", json!(true)),
        ("/volumes/0", json!({ "name": "v", "hostPath": { "path": "/" } })),
        ("/securityContext/runAsNonRoot", json!(false)),
        ("/securityContext/runAsUser", json!(0)),
        ("/securityContext/seccompProfile/type", json!("Unconfined")),
        ("/securityContext/sysctls", json!([{ "name": "kernel.msgmax", "value": "1" }])),
        ("/containers/0/securityContext/privileged", json!(true)),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/containers/0/securityContext/runAsUser", json!(0)),
        ("/containers/0/securityContext/procMount", json!("Unmasked")),
        ("/containers/0/securityContext/capabilities/drop", json!(["NET_RAW"])),
        ("/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"])),
        ("/containers/0/ports", json!([{ "containerPort": 80, "hostPort": 80 }])),
    ] {
        let mut pod = good.clone();
        let (parent, field) = path.rsplit_once('/').expect("a path");
        match pod.pointer_mut(parent).expect("it is there") {
            Value::Array(items) => items[0] = bad,
            parent => parent[field] = bad,
        }
        assert_eq!(judged(&pod).len(), 1, "{path}: {:?}", judged(&pod));
    }
}
