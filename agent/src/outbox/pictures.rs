//! Pictures of the schedule, kept until the hub has them.

use bytes::Bytes;
use cloudcore_protocol::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{Outbox, OutboxError};

/// A picture that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its number; a later one has a larger.
    pub id: i64,
    /// When it was taken, by this machine's clock.
    pub captured_at: Timestamp,
    /// Media type.
    pub content_type: String,
    /// The file.
    pub bytes: Bytes,
}

impl Outbox {
    /// Keeps a picture.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn keep_picture(
        &self,
        captured_at: Timestamp,
        content_type: &'static str,
        bytes: Bytes,
    ) -> Result<(), OutboxError> {
        self.thread
            .call(move |db| {
                db.prepare_cached(
                    "INSERT INTO picture (captured_at, content_type, bytes, ran) VALUES \
                     (?1, ?2, ?3, (SELECT value FROM meta WHERE key = 'ran_seconds'))",
                )?
                .execute(params![captured_at.micros(), content_type, bytes.as_ref()])
                .map(drop)
            })
            .await
    }

    /// The oldest picture that waits.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn next_picture(&self) -> Result<Option<Picture>, OutboxError> {
        self.thread
            .call(|db| {
                db.prepare_cached(
                    "SELECT id, captured_at, content_type, bytes FROM picture ORDER BY id LIMIT 1",
                )?
                .query_row([], |row| {
                    Ok(Picture {
                        id: row.get(0)?,
                        captured_at: Timestamp::from_micros(row.get(1)?),
                        content_type: row.get(2)?,
                        bytes: row.get::<_, Vec<u8>>(3)?.into(),
                    })
                })
                .optional()
            })
            .await
    }

    /// Deletes a picture that the hub has, or does not want.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn delivered_picture(&self, id: i64) -> Result<(), OutboxError> {
        self.thread
            .call(move |db| {
                db.prepare_cached("DELETE FROM picture WHERE id = ?1")?.execute([id]).map(drop)
            })
            .await
    }
}
