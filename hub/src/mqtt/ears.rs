//! What is published → the rooms it concerns.
//!
//! What devices say is committed in batches by one writer, and acknowledged to its publisher only
//! then: what an MQTT client was acknowledged is on disk.

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{CommandId, Detection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    payloads::{self, Malformed, Named, Order, Status},
    quota::Quota,
    topics::Topic,
};
use crate::{
    alerts::{self, Judge},
    api::to_the_end,
    commands::{self, Change, Commands, Ending},
    db::Db,
    detections::{self, DetectionRow},
    devices::{self, HeartbeatRow},
    error::{Code, Error, Result},
    live::{Bus, News},
    settings::Settings,
    traffic::Traffic,
};

/// Messages that wait for the writer; a client whose message finds no room waits.
const QUEUE: usize = 1024;
/// Messages in one transaction.
const BATCH: usize = 256;
/// Refusals logged in [`A_WHILE`].
const LINES: u32 = 100;
/// Ten seconds.
const A_WHILE: Duration = Duration::from_secs(10);

/// What became of something said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is committed.
    Stored,
    /// It is malformed, or can't be done, and never will be.
    Refused,
    /// It can't be dealt with now.
    Later,
}

/// What became of a command that was published.
pub(super) enum Ordered {
    /// It was accepted by this id: of a broadcast, the first one's.
    Accepted(Option<CommandId>),
    /// It is the hub's own.
    Own,
    /// It was refused.
    Refused,
    /// It can't be dealt with now.
    Later,
}

#[derive(Debug)]
enum What {
    Status(Status, bool),
    Detection(Detection),
    Result(CommandId, commands::Event, Ending),
}

struct Said {
    named: Named,
    what: What,
    done: oneshot::Sender<Heard>,
}

/// What a message asks for: that it be waited for until it is committed.
pub(super) type Pending = oneshot::Receiver<Heard>;

/// The side that hears.
pub(super) struct Ears {
    commands: Arc<Commands>,
    queue: mpsc::Sender<Said>,
    traffic: Traffic,
    /// Lines in the log about refusals.
    lines: Quota,
}

/// The one that commits.
pub(super) struct Writer {
    db: Db,
    commands: Arc<Commands>,
    bus: Arc<Bus>,
    settings: Arc<Settings>,
    judge: Judge,
    queue: mpsc::Receiver<Said>,
}

/// What a commit leaves to be told.
struct Committed {
    news: Vec<News>,
    changes: Vec<Change>,
}

/// Ears and their writer.
pub(super) fn open(
    db: &Db,
    commands: &Arc<Commands>,
    bus: &Arc<Bus>,
    settings: &Arc<Settings>,
    traffic: &Traffic,
) -> (Ears, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let ears = Ears {
        commands: Arc::clone(commands),
        queue: sender,
        traffic: traffic.clone(),
        lines: Quota::new(LINES, A_WHILE),
    };
    let writer = Writer {
        db: db.clone(),
        commands: Arc::clone(commands),
        bus: Arc::clone(bus),
        settings: Arc::clone(settings),
        judge: Judge::default(),
        queue,
    };
    (ears, writer)
}

/// Whether the error is the hub's present weakness and not the request's fault.
fn passes(error: &Error) -> bool {
    error.code == Code::Internal || (error.code == Code::Unavailable && error.cause.is_some())
}

impl Ears {
    /// Counts a message that is refused, and logs it; of a flood, some.
    pub fn refuse(&self, from: &str, topic: impl std::fmt::Display, why: &str) {
        self.traffic.refuse_mqtt();
        if self.lines.take() {
            tracing::warn!(from, %topic, why, "an MQTT message was refused");
        }
    }

    /// What a device says on one of its topics, handed to the writer; `late` for what may come
    /// after newer words. `Ok(None)` for what needs no writing.
    pub async fn said(
        &self,
        named: &Named,
        topic: &Topic,
        payload: &[u8],
        late: bool,
    ) -> Result<Option<Pending>, Malformed> {
        let what = match topic {
            Topic::Status(_) => {
                let status = Status::parse(payload)?;
                if !status.online {
                    return Ok(None);
                }
                What::Status(status, late)
            }
            Topic::Detection(_) => What::Detection(payloads::detection(payload)?),
            Topic::Result(_, id) => {
                let (event, ending) = payloads::result(payload)?;
                What::Result(id.clone(), event, ending)
            }
            _ => return Err("a device does not speak here".into()),
        };
        let (done, pending) = oneshot::channel();
        // If the writer is gone, so is `done`, and whoever waits hears that.
        let _ = self.queue.send(Said { named: named.clone(), what, done }).await;
        Ok(Some(pending))
    }

    /// A command that somebody published for one device, or for many.
    pub async fn ordered(&self, from: &str, topic: &Topic, payload: &[u8]) -> Ordered {
        let order = match Order::parse(payload) {
            Ok(Some(order)) => order,
            Ok(None) => return Ordered::Own,
            Err(why) => {
                self.refuse(from, topic, &why);
                return Ordered::Refused;
            }
        };
        let commands = Arc::clone(&self.commands);
        let device = match topic {
            Topic::Command(device) => Some(device.clone()),
            _ => None,
        };
        let accepted = to_the_end(async move {
            match device {
                Some(device) => {
                    commands.send(&order.to(device)).await.map(|accepted| vec![accepted.id])
                }
                None => {
                    let Order { name, parameters, timeout, device_type } = order;
                    commands.broadcast(&name, &parameters, timeout, device_type.as_deref()).await
                }
            }
        });
        match accepted.await {
            Ok(ids) => Ordered::Accepted(ids.into_iter().next()),
            Err(error) if passes(&error) => {
                tracing::error!(from, %topic, ?error, "a command by MQTT can't be accepted now");
                Ordered::Later
            }
            Err(error) => {
                self.refuse(from, topic, &error.message);
                Ordered::Refused
            }
        }
    }
}

/// Waits for a message's commit.
pub(super) async fn settled(pending: Pending) -> Heard {
    pending.await.unwrap_or(Heard::Later)
}

impl Writer {
    /// Commits until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                n = self.queue.recv_many(&mut batch, BATCH) => if n == 0 { return },
                () = shutdown.cancelled() => return,
            }
            self.commit(std::mem::take(&mut batch)).await;
        }
    }

    /// Commits a batch. Where the database works and a message of it does not, each is tried
    /// alone: it must not hold up the others.
    async fn commit(&mut self, batch: Vec<Said>) {
        let error = match self.try_commit(&batch).await {
            Ok(committed) => return self.tell(batch, committed),
            Err(error) => error,
        };
        let alone = batch.len() == 1;
        if error.code != Code::Internal || alone {
            let heard = if error.code == Code::Internal { Heard::Refused } else { Heard::Later };
            tracing::error!(messages = batch.len(), ?error, "MQTT messages can't be stored");
            for said in batch {
                let _ = said.done.send(heard);
            }
            return;
        }
        for said in batch {
            Box::pin(self.commit(vec![said])).await;
        }
    }

    async fn try_commit(&mut self, batch: &[Said]) -> Result<Committed> {
        let mut tx = self.db.write().await?;
        let (mut heartbeats, mut seen, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut news, mut judged) = (Vec::new(), Vec::new());
        for Said { named, what, .. } in batch {
            let (device_id, node) = (&named.device_id, &named.node_name);
            match what {
                What::Status(status, late) => {
                    let body = status.vitals.clone();
                    let (at, late) = (status.at, *late);
                    heartbeats.push(HeartbeatRow { device_id, at, body, late });
                    judged.push((device_id, node, status.at, status.heartbeat()));
                    news.push(devices::vitals_news(device_id, node, &status.vitals));
                }
                What::Detection(detection) => {
                    seen.push(DetectionRow { device_id, detection });
                    news.push(detections::news(device_id, node, detection, None));
                }
                What::Result(id, event, ending) => changes
                    .extend(commands::apply(&mut tx, id, Some(device_id), *event, ending).await?),
            }
        }
        devices::record_heartbeats(&mut tx, &heartbeats).await?;
        detections::record(&mut tx, &seen).await?;
        let said: Vec<_> =
            judged.iter().map(|(device, _, at, said)| (*device, *at, said)).collect();
        let alerts = self.judge.judge(&mut tx, &self.settings.live().alerts, &said).await?;
        news.extend(alerts.iter().map(|(place, alert)| {
            let (device_id, node, ..) = &judged[*place];
            alerts::news(device_id, node, alert)
        }));
        news.extend(self.commands.news(&changes));
        self.bus.keep(&mut tx, &news).await?;
        tx.commit().await?;
        Ok(Committed { news, changes })
    }

    /// Acknowledges what is committed, and tells the watchers.
    fn tell(&self, batch: Vec<Said>, committed: Committed) {
        for said in batch {
            let _ = said.done.send(Heard::Stored);
        }
        committed.news.into_iter().for_each(|news| self.bus.publish(news));
        self.commands.wake(&committed.changes);
    }
}
