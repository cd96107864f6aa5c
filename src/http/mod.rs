//! Metrics, health and the API over HTTP: thin, no logic.

pub mod api; // the dead letters
mod listen; // connections, in a bounded number

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;

use crate::metrics::{Learning, Metrics};
use listen::Bounded;

/// What the routes show.
pub struct Shown {
    pub metrics: Arc<Metrics>,
    pub now: fn() -> DateTime<Utc>,
    /// `/readyz` fails when a pipeline's oldest unacked delivery is older.
    pub unacked_age_max: Duration,
}

/// How connections are served.
pub struct Limits {
    pub connections_max: usize,
    /// A connection on which nothing moves for so long is ended; more than any answer takes.
    pub silence_max: Duration,
}

/// Serves on `listener` until `stopped` resolves.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    shown: Shown,
    api: Option<api::Parts>,
    limits: Limits,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(Arc::new(shown));
    let routes = match api {
        Some(parts) => routes.merge(api::routes(parts)),
        None => routes,
    };
    let listener = Bounded::new(listener, limits.connections_max, limits.silence_max);
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await
}

/// Prometheus text exposition format 0.0.4.
const METRICS_TYPE: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

async fn metrics(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    (METRICS_TYPE, shown.metrics.render((shown.now)()))
}

async fn readiness(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let reasons = reasons_not_ready(&shown);
    if reasons.is_empty() {
        (StatusCode::OK, ["ready".to_owned()].into_iter().chain(waits(&shown)).collect::<Vec<_>>().join("\n") + "\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

/// What is waited for by pipelines that learn their schema, on a line of its own each. They take what comes, and so are ready.
fn waits(shown: &Shown) -> Vec<String> {
    let learning = shown.metrics.pipelines().into_iter().filter_map(|pipeline| match pipeline.learning() {
        Learning::Waits { events, wanted, .. } => Some(format!(
            "pipeline {}: its schema is being learned, of {events} events of {wanted} so far",
            pipeline.name
        )),
        Learning::Not | Learning::Done { .. } => None,
    });
    learning.collect()
}

/// Each reason on a line of its own; empty when ready.
fn reasons_not_ready(shown: &Shown) -> Vec<String> {
    let mut reasons = Vec::new();
    if !shown.metrics.store_up() {
        reasons.push("the object store does not take writes".to_owned());
    }
    let now = (shown.now)();
    for pipeline in shown.metrics.pipelines() {
        // While it learns, one consumer holds the first events, which wait for others, and none is asked for more.
        let (shards, patience) = match pipeline.learning() {
            Learning::Waits { patience, .. } => (1, patience),
            Learning::Not | Learning::Done { .. } => (pipeline.shards.len(), Duration::ZERO),
        };
        let (connected, age_max) = (pipeline.connected(), shown.unacked_age_max + patience);
        if connected < shards {
            reasons.push(format!("pipeline {}: {connected} of {shards} shards have a consumer", pipeline.name));
        }
        let age = pipeline.oldest_unacked(now).to_std().unwrap_or_default();
        if age > age_max {
            let (age, bound) = (age.as_secs(), age_max.as_secs());
            reasons.push(format!(
                "pipeline {}: the oldest delivery is unacked for {age} s, bound {bound} s",
                pipeline.name
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        let now = || DateTime::from_timestamp(1_000, 0).expect("in range");
        Shown { metrics: Arc::new(Metrics::new("0")), now, unacked_age_max: Duration::from_secs(60) }
    }

    #[test]
    fn readiness_names_everything_that_is_missing() {
        let shown = shown();
        let pipeline = shown.metrics.pipeline("flights", 2);
        pipeline.shards[0].set_connected(true);
        pipeline.shards[0].set_oldest_unacked(DateTime::from_timestamp(900, 0));
        shown.metrics.set_store_up(false);
        assert_eq!(
            reasons_not_ready(&shown),
            [
                "the object store does not take writes",
                "pipeline flights: 1 of 2 shards have a consumer",
                "pipeline flights: the oldest delivery is unacked for 100 s, bound 60 s",
            ]
        );
    }

    #[test]
    fn a_pipeline_that_waits_for_events_to_learn_of_is_ready_and_says_so() {
        let shown = shown();
        let pipeline = shown.metrics.pipeline("flights", 2);
        let patience = Duration::from_secs(600);
        pipeline.set_learning(Learning::Waits { events: 12, wanted: 1_000, patience });
        assert_eq!(reasons_not_ready(&shown), ["pipeline flights: 0 of 1 shards have a consumer"]);
        pipeline.shards[0].set_connected(true);
        pipeline.shards[0].set_oldest_unacked(DateTime::from_timestamp(1_000 - 660, 0));
        assert_eq!(reasons_not_ready(&shown), Vec::<String>::new());
        assert_eq!(waits(&shown), ["pipeline flights: its schema is being learned, of 12 events of 1000 so far"]);
        pipeline.shards[0].set_oldest_unacked(DateTime::from_timestamp(1_000 - 661, 0));
        let late = "pipeline flights: the oldest delivery is unacked for 661 s, bound 660 s";
        assert_eq!(reasons_not_ready(&shown), [late], "longer than it was to wait");
        pipeline.shards[0].set_oldest_unacked(None);
        pipeline.set_learning(Learning::Done { revision: 1 });
        assert_eq!(waits(&shown), Vec::<String>::new());
        assert_eq!(reasons_not_ready(&shown), ["pipeline flights: 1 of 2 shards have a consumer"]);
    }

    #[test]
    fn readiness_is_had_when_all_shards_consume_and_nothing_is_old() {
        let shown = shown();
        let pipeline = shown.metrics.pipeline("flights", 1);
        pipeline.shards[0].set_connected(true);
        assert!(reasons_not_ready(&shown).is_empty());
    }
}
