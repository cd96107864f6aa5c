//! The file as it is written: every key with its description, default and bounds. The one table behind reading, the
//! reference and the JSON Schema; the descriptions are for the people who write the file.

use std::time::Duration;

use super::checked::{
    Dedupe, Envelope, Flow, Format, Framing, LogFormat, NewFields, OnTrip, QueueType, Role, Secret, SplitBy, TimeFormat,
};
use super::keys::{Kind, section};
use super::monitor::OnPersonal;
use super::read::{AnyText, Given, Rate, Ratio, Raw, Size, words};
use super::text::{FilePath, Text};
use crate::personal;

words!(LogFormat: "text" => Text, "json" => Json);
words!(QueueType: "classic" => Classic, "quorum" => Quorum);
words!(Flow: "events" => Events, "dead-letter" => DeadLetter);
words!(Dedupe: "redelivered" => Redelivered, "window" => Window);
words!(NewFields: "adopt" => Adopt, "report" => Report);
words!(OnTrip: "divert" => Divert, "pause" => Pause);
words!(SplitBy: "app_id" => AppId, "routing_key" => RoutingKey, "exchange" => Exchange, "schema" => Schema, "type" => Type);
words!(
    Format: "json" => Json,
    "msgpack" => Msgpack,
    "avro" => Avro,
    "protobuf" => Protobuf,
    "auto" => Auto
);
words!(Envelope: "none" => None, "cloudevents" => CloudEvents);
words!(Framing: "none" => None, "single-object" => SingleObject, "confluent" => Confluent);
words!(
    TimeFormat: "rfc3339" => Rfc3339,
    "unix_seconds" => UnixSeconds,
    "unix_millis" => UnixMillis,
    "unix_micros" => UnixMicros
);

words!(Role: "viewer" => Viewer, "operator" => Operator, "admin" => Admin);

words!(OnPersonal: "off" => Off, "count" => Count, "dead-letter" => DeadLetter);
words!(
    personal::Kind: "card" => Card,
    "iban" => Iban,
    "email" => Email,
    "us-ssn" => UsSsn,
    "es-dni" => EsDni,
    "it-cf" => ItCf,
    "fr-nir" => FrNir,
    "br-cpf" => BrCpf
);

/// Whether something is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    On,
    Off,
}

words!(Serving: "on" => On, "off" => Off);

/// How S3 is asked to encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    S3,
    Kms,
}

words!(Encryption: "AES256" => S3, "aws:kms" => Kms);

section! {
    /// The file as a whole.
    Root {
        /// How to reach RabbitMQ. Each shard of each pipeline opens one connection of its own.
        rabbitmq: RabbitMq = default({});
        /// The object store that takes the archive, the dead letters and what keeps them consistent.
        store: Store = default({});
        /// The registry that knows the schemas of bodies with framing = "confluent".
        registry: Registry = default({});
        /// Where spans of flushes are sent to.
        otlp: Otlp = default({});
        /// Metrics and health (/metrics, /healthz and /readyz), and the API (/api/v1).
        http: Http = default({});
        /// The dead letters: how they are stored, and for how long.
        dlq: Dlq = default({});
        /// What the process says about itself, on standard error.
        log: Log = default({});
        /// The process as a whole.
        run: Run = default({});
        /// One flow from a queue into the archive. Repeat the section for each; a process runs all of them.
        pipeline: Vec<Given<Pipeline>> = required([]);
    }

    /// `[rabbitmq]`
    RabbitMq {
        /// Where the broker is: amqp:// or amqps://, with user, password, host, port and vhost. The default vhost "/"
        /// is written %2f, and special characters of the password are percent-encoded. The user needs permission to
        /// read the queues, and no other. Of the query only frame_max, channel_max and auth_mechanism are accepted.
        uri: Secret = default("amqp://guest:guest@127.0.0.1:5672/%2f");
        /// In place of uri: the nodes of a cluster, tried in turn.
        uris: Vec<Given<Secret>> = unset(["amqps://pq:${PASSWORD}@rabbit-1", "amqps://pq:${PASSWORD}@rabbit-2"]);
        /// The user, in place of the one in uri.
        username: Secret = unset("archiver");
        /// The password, in place of the one in uri; no character needs to be percent-encoded. A secret that is a file is
        /// read again for each new connection, so that a changed one is taken up. When it holds a token (a JWT) that ends,
        /// it is also watched, and open connections get what takes the token's place.
        password: Secret = unset({ file = "secrets/rabbitmq-password" });
        /// In place of password: where to fetch a token of OAuth 2.0 by the client credentials grant. It is renewed after
        /// 80 % of its life, on open connections too.
        oauth2: OAuth2 = unset({});
        /// The HTTP API of RabbitMQ's management plugin: http:// or https://, with the user and password of somebody who
        /// has the tag monitoring and any permission, even none, in the vhost. At the start and by check --connect it is
        /// asked for what AMQP does not tell: whether the broker would drop messages (delivery limit, message-ttl,
        /// max-length), or take them back too soon (consumer-timeout). Unset: that is not checked.
        management: Secret = unset("http://monitor:${PASSWORD}@rabbit-1:15672");
        /// How often it is asked how many messages wait in each queue, over a connection of its own; "0s" is never. It is
        /// asked by a passive declaration, and of the management API where the broker permits none.
        depth_every: Duration = default("30s"), within "0s" to "1h";
        /// Certificates (PEM) of the authorities to trust beside the system's, for amqps and https.
        ca: FilePath = unset("certs/ca.pem");
        /// Our certificate chain (PEM), for brokers that ask for one; needs key.
        cert: FilePath = unset("certs/client.pem");
        /// Its private key (PEM, PKCS#8, not encrypted).
        key: FilePath = unset("certs/client.key");
        /// The heartbeat asked of the broker, in whole seconds; a dead connection is noticed after about twice that.
        heartbeat: Duration = default("10s"), within "1s" to "10m";
        /// Longest wait for a connection, handshake included.
        connect_timeout: Duration = default("10s"), within "100ms" to "5m";
        /// Before a lost connection is tried again there is a random wait; its upper bound starts here and doubles with
        /// each attempt ...
        reconnect_min: Duration = default("200ms"), within "10ms" to "1m";
        /// ... until it is this.
        reconnect_max: Duration = default("30s"), within "10ms" to "10m";
    }

    /// `oauth2` of `[rabbitmq]`
    OAuth2 {
        /// The token endpoint, with https://.
        token_url: Text = required("https://id.example.org/oauth2/token");
        /// Who we are to it.
        client_id: Text = required("archiver");
        /// Proves that (secret).
        client_secret: Secret = required({ file = "secrets/oauth2-client" });
        /// What to ask for, separated by spaces. Unset: what the endpoint gives by itself.
        scope: Text = unset("rabbitmq.read:*/flights");
        /// Accept a token_url with http://, where everything travels in clear text, the secret too.
        allow_http: bool = default(false);
    }

    /// `[store]`
    Store {
        /// Where objects go: file:///directory, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.
        /// file://./directory is relative to this file. Data lands below it in data/, dead letters in dlq/, and what
        /// keeps them consistent in meta/.
        url: Text = required("file:///var/lib/parqueduct");
        /// The URL of an S3-compatible store, or of a private endpoint.
        endpoint: Text = unset("https://minio.example.org:9000"), only "s3" "gs" "az";
        /// The bucket's region. Unset: AWS_REGION, or else us-east-1.
        region: Text = unset("eu-central-1"), only "s3";
        /// Accept an endpoint with http://, where everything travels in clear text, credentials too.
        allow_http: bool = default(false), only "s3" "gs" "az";
        /// Static credentials. Unset: the usual places, in turn: environment, web identity, container, instance.
        access_key_id: Secret = unset("${AWS_ACCESS_KEY_ID}"), only "s3";
        /// Belongs to access_key_id.
        secret_access_key: Secret = unset({ file = "secrets/s3-secret-key" }), only "s3";
        /// Belongs to access_key_id, when those credentials are temporary.
        session_token: Secret = unset("${AWS_SESSION_TOKEN}"), only "s3";
        /// A profile of the shared credentials file (~/.aws/credentials), in place of access_key_id.
        profile: Text = unset("archive"), only "s3";
        /// Address objects as endpoint/bucket/key rather than bucket.endpoint/key. Unset: true with an endpoint, else
        /// false.
        path_style: bool = unset(true), only "s3";
        /// Ask for encryption at rest: with the store's own keys (SSE-S3) or those of KMS (SSE-KMS). Unset: the
        /// bucket's default.
        encryption: Encryption = unset("aws:kms"), only "s3";
        /// The KMS key's id or ARN. Unset: the account's default key. Only with encryption = "aws:kms".
        kms_key: Text = unset("arn:aws:kms:eu-central-1:111122223333:key/1234abcd"), only "s3";
        /// Let S3 derive object keys from a bucket key, which saves most calls of KMS. Only with encryption =
        /// "aws:kms".
        bucket_key: bool = default(false), only "s3";
        /// A service account's JSON key file. Unset: application default credentials.
        service_account: FilePath = unset("secrets/service-account.json"), only "gs";
        /// The storage account. Unset: AZURE_STORAGE_ACCOUNT_NAME.
        account: Text = unset("eventarchive"), only "az";
        /// The account's shared key. Unset, and no sas_token: the environment, workload or managed identity.
        access_key: Secret = unset({ file = "secrets/azure-key" }), only "az";
        /// A shared access signature, in place of access_key.
        sas_token: Secret = unset("${AZURE_SAS_TOKEN}"), only "az";
        /// Talk to Azurite, the local emulator.
        emulator: bool = default(false), only "az";
        /// Certificates (PEM) of the authorities to trust beside the system's.
        ca: FilePath = unset("certs/store-ca.pem"), only "s3" "gs" "az";
        /// Longest wait for one request, its body included: large files on a slow line need more.
        request_timeout: Duration = default("30s"), within "100ms" to "10m";
        /// Longest wait for a connection.
        connect_timeout: Duration = default("5s"), within "100ms" to "5m";
        /// Attempts after the first for a request that failed in a way that may pass. When they are used up, the flush as
        /// a whole is tried again, with growing waits, for half of run.flush_grace; then what is held goes back to its
        /// queue, once. Nothing is lost and nothing becomes a dead letter. Few retries keep a stop prompt.
        retries_max: u64 = default(3), within 0 to 100;
        /// The time from the first attempt within which the others start.
        retry_timeout: Duration = default("20s"), within "0s" to "10m"
            because "what is held must be stored long before the broker takes it back";
        /// Objects of one flush that are written at the same time.
        put_concurrency: u64 = default(8), within 1 to 256;
    }

    /// `[registry]`
    Registry {
        /// A schema registry that speaks Confluent's HTTP API, with http:// or https://; several are tried in turn.
        urls: Vec<Given<Text>> = unset(["https://registry.example.org:8081"]);
        /// The user, for basic authentication.
        username: Text = unset("archiver");
        /// Belongs to username (secret). A secret that is a file is read again for each question.
        password: Secret = unset({ file = "secrets/registry-password" });
        /// In place of username and password: what is sent as a bearer token (secret).
        token: Secret = unset({ file = "secrets/registry-token" });
        /// Certificates (PEM) of the authorities to trust beside the system's.
        ca: FilePath = unset("certs/ca.pem");
        /// Longest wait for one answer. While the registry does not answer, events wait; none becomes a dead letter.
        request_timeout: Duration = default("10s"), within "100ms" to "5m";
        /// How long an id that the registry does not know is not asked for again. Its events are dead letters,
        /// schema.unknown.
        unknown_for: Duration = default("1m"), within "1s" to "1d";
        /// A schema that cannot be used holds its events back for that long, should it be the registry that is broken. If
        /// it still answers the same, they are dead letters, schema.unknown.
        unusable_after: Duration = default("5m"), within "1s" to "1d";
        /// Schemas and unknown ids that are kept.
        schemas_max: u64 = default(10000), within 1 to 1000000;
        /// A longer answer is none.
        answer_max: Size = default("4MiB"), within "1KiB" to "256MiB";
    }

    /// `[otlp]`
    Otlp {
        /// Where a collector takes OTLP over HTTP, without the path /v1/traces: http:// or https://. A trace for each flush
        /// is sent there, best effort: what cannot be sent is dropped, and counted.
        endpoint: Text = unset("http://collector:4318");
        /// Sent along as the header Authorization (secret). A secret that is a file is read again for each request.
        authorization: Secret = unset({ file = "secrets/otlp-authorization" });
        /// Certificates (PEM) of the authorities to trust beside the system's.
        ca: FilePath = unset("certs/ca.pem");
        /// How often what has ended is sent.
        interval: Duration = default("5s"), within "100ms" to "1h";
        /// Longest wait for an answer.
        timeout: Duration = default("10s"), within "100ms" to "5m";
        /// Spans that wait to be sent; more are dropped.
        queue_max: u64 = default(2048), within 1 to 1000000;
        /// Traces of events (header traceparent) that the span of their flush is linked with: the first ones.
        links_max: u64 = default(32), within 0 to 128;
    }

    /// `[http]`
    Http {
        /// The address and port to serve on, or "off". Metrics and health tell nothing of events and ask for no token.
        /// The API tells of dead letters: an address that other machines can reach, such as "0.0.0.0:9410" for a
        /// Prometheus elsewhere, needs tokens or api = "off".
        listen: Text = default("127.0.0.1:9410");
        /// Whether the API is served. Without tokens it only reads, as a viewer does, and only this machine can reach it.
        api: Serving = default("on");
        /// Who may use the API: with tokens, nobody without one. A viewer reads, with bodies masked (dlq.mask); an
        /// operator also sees bodies, acts on groups, and plans and replays to pipelines; an admin also replays elsewhere
        /// and reverts.
        token: Vec<Given<HttpToken>> = unset([{ name = "ops", role = "viewer", token = "${OPS_TOKEN}" }]);
        /// Requests to the API that one token may make within requests_within, in a burst or spread over it; those
        /// without a known token have one such allowance together. Beyond it the answer is 429.
        requests_max: u64 = default(1200), within 1 to 1000000;
        /// See requests_max.
        requests_within: Duration = default("1m"), within "1s" to "1h";
        /// Longest wait for an answer of the API; lists that are sent as they are read may take longer.
        request_timeout: Duration = default("30s"), within "1s" to "10m";
        /// Largest body of a request to the API.
        body_max: Size = default("1MiB"), within "1KiB" to "64MiB";
        /// Rows of a page of the API; what asks for more is refused.
        page_max: u64 = default(1000), within 1 to 10000;
        /// Replays and dry runs that are started over the API and run at the same time; what is beyond is refused.
        tasks_max: u64 = default(4), within 1 to 64;
        /// Connections open at once, those for metrics and health among them; further ones wait.
        connections_max: u64 = default(256), within 8 to 65536;
    }

    /// `token` of `[http]`
    HttpToken {
        /// Who it is, as the audit names them: letters, digits, _, -, . and @.
        name: Text = required("dashboard");
        /// What its owner may do.
        role: Role = required("viewer");
        /// What is sent as `Authorization: Bearer TOKEN`; at least 16 characters (secret).
        token: Secret = required({ file = "secrets/dashboard-token" });
    }

    /// `[dlq]`
    Dlq {
        /// Bodies larger than this are stored as objects of their own, beside the files of dead letters.
        blob_bytes: Size = default("1MiB"), within "1KiB" to "64MiB";
        /// Memory for what the files say of their letters: the index behind groups and searches. It is read again when
        /// it is not enough.
        index_bytes: Size = default("256MiB"), within "1MiB" to "64GiB";
        /// Merge small files of dead letters into large ones, in the background, and remove what was kept long enough.
        /// Not done on stores without conditional creation.
        merge: bool = default(true);
        /// How long a dead letter is kept after it was recovered, or its group was resolved.
        retain_resolved: Duration = default("30d"), within "1h" to "3650d";
        /// How long a dead letter of an ignored group is kept. All others are kept for ever.
        retain_ignored: Duration = default("7d"), within "1h" to "3650d";
        /// How often the groups of dead letters are counted for metrics; "0s" is never. Each time lists one directory for
        /// each pipeline and day that has dead letters, and reads the ends of new files.
        groups_every: Duration = default("5m"), within "0s" to "1d";
        /// What viewers do not see of dead letters: JSON pointers into bodies, where * stands for any name or element
        /// ("/cards/*/pan"), and "headers:NAME" and "properties:NAME". Fields that the schema marks with
        /// "x-parqueduct-sensitive": true are masked in any case. They read "[masked]", and cannot be searched for.
        mask: Vec<Given<Text>> = unset(["/customer/email", "headers:authorization"]);
        /// Which group an issue belongs to, where it is not to be by its kind alone; also written as sections [[dlq.rule]].
        /// Each rule says which issues it is for (all of pipeline, code and path that are written must match) and one
        /// thing to do: merge, split or primary. The first rule that matches and merges or splits decides the group, the
        /// first with primary the rank. Rules are applied to a letter when it is made, and never to old ones.
        rule: Vec<Given<DlqRule>> = unset([{ code = "validate.type", split = "app_id" }]);
    }

    /// `[log]`
    Log {
        /// For people or for machines (one JSON object a line).
        format: LogFormat = default("text");
        /// What is logged: error (a message was lost, or somebody must act), warn (trouble, nothing lost), info
        /// (changes of state), debug (each flush). Single modules can differ, such as "info,parqueduct::broker=debug".
        /// The default silences lapin, the AMQP client, which calls every end of a channel an error and shows bodies;
        /// what matters of that is logged by this program.
        level: Text = default("info,lapin=off");
    }

    /// `rule` of `[dlq]`
    DlqRule {
        /// Only issues of this pipeline.
        pipeline: Text = unset("flights");
        /// Only issues with this code (validate.type), or with a code below it (validate).
        code: Text = unset("validate.type");
        /// Only issues at this normalised path, in which * stands for any one segment.
        path: Text = unset("/legs/*/gate");
        /// All of them are one group, with this title.
        merge: Text = unset("gates");
        /// A group for each value of this property of the message, or of the schema's name and version. Choose one with
        /// few values: beyond 256 that one shard sees, further ones share a group. Values become part of titles.
        split: SplitBy = unset("app_id");
        /// Among the issues of a letter the one with the highest rank is the primary one, by which the letter is counted;
        /// those without a rule have 0. From -100 to 100.
        primary: i64 = unset(10);
    }

    /// `[run]`
    Run {
        /// What this process is called in object names and records: letters, digits and _. Unset: the host's name. Two
        /// processes on one store must not share a name: each settles what its own name left behind.
        instance: Text = unset("archiver_1");
        /// Time from SIGTERM within which everything held is stored. What is not is then given back, in 12 s more at
        /// most; the supervisor should wait that long before it kills (30 s in Kubernetes, 10 s in Docker).
        drain_timeout: Duration = default("15s"), within "100ms" to "1h";
        /// How long an unfinished flush of an instance that cannot be seen is left alone before it is undone. Half of it
        /// is how long a flush is held while the store is away; then its deliveries go back to the queue, once. That half
        /// and the flush age together should be less than the 30 minutes after which the broker closes the channel.
        flush_grace: Duration = default("15m"), within "1s" to "7d";
        /// How far back redelivered messages are looked up, so that none is written twice: counted from the pipeline's
        /// newest flush, so that downtime does not matter. What the broker gave back must come again within it.
        look_back: Duration = default("24h"), within "1m" to "30d";
        /// Events and dead letters known for that, by pipeline; the oldest are forgotten first. Each takes about 40
        /// bytes, and only once something is redelivered.
        look_back_rows: u64 = default(2000000), within 1000 to 1000000000;
        /// How long a look-up waits for a flush of another process to be decided before it undoes it. Its owner is
        /// mostly gone; if it only was slow, its deliveries go back to the queue.
        look_up_patience: Duration = default("30s"), within "100ms" to "1h";
        /// /readyz says no when the oldest unacked delivery is older than this.
        unacked_age_max: Duration = default("10m"), within "1s" to "7d";
        /// How often it is looked whether the files of the schemas say something else; "0s" is never. What two looks in
        /// turn find is taken between two flushes, without a restart, or refused, and then what was there stays in use.
        schema_reload: Duration = default("10s"), within "0s" to "1h";
    }

    /// `[[pipeline]]`
    Pipeline {
        /// What the pipeline is called in directories and metrics: a-z, 0-9, _ and -. Unique, and best never changed.
        name: Text = required("flights");
        /// The queue to consume. It must exist, unless declare = true.
        queue: Text = required("flights");
        /// Declare the queue, durable, before consuming; for demos and tests. The user then needs permission to
        /// configure it.
        declare: bool = default(false);
        /// The type of a queue that is declared.
        queue_type: QueueType = default("quorum");
        /// Exchanges to bind a declared queue to, each with its routing key ("" for none). The exchanges must exist.
        bind: Vec<Given<Bind>> = unset([{ exchange = "events", routing_key = "flights.#" }]);
        /// What comes out of the queue: "events", to be archived, or "dead-letter", messages that RabbitMQ dead-lettered
        /// into it. Each of those becomes a dead letter as it is. Of the keys below, such a pipeline takes only prefetch,
        /// shards, flush and replay_to.
        kind: Flow = default("events");
        /// The pipeline that dead letters of this one are given back to. Only with kind = "dead-letter". Unset: the one
        /// whose queue is that where the message died.
        replay_to: Text = unset("flights");
        /// The types of events, where the queue has several; also written as sections [[pipeline.event]]. An event is of
        /// the first type whose when it fits; one that fits none is a dead letter, schema.unknown. The rows of a type go to
        /// data/PIPELINE/NAME/vN. What a type does not say of format, framing, event_id, event_time and what follows it,
        /// partition_by and keep_raw, the pipeline says for all. The schema and what belongs to it each says itself.
        event: Vec<Given<Event>> = unset([{ name = "placed", schema = "placed.v1.json" }]);
        /// What events are wrapped in. "cloudevents": each message is one CloudEvent (version 1.0), in structured mode (the
        /// body is the event, as JSON) or in binary mode (headers such as cloudEvents:id or ce-id are its attributes). Its data
        /// are what the keys below tell of; its attributes stand in the column _cloudevent.
        envelope: Envelope = default("none");
        /// What bodies are. "auto": each says so by its content_type, or by what it begins with, among what the schema can
        /// read: JSON and MessagePack of a JSON Schema, Avro and JSON of a file that ends with .avsc, Protobuf and JSON of
        /// one that ends with .desc.
        format: Format = expected("json");
        /// What stands in a body before its data: "none"; "single-object" of Avro, two bytes and the fingerprint of the
        /// schema, which must be that of this pipeline; or "confluent", a zero and the id of the schema in [registry] that
        /// the data were written with. Columns and all that is asked of events are then still those of the schema below.
        /// With format = "auto" it is what may stand there: "confluent", which is the default where there is a [registry],
        /// also takes bodies without an id, except bare ones of Avro.
        framing: Framing = default("none");
        /// What events must look like: a JSON Schema, draft 2020-12 or the one its $schema names; for Avro an Avro schema
        /// (.avsc), for Protobuf a descriptor set (.desc, of protoc --include_imports --descriptor_set_out). Or "infer": JSON
        /// and MessagePack may do without one, which is then learned of the first events and kept in the store, below
        /// meta/schemas.
        schema: FilePath = expected("schemas/flight.v1.json");
        /// How a schema is learned. Only with schema = "infer".
        infer: Infer = default({});
        /// The full name of the events' message in a descriptor set. Only for Protobuf.
        message: Text = unset("shop.v1.Order");
        /// What events must look like beside their schema, as the JSON that they become: a JSON Schema. Only for Avro and
        /// Protobuf.
        rules: FilePath = unset("schemas/order.rules.json");
        /// The schema's name in the column _schema. Unset: `name` of a file called `name.vN.json`, else the file's name
        /// without .json; the same with .avsc and .desc. Of one that is learned: the pipeline's name.
        schema_name: Text = unset("flight");
        /// The schema's major version, which is also a directory, v1. Unset: `N` of a file called `name.vN.json`, else
        /// 1.
        schema_version: u64 = unset(1), within 0 to 1000000;
        /// Where the event's id is: a JSON pointer to a string or integer. Unset: the message_id property, or of a CloudEvent
        /// its id. Events without an id are archived, but one that is delivered twice may then be there twice.
        event_id: Text = unset("/id");
        /// Which repeats are left out, known by id and body: "redelivered", those that the broker may have delivered
        /// before; or "window", also those that were published twice within dedupe_window, as far as one process sees
        /// both.
        dedupe: Dedupe = default("redelivered");
        /// How long an event is remembered with dedupe = "window". Takes 20 to 40 bytes an event, run.look_back_rows at
        /// most.
        dedupe_window: Duration = default("10m"), within "1s" to "7d";
        /// Where the event's time is: a JSON pointer. An event whose time is missing or cannot be read is then a dead
        /// letter. Unset: of a CloudEvent its time; the timestamp property; or else the time of arrival.
        event_time: Text = unset("/occurred_at");
        /// How that time is written: text such as "2013-01-01T10:15:00Z", with an offset, or a number since 1970 in the
        /// unit named.
        event_time_format: TimeFormat = default("rfc3339");
        /// Events later than now by more than this are dead letters: a clock is wrong.
        event_time_ahead_max: Duration = default("24h"), within "0s" to "3650d";
        /// Events older than this are dead letters. Unset: the past has no bound.
        event_time_behind_max: Duration = unset("365d"), within "0s" to "36500d";
        /// The directories of the archive, outermost first: "date" and "hour" of the event's time in UTC, or a JSON
        /// pointer, whose last name becomes the directory's: "/origin" gives origin=JFK. Each combination is a file per
        /// flush, so choose fields with few values.
        partition_by: Vec<Given<Text>> = default(["date"]);
        /// A shard's window: how many deliveries it holds unacked at most. What a shard holds in memory grows with it.
        prefetch: u64 = default(50000), within 1 to 65535
            because "16 bits in the protocol, where 0 means 2,000 on a quorum queue and no bound on others; for more, \
                     raise shards";
        /// Connections that consume the queue side by side, each with its own window and batches.
        shards: u64 = default(1), within 1 to 256;
        /// When a shard closes its batches and writes them: at whichever of these is reached first. A flush writes one
        /// file per partition that is open, so small limits mean small files.
        flush: Flush = default({});
        /// What to do when most of what arrives fails.
        breaker: Breaker = default({});
        /// What is asked of the events beside their schema, and of how they flow; also written as a section
        /// [pipeline.monitor]. It is counted and shown as metrics, which the alert rules watch.
        monitor: Monitor = unset({ silence = "10m" });
        /// Keep the bytes as received, too, in a column _raw.
        keep_raw: bool = default(false);
        /// Larger bodies are dead letters.
        body_max: Size = default("16MiB"), within "1B" to "512MiB" because "RabbitMQ takes no larger message";
        /// Documents nested deeper than this are dead letters.
        depth_max: u64 = default(64), within 1 to 512;
        /// Issues recorded of one event; more are counted only.
        issues_max: u64 = default(32), within 1 to 1000;
        /// Partitions a shard has open at once; one more makes it flush. Each becomes a file of the flush.
        open_partitions_max: u64 = default(1024), within 1 to 4096;
        /// The zstd level of the Parquet files: higher is smaller and slower.
        compression_level: u64 = default(1), within 1 to 22;
    }

    /// `[[pipeline.event]]`
    Event {
        /// What the type is called in directories: a-z, 0-9, _ and -, but not v1 and the like. Best never changed.
        name: Text = required("placed");
        /// Which messages are of the type: those that are all that is given here. Unset: all that are of none before.
        when: When = unset({ type = "order.placed" });
        /// What bodies are.
        format: Format = unset("json");
        /// What stands in a body before its data.
        framing: Framing = unset("none");
        /// What events must look like.
        schema: FilePath = required("schemas/placed.v1.json");
        /// The full name of the events' message in a descriptor set.
        message: Text = unset("shop.v1.Order");
        /// What events must look like beside their schema.
        rules: FilePath = unset("schemas/placed.rules.json");
        /// The schema's name in the column _schema.
        schema_name: Text = unset("placed");
        /// The schema's major version.
        schema_version: u64 = unset(1), within 0 to 1000000;
        /// Where the event's id is.
        event_id: Text = unset("/id");
        /// Where the event's time is.
        event_time: Text = unset("/occurred_at");
        /// How that time is written.
        event_time_format: TimeFormat = unset("rfc3339");
        /// Events later than now by more than this are dead letters.
        event_time_ahead_max: Duration = unset("24h"), within "0s" to "3650d";
        /// Events older than this are dead letters.
        event_time_behind_max: Duration = unset("365d"), within "0s" to "36500d";
        /// The directories of the archive.
        partition_by: Vec<Given<Text>> = unset(["date"]);
        /// Keep the bytes as received, too.
        keep_raw: bool = unset(false);
    }

    /// `when` of `[[pipeline.event]]`
    When {
        /// The property type, or of a CloudEvent its type.
        r#type: Text = unset("order.placed");
        /// The source of a CloudEvent.
        source: Text = unset("https://shop.example.org/orders");
        /// The dataschema of a CloudEvent.
        dataschema: Text = unset("https://shop.example.org/schemas/placed/1");
        /// The property content_type, or of a CloudEvent its datacontenttype, in whatever case and without parameters.
        content_type: Text = unset("application/json");
        /// A subject of [registry] under which the schema is registered whose id the body has. With framing = "confluent".
        subject: Text = unset("orders-value");
        /// A pattern for the routing key, as topic exchanges have it: * stands for one word, # for any number.
        routing_key: Text = unset("order.placed.#");
        /// A header and its value.
        header: Named = unset({ name = "event-type", value = "placed" });
        /// A field of the event, by its JSON pointer, and its value: text, a number or a boolean. Not for Avro and Protobuf.
        field: Named = unset({ name = "/kind", value = "placed" });
    }

    /// `header` and `field` of `when`
    Named {
        /// What it is called.
        name: Text = required("event-type");
        /// What it must be, as text.
        value: AnyText = required("placed");
    }

    /// `bind` of a pipeline.
    Bind {
        /// The exchange.
        exchange: Text = required("events");
        /// The routing key or pattern.
        routing_key: AnyText = default("");
    }

    /// `flush` of a pipeline.
    Flush {
        /// Deliveries held, good and bad: at most 70 % of prefetch, and lowered to that when it is not written.
        rows: u64 = default(35000), within 1 to 45874 because "70 % of the greatest prefetch";
        /// Bytes of message bodies held.
        bytes: Size = default("64MiB"), within "1KiB" to "4GiB";
        /// Age of the oldest delivery held. The broker takes back what is held for 30 minutes; beyond 5 minutes is
        /// warned about.
        age: Duration = default("60s"), within "100ms" to "25m"
            because "the broker takes back what is held for 30 minutes";
    }

    /// `infer` of a pipeline.
    Infer {
        /// The schema is learned of that many events, of prefetch or of flush.bytes: of the first that is reached. They are
        /// held meanwhile, and archived by it then. A new field becomes a column once that many events had it ...
        events: u64 = default(1000), within 1 to 65535;
        /// ... or that time after the first event that is held, or had it.
        patience: Duration = default("2m"), within "0s" to "25m"
            because "the broker takes back what is held for 30 minutes";
        /// What becomes of fields that the schema does not declare: "adopt" makes them columns, in a new revision of the
        /// schema that all processes take; "report" only counts them and tells of them. They are kept in _extra in any case.
        new_fields: NewFields = default("adopt");
        /// New fields that a process tells of and adopts since its last revision of the schema. Of those, and of fields with
        /// values of another type, it tells twice as many in all. What lies beyond is warned about, and counted only.
        fields_max: u64 = default(500), within 1 to 2000;
    }

    /// `breaker` of a pipeline.
    Breaker {
        /// The breaker trips when more than this part of what was judged within the time below failed.
        ratio: Ratio = default(0.5), within 0.01 to 1;
        /// Fewer events than this within that time trip nothing.
        events: u64 = default(200), within 1 to 1000000;
        /// How far back is counted.
        within: Duration = default("1m"), within "1s" to "1h";
        /// When events do not fit the schema: "divert" goes on making dead letters of them, and raises the alarm; "pause"
        /// gives back what is held, once, and consumes no more until a probe of a few events goes well.
        schema: OnTrip = default("divert");
        /// The same when it is our doing: codes internal.* and encode.*.
        ours: OnTrip = default("pause");
        /// Time from a trip to the first probe. It doubles with each probe that fails, up to 32 times.
        pause: Duration = default("30s"), within "100ms" to "1h";
    }

    /// `monitor` of a pipeline.
    Monitor {
        /// Fewer deliveries than that are too few. Each process sees its own share of the queue.
        rate_min: Rate = unset("10/m"), within "1/d" to "1000000/s";
        /// More are too many.
        rate_max: Rate = unset("5000/s"), within "1/d" to "1000000/s";
        /// The time over which the rate is taken.
        rate_within: Duration = default("5m"), within "1s" to "6h";
        /// Nothing for so long, while we consume and hold nothing, is silence.
        silence: Duration = unset("10m"), within "1s" to "30d";
        /// Rules for fields; also written as sections [[pipeline.monitor.field]]. An event that breaks one is archived all
        /// the same, and counted.
        field: Vec<Given<MonitorField>> = unset([{ name = "amount", path = "/amount", min = 0 }]);
        /// Personal data in texts of events, where neither a written schema ("x-parqueduct-sensitive") nor dlq.mask says that it
        /// may be: "off"; "count" it by kind and field; or make a "dead-letter" of the event, monitor.personal_data.
        personal_data: OnPersonal = default("off");
        /// The kinds that are looked for.
        personal_kinds: Vec<Given<personal::Kind>> = default(["card", "iban", "email", "us-ssn", "es-dni", "it-cf", "fr-nir", "br-cpf"]);
        /// Fields with personal data that are counted by name; further ones count as "other".
        personal_paths_max: u64 = default(20), within 0 to 1000;
        /// When a shard gets more events than this, only so many are looked at, evenly spread. With personal_data =
        /// "dead-letter" texts of all events are.
        sample_above: Rate = default("1000/s"), within "1/s" to "1000000/s";
    }

    /// `field` of `monitor`
    MonitorField {
        /// What the rule is called in metrics: a-z, 0-9, _ and -. Unique within the pipeline.
        name: Text = required("amount");
        /// Only events of this type.
        event: Text = unset("placed");
        /// The field: a JSON pointer, in which * stands for any name or element. All that is written below must hold
        /// for each value there; one that is missing or null is not looked at.
        path: Text = required("/amount");
        /// The least number.
        min: f64 = unset(0);
        /// The greatest number.
        max: f64 = unset(100000);
        /// The values there may be, as text.
        one_of: Vec<Given<AnyText>> = unset(["EUR", "USD"]);
        /// A regular expression that texts match somewhere; ^ and $ bind it to their ends.
        regex: Text = unset("^[A-Z]{3}$");
        /// It must be there, and not be null, an empty or blank text, or an empty list or object.
        not_empty: bool = default(false);
        /// A time that lies no further back than this when the event arrives.
        fresh: Duration = unset("15m"), within "1s" to "3650d";
        /// How that time is written.
        fresh_format: TimeFormat = default("rfc3339");
    }

    /// A secret that stands in a file of its own.
    SecretFile {
        /// The file; a line break at its end is not part of the secret.
        file: FilePath = required("secrets/password");
    }
}

/// The sections that have a key called `name`, as they are written in the file.
pub(super) fn homes(name: &str) -> Vec<String> {
    let mut homes = Vec::new();
    for section in Root::KIND.keys() {
        let list = matches!(section.kind, Kind::List(_));
        let header = if list { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        for key in section.kind.keys_within() {
            if key.name == name {
                homes.push(header.clone());
            } else if key.kind.keys().iter().any(|inner| inner.name == name) {
                homes.push(format!("{} of {header}", key.name));
            }
        }
    }
    homes
}
