//! Queues behind dead-letter exchanges, as pipelines of their own: what the broker gave up on becomes dead letters.

use std::time::Duration;

use lapin::types::AMQPValue;

use super::{bind, exchange, long, message, reject, text, with};
use crate::harness::now;
use crate::harness::program::{Program, parqueduct_ok};
use crate::harness::rabbit::{Rabbit, unique};
use crate::harness::setting::{Options, Setting};

const MINUTE: Duration = Duration::from_secs(60);

/// A setting whose one pipeline takes `queue`, which is behind a dead-letter exchange.
fn setting(node: &Rabbit, queue: &str) -> Setting {
    let setting = Setting::new(&Options::orders(node.uri()));
    let store = setting.store();
    let text = format!(
        r#"[rabbitmq]
uri = "{uri}"
reconnect_max = "1s"

[store]
url = "file://{store}"

[http]
listen = "127.0.0.1:0"

[[pipeline]]
name = "dead"
kind = "dead-letter"
queue = "{queue}"
prefetch = 100
flush = {{ age = "300ms" }}
"#,
        uri = node.uri(),
        store = store.display(),
    );
    std::fs::write(&setting.config, text).expect("the configuration can be written");
    setting
}

#[test]
fn whatever_the_broker_gave_up_on_becomes_a_letter_that_says_where_and_why() {
    let node = now(Rabbit::shared());
    let (events, dlx) = now(async {
        let topic = lapin::ExchangeKind::Topic;
        (exchange(&node, topic.clone(), false).await, exchange(&node, topic, false).await)
    });
    let dead = now(node.queue("dead"));
    let queue_of = |hint: &str, arguments: &[(&str, AMQPValue)]| {
        let name = unique(hint);
        let arguments = [&[("x-dead-letter-exchange", long(&dlx))], arguments].concat();
        now(async {
            node.declare(&name, &arguments).await;
            bind(&node, &name, &events, &format!("{hint}.*")).await;
        });
        name
    };
    now(bind(&node, &dead, &dlx, "#"));
    let quorum = ("x-queue-type", long("quorum"));
    let rejecting = queue_of("rejected", &[]);
    let expiring = queue_of("expired", &[("x-message-ttl", AMQPValue::LongInt(1))]);
    let short = queue_of("maxlen", &[("x-max-length", AMQPValue::LongInt(1))]);
    let limited = queue_of("limited", &[quorum, ("x-delivery-limit", AMQPValue::LongInt(1))]);
    let setting = setting(&node, &dead);
    let program = Program::start_ready(&setting.config);
    now(async {
        use parqueduct::broker::publish::{Publisher, PublisherLimits};
        let limits = PublisherLimits::default();
        let surroundings = crate::harness::rabbit::surroundings();
        let mut publisher = Publisher::connect(&node.config(), surroundings, "test", limits).await.expect("connecting");
        for (name, key) in [
            ("rejected", "rejected.new"),
            ("expired", "expired.new"),
            ("pushed-out", "maxlen.new"),
            ("stays", "maxlen.new"),
            ("limited", "limited.new"),
        ] {
            let message = with(message(name), |it| it.headers = super::header("x-source", text("shop")));
            publisher.publish(&events, key, &message).await.expect("published");
        }
        publisher.finish().await.expect("confirmed");
        publisher.close().await;
        reject(&node, &rejecting).await;
        give_back_until_gone(&node, &limited).await;
        // Straight into the queue: the broker did not dead-letter it.
        node.publish(&dead, &[message("straight")]).await;
    });
    program.wait_until_settled(5, MINUTE);
    assert_eq!(program.errors(), Vec::<String>::new());
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), 5.0);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");

    let letters = setting.dead_letters();
    let expected = [
        ("rejected", "broker.rejected", Some(&rejecting), "rejected.new"),
        ("expired", "broker.expired", Some(&expiring), "expired.new"),
        ("pushed-out", "broker.maxlen", Some(&short), "maxlen.new"),
        ("limited", "broker.delivery_limit", Some(&limited), "limited.new"),
        ("straight", "broker.unknown", None, ""),
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:#?}");
    for (name, code, queue, key) in expected {
        let letter = letters.iter().find(|letter| letter["message_id"] == name).expect(name);
        assert_eq!((letter["code"].as_str(), letter["stage"].as_str()), (Some(code), Some("broker")), "{letter:#}");
        assert_eq!(letter["queue"], dead.as_str(), "how it came to us");
        assert_eq!(letter["original_queue"].as_str(), queue.map(String::as_str), "{letter:#}");
        if queue.is_some() {
            assert_eq!(letter["original_exchange"], events.as_str());
            assert_eq!(letter["original_routing_key"], key);
            assert_eq!((letter["exchange"].as_str(), letter["routing_key"].as_str()), (Some(dlx.as_str()), Some(key)));
            assert_eq!(letter["headers"]["x-source"]["S"], "shop", "nothing of it is changed");
            assert!(letter["headers"]["x-death"].is_object(), "{letter:#}");
        }
    }
    let groups = parqueduct_ok(&["dlq", "groups", "--config", setting.config_text(), "--json"]);
    let titles: Vec<_> = groups
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["title"].to_string())
        .collect();
    assert_eq!(titles.len(), 5, "one group for each reason and queue: {titles:?}");
    assert!(titles.iter().any(|title| title.contains("a consumer rejected the message") && title.contains(&rejecting)));
    assert!(crate::harness::archive::data_files(&setting.store()).is_empty(), "nothing of it is archived");
}

/// Takes the message of a queue with a delivery limit and gives it back, until the broker has enough.
async fn give_back_until_gone(node: &Rabbit, queue: &str) {
    use lapin::options::{BasicGetOptions, BasicRejectOptions};
    let (_connection, channel) = node.admin().await;
    let mut given_back = 0;
    for _ in 0..200 {
        let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await.expect("readable");
        match got {
            Some(got) => {
                got.acker.reject(BasicRejectOptions { requeue: true }).await.expect("given back");
                given_back += 1;
            }
            // A limit of one is over with the second.
            None if given_back >= 2 => return,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("given back {given_back} times");
}

#[test]
fn a_dead_letter_pipeline_takes_no_files_and_no_schema() {
    let node = now(Rabbit::shared());
    let setting = setting(&node, "any");
    let lines = setting.directory.path().join("lines.ndjson");
    std::fs::write(&lines, "{}\n").expect("written");
    let arguments =
        ["ingest", "--config", setting.config_text(), "--pipeline", "dead", lines.to_str().expect("a path in UTF-8")];
    let output = crate::harness::program::parqueduct(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("of dead letters"), "{said}");
    setting.change("kind = \"dead-letter\"", "kind = \"dead-letter\"\nschema = \"order.json\"");
    let output = crate::harness::program::parqueduct(&["check", "--config", setting.config_text()]);
    assert_eq!(output.status.code(), Some(2));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("pipeline.schema: is not for a pipeline of dead letters: remove it"), "{said}");
}
