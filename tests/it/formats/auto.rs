//! Bodies of which each says itself what it is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::config::Framing;
use parqueduct::decode::Wire;
use parqueduct::event::{Message, Properties};
use parqueduct::schema::avro::Types;
use rmpv::Value as Packed;
use serde_json::Value;

use super::typed::{bodies, script};
use super::{MINUTE, dlq, letter, run, tried};
use crate::harness::program::{Program, parqueduct};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, orders};

fn of(content_type: Option<&str>, body: Vec<u8>) -> Message {
    let properties = Properties { content_type: content_type.map(str::to_owned), ..Properties::default() };
    Message { body, properties: properties.into(), ..Message::default() }
}

/// A document of JSON as one of MessagePack.
fn packed(json: &[u8]) -> Vec<u8> {
    fn value(json: &Value) -> Packed {
        match json {
            Value::Null => Packed::Nil,
            Value::Bool(flag) => (*flag).into(),
            Value::Number(number) => match number.as_i64() {
                Some(number) => number.into(),
                None => number.as_f64().expect("a number").into(),
            },
            Value::String(text) => text.as_str().into(),
            Value::Array(elements) => Packed::Array(elements.iter().map(value).collect()),
            Value::Object(members) => {
                Packed::Map(members.iter().map(|(name, member)| (name.as_str().into(), value(member))).collect())
            }
        }
    }
    let json: Value = serde_json::from_slice(json).expect("JSON");
    let mut body = Vec::new();
    rmpv::encode::write_value(&mut body, &value(&json)).expect("a Vec takes all");
    body
}

fn auto(rabbit: &Rabbit) -> Setting {
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    setting.change("format = \"json\"", "format = \"auto\"");
    setting.change(&format!("body_max = \"{}B\"", orders::BODY_MAX), "body_max = \"16MiB\"");
    setting
}

#[test]
fn json_and_messagepack_come_through_one_queue_and_letters_stay_what_they_were() {
    const ORDERS: usize = 120;
    let rabbit = now(Rabbit::shared());
    let setting = auto(&rabbit);
    let good = |n: usize| match n % 6 {
        0 => of(Some("application/json; charset=utf-8"), orders::good(n)),
        1 => of(None, orders::good(n)),
        2 => of(Some("application/x-msgpack"), packed(&orders::good(n))),
        3 => of(None, packed(&orders::good(n))),
        4 => of(Some("application/octet-stream"), packed(&orders::good(n))),
        _ => {
            let mut message = of(Some("application/vnd.shop.order+json"), super::gzip(&orders::good(n)));
            message.properties.content_encoding = Some("gzip".to_owned());
            message
        }
    };
    let unfit = |id: usize| {
        let text =
            r#"{"id":"ID","occurred_at":"2024-01-02T10:00:00Z","amount":"12.5","customer":{"email":"c@example.com"}}"#;
        text.replace("ID", &format!("order-{id}")).into_bytes()
    };
    let mut messages: Vec<Message> = (0..ORDERS).map(good).collect();
    messages.extend([
        of(None, packed(&unfit(ORDERS))),
        of(Some("application/json"), unfit(ORDERS + 1)),
        // What the sender says counts; and where nothing tells, nothing is guessed.
        of(Some("application/json"), packed(&orders::good(1000))),
        of(Some("application/msgpack"), orders::good(1000)),
        of(Some("application/x-protobuf"), orders::good(1000)),
        of(None, b"<order id=\"order-1000\"/>".to_vec()),
        of(Some("text/plain"), b"\0\0\0\0\x07{\"id\":\"order-1000\"}".to_vec()),
    ]);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    archive::assert_orders(&archive::event_ids(&setting.store()), ORDERS, 1);

    letter(&setting, "decode.binary.trailing");
    assert_eq!(dlq(&setting, &["list", "--code", "decode.json", "--json"]).lines().count(), 1);
    let untold = dlq(&setting, &["list", "--code", "decode.format", "--json"]);
    let actual = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["issues"][0]["expected"], "JSON or MessagePack", "{line}");
        line["issues"][0]["actual"].as_str().expect("text").to_owned()
    };
    let mut told: Vec<String> = untold.lines().map(actual).collect();
    told.sort_unstable();
    assert_eq!(told, ["Protobuf", "nothing that tells", "nothing that tells"]);

    // Read by the same rule: shown, searched, tried and given back, each in its own format.
    let found = dlq(&setting, &["list", "--where", "/amount=12.5", "--json"]);
    assert_eq!(found.lines().count(), 2, "{found}");
    let binary = dlq(&setting, &["list", "--where", &format!("/id=order-{ORDERS}"), "--json"]);
    let binary: Value = serde_json::from_str(binary.trim()).expect("one line of JSON");
    assert_eq!(binary["body_base64"], BASE64.encode(packed(&unfit(ORDERS))));
    let shown = dlq(&setting, &["show", binary["id"].as_str().expect("an id")]);
    assert!(shown.contains("bytes of auto") && shown.contains("\"amount\": \"12.5\""), "{shown}");
    let cast = "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n";
    let (report, plan) = tried(&setting, "validate.type", cast, &[]);
    assert_eq!(
        (&report["pass"], &report["good"]["broken"], &report["good"]["unusable"]),
        (&2.into(), &0.into(), &0.into()),
        "{report}"
    );
    dlq(&setting, &["replay", &plan, "--yes"]);
    archive::assert_orders(&archive::event_ids(&setting.store()), ORDERS + 2, 1);
}

/// As one frame, as a bare datum that the sender names so, and as the JSON that it becomes.
#[test]
fn avro_comes_back_as_the_values_it_was_however_it_came() {
    const ORDERS: usize = 300;
    let (rabbit, script) = (now(Rabbit::shared()), script("avro_orders.py"));
    let setting = auto(&rabbit);
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    let schema = setting.directory.path().join("order.v1.avsc");
    setting.change(&json, &schema.display().to_string());
    let text = run(&[&script, "schema"]);
    std::fs::write(&schema, &text).expect("writable");
    let wire = Wire::Avro(Arc::new(Types::parse(&text, &[]).expect("a schema")), Framing::None);
    let count = (ORDERS + 1).to_string();
    let lines = run(&[&script, "make", "single-object", &count]);
    let single = bodies(&lines);
    let bare = bodies(&run(&[&script, "make", "none", &count]));
    let as_json = |n: usize| wire.as_json(&bare[n]).expect("it can be decoded");
    let good = |n: usize| match n % 4 {
        0 => of(None, single[n].clone()),
        1 => of(Some("avro/binary"), bare[n].clone()),
        2 => of(Some("application/vnd.apache.avro"), single[n].clone()),
        _ => of(Some("application/json").filter(|_| n % 8 == 3), as_json(n)),
    };
    let mut messages: Vec<Message> = (0..ORDERS).map(good).collect();
    // JSON is held against the schema as binary data are by themselves.
    let mut text_amount: Value = serde_json::from_slice(&as_json(ORDERS)).expect("JSON");
    text_amount["amount"] = "12.5".into();
    text_amount["surplus"] = "x".into();
    let text_amount = serde_json::to_vec(&text_amount).expect("JSON");
    let mut stranger = single[0].clone();
    stranger[2] ^= 1;
    messages.extend([of(None, text_amount), of(None, bare[0].clone()), of(None, stranger)]);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);

    let made = setting.directory.path().join("orders.ndjson");
    let lines: Vec<&str> = lines.lines().take(ORDERS).collect();
    std::fs::write(&made, lines.join("\n")).expect("writable");
    let data = setting.store().join("data").display().to_string();
    let archived = run(&[&script, "check", &data, made.to_str().expect("UTF-8")]);
    assert_eq!(archived.trim(), ORDERS.to_string());
    assert_eq!(letter(&setting, "decode.format")["issues"][0]["actual"], "nothing that tells");
    letter(&setting, "schema.unknown");
    assert_eq!(letter(&setting, "validate.type")["issues"][0]["path"], "/amount");

    // A letter is read by the rule of its own time, and may be mended by what its sender should have said.
    let untold = letter(&setting, "decode.format");
    let shown = dlq(&setting, &["show", untold["id"].as_str().expect("an id")]);
    assert!(!shown.contains("\"id\""), "{shown}");
    let named = "[[property]]\nset = { name = \"content_type\", value = \"avro/binary\" }\n";
    // Good events that say nothing are not to be told so.
    let (report, _) = tried(&setting, "decode.format", named, &["--good", "0"]);
    assert_eq!(report["pass"], 1, "{report}");

    // Good events are written so that they tell what they are.
    let noted = "[[step]]\ndefault = { path = \"/note\", value = \"new\" }\n";
    let (report, _) = tried(&setting, "validate.type", noted, &[]);
    assert_eq!((&report["good"]["broken"], &report["good"]["unusable"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["good"]["events"], ORDERS, "{report}");
}

#[test]
fn keys_that_no_reading_needs_are_refused() {
    let rabbit = now(Rabbit::shared());
    let told = |setting: &Setting| {
        let checked = parqueduct(&["check", "--config", setting.config_text()]);
        assert_eq!(checked.status.code(), Some(2));
        format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr))
    };
    let setting = auto(&rabbit);
    setting.change("format = \"auto\"", "format = \"auto\"\nframing = \"single-object\"");
    let found = told(&setting);
    assert!(found.contains("pipeline.framing") && found.contains("is not for a schema of JSON"), "{found}");
    setting.change("framing = \"single-object\"", "message = \"shop.v1.Order\"");
    let found = told(&setting);
    assert!(found.contains("pipeline.message") && found.contains("is not for a schema of JSON"), "{found}");
}
