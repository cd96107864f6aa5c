//! One thing that one party does, in one instant, and how a trace tells it.

use std::fmt;

use super::state::{COMMIT, INTENT, Requests};

/// Numbers are of messages, writers and flushes, in the order in which the words name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Deliver(usize, usize),
    ListIntents(usize),
    ReadOutcomes(usize),
    EndLookUp(usize),
    GoOnUndecided(usize),
    Announce(usize, usize),
    Write(usize, usize),
    ConfirmStanding(usize),
    Decide(usize, usize),
    SendAck(usize),
    TakeAck(usize),
    Abort(usize, usize),
    Lose(usize, usize),
    NoticeLoss(usize),
    Arrive(usize, Requests),
    Vanish(usize, Requests),
    AbortOrphan(usize),
    DeleteObjects(usize),
    DeleteIntent(usize),
    Crash(usize),
    ChannelDies(usize),
    AbortLiving(usize),
    GiveUp(usize, usize),
    Copy(usize, Requests),
    Redeliver(usize, usize),
}

impl Step {
    /// Progress must not need it.
    pub fn is_fault(self) -> bool {
        use Step::{AbortLiving, ChannelDies, Copy, Crash, GiveUp, Redeliver, Vanish};
        matches!(self, Crash(_) | ChannelDies(_) | AbortLiving(_) | GiveUp(..) | Copy(..) | Vanish(..) | Redeliver(..))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |w: usize| ["A", "B"][w];
        let what = |request: Requests| match request {
            INTENT => "intent",
            COMMIT => "committed",
            _ => "object",
        };
        match *self {
            Step::Deliver(d, w) => write!(out, "d{d} is delivered to {}", who(w)),
            Step::ListIntents(w) => write!(out, "{} lists the open intents", who(w)),
            Step::ReadOutcomes(w) => write!(out, "{} reads the outcomes", who(w)),
            Step::EndLookUp(w) => write!(out, "{} sees all of them decided", who(w)),
            Step::GoOnUndecided(w) => write!(out, "{} waits no longer", who(w)),
            Step::Announce(w, f) => write!(out, "{} sends the intent of F{f}", who(w)),
            Step::Write(w, f) => write!(out, "{} sends the objects of F{f}", who(w)),
            Step::ConfirmStanding(w) => write!(out, "the broker tells {} that its channel stands", who(w)),
            Step::Decide(w, f) => write!(out, "{} sends committed for F{f}", who(w)),
            Step::SendAck(w) => write!(out, "{} sends an ack", who(w)),
            Step::TakeAck(w) => write!(out, "the broker takes the ack of {}", who(w)),
            Step::Lose(w, f) => write!(out, "{} finds F{f} aborted", who(w)),
            Step::NoticeLoss(w) => write!(out, "{} notices that its channel is gone", who(w)),
            Step::Arrive(f, request) => write!(out, "the store takes: {} of F{f}", what(request)),
            Step::Vanish(f, request) => write!(out, "lost on its way: {} of F{f}", what(request)),
            Step::AbortOrphan(f) => write!(out, "F{f}, whose epoch is over, is aborted"),
            Step::DeleteObjects(f) => write!(out, "the objects of F{f} are deleted"),
            Step::DeleteIntent(f) => write!(out, "the intent of F{f} is deleted"),
            Step::Crash(w) => write!(out, "{} is killed", who(w)),
            Step::ChannelDies(w) => write!(out, "the broker takes the channel of {} for dead", who(w)),
            Step::AbortLiving(f) => write!(out, "F{f} is aborted by another who lost patience"),
            Step::GiveUp(w, f) => write!(out, "{} gives F{f} up", who(w)),
            Step::Abort(w, f) => write!(out, "{} aborts F{f}", who(w)),
            Step::Copy(f, request) => write!(out, "sent a second time: {} of F{f}", what(request)),
            Step::Redeliver(d, w) => write!(out, "the broker puts d{d} back, though the channel of {} stands", who(w)),
        }
    }
}
