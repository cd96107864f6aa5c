//! One entry of the log: who did what, when and why. Readers pass over fields and events they do not know, and refuse a
//! newer format.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::dlq::fingerprint::GroupId;
use crate::store::flush::Owner;
use crate::store::texts::{time_text, ulid_text};

/// What this version writes.
const FORMAT: u32 = 1;

/// What the first entry names as the one before it.
pub(super) const BEFORE_ALL: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who did something, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// To the nanosecond; with the rest it tells an entry of ours from another's when an answer was lost.
    #[serde(with = "time_text")]
    pub at: DateTime<Utc>,
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Characters of an actor, and of a reason.
const ACTOR_MAX: usize = 200;
const REASON_MAX: usize = 2_000;

/// Why something cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsayable {
    #[error("nobody says it: the actor is empty, longer than {ACTOR_MAX} characters, or holds control characters")]
    Actor,
    #[error("no reason is given: it is empty, longer than {REASON_MAX} characters, or holds control characters")]
    Reason,
}

impl Said {
    /// What `actor` says at `at`, because of `reason`.
    ///
    /// # Errors
    /// [`Unsayable`].
    pub fn new(at: DateTime<Utc>, actor: &str, reason: &str) -> Result<Self, Unsayable> {
        if !is_sayable(actor, ACTOR_MAX) {
            return Err(Unsayable::Actor);
        }
        if !is_sayable(reason, REASON_MAX) {
            return Err(Unsayable::Reason);
        }
        Ok(Self { at, actor: actor.to_owned(), reason: Some(reason.to_owned()) })
    }

    /// What a process does by itself: there is no reason to ask for.
    pub fn by(at: DateTime<Utc>, actor: &str) -> Self {
        Self { at, actor: actor.to_owned(), reason: None }
    }
}

/// Whether `text` says something, in at most `max` characters, and commands no terminal.
pub(in crate::dlq) fn is_sayable(text: &str, max: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control)
}

/// One entry. Its number is also its path, and it names the hash of the entry before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without a gap.
    pub seq: u64,
    /// SHA-256 of the bytes of the entry before, in hex.
    pub prev: String,
    #[serde(flatten)]
    pub said: Said,
    #[serde(deserialize_with = "event")]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    GroupAcknowledged {
        group: GroupId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    GroupResolved {
        group: GroupId,
        as_of: AsOf,
    },
    GroupIgnored {
        group: GroupId,
    },
    GroupReopened {
        group: GroupId,
    },
    /// A plan was frozen.
    Planned {
        /// Its hash.
        plan: String,
        pipeline: String,
        letters: u64,
    },
    JobStarted {
        #[serde(with = "ulid_text")]
        job: Ulid,
        plan: String,
        pipeline: String,
        /// [`super::PIPELINE`], or another place as the plan names it.
        destination: String,
        letters: u64,
        owner: Owner,
    },
    /// Another process goes on with the job of one that is gone.
    JobTaken {
        #[serde(with = "ulid_text")]
        job: Ulid,
        /// Who had it: it is taken from nobody else.
        from: Owner,
        owner: Owner,
    },
    JobPaused {
        #[serde(with = "ulid_text")]
        job: Ulid,
    },
    /// A paused or halted job goes on.
    JobResumed {
        #[serde(with = "ulid_text")]
        job: Ulid,
    },
    JobCancelled {
        #[serde(with = "ulid_text")]
        job: Ulid,
    },
    /// The job stopped by itself, and waits for somebody to resume or cancel it.
    JobHalted {
        #[serde(with = "ulid_text")]
        job: Ulid,
        owner: Owner,
        why: String,
    },
    JobFinished {
        #[serde(with = "ulid_text")]
        job: Ulid,
        owner: Owner,
        counts: JobCounts,
    },
    /// Somebody was shown a body.
    PayloadRead {
        #[serde(with = "ulid_text")]
        letter: Ulid,
    },
    /// Letters were removed, for they were kept long enough.
    Removed {
        pipeline: String,
        date: NaiveDate,
        recovered: u64,
        resolved: u64,
        ignored: u64,
    },
    /// Of a newer program: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown(serde_json::Value),
}

/// From when on a resolved group's letters are news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsOf {
    /// Letters dead after that instant.
    #[serde(with = "time_text")]
    Time(DateTime<Utc>),
    /// Letters of that version of the schema, or of a newer one.
    Schema(SchemaVersion),
}

/// `name@version`, as in the column `_schema`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaVersion {
    pub name: String,
    pub version: u64,
}

/// What became of the letters of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobCounts {
    /// Their rows are committed.
    pub recovered: u64,
    /// They failed again.
    pub failed: u64,
    /// Recovered before the job came to them.
    pub skipped: u64,
    /// Published and confirmed, or written to a file.
    pub sent: u64,
    /// Given back by the broker: nothing is bound there.
    pub unroutable: u64,
    /// Not sent, for a check before it said no.
    pub refused: u64,
}

impl SchemaVersion {
    /// `None` for what is no `name@version`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = text.rsplit_once('@')?;
        let decimal = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let version = decimal.then(|| version.parse().ok()).flatten()?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), version })
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl Serialize for SchemaVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a name and a version"))
    }
}

impl Event {
    /// Every event of this version, as it is called in an entry.
    pub const KINDS: [&str; 14] = [
        "group_acknowledged",
        "group_resolved",
        "group_ignored",
        "group_reopened",
        "planned",
        "job_started",
        "job_taken",
        "job_paused",
        "job_resumed",
        "job_cancelled",
        "job_halted",
        "job_finished",
        "payload_read",
        "removed",
    ];

    /// What it is called in an entry; also of one that is not known here.
    pub fn kind(&self) -> String {
        let kind = self.as_json()["type"].as_str().map(str::to_owned);
        kind.unwrap_or_default()
    }

    /// As in an entry.
    pub fn as_json(&self) -> serde_json::Value {
        match self {
            Event::Unknown(value) => value.clone(),
            known => serde_json::to_value(known).expect("events have text keys and finite numbers"),
        }
    }

    /// The group it is about.
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Event::GroupAcknowledged { group, .. }
            | Event::GroupResolved { group, .. }
            | Event::GroupIgnored { group }
            | Event::GroupReopened { group } => Some(group),
            _ => None,
        }
    }

    /// The job it is about.
    pub fn job(&self) -> Option<Ulid> {
        match self {
            Event::JobStarted { job, .. }
            | Event::JobTaken { job, .. }
            | Event::JobPaused { job }
            | Event::JobResumed { job }
            | Event::JobCancelled { job }
            | Event::JobHalted { job, .. }
            | Event::JobFinished { job, .. } => Some(*job),
            _ => None,
        }
    }
}

fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
    use serde::de::Error;
    let value = serde_json::Value::deserialize(deserializer)?;
    match value["type"].as_str() {
        Some(kind) if Event::KINDS.contains(&kind) => serde_json::from_value(value).map_err(Error::custom),
        Some(_) => Ok(Event::Unknown(value)),
        None => Err(Error::custom("an event without type")),
    }
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("its format {0} is newer than {FORMAT}, the newest this version reads; update parqueduct")]
    Newer(u32),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    entry: &'a Entry,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The same entry always gives the same bytes: that is how a repeated creation is known for our own.
pub(super) fn encode(entry: &Entry) -> Bytes {
    let json = serde_json::to_vec_pretty(&Written { format: FORMAT, entry });
    json.expect("entries have text keys and finite numbers").into()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
    match serde_json::from_slice::<Format>(bytes)?.format {
        newer if newer > FORMAT => Err(EntryError::Newer(newer)),
        _ => Ok(serde_json::from_slice(bytes)?),
    }
}

/// SHA-256 in hex.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
