//! A Linux of its own in qemu, without KVM: Debian's kernel, busybox, some modules, the agent.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command as Sync, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Longest wait for a line of the guest; emulated, it is slow.
const PATIENCE: Duration = Duration::from_secs(90);

const INIT: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod /lib/$module || echo "no $module" > /dev/console; done < /modules
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
exec < /dev/ttyS1 > /dev/ttyS1 2>&1
stty -echo -onlcr
echo ready
while read -r line; do eval "$line"; echo "=$?"; done
poweroff -f
"#;

/// A running guest. Its loopback address `10.0.2.2` is that of this machine.
pub struct Guest {
    _child: Child,
    dir: TempDir,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Guest {
    /// Boots with these modules of `kernel` (each without `.ko`, and its parameters), with what
    /// they need, and with these programs of this machine in its `/bin`.
    pub async fn boot(kernel: &Path, modules: &[(&str, &str)], programs: &[PathBuf]) -> Self {
        let dir = TempDir::with_prefix("cloudcore-vm-").expect("a temporary folder");
        let initramfs = pack(dir.path(), kernel, modules, programs);
        let boot = kernel.join("boot");
        let image = fs::read_dir(boot).expect("setup.sh has unpacked a kernel").find_map(|entry| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.starts_with("vmlinuz").then_some(path)
        });
        let log = dir.path().join("console.log");
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-no-reboot", "-display", "none", "-nic", "user,model=e1000"])
            .arg("-kernel")
            .arg(image.expect("a kernel"))
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("qemu starts: run `deploy/setup.sh edge`");
        let stdin = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut guest = Self { _child: child, dir, stdin, lines };
        while guest.line().await != "ready" {}
        guest
    }

    async fn line(&mut self) -> String {
        match timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line.trim_end().to_owned(),
            other => {
                let console = fs::read_to_string(self.dir.path().join("console.log"));
                panic!("the guest says no more ({other:?}): {}", console.unwrap_or_default());
            }
        }
    }

    /// Runs a line of shell: its exit code, and what it said.
    pub async fn run(&mut self, line: &str) -> (i32, String) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
        let mut said = String::new();
        loop {
            let line = self.line().await;
            if let Some(code) = line.strip_prefix('=').and_then(|code| code.parse().ok()) {
                return (code, said);
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Runs a line of shell that must work; what it said.
    pub async fn must(&mut self, line: &str) -> String {
        let (code, said) = self.run(line).await;
        assert_eq!(code, 0, "{line}: {said}");
        said
    }
}

/// An initramfs.
fn pack(dir: &Path, kernel: &Path, modules: &[(&str, &str)], programs: &[PathBuf]) -> PathBuf {
    let root = dir.join("root");
    for folder in ["bin", "lib", "proc", "sys", "dev", "tmp", "etc"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is installed");
    let applets = output(Sync::new("/bin/busybox").arg("--list"));
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    fs::write(root.join("init"), INIT).expect("a file");
    let runs = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("init"), runs).expect("it is ours");
    for program in programs {
        let name = program.file_name().expect("a name");
        // Its debugging symbols would be most of the guest's memory.
        output(Sync::new("strip").arg("-o").arg(root.join("bin").join(name)).arg(program));
        for word in output(Sync::new("ldd").arg(program)).split_whitespace() {
            let to = root.join(word.trim_start_matches('/'));
            if word.starts_with('/') && !to.exists() {
                fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
                fs::copy(word, to).expect("a library");
            }
        }
    }
    let mut lines = String::new();
    for module in with_needs(kernel, modules) {
        let name = module.file_name().expect("a name");
        fs::copy(&module, root.join("lib").join(name)).expect("a module");
        let known = module.file_stem().expect("a name");
        let parameters = modules.iter().find(|(name, _)| known == *name).map_or("", |(_, p)| p);
        writeln!(lines, "{} {parameters}", name.display()).expect("text");
    }
    fs::write(root.join("modules"), lines).expect("a file");
    let packed = dir.join("initramfs");
    let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc > \"$1\"";
    output(Sync::new("sh").args(["-c", pack]).arg(&root).arg(&packed));
    fs::remove_dir_all(root).expect("it is ours");
    packed
}

/// These modules, each behind all that it needs, as `modules.dep` says.
fn with_needs(kernel: &Path, wanted: &[(&str, &str)]) -> Vec<PathBuf> {
    let mut releases = fs::read_dir(kernel.join("lib/modules")).expect("modules");
    let release = releases.next().expect("a release").expect("it can be read").path();
    let needs = fs::read_to_string(release.join("modules.dep")).expect("setup.sh has made it");
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let mut order = Vec::new();
    let mut placed = BTreeSet::new();
    let mut open: Vec<String> = wanted.iter().rev().map(|(name, _)| format!("{name}.ko")).collect();
    while let Some(next) = open.last().cloned() {
        let line = needs.lines().find(|line| {
            line.split_once(':').and_then(|(path, _)| name(path)).is_some_and(|n| n == next)
        });
        let (path, needed) = line.and_then(|line| line.split_once(':')).expect("a known module");
        let missing: Vec<String> = needed
            .split_whitespace()
            .filter_map(name)
            .filter(|name| !placed.contains(name))
            .collect();
        if missing.is_empty() {
            open.pop();
            if placed.insert(next) {
                order.push(release.join(path));
            }
        } else {
            open.extend(missing);
        }
    }
    order
}

fn output(command: &mut Sync) -> String {
    let output = command.output().expect("it starts: run `deploy/setup.sh edge`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
