//! A message as a JSON Schema.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::WellKnown;
use crate::schema::FINER;

/// With `open`, objects may have members that the type does not know.
pub(super) fn of(message: &MessageDescriptor, open: bool) -> Value {
    let mut definitions = Map::new();
    let mut missing = vec![message.clone()];
    while let Some(message) = missing.pop() {
        if !definitions.contains_key(message.full_name()) {
            definitions.insert(message.full_name().to_owned(), object(&message, open, &mut missing));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/$defs/{}", message.full_name()),
        "$defs": definitions,
    })
}

/// `message` without what it refers to, which is noted.
fn object(message: &MessageDescriptor, open: bool, missing: &mut Vec<MessageDescriptor>) -> Value {
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    // As they stand in the file; the library has them by number.
    let place = |field: &FieldDescriptor| field.path().last().copied().unwrap_or_default();
    fields.sort_by_key(place);
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name().to_owned(), property(field, missing))).collect();
    json!({ "type": "object", "additionalProperties": open, "properties": properties })
}

fn property(field: &FieldDescriptor, missing: &mut Vec<MessageDescriptor>) -> Value {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let values = kind(&entry.map_entry_value_field().kind(), missing);
            json!({ "type": "object", "additionalProperties": values })
        }
        of if field.is_list() => json!({ "type": "array", "items": kind(&of, missing) }),
        of => kind(&of, missing),
    }
}

fn kind(of: &Kind, missing: &mut Vec<MessageDescriptor>) -> Value {
    match of {
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
        }
        Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "integer" }),
        // More than a column of integers holds.
        Kind::Uint64 | Kind::Fixed64 => {
            json!({ "type": "integer", "minimum": 0, "format": "decimal", "precision": 20, "scale": 0 })
        }
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        // An enumeration's numbers without a name come as text, too.
        Kind::String | Kind::Enum(_) => json!({ "type": "string" }),
        Kind::Message(message) => match WellKnown::of(message) {
            None => {
                missing.push(message.clone());
                json!({ "$ref": format!("#/$defs/{}", message.full_name()) })
            }
            Some(WellKnown::Timestamp) => json!({ "type": "string", "format": "date-time", FINER: true }),
            Some(WellKnown::Duration | WellKnown::FieldMask) => json!({ "type": "string" }),
            Some(WellKnown::Wrapper) => match message.get_field(1) {
                Some(field) => kind(&field.kind(), missing),
                None => json!({}),
            },
            Some(WellKnown::Any | WellKnown::Struct) => json!({ "type": "object" }),
            Some(WellKnown::ListValue) => json!({ "type": "array" }),
            Some(WellKnown::Value) => json!({}),
        },
    }
}
