//! Fixes with a jq program: a process of its own runs it, and nothing that it does harms ours.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parqueduct::event::Message;
use parqueduct::replay::fix::jq::JqLimits;
use parqueduct::replay::fix::{Fix, Part};

use crate::harness::program::BINARY;

/// Less than the default, so that what never ends is soon over.
const LIMITS: JqLimits = JqLimits { time: Duration::from_secs(3), memory_bytes: 1 << 30, output_bytes: 1 << 20 };

fn fix_of(text: &str) -> Fix {
    let fix = Fix::parse(text, "fix").unwrap_or_else(|error| panic!("{error}"));
    fix.with_jq(LIMITS, PathBuf::from(BINARY))
}

fn fix(program: &str) -> Fix {
    fix_of(&serde_json::json!({ "jq": program }).to_string())
}

fn apply(fix: &Fix, body: &str) -> Result<String, String> {
    let message = Message { body: body.as_bytes().to_vec(), ..Message::default() };
    match fix.apply(&message) {
        Ok(fixed) => Ok(String::from_utf8(fixed.body).unwrap()),
        Err(failure) => {
            assert_eq!((failure.part, failure.is_ours, failure.code()), (Part::Jq, false, "fix.jq"));
            Err(failure.to_string())
        }
    }
}

#[test]
fn a_program_changes_one_body_after_another() {
    let fix = fix(".n += 1 | .seen = true");
    for n in 0..50 {
        assert_eq!(apply(&fix, &format!("{{\"n\":{n}}}")), Ok(format!("{{\"n\":{},\"seen\":true}}", n + 1)));
    }
    // An error of the program is that body's alone.
    assert_eq!(apply(&fix, "[]"), Err("jq: expected one value, found an error of the program".to_owned()));
    assert_eq!(apply(&fix, "{\"n\":0}"), Ok("{\"n\":1,\"seen\":true}".to_owned()));
}

#[test]
fn what_a_program_passes_on_stays_digit_for_digit_and_what_it_leaves_alone_byte_for_byte() {
    let body = r#"{"z":123456789012345678901234567890.123456789,"a":9007199254740993,"m":1.50,"e":1e2}"#;
    assert_eq!(apply(&fix("del(.gone) | .new = null"), body), Ok(body.replace('}', ",\"new\":null}")));
    let spaced = " {\"a\" : 1.0} ";
    assert_eq!(apply(&fix("."), spaced).as_deref(), Ok(spaced));
}

#[test]
fn a_program_that_never_ends_is_ended_and_the_next_body_is_served() {
    for program in [
        "def f: f; if .n == 1 then . else f end",
        "if .n == 1 then . else last(repeat(.)) end",
        "if .n == 1 then . else (reduce range(1e15) as $x (0; . + $x)) end",
        "if .n == 1 then . else first(repeat(.) | select(false)) end",
    ] {
        let (fix, started) = (fix(program), Instant::now());
        let failure = apply(&fix, "{\"n\":0}").expect_err(program);
        assert_eq!(failure, "jq: expected an end within 3000 ms, found none", "{program}");
        assert!(started.elapsed() < LIMITS.time + Duration::from_secs(8), "{program} took {:?}", started.elapsed());
        assert_eq!(apply(&fix, "{\"n\":1}").as_deref(), Ok("{\"n\":1}"), "{program}");
    }
}

#[test]
fn a_program_that_takes_all_memory_or_all_of_the_stack_ends_alone() {
    for program in [
        "if .n == 1 then . else [repeat(.)] end",
        "if .n == 1 then . else [range(1e12)] end",
        "def f: 1 + f; if .n == 1 then . else f end",
        "if .n == 1 then . else (reduce range(100) as $x (\"0123456789\"; . + .)) end",
        "def f: [f]; if .n == 1 then . else f end",
    ] {
        let fix = fix(program);
        let failure = apply(&fix, "{\"n\":0}").expect_err(program);
        // Whichever limit is met first, on whatever machine: one is.
        assert!(failure.contains("of memory") || failure.contains("an end within"), "{program}: {failure}");
        assert_eq!(apply(&fix, "{\"n\":1}").as_deref(), Ok("{\"n\":1}"), "{program}");
    }
}

#[test]
fn exactly_one_value_that_json_has_comes_out() {
    for (program, failure) in [
        ("empty", "jq: expected one value, found none"),
        (".[]", "jq: expected one value, found more than one"),
        ("repeat(.)", "jq: expected one value, found more than one"),
        ("nan", "jq: expected JSON, found not JSON"),
        ("{(0): 1}", "jq: expected JSON, found not JSON"),
        ("[range(1e6)]", "jq: expected at most 1048576 bytes, found more"),
        ("error(\"a secret\")", "jq: expected one value, found an error of the program"),
    ] {
        assert_eq!(apply(&fix(program), "[1,2]"), Err(failure.to_owned()), "{program}");
    }
}

#[test]
fn steps_come_before_the_program_and_headers_behind() {
    let fix = fix_of(
        r#"
            jq = ".total = .a + .b"
            [[step]]
            cast = { path = "/a", to = "integer" }
            [[header]]
            set = { name = "x-total", value = true }
            when = { path = "/total", equals = 3 }
        "#,
    );
    let message = Message { body: br#"{"a":"1","b":2}"#.to_vec(), ..Message::default() };
    let fixed = fix.apply(&message).unwrap();
    assert_eq!(fixed.body, br#"{"a":1,"b":2,"total":3}"#);
    assert_eq!(fixed.properties.headers.as_ref().map(Vec::len), Some(1));
}

#[test]
fn without_an_executable_it_is_our_trouble_and_not_the_letter_s() {
    let fix = fix(".").with_jq(LIMITS, PathBuf::from("/nonexistent"));
    let message = Message { body: b"1".to_vec(), ..Message::default() };
    assert!(fix.apply(&message).unwrap_err().is_ours);
}

#[test]
fn the_guide_s_example_of_jq_does_what_it_says() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fixes.md")).unwrap();
    let section = guide.split("\n## jq\n").nth(1).unwrap();
    let blocks: Vec<&str> = section.split("```").skip(1).step_by(2).take(3).collect();
    let [program, before, after] = blocks.as_slice() else { panic!("three blocks") };
    let fix = fix_of(program.strip_prefix("toml\n").unwrap());
    let before = before.strip_prefix("json before\n").unwrap().trim_end();
    assert_eq!(apply(&fix, before).as_deref(), Ok(after.strip_prefix("json after\n").unwrap().trim_end()));
}
