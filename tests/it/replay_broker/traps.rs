//! What RabbitMQ would do to a message that is sent again just as it came.

use lapin::ExchangeKind;
use lapin::types::AMQPValue;
use parqueduct::broker::publish::{PublishError, Publisher, PublisherLimits};
use parqueduct::broker::wire_bytes;
use parqueduct::dlq::lineage;
use parqueduct::event::{HeaderValue, Message, Properties};
use parqueduct::replay::broker::{Fate, detour_of};
use parqueduct::replay::destination::{Destination, Sending};

use super::*;
use crate::harness::rabbit::{Rabbit, eventually, surroundings};

/// Whether the broker refuses `message`, and closes the channel for it.
async fn is_refused(node: &Rabbit, queue: &str, message: &Message) -> bool {
    let limits = PublisherLimits::default();
    let mut publisher = Publisher::connect(&node.config(), surroundings(), "test", limits).await.expect("connecting");
    let outcome = publisher.publish("", queue, message).await;
    let outcome = outcome.and(publisher.finish().await.map(drop));
    matches!(outcome, Err(PublishError::Refused { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_would_close_the_channel_for_is_left_out() {
    within(async {
        let node = Rabbit::shared().await;
        let (queue, witness) = (node.queue("back").await, node.queue("witness").await);
        let traps = [
            ("user_id", with(message("user"), |it| it.user_id = Some("somebody-else".into()))),
            ("reply_to", with(message("reply"), |it| it.reply_to = Some("amq.rabbitmq.reply-to".into()))),
            ("expiration", with(message("expiration"), |it| it.expiration = Some("abc".into()))),
            ("negative", with(message("negative"), |it| it.expiration = Some("-1".into()))),
            ("CC", with(message("copy"), |it| it.headers = header("CC", text("no array")))),
        ];
        let mut messages = Vec::new();
        for (what, message) in traps {
            assert!(is_refused(&node, &witness, &message).await, "the broker takes it by now: {what}");
            messages.push(message);
        }
        let mode = with(message("mode"), |it| it.delivery_mode = Some(3));
        assert_eq!(is_refused(&node, &witness, &mode).await, release(&node).await < 4, "a delivery mode of 3");
        messages.push(mode);
        messages.push(with(message("transient"), |it| it.delivery_mode = Some(1)));
        messages.push(with(message("none"), |it| it.delivery_mode = None));

        let letters: Vec<_> = messages.into_iter().map(|message| letter(&queue, message)).collect();
        let job = Job::new(node.config(), to_queue(&queue));
        assert_eq!(job.send(&letters).await, confirmed(letters.len()));
        for (came, letter) in take(&node, &queue, letters.len()).await.iter().zip(&letters) {
            let sent = &letter.message;
            assert_eq!((&came.body, &came.routing_key), (&sent.body, &sent.routing_key));
            let expected = Properties {
                headers: came.properties.headers.clone(),
                delivery_mode: Some(2),
                user_id: None,
                reply_to: None,
                expiration: None,
                ..sent.properties.clone().into_inner()
            };
            assert_eq!(came.properties, expected);
            assert_eq!(own_headers(came), [], "CC is left out");
            assert_eq!(lineage_of(came).letter, letter.id);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_arrives_as_it_came_with_all_types_of_headers() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("back").await;
        let headers: Vec<(String, HeaderValue)> = [
            ("a-bool", HeaderValue::Bool(true)),
            ("b-i8", HeaderValue::I8(-8)),
            ("c-u8", HeaderValue::U8(8)),
            ("d-i16", HeaderValue::I16(-16)),
            ("e-u16", HeaderValue::U16(16)),
            ("f-i32", HeaderValue::I32(-32)),
            ("g-u32", HeaderValue::U32(32)),
            ("h-i64", HeaderValue::I64(i64::MIN)),
            ("i-f32", HeaderValue::F32(1.5)),
            ("j-f64", HeaderValue::F64(-2.5)),
            ("k-decimal", HeaderValue::Decimal { scale: 2, value: 1234 }),
            ("l-binary", HeaderValue::Text(b"\xff\xfe".to_vec())),
            ("m-time", HeaderValue::Timestamp(1_357_000_000)),
            ("n-array", HeaderValue::Array(vec![HeaderValue::I64(1), text("two")])),
            ("o-table", HeaderValue::Table(vec![("inner".into(), HeaderValue::Bool(false))])),
            ("p-bytes", HeaderValue::Bytes(vec![0, 1, 2])),
            ("q-void", HeaderValue::Void),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let properties = Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("identity".into()),
            headers: Some(headers.clone()),
            delivery_mode: Some(2),
            priority: Some(9),
            correlation_id: Some("c".into()),
            message_id: Some("m".into()),
            timestamp: Some(1_357_000_000_000),
            kind: Some("order".into()),
            app_id: Some("shop".into()),
            cluster_id: Some("cluster".into()),
            ..Properties::default()
        };
        let sent = Message { properties: properties.into(), body: vec![0, 159, 146, 150], ..message("types") };
        let job = Job::new(node.config(), to_queue(&queue));
        assert_eq!(job.send(&[letter(&queue, sent.clone())]).await, confirmed(1));
        let came = take(&node, &queue, 1).await.remove(0);
        assert_eq!(own_headers(&came), headers);
        assert_eq!(came.body, sent.body);
        assert_eq!(
            Properties { headers: None, ..came.properties.into_inner() },
            Properties { headers: None, ..sent.properties.into_inner() }
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_failure_is_not_lost_whatever_the_routing_key() {
    within(async {
        let node = Rabbit::shared().await;
        let longest = "k".repeat(255);
        let (queue, dead) = queue_with_dead_letters(&node, &["order.#", "", &longest]).await;
        // The witness: by way of the default exchange the key is the queue's name, to which nothing is bound.
        node.publish(&queue, &[message("witness")]).await;
        reject(&node, &queue).await;
        for key in ["order.new", "", &longest] {
            let letters = [letter(&queue, Message { routing_key: key.to_owned(), ..message("again") })];
            let job = Job::new(node.config(), Destination::Queue { queue: None });
            assert_eq!(job.send(&letters).await, confirmed(1));
            reject(&node, &queue).await;
            let came = take(&node, &dead, 1).await.remove(0);
            assert_eq!(came.properties.message_id.as_deref(), Some("again"), "and not the witness");
            assert_eq!(came.routing_key, key);
            assert_eq!(lineage_of(&came).letter, letters[0].id, "what is dead again still tells what it is");
        }
        assert_eq!(node.ready(&dead).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_died_before_is_not_taken_for_one_that_goes_in_a_circle() {
    within(async {
        let node = Rabbit::shared().await;
        let target = node.queue("after").await;
        let waiting = unique("waiting");
        let arguments = [
            ("x-message-ttl", AMQPValue::LongInt(50)),
            ("x-dead-letter-exchange", long("")),
            ("x-dead-letter-routing-key", long(&target)),
        ];
        node.declare(&waiting, &arguments).await;
        let death: Vec<(String, HeaderValue)> = [
            ("count", HeaderValue::I64(1)),
            ("reason", text("expired")),
            ("queue", text(&target)),
            ("time", HeaderValue::Timestamp(1_357_000_000)),
            ("exchange", text("")),
            ("routing-keys", HeaderValue::Array(vec![text(&target)])),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let died = |name: &str| {
            let deaths = HeaderValue::Array(vec![HeaderValue::Table(death.clone())]);
            with(message(name), |it| it.headers = header("x-death", deaths))
        };
        node.publish(&waiting, &[died("witness")]).await;
        let job = Job::new(node.config(), to_queue(&waiting));
        assert_eq!(job.send(&[letter(&waiting, died("again"))]).await, confirmed(1));
        let expected = if release(&node).await < 4 { &["again"][..] } else { &["witness", "again"][..] };
        let came = take(&node, &target, expected.len()).await;
        let names: Vec<_> = came.iter().filter_map(|message| message.properties.message_id.as_deref()).collect();
        assert_eq!(names, expected, "RabbitMQ 3 drops what says that it died there before");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_to_nobody_else() {
    within(async {
        let node = Rabbit::shared().await;
        let (queue, other) = (node.queue("back").await, node.queue("other").await);
        let copied = with(message("copied"), |it| it.headers = header("CC", HeaderValue::Array(vec![text(&other)])));
        node.publish(&queue, std::slice::from_ref(&copied)).await;
        eventually("the witness of CC", || async { node.ready(&other).await == 1 }).await;
        take(&node, &queue, 1).await;
        let job = Job::new(node.config(), to_queue(&queue));
        assert_eq!(job.send(&[letter(&queue, copied)]).await, confirmed(1));
        take(&node, &queue, 1).await;
        assert_eq!(node.ready(&other).await, 1, "only the witness");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiration_does_not_send_it_back_to_the_dead_unless_asked_for() {
    within(async {
        let node = Rabbit::shared().await;
        let (queue, dead) = queue_with_dead_letters(&node, &["order.#"]).await;
        let letters = [letter(&queue, with(message("short-lived"), |it| it.expiration = Some("1".into())))];
        let mut job = Job::new(node.config(), to_queue(&queue));
        assert_eq!(job.send(&letters).await, confirmed(1));
        job.id = new_id();
        job.sending = Sending { keep_expiration: true, ..Sending::default() };
        // It waits behind the first, which does not expire: so that one is taken away.
        assert_eq!(take(&node, &queue, 1).await.len(), 1);
        assert_eq!(job.send(&letters).await, confirmed(1));
        take(&node, &dead, 1).await;
        assert_eq!(node.ready(&queue).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_nobody_takes_is_told_from_those_beside_it() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("bound").await;
        let events = exchange(&node, ExchangeKind::Direct, false).await;
        bind(&node, &queue, &events, "known").await;
        let keys: Vec<_> = (0..200).map(|n| if n % 7 == 3 { "unknown" } else { "known" }).collect();
        let of_key = |key: &&str| letter(&queue, Message { routing_key: (*key).to_owned(), ..message("m") });
        let letters: Vec<_> = keys.iter().map(of_key).collect();
        let job =
            Job::new(node.config(), Destination::Exchange { exchange: events, routing_key: None, uri_file: None });
        let fates = job.send(&letters).await;
        for (fate, key) in fates.iter().zip(&keys) {
            match fate {
                Fate::Returned { reason } => assert!(*key == "unknown" && reason.contains("312"), "{reason}"),
                fate => assert!(*key == "known" && *fate == Fate::Confirmed, "{key}: {fate:?}"),
            }
        }
        let there = keys.iter().filter(|key| **key == "known").count();
        let came = take(&node, &queue, there).await;
        let expected: Vec<_> =
            letters.iter().filter(|letter| letter.message.routing_key == "known").map(|letter| letter.id).collect();
        let came: Vec<_> = came.iter().map(|message| lineage_of(message).letter).collect();
        assert_eq!(came, expected, "in the order they were given");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_one_frame_pass_and_larger_ones_are_not_tried() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("back").await;
        let of_bytes = |bytes: usize| {
            letter(&queue, with(message("large"), |it| it.headers = header("x-large", text(&"x".repeat(bytes)))))
        };
        // What a letter with an empty header would be sent with.
        let job = Job::new(node.config(), to_queue(&queue));
        assert_eq!(job.send(&[of_bytes(0)]).await, confirmed(1));
        let base = wire_bytes(&take(&node, &queue, 1).await[0].properties).expect("short texts");
        // 131,072 bytes of a frame, of which 22 are the frame's and the header's own. A quorum queue adds a header of its
        // own on delivery: that is not sent.
        let added = if crate::harness::rabbit::queue_type().as_deref() == Some("quorum") { 64 } else { 0 };
        let largest = 131_072 - 22 - base - added;
        let letters =
            [letter(&queue, message("before")), of_bytes(largest), of_bytes(200_000), letter(&queue, message("after"))];
        let mut job = job;
        job.id = new_id();
        let fates = job.send(&letters).await;
        let codes: Vec<_> = fates.iter().map(code_of).collect();
        assert_eq!(codes, ["confirmed", "confirmed", "replay.headers_too_large", "confirmed"]);
        let came = take(&node, &queue, 3).await;
        assert_eq!(own_headers(&came[1])[0].1, text(&"x".repeat(largest)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_release_does_not_take_is_not_tried() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("back").await;
        let large = Message { body: vec![b'x'; (16 << 20) + 1], ..message("large") };
        let letters = [letter(&queue, large), letter(&queue, message("small"))];
        let job = Job::new(node.config(), to_queue(&queue));
        let fates = job.send(&letters).await;
        let expected = if release(&node).await < 4 { "confirmed" } else { "replay.body_too_large" };
        assert_eq!(fates.iter().map(code_of).collect::<Vec<_>>(), [expected, "confirmed"]);
        node.delete(&queue).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_gone_costs_only_its_own_letters() {
    within(async {
        let node = Rabbit::shared().await;
        let (queue, gone) = (node.queue("back").await, unique("gone"));
        let letters = [
            letter(&gone, message("a")),
            letter(&queue, message("b")),
            letter(&gone, message("c")),
            letter("", message("d")),
        ];
        let job = Job::new(node.config(), Destination::Queue { queue: None });
        let fates = job.send(&letters).await;
        let codes: Vec<_> = fates.iter().map(code_of).collect();
        assert_eq!(codes, ["replay.gone", "confirmed", "replay.gone", "replay.no_origin"]);
        let Fate::Unfit { reason, .. } = &fates[0] else { panic!("it is unfit") };
        assert!(reason.contains(&gone), "{reason}");
        assert!(is_exchange(&node, &detour_of(&queue)).await);
        assert!(!is_exchange(&node, &detour_of(&gone)).await, "none is made for a queue that is not there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_gone_or_internal_costs_only_its_own_letters() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("back").await;
        let internal = exchange(&node, ExchangeKind::Direct, true).await;
        let direct = exchange(&node, ExchangeKind::Direct, false).await;
        bind(&node, &queue, &direct, "order.new").await;
        let from = |exchange: &str| letter(&queue, Message { exchange: exchange.to_owned(), ..message("m") });
        let letters = [from(&direct), from("nowhere"), from(&internal), from(&direct), from(&internal), from("")];
        let mut job = Job::new(node.config(), Destination::Origin { fan_out_ok: true });
        job.retries_max = 1;
        let fates = job.send(&letters).await;
        let codes: Vec<_> = fates.iter().map(code_of).collect();
        let expected = ["confirmed", "replay.gone", "replay.refused", "confirmed", "replay.refused", "returned"];
        assert_eq!(codes, expected);
        let came = take(&node, &queue, 2).await;
        assert!(came.len() == 2 && came.iter().all(|message| message.exchange == direct));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hops_are_counted_and_end() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("circle").await;
        let mut next = letter(&queue, message("circle"));
        for hop in 1..=5 {
            let job = Job::new(node.config(), to_queue(&queue));
            assert_eq!(job.send(std::slice::from_ref(&next)).await, confirmed(1));
            let came = take(&node, &queue, 1).await.remove(0);
            assert_eq!(lineage::hops(&came), hop);
            // Somebody makes a new letter of it.
            next = letter(&queue, came);
        }
        let job = Job::new(node.config(), to_queue(&queue));
        let fates = job.send(&[next]).await;
        assert_eq!(code_of(&fates[0]), "replay.loop");
        assert_eq!(node.ready(&queue).await, 0);
    })
    .await;
}
