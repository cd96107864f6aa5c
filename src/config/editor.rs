//! The JSON Schema of the configuration file, for editors, made of the table of keys.

use serde_json::{Map, Value, json};

use super::keys::{Fallback, Key, Kind};
use super::raw::Root;
use super::read::Raw;
use super::units;

/// The JSON Schema (draft 2020-12) of the configuration file. Relations between keys are left to `parqueduct check`.
pub fn json_schema() -> Value {
    let mut schema = section(Root::KIND.keys());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Parqueduct's configuration");
    schema
}

fn section(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<_> = keys.iter().filter(|key| needed(key)).map(|key| key.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// A key that must be written, or a section with such a key.
fn needed(key: &Key) -> bool {
    match key.fallback {
        Fallback::Required(_) => true,
        Fallback::Default(_) => key.kind.keys().iter().any(needed),
        Fallback::Unset(_) | Fallback::Expected(_) => false,
    }
}

fn property(key: &Key) -> Value {
    let mut schema = of_kind(key.kind);
    schema["description"] = json!(key.doc_text());
    match key.kind {
        // The default of a section is made of its keys'.
        Kind::Section(_) => {}
        Kind::Ratio => {
            if let Some(bounds) = key.bounds {
                schema["minimum"] = json!(bounds.least.parse::<f64>().unwrap_or(0.0));
                schema["maximum"] = json!(bounds.greatest.parse::<f64>().unwrap_or(1.0));
            }
        }
        Kind::Integer => {
            if let Some(bounds) = key.bounds {
                schema["minimum"] = json!(key.kind.magnitude(bounds.least));
                schema["maximum"] = json!(key.kind.magnitude(bounds.greatest));
            }
        }
        Kind::List(Kind::Section(_)) if needed(key) => schema["minItems"] = json!(1),
        _ => {}
    }
    if let (Fallback::Default(text), false) = (key.fallback, matches!(key.kind, Kind::Section(_))) {
        let default: toml::Table = toml::from_str(&format!("default = {text}")).expect("defaults are TOML");
        schema["default"] = json!(default["default"]);
    }
    schema
}

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Ratio | Kind::Number => json!({ "type": "number" }),
        Kind::Rate => or_variable(json!({ "type": "string", "pattern": units::RATE_PATTERN })),
        Kind::Duration => or_variable(json!({ "type": "string", "pattern": units::DURATION_PATTERN })),
        Kind::Size => or_variable(json!({ "type": "string", "pattern": units::SIZE_PATTERN })),
        Kind::Text | Kind::Path => json!({ "type": "string" }),
        Kind::Secret => {
            let file = json!({
                "type": "object",
                "properties": { "file": { "type": "string" } },
                "required": ["file"],
                "additionalProperties": false
            });
            json!({ "anyOf": [{ "type": "string" }, file] })
        }
        Kind::Word(words) => or_variable(json!({ "enum": words })),
        Kind::List(element) => json!({ "type": "array", "items": of_kind(*element) }),
        Kind::Section(keys) => section(keys),
    }
}

/// The schema, or text whose variables decide.
fn or_variable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{" }] })
}
