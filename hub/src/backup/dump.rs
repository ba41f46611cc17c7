//! Making an archive: all tables at one moment, plain rows into files, secrets into memory.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    sync::Arc,
};

use cloudcore_protocol::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Include,
    archive::{self, Content, Lines},
    hubkeys,
    manifest::{FORMAT, Manifest, Part, SEALED},
    secrets::{Key, MAX_SECRETS, Secrets},
    tables::{Kept, tables},
};
use crate::{
    db::{Db, Snapshot, Table},
    error::{Code, Error, Result},
    keys::{self, Keys},
};

/// A backup that is wanted.
#[derive(Debug)]
pub struct Order {
    /// For people.
    pub name: String,
    /// Why, for people.
    pub description: Option<String>,
    /// What it holds.
    pub include: Vec<Include>,
    /// What opens it; the hub's own key where there is none.
    pub passphrase: Option<SecretString>,
}

/// Batches of rows that wait to be written.
const QUEUE: usize = 4;

/// Writes the archive `to`; `folder` is for what is on the way.
pub(super) async fn dump(
    db: &Db,
    keys: &Arc<Keys>,
    data_dir: &Path,
    order: &Order,
    folder: &Path,
    to: &Path,
) -> Result<Manifest> {
    let (own, passphrase) = (Arc::clone(keys), order.passphrase.clone());
    let key = spawn_blocking(move || Key::make(&own, passphrase.as_ref()))
        .await
        .map_err(Error::internal)??;
    let mut secrets = Secrets::default();
    if order.include.contains(&Include::Certificates) {
        let dir = data_dir.to_owned();
        secrets.files =
            spawn_blocking(move || hubkeys::read(&dir)).await.map_err(Error::internal)??;
    }
    let mut manifest = Manifest {
        format: FORMAT,
        hub_version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: db.schema().await?,
        created_at: Timestamp::now().to_string(),
        name: order.name.clone(),
        description: order.description.clone(),
        include: order.include.clone(),
        sealed_by: key.by.clone(),
        parts: Vec::new(),
    };
    let mut contents = Vec::new();
    let mut snapshot = db.snapshot().await?;
    let mut room = MAX_SECRETS;
    for kept in tables(&order.include) {
        let table = Table::of(&mut snapshot, kept.name).await?;
        if kept.secret {
            let mut rows = collect(&table, &mut snapshot, kept.only, &mut room).await?;
            if let Some(sealed) = &kept.sealed {
                rows.iter_mut().try_for_each(|row| sealed.open(&keys.seal, row))?;
            }
            secrets.rows.insert(kept.name.to_owned(), rows);
        } else {
            let file = folder.join(format!("{}.jsonl", kept.name));
            manifest.parts.push(spool(&table, &mut snapshot, kept, file.clone()).await?);
            contents.push(Content::File(file));
        }
    }
    drop(snapshot);
    secrets.manifest = Some(manifest.without_sealed());
    let (keys, to) = (Arc::clone(keys), to.to_owned());
    spawn_blocking(move || {
        let sealed = key.close(&keys, &secrets)?;
        manifest.parts.push(Part {
            name: SEALED.to_owned(),
            table: None,
            rows: secrets.rows.values().map(|rows| rows.len() as u64).sum(),
            size: sealed.len() as u64,
            sha256: keys::sha256_hex(&sealed),
        });
        contents.push(Content::Bytes(sealed));
        archive::write(&to, &manifest, &contents)?;
        Ok(manifest)
    })
    .await
    .map_err(Error::internal)?
}

/// All rows of a table of secrets. `room` is what is left of [`MAX_SECRETS`].
async fn collect(
    table: &Table,
    snapshot: &mut Snapshot,
    only: Option<&'static str>,
    room: &mut usize,
) -> Result<Vec<Map<String, Value>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let taking = async {
        // Its end is this block's: what is not taken is not read either.
        let mut receiver = receiver;
        while let Some(batch) = receiver.recv().await {
            for row in batch {
                let size = serde_json::to_vec(&row).map_err(Error::internal)?.len();
                *room = room.checked_sub(size).ok_or_else(|| {
                    Error::invalid(format!(
                        "table {} is too large for a backup: leave it out",
                        table.name()
                    ))
                })?;
                rows.push(row);
            }
        }
        Ok::<_, Error>(())
    };
    let (read, taken) = tokio::join!(table.read(snapshot, only, sender), taking);
    taken.and(read)?;
    Ok(rows)
}

/// All rows of a table, into a file.
async fn spool(table: &Table, snapshot: &mut Snapshot, kept: &Kept, file: PathBuf) -> Result<Part> {
    let (sender, mut receiver) = mpsc::channel::<Vec<Map<String, Value>>>(QUEUE);
    let name = format!("{}.jsonl", table.name());
    let left_out = kept.left_out;
    let writing = spawn_blocking(move || {
        let file = File::create(&file).map_err(|e| Error {
            cause: Some(e.into()),
            ..Error::new(Code::Unavailable, "the backup can't be written")
        })?;
        let mut lines = Lines::new(BufWriter::new(file));
        while let Some(batch) = receiver.blocking_recv() {
            for mut row in batch {
                left_out.map(|column| row.remove(column));
                lines.push(&row)?;
            }
        }
        let (size, rows) = (lines.size, lines.rows);
        let (_, sha256) = lines.finish()?;
        Ok::<_, Error>((size, rows, sha256))
    });
    let read = table.read(snapshot, kept.only, sender).await;
    let (size, rows, sha256) = writing.await.map_err(Error::internal)??;
    read?;
    Ok(Part { name, table: Some(table.name().to_owned()), rows, size, sha256 })
}
