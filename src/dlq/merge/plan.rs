//! What a merge does, frozen: any process that reads it writes the same file.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{RemovedLetters, Round, flush_of};
use crate::dlq::log::{Event, Said};
use crate::dlq::record::PREFIX;
use crate::store::texts::time_text;

/// Below the store's root: every plan.
const PLANS: &str = "dlq/merges/v1";

/// In the names of merged files, and of no others: no instance has a dot.
pub const MERGED: &str = "-merged.";

/// What this version writes.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergePlan {
    pub pipeline: String,
    pub date: NaiveDate,
    /// From 1; one is done before the next is made.
    pub n: u32,
    #[serde(with = "time_text")]
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// The last entry of the log when it was made; 0 when nothing is removed.
    pub log_seq: u64,
    /// Paths, in order.
    pub sources: Vec<String>,
    /// The path of the file that stands for them.
    pub merged: String,
    /// Letters that it does not hold.
    #[serde(default, skip_serializing_if = "Removal::is_empty")]
    pub removed: Removal,
}

/// Letters that were kept long enough, by why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Removal {
    #[serde(with = "ulids")]
    pub recovered: Vec<Ulid>,
    #[serde(with = "ulids")]
    pub resolved: Vec<Ulid>,
    #[serde(with = "ulids")]
    pub ignored: Vec<Ulid>,
}

impl Removal {
    pub fn is_empty(&self) -> bool {
        self.count() == RemovedLetters::default()
    }

    pub fn count(&self) -> RemovedLetters {
        RemovedLetters {
            recovered: self.recovered.len() as u64,
            resolved: self.resolved.len() as u64,
            ignored: self.ignored.len() as u64,
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.recovered.extend(other.recovered);
        self.resolved.extend(other.resolved);
        self.ignored.extend(other.ignored);
    }
}

/// Why a plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("its format {0} is newer than {FORMAT}, the newest this version reads; update parqueduct")]
    Newer(u32),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    plan: &'a MergePlan,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

pub fn directory(pipeline: &str, date: NaiveDate) -> String {
    format!("{PLANS}/{pipeline}/date={date}")
}

impl MergePlan {
    pub(super) fn new(
        pipeline: &str,
        date: NaiveDate,
        n: u32,
        sources: Vec<String>,
        removed: Removal,
        round: &Round<'_>,
        log_seq: u64,
    ) -> Self {
        // Named after its newest source, so that it keeps that one's place among the others.
        let newest = sources.iter().filter_map(|source| flush_of(source)).max().unwrap_or_default();
        Self {
            pipeline: pipeline.to_owned(),
            date,
            n,
            created_at: round.now,
            created_by: round.actor.to_owned(),
            log_seq,
            sources,
            merged: format!("{PREFIX}/{pipeline}/date={date}/{newest}{MERGED}{n}.parquet"),
            removed,
        }
    }

    pub fn path(&self) -> String {
        format!("{}/{:06}.json", directory(&self.pipeline, self.date), self.n)
    }

    pub fn encode(&self) -> Bytes {
        let json = serde_json::to_vec(&Written { format: FORMAT, plan: self });
        json.expect("plans have text keys").into()
    }

    /// # Errors
    /// [`PlanError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        match serde_json::from_slice::<Format>(bytes)?.format {
            newer if newer > FORMAT => Err(PlanError::Newer(newer)),
            _ => Ok(serde_json::from_slice(bytes)?),
        }
    }

    /// What the log is told of letters removed; always the same, so that it is told once.
    pub fn told(&self) -> (Said, Event) {
        let RemovedLetters { recovered, resolved, ignored } = self.removed.count();
        let event = Event::Removed { pipeline: self.pipeline.clone(), date: self.date, recovered, resolved, ignored };
        (Said::by(self.created_at, &self.created_by), event)
    }
}

mod ulids {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use ulid::Ulid;

    pub fn serialize<S: Serializer>(ids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(Ulid::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ulid>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(|_| de::Error::custom("not a ULID"))).collect()
    }
}
