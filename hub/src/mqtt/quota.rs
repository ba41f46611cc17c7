//! So much in a while and no more: what strangers can cause a log line with.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A counter that begins anew after a while.
pub(super) struct Quota {
    most: u32,
    per: Duration,
    taken: Mutex<(Instant, u32)>,
}

impl Quota {
    /// `most` of something `per` while.
    pub fn new(most: u32, per: Duration) -> Self {
        Self { most, per, taken: Mutex::new((Instant::now(), 0)) }
    }

    /// Takes one; whether there was one left.
    pub fn take(&self) -> bool {
        // Nothing panics while it holds the lock.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, n) = &mut *taken;
        if since.elapsed() >= self.per {
            (*since, *n) = (Instant::now(), 0);
        }
        *n = n.saturating_add(1);
        *n <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_as_there_is() {
        let quota = Quota::new(2, Duration::from_secs(3600));
        assert_eq!(
            [quota.take(), quota.take(), quota.take(), quota.take()],
            [true, true, false, false]
        );
        let always = Quota::new(1, Duration::ZERO);
        assert!(always.take() && always.take());
    }
}
