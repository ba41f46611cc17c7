//! Pictures that devices took: bytes in the object store, a row that names them, and signed links
//! that expire.

mod draw;
mod pictures;
mod retention;
mod routes;

use std::{str::FromStr as _, sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{BlobHash, BlobHeader, DetectionId, DeviceId, Timestamp};
use ring::hmac;
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};
use url::Url;

pub use routes::routes;

use self::pictures::Label;
use crate::{
    db::{self, Db},
    error::{Code, Error, Result},
    keys::{self, Keys},
    objects::Objects,
};

/// Largest blob, bytes.
pub const MAX_BLOB_BYTES: u64 = 64 * 1024 * 1024;
/// A link's life.
const LINK_LIFE: Duration = Duration::from_secs(3600);

/// Turns in which blobs are stored and removed, by hash.
const TURNS: usize = 64;
/// Pictures that are drawn on at once.
const DRAWING: usize = 2;
/// How long one waits for its turn.
const DRAWING_WAIT: Duration = Duration::from_secs(10);

/// The blobs.
pub struct Blobs {
    db: Db,
    keys: Arc<Keys>,
    objects: Arc<Objects>,
    /// Base of the links that watchers are told; they asked for nothing that could say it.
    base: String,
    /// One that is removed is not stored at the same time: its row and its bytes would not agree.
    turns: [Mutex<()>; TURNS],
    drawing: Arc<Semaphore>,
}

/// A blob's content.
#[derive(Debug)]
pub struct Blob {
    /// Media type.
    pub content_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

fn key(device_id: &str, hash: &str) -> String {
    format!("blobs/{device_id}/{hash}")
}

impl Blobs {
    /// Over this database and object store.
    #[must_use]
    pub fn new(db: Db, keys: Arc<Keys>, objects: Arc<Objects>, public_url: Option<&Url>) -> Self {
        let base = public_url.map_or("", |url| url.as_str().trim_end_matches('/')).to_owned();
        let turns = std::array::from_fn(|_| Mutex::default());
        Self { db, keys, objects, base, turns, drawing: Arc::new(Semaphore::new(DRAWING)) }
    }

    fn turn(&self, hash: &str) -> &Mutex<()> {
        let number =
            hash.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        &self.turns[number % TURNS]
    }

    /// Stores what a device sent; durable when this returns. Repeating it changes nothing.
    ///
    /// # Errors
    /// API-001 when the bytes are not those announced.
    pub async fn put(&self, device: &DeviceId, header: &BlobHeader, bytes: Bytes) -> Result<()> {
        if bytes.len() as u64 != header.size || BlobHash::of(&bytes) != header.hash {
            return Err(Error::invalid("the bytes are not those that were announced"));
        }
        let content_type = match header.content_type.as_str() {
            known @ ("image/jpeg" | "image/png") => known,
            // A browser must not run what a device sent.
            _ => "application/octet-stream",
        };
        let hash = header.hash.to_string();
        let turn = self.turn(&hash).lock().await;
        self.objects.put(&key(device.as_str(), &hash), bytes).await?;
        let mut tx = self.db.write().await?;
        db::sql(
            "INSERT INTO blobs (device_id, hash, size, content_type, command_id, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (device_id, hash) DO UPDATE SET created_at = excluded.created_at, \
             command_id = coalesce(excluded.command_id, blobs.command_id)",
        )
        .bind(device.as_str())
        .bind(&hash)
        .bind(i64::try_from(header.size).unwrap_or(i64::MAX))
        .bind(content_type)
        .bind(header.command_id.as_ref().map(ToString::to_string))
        .bind(Timestamp::now().micros())
        .run(&mut tx)
        .await?;
        let mut replaced = Vec::new();
        if content_type.starts_with("image/") {
            replaced = pictures::note(&mut tx, device, header).await?;
        }
        tx.commit().await?;
        drop(turn);
        for old in replaced {
            // One that stays is found by the next sweep.
            if let Err(error) = self.remove_if_unnamed(device.as_str(), &old, None).await {
                tracing::warn!(%device, ?error, "a picture that was replaced is not removed");
            }
        }
        Ok(())
    }

    /// The bytes of a blob, by its hash, or of the best picture of a detected object, by its id.
    ///
    /// # Errors
    /// API-004 when there is none.
    pub async fn get(&self, device: &DeviceId, name: &str) -> Result<Blob> {
        Ok(self.open(device, name, false).await?.0)
    }

    async fn open(
        &self,
        device: &DeviceId,
        name: &str,
        with_boxes: bool,
    ) -> Result<(Blob, Vec<Label>)> {
        let missing = || Error::not_found("picture", name);
        let id = DetectionId::from_str(name).ok();
        let mut last = None;
        loop {
            let (hash, label) = match &id {
                Some(id) => pictures::best(&self.db, device, id).await?.ok_or_else(missing)?,
                None => (name.to_owned(), None),
            };
            if let Some(blob) = self.read(device, &hash).await? {
                let labels = match id {
                    None if with_boxes => pictures::labels(&self.db, device, &hash).await?,
                    _ => label.into_iter().collect(),
                };
                return Ok((blob, labels));
            }
            // A better picture may have taken the place of the one that was named.
            if id.is_none() || last.as_ref() == Some(&hash) {
                return Err(missing());
            }
            last = Some(hash);
        }
    }

    async fn read(&self, device: &DeviceId, hash: &str) -> Result<Option<Blob>> {
        let content_type: Option<String> =
            db::sql("SELECT content_type FROM blobs WHERE device_id = $1 AND hash = $2")
                .bind(device.as_str())
                .bind(hash)
                .optional_value(&self.db)
                .await?;
        let Some(content_type) = content_type else { return Ok(None) };
        let bytes = self.objects.get(&key(device.as_str(), hash)).await?;
        Ok(bytes.map(|bytes| Blob { content_type, bytes }))
    }

    /// The same as a picture with the objects drawn into it: the one that was asked for by id, or
    /// all that are known of it.
    ///
    /// # Errors
    /// As [`Self::get`], API-001 for what is no picture that can be drawn on, API-009 when too many
    /// are drawn on.
    pub async fn get_with_boxes(&self, device: &DeviceId, name: &str) -> Result<Blob> {
        let (blob, boxes) = self.open(device, name, true).await?;
        if boxes.is_empty() {
            return Ok(blob);
        }
        let busy = || Error::new(Code::Unavailable, "too many pictures are drawn on: try again");
        let place = Arc::clone(&self.drawing).acquire_owned();
        let place = timeout(DRAWING_WAIT, place).await.map_err(|_| busy())?;
        let place = place.map_err(Error::internal)?;
        let drawn = tokio::task::spawn_blocking(move || {
            // Held for as long as it is drawn, also where nobody waits for it any more.
            let _place = place;
            draw::boxes(&blob, &boxes)
        });
        let bytes = drawn.await.map_err(Error::internal)??;
        Ok(Blob { content_type: "image/jpeg".into(), bytes: bytes.into() })
    }

    /// Base of the links of those who are told without having asked.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A link for them; see [`Self::link`].
    #[must_use]
    pub fn url(&self, device_id: &str, name: &str) -> String {
        format!("{}{}", self.base, self.link(device_id, name))
    }

    /// A path, with its query, that serves a blob, or the best picture of a detected object, to
    /// anybody for an hour.
    #[must_use]
    pub fn link(&self, device_id: &str, hash: &str) -> String {
        let expires = Timestamp::now().plus(LINK_LIFE).seconds();
        let signature =
            keys::hex(hmac::sign(&self.keys.links, &signed(device_id, hash, expires)).as_ref());
        format!("/api/kubeedge/images/{device_id}/{hash}?expires={expires}&signature={signature}")
    }

    /// Whether a link's parts are what [`Self::link`] made, in time.
    #[must_use]
    pub fn link_holds(&self, device: &DeviceId, hash: &str, expires: i64, signature: &str) -> bool {
        let Some(signature) = keys::unhex(signature) else { return false };
        let text = signed(device.as_str(), hash, expires);
        hmac::verify(&self.keys.links, &text, &signature).is_ok()
            && expires > Timestamp::now().seconds()
    }

    /// Bytes stored in all.
    ///
    /// # Errors
    /// The database's.
    pub async fn bytes_stored(&self) -> Result<u64> {
        let sum: i64 = db::sql("SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs")
            .value(&self.db)
            .await?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }
}

fn signed(device_id: &str, hash: &str, expires: i64) -> Vec<u8> {
    format!("image\n{device_id}\n{hash}\n{expires}").into_bytes()
}
