//! The checked configuration: every value is in range, every reference resolves, units are types.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::monitor::Monitor;
use crate::value::Pointer;

/// A whole configuration, ready to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; relative paths in it are relative to its directory.
    pub file: PathBuf,
    /// What this process is called in object names and records: `[A-Za-z0-9_]+`.
    pub instance: String,
    pub rabbitmq: RabbitMq,
    pub store: Store,
    /// `None`: no body names a schema by an id.
    pub registry: Option<Registry>,
    /// `None`: nobody traces.
    pub otlp: Option<Otlp>,
    pub http: Http,
    pub dlq: Dlq,
    pub log: Log,
    pub run: Run,
    pub pipelines: Vec<Pipeline>,
}

impl Config {
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }

    /// The pipeline that dead letters of the pipeline `name` are given back to, if they died in `queue`; `None` when there
    /// is none.
    pub fn replay_target(&self, name: &str, queue: &str) -> Option<&Pipeline> {
        let own = self.pipeline(name)?;
        match &own.kind {
            PipelineKind::Events => Some(own),
            PipelineKind::DeadLetters { replay_to: Some(target) } => self.pipeline(target),
            PipelineKind::DeadLetters { replay_to: None } => {
                let consumes = |pipeline: &&Pipeline| pipeline.kind == PipelineKind::Events && pipeline.queue == queue;
                self.pipelines.iter().find(consumes)
            }
        }
    }
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), file: None }
    }

    /// The secret that the file `path` holds, whose content is `content`: a line break at its end is no part of it.
    pub fn of_file(path: PathBuf, content: &str) -> Self {
        let line = content.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        Self { text: line.unwrap_or(content).to_owned(), file: Some(path) }
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where it was read, and can be read again.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How to reach RabbitMQ.
#[derive(Clone, Debug)]
pub struct RabbitMq {
    /// `amqp://` or `amqps://` URIs, tried in turn; they hold passwords.
    pub uris: Vec<Secret>,
    /// In place of the user and the password of each URI.
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    /// Where to fetch tokens that stand for the password.
    pub oauth2: Option<OAuth2>,
    /// The `http://` or `https://` URL of the management API, which holds a user and a password.
    pub management: Option<Secret>,
    /// How often the length of queues is asked for; `None`: never.
    pub depth_every: Option<Duration>,
    /// PEM of the authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// PEM of our certificate chain and PKCS#8 key, for brokers that ask for one.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub heartbeat: Duration,
    pub connect_timeout: Duration,
    /// Bounds of the back-off between attempts to connect; each wait is drawn at random below the current bound.
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
}

/// Tokens by the client credentials grant (RFC 6749, 4.4).
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// `https://`, or `http://` where the file allows it; without user, password and fragment.
    pub token_url: String,
    pub client_id: String,
    pub client_secret: Secret,
    pub scope: Option<String>,
}

/// Where objects go.
#[derive(Clone, Debug)]
pub struct Store {
    pub place: StorePlace,
    /// Longest wait for one request, body included.
    pub request_timeout: Duration,
    pub connect_timeout: Duration,
    /// Attempts after the first for one request that failed in a way that may pass, and the time within which they
    /// start.
    pub retries_max: usize,
    pub retry_timeout: Duration,
    /// Objects of one flush written at the same time.
    pub put_concurrency: usize,
    /// PEM of an authority to trust beside the system's.
    pub ca: Option<PathBuf>,
    pub allow_http: bool,
}

/// Where schemas are known by their ids.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `http://` or `https://`, without user and password, tried in turn; at least one.
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// A bearer token.
    pub token: Option<Secret>,
    /// PEM of the authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Longest wait for one answer.
    pub request_timeout: Duration,
    /// How long an id that is unknown is not asked for again.
    pub unknown_for: Duration,
    /// How long a schema that cannot be used holds back its events.
    pub unusable_after: Duration,
    pub schemas_max: usize,
    /// Bytes of an answer.
    pub answer_bytes_max: usize,
}

/// Where spans are sent to.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// `http://` or `https://`, without user and password, and without a slash at its end.
    pub endpoint: String,
    pub authorization: Option<Secret>,
    /// PEM of the authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    pub interval: Duration,
    pub timeout: Duration,
    pub queue_max: usize,
    pub links_max: usize,
}

/// Which store, with what only that kind needs. Prefixes have no leading or trailing slash.
#[derive(Clone, Debug)]
pub enum StorePlace {
    File { root: PathBuf },
    S3(S3),
    Gcs(Gcs),
    Azure(Azure),
}

/// Absent credentials come from the usual places: environment, profile, web identity, instance.
#[derive(Clone, Debug)]
pub struct S3 {
    pub bucket: String,
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<Secret>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    /// Profile of the shared credentials file.
    pub profile: Option<String>,
    pub path_style: bool,
    pub encryption: S3Encryption,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// Whatever the bucket's default is.
    Default,
    /// SSE-S3.
    S3,
    /// SSE-KMS, with the key's id or ARN, or the account's default key.
    Kms { key: Option<String>, bucket_key: bool },
}

#[derive(Clone, Debug)]
pub struct Gcs {
    pub bucket: String,
    pub prefix: String,
    pub endpoint: Option<String>,
    /// A service account's JSON key file; absent: application default credentials.
    pub service_account: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Azure {
    pub account: Option<String>,
    pub container: String,
    pub prefix: String,
    pub endpoint: Option<String>,
    pub access_key: Option<Secret>,
    pub sas_token: Option<Secret>,
    /// Talk to a local Azurite.
    pub emulator: bool,
}

#[derive(Clone, Debug)]
pub struct Http {
    /// `None`: no HTTP at all.
    pub listen: Option<std::net::SocketAddr>,
    /// `None`: metrics and health only.
    pub api: Option<Api>,
    /// Connections open at once.
    pub connections_max: usize,
}

/// Who may use the API, and how much.
#[derive(Clone, Debug)]
pub struct Api {
    /// Empty: everybody who can reach it may read as a viewer; then only this machine can.
    pub tokens: Vec<HttpToken>,
    /// Requests of one token within `requests_within`.
    pub requests_max: u32,
    pub requests_within: Duration,
    pub request_timeout: Duration,
    /// Bytes of a request's body.
    pub body_max: usize,
    /// Rows of a page.
    pub page_max: usize,
    /// Replays and dry runs at the same time.
    pub tasks_max: usize,
}

/// One who may use the API.
#[derive(Clone, Debug)]
pub struct HttpToken {
    /// `[A-Za-z0-9_.@-]+`, unique.
    pub name: String,
    pub role: Role,
    /// At least 16 bytes, visible ASCII, unique.
    pub token: Secret,
}

/// What somebody may do; each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// The dead letters.
#[derive(Clone, Debug, Default)]
pub struct Dlq {
    pub mask: Masked,
    /// Larger bodies are objects of their own.
    pub blob_bytes: usize,
    /// Bytes of memory for what files say of their letters.
    pub index_bytes: usize,
    pub merge: bool,
    /// How long a letter is kept from its recovery, or the resolution of its group.
    pub retain_resolved: Duration,
    /// How long a letter of an ignored group is kept.
    pub retain_ignored: Duration,
    /// How often groups are counted; `None`: never.
    pub groups_every: Option<Duration>,
}

/// What viewers do not see, as far as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// Into bodies; a segment `*` is any name or element.
    pub pointers: Vec<Pointer>,
    /// By their names.
    pub headers: Vec<String>,
    /// By their AMQP names.
    pub properties: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// A filter as `tracing` reads it, such as `info` or `info,parqueduct::broker=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Which group issues belong to, where it is not to be by their kind alone. Matches an issue when all that is given does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DlqRule {
    /// A code, or what codes begin with up to a dot.
    pub code: Option<String>,
    /// The segments of a normalised path; `*` stands for any one.
    pub path: Option<Vec<String>>,
    pub action: RuleAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// One group with that title.
    Merge(String),
    /// A group for each value.
    Split(SplitBy),
    /// The rank among a letter's issues, -100 to 100.
    Primary(i64),
}

/// What a group is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitBy {
    AppId,
    RoutingKey,
    Exchange,
    Schema,
    Type,
}

impl SplitBy {
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitBy::AppId => "app_id",
            SplitBy::RoutingKey => "routing_key",
            SplitBy::Exchange => "exchange",
            SplitBy::Schema => "schema",
            SplitBy::Type => "type",
        }
    }
}

/// The process as a whole.
#[derive(Clone, Debug)]
pub struct Run {
    /// Time from SIGTERM within which everything held is flushed or given back.
    pub drain_timeout: Duration,
    /// How long an intent of an owner that cannot be seen is left alone before it is aborted.
    pub flush_grace: Duration,
    /// How far back from a pipeline's newest flush redelivered messages are looked up.
    pub look_back: Duration,
    /// Keys of rows and dead letters kept for that; 40 bytes each.
    pub look_back_rows: usize,
    /// How long a look-up waits for a flush of another process before it aborts it.
    pub look_up_patience: Duration,
    /// `/readyz` fails when the oldest unacked delivery is older than this.
    pub unacked_age_max: Duration,
    /// How often the files of the schemas are looked at; `None`: never.
    pub schema_reload: Option<Duration>,
}

/// One configured flow.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// `[a-z0-9_-]+`: a directory name and a metric label.
    pub name: String,
    pub queue: String,
    /// `Some`: declare the queue (and bind it) before consuming; for demos and tests.
    pub declare: Option<Declare>,
    pub kind: PipelineKind,
    /// The types of its events, at least one: an event is of the first that it fits. They mean nothing in a pipeline of dead
    /// letters.
    pub events: Vec<EventType>,
    pub envelope: Envelope,
    /// `Some`: the schema is learned, of the one type that there is.
    pub infer: Option<Infer>,
    /// `Some`: events published twice within that time are left out as well.
    pub dedupe_window: Option<Duration>,
    /// A shard's window of unacked deliveries, 1 to 65,535.
    pub prefetch: u16,
    pub shards: u16,
    pub flush: Flush,
    pub breaker: Breaker,
    /// `None`: nothing is asked beside the schema.
    pub monitor: Option<Monitor>,
    /// Those of `[[dlq.rule]]` that are for this pipeline, in the order of the file.
    pub dlq_rules: Vec<DlqRule>,
    /// Larger bodies are dead letters.
    pub body_bytes_max: usize,
    /// Deeper documents are dead letters.
    pub depth_max: usize,
    /// Issues recorded of one event; more are counted but not kept.
    pub issues_max: usize,
    /// Partitions a shard holds open at once; one more flushes.
    pub open_partitions_max: usize,
    /// zstd level of the Parquet files, 1 to 22.
    pub compression_level: i32,
}

/// Events of one kind: what they look like, and where their rows go.
#[derive(Clone, Debug)]
pub struct EventType {
    /// `[a-z0-9_-]+`: a directory below the pipeline's; `None` where the pipeline has no other type.
    pub name: Option<String>,
    pub when: When,
    pub format: Format,
    pub framing: Framing,
    /// A file; of one that is learned, the directory of its revisions in the store, after a slash.
    pub schema: PathBuf,
    /// Of a descriptor set, the full name of the events' message.
    pub message: Option<String>,
    /// What else decoded values must look like: a JSON Schema.
    pub rules: Option<PathBuf>,
    /// Own key, else from `name.vN.json`, else the file stem and 1.
    pub schema_name: String,
    pub schema_version: u32,
    /// `None`: the `message_id` property.
    pub event_id: Option<Pointer>,
    /// `None`: the `timestamp` property, else the arrival.
    pub event_time: Option<Pointer>,
    pub event_time_format: TimeFormat,
    /// Events later than now by more than this are dead letters.
    pub event_time_ahead_max: Duration,
    /// Events earlier than now by more than this are dead letters; `None`: no bound.
    pub event_time_behind_max: Option<Duration>,
    pub partition_by: Vec<PartitionKey>,
    pub keep_raw: bool,
}

impl EventType {
    /// The format whose language the schema is written in; of JSON Schema JSON.
    pub fn native(&self) -> Format {
        self.format.native(&self.schema)
    }
}

/// Which messages are of a type of event: those that are all of what is given. Nothing given: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The property `type`, or of a CloudEvent the attribute.
    pub message_type: Option<String>,
    /// Of a CloudEvent the attribute.
    pub source: Option<String>,
    /// Of a CloudEvent the attribute.
    pub dataschema: Option<String>,
    /// The property `content_type`, or of a CloudEvent `datacontenttype`, in whatever case, without parameters.
    pub content_type: Option<String>,
    /// A subject that the schema which the body names is registered under.
    pub subject: Option<String>,
    /// A pattern of a topic exchange: `*` stands for one word, `#` for any number.
    pub routing_key: Option<String>,
    /// The name of a header, and its value as text.
    pub header: Option<(String, String)>,
    /// A field of the event, and its value as text.
    pub field: Option<(Pointer, String)>,
}

/// What comes out of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineKind {
    /// Events to be archived.
    Events,
    /// Messages that the broker dead-lettered; each becomes a dead letter as it is.
    DeadLetters {
        /// The pipeline they are given back to; `None`: the one whose queue is that where the message died.
        replay_to: Option<String>,
    },
}

/// `kind` as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Events,
    DeadLetter,
}

/// Which repeats are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// Those that the broker flags.
    Redelivered,
    /// Those published twice, too.
    Window,
}

/// How to make the queue, when asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    pub queue_type: QueueType,
    /// Exchange and routing key to bind it to.
    pub bind: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    Classic,
    Quorum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Msgpack,
    Avro,
    Protobuf,
    /// Each body says itself which of those it is.
    Auto,
}

impl Format {
    pub const ALL: [Format; 5] = [Format::Json, Format::Msgpack, Format::Avro, Format::Protobuf, Format::Auto];

    /// As people call what is written in it.
    pub const fn document(self) -> &'static str {
        match self {
            Format::Auto => "a known format",
            Format::Json => "JSON",
            Format::Msgpack => "MessagePack",
            Format::Avro => "Avro",
            Format::Protobuf => "Protobuf",
        }
    }

    /// The format whose language a schema in that file is written in, where bodies say themselves what they are; else the
    /// same.
    pub fn native(self, schema: &Path) -> Self {
        match (self, schema.extension().and_then(|ending| ending.to_str())) {
            (Format::Auto, Some("avsc")) => Format::Avro,
            (Format::Auto, Some("desc")) => Format::Protobuf,
            (Format::Auto, _) => Format::Json,
            (format, _) => format,
        }
    }

    /// The format of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Json => "json",
            Format::Msgpack => "msgpack",
            Format::Avro => "avro",
            Format::Protobuf => "protobuf",
        }
    }
}

/// What stands before the data in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    /// Two bytes and the fingerprint of the schema, as the specification of Avro has it.
    SingleObject,
    /// A zero and the id of a schema in a registry, of four bytes; of Protobuf then which message of it.
    Confluent,
}

impl Framing {
    pub const ALL: [Framing; 3] = [Framing::None, Framing::SingleObject, Framing::Confluent];

    pub const fn as_str(self) -> &'static str {
        match self {
            Framing::None => "none",
            Framing::SingleObject => "single-object",
            Framing::Confluent => "confluent",
        }
    }

    /// The framing of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|framing| framing.as_str() == text)
    }
}

/// What events are wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    #[default]
    None,
    CloudEvents,
}

impl Envelope {
    pub const fn as_str(self) -> &'static str {
        match self {
            Envelope::None => "none",
            Envelope::CloudEvents => "cloudevents",
        }
    }
}

/// How the event's time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// A string such as `2013-01-01T10:15:00Z`; an offset is asked for.
    Rfc3339,
    UnixSeconds,
    UnixMillis,
    UnixMicros,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKey {
    /// `date=YYYY-MM-DD` of the event's time in UTC.
    Date,
    /// `hour=H`, without a leading zero.
    Hour,
    /// `name=value` of a field of the event; `name` is the pointer's last segment.
    Field { name: String, pointer: Pointer },
}

/// When a shard closes its batches; the first that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Deliveries held, good and bad; at most 70 % of the prefetch window.
    pub rows: usize,
    /// Bytes of message bodies held.
    pub bytes: usize,
    /// Age of the oldest delivery held.
    pub age: Duration,
}

/// How a schema is learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infer {
    /// Events it is learned of, and that must have a new field until that is declared; or fewer ..
    pub events: usize,
    /// .. that long after the first of them.
    pub patience: Duration,
    pub new_fields: NewFields,
    /// New fields that a process names since its last revision of the schema.
    pub fields_max: usize,
}

/// What becomes of fields that a learned schema does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFields {
    /// They are declared in a new revision.
    Adopt,
    /// They are told of.
    Report,
}

/// When most of what arrives fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// More than this part of the events judged within `within` failed ..
    pub ratio: f64,
    /// .. and at least so many were judged.
    pub events: u64,
    pub within: Duration,
    pub schema: OnTrip,
    pub ours: OnTrip,
    /// From a trip to the first probe; doubles with each that fails.
    pub pause: Duration,
}

/// What a tripped breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrip {
    /// Dead letters go on being made, and the alarm is raised.
    Divert,
    /// Nothing is consumed until a probe goes well.
    Pause,
}
