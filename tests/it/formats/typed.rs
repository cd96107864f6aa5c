//! Formats whose schema is beside the bytes, by the libraries that producers in Python use; compared by what reads the
//! Parquet there.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::event::Message;
use serde_json::Value;

use super::{MINUTE, dlq, letter, run, tried};
use crate::harness::program::{Program, parqueduct, parqueduct_ok};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, orders};

const ORDERS: usize = 1_500;

pub(super) fn script(name: &str) -> String {
    repository().join("tests/formats").join(name).to_str().expect("UTF-8").to_owned()
}

/// A pipeline of that format, with `more` keys, whose schema is in `schema`.
fn setting(rabbit: &Rabbit, format: &str, schema: &str, more: &str) -> (Setting, PathBuf) {
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let path = setting.directory.path().join(schema);
    let json = repository().join("tests/data/order.v1.json");
    setting.change(&format!("schema = \"{}\"", json.display()), &format!("schema = \"{}\"\n{more}", path.display()));
    setting.change("format = \"json\"", &format!("format = \"{format}\""));
    setting.change(&format!("body_max = \"{}B\"", orders::BODY_MAX), "body_max = \"16MiB\"");
    (setting, path)
}

pub(super) fn bodies(lines: &str) -> Vec<Vec<u8>> {
    let body = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        BASE64.decode(line["body"].as_str().expect("text")).expect("base64")
    };
    lines.lines().map(body).collect()
}

fn of(body: Vec<u8>) -> Message {
    Message { body, ..Message::default() }
}

/// Publishes what the script made and `bad`, and holds the archive against it.
fn carried(setting: &Setting, rabbit: &Rabbit, script: &str, lines: &str, bad: &[(Vec<u8>, &str)]) {
    let made = setting.directory.path().join("orders.ndjson");
    std::fs::write(&made, lines).expect("writable");
    let mut messages: Vec<Message> = bodies(lines).into_iter().map(of).collect();
    messages.extend(bad.iter().map(|(body, _)| of(body.clone())));
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let (store, made) = (setting.store(), made.to_str().expect("UTF-8").to_owned());
    let archived = run(&[script, "check", store.join("data").to_str().expect("UTF-8"), &made]);
    assert_eq!(archived.trim(), lines.lines().count().to_string());
    for (body, code) in bad {
        assert_eq!(letter(setting, code)["body_base64"], BASE64.encode(body), "{code}");
    }
}

/// Mends the one letter with that code by `step`, and gives it back.
fn mended(setting: &Setting, code: &str, step: &str) {
    let (report, plan) = tried(setting, code, &format!("[[step]]\n{step}\n"), &[]);
    // Good events are written in the same way, and the fix leaves them good.
    assert_eq!(
        (&report["pass"], &report["good"]["broken"], &report["good"]["unusable"]),
        (&1.into(), &0.into(), &0.into()),
        "{report}"
    );
    assert!(report["good"]["events"].as_u64() > Some(1_000), "{report}");
    dlq(setting, &["replay", &plan, "--yes"]);
}

/// Rules that only the order of that name breaks.
fn rules(setting: &Setting, id: &str) -> String {
    let path = setting.directory.path().join("order.rules.json");
    let rules = serde_json::json!({"properties": {"id": {"not": {"const": id}}}});
    std::fs::write(&path, rules.to_string()).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn avro_comes_back_as_the_values_it_was() {
    let (rabbit, script) = (now(Rabbit::shared()), script("avro_orders.py"));
    for framing in ["none", "single-object"] {
        let (setting, schema) = setting(&rabbit, "avro", "order.v1.avsc", &format!("framing = \"{framing}\""));
        std::fs::write(&schema, run(&[&script, "schema"])).expect("writable");
        let rules = rules(&setting, "order-1500");
        setting.change("framing = ", &format!("rules = \"{rules}\"\nframing = "));
        let mut lines: Vec<String> =
            run(&[&script, "make", framing, &(ORDERS + 1).to_string()]).lines().map(str::to_owned).collect();
        let forbidden = bodies(&lines.pop().expect("orders")).remove(0);
        let whole = bodies(&lines[1]).remove(0);
        let mut bad = vec![
            (whole[..whole.len() - 1].to_vec(), "decode.binary.truncated"),
            ([whole.clone(), vec![0]].concat(), "decode.binary.trailing"),
            (forbidden, "validate.not"),
        ];
        if framing == "single-object" {
            let mut stranger = whole.clone();
            stranger[2] ^= 1;
            bad.extend([(stranger, "schema.unknown"), (whole[10..].to_vec(), "decode.framing")]);
        }
        carried(&setting, &rabbit, &script, &lines.join("\n"), &bad);

        // Shown as JSON by what the letter brings along, although the schema is another; and searched.
        let own = std::fs::read(&schema).expect("readable");
        std::fs::write(&schema, r#"{"type":"record","name":"X","fields":[]}"#).expect("writable");
        let rejected = letter(&setting, "validate.not");
        let shown = dlq(&setting, &["show", rejected["id"].as_str().expect("an id")]);
        assert!(shown.contains("bytes of avro") && shown.contains("\"id\": \"order-1500\""), "{shown}");
        assert_eq!(dlq(&setting, &["list", "--where", "/id=order-1500", "--json"]).lines().count(), 1);
        let broken = letter(&setting, "decode.binary.truncated");
        let shown = dlq(&setting, &["show", broken["id"].as_str().expect("an id")]);
        assert!(!shown.contains("\"id\""), "{shown}");
        std::fs::write(&schema, own).expect("writable");
        mended(&setting, "validate.not", "map = { path = \"/id\", values = { \"order-1500\" = \"order-1501\" } }");
        let ids = archive::event_ids(&setting.store());
        assert!(ids.len() == ORDERS + 1 && ids.contains_key("order-1501"), "{}", ids.len());
    }
}

#[test]
fn protobuf_comes_back_as_the_values_it_was() {
    let (rabbit, script) = (now(Rabbit::shared()), script("protobuf_orders.py"));
    let (setting, schema) = setting(&rabbit, "protobuf", "order.v1.desc", "message = \"shop.v1.Order\"");
    run(&[&script, "schema", schema.to_str().expect("UTF-8")]);
    let rules = rules(&setting, "order-1500");
    setting.change("message = ", &format!("rules = \"{rules}\"\nmessage = "));
    let mut lines: Vec<String> =
        run(&[&script, "make", &(ORDERS + 1).to_string()]).lines().map(str::to_owned).collect();
    let forbidden = bodies(&lines.pop().expect("orders")).remove(0);
    let whole = bodies(&lines[1]).remove(0);
    let bad = [
        (whole[..whole.len() - 1].to_vec(), "decode.binary.truncated"),
        (b"\x0a\x02\xff\xfe".to_vec(), "decode.binary.utf8"),
        (b"{\"id\":\"order-1\"}".to_vec(), "decode.binary.invalid"),
        (b"\x0a\x01x\x21\0\0\0\0\0\0\xf0\x7f".to_vec(), "decode.binary.invalid"),
        (forbidden, "validate.not"),
    ];
    carried(&setting, &rabbit, &script, &lines.join("\n"), &bad[..2]);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &bad[2..].iter().map(|(body, _)| of(body.clone())).collect::<Vec<_>>()));
    program.wait_until_settled(3, MINUTE);
    assert_eq!(dlq(&setting, &["list", "--code", "decode.binary.invalid", "--json"]).lines().count(), 2);

    let rejected = letter(&setting, "validate.not");
    let shown = dlq(&setting, &["show", rejected["id"].as_str().expect("an id")]);
    assert!(shown.contains("bytes of protobuf") && shown.contains("\"id\": \"order-1500\""), "{shown}");
    mended(&setting, "validate.not", "map = { path = \"/id\", values = { \"order-1500\" = \"order-1501\" } }");
    let ids = archive::event_ids(&setting.store());
    assert!(ids.len() == ORDERS + 1 && ids.contains_key("order-1501"), "{}", ids.len());
}

#[test]
fn what_does_not_go_together_is_said_before_anything_runs() {
    let rabbit = now(Rabbit::shared());
    let (avro, schema) = setting(&rabbit, "avro", "order.v1.avsc", "message = \"shop.v1.Order\"");
    std::fs::write(&schema, "\"long\"").expect("writable");
    let told = |setting: &Setting| {
        let checked = parqueduct(&["check", "--config", setting.config_text()]);
        assert_eq!(checked.status.code(), Some(2));
        format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr))
    };
    let found = told(&avro);
    assert!(found.contains("pipeline.message") && found.contains("is not for format = \"avro\""), "{found}");
    avro.change("message = \"shop.v1.Order\"", "");
    let found = told(&avro);
    assert!(found.contains("the root is no record"), "{found}");
    std::fs::write(&schema, run(&[&script("avro_orders.py"), "schema"])).expect("writable");
    parqueduct_ok(&["check", "--config", avro.config_text()]);

    let (protobuf, schema) = setting(&rabbit, "protobuf", "order.v1.desc", "");
    let found = told(&protobuf);
    assert!(found.contains("pipeline.message: is missing"), "{found}");
    protobuf.change("format = \"protobuf\"", "format = \"protobuf\"\nmessage = \"shop.v1.Ordre\"");
    run(&[&script("protobuf_orders.py"), "schema", schema.to_str().expect("UTF-8")]);
    let found = told(&protobuf);
    assert!(found.contains("it has no message shop.v1.Ordre; it has"), "{found}");
}
