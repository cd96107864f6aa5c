//! Single stories of repeats, told by hand.

use std::time::Duration;

use parqueduct::broker::memory::AckFault;
use parqueduct::event::{Message, Properties};
use tokio::time::{sleep, timeout};

use super::faults::{GRACE, Schedule};
use super::world::{self, Process, QUEUE, World};
use super::{RECOVERED_WITHIN, STORY_MAX, law};
use crate::harness::orders;

const SECOND: Duration = Duration::from_secs(1);

/// One process at a time, small flushes, no accidents but those told.
fn calm() -> Schedule {
    Schedule {
        seed: 1,
        shards: 1,
        processes: 1,
        prefetch: 40,
        flush_rows: 6,
        flush_bytes: 1 << 20,
        flush_age: SECOND,
        by_date: false,
        open_partitions_max: 1,
        hold_max: GRACE / 2,
        grace: GRACE,
        visible: true,
        dedupe_window: None,
        acts: Vec::new(),
    }
}

fn told(schedule: Schedule, story: impl AsyncFnOnce(&std::sync::Arc<World>)) {
    world::begin(schedule.seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let world = World::new(schedule);
    let ended = runtime.block_on(async { timeout(STORY_MAX * 1000, story(&world)).await });
    ended.expect("the story has an end");
}

fn message(id: &str, body: Vec<u8>) -> Message {
    let properties = Properties { message_id: Some(id.to_owned()), ..Properties::default() };
    Message { body, properties: properties.into(), ..Message::default() }
}

/// A good order with a number and, so that its body differs, some spaces at its end.
fn order(number: usize, spaces: usize) -> Message {
    let mut body = orders::good(number);
    body.extend(std::iter::repeat_n(b' ', spaces));
    message(&format!("order-{number}"), body)
}

/// The ids of all rows, and of all dead letters, sorted.
async fn stored(world: &World) -> (Vec<String>, Vec<String>) {
    law::names(&world.cloud.outside_view()).await
}

#[test]
fn a_week_of_downtime_changes_nothing_about_a_repeat() {
    told(calm(), async |world| {
        let process = Process::start(world, 0);
        world.broker.fail_next_ack(QUEUE, AckFault::Swallowed);
        assert!(world.broker.publish(QUEUE, order(0, 0)) && world.broker.publish(QUEUE, message("bad", b"{".to_vec())));
        // The process takes the ack for sent, and is killed before the messages come again.
        sleep(SECOND + SECOND / 10).await;
        while world.broker.unacked(QUEUE) > 0 {
            sleep(SECOND / 100).await;
        }
        process.kill().await;
        sleep(Duration::from_secs(7 * 86_400)).await;
        let process = Process::start(world, 1);
        world.emptied("what was durable is acked", RECOVERED_WITHIN).await;
        assert_eq!(process.ledger().suppressed(), 2);
        process.drain_in_calm().await;
        assert_eq!(stored(world).await, (vec!["order-0".to_owned()], vec!["bad".to_owned()]));
    });
}

#[test]
fn a_reused_id_with_another_body_is_archived_though_it_is_redelivered() {
    told(calm(), async |world| {
        let process = Process::start(world, 0);
        assert!(world.broker.publish(QUEUE, order(0, 0)));
        world.emptied("the first is archived", RECOVERED_WITHIN).await;
        assert!(world.broker.publish(QUEUE, order(0, 1)));
        sleep(SECOND / 2).await;
        assert!(world.holds());
        world.broker.cut(QUEUE);
        world.emptied("the second is archived", RECOVERED_WITHIN).await;
        assert_eq!((process.ledger().suppressed(), process.ids_reused()), (0, 1));
        process.drain_in_calm().await;
        assert_eq!(stored(world).await.0, ["order-0", "order-0"]);
    });
}

#[test]
fn what_is_published_twice_is_left_out_within_the_window_and_only_there() {
    for window in [None, Some(60 * SECOND)] {
        told(Schedule { dedupe_window: window, ..calm() }, async |world| {
            let process = Process::start(world, 0);
            // Twice within a flush, again in a later one, and with another body.
            for spaces in [0, 0, 1] {
                assert!(world.broker.publish(QUEUE, order(0, spaces)));
            }
            world.emptied("the first flush", RECOVERED_WITHIN).await;
            assert!(world.broker.publish(QUEUE, order(0, 0)));
            world.emptied("the second flush", RECOVERED_WITHIN).await;
            let within = stored(world).await.0.len();
            sleep(120 * SECOND).await;
            assert!(world.broker.publish(QUEUE, order(0, 0)));
            world.emptied("the third flush", RECOVERED_WITHIN).await;
            let suppressed = process.ledger().suppressed();
            process.drain_in_calm().await;
            let all = stored(world).await.0.len();
            let expected = if window.is_some() { (2, 2, 3) } else { (4, 0, 5) };
            assert_eq!((within, suppressed, all), expected, "window {window:?}");
        });
    }
}

#[test]
fn a_repeat_of_what_was_held_and_given_back_is_not_taken_for_archived() {
    told(Schedule { dedupe_window: Some(600 * SECOND), ..calm() }, async |world| {
        let process = Process::start(world, 0);
        for _ in 0..2 {
            assert!(world.broker.publish(QUEUE, order(0, 0)));
        }
        sleep(SECOND / 2).await;
        // Both are held, one of them as a repeat; neither is durable.
        world.broker.cut(QUEUE);
        world.emptied("they come again", RECOVERED_WITHIN).await;
        process.drain_in_calm().await;
        assert_eq!(stored(world).await.0, ["order-0"]);
    });
}

#[test]
fn a_store_that_is_away_for_an_hour_costs_one_return_of_each_message_and_loses_none() {
    use super::cloud::Trouble;
    use super::faults::Fault;
    use tokio::time::Instant;
    told(Schedule { hold_max: 150 * SECOND, ..calm() }, async |world| {
        let process = Process::start(world, 0);
        world.broker.limit_deliveries(QUEUE, 2);
        let until = Instant::now() + 3600 * SECOND;
        world.cloud.trouble(Trouble { until, one_in: 1, faults: vec![Fault::StoreRefuses] });
        for number in 0..100 {
            assert!(world.broker.publish(QUEUE, order(number, 0)));
        }
        sleep(3600 * SECOND).await;
        assert!(world.broker.most_returns(QUEUE) <= 1, "what is held is given back once");
        world.emptied("all is archived after the outage", RECOVERED_WITHIN).await;
        process.drain_in_calm().await;
        assert_eq!((stored(world).await.0.len(), world.broker.dropped(QUEUE)), (100, 0));
    });
}

#[test]
fn what_is_held_when_the_queue_is_deleted_is_archived_also_while_the_window_grows() {
    use super::cloud::Trouble;
    use super::faults::Fault;
    use tokio::time::Instant;
    told(Schedule { prefetch: 2000, ..calm() }, async |world| {
        // An unclean end, so that the next process begins with a small window.
        let process = Process::start(world, 0);
        sleep(SECOND).await;
        process.kill().await;
        let process = Process::start(world, 0);
        sleep(SECOND).await;
        let until = Instant::now() + 60 * SECOND;
        world.cloud.trouble(Trouble { until, one_in: 1, faults: vec![Fault::StoreSlow] });
        for number in 0..15 {
            assert!(world.broker.publish(QUEUE, order(number, 0)));
        }
        sleep(2 * SECOND).await;
        assert!(world.holds());
        world.broker.delete(QUEUE);
        sleep(120 * SECOND).await;
        assert_eq!(stored(world).await.0.len(), 15, "the broker has none of them any more");
        world.broker.declare(QUEUE);
        process.drain_in_calm().await;
    });
}

#[test]
fn messages_with_an_empty_id_are_not_taken_for_each_other() {
    told(calm(), async |world| {
        let process = Process::start(world, 0);
        for _ in 0..2 {
            assert!(world.broker.publish(QUEUE, message("", b"{".to_vec())));
            sleep(SECOND / 2).await;
            world.broker.cut(QUEUE);
            world.emptied("it is a dead letter", RECOVERED_WITHIN).await;
        }
        assert_eq!(process.ledger().suppressed(), 0);
        process.drain_in_calm().await;
        assert_eq!(stored(world).await.1.len(), 2);
    });
}
