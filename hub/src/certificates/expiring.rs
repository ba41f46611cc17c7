//! The alert `certificate_expiring`: a node's newest certificate ends soon.

use std::{collections::HashMap, time::Duration};

use cloudcore_protocol::{Alert, DeviceId, NodeName, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Certificates;
use crate::{
    alerts::{self, CERTIFICATE_EXPIRING},
    db,
    error::{Error, Result},
};

/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(10);
const DAY_MICROS: i64 = 86_400_000_000;

/// A node's newest certificate, or an alert about it.
type Row = (String, String, Option<i64>, i64);

impl Certificates {
    /// Begins and ends the alerts of nodes' certificates, until `shutdown`.
    pub async fn watch_ends(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.judge_ends().await {
                tracing::error!(?error, "the nodes' certificates can't be looked at");
            }
        }
    }

    async fn judge_ends(&self) -> Result<()> {
        let now = Timestamp::now().micros();
        let days = i64::from(self.settings.live().alerts.certificate_days);
        let rows: Vec<Row> = db::sql(
            "SELECT d.device_id, d.node_name, c.not_before, c.not_after FROM certificates c \
             JOIN devices d ON d.device_id = c.device_id AND d.node_name = c.node_name \
             WHERE c.not_after < $1 AND c.revoked_at IS NULL AND d.joined_at IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM certificates n WHERE n.node_name = c.node_name \
                             AND n.revoked_at IS NULL AND n.not_after > c.not_after)",
        )
        .bind(now.saturating_add(days.saturating_mul(DAY_MICROS)))
        .all(&self.db)
        .await?;
        let near: HashMap<String, (String, i64)> = rows
            .into_iter()
            .filter(|(_, _, begin, end)| is_near(now, days, *begin, *end))
            .map(|(device, node, _, end)| (device, (node, end)))
            .collect();
        let active: Vec<(String, String)> = db::sql(
            "SELECT a.device_id, d.node_name FROM alerts a \
             JOIN devices d ON d.device_id = a.device_id \
             WHERE a.kind = $1 AND a.ended_at IS NULL",
        )
        .bind(CERTIFICATE_EXPIRING)
        .all(&self.db)
        .await?;
        let ended = active.iter().filter(|(device, _)| !near.contains_key(device));
        let ended = ended.map(|(device, node)| (device, node, None));
        let known = |device| active.iter().any(|(known, _)| known == device);
        let begun = near.iter().filter(|(device, _)| !known(*device));
        let begun = begun.map(|(device, (node, end))| (device, node, Some(*end)));
        let changes: Vec<_> = ended.chain(begun).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        let mut told = Vec::new();
        for (device, node, end) in changes {
            let device: DeviceId = device.parse().map_err(Error::internal)?;
            let node: NodeName = node.parse().map_err(Error::internal)?;
            let message = match end {
                Some(end) => format!("Certificate ends {}", Timestamp::from_micros(end)),
                None => "Certificate renewed".to_owned(),
            };
            let kind = CERTIFICATE_EXPIRING.to_owned();
            let alert = Alert { kind, message, active: end.is_some() };
            if alerts::record(&mut tx, &device, Timestamp::from_micros(now), &alert).await? {
                told.push(alerts::news(&device, &node, &alert));
            }
        }
        self.bus.keep(&mut tx, &told).await?;
        tx.commit().await?;
        told.into_iter().for_each(|news| self.bus.publish(news));
        Ok(())
    }
}

/// Whether a certificate ends within so many days. One that lives shorter than that would always:
/// nodes renew with a third of the life left, and a quarter left means that this one did not.
fn is_near(now: i64, days: i64, begin: Option<i64>, end: i64) -> bool {
    let days = days.saturating_mul(DAY_MICROS);
    let soon = begin.map_or(days, |begin| days.min(end.saturating_sub(begin) / 4));
    end.saturating_sub(now) < soon
}
