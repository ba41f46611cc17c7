//! Contract, "Webhooks".

use std::{collections::HashSet, sync::Arc};

use axum::{Json, extract::State};
use cloudcore_protocol::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    NewWebhook, Webhooks,
    store::{self, Delivery, DeliveryState, Webhook},
};
use crate::{
    api::{Body, Done, Page, Path, Query, Refusal, to_the_end},
    auth::Admin,
    error::Error,
    live::Kind,
};

/// This room's routes.
pub fn routes(webhooks: Arc<Webhooks>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(remove))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .with_state(webhooks)
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
struct Create {
    /// Where to post, http or https. Private addresses need a setting of the hub.
    #[schema(example = "https://your-server.com/webhook", max_length = 2000)]
    url: String,
    /// What of; at least one.
    #[schema(example = json!(["device_joined", "device_left", "alert"]), min_items = 1)]
    events: Vec<Kind>,
    /// What signs the deliveries; one is made where this is absent.
    #[schema(value_type = Option<String>, example = "your-webhook-secret",
             min_length = 8, max_length = 256)]
    secret: Option<SecretString>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
struct Info {
    /// Its id.
    #[schema(example = "wh_3f9c2a71d0b84e56")]
    webhook_id: String,
    /// Where it posts.
    #[schema(example = "https://your-server.com/webhook")]
    url: String,
    /// What of.
    events: Vec<Kind>,
    /// How many deliveries wait for it, 10000 at most.
    waiting: i64,
    /// How many events were left out because so many waited.
    dropped: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Webhook> for Info {
    fn from(webhook: Webhook) -> Self {
        let mut events: Vec<_> = webhook.events.into_iter().collect();
        events.sort();
        Self {
            webhook_id: webhook.webhook_id,
            url: webhook.url,
            events,
            waiting: webhook.waiting,
            dropped: webhook.dropped,
            created_at: webhook.created_at,
        }
    }
}

/// A webhook that was made.
#[derive(Serialize, ToSchema)]
struct CreatedWebhook {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    #[serde(flatten)]
    webhook: Info,
    /// The secret, when it was made here; it is not shown again. Null for one of yours.
    secret: Option<String>,
}

/// Make a webhook
///
/// Each event is posted as `{"event", "data", "signature"}`, at least once: until the server says
/// 2xx, with growing pauses, ten times within a day at most, or until it says 410. Redirects are
/// not followed. `X-CloudCore-Signature` is `sha256=` and the HMAC-SHA-256 of the exact body under
/// the secret, in hex: check that one. The body's `signature` is the same over the bytes of `data`
/// alone. The data has the event's `timestamp` and a `delivery_id` that is the same in all attempts
/// (as is `X-CloudCore-Delivery`): refuse what you have had, and what is more than two days old.
#[utoipa::path(post, path = "/api/kubeedge/webhooks", operation_id = "create_webhook",
    tag = "Webhooks",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])), request_body = Create,
    responses((status = 200, description = "The webhook", body = CreatedWebhook)))]
async fn create(
    State(webhooks): State<Arc<Webhooks>>,
    _: Admin,
    Body(body): Body<Create>,
) -> Result<Json<CreatedWebhook>, Refusal> {
    let url: Url = (body.url.len() <= 2000)
        .then(|| body.url.parse().ok())
        .flatten()
        .ok_or_else(|| Error::invalid("url must be a URL of at most 2000 bytes"))?;
    let events: HashSet<_> = body.events.into_iter().collect();
    if events.is_empty() {
        return Err(Error::invalid("events must name at least one").into());
    }
    let length = |secret: &SecretString| secret.expose_secret().chars().count();
    if body.secret.as_ref().is_some_and(|secret| !(8..=256).contains(&length(secret))) {
        return Err(Error::invalid("secret must have 8 to 256 characters").into());
    }
    let new = NewWebhook { url, events, secret: body.secret };
    let (webhook, made) = to_the_end(async move { webhooks.create(new).await }).await?;
    Ok(Json(CreatedWebhook {
        status: "success",
        webhook: webhook.into(),
        secret: made.map(|secret| secret.expose_secret().to_owned()),
    }))
}

/// Webhooks.
#[derive(Serialize, ToSchema)]
struct List {
    /// How many there are; never more than 100.
    count: usize,
    /// All of them.
    webhooks: Vec<Info>,
}

/// List webhooks
#[utoipa::path(get, path = "/api/kubeedge/webhooks", operation_id = "list_webhooks",
    tag = "Webhooks",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "The webhooks, without their secrets", body = List)))]
async fn list(State(webhooks): State<Arc<Webhooks>>, _: Admin) -> Result<Json<List>, Refusal> {
    let all: Vec<Info> = store::all(&webhooks.db).await?.into_iter().map(Info::from).collect();
    Ok(Json(List { count: all.len(), webhooks: all }))
}

/// Delete a webhook
///
/// What it is still owed is not delivered.
#[utoipa::path(delete, path = "/api/kubeedge/webhooks/{webhook_id}", operation_id = "delete_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "Id of the webhook", max_length = 40)),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "It is deleted", body = Done)))]
async fn remove(
    State(webhooks): State<Arc<Webhooks>>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Refusal> {
    let webhook = id.clone();
    to_the_end(async move { webhooks.remove(&webhook).await }).await?;
    Ok(Json(Done::new(format!("Webhook {id} deleted"))))
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
struct Tested {
    /// `success` when the server said 2xx, else `failed`.
    #[schema(example = "success")]
    status: &'static str,
    /// What the log has it under.
    #[schema(example = "whd_0123456789abcdef01234567")]
    delivery_id: String,
    /// What the server answered.
    response_code: Option<u16>,
    /// Why it did not.
    error: Option<String>,
}

/// Post a test event now
///
/// The event is `test`; it is tried once.
#[utoipa::path(post, path = "/api/kubeedge/webhooks/{webhook_id}/test", operation_id = "test_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "Id of the webhook", max_length = 40)),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "What came of it", body = Tested)))]
async fn test(
    State(webhooks): State<Arc<Webhooks>>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<Tested>, Refusal> {
    let (delivery_id, answer) = webhooks.test(&id).await?;
    let status = if matches!(answer, Ok(200..=299)) { "success" } else { "failed" };
    let (response_code, error) = match answer {
        Ok(code) => (Some(code), None),
        Err(why) => (None, Some(why)),
    };
    Ok(Json(Tested { status, delivery_id, response_code, error }))
}

/// Which part of the log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Only those that are `pending`, `delivered` or `failed`.
    #[param(inline)]
    status: Option<DeliveryState>,
}

/// Deliveries.
#[derive(Serialize, ToSchema)]
struct Log {
    /// How many match.
    count: i64,
    /// This page of them, newest first.
    deliveries: Vec<Delivery>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// Get a webhook's deliveries
#[utoipa::path(get, path = "/api/kubeedge/webhooks/{webhook_id}/deliveries", operation_id = "list_webhook_deliveries",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "Id of the webhook", max_length = 40),
           LogQuery),
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    responses((status = 200, description = "The log", body = Log)))]
async fn deliveries(
    State(webhooks): State<Arc<Webhooks>>,
    _: Admin,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Log>, Refusal> {
    if store::target(&webhooks.db, &id).await?.is_none() {
        return Err(Error::not_found("webhook", id).into());
    }
    let page = Page { limit: query.limit, cursor: query.cursor };
    let (count, deliveries, next_cursor) =
        store::deliveries(&webhooks.db, &id, query.status, page).await?;
    Ok(Json(Log { count, deliveries, next_cursor }))
}
