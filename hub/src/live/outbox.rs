//! The durable outbox of events: what webhooks are owed. A room puts an event here in the
//! transaction that stores what the event tells of, so that neither is there without the other.

use std::collections::HashSet;

use arc_swap::ArcSwap;
use cloudcore_protocol::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Kind, News, event::head};
use crate::{
    db::{self, Write},
    error::Result,
    keys,
};

/// Most deliveries that wait for one webhook: a server that is away for long, or too slow for what
/// it asked for, must not fill the disk.
const MAX_WAITING: i64 = 10_000;

/// Somebody that has to be told, whatever happens in between.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Its id (`wh_…`).
    pub webhook_id: String,
    /// What it wants to hear of.
    pub events: HashSet<Kind>,
}

/// The outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    subscribers: ArcSwap<Vec<Subscriber>>,
    /// Something was put in and may be committed by now.
    news: Notify,
}

impl Outbox {
    /// From now on these are owed.
    pub fn set_subscribers(&self, subscribers: Vec<Subscriber>) {
        self.subscribers.store(subscribers.into());
    }

    /// Whether anybody is owed anything.
    pub(super) fn is_wanted(&self) -> bool {
        !self.subscribers.load().is_empty()
    }

    /// Puts events in, for each that wants them and has room.
    pub(super) async fn keep(&self, tx: &mut Write, news: &[&News]) -> Result<()> {
        let mut rows = Vec::new();
        for subscriber in self.subscribers.load().iter() {
            let id = &subscriber.webhook_id;
            let wanted = news.iter().filter(|news| subscriber.events.contains(&news.kind));
            let wanted: Vec<_> = wanted.collect();
            if wanted.is_empty() {
                continue;
            }
            let room = room(tx, id).await?;
            for news in wanted.iter().take(room) {
                let delivery_id = delivery_id()?;
                let data = data(news, &delivery_id);
                rows.push(json!([delivery_id, id, news.kind.name(), data]));
            }
            if wanted.len() > room {
                dropped(tx, id, wanted.len() - room).await?;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        // Joined, since a webhook may just have been deleted.
        db::sql(
            "INSERT INTO webhook_deliveries \
             (delivery_id, webhook_id, event, data, status, next_attempt_at, created_at) \
             SELECT value->>0, w.webhook_id, value->>2, value->>3, 'pending', $2, $2 \
             FROM {rows} JOIN webhooks w ON w.webhook_id = value->>1",
        )
        .bind(Value::from(rows).to_string())
        .bind(Timestamp::now().micros())
        .run(tx)
        .await?;
        Ok(())
    }

    /// Wakes who delivers.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Returns when there may be something to deliver.
    pub async fn woken(&self) {
        self.news.notified().await;
    }
}

/// A new delivery's id, the same in all its attempts.
///
/// # Errors
/// API-007 when the operating system gives no random bytes.
pub fn delivery_id() -> Result<String> {
    Ok(format!("whd_{}", keys::hex(&keys::random::<12>()?)))
}

/// The message without its first key, which the payload has beside the data, and with the
/// delivery's id: a receiver that knows it from the signed body can refuse what it has had.
fn data(news: &News, delivery_id: &str) -> String {
    let rest = news.message.as_str().get(head(news.kind).len()..).unwrap_or_default();
    format!("{{{},\"delivery_id\":\"{delivery_id}\"}}", rest.strip_suffix('}').unwrap_or(rest))
}

/// For how many more events a webhook has room.
async fn room(tx: &mut Write, webhook_id: &str) -> Result<usize> {
    let waiting: i64 = db::sql(
        "SELECT count(*) FROM (SELECT id FROM webhook_deliveries \
         WHERE webhook_id = $1 AND status = 'pending' LIMIT $2) AS waiting",
    )
    .bind(webhook_id)
    .bind(MAX_WAITING)
    .value(tx)
    .await?;
    Ok(usize::try_from(MAX_WAITING - waiting).unwrap_or(0))
}

async fn dropped(tx: &mut Write, webhook_id: &str, events: usize) -> Result<()> {
    tracing::warn!(webhook_id, events, "a webhook's outbox is full: it is not told of these");
    db::sql("UPDATE webhooks SET dropped = dropped + $2 WHERE webhook_id = $1")
        .bind(webhook_id)
        .bind(i64::try_from(events).unwrap_or(i64::MAX))
        .run(tx)
        .await?;
    Ok(())
}
