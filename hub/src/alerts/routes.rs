//! `GET /api/kubeedge/alerts`: what is active, and what was.

use axum::{Json, extract::State};
use cloudcore_protocol::{DeviceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Filter, Listed, MAX_KIND, level, list};
use crate::{
    api::{Page, Query, Refusal},
    auth::Viewer,
    db::Db,
    error::Error,
};

/// This room's routes.
pub fn routes(db: Db) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(alerts)).with_state(db)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Rows at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Those that have not ended, or those that have.
    active: Option<bool>,
    /// Of this device.
    #[param(value_type = Option<String>, min_length = 1, max_length = 100,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    device_id: Option<DeviceId>,
    /// Of this type.
    #[serde(rename = "type")]
    #[param(rename = "type", max_length = 50, pattern = "^[a-z0-9_]+$", example = "high_cpu")]
    kind: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct AlertList {
    /// How many match.
    #[schema(minimum = 0)]
    count: i64,
    alerts: Vec<ListedAlert>,
    /// `cursor` of the next page, if there may be one.
    next_cursor: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct ListedAlert {
    device_id: String,
    /// `high_cpu`, `high_memory`, `high_temperature`, `disk_full`, `offline`, `camera_lost`,
    /// `outbox_full`, `certificate_expiring`; more may come.
    #[serde(rename = "type")]
    #[schema(rename = "type", example = "high_cpu")]
    kind: String,
    /// `critical` or `warning` while it is active, `info` once it has ended; as in the events.
    #[schema(value_type = String, example = "warning")]
    level: &'static str,
    /// For people.
    #[schema(example = "CPU usage > 90% for 5 minutes")]
    message: String,
    /// Whether it has not ended.
    active: bool,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The same.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Listed> for ListedAlert {
    fn from(row: Listed) -> Self {
        Self {
            level: level(&row.kind, row.ended_at.is_none()),
            device_id: row.device_id,
            kind: row.kind,
            message: row.message,
            active: row.ended_at.is_none(),
            timestamp: Timestamp::from_micros(row.started_at),
            started_at: Timestamp::from_micros(row.started_at),
            ended_at: row.ended_at.map(Timestamp::from_micros),
        }
    }
}

/// List alerts, newest first
#[utoipa::path(get, path = "/api/kubeedge/alerts", operation_id = "list_alerts", tag = "Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(Wanted),
    responses((status = 200, description = "One page of the alerts", body = AlertList,
        example = json!({
            "count": 1,
            "alerts": [{
                "device_id": "camera-001", "type": "high_cpu", "level": "warning",
                "message": "CPU usage > 90% for 5 minutes", "active": true,
                "timestamp": "2024-01-15T10:25:00Z", "started_at": "2024-01-15T10:25:00Z",
                "ended_at": null
            }],
            "next_cursor": null
        })))
)]
async fn alerts(
    State(db): State<Db>,
    _: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Json<AlertList>, Refusal> {
    let term = |kind: &String| {
        (1..=MAX_KIND).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if wanted.kind.as_ref().is_some_and(|kind| !term(kind)) {
        return Err(Error::invalid("type must be a term such as high_cpu").into());
    }
    let filter = Filter {
        page: Page { limit: wanted.limit, cursor: wanted.cursor },
        active: wanted.active,
        device_id: wanted.device_id.map(|id| id.as_str().to_owned()),
        kind: wanted.kind,
    };
    let (count, rows) = list(&db, &filter).await?;
    let full = rows.len() == filter.page.limit()?;
    let next_cursor = rows.last().filter(|_| full).map(|row| row.id);
    Ok(Json(AlertList { count, alerts: rows.into_iter().map(Into::into).collect(), next_cursor }))
}
