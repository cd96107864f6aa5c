//! The files for Kubernetes and systemd, and the dashboards, are sound, as far as that can be seen without a cluster, a
//! service manager and a Grafana.

use std::path::Path;
use std::process::Command;

use crate::harness::python;

/// Runs a check of `tests/deploy`, which is handed our program and prints what it finds.
fn nothing_is_found_by(check: &str) {
    let done = Command::new(python::interpreter())
        .arg(Path::new("tests/deploy").join(check))
        .arg(env!("CARGO_BIN_EXE_parqueduct"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("Python starts");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{check}:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_kubernetes_objects_fit_their_schemas_and_each_other() {
    nothing_is_found_by("kubernetes.py");
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_rates_as_closed() {
    nothing_is_found_by("systemd.py");
}

#[test]
fn the_dashboards_show_every_metric_and_quick_motion_keeps_what_rules_mean() {
    nothing_is_found_by("watch.py");
}
