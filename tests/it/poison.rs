//! Messages that RabbitMQ passes on and AMQP client libraries cannot read, in the middle of a queue: each ends as a dead
//! letter of its own, whole, and costs nothing else.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{ErrorKind, ExchangeKind};
use parqueduct::event::{Message, Unreadable};
use serde_json::Value;

use crate::harness::program::{Program, parqueduct_ok, wait_for};
use crate::harness::rabbit::{Rabbit, unique};
use crate::harness::setting::{Options, Setting};
use crate::harness::wire::{self, HEADERS, MESSAGE_ID, Raw, long, short};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

/// Good events around the poisons.
const GOOD: usize = 10_000;

/// A message, and what must be told of it.
struct Poison {
    routing_key: &'static [u8],
    properties: Vec<u8>,
    code: &'static str,
    /// Each issue's path.
    paths: &'static [&'static str],
    unreadable: Vec<Unreadable>,
    message_id: Option<&'static str>,
    headers: &'static str,
}

/// A member of a table: a name, and a text.
fn member(name: &[u8]) -> Vec<u8> {
    [&short(name)[..], b"S", &long(b"atc")].concat()
}

fn poisons() -> Vec<Poison> {
    let named = Unreadable::new;
    let flat = long(&[member(b"x-source"), member(b"caf\xe9")].concat());
    let inner = long(&[member(b"fine"), member(b"\xc3(")].concat());
    let nested = long(&[&short(b"outer")[..], b"F", &inner].concat());
    let colliding = long(&[member(b"\xfe"), member(b"\xff")].concat());
    let deep = (0..5_000).fold(b"\x01kV".to_vec(), |inside, _| [&b"\x01kF"[..], &long(&inside)].concat());
    let deep = wire::properties(HEADERS, &[long(&deep)]);
    vec![
        Poison {
            routing_key: b"key",
            properties: wire::properties(MESSAGE_ID, &[short(b"id-\xff\xfe")]),
            code: "decode.amqp_text",
            paths: &["message_id"],
            unreadable: vec![named("message_id", b"id-\xff\xfe")],
            message_id: Some("id-??"),
            headers: "null",
        },
        Poison {
            routing_key: b"key",
            properties: wire::properties(HEADERS | MESSAGE_ID, &[flat.clone(), short(b"m-1")]),
            code: "decode.amqp_text",
            paths: &["headers"],
            unreadable: vec![named("headers/caf?", b"caf\xe9"), named("headers", &flat)],
            message_id: Some("m-1"),
            headers: r#"{"caf?":{"S":"atc"},"x-source":{"S":"atc"}}"#,
        },
        Poison {
            routing_key: b"key",
            properties: wire::properties(HEADERS, std::slice::from_ref(&nested)),
            code: "decode.amqp_text",
            paths: &["headers"],
            unreadable: vec![named("headers/outer/?(", b"\xc3("), named("headers", &nested)],
            message_id: None,
            headers: r#"{"outer":{"F":{"?(":{"S":"atc"},"fine":{"S":"atc"}}}}"#,
        },
        Poison {
            routing_key: b"k\xffy",
            properties: wire::properties(HEADERS, std::slice::from_ref(&colliding)),
            code: "decode.amqp_text",
            paths: &["routing_key", "headers"],
            unreadable: vec![
                named("routing_key", b"k\xffy"),
                named("headers/?", b"\xfe"),
                named("headers/?", b"\xff"),
                named("headers", &colliding),
            ],
            message_id: None,
            headers: r#"{"?":{"S":"atc"}}"#,
        },
        Poison {
            routing_key: b"key",
            properties: deep.clone(),
            code: "decode.amqp_properties",
            paths: &[""],
            unreadable: vec![named("properties", &deep)],
            message_id: None,
            headers: "null",
        },
    ]
}

/// The body of the poison number `n`: a good event, so that only its names and properties are to blame.
fn body(n: usize) -> Vec<u8> {
    orders::good(GOOD + n)
}

fn assert_told(letter: &Value, poison: &Poison) {
    assert_eq!(letter["code"], poison.code, "{letter:#}");
    let paths: Vec<_> = letter["issues"].as_array().expect("issues").iter().map(|issue| &issue["path"]).collect();
    assert_eq!(paths, poison.paths, "{letter:#}");
    assert_eq!(letter["routing_key"], String::from_utf8_lossy(poison.routing_key).replace('\u{fffd}', "?"));
    assert_eq!(letter["message_id"].as_str(), poison.message_id, "{letter:#}");
    assert_eq!(letter["headers"].to_string(), poison.headers);
    let bytes = |part: &Value| BASE64_STANDARD.decode(part["bytes_base64"].as_str().expect("bytes")).expect("base64");
    let parts = letter["unreadable"].as_array().expect("what could not be read").iter();
    let parts: Vec<_> =
        parts.map(|part| Unreadable::new(part["place"].as_str().expect("a place"), &bytes(part))).collect();
    assert_eq!(parts, poison.unreadable, "{letter:#}");
}

/// The queue, bound to an exchange of its own that passes on any routing key.
async fn declare(rabbit: &Rabbit, queue: &str, kind: &str) -> String {
    rabbit.declare(queue, &[("x-queue-type", AMQPValue::LongString(kind.into()))]).await;
    let (exchange, admin) = (unique("poison"), rabbit.admin().await);
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    let declared =
        admin.1.exchange_declare(exchange.as_str().into(), ExchangeKind::Fanout, options, FieldTable::default());
    declared.await.expect("an exchange of our own");
    let (from, options) = (exchange.as_str().into(), QueueBindOptions::default());
    admin.1.queue_bind(queue.into(), from, "".into(), options, FieldTable::default()).await.expect("a binding");
    exchange
}

fn poisons_in_the_middle_become_dead_letters(kind: &str) {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "";
    let setting = Setting::new(&options);
    let poisons = poisons();
    now(async {
        let exchange = declare(&rabbit, &setting.queue, kind).await;
        let good = |n| Message { body: orders::good(n), ..Message::default() };
        let raw = poisons.iter().enumerate().map(|(n, poison)| Raw {
            exchange: exchange.as_bytes().to_vec(),
            routing_key: poison.routing_key.to_vec(),
            properties: poison.properties.clone(),
            body: body(n),
        });
        rabbit.publish(&setting.queue, &(0..GOOD / 2).map(good).collect::<Vec<_>>()).await;
        wire::publish(rabbit.port(), &raw.collect::<Vec<_>>()).await;
        rabbit.publish(&setting.queue, &(GOOD / 2..GOOD).map(good).collect::<Vec<_>>()).await;
    });
    let program = Program::start(&setting.config);
    program.wait_until_settled((GOOD + poisons.len()) as u64, MINUTE);
    assert_eq!(program.metric("parqueduct_archived_total"), GOOD as f64);
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), poisons.len() as f64);
    assert_eq!(program.metric("parqueduct_broker_reconnects_total"), 0.0, "not even the connection was lost");
    assert_eq!(program.errors(), Vec::<String>::new());
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert!(!log.contains(" WARN "), "{log}");

    let ids = archive::event_ids(&setting.store());
    assert_eq!(ids.len(), GOOD);
    assert!((0..GOOD).all(|n| ids.get(&format!("order-{n}")) == Some(&1)));
    let letters = setting.dead_letters();
    assert_eq!(letters.len(), poisons.len());
    for (n, poison) in poisons.iter().enumerate() {
        let expected = BASE64_STANDARD.encode(body(n));
        let letter = letters.iter().find(|letter| letter["body_base64"] == expected.as_str());
        assert_told(letter.expect("a dead letter with the body byte for byte"), poison);
    }
    assert_shown(&setting, &letters);
    wait_for("an empty queue", MINUTE, || (now(rabbit.ready(&setting.queue)) == 0).then_some(()));
    now(rabbit.delete(&setting.queue));
}

/// People see them too, in words and in hexadecimal.
fn assert_shown(setting: &Setting, letters: &[Value]) {
    let groups = parqueduct_ok(&["dlq", "groups", "--config", setting.config_text()]);
    for sentence in ["`message_id` of the message is not UTF-8", "the name of a header is not UTF-8"] {
        assert!(groups.contains(sentence), "{groups}");
    }
    let letter = letters.iter().find(|letter| letter["message_id"] == "id-??").expect("the first poison");
    let id = letter["id"].as_str().expect("an id");
    let shown = parqueduct_ok(&["dlq", "show", id, "--config", setting.config_text()]);
    assert!(shown.contains("message_id  69642dfffe"), "{shown}");
}

#[test]
fn poisons_in_the_middle_of_a_classic_queue_become_dead_letters() {
    poisons_in_the_middle_become_dead_letters("classic");
}

#[test]
fn poisons_in_the_middle_of_a_quorum_queue_become_dead_letters() {
    poisons_in_the_middle_become_dead_letters("quorum");
}

/// When this fails, the client library has learned to read them: see decision 9.
#[test]
fn the_client_library_alone_loses_its_connection_over_one() {
    let rabbit = now(Rabbit::shared());
    now(async {
        let queue = rabbit.queue("poisoned").await;
        let exchange = declare(&rabbit, &queue, "classic").await.into_bytes();
        let Poison { properties, .. } = poisons().remove(0);
        let poison = Raw { exchange, routing_key: b"key".to_vec(), properties, body: body(0) };
        wire::publish(rabbit.port(), &[poison]).await;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let admin = rabbit.admin().await;
        let consuming = admin.1.basic_consume(queue.as_str().into(), "".into(), options, arguments).await;
        let first = tokio::time::timeout(MINUTE, consuming.expect("consuming").next()).await.expect("an answer");
        let error = first.expect("an error").expect_err("it cannot be read");
        assert!(matches!(error.kind(), ErrorKind::ParsingError(_)), "{error}");
        rabbit.delete(&queue).await;
    });
}
