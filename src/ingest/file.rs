//! The same path for lines of a file: judge, archive or dead letter, commit. The outcome of each flush records the file's
//! hash and offset, so that the same file again, or after a crash, resumes and adds nothing.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::dlq::record::AttemptSource;
use crate::event::{Delivery, Message};
use crate::ingest::commit::{Committer, Fate, FlushOf};
use crate::ingest::pipeline::LookAt;
use crate::ingest::shard::{due, join, observe};
use crate::ingest::worker::{Origin, Sealed, Worker};
use crate::ingest::{Plan, Stop, Surroundings};
use crate::metrics::PipelineMetrics;
use crate::receipt::RequeueCause;
use crate::store::flush::{Epoch, FileEnd, FlushError, FlushName, FlushState, Liveness, Resume, Source};

const LINES_PER_BATCH: usize = 4096;
const BYTES_PER_BATCH: usize = 4 * 1024 * 1024;
/// Batches that may wait for the worker.
const BATCHES_AHEAD: usize = 2;
/// Room made for a line before its length is known.
const LINE_BYTES_USUAL: usize = 512;

/// What the file path runs on.
pub struct FileParts {
    pub plan: Arc<Plan>,
    pub surroundings: Surroundings,
    pub metrics: Arc<PipelineMetrics>,
    pub committer: Arc<Committer>,
    pub flush_grace: Duration,
    pub liveness: LookAt,
    /// Longer lines end the run with an error: they could not even be kept as dead letters.
    pub line_bytes_max: usize,
}

/// Lines to take, decompressed already.
pub struct FileSource {
    pub name: String,
    /// Of the file's bytes as they lie on disk: what a repeat is known by. `None` (standard input): never resumed.
    pub sha256: Option<String>,
    pub reader: Box<dyn BufRead + Send>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileProgress {
    /// Decompressed bytes durable so far, skipped ones included.
    pub bytes: u64,
    pub lines: u64,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Lines that an earlier run had made durable already.
    pub lines_skipped: u64,
    /// Lines made durable by this run; blank ones are no events and not counted.
    pub lines_taken: u64,
    /// Asked to stop before the end; the same call goes on from here.
    pub stopped: bool,
}

/// Why a file could not be taken to its end. What was committed stays, and the same call resumes after it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{file}: reading failed after {bytes} bytes")]
    Read { file: String, bytes: u64, source: io::Error },
    #[error("{file}: line {line} is longer than {limit} bytes: is this newline-delimited JSON?")]
    LineTooLong { file: String, line: u64, limit: usize },
    #[error("{file}: another ingest is taking it ({owner}): wait for it to end")]
    Busy { file: String, owner: String },
    #[error("{file}: the store cannot say what of it is durable")]
    Store { file: String, source: FlushError },
    #[error(
        "{file}: a flush was aborted by another process, which took this one for dead; the same command goes on from there"
    )]
    Aborted { file: String },
}

/// Takes one file to its end.
///
/// # Errors
/// See [`FileError`].
pub async fn ingest_file(
    parts: &FileParts,
    source: FileSource,
    stop: &Stop,
    progress: &(dyn Fn(FileProgress) + Sync),
) -> Result<FileReport, FileError> {
    let resume = resume_point(parts, &source).await?;
    let start = FileProgress { bytes: resume.from.offset, lines: resume.from.line - 1 };
    let report = FileReport { lines_skipped: start.lines, ..FileReport::default() };
    if resume.from.complete {
        return Ok(report);
    }
    if start.bytes > 0 {
        info!(file = %source.name, bytes = start.bytes, lines = start.lines, "resuming after what is durable already");
    }
    let origin = Origin { shard: 0, source: AttemptSource::File, file: Some(source.name.clone()) };
    let worker =
        Worker::new(Arc::clone(&parts.plan), parts.surroundings.clone(), Arc::clone(&parts.metrics), origin, None);
    let over = CancellationToken::new();
    // Also when this future is dropped: a flush that nobody waits for must not be committed.
    let _over_when_dropped = over.clone().drop_guard();
    let mut run = FileRun {
        parts,
        name: source.name.clone(),
        sha256: source.sha256,
        attempt: resume.attempt,
        sealed_through: start,
        ends: VecDeque::new(),
        epoch: Epoch { instance: parts.plan.instance.clone(), shard: 0, id: (parts.surroundings.ulid)() },
        commit: None,
        progress,
        over,
        report,
    };
    let lines = Lines {
        file: source.name,
        reader: source.reader,
        at: FileProgress::default(),
        skip: start,
        line_bytes_max: parts.line_bytes_max,
        now: parts.surroundings.now,
    };
    let taken = run.take_lines(lines, worker, stop).await;
    if taken.is_err() {
        run.over.cancel();
        // What went wrong first is what is told.
        run.settle_commit().await.ok();
    }
    taken.map(|()| run.report)
}

async fn resume_point(parts: &FileParts, source: &FileSource) -> Result<Resume, FileError> {
    let Some(sha256) = &source.sha256 else { return Ok(Resume::of(&[])) };
    let in_store = |error| FileError::Store { file: source.name.clone(), source: error };
    let (log, pipeline) = (&parts.committer.log, &parts.plan.config.name);
    let now = (parts.surroundings.now)();
    log.resolve(pipeline, now, parts.flush_grace, parts.liveness.as_ref()).await.map_err(in_store)?;
    let flushes = log.of_file(pipeline, sha256).await.map_err(in_store)?;
    // A flush of this file that is open is another process's, wherever it begins.
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
    Err(FileError::Busy { file: source.name.clone(), owner })
}

struct FileRun<'a> {
    parts: &'a FileParts,
    name: String,
    sha256: Option<String>,
    attempt: u16,
    /// Where the next flush starts.
    sealed_through: FileProgress,
    /// For each line handed to the worker and not yet sealed: its number and the offset after it.
    ends: VecDeque<(u64, u64)>,
    /// Of standard input, which no offset names.
    epoch: Epoch,
    commit: Option<JoinHandle<(FlushOf, Sealed, FileProgress, Fate)>>,
    progress: &'a (dyn Fn(FileProgress) + Sync),
    over: CancellationToken,
    report: FileReport,
}

impl FileRun<'_> {
    async fn take_lines(&mut self, lines: Lines, mut worker: Worker, stop: &Stop) -> Result<(), FileError> {
        let (batches_tx, mut batches) = mpsc::channel(BATCHES_AHEAD);
        // Not awaited at the end: a read of standard input may wait for ever, and nothing read there is taken any more.
        tokio::task::spawn_blocking(move || lines.read_all(&batches_tx));
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
                    if let Some(last) = batch.deliveries.last() {
                        let receipt = self.parts.metrics.ledger.receive(batch.deliveries.len() as u64, last.tag);
                        (worker, sealed) = lend(worker, |worker| worker.take(batch.deliveries, receipt)).await;
                    }
                }
            }
            for sealed in sealed {
                self.write(sealed, false).await?;
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
        failure.map_or(Ok(()), Err)
    }

    /// Starts writing `sealed` once the flush before it is durable; `complete` when no line comes after it.
    async fn write(&mut self, sealed: Sealed, complete: bool) -> Result<(), FileError> {
        self.settle_commit().await?;
        let through_line = sealed.receipt.through();
        let start = self.sealed_through;
        let mut end = FileProgress { bytes: start.bytes, lines: through_line };
        while let Some((line, offset)) = self.ends.pop_front_if(|(line, _)| *line <= through_line) {
            end = FileProgress { bytes: offset, lines: line };
        }
        let pipeline = &self.parts.plan.config.name;
        let of = match &self.sha256 {
            Some(sha256) => FlushOf {
                name: FlushName::file(pipeline, sha256, start.bytes, self.attempt),
                source: Source::File {
                    name: self.name.clone(),
                    sha256: sha256.clone(),
                    start: start.bytes,
                    start_line: start.lines + 1,
                },
                end: Some(FileEnd { offset: end.bytes, line: end.lines + 1, complete }),
            },
            // Nothing tells one standard input from another: it is never resumed.
            None => FlushOf {
                name: FlushName::queue(pipeline, sealed.flush, &self.epoch),
                source: Source::Queue { queue: "-".to_owned(), shard: 0 },
                end: None,
            },
        };
        // Only at the place where an earlier run stopped can there be earlier attempts.
        self.attempt = 1;
        self.sealed_through = end;
        let (committer, over) = (Arc::clone(&self.parts.committer), self.over.clone());
        self.commit = Some(tokio::spawn(async move {
            let fate = committer.commit(&of, &sealed, None, &over).await;
            (of, sealed, end, fate)
        }));
        Ok(())
    }

    async fn settle_commit(&mut self) -> Result<(), FileError> {
        let Some(task) = self.commit.take() else { return Ok(()) };
        let (of, sealed, end, fate) = join(task).await;
        if fate != Fate::Durable {
            sealed.receipt.requeue(RequeueCause::StoreUnavailable);
            return Err(FileError::Aborted { file: self.name.clone() });
        }
        observe(&self.parts.metrics, &self.parts.surroundings, &sealed);
        self.report.lines_taken += sealed.receipt.deliveries();
        sealed.receipt.settle(&sealed.tally);
        self.parts.committer.close(&[of.name]).await;
        (self.progress)(end);
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

/// Lines of a reader, with their numbers and offsets.
struct Lines {
    file: String,
    reader: Box<dyn BufRead + Send>,
    at: FileProgress,
    /// What is durable already and passed over.
    skip: FileProgress,
    line_bytes_max: usize,
    now: fn() -> DateTime<Utc>,
}

#[derive(Default)]
struct LineBatch {
    deliveries: Vec<Delivery>,
    ends: Vec<(u64, u64)>,
    bytes: usize,
    /// Why no line comes after these.
    failure: Option<FileError>,
}

impl Lines {
    /// Sends every line that is not blank and not durable yet: at once while somebody waits for lines, so that a slow pipe
    /// is not held up, and in large batches while nobody does.
    fn read_all(mut self, batches: &mpsc::Sender<LineBatch>) {
        let mut batch = LineBatch::default();
        loop {
            let body = match self.next_line() {
                Ok(Some(body)) => body,
                Ok(None) => break,
                Err(failure) => {
                    batch.failure = Some(failure);
                    break;
                }
            };
            if self.at.bytes <= self.skip.bytes || body.trim_ascii().is_empty() {
                continue;
            }
            batch.bytes += body.len();
            batch.ends.push((self.at.lines, self.at.bytes));
            let message = Message { body, ..Message::default() };
            batch.deliveries.push(Delivery { tag: self.at.lines, received_at: (self.now)(), message });
            let full = batch.deliveries.len() >= LINES_PER_BATCH || batch.bytes >= BYTES_PER_BATCH;
            if full {
                if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            } else if let Ok(free) = batches.try_reserve() {
                free.send(std::mem::take(&mut batch));
            }
        }
        // Nobody listens any more when the run was stopped: then these lines are read again by the next.
        batches.blocking_send(batch).ok();
    }

    /// The next line without its end; `None` after the last.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        let mut line = Vec::with_capacity(LINE_BYTES_USUAL);
        let limit = self.line_bytes_max as u64 + 2;
        let read = io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut line);
        let read = read.map_err(|source| FileError::Read { file: self.file.clone(), bytes: self.at.bytes, source })?;
        if read == 0 {
            return Ok(None);
        }
        self.at.bytes += read as u64;
        self.at.lines += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if read as u64 == limit {
            return Err(FileError::LineTooLong {
                file: self.file.clone(),
                line: self.at.lines,
                limit: self.line_bytes_max,
            });
        }
        Ok(Some(line))
    }
}
