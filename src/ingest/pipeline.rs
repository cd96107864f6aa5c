//! A pipeline's shards: each connects, runs an epoch, and connects again until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::broker::{Broker, ConnectError, Subscription};
use crate::dlq::record::AttemptSource;
use crate::ingest::breaker::{Breaker, PROBE_EVENTS, Turn};
use crate::ingest::commit::{Committer, Unresolved, chain};
use crate::ingest::crashes::{Care, Journal, SharedJournal};
use crate::ingest::learned::{Held, Over, Sightings};
use crate::ingest::repeats::{LookBack, LookBackLimits};
use crate::ingest::shard::{EpochEnd, EpochReport, ShardParts, Stop, run_epoch};
use crate::ingest::worker::Origin;
use crate::ingest::{Plan, Plans, Surroundings};
use crate::metrics::PipelineMetrics;
use crate::monitor::FlowWatch;
use crate::store::flush::{FlushError, Liveness, Owner};

/// How often it is looked whether what opened a breaker is long ago.
const BREAKER_LOOK: Duration = Duration::from_secs(5);

/// How often the flow of deliveries is looked at.
const FLOW_LOOK: Duration = Duration::from_secs(1);

/// Tells whether the owner of a flush still lives.
pub type LookAt = Arc<dyn Fn(&Owner) -> Liveness + Send + Sync>;

/// What a pipeline runs on.
#[derive(Clone)]
pub struct PipelineParts {
    /// As it was at the start; its configuration, names and limits hold for all that follow.
    pub plan: Arc<Plan>,
    /// The one in use: each shard takes a new one between two flushes.
    pub plans: Plans,
    pub surroundings: Surroundings,
    pub metrics: Arc<PipelineMetrics>,
    pub broker: Arc<dyn Broker>,
    pub committer: Arc<Committer>,
    /// Bounds of the wait between attempts to connect.
    pub reconnect: (Duration, Duration),
    /// How long an intent of an owner that cannot be seen is left alone.
    pub flush_grace: Duration,
    pub liveness: LookAt,
    pub look_back: LookBackLimits,
    /// Where the schema is learned.
    pub sightings: Option<Arc<Sightings>>,
}

/// A shard panicked: a defect. Nothing it held was acked, so nothing is lost, but the process must not go on half.
#[derive(Debug, thiserror::Error)]
#[error("pipeline {pipeline}: a shard panicked; what it held goes back to the queue")]
pub struct ShardPanicked {
    pub pipeline: String,
}

/// Runs all shards of a pipeline until they have stopped. The first begins with what is `held`.
///
/// # Errors
/// When a shard panicked; the others were asked to drain.
pub async fn run_pipeline(parts: PipelineParts, mut held: Option<Held>, stop: Stop) -> Result<(), ShardPanicked> {
    let Some(journal) = holding(&mut held, &parts, begin(&parts, &stop)).await else {
        if let Some(held) = held {
            held.give_back().await;
        }
        return Ok(());
    };
    let journal = Arc::new(journal);
    let look_back = Arc::new(LookBack::new(
        Arc::clone(&parts.committer),
        Arc::clone(&parts.liveness),
        parts.look_back,
        parts.plan.config.dedupe_window,
    ));
    let config = &parts.plan.config;
    let breaker = Arc::new(Breaker::new(&config.name, config.breaker.clone(), Arc::clone(&parts.metrics)));
    let shared = Shared { look_back, journal: Arc::clone(&journal), breaker: Arc::clone(&breaker) };
    let mut shards = JoinSet::new();
    for shard in 0..config.shards {
        shards.spawn(run_shard(parts.clone(), shared.clone(), shard, held.take(), stop.clone()));
    }
    let mut flow = config.monitor.as_ref().map(FlowWatch::new);
    if let Some(flow) = &flow {
        flow.begin(&parts.metrics.monitors);
        parts.metrics.monitors.set_last_delivery((parts.surroundings.now)());
    }
    let (mut look_at_flow, began) = (tokio::time::interval(FLOW_LOOK), Instant::now());
    let mut panicked = false;
    let mut next_look = tokio::time::interval(parts.flush_grace);
    next_look.tick().await;
    let mut look_at_breaker = tokio::time::interval(BREAKER_LOOK);
    loop {
        tokio::select! {
            ended = shards.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(_)) => {
                    panicked = true;
                    stop.drain.cancel();
                }
            },
            _ = look_at_breaker.tick() => breaker.look(Instant::now()),
            _ = look_at_flow.tick(), if flow.is_some() => {
                let Some(flow) = &mut flow else { continue };
                show_flow(flow, &parts, began.elapsed());
            }
            // A process that cannot be seen from here counts as dead only after the grace: look again.
            _ = next_look.tick() => look_again(&parts).await,
        }
    }
    // Whoever meets a flush without outcome decides it: after a drain the archive is exact.
    tokio::select! {
        () = look_again(&parts) => {}
        () = stop.halt.cancelled() => {}
    }
    if !panicked {
        tokio::select! {
            () = journal.close() => {}
            () = stop.halt.cancelled() => {}
        }
    }
    if panicked { Err(ShardPanicked { pipeline: parts.plan.config.name.clone() }) } else { Ok(()) }
}

fn show_flow(flow: &mut FlowWatch, parts: &PipelineParts, at: Duration) {
    let (metrics, ledger) = (&parts.metrics, &parts.metrics.ledger);
    let idle = metrics.connected() > 0 && ledger.in_flight() == 0;
    let (came, flow) = flow.look(ledger.received(), idle, at);
    if came {
        metrics.monitors.set_last_delivery((parts.surroundings.now)());
    }
    metrics.monitors.set_flow(flow);
}

async fn look_again(parts: &PipelineParts) {
    if let Err(error) = resolve_once(parts).await {
        warn!(pipeline = %parts.plan.config.name, error = chain(&error), "flushes may be left without outcome: they are decided later");
    }
}

/// Aborts what dead owners left without outcome, and looks how earlier runs ended, before the first delivery is taken;
/// `None` when asked to stop meanwhile.
async fn begin(parts: &PipelineParts, stop: &Stop) -> Option<Journal> {
    let id = (parts.surroundings.ulid)();
    let mut backoff = parts.surroundings.backoff(parts.reconnect);
    let pipeline = &parts.plan.config.name;
    loop {
        let begun = async {
            resolve_once(parts).await?;
            let Committer { store, owner, .. } = parts.committer.as_ref();
            Ok::<_, FlushError>(Journal::open(store, pipeline, owner, id, &parts.liveness).await?)
        };
        let begun = tokio::select! {
            begun = begun => begun,
            () = stop.drain.cancelled() => return None,
        };
        match begun {
            Ok(journal) => return Some(journal),
            Err(error) => {
                let wait = backoff.next_wait();
                warn!(%pipeline, error = chain(&error), ?wait, "the store cannot be read: no delivery is taken yet");
                if !sleep_unless_stopped(wait, stop).await {
                    return None;
                }
            }
        }
    }
}

/// What `waited` comes to. What is `held` meanwhile goes back when it may be held no longer, or its channel has ended; then it
/// is waited on without it.
async fn holding<T>(held: &mut Option<Held>, parts: &PipelineParts, waited: impl Future<Output = T>) -> T {
    tokio::pin!(waited);
    let over = async {
        match held.as_mut() {
            Some(held) => held.over().await,
            None => std::future::pending().await,
        }
    };
    let over = tokio::select! {
        biased;
        done = &mut waited => return done,
        over = over => over,
    };
    if let Some(held) = held.take() {
        let (pipeline, events) = (&parts.plan.config.name, held.events());
        match over {
            Over::TimeIsUp => {
                warn!(%pipeline, events, "the store is away for too long: what was held to learn of goes back to the queue")
            }
            Over::Ended(reason) => {
                warn!(%pipeline, events, %reason, "the consumer ended: what was held to learn of is back in the queue")
            }
        }
        held.give_back().await;
    }
    waited.await
}

async fn resolve_once(parts: &PipelineParts) -> Result<(), FlushError> {
    let pipeline = &parts.plan.config.name;
    let now = (parts.surroundings.now)();
    let resolved = parts.committer.log.resolve(pipeline, now, parts.flush_grace, parts.liveness.as_ref()).await?;
    for (path, error) in &resolved.unreadable {
        error!(%pipeline, path, error, "a record of a flush cannot be read: a person must look; it is left alone");
    }
    if resolved.aborted > 0 {
        info!(%pipeline, aborted = resolved.aborted, objects_deleted = resolved.objects_deleted, "flushes left undecided by a process that is gone are aborted: their deliveries are in the queue");
    }
    Ok(())
}

/// What the shards of a pipeline have in common.
#[derive(Clone)]
struct Shared {
    look_back: Arc<LookBack>,
    journal: SharedJournal,
    breaker: Arc<Breaker>,
}

async fn run_shard(parts: PipelineParts, shared: Shared, shard: u16, mut held: Option<Held>, stop: Stop) {
    let Shared { look_back, journal, breaker } = shared;
    let mut care = journal.care();
    let shard_parts = ShardParts {
        plan: Arc::clone(&parts.plan),
        plans: parts.plans.clone(),
        surroundings: parts.surroundings.clone(),
        metrics: Arc::clone(&parts.metrics),
        committer: Arc::clone(&parts.committer),
        look_back,
        breaker: Arc::clone(&breaker),
        journal,
        sightings: parts.sightings.clone(),
        shard,
        stop: stop.clone(),
    };
    let origin = Origin { shard, source: AttemptSource::Queue, file: None };
    let config = &parts.plan.config;
    let mut subscription = Subscription {
        queue: config.queue.clone(),
        prefetch: config.prefetch,
        declare: config.declare.clone(),
        name: format!("parqueduct {}/{} of {}", config.name, shard, parts.plan.instance),
    };
    let mut backoff = parts.surroundings.backoff(parts.reconnect);
    let mut unresolved = Vec::new();
    while !stop.drain.is_cancelled() {
        if holding(&mut held, &parts, parts.committer.await_store(&stop)).await.is_none() {
            break;
        }
        if let Some(schemas) = &parts.plan.schemas
            && schemas.await_answers(&config.name, &stop.drain).await.is_err()
        {
            break;
        }
        // Before the same deliveries come again, what was made of them must be decided.
        abort_unresolved(&parts, &mut unresolved).await;
        if !unresolved.is_empty() {
            if !sleep_unless_stopped(backoff.next_wait(), &stop).await {
                break;
            }
            continue;
        }
        let turn = tokio::select! {
            () = stop.drain.cancelled() => break,
            turn = holding(&mut held, &parts, breaker.turn()) => turn,
        };
        if let Turn::Probe(_) = turn {
            care = Care::Growing(PROBE_EVENTS);
        }
        subscription.prefetch = care.window(config.prefetch);
        let is_careful = |held: &mut Held| care == Care::Alone || held.events() > subscription.prefetch.into();
        if let Some(held) = held.take_if(is_careful) {
            // Its channel has a window of its own, and may have taken more than the care allows.
            info!(pipeline = %config.name, events = held.events(), window = subscription.prefetch, "the run begins with care: what was held to learn of goes back to the queue, and is taken in smaller portions");
            held.give_back().await;
        }
        let connected = match held.take() {
            Some(held) => Ok(held.resume(subscription.prefetch).await),
            None => tokio::select! {
                () = stop.drain.cancelled() => break,
                connected = parts.broker.consume(&subscription) => connected,
            },
        };
        let needs_a_person = match connected {
            Ok((intake, settler)) => {
                info!(pipeline = %config.name, shard, queue = %config.queue, "consuming");
                let run = run_epoch(&shard_parts, origin.clone(), (care, turn), intake, settler, &mut unresolved);
                let EpochReport { end, received, care: next } = run.await;
                care = next;
                if !report_end(&parts, shard, &end) {
                    break;
                }
                parts.metrics.broker_reconnects.inc();
                if received > 0 && !matches!(end, EpochEnd::Aborted) {
                    backoff.reset();
                }
                match end {
                    // Each time deliveries are given back may count against a delivery limit.
                    EpochEnd::Aborted => true,
                    // The wait for a turn is the back-off.
                    EpochEnd::Paused => {
                        care = Care::GENTLE;
                        continue;
                    }
                    EpochEnd::Lost(ended) => ended.needs_a_person(),
                    EpochEnd::Drained => false,
                }
            }
            Err(failure) => {
                report_failure(&parts, shard, &failure);
                failure.needs_a_person()
            }
        };
        let wait = if needs_a_person { backoff.next_slow_wait() } else { backoff.next_wait() };
        if !sleep_unless_stopped(wait, &stop).await {
            break;
        }
    }
    if let Some(held) = held {
        held.give_back().await;
    }
    tokio::select! {
        () = abort_unresolved(&parts, &mut unresolved) => {}
        () = stop.halt.cancelled() => {}
    }
}

/// Logs how an epoch ended; true when a new one is wanted.
fn report_end(parts: &PipelineParts, shard: u16, end: &EpochEnd) -> bool {
    let pipeline = &parts.plan.config.name;
    match end {
        EpochEnd::Drained => {
            info!(%pipeline, shard, "drained");
            false
        }
        EpochEnd::Lost(reason) if reason.needs_a_person() => {
            error!(%pipeline, shard, %reason, "the broker ended the consumer: a person must act; what it held is back in the queue, trying again");
            true
        }
        EpochEnd::Lost(reason) => {
            warn!(%pipeline, shard, %reason, "the consumer ended: what it held is back in the queue, connecting again");
            true
        }
        // The breaker said so, once for all shards.
        EpochEnd::Paused => true,
        EpochEnd::Aborted => {
            warn!(%pipeline, shard, "a flush was given up: what the shard held is back in the queue, connecting again when the store, and the schema registry, answer");
            true
        }
    }
}

fn report_failure(parts: &PipelineParts, shard: u16, failure: &ConnectError) {
    let pipeline = &parts.plan.config.name;
    let error = chain(failure);
    match failure {
        ConnectError::Unavailable { .. } => warn!(%pipeline, shard, error, "cannot connect, trying again"),
        ConnectError::Refused { .. } => {
            error!(%pipeline, shard, error, "the broker refuses: a person must act; trying again")
        }
    }
}

/// Tries to give flushes an outcome that got none when their epoch ended; those that still cannot are kept.
async fn abort_unresolved(parts: &PipelineParts, unresolved: &mut Vec<Unresolved>) {
    let mut left = Vec::new();
    for flush in unresolved.drain(..) {
        if let Err(error) = parts.committer.abort(&flush).await {
            warn!(pipeline = %parts.plan.config.name, error = chain(&error), "a flush is still without outcome: trying again at the next connection");
            left.push(flush);
        }
    }
    *unresolved = left;
}

async fn sleep_unless_stopped(wait: Duration, stop: &Stop) -> bool {
    tokio::select! {
        () = stop.drain.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}
