//! The hub's own key files in a restore: replaced together with the database or not at all.
//!
//! They are staged in a folder beside their places; the transaction notes the folder's name; after
//! the commit they are moved. Whoever starts next finishes what a crash has left: where the note is
//! there, the files are moved, and where it is not, they are thrown away.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    db::{self, Db, Write},
    error::{Code, Error, Result},
    keys::{self, MASTER},
    pki,
};

/// The files, by name.
pub(super) const FILES: [&str; 3] = [MASTER, pki::CA_KEY, pki::CA_CERTIFICATE];
const STAGED: &str = "restore-";

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let message = format!("{} can't be written or read", path.display());
    move |e| Error { cause: Some(e.into()), ..Error::new(Code::Unavailable, message) }
}

/// The content of the files, hex.
pub(super) fn read(data_dir: &Path) -> Result<BTreeMap<String, String>> {
    FILES
        .iter()
        .map(|name| {
            let path = data_dir.join(name);
            let bytes = fs::read(&path).map_err(failed(&path))?;
            Ok(((*name).to_owned(), keys::hex(&bytes)))
        })
        .collect()
}

/// The bytes of the archive's files, all of them there.
///
/// # Errors
/// API-001.
pub(super) fn parse(files: &BTreeMap<String, String>) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    FILES
        .iter()
        .map(|name| {
            let bytes = files.get(*name).and_then(|hex| keys::unhex(hex));
            let bytes =
                bytes.ok_or_else(|| super::archive::damaged(format!("{name} is missing")))?;
            Ok((*name, bytes))
        })
        .collect()
}

/// Puts the files beside their places; the folder's name.
pub(super) fn stage(data_dir: &Path, files: &BTreeMap<&'static str, Vec<u8>>) -> Result<String> {
    let id = format!("{STAGED}{}", keys::hex(&keys::random::<8>()?));
    let folder = data_dir.join(&id);
    let write = || -> io::Result<()> {
        fs::create_dir(&folder)?;
        for (name, bytes) in files {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(folder.join(name))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        File::open(&folder)?.sync_all()?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(failed(&folder))?;
    Ok(id)
}

/// Notes in the transaction that the staged files are to be moved.
pub(super) async fn note(tx: &mut Write, id: &str) -> Result<()> {
    db::sql("INSERT INTO restored_keys (restore_id) VALUES ($1)").bind(id).run(tx).await?;
    Ok(())
}

/// Finishes a restore of the keys that was committed, and throws away what was not. To be called
/// before the keys are read.
///
/// # Errors
/// API-009, and then the hub must not start: its keys and its database may not belong together.
pub async fn settle(data_dir: &Path, db: &Db) -> Result<()> {
    let noted: Vec<String> = db::sql("SELECT restore_id FROM restored_keys").values(db).await?;
    let (dir, ids) = (data_dir.to_owned(), noted);
    let moved = tokio::task::spawn_blocking(move || move_noted(&dir, &ids))
        .await
        .map_err(Error::internal)??;
    for id in &moved {
        // Another hub of this database may have a note of its own.
        let mut tx = db.write().await?;
        db::sql("DELETE FROM restored_keys WHERE restore_id = $1").bind(id).run(&mut tx).await?;
        tx.commit().await?;
        tracing::info!("the restored keys are in place");
    }
    let dir = data_dir.to_owned();
    tokio::task::spawn_blocking(move || remove_staged(&dir)).await.map_err(Error::internal)?
}

/// Moves the files of the folders that are noted; which folders that are.
fn move_noted(data_dir: &Path, noted: &[String]) -> Result<Vec<String>> {
    let mut moved = Vec::new();
    for id in noted {
        let folder = data_dir.join(id);
        let settle = || -> io::Result<bool> {
            if !folder.try_exists()? {
                return Ok(false);
            }
            for name in FILES {
                match fs::rename(folder.join(name), data_dir.join(name)) {
                    Ok(()) => {}
                    // Moved before the crash.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            File::open(data_dir)?.sync_all()?;
            Ok(true)
        };
        if settle().map_err(failed(&folder))? {
            moved.push(id.clone());
        }
    }
    Ok(moved)
}

fn remove_staged(data_dir: &Path) -> Result<()> {
    for folder in staged(data_dir).map_err(failed(data_dir))? {
        fs::remove_dir_all(&folder).map_err(failed(&folder))?;
    }
    Ok(())
}

fn staged(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn files(content: &[u8]) -> BTreeMap<&'static str, Vec<u8>> {
        FILES.iter().map(|name| (*name, content.to_vec())).collect()
    }

    fn contents(data_dir: &Path) -> Vec<Vec<u8>> {
        FILES.iter().map(|name| fs::read(data_dir.join(name)).unwrap()).collect()
    }

    #[tokio::test]
    async fn whoever_starts_after_a_crash_finishes_what_was_committed() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path();
        let db = Db::open(&data_dir.join("hub.db")).await.unwrap();
        for name in FILES {
            fs::write(data_dir.join(name), b"old").unwrap();
        }
        // Staged and not committed: the old ones stay.
        stage(data_dir, &files(b"first")).unwrap();
        settle(data_dir, &db).await.unwrap();
        assert_eq!(contents(data_dir), vec![b"old".to_vec(); 3]);
        assert!(staged(data_dir).unwrap().is_empty());

        // Committed, and one of the files moved before the crash.
        let id = stage(data_dir, &files(b"second")).unwrap();
        let mut tx = db.write().await.unwrap();
        note(&mut tx, &id).await.unwrap();
        tx.commit().await.unwrap();
        fs::rename(data_dir.join(&id).join(FILES[1]), data_dir.join(FILES[1])).unwrap();
        settle(data_dir, &db).await.unwrap();
        assert_eq!(contents(data_dir), vec![b"second".to_vec(); 3]);
        assert!(staged(data_dir).unwrap().is_empty());

        // It is done once: what is staged later is not taken for it.
        fs::create_dir(data_dir.join(&id)).unwrap();
        fs::write(data_dir.join(&id).join(FILES[0]), b"third").unwrap();
        settle(data_dir, &db).await.unwrap();
        assert_eq!(contents(data_dir), vec![b"second".to_vec(); 3]);
    }
}
