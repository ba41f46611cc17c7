//! Devices and the cluster's nodes, side by side: what a Node object says comes before what the hub
//! thinks of its device, and a node at the edge without a device is listed as well.

use std::collections::HashSet;

use cloudcore_protocol::DeviceId;

use super::{Device, Devices, Filter, shown::Summary, store};
use crate::{
    api::Page,
    cluster::{Edge, Node},
    error::{Error, Result},
};

/// Rows that are read at once where all are.
const ROWS: u32 = 500;

/// One page of the list: how many match in all, the page, and the next one's cursor. Devices come
/// first; the cursor of nodes that follow them is negative.
pub(super) async fn list(
    devices: &Devices,
    filter: &Filter,
) -> Result<(i64, Vec<Summary>, Option<i64>)> {
    let edge = devices.cluster.edge();
    if edge.is_empty() {
        let (count, rows, next) = devices.list(filter).await?;
        return Ok((count, rows.iter().map(Summary::of).collect(), next));
    }
    let limit = Page { limit: filter.limit, cursor: filter.cursor }.limit()?;
    let known: HashSet<String> = store::node_names(&devices.db).await?.into_iter().collect();
    let matches = |node: &Node| {
        filter.device_type.is_none()
            && filter.node_name.as_ref().is_none_or(|name| *name == node.name)
            && filter.status.as_ref().is_none_or(|status| *status == node.status())
    };
    let bare: Vec<_> = edge
        .nodes()
        .filter(|(node, _)| !known.contains(&node.name) && matches(node))
        .map(|(node, pods)| Summary::of(&device_of(node)).on(node, pods))
        .collect();
    let from = filter.cursor.unwrap_or(0);
    let (count, mut page, mut next) = match &filter.status {
        Some(_) => by_status(devices, filter, &edge, limit).await?,
        None => {
            let filter = Filter { cursor: Some(from.max(0)), ..filter.clone() };
            let (count, rows, next) = devices.list(&filter).await?;
            (count, rows.iter().map(|row| joined(row, &edge)).collect(), next)
        }
    };
    if from < 0 {
        (page, next) = (Vec::new(), None);
    }
    let count = count.saturating_add(i64::try_from(bare.len()).unwrap_or(i64::MAX));
    if next.is_none() {
        let shown = usize::try_from(from.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let end = bare.len().min(shown.saturating_add(limit.saturating_sub(page.len())));
        if end < bare.len() {
            // A page that is full begins the nodes on the next one.
            next = i64::try_from(end.max(1)).ok().map(|end| -end);
            if end == 0 {
                next = page.last().map(Summary::row);
            }
        }
        page.extend(bare.into_iter().take(end).skip(shown));
    }
    Ok((count, page, next))
}

/// A device's line, with what its node says.
fn joined(device: &Device, edge: &Edge) -> Summary {
    let summary = Summary::of(device);
    match edge.node(&device.node_name) {
        Some((node, pods)) => summary.on(node, pods),
        None => summary,
    }
}

/// The devices that are in a status by what their nodes say, which the database does not know.
async fn by_status(
    devices: &Devices,
    filter: &Filter,
    edge: &Edge,
    limit: usize,
) -> Result<(i64, Vec<Summary>, Option<i64>)> {
    let wanted = filter.status.as_deref().unwrap_or_default();
    if !matches!(wanted, "Ready" | "NotReady") {
        return Err(Error::invalid("status must be Ready or NotReady"));
    }
    let from = filter.cursor.unwrap_or(0);
    let mut all = Filter { status: None, limit: Some(ROWS), cursor: None, ..filter.clone() };
    let (mut count, mut page, mut more) = (0, Vec::new(), false);
    loop {
        let (_, rows, next) = devices.list(&all).await?;
        for row in &rows {
            let summary = joined(row, edge);
            if summary.status() != wanted {
                continue;
            }
            count += 1;
            if row.id > from && page.len() < limit {
                page.push(summary);
            } else if row.id > from {
                more = true;
            }
        }
        if next.is_none() {
            break;
        }
        all.cursor = next;
    }
    let next = page.last().filter(|_| more).map(Summary::row);
    Ok((count, page, next))
}

/// A node that is no device of the hub's: its own, called as it is.
fn device_of(node: &Node) -> Device {
    Device {
        id: 0,
        device_id: node.name.clone(),
        node_name: node.name.clone(),
        device_type: None,
        location: None,
        status: node.status().to_owned(),
        last_seen: None,
        configuration: "{}".to_owned(),
        created_at: node.created_at.map_or(0, cloudcore_protocol::Timestamp::micros),
        joined_at: None,
        agent_version: None,
        hello: None,
        heartbeat: None,
        heartbeat_at: None,
    }
}

impl Devices {
    /// A device by id, or a node at the edge that is none, and what the cluster knows of its node.
    ///
    /// # Errors
    /// API-004.
    pub async fn find(&self, id: &DeviceId) -> Result<(Device, Edge)> {
        let edge = self.cluster.edge();
        match self.get(id).await {
            Err(error) => match edge.node(id.as_str()).map(|(node, _)| device_of(node)) {
                Some(device) if error.code == crate::error::Code::NotFound => Ok((device, edge)),
                _ => Err(error),
            },
            Ok(device) => Ok((device, edge)),
        }
    }
}
