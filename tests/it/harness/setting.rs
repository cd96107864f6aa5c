//! One test's own place: a directory with configuration, store and queue names that no other test uses.

use std::path::{Path, PathBuf};

use super::orders;
use super::program::{parqueduct_ok, unique};

/// A directory that is removed when the test passed, and the configuration in it.
pub struct Setting {
    pub directory: tempfile::TempDir,
    pub config: PathBuf,
    pub queue: String,
}

/// What differs from one test to the next; the rest is a pipeline for orders with small flushes.
pub struct Options<'a> {
    pub uri: &'a str,
    /// TOML of the `[store]` table; `None`: a directory `store` of the setting.
    pub store: Option<String>,
    /// More TOML of the `[[pipeline]]` table.
    pub pipeline: &'a str,
    /// More TOML of whole tables.
    pub more: &'a str,
}

impl Options<'_> {
    pub fn new(uri: &str) -> Options<'_> {
        Options { uri, store: None, pipeline: "declare = true\n", more: "" }
    }
}

impl Setting {
    pub fn new(options: &Options<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let queue = format!("orders-{}", unique());
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/order.v1.json");
        let store = options
            .store
            .clone()
            .unwrap_or_else(|| format!("url = \"file://{}\"", directory.path().join("store").display()));
        let text = format!(
            r#"[rabbitmq]
uri = "{uri}"
reconnect_max = "1s"

[store]
{store}

[http]
listen = "127.0.0.1:0"

{more}
[[pipeline]]
name = "orders"
queue = "{queue}"
format = "json"
schema = "{schema}"
event_id = "/id"
event_time = "/occurred_at"
partition_by = ["date"]
prefetch = 2000
flush = {{ rows = 1000, bytes = "8MiB", age = "500ms" }}
body_max = "{body_max}B"
depth_max = {depth_max}
{pipeline}
"#,
            uri = options.uri,
            more = options.more,
            schema = schema.display(),
            body_max = orders::BODY_MAX,
            depth_max = orders::DEPTH_MAX,
            pipeline = options.pipeline,
        );
        let config = directory.path().join("parqueduct.toml");
        std::fs::write(&config, text).expect("the configuration can be written");
        Self { directory, config, queue }
    }

    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub fn config_text(&self) -> &str {
        self.config.to_str().expect("a path in UTF-8")
    }

    /// Every dead letter, as `dlq export --json` prints it.
    pub fn dead_letters(&self) -> Vec<serde_json::Value> {
        let text = parqueduct_ok(&["dlq", "export", "--config", self.config_text(), "--json"]);
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}
