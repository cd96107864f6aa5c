//! What can happen next.

use super::rules::{Flaw, Rules, Store};
use super::state::{
    COMMIT, Channel, Flush, INTENT, Local, LookUp, MESSAGES_MAX, Message, OBJECTS, Outcome, Phase, Requests, Set,
    State, WRITERS, has, members,
};
use super::step::Step;

/// All that can happen next.
pub fn successors(rules: Rules, state: &State, into: &mut Vec<(Step, State)>) {
    let mut next = Successors { rules, state, into };
    for w in 0..WRITERS {
        next.of_channel(w);
        next.of_look_up(w);
        next.of_flush(w);
        next.of_faults(w);
    }
    for (f, flush) in state.begun() {
        next.of_requests(f, flush);
        next.of_resolve(f, flush);
    }
}

struct Successors<'a> {
    rules: Rules,
    state: &'a State,
    into: &'a mut Vec<(Step, State)>,
}

impl Successors<'_> {
    fn add(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut next = *self.state;
        change(&mut next);
        if !self.rules.overwrites() {
            next.forget_late_commits();
        }
        next.tidy();
        self.into.push((step, next));
    }

    fn flawed(&self, flaw: Flaw) -> bool {
        self.rules.flaw == flaw
    }

    /// Deliver, ack, notice. A channel is opened when there is something to deliver.
    fn of_channel(&mut self, w: usize) {
        let writer = self.state.writers[w];
        if writer.channel == Channel::HalfOpen {
            return self.add(Step::NoticeLoss(w), |next| next.end_epoch(w));
        }
        for d in 0..MESSAGES_MAX {
            self.deliver(d, w);
        }
        if writer.ack != 0 {
            self.add(Step::TakeAck(w), |next| {
                for d in members(writer.ack) {
                    // What the channel does not hold any more is not the ack's.
                    if next.messages[d] == (Message::Held { by: w }) {
                        next.messages[d] = Message::Acked;
                    }
                }
                next.writers[w].ack = 0;
            });
        }
    }

    fn deliver(&mut self, d: usize, w: usize) {
        let Message::Queued { flagged } = self.state.messages[d] else { return };
        let writer = self.state.writers[w];
        if writer.messages[d] != Local::Absent {
            return;
        }
        let look_up = flagged && !self.flawed(Flaw::NoLookUp) && writer.look_up != LookUp::Believed;
        self.add(Step::Deliver(d, w), |next| {
            next.messages[d] = Message::Held { by: w };
            let writer = &mut next.writers[w];
            writer.channel = Channel::Open;
            let is_second = writer.messages.iter().any(|local| *local != Local::Absent);
            writer.later = if is_second { 1 << d } else { 0 };
            writer.messages[d] = if look_up { Local::Arrived } else { Local::Row };
        });
    }

    /// Open intents first, then outcomes: a flush that is decided and closed in between is seen.
    fn of_look_up(&mut self, w: usize) {
        let writer = self.state.writers[w];
        let flaw = self.rules.flaw;
        let early = flaw == Flaw::LookUpTakenEarlier;
        let wrong_way_round = flaw == Flaw::OutcomesReadBeforeIntents;
        match writer.look_up {
            LookUp::None if early || writer.messages.contains(&Local::Arrived) => {
                let first = if wrong_way_round { Step::ReadOutcomes(w) } else { Step::ListIntents(w) };
                self.add(first, |next| {
                    let open = if wrong_way_round { 0 } else { next.open_to(w) };
                    let messages = &mut next.writers[w].messages;
                    let arrived = messages.iter_mut().filter(|local| **local == Local::Arrived);
                    arrived.for_each(|local| *local = Local::LookedUp);
                    if wrong_way_round {
                        next.find_repeats(w);
                    }
                    next.writers[w].look_up = LookUp::Listed(open);
                });
            }
            LookUp::Listed(_) if wrong_way_round => {
                self.add(Step::ListIntents(w), |next| next.writers[w].look_up = LookUp::Waiting(next.open_to(w)));
            }
            LookUp::Listed(open) => self.add(Step::ReadOutcomes(w), |next| next.read_outcomes(w, open, flaw)),
            LookUp::Waiting(open) => self.wait(w, open),
            LookUp::None | LookUp::Believed => {}
        }
    }

    fn wait(&mut self, w: usize, open: Set) {
        let undecided = |f: &usize| self.state.flushes[*f].outcome == Outcome::None;
        if !members(open).any(|f| undecided(&f)) {
            return self.add(Step::EndLookUp(w), |next| next.end_look_up(w));
        }
        // Its own are decided by itself.
        let of_others = members(open).filter(undecided).all(|f| self.state.flushes[f].owner != w);
        if self.rules.store != Store::Conditional && of_others {
            self.add(Step::GoOnUndecided(w), |next| next.end_look_up(w));
        }
    }

    /// The steps of the commit protocol.
    fn of_flush(&mut self, w: usize) {
        let rules = self.rules;
        let writer = self.state.writers[w];
        let answered = |f: usize, requests: Requests| self.state.flushes[f].awaited & requests == 0;
        match writer.phase {
            Phase::Idle => self.begin(w),
            Phase::Announcing(f) => {
                if answered(f, INTENT) {
                    self.add(Step::Write(w, f), |next| {
                        next.flushes[f].awaited |= rules.all_objects() & !next.flushes[f].objects;
                        next.writers[w].phase = Phase::Writing(f);
                        if rules.flaw == Flaw::AckBeforeOutcome {
                            next.ack_flushing(w);
                        }
                    });
                } else if self.flawed(Flaw::StandingConfirmedBeforeIntent) {
                    self.confirm_standing(w);
                }
            }
            Phase::Writing(f) => {
                if !self.flawed(Flaw::StandingConfirmedBeforeIntent) {
                    self.confirm_standing(w);
                }
                let standing = writer.standing || self.flawed(Flaw::StandingNotConfirmed);
                if standing && answered(f, OBJECTS[0] | OBJECTS[1]) {
                    self.decide(w, f);
                }
            }
            // A store that overwrites says that it did.
            Phase::Deciding(f) if answered(f, COMMIT) && rules.overwrites() => self.won(w),
            Phase::Deciding(f) if answered(f, COMMIT) => self.go_by_outcome(w, f),
            Phase::GivingUp(f) if self.state.flushes[f].outcome == Outcome::None => {
                self.add(Step::Abort(w, f), |next| next.flushes[f].outcome = Outcome::Aborted);
            }
            Phase::GivingUp(f) => self.go_by_outcome(w, f),
            Phase::Deciding(_) => {}
        }
    }

    /// Takes what is judged and looked up, in the order of delivery: the ack is cumulative.
    fn begin(&mut self, w: usize) {
        let (taken, rows) = self.state.takeable(w, self.flawed(Flaw::AckPastALookUp));
        if taken == 0 {
            return;
        }
        if rows == 0 {
            return self.add(Step::SendAck(w), |next| {
                next.set_messages(w, taken, Local::Flushing);
                next.ack_flushing(w);
            });
        }
        let f = self.state.flushes.iter().position(|flush| !flush.begun).expect("places for all flushes of the scope");
        let rules = self.rules;
        self.add(Step::Announce(w, f), |next| {
            next.flushes[f] = Flush { begun: true, owner: w, owned: true, rows, awaited: INTENT, ..Flush::default() };
            if rules.flaw == Flaw::ObjectsBeforeIntent {
                next.flushes[f].awaited |= rules.all_objects() & !next.flushes[f].objects;
            }
            next.set_messages(w, taken, Local::Flushing);
            next.writers[w].phase = Phase::Announcing(f);
            next.writers[w].standing = false;
        });
    }

    /// A round trip over the channel: its answer comes only if the channel stands when the broker handles it.
    fn confirm_standing(&mut self, w: usize) {
        let writer = self.state.writers[w];
        if !writer.standing && writer.channel == Channel::Open {
            self.add(Step::ConfirmStanding(w), |next| next.writers[w].standing = true);
        }
    }

    fn decide(&mut self, w: usize, f: usize) {
        if self.rules.store != Store::Conditional && self.state.flushes[f].outcome == Outcome::Aborted {
            return self.lost(w, f);
        }
        self.add(Step::Decide(w, f), |next| {
            next.flushes[f].awaited |= COMMIT;
            next.writers[w].phase = Phase::Deciding(f);
        });
    }

    fn go_by_outcome(&mut self, w: usize, f: usize) {
        match self.state.flushes[f].outcome {
            Outcome::Committed => self.won(w),
            _ => self.lost(w, f),
        }
    }

    fn won(&mut self, w: usize) {
        self.add(Step::SendAck(w), |next| next.ack_flushing(w));
    }

    fn lost(&mut self, w: usize, f: usize) {
        let keep = self.flawed(Flaw::AbortedObjectsKept);
        self.add(Step::Lose(w, f), |next| {
            if !keep {
                next.flushes[f].objects = 0;
            }
            next.end_epoch(w);
        });
    }

    fn of_requests(&mut self, f: usize, flush: &Flush) {
        let overwrites = self.rules.overwrites();
        for request in [INTENT, OBJECTS[0], OBJECTS[1], COMMIT] {
            if flush.awaited & request != 0 {
                self.add(Step::Arrive(f, request), |next| {
                    next.flushes[f].awaited &= !request;
                    next.take_request(f, request, overwrites);
                });
                if self.state.faults.copies > 0 && flush.stray & request == 0 {
                    self.add(Step::Copy(f, request), |next| {
                        next.faults.copies -= 1;
                        next.flushes[f].stray |= request;
                    });
                }
            }
            if flush.stray & request != 0 {
                self.add(Step::Arrive(f, request), |next| {
                    next.flushes[f].stray &= !request;
                    next.take_request(f, request, overwrites);
                });
                self.add(Step::Vanish(f, request), |next| next.flushes[f].stray &= !request);
            }
        }
    }

    /// What anybody who meets an open flush does about it: at the start, at a look-up, now and then, at the drain.
    ///
    /// Its requests take effect at once: one that arrives late does what a later step of the same kind does.
    fn of_resolve(&mut self, f: usize, flush: &Flush) {
        if !flush.intent {
            return;
        }
        let may_abort = match self.rules.store {
            Store::Conditional => true,
            Store::Overwriting { hasty } => hasty || self.state.is_quiet(f),
        };
        match flush.outcome {
            Outcome::None if !flush.owned && may_abort => {
                self.add(Step::AbortOrphan(f), |next| next.flushes[f].outcome = Outcome::Aborted);
            }
            Outcome::None
                if flush.owned && self.rules.store == Store::Conditional && self.state.faults.impatience > 0 =>
            {
                self.add(Step::AbortLiving(f), |next| {
                    next.faults.impatience -= 1;
                    next.flushes[f].outcome = Outcome::Aborted;
                });
            }
            Outcome::None => {}
            Outcome::Committed => self.add(Step::DeleteIntent(f), |next| next.flushes[f].intent = false),
            Outcome::Aborted if flush.objects != 0 && !self.flawed(Flaw::AbortedObjectsKept) => {
                self.add(Step::DeleteObjects(f), |next| next.flushes[f].objects = 0);
            }
            Outcome::Aborted if self.flawed(Flaw::IntentForgottenAtAbort) || self.state.is_quiet(f) => {
                self.add(Step::DeleteIntent(f), |next| next.flushes[f].intent = false);
            }
            Outcome::Aborted => {}
        }
    }

    fn of_faults(&mut self, w: usize) {
        let (writer, faults) = (self.state.writers[w], self.state.faults);
        if writer.channel != Channel::Open {
            // Killed after its channel: the same as if it had noticed.
            return;
        }
        if faults.ends > 0 {
            self.add(Step::Crash(w), |next| {
                next.faults.ends -= 1;
                next.end_epoch(w);
            });
            self.add(Step::ChannelDies(w), |next| {
                next.faults.ends -= 1;
                next.channel_dies(w);
            });
        }
        if faults.redeliveries > 0 {
            for d in (0..MESSAGES_MAX).filter(|&d| self.state.messages[d] == (Message::Held { by: w })) {
                self.add(Step::Redeliver(d, w), |next| {
                    next.faults.redeliveries -= 1;
                    next.messages[d] = Message::Queued { flagged: true };
                });
            }
        }
        if faults.give_ups > 0 {
            self.give_up(w);
        }
    }

    fn give_up(&mut self, w: usize) {
        let phase = self.state.writers[w].phase;
        let f = match phase {
            Phase::Announcing(f) | Phase::Writing(f) | Phase::Deciding(f) => f,
            Phase::Idle | Phase::GivingUp(_) => return,
        };
        let careful = matches!(self.rules.store, Store::Overwriting { hasty: false });
        self.add(Step::GiveUp(w, f), |next| {
            next.faults.give_ups -= 1;
            if careful && phase == Phase::Deciding(f) {
                // Left to a resolve, when nothing of it is on its way any more.
                return next.end_epoch(w);
            }
            let flush = &mut next.flushes[f];
            flush.stray |= flush.awaited;
            flush.awaited = 0;
            next.writers[w].phase = Phase::GivingUp(f);
        });
    }
}

impl State {
    /// A commit that finds an outcome does nothing.
    fn forget_late_commits(&mut self) {
        for flush in self.flushes.iter_mut().filter(|flush| flush.outcome != Outcome::None) {
            flush.stray &= !COMMIT;
        }
    }

    fn take_request(&mut self, f: usize, request: Requests, overwrites: bool) {
        let flush = &mut self.flushes[f];
        match request {
            INTENT => flush.intent = true,
            COMMIT if overwrites || flush.outcome == Outcome::None => flush.outcome = Outcome::Committed,
            COMMIT => {}
            object => flush.objects |= object,
        }
    }

    /// The open flushes that a look-up of this writer asks about: all but that of its own epoch.
    fn open_to(&self, w: usize) -> Set {
        let own = |f: &usize| self.flushes[*f].owned && self.flushes[*f].owner == w;
        self.open_flushes().filter(|f| !own(f)).fold(0, |set, f| set | 1 << f)
    }

    fn find_repeats(&mut self, w: usize) {
        for d in 0..MESSAGES_MAX {
            if self.writers[w].messages[d] == Local::LookedUp && self.times_committed(d) > 0 {
                self.writers[w].messages[d] = Local::Repeat;
            }
        }
    }

    fn read_outcomes(&mut self, w: usize, open: Set, flaw: Flaw) {
        self.find_repeats(w);
        let undecided = members(open).filter(|f| self.flushes[*f].outcome == Outcome::None);
        let undecided = undecided.fold(0, |set, f| set | 1 << f);
        self.writers[w].look_up = LookUp::Waiting(undecided);
        if flaw == Flaw::LookUpDoesNotWait || undecided == 0 {
            self.end_look_up(w);
        }
        if flaw == Flaw::LookUpTakenEarlier && undecided == 0 {
            self.writers[w].look_up = LookUp::Believed;
        }
    }

    /// What the flushes that were waited for did not commit is no repeat.
    fn end_look_up(&mut self, w: usize) {
        let LookUp::Waiting(open) = self.writers[w].look_up else { return };
        let committed = members(open).filter(|f| self.flushes[*f].outcome == Outcome::Committed);
        let held = committed.fold(0, |set, f| set | self.flushes[f].rows);
        for (d, local) in self.writers[w].messages.iter_mut().enumerate() {
            if *local == Local::LookedUp {
                *local = if has(held, d) { Local::Repeat } else { Local::Row };
            }
        }
        self.writers[w].look_up = LookUp::None;
    }

    /// The messages that a flush of this writer would take now, and those of them that are rows.
    fn takeable(&self, w: usize, past_look_ups: bool) -> (Set, Set) {
        let writer = self.writers[w];
        let (mut taken, mut rows) = (0, 0);
        let first_then_later = (0..MESSAGES_MAX)
            .filter(|&d| !has(writer.later, d))
            .chain((0..MESSAGES_MAX).filter(|&d| has(writer.later, d)));
        for d in first_then_later {
            match writer.messages[d] {
                Local::Row => {
                    taken |= 1 << d;
                    rows |= 1 << d;
                }
                Local::Repeat => taken |= 1 << d,
                Local::Arrived | Local::LookedUp if !past_look_ups => break,
                _ => {}
            }
        }
        (taken, rows)
    }

    fn set_messages(&mut self, w: usize, set: Set, local: Local) {
        members(set).for_each(|d| self.writers[w].messages[d] = local);
    }

    /// Cumulative: also of all that was delivered before.
    fn ack_flushing(&mut self, w: usize) {
        let writer = &mut self.writers[w];
        let flushing =
            (0..MESSAGES_MAX).filter(|&d| writer.messages[d] == Local::Flushing).fold(0, |set, d| set | 1 << d);
        let before = (0..MESSAGES_MAX).filter(|&d| writer.messages[d] != Local::Absent && !has(writer.later, d));
        let before = if flushing & writer.later == 0 { 0 } else { before.fold(0, |set, d| set | 1 << d) };
        writer.ack |= flushing | before;
        for d in members(flushing) {
            writer.messages[d] = Local::Done;
        }
        if let Some(f) = writer.phase.flush() {
            self.flushes[f].owned = false;
        }
        self.writers[w].phase = Phase::Idle;
    }
}
