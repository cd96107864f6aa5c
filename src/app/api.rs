//! What the API is lent.

use std::sync::Arc;
use std::time::Duration;

use crate::app::machine;
use crate::app::reload::InUse;
use crate::config::{self, Config, PipelineKind};
use crate::dlq::veil::Veil;
use crate::http;
use crate::ingest::{EventPlan, Plan};
use crate::metrics::Metrics;
use crate::replay::Tasks;

/// What an answer may take beyond its time limit until its connection counts as silent.
const SILENCE_MARGIN: Duration = Duration::from_secs(30);

/// The parts of a running process.
pub(super) fn parts(
    config: &Config,
    api: &config::Api,
    pipelines: &[InUse],
    metrics: &Arc<Metrics>,
    tasks: Arc<Tasks>,
) -> http::api::Parts {
    let masked = &config.dlq.mask;
    let pipeline = |in_use: &InUse| {
        let plan = in_use.plans.borrow();
        http::api::Pipeline {
            config: plan.config.clone(),
            schemas: plan.judged().map(|event| event.schema.label()).collect(),
            veil: in_use.veils.clone(),
        }
    };
    http::api::Parts {
        config: api.clone(),
        pipelines: pipelines.iter().map(pipeline).collect(),
        records: Arc::clone(&tasks.replays().records),
        log: tasks.replays().log.clone(),
        tasks,
        veil_of_unknown: Arc::new(Veil::of_unknown(masked)),
        metrics: Arc::clone(metrics),
        now: machine::now,
        ulid: machine::surroundings().ulid,
        version: crate::VERSION,
    }
}

/// What viewers do not see of the dead letters of that pipeline.
pub(super) fn veil(masked: &config::Masked, plan: &Plan) -> Veil {
    match plan.config.kind {
        PipelineKind::Events => {
            let hides = |event: &EventPlan| (event.schema.sensitive(), event.config.event_id.clone());
            let personal = plan.config.monitor.as_ref().and_then(|monitor| monitor.personal.as_ref());
            let dead_letter = personal.is_some_and(|personal| personal.dead_letter);
            Veil::new(masked, plan.events.iter().map(hides)).of_personal(dead_letter)
        }
        // No schema tells what the bodies of other consumers hold.
        PipelineKind::DeadLetters { .. } => Veil::of_unknown(masked),
    }
}

pub(super) fn limits(http: &config::Http) -> http::Limits {
    let answer_max = http.api.as_ref().map_or(Duration::ZERO, |api| api.request_timeout);
    http::Limits { connections_max: http.connections_max, silence_max: answer_max + SILENCE_MARGIN }
}
