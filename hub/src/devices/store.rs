//! The devices' tables.

use std::collections::HashMap;

use cloudcore_protocol::{DeviceId, Heartbeat, NodeName, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::FromRow;

use super::Member;
use crate::{
    api::Page,
    db::{self, Db, On, Write},
    error::{Error, Result},
    pki::{Fingerprint, NodeCertificate},
};

/// A row of `devices`.
#[derive(Debug, Clone, FromRow)]
pub struct Device {
    pub(super) id: i64,
    /// Its id.
    pub device_id: String,
    /// Its node.
    pub node_name: String,
    /// What it is (`camera`).
    pub device_type: Option<String>,
    /// Where it is.
    pub location: Option<String>,
    /// `Ready` or `NotReady`.
    pub status: String,
    /// The hub's clock when it last said something, microseconds.
    pub last_seen: Option<i64>,
    /// What `device/join` said of it, JSON.
    pub configuration: String,
    /// When it was made known, microseconds.
    pub created_at: i64,
    /// When its node joined, microseconds.
    pub joined_at: Option<i64>,
    /// Release of its agent.
    pub agent_version: Option<String>,
    /// Its last hello, JSON.
    pub hello: Option<String>,
    /// Its last heartbeat, JSON.
    pub heartbeat: Option<String>,
    /// The agent's clock in that heartbeat, microseconds.
    pub heartbeat_at: Option<i64>,
}

/// Which devices a list names.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<i64>,
    /// `Ready` or `NotReady`.
    #[param(pattern = "^(Ready|NotReady)$")]
    pub status: Option<String>,
    /// What it is.
    pub device_type: Option<String>,
    /// Its node.
    pub node_name: Option<String>,
}

const MATCHES: &str = "($1 IS NULL OR status = $1) AND ($2 IS NULL OR device_type = $2) \
                       AND ($3 IS NULL OR node_name = $3)";

pub(super) async fn list(db: &Db, filter: &Filter) -> Result<(i64, Vec<Device>, Option<i64>)> {
    let limit = Page { limit: filter.limit, cursor: filter.cursor }.limit()?;
    if filter.status.as_deref().is_some_and(|s| !matches!(s, "Ready" | "NotReady")) {
        return Err(Error::invalid("status must be Ready or NotReady"));
    }
    let count: i64 = db::joined(&["SELECT count(*) FROM devices WHERE ", MATCHES])
        .bind(&filter.status)
        .bind(&filter.device_type)
        .bind(&filter.node_name)
        .value(db)
        .await?;
    let page = ["SELECT * FROM devices WHERE ", MATCHES, " AND id > $4 ORDER BY id LIMIT $5"];
    let devices: Vec<Device> = db::joined(&page)
        .bind(&filter.status)
        .bind(&filter.device_type)
        .bind(&filter.node_name)
        .bind(filter.cursor.unwrap_or(0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .all(db)
        .await?;
    let next = (devices.len() == limit).then(|| devices.last().map(|d| d.id)).flatten();
    Ok((count, devices, next))
}

/// The nodes that have a device.
pub(super) async fn node_names(db: &Db) -> Result<Vec<String>> {
    Ok(db::sql("SELECT DISTINCT node_name FROM devices").values(db).await?)
}

pub(super) async fn get(db: &Db, id: &DeviceId) -> Result<Option<Device>> {
    Ok(db::sql("SELECT * FROM devices WHERE device_id = $1").bind(id.as_str()).optional(db).await?)
}

pub(super) async fn count_by_type(db: &Db) -> Result<Vec<(String, i64)>> {
    Ok(db::sql(
        "SELECT coalesce(device_type, 'unknown'), count(*) FROM devices GROUP BY 1 ORDER BY 1",
    )
    .all(db)
    .await?)
}

pub(super) async fn count(tx: &mut Write) -> Result<i64> {
    Ok(db::sql("SELECT count(*) FROM devices").value(&mut *tx).await?)
}

/// What `device/join` and a node's join say of a device.
pub(super) struct NewRow<'a> {
    pub device_id: &'a DeviceId,
    pub node_name: &'a NodeName,
    pub device_type: Option<&'a str>,
    pub location: Option<&'a str>,
    pub configuration: &'a Value,
}

pub(super) async fn insert(tx: &mut Write, row: &NewRow<'_>) -> Result<(), sqlx::Error> {
    db::sql(
        "INSERT INTO devices \
         (device_id, node_name, device_type, location, status, configuration, created_at) \
         VALUES ($1, $2, $3, $4, 'NotReady', $5, $6)",
    )
    .bind(row.device_id.as_str())
    .bind(row.node_name.as_str())
    .bind(row.device_type)
    .bind(row.location)
    .bind(row.configuration.to_string())
    .bind(Timestamp::now().micros())
    .run(&mut *tx)
    .await
    .map(|_| ())
}

pub(super) async fn delete(tx: &mut Write, id: &DeviceId) -> Result<()> {
    // What all devices saw is a counter, which never falls: theirs goes on without a name.
    db::sql(
        "INSERT INTO detection_totals (device_id, detections, latency_us) \
         SELECT '', detections, latency_us FROM detection_totals WHERE device_id = $1 \
         ON CONFLICT (device_id) DO UPDATE SET \
         detections = detection_totals.detections + excluded.detections, \
         latency_us = detection_totals.latency_us + excluded.latency_us",
    )
    .bind(id.as_str())
    .run(&mut *tx)
    .await?;
    for sql in [
        "DELETE FROM devices WHERE device_id = $1",
        "DELETE FROM outboxes WHERE device_id = $1",
        "DELETE FROM alerts WHERE device_id = $1",
        "DELETE FROM detection_totals WHERE device_id = $1",
        "DELETE FROM app_devices WHERE device_id = $1",
    ] {
        db::sql(sql).bind(id.as_str()).run(&mut *tx).await?;
    }
    Ok(())
}

pub(super) async fn by_node(on: impl Into<On<'_>>, node: &NodeName) -> Result<Option<DeviceId>> {
    let id: Option<String> = db::sql("SELECT device_id FROM devices WHERE node_name = $1")
        .bind(node.as_str())
        .optional_value(on)
        .await?;
    id.map(DeviceId::try_from).transpose().map_err(Error::internal)
}

pub(super) async fn set_joined(tx: &mut Write, id: &DeviceId, agent_version: &str) -> Result<()> {
    db::sql("UPDATE devices SET joined_at = $2, agent_version = $3 WHERE device_id = $1")
        .bind(id.as_str())
        .bind(Timestamp::now().micros())
        .bind(agent_version)
        .run(&mut *tx)
        .await?;
    Ok(())
}

/// Whether an agent speaks for the device: its certificate is good.
///
/// # Errors
/// The database's.
pub async fn has_agent(tx: &mut Write, id: &DeviceId, now: Timestamp) -> Result<bool> {
    let certificates: i64 = db::sql(
        "SELECT count(*) FROM certificates \
         WHERE device_id = $1 AND revoked_at IS NULL AND not_after > $2",
    )
    .bind(id.as_str())
    .bind(now.micros())
    .value(&mut *tx)
    .await?;
    Ok(certificates > 0)
}

/// Notes that a device without an agent is a member, or is none any more.
///
/// # Errors
/// The database's.
pub async fn set_member(tx: &mut Write, id: &DeviceId, member: bool) -> Result<()> {
    db::sql(
        "UPDATE devices SET joined_at = CASE WHEN $2 THEN coalesce(joined_at, $3) END \
         WHERE device_id = $1",
    )
    .bind(id.as_str())
    .bind(member)
    .bind(Timestamp::now().micros())
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Ends what lets a device in over MQTT; whether there was something.
///
/// # Errors
/// The database's.
pub async fn end_mqtt(tx: &mut Write, id: &DeviceId) -> Result<bool> {
    let ended = db::sql(
        "UPDATE mqtt_devices SET ended_at = $2, secret_hash = NULL \
         WHERE device_id = $1 AND ended_at IS NULL",
    )
    .bind(id.as_str())
    .bind(Timestamp::now().micros())
    .run(&mut *tx)
    .await?;
    Ok(ended > 0)
}

/// Whether a device lives on MQTT alone.
pub(super) async fn is_on_mqtt(db: &Db, id: &DeviceId) -> Result<bool> {
    let there: i64 = db::sql(
        "SELECT count(*) FROM mqtt_devices m JOIN devices d ON d.device_id = m.device_id \
         WHERE m.device_id = $1 AND m.ended_at IS NULL",
    )
    .bind(id.as_str())
    .value(db)
    .await?;
    Ok(there > 0)
}

pub(super) async fn set_not_joined(tx: &mut Write, node: &NodeName) -> Result<()> {
    db::sql("UPDATE devices SET joined_at = NULL WHERE node_name = $1")
        .bind(node.as_str())
        .run(&mut *tx)
        .await?;
    Ok(())
}

pub(super) async fn insert_certificate(
    tx: &mut Write,
    id: &DeviceId,
    node: &NodeName,
    certificate: &NodeCertificate,
) -> Result<()> {
    db::sql(
        "INSERT INTO certificates \
         (fingerprint, serial, node_name, device_id, not_before, not_after, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&certificate.facts.fingerprint)
    .bind(&certificate.facts.serial)
    .bind(node.as_str())
    .bind(id.as_str())
    .bind(certificate.facts.not_before.micros())
    .bind(certificate.facts.not_after.micros())
    .bind(Timestamp::now().micros())
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Ends a node's certificates; which they were.
pub(super) async fn revoke_certificates(
    tx: &mut Write,
    node_name: &str,
) -> Result<Vec<Fingerprint>> {
    Ok(db::sql(
        "UPDATE certificates SET revoked_at = $2 \
         WHERE node_name = $1 AND revoked_at IS NULL RETURNING fingerprint",
    )
    .bind(node_name)
    .bind(Timestamp::now().micros())
    .values(&mut *tx)
    .await?)
}

pub(super) async fn revoked_certificates(db: &Db) -> Result<Vec<Fingerprint>> {
    // One that is over is refused without being remembered.
    Ok(db::sql(
        "SELECT fingerprint FROM certificates WHERE revoked_at IS NOT NULL AND not_after > $1",
    )
    .bind(Timestamp::now().micros())
    .values(db)
    .await?)
}

pub(super) async fn member(db: impl Into<On<'_>>, fingerprint: &str) -> Result<Option<Member>> {
    let row: Option<(String, String)> = db::sql(
        "SELECT d.device_id, d.node_name FROM certificates c \
         JOIN devices d ON d.device_id = c.device_id AND d.node_name = c.node_name \
         WHERE c.fingerprint = $1 AND c.revoked_at IS NULL",
    )
    .bind(fingerprint)
    .optional(db)
    .await?;
    row.map(|(device, node)| parsed(device, node)).transpose()
}

/// The devices that are `Ready`.
pub(super) async fn ready(db: &Db) -> Result<Vec<Member>> {
    let rows: Vec<(String, String)> =
        db::sql("SELECT device_id, node_name FROM devices WHERE status = 'Ready'").all(db).await?;
    rows.into_iter().map(|(device, node)| parsed(device, node)).collect()
}

fn parsed(device: String, node: String) -> Result<Member> {
    let (device_id, node_name) = named(device, node)?;
    Ok(Member { device_id, node_name })
}

pub(super) async fn greet(
    tx: &mut Write,
    id: &DeviceId,
    agent_version: Option<&str>,
    about: &Value,
) -> Result<()> {
    db::sql(
        "UPDATE devices SET status = 'Ready', last_seen = $2, agent_version = $3, hello = $4 \
         WHERE device_id = $1",
    )
    .bind(id.as_str())
    .bind(Timestamp::now().micros())
    .bind(agent_version)
    .bind(about.to_string())
    .run(tx)
    .await?;
    Ok(())
}

pub(super) async fn set_ready(tx: &mut Write, id: &DeviceId) -> Result<()> {
    db::sql("UPDATE devices SET status = 'Ready', last_seen = $2 WHERE device_id = $1")
        .bind(id.as_str())
        .bind(Timestamp::now().micros())
        .run(tx)
        .await?;
    Ok(())
}

/// Whether it is a member.
pub(super) async fn set_not_ready(tx: &mut Write, id: &DeviceId) -> Result<bool> {
    db::sql("UPDATE devices SET status = 'NotReady' WHERE device_id = $1")
        .bind(id.as_str())
        .run(&mut *tx)
        .await?;
    let members =
        db::sql("SELECT count(*) FROM devices WHERE device_id = $1 AND joined_at IS NOT NULL");
    let members: i64 = members.bind(id.as_str()).value(tx).await?;
    Ok(members > 0)
}

/// Members that were here once, are not now, and have no alert for it.
pub(super) async fn missing(tx: &mut Write) -> Result<Vec<(DeviceId, NodeName)>> {
    let rows: Vec<(String, String)> = db::sql(
        "SELECT device_id, node_name FROM devices \
         WHERE status = 'NotReady' AND joined_at IS NOT NULL AND last_seen IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.device_id = devices.device_id \
                         AND kind = $1 AND ended_at IS NULL)",
    )
    .bind(crate::alerts::OFFLINE)
    .all(tx)
    .await?;
    rows.into_iter().map(|(device, node)| named(device, node)).collect()
}

fn named(device: String, node: String) -> Result<(DeviceId, NodeName)> {
    Ok((device.try_into().map_err(Error::internal)?, node.try_into().map_err(Error::internal)?))
}

/// A heartbeat to store.
#[derive(Debug)]
pub struct HeartbeatRow<'a> {
    /// Whose.
    pub device_id: &'a DeviceId,
    /// The agent's clock.
    pub at: Timestamp,
    /// What it says, as the device's details show it.
    pub body: Value,
    /// Whether newer ones may be stored already.
    pub late: bool,
}

impl<'a> HeartbeatRow<'a> {
    /// An agent's.
    #[must_use]
    pub fn of(device_id: &'a DeviceId, at: Timestamp, heartbeat: &Heartbeat) -> Self {
        Self { device_id, at, body: super::shown::vitals(heartbeat), late: false }
    }
}

/// Stores heartbeats, oldest first, by two statements for all of them.
///
/// # Errors
/// The database's.
pub async fn record_heartbeats(tx: &mut Write, rows: &[HeartbeatRow<'_>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now().micros();
    let row = |row: &HeartbeatRow<'_>| {
        json!([row.device_id, row.at.micros(), row.body.to_string(), i64::from(row.late)])
    };
    let all = rows.iter().map(row).collect::<Value>().to_string();
    db::sql(
        "INSERT INTO heartbeats (device_id, at, received_at, body) \
         SELECT value->>0, CAST(value->>1 AS BIGINT), $2, value->>2 FROM {rows}",
    )
    .bind(all)
    .bind(now)
    .run(&mut *tx)
    .await?;
    // Of a device's heartbeats in the batch the last one counts.
    let last: HashMap<_, _> = rows.iter().map(|row| (row.device_id, row)).collect();
    let last = last.into_values().map(row).collect::<Value>().to_string();
    db::sql(
        "UPDATE devices SET heartbeat = news.body, heartbeat_at = news.at, last_seen = $2 \
         FROM (SELECT value->>0 AS device_id, CAST(value->>1 AS BIGINT) AS at, \
               value->>2 AS body, CAST(value->>3 AS BIGINT) AS late FROM {rows}) AS news \
         WHERE devices.device_id = news.device_id \
         AND (late = 0 OR heartbeat_at IS NULL OR heartbeat_at < news.at)",
    )
    .bind(last)
    .bind(now)
    .run(&mut *tx)
    .await?;
    Ok(())
}

pub(super) async fn forget_heartbeats(db: &Db, before: Timestamp) -> Result<u64> {
    let mut tx = db.write().await?;
    let gone = db::sql("DELETE FROM heartbeats WHERE received_at < $1")
        .bind(before.micros())
        .run(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(gone)
}
