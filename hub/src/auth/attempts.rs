//! Failed logins, counted per user and per address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long failures count.
const WINDOW: Duration = Duration::from_secs(300);
/// Failures in that time, for one user name.
const PER_USER: u32 = 10;
/// The same for one address, which many people may share.
const PER_ADDRESS: u32 = 30;
/// Names and addresses remembered at once.
const MAX_KEYS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    Address(IpAddr),
}

/// The failures of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<Key, (u32, Instant)>>);

impl Attempts {
    fn failures(&self) -> MutexGuard<'_, HashMap<Key, (u32, Instant)>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may try.
    pub(super) fn allows(&self, user: &str, from: IpAddr) -> bool {
        let failures = self.failures();
        let below = |key: &Key, most| {
            failures.get(key).is_none_or(|(n, since)| *n < most || since.elapsed() >= WINDOW)
        };
        below(&Key::User(user.to_owned()), PER_USER) && below(&Key::Address(from), PER_ADDRESS)
    }

    /// One has failed.
    pub(super) fn failed(&self, user: &str, from: IpAddr) {
        let mut failures = self.failures();
        if failures.len() >= MAX_KEYS {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
        }
        if failures.len() >= MAX_KEYS {
            // A flood of names: what is left of the limit is the two hashes at a time.
            failures.clear();
        }
        for key in [Key::User(user.to_owned()), Key::Address(from)] {
            let entry = failures.entry(key).or_insert((0, Instant::now()));
            if entry.1.elapsed() >= WINDOW {
                *entry = (0, Instant::now());
            }
            entry.0 += 1;
        }
    }

    /// One has succeeded: the name's failures are forgiven.
    pub(super) fn succeeded(&self, user: &str) {
        self.failures().remove(&Key::User(user.to_owned()));
    }
}
