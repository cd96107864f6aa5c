//! Real RabbitMQ nodes: one that all tests share, and private ones to be stopped, killed and cut off.
//!
//! The shared node lives in the directory that `PARQUEDUCT_TEST_RABBITMQ` names (`make test` does), else in
//! `target/it/rabbitmq`, where it ends by itself ten minutes after its last test. A broker that cannot be had fails the
//! test.
//!
//! `PARQUEDUCT_RABBITMQ_RELEASE` and `PARQUEDUCT_TEST_QUEUE_TYPE` choose the release and the type of queues whose test
//! does not care: `make matrix` goes through all of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use parqueduct::broker::Surroundings;
use parqueduct::broker::publish::{Publisher, PublisherLimits};
use parqueduct::config::{RabbitMq, Secret};
use parqueduct::event::Message;
use tempfile::TempDir;
use tokio::process::Command;

/// Seconds after which a shared node that nobody uses ends.
const LEASE: &str = "600";
/// Seconds a private node lives at most: a test that is killed leaves it behind.
const OWN_LEASE: &str = "900";

/// A running node.
pub struct Rabbit {
    directory: PathBuf,
    uri: String,
    /// Present for a private node, which is stopped and removed with it.
    own: Option<TempDir>,
}

impl Rabbit {
    /// The node all tests share: use [`Rabbit::queue`] for names, and leave it running.
    pub async fn shared() -> Self {
        let (directory, lease) = match std::env::var_os("PARQUEDUCT_TEST_RABBITMQ") {
            Some(directory) => (PathBuf::from(directory), &[][..]),
            None => {
                let release = std::env::var("PARQUEDUCT_RABBITMQ_RELEASE").unwrap_or_default();
                (repository().join(format!("target/it/rabbitmq{release}")), &["--fresh", "--lease", LEASE][..])
            }
        };
        let uri = start(&directory, lease).await;
        Self { directory, uri, own: None }
    }

    /// A private node, started with `options` of `scripts/rabbitmq start`.
    pub async fn own(options: &[&str]) -> Self {
        let own = tempfile::Builder::new().prefix("parqueduct-rabbitmq-").tempdir().expect("a temporary directory");
        let options = [&["--lease", OWN_LEASE], options].concat();
        let uri = start(own.path(), &options).await;
        Self { directory: own.path().to_owned(), uri, own: Some(own) }
    }

    /// A private node in the cluster of `first`.
    pub async fn joined(first: &Self) -> Self {
        Self::own(&["--join", text(&first.directory)]).await
    }

    /// As the administrator `guest`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    pub fn port(&self) -> u16 {
        self.port_of("amqp")
    }

    pub fn tls_port(&self) -> u16 {
        self.port_of("amqps")
    }

    pub fn management_port(&self) -> u16 {
        self.port_of("management")
    }

    fn port_of(&self, name: &str) -> u16 {
        let file = self.directory.join("ports.json");
        let ports: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).expect("the node's ports")).expect("JSON");
        ports[name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port of that name")
    }

    /// How to reach it, as the administrator.
    pub fn config(&self) -> RabbitMq {
        config(&[&self.uri])
    }

    /// How to reach it as somebody else.
    pub fn config_as(&self, user: &str, password: &str) -> RabbitMq {
        config(&[&format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", self.port())])
    }

    /// Starts a private node again, on its old ports, with its data.
    pub async fn start(&self) {
        start(&self.directory, &["--lease", OWN_LEASE]).await;
    }

    pub async fn stop(&self) {
        script(&["stop", "--dir", text(&self.directory)]).await;
    }

    pub async fn kill(&self) {
        script(&["kill", "--dir", text(&self.directory)]).await;
    }

    /// What `rabbitmqctl` prints.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["ctl", "--dir", text(&self.directory)];
        all.extend(arguments);
        script(&all).await
    }

    /// A user with the three permissions (configure, write, read) given as regular expressions.
    pub async fn user(&self, hint: &str, permissions: [&str; 3]) -> (String, String) {
        let (name, password) = (unique(hint), "test".to_owned());
        self.ctl(&["add_user", &name, &password]).await;
        let [configure, write, read] = permissions;
        self.ctl(&["set_permissions", "-p", "/", &name, configure, write, read]).await;
        (name, password)
    }

    /// What the node calls itself in its cluster.
    pub fn name(&self) -> String {
        format!("parqueduct-{}@localhost", self.port())
    }

    /// An empty durable queue whose name nobody else uses.
    pub async fn queue(&self, hint: &str) -> String {
        let name = unique(hint);
        self.declare(&name, &[]).await;
        name
    }

    /// A durable queue of the type of this run, unless `x-queue-type` says another.
    pub async fn declare(&self, queue: &str, arguments: &[(&str, AMQPValue)]) {
        let admin = self.admin().await;
        let mut table = FieldTable::default();
        if let Some(kind) = queue_type() {
            table.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        }
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let declared = admin.1.queue_declare(queue.into(), QueueDeclareOptions::durable(), table).await;
        declared.expect("declaring a queue of our own");
    }

    pub async fn delete(&self, queue: &str) {
        let admin = self.admin().await;
        admin.1.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleting a queue of our own");
    }

    /// Messages that no consumer holds.
    pub async fn ready(&self, queue: &str) -> u32 {
        let admin = self.admin().await;
        let options = QueueDeclareOptions::durable().passive();
        let found = admin.1.queue_declare(queue.into(), options, FieldTable::default()).await;
        found.expect("a queue of our own").message_count()
    }

    /// As [`Rabbit::messages`], once nobody publishes or consumes any more: a quorum queue tells its figures every five
    /// seconds.
    pub async fn messages_at_rest(&self, queue: &str) -> u64 {
        let mut found = self.messages(queue).await;
        if queue_type().as_deref() != Some("quorum") {
            return found;
        }
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.messages(queue).await;
            if now != found {
                (found, since) = (now, Instant::now());
            }
        }
        found
    }

    /// All messages of a queue, those that consumers hold too.
    pub async fn messages(&self, queue: &str) -> u64 {
        let queues = self.ctl(&["list_queues", "--no-table-headers", "name", "messages"]).await;
        let of_queue = |line: &str| line.strip_prefix(queue)?.trim().parse().ok();
        queues.lines().find_map(of_queue).unwrap_or_else(|| panic!("no queue {queue} in:\n{queues}"))
    }

    /// Sends messages to a queue and waits until the broker has them.
    pub async fn publish(&self, queue: &str, messages: &[Message]) {
        let limits = PublisherLimits::default();
        let mut publisher =
            Publisher::connect(&self.config(), surroundings(), "test", limits).await.expect("connecting to publish");
        for message in messages {
            publisher.publish("", queue, message).await.expect("publishing");
        }
        publisher.finish().await.expect("publishing");
        publisher.close().await;
    }

    /// A channel for what the product never does; it lives as long as its connection.
    pub async fn admin(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.uri, ConnectionProperties::default()).await.expect("connecting");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if self.own.is_some() {
            let mut stop = std::process::Command::new(repository().join("scripts/rabbitmq"));
            let stopped = stop.args(["stop", "--dir", text(&self.directory)]).status();
            assert!(stopped.is_ok_and(|status| status.success()) || std::thread::panicking(), "node not stopped");
        }
    }
}

/// How to reach brokers, with the product's defaults but quick to notice and to give up.
pub fn config(uris: &[&str]) -> RabbitMq {
    RabbitMq {
        uris: uris.iter().map(|uri| Secret::new(*uri)).collect(),
        username: None,
        password: None,
        oauth2: None,
        management: None,
        depth_every: None,
        ca: None,
        cert: None,
        key: None,
        heartbeat: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        reconnect_min: Duration::from_millis(100),
        reconnect_max: Duration::from_secs(1),
    }
}

/// The clock and the files of this machine.
pub fn surroundings() -> Surroundings {
    Surroundings { now: chrono::Utc::now, read: |path| std::fs::read_to_string(path) }
}

/// The type that queues of this run have if their test does not care; `None`: the broker's or the product's default.
pub fn queue_type() -> Option<String> {
    std::env::var("PARQUEDUCT_TEST_QUEUE_TYPE").ok()
}

/// A name that no other test uses, nor this test in another run.
pub fn unique(hint: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    format!("{hint}-{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `condition` holds, for what a broker does in its own time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 10 s: {what}");
}

async fn start(directory: &Path, options: &[&str]) -> String {
    let mut arguments = vec!["start", "--dir", text(directory)];
    arguments.extend(options);
    script(&arguments).await.trim().to_owned()
}

async fn script(arguments: &[&str]) -> String {
    let script = repository().join("scripts/rabbitmq");
    let run = Command::new(&script).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let done = run.await.unwrap_or_else(|error| panic!("cannot run {}: {error}; install Python 3", script.display()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "scripts/rabbitmq {}: {said}", arguments.join(" "));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
