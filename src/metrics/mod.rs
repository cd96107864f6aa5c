//! Every metric in one table, and the handles that count. Documentation, dashboards and alert rules are checked against
//! [`TABLE`]; labels come from closed sets and configured names only.

mod monitors;
mod pipeline;
mod table;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

pub use monitors::{Bound, Flow, MonitorMetrics};
pub use pipeline::{Delays, FileKind, Learning, Owner, PipelineMetrics, Reload, ShardGauges, SpanExport};
use table::*;
pub use table::{Definition, Kind, TABLE};

use crate::receipt::RequeueCause;
use crate::rejection::{Class, Code};

/// The process's metrics.
pub struct Metrics {
    registry: Registry,
    deliveries: IntCounterVec,
    received_bytes: IntCounterVec,
    archived: IntCounterVec,
    dead_lettered: IntCounterVec,
    requeued: IntCounterVec,
    suppressed: IntCounterVec,
    id_reused: IntCounterVec,
    settlements_lost: IntCounterVec,
    in_flight: GaugeVec,
    oldest_unacked: GaugeVec,
    open_partitions: GaugeVec,
    broker_connected: GaugeVec,
    broker_reconnects: IntCounterVec,
    breaker_open: GaugeVec,
    breaker_trips: IntCounterVec,
    flush_seconds: HistogramVec,
    flush_bytes: HistogramVec,
    flush_rows: HistogramVec,
    decode_seconds: HistogramVec,
    encode_seconds: HistogramVec,
    files: IntCounterVec,
    file_bytes: HistogramVec,
    file_rows: HistogramVec,
    last_commit: GaugeVec,
    store_errors: IntCounterVec,
    store_retries: IntCounterVec,
    store_up: Gauge,
    registry_requests: IntCounterVec,
    span_exports: IntCounterVec,
    dlq_merged: IntCounterVec,
    dlq_removed: IntCounterVec,
    dlq_tend_failed: IntCounterVec,
    schema_info: GaugeVec,
    schema_reloads: IntCounterVec,
    schema_refused: GaugeVec,
    undeclared: IntCounterVec,
    conflicts: IntCounterVec,
    new_fields: IntCounterVec,
    schema_revision: GaugeVec,
    event_delay: HistogramVec,
    queue_messages: GaugeVec,
    held_bytes: GaugeVec,
    dlq_groups: GaugeVec,
    dlq_newest_group: GaugeVec,
    dlq_groups_rising: GaugeVec,
    monitors: monitors::Monitors,
    /// The pipelines seen so far; also serialises [`Metrics::render`], which moves counters up to their ledgers.
    pipelines: Mutex<Vec<Arc<PipelineMetrics>>>,
}

impl Metrics {
    pub fn new(version: &str) -> Self {
        let registry = Registry::new();
        let build_info = gauges(&registry, BUILD_INFO);
        build_info.with_label_values(&[version]).set(1.0);
        // Memory, file handles, threads and CPU, by the names that all programs use.
        registry.register(Box::new(ProcessCollector::for_self())).expect(REGISTERED);
        let store_up = gauges(&registry, STORE_UP).with_label_values(&[] as &[&str]);
        store_up.set(1.0);
        Self {
            deliveries: counters(&registry, DELIVERIES),
            received_bytes: counters(&registry, RECEIVED_BYTES),
            archived: counters(&registry, ARCHIVED),
            dead_lettered: counters(&registry, DEAD_LETTERED),
            requeued: counters(&registry, REQUEUED),
            suppressed: counters(&registry, SUPPRESSED),
            id_reused: counters(&registry, ID_REUSED),
            settlements_lost: counters(&registry, SETTLEMENTS_LOST),
            in_flight: gauges(&registry, IN_FLIGHT),
            oldest_unacked: gauges(&registry, OLDEST_UNACKED),
            open_partitions: gauges(&registry, OPEN_PARTITIONS),
            broker_connected: gauges(&registry, BROKER_CONNECTED),
            broker_reconnects: counters(&registry, BROKER_RECONNECTS),
            breaker_open: gauges(&registry, BREAKER_OPEN),
            breaker_trips: counters(&registry, BREAKER_TRIPS),
            flush_seconds: histograms(&registry, FLUSH_SECONDS),
            flush_bytes: histograms(&registry, FLUSH_BYTES),
            flush_rows: histograms(&registry, FLUSH_ROWS),
            decode_seconds: histograms(&registry, DECODE_SECONDS),
            encode_seconds: histograms(&registry, ENCODE_SECONDS),
            files: counters(&registry, FILES),
            file_bytes: histograms(&registry, FILE_BYTES),
            file_rows: histograms(&registry, FILE_ROWS),
            last_commit: gauges(&registry, LAST_COMMIT),
            store_errors: counters(&registry, STORE_ERRORS),
            store_retries: counters(&registry, STORE_RETRIES),
            store_up,
            registry_requests: counters(&registry, REGISTRY_REQUESTS),
            span_exports: counters(&registry, SPAN_EXPORTS),
            dlq_merged: counters(&registry, DLQ_MERGED),
            dlq_removed: counters(&registry, DLQ_REMOVED),
            dlq_tend_failed: counters(&registry, DLQ_TEND_FAILED),
            schema_info: gauges(&registry, SCHEMA_INFO),
            schema_reloads: counters(&registry, SCHEMA_RELOADS),
            schema_refused: gauges(&registry, SCHEMA_REFUSED),
            undeclared: counters(&registry, UNDECLARED),
            conflicts: counters(&registry, CONFLICTS),
            new_fields: counters(&registry, NEW_FIELDS),
            schema_revision: gauges(&registry, SCHEMA_REVISION),
            event_delay: histograms(&registry, EVENT_DELAY),
            queue_messages: gauges(&registry, QUEUE_MESSAGES),
            held_bytes: gauges(&registry, HELD_BYTES),
            dlq_groups: gauges(&registry, DLQ_GROUPS),
            dlq_newest_group: gauges(&registry, DLQ_NEWEST_GROUP),
            dlq_groups_rising: gauges(&registry, DLQ_GROUPS_RISING),
            monitors: monitors::Monitors::new(&registry),
            pipelines: Mutex::default(),
            registry,
        }
    }

    /// The handles of a pipeline with that many shards.
    pub fn pipeline(&self, name: &str, shards: usize) -> Arc<PipelineMetrics> {
        let labels = &[name];
        let pipeline = Arc::new(PipelineMetrics {
            name: name.to_owned(),
            ledger: Arc::default(),
            shards: (0..shards).map(|_| ShardGauges::default()).collect(),
            received_bytes: self.received_bytes.with_label_values(labels),
            id_reused: self.id_reused.with_label_values(labels),
            settlements_lost: self.settlements_lost.with_label_values(labels),
            broker_reconnects: self.broker_reconnects.with_label_values(labels),
            breaker_open: Class::ALL.map(|class| self.breaker_open.with_label_values(&[name, class.as_str()])),
            breaker_trips: Class::ALL.map(|class| self.breaker_trips.with_label_values(&[name, class.as_str()])),
            flush_seconds: self.flush_seconds.with_label_values(labels),
            flush_bytes: self.flush_bytes.with_label_values(labels),
            flush_rows: self.flush_rows.with_label_values(labels),
            decode_seconds: self.decode_seconds.with_label_values(labels),
            encode_seconds: self.encode_seconds.with_label_values(labels),
            files: FileKind::ALL.map(|kind| self.files.with_label_values(&[name, kind.as_str()])),
            file_bytes: self.file_bytes.with_label_values(labels),
            file_rows: self.file_rows.with_label_values(labels),
            schema_reloads: Reload::ALL.map(|outcome| self.schema_reloads.with_label_values(&[name, outcome.as_str()])),
            schema_refused: self.schema_refused.with_label_values(labels),
            undeclared: self.undeclared.with_label_values(labels),
            conflicts: self.conflicts.with_label_values(labels),
            new_fields: self.new_fields.with_label_values(labels),
            learning: Mutex::default(),
            event_delay: self.event_delay.with_label_values(labels),
            monitors: self.monitors.of(name),
            last_commit_ms: AtomicI64::new(0),
        });
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&pipeline));
        pipeline
    }

    /// Every pipeline registered so far.
    pub fn pipelines(&self) -> Vec<Arc<PipelineMetrics>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a failed request to the store.
    pub fn store_failed(&self, op: &str, kind: &str) {
        self.store_errors.with_label_values(&[op, kind]).inc();
    }

    /// Counts a request to the store that is tried again.
    pub fn store_retried(&self, op: &str) {
        self.store_retries.with_label_values(&[op]).inc();
    }

    /// Counts a question to the schema registry.
    pub fn registry_asked(&self, outcome: &str) {
        self.registry_requests.with_label_values(&[outcome]).inc();
    }

    /// Counts a request that sent spans.
    pub fn spans_exported(&self, outcome: SpanExport) {
        self.span_exports.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Counts files of dead letters that were merged.
    pub fn dlq_merged(&self, pipeline: &str, files: u64) {
        self.dlq_merged.with_label_values(&[pipeline]).inc_by(files);
    }

    /// Counts dead letters that were kept long enough: `recovered`, of a group that is `resolved`, or that is `ignored`.
    pub fn dlq_removed(&self, pipeline: &str, recovered: u64, resolved: u64, ignored: u64) {
        for (why, letters) in [("recovered", recovered), ("resolved", resolved), ("ignored", ignored)] {
            self.dlq_removed.with_label_values(&[pipeline, why]).inc_by(letters);
        }
    }

    /// Counts a round of merging that failed.
    pub fn dlq_merge_failed(&self, pipeline: &str) {
        self.dlq_tend_failed.with_label_values(&[pipeline]).inc();
    }

    /// Records that a schema, `name@version`, is in use.
    pub fn schema_in_use(&self, pipeline: &str, label: &str) {
        self.schema_info.with_label_values(&[pipeline, label]).set(1.0);
    }

    /// Records how many messages wait in the pipeline's queue; `None`: nobody told.
    pub fn set_queue_messages(&self, pipeline: &str, messages: Option<u64>) {
        set_or_forget(&self.queue_messages, pipeline, messages.map(|messages| messages as f64));
    }

    /// Records the groups of dead letters in the store: how many are in each state, when the newest of those began that
    /// nobody has dealt with, and how many get far more letters than before.
    pub fn set_dlq_groups(&self, pipeline: &str, states: &[(&str, u64)], newest: Option<DateTime<Utc>>, rising: u64) {
        for (state, groups) in states {
            self.dlq_groups.with_label_values(&[pipeline, state]).set(*groups as f64);
        }
        let newest = newest.map(|at| at.timestamp_millis() as f64 / 1e3);
        set_or_forget(&self.dlq_newest_group, pipeline, newest);
        self.dlq_groups_rising.with_label_values(&[pipeline]).set(rising as f64);
    }

    /// Records whether the last write to the store succeeded.
    pub fn set_store_up(&self, up: bool) {
        self.store_up.set(if up { 1.0 } else { 0.0 });
    }

    pub fn store_up(&self) -> bool {
        self.store_up.get() > 0.5
    }

    /// The Prometheus text exposition format 0.0.4, as of `now`.
    pub fn render(&self, now: DateTime<Utc>) -> Vec<u8> {
        let pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        for pipeline in pipelines.iter() {
            self.publish(pipeline, now);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a Vec takes all bytes");
        text
    }

    /// Brings what is kept in the ledger and the shards into the registry.
    fn publish(&self, pipeline: &PipelineMetrics, now: DateTime<Utc>) {
        let name = pipeline.name.as_str();
        let ledger = &pipeline.ledger;
        // Settled before received, and in_flight from the ledger itself: no scrape shows more settled than received.
        raise(&self.archived.with_label_values(&[name]), ledger.archived());
        raise(&self.suppressed.with_label_values(&[name]), ledger.suppressed());
        for code in Code::ALL {
            let count = ledger.dead_lettered(*code);
            if count > 0 {
                raise(&self.dead_lettered.with_label_values(&[name, code.stage().as_str(), code.as_str()]), count);
            }
        }
        for cause in RequeueCause::ALL {
            raise(&self.requeued.with_label_values(&[name, cause.as_str()]), ledger.requeued(cause));
        }
        raise(&self.deliveries.with_label_values(&[name]), ledger.received());
        self.in_flight.with_label_values(&[name]).set(ledger.in_flight() as f64);
        self.oldest_unacked.with_label_values(&[name]).set(pipeline.oldest_unacked(now).as_seconds_f64());
        self.open_partitions.with_label_values(&[name]).set(pipeline.open_partitions() as f64);
        self.broker_connected.with_label_values(&[name]).set(pipeline.connected() as f64);
        let revision = match pipeline.learning() {
            Learning::Not => None,
            Learning::Waits { .. } => Some(0),
            Learning::Done { revision } => Some(revision),
        };
        if let Some(revision) = revision {
            self.schema_revision.with_label_values(&[name]).set(revision.into());
        }
        for owner in Owner::ALL {
            self.held_bytes.with_label_values(&[name, owner.as_str()]).set(pipeline.held_bytes(owner) as f64);
        }
        // No zero for "never": an alert on its age would take that for 1970.
        if let Some(at) = pipeline.last_commit() {
            self.last_commit.with_label_values(&[name]).set(at.timestamp_millis() as f64 / 1e3);
        }
    }
}

/// Moves a counter up to `value`; callers are serialised by the lock on the pipelines.
fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// Sets the gauge of a pipeline, or takes it away: no zero stands for what is not known.
fn set_or_forget(gauges: &GaugeVec, pipeline: &str, value: Option<f64>) {
    match value {
        Some(value) => gauges.with_label_values(&[pipeline]).set(value),
        // It may never have been there.
        None => drop(gauges.remove_label_values(&[pipeline])),
    }
}

const REGISTERED: &str = "the table names each metric once, with valid names";

fn counters(registry: &Registry, definition: Definition) -> IntCounterVec {
    let counters =
        IntCounterVec::new(Opts::new(definition.name, definition.help), definition.labels).expect(REGISTERED);
    registry.register(Box::new(counters.clone())).expect(REGISTERED);
    counters
}

fn gauges(registry: &Registry, definition: Definition) -> GaugeVec {
    let gauges = GaugeVec::new(Opts::new(definition.name, definition.help), definition.labels).expect(REGISTERED);
    registry.register(Box::new(gauges.clone())).expect(REGISTERED);
    gauges
}

fn histograms(registry: &Registry, definition: Definition) -> HistogramVec {
    let Kind::Histogram(buckets) = definition.kind else { unreachable!("only histograms are made here") };
    let options = HistogramOpts::new(definition.name, definition.help).buckets(buckets.to_vec());
    let histograms = HistogramVec::new(options, definition.labels).expect(REGISTERED);
    registry.register(Box::new(histograms.clone())).expect(REGISTERED);
    histograms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Tally;

    #[test]
    fn a_scrape_shows_a_ledger_that_closes() {
        let metrics = Metrics::new("1.2.3");
        let pipeline = metrics.pipeline("flights", 2);
        let mut tally = Tally { archived: 2, ..Tally::default() };
        tally.add_dead_letter(Code::JsonSyntax);
        pipeline.ledger.receive(3, 3).settle(&tally);
        pipeline.ledger.receive(4, 7).requeue(RequeueCause::Shutdown);
        let held = pipeline.ledger.receive(5, 12);
        let now = DateTime::from_timestamp(1_000, 0).expect("in range");
        pipeline.shards[1].set_oldest_unacked(DateTime::from_timestamp(990, 0));

        let render = || String::from_utf8(metrics.render(now)).expect("text");
        let text = render();
        for line in [
            "parqueduct_deliveries_total{pipeline=\"flights\"} 12",
            "parqueduct_archived_total{pipeline=\"flights\"} 2",
            "parqueduct_dead_lettered_total{code=\"decode.json.syntax\",pipeline=\"flights\",stage=\"decode\"} 1",
            "parqueduct_requeued_total{cause=\"shutdown\",pipeline=\"flights\"} 4",
            "parqueduct_in_flight{pipeline=\"flights\"} 5",
            "parqueduct_oldest_unacked_seconds{pipeline=\"flights\"} 10",
            "parqueduct_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
        let ours = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("parqueduct_")).map(str::to_owned).collect()
        };
        assert_eq!(ours(&text), ours(&render()), "a second scrape counts nothing again");
        drop(held);
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for definition in TABLE {
            assert!(definition.name.starts_with("parqueduct_"), "{}", definition.name);
            assert_eq!(definition.name.ends_with("_total"), definition.kind == Kind::Counter, "{}", definition.name);
            assert!(!definition.help.ends_with('.'), "{}", definition.name);
        }
    }
}
