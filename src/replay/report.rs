//! What a dry run found; kinds, paths and counts, never values of events.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dlq::fingerprint::GroupId;
use crate::dlq::record::IssueRecord;
use crate::dlq::sentence;
use crate::replay::fix::FieldChange;

/// Ids told as examples.
const EXAMPLES_MAX: usize = 5;

/// What a replay of a plan would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DryRunReport {
    /// Its hash.
    pub plan: String,
    pub pipeline: String,
    /// `name@version` of the schema that was tried.
    pub schema: String,
    pub letters: u64,
    /// Letters that are recovered already: they would be passed over.
    pub recovered_already: u64,
    pub pass: u64,
    pub fail: u64,
    /// By the group that a letter is counted in.
    pub groups: Vec<OldGroup>,
    /// By the group of what was found first of those that fail.
    pub found: Vec<GroupCount>,
    /// Fields that the fix changes, with the number of letters.
    pub changes: Vec<ChangeCount>,
    /// Why the fix could not be done, with the number of letters.
    pub unmended: Vec<ReasonCount>,
    pub partitions: Vec<PartitionCount>,
    /// Of the files that would be written.
    pub bytes: u64,
    pub archived_already: ArchivedAlready,
    /// The same mend over good events; absent when none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<GoodReport>,
}

/// What becomes of the letters counted in one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OldGroup {
    pub group: GroupId,
    pub pass: u64,
    pub fail: u64,
}

/// Events that fail in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupCount {
    pub group: GroupId,
    pub title: String,
    pub code: String,
    pub events: u64,
    /// None of the letters had failed in that way before.
    pub new: bool,
}

/// A field that the fix changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeCount {
    /// `body`, `header` or `property`.
    pub place: &'static str,
    pub path: String,
    pub from: &'static str,
    pub to: &'static str,
    pub events: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    pub reason: String,
    pub events: u64,
}

/// One directory of the archive that rows would go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionCount {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// Events of the letters whose id a row of the same partitions has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArchivedAlready {
    pub events: u64,
    pub examples: Vec<String>,
    /// Files that were looked into.
    pub files: u64,
    /// There were more, or some could not be read.
    pub partly: bool,
}

/// The same mend over good events of the archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GoodReport {
    /// Events tried, the newest.
    pub events: u64,
    /// Of these, made from columns, for the bytes as received are not kept.
    pub rebuilt: u64,
    /// Of these, not to be told from what was sent: they fail as things are.
    pub unusable: u64,
    /// Events that are good now, and would not be.
    pub broken: u64,
    pub found: Vec<GroupCount>,
    /// Ids of events that would break.
    pub examples: Vec<String>,
    /// Events that the fix would change.
    pub changed: u64,
    pub changes: Vec<ChangeCount>,
    pub unmended: Vec<ReasonCount>,
}

impl DryRunReport {
    /// Whether every letter passes, and every good event still does.
    pub fn passes(&self) -> bool {
        self.fail == 0 && self.good.as_ref().is_none_or(|good| good.broken == 0)
    }
}

/// Events that fail, by group, in the making.
#[derive(Default)]
pub(super) struct Found(BTreeMap<GroupId, GroupCount>);

impl Found {
    /// Counts an event by what was found of it first; `known` are ways of failing that are nothing new.
    pub fn add(&mut self, issues: &[IssueRecord], body_bytes: u64, known: &BTreeMap<GroupId, u64>) {
        let Some(first) = issues.first() else { return };
        let count = self.0.entry(first.group.clone()).or_insert_with(|| GroupCount {
            group: first.group.clone(),
            title: sentence::of(&first.signature(body_bytes)),
            code: first.code.to_string(),
            events: 0,
            new: !known.contains_key(&first.group),
        });
        count.events += 1;
    }

    /// The largest first.
    pub fn into_sorted(self) -> Vec<GroupCount> {
        let mut counts: Vec<_> = self.0.into_values().collect();
        counts.sort_by(|one, other| (other.events, &one.group).cmp(&(one.events, &other.group)));
        counts
    }
}

/// What a fix does, in the making.
#[derive(Default)]
pub(super) struct Mended {
    changes: BTreeMap<FieldChange, u64>,
    unmended: BTreeMap<String, u64>,
    /// Events in which something changed.
    pub changed: u64,
}

impl Mended {
    pub fn change(&mut self, changes: Vec<FieldChange>) {
        self.changed += u64::from(!changes.is_empty());
        for change in changes {
            *self.changes.entry(change).or_default() += 1;
        }
    }

    pub fn fail(&mut self, reason: String) {
        *self.unmended.entry(reason).or_default() += 1;
    }

    pub fn changes(&self) -> Vec<ChangeCount> {
        let counted = self.changes.iter().map(|(change, events)| ChangeCount {
            place: change.place.as_str(),
            path: change.path.clone(),
            from: change.from,
            to: change.to,
            events: *events,
        });
        counted.collect()
    }

    pub fn unmended(&self) -> Vec<ReasonCount> {
        self.unmended.iter().map(|(reason, events)| ReasonCount { reason: reason.clone(), events: *events }).collect()
    }
}

/// Adds `id` to the examples, while there are few.
pub(super) fn example(examples: &mut Vec<String>, id: &str) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(id.to_owned());
    }
}
