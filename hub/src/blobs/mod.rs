//! Pictures that devices took: bytes in the object store, a row that names them, and signed links
//! that expire.

mod pictures;
mod routes;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cloudcore_protocol::{BlobHash, BlobHeader, DeviceId, Timestamp};
use ring::hmac;

pub use routes::routes;

use crate::{
    db::{self, Db},
    error::{Error, Result},
    keys::{self, Keys},
    objects::Objects,
};

/// Largest blob, bytes.
pub const MAX_BLOB_BYTES: u64 = 64 * 1024 * 1024;
/// A link's life.
const LINK_LIFE: Duration = Duration::from_secs(3600);

/// The blobs.
pub struct Blobs {
    db: Db,
    keys: Arc<Keys>,
    objects: Arc<Objects>,
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
    pub fn new(db: Db, keys: Arc<Keys>, objects: Arc<Objects>) -> Self {
        Self { db, keys, objects }
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
        self.objects.put(&key(device.as_str(), &hash), bytes).await?;
        let mut tx = self.db.write().await?;
        db::sql(
            "INSERT INTO blobs (device_id, hash, size, content_type, command_id, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (device_id, hash) DO UPDATE SET created_at = excluded.created_at",
        )
        .bind(device.as_str())
        .bind(hash)
        .bind(i64::try_from(header.size).unwrap_or(i64::MAX))
        .bind(content_type)
        .bind(header.command_id.as_ref().map(ToString::to_string))
        .bind(Timestamp::now().micros())
        .run(&mut tx)
        .await?;
        if content_type.starts_with("image/") {
            pictures::note(&mut tx, device, header).await?;
        }
        tx.commit().await
    }

    /// A blob's bytes.
    ///
    /// # Errors
    /// API-004 when there is none.
    pub async fn get(&self, device: &DeviceId, hash: &str) -> Result<Blob> {
        let missing = || Error::not_found("picture", hash);
        let content_type: String =
            db::sql("SELECT content_type FROM blobs WHERE device_id = $1 AND hash = $2")
                .bind(device.as_str())
                .bind(hash)
                .optional_value(&self.db)
                .await?
                .ok_or_else(missing)?;
        let bytes = self.objects.get(&key(device.as_str(), hash)).await?.ok_or_else(missing)?;
        Ok(Blob { content_type, bytes })
    }

    /// A path, with its query, that serves the blob to anybody for an hour.
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

    /// Removes what is older than `before`; how many there were.
    ///
    /// # Errors
    /// The database's or the object store's.
    pub async fn remove_older(&self, before: Timestamp) -> Result<usize> {
        pictures::forget_older(&self.db, before).await?;
        let old: Vec<(String, String)> =
            db::sql("SELECT device_id, hash FROM blobs WHERE created_at < $1 LIMIT 1000")
                .bind(before.micros())
                .all(&self.db)
                .await?;
        for (device, hash) in &old {
            // The bytes first: a row without bytes is an honest 404, bytes without a row are lost.
            self.objects.delete(&key(device, hash)).await?;
            let mut tx = self.db.write().await?;
            db::sql("DELETE FROM blobs WHERE device_id = $1 AND hash = $2")
                .bind(device)
                .bind(hash)
                .run(&mut tx)
                .await?;
            tx.commit().await?;
        }
        Ok(old.len())
    }
}

fn signed(device_id: &str, hash: &str, expires: i64) -> Vec<u8> {
    format!("image\n{device_id}\n{hash}\n{expires}").into_bytes()
}
