//! `get_status`.

use cloudcore_protocol::{AppState, CameraState, Heartbeat, Timestamp};
use serde_json::{Value, json};

use super::Rooms;
use crate::config::Config;

impl Rooms {
    pub(super) async fn status(&self) -> Value {
        let config = self.settings.get();
        let counts = self.outbox.counts();
        let link = self.link.state();
        let Heartbeat {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            temperature_celsius,
            uptime_seconds,
            disk_used_bytes,
            disk_total_bytes,
            agent_version,
            camera,
            detecting,
            outbox_events,
            apps,
        } = self.reporter.report().await;
        json!({
            "success": true,
            "timestamp": Timestamp::now(),
            "node_name": config.node_name,
            "device_id": config.device_id,
            "agent_version": agent_version,
            "cpu_percent": cpu_percent.map(hundredths),
            "memory_used_bytes": memory_used_bytes,
            "memory_total_bytes": memory_total_bytes,
            "temperature_celsius": temperature_celsius.map(hundredths),
            "uptime_seconds": uptime_seconds,
            "disk_used_bytes": disk_used_bytes,
            "disk_total_bytes": disk_total_bytes,
            "camera": self::camera(&config, &camera),
            "detecting": detecting,
            "model": self.models.shown().await,
            "outbox": {
                "waiting": outbox_events,
                "pictures": counts.pictures,
                "dropped": counts.dropped,
                "bytes": counts.bytes,
                "max_bytes": config.outbox.limits().bytes,
            },
            "apps": apps.unwrap_or_default().iter().map(self::app).collect::<Vec<_>>(),
            "link": link.live.map(|live| json!({
                "generation": live.generation,
                "hub_version": live.hub_version,
                "since": live.since,
                "clock_offset_ms": live.clock_offset_ms,
            })),
            "config": self::config(&config),
        })
    }
}

fn camera(config: &Config, state: &CameraState) -> Value {
    let (state, reason) = match state {
        CameraState::None => ("none", None),
        CameraState::Ready => ("ready", None),
        CameraState::Lost(reason) => ("lost", Some(reason)),
    };
    json!({ "state": state, "reason": reason, "source": camera_url(config) })
}

/// The camera's URL without its secrets.
pub(super) fn camera_url(config: &Config) -> Option<String> {
    config.camera.as_ref().map(ToString::to_string)
}

fn app(app: &AppState) -> Value {
    json!({
        "name": app.name,
        "image": app.image,
        "state": if app.running { "Running" } else { "Failed" },
        "reason": app.reason,
        "message": app.message,
        "restarts": app.restarts,
        "health": app.health,
    })
}

/// As people read it: a sensor's 51.2 is not 51.20000076293945.
fn hundredths(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

/// What `set_config` and `start_detection` change, and what bounds them.
pub(super) fn config(config: &Config) -> Value {
    json!({
        "heartbeat_interval": config.heartbeat_interval,
        "capture_interval": config.capture_interval,
        "detection_interval": config.detection.interval,
        "confidence": config.detection.confidence,
        "detection_enabled": config.detection.enabled,
        "objects": config.detection.objects,
        "masks": config.detection.masks,
        "object_masks": config.detection.object_masks,
        "zones": config.detection.zones,
        "only_in_zones": config.detection.only_in_zones,
        "filters": config.detection.filters,
        "stationary_interval": config.detection.stationary_interval,
        "snapshots": config.detection.snapshots,
        "snapshot_quality": config.detection.snapshot_quality,
        "pre_roll": config.detection.pre_roll,
        "pre_roll_pictures": config.detection.pre_roll_pictures,
        "camera": camera_url(config),
        "model": config.model,
        "allow_reboot": config.allow_reboot,
    })
}
