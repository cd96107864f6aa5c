//! Which fields a schema marks as sensitive, in whatever branch of it and however deep: `"x-parqueduct-sensitive": true`
//! on a subschema masks what it applies to.

use std::collections::HashMap;

use serde_json::Value;

use super::{Place, Schema};
use crate::mask::{Mask, Spot};

/// The keyword.
pub const SENSITIVE: &str = "x-parqueduct-sensitive";

/// Subschemas that apply to the value itself.
const SAME_ONE: &[&str] = &["not", "if", "then", "else"];
const SAME_MANY: &[&str] = &["allOf", "anyOf", "oneOf"];
const SAME_NAMED: &[&str] = &["dependentSchemas", "dependencies"];
/// Subschemas of an array's elements.
const ELEMENTS_ONE: &[&str] = &["items", "additionalItems", "unevaluatedItems", "contains"];
const ELEMENTS_MANY: &[&str] = &["prefixItems", "items"];

impl Schema {
    /// The fields marked as sensitive. Where it cannot be told whether a subschema applies, it is taken to.
    pub fn sensitive(&self) -> Mask {
        let mut graph = Graph::default();
        let starts = graph.spots(self.root());
        let mut done = 0;
        while let Some(place) = graph.places.get(done).cloned() {
            graph.fill(done, &place);
            done += 1;
        }
        Mask::of_spots(graph.spots, starts)
    }
}

/// A spot for each subschema met so far.
#[derive(Default)]
struct Graph<'s> {
    spots: Vec<Spot>,
    places: Vec<Place<'s>>,
    known: HashMap<*const Value, usize>,
}

impl<'s> Graph<'s> {
    /// The spots of `place` and of all that apply to the same value.
    fn spots(&mut self, place: Place<'s>) -> Vec<usize> {
        let mut spots = Vec::new();
        let mut todo = vec![place];
        while let Some(place) = todo.pop() {
            let next = self.places.len();
            let at = *self.known.entry(std::ptr::from_ref(place.value())).or_insert(next);
            if spots.contains(&at) {
                continue;
            }
            spots.push(at);
            todo.extend(alongside(&place));
            if at == next {
                self.spots.push(Spot::default());
                self.places.push(place);
            }
        }
        spots
    }

    fn fill(&mut self, at: usize, place: &Place<'s>) {
        let mut spot = Spot { masked: place.keyword(SENSITIVE) == Some(&Value::Bool(true)), ..Spot::default() };
        for (name, schema) in named(place, "properties") {
            spot.members.insert(name.clone(), self.spots(place.child(schema)));
        }
        if let Some(schema) = place.keyword("additionalProperties") {
            spot.other_members = self.spots(place.child(schema));
        }
        let patterns = named(place, "patternProperties").map(|(_, schema)| schema);
        for schema in patterns.chain(place.keyword("unevaluatedProperties")) {
            spot.any_member.extend(self.spots(place.child(schema)));
        }
        let one = ELEMENTS_ONE.iter().filter_map(|name| place.keyword(name)).filter(|value| !value.is_array());
        let many = ELEMENTS_MANY.iter().filter_map(|name| place.keyword(name)?.as_array()).flatten();
        for schema in one.chain(many) {
            spot.elements.extend(self.spots(place.child(schema)));
        }
        self.spots[at] = spot;
    }
}

/// The subschemas that a keyword names.
fn named<'s>(place: &Place<'s>, keyword: &str) -> impl Iterator<Item = (&'s String, &'s Value)> {
    place.keyword(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// What applies to the same value as `place`.
pub(super) fn alongside<'s>(place: &Place<'s>) -> Vec<Place<'s>> {
    let one = SAME_ONE.iter().filter_map(|name| place.keyword(name));
    let many = SAME_MANY.iter().filter_map(|name| place.keyword(name)?.as_array()).flatten();
    let named = SAME_NAMED.iter().filter_map(|name| place.keyword(name)?.as_object()).flat_map(|named| named.values());
    let mut found: Vec<_> = one.chain(many).chain(named).map(|schema| place.child(schema)).collect();
    let references = ["$ref", "$dynamicRef", "$recursiveRef"];
    let references = references.iter().filter_map(|name| place.keyword(name)?.as_str());
    // One that leads nowhere is refused when the schema is compiled.
    found.extend(references.filter_map(|reference| place.follow(reference).ok()));
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::schema::Language;

    fn mask(schema: &str) -> Mask {
        let read = |_: &Path| Ok(schema.as_bytes().to_vec());
        Schema::load(&Language::JsonSchema, Path::new("/s.json"), "s", 1, &read).expect("a schema").sensitive()
    }

    fn covered(mask: &Mask, path: &str) -> bool {
        mask.covers(&path.split('/').collect::<Vec<_>>()).is_some()
    }

    #[test]
    fn marked_properties_are_found_in_every_branch() {
        let mask = mask(
            r##"{
                "properties": {
                    "pan": { "type": "string", "x-parqueduct-sensitive": true },
                    "open": { "type": "string", "x-parqueduct-sensitive": false },
                    "cards": { "type": "array", "items": { "$ref": "#/$defs/card" } },
                    "pair": { "prefixItems": [{ "x-parqueduct-sensitive": true }] },
                    "map": { "additionalProperties": { "$ref": "#/$defs/card" } },
                    "byname": { "patternProperties": { "^x": { "x-parqueduct-sensitive": true } } }
                },
                "anyOf": [{ "properties": { "either": { "x-parqueduct-sensitive": true } } }, true],
                "if": { "properties": { "kind": { "const": 1 } } },
                "then": { "properties": { "then": { "allOf": [{ "$ref": "#/$defs/secret" }] } } },
                "$defs": {
                    "secret": { "x-parqueduct-sensitive": true },
                    "card": { "properties": { "cvc": { "$ref": "#/$defs/secret" }, "other": true } }
                }
            }"##,
        );
        for path in ["pan", "cards/[*]/cvc", "cards/0/cvc", "pair/0", "map/any/cvc", "byname/x1", "either", "then"] {
            assert!(covered(&mask, path), "{path}");
        }
        for path in ["open", "cards", "cards/0", "cards/0/other", "map/any/other", "kind", "nobody"] {
            assert!(!covered(&mask, path), "{path}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let mask = mask(
            r##"{
                "$ref": "#/$defs/node",
                "$defs": { "node": { "properties": {
                    "secret": { "x-parqueduct-sensitive": true },
                    "children": { "items": { "$ref": "#/$defs/node" } }
                } } }
            }"##,
        );
        assert!(covered(&mask, "children/0/children/5/secret") && !covered(&mask, "children/0/children/5"));
    }

    #[test]
    fn a_schema_without_marks_masks_nothing() {
        assert!(mask(r#"{"properties": {"a": {"type": "string"}}}"#).is_empty());
        assert!(mask("true").is_empty());
    }
}
