use serde_json::{Value, json};

use super::*;
use crate::schema::columns::{Columns, columns};
use crate::schema::{Language, Schema};

fn types(schema: &Value) -> Result<Types, AvroError> {
    Types::parse(&schema.to_string(), &[])
}

fn record(fields: &[(&str, Value)]) -> Value {
    let fields: Vec<_> = fields.iter().map(|(name, of)| json!({"name": name, "type": of})).collect();
    json!({"type": "record", "name": "Order", "namespace": "shop", "fields": fields})
}

fn columns_of(schema: &Value) -> Columns {
    let read = |_: &std::path::Path| Ok(schema.to_string().into_bytes());
    let schema = Schema::load(&Language::Avro, std::path::Path::new("/o.v1.avsc"), "o", 1, &read).expect("a schema");
    columns(&schema).expect("columns")
}

fn column(of: Value) -> String {
    let columns = columns_of(&record(&[("x", of)]));
    let field = &columns.fields[0];
    let json = if field.metadata().contains_key(crate::column::JSON_KEY) { " (JSON)" } else { "" };
    format!("{}{json}", field.data_type())
}

#[test]
fn every_type_has_the_column_that_the_guide_says() {
    for (of, expected) in [
        (json!("boolean"), "Boolean"),
        (json!("int"), "Int64"),
        (json!("long"), "Int64"),
        (json!("float"), "Float64"),
        (json!("double"), "Float64"),
        (json!("bytes"), "Utf8"),
        (json!("string"), "Utf8"),
        (json!({"type": "fixed", "name": "F", "size": 4}), "Utf8"),
        (json!({"type": "enum", "name": "E", "symbols": ["A", "B"]}), "Utf8"),
        (json!(["null", "long"]), "Int64"),
        (json!({"type": "map", "values": "long"}), "Utf8 (JSON)"),
        (json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}), "Decimal128(9, 2)"),
        (json!({"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}), "Utf8"),
        (json!({"type": "int", "logicalType": "date"}), "Date32"),
        (json!({"type": "int", "logicalType": "time-millis"}), "Utf8"),
        (json!({"type": "long", "logicalType": "timestamp-millis"}), "Timestamp(µs, \"UTC\")"),
        (json!({"type": "long", "logicalType": "timestamp-micros"}), "Timestamp(µs, \"UTC\")"),
        (json!({"type": "long", "logicalType": "timestamp-nanos"}), "Timestamp(µs, \"UTC\")"),
        (json!({"type": "long", "logicalType": "local-timestamp-micros"}), "Utf8"),
        (json!({"type": "string", "logicalType": "uuid"}), "Utf8"),
    ] {
        assert_eq!(column(of.clone()), expected, "{of}");
    }
}

#[test]
fn records_arrays_and_unions_become_structs_and_lists() {
    let line = record(&[("sku", json!("string"))]);
    let schema = json!({"type": "record", "name": "Basket", "fields": [
        {"name": "lines", "type": {"type": "array", "items": line}},
        {"name": "first", "type": ["null", "shop.Order"]},
        {"name": "either", "type": ["null", "long", "string", "shop.Order"]},
    ]});
    let columns = columns_of(&schema);
    let told: Vec<_> = columns.reasons.iter().map(|reason| reason.column.as_str()).collect();
    assert_eq!(
        told,
        [
            "lines",
            "lines[]",
            "lines[].sku",
            "first",
            "first.sku",
            "either",
            "either.long",
            "either.string",
            "either.Order",
            "either.Order.sku"
        ]
    );
}

#[test]
fn a_type_that_holds_itself_ends_in_json_text_or_is_refused() {
    let node = json!({"type": "record", "name": "Node", "fields": [
        {"name": "value", "type": "long"}, {"name": "next", "type": ["null", "Node"]}]});
    let told: Vec<_> = columns_of(&node).reasons.into_iter().map(|reason| (reason.column, reason.sentence)).collect();
    assert!(told[1].0 == "next" && told[1].1.contains("refers to itself"), "{told:?}");

    let endless = json!({"type": "record", "name": "Node", "fields": [{"name": "next", "type": "Node"}]});
    assert!(matches!(types(&endless), Err(AvroError::Endless)));
}

#[test]
fn what_is_no_schema_of_a_record_is_refused() {
    assert!(matches!(types(&json!("long")), Err(AvroError::NoRecord)));
    assert!(matches!(types(&json!({"type": "record"})), Err(AvroError::Invalid(_))));
    assert!(matches!(types(&record(&[("x", json!("elsewhere.Type"))])), Err(AvroError::Invalid(_))));
    let elsewhere = json!({"type": "enum", "name": "Type", "namespace": "elsewhere", "symbols": ["A"]}).to_string();
    let found = Types::parse(&record(&[("x", json!("elsewhere.Type"))]).to_string(), &[elsewhere]).expect("a schema");
    assert_eq!(found.names.len(), 2);
}

#[test]
fn the_canonical_form_is_that_of_the_specification() {
    let schema = json!({"type": "record", "name": "Order", "namespace": "shop", "doc": "An order", "fields": [
        {"name": "id", "doc": "Its id", "type": {"type": "string"}},
        {"name": "tax", "type": {"type": "fixed", "size": 6, "name": "Tax", "logicalType": "decimal", "precision": 9}},
        {"name": "more", "default": null, "type": ["null", "Tax", {"type": "map", "values": "Order"}]},
        {"name": "state", "type": {"type": "enum", "name": "other.State", "symbols": ["A", "B"], "default": "A"}}]});
    let expected = r#"{"name":"shop.Order","type":"record","fields":[{"name":"id","type":"string"},{"name":"tax","type":{"name":"shop.Tax","type":"fixed","size":6}},{"name":"more","type":["null","shop.Tax",{"type":"map","values":"shop.Order"}]},{"name":"state","type":{"name":"other.State","type":"enum","symbols":["A","B"]}}]}"#;
    assert_eq!(canonical::of(&types(&schema).expect("a schema")), expected);
}

#[test]
fn the_fingerprint_is_that_of_the_specification() {
    // Of the canonical form `"null"` the specification's own code gives 0x63dd24e7cc258f8a.
    assert_eq!(u64::from_le_bytes(canonical::rabin("\"null\"")), 0x63dd_24e7_cc25_8f8a);
}

#[test]
fn sensitive_fields_are_masked_as_those_of_json() {
    let schema = json!({"type": "record", "name": "Order", "fields": [
        {"name": "card", "type": ["null", "string"], "x-parqueduct-sensitive": true, "doc": "The number"},
        {"name": "open", "type": "string"}]});
    let of = types(&schema).expect("a schema").json_schema();
    assert_eq!(of["$defs"]["Order"]["properties"]["card"][SENSITIVE], true);
    assert_eq!(of["$defs"]["Order"]["properties"]["card"]["description"], "The number");
    assert!(of["$defs"]["Order"]["properties"]["open"].get(SENSITIVE).is_none());
}

#[test]
fn logical_types_do_not_change_the_fingerprint() {
    let of = |when: Value| types(&record(&[("at", when)])).expect("a schema").fingerprint();
    let plain = of(json!("long"));
    assert_eq!(of(json!({"type": "long", "logicalType": "timestamp-millis"})), plain);
    assert_eq!(of(json!({"type": "long"})), plain);
    let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2});
    assert_eq!(of(decimal), of(json!("bytes")));
    assert_ne!(of(json!("int")), plain);
}
