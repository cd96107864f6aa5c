//! What lies in the store, held against what was published and acked.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use bytes::Bytes;
use futures_util::TryStreamExt;
use parqueduct::dlq::record;
use parqueduct::store::Store;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::world::{PIPELINE, QUEUE, World};

/// What was read of the store so far: objects never change.
#[derive(Default)]
pub struct Archive {
    /// The objects of committed flushes by the path of the outcome, with their rows.
    committed: BTreeMap<String, Vec<(String, u64)>>,
    aborted: BTreeSet<String>,
    /// What each of them holds.
    files: BTreeMap<String, Vec<Held>>,
}

/// A row of an archive file, or a dead letter.
struct Held {
    name: String,
    /// Of a dead letter.
    body: Option<Vec<u8>>,
}

/// What a schedule came to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Deliveries acked without a row, by processes that were not killed.
    pub suppressed: u64,
    pub flushes_committed: usize,
    pub flushes_aborted: usize,
}

impl Archive {
    /// Nothing is acked that is not in a committed object, at any time.
    pub async fn assert_acked_is_durable(&mut self, world: &World) {
        // Acked first: what is durable only grows.
        let acked = world.broker.acked(QUEUE);
        self.look(&world.cloud.outside_view()).await;
        let durable: BTreeSet<_> = self.held().map(|held| held.name.as_str()).collect();
        for message in acked {
            let name = message.properties.message_id.clone().expect("each message is named");
            assert!(durable.contains(name.as_str()), "{name} is acked, but no committed object holds it");
        }
    }

    /// A plain listing shows what is committed, and nothing else.
    pub async fn assert_listing_is_exact(&mut self, world: &World) {
        let store = world.cloud.outside_view();
        self.look(&store).await;
        self.assert_objects_are_exact(&list(&store, "").await);
    }

    /// Everything, once all processes have drained and every grace is over.
    pub async fn assert_exact(&mut self, world: &World) -> Found {
        let store = world.cloud.outside_view();
        self.assert_acked_is_durable(world).await;
        self.assert_nothing_else_lies_there(&store).await;
        self.assert_all_is_there_once_acked(world);
        let mut counts = BTreeMap::<&str, usize>::new();
        for held in self.held() {
            *counts.entry(&held.name).or_default() += 1;
        }
        let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(repeated.is_empty(), "these are there twice: {repeated:?}");
        Found {
            suppressed: world.suppressed(),
            flushes_committed: self.committed.len(),
            flushes_aborted: self.aborted.len(),
        }
    }

    fn assert_all_is_there_once_acked(&self, world: &World) {
        let (good, bad) = (world.good.lock().expect("not poisoned"), world.bad.lock().expect("not poisoned"));
        let rows: BTreeSet<_> = self.held().filter(|held| held.body.is_none()).map(|held| &held.name).collect();
        assert_eq!(rows, good.iter().collect(), "the archive holds the good events, and they alone");
        let letters: BTreeSet<_> = self.held().filter_map(|held| Some((&held.name, held.body.as_ref()?))).collect();
        assert_eq!(letters, bad.iter().collect(), "the dead letters are the bad events, byte for byte");
        let mut acked: Vec<_> = world
            .broker
            .acked(QUEUE)
            .into_iter()
            .filter_map(|message| message.properties.into_inner().message_id)
            .collect();
        acked.sort();
        let mut published: Vec<_> = good.iter().chain(bad.keys()).cloned().collect();
        published.sort();
        assert_eq!(acked, published, "each message leaves the queue once");
    }

    /// Below `data/` and `dlq/` lies what exactly one committed outcome names, and no flush is open.
    async fn assert_nothing_else_lies_there(&self, store: &Store) {
        let paths = list(store, "").await;
        let lying = self.assert_objects_are_exact(&paths);
        assert!(lying.iter().all(|path| path.ends_with(".parquet")), "{lying:?}");
        // The intent of an aborted flush is kept until the next start after the grace.
        let aborted = |intent: &str| {
            let outcome = intent.replace("/open/", "/").replace(".intent.json", ".outcome.json");
            self.aborted.contains(&outcome)
        };
        let open: Vec<_> = paths.iter().filter(|path| path.ends_with(".intent.json") && !aborted(path)).collect();
        assert!(open.is_empty(), "flushes left open: {open:?}");
    }

    /// The objects; all are named by exactly one committed outcome.
    fn assert_objects_are_exact<'a>(&self, paths: &'a [String]) -> Vec<&'a String> {
        let mut named: Vec<_> = self.committed.values().flatten().map(|(path, _)| path).collect();
        named.sort();
        let lying: Vec<_> = paths.iter().filter(|path| !path.starts_with("meta/")).collect();
        assert_eq!(lying, named, "each object belongs to one committed flush, and each of those has its objects");
        lying
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.files.values().flatten()
    }

    /// Reads what was decided since the last look.
    async fn look(&mut self, store: &Store) {
        for path in list(store, &format!("meta/flushes/{PIPELINE}")).await {
            let known = self.committed.contains_key(&path) || self.aborted.contains(&path);
            if known || !path.ends_with(".outcome.json") {
                continue;
            }
            let outcome = store.get(&path).await.expect("an outcome stays");
            let outcome: serde_json::Value = serde_json::from_slice(&outcome).expect("an outcome is JSON");
            if outcome["state"] == "committed" {
                self.read_objects(store, &outcome, path).await;
            } else {
                self.aborted.insert(path);
            }
        }
    }

    async fn read_objects(&mut self, store: &Store, outcome: &serde_json::Value, path: String) {
        let mut objects = Vec::new();
        for object in outcome["objects"].as_array().expect("a list") {
            let path = object["path"].as_str().expect("a path").to_owned();
            let bytes = store.get(&path).await.unwrap_or_else(|error| panic!("committed, but not there: {error}"));
            let held = if path.starts_with("data/") { rows(bytes) } else { letters(bytes) };
            assert_eq!(Some(held.len() as u64), object["rows"].as_u64(), "the outcome counts the rows of {path}");
            objects.push((path.clone(), held.len() as u64));
            assert!(self.files.insert(path.clone(), held).is_none(), "two flushes name {path}");
        }
        self.committed.insert(path, objects);
    }
}

/// The names of all rows, and of all dead letters, that lie in the store, sorted.
pub async fn names(store: &Store) -> (Vec<String>, Vec<String>) {
    let (mut in_rows, mut in_letters) = (Vec::new(), Vec::new());
    for path in list(store, "").await.iter().filter(|path| path.ends_with(".parquet")) {
        let file = store.get(path).await.expect("it was listed");
        match path.starts_with("data/") {
            true => in_rows.extend(rows(file).into_iter().map(|held| held.name)),
            false => in_letters.extend(letters(file).into_iter().map(|held| held.name)),
        }
    }
    in_rows.sort();
    in_letters.sort();
    (in_rows, in_letters)
}

async fn list(store: &Store, prefix: &str) -> Vec<String> {
    store.list(prefix, None).map_ok(|entry| entry.path).try_collect().await.expect("seen from outside, it works")
}

fn rows(file: Bytes) -> Vec<Held> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
    let only_ids = ProjectionMask::columns(builder.parquet_schema(), ["_event_id"]);
    let mut rows = Vec::new();
    for batch in builder.with_projection(only_ids).build().expect("readable") {
        let batch = batch.expect("readable rows");
        let ids = batch.column(0).as_string::<i32>();
        rows.extend(ids.iter().map(|id| Held { name: id.expect("each event has an id").to_owned(), body: None }));
    }
    rows
}

fn letters(file: Bytes) -> Vec<Held> {
    let letters = record::decode(file).expect("dead letters can be read");
    let named = |letter: record::DeadLetter| Held {
        name: letter.message.properties.message_id.clone().expect("each message is named"),
        body: Some(letter.message.body),
    };
    letters.into_iter().map(named).collect()
}
