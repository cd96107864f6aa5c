//! What the JSON decoder accepts, refuses and calls by which name; serde_json is the second opinion.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::rejection::{Code, Issue};
use crate::value::{Node, Tape, Value};

fn decoder() -> JsonDecoder {
    JsonDecoder::new(Limits { body_bytes_max: 1 << 20, depth_max: 64 })
}

fn refused(body: impl AsRef<[u8]>) -> Issue {
    let body = body.as_ref();
    let rejection = decoder().decode(body, |_| ()).expect_err(&String::from_utf8_lossy(body));
    assert_eq!(rejection.issues().len(), 1);
    rejection.issues()[0].clone()
}

fn rewritten(body: &str) -> String {
    let write = |tape: &Tape<'_>| {
        let mut out = Vec::new();
        tape.root().write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    };
    decoder().decode(body.as_bytes(), write).expect(body)
}

#[test]
fn each_kind_of_refusal_has_its_code_and_offset() {
    let cases: &[(&[u8], Code, u64)] = &[
        (b"", Code::FrameEmpty, 0),
        (b" \r\n\t", Code::FrameEmpty, 0),
        (b"nonsense", Code::JsonSyntax, 0),
        (b"{'a':1}", Code::JsonSyntax, 1),
        (b"{\"a\":1,}", Code::JsonSyntax, 7),
        (b"[1 2]", Code::JsonSyntax, 3),
        (b"[1]]", Code::JsonTrailing, 3),
        (b"{\"a\" 1}", Code::JsonSyntax, 5),
        (b"[01]", Code::JsonSyntax, 2),
        (b"[1.]", Code::JsonSyntax, 3),
        (b"[+1]", Code::JsonSyntax, 1),
        (b"[NaN]", Code::JsonSyntax, 1),
        (b"123a", Code::JsonSyntax, 3),
        (b"\"a\x01\"", Code::JsonSyntax, 2),
        (br#""\x""#, Code::JsonSyntax, 1),
        (br#""\ud800""#, Code::JsonSyntax, 1),
        (br#""\udc00\ud800""#, Code::JsonSyntax, 1),
        (b"\xEF\xBB\xBF{}", Code::JsonSyntax, 0),
        (b"\x1F\x8B\x08\x00", Code::JsonSyntax, 0),
        (b"{\"a\":", Code::JsonTruncated, 5),
        (b"{\"a\":\"b", Code::JsonTruncated, 7),
        (b"\"\xC3", Code::JsonTruncated, 2),
        (b"[1.5e", Code::JsonTruncated, 5),
        (b"tru", Code::JsonTruncated, 3),
        (b"{\"a\":1}{\"a\":2}", Code::JsonTrailing, 7),
        (b"{\"a\":1}\n{\"a\":2}\n", Code::JsonTrailing, 8),
        (b"{\"a\":1} x", Code::JsonTrailing, 8),
        (b"{\"a\":\"\xFF\"}", Code::JsonUtf8, 6),
        (b"{\"a\":\"\xC3(\"}", Code::JsonUtf8, 6),
        (b"{\"a\":\"\xED\xA0\x80\"}", Code::JsonUtf8, 6),
        (b"[\xFF]", Code::JsonUtf8, 1),
        (b"{\"a\":1,\"b\":2,\"a\":3}", Code::JsonDuplicateKey, 13),
        (b"[1,1180591620717411303424]", Code::JsonNumberRange, 3),
        (b"[-9223372036854775809]", Code::JsonNumberRange, 1),
        (b"{\"a\":{\"b\":1e400}}", Code::JsonNumberRange, 10),
        (b"[-1e400]", Code::JsonNumberRange, 1),
    ];
    for (body, code, offset) in cases {
        let issue = refused(body);
        let text = String::from_utf8_lossy(body);
        assert_eq!((issue.code, issue.offset), (*code, Some(*offset)), "{text}: {issue:?}");
        assert!(!issue.actual.is_empty() && !issue.expected.is_empty(), "{text}: {issue:?}");
    }
}

#[test]
fn a_body_larger_than_allowed_is_refused_unread_whatever_it_holds() {
    let mut small = JsonDecoder::new(Limits { body_bytes_max: 4, depth_max: 64 });
    assert!(small.decode(b"[12]", |_| ()).is_ok());
    let rejection = small.decode(b"\xFF\xFF\xFF\xFF\xFF", |_| ()).expect_err("five bytes");
    assert_eq!(rejection.code(), Code::FrameTooLarge);
    assert_eq!(rejection.issues()[0].actual, "4 bytes or more");
}

#[test]
fn nesting_is_allowed_up_to_the_limit_and_a_million_brackets_do_no_harm() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(decoder().decode(nested(64).as_bytes(), |_| ()).is_ok());
    let issue = refused(nested(65));
    assert_eq!((issue.code, issue.offset), (Code::JsonDepth, Some(64)));
    assert_eq!(refused("[".repeat(1 << 20)).code, Code::JsonDepth);
    assert_eq!(refused("{\"a\":".repeat(1 << 17)).code, Code::JsonDepth);
}

#[test]
fn a_repeated_name_is_found_at_any_depth_in_small_and_large_objects_and_through_escapes() {
    let issue = refused(r#"{"a":[0,{"x/y":1,"x\/y":2}]}"#);
    assert_eq!((issue.code, issue.path.as_str()), (Code::JsonDuplicateKey, "/a/[*]/x~1y"));
    assert_eq!((issue.instance_path.as_str(), issue.offset), ("/a/1/x~1y", Some(17)));
    for members in [2, 3, 40, 64, 65, 500] {
        let body = |last: usize| {
            let names = (0..members - 1).chain([last]).map(|name| format!("\"field {name}\":[{{}}]"));
            format!("{{{}}}", names.collect::<Vec<_>>().join(","))
        };
        assert!(decoder().decode(body(members).as_bytes(), |_| ()).is_ok(), "{members}");
        let issue = refused(body(0));
        assert_eq!((issue.code, issue.path.as_str()), (Code::JsonDuplicateKey, "/field 0"), "{members}");
    }
}

#[test]
fn numbers_keep_their_kind_and_their_text() {
    let kinds = |body: &str| {
        let node = |element: Value<'_>| match element.node() {
            Node::I64(value) => format!("i64 {value}"),
            Node::U64(value) => format!("u64 {value}"),
            Node::F64 { value, .. } => format!("f64 {value:?} {}", element.number_text().expect("text")),
            other => panic!("{other:?}"),
        };
        decoder().decode(body.as_bytes(), |tape| tape.root().elements().map(node).collect::<Vec<_>>()).expect(body)
    };
    assert_eq!(
        kinds("[0, -1,9223372036854775807,9223372036854775808,18446744073709551615,-9223372036854775808]"),
        [
            "i64 0",
            "i64 -1",
            "i64 9223372036854775807",
            "u64 9223372036854775808",
            "u64 18446744073709551615",
            "i64 -9223372036854775808"
        ]
    );
    assert_eq!(
        kinds("[1.0,-0,1E+2 ,-0.0, 1e-400,0.1000]"),
        ["f64 1.0 1.0", "f64 -0.0 -0", "f64 100.0 1E+2", "f64 -0.0 -0.0", "f64 0.0 1e-400", "f64 0.1 0.1000"]
    );
    assert_eq!(rewritten("-0"), "-0");
    assert_eq!(
        rewritten(r#" {"a,]" : 1.50 , "b":["\":1",2.50,{"c":-0}]} "#),
        r#"{"a,]":1.50,"b":["\":1",2.50,{"c":-0}]}"#
    );
}

#[test]
fn any_json_value_may_be_the_root() {
    for body in ["null", "true", "false", "0", "\"\"", "[]", "{}", " 1.0 ", "\n\"é\\u00e9\"\n"] {
        assert!(decoder().decode(body.as_bytes(), |_| ()).is_ok(), "{body}");
    }
}

#[test]
fn what_one_body_did_never_shows_in_the_next() {
    let mut decoder = Decoder::Json(decoder());
    let good = br#"{"id":"a","n":[1,2.5,"x"]}"#;
    let giant = format!("[{}]", vec!["1"; 600_000].join(","));
    let bad: &[&[u8]] = &[
        b"{\"id\":\"b\"",
        b"",
        b"{\"id\":\"b\"}{\"id\":\"c\"}",
        b"[[[[",
        b"\"\xFF",
        b"{\"a\":1,\"a\":1}",
        giant.as_bytes(),
    ];
    for body in bad {
        let _ = decoder.decode(body, |_| ());
        let id = decoder.decode(good, |tape| {
            assert_eq!(tape.root().end(), 8);
            tape.root().get("id").and_then(Value::as_str).map(str::to_owned)
        });
        assert_eq!(id, Ok(Some("a".to_owned())), "after {}", String::from_utf8_lossy(&body[..body.len().min(20)]));
    }
}

#[test]
fn a_panic_of_the_one_who_looks_at_an_event_leaves_the_decoder_fit_for_the_next() {
    let mut decoder = decoder();
    let looking = std::panic::AssertUnwindSafe(|| decoder.decode(b"[1]", |_| panic!("looking")));
    assert!(std::panic::catch_unwind(looking).is_err());
    assert_eq!(decoder.decode(b"[1,2]", |tape| tape.root().elements().count()), Ok(2));
}

#[test]
fn issues_hold_nothing_of_the_event_but_names_on_the_way() {
    for body in ["{\"a\":secret}", "[1] secret", "{\"a\":\"secret", "{\"secret\" 1}", "{\"a\":\"\\qsecret\"}"] {
        let issue = refused(body);
        let said = format!("{} {} {} {}", issue.path, issue.instance_path, issue.expected, issue.actual);
        assert!(!said.contains("secret"), "{body}: {said}");
    }
}

/// A document, written by the tests with all the freedom JSON leaves.
#[derive(Clone, Debug)]
enum Tree {
    Word(&'static str),
    Number(String),
    Text(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Choices of the writer: bytes that are used round and round.
struct Noise<'n>(std::iter::Cycle<std::slice::Iter<'n, u8>>);

impl Noise<'_> {
    fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::from(*self.0.next().expect("cycles")) % among.len()]
    }

    fn space(&mut self) -> &'static str {
        self.choose(&["", "", "", " ", "\n", "\t ", "\r\n"])
    }
}

impl Tree {
    /// As JSON with white space and escapes at will; without `noise` the way `Value::write_json` writes.
    fn write(&self, noise: &mut Option<Noise<'_>>, out: &mut String) {
        let mut space = |out: &mut String| out.push_str(noise.as_mut().map_or("", Noise::space));
        space(out);
        match self {
            Tree::Word(word) => out.push_str(word),
            Tree::Number(text) => out.push_str(text),
            Tree::Text(text) => write_text(text, noise, out),
            Tree::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    element.write(noise, out);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                out.push('{');
                for (index, (name, member)) in members.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    write_text(name, noise, out);
                    out.push(':');
                    member.write(noise, out);
                }
                out.push('}');
            }
        }
        out.push_str(noise.as_mut().map_or("", Noise::space));
    }
}

fn write_text(text: &str, noise: &mut Option<Noise<'_>>, out: &mut String) {
    let Some(noise) = noise else {
        out.push_str(&serde_json::to_string(text).expect("a string"));
        return;
    };
    out.push('"');
    for character in text.chars() {
        if noise.choose(&[false, false, false, true]) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            let quoted = serde_json::to_string(&character).expect("a string");
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    out.push('"');
}

fn tree() -> impl Strategy<Value = Tree> {
    let number = prop_oneof![
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        "-?(0|[1-9][0-9]{0,25})",
        "-?(0|[1-9][0-9]{0,25})[.][0-9]{1,30}([eE][+-]?[0-9]{1,3})?",
        "-?(0|[1-9][0-9]{0,8})[eE][+-]?[0-9]{1,4}",
    ];
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(Tree::Word),
        number.prop_map(Tree::Number),
        text().prop_map(Tree::Text),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Tree::Array),
            prop::collection::vec((text(), inner), 0..8).prop_map(Tree::Object),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "[ -~]{0,12}", "\\PC{0,12}", any::<String>()]
}

#[derive(Clone, Debug)]
enum Mutation {
    Insert(prop::sample::Index, u8),
    Replace(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Twice,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte =
        || prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\0123456789-+.eEtfnu \n\x00\xC3\xFF".to_vec())];
    prop_oneof![
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        any::<prop::sample::Index>().prop_map(Mutation::Remove),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        Just(Mutation::Twice),
    ]
}

fn mutate(body: &mut Vec<u8>, mutation: &Mutation) {
    if body.is_empty() {
        return;
    }
    match mutation {
        Mutation::Insert(at, byte) => body.insert(at.index(body.len()), *byte),
        Mutation::Replace(at, byte) => {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        Mutation::Remove(at) => {
            body.remove(at.index(body.len()));
        }
        Mutation::Cut(at) => body.truncate(at.index(body.len())),
        Mutation::Twice => body.extend_from_within(..),
    }
}

/// Whether both opinions on `body` are the same, refusals by rules of our own aside.
fn agree(decoder: &mut JsonDecoder, body: &[u8]) -> Result<(), TestCaseError> {
    let second: Result<Json, _> = serde_json::from_slice(body);
    let first = decoder.decode(body, |tape| match &second {
        Ok(json) => same(tape.root(), json),
        Err(error) => Err(format!("serde_json refuses: {error}")),
    });
    match first {
        Ok(verdict) => prop_assert_eq!(verdict, Ok(())),
        Err(rejection) => {
            let issue = &rejection.issues()[0];
            prop_assert!(issue.offset.is_some(), "no offset: {issue:?}");
            match (issue.code, &second) {
                (Code::JsonDuplicateKey, second) => prop_assert!(second.is_ok()),
                (Code::JsonNumberRange, Ok(_)) => {}
                (Code::JsonNumberRange, Err(error)) => {
                    prop_assert!(error.to_string().contains("out of range"), "{error}")
                }
                (_, Ok(json)) => prop_assert!(false, "serde_json accepts {json}, and we say {issue:?}"),
                (_, Err(_)) => {}
            }
        }
    }
    Ok(())
}

/// Whether `value` is `json`, or where not.
fn same(value: Value<'_>, json: &Json) -> Result<(), String> {
    let equal = match (value.node(), json) {
        (Node::Null, Json::Null) => true,
        (Node::Bool(ours), Json::Bool(theirs)) => ours == *theirs,
        (Node::Str(ours), Json::String(theirs)) => ours == theirs,
        (Node::I64(ours), Json::Number(theirs)) => theirs.as_i64() == Some(ours),
        (Node::U64(ours), Json::Number(theirs)) => theirs.as_i64().is_none() && theirs.as_u64() == Some(ours),
        (Node::F64 { value: ours, .. }, Json::Number(theirs)) => {
            let exact: f64 = value.number_text().and_then(|text| text.parse().ok()).ok_or("a float without text")?;
            // serde_json may be off by a unit in the last place; the standard library is not.
            let near =
                theirs.as_f64().is_some_and(|theirs| (theirs - ours).abs() <= ours.abs() * 1e-15 + f64::MIN_POSITIVE);
            ours.to_bits() == exact.to_bits() && theirs.is_f64() && near
        }
        (Node::Array { .. }, Json::Array(theirs)) => {
            for (ours, theirs) in value.elements().zip(theirs) {
                same(ours, theirs)?;
            }
            value.elements().count() == theirs.len()
        }
        (Node::Object { .. }, Json::Object(theirs)) => {
            for ((name, ours), (their_name, theirs)) in value.members().zip(theirs) {
                same(ours, theirs)?;
                if name != their_name {
                    return Err(format!("{name:?} is not {their_name:?}"));
                }
            }
            value.members().count() == theirs.len()
        }
        _ => false,
    };
    if equal { Ok(()) } else { Err(format!("{:?} is not {json}", value.node())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_document_means_what_serde_json_says_and_is_written_back_digit_for_digit(
        tree in tree(),
        noise in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let (mut body, mut expected) = (String::new(), String::new());
        tree.write(&mut Some(Noise(noise.iter().cycle())), &mut body);
        tree.write(&mut None, &mut expected);
        let mut decoder = decoder();
        agree(&mut decoder, body.as_bytes())?;
        let written = decoder.decode(body.as_bytes(), |tape| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            String::from_utf8(out).expect("JSON is UTF-8")
        });
        if let Ok(written) = written {
            prop_assert_eq!(written, expected);
        }
    }

    #[test]
    fn every_mutation_of_a_document_gets_the_verdict_serde_json_gives(
        tree in tree(),
        noise in prop::collection::vec(any::<u8>(), 1..50),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut body = String::new();
        tree.write(&mut Some(Noise(noise.iter().cycle())), &mut body);
        let mut body = body.into_bytes();
        let mut decoder = decoder();
        for mutation in &mutations {
            mutate(&mut body, mutation);
            agree(&mut decoder, &body)?;
        }
    }

    #[test]
    fn every_proper_beginning_of_a_document_is_truncated(
        tree in tree(),
        noise in prop::collection::vec(any::<u8>(), 1..50),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = "[".to_owned();
        tree.write(&mut Some(Noise(noise.iter().cycle())), &mut body);
        let cut = 1 + cut.index(body.len());
        let issue = refused(&body.as_bytes()[..cut]);
        prop_assert_eq!((issue.code, issue.offset), (Code::JsonTruncated, Some(cut as u64)));
    }

    #[test]
    fn any_bytes_at_all_get_the_verdict_serde_json_gives(body in prop::collection::vec(any::<u8>(), 0..60)) {
        agree(&mut decoder(), &body)?;
    }
}
