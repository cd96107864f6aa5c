//! Back to where a message came from: who would get it is found out first.

use lapin::ExchangeKind;
use lapin::options::ExchangeBindOptions;
use lapin::types::FieldTable;
use parqueduct::replay::broker::Fate;

use super::*;
use crate::harness::rabbit::Rabbit;

fn to_origin(fan_out_ok: bool) -> Destination {
    Destination::Origin { fan_out_ok }
}

async fn fate_of(job: &Job, letter: DeadLetter) -> Fate {
    job.send(&[letter]).await.remove(0)
}

fn refusal(fate: &Fate) -> &str {
    let Fate::Unfit { code, reason } = fate else { panic!("it is not refused: {fate:?}") };
    assert_eq!(code, "replay.fan_out");
    reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_to_its_origin_only_if_nobody_else_would_get_it() {
    let node = Rabbit::own(&["--plugins", "rabbitmq_management"]).await;
    others_get_a_copy_only_when_that_is_meant(&node).await;
    what_lies_behind_other_exchanges_and_copies_counts(&node).await;
}

async fn others_get_a_copy_only_when_that_is_meant(node: &Rabbit) {
    let (queue, other) = (node.queue("own").await, node.queue("other").await);
    let events = exchange(node, ExchangeKind::Topic, false).await;
    bind(node, &queue, &events, "order.*").await;
    bind(node, &queue, &events, "order.new").await;
    let from_events = || letter(&queue, Message { exchange: events.clone(), ..message("m") });
    let config = with_management(node);
    // Two bindings to one queue are one copy.
    assert_eq!(fate_of(&Job::new(config.clone(), to_origin(false)), from_events()).await, Fate::Confirmed);
    assert_eq!(take(node, &queue, 1).await[0].exchange, events);

    bind(node, &other, &events, "#.new").await;
    let fate = fate_of(&Job::new(config.clone(), to_origin(false)), from_events()).await;
    let reason = refusal(&fate);
    assert!(reason.contains("2 queues") && reason.contains(&other) && reason.contains("--fan-out-ok"), "{reason}");
    assert_eq!((node.ready(&queue).await, node.ready(&other).await), (0, 0));

    assert_eq!(fate_of(&Job::new(config, to_origin(true)), from_events()).await, Fate::Confirmed);
    take(node, &queue, 1).await;
    take(node, &other, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_management_api_nobody_knows_who_would_get_it() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("own").await;
        let events = exchange(&node, ExchangeKind::Fanout, false).await;
        bind(&node, &queue, &events, "").await;
        let from = |exchange: &str| letter(&queue, Message { exchange: exchange.into(), ..message("m") });
        let fate = fate_of(&Job::new(node.config(), to_origin(false)), from(&events)).await;
        assert!(refusal(&fate).contains("rabbitmq.management is not set"), "{fate:?}");
        // The default exchange has one way for each key.
        let mut direct = from("");
        direct.message.routing_key = queue.clone();
        assert_eq!(fate_of(&Job::new(node.config(), to_origin(false)), direct).await, Fate::Confirmed);
        take(&node, &queue, 1).await;
    })
    .await;
}

async fn what_lies_behind_other_exchanges_and_copies_counts(node: &Rabbit) {
    let (queue, copy) = (node.queue("own").await, node.queue("copy").await);
    let (events, inner) =
        (exchange(node, ExchangeKind::Direct, false).await, exchange(node, ExchangeKind::Fanout, false).await);
    let (_connection, channel) = node.admin().await;
    let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
    let bound = channel.exchange_bind(inner.as_str().into(), events.as_str().into(), "order.new".into(), options, none);
    bound.await.expect("bound");
    bind(node, &queue, &inner, "").await;
    bind(node, &copy, &events, "copy").await;
    let config = with_management(node);
    let from_events = || letter(&queue, Message { exchange: events.clone(), ..message("m") });
    assert_eq!(fate_of(&Job::new(config.clone(), to_origin(false)), from_events()).await, Fate::Confirmed);
    take(node, &queue, 1).await;
    let mut copied = from_events();
    copied.message.properties.headers = header("CC", HeaderValue::Array(vec![text("copy")]));
    let fate = fate_of(&Job::new(config.clone(), to_origin(false)), copied).await;
    assert!(refusal(&fate).contains("2 queues"), "{fate:?}");
    let mut nowhere = from_events();
    nowhere.message.routing_key = "order.old".into();
    let fate = fate_of(&Job::new(config.clone(), to_origin(false)), nowhere).await;
    assert!(refusal(&fate).contains("0 queues"), "{fate:?}");
    let fate = fate_of(&Job::new(config, to_origin(false)), letter(&queue, message("m"))).await;
    assert!(refusal(&fate).contains("there is no exchange `events`"), "{fate:?}");
}
