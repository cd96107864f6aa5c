//! `parqueduct schema infer`: a schema for the samples of files, of a queue that keeps them all, and of dead letters.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::types::AMQPValue;
use parqueduct::broker::{Broker, Rabbit as Client, Subscription};
use parqueduct::event::{HeaderValue, Message};
use serde_json::{Value, json};

use crate::harness::program::{BINARY, parqueduct, parqueduct_ok};
use crate::harness::rabbit::{self, Rabbit, eventually};
use crate::harness::setting::{Options, Setting, repository};

/// Where nobody is: the test takes files.
const NOWHERE: &str = "amqp://nobody:nothing@127.0.0.1:1/%2f";

/// What the command says: the schema, and its findings as they are on the standard error.
fn inferred(words: &[&str]) -> (Value, String) {
    let done = parqueduct(&[&["schema", "infer"], words].concat());
    let told = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(done.status.success(), "{words:?}: {told}");
    (serde_json::from_slice(&done.stdout).expect("a schema"), told)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_month_of_flights_keeps_the_schema_learned_of_it_and_gives_typed_columns() {
    let flights = repository().join("config/demo/flights-2013-01.ndjson.gz");
    let directory = tempfile::tempdir().expect("a directory");
    let learned = directory.path().join("flight.v1.json");
    for more in [&["--name", "A flight"][..], &["--strict"], &["--no-enums"]] {
        let (schema, told) = inferred(&[&[text(&flights)], more].concat());
        std::fs::write(&learned, schema.to_string()).expect("writable");
        let checked = parqueduct_ok(&["schema", "check", text(&learned), text(&flights)]);
        assert_eq!(checked, "27004 good, 0 bad\n", "{more:?}");
        assert!(told.contains("/tailnum: string or null; 155 of 27,004 null"), "{told}");
        let origin = &schema["properties"]["route"]["properties"]["origin"];
        assert_eq!(origin.get("enum").is_some(), more != ["--no-enums"], "{origin}");
        assert_eq!(schema["properties"]["flight"].get("maximum").is_some(), more == ["--strict"]);
        assert_eq!(schema.get("title"), more.contains(&"--name").then(|| json!("A flight")).as_ref());
    }
    let columns = parqueduct_ok(&["schema", "columns", text(&learned), "--json"]);
    let of = |column: &str| {
        let told = columns.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        told.filter(|line| line["column"] == column).map(|line| line["type"].clone()).next().expect("the column")
    };
    assert_eq!(of("occurred_at"), "Timestamp(µs, \"UTC\")");
    assert_eq!((of("route"), of("arrival.delay_min")), (json!("struct"), json!("Int64")));
    // As one learned of a part, in the order of the events.
    let (schema, told) = inferred(&[text(&flights), "--samples", "50"]);
    let names: Vec<_> = schema["properties"].as_object().expect("properties").keys().map(String::as_str).collect();
    assert_eq!(names[..4], ["id", "type", "occurred_at", "carrier"]);
    assert!(told.contains("there are 50 samples only"), "{told}");
}

#[test]
fn samples_come_from_standard_input_and_those_that_cannot_be_read_are_told() {
    let mut child = Command::new(BINARY)
        .args(["schema", "infer", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let lines = b"{\"a\":1}\n\n{\"a\":\n{\"a\":18446744073709551615}\r\n{\"a\":}\n";
    child.stdin.take().expect("a pipe").write_all(lines).expect("written");
    let done = child.wait_with_output().expect("it ends");
    let told: Vec<Value> = String::from_utf8(done.stderr)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let schema: Value = serde_json::from_slice(&done.stdout).expect("a schema");
    let expected = json!({"type": "integer", "format": "decimal", "precision": 20, "scale": 0});
    assert_eq!(schema["properties"]["a"], expected);
    let note = |text: &str| told.iter().any(|line| line["note"].as_str().is_some_and(|note| note.contains(text)));
    assert!(note("the first: -:3"), "{told:?}");
    let digits = told.iter().find(|line| line["doubt"] == "digits").expect("a finding");
    assert_eq!((&digits["path"], digits["evidence"].as_str().is_some()), (&json!("/a"), true));
}

#[test]
fn messages_of_msgpack_are_a_file_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name);
    // {"n": 1} and {"n": 2, "b": 0xff}
    std::fs::write(place("one"), b"\x81\xa1n\x01").expect("writable");
    std::fs::write(place("two"), b"\x82\xa1n\x02\xa1b\xc4\x01\xff").expect("writable");
    let (schema, told) = inferred(&["--format", "msgpack", text(&place("one")), text(&place("two"))]);
    assert_eq!(schema["properties"], json!({"n": {"type": "integer"}, "b": {"type": "string"}}));
    assert!(told.contains("/b: optional; missing in 1 of 2"), "{told}");
    let done = parqueduct(&["schema", "infer", text(&place("one"))]);
    let told = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(done.status.code() == Some(1) && told.contains("no sample to learn of"), "{told}");
}

#[test]
fn options_of_another_source_are_refused() {
    for words in [
        &[][..],
        &["--code", "validate", "a.ndjson"],
        &["--code", "validate", "--queue", "q"],
        &["--queue", "q", "a.ndjson"],
        &["--dead-letters", "a.ndjson"],
        &["--state", "all", "a.ndjson"],
        &["--dead-letters", "--format", "msgpack"],
    ] {
        let done = parqueduct(&[&["schema", "infer"], words].concat());
        assert_eq!(done.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn message(body: &str) -> Message {
    Message { body: body.as_bytes().to_vec(), ..Message::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_looked_at_and_keeps_every_message_in_its_place() {
    let node = Rabbit::shared().await;
    let setting = Setting::new(&Options::orders(node.uri()));
    let queue = node.queue("infer").await;
    let bodies: Vec<_> = (0..30).map(|n| format!("{{\"n\":{n},\"even\":{}}}", n % 2 == 0)).collect();
    node.publish(&queue, &bodies.iter().map(|body| message(body)).collect::<Vec<_>>()).await;
    let words = ["--config", setting.config_text(), "--queue", &queue];
    let (schema, told) = inferred(&words);
    assert_eq!(schema["properties"], json!({"n": {"type": "integer"}, "even": {"type": "boolean"}}));
    assert!(told.contains("30 messages") && told.contains("a quorum queue has counted one delivery of each"), "{told}");
    eventually("all are there again", || async { node.ready(&queue).await == 30 }).await;
    let (_, told) = inferred(&[&words[..], &["--samples", "7"]].concat());
    assert!(told.contains("7 messages") && told.contains("0 to 6 in 7"), "{told}");
    eventually("all are there again", || async { node.ready(&queue).await == 30 }).await;

    let client = Client::new(&node.config(), rabbit::surroundings()).expect("a valid configuration");
    let subscription =
        Subscription { queue: queue.clone(), prefetch: 30, declare: None, name: "parqueduct test".into() };
    let (mut intake, settler) = client.consume(&subscription).await.expect("consuming");
    let mut taken = Vec::new();
    while taken.len() < 30 {
        taken.extend(intake.next(30).await.expect("deliveries").into_iter().map(|delivery| delivery.message.body));
    }
    assert_eq!(taken, bodies.iter().map(|body| body.clone().into_bytes()).collect::<Vec<_>>());
    settler.close().await;
    let done = parqueduct(&["schema", "infer", "--config", setting.config_text(), "--queue", "nobodys"]);
    let told = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(done.status.code() == Some(1) && told.contains("nobodys"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_queue_counts_a_delivery_of_what_was_looked_at() {
    let node = Rabbit::shared().await;
    let setting = Setting::new(&Options::orders(node.uri()));
    let queue = rabbit::unique("infer-quorum");
    node.declare(&queue, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
    node.publish(&queue, &[message("{\"n\":1}"), message("{\"n\":2}")]).await;
    inferred(&["--config", setting.config_text(), "--queue", &queue, "--samples", "1"]);
    let client = Client::new(&node.config(), rabbit::surroundings()).expect("a valid configuration");
    let subscription =
        Subscription { queue: queue.clone(), prefetch: 9, declare: None, name: "parqueduct test".into() };
    let (mut intake, settler) = client.consume(&subscription).await.expect("consuming");
    let mut counted = Vec::new();
    while counted.len() < 2 {
        let batch = tokio::time::timeout(Duration::from_secs(30), intake.next(9)).await.expect("in time");
        for delivery in batch.expect("deliveries") {
            let headers = delivery.message.properties.into_inner().headers.unwrap_or_default();
            let count = headers.into_iter().find(|(name, _)| name == "x-delivery-count").map(|(_, value)| value);
            counted.push((delivery.message.body, delivery.message.redelivered, count));
        }
    }
    counted.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    settler.close().await;
    node.delete(&queue).await;
    let one = (b"{\"n\":1}".to_vec(), true, Some(HeaderValue::I64(1)));
    assert_eq!(counted, [one, (b"{\"n\":2}".to_vec(), false, None)]);
}

#[test]
fn dead_letters_are_samples_of_what_a_schema_refuses() {
    let setting = Setting::new(&Options::orders(NOWHERE));
    let file = setting.directory.path().join("events.ndjson");
    let lines: String = (0..40).map(|n| format!("{{\"id\":\"order-{n}\",\"odd\":{n}}}\n")).collect();
    std::fs::write(&file, lines + "not JSON\n").expect("writable");
    parqueduct_ok(&["ingest", "--config", setting.config_text(), "--pipeline", "orders", text(&file)]);
    let words = ["--config", setting.config_text(), "--dead-letters"];
    let (schema, told) = inferred(&[&words[..], &["--pipeline", "orders"]].concat());
    assert_eq!(schema["required"].as_array().map(Vec::len), Some(2));
    assert_eq!(schema["properties"]["odd"], json!({"type": "integer"}));
    assert!(told.contains("1 samples were passed over") && told.contains("the first: dead letter "), "{told}");
    let (_, told) = inferred(&[&words[..], &["--code", "validate", "--where", "/id=order-7"]].concat());
    assert!(told.contains("there are 1 samples only") && told.contains("/odd: of any size; 7 to 7 in 1"), "{told}");
    let done = parqueduct(&[&["schema", "infer"], &words[..], &["--code", "encode"]].concat());
    assert_eq!(done.status.code(), Some(1));
}
