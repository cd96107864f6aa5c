//! What a schema loads, what an event is told it broke, and in which words.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::*;
use crate::decode::{JsonDecoder, Limits};
use crate::rejection::{Code, Issue, Rejection};

fn load(files: &[(&str, Json)]) -> Result<Schema, SchemaError> {
    let texts: HashMap<_, _> =
        files.iter().map(|(path, json)| (Path::new(*path), json.to_string().into_bytes())).collect();
    let read = |path: &Path| texts.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
    Schema::load(&Language::JsonSchema, Path::new(files[0].0), "order", 3, &read)
}

fn schema(root: Json) -> Schema {
    load(&[("dir/order.json", root)]).expect("a valid schema")
}

fn check_with(schema: &Schema, issues_max: usize, body: &str) -> Result<(), Rejection> {
    let validator = schema.validator(issues_max).expect("a usable schema");
    let mut decoder = JsonDecoder::new(Limits { body_bytes_max: 1 << 24, depth_max: 64 });
    decoder.decode(body.as_bytes(), |tape| validator.check(tape.root())).expect("JSON")
}

fn check(schema: &Schema, body: &str) -> Result<(), Rejection> {
    check_with(schema, 100, body)
}

fn issues(root: Json, body: &str) -> Vec<Issue> {
    check(&schema(root), body).expect_err("an invalid event").issues().to_vec()
}

/// `code path (instance path): expected -> actual`
fn said(issues: &[Issue]) -> Vec<String> {
    let say = |issue: &Issue| {
        let Issue { code, path, instance_path, expected, actual, .. } = issue;
        let code = code.as_str().strip_prefix("validate.").expect("a validation code");
        match path == instance_path {
            true => format!("{code} {path}: {expected} -> {actual}"),
            false => format!("{code} {path} ({instance_path}): {expected} -> {actual}"),
        }
    };
    issues.iter().map(say).collect()
}

#[test]
fn a_schema_has_a_label_and_a_hash_that_white_space_order_and_place_do_not_change() {
    let schema = schema(
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}}),
    );
    assert_eq!(schema.label(), "order@3");
    let read = |_: &Path| {
        Ok(br##"{"$defs": {"b" : {"type":"string"}}, "properties":{"a":{"$ref":"#/$defs/b"}},"type":"object"}"##
            .to_vec())
    };
    let same =
        Schema::load(&Language::JsonSchema, Path::new("/elsewhere/x.json"), "order", 4, &read).expect("a valid schema");
    assert_eq!(schema.hash(), same.hash());
    assert_eq!(schema.hash().len(), 64);
    let other = self::schema(
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "number"}}}),
    );
    assert_ne!(schema.hash(), other.hash());
}

#[test]
fn references_lead_to_local_files_by_relative_path_by_id_and_in_circles() {
    let files = [
        (
            "schemas/order.json",
            json!({
                "$id": "https://example.com/schemas/order.json",
                "properties": {
                    "line": {"$ref": "parts/line.json"},
                    "price": {"$ref": "https://example.com/schemas/money.json#/$defs/amount"}
                }
            }),
        ),
        (
            "schemas/parts/line.json",
            json!({
                "properties": {"next": {"$ref": "line.json"}, "price": {"$ref": "../money.json#/$defs/amount"}}
            }),
        ),
        ("schemas/money.json", json!({"$defs": {"amount": {"type": "integer"}}})),
    ];
    let schema = load(&files).expect("a valid schema");
    assert_eq!(check(&schema, r#"{"line":{"next":{"price":1}},"price":2}"#), Ok(()));
    let rejection =
        check(&schema, r#"{"line":{"next":{"next":{"price":1.5}}},"price":"2"}"#).expect_err("wrong prices");
    assert_eq!(
        said(rejection.issues()),
        ["type /line/next/next/price: integer -> number", "type /price: integer -> string",]
    );
    // The column builder follows the same references.
    let line = schema.root().keyword("properties").and_then(|properties| properties.get("line")).expect("declared");
    let line = schema.root().child(line).follow("parts/line.json").expect("loaded");
    let price = line.keyword("properties").and_then(|properties| properties.get("price")).expect("declared");
    let reference = price["$ref"].as_str().expect("a reference");
    assert_eq!(line.child(price).follow(reference).expect("loaded").value(), &json!({"type": "integer"}));
    let next = line.keyword("properties").and_then(|properties| properties.get("next")).expect("declared");
    assert!(line.child(next).follow("line.json").expect("loaded").is(&line));
}

#[test]
fn what_makes_a_schema_unusable_is_said_with_file_and_place_and_what_to_do() {
    let message = |files: &[(&str, Json)]| match load(files).and_then(|schema| schema.validator(1)) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        message(&[("a.json", json!({"properties": {"x": {"$ref": "https://example.com/x.json#/y"}}}))]),
        "schema a.json refers to \"https://example.com/x.json\", and nothing is fetched over the network: save it as a file \
         beside the schema and refer to it by its relative path"
    );
    assert_eq!(
        message(&[("dir/a.json", json!({"$ref": "b.json"}))]),
        "schema dir/a.json refers to \"dir/b.json\", looked for at dir/b.json, which cannot be read"
    );
    assert_eq!(
        message(&[("a.json", json!({"$ref": "#/$defs/none"}))]),
        "schema a.json has a reference that leads nowhere: Pointer '/$defs/none' does not exist"
    );
    assert_eq!(
        message(&[("a.json", json!({"properties": {"x": {"type": "text"}}}))]),
        "schema a.json is no valid schema at \"/properties/x/type\": \"text\" is not valid under any of the schemas listed in the \
         'anyOf' keyword"
    );
    assert_eq!(
        message(&[("a.json", json!({"$ref": "b.json"})), ("b.json", json!({"minimum": "1"}))]),
        "schema b.json is no valid schema at \"/minimum\": \"1\" is not of type \"number\""
    );
    assert!(message(&[("a.json", json!({"properties": {"x": {"pattern": "("}}}))]).contains("/properties/x/pattern"));
    assert!(message(&[("a.json", json!({"$schema": "https://example.com/my-draft"}))]).contains("unknown \"$schema\""));
    let not_json =
        Schema::load(&Language::JsonSchema, Path::new("a.json"), "a", 1, &|_| Ok(b"{".to_vec())).expect_err("not JSON");
    assert_eq!(not_json.to_string(), "schema a.json is not JSON");
}

#[test]
fn each_draft_is_judged_by_its_own_rules() {
    let with = |dialect: &str, rest: Json| {
        let mut root = rest;
        root["$schema"] = dialect.into();
        schema(json!({"properties": {"x": root.clone()}, "$schema": dialect}))
    };
    let draft4 = with(
        "http://json-schema.org/draft-04/schema#",
        json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
    );
    assert!(check(&draft4, r#"{"x":2}"#).is_ok() && check(&draft4, r#"{"x":1}"#).is_err());
    assert!(check(&draft4, r#"{"x":2.0}"#).is_err(), "2.0 is not written as an integer");
    let draft7 = with("http://json-schema.org/draft-07/schema#", json!({"type": "integer", "exclusiveMinimum": 1}));
    assert!(check(&draft7, r#"{"x":2.0}"#).is_ok() && check(&draft7, r#"{"x":1}"#).is_err());
    for dialect in ["http://json-schema.org/draft-06/schema#", "https://json-schema.org/draft/2019-09/schema"] {
        assert!(check(&with(dialect, json!({"const": 1})), r#"{"x":2}"#).is_err(), "{dialect}");
    }
}

#[test]
fn formats_are_asserted_and_unknown_ones_are_warned_of() {
    let schema = schema(json!({"properties": {
        "at": {"type": "string", "format": "date-time"},
        "n": {"type": "integer", "format": "int32"},
        "format": {"type": "string"}
    }}));
    assert_eq!(
        schema.warnings(),
        ["dir/order.json at \"/properties/n\": format \"int32\" is not known, so nothing checks it"]
    );
    assert_eq!(check(&schema, r#"{"at":"2013-01-01T10:15:00Z","n":1,"format":"x"}"#), Ok(()));
    let rejection = check(&schema, r#"{"at":"2013-01-01 10:15"}"#).expect_err("no date-time");
    assert_eq!(said(rejection.issues()), ["format /at: date-time -> string"]);
}

#[test]
fn every_violation_is_reported_in_order_of_weight_with_types_and_bounds_but_no_values() {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["id", "currency", "when"],
        "properties": {
            "id": {"type": "integer"},
            "currency": {"enum": ["EUR", "USD", "GBP"]},
            "kind": {"const": "sale"},
            "when": {"type": "string", "format": "date"},
            "code": {"type": ["string", "null"], "pattern": "^[A-Z]+$", "maxLength": 3},
            "items": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {
                "type": "object",
                "properties": {"price": {"type": "number", "minimum": 0, "multipleOf": 0.5}}
            }},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}}
        }
    });
    let body = r#"{
        "id": 1.7, "ccy": "secret", "kind": "secret", "code": "secret",
        "items": [{"price": 1}, {"price": -7.25}, {"price": "secret"}],
        "tags": {"a": "x", "b": 4711}
    }"#;
    let issues = issues(schema, body);
    assert_eq!(
        said(&issues),
        [
            "type /id: integer -> number",
            "type /items/[*]/price (/items/2/price): number -> string",
            "type /tags/{*} (/tags/b): string -> integer",
            "required /currency: present -> absent",
            "required /when: present -> absent",
            "const /kind: one value -> string",
            "pattern /code: ^[A-Z]+$ -> string",
            "maxLength /code: <= 3 characters -> string",
            "minimum /items/[*]/price (/items/1/price): >= 0 -> number",
            "multipleOf /items/[*]/price (/items/1/price): a multiple of 0.5 -> number",
            "additionalProperties /ccy: absent -> present",
        ]
    );
}

#[test]
fn an_integral_float_is_an_integer_and_another_one_is_not() {
    let schema = schema(json!({"properties": {"n": {"type": "integer"}}}));
    for good in ["1", "1.0", "-0", "1e3", "18446744073709551615"] {
        assert_eq!(check(&schema, &format!("{{\"n\":{good}}}")), Ok(()), "{good}");
    }
    for bad in ["1.7", "1e-1", "\"1\"", "null", "true"] {
        assert!(check(&schema, &format!("{{\"n\":{bad}}}")).is_err(), "{bad}");
    }
}

#[test]
fn an_event_that_is_no_object_is_refused_whatever_the_schema_says() {
    let schema = schema(json!(true));
    for (body, actual) in [("[1]", "array"), ("null", "null"), ("1", "integer"), ("1.5", "number"), ("\"a\"", "string")]
    {
        let rejection = check(&schema, body).expect_err(body);
        assert_eq!(said(rejection.issues()), [format!("type : object -> {actual}")]);
    }
    assert_eq!(check(&schema, "{}"), Ok(()));
}

#[test]
fn of_alternatives_the_one_meant_is_explained() {
    let tagged = json!({"properties": {"p": {"oneOf": [
        {"properties": {"kind": {"const": "card"}, "number": {"type": "string"}, "cvc": {"type": "string"}}, "required": ["kind", "number", "cvc"]},
        {"properties": {"kind": {"enum": ["cash"]}, "amount": {"type": "integer"}}, "required": ["kind", "amount"]}
    ]}}});
    // By its discriminator, though the other alternative has fewer errors.
    assert_eq!(
        said(&issues(tagged.clone(), r#"{"p":{"kind":"card","amount":1}}"#)),
        ["required /p/cvc: present -> absent", "required /p/number: present -> absent",]
    );
    // None is meant.
    assert_eq!(
        said(&issues(tagged.clone(), r#"{"p":{"kind":"cheque"}}"#)),
        ["oneOf /p: one of 2 alternatives -> object"]
    );
    // No discriminator: the nearest.
    assert_eq!(said(&issues(tagged, r#"{"p":{"amount":1}}"#)), ["required /p/kind: present -> absent"]);
    let nullable = json!({"properties": {"d": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}}});
    assert_eq!(said(&issues(nullable.clone(), r#"{"d":"tomorrow"}"#)), ["format /d: date -> string"]);
    assert_eq!(said(&issues(nullable, r#"{"d":7}"#)), ["anyOf /d: null or string -> integer"]);
    let several = json!({"properties": {"n": {"oneOf": [{"type": "integer"}, {"minimum": 2}]}}});
    assert_eq!(said(&issues(several, r#"{"n":3}"#)), ["oneOf /n: exactly one of 2 alternatives -> several"]);
}

#[test]
fn every_keyword_has_its_code_and_its_words() {
    let cases = [
        (json!({"exclusiveMinimum": 3}), "3", "exclusiveMinimum /x: > 3 -> integer"),
        (json!({"exclusiveMaximum": 3}), "3", "exclusiveMaximum /x: < 3 -> integer"),
        (json!({"maximum": 2.5}), "3", "maximum /x: <= 2.5 -> integer"),
        (json!({"multipleOf": 2}), "3", "multipleOf /x: a multiple of 2 -> integer"),
        (json!({"minLength": 3}), "\"ä🦀\"", "minLength /x: >= 3 characters -> string"),
        (json!({"minItems": 1}), "[]", "minItems /x: >= 1 elements -> array"),
        (json!({"maxItems": 1}), "[1,2]", "maxItems /x: <= 1 elements -> array"),
        (json!({"uniqueItems": true}), "[{\"a\":1,\"b\":[2]},{\"b\":[2.0],\"a\":1}]", "uniqueItems /x:  -> array"),
        (json!({"contains": {"const": 1}}), "[2]", "contains /x:  -> array"),
        (json!({"minProperties": 1}), "{}", "minProperties /x: >= 1 fields -> object"),
        (json!({"maxProperties": 0}), "{\"a\":1}", "maxProperties /x: <= 0 fields -> object"),
        (
            json!({"propertyNames": {"maxLength": 2}}),
            "{\"abc\":1}",
            "propertyNames /x/{*} (/x): <= 2 characters -> another name",
        ),
        (json!({"dependentRequired": {"a": ["b"]}}), "{\"a\":1}", "dependentRequired /x/b: present -> absent"),
        (json!({"unevaluatedProperties": false}), "{\"a\":1}", "unevaluatedProperties /x/a: absent -> present"),
        (json!({"prefixItems": [true], "unevaluatedItems": false}), "[1,2]", "unevaluatedItems /x:  -> array"),
        (json!({"not": {"type": "string"}}), "\"a\"", "not /x:  -> string"),
        (json!(false), "1", "falseSchema /x:  -> integer"),
        (json!({"patternProperties": {"^p": {"type": "null"}}}), "{\"p1\":1}", "type /x/{*} (/x/p1): null -> integer"),
    ];
    for (schema, value, expected) in cases {
        let issues = issues(json!({"properties": {"x": schema}}), &format!("{{\"x\":{value}}}"));
        assert_eq!(said(&issues), [expected]);
    }
}

#[test]
fn a_name_is_declared_wherever_in_the_schema_it_is_and_escaped_where_it_must_be() {
    let recursive = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"allOf": [
            {"properties": {"children": {"items": {"$ref": "#/$defs/node"}}}},
            {"properties": {"a/b~c": {"type": "string"}}},
            {"additionalProperties": {"type": ["string", "array"]}}
        ]}}
    });
    assert_eq!(
        said(&issues(recursive.clone(), r#"{"children":[{"children":[{"a/b~c":1}]}]}"#)),
        [
            "type /children/[*]/children/[*]/a~1b~0c (/children/0/children/0/a~1b~0c): array or string -> integer",
            "type /children/[*]/children/[*]/a~1b~0c (/children/0/children/0/a~1b~0c): string -> integer",
        ]
    );
    assert_eq!(
        said(&issues(recursive, r#"{"0":1,"":2}"#)),
        ["type /{*} (/): array or string -> integer", "type /{*} (/0): array or string -> integer",]
    );
}

#[test]
fn issues_beyond_the_limit_are_counted_and_every_kind_is_kept_before_a_second_of_one() {
    let schema = schema(json!({"required": ["id"], "properties": {"n": {"items": {"type": "string", "minimum": 5}}}}));
    let numbers = (0..50).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let rejection = check_with(&schema, 3, &format!("{{\"n\":[{numbers}]}}")).expect_err("wrong");
    assert_eq!(
        said(rejection.issues()),
        [
            "type /n/[*] (/n/0): string -> integer",
            "required /id: present -> absent",
            "minimum /n/[*] (/n/0): >= 5 -> integer",
        ]
    );
    assert_eq!(rejection.issues_dropped(), 50 + 1 + 5 - 3);
    assert_eq!(rejection.code(), Code::ValidateType);
}

#[test]
fn an_event_of_very_many_wrong_values_gets_the_first_of_its_issues() {
    let schema = schema(json!({"properties": {"n": {"items": {"type": "string"}}}}));
    let body = format!("{{\"n\":[{}]}}", vec!["1"; 70_000].join(","));
    let rejection = check(&schema, &body).expect_err("wrong");
    assert_eq!(said(rejection.issues()), ["type /n/[*] (/n/0): string -> integer"]);
}

#[test]
fn values_are_equal_as_json_schema_has_it() {
    let schema =
        schema(json!({"properties": {"x": {"enum": [1, {"a": [1.0, null], "b": true}, 9007199254740993_i64]}}}));
    for good in ["1", "1.0", "1e0", r#"{"b":true,"a":[1,null]}"#, "9007199254740993"] {
        assert_eq!(check(&schema, &format!("{{\"x\":{good}}}")), Ok(()), "{good}");
    }
    for bad in ["\"1\"", "true", "9007199254740992", r#"{"a":[1,null]}"#, r#"{"a":[1],"b":true}"#] {
        assert!(check(&schema, &format!("{{\"x\":{bad}}}")).is_err(), "{bad}");
    }
    let unique = self::schema(json!({"properties": {"x": {"uniqueItems": true}}}));
    for (array, is_unique) in [
        ("[1,1.0]", false),
        ("[0,-0]", false),
        ("[0.5,5e-1]", false),
        ("[1e300,1e300]", false),
        ("[1,true,\"1\",null,[1],{\"1\":1}]", true),
        ("[[1,2],[12]]", true),
        ("[\"a\",\"b\",\"a\"]", false),
        ("[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]", false),
        ("[18446744073709551615,1.8446744073709552e19]", true),
    ] {
        assert_eq!(check(&unique, &format!("{{\"x\":{array}}}")).is_ok(), is_unique, "{array}");
    }
}
