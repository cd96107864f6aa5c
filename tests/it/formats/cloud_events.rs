//! CloudEvents by the official SDK, in both modes, from the queue to the rows that DuckDB reads, and to letters that are
//! mended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::event::{HeaderValue, Message, Properties};
use serde_json::{Value, json};

use super::typed::script;
use super::{MINUTE, dlq, letter, run, tried};
use crate::harness::program::{Program, parqueduct};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now};

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

fn setting(rabbit: &Rabbit) -> Setting {
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    setting.change("format = \"json\"", "format = \"json\"\nenvelope = \"cloudevents\"");
    setting.change("event_id = \"/id\"\nevent_time = \"/occurred_at\"\n", "");
    setting
}

/// The message that the script made in that line.
fn made(line: &str) -> Message {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let header = |(name, typed): (&String, &Value)| {
        let value = match typed[0].as_str().expect("a type") {
            "t" => HeaderValue::Bool(typed[1].as_bool().expect("a boolean")),
            "I" => HeaderValue::I32(typed[1].as_i64().and_then(|number| number.try_into().ok()).expect("32 bits")),
            "l" => HeaderValue::I64(typed[1].as_i64().expect("a number")),
            _ => HeaderValue::Text(typed[1].as_str().expect("a text").as_bytes().to_vec()),
        };
        (name.clone(), value)
    };
    let headers = line["headers"].as_object().expect("headers").iter().map(header).collect();
    let content_type = line["content_type"].as_str().map(str::to_owned);
    let body = BASE64.decode(line["body"].as_str().expect("text")).expect("base64");
    Message {
        body,
        properties: Properties { content_type, headers: Some(headers), ..Properties::default() }.into(),
        ..Message::default()
    }
}

/// In structured mode.
fn structured(event: &Value) -> Message {
    let properties = Properties { content_type: Some(STRUCTURED.to_owned()), ..Properties::default() };
    Message { body: event.to_string().into_bytes(), properties: properties.into(), ..Message::default() }
}

/// In binary mode, with attributes as texts.
fn binary(attributes: &[(&str, &str)], data: &Value) -> Message {
    let header = |(name, value): &(&str, &str)| (format!("ce-{name}"), HeaderValue::Text(value.as_bytes().to_vec()));
    let headers = Some(attributes.iter().map(header).collect());
    let properties = Properties { content_type: Some("application/json".to_owned()), headers, ..Properties::default() };
    Message { body: data.to_string().into_bytes(), properties: properties.into(), ..Message::default() }
}

fn order(amount: impl Into<Value>) -> Value {
    json!({"id": "x", "amount": amount.into(), "customer": {"email": "c@example.com"}})
}

#[test]
fn both_modes_become_rows_with_their_attributes_and_letters_that_can_be_mended() {
    const EVENTS: usize = 240;
    let (rabbit, script) = (now(Rabbit::shared()), script("cloud_events.py"));
    let setting = setting(&rabbit);
    let lines = run(&[&script, "make", &EVENTS.to_string()]);
    let mut messages: Vec<Message> = lines.lines().map(made).collect();
    let whole = [("specversion", "1.0"), ("id", "a"), ("source", "/shop/0"), ("type", "order")];
    let event = |id: &str, more: &Value| {
        let mut event = json!({"specversion": "1.0", "id": id, "source": "/shop/0", "type": "order"});
        let members = more.as_object().expect("an object").clone();
        event.as_object_mut().expect("an object").extend(members);
        event
    };
    let mut batch = structured(&json!([event("b", &json!({"data": order(1)}))]));
    batch.properties.content_type = Some("application/cloudevents-batch+json".to_owned());
    let mut sourceless = event("unsourced", &json!({"data": order(1)}));
    sourceless.as_object_mut().expect("an object").remove("source");
    messages.extend([
        binary(&whole, &order("12.5")),
        structured(&event("b", &json!({"data": order("13.5")}))),
        binary(&whole[..2], &order(2)),
        structured(&sourceless),
        binary(&[whole[1], whole[2], whole[3], ("specversion", "0.3")], &order(1)),
        batch,
        structured(&event("c", &json!({}))),
        structured(&event("d", &json!({"data": order(1), "time": "yesterday"}))),
        Message { body: order(1).to_string().into_bytes(), ..Message::default() },
    ]);
    let bad = messages.len() - EVENTS;
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let path = setting.directory.path().join("events.ndjson");
    std::fs::write(&path, &lines).expect("writable");
    let (store, path) = (setting.store().display().to_string(), path.display().to_string());
    assert_eq!(run(&[&script, "check", &store, &path]).trim(), EVENTS.to_string());

    assert_eq!(setting.dead_letters().len(), bad);
    for (code, path) in [
        ("decode.cloudevents.batch", ""),
        ("decode.cloudevents.absent", ""),
        ("decode.cloudevents.data", "/data"),
        ("decode.cloudevents.attribute", "headers/specversion"),
        ("event.time_unreadable", "/time"),
    ] {
        assert_eq!(letter(&setting, code)["issues"][0]["path"], path, "{code}");
    }
    let required = dlq(&setting, &["list", "--code", "decode.cloudevents.required", "--json"]);
    let paths = |listed: &str| {
        let path = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["issues"].as_array().expect("issues").iter().map(|issue| issue["path"].clone()).collect::<Vec<_>>()
        };
        let mut paths: Vec<_> = listed.lines().flat_map(path).collect();
        paths.sort_by_key(ToString::to_string);
        paths
    };
    assert_eq!(paths(&required), ["/source", "headers/source", "headers/type"]);

    // Where it is wrong is where it stands in the body; the letter has the id of its event.
    let found = dlq(&setting, &["list", "--code", "validate.type", "--json"]);
    assert_eq!(paths(&found), ["/amount", "/data/amount"]);
    let found = dlq(&setting, &["list", "--where", "/data/amount=13.5", "--json"]);
    let found: Value = serde_json::from_str(found.trim()).expect("one line of JSON");
    let shown = dlq(&setting, &["show", found["id"].as_str().expect("an id")]);
    assert!(shown.contains("\"amount\": \"13.5\"") && shown.contains("event id") && shown.contains('b'), "{shown}");

    let step = |path: &str| format!("[[step]]\ncast = {{ path = \"{path}\", to = \"number\" }}\n");
    let (report, plan) =
        tried(&setting, "validate.type", &(step("/amount") + &step("/data/amount")), &["--good", "1000"]);
    assert_eq!(
        (&report["pass"], &report["good"]["broken"], &report["good"]["unusable"]),
        (&2.into(), &0.into(), &0.into()),
        "{report}"
    );
    assert!(report["good"]["events"].as_u64() > Some(EVENTS as u64 / 2), "{report}");
    dlq(&setting, &["replay", &plan, "--yes"]);
    let ids = archive::event_ids(&setting.store());
    assert!(ids.len() == EVENTS + 2 && ids.contains_key("a") && ids.contains_key("b"), "{}", ids.len());

    // An attribute that is missing is mended where it belongs.
    let fix = "[[step]]\ndefault = { path = \"/source\", value = \"/shop/9\" }\nwhen = { path = \"/specversion\", is = \"string\" }\n\
               [[header]]\nset = { name = \"ce-source\", value = \"/shop/9\" }\n[[header]]\nset = { name = \"ce-type\", value = \"order\" }\n";
    let (report, _) = tried(&setting, "decode.cloudevents.required", fix, &["--good", "0"]);
    assert_eq!(report["pass"], 2, "{report}");
}

/// What type of events one is, its attributes say; data may be of another format than JSON.
#[test]
fn attributes_choose_the_type_and_data_are_of_its_format() {
    let (rabbit, avro) = (now(Rabbit::shared()), script("avro_orders.py"));
    let setting = setting(&rabbit);
    let schema = setting.directory.path().join("paid.v1.avsc");
    std::fs::write(&schema, run(&[&avro, "schema"])).expect("writable");
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    setting.change(&format!("schema = \"{json}\"\n"), "");
    let types = format!(
        r#"
[[pipeline.event]]
name = "placed"
when = {{ type = "order.placed", dataschema = "urn:placed:1" }}
schema = "{json}"

[[pipeline.event]]
name = "paid"
when = {{ type = "order.paid", source = "/bank" }}
format = "avro"
schema = "{}"
"#,
        schema.display()
    );
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    std::fs::write(&setting.config, format!("{text}{types}")).expect("writable");
    setting.change("body_max = \"65536B\"", "body_max = \"16MiB\"");
    let paid = super::typed::bodies(&run(&[&avro, "make", "none", "2"]));
    let event = |id: &str, kind: &str, more: &Value| {
        let mut event = json!({"specversion": "1.0", "id": id, "source": "/bank", "type": kind});
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        structured(&event)
    };
    let attributes = |id, kind| {
        [("specversion", "1.0"), ("id", id), ("source", "/bank"), ("type", kind), ("dataschema", "urn:placed:1")]
    };
    let mut bare = binary(&attributes("3", "order.paid"), &Value::Null);
    bare.body.clone_from(&paid[1]);
    bare.properties.content_type = Some("avro/binary".to_owned());
    let messages = [
        event("1", "order.placed", &json!({"dataschema": "urn:placed:1", "data": order(1)})),
        binary(&attributes("2", "order.placed"), &order(2)),
        bare,
        event("4", "order.paid", &json!({"datacontenttype": "avro/binary", "data_base64": BASE64.encode(&paid[0])})),
        // Of no type, in either form; and of one whose data are not JSON.
        event("5", "order.placed", &json!({"dataschema": "urn:placed:2", "data": order(1)})),
        event("8", "order.placed", &json!({"dataschema": "urn:placed:2", "data_base64": BASE64.encode("{}")})),
        event("6", "order.paid", &json!({"data": order(1)})),
        event("7", "order.paid", &json!({"data_base64": BASE64.encode(&paid[0][1..])})),
    ];
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let ids = |name: &str| {
        let dataset = setting.store().join("data/orders").join(name);
        archive::event_ids_below(&dataset).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(
        (ids("placed/v1"), ids("paid/v1")),
        (vec!["1".to_owned(), "2".to_owned()], vec!["3".to_owned(), "4".to_owned()])
    );
    let groups = dlq(&setting, &["groups", "--code", "schema.unknown", "--json"]);
    let unknown: Value = serde_json::from_str(groups.trim()).expect("one group");
    assert_eq!(unknown["count"], 2, "{unknown}");
    let told = "type order.placed, source /bank, dataschema urn:placed:2";
    assert!(unknown["title"].as_str().is_some_and(|title| title.contains(told)), "{unknown}");
    assert_eq!(letter(&setting, "decode.format")["issues"][0]["path"], "/data");
    let broken = dlq(&setting, &["list", "--code", "decode.binary", "--json"]);
    assert!(broken.lines().count() == 1 && broken.contains("/data_base64"), "{broken}");
    let shown = dlq(&setting, &["show", letter(&setting, "decode.format")["id"].as_str().expect("an id")]);
    assert!(shown.contains("\"type\": \"order.paid\"") && shown.contains("\"amount\": 1"), "{shown}");
}

#[test]
fn a_source_is_only_asked_of_cloud_events() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    setting.change(&format!("schema = \"{json}\"\n"), "");
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let kind = format!("\n[[pipeline.event]]\nname = \"a\"\nwhen = {{ source = \"/bank\" }}\nschema = \"{json}\"\n");
    std::fs::write(&setting.config, text + &kind).expect("writable");
    let checked = parqueduct(&["check", "--config", setting.config_text()]);
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.code() == Some(2) && said.contains("is only for CloudEvents"), "{said}");
}
