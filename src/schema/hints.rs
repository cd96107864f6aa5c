//! What a schema says of an event that its columns do not: for who gives an event back from them.

use serde_json::Value;

use super::{Place, Schema};
use crate::column::Hints;
use crate::value::push_segment;

/// Columns nest less deep, and what is not in a column of its own needs no hints.
const DEPTH_MAX: usize = 16;
/// Schemas that are followed in all.
const VISITS_MAX: usize = 100_000;

/// The hints of `schema`: what its root and all that it is made of by `$ref`, `allOf`, `properties` and `items` require.
/// Branches of `anyOf` and `oneOf` hold only of some events, so they tell nothing.
pub fn hints(schema: &Schema) -> Hints {
    let mut walk = Walk { hints: Hints::default(), visits: 0 };
    walk.follow(&schema.root(), &mut String::new(), 0);
    walk.hints
}

struct Walk {
    hints: Hints,
    visits: usize,
}

impl Walk {
    fn follow(&mut self, place: &Place<'_>, path: &mut String, depth: usize) {
        self.visits += 1;
        if depth > DEPTH_MAX || self.visits > VISITS_MAX {
            return;
        }
        if let Some(target) = place.keyword("$ref").and_then(Value::as_str).and_then(|to| place.follow(to).ok()) {
            self.follow(&target, path, depth + 1);
        }
        for branch in place.keyword("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.follow(&place.child(branch), path, depth + 1);
        }
        for name in place.keyword("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = name.as_str() {
                let mut required = path.clone();
                push_segment(&mut required, name);
                self.hints.required.insert(required);
            }
        }
        if place.keyword("format").and_then(Value::as_str) == Some("decimal") && is_text(place.keyword("type")) {
            self.hints.decimal_texts.insert(path.clone());
        }
        for (name, property) in place.keyword("properties").and_then(Value::as_object).into_iter().flatten() {
            self.inside(&place.child(property), name, path, depth);
        }
        if let Some(items) = place.keyword("items").filter(|items| items.is_object()) {
            self.inside(&place.child(items), "[*]", path, depth);
        }
    }

    fn inside(&mut self, place: &Place<'_>, name: &str, path: &mut String, depth: usize) {
        let length = path.len();
        push_segment(path, name);
        self.follow(place, path, depth + 1);
        path.truncate(length);
    }
}

/// Whether a `type` allows strings and no numbers.
fn is_text(types: Option<&Value>) -> bool {
    let allows = |name: &str| match types {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(all)) => all.iter().any(|one| one == name),
        _ => false,
    };
    allows("string") && !allows("number")
}
