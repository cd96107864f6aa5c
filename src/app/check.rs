//! What `parqueduct check` finds beyond the configuration file: schemas, broker, queues, store.

use std::sync::Arc;

use crate::app::foresee::{Foreseen, foresee};
use crate::app::{self, machine};
use crate::broker::ConnectError;
use crate::broker::inspect::{Existence, Inspection, QueueFindings, inspect};
use crate::config::{Finding, Loaded, Pipeline, Severity};
use crate::ingest::chain;
use crate::metrics::Metrics;

/// Schemas that cannot be used, and what is odd about those that can.
pub fn check_schemas(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pipeline in &loaded.config.pipelines {
        let name = Some(pipeline.name.as_str());
        match app::compile(&loaded.config, pipeline, None) {
            Ok(plan) => {
                for warning in plan.events.iter().flat_map(|event| event.schema.warnings()) {
                    let mend = "correct the schema, or ignore this";
                    findings.push(loaded.finding(Severity::Warning, name, "pipeline.schema", warning.clone(), mend));
                }
            }
            Err(error) => {
                let mend = "correct the schema";
                findings.push(loaded.finding(Severity::Error, name, "pipeline.schema", format!("{error:#}"), mend));
            }
        }
    }
    findings
}

/// Asks the brokers about the queues, and the store whether it takes writes.
pub async fn check_connections(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = check_store(loaded).await;
    // A queue that the pipeline declares need not be there yet.
    let pipelines: Vec<_> = loaded.config.pipelines.iter().filter(|pipeline| pipeline.declare.is_none()).collect();
    let queues: Vec<_> = pipelines.iter().map(|pipeline| pipeline.queue.clone()).collect();
    match inspect(&loaded.config.rabbitmq, machine::broker_surroundings(), &queues, true).await {
        Ok(inspections) => {
            for inspection in &inspections {
                findings.extend(check_broker(loaded, &pipelines, inspection));
            }
        }
        Err(error) => findings.push(broker_finding(loaded, &error)),
    }
    for Foreseen { pipeline, key, problem, mend } in foresee(&loaded.config).await.into_iter().flatten() {
        findings.push(loaded.finding(Severity::Warning, pipeline, key, problem, mend));
    }
    findings
}

async fn check_store(loaded: &Loaded) -> Vec<Finding> {
    let finding =
        |severity, problem: String, mend: &str| vec![loaded.finding(severity, None, "store.url", problem, mend)];
    let store = match app::open_store(&loaded.config, &Arc::new(Metrics::new(crate::VERSION))) {
        Ok(store) => store,
        Err(error) => return finding(Severity::Error, format!("{error:#}"), "correct the [store] table"),
    };
    let nonce = (machine::surroundings().ulid)().to_string();
    match store.probe(&nonce).await {
        Ok(capabilities) if capabilities.conditional_create => Vec::new(),
        Ok(_) => finding(
            Severity::Warning,
            format!("{} ignores conditional create (If-None-Match)", store.name()),
            "run a single instance on it, or use a store that honours it",
        ),
        Err(error) => {
            finding(Severity::Error, chain(&error), "see that the store is there and that we may write to it")
        }
    }
}

fn check_broker(loaded: &Loaded, pipelines: &[&Pipeline], inspection: &Inspection) -> Vec<Finding> {
    let found = match &inspection.outcome {
        Ok(found) => found,
        Err(error) => return vec![broker_finding(loaded, error)],
    };
    let asked = pipelines.iter().zip(&found.queues);
    asked.flat_map(|(pipeline, queue)| check_queue(loaded, pipeline, queue, &inspection.broker)).collect()
}

fn check_queue(loaded: &Loaded, pipeline: &Pipeline, queue: &QueueFindings, broker: &str) -> Vec<Finding> {
    let name = Some(pipeline.name.as_str());
    let problem =
        |severity, problem: String, mend: &str| loaded.finding(severity, name, "pipeline.queue", problem, mend);
    let mut findings = Vec::new();
    if queue.existence == Existence::Absent {
        let text = format!("queue `{}` is not on {broker}", queue.queue);
        findings.push(problem(Severity::Error, text, "create it, correct the name, or set declare = true"));
    }
    if let Existence::Hidden { reason } = &queue.existence {
        let text = format!("whether queue `{}` is on {broker} may not be asked: {reason}", queue.queue);
        findings.push(problem(Severity::Warning, text, "nothing, if the queue can be read"));
    }
    if let Some(Err(refused)) = &queue.readable {
        findings.push(problem(Severity::Error, refused.to_string(), "give the user read permission on the queue"));
    }
    findings
}

fn broker_finding(loaded: &Loaded, error: &ConnectError) -> Finding {
    loaded.finding(
        Severity::Error,
        None,
        "rabbitmq.uri",
        error.to_string(),
        "see that the broker is there and takes this user",
    )
}
