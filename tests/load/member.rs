//! One of many agents: the agent's own join, link and outbox, and in place of a camera and a machine
//! what they would say.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cloudcore_agent::{
    config::{Config, HubAddress, Settings},
    heartbeat::Pulse,
    join::{self, Join},
    link::{Link, LinkHandle, Order},
    logs::LogRing,
    outbox::{Limits, Outbox, Received},
};
use cloudcore_protocol::{
    BoundingBox, CameraState, CommandOutcome, Detection, DetectionId, DetectionPhase, EventBody,
    Heartbeat, JoinToken, NodeName, Timestamp,
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// A member of the fleet, with its tasks.
pub(crate) struct Member {
    /// Its name, as node and as device.
    pub(crate) name: String,
    pub(crate) link: LinkHandle,
    pub(crate) outbox: Outbox,
    tracks: AtomicU64,
    _tasks: JoinSet<()>,
}

/// What all members share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) hub: HubAddress,
    pub(crate) cancel: CancellationToken,
    /// From heartbeat to heartbeat; none while it is zero.
    pub(crate) heartbeat: tokio::sync::watch::Receiver<Duration>,
    /// Heartbeats that are on the disk.
    pub(crate) beats: Arc<AtomicU64>,
    /// Nobody follows their logs.
    pub(crate) logs: LogRing,
}

impl Member {
    /// Joins by a token, and stays connected from then on. `phase` from 0 to 1 says when in the
    /// interval its heartbeats come.
    pub(crate) async fn join(
        folder: &Path,
        name: &str,
        token: JoinToken,
        phase: f64,
        common: &Common,
    ) -> Result<Self, String> {
        let node_name: NodeName = name.parse().map_err(|e| format!("{e}"))?;
        join::join(Join {
            data_dir: folder.to_owned(),
            hub: common.hub.clone(),
            token,
            node_name,
            device_id: None,
            labels: Default::default(),
            camera: None,
            model: None,
            heartbeat_interval: None,
            update_key: None,
            allow_reboot: false,
        })
        .await
        .map_err(|e| e.to_string())?;
        let config = Config::load(folder).map_err(|e| e.to_string())?;
        let settings = Settings::new(folder, config);
        let outbox = Outbox::open_within(folder, Limits::default()).map_err(|e| e.to_string())?;
        let (orders_in, orders) = mpsc::channel(256);
        let (link, handle) = Link::new(
            settings,
            None,
            outbox.clone(),
            Pulse::default(),
            common.logs.clone(),
            orders_in,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(link.run(common.cancel.clone()));
        tasks.spawn(obey(outbox.clone(), orders));
        tasks.spawn(beat(outbox.clone(), common.clone(), phase));
        Ok(Self {
            name: name.to_owned(),
            link: handle,
            outbox,
            tracks: AtomicU64::new(1),
            _tasks: tasks,
        })
    }

    /// Which of its sessions lives.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.link.state().live.map(|live| live.generation)
    }

    /// An object comes, and goes: two events.
    pub(crate) async fn see(&self) -> bool {
        let id = DetectionId::generate();
        let track_id = self.tracks.fetch_add(1, Ordering::Relaxed);
        let seen = [DetectionPhase::Started, DetectionPhase::Ended].map(|phase| Detection {
            track_id,
            phase,
            object: "person".into(),
            confidence: 0.87,
            bounding_box: BoundingBox { x: 210.0, y: 80.5, width: 120.0, height: 310.0 },
            frame_width: 1280,
            frame_height: 720,
            model: "nanodet".into(),
            captured_at: Timestamp::now(),
            latency_micros: 48_000,
            zones: None,
            id: Some(id.clone()),
            snapshot: None,
        });
        self.outbox.detections(seen.into()).await.is_ok()
    }
}

/// Does what is asked, in no time: what is measured is the way there and back.
async fn obey(outbox: Outbox, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        let Order::Run(command) = order else { continue };
        if let Ok(Received::New) = outbox.receive(&command, true).await {
            let done = CommandOutcome::Completed(r#"{"uptime_seconds":86400}"#.into());
            outbox.finish(&command.id, done, Duration::from_micros(50)).await.ok();
        }
    }
}

async fn beat(outbox: Outbox, mut common: Common, phase: f64) {
    loop {
        let interval = *common.heartbeat.borrow_and_update();
        let begun = Instant::now();
        // Spread over the interval, as those of machines that were started at any time are.
        let mut next = begun + interval.mul_f64(phase);
        loop {
            tokio::select! {
                () = common.cancel.cancelled() => return,
                changed = common.heartbeat.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(next), if !interval.is_zero() => {
                    if outbox.append(EventBody::Heartbeat(heartbeat())).await.is_ok() {
                        common.beats.fetch_add(1, Ordering::Relaxed);
                    }
                    next += interval;
                }
            }
        }
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        cpu_percent: Some(12.5),
        memory_used_bytes: 812_000_000,
        memory_total_bytes: 4_000_000_000,
        temperature_celsius: Some(51.5),
        uptime_seconds: 86_400,
        disk_used_bytes: 9_000_000_000,
        disk_total_bytes: 32_000_000_000,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        camera: CameraState::Ready,
        detecting: true,
        outbox_events: 0,
        apps: None,
    }
}
