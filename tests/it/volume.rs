//! A small disk, in a mount namespace of its own: it can be filled, nobody else sees it, and it
//! is gone with the process that holds it, which ends when the test does, however that ends.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// The disk.
pub struct Volume {
    holder: Child,
    dir: TempDir,
}

impl Volume {
    /// An empty one, with a size that `mount` understands (`16m`).
    pub fn new(size: &str) -> Self {
        let dir = TempDir::with_prefix("cloudcore-disk-").expect("a temporary folder");
        // Who is not root is so in a user namespace of his own.
        let namespaces = if is_root() { "-m" } else { "-Urm" };
        let script =
            r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && echo ready && read -r _"#;
        let mut holder = Command::new("unshare")
            .args([namespaces, "sh", "-c", script, "sh", size])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut said = [0; 5];
        let stdout = holder.stdout.as_mut().expect("it is piped");
        stdout.read_exact(&mut said).expect("a tmpfs can be mounted in a namespace");
        Self { holder, dir }
    }

    /// A program that sees the disk.
    pub fn command(&self, program: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// Where the disk is, for that program.
    pub fn mounted_at(&self) -> &Path {
        self.dir.path()
    }

    /// A file on the disk, for this process.
    fn file(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.dir.path().strip_prefix("/").expect("absolute")).join(name)
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.file("ballast")).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
        let error = ballast.write_all(b"x").expect_err("the disk is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    /// Takes away what `fill` wrote.
    pub fn free(&self) {
        std::fs::remove_file(self.file("ballast")).expect("it was filled");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
