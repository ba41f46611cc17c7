//! Backups of the database and the hub's keys, and their restoration.
//!
//! A backup is one archive in the object store: every table at the same moment, portable between
//! SQLite and PostgreSQL, with a hash of each part and its secrets sealed. A restore checks all of
//! an archive before it changes anything, and changes all of it or nothing. The hub's own keys are
//! only restored while the hub is stopped: whoever trusts them would be cut off in the middle.

mod apply;
mod archive;
mod dump;
mod hubkeys;
mod manifest;
mod routes;
mod secrets;
mod tables;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cloudcore_protocol::Timestamp;
use futures_util::{StreamExt as _, future::BoxFuture};
use secrecy::SecretString;
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

pub use dump::Order;
pub use hubkeys::settle;
pub use manifest::{BackupInfo, Include};
pub use routes::routes;

use self::manifest::SealedBy;
use crate::{
    api,
    db::Db,
    error::{Code, Error, Result},
    keys::{Keys, MASTER},
    objects::Objects,
};

/// The folder in the object store.
const FOLDER: &str = "backups";
/// Most backups that are listed.
const MAX_BACKUPS: usize = 10_000;
/// Lists of backups are read so many at once.
const READS: usize = 8;

/// What the rooms do when other rows are in their tables; how many sessions were cut for it.
pub type Restored = Box<dyn Fn(Vec<Include>) -> BoxFuture<'static, Result<usize>> + Send + Sync>;

/// The backups.
pub struct Backups {
    /// What is backed up.
    pub db: Db,
    /// Seals where there is no passphrase.
    pub keys: Arc<Keys>,
    /// Where archives are kept.
    pub objects: Arc<Objects>,
    /// Where the hub's key files are.
    pub data_dir: PathBuf,
    /// Called after a restore.
    pub restored: Restored,
    /// One backup or restore at a time.
    pub turn: Mutex<()>,
}

/// What a restore did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Restoration {
    /// When the backup was made.
    #[schema(format = DateTime)]
    pub backup_created_at: String,
    /// What was put back.
    pub restored: Vec<Include>,
    /// What was not, although it is in the backup.
    pub skipped: Vec<Include>,
    /// Rows that were read.
    pub rows: u64,
    /// Sessions that were cut, because their devices are no members any more.
    pub sessions_closed: usize,
}

fn archive_key(id: &str) -> String {
    format!("{FOLDER}/{id}.tar.zst")
}

fn info_key(id: &str) -> String {
    format!("{FOLDER}/{id}.json")
}

/// The id of a backup of this name: what the contract makes of `backup-20240115`.
fn id_of(name: &str) -> Result<String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !plain || !(1..=64).contains(&name.len()) {
        return Err(Error::invalid("name must be 1 to 64 letters, digits, '-' or '_'"));
    }
    Ok(name.replace('-', "_"))
}

/// `backup-20240115-103000`.
fn default_name() -> String {
    let digits: String =
        Timestamp::now().to_string().chars().filter(char::is_ascii_digit).collect();
    let (day, time) = digits.split_at(digits.len().min(8));
    format!("backup-{day}-{time}")
}

impl Backups {
    fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        self.turn.try_lock().map_err(|_| {
            Error::new(Code::Unavailable, "a backup or a restore is going on; try again after it")
        })
    }

    fn scratch(&self) -> Result<TempDir> {
        scratch(&self.data_dir)
    }

    /// Makes a backup.
    ///
    /// # Errors
    /// API-001 for a bad name, API-005 for one that is taken, API-009 when the store is away or
    /// another backup or restore goes on.
    pub async fn create(&self, order: Order) -> Result<BackupInfo> {
        let id = id_of(&order.name)?;
        let _turn = self.turn()?;
        if self.objects.get(&info_key(&id)).await?.is_some() {
            return Err(Error::new(Code::Exists, format!("backup '{id}' exists")));
        }
        let folder = self.scratch()?;
        let archive = folder.path().join("archive");
        let manifest =
            dump::dump(&self.db, &self.keys, &self.data_dir, &order, folder.path(), &archive)
                .await?;
        let size_bytes = tokio::fs::metadata(&archive).await.map_err(Error::internal)?.len();
        if size_bytes > archive::MAX_ARCHIVE {
            return Err(Error::invalid("the backup is too large: leave detections out"));
        }
        let info = BackupInfo {
            location: self.objects.url(&archive_key(&id)),
            backup_id: id,
            name: order.name,
            description: order.description,
            include: order.include,
            size: api::size(size_bytes),
            size_bytes,
            sealed_by: match manifest.sealed_by {
                SealedBy::Hub { .. } => "hub".to_owned(),
                SealedBy::Passphrase { .. } => "passphrase".to_owned(),
            },
            created_at: Timestamp::now(),
        };
        self.objects.put_file(&archive_key(&info.backup_id), &archive).await?;
        // Last: a backup that is listed is whole.
        let text = serde_json::to_vec(&info).map_err(Error::internal)?;
        self.objects.put(&info_key(&info.backup_id), text.into()).await?;
        tracing::info!(backup_id = info.backup_id, size_bytes, "a backup was made");
        Ok(info)
    }

    /// Those after `cursor`, an id, at most `limit`, and how many there are in all.
    ///
    /// # Errors
    /// API-009 when the store is away.
    pub async fn list(
        &self,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<(usize, Vec<BackupInfo>, Option<String>)> {
        let keys = self.objects.list(FOLDER, 2 * MAX_BACKUPS).await?;
        let mut ids: Vec<String> = keys
            .iter()
            .filter_map(|key| key.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json"))
            .map(str::to_owned)
            .collect();
        ids.sort_unstable();
        let count = ids.len();
        let page: Vec<_> = ids
            .into_iter()
            .filter(|id| cursor.is_none_or(|cursor| id.as_str() > cursor))
            .take(limit)
            .collect();
        let next = (page.len() == limit).then(|| page.last().cloned()).flatten();
        let read: Vec<_> = futures_util::stream::iter(page)
            .map(|id| self.info(id))
            .buffered(READS)
            .collect()
            .await;
        let mut infos = Vec::with_capacity(read.len());
        for info in read {
            match info {
                Ok(info) => infos.push(info),
                // Removed since it was listed, or written by somebody else.
                Err(error) if matches!(error.code, Code::NotFound | Code::Internal) => {
                    tracing::warn!(?error, "a backup can't be listed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((count, infos, next))
    }

    async fn info(&self, id: String) -> Result<BackupInfo> {
        let found = self.objects.get(&info_key(&id)).await?;
        let found = found.ok_or_else(|| Error::not_found("backup", &id))?;
        serde_json::from_slice(&found).map_err(Error::internal)
    }

    /// Removes a backup.
    ///
    /// # Errors
    /// API-004 when there is none, API-009 when the store is away.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let id = self.known(id).await?;
        let _turn = self.turn()?;
        self.objects.delete(&info_key(&id)).await?;
        self.objects.delete(&archive_key(&id)).await
    }

    /// The id, where there is such a backup.
    async fn known(&self, id: &str) -> Result<String> {
        let missing = || Error::not_found("backup", id);
        // Nothing else is asked of the store, which may be a folder.
        if id_of(id).is_err() || id.contains('-') {
            return Err(missing());
        }
        self.objects.get(&info_key(id)).await?.ok_or_else(missing)?;
        Ok(id.to_owned())
    }

    /// Puts a backup back into the running hub.
    ///
    /// # Errors
    /// API-001 for an archive that can't be restored, API-003 for one whose key this is not,
    /// API-004 for an unknown one, API-009 when the
    /// store is away or another backup or restore goes on. Nothing has changed then.
    pub async fn restore(&self, id: &str, passphrase: Option<SecretString>) -> Result<Restoration> {
        let id = self.known(id).await?;
        let _turn = self.turn()?;
        let folder = self.scratch()?;
        let archive = folder.path().join("archive");
        if !self.objects.get_file(&archive_key(&id), &archive, archive::MAX_ARCHIVE).await? {
            return Err(Error::not_found("backup", &id));
        }
        let checked =
            apply::check(&self.db, Some(Arc::clone(&self.keys)), &archive, passphrase).await?;
        let manifest = checked.manifest.clone();
        let dir = self.data_dir.clone();
        let own = tokio::task::spawn_blocking(move || hubkeys::read(&dir));
        let own = own.await.map_err(Error::internal)??;
        let (skipped, restored): (Vec<_>, Vec<_>) = manifest
            .include
            .iter()
            .partition(|include| **include == Include::Certificates && !checked.has_keys(&own));
        let rows = checked.apply(&self.db, &restored, &self.keys, None).await?;
        let sessions_closed = (self.restored)(restored.clone()).await.map_err(|error| Error {
            cause: Some(error.into()),
            ..Error::new(
                Code::Unavailable,
                "the backup is restored, and not all of the hub has taken it over: restart it",
            )
        })?;
        tracing::warn!(backup_id = id, rows, sessions_closed, "a backup was restored");
        Ok(Restoration {
            backup_created_at: manifest.created_at,
            restored,
            skipped,
            rows,
            sessions_closed,
        })
    }
}

/// A folder for what is on the way, on the disk of the data.
fn scratch(beside: &Path) -> Result<TempDir> {
    TempDir::with_prefix_in(SCRATCH, beside).map_err(|e| Error {
        cause: Some(e.into()),
        ..Error::new(Code::Unavailable, format!("{} can't be written", beside.display()))
    })
}

/// How the names of such folders begin.
const SCRATCH: &str = "backup-";

/// Removes what a crash has left of backups and restores.
pub async fn tidy(data_dir: &Path) {
    let Ok(mut entries) = tokio::fs::read_dir(data_dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            // What can't be removed is only room on the disk.
            let _ = tokio::fs::remove_dir_all(entry.path()).await;
        }
    }
}

/// Writes a backup of the hub in `data_dir`, which may be running, into the file `output`.
///
/// # Errors
/// With a message for the operator.
pub async fn to_file(db: &Db, data_dir: &Path, order: Order, output: &Path) -> Result<()> {
    let keys = Arc::new(Keys::load(data_dir)?);
    let beside = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = scratch(beside)?;
    let archive = folder.path().join("archive");
    dump::dump(db, &keys, data_dir, &order, folder.path(), &archive).await?;
    tokio::fs::rename(&archive, output).await.map_err(|e| Error {
        cause: Some(e.into()),
        ..Error::new(Code::Unavailable, format!("{} can't be written", output.display()))
    })
}

/// Restores the file `input` into the hub in `data_dir`, which must not be running, with its keys.
///
/// # Errors
/// With a message for the operator; nothing has changed then.
pub async fn from_file(
    db: &Db,
    data_dir: &Path,
    input: &Path,
    passphrase: Option<SecretString>,
) -> Result<(Vec<Include>, u64)> {
    settle(data_dir, db).await?;
    // A key is not made here: the archive may bring one.
    let keys = match data_dir.join(MASTER).try_exists() {
        Ok(true) => Some(Arc::new(Keys::load(data_dir)?)),
        _ => None,
    };
    let checked = apply::check(db, keys, input, passphrase).await?;
    let include = checked.manifest.include.clone();
    let own = hubkeys::read(data_dir).ok();
    let files = checked.files.clone();
    let (keys, staged) = match files.filter(|_| !own.is_some_and(|own| checked.has_keys(&own))) {
        Some(files) => {
            let keys = Keys::of(files.get(MASTER).map_or(&[][..], Vec::as_slice))?;
            let dir = data_dir.to_owned();
            let staged = tokio::task::spawn_blocking(move || hubkeys::stage(&dir, &files));
            (keys, Some(staged.await.map_err(Error::internal)??))
        }
        None => (Keys::load(data_dir)?, None),
    };
    let rows = checked.apply(db, &include, &keys, staged.as_deref()).await;
    // Also where nothing was restored: what was staged is removed then.
    settle(data_dir, db).await?;
    Ok((include, rows?))
}
