//! Every metric in one table, and the handles that count. Documentation, dashboards and alert rules are checked against
//! [`TABLE`]; labels come from closed sets and configured names only.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::receipt::{Ledger, RequeueCause};
use crate::rejection::{Class, Code};

/// What kind of metric it is, with the buckets of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// One metric as users see it.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Definition {
    Definition { name, kind: Kind::Gauge, labels, help }
}

const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const SHORT_SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
const BYTES: &[f64] =
    &[4096.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0, 268_435_456.0];
const ROWS: &[f64] = &[1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 35_000.0, 50_000.0];

const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Definition {
    Definition { name, kind: Kind::Histogram(buckets), labels: &["pipeline"], help }
}

const DELIVERIES: Definition =
    counter("parqueduct_deliveries_total", &["pipeline"], "Deliveries received from the queue, redeliveries included");
const RECEIVED_BYTES: Definition =
    counter("parqueduct_received_bytes_total", &["pipeline"], "Bytes of message bodies received");
const ARCHIVED: Definition =
    counter("parqueduct_archived_total", &["pipeline"], "Deliveries durable as rows of the archive");
const DEAD_LETTERED: Definition = counter(
    "parqueduct_dead_lettered_total",
    &["pipeline", "stage", "code"],
    "Deliveries durable as dead letters, by the stage and the code of their first issue",
);
const REQUEUED: Definition =
    counter("parqueduct_requeued_total", &["pipeline", "cause"], "Deliveries that went back to the queue");
const SUPPRESSED: Definition = counter(
    "parqueduct_duplicates_suppressed_total",
    &["pipeline"],
    "Deliveries acked without a row, for their row or dead letter was durable already",
);
const ID_REUSED: Definition = counter(
    "parqueduct_id_reused_total",
    &["pipeline"],
    "Redeliveries archived although a row has their event id: its body differs, so it is another event",
);
const SETTLEMENTS_LOST: Definition = counter(
    "parqueduct_settlements_lost_total",
    &["pipeline"],
    "Acks that did not reach the broker after their flush was durable; the deliveries come back, and are suppressed",
);
const IN_FLIGHT: Definition = gauge("parqueduct_in_flight", &["pipeline"], "Deliveries received and not yet settled");
const OLDEST_UNACKED: Definition =
    gauge("parqueduct_oldest_unacked_seconds", &["pipeline"], "Age of the oldest delivery not yet settled");
const OPEN_PARTITIONS: Definition =
    gauge("parqueduct_open_partitions", &["pipeline"], "Partitions with rows not yet flushed");
const BROKER_CONNECTED: Definition =
    gauge("parqueduct_broker_connected", &["pipeline"], "Shards that have a live consumer");
const BROKER_RECONNECTS: Definition =
    counter("parqueduct_broker_reconnects_total", &["pipeline"], "Consumers that ended and were built anew");
const BREAKER_OPEN: Definition = gauge(
    "parqueduct_breaker_open",
    &["pipeline", "class"],
    "1 while most events fail, by whose trouble it is; what is done then is configured",
);
const BREAKER_TRIPS: Definition =
    counter("parqueduct_breaker_trips_total", &["pipeline", "class"], "Times that most events began to fail");
const FLUSH_SECONDS: Definition =
    histogram("parqueduct_flush_seconds", SECONDS, "Time from sealing a flush to its outcome being durable");
const FLUSH_BYTES: Definition = histogram("parqueduct_flush_bytes", BYTES, "Bytes of the objects of a flush");
const FLUSH_ROWS: Definition = histogram("parqueduct_flush_rows", ROWS, "Deliveries a flush settles, good and bad");
const DECODE_SECONDS: Definition = histogram(
    "parqueduct_decode_seconds",
    SHORT_SECONDS,
    "Time to decode, validate and append one batch of deliveries, and to encode the files of a flush it fills",
);
const ENCODE_SECONDS: Definition =
    histogram("parqueduct_encode_seconds", SECONDS, "Time to encode the files of one flush");
const FILES: Definition =
    counter("parqueduct_files_total", &["pipeline", "kind"], "Files that durable flushes wrote, by what they hold");
const FILE_BYTES: Definition = histogram("parqueduct_file_bytes", BYTES, "Bytes of one file of rows");
const FILE_ROWS: Definition = histogram("parqueduct_file_rows", ROWS, "Rows of one file of rows");
const LAST_COMMIT: Definition = gauge(
    "parqueduct_last_commit_timestamp_seconds",
    &["pipeline"],
    "When the last flush became durable, in seconds since 1970; absent until this process wrote one",
);
const STORE_ERRORS: Definition =
    counter("parqueduct_store_errors_total", &["op", "kind"], "Requests to the object store that failed");
const STORE_RETRIES: Definition =
    counter("parqueduct_store_retry_total", &["op"], "Requests to the object store that were tried again");
const STORE_UP: Definition = gauge(
    "parqueduct_store_up",
    &[],
    "1 while the object store takes writes, 0 after one failed until the next succeeds",
);
const REGISTRY_REQUESTS: Definition =
    counter("parqueduct_registry_requests_total", &["outcome"], "Questions to the schema registry, by how they ended");
const DLQ_MERGED: Definition = counter(
    "parqueduct_dlq_files_merged_total",
    &["pipeline"],
    "Files of dead letters that were merged into larger ones in the background",
);
const DLQ_REMOVED: Definition = counter(
    "parqueduct_dlq_letters_removed_total",
    &["pipeline", "why"],
    "Dead letters removed because they were kept long enough",
);
const DLQ_TEND_FAILED: Definition = counter(
    "parqueduct_dlq_merge_failures_total",
    &["pipeline"],
    "Rounds of merging dead letters that ended with an error; what they left is done by a later one",
);
const SCHEMA_INFO: Definition =
    gauge("parqueduct_schema_info", &["pipeline", "schema"], "1, labelled with name@version of each schema in use");
const SCHEMA_RELOADS: Definition = counter(
    "parqueduct_schema_reloads_total",
    &["pipeline", "outcome"],
    "Changed schemas that were taken without a restart, or refused",
);
const SCHEMA_REFUSED: Definition =
    gauge("parqueduct_schema_refused", &["pipeline"], "1 while a changed schema is refused and the one before in use");
const UNDECLARED: Definition = counter(
    "parqueduct_undeclared_fields_total",
    &["pipeline"],
    "Rows with something in _extra: fields that the schema does not declare, or instants finer than their column",
);
const CONFLICTS: Definition = counter(
    "parqueduct_schema_conflicts_total",
    &["pipeline"],
    "Events with a value of a type that the schema does not allow there: dead letters with a validate.type, of a learned schema also with a validate.format",
);
const NEW_FIELDS: Definition = counter(
    "parqueduct_schema_new_fields_total",
    &["pipeline"],
    "Fields that events have and their learned schema does not declare, each counted once by each process",
);
const SCHEMA_REVISION: Definition = gauge(
    "parqueduct_schema_revision",
    &["pipeline"],
    "Revision of the learned schema in use, 0 while it is learned; absent where schemas are written",
);
const BUILD_INFO: Definition = gauge("parqueduct_build_info", &["version"], "1, labelled with the program's version");

/// Every metric there is.
pub const TABLE: &[Definition] = &[
    DELIVERIES,
    RECEIVED_BYTES,
    ARCHIVED,
    DEAD_LETTERED,
    REQUEUED,
    SUPPRESSED,
    ID_REUSED,
    SETTLEMENTS_LOST,
    IN_FLIGHT,
    OLDEST_UNACKED,
    OPEN_PARTITIONS,
    BROKER_CONNECTED,
    BROKER_RECONNECTS,
    BREAKER_OPEN,
    BREAKER_TRIPS,
    FLUSH_SECONDS,
    FLUSH_BYTES,
    FLUSH_ROWS,
    DECODE_SECONDS,
    ENCODE_SECONDS,
    FILES,
    FILE_BYTES,
    FILE_ROWS,
    LAST_COMMIT,
    STORE_ERRORS,
    STORE_RETRIES,
    STORE_UP,
    REGISTRY_REQUESTS,
    DLQ_MERGED,
    DLQ_REMOVED,
    DLQ_TEND_FAILED,
    SCHEMA_INFO,
    SCHEMA_RELOADS,
    SCHEMA_REFUSED,
    UNDECLARED,
    CONFLICTS,
    NEW_FIELDS,
    SCHEMA_REVISION,
    BUILD_INFO,
];

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
    /// The pipelines seen so far; also serialises [`Metrics::render`], which moves counters up to their ledgers.
    pipelines: Mutex<Vec<Arc<PipelineMetrics>>>,
}

impl Metrics {
    pub fn new(version: &str) -> Self {
        let registry = Registry::new();
        let build_info = gauges(&registry, BUILD_INFO);
        build_info.with_label_values(&[version]).set(1.0);
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
        // No zero for "never": an alert on its age would take that for 1970.
        if let Some(at) = pipeline.last_commit() {
            self.last_commit.with_label_values(&[name]).set(at.timestamp_millis() as f64 / 1e3);
        }
    }
}

/// What a file of a flush holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Rows of the archive.
    Data,
    Letters,
    /// What became of letters that were given back.
    Attempts,
    /// The body of a dead letter that is too large for its row.
    Body,
}

impl FileKind {
    pub const ALL: [Self; 4] = [Self::Data, Self::Letters, Self::Attempts, Self::Body];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Letters => "letters",
            Self::Attempts => "attempts",
            Self::Body => "body",
        }
    }
}

/// What became of a schema that changed while it was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    Taken,
    Refused,
}

impl Reload {
    pub const ALL: [Self; 2] = [Self::Taken, Self::Refused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
        }
    }
}

/// Whether a pipeline learns its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// It has one.
    #[default]
    Not,
    /// It waits for events to learn of.
    Waits { events: u64, wanted: u64 },
    /// It has learned it.
    Done { revision: u32 },
}

/// What one pipeline counts.
pub struct PipelineMetrics {
    pub name: String,
    pub ledger: Arc<Ledger>,
    pub shards: Vec<ShardGauges>,
    pub received_bytes: IntCounter,
    pub id_reused: IntCounter,
    pub settlements_lost: IntCounter,
    pub broker_reconnects: IntCounter,
    /// By [`Class`].
    pub breaker_open: [Gauge; Class::ALL.len()],
    pub breaker_trips: [IntCounter; Class::ALL.len()],
    pub flush_seconds: Histogram,
    pub flush_bytes: Histogram,
    pub flush_rows: Histogram,
    pub decode_seconds: Histogram,
    pub encode_seconds: Histogram,
    /// By [`FileKind`].
    files: [IntCounter; FileKind::ALL.len()],
    file_bytes: Histogram,
    file_rows: Histogram,
    /// By [`Reload`].
    schema_reloads: [IntCounter; Reload::ALL.len()],
    schema_refused: Gauge,
    pub undeclared: IntCounter,
    pub conflicts: IntCounter,
    pub new_fields: IntCounter,
    learning: Mutex<Learning>,
    /// Milliseconds since 1970; 0: nothing was committed yet.
    last_commit_ms: AtomicI64,
}

impl PipelineMetrics {
    /// Counts a file of a durable flush.
    pub fn file_written(&self, kind: FileKind, bytes: usize, rows: u64) {
        self.files[kind as usize].inc();
        if kind == FileKind::Data {
            self.file_bytes.observe(bytes as f64);
            self.file_rows.observe(rows as f64);
        }
    }

    /// Counts a changed schema.
    pub fn schema_reloaded(&self, outcome: Reload) {
        self.schema_reloads[outcome as usize].inc();
    }

    /// Records whether the files of a schema say something that was refused.
    pub fn set_schema_refused(&self, refused: bool) {
        self.schema_refused.set(if refused { 1.0 } else { 0.0 });
    }

    /// Records how far the pipeline is with learning its schema.
    pub fn set_learning(&self, learning: Learning) {
        *self.learning.lock().unwrap_or_else(PoisonError::into_inner) = learning;
    }

    pub fn learning(&self) -> Learning {
        *self.learning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a flush is durable as of `at`; of several shards the latest counts.
    pub fn committed(&self, at: DateTime<Utc>) {
        self.last_commit_ms.fetch_max(at.timestamp_millis(), Relaxed);
    }

    fn last_commit(&self) -> Option<DateTime<Utc>> {
        match self.last_commit_ms.load(Relaxed) {
            0 => None,
            millis => DateTime::from_timestamp_millis(millis),
        }
    }

    /// Age of the oldest delivery any shard holds; zero when none does.
    pub fn oldest_unacked(&self, now: DateTime<Utc>) -> chrono::TimeDelta {
        let since = self.shards.iter().filter_map(ShardGauges::oldest_unacked).min();
        since.map_or(chrono::TimeDelta::zero(), |since| (now - since).max(chrono::TimeDelta::zero()))
    }

    pub fn open_partitions(&self) -> usize {
        self.shards.iter().map(|shard| shard.open_partitions.load(Relaxed)).sum()
    }

    /// Shards with a live consumer.
    pub fn connected(&self) -> usize {
        self.shards.iter().filter(|shard| shard.connected.load(Relaxed)).count()
    }
}

/// What a shard shows of itself.
#[derive(Debug, Default)]
pub struct ShardGauges {
    /// Milliseconds since 1970 when the oldest held delivery arrived; 0: none is held.
    oldest_unacked: AtomicI64,
    open_partitions: AtomicUsize,
    connected: AtomicBool,
}

impl ShardGauges {
    pub fn set_oldest_unacked(&self, since: Option<DateTime<Utc>>) {
        self.oldest_unacked.store(since.map_or(0, |since| since.timestamp_millis()), Relaxed);
    }

    fn oldest_unacked(&self) -> Option<DateTime<Utc>> {
        match self.oldest_unacked.load(Relaxed) {
            0 => None,
            millis => DateTime::from_timestamp_millis(millis),
        }
    }

    pub fn set_open_partitions(&self, count: usize) {
        self.open_partitions.store(count, Relaxed);
    }

    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }
}

/// Moves a counter up to `value`; callers are serialised by the lock on the pipelines.
fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
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
        assert_eq!(text, render(), "a second scrape counts nothing again");
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
