//! What only a `file://` store can get wrong.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parqueduct::store::{Kind, Report, Store, StoreError};
use tempfile::TempDir;

use super::{file_config, open};

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_and_was_never_below_data() {
    let root = TempDir::new().unwrap();
    let leftover = root.path().join("meta/staging/0123456789abcdef");
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("0"), b"half a Parq").unwrap();
    let store = open(&file_config(root.path()));
    assert!(!leftover.exists(), "the owner is dead: its lock is free");
    store.create("data/x.parquet", Bytes::from_static(b"whole")).await.unwrap();
    assert_eq!(files_below(&root.path().join("data")), ["x.parquet"]);
    assert_eq!(files_below(&root.path().join("meta")), [""; 0], "staging is empty after a write");
}

#[tokio::test]
async fn a_living_writers_staging_is_left_alone() {
    let root = TempDir::new().unwrap();
    let first = open(&file_config(root.path()));
    first.create("data/1", Bytes::new()).await.unwrap();
    let staging = || fs::read_dir(root.path().join("meta/staging")).unwrap().count();
    assert_eq!(staging(), 1);
    let second = open(&file_config(root.path()));
    assert_eq!(staging(), 1);
    second.create("data/2", Bytes::new()).await.unwrap();
    first.create("data/3", Bytes::new()).await.unwrap();
    assert_eq!(staging(), 2);
    drop((first, second));
    assert_eq!(staging(), 0, "a store that ends takes its staging directory with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_an_object() {
    const BYTES: usize = 300_000;
    let root = TempDir::new().unwrap();
    let store = open(&file_config(root.path()));
    let data = root.path().join("data");
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (data, done) = (data.clone(), Arc::clone(&done));
        move || {
            let mut seen = 0;
            while !done.load(SeqCst) {
                for name in files_below(&data) {
                    let whole = fs::read(data.join(&name)).unwrap();
                    assert_eq!(whole.len(), BYTES, "{name}");
                    seen += 1;
                }
            }
            seen
        }
    });
    for n in 0..50 {
        store.create(&format!("data/{n}.parquet"), Bytes::from(vec![n; BYTES])).await.unwrap();
    }
    done.store(true, SeqCst);
    assert!(reader.join().unwrap() > 0, "the reader saw objects while they were written");
    assert_eq!(files_below(&data).len(), 50);
}

#[tokio::test]
async fn objects_below_a_directory_that_somebody_removed_are_created_all_the_same() {
    let root = TempDir::new().unwrap();
    let store = open(&file_config(root.path()));
    store.create("data/p/date=2013-01-01/1", Bytes::new()).await.unwrap();
    fs::remove_dir_all(root.path().join("data")).unwrap();
    store.create("data/p/date=2013-01-01/2", Bytes::new()).await.unwrap();
    assert!(store.exists("data/p/date=2013-01-01/2").await.unwrap());
}

#[tokio::test]
async fn what_the_file_system_will_never_take_is_refused_at_once() {
    let root = TempDir::new().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&heard);
    let observer = Arc::new(move |report| observer.lock().unwrap().push(report));
    let store = Store::open(&file_config(root.path()), &|_| None, observer).unwrap();
    store.create("data/object", Bytes::new()).await.unwrap();
    for path in [format!("data/{}", "n".repeat(300)), "data/object/below".to_owned()] {
        let error = store.create(&path, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { kind: Kind::Other, .. }), "{path}: {error:?}");
    }
    let retried = |report: &Report| matches!(report, Report::Retried { .. });
    assert!(!heard.lock().unwrap().iter().any(retried), "{heard:?}");
    assert_eq!(files_below(&root.path().join("meta")), [""; 0]);
}

#[test]
fn a_root_that_cannot_be_made_is_refused() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let config = file_config(&root.path().join("file/store"));
    let error = Store::open(&config, &|_| None, parqueduct::store::unobserved()).err().unwrap();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

/// Paths of the files below `dir`, sorted; none when it is missing.
fn files_below(dir: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(entry.path()),
                false => files.push(entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    files.sort();
    files
}
