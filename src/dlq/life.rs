//! Where a group is in its life: what was said of it last, and what its letters show since. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::groups::{Group, State};
use super::log::{self, AsOf, Life, SchemaVersion, Verdict};

/// What the letters of a group show.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Letters that show it, and those of them that are recovered.
    pub showing: u64,
    pub recovered: u64,
    /// Of the last recovery.
    pub last_recovered: Option<DateTime<Utc>>,
    pub last_seen: DateTime<Utc>,
    /// Letters by the minute of their death, counted from 1970.
    pub minutes: &'a BTreeMap<i64, u64>,
    /// When events of each schema (`name@version`) last showed it.
    pub schemas: &'a BTreeMap<String, DateTime<Utc>>,
}

/// The state of a group of which `life` was said last.
///
/// A group all of whose letters are recovered is resolved as of the last recovery, unless something was said since.
pub fn standing(facts: &Facts<'_>, life: Option<&Life>) -> State {
    let by_itself = |otherwise| match facts.recovery() {
        Some((at, state)) if life.is_none_or(|life| life.said.at < at) => state,
        _ => otherwise,
    };
    match life.map(|life| (life, &life.verdict)) {
        None | Some((_, Verdict::Reopened)) => by_itself(State::Open),
        Some((_, Verdict::Acknowledged { .. })) => by_itself(State::Acknowledged),
        Some((_, Verdict::Ignored)) => State::Ignored,
        Some((life, Verdict::Resolved { as_of })) if facts.came_back(life.said.at, as_of) => {
            // What came back may be recovered, too.
            if facts.recovered >= facts.showing { State::Resolved } else { State::Regressed }
        }
        Some((_, Verdict::Resolved { .. })) => State::Resolved,
    }
}

/// Gives each of `groups` its state, by what the log says and by the letters it was made of.
pub fn stand(groups: &mut [Group], log: &log::State) {
    for group in groups {
        group.state = standing(&Facts::of(group), log.life(&group.id));
    }
}

impl<'a> Facts<'a> {
    pub fn of(group: &'a Group) -> Self {
        Self {
            showing: group.showing,
            recovered: group.recovered,
            last_recovered: group.last_recovered,
            last_seen: group.last_seen,
            minutes: &group.minutes,
            schemas: &group.schemas,
        }
    }
}

impl Facts<'_> {
    /// When the last letter was recovered, and what that made of the group, if at that time none was left.
    fn recovery(&self) -> Option<(DateTime<Utc>, State)> {
        let at = self.last_recovered?;
        let left = self.showing.saturating_sub(self.recovered);
        if left == 0 {
            return Some((at, State::Resolved));
        }
        // Those that are left may all have come later.
        let later: u64 = self.minutes.range(minute(at)..).map(|(_, letters)| letters).sum();
        (self.last_seen > at && left <= later).then_some((at, State::Regressed))
    }

    /// Whether letters came that a resolution said at `said_at` does not cover.
    fn came_back(&self, said_at: DateTime<Utc>, as_of: &AsOf) -> bool {
        match as_of {
            AsOf::Time(at) => self.last_seen > *at,
            AsOf::Schema(_) if self.schemas.is_empty() => self.last_seen > said_at,
            AsOf::Schema(fixed) => self.schemas.iter().any(|(label, last)| *last > said_at && !is_older(label, fixed)),
        }
    }
}

/// Whether `label` is of a version before `fixed`: its events are expected to go on failing. Of a schema of another name
/// nobody said so.
fn is_older(label: &str, fixed: &SchemaVersion) -> bool {
    SchemaVersion::parse(label).is_some_and(|seen| seen.name == fixed.name && seen.version < fixed.version)
}

fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::super::log::Said;
    use super::super::record::samples::at;
    use super::*;

    /// Letters at these minutes, all of `flight@1` unless said otherwise.
    struct Letters {
        minutes: BTreeMap<i64, u64>,
        schemas: BTreeMap<String, DateTime<Utc>>,
        last_seen: DateTime<Utc>,
    }

    impl Letters {
        fn at(seconds: &[i64]) -> Self {
            let mut minutes = BTreeMap::new();
            seconds.iter().for_each(|second| *minutes.entry(minute(at(*second))).or_default() += 1);
            let last_seen = at(*seconds.iter().max().expect("a group has a letter"));
            Self { minutes, schemas: BTreeMap::from([("flight@1".to_owned(), last_seen)]), last_seen }
        }

        fn seen(mut self, label: &str, seconds: i64) -> Self {
            self.schemas.insert(label.to_owned(), at(seconds));
            self.last_seen = self.last_seen.max(at(seconds));
            self
        }

        /// The state when `recovered` letters are recovered, the last one at `last`.
        fn state(&self, recovered: u64, last: Option<i64>, life: Option<&Life>) -> State {
            let facts = Facts {
                showing: self.minutes.values().sum(),
                recovered,
                last_recovered: last.map(at),
                last_seen: self.last_seen,
                minutes: &self.minutes,
                schemas: &self.schemas,
            };
            standing(&facts, life)
        }
    }

    fn said(seconds: i64, verdict: Verdict) -> Life {
        Life { said: Said { at: at(seconds), actor: "ann".into(), reason: Some("because".into()) }, verdict }
    }

    fn resolved_as_of(seconds: i64) -> Life {
        said(seconds, Verdict::Resolved { as_of: AsOf::Time(at(seconds)) })
    }

    fn acknowledged(seconds: i64) -> Life {
        said(seconds, Verdict::Acknowledged { owner: Some("ann".into()), note: None })
    }

    #[test]
    fn a_group_is_open_until_something_is_said() {
        let letters = Letters::at(&[0, 60]);
        assert_eq!(letters.state(0, None, None), State::Open);
        assert_eq!(letters.state(0, None, Some(&acknowledged(70))), State::Acknowledged);
        assert_eq!(letters.state(0, None, Some(&said(70, Verdict::Ignored))), State::Ignored);
        assert_eq!(letters.state(0, None, Some(&said(70, Verdict::Reopened))), State::Open);
    }

    #[test]
    fn a_letter_after_the_time_of_a_resolution_makes_it_regressed() {
        assert_eq!(Letters::at(&[0, 60]).state(0, None, Some(&resolved_as_of(60))), State::Resolved);
        assert_eq!(Letters::at(&[0, 61]).state(0, None, Some(&resolved_as_of(60))), State::Regressed);
        assert_eq!(Letters::at(&[0, 61]).state(2, Some(90), Some(&resolved_as_of(60))), State::Resolved);
        // Nothing makes an ignored one come back by itself.
        assert_eq!(Letters::at(&[0, 61]).state(0, None, Some(&said(60, Verdict::Ignored))), State::Ignored);
    }

    #[test]
    fn a_resolution_as_of_a_schema_expects_the_older_versions_to_go_on_failing() {
        let as_of = AsOf::Schema(SchemaVersion::parse("flight@3").expect("is one"));
        let resolved = said(100, Verdict::Resolved { as_of });
        let state = |letters: Letters| letters.state(0, None, Some(&resolved));
        assert_eq!(state(Letters::at(&[0]).seen("flight@1", 500).seen("flight@2", 900)), State::Resolved);
        assert_eq!(state(Letters::at(&[0]).seen("flight@3", 500)), State::Regressed);
        assert_eq!(state(Letters::at(&[0]).seen("flight@10", 500)), State::Regressed);
        assert_eq!(state(Letters::at(&[0]).seen("order@1", 500)), State::Regressed, "of another nobody said so");
        assert_eq!(state(Letters::at(&[0]).seen("flight@3", 99)), State::Resolved, "known when it was said");
        let unnamed = Letters { schemas: BTreeMap::new(), ..Letters::at(&[0, 101]) };
        assert_eq!(state(unnamed), State::Regressed);
    }

    #[test]
    fn a_group_whose_letters_are_all_recovered_is_resolved_unless_something_was_said_since() {
        let letters = Letters::at(&[0, 60]);
        assert_eq!(letters.state(1, Some(300), None), State::Open);
        assert_eq!(letters.state(2, Some(300), None), State::Resolved);
        assert_eq!(letters.state(2, Some(300), Some(&acknowledged(200))), State::Resolved);
        assert_eq!(letters.state(2, Some(300), Some(&acknowledged(400))), State::Acknowledged);
        assert_eq!(letters.state(2, Some(300), Some(&said(400, Verdict::Reopened))), State::Open);
        assert_eq!(letters.state(2, Some(500), Some(&said(400, Verdict::Reopened))), State::Resolved);
    }

    #[test]
    fn a_letter_after_the_last_recovery_makes_what_was_resolved_by_it_regressed() {
        assert_eq!(Letters::at(&[0, 60, 400]).state(2, Some(300), None), State::Regressed);
        assert_eq!(Letters::at(&[0, 60, 400]).state(1, Some(300), None), State::Open, "one was never recovered");
        assert_eq!(Letters::at(&[0, 60, 290]).state(2, Some(300), None), State::Open, "it came before that");
    }
}
