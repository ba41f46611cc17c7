//! The apps' tables.

pub(super) mod nodes;

use std::collections::HashMap;

use cloudcore_protocol::{
    AppState, DeviceId, Timestamp,
    command::{AppName, DeployApp},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::FromRow;
use utoipa::IntoParams;

use super::Standing;
use crate::{
    api::{Page, clip},
    db::{self, Db, On, Write},
    error::{Error, Result},
};

/// A row of `apps`.
#[derive(Debug, FromRow)]
pub struct AppRow {
    id: i64,
    pub(super) name: String,
    pub(super) image: String,
    /// JSON, sealed: it may hold secrets.
    pub(super) config: String,
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
    /// JSON.
    pub(super) ports: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// A row of `app_devices`: an app on a device.
#[derive(Debug, Clone, FromRow)]
pub struct Placed {
    pub(super) app: String,
    pub(super) device_id: String,
    pub(super) image: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) command_id: Option<String>,
    pub(super) updated_at: i64,
    /// Of the cluster, where that runs it and not the device's own engine.
    pub(super) node: Option<String>,
    pub(super) restarts: Option<i64>,
    pub(super) health: Option<String>,
}

impl Placed {
    pub(super) fn standing(&self) -> Result<Standing> {
        Standing::parse(&self.status)
    }
}

/// Which apps a list names.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// That are on this device.
    device_id: Option<String>,
}

pub(super) async fn app(on: impl Into<On<'_>>, name: &AppName) -> Result<Option<AppRow>> {
    Ok(db::sql("SELECT * FROM apps WHERE name = $1").bind(name.as_str()).optional(on).await?)
}

pub(super) async fn count(tx: &mut Write) -> Result<i64> {
    Ok(db::sql("SELECT count(*) FROM apps").value(tx).await?)
}

pub(super) async fn put(tx: &mut Write, app: &DeployApp, config: String) -> Result<()> {
    let ports = serde_json::to_string(&app.ports).map_err(Error::internal)?;
    db::sql(
        "INSERT INTO apps (name, image, config, cpu, memory, created_at, updated_at, ports) \
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7) ON CONFLICT (name) DO UPDATE SET \
         image = excluded.image, config = excluded.config, cpu = excluded.cpu, \
         memory = excluded.memory, updated_at = excluded.updated_at, ports = excluded.ports",
    )
    .bind(app.name.as_str())
    .bind(app.image.as_str())
    .bind(config)
    .bind(app.resources.cpu.as_ref().map(ToString::to_string))
    .bind(app.resources.memory.as_ref().map(ToString::to_string))
    .bind(Timestamp::now().micros())
    .bind(ports)
    .run(tx)
    .await?;
    Ok(())
}

/// Where an app is.
pub(super) async fn placed(on: impl Into<On<'_>>, app: &AppName) -> Result<Vec<Placed>> {
    Ok(db::sql("SELECT * FROM app_devices WHERE app = $1 ORDER BY device_id")
        .bind(app.as_str())
        .all(on)
        .await?)
}

pub(super) async fn of_device(db: &Db, device: &DeviceId) -> Result<Vec<Placed>> {
    Ok(db::sql("SELECT * FROM app_devices WHERE device_id = $1 ORDER BY app")
        .bind(device.as_str())
        .all(db)
        .await?)
}

pub(super) async fn place(tx: &mut Write, placed: &Placed) -> Result<()> {
    let sql = "INSERT INTO app_devices \
               (app, device_id, image, status, reason, message, port, command_id, updated_at, \
               node) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
               ON CONFLICT (app, device_id) DO UPDATE SET image = excluded.image, \
               status = excluded.status, reason = excluded.reason, message = excluded.message, \
               port = excluded.port, command_id = excluded.command_id, \
               updated_at = excluded.updated_at, node = excluded.node, restarts = NULL, \
               health = NULL";
    bound(sql, placed).bind(&placed.node).run(tx).await?;
    Ok(())
}

/// Stores how an order ended, unless another was given since.
pub(super) async fn settle(tx: &mut Write, placed: &Placed) -> Result<()> {
    let sql = "UPDATE app_devices SET image = $3, status = $4, reason = $5, message = $6, \
               port = $7, updated_at = $9 WHERE app = $1 AND device_id = $2 AND command_id = $8";
    bound(sql, placed).run(tx).await?;
    Ok(())
}

/// The columns' widths for a reason and a health, and what a message is cut to: all are a device's
/// words.
const MAX_REASON: usize = 50;
const MAX_HEALTH: usize = 20;
const MAX_MESSAGE: usize = 500;

fn bound(sql: &'static str, placed: &Placed) -> db::Sql {
    db::sql(sql)
        .bind(&placed.app)
        .bind(&placed.device_id)
        .bind(&placed.image)
        .bind(&placed.status)
        .bind(placed.reason.as_deref().map(|reason| clip(reason, MAX_REASON)))
        .bind(placed.message.as_deref().map(|message| clip(message, MAX_MESSAGE)))
        .bind(placed.port)
        .bind(&placed.command_id)
        .bind(Timestamp::now().micros())
}

/// The app is on that device no more, unless another order was given since.
pub(super) async fn unplace(tx: &mut Write, placed: &Placed) -> Result<()> {
    db::sql(
        "DELETE FROM app_devices WHERE app = $1 AND device_id = $2 \
         AND coalesce(command_id, '') = coalesce($3, '')",
    )
    .bind(&placed.app)
    .bind(&placed.device_id)
    .bind(&placed.command_id)
    .run(tx)
    .await?;
    Ok(())
}

/// Forgets an app that is nowhere.
pub(super) async fn drop_if_nowhere(tx: &mut Write, app: &str) -> Result<()> {
    db::sql(
        "DELETE FROM apps WHERE name = $1 \
         AND NOT EXISTS (SELECT 1 FROM app_devices WHERE app = apps.name)",
    )
    .bind(app)
    .run(tx)
    .await?;
    Ok(())
}

/// Apps on devices whose order has ended or is not known any more, and that do not say so yet. At
/// most 1000; the rest comes next time.
pub(super) async fn settling(db: &Db) -> Result<Vec<Placed>> {
    Ok(db::sql(
        "SELECT a.* FROM app_devices a LEFT JOIN commands c ON c.command_id = a.command_id \
         WHERE a.status IN ('Pending', 'Removing') AND a.node IS NULL \
         AND (c.status IS NULL OR c.status NOT IN ('queued', 'sent', 'running')) LIMIT 1000",
    )
    .all(db)
    .await?)
}

/// Takes over how a device says that its apps are: of those only that it was ordered and that have
/// settled, in the version that the order brought.
pub(super) async fn hear(tx: &mut Write, device: &DeviceId, apps: &[AppState]) -> Result<()> {
    for app in apps {
        let standing = if app.running { Standing::Running } else { Standing::Failed };
        let reason = app.reason.as_deref().unwrap_or("failed");
        let failed = !app.running;
        db::sql(
            "UPDATE app_devices SET status = $4, reason = $5, message = $6, restarts = $9, \
             health = $10, updated_at = CASE WHEN status <> $4 \
             OR coalesce(reason, '') <> coalesce($5, '') THEN $7 ELSE updated_at END \
             WHERE app = $1 AND device_id = $2 AND command_id = $3 AND image = $8 \
             AND status IN ('Running', 'Failed') AND (status <> $4 \
             OR coalesce(reason, '') <> coalesce($5, '') OR coalesce(restarts, -1) <> $9 \
             OR coalesce(health, '') <> coalesce($10, ''))",
        )
        .bind(&app.name)
        .bind(device.as_str())
        .bind(app.order.as_str())
        .bind(standing.as_str())
        .bind(failed.then(|| clip(reason, MAX_REASON)))
        .bind(app.message.as_deref().filter(|_| failed).map(|text| clip(text, MAX_MESSAGE)))
        .bind(Timestamp::now().micros())
        .bind(&app.image)
        .bind(i64::try_from(app.restarts).unwrap_or(i64::MAX))
        .bind(app.health.as_deref().map(|health| clip(health, MAX_HEALTH)))
        .run(&mut *tx)
        .await?;
    }
    Ok(())
}

/// How many match, a page of them, each with where it is, and the next page's cursor.
pub(super) type Listed = (i64, Vec<(AppRow, Vec<Placed>)>, Option<i64>);

const MATCHES: &str = "($1 IS NULL OR name IN (SELECT app FROM app_devices WHERE device_id = $1))";

pub(super) async fn list(db: &Db, filter: &Filter) -> Result<Listed> {
    let limit = Page { limit: filter.limit, cursor: filter.cursor }.limit()?;
    let count: i64 = db::joined(&["SELECT count(*) FROM apps WHERE ", MATCHES])
        .bind(&filter.device_id)
        .value(db)
        .await?;
    let page = ["SELECT * FROM apps WHERE ", MATCHES, " AND id > $2 ORDER BY id LIMIT $3"];
    let apps: Vec<AppRow> = db::joined(&page)
        .bind(&filter.device_id)
        .bind(filter.cursor.unwrap_or(0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .all(db)
        .await?;
    let names = apps.iter().map(|app| json!([app.name])).collect::<Value>().to_string();
    let all: Vec<Placed> = db::sql(
        "SELECT * FROM app_devices WHERE app IN (SELECT value->>0 FROM {rows}) ORDER BY device_id",
    )
    .bind(names)
    .all(db)
    .await?;
    let mut places: HashMap<String, Vec<Placed>> = HashMap::new();
    for placed in all {
        places.entry(placed.app.clone()).or_default().push(placed);
    }
    let next = (apps.len() == limit).then(|| apps.last().map(|app| app.id)).flatten();
    let with_places = |app: AppRow| {
        let placed = places.remove(&app.name).unwrap_or_default();
        (app, placed)
    };
    Ok((count, apps.into_iter().map(with_places).collect(), next))
}

/// Apps whose config is not sealed, by name: those of an older database or backup.
pub(super) async fn unsealed(tx: &mut Write) -> Result<Vec<(String, String)>> {
    // What is sealed is hex digits.
    Ok(db::sql("SELECT name, config FROM apps WHERE config LIKE '{%'").all(tx).await?)
}

pub(super) async fn set_config(tx: &mut Write, name: &str, config: String) -> Result<()> {
    db::sql("UPDATE apps SET config = $2 WHERE name = $1").bind(name).bind(config).run(tx).await?;
    Ok(())
}
