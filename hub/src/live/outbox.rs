//! The durable outbox of events: what webhooks are owed. A room puts an event here in the
//! transaction that stores what the event tells of, so that neither is there without the other.

use std::collections::HashSet;

use arc_swap::ArcSwap;
use cloudcore_protocol::Timestamp;
use tokio::sync::Notify;

use super::{Kind, News, event::head};
use crate::{
    db::{self, Write},
    error::Result,
    keys,
};

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

    /// Puts an event in, for each that wants it.
    pub(super) async fn keep(&self, tx: &mut Write, news: &News) -> Result<()> {
        let subscribers = self.subscribers.load_full();
        for subscriber in subscribers.iter().filter(|s| s.events.contains(&news.kind)) {
            // The message without its first key, which the payload has beside the data.
            let data = format!("{{{}", &news.message[head(news.kind).len()..]);
            let now = Timestamp::now().micros();
            db::sql(
                "INSERT INTO webhook_deliveries \
                 (delivery_id, webhook_id, event, data, status, next_attempt_at, created_at) \
                 VALUES ($1, $2, $3, $4, 'pending', $5, $5)",
            )
            .bind(format!("whd_{}", keys::hex(&keys::random::<12>()?)))
            .bind(&subscriber.webhook_id)
            .bind(news.kind.name())
            .bind(data)
            .bind(now)
            .run(&mut *tx)
            .await?;
        }
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
