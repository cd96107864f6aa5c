//! Several types of events on one queue.

use parqueduct::event::{HeaderValue, Message, Properties};
use serde_json::Value;

use super::typed::{bodies, script};
use super::{MINUTE, dlq, letter, run};
use crate::harness::program::{Program, parqueduct};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, orders};

const OF_EACH: usize = 300;

fn of_type(kind: &str, body: Vec<u8>) -> Message {
    let properties = Properties { kind: Some(kind.to_owned()), ..Properties::default() };
    Message { body, properties: properties.into(), ..Message::default() }
}

fn with_header(name: &str, value: &str, body: Vec<u8>) -> Message {
    let headers = Some(vec![(name.to_owned(), HeaderValue::Text(value.as_bytes().to_vec()))]);
    Message { body, properties: Properties { headers, ..Properties::default() }.into(), ..Message::default() }
}

/// Orders in three formats: JSON by the property `type`, Avro by a header, Protobuf by the media type.
fn three_formats(rabbit: &Rabbit) -> Setting {
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let at = |name: &str| setting.directory.path().join(name).display().to_string();
    let (avro, protobuf) = (script("avro_orders.py"), script("protobuf_orders.py"));
    std::fs::write(at("paid.v2.avsc"), run(&[&avro, "schema"])).expect("writable");
    run(&[&protobuf, "schema", &at("shipped.desc")]);
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    setting.change(&format!("schema = \"{json}\"\n"), "");
    let types = format!(
        r#"
[[pipeline.event]]
name = "placed"
when = {{ type = "order.placed" }}
schema = "{json}"

[[pipeline.event]]
name = "paid"
when = {{ header = {{ name = "event-type", value = "paid" }} }}
format = "avro"
framing = "single-object"
schema = "{avro}"

[[pipeline.event]]
name = "shipped"
when = {{ content_type = "application/x-protobuf" }}
format = "protobuf"
message = "shop.v1.Order"
schema = "{protobuf}"
partition_by = []
"#,
        avro = at("paid.v2.avsc"),
        protobuf = at("shipped.desc"),
    );
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    std::fs::write(&setting.config, format!("{text}{types}")).expect("writable");
    setting.change(&format!("body_max = \"{}B\"", orders::BODY_MAX), "body_max = \"16MiB\"");
    setting
}

#[test]
fn three_types_in_three_formats_land_in_three_datasets_and_every_letter_is_shown() {
    let rabbit = now(Rabbit::shared());
    let setting = three_formats(&rabbit);
    let made = |name: &str, arguments: &[&str]| {
        let script = script(name);
        let all: Vec<&str> = [script.as_str()].iter().chain(arguments).copied().collect();
        let lines = run(&all);
        let path = setting.directory.path().join(format!("{name}.ndjson"));
        std::fs::write(&path, &lines).expect("writable");
        (bodies(&lines), path.display().to_string())
    };
    let count = OF_EACH.to_string();
    let (avro, avro_lines) = made("avro_orders.py", &["make", "single-object", &count]);
    let (protobuf, protobuf_lines) = made("protobuf_orders.py", &["make", &count]);
    let shipped = |body: Vec<u8>| {
        let content_type = Some("application/X-Protobuf; messageType=order".to_owned());
        Message { body, properties: Properties { content_type, ..Properties::default() }.into(), ..Message::default() }
    };
    let mut messages = Vec::new();
    for (n, (avro, protobuf)) in avro.iter().zip(&protobuf).enumerate() {
        messages.push(of_type("order.placed", orders::good(n)));
        messages.push(with_header("event-type", "paid", avro.clone()));
        messages.push(shipped(protobuf.clone()));
    }
    // Bad ones of each type, and two kinds of which nobody has a schema.
    let bad_json = br#"{"id":"order-x","occurred_at":"2024-01-01T00:00:00Z","amount":"12"}"#.to_vec();
    messages.push(of_type("order.placed", bad_json.clone()));
    messages.push(with_header("event-type", "paid", avro[0][..avro[0].len() - 1].to_vec()));
    messages.push(shipped(b"\x0a\x02\xff\xfe".to_vec()));
    messages.extend((0..3).map(|n| of_type("order.returned", orders::good(n))));
    messages.push(of_type("order.lost", vec![0, 1, 2, 255]));
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);

    let store = setting.store();
    let dataset = |name: &str| store.join("data/orders").join(name);
    assert_eq!(archive::event_ids_below(&dataset("placed/v1")).len(), OF_EACH);
    // What each producer wrote, as a reader of the Parquet sees it. The scripts take a root with the data below it.
    for (name, version, check, lines) in
        [("paid", "v2", "avro_orders.py", &avro_lines), ("shipped", "v1", "protobuf_orders.py", &protobuf_lines)]
    {
        let dataset = dataset(name).join(version).display().to_string();
        assert_eq!(run(&[&script(check), "check", &dataset, lines]).trim(), OF_EACH.to_string(), "{name}");
    }

    let shown = |code: &str| dlq(&setting, &["show", letter(&setting, code)["id"].as_str().expect("an id")]);
    assert!(shown("validate.type").contains("\"id\": \"order-x\""));
    assert!(shown("decode.binary.truncated").contains("00000000"), "{}", shown("decode.binary.truncated"));
    // One group for each kind that is unknown.
    let groups = dlq(&setting, &["groups", "--json"]);
    let unknown: Vec<(String, u64)> = groups
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|group| group["code"] == "schema.unknown")
        .map(|group| (group["title"].as_str().expect("text").to_owned(), group["count"].as_u64().expect("a count")))
        .collect();
    let of = |kind: &str| unknown.iter().find(|(title, _)| title.contains(kind)).map(|(_, count)| *count);
    assert_eq!((unknown.len(), of("type order.returned"), of("type order.lost")), (2, Some(3), Some(1)), "{unknown:?}");
    let letters = dlq(&setting, &["list", "--code", "schema.unknown", "--json"]);
    let ids: Vec<String> = letters
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned())
        .collect();
    let all: String = ids.iter().map(|id| dlq(&setting, &["show", id])).collect();
    assert!(all.contains("\"order-0\"") && all.contains("00 01 02 ff"), "{all}");

    // With a type for them, they are given back, and are rows of that.
    program.terminate(MINUTE);
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    let returned = format!(
        "{text}\n[[pipeline.event]]\nname = \"returned\"\nwhen = {{ type = \"order.returned\" }}\nschema = \"{json}\"\n"
    );
    std::fs::write(&setting.config, returned).expect("writable");
    let plan = dlq(&setting, &["plan", "--code", "schema.unknown", "--no-canary", "--json"]);
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let hash = plan["plan"].as_str().expect("a hash");
    let replayed = parqueduct(&["dlq", "replay", "--config", setting.config_text(), hash, "--yes"]);
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(said.contains("3 recovered, 1 failed again"), "{said}");
    assert_eq!(archive::event_ids_below(&dataset("returned/v1")).len(), 3);
}

#[test]
fn a_field_tells_types_apart_and_the_routing_key_too() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    setting.change(&format!("schema = \"{json}\"\n"), "");
    let mut text = std::fs::read_to_string(&setting.config).expect("readable");
    for (name, format, when) in [
        ("paid", "json", "field = { name = \"/status\", value = \"paid\" }"),
        ("other", "json", "field = { name = \"/count\", value = \"7\" }"),
        ("packed", "msgpack", "field = { name = \"/status\", value = \"new\" }"),
        ("rest", "json", "routing_key = \"#.orders.*\""),
    ] {
        text.push_str(&format!(
            "[[pipeline.event]]\nname = \"{name}\"\nformat = \"{format}\"\nwhen = {{ {when} }}\nschema = \"{json}\"\n"
        ));
    }
    std::fs::write(&setting.config, &text).expect("writable");
    let order = |n: usize, status: &str| {
        let body = String::from_utf8(orders::good(n)).expect("UTF-8").replace("paid", status).into_bytes();
        Message { body, ..Message::default() }
    };
    let paid = order(1, "paid");
    // A map of one field, as MessagePack: {"status": "new"}.
    let packed = Message { body: b"\x81\xa6status\xa3new".to_vec(), ..Message::default() };
    let messages = [paid, order(7, "sent"), order(9, "sent"), packed];
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let ids = |name: &str| {
        let ids = archive::event_ids_below(&setting.store().join("data/orders").join(name));
        ids.into_keys().collect::<Vec<_>>()
    };
    assert_eq!((ids("paid"), ids("other")), (vec!["order-1".to_owned()], vec!["order-7".to_owned()]));
    // Published to the default exchange, its routing key is the queue's name, which no type takes.
    let unknown = letter(&setting, "schema.unknown");
    assert!(unknown["issues"][0]["actual"].as_str().expect("text").starts_with("/count 9, /status sent, routing key"));
    assert_eq!(letter(&setting, "validate.required")["pipeline"], "orders", "read as MessagePack, it lacks an id");
}

#[test]
fn types_that_cannot_be_told_apart_are_refused() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let json = repository().join("tests/data/order.v1.json").display().to_string();
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let types = format!(
        "[[pipeline.event]]\nname = \"v2\"\nschema = \"{json}\"\n\
         [[pipeline.event]]\nname = \"b\"\nwhen = {{}}\nschema = \"{json}\"\n\
         [[pipeline.event]]\nname = \"b\"\nformat = \"avro\"\nwhen = {{ field = {{ name = \"/a\", value = \"1\" }} }}\nschema = \"{json}\"\n"
    );
    std::fs::write(&setting.config, format!("{text}{types}")).expect("writable");
    let checked = parqueduct(&["check", "--config", setting.config_text()]);
    assert_eq!(checked.status.code(), Some(2));
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    for finding in [
        "pipeline.schema: is said by each [[pipeline.event]]: move it there",
        "pipeline.event.when: \"v2\" takes all messages",
        "pipeline.event.name: \"v2\" is what the directory of a version is called",
        "pipeline.event.when: says nothing",
        "pipeline.event.name: \"b\" is also the type of line",
        "pipeline.event.when.field: is not for format = \"avro\"",
    ] {
        assert!(said.contains(finding), "{finding} is not in:\n{said}");
    }
}
