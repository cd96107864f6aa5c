//! The types as a JSON Schema.

use serde_json::{Map, Value, json};

use super::{Field, SENSITIVE, Type, TypeId, Types, Unit};
use crate::schema::FINER;

/// With `open`, records may have members that the type does not know, and lack those with a default.
pub(super) fn of(types: &Types, open: bool) -> Value {
    let mut definitions = Map::new();
    for (id, name) in &types.names {
        definitions.insert(name.clone(), schema(types, types.of(*id), open));
    }
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("$ref".to_owned(), reference(types, types.root, open)["$ref"].clone());
    root.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

/// The type where it is used: by its name, if it has one.
fn reference(types: &Types, id: TypeId, open: bool) -> Value {
    match types.names.iter().find(|(named, _)| *named == id) {
        // Names are letters, digits, `_` and dots.
        Some((_, name)) => json!({ "$ref": format!("#/$defs/{name}") }),
        None => schema(types, types.of(id), open),
    }
}

fn schema(types: &Types, of: &Type, open: bool) -> Value {
    match of {
        Type::Null => json!({ "type": "null" }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Int => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        Type::Long => json!({ "type": "integer" }),
        Type::Float | Type::Double => json!({ "type": "number" }),
        Type::Bytes | Type::Fixed(_) => json!({ "type": "string", "contentEncoding": "base64" }),
        Type::String | Type::BigDecimal | Type::Time(_) | Type::LocalTimestamp(_) => json!({ "type": "string" }),
        Type::Enum(symbols) => json!({ "type": "string", "enum": symbols }),
        Type::Array(items) => json!({ "type": "array", "items": reference(types, *items, open) }),
        Type::Map(values) => json!({ "type": "object", "additionalProperties": reference(types, *values, open) }),
        Type::Union(branches) => {
            let mut alternatives = Vec::new();
            let mut tagged = Map::new();
            for branch in branches {
                match &branch.tag {
                    None => alternatives.push(reference(types, branch.of, open)),
                    Some(tag) => {
                        tagged.insert(tag.clone(), reference(types, branch.of, open));
                    }
                }
            }
            if !tagged.is_empty() {
                alternatives.push(json!({
                    "type": "object", "additionalProperties": false, "properties": tagged,
                    "minProperties": 1, "maxProperties": 1,
                }));
            }
            json!({ "anyOf": alternatives })
        }
        Type::Record(fields) => {
            let needed = |field: &&Field| !(open && field.has_default);
            let names: Vec<&str> = fields.iter().filter(needed).map(|field| field.name.as_str()).collect();
            let properties: Map<String, Value> =
                fields.iter().map(|field| (field.name.clone(), property(types, field, open))).collect();
            json!({ "type": "object", "additionalProperties": open, "required": names, "properties": properties })
        }
        Type::Decimal { precision, scale, .. } => {
            json!({ "type": "string", "format": "decimal", "precision": precision, "scale": scale })
        }
        Type::Uuid(_) => json!({ "type": "string", "format": "uuid" }),
        Type::Date => json!({ "type": "string", "format": "date" }),
        Type::Timestamp(Unit::Nanos) => json!({ "type": "string", "format": "date-time", FINER: true }),
        Type::Timestamp(_) => json!({ "type": "string", "format": "date-time" }),
        Type::Duration => {
            let count = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
            json!({
                "type": "object", "additionalProperties": false, "required": ["months", "days", "millis"],
                "properties": { "months": count, "days": count, "millis": count },
            })
        }
    }
}

fn property(types: &Types, field: &Field, open: bool) -> Value {
    let mut schema = reference(types, field.of, open);
    if let Some(doc) = &field.doc {
        schema["description"] = json!(doc);
    }
    if field.sensitive {
        schema[SENSITIVE] = json!(true);
    }
    schema
}
