//! What lies in an archive directory, read with the Parquet crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Every file below `data/`; panics when one is not Parquet by its name.
pub fn data_files(store: &Path) -> Vec<PathBuf> {
    let mut files = files_below(&store.join("data"));
    files.sort();
    for file in &files {
        assert_eq!(file.extension().and_then(|end| end.to_str()), Some("parquet"), "a stray file: {}", file.display());
    }
    files
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("the directory can be read").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Asserts that `ids` are those of the orders 0 to `count` and no others, none of them more often than `times_max`.
pub fn assert_orders(ids: &BTreeMap<String, usize>, count: usize, times_max: usize) {
    let missing: Vec<_> = (0..count).filter(|n| !ids.contains_key(&format!("order-{n}"))).collect();
    assert!(missing.is_empty(), "{} missing, such as {:?}", missing.len(), &missing[..missing.len().min(5)]);
    assert_eq!(ids.len(), count);
    let often: Vec<_> = ids.iter().filter(|(_, times)| **times > times_max).take(5).collect();
    assert!(often.is_empty(), "more often than {times_max} times, such as {often:?}");
}

/// How often each `_event_id` is in the archive.
pub fn event_ids(store: &Path) -> BTreeMap<String, usize> {
    event_ids_below(&store.join("data"))
}

/// The same of the files below a directory.
pub fn event_ids_below(directory: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in files_below(directory) {
        let opened = std::fs::File::open(&file).expect("it can be opened");
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(opened).expect("it is Parquet").build().expect("readable");
        for batch in reader {
            let batch = batch.expect("readable rows");
            let ids = batch.column_by_name("_event_id").expect("the id column").as_string::<i32>();
            for id in ids {
                *counts.entry(id.expect("each event has an id").to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

/// Objects that only flushes write and no committed flush names, and those it names that are not there.
pub fn strays(store: &Path) -> Vec<String> {
    let files: Vec<_> =
        ["data", "dlq/records", "dlq/attempts"].iter().flat_map(|place| files_below(&store.join(place))).collect();
    let lying: BTreeSet<_> = files.iter().map(|file| relative(store, file)).collect();
    let named = committed_objects(store);
    let strays = lying.difference(&named).map(|path| format!("of no committed flush: {path}"));
    strays.chain(named.difference(&lying).map(|path| format!("not there: {path}"))).collect()
}

/// Intents of flushes that somebody still has to look at.
pub fn open_flushes(store: &Path) -> Vec<String> {
    let records = files_below(&store.join("meta/flushes")).into_iter().map(|file| relative(store, &file));
    records.filter(|path| path.ends_with(".intent.json")).collect()
}

/// Deliveries that were found to be durable already, by what the committed flushes say.
pub fn suppressed(store: &Path) -> u64 {
    committed(store).iter().map(|outcome| outcome["suppressed"].as_u64().expect("a number")).sum()
}

/// What the outcomes of committed flushes name.
fn committed_objects(store: &Path) -> BTreeSet<String> {
    let outcomes = committed(store);
    let objects = outcomes.iter().flat_map(|outcome| outcome["objects"].as_array().expect("a list of objects"));
    objects.map(|object| object["path"].as_str().expect("a path").to_owned()).collect()
}

/// The outcomes of committed flushes.
fn committed(store: &Path) -> Vec<serde_json::Value> {
    let records = files_below(&store.join("meta/flushes")).into_iter();
    let outcomes = records.filter(|file| file.to_string_lossy().ends_with(".outcome.json")).map(|file| {
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(&file).expect("readable")).expect("JSON")
    });
    outcomes.filter(|outcome| outcome["state"] == "committed").collect()
}

fn relative(store: &Path, file: &Path) -> String {
    file.strip_prefix(store).expect("below the store").to_string_lossy().into_owned()
}
