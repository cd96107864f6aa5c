//! What a flush tells those who trace the program: a span, and within it one for each stage. Its few stages are kept in any
//! case; of its events nothing is, while nobody asks.

use chrono::{DateTime, Utc};

use crate::ingest::worker::Sealed;
use crate::store::flush::{FlushError, Source};

/// Takes what flushes tell, each once it has ended.
pub trait Spans: Send + Sync {
    fn flush(&self, span: FlushSpan);
}

/// A flush from the arrival of its oldest delivery to its end.
#[derive(Clone, Debug)]
pub struct FlushSpan {
    pub pipeline: String,
    pub flush: ulid::Ulid,
    pub source: Source,
    pub began: DateTime<Utc>,
    pub ended: DateTime<Utc>,
    /// It counts; otherwise its deliveries went back.
    pub durable: bool,
    pub deliveries: u64,
    pub archived: u64,
    pub dead_lettered: u64,
    pub suppressed: u64,
    pub files: u64,
    pub bytes: u64,
    /// In the order in which they ended.
    pub stages: Vec<Stage>,
    /// Places in traces of the first of its events: the ids of trace and span, in hexadecimal.
    pub links: Vec<(String, String)>,
}

/// A stage of a flush. Those of the store and the broker come once for each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `fill`, `encode`, `wait`, `intent`, `objects`, `proof`, `outcome`.
    pub name: &'static str,
    pub began: DateTime<Utc>,
    pub ended: DateTime<Utc>,
    /// Why it failed, of a closed set of words.
    pub failure: Option<&'static str>,
}

/// Stages kept of one flush: beyond them the store was away for long, and more of the same tells nothing.
const STAGES_MAX: usize = 64;

/// The stages of a flush that is being written.
#[derive(Debug)]
pub(super) struct Stages(Vec<Stage>);

impl Stages {
    /// Those that `sealed` has behind it as of `now`.
    pub(super) fn before(sealed: &Sealed, now: DateTime<Utc>) -> Self {
        let stage = |name, began, ended| Stage { name, began, ended, failure: None };
        Self(vec![
            stage("fill", sealed.oldest, sealed.sealed_at),
            stage("encode", sealed.sealed_at, sealed.encoded_at),
            stage("wait", sealed.encoded_at, now),
        ])
    }

    pub(super) fn add(
        &mut self,
        name: &'static str,
        (began, ended): (DateTime<Utc>, DateTime<Utc>),
        failure: Option<&'static str>,
    ) {
        if self.0.len() < STAGES_MAX {
            self.0.push(Stage { name, began, ended, failure });
        }
    }

    /// What `sealed` tells once it has ended.
    pub(super) fn span(self, pipeline: &str, source: &Source, sealed: &Sealed, ended: End) -> FlushSpan {
        FlushSpan {
            pipeline: pipeline.to_owned(),
            flush: sealed.flush,
            source: source.clone(),
            began: sealed.oldest,
            ended: ended.at,
            durable: ended.durable,
            deliveries: sealed.receipt.deliveries(),
            archived: sealed.tally.archived,
            dead_lettered: sealed.tally.dead_letters(),
            suppressed: sealed.tally.suppressed,
            files: (sealed.objects.len() + sealed.blobs.len()) as u64,
            bytes: sealed.bytes(),
            stages: self.0,
            links: sealed.traces.clone(),
        }
    }
}

/// How a flush ended, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: DateTime<Utc>,
    pub(super) durable: bool,
}

/// A word for why the store did not do as it was asked: its own words name paths, which may hold values of events.
pub(super) fn word(error: &FlushError) -> &'static str {
    match error {
        FlushError::Store(error) => error.kind().as_str(),
        FlushError::Taken(_) => "taken",
        FlushError::Unreadable { .. } => "unreadable",
        FlushError::Astray { .. } => "astray",
    }
}
