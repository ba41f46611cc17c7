//! A pod on a container engine, as its manifest says: user, rights, variables, volumes, probes. It
//! has the machine's network.

use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe, Volume};
use tempfile::TempDir;

/// The Secrets or ConfigMaps of its namespace: their keys and what these hold.
pub type Named<'a> = BTreeMap<&'a str, BTreeMap<String, Vec<u8>>>;

/// What a kubelet would prepare.
pub struct Prepared {
    /// Its volumes, but for the claims'.
    dir: TempDir,
    /// What `docker create` is told, the image and what follows it among it.
    pub arguments: Vec<String>,
    image: usize,
}

impl Prepared {
    /// Of this pod, with its claims' volume in `data`.
    pub fn new(pod: &PodSpec, secrets: &Named, config_maps: &Named, data: &Path) -> Self {
        let dir = TempDir::with_prefix("cloudcore-pod-").expect("a folder");
        let [container] = pod.containers.as_slice() else { panic!("one container") };
        let security = pod.security_context.clone().expect("rules");
        let group = security.fs_group.expect("a group");
        let mut arguments = vec!["--network=host".to_owned(), "--init=false".to_owned()];
        let (user, own_group) = (security.run_as_user, security.run_as_group);
        arguments.push(format!("--user={}:{}", user.expect("a user"), own_group.expect("a group")));
        arguments.push(format!("--group-add={group}"));
        arguments.extend(rights(container));
        arguments.extend(variables(container, secrets));
        give_to_group(data, group);

        let mut mounts = container.volume_mounts.clone().unwrap_or_default();
        // As engines under Kubernetes do it: what lies in another comes after it.
        mounts.sort_by_key(|mount| mount.mount_path.matches('/').count());
        for mount in mounts {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let claim = volume.is_none_or(|volume| volume.persistent_volume_claim.is_some());
            let source = match volume.filter(|_| !claim) {
                Some(volume) => folder(dir.path(), volume, group, secrets, config_maps),
                None => Some(data.to_owned()),
            };
            let Some(source) = source else {
                // Of an emptyDir; the mode is the one that it has in a cluster.
                arguments.push(format!("--tmpfs={}:rw,mode=0777", mount.mount_path));
                continue;
            };
            let source = mount.sub_path.map_or(source.clone(), |path| source.join(path));
            let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
            arguments.push(format!("--volume={}:{}:{mode}", source.display(), mount.mount_path));
        }
        let image = arguments.len();
        arguments.push(container.image.clone().expect("an image"));
        arguments.extend(container.args.clone().unwrap_or_default());
        Self { dir, arguments, image }
    }

    /// With more variables.
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        for (name, value) in variables {
            self.arguments.insert(self.image, format!("--env={name}={value}"));
            self.image += 1;
        }
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn rights(container: &Container) -> Vec<String> {
    let security = container.security_context.clone().expect("rules");
    let mut arguments = Vec::new();
    if security.read_only_root_filesystem == Some(true) {
        arguments.push("--read-only".to_owned());
    }
    if security.allow_privilege_escalation == Some(false) {
        arguments.push("--security-opt=no-new-privileges".to_owned());
    }
    let dropped = security.capabilities.and_then(|capabilities| capabilities.drop);
    arguments.extend(dropped.into_iter().flatten().map(|name| format!("--cap-drop={name}")));
    let limits = container.resources.clone().and_then(|resources| resources.limits);
    let memory = limits.and_then(|limits| limits.get("memory").cloned()).expect("a limit");
    arguments.push(format!("--memory={}", memory.0.trim_end_matches('i')));
    arguments
}

fn variables(container: &Container, secrets: &Named) -> Vec<String> {
    let text = |value: &Vec<u8>| String::from_utf8(value.clone()).expect("text");
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let secret = source.secret_ref.as_ref().expect("a Secret");
        variables.extend(secrets[secret.name.as_str()].iter().map(|(n, v)| (n.clone(), text(v))));
    }
    for variable in container.env.iter().flatten() {
        let value = variable.value.clone().unwrap_or_else(|| {
            let source = variable.value_from.clone().and_then(|from| from.secret_key_ref);
            let source = source.expect("a Secret's");
            text(&secrets[source.name.as_str()][&source.key])
        });
        variables.insert(variable.name.clone(), value);
    }
    variables.into_iter().map(|(name, value)| format!("--env={name}={value}")).collect()
}

/// A volume's folder, with what is in it; `None` where it is empty and in memory.
fn folder(
    dir: &Path,
    volume: &Volume,
    group: i64,
    secrets: &Named,
    config_maps: &Named,
) -> Option<PathBuf> {
    let (files, mode) = match (&volume.config_map, &volume.secret) {
        (Some(map), _) => (&config_maps[map.name.as_str()], map.default_mode.unwrap_or(0o644)),
        (_, Some(secret)) => {
            let name = secret.secret_name.as_deref().expect("a name");
            (&secrets[name], secret.default_mode.unwrap_or(0o644))
        }
        _ => return None,
    };
    let path = dir.join(&volume.name);
    std::fs::create_dir_all(&path).expect("a folder");
    for (name, content) in files {
        let file = path.join(name);
        std::fs::write(&file, content).expect("written");
        // The group may read what the owner, root, may.
        let mode = mode.cast_unsigned();
        let mode = std::fs::Permissions::from_mode(mode | ((mode & 0o400) >> 3));
        std::fs::set_permissions(&file, mode).expect("a mode");
        chown(&file, Some(0), Some(u32::try_from(group).expect("a group"))).expect("an owner");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    Some(path)
}

/// A volume as it is mounted with `fsGroup`: root's, and open to the group.
fn give_to_group(volume: &Path, group: i64) {
    let group = u32::try_from(group).expect("a group");
    if std::fs::read_dir(volume).expect("a folder").next().is_none() {
        chown(volume, Some(0), Some(group)).expect("an owner");
        let mode = std::fs::Permissions::from_mode(0o2775);
        std::fs::set_permissions(volume, mode).expect("a mode");
    }
}

/// What a probe runs in the container.
pub fn command(probe: Option<&Probe>) -> Vec<&str> {
    let exec = probe.and_then(|probe| probe.exec.as_ref()).expect("it runs a program");
    exec.command.iter().flatten().map(String::as_str).collect()
}
