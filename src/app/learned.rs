//! Schemas that are learned, while they are in use: the first of the first events, further revisions as others write them, or
//! as new fields ask for them.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::app::machine;
use crate::app::reload::{InUse, Seat};
use crate::broker::Broker;
use crate::config::{self, Config, Infer};
use crate::ingest::learned::{Held, Learned, Lesson, Revision, Revisions, Ripe, Sightings, learn};
use crate::ingest::{Difference, Plan, PlanError, Stop, chain};
use crate::metrics::{Learning, Metrics};
use crate::schema::infer::extend;
use crate::store::{Store, StoreError};

/// The newest revisions of learned schemas, by the paths that the configuration has for them.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<PathBuf, Bytes>);

impl Texts {
    /// Those of all pipelines that learn.
    ///
    /// # Errors
    /// The store's.
    pub async fn read<'c>(
        store: &Store,
        pipelines: impl IntoIterator<Item = &'c config::Pipeline>,
    ) -> Result<Self, StoreError> {
        let mut texts = BTreeMap::new();
        for event in pipelines.into_iter().filter(|pipeline| pipeline.infer.is_some()).flat_map(|all| &all.events) {
            if let Some(revision) = Revisions::new(store.clone(), event).newest().await? {
                texts.insert(event.schema.clone(), revision.text);
            }
        }
        Ok(Self(texts))
    }

    /// `text` alone, as the learned schema of that pipeline.
    pub fn of(pipeline: &config::Pipeline, text: Bytes) -> Self {
        Self(pipeline.events.iter().map(|event| (event.schema.clone(), text.clone())).collect())
    }

    /// One of them, or a file.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map_or_else(|| std::fs::read(path), |text| Ok(text.to_vec()))
    }
}

/// Looks after the learned schema of one pipeline.
pub(super) struct Tutor {
    seat: Seat,
    infer: Infer,
    revisions: Revisions,
    /// The one in use; 0: none is.
    revision: u32,
    /// The last that was looked at, whether it was taken or refused.
    tried: u32,
    sightings: Option<Arc<Sightings>>,
}

impl Tutor {
    /// # Errors
    /// What is wrong with the pipeline, whatever its schema.
    pub fn new(
        config: &Arc<Config>,
        pipeline: &config::Pipeline,
        infer: &Infer,
        metrics: &Metrics,
        store: &Store,
    ) -> Result<(Self, InUse), PlanError> {
        let (seat, in_use) = Seat::kept_free(config, pipeline, metrics)?;
        let wanted = u64::try_from(infer.events).unwrap_or(u64::MAX);
        in_use.metrics.set_learning(Learning::Waits { events: 0, wanted, patience: infer.patience });
        let revisions = Revisions::new(store.clone(), &pipeline.events[0]);
        let tutor = Self { seat, infer: infer.clone(), revisions, revision: 0, tried: 0, sightings: None };
        Ok((tutor, in_use))
    }

    /// Waits until the schema is known, and gives it the pipeline's seat; what is held for it, if it was learned here. `None`:
    /// asked to stop. With `may_adopt` this one may write further revisions, which needs a store that creates conditionally.
    pub async fn begin(
        &mut self,
        config: &Config,
        metrics: &Arc<Metrics>,
        broker: &Arc<dyn Broker>,
        may_adopt: bool,
        stop: &Stop,
    ) -> Option<Option<Held>> {
        let lesson = Lesson {
            config: self.seat.pipeline.clone(),
            infer: self.infer.clone(),
            instance: config.instance.clone(),
            revisions: self.revisions.clone(),
            surroundings: machine::surroundings(),
            all_metrics: Arc::clone(metrics),
            metrics: Arc::clone(&self.seat.metrics),
            broker: Arc::clone(broker),
            reconnect: (config.rabbitmq.reconnect_min, config.rabbitmq.reconnect_max),
            hold_max: config.run.flush_grace / 2,
        };
        let mut backoff = lesson.surroundings.backoff(lesson.reconnect);
        loop {
            let Learned { revision, held } = learn(&lesson, stop).await?;
            match self.compile(&revision.text) {
                Ok(plan) => {
                    let schema = plan.events[0].schema.clone();
                    metrics.schema_in_use(&self.seat.pipeline.name, &schema.label());
                    let counted = Arc::clone(&self.seat.metrics);
                    self.sightings = Some(Arc::new(Sightings::new(self.infer.clone(), may_adopt, counted, &schema)));
                    self.seat.give(plan);
                    self.tried = revision.number;
                    self.goes_by(revision.number);
                    return Some(held);
                }
                Err(reason) => {
                    let path = self.revisions.path(revision.number);
                    error!(pipeline = %self.seat.pipeline.name, path, reason, "the learned schema cannot be used: a person must act: `parqueduct schema adopt` writes another; no delivery is taken until then");
                }
            }
            if let Some(held) = held {
                held.give_back().await;
            }
            tokio::select! {
                () = stop.drain.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_slow_wait()) => {}
            }
        }
    }

    /// What is shown what events have that the schema does not say; `None` before it is known.
    pub fn sightings(&self) -> Option<Arc<Sightings>> {
        self.sightings.clone()
    }

    /// Looks for further revisions until it is dropped, and writes them itself if it may.
    pub async fn run(mut self, every: Duration) {
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.look().await {
                warn!(pipeline = %self.seat.pipeline.name, error = chain(&error), "whether there is a newer revision of the schema cannot be told: trying again");
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        while let Some(revision) = self.revisions.get(self.tried + 1).await? {
            self.try_on(&revision);
        }
        // Beside one that is refused there is none to be adopted.
        if self.tried != self.revision {
            return Ok(());
        }
        let Some(sightings) = self.sightings.clone() else { return Ok(()) };
        let Some(ripe) = sightings.ripe(machine::now()) else { return Ok(()) };
        self.adopt(ripe, &sightings).await
    }

    /// Writes a revision that declares what is ripe.
    async fn adopt(&mut self, ripe: Ripe, sightings: &Sightings) -> Result<(), StoreError> {
        let Some(current) = self.revisions.get(self.revision).await? else { return Ok(()) };
        let Ok(mut schema) = serde_json::from_slice::<Json>(&current.text) else { return Ok(()) };
        let number = self.revision + 1;
        let mut adopted = Vec::new();
        for path in ripe.paths {
            let mut candidate = schema.clone();
            if !extend(&mut candidate, &ripe.learned, &path) {
                continue; // Its type is not known yet.
            }
            match self.following(&Bytes::from(candidate.to_string())) {
                Ok(_) => {
                    schema = candidate;
                    adopted.push(path);
                }
                Err(reason) => sightings.leave(&path, &reason),
            }
        }
        if adopted.is_empty() {
            return Ok(());
        }
        let at = machine::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let by = &self.seat.plan().instance;
        schema["$comment"] = json!(format!("revision {number}: {} declared by {by} at {at}", adopted.join(", ")));
        let revision = Revision { number, text: Bytes::from(format!("{schema:#}\n")) };
        // If somebody was first, the next look finds theirs.
        if self.revisions.create(&revision).await? {
            self.try_on(&revision);
        }
        Ok(())
    }

    /// Takes a revision, or refuses it.
    fn try_on(&mut self, revision: &Revision) {
        self.tried = revision.number;
        match self.following(&revision.text) {
            Ok((plan, differences)) => self.take(revision.number, plan, &differences),
            Err(reason) => self.seat.refuse(&reason),
        }
    }

    fn take(&mut self, number: u32, plan: Plan, differences: &[Difference]) {
        let schema = plan.events[0].schema.clone();
        self.seat.take(plan, differences);
        if let Some(sightings) = &self.sightings {
            sightings.renew(&schema);
        }
        self.goes_by(number);
    }

    fn goes_by(&mut self, revision: u32) {
        self.revision = revision;
        self.seat.metrics.set_learning(Learning::Done { revision });
        let path = self.revisions.path(revision);
        info!(pipeline = %self.seat.pipeline.name, revision, path, "the learned schema is in use");
    }

    /// What `text` gives in the place of the schema in use.
    fn following(&self, text: &Bytes) -> Result<(Plan, Vec<Difference>), String> {
        let plan = self.compile(text)?;
        let differences = self.seat.succeeded_by(&plan).map_err(|reason| reason.to_string())?;
        Ok((plan, differences))
    }

    /// The pipeline with `text` as its schema.
    fn compile(&self, text: &Bytes) -> Result<Plan, String> {
        let texts = Texts::of(&self.seat.pipeline, text.clone());
        // It may take some milliseconds, and somebody may have written anything.
        let compiled = tokio::task::block_in_place(|| {
            catch_unwind(AssertUnwindSafe(|| self.seat.compile(&|path| texts.open(path))))
        });
        match compiled {
            Ok(compiled) => compiled.map_err(|reason| chain(&reason)),
            Err(_) => Err("it makes the program panic".to_owned()),
        }
    }
}
