//! What events have that the schema in use does not declare: fields that a later version may want.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value as Json;

use super::personal::is_untold_name;
use crate::schema::sensitive::alongside;
use crate::schema::{Place, Schema};
use crate::value::{Node, Value, push_segment};

/// Subschemas that are followed in all, and sets of them that apply to one value. Beyond, all is taken for declared.
const OUTLINES_MAX: usize = 100_000;
const STATES_MAX: usize = 10_000;
/// Levels of an event that are looked at.
const DEPTH_MAX: usize = 64;
/// Bytes of a path that is kept; a longer one is counted without being named.
const PATH_BYTES_MAX: usize = 1_024;

/// What stands for a name in a path.
const UNTOLD: &str = "/{*}";

/// Keywords that lead to the elements of an array, by one subschema or by a list of them.
const ELEMENTS: &[&str] = &["items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"];

/// A field that the schema does not declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewField {
    /// As issues name places: `[*]` for elements, `{*}` for the names in a map, and at the end for one that is a value itself.
    pub path: String,
    /// As JSON Schema names it.
    pub type_name: &'static str,
    /// Events that had it.
    pub events: u64,
}

impl NewField {
    /// Whether its name is a value, which is not told: it can be no column.
    pub fn is_untold(&self) -> bool {
        self.path.ends_with(UNTOLD)
    }
}

/// What one event had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Fields that the schema does not declare, each once.
    pub undeclared: usize,
    /// Those of them that no event had before, among [`Evolution::fields`].
    pub new: Range<usize>,
}

/// Finds fields that a schema does not declare, and counts the events that have them.
///
/// A field is declared when any part of the schema that applies to its object names it. An object of which no part has
/// `properties`, one with `patternProperties`, and one whose `additionalProperties` are a schema hold what they like: nothing in them
/// is new, though what their values hold may be. Of a new field, only the outermost is told.
#[derive(Clone, Debug)]
pub struct Evolution {
    outlines: Vec<Outline>,
    /// Sets of outlines that apply to one value; the first is [`FREE`].
    states: Vec<State>,
    /// That of the event.
    start: usize,
    known: HashMap<Vec<usize>, usize>,
    fields: Vec<NewField>,
    /// Where in `fields` those of a path are, one for each type.
    places: HashMap<String, Vec<usize>>,
    fields_max: usize,
    unlisted: u64,
    /// The fields of the event that is looked at, so that each counts once.
    found: Vec<usize>,
}

/// What one subschema says of the value it applies to; every number is another outline.
#[derive(Clone, Debug, Default)]
struct Outline {
    members: HashMap<String, Vec<usize>>,
    /// It says which members there are, be it none.
    names_any: bool,
    /// Of members of other names.
    others: Vec<usize>,
    elements: Vec<usize>,
    /// It allows members of names that it does not say, on purpose.
    is_map: bool,
}

#[derive(Clone, Debug)]
struct State {
    outlines: Vec<usize>,
    names_any: bool,
    is_map: bool,
    members: HashMap<String, usize>,
    others: Option<usize>,
    elements: Option<usize>,
}

/// The state of which nothing is known.
const FREE: usize = 0;

impl Evolution {
    /// For events of `schema`; names at most `fields_max` new fields.
    pub fn new(schema: &Schema, fields_max: usize) -> Self {
        let mut graph = Graph::default();
        let start = graph.outlines_of(schema.root());
        let mut done = 0;
        while let Some(place) = graph.places.get(done).cloned() {
            graph.fill(done, &place);
            done += 1;
        }
        let mut evolution = Self {
            outlines: graph.outlines,
            states: Vec::new(),
            start: FREE,
            known: HashMap::new(),
            fields: Vec::new(),
            places: HashMap::new(),
            fields_max,
            unlisted: 0,
            found: Vec::new(),
        };
        evolution.state(Vec::new());
        evolution.start = evolution.state(start);
        evolution
    }

    /// Looks through an event.
    pub fn observe(&mut self, event: Value<'_>) -> Observed {
        let (before, unlisted) = (self.fields.len(), self.unlisted);
        self.found.clear();
        self.walk(event, self.start, &mut String::new(), 0);
        self.found.sort_unstable();
        self.found.dedup();
        self.found.iter().for_each(|at| self.fields[*at].events += 1);
        let unnamed = usize::try_from(self.unlisted - unlisted).unwrap_or(usize::MAX);
        Observed { undeclared: self.found.len() + unnamed, new: before..self.fields.len() }
    }

    /// The new fields found so far, in the order they were found.
    pub fn fields(&self) -> &[NewField] {
        &self.fields
    }

    /// How often a new field was met that is not among them, as they are too many.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    fn walk(&mut self, value: Value<'_>, state: usize, path: &mut String, depth: usize) {
        if state == FREE || depth >= DEPTH_MAX {
            return;
        }
        let length = path.len();
        match value.node() {
            Node::Object { .. } => {
                for (name, member) in value.members() {
                    if let Some(next) = self.member(state, name) {
                        push_segment(path, name);
                        self.walk(member, next, path, depth + 1);
                    } else if self.states[state].is_map || !self.states[state].names_any {
                        let next = self.others(state);
                        path.push_str(UNTOLD);
                        self.walk(member, next, path, depth + 1);
                    } else {
                        match is_untold_name(name) {
                            true => path.push_str(UNTOLD),
                            false => push_segment(path, name),
                        }
                        self.note(path, member.type_name());
                    }
                    path.truncate(length);
                }
            }
            Node::Array { .. } => {
                let next = self.elements(state);
                path.push_str("/[*]");
                value.elements().for_each(|element| self.walk(element, next, path, depth + 1));
                path.truncate(length);
            }
            _ => {}
        }
    }

    fn note(&mut self, path: &str, type_name: &'static str) {
        let known = self.places.get(path).into_iter().flatten();
        if let Some(at) = known.copied().find(|at| self.fields[*at].type_name == type_name) {
            self.found.push(at);
        } else if self.fields.len() < self.fields_max && path.len() <= PATH_BYTES_MAX {
            self.found.push(self.fields.len());
            self.places.entry(path.to_owned()).or_default().push(self.fields.len());
            self.fields.push(NewField { path: path.to_owned(), type_name, events: 0 });
        } else {
            self.unlisted += 1;
        }
    }

    /// The state of a member that is declared.
    fn member(&mut self, state: usize, name: &str) -> Option<usize> {
        if let Some(next) = self.states[state].members.get(name) {
            return Some(*next);
        }
        let declared = self.states[state].outlines.iter().filter_map(|at| self.outlines[*at].members.get(name));
        let mut declared = declared.peekable();
        declared.peek()?;
        let all = declared.flatten().copied().collect();
        let next = self.state(all);
        self.states[state].members.insert(name.to_owned(), next);
        Some(next)
    }

    /// The state of members that are not declared, where that is on purpose.
    fn others(&mut self, state: usize) -> usize {
        if let Some(next) = self.states[state].others {
            return next;
        }
        let all = self.states[state].outlines.iter().flat_map(|at| &self.outlines[*at].others).copied().collect();
        let next = self.state(all);
        self.states[state].others = Some(next);
        next
    }

    fn elements(&mut self, state: usize) -> usize {
        if let Some(next) = self.states[state].elements {
            return next;
        }
        let all = self.states[state].outlines.iter().flat_map(|at| &self.outlines[*at].elements).copied().collect();
        let next = self.state(all);
        self.states[state].elements = Some(next);
        next
    }

    /// The state of values to which `outlines` apply, made if need be.
    fn state(&mut self, mut outlines: Vec<usize>) -> usize {
        outlines.sort_unstable();
        outlines.dedup();
        if let Some(known) = self.known.get(&outlines) {
            return *known;
        }
        if self.states.len() >= STATES_MAX {
            return FREE;
        }
        let state = State {
            names_any: outlines.iter().any(|at| self.outlines[*at].names_any),
            is_map: outlines.iter().any(|at| self.outlines[*at].is_map),
            outlines: outlines.clone(),
            members: HashMap::new(),
            others: None,
            elements: None,
        };
        self.states.push(state);
        self.known.insert(outlines, self.states.len() - 1);
        self.states.len() - 1
    }
}

/// An outline for each subschema met so far.
#[derive(Default)]
struct Graph<'s> {
    outlines: Vec<Outline>,
    places: Vec<Place<'s>>,
    known: HashMap<*const Json, usize>,
}

impl<'s> Graph<'s> {
    /// The outlines of `place` and of all that apply to the same value.
    fn outlines_of(&mut self, place: Place<'s>) -> Vec<usize> {
        let mut found = Vec::new();
        let mut left = vec![place];
        while let Some(place) = left.pop() {
            let next = self.places.len();
            if next >= OUTLINES_MAX {
                break;
            }
            let at = *self.known.entry(std::ptr::from_ref(place.value())).or_insert(next);
            if found.contains(&at) {
                continue;
            }
            found.push(at);
            left.extend(alongside(&place));
            if at == next {
                self.outlines.push(Outline::default());
                self.places.push(place);
            }
        }
        found
    }

    fn fill(&mut self, at: usize, place: &Place<'s>) {
        let mut outline = Outline { names_any: place.keyword("properties").is_some(), ..Outline::default() };
        for (name, schema) in place.keyword("properties").and_then(Json::as_object).into_iter().flatten() {
            outline.members.insert(name.clone(), self.outlines_of(place.child(schema)));
        }
        for schema in
            place.keyword("patternProperties").and_then(Json::as_object).into_iter().flat_map(|all| all.values())
        {
            outline.others.extend(self.outlines_of(place.child(schema)));
            outline.is_map = true;
        }
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            // `true` and `{}` say nothing of the fields that come.
            if let Some(schema @ Json::Object(said)) = place.keyword(keyword)
                && !said.is_empty()
            {
                outline.others.extend(self.outlines_of(place.child(schema)));
                outline.is_map = true;
            }
        }
        for keyword in ELEMENTS {
            match place.keyword(keyword) {
                Some(Json::Array(each)) => {
                    for schema in each {
                        outline.elements.extend(self.outlines_of(place.child(schema)));
                    }
                }
                Some(schema) => outline.elements.extend(self.outlines_of(place.child(schema))),
                None => {}
            }
        }
        self.outlines[at] = outline;
    }
}
