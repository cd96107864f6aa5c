//! Flow 2: dead letters, mended, on their way back to where they should have gone.

pub mod broker; // through a broker
mod canary; // a few letters before many
pub mod candidate; // a schema that is tried before it is anybody's
pub mod destination; // where letters go
mod dry_run; // what a plan would do, without doing it
mod feed; // letters as a list of deliveries
pub mod fix; // what is changed in a letter before it goes back; pure
mod good; // the same mend over good events
mod job; // a replay: started, watched, ended
mod letters; // the letters of a plan, read in their order
pub mod manifest; // which letters, in which order
mod pace; // how fast
pub mod plan; // what was decided on, frozen
mod planning; // a plan from what was asked for
mod reins; // what the log says of a job while it runs
mod report; // what a dry run found
mod run; // one run of a job, through the pipeline
mod send; // to a broker
mod tasks; // in a process that does other things, too
mod to_file; // into a file

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

pub use canary::Canary;
pub use dry_run::{DryRunOptions, DryRunWatch, GOOD_EVENTS};
pub use job::{JobEnd, JobView, JobWatch, ReplayOptions, Resumed, Start, Unwatched};
pub use letters::LettersError;
pub use pace::Pace;
pub use planning::{PlanRequest, Planned, PlanningError};
pub use report::{
    ArchivedAlready, ChangeCount, DryRunReport, GoodReport, GroupCount, OldGroup, PartitionCount, ReasonCount,
};
pub use tasks::{DryRun, TaskError, Tasks};

use crate::config::{self, Config};
use crate::dlq::attempts::{Attempts, AttemptsError, Recovered};
use crate::dlq::log::{Log, LogError};
use crate::dlq::records::Records;
use crate::ingest::{self, ListError, LookAt, Surroundings};
use crate::metrics::Metrics;
use crate::replay::broker::CourierError;
use crate::replay::candidate::CandidateError;
use crate::replay::plan::PlanError;
use crate::schema::Language;
use crate::store::flush::{FlushError, Owner};
use crate::store::{Store, StoreError};

/// Compiles a pipeline of the configuration; schemas are files, which only the rim reads.
pub type Compile = Arc<dyn Fn(&config::Pipeline) -> Result<Arc<ingest::Plan>, ingest::PlanError> + Send + Sync>;

/// A file that has its name only when it is finished; one that is dropped before is gone.
pub trait Draft: Write + Send {
    /// # Errors
    /// As the file system says; also when there is such a file by now.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Begins a file on this machine; one that is there already is an error. Lent by the rim.
pub type OpenDraft = Arc<dyn Fn(&Path) -> io::Result<Box<dyn Draft>> + Send + Sync>;

/// What plans, dry runs and replays run on; lent by the rim. Cloning is cheap.
#[derive(Clone)]
pub struct Replays {
    pub config: Arc<Config>,
    pub store: Store,
    pub log: Log,
    pub records: Arc<Records>,
    pub attempts: Arc<Attempts>,
    pub surroundings: Surroundings,
    pub broker: crate::broker::Surroundings,
    pub draft: OpenDraft,
    pub owner: Owner,
    pub liveness: LookAt,
    pub compile: Compile,
    /// Of replays only: the ledger of a pipeline is about its queue.
    pub metrics: Arc<Metrics>,
}

/// Why something about a replay cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Planning(#[from] PlanningError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    #[error("there is no pipeline {0} in the configuration")]
    NoPipeline(String),
    #[error("no pipeline of the configuration judges the letters of {0}: only whoever takes them can tell")]
    Unjudged(String),
    #[error(transparent)]
    Compile(#[from] ingest::PlanError),
    #[error("plan {plan} was made for another state of things: {}; make a new one", differences.join("; "))]
    Outdated { plan: String, differences: Vec<String> },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("there is no job {0}: `parqueduct dlq jobs` shows which there are")]
    NoJob(Ulid),
    #[error("job {job} is {status} already")]
    Over { job: Ulid, status: &'static str },
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Courier(#[from] CourierError),
    #[error("stopped before the end")]
    Stopped,
}

/// Does work that keeps a thread busy, beside the async ones; a panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

impl Replays {
    /// The letters that a replay or a trial of `plan` passes over: those that are recovered, unless they are meant.
    async fn passed_over(&self, plan: &plan::Plan) -> Result<Option<Arc<Recovered>>, ReplayError> {
        match plan.terms.selection.again() {
            true => Ok(None),
            false => Ok(Some(self.attempts.recovered().await?)),
        }
    }

    /// What the schema of that pipeline is written in, the one called `schema` if it has several; JSON Schema, if there is
    /// none.
    pub fn language_of(&self, pipeline: &str, schema: &str) -> Language {
        let events = self.config.pipeline(pipeline).map_or(&[][..], |pipeline| &pipeline.events);
        let named = events.iter().find(|event| event.schema_name == schema);
        named.or(events.first()).map(ingest::language).unwrap_or_default()
    }

    /// The pipeline as it is configured now, compiled.
    ///
    /// # Errors
    /// [`ReplayError::NoPipeline`], [`ReplayError::Compile`].
    fn compiled(&self, pipeline: &str) -> Result<Arc<ingest::Plan>, ReplayError> {
        let config = self.config.pipeline(pipeline).ok_or_else(|| ReplayError::NoPipeline(pipeline.to_owned()))?;
        Ok((self.compile)(config)?)
    }

    /// The plan whose hash begins with `prefix`.
    ///
    /// # Errors
    /// [`ReplayError::Plan`].
    pub async fn read_plan(&self, prefix: &str) -> Result<plan::Plan, ReplayError> {
        Ok(plan::read(&self.store, prefix).await?)
    }

    /// What the plan compiles to, if it still is what was decided on.
    ///
    /// # Errors
    /// [`ReplayError::Outdated`] says what is not as it was.
    fn still_meant(&self, plan: &plan::Plan) -> Result<Arc<ingest::Plan>, ReplayError> {
        let current = self.compiled(plan.terms.judge())?;
        let candidate = plan.terms.candidate.as_ref();
        let differences = plan.terms.against.differences(&plan::Against::now(&current), candidate);
        if !differences.is_empty() {
            return Err(ReplayError::Outdated { plan: plan.short().to_owned(), differences });
        }
        Ok(candidate::compiled(current, candidate)?)
    }
}
