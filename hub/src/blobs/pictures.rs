//! Which pictures a device took, by command or by its own schedule.

use cloudcore_protocol::{BlobHeader, DeviceId, Timestamp};

use super::Blobs;
use crate::{
    db::{self, Db, Write},
    error::{Error, Result},
};

/// A picture in the list.
#[derive(Debug)]
pub struct Picture {
    /// When it was taken, by the device's clock.
    pub captured_at: Timestamp,
    /// SHA-256 of the file, hex.
    pub hash: String,
    /// Media type.
    pub content_type: String,
    /// The file's size.
    pub bytes: i64,
    /// The command that asked for it.
    pub command_id: Option<String>,
}

/// Notes a picture that is stored. Repeating it changes nothing.
pub(super) async fn note(tx: &mut Write, device: &DeviceId, header: &BlobHeader) -> Result<()> {
    let now = Timestamp::now();
    db::sql(
        "INSERT INTO pictures (device_id, captured_at, hash, command_id, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (device_id, captured_at, hash) DO NOTHING",
    )
    .bind(device.as_str())
    .bind(header.captured_at.unwrap_or(now).micros())
    .bind(header.hash.to_string())
    .bind(header.command_id.as_ref().map(ToString::to_string))
    .bind(now.micros())
    .run(tx)
    .await?;
    Ok(())
}

pub(super) async fn forget_older(db: &Db, before: Timestamp) -> Result<()> {
    let mut tx = db.write().await?;
    db::sql("DELETE FROM pictures WHERE created_at < $1")
        .bind(before.micros())
        .run(&mut tx)
        .await?;
    tx.commit().await
}

impl Blobs {
    /// A device's pictures taken before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// API-004 for a device that is not known; the database's.
    pub async fn pictures(
        &self,
        device: &DeviceId,
        before: Option<Timestamp>,
        limit: i64,
    ) -> Result<Vec<Picture>> {
        let known: i64 = db::sql("SELECT count(*) FROM devices WHERE device_id = $1")
            .bind(device.as_str())
            .value(&self.db)
            .await?;
        if known == 0 {
            return Err(Error::not_found("device", device.as_str()));
        }
        let rows: Vec<(i64, String, String, i64, Option<String>)> = db::sql(
            "SELECT p.captured_at, p.hash, b.content_type, b.size, p.command_id \
             FROM pictures p JOIN blobs b ON b.device_id = p.device_id AND b.hash = p.hash \
             WHERE p.device_id = $1 AND p.captured_at < $2 \
             ORDER BY p.captured_at DESC, p.hash LIMIT $3",
        )
        .bind(device.as_str())
        .bind(before.map_or(i64::MAX, Timestamp::micros))
        .bind(limit)
        .all(&self.db)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(captured_at, hash, content_type, bytes, command_id)| Picture {
                captured_at: Timestamp::from_micros(captured_at),
                hash,
                content_type,
                bytes,
                command_id,
            })
            .collect())
    }
}
