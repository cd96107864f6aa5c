//! All states that can be reached, breadth first, so that the first violation is one of the shortest.

use std::collections::HashMap;
use std::fmt;

use super::rules::Rules;
use super::state::{Faults, MESSAGES_MAX, Message, Outcome, State};
use super::step::Step;
use super::steps::successors;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property {
    /// What is acked is a row of a committed flush all of whose objects exist.
    NoLoss,
    /// Nothing is a row of two committed flushes.
    NoRepeat,
    /// When nothing goes on and no intent is left, the objects are those of committed flushes.
    CleanGlob,
    /// Whatever happened: without further faults it is possible that all is acked, archived and tidy.
    Progress,
}

/// What is explored: a protocol, and how much may happen to it.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub rules: Rules,
    pub messages: usize,
    pub faults: Faults,
}

#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub steps: usize,
}

pub struct Violation {
    pub property: Property,
    /// From the start.
    pub trace: Vec<Step>,
    /// Where it led.
    pub state: State,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:?} does not hold after {} steps:", self.property, self.trace.len())?;
        self.trace.iter().zip(1..).try_for_each(|(step, number)| writeln!(out, "{number:4}  {step}"))
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}{:#?}", self.state)
    }
}

impl Scope {
    /// # Errors
    /// The first violation of one of `properties`.
    pub fn explore(&self, properties: &[Property]) -> Result<Explored, Box<Violation>> {
        let mut graph = Graph::from(State::start(self.messages, self.faults));
        let mut next = Vec::new();
        let mut place = 0;
        while place < graph.states.len() {
            let state = graph.states[place];
            if let Some(property) = properties.iter().find(|property| !self.holds(**property, &state)) {
                return Err(Box::new(graph.violation(*property, place)));
            }
            successors(self.rules, &state, &mut next);
            for (step, successor) in next.drain(..) {
                graph.add(place, step, successor);
            }
            place += 1;
        }
        if properties.contains(&Property::Progress)
            && let Some(stuck) = graph.first_stuck(|state| self.is_done(state))
        {
            return Err(Box::new(graph.violation(Property::Progress, stuck)));
        }
        Ok(Explored { states: graph.states.len(), steps: graph.edges })
    }

    fn holds(&self, property: Property, state: &State) -> bool {
        match property {
            Property::NoLoss => {
                (0..self.messages).all(|d| state.messages[d] != Message::Acked || self.is_archived(state, d))
            }
            Property::NoRepeat => (0..self.messages).all(|d| state.times_committed(d) < 2),
            Property::CleanGlob => !is_settled(state) || self.is_glob_exact(state),
            Property::Progress => true,
        }
    }

    fn is_archived(&self, state: &State, d: usize) -> bool {
        let all = self.rules.all_objects();
        state
            .begun()
            .any(|(_, flush)| flush.outcome == Outcome::Committed && flush.rows & (1 << d) != 0 && flush.objects == all)
    }

    fn is_glob_exact(&self, state: &State) -> bool {
        let all = self.rules.all_objects();
        state.begun().all(|(_, flush)| flush.objects == if flush.outcome == Outcome::Committed { all } else { 0 })
    }

    fn is_done(&self, state: &State) -> bool {
        let archived = |d| state.messages[d] == Message::Acked && (d >= self.messages || self.is_archived(state, d));
        (0..MESSAGES_MAX).all(archived) && is_settled(state) && self.is_glob_exact(state)
    }
}

/// No flush is under way or left open.
fn is_settled(state: &State) -> bool {
    state.begun().all(|(f, flush)| !flush.intent && state.is_quiet(f))
}

struct Graph {
    states: Vec<State>,
    places: HashMap<State, u32>,
    /// How each state was first reached.
    reached: Vec<(u32, Step)>,
    /// Steps that are no faults, as (to, from).
    back: Vec<(u32, u32)>,
    edges: usize,
}

impl Graph {
    fn from(start: State) -> Self {
        Graph {
            states: vec![start],
            places: HashMap::from([(start.regardless_of_names(), 0)]),
            reached: vec![(0, Step::NoticeLoss(0))],
            back: Vec::new(),
            edges: 0,
        }
    }

    fn add(&mut self, from: usize, step: Step, state: State) {
        self.edges += 1;
        let from = from as u32;
        let new = self.states.len() as u32;
        let place = *self.places.entry(state.regardless_of_names()).or_insert(new);
        if place == new {
            self.states.push(state);
            self.reached.push((from, step));
        }
        if !step.is_fault() {
            self.back.push((place, from));
        }
    }

    fn violation(&self, property: Property, place: usize) -> Violation {
        let mut trace = Vec::new();
        let mut at = place;
        while at != 0 {
            let (from, step) = self.reached[at];
            trace.push(step);
            at = from as usize;
        }
        trace.reverse();
        Violation { property, trace, state: self.states[place] }
    }

    /// The first state from which no steps without faults lead to one that is done.
    fn first_stuck(&mut self, is_done: impl Fn(&State) -> bool) -> Option<usize> {
        self.back.sort_unstable();
        let mut leads: Vec<bool> = self.states.iter().map(is_done).collect();
        let mut open: Vec<u32> = (0..leads.len() as u32).filter(|&place| leads[place as usize]).collect();
        while let Some(to) = open.pop() {
            let first = self.back.partition_point(|&(place, _)| place < to);
            for &(_, from) in self.back[first..].iter().take_while(|(place, _)| *place == to) {
                if !std::mem::replace(&mut leads[from as usize], true) {
                    open.push(from);
                }
            }
        }
        leads.iter().position(|leads| !leads)
    }
}
