//! Whole fixes on whole messages.

mod guide; // the examples of docs/fixes.md
mod laws; // what holds for all fixes and all bodies
mod patch; // RFC 6902

use super::*;
use crate::decode::Wire;
use crate::event::{HeaderValue, Message, Properties};

fn message(body: &str) -> Message {
    Message { body: body.as_bytes().to_vec(), ..Message::default() }
}

fn fix(text: &str) -> Fix {
    Fix::parse(text, "fix.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// The body that `steps` make of `body`, or the failure as people see it.
fn mended(steps: &str, body: &str) -> Result<String, String> {
    match fix(steps).apply(&message(body)) {
        Ok(message) => Ok(String::from_utf8(message.body).expect("JSON is UTF-8")),
        Err(failure) => Err(failure.to_string()),
    }
}

#[track_caller]
fn gives(steps: &str, body: &str, expected: &str) {
    assert_eq!(mended(steps, body).as_deref(), Ok(expected), "{steps}\non {body}");
}

#[track_caller]
fn fails(steps: &str, body: &str, expected: &str) {
    assert_eq!(mended(steps, body).map_err(|error| error.to_string()), Err(expected.to_owned()), "{steps}\non {body}");
}

#[test]
fn a_cast_gives_the_same_value_as_another_type_or_fails() {
    let cast = |to: &str| format!("[[step]]\ncast = {{ path = \"/a\", to = \"{to}\" }}");
    for (to, before, after) in [
        ("number", r#""12.50""#, "12.50"),
        ("number", r#""123456789012345678901234567890.5""#, "123456789012345678901234567890.5"),
        ("number", "1", "1"),
        ("integer", r#""9007199254740993""#, "9007199254740993"),
        ("integer", "1.0", "1"),
        ("integer", r#""1e3""#, "1000"),
        ("string", "1.50", r#""1.50""#),
        ("string", "true", r#""true""#),
        ("boolean", r#""false""#, "false"),
    ] {
        gives(&cast(to), &format!(r#"{{"a":{before}}}"#), &format!(r#"{{"a":{after}}}"#));
    }
    for (to, before, why) in [
        ("integer", "1.7", "expected integer, found number"),
        ("integer", r#""1.7""#, "expected integer, found string that is a number with a fraction"),
        ("number", r#""1,234.5""#, "expected number, found string that is no number"),
        ("number", r#"" 1""#, "expected number, found string that is no number"),
        ("number", "null", "expected number, found null"),
        ("number", "true", "expected number, found boolean"),
        ("boolean", r#""yes""#, "expected boolean, found string that is neither true nor false"),
        ("boolean", "1", "expected boolean, found integer"),
        ("string", "[]", "expected string, found array"),
    ] {
        fails(&cast(to), &format!(r#"{{"a":{before}}}"#), &format!("step 1 (cast) at /a: {why}"));
    }
    gives(&cast("number"), r#"{ "b": 1 }"#, r#"{ "b": 1 }"#);
}

#[test]
fn a_renamed_member_keeps_its_place_and_takes_nobody_else_s() {
    let rename = "[[step]]\nrename = { from = \"/legs/[*]/ccy\", to = \"/legs/[*]/currency\" }";
    gives(
        rename,
        r#"{"legs":[{"ccy":"EUR","n":1},{"n":2}],"x":1.0}"#,
        r#"{"legs":[{"currency":"EUR","n":1},{"n":2}],"x":1.0}"#,
    );
    fails(
        rename,
        r#"{"legs":[{"ccy":"EUR","currency":null}]}"#,
        "step 1 (rename) at /legs/[*]/currency: expected missing, found null",
    );
}

#[test]
fn a_moved_member_goes_where_objects_are_made_for_it() {
    let step = "[[step]]\nmove = { from = \"/city\", to = \"/address/city\" }";
    gives(step, r#"{"city":"Wien","n":1}"#, r#"{"n":1,"address":{"city":"Wien"}}"#);
    gives(step, r#"{"n":1}"#, r#"{"n":1}"#);
    fails(step, r#"{"city":1,"address":"x"}"#, "step 1 (move) at /address/city: expected object, found string");
    fails(
        "[[step]]\nmove = { from = \"/a/0\", to = \"/b\" }",
        r#"{"a":[1]}"#,
        "step 1 (move) at /a: expected object, found array",
    );
}

#[test]
fn a_default_fills_what_is_missing_or_null_and_nothing_else() {
    let step = "[[step]]\ndefault = { path = \"/a/tail\", value = \"unknown\" }";
    gives(step, r#"{"a":{}}"#, r#"{"a":{"tail":"unknown"}}"#);
    gives(step, r#"{"a":{"tail":null}}"#, r#"{"a":{"tail":"unknown"}}"#);
    gives(step, r#"{"a":{"tail":""}}"#, r#"{"a":{"tail":""}}"#);
    gives(step, r#"{"b":1}"#, r#"{"b":1}"#);
    fails(step, r#"{"a":7}"#, "step 1 (default) at /a: expected object, found integer");
    gives("[[step]]\ndefault = { path = \"/n\", json = \"1.50\" }", "{}", r#"{"n":1.50}"#);
}

#[test]
fn what_is_removed_is_removed_from_every_element() {
    gives("[[step]]\nremove = { path = \"/l/[*]/x\" }", r#"{"l":[{"x":1},{"y":2},3]}"#, r#"{"l":[{},{"y":2},3]}"#);
    let odd = "[[step]]\nremove = { path = \"/l/[*]\" }\nwhen = { path = \"/l/[*]\", equals = 1 }";
    gives(odd, r#"{"l":[1,2,1.0,3,1]}"#, r#"{"l":[2,3]}"#);
    gives(
        "[[step]]\nremove = { path = \"/m/{*}/x\" }",
        r#"{"m":{"a":{"x":1},"b":{"x":2,"y":3}}}"#,
        r#"{"m":{"a":{},"b":{"y":3}}}"#,
    );
}

#[test]
fn numbers_and_times_and_documents_are_read_from_text() {
    let parse = |rest: &str| format!("[[step]]\nparse = {{ path = \"/a\", {rest} }}");
    gives(&parse("as = \"number_comma\""), r#"{"a":"1,234.50"}"#, r#"{"a":1234.50}"#);
    gives(&parse("as = \"number_decimal_comma\""), r#"{"a":"1.234,50"}"#, r#"{"a":1234.50}"#);
    gives(&parse("as = \"unix_seconds\""), r#"{"a":1764110000}"#, r#"{"a":"2025-11-25T22:33:20Z"}"#);
    gives(&parse("as = \"json\""), r#"{"a":"{\"x\":1.10}"}"#, r#"{"a":{"x":1.10}}"#);
    gives(&parse("as = \"value\", to = \"json\""), r#"{"a":{"x":1.10}}"#, r#"{"a":"{\"x\":1.10}"}"#);
    fails(
        &parse("as = \"number_comma\""),
        r#"{"a":"1,23"}"#,
        "step 1 (parse) at /a: expected digits in groups of three, found string that is none",
    );
    fails(
        &parse("as = \"json\""),
        r#"{"a":"{"}"#,
        "step 1 (parse) at /a: expected JSON document, found string that is none",
    );
    fails(
        &parse("as = \"unix_millis\", to = \"unix_seconds\""),
        r#"{"a":1500}"#,
        "step 1 (parse) at /a: expected time that fits unix_seconds, found fraction",
    );
}

#[test]
fn scaling_is_exact() {
    let scale = "[[step]]\nscale = { path = \"/a\", by = \"0.01\" }";
    gives(scale, r#"{"a":1050}"#, r#"{"a":10.5}"#);
    gives(scale, r#"{"a":123456789012345678901234567890}"#, r#"{"a":1234567890123456789012345678.9}"#);
    gives("[[step]]\nscale = { path = \"/a\", by = 1 }", r#"{"a":1.500 }"#, r#"{"a":1.500 }"#);
    fails(scale, r#"{"a":"1050"}"#, "step 1 (scale) at /a: expected number, found string");
}

#[test]
fn a_map_gives_new_values_for_old_ones() {
    let map = |otherwise: &str| {
        format!(
            "[[step]]\nmap = {{ path = \"/s\", values = {{ A = \"active\", \"1\" = true }}, otherwise = \"{otherwise}\" }}"
        )
    };
    gives(&map("keep"), r#"{"s":"A"}"#, r#"{"s":"active"}"#);
    gives(&map("keep"), r#"{"s":1}"#, r#"{"s":true}"#);
    gives(&map("keep"), r#"{"s":"B"}"#, r#"{"s":"B"}"#);
    fails(&map("fail"), r#"{"s":"B"}"#, "step 1 (map) at /s: expected value of the map, found another string");
}

#[test]
fn a_condition_looks_at_the_element_that_the_step_is_about() {
    let steps = "[[step]]\ncast = { path = \"/legs/[*]/n\", to = \"integer\" }\nwhen = { path = \"/legs/[*]/kind\", equals = \"flight\" }";
    gives(
        steps,
        r#"{"legs":[{"kind":"flight","n":"1"},{"kind":"bus","n":"x"},{"n":"2"}]}"#,
        r#"{"legs":[{"kind":"flight","n":1},{"kind":"bus","n":"x"},{"n":"2"}]}"#,
    );
    let any = "[[step]]\nremove = { path = \"/total\" }\nwhen = { path = \"/legs/[*]/kind\", matches = \"^bus\" }";
    gives(
        any,
        r#"{"total":1,"legs":[{"kind":"flight"},{"kind":"bus 7"}]}"#,
        r#"{"legs":[{"kind":"flight"},{"kind":"bus 7"}]}"#,
    );
    gives(any, r#"{"total":1,"legs":[{"kind":"flight"}]}"#, r#"{"total":1,"legs":[{"kind":"flight"}]}"#);
    for (is, before, holds) in [
        ("missing", "{}", true),
        ("missing", r#"{"w":null}"#, false),
        ("present", r#"{"w":null}"#, true),
        ("null", r#"{"w":null}"#, true),
        ("null", "{}", false),
        ("number", r#"{"w":1}"#, true),
        ("integer", r#"{"w":1.5}"#, false),
        ("string", r#"{"w":"x"}"#, true),
    ] {
        let step =
            format!("[[step]]\ndefault = {{ path = \"/new\", value = 1 }}\nwhen = {{ path = \"/w\", is = \"{is}\" }}");
        assert_eq!(mended(&step, before).expect("a default never fails here") != before, holds, "{is} {before}");
    }
}

#[test]
fn a_fix_is_done_whole_or_not_at_all() {
    let steps = "[[step]]\nremove = { path = \"/a\" }\n[[step]]\ncast = { path = \"/b\", to = \"integer\" }";
    fails(steps, r#"{"a":1,"b":"x"}"#, "step 2 (cast) at /b: expected integer, found string that is no number");
}

#[test]
fn a_body_in_which_nothing_changes_keeps_its_bytes() {
    let steps = "[[step]]\ncast = { path = \"/none\", to = \"integer\" }";
    gives(steps, " {\"a\" : 1.00,\n \"\\u0062\": 1e2 } ", " {\"a\" : 1.00,\n \"\\u0062\": 1e2 } ");
    assert_eq!(mended(steps, "{\"a\":").expect_err("not JSON"), "the body: expected JSON, found not JSON");
}

#[test]
fn a_body_that_becomes_what_it_was_keeps_its_bytes() {
    let same = "[[step]]\nmap = { path = \"/a\", values = { x = \"x\" }, otherwise = \"keep\" }";
    gives(same, r#" {"a" : "x"} "#, r#" {"a" : "x"} "#);
    let patched = "[[patch]]\nop = \"replace\"\npath = \"/a\"\nvalue = \"x\"";
    gives(patched, r#" {"a" : "x"} "#, r#" {"a" : "x"} "#);
    gives(patched, r#" {"a" : "y"} "#, r#"{"a":"x"}"#);
}

#[test]
fn headers_and_properties_are_set_removed_and_renamed() {
    let header = |name: &str, value: HeaderValue| (name.to_owned(), value);
    let mut before = message("not JSON");
    before.properties.headers = Some(vec![
        header("x-a", HeaderValue::Void),
        header("x-b", HeaderValue::I64(1)),
        header("x-a", HeaderValue::Bool(true)),
    ]);
    before.properties.app_id = Some("old".to_owned());
    before.properties.expiration = Some("1000".to_owned());
    let text = r#"
        [[header]]
        set = { name = "x-a", value = "text" }
        [[header]]
        rename = { from = "x-b", to = "x-count" }
        [[header]]
        set = { name = "x-at", value = 1764110000, type = "T" }
        when = { property = "app_id", equals = "old" }
        [[property]]
        remove = "expiration"
        [[property]]
        set = { name = "content_type", value = "application/json" }
        when = { header = "x-count", is = "integer" }
        [[property]]
        rename = { from = "app_id", to = "type" }
    "#;
    let after = fix(text).apply(&before).expect("nothing is in the way");
    assert_eq!(after.body, before.body);
    assert_eq!(
        after.properties,
        Properties {
            headers: Some(vec![
                header("x-a", HeaderValue::Text(b"text".to_vec())),
                header("x-count", HeaderValue::I64(1)),
                header("x-at", HeaderValue::Timestamp(1_764_110_000)),
            ]),
            content_type: Some("application/json".to_owned()),
            kind: Some("old".to_owned()),
            ..Properties::default()
        }
    );
    let changes: Vec<_> = diff(&before, &after, &Wire::Json.into())
        .into_iter()
        .map(|change| (change.path, change.from, change.to))
        .collect();
    assert_eq!(
        changes.iter().map(|(path, from, to)| (path.as_str(), *from, *to)).collect::<Vec<_>>(),
        [
            ("x-a", "null", "string"),
            ("x-b", "integer", "missing"),
            ("x-count", "missing", "integer"),
            ("x-at", "missing", "timestamp"),
            ("content_type", "missing", "string"),
            ("expiration", "string", "missing"),
            ("type", "missing", "string"),
            ("app_id", "string", "missing"),
        ]
    );
}

#[test]
fn a_diff_tells_paths_and_kinds_once() {
    let before = message(r#"{"legs":[{"n":"secret"},{"n":"secret"},{"n":1}],"gone":1.5,"same":[1],"v":1}"#);
    let after = message(r#"{"legs":[{"n":7},{"n":8},{"n":1}],"same":[1],"new":null,"v":2}"#);
    let changes: Vec<String> = diff(&before, &after, &Wire::Json.into())
        .into_iter()
        .map(|FieldChange { place, path, from, to }| format!("{} {path} {from} {to}", place.as_str()))
        .collect();
    assert_eq!(
        changes,
        [
            "body /legs/[*]/n string integer",
            "body /gone number missing",
            "body /v integer integer",
            "body /new missing null"
        ]
    );
    assert!(
        diff(
            &before,
            &message(r#"{"legs": [{"n":"secret"},{"n":"secret"},{"n":1}],"gone":1.5,"same":[1],"v":1}"#),
            &Wire::Json.into()
        )
        .is_empty()
    );
    let broken = diff(&message("{"), &after, &Wire::Json.into());
    assert_eq!((broken[0].path.as_str(), broken[0].from, broken[0].to), ("", "not JSON", "object"));
}

#[test]
fn what_is_wrong_with_a_fix_names_its_line_its_key_and_the_mend() {
    let text = r#"
[[step]]
cast = { path = "amount", to = "int" }

[[step]]
renme = { from = "/a", to = "/b" }

[[step]]
rename = { from = "/a/x", to = "/b/x" }
when = { path = "/a", matches = "(" }

[[patch]]
op = "add"
path = "/a"

[[header]]
set = { name = "x-death", value = 1 }

[[property]]
set = { name = "expiration", value = "soon" }
"#;
    let error = Fix::parse(text, "fix.toml").expect_err("much is wrong").to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines,
        [
            r#"fix.toml:3: step 1: cast.path: "amount" is no path: a JSON pointer starts with "/": write "/amount""#,
            r#"fix.toml:3: step 1: cast.to: "int" is not known: write "integer" or "number" or "string" or "boolean""#,
            r#"fix.toml:6: step 2: renme: unknown key: did you mean "rename"?"#,
            "fix.toml:9: step 3: rename.to: is not beside from: use move for another place",
            "fix.toml:10: step 3: when.matches: is no regular expression: unclosed group",
            "fix.toml:12: patch 1: value: is missing: add value = ..",
            r#"fix.toml:17: header 1: set.name: "x-death" is locked: leave it: brokers and replays write x-death*, x-first-death-*, x-last-death-*, x-delivery-count, x-acquired-count, x-stream-offset, x-received-from, x-shovelled*, x-dlq-*, CC, BCC"#,
            r#"fix.toml:20: property 1: set.value: "soon" is no expiration: write milliseconds as text, such as "60000""#,
        ]
    );
    for (text, expected) in [
        ("", "fix:1: nothing to do: add a [[step]]"),
        ("[[step]", "fix:1: not TOML"),
        ("{\n\"step\": [}", "fix:2: not JSON"),
        ("{\"step\": 1}", "fix:1: step: is a number: write [[step]]"),
        ("{\"step\": [],\n \"step\": []}", "\"step\" stands here twice"),
        ("[[step]]\nremove = { path = \"\" }", "fix:2: step 1: remove.path: is the whole body"),
        ("[[step]]\nmove = { from = \"/a\", to = \"/a/b\" }", "fix:2: step 1: move.to: is from, or within it"),
        ("[[step]]\nmove = { from = \"/l/[*]/a\", to = \"/b\" }", "has not the wildcards of from"),
        ("[[step]]\ndefault = { path = \"/a\", value = 2026-11-25 }", "is a date of TOML, which JSON does not have"),
        ("[[property]]\nremove = \"user_id\"", "fix:2: property 1: remove: \"user_id\" is locked"),
        ("[[step]]\nremove = { path = \"/a\" }\nwhen = { path = \"/a\" }", "step 1: when: asks nothing"),
    ] {
        let error = Fix::parse(text, "fix").expect_err("no fix").to_string();
        assert!(error.contains(expected), "{text}\ngives {error}\nnot {expected}");
    }
}

#[test]
fn the_same_fix_has_the_same_hash_however_it_is_laid_out() {
    let toml = fix("# why\n[[step]]\n  cast = { path = \"/a\", to = \"number\" } # so\n");
    let json = fix(r#"{"step": [{"cast": {"path": "/a", "to": "number"}}]}"#);
    let other = fix(r#"{"step": [{"cast": {"path": "/b", "to": "number"}}]}"#);
    assert_eq!(toml.hash(), json.hash());
    assert_ne!(json.hash(), other.hash());
    // Plans name fixes by it.
    assert_eq!(json.hash(), "b53bd8c55ac5b5ceddfa19f5d87d4a28549a68eef7134ac302357a959a0f1818");
}

#[test]
fn a_fix_is_described_a_line_a_step() {
    let text = r#"
        [[step]]
        cast = { path = "/amount", to = "integer" }
        when = { path = "/amount", is = "string", matches = "^[0-9]+$" }
        [[step]]
        parse = { path = "/at", as = "unix_seconds", to = "rfc3339" }
        [[patch]]
        op = "test"
        path = "/v"
        value = 1
        [[header]]
        remove = "x-retry"
        when = { header = "x-source", equals = "atc" }
    "#;
    assert_eq!(
        fix(text).describe(),
        [
            r#"cast /amount to an integer, when /amount is a string and matches "^[0-9]+$""#,
            "read /at as unix_seconds and write it as rfc3339",
            "patch: go on only if /v equals 1",
            r#"remove header x-retry, when header x-source equals "atc""#,
        ]
    );
}

#[test]
fn a_name_with_a_line_break_stays_on_its_line() {
    let odd = fix("[[step]]\nscale = { path = \"/a\\nb\", by = \"0.01\" }");
    assert_eq!(odd.describe(), [r"multiply /a\nb by 0.01"]);
    let message = Message { body: br#"{"a\nb":true}"#.to_vec(), ..Message::default() };
    let failure = odd.apply(&message).expect_err("no number");
    assert!(failure.to_string().contains(r"at /a\nb: "), "{failure}");
}
