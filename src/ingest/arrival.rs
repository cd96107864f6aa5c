//! A delivery on its way in, and the dead letter that it gives back, if it does.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use crate::config::PipelineKind;
use crate::dlq::attempts::{AttemptOutcome, AttemptRecord};
use crate::dlq::lineage::Lineage;
use crate::event::Delivery;
use crate::rejection::Rejection;

/// A delivery to be judged.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub delivery: Delivery,
    /// The place of its type of events, where that is known; else its message and its body tell.
    pub event: Option<usize>,
    /// What comes of it is an attempt at that letter; `None` for an event that comes by itself.
    pub given: Option<Box<Given>>,
}

/// A dead letter that is given back.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub lineage: Lineage,
    /// When the letter reached us first; `None` when that is not known, as of one that comes from a queue.
    pub first_arrived: Option<DateTime<Utc>>,
    /// What came of it before, as far as that says what to do now.
    pub before: Before,
}

/// What came of a letter before it arrived.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Before {
    /// Nothing that keeps it from being judged.
    #[default]
    Open,
    /// Its row is durable: there is nothing to do.
    Recovered,
    /// The row of an event with that id is durable, and claims to be the letter's. Anybody can copy headers: another event
    /// under the same letter's name is an event of its own.
    RecoveredAs(Option<String>),
    /// This very attempt failed before, and was delivered once more.
    FailedAlready,
    /// It could not be mended: there is nothing to judge.
    Unmended(Rejection),
}

impl Arrival {
    /// An event that comes by itself.
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, event: None, given: None }
    }

    /// One from the queue of a pipeline of that kind: its headers tell whether it gives a letter back. What died at the broker
    /// is a letter of its own, also if a replay had sent it.
    pub fn of_queue(delivery: Delivery, kind: &PipelineKind) -> Self {
        let lineage = match kind {
            PipelineKind::Events => Lineage::of(&delivery.message),
            PipelineKind::DeadLetters { .. } => None,
        };
        let given = lineage.map(|lineage| Box::new(Given { lineage, first_arrived: None, before: Before::Open }));
        Self { delivery, event: None, given }
    }

    /// Takes in the attempts that were made at letters before.
    pub fn consider(&mut self, attempts: &HashMap<Ulid, Vec<AttemptRecord>>) {
        let redelivered = self.delivery.message.redelivered;
        if let Some(given) = &mut self.given
            && let Some(attempts) = attempts.get(&given.lineage.letter)
        {
            given.consider(attempts, redelivered);
        }
    }

    /// The letter that it gives back.
    pub fn letter(&self) -> Option<Ulid> {
        self.given.as_ref().map(|given| given.lineage.letter)
    }

    /// When the event reached us first: its time, when it has none of its own.
    pub fn first_arrived(&self) -> DateTime<Utc> {
        let given = self.given.as_ref().and_then(|given| given.first_arrived);
        given.unwrap_or(self.delivery.received_at)
    }

    /// The broker, or who replays, may have delivered it before.
    pub fn may_be_repeat(&self) -> bool {
        self.delivery.message.redelivered || self.given.is_some()
    }
}

impl Given {
    /// Takes in the attempts that were made at the letter before.
    fn consider(&mut self, attempts: &[AttemptRecord], redelivered: bool) {
        let recovered = attempts.iter().find(|attempt| attempt.outcome == AttemptOutcome::Recovered);
        let same = |attempt: &AttemptRecord| attempt.n == self.lineage.attempt && attempt.job == self.lineage.job;
        self.before = match recovered {
            Some(attempt) => Before::RecoveredAs(attempt.event_id.clone()),
            None if redelivered && attempts.iter().any(same) => Before::FailedAlready,
            None => Before::Open,
        };
    }
}
