//! The catalog of models: what agents detect with. A row says what a model is; its bytes are an
//! object by their hash, so that versions with the same bytes share them.
//!
//! An upload passes through a file, is hashed on its way and never whole in memory. The object is
//! stored before the row: a row's bytes are there, and bytes without a row are removed.
//!
//! A model that is removed from the catalog goes on at the devices that have it.

mod description;
mod routes;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use cloudcore_protocol::{ModelId, Timestamp};
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};

pub use description::Description;
pub use routes::routes;

use crate::{
    api::Page,
    db::{self, Db, On},
    error::{Code, Error, Result},
    objects::Objects,
};

/// Uploads that are received at once.
const MAX_UPLOADS: usize = 4;
/// Objects that are looked at in one tidying.
const MAX_OBJECTS: usize = 100_000;
/// The folder of objects.
const FOLDER: &str = "models";

/// The catalog.
pub struct Models {
    db: Db,
    objects: Arc<Objects>,
    /// Where uploads are received.
    uploads: PathBuf,
    /// Largest ONNX file, bytes.
    most: u64,
    slots: Semaphore,
    /// Objects come and go while nobody else decides by the rows whether they may.
    turn: Mutex<()>,
}

/// A model, as the API shows one.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Model {
    /// Its name.
    #[schema(example = "nanodet")]
    pub name: String,
    /// The version of its weights.
    #[schema(example = "3.0.4")]
    pub version: String,
    /// What commands name it by.
    #[schema(example = "nanodet@3.0.4")]
    pub model: String,
    /// SHA-256 of the ONNX file, hex.
    #[schema(min_length = 64, max_length = 64)]
    pub sha256: String,
    /// Size of the ONNX file.
    #[schema(example = 15_154_585)]
    pub size_bytes: i64,
    /// What its outputs mean.
    #[schema(example = "nanodet")]
    pub family: String,
    /// Names of its classes.
    #[schema(example = json!(["person", "cat", "cup"]))]
    pub labels: Vec<String>,
    /// What its input must look like.
    #[schema(value_type = Object)]
    pub input: Map<String, Value>,
    /// Terms of use.
    #[schema(example = "Apache-2.0")]
    pub licence: String,
    /// Where it comes from.
    pub source: String,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    pub uploaded_at: Timestamp,
    /// Who brought it.
    #[schema(example = "admin")]
    pub uploaded_by: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    sha256: String,
    size: i64,
    description: String,
    uploaded_at: i64,
    uploaded_by: String,
}

const COLUMNS: &str = "id, sha256, size, description, uploaded_at, uploaded_by";

impl Row {
    fn shown(self) -> Result<Model> {
        let about = Description::parse(self.description.as_bytes()).map_err(Error::internal)?;
        Ok(Model {
            name: about.id().name.to_string(),
            version: about.id().version.to_string(),
            model: about.id().to_string(),
            sha256: self.sha256,
            size_bytes: self.size,
            family: about.family().to_owned(),
            labels: about.labels().to_vec(),
            input: about.input().clone(),
            licence: about.licence().to_owned(),
            source: about.source().to_owned(),
            uploaded_at: Timestamp::from_micros(self.uploaded_at),
            uploaded_by: self.uploaded_by,
        })
    }
}

/// A model's bytes on their way out.
pub struct Reading {
    /// SHA-256 of the whole, hex.
    pub sha256: String,
    /// Size of the whole, bytes.
    pub size: u64,
    /// The description, JSON.
    pub description: String,
    /// From the offset on.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

fn key(sha256: &str) -> String {
    format!("{FOLDER}/{sha256}")
}

fn not_found(id: &ModelId) -> Error {
    Error::not_found("model", id)
}

impl Models {
    /// Over this database and object store; what an upload left behind in `uploads` is removed.
    ///
    /// # Errors
    /// API-009 when the folder can't be made.
    pub async fn open(db: Db, objects: Arc<Objects>, uploads: PathBuf, most: u64) -> Result<Self> {
        let failed = |e: std::io::Error| Error {
            cause: Some(e.into()),
            ..Error::new(Code::Unavailable, format!("can't use {}", uploads.display()))
        };
        match tokio::fs::remove_dir_all(&uploads).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        tokio::fs::create_dir_all(&uploads).await.map_err(failed)?;
        let slots = Semaphore::new(MAX_UPLOADS);
        Ok(Self { db, objects, uploads, most, slots, turn: Mutex::default() })
    }

    /// Takes up a model whose bytes are in a file, with their hash and size. The same again is the
    /// same answer.
    ///
    /// # Errors
    /// API-001 where the bytes are not those described, API-005 where the version is another
    /// model's.
    async fn add(&self, about: &Description, upload: &Upload, by: &str) -> Result<Model> {
        if about.sha256() != upload.sha256 {
            return Err(Error::invalid(format!(
                "the description's sha256 is {}, the model's is {}",
                about.sha256(),
                upload.sha256
            )));
        }
        let description = about.json()?;
        let _turn = self.turn.lock().await;
        let there = self.row(&self.db, about.id()).await?;
        let there = there.map(|row| same(row, about)).transpose()?;
        // Also where the row is there: its bytes may be lost, as after a restore on another hub.
        self.objects.put_file(&key(&upload.sha256), upload.path.path()).await?;
        if let Some(row) = there {
            return row.shown();
        }
        let mut tx = self.db.write().await?;
        db::sql(
            "INSERT INTO models (name, version, sha256, size, description, uploaded_at, \
             uploaded_by) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(about.id().name.as_str())
        .bind(about.id().version.as_str())
        .bind(upload.sha256.as_str())
        .bind(i64::try_from(upload.size).unwrap_or(i64::MAX))
        .bind(description)
        .bind(Timestamp::now().micros())
        .bind(crate::api::clip(by, 100))
        .run(&mut tx)
        .await?;
        // Another hub of this database may have been first.
        let row = self.row(&mut tx, about.id()).await?;
        let row = row.ok_or_else(|| Error::internal("a row is not there after it was written"))?;
        let row = same(row, about)?;
        tx.commit().await?;
        tracing::info!(model = %about.id(), sha256 = upload.sha256, by, "a model was added");
        row.shown()
    }

    async fn row(&self, db: impl Into<On<'_>>, id: &ModelId) -> Result<Option<Row>> {
        db::joined(&["SELECT ", COLUMNS, " FROM models WHERE name = $1 AND version = $2"])
            .bind(id.name.as_str())
            .bind(id.version.as_str())
            .optional(db)
            .await
            .map_err(Error::from)
    }

    /// One page, in the order in which they came, how many match in all, and the next page's
    /// cursor.
    ///
    /// # Errors
    /// API-001 for a bad page, or the database's.
    pub async fn list(
        &self,
        name: Option<&str>,
        page: Page,
    ) -> Result<(i64, Vec<Model>, Option<i64>)> {
        let limit = page.limit()?;
        let count = db::sql("SELECT count(*) FROM models WHERE ($1 IS NULL OR name = $1)")
            .bind(name)
            .value(&self.db)
            .await?;
        let rows: Vec<Row> = db::joined(&[
            "SELECT ",
            COLUMNS,
            " FROM models WHERE ($1 IS NULL OR name = $1) AND id > $2 ORDER BY id LIMIT $3",
        ])
        .bind(name)
        .bind(page.cursor.unwrap_or(0).max(0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .all(&self.db)
        .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
        Ok((count, rows.into_iter().map(Row::shown).collect::<Result<_>>()?, next))
    }

    /// One.
    ///
    /// # Errors
    /// API-004, or the database's.
    pub async fn get(&self, id: &ModelId) -> Result<Model> {
        self.row(&self.db, id).await?.ok_or_else(|| not_found(id))?.shown()
    }

    /// Removes one, and its bytes where no other has the same.
    ///
    /// # Errors
    /// API-004, the database's or the object store's: then the bytes are removed later.
    pub async fn delete(&self, id: &ModelId) -> Result<()> {
        let _turn = self.turn.lock().await;
        let row = self.row(&self.db, id).await?.ok_or_else(|| not_found(id))?;
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM models WHERE id = $1").bind(row.id).run(&mut tx).await?;
        let others: i64 = db::sql("SELECT count(*) FROM models WHERE sha256 = $1")
            .bind(row.sha256.as_str())
            .value(&mut tx)
            .await?;
        tx.commit().await?;
        if others == 0
            && let Err(error) = self.objects.delete(&key(&row.sha256)).await
        {
            tracing::warn!(?error, model = %id, "a removed model's bytes are removed later");
        }
        Ok(())
    }

    /// A model's bytes from `offset` on.
    ///
    /// # Errors
    /// API-004 where there is no such model, API-001 for an offset behind its end, API-009 where
    /// its bytes are not to be had.
    pub async fn read(&self, id: &ModelId, offset: u64) -> Result<Reading> {
        let row = self.row(&self.db, id).await?.ok_or_else(|| not_found(id))?;
        let size = u64::try_from(row.size).unwrap_or(0);
        if offset > size {
            return Err(Error::invalid(format!("the model has only {size} bytes")));
        }
        let lost = || Error::new(Code::Unavailable, "the hub has lost the model's bytes");
        let read = self.objects.read(&key(&row.sha256), offset).await?;
        let (stored, bytes) = read.ok_or_else(lost)?;
        if stored != size {
            return Err(lost());
        }
        Ok(Reading { sha256: row.sha256, size, description: row.description, bytes })
    }

    /// Removes bytes that no row names: of an upload or a removal that was cut off in the middle.
    ///
    /// # Errors
    /// The database's or the object store's.
    pub async fn tidy(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        for object in self.objects.list(FOLDER, MAX_OBJECTS).await? {
            let Some(sha256) = object.strip_prefix("models/") else { continue };
            let named: i64 = db::sql("SELECT count(*) FROM models WHERE sha256 = $1")
                .bind(sha256)
                .value(&self.db)
                .await?;
            if named == 0 {
                self.objects.delete(&object).await?;
            }
        }
        Ok(())
    }
}

/// The row, where it is of the same model.
fn same(row: Row, about: &Description) -> Result<Row> {
    let there = Description::parse(row.description.as_bytes()).map_err(Error::internal)?;
    if row.sha256 == about.sha256() && there == *about {
        return Ok(row);
    }
    let what = if row.sha256 == about.sha256() { "another description" } else { "other bytes" };
    Err(Error::new(
        Code::Exists,
        format!("model '{}' is there already, with {what}: give it another version", about.id()),
    ))
}

/// A file that came.
struct Upload {
    path: tempfile::NamedTempFile,
    sha256: String,
    size: u64,
}
