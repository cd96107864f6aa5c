//! What is proposed for which samples; that every sample keeps it; and that neither order nor splits matter.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::decode::{self, JsonDecoder};
use crate::schema::columns::columns;
use crate::schema::{Language, Schema};
use crate::value::Tape;

fn each(texts: &[String], mut each: impl FnMut(&Tape<'_>)) {
    let mut decoder = JsonDecoder::new(decode::Limits { body_bytes_max: 1 << 24, depth_max: 128 });
    for text in texts {
        decoder.decode(text.as_bytes(), &mut each).unwrap_or_else(|rejection| panic!("{text}: {rejection:?}"));
    }
}

fn learn_within(limits: Limits, texts: &[String]) -> Learner {
    let mut learner = Learner::new(limits);
    each(texts, |tape| learner.observe(tape.root()));
    learner
}

fn learn(texts: &[String]) -> Learner {
    learn_within(Limits::default(), texts)
}

fn strict() -> Options {
    Options { strict: true, ..Options::default() }
}

fn load(schema: &Json) -> Schema {
    let text = schema.to_string();
    let read = |_: &Path| Ok(text.clone().into_bytes());
    Schema::load(&Language::JsonSchema, Path::new("/learned.json"), "learned", 1, &read).expect("a valid schema")
}

/// The samples that the schema refuses.
fn refused(schema: &Json, texts: &[String]) -> Vec<String> {
    let validator = load(schema).validator(3).expect("a usable schema");
    let mut refused = Vec::new();
    each(texts, |tape| {
        if let Err(rejection) = validator.check_value(tape.root()) {
            let mut text = Vec::new();
            tape.root().write_json(&mut text);
            refused.push(format!("{}: {:?}", String::from_utf8_lossy(&text), rejection.issues()));
        }
    });
    refused
}

/// What is proposed for the values of a field `x`, each in an event of its own.
fn field(values: impl IntoIterator<Item = Json>) -> (Json, Vec<Finding>) {
    field_with(values, &Options::default())
}

fn field_with(values: impl IntoIterator<Item = Json>, options: &Options) -> (Json, Vec<Finding>) {
    let texts: Vec<_> = values.into_iter().map(|value| json!({ "x": value }).to_string()).collect();
    proposed_for(&texts, options)
}

/// The same of values written as they are given.
fn written(values: &[&str]) -> (Json, Vec<Finding>) {
    let texts: Vec<_> = values.iter().map(|value| format!("{{\"x\":{value}}}")).collect();
    proposed_for(&texts, &Options::default())
}

fn proposed_for(texts: &[String], options: &Options) -> (Json, Vec<Finding>) {
    let Proposal { schema, findings } = learn(texts).propose(options);
    assert_eq!(refused(&schema, texts), Vec::<String>::new(), "{schema:#}");
    (schema["properties"]["x"].clone(), findings)
}

fn sentences(findings: &[Finding], doubt: Doubt) -> Vec<String> {
    findings.iter().filter(|finding| finding.doubt == doubt).map(Finding::to_string).collect()
}

fn column(property: &Json) -> String {
    let schema = json!({"type": "object", "properties": {"x": property}});
    columns(&load(&schema)).expect("columns").reasons[0].type_name()
}

#[test]
fn plain_values_have_plain_types() {
    for (values, expected) in [
        (json!([1, 2, -3]), json!({"type": "integer"})),
        (json!([1, 2.5]), json!({"type": "number"})),
        (json!([true, false]), json!({"type": "boolean"})),
        (json!(["a", "b"]), json!({"type": "string"})),
        (json!([null, 1]), json!({"type": ["integer", "null"]})),
        (json!([1, "a", null]), json!({"type": ["integer", "string", "null"]})),
        (json!([[1], []]), json!({"type": "array", "items": {"type": "integer"}})),
        (json!([[], []]), json!({"type": "array"})),
        (json!([{}, {}]), json!({"type": "object"})),
        (json!([null, null]), json!({})),
    ] {
        let values: Vec<_> = values.as_array().expect("values").clone();
        assert_eq!(field(values).0, expected);
    }
    let (strictly, _) = field_with([json!(null)], &strict());
    assert_eq!(strictly, json!({"type": "null"}));
}

#[test]
fn fields_are_required_when_all_have_them_and_stand_in_the_order_first_seen() {
    let texts = [r#"{"b":1,"a":{"z":1,"y":2}}"#, r#"{"c":true,"b":2,"a":{"y":2}}"#].map(str::to_owned);
    let Proposal { schema, findings } = learn(&texts).propose(&Options { title: Some("order".into()), ..strict() });
    let expected = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"order","type":"object","additionalProperties":false,"required":["b","a"],"properties":{"b":{"type":"integer","minimum":1,"maximum":2},"a":{"type":"object","additionalProperties":false,"required":["y"],"properties":{"z":{"type":"integer","minimum":1,"maximum":1},"y":{"type":"integer","minimum":2,"maximum":2}}},"c":{"type":"boolean"}}}"#;
    assert_eq!(schema.to_string(), expected);
    assert_eq!(
        sentences(&findings, Doubt::Required),
        [
            "/a/z: optional; missing in 1 of 2; else required: those are dead letters",
            "/c: optional; missing in 1 of 2; else required: those are dead letters",
        ]
    );
    let open = learn(&texts).propose(&Options::default()).schema;
    assert_eq!(open.get("additionalProperties"), None, "a new field of the event is kept in _extra");
    assert_eq!(open["properties"]["a"]["additionalProperties"], json!(false), "a struct");
}

#[test]
fn a_doubt_is_told_with_its_evidence_and_what_else_could_be() {
    let (of, findings) = field((0..27_004).map(|n| if n < 155 { json!(null) } else { json!("N14228") }));
    assert_eq!(of, json!({"type": ["string", "null"]}));
    assert_eq!(
        sentences(&findings, Doubt::Null),
        ["/x: string or null; 155 of 27,004 null; else string: those are dead letters"]
    );
    let (of, findings) = field((0..3_000).map(|n| if n < 3 { json!(0.5) } else { json!(n) }));
    assert_eq!(of, json!({"type": "number"}));
    let told = sentences(&findings, Doubt::Types);
    assert_eq!(
        told,
        ["/x: number; 3 of 3,000 have a fraction, the others are whole; else integer: those are dead letters"]
    );
    let (_, findings) = field((0..100).map(|n| if n == 0 { json!("n/a") } else { json!(n) }));
    assert_eq!(
        sentences(&findings, Doubt::Types),
        [
            "/x: integer or string, kept as JSON text; integer in 99, string in 1 of 100; else integer: the others are dead letters"
        ]
    );
}

#[test]
fn a_format_is_asked_for_when_all_of_enough_have_it() {
    let day = |n: u32| json!(format!("2026-01-{:02}T10:00:00Z", n % 28 + 1));
    let (of, _) = field((0..20).map(day));
    assert_eq!(
        (of.clone(), column(&of).as_str()),
        (json!({"type": "string", "format": "date-time"}), "Timestamp(µs, \"UTC\")")
    );
    let (of, findings) = field((0..12).map(day));
    assert_eq!(of, json!({"type": "string"}));
    assert_eq!(
        sentences(&findings, Doubt::Format),
        ["/x: string; looks like a date-time in all of 12 only; else format date-time"]
    );
    for (odd, doubt) in
        [("", "1 are empty"), ("soon", "99 of 100 look like"), ("2016-12-31T23:59:60Z", "1 are leap seconds")]
    {
        let (of, findings) = field((0..100).map(|n| if n == 0 { json!(odd) } else { day(n) }));
        assert_eq!(of, json!({"type": "string"}), "{odd}");
        let told = sentences(&findings, Doubt::Format);
        assert!(told[0].contains(doubt), "{told:?}");
    }
    let (of, findings) = field((0..20).map(|n| json!(format!("2026-01-31T10:00:00.{n:09}Z"))));
    assert_eq!(of, json!({"type": "string", "format": "date-time", "x-parqueduct-finer": true}));
    assert!(sentences(&findings, Doubt::Digits)[0].contains("19 of 20 are finer"));
    let (of, _) = field((0..20).map(|n| json!(format!("2026-02-{:02}", n + 1))));
    assert_eq!(of["format"], "date");
}

#[test]
fn numbers_get_a_column_that_keeps_their_digits() {
    let (of, _) = written(&["18446744073709551615", "-1"]);
    assert_eq!(of, json!({"type": "integer", "format": "decimal", "precision": 20, "scale": 0}));
    assert_eq!(column(&of), "Decimal128(20, 0)");
    assert_eq!(written(&["7", "-0"]).0, json!({"type": "integer"}));
    let (of, _) = written(&["1", "12345678901234567.25"]);
    assert_eq!(of, json!({"type": "number", "format": "decimal", "precision": 38, "scale": 2}));
    let (of, _) = written(&["0.1", "2.50e3", "1e300"]);
    assert_eq!(of, json!({"type": "number"}));
    let (of, findings) = written(&["0.1", "1e300", "123456789012345678901.5"]);
    assert_eq!(of, json!({"type": "number"}));
    assert!(sentences(&findings, Doubt::Digits)[0].contains("no column holds all of them"));
    let (_, findings) = written(&["10.0", "2"]);
    assert!(sentences(&findings, Doubt::Types)[0].contains("all are whole"));
    let (of, findings) = field((0..20).map(|n| json!(format!("{n}.50"))));
    assert_eq!(of, json!({"type": "string"}));
    assert!(sentences(&findings, Doubt::Digits)[0].ends_with("else format decimal, scale 1: a column of decimals"));
}

#[test]
fn a_range_that_was_seen_is_told_and_only_strictly_a_limit() {
    let (of, findings) = field([json!(-5), json!(9999)]);
    assert_eq!(of, json!({"type": "integer"}));
    assert!(sentences(&findings, Doubt::Range)[0].contains("-5 to 9,999 in 2"));
    let (of, _) = field_with([json!(-5), json!(2.5)], &strict());
    assert_eq!(of, json!({"type": "number", "minimum": -5, "maximum": 2.5}));
}

#[test]
fn few_values_seen_often_are_an_enumeration_unless_they_are_ids_or_rare() {
    let cycle = |count: usize, of: usize| (0..count).map(move |n| json!(["EWR", "JFK", "LGA", "HPN"][n % of]));
    let (of, _) = field(cycle(120, 3));
    assert_eq!(of, json!({"type": "string", "enum": ["EWR", "JFK", "LGA"]}));
    let (of, _) = field(cycle(120, 3).chain([json!(null)]));
    assert_eq!(of, json!({"type": ["string", "null"], "enum": ["EWR", "JFK", "LGA", null]}));
    assert_eq!(field(cycle(59, 3)).0, json!({"type": "string"}), "too few");
    let (of, findings) = field(cycle(120, 3).chain([json!("ISP")]));
    assert_eq!(of, json!({"type": "string"}));
    assert!(sentences(&findings, Doubt::Enumeration)[0].contains("4 values in 121, 1 of them once"));
    let (of, findings) = field(cycle(120, 1));
    assert_eq!(of, json!({"type": "string"}));
    assert!(sentences(&findings, Doubt::Enumeration)[0].contains("the same value in all 120"));
    assert_eq!(field_with(cycle(120, 1), &strict()).0, json!({"type": "string", "enum": ["EWR"]}));
    let none = Options { no_enums: true, ..strict() };
    assert_eq!(field_with(cycle(120, 3), &none).0, json!({"type": "string"}));

    let texts: Vec<_> =
        cycle(120, 3).map(|value| json!({"customer_id": value, "lastName": value}).to_string()).collect();
    let schema = learn(&texts).propose(&strict()).schema;
    assert_eq!(schema["properties"], json!({"customer_id": {"type": "string"}, "lastName": {"type": "string"}}));
    assert_eq!(field((0..120).map(|n| json!(["0515", "0600"][n % 2]))).0, json!({"type": "string"}), "numbers");
}

#[test]
fn what_looks_personal_is_told_and_none_of_it_stands_in_the_schema() {
    let cards = ["4111111111111111", "5500005555555559", "4012888888881881", "4222222222222", "6011111111111117"];
    let all = [
        ("x", json!("DE89370400440532013000"), "IBANs"),
        ("x", json!("a@example.com"), "addresses of e-mail"),
        ("birthday", json!("1.1.1970"), "its name says so"),
    ];
    for (name, value, because) in all {
        let texts = vec![json!({ name: value }).to_string(); 200];
        let Proposal { schema, findings } = learn(&texts).propose(&strict());
        let told = sentences(&findings, Doubt::Sensitive);
        assert!(told.len() == 1 && told[0].contains(because), "{told:?}");
        assert!(told[0].contains("\"x-parqueduct-sensitive\": true"), "{told:?}");
        assert_eq!(schema["properties"][name].get("enum"), None, "{schema}");
    }
    for numbers in [false, true] {
        let value =
            |card: &str| if numbers { card.parse::<u64>().map(Json::from).expect("digits") } else { json!(card) };
        let (of, findings) = field_with(cards.map(value), &strict());
        assert!(sentences(&findings, Doubt::Sensitive)[0].contains("5 of 5 look like numbers of cards"));
        assert!(of.get("minimum").is_none() && sentences(&findings, Doubt::Range).is_empty(), "{of}");
    }
}

#[test]
fn an_object_whose_names_are_values_is_a_map() {
    let by_id = |n: usize| json!({ format!("{}", 100 + n % 7): {"seats": n}, "200": {"seats": 1} });
    let (of, _) = field((0..30).map(by_id).chain([json!({"300": {"seats": 2}})]));
    let seats = json!({"type": "object", "additionalProperties": false, "required": ["seats"], "properties": {"seats": {"type": "integer"}}});
    assert_eq!(of, json!({"type": "object", "additionalProperties": seats}));
    let rare = |n: usize| json!({ format!("tag{}", ["a", "b", "c", "d"][n % 4].repeat(n / 4 + 1)): "on" });
    let (of, findings) = field((0..40).map(rare));
    assert_eq!(of, json!({"type": "object", "additionalProperties": {"type": "string"}}));
    assert!(sentences(&findings, Doubt::Map)[0].contains("40 names, none of which all 40 have"));
    let (of, _) = field([json!({"a": 1, "b": 2, "c": 3}), json!({"a": 1})]);
    assert_eq!(of["properties"].as_object().map(serde_json::Map::len), Some(3), "fields");
    let (of, findings) = field((0..600).map(|n| json!({ format!("name{n}"): n })));
    assert_eq!(of, json!({"type": "object", "additionalProperties": {"type": "integer"}}));
    assert!(sentences(&findings, Doubt::Map)[0].contains("more than 500 names"));
}

#[test]
fn limits_bound_what_is_held_whatever_comes() {
    let limits = Limits { places_max: 300, names_max: 20, distinct_max: 4, depth_max: 6, is_told_only: false };
    let deep = |n: usize| format!("{}1{}", format!("{{\"k{}\":[", n % 9).repeat(20), "]}".repeat(20));
    let wide = |n: usize| {
        json!(
            (0..15)
                .map(|k| (format!("k{k}"), json!({ format!("w{}", n % 17): {"a": n, "b": {"c": 1}} })))
                .collect::<serde_json::Map<_, _>>()
        )
        .to_string()
    };
    let texts: Vec<_> = (0..200).map(|n| if n % 2 == 0 { deep(n) } else { wide(n) }).collect();
    let mut learner = Learner::new(limits);
    let mut most = 0;
    each(&texts, |tape| {
        learner.observe(tape.root());
        most = most.max(learner.root.places());
    });
    assert!(most <= 3 * limits.places_max + 200, "{most}");
    let mut fitted = learner.root.clone();
    fitted.fit(limits.places_max, &limits);
    assert!(fitted.places() <= limits.places_max + 1, "{}", fitted.places());
    let Proposal { schema, findings } = learner.propose(&strict());
    assert_eq!(refused(&schema, &texts), Vec::<String>::new());
    assert!(!sentences(&findings, Doubt::Limit).is_empty());
}

#[test]
fn events_that_are_no_objects_are_told() {
    let texts = ["[]", "{}", "7"].map(str::to_owned);
    let Proposal { schema, findings } = learn(&texts).propose(&Options::default());
    assert_eq!(schema["type"], json!(["integer", "array", "object"]));
    assert!(sentences(&findings, Doubt::Types)[0].contains("2 of 3 are none"));
    assert_eq!(refused(&schema, &texts), Vec::<String>::new());
    let nothing = Learner::new(Limits::default()).propose(&Options::default());
    assert_eq!(nothing.schema, json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}));
}

fn new_fields(schema: &Json, texts: &[&str]) -> Vec<(String, &'static str, u64)> {
    let mut evolution = Evolution::new(&load(schema), 10);
    each(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), |tape| {
        evolution.observe(tape.root());
    });
    evolution.fields().iter().map(|field| (field.path.clone(), field.type_name, field.events)).collect()
}

#[test]
fn fields_that_a_schema_does_not_declare_are_found_and_counted_by_event() {
    let schema = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "map": {"type": "object", "additionalProperties": {"properties": {"n": true}}},
            "free": {"type": "object"},
            "pattern": {"patternProperties": {"^x": true}, "properties": {"a": true}}
        },
        "anyOf": [{"properties": {"either": true}}, true],
        "$defs": {"line": {"properties": {"sku": true, "next": {"$ref": "#/$defs/line"}}}}
    });
    let found = new_fields(
        &schema,
        &[
            r#"{"id":"a","either":1,"lines":[{"sku":1,"qty":2},{"qty":3}],"new":{"a":1}}"#,
            r#"{"map":{"k":{"n":1,"m":2},"l":{"m":3}},"free":{"x":{"y":1}},"pattern":{"x1":1,"y":2},"new":null}"#,
            r#"{"lines":[{"next":{"next":{"odd":true}}}],"new":{}}"#,
        ],
    );
    let expected = [
        ("/lines/[*]/qty", "integer", 1),
        ("/new", "object", 2),
        ("/map/{*}/m", "integer", 1),
        ("/new", "null", 1),
        ("/lines/[*]/next/next/odd", "boolean", 1),
    ];
    assert_eq!(found, expected.map(|(path, of, events)| (path.to_owned(), of, events)));
    assert_eq!(new_fields(&json!(true), &[r#"{"a":1}"#, "[1]"]), []);
}

#[test]
fn new_fields_beyond_the_limit_are_counted_without_being_named() {
    let schema = load(&json!({"properties": {"id": true}}));
    let mut evolution = Evolution::new(&schema, 2);
    let mut observed = Vec::new();
    let texts = [r#"{"id":1,"a":1}"#, r#"{"a":2,"b":1,"c":1}"#, r#"{"id":2}"#].map(str::to_owned);
    each(&texts, |tape| observed.push(evolution.observe(tape.root())));
    let expected = [(1, 0..1), (3, 1..2), (0, 2..2)].map(|(undeclared, new)| Observed { undeclared, new });
    assert_eq!((observed.as_slice(), evolution.unlisted()), (&expected[..], 1));
}

/// What is fixed of the values of a field `x`, if anything.
fn fixed_for(values: impl IntoIterator<Item = Json>) -> Option<Json> {
    let texts: Vec<_> = values.into_iter().map(|value| json!({ "x": value }).to_string()).collect();
    let schema = learn(&texts).fixed("x");
    assert_eq!(refused(&schema, &texts), Vec::<String>::new(), "{schema:#}");
    schema["properties"].get("x").cloned()
}

#[test]
fn what_is_fixed_is_what_columns_are_made_of() {
    let instants: Vec<_> = (10..40).map(|n| json!(format!("2026-01-01T10:15:{n}Z"))).collect();
    let dates: Vec<_> = (10..30).map(|n| json!(format!("2026-01-{n}"))).collect();
    let statuses: Vec<_> = (0..200).map(|n| json!(["new", "paid"][n % 2])).collect();
    let sku = json!({"type": ["integer", "null"]});
    for (values, expected) in [
        (json!([1, 2, -3]), json!({"type": ["integer", "null"]})),
        (json!([1, 2.5]), json!({"type": ["number", "null"]})),
        (json!([true]), json!({"type": ["boolean", "null"]})),
        (json!(statuses), json!({"type": ["string", "null"]})),
        (json!(["192.168.0.1"]), json!({"type": ["string", "null"]})),
        (json!(instants), json!({"type": ["string", "null"], "format": "date-time", "x-parqueduct-finer": true})),
        (json!(instants[..19]), json!({"type": ["string", "null"]})),
        (json!(dates), json!({"type": ["string", "null"], "format": "date"})),
        (json!([1, u64::MAX]), json!({"type": ["integer", "null"], "format": "decimal", "precision": 20, "scale": 0})),
        (json!([1, "a"]), json!({})),
        (json!([[1], []]), json!({"type": ["array", "null"], "items": sku})),
        (
            json!([{"sku": 1}, {"sku": null, "tags": []}]),
            json!({"type": ["object", "null"], "x-parqueduct-struct": true, "properties": {"sku": sku}}),
        ),
        (json!([{"1": 1}, {"2": 2}, {"3": 3}]), json!({"type": ["object", "null"]})),
        (json!(["a@example.com"]), json!({"type": ["string", "null"], "x-parqueduct-sensitive": true})),
    ] {
        let values: Vec<_> = values.as_array().expect("values").clone();
        assert_eq!(fixed_for(values), Some(expected));
    }
    for unknown in [json!([null]), json!([[], null]), json!([{}]), json!([[null]]), json!([{"a": null}])] {
        assert_eq!(fixed_for(unknown.as_array().expect("values").clone()), None, "{unknown}");
    }
    let named = learn(&[r#"{"password":"x","id":1}"#.to_owned()]).fixed("x");
    assert_eq!(named["properties"]["password"]["x-parqueduct-sensitive"], json!(true), "by its name");
    assert_eq!(named["properties"]["id"], sku);
}

#[test]
fn what_is_merely_new_keeps_what_is_fixed() {
    let seen = [r#"{"a":1,"b":{"c":"x","d":[{"e":1.5}]},"m":{"1":1,"2":2},"m2":0}"#.to_owned()];
    let schema = learn(&seen).fixed("order");
    let new = [
        r#"{}"#,
        r#"{"a":null,"b":null}"#,
        r#"{"a":-7,"z":{"any":[1]},"b":{"d":[{"f":true},null],"g":2}}"#,
        r#"{"b":{"c":null,"d":null}}"#,
    ]
    .map(str::to_owned);
    assert_eq!(refused(&schema, &new), Vec::<String>::new());
    let other = [r#"{"a":"1"}"#, r#"{"a":1.5}"#, r#"{"b":{"c":1}}"#, r#"{"b":{"d":[{"e":"x"}]}}"#].map(str::to_owned);
    assert_eq!(refused(&schema, &other).len(), other.len(), "another type is a conflict");
}

#[test]
fn a_new_field_is_declared_where_it_was_found_and_once_its_type_is_known() {
    let texts = [r#"{"a":1,"b":{"c":[{"d":1}]}}"#.to_owned()];
    let mut schema = learn(&texts).fixed("order");
    let later = [
        r#"{"a":1,"n":null,"x/y":"s","b":{"c":[{"d":1,"e":true}],"f":{"g":1}}}"#.to_owned(),
        r#"{"a":1,"n":[],"b":{"c":[]}}"#.to_owned(),
    ];
    let learned = learn(&later).fixed("order");
    let before = load(&schema);
    for (path, is_declared) in [
        ("/x~1y", true),
        ("/b/c/[*]/e", true),
        ("/b/f", true),
        ("/n", false),
        ("/a", false),
        ("/b/nobody/x", false),
        ("/a/x", false),
        ("", false),
    ] {
        assert_eq!(extend(&mut schema, &learned, path), is_declared, "{path}");
    }
    let names: Vec<_> = columns(&load(&schema)).expect("columns").reasons.into_iter().map(|of| of.column).collect();
    assert_eq!(names, ["a", "b", "b.c", "b.c[]", "b.c[].d", "b.c[].e", "b.f", "b.f.g", "x/y"]);
    assert_eq!(refused(&schema, &later), Vec::<String>::new());
    let mut evolution = Evolution::new(&load(&schema), 9);
    each(&later, |tape| {
        evolution.observe(tape.root());
    });
    assert_eq!(evolution.fields().iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), ["/n", "/n"]);
    assert_eq!(before.hash(), load(&learn(&texts).fixed("order")).hash(), "the same samples give the same schema");
}

#[test]
fn properties_that_cannot_be_columns_beside_others_are_left_out() {
    let texts = [r#"{"Id":1,"b":2,"id":3}"#.to_owned()];
    let (schema, left_out) = with_columns(learn(&texts).fixed("order"));
    assert_eq!(left_out, ["id"]);
    let columns = columns(&load(&schema)).expect("columns");
    assert_eq!(columns.fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["Id", "b"]);
    assert_eq!(with_columns(schema.clone()), (schema, Vec::new()));
}

#[test]
fn names_that_are_values_are_not_declared_at_any_depth() {
    let texts = [
        r#"{"n":1,"@timestamp":"x","ann@example.com":7,"by":{"bob@example.com":1},"deep":[{"a":1,"17":2}]}"#.to_owned(),
        r#"{"n":2,"6fa459ea-ee8a-3ca4-894e-db77e160355e":{"a":1}}"#.to_owned(),
    ];
    let schema = learn(&texts).fixed("order");
    assert_eq!(refused(&schema, &texts), Vec::<String>::new());
    assert_eq!(
        schema["properties"],
        json!({
            "n": {"type": ["integer", "null"]},
            "@timestamp": {"type": ["string", "null"]},
            "by": {"type": ["object", "null"]},
            "deep": {"type": ["array", "null"], "items": {
                "type": ["object", "null"],
                "x-parqueduct-struct": true,
                "properties": {"a": {"type": ["integer", "null"]}}
            }}
        })
    );
    let found =
        new_fields(&schema, &[r#"{"n":1,"eve@example.com":1,"color":2,"deep":[{"18":3}],"by":{"x@example.com":1}}"#]);
    let expected = [("/{*}", "integer", 1), ("/color", "integer", 1), ("/deep/[*]/{*}", "integer", 1)];
    assert_eq!(found, expected.map(|(path, of, events)| (path.to_owned(), of, events)));
}

/// Numbers as producers write them, beyond 64 bits and doubles, too.
fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-20_i64..20).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,20}",
        "-?[1-9](\\.[0-9]{1,5})?[eE][+-]?[0-9]{1,2}",
        Just("-0".to_owned()),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "",
            "x@example.com",
            "::1",
            "10.0.0.1",
            "https://a.b/c",
            "10:15:00Z",
            "2026-02-28"
        ])
        .prop_map(str::to_owned),
        "2026-0[1-9]-[0-2][1-9]T[0-2][0-3]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+01:00)",
        "[0-9]{1,4}(\\.[0-9]{1,3})?",
        "\\PC{0,6}",
    ]
}

/// Any JSON text, of few names so that places are met again.
fn any_value() -> impl Strategy<Value = String> {
    let quoted = any_text().prop_map(|text| json!(text).to_string());
    let leaf = prop_oneof![
        2 => Just("null".to_owned()),
        1 => Just("true".to_owned()),
        4 => any_number(),
        4 => quoted,
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
            object_of(inner),
        ]
    })
}

fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop_oneof![3 => "[a-d]", 1 => "[0-9]{1,2}", 1 => "k[a-z]{1,2}"];
    prop::collection::btree_map(name, value, 0..7).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// Samples of one kind of event, of which some are odd.
fn samples() -> impl Strategy<Value = Vec<String>> {
    let odd = prop_oneof![9 => object_of(any_value()), 1 => any_value()];
    prop_oneof![
        prop::collection::vec(odd, 1..24),
        prop::collection::vec(any_text(), 20..140)
            .prop_map(|texts| texts.iter().map(|text| json!({ "x": text }).to_string()).collect()),
        prop::collection::vec(any_number(), 1..40)
            .prop_map(|numbers| numbers.iter().map(|number| format!("{{\"x\":{number}}}")).collect()),
    ]
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (1..80_usize, 1..8_usize, 1..5_usize, 0..6_usize).prop_map(|(places_max, names_max, distinct_max, depth_max)| {
        Limits { places_max, names_max, distinct_max, depth_max, is_told_only: false }
    })
}

/// A proposal without the order of names, which is that of the samples.
fn sorted(Proposal { schema, mut findings }: Proposal) -> (Json, Vec<Finding>) {
    fn sort(schema: &mut Json) {
        match schema {
            Json::Object(members) => {
                if let Some(Json::Array(names)) = members.get_mut("required") {
                    names.sort_by_key(|name| name.as_str().map(str::to_owned));
                }
                members.values_mut().for_each(sort);
            }
            Json::Array(elements) => elements.iter_mut().for_each(sort),
            _ => {}
        }
    }
    let mut schema = schema;
    sort(&mut schema);
    findings.sort();
    (schema, findings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_sample_keeps_what_is_proposed(texts in samples(), limits in prop_oneof![Just(Limits::default()), small_limits()]) {
        let learner = learn_within(limits, &texts);
        for options in [Options::default(), strict(), Options { no_enums: true, ..strict() }] {
            let Proposal { schema, .. } = learner.propose(&options);
            let refused = refused(&schema, &texts);
            prop_assert!(refused.is_empty(), "{options:?} {schema:#}\nrefuses {refused:?}");
        }
    }

    #[test]
    fn every_sample_that_is_an_object_keeps_what_is_fixed(
        texts in samples(),
        limits in prop_oneof![Just(Limits::default()), small_limits(), Just(Limits::for_columns(5_000))],
    ) {
        let (schema, _) = with_columns(learn_within(limits, &texts).fixed("any"));
        let objects: Vec<_> = texts.iter().filter(|text| text.starts_with('{')).cloned().collect();
        let refused = refused(&schema, &objects);
        prop_assert!(refused.is_empty(), "{schema:#}\nrefuses {refused:?}");
        prop_assert!(columns(&load(&schema)).is_ok());
    }

    #[test]
    fn neither_order_nor_splits_change_what_is_proposed(
        texts in samples(),
        limits in prop_oneof![Just(Limits::default()), small_limits()],
        is_told_only in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let limits = Limits { is_told_only, ..limits };
        let whole = learn_within(limits, &texts);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shuffled = texts.clone();
        random.shuffle(&mut shuffled);
        let mut parts = [Learner::new(limits), Learner::new(limits), Learner::new(limits)];
        for text in &shuffled {
            let part = random.usize(..parts.len());
            each(std::slice::from_ref(text), |tape| parts[part].observe(tape.root()));
        }
        let [mut merged, second, third] = parts;
        let mut behind = second;
        behind.merge(third);
        merged.merge(behind);
        for options in [Options::default(), strict()] {
            prop_assert_eq!(sorted(whole.propose(&options)), sorted(merged.propose(&options)));
        }
        prop_assert_eq!(whole.fixed("any"), merged.fixed("any"));
    }
}
