//! How often and when a failed request is tried again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LONGEST: Duration = Duration::from_secs(10);

/// The bounds of every request of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryLimits {
    /// Attempts after the first.
    pub retries_max: usize,
    /// The last attempt starts within this time of the first.
    pub within: Duration,
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    left: usize,
    until: Instant,
    bound: Duration,
    jitter: fastrand::Rng,
}

impl RetryLimits {
    /// Requests for different paths, or of different processes, wait differently, so that they do not come back all at
    /// once.
    pub fn start(self, now: Instant, path: &str) -> Attempts {
        let mut seed = DefaultHasher::new();
        (std::process::id(), path).hash(&mut seed);
        let jitter = fastrand::Rng::with_seed(seed.finish());
        Attempts { left: self.retries_max, until: now + self.within, bound: WAIT_FIRST, jitter }
    }
}

impl Attempts {
    /// How long to wait before the next attempt: between half the current bound and the bound, which doubles each time.
    /// `None` when no attempt is left.
    pub fn next_wait(&mut self, now: Instant) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let wait = self.bound.mul_f64(0.5 + self.jitter.f64() / 2.0);
        self.bound = (self.bound * 2).min(WAIT_LONGEST);
        (now + wait <= self.until).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_with_the_attempts_or_the_time() {
        let start = Instant::now();
        let mut few = RetryLimits { retries_max: 3, within: Duration::from_secs(60) }.start(start, "data/x");
        let waits: Vec<_> = std::iter::from_fn(|| few.next_wait(start)).collect();
        assert_eq!(waits.len(), 3);
        assert!(waits[2] >= Duration::from_millis(200) && waits[2] <= Duration::from_millis(400), "{waits:?}");

        let mut short = RetryLimits { retries_max: 1000, within: Duration::from_secs(1) }.start(start, "data/x");
        let (mut now, mut attempts) = (start, 0);
        while let Some(wait) = short.next_wait(now) {
            now += wait;
            attempts += 1;
        }
        assert!((2..10).contains(&attempts), "{attempts}");
        assert!(now - start <= Duration::from_secs(1));
    }
}
