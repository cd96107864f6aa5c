//! One dead letter, whole: the message exactly as it came, why it is dead, and every attempt at it. Its file is Parquet,
//! so that any engine reads it without this program.

pub(in crate::dlq) mod columns; // the file's schema
mod decode;
mod encode;
mod identity; // what it is known by
pub(in crate::dlq) mod issues; // issues as a column
mod rows;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use sha2::{Digest, Sha256};
use ulid::Ulid;

pub use decode::{DecodeError, File, IssueRef, Narrowing, Summary, decode, decode_summaries, decode_where};
pub(in crate::dlq) use decode::{checked_format, summary_mask};
pub use encode::{EncodeError, Encoder, encode};
pub use identity::{IDENTITY_COLUMNS, Identity, identities};

use super::death::Death;
use super::fingerprint::{GroupId, Signature};
use crate::config::Format;
use crate::content::{self, Encoding};
use crate::decode::Wire;
use crate::event::{Delivery, Message};
use crate::rejection::{Issue, Rejection};

/// The version of the file written here, in its footer under [`FORMAT_KEY`]. What an older program could misread is a
/// new version; a new column that may be absent is not.
pub const FORMAT: u32 = 1;

/// The footer key of the version.
pub const FORMAT_KEY: &str = "parqueduct.dead_letters.format";

/// The footer key of how to read bodies whose format alone does not say it: an object of texts that
/// [`Wire::parse`] reads, by the hashes of their schemas. So letters can be read when the schemas are long gone.
pub const WIRES_KEY: &str = "parqueduct.dead_letters.wires";

/// Below the store's root: every record of every pipeline.
pub const PREFIX: &str = "dlq/records/v1";

/// Below the store's root: bodies in objects of their own.
pub const BLOBS: &str = "dlq/blobs";

/// What all dead letters of one shard have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub pipeline: String,
    /// From the consumer: a delivery does not tell it. Empty when the source is no queue.
    pub queue: String,
    /// Of the body, as the configuration names it: `json`.
    pub format: String,
    /// `name@version`, as in the archive's `_schema`.
    pub schema: String,
    /// Of the schema's text, when known.
    pub schema_hash: Option<String>,
    /// How to read the body, where the format alone does not say it, and it is known.
    pub wire: Option<Wire>,
    pub instance: String,
    pub shard: u32,
    /// Of this program.
    pub version: String,
}

/// A message that could not be archived, with everything needed to explain it and to give it back.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Given once, at the first death; survives every replay. Its time is not later than `dead_at`.
    pub id: Ulid,
    pub origin: Arc<Origin>,
    /// The channel's delivery tag; for a file the 1-based number of the line.
    pub delivery_tag: u64,
    pub message: Message,
    /// `Some`: the broker had dead-lettered it before it came to us.
    pub original: Option<Original>,
    /// Instants are kept to the microsecond.
    pub received_at: DateTime<Utc>,
    pub dead_at: DateTime<Utc>,
    /// As the archive's `_body_hash`.
    pub body_hash: [u8; 16],
    /// Only where something asked for it, as a blob does.
    pub body_sha256: Option<[u8; 32]>,
    /// Where the body lies when it is too large to lie with the others: the message's is empty then.
    pub blob: Option<Blob>,
    /// As far as the event came before it failed.
    pub event_id: Option<String>,
    pub event_time: Option<DateTime<Utc>>,
    /// Text of a [`Stage`](crate::rejection::Stage); a text, since a newer program may have written it.
    pub stage: Cow<'static, str>,
    /// Text of the primary issue's [`Code`](crate::rejection::Code).
    pub code: Cow<'static, str>,
    /// Every issue found, at least one; the first is the primary one, by which the letter is counted.
    pub issues: Vec<IssueRecord>,
    /// Issues found beyond those kept.
    pub issues_not_kept: u64,
    /// In order; the first is the first death.
    pub attempts: Vec<Attempt>,
    /// The flush that wrote it; empty until one does.
    pub flush_id: String,
    /// Of a letter that came from a file.
    pub source_file: Option<String>,
    pub source_line: Option<u64>,
}

/// Where a message died at the broker, and with what it had come there: what `queue`, `exchange` and `routing_key` are of
/// other letters. Those tell of one that came through a dead-letter exchange only how it came to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
}

impl From<Death> for Original {
    fn from(death: Death) -> Self {
        let Death { queue, exchange, routing_key, .. } = death;
        Self { queue, exchange, routing_key }
    }
}

/// A body in an object of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Below the store's root.
    pub path: String,
    pub bytes: u64,
}

/// As much of a dead letter as it takes to give it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Returnable {
    pub id: Ulid,
    pub message: Message,
    pub received_at: DateTime<Utc>,
    pub dead_at: DateTime<Utc>,
    /// Of its issues, the primary one first, each once.
    pub groups: Vec<GroupId>,
    /// The last attempt that its record has; its death was the first.
    pub attempts: u32,
    /// As the letter's.
    pub blob: Option<Blob>,
    pub body_sha256: Option<[u8; 32]>,
    /// How its body was written, where its file tells.
    pub wire: Option<Wire>,
}

/// An [`Issue`] with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueRecord {
    pub code: Cow<'static, str>,
    pub path: String,
    pub instance_path: String,
    pub expected: String,
    pub actual: String,
    pub group: GroupId,
    pub offset: Option<u64>,
    /// Of its group, when a rule of the configuration made that; else the group's is its sentence.
    pub title: Option<String>,
}

/// One time the message went through a pipeline and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub n: u32,
    pub at: DateTime<Utc>,
    pub stage: Cow<'static, str>,
    pub code: Cow<'static, str>,
    /// The primary group then.
    pub group: GroupId,
    pub instance: String,
    /// Of the program that tried.
    pub version: String,
    pub source: AttemptSource,
}

/// Where an attempt's message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptSource {
    Queue,
    File,
    Replay,
}

impl AttemptSource {
    pub const ALL: [AttemptSource; 3] = [AttemptSource::Queue, AttemptSource::File, AttemptSource::Replay];

    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptSource::Queue => "queue",
            AttemptSource::File => "file",
            AttemptSource::Replay => "replay",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

impl DeadLetter {
    /// The first death of `delivery`, at `dead_at`, under the new `id`. What is not known to the shard (event id and
    /// time, flush, file) the caller fills in.
    pub fn new(
        id: Ulid,
        origin: &Arc<Origin>,
        delivery: Delivery,
        rejection: &Rejection,
        source: AttemptSource,
        dead_at: DateTime<Utc>,
    ) -> Self {
        let Delivery { tag, received_at, message } = delivery;
        let code = rejection.code();
        let body_bytes = message.body.len() as u64;
        let issue_record = |issue: &Issue| IssueRecord::new(issue, &origin.pipeline, body_bytes);
        let issues: Vec<_> = rejection.issues().iter().map(issue_record).collect();
        let first = Attempt {
            n: 1,
            at: dead_at,
            stage: code.stage().as_str().into(),
            code: code.as_str().into(),
            group: issues[0].group.clone(),
            instance: origin.instance.clone(),
            version: origin.version.clone(),
            source,
        };
        Self {
            id,
            origin: Arc::clone(origin),
            delivery_tag: tag,
            body_hash: message.body_hash(),
            body_sha256: None,
            blob: None,
            message,
            original: None,
            received_at,
            dead_at,
            event_id: None,
            event_time: None,
            stage: first.stage.clone(),
            code: first.code.clone(),
            issues,
            issues_not_kept: rejection.issues_dropped() as u64,
            attempts: vec![first],
            flush_id: String::new(),
            source_file: None,
            source_line: None,
        }
    }

    /// The queue where it died, at ours or at the broker's hands.
    pub fn home_queue(&self) -> &str {
        self.original.as_ref().map_or(&self.origin.queue, |original| &original.queue)
    }

    /// The exchange and the routing key with which it came to that queue.
    pub fn home_address(&self) -> (&str, &str) {
        match &self.original {
            Some(original) => (&original.exchange, &original.routing_key),
            None => (&self.message.exchange, &self.message.routing_key),
        }
    }

    /// The group it is counted in.
    pub fn group(&self) -> &GroupId {
        &self.issues[0].group
    }

    /// The body as people and searches read it: decompressed if it came compressed, and as JSON where its format is
    /// binary; as it came where that cannot be.
    pub fn document(&self) -> Cow<'_, [u8]> {
        self.document_of(&self.message.body)
    }

    /// The same of its body when that lies elsewhere.
    pub fn document_of<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        let opened = match Encoding::of(&self.message) {
            Some(encoding) => content::opened_as(encoding, body),
            None => Cow::Borrowed(body),
        };
        let json = match (&self.origin.wire, Format::parse(&self.origin.format)) {
            (Some(wire), _) => wire.told(&self.message, &opened).as_json(&opened),
            (None, Some(Format::Msgpack)) => Wire::Msgpack.as_json(&opened),
            _ => None,
        };
        json.map_or(opened, Cow::Owned)
    }

    /// The length of its body, wherever that lies.
    pub fn body_bytes(&self) -> u64 {
        self.blob.as_ref().map_or(self.message.body.len() as u64, |blob| blob.bytes)
    }

    /// Takes the body out, to be stored as the object that is returned; its file will be one of `date`.
    pub fn take_body(&mut self, date: NaiveDate) -> (String, Vec<u8>) {
        let body = std::mem::take(&mut self.message.body);
        let hash: [u8; 32] = Sha256::digest(&body).into();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("{}/{hex}", blobs_dir(&self.origin.pipeline, date));
        self.body_sha256 = Some(hash);
        self.blob = Some(Blob { path: path.clone(), bytes: body.len() as u64 });
        (path, body)
    }

    /// What a listing knows of it.
    pub fn summary(&self) -> Summary<'_> {
        let (message, original) = (&self.message, self.original.as_ref());
        Summary {
            id: self.id,
            pipeline: &self.origin.pipeline,
            queue: &self.origin.queue,
            exchange: &message.exchange,
            routing_key: &message.routing_key,
            original_queue: original.map(|original| original.queue.as_str()),
            original_exchange: original.map(|original| original.exchange.as_str()),
            original_routing_key: original.map(|original| original.routing_key.as_str()),
            received_at: self.received_at,
            dead_at: self.dead_at,
            stage: &self.stage,
            code: &self.code,
            issues: self.issues.iter().map(IssueRecord::as_ref).collect(),
            schema: &self.origin.schema,
            event_id: self.event_id.as_deref(),
            message_id: message.properties.message_id.as_deref(),
            app_id: message.properties.app_id.as_deref(),
            body_bytes: self.body_bytes(),
        }
    }

    /// Bytes of memory it holds, near enough to bound a batch by.
    pub fn size(&self) -> usize {
        let Message { body, exchange, routing_key, unreadable, .. } = &self.message;
        let issue = |issue: &IssueRecord| size_of::<IssueRecord>() + issue.path.len() + issue.instance_path.len();
        let issues: usize = self.issues.iter().map(issue).sum();
        let unreadable: usize = unreadable.iter().map(|part| part.place.len() + part.bytes.len()).sum();
        size_of::<Self>() + body.len() + exchange.len() + routing_key.len() + issues + unreadable
    }
}

impl IssueRecord {
    fn new(issue: &Issue, pipeline: &str, body_bytes: u64) -> Self {
        let Issue { code, path, instance_path, expected, actual, offset } = issue.clone();
        let group = Signature::new(code.as_str(), &path, &expected, &actual, offset, body_bytes).group(pipeline);
        Self { code: code.as_str().into(), path, instance_path, expected, actual, group, offset, title: None }
    }

    fn as_ref(&self) -> IssueRef<'_> {
        let Self { code, path, expected, actual, group, offset, title, .. } = self;
        let title = title.as_deref();
        IssueRef { code, path, expected, actual, group: group.as_str(), offset: *offset, title }
    }

    /// What makes its group; the body is `body_bytes` long.
    pub fn signature(&self, body_bytes: u64) -> Signature<'_> {
        let Self { code, path, expected, actual, offset, .. } = self;
        Signature::new(code, path, expected, actual, *offset, body_bytes)
    }
}

/// Where a file of dead letters goes, below the store's root. `newest` is the latest `dead_at` in it: a search by time
/// then never opens a directory older than what it looks for.
pub fn path(pipeline: &str, newest: DateTime<Utc>, id: Ulid, instance: &str, shard: u32) -> String {
    format!("{PREFIX}/{pipeline}/date={}/{id}-{instance}-{shard}.parquet", newest.date_naive())
}

/// Where the bodies of a pipeline's letters go that lie in files of `date`.
pub fn blobs_dir(pipeline: &str, date: NaiveDate) -> String {
    format!("{BLOBS}/{pipeline}/date={date}")
}

/// The pipeline and the date in the path of a file of dead letters; `None` for any other path.
pub fn parse_path(path: &str) -> Option<(&str, NaiveDate)> {
    parse_below(PREFIX, path)
}

/// The same of files below `prefix`.
pub(in crate::dlq) fn parse_below<'a>(prefix: &str, path: &'a str) -> Option<(&'a str, NaiveDate)> {
    let rest = path.strip_prefix(prefix)?.strip_prefix('/')?;
    let (pipeline, rest) = rest.split_once('/')?;
    let (date, file) = rest.strip_prefix("date=")?.split_once('/')?;
    let named_so = file.ends_with(".parquet") && !file.contains('/');
    named_so.then_some(())?;
    Some((pipeline, date.parse().ok()?))
}
