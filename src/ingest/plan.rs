//! What the shards of a pipeline share: schema, validator, layout of the archive, names. Built at the start, and again when
//! a schema changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::archive::{self, Layout, LayoutError, LayoutOptions};
use crate::broker::Backoff;
use crate::config::{self, Envelope, Format, Framing, PipelineKind};
use crate::decode::{Wire, Writers, cloudevents};
use crate::dlq::record::Origin;
use crate::event::Message;
use crate::ingest::arrival::Arrival;
use crate::ingest::repeats::GivenUp;
use crate::ingest::schemas::Schemas;
use crate::ingest::select::Wires;
use crate::mask::Mask;
use crate::monitor::Monitor;
use crate::schema::columns::{Columns, ColumnsError, columns};
use crate::schema::{Language, ReadFile, Schema, SchemaError, Types, Validator};

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
    /// The types of its events in the order of the configuration, at least one.
    pub events: Vec<EventPlan>,
    /// What is known of the schemas that bodies name; `None`: none does.
    pub schemas: Option<Arc<Schemas>>,
    /// Bodies of dead letters larger than this are objects of their own.
    pub blob_bytes: usize,
    /// Traces of events that a flush is linked with.
    pub links_max: usize,
}

/// The plan of a pipeline that is in use. Those that follow each other are of one configuration, and differ in what schemas
/// say.
pub type Plans = watch::Receiver<Arc<Plan>>;

/// A type of events, compiled.
#[derive(Clone)]
pub struct EventPlan {
    pub config: config::EventType,
    pub schema: Schema,
    /// The rules that its values must keep beside what a binary schema says.
    pub rules: Option<Schema>,
    /// Those of the schema.
    pub columns: Arc<Columns>,
    /// How bodies are written.
    pub wire: Wire,
    /// What is asked of events beside what their decoder sees to; `None`: nothing.
    pub validator: Option<Arc<Validator>>,
    /// What the schema asks of data that others wrote; `None`: the decoder sees to that.
    pub of_others: Option<Arc<Validator>>,
    /// What is asked of good events; `None`: nothing.
    pub monitor: Option<Arc<Monitor>>,
    /// Whether it can be of a JSON value that is decoded already.
    pub reads_json: bool,
    pub layout: Arc<Layout>,
}

/// Why a pipeline cannot run as configured.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(
        "the schema of pipeline {pipeline} is not learned yet: `parqueduct run` learns it of the first events, or \
         `parqueduct schema adopt` gives it one"
    )]
    Unlearned { pipeline: String },
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Plan {
    /// Compiles `config`; schemas are read through `read`, and those that bodies name are known to `schemas`.
    ///
    /// # Errors
    /// What is wrong with the schema, and where.
    pub fn new(
        config: &config::Pipeline,
        instance: &str,
        read: ReadFile<'_>,
        schemas: Option<Arc<Schemas>>,
    ) -> Result<Self, PlanError> {
        let writers = schemas.as_ref().map(|schemas| Arc::clone(schemas.writers())).unwrap_or_default();
        let events = config.events.iter().map(|event| EventPlan::new(config, event, &writers, read));
        Ok(Self {
            config: config.clone(),
            instance: instance.to_owned(),
            events: events.collect::<Result<_, _>>()?,
            schemas,
            blob_bytes: BLOB_BYTES,
            links_max: 0,
        })
    }

    /// What the dead letters of one shard have in common that are of the type at that place, or of none.
    pub fn dead_letter_origin(&self, shard: u16, event: Option<usize>) -> Origin {
        let event = event.map(|place| &self.events[place]).filter(|_| self.config.kind == PipelineKind::Events);
        Origin {
            pipeline: self.config.name.clone(),
            queue: self.config.queue.clone(),
            format: event.map_or_else(String::new, |event| event.config.format.as_str().to_owned()),
            schema: event.map_or_else(String::new, |event| event.schema.label()),
            schema_hash: event.map(|event| event.schema.hash().to_owned()),
            wire: event.map(|event| &event.wire).filter(|wire| !matches!(wire, Wire::Json | Wire::Msgpack)).cloned(),
            instance: self.instance.clone(),
            shard: shard.into(),
            version: crate::VERSION.to_owned(),
        }
    }

    /// The same with another type of events at that place.
    pub fn with(&self, place: usize, event: EventPlan) -> Self {
        let (mut config, mut events) = (self.config.clone(), self.events.clone());
        config.events[place] = event.config.clone();
        events[place] = event;
        let (instance, schemas) = (self.instance.clone(), self.schemas.clone());
        Self { config, instance, events, schemas, blob_bytes: self.blob_bytes, links_max: self.links_max }
    }

    /// What is known of the schemas that bodies name.
    pub fn writers(&self) -> Arc<Writers> {
        self.schemas.as_ref().map(|schemas| Arc::clone(schemas.writers())).unwrap_or_default()
    }

    /// The ids of schemas in the bodies of `messages` that must be asked for before they are judged.
    pub fn missing<'m>(&self, messages: impl Iterator<Item = &'m Message>) -> Vec<u32> {
        let named = self.config.events.iter().any(|event| event.framing == Framing::Confluent);
        match self.schemas.as_ref().filter(|_| named) {
            Some(schemas) => schemas.missing(messages, self.config.envelope, self.config.body_bytes_max),
            None => Vec::new(),
        }
    }

    /// Waits until the schemas that the bodies of `arrivals` name are known.
    ///
    /// # Errors
    /// [`GivenUp`]: when `over`.
    pub async fn learn(&self, arrivals: &[Arrival], over: &CancellationToken) -> Result<(), GivenUp> {
        let missing = self.missing(arrivals.iter().map(|arrival| &arrival.delivery.message));
        match &self.schemas {
            Some(schemas) if !missing.is_empty() => schemas.learn(&self.config.name, &missing, None, over).await,
            _ => Ok(()),
        }
    }

    /// The types whose events are judged: none of a pipeline of dead letters.
    pub fn judged(&self) -> impl Iterator<Item = &EventPlan> {
        self.events.iter().filter(|_| self.config.kind == PipelineKind::Events)
    }

    /// `name@version` of the schemas of all types, as people are told.
    pub fn schema_labels(&self) -> String {
        let labels: Vec<_> = self.events.iter().map(|event| event.schema.label()).collect();
        labels.join(", ")
    }

    /// How its bodies are written, whatever their type.
    pub fn wires(&self) -> Wires {
        let types = self.events.iter().map(|event| (event.config.when.clone(), event.wire.clone()));
        Wires::new(types.collect(), self.writers(), self.config.envelope)
    }

    /// How those of the type at that place are written, whatever tells it.
    pub fn wires_of(&self, place: usize) -> Wires {
        let wire = self.events[place].wire.clone();
        Wires::new(vec![(config::When::default(), wire)], self.writers(), self.config.envelope)
    }

    /// What a repeat of the event in `message` is known by, beside its id.
    pub fn identity_hash(&self, message: &Message) -> [u8; 16] {
        match self.config.envelope {
            Envelope::None => message.body_hash(),
            Envelope::CloudEvents => cloudevents::identity_hash(message),
        }
    }
}

impl EventPlan {
    /// Compiles one type of the pipeline's events; schemas are read through `read`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn new(
        pipeline: &config::Pipeline,
        config: &config::EventType,
        writers: &Arc<Writers>,
        read: ReadFile<'_>,
    ) -> Result<Self, PlanError> {
        let language = language(config);
        let schema = match pipeline.kind {
            PipelineKind::Events => {
                match Schema::load(&language, &config.schema, &config.schema_name, config.schema_version, read) {
                    Err(SchemaError::Unreadable { source, .. })
                        if pipeline.infer.is_some() && source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        return Err(PlanError::Unlearned { pipeline: pipeline.name.clone() });
                    }
                    loaded => loaded?,
                }
            }
            // Nothing of them is judged: any schema will do.
            PipelineKind::DeadLetters { .. } => {
                Schema::load(&language, Path::new("/dead-letters.json"), "", 0, &|_| Ok(b"{}".to_vec()))?
            }
        };
        // What a binary schema says, its decoder makes sure of.
        let rules = match (&language, &config.rules) {
            (Language::JsonSchema, _) | (_, None) => None,
            (_, Some(rules)) => Some(Schema::load(&Language::JsonSchema, rules, &config.schema_name, 0, read)?),
        };
        let judging = match language {
            Language::JsonSchema => Some(&schema),
            Language::Avro | Language::Protobuf { .. } => rules.as_ref(),
        };
        let validator = judging.map(|schema| schema.validator(pipeline.issues_max)).transpose()?.map(Arc::new);
        let by_others = config.framing == Framing::Confluent || config.format == Format::Auto;
        let of_others = match schema.types() {
            Types::Avro(types) if by_others => Some(types.json_schema_of_others()),
            Types::Protobuf(types) if by_others => Some(types.json_schema_of_others()),
            _ => None,
        };
        let of_others = match of_others {
            Some(text) => {
                let read = |_: &Path| Ok(text.to_string().into_bytes());
                let schema = Schema::load(&Language::JsonSchema, schema.path(), &config.schema_name, 0, &read)?;
                Some(Arc::new(schema.validator(pipeline.issues_max)?))
            }
            None => None,
        };
        let options = LayoutOptions {
            schema_label: schema.label(),
            partition_by: config.partition_by.clone(),
            keep_raw: config.keep_raw,
            cloud_events: pipeline.envelope == Envelope::CloudEvents,
            issues_max: pipeline.issues_max,
            open_partitions_max: pipeline.open_partitions_max,
        };
        // What is learned of samples says that somebody's data is there, not that it may be.
        let marked = if pipeline.infer.is_some() { Mask::default() } else { schema.sensitive() };
        let monitor = pipeline.monitor.as_ref().map(|monitor| Monitor::new(monitor, config.name.as_deref(), marked));
        let columns = Arc::new(columns(&schema)?);
        let layout = Layout::new(&columns.fields, options)?;
        Ok(Self {
            config: config.clone(),
            wire: Wire::new(config.format, config.framing, schema.types(), writers),
            schema,
            rules,
            columns,
            validator,
            of_others,
            monitor: monitor.map(Arc::new),
            reads_json: match config.format {
                Format::Auto => true,
                Format::Json | Format::Msgpack => config.framing == Framing::None,
                Format::Avro | Format::Protobuf => false,
            },
            layout: Arc::new(layout),
        })
    }

    /// The directory of its rows, below the store's root.
    pub fn dataset(&self, pipeline: &str) -> String {
        archive::dataset(pipeline, self.config.name.as_deref(), self.config.schema_version)
    }
}

/// What the schema of a type of events is written in.
pub fn language(config: &config::EventType) -> Language {
    match config.native() {
        Format::Auto | Format::Json | Format::Msgpack => Language::JsonSchema,
        Format::Avro => Language::Avro,
        Format::Protobuf => Language::Protobuf { message: config.message.clone().unwrap_or_default() },
    }
}
