//! What goes when its time is over: pictures by their object and age, and bytes that nobody names.
//!
//! Everything is done in small transactions: nobody who writes waits long for it.

use std::time::Duration;

use cloudcore_protocol::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Blobs, key};
use crate::{
    db::{self, Sql},
    error::Result,
};

/// Rows that are removed at once.
const BATCH: i64 = 500;
/// Blobs that are looked at at once.
const PAGE: i64 = 1000;
/// A blob this young may be named by what is still on its way.
const GRACE: Duration = Duration::from_secs(3600);

impl Blobs {
    /// Forgets pictures that were stored before `before`, and those of detected objects that were
    /// stored before what `limit` says of their object; until `shutdown`.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_pictures(
        &self,
        before: Timestamp,
        limit: &(impl Fn(&str) -> Timestamp + Sync),
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let old = || {
            db::sql(
                "DELETE FROM pictures WHERE id IN (SELECT id FROM pictures \
                 WHERE object IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2)",
            )
            .bind(before.micros())
            .bind(BATCH)
        };
        self.in_batches(old, shutdown).await?;
        let mut last = String::new();
        while let Some(object) = self.next_object(&last).await? {
            let of_object = || {
                db::sql(
                    "DELETE FROM pictures WHERE id IN (SELECT id FROM pictures \
                     WHERE object = $1 AND created_at < $2 ORDER BY created_at LIMIT $3)",
                )
                .bind(&object)
                .bind(limit(&object).micros())
                .bind(BATCH)
            };
            self.in_batches(of_object, shutdown).await?;
            if shutdown.is_cancelled() {
                return Ok(());
            }
            last = object;
        }
        Ok(())
    }

    async fn next_object(&self, last: &str) -> Result<Option<String>> {
        Ok(db::sql("SELECT min(object) FROM pictures WHERE object IS NOT NULL AND object > $1")
            .bind(last)
            .value(&self.db)
            .await?)
    }

    async fn in_batches(
        &self,
        statement: impl Fn() -> Sql,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        while !shutdown.is_cancelled() {
            let mut tx = self.db.write().await?;
            let gone = statement().run(&mut tx).await?;
            tx.commit().await?;
            if gone == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Removes blobs that no picture and no command names; until `shutdown`. How many there were.
    ///
    /// # Errors
    /// The database's or the object store's.
    pub async fn remove_unnamed(
        &self,
        now: Timestamp,
        shutdown: &CancellationToken,
    ) -> Result<usize> {
        let micros = i64::try_from(GRACE.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.micros().saturating_sub(micros));
        let (mut device, mut hash, mut removed) = (String::new(), String::new(), 0);
        while !shutdown.is_cancelled() {
            let page: Vec<(String, String, bool)> = db::sql(
                "SELECT device_id, hash, created_at < $3 \
                 AND NOT EXISTS (SELECT 1 FROM pictures p \
                     WHERE p.device_id = b.device_id AND p.hash = b.hash) \
                 AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.command_id = b.command_id) \
                 FROM blobs b WHERE device_id > $1 OR (device_id = $1 AND hash > $2) \
                 ORDER BY device_id, hash LIMIT $4",
            )
            .bind(&device)
            .bind(&hash)
            .bind(before.micros())
            .bind(PAGE)
            .all(&self.db)
            .await?;
            let Some((last_device, last_hash, _)) = page.last().cloned() else { break };
            for (device, hash, _) in page.iter().filter(|(.., unnamed)| *unnamed) {
                removed += usize::from(self.remove_if_unnamed(device, hash, Some(before)).await?);
            }
            (device, hash) = (last_device, last_hash);
        }
        Ok(removed)
    }

    /// Removes a blob that nobody names, and that was stored before `before` where that is given.
    /// Whether it did.
    pub(super) async fn remove_if_unnamed(
        &self,
        device: &str,
        hash: &str,
        before: Option<Timestamp>,
    ) -> Result<bool> {
        let _turn = self.turn(hash).lock().await;
        let unnamed: i64 = db::sql(
            "SELECT count(*) FROM blobs b WHERE device_id = $1 AND hash = $2 AND created_at < $3 \
             AND NOT EXISTS (SELECT 1 FROM pictures p \
                 WHERE p.device_id = b.device_id AND p.hash = b.hash) \
             AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.command_id = b.command_id)",
        )
        .bind(device)
        .bind(hash)
        .bind(before.map_or(i64::MAX, Timestamp::micros))
        .value(&self.db)
        .await?;
        if unnamed == 0 {
            return Ok(false);
        }
        // The bytes first: a row without bytes is an honest 404, bytes without a row are lost.
        self.objects.delete(&key(device, hash)).await?;
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM blobs WHERE device_id = $1 AND hash = $2")
            .bind(device)
            .bind(hash)
            .run(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}
