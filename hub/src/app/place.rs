//! Where a hub's state lives, and what is done with it while no hub need run.

use std::{
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

use crate::{
    apps,
    auth::{Auth, Role},
    backup, commands,
    db::Db,
    error::{Code, Error, Result},
    keys::{self, Keys},
};

/// The database's file, inside the data directory.
const DATABASE: &str = "hub.db";

/// Makes a user in the database of this data directory.
///
/// # Errors
/// API-001 for a bad name or password, API-005 when the name is taken, or the database's.
pub async fn create_user(
    place: Place<'_>,
    username: &str,
    password: &str,
    role: Role,
) -> Result<()> {
    open_auth(place).await?.create_user(username, password, role).await.map(|_| ())
}

/// Gives a user another password.
///
/// # Errors
/// API-001 for a bad password, API-004 for an unknown user, or the database's.
pub async fn set_password(place: Place<'_>, username: &str, password: &str) -> Result<()> {
    open_auth(place).await?.set_password(username, password).await
}

/// Where a hub's state lives: what commands beside `serve` are told.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// The database, where it is not in the data directory.
    pub database: Option<PgConnectOptions>,
}

/// Writes a backup of a hub, which may be running, into a file.
///
/// # Errors
/// With a message for the operator.
pub async fn write_backup(place: Place<'_>, order: backup::Order, output: &Path) -> Result<()> {
    if !place.data_dir.join(keys::MASTER).exists() {
        return Err(Error::invalid(format!("there is no hub in {}", place.data_dir.display())));
    }
    let db = open_db(place.data_dir, place.database).await?;
    seal_secrets(&db, &Keys::load(place.data_dir)?).await?;
    let written = backup::to_file(&db, place.data_dir, order, output).await;
    db.close().await;
    written
}

/// Restores a hub, which must not be running, from a file: what was in it, and how many rows.
///
/// # Errors
/// With a message for the operator; nothing has changed then.
pub async fn restore_backup(
    place: Place<'_>,
    input: &Path,
    passphrase: Option<SecretString>,
) -> Result<(Vec<backup::Include>, u64)> {
    prepare(place.data_dir)?;
    let _lock = lock(place.data_dir)?;
    let db = open_db(place.data_dir, place.database).await?;
    let restored = backup::from_file(&db, place.data_dir, input, passphrase).await;
    db.close().await;
    restored
}

/// Takes the data directory for this program alone; the system gives it back when it ends.
pub(super) fn lock(data_dir: &Path) -> Result<std::fs::File> {
    let path = data_dir.join("hub.lock");
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|e| unusable(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::new(
            Code::Unavailable,
            format!("another hub runs with {}: stop it first", data_dir.display()),
        )),
        Err(std::fs::TryLockError::Error(e)) => Err(unusable(&path, e)),
    }
}

async fn open_auth(place: Place<'_>) -> Result<Auth> {
    prepare(place.data_dir)?;
    let db = open_db(place.data_dir, place.database).await?;
    Ok(Auth::new(db, Arc::new(Keys::load(place.data_dir)?)))
}

/// Seals the secrets that older hubs have stored in the clear, and that older backups bring.
pub(super) async fn seal_secrets(db: &Db, keys: &Keys) -> Result<()> {
    commands::hide_secrets(db, keys).await?;
    apps::seal_configs(db, keys).await
}

pub(super) async fn open_db(data_dir: &Path, database: Option<PgConnectOptions>) -> Result<Db> {
    match database {
        Some(options) => Db::connect(options).await,
        None => {
            let path = data_dir.join(DATABASE);
            // SQLite gives its journals the database's mode.
            let make = || {
                std::fs::OpenOptions::new().append(true).create(true).open(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            };
            make().map_err(|e| unusable(&path, e))?;
            Db::open(&path).await
        }
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("can't use {}", path.display());
    Error { cause: Some(error.into()), ..Error::new(Code::Unavailable, message) }
}

/// Makes the data directory, for its owner only. A mounted volume may belong to somebody else, as
/// on Kubernetes to root, who lets this user's group in: who reaches it is decided there then, and
/// what is secret in it has modes of its own.
pub(super) fn prepare(data_dir: &Path) -> Result<()> {
    let make = || {
        std::fs::create_dir_all(data_dir)?;
        if std::fs::metadata(data_dir)?.uid() == nix::unistd::geteuid().as_raw() {
            std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    make().map_err(|e| unusable(data_dir, e))
}
