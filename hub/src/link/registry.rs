//! Which session a device has. A newer session takes over; an older one can never end it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cloudcore_protocol::{DeviceId, Frame, GoodbyeReason, NodeName, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};

/// Frames that wait for one device.
pub(super) const QUEUE: usize = 1024;
/// How long a frame waits for room among them.
const ROOM: Duration = Duration::from_secs(10);

/// A device's live connection: of an agent over the link, or of a device by another way.
#[derive(Debug)]
pub struct Session {
    /// The device.
    pub device_id: DeviceId,
    /// Its node.
    pub node_name: NodeName,
    /// Grows with each session of this hub, and over its restarts.
    pub generation: u64,
    /// SHA-256 of the certificate it came with, hex; empty for a session that is not the link's.
    pub fingerprint: String,
    /// What its agent can do beyond the protocol's version.
    pub capabilities: Vec<String>,
    /// The agent's outbox, which gives its sequence numbers meaning.
    pub outbox_id: u64,
    /// The connection under it, for streams beside its own; none for a session that is not the
    /// link's.
    pub(super) connection: Option<quinn::Connection>,
    /// Places of those who follow the agent's log.
    pub(super) followers: Arc<Semaphore>,
    pub(super) queue: mpsc::Sender<Frame>,
    pub(super) end: watch::Sender<Option<GoodbyeReason>>,
    /// Whether it takes frames yet.
    pub(super) ready: AtomicBool,
}

/// The other end of a session that is not the link's.
#[derive(Debug)]
pub struct Carrier {
    /// What is sent to the device.
    pub queue: mpsc::Receiver<Frame>,
    /// Why the session has to end, as soon as it has to.
    pub end: watch::Receiver<Option<GoodbyeReason>>,
}

/// Why a frame was not handed to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The device has no session.
    Away,
    /// The device does not read what it is sent; its session was ended.
    Stuck,
}

impl Session {
    /// Hands a frame to the session's writer.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, frame: Frame) -> Result<(), SendError> {
        if !self.ready.load(Ordering::Acquire) {
            return Err(SendError::Away);
        }
        match self.queue.try_send(frame) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SendError::Away),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(GoodbyeReason::Protocol);
                Err(SendError::Stuck)
            }
        }
    }

    /// The same, once there is room: for what may be more than the queue holds.
    ///
    /// # Errors
    /// [`SendError`]; a device that reads nothing for a while is stuck.
    pub async fn send_when_room(&self, frame: Frame) -> Result<(), SendError> {
        if !self.is_ready() {
            return Err(SendError::Away);
        }
        match tokio::time::timeout(ROOM, self.queue.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SendError::Away),
            Err(_) => {
                self.close(GoodbyeReason::Protocol);
                Err(SendError::Stuck)
            }
        }
    }

    /// From now on the session takes frames.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether the session takes frames.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Ends the session, saying why.
    pub fn close(&self, reason: GoodbyeReason) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(reason);
            }
            first
        });
    }
}

/// The sessions, one a device.
#[derive(Debug)]
pub struct Registry {
    sessions: Mutex<HashMap<DeviceId, Arc<Session>>>,
    generation: AtomicU64,
    /// Places of those who follow a log, of all devices.
    pub(super) followers: Arc<Semaphore>,
}

impl Default for Registry {
    fn default() -> Self {
        // From the time, so that generations grow over restarts.
        let first = u64::try_from(Timestamp::now().micros()).unwrap_or(1);
        Self {
            sessions: Mutex::default(),
            generation: AtomicU64::new(first),
            followers: Arc::new(Semaphore::new(super::logs::IN_ALL)),
        }
    }
}

impl Registry {
    fn sessions(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<Session>>> {
        // Nothing panics while it holds the lock.
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a session that is not the link's, of a device without an agent. It takes frames
    /// from [`Session::set_ready`] on; who carries them calls [`Self::end`] when it is over.
    pub fn open(&self, device_id: &DeviceId, node_name: &NodeName) -> (Arc<Session>, Carrier) {
        let (queue_in, queue) = mpsc::channel(QUEUE);
        let (end_in, end) = watch::channel(None);
        let session = Arc::new(Session {
            device_id: device_id.clone(),
            node_name: node_name.clone(),
            generation: self.next_generation(),
            fingerprint: String::new(),
            capabilities: Vec::new(),
            outbox_id: 0,
            connection: None,
            followers: Session::follower_places(),
            queue: queue_in,
            end: end_in,
            ready: AtomicBool::new(false),
        });
        self.begin(&session);
        (session, Carrier { queue, end })
    }

    /// Makes this the device's session, and tells an older one that it is superseded. Of two that
    /// begin at the same time the newer one stays, whichever comes here first.
    pub(super) fn begin(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        match sessions.get(&session.device_id) {
            Some(newer) if newer.generation > session.generation => {
                session.close(GoodbyeReason::Superseded);
            }
            _ => {
                let old = sessions.insert(session.device_id.clone(), Arc::clone(session));
                if let Some(old) = old {
                    old.close(GoodbyeReason::Superseded);
                }
            }
        }
    }

    /// Forgets a session; whether it was still its device's.
    pub fn end(&self, session: &Session) -> bool {
        let mut sessions = self.sessions();
        let current =
            sessions.get(&session.device_id).is_some_and(|s| s.generation == session.generation);
        if current {
            sessions.remove(&session.device_id);
        }
        current
    }

    pub(super) fn close_all(&self) {
        for session in self.sessions().values() {
            session.close(GoodbyeReason::Shutdown);
        }
    }

    /// The device's session.
    #[must_use]
    pub fn get(&self, device: &DeviceId) -> Option<Arc<Session>> {
        self.sessions().get(device).cloned()
    }

    /// All sessions.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
    }

    /// Whether the device has a session.
    #[must_use]
    pub fn is_online(&self, device: &DeviceId) -> bool {
        self.sessions().contains_key(device)
    }

    /// Hands a frame to the device's session.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, device: &DeviceId, frame: Frame) -> Result<(), SendError> {
        self.get(device).ok_or(SendError::Away)?.send(frame)
    }

    /// Cuts the device off.
    pub fn close(&self, device: &DeviceId, reason: GoodbyeReason) {
        if let Some(session) = self.get(device) {
            session.close(reason);
        }
    }
}
