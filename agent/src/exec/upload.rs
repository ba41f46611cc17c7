//! `upload_file`: a file that the node's owner lets the hub have.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use cloudcore_protocol::{
    BlobHash, BlobHeader, CommandId, CommandOutcome, Timestamp, command::UploadFile,
};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Rooms, failed};
use crate::{config::Config, link::UploadError};

/// Largest file, bytes; the hub takes no larger blob.
const LARGEST: u64 = 64 << 20;

impl Rooms {
    pub(super) async fn upload_file(
        &self,
        id: &CommandId,
        asked: UploadFile,
        deadline: Instant,
    ) -> Result<Value, CommandOutcome> {
        // One at a time: each is in memory.
        let _turn = self.uploading.lock().await;
        let (config, own) = (self.settings.get(), self.settings.data_dir().to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            read(&config, &own, Path::new(asked.path.as_str()))
        });
        let (path, modified, bytes) =
            reading.await.map_err(|e| failed("internal", &e.to_string()))??;
        let header = BlobHeader {
            hash: BlobHash::of(&bytes),
            size: bytes.len() as u64,
            content_type: "application/octet-stream".into(),
            command_id: Some(id.clone()),
            captured_at: None,
            detection: None,
        };
        let file = json!({
            "path": path.to_string_lossy(),
            "sha256": header.hash.to_string(),
            "size_bytes": header.size,
            "modified": modified,
        });
        self.link.upload(header, bytes, deadline).await.map_err(|error| match error {
            UploadError::Late(_) => CommandOutcome::TimedOut,
            UploadError::Refused(_) => failed("upload_refused", &error.to_string()),
        })?;
        Ok(json!({ "success": true, "file": file }))
    }
}

type Content = (PathBuf, Option<Timestamp>, Bytes);

fn read(config: &Config, own: &Path, asked: &Path) -> Result<Content, CommandOutcome> {
    let not_allowed = || {
        let paths = config.upload_paths.join(", ");
        let why = if paths.is_empty() {
            "this device gives the hub no file (`upload_paths` in agent.toml)".to_owned()
        } else {
            format!("this device gives the hub only what is in: {paths}")
        };
        failed("not_allowed", &why)
    };
    if config.upload_paths.is_empty() {
        return Err(not_allowed());
    }
    // Where the links lead. A file outside that is not there is not told from one that is.
    let real = match fs::canonicalize(asked) {
        Ok(real) => real,
        Err(error) if allowed(config, own, asked) => return Err(unavailable(&error)),
        Err(_) => return Err(not_allowed()),
    };
    if !allowed(config, own, &real) {
        return Err(not_allowed());
    }
    let file = OpenOptions::new()
        .read(true)
        // A pipe must not make the agent wait.
        .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        .open(&real)
        .map_err(|e| unavailable(&e))?;
    // Somebody may have put a link in a folder's place since.
    if opened_path(&file).map_err(|e| unavailable(&e))? != real {
        return Err(not_allowed());
    }
    let meta = file.metadata().map_err(|e| unavailable(&e))?;
    if !meta.is_file() {
        return Err(unavailable(&"it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| unavailable(&e))?;
    if bytes.len() as u64 > LARGEST {
        return Err(failed("file_too_large", &format!("it has more than {LARGEST} bytes")));
    }
    let modified = meta
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .map(Timestamp::from_micros);
    Ok((real, modified, bytes.into()))
}

fn unavailable(why: &dyn std::fmt::Display) -> CommandOutcome {
    failed("file_unavailable", &why.to_string())
}

fn opened_path(file: &File) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether the node's owner gives this away. The agent's own files, with its key, never are.
fn allowed(config: &Config, own: &Path, path: &Path) -> bool {
    let own = fs::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    let plain = path.components().all(|part| part.as_os_str() != "..");
    plain
        && !path.starts_with(own)
        && config.upload_paths.iter().any(|allowed| matches(allowed, path))
}

/// A folder or file without wildcards is where its links lead, with all that is in it; `*` and `?`
/// stand for parts of one name.
fn matches(allowed: &str, path: &Path) -> bool {
    if !allowed.contains(['*', '?']) {
        let real = fs::canonicalize(allowed).unwrap_or_else(|_| allowed.into());
        return path.starts_with(real);
    }
    let mut names = path.components();
    let all = Path::new(allowed).components().all(|pattern| {
        names.next().is_some_and(|name| {
            glob(pattern.as_os_str().as_encoded_bytes(), name.as_os_str().as_encoded_bytes())
        })
    });
    all && names.next().is_none()
}

/// In time proportional to both lengths' product at most.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_within_a_name() {
        for (pattern, path, fits) in [
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/a/b.log", false),
            ("/var/log/*.log", "/var/log/a.log.gz", false),
            ("/var/log/*", "/var/log", false),
            ("/v?r/*/x", "/var/log/x", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("/a*b*c", "/aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, Path::new(path)), fits, "{pattern} {path}");
        }
        let slow = format!("{}b", "*a".repeat(50));
        assert!(!glob(slow.as_bytes(), "a".repeat(4000).as_bytes()), "and in time");
    }
}
