//! Watching the camera: frame, motion, objects, tracks, events.
//!
//! One task does one frame at a time; a detector slower than the interval skips frames and never
//! queues them. It also minds the camera: one that vanishes is an alert, and is tried again with
//! growing pauses, also while nothing is being detected. Whether detection is on survives a
//! restart.

mod analyse;
mod snapshot;

use std::time::Duration;

use cloudcore_protocol::{
    Alert, CameraState,
    command::{Confidence, Seconds, StartDetection},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use analyse::{Analyser, Found};
pub use analyse::{load_model, try_model};

use crate::{
    backoff::Backoff,
    config::{Config, ConfigError, Settings},
    eye::{Eye, EyeError},
    outbox::Outbox,
};

/// How long a frame may take.
const FRAME: Duration = Duration::from_secs(5);
/// After a model that could not be loaded, or whose process died: the first pause, the longest.
const MODEL_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Numbers set aside for the tracks of one start of detection.
const TRACK_ROOM: u32 = 1 << 24;
/// Between tries to keep events on a full disk.
const STORE_RETRY: Duration = Duration::from_secs(1);
const CAMERA_LOST: &str = "camera_lost";
const DETECTION_FAILED: &str = "detection_failed";

/// Why detection does not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No model is configured.
    #[error("no detection model is configured (`model` in agent.toml)")]
    NoModel,
    /// The model can't be used.
    #[error("the detection model: {0}")]
    Model(String),
    /// The camera gives no picture.
    #[error(transparent)]
    Camera(#[from] EyeError),
    /// The setting can't be kept.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The agent is stopping.
    #[error("the agent stops")]
    Stopping,
}

/// Detection that is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The model's name.
    pub model: String,
    /// Least score.
    pub confidence: Confidence,
    /// From frame to frame.
    pub interval: Seconds,
}

enum Request {
    Start(StartDetection, oneshot::Sender<Result<Started, WatchError>>),
    Stop(oneshot::Sender<Result<(), WatchError>>),
}

/// Turns detection on and off; clones are the same one.
#[derive(Debug, Clone)]
pub struct WatchHandle {
    requests: mpsc::Sender<Request>,
    detecting: watch::Receiver<bool>,
}

impl WatchHandle {
    /// Whether detection is on and works.
    #[must_use]
    pub fn detecting(&self) -> watch::Receiver<bool> {
        self.detecting.clone()
    }

    /// Turns detection on, once model and camera have proved to work.
    ///
    /// # Errors
    /// [`WatchError`]; nothing has changed then.
    pub async fn start(&self, how: StartDetection) -> Result<Started, WatchError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Start(how, reply)).await.map_err(|_| WatchError::Stopping)?;
        answer.await.map_err(|_| WatchError::Stopping)?
    }

    /// Turns detection off, and ends what was in sight.
    ///
    /// # Errors
    /// [`WatchError`].
    pub async fn stop(&self) -> Result<(), WatchError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Stop(reply)).await.map_err(|_| WatchError::Stopping)?;
        answer.await.map_err(|_| WatchError::Stopping)?
    }
}

/// The watching task, to be run.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    eye: Eye,
    outbox: Outbox,
    requests: mpsc::Receiver<Request>,
    detecting: watch::Sender<bool>,
}

impl Watch {
    /// To watch with this eye.
    #[must_use]
    pub fn new(settings: Settings, eye: Eye, outbox: Outbox) -> (Self, WatchHandle) {
        let (requests_in, requests) = mpsc::channel(4);
        let (detecting, seen) = watch::channel(false);
        let handle = WatchHandle { requests: requests_in, detecting: seen };
        (Self { settings, eye, outbox, requests, detecting }, handle)
    }

    /// Watches until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let ended = self.outbox.end_forgotten_tracks().await;
        if let Err(error) = &ended {
            tracing::warn!(%error, "what was in sight before the restart is not ended");
        }
        let mut camera = self.eye.subscribe();
        let mut changes = self.settings.subscribe();
        let mut told = Told {
            camera: self.outbox.alerted(CAMERA_LOST).await.unwrap_or_default(),
            detection: self.outbox.alerted(DETECTION_FAILED).await.unwrap_or_default(),
        };
        let mut retries = Retries {
            camera: Backoff::new(Duration::from_secs(2), Duration::from_secs(30)),
            model: Backoff::new(MODEL_RETRY.0, MODEL_RETRY.1),
        };
        let mut analyser: Option<Analyser> = None;
        // Of the next frame, the next try at the model, or the next look at a lost camera.
        let mut next = Instant::now();
        loop {
            let config = self.settings.get();
            if let Some(running) = &mut analyser
                && (!config.detection.enabled || !running.fits(&config))
            {
                let ended = running.finish(&config.detection);
                self.keep(ended, &cancel).await;
                analyser = None;
                next = Instant::now();
            }
            self.detecting.send_if_modified(|now| {
                let changed = *now != analyser.is_some();
                *now = analyser.is_some();
                changed
            });
            let lost = matches!(self.eye.state(), CameraState::Lost(_));
            let due = config.detection.enabled || lost || told.camera;
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                request = self.requests.recv() => match request {
                    Some(request) => {
                        self.serve(request, &mut analyser, &cancel).await;
                        next = Instant::now();
                    }
                    None => break,
                },
                changed = changes.changed() => if changed.is_err() { break },
                changed = camera.changed() => {
                    if changed.is_err() { break }
                    self.tell_camera(&mut told, &cancel).await;
                }
                () = sleep_until(next), if due => {
                    next = self
                        .turn(&config, &mut analyser, &mut told, &mut retries, next, &cancel)
                        .await;
                }
            }
        }
        if let Some(mut running) = analyser {
            // The agent stops: one try, its caller does not wait for a full disk.
            let Found { detections, pictures } = running.finish(&self.settings.get().detection);
            if let Err(error) = self.outbox.detections_with(detections, pictures).await {
                tracing::warn!(%error, "what is in sight is not ended");
            }
        }
        self.detecting.send_replace(false);
    }

    /// What is due: a frame, the model, or a look at a lost camera. Says when the next is.
    async fn turn(
        &self,
        config: &Config,
        analyser: &mut Option<Analyser>,
        told: &mut Told,
        retries: &mut Retries,
        planned: Instant,
        cancel: &CancellationToken,
    ) -> Instant {
        if config.detection.enabled && analyser.is_none() {
            match self.analyser(config).await {
                Ok(ready) => *analyser = Some(ready),
                Err(error) => {
                    self.tell_detection(told, Some(&error.to_string()), cancel).await;
                    return Instant::now() + retries.model.next();
                }
            }
        }
        let looked = tokio::select! {
            () = cancel.cancelled() => return planned,
            looked = self.eye.look(FRAME) => looked,
        };
        self.tell_camera(told, cancel).await;
        let frame = match looked {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "no frame");
                if let Some(running) = analyser {
                    let ended = running.finish(&config.detection);
                    self.keep(ended, cancel).await;
                }
                return Instant::now() + retries.camera.next().max(Duration::from_millis(500));
            }
        };
        retries.camera.reset();
        if let Some(mut running) = analyser.take() {
            let seen = tokio::select! {
                () = cancel.cancelled() => None,
                seen = running.frame(&frame, &config.detection) => Some(seen),
            };
            match seen {
                None => *analyser = Some(running),
                Some(Ok(found)) => {
                    self.keep(found, cancel).await;
                    // Encoding takes time, and what began is told before.
                    let pictures = running.pictures(frame, &config.detection).await;
                    self.keep(pictures, cancel).await;
                    *analyser = Some(running);
                    self.tell_detection(told, None, cancel).await;
                    retries.model.reset();
                }
                Some(Err(problem)) => {
                    self.tell_detection(told, Some(&problem.message), cancel).await;
                    if problem.is_fatal {
                        // A fresh process at one of the next turns.
                        let ended = running.finish(&config.detection);
                        self.keep(ended, cancel).await;
                        return Instant::now() + retries.model.next();
                    }
                    *analyser = Some(running);
                }
            }
        }
        // A frame that took too long is no debt: what was missed is skipped.
        (planned + config.detection.interval.duration()).max(Instant::now())
    }

    async fn analyser(&self, config: &Config) -> Result<Analyser, WatchError> {
        let detector = load_model(config).await?;
        let first_id = self
            .outbox
            .reserve_track_ids(TRACK_ROOM)
            .await
            .map_err(|e| WatchError::Model(e.to_string()))?;
        Ok(Analyser::new(detector, first_id, config))
    }

    async fn serve(
        &self,
        request: Request,
        analyser: &mut Option<Analyser>,
        cancel: &CancellationToken,
    ) {
        match request {
            Request::Start(how, reply) => {
                let done = tokio::select! {
                    () = cancel.cancelled() => Err(WatchError::Stopping),
                    done = self.start(how, analyser, cancel) => done,
                };
                reply.send(done).ok();
            }
            Request::Stop(reply) => {
                let done = self.settings.change(|config| config.detection.enabled = false).await;
                if done.is_ok()
                    && let Some(mut running) = analyser.take()
                {
                    let ended = running.finish(&self.settings.get().detection);
                    self.keep(ended, cancel).await;
                }
                // Before the answer, so that what follows it sees it.
                self.detecting.send_replace(analyser.is_some());
                reply.send(done.map(drop).map_err(WatchError::from)).ok();
            }
        }
    }

    async fn start(
        &self,
        how: StartDetection,
        analyser: &mut Option<Analyser>,
        cancel: &CancellationToken,
    ) -> Result<Started, WatchError> {
        let set = |config: &mut Config| {
            config.detection.enabled = true;
            config.detection.confidence = how.confidence.unwrap_or(config.detection.confidence);
            config.detection.interval = how.interval.unwrap_or(config.detection.interval);
        };
        let mut wanted = Config::clone(&self.settings.get());
        set(&mut wanted);
        let unchanged = analyser.as_ref().is_some_and(|running| running.fits(&wanted));
        // Detection that runs already goes on, with what it tracks.
        let fresh = if unchanged { None } else { Some(self.analyser(&wanted).await?) };
        self.eye.look(FRAME).await?;
        let config = self.settings.change(set).await?;
        if let Some(fresh) = fresh
            && let Some(mut running) = analyser.replace(fresh)
        {
            let ended = running.finish(&self.settings.get().detection);
            self.keep(ended, cancel).await;
        }
        self.detecting.send_replace(true);
        Ok(Started {
            model: analyser.as_ref().map(|running| running.model().to_owned()).unwrap_or_default(),
            confidence: config.detection.confidence,
            interval: config.detection.interval,
        })
    }

    /// Keeps what was found, however long the disk is full: nothing new is looked at meanwhile.
    async fn keep(&self, found: Found, cancel: &CancellationToken) {
        if found.detections.is_empty() && found.pictures.is_empty() {
            return;
        }
        let keep = || {
            let Found { detections, pictures } = found.clone();
            self.outbox.detections_with(detections, pictures)
        };
        while let Err(error) = keep().await {
            tracing::warn!(%error, "detections are not kept, trying again");
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(STORE_RETRY) => {}
            }
        }
    }

    async fn tell_camera(&self, told: &mut Told, cancel: &CancellationToken) {
        let (active, message) = match self.eye.state() {
            CameraState::Lost(reason) => (true, reason),
            CameraState::Ready | CameraState::None => (false, "the camera is back".into()),
        };
        if told.camera != active && self.alert(CAMERA_LOST, message, active, cancel).await {
            told.camera = active;
        }
    }

    async fn tell_detection(
        &self,
        told: &mut Told,
        problem: Option<&str>,
        cancel: &CancellationToken,
    ) {
        let message = problem.unwrap_or("detection works again").to_owned();
        let active = problem.is_some();
        if told.detection != active && self.alert(DETECTION_FAILED, message, active, cancel).await {
            told.detection = active;
        }
    }

    /// Whether it was kept.
    async fn alert(
        &self,
        kind: &str,
        message: String,
        active: bool,
        cancel: &CancellationToken,
    ) -> bool {
        if active {
            tracing::warn!(kind, message, "alert");
        } else {
            tracing::info!(kind, message, "alert ended");
        }
        let alert = Alert { kind: kind.to_owned(), message, active };
        while let Err(error) = self.outbox.alert(alert.clone()).await {
            tracing::warn!(%error, "an alert is not kept, trying again");
            tokio::select! {
                () = cancel.cancelled() => return false,
                () = tokio::time::sleep(STORE_RETRY) => {}
            }
        }
        true
    }
}

/// How long to wait for what is lost.
struct Retries {
    camera: Backoff,
    model: Backoff,
}

/// The alerts that the hub takes to go on.
struct Told {
    camera: bool,
    detection: bool,
}
