//! What the shards of a pipeline share, built once: schema, validator, layout of the archive, names.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use crate::archive::{Layout, LayoutError, LayoutOptions};
use crate::broker::Backoff;
use crate::config::{self, PipelineKind};
use crate::dlq::record::Origin;
use crate::schema::columns::{ColumnsError, columns};
use crate::schema::{Schema, SchemaError, Validator};

/// What only the rim may have: the clock and randomness, lent to the flows.
#[derive(Clone)]
pub struct Surroundings {
    pub now: fn() -> DateTime<Utc>,
    /// A new identifier, later than every one before it in this process.
    pub ulid: Arc<dyn Fn() -> Ulid + Send + Sync>,
    /// A seed for jitter.
    pub seed: fn() -> u64,
}

impl Surroundings {
    /// A back-off between the two bounds.
    pub fn backoff(&self, (min, max): (Duration, Duration)) -> Backoff {
        Backoff::new(min, max, fastrand::Rng::with_seed((self.seed)()))
    }
}

/// Of [`Plan::blob_bytes`], when nobody says otherwise.
const BLOB_BYTES: usize = 1 << 20;

/// A pipeline, compiled.
pub struct Plan {
    pub config: config::Pipeline,
    pub instance: String,
    pub schema: Schema,
    pub validator: Validator,
    pub layout: Arc<Layout>,
    /// Bodies of dead letters larger than this are objects of their own.
    pub blob_bytes: usize,
}

/// Why a pipeline cannot run as configured.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Plan {
    /// Compiles `config`; schemas are read through `read`.
    ///
    /// # Errors
    /// What is wrong with the schema, and where.
    pub fn new(
        config: &config::Pipeline,
        instance: &str,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, PlanError> {
        let schema = match config.kind {
            PipelineKind::Events => Schema::load(&config.schema, &config.schema_name, config.schema_version, read)?,
            // Nothing of them is judged: any schema will do.
            PipelineKind::DeadLetters { .. } => {
                Schema::load(Path::new("/dead-letters.json"), "", 0, &|_| Ok("{\"type\":\"object\"}".to_owned()))?
            }
        };
        let validator = schema.validator(config.issues_max)?;
        let options = LayoutOptions {
            schema_label: schema.label(),
            partition_by: config.partition_by.clone(),
            keep_raw: config.keep_raw,
            issues_max: config.issues_max,
            open_partitions_max: config.open_partitions_max,
        };
        let layout = Layout::new(&columns(&schema)?.fields, options)?;
        Ok(Self {
            config: config.clone(),
            instance: instance.to_owned(),
            schema,
            validator,
            layout: Arc::new(layout),
            blob_bytes: BLOB_BYTES,
        })
    }

    /// What the dead letters of one shard have in common.
    pub fn dead_letter_origin(&self, shard: u16) -> Origin {
        let is_judged = self.config.kind == PipelineKind::Events;
        Origin {
            pipeline: self.config.name.clone(),
            queue: self.config.queue.clone(),
            format: if is_judged { self.config.format.as_str().to_owned() } else { String::new() },
            schema: if is_judged { self.schema.label() } else { String::new() },
            schema_hash: is_judged.then(|| self.schema.hash().to_owned()),
            instance: self.instance.clone(),
            shard: shard.into(),
            version: crate::VERSION.to_owned(),
        }
    }
}
