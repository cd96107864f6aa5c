//! Giving back a few letters before many, and stopping when they fail. Pure.

use std::collections::BTreeSet;

use crate::dlq::fingerprint::GroupId;

/// Letters of the first two steps: one, then ten. None of them may fail.
pub const FIRST: u64 = 11;

/// Of a later step, so many in a hundred may fail.
const FAILED_PERCENT_MAX: u64 = 5;

/// Letters of a step before a share of them says anything.
const SHARE_LETTERS_MIN: u64 = 20;

/// Where the step ends that begins at or holds the place `at` of `total` letters: after 1, after 11, after one in a hundred
/// more, at the end.
pub fn step_end(at: u64, total: u64) -> u64 {
    let hundredth = FIRST + (total / 100).max(1);
    [1, FIRST, hundredth].into_iter().find(|end| at < *end).unwrap_or(total).min(total)
}

/// Watches over the letters of one run.
#[derive(Clone, Debug)]
pub struct Canary {
    total: u64,
    at: u64,
    /// Whether the first letters are watched more closely: not once somebody went on after a stop.
    strict: bool,
    step: Step,
    known: BTreeSet<GroupId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    end: u64,
    judged: u64,
    failed: u64,
}

impl Canary {
    /// From the place `at` of `total` letters on; what is found in the groups `known` is nothing new.
    pub fn new(at: u64, total: u64, known: BTreeSet<GroupId>, strict: bool) -> Self {
        Self { total, at, strict, step: Step { end: step_end(at, total), judged: 0, failed: 0 }, known }
    }

    /// Takes in that the next `judged` letters were, and which of them failed: the groups of what was found of each.
    ///
    /// # Errors
    /// Why to stop, for people.
    pub fn judged(&mut self, judged: u64, failed: &[Vec<GroupId>]) -> Result<(), String> {
        let among_first = self.at < FIRST;
        self.at += judged;
        self.step.judged += judged;
        self.step.failed += failed.len() as u64;
        let Step { end, judged: of, failed: bad } = self.step;
        if let Some(new) = failed.iter().flatten().find(|group| !self.known.contains(*group)) {
            return Err(format!("a letter failed in a way that none of the letters had failed before: group {new}"));
        }
        if bad > 0 && among_first && self.strict {
            return Err(format!("of the first {} letters {bad} failed again", self.at));
        }
        let tells = of >= SHARE_LETTERS_MIN || self.at >= self.total;
        if tells && bad * 100 > of * FAILED_PERCENT_MAX {
            return Err(format!(
                "of the {of} letters of this step {bad} failed again, more than {FAILED_PERCENT_MAX} %"
            ));
        }
        if self.at >= end {
            self.step = Step { end: step_end(self.at, self.total), judged: 0, failed: 0 };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: u64) -> GroupId {
        GroupId::parse(&format!("1-{n:016x}")).expect("an id")
    }

    fn canary(at: u64, total: u64) -> Canary {
        Canary::new(at, total, [group(1)].into(), true)
    }

    fn failures(count: usize) -> Vec<Vec<GroupId>> {
        vec![vec![group(1)]; count]
    }

    #[test]
    fn the_steps_are_one_ten_a_hundredth_and_the_rest() {
        let ends = |total: u64| {
            let mut ends = vec![step_end(0, total)];
            while ends.last().expect("one") < &total {
                ends.push(step_end(*ends.last().expect("one"), total));
            }
            ends
        };
        assert_eq!(ends(100_000), [1, 11, 1011, 100_000]);
        assert_eq!(ends(606), [1, 11, 17, 606]);
        assert_eq!(ends(12), [1, 11, 12]);
        assert_eq!(ends(11), [1, 11]);
        assert_eq!(ends(1), [1]);
        assert_eq!(step_end(500, 100_000), 1011, "a resumed step ends where it would have");
    }

    #[test]
    fn one_failure_among_the_first_eleven_stops_and_a_few_later_do_not() {
        for at in 0..FIRST {
            assert!(canary(at, 1000).judged(1, &failures(1)).is_err(), "{at}");
        }
        let mut later = canary(FIRST, 1000);
        assert_eq!(later.judged(10, &failures(1)), Ok(()), "the step has ten: too few to tell");
        assert_eq!(later.judged(100, &failures(5)), Ok(()));
        assert!(later.judged(100, &failures(6)).is_err(), "more than one in twenty");
    }

    #[test]
    fn a_new_way_of_failing_stops_at_any_place() {
        let mut canary = canary(900, 1000);
        assert_eq!(canary.judged(50, &failures(1)), Ok(()));
        let why = canary.judged(1, &[vec![group(1), group(2)]]).expect_err("is new");
        assert!(why.contains(group(2).as_str()), "{why}");
    }

    #[test]
    fn the_last_letters_are_judged_however_few_they_are() {
        let mut canary = canary(998, 1000);
        assert!(canary.judged(2, &failures(1)).is_err());
    }

    #[test]
    fn who_goes_on_after_a_stop_is_stopped_by_the_share_alone() {
        let mut canary = Canary::new(1, 1000, [group(1)].into(), false);
        assert_eq!(canary.judged(10, &failures(10)), Ok(()));
        assert!(canary.judged(989, &failures(60)).is_err());
    }
}
