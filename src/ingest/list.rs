//! The same path for a fixed list of deliveries: judge, archive or dead letter, commit. The outcome of each flush records
//! which list it is of and the place it reached, so that the same list again, or after a crash, resumes and adds nothing.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::broker::{Ended, Standing};
use crate::dlq::fingerprint::GroupId;
use crate::ingest::arrival::Arrival;
use crate::ingest::commit::{Committer, Fate, FlushOf, observe};
use crate::ingest::pipeline::LookAt;
use crate::ingest::shard::{due, join};
use crate::ingest::worker::{Origin, Sealed, Worker};
use crate::ingest::{Plan, Stop, Surroundings};
use crate::metrics::PipelineMetrics;
use crate::receipt::{RequeueCause, Tally};
use crate::store::Cause;
use crate::store::flush::{Epoch, FileEnd, FlushError, FlushName, FlushState, Liveness, Resume, Source};

/// What lists are taken on.
pub struct ListParts {
    pub plan: Arc<Plan>,
    pub surroundings: Surroundings,
    pub metrics: Arc<PipelineMetrics>,
    pub committer: Arc<Committer>,
    pub flush_grace: Duration,
    pub liveness: LookAt,
}

/// Deliveries that are always the same ones in the same order, such as the lines of a file.
pub struct List {
    /// What messages and the records of flushes call it.
    pub name: String,
    /// What the same list is known by: a digest in hex. `None` (standard input): never resumed.
    pub digest: Option<String>,
    pub origin: Origin,
    /// Proves, once the intent of a flush stands, that nobody else was given the list meanwhile; see [`Standing`].
    pub standing: Option<Arc<dyn Standing>>,
    /// Begins to give those after a place.
    pub open: Box<dyn FnOnce(Place) -> mpsc::Receiver<Batch> + Send>,
}

/// A place in a list: between two of its items, or before the first, or after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What the list itself counts by: of a file, decompressed bytes. Grows with every item.
    pub offset: u64,
    /// Items before it, those that are no deliveries included: blank lines.
    pub items: u64,
}

/// Some deliveries of a list, one after the other; a delivery's tag is the number of its item, from 1.
#[derive(Debug, Default)]
pub struct Batch {
    pub arrivals: Vec<Arrival>,
    /// The place after each of them.
    pub ends: Vec<Place>,
    /// The flush that takes them holds nothing that comes after.
    pub flush: bool,
    /// Why none comes after these.
    pub failure: Option<Cause>,
}

/// Looks on while a list is taken.
pub trait Watch: Sync {
    /// Taking begins at `place`.
    fn begins(&self, _place: Place) {}

    /// `deliveries` more are judged, of which those failed that gave letters back and are named: the groups of what was
    /// found. `Break`: nothing more is taken, but what was judged is made durable.
    fn judged(&self, _deliveries: usize, _failed: Vec<Vec<GroupId>>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// All before `place` is durable, these last deliveries as `tally` says.
    fn durable(&self, place: Place, tally: &Tally);
}

/// What became of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Items that an earlier run had made durable already.
    pub skipped: u64,
    /// Deliveries made durable by this run.
    pub taken: u64,
    /// Asked to stop before the end; the same call goes on from here.
    pub stopped: bool,
}

/// Why a list could not be taken to its end. What was committed stays, and the same call resumes after it.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Source(Cause),
    #[error("{name}: another process is taking it ({owner}): wait for it to end")]
    Busy { name: String, owner: String },
    #[error("{name}: the store cannot say what of it is durable")]
    Store { name: String, source: FlushError },
    #[error(
        "{name}: a flush was aborted by another process, which took this one for dead; the same command goes on from there"
    )]
    Aborted { name: String },
    /// See [`List::standing`].
    #[error("{name}: {why}")]
    Lost { name: String, why: Ended },
}

/// Takes one list to its end.
///
/// # Errors
/// See [`ListError`].
pub async fn take_list(parts: &ListParts, list: List, stop: &Stop, watch: &dyn Watch) -> Result<ListReport, ListError> {
    let resume = resume_point(parts, &list.name, list.digest.as_deref()).await?;
    let start = Place { offset: resume.from.offset, items: resume.from.line - 1 };
    let report = ListReport { skipped: start.items, ..ListReport::default() };
    if resume.from.complete {
        return Ok(report);
    }
    if start.offset > 0 {
        info!(list = %list.name, offset = start.offset, items = start.items, "resuming after what is durable already");
    }
    watch.begins(start);
    let worker =
        Worker::new(Arc::clone(&parts.plan), parts.surroundings.clone(), Arc::clone(&parts.metrics), list.origin, None);
    let over = CancellationToken::new();
    // Also when this future is dropped: a flush that nobody waits for must not be committed.
    let _over_when_dropped = over.clone().drop_guard();
    let mut run = ListRun {
        parts,
        name: list.name,
        digest: list.digest,
        attempt: resume.attempt,
        sealed_through: start,
        ends: VecDeque::new(),
        epoch: Epoch { instance: parts.plan.instance.clone(), shard: 0, id: (parts.surroundings.ulid)() },
        commit: None,
        watch,
        standing: list.standing,
        over,
        report,
    };
    let taken = run.take((list.open)(start), worker, stop).await;
    if taken.is_err() {
        run.over.cancel();
        // What went wrong first is what is told.
        run.settle_commit().await.ok();
    }
    taken.map(|()| run.report)
}

async fn resume_point(parts: &ListParts, name: &str, digest: Option<&str>) -> Result<Resume, ListError> {
    let Some(digest) = digest else { return Ok(Resume::of(&[])) };
    let in_store = |error| ListError::Store { name: name.to_owned(), source: error };
    let (log, pipeline) = (&parts.committer.log, &parts.plan.config.name);
    let now = (parts.surroundings.now)();
    log.resolve(pipeline, now, parts.flush_grace, parts.liveness.as_ref()).await.map_err(in_store)?;
    let flushes = log.of_file(pipeline, digest).await.map_err(in_store)?;
    // A flush of this list that is open is another process's, wherever it begins.
    let open = flushes.iter().find_map(|flush| match &flush.state {
        FlushState::Open(intent) => Some(&intent.owner),
        FlushState::Decided(_) => None,
    });
    let Some(owner) = open else { return Ok(Resume::of(&flushes)) };
    let state = match (parts.liveness)(owner) {
        Liveness::Alive => "which is alive".to_owned(),
        _ => format!("which cannot be seen from here, and counts as dead after {:?}", parts.flush_grace),
    };
    let owner = format!("process {} of instance {} on {}, {state}", owner.pid, owner.instance, owner.host);
    Err(ListError::Busy { name: name.to_owned(), owner })
}

struct ListRun<'a> {
    parts: &'a ListParts,
    name: String,
    digest: Option<String>,
    attempt: u16,
    /// Where the next flush starts.
    sealed_through: Place,
    /// The places after the deliveries handed to the worker and not yet sealed.
    ends: VecDeque<Place>,
    /// Of a list that nothing tells from others: no offset names its flushes.
    epoch: Epoch,
    commit: Option<JoinHandle<(FlushOf, Sealed, Place, Fate)>>,
    watch: &'a dyn Watch,
    standing: Option<Arc<dyn Standing>>,
    over: CancellationToken,
    report: ListReport,
}

impl ListRun<'_> {
    async fn take(
        &mut self,
        mut batches: mpsc::Receiver<Batch>,
        mut worker: Worker,
        stop: &Stop,
    ) -> Result<(), ListError> {
        let mut flush_at = None;
        let mut failure = None;
        loop {
            let step = tokio::select! {
                biased;
                () = stop.drain.cancelled() => {
                    self.report.stopped = true;
                    break;
                }
                () = due(flush_at) => None,
                batch = batches.recv() => match batch {
                    Some(batch) => Some(batch),
                    None => break,
                },
            };
            let mut sealed = Vec::new();
            match step {
                None => {
                    (worker, sealed) = lend(worker, |worker| worker.seal().into_iter().collect()).await;
                }
                Some(batch) => {
                    failure = batch.failure;
                    self.ends.extend(batch.ends);
                    let judged = batch.arrivals.len();
                    if self.parts.plan.learn(&batch.arrivals, &stop.drain).await.is_err() {
                        self.report.stopped = true;
                        break;
                    }
                    if let Some(last) = batch.arrivals.last() {
                        let receipt = self.parts.metrics.ledger.receive(judged as u64, last.delivery.tag);
                        let take = move |worker: &mut Worker| {
                            let mut sealed = worker.take(batch.arrivals, receipt);
                            if batch.flush {
                                sealed.extend(worker.seal());
                            }
                            sealed
                        };
                        (worker, sealed) = lend(worker, take).await;
                    }
                    if self.watch.judged(judged, worker.take_failed()).is_break() {
                        self.report.stopped = true;
                    }
                }
            }
            for sealed in sealed {
                self.write(sealed, false).await?;
            }
            if self.report.stopped {
                break;
            }
            flush_at = match worker.held() {
                0 => None,
                _ => flush_at.or_else(|| Some(Instant::now() + self.parts.plan.config.flush.age)),
            };
        }
        let complete = !self.report.stopped && failure.is_none();
        let (worker, sealed) = lend(worker, |worker| worker.seal().into_iter().collect()).await;
        drop(worker);
        for sealed in sealed {
            self.write(sealed, complete).await?;
        }
        self.settle_commit().await?;
        // What was read before the failure is durable; now say what is wrong.
        failure.map_or(Ok(()), |failure| Err(ListError::Source(failure)))
    }

    /// Starts writing `sealed` once the flush before it is durable; `complete` when nothing comes after it.
    async fn write(&mut self, sealed: Sealed, complete: bool) -> Result<(), ListError> {
        self.settle_commit().await?;
        let through = sealed.receipt.through();
        let start = self.sealed_through;
        let mut end = Place { offset: start.offset, items: through };
        while let Some(after) = self.ends.pop_front_if(|after| after.items <= through) {
            end = after;
        }
        let pipeline = &self.parts.plan.config.name;
        let of = match &self.digest {
            Some(digest) => FlushOf {
                name: FlushName::file(pipeline, digest, start.offset, self.attempt),
                source: Source::File {
                    name: self.name.clone(),
                    digest: digest.clone(),
                    start: start.offset,
                    start_line: start.items + 1,
                },
                end: Some(FileEnd { offset: end.offset, line: end.items + 1, complete }),
            },
            // Nothing tells one standard input from another: it is never resumed.
            None => FlushOf {
                name: FlushName::queue(pipeline, sealed.flush, &self.epoch),
                source: Source::Queue { queue: "-".to_owned(), shard: 0 },
                end: None,
            },
        };
        // A flush of nothing but repeats leaves no record: the next begins where it began.
        if !sealed.objects.is_empty() {
            // Only at the place where an earlier run stopped can there be earlier attempts.
            self.attempt = 1;
            self.sealed_through = end;
        }
        let (committer, over) = (Arc::clone(&self.parts.committer), self.over.clone());
        let standing = self.standing.clone();
        self.commit = Some(tokio::spawn(async move {
            let fate = committer.commit(&of, &sealed, standing.as_deref(), &over).await;
            (of, sealed, end, fate)
        }));
        Ok(())
    }

    async fn settle_commit(&mut self) -> Result<(), ListError> {
        let Some(task) = self.commit.take() else { return Ok(()) };
        let (of, sealed, end, fate) = join(task).await;
        if let Fate::Abandoned(abandoned) = fate {
            sealed.receipt.requeue(RequeueCause::StoreUnavailable);
            let name = self.name.clone();
            return Err(match abandoned.lost {
                Some(why) => ListError::Lost { name, why },
                None => ListError::Aborted { name },
            });
        }
        observe(&self.parts.metrics, &self.parts.surroundings, &sealed);
        self.report.taken += sealed.receipt.deliveries();
        sealed.receipt.settle(&sealed.tally);
        self.parts.committer.close(&[of.name]).await;
        self.watch.durable(end, &sealed.tally);
        Ok(())
    }
}

/// Lends the worker to a blocking thread.
async fn lend(
    mut worker: Worker,
    work: impl FnOnce(&mut Worker) -> Vec<Sealed> + Send + 'static,
) -> (Worker, Vec<Sealed>) {
    let lent = tokio::task::spawn_blocking(move || {
        let sealed = work(&mut worker);
        (worker, sealed)
    });
    join(lent).await
}
