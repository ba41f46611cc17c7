//! API keys: for programs. Shown once, stored as a hash, tied to a role.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use cloudcore_protocol::Timestamp;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{Auth, Caller, Grant, Role};
use crate::{
    api::Page,
    db,
    error::{Code, Error, Result},
    keys,
};

/// How a key begins, so that one is known when it is found where it should not be.
pub(super) const PREFIX: &str = "ck_";
/// How often the use of a key is noted.
const NOTED: Duration = Duration::from_secs(300);
/// Most API keys.
const MAX_KEYS: i64 = 1000;

/// An API key, as a list shows one.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyInfo {
    /// Its id, which is no secret.
    #[schema(example = "key_3f9c2a71d0b84e56")]
    pub key_id: String,
    /// For people.
    #[schema(example = "grafana")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends; null where it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was used, within five minutes.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    key_id: String,
    name: String,
    role: String,
    created_by: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl Row {
    fn info(self) -> Result<ApiKeyInfo> {
        Ok(ApiKeyInfo {
            role: self.role.parse()?,
            key_id: self.key_id,
            name: self.name,
            created_by: self.created_by,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: self.expires_at.map(Timestamp::from_micros),
            last_used_at: self.last_used_at.map(Timestamp::from_micros),
        })
    }
}

impl Auth {
    /// Makes an API key: the key, which is not seen again, and what is known of it.
    ///
    /// # Errors
    /// API-003 when there are too many.
    pub async fn create_key(
        &self,
        name: &str,
        role: Role,
        life: Option<Duration>,
        by: &Caller,
    ) -> Result<(String, ApiKeyInfo)> {
        let key = format!("{PREFIX}{}", keys::hex(&keys::random::<32>()?));
        let now = Timestamp::now();
        let info = ApiKeyInfo {
            key_id: format!("key_{}", keys::hex(&keys::random::<8>()?)),
            name: name.to_owned(),
            role,
            created_by: by.name().to_owned(),
            created_at: now,
            expires_at: life.map(|life| now.plus(life)),
            last_used_at: None,
        };
        let mut tx = self.db.write().await?;
        let count: i64 = db::sql("SELECT count(*) FROM api_keys").value(&mut tx).await?;
        if count >= MAX_KEYS {
            return Err(Error::new(
                Code::Forbidden,
                format!("there are {MAX_KEYS} API keys: delete one first"),
            ));
        }
        db::sql(
            "INSERT INTO api_keys (key_id, key_hash, name, role, created_by, created_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&info.key_id)
        .bind(keys::sha256_hex(key.as_bytes()))
        .bind(name)
        .bind(role.as_str())
        .bind(&info.created_by)
        .bind(now.micros())
        .bind(info.expires_at.map(Timestamp::micros))
        .run(&mut tx)
        .await?;
        tx.commit().await?;
        Ok((key, info))
    }

    /// One page of the API keys, oldest first; how many there are; the next page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn keys(&self, page: Page) -> Result<(i64, Vec<ApiKeyInfo>, Option<i64>)> {
        let limit = page.limit()?;
        let count = db::sql("SELECT count(*) FROM api_keys").value(&self.db).await?;
        let rows: Vec<Row> = db::sql("SELECT * FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(page.cursor.unwrap_or(0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all(&self.db)
            .await?;
        let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
        Ok((count, rows.into_iter().map(Row::info).collect::<Result<_>>()?, next))
    }

    /// Ends an API key.
    ///
    /// # Errors
    /// API-004.
    pub async fn remove_key(&self, key_id: &str) -> Result<()> {
        let mut tx = self.db.write().await?;
        let gone =
            db::sql("DELETE FROM api_keys WHERE key_id = $1").bind(key_id).run(&mut tx).await?;
        if gone == 0 {
            return Err(Error::not_found("API key", key_id));
        }
        tx.commit().await
    }

    /// Whose API key this is.
    pub(super) async fn key(&self, key: &str) -> Result<Grant> {
        // The hash of 256 random bits: looking it up by an index tells nothing of the key.
        let row: Option<Row> = db::sql("SELECT * FROM api_keys WHERE key_hash = $1")
            .bind(keys::sha256_hex(key.as_bytes()))
            .optional(&self.db)
            .await?;
        let now = Timestamp::now();
        let row = row.filter(|row| row.expires_at.is_none_or(|at| at > now.micros()));
        let Some(row) = row else {
            return Err(Error::new(Code::Unauthenticated, "the API key is not valid here"));
        };
        self.note_use(&row.key_id, now).await;
        let until = row.expires_at;
        let caller = Caller::Key { role: row.role.parse()?, key_id: row.key_id };
        Ok(Grant { caller, epoch: None, until, token: None })
    }

    pub(super) async fn has_key(&self, key_id: &str) -> Result<bool> {
        let found: i64 = db::sql("SELECT count(*) FROM api_keys WHERE key_id = $1")
            .bind(key_id)
            .value(&self.db)
            .await?;
        Ok(found > 0)
    }

    /// Notes that a key was used; a use that can't be noted is no reason to refuse it.
    async fn note_use(&self, key_id: &str, now: Timestamp) {
        let due = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let due = used.get(key_id).is_none_or(|at| at.elapsed() >= NOTED);
            if due {
                used.insert(key_id.to_owned(), Instant::now());
            }
            due
        };
        if !due {
            return;
        }
        let noted = async {
            let mut tx = self.db.write().await?;
            db::sql("UPDATE api_keys SET last_used_at = $2 WHERE key_id = $1")
                .bind(key_id)
                .bind(now.micros())
                .run(&mut tx)
                .await?;
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::warn!(key_id, ?error, "the use of an API key can't be noted");
        }
    }
}
