//! What `parqueduct check` finds beyond the configuration file: schemas, broker, queues, store.

use std::sync::Arc;

use crate::app::foresee::{Foreseen, foresee};
use crate::app::{self, machine};
use crate::broker::ConnectError;
use crate::broker::inspect::{Existence, Inspection, QueueFindings, inspect};
use crate::config::{self, Config, Finding, Infer, Loaded, NewFields, Pipeline, Severity};
use crate::ingest::chain;
use crate::ingest::learned::Revisions;
use crate::metrics::Metrics;

/// Schemas that cannot be used, and what is odd about those that can.
pub fn check_schemas(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What is learned is no matter of the configuration.
    for pipeline in loaded.config.pipelines.iter().filter(|pipeline| pipeline.infer.is_none()) {
        let name = Some(pipeline.name.as_str());
        match app::compile(&loaded.config, pipeline, &app::Texts::default(), None) {
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

/// What is to be said of pipelines that learn their schema, a line each; with `connect` also how far they are.
pub async fn told_of_learned(config: &Config, connect: bool) -> Vec<String> {
    let store = if connect { app::open_store(config, &Arc::new(Metrics::new(crate::VERSION))).ok() } else { None };
    let mut lines = Vec::new();
    for (pipeline, infer) in config.pipelines.iter().filter_map(|all| Some((all, all.infer.as_ref()?))) {
        let Infer { events, patience, new_fields, .. } = infer;
        let becomes = match new_fields {
            NewFields::Adopt => "new fields become columns once as many events had them",
            NewFields::Report => "new fields are told of, and stay in _extra",
        };
        let patience = config::show_duration(*patience);
        let mut line = format!(
            "pipeline {}: its schema is learned of the first {events} events, or of those within {patience}; {becomes}",
            pipeline.name
        );
        if let Some(store) = &store {
            let revisions = Revisions::new(store.clone(), &pipeline.events[0]);
            line += &match revisions.newest().await {
                Ok(Some(revision)) => format!("; in use is {}", revisions.path(revision.number)),
                Ok(None) => "; it is not learned yet".to_owned(),
                Err(error) => format!("; how far it is cannot be told: {}", chain(&error)),
            };
        }
        lines.push(line);
    }
    lines
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
