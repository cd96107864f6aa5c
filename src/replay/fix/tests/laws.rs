//! What holds for all fixes and all bodies.

use crate::decode::Wire;
use proptest::prelude::*;

use super::*;

/// Any JSON value as text, numbers of all kinds among them.
fn json() -> impl Strategy<Value = String> {
    let text = "[a-c \u{e9}\"\\\\/~]{0,4}".prop_map(|text| serde_json::to_string(&text).expect("a string is JSON"));
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        number.prop_map(|number| number),
        "\"-?[0-9,.]{1,8}\"".prop_map(|text| text),
        Just("\"2026-11-25T10:00:00Z\"".to_owned()),
        text,
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|elements| format!("[{}]", elements.join(", "))),
            prop::collection::btree_map("[a-d]|\\[\\*\\]", inner, 0..4).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().rev().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Bodies, most of them JSON.
fn body() -> impl Strategy<Value = String> {
    prop_oneof![9 => json(), 1 => any::<String>()]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![4 => "[a-d]", 1 => Just("[*]".to_owned()), 1 => Just("{*}".to_owned()), 1 => "[0-2-]"],
        0..4,
    )
    .prop_map(|segments| segments.into_iter().map(|segment| format!("/{segment}")).collect())
}

/// One member of the list of steps, often one that is no step.
fn step() -> impl Strategy<Value = String> {
    let of = |name: &'static str, rest: &'static [&'static str]| {
        (path(), prop::sample::select(rest))
            .prop_map(move |(path, rest)| format!("\"{name}\":{{\"path\":{path:?}{rest}}}"))
    };
    let two = |name: &'static str| {
        (path(), path()).prop_map(move |(from, to)| format!("\"{name}\":{{\"from\":{from:?},\"to\":{to:?}}}"))
    };
    let action = prop_oneof![
        of("cast", &[",\"to\":\"integer\"", ",\"to\":\"number\"", ",\"to\":\"string\"", ",\"to\":\"boolean\""]),
        two("rename"),
        two("move"),
        (path(), json()).prop_map(|(path, value)| format!("\"default\":{{\"path\":{path:?},\"value\":{value}}}")),
        of("remove", &[""]),
        of(
            "parse",
            &[
                ",\"as\":\"unix_seconds\"",
                ",\"as\":\"unix_millis\",\"to\":\"unix_seconds\"",
                ",\"as\":\"rfc3339\",\"to\":\"date\"",
                ",\"as\":\"number_comma\"",
                ",\"as\":\"number_decimal_comma\"",
                ",\"as\":\"json\"",
                ",\"as\":\"value\",\"to\":\"json\"",
                ",\"as\":\"%d.%m.%Y\"",
            ]
        ),
        of("scale", &[",\"by\":\"0.01\"", ",\"by\":-1000", ",\"by\":\"1e-30\""]),
        of("map", &[",\"values\":{\"a\":1,\"null\":[2]}", ",\"values\":{\"1\":\"x\"},\"otherwise\":\"fail\""]),
    ];
    let when = prop_oneof![
        3 => Just(String::new()),
        2 => (path(), prop::sample::select(when::Is::NAMES)).prop_map(|(path, is)| format!(",\"when\":{{\"path\":{path:?},\"is\":{is:?}}}")),
        1 => (path(), json()).prop_map(|(path, value)| format!(",\"when\":{{\"path\":{path:?},\"equals\":{value}}}")),
        1 => path().prop_map(|path| format!(",\"when\":{{\"path\":{path:?},\"matches\":\"^[a-c]\"}}")),
    ];
    (action, when).prop_map(|(action, when)| format!("{{{action}{when}}}"))
}

fn operation() -> impl Strategy<Value = String> {
    let op = prop::sample::select(&["add", "remove", "replace", "move", "copy", "test"][..]);
    (op, path(), path(), json()).prop_map(|(op, path, from, value)| {
        let rest = match op {
            "move" | "copy" => format!(",\"from\":{from:?}"),
            "remove" => String::new(),
            _ => format!(",\"value\":{value}"),
        };
        format!("{{\"op\":{op:?},\"path\":{path:?}{rest}}}")
    })
}

/// A fix of a few steps; those that would be refused when it is read are left out.
fn any_fix() -> impl Strategy<Value = Option<Fix>> {
    (prop::collection::vec(step(), 0..4), prop::collection::vec(operation(), 0..3)).prop_map(|(steps, operations)| {
        let good = |key: &'static str| move |part: &String| Fix::parse(&format!("{{{key:?}:[{part}]}}"), "fix").is_ok();
        let steps: Vec<String> = steps.into_iter().filter(good("step")).collect();
        let operations: Vec<String> = operations.into_iter().filter(good("patch")).collect();
        Fix::parse(&format!("{{\"step\":[{}],\"patch\":[{}]}}", steps.join(","), operations.join(",")), "fix").ok()
    })
}

/// Where none of [`path`]'s names leads.
const ELSEWHERE: &str =
    r#"{"z":123456789012345678901234567890.123456789012345678901234567890,"y":9007199254740993,"x":[1.50,-0.0,1E+2]}"#;

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), lines in prop::collection::vec("(\\[\\[step\\]\\]|cast|when|path|=|\\{|\\}|\"|/a|\n| |,){0,20}", 0..4)) {
        let _first = Fix::parse(&text, "fix");
        let _second = Fix::parse(&lines.concat(), "fix");
        let _third = Fix::parse(&format!("{{{text}"), "fix");
    }

    #[test]
    fn no_fix_on_no_body_panics_and_what_comes_out_is_json(fix in any_fix(), body in body()) {
        let Some(fix) = fix else { return Ok(()) };
        let before = message(&body);
        if let Ok(after) = fix.apply(&before) {
            prop_assert!(after.body == before.body || decoded(&after.body).is_some(), "{}", String::from_utf8_lossy(&after.body));
            let changes = diff(&before, &after, &Wire::Json.into());
            prop_assert!(after.body != before.body || changes.is_empty());
        }
        for line in fix.describe() {
            prop_assert!(!line.contains('\n'));
        }
    }

    #[test]
    fn a_fix_in_which_no_step_applies_gives_the_very_bytes_back(value in json(), space in "[ \n\t]{0,3}") {
        let steps = r#"
            [[step]]
            cast = { path = "/none", to = "integer" }
            [[step]]
            rename = { from = "/none", to = "/z" }
            [[step]]
            remove = { path = "/none/[*]/a" }
            [[step]]
            remove = { path = "/a" }
            when = { path = "/none", is = "present" }
        "#;
        let body = format!("{space}{{ \"a\" :{space}{value}}}");
        prop_assert_eq!(mended(steps, &body), Ok(body));
    }

    #[test]
    fn what_a_fix_does_not_touch_stays_digit_for_digit_and_in_order(value in json()) {
        let body = format!("{}{},\"a\":{value}}}", &ELSEWHERE[..ELSEWHERE.len() - 1], "");
        let after = mended("[[step]]\nremove = { path = \"/a\" }", &body);
        prop_assert_eq!(after.as_deref(), Ok(ELSEWHERE));
    }

    #[test]
    fn removing_filling_and_renaming_twice_is_doing_it_once(value in json(), path in path(), new in json()) {
        let rename = format!("{{\"rename\":{{\"from\":{:?},\"to\":{:?}}}}}", format!("{path}/a"), format!("{path}/new"));
        let default = format!("{{\"default\":{{\"path\":{path:?},\"value\":{new}}}}}");
        for step in [rename, default] {
            let steps = format!("{{\"step\":[{step}]}}");
            if let Ok(once) = mended(&steps, &value) {
                // A default of null fills nothing, and one that has nulls inside of arrays leads on.
                prop_assert_eq!(mended(&steps, &once), Ok(once.clone()), "{} on {}", steps, value);
            }
        }
        let remove = format!("{{\"step\":[{{\"remove\":{{\"path\":{:?}}}}}]}}", format!("{path}/a"));
        if let Ok(once) = mended(&remove, &value) {
            prop_assert_eq!(mended(&remove, &once), Ok(once.clone()));
        }
    }
}
