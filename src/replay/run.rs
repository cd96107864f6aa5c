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
use crate::ingest::{List, ListError, ListParts, Origin, Place, Stop, Watch, chain, take_list};
use crate::receipt::Tally;
use crate::replay::ReplayError;
use crate::replay::canary::Canary;
use crate::replay::feed::Feed;
use crate::replay::job::{JobEnd, JobWatch, Progress};
use crate::replay::manifest::Line;
use crate::replay::plan::Plan;
use crate::replay::reins::{LOOK_EVERY, Over, Reins};
use crate::store::flush::Owner;

/// One run of a job.
pub(super) struct JobRun<'a> {
    pub reins: Reins<'a>,
    pub plan: Plan,
    pub parts: ListParts,
    pub lines: Arc<Vec<Line>>,
    pub feed: Feed,
}

impl<'a> JobRun<'a> {
    pub async fn go_to_the_end(&mut self) -> Result<JobEnd, ReplayError> {
        loop {
            let over = match self.reins.over().await? {
                Some(over) => Some(over),
                None => self.go_on().await?,
            };
            if let Some(over) = over {
                return Ok(over.with(self.counts().await?));
            }
        }
    }

    /// Gives letters back until there are no more, or somebody is to decide; `None`: the log tells what is next.
    async fn go_on(&mut self) -> Result<Option<Over>, ReplayError> {
        let Some(watching) = self.watching().await? else { return Ok(None) };
        let replays = self.reins.replays;
        let recovered = replays.attempts.recovered().await?;
        let feed =
            Feed { recovered: Some(recovered).filter(|_| !self.plan.terms.selection.again()), ..self.feed.clone() };
        let standing = JobStanding {
            log: replays.log.clone(),
            state: tokio::sync::Mutex::new(self.reins.state.clone()),
            job: self.reins.id,
            owner: replays.owner.clone(),
        };
        let list = List {
            name: format!("replay of plan {}", self.plan.short()),
            sha256: Some(self.plan.hash.clone()),
            origin: Origin { shard: 0, source: AttemptSource::Replay, file: None },
            standing: Some(Arc::new(standing)),
            open: Box::new(|from| feed.open(from)),
        };
        let stop = self.reins.stop;
        let leave = Stop { drain: stop.drain.child_token(), halt: stop.halt.clone() };
        let taken = self.reins.while_it_runs(&leave, take_list(&self.parts, list, &leave, &watching)).await;
        match taken {
            Ok(report) if !report.stopped => {
                // A last stretch of nothing but recovered letters leaves no record.
                let total = self.lines.len() as u64;
                let counts = self.progress().await?.through(total).counts;
                self.reins.finish(counts).await.map(|()| None)
            }
            Ok(_) => match watching.halted() {
                Some(why) => self.reins.halt(why).await.map(|()| None),
                None if stop.drain.is_cancelled() => Ok(Some(Over::Stopped)),
                None => Ok(None),
            },
            // Cancelled, or taken by another: the log tells.
            Err(ListError::Lost { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Who looks on; `None` when the job is halted instead.
    async fn watching(&mut self) -> Result<Option<Watching<'a>>, ReplayError> {
        let progress = self.progress().await?;
        let mut known: BTreeSet<GroupId> = self.plan.terms.groups.keys().cloned().collect();
        let halted_before = progress.done > 0 && self.reins.halted_before().await?;
        if self.plan.terms.canary && !halted_before && progress.first_failed > 0 {
            // Its process died before it could say so.
            let why = format!("of the first {} letters {} failed again", progress.done, progress.first_failed);
            self.reins.halt(why).await?;
            return Ok(None);
        }
        if halted_before {
            // Somebody saw these, and went on.
            let (given, _) = self.reins.replays.attempts.given().await?;
            known.extend(given.failed.keys().filter_map(|group| GroupId::parse(group)));
        }
        Ok(Some(Watching {
            total: self.lines.len() as u64,
            canary: self.plan.terms.canary,
            strict: !halted_before,
            known,
            looking: Mutex::default(),
            watch: self.reins.watch,
        }))
    }

    async fn counts(&self) -> Result<JobCounts, ReplayError> {
        Ok(self.progress().await?.counts)
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
