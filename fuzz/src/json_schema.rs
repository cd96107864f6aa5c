//! Verdicts by JSON Schemas: the validator over our tape, held against the same over values of serde_json.

use std::path::Path;
use std::sync::LazyLock;

use parqueduct::decode::{JsonDecoder, Limits};
use parqueduct::rejection::Rejection;
use parqueduct::schema::{Language, Schema, Validator};
use parqueduct::value::{Node, Tape, Value, View};
use serde_json::{Number, Value as Json};

use super::check_places;

const LIMITS: Limits = Limits { body_bytes_max: 200, depth_max: 8 };

/// Keywords that look at values in each their own way; the first byte of an input chooses. Corpora know them by their
/// places: add at the end.
const SCHEMAS: &[&str] = &[
    r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string","minLength":2,"maxLength":3}},"required":["a"],"additionalProperties":false}"#,
    r#"{"enum":[1,"a",null,{"x":[1.0,2],"y":true},0.1,1e3,18446744073709551615,-0.0,[[]]]}"#,
    r#"{"uniqueItems":true,"minItems":1,"maxItems":6}"#,
    r#"{"items":{"multipleOf":0.01}}"#,
    r#"{"items":{"multipleOf":3}}"#,
    r#"{"items":{"minimum":-9007199254740993,"exclusiveMaximum":9007199254740993}}"#,
    r#"{"items":{"exclusiveMinimum":-0.5,"maximum":18446744073709551615}}"#,
    r#"{"prefixItems":[{"type":"string"},{"type":["null","boolean"]}],"items":{"type":"integer"},"contains":{"type":"number"},"minContains":2,"maxContains":3}"#,
    r#"{"oneOf":[{"type":"integer"},{"minimum":2},{"maxLength":2}],"not":{"const":7}}"#,
    r#"{"anyOf":[{"type":"array","minItems":2},{"required":["a","b"]},{"type":"string","pattern":"^[a-c]+$"}],"if":{"type":"object"},"then":{"minProperties":2},"else":{"maxItems":3}}"#,
    r#"{"properties":{"a":true},"patternProperties":{"^b":{"type":"null"}},"propertyNames":{"maxLength":3},"unevaluatedProperties":false}"#,
    r#"{"allOf":[{"prefixItems":[{"type":"integer"}]},{"contains":{"type":"string"}}],"unevaluatedItems":false}"#,
    r#"{"items":{"format":"date-time"}}"#,
    r#"{"items":{"anyOf":[{"format":"date"},{"format":"time"},{"format":"duration"}]}}"#,
    r#"{"items":{"anyOf":[{"format":"uuid"},{"format":"ipv4"},{"format":"ipv6"},{"format":"email"}]}}"#,
    r#"{"items":{"anyOf":[{"format":"uri"},{"format":"json-pointer"},{"format":"hostname"},{"format":"regex"}]}}"#,
    r##"{"type":["object","integer"],"properties":{"next":{"$ref":"#"}},"additionalProperties":{"type":"integer"}}"##,
    r#"{"dependentRequired":{"a":["b"]},"dependentSchemas":{"c":{"properties":{"d":{"type":"integer"}}}},"maxProperties":3}"#,
    r#"{"const":{"a":[1,{"b":2.50}],"c":"\u00e9"}}"#,
    r#"{"items":{"contentEncoding":"base64","type":"string"}}"#,
];

struct Judge {
    text: &'static str,
    ours: Validator,
    theirs: jsonschema::Validator,
}

static JUDGES: LazyLock<Vec<Judge>> = LazyLock::new(|| {
    let judge = |text: &&'static str| {
        let read = |_: &Path| Ok(text.as_bytes().to_vec());
        let schema = Schema::load(&Language::JsonSchema, Path::new("/s.json"), "s", 1, &read).expect("a schema");
        let json = serde_json::from_str(text).expect("a schema is JSON");
        let theirs = jsonschema::options().should_validate_formats(true).build(&json).expect("a schema");
        Judge { text, ours: schema.validator(8).expect("a schema"), theirs }
    };
    SCHEMAS.iter().map(judge).collect()
});

/// Both give the same verdict. One that refuses has issues, and no text of the event is in what they say: a mark in it would be.
pub fn json_schema(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let judge = &JUDGES[usize::from(*choice) % JUDGES.len()];
    let _not_json = JsonDecoder::new(LIMITS).decode(body, |tape| {
        if is_finer_than_floats(tape) {
            return;
        }
        let verdict = judge.ours.check_value(tape.root());
        let json = json_of(tape.root());
        assert_eq!(verdict.is_ok(), judge.theirs.is_valid(&json), "{json} by {}: {verdict:?}", judge.text);
        if let Err(rejection) = verdict {
            check_places(&rejection, body);
            check_silence(&rejection, tape);
        }
    });
}

/// Whether a number is written with more digits than a float is sure to hold, or is smaller than one can be: ours is judged by
/// what is written, theirs by the float that is left of it.
fn is_finer_than_floats(tape: &Tape<'_>) -> bool {
    let View { nodes, source } = tape.view();
    nodes.iter().any(|node| match node {
        Node::F64 { value, at, len } => {
            let text = &source[*at as usize..(*at + *len) as usize];
            let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
            let digits: Vec<&u8> = mantissa.filter(|byte| byte.is_ascii_digit()).collect();
            digits.len() > 15 || (value.abs() < f64::MIN_POSITIVE && digits.iter().any(|digit| **digit != b'0'))
        }
        _ => false,
    })
}

fn json_of(value: Value<'_>) -> Json {
    match value.node() {
        Node::Null => Json::Null,
        Node::Bool(value) => value.into(),
        Node::I64(number) => number.into(),
        Node::U64(number) => number.into(),
        Node::F64 { value, .. } => Number::from_f64(value).expect("a finite number").into(),
        Node::Str(text) => text.into(),
        Node::Array { .. } => value.elements().map(json_of).collect(),
        Node::Object { .. } => value.members().map(|(name, member)| (name.to_owned(), json_of(member))).collect(),
    }
}

fn check_silence(rejection: &Rejection, tape: &Tape<'_>) {
    // No word of ours, and of no schema above, has one of these.
    let is_telling = |text: &&str| text.contains(['~', '%']);
    for node in tape.view().nodes {
        let Node::Str(text) = node else { continue };
        for issue in rejection.issues().iter().filter(|_| is_telling(text)) {
            assert!(!issue.expected.contains(text) && !issue.actual.contains(text), "{issue:?}");
        }
    }
}
