//! What is asked of a pipeline's events beside their schema: rules for fields, and no personal data where none should be; and
//! of how they flow. Pure: the caller brings the time, and decides about events.
//!
//! What is found is counted by kind, rule and the schema's words for a place. No value leaves this module.

mod flow; // too few, too many, silence
mod rules; // rules for fields
mod sample; // which events are looked at
mod search; // personal data on a tape
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use flow::FlowWatch;

use rules::Rule;
use sample::Sampler;
use search::Search;

use crate::config;
use crate::mask::Mask;
use crate::metrics::{Delays, PipelineMetrics};
use crate::personal::Kind;
use crate::value::{Pointer, Value};

/// What is asked of one type of events.
#[derive(Debug)]
pub struct Monitor {
    rules: Vec<Rule>,
    search: Option<Search>,
}

impl Monitor {
    /// Of events of the type `event`, whose schema marks `marked` as sensitive.
    pub fn new(config: &config::Monitor, event: Option<&str>, marked: Mask) -> Self {
        let is_for = |rule: &&config::FieldRule| rule.event.is_none() || rule.event.as_deref() == event;
        let rules = config.rules.iter().filter(is_for).map(|rule| Rule::new(rule.clone())).collect();
        let search = config.personal.as_ref().map(|personal| {
            let expected = marked.and(Mask::of_pointers(personal.expected.iter().map(Pointer::segments)));
            Search::new(personal, expected)
        });
        Self { rules, search }
    }

    fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.search.is_none()
    }
}

/// Gives the schema's words for the place at a pointer (RFC 6901) into an event.
pub type NamePath<'a> = &'a dyn Fn(&str) -> String;

/// Times of an event, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its own.
    pub event_us: i64,
    /// Of its first arrival.
    pub arrived_us: i64,
}

/// One worker's view: looks at events, and counts until it is asked to report.
#[derive(Debug)]
pub struct Watcher {
    /// By the place of the type; `None`: nothing is asked.
    monitors: Vec<Option<Arc<Monitor>>>,
    sampler: Sampler,
    delays: Delays,
    looked_at: u64,
    left_out: u64,
    /// By the rule's name: events it was held against, and those that break it.
    rules: HashMap<String, (u64, u64)>,
    /// In order, so that it depends on nothing else which paths are told apart.
    personal: BTreeMap<(Kind, String), u64>,
    paths_max: usize,
}

impl Watcher {
    /// Looks at events of types with these monitors.
    pub fn new(
        config: Option<&config::Monitor>,
        monitors: impl IntoIterator<Item = Option<Arc<Monitor>>>,
        delays: Delays,
    ) -> Self {
        let rules = config.into_iter().flat_map(|config| &config.rules).map(|rule| (rule.name.clone(), (0, 0)));
        let personal = config.and_then(|config| config.personal.as_ref());
        Self {
            monitors: monitors.into_iter().collect(),
            sampler: Sampler::new(config.map_or(0.0, |config| config.looks_max)),
            delays,
            looked_at: 0,
            left_out: 0,
            rules: rules.collect(),
            personal: BTreeMap::new(),
            paths_max: personal.map_or(0, |personal| personal.paths_max),
        }
    }

    /// The personal data for which the event of the type at `place` is not to be archived, by kind and path; each once.
    pub fn forbidden(&mut self, place: usize, event: Value<'_>, name: NamePath<'_>) -> Vec<(Kind, String)> {
        let Some(Some(monitor)) = self.monitors.get(place) else { return Vec::new() };
        let Some(search) = monitor.search.as_ref().filter(|search| search.dead_letter) else { return Vec::new() };
        let found = search.find(event, name);
        for each in &found {
            *self.personal.entry(each.clone()).or_default() += 1;
        }
        let mut once = found;
        once.sort();
        once.dedup();
        once
    }

    /// Takes notice of an event of the type at `place` that is archived.
    pub fn archived(&mut self, place: usize, event: Value<'_>, times: Times, name: NamePath<'_>) {
        self.delays.observe(times.arrived_us.saturating_sub(times.event_us));
        let Some(Some(monitor)) = self.monitors.get(place) else { return };
        if monitor.is_idle() {
            return;
        }
        if !self.sampler.takes(times.arrived_us) {
            self.left_out += 1;
            return;
        }
        self.looked_at += 1;
        for rule in &monitor.rules {
            let Some(holds) = rule.holds(event, times.arrived_us) else { continue };
            if let Some((checked, broken)) = self.rules.get_mut(rule.name()) {
                *checked += 1;
                *broken += u64::from(!holds);
            }
        }
        if let Some(search) = monitor.search.as_ref().filter(|search| !search.dead_letter) {
            for found in search.find(event, name) {
                *self.personal.entry(found).or_default() += 1;
            }
        }
    }

    /// Moves what was counted into the metrics.
    pub fn report(&mut self, metrics: &PipelineMetrics) {
        self.delays.flush();
        if self.monitors.iter().all(Option::is_none) {
            return;
        }
        metrics.monitors.looked(std::mem::take(&mut self.looked_at), std::mem::take(&mut self.left_out));
        for (rule, (checked, broken)) in &mut self.rules {
            metrics.monitors.held_against(rule, std::mem::take(checked), std::mem::take(broken));
        }
        for ((kind, path), texts) in std::mem::take(&mut self.personal) {
            metrics.monitors.found_personal(kind.as_str(), &path, self.paths_max, texts);
        }
    }
}
