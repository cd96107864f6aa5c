//! What one pipeline counts, and what its shards show.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus::local::LocalHistogram;
use prometheus::{Gauge, Histogram, IntCounter};

use super::monitors::MonitorMetrics;
use crate::receipt::Ledger;
use crate::rejection::Class;

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

/// How a request ended that sent spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanExport {
    Sent,
    /// They are dropped.
    Failed,
}

impl SpanExport {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
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

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Deliveries that are not sealed into a flush.
    Bodies,
    /// Their rows.
    Batches,
    /// Flushes that are encoded and not yet durable.
    Files,
}

impl Owner {
    pub const ALL: [Self; 3] = [Self::Bodies, Self::Batches, Self::Files];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bodies => "bodies",
            Self::Batches => "batches",
            Self::Files => "files",
        }
    }
}

/// Delays of events, counted by one worker; others see them once they are flushed.
#[derive(Debug)]
pub struct Delays(LocalHistogram);

impl Delays {
    /// From the event's time to its arrival, in microseconds; what lies ahead is no delay.
    pub fn observe(&mut self, micros: i64) {
        self.0.observe(micros.max(0) as f64 / 1e6);
    }

    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// Whether a pipeline learns its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// It has one.
    #[default]
    Not,
    /// It waits for events to learn of.
    Waits {
        events: u64,
        wanted: u64,
        /// How long the first of them may wait for the others.
        patience: Duration,
    },
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
    pub(super) files: [IntCounter; FileKind::ALL.len()],
    pub(super) file_bytes: Histogram,
    pub(super) file_rows: Histogram,
    /// By [`Reload`].
    pub(super) schema_reloads: [IntCounter; Reload::ALL.len()],
    pub(super) schema_refused: Gauge,
    pub undeclared: IntCounter,
    pub conflicts: IntCounter,
    pub new_fields: IntCounter,
    pub(super) learning: Mutex<Learning>,
    pub(super) event_delay: Histogram,
    pub monitors: MonitorMetrics,
    /// Milliseconds since 1970; 0: nothing was committed yet.
    pub(super) last_commit_ms: AtomicI64,
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

    /// Where one worker counts delays of events.
    pub fn delays(&self) -> Delays {
        Delays(self.event_delay.local())
    }

    /// Bytes that its shards hold for that.
    pub fn held_bytes(&self, owner: Owner) -> usize {
        self.shards.iter().map(|shard| shard.held_bytes[owner as usize].load(Relaxed)).sum()
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

    pub(super) fn last_commit(&self) -> Option<DateTime<Utc>> {
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
    /// By [`Owner`].
    held_bytes: [AtomicUsize; Owner::ALL.len()],
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

    pub fn set_held_bytes(&self, owner: Owner, bytes: usize) {
        self.held_bytes[owner as usize].store(bytes, Relaxed);
    }

    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }
}
