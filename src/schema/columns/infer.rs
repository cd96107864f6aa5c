//! A JSON Schema to the shape of what it accepts.

use serde_json::Value;

use super::shape::{Decimal, Elements, Field, Opening, Shape, Text, Types};
use crate::schema::SchemaError;
use crate::schema::catalog::Place;

/// Schemas are followed this deep, and this many in all; beyond, a value may be anything. Both far above real schemas.
const DEPTH_MAX: usize = 64;
const VISITS_MAX: usize = 100_000;

/// The most digits a Decimal128 holds.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// The shape of what the schema at `root` accepts.
///
/// # Errors
/// A reference leads nowhere.
pub(super) fn infer(root: Place<'_>) -> Result<Shape, SchemaError> {
    let mut walk = Walk { open: Vec::new(), visits: 0 };
    walk.shape(&root)
}

struct Walk<'s> {
    /// The schemas being followed, outermost first: to meet one again is recursion.
    open: Vec<Place<'s>>,
    visits: usize,
}

impl<'s> Walk<'s> {
    fn shape(&mut self, place: &Place<'s>) -> Result<Shape, SchemaError> {
        self.visits += 1;
        if self.open.iter().any(|open| open.is(place)) {
            return Ok(Shape::unknown("its schema refers to itself"));
        }
        if self.open.len() >= DEPTH_MAX || self.visits > VISITS_MAX {
            return Ok(Shape::unknown("its schema is too large to follow"));
        }
        match place.value() {
            Value::Bool(false) => return Ok(Shape::of(Types::NONE)),
            Value::Object(_) => {}
            _ => return Ok(Shape::anything()),
        }
        self.open.push(place.clone());
        let shape = self.keywords(place);
        self.open.pop();
        shape
    }

    fn keywords(&mut self, place: &Place<'s>) -> Result<Shape, SchemaError> {
        if let Some(reference) = place.keyword("$ref").and_then(Value::as_str) {
            let target = self.shape(&place.follow(reference)?)?;
            return match place.draft() {
                // Up to draft 7 nothing beside a `$ref` counts.
                jsonschema::Draft::Draft4 | jsonschema::Draft::Draft6 | jsonschema::Draft::Draft7 => Ok(target),
                _ => Ok(self.beside(place, target)?),
            };
        }
        let start = match place.keyword("$dynamicRef").or_else(|| place.keyword("$recursiveRef")) {
            Some(_) => Shape::unknown("its schema is a dynamic reference"),
            None => Shape::anything(),
        };
        self.beside(place, start)
    }

    /// `shape` narrowed by all the keywords of `place` but references.
    fn beside(&mut self, place: &Place<'s>, shape: Shape) -> Result<Shape, SchemaError> {
        // What stands in the schema itself comes first, so that columns are in its order.
        let mut shape = self.own(place)?.meet(shape);
        for branch in branches(place, "allOf") {
            shape = shape.meet(self.shape(&branch)?);
        }
        for keyword in ["anyOf", "oneOf"] {
            let mut alternatives: Option<Shape> = None;
            for branch in branches(place, keyword) {
                let branch = self.shape(&branch)?;
                alternatives = Some(match alternatives {
                    Some(others) => others.join(branch),
                    None => branch,
                });
            }
            if let Some(alternatives) = alternatives {
                shape = shape.meet(alternatives);
            }
        }
        for condition in self.conditions(place)? {
            shape = shape.meet(condition);
        }
        let closing = place.keyword("unevaluatedProperties");
        if closing == Some(&Value::Bool(false)) && shape.object.opening <= Opening::Open {
            shape.object.opening = Opening::Closed;
        } else if closing.is_some_and(|closing| *closing != Value::Bool(false)) {
            shape.object.opening = shape.object.opening.max(Opening::Map);
        }
        Ok(shape)
    }

    /// What holds in some cases only: `then` or `else`, and the schemas that depend on a field's presence.
    fn conditions(&mut self, place: &Place<'s>) -> Result<Vec<Shape>, SchemaError> {
        let mut conditions = Vec::new();
        if place.keyword("if").is_some() {
            let mut branch = |keyword| match place.keyword(keyword) {
                Some(schema) => self.shape(&place.child(schema)),
                None => Ok(Shape::anything()),
            };
            conditions.push(branch("then")?.join(branch("else")?));
        }
        for keyword in ["dependentSchemas", "dependencies"] {
            for schema in place.keyword(keyword).and_then(Value::as_object).into_iter().flat_map(|all| all.values()) {
                if schema.is_object() {
                    conditions.push(self.shape(&place.child(schema))?.join(Shape::anything()));
                }
            }
        }
        Ok(conditions)
    }

    /// What `place` says of a value by itself.
    fn own(&mut self, place: &Place<'s>) -> Result<Shape, SchemaError> {
        let mut shape = Shape::of(types(place));
        shape.text = match place.keyword("format").and_then(Value::as_str) {
            Some("date-time") if place.keyword(super::FINER) == Some(&Value::Bool(true)) => Text::FinerDateTime,
            Some("date-time") => Text::DateTime,
            Some("date") => Text::Date,
            _ => Text::Plain,
        };
        shape.decimal = decimal(place);
        shape.array = self.elements(place)?;
        if let Some(properties) = place.keyword("properties").and_then(Value::as_object) {
            for (name, schema) in properties {
                let field = Field::everywhere(self.shape(&place.child(schema))?);
                shape.object.fields.push((name.clone(), field));
            }
        }
        let patterns = place.keyword("patternProperties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        shape.object.opening = match place.keyword("additionalProperties") {
            Some(Value::Bool(false)) if !patterns => Opening::Closed,
            None if !patterns && place.keyword(super::STRUCT) == Some(&Value::Bool(true)) => Opening::Kept,
            None if !patterns => Opening::Open,
            _ => Opening::Map,
        };
        Ok(shape)
    }

    fn elements(&mut self, place: &Place<'s>) -> Result<Elements, SchemaError> {
        let by_position = place.keyword("prefixItems").is_some();
        match place.keyword("items") {
            // An array of schemas is the older way to say what stands at which position.
            Some(items) if !by_position && !items.is_array() => {
                Ok(Elements::Of(Box::new(self.shape(&place.child(items))?)))
            }
            _ => Ok(Elements::Anything),
        }
    }
}

fn branches<'s>(place: &Place<'s>, keyword: &str) -> Vec<Place<'s>> {
    let schemas = place.keyword(keyword).and_then(Value::as_array);
    schemas.into_iter().flatten().map(|schema| place.child(schema)).collect()
}

/// The types that `type`, `enum` and `const` leave.
fn types(place: &Place<'_>) -> Types {
    let mut types = match place.keyword("type") {
        Some(Value::String(name)) => type_named(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).fold(Types::NONE, |types, name| types.or(type_named(name)))
        }
        _ => Types::ALL,
    };
    if let Some(values) = place.keyword("enum").and_then(Value::as_array) {
        types = types.and(values.iter().fold(Types::NONE, |types, value| types.or(type_of(value))));
    }
    if let Some(value) = place.keyword("const") {
        types = types.and(type_of(value));
    }
    types
}

fn type_named(name: &str) -> Types {
    match name {
        "null" => Types::NULL,
        "boolean" => Types::BOOLEAN,
        "integer" => Types::INTEGER,
        "number" => Types::NUMBER,
        "string" => Types::STRING,
        "array" => Types::ARRAY,
        "object" => Types::OBJECT,
        _ => Types::NONE,
    }
}

fn type_of(value: &Value) -> Types {
    match value {
        Value::Null => Types::NULL,
        Value::Bool(_) => Types::BOOLEAN,
        // `1.0` is an integer to JSON Schema.
        Value::Number(number) if number.as_f64().is_some_and(|value| value.fract() == 0.0) => Types::INTEGER,
        Value::Number(_) => Types::FRACTION,
        Value::String(_) => Types::STRING,
        Value::Array(_) => Types::ARRAY,
        Value::Object(_) => Types::OBJECT,
    }
}

/// The decimal that `"format": "decimal"` asks for; `None` too when its scale is not to be had or beyond 38 digits.
fn decimal(place: &Place<'_>) -> Option<Decimal> {
    if place.keyword("format").and_then(Value::as_str) != Some("decimal") {
        return None;
    }
    let digits = |keyword| place.keyword(keyword).and_then(Value::as_u64).and_then(|digits| u8::try_from(digits).ok());
    let precision = digits("precision").unwrap_or(DECIMAL_DIGITS_MAX);
    let scale = digits("scale").or_else(|| place.keyword("multipleOf").and_then(scale_of_step))?;
    let possible = (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision;
    possible.then_some(Decimal { precision, scale: i8::try_from(scale).ok()? })
}

/// The digits after the point of a step such as 0.01 or 1.
fn scale_of_step(step: &Value) -> Option<u8> {
    let step = step.as_f64()?;
    (0..=DECIMAL_DIGITS_MAX).find(|scale| {
        let text = format!("{step:.*}", usize::from(*scale));
        text.parse() == Ok(step)
    })
}
