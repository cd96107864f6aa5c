//! Dead letters given back through the pipeline, by the real binary over a real store: planned, tried, replayed, stopped,
//! gone on with; and nothing twice, whatever happens on the way.

mod crash;
mod elsewhere;
mod flights;
mod queue;
mod watched;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::program::{BINARY, parqueduct, parqueduct_ok, wait_for};
use crate::harness::setting::{Options, Setting};

/// No broker is there: a replay needs none.
const NOWHERE: &str = "amqp://nobody:nothing@127.0.0.1:1/%2f";
const LIMIT: Duration = Duration::from_secs(100);

/// A pipeline of orders, with what is asked of its dead letters.
struct Orders {
    setting: Setting,
}

impl Orders {
    /// With `letters`, each an order's amount as it was sent, as dead letters `order-0` and up.
    fn with(letters: impl Iterator<Item = String>) -> Self {
        Self::at(NOWHERE, letters)
    }

    /// The same with a broker at `uri`.
    fn at(uri: &str, letters: impl Iterator<Item = String>) -> Self {
        let orders = Self { setting: Setting::new(&Options::orders(uri)) };
        let mut text = String::new();
        for (n, amount) in letters.enumerate() {
            let day = 1 + n % 3;
            text += &format!(
                "{{\"id\":\"order-{n}\",\"occurred_at\":\"2024-01-0{day}T10:00:00Z\",\"amount\":{amount},\
                 \"customer\":{{\"email\":\"c{n}@example.com\"}}}}\n"
            );
        }
        let lines = orders.setting.directory.path().join("orders.ndjson");
        std::fs::write(&lines, text).expect("the lines can be written");
        parqueduct_ok(&["ingest", "--config", orders.config(), "--pipeline", "orders", &lines.display().to_string()]);
        orders
    }

    /// Letters whose amounts are numbers in quotes.
    fn quoted(count: usize) -> Self {
        Self::with((0..count).map(|n| format!("\"{n}.25\"")))
    }

    fn config(&self) -> &str {
        self.setting.config_text()
    }

    /// The hash of a plan that makes numbers of the amounts.
    fn plan(&self, more: &[&str]) -> String {
        let fix = self.file("fix.toml", "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n");
        plan(&self.setting, &[&["--fix", &fix][..], more].concat())["plan"].as_str().expect("a hash").to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        file(&self.setting, name, text)
    }

    fn ids(&self) -> BTreeMap<String, usize> {
        crate::harness::archive::event_ids(&self.setting.store())
    }

    fn assert_each_once(&self, count: usize) {
        crate::harness::archive::assert_orders(&self.ids(), count, 1);
    }

    /// How many flushes of a plan are committed.
    fn flushes(&self, plan: &str) -> usize {
        let records = self.setting.store().join(format!("meta/flushes/orders/file-{plan}"));
        std::fs::read_dir(records).map_or(0, |entries| entries.count())
    }
}

fn file(setting: &Setting, name: &str, text: &str) -> String {
    let path = setting.directory.path().join(name);
    std::fs::write(&path, text).expect("the file can be written");
    path.display().to_string()
}

/// What a command of `dlq` says, which must succeed.
fn dlq(setting: &Setting, arguments: &[&str]) -> String {
    parqueduct_ok(&[&["dlq"], arguments, &["--config", setting.config_text()]].concat())
}

/// The JSON lines that it says, whether or not it succeeds.
fn dlq_json(setting: &Setting, arguments: &[&str]) -> Vec<Value> {
    let output = dlq_whatever(setting, &[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<Value> = text.lines().map(line).collect();
    assert!(!lines.is_empty() || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines
}

fn dlq_whatever(setting: &Setting, arguments: &[&str]) -> Output {
    parqueduct(&[&["dlq"], arguments, &["--config", setting.config_text()]].concat())
}

/// What it says on its error output; it must fail.
fn dlq_refused(setting: &Setting, arguments: &[&str]) -> String {
    let output = dlq_whatever(setting, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it was not refused: {said}");
    said
}

fn plan(setting: &Setting, arguments: &[&str]) -> Value {
    let lines = dlq_json(setting, &[&["plan", "--why", "a test"], arguments].concat());
    assert_eq!(lines.len(), 1);
    lines.into_iter().next().expect("a line")
}

/// A command of `dlq` that goes on beside the test; killed when dropped.
struct Running(Child, PathBuf);

impl Running {
    fn start(setting: &Setting, arguments: &[&str]) -> Self {
        let said = setting.directory.path().join(format!("{}.out", crate::harness::program::unique()));
        let out = std::fs::File::create(&said).expect("writable");
        let errors = out.try_clone().expect("a second handle");
        let child = Command::new(BINARY)
            .args([&["dlq"], arguments, &["--config", setting.config_text()]].concat())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn();
        Self(child.expect("the binary starts"), said)
    }

    fn kill_9(mut self) -> bool {
        let lived = self.0.try_wait().expect("it can be asked").is_none();
        self.0.kill().ok();
        self.0.wait().expect("it ends");
        lived
    }

    /// Whether it succeeded, and what it said.
    fn end(mut self) -> (bool, String) {
        let status = wait_for("the end of the command", LIMIT, || self.0.try_wait().expect("it can be asked"));
        (status.success(), std::fs::read_to_string(&self.1).expect("readable"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The newest job, as `dlq jobs --json` gives it.
fn job(setting: &Setting) -> Option<Value> {
    dlq_json(setting, &["jobs", "--limit", "1"]).into_iter().next()
}

fn job_id(setting: &Setting) -> String {
    job(setting).expect("a job")["job"].as_str().expect("an id").to_owned()
}

fn wait_for_job(setting: &Setting, what: &str, mut reached: impl FnMut(&Value) -> bool) -> Value {
    wait_for(what, LIMIT, || job(setting).filter(|job| reached(job)))
}

/// Rows of the archive that were dead letters, by their event ids.
fn recovered_rows(store: &Path) -> BTreeMap<String, String> {
    use arrow_array::cast::AsArray;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let mut rows = BTreeMap::new();
    for path in crate::harness::archive::data_files(store) {
        let opened = std::fs::File::open(path).expect("it can be opened");
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(opened).expect("it is Parquet").build().expect("readable");
        for batch in reader {
            let batch = batch.expect("readable rows");
            let column = |name| batch.column_by_name(name).expect("the column").as_string::<i32>();
            let (ids, letters) = (column("_event_id"), column("_dead_letter_id"));
            for (id, letter) in ids.iter().zip(letters) {
                if let (Some(id), Some(letter)) = (id, letter) {
                    rows.insert(id.to_owned(), letter.to_owned());
                }
            }
        }
    }
    rows
}
