//! Replays and dry runs that run in this process beside its pipelines: a bounded number, until they end or it does. What a
//! job has done is in the store whatever becomes of its task; what a dry run found is held here, for a while.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use ulid::Ulid;

use crate::dlq::log::{JobStatus, Said};
use crate::ingest::{Stop, chain};
use crate::replay::plan::Plan;
use crate::replay::{
    DryRunOptions, DryRunReport, DryRunWatch, JobEnd, Pace, ReplayError, ReplayOptions, Replays, Resumed, Start,
    Unwatched,
};

/// Dry runs that are over and still told of; the oldest are forgotten.
const DRY_RUNS_KEPT: usize = 32;

/// Why a task found nothing: what was durable is, and the pipelines of the process go on.
const PANICKED: &str = "the program panicked; its standard error says where";

/// The tasks of one process.
pub struct Tasks {
    replays: Replays,
    stop: Stop,
    places: Arc<Semaphore>,
    held: Mutex<Held>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct Held {
    /// Jobs that a task runs, and whether somebody let them go on meanwhile.
    jobs: HashMap<Ulid, bool>,
    /// The newest last.
    dry_runs: VecDeque<Arc<DryRun>>,
}

/// A dry run under way, or over.
#[derive(Debug)]
pub struct DryRun {
    pub id: Ulid,
    /// The plan's hash.
    pub plan: String,
    pub letters: u64,
    tried: AtomicU64,
    outcome: Mutex<Option<Result<Arc<DryRunReport>, String>>>,
}

impl DryRun {
    /// Letters tried so far.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// What it found, or why it found nothing; `None` while it runs.
    pub fn outcome(&self) -> Option<Result<Arc<DryRunReport>, String>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DryRunWatch for DryRun {
    fn advances(&self, done: u64, _letters: u64) {
        self.tried.store(done, Ordering::Relaxed);
    }
}

/// Why no task runs.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Nothing was done.
    #[error("as many replays and dry runs are under way as may be at a time")]
    TooMany,
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl Tasks {
    /// At most `tasks_max` run at a time. `stop` ends them: what is durable then stays, and the jobs can be resumed.
    pub fn new(replays: Replays, tasks_max: usize, stop: Stop) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(tasks_max));
        Arc::new(Self { replays, stop, places, held: Mutex::default(), tracker: TaskTracker::new() })
    }

    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// Begins a job for `plan`, and runs it. Goes on also when its caller does not wait.
    ///
    /// # Errors
    /// As [`Replays::start`], and [`TaskError::TooMany`].
    pub async fn start(self: &Arc<Self>, plan: Plan, said: Said, pace: Pace) -> Result<Start, TaskError> {
        let place = self.place()?;
        let tasks = Arc::clone(self);
        self.unheld(async move {
            let start = tasks.replays.start(&plan, &said).await?;
            match start {
                Start::Begun(job) | Start::Taken(job) => tasks.run(job, pace, Some(place)),
                Start::Nothing { .. } => {}
            }
            Ok(start)
        })
        .await
    }

    /// Lets a job go on, and runs it if no living process does.
    ///
    /// # Errors
    /// As [`Replays::resume`], and [`TaskError::TooMany`].
    pub async fn resume(
        self: &Arc<Self>,
        job: Ulid,
        said: Said,
        force: bool,
        pace: Pace,
    ) -> Result<Resumed, TaskError> {
        // One that rests here has its place.
        let place = match self.held().jobs.contains_key(&job) {
            true => None,
            false => Some(self.place()?),
        };
        let tasks = Arc::clone(self);
        self.unheld(async move {
            if tasks.is_abandoned(job).await? {
                tasks.run(job, pace, place);
                return Ok(Resumed::Taken);
            }
            let resumed = tasks.replays.resume(job, &said, force).await?;
            let is_ours = match &resumed {
                Resumed::Taken => true,
                Resumed::There(owner) => *owner == tasks.replays.owner,
            };
            if is_ours {
                tasks.run(job, pace, place);
            }
            Ok(resumed)
        })
        .await
    }

    /// Begins a dry run of `plan`; see [`Tasks::dry_run`].
    ///
    /// # Errors
    /// [`TaskError::TooMany`].
    pub fn try_out(self: &Arc<Self>, plan: Plan, options: DryRunOptions) -> Result<Arc<DryRun>, TaskError> {
        let place = self.place()?;
        let run = Arc::new(DryRun {
            id: (self.replays.surroundings.ulid)(),
            plan: plan.hash.clone(),
            letters: plan.terms.letters,
            tried: AtomicU64::new(0),
            outcome: Mutex::default(),
        });
        self.held().keep(Arc::clone(&run));
        let (tasks, told) = (Arc::clone(self), Arc::clone(&run));
        self.tracker.spawn(async move {
            let _place = place;
            let found =
                AssertUnwindSafe(tasks.replays.dry_run(&plan, options, &tasks.stop, &*told)).catch_unwind().await;
            let found = match found {
                Ok(found) => found.map(Arc::new).map_err(|error| chain(&error)),
                Err(_) => Err(PANICKED.to_owned()),
            };
            *told.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        });
        Ok(run)
    }

    /// The dry run of that id; `None`: there was none, or it was forgotten.
    pub fn dry_run(&self, id: Ulid) -> Option<Arc<DryRun>> {
        self.held().dry_runs.iter().find(|run| run.id == id).cloned()
    }

    /// Waits until all have ended; to be called once they are told to.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, TaskError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| TaskError::TooMany)
    }

    /// Does `work` to its end, also when nobody waits for it any more: a job that the log says was begun is to run.
    async fn unheld<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TaskError>> + Send + 'static,
    ) -> Result<T, TaskError> {
        let done = self.tracker.spawn(work).await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Whether a job is ours by the log, and no task of ours runs it: what ended it could not be written there.
    async fn is_abandoned(&self, job: Ulid) -> Result<bool, ReplayError> {
        let state = self.replays.log.load().await?;
        let ours = |job: &crate::dlq::log::Job| job.owner == self.replays.owner && job.status == JobStatus::Running;
        Ok(state.job(job).is_some_and(ours) && !self.held().jobs.contains_key(&job))
    }

    fn run(self: &Arc<Self>, job: Ulid, pace: Pace, place: Option<OwnedSemaphorePermit>) {
        match self.held().jobs.entry(job) {
            // The task that is there may be about to end: it looks once more.
            Entry::Occupied(mut there) => {
                there.insert(true);
                return;
            }
            Entry::Vacant(free) => drop(free.insert(false)),
        }
        let tasks = Arc::clone(self);
        self.tracker.spawn(async move {
            let _place = place;
            loop {
                tasks.run_once(job, pace).await;
                if !tasks.held().goes_on(job) {
                    break;
                }
            }
        });
    }

    async fn run_once(&self, job: Ulid, pace: Pace) {
        let run = self.replays.run(job, ReplayOptions { pace }, &self.stop, &Unwatched);
        let why = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(JobEnd::Stopped(counts))) => {
                return info!(%job, ?counts, "replay stopped with the process: it can be resumed");
            }
            Ok(Ok(end)) => return info!(%job, ?end, "replay ended"),
            Ok(Err(error)) => chain(&error),
            Err(_) => PANICKED.to_owned(),
        };
        warn!(%job, error = why, "replay failed: resume or cancel it");
        if let Err(error) = self.replays.halt(job, why).await {
            warn!(%job, error = chain(&error), "the log cannot be written: it still says that the replay runs");
        }
    }
}

impl Held {
    /// Forgets the oldest of those that are over beyond [`DRY_RUNS_KEPT`].
    fn keep(&mut self, run: Arc<DryRun>) {
        self.dry_runs.push_back(run);
        while self.dry_runs.len() > DRY_RUNS_KEPT {
            let Some(over) = self.dry_runs.iter().position(|run| run.outcome().is_some()) else { break };
            self.dry_runs.remove(over);
        }
    }

    /// Whether the job is to be run once more; else no task runs it from now on.
    fn goes_on(&mut self, job: Ulid) -> bool {
        let again = self.jobs.get_mut(&job).is_some_and(std::mem::take);
        if !again {
            self.jobs.remove(&job);
        }
        again
    }
}
