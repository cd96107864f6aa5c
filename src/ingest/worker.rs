//! The CPU side of a shard: judges deliveries into open batches, and seals them into flushes ready to be written.
//! Synchronous; the shard lends it to a blocking thread for each batch of deliveries.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tracing::error;
use ulid::Ulid;

use crate::archive::{self, Batches, EncodedFile, FileFacts, SealedBatch};
use crate::config::PipelineKind;
use crate::dlq::death::Death;
use crate::dlq::record::{self, AttemptSource, DeadLetter, Origin as DeadLetterOrigin, Original};
use crate::dlq::rules::Rules;
use crate::event::Delivery;
use crate::ingest::breaker::Judged;
use crate::ingest::judge::{Judge, Rejected, Verdict};
use crate::ingest::repeats::{Key, Repeats, Sighting};
use crate::ingest::{Plan, Surroundings};
use crate::metrics::PipelineMetrics;
use crate::receipt::{Receipt, RequeueCause, Tally};
use crate::rejection::{Code, Issue, Rejection, Stage};

/// Where deliveries come from, as dead letters and object names tell it.
#[derive(Clone, Debug)]
pub struct Origin {
    pub shard: u16,
    pub source: AttemptSource,
    /// The file whose lines they are; `None` for a queue.
    pub file: Option<String>,
}

/// One object of a flush, encoded.
#[derive(Clone, Debug)]
pub struct SealedObject {
    pub path: String,
    pub bytes: Bytes,
    pub rows: u64,
}

/// A flush, encoded and not yet written: the objects and the duty for what they hold.
#[derive(Debug)]
pub struct Sealed {
    pub flush: Ulid,
    pub sealed_at: DateTime<Utc>,
    pub receipt: Receipt,
    pub tally: Tally,
    pub objects: Vec<SealedObject>,
    /// Bodies of dead letters, by their hash: several flushes may write the same, so an abort leaves them.
    pub blobs: Vec<SealedObject>,
    /// When the oldest of its deliveries arrived.
    pub oldest: DateTime<Utc>,
    /// Event times of the archived rows, microseconds since 1970.
    pub event_time_us: Option<(i64, i64)>,
    /// Of rows to be remembered once they are durable.
    pub keys: Vec<Key>,
    /// Some of its deliveries were redelivered.
    pub redelivered: bool,
}

impl Sealed {
    pub fn bytes(&self) -> u64 {
        self.objects.iter().chain(&self.blobs).map(|object| object.bytes.len() as u64).sum()
    }
}

/// See the module.
pub struct Worker {
    plan: Arc<Plan>,
    surroundings: Surroundings,
    metrics: Arc<PipelineMetrics>,
    origin: Origin,
    /// `None` where nothing is delivered twice.
    repeats: Option<Repeats>,
    judge: Judge,
    rules: Rules,
    batches: Batches,
    /// The good deliveries whose rows are in `batches`: their bodies are needed until the rows are proven encodable.
    held: Vec<Delivery>,
    dead: Vec<DeadLetter>,
    /// The codes of `dead`, and how many repeats there were beside them and `held`.
    tally: Tally,
    keys: Vec<Key>,
    dead_letter_origin: Arc<DeadLetterOrigin>,
    /// The duty for all that is held; `None` when nothing is.
    receipt: Option<Receipt>,
    oldest: Option<DateTime<Utc>>,
    bytes: usize,
    /// Deliveries that fill a flush.
    rows_max: usize,
    /// Some of what is held was redelivered.
    redelivered: bool,
    /// What was judged since somebody asked.
    judged: Judged,
}

impl Worker {
    pub fn new(
        plan: Arc<Plan>,
        surroundings: Surroundings,
        metrics: Arc<PipelineMetrics>,
        origin: Origin,
        repeats: Option<Repeats>,
    ) -> Self {
        Self {
            judge: Judge::new(Arc::clone(&plan)),
            rules: Rules::new(&plan.config.dlq_rules),
            batches: Batches::new(Arc::clone(&plan.layout)),
            held: Vec::new(),
            dead: Vec::new(),
            tally: Tally::default(),
            keys: Vec::new(),
            repeats,
            dead_letter_origin: Arc::new(plan.dead_letter_origin(origin.shard)),
            receipt: None,
            oldest: None,
            bytes: 0,
            rows_max: plan.config.flush.rows,
            redelivered: false,
            judged: Judged::default(),
            plan,
            surroundings,
            metrics,
            origin,
        }
    }

    /// Deliveries held: good ones, bad ones, and repeats.
    pub fn held(&self) -> usize {
        self.held.len() + self.dead.len() + self.tally.suppressed as usize
    }

    pub fn open_partitions(&self) -> usize {
        self.batches.open_partitions()
    }

    /// When the oldest delivery held arrived.
    pub fn oldest(&self) -> Option<DateTime<Utc>> {
        self.oldest
    }

    /// Lets a flush hold no more deliveries than that, of what is configured.
    pub fn set_rows_max(&mut self, rows_max: usize) {
        self.rows_max = rows_max.min(self.plan.config.flush.rows).max(1);
    }

    /// What was judged since this was asked last.
    pub fn take_judged(&mut self) -> Judged {
        std::mem::take(&mut self.judged)
    }

    /// Takes a delivery that is not to be judged: with it in hand, the process ends.
    pub fn condemn(&mut self, delivery: Delivery, receipt: Receipt) {
        error!(pipeline = %self.plan.config.name, tag = delivery.tag, "an event ended the process again and again: it becomes a dead letter, unread");
        let rejection = Issue::whole(Code::InternalCrash).into();
        self.keep(delivery, Err(Rejected { rejection, event_id: None }));
        self.add_duty(receipt);
    }

    /// Judges `deliveries`, for all of which `receipt` stands; returns the flushes that became full on the way.
    pub fn take(&mut self, deliveries: Vec<Delivery>, mut receipt: Receipt) -> Vec<Sealed> {
        let mut full = Vec::new();
        // The part of `receipt` whose deliveries were judged and not yet handed to a sealed flush.
        let mut judged = 0;
        let mut previous = 0;
        for delivery in deliveries {
            let tag = delivery.tag;
            let verdict = match self.judge(&delivery) {
                Ok(Verdict::Full) => {
                    let part = receipt.split_first(judged, previous);
                    full.extend(self.seal_with(part));
                    judged = 0;
                    self.judge(&delivery)
                }
                verdict => verdict,
            };
            self.keep(delivery, verdict);
            judged += 1;
            previous = tag;
            if self.held() >= self.rows_max || self.bytes >= self.plan.config.flush.bytes {
                let part = receipt.split_first(judged, tag);
                full.extend(self.seal_with(part));
                judged = 0;
            }
        }
        self.add_duty(receipt);
        full
    }

    /// Closes everything held into a flush; `None` when nothing is held.
    pub fn seal(&mut self) -> Option<Sealed> {
        let receipt = self.receipt.take()?;
        Some(self.encode(receipt))
    }

    /// Lets go of everything held: it goes back to the queue.
    pub fn abandon(self, cause: RequeueCause) {
        if let Some(receipt) = self.receipt {
            receipt.requeue(cause);
        }
    }

    fn add_duty(&mut self, receipt: Receipt) {
        if receipt.deliveries() == 0 {
            return;
        }
        match &mut self.receipt {
            Some(held) => held.join(receipt),
            None => self.receipt = Some(receipt),
        }
    }

    fn seal_with(&mut self, part: Receipt) -> Option<Sealed> {
        self.add_duty(part);
        self.seal()
    }

    /// Judges one delivery. A panic is the event's own doing only if it panics alone as well, with buffers of its own;
    /// else it is ours, and ends the shard.
    fn judge(&mut self, delivery: &Delivery) -> Result<Verdict, Rejected> {
        let number = row_number(self.held.len());
        let (repeats, metrics) = (&mut self.repeats, &self.metrics);
        let mut is_repeat = |event_id: &str, body_hash: &[u8; 16]| {
            let Some(repeats) = repeats else { return false };
            let sighting = repeats.of_row(delivery, event_id, body_hash);
            if sighting == Sighting::IdReused {
                metrics.id_reused.inc();
            }
            sighting == Sighting::Repeat
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            self.judge.judge(number, delivery, &mut self.batches, Some(&mut is_repeat))
        }));
        let Err(panic) = judged else { return judged.expect("it did not panic") };
        let alone = catch_unwind(AssertUnwindSafe(|| {
            let mut batches = Batches::new(Arc::clone(&self.plan.layout));
            Judge::new(Arc::clone(&self.plan)).judge(0, delivery, &mut batches, None)
        }));
        if alone.is_ok() {
            resume_unwind(panic);
        }
        error!(pipeline = %self.plan.config.name, tag = delivery.tag, "an event makes the program panic: it becomes a dead letter");
        self.rebuild();
        Err(Rejected { rejection: Issue::whole(Code::InternalPanic).into(), event_id: None })
    }

    /// Judges all held deliveries again into new batches: after a panic the old ones cannot be trusted.
    fn rebuild(&mut self) {
        self.judge = Judge::new(Arc::clone(&self.plan));
        self.batches = Batches::new(Arc::clone(&self.plan.layout));
        for (place, delivery) in self.held.iter().enumerate() {
            let verdict = self.judge.judge(row_number(place), delivery, &mut self.batches, None);
            assert!(matches!(verdict, Ok(Verdict::Archived)), "what was archivable once is so again");
        }
    }

    fn keep(&mut self, delivery: Delivery, verdict: Result<Verdict, Rejected>) {
        self.oldest.get_or_insert(delivery.received_at);
        self.bytes += delivery.size();
        self.redelivered |= delivery.message.redelivered;
        self.metrics.received_bytes.inc_by(delivery.message.body.len() as u64);
        let shown = self.repeats.as_mut().and_then(Repeats::take_shown);
        match verdict {
            Ok(Verdict::Archived) => {
                self.judged.good += 1;
                self.keys.extend(self.repeats.as_mut().and_then(|repeats| repeats.hold(&delivery, shown)));
                self.held.push(delivery);
            }
            Ok(Verdict::Full) => unreachable!("empty batches have room for one partition"),
            Ok(Verdict::Repeat) => self.suppress(),
            Err(rejected) => self.reject(delivery, rejected),
        }
    }

    /// Makes a dead letter of a delivery, unless it is one, or a row, already.
    fn reject(&mut self, delivery: Delivery, rejected: Rejected) {
        let event_id = rejected.event_id.as_deref();
        match &self.repeats {
            Some(repeats) if repeats.holds_letter(&delivery, event_id) => self.suppress(),
            _ => self.bury(delivery, rejected),
        }
    }

    fn suppress(&mut self) {
        self.tally.suppressed += 1;
        self.judged.repeats += 1;
    }

    fn bury(&mut self, delivery: Delivery, rejected: Rejected) {
        let Rejected { rejection, event_id } = rejected;
        let rejection = self.rules.ranked(rejection, delivery.message.body.len() as u64);
        let line = self.origin.file.is_some().then_some(delivery.tag);
        let (id, now) = ((self.surroundings.ulid)(), (self.surroundings.now)());
        let mut letter = DeadLetter::new(id, &self.dead_letter_origin, delivery, &rejection, self.origin.source, now);
        self.rules.apply(&mut letter);
        letter.event_id = event_id;
        if self.plan.config.kind != PipelineKind::Events {
            letter.original = Death::newest(&letter.message).map(Original::from);
        }
        letter.source_file.clone_from(&self.origin.file);
        letter.source_line = line;
        self.tally.add_dead_letter(rejection.code());
        match rejection.code().stage() {
            // What a pipeline of dead letters is for.
            Stage::Broker => self.judged.good += 1,
            _ => self.judged.bad[rejection.code().class() as usize] += 1,
        }
        self.dead.push(letter);
    }

    fn encode(&mut self, receipt: Receipt) -> Sealed {
        let flush = (self.surroundings.ulid)();
        let sealed_at = (self.surroundings.now)();
        let held = std::mem::take(&mut self.held);
        let mut objects = Vec::new();
        let mut event_time_us: Option<(i64, i64)> = None;
        for (number, batch) in self.batches.seal().into_iter().enumerate() {
            let (file, refused) = self.encode_batch(&batch, flush);
            for (row, rejection) in refused {
                let delivery = held[row as usize].clone();
                let event_id = self.judge.event_id(&delivery);
                self.judged.good = self.judged.good.saturating_sub(1);
                self.reject(delivery, Rejected { rejection, event_id });
            }
            let Some(file) = file else { continue };
            let (low, high) = event_time_us.unwrap_or((i64::MAX, i64::MIN));
            event_time_us = Some((low.min(file.event_time_min_us), high.max(file.event_time_max_us)));
            self.tally.archived += file.rows() as u64;
            objects.push(self.data_object(file, flush, number));
        }
        let mut blobs = Vec::new();
        if !self.dead.is_empty() {
            objects.push(self.dead_letter_object(flush, &mut blobs));
        }
        self.bytes = 0;
        let tally = std::mem::take(&mut self.tally);
        // The law: before a byte is written, and long before an ack.
        assert_eq!(tally.total(), receipt.deliveries(), "a flush accounts for every delivery it settles");
        Sealed {
            flush,
            sealed_at,
            receipt,
            tally,
            objects,
            blobs,
            oldest: self.oldest.take().unwrap_or(sealed_at),
            event_time_us,
            keys: std::mem::take(&mut self.keys),
            redelivered: std::mem::take(&mut self.redelivered),
        }
    }

    /// Encodes one partition's rows; rows Parquet cannot hold are found and come back by number.
    fn encode_batch(&self, batch: &SealedBatch, flush: Ulid) -> (Option<EncodedFile>, Vec<(u32, Rejection)>) {
        let plan = &self.plan;
        let facts = FileFacts {
            program_version: crate::VERSION,
            pipeline: &plan.config.name,
            schema_label: &plan.schema.label(),
            schema_hash: plan.schema.hash(),
            instance: &plan.instance,
            flush: &flush.to_string(),
            compression_level: plan.config.compression_level,
        };
        archive::encode_isolating(batch, &facts)
    }

    fn data_object(&self, file: EncodedFile, flush: Ulid, number: usize) -> SealedObject {
        let plan = &self.plan;
        let (pipeline, major) = (&plan.config.name, plan.config.schema_version);
        let flush = flush.to_string();
        SealedObject {
            path: archive::path(pipeline, major, &file.partition, &flush, &plan.instance, self.origin.shard, number),
            rows: file.rows() as u64,
            bytes: file.bytes,
        }
    }

    fn dead_letter_object(&mut self, flush: Ulid, blobs: &mut Vec<SealedObject>) -> SealedObject {
        let mut dead = std::mem::take(&mut self.dead);
        let flush_id = flush.to_string();
        let mut newest = dead[0].dead_at;
        for letter in &mut dead {
            newest = newest.max(letter.dead_at);
            letter.flush_id.clone_from(&flush_id);
        }
        for letter in dead.iter_mut().filter(|letter| letter.message.body.len() > self.plan.blob_bytes) {
            let (path, body) = letter.take_body(newest.date_naive());
            if blobs.iter().all(|blob: &SealedObject| blob.path != path) {
                blobs.push(SealedObject { path, bytes: body.into(), rows: 0 });
            }
        }
        let origin = &self.dead_letter_origin;
        SealedObject {
            path: record::path(&origin.pipeline, newest, flush, &origin.instance, origin.shard),
            bytes: record::encode(&dead).expect("a flush of dead letters is smaller than a Parquet column may be"),
            rows: dead.len() as u64,
        }
    }
}

/// A delivery's place among those held, as rows carry it; prefetch windows and file batches are far below 2^32.
fn row_number(place: usize) -> u32 {
    u32::try_from(place).expect("a flush holds fewer than 2^32 deliveries")
}
