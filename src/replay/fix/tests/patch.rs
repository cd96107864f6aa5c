//! JSON Patch, by the cases that the test suite of its community (json-patch/json-patch-tests) thought of, and RFC 6902's
//! own examples (appendix A), written down anew.

use super::*;

/// What the operations make of the document, as JSON that is compared by value.
fn patched(document: &str, operations: &str) -> Result<Tree, String> {
    let fix = Fix::parse(&format!("{{\"patch\": {operations}}}"), "fix").map_err(|error| error.to_string())?;
    let patched = fix.apply(&message(document)).map_err(|failure| failure.to_string())?;
    Ok(decoded(&patched.body).expect("a patch gives JSON"))
}

#[test]
fn operations_do_what_rfc_6902_says() {
    for (document, operations, expected) in [
        // add
        (r#"{"foo":null}"#, r#"[{"op":"add","path":"/foo","value":1}]"#, r#"{"foo":1}"#),
        ("[]", r#"[{"op":"add","path":"/0","value":"foo"}]"#, r#"["foo"]"#),
        ("{}", r#"[{"op":"add","path":"","value":[]}]"#, "[]"),
        ("[]", r#"[{"op":"add","path":"/-","value":"hi"}]"#, r#"["hi"]"#),
        ("{}", r#"[{"op":"add","path":"/","value":1}]"#, r#"{"":1}"#),
        (r#"{"foo":{}}"#, r#"[{"op":"add","path":"/foo/","value":1}]"#, r#"{"foo":{"":1}}"#),
        (r#"{"a":[{"b":1}]}"#, r#"[{"op":"add","path":"/a/0/c","value":[1,2]}]"#, r#"{"a":[{"b":1,"c":[1,2]}]}"#),
        (r#"{"foo":1}"#, r#"[{"op":"add","path":"/0","value":"bar"}]"#, r#"{"foo":1,"0":"bar"}"#),
        (r#"["a","c"]"#, r#"[{"op":"add","path":"/1","value":["b","d"]}]"#, r#"["a",["b","d"],"c"]"#),
        (r#"["a","b"]"#, r#"[{"op":"add","path":"/2","value":"c"}]"#, r#"["a","b","c"]"#),
        ("[1,[2,[3]]]", r#"[{"op":"add","path":"/1/1/-","value":4}]"#, "[1,[2,[3,4]]]"),
        // remove
        (r#"{"foo":null,"bar":[1]}"#, r#"[{"op":"remove","path":"/foo"}]"#, r#"{"bar":[1]}"#),
        ("[1,2,3,4]", r#"[{"op":"remove","path":"/1"},{"op":"remove","path":"/2"}]"#, "[1,3]"),
        (r#"{"a":[{"b":1}]}"#, r#"[{"op":"remove","path":"/a/0/b"}]"#, r#"{"a":[{}]}"#),
        // replace
        (r#"{"foo":[1]}"#, r#"[{"op":"replace","path":"/foo/0","value":null}]"#, r#"{"foo":[null]}"#),
        (r#"{"foo":1}"#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#, r#"{"b":2}"#),
        (r#""foo""#, r#"[{"op":"replace","path":"","value":"bar"}]"#, r#""bar""#),
        // move and copy
        (r#"{"foo":1}"#, r#"[{"op":"move","from":"/foo","path":"/foo"}]"#, r#"{"foo":1}"#),
        (r#"{"foo":null}"#, r#"[{"op":"move","from":"/foo","path":"/bar"}]"#, r#"{"bar":null}"#),
        (r#"{"a":[{"q":"h"}]}"#, r#"[{"op":"move","from":"/a/0/q","path":"/a/1"}]"#, r#"{"a":[{},"h"]}"#),
        ("[1,2,3]", r#"[{"op":"move","from":"/0","path":"/-"}]"#, "[2,3,1]"),
        (r#"{"a":[{"q":1}]}"#, r#"[{"op":"copy","from":"/a/0","path":"/b"}]"#, r#"{"a":[{"q":1}],"b":{"q":1}}"#),
        (r#"{"a":1}"#, r#"[{"op":"copy","from":"","path":"/b"}]"#, r#"{"a":1,"b":{"a":1}}"#),
        // test
        (r#"{"1e0":"foo"}"#, r#"[{"op":"test","path":"/1e0","value":"foo"}]"#, r#"{"1e0":"foo"}"#),
        (
            r#"{"a":[{"x":1,"y":2}]}"#,
            r#"[{"op":"test","path":"/a","value":[{"y":2.0,"x":1}]}]"#,
            r#"{"a":[{"x":1,"y":2}]}"#,
        ),
        (
            r#"{"a/b":1,"m~n":8}"#,
            r#"[{"op":"test","path":"/a~1b","value":1},{"op":"test","path":"/m~0n","value":8}]"#,
            r#"{"a/b":1,"m~n":8}"#,
        ),
        (
            r#"{"i\\j":5,"k\"l":6," ":7}"#,
            r#"[{"op":"test","path":"/i\\j","value":5},{"op":"test","path":"/k\"l","value":6},{"op":"test","path":"/ ","value":7}]"#,
            r#"{"i\\j":5,"k\"l":6," ":7}"#,
        ),
        (r#"{"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, r#"{"~1":10}"#),
    ] {
        let expected = decoded(expected.as_bytes()).expect("JSON");
        let patched = patched(document, operations);
        let same = patched.as_ref().is_ok_and(|patched| patched.same(&expected));
        assert!(same, "{operations}\non {document} gives {patched:?}");
    }
}

#[test]
fn operations_that_cannot_be_done_fail() {
    for (document, operations) in [
        (r#"{"bar":[1,2]}"#, r#"[{"op":"add","path":"/bar/8","value":"5"}]"#),
        (r#"{"bar":[1,2]}"#, r#"[{"op":"add","path":"/bar/-1","value":"5"}]"#),
        (r#"["foo"]"#, r#"[{"op":"add","path":"/bar","value":42}]"#),
        (r#"["foo"]"#, r#"[{"op":"add","path":"/1e0","value":42}]"#),
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/foo/bar","value":42}]"#),
        (r#"{"foo":1}"#, r#"[{"op":"add","path":"/a/b","value":42}]"#),
        (r#"{"foo":1}"#, r#"[{"op":"remove","path":"/baz"}]"#),
        (r#"[1]"#, r#"[{"op":"remove","path":"/1"}]"#),
        (r#"[1]"#, r#"[{"op":"remove","path":"/-"}]"#),
        (r#"[1,2]"#, r#"[{"op":"remove","path":"/1e0"}]"#),
        (r#"{"foo":1}"#, r#"[{"op":"remove","path":""}]"#),
        (r#"{"bar":1}"#, r#"[{"op":"replace","path":"/foo/bar","value":false}]"#),
        (r#"{"bar":1}"#, r#"[{"op":"replace","path":"/foo","value":false}]"#),
        (r#"[""]"#, r#"[{"op":"replace","path":"/1e0","value":false}]"#),
        (r#"{"a":[1,2,3]}"#, r#"[{"op":"copy","from":"/a/1e0","path":"/b"}]"#),
        (r#"{"a":[1,2,3]}"#, r#"[{"op":"move","from":"/a/1e0","path":"/b"}]"#),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"","path":"/a"}]"#),
        (r#"["a","b"]"#, r#"[{"op":"test","path":"/00","value":"a"}]"#),
        (r#"["a","b"]"#, r#"[{"op":"test","path":"/01","value":"b"}]"#),
        (r#"{"a":{"b":[1,2]}}"#, r#"[{"op":"test","path":"/a","value":[1,2]}]"#),
        (r#"{"a":"1"}"#, r#"[{"op":"test","path":"/a","value":1}]"#),
        // What comes before a failure does not stay: the letter is left as it is.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":1},{"op":"test","path":"/a","value":2}]"#),
    ] {
        assert!(patched(document, operations).is_err(), "{operations} on {document}");
    }
    for operations in [
        r#"[{"op":"add","path":"/-"}]"#,
        r#"[{"op":"test","path":"/0"}]"#,
        r#"[{"op":"copy","path":"/-"}]"#,
        r#"[{"op":"move","path":""}]"#,
        r#"[{"op":"spam","path":"/foo","value":1}]"#,
        r#"[{"path":"/foo","value":1}]"#,
        r#"[{"op":"add","path":"foo","value":1}]"#,
        r#"[{"op":"add","path":"/a","value":1,"op":"move"}]"#,
    ] {
        assert!(Fix::parse(&format!("{{\"patch\": {operations}}}"), "fix").is_err(), "{operations}");
    }
}

#[test]
fn a_document_that_is_copied_into_itself_ends_at_a_limit() {
    let copy = |number: usize| format!(r#"{{"op":"copy","from":"","path":"/a{number}"}}"#);
    let copies = (0..60).map(copy).collect::<Vec<_>>().join(",");
    let failure = patched(r#"{"b":"0123456789"}"#, &format!("[{copies}]")).expect_err("2^60 bytes are too many");
    assert!(failure.contains("copies of at most 64 MiB"), "{failure}");
    let nest = r#"{"op":"move","from":"/a","path":"/b"},{"op":"add","path":"/a","value":{}},{"op":"move","from":"/b","path":"/a/b"}"#;
    let nests = vec![nest; 330].join(",");
    assert!(patched(r#"{"a":{}}"#, &format!("[{nests}]")).is_ok());
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let failure =
        patched(&format!("[{deep}]"), &format!(r#"[{{"op":"copy","from":"","path":"{}/-"}}]"#, "/0".repeat(300)));
    assert!(failure.expect_err("600 levels").contains("at most 512 levels"));
}

#[test]
fn numbers_in_a_patch_stay_as_they_are_written() {
    let fix = Fix::parse("[[patch]]\nop = \"add\"\npath = \"/a\"\njson = \"12345678901234567890123.4500\"", "fix")
        .expect("a fix");
    let patched = fix.apply(&message(r#"{"b":1.0}"#)).expect("it can be done");
    assert_eq!(patched.body, br#"{"b":1.0,"a":12345678901234567890123.4500}"#);
}
