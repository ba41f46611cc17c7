//! Tickets: what a browser puts into the URL of a stream, where it can't send a header. One is
//! good for a minute and for one use, so that a URL in a log opens nothing.

use std::time::Duration;

use cloudcore_protocol::Timestamp;

use super::{Auth, Caller, users};
use crate::{
    db,
    error::{Code, Error, Result},
    keys,
};

/// A ticket's life.
const LIFE: Duration = Duration::from_secs(60);

impl Auth {
    /// A ticket for `caller`, and when it ends.
    ///
    /// # Errors
    /// The database's.
    pub async fn issue_ticket(&self, caller: &Caller) -> Result<(String, Timestamp)> {
        let ticket = keys::hex(&keys::random::<24>()?);
        let now = Timestamp::now();
        let expires_at = now.plus(LIFE);
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM tickets WHERE expires_at < $1")
            .bind(now.micros())
            .run(&mut tx)
            .await?;
        db::sql("INSERT INTO tickets (ticket_hash, identity, expires_at) VALUES ($1, $2, $3)")
            .bind(keys::sha256_hex(ticket.as_bytes()))
            .bind(serde_json::to_string(caller).map_err(Error::internal)?)
            .bind(expires_at.micros())
            .run(&mut tx)
            .await?;
        tx.commit().await?;
        Ok((ticket, expires_at))
    }

    /// Uses a ticket up: whose it was.
    ///
    /// # Errors
    /// API-002 for one that is used, over or none.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Caller> {
        let refused = || Error::new(Code::Unauthenticated, "the ticket is not valid, or was used");
        let mut tx = self.db.write().await?;
        let identity: Option<String> = db::sql(
            "DELETE FROM tickets WHERE ticket_hash = $1 AND expires_at > $2 RETURNING identity",
        )
        .bind(keys::sha256_hex(ticket.as_bytes()))
        .bind(Timestamp::now().micros())
        .optional_value(&mut tx)
        .await?;
        tx.commit().await?;
        let identity = identity.ok_or_else(refused)?;
        match serde_json::from_str(&identity).map_err(Error::internal)? {
            Caller::User(user) => match users::by_id(&self.db, user.id).await? {
                Some(row) if !row.disabled => Ok(Caller::User(row.user()?)),
                _ => Err(refused()),
            },
            key @ Caller::Key { .. } => Ok(key),
        }
    }
}
