//! What the log says of a job while it runs: whether it may go on, and what is to be said of it there.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tracing::{info, warn};
use ulid::Ulid;

use crate::dlq::log::{Conflict, Event, Job, JobCounts, JobStatus, LogError, Said, State};
use crate::ingest::{Stop, chain};
use crate::replay::job::{JobEnd, JobWatch};
use crate::replay::{ReplayError, Replays};

/// How often the log is asked whether the job may go on.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One run of a job, as the log has it.
pub(super) struct Reins<'a> {
    pub replays: &'a Replays,
    pub id: Ulid,
    pub job: Job,
    pub state: State,
    pub stop: &'a Stop,
    pub watch: &'a dyn JobWatch,
}

/// How a run is over.
pub(super) enum Over {
    Finished(JobCounts),
    Halted(String),
    Cancelled,
    Stopped,
    Taken,
}

/// How one go over the letters of a job ended.
pub(super) enum Pass {
    /// With so much done in all.
    All(JobCounts),
    /// It was to stop, or the log does not let the job go on: the log tells which.
    Left,
    /// Somebody is to decide, for this reason.
    Halt(String),
}

/// One run of a job, wherever its letters go.
#[async_trait]
pub(super) trait Run<'a>: Send {
    fn reins(&mut self) -> &mut Reins<'a>;

    /// Gives letters back until there are no more, or somebody is to decide.
    async fn pass(&mut self) -> Result<Pass, ReplayError>;

    /// What is done so far.
    async fn counts(&self) -> Result<JobCounts, ReplayError>;

    async fn go_to_the_end(&mut self) -> Result<JobEnd, ReplayError> {
        loop {
            let over = match self.reins().over().await? {
                Some(over) => Some(over),
                None => {
                    let pass = self.pass().await?;
                    self.reins().conclude(pass).await?
                }
            };
            if let Some(over) = over {
                return Ok(over.with(self.counts().await?));
            }
        }
    }
}

impl Over {
    /// `counts` are those so far.
    pub fn with(self, counts: JobCounts) -> JobEnd {
        match self {
            Over::Finished(counts) => JobEnd::Finished(counts),
            Over::Halted(why) => JobEnd::Halted { why, counts },
            Over::Cancelled => JobEnd::Cancelled(counts),
            Over::Stopped => JobEnd::Stopped(counts),
            Over::Taken => JobEnd::Taken,
        }
    }
}

/// Lets time pass; `false`: it is to leave.
pub(super) async fn rest(time: Duration, leave: &Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => !leave.drain.is_cancelled(),
        () = leave.drain.cancelled() => false,
    }
}

impl Reins<'_> {
    /// Waits while the job is paused; `None`: it may go on.
    pub async fn over(&mut self) -> Result<Option<Over>, ReplayError> {
        let mut told_paused = false;
        loop {
            self.replays.log.refresh(&mut self.state).await?;
            let Some(job) = self.state.job(self.id) else { return Err(ReplayError::NoJob(self.id)) };
            return Ok(Some(match &job.status {
                JobStatus::Cancelled => Over::Cancelled,
                JobStatus::Finished { counts } => Over::Finished(*counts),
                _ if job.owner != self.replays.owner => Over::Taken,
                JobStatus::Halted { why } => Over::Halted(why.clone()),
                JobStatus::Paused => {
                    if !std::mem::replace(&mut told_paused, true) {
                        self.watch.paused();
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LOOK_EVERY) => continue,
                        () = self.stop.drain.cancelled() => Over::Stopped,
                    }
                }
                JobStatus::Running => return Ok(None),
            }));
        }
    }

    /// Writes into the log how a pass ended; `None`: the log tells what is next.
    async fn conclude(&mut self, pass: Pass) -> Result<Option<Over>, ReplayError> {
        match pass {
            Pass::All(counts) => self.finish(counts).await?,
            Pass::Halt(why) => self.halt(why).await?,
            Pass::Left if self.stop.drain.is_cancelled() => return Ok(Some(Over::Stopped)),
            Pass::Left => {}
        }
        Ok(None)
    }

    /// A stop of its own for one pass; see [`Reins::while_it_runs`].
    pub fn leave(&self) -> Stop {
        Stop { drain: self.stop.drain.child_token(), halt: self.stop.halt.clone() }
    }

    /// Does `work`, and cancels `leave` when the log says that the job is not to go on.
    pub async fn while_it_runs<T>(&self, leave: &Stop, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.leave_when_told(leave) => unreachable!("it only tells"),
        }
    }

    /// Never ends; cancels `leave` when the log says that the job is not to go on.
    async fn leave_when_told(&self, leave: &Stop) {
        let mut state = self.state.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.replays.log.refresh(&mut state).await {
                warn!(job = %self.id, error = chain(&error), "the log cannot be read: whether the job is to stop is not known");
                continue;
            }
            let runs = state
                .job(self.id)
                .is_some_and(|job| job.owner == self.replays.owner && job.status == JobStatus::Running);
            if !runs {
                leave.drain.cancel();
                return std::future::pending().await;
            }
        }
    }

    /// Whether it halted before, and somebody let it go on.
    pub async fn halted_before(&self) -> Result<bool, ReplayError> {
        let mut entries = self.replays.log.entries(0);
        while let Some(found) = entries.try_next().await? {
            if matches!(&found.entry.event, Event::JobHalted { job, .. } if *job == self.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn halt(&mut self, why: String) -> Result<(), ReplayError> {
        warn!(job = %self.id, why, "replay halted: resume or cancel it");
        let event = Event::JobHalted { job: self.id, owner: self.replays.owner.clone(), why };
        self.append(&event).await
    }

    async fn finish(&mut self, counts: JobCounts) -> Result<(), ReplayError> {
        info!(job = %self.id, ?counts, "replay finished");
        self.append(&Event::JobFinished { job: self.id, owner: self.replays.owner.clone(), counts }).await
    }

    /// Appends what we found; when somebody was first, the log tells what is next.
    async fn append(&mut self, event: &Event) -> Result<(), ReplayError> {
        let said = Said { at: (self.replays.surroundings.now)(), actor: self.job.started.actor.clone(), reason: None };
        match self.replays.log.append(&mut self.state, &said, event).await {
            Ok(_) | Err(LogError::Conflict(Conflict::Is { .. } | Conflict::Taken(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
