//! One program at a time in a data directory: two agents with one identity would throw each other
//! off the hub for ever.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::files;

const LOCK_FILE: &str = "agent.lock";

/// Why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another program has it.
    #[error("{0} is in use: stop the agent that runs there first")]
    InUse(PathBuf),
    /// The system says no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held while it lives; the system lets go of it when the program dies.
#[derive(Debug)]
pub struct DataDirLock {
    path: PathBuf,
    _file: File,
}

impl DataDirLock {
    /// Makes the directory where it is absent, and takes it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn create(data_dir: &Path) -> Result<Self, LockError> {
        let failed = |path: &Path, source| LockError::File { path: path.to_owned(), source };
        files::create_private_dir(data_dir).map_err(|e| failed(data_dir, e))?;
        let path = data_dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(&path, source)),
        }
    }

    /// Lets go of the directory and leaves nothing behind.
    pub(crate) fn remove(self) {
        // It is empty: one that stays does no harm.
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let first = DataDirLock::create(&data_dir).unwrap();
        assert!(matches!(DataDirLock::create(&data_dir), Err(LockError::InUse(_))));
        drop(first);
        DataDirLock::create(&data_dir).unwrap();
    }
}
