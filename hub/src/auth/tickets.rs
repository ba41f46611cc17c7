//! Tickets: what a browser puts into the URL of a stream, where it can't send a header. One is
//! good for a minute and for one use, so that a URL in a log opens nothing.

use std::time::Duration;

use cloudcore_protocol::Timestamp;

use super::{Auth, Grant};
use crate::{
    db,
    error::{Code, Error, Result},
    keys,
};

/// A ticket's life.
const LIFE: Duration = Duration::from_secs(60);

impl Auth {
    /// A ticket that stands for `grant`, and when it ends.
    ///
    /// # Errors
    /// The database's.
    pub async fn issue_ticket(&self, grant: &Grant) -> Result<(String, Timestamp)> {
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
            .bind(serde_json::to_string(grant).map_err(Error::internal)?)
            .bind(expires_at.micros())
            .run(&mut tx)
            .await?;
        tx.commit().await?;
        Ok((ticket, expires_at))
    }

    /// Uses a ticket up: what it stood for.
    ///
    /// # Errors
    /// API-002 for one that is used, over or none.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Grant> {
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
        let grant: Grant = serde_json::from_str(&identity).map_err(Error::internal)?;
        if self.holds(&grant).await? { Ok(grant) } else { Err(refused()) }
    }
}
