//! Whether an open flush is left alone, aborted or tidied. Pure: the caller brings the time and what is known of owners.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::{Intent, Outcome, Owner, Verdict};

/// What is known of the owner of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It cannot write any more.
    Dead,
    Alive,
    /// It cannot be seen from here: another host, boot or container.
    Unknown,
}

/// Where we look from.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    pub boot_id: &'a str,
    pub pid_namespace: &'a str,
}

impl Liveness {
    /// Judges an owner by its process: `started` gives the start of a running process, as [`Owner::pid_started`] counts
    /// it. A process of the same boot and namespace that is gone, or whose id belongs to another by now, is dead. Of
    /// earlier epochs of the own process only the caller knows.
    pub fn of(owner: &Owner, here: Here<'_>, started: impl FnOnce(u32) -> Option<u64>) -> Liveness {
        if (owner.boot_id.as_str(), owner.pid_namespace.as_str()) != (here.boot_id, here.pid_namespace) {
            return Liveness::Unknown;
        }
        match started(owner.pid) {
            Some(started) if started == owner.pid_started => Liveness::Alive,
            _ => Liveness::Dead,
        }
    }
}

/// What to do about an open flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Leave,
    /// Create the outcome *aborted*, then go by what stands there.
    Abort,
    /// Delete its objects. `last`: no write of its owner can still be under way, so that its intent may go too.
    Clean {
        last: bool,
    },
    /// It is committed: only its intent is left over.
    Close,
}

/// What is the same for all flushes of one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round<'a> {
    pub now: DateTime<Utc>,
    pub grace: Duration,
    /// Without conditional creation nobody may decide for another instance: both could win.
    pub conditional_create: bool,
    pub instance: &'a str,
}

impl Round<'_> {
    pub fn action(&self, intent: &Intent, outcome: Option<&Outcome>, liveness: Liveness) -> Action {
        match outcome {
            Some(outcome) if outcome.flush == intent.flush => match outcome.verdict {
                Verdict::Committed(_) => Action::Close,
                // A request of the owner, even of one that died, may have been on its way when the objects were deleted.
                Verdict::Aborted { .. } => Action::Clean { last: self.is_past(outcome.decided_at) },
            },
            // Its name was decided for another flush: it can never commit, but it may still be writing.
            Some(_) if liveness == Liveness::Dead || self.is_past(intent.created_at) => {
                Action::Clean { last: self.is_past(intent.created_at) }
            }
            Some(_) => Action::Leave,
            None if self.may_abort(intent, liveness) => Action::Abort,
            None => Action::Leave,
        }
    }

    /// Whether a flush without outcome may be aborted: at once if its owner is dead, else after the grace. Without
    /// conditional creation a *committed* that is still on its way, even of a dead owner, could land on top of the abort and
    /// bring back a flush whose objects are gone: there only after the grace, and only what is our own.
    pub fn may_abort(&self, intent: &Intent, liveness: Liveness) -> bool {
        match self.conditional_create {
            true => liveness == Liveness::Dead || self.is_past(intent.created_at),
            false => {
                let own = intent.owner.instance == self.instance;
                own && liveness == Liveness::Dead && self.is_past(intent.created_at)
            }
        }
    }

    /// `at` is at least the grace ago. A time ahead of us is not: clocks differ.
    fn is_past(&self, at: DateTime<Utc>) -> bool {
        (self.now - at).to_std().is_ok_and(|age| age >= self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Committed, Source};
    use super::*;
    use ulid::Ulid;

    const GRACE: Duration = Duration::from_secs(300);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).expect("a time")
    }

    fn owner() -> Owner {
        Owner {
            instance: "them".into(),
            host: "h".into(),
            boot_id: "boot".into(),
            pid_namespace: "ns".into(),
            pid: 7,
            pid_started: 99,
        }
    }

    fn intent() -> Intent {
        Intent {
            flush: Ulid::from_parts(1, 1),
            pipeline: "p".into(),
            owner: owner(),
            created_at: at(0),
            objects: Vec::new(),
            source: Source::Queue { queue: "q".into(), shard: 0 },
        }
    }

    fn round(seconds: i64) -> Round<'static> {
        Round { now: at(seconds), grace: GRACE, conditional_create: true, instance: "us" }
    }

    #[test]
    fn an_owner_is_dead_only_when_its_process_can_be_seen_to_be_gone() {
        let here = Here { boot_id: "boot", pid_namespace: "ns" };
        assert_eq!(Liveness::of(&owner(), here, |_| Some(99)), Liveness::Alive);
        assert_eq!(Liveness::of(&owner(), here, |_| Some(100)), Liveness::Dead);
        assert_eq!(Liveness::of(&owner(), here, |_| None), Liveness::Dead);
        for elsewhere in [Here { boot_id: "other", ..here }, Here { pid_namespace: "other", ..here }] {
            assert_eq!(Liveness::of(&owner(), elsewhere, |_| None), Liveness::Unknown);
        }
    }

    #[test]
    fn an_undecided_flush_is_aborted_at_once_when_its_owner_is_dead_and_else_after_the_grace() {
        assert_eq!(round(1).action(&intent(), None, Liveness::Dead), Action::Abort);
        for liveness in [Liveness::Alive, Liveness::Unknown] {
            assert_eq!(round(299).action(&intent(), None, liveness), Action::Leave);
            assert_eq!(round(300).action(&intent(), None, liveness), Action::Abort);
            assert_eq!(round(-10_000).action(&intent(), None, liveness), Action::Leave);
        }
    }

    #[test]
    fn without_conditional_creation_only_own_dead_flushes_are_decided_and_only_after_the_grace() {
        let theirs = Round { conditional_create: false, ..round(10_000) };
        let ours = Round { instance: "them", ..theirs };
        assert_eq!(theirs.action(&intent(), None, Liveness::Dead), Action::Leave);
        assert_eq!(theirs.action(&intent(), None, Liveness::Unknown), Action::Leave);
        assert_eq!(ours.action(&intent(), None, Liveness::Unknown), Action::Leave);
        assert_eq!(ours.action(&intent(), None, Liveness::Dead), Action::Abort);
        let soon = Round { now: at(299), ..ours };
        assert_eq!(soon.action(&intent(), None, Liveness::Dead), Action::Leave, "its outcome may be on its way");
    }

    #[test]
    fn a_decided_flush_is_only_tidied() {
        let committed = Outcome::committed(&intent(), Committed::default(), at(1));
        assert_eq!(round(1).action(&intent(), Some(&committed), Liveness::Dead), Action::Close);
        let aborted = Outcome::aborted(&intent(), "us", "why", at(100));
        assert_eq!(round(399).action(&intent(), Some(&aborted), Liveness::Dead), Action::Clean { last: false });
        assert_eq!(round(400).action(&intent(), Some(&aborted), Liveness::Alive), Action::Clean { last: true });
    }

    #[test]
    fn a_flush_whose_name_another_flush_took_is_tidied_once_its_owner_is_dead_or_late() {
        let other = Intent { flush: Ulid::from_parts(2, 2), ..intent() };
        let committed = Outcome::committed(&other, Committed::default(), at(1));
        assert_eq!(round(2).action(&intent(), Some(&committed), Liveness::Alive), Action::Leave);
        assert_eq!(round(2).action(&intent(), Some(&committed), Liveness::Dead), Action::Clean { last: false });
        assert_eq!(round(300).action(&intent(), Some(&committed), Liveness::Alive), Action::Clean { last: true });
    }
}
