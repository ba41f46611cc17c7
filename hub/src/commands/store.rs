//! The commands' table.

use std::{collections::HashSet, time::Duration};

use cloudcore_protocol::{CommandId, DeviceId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::FromRow;
use utoipa::IntoParams;

use super::{NewCommand, State, secrets::Unseen};
use crate::{
    api::Page,
    db::{self, Db, On, Write},
    error::{Error, Result},
};

/// A row of `commands`.
#[derive(Debug)]
pub struct Row {
    /// Its id.
    pub id: CommandId,
    /// Its device.
    pub device_id: String,
    /// The device's node, as long as there is such a device.
    pub node_name: Option<String>,
    /// Its name.
    pub name: String,
    /// JSON, without secrets.
    pub parameters: String,
    /// Whether there were secrets in them.
    pub hidden: bool,
    /// The whole of them where some are hidden, sealed, while it is open.
    pub sealed: Option<String>,
    /// Where it stands.
    pub state: State,
    /// What came of it.
    pub result: Option<Value>,
    /// When it was accepted.
    pub sent_at: Timestamp,
    /// When its time is over.
    pub deadline: Timestamp,
    /// When it ended, by the hub's clock.
    pub completed_at: Option<Timestamp>,
    /// How long it ran, by the device's clock, microseconds.
    pub execution_us: Option<u64>,
}

#[derive(FromRow)]
struct Stored {
    id: i64,
    command_id: String,
    device_id: String,
    node_name: Option<String>,
    command_type: String,
    parameters: String,
    secrets: Option<String>,
    sealed: Option<String>,
    status: String,
    result: Option<String>,
    sent_at: i64,
    deadline: i64,
    completed_at: Option<i64>,
    execution_us: Option<i64>,
}

impl Stored {
    fn parse(self) -> Result<Row> {
        let state = State::parse(&self.status);
        let result = self.result.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Row {
            id: self.command_id.try_into().map_err(Error::internal)?,
            device_id: self.device_id,
            node_name: self.node_name,
            name: self.command_type,
            parameters: self.parameters,
            hidden: self.secrets.as_deref() == Some("hidden"),
            sealed: self.sealed,
            state: state.ok_or_else(|| {
                Error::internal(format!("unknown command status {}", self.status))
            })?,
            result: result.map_err(Error::internal)?,
            sent_at: Timestamp::from_micros(self.sent_at),
            deadline: Timestamp::from_micros(self.deadline),
            completed_at: self.completed_at.map(Timestamp::from_micros),
            execution_us: self.execution_us.and_then(|us| u64::try_from(us).ok()),
        })
    }
}

pub(super) async fn insert(
    tx: &mut Write,
    id: &CommandId,
    new: &NewCommand,
    (parameters, sealed): (&str, Option<String>),
    sent_at: Timestamp,
    deadline: Timestamp,
) -> Result<()> {
    db::sql(
        "INSERT INTO commands (command_id, device_id, command_type, parameters, status, \
         timeout_s, sent_at, deadline, secrets, sealed) \
         VALUES ($1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9)",
    )
    .bind(id.as_str())
    .bind(new.device_id.as_str())
    .bind(&new.name)
    .bind(parameters)
    .bind(i64::try_from(new.timeout.as_secs()).unwrap_or(i64::MAX))
    .bind(sent_at.micros())
    .bind(deadline.micros())
    .bind(if sealed.is_some() { "hidden" } else { "none" })
    .bind(sealed)
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Members, or those of a type, with their nodes; not those that have `full` open commands.
pub(super) async fn addressees(
    tx: &mut Write,
    device_type: Option<&str>,
    full: i64,
) -> Result<Vec<(String, String)>> {
    Ok(db::sql(
        "SELECT device_id, node_name FROM devices WHERE joined_at IS NOT NULL \
         AND ($1 IS NULL OR device_type = $1) AND device_id NOT IN \
         (SELECT device_id FROM commands WHERE status IN ('queued', 'sent', 'running') \
          GROUP BY device_id HAVING count(*) >= $2) ORDER BY id",
    )
    .bind(device_type)
    .bind(full)
    .all(&mut *tx)
    .await?)
}

/// One command for many devices, each with an id of its own.
pub(super) async fn insert_all(
    tx: &mut Write,
    to: &[(CommandId, DeviceId, Option<String>)],
    name: &str,
    parameters: &str,
    timeout: Duration,
    sent_at: Timestamp,
) -> Result<()> {
    db::sql(
        "INSERT INTO commands (command_id, device_id, command_type, parameters, status, \
         timeout_s, sent_at, deadline, secrets, sealed) \
         SELECT value->>0, value->>1, $2, $3, 'queued', $4, $5, $6, \
         CASE WHEN value->>2 IS NULL THEN 'none' ELSE 'hidden' END, value->>2 FROM {rows}",
    )
    .bind(json!(to).to_string())
    .bind(name)
    .bind(parameters)
    .bind(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX))
    .bind(sent_at.micros())
    .bind(sent_at.plus(timeout).micros())
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Notes that commands were handed over.
pub(super) async fn set_sent(tx: &mut Write, commands: &[(CommandId, DeviceId)]) -> Result<()> {
    db::sql(
        "UPDATE commands SET status = 'sent' WHERE status = 'queued' \
         AND command_id IN (SELECT value->>0 FROM {rows})",
    )
    .bind(json!(commands).to_string())
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Which of these commands are cancelled.
pub(super) async fn cancelled_of_all(
    tx: &mut Write,
    commands: &[(CommandId, DeviceId)],
) -> Result<HashSet<CommandId>> {
    let ids: Vec<String> = db::sql(
        "SELECT command_id FROM commands WHERE status = 'cancelled' \
         AND command_id IN (SELECT value->>0 FROM {rows})",
    )
    .bind(json!(commands).to_string())
    .values(&mut *tx)
    .await?;
    ids.into_iter().map(|id| id.try_into().map_err(Error::internal)).collect()
}

pub(super) async fn get(db: impl Into<On<'_>>, id: &CommandId) -> Result<Option<Row>> {
    db::sql(
        "SELECT c.*, d.node_name FROM commands c \
         LEFT JOIN devices d ON d.device_id = c.device_id WHERE c.command_id = $1",
    )
    .bind(id.as_str())
    .optional::<Stored>(db)
    .await?
    .map(Stored::parse)
    .transpose()
}

/// Which commands a list names.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<i64>,
    /// Whose.
    #[param(max_length = 100, example = "edge-device-001")]
    pub device_id: Option<String>,
    /// How they stand.
    pub status: Option<State>,
    /// Their name.
    #[param(max_length = 50, example = "capture_image")]
    pub command: Option<String>,
}

/// Largest result that a list shows, bytes of JSON.
pub(super) const MAX_LISTED_RESULT: usize = 4096;

const MATCHES: &str = "($1 IS NULL OR device_id = $1) AND ($2 IS NULL OR status = $2) \
                       AND ($3 IS NULL OR command_type = $3)";

pub(super) async fn list(db: &Db, filter: &Filter) -> Result<(i64, Vec<Row>, Option<i64>)> {
    let limit = Page { limit: filter.limit, cursor: filter.cursor }.limit()?;
    let long =
        |text: &Option<String>, most| text.as_ref().is_some_and(|t| t.chars().count() > most);
    if long(&filter.device_id, 100) || long(&filter.command, 50) {
        return Err(Error::invalid("device_id has at most 100 characters, command at most 50"));
    }
    let bound = |statement: db::Sql| {
        statement
            .bind(&filter.device_id)
            .bind(filter.status.map(State::as_str))
            .bind(&filter.command)
    };
    let count = bound(db::joined(&["SELECT count(*) FROM commands WHERE ", MATCHES]));
    let count: i64 = count.value(db).await?;
    let page = db::joined(&[
        "SELECT id, command_id, device_id, command_type, NULL AS node_name, '' AS parameters, \
         NULL AS secrets, NULL AS sealed, status, \
         CASE WHEN length(result) <= $6 THEN result END AS result, sent_at, deadline, \
         completed_at, execution_us FROM commands WHERE ",
        MATCHES,
        " AND id < $4 ORDER BY id DESC LIMIT $5",
    ]);
    let rows: Vec<Stored> = bound(page)
        .bind(filter.cursor.unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(i64::try_from(MAX_LISTED_RESULT).unwrap_or(i64::MAX))
        .all(db)
        .await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id)).flatten();
    let rows = rows.into_iter().map(Stored::parse).collect::<Result<_>>()?;
    Ok((count, rows, next))
}

pub(super) async fn get_all(db: &Db, ids: &[CommandId]) -> Result<Vec<Row>> {
    db::sql(
        "SELECT c.*, d.node_name FROM {rows} JOIN commands c ON c.command_id = value->>0 \
         LEFT JOIN devices d ON d.device_id = c.device_id",
    )
    .bind(json!(ids.iter().map(|id| [id]).collect::<Vec<_>>()).to_string())
    .all::<Stored>(db)
    .await?
    .into_iter()
    .map(Stored::parse)
    .collect()
}

/// The device's commands that were cancelled and would still have time: it may have been away when
/// they were.
pub(super) async fn cancelled_of(
    db: &Db,
    device: &DeviceId,
    now: Timestamp,
) -> Result<Vec<CommandId>> {
    let ids: Vec<String> = db::sql(
        "SELECT command_id FROM commands \
         WHERE device_id = $1 AND status = 'cancelled' AND deadline > $2 ORDER BY id DESC LIMIT 500",
    )
    .bind(device.as_str())
    .bind(now.micros())
    .values(db)
    .await?;
    ids.into_iter().map(|id| id.try_into().map_err(Error::internal)).collect()
}

pub(super) async fn count_open(tx: &mut Write, device: &DeviceId) -> Result<i64> {
    Ok(db::sql(
        "SELECT count(*) FROM commands \
         WHERE device_id = $1 AND status IN ('queued', 'sent', 'running')",
    )
    .bind(device.as_str())
    .value(&mut *tx)
    .await?)
}

/// The device's commands that have not ended, oldest first; not those of a device that had its id
/// before it.
pub(super) async fn open_of(db: &Db, device: &DeviceId) -> Result<Vec<Row>> {
    db::sql(
        "SELECT c.*, d.node_name FROM commands c JOIN devices d ON d.device_id = c.device_id \
         WHERE c.device_id = $1 AND c.status IN ('queued', 'sent', 'running') \
         AND c.sent_at >= d.created_at ORDER BY c.id",
    )
    .bind(device.as_str())
    .all::<Stored>(db)
    .await?
    .into_iter()
    .map(Stored::parse)
    .collect()
}

pub(super) async fn set_state(
    tx: &mut Write,
    id: &CommandId,
    state: State,
    result: Option<&Value>,
    duration_micros: Option<u64>,
) -> Result<()> {
    let now = Timestamp::now().micros();
    db::sql(
        "UPDATE commands SET status = $2, result = coalesce($3, result), \
         started_at = coalesce(started_at, $4), completed_at = coalesce(completed_at, $5), \
         execution_us = coalesce($6, execution_us), \
         sealed = CASE WHEN $7 THEN NULL ELSE sealed END WHERE command_id = $1",
    )
    .bind(id.as_str())
    .bind(state.as_str())
    .bind(result.map(Value::to_string))
    .bind((state == State::Running).then_some(now))
    .bind(state.is_final().then_some(now))
    .bind(duration_micros.and_then(|us| i64::try_from(us).ok()))
    .bind(state.is_final())
    .run(&mut *tx)
    .await?;
    Ok(())
}

/// Commands that are ended in one transaction.
pub(super) const MAX_OVERDUE: usize = 500;

/// Commands that have to be ended now: those never sent at their deadline, the others `verdict`
/// after it. At most [`MAX_OVERDUE`]; the rest comes next time.
pub(super) async fn overdue(
    tx: &mut Write,
    now: Timestamp,
    verdict: Duration,
) -> Result<Vec<CommandId>> {
    let ids: Vec<String> = db::sql(
        "SELECT command_id FROM commands WHERE deadline <= $1 \
         AND status IN ('queued', 'sent', 'running') AND (status = 'queued' OR deadline <= $2) \
         ORDER BY deadline LIMIT $3",
    )
    .bind(now.micros())
    .bind(now.micros() - i64::try_from(verdict.as_micros()).unwrap_or(0))
    .bind(i64::try_from(MAX_OVERDUE).unwrap_or(i64::MAX))
    .values(&mut *tx)
    .await?;
    ids.into_iter().map(|id| id.try_into().map_err(Error::internal)).collect()
}

/// When the next command has to be looked at.
pub(super) async fn next_deadline(
    tx: &mut Write,
    now: Timestamp,
    verdict: Duration,
) -> Result<Option<Timestamp>> {
    let verdict = i64::try_from(verdict.as_micros()).unwrap_or(0);
    let next: Option<i64> = db::sql(
        "SELECT min(CASE WHEN status = 'queued' THEN deadline ELSE deadline + $2 END) \
         FROM commands WHERE status IN ('queued', 'sent', 'running') AND deadline > $1 - $2",
    )
    .bind(now.micros())
    .bind(verdict)
    .value(&mut *tx)
    .await?;
    Ok(next.map(Timestamp::from_micros))
}

pub(super) async fn forget(tx: &mut Write, before: Timestamp) -> Result<()> {
    db::sql("DELETE FROM commands WHERE completed_at < $1")
        .bind(before.micros())
        .run(&mut *tx)
        .await?;
    Ok(())
}

/// How many commands of each status are kept.
///
/// # Errors
/// The database's.
pub async fn count_by_status(db: &Db) -> Result<Vec<(String, i64)>> {
    Ok(db::sql("SELECT status, count(*) FROM commands GROUP BY status").all(db).await?)
}

/// Some commands that nobody has looked at for secrets.
pub(super) async fn unseen(tx: &mut Write) -> Result<Vec<Unseen>> {
    Ok(db::sql(
        "SELECT id, command_id, command_type, parameters, status FROM commands \
         WHERE secrets IS NULL ORDER BY id LIMIT 500",
    )
    .all(&mut *tx)
    .await?)
}

/// These hold no secrets.
pub(super) async fn set_harmless(tx: &mut Write, ids: &[i64]) -> Result<()> {
    db::sql(
        "UPDATE commands SET secrets = 'none' \
         WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM {rows})",
    )
    .bind(json!(ids.iter().map(|id| [id]).collect::<Vec<_>>()).to_string())
    .run(tx)
    .await?;
    Ok(())
}

/// Keeps a command's parameters without their secrets, and beside that what is sealed.
pub(super) async fn hide(
    tx: &mut Write,
    id: i64,
    shown: &str,
    sealed: Option<String>,
) -> Result<()> {
    db::sql("UPDATE commands SET parameters = $2, secrets = 'hidden', sealed = $3 WHERE id = $1")
        .bind(id)
        .bind(shown)
        .bind(sealed)
        .run(tx)
        .await?;
    Ok(())
}
