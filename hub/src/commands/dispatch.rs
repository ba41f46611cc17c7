//! From the store to the devices' sessions.

use std::time::Duration;

use cloudcore_protocol::{CancelCommand, Command, CommandId, DeviceId, Frame, Timestamp};

use super::{Accepted, Commands, Ending, Event, State, apply, store};
use crate::{
    error::{Error, Result},
    link::Session,
};

impl Commands {
    /// Hands committed commands to the devices that have a session; which were left because theirs
    /// is away.
    pub async fn hand_over(&self, accepted: &[Accepted]) -> Vec<CommandId> {
        self.accepted.notify_one();
        let (mut delivered, mut left) = (Vec::new(), Vec::new());
        for command in accepted {
            self.bus.publish(command.news.clone());
            let frame = Frame::Command(Command {
                id: command.id.clone(),
                name: command.name.clone(),
                parameters: command.parameters.whole.clone(),
                time_left_ms: millis(command.timeout),
            });
            match self.registry.send(&command.device_id, frame) {
                Ok(()) => delivered.push((command.id.clone(), command.device_id.clone())),
                Err(_) => left.push(command.id.clone()),
            }
        }
        if !delivered.is_empty() {
            self.delivered(&delivered).await;
        }
        left
    }

    /// Notes that commands were handed over. If this fails they only look queued, and are handed
    /// over again after the next reconnect. One that was cancelled in between is taken back.
    async fn delivered(&self, commands: &[(CommandId, DeviceId)]) {
        let noted = async {
            let mut cancelled = Vec::new();
            let mut tx = self.db.write().await?;
            for (id, device_id) in commands {
                let change = apply(&mut tx, id, None, Event::Deliver, &Ending::default()).await?;
                if change.is_none()
                    && let Some(row) = store::get(&mut tx, id).await?
                    && row.state == State::Cancelled
                {
                    cancelled.push((id, device_id));
                }
            }
            tx.commit().await?;
            Ok::<_, Error>(cancelled)
        };
        match noted.await {
            Ok(cancelled) => cancelled.into_iter().for_each(|(id, device)| self.recall(device, id)),
            Err(error) => {
                tracing::warn!(?commands, ?error, "can't note that commands were sent");
            }
        }
    }

    /// Tells a device to stop a command. One that is away hears it when it comes back.
    pub(super) fn recall(&self, device: &DeviceId, id: &CommandId) {
        // It is cancelled, whether or not the device can be told now.
        let _ = self.registry.send(device, cancel_frame(id));
    }

    /// Hands everything that is still open to a device that has come back.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume(&self, session: &Session) -> Result<()> {
        let open = store::open_of(&self.db, &session.device_id).await?;
        let now = Timestamp::now();
        for id in store::cancelled_of(&self.db, &session.device_id, now).await? {
            if session.send_when_room(cancel_frame(&id)).await.is_err() {
                return Ok(());
            }
        }
        let (mut delivered, mut lost) = (Vec::new(), Vec::new());
        for row in open {
            let left = row.deadline.since(now);
            if left.is_zero() {
                continue;
            }
            let Some(parameters) = self.whole(&row) else {
                // A device that has it knows its parameters.
                lost.extend((row.state == State::Queued).then_some(row.id));
                continue;
            };
            let frame = Frame::Command(Command {
                id: row.id.clone(),
                name: row.name,
                parameters,
                time_left_ms: millis(left),
            });
            if session.send_when_room(frame).await.is_err() {
                break;
            }
            delivered.push((row.id, session.device_id.clone()));
        }
        if !delivered.is_empty() {
            self.delivered(&delivered).await;
        }
        self.end_lost(&lost).await
    }
}

fn cancel_frame(id: &CommandId) -> Frame {
    Frame::CancelCommand(CancelCommand { id: id.clone() })
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
