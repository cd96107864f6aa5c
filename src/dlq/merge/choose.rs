//! Which files are merged, and which letters were kept long enough. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::{Removal, Round, flush_of};
use crate::dlq::attempts::Recovered;
use crate::dlq::fingerprint::GroupId;
use crate::dlq::groups::{self, Group};
use crate::dlq::life;
use crate::dlq::log::{State, Verdict};
use crate::dlq::record::{DecodeError, File, Summary};
use crate::dlq::records::Facts;

/// Bytes of files, and letters, merged into one: what can be held decoded.
const BYTES_MAX: u64 = 16 << 20;
const LETTERS_MAX: u64 = 200_000;

/// A file of that many bytes, or letters, is large enough.
const LARGE_BYTES: u64 = BYTES_MAX / 2;
const LARGE_LETTERS: u64 = LETTERS_MAX / 2;

/// How long letters are kept that nobody needs to deal with any more. The others are kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// From the recovery of a letter, or the resolution of its group.
    pub resolved: TimeDelta,
    /// From the death of a letter whose group is ignored, or from when somebody said so.
    pub ignored: TimeDelta,
}

impl Keep {
    /// Whether all of `date` is longer ago than anything is kept.
    pub(super) fn is_past(&self, date: NaiveDate, now: DateTime<Utc>) -> bool {
        let end = date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(2);
        now - end > self.resolved.max(self.ignored)
    }
}

/// Groups whose letters need not be kept for ever, and since when that is so.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Those that were resolved, and did not come back.
    pub resolved: HashMap<GroupId, DateTime<Utc>>,
    pub ignored: HashMap<GroupId, DateTime<Utc>>,
}

impl Settled {
    /// What `state` says of `groups`.
    pub fn of(groups: &[Group], state: &State) -> Self {
        let mut settled = Self::default();
        for group in groups {
            let Some(life) = state.life(&group.id) else { continue };
            let since = life.said.at;
            match life::standing(&life::Facts::of(group), Some(life)) {
                groups::State::Resolved if matches!(life.verdict, Verdict::Resolved { .. }) => {
                    settled.resolved.insert(group.id.clone(), since);
                }
                groups::State::Ignored => {
                    settled.ignored.insert(group.id.clone(), since);
                }
                _ => {}
            }
        }
        settled
    }
}

/// When the flush of a file began.
pub fn begun(path: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(flush_of(path)?.timestamp_ms()).ok()?)
}

/// Whether a letter of the file may be due; `true` when in doubt.
pub(super) fn may_hold_removals(facts: &Facts, recovered: &Recovered, round: &Round<'_>) -> bool {
    let Some(index) = &facts.index else { return true };
    let due = |since: &DateTime<Utc>, keep| round.now - *since > keep;
    let settled = index.groups.sorted().filter(|group| group.kept() > 0).any(|group| {
        round.settled.resolved.get(&group.id).is_some_and(|since| due(since, round.keep.resolved))
            || round.settled.ignored.get(&group.id).is_some_and(|since| due(since, round.keep.ignored))
    });
    let is_old = |span: crate::dlq::index::Span| due(&span.oldest, round.keep.resolved);
    settled || index.span.is_some_and(|span| is_old(span) && recovered.any_within(span.first, span.last))
}

/// The letters of a file that are due.
pub(super) fn removal(
    file: Bytes,
    recovered: &Recovered,
    settled: &Settled,
    keep: Keep,
    now: DateTime<Utc>,
) -> Result<Removal, DecodeError> {
    let mut removal = Removal::default();
    File::whole(file)?.summaries(|letter| {
        let due = |since: &DateTime<Utc>, keep| now - (*since).max(letter.dead_at) > keep;
        let of_group = |groups: &HashMap<GroupId, DateTime<Utc>>, keep| {
            primary(letter).and_then(|group| groups.get(group)).is_some_and(|since| due(since, keep))
        };
        if recovered.recovered_at(letter.id).is_some_and(|since| due(&since, keep.resolved)) {
            removal.recovered.push(letter.id);
        } else if of_group(&settled.resolved, keep.resolved) {
            removal.resolved.push(letter.id);
        } else if of_group(&settled.ignored, keep.ignored) {
            removal.ignored.push(letter.id);
        }
    })?;
    Ok(removal)
}

fn primary<'a>(letter: &Summary<'a>) -> Option<&'a str> {
    letter.issues.first().map(|issue| issue.group)
}

/// What the next merge takes together, and without which letters; `None` when nothing is to be done. `candidates` are in
/// order.
pub(super) fn sources(
    candidates: &[Arc<Facts>],
    mut removals: HashMap<String, Removal>,
) -> Option<(Vec<String>, Removal)> {
    let mut taken: Vec<&Facts> = Vec::new();
    let (mut bytes, mut letters) = (0, 0);
    let has_removals = |taken: &[&Facts]| taken.iter().any(|facts| removals.contains_key(&facts.path));
    for facts in candidates {
        let is_large = facts.bytes >= LARGE_BYTES || facts.letters >= LARGE_LETTERS;
        if is_large && !removals.contains_key(&facts.path) {
            continue;
        }
        if !taken.is_empty() && (bytes + facts.bytes > BYTES_MAX || letters + facts.letters > LETTERS_MAX) {
            if taken.len() > 1 || has_removals(&taken) {
                break;
            }
            // Alone it would only be written again: it may go with the next ones.
            (bytes, letters) = (0, 0);
            taken.clear();
        }
        taken.push(facts);
        bytes += facts.bytes;
        letters += facts.letters;
    }
    if taken.len() < 2 && !has_removals(&taken) {
        return None;
    }
    let paths: Vec<String> = taken.iter().map(|facts| facts.path.clone()).collect();
    let mut removed = Removal::default();
    for path in &paths {
        removed.merge(removals.remove(path).unwrap_or_default());
    }
    Some((paths, removed))
}
