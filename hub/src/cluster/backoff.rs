//! How long to wait before the next try.

use std::time::Duration;

use crate::keys;

/// Even an unlucky draw waits this long: nothing ever spins.
const LEAST: Duration = Duration::from_millis(100);
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);

/// Full jitter under a bound that doubles: watches that broke together do not come back together.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(super) const fn reset(&mut self) {
        self.tries = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(16)).min(MOST);
        self.tries = self.tries.saturating_add(1);
        let share = keys::random::<4>()
            .map_or(0.5, |bytes| f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX));
        bound.mul_f64(share).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound_and_starts_over() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        let later: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(later.iter().all(|wait| (LEAST..=MOST).contains(wait)));
        assert!(later.iter().any(|wait| *wait > FIRST * 10));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
