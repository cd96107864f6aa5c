//! A worker whose schema changes while it holds events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::config;
use crate::event::{Message, Properties};
use crate::metrics::Metrics;

const OLD: &str = r#"{"additionalProperties": false, "properties": {"a": {"type": "integer"}}}"#;
const NEW: &str =
    r#"{"additionalProperties": false, "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}"#;

/// A pipeline whose flushes hold seven deliveries.
pub(in crate::ingest) fn pipeline() -> config::Pipeline {
    let text = r#"
[store]
url = "file:///nowhere"
[[pipeline]]
name = "orders"
queue = "orders"
format = "json"
schema = "order.v1.json"
flush = { rows = 7 }
"#;
    let surroundings =
        config::Surroundings { variable: &|_| None, read: &|_| Ok(OLD.to_owned()), hostname: Some("host") };
    let loaded = config::load(Path::new("/parqueduct.toml"), text, &surroundings).expect("a configuration");
    loaded.config.pipelines[0].clone()
}

fn plan(schema: &str) -> Arc<Plan> {
    let read = |_: &Path| Ok(schema.as_bytes().to_vec());
    Arc::new(Plan::new(&pipeline(), "host", &read, None).expect("it compiles"))
}

fn worker(plan: &Arc<Plan>, metrics: &Arc<PipelineMetrics>) -> Worker {
    let serial = AtomicU64::new(1);
    let surroundings = Surroundings {
        now: || DateTime::from_timestamp(1_000, 0).expect("in range"),
        ulid: Arc::new(move || Ulid::from_parts(1_000_000, serial.fetch_add(1, Relaxed).into())),
        seed: || 7,
    };
    let origin = Origin { shard: 0, source: AttemptSource::Queue, file: None };
    Worker::new(Arc::clone(plan), surroundings, Arc::clone(metrics), origin, None)
}

fn arrival(tag: u64, body: &str) -> Arrival {
    let properties = Properties { message_id: Some(tag.to_string()), ..Properties::default() };
    let message = Message { body: body.into(), properties: properties.into(), ..Message::default() };
    let received_at = DateTime::from_timestamp(1_000, 0).expect("in range");
    Arrival::new(Delivery { tag, received_at, message })
}

/// What a flush holds: the id of each event, and the hash of the schema that it was judged by.
fn judged_by(sealed: &Sealed) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for object in &sealed.objects {
        if object.kind == FileKind::Letters {
            for letter in record::decode(object.bytes.clone()).expect("dead letters") {
                let id = letter.message.properties.message_id.clone().expect("an id");
                found.push((id, letter.origin.schema_hash.clone().expect("a schema")));
            }
            continue;
        }
        let file = ParquetRecordBatchReaderBuilder::try_new(object.bytes.clone()).expect("Parquet");
        let footer = file.metadata().file_metadata().key_value_metadata().expect("a footer");
        let hash = footer.iter().find(|pair| pair.key == "parqueduct.schema_hash").expect("the hash");
        let hash = hash.value.clone().expect("the hash");
        for batch in file.build().expect("readable") {
            let batch = batch.expect("readable");
            assert_eq!(batch.column_by_name("b").is_some(), hash == plan(NEW).events[0].schema.hash());
            let ids = batch.column_by_name("_event_id").expect("the column").as_string::<i32>();
            found.extend(ids.iter().map(|id| (id.expect("an id").to_owned(), hash.clone())));
        }
    }
    found
}

#[test]
fn a_flush_has_one_plan_however_schemas_change_and_nothing_is_lost_over_it() {
    let plans = [plan(OLD), plan(NEW)];
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let metrics = Metrics::new("1.2.3").pipeline("orders", 1);
        let mut worker = worker(&plans[0], &metrics);
        let (mut current, mut tag) = (0, 0);
        let (mut sealed, mut expected) = (Vec::new(), BTreeMap::new());
        for _ in 0..30 {
            if random.u8(..) < 100 {
                current = random.usize(..plans.len());
                sealed.extend(worker.adopt(Arc::clone(&plans[current])));
                assert_eq!((worker.held(), worker.open_partitions()), (0, 0));
            }
            let count = random.u64(1..12);
            let body = |random: &mut fastrand::Rng| random.choice([r#"{"a":1}"#, r#"{"a":1,"b":2}"#, "{"]);
            let arrivals: Vec<_> =
                (1..=count).map(|n| arrival(tag + n, body(&mut random).expect("one of three"))).collect();
            let hash = plans[current].events[0].schema.hash().to_owned();
            expected.extend((1..=count).map(|n| ((tag + n).to_string(), hash.clone())));
            tag += count;
            sealed.extend(worker.take(arrivals, metrics.ledger.receive(count, tag)));
        }
        sealed.extend(worker.seal());
        let mut found = BTreeMap::new();
        for flush in &sealed {
            let judged = judged_by(flush);
            let hashes: BTreeSet<_> = judged.iter().map(|(_, hash)| hash).collect();
            assert_eq!(hashes.len(), 1, "seed {seed}: a flush of several schemas");
            found.extend(judged);
        }
        assert_eq!(found, expected, "seed {seed}");
        sealed.into_iter().for_each(|flush| flush.receipt.settle(&flush.tally));
        assert_eq!((metrics.ledger.received(), metrics.ledger.in_flight()), (tag, 0));
    }
}

#[test]
fn what_is_undeclared_and_what_is_of_another_type_is_told_with_the_flush() {
    let plan = plan(r#"{"properties": {"a": {"type": "integer"}}}"#);
    let metrics = Metrics::new("1.2.3").pipeline("orders", 1);
    let mut worker = worker(&plan, &metrics);
    let bodies = [r#"{"a":1}"#, r#"{"a":1,"b":2}"#, r#"{"c":[]}"#, r#"{"a":"1","b":2}"#, "{"];
    let arrivals = (1..).zip(bodies).map(|(tag, body)| arrival(tag, body)).collect();
    assert!(worker.take(arrivals, metrics.ledger.receive(5, 5)).is_empty());
    let sealed = worker.seal().expect("five are held");
    assert_eq!((sealed.undeclared, sealed.conflicts), (2, 1));
    sealed.receipt.settle(&sealed.tally);
}
