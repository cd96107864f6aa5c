//! How deliveries come: how many a second over a span of time, and whether they stopped.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config;
use crate::metrics::{Bound, Flow, MonitorMetrics};

/// Points kept of the span that the rate is taken over.
const POINTS: u32 = 120;

/// Looks at one pipeline of one process. Times are those since it began.
#[derive(Debug)]
pub struct FlowWatch {
    min: Option<f64>,
    max: Option<f64>,
    within: Duration,
    silence: Option<Duration>,
    /// How many deliveries had come by when; the first lies `within` back, once there is one.
    points: VecDeque<(Duration, u64)>,
    received: u64,
    /// When something came last, or could not come.
    busy_at: Duration,
}

impl FlowWatch {
    pub fn new(config: &config::Monitor) -> Self {
        Self {
            min: config.rate_min,
            max: config.rate_max,
            within: config.rate_within,
            silence: config.silence,
            points: VecDeque::from([(Duration::ZERO, 0)]),
            received: 0,
            busy_at: Duration::ZERO,
        }
    }

    /// Shows the bounds.
    pub fn begin(&self, metrics: &MonitorMetrics) {
        for (bound, rate) in [(Bound::Min, self.min), (Bound::Max, self.max)] {
            if let Some(rate) = rate {
                metrics.set_bound(bound, rate);
            }
        }
    }

    /// Whether anything came since the last look, of `received` deliveries in all; and how they flow. `idle`: we consume and
    /// hold nothing, so that it is not our doing if nothing comes.
    pub fn look(&mut self, received: u64, idle: bool, at: Duration) -> (bool, Flow) {
        let came = received != self.received;
        self.received = received;
        if came || !idle {
            self.busy_at = at;
        }
        let newest = self.points.back().map_or(Duration::ZERO, |(at, _)| *at);
        if at.saturating_sub(newest) >= self.within / POINTS {
            self.points.push_back((at, received));
        }
        // The second is old enough by itself.
        while self.points.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) >= self.within) {
            self.points.pop_front();
        }
        let rate = self.points.front().and_then(|(then, before)| {
            let span = at.saturating_sub(*then);
            (span >= self.within).then(|| received.saturating_sub(*before) as f64 / span.as_secs_f64())
        });
        let flow = Flow {
            rate,
            too_few: self.min.map(|min| rate.is_some_and(|rate| rate < min)),
            too_many: self.max.map(|max| rate.is_some_and(|rate| rate > max)),
            silent: self.silence.map(|silence| at.saturating_sub(self.busy_at) >= silence),
        };
        (came, flow)
    }
}
