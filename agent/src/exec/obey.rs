//! What each command does.

use cloudcore_protocol::{
    CommandId, CommandOutcome,
    command::{SetConfig, StartDetection, Task},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{After, Rooms, failed};
use crate::{apps::AppError, watch::WatchError};

impl Rooms {
    /// Does it; how it ended, and what follows once that is kept.
    pub(super) async fn perform(
        &self,
        id: &CommandId,
        task: Task,
        deadline: Instant,
    ) -> (CommandOutcome, After) {
        let outcome = match task {
            Task::CaptureImage(how) => self.capture(id, how, deadline).await,
            Task::GetStatus => Ok(self.status().await),
            Task::StartDetection(how) => self.start_detection(how).await,
            Task::StopDetection => self.stop_detection().await,
            Task::SetConfig(change) => self.set_config(change).await,
            Task::RunDiagnostics => Ok(self.diagnose().await),
            Task::Reboot if self.settings.get().allow_reboot => {
                let said = json!({ "success": true, "rebooting": true });
                return (completed(&said), After::Reboot);
            }
            Task::Reboot => Err(failed(
                "not_allowed",
                "this device does not allow the hub to restart it (`allow_reboot` in agent.toml)",
            )),
            Task::Ping => Ok(self.ping()),
            Task::PortCheck(check) => self.port_check(check).await,
            Task::CameraTest => self.camera_test().await,
            Task::DeployApp(app) => self.apps.deploy(id, app).await.map_err(|e| app_failed(&e)),
            Task::RemoveApp(app) => self.apps.remove(app.name).await.map_err(|e| app_failed(&e)),
            Task::GetAppLogs(how) => self.apps.logs(how).await.map_err(|e| app_failed(&e)),
        };
        (outcome.map_or_else(|failure| failure, |value| completed(&value)), After::Nothing)
    }

    async fn start_detection(&self, how: StartDetection) -> Result<Value, CommandOutcome> {
        let started = self.watch.start(how).await.map_err(|e| detection_failed(&e))?;
        Ok(json!({
            "success": true,
            "detecting": true,
            "model": started.model,
            "confidence": short(started.confidence.get()),
            "interval": f64::from(started.interval),
        }))
    }

    async fn stop_detection(&self) -> Result<Value, CommandOutcome> {
        self.watch.stop().await.map_err(|e| detection_failed(&e))?;
        Ok(json!({ "success": true, "detecting": false }))
    }

    /// All of it or nothing: what is wrong is refused before anything changes.
    async fn set_config(&self, change: SetConfig) -> Result<Value, CommandOutcome> {
        let camera = change
            .camera
            .as_deref()
            .map(|url| (!url.is_empty()).then(|| url.parse()).transpose())
            .transpose()
            .map_err(|e: crate::camera::SourceError| {
                failed("invalid_parameters", &e.to_string())
            })?;
        let config = self
            .settings
            .change(|config| {
                if let Some(interval) = change.heartbeat_interval {
                    config.heartbeat_interval = interval;
                }
                if let Some(interval) = change.detection_interval {
                    config.detection.interval = interval;
                }
                if let Some(confidence) = change.confidence {
                    config.detection.confidence = confidence;
                }
                if let Some(camera) = camera {
                    config.camera = camera;
                }
            })
            .await
            .map_err(|e| failed("config_not_saved", &e.to_string()))?;
        self.eye.switch(config.camera.clone()).await;
        Ok(json!({ "success": true, "config": super::reports::config(&config) }))
    }
}

fn detection_failed(error: &WatchError) -> CommandOutcome {
    let term = match error {
        WatchError::NoModel | WatchError::Model(_) => "model_unavailable",
        WatchError::Camera(_) => "camera_unavailable",
        WatchError::Config(_) => "config_not_saved",
        WatchError::Stopping => "interrupted",
    };
    failed(term, &error.to_string())
}

fn app_failed(error: &AppError) -> CommandOutcome {
    failed(error.term(), &error.to_string())
}

fn completed(value: &Value) -> CommandOutcome {
    CommandOutcome::Completed(value.to_string())
}

/// 0.4 stays 0.4, and does not become 0.4000000059604645.
pub(super) fn short(score: f32) -> f64 {
    (f64::from(score) * 10_000.0).round() / 10_000.0
}
