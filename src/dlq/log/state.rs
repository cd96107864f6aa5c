//! The log folded up: what was said of groups, and where jobs are. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::entry::{AsOf, BEFORE_ALL, Entry, Event, JobCounts, Said};
use crate::dlq::fingerprint::GroupId;
use crate::store::flush::Owner;

/// The destination of jobs that go through the pipeline itself; of each pipeline only one at a time is under way.
pub const PIPELINE: &str = "pipeline";

/// Jobs that are over and still in the state, the newest; the log has all of them.
pub const JOBS_OVER_MAX: usize = 1_000;

/// The log up to one of its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    seq: u64,
    /// SHA-256 of the entry `seq`, in hex.
    head: String,
    groups: BTreeMap<GroupId, Life>,
    #[serde(with = "by_ulid")]
    jobs: BTreeMap<Ulid, Job>,
}

/// What was said of a group last. Where the group stands depends on its letters as well: see
/// [`crate::dlq::life::standing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    #[serde(flatten)]
    pub said: Said,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Acknowledged { owner: Option<String>, note: Option<String> },
    Resolved { as_of: AsOf },
    Ignored,
    Reopened,
}

/// A replay, under way or over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub plan: String,
    pub pipeline: String,
    pub destination: String,
    pub letters: u64,
    /// Whose it is now.
    pub owner: Owner,
    pub started: Said,
    pub status: JobStatus,
    /// Of the last change of owner or status.
    pub changed: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Running,
    Paused,
    /// It stopped by itself.
    Halted {
        why: String,
    },
    Cancelled,
    Finished {
        counts: JobCounts,
    },
}

impl JobStatus {
    /// Whether nothing will come of it any more. A halted or paused job can be resumed.
    pub const fn is_over(&self) -> bool {
        matches!(self, JobStatus::Cancelled | JobStatus::Finished { .. })
    }

    pub const fn as_str(&self) -> &'static str {
        match self {
            JobStatus::Running => "running",
            JobStatus::Paused => "paused",
            JobStatus::Halted { .. } => "halted",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Finished { .. } => "finished",
        }
    }
}

/// Why something cannot happen now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("job {0} was started already")]
    Started(Ulid),
    #[error("job {0} of the same plan is not over: resume or cancel it")]
    PlanBusy(Ulid),
    #[error("job {job} goes through pipeline {pipeline} and is not over: wait for it, or cancel it")]
    PipelineBusy { job: Ulid, pipeline: String },
    #[error("there is no job {0}")]
    NoJob(Ulid),
    #[error("job {job} is {status} already")]
    Is { job: Ulid, status: &'static str },
    #[error("job {0} is another process's by now")]
    Taken(Ulid),
    #[error("the event is of a newer program")]
    Unknown,
}

impl Default for State {
    /// Before the first entry.
    fn default() -> Self {
        Self { seq: 0, head: BEFORE_ALL.to_owned(), groups: BTreeMap::new(), jobs: BTreeMap::new() }
    }
}

impl State {
    /// The number of the last entry; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// SHA-256 of the last entry, in hex: it stands for the whole log up to there.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// What was said of a group last, if anything was.
    pub fn life(&self, group: &GroupId) -> Option<&Life> {
        self.groups.get(group)
    }

    pub fn groups(&self) -> &BTreeMap<GroupId, Life> {
        &self.groups
    }

    /// Every job that is not over, and the newest [`JOBS_OVER_MAX`] of the others; by their ids, which is by time.
    pub fn jobs(&self) -> &BTreeMap<Ulid, Job> {
        &self.jobs
    }

    pub fn job(&self, job: Ulid) -> Option<&Job> {
        self.jobs.get(&job)
    }

    /// Whether `event` may come next.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, event: &Event) -> Result<(), Conflict> {
        match event {
            Event::JobStarted { job, plan, pipeline, destination, .. } => {
                if self.jobs.contains_key(job) {
                    return Err(Conflict::Started(*job));
                }
                for (other, found) in self.jobs.iter().filter(|(_, found)| !found.status.is_over()) {
                    if found.plan == *plan {
                        return Err(Conflict::PlanBusy(*other));
                    }
                    let both = found.destination == PIPELINE && destination == PIPELINE;
                    if both && found.pipeline == *pipeline {
                        return Err(Conflict::PipelineBusy { job: *other, pipeline: pipeline.clone() });
                    }
                }
                Ok(())
            }
            Event::JobTaken { job, from, .. } => self.owned(*job, from).map(drop),
            Event::JobPaused { job } => match self.under_way(*job)?.status {
                JobStatus::Running => Ok(()),
                ref other => Err(Conflict::Is { job: *job, status: other.as_str() }),
            },
            Event::JobResumed { job } => match self.under_way(*job)?.status {
                JobStatus::Running => Err(Conflict::Is { job: *job, status: JobStatus::Running.as_str() }),
                _ => Ok(()),
            },
            Event::JobCancelled { job } => self.under_way(*job).map(drop),
            Event::JobHalted { job, owner, .. } | Event::JobFinished { job, owner, .. } => {
                self.owned(*job, owner).map(drop)
            }
            Event::Unknown(_) => Err(Conflict::Unknown),
            Event::GroupAcknowledged { .. }
            | Event::GroupResolved { .. }
            | Event::GroupIgnored { .. }
            | Event::GroupReopened { .. }
            | Event::Planned { .. }
            | Event::PayloadRead { .. }
            | Event::Removed { .. } => Ok(()),
        }
    }

    fn under_way(&self, job: Ulid) -> Result<&Job, Conflict> {
        let found = self.jobs.get(&job).ok_or(Conflict::NoJob(job))?;
        match found.status.is_over() {
            true => Err(Conflict::Is { job, status: found.status.as_str() }),
            false => Ok(found),
        }
    }

    fn owned(&self, job: Ulid, by: &Owner) -> Result<&Job, Conflict> {
        let found = self.under_way(job)?;
        if found.owner == *by { Ok(found) } else { Err(Conflict::Taken(job)) }
    }

    /// Takes the entry `entry`, which is the next one and has that hash. One that is not allowed stands in the log all
    /// the same, and changes nothing: everybody folds alike.
    pub(super) fn take(&mut self, entry: Entry, hash: String) {
        let Entry { seq, said, event, .. } = entry;
        let allowed = self.allows(&event).is_ok();
        (self.seq, self.head) = (seq, hash);
        if allowed {
            self.fold(said, event);
        }
    }

    fn fold(&mut self, said: Said, event: Event) {
        match event {
            Event::GroupAcknowledged { group, owner, note } => {
                self.decided(group, said, Verdict::Acknowledged { owner, note });
            }
            Event::GroupResolved { group, as_of } => self.decided(group, said, Verdict::Resolved { as_of }),
            Event::GroupIgnored { group } => self.decided(group, said, Verdict::Ignored),
            Event::GroupReopened { group } => self.decided(group, said, Verdict::Reopened),
            Event::JobStarted { job, plan, pipeline, destination, letters, owner } => {
                let (status, changed) = (JobStatus::Running, said.clone());
                let started = Job { plan, pipeline, destination, letters, owner, started: said, status, changed };
                self.jobs.insert(job, started);
            }
            Event::JobTaken { job, owner, .. } => self.change(job, said, |job| job.owner = owner),
            Event::JobPaused { job } => self.change(job, said, |job| job.status = JobStatus::Paused),
            Event::JobResumed { job } => self.change(job, said, |job| job.status = JobStatus::Running),
            Event::JobCancelled { job } => self.change(job, said, |job| job.status = JobStatus::Cancelled),
            Event::JobHalted { job, why, .. } => self.change(job, said, |job| job.status = JobStatus::Halted { why }),
            Event::JobFinished { job, counts, .. } => {
                self.change(job, said, |job| job.status = JobStatus::Finished { counts });
            }
            Event::Planned { .. } | Event::PayloadRead { .. } | Event::Removed { .. } | Event::Unknown(_) => {}
        }
    }

    fn decided(&mut self, group: GroupId, said: Said, verdict: Verdict) {
        self.groups.insert(group, Life { said, verdict });
    }

    fn change(&mut self, job: Ulid, said: Said, change: impl FnOnce(&mut Job)) {
        let Some(found) = self.jobs.get_mut(&job) else { return };
        change(found);
        found.changed = said;
        let over = self.jobs.iter().filter(|(_, job)| job.status.is_over());
        if over.clone().count() > JOBS_OVER_MAX
            && let Some(oldest) = over.map(|(id, _)| *id).next()
        {
            self.jobs.remove(&oldest);
        }
    }
}

/// A map with ULIDs as texts.
mod by_ulid {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use ulid::Ulid;

    use super::Job;

    pub fn serialize<S: Serializer>(jobs: &BTreeMap<Ulid, Job>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(jobs.iter().map(|(id, job)| (id.to_string(), job)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Ulid, Job>, D::Error> {
        let texts = BTreeMap::<String, Job>::deserialize(deserializer)?;
        let parsed = texts.into_iter().map(|(id, job)| Ok((Ulid::from_string(&id).map_err(Error::custom)?, job)));
        parsed.collect()
    }
}
