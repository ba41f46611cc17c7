//! Devices as the cluster is to have them: which there are, and which have gone and are not yet out
//! of it. What was asked for is in the database; the cluster follows.

use std::{collections::HashSet, time::Duration};

use cloudcore_protocol::{DeviceId, NodeName, Timestamp};
use sqlx::FromRow;

use super::Device;
use crate::{
    cluster::{EdgeDevice, Place},
    db::{self, Db, Write},
    error::{Error, Result},
};

/// Rows that are read at once.
const PAGE: i64 = 500;
/// How long whoever removes a node from the cluster has it for himself: longer than a request waits
/// for the cluster.
const CLAIM: Duration = Duration::from_secs(15);

#[derive(FromRow)]
struct Row {
    id: i64,
    device_id: String,
    node_name: String,
    device_type: Option<String>,
    location: Option<String>,
}

impl TryFrom<Row> for EdgeDevice {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        named(row.device_id, row.node_name, row.device_type, row.location)
    }
}

impl TryFrom<&Device> for EdgeDevice {
    type Error = Error;

    fn try_from(row: &Device) -> Result<Self> {
        named(
            row.device_id.clone(),
            row.node_name.clone(),
            row.device_type.clone(),
            row.location.clone(),
        )
    }
}

fn named(
    device_id: String,
    node_name: String,
    device_type: Option<String>,
    location: Option<String>,
) -> Result<EdgeDevice> {
    Ok(EdgeDevice {
        device_id: DeviceId::try_from(device_id).map_err(Error::internal)?,
        node_name: NodeName::try_from(node_name).map_err(Error::internal)?,
        device_type,
        location,
    })
}

/// One page of the devices behind this row, and the row that the next page is behind.
pub(super) async fn page(db: &Db, after: i64) -> Result<(Vec<EdgeDevice>, Option<i64>)> {
    let rows: Vec<Row> = db::sql(
        "SELECT id, device_id, node_name, device_type, location FROM devices \
         WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .all(db)
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|n| n == PAGE);
    let next = rows.last().filter(|_| full).map(|row| row.id);
    let devices = rows.into_iter().map(EdgeDevice::try_from).collect::<Result<_>>()?;
    Ok((devices, next))
}

/// Whether this is a device of the hub's, the same in all that its objects say.
pub(super) async fn is_there(db: &Db, device: &EdgeDevice) -> Result<bool> {
    let row: Option<Row> = db::sql(
        "SELECT id, device_id, node_name, device_type, location FROM devices \
         WHERE device_id = $1",
    )
    .bind(device.device_id.as_str())
    .optional(db)
    .await?;
    Ok(match row {
        Some(row) => EdgeDevice::try_from(row)? == *device,
        None => false,
    })
}

/// The objects that devices want, all of them.
pub(super) async fn places(db: &Db) -> Result<HashSet<Place>> {
    let (mut places, mut after) = (HashSet::new(), Some(0));
    while let Some(from) = after {
        let (devices, next) = page(db, from).await?;
        places.extend(devices.iter().flat_map(EdgeDevice::places));
        after = next;
    }
    Ok(places)
}

/// Whether no device is of this type.
pub(super) async fn is_last(db: &Db, device: &EdgeDevice) -> Result<bool> {
    let others: i64 =
        db::sql("SELECT count(*) FROM devices WHERE coalesce(device_type, 'unknown') = $1")
            .bind(device.type_name())
            .value(db)
            .await?;
    Ok(others == 0)
}

/// Notes that the cluster has to let go of a device and its node, which its caller sees to.
pub(super) async fn note_removal(tx: &mut Write, device: &EdgeDevice) -> Result<()> {
    db::sql(
        "INSERT INTO cluster_removals (node_name, device_id, device_type, attempts, due_at) \
         VALUES ($1, $2, $3, 0, $4) \
         ON CONFLICT (node_name) DO UPDATE SET device_id = excluded.device_id, \
         device_type = excluded.device_type, attempts = 0, due_at = excluded.due_at",
    )
    .bind(device.node_name.as_str())
    .bind(device.device_id.as_str())
    .bind(device.device_type.as_deref())
    .bind(after(CLAIM))
    .run(tx)
    .await?;
    Ok(())
}

/// A moment from now, microseconds.
fn after(wait: Duration) -> i64 {
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp::now().micros().saturating_add(wait)
}

/// A removal that is due, for whoever asks first, and how often it was tried before.
pub(super) async fn claim_removal(db: &Db) -> Result<Option<(EdgeDevice, i64)>> {
    if next_removal(db).await?.is_none_or(|wait| !wait.is_zero()) {
        return Ok(None);
    }
    let mut tx = db.write().await?;
    let row: Option<(String, String, Option<String>, i64)> = db::sql(
        "SELECT device_id, node_name, device_type, attempts FROM cluster_removals \
         WHERE due_at <= $1 ORDER BY due_at LIMIT 1",
    )
    .bind(Timestamp::now().micros())
    .optional(&mut tx)
    .await?;
    let Some((device_id, node_name, device_type, tries)) = row else { return Ok(None) };
    db::sql(
        "UPDATE cluster_removals SET due_at = $2, attempts = attempts + 1 WHERE node_name = $1",
    )
    .bind(&node_name)
    .bind(after(CLAIM))
    .run(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(Some((named(device_id, node_name, device_type, None)?, tries)))
}

/// Lets whoever comes first try it again, after `wait`.
pub(super) async fn put_off_removal(db: &Db, device: &EdgeDevice, wait: Duration) -> Result<()> {
    let mut tx = db.write().await?;
    db::sql("UPDATE cluster_removals SET due_at = $3 WHERE node_name = $1 AND device_id = $2")
        .bind(device.node_name.as_str())
        .bind(device.device_id.as_str())
        .bind(after(wait))
        .run(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// How long until the first removal is due; `None` where there is none.
pub(super) async fn next_removal(db: &Db) -> Result<Option<Duration>> {
    let due: Option<i64> = db::sql("SELECT min(due_at) FROM cluster_removals").value(db).await?;
    Ok(due.map(|due| {
        let wait = due.saturating_sub(Timestamp::now().micros());
        Duration::from_micros(u64::try_from(wait).unwrap_or(0))
    }))
}

/// Whether the cluster still has to let go of this device.
pub(super) async fn is_to_go(db: &Db, device: &EdgeDevice) -> Result<bool> {
    let open: i64 =
        db::sql("SELECT count(*) FROM cluster_removals WHERE node_name = $1 AND device_id = $2")
            .bind(device.node_name.as_str())
            .bind(device.device_id.as_str())
            .value(db)
            .await?;
    Ok(open > 0)
}

/// Notes that the cluster has let go of it, or need not: its node is a device's again.
pub(super) async fn end_removal(db: &Db, device: &EdgeDevice) -> Result<()> {
    let mut tx = db.write().await?;
    db::sql("DELETE FROM cluster_removals WHERE node_name = $1 AND device_id = $2")
        .bind(device.node_name.as_str())
        .bind(device.device_id.as_str())
        .run(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// How many nodes the cluster has to let go of.
pub(super) async fn count_removals(db: &Db) -> Result<i64> {
    Ok(db::sql("SELECT count(*) FROM cluster_removals").value(db).await?)
}
