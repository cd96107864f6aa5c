//! How long to wait between attempts. Pure: the caller brings the randomness and does the waiting.

use std::time::Duration;

/// Waits drawn at random between a fixed minimum and a bound that doubles up to a fixed maximum ("full jitter": shards
/// that lost the same broker do not come back at the same moment).
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// Upper end of the next draw, between `min` and `max`.
    bound: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration, random: fastrand::Rng) -> Self {
        let max = max.max(min);
        Self { min, max, bound: first_bound(min, max), random }
    }

    /// The wait before the next attempt, after one that may pass by itself.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.draw(self.min, self.bound);
        self.bound = self.bound.saturating_mul(2).min(self.max);
        wait
    }

    /// The wait before the next attempt when a person must act first: in the upper half of what is allowed.
    pub fn next_slow_wait(&mut self) -> Duration {
        self.bound = self.max;
        self.draw(self.min.max(self.max / 2), self.max)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.bound = first_bound(self.min, self.max);
    }

    fn draw(&mut self, low: Duration, high: Duration) -> Duration {
        low + (high - low).mul_f64(self.random.f64())
    }
}

fn first_bound(min: Duration, max: Duration) -> Duration {
    min.saturating_mul(2).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn bounds(backoff: &mut Backoff, count: usize) -> Vec<Duration> {
        let bound_then_draw = |backoff: &mut Backoff| (backoff.bound, backoff.next_wait()).0;
        (0..count).map(|_| bound_then_draw(backoff)).collect()
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_starts_over_after_a_success() {
        let mut backoff = Backoff::new(millis(200), millis(1500), fastrand::Rng::with_seed(1));
        let expected = [400, 800, 1500, 1500].map(millis);
        assert_eq!(bounds(&mut backoff, 4), expected);
        backoff.reset();
        assert_eq!(bounds(&mut backoff, 4), expected);
    }

    #[test]
    fn two_shards_do_not_wait_alike() {
        let waits = |seed| {
            let mut backoff = Backoff::new(millis(200), millis(30_000), fastrand::Rng::with_seed(seed));
            (0..8).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }

    proptest! {
        #[test]
        fn every_wait_is_within_the_configured_bounds(min in 0..5_000u64, max in 0..60_000u64, seed: u64) {
            let mut backoff = Backoff::new(millis(min), millis(max), fastrand::Rng::with_seed(seed));
            for _ in 0..12 {
                let (wait, slow) = (backoff.next_wait(), backoff.next_slow_wait());
                let highest = millis(max.max(min));
                prop_assert!(wait >= millis(min) && wait <= highest);
                prop_assert!(slow >= millis(min) && slow >= highest / 2 && slow <= highest);
            }
        }
    }
}
