//! What plans and replays run on.

use std::path::Path;
use std::sync::Arc;

use crate::VERSION;
use crate::app::files::FileDraft;
use crate::app::reload::InUse;
use crate::app::{self, machine};
use crate::config::{self, Config};
use crate::dlq::attempts::Attempts;
use crate::dlq::log::Log;
use crate::dlq::records::Records;
use crate::ingest::PlanError;
use crate::metrics::{Learning, Metrics};
use crate::replay::{Compile, Replays};
use crate::store::Store;

/// Files of dead letters read at the same time.
const READS_MAX: usize = 4;

/// Plans and replays over the store of `config`.
///
/// # Errors
/// What the configuration lacks.
pub async fn replays(config: Config) -> anyhow::Result<Replays> {
    let store = app::open_store(&config, &Arc::new(Metrics::new(VERSION)))?;
    let learned = app::Texts::read(&store, &config.pipelines).await?;
    Ok(replays_over(Arc::new(config), store, learned))
}

/// The same, over a store that is open already, with schemas that were learned.
pub fn replays_over(config: Arc<Config>, store: Store, learned: app::Texts) -> Replays {
    let compiled = Arc::clone(&config);
    let metrics = Arc::new(Metrics::new(VERSION));
    let schemas = app::schemas(&config, &metrics);
    Replays {
        log: Log::new(store.clone()),
        records: Arc::new(Records::remembering(store.clone(), READS_MAX, config.dlq.index_bytes)),
        attempts: Arc::new(Attempts::new(store.clone())),
        surroundings: machine::surroundings(),
        broker: machine::broker_surroundings(),
        draft: Arc::new(|path: &Path| Ok(Box::new(FileDraft::new(path)?))),
        owner: machine::owner(&config.instance),
        liveness: Arc::new(machine::liveness),
        compile: Arc::new(move |pipeline: &config::Pipeline| {
            let read = |path: &Path| learned.open(path);
            Ok(Arc::new(app::compile_through(&compiled, pipeline, &read, schemas.clone())?))
        }),
        metrics,
        config,
        store,
    }
}

/// The plans that pipelines of this process run on, and of others what `compile` gives: what is refused of a schema there is
/// not used here.
pub(super) fn plans_in_use(pipelines: Vec<InUse>, compile: Compile) -> Compile {
    Arc::new(move |pipeline: &config::Pipeline| {
        let running = pipelines.iter().find(|in_use| in_use.metrics.name == pipeline.name);
        match running {
            Some(in_use) if matches!(in_use.metrics.learning(), Learning::Waits { .. }) => {
                Err(PlanError::Unlearned { pipeline: pipeline.name.clone() })
            }
            Some(in_use) => Ok(Arc::clone(&in_use.plans.borrow())),
            None => compile(pipeline),
        }
    })
}
