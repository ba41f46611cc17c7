//! The newest of a stream, for one who looks now and then.
//!
//! The reader of a stream goes on at the camera's pace and hands something over only when somebody
//! waits for it; all else is dropped, and memory holds one at most. A stream that nobody looks at
//! ends itself.

use std::{
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::NetworkError;

/// A stream that nobody looks at costs network and power; opening it again takes a second or two.
const IDLE: Duration = Duration::from_secs(15);

struct State<T> {
    waiting: bool,
    looked: Instant,
    item: Option<T>,
    /// Why there will be no more.
    ended: Option<NetworkError>,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The looking end.
pub(super) struct Feed<T> {
    shared: Arc<Shared<T>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

/// The reading end.
pub(super) struct Feeder<T>(Arc<Shared<T>>);

impl<T: Send + 'static> Feed<T> {
    /// Reads on a thread of its own, which ends with this: `socket` is what it waits for.
    pub(super) fn start(
        socket: TcpStream,
        read: impl FnOnce(&Feeder<T>) -> Result<(), NetworkError> + Send + 'static,
    ) -> Result<Self, NetworkError> {
        let state = State {
            waiting: false,
            looked: Instant::now(),
            item: None,
            ended: None,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let feeder = Feeder(Arc::clone(&shared));
        let run = move || {
            // Also where the reader panics: its last words are then that it ended.
            let mut last = Last { feeder, problem: NetworkError::Closed };
            if let Err(problem) = read(&last.feeder) {
                last.problem = problem;
            }
        };
        let thread = thread::Builder::new()
            .name("camera-stream".into())
            .spawn(run)
            .map_err(|_| NetworkError::Refused("this machine has no thread left".into()))?;
        Ok(Self { shared, socket, thread: Some(thread) })
    }

    /// The next that arrives.
    pub(super) fn next(&self, within: Duration) -> Result<T, NetworkError> {
        let end = Instant::now() + within;
        let mut state = self.shared.lock();
        state.looked = Instant::now();
        state.item = None;
        state.waiting = true;
        loop {
            if let Some(item) = state.item.take() {
                state.looked = Instant::now();
                return Ok(item);
            }
            if let Some(problem) = state.ended.take() {
                state.ended = Some(NetworkError::Closed);
                return Err(problem);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting = false;
                return Err(NetworkError::Slow("no picture came"));
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether its reader is gone.
    pub(super) fn ended(&self) -> bool {
        self.shared.lock().ended.is_some()
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        // What the reader waits for comes to an end.
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<T> Feeder<T> {
    /// Whether somebody waits for the next one.
    pub(super) fn wanted(&self) -> bool {
        self.0.lock().waiting
    }

    /// Hands it over.
    pub(super) fn give(&self, item: T) {
        let mut state = self.0.lock();
        if state.waiting {
            state.waiting = false;
            state.item = Some(item);
            self.0.changed.notify_one();
        }
    }

    /// Whether nobody has looked for a while, or will.
    pub(super) fn idle(&self) -> bool {
        let state = self.0.lock();
        state.closed || (!state.waiting && state.looked.elapsed() > IDLE)
    }
}

struct Last<T> {
    feeder: Feeder<T>,
    problem: NetworkError,
}

impl<T> Drop for Last<T> {
    fn drop(&mut self) {
        let problem = std::mem::replace(&mut self.problem, NetworkError::Closed);
        self.feeder.0.lock().ended = Some(problem);
        self.feeder.0.changed.notify_one();
    }
}
