//! Contract, "10. Backup & Restore".

use std::sync::Arc;

use axum::{Json, extract::State};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{BackupInfo, Backups, Include, Order, Restoration, default_name};
use crate::{
    api::{Body, Done, OptionalBody, Page, Path, Query, Refusal, to_the_end},
    auth::Admin,
    error::{Error, Result},
};

/// This room's routes.
pub fn routes(backups: Arc<Backups>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(delete))
        .routes(routes!(restore))
        .with_state(backups)
}

/// A backup that is wanted.
#[derive(Default, Deserialize, utoipa::ToSchema)]
struct NewBackup {
    /// Its name; the time where absent.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_-]+$",
        example = "backup-20240115"
    )]
    name: Option<String>,
    /// What it holds; `config`, `tokens` and `devices` where absent.
    #[schema(min_items = 1)]
    include: Option<Vec<Include>>,
    /// Why, for people.
    #[schema(max_length = 500, example = "Daily backup")]
    description: Option<String>,
    /// What opens it, also on another hub; this hub's own key where absent.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 1024)]
    passphrase: Option<SecretString>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct CreatedBackup {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    #[serde(flatten)]
    backup: BackupInfo,
}

/// Characters.
const MAX_PASSPHRASE: usize = 1024;

fn check_passphrase(passphrase: Option<&SecretString>) -> Result<()> {
    match passphrase.map(|passphrase| passphrase.expose_secret().chars().count()) {
        None | Some(8..=MAX_PASSPHRASE) => Ok(()),
        Some(_) => Err(Error::invalid("passphrase must be 8 to 1024 characters")),
    }
}

/// Make a backup
///
/// It is listed once it is whole; one that takes longer than an answer goes on.
#[utoipa::path(post, path = "/api/kubeedge/backup", operation_id = "create_backup", tag = "Backup",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    request_body(content = Option<NewBackup>, example = json!({
        "name": "backup-20240115", "include": ["config", "tokens", "devices"],
        "description": "Daily backup"
    })),
    responses((status = 200, description = "The backup", body = CreatedBackup, example = json!({
        "status": "success", "backup_id": "backup_20240115", "name": "backup-20240115",
        "description": "Daily backup", "include": ["config", "tokens", "devices"],
        "size": "45MB", "size_bytes": 45_000_000,
        "location": "s3://kubeedge-backups/backups/backup_20240115.tar.zst",
        "sealed_by": "hub", "created_at": "2024-01-15T10:30:00Z"
    })))
)]
async fn create(
    State(backups): State<Arc<Backups>>,
    _: Admin,
    OptionalBody(body): OptionalBody<NewBackup>,
) -> Result<Json<CreatedBackup>, Refusal> {
    check_passphrase(body.passphrase.as_ref())?;
    if body.description.as_ref().is_some_and(|text| text.chars().count() > 500) {
        return Err(Error::invalid("description must have at most 500 characters").into());
    }
    let mut include = body.include.unwrap_or_else(|| Include::DEFAULT.to_vec());
    include.sort_unstable();
    include.dedup();
    if include.is_empty() {
        return Err(Error::invalid("include must name something").into());
    }
    let order = Order {
        name: body.name.unwrap_or_else(default_name),
        description: body.description,
        include,
        passphrase: body.passphrase,
    };
    let backup = to_the_end(async move { backups.create(order).await }).await?;
    Ok(Json(CreatedBackup { status: "success", backup }))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Rows at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 64)]
    cursor: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct BackupList {
    /// How many there are.
    count: usize,
    /// By id.
    backups: Vec<BackupInfo>,
    /// `cursor` of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// List backups
#[utoipa::path(get, path = "/api/kubeedge/backups", operation_id = "list_backups", tag = "Backup",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    params(ListQuery),
    responses((status = 200, description = "One page of the backups", body = BackupList))
)]
async fn list(
    State(backups): State<Arc<Backups>>,
    _: Admin,
    Query(query): Query<ListQuery>,
) -> Result<Json<BackupList>, Refusal> {
    let limit = Page { limit: query.limit, cursor: None }.limit()?;
    if query.cursor.as_ref().is_some_and(|cursor| cursor.len() > 64) {
        return Err(Error::invalid("cursor is the next_cursor of a page").into());
    }
    let (count, backups, next_cursor) = backups.list(limit, query.cursor.as_deref()).await?;
    Ok(Json(BackupList { count, backups, next_cursor }))
}

/// Remove a backup
#[utoipa::path(delete, path = "/api/kubeedge/backup/{backup_id}", operation_id = "delete_backup",
    tag = "Backup",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    params(("backup_id" = String, Path, max_length = 64, example = "backup_20240115")),
    responses((status = 200, description = "Removed", body = Done))
)]
async fn delete(
    State(backups): State<Arc<Backups>>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<Done>, Refusal> {
    let name = id.clone();
    to_the_end(async move { backups.delete(&id).await }).await?;
    Ok(Json(Done::new(format!("Backup {name} removed"))))
}

/// A backup to put back.
#[derive(Deserialize, utoipa::ToSchema)]
struct RestoreRequest {
    /// Which.
    #[schema(max_length = 64, example = "backup_20240115")]
    backup_id: String,
    /// What opens it, where it was made with one.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 1024)]
    passphrase: Option<SecretString>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct RestoreAnswer {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    message: String,
    #[schema(example = "backup_20240115")]
    backup_id: String,
    #[serde(flatten)]
    restoration: Restoration,
}

/// Put a backup back into the running hub: all of it, or nothing
#[utoipa::path(post, path = "/api/kubeedge/restore", operation_id = "restore_backup",
    tag = "Backup",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    request_body(content = RestoreRequest, example = json!({ "backup_id": "backup_20240115" })),
    responses((status = 200, description = "Restored", body = RestoreAnswer, example = json!({
        "status": "success", "message": "Backup backup_20240115 restored",
        "backup_id": "backup_20240115", "backup_created_at": "2024-01-15T10:30:00Z",
        "restored": ["config", "tokens", "devices"], "skipped": [], "rows": 120,
        "sessions_closed": 0
    })))
)]
async fn restore(
    State(backups): State<Arc<Backups>>,
    _: Admin,
    Body(body): Body<RestoreRequest>,
) -> Result<Json<RestoreAnswer>, Refusal> {
    let (backup_id, passphrase) = (body.backup_id, body.passphrase);
    check_passphrase(passphrase.as_ref())?;
    let id = backup_id.clone();
    let restoration = to_the_end(async move { backups.restore(&id, passphrase).await }).await?;
    let message = match restoration.skipped.is_empty() {
        true => format!("Backup {backup_id} restored"),
        false => format!(
            "Backup {backup_id} restored, but for the hub's own keys: those are restored while \
             the hub is stopped, by `cloudcore-hub restore`"
        ),
    };
    Ok(Json(RestoreAnswer { status: "success", message, backup_id, restoration }))
}
