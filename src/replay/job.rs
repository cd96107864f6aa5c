//! A replay: started, watched, paused, gone on with, ended. What is decided is in the log of the dead
//! letters; what is done is in the records of the flushes. A process that dies leaves both, and another goes on from there.
//!
//! Exactly once: the letters of a plan are a list, so its flushes follow on each other whoever makes them (decision 13); and
//! a flush is committed only if, after its intent stood, the log still gave the job to its owner.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;
use ulid::Ulid;

use crate::dlq::log::{Conflict, Event, Job, JobCounts, JobStatus, LogError, PIPELINE, Said, State};
use crate::ingest::{self, Committer, ListParts, Stop};
use crate::receipt::Tally;
use crate::replay::broker::{self, CourierError, Fate};
use crate::replay::canary::FIRST;
use crate::replay::destination::Destination;
use crate::replay::feed::Feed;
use crate::replay::pace::Pace;
use crate::replay::plan::{self, Plan};
use crate::replay::reins::{Reins, Run};
use crate::replay::run::JobRun;
use crate::replay::send::{self, SendRun};
use crate::replay::to_file::FileRun;
use crate::replay::{ReplayError, Replays};
use crate::store::flush::{FlushLog, FlushState, Liveness, Outcome, Owner, Resume, Verdict};

/// Bounds of the wait between attempts to write.
const STORE_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How a replay is run, beside what its plan says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayOptions {
    pub pace: Pace,
}

/// What comes of asking for a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new job: [`Replays::run`] it.
    Begun(Ulid),
    /// The job of a process that is gone, taken over: [`Replays::run`] it.
    Taken(Ulid),
    /// All letters of the plan were given back already, or are recovered.
    Nothing { letters: u64, recovered: u64 },
}

/// What comes of asking a job to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It is ours now: [`Replays::run`] it.
    Taken,
    /// Its own process goes on with it.
    There(Owner),
}

/// How a run of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    Finished(JobCounts),
    /// It stopped by itself; somebody is to look, then to resume or cancel it.
    Halted {
        why: String,
        counts: JobCounts,
    },
    Cancelled(JobCounts),
    /// Asked to stop before the end; it can be resumed.
    Stopped(JobCounts),
    /// Another process goes on with it.
    Taken,
}

/// What is told of a job while it runs.
pub trait JobWatch: Send + Sync {
    /// It goes on after `done` of `letters`.
    fn begins(&self, _done: u64, _letters: u64) {}
    /// Up to `done` all is durable, the last of them as `tally` says.
    fn advances(&self, _done: u64, _tally: &Tally) {}
    /// It waits to be resumed.
    fn paused(&self) {}
}

/// Nobody looks on.
pub struct Unwatched;

impl JobWatch for Unwatched {}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    pub id: Ulid,
    pub job: Job,
    /// Letters of the plan that are dealt with.
    pub done: u64,
    pub counts: JobCounts,
    /// Of a job that is not over: whether its process lives.
    pub process: Option<Liveness>,
}

impl JobView {
    /// With stable keys, for programs.
    pub fn as_json(&self) -> serde_json::Value {
        let Self { id, job, done, counts, process } = self;
        let why = match &job.status {
            JobStatus::Halted { why } => Some(why),
            _ => None,
        };
        let process = process.map(|process| match process {
            Liveness::Alive => "alive",
            Liveness::Dead => "gone",
            Liveness::Unknown => "unknown",
        });
        json!({
            "job": id.to_string(),
            "plan": job.plan,
            "pipeline": job.pipeline,
            "destination": job.destination,
            "status": job.status.as_str(),
            "why": why,
            "letters": job.letters,
            "done": done,
            "counts": counts,
            "started_at": job.started.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            "by": job.started.actor,
            "reason": job.started.reason,
            "changed_at": job.changed.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            "process": process,
        })
    }
}

/// How far the flushes of a plan have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub done: u64,
    /// What of them was done before the job began.
    before: u64,
    pub counts: JobCounts,
    /// Of the first letters, since the job began.
    pub first_failed: u64,
}

impl Replays {
    /// Begins a job for `plan`, or takes over one of it whose process is gone.
    ///
    /// # Errors
    /// A conflict in [`ReplayError::Log`]: another job is in the way. Else see [`ReplayError`].
    pub async fn start(&self, plan: &Plan, said: &Said) -> Result<Start, ReplayError> {
        self.still_meant(plan)?;
        let mut state = self.log.load().await?;
        let of_plan = |(_, job): &(&Ulid, &Job)| job.plan == plan.hash && !job.status.is_over();
        if let Some((&id, job)) = state.jobs().iter().find(of_plan)
            && (self.liveness)(&job.owner) == Liveness::Dead
            && job.status == JobStatus::Running
        {
            self.take_over(&mut state, id, said).await?;
            return Ok(Start::Taken(id));
        }
        let lines = plan.lines(&self.store).await?;
        let recovered = self.attempts.recovered().await?;
        let recovered = lines.iter().filter(|line| recovered.contains(line.letter)).count() as u64;
        let terms = &plan.terms;
        let (letters, through_pipeline) = (terms.letters, terms.destination == Destination::Pipeline);
        let done = match through_pipeline {
            true => self.progress(terms.judge(), &plan.hash, DateTime::UNIX_EPOCH).await?.done,
            false => self.sent_for(&state, &plan.hash, None).await?.len() as u64,
        };
        let nothing = done >= letters || (!terms.selection.again() && recovered == letters);
        let in_the_way = state.jobs().values().any(|job| job.plan == plan.hash && !job.status.is_over());
        if nothing && !in_the_way {
            return Ok(Start::Nothing { letters, recovered });
        }
        let id = (self.surroundings.ulid)();
        let started = Event::JobStarted {
            job: id,
            plan: plan.hash.clone(),
            pipeline: if through_pipeline { terms.judge() } else { &terms.pipeline }.to_owned(),
            destination: terms.destination.to_string(),
            letters,
            owner: self.owner.clone(),
        };
        self.log.append(&mut state, said, &started).await?;
        Ok(Start::Begun(id))
    }

    /// Lets a paused, halted or abandoned job go on. With `force`, also one whose process cannot be seen from here: should
    /// it live after all, it finds out and stops.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn resume(&self, id: Ulid, said: &Said, force: bool) -> Result<Resumed, ReplayError> {
        let mut state = self.log.load().await?;
        let job = state.job(id).ok_or(ReplayError::NoJob(id))?.clone();
        let halted = matches!(job.status, JobStatus::Halted { .. });
        let process = (self.liveness)(&job.owner);
        let gone = process == Liveness::Dead || (process == Liveness::Unknown && force);
        if job.status.is_over() || (job.status == JobStatus::Running && !gone) {
            return Err(ReplayError::Over { job: id, status: job.status.as_str() });
        }
        if job.status != JobStatus::Running {
            self.log.append(&mut state, said, &Event::JobResumed { job: id }).await?;
        }
        // One that halted has nobody who waits.
        if gone || halted {
            self.take_over(&mut state, id, said).await?;
            return Ok(Resumed::Taken);
        }
        Ok(Resumed::There(job.owner))
    }

    async fn take_over(&self, state: &mut State, id: Ulid, said: &Said) -> Result<(), ReplayError> {
        let from = state.job(id).ok_or(ReplayError::NoJob(id))?.owner.clone();
        if from != self.owner {
            let taken = Event::JobTaken { job: id, from, owner: self.owner.clone() };
            self.log.append(state, said, &taken).await?;
        }
        Ok(())
    }

    /// Lets a job rest after what it has in hand.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn pause(&self, id: Ulid, said: &Said) -> Result<(), ReplayError> {
        self.tell(said, &Event::JobPaused { job: id }).await
    }

    /// Ends a job. What it has in hand and is not durable yet stays dead.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn cancel(&self, id: Ulid, said: &Said) -> Result<(), ReplayError> {
        self.tell(said, &Event::JobCancelled { job: id }).await
    }

    /// Lets a job that is ours rest until somebody resumes or cancels it, for the reason `why`.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn halt(&self, id: Ulid, why: String) -> Result<(), ReplayError> {
        let mut state = self.log.load().await?;
        let actor = state.job(id).ok_or(ReplayError::NoJob(id))?.started.actor.clone();
        let said = Said::by((self.surroundings.now)(), &actor);
        let event = Event::JobHalted { job: id, owner: self.owner.clone(), why };
        match self.log.append(&mut state, &said, &event).await {
            // Cancelled, taken or halted meanwhile: it rests already.
            Ok(_) | Err(LogError::Conflict(Conflict::Is { .. } | Conflict::Taken(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn tell(&self, said: &Said, event: &Event) -> Result<(), ReplayError> {
        let mut state = self.log.load().await?;
        self.log.append(&mut state, said, event).await?;
        Ok(())
    }

    /// The newest jobs that are known, at most `limit`, the newest first.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn jobs(&self, limit: usize) -> Result<Vec<JobView>, ReplayError> {
        let state = self.log.load().await?;
        let mut views = Vec::new();
        for (&id, job) in state.jobs().iter().rev().take(limit) {
            views.push(self.view(id, job).await?);
        }
        Ok(views)
    }

    /// One job.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn job(&self, id: Ulid) -> Result<JobView, ReplayError> {
        let state = self.log.load().await?;
        let job = state.job(id).ok_or(ReplayError::NoJob(id))?;
        self.view(id, job).await
    }

    async fn view(&self, id: Ulid, job: &Job) -> Result<JobView, ReplayError> {
        let progress = match &job.status {
            JobStatus::Finished { counts } => Progress { done: job.letters, counts: *counts, ..Progress::default() },
            _ if job.destination == PIPELINE => self.progress(&job.pipeline, &job.plan, job.started.at).await?,
            _ => {
                let sent = broker::progress(&self.store, id).await.map_err(CourierError::from)?;
                Progress { done: sent.settled.len() as u64, counts: send::counts(&sent), ..Progress::default() }
            }
        };
        let process = (!job.status.is_over()).then(|| (self.liveness)(&job.owner));
        Ok(JobView { id, job: job.clone(), done: progress.done, counts: progress.counts, process })
    }

    /// Runs a job that is ours, until it ends, is taken away or `stop`.
    ///
    /// # Errors
    /// See [`ReplayError`]; the job stays as it is, and can be resumed.
    pub async fn run(
        &self,
        id: Ulid,
        options: ReplayOptions,
        stop: &Stop,
        watch: &dyn JobWatch,
    ) -> Result<JobEnd, ReplayError> {
        let state = self.log.load().await?;
        let job = state.job(id).ok_or(ReplayError::NoJob(id))?.clone();
        let plan = plan::read(&self.store, &job.plan).await?;
        let compiled = self.still_meant(&plan)?;
        let lines = Arc::new(plan.lines(&self.store).await?);
        let fix = plan.read_fix()?.map(|fix| Arc::new(fix.on(compiled.wires())));
        let (pace, destination) = (options.pace, plan.terms.destination.clone());
        let reins = Reins { replays: self, id, job, state, stop, watch };
        match destination {
            Destination::Pipeline => {}
            Destination::File { path } => {
                return FileRun { reins, plan, lines, fix, pace, path }.go_to_the_end().await;
            }
            Destination::Queue { .. } | Destination::Origin { .. } | Destination::Exchange { .. } => {
                return SendRun { reins, plan, lines, fix, pace }.go_to_the_end().await;
            }
        }
        let Some(parts) = self.parts(compiled, stop).await else { return Ok(JobEnd::Stopped(JobCounts::default())) };
        self.fence(&reins.state, id, &parts, stop).await?;
        let feed = Feed {
            records: Arc::clone(&self.records),
            pipeline: plan.terms.pipeline.clone(),
            lines: Arc::clone(&lines),
            recovered: None,
            fix,
            told: None,
            job: Some(id),
            canary: plan.terms.canary,
            pace,
            now: self.surroundings.now,
        };
        JobRun { reins, plan, parts, lines, feed }.go_to_the_end().await
    }

    /// The letters that jobs of `plan`, but for the job `but`, sent to a broker that took them.
    pub(super) async fn sent_for(
        &self,
        state: &State,
        plan: &str,
        but: Option<Ulid>,
    ) -> Result<HashSet<Ulid>, ReplayError> {
        let mut sent = HashSet::new();
        for (&id, _) in state.jobs().iter().filter(|(id, job)| job.plan == plan && Some(**id) != but) {
            let progress = broker::progress(&self.store, id).await.map_err(CourierError::from)?;
            sent.extend(progress.settled.into_iter().filter(|(_, fate)| *fate == Fate::Confirmed).map(|(id, _)| id));
        }
        Ok(sent)
    }

    async fn parts(&self, plan: Arc<ingest::Plan>, stop: &Stop) -> Option<ListParts> {
        let (config, surroundings) = (&self.config, self.surroundings.clone());
        let awaited = ingest::await_store(&self.store, &self.metrics, &surroundings, STORE_BACKOFF, stop);
        let capabilities = awaited.await?;
        let committer = Committer {
            log: FlushLog::new(self.store.clone(), capabilities, &config.instance),
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            surroundings: surroundings.clone(),
            pipeline: plan.config.name.clone(),
            owner: self.owner.clone(),
            put_concurrency: config.store.put_concurrency,
            backoff: STORE_BACKOFF,
            hold_max: None,
            spans: None,
        };
        Some(ListParts {
            metrics: self.metrics.pipeline(&plan.config.name, 1),
            plan,
            surroundings,
            committer: Arc::new(committer),
            flush_grace: config.run.flush_grace,
            liveness: Arc::clone(&self.liveness),
        })
    }

    /// Waits until no flush of an earlier job of the pipeline is open, and undoes those that stay: their owners were told to
    /// stop, and what they would still commit, we could give back a second time.
    async fn fence(&self, state: &State, ours: Ulid, parts: &ListParts, stop: &Stop) -> Result<(), ReplayError> {
        let (log, pipeline) = (&parts.committer.log, &parts.plan.config.name);
        let recently = (self.surroundings.now)() - 2 * self.config.run.flush_grace;
        let earlier = state.jobs().iter().filter(|(id, job)| {
            **id != ours && job.destination == PIPELINE && job.pipeline == *pipeline && job.changed.at >= recently
        });
        let plans: BTreeSet<&str> = earlier.map(|(_, job)| job.plan.as_str()).collect();
        for plan in plans {
            let began = Instant::now();
            loop {
                let mut open = log.of_file(pipeline, plan).await?;
                open.retain(|flush| matches!(flush.state, FlushState::Open(_)));
                if open.is_empty() || stop.drain.is_cancelled() {
                    break;
                }
                if began.elapsed() < self.config.run.look_up_patience {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                for flush in open {
                    let FlushState::Open(intent) = flush.state else { continue };
                    warn!(%pipeline, flush = %intent.flush, "a flush of an earlier replay is undone: its letters stay dead");
                    parts.committer.abort_flush(&flush.name, &intent, "another replay began").await?;
                }
            }
        }
        Ok(())
    }

    /// How far the letters of a plan have come, and what became of those given back since `since`.
    pub(super) async fn progress(
        &self,
        pipeline: &str,
        plan: &str,
        since: DateTime<Utc>,
    ) -> Result<Progress, ReplayError> {
        let flushes = FlushLog::reader(self.store.clone()).of_file(pipeline, plan).await?;
        let mut progress = Progress { done: Resume::of(&flushes).from.offset, ..Progress::default() };
        for flush in flushes {
            let start = flush.name.file_start().map_or(0, |(start, _)| start);
            let FlushState::Decided(Outcome { decided_at, verdict: Verdict::Committed(committed), .. }) = flush.state
            else {
                continue;
            };
            if decided_at < since {
                progress.before = progress.before.max(committed.end.map_or(0, |end| end.offset));
                continue;
            }
            progress.counts.recovered += committed.archived;
            progress.counts.failed += committed.dead_lettered;
            if start < FIRST {
                progress.first_failed += committed.dead_lettered;
            }
        }
        let done = progress.done;
        Ok(progress.through(done))
    }
}

impl Progress {
    /// The same, all letters up to `done` being done: those that are neither recovered nor failed were recovered before.
    pub fn through(mut self, done: u64) -> Self {
        let JobCounts { recovered, failed, .. } = self.counts;
        self.done = done;
        self.counts.skipped = done.saturating_sub(self.before + recovered + failed);
        self
    }
}
