//! Restoring an archive: everything is checked before anything changes, and then all of it changes
//! in one transaction or nothing does.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Include,
    archive::{self, damaged, lines},
    hubkeys,
    manifest::{Manifest, Part, SEALED},
    secrets::{Key, MAX_SECRETS, Secrets},
    tables::{Kept, TABLES, Way, tables},
};
use crate::{
    db::{self, Db, Table, Write},
    error::{Error, Result},
    keys::Keys,
};

/// Rows that are inserted at once.
const BATCH: usize = 500;
/// Batches that wait to be inserted.
const QUEUE: usize = 4;

/// An archive that was checked from end to end, and whose key was there.
pub(super) struct Checked {
    archive: PathBuf,
    pub manifest: Manifest,
    secrets: Secrets,
    tables: Arc<HashMap<&'static str, Table>>,
    /// The hub's own key files, where they are in it.
    pub files: Option<BTreeMap<&'static str, Vec<u8>>>,
}

/// Checks the archive as a whole. Nothing has changed when this returns.
///
/// # Errors
/// API-001 with the reason for which it can't be restored.
pub(super) async fn check(
    db: &Db,
    keys: Option<Arc<Keys>>,
    archive: &Path,
    passphrase: Option<SecretString>,
) -> Result<Checked> {
    let schema = db.schema().await?;
    let mut known = HashMap::new();
    for kept in &TABLES {
        known.insert(kept.name, Table::of(db, kept.name).await?);
    }
    let (archive, tables) = (archive.to_owned(), Arc::new(known));
    spawn_blocking(move || {
        check_file(archive, tables, schema, keys.as_deref(), passphrase.as_ref())
    })
    .await
    .map_err(Error::internal)?
}

fn check_file(
    archive: PathBuf,
    known: Arc<HashMap<&'static str, Table>>,
    schema: i64,
    keys: Option<&Keys>,
    passphrase: Option<&SecretString>,
) -> Result<Checked> {
    let mut sealed = Vec::new();
    let mut include = Vec::new();
    let begin = |manifest: &Manifest| {
        if manifest.schema > schema {
            return Err(Error::invalid(format!(
                "the archive has schema {}, and this hub knows up to {schema}: restore it with a \
                 newer hub",
                manifest.schema
            )));
        }
        include.clone_from(&manifest.include);
        Ok(())
    };
    let mut plain = Vec::new();
    let manifest = archive::read(&archive, begin, |part, reader| {
        match table_of(part)? {
            None => {
                let most = MAX_SECRETS as u64 + 1024;
                reader.take(most).read_to_end(&mut sealed).map_err(damaged)?;
            }
            Some(kept) => {
                let table = known.get(kept.name).ok_or_else(|| damaged("a table is missing"))?;
                let rows = lines(reader, |row| table.check(&row))?;
                if rows != part.rows {
                    return Err(damaged(format!("{} has another number of rows", part.name)));
                }
                plain.push(kept.name);
            }
        }
        Ok(())
    })?;
    let secrets = Key::of(&manifest.sealed_by, keys, passphrase)?.open(keys, sealed)?;
    if secrets.manifest.as_ref() != Some(&manifest.without_sealed()) {
        return Err(damaged("its manifest is not the one that was sealed"));
    }
    for (name, rows) in &secrets.rows {
        let table = known.get(name.as_str()).ok_or_else(|| damaged("an unknown table"))?;
        rows.iter().try_for_each(|row| table.check(row))?;
    }
    for kept in tables(&manifest.include).filter(|kept| kept.since <= manifest.schema) {
        let sealed = kept.secret && secrets.rows.contains_key(kept.name);
        // Either, and not both.
        if sealed == plain.contains(&kept.name) {
            return Err(damaged(format!("table {} is missing", kept.name)));
        }
    }
    if let Some(users) = secrets.rows.get("users")
        && !users.iter().any(|user| user["role"] == "admin" && user["disabled"] == false)
    {
        return Err(Error::invalid("no admin of the archive could log in: it is not restored"));
    }
    let files = manifest.include.contains(&Include::Certificates);
    let files = files.then(|| hubkeys::parse(&secrets.files)).transpose()?;
    Ok(Checked { archive, manifest, secrets, tables: known, files })
}

/// Which table a part holds; none for the sealed part.
fn table_of(part: &Part) -> Result<Option<&'static Kept>> {
    if part.name == SEALED && part.table.is_none() {
        return Ok(None);
    }
    let kept = TABLES.iter().find(|kept| {
        (!kept.secret || kept.once_plain)
            && part.table.as_deref() == Some(kept.name)
            && part.name == format!("{}.jsonl", kept.name)
    });
    kept.map(Some).ok_or_else(|| damaged(format!("{} is unknown", part.name)))
}

impl Checked {
    /// Puts the rows of `include` back, sealed by the keys that hold afterwards, and notes the
    /// staged key files, if there are any. Returns how many rows were read.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn apply(
        self,
        db: &Db,
        include: &[Include],
        keys: &Keys,
        staged: Option<&str>,
    ) -> Result<u64> {
        let mut tx = db.write().await?;
        tx.take_as_long_as_needed().await?;
        let wanted: Vec<_> = tables(include).collect();
        if staged.is_some() {
            check_sealed(&mut tx, include).await?;
        }
        let epoch: i64 =
            db::sql("SELECT coalesce(max(session_epoch), 0) FROM users").value(&mut tx).await?;
        for kept in &wanted {
            self.clear(&mut tx, kept).await?;
        }
        let mut rows = 0;
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let sealed = |kept: &&&Kept| kept.secret && self.secrets.rows.contains_key(kept.name);
        let names: Vec<_> = wanted.iter().filter(|kept| !sealed(kept)).map(|k| k.name).collect();
        let archive = self.archive.clone();
        let reading = spawn_blocking(move || read_rows(&archive, &names, &sender));
        while let Some((kept, batch)) = receiver.recv().await {
            rows += batch.len() as u64;
            self.insert(&mut tx, kept, batch).await?;
        }
        // The archive is hashed once more: what was checked is what was inserted.
        reading.await.map_err(Error::internal)??;
        for kept in wanted.iter().filter(sealed) {
            let mut all = self.secrets.rows.get(kept.name).cloned().unwrap_or_default();
            if let Some(sealed) = &kept.sealed {
                all.iter_mut().try_for_each(|row| sealed.close(&keys.seal, row))?;
            }
            rows += all.len() as u64;
            for batch in all.chunks(BATCH) {
                self.insert(&mut tx, kept, batch.to_vec()).await?;
            }
        }
        for kept in &wanted {
            self.table(kept)?.settle_ids(&mut tx).await?;
        }
        if include.contains(&Include::Devices) {
            settle_devices(&mut tx).await?;
        }
        if include.contains(&Include::Devices) || include.contains(&Include::Apps) {
            // No app is to run on what is not known: nobody could take it away. The cluster's nodes
            // are none of the hub's devices, and known to it.
            db::sql(
                "DELETE FROM app_devices WHERE node IS NULL \
                 AND device_id NOT IN (SELECT device_id FROM devices)",
            )
            .run(&mut tx)
            .await?;
        }
        if include.contains(&Include::Users) {
            // No session of before becomes good again.
            let archived: i64 =
                db::sql("SELECT coalesce(max(session_epoch), 0) FROM users").value(&mut tx).await?;
            db::sql("UPDATE users SET session_epoch = $1")
                .bind(epoch.max(archived).saturating_add(1))
                .run(&mut tx)
                .await?;
        }
        if include.contains(&Include::Webhooks) {
            db::sql(
                "DELETE FROM webhook_deliveries \
                 WHERE webhook_id NOT IN (SELECT webhook_id FROM webhooks)",
            )
            .run(&mut tx)
            .await?;
        }
        if let Some(id) = staged {
            // What was answered was sealed by the keys of before.
            db::sql("DELETE FROM idempotency_keys").run(&mut tx).await?;
            hubkeys::note(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(rows)
    }

    /// Whether the hub's own keys in it are these.
    pub fn has_keys(&self, own: &BTreeMap<String, String>) -> bool {
        self.secrets.files == *own
    }

    fn table(&self, kept: &Kept) -> Result<&Table> {
        self.tables.get(kept.name).ok_or_else(|| Error::internal("a table is not known"))
    }

    /// Removes what the archive's rows replace.
    async fn clear(&self, tx: &mut Write, kept: &Kept) -> Result<()> {
        let (sql, keys) = match kept.way {
            Way::Replace => {
                let only = kept.only.unwrap_or("1 = 1");
                (db::joined(&["DELETE FROM ", kept.name, " WHERE ", only]), None)
            }
            Way::Merge { only: None, .. } => return Ok(()),
            Way::Merge { only: Some(column), .. } => {
                let rows = self.secrets.rows.get(kept.name).map_or(&[][..], Vec::as_slice);
                let keys: Vec<Value> = rows.iter().map(|row| json!([row.get(column)])).collect();
                let sql = db::joined(&[
                    "DELETE FROM ",
                    kept.name,
                    " WHERE ",
                    column,
                    " NOT IN (SELECT value->>0 FROM {rows})",
                ]);
                (sql, Some(Value::from(keys).to_string()))
            }
        };
        let sql = match keys {
            Some(keys) => sql.bind(keys),
            None => sql,
        };
        sql.run(tx).await?;
        Ok(())
    }

    async fn insert(
        &self,
        tx: &mut Write,
        kept: &Kept,
        mut rows: Vec<Map<String, Value>>,
    ) -> Result<()> {
        let conflict = match kept.way {
            Way::Replace => "",
            Way::Merge { conflict, .. } => {
                // Among rows that stay, a number may be taken.
                for row in &mut rows {
                    row.remove("id");
                }
                conflict
            }
        };
        self.table(kept)?.insert(tx, &rows, conflict).await
    }
}

/// Reads the rows of these tables once more. Ends early when nobody wants them any more.
fn read_rows(
    archive: &Path,
    names: &[&'static str],
    rows: &mpsc::Sender<(&'static Kept, Vec<Map<String, Value>>)>,
) -> Result<()> {
    archive::read(
        archive,
        |_| Ok(()),
        |part, reader| {
            let Some(kept) = table_of(part)?.filter(|kept| names.contains(&kept.name)) else {
                return Ok(());
            };
            let mut batch = Vec::new();
            let gone = |_| Error::internal("the restore has ended");
            lines(reader, |row| {
                batch.push(row);
                if batch.len() < BATCH {
                    return Ok(());
                }
                rows.blocking_send((kept, std::mem::take(&mut batch))).map_err(gone)
            })?;
            rows.blocking_send((kept, batch)).map_err(gone)
        },
    )?;
    Ok(())
}

/// Whether no row that stays is sealed by the keys that are replaced.
async fn check_sealed(tx: &mut Write, include: &[Include]) -> Result<()> {
    for kept in TABLES.iter().filter(|k| k.sealed.is_some() && !include.contains(&k.include)) {
        let sealed: i64 = db::joined(&["SELECT count(*) FROM ", kept.name]).value(&mut *tx).await?;
        if sealed > 0 {
            return Err(Error::invalid(format!(
                "this hub has {0} that are sealed by its keys, and the archive replaces the keys \
                 and has no {0}",
                kept.name
            )));
        }
    }
    Ok(())
}

/// Nobody is linked by what a backup says, and no node is a member by nothing.
async fn settle_devices(tx: &mut Write) -> Result<()> {
    db::sql("UPDATE devices SET status = 'NotReady'").run(&mut *tx).await?;
    // Whoever is made known by the same id later is somebody else.
    db::sql("DELETE FROM mqtt_devices WHERE device_id NOT IN (SELECT device_id FROM devices)")
        .run(&mut *tx)
        .await?;
    db::sql(
        "UPDATE devices SET joined_at = NULL WHERE joined_at IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM certificates c WHERE c.device_id = devices.device_id \
         AND c.node_name = devices.node_name AND c.revoked_at IS NULL) AND NOT EXISTS \
         (SELECT 1 FROM mqtt_devices m WHERE m.device_id = devices.device_id \
         AND m.ended_at IS NULL)",
    )
    .run(tx)
    .await?;
    Ok(())
}
