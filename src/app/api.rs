//! What the API is lent.

use std::sync::Arc;
use std::time::Duration;

use crate::app::machine;
use crate::config::{self, Config, PipelineKind};
use crate::dlq::veil::Veil;
use crate::http;
use crate::ingest::{EventPlan, Plan};
use crate::metrics::{Metrics, PipelineMetrics};
use crate::replay::Tasks;

/// What an answer may take beyond its time limit until its connection counts as silent.
const SILENCE_MARGIN: Duration = Duration::from_secs(30);

/// The parts of a running process.
pub(super) fn parts(
    config: &Config,
    api: &config::Api,
    plans: &[(Arc<PipelineMetrics>, Plan)],
    metrics: &Arc<Metrics>,
    tasks: Arc<Tasks>,
) -> http::api::Parts {
    let masked = &config.dlq.mask;
    let pipeline = |plan: &Plan| {
        let is_judged = plan.config.kind == PipelineKind::Events;
        http::api::Pipeline {
            config: plan.config.clone(),
            schemas: plan.events.iter().filter(|_| is_judged).map(|event| event.schema.label()).collect(),
            veil: match is_judged {
                true => {
                    let hides = |event: &EventPlan| (event.schema.sensitive(), event.config.event_id.clone());
                    Veil::new(masked, plan.events.iter().map(hides))
                }
                // No schema tells what the bodies of other consumers hold.
                false => Veil::of_unknown(masked),
            },
        }
    };
    http::api::Parts {
        config: api.clone(),
        pipelines: plans.iter().map(|(_, plan)| pipeline(plan)).collect(),
        records: Arc::clone(&tasks.replays().records),
        log: tasks.replays().log.clone(),
        tasks,
        veil_of_unknown: Veil::of_unknown(masked),
        metrics: Arc::clone(metrics),
        now: machine::now,
        ulid: machine::surroundings().ulid,
        version: crate::VERSION,
    }
}

pub(super) fn limits(http: &config::Http) -> http::Limits {
    let answer_max = http.api.as_ref().map_or(Duration::ZERO, |api| api.request_timeout);
    http::Limits { connections_max: http.connections_max, silence_max: answer_max + SILENCE_MARGIN }
}
