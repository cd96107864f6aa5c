//! Schemas that change while they are in use. Their files are looked at again and again; what two looks in turn find, and is
//! not what is in use, is compiled, and taken or refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use crate::app::{api, compile_through};
use crate::config::{self, Config};
use crate::dlq::veil::Veil;
use crate::ingest::{Difference, Plan, PlanError, Plans, Schemas, SuccessionError, chain};
use crate::metrics::{Metrics, PipelineMetrics, Reload};
use crate::schema::ReadFile;

/// Columns that a log line names.
const NAMED_MAX: usize = 10;

/// By path the SHA-256 of what a file holds; `None`: it cannot be read.
type Files = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// A pipeline's plan and what goes with it, always those in use.
#[derive(Clone)]
pub(super) struct InUse {
    pub metrics: Arc<PipelineMetrics>,
    pub plans: Plans,
    /// What viewers do not see of its dead letters.
    pub veils: watch::Receiver<Arc<Veil>>,
}

/// A pipeline's plan in use, and what comes in its place.
pub(super) struct Seat {
    config: Arc<Config>,
    pub pipeline: config::Pipeline,
    pub metrics: Arc<PipelineMetrics>,
    plans: watch::Sender<Arc<Plan>>,
    veils: watch::Sender<Arc<Veil>>,
    schemas: Option<Arc<Schemas>>,
}

impl Seat {
    /// Seats what `compile` makes of `pipeline`.
    fn new(
        config: &Arc<Config>,
        pipeline: &config::Pipeline,
        metrics: &Metrics,
        schemas: Option<Arc<Schemas>>,
        plan: Plan,
        veil: Veil,
    ) -> (Self, InUse) {
        let counted = metrics.pipeline(&pipeline.name, usize::from(pipeline.shards));
        let (veils, veils_in_use) = watch::channel(Arc::new(veil));
        let (plans, plans_in_use) = watch::channel(Arc::new(plan));
        let seat = Self {
            config: Arc::clone(config),
            pipeline: pipeline.clone(),
            metrics: Arc::clone(&counted),
            plans,
            veils,
            schemas,
        };
        (seat, InUse { metrics: counted, plans: plans_in_use, veils: veils_in_use })
    }

    /// A seat that is kept free until the schema is learned: the plan in it judges nothing.
    ///
    /// # Errors
    /// What is wrong with the pipeline, whatever its schema.
    pub fn kept_free(
        config: &Arc<Config>,
        pipeline: &config::Pipeline,
        metrics: &Metrics,
    ) -> Result<(Self, InUse), PlanError> {
        let plan = compile_through(config, pipeline, &|_| Ok(b"{}".to_vec()), None)?;
        Ok(Self::new(config, pipeline, metrics, None, plan, Veil::of_unknown(&config.dlq.mask)))
    }

    /// The pipeline with its schema read through `read`.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn compile(&self, read: ReadFile<'_>) -> Result<Plan, PlanError> {
        compile_through(&self.config, &self.pipeline, read, self.schemas.clone())
    }

    /// Gives the seat to `plan`, the first that judges.
    pub fn give(&self, plan: Plan) {
        self.veils.send_replace(Arc::new(api::veil(&self.config.dlq.mask, &plan)));
        self.plans.send_replace(Arc::new(plan));
    }

    /// The plan in use.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plans.borrow())
    }

    /// What changes with `plan`.
    ///
    /// # Errors
    /// Why it cannot follow the one in use.
    pub fn succeeded_by(&self, plan: &Plan) -> Result<Vec<Difference>, SuccessionError> {
        self.plans.borrow().succeeded_by(plan)
    }

    /// Takes `plan` in the place of the one in use; `false`: it says the same.
    pub fn take(&self, plan: Plan, differences: &[Difference]) -> bool {
        self.metrics.set_schema_refused(false);
        for Difference { label, comparison } in differences {
            info!(
                pipeline = %self.pipeline.name,
                schema = %label,
                backward = comparison.backward().as_str(),
                forward = comparison.forward().as_str(),
                columns = %first_of(&comparison.storage),
                "a changed schema is taken: it judges what comes from here on",
            );
        }
        if differences.is_empty() {
            return false;
        }
        // The veil first: before there are dead letters of it.
        self.give(plan);
        self.metrics.schema_reloaded(Reload::Taken);
        true
    }

    /// The one in use stays.
    pub fn refuse(&self, reason: &str) {
        error!(pipeline = %self.pipeline.name, reason, "a changed schema is refused: the one before stays in use until the file is mended");
        self.metrics.schema_reloaded(Reload::Refused);
        self.metrics.set_schema_refused(true);
    }
}

/// Looks at the files of one pipeline's schemas.
pub(super) struct Watch {
    seat: Seat,
    /// What the plan in use was compiled from.
    in_use: Files,
    /// What was compiled last, whether it was taken or refused.
    tried: Files,
    /// What the look before found.
    seen: Files,
}

impl Watch {
    /// Compiles `pipeline` as it is now.
    ///
    /// # Errors
    /// What is wrong with its schema.
    pub fn new(
        config: &Arc<Config>,
        pipeline: &config::Pipeline,
        metrics: &Metrics,
        schemas: Option<Arc<Schemas>>,
    ) -> Result<(Self, InUse), PlanError> {
        let (plan, files) = noting(|read| compile_through(config, pipeline, read, schemas.clone()));
        let plan = plan?;
        for event in plan.judged() {
            metrics.schema_in_use(&pipeline.name, &event.schema.label());
        }
        let veil = api::veil(&config.dlq.mask, &plan);
        let (seat, in_use) = Seat::new(config, pipeline, metrics, schemas, plan, veil);
        Ok((Self { seat, in_use: files.clone(), tried: files.clone(), seen: files }, in_use))
    }

    /// Looks until it is dropped.
    pub async fn run(mut self, every: Duration) {
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            self = match looked.await {
                Ok(watch) => watch,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
        }
    }

    fn look(&mut self) {
        let found: Files = self.tried.keys().map(|path| (path.clone(), std::fs::read(path).ok().map(hash))).collect();
        // What is being written at this moment is whole at the next look.
        let is_settled = found == self.seen;
        self.seen = found;
        if is_settled && self.seen != self.tried {
            self.compile();
        }
    }

    fn compile(&mut self) {
        // Of a schema that is compiled at the start a panic is told by the process's end; of one that comes later it is told here.
        let compiled = catch_unwind(AssertUnwindSafe(|| noting(|read| self.seat.compile(read))));
        let Ok((compiled, files)) = compiled else {
            self.tried = self.seen.clone();
            return self.seat.refuse("it makes the program panic");
        };
        self.seen.clone_from(&files);
        self.tried = files;
        let name = &self.seat.pipeline.name;
        if self.tried == self.in_use {
            info!(pipeline = %name, "the files of the schema are again as they were when it was taken");
            return self.seat.metrics.set_schema_refused(false);
        }
        let plan = match compiled {
            Ok(plan) => plan,
            Err(reason) => return self.seat.refuse(&chain(&reason)),
        };
        match self.seat.succeeded_by(&plan) {
            Ok(differences) => {
                self.in_use.clone_from(&self.tried);
                if !self.seat.take(plan, &differences) {
                    info!(pipeline = %self.seat.pipeline.name, "the files of the schema are written otherwise, and say the same");
                }
            }
            Err(reason) => {
                let mend = "rows of one version lie together, so give it a number of its own";
                self.seat.refuse(&format!("{reason}; {mend}"));
            }
        }
    }
}

/// What `compile` makes of files, and those that it read for it, or up to what is wrong with them.
fn noting<T>(compile: impl FnOnce(ReadFile<'_>) -> T) -> (T, Files) {
    let files = RefCell::new(Files::new());
    let read = |path: &Path| {
        let content = std::fs::read(path);
        files.borrow_mut().insert(path.to_owned(), content.as_ref().ok().map(hash));
        content
    };
    let made = compile(&read);
    (made, files.into_inner())
}

fn hash(content: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// The first of `things`, and how many there are beside them.
fn first_of(things: &[impl ToString]) -> String {
    let mut named: Vec<_> = things.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if things.len() > NAMED_MAX {
        named.push(format!("{} more", things.len() - NAMED_MAX));
    }
    if named.is_empty() { "the same".to_owned() } else { named.join("; ") }
}
