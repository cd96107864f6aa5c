//! The events that `make bench` measures with are what it says of them.

use std::path::Path;
use std::process::Command;

use crate::harness::program::parqueduct_ok;
use crate::harness::python;

/// What `parqueduct ingest` says of so many events of a workload, which is made in `directory`.
fn ingest(name: &str, events: usize, directory: &Path) -> String {
    let made = Command::new(python::interpreter())
        .args(["bench/workloads.py", name, &events.to_string()])
        .arg(directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("Python starts");
    assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| directory.join(name).to_str().expect("a path in UTF-8").to_owned();
    let (config, lines) = (path("parqueduct.toml"), path("events.ndjson"));
    parqueduct_ok(&["ingest", "--config", &config, "--pipeline", "bench", &lines])
}

#[test]
fn good_events_of_each_workload_are_archived_and_spoiled_ones_are_dead_letters() {
    // Of the flights, those without a delay, as they are.
    for (name, bad) in
        [("order", 0), ("flat", 0), ("wide", 0), ("flights", 11), ("bad-1", 10), ("bad-100", 1000), ("partitions", 0)]
    {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let said = ingest(name, 1000, directory.path());
        let wanted = format!("received 1000 = archived {} + dead-lettered {bad}", 1000 - bad);
        assert!(said.contains(&wanted), "{name}: {said}");
        if name == "partitions" {
            let partitions = directory.path().join("archive/data/bench/v1").read_dir().expect("is there").count();
            assert!(partitions > 500, "1000 orders of 1000 shops were in {partitions} partitions");
        }
    }
}
