//! `run_diagnostics`: what works is tried, not assumed.

use std::time::Duration;

use serde_json::{Value, json};

use cloudcore_protocol::Timestamp;

use super::Rooms;
use crate::{machine, watch};

const PICTURE: Duration = Duration::from_secs(10);
/// Below this the outbox and updates are in danger.
const LEAST_FREE: u64 = 200 << 20;
/// A clock further off than this makes times of events useless.
const MOST_OFFSET_MS: i64 = 5_000;

type Check = Result<String, String>;

impl Rooms {
    pub(super) async fn diagnose(&self) -> Value {
        let (camera, model) = tokio::join!(self.check_camera(), self.check_model());
        let checks = [
            ("camera", camera),
            ("model", model),
            ("disk", self.check_disk()),
            ("clock", self.check_clock()),
            ("link", self.check_link()),
        ];
        let all = checks.iter().all(|(_, check)| check.is_ok());
        let checks: serde_json::Map<String, Value> = checks
            .into_iter()
            .map(|(name, check)| {
                let ok = check.is_ok();
                let detail = check.unwrap_or_else(|problem| problem);
                (name.to_owned(), json!({ "ok": ok, "detail": detail }))
            })
            .collect();
        json!({ "success": true, "healthy": all, "checks": checks, "timestamp": Timestamp::now() })
    }

    async fn check_camera(&self) -> Check {
        if self.settings.get().camera.is_none() {
            return Ok("none is configured".into());
        }
        let frame = self.eye.look(PICTURE).await.map_err(|e| e.to_string())?;
        Ok(format!("gives pictures of {}x{}", frame.image.width(), frame.image.height()))
    }

    async fn check_model(&self) -> Check {
        let config = self.settings.get();
        if config.model.is_none() {
            return Ok("none is configured".into());
        }
        let model =
            watch::load_model(config.model_path.as_deref()).await.map_err(|e| e.to_string())?;
        let description = model.description();
        Ok(format!("{} with {} classes loads", description.name, description.labels.len()))
    }

    fn check_disk(&self) -> Check {
        let disk = machine::disk(self.settings.data_dir()).map_err(|e| e.desc().to_owned())?;
        let free = disk.available;
        let detail = format!("{} of {} MiB are free", free >> 20, disk.total >> 20);
        if free < LEAST_FREE { Err(detail) } else { Ok(detail) }
    }

    fn check_clock(&self) -> Check {
        let Some(live) = self.link.state().live else {
            return Err("unknown: there is no link to the hub".into());
        };
        let detail = format!("{} ms behind the hub's", live.clock_offset_ms);
        if live.clock_offset_ms.abs() > MOST_OFFSET_MS { Err(detail) } else { Ok(detail) }
    }

    fn check_link(&self) -> Check {
        let state = self.link.state();
        let waiting = self.outbox.counts().waiting;
        match state.live {
            Some(live) => Ok(format!(
                "session {} with {} since {}, round trip {:?}, {waiting} events wait",
                live.generation,
                live.hub,
                live.since,
                live.round_trip()
            )),
            None => Err(state.problem.unwrap_or_else(|| "not connected yet".into())),
        }
    }
}
