//! One command for many devices.

use std::time::Duration;

use cloudcore_protocol::{Command, CommandId, DeviceId, Frame, Timestamp};
use serde_json::Value;

use super::{Commands, MAX_OPEN, dispatch::millis, secrets::Parameters, store};
use crate::{
    error::{Error, Result},
    live::{self, What},
};

impl Commands {
    /// Accepts a command for all members, or for those of a type, and hands it to those that have
    /// a session: for all of them, or for none. Each gets a command of its own, with a life of its
    /// own; a device that has too many open commands gets none.
    ///
    /// # Errors
    /// API-001 for bad parameters, API-009 during maintenance.
    pub async fn broadcast(
        &self,
        name: &str,
        parameters: &Value,
        timeout: Duration,
        device_type: Option<&str>,
    ) -> Result<Vec<CommandId>> {
        self.settings.check_open()?;
        let parameters = Parameters::of(name, parameters)?;
        let sent_at = Timestamp::now();
        let mut tx = self.db.write().await?;
        let mut nodes = Vec::new();
        let mut to: Vec<(CommandId, DeviceId)> = Vec::new();
        for (device, node) in store::addressees(&mut tx, device_type, MAX_OPEN).await? {
            to.push((CommandId::generate(), device.try_into().map_err(Error::internal)?));
            nodes.push(node);
        }
        let seal = |(id, device): &(CommandId, DeviceId)| {
            Ok((id.clone(), device.clone(), parameters.seal(&self.keys, id)?))
        };
        let rows = to.iter().map(seal).collect::<Result<Vec<_>>>()?;
        store::insert_all(&mut tx, &rows, name, parameters.shown(), timeout, sent_at).await?;
        let sent: Vec<_> = to
            .iter()
            .zip(&nodes)
            .map(|((id, device_id), node)| {
                let what = What::CommandSent { id: id.as_str(), command: name };
                let (device_id, node_name) = (Some(device_id.as_str()), Some(node.as_str()));
                live::Event { device_id, node_name, what }.news()
            })
            .collect();
        self.bus.keep(&mut tx, &sent).await?;
        tx.commit().await?;
        self.accepted.notify_one();
        sent.into_iter().for_each(|news| self.bus.publish(news));
        let mut delivered = Vec::new();
        for (id, device_id) in &to {
            let frame = Frame::Command(Command {
                id: id.clone(),
                name: name.to_owned(),
                parameters: parameters.whole.clone(),
                time_left_ms: millis(timeout),
            });
            if self.registry.send(device_id, frame).is_ok() {
                delivered.push((id.clone(), device_id.clone()));
            }
        }
        let noted = async {
            let mut tx = self.db.write().await?;
            store::set_sent(&mut tx, &delivered).await?;
            let cancelled = store::cancelled_of_all(&mut tx, &delivered).await?;
            tx.commit().await?;
            Ok::<_, Error>(cancelled)
        };
        match noted.await {
            // Cancelled in between: they are taken back.
            Ok(cancelled) => {
                for (id, device) in delivered.iter().filter(|(id, _)| cancelled.contains(id)) {
                    self.recall(device, id);
                }
            }
            Err(error) => tracing::warn!(?error, "can't note that a broadcast was sent"),
        }
        Ok(to.into_iter().map(|(id, _)| id).collect())
    }
}
