//! The one table of all metrics.

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
/// From what comes at once to what was held up for a week.
const DELAYS: &[f64] = &[0.1, 1.0, 5.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0, 604_800.0];
const BYTES: &[f64] =
    &[4096.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0, 268_435_456.0];
const ROWS: &[f64] = &[1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 35_000.0, 50_000.0];

const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Definition {
    Definition { name, kind: Kind::Histogram(buckets), labels: &["pipeline"], help }
}

pub(super) const DELIVERIES: Definition =
    counter("parqueduct_deliveries_total", &["pipeline"], "Deliveries received from the queue, redeliveries included");
pub(super) const RECEIVED_BYTES: Definition =
    counter("parqueduct_received_bytes_total", &["pipeline"], "Bytes of message bodies received");
pub(super) const ARCHIVED: Definition =
    counter("parqueduct_archived_total", &["pipeline"], "Deliveries durable as rows of the archive");
pub(super) const DEAD_LETTERED: Definition = counter(
    "parqueduct_dead_lettered_total",
    &["pipeline", "stage", "code"],
    "Deliveries durable as dead letters, by the stage and the code of their first issue",
);
pub(super) const REQUEUED: Definition =
    counter("parqueduct_requeued_total", &["pipeline", "cause"], "Deliveries that went back to the queue");
pub(super) const SUPPRESSED: Definition = counter(
    "parqueduct_duplicates_suppressed_total",
    &["pipeline"],
    "Deliveries acked without a row, for their row or dead letter was durable already",
);
pub(super) const ID_REUSED: Definition = counter(
    "parqueduct_id_reused_total",
    &["pipeline"],
    "Redeliveries archived although a row has their event id: its body differs, so it is another event",
);
pub(super) const SETTLEMENTS_LOST: Definition = counter(
    "parqueduct_settlements_lost_total",
    &["pipeline"],
    "Acks that did not reach the broker after their flush was durable; the deliveries come back, and are suppressed",
);
pub(super) const IN_FLIGHT: Definition =
    gauge("parqueduct_in_flight", &["pipeline"], "Deliveries received and not yet settled");
pub(super) const OLDEST_UNACKED: Definition =
    gauge("parqueduct_oldest_unacked_seconds", &["pipeline"], "Age of the oldest delivery not yet settled");
pub(super) const OPEN_PARTITIONS: Definition =
    gauge("parqueduct_open_partitions", &["pipeline"], "Partitions with rows not yet flushed");
pub(super) const BROKER_CONNECTED: Definition =
    gauge("parqueduct_broker_connected", &["pipeline"], "Shards that have a live consumer");
pub(super) const BROKER_RECONNECTS: Definition =
    counter("parqueduct_broker_reconnects_total", &["pipeline"], "Consumers that ended and were built anew");
pub(super) const BREAKER_OPEN: Definition = gauge(
    "parqueduct_breaker_open",
    &["pipeline", "class"],
    "1 while most events fail, by whose trouble it is; what is done then is configured",
);
pub(super) const BREAKER_TRIPS: Definition =
    counter("parqueduct_breaker_trips_total", &["pipeline", "class"], "Times that most events began to fail");
pub(super) const FLUSH_SECONDS: Definition =
    histogram("parqueduct_flush_seconds", SECONDS, "Time from sealing a flush to its outcome being durable");
pub(super) const FLUSH_BYTES: Definition =
    histogram("parqueduct_flush_bytes", BYTES, "Bytes of the objects of a flush");
pub(super) const FLUSH_ROWS: Definition =
    histogram("parqueduct_flush_rows", ROWS, "Deliveries a flush settles, good and bad");
pub(super) const DECODE_SECONDS: Definition = histogram(
    "parqueduct_decode_seconds",
    SHORT_SECONDS,
    "Time to decode, validate and append one batch of deliveries, and to encode the files of a flush it fills",
);
pub(super) const ENCODE_SECONDS: Definition =
    histogram("parqueduct_encode_seconds", SECONDS, "Time to encode the files of one flush");
pub(super) const FILES: Definition =
    counter("parqueduct_files_total", &["pipeline", "kind"], "Files that durable flushes wrote, by what they hold");
pub(super) const FILE_BYTES: Definition = histogram("parqueduct_file_bytes", BYTES, "Bytes of one file of rows");
pub(super) const FILE_ROWS: Definition = histogram("parqueduct_file_rows", ROWS, "Rows of one file of rows");
pub(super) const LAST_COMMIT: Definition = gauge(
    "parqueduct_last_commit_timestamp_seconds",
    &["pipeline"],
    "When the last flush became durable, in seconds since 1970; absent until this process wrote one",
);
pub(super) const STORE_ERRORS: Definition =
    counter("parqueduct_store_errors_total", &["op", "kind"], "Requests to the object store that failed");
pub(super) const STORE_RETRIES: Definition =
    counter("parqueduct_store_retry_total", &["op"], "Requests to the object store that were tried again");
pub(super) const STORE_UP: Definition = gauge(
    "parqueduct_store_up",
    &[],
    "1 while the object store takes writes, 0 after one failed until the next succeeds",
);
pub(super) const REGISTRY_REQUESTS: Definition =
    counter("parqueduct_registry_requests_total", &["outcome"], "Questions to the schema registry, by how they ended");
pub(super) const SPAN_EXPORTS: Definition = counter(
    "parqueduct_span_exports_total",
    &["outcome"],
    "Requests that sent spans to the collector, by how they ended",
);
pub(super) const DLQ_MERGED: Definition = counter(
    "parqueduct_dlq_files_merged_total",
    &["pipeline"],
    "Files of dead letters that were merged into larger ones in the background",
);
pub(super) const DLQ_REMOVED: Definition = counter(
    "parqueduct_dlq_letters_removed_total",
    &["pipeline", "why"],
    "Dead letters removed because they were kept long enough",
);
pub(super) const DLQ_TEND_FAILED: Definition = counter(
    "parqueduct_dlq_merge_failures_total",
    &["pipeline"],
    "Rounds of merging dead letters that ended with an error; what they left is done by a later one",
);
pub(super) const SCHEMA_INFO: Definition =
    gauge("parqueduct_schema_info", &["pipeline", "schema"], "1, labelled with name@version of each schema in use");
pub(super) const SCHEMA_RELOADS: Definition = counter(
    "parqueduct_schema_reloads_total",
    &["pipeline", "outcome"],
    "Changed schemas that were taken without a restart, or refused",
);
pub(super) const SCHEMA_REFUSED: Definition =
    gauge("parqueduct_schema_refused", &["pipeline"], "1 while a changed schema is refused and the one before in use");
pub(super) const UNDECLARED: Definition = counter(
    "parqueduct_undeclared_fields_total",
    &["pipeline"],
    "Rows with something in _extra: fields that the schema does not declare, or instants finer than their column",
);
pub(super) const CONFLICTS: Definition = counter(
    "parqueduct_schema_conflicts_total",
    &["pipeline"],
    "Events with a value of a type that the schema does not allow there: dead letters with a validate.type, of a learned schema also with a validate.format",
);
pub(super) const NEW_FIELDS: Definition = counter(
    "parqueduct_schema_new_fields_total",
    &["pipeline"],
    "Fields that events have and their learned schema does not declare, each counted once by each process",
);
pub(super) const SCHEMA_REVISION: Definition = gauge(
    "parqueduct_schema_revision",
    &["pipeline"],
    "Revision of the learned schema in use, 0 while it is learned; absent where schemas are written",
);
pub(super) const EVENT_DELAY: Definition = histogram(
    "parqueduct_event_delay_seconds",
    DELAYS,
    "Time from an archived event's own time to its arrival; 0 where that lies ahead",
);
pub(super) const QUEUE_MESSAGES: Definition = gauge(
    "parqueduct_queue_messages",
    &["pipeline"],
    "Messages that wait in the queue, without those that consumers hold; absent while that is not known",
);
pub(super) const HELD_BYTES: Definition = gauge(
    "parqueduct_held_bytes",
    &["pipeline", "owner"],
    "Bytes held in memory: bodies of deliveries, rows of open batches (an estimate), files encoded and not yet durable",
);
pub(super) const DLQ_GROUPS: Definition =
    gauge("parqueduct_dlq_groups", &["pipeline", "state"], "Groups of dead letters in the store, by their state");
pub(super) const DLQ_NEWEST_GROUP: Definition = gauge(
    "parqueduct_dlq_newest_group_timestamp_seconds",
    &["pipeline"],
    "When the newest group began that nobody has dealt with, in seconds since 1970; absent while there is none",
);
pub(super) const DLQ_GROUPS_RISING: Definition = gauge(
    "parqueduct_dlq_groups_rising",
    &["pipeline"],
    "Groups that got ten times as many letters within the last hour as in any hour of the day before, and 50 at least",
);
pub(super) const MONITOR_SILENT: Definition = gauge(
    "parqueduct_monitor_silent",
    &["pipeline"],
    "1 while nothing has come for longer than monitor.silence; only of pipelines with that key",
);
pub(super) const MONITOR_LAST_DELIVERY: Definition = gauge(
    "parqueduct_monitor_last_delivery_timestamp_seconds",
    &["pipeline"],
    "When a delivery came last, or the process began, in seconds since 1970; only of pipelines with a monitor",
);
pub(super) const MONITOR_RATE: Definition = gauge(
    "parqueduct_monitor_rate",
    &["pipeline"],
    "Deliveries a second over monitor.rate_within; absent until so much time has passed",
);
pub(super) const MONITOR_RATE_BOUND: Definition = gauge(
    "parqueduct_monitor_rate_bound",
    &["pipeline", "bound"],
    "The configured bounds of that rate, in deliveries a second",
);
pub(super) const MONITOR_OUT_OF_BAND: Definition = gauge(
    "parqueduct_monitor_out_of_band",
    &["pipeline", "bound"],
    "1 while this process gets fewer or more deliveries than that bound",
);
pub(super) const MONITOR_EVENTS: Definition = counter(
    "parqueduct_monitor_events_total",
    &["pipeline", "outcome"],
    "Good events that rules and the search for personal data looked at, or left out above monitor.sample_above",
);
pub(super) const MONITOR_CHECKED: Definition = counter(
    "parqueduct_monitor_checked_total",
    &["pipeline", "rule"],
    "Events that a rule of monitor.field was held against",
);
pub(super) const MONITOR_BROKEN: Definition =
    counter("parqueduct_monitor_broken_total", &["pipeline", "rule"], "Events that break a rule of monitor.field");
pub(super) const PERSONAL_DATA: Definition = counter(
    "parqueduct_personal_data_total",
    &["pipeline", "kind", "path"],
    "Texts of events with personal data where none should be, by kind and the schema's path to the field",
);
pub(super) const BUILD_INFO: Definition =
    gauge("parqueduct_build_info", &["version"], "1, labelled with the program's version");

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
    SPAN_EXPORTS,
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
    EVENT_DELAY,
    QUEUE_MESSAGES,
    HELD_BYTES,
    DLQ_GROUPS,
    DLQ_NEWEST_GROUP,
    DLQ_GROUPS_RISING,
    MONITOR_SILENT,
    MONITOR_LAST_DELIVERY,
    MONITOR_RATE,
    MONITOR_RATE_BOUND,
    MONITOR_OUT_OF_BAND,
    MONITOR_EVENTS,
    MONITOR_CHECKED,
    MONITOR_BROKEN,
    PERSONAL_DATA,
    BUILD_INFO,
];
