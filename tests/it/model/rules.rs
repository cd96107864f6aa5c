//! The protocol that is explored, and what it stands on.

use super::state::{OBJECTS, Requests};

/// The protocol, or one that lacks a rule of it: each flaw must be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    None,
    AckBeforeOutcome,
    AckPastALookUp,
    NoLookUp,
    LookUpTakenEarlier,
    LookUpDoesNotWait,
    OutcomesReadBeforeIntents,
    StandingNotConfirmed,
    StandingConfirmedBeforeIntent,
    OutcomeOverwrites,
    ObjectsBeforeIntent,
    AbortedObjectsKept,
    IntentForgottenAtAbort,
}

/// What the store promises, and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// Creates a name once.
    Conditional,
    /// Overwrites. One looks first, then creates; an instance decides its own flushes only, and waits for those of
    /// others until its patience is over.
    Overwriting {
        /// It aborts its flush also while its own *committed* may be on the way.
        hasty: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub flaw: Flaw,
    pub store: Store,
    /// Objects in a flush: 1 or 2.
    pub objects: usize,
}

impl Rules {
    pub fn overwrites(self) -> bool {
        self.store != Store::Conditional || self.flaw == Flaw::OutcomeOverwrites
    }

    pub fn all_objects(self) -> Requests {
        OBJECTS[..self.objects].iter().fold(0, |all, object| all | object)
    }
}
