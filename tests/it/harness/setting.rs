//! One test's own place: a directory with configuration, store and queue names that no other test uses.

use std::path::{Path, PathBuf};

use super::orders;
use super::program::{parqueduct_ok, unique};
use super::rabbit;
use super::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// A directory that is removed with the setting, and the configuration in it.
pub struct Setting {
    pub directory: tempfile::TempDir,
    pub config: PathBuf,
    pub queue: String,
}

/// What differs from one test to the next.
pub struct Options<'a> {
    pub uri: &'a str,
    /// TOML of the `[rabbitmq]` table beside the URI.
    pub rabbitmq: &'a str,
    /// TOML of the `[store]` table; `None`: a directory `store` of the setting.
    pub store: Option<String>,
    /// TOML of the `[[pipeline]]` table that differs from the subject's own.
    pub pipeline: &'a str,
    /// More TOML of whole tables.
    pub more: &'a str,
    /// The pipeline's name, schema, bounds and flushes.
    pub subject: String,
}

impl<'a> Options<'a> {
    /// A pipeline `orders` with small flushes, that declares its queue.
    pub fn orders(uri: &'a str) -> Self {
        let subject = format!(
            r#"name = "orders"
schema = "{schema}"
prefetch = 2000
flush = {{ rows = 1000, bytes = "8MiB", age = "500ms" }}
body_max = "{body_max}B"
depth_max = {depth_max}"#,
            schema = repository().join("tests/data/order.v1.json").display(),
            body_max = orders::BODY_MAX,
            depth_max = orders::DEPTH_MAX,
        );
        Self { uri, rabbitmq: "reconnect_max = \"1s\"", store: None, pipeline: "declare = true", more: "", subject }
    }

    /// A pipeline `flights` for the demo's real events, that declares its queue.
    pub fn flights(uri: &'a str) -> Self {
        let subject = format!(
            r#"name = "flights"
schema = "{schema}"
prefetch = 10000
flush = {{ rows = 7000, bytes = "64MiB", age = "1s" }}"#,
            schema = repository().join("config/schemas/flight.v1.json").display(),
        );
        Self { subject, ..Self::orders(uri) }
    }

    /// The same with its objects in `server`.
    pub fn on(self, server: &S3Server) -> Self {
        self.on_within(server, "5s")
    }

    /// The same with a time limit for each request of its own.
    pub fn on_within(mut self, server: &S3Server, request_timeout: &str) -> Self {
        self.store = Some(format!(
            r#"url = "s3://{BUCKET}/archive"
endpoint = "{}"
allow_http = true
region = "us-east-1"
access_key_id = "{ACCESS_KEY}"
secret_access_key = "{SECRET_KEY}"
request_timeout = "{request_timeout}"
connect_timeout = "2s"
retries_max = 1
retry_timeout = "5s""#,
            server.endpoint()
        ));
        self
    }
}

impl Setting {
    pub fn new(options: &Options<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let queue = format!("events-{}", unique());
        let queue_type = match rabbit::queue_type() {
            Some(kind) if options.pipeline.contains("declare = true") => format!("queue_type = \"{kind}\""),
            _ => String::new(),
        };
        let own_store = format!("url = \"file://{}\"", directory.path().join("store").display());
        let text = format!(
            r#"[rabbitmq]
uri = "{uri}"
{rabbitmq}

[store]
{store}

[http]
listen = "127.0.0.1:0"

{more}
[[pipeline]]
{subject}
queue = "{queue}"
format = "json"
event_id = "/id"
event_time = "/occurred_at"
partition_by = ["date"]
{pipeline}
{queue_type}
"#,
            uri = options.uri,
            rabbitmq = options.rabbitmq,
            store = options.store.as_deref().unwrap_or(&own_store),
            more = options.more,
            subject = options.subject,
            pipeline = options.pipeline,
        );
        let config = directory.path().join("parqueduct.toml");
        std::fs::write(&config, text).expect("the configuration can be written");
        Self { directory, config, queue }
    }

    /// A second configuration file beside the first, in which each text of `changes` is replaced.
    pub fn variant(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = std::fs::read_to_string(&self.config).expect("readable");
        for (old, new) in changes {
            assert!(text.contains(old), "nothing to replace: {old}");
            text = text.replace(old, new);
        }
        let config = self.directory.path().join(format!("{name}.toml"));
        std::fs::write(&config, text).expect("the configuration can be written");
        config
    }

    /// Puts `new` in the place of `old` in the configuration.
    pub fn change(&self, old: &str, new: &str) {
        let text = std::fs::read_to_string(&self.config).expect("the configuration can be read");
        assert!(text.contains(old), "{old} is not in the configuration:\n{text}");
        std::fs::write(&self.config, text.replace(old, new)).expect("the configuration can be written");
    }

    /// Leaves it to somebody else to declare the queues, of whatever type the run is for.
    pub fn declares_nothing(&self) {
        self.change("declare = true", "");
        let text = std::fs::read_to_string(&self.config).expect("the configuration can be read");
        let lines = text.lines().filter(|line| !line.starts_with("queue_type = "));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        std::fs::write(&self.config, text).expect("the configuration can be written");
    }

    /// The directory of the setting's own store, or where a test dumps what lies in another.
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

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
