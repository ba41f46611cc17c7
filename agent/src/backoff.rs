//! How long to wait before the next try.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Even an unlucky draw waits this long: nothing ever spins.
const LEAST: Duration = Duration::from_millis(50);

/// Full jitter under a bound that doubles: a thousand agents whose hub restarts do not come back
/// at the same moment.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0 }
    }

    pub(crate) const fn reset(&mut self) {
        self.tries = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.tries.min(16)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(random_share()).max(LEAST)
    }
}

/// 0 to 1, evenly; a half where the system gives no random numbers.
pub(crate) fn random_share() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound_and_starts_over() {
        let most = Duration::from_secs(30);
        let mut backoff = Backoff::new(Duration::from_millis(500), most);
        assert!(backoff.next() <= Duration::from_millis(500));
        let later: Vec<Duration> = (0..200).map(|_| backoff.next()).collect();
        assert!(later.iter().all(|wait| (LEAST..=most).contains(wait)));
        assert!(later.iter().any(|wait| *wait > Duration::from_secs(10)));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(500));
    }
}
