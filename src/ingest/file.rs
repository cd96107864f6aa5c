//! The same path for lines of a file: judge, archive or dead letter, commit. The outcome of each flush records the file's
//! hash and offset, so that the same file again, or after a crash, resumes and adds nothing.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::dlq::record::AttemptSource;
use crate::event::{Delivery, Message};
use crate::ingest::commit::{Committer, Fate, FlushOf};
use crate::ingest::pipeline::LookAt;
use crate::ingest::shard::observe;
use crate::ingest::worker::{Origin, Sealed, Worker};
use crate::ingest::{Plan, Stop, Surroundings};
use crate::metrics::PipelineMetrics;
use crate::receipt::RequeueCause;
use crate::store::flush::{FileEnd, Flush, FlushError, FlushName, FlushState, Liveness, Source, Verdict};

const LINES_PER_BATCH: usize = 4096;
const BYTES_PER_BATCH: usize = 4 * 1024 * 1024;

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
    #[error("{file}: a flush was aborted by another process: is a second ingest of the same file running?")]
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
    let start = resume_point(parts, &source).await?;
    if start.at.bytes > 0 {
        info!(file = %source.name, bytes = start.at.bytes, lines = start.at.lines, "resuming after what is durable already");
    }
    let origin = Origin { shard: 0, source: AttemptSource::File, file: Some(source.name.clone()) };
    let worker = Worker::new(Arc::clone(&parts.plan), parts.surroundings.clone(), Arc::clone(&parts.metrics), origin);
    let lines = Lines {
        file: source.name.clone(),
        reader: source.reader,
        at: FileProgress::default(),
        line_bytes_max: parts.line_bytes_max,
    };
    let mut run = FileRun {
        parts,
        name: source.name,
        sha256: source.sha256,
        attempt: start.attempt,
        durable: start.at,
        sealed_through: start.at,
        ends: VecDeque::new(),
        commit: None,
        progress,
        over: CancellationToken::new(),
        report: FileReport { lines_skipped: start.at.lines, ..FileReport::default() },
    };
    let taken = run.take_lines(lines, worker, stop).await;
    if taken.is_err() {
        run.over.cancel();
        run.settle_commit().await.ok();
    }
    taken.map(|()| run.report)
}

/// Where to go on in a file.
#[derive(Default)]
struct Resume {
    at: FileProgress,
    /// Number of the next flush that begins there: earlier ones were aborted.
    attempt: u16,
}

async fn resume_point(parts: &FileParts, source: &FileSource) -> Result<Resume, FileError> {
    let Some(sha256) = &source.sha256 else { return Ok(Resume::default()) };
    let in_store = |error| FileError::Store { file: source.name.clone(), source: error };
    let (log, pipeline) = (&parts.committer.log, &parts.plan.config.name);
    let now = (parts.surroundings.now)();
    log.resolve(pipeline, now, parts.flush_grace, parts.liveness.as_ref()).await.map_err(in_store)?;
    let flushes = log.of_file(pipeline, sha256).await.map_err(in_store)?;
    for flush in &flushes {
        if let FlushState::Open(intent) = &flush.state {
            let owner = &intent.owner;
            let state = match (parts.liveness)(owner) {
                Liveness::Alive => "and it is alive".to_owned(),
                _ => format!(
                    "and whether it lives cannot be seen from here; after {:?} it counts as dead",
                    parts.flush_grace
                ),
            };
            let owner = format!("process {} of instance {} on {}, {state}", owner.pid, owner.instance, owner.host);
            return Err(FileError::Busy { file: source.name.clone(), owner });
        }
    }
    Ok(resume_after(&flushes))
}

/// What is durable of a file: its committed flushes follow on one another.
fn resume_after(flushes: &[Flush]) -> Resume {
    let mut resume = Resume::default();
    for flush in flushes {
        let FlushState::Decided(outcome) = &flush.state else { continue };
        match (&outcome.verdict, &outcome.source) {
            (Verdict::Committed(committed), Source::File { .. }) => {
                if let Some(end) = committed.end.filter(|end| end.offset > resume.at.bytes) {
                    resume = Resume { at: FileProgress { bytes: end.offset, lines: end.line - 1 }, attempt: 0 };
                }
            }
            (Verdict::Aborted { .. }, Source::File { start, .. }) if *start == resume.at.bytes => resume.attempt += 1,
            _ => {}
        }
    }
    resume
}

struct FileRun<'a> {
    parts: &'a FileParts,
    name: String,
    sha256: Option<String>,
    attempt: u16,
    durable: FileProgress,
    /// Where the next flush starts.
    sealed_through: FileProgress,
    /// For each line handed to the worker and not yet sealed: its number and the offset after it.
    ends: VecDeque<(u64, u64)>,
    commit: Option<JoinHandle<(FlushOf, Sealed, FileProgress, Fate)>>,
    progress: &'a (dyn Fn(FileProgress) + Sync),
    over: CancellationToken,
    report: FileReport,
}

impl FileRun<'_> {
    async fn take_lines(&mut self, mut lines: Lines, mut worker: Worker, stop: &Stop) -> Result<(), FileError> {
        let skip = self.durable;
        let mut failure = None;
        loop {
            if stop.drain.is_cancelled() {
                self.report.stopped = true;
                break;
            }
            let (parts, read) = (self.parts, Box::new(lines));
            let now = (parts.surroundings.now)();
            let (returned, batch) = blocking(move || read.next_batch(skip, now)).await;
            lines = *returned;
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    // What was read before it is good: make it durable, then say what is wrong.
                    failure = Some(error);
                    break;
                }
            };
            let at_end = batch.at_end;
            if let Some(last) = batch.deliveries.last() {
                let receipt = self.parts.metrics.ledger.receive(batch.deliveries.len() as u64, last.tag);
                self.ends.extend(batch.ends);
                let sealed;
                (worker, sealed) = blocking(move || {
                    let sealed = worker.take(batch.deliveries, receipt);
                    (worker, sealed)
                })
                .await;
                for sealed in sealed {
                    self.write(sealed).await?;
                }
            }
            if at_end {
                break;
            }
        }
        let sealed;
        (worker, sealed) = blocking(move || {
            let sealed = worker.seal();
            (worker, sealed)
        })
        .await;
        worker.abandon(RequeueCause::Dropped);
        if let Some(sealed) = sealed {
            self.write(sealed).await?;
        }
        self.settle_commit().await?;
        failure.map_or(Ok(()), Err)
    }

    /// Starts writing `sealed` once the flush before it is durable.
    async fn write(&mut self, sealed: Sealed) -> Result<(), FileError> {
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
                end: Some(FileEnd { offset: end.bytes, line: end.lines + 1, complete: false }),
            },
            // Nothing tells one standard input from another: it is never resumed.
            None => FlushOf {
                name: FlushName::queue(pipeline, sealed.flush, &self.parts.plan.instance, 0),
                source: Source::Queue { queue: "-".to_owned(), shard: 0 },
                end: None,
            },
        };
        // Only at the place where an earlier run stopped can there be earlier attempts.
        self.attempt = 0;
        self.sealed_through = end;
        let (committer, over) = (Arc::clone(&self.parts.committer), self.over.clone());
        self.commit = Some(tokio::spawn(async move {
            let fate = committer.commit(&of, &sealed, &over).await;
            (of, sealed, end, fate)
        }));
        Ok(())
    }

    async fn settle_commit(&mut self) -> Result<(), FileError> {
        let Some(task) = self.commit.take() else { return Ok(()) };
        let (of, sealed, end, fate) = match task.await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        if fate != Fate::Durable {
            sealed.receipt.requeue(RequeueCause::StoreUnavailable);
            return Err(FileError::Aborted { file: self.name.clone() });
        }
        observe(&self.parts.metrics, &self.parts.surroundings, &sealed);
        self.report.lines_taken += sealed.receipt.deliveries();
        sealed.receipt.settle(&sealed.tally);
        self.parts.committer.close(&[of.name]).await;
        self.durable = end;
        (self.progress)(self.durable);
        Ok(())
    }
}

/// Runs blocking work with owned data in and out.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Lines of a reader, with their numbers and offsets.
struct Lines {
    file: String,
    reader: Box<dyn BufRead + Send>,
    at: FileProgress,
    line_bytes_max: usize,
}

#[derive(Default)]
struct LineBatch {
    deliveries: Vec<Delivery>,
    ends: Vec<(u64, u64)>,
    at_end: bool,
}

impl Lines {
    /// The next lines that are not blank and lie after `skip`.
    fn next_batch(
        mut self: Box<Self>,
        skip: FileProgress,
        now: chrono::DateTime<chrono::Utc>,
    ) -> (Box<Self>, Result<LineBatch, FileError>) {
        let mut batch = LineBatch::default();
        let mut bytes = 0;
        while batch.deliveries.len() < LINES_PER_BATCH && bytes < BYTES_PER_BATCH {
            let body = match self.next_line() {
                Ok(Some(body)) => body,
                Ok(None) => {
                    batch.at_end = true;
                    break;
                }
                Err(error) => return (self, Err(error)),
            };
            if self.at.bytes <= skip.bytes || body.trim_ascii().is_empty() {
                continue;
            }
            bytes += body.len();
            batch.ends.push((self.at.lines, self.at.bytes));
            batch.deliveries.push(Delivery {
                tag: self.at.lines,
                received_at: now,
                message: Message { body, ..Message::default() },
            });
        }
        (self, Ok(batch))
    }

    /// The next line without its end; `None` after the last.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        let mut line = Vec::new();
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
