//! What each command does.

use cloudcore_protocol::{
    CommandId, CommandOutcome, ModelId,
    command::{SetConfig, StartDetection, Task},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{After, Rooms, failed};
use crate::{
    apps::AppError,
    config::ModelSource,
    models::ModelError,
    watch::{self, WatchError},
};

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
            Task::RestartAgent => match self.ask_restart(id).await {
                Ok(()) => return (completed(&json!({ "success": true })), After::Restart),
                Err(failure) => Err(failure),
            },
            Task::UpdateAgent(update) => match self.prepare_update(id, update).await {
                Ok(()) => return (completed(&json!({ "success": true })), After::Restart),
                Err(failure) => Err(failure),
            },
            Task::Ping => Ok(self.ping()),
            Task::PortCheck(check) => self.port_check(check).await,
            Task::CameraTest => self.camera_test().await,
            Task::DeployApp(app) => self.apps.deploy(id, app).await.map_err(|e| app_failed(&e)),
            Task::RemoveApp(app) => self.apps.remove(app.name).await.map_err(|e| app_failed(&e)),
            Task::GetAppLogs(how) => self.apps.logs(how).await.map_err(|e| app_failed(&e)),
            Task::GetLogs(asked) => Ok(self.own_logs(&asked)),
            Task::RunProgram(asked) => self.run_program(asked).await,
            Task::UploadFile(asked) => self.upload_file(id, asked, deadline).await,
        };
        (outcome.map_or_else(|failure| failure, |value| completed(&value)), After::Nothing)
    }

    async fn start_detection(&self, how: StartDetection) -> Result<Value, CommandOutcome> {
        let before = match &how.model {
            Some(id) => {
                self.proven(id).await?;
                Some(self.use_model(Some(ModelSource::Catalog(id.clone()))).await?)
            }
            None => None,
        };
        let started = match self.watch.start(how).await {
            Ok(started) => started,
            Err(error) => {
                if let Some(before) = before {
                    self.use_model(before).await?;
                }
                return Err(detection_failed(&error));
            }
        };
        Ok(json!({
            "success": true,
            "detecting": true,
            "model": started.model,
            "confidence": started.confidence,
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
        if let Some(id) = &change.model {
            self.proven(id).await?;
        }
        let config = self
            .settings
            .change(|config| {
                set(&mut config.heartbeat_interval, change.heartbeat_interval);
                let detection = &mut config.detection;
                set(&mut detection.interval, change.detection_interval);
                set(&mut detection.confidence, change.confidence);
                set(&mut detection.objects, change.objects);
                set(&mut detection.masks, change.masks);
                set(&mut detection.object_masks, change.object_masks);
                set(&mut detection.zones, change.zones);
                set(&mut detection.only_in_zones, change.only_in_zones);
                set(&mut detection.filters, change.filters);
                set(&mut detection.stationary_interval, change.stationary_interval);
                set(&mut detection.snapshots, change.snapshots);
                set(&mut detection.snapshot_quality, change.snapshot_quality);
                set(&mut detection.pre_roll, change.pre_roll);
                set(&mut detection.pre_roll_pictures, change.pre_roll_pictures);
                set(&mut config.model, change.model.map(|id| Some(ModelSource::Catalog(id))));
                set(&mut config.capture_interval, change.capture_interval);
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

/// What is absent stays.
fn set<T>(setting: &mut T, change: Option<T>) {
    if let Some(change) = change {
        *setting = change;
    }
}

impl Rooms {
    /// Has a model of the catalog fetched and loaded; nothing changes where that fails.
    async fn proven(&self, id: &ModelId) -> Result<(), CommandOutcome> {
        let unavailable = |e: ModelError| failed("model_unavailable", &e.to_string());
        let path = self.models.fetch(id).await.map_err(unavailable)?;
        let config = self.settings.get();
        watch::try_model(&path, &config).await.map_err(|e| detection_failed(&e))?;
        self.models.loaded(id).await.map_err(unavailable)
    }

    /// Sets the model; the one before.
    async fn use_model(
        &self,
        model: Option<ModelSource>,
    ) -> Result<Option<ModelSource>, CommandOutcome> {
        let mut before = None;
        let change = |config: &mut crate::config::Config| {
            before = std::mem::replace(&mut config.model, model);
        };
        let changed = self.settings.change(change).await;
        changed.map_err(|e| failed("config_not_saved", &e.to_string()))?;
        Ok(before)
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

pub(super) fn completed(value: &Value) -> CommandOutcome {
    CommandOutcome::Completed(value.to_string())
}
