//! How long the queues are, for metrics: asked beside the pipelines, which do not wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::debug;

use crate::app::machine;
use crate::broker::depth::Depths;
use crate::config::Config;
use crate::ingest::chain;
use crate::metrics::Metrics;

/// Asks until it is dropped.
pub(super) async fn watch(config: Config, every: Duration, metrics: Arc<Metrics>) {
    let name = format!("parqueduct queue lengths of {}", config.instance);
    let mut depths = match Depths::new(&config.rabbitmq, machine::broker_surroundings(), &name) {
        Ok(depths) => depths,
        // The pipelines say the same, and louder.
        Err(error) => return debug!(error = chain(&error), "queues cannot be asked for their length"),
    };
    let mut pipelines = BTreeMap::<&str, Vec<&str>>::new();
    for pipeline in &config.pipelines {
        pipelines.entry(&pipeline.queue).or_default().push(&pipeline.name);
    }
    let queues: Vec<String> = pipelines.keys().map(|queue| (*queue).to_owned()).collect();
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let lengths = depths.ask(&queues).await.unwrap_or_else(|error| {
            debug!(error = chain(&error), "queues cannot be asked for their length now");
            vec![None; queues.len()]
        });
        for (names, length) in pipelines.values().zip(lengths) {
            names.iter().for_each(|name| metrics.set_queue_messages(name, length));
        }
    }
}
