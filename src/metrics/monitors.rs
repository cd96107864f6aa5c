//! What monitors of a pipeline show. Nothing is there of pipelines without one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use prometheus::{GaugeVec, IntCounterVec, Registry};

use super::table::*;
use super::{counters, gauges, set_or_forget};

/// What stands for the paths beyond those that are counted apart.
const OTHER: &str = "other";

/// A bound of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Min,
    Max,
}

impl Bound {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

/// How deliveries flow; `None`: that is not looked at, or not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Deliveries a second.
    pub rate: Option<f64>,
    pub too_few: Option<bool>,
    pub too_many: Option<bool>,
    pub silent: Option<bool>,
}

/// Those of all pipelines.
#[derive(Clone)]
pub(super) struct Monitors {
    silent: GaugeVec,
    last_delivery: GaugeVec,
    rate: GaugeVec,
    rate_bound: GaugeVec,
    out_of_band: GaugeVec,
    events: IntCounterVec,
    checked: IntCounterVec,
    broken: IntCounterVec,
    personal: IntCounterVec,
}

impl Monitors {
    pub fn new(registry: &Registry) -> Self {
        Self {
            silent: gauges(registry, MONITOR_SILENT),
            last_delivery: gauges(registry, MONITOR_LAST_DELIVERY),
            rate: gauges(registry, MONITOR_RATE),
            rate_bound: gauges(registry, MONITOR_RATE_BOUND),
            out_of_band: gauges(registry, MONITOR_OUT_OF_BAND),
            events: counters(registry, MONITOR_EVENTS),
            checked: counters(registry, MONITOR_CHECKED),
            broken: counters(registry, MONITOR_BROKEN),
            personal: counters(registry, PERSONAL_DATA),
        }
    }

    pub fn of(&self, pipeline: &str) -> MonitorMetrics {
        MonitorMetrics { pipeline: pipeline.to_owned(), all: self.clone(), paths: Mutex::default() }
    }
}

/// Those of one pipeline.
pub struct MonitorMetrics {
    pipeline: String,
    all: Monitors,
    /// With personal data, as far as they are counted apart.
    paths: Mutex<BTreeSet<String>>,
}

impl MonitorMetrics {
    /// Shows the bounds that rates are held against, in deliveries a second.
    pub fn set_bound(&self, bound: Bound, rate: f64) {
        self.all.rate_bound.with_label_values(&[self.pipeline.as_str(), bound.as_str()]).set(rate);
    }

    /// Shows how deliveries flow.
    pub fn set_flow(&self, flow: Flow) {
        let name = self.pipeline.as_str();
        let as_gauge = |is: bool| if is { 1.0 } else { 0.0 };
        set_or_forget(&self.all.rate, name, flow.rate);
        set_or_forget(&self.all.silent, name, flow.silent.map(as_gauge));
        for (bound, out) in [(Bound::Min, flow.too_few), (Bound::Max, flow.too_many)] {
            if let Some(out) = out {
                self.all.out_of_band.with_label_values(&[name, bound.as_str()]).set(as_gauge(out));
            }
        }
    }

    /// Shows when a delivery came last.
    pub fn set_last_delivery(&self, at: DateTime<Utc>) {
        let seconds = at.timestamp_millis() as f64 / 1e3;
        self.all.last_delivery.with_label_values(&[self.pipeline.as_str()]).set(seconds);
    }

    /// Counts events that were looked at, and those left out.
    pub fn looked(&self, at: u64, left_out: u64) {
        self.all.events.with_label_values(&[self.pipeline.as_str(), "looked_at"]).inc_by(at);
        self.all.events.with_label_values(&[self.pipeline.as_str(), "left_out"]).inc_by(left_out);
    }

    /// Counts events that a rule was held against, and those that break it.
    pub fn held_against(&self, rule: &str, checked: u64, broken: u64) {
        self.all.checked.with_label_values(&[self.pipeline.as_str(), rule]).inc_by(checked);
        self.all.broken.with_label_values(&[self.pipeline.as_str(), rule]).inc_by(broken);
    }

    /// Counts texts with personal data at `path`, a schema's; beyond `paths_max` paths it is "other".
    pub fn found_personal(&self, kind: &str, path: &str, paths_max: usize, texts: u64) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let known = paths.contains(path) || (paths.len() < paths_max && paths.insert(path.to_owned()));
        let path = if known { path } else { OTHER };
        self.all.personal.with_label_values(&[self.pipeline.as_str(), kind, path]).inc_by(texts);
    }
}
