//! What has been seen at one place of the samples, and at the places within it.
//!
//! A node is a function of the values it has seen and of the limits alone: not of their order, nor of how they were split
//! before they were merged. So every limit is a step that is never taken back. Names beyond [`Limits::names_max`] make an
//! object one of any names, and all its members one place; and [`Node::fit`] shares room out so that a place never gets
//! more of it when more is seen.

use super::Limits;
use super::number::Numbers;
use super::personal::is_untold_name;
use super::text::Texts;
use crate::value::{Node as Seen, Value};

/// A longer name is nobody's field: the object is one of any names.
const NAME_BYTES_MAX: usize = 256;

/// One place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    /// Values of any type.
    pub(super) values: u64,
    pub(super) nulls: u64,
    pub(super) booleans: u64,
    pub(super) objects: u64,
    pub(super) arrays: u64,
    pub(super) numbers: Numbers,
    pub(super) texts: Texts,
    pub(super) members: Members,
    pub(super) elements: Elements,
}

/// The members of a place's objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Members {
    /// By name, in the order they were first seen. Two that differ in order alone are equal.
    Named(Named),
    /// Of any name: what their values are.
    Any(Box<Node>),
    /// There are some, and there was no room to look at them.
    Unseen,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    places: Vec<(Box<str>, Node)>,
    /// Members that were left out, for their names are values.
    values: u64,
}

/// The elements of a place's arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Elements {
    #[default]
    None,
    Of(Box<Node>),
    /// As [`Members::Unseen`].
    Unseen,
}

impl Default for Members {
    fn default() -> Self {
        Members::Named(Named::default())
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        let has =
            |(name, node): &(Box<str>, Node)| other.position(0, name).is_some_and(|at| other.places[at].1 == *node);
        self.values == other.values && self.places.len() == other.places.len() && self.places.iter().all(has)
    }
}

impl Named {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.places.iter().map(|(name, node)| (&**name, node))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there were members whose names are values, and no others.
    pub(super) fn are_values(&self) -> bool {
        (self.values > 0 || self.len() > 0) && self.iter().all(|(name, _)| is_untold_name(name))
    }

    /// Where `name` is. Events of one producer have their fields in one order, so it is mostly at the first `guess` or soon
    /// behind it.
    fn position(&self, guess: usize, name: &str) -> Option<usize> {
        let guess = guess.min(self.places.len());
        let is_it = |(known, _): &(Box<str>, Node)| **known == *name;
        let behind = self.places[guess..].iter().position(is_it).map(|at| guess + at);
        behind.or_else(|| self.places[..guess].iter().position(is_it))
    }

    /// The place of `name`, made if need be; `None`: there is no room for it.
    fn place(&mut self, guess: usize, name: &str, limits: &Limits) -> Option<usize> {
        if let Some(at) = self.position(guess, name) {
            return Some(at);
        }
        if self.places.len() >= limits.names_max || name.len() > NAME_BYTES_MAX {
            return None;
        }
        self.places.push((name.into(), Node::default()));
        Some(self.places.len() - 1)
    }

    /// All members as one.
    pub(super) fn merged(self, limits: &Limits) -> Node {
        let mut merged = Node::default();
        self.places.into_iter().for_each(|(_, node)| merged.merge(node, limits));
        merged
    }
}

impl Node {
    /// Counts `value`, which stands `depth` steps below the event.
    pub(super) fn observe(&mut self, value: Value<'_>, depth: usize, limits: &Limits) {
        self.values += 1;
        match value.node() {
            Seen::Null => self.nulls += 1,
            Seen::Bool(_) => self.booleans += 1,
            Seen::I64(_) | Seen::U64(_) | Seen::F64 { .. } => self.numbers.observe(value),
            Seen::Str(text) => self.texts.observe(text, limits.distinct_max),
            Seen::Object { members, .. } => {
                self.objects += 1;
                if members > 0 {
                    self.members.observe(value, depth, limits);
                }
            }
            Seen::Array { elements, .. } => {
                self.arrays += 1;
                if elements > 0 {
                    self.elements.observe(value, depth, limits);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: Node, limits: &Limits) {
        let Node { values, nulls, booleans, objects, arrays, numbers, texts, members, elements } = other;
        self.values += values;
        self.nulls += nulls;
        self.booleans += booleans;
        self.objects += objects;
        self.arrays += arrays;
        self.numbers.merge(numbers);
        self.texts.merge(texts, limits.distinct_max);
        self.members.merge(members, limits);
        self.elements.merge(elements, limits);
    }

    /// Places in it, itself included.
    pub(super) fn places(&self) -> usize {
        let members = match &self.members {
            Members::Named(named) => named.iter().map(|(_, node)| node.places()).sum(),
            Members::Any(node) => node.places(),
            Members::Unseen => 0,
        };
        let elements = if let Elements::Of(node) = &self.elements { node.places() } else { 0 };
        1 + members + elements
    }

    /// Leaves at most `room` places within it. Members share theirs equally, and what has no room is no longer looked at.
    ///
    /// What a place gets only ever shrinks: with the number of its siblings, down to what it gets when they are one.
    pub(super) fn fit(&mut self, room: usize, limits: &Limits) {
        let has_members = !matches!(&self.members, Members::Named(named) if named.len() == 0);
        let has_elements = self.elements != Elements::None;
        let room = if has_members && has_elements { room / 2 } else { room };
        let share = |among: usize| room.checked_sub(among).map(|left| left / among.max(1));
        match &mut self.members {
            Members::Named(named) => match share(named.len()) {
                Some(share) => named.places.iter_mut().for_each(|(_, node)| node.fit(share, limits)),
                None => self.members = Members::Unseen,
            },
            Members::Any(node) => match share(limits.names_max.max(1)) {
                Some(share) => node.fit(share, limits),
                None => self.members = Members::Unseen,
            },
            Members::Unseen => {}
        }
        if let Elements::Of(node) = &mut self.elements {
            match share(1) {
                Some(share) => node.fit(share, limits),
                None => self.elements = Elements::Unseen,
            }
        }
    }
}

impl Members {
    fn observe(&mut self, value: Value<'_>, depth: usize, limits: &Limits) {
        if depth >= limits.depth_max {
            *self = Members::Unseen;
        }
        let mut guess = 0;
        for (name, member) in value.members() {
            if limits.is_told_only && is_untold_name(name) {
                if let Members::Named(named) = self {
                    named.values += 1;
                }
                continue;
            }
            if let Members::Named(named) = self {
                match named.place(guess, name, limits) {
                    Some(at) => {
                        named.places[at].1.observe(member, depth + 1, limits);
                        guess = at + 1;
                        continue;
                    }
                    None => *self = Members::Any(Box::new(std::mem::take(named).merged(limits))),
                }
            }
            match self {
                Members::Any(node) => node.observe(member, depth + 1, limits),
                _ => return,
            }
        }
    }

    fn merge(&mut self, other: Members, limits: &Limits) {
        let merged = match (std::mem::take(self), other) {
            (Members::Unseen, _) | (_, Members::Unseen) => Members::Unseen,
            (Members::Named(mut ours), Members::Named(theirs)) => {
                ours.values += theirs.values;
                let mut theirs = theirs.places.into_iter();
                let mut homeless = None;
                for (name, node) in theirs.by_ref() {
                    match ours.place(ours.places.len(), &name, limits) {
                        Some(at) => ours.places[at].1.merge(node, limits),
                        None => {
                            homeless = Some(node);
                            break;
                        }
                    }
                }
                match homeless {
                    None => Members::Named(ours),
                    Some(node) => {
                        let mut all = ours.merged(limits);
                        all.merge(node, limits);
                        theirs.for_each(|(_, node)| all.merge(node, limits));
                        Members::Any(Box::new(all))
                    }
                }
            }
            (Members::Any(mut any), Members::Named(named)) | (Members::Named(named), Members::Any(mut any)) => {
                any.merge(named.merged(limits), limits);
                Members::Any(any)
            }
            (Members::Any(mut ours), Members::Any(theirs)) => {
                ours.merge(*theirs, limits);
                Members::Any(ours)
            }
        };
        *self = merged;
    }
}

impl Elements {
    fn observe(&mut self, value: Value<'_>, depth: usize, limits: &Limits) {
        if depth >= limits.depth_max {
            *self = Elements::Unseen;
        } else if *self == Elements::None {
            *self = Elements::Of(Box::default());
        }
        if let Elements::Of(node) = self {
            value.elements().for_each(|element| node.observe(element, depth + 1, limits));
        }
    }

    fn merge(&mut self, other: Elements, limits: &Limits) {
        let merged = match (std::mem::take(self), other) {
            (Elements::Unseen, _) | (_, Elements::Unseen) => Elements::Unseen,
            (Elements::None, other) | (other, Elements::None) => other,
            (Elements::Of(mut ours), Elements::Of(theirs)) => {
                ours.merge(*theirs, limits);
                Elements::Of(ours)
            }
        };
        *self = merged;
    }
}
