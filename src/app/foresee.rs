//! What the broker would do to our messages by itself, said before it happens: by `parqueduct check --connect`, and once
//! at the start of `parqueduct run`.

use tracing::{debug, warn};

use crate::app::machine;
use crate::broker::management::survey;
use crate::broker::risk::{Held, Risk, risks};
use crate::config::{Config, Pipeline};

/// Something that can go wrong by itself.
pub(super) struct Foreseen<'a> {
    /// `None`: it is about no pipeline.
    pub pipeline: Option<&'a str>,
    /// Dotted path of the key that leads there.
    pub key: &'static str,
    pub problem: String,
    pub mend: &'static str,
}

/// Asks the management API about the queue of each pipeline. `None`: none is configured.
///
/// An API that is away or refuses is one of the findings. A queue that is not there is none: it may be declared later,
/// and consuming it tells.
pub(super) async fn foresee(config: &Config) -> Option<Vec<Foreseen<'_>>> {
    let queues: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.queue.clone()).collect();
    let about_the_api = |problem, mend| Foreseen { pipeline: None, key: "rabbitmq.management", problem, mend };
    let survey = match survey(&config.rabbitmq, machine::broker_surroundings(), &queues).await? {
        Ok(survey) => survey,
        Err(silent) => return Some(vec![about_the_api(silent.to_string(), silent.mend)]),
    };
    let mut foreseen = Vec::new();
    for (pipeline, queue) in config.pipelines.iter().zip(&survey.queues) {
        match queue {
            Ok(Some(queue)) => {
                let found = risks(queue, survey.version, held(config, pipeline)).into_iter();
                foreseen.extend(found.map(|Risk { problem, mend }| Foreseen {
                    pipeline: Some(&pipeline.name),
                    key: "pipeline.queue",
                    problem,
                    mend,
                }));
            }
            Ok(None) => {
                debug!(pipeline = %pipeline.name, queue = %pipeline.queue, "the management API knows no such queue")
            }
            Err(reason) => {
                let problem = format!("the management API tells nothing of queue `{}`: {reason}", pipeline.queue);
                foreseen.push(about_the_api(problem, "give its user any permission there, even none, and ask again"));
            }
        }
    }
    Some(foreseen)
}

fn held(config: &Config, pipeline: &Pipeline) -> Held {
    Held { age: pipeline.flush.age, outage: config.run.flush_grace / 2 }
}

/// Logs what is foreseen.
pub(super) async fn warn_of_the_foreseen(config: &Config) {
    match foresee(config).await {
        None => debug!("rabbitmq.management is not set: what the queues are set up with is not looked at"),
        Some(foreseen) => {
            for Foreseen { pipeline, key, problem, mend } in foreseen {
                warn!(pipeline, key, mend, "{problem}");
            }
        }
    }
}
