//! Releases of the agent: files in a folder that the operator fills, served to new machines by
//! HTTP and to members over their link.
//!
//! The hub signs nothing and holds no key: a member runs what its own `update_key` has signed.

mod routes;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use cloudcore_protocol::{BlobHash, ReleaseHeader, ReleaseRequest};
use ring::digest;
use semver::Version;
use serde::Serialize;

pub use routes::routes;

use crate::{
    error::{Code, Error, Result},
    keys,
};

/// Files of the folder that are looked at.
const MAX_FILES: usize = 1024;
/// A signature is four lines.
const MAX_SIGNATURE: u64 = 4096;
const PREFIX: &str = "cloudcore-agent-";
/// Debian's names, which install.sh and agents use.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// One file that can be installed.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = AgentRelease)]
pub struct Release {
    /// Its name under `/downloads/`.
    #[schema(example = "cloudcore-agent-0.1.0-linux-arm64")]
    pub file: String,
    /// Its version.
    #[schema(value_type = String, example = "0.1.0")]
    pub version: Version,
    /// `amd64` or `arm64`.
    #[schema(example = "arm64")]
    pub architecture: &'static str,
    /// Its size.
    pub size_bytes: u64,
    /// Of the file, hex.
    pub sha256: String,
    /// Whether its signature is beside it: only then members update to it.
    pub signed: bool,
}

/// What a file was when it was hashed.
type Seen = (SystemTime, u64);

/// The folder of releases.
pub struct Releases {
    dir: PathBuf,
    /// `HOST:PORT` of the agents' port, for install.sh.
    advertised: String,
    hashes: Mutex<HashMap<String, (Seen, [u8; 32])>>,
}

impl Releases {
    /// In this folder, which need not exist.
    #[must_use]
    pub fn new(dir: PathBuf, advertised: String) -> Self {
        Self { dir, advertised, hashes: Mutex::default() }
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// The folder's.
    pub async fn list(self: &Arc<Self>) -> Result<Vec<Release>> {
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || this.read()).await;
        read.map_err(Error::internal)?.map_err(Error::internal)
    }

    fn read(&self) -> io::Result<Vec<Release>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries.take(MAX_FILES) {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            let Some((version, architecture)) = parse(&file) else { continue };
            let path = self.dir.join(&file);
            // A link that leads nowhere is the operator's business, and no reason to serve nothing.
            let Ok(facts) = std::fs::metadata(&path) else { continue };
            if !facts.is_file() {
                continue;
            }
            let hash = self.hash(&file, &path, (facts.modified()?, facts.len()))?;
            found.push(Release {
                version,
                architecture,
                size_bytes: facts.len(),
                sha256: keys::hex(&hash),
                signed: signature_path(&path).is_file(),
                file,
            });
        }
        found.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.file.cmp(&b.file)));
        Ok(found)
    }

    fn hash(&self, file: &str, path: &Path, seen: Seen) -> io::Result<[u8; 32]> {
        let known = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied();
        if let Some((at, hash)) = known
            && at == seen
        {
            return Ok(hash);
        }
        let (mut context, mut chunk) = (digest::Context::new(&digest::SHA256), vec![0; 64 * 1024]);
        let mut source = File::open(path)?;
        loop {
            match source.read(&mut chunk)? {
                0 => break,
                read => context.update(&chunk[..read]),
            }
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= MAX_FILES {
            hashes.clear();
        }
        hashes.insert(file.to_owned(), (seen, hash));
        Ok(hash)
    }

    /// A file that is a release or one's signature, opened.
    ///
    /// # Errors
    /// API-004 for any other.
    pub async fn open(&self, file: &str) -> Result<(tokio::fs::File, u64)> {
        let release = file.strip_suffix(".minisig").unwrap_or(file);
        let missing = || Error::new(Code::NotFound, "there is no such release");
        // The name's form leaves no way out of the folder.
        parse(release).ok_or_else(missing)?;
        let opened = tokio::fs::File::open(self.dir.join(file)).await.map_err(|_| missing())?;
        let facts = opened.metadata().await.map_err(Error::internal)?;
        if facts.is_file() { Ok((opened, facts.len())) } else { Err(missing()) }
    }

    /// What a member asked for over its link: what it is, and the file.
    ///
    /// # Errors
    /// API-004 where there is none, or it is not signed.
    pub async fn fetch(
        self: &Arc<Self>,
        request: &ReleaseRequest,
    ) -> Result<(ReleaseHeader, tokio::fs::File)> {
        let found = self.list().await?.into_iter().find(|release| {
            release.signed
                && release.architecture == request.architecture
                && request.version.as_ref().is_none_or(|v| *v == release.version.to_string())
        });
        let release = found.ok_or_else(|| {
            let asked = request.version.as_deref().unwrap_or("any version");
            let what = format!("the hub has no signed release for {}", request.architecture);
            Error::new(Code::NotFound, format!("{what} ({asked})"))
        })?;
        let (file, size) = self.open(&release.file).await?;
        let path = signature_path(&self.dir.join(&release.file));
        let signature = async {
            if tokio::fs::metadata(&path).await?.len() > MAX_SIGNATURE {
                return Err(io::Error::other("a signature is shorter"));
            }
            tokio::fs::read_to_string(&path).await
        };
        let header = ReleaseHeader {
            version: release.version.to_string(),
            size,
            hash: keys::unhex(&release.sha256)
                .and_then(|hash| Some(BlobHash::from_bytes(hash.try_into().ok()?)))
                .ok_or_else(|| Error::internal("a hash that is none"))?,
            signature: signature.await.map_err(Error::internal)?,
        };
        Ok((header, file))
    }
}

fn signature_path(release: &Path) -> PathBuf {
    let mut path = release.as_os_str().to_owned();
    path.push(".minisig");
    path.into()
}

/// `cloudcore-agent-VERSION-linux-ARCHITECTURE`.
fn parse(file: &str) -> Option<(Version, &'static str)> {
    let (version, architecture) = file.strip_prefix(PREFIX)?.rsplit_once("-linux-")?;
    let architecture = ARCHITECTURES.into_iter().find(|known| *known == architecture)?;
    Some((Version::parse(version).ok()?, architecture))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn only_a_releases_name_is_one() {
        let (version, architecture) = parse("cloudcore-agent-1.2.3-rc.1-linux-arm64").unwrap();
        assert_eq!((version.to_string().as_str(), architecture), ("1.2.3-rc.1", "arm64"));
        for other in [
            "cloudcore-agent-1.2.3-linux-arm64.minisig",
            "cloudcore-agent-1.2-linux-arm64",
            "cloudcore-agent-../1.2.3-linux-arm64",
            "cloudcore-agent-1.2.3-linux-../../etc/passwd",
            "hub.key",
        ] {
            assert!(parse(other).is_none(), "{other}");
        }
    }
}
