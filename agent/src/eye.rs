//! The one owner of the camera. Commands, detection and heartbeats share it through here.
//!
//! A thread of its own, because cameras block, and some hang. Requests wait in a short queue, and
//! all that wait share one picture; who waits too long gives up, and the thread throws away what
//! nobody waits for any more.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cloudcore_protocol::CameraState;
use tokio::sync::{mpsc, oneshot, watch};

use crate::camera::{self, Camera, CameraSource, Frame};

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
    /// Its owner has gone.
    #[error("the camera is closed")]
    Closed,
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
        let asked = async {
            let request = Request::Look { until, reply };
            self.requests.send(request).await.map_err(|_| EyeError::Closed)?;
            answer.await.map_err(|_| EyeError::Closed)?
        };
        match tokio::time::timeout(within, asked).await {
            Ok(result) => result,
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
    let mut next = None;
    while let Some(request) = next.take().or_else(|| queue.blocking_recv()) {
        let mut waiting = Vec::new();
        match request {
            Request::Use(camera) => {
                if camera != configured {
                    open = None;
                    configured = camera;
                    tell(state, at_rest(configured.as_ref()));
                }
                continue;
            }
            Request::Look { until, reply } => waiting.push((until, reply)),
        }
        // All who wait get the same picture: it is taken after each of them asked.
        while next.is_none() {
            match queue.try_recv() {
                Ok(Request::Look { until, reply }) => waiting.push((until, reply)),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        // A slow camera must not work for those who have gone.
        waiting.retain(|(until, reply)| !reply.is_closed() && Instant::now() < *until);
        if waiting.is_empty() {
            continue;
        }
        let result = match &configured {
            None => Err(EyeError::NoCamera),
            Some(source) => {
                // A driver's panic is the loss of a camera, and not of the thread that owns it.
                let taken = catch_unwind(AssertUnwindSafe(|| take(source, &mut open)));
                let taken = taken.unwrap_or_else(|_| Err("the camera's driver panicked".into()));
                taken.map_err(EyeError::Lost)
            }
        };
        match &result {
            Ok(_) => tell(state, CameraState::Ready),
            Err(EyeError::Lost(reason)) => {
                open = None;
                tell(state, CameraState::Lost(reason.clone()));
            }
            Err(_) => {}
        }
        for (_, reply) in waiting {
            reply.send(result.clone()).ok();
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_camera_is_lost_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("1.png");
        let source: CameraSource = format!("file://{}", picture.display()).parse().unwrap();
        let eye = Eye::open(None).unwrap();
        assert_eq!(eye.look(SOON).await.unwrap_err(), EyeError::NoCamera);
        eye.switch(Some(source)).await;
        assert!(matches!(eye.look(SOON).await, Err(EyeError::Lost(_))));
        assert!(matches!(eye.state(), CameraState::Lost(_)));
        image::RgbImage::new(32, 16).save(&picture).unwrap();
        assert_eq!(eye.look(SOON).await.unwrap().image.dimensions(), (32, 16));
        assert_eq!(eye.state(), CameraState::Ready);
        eye.switch(None).await;
        assert_eq!(eye.look(SOON).await.unwrap_err(), EyeError::NoCamera);
        assert_eq!(eye.state(), CameraState::None);
    }

    #[tokio::test]
    async fn a_crowd_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let picture = dir.path().join("1.png");
        image::RgbImage::new(32, 16).save(&picture).unwrap();
        let source: CameraSource = format!("file://{}", picture.display()).parse().unwrap();
        let eye = Eye::open(Some(source)).unwrap();
        let looks = futures_util::future::join_all((0..100).map(|_| eye.look(SOON))).await;
        assert!(looks.iter().all(Result::is_ok));
    }
}
