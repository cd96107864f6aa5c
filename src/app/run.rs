//! `parqueduct run`: all pipelines until SIGTERM or SIGINT, then a drain within its time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::VERSION;
use crate::app::learned::Tutor;
use crate::app::otlp::Otlp;
use crate::app::reload::{InUse, Watch};
use crate::app::{self, machine};
use crate::broker::{Broker, Rabbit};
use crate::config::Config;
use crate::http;
use crate::ingest::{
    Committer, LookBackLimits, PipelineParts, Plan, PlanError, ShardPanicked, Spans, Stop, await_store, run_pipeline,
};
use crate::metrics::{Metrics, PipelineMetrics};
use crate::replay::{Replays, Tasks};
use crate::store::flush::FlushLog;
use crate::store::{Capabilities, Store};

/// Runs every pipeline of `config` until told to stop.
///
/// # Errors
/// When it cannot start, or a defect ended it. Nothing is lost either way: what is not durable is in the queue.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(VERSION));
    let store = app::open_store(&config, &metrics)?;
    let schemas = app::schemas(&config, &metrics);
    let shared = Arc::new(config.clone());
    // All of them before anybody can ask: a process is ready only when all its pipelines are.
    let flows = config
        .pipelines
        .iter()
        .map(|pipeline| match &pipeline.infer {
            Some(infer) => {
                let (tutor, in_use) = Tutor::new(&shared, pipeline, infer, &metrics, &store)?;
                Ok((Keeper::Tutor(tutor), in_use))
            }
            None => {
                let (watch, in_use) = Watch::new(&shared, pipeline, &metrics, schemas.clone())?;
                Ok((Keeper::Watch(watch), in_use))
            }
        })
        .collect::<Result<Vec<_>, PlanError>>()?;
    let in_use: Vec<InUse> = flows.iter().map(|(_, in_use)| in_use.clone()).collect();
    let broker: Arc<dyn Broker> = Arc::new(Rabbit::new(&config.rabbitmq, machine::broker_surroundings())?);
    let otlp = config.otlp.as_ref().map(|otlp| Otlp::start(otlp, &config.instance, &metrics)).transpose();
    let otlp = otlp.context("otlp: spans cannot be sent")?.map(Arc::new);
    let stop = Stop::default();
    let (mut http, mut pipelines) = (JoinSet::new(), JoinSet::new());
    if let Some(address) = config.http.listen {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("http.listen: {address} cannot be bound"))?;
        let address = listener.local_addr()?;
        info!(%address, "metrics and health are served");
        let shown = http::Shown {
            metrics: Arc::clone(&metrics),
            now: machine::now,
            unacked_age_max: config.run.unacked_age_max,
        };
        let api = config.http.api.as_ref().map(|api| {
            let replays = app::replays_over(shared, store.clone(), app::Texts::default());
            let replays = Replays { compile: app::replays::plans_in_use(in_use.clone(), replays.compile), ..replays };
            let tasks = Tasks::new(replays, api.tasks_max, stop.clone());
            // They are drained as pipelines are.
            let (drain, ended) = (stop.drain.clone(), Arc::clone(&tasks));
            pipelines.spawn(async move {
                drain.cancelled().await;
                ended.ended().await;
                Ok(())
            });
            app::api::parts(&config, api, &in_use, &metrics, tasks)
        });
        let limits = app::api::limits(&config.http);
        let halted = stop.halt.clone();
        http.spawn(async move {
            let served = http::serve(listener, shown, api, limits, async move { halted.cancelled().await }).await;
            if let Err(error) = served {
                error!(%error, "metrics and health are no longer served");
            }
        });
    }
    info!(version = VERSION, instance = %config.instance, pipelines = config.pipelines.len(), "running");
    // Beside the pipelines, which do not wait for it; dropped with them, if it takes longer.
    let mut aside = JoinSet::new();
    aside.spawn({
        let config = config.clone();
        async move { app::foresee::warn_of_the_foreseen(&config).await }
    });
    if let Some(every) = config.rabbitmq.depth_every {
        aside.spawn(app::depth::watch(config.clone(), every, Arc::clone(&metrics)));
    }
    if let Some(every) = config.dlq.groups_every {
        aside.spawn(app::groups::watch(config.clone(), every, store.clone(), Arc::clone(&metrics)));
    }
    let drain_timeout = config.run.drain_timeout;
    for (keeper, in_use) in flows {
        let spans = otlp.clone().map(|otlp| otlp as Arc<dyn Spans>);
        let (store, metrics, broker) = (store.clone(), Arc::clone(&metrics), Arc::clone(&broker));
        let start = Start { keeper, in_use, store, metrics, broker, spans };
        pipelines.spawn(start.run(config.clone(), stop.clone()));
    }
    let ended = supervise(&mut pipelines, &stop, drain_timeout).await;
    stop.halt.cancel();
    // A client that reads slowly, or not at all, does not hold the end up.
    if tokio::time::timeout(HTTP_END_MAX, http.join_next()).await.is_err() {
        http.shutdown().await;
    }
    if let Some(otlp) = otlp {
        otlp.end().await;
    }
    for pipeline in metrics.pipelines() {
        report_ledger(&pipeline);
    }
    ended
}

/// What keeps the plan of a pipeline up to date.
enum Keeper {
    /// By files.
    Watch(Watch),
    /// By what events are.
    Tutor(Tutor),
}

/// A pipeline that has not started yet.
struct Start {
    keeper: Keeper,
    in_use: InUse,
    store: Store,
    metrics: Arc<Metrics>,
    broker: Arc<dyn Broker>,
    spans: Option<Arc<dyn Spans>>,
}

impl Start {
    /// Waits until the store takes writes, and until the schema is learned if it is to be, then runs the pipeline until it is stopped.
    async fn run(self, config: Config, stop: Stop) -> Result<(), ShardPanicked> {
        let Some(capabilities) = store_ready(&self.store, &self.metrics, &stop).await else { return Ok(()) };
        let Self { mut keeper, in_use: InUse { metrics: pipeline_metrics, plans, .. }, .. } = self;
        let (mut held, mut sightings) = (None, None);
        if let Keeper::Tutor(tutor) = &mut keeper {
            let may_adopt = capabilities.conditional_create && config.run.schema_reload.is_some();
            let Some(begun) = tutor.begin(&config, &self.metrics, &self.broker, may_adopt, &stop).await else {
                return Ok(());
            };
            (held, sightings) = (begun, tutor.sightings());
        }
        let plan = Arc::clone(&plans.borrow());
        // Dropped with the pipeline: it may be stopped anywhere.
        let mut tending = JoinSet::new();
        if let Some(every) = config.run.schema_reload {
            match keeper {
                Keeper::Watch(watch) => tending.spawn(watch.run(every)),
                Keeper::Tutor(tutor) => tending.spawn(tutor.run(every)),
            };
        }
        if capabilities.conditional_create && config.dlq.merge {
            let name = plan.config.name.clone();
            let (store, metrics) = (self.store.clone(), Arc::clone(&self.metrics));
            tending.spawn(app::tend::tend(name, config.clone(), store, metrics, stop.clone()));
        }
        let parts = PipelineParts {
            committer: Arc::new(Committer {
                spans: self.spans,
                ..committer(&config, &plan, self.store, self.metrics, capabilities, Some(config.run.flush_grace / 2))
            }),
            sightings,
            plan,
            plans,
            surroundings: machine::surroundings(),
            metrics: pipeline_metrics,
            broker: self.broker,
            reconnect: (config.rabbitmq.reconnect_min, config.rabbitmq.reconnect_max),
            flush_grace: config.run.flush_grace,
            liveness: Arc::new(machine::liveness),
            look_back: LookBackLimits {
                within: config.run.look_back,
                rows_max: config.run.look_back_rows,
                patience: config.run.look_up_patience,
                grace: config.run.flush_grace,
                hold_max: config.run.flush_grace / 2,
            },
        };
        run_pipeline(parts, held, stop).await
    }
}

/// What writes a pipeline's flushes.
pub(super) fn committer(
    config: &Config,
    plan: &Plan,
    store: Store,
    metrics: Arc<Metrics>,
    capabilities: Capabilities,
    hold_max: Option<Duration>,
) -> Committer {
    Committer {
        log: FlushLog::new(store.clone(), capabilities, &config.instance),
        store,
        metrics,
        surroundings: machine::surroundings(),
        pipeline: plan.config.name.clone(),
        owner: app::owner(&config.instance),
        put_concurrency: config.store.put_concurrency,
        backoff: STORE_BACKOFF,
        hold_max,
        spans: None,
    }
}

/// How long requests under way may still be answered at the end.
const HTTP_END_MAX: Duration = Duration::from_secs(1);

/// From the end of the drain's time until what still goes on is dropped: long enough to give deliveries back.
const HALT_MAX: Duration = Duration::from_secs(12);

/// Bounds of the wait between attempts to write: short enough that a store that is back is noticed.
const STORE_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Waits until the store takes writes, and says what it cannot do.
pub(super) async fn store_ready(store: &Store, metrics: &Metrics, stop: &Stop) -> Option<Capabilities> {
    let capabilities = await_store(store, metrics, &machine::surroundings(), STORE_BACKOFF, stop).await?;
    if !capabilities.conditional_create {
        warn!(
            store = store.name(),
            "the store ignores conditional create (If-None-Match): object names are collision-free all the same, but each instance resolves only its own flushes"
        );
    }
    Some(capabilities)
}

/// Waits for a signal or the end of a pipeline, then drains within `drain_timeout`; a second signal ends at once.
async fn supervise(
    pipelines: &mut JoinSet<Result<(), ShardPanicked>>,
    stop: &Stop,
    drain_timeout: Duration,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened to")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened to")?;
    let mut deadline = None;
    let mut signals = 0;
    let mut result = Ok(());
    loop {
        tokio::select! {
            ended = pipelines.join_next() => match ended {
                None => return result,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(panicked))) => {
                    error!("{panicked}");
                    result = Err(panicked.into());
                    stop.drain.cancel();
                }
                Some(Err(ended)) if ended.is_cancelled() => {}
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            },
            signal = async { tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" } } => {
                signals += 1;
                if signals == 1 {
                    info!(signal, seconds_max = drain_timeout.as_secs(), "draining");
                    stop.drain.cancel();
                } else {
                    warn!(signal, "second signal: ending at once; what is not durable goes back to the queue");
                    stop.halt.cancel();
                    pipelines.abort_all();
                }
            },
            // By a signal, or by a shard that failed.
            () = stop.drain.cancelled(), if deadline.is_none() => {
                deadline = Some(tokio::time::Instant::now() + drain_timeout);
            }
            () = passed(deadline) => {
                if stop.halt.is_cancelled() {
                    warn!("what still goes on is dropped; the broker takes back what is not acked");
                    pipelines.abort_all();
                } else {
                    warn!("the drain took too long: what is not durable goes back to the queue");
                    stop.halt.cancel();
                }
                deadline = Some(tokio::time::Instant::now() + HALT_MAX);
            },
        }
    }
}

async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The last line: the law, in figures.
pub(super) fn report_ledger(pipeline: &PipelineMetrics) {
    let ledger = &pipeline.ledger;
    info!(
        pipeline = %pipeline.name,
        received = ledger.received(),
        archived = ledger.archived(),
        dead_lettered = ledger.dead_lettered_all(),
        suppressed = ledger.suppressed(),
        requeued = ledger.requeued_all(),
        in_flight = ledger.in_flight(),
        "ledger: received = archived + dead_lettered + suppressed + requeued + in_flight",
    );
}
