//! The twin keeps the law by itself, also under faults.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;

const QUEUE: &str = "events";

fn clock() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn message(number: u32) -> Message {
    Message { body: number.to_be_bytes().to_vec(), ..Message::default() }
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.body.as_slice().try_into().expect("four bytes"))
}

fn numbers<'m>(messages: impl IntoIterator<Item = &'m Message>) -> Vec<u32> {
    messages.into_iter().map(number).collect()
}

fn holding(count: u32) -> Memory {
    let broker = Memory::new(clock);
    broker.declare(QUEUE);
    (0..count).for_each(|number| assert!(broker.publish(QUEUE, message(number))));
    broker
}

fn subscription(prefetch: u16) -> Subscription {
    Subscription { queue: QUEUE.into(), prefetch, declare: None, name: "test".into() }
}

#[tokio::test]
async fn an_ack_that_the_broker_never_saw_brings_the_messages_back() {
    for (fault, heard, again) in
        [(AckFault::Unsent, false, 2), (AckFault::Swallowed, true, 2), (AckFault::Unheard, false, 0)]
    {
        let broker = holding(2);
        let (mut intake, mut settler) = broker.consume(&subscription(10)).await.expect("consuming");
        assert_eq!(intake.next(10).await.expect("both").len(), 2);
        broker.fail_next_ack(QUEUE, fault);
        assert_eq!(settler.ack_through(2).await.is_ok(), heard, "{fault:?}");
        assert!(matches!(intake.next(10).await, Err(Ended::Lost { .. })), "{fault:?}");
        assert_eq!(broker.ready(QUEUE).len(), again, "{fault:?}");
        assert!(broker.ready(QUEUE).iter().all(|message| message.redelivered));
    }
}

/// As RabbitMQ 4.3 does with what is held for too long, and every release when a queue's node goes.
#[tokio::test]
async fn a_consumer_that_the_broker_cancels_may_settle_what_it_holds() {
    let broker = holding(6);
    let (mut intake, mut settler) = broker.consume(&subscription(4)).await.expect("consuming");
    assert_eq!(intake.next(3).await.expect("three").len(), 3);
    broker.cancel_consumers(QUEUE);
    assert_eq!(numbers(intake.next(9).await.expect("what was sent before").iter().map(|d| &d.message)), [3]);
    assert!(matches!(intake.next(9).await, Err(Ended::Cancelled { .. })));
    settler.ack_through(4).await.expect("the channel stands");
    settler.close().await;
    assert_eq!(numbers(&broker.acked(QUEUE)), [0, 1, 2, 3]);
    assert_eq!(numbers(&broker.ready(QUEUE)), [4, 5]);
}

#[tokio::test]
async fn two_consumers_share_a_queue_and_one_inherits_from_the_other() {
    let broker = holding(10);
    let (mut first, settler) = broker.consume(&subscription(4)).await.expect("consuming");
    let (mut second, _settler) = broker.consume(&subscription(20)).await.expect("consuming");
    assert_eq!(numbers(first.next(99).await.expect("four").iter().map(|d| &d.message)), [0, 1, 2, 3]);
    assert_eq!(second.next(99).await.expect("six").len(), 6);
    settler.close().await;
    drop(first);
    let inherited = second.next(99).await.expect("four more");
    assert_eq!(numbers(inherited.iter().map(|d| &d.message)), [0, 1, 2, 3]);
    assert!(inherited.iter().all(|delivery| delivery.message.redelivered));
    assert_eq!(inherited[0].tag, 7);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_intake_wakes_up_for_a_message_and_for_the_end() {
    let broker = holding(0);
    let (mut intake, _settler) = broker.consume(&subscription(4)).await.expect("consuming");
    let later = broker.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        later.publish(QUEUE, message(7));
        tokio::time::sleep(Duration::from_secs(1)).await;
        later.cut(QUEUE);
    });
    assert_eq!(numbers(intake.next(9).await.expect("one").iter().map(|d| &d.message)), [7]);
    assert!(matches!(intake.next(9).await, Err(Ended::Lost { .. })));
}

#[tokio::test]
async fn a_refused_subscription_gives_back_what_it_held() {
    let broker = holding(3);
    let (mut intake, mut settler) = broker.consume(&subscription(2)).await.expect("consuming");
    assert_eq!(intake.next(1).await.expect("one").len(), 1);
    broker.refuse(QUEUE, "406 PRECONDITION_FAILED - delivery acknowledgement timed out");
    assert!(intake.next(1).await.expect_err("refused").needs_a_person());
    assert!(settler.ack_through(1).await.is_err());
    assert_eq!(numbers(&broker.ready(QUEUE)), [0, 1, 2]);
}

#[tokio::test]
async fn a_refusal_is_given_once() {
    let broker = holding(0);
    let error = ConnectError::Unavailable { broker: "memory".into(), reason: "told to".into() };
    broker.refuse_next_connect(error.clone());
    assert_eq!(broker.consume(&subscription(1)).await.err(), Some(error));
    assert!(broker.consume(&subscription(1)).await.is_ok());
    assert_eq!(broker.channels_opened(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Publish,
    Take(usize),
    Ack,
    Requeue,
    Cut,
    FailAck(AckFault),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Publish),
        3 => (1..5usize).prop_map(Step::Take),
        2 => Just(Step::Ack),
        1 => Just(Step::Requeue),
        1 => Just(Step::Cut),
        1 => prop::sample::select(vec![AckFault::Unsent, AckFault::Swallowed, AckFault::Unheard])
            .prop_map(Step::FailAck),
    ]
}

proptest! {
    #[test]
    fn no_message_is_lost_or_acked_twice_and_a_first_delivery_is_never_flagged(
        steps in prop::collection::vec(any_step(), 0..60),
        prefetch in 1..6u16,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(follow(&steps, prefetch));
    }
}

async fn follow(steps: &[Step], prefetch: u16) {
    let broker = holding(0);
    let mut published = 0;
    let mut seen = std::collections::BTreeSet::new();
    let mut link = broker.consume(&subscription(prefetch)).await.expect("consuming");
    let mut through = 0;
    for step in steps {
        let (intake, settler) = &mut link;
        let alive = match step {
            Step::Publish => {
                published += 1;
                broker.publish(QUEUE, message(published))
            }
            Step::Take(max) => match futures_util::FutureExt::now_or_never(intake.next(*max)) {
                None => true,
                Some(Ok(batch)) => {
                    for delivery in batch {
                        through += 1;
                        assert_eq!(delivery.tag, through);
                        let first = seen.insert(number(&delivery.message));
                        assert!(first || delivery.message.redelivered, "seen before, so flagged");
                    }
                    true
                }
                Some(Err(_)) => false,
            },
            Step::Ack => settler.ack_through(through).await.is_ok(),
            Step::Requeue => {
                let alive = settler.requeue_all().await.is_ok();
                through = settled_through(&broker);
                alive
            }
            Step::Cut => {
                broker.cut(QUEUE);
                true
            }
            Step::FailAck(fault) => {
                broker.fail_next_ack(QUEUE, *fault);
                true
            }
        };
        assert!(broker.unacked(QUEUE) <= usize::from(prefetch));
        if !alive {
            link = broker.consume(&subscription(prefetch)).await.expect("consuming");
            through = 0;
        }
    }
    drop(link);
    let mut all = numbers(&broker.ready(QUEUE));
    assert!(all.is_sorted(), "in the original order");
    all.extend(numbers(&broker.acked(QUEUE)));
    all.sort_unstable();
    assert_eq!(all, (1..=published).collect::<Vec<_>>());
}

/// The tag after which the next delivery comes: what was sent ahead and given back used tags up.
fn settled_through(broker: &Memory) -> u64 {
    broker.with(QUEUE, |queue| queue.channels.last().map_or(0, |channel| channel.handed_out))
}
