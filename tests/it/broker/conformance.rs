//! What every broker must do, in memory or real: the promises of `parqueduct::broker`'s traits.

use std::time::Duration;

use async_trait::async_trait;
use parqueduct::broker::{Broker, ConnectError, Ended, Glance, Intake, Settler, Subscription};
use parqueduct::event::{Delivery, HeaderValue, Message, Properties, Unreadable};

use crate::harness::rabbit::{eventually, queue_type, unique};

/// A broker, and what tests do to it from outside.
#[async_trait]
pub trait Fixture: Sync {
    fn broker(&self) -> &dyn Broker;
    /// An empty queue of our own.
    async fn queue(&self) -> String;
    /// Sends messages to the queue's name, and waits until they are there.
    async fn publish(&self, queue: &str, messages: &[Message]);
    /// Sends one whose `message_id` is `id`, which need not be UTF-8, with the body `{}`, and waits until it is there.
    async fn publish_with_id(&self, queue: &str, id: &[u8]);
    /// Messages that no consumer holds.
    async fn ready(&self, queue: &str) -> usize;
    /// Cuts the connections that consume from the queue.
    async fn cut(&self, queue: &str);
    async fn delete(&self, queue: &str);
}

type Link = (Box<dyn Intake>, Box<dyn Settler>);

fn subscription(queue: &str, prefetch: u16) -> Subscription {
    Subscription { queue: queue.to_owned(), prefetch, declare: None, name: "parqueduct conformance".into() }
}

async fn consume(fixture: &dyn Fixture, queue: &str, prefetch: u16) -> Link {
    fixture.broker().consume(&subscription(queue, prefetch)).await.expect("consuming")
}

/// A queue that holds the messages `0` to `count`.
async fn filled(fixture: &dyn Fixture, count: usize) -> String {
    let queue = fixture.queue().await;
    let messages: Vec<_> = (0..count).map(|number| message(&number.to_string())).collect();
    fixture.publish(&queue, &messages).await;
    queue
}

fn message(body: &str) -> Message {
    Message { body: body.as_bytes().to_vec(), ..Message::default() }
}

/// Takes exactly `count` deliveries.
async fn take(intake: &mut Box<dyn Intake>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = intake.next(count - taken.len()).await.expect("deliveries");
        assert!(!batch.is_empty() && batch.len() <= count - taken.len(), "at least one and at most what was asked for");
        taken.extend(batch);
    }
    taken
}

/// Asserts that nothing more arrives for a while.
async fn assert_quiet(intake: &mut Box<dyn Intake>) {
    let more = tokio::time::timeout(Duration::from_millis(300), intake.next(1)).await;
    assert!(more.is_err(), "nothing more arrives, but there was {more:?}");
}

async fn assert_ready(fixture: &dyn Fixture, queue: &str, count: usize) {
    eventually(&format!("{count} messages ready"), || async { fixture.ready(queue).await == count }).await;
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.message.body.clone()).expect("text");
    deliveries.iter().map(text).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

pub async fn batches_keep_the_order_and_tags_count_from_one(fixture: &dyn Fixture) {
    let queue = filled(fixture, 50).await;
    let (mut intake, _settler) = consume(fixture, &queue, 100).await;
    let taken = take(&mut intake, 50).await;
    assert_eq!(bodies(&taken), numbers(0..50));
    assert_eq!(tags(&taken), (1..=50).collect::<Vec<_>>());
    assert!(taken.iter().all(|delivery| !delivery.message.redelivered));
    assert!(taken.iter().all(|delivery| delivery.message.routing_key == queue));
}

pub async fn a_waiting_intake_gets_what_comes_later(fixture: &dyn Fixture) {
    let queue = fixture.queue().await;
    let (mut intake, _settler) = consume(fixture, &queue, 10).await;
    assert_quiet(&mut intake).await;
    fixture.publish(&queue, &[message("late")]).await;
    assert_eq!(bodies(&take(&mut intake, 1).await), ["late"]);
}

pub async fn a_dropped_call_loses_no_delivery(fixture: &dyn Fixture) {
    let queue = fixture.queue().await;
    let (mut intake, _settler) = consume(fixture, &queue, 100).await;
    let messages: Vec<_> = (0..40).map(|number| message(&number.to_string())).collect();
    let taking = async {
        let mut taken = Vec::new();
        while taken.len() < 40 {
            if let Ok(batch) = tokio::time::timeout(Duration::from_micros(50), intake.next(3)).await {
                taken.extend(batch.expect("deliveries"));
            }
        }
        taken
    };
    let (taken, ()) = tokio::join!(taking, fixture.publish(&queue, &messages));
    assert_eq!(bodies(&taken), numbers(0..40));
}

pub async fn a_cumulative_ack_removes_all_up_to_its_tag(fixture: &dyn Fixture) {
    let queue = filled(fixture, 10).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 100).await;
    take(&mut intake, 10).await;
    settler.ack_through(4).await.expect("ack");
    settler.ack_through(7).await.expect("ack");
    settler.close().await;
    drop(intake);
    assert_ready(fixture, &queue, 3).await;
    let (mut intake, _settler) = consume(fixture, &queue, 100).await;
    assert_eq!(bodies(&take(&mut intake, 3).await), numbers(7..10));
}

pub async fn an_ack_may_be_repeated(fixture: &dyn Fixture) {
    let queue = filled(fixture, 4).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 100).await;
    take(&mut intake, 3).await;
    for tag in [2, 2, 1, 0, 3] {
        settler.ack_through(tag).await.expect("ack");
    }
    take(&mut intake, 1).await;
    settler.ack_through(4).await.expect("the channel still lives");
}

pub async fn unacked_deliveries_come_back_in_order_and_flagged(fixture: &dyn Fixture) {
    let queue = filled(fixture, 20).await;
    let (mut intake, settler) = consume(fixture, &queue, 8).await;
    take(&mut intake, 5).await;
    settler.close().await;
    drop(intake);
    assert_ready(fixture, &queue, 20).await;
    let (mut intake, _settler) = consume(fixture, &queue, 100).await;
    let again = take(&mut intake, 20).await;
    assert_eq!(bodies(&again), numbers(0..20));
    assert_eq!(again[0].tag, 1, "tags start over on another channel");
    let flagged: Vec<_> = again.iter().map(|delivery| delivery.message.redelivered).collect();
    assert!(flagged[..5].iter().all(|flagged| *flagged), "what was handed out is flagged");
    assert!(flagged[8..].iter().all(|flagged| !flagged), "what was never sent is not");
}

pub async fn prefetch_bounds_what_is_unacked(fixture: &dyn Fixture) {
    let queue = filled(fixture, 20).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 6).await;
    take(&mut intake, 6).await;
    assert_quiet(&mut intake).await;
    assert_eq!(fixture.ready(&queue).await, 14);
    settler.ack_through(4).await.expect("ack");
    assert_eq!(bodies(&take(&mut intake, 4).await), numbers(6..10));
    assert_quiet(&mut intake).await;
}

pub async fn a_deleted_queue_ends_the_intake_and_settling_does_no_harm(fixture: &dyn Fixture) {
    let queue = filled(fixture, 5).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 100).await;
    take(&mut intake, 5).await;
    fixture.delete(&queue).await;
    let ended = intake.next(1).await.expect_err("the queue is gone");
    assert!(matches!(&ended, Ended::Cancelled { queue: named } if *named == queue), "{ended:?}");
    assert_eq!(intake.next(1).await.expect_err("still"), ended);
    settler.ack_through(5).await.expect("an ack of what is gone");
    settler.close().await;
    let refused = fixture.broker().consume(&subscription(&queue, 1)).await.err().expect("no queue");
    assert!(refused.needs_a_person(), "{refused}");
}

pub async fn a_cut_connection_ends_both_halves(fixture: &dyn Fixture) {
    let queue = filled(fixture, 60).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 50).await;
    take(&mut intake, 40).await;
    fixture.cut(&queue).await;
    let acked = ack_until_it_fails(&mut settler, 40).await;
    let ended = intake.next(9).await.expect_err("deliveries of a dead channel are not handed out");
    assert!(matches!(ended, Ended::Lost { .. }), "{ended:?}");
    assert_eq!(intake.next(9).await.expect_err("still"), ended);
    assert!(settler.requeue_all().await.is_err());
    assert!(intake.cancel().await.is_err());
    drop((intake, settler));
    // Of the acks that seemed to succeed, any number may have arrived before the cut.
    eventually("all others are back", || async { (60 - acked..=60).contains(&fixture.ready(&queue).await) }).await;
}

/// Acks one delivery after another until that fails, as it must soon after a cut; returns how many seemed to succeed.
async fn ack_until_it_fails(settler: &mut Box<dyn Settler>, count: usize) -> usize {
    for acked in 0..count {
        if settler.ack_through(acked as u64 + 1).await.is_err() {
            return acked;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("all {count} acks seemed to succeed");
}

pub async fn an_ack_on_a_dead_channel_settles_nothing_on_the_next(fixture: &dyn Fixture) {
    let queue = filled(fixture, 10).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 100).await;
    take(&mut intake, 10).await;
    fixture.cut(&queue).await;
    intake.next(1).await.expect_err("nothing is left but the end");
    let (mut next_intake, next_settler) = consume(fixture, &queue, 100).await;
    take(&mut next_intake, 10).await;
    assert!(settler.ack_through(10).await.is_err(), "an old tag");
    next_settler.close().await;
    drop((next_intake, settler, intake));
    assert_ready(fixture, &queue, 10).await;
}

pub async fn after_a_cancel_what_was_handed_out_can_be_settled(fixture: &dyn Fixture) {
    let queue = filled(fixture, 20).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 8).await;
    let mut taken = take(&mut intake, 3).await;
    taken.extend(intake.cancel().await.expect("cancelling"));
    assert_eq!(bodies(&taken), numbers(0..8), "the rest of the window");
    assert!(matches!(intake.next(1).await, Err(Ended::Cancelled { .. })));
    assert_eq!(intake.cancel().await.expect("cancelling again"), []);
    settler.ack_through(8).await.expect("ack");
    settler.close().await;
    assert_ready(fixture, &queue, 12).await;
}

pub async fn what_is_requeued_is_there_at_once_and_in_order(fixture: &dyn Fixture) {
    let queue = filled(fixture, 10).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 6).await;
    take(&mut intake, 4).await;
    settler.ack_through(2).await.expect("ack");
    intake.cancel().await.expect("cancelling");
    settler.requeue_all().await.expect("requeue");
    assert_ready(fixture, &queue, 8).await;
    let (mut other, _settler) = consume(fixture, &queue, 100).await;
    let mut again = take(&mut other, 8).await;
    if queue_type().as_deref() == Some("quorum") {
        // RabbitMQ 4 puts what is returned to a quorum queue back in no certain order.
        again.sort_by(|one, other| one.message.body.cmp(&other.message.body));
    }
    assert_eq!(bodies(&again), numbers(2..10));
    assert!(again[0].message.redelivered && again[1].message.redelivered);
    settler.close().await;
}

pub async fn requeueing_nothing_does_no_harm(fixture: &dyn Fixture) {
    let queue = filled(fixture, 1).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 6).await;
    take(&mut intake, 1).await;
    settler.ack_through(1).await.expect("ack");
    intake.cancel().await.expect("cancelling");
    settler.requeue_all().await.expect("nothing to requeue");
    settler.ack_through(1).await.expect("the channel still lives");
    settler.close().await;
    assert_ready(fixture, &queue, 0).await;
}

pub async fn a_missing_queue_is_refused_and_named(fixture: &dyn Fixture) {
    let queue = unique("missing");
    let error = fixture.broker().consume(&subscription(&queue, 1)).await.err().expect("no such queue");
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let line = error.to_string();
    assert!(line.contains("404") && line.contains(&queue) && line.contains("create the queue"), "{line}");
}

pub async fn properties_and_headers_of_every_type_arrive_as_sent(fixture: &dyn Fixture) {
    let queue = fixture.queue().await;
    let sent = Message { body: vec![0, 0xff, b'\n'], properties: every_property().into(), ..Message::default() };
    let bare = Message::default();
    fixture.publish(&queue, &[sent.clone(), bare.clone()]).await;
    let (mut intake, _settler) = consume(fixture, &queue, 10).await;
    let received = take(&mut intake, 2).await;
    assert_eq!(received[0].message.properties, sent.properties);
    assert_eq!(received[0].message.body, sent.body);
    assert_eq!(received[1].message.properties, bare.properties);
    assert_eq!(received[1].message.body, bare.body);
}

pub async fn what_cannot_be_read_is_handed_out_with_what_it_was(fixture: &dyn Fixture) {
    let queue = filled(fixture, 3).await;
    fixture.publish_with_id(&queue, b"\xffid").await;
    fixture.publish(&queue, &[message("after")]).await;
    fixture.publish_with_id(&queue, b"fine").await;
    // Twice: what was not acked comes back as it was.
    for redelivered in [false, true] {
        let (mut intake, mut settler) = consume(fixture, &queue, 100).await;
        let taken = take(&mut intake, 6).await;
        assert_eq!(tags(&taken), (1..=6).collect::<Vec<_>>());
        assert_eq!(bodies(&taken), ["0", "1", "2", "{}", "after", "{}"]);
        let broken = &taken[3].message;
        assert_eq!(broken.properties.message_id.as_deref(), Some("?id"));
        assert_eq!(broken.unreadable, [Unreadable::new("message_id", b"\xffid")]);
        assert_eq!(broken.redelivered, redelivered);
        let others = taken.iter().filter(|delivery| delivery.tag != 4);
        assert!(others.into_iter().all(|delivery| delivery.message.unreadable.is_empty()));
        if redelivered {
            settler.ack_through(6).await.expect("ack");
        }
        settler.close().await;
    }
    assert_ready(fixture, &queue, 0).await;
}

fn every_property() -> Properties {
    let some = |text: &str| Some(text.to_owned());
    Properties {
        content_type: some("application/json"),
        content_encoding: some(""),
        headers: Some(every_header()),
        delivery_mode: Some(2),
        priority: Some(7),
        correlation_id: some("c-1"),
        reply_to: some("answers"),
        expiration: some("3600000"),
        message_id: some("m-1 \u{e9}"),
        timestamp: Some(1_700_000_000),
        kind: some("flight"),
        user_id: some("guest"),
        app_id: some("test"),
        cluster_id: some("cluster"),
    }
}

/// One header of each type, by name as they arrive.
fn every_header() -> Vec<(String, HeaderValue)> {
    use HeaderValue::*;
    let nested = vec![("deep".to_owned(), Array(vec![Table(vec![]), I64(i64::MIN)]))];
    let values = vec![
        Array(vec![Bool(true), Void, Text(b"x".to_vec())]),
        Bool(false),
        Bytes(vec![0, 255]),
        Decimal { scale: 2, value: 12_345 },
        F32(1.5),
        F64(-0.1),
        I16(i16::MIN),
        I32(i32::MIN),
        I64(i64::MAX),
        I8(i8::MIN),
        Table(nested),
        Text("\u{20ac}".as_bytes().to_vec()),
        Text(vec![0xff, 0xfe]),
        Timestamp(1_700_000_000),
        U16(u16::MAX),
        U32(u32::MAX),
        U8(u8::MAX),
        Void,
    ];
    values.into_iter().enumerate().map(|(index, value)| (format!("h{index:02}"), value)).collect()
}

pub async fn a_wider_window_goes_on_where_the_narrow_one_was(fixture: &dyn Fixture) {
    let queue = filled(fixture, 50).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 5).await;
    let narrow = take(&mut intake, 5).await;
    assert_quiet(&mut intake).await;
    intake.widen(20).await.expect("the channel lives");
    let wide = take(&mut intake, 15).await;
    assert_eq!(bodies(&[narrow, wide.clone()].concat()), numbers(0..20));
    assert_eq!(tags(&wide), (6..=20).collect::<Vec<_>>());
    settler.ack_through(20).await.expect("one ack for what both windows took");
    settler.standing().confirm().await.expect("the channel lives");
    assert_eq!(bodies(&take(&mut intake, 20).await), numbers(20..40));
    settler.close().await;
    drop(intake);
    assert_ready(fixture, &queue, 30).await;
}

pub async fn a_window_is_widened_while_deliveries_wait(fixture: &dyn Fixture) {
    let queue = filled(fixture, 200).await;
    let (mut intake, mut settler) = consume(fixture, &queue, 10).await;
    let mut taken = take(&mut intake, 3).await;
    intake.widen(100).await.expect("the channel lives");
    settler.ack_through(2).await.expect("ack");
    taken.extend(take(&mut intake, 97).await);
    assert_eq!(bodies(&taken), numbers(0..100));
    assert_eq!(tags(&taken), (1..=100).collect::<Vec<_>>());
}

pub async fn a_channel_proves_that_it_stands_until_it_is_gone(fixture: &dyn Fixture) {
    let queue = filled(fixture, 5).await;
    let (mut intake, settler) = consume(fixture, &queue, 5).await;
    take(&mut intake, 5).await;
    let standing = settler.standing();
    for _ in 0..3 {
        standing.confirm().await.expect("the channel lives");
    }
    fixture.cut(&queue).await;
    standing.confirm().await.expect_err("the connection is cut");
    drop((intake, settler));
    standing.confirm().await.expect_err("both halves are gone");
    assert_ready(fixture, &queue, 5).await;
}

fn glance(queue: &str, messages_max: usize) -> Glance {
    Glance { queue: queue.to_owned(), messages_max, bytes_max: 1 << 20, name: "parqueduct conformance".into() }
}

async fn peek(fixture: &dyn Fixture, glance: &Glance) -> Vec<String> {
    let messages = fixture.broker().peek(glance).await.expect("a glance");
    messages.iter().map(|message| String::from_utf8(message.body.clone()).expect("text")).collect()
}

pub async fn a_glance_shows_the_head_of_a_queue_and_leaves_all_in_its_place(fixture: &dyn Fixture) {
    let queue = filled(fixture, 20).await;
    assert_eq!(peek(fixture, &glance(&queue, 8)).await, numbers(0..8));
    assert_ready(fixture, &queue, 20).await;
    assert_eq!(peek(fixture, &glance(&queue, 3)).await, numbers(0..3));
    assert_ready(fixture, &queue, 20).await;
    let (mut intake, _settler) = consume(fixture, &queue, 100).await;
    let taken = take(&mut intake, 20).await;
    assert_eq!(bodies(&taken), numbers(0..20));
    let flagged: Vec<_> = taken.iter().map(|delivery| delivery.message.redelivered).collect();
    assert!(flagged[..8].iter().all(|flagged| *flagged) && flagged[8..].iter().all(|flagged| !flagged), "{flagged:?}");
}

pub async fn a_glance_ends_with_the_queue_or_its_bytes(fixture: &dyn Fixture) {
    let queue = fixture.queue().await;
    assert!(peek(fixture, &glance(&queue, 9)).await.is_empty());
    fixture.publish(&queue, &[message("0123456789"), message("0123456789"), message("0")]).await;
    assert_eq!(peek(fixture, &glance(&queue, 9)).await.len(), 3);
    assert_eq!(peek(fixture, &Glance { bytes_max: 15, ..glance(&queue, 9) }).await.len(), 2);
    fixture.publish_with_id(&queue, b"\xff").await;
    let messages = fixture.broker().peek(&glance(&queue, 9)).await.expect("a glance");
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3].unreadable, [Unreadable::new("message_id", b"\xff")]);
    assert_ready(fixture, &queue, 4).await;
}

pub async fn a_glance_at_a_missing_queue_is_refused_and_names_it(fixture: &dyn Fixture) {
    let queue = unique("missing");
    let refused = fixture.broker().peek(&glance(&queue, 1)).await.expect_err("no queue");
    assert!(refused.needs_a_person() && refused.to_string().contains(&queue), "{refused}");
}
