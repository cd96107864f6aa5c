use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::Language;
use crate::schema::columns::columns;

fn schema(language: &Language, text: &Value) -> Schema {
    let read = |_: &Path| Ok(text.to_string().into_bytes());
    Schema::load(language, Path::new("/schemas/order.v1.json"), "order", 1, &read).expect("a schema")
}

fn compared(language: &Language, old: &Value, new: &Value) -> Comparison {
    let (old, new) = (schema(language, old), schema(language, new));
    let (old_columns, new_columns) = (columns(&old).expect("columns"), columns(&new).expect("columns"));
    Comparison::of((&old, &old_columns), (&new, &new_columns)).expect("references lead somewhere")
}

fn verdicts(old: &Value, new: &Value) -> (Verdict, Verdict, Consequence) {
    let comparison = compared(&Language::JsonSchema, old, new);
    (comparison.backward(), comparison.forward(), comparison.consequence())
}

fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

fn open(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[test]
fn each_change_has_its_verdicts() {
    use Consequence::{NewMajor, OtherColumns, SameColumns};
    use Verdict::{CannotTell, No, Yes};
    let (text, integer, number) = (json!({"type": "string"}), json!({"type": "integer"}), json!({"type": "number"}));
    let one = |of: Value| open(json!({"a": of}), &[]);
    for (what, old, new, expected) in [
        ("nothing", one(text.clone()), one(text.clone()), (Yes, Yes, SameColumns)),
        (
            "an optional field, open",
            one(text.clone()),
            open(json!({"a": text, "b": text}), &[]),
            (Yes, Yes, OtherColumns),
        ),
        (
            "an optional field, closed",
            closed(json!({"a": text}), &[]),
            closed(json!({"a": text, "b": text}), &[]),
            (Yes, No, OtherColumns),
        ),
        ("a required field", one(text.clone()), open(json!({"a": text, "b": text}), &["b"]), (No, Yes, OtherColumns)),
        (
            "a field less, closed",
            closed(json!({"a": text, "b": text}), &[]),
            closed(json!({"a": text}), &[]),
            (No, Yes, OtherColumns),
        ),
        ("another type", one(text.clone()), one(integer.clone()), (No, No, NewMajor)),
        ("a wider type", one(integer.clone()), one(number.clone()), (Yes, No, NewMajor)),
        ("null, too", one(text.clone()), one(json!({"type": ["string", "null"]})), (Yes, No, SameColumns)),
        (
            "null, too, as an alternative",
            one(text.clone()),
            one(json!({"anyOf": [{"type": "null"}, text]})),
            (Yes, No, SameColumns),
        ),
        ("one value less", one(json!({"enum": ["x", "y"]})), one(json!({"enum": ["x"]})), (No, Yes, SameColumns)),
        ("values at all", one(text.clone()), one(json!({"type": "string", "enum": ["x"]})), (No, Yes, SameColumns)),
        ("a bound", one(integer.clone()), one(json!({"type": "integer", "minimum": 0})), (No, Yes, SameColumns)),
        (
            "a wider bound",
            one(json!({"type": "integer", "maximum": 9})),
            one(json!({"type": "integer", "maximum": 99})),
            (Yes, No, SameColumns),
        ),
        ("a format", one(text.clone()), one(json!({"type": "string", "format": "uuid"})), (No, Yes, SameColumns)),
        (
            "a pattern",
            one(json!({"type": "string", "pattern": "^a"})),
            one(json!({"type": "string", "pattern": "^b"})),
            (CannotTell, CannotTell, SameColumns),
        ),
        ("closing", one(text.clone()), closed(json!({"a": text}), &[]), (No, Yes, SameColumns)),
        (
            "elements",
            one(json!({"type": "array", "items": text})),
            one(json!({"type": "array", "items": integer})),
            (No, No, NewMajor),
        ),
        (
            "a description",
            one(text.clone()),
            one(json!({"type": "string", "description": "A"})),
            (Yes, Yes, SameColumns),
        ),
    ] {
        assert_eq!(verdicts(&old, &new), expected, "{what}: {:#?}", compared(&Language::JsonSchema, &old, &new));
    }
}

#[test]
fn findings_say_where_and_what() {
    let old = closed(json!({"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}}), &[]);
    let with = |line: Value| {
        let mut schema = old.clone();
        schema["$defs"] = json!({"line": line});
        schema
    };
    let found = compared(
        &Language::JsonSchema,
        &with(closed(json!({"sku": {"type": "string"}, "next": {"$ref": "#/$defs/line"}}), &[])),
        &with(closed(json!({"sku": {"type": ["string", "integer"]}, "next": {"$ref": "#/$defs/line"}}), &["sku"])),
    );
    let told: Vec<_> = found.backward.iter().map(|finding| format!("{} {}", finding.path, finding.sentence)).collect();
    assert_eq!(told, ["/lines/[*]/sku is required"]);
    let told: Vec<_> = found.forward.iter().map(|finding| format!("{} {}", finding.path, finding.sentence)).collect();
    assert_eq!(told, ["/lines/[*]/sku integer is not accepted"]);
    let kind = ChangeKind::Type { from: "Utf8".to_owned(), to: "JSON text".to_owned() };
    assert_eq!(found.storage, [ColumnChange { column: "lines[].sku".to_owned(), kind }]);
}

#[test]
fn avro_is_compared_by_the_values_it_makes() {
    let order = |fields: Value| json!({"type": "record", "name": "Order", "fields": fields});
    let id = json!({"name": "id", "type": "string"});
    let old = order(json!([id]));
    let note = order(json!([id, {"name": "note", "type": ["null", "string"], "default": null}]));
    let found = compared(&Language::Avro, &old, &note);
    assert_eq!(found.consequence(), Consequence::OtherColumns);
    let when = |of: &str| order(json!([{"name": "at", "type": {"type": "long", "logicalType": of}}]));
    let found = compared(&Language::Avro, &when("timestamp-millis"), &when("local-timestamp-millis"));
    assert_eq!(found.consequence(), Consequence::NewMajor);
}

/// Small schemas of what is looked at.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["string", "integer", "number", "boolean", "null"]).prop_map(|of| json!({"type": of})),
        Just(json!({"type": ["integer", "null"]})),
        (0..3_i64).prop_map(|least| json!({"type": "integer", "minimum": least})),
        Just(json!({"enum": ["a", 1]})),
        Just(json!({})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let properties = prop::collection::btree_map(prop::sample::select(vec!["a", "b"]), inner.clone(), 0..3);
        prop_oneof![
            (properties, any::<bool>(), any::<bool>()).prop_map(|(properties, is_open, is_required)| {
                let required: Vec<_> = properties.keys().take(usize::from(is_required)).cloned().collect();
                json!({"type": "object", "properties": properties, "additionalProperties": is_open, "required": required})
            }),
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            (inner.clone(), inner).prop_map(|(one, other)| json!({"anyOf": [one, other]})),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf =
        prop::sample::select(vec![json!(null), json!(true), json!(0), json!(1), json!(2.5), json!("a"), json!("b")]);
    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|elements| json!(elements)),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), inner, 0..3)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// Whether objects within allow names that they do not declare: what those names may be is not compared.
fn allows_others(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            (members.is_empty() || members.get("additionalProperties") == Some(&Value::Bool(true)))
                || members.values().any(allows_others)
        }
        Value::Array(elements) => elements.iter().any(allows_others),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::with_cases(1_000) })]

    /// "Compatible" is never said of a schema that refuses an event of the other.
    #[test]
    fn what_is_called_compatible_accepts_every_event(
        old in any_schema(),
        new in any_schema(),
        values in prop::collection::vec(any_value(), 16),
    ) {
        prop_assume!(!allows_others(&old));
        let wrap = |of: &Value| json!({"type": "object", "properties": {"x": of}});
        let found = compared(&Language::JsonSchema, &wrap(&old), &wrap(&new));
        if found.backward() == Verdict::Yes {
            let (was, is) = (jsonschema::validator_for(&old).unwrap(), jsonschema::validator_for(&new).unwrap());
            for value in values.iter().filter(|value| was.is_valid(value)) {
                prop_assert!(is.is_valid(value), "{value} passes {old} and not {new}");
            }
        }
        let same = compared(&Language::JsonSchema, &wrap(&new), &wrap(&new));
        prop_assert_eq!((same.backward(), same.forward()), (Verdict::Yes, Verdict::Yes));
    }
}
