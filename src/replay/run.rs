//! One run of a job: letters given back while the log lets it, and what is found on the way said there.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tracing::{info, warn};
use ulid::Ulid;

use crate::broker::{Ended, Standing};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::{Conflict, Event, Job, JobCounts, JobStatus, Log, LogError, Said, State};
use crate::dlq::record::AttemptSource;
use crate::ingest::{List, ListError, ListParts, Origin, Place, Stop, Watch, chain, take_list};
use crate::receipt::Tally;
use crate::replay::canary::Canary;
use crate::replay::feed::Feed;
use crate::replay::job::{JobEnd, JobWatch};
use crate::replay::manifest::Line;
use crate::replay::plan::Plan;
use crate::replay::{ReplayError, Replays};
use crate::store::flush::Owner;

/// How often the log is asked whether the job may go on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One run of a job.
pub(super) struct JobRun<'a> {
    pub replays: &'a Replays,
    pub id: Ulid,
    pub job: Job,
    pub plan: Plan,
    pub parts: ListParts,
    pub lines: Arc<Vec<Line>>,
    pub feed: Feed,
    pub state: State,
    pub stop: &'a Stop,
    pub watch: &'a dyn JobWatch,
}

impl<'a> JobRun<'a> {
    pub async fn go_to_the_end(&mut self) -> Result<JobEnd, ReplayError> {
        let log = self.replays.log.clone();
        let mut told_paused = false;
        loop {
            log.refresh(&mut self.state).await?;
            let Some(job) = self.state.job(self.id) else { return Err(ReplayError::NoJob(self.id)) };
            match &job.status {
                JobStatus::Cancelled => return Ok(JobEnd::Cancelled(self.counts().await?)),
                JobStatus::Finished { counts } => return Ok(JobEnd::Finished(*counts)),
                _ if job.owner != self.replays.owner => return Ok(JobEnd::Taken),
                JobStatus::Halted { why } => {
                    return Ok(JobEnd::Halted { why: why.clone(), counts: self.counts().await? });
                }
                JobStatus::Paused => {
                    if !std::mem::replace(&mut told_paused, true) {
                        self.watch.paused();
                    }
                    if !self.rest().await {
                        return Ok(JobEnd::Stopped(self.counts().await?));
                    }
                }
                JobStatus::Running => {
                    told_paused = false;
                    if let Some(end) = self.go_on().await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// `false`: asked to stop.
    async fn rest(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => true,
            () = self.stop.drain.cancelled() => false,
        }
    }

    /// Gives letters back until there are no more, or somebody is to decide; `None`: the log tells what is next.
    async fn go_on(&mut self) -> Result<Option<JobEnd>, ReplayError> {
        let Some(watching) = self.watching().await? else { return Ok(None) };
        let pipeline = &self.plan.terms.pipeline;
        let recovered = self.replays.attempts.recovered(pipeline).await?;
        let feed =
            Feed { recovered: Some(recovered).filter(|_| !self.plan.terms.selection.again()), ..self.feed.clone() };
        let standing = JobStanding {
            log: self.replays.log.clone(),
            state: tokio::sync::Mutex::new(self.state.clone()),
            job: self.id,
            owner: self.replays.owner.clone(),
        };
        let list = List {
            name: format!("replay of plan {}", self.plan.short()),
            sha256: Some(self.plan.hash.clone()),
            origin: Origin { shard: 0, source: AttemptSource::Replay, file: None },
            standing: Some(Arc::new(standing)),
            open: Box::new(|from| feed.open(from)),
        };
        let leave = Stop { drain: self.stop.drain.child_token(), halt: self.stop.halt.clone() };
        let taken = tokio::select! {
            taken = take_list(&self.parts, list, &leave, &watching) => taken,
            () = self.leave_when_told(&leave) => unreachable!("it only tells"),
        };
        match taken {
            Ok(report) if !report.stopped => self.finish().await,
            Ok(_) => match watching.halted() {
                Some(why) => self.halt(why).await.map(|()| None),
                None if self.stop.drain.is_cancelled() => Ok(Some(JobEnd::Stopped(self.counts().await?))),
                None => Ok(None),
            },
            // Cancelled, or taken by another: the log tells.
            Err(ListError::Lost { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Who looks on; `None` when the job is halted instead.
    async fn watching(&mut self) -> Result<Option<Watching<'a>>, ReplayError> {
        let (pipeline, plan) = (&self.plan.terms.pipeline, &self.plan.hash);
        let progress = self.replays.progress(pipeline, plan, self.job.started.at).await?;
        let mut known: BTreeSet<GroupId> = self.plan.terms.groups.keys().cloned().collect();
        let halted_before = progress.done > 0 && self.halted_before().await?;
        if self.plan.terms.canary && !halted_before && progress.first_failed > 0 {
            // Its process died before it could say so.
            self.halt(format!("of the first {} letters {} failed again", progress.done, progress.first_failed)).await?;
            return Ok(None);
        }
        if halted_before {
            // Somebody saw these, and went on.
            let (given, _) = self.replays.attempts.given(pipeline).await?;
            known.extend(given.failed.keys().filter_map(|group| GroupId::parse(group)));
        }
        Ok(Some(Watching {
            total: self.lines.len() as u64,
            canary: self.plan.terms.canary,
            strict: !halted_before,
            known,
            looking: Mutex::default(),
            watch: self.watch,
        }))
    }

    async fn halted_before(&self) -> Result<bool, ReplayError> {
        let mut entries = self.replays.log.entries(0);
        while let Some(found) = entries.try_next().await? {
            if matches!(&found.entry.event, Event::JobHalted { job, .. } if *job == self.id) {
                return Ok(true);
            }
        }
        Ok(false)
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

    async fn halt(&mut self, why: String) -> Result<(), ReplayError> {
        warn!(job = %self.id, why, "replay halted: resume or cancel it");
        let event = Event::JobHalted { job: self.id, owner: self.replays.owner.clone(), why };
        self.append(&event).await
    }

    async fn finish(&mut self) -> Result<Option<JobEnd>, ReplayError> {
        let (pipeline, plan) = (&self.plan.terms.pipeline, &self.plan.hash);
        // A last stretch of nothing but recovered letters leaves no record.
        let total = self.lines.len() as u64;
        let counts = self.replays.progress(pipeline, plan, self.job.started.at).await?.through(total).counts;
        info!(job = %self.id, recovered = counts.recovered, failed = counts.failed, skipped = counts.skipped, "replay finished");
        self.append(&Event::JobFinished { job: self.id, owner: self.replays.owner.clone(), counts }).await?;
        Ok(None)
    }

    /// Appends what we found; when somebody was first, the log tells what is next.
    async fn append(&mut self, event: &Event) -> Result<(), ReplayError> {
        let said = Said { at: (self.replays.surroundings.now)(), actor: self.job.started.actor.clone(), reason: None };
        match self.replays.log.append(&mut self.state, &said, event).await {
            Ok(_) | Err(LogError::Conflict(Conflict::Is { .. } | Conflict::Taken(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn counts(&self) -> Result<JobCounts, ReplayError> {
        let (pipeline, plan) = (&self.plan.terms.pipeline, &self.plan.hash);
        Ok(self.replays.progress(pipeline, plan, self.job.started.at).await?.counts)
    }
}

/// Looks on while the letters of a job are judged.
struct Watching<'a> {
    total: u64,
    canary: bool,
    strict: bool,
    known: BTreeSet<GroupId>,
    looking: Mutex<Looking>,
    watch: &'a dyn JobWatch,
}

#[derive(Default)]
struct Looking {
    canary: Option<Canary>,
    halted: Option<String>,
}

impl Watching<'_> {
    fn halted(&self) -> Option<String> {
        self.looking().halted.take()
    }

    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Watching<'_> {
    fn begins(&self, place: Place) {
        if self.canary {
            self.looking().canary = Some(Canary::new(place.items, self.total, self.known.clone(), self.strict));
        }
        self.watch.begins(place.items, self.total);
    }

    fn judged(&self, deliveries: usize, failed: Vec<Vec<GroupId>>) -> ControlFlow<()> {
        let mut looking = self.looking();
        let Some(canary) = &mut looking.canary else { return ControlFlow::Continue(()) };
        match canary.judged(deliveries as u64, &failed) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                looking.halted = Some(why);
                ControlFlow::Break(())
            }
        }
    }

    fn durable(&self, place: Place, tally: &Tally) {
        self.watch.advances(place.items, tally);
    }
}

/// Whether the log still gives a job to its owner.
struct JobStanding {
    log: Log,
    state: tokio::sync::Mutex<State>,
    job: Ulid,
    owner: Owner,
}

#[async_trait]
impl Standing for JobStanding {
    async fn confirm(&self) -> Result<(), Ended> {
        let mut state = self.state.lock().await;
        let withdrawn = |reason: String| Err(Ended::Withdrawn { reason });
        loop {
            match self.log.refresh(&mut state).await {
                Ok(()) => break,
                // Nothing is committed until it answers; then it is asked again.
                Err(LogError::Store(failure)) if failure.is_unavailable() => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return withdrawn(chain(&error)),
            }
        }
        match state.job(self.job) {
            Some(job) if job.status.is_over() => withdrawn(format!("job {} is {}", self.job, job.status.as_str())),
            Some(job) if job.owner == self.owner => Ok(()),
            _ => withdrawn(format!("job {} is another process's by now", self.job)),
        }
    }
}
