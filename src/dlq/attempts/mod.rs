//! What became of dead letters that were given back: one row an attempt, in files that are objects of the flush which
//! wrote the rows or met the failures. So a letter is recovered exactly when its row's commit exists.

mod file; // attempts as Parquet
mod index; // what the files of a store say together
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use ulid::Ulid;

pub use file::{Given, Recoveries, decode, encode};
pub use index::{Attempts, AttemptsError, Recovered};

use super::fingerprint::GroupId;
use super::record::IssueRecord;

/// Below the store's root: every attempt at letters of every pipeline.
pub const PREFIX: &str = "dlq/attempts/v1";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Its row is in the same flush.
    Recovered,
    Failed,
}

impl AttemptOutcome {
    pub const ALL: [AttemptOutcome; 2] = [AttemptOutcome::Recovered, AttemptOutcome::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Recovered => "recovered",
            AttemptOutcome::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// One time that a dead letter went through its pipeline again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    pub letter: Ulid,
    /// Which attempt at the letter; its death was the first.
    pub n: u32,
    /// To the microsecond.
    pub at: DateTime<Utc>,
    /// The job that gave it back; `None` when it came by other ways.
    pub job: Option<Ulid>,
    pub outcome: AttemptOutcome,
    /// The groups of the letter's own issues, the primary one first, each once.
    pub letter_groups: Vec<GroupId>,
    /// Of a failure; empty of a recovery, as `code` is.
    pub stage: Cow<'static, str>,
    pub code: Cow<'static, str>,
    /// What was found this time; none of a recovery.
    pub issues: Vec<IssueRecord>,
    pub event_id: Option<String>,
    pub instance: Arc<str>,
    /// Of the program that tried.
    pub version: Cow<'static, str>,
    /// The flush that wrote it.
    pub flush_id: Arc<str>,
}

/// Where a file of attempts goes, below the store's root. `newest` is the latest `at` in it.
pub fn path(pipeline: &str, newest: DateTime<Utc>, flush: Ulid, instance: &str, shard: u32) -> String {
    format!("{PREFIX}/{pipeline}/date={}/{flush}-{instance}-{shard}.parquet", newest.date_naive())
}

/// The pipeline and the date in the path of a file of attempts; `None` for any other path.
pub fn parse_path(path: &str) -> Option<(&str, NaiveDate)> {
    super::record::parse_below(PREFIX, path)
}
