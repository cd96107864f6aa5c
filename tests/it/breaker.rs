//! When most events fail: with the broker's twin and paused time, to the last delivery, and with RabbitMQ and the binary.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use chrono::Utc;
use lapin::types::AMQPValue;
use parqueduct::broker::memory::Memory;
use parqueduct::config::{Breaker, Envelope, EventType, Flush, OnTrip, PartitionKey, Pipeline, PipelineKind};
use parqueduct::event::Message;
use parqueduct::ingest::{Committer, LookBackLimits, PipelineParts, Plan, Stop, Surroundings, run_pipeline};
use parqueduct::metrics::{Metrics, PipelineMetrics};
use parqueduct::receipt::RequeueCause;
use parqueduct::rejection::Class;
use parqueduct::store::flush::{FlushLog, Liveness, Owner};
use parqueduct::store::{Capabilities, Store};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use ulid::Ulid;

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const QUEUE: &str = "orders";
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Bad orders of the schema's making: an amount that is text.
fn schema_trouble(n: usize) -> Vec<u8> {
    orders::bad(n * orders::KINDS + 4).body
}

/// Bad orders of ours: an integer that fits no column.
fn our_trouble(n: usize) -> Vec<u8> {
    orders::bad(n * orders::KINDS + 8).body
}

fn pipeline(schema: OnTrip) -> Pipeline {
    Pipeline {
        name: QUEUE.to_owned(),
        queue: QUEUE.to_owned(),
        declare: None,
        kind: PipelineKind::Events,
        events: vec![EventType { partition_by: vec![PartitionKey::Date], ..orders::event_type() }],
        envelope: Envelope::None,
        infer: None,
        dedupe_window: None,
        prefetch: 400,
        shards: 2,
        flush: Flush { rows: 280, bytes: 8 << 20, age: Duration::from_secs(5) },
        breaker: Breaker {
            ratio: 0.5,
            events: 100,
            within: MINUTE,
            schema,
            ours: OnTrip::Pause,
            pause: Duration::from_secs(2),
        },
        monitor: None,
        dlq_rules: Vec::new(),
        body_bytes_max: orders::BODY_MAX,
        depth_max: orders::DEPTH_MAX,
        issues_max: 20,
        open_partitions_max: 64,
        compression_level: 1,
    }
}

/// A pipeline over a broker and a store in memory.
struct Running {
    broker: Memory,
    metrics: Arc<PipelineMetrics>,
    stop: Stop,
    task: JoinHandle<()>,
}

impl Running {
    /// Over a queue that drops what is given back more than once.
    fn start(schema: OnTrip) -> Self {
        let broker = Memory::new(Utc::now);
        broker.declare(QUEUE);
        broker.limit_deliveries(QUEUE, 1);
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new("test")));
        let serial = Arc::new(AtomicU64::new(1));
        let ulid = move || Ulid::from_parts(Utc::now().timestamp_millis() as u64, serial.fetch_add(1, Relaxed).into());
        let surroundings = Surroundings { now: Utc::now, ulid: Arc::new(ulid), seed: || 7 };
        let config = pipeline(schema);
        let shared = metrics.pipeline(QUEUE, usize::from(config.shards));
        let owner = Owner {
            instance: "host_1".into(),
            host: "h".into(),
            boot_id: "b".into(),
            pid_namespace: "n".into(),
            pid: 1,
            pid_started: 1,
        };
        let committer = Committer {
            log: FlushLog::new(store.clone(), Capabilities { conditional_create: true }, "host_1"),
            store,
            metrics,
            surroundings: surroundings.clone(),
            pipeline: QUEUE.to_owned(),
            owner,
            put_concurrency: 2,
            backoff: BACKOFF,
            hold_max: Some(MINUTE),
            spans: None,
        };
        let read = |path: &Path| std::fs::read(path);
        let plan = Arc::new(Plan::new(&config, "host_1", &read, None).expect("the pipeline compiles"));
        let parts = PipelineParts {
            plans: tokio::sync::watch::channel(Arc::clone(&plan)).1,
            sightings: None,
            plan,
            surroundings,
            metrics: Arc::clone(&shared),
            broker: Arc::new(broker.clone()),
            committer: Arc::new(committer),
            reconnect: BACKOFF,
            flush_grace: 10 * MINUTE,
            liveness: Arc::new(|_| Liveness::Alive),
            look_back: LookBackLimits {
                within: DAY,
                rows_max: 100_000,
                patience: MINUTE,
                grace: 10 * MINUTE,
                hold_max: MINUTE,
            },
        };
        let stop = Stop::default();
        let run = run_pipeline(parts, None, stop.clone());
        let task = tokio::spawn(async move { run.await.expect("no shard panics") });
        Self { broker, metrics: shared, stop, task }
    }

    fn publish(&self, bodies: impl Iterator<Item = Vec<u8>>) {
        for body in bodies {
            assert!(self.broker.publish(QUEUE, Message { body, ..Message::default() }), "the queue is there");
        }
    }

    async fn until(&self, what: &str, met: impl Fn(&Self) -> bool) {
        let waited = timeout(60 * MINUTE, async {
            while !met(self) {
                sleep(Duration::from_millis(500)).await;
            }
        });
        let met = waited.await.is_ok();
        let (ready, unacked) = (self.broker.ready(QUEUE).len(), self.broker.unacked(QUEUE));
        assert!(met, "{what} does not come about: {ready} ready, {unacked} unacked, {:?}", self.metrics.ledger);
    }

    async fn emptied(&self) {
        let empty = |own: &Self| own.broker.unacked(QUEUE) == 0 && own.broker.ready(QUEUE).is_empty();
        self.until("an empty queue", empty).await;
    }

    fn trips(&self, class: Class) -> (u64, bool) {
        let at = class as usize;
        (self.metrics.breaker_trips[at].get(), self.metrics.breaker_open[at].get() > 0.5)
    }

    /// Drains, and looks whether every delivery ended somewhere: so many archived, dead and given back.
    async fn ends_with(self, archived: u64, dead: u64, given_back: u64) {
        self.stop.drain.cancel();
        timeout(MINUTE, self.task).await.expect("a drain has an end").expect("it does not panic");
        let ledger = &self.metrics.ledger;
        assert_eq!(ledger.in_flight(), 0, "{ledger:?}");
        assert_eq!((ledger.archived(), ledger.dead_lettered_all()), (archived, dead), "{ledger:?}");
        assert_eq!(ledger.requeued(RequeueCause::BreakerOpen), given_back, "{ledger:?}");
        assert_eq!(ledger.requeued_all(), given_back, "nothing went back for another reason: {ledger:?}");
        assert_eq!((self.broker.dropped(QUEUE), self.broker.unacked(QUEUE)), (0, 0), "nothing is lost");
        assert!(self.broker.ready(QUEUE).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_do_not_fit_the_schema_are_diverted_and_the_alarm_is_raised() {
    let running = Running::start(OnTrip::Divert);
    running.publish((0..400).map(schema_trouble));
    running.emptied().await;
    assert_eq!((running.trips(Class::Schema), running.trips(Class::Ours)), ((1, true), (0, false)));
    running.publish((0..2000).map(orders::good));
    running.emptied().await;
    assert_eq!(running.trips(Class::Schema), (1, false));
    running.ends_with(2000, 400, 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_ends_by_itself_when_nothing_comes_any_more() {
    let running = Running::start(OnTrip::Divert);
    running.publish((0..400).map(schema_trouble));
    running.until("the alarm", |own| own.trips(Class::Schema).1).await;
    running.until("its end", |own| !own.trips(Class::Schema).1).await;
    running.emptied().await;
    running.ends_with(0, 400, 0).await;
}

/// Bad events trip the breaker while good ones wait behind them.
async fn pauses_gives_back_once_probes_and_resumes(schema: OnTrip, class: Class, bad: fn(usize) -> Vec<u8>) {
    let running = Running::start(schema);
    running.publish((0..300).map(bad));
    running.until("a trip", |own| own.trips(class) == (1, true)).await;
    running.publish((0..1000).map(orders::good));
    // Before the first probe nothing is consumed.
    sleep(Duration::from_secs(1)).await;
    let given_back = running.metrics.ledger.requeued(RequeueCause::BreakerOpen);
    assert!((100..=300).contains(&given_back), "{given_back}");
    assert_eq!(running.broker.unacked(QUEUE), 0);
    assert_eq!(running.broker.most_returns(QUEUE), 1);
    assert_eq!(running.metrics.ledger.dead_lettered_all(), 0);

    // One probe at a time, of no more than twenty.
    running.until("a probe", |own| own.metrics.ledger.dead_lettered_all() > 0).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(running.metrics.ledger.dead_lettered_all(), 20);

    running.emptied().await;
    assert_eq!(running.trips(class), (1, false));
    assert_eq!(running.broker.most_returns(QUEUE), 1, "probes give nothing back");
    running.ends_with(1000, 300, given_back).await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_pauses_gives_back_once_and_resumes_when_a_probe_goes_well() {
    pauses_gives_back_once_probes_and_resumes(OnTrip::Pause, Class::Schema, schema_trouble).await;
}

#[tokio::test(start_paused = true)]
async fn our_own_trouble_pauses_by_default() {
    pauses_gives_back_once_probes_and_resumes(OnTrip::Divert, Class::Ours, our_trouble).await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_is_paused_stops_at_once() {
    let running = Running::start(OnTrip::Pause);
    running.publish((0..300).map(schema_trouble));
    running.until("a trip", |own| own.trips(Class::Schema).1).await;
    running.stop.drain.cancel();
    timeout(Duration::from_secs(5), running.task).await.expect("a drain has an end").expect("it does not panic");
    assert_eq!(running.metrics.ledger.in_flight(), 0);
    let dead = running.metrics.ledger.dead_lettered_all() as usize;
    assert_eq!(running.broker.ready(QUEUE).len() + dead, 300);
}

fn messages(bodies: impl Iterator<Item = Vec<u8>>) -> Vec<Message> {
    bodies.map(|body| Message { body, ..Message::default() }).collect()
}

#[test]
fn on_rabbitmq_a_pause_costs_one_delivery_of_a_limited_queue_and_nothing_is_lost() {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "breaker = { events = 50, schema = \"pause\", pause = \"200ms\" }";
    let setting = Setting::new(&options);
    // A second return of an event would drop it.
    let limited =
        [("x-queue-type", AMQPValue::LongString("quorum".into())), ("x-delivery-limit", AMQPValue::LongInt(1))];
    now(rabbit.declare(&setting.queue, &limited));
    now(rabbit.publish(&setting.queue, &messages((0..60).map(schema_trouble))));
    let program = Program::start(&setting.config);
    wait_for("a trip", MINUTE, || (program.metric("parqueduct_breaker_trips_total") == 1.0).then_some(()));
    now(rabbit.publish(&setting.queue, &messages((0..2000).map(orders::good))));
    program.wait_until_settled(2060, 2 * MINUTE);
    assert_eq!(program.metric("parqueduct_breaker_open"), 0.0);
    assert_eq!(program.metric("parqueduct_breaker_trips_total"), 1.0);
    assert_eq!(program.metric("parqueduct_archived_total"), 2000.0);
    let given_back = program.metric("parqueduct_requeued_total");
    assert!((1.0..=60.0).contains(&given_back), "{given_back}");
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), 60.0);
    let errors = program.errors();
    assert!(errors.len() == 1 && errors[0].contains("the breaker is open"), "{errors:?}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert!(log.contains("in_flight=0") && log.contains("the breaker is closed"), "{log}");
    assert_eq!(archive::event_ids(&setting.store()).len(), 2000);
    assert_eq!(setting.dead_letters().len(), 60);
    now(rabbit.delete(&setting.queue));
}

#[test]
fn on_rabbitmq_a_flood_of_bad_events_is_diverted_and_said_once() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages((0..1000).map(schema_trouble))));
    program.wait_until_settled(1000, MINUTE);
    assert_eq!(program.metric("parqueduct_breaker_open"), 1.0);
    assert_eq!(program.metric("parqueduct_breaker_trips_total"), 1.0);
    assert_eq!(program.metric("parqueduct_requeued_total"), 0.0);
    let errors = program.errors();
    assert!(errors.len() == 1 && errors[0].contains("class=\"schema\""), "{errors:?}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
}
