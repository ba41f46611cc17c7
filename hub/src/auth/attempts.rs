//! Failed logins, counted per user and per address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
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

    /// Counts one more try, before it is known how it ends; `false` where there were too many.
    pub(super) fn begin(&self, user: &str, from: IpAddr) -> bool {
        let mut failures = self.failures();
        if failures.len() >= MAX_KEYS {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
        }
        if failures.len() >= MAX_KEYS {
            // A flood of names: what is left of the limit is the two hashes at a time.
            failures.clear();
        }
        let [user, address] = keys(user, from);
        let full = |key: &Key, most| {
            failures.get(key).is_some_and(|(n, since)| *n >= most && since.elapsed() < WINDOW)
        };
        if full(&user, PER_USER) || full(&address, PER_ADDRESS) {
            return false;
        }
        for key in [user, address] {
            let entry = failures.entry(key).or_insert((0, Instant::now()));
            if entry.1.elapsed() >= WINDOW {
                *entry = (0, Instant::now());
            }
            entry.0 += 1;
        }
        true
    }

    /// One could not be checked: it does not count.
    pub(super) fn give_back(&self, user: &str, from: IpAddr) {
        let mut failures = self.failures();
        for key in keys(user, from) {
            if let Some((n, _)) = failures.get_mut(&key) {
                *n = n.saturating_sub(1);
            }
        }
    }

    /// One has succeeded: the name's failures are forgiven.
    pub(super) fn succeeded(&self, user: &str, from: IpAddr) {
        self.give_back(user, from);
        self.failures().remove(&Key::User(user.to_owned()));
    }
}

fn keys(user: &str, from: IpAddr) -> [Key; 2] {
    [Key::User(user.to_owned()), Key::Address(network(from))]
}

/// What an address counts as: whoever has one of IPv6 has all of its /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}
