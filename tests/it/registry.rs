//! Bodies that name their schemas by ids in a registry, against one that answers, and one in trouble.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::event::{HeaderValue, Message, Properties};
use serde_json::{Value, json};

use crate::harness::program::{Program, parqueduct, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::registry::{Fault, RegistryServer};
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, python};

const MINUTE: Duration = Duration::from_secs(60);

/// The configured schema: what producers wrote before, and a field that came later.
const ORDER_V2: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":"double"},
    {"name":"note","type":["null","string"],"default":null}]}"#;
const ORDER_V1: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":"double"}]}"#;
/// What only newer producers write: a field that nobody declared here.
const ORDER_V3: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"origin","type":"shop.Place"},
    {"name":"id","type":"string"},
    {"name":"amount","type":"double"},
    {"name":"note","type":["null","string"],"default":null}]}"#;
/// An amount that is no number.
const ORDER_TEXT: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":"string"}]}"#;
const PLACE: &str = r#"{"type":"record","name":"Place","namespace":"shop","fields":[{"name":"city","type":"string"}]}"#;

/// A body with its frame.
fn framed(id: u32, data: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), data].concat()
}

/// As Avro writes a string.
fn text(value: &str) -> Vec<u8> {
    [&[(value.len() * 2) as u8][..], value.as_bytes()].concat()
}

fn double(value: f64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn order_v1(n: usize) -> Message {
    let data = [text(&format!("order-{n}")), double(n as f64)].concat();
    Message { body: framed(1, &data), ..Message::default() }
}

/// A pipeline of Avro with the second version of the schema, on a registry that knows the first three.
fn avro(rabbit: &Rabbit, registry: &RegistryServer, more: &str) -> Setting {
    let options = Options::orders(rabbit.uri());
    let more =
        format!("[registry]\nurls = [\"{}\"]\nrequest_timeout = \"1s\"\nunknown_for = \"1s\"\n{more}", registry.url());
    let setting = Setting::new(&Options { more: &more, ..options });
    let schema = setting.directory.path().join("order.v2.avsc");
    std::fs::write(&schema, ORDER_V2).expect("writable");
    let json = repository().join("tests/data/order.v1.json");
    setting.change(&format!("schema = \"{}\"", json.display()), &format!("schema = \"{}\"", schema.display()));
    setting.change("format = \"json\"", "format = \"avro\"\nframing = \"confluent\"");
    setting.change("event_time = \"/occurred_at\"\n", "");
    registry.register(1, "AVRO", ORDER_V1, "orders-value", &[]);
    registry.register(2, "AVRO", ORDER_V2, "orders-value-2", &[]);
    registry.register(3, "AVRO", ORDER_V3, "orders-value-3", &[("shop.Place", "places")]);
    registry.register(4, "AVRO", PLACE, "places", &[]);
    registry.register(5, "AVRO", ORDER_TEXT, "orders-value-5", &[]);
    setting
}

fn dlq(setting: &Setting, arguments: &[&str]) -> String {
    let all = [&["dlq", arguments[0], "--config", setting.config_text()][..], &arguments[1..]].concat();
    parqueduct_ok(&all)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn data_of_several_versions_become_rows_of_the_configured_schema() {
    let (rabbit, registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "");
    // One that knows nothing yet is asked first.
    let behind = RegistryServer::start();
    setting.change("urls = [", &format!("urls = [\"{}\", ", behind.url()));
    let v2 = [text("order-1"), double(1.5), vec![2], text("fragile")].concat();
    let v3 = [text("Pau"), text("order-2"), double(2.5), vec![0]].concat();
    let messages: Vec<Message> = [
        order_v1(0).body,
        framed(2, &v2),
        framed(3, &v3),
        framed(5, &[text("order-3"), text("much")].concat()),
        framed(77, b"\x02x"),
        framed(77, b"\x02y"),
        framed(78, b"\x02x"),
        // No registry has such an id, and none understands the question for it.
        framed(u32::MAX, b"\x02x"),
        framed(2, &v2[..4]),
        b"{\"id\":\"order-9\"}".to_vec(),
    ]
    .into_iter()
    .map(|body| Message { body, ..Message::default() })
    .collect();
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);

    let query = "import sys, glob, json, pyarrow.parquet as pq
rows = [row for path in glob.glob(sys.argv[1] + '/data/orders/v2/**/*.parquet', recursive=True)
        for row in pq.read_table(path, partitioning=None, columns=['id', 'amount', 'note', '_extra']).to_pylist()]
print(json.dumps(sorted(rows, key=lambda row: row['id'])))";
    let rows = python::run_text(query, &[setting.store().to_str().expect("UTF-8")]);
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!(
        rows,
        json!([
            {"id": "order-0", "amount": 0.0, "note": null, "_extra": null},
            {"id": "order-1", "amount": 1.5, "note": "fragile", "_extra": null},
            {"id": "order-2", "amount": 2.5, "note": null, "_extra": "{\"origin\":{\"city\":\"Pau\"}}"},
        ])
    );

    let letters = lines(&dlq(&setting, &["list", "--json"]));
    let codes: Vec<&str> = letters.iter().map(|letter| letter["code"].as_str().expect("text")).collect();
    assert_eq!(codes.len(), 7, "{codes:?}");
    let unknown: Vec<String> = lines(&dlq(&setting, &["groups", "--json"]))
        .iter()
        .filter(|group| group["code"] == "schema.unknown")
        .map(|group| format!("{} {}", group["title"].as_str().expect("text"), group["count"]))
        .collect();
    assert!(
        unknown.len() == 3 && unknown.iter().any(|group| group.contains("id 77") && group.ends_with(" 2")),
        "{unknown:?}"
    );
}

#[test]
fn trouble_of_the_registry_neither_loses_nor_kills_an_event() {
    let (rabbit, mut registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "answer_max = \"64KiB\"\n");
    registry.stop();
    let program = Program::start_ready(&setting.config);
    let faults = [
        Fault::Slow(Duration::from_secs(3)),
        Fault::Error500,
        Fault::Page,
        Fault::CutOff,
        Fault::NoSchema,
        Fault::Proxy404,
        Fault::Redirect,
        Fault::Unauthorized,
        Fault::Endless,
    ];
    now(rabbit.publish(&setting.queue, &(0..100).map(order_v1).collect::<Vec<_>>()));
    // Away: what is delivered waits, and the process stays up.
    wait_for("deliveries", MINUTE, || (program.metric("parqueduct_in_flight") > 0.0).then_some(()));
    wait_for("a warning", MINUTE, || program.log().contains("deliveries wait for their schema").then_some(()));
    registry.come_back();
    for fault in faults {
        registry.fault(Some(fault));
        let asked = registry.asked();
        wait_for("questions", MINUTE, || (registry.asked() > asked + 1).then_some(()));
        assert_eq!(program.metric("parqueduct_archived_total"), 0.0, "{fault:?}");
        assert_eq!(lines(&dlq(&setting, &["list", "--json"])).len(), 0, "{fault:?}");
    }
    registry.fault(None);
    program.wait_until_settled(100, MINUTE);
    // Known once, it is not asked for again, whatever becomes of the registry.
    registry.stop();
    now(rabbit.publish(&setting.queue, &(100..200).map(order_v1).collect::<Vec<_>>()));
    program.wait_until_settled(200, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    archive::assert_orders(&archive::event_ids(&setting.store()), 200, 1);
    assert_eq!(lines(&dlq(&setting, &["list", "--json"])).len(), 0);
}

#[test]
fn what_waits_for_too_long_goes_back_once_and_a_drain_gives_it_back() {
    let (rabbit, mut registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "[run]\nflush_grace = \"6s\"\n");
    setting.change("[store]\n", "[store]\nrequest_timeout = \"2s\"\nretry_timeout = \"2s\"\n");
    registry.stop();
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &(0..50).map(order_v1).collect::<Vec<_>>()));
    // Half the grace, and then it is not taken again until the registry answers.
    wait_for("them to go back", MINUTE, || (program.metric("parqueduct_requeued_total") > 0.0).then_some(()));
    let gone_back = program.metric("parqueduct_requeued_total");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((program.metric("parqueduct_requeued_total"), program.metric("parqueduct_in_flight")), (gone_back, 0.0));
    registry.come_back();
    wait_for("rows", MINUTE, || (program.metric("parqueduct_archived_total") == 50.0).then_some(()));
    // A schema that is asked for while the registry is away does not hold up the end.
    registry.stop();
    let data = [self::text("order-50"), double(1.0), vec![0]].concat();
    now(rabbit.publish(&setting.queue, &[Message { body: framed(2, &data), ..Message::default() }]));
    wait_for("a delivery", MINUTE, || (program.metric("parqueduct_in_flight") == 1.0).then_some(()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(now(rabbit.messages_at_rest(&setting.queue)), 1);
    archive::assert_orders(&archive::event_ids(&setting.store()), 50, 1);
}

#[test]
fn letters_are_shown_and_mended_by_the_schema_they_name_and_replayed_once_it_is_there() {
    let (rabbit, mut registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "");
    registry.require(&format!("Basic {}", BASE64.encode("archiver:secret-of-test")));
    setting.change("unknown_for", "username = \"archiver\"\npassword = \"secret-of-test\"\nunknown_for");
    let rules = setting.directory.path().join("rules.json");
    std::fs::write(&rules, r#"{"properties":{"amount":{"maximum":100}}}"#).expect("writable");
    setting.change("framing =", &format!("rules = \"{}\"\nframing =", rules.display()));
    let program = Program::start_ready(&setting.config);
    let unknown = Message { body: framed(9, &[text("order-1"), double(2.0)].concat()), ..Message::default() };
    now(rabbit.publish(&setting.queue, &[order_v1(1000), unknown]));
    program.wait_until_settled(2, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && !log.contains("secret-of-test"), "{log}");

    registry.register(9, "AVRO", ORDER_V1, "orders-value", &[]);
    // The letter has its schema with it; the registry is not needed to show and to search it.
    registry.stop();
    let shown = |code: &str| {
        let letter = lines(&dlq(&setting, &["list", "--code", code, "--json"])).remove(0);
        dlq(&setting, &["show", letter["id"].as_str().expect("an id")])
    };
    let large = shown("validate.maximum");
    assert!(large.contains("\"amount\": 1000.0") && large.contains("bytes of avro"), "{large}");
    assert!(shown("schema.unknown").contains("00 00 00 00 09"), "{}", shown("schema.unknown"));
    assert_eq!(lines(&dlq(&setting, &["list", "--where", "/id=order-1000", "--json"])).len(), 1);
    registry.come_back();

    let fix = setting.directory.path().join("fix.toml");
    std::fs::write(&fix, "[[step]]\nmap = { path = \"/id\", values = { \"order-1000\" = \"order-0\" } }\n[[patch]]\nop = \"replace\"\npath = \"/amount\"\nvalue = 7.5\n").expect("writable");
    let plan = lines(&dlq(&setting, &["plan", "--code", "validate", "--fix", fix.to_str().expect("UTF-8"), "--json"]));
    dlq(&setting, &["replay", plan[0]["plan"].as_str().expect("a hash"), "--yes"]);
    let plan = lines(&dlq(&setting, &["plan", "--code", "schema.unknown", "--json"]));
    dlq(&setting, &["replay", plan[0]["plan"].as_str().expect("a hash"), "--yes"]);
    archive::assert_orders(&archive::event_ids(&setting.store()), 2, 1);
}

#[test]
fn types_are_told_by_subjects_in_each_format() {
    let (rabbit, registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "");
    let proto = "syntax = \"proto3\";\npackage shop;\nimport \"common/place.proto\";\nmessage Other { message Paid { string id = 1; Place place = 2; int64 extra = 3; } }\n";
    registry.register(20, "PROTOBUF", proto, "paid", &[("common/place.proto", "place-proto")]);
    registry.register(
        21,
        "PROTOBUF",
        "syntax = \"proto3\";\npackage shop;\nmessage Place { string city = 1; }\n",
        "place-proto",
        &[],
    );
    registry.register(30, "JSON", r#"{"type":"object"}"#, "sent", &[]);
    let at = |name: &str| setting.directory.path().join(name).display().to_string();
    // What is configured knows less of the message than its producers do.
    let known = "syntax = \"proto3\";\npackage shop;\nmessage Paid { string id = 1; }\n";
    std::fs::write(at("paid.proto"), known).expect("writable");
    python::run_text(
        "import sys
from google.protobuf import descriptor_pb2
file = descriptor_pb2.FileDescriptorProto(name='paid.proto', package='shop', syntax='proto3')
message = file.message_type.add(name='Paid')
message.field.add(name='id', number=1, type=9, label=1, json_name='id')
open(sys.argv[1], 'wb').write(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())",
        &[&at("paid.desc")],
    );
    std::fs::write(at("sent.json"), r#"{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}"#)
        .expect("writable");
    setting.change(&format!("schema = \"{}\"\n", at("order.v2.avsc")), "");
    let mut config = std::fs::read_to_string(&setting.config).expect("readable");
    for (name, subject, format, schema, more) in [
        ("placed", "orders-value", "avro", "order.v2.avsc", ""),
        ("paid", "paid", "protobuf", "paid.desc", "message = \"shop.Paid\"\n"),
        ("sent", "sent", "json", "sent.json", ""),
    ] {
        config.push_str(&format!(
            "[[pipeline.event]]\nname = \"{name}\"\nwhen = {{ subject = \"{subject}\" }}\nformat = \"{format}\"\nframing = \"confluent\"\nschema = \"{}\"\n{more}",
            at(schema)
        ));
    }
    std::fs::write(&setting.config, config).expect("writable");
    // The first message within the first of the file; its id, a place, and a number.
    let paid = b"\x04\0\0\x0a\x07order-1\x12\x05\x0a\x03Pau\x18\x07".to_vec();
    let compressed = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&framed(30, b"{\"id\":\"order-2\",\"n\":1.50}")).expect("a Vec takes all");
        let properties = Properties { content_encoding: Some("gzip".to_owned()), ..Properties::default() };
        Message {
            body: encoder.finish().expect("a Vec takes all"),
            properties: properties.into(),
            ..Message::default()
        }
    };
    let messages = [
        order_v1(0),
        Message { body: framed(20, &paid), ..Message::default() },
        compressed,
        Message { body: framed(4, &text("Pau")), ..Message::default() },
        Message { body: framed(30, b"{\"n\":2.50}"), ..Message::default() },
    ];
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    for (name, version, id) in [("placed", "v2", "order-0"), ("paid", "v1", "order-1"), ("sent", "v1", "order-2")] {
        let ids = archive::event_ids_below(&setting.store().join("data/orders").join(name).join(version));
        assert_eq!(ids.into_keys().collect::<Vec<_>>(), [id], "{name}");
    }
    let unknown = lines(&dlq(&setting, &["list", "--code", "schema.unknown", "--json"])).remove(0);
    assert_eq!(unknown["issues"][0]["actual"], "schema id 4");
    // JSON behind an id is shown, found, mended and given back, and keeps the id.
    let nameless = lines(&dlq(&setting, &["list", "--where", "/n=2.5", "--json"])).remove(0);
    assert_eq!(nameless["code"], "validate.required");
    let shown = dlq(&setting, &["show", nameless["id"].as_str().expect("an id")]);
    assert!(shown.contains("\"n\": 2.50"), "{shown}");
    let fix = at("fix.toml");
    std::fs::write(&fix, "[[step]]\ndefault = { path = \"/id\", value = \"order-3\" }\n").expect("writable");
    let plan = lines(&dlq(&setting, &["plan", "--code", "validate.required", "--fix", &fix, "--json"]));
    dlq(&setting, &["replay", plan[0]["plan"].as_str().expect("a hash"), "--yes"]);
    let ids = archive::event_ids_below(&setting.store().join("data/orders/sent/v1"));
    assert_eq!(ids.into_keys().collect::<Vec<_>>(), ["order-2", "order-3"]);
}

#[test]
fn a_registry_that_cannot_be_used_is_found_by_the_check() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    setting.change("format = \"json\"", "format = \"json\"\nframing = \"confluent\"");
    let told = || {
        let checked = parqueduct(&["check", "--config", setting.config_text()]);
        format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr))
    };
    assert!(told().contains("pipeline.framing: needs a schema registry: add a section [registry]"), "{}", told());
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let registry = "[registry]\nurls = [\"registry:8081\", \"http://a:b@r:8081\"]\npassword = \"x\"\n";
    std::fs::write(&setting.config, format!("{registry}{text}")).expect("writable");
    for finding in ["\"registry:8081\" is no address", "holds a user or a password", "stands without username"] {
        assert!(told().contains(finding), "{finding}: {}", told());
    }
}

/// Told by what they begin with, and within the envelopes of both modes.
#[test]
fn bodies_that_name_a_schema_come_beside_others_in_cloud_events_too() {
    let (rabbit, registry) = (now(Rabbit::shared()), RegistryServer::start());
    let setting = avro(&rabbit, &registry, "");
    setting.change("format = \"avro\"\nframing = \"confluent\"", "format = \"auto\"\nenvelope = \"cloudevents\"");
    let structured = |id: &str, member: &str, data: Value| {
        let mut event = json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order"});
        event[member] = data;
        let content_type = Some("application/cloudevents+json".to_owned());
        let properties = Properties { content_type, ..Properties::default() };
        Message { body: event.to_string().into_bytes(), properties: properties.into(), ..Message::default() }
    };
    let mut binary = order_v1(0);
    let header = |(name, value): (&str, &str)| (format!("ce-{name}"), HeaderValue::Text(value.as_bytes().to_vec()));
    let attributes = [("specversion", "1.0"), ("id", "1"), ("source", "/shop"), ("type", "order")];
    binary.properties.headers = Some(attributes.map(header).to_vec());
    let v3 = [text("Pau"), text("order-1"), double(2.5), vec![0]].concat();
    // One that says nothing of its envelope, and alone names its schema.
    let v2 = [text("order-3"), double(4.5), vec![0]].concat();
    let mut unsaid = structured("5", "data_base64", BASE64.encode(framed(2, &v2)).into());
    unsaid.properties.content_type = None;
    let messages = [
        unsaid,
        binary,
        structured("2", "data_base64", BASE64.encode(framed(3, &v3)).into()),
        structured("3", "data", json!({"id": "order-2", "amount": 3.5})),
        structured("4", "data_base64", BASE64.encode(framed(77, b"\x02x")).into()),
    ];
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let ids = archive::event_ids(&setting.store());
    assert_eq!(ids.keys().collect::<Vec<_>>(), ["order-0", "order-1", "order-2", "order-3"]);
    let letters = lines(&dlq(&setting, &["list", "--json"]));
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["code"], &letters[0]["issues"][0]["path"]),
        (&"schema.unknown".into(), &"/data_base64".into())
    );
}
