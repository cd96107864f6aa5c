//! Which events are looked at when there are more than should be.

/// Microseconds of a second.
const SECOND_US: i64 = 1_000_000;

/// Lets at most so many a second through, spread over what the second before brought.
#[derive(Debug)]
pub(super) struct Sampler {
    per_second: f64,
    second: i64,
    /// Events of this second, and those let through.
    seen: u64,
    taken: u64,
    /// One in so many is taken.
    stride: u64,
}

impl Sampler {
    /// `per_second` at least 1; 0 where nothing is ever asked.
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second, second: i64::MIN, seen: 0, taken: 0, stride: 1 }
    }

    /// Whether to look at an event that arrived at that time, in microseconds since 1970.
    pub(super) fn takes(&mut self, arrived_us: i64) -> bool {
        let second = arrived_us.div_euclid(SECOND_US);
        if second != self.second {
            let spread = (self.seen as f64 / self.per_second.max(1.0)).ceil() as u64;
            // After a pause nothing is known of how many come.
            self.stride = if second == self.second.saturating_add(1) { spread.max(1) } else { 1 };
            (self.second, self.seen, self.taken) = (second, 0, 0);
        }
        self.seen += 1;
        let takes = (self.seen - 1).is_multiple_of(self.stride) && (self.taken as f64) < self.per_second;
        self.taken += u64::from(takes);
        takes
    }
}
