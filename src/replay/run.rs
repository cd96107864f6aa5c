//! One run of a job through the pipeline: letters given back while the log lets it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ulid::Ulid;

use crate::broker::{Ended, Standing};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::{JobCounts, Log, LogError, State};
use crate::dlq::record::AttemptSource;
use crate::ingest::{List, ListError, ListParts, Origin, Place, Watch, chain, take_list};
use crate::receipt::Tally;
use crate::replay::ReplayError;
use crate::replay::canary::Canary;
use crate::replay::feed::Feed;
use crate::replay::job::{JobWatch, Progress};
use crate::replay::manifest::Line;
use crate::replay::plan::Plan;
use crate::replay::reins::{LOOK_EVERY, Pass, Reins, Run};
use crate::store::flush::Owner;

/// One run of a job.
pub(super) struct JobRun<'a> {
    pub reins: Reins<'a>,
    pub plan: Plan,
    pub parts: ListParts,
    pub lines: Arc<Vec<Line>>,
    pub feed: Feed,
}

#[async_trait]
impl<'a> Run<'a> for JobRun<'a> {
    fn reins(&mut self) -> &mut Reins<'a> {
        &mut self.reins
    }

    async fn pass(&mut self) -> Result<Pass, ReplayError> {
        let watching = match self.watching().await? {
            Ok(watching) => watching,
            Err(why) => return Ok(Pass::Halt(why)),
        };
        let replays = self.reins.replays;
        let feed = Feed { recovered: replays.passed_over(&self.plan).await?, ..self.feed.clone() };
        let standing = JobStanding {
            log: replays.log.clone(),
            state: tokio::sync::Mutex::new(self.reins.state.clone()),
            job: self.reins.id,
            owner: replays.owner.clone(),
        };
        let list = List {
            name: format!("replay of plan {}", self.plan.short()),
            digest: Some(self.plan.hash.clone()),
            origin: Origin { shard: 0, source: AttemptSource::Replay, file: None },
            standing: Some(Arc::new(standing)),
            open: Box::new(|from| feed.open(from)),
        };
        let leave = self.reins.leave();
        let taken = self.reins.while_it_runs(&leave, take_list(&self.parts, list, &leave, &watching)).await;
        match taken {
            Ok(report) if !report.stopped => {
                // A last stretch of nothing but recovered letters leaves no record.
                let total = self.lines.len() as u64;
                Ok(Pass::All(self.progress().await?.through(total).counts))
            }
            Ok(_) => Ok(watching.halted().map_or(Pass::Left, Pass::Halt)),
            // Cancelled, or taken by another: the log tells.
            Err(ListError::Lost { .. }) => Ok(Pass::Left),
            Err(error) => Err(error.into()),
        }
    }

    async fn counts(&self) -> Result<JobCounts, ReplayError> {
        Ok(self.progress().await?.counts)
    }
}

impl<'a> JobRun<'a> {
    /// Who looks on, or why the job is to halt instead.
    async fn watching(&self) -> Result<Result<Watching<'a>, String>, ReplayError> {
        let progress = self.progress().await?;
        let mut known: BTreeSet<GroupId> = self.plan.terms.groups.keys().cloned().collect();
        let halted_before = progress.done > 0 && self.reins.halted_before().await?;
        if self.plan.terms.canary && !halted_before && progress.first_failed > 0 {
            // Its process died before it could say so.
            return Ok(Err(format!("of the first {} letters {} failed again", progress.done, progress.first_failed)));
        }
        if halted_before {
            // Somebody saw these, and went on.
            let (given, _) = self.reins.replays.attempts.given().await?;
            known.extend(given.failed.keys().filter_map(|group| GroupId::parse(group)));
        }
        Ok(Ok(Watching {
            total: self.lines.len() as u64,
            canary: self.plan.terms.canary,
            strict: !halted_before,
            known,
            looking: Mutex::default(),
            watch: self.reins.watch,
        }))
    }

    async fn progress(&self) -> Result<Progress, ReplayError> {
        let Reins { replays, job, .. } = &self.reins;
        replays.progress(self.plan.terms.judge(), &self.plan.hash, job.started.at).await
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
