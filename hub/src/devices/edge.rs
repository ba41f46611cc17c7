//! Devices as the cluster is to have them: which there are, and which have gone and are not yet out
//! of it. What was asked for is in the database; the cluster follows.

use std::collections::HashSet;

use cloudcore_protocol::{DeviceId, NodeName, Timestamp};
use sqlx::FromRow;

use super::Device;
use crate::{
    cluster::{EdgeDevice, Place},
    db::{self, Db, On, Write},
    error::{Error, Result},
};

/// Rows that are read at once.
const PAGE: i64 = 500;

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

/// Notes that the cluster has to let go of a device and its node.
pub(super) async fn note_removal(tx: &mut Write, device: &EdgeDevice) -> Result<()> {
    db::sql(
        "INSERT INTO cluster_removals (node_name, device_id, device_type, requested_at) \
         VALUES ($1, $2, $3, $4) \
         ON CONFLICT (node_name) DO UPDATE SET device_id = excluded.device_id, \
         device_type = excluded.device_type, requested_at = excluded.requested_at",
    )
    .bind(device.node_name.as_str())
    .bind(device.device_id.as_str())
    .bind(device.device_type.as_deref())
    .bind(Timestamp::now().micros())
    .run(tx)
    .await?;
    Ok(())
}

/// One page of the nodes, by name and behind this one, that the cluster has to let go of.
pub(super) async fn removals(db: &Db, after: &str) -> Result<Vec<EdgeDevice>> {
    let rows: Vec<(String, String, Option<String>)> = db::sql(
        "SELECT device_id, node_name, device_type FROM cluster_removals \
         WHERE node_name > $1 ORDER BY node_name LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .all(db)
    .await?;
    let device = |(id, node, of): (String, String, Option<String>)| named(id, node, of, None);
    rows.into_iter().map(device).collect()
}

/// Whether the cluster still has to let go of this device.
pub(super) async fn is_to_go(db: impl Into<On<'_>>, device: &EdgeDevice) -> Result<bool> {
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
