//! The corpora of `fuzz/`, replayed with the bodies of its targets: what fuzzing found once is a test from then on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

/// Files and bytes of all corpora; a test that grows without end is soon run by nobody.
const FILES_MAX: usize = 1500;
const BYTES_MAX: u64 = 500_000;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home().join("corpus").join(name)).expect("each target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let (_, run, _) = TARGETS.iter().find(|(target, ..)| *target == name).expect("it is one of the targets");
    let files = corpus(name);
    assert!(!files.is_empty(), "a corpus without files tests nothing");
    for file in files {
        // Of a failure the captured output tells by its last line which file it was.
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
}

macro_rules! replays {
    ($($name:ident)+) => {
        /// The targets whose corpora are replayed.
        const REPLAYED: &[&str] = &[$(stringify!($name),)+];

        mod corpus_of {
            $(
                #[test]
                fn $name() {
                    super::replay(stringify!($name));
                }
            )+
        }
    };
}

replays! {
    avro
    avro_schema
    cloud_events
    config
    confluent
    content
    fix
    headers
    json
    json_schema
    mender
    msgpack
    pointer
    protobuf
    protobuf_schema
    registry
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_target_is_run_and_has_a_corpus_that_is_replayed() {
    let listed: BTreeSet<String> = TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names(&home().join("fuzz_targets")), listed, "fuzz/fuzz_targets");
    assert_eq!(names(&home().join("corpus")), listed, "fuzz/corpus");
    assert_eq!(REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), listed, "this file");
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    for name in &listed {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "fuzz/Cargo.toml: {name}");
    }
}

#[test]
fn the_corpora_stay_small() {
    let files: Vec<PathBuf> = TARGETS.iter().flat_map(|(name, ..)| corpus(name)).collect();
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(files.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files, {bytes} bytes", files.len());
}
