//! How fast letters are given back. Pure: the caller brings the time, and does the waiting.

use std::time::Duration;

/// No faster than that; an absent figure is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    pub letters_per_second: Option<u32>,
    pub bytes_per_second: Option<u64>,
}

impl Pace {
    /// Letters that may go at once, so that a slow pace is an even one: those of half a second.
    pub fn burst(&self) -> usize {
        self.letters_per_second.map_or(usize::MAX, |rate| (rate / 2).max(1) as usize)
    }
}

/// What may go now. Time is counted from any beginning that the caller likes.
#[derive(Clone, Debug)]
pub struct Bucket {
    pace: Pace,
    /// When all that went so far is paid for.
    free_at: Duration,
}

impl Bucket {
    pub fn new(pace: Pace) -> Self {
        Self { pace, free_at: Duration::ZERO }
    }

    /// Takes `letters` with `bytes` of bodies at `now`; gives how long to wait before they go.
    pub fn take(&mut self, letters: usize, bytes: u64, now: Duration) -> Duration {
        let seconds = |amount: f64, rate: f64| if rate > 0.0 { amount / rate } else { 0.0 };
        let by_letters = self.pace.letters_per_second.map_or(0.0, |rate| seconds(letters as f64, rate.into()));
        let by_bytes = self.pace.bytes_per_second.map_or(0.0, |rate| seconds(bytes as f64, rate as f64));
        let starts = self.free_at.max(now);
        self.free_at = starts + Duration::from_secs_f64(by_letters.max(by_bytes));
        starts - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_no_faster_than_the_pace_and_idle_time_is_not_saved_up() {
        let mut bucket = Bucket::new(Pace { letters_per_second: Some(100), bytes_per_second: None });
        let second = Duration::from_secs(1);
        assert_eq!(bucket.take(50, 1_000_000, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(50, 0, Duration::ZERO), second / 2);
        assert_eq!(bucket.take(50, 0, second / 2), second / 2);
        assert_eq!(bucket.take(50, 0, 100 * second), Duration::ZERO);
        assert_eq!(bucket.take(50, 0, 100 * second), second / 2);
    }

    #[test]
    fn the_narrower_of_both_limits_counts_and_without_any_nothing_waits() {
        let mut bucket = Bucket::new(Pace { letters_per_second: Some(1000), bytes_per_second: Some(100) });
        bucket.take(1, 200, Duration::ZERO);
        assert_eq!(bucket.take(1, 1, Duration::ZERO), Duration::from_secs(2));
        let mut free = Bucket::new(Pace::default());
        free.take(1_000_000, u64::MAX, Duration::ZERO);
        assert_eq!(free.take(1, 1, Duration::ZERO), Duration::ZERO);
        assert_eq!(
            (Pace::default().burst(), Pace { letters_per_second: Some(1), ..Pace::default() }.burst()),
            (usize::MAX, 1)
        );
    }
}
