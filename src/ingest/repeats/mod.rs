//! Repeats: deliveries whose row or dead letter is durable already, because an ack was lost. RabbitMQ flags every message
//! that it may have delivered before, so only flagged ones are looked up, and a healthy run costs nothing.
//!
//! What may come again are the last deliveries before the end of a channel: at most the window of its consumer, and what
//! the broker had not yet written down of the acks. So of each epoch, a channel's life, only the last flushes are read,
//! and of these only ids and hashes.

mod keys; // what a repeat is known by

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use ulid::Ulid;

use crate::column;
use crate::dlq::attempts::{self, AttemptRecord, Attempts, AttemptsError};
use crate::dlq::record;
use crate::event::Delivery;
use crate::ingest::arrival::Arrival;
use crate::ingest::commit::{Committer, chain};
use crate::ingest::crashes::{Journal, Suspect};
use crate::ingest::pipeline::LookAt;
use crate::store::StoreError;
use crate::store::columns::{ColumnsError, read_columns};
use crate::store::flush::{Epoch, FlushError, FlushName, Liveness, StoredObject, Verdict};

pub use keys::{Durable, Key, Known, Window};

/// Deliveries before the end of a channel that may come again: twice the widest window (65,535). A broker that is killed
/// forgets acks, too, that it had not written down: RabbitMQ's classic queues keep up to 32,768 entries in memory
/// (`queue_index_max_journal_entries`).
const DELIVERIES_AT_RISK: u64 = 131_072;

/// Objects and records read at once.
const READS_AT_ONCE: usize = 16;

/// Bounds of the wait between two looks at a flush that is being decided.
const DECIDING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How far a look-up goes.
#[derive(Clone, Copy, Debug)]
pub struct LookBackLimits {
    /// Counted from the pipeline's newest flush: a week of downtime changes nothing.
    pub within: Duration,
    /// Keys kept in memory; the oldest are forgotten first.
    pub rows_max: usize,
    /// How long the flush of another is waited for before it is undone. Its owner may be gone; if it is not, its flush
    /// is lost and its deliveries come again.
    pub patience: Duration,
    /// A flush is decided within this time of its begin, by its owner or by others; more than clocks differ by.
    pub grace: Duration,
    /// How long deliveries are held while the store is in trouble, before they go back. However much there is to read, as
    /// long as it answers they are held.
    pub hold_max: Duration,
}

/// A pipeline's look-ups, shared by its shards.
pub struct LookBack {
    committer: Arc<Committer>,
    liveness: LookAt,
    limits: LookBackLimits,
    durable: Arc<Durable>,
    /// Of what the pipeline made durable lately, for `dedupe = "window"`.
    recent: Option<Arc<Mutex<Window>>>,
    /// What came of letters that were given back.
    attempts: Attempts,
    seen: tokio::sync::Mutex<Seen>,
}

/// The look-up was given up: the store was away for too long, or the deliveries belong to the queue again.
#[derive(Debug)]
pub struct GivenUp;

/// What earlier look-ups found.
#[derive(Default)]
struct Seen {
    /// Where the next listing begins.
    since: Option<DateTime<Utc>>,
    /// The flushes of the last listing that need not be read any more.
    flushes: HashSet<FlushName>,
    /// Open flushes that were waited for in vain, on a store where nobody can decide for another.
    undecidable: HashSet<FlushName>,
    /// Whether it was said that keys are forgotten.
    said_forgotten: bool,
}

/// How far the decision on an open flush is.
enum Deciding {
    Done,
    NotYet,
    /// It was waited for long enough, and is not ours to decide.
    Never,
}

impl LookBack {
    /// `window`: how long events that were not flagged are known, too.
    pub fn new(committer: Arc<Committer>, liveness: LookAt, limits: LookBackLimits, window: Option<Duration>) -> Self {
        let recent = window.map(|within| Arc::new(Mutex::new(Window::new(within, limits.rows_max))));
        let durable = Arc::new(Durable::new(limits.rows_max));
        let attempts = Attempts::within(committer.store.clone(), &committer.pipeline);
        Self { committer, liveness, limits, durable, recent, attempts, seen: tokio::sync::Mutex::default() }
    }

    /// What a worker asks.
    pub fn view(&self) -> Repeats {
        let own = self.recent.as_ref().map(|recent| lock(recent).emptied());
        Repeats { durable: Arc::clone(&self.durable), recent: self.recent.clone(), own, shown: None }
    }

    /// Remembers what was made durable, for events that are published twice.
    pub fn remember(&self, keys: Vec<Key>, now: DateTime<Utc>) {
        if let Some(recent) = &self.recent {
            lock(recent).add(keys, now);
        }
    }

    /// Makes known everything that was durable before this call, of what may be delivered again. A flush of another that
    /// is under way is waited for, and undone in the end: it may hold the same deliveries, and one of us must not.
    ///
    /// # Errors
    /// [`GivenUp`]: when `over`, or when the store was in trouble for too long.
    pub async fn refresh(&self, asking: &Epoch, over: &CancellationToken) -> Result<(), GivenUp> {
        let look = || async {
            // Shards take turns: what one finds, the other need not read.
            let mut seen = self.seen.lock().await;
            self.look(&mut seen, asking).await
        };
        self.patiently(look, over).await
    }

    /// The attempts at `letters` that were durable before this call; after [`LookBack::refresh`].
    ///
    /// # Errors
    /// As [`LookBack::refresh`].
    pub async fn attempts_at(
        &self,
        letters: &[Ulid],
        over: &CancellationToken,
    ) -> Result<HashMap<Ulid, Vec<AttemptRecord>>, GivenUp> {
        let look = || async {
            match self.attempts.of(letters).await {
                Ok(attempts) => Ok(attempts),
                Err(AttemptsError::Flush(failure)) => Err(failure),
                // A file that cannot be read, by whomever; a look-up that failed for that would give deliveries back for ever.
                Err(AttemptsError::Unreadable(file)) => {
                    error!(pipeline = %self.committer.pipeline, error = chain(&file), "attempts at dead letters cannot be read: a person must look; should recovered ones be delivered again, they are written twice");
                    Ok(HashMap::new())
                }
            }
        };
        self.patiently(look, over).await
    }

    /// How long deliveries are held for what is not there.
    pub fn hold_max(&self) -> std::time::Duration {
        self.limits.hold_max
    }

    /// Notes that the message is processed alone; see [`Journal::suspect`].
    ///
    /// # Errors
    /// As [`LookBack::refresh`].
    pub async fn held_against(
        &self,
        journal: &Journal,
        suspect: &Suspect,
        over: &CancellationToken,
    ) -> Result<bool, GivenUp> {
        self.patiently(|| async { Ok(journal.suspect(suspect).await?) }, over).await
    }

    async fn patiently<T, F>(&self, attempt: impl Fn() -> F, over: &CancellationToken) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, FlushError>>,
    {
        let (pipeline, hold_max) = (&self.committer.pipeline, self.limits.hold_max);
        let mut backoff = self.committer.surroundings.backoff(self.committer.backoff);
        let mut failing_since = None;
        loop {
            let failure = tokio::select! {
                done = attempt() => match done {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                },
                () = over.cancelled() => return Err(GivenUp),
            };
            let failing_since: &mut Instant = failing_since.get_or_insert_with(Instant::now);
            let (error, wait) = (chain(&failure), backoff.next_wait());
            if failing_since.elapsed() + wait >= hold_max {
                warn!(%pipeline, error, ?hold_max, "redelivered messages could not be looked up: they go back to the queue until the store answers");
                return Err(GivenUp);
            }
            match &failure {
                FlushError::Store(failure) if failure.is_unavailable() => {
                    warn!(%pipeline, error, ?wait, "redelivered messages cannot be looked up: they stay unacked, trying again");
                }
                _ => {
                    error!(%pipeline, error, ?wait, "the store refuses to have redelivered messages looked up: they stay unacked; a person must act");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = over.cancelled() => return Err(GivenUp),
            }
        }
    }

    async fn look(&self, seen: &mut Seen, asking: &Epoch) -> Result<(), FlushError> {
        let (log, pipeline) = (&self.committer.log, &self.committer.pipeline);
        // Whoever holds deliveries that came to us since began their flush before we got them (decision 1): it is open
        // now, or decided.
        self.decide_open(asking, seen).await?;
        let looked_at = (self.committer.surroundings.now)();
        let since = match seen.since {
            Some(since) => since,
            None => match log.newest(pipeline).await? {
                Some(newest) => newest - self.limits.within,
                None => return Ok(()),
            },
        };
        let names = log.names(pipeline, since).await?;
        let mut epochs = HashMap::<_, Vec<FlushName>>::new();
        for name in names.iter().filter(|name| !seen.flushes.contains(name)) {
            epochs.entry(name.epoch()).or_default().push(name.clone());
        }
        let last: Vec<_> = stream::iter(epochs.into_values())
            .map(|flushes| self.last_of_epoch(flushes))
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        // The newest last: they are forgotten last.
        let mut flushes: Vec<_> = last.into_iter().flatten().collect();
        flushes.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.load(flushes, seen).await?;
        seen.flushes = names.into_iter().collect();
        // What was open then is decided within the grace, and keeps the name of its begin.
        seen.since = Some(since.max(looked_at - 2 * self.limits.grace));
        Ok(())
    }

    /// Waits until every flush that is open now, and not of the epoch that asks, is decided; decides those whose owner is
    /// gone or takes too long.
    async fn decide_open(&self, asking: &Epoch, seen: &mut Seen) -> Result<(), FlushError> {
        let committer = &self.committer;
        let began = Instant::now();
        let (least, most) = DECIDING;
        let mut wait = least;
        let mut open = committer.log.open_names(&committer.pipeline).await?;
        // Lines of files are no deliveries.
        open.retain(|name| name.begun_at().is_some() && name.epoch().as_ref() != Some(asking));
        open.retain(|name| !seen.undecidable.contains(name));
        loop {
            let mut undecided = Vec::new();
            for name in open {
                let overdue = began.elapsed() >= self.limits.patience;
                match self.decision(&name, overdue).await? {
                    Deciding::Done => {}
                    Deciding::Never => {
                        seen.undecidable.insert(name);
                    }
                    Deciding::NotYet => undecided.push(name),
                }
            }
            if undecided.is_empty() {
                return Ok(());
            }
            open = undecided;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(most);
        }
    }

    /// `overdue`: it was waited for long enough.
    async fn decision(&self, name: &FlushName, overdue: bool) -> Result<Deciding, FlushError> {
        let (committer, log) = (&self.committer, &self.committer.log);
        let outcome = self.readable(log.outcome(name).await)?;
        let intent = match outcome {
            Some(Some(_)) => return Ok(Deciding::Done),
            Some(None) => self.readable(log.intent(name).await)?,
            None => None,
        };
        let intent = match intent {
            Some(Some(intent)) => intent,
            // Without an intent it was decided since.
            Some(None) => return Ok(Deciding::Done),
            None => return Ok(Deciding::Never),
        };
        if !overdue && (self.liveness)(&intent.owner) != Liveness::Dead {
            return Ok(Deciding::NotYet);
        }
        if !log.decides_once() {
            // Both could win: only the resolve after the grace decides there.
            if !overdue {
                return Ok(Deciding::NotYet);
            }
            warn!(pipeline = %committer.pipeline, flush = %intent.flush, owner = %intent.owner.instance, "a flush is not decided, and this store would let two decide it: its rows may be written twice");
            return Ok(Deciding::Never);
        }
        committer.abort_flush(name, &intent, "redelivered messages had to be looked up").await?;
        info!(pipeline = %committer.pipeline, flush = %intent.flush, owner = %intent.owner.instance, "a flush left undecided by another is aborted: its deliveries are in the queue");
        Ok(Deciding::Done)
    }

    /// `None`: the record cannot be read, by whomever; a look-up that failed for that would give deliveries back for ever.
    fn readable<T>(&self, record: Result<T, FlushError>) -> Result<Option<T>, FlushError> {
        match record {
            Err(FlushError::Unreadable { path, source }) => {
                error!(pipeline = %self.committer.pipeline, path, error = chain(source.as_ref()), "a record of a flush cannot be read: a person must look; should its events be delivered again, they are written twice");
                Ok(None)
            }
            record => record.map(Some),
        }
    }

    /// The last committed flushes of one epoch with their objects, as far back as its deliveries may come again.
    async fn last_of_epoch(
        &self,
        mut flushes: Vec<FlushName>,
    ) -> Result<Vec<(FlushName, Vec<StoredObject>)>, FlushError> {
        flushes.sort_unstable();
        let log = &self.committer.log;
        let mut outcomes = stream::iter(flushes.into_iter().rev())
            .map(|name| async move { Ok::<_, FlushError>((self.readable(log.outcome(&name).await)?.flatten(), name)) })
            .buffered(READS_AT_ONCE);
        let (mut last, mut deliveries) = (Vec::new(), 0);
        while deliveries < DELIVERIES_AT_RISK
            && let Some((outcome, name)) = outcomes.try_next().await?
        {
            let Some(Verdict::Committed(committed)) = outcome.map(|outcome| outcome.verdict) else { continue };
            deliveries += committed.archived + committed.dead_lettered + committed.suppressed;
            last.push((name, committed.objects));
        }
        Ok(last)
    }

    /// Reads what the flushes hold. Each that is read is noted: a look-up that is broken off goes on from there.
    async fn load(&self, flushes: Vec<(FlushName, Vec<StoredObject>)>, seen: &mut Seen) -> Result<(), FlushError> {
        let mut reads = stream::iter(flushes)
            .map(|(name, objects)| async move {
                let mut known = Vec::new();
                for object in &objects {
                    known.extend(self.known(object).await?);
                }
                Ok::<_, FlushError>((name, known))
            })
            .buffered(READS_AT_ONCE);
        while let Some((name, known)) = reads.try_next().await? {
            let kept_all = self.durable.add(known);
            seen.flushes.insert(name);
            if !kept_all && !std::mem::replace(&mut seen.said_forgotten, true) {
                warn!(pipeline = %self.committer.pipeline, rows_max = self.limits.rows_max, "more rows may come again than are kept in memory: the oldest are no longer recognised (run.look_back_rows)");
            }
        }
        Ok(())
    }

    /// What an object of a committed flush holds; nothing, if it was removed since or cannot be read.
    async fn known(&self, object: &StoredObject) -> Result<Vec<Known>, FlushError> {
        // What was tried of a letter is asked for by the letter.
        if attempts::parse_path(&object.path).is_some() {
            return Ok(Vec::new());
        }
        let is_row = object.path.starts_with("data/");
        let wanted = if is_row { ROW_COLUMNS } else { record::IDENTITY_COLUMNS };
        let batches = match read_columns(&self.committer.store, &object.path, object.bytes, wanted).await {
            Ok(batches) => batches,
            // It was kept for as long as its owners wanted.
            Err(ColumnsError::Store(StoreError::Missing { .. })) => return Ok(Vec::new()),
            // Also one that refuses, as long as it does: what cannot be read may be what comes again.
            Err(ColumnsError::Store(failure)) => return Err(failure.into()),
            Err(failure @ ColumnsError::Broken { .. }) => {
                error!(pipeline = %self.committer.pipeline, error = chain(&failure), "a durable object cannot be read: should its events be delivered again, they are written twice");
                return Ok(Vec::new());
            }
        };
        Ok(batches.iter().flat_map(|batch| if is_row { rows(batch) } else { letters(batch) }).collect())
    }
}

const ROW_COLUMNS: &[&str] = &[column::EVENT_ID, column::BODY_HASH];

fn rows(batch: &RecordBatch) -> Vec<Known> {
    let (Some(ids), Some(hashes)) = (batch.column_by_name(column::EVENT_ID), batch.column_by_name(column::BODY_HASH))
    else {
        return Vec::new();
    };
    let hashes = hashes.as_fixed_size_binary();
    let ids = ids.as_string::<i32>().iter().enumerate();
    ids.filter_map(|(row, id)| Some(Known::row(id.filter(|id| !id.is_empty())?, hashes.value(row).try_into().ok()?)))
        .collect()
}

fn letters(batch: &RecordBatch) -> Vec<Known> {
    let identities = record::identities(batch);
    let key = |letter: record::Identity<'_>| {
        let message_id = letter.message_id.filter(|id| !id.is_empty());
        Key::letter(letter.event_id, message_id, &letter.body_hash)
    };
    identities.filter_map(|letter| key(letter).map(Known::letter)).collect()
}

/// What is known of repeats, for one worker.
pub struct Repeats {
    durable: Arc<Durable>,
    recent: Option<Arc<Mutex<Window>>>,
    /// What this worker archived in its life: held or durable, and gone with it. A repeat of what is held can be acked
    /// with it, for it comes later on the same channel.
    own: Option<Window>,
    /// The row shown last, if it is to be remembered once the worker holds it.
    shown: Option<Key>,
}

/// What is known of a good event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    New,
    /// Its row is durable, or held by the same worker.
    Repeat,
    /// A row has its id, with another body: another event.
    IdReused,
}

impl Repeats {
    /// What is known of an event that would become a row.
    pub fn of_row(&mut self, arrival: &Arrival, event_id: &str, body_hash: &[u8; 16]) -> Sighting {
        let flagged = arrival.may_be_repeat();
        if !flagged && self.own.is_none() {
            return Sighting::New;
        }
        let key = Key::row(event_id, body_hash);
        self.shown = self.own.is_some().then_some(key);
        if flagged {
            if self.durable.holds(key) {
                return Sighting::Repeat;
            }
            if self.durable.knows_id(event_id) {
                return Sighting::IdReused;
            }
        }
        let now = arrival.delivery.received_at;
        let seen = |window: &Window| window.holds(key, now);
        let is_recent = self.own.as_ref().is_some_and(seen) || self.recent.as_ref().is_some_and(|all| seen(&lock(all)));
        if is_recent { Sighting::Repeat } else { Sighting::New }
    }

    /// Whether an event that would become a dead letter is durable already: as such, or as a row.
    /// `identity_hash` is what it is known by, beside its id.
    pub fn holds_letter(&self, delivery: &Delivery, event_id: Option<&str>, identity_hash: &[u8; 16]) -> bool {
        let message = &delivery.message;
        if !message.redelivered {
            return false;
        }
        let letter = Key::letter(event_id, message.properties.name(), identity_hash);
        let row = event_id.map(|id| Key::row(id, identity_hash));
        letter.into_iter().chain(row).any(|key| self.durable.holds(key))
    }

    /// The row shown last, if it is to be remembered once the worker holds it.
    pub fn take_shown(&mut self) -> Option<Key> {
        self.shown.take()
    }

    /// Notes that the worker holds the row `shown`; gives its key when it is to be remembered once it is durable.
    pub fn hold(&mut self, delivery: &Delivery, shown: Option<Key>) -> Option<Key> {
        let (own, key) = (self.own.as_mut()?, shown?);
        own.add([key], delivery.received_at);
        Some(key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
