//! The pipelines of this process: what they are configured to do, and their ledgers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::json;
use super::problem::Problem;
use super::{Api, Pipeline};
use crate::config::{EventType, PartitionKey, show_duration};
use crate::metrics::PipelineMetrics;

/// A pipeline.
#[derive(Serialize, ToSchema)]
#[schema(as = Pipeline)]
pub(super) struct PipelineView {
    name: String,
    queue: String,
    /// The types of its events, in the order in which they are asked; none of a pipeline of dead letters.
    events: Vec<EventView>,
    shards: u16,
    /// Deliveries a shard holds unacked at most.
    prefetch: u16,
    flush: FlushView,
    /// What this process did with its deliveries since it started; null before the pipeline started.
    ledger: Option<LedgerView>,
}

/// A type of events.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
pub(super) struct EventView {
    /// null where the pipeline has but one type.
    name: Option<String>,
    format: &'static str,
    /// `name@version`.
    schema: String,
    /// Where events have their id: a JSON pointer; null: in the property message_id.
    event_id: Option<String>,
    /// Where events have their time: a JSON pointer; null: the property timestamp, or the arrival.
    event_time: Option<String>,
    /// The directories of the archive, outermost first.
    partition_by: Vec<String>,
}

/// When a shard writes what it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Flush)]
pub(super) struct FlushView {
    rows: u64,
    bytes: u64,
    /// With its unit.
    #[schema(example = "1m")]
    age: String,
}

/// received = archived + dead_lettered + suppressed + requeued + in_flight.
#[derive(Serialize, ToSchema)]
#[schema(as = Ledger)]
pub(super) struct LedgerView {
    received: u64,
    archived: u64,
    dead_lettered: u64,
    /// Repeats, left out.
    suppressed: u64,
    requeued: u64,
    in_flight: u64,
    /// Shards that have a consumer.
    connected: u64,
    /// Of the oldest delivery that is not settled.
    oldest_unacked_seconds: f64,
}

/// All pipelines
///
/// In the order of the configuration.
#[utoipa::path(
    get, path = "/api/v1/pipelines", tag = "pipelines", operation_id = "listPipelines",
    responses((status = 200, description = "The pipelines.", body = PipelinesPage)),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Response {
    json(&PipelinesPage { items: api.parts.pipelines.iter().map(|pipeline| view(&api, pipeline)).collect() })
}

/// Pipelines.
#[derive(Serialize, ToSchema)]
pub(super) struct PipelinesPage {
    items: Vec<PipelineView>,
}

/// One pipeline
#[utoipa::path(
    get, path = "/api/v1/pipelines/{name}", tag = "pipelines", operation_id = "showPipeline",
    params(("name" = String, Path, description = "Its name.", pattern = "^[a-z0-9_-]+$")),
    responses((status = 200, description = "The pipeline.", body = PipelineView)),
)]
pub(super) async fn one(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let pipeline = api.parts.pipelines.iter().find(|pipeline| pipeline.config.name == name);
    let pipeline = pipeline.ok_or_else(|| Problem::not_found("this process has no pipeline of that name"))?;
    Ok(json(&view(&api, pipeline)))
}

/// The name of a pipeline in a query: one that no pipeline can have is a mistake.
pub(super) fn pipeline_name(asked: Option<String>) -> Result<Option<String>, Problem> {
    let fine = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    };
    match asked {
        Some(name) if !fine(&name) => Err(Problem::bad_request("pipeline: names are of a-z, 0-9, _ and -")),
        asked => Ok(asked),
    }
}

fn view(api: &Api, pipeline: &Pipeline) -> PipelineView {
    let config = &pipeline.config;
    let metrics = api.parts.metrics.pipelines().into_iter().find(|metrics| metrics.name == config.name);
    PipelineView {
        name: config.name.clone(),
        queue: config.queue.clone(),
        events: config.events.iter().zip(&pipeline.schemas).map(|(event, schema)| event_view(event, schema)).collect(),
        shards: config.shards,
        prefetch: config.prefetch,
        flush: FlushView {
            rows: config.flush.rows as u64,
            bytes: config.flush.bytes as u64,
            age: show_duration(config.flush.age),
        },
        ledger: metrics.map(|metrics| ledger(&metrics, api)),
    }
}

fn event_view(config: &EventType, schema: &str) -> EventView {
    EventView {
        name: config.name.clone(),
        format: config.format.as_str(),
        schema: schema.to_owned(),
        event_id: config.event_id.as_ref().map(|pointer| pointer.as_str().to_owned()),
        event_time: config.event_time.as_ref().map(|pointer| pointer.as_str().to_owned()),
        partition_by: config.partition_by.iter().map(partition).collect(),
    }
}

fn partition(key: &PartitionKey) -> String {
    match key {
        PartitionKey::Date => "date".to_owned(),
        PartitionKey::Hour => "hour".to_owned(),
        PartitionKey::Field { pointer, .. } => pointer.as_str().to_owned(),
    }
}

fn ledger(metrics: &PipelineMetrics, api: &Api) -> LedgerView {
    let ledger = &metrics.ledger;
    // Settled before received, so that no answer shows more settled than received.
    let (archived, dead_lettered) = (ledger.archived(), ledger.dead_lettered_all());
    let (suppressed, requeued) = (ledger.suppressed(), ledger.requeued_all());
    let received = ledger.received();
    LedgerView {
        received,
        archived,
        dead_lettered,
        suppressed,
        requeued,
        in_flight: received.saturating_sub(archived + dead_lettered + suppressed + requeued),
        connected: metrics.connected() as u64,
        oldest_unacked_seconds: metrics.oldest_unacked((api.parts.now)()).as_seconds_f64(),
    }
}
