//! The commit protocol of `docs/decisions/0001-commit-protocol.md` as a small model, all of whose states are visited: two
//! writers on one queue and one store, with every order in which their requests, the broker and the faults can come.
//!
//! What is left out, because it only takes time: retries with an answer (the request stays on its way), a process that
//! starts (its first delivery), deletions under way, listings and reads that take long (what they see later is decided
//! all the more). A grace is an instant when nothing of a flush is on its way and its owner does not work on it. Ids,
//! hashes and the look-back are left out too: a repeat is known.

mod explore;
mod rules;
mod state;
mod step;
mod steps;

use explore::Property::{CleanGlob, NoLoss, NoRepeat, Progress};
use explore::{Explored, Property, Scope, Violation};
use rules::{Flaw, Rules, Store};
use state::Faults;

const ALL: &[Property] = &[NoLoss, NoRepeat, CleanGlob, Progress];
const NONE: Faults = Faults { ends: 0, impatience: 0, give_ups: 0, copies: 0, redeliveries: 0 };
const ONE_END: Faults = Faults { ends: 1, ..NONE };
const TWO_ENDS: Faults = Faults { ends: 2, ..NONE };

/// The protocol, for one message and flushes of one object.
fn protocol(faults: Faults) -> Scope {
    Scope { rules: Rules { flaw: Flaw::None, store: Store::Conditional, objects: 1 }, messages: 1, faults }
}

fn on_overwriting_store(hasty: bool, faults: Faults) -> Scope {
    let store = Store::Overwriting { hasty };
    Scope { rules: Rules { store, ..protocol(faults).rules }, ..protocol(faults) }
}

/// Holds in all of at least that many states.
fn assert_holds(scope: Scope, properties: &[Property], states_min: usize) {
    let Explored { states, steps } = scope.explore(properties).unwrap_or_else(|violation| panic!("{violation:?}"));
    println!("{scope:?}: {properties:?} in {states} states, by {steps} steps");
    assert!(states >= states_min, "only {states} states: what was to be tried did not happen");
}

fn assert_violated(scope: Scope, property: Property) -> Violation {
    let violation = match scope.explore(&[property]) {
        Ok(Explored { states, .. }) => panic!("{property:?} holds in all {states} states of {scope:?}"),
        Err(violation) => *violation,
    };
    println!("{violation}");
    assert_eq!(violation.property, property);
    violation
}

/// Each rule of the protocol is needed: without it, the least that can go wrong is found.
fn assert_flaw_found(flaw: Flaw, property: Property) -> Violation {
    let scope = protocol(ONE_END);
    assert_violated(Scope { rules: Rules { flaw, ..scope.rules }, ..scope }, property)
}

// The protocol.

#[test]
fn two_ends_and_an_impatient_stranger_neither_lose_nor_repeat_nor_litter_nor_stop_the_protocol() {
    assert_holds(protocol(Faults { impatience: 1, ..TWO_ENDS }), ALL, 60_000);
}

#[test]
fn nor_do_they_between_the_objects_of_a_flush() {
    let two_objects = |faults| Scope { rules: Rules { objects: 2, ..protocol(faults).rules }, ..protocol(faults) };
    assert_holds(two_objects(TWO_ENDS), ALL, 30_000);
    assert_holds(two_objects(Faults { impatience: 1, ..ONE_END }), ALL, 8_000);
}

#[test]
fn nor_does_a_store_in_trouble_whose_requests_arrive_twice_or_late() {
    assert_holds(protocol(Faults { give_ups: 1, copies: 1, ..ONE_END }), ALL, 25_000);
}

#[test]
fn nor_does_an_end_among_two_messages_in_one_flush_or_two() {
    assert_holds(Scope { messages: 2, ..protocol(ONE_END) }, ALL, 100_000);
}

// What each rule is for.

#[test]
fn an_ack_before_the_outcome_loses() {
    assert_flaw_found(Flaw::AckBeforeOutcome, NoLoss);
}

#[test]
fn an_ack_past_a_delivery_that_is_being_looked_up_loses() {
    let scope = Scope { messages: 2, ..protocol(ONE_END) };
    let rules = Rules { flaw: Flaw::AckPastALookUp, ..scope.rules };
    assert_violated(Scope { rules, ..scope }, NoLoss);
}

#[test]
fn without_a_look_up_rows_repeat() {
    assert_flaw_found(Flaw::NoLookUp, NoRepeat);
}

#[test]
fn a_look_up_from_before_the_delivery_lets_rows_repeat() {
    assert_flaw_found(Flaw::LookUpTakenEarlier, NoRepeat);
}

#[test]
fn a_look_up_that_passes_over_open_flushes_lets_rows_repeat() {
    assert_flaw_found(Flaw::LookUpDoesNotWait, NoRepeat);
}

#[test]
fn a_look_up_that_reads_outcomes_before_intents_misses_a_flush_that_ends_in_between() {
    assert_flaw_found(Flaw::OutcomesReadBeforeIntents, NoRepeat);
}

#[test]
fn a_writer_that_does_not_ask_whether_its_channel_stands_begins_a_flush_after_the_look_up_of_another() {
    let violation = assert_flaw_found(Flaw::StandingNotConfirmed, NoRepeat);
    let told: Vec<String> = violation.trace.iter().map(ToString::to_string).collect();
    let expected = [
        "d0 is delivered to A",
        "A sends the intent of F0",
        "the broker takes the channel of A for dead",
        "d0 is delivered to B",
        "B lists the open intents",
        "B reads the outcomes",
        "B sends the intent of F1",
        "the store takes: intent of F0",
        "A sends the objects of F0",
        "the store takes: object of F0",
        "A sends committed for F0",
        "the store takes: committed of F0",
        "the store takes: intent of F1",
        "B sends the objects of F1",
        "the store takes: object of F1",
        "B sends committed for F1",
        "the store takes: committed of F1",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_channel_that_stood_before_the_intent_may_be_dead_when_it_counts() {
    assert_flaw_found(Flaw::StandingConfirmedBeforeIntent, NoRepeat);
}

#[test]
fn an_outcome_that_overwrites_another_loses_repeats_and_litters() {
    for property in [NoLoss, NoRepeat, CleanGlob] {
        assert_flaw_found(Flaw::OutcomeOverwrites, property);
    }
}

#[test]
fn objects_before_their_intent_may_be_named_by_nobody() {
    assert_flaw_found(Flaw::ObjectsBeforeIntent, CleanGlob);
}

#[test]
fn objects_of_an_aborted_flush_that_are_kept_litter() {
    assert_flaw_found(Flaw::AbortedObjectsKept, CleanGlob);
}

#[test]
fn an_intent_forgotten_at_the_abort_leaves_what_arrives_late() {
    assert_flaw_found(Flaw::IntentForgottenAtAbort, CleanGlob);
}

// What remains possible.

#[test]
fn a_store_that_overwrites_may_repeat_but_loses_nothing() {
    let but_no_repeat = &[NoLoss, CleanGlob, Progress];
    assert_holds(on_overwriting_store(false, TWO_ENDS), but_no_repeat, 10_000);
    assert_holds(on_overwriting_store(false, Faults { give_ups: 1, copies: 1, ..ONE_END }), but_no_repeat, 50_000);
    assert_violated(on_overwriting_store(false, ONE_END), NoRepeat);
}

/// The reason for its rule: a flush whose *committed* may be on its way is aborted after the grace only.
#[test]
fn a_store_that_overwrites_loses_when_a_late_commit_may_follow_an_abort() {
    assert_violated(on_overwriting_store(true, ONE_END), NoLoss);
    assert_violated(on_overwriting_store(true, Faults { give_ups: 1, ..NONE }), NoLoss);
}

#[test]
fn a_broker_that_delivers_again_what_a_standing_channel_holds_may_make_rows_repeat_but_none_is_lost() {
    let redelivers = Faults { redeliveries: 1, ..ONE_END };
    assert_holds(protocol(redelivers), &[NoLoss, CleanGlob, Progress], 10_000);
    assert_violated(protocol(Faults { redeliveries: 1, ..NONE }), NoRepeat);
}
