//! What lies in an archive directory, read with the Parquet crate.

use std::collections::BTreeMap;
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

/// How often each `_event_id` is in the archive.
pub fn event_ids(store: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in data_files(store) {
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
