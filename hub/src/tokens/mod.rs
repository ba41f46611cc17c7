//! Join tokens: issued for one node, shown once, stored as a hash, redeemed once.

mod routes;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{DeviceId, JoinRefusal, JoinToken, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

pub use routes::{join_command, routes};

use crate::{
    api::Page,
    db::{self, Db, Write},
    error::{Error, Result},
    keys::{self, JwtError, Keys},
    pki::Pki,
    settings::Settings,
};

/// A token that was just made: the only time it is seen.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: JoinToken,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a token is asked to be.
#[derive(Debug)]
pub struct NewToken {
    /// The only node it lets in.
    pub node_name: NodeName,
    /// The device that node will be, where that is settled.
    pub device_id: Option<DeviceId>,
    /// Its life.
    pub life: Duration,
    /// Why, for people.
    pub description: Option<String>,
    /// Whether the node may join with it again until it expires.
    pub reusable: bool,
}

/// How a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenStatus {
    /// It lets its node in.
    Active,
    /// Its node has joined with it.
    Used,
    /// Its time is over.
    Expired,
    /// An operator withdrew it.
    Revoked,
}

/// A token, as the API lists one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenInfo {
    /// The only node it lets in.
    #[schema(example = "edge-node-001")]
    pub node_name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// How it stands.
    #[schema(example = "active")]
    pub status: TokenStatus,
    /// The device, where that is settled.
    #[schema(example = "edge-device-001")]
    pub device_id: Option<String>,
    /// Why, for people.
    pub description: Option<String>,
    /// Whether the node may join with it again until it expires.
    pub reusable: bool,
    #[serde(skip)]
    #[schema(ignore)]
    id: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    exp: i64,
    sub: String,
    jti: String,
}

/// Why a token does not let a node in, and in words.
#[derive(Debug)]
pub struct NotRedeemed(pub JoinRefusal, pub &'static str);

/// The join tokens.
pub struct Tokens {
    db: Db,
    keys: Arc<Keys>,
    pki: Arc<Pki>,
    /// `HOST:PORT` that the join command names.
    advertised: String,
    settings: Arc<Settings>,
}

impl Tokens {
    /// Over this database; `advertised` is where nodes reach the hub.
    #[must_use]
    pub fn new(
        db: Db,
        keys: Arc<Keys>,
        pki: Arc<Pki>,
        advertised: String,
        settings: Arc<Settings>,
    ) -> Self {
        Self { db, keys, pki, advertised, settings }
    }

    /// Where nodes reach the hub, `HOST:PORT`.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Life of a token where nothing else is asked for.
    #[must_use]
    pub fn default_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.live().token_expiry) * 3600)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The database's.
    pub async fn issue(&self, new: &NewToken) -> Result<Issued> {
        self.settings.check_open()?;
        let mut tx = self.db.write().await?;
        let issued = self.issue_in(&mut tx, new).await?;
        tx.commit().await?;
        Ok(issued)
    }

    /// Makes a token as part of a larger change.
    ///
    /// # Errors
    /// The database's.
    pub async fn issue_in(&self, tx: &mut Write, new: &NewToken) -> Result<Issued> {
        let now = Timestamp::now();
        // A JWT counts whole seconds; what is shown is what binds.
        let exp = now.plus(new.life).seconds();
        let expires_at = Timestamp::from_micros(exp * 1_000_000);
        let jwt = self.keys.join_tokens.sign(&Claims {
            exp,
            sub: new.node_name.to_string(),
            jti: keys::hex(&keys::random::<16>()?),
        })?;
        let hash = keys::sha256_hex(jwt.as_bytes());
        let token = self.pki.join_token(jwt)?;
        db::sql(
            "INSERT INTO tokens \
             (token_hash, node_name, device_id, description, reusable, expires_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(hash)
        .bind(new.node_name.as_str())
        .bind(new.device_id.as_ref().map(DeviceId::as_str))
        .bind(new.description.as_deref())
        .bind(new.reusable)
        .bind(expires_at.micros())
        .bind(now.micros())
        .run(&mut *tx)
        .await?;
        Ok(Issued { token, expires_at })
    }

    /// Uses a token up for `node` with the key that has this hash, and says which device the
    /// token is for. The same key may repeat it: a node whose answer was lost asks again.
    ///
    /// # Errors
    /// The database's; the inner one when the token does not let that node in.
    pub async fn redeem(
        &self,
        tx: &mut Write,
        jwt: &str,
        node: &NodeName,
        key_hash: &str,
    ) -> Result<Result<Option<DeviceId>, NotRedeemed>> {
        let refuse = |reason, words| Ok(Err(NotRedeemed(reason, words)));
        let expired = match self.keys.join_tokens.verify::<Claims>(jwt) {
            Ok(claims) if claims.sub == node.as_str() => false,
            Ok(_) => {
                return refuse(JoinRefusal::WrongNode, "the token belongs to another node");
            }
            Err(JwtError::Expired) => true,
            Err(JwtError::Invalid) => {
                return refuse(JoinRefusal::InvalidToken, "the token is not one of this hub");
            }
        };
        let found = db::sql("SELECT * FROM tokens WHERE token_hash = $1 AND node_name = $2")
            .bind(keys::sha256_hex(jwt.as_bytes()))
            .bind(node.as_str())
            .optional::<Stored>(&mut *tx)
            .await?;
        let Some(row) = found else {
            return refuse(JoinRefusal::InvalidToken, "the token is not known to this hub");
        };
        if row.revoked_at.is_some() {
            return refuse(JoinRefusal::Revoked, "the token was revoked");
        }
        if expired {
            return refuse(JoinRefusal::Expired, "the token has expired");
        }
        let repeat = row.used_by_key.as_deref() == Some(key_hash);
        if row.used && !row.reusable && !repeat {
            return refuse(JoinRefusal::Used, "the token has been used");
        }
        db::sql("UPDATE tokens SET used = TRUE, used_at = $2, used_by_key = $3 WHERE id = $1")
            .bind(row.id)
            .bind(Timestamp::now().micros())
            .bind(key_hash)
            .run(&mut *tx)
            .await?;
        let device = row.device_id.map(DeviceId::try_from).transpose().map_err(Error::internal)?;
        Ok(Ok(device))
    }

    /// One page of the tokens, newest first; how many match in all; the next page's cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub async fn list(
        &self,
        page: Page,
        node_name: Option<&NodeName>,
    ) -> Result<(i64, Vec<TokenInfo>, Option<i64>)> {
        let limit = page.limit()?;
        let node = node_name.map(NodeName::as_str);
        let count: i64 = db::sql("SELECT count(*) FROM tokens WHERE $1 IS NULL OR node_name = $1")
            .bind(node)
            .value(&self.db)
            .await?;
        let rows: Vec<Stored> = db::sql(
            "SELECT * FROM tokens WHERE ($1 IS NULL OR node_name = $1) AND id < $2 \
             ORDER BY id DESC LIMIT $3",
        )
        .bind(node)
        .bind(page.cursor.unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .all(&self.db)
        .await?;
        let tokens = rows.into_iter().map(Stored::info).collect::<Vec<_>>();
        let next = (tokens.len() == limit).then(|| tokens.last().map(|t| t.id)).flatten();
        Ok((count, tokens, next))
    }

    /// Withdraws all tokens of a node, as part of a larger change; how many there were. Used ones
    /// too: the key that used one may repeat it.
    ///
    /// # Errors
    /// The database's.
    pub async fn revoke_in(&self, tx: &mut Write, node_name: &str) -> Result<u64> {
        let now = Timestamp::now().micros();
        let done = db::sql(
            "UPDATE tokens SET revoked_at = $2 WHERE node_name = $1 AND revoked_at IS NULL",
        )
        .bind(node_name)
        .bind(now)
        .run(&mut *tx)
        .await?;
        Ok(done)
    }

    /// Whether the node ever had a token.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_any(&self, tx: &mut Write, node_name: &str) -> Result<bool> {
        let known: i64 = db::sql("SELECT count(*) FROM tokens WHERE node_name = $1")
            .bind(node_name)
            .value(&mut *tx)
            .await?;
        Ok(known > 0)
    }
}

#[derive(FromRow)]
struct Stored {
    id: i64,
    node_name: String,
    device_id: Option<String>,
    description: Option<String>,
    reusable: bool,
    expires_at: i64,
    used: bool,
    used_by_key: Option<String>,
    revoked_at: Option<i64>,
    created_at: i64,
}

impl Stored {
    fn info(self) -> TokenInfo {
        let expires_at = Timestamp::from_micros(self.expires_at);
        let status = if self.revoked_at.is_some() {
            TokenStatus::Revoked
        } else if self.used && !self.reusable {
            TokenStatus::Used
        } else if expires_at <= Timestamp::now() {
            TokenStatus::Expired
        } else {
            TokenStatus::Active
        };
        TokenInfo {
            id: self.id,
            node_name: self.node_name,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at,
            status,
            device_id: self.device_id,
            description: self.description,
            reusable: self.reusable,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

    use super::*;

    #[tokio::test]
    async fn a_token_ends_with_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("hub.db")).await.unwrap();
        let keys = Arc::new(Keys::load(dir.path()).unwrap());
        let pki = Arc::new(Pki::load(dir.path(), Duration::from_secs(60)).unwrap());
        let settings = Settings::load(db.clone(), crate::settings::Live::default()).await.unwrap();
        let tokens = Tokens::new(db.clone(), keys, pki, "hub:10000".into(), Arc::new(settings));
        let node: NodeName = "edge-1".parse().unwrap();
        let issue = async |seconds| {
            let life = Duration::from_secs(seconds);
            let (node_name, device_id, description) = (node.clone(), None, None);
            let new = NewToken { node_name, device_id, life, description, reusable: false };
            tokens.issue(&new).await.unwrap().token
        };
        let (over, good) = (issue(0).await, issue(3600).await);
        let redeem = async |token: &JoinToken| {
            let mut tx = db.write().await.unwrap();
            let redeemed = tokens.redeem(&mut tx, token.expose_jwt(), &node, "key").await.unwrap();
            redeemed.map_err(|refusal| refusal.0)
        };
        assert_eq!(redeem(&over).await, Err(JoinRefusal::Expired));
        let (_, listed, _) = tokens.list(Page::default(), None).await.unwrap();
        let status: Vec<_> = listed.iter().map(|token| token.status).collect();
        assert_eq!(status, [TokenStatus::Active, TokenStatus::Expired]);

        // The key that used a token may repeat it, until it is revoked.
        for key in ["key", "key"] {
            let mut tx = db.write().await.unwrap();
            let redeemed = tokens.redeem(&mut tx, good.expose_jwt(), &node, key).await.unwrap();
            assert!(redeemed.is_ok());
            tx.commit().await.unwrap();
        }
        let mut tx = db.write().await.unwrap();
        assert_eq!(tokens.revoke_in(&mut tx, node.as_str()).await.unwrap(), 2);
        tx.commit().await.unwrap();
        assert_eq!(redeem(&good).await, Err(JoinRefusal::Revoked));
    }
}
