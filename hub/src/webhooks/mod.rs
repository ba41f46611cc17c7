//! Webhooks: events, posted to other people's servers, signed, at least once.
//!
//! What is owed stands in the outbox of [`crate::live`], written with the event itself. Here it is
//! delivered: again with growing pauses until the server says 2xx, and for a day at most. Never to
//! an address of the hub's own network, unless a setting says so, and never along a redirect.

mod address;
mod deliver;
mod routes;
mod store;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use url::Url;

pub use routes::routes;

use crate::{
    db::Db,
    error::{Code, Error, Result},
    keys::{self, Keys},
    live::{Bus, Kind},
};
use address::Resolver;

/// Most webhooks.
const MAX_WEBHOOKS: i64 = 100;
/// Completed deliveries that a webhook's log keeps.
const MAX_LOG: i64 = 10_000;
/// Longest request, all told.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The webhooks.
pub struct Webhooks {
    db: Db,
    keys: Arc<Keys>,
    bus: Arc<Bus>,
    /// Held while they are read again, so that what was read last stands.
    reloading: Mutex<()>,
    client: reqwest::Client,
    allow_private: bool,
}

/// A webhook that is asked for.
#[derive(Debug)]
pub struct NewWebhook {
    /// Where to post.
    pub url: Url,
    /// What of.
    pub events: HashSet<Kind>,
    /// What signs; one is made where there is none.
    pub secret: Option<SecretString>,
}

impl Webhooks {
    /// Over this database. `allow_private` lets them reach the hub's own network.
    ///
    /// # Errors
    /// API-007 when there can be no client, or the database's.
    pub async fn open(db: Db, keys: Arc<Keys>, bus: Arc<Bus>, allow_private: bool) -> Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("cloudcore-hub/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Resolver { allow_private }))
            .build()
            .map_err(Error::internal)?;
        let webhooks = Self { db, keys, bus, reloading: Mutex::default(), client, allow_private };
        webhooks.reload().await?;
        Ok(webhooks)
    }

    /// Takes over the webhooks that the database holds now.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<()> {
        let _alone = self.reloading.lock().await;
        self.bus.outbox().set_subscribers(store::subscribers(&self.db).await?);
        Ok(())
    }

    /// Makes a webhook; its secret is returned when it was made here, the only time it is seen.
    ///
    /// # Errors
    /// API-001 for an address that is not allowed, API-003 when there are too many.
    pub async fn create(&self, new: NewWebhook) -> Result<(store::Webhook, Option<SecretString>)> {
        if let Some(why) = address::refusal(&new.url, self.allow_private) {
            return Err(Error::invalid(why));
        }
        let made = match &new.secret {
            Some(_) => None,
            None => Some(SecretString::from(keys::hex(&keys::random::<32>()?))),
        };
        let secret = new.secret.as_ref().or(made.as_ref());
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let webhook = store::Webhook {
            webhook_id: format!("wh_{}", keys::hex(&keys::random::<8>()?)),
            url: new.url.to_string(),
            events: new.events,
            waiting: 0,
            dropped: 0,
            created_at: Timestamp::now(),
        };
        let sealed = self.keys.seal.seal(&context(&webhook.webhook_id), secret.as_bytes())?;
        let mut tx = self.db.write().await?;
        if store::count(&mut tx).await? >= MAX_WEBHOOKS {
            return Err(Error::new(
                Code::Forbidden,
                format!("there are {MAX_WEBHOOKS} webhooks: delete one first"),
            ));
        }
        store::insert(&mut tx, &webhook, &sealed).await?;
        tx.commit().await?;
        self.reload().await?;
        Ok((webhook, made))
    }

    /// Removes a webhook and what it is owed.
    ///
    /// # Errors
    /// API-004.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let mut tx = self.db.write().await?;
        if !store::remove(&mut tx, id).await? {
            return Err(Error::not_found("webhook", id));
        }
        tx.commit().await?;
        self.reload().await
    }

    /// Forgets deliveries that were completed before `before`, and the oldest where there are many.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.db.write().await?;
        store::forget(&mut tx, before).await?;
        tx.commit().await?;
        for webhook in store::subscribers(&self.db).await? {
            let mut tx = self.db.write().await?;
            store::trim(&mut tx, &webhook.webhook_id, MAX_LOG).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// What the secret of a webhook is sealed for.
#[must_use]
pub fn context(webhook_id: &str) -> String {
    format!("webhook {webhook_id}")
}
