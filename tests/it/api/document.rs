//! Requests made of the OpenAPI document: for every operation one that it takes for sound.

use serde_json::{Map, Value, json};

/// An operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: String,
    /// With its parameters in braces.
    pub path: String,
    /// The least role that may; `None`: everybody.
    pub role: Option<String>,
    /// A body, if it takes one.
    pub body: Option<Value>,
}

impl Operation {
    /// Every operation there is.
    pub fn all(document: &Value) -> Vec<Self> {
        let mut found = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                found.push(Self {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    role: operation["x-parqueduct-role"].as_str().map(str::to_owned),
                    body: schema.is_object().then(|| example(document, schema)),
                });
            }
        }
        found
    }

    /// Whether it gives bodies, of which viewers may be refused some.
    pub fn is_body(&self) -> bool {
        self.path.ends_with("/body")
    }
}

/// A value that a schema of the document allows: its example, or the least there is.
fn example(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("within the document");
        return example(document, document.pointer(pointer).expect("it leads somewhere"));
    }
    for given in [&schema["example"], &schema["examples"][0], &schema["default"], &schema["enum"][0], &schema["const"]]
    {
        if !given.is_null() {
            return given.clone();
        }
    }
    for alternatives in [&schema["oneOf"], &schema["anyOf"], &schema["allOf"]] {
        let sound = alternatives.as_array().into_iter().flatten().find(|one| one["type"] != "null");
        if let Some(one) = sound {
            return example(document, one);
        }
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kinds {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("string") if schema["format"] == "date-time" => json!("2024-01-01T00:00:00Z"),
        Some("string") => json!("because it is tested"),
        Some("array") => json!([example(document, &schema["items"])]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let members = required.map(|name| (name.to_owned(), example(document, &schema["properties"][name])));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}
