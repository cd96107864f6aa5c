//! Publishing to a real RabbitMQ: what is confirmed is there, and what is not is an error.

use std::time::Duration;

use lapin::types::AMQPValue;
use parqueduct::broker::publish::{PublishError, Published, Publisher, PublisherLimits};
use parqueduct::event::Message;

use super::within;
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::{self, config, surroundings};

fn message(body: &str) -> Message {
    Message { body: body.as_bytes().to_vec(), ..Message::default() }
}

async fn publisher(node: &rabbit::Rabbit, in_flight_max: usize) -> Publisher {
    let limits = PublisherLimits { in_flight_max, ..PublisherLimits::default() };
    Publisher::connect(&node.config(), surroundings(), "parqueduct publish test", limits).await.expect("connecting")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_confirmed_is_in_the_queue() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        for (in_flight_max, count) in [(1, 20), (100, 3_000)] {
            let queue = node.queue("published").await;
            let mut publisher = publisher(&node, in_flight_max).await;
            for number in 0..count {
                publisher.publish("", &queue, &message(&number.to_string())).await.expect("publishing");
            }
            let published = publisher.finish().await.expect("all confirmed");
            publisher.close().await;
            assert_eq!(published, Published { sent: count, confirmed: count, returned: 0, nacked: 0 });
            assert_eq!(u64::from(node.ready(&queue).await), count);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_an_error_that_names_where_it_went() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("published").await;
        let mut publisher = publisher(&node, 100).await;
        let mut outcome = Ok(());
        for key in [&queue, "nobody-is-bound-here", &queue, &queue] {
            outcome = outcome.and(publisher.publish("", key, &message("x")).await);
        }
        let outcome = outcome.and(publisher.finish().await.map(drop));
        let error = outcome.expect_err("one was returned");
        let PublishError::Unroutable { routing_key, .. } = &error else { panic!("{error:?}") };
        assert_eq!(routing_key, "nobody-is-bound-here");
        assert!(error.to_string().contains("312"), "{error}");
        assert_eq!(publisher.published().returned, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_and_says_so_is_an_error() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = rabbit::unique("full");
        let arguments =
            [("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", AMQPValue::LongString("reject-publish".into()))];
        node.declare(&queue, &arguments).await;
        let mut publisher = publisher(&node, 1).await;
        let mut outcome = Ok(());
        for _ in 0..20 {
            outcome = publisher.publish("", &queue, &message("x")).await;
            if outcome.is_err() {
                break;
            }
        }
        assert!(matches!(outcome, Err(PublishError::Rejected { .. })), "{outcome:?}");
        assert_eq!(publisher.published().nacked, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_exchange_and_a_missing_permission_are_refused() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let mut publisher = publisher(&node, 10).await;
        let outcome = publisher.publish("nowhere", "", &message("x")).await;
        let error = outcome.and(publisher.finish().await.map(drop)).expect_err("no such exchange");
        assert!(matches!(&error, PublishError::Refused { exchange, .. } if exchange == "nowhere"), "{error:?}");
        let (user, password) = node.user("mute", ["^$", "^$", ".*"]).await;
        let config = node.config_as(&user, &password);
        let mut publisher =
            Publisher::connect(&config, surroundings(), "test", PublisherLimits::default()).await.expect("connecting");
        let outcome = publisher.publish("amq.topic", "", &message("x")).await;
        let error = outcome.and(publisher.finish().await.map(drop)).expect_err("no permission to write");
        assert!(matches!(&error, PublishError::Refused { reason, .. } if reason.contains("403")), "{error:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_amqp_cannot_carry_is_refused_and_the_next_message_goes_through() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("published").await;
        let mut publisher = publisher(&node, 10).await;
        let error = publisher.publish("", &"k".repeat(256), &message("x")).await.expect_err("too long");
        assert_eq!(
            error.to_string(),
            "message cannot be published: the routing key has 256 bytes; AMQP carries at most 255"
        );
        publisher.publish("", &queue, &message("x")).await.expect("publishing");
        assert_eq!(publisher.finish().await.expect("confirmed").confirmed, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirm_that_does_not_come_is_not_waited_for_without_end() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("published").await;
        let line = Proxy::to(node.port()).await;
        let config = config(&[&line.uri(node.uri(), node.port())]);
        let limits = PublisherLimits { in_flight_max: 10, confirm_timeout: Duration::from_secs(1) };
        let mut publisher = Publisher::connect(&config, surroundings(), "test", limits).await.expect("connecting");
        publisher.publish("", &queue, &message("x")).await.expect("publishing");
        assert_eq!(publisher.finish().await.expect("confirmed").confirmed, 1);
        line.freeze();
        let outcome = publisher.publish("", &queue, &message("y")).await;
        let error = outcome.and(publisher.finish().await.map(drop)).expect_err("nothing gets through");
        assert!(matches!(error, PublishError::Lost { .. }), "{error:?}");
        assert_eq!(publisher.published().confirmed, 1);
        line.cut().await;
    })
    .await;
}
