//! Where in an event something is, in the schema's words: the same for every event that breaks the same rule.

use serde_json::Value as Json;

use super::catalog::{Place, Schema};
use crate::value::{self, Node, Value};

/// Deeper normalised paths end here, so that events of recursive schemas do not make a group for each depth.
const SEGMENTS_MAX: usize = 16;
/// Subschemas followed for one path segment; a schema may refer in circles.
const PLACES_MAX: usize = 1_000;

impl Schema {
    /// The normalised form of `pointer` (RFC 6901) into the event `root`: what issues, and metrics, call that place.
    pub fn normalised(&self, root: Value<'_>, pointer: &str) -> String {
        normalise(self, root, pointer).0
    }
}

/// The normalised form of `pointer` (RFC 6901, into the event `root`), and the value there.
///
/// Array indices become `[*]`. A name becomes `{*}` unless some part of the schema that applies to its object declares it
/// under `properties`.
pub(super) fn normalise<'t>(schema: &Schema, root: Value<'t>, pointer: &str) -> (String, Option<Value<'t>>) {
    let mut path = String::new();
    let mut value = Some(root);
    let mut places = applying(vec![schema.root()]);
    for (depth, segment) in pointer.split('/').skip(1).enumerate() {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let is_index = matches!(value.map(Value::node), Some(Node::Array { .. }));
        let (normalised, next) = match is_index {
            true => ("[*]", elements(&places, &name)),
            false => match members(&places, &name) {
                (true, next) => (name.as_str(), next),
                (false, next) => ("{*}", next),
            },
        };
        if depth < SEGMENTS_MAX {
            value::push_segment(&mut path, normalised);
        }
        places = applying(next);
        value = value.and_then(|value| value.pointer(std::slice::from_ref(&name)));
    }
    (path, value)
}

/// The subschemas of member `name`, and whether it is declared.
fn members<'s>(places: &[Place<'s>], name: &str) -> (bool, Vec<Place<'s>>) {
    let mut next = Vec::new();
    for place in places {
        if let Some(declared) = place.keyword("properties").and_then(|properties| properties.get(name)) {
            next.push(place.child(declared));
        }
    }
    if !next.is_empty() {
        return (true, next);
    }
    for place in places {
        // Which pattern matched is of no importance: the name is not said.
        let patterns =
            place.keyword("patternProperties").and_then(Json::as_object).into_iter().flat_map(|map| map.values());
        let others = ["additionalProperties", "unevaluatedProperties"].into_iter().filter_map(|key| place.keyword(key));
        next.extend(patterns.chain(others).map(|schema| place.child(schema)));
    }
    (false, next)
}

/// The subschemas of the element at `index`.
fn elements<'s>(places: &[Place<'s>], index: &str) -> Vec<Place<'s>> {
    let index: usize = index.parse().unwrap_or(usize::MAX);
    let mut next = Vec::new();
    for place in places {
        for keyword in ["prefixItems", "items", "additionalItems", "contains", "unevaluatedItems"] {
            match place.keyword(keyword) {
                Some(Json::Array(each)) => next.extend(each.get(index).map(|schema| place.child(schema))),
                Some(schema) => next.push(place.child(schema)),
                None => {}
            }
        }
    }
    next
}

/// `places` and every subschema that applies to the same value: through references, combinators and conditions.
fn applying<'s>(mut places: Vec<Place<'s>>) -> Vec<Place<'s>> {
    let mut at = 0;
    while at < places.len() && places.len() < PLACES_MAX {
        let place = places[at].clone();
        at += 1;
        let mut add = |next: Place<'s>| {
            if !places.iter().any(|known| known.is(&next)) {
                places.push(next);
            }
        };
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(Json::String(reference)) = place.keyword(keyword) {
                place.follow(reference).into_iter().for_each(&mut add);
            }
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let each = place.keyword(keyword).and_then(Json::as_array).into_iter().flatten();
            each.for_each(|schema| add(place.child(schema)));
        }
        for keyword in ["if", "then", "else"] {
            place.keyword(keyword).into_iter().for_each(|schema| add(place.child(schema)));
        }
        for keyword in ["dependentSchemas", "dependencies"] {
            let each = place.keyword(keyword).and_then(Json::as_object).into_iter().flat_map(|map| map.values());
            each.filter(|schema| !schema.is_array()).for_each(|schema| add(place.child(schema)));
        }
    }
    places
}
