//! Intents and outcomes as JSON objects: `"format": 1`, times RFC 3339 in UTC, ids ULIDs. Readers pass over fields they
//! do not know and refuse a newer format; a writer of a new format adds a reader for each older one.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::store::texts::{time_text, ulid_text};

/// What this version writes.
const FORMAT: u32 = 1;

/// What a flush will write, created before any of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    #[serde(with = "ulid_text")]
    pub flush: Ulid,
    pub pipeline: String,
    pub owner: Owner,
    #[serde(with = "time_text")]
    pub created_at: DateTime<Utc>,
    /// Every data and dead-letter object it may create: all lie below `data/` or `dlq/`.
    pub objects: Vec<String>,
    pub source: Source,
}

/// Who makes a flush, so that another can tell whether it still lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub instance: String,
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The target of `/proc/self/ns/pid`.
    pub pid_namespace: String,
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from the boot to the start of the process.
    pub pid_started: u64,
}

/// Where its events come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    Queue {
        queue: String,
        shard: u16,
    },
    File {
        name: String,
        /// BLAKE3 of the whole file, in hex; earlier versions wrote a SHA-256.
        #[serde(alias = "sha256")]
        digest: String,
        /// Byte offset of the flush's first line, in the decompressed file.
        start: u64,
        /// Its 1-based number.
        start_line: u64,
    },
}

/// What became of a flush. Created once; never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(with = "ulid_text")]
    pub flush: Ulid,
    pub pipeline: String,
    pub instance: String,
    pub source: Source,
    #[serde(with = "time_text")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "time_text")]
    pub decided_at: DateTime<Utc>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Verdict {
    Committed(Committed),
    Aborted {
        /// The instance that decided.
        by: String,
        reason: String,
    },
}

/// What a committed flush holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// What was written, of what the intent announced.
    pub objects: Vec<StoredObject>,
    pub archived: u64,
    pub dead_lettered: u64,
    pub suppressed: u64,
    /// Of the archived events; `None` when there are none.
    #[serde(with = "time_text::optional", default, skip_serializing_if = "Option::is_none")]
    pub event_time_min: Option<DateTime<Utc>>,
    #[serde(with = "time_text::optional", default, skip_serializing_if = "Option::is_none")]
    pub event_time_max: Option<DateTime<Utc>>,
    /// Of a file only: where the next flush begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FileEnd>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// How far into a file a flush reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEnd {
    /// Byte offset of the line after its last, in the decompressed file.
    pub offset: u64,
    /// That line's 1-based number.
    pub line: u64,
    /// There is no such line: the file is done.
    pub complete: bool,
}

impl Outcome {
    /// All of the flush's objects are durable.
    pub fn committed(intent: &Intent, committed: Committed, decided_at: DateTime<Utc>) -> Self {
        Self::of(intent, Verdict::Committed(committed), decided_at)
    }

    /// None of them counts.
    pub fn aborted(intent: &Intent, by: &str, reason: &str, decided_at: DateTime<Utc>) -> Self {
        Self::of(intent, Verdict::Aborted { by: by.to_owned(), reason: reason.to_owned() }, decided_at)
    }

    pub fn is_committed(&self) -> bool {
        matches!(self.verdict, Verdict::Committed(_))
    }

    fn of(intent: &Intent, verdict: Verdict, decided_at: DateTime<Utc>) -> Self {
        Self {
            flush: intent.flush,
            pipeline: intent.pipeline.clone(),
            instance: intent.owner.instance.clone(),
            source: intent.source.clone(),
            created_at: intent.created_at,
            decided_at,
            verdict,
        }
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("its format {0} is newer than {FORMAT}, the newest this version reads; update parqueduct")]
    Newer(u32),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The same record always gives the same bytes: that is how a repeated creation is known for our own.
pub(super) fn encode<T: Serialize>(record: &T) -> Bytes {
    let json = serde_json::to_vec_pretty(&Written { format: FORMAT, record });
    json.expect("records have text keys and finite numbers").into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    match serde_json::from_slice::<Format>(bytes)?.format {
        newer if newer > FORMAT => Err(RecordError::Newer(newer)),
        _ => Ok(serde_json::from_slice(bytes)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let at = DateTime::from_timestamp(1_357_000_000, 123_456_000).expect("a time");
        let owner = Owner {
            instance: "a".into(),
            host: "h".into(),
            boot_id: "b".into(),
            pid_namespace: "pid:[1]".into(),
            pid: 7,
            pid_started: 99,
        };
        let source = Source::File { name: "f.gz".into(), digest: "ab".into(), start: 0, start_line: 1 };
        let intent = Intent {
            flush: Ulid::from_parts(1, 2),
            pipeline: "p".into(),
            owner,
            created_at: at,
            objects: vec!["data/p/x.parquet".into()],
            source,
        };
        let read: Intent = decode(&encode(&intent)).expect("reads back");
        assert_eq!(read, intent);
        let committed = Committed {
            objects: vec![StoredObject { path: "data/p/x.parquet".into(), rows: 3, bytes: 10 }],
            archived: 3,
            event_time_min: Some(at),
            end: Some(FileEnd { offset: 10, line: 4, complete: true }),
            ..Committed::default()
        };
        Outcome::committed(&intent, committed, at)
    }

    #[test]
    fn records_read_back_as_they_were_and_carry_their_format() {
        let outcome = outcome();
        let json = encode(&outcome);
        assert_eq!(decode::<Outcome>(&json).expect("reads back"), outcome);
        let plain: serde_json::Value = serde_json::from_slice(&json).expect("is JSON");
        assert_eq!((&plain["format"], &plain["state"]), (&1.into(), &"committed".into()));
        assert_eq!(plain["decided_at"], "2013-01-01T00:26:40.123456Z");
        assert!(plain.get("event_time_max").is_none());
    }

    #[test]
    fn unknown_fields_are_passed_over_and_a_newer_format_is_refused() {
        let mut plain: serde_json::Value = serde_json::from_slice(&encode(&outcome())).expect("is JSON");
        plain["colour"] = "blue".into();
        let text = plain.to_string();
        assert_eq!(decode::<Outcome>(text.as_bytes()).expect("reads"), outcome());
        plain["format"] = 2.into();
        let error = decode::<Outcome>(plain.to_string().as_bytes()).expect_err("is newer");
        assert!(error.to_string().contains("format 2 is newer than 1"), "{error}");
    }
}
