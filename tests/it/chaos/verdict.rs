//! What a run came to: where each event is, and which faults really happened.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::Plan;
use super::publisher::{BAD_AT, BAD_EVERY, Published};
use super::schedule::Kind;
use crate::harness::python;

/// Counts what lies in the files of a store, by plain glob with DuckDB.
pub fn census(store: &Path, published: &Published) -> Value {
    let unconfirmed = store.with_extension("unconfirmed");
    let lines: String = published.unconfirmed.iter().map(|n| format!("{n}\n")).collect();
    std::fs::write(&unconfirmed, lines).expect("a file of ours");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/census.py");
    let numbers = [published.numbers, BAD_EVERY, BAD_AT].map(|number| number.to_string());
    let mut command = Command::new(python::interpreter());
    command.arg(script).arg(store).arg(&numbers[0]).arg(&unconfirmed).args(&numbers[1..]);
    let output = command.output().expect("Python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the census of {} failed:\n{out}\n{err}", store.display());
    serde_json::from_str(out.trim()).expect("a line of JSON")
}

pub struct Verdict {
    pub plan: Plan,
    pub published: u64,
    pub unconfirmed: u64,
    pub left_in_queue: u64,
    /// Deliveries that came again though they were durable.
    pub suppressed: u64,
    /// From [`census`].
    pub census: Value,
    pub strays: Vec<String>,
    pub open_flushes: Vec<String>,
    pub planned: BTreeMap<Kind, usize>,
    pub happened: BTreeMap<Kind, usize>,
    /// Lines of the level ERROR.
    pub errors: Vec<String>,
    pub publishing: Duration,
    pub whole: Duration,
}

impl Verdict {
    /// What must be 0, with its count.
    fn faultless(&self) -> Vec<(&'static str, u64)> {
        let count = |name: &str| self.census[name]["count"].as_u64().expect("a count");
        let total = |name: &str| self.census[name].as_u64().expect("a number");
        vec![
            ("missing", count("missing")),
            ("rows repeated", count("rows_repeated")),
            ("dead letters repeated", count("letters_repeated")),
            ("in both places", count("in_both")),
            ("in the wrong place", count("misplaced")),
            ("never published", total("unknown")),
            ("left in the queue", self.left_in_queue),
            ("stray files", self.strays.len() as u64),
            ("undecided flushes", self.open_flushes.len() as u64),
        ]
    }

    /// What is wrong, if anything.
    pub fn violations(&self) -> Vec<String> {
        let wrong = self.faultless().into_iter().filter(|(_, count)| *count > 0);
        let mut violations: Vec<_> = wrong.map(|(name, count)| format!("{count} {name}")).collect();
        for (kind, planned) in &self.planned {
            let happened = self.happened.get(kind).copied().unwrap_or_default();
            if happened < *planned {
                violations.push(format!("{}: {happened} of {planned} happened", kind.title()));
            }
        }
        if self.suppressed == 0 && self.planned.contains_key(&Kind::AcksLost) {
            violations.push("acks were lost, yet nothing durable came again".to_owned());
        }
        violations
    }

    pub fn table(&self) -> String {
        let mut table = format!("chaos {}, seed {}\n", self.plan.name(), self.plan.seed);
        let mut line = |name: &str, value: String| writeln!(table, "  {name:<26}{value:>12}").expect("into a text");
        let total = |name: &str| self.census[name].to_string();
        line("published", self.published.to_string());
        line("confirmed", (self.published - self.unconfirmed).to_string());
        line("confirm lost", self.unconfirmed.to_string());
        line("  of those, there", total("unsure_there"));
        line("archived", total("rows"));
        line("  of those, redelivered", total("rows_redelivered"));
        line("dead-lettered", total("letters"));
        line("repeats suppressed", self.suppressed.to_string());
        for (name, count) in self.faultless() {
            line(name, count.to_string());
        }
        for (kind, planned) in &self.planned {
            let happened = self.happened.get(kind).copied().unwrap_or_default();
            line(kind.title(), format!("{happened} of {planned}"));
        }
        // The broker promises to flag what it gives out again; were a repeat not flagged, nobody would look for the first.
        line("repeats without a flag", total("repeats_not_flagged"));
        line("lines of level ERROR", self.errors.len().to_string());
        line("seconds of publishing", self.publishing.as_secs().to_string());
        line("seconds in all", self.whole.as_secs().to_string());
        table
    }

    pub fn json(&self) -> Value {
        let faults = self.planned.iter().map(|(kind, planned)| {
            let happened = self.happened.get(kind).copied().unwrap_or_default();
            json!({"fault": kind.title(), "planned": planned, "happened": happened})
        });
        json!({
            "run": self.plan.name(),
            "seed": self.plan.seed,
            "events": self.plan.events,
            "published": self.published,
            "confirmed": self.published - self.unconfirmed,
            "confirm_lost": self.unconfirmed,
            "suppressed": self.suppressed,
            "left_in_queue": self.left_in_queue,
            "found": self.census,
            "stray_files": self.strays,
            "undecided_flushes": self.open_flushes,
            "faults": faults.collect::<Vec<_>>(),
            "errors": self.errors,
            "publishing_seconds": self.publishing.as_secs(),
            "seconds": self.whole.as_secs(),
            "violations": self.violations(),
        })
    }

    /// Writes `<name>.json` and `<name>.txt` into the directory of the plan, if it names one.
    pub fn report(&self) {
        let Some(directory) = &self.plan.report else { return };
        std::fs::create_dir_all(directory).expect("the directory of the report can be made");
        let file = directory.join(self.plan.name());
        let json = serde_json::to_string_pretty(&self.json()).expect("JSON has text keys");
        std::fs::write(file.with_extension("json"), json + "\n").expect("the report can be written");
        std::fs::write(file.with_extension("txt"), self.table()).expect("the report can be written");
    }
}
