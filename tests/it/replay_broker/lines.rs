//! Lines that break, queues that are full, processes that die: every letter arrives, and a repeat is known by its headers.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::types::AMQPValue;
use parqueduct::replay::broker::Fate;

use super::*;
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::{Rabbit, config, eventually};

fn many(queue: &str, count: usize) -> Vec<DeadLetter> {
    (0..count).map(|n| letter(queue, message(&format!("m-{n}")))).collect()
}

/// Every letter came, each time as attempt 2; how many came more than once.
fn assert_all_came(came: &[Message], letters: &[DeadLetter]) -> usize {
    let mut times = BTreeMap::<Ulid, usize>::new();
    for message in came {
        let lineage = lineage_of(message);
        assert_eq!(lineage.attempt, 2);
        *times.entry(lineage.letter).or_default() += 1;
        let of = letters.iter().find(|letter| letter.id == lineage.letter).expect("one of ours");
        assert_eq!(message.body, of.message.body);
    }
    let missing = letters.iter().filter(|letter| !times.contains_key(&letter.id)).count();
    assert_eq!(missing, 0, "of {}", letters.len());
    times.values().filter(|times| **times > 1).count()
}

/// A queue that takes five messages and rejects more. Quorum queues keep to that only roughly.
fn classic_of_five() -> [(&'static str, AMQPValue); 3] {
    let most = AMQPValue::LongInt(5);
    [("x-queue-type", long("classic")), ("x-max-length", most), ("x-overflow", long("reject-publish"))]
}

async fn all_of(node: &Rabbit, queue: &str) -> Vec<Message> {
    let count = node.ready(queue).await as usize;
    take(node, queue, count).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_cut_in_the_middle_of_a_chunk_loses_nothing() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("cut").await;
        let line = Proxy::to(node.port()).await;
        let letters = many(&queue, 900);
        let job = Job::new(config(&[&line.uri(node.uri(), node.port())]), to_queue(&queue));
        let (mut courier, _) = job.courier().await;
        line.slow_down(Duration::from_millis(5));
        let cutting = async {
            eventually("some letters", || async { node.ready(&queue).await > 50 }).await;
            line.cut().await;
            line.open();
        };
        let given = as_they_are(&letters);
        let (fates, ()) = tokio::join!(courier.send(&given), cutting);
        assert_eq!(fates.expect("the store takes it"), confirmed(900));
        assert!(line.connections_cut() > 0, "the line was cut while it was in use");
        assert_all_came(&all_of(&node, &queue).await, &letters);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_died_in_the_middle_of_a_chunk_is_taken_up_with_the_same_attempts() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("killed").await;
        let line = Proxy::to(node.port()).await;
        let letters = many(&queue, 900);
        let mut job = Job::new(config(&[&line.uri(node.uri(), node.port())]), to_queue(&queue));
        let (mut courier, nothing) = job.courier().await;
        assert_eq!(nothing, Progress::default());
        let first = courier.send(&as_they_are(&letters[..100])).await.expect("the store takes it");
        assert_eq!(first, confirmed(100));
        line.slow_down(Duration::from_millis(5));
        let rest = as_they_are(&letters[100..]);
        tokio::select! {
            _ = courier.send(&rest) => panic!("it was to be stopped in between"),
            () = eventually("some letters", || async { node.ready(&queue).await > 150 }) => {}
        }
        drop(courier);
        line.cut().await;

        job.config = node.config();
        let (mut courier, progress) = job.courier().await;
        assert_eq!(progress.settled.len(), 100);
        let owed: Vec<_> = letters[100..].iter().map(|letter| (letter.id, 2)).collect();
        assert_eq!(progress.owed, owed);
        let again: Vec<_> = progress
            .owed
            .iter()
            .map(|(id, attempt)| {
                let letter = letters.iter().find(|letter| letter.id == *id).expect("one of ours");
                Letter { letter, message: Ok(&letter.message), attempt: *attempt }
            })
            .collect();
        assert_eq!(courier.send(&again).await.expect("the store takes it"), confirmed(800));
        let (_, progress) = job.courier().await;
        assert_eq!((progress.settled.len(), progress.owed), (900, Vec::new()));
        let repeats = assert_all_came(&all_of(&node, &queue).await, &letters);
        assert!(repeats > 0, "some had been sent before it died");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_queue_rejects_is_sent_again_until_there_is_room() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = unique("full");
        let arguments = classic_of_five();
        node.declare(&queue, &arguments).await;
        let letters = many(&queue, 40);
        let mut job = Job::new(node.config(), to_queue(&queue));
        job.retries_max = 1000;
        let (mut courier, _) = job.courier().await;
        let given = as_they_are(&letters);
        let (fates, came) = tokio::join!(courier.send(&given), async {
            let mut came = Vec::new();
            while came.len() < letters.len() {
                came.extend(take(&node, &queue, 1).await);
            }
            came
        });
        assert_eq!(fates.expect("the store takes it"), confirmed(40));
        assert_eq!(assert_all_came(&came, &letters), 0, "a message that was rejected is not in the queue");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_queue_never_takes_is_owed() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = unique("full");
        let arguments = classic_of_five();
        node.declare(&queue, &arguments).await;
        let letters = many(&queue, 30);
        let job = Job::new(node.config(), to_queue(&queue));
        let fates = job.send(&letters).await;
        let nacked = fates.iter().filter(|fate| **fate == Fate::Nacked).count();
        let there = node.ready(&queue).await as usize;
        assert!(nacked > 0 && nacked + there == 30, "{nacked} rejected, {there} in the queue");
        let (_, progress) = job.courier().await;
        assert_eq!((progress.owed.len(), progress.settled.len()), (nacked, there));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_leaves_the_letters_owed() {
    within(async {
        let node = Rabbit::shared().await;
        let queue = node.queue("gone").await;
        let line = Proxy::to(node.port()).await;
        let mut job = Job::new(config(&[&line.uri(node.uri(), node.port())]), to_queue(&queue));
        job.retries_max = 1;
        job.config.connect_timeout = Duration::from_secs(1);
        let (mut courier, _) = job.courier().await;
        let letters = many(&queue, 10);
        line.freeze();
        line.cut().await;
        drop(line);
        let fates = courier.send(&as_they_are(&letters)).await.expect("the store takes it");
        assert_eq!(fates, vec![Fate::Unknown; 10]);
        job.config = node.config();
        let (_, progress) = job.courier().await;
        assert_eq!(progress.owed.len(), 10);
    })
    .await;
}
