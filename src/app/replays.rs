//! What plans and replays run on.

use std::path::Path;
use std::sync::Arc;

use crate::VERSION;
use crate::app::files::FileDraft;
use crate::app::{self, machine};
use crate::config::{self, Config};
use crate::dlq::attempts::Attempts;
use crate::dlq::log::Log;
use crate::dlq::records::Records;
use crate::ingest::Plan;
use crate::metrics::Metrics;
use crate::replay::Replays;
use crate::store::Store;

/// Files of dead letters read at the same time.
const READS_MAX: usize = 4;

/// Plans and replays over the store of `config`.
///
/// # Errors
/// What the configuration lacks.
pub fn replays(config: Config) -> anyhow::Result<Replays> {
    let store = app::open_store(&config, &Arc::new(Metrics::new(VERSION)))?;
    Ok(replays_over(Arc::new(config), store))
}

/// The same, over a store that is open already.
pub fn replays_over(config: Arc<Config>, store: Store) -> Replays {
    let instance = config.instance.clone();
    let read = |path: &Path| std::fs::read(path);
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
        compile: Arc::new(move |pipeline: &config::Pipeline| Plan::new(pipeline, &instance, &read, schemas.clone())),
        metrics,
        config,
        store,
    }
}
