//! The CPU side of a shard: judges deliveries into open batches, and seals them into flushes ready to be written.
//! Synchronous; the shard lends it to a blocking thread for each batch of deliveries.

#[cfg(test)]
pub(super) mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tracing::error;
use ulid::Ulid;

use crate::archive::{self, Batches, EncodedFile, FileFacts, SealedBatch};
use crate::config::PipelineKind;
use crate::dlq::attempts::{self, AttemptOutcome, AttemptRecord};
use crate::dlq::death::Death;
use crate::dlq::fingerprint::GroupId;
use crate::dlq::record::{self, AttemptSource, DeadLetter, Origin as DeadLetterOrigin, Original};
use crate::dlq::rules::Rules;
use crate::event::{Delivery, TraceParent};
use crate::ingest::arrival::{Arrival, Before, Given};
use crate::ingest::breaker::Judged;
use crate::ingest::judge::{Judge, Rejected, Verdict};
use crate::ingest::learned::Sightings;
use crate::ingest::repeats::{Durable, Key, Known, Repeats, Sighting};
use crate::ingest::{Plan, Surroundings};
use crate::metrics::{FileKind, PipelineMetrics};
use crate::monitor::Watcher;
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
    pub kind: FileKind,
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
    /// Rows with something in `_extra`.
    pub undeclared: u64,
    /// Events that have a value of a type that their schema does not allow there.
    pub conflicts: u64,
    /// When its files were encoded.
    pub encoded_at: DateTime<Utc>,
    /// Traces that its events are part of: the first ones, by the ids of trace and span.
    pub traces: Vec<(String, String)>,
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
    watcher: Watcher,
    /// Of a schema that is learned: what events have that it does not say.
    sightings: Option<Arc<Sightings>>,
    rules: Rules,
    batches: Batches,
    /// The good deliveries whose rows are in `batches`: their bodies are needed until the rows are proven encodable.
    held: Vec<Arrival>,
    /// Of those of `held` that give letters back: their place, and the event's id.
    recovering: Vec<(u32, Option<String>)>,
    dead: Vec<DeadLetter>,
    /// Letters given back that failed again, and, while a flush is sealed, those that are recovered.
    attempts: Vec<AttemptRecord>,
    /// The groups of what was found of letters that failed again, since somebody asked.
    failed: Vec<Vec<GroupId>>,
    /// What this worker recovered in its life, the last of it: it may be given back twice.
    recovered: Durable,
    /// The codes of `dead` and of failed `attempts`, and how many repeats there were beside them and `held`.
    tally: Tally,
    /// Of those rejected, how many have a value of another type than their schema says.
    conflicts: u64,
    /// See [`Sealed::traces`].
    traces: Vec<(String, String)>,
    keys: Vec<Key>,
    /// Of letters of each type of events, and last of those of none.
    dead_letter_origins: Vec<Arc<DeadLetterOrigin>>,
    instance: Arc<str>,
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
            watcher: watcher(&plan, &metrics),
            sightings: None,
            rules: Rules::new(&plan.config.dlq_rules),
            batches: batches(&plan),
            held: Vec::new(),
            recovering: Vec::new(),
            dead: Vec::new(),
            attempts: Vec::new(),
            failed: Vec::new(),
            recovered: Durable::new(RECOVERED_MAX),
            tally: Tally::default(),
            conflicts: 0,
            traces: Vec::new(),
            keys: Vec::new(),
            repeats,
            instance: plan.instance.as_str().into(),
            dead_letter_origins: dead_letter_origins(&plan, origin.shard),
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

    /// The same, which shows `sightings` what events have that their learned schema does not say.
    pub fn showing(self, sightings: Option<Arc<Sightings>>) -> Self {
        Self { judge: self.judge.showing(sightings.clone()), sightings, ..self }
    }

    /// Deliveries held: good ones, bad ones, and repeats.
    pub fn held(&self) -> usize {
        self.held.len() + self.dead.len() + self.attempts.len() + self.tally.suppressed as usize
    }

    /// The groups of what was found of each letter that failed again, since this was asked last.
    pub fn take_failed(&mut self) -> Vec<Vec<GroupId>> {
        std::mem::take(&mut self.failed)
    }

    pub fn open_partitions(&self) -> usize {
        self.batches.open_partitions()
    }

    /// Bytes of the deliveries held, and of their rows in the open batches.
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.bytes, self.batches.bytes())
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
    pub fn condemn(&mut self, arrival: Arrival, receipt: Receipt) {
        error!(pipeline = %self.plan.config.name, tag = arrival.delivery.tag, "an event ended the process again and again: it becomes a dead letter, unread");
        let rejection = Issue::whole(Code::InternalCrash).into();
        self.keep(arrival, Err(Rejected { rejection, event_id: None, event: None }), None);
        self.add_duty(receipt);
    }

    /// Judges `arrivals`, for all of which `receipt` stands; returns the flushes that became full on the way.
    pub fn take(&mut self, arrivals: Vec<Arrival>, mut receipt: Receipt) -> Vec<Sealed> {
        let mut full = Vec::new();
        // The part of `receipt` whose deliveries were judged and not yet handed to a sealed flush.
        let mut judged = 0;
        let mut previous = 0;
        for mut arrival in arrivals {
            let tag = arrival.delivery.tag;
            self.tell_namesake(&mut arrival);
            self.note_trace(&arrival);
            let mut event_id = None;
            let verdict = match self.judge(&arrival, &mut event_id) {
                Ok(Verdict::Full) => {
                    let part = receipt.split_first(judged, previous);
                    full.extend(self.seal_with(part));
                    judged = 0;
                    self.judge(&arrival, &mut event_id)
                }
                verdict => verdict,
            };
            self.keep(arrival, verdict, event_id);
            judged += 1;
            previous = tag;
            if self.held() >= self.rows_max || self.bytes >= self.plan.config.flush.bytes {
                let part = receipt.split_first(judged, tag);
                full.extend(self.seal_with(part));
                judged = 0;
            }
        }
        self.watcher.report(&self.metrics);
        self.add_duty(receipt);
        full
    }

    fn note_trace(&mut self, arrival: &Arrival) {
        if self.traces.len() >= self.plan.links_max {
            return;
        }
        if let Some(TraceParent { trace_id, span_id }) = arrival.delivery.message.trace_parent() {
            self.traces.push((trace_id.to_owned(), span_id.to_owned()));
        }
    }

    /// Closes everything held into a flush; `None` when nothing is held.
    pub fn seal(&mut self) -> Option<Sealed> {
        let receipt = self.receipt.take()?;
        Some(self.encode(receipt))
    }

    /// Judges by `plan` from here on. What is held was judged by the one before, and is closed into a flush of its own.
    pub fn adopt(&mut self, plan: Arc<Plan>) -> Option<Sealed> {
        let sealed = self.seal();
        self.judge = Judge::new(Arc::clone(&plan)).showing(self.sightings.clone());
        self.watcher = watcher(&plan, &self.metrics);
        self.batches = batches(&plan);
        self.dead_letter_origins = dead_letter_origins(&plan, self.origin.shard);
        self.plan = plan;
        sealed
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

    /// Tells an event that bears the name of a letter whose row is durable from that letter: it is so only if it has the
    /// id of the row, and else an event of its own.
    fn tell_namesake(&mut self, arrival: &mut Arrival) {
        let Some(Before::RecoveredAs(recovered)) = arrival.given.as_ref().map(|given| &given.before) else { return };
        let is_that = *recovered == self.judge.event_id(arrival).0;
        let Some(given) = &mut arrival.given else { return };
        if is_that {
            given.before = Before::Recovered;
        } else {
            arrival.given = None;
        }
    }

    /// Judges one delivery; of a good one that gives a letter back, tells the `event_id`. A panic is the event's own doing
    /// only if it panics alone as well, with buffers of its own; else it is ours, and ends the shard.
    fn judge(&mut self, arrival: &Arrival, id: &mut Option<String>) -> Result<Verdict, Rejected> {
        match arrival.given.as_ref().map(|given| &given.before) {
            Some(Before::Recovered) => return Ok(Verdict::Repeat),
            Some(Before::Unmended(rejection)) => {
                return Err(Rejected { rejection: rejection.clone(), event_id: None, event: arrival.event });
            }
            _ => {}
        }
        let number = row_number(self.held.len());
        let (repeats, metrics, recovered) = (&mut self.repeats, &self.metrics, &self.recovered);
        let mut is_repeat = |event_id: &str, body_hash: &[u8; 16]| {
            if let Some(letter) = arrival.letter() {
                *id = Some(event_id.to_owned());
                if recovered.holds(Key::given(letter, event_id)) {
                    return true;
                }
            }
            let Some(repeats) = repeats else { return false };
            let sighting = repeats.of_row(arrival, event_id, body_hash);
            if sighting == Sighting::IdReused {
                metrics.id_reused.inc();
            }
            sighting == Sighting::Repeat
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            self.judge.judge(number, arrival, &mut self.batches, Some(&mut is_repeat), Some(&mut self.watcher))
        }));
        let Err(panic) = judged else { return judged.expect("it did not panic") };
        let alone = catch_unwind(AssertUnwindSafe(|| {
            let mut batches = batches(&self.plan);
            let mut watcher = watcher(&self.plan, &self.metrics);
            Judge::new(Arc::clone(&self.plan)).judge(0, arrival, &mut batches, None, Some(&mut watcher))
        }));
        if alone.is_ok() {
            resume_unwind(panic);
        }
        error!(pipeline = %self.plan.config.name, tag = arrival.delivery.tag, "an event makes the program panic: it becomes a dead letter");
        self.rebuild();
        let (event_id, event) = (None, (self.plan.events.len() == 1).then_some(0));
        Err(Rejected { rejection: Issue::whole(Code::InternalPanic).into(), event_id, event })
    }

    /// Judges all held deliveries again into new batches: after a panic the old ones cannot be trusted.
    fn rebuild(&mut self) {
        self.judge = Judge::new(Arc::clone(&self.plan)).showing(self.sightings.clone());
        self.batches = batches(&self.plan);
        for (place, arrival) in self.held.iter().enumerate() {
            let verdict = self.judge.judge(row_number(place), arrival, &mut self.batches, None, None);
            assert!(matches!(verdict, Ok(Verdict::Archived)), "what was archivable once is so again");
        }
    }

    fn keep(&mut self, arrival: Arrival, verdict: Result<Verdict, Rejected>, event_id: Option<String>) {
        let delivery = &arrival.delivery;
        self.oldest.get_or_insert(delivery.received_at);
        self.bytes += delivery.size();
        self.redelivered |= delivery.message.redelivered;
        self.metrics.received_bytes.inc_by(delivery.message.body.len() as u64);
        let shown = self.repeats.as_mut().and_then(Repeats::take_shown);
        match verdict {
            Ok(Verdict::Archived) => {
                self.judged.good += 1;
                self.keys.extend(self.repeats.as_mut().and_then(|repeats| repeats.hold(delivery, shown)));
                if let Some(letter) = arrival.letter() {
                    let known = event_id.as_deref().map(|event_id| Known::given(letter, event_id));
                    self.recovered.add(known);
                    self.recovering.push((row_number(self.held.len()), event_id));
                }
                self.held.push(arrival);
            }
            Ok(Verdict::Full) => unreachable!("empty batches have room for one partition"),
            Ok(Verdict::Repeat) => self.suppress(),
            Err(rejected) => self.reject(arrival, rejected),
        }
    }

    /// Makes a dead letter, or an attempt at one, of a delivery, unless it is one, or a row, already.
    fn reject(&mut self, arrival: Arrival, rejected: Rejected) {
        let event_id = rejected.event_id.as_deref();
        let Arrival { delivery, given, .. } = arrival;
        let known = match (&given, &self.repeats) {
            (Some(given), _) => given.before == Before::FailedAlready,
            (None, Some(repeats)) => {
                repeats.holds_letter(&delivery, event_id, &self.plan.identity_hash(&delivery.message))
            }
            (None, None) => false,
        };
        match known {
            true => self.suppress(),
            false => self.bury(delivery, given, rejected),
        }
    }

    fn suppress(&mut self) {
        self.tally.suppressed += 1;
        self.judged.repeats += 1;
    }

    fn bury(&mut self, delivery: Delivery, given: Option<Box<Given>>, rejected: Rejected) {
        let Rejected { rejection, event_id, event } = rejected;
        let rejection = self.rules.ranked(rejection, delivery.message.body.len() as u64);
        let line = self.origin.file.is_some().then_some(delivery.tag);
        let (id, now) = ((self.surroundings.ulid)(), (self.surroundings.now)());
        let origin = &self.dead_letter_origins[event.unwrap_or(self.plan.events.len())];
        let mut letter = DeadLetter::new(id, origin, delivery, &rejection, self.origin.source, now);
        letter.body_hash = self.plan.identity_hash(&letter.message);
        self.rules.apply(&mut letter);
        letter.event_id = event_id;
        if self.plan.config.kind != PipelineKind::Events {
            letter.original = Death::newest(&letter.message).map(Original::from);
        }
        self.tally.add_dead_letter(rejection.code());
        self.note_conflict(&rejection);
        match rejection.code().stage() {
            // What a pipeline of dead letters is for.
            Stage::Broker => self.judged.good += 1,
            _ => self.judged.bad[rejection.code().class() as usize] += 1,
        }
        if let Some(given) = given {
            return self.fail(&given, letter);
        }
        letter.source_file.clone_from(&self.origin.file);
        letter.source_line = line;
        self.dead.push(letter);
    }

    /// Counts an event that has a value of another type than its schema says.
    fn note_conflict(&mut self, rejection: &Rejection) {
        // In a learned schema, formats are there for their columns only.
        let is_learned = self.sightings.is_some();
        let is_conflict = |code| code == Code::ValidateType || (is_learned && code == Code::ValidateFormat);
        let mut conflicts = rejection.issues().iter().filter(|issue| is_conflict(issue.code)).peekable();
        self.conflicts += u64::from(conflicts.peek().is_some());
        if let Some(sightings) = &self.sightings {
            conflicts.for_each(|issue| sightings.conflict(issue));
        }
    }

    /// A letter that fails again is no new one.
    fn fail(&mut self, given: &Given, found: DeadLetter) {
        self.failed.push(found.issues.iter().map(|issue| issue.group.clone()).collect());
        let DeadLetter { stage, code, issues, event_id, dead_at, .. } = found;
        let attempt = self.attempt(given, dead_at, event_id);
        self.attempts.push(AttemptRecord { outcome: AttemptOutcome::Failed, stage, code, issues, ..attempt });
    }

    /// An attempt at a letter, as it is when it recovers it.
    fn attempt(&self, given: &Given, at: DateTime<Utc>, event_id: Option<String>) -> AttemptRecord {
        let Given { lineage, .. } = given;
        AttemptRecord {
            letter: lineage.letter,
            n: lineage.attempt,
            at,
            job: lineage.job,
            outcome: AttemptOutcome::Recovered,
            letter_groups: lineage.groups.clone(),
            stage: "".into(),
            code: "".into(),
            issues: Vec::new(),
            event_id,
            instance: Arc::clone(&self.instance),
            version: crate::VERSION.into(),
            flush_id: Arc::default(),
        }
    }

    fn encode(&mut self, receipt: Receipt) -> Sealed {
        let _timer = self.metrics.encode_seconds.start_timer();
        let flush = (self.surroundings.ulid)();
        let sealed_at = (self.surroundings.now)();
        let mut held = std::mem::take(&mut self.held);
        let mut recovering = std::mem::take(&mut self.recovering);
        let mut objects = Vec::new();
        let mut event_time_us: Option<(i64, i64)> = None;
        let mut undeclared = 0;
        for (number, batch) in self.batches.seal().into_iter().enumerate() {
            let (file, refused) = self.encode_batch(&batch, flush);
            for (row, rejection) in refused {
                let arrival = held[row as usize].clone();
                let (event_id, _) = self.judge.event_id(&arrival);
                recovering.retain(|(recovering, _)| *recovering != row);
                self.judged.good = self.judged.good.saturating_sub(1);
                self.reject(arrival, Rejected { rejection, event_id, event: Some(batch.event) });
            }
            let Some(file) = file else { continue };
            let (low, high) = event_time_us.unwrap_or((i64::MAX, i64::MIN));
            event_time_us = Some((low.min(file.event_time_min_us), high.max(file.event_time_max_us)));
            self.tally.archived += file.rows() as u64;
            undeclared += file.rows_with_extra as u64;
            objects.push(self.data_object(file, flush, number));
        }
        let mut blobs = Vec::new();
        if !self.dead.is_empty() {
            objects.push(self.dead_letter_object(flush, &mut blobs));
        }
        for (row, event_id) in recovering {
            let given = held[row as usize].given.as_ref().expect("only rows of letters are recovering");
            self.attempts.push(self.attempt(given, sealed_at, event_id));
        }
        if !self.attempts.is_empty() {
            objects.push(self.attempts_object(flush));
        }
        // The room for the next ones stays: to get it anew from the system costs more than to fill it.
        held.clear();
        self.held = held;
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
            undeclared,
            conflicts: std::mem::take(&mut self.conflicts),
            encoded_at: (self.surroundings.now)(),
            traces: std::mem::take(&mut self.traces),
        }
    }

    /// Encodes one partition's rows; rows Parquet cannot hold are found and come back by number.
    fn encode_batch(&self, batch: &SealedBatch, flush: Ulid) -> (Option<EncodedFile>, Vec<(u32, Rejection)>) {
        let (plan, event) = (&self.plan, &self.plan.events[batch.event]);
        let facts = FileFacts {
            program_version: crate::VERSION,
            pipeline: &plan.config.name,
            schema_label: &event.schema.label(),
            schema_hash: event.schema.hash(),
            instance: &plan.instance,
            flush: &flush.to_string(),
            compression_level: plan.config.compression_level,
        };
        archive::encode_isolating(batch, &facts)
    }

    fn data_object(&self, file: EncodedFile, flush: Ulid, number: usize) -> SealedObject {
        let plan = &self.plan;
        let dataset = plan.events[file.event].dataset(&plan.config.name);
        let flush = flush.to_string();
        SealedObject {
            kind: FileKind::Data,
            path: archive::path(&dataset, &file.partition, &flush, &plan.instance, self.origin.shard, number),
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
                blobs.push(SealedObject { kind: FileKind::Body, path, bytes: body.into(), rows: 0 });
            }
        }
        let origin = &self.dead_letter_origins[0];
        SealedObject {
            kind: FileKind::Letters,
            path: record::path(&origin.pipeline, newest, flush, &origin.instance, origin.shard),
            bytes: record::encode(&dead).expect("a flush of dead letters is smaller than a Parquet column may be"),
            rows: dead.len() as u64,
        }
    }

    fn attempts_object(&mut self, flush: Ulid) -> SealedObject {
        let mut attempts = std::mem::take(&mut self.attempts);
        let flush_id: Arc<str> = flush.to_string().into();
        let mut newest = attempts[0].at;
        for attempt in &mut attempts {
            newest = newest.max(attempt.at);
            attempt.flush_id = Arc::clone(&flush_id);
        }
        let origin = &self.dead_letter_origins[0];
        SealedObject {
            kind: FileKind::Attempts,
            path: attempts::path(&origin.pipeline, newest, flush, &origin.instance, origin.shard),
            bytes: attempts::encode(&attempts).expect("a flush of attempts is smaller than a Parquet column may be"),
            rows: attempts.len() as u64,
        }
    }
}

/// Of letters of each type of events, and last of those of none.
fn dead_letter_origins(plan: &Plan, shard: u16) -> Vec<Arc<DeadLetterOrigin>> {
    let places = (0..plan.events.len()).map(Some).chain([None]);
    places.map(|event| Arc::new(plan.dead_letter_origin(shard, event))).collect()
}

/// What looks at the events, and counts for `metrics`.
fn watcher(plan: &Plan, metrics: &PipelineMetrics) -> Watcher {
    let monitors = plan.events.iter().map(|event| event.monitor.clone());
    let mut watcher = Watcher::new(plan.config.monitor.as_ref(), monitors, metrics.delays());
    // With the zero that a rate begins at.
    watcher.report(metrics);
    watcher
}

fn batches(plan: &Plan) -> Batches {
    Batches::new(plan.events.iter().map(|event| Arc::clone(&event.layout)))
}

/// Letters that one worker remembers to have recovered: more than a channel may hold, and a publisher sends twice.
const RECOVERED_MAX: usize = 262_144;

/// A delivery's place among those held, as rows carry it; prefetch windows and file batches are far below 2^32.
fn row_number(place: usize) -> u32 {
    u32::try_from(place).expect("a flush holds fewer than 2^32 deliveries")
}
