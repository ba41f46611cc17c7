//! The one owner of the camera. Commands, detection and heartbeats share it through here.
//!
//! A thread of its own, because cameras block, and some hang. Requests wait in a short queue; who
//! waits too long gives up, and the thread throws away what nobody waits for any more.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cloudcore_protocol::CameraState;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    camera::{self, Camera, CameraSource, Frame},
};

/// Requests that wait.
const QUEUE: usize = 8;

/// A camera that takes this long hangs. Who waits for less time learns nothing about it.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EyeError {
    /// No camera is configured.
    #[error("no camera is configured")]
    NoCamera,
    /// The camera gives none.
    #[error("{0}")]
    Lost(String),
    /// Others wait for it already.
    #[error("the camera is busy")]
    Busy,
    /// It did not answer in time.
    #[error("the camera did not answer within {0:?}")]
    Slow(Duration),
}

enum Request {
    Look { until: Instant, reply: oneshot::Sender<Result<Frame, EyeError>> },
    Use(Option<CameraSource>),
}

/// The camera's owner; clones are the same one.
#[derive(Debug, Clone)]
pub struct Eye {
    requests: mpsc::Sender<Request>,
    state: Arc<watch::Sender<CameraState>>,
}

impl Eye {
    /// Opens nothing yet: the camera is opened when the first picture is asked for.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn open(camera: Option<CameraSource>) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(watch::Sender::new(at_rest(camera.as_ref())));
        let tell = Arc::clone(&state);
        thread::Builder::new().name("camera".into()).spawn(move || own(camera, queue, &tell))?;
        Ok(Self { requests, state })
    }

    /// What is known of the camera.
    #[must_use]
    pub fn state(&self) -> CameraState {
        self.state.borrow().clone()
    }

    /// Wakes when that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<CameraState> {
        self.state.subscribe()
    }

    /// A picture taken from now on.
    ///
    /// # Errors
    /// [`EyeError`].
    pub async fn look(&self, within: Duration) -> Result<Frame, EyeError> {
        let (reply, answer) = oneshot::channel();
        let until = Instant::now() + within;
        self.requests.try_send(Request::Look { until, reply }).map_err(|_| EyeError::Busy)?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(EyeError::Busy),
            Err(_) => {
                let slow = EyeError::Slow(within);
                if within >= LOST_AFTER {
                    tell(&self.state, CameraState::Lost(slow.to_string()));
                }
                Err(slow)
            }
        }
    }

    /// Changes to another camera, or none.
    pub async fn switch(&self, camera: Option<CameraSource>) {
        // The thread lives as long as a handle to it.
        self.requests.send(Request::Use(camera)).await.ok();
    }
}

/// Of a camera that was not needed yet.
const fn at_rest(configured: Option<&CameraSource>) -> CameraState {
    match configured {
        Some(_) => CameraState::Ready,
        None => CameraState::None,
    }
}

fn tell(state: &watch::Sender<CameraState>, new: CameraState) {
    state.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}

fn own(
    mut configured: Option<CameraSource>,
    mut queue: mpsc::Receiver<Request>,
    state: &watch::Sender<CameraState>,
) {
    let mut open: Option<Box<dyn Camera>> = None;
    while let Some(request) = queue.blocking_recv() {
        match request {
            Request::Use(camera) => {
                if camera != configured {
                    open = None;
                    configured = camera;
                    tell(state, at_rest(configured.as_ref()));
                }
            }
            Request::Look { until, reply } => {
                // Whoever asked has gone: a slow camera must not work through a queue of ghosts.
                if reply.is_closed() || Instant::now() >= until {
                    continue;
                }
                let result = match &configured {
                    None => Err(EyeError::NoCamera),
                    Some(source) => take(source, &mut open).map_err(EyeError::Lost),
                };
                match &result {
                    Ok(_) => tell(state, CameraState::Ready),
                    Err(EyeError::Lost(reason)) => {
                        open = None;
                        tell(state, CameraState::Lost(reason.clone()));
                    }
                    Err(_) => {}
                }
                reply.send(result).ok();
            }
        }
    }
}

fn take(source: &CameraSource, open: &mut Option<Box<dyn Camera>>) -> Result<Frame, String> {
    let camera = match open {
        Some(camera) => camera,
        None => open.insert(camera::open(source).map_err(|e| e.to_string())?),
    };
    camera.capture().map_err(|e| e.to_string())
}
