//! The issues of letters and of attempts, as a column of lists.

use std::sync::Arc;

use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, ListArray, UInt64Array};
use arrow_schema::ArrowError;

use super::decode::{DecodeError, IssueRef};
use super::{IssueRecord, columns};
use crate::dlq::arrays::{Columns, Numbers, Text, code_text, elements_of, foreign, group, list, text, text_or_null};
use crate::dlq::fingerprint::GroupId;

/// The column of those lists of issues.
pub(in crate::dlq) fn array<'a>(
    lists: impl Iterator<Item = &'a [IssueRecord]> + Clone,
) -> Result<ArrayRef, ArrowError> {
    let all: Vec<&IssueRecord> = lists.clone().flatten().collect();
    let arrays = vec![
        text(all.iter().map(|issue| &issue.code)),
        text(all.iter().map(|issue| &issue.path)),
        text(all.iter().map(|issue| &issue.instance_path)),
        text(all.iter().map(|issue| &issue.expected)),
        text(all.iter().map(|issue| &issue.actual)),
        text(all.iter().map(|issue| issue.group.as_str())),
        Arc::new(all.iter().map(|issue| issue.offset).collect::<UInt64Array>()),
        text_or_null(all.iter().map(|issue| issue.title.as_ref())),
    ];
    list(columns::issue_fields(), arrays, lists.map(<[_]>::len), None)
}

/// Such a column, read.
pub(in crate::dlq) struct Issues<'a> {
    lists: Option<&'a ListArray>,
    code: Text<'a>,
    path: Text<'a>,
    /// Not read for summaries.
    instance_path: Text<'a>,
    expected: Text<'a>,
    actual: Text<'a>,
    group: Text<'a>,
    offset: Numbers<'a, UInt64Type>,
    title: Text<'a>,
}

impl<'a> Issues<'a> {
    pub fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        let (lists, elements) = columns.list(columns::ISSUES)?;
        Ok(Self {
            lists,
            code: elements.text("code")?,
            path: elements.text("path")?,
            instance_path: elements.text("instance_path")?,
            expected: elements.text("expected")?,
            actual: elements.text("actual")?,
            group: elements.text("group")?,
            offset: elements.numbers("offset")?,
            title: elements.text("title")?,
        })
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.lists.map_or(0..0, |lists| elements_of(lists, row))
    }

    fn range_with_any(&self, row: usize) -> Result<std::ops::Range<usize>, DecodeError> {
        let range = self.range(row);
        if range.is_empty() { Err(foreign(columns::ISSUES, "has a row without any")) } else { Ok(range) }
    }

    /// A dead letter has at least one.
    pub fn at_least_one(&self, row: usize) -> Result<Vec<IssueRef<'a>>, DecodeError> {
        let issue = |at: usize| IssueRef {
            code: self.code.or_empty(at),
            path: self.path.or_empty(at),
            expected: self.expected.or_empty(at),
            actual: self.actual.or_empty(at),
            group: self.group.or_empty(at),
            offset: self.offset.get(at),
            title: self.title.get(at),
        };
        Ok(self.range_with_any(row)?.map(issue).collect())
    }

    /// The groups of at least one, each once.
    pub fn groups(&self, row: usize) -> Result<Vec<GroupId>, DecodeError> {
        let mut groups = Vec::with_capacity(1);
        for at in self.range_with_any(row)? {
            let group = group(self.group.or_empty(at))?;
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// As [`Issues::at_least_one`], whole.
    pub fn records_at_least_one(&self, row: usize) -> Result<Vec<IssueRecord>, DecodeError> {
        self.range_with_any(row)?.map(|at| self.record(at)).collect()
    }

    /// Those of a row that may have none.
    pub fn records(&self, row: usize) -> Result<Vec<IssueRecord>, DecodeError> {
        self.range(row).map(|at| self.record(at)).collect()
    }

    fn record(&self, at: usize) -> Result<IssueRecord, DecodeError> {
        Ok(IssueRecord {
            code: code_text(self.code.or_empty(at)),
            path: self.path.or_empty(at).to_owned(),
            instance_path: self.instance_path.or_empty(at).to_owned(),
            expected: self.expected.or_empty(at).to_owned(),
            actual: self.actual.or_empty(at).to_owned(),
            group: group(self.group.or_empty(at))?,
            offset: self.offset.get(at),
            title: self.title.owned(at),
        })
    }
}
