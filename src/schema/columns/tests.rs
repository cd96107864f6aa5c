//! Which columns which schema gives, rule by rule, and that a column takes whatever its schema accepts.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::Language;

fn columns_of(schema: &serde_json::Value) -> Columns {
    try_columns_of(schema).expect("the schema gives columns")
}

fn try_columns_of(schema: &serde_json::Value) -> Result<Columns, ColumnsError> {
    let text = schema.to_string();
    let read = |_: &Path| Ok(text.clone().into_bytes());
    let schema = Schema::load(&Language::JsonSchema, Path::new("/schemas/test.v1.json"), "test", 1, &read)
        .expect("the schema is a valid one");
    columns(&schema)
}

/// A short text for a type: `json` where a text column is marked so.
fn brief(field: &Field) -> String {
    match field.data_type() {
        _ if field.metadata().contains_key(column::JSON_KEY) => "json".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Int64 => "int".to_owned(),
        DataType::Float64 => "float".to_owned(),
        DataType::Utf8 => "text".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => "time".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(element) => format!("[{}]", brief(element)),
        DataType::Struct(fields) => format!("{{{}}}", briefs(fields)),
        other => panic!("no column has type {other}"),
    }
}

fn briefs(fields: &Fields) -> String {
    fields.iter().map(|field| format!("{} {}", field.name(), brief(field))).collect::<Vec<_>>().join(", ")
}

/// The columns of an object schema with one property `x`.
fn of(property: serde_json::Value) -> String {
    let columns = columns_of(&json!({"type": "object", "properties": {"x": property}}));
    briefs(&columns.fields).strip_prefix("x ").expect("the column is named x").to_owned()
}

#[test]
fn plain_types_become_plain_columns() {
    for (schema, expected) in [
        (json!({"type": "boolean"}), "bool"),
        (json!({"type": "integer"}), "int"),
        (json!({"type": "number"}), "float"),
        (json!({"type": "string"}), "text"),
        (json!({"type": ["string", "null"]}), "text"),
        (json!({"type": ["integer", "number"]}), "float"),
        (json!({"type": "string", "format": "date-time"}), "time"),
        (json!({"type": ["null", "string"], "format": "date"}), "date"),
        (json!({"type": "string", "format": "uuid"}), "text"),
        (json!({"type": "string", "contentEncoding": "base64"}), "text"),
        (json!({"enum": ["a", "b", null]}), "text"),
        (json!({"enum": [1, 2.0]}), "int"),
        (json!({"enum": [1, 2.5]}), "float"),
        (json!({"const": true}), "bool"),
    ] {
        assert_eq!(of(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn what_has_no_one_type_is_json_text() {
    for schema in [
        json!({}),
        json!(true),
        json!({"type": ["string", "integer"]}),
        json!({"enum": ["a", 1]}),
        json!({"type": "null"}),
        json!({"type": "object"}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}}),
        json!({"type": "object", "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": false}),
        json!({"type": "array"}),
        json!({"type": "array", "items": {"type": "object"}}),
        json!({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}),
        json!({"type": "array", "items": {"type": ["string", "integer"]}}),
        json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        json!({"properties": {"a": {"type": "string"}}, "additionalProperties": false}),
    ] {
        assert_eq!(of(schema.clone()), "json", "{schema}");
    }
}

#[test]
fn closed_objects_become_structs_and_their_arrays_lists() {
    let item = json!({"type": "object", "additionalProperties": false,
        "properties": {"sku": {"type": "string"}, "counts": {"type": "array", "items": {"type": "integer"}}, "any": {}}});
    assert_eq!(of(item.clone()), "{sku text, counts [int], any json}");
    assert_eq!(of(json!({"type": "array", "items": item})), "[{sku text, counts [int], any json}]");
    assert_eq!(
        of(json!({"type": "object", "properties": {"a": {"type": "string"}}, "unevaluatedProperties": false,
            "anyOf": [{"properties": {"b": {"type": "integer"}}}, {"required": ["a"]}]})),
        "{a text, b int}"
    );
}

#[test]
fn an_object_that_asks_for_it_is_a_struct_of_what_it_declares() {
    let open = |more: serde_json::Value| {
        let mut schema =
            json!({"type": "object", "x-parqueduct-struct": true, "properties": {"a": {"type": "integer"}}});
        schema.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        schema
    };
    assert_eq!(of(open(json!({}))), "{a int}");
    assert_eq!(of(json!({"type": "array", "items": open(json!({"type": ["object", "null"]}))})), "[{a int}]");
    assert_eq!(of(json!({"allOf": [open(json!({})), {"properties": {"b": {"type": "string"}}}]})), "{a int, b text}");
    assert_eq!(of(json!({"anyOf": [open(json!({})), {"type": "object"}]})), "json");
    assert_eq!(of(open(json!({"additionalProperties": {"type": "string"}}))), "json", "a map");
    assert_eq!(of(open(json!({"x-parqueduct-struct": false}))), "json");
}

#[test]
fn decimals_are_asked_for_with_a_format_and_a_scale() {
    for (schema, expected) in [
        (json!({"type": "number", "format": "decimal", "scale": 2}), "decimal(38,2)"),
        (json!({"type": "string", "format": "decimal", "precision": 18, "scale": 4}), "decimal(18,4)"),
        (json!({"type": ["number", "null"], "format": "decimal", "multipleOf": 0.01}), "decimal(38,2)"),
        (json!({"type": ["number", "string"], "format": "decimal", "multipleOf": 1}), "decimal(38,0)"),
        (json!({"type": "number", "format": "decimal"}), "float"),
        (json!({"type": "string", "format": "decimal", "precision": 39, "scale": 1}), "text"),
        (json!({"type": "number", "multipleOf": 0.01}), "float"),
    ] {
        assert_eq!(of(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn alternatives_of_one_type_keep_it() {
    assert_eq!(of(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]})), "int");
    assert_eq!(of(json!({"oneOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]})), "time");
    assert_eq!(of(json!({"oneOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]})), "text");
    assert_eq!(of(json!({"allOf": [{"type": "number"}, {"type": "integer"}]})), "int");
    assert_eq!(of(json!({"type": "number", "anyOf": [{"minimum": 3}, {"const": 0}]})), "float");
}

#[test]
fn a_root_of_branches_gives_the_union_of_their_properties() {
    let columns = columns_of(&json!({
        "type": "object",
        "properties": {"kind": {"type": "string"}, "any": {}},
        "oneOf": [
            {"properties": {"kind": {"const": "a"}, "size": {"type": "integer"}, "both": {"type": "integer"}}},
            {"properties": {"kind": {"const": "b"}, "name": {"type": "string"}, "both": {"type": "string"}, "any": {"type": "string"}}},
            {"$ref": "#/$defs/c"},
        ],
        "if": {"properties": {"kind": {"const": "c"}, "tested": {"type": "boolean"}}},
        "then": {"properties": {"conditional": {"type": "number"}}},
        "allOf": [{"properties": {"always": {"type": "boolean"}}}],
        "$defs": {"c": {"properties": {"at": {"type": "string", "format": "date-time"}}}},
    }));
    assert_eq!(
        briefs(&columns.fields),
        "kind text, any json, always bool, size int, both json, name text, at time, conditional float"
    );
    let sentence =
        |name: &str| &columns.reasons.iter().find(|reason| reason.column == name).expect("a reason").sentence;
    assert!(sentence("size").contains("some branches") && !sentence("kind").contains("some branches"));
}

#[test]
fn a_branch_never_narrows_what_the_schema_leaves_open_beside_it() {
    // `payload` is an object in one case and a string in the other: neither may decide for both.
    let columns = columns_of(&json!({
        "type": "object",
        "properties": {"kind": {"type": "string"}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"properties": {"payload": {"type": "integer"}}}},
            {"if": {"properties": {"kind": {"const": "b"}}}, "then": {"properties": {"payload": {"type": "string"}}}},
        ],
    }));
    assert_eq!(briefs(&columns.fields), "kind text, payload json");
}

#[test]
fn references_are_followed_and_recursion_ends_in_json_text() {
    let columns = columns_of(&json!({
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/node"}, "price": {"$ref": "#/$defs/price", "minimum": 0}},
        "$defs": {
            "price": {"type": "number"},
            "node": {"type": "object", "additionalProperties": false,
                "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}},
        },
    }));
    assert_eq!(briefs(&columns.fields), "tree {value int, next json, children json}, price float");
    let next = columns.reasons.iter().find(|reason| reason.column == "tree.next").expect("a reason");
    assert!(next.sentence.contains("refers to itself"), "{}", next.sentence);
}

#[test]
fn up_to_draft_7_nothing_beside_a_reference_counts() {
    let schema = |dialect: &str| {
        json!({"$schema": dialect, "type": "object", "definitions": {"any": {}},
            "properties": {"x": {"$ref": "#/definitions/any", "type": "string"}}})
    };
    let old = columns_of(&schema("http://json-schema.org/draft-07/schema#"));
    let new = columns_of(&schema("https://json-schema.org/draft/2020-12/schema"));
    assert_eq!((briefs(&old.fields), briefs(&new.fields)), ("x json".to_owned(), "x text".to_owned()));
}

#[test]
fn what_nests_too_deep_is_json_text() {
    let mut schema = json!({"type": "string"});
    for _ in 0..12 {
        schema = json!({"type": "object", "additionalProperties": false, "properties": {"x": schema}});
    }
    let text = briefs(&columns_of(&schema).fields);
    assert_eq!(text.matches('{').count(), NESTING_MAX - 1);
    assert!(text.contains("{x json}"), "{text}");
}

#[test]
fn a_schema_whose_references_multiply_is_not_followed_for_ever() {
    let mut definitions = serde_json::Map::new();
    for number in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", number + 1)});
        definitions.insert(format!("d{number}"), json!({"allOf": [next, next], "anyOf": [next, next]}));
    }
    definitions.insert("d40".to_owned(), json!({"type": "string"}));
    let columns = columns_of(&json!({"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": definitions}));
    assert_eq!(columns.fields.len(), 1);
}

#[test]
fn names_that_trip_engines_or_are_taken_are_mended() {
    let string = json!({"type": "string"});
    let columns = columns_of(&json!({"properties": {
        "a.b": string, "date": string, "_Queue": string, "_mine": string,
        "inner": {"type": "object", "additionalProperties": false, "properties": {"date": string, "c.d": string}}}}));
    assert_eq!(briefs(&columns.fields), "a_b text, date_ text, _Queue_ text, _mine text, inner {date text, c_d text}");
    assert_eq!(columns.fields[0].metadata()[column::PROPERTY_KEY], "a.b");
    assert!(!columns.fields[3].metadata().contains_key(column::PROPERTY_KEY));
}

#[test]
fn names_that_differ_only_by_case_are_an_error_at_the_top_and_json_text_below() {
    let string = json!({"type": "string"});
    let error = try_columns_of(&json!({"properties": {"Id": string, "id": string}})).expect_err("names clash");
    assert!(error.to_string().contains("\"Id\" and \"id\""), "{error}");
    try_columns_of(&json!({"properties": {"a.b": string, "a_b": string}})).expect_err("mended names clash");
    let inner = json!({"type": "object", "additionalProperties": false, "properties": {"Id": string, "id": string}});
    assert_eq!(of(inner), "json");
}

#[test]
fn field_ids_are_of_the_path_and_do_not_move() {
    let string = json!({"type": "string"});
    let items = json!({"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {"a": string}}});
    let one = columns_of(&json!({"properties": {"x": string, "items": items}}));
    let other = columns_of(&json!({"properties": {"new": string, "items": items, "x": string}}));
    let id = |columns: &Columns, name: &str| {
        let (_, field) = columns.fields.find(name).expect("the column");
        field.metadata()[column::FIELD_ID_KEY].clone()
    };
    assert_eq!(id(&one, "x"), id(&other, "x"));
    assert_eq!(one.fields.find("items").expect("the column").1, other.fields.find("items").expect("the column").1);
    let paths: Vec<_> = one.reasons.iter().map(|reason| reason.path.as_str()).collect();
    assert_eq!(paths, ["/x", "/items", "/items/[*]", "/items/[*]/a"]);
}

#[test]
fn every_column_may_be_null_and_has_an_id_and_a_reason() {
    fn check(fields: &Fields) -> usize {
        fields
            .iter()
            .map(|field| {
                assert!(field.is_nullable() && field.metadata().contains_key(column::FIELD_ID_KEY), "{field}");
                1 + match field.data_type() {
                    DataType::Struct(members) => check(members),
                    DataType::List(element) => check(&vec![element.clone()].into()),
                    _ => 0,
                }
            })
            .sum()
    }
    let columns = columns_of(
        &json!({"properties": {"a": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "b": {"type": "object", "additionalProperties": false, "properties": {"c": {"type": "number"}}}}}),
    );
    assert_eq!(check(&columns.fields), columns.reasons.len());
    assert!(columns.reasons.iter().all(|reason| !reason.sentence.is_empty()));
}

#[test]
fn too_many_columns_are_an_error() {
    let properties: serde_json::Map<_, _> =
        (0..=COLUMNS_MAX).map(|number| (format!("p{number}"), json!({"type": "string"}))).collect();
    assert!(matches!(try_columns_of(&json!({"properties": properties})), Err(ColumnsError::TooMany)));
}

#[test]
fn a_property_that_is_forbidden_has_no_column() {
    assert_eq!(briefs(&columns_of(&json!({"properties": {"gone": false, "x": {"type": "string"}}})).fields), "x text");
}

/// A random schema for one value, built of what columns look at.
fn schema() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        prop::sample::select(vec!["string", "integer", "number", "boolean", "null", "object", "array"])
            .prop_map(|name| json!({"type": name})),
        prop::sample::select(vec![json!(1), json!(2.5), json!("a"), json!(null), json!(true)])
            .prop_map(|value| json!({"const": value})),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let name = || prop::sample::select(vec!["a", "b", "c"]);
        let properties = prop::collection::btree_map(name(), inner.clone(), 0..3);
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            (properties.clone(), any::<bool>()).prop_map(|(properties, open)| {
                json!({"type": "object", "properties": properties, "additionalProperties": open})
            }),
            (properties, any::<bool>()).prop_map(|(properties, open)| {
                json!({"type": "object", "properties": properties, "unevaluatedProperties": open})
            }),
            (prop::sample::select(vec!["allOf", "anyOf", "oneOf"]), prop::collection::vec(inner.clone(), 1..3))
                .prop_map(|(keyword, branches)| json!({keyword: branches})),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(test, then, otherwise)| { json!({"if": test, "then": then, "else": otherwise}) }),
        ]
    })
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop::sample::select(vec![json!(1), json!(2.5), json!("a"), json!(null), json!(true)]);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|elements| json!(elements)),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), inner, 0..3)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// Whether a column of that type takes the value.
fn takes(field: &Field, value: &serde_json::Value) -> bool {
    match field.data_type() {
        _ if value.is_null() || field.metadata().contains_key(column::JSON_KEY) => true,
        DataType::Boolean => value.is_boolean(),
        DataType::Int64 => value.is_i64(),
        DataType::Float64 => value.is_number(),
        DataType::Utf8 => value.is_string(),
        DataType::List(element) => {
            value.as_array().is_some_and(|elements| elements.iter().all(|value| takes(element, value)))
        }
        DataType::Struct(members) => {
            value.is_object()
                && members.iter().all(|member| value.get(member.name()).is_none_or(|value| takes(member, value)))
        }
        other => panic!("no column has type {other}"),
    }
}

/// Whether any column within holds only in some branches, so that it may refuse valid events.
fn sure(columns: &Columns) -> bool {
    !columns.reasons.iter().any(|reason| reason.sentence.contains("some branches"))
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_column_takes_every_value_its_schema_accepts(schema in schema(), values in prop::collection::vec(value(), 8)) {
        let validator = jsonschema::validator_for(&schema).expect("a valid schema");
        let columns = columns_of(&json!({"type": "object", "properties": {"x": schema}}));
        if let Some(field) = columns.fields.first().filter(|_| sure(&columns)) {
            for value in values.iter().filter(|value| validator.is_valid(value)) {
                prop_assert!(takes(field, value), "{} does not take {value}", brief(field));
            }
        }
    }
}
