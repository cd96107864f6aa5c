//! Where the reading of a file goes on. Pure.

use super::log::{Flush, FlushState};
use super::record::{FileEnd, Intent, Outcome, Verdict};

/// Where the next flush of a file begins, and what to call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    pub from: FileEnd,
    /// For [`super::FlushName::file`]: the first that is not in use at that offset.
    pub attempt: u16,
    /// An open flush begins there: resolve it, or leave the file to its owner.
    pub open: Option<Intent>,
}

impl Resume {
    /// `flushes` as [`super::FlushLog::of_file`] gives them. Committed flushes are followed from the start of the file,
    /// each beginning where the one before ended; what does not join is left out.
    pub fn of(flushes: &[Flush]) -> Self {
        let mut from = FileEnd { offset: 0, line: 1, complete: false };
        let starting_at = |offset| {
            flushes.iter().filter_map(move |flush| match flush.name.file_start() {
                Some((start, attempt)) if start == offset => Some((flush, attempt)),
                _ => None,
            })
        };
        // Each step goes on or is the last: so this ends.
        while !from.complete
            && let Some(end) = starting_at(from.offset).find_map(|(flush, _)| end(flush))
            && (end.offset > from.offset || end.complete)
        {
            from = end;
        }
        let attempt = starting_at(from.offset).map(|(_, attempt)| attempt).max().unwrap_or_default() + 1;
        let open = starting_at(from.offset).find_map(|(flush, _)| match &flush.state {
            FlushState::Open(intent) => Some(intent.clone()),
            FlushState::Decided(_) => None,
        });
        Self { from, attempt, open }
    }
}

fn end(flush: &Flush) -> Option<FileEnd> {
    match &flush.state {
        FlushState::Decided(Outcome { verdict: Verdict::Committed(committed), .. }) => committed.end,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use ulid::Ulid;

    use super::super::FlushName;
    use super::super::record::{Committed, Owner, Source};
    use super::*;

    fn intent(start: u64) -> Intent {
        let owner = Owner {
            instance: "us".into(),
            host: "h".into(),
            boot_id: "b".into(),
            pid_namespace: "n".into(),
            pid: 1,
            pid_started: 1,
        };
        let source = Source::File { name: "f".into(), digest: "ab".into(), start, start_line: start / 10 + 1 };
        let created_at = DateTime::UNIX_EPOCH;
        Intent { flush: Ulid::nil(), pipeline: "p".into(), owner, created_at, objects: Vec::new(), source }
    }

    fn flush(start: u64, attempt: u16, state: FlushState) -> Flush {
        Flush { name: FlushName::file("p", "ab", start, attempt), state }
    }

    fn committed(start: u64, attempt: u16, offset: u64, complete: bool) -> Flush {
        let end = FileEnd { offset, line: offset / 10 + 1, complete };
        let committed = Committed { end: Some(end), ..Committed::default() };
        let outcome = Outcome::committed(&intent(start), committed, DateTime::UNIX_EPOCH);
        flush(start, attempt, FlushState::Decided(outcome))
    }

    fn aborted(start: u64, attempt: u16) -> Flush {
        let outcome = Outcome::aborted(&intent(start), "us", "why", DateTime::UNIX_EPOCH);
        flush(start, attempt, FlushState::Decided(outcome))
    }

    #[test]
    fn a_file_is_read_from_its_start_or_from_where_committed_flushes_end() {
        let start = FileEnd { offset: 0, line: 1, complete: false };
        assert_eq!(Resume::of(&[]), Resume { from: start, attempt: 1, open: None });
        assert_eq!(Resume::of(&[aborted(0, 1)]), Resume { from: start, attempt: 2, open: None });
        let some = [aborted(0, 1), committed(0, 2, 40, false), committed(40, 1, 90, false), aborted(90, 1)];
        let from = FileEnd { offset: 90, line: 10, complete: false };
        assert_eq!(Resume::of(&some), Resume { from, attempt: 2, open: None });
        let whole = [committed(0, 1, 40, false), committed(40, 1, 50, true)];
        assert!(Resume::of(&whole).from.complete);
    }

    #[test]
    fn a_flush_after_a_gap_does_not_count_and_an_open_one_is_named() {
        let flushes =
            [committed(0, 1, 40, false), flush(40, 1, FlushState::Open(intent(40))), committed(90, 1, 99, true)];
        let resume = Resume::of(&flushes);
        assert_eq!((resume.from.offset, resume.attempt), (40, 2));
        assert_eq!(resume.open, Some(intent(40)));
    }
}
