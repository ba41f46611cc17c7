//! The webhooks' tables.

use std::{collections::HashSet, time::Duration};

use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::{
    api::Page,
    db::{self, Db, Write},
    error::{Error, Result},
    live::{Kind, Subscriber},
};

/// A webhook, without its secret.
#[derive(Debug)]
pub struct Webhook {
    /// Its id.
    pub webhook_id: String,
    /// Where it posts.
    pub url: String,
    /// What of.
    pub events: HashSet<Kind>,
    /// How many deliveries wait for it.
    pub waiting: i64,
    /// How many events found no room among them.
    pub dropped: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    webhook_id: String,
    url: String,
    events: String,
    waiting: i64,
    dropped: i64,
    created_at: i64,
}

impl Row {
    fn webhook(self) -> Result<Webhook> {
        Ok(Webhook {
            webhook_id: self.webhook_id,
            url: self.url,
            events: events(&self.events)?,
            waiting: self.waiting,
            dropped: self.dropped,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

fn events(json: &str) -> Result<HashSet<Kind>> {
    serde_json::from_str(json).map_err(Error::internal)
}

pub(super) async fn all(db: &Db) -> Result<Vec<Webhook>> {
    let rows: Vec<Row> = db::sql(
        "SELECT w.*, (SELECT count(*) FROM webhook_deliveries d \
         WHERE d.webhook_id = w.webhook_id AND d.status = 'pending') AS waiting \
         FROM webhooks w ORDER BY w.id",
    )
    .all(db)
    .await?;
    rows.into_iter().map(Row::webhook).collect()
}

pub(super) async fn subscribers(db: &Db) -> Result<Vec<Subscriber>> {
    let rows: Vec<(String, String)> =
        db::sql("SELECT webhook_id, events FROM webhooks ORDER BY id").all(db).await?;
    rows.into_iter()
        .map(|(webhook_id, json)| Ok(Subscriber { webhook_id, events: events(&json)? }))
        .collect()
}

pub(super) async fn count(tx: &mut Write) -> Result<i64> {
    Ok(db::sql("SELECT count(*) FROM webhooks").value(tx).await?)
}

pub(super) async fn insert(tx: &mut Write, webhook: &Webhook, sealed: &str) -> Result<()> {
    db::sql(
        "INSERT INTO webhooks (webhook_id, url, events, secret, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&webhook.webhook_id)
    .bind(&webhook.url)
    .bind(serde_json::to_string(&webhook.events).map_err(Error::internal)?)
    .bind(sealed)
    .bind(webhook.created_at.micros())
    .run(tx)
    .await?;
    Ok(())
}

pub(super) async fn remove(tx: &mut Write, id: &str) -> Result<bool> {
    db::sql("DELETE FROM webhook_deliveries WHERE webhook_id = $1").bind(id).run(&mut *tx).await?;
    Ok(db::sql("DELETE FROM webhooks WHERE webhook_id = $1").bind(id).run(tx).await? > 0)
}

/// Where a webhook posts, and its sealed secret.
pub(super) async fn target(db: &Db, id: &str) -> Result<Option<(String, String)>> {
    Ok(db::sql("SELECT url, secret FROM webhooks WHERE webhook_id = $1")
        .bind(id)
        .optional(db)
        .await?)
}

/// A delivery, as the log shows one.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub struct Delivery {
    #[serde(skip)]
    pub(super) id: i64,
    /// Its id, the same in all attempts.
    #[schema(example = "whd_0123456789abcdef01234567")]
    pub delivery_id: String,
    #[serde(skip)]
    pub(super) webhook_id: String,
    /// What happened.
    #[schema(example = "device_joined")]
    pub event: String,
    #[serde(skip)]
    pub(super) data: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    pub status: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<i64>,
    /// What the server answered last.
    pub response_code: Option<i64>,
    /// Why the last attempt was none.
    pub error: Option<String>,
    /// When it happened.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Option<i64>,
    /// When it was delivered or given up.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<i64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn time<S: serde::Serializer>(micros: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    micros.map(Timestamp::from_micros).serialize(serializer)
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeliveryState {
    /// It is tried, or tried again.
    Pending,
    /// The server took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One page of a webhook's log, newest first; how many match; the next page's cursor.
pub(super) async fn deliveries(
    db: &Db,
    id: &str,
    state: Option<DeliveryState>,
    page: Page,
) -> Result<(i64, Vec<Delivery>, Option<i64>)> {
    let limit = page.limit()?;
    let status = state.map(DeliveryState::as_str);
    let count = db::sql(
        "SELECT count(*) FROM webhook_deliveries \
         WHERE webhook_id = $1 AND ($2 IS NULL OR status = $2)",
    )
    .bind(id)
    .bind(status)
    .value(db)
    .await?;
    let rows: Vec<Delivery> = db::sql(
        "SELECT * FROM webhook_deliveries WHERE webhook_id = $1 \
         AND ($2 IS NULL OR status = $2) AND id < $3 ORDER BY id DESC LIMIT $4",
    )
    .bind(id)
    .bind(status)
    .bind(page.cursor.unwrap_or(i64::MAX))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .all(db)
    .await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
    Ok((count, rows, next))
}

/// Every webhook, and when the first of its deliveries is due.
pub(super) async fn next_due(db: &Db) -> Result<Vec<(String, Option<i64>)>> {
    Ok(db::sql(
        "SELECT w.webhook_id, (SELECT min(d.next_attempt_at) FROM webhook_deliveries d \
         WHERE d.webhook_id = w.webhook_id AND d.status = 'pending') \
         FROM webhooks w ORDER BY w.id",
    )
    .all(db)
    .await?)
}

/// Takes up to `most` due deliveries of a webhook, each for `lease`: who takes one and dies has
/// delayed it, not lost it.
pub(super) async fn claim(
    tx: &mut Write,
    id: &str,
    most: usize,
    lease: Duration,
) -> Result<Vec<Delivery>> {
    let now = Timestamp::now();
    Ok(db::sql(
        "UPDATE webhook_deliveries SET attempts = attempts + 1, next_attempt_at = $3 \
         WHERE id IN (SELECT id FROM webhook_deliveries WHERE webhook_id = $1 \
         AND status = 'pending' AND next_attempt_at <= $2 \
         ORDER BY next_attempt_at, id LIMIT $4) RETURNING *",
    )
    .bind(id)
    .bind(now.micros())
    .bind(now.plus(lease).micros())
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .all(tx)
    .await?)
}

/// How an attempt ended: `next` is when to try again, `None` for never. One that took longer than
/// its lease may find that another has ended it.
pub(super) async fn settle(
    tx: &mut Write,
    delivery: &Delivery,
    answer: &Result<u16, String>,
    next: Option<i64>,
) -> Result<()> {
    let (status, next) = verdict(answer, next);
    db::sql(
        "UPDATE webhook_deliveries SET status = $2, response_code = $3, error = $4, \
         next_attempt_at = $5, completed_at = $6 WHERE id = $1 AND status = 'pending'",
    )
    .bind(delivery.id)
    .bind(status)
    .bind(answer.as_ref().ok().map(|code| i64::from(*code)))
    .bind(answer.as_ref().err())
    .bind(next)
    .bind(next.is_none().then(|| Timestamp::now().micros()))
    .run(tx)
    .await?;
    Ok(())
}

fn verdict(answer: &Result<u16, String>, next: Option<i64>) -> (&'static str, Option<i64>) {
    let (state, next) = match (answer, next) {
        (Ok(200..=299), _) => (DeliveryState::Delivered, None),
        (_, Some(next)) => (DeliveryState::Pending, Some(next)),
        (_, None) => (DeliveryState::Failed, None),
    };
    (state.as_str(), next)
}

/// Notes a delivery that was tried once and has ended.
pub(super) async fn note(
    tx: &mut Write,
    delivery: &Delivery,
    answer: &Result<u16, String>,
) -> Result<()> {
    db::sql(
        "INSERT INTO webhook_deliveries (delivery_id, webhook_id, event, data, status, attempts, \
         response_code, error, created_at, completed_at) \
         SELECT $2, w.webhook_id, $3, $4, $5, 1, $6, $7, $8, $9 \
         FROM webhooks w WHERE w.webhook_id = $1",
    )
    .bind(&delivery.webhook_id)
    .bind(&delivery.delivery_id)
    .bind(&delivery.event)
    .bind(&delivery.data)
    .bind(verdict(answer, None).0)
    .bind(answer.as_ref().ok().map(|code| i64::from(*code)))
    .bind(answer.as_ref().err())
    .bind(delivery.created_at)
    .bind(Timestamp::now().micros())
    .run(tx)
    .await?;
    Ok(())
}

/// Removes what was completed before `before`.
pub(super) async fn forget(tx: &mut Write, before: Timestamp) -> Result<()> {
    db::sql("DELETE FROM webhook_deliveries WHERE completed_at < $1")
        .bind(before.micros())
        .run(tx)
        .await?;
    Ok(())
}

/// Removes of a webhook's completed deliveries all but the `newest`.
pub(super) async fn trim(tx: &mut Write, id: &str, newest: i64) -> Result<()> {
    db::sql(
        "DELETE FROM webhook_deliveries \
         WHERE webhook_id = $1 AND completed_at IS NOT NULL AND id <= \
         (SELECT id FROM webhook_deliveries WHERE webhook_id = $1 AND completed_at IS NOT NULL \
          ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(id)
    .bind(newest)
    .run(tx)
    .await?;
    Ok(())
}
