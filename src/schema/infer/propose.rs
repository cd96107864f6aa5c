//! What was seen to a schema, and the choices made on the way.
//!
//! Two principles. Every sample keeps the schema, so whatever was seen once is allowed. And what was merely seen is not
//! made a rule, unless it is asked for: a range of numbers, a single value, the fields an event has. The exception are
//! objects within the event, which are closed, for only then do they become structs.

pub(super) mod leaf; // strings and numbers

use serde_json::{Map, Value as Json, json};

use super::finding::{Doubt, Finding, grouped};
use super::node::{Elements, Members, Named, Node};
use super::{Limits, Options, Proposal, personal};
use crate::value::push_segment;

/// Fewer samples are worth a warning.
const SAMPLES_FEW: u64 = 100;

/// Names that an object has at least when they are taken for values because each is rare.
const MAP_NAMES_MIN: usize = 20;
/// The same when each looks like a value.
const MAP_VALUE_NAMES_MIN: usize = 3;

pub(super) const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

pub(super) fn propose(root: &Node, options: &Options, limits: &Limits) -> Proposal {
    let mut writer = Writer { options, limits, path: String::new(), findings: Vec::new() };
    writer.whole(root);
    let mut schema = Map::from_iter([("$schema".to_owned(), json!(DIALECT))]);
    schema.extend(options.title.iter().map(|title| ("title".to_owned(), json!(title))));
    schema.extend(writer.place(root, ""));
    Proposal { schema: Json::Object(schema), findings: writer.findings }
}

struct Writer<'o> {
    options: &'o Options,
    limits: &'o Limits,
    /// Of the place that is written.
    path: String,
    findings: Vec<Finding>,
}

type Keywords = Map<String, Json>;

fn of_type(name: &str) -> Keywords {
    Map::from_iter([("type".to_owned(), json!(name))])
}

impl Writer<'_> {
    fn find(&mut self, doubt: Doubt, chosen: impl Into<String>, evidence: String, alternative: impl Into<String>) {
        let (path, chosen, alternative) = (self.path.clone(), chosen.into(), alternative.into());
        self.findings.push(Finding { path, doubt, chosen, evidence, alternative });
    }

    /// What is to be said of the samples as a whole.
    fn whole(&mut self, root: &Node) {
        if root.values < SAMPLES_FEW {
            let evidence = format!("there are {} samples only", grouped(root.values));
            self.find(Doubt::Samples, "what all of them have is required", evidence, "learn of more");
        }
        let others = root.values - root.objects;
        if others > 0 {
            let evidence = format!("{} of {} are none", grouped(others), grouped(root.values));
            self.find(Doubt::Types, "an object, as every event is", evidence, "those are dead letters in any case");
        }
    }

    /// The keywords of a place; `name` is that of the field.
    fn place(&mut self, node: &Node, name: &str) -> Keywords {
        let kinds = kinds(node);
        let (nullable, held) = (node.nulls > 0, node.values - node.nulls);
        let mut keywords = match kinds.as_slice() {
            [] => return self.never_set(node),
            [(_, "boolean")] => of_type("boolean"),
            [(_, "string")] => self.string(&node.texts, name, nullable),
            [(_, "integer" | "number")] => self.number(&node.numbers, name),
            [(_, "object")] => self.object(node),
            [(_, "array")] => self.array(node),
            _ => self.mixed(&kinds, held),
        };
        if nullable {
            let word = if let [(_, only)] = kinds.as_slice() { only } else { "one of several types" };
            let evidence = format!("{} of {} null", grouped(node.nulls), grouped(node.values));
            self.find(Doubt::Null, format!("{word} or null"), evidence, format!("{word}: those are dead letters"));
            allow_null(&mut keywords);
        }
        keywords
    }

    fn never_set(&mut self, node: &Node) -> Keywords {
        let evidence = format!("null in all {}", grouped(node.values));
        match (self.options.strict, node.values) {
            // Nothing at all was seen.
            (_, 0) => Map::new(),
            (true, _) => {
                self.find(Doubt::Types, "null", evidence, "no type, so that all is taken");
                of_type("null")
            }
            (false, _) => {
                self.find(Doubt::Types, "anything, kept as JSON text", evidence, "the type that it has when it is set");
                Map::new()
            }
        }
    }

    fn mixed(&mut self, kinds: &[(u64, &'static str)], held: u64) -> Keywords {
        let told: Vec<_> = kinds.iter().map(|(count, kind)| format!("{kind} in {}", grouped(*count))).collect();
        let evidence = format!("{} of {}", told.join(", "), grouped(held));
        let (_, most) = kinds.iter().rev().max_by_key(|(count, _)| *count).expect("there are several");
        let names: Vec<_> = kinds.iter().map(|(_, kind)| *kind).collect();
        let chosen = format!("{}, kept as JSON text", names.join(" or "));
        self.find(Doubt::Types, chosen, evidence, format!("{most}: the others are dead letters"));
        Map::from_iter([("type".to_owned(), json!(names))])
    }

    fn array(&mut self, node: &Node) -> Keywords {
        let mut keywords = of_type("array");
        match &node.elements {
            Elements::Of(elements) => {
                let items = self.at("[*]", |writer| writer.place(elements, ""));
                keywords.insert("items".to_owned(), Json::Object(items));
            }
            Elements::None => {
                let evidence = format!("empty in all {}", grouped(node.arrays));
                self.find(
                    Doubt::Types,
                    "elements of any type, kept as JSON text",
                    evidence,
                    "the type of its elements",
                );
            }
            Elements::Unseen => self.unseen(),
        }
        keywords
    }

    fn object(&mut self, node: &Node) -> Keywords {
        match &node.members {
            Members::Named(named) if !self.path.is_empty() && is_map(named, node.objects) => {
                let evidence = format!("{} names, none of which all {} have", named.len(), grouped(node.objects));
                let merged = named.clone().merged(self.limits);
                self.map(&merged, evidence, "give it additionalProperties: false, and make each name a property")
            }
            Members::Named(named) => self.fields(named, node.objects),
            Members::Any(merged) => {
                let evidence = format!("more than {} names, or one that is very long", self.limits.names_max);
                self.map(merged, evidence, "give the producer a list of pairs to write")
            }
            Members::Unseen => {
                self.unseen();
                of_type("object")
            }
        }
    }

    fn map(&mut self, values: &Node, evidence: String, alternative: &str) -> Keywords {
        self.find(Doubt::Map, "an object of any names, kept as JSON text", evidence, alternative);
        let of = self.at("{*}", |writer| writer.place(values, ""));
        let mut keywords = of_type("object");
        keywords.insert("additionalProperties".to_owned(), Json::Object(of));
        keywords
    }

    fn fields(&mut self, named: &Named, objects: u64) -> Keywords {
        let mut keywords = of_type("object");
        let is_event = self.path.is_empty();
        if named.len() == 0 {
            if !is_event {
                let evidence = format!("it has none in all {}", grouped(objects));
                self.find(
                    Doubt::Closed,
                    "an object of any fields, kept as JSON text",
                    evidence,
                    "the fields it may have",
                );
            }
            return keywords;
        }
        let is_closed = self.options.strict || !is_event;
        if is_closed {
            keywords.insert("additionalProperties".to_owned(), json!(false));
        }
        if !is_event {
            let columns = if named.len() == 1 {
                "a struct of its 1 field"
            } else {
                &format!("a struct of its {} fields", named.len())
            };
            let evidence = format!("{} had no others, and with another it is a dead letter", grouped(objects));
            self.find(
                Doubt::Closed,
                columns,
                evidence,
                "without additionalProperties: JSON text, with whatever it has",
            );
        }
        let required: Vec<_> = named.iter().filter(|(_, node)| node.values == objects).map(|(name, _)| name).collect();
        if !required.is_empty() {
            keywords.insert("required".to_owned(), json!(required));
        }
        let mut properties = Map::new();
        for (name, node) in named.iter() {
            let property = self.at(name, |writer| {
                if node.values < objects {
                    let evidence = format!("missing in {} of {}", grouped(objects - node.values), grouped(objects));
                    writer.find(Doubt::Required, "optional", evidence, "required: those are dead letters");
                }
                writer.place(node, name)
            });
            properties.insert(name.to_owned(), Json::Object(property));
        }
        keywords.insert("properties".to_owned(), Json::Object(properties));
        keywords
    }

    fn unseen(&mut self) {
        let (places, depth) = (grouped(self.limits.places_max), self.limits.depth_max);
        let evidence = format!("more than {places} places in all samples, or {depth} levels");
        self.find(Doubt::Limit, "not looked into, kept as JSON text", evidence, "write what it holds by hand");
    }

    /// Writes what is one step below.
    fn at<T>(&mut self, segment: &str, write: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        push_segment(&mut self.path, segment);
        let written = write(self);
        self.path.truncate(length);
        written
    }
}

/// Whether the names of an object's members are values rather than names: many, none common to all, and what they name
/// of one type. The event itself has fields.
pub(super) fn is_map(named: &Named, objects: u64) -> bool {
    if named.len() < MAP_VALUE_NAMES_MIN || named.iter().any(|(_, node)| node.values == objects) {
        return false;
    }
    let all: u64 = named.iter().map(|(_, node)| node.values).sum();
    let are_rare = all.saturating_mul(2) <= objects.saturating_mul(named.len() as u64);
    let are_values = named.iter().all(|(name, _)| personal::is_value_name(name));
    (are_values || (named.len() >= MAP_NAMES_MIN && are_rare)) && are_alike(named)
}

/// How often which type of value was seen, null apart. Numbers are of one type.
pub(super) fn kinds(node: &Node) -> Vec<(u64, &'static str)> {
    let number = if node.numbers.fractions > 0 { "number" } else { "integer" };
    let all = [
        (node.booleans, "boolean"),
        (node.numbers.count(), number),
        (node.texts.count, "string"),
        (node.arrays, "array"),
        (node.objects, "object"),
    ];
    all.into_iter().filter(|(count, _)| *count > 0).collect()
}

/// Whether the members are of one and the same type, null apart.
fn are_alike(named: &Named) -> bool {
    let class = |kind: &'static str| if kind == "integer" { "number" } else { kind };
    let mut classes = named.iter().flat_map(|(_, node)| kinds(node)).map(|(_, kind)| class(kind));
    let Some(first) = classes.next() else { return false };
    classes.all(|class| class == first)
}

/// Lets a place be null, too.
fn allow_null(keywords: &mut Keywords) {
    if let Some(Json::Array(values)) = keywords.get_mut("enum") {
        values.push(Json::Null);
    }
    match keywords.get_mut("type") {
        Some(Json::Array(types)) => types.push(json!("null")),
        Some(of) => *of = json!([of.take(), "null"]),
        None => {}
    }
}
