//! Processes that run a pipeline over one queue and one store, and are started, drained, halted and killed.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parqueduct::broker::memory::Memory;
use parqueduct::config::{Breaker, Envelope, EventType, Flush, OnTrip, PartitionKey, Pipeline, PipelineKind};
use parqueduct::event::{Message, Properties};
use parqueduct::ingest::{
    Committer, LookBackLimits, PipelineParts, Plan, ShardPanicked, Stop, Surroundings, run_pipeline,
};
use parqueduct::metrics::{Metrics, PipelineMetrics};
use parqueduct::receipt::{Ledger, RequeueCause};
use parqueduct::store::Capabilities;
use parqueduct::store::flush::{FlushLog, Liveness, Owner};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::cloud::Cloud;
use super::faults::{End, Fault, Schedule, Tally};
use crate::harness::orders;

pub const QUEUE: &str = "orders";
pub const PIPELINE: &str = "orders";
/// Bounds of the waits of all back-offs.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// However much goes wrong, a stop has an end: several requests one after the other may wait for their time-outs.
const STOPPED_WITHIN: Duration = Duration::from_secs(1800);
/// With a store that works, a drain takes no longer.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// When the clocks of all schedules start, whatever the time of day.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// Seeds of back-offs, drawn on the thread of a schedule alone.
    static SEEDS: Cell<u64> = const { Cell::new(0) };
}

/// Call on the thread of a schedule, before its runtime is made.
pub fn begin(seed: u64) {
    LazyLock::force(&ORIGIN);
    SEEDS.set(seed);
}

/// The paused clock, as a time of day.
pub fn now() -> DateTime<Utc> {
    let start = DateTime::from_timestamp(1_717_243_200, 0).expect("a time");
    start + Instant::now().duration_since(*ORIGIN)
}

fn seed() -> u64 {
    SEEDS.set(SEEDS.get() + 1);
    SEEDS.get()
}

/// What all processes share.
pub struct World {
    pub schedule: Schedule,
    pub broker: Memory,
    pub cloud: Arc<Cloud>,
    /// The names of the good events, and the bodies of the bad ones by name.
    pub good: Mutex<Vec<String>>,
    pub bad: Mutex<BTreeMap<String, Vec<u8>>>,
    met: Mutex<Tally>,
    living: Arc<Mutex<HashSet<u32>>>,
    pids: AtomicU32,
    ulids: Arc<AtomicU64>,
    killed: Mutex<Vec<Arc<Ledger>>>,
    suppressed: AtomicU64,
}

impl World {
    pub fn new(schedule: Schedule) -> Arc<Self> {
        let broker = Memory::new(now);
        broker.declare(QUEUE);
        Arc::new(Self {
            broker,
            cloud: Cloud::new(schedule.seed),
            good: Mutex::default(),
            bad: Mutex::default(),
            met: Mutex::default(),
            living: Arc::default(),
            pids: AtomicU32::new(1),
            ulids: Arc::default(),
            killed: Mutex::default(),
            suppressed: AtomicU64::new(0),
            schedule,
        })
    }

    pub fn meet(&self, fault: Fault) {
        self.met.lock().expect("not poisoned").add(fault);
    }

    /// The faults that happened so far.
    pub fn met(&self) -> Tally {
        let mut met = self.met.lock().expect("not poisoned").clone();
        met.join(&self.cloud.met());
        met
    }

    /// Deliveries that ended processes acked without a row.
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Relaxed)
    }

    /// Whether nothing can be left to be tidied after a drain: no request that is still on its way, no process that ended
    /// before it had tidied up without another one knowing.
    pub fn is_tidy_once_drained(&self) -> bool {
        let met = self.met();
        let none = |fault: Fault| met.of(fault) == 0;
        none(Fault::StoreLate) && !self.killed_any() && (self.schedule.visible || none(Fault::Drained))
    }

    pub fn publish(&self, good: usize, bad: usize) {
        let (mut goods, mut bads) = (self.good.lock().expect("not poisoned"), self.bad.lock().expect("not poisoned"));
        let mut messages = Vec::new();
        for _ in 0..good {
            let name = format!("order-{}", goods.len());
            messages.push(message(&name, orders::good(goods.len())));
            goods.push(name);
        }
        for _ in 0..bad {
            // Bodies of all kinds, also when few are published.
            let n = bads.len() + self.schedule.seed as usize % orders::KINDS;
            let (name, body) = (format!("bad-{n}"), orders::bad(n).body);
            messages.push(message(&name, body.clone()));
            bads.insert(name, body);
        }
        fastrand::Rng::with_seed(self.schedule.seed + goods.len() as u64).shuffle(&mut messages);
        for message in messages {
            assert!(self.broker.publish(QUEUE, message), "the queue is there");
        }
    }

    /// Whether consumers hold something.
    pub fn holds(&self) -> bool {
        self.broker.unacked(QUEUE) > 0
    }

    /// Waits until every message is acked.
    pub async fn emptied(&self, what: &str, limit: Duration) {
        let emptied = async {
            while self.holds() || !self.broker.ready(QUEUE).is_empty() {
                sleep(Duration::from_millis(200)).await;
            }
        };
        let left = || (self.broker.ready(QUEUE).len(), self.broker.unacked(QUEUE));
        assert!(timeout(limit, emptied).await.is_ok(), "{what}: (ready, unacked) = {:?} after {limit:?}", left());
    }

    /// Runs process number `number` until `ends` is closed: after each end it starts anew.
    pub async fn supervise(self: Arc<Self>, number: usize, mut ends: mpsc::Receiver<(End, Duration)>) {
        loop {
            let mut process = Process::start(&self, number);
            let end = tokio::select! {
                end = ends.recv() => end,
                ended = &mut process.task => panic!("process {number} ended unasked: {ended:?}"),
            };
            match end {
                Some((how, down)) => {
                    process.end(how).await;
                    sleep(down).await;
                }
                None => return process.drain_in_calm().await,
            }
        }
    }

    fn killed_any(&self) -> bool {
        !self.killed.lock().expect("not poisoned").is_empty()
    }

    /// The ledgers of killed processes close too, once nothing of them is left.
    pub fn assert_killed_ledgers_close(&self) {
        for ledger in self.killed.lock().expect("not poisoned").iter() {
            assert_eq!(ledger.in_flight(), 0, "a killed process: {ledger:?}");
        }
    }

    fn plan(&self, instance: &str) -> Plan {
        let schedule = &self.schedule;
        let config = Pipeline {
            name: PIPELINE.to_owned(),
            queue: QUEUE.to_owned(),
            declare: None,
            kind: PipelineKind::Events,
            events: vec![EventType {
                partition_by: if schedule.by_date { vec![PartitionKey::Date] } else { Vec::new() },
                ..orders::event_type()
            }],
            envelope: Envelope::None,
            infer: None,
            dedupe_window: schedule.dedupe_window,
            prefetch: schedule.prefetch,
            shards: schedule.shards,
            flush: Flush { rows: schedule.flush_rows, bytes: schedule.flush_bytes, age: schedule.flush_age },
            breaker: Breaker {
                ratio: 0.5,
                events: 200,
                within: Duration::from_secs(60),
                schema: OnTrip::Divert,
                ours: OnTrip::Pause,
                pause: Duration::from_secs(30),
            },
            monitor: None,
            dlq_rules: Vec::new(),
            body_bytes_max: orders::BODY_MAX,
            depth_max: orders::DEPTH_MAX,
            issues_max: 20,
            open_partitions_max: schedule.open_partitions_max,
            compression_level: 1,
        };
        Plan::new(&config, instance, &|path: &Path| std::fs::read(path), None).expect("the pipeline compiles")
    }

    fn surroundings(&self) -> Surroundings {
        let ulids = Arc::clone(&self.ulids);
        let ulid = move || Ulid::from_parts(now().timestamp_millis() as u64, ulids.fetch_add(1, Relaxed).into());
        Surroundings { now, ulid: Arc::new(ulid), seed }
    }

    fn looker(&self) -> impl Fn(&Owner) -> Liveness + Send + Sync + 'static {
        let (living, visible) = (Arc::clone(&self.living), self.schedule.visible);
        move |owner| match visible {
            false => Liveness::Unknown,
            true if living.lock().expect("not poisoned").contains(&owner.pid) => Liveness::Alive,
            true => Liveness::Dead,
        }
    }
}

fn message(name: &str, body: Vec<u8>) -> Message {
    let properties = Properties { message_id: Some(name.to_owned()), ..Properties::default() };
    Message { body, properties: properties.into(), ..Message::default() }
}

/// One process with its pipeline.
pub struct Process {
    world: Arc<World>,
    pid: u32,
    stop: Stop,
    /// Cancelled at its death: from then on the store does not hear of it.
    dead: CancellationToken,
    metrics: Arc<PipelineMetrics>,
    task: JoinHandle<Result<(), ShardPanicked>>,
}

impl Process {
    pub fn start(world: &Arc<World>, number: usize) -> Self {
        let pid = world.pids.fetch_add(1, Relaxed);
        world.living.lock().expect("not poisoned").insert(pid);
        let instance = format!("host{number}");
        let (stop, dead) = (Stop::default(), CancellationToken::new());
        let store = world.cloud.client(dead.clone());
        let metrics = Arc::new(Metrics::new("test"));
        let pipeline_metrics = metrics.pipeline(PIPELINE, usize::from(world.schedule.shards));
        let committer = Committer {
            log: FlushLog::new(store.clone(), Capabilities { conditional_create: true }, &instance),
            store,
            metrics,
            surroundings: world.surroundings(),
            pipeline: PIPELINE.to_owned(),
            owner: owner(&instance, pid),
            put_concurrency: 2,
            backoff: BACKOFF,
            hold_max: Some(world.schedule.hold_max),
            spans: None,
        };
        let plan = Arc::new(world.plan(&instance));
        let parts = PipelineParts {
            plans: tokio::sync::watch::channel(Arc::clone(&plan)).1,
            sightings: None,
            plan,
            surroundings: world.surroundings(),
            metrics: Arc::clone(&pipeline_metrics),
            broker: Arc::new(world.broker.clone()),
            committer: Arc::new(committer),
            reconnect: BACKOFF,
            flush_grace: world.schedule.grace,
            liveness: Arc::new(world.looker()),
            look_back: LookBackLimits {
                within: Duration::from_secs(3600),
                rows_max: 100_000,
                patience: Duration::from_secs(30),
                grace: world.schedule.grace,
                hold_max: world.schedule.hold_max,
            },
        };
        let task = tokio::spawn(run_pipeline(parts, None, stop.clone()));
        Self { world: Arc::clone(world), pid, stop, dead, metrics: pipeline_metrics, task }
    }

    /// Ends it as told; what it leaves behind is as the law says.
    async fn end(mut self, how: End) {
        let patience = match how {
            End::Drain => STOPPED_WITHIN,
            End::Halt(patience) | End::Kill(patience) => patience,
        };
        self.world.meet(Fault::Drained);
        if matches!(how, End::Kill(Duration::ZERO)) || !self.stopped_within(patience).await {
            match how {
                End::Drain => panic!("a drain has no end"),
                End::Halt(_) => {
                    self.world.meet(Fault::Halted);
                    self.stop.halt.cancel();
                    assert!(self.stopped_within(STOPPED_WITHIN).await, "a halt has no end");
                }
                End::Kill(_) => return self.kill().await,
            }
        }
        self.assert_ledger_closes();
    }

    /// With nothing wrong, a drain archives all that was taken.
    pub async fn drain_in_calm(mut self) {
        let ledger = Arc::clone(&self.metrics.ledger);
        let given_back = ledger.requeued_all();
        assert!(self.stopped_within(DRAINED_WITHIN).await, "a drain with a working store has an end");
        self.assert_ledger_closes();
        assert_eq!(ledger.requeued_all(), given_back, "a drain archives what is open");
    }

    /// Asks it to drain; whether it ended within `limit`.
    async fn stopped_within(&mut self, limit: Duration) -> bool {
        self.stop.drain.cancel();
        match timeout(limit, &mut self.task).await {
            Ok(ended) => ended.expect("a pipeline does not panic").expect("a shard does not panic"),
            Err(_) => return false,
        }
        self.world.living.lock().expect("not poisoned").remove(&self.pid);
        true
    }

    /// SIGKILL: nothing of it goes on, but what the store was sent.
    pub async fn kill(self) {
        if self.world.holds() {
            self.world.meet(Fault::Killed);
        }
        self.dead.cancel();
        self.task.abort();
        self.task.await.ok();
        // The tasks of its shards are told to end when the pipeline's is gone.
        tokio::task::yield_now().await;
        self.world.living.lock().expect("not poisoned").remove(&self.pid);
        self.world.killed.lock().expect("not poisoned").push(Arc::clone(&self.metrics.ledger));
    }

    pub fn ledger(&self) -> &Ledger {
        &self.metrics.ledger
    }

    /// Redeliveries archived with an id that a row has.
    pub fn ids_reused(&self) -> u64 {
        self.metrics.id_reused.get()
    }

    fn assert_ledger_closes(&self) {
        let ledger = &self.metrics.ledger;
        self.world.suppressed.fetch_add(ledger.suppressed(), Relaxed);
        let settled = ledger.archived() + ledger.dead_lettered_all() + ledger.suppressed() + ledger.requeued_all();
        assert_eq!((ledger.received(), ledger.in_flight()), (settled, 0), "the ledger closes: {ledger:?}");
        assert_eq!(ledger.requeued(RequeueCause::Dropped), 0, "no receipt is forgotten: {ledger:?}");
    }
}

fn owner(instance: &str, pid: u32) -> Owner {
    Owner {
        instance: instance.to_owned(),
        host: "host".to_owned(),
        boot_id: "boot".to_owned(),
        pid_namespace: "namespace".to_owned(),
        pid,
        pid_started: 1,
    }
}
