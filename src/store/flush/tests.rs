//! The protocol on a store in memory, with owners and resolvers that die between any two requests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use ulid::Ulid;

use super::*;
use crate::store::{Capabilities, Store};

const GRACE: Duration = Duration::from_secs(300);
const CONDITIONAL: Capabilities = Capabilities { conditional_create: true };

/// A store whose user dies: after `left` requests none gets through.
#[derive(Debug)]
struct Mortal {
    store: Arc<InMemory>,
    left: AtomicUsize,
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

impl Mortal {
    fn step(&self) -> Result<()> {
        let dead = |_| object_store::Error::NotImplemented { operation: "life".into(), implementer: "death".into() };
        self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).map(drop).map_err(dead)
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.step()?;
        // Lets others in between requests.
        tokio::task::yield_now().await;
        self.store.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("objects are created whole")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.step()?;
        tokio::task::yield_now().await;
        self.store.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.step() {
            Ok(()) => self.store.delete_stream(paths),
            Err(dead) => stream::once(async { Err(dead) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.step() {
            Ok(()) => self.store.list(prefix),
            Err(dead) => stream::once(async { Err(dead) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.step()?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

/// What all instances share.
#[derive(Default)]
struct World(Arc<InMemory>);

impl World {
    /// The log of an instance that dies after `requests`.
    fn log(&self, instance: &str, requests: usize) -> (Store, FlushLog) {
        let store = Store::over(Arc::new(Mortal { store: Arc::clone(&self.0), left: AtomicUsize::new(requests) }));
        (store.clone(), FlushLog::new(store, CONDITIONAL, instance))
    }

    async fn paths(&self, prefix: &str) -> Vec<String> {
        let (store, _) = self.log("observer", usize::MAX);
        store.list(prefix, None).map_ok(|entry| entry.path).try_collect().await.expect("is alive")
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_357_000_000 + seconds, 0).expect("a time")
}

fn flush(n: u64) -> (FlushName, Intent) {
    let flush = Ulid::from_parts(at(0).timestamp_millis() as u64 + n, 7);
    let owner = Owner {
        instance: "owner".into(),
        host: "h".into(),
        boot_id: "b".into(),
        pid_namespace: "n".into(),
        pid: 1,
        pid_started: 1,
    };
    let intent = Intent {
        flush,
        pipeline: "flights".into(),
        owner,
        created_at: at(0),
        objects: (0..2).map(|part| format!("data/flights/{flush}-owner-0-{part}.parquet")).collect(),
        source: Source::Queue { queue: "q".into(), shard: 0 },
    };
    let epoch = Epoch { instance: "owner".into(), shard: 0, id: Ulid::from_parts(1, 1) };
    (FlushName::queue("flights", flush, &epoch), intent)
}

fn committed(intent: &Intent) -> Outcome {
    Outcome::committed(intent, Committed { archived: 2, ..Committed::default() }, at(1))
}

async fn write(store: &Store, intent: &Intent) -> std::result::Result<(), FlushError> {
    for object in &intent.objects {
        store.create(object, Bytes::from_static(b"rows")).await?;
    }
    Ok(())
}

/// The whole life of a flush; `true` once its deliveries may be acked.
async fn run(store: &Store, log: &FlushLog, name: &FlushName, intent: &Intent, acked: &mut bool) {
    let flow = async {
        log.begin(name, intent).await?;
        write(store, intent).await?;
        match log.commit(name, &committed(intent)).await? {
            Decision::Won => {
                *acked = true;
                log.close(name).await
            }
            _ => log.discard(intent).await.map(drop),
        }
    };
    // It dies somewhere on the way, or not.
    let _: std::result::Result<(), FlushError> = flow.await;
}

/// All or nothing: an acked flush is whole; one that is not committed has left nothing.
async fn check(world: &World, name: &FlushName, intent: &Intent, acked: bool, what: &str) {
    let (_, log) = world.log("observer", usize::MAX);
    let outcome = log.outcome(name).await.expect("is readable");
    let committed = matches!(outcome, Some(Outcome { verdict: Verdict::Committed(_), .. }));
    assert!(committed || !acked, "{what}: acked, but {outcome:?}");
    let expected: &[String] = if committed { &intent.objects } else { &[] };
    assert_eq!(world.paths("data").await, expected, "{what}: {outcome:?}");
    assert_eq!(world.paths("meta/flushes/flights/open").await, [""; 0], "{what}");
}

#[tokio::test]
async fn whenever_owner_and_resolver_die_a_flush_is_whole_or_gone() {
    let (name, intent) = flush(0);
    let mut outcomes = [0, 0];
    for owner_lives in 0..8 {
        for resolver_lives in 0..12 {
            let world = World::default();
            let (store, log) = world.log("owner", owner_lives);
            let mut acked = false;
            run(&store, &log, &name, &intent, &mut acked).await;
            let (_, log) = world.log("first", resolver_lives);
            // Dies somewhere on the way, or not.
            let _ = log.resolve("flights", at(2), GRACE, &|_| Liveness::Dead).await;
            let (_, log) = world.log("second", usize::MAX);
            for seconds in [3, 3 + 300] {
                let resolved = log.resolve("flights", at(seconds), GRACE, &|_| Liveness::Dead).await.expect("lives");
                assert_eq!((resolved.left_alone, resolved.unreadable.len()), (0, 0));
            }
            check(&world, &name, &intent, acked, &format!("owner {owner_lives}, resolver {resolver_lives}")).await;
            outcomes[usize::from(acked)] += 1;
        }
    }
    assert!(outcomes.iter().all(|&seen| seen > 10), "both ends were reached: {outcomes:?}");
}

#[tokio::test]
async fn whoever_races_for_the_outcome_all_agree() {
    let mut outcomes = [0, 0];
    for round in 0..100 {
        let world = Arc::new(World::default());
        let (name, mut intent) = flush(round);
        intent.objects = (0..6).map(|part| format!("data/flights/{part}.parquet")).collect();
        let owner = tokio::spawn({
            let (world, name, intent) = (Arc::clone(&world), name.clone(), intent.clone());
            async move {
                let (store, log) = world.log("owner", usize::MAX);
                let mut acked = false;
                run(&store, &log, &name, &intent, &mut acked).await;
                acked
            }
        });
        let resolvers = (0..3).map(|n| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let (_, log) = world.log(&format!("resolver {n}"), usize::MAX);
                for _ in 0..fastrand::u32(0..12) {
                    tokio::task::yield_now().await;
                }
                log.resolve("flights", at(400), GRACE, &|_| Liveness::Unknown).await.expect("lives").aborted
            })
        });
        let mut aborted = 0;
        for resolver in resolvers.collect::<Vec<_>>() {
            aborted += resolver.await.expect("does not panic");
        }
        let acked = owner.await.expect("does not panic");
        assert_eq!(aborted, usize::from(!acked), "round {round}: exactly one decided");
        let (_, log) = world.log("last", usize::MAX);
        log.resolve("flights", at(800), GRACE, &|_| Liveness::Dead).await.expect("lives");
        check(&world, &name, &intent, acked, &format!("round {round}")).await;
        outcomes[usize::from(acked)] += 1;
    }
    assert!(outcomes.iter().all(|&seen| seen > 0), "both win now and then: {outcomes:?}");
}

#[tokio::test]
async fn an_owner_that_wakes_up_late_loses_and_what_it_wrote_goes() {
    let world = World::default();
    let (name, intent) = flush(0);
    let (store, owner) = world.log("owner", usize::MAX);
    let (_, resolver) = world.log("resolver", usize::MAX);
    let resolve = |seconds| resolver.resolve("flights", at(seconds), GRACE, &|_| Liveness::Unknown);
    owner.begin(&name, &intent).await.expect("is new");
    assert_eq!(resolve(299).await.expect("lives").left_alone, 1);
    assert_eq!(resolve(300).await.expect("lives").aborted, 1);
    write(&store, &intent).await.expect("nothing hinders it");
    assert_eq!(owner.commit(&name, &committed(&intent)).await.expect("lives"), Decision::AlreadyAborted);
    // It dies before it cleans up.
    let resolved = resolve(601).await.expect("lives");
    assert_eq!((resolved.objects_deleted, resolved.closed), (2, 1));
    assert_eq!(world.paths("data").await, [""; 0]);
    assert_eq!(owner.commit(&name, &committed(&intent)).await.expect("lives"), Decision::AlreadyAborted);
}

#[tokio::test]
async fn a_commit_may_be_repeated_and_a_committed_flush_is_not_aborted() {
    let world = World::default();
    let (name, intent) = flush(0);
    let (_, log) = world.log("owner", usize::MAX);
    log.begin(&name, &intent).await.expect("is new");
    log.begin(&name, &intent).await.expect("the same intent again");
    assert_eq!(log.commit(&name, &committed(&intent)).await.expect("lives"), Decision::Won);
    let later = Outcome::committed(&intent, Committed::default(), at(9));
    assert_eq!(log.commit(&name, &later).await.expect("lives"), Decision::Won);
    let aborted = Outcome::aborted(&intent, "other", "late", at(10));
    assert_eq!(log.abort(&name, &aborted).await.expect("lives"), Decision::AlreadyCommitted);
    let resolved = log.resolve("flights", at(2), GRACE, &|_| Liveness::Dead).await.expect("lives");
    assert_eq!(resolved, Resolved { closed: 1, ..Resolved::default() });
}

#[tokio::test]
async fn of_two_that_read_the_same_file_one_commits_and_the_other_leaves_nothing() {
    let world = World::default();
    let (store, log) = world.log("both", usize::MAX);
    let name = FlushName::file("flights", "ab12", 0, 1);
    let (first, second) = (flush(1).1, flush(2).1);
    log.begin(&name, &first).await.expect("is new");
    assert!(matches!(log.begin(&name, &second).await, Err(FlushError::Taken(_))));
    write(&store, &first).await.expect("lives");
    assert_eq!(log.commit(&name, &committed(&first)).await.expect("lives"), Decision::Won);
    log.close(&name).await.expect("lives");
    assert!(matches!(log.begin(&name, &second).await, Err(FlushError::Taken(_))), "it is decided");
    // As if it had begun before that could be seen.
    store.create(&name.intent_path(), super::record::encode(&second)).await.expect("lives");
    write(&store, &second).await.expect("lives");
    assert_eq!(log.commit(&name, &committed(&second)).await.expect("lives"), Decision::AlreadyCommitted);
    log.resolve("flights", at(2), GRACE, &|_| Liveness::Dead).await.expect("lives");
    assert_eq!(world.paths("data").await, first.objects);
    let flushes = log.of_file("flights", "ab12").await.expect("lives");
    assert_eq!(flushes, [Flush { name, state: FlushState::Decided(committed(&first)) }]);
}

#[tokio::test]
async fn listing_finds_the_flushes_since_and_their_states_in_time_order() {
    let world = World::default();
    let (_, log) = world.log("owner", usize::MAX);
    assert_eq!(log.newest("flights").await.expect("lives"), None);
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let flushes = [0, 1, DAY, DAY + 1, 3 * DAY].map(flush);
    for (name, intent) in &flushes {
        log.begin(name, intent).await.expect("is new");
    }
    for (name, intent) in &flushes[..4] {
        log.commit(name, &committed(intent)).await.expect("lives");
    }
    log.close(&flushes[1].0).await.expect("lives");
    let since = flushes[1].0.begun_at().expect("of a queue");
    let found = log.list("flights", since).await.expect("lives");
    assert_eq!(
        found.iter().map(|flush| &flush.name).collect::<Vec<_>>(),
        flushes[1..].iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    assert!(found[..3].iter().all(|flush| matches!(flush.state, FlushState::Decided(_))));
    assert_eq!(found[3].state, FlushState::Open(flushes[4].1.clone()));
    assert_eq!(log.names("flights", since).await.expect("lives").len(), 3);
    assert_eq!(log.newest("flights").await.expect("lives"), flushes[4].0.begun_at());
}

#[tokio::test]
async fn resolving_reads_nothing_of_flushes_that_are_settled() {
    let world = World::default();
    let (_, log) = world.log("owner", usize::MAX);
    for n in 0..50 {
        let (name, intent) = flush(n);
        log.begin(&name, &intent).await.expect("is new");
        log.commit(&name, &committed(&intent)).await.expect("lives");
        log.close(&name).await.expect("lives");
    }
    let (_, frugal) = world.log("resolver", 1);
    let resolved = frugal.resolve("flights", at(2), GRACE, &|_| Liveness::Dead).await.expect("one listing is enough");
    assert_eq!(resolved, Resolved::default());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_left_alone() {
    let world = World::default();
    let (store, log) = world.log("us", usize::MAX);
    let (name, intent) = flush(0);
    let newer = String::from_utf8(super::record::encode(&intent).to_vec()).expect("is text");
    let newer = newer.replace("\"format\": 1", "\"format\": 2");
    store.create(&name.intent_path(), newer.into()).await.expect("lives");
    let (next, intent) = flush(1);
    log.begin(&next, &intent).await.expect("is new");
    let resolved = log.resolve("flights", at(2), GRACE, &|_| Liveness::Dead).await.expect("lives");
    assert_eq!((resolved.aborted, resolved.left_alone), (1, 1), "{resolved:?}");
    assert_eq!(resolved.unreadable[0].0, name.intent_path());
    assert!(resolved.unreadable[0].1.contains("newer"), "{resolved:?}");
}

#[tokio::test]
async fn an_intent_may_name_nothing_but_data_and_dead_letters() {
    let world = World::default();
    let (_, log) = world.log("us", usize::MAX);
    let (name, intent) = flush(0);
    for object in ["meta/flushes/flights/x.outcome.json", "other/x"] {
        let intent = Intent { objects: vec![object.into()], ..intent.clone() };
        assert!(matches!(log.begin(&name, &intent).await, Err(FlushError::Astray { .. })));
    }
    assert_eq!(world.paths("").await, [""; 0]);
}

#[tokio::test]
async fn without_conditional_creation_an_outcome_that_stands_is_not_replaced() {
    let world = World::default();
    let (store, _) = world.log("us", usize::MAX);
    let log = FlushLog::new(store, Capabilities { conditional_create: false }, "owner");
    let (name, intent) = flush(0);
    log.begin(&name, &intent).await.expect("is new");
    let resolved = log.resolve("flights", at(900), GRACE, &|_| Liveness::Unknown).await.expect("lives");
    assert_eq!(resolved.left_alone, 1);
    let resolved = log.resolve("flights", at(900), GRACE, &|_| Liveness::Dead).await.expect("lives");
    assert_eq!(resolved.aborted, 1);
    assert_eq!(log.commit(&name, &committed(&intent)).await.expect("lives"), Decision::AlreadyAborted);
}
