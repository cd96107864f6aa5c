//! The Python environment of the tests, made by `scripts/venv test`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Its interpreter; a missing one fails the test.
pub fn interpreter() -> PathBuf {
    let named = std::env::var_os("PARQUEDUCT_TEST_VENV").map(PathBuf::from);
    let venv = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".parqueduct/venv/test"));
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing: run `make test`, or `scripts/venv test`", python.display());
    python
}

/// What the program `text` prints, given `arguments`.
pub fn run_text(text: &str, arguments: &[&str]) -> String {
    let output = Command::new(interpreter()).arg("-c").arg(text).args(arguments).output().expect("Python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{out}\n{err}");
    out.into_owned()
}

/// Reads a hive-partitioned tree in DuckDB, Polars and PyArrow, whole and file by file; returns the rows when all agree.
pub fn rows_all_engines_agree_on(tree: &Path) -> u64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/read_archive.py");
    let output = Command::new(interpreter()).arg(script).arg(tree).output().expect("Python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the engines disagree on {}:\n{out}\n{err}", tree.display());
    let report: serde_json::Value = serde_json::from_str(out.trim()).expect("a JSON report");
    assert_eq!(report["equal"], true, "{report:#}");
    report["rows"].as_u64().expect("a number of rows")
}
