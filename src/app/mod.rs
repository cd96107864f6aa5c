//! The rim: the only place that reads the clock, the environment and files. It builds the parts from the configuration,
//! runs the flows, and turns signals into a bounded, announced drain.

// The rim may do what all else is lent.
#![allow(clippy::disallowed_methods)]

mod api; // what the API is lent
mod check; // what `parqueduct check` finds beyond the file
mod depth; // how long the queues are
mod files; // files of lines, plain or compressed, and their hash; files in the making
mod foresee; // what the broker would do to our messages by itself
mod groups; // the groups of dead letters, for metrics
mod learned; // schemas that are learned, while they are in use
mod logs; // where log lines go, and how they look
mod machine; // who we are, and whether another process still lives
mod otlp; // spans of flushes, to a collector
mod reload; // schemas that change while they are in use
mod replays; // what plans and replays run on
mod run; // `parqueduct run`
mod take; // `parqueduct ingest`
mod tend; // merging and retention of dead letters, beside the pipelines

pub use check::{check_connections, check_schemas, told_of_learned};
pub use files::{FileDraft, FileInput, open_lines};
pub use learned::Texts;
pub use logs::start_logs;
pub use machine::{actor, broker_surroundings, liveness, now, owner, surroundings};
pub use replays::{replays, replays_over};
pub use run::run;
pub use take::{TakeOptions, TakeTotals, TakeWatcher, stop_on_signals, take};

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{self, Config, Loaded};
use crate::ingest::{Plan, PlanError, Schemas};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::schema::ReadFile;
use crate::store::{Kind, Op, Report, Store};

/// Reads and checks a configuration file.
///
/// # Errors
/// All findings, one a line.
pub fn read_config(path: &Path) -> anyhow::Result<Loaded> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let host = machine::host_name();
    let surroundings = config::Surroundings {
        variable: &|name| std::env::var(name).ok(),
        read: &|path| std::fs::read_to_string(path),
        hostname: Some(&host).filter(|host| !host.is_empty()).map(String::as_str),
    };
    Ok(config::load(path, &text, &surroundings)?)
}

/// What is known of the schemas in the configured registry, of which each question is counted in `metrics`.
pub fn schemas(config: &Config, metrics: &Arc<Metrics>) -> Option<Arc<Schemas>> {
    let registry = config.registry.as_ref()?;
    let metrics = Arc::clone(metrics);
    let client = Registry::new(registry, machine::secret, move |outcome| metrics.registry_asked(outcome.as_str()));
    Some(Arc::new(Schemas::new(client, registry, machine::surroundings().seed)))
}

/// Compiles one pipeline of the configuration; a schema that is learned is among `learned`.
///
/// # Errors
/// What is wrong with its schema.
pub fn compile(
    config: &Config,
    pipeline: &config::Pipeline,
    learned: &Texts,
    schemas: Option<Arc<Schemas>>,
) -> anyhow::Result<Plan> {
    Ok(compile_through(config, pipeline, &|path| learned.open(path), schemas)?)
}

/// The same with schemas read through `read`.
fn compile_through(
    config: &Config,
    pipeline: &config::Pipeline,
    read: ReadFile<'_>,
    schemas: Option<Arc<Schemas>>,
) -> Result<Plan, PlanError> {
    let plan = Plan::new(pipeline, &config.instance, read, schemas)?;
    let links_max = config.otlp.as_ref().map_or(0, |otlp| otlp.links_max);
    Ok(Plan { blob_bytes: config.dlq.blob_bytes, links_max, ..plan })
}

/// Opens the store of the configuration; its failures and retries are counted in `metrics`.
///
/// # Errors
/// What the configuration lacks.
pub fn open_store(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Store> {
    let metrics = Arc::clone(metrics);
    let observer = Arc::new(move |report| match report {
        Report::Failed { op, kind } => {
            metrics.store_failed(op.as_str(), kind.as_str());
            if op == Op::Create && kind != Kind::Exists {
                metrics.set_store_up(false);
            }
        }
        Report::Retried { op } => metrics.store_retried(op.as_str()),
        Report::Created => metrics.set_store_up(true),
    });
    Ok(Store::open(&config.store, &|name| std::env::var(name).ok(), observer)?)
}
