//! Revisions in a store in memory, and pipelines that learn from a broker in memory while that store is in trouble.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use ulid::Ulid;

use super::*;
use crate::broker::memory::Memory;
use crate::broker::{Broker, Subscription};
use crate::config::{Infer, NewFields};
use crate::decode::{self, JsonDecoder};
use crate::event::{Delivery, Message};
use crate::ingest::crashes::{Journal, Suspect};
use crate::ingest::worker::tests::pipeline;
use crate::ingest::{
    Committer, LookAt, LookBackLimits, PipelineParts, Plan, ShardPanicked, Stop, Surroundings, run_pipeline,
};
use crate::metrics::{Metrics, PipelineMetrics};
use crate::monitor::Watcher;
use crate::personal::{Kind, Kinds};
use crate::store::Capabilities;
use crate::store::flush::{FlushLog, Liveness, Owner};
use crate::value::Pointer;

const QUEUE: &str = "orders";
const SECOND: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(60);

/// A store that takes no writes when told; what it has can be read.
#[derive(Debug, Default)]
struct Sealable {
    store: InMemory,
    is_sealed: AtomicBool,
}

impl fmt::Display for Sealable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealable")
    }
}

#[async_trait]
impl ObjectStore for Sealable {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.is_sealed.load(SeqCst) {
            return Err(object_store::Error::Generic { store: "sealable", source: "no space left".into() });
        }
        self.store.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("objects are created whole")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

/// A queue, a store, and who learns of the one into the other.
struct World {
    broker: Memory,
    backend: Arc<Sealable>,
    store: Store,
    all_metrics: Arc<Metrics>,
    metrics: Arc<PipelineMetrics>,
    stop: Stop,
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_000, 0).expect("in range")
}

fn surroundings() -> Surroundings {
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let ulid = || Ulid::from_parts(1_000_000, SERIAL.fetch_add(1, Relaxed).into());
    Surroundings { now, ulid: Arc::new(ulid), seed: || 7 }
}

fn event() -> config::EventType {
    config::EventType { schema: "/meta/schemas/orders/v1".into(), ..pipeline().events[0].clone() }
}

impl World {
    fn new() -> Self {
        let broker = Memory::new(now);
        broker.declare(QUEUE);
        let backend = Arc::<Sealable>::default();
        let store = Store::over(Arc::clone(&backend) as Arc<dyn ObjectStore>);
        let all_metrics = Arc::new(Metrics::new("0"));
        let metrics = all_metrics.pipeline("orders", 1);
        Self { broker, backend, store, all_metrics, metrics, stop: Stop::default() }
    }

    fn publish(&self, events: &[Json]) {
        for event in events {
            let message = Message { body: event.to_string().into_bytes(), ..Message::default() };
            assert!(self.broker.publish(QUEUE, message), "the queue is there");
        }
    }

    fn revisions(&self) -> Revisions {
        Revisions::new(self.store.clone(), &event())
    }

    /// Learns of that many events, or of what comes within a second.
    fn lesson(&self, events: usize) -> Lesson {
        let infer = Infer { events, patience: SECOND, new_fields: NewFields::Adopt, fields_max: 500 };
        let config = config::Pipeline { events: vec![event()], infer: Some(infer.clone()), ..pipeline() };
        Lesson {
            config,
            infer,
            instance: "host".into(),
            revisions: self.revisions(),
            surroundings: surroundings(),
            all_metrics: Arc::clone(&self.all_metrics),
            metrics: Arc::clone(&self.metrics),
            broker: Arc::new(self.broker.clone()),
            reconnect: (SECOND, 10 * SECOND),
            hold_max: HOLD_MAX,
        }
    }

    fn learn(&self, events: usize) -> JoinHandle<Option<Learned>> {
        let (lesson, stop) = (self.lesson(events), self.stop.clone());
        tokio::spawn(async move { learn(&lesson, &stop).await })
    }
}

#[tokio::test]
async fn of_two_who_write_the_same_revision_one_does_and_both_read_it() {
    let world = World::new();
    let (ours, theirs) = (world.revisions(), world.revisions());
    assert_eq!(ours.newest().await.expect("asked"), None);
    let revision = |number, text: &'static str| Revision { number, text: Bytes::from_static(text.as_bytes()) };
    assert!(ours.create(&revision(1, "{}")).await.expect("created"));
    assert!(!theirs.create(&revision(1, "[]")).await.expect("asked"));
    assert_eq!(theirs.newest().await.expect("asked"), Some(revision(1, "{}")));
    for number in 2..12 {
        assert!(theirs.create(&revision(number, "{ }")).await.expect("created"));
    }
    assert_eq!(ours.newest().await.expect("asked"), Some(revision(11, "{ }")));
    assert_eq!(ours.path(11), "meta/schemas/orders/v1/000011.json");
    assert_eq!(ours.get(12).await.expect("asked"), None);
}

#[tokio::test(start_paused = true)]
async fn events_go_back_once_in_an_outage_of_writes_however_long_it_lasts() {
    let world = World::new();
    let learning = world.learn(3);
    tokio::time::sleep(SECOND).await;
    world.backend.is_sealed.store(true, SeqCst);
    world.publish(&[json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]);
    tokio::time::sleep(HOLD_MAX / 2).await;
    assert_eq!((world.broker.unacked(QUEUE), world.broker.most_returns(QUEUE)), (3, 0), "held for a while");
    assert!(!world.all_metrics.store_up(), "and said why");
    tokio::time::sleep(60 * HOLD_MAX).await;
    assert_eq!((world.broker.unacked(QUEUE), world.broker.most_returns(QUEUE)), (0, 1));
    assert_eq!(world.broker.channels_opened(), 1, "nothing is taken that could not be written");

    world.backend.is_sealed.store(false, SeqCst);
    let learned = learning.await.expect("no panic").expect("not stopped");
    assert_eq!((learned.revision.number, learned.held.as_ref().map(Held::events)), (1, Some(3)));
    assert_eq!(world.broker.most_returns(QUEUE), 1);
    assert!(world.all_metrics.store_up());
}

/// What is learned of these events, as it is written down.
fn learned_of(events: &[Json]) -> Json {
    let deliveries: Vec<_> = (1..)
        .zip(events)
        .map(|(tag, event)| {
            let message = Message { body: event.to_string().into_bytes(), ..Message::default() };
            Delivery { tag, received_at: now(), message }
        })
        .collect();
    first::schema_of(&config::Pipeline { events: vec![event()], ..pipeline() }, &deliveries).schema
}

#[test]
fn personal_data_is_found_where_the_schema_was_learned_with_it_and_hidden_there() {
    let events = ["ann@example.com", "bob@example.com"].map(|email| json!({ "n": 1, "contact": email }));
    let schema = learned_of(&events);
    assert_eq!(schema["properties"]["contact"]["x-parqueduct-sensitive"], true);
    let expected = |pointers: &[&str]| {
        let pointers = pointers.iter().map(|text| Pointer::parse(text).expect("a pointer"));
        let monitor = config::Monitor {
            rate_min: None,
            rate_max: None,
            rate_within: 60 * SECOND,
            silence: None,
            rules: Vec::new(),
            personal: Some(config::Personal {
                dead_letter: true,
                kinds: Kinds::ALL,
                expected: pointers.collect(),
                paths_max: 9,
            }),
            looks_max: 1000.0,
        };
        let infer = Infer { events: 2, patience: SECOND, new_fields: NewFields::Adopt, fields_max: 500 };
        let config =
            config::Pipeline { infer: Some(infer), monitor: Some(monitor), events: vec![event()], ..pipeline() };
        let read = |_: &std::path::Path| Ok(schema.to_string().into_bytes());
        let plan = Plan::new(&config, "host", &read, None).expect("it compiles");
        let delays = Metrics::new("0").pipeline("orders", 1).delays();
        let mut watcher = Watcher::new(config.monitor.as_ref(), [plan.events[0].monitor.clone()], delays);
        let mut decoder = JsonDecoder::new(decode::Limits { body_bytes_max: 1 << 20, depth_max: 16 });
        let body = events[0].to_string();
        let found = decoder.decode(body.as_bytes(), |tape| watcher.forbidden(0, tape.root(), &|path| path.to_owned()));
        (found.expect("an event"), plan.events[0].schema.sensitive().covers(&["contact"]).is_some())
    };
    assert_eq!(expected(&[]), (vec![(Kind::Email, "/contact".to_owned())], true));
    assert_eq!(expected(&["/contact"]), (Vec::new(), true), "dlq.mask says that it may be there");
}

#[test]
fn as_many_names_are_columns_as_there_may_be_and_of_more_none_is() {
    let wide = |names: usize| Json::Object((0..names).map(|n| (format!("f{n}"), json!(n))).collect());
    let declared = |schema: &Json| schema["properties"].as_object().map(serde_json::Map::len);
    assert_eq!(declared(&learned_of(&[wide(2_000)])), Some(2_000));
    assert_eq!(declared(&learned_of(&[wide(2_001)])), Some(0));
    // Names that are values count for nothing.
    let keyed = |n: usize| json!({ "n": 1, format!("u{n}@example.com"): n });
    assert_eq!(declared(&learned_of(&(0..2_500).map(keyed).collect::<Vec<_>>())), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_schema_without_columns_says_why() {
    let world = World::new();
    world.publish(&[Json::Object((0..2_001).map(|n| (format!("f{n}"), json!(n))).collect())]);
    let learned = world.learn(1).await.expect("no panic").expect("not stopped");
    let text = String::from_utf8(learned.revision.text.to_vec()).expect("UTF-8");
    assert!(text.contains("they have more than 2000 names, so none is a column"), "{text}");
}

/// A run of this instance that is gone, or another.
fn owner(pid: u32) -> Owner {
    let text = |text: &str| text.to_owned();
    Owner { instance: text("host"), host: text("h"), boot_id: text("b"), pid_namespace: text("n"), pid, pid_started: 1 }
}

impl World {
    /// Runs the pipeline by what was learned.
    fn run(&self, learned: Learned) -> JoinHandle<std::result::Result<(), ShardPanicked>> {
        let Lesson { config, .. } = self.lesson(1);
        let config = config::Pipeline { flush: config::Flush { age: SECOND, ..config.flush.clone() }, ..config };
        let read = |_: &std::path::Path| Ok(learned.revision.text.to_vec());
        let plan = Arc::new(Plan::new(&config, "host", &read, None).expect("it compiles"));
        let capabilities = Capabilities { conditional_create: true };
        let committer = Committer {
            log: FlushLog::new(self.store.clone(), capabilities, "host"),
            store: self.store.clone(),
            metrics: Arc::clone(&self.all_metrics),
            surroundings: surroundings(),
            pipeline: "orders".to_owned(),
            owner: owner(9),
            put_concurrency: 2,
            backoff: (SECOND, 10 * SECOND),
            hold_max: Some(HOLD_MAX),
            spans: None,
        };
        let parts = PipelineParts {
            plans: tokio::sync::watch::channel(Arc::clone(&plan)).1,
            sightings: None,
            plan,
            surroundings: surroundings(),
            metrics: Arc::clone(&self.metrics),
            broker: Arc::new(self.broker.clone()),
            committer: Arc::new(committer),
            reconnect: (SECOND, 10 * SECOND),
            flush_grace: 2 * HOLD_MAX,
            liveness: Arc::new(|_| Liveness::Dead),
            look_back: LookBackLimits {
                within: 60 * HOLD_MAX,
                rows_max: 1_000,
                patience: 30 * SECOND,
                grace: 2 * HOLD_MAX,
                hold_max: HOLD_MAX,
            },
        };
        tokio::spawn(run_pipeline(parts, learned.held, self.stop.clone()))
    }

    /// Waits until all are settled, and ends the pipeline.
    async fn drained(&self, running: JoinHandle<std::result::Result<(), ShardPanicked>>, events: u64) {
        let ledger = &self.metrics.ledger;
        let settled = async {
            while ledger.archived() + ledger.dead_lettered_all() < events {
                tokio::time::sleep(SECOND).await;
            }
        };
        tokio::time::timeout(60 * HOLD_MAX, settled).await.expect("all are settled");
        self.stop.drain.cancel();
        running.await.expect("no panic").expect("no shard panics");
        assert_eq!((self.broker.ready(QUEUE).len(), self.broker.unacked(QUEUE), ledger.in_flight()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn after_crashes_events_that_were_held_are_taken_one_by_one_all_the_same() {
    let world = World::new();
    let events: Vec<_> = (0..5).map(|n| json!({ "n": n })).collect();
    world.publish(&events);
    // They come again, three runs have ended uncleanly, and one event was alone in two of them.
    let glance = Subscription { queue: QUEUE.into(), prefetch: 9, declare: None, name: "earlier".into() };
    let earlier = world.broker.consume(&glance).await.expect("consumes");
    world.broker.cut(QUEUE);
    drop(earlier);
    let suspect = Suspect::of(&Message { body: events[0].to_string().into_bytes(), ..Message::default() });
    let liveness: LookAt = Arc::new(|_| Liveness::Dead);
    for pid in 1..=3 {
        let id = Ulid::from_parts(500, pid.into());
        let journal = Journal::open(&world.store, "orders", &owner(pid), id, &liveness).await.expect("opens");
        if pid > 1 {
            assert!(!journal.suspect(&suspect).await.expect("noted"));
        }
    }
    let learned = world.learn(5).await.expect("no panic").expect("not stopped");
    assert_eq!(learned.held.as_ref().map(Held::events), Some(5));
    let running = world.run(learned);
    world.drained(running, 5).await;
    let ledger = &world.metrics.ledger;
    assert_eq!((ledger.archived(), ledger.dead_lettered_all(), ledger.requeued_all()), (4, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn more_events_than_the_care_allows_go_back_and_come_in_portions() {
    let world = World::new();
    world.publish(&(0..600).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    let liveness: LookAt = Arc::new(|_| Liveness::Dead);
    Journal::open(&world.store, "orders", &owner(1), Ulid::from_parts(500, 1), &liveness).await.expect("opens");
    let learned = world.learn(600).await.expect("no panic").expect("not stopped");
    let running = world.run(learned);
    world.drained(running, 600).await;
    assert_eq!(world.broker.most_returns(QUEUE), 1);
    assert_eq!((world.metrics.ledger.archived(), world.broker.channels_opened()), (600, 2));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_held_go_back_when_the_store_is_away_too_long_before_they_are_judged() {
    let world = World::new();
    world.publish(&(0..3).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    let learned = world.learn(3).await.expect("no panic").expect("not stopped");
    world.backend.is_sealed.store(true, SeqCst);
    let running = world.run(learned);
    tokio::time::sleep(HOLD_MAX / 2).await;
    let shown = || (world.metrics.connected(), world.metrics.oldest_unacked(now() + 300 * SECOND).num_seconds());
    assert_eq!((world.broker.unacked(QUEUE), shown()), (3, (1, 300)));
    tokio::time::sleep(HOLD_MAX).await;
    assert_eq!((world.broker.unacked(QUEUE), shown()), (0, (0, 0)));
    tokio::time::sleep(60 * HOLD_MAX).await;

    world.backend.is_sealed.store(false, SeqCst);
    world.drained(running, 3).await;
    assert_eq!((world.broker.most_returns(QUEUE), world.metrics.ledger.archived()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_held_are_forgotten_when_their_connection_ends() {
    let world = World::new();
    world.publish(&(0..3).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    let learned = world.learn(3).await.expect("no panic").expect("not stopped");
    world.backend.is_sealed.store(true, SeqCst);
    let running = world.run(learned);
    tokio::time::sleep(SECOND).await;
    world.broker.cut(QUEUE);
    tokio::time::sleep(SECOND).await;
    let oldest = world.metrics.oldest_unacked(now() + 300 * SECOND);
    assert_eq!((world.metrics.connected(), oldest.num_seconds()), (0, 0));
    world.backend.is_sealed.store(false, SeqCst);
    world.drained(running, 3).await;
    assert_eq!((world.metrics.ledger.received(), world.metrics.ledger.archived()), (3, 3));
}
