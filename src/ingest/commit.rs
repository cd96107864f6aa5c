//! A sealed flush -> intent, objects, outcome. The order is the commit protocol of `docs/decisions/0001`: nothing is
//! acked before the outcome is durable, and a flush whose deliveries were returned meanwhile is aborted, not committed.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::broker::{Ended, Standing};
use crate::ingest::spans::{End, Spans, Stages, word};
use crate::ingest::worker::{Sealed, SealedObject};
use crate::ingest::{Stop, Surroundings};
use crate::metrics::{Metrics, PipelineMetrics};
use crate::store::flush::{
    Committed, Decision, FileEnd, FlushError, FlushLog, FlushName, Intent, Outcome, Owner, Source, StoredObject,
};
use crate::store::{Capabilities, Store, StoreError};

/// How a flush ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Its objects and its outcome are durable: ack.
    Durable,
    /// Nothing of it counts: its deliveries go back, or went back already.
    Abandoned(Box<Abandoned>),
}

/// What is left of a flush that is not committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Abandoned {
    /// The store could not be told: whoever meets its intent aborts it.
    pub unresolved: Option<Unresolved>,
    /// The channel did not stand the proof: others may hold its deliveries.
    pub lost: Option<Ended>,
}

/// A flush of ours that is to be aborted as soon as the store answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Unresolved {
    name: FlushName,
    intent: Intent,
}

/// What a flush is called in the store, and where its events come from.
#[derive(Clone, Debug)]
pub struct FlushOf {
    pub name: FlushName,
    pub source: Source,
    /// Of a file: where the next flush begins.
    pub end: Option<FileEnd>,
}

/// Writes flushes of a pipeline; each shard has one at a time.
pub struct Committer {
    pub store: Store,
    pub log: FlushLog,
    pub metrics: Arc<Metrics>,
    pub surroundings: Surroundings,
    pub pipeline: String,
    pub owner: Owner,
    pub put_concurrency: usize,
    /// Bounds of the wait between attempts while the store is in trouble.
    pub backoff: (Duration, Duration),
    /// How long a flush is held while the store is in trouble; then its deliveries go back, once. Well below the grace
    /// after which other processes take it for abandoned, and below the broker's consumer timeout. `None`: for as long
    /// as it takes, where nothing can go back.
    pub hold_max: Option<Duration>,
    /// What is told of each flush, to those who trace; `None`: nobody does.
    pub spans: Option<Arc<dyn Spans>>,
}

/// How long a request under way may go on once its flush is given up, before the flush is aborted beside it: its object
/// could come to exist after it was deleted, and then stays until a later resolve.
const LAST_REQUEST_MAX: Duration = Duration::from_secs(3);

/// How long the abort of a flush may take before it is left to a later resolve.
const ABORT_MAX: Duration = Duration::from_secs(5);

/// Why a flush of ours is aborted by ourselves.
const GONE_BACK: &str = "its deliveries went back to the queue";

/// A flush under way: how far it has come, so that a retry repeats nothing.
struct Flush<'a> {
    of: &'a FlushOf,
    sealed: &'a Sealed,
    /// What is to prove that the deliveries are ours; `None` once it has.
    standing: Option<&'a dyn Standing>,
    /// Made at the first attempt; `None` as long as nothing can stand in the store.
    intent: Option<Intent>,
    begun: bool,
    written: Vec<bool>,
    blobs_written: Vec<bool>,
    /// Made when the objects are durable; the same at every attempt, for its bytes tell whether it is ours.
    outcome: Option<Outcome>,
    stages: Stages,
}

impl Committer {
    /// Writes `sealed`. Trouble of the store is waited out; `over` ends the waiting, and from then on the flush is no
    /// longer committed, for its deliveries belong to the queue again. With `standing`, it is committed only once that
    /// has proven, after the intent stood, that the deliveries are ours: whoever gets them later then finds the intent.
    pub async fn commit(
        &self,
        of: &FlushOf,
        sealed: &Sealed,
        standing: Option<&dyn Standing>,
        over: &CancellationToken,
    ) -> Fate {
        if sealed.objects.is_empty() {
            // Nothing but repeats: all of it is durable already.
            return Fate::Durable;
        }
        let mut flush = Flush {
            of,
            sealed,
            standing,
            intent: None,
            begun: false,
            written: vec![false; sealed.objects.len()],
            blobs_written: vec![false; sealed.blobs.len()],
            outcome: None,
            stages: Stages::before(sealed, (self.surroundings.now)()),
        };
        let fate = self.write(&mut flush, over).await;
        if let Some(spans) = &self.spans {
            let ended = End { at: (self.surroundings.now)(), durable: fate == Fate::Durable };
            spans.flush(flush.stages.span(&self.pipeline, &of.source, sealed, ended));
        }
        fate
    }

    /// Attempts it again and again until it has an end.
    async fn write(&self, flush: &mut Flush<'_>, over: &CancellationToken) -> Fate {
        let sealed = flush.sealed;
        let mut backoff = self.surroundings.backoff(self.backoff);
        let give_up = async {
            match self.hold_max {
                Some(hold_max) => tokio::time::sleep(hold_max).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(give_up);
        loop {
            let attempted = tokio::select! {
                attempted = self.attempt(flush, over) => attempted,
                () = given_up(over, LAST_REQUEST_MAX) => return self.abandon(flush).await,
                () = &mut give_up => {
                    self.report_given_up(sealed);
                    return self.abandon(flush).await;
                }
            };
            let failure = match attempted {
                Ok(fate) => {
                    self.metrics.set_store_up(true);
                    return fate;
                }
                Err(failure) => failure,
            };
            self.metrics.set_store_up(false);
            let wait = backoff.next_wait();
            self.report(sealed, &failure, wait);
            tokio::select! {
                () = given_up(over, Duration::ZERO) => return self.abandon(flush).await,
                () = &mut give_up => {
                    self.report_given_up(sealed);
                    return self.abandon(flush).await;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn report_given_up(&self, sealed: &Sealed) {
        let deliveries = sealed.receipt.deliveries();
        warn!(pipeline = %self.pipeline, deliveries, held_max = ?self.hold_max, "the store is away for too long: the deliveries go back to the queue until it takes writes");
    }

    /// Waits until the store takes writes, which a canary object shows: no delivery is taken that could not be written.
    /// `None`: asked to stop meanwhile.
    pub async fn await_store(&self, stop: &Stop) -> Option<Capabilities> {
        await_store(&self.store, &self.metrics, &self.surroundings, self.backoff, stop).await
    }

    /// Forgets the intents of committed flushes; those it cannot forget now are forgotten by the next start.
    pub async fn close(&self, names: &[FlushName]) {
        for name in names {
            if let Err(error) = self.log.close(name).await {
                debug!(pipeline = %self.pipeline, error = chain(&error), "the intent of a committed flush stays until the next start");
            }
        }
    }

    /// Aborts a flush that was left without outcome, and deletes its objects.
    ///
    /// # Errors
    /// The store's; try again later.
    pub async fn abort(&self, flush: &Unresolved) -> Result<(), FlushError> {
        if self.abort_flush(&flush.name, &flush.intent, GONE_BACK).await? == Decision::AlreadyCommitted {
            warn!(pipeline = %self.pipeline, flush = %flush.intent.flush, "a flush turns out to be durable though its deliveries went back: they come once more");
        }
        Ok(())
    }

    /// Decides that a flush does not count, unless it is committed already, and deletes its objects.
    ///
    /// # Errors
    /// The store's; try again later.
    pub async fn abort_flush(&self, name: &FlushName, intent: &Intent, reason: &str) -> Result<Decision, FlushError> {
        let now = (self.surroundings.now)();
        let outcome = Outcome::aborted(intent, &self.owner.instance, reason, now);
        let decision = self.log.abort(name, &outcome).await?;
        if decision != Decision::AlreadyCommitted {
            self.log.discard(intent).await?;
        }
        Ok(decision)
    }

    fn report(&self, sealed: &Sealed, failure: &FlushError, wait: Duration) {
        let (pipeline, error) = (&self.pipeline, chain(failure));
        let deliveries = sealed.receipt.deliveries();
        match failure {
            FlushError::Store(failure) if failure.is_unavailable() => {
                warn!(%pipeline, error, deliveries, ?wait, "the store cannot take a flush: its deliveries stay unacked, trying again");
            }
            _ => {
                error!(%pipeline, error, deliveries, ?wait, "the store refuses a flush: its deliveries stay unacked; a person must act");
            }
        }
    }

    async fn attempt(&self, flush: &mut Flush<'_>, over: &CancellationToken) -> Result<Fate, FlushError> {
        let (name, now) = (&flush.of.name, self.surroundings.now);
        let intent = flush.intent.get_or_insert_with(|| self.intent(flush.of, flush.sealed));
        if !flush.begun {
            let at = now();
            let begun = self.log.begin(name, intent).await;
            flush.stages.add("intent", (at, now()), begun.as_ref().err().map(word));
            match begun {
                Err(FlushError::Taken(_)) => {
                    // Only names of file flushes are not unique: another process takes the same lines.
                    flush.intent = None;
                    return Ok(Fate::Abandoned(Box::default()));
                }
                begun => begun?,
            }
            flush.begun = true;
        }
        let at = now();
        let writing = async {
            // What letters name is there before they are.
            let mut written = self.write_objects(&flush.sealed.blobs, &mut flush.blobs_written).await;
            if written.is_ok() {
                written = self.write_objects(&flush.sealed.objects, &mut flush.written).await;
            }
            (written, now())
        };
        let proving = async {
            match flush.standing {
                Some(standing) => Some((standing.confirm().await, now())),
                None => None,
            }
        };
        let ((written, written_at), proven) = tokio::join!(writing, proving);
        flush.stages.add("objects", (at, written_at), written.as_ref().err().map(|error| error.kind().as_str()));
        if let Some((proven, proven_at)) = &proven {
            flush.stages.add("proof", (at, *proven_at), proven.as_ref().err().map(|_| "lost"));
        }
        let proven = proven.map_or(Ok(()), |(proven, _)| proven);
        if let Err(lost) = proven {
            return Ok(self.abandon_lost(flush, lost).await);
        }
        flush.standing = None;
        written?;
        if over.is_cancelled() {
            return Ok(self.abandon(flush).await);
        }
        let outcome = flush.outcome.get_or_insert_with(|| self.outcome(intent, flush.of, flush.sealed));
        let at = now();
        let committed = self.log.commit(name, outcome).await;
        flush.stages.add("outcome", (at, now()), committed.as_ref().err().map(word));
        match committed? {
            Decision::Won => Ok(Fate::Durable),
            Decision::AlreadyAborted | Decision::AlreadyCommitted => {
                warn!(pipeline = %self.pipeline, flush = %flush.sealed.flush, "another process took us for dead and aborted a flush: its deliveries go back to the queue");
                self.log.discard(intent).await?;
                Ok(Fate::Abandoned(Box::default()))
            }
        }
    }

    async fn write_objects(&self, objects: &[SealedObject], written: &mut [bool]) -> Result<(), StoreError> {
        let pending: Vec<usize> = (0..objects.len()).filter(|&place| !written[place]).collect();
        let mut writes = stream::iter(pending)
            .map(|place| async move {
                let object = &objects[place];
                self.store.create(&object.path, object.bytes.clone()).await.map(|()| place)
            })
            .buffer_unordered(self.put_concurrency);
        while let Some(place) = writes.try_next().await? {
            written[place] = true;
        }
        Ok(())
    }

    async fn abandon_lost(&self, flush: &Flush<'_>, lost: Ended) -> Fate {
        match self.abandon(flush).await {
            Fate::Durable => Fate::Durable,
            Fate::Abandoned(abandoned) => Fate::Abandoned(Box::new(Abandoned { lost: Some(lost), ..*abandoned })),
        }
    }

    /// Sees to it that nothing of a flush counts, unless it is committed already.
    async fn abandon(&self, flush: &Flush<'_>) -> Fate {
        let Some(intent) = &flush.intent else { return Fate::Abandoned(Box::default()) };
        let name = &flush.of.name;
        if flush.outcome.is_some() && !self.log.decides_once() {
            // Our *committed* may yet land on top of an abort, whose objects would be gone: resolved after the grace.
            warn!(pipeline = %self.pipeline, flush = %intent.flush, "a flush is left without outcome, for the store may still take the one that was sent: it is decided after the grace");
            return Fate::Abandoned(Box::default());
        }
        if !flush.begun && name.begun_at().is_none() {
            // The name of a file's flush may be another process's: only what surely is ours is aborted.
            return Fate::Abandoned(Box::default());
        }
        match tokio::time::timeout(ABORT_MAX, self.abort_flush(name, intent, GONE_BACK)).await {
            // An attempt to commit whose answer was lost had succeeded.
            Ok(Ok(Decision::AlreadyCommitted)) => return Fate::Durable,
            Ok(Ok(_)) => {
                debug!(pipeline = %self.pipeline, flush = %intent.flush, "flush aborted: its deliveries went back to the queue");
                return Fate::Abandoned(Box::default());
            }
            Ok(Err(error)) => {
                warn!(pipeline = %self.pipeline, error = chain(&error), "flush left without outcome: it is aborted when the store answers");
            }
            Err(_) => {
                warn!(pipeline = %self.pipeline, within = ?ABORT_MAX, "flush left without outcome, for the store does not answer: it is aborted when it does");
            }
        }
        let unresolved = Unresolved { name: name.clone(), intent: intent.clone() };
        Fate::Abandoned(Box::new(Abandoned { unresolved: Some(unresolved), lost: None }))
    }

    fn intent(&self, of: &FlushOf, sealed: &Sealed) -> Intent {
        Intent {
            flush: sealed.flush,
            pipeline: self.pipeline.clone(),
            owner: self.owner.clone(),
            created_at: (self.surroundings.now)(),
            objects: sealed.objects.iter().map(|object| object.path.clone()).collect(),
            source: of.source.clone(),
        }
    }

    fn outcome(&self, intent: &Intent, of: &FlushOf, sealed: &Sealed) -> Outcome {
        let stored = |object: &SealedObject| StoredObject {
            path: object.path.clone(),
            rows: object.rows,
            bytes: object.bytes.len() as u64,
        };
        let committed = Committed {
            objects: sealed.objects.iter().map(stored).collect(),
            archived: sealed.tally.archived,
            dead_lettered: sealed.tally.dead_letters(),
            suppressed: sealed.tally.suppressed,
            event_time_min: sealed.event_time_us.and_then(|(low, _)| DateTime::from_timestamp_micros(low)),
            event_time_max: sealed.event_time_us.and_then(|(_, high)| DateTime::from_timestamp_micros(high)),
            end: of.end,
        };
        Outcome::committed(intent, committed, (self.surroundings.now)())
    }
}

/// Records the figures of a durable flush. Nothing but repeats writes nothing, and is no commit.
pub(super) fn observe(metrics: &PipelineMetrics, surroundings: &Surroundings, sealed: &Sealed) {
    let now = (surroundings.now)();
    let took = now - sealed.sealed_at;
    metrics.flush_seconds.observe(took.to_std().unwrap_or(Duration::ZERO).as_secs_f64());
    metrics.flush_rows.observe(sealed.receipt.deliveries() as f64);
    metrics.undeclared.inc_by(sealed.undeclared);
    metrics.conflicts.inc_by(sealed.conflicts);
    metrics.flush_bytes.observe(sealed.bytes() as f64);
    for object in sealed.objects.iter().chain(&sealed.blobs) {
        metrics.file_written(object.kind, object.bytes.len(), object.rows);
    }
    if !sealed.objects.is_empty() {
        metrics.committed(now);
    }
}

/// Resolves `after` the deliveries went back to the queue.
async fn given_up(over: &CancellationToken, after: Duration) {
    over.cancelled().await;
    tokio::time::sleep(after).await;
}

/// See [`Committer::await_store`].
pub async fn await_store(
    store: &Store,
    metrics: &Metrics,
    surroundings: &Surroundings,
    backoff: (Duration, Duration),
    stop: &Stop,
) -> Option<Capabilities> {
    let mut backoff = surroundings.backoff(backoff);
    loop {
        let nonce = (surroundings.ulid)().to_string();
        let probed = tokio::select! {
            probed = store.probe(&nonce) => probed,
            () = stop.drain.cancelled() => return None,
        };
        let failure = match probed {
            Ok(capabilities) => {
                metrics.set_store_up(true);
                return Some(capabilities);
            }
            Err(failure) => failure,
        };
        metrics.set_store_up(false);
        let (wait, error) = (backoff.next_wait(), chain(&failure));
        if failure.is_unavailable() {
            warn!(error, ?wait, "the store does not take writes: no delivery is taken, trying again");
        } else {
            error!(error, ?wait, "the store refuses writes: no delivery is taken; a person must act");
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.drain.cancelled() => return None,
        }
    }
}

/// An error with all its causes on one line; a cause that its error quotes already is not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
