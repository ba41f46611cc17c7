//! How the device is, said regularly and at once when something changes. Goes through the outbox,
//! so that the hub later knows how it was while it was away.

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{AppState, EventBody, Heartbeat};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{config::Settings, eye::Eye, machine::VitalsProbe, outbox::Outbox};

/// A flapping camera must not fill the outbox.
const LEAST_GAP: Duration = Duration::from_millis(250);

/// Wakes the heartbeat; clones wake the same one.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Notify>);

impl Pulse {
    /// Something changed: say it now.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// Puts together what a heartbeat says; clones share their sources.
#[derive(Clone)]
pub struct Reporter {
    vitals: VitalsProbe,
    eye: Eye,
    outbox: Outbox,
    detecting: watch::Receiver<bool>,
    apps: watch::Receiver<Option<Vec<AppState>>>,
}

impl Reporter {
    /// From these sources.
    #[must_use]
    pub const fn new(
        vitals: VitalsProbe,
        eye: Eye,
        outbox: Outbox,
        detecting: watch::Receiver<bool>,
        apps: watch::Receiver<Option<Vec<AppState>>>,
    ) -> Self {
        Self { vitals, eye, outbox, detecting, apps }
    }

    /// How the device is now.
    pub async fn report(&self) -> Heartbeat {
        let vitals = self.vitals.look().await;
        Heartbeat {
            cpu_percent: vitals.cpu_percent,
            memory_used_bytes: vitals.memory_used_bytes,
            memory_total_bytes: vitals.memory_total_bytes,
            temperature_celsius: vitals.temperature_celsius,
            uptime_seconds: vitals.uptime_seconds,
            disk_used_bytes: vitals.disk_used_bytes,
            disk_total_bytes: vitals.disk_total_bytes,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            camera: self.eye.state(),
            detecting: *self.detecting.borrow(),
            outbox_events: self.outbox.counts().waiting,
            apps: self.apps.borrow().clone(),
        }
    }
}

/// Beats until cancelled.
pub async fn run(
    reporter: Reporter,
    settings: Settings,
    outbox: Outbox,
    pulse: Pulse,
    cancel: CancellationToken,
) {
    let mut camera = reporter.eye.subscribe();
    let mut detecting = reporter.detecting.clone();
    let mut apps = reporter.apps.clone();
    let mut changes = settings.subscribe();
    loop {
        let begun = Instant::now();
        let heartbeat = reporter.report().await;
        // A heartbeat is of its moment: one that can't be kept is not tried again, the next will.
        if let Err(error) = outbox.append(EventBody::Heartbeat(heartbeat)).await {
            tracing::warn!(%error, "a heartbeat was not kept");
        }
        let interval = settings.get().heartbeat_interval.duration();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep_until(begun + interval) => {}
            () = pulse.0.notified() => {}
            Ok(()) = camera.changed() => {}
            Ok(()) = detecting.changed() => {}
            Ok(()) = apps.changed() => {}
            Ok(()) = changes.changed() => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep_until(begun + LEAST_GAP.min(interval)) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use cloudcore_protocol::CameraState;

    use super::*;

    pub(crate) fn sample() -> Heartbeat {
        Heartbeat {
            cpu_percent: None,
            memory_used_bytes: 1,
            memory_total_bytes: 2,
            temperature_celsius: None,
            uptime_seconds: 3,
            disk_used_bytes: 4,
            disk_total_bytes: 5,
            agent_version: "test".into(),
            camera: CameraState::None,
            detecting: false,
            outbox_events: 0,
            apps: None,
        }
    }
}
