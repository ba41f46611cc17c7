//! Contract, "Rate Limiting": so many requests a minute for each API key, each user, and each
//! address that names neither. A fixed window with an epoch reset, as the documented headers have
//! it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderName};
use cloudcore_protocol::Timestamp;

use crate::auth::{Caller, Identity, network};

/// A window, seconds.
const WINDOW: i64 = 60;
/// Callers counted at once. Only addresses can be that many: those beyond share one count.
const MAX_CALLERS: usize = 100_000;

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    User(i64),
    Key(String),
    Account(String),
    Address(IpAddr),
    Pictures(IpAddr),
    Others,
}

/// How many pictures one may have for each other request: a page shows dozens of them, and a link
/// to one proves by its signature that it was given.
const PICTURES: u32 = 10;

/// How a caller stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    limit: u32,
    used: u32,
    /// When the window ends, seconds since the epoch.
    reset: i64,
}

/// The counts of this minute.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<(i64, HashMap<Bucket, u32>)>);

impl Rates {
    /// Counts a request. `None` where `limit` is 0, which is no limit.
    pub(super) fn take(&self, identity: &Identity, from: IpAddr, limit: u32) -> Option<Standing> {
        if limit == 0 {
            return None;
        }
        let bucket = match identity {
            Identity::Caller(Caller::User(user)) => Bucket::User(user.id),
            Identity::Caller(Caller::Key { key_id, .. }) => Bucket::Key(key_id.clone()),
            Identity::Caller(Caller::Account { name, .. }) => Bucket::Account(name.clone()),
            Identity::Anonymous | Identity::Invalid(_) => Bucket::Address(network(from)),
        };
        Some(self.count(bucket, limit))
    }

    /// Counts a request for a picture, of which there may be more. `None` where `limit` is 0.
    pub(super) fn take_picture(&self, from: IpAddr, limit: u32) -> Option<Standing> {
        let bucket = Bucket::Pictures(network(from));
        (limit > 0).then(|| self.count(bucket, limit.saturating_mul(PICTURES)))
    }

    fn count(&self, bucket: Bucket, limit: u32) -> Standing {
        let window = Timestamp::now().seconds().div_euclid(WINDOW);
        // Nothing panics while it holds the lock.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.0 != window {
            *counts = (window, HashMap::new());
        }
        let room = counts.1.len() < MAX_CALLERS || counts.1.contains_key(&bucket);
        let used = counts.1.entry(if room { bucket } else { Bucket::Others }).or_default();
        *used = used.saturating_add(1);
        Standing { limit, used: *used, reset: (window + 1) * WINDOW }
    }
}

impl Standing {
    /// Whether the request is beyond the limit.
    pub(super) const fn is_over(self) -> bool {
        self.used > self.limit
    }

    /// Whether it is the first beyond: those after it are no news.
    pub(super) const fn is_first_over(self) -> bool {
        self.used == self.limit.saturating_add(1)
    }

    /// Seconds until the window ends.
    pub(super) fn wait(self) -> i64 {
        (self.reset - Timestamp::now().seconds()).max(1)
    }

    /// The documented headers.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.limit.saturating_sub(self.used).into());
        headers.insert(RESET, self.reset.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_an_address_of_ipv6_has_its_network_and_one_count() {
        let rates = Rates::default();
        let used = |from: &str| {
            rates.take(&Identity::Anonymous, from.parse().unwrap(), 1000).unwrap().used
        };
        // A window may end between two counts: then it is counted once more.
        let counted = || {
            let before = Timestamp::now().seconds().div_euclid(WINDOW);
            let counts = [
                used("2001:db8:0:1::1"),
                used("2001:db8:0:1:ffff:ffff:ffff:ffff"),
                used("2001:db8:0:2::1"),
                used("192.0.2.1"),
                used("::ffff:192.0.2.1"),
                used("192.0.2.2"),
            ];
            (Timestamp::now().seconds().div_euclid(WINDOW) == before).then_some(counts)
        };
        let counts = counted().unwrap_or_else(|| {
            *rates.0.lock().unwrap() = Default::default();
            counted().unwrap()
        });
        assert_eq!(counts, [1, 2, 1, 1, 2, 1]);
    }
}
