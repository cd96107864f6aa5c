//! Samples to a schema: what a queue or a file holds, as a JSON Schema that each of the samples keeps, with every choice
//! that the samples leave open. Pure.
//!
//! What is learned does not depend on the order of the samples, nor on how they were split: [`Learner`]s of parts are
//! merged. Only the order of properties is that in which they were first seen. Memory is bounded by [`Limits`], whatever
//! the samples.

mod evolution; // what events have that a schema does not declare
mod finding; // the choices
mod fixed; // what was seen -> columns, and nothing else
mod node; // one place of the samples
mod number;
mod personal; // what looks as if it were about a person
mod propose; // what was seen -> a schema
#[cfg(test)]
mod tests;
mod text;

use serde_json::Value as Json;

pub use evolution::{Evolution, NewField, Observed};
pub use finding::{Doubt, Finding};
pub use fixed::{extend, with_columns};

use self::node::{Members, Node};
use crate::schema::columns::COLUMNS_MAX;
use crate::value::Value;

/// What is held of samples at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Places in all; those beyond, the most crowded first, are not looked into. Up to three times as many are held for a
    /// while.
    pub places_max: usize,
    /// Names that an object has before it is taken for one of any names.
    pub names_max: usize,
    /// Distinct strings of a place that are kept to see whether they are an enumeration.
    pub distinct_max: usize,
    /// Steps below the event that are looked at.
    pub depth_max: usize,
    /// Names that are values are left out at once, and do not count.
    pub is_told_only: bool,
}

impl Limits {
    /// For [`Learner::fixed`]: as many names as there may be columns, and none that could be none.
    pub const fn for_columns(places_max: usize) -> Self {
        Self { places_max, names_max: COLUMNS_MAX, distinct_max: 1, depth_max: 32, is_told_only: true }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { places_max: 50_000, names_max: 500, distinct_max: 32, depth_max: 32, is_told_only: false }
    }
}

/// How a schema is proposed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its title.
    pub title: Option<String>,
    /// Nothing beyond what was seen: no other fields of the event, no numbers out of the range seen, no other values of
    /// strings that have few.
    pub strict: bool,
    /// No value of a sample stands in the schema, but for numbers' ranges where `strict` asks for them.
    pub no_enums: bool,
}

/// What is proposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// JSON Schema 2020-12. Every sample keeps it.
    pub schema: Json,
    /// In the order of the schema.
    pub findings: Vec<Finding>,
}

/// What was learned of samples so far.
#[derive(Clone, Debug)]
pub struct Learner {
    limits: Limits,
    root: Node,
    /// Nodes of samples since the places were counted.
    unchecked: usize,
}

impl Learner {
    /// One that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self { limits, root: Node::default(), unchecked: 0 }
    }

    /// Learns of one sample.
    pub fn observe(&mut self, sample: Value<'_>) {
        self.root.observe(sample, 0, &self.limits);
        // No sample makes more places than it has nodes; most make none.
        self.unchecked += (sample.end() - sample.index()) as usize;
        if self.unchecked > self.limits.places_max {
            self.fit();
        }
    }

    /// Learns all that `other` did.
    ///
    /// # Panics
    /// If its limits are others: what it dropped by them cannot be had back.
    pub fn merge(&mut self, other: Learner) {
        assert_eq!(self.limits, other.limits, "learners of other limits see other things");
        self.root.merge(other.root, &self.limits);
        self.fit();
    }

    /// How many samples it has seen.
    pub fn samples(&self) -> u64 {
        self.root.values
    }

    /// Whether the event has more names than are looked at: then none of them can be a column.
    pub fn is_too_wide(&self) -> bool {
        !matches!(self.root.members, Members::Named(_))
    }

    /// A schema that every sample seen keeps, and what is doubtful about it.
    pub fn propose(&self, options: &Options) -> Proposal {
        let mut root = self.root.clone();
        root.fit(self.limits.places_max, &self.limits);
        propose::propose(&root, options, &self.limits)
    }

    /// A schema that fixes the columns of what was seen, and asks for nothing else: what is merely new keeps it. Fields whose
    /// type cannot be told, as they are null or empty in all samples, are not declared.
    ///
    /// Every sample that is an object keeps it.
    pub fn fixed(&self, title: &str) -> Json {
        let mut root = self.root.clone();
        root.fit(self.limits.places_max, &self.limits);
        fixed::fixed(&root, title)
    }

    fn fit(&mut self) {
        self.unchecked = 0;
        if self.root.places() > 2 * self.limits.places_max {
            self.root.fit(self.limits.places_max, &self.limits);
        }
    }
}
