//! Small files of dead letters made into large ones, and letters kept no longer than they are asked for.
//!
//! A merge is what its plan says: which files, into which, without which letters. The plan is created conditionally under
//! the next number of its pipeline and date, so of several processes one plans, and any may carry it out: what they write
//! is the same. The merged file names the files it stands for; whoever reads leaves those out where it is. So there is no
//! moment, and no place to be killed at, at which a letter is seen twice or not at all.
//!
//! ```text
//! dlq/merges/v1/<pipeline>/date=<date>/<number, 6 digits>.json
//! ```

mod choose; // which files, and which letters no longer
mod plan; // what a merge does
#[cfg(test)]
mod tests;
mod write; // the merged file

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::TryStreamExt;
use tokio::time::Instant;
use ulid::Ulid;

pub use choose::{Keep, Settled};
pub use plan::{MergePlan, PlanError, Removal};

use super::attempts::{Attempts, AttemptsError};
use super::log::{Event, Log, LogError, Said};
use super::record::{self, DecodeError, PREFIX, blobs_dir};
use super::records::{Facts, Files};
use crate::store::flush::{FlushError, FlushLog};
use crate::store::{Entry, Store, StoreError};

/// Bytes of memory for what footers say.
const INDEX_BYTES: usize = 64 << 20;

/// From seeing a merged file to deleting those it stands for: longer than a listing takes, which may have missed it.
pub const SETTLE: Duration = Duration::from_secs(60);

/// How often a date's letters are looked through for those that were kept long enough.
const LOOK_THROUGH_EVERY: TimeDelta = TimeDelta::hours(24);

#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot read {path}")]
    Broken { path: String, source: DecodeError },
    #[error("cannot read the merge plan {path}")]
    Plan { path: String, source: PlanError },
    /// Neither the merged file nor all that it was to be made of: a person has to look.
    #[error("merge plan {path}: {missing} is gone, and the file it was to be merged into is not there")]
    Lost { path: String, missing: String },
    #[error(transparent)]
    Encode(#[from] record::EncodeError),
}

impl MergeError {
    /// It may pass by itself.
    pub fn is_unavailable(&self) -> bool {
        match self {
            MergeError::Store(error) | MergeError::Flush(FlushError::Store(error)) => error.is_unavailable(),
            _ => false,
        }
    }
}

/// When a merge is due, and what may be removed.
#[derive(Clone, Debug)]
pub struct Round<'a> {
    pub now: DateTime<Utc>,
    /// Files of flushes younger than that, counted back from the pipeline's newest file, are left as they are: the look-up
    /// of repeats reads them by name.
    pub look_back: Duration,
    pub keep: Keep,
    /// What was decided about groups.
    pub settled: &'a Settled,
    /// Of this process, as the log names it.
    pub actor: &'a str,
}

/// One step of a merge; each changes the store once.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Freeze what is to be done.
    Plan(MergePlan),
    /// Write the merged file.
    Write(MergePlan),
    /// Say in the log what was removed.
    Tell(MergePlan),
    /// Delete the files that the merged one stands for.
    Delete(MergePlan),
    /// Delete the bodies of a date whose letters are all gone.
    DeleteBlobs(NaiveDate),
    /// The files may not be deleted before that.
    Wait(Instant),
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that another one stands for now.
    pub files: u64,
    pub removed: RemovedLetters,
}

/// Letters that were kept long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedLetters {
    pub recovered: u64,
    pub resolved: u64,
    pub ignored: u64,
}

/// Merges the files of pipelines.
pub struct Merger {
    store: Store,
    files: Files,
    attempts: Attempts,
    flushes: FlushLog,
    log: Log,
    /// How long a merged file is left to be seen.
    settle: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Merged files, and since when they were there.
    merged: HashMap<String, Instant>,
    /// When the letters of a directory were last looked through.
    looked_through: HashMap<String, DateTime<Utc>>,
}

impl Merger {
    pub fn new(store: Store) -> Self {
        Self::settling(store, SETTLE)
    }

    /// As [`Merger::new`], with another wait between writing a merged file and deleting what it stands for.
    pub fn settling(store: Store, settle: Duration) -> Self {
        Self {
            files: Files::new(store.clone(), INDEX_BYTES),
            attempts: Attempts::new(store.clone()),
            flushes: FlushLog::reader(store.clone()),
            log: Log::new(store.clone()),
            store,
            settle,
            seen: Mutex::default(),
        }
    }

    /// The dates of which a pipeline has files, or bodies.
    ///
    /// # Errors
    /// The store's.
    pub async fn dates(&self, pipeline: &str) -> Result<Vec<NaiveDate>, MergeError> {
        let mut names = self.store.dirs(&format!("{PREFIX}/{pipeline}")).await?;
        names.extend(self.store.dirs(&format!("{}/{pipeline}", record::BLOBS)).await?);
        let mut dates: Vec<NaiveDate> =
            names.iter().filter_map(|name| name.strip_prefix("date=")?.parse().ok()).collect();
        dates.sort_unstable();
        dates.dedup();
        Ok(dates)
    }

    /// When the newest file of a pipeline was begun, by its name.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(&self, pipeline: &str) -> Result<Option<DateTime<Utc>>, MergeError> {
        for date in self.dates(pipeline).await?.into_iter().rev() {
            let entries: Vec<Entry> = self.store.list(&directory(pipeline, date), None).try_collect().await?;
            if let Some(newest) = entries.iter().filter_map(|entry| choose::begun(&entry.path)).max() {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// What is to be done next for a date; `None`: nothing. `newest` is [`Merger::newest`].
    ///
    /// # Errors
    /// [`MergeError`]; nothing was changed.
    pub async fn next(
        &self,
        pipeline: &str,
        date: NaiveDate,
        newest: DateTime<Utc>,
        round: &Round<'_>,
    ) -> Result<Option<Step>, MergeError> {
        let last = self.last_plan(pipeline, date).await?;
        let (files, unreadable) = self.files.all_in(&[directory(pipeline, date)]).await?;
        let there: HashSet<&str> = files.iter().map(|facts| facts.path.as_str()).collect();
        let n = match last {
            None => 1,
            Some(plan) => match self.under_way(&plan, &there).await? {
                Some(step) => return Ok(Some(step)),
                None => plan.n + 1,
            },
        };
        if !unreadable.is_empty() {
            // Named by whoever reads them; what is in them is not known, so the date stays as it is.
            return Ok(None);
        }
        if self.may_drop_blobs(pipeline, date, &files, round).await? {
            return Ok(Some(Step::DeleteBlobs(date)));
        }
        let undecided = self.flushes.not_committed(pipeline).await?;
        let settled_before = newest - round.look_back;
        let is_settled = |facts: &Facts| {
            choose::begun(&facts.path).is_some_and(|begun| begun < settled_before) && !undecided.contains(&facts.path)
        };
        let mut candidates: Vec<_> = files.into_iter().filter(|facts| is_settled(facts)).collect();
        candidates.sort_by(|one, other| one.path.cmp(&other.path));
        let removals = self.removals(pipeline, date, &candidates, round).await?;
        let Some((sources, removed)) = choose::sources(&candidates, removals) else { return Ok(None) };
        let log_seq = match removed.is_empty() {
            true => 0,
            false => self.log.load().await?.seq(),
        };
        Ok(Some(Step::Plan(MergePlan::new(pipeline, date, n, sources, removed, round, log_seq))))
    }

    /// What is left to do of the newest plan.
    async fn under_way(&self, plan: &MergePlan, there: &HashSet<&str>) -> Result<Option<Step>, MergeError> {
        let missing = plan.sources.iter().find(|source| !there.contains(source.as_str()));
        if !there.contains(plan.merged.as_str()) {
            return match missing {
                None => Ok(Some(Step::Write(plan.clone()))),
                Some(missing) => Err(MergeError::Lost { path: plan.path(), missing: missing.clone() }),
            };
        }
        if plan.sources.iter().all(|source| !there.contains(source.as_str())) {
            return Ok(None);
        }
        if !plan.removed.is_empty() && !self.is_told(plan).await? {
            return Ok(Some(Step::Tell(plan.clone())));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *seen.merged.entry(plan.merged.clone()).or_insert_with(Instant::now);
        let due = since + self.settle;
        Ok(Some(if Instant::now() < due { Step::Wait(due) } else { Step::Delete(plan.clone()) }))
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`MergeError`]: ask for the next step again.
    pub async fn take(&self, pipeline: &str, step: Step) -> Result<Done, MergeError> {
        match step {
            Step::Plan(plan) => {
                match self.store.create(&plan.path(), plan.encode()).await {
                    // Another process planned this one.
                    Err(StoreError::Exists { .. }) => {}
                    created => created?,
                }
                Ok(Done::default())
            }
            Step::Write(plan) => self.write(&plan).await,
            Step::Tell(plan) => {
                let mut state = self.log.load().await?;
                let (said, event) = plan.told();
                self.log.append(&mut state, &said, &event).await?;
                Ok(Done::default())
            }
            Step::Delete(plan) => {
                self.store.delete_all(plan.sources.clone()).await?;
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).merged.remove(&plan.merged);
                Ok(Done::default())
            }
            Step::DeleteBlobs(date) => {
                let blobs: Vec<Entry> = self.store.list(&blobs_dir(pipeline, date), None).try_collect().await?;
                self.store.delete_all(blobs.into_iter().map(|blob| blob.path)).await?;
                Ok(Done::default())
            }
            Step::Wait(due) => {
                tokio::time::sleep_until(due).await;
                Ok(Done::default())
            }
        }
    }

    /// Whether the log has what was removed by a plan.
    async fn is_told(&self, plan: &MergePlan) -> Result<bool, MergeError> {
        let (said, event): (Said, Event) = plan.told();
        let mut entries = self.log.entries(plan.log_seq);
        while let Some(found) = entries.try_next().await? {
            if found.entry.said == said && found.entry.event == event {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn last_plan(&self, pipeline: &str, date: NaiveDate) -> Result<Option<MergePlan>, MergeError> {
        let plans: Vec<Entry> = self.store.list(&plan::directory(pipeline, date), None).try_collect().await?;
        let Some(path) = plans.into_iter().map(|entry| entry.path).max() else { return Ok(None) };
        let bytes = self.store.get(&path).await?;
        match MergePlan::decode(&bytes) {
            Ok(plan) => Ok(Some(plan)),
            Err(source) => Err(MergeError::Plan { path, source }),
        }
    }

    /// Whether a date has bodies in objects of their own that no letter needs any more.
    async fn may_drop_blobs(
        &self,
        pipeline: &str,
        date: NaiveDate,
        files: &[std::sync::Arc<Facts>],
        round: &Round<'_>,
    ) -> Result<bool, MergeError> {
        let needed = |facts: &Facts| facts.index.as_ref().is_none_or(|index| index.blobs > 0);
        if files.iter().any(|facts| needed(facts)) || !round.keep.is_past(date, round.now) {
            return Ok(false);
        }
        Ok(self.store.list(&blobs_dir(pipeline, date), None).try_next().await?.is_some())
    }

    /// The letters of `candidates` that were kept long enough, by file; looked for once a day.
    async fn removals(
        &self,
        pipeline: &str,
        date: NaiveDate,
        candidates: &[std::sync::Arc<Facts>],
        round: &Round<'_>,
    ) -> Result<HashMap<String, Removal>, MergeError> {
        let directory = directory(pipeline, date);
        let last = self.seen.lock().unwrap_or_else(PoisonError::into_inner).looked_through.get(&directory).copied();
        if last.is_some_and(|last| round.now - last < LOOK_THROUGH_EVERY) {
            return Ok(HashMap::new());
        }
        let recovered = self.attempts.recovered().await?;
        let mut removals = HashMap::new();
        for facts in candidates {
            if !choose::may_hold_removals(facts, &recovered, round) {
                continue;
            }
            let file = self.get(&facts.path).await?;
            let (settled, keep, now) = (round.settled.clone(), round.keep, round.now);
            let recovered = std::sync::Arc::clone(&recovered);
            let removal =
                self.work(&facts.path, move || choose::removal(file, &recovered, &settled, keep, now)).await?;
            if !removal.is_empty() {
                removals.insert(facts.path.clone(), removal);
            }
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).looked_through.insert(directory, round.now);
        Ok(removals)
    }

    async fn get(&self, path: &str) -> Result<bytes::Bytes, MergeError> {
        Ok(self.store.get(path).await?)
    }

    /// Runs `work` on a file on a blocking thread.
    async fn work<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce() -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<T, MergeError> {
        let broken = |source| MergeError::Broken { path: path.to_owned(), source };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(broken),
            Err(_) => Err(broken(DecodeError::Foreign("it stops its reader".to_owned()))),
        }
    }
}

fn directory(pipeline: &str, date: NaiveDate) -> String {
    format!("{PREFIX}/{pipeline}/date={date}")
}

/// The id at the beginning of a file's name.
fn flush_of(path: &str) -> Option<Ulid> {
    path.rsplit('/').next()?.get(..26)?.parse().ok()
}
