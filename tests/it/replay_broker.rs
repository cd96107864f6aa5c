//! Dead letters back through a real RabbitMQ: what must not be lost, and the traps of AMQP 0-9-1 (each with the witness
//! that the broker really sets it, where it does).

mod intake;
mod lines;
mod origin;
mod traps;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use parqueduct::broker::inspect::inspect;
use parqueduct::broker::publish::PublisherLimits;
use parqueduct::broker::{Backoff, Broker, Rabbit as Consumer, Subscription};
use parqueduct::config::RabbitMq;
use parqueduct::dlq::lineage::{self, Lineage};
use parqueduct::dlq::record::{AttemptSource, DeadLetter, Origin};
use parqueduct::event::{Delivery, HeaderValue, Message, Properties};
use parqueduct::rejection::{Code, Issue};
use parqueduct::replay::broker::{Courier, CourierParts, Errand, Fate, Letter, Progress};
use parqueduct::replay::destination::{Destination, Sending};
use parqueduct::store::Store;
use ulid::Ulid;

use crate::harness::rabbit::{self, Rabbit, surroundings, unique};

/// A job with a store and a broker.
pub struct Job {
    pub config: RabbitMq,
    pub store: Store,
    pub id: Ulid,
    pub destination: Destination,
    pub sending: Sending,
    pub retries_max: u32,
}

impl Job {
    pub fn new(config: RabbitMq, destination: Destination) -> Self {
        let (store, id) = (Store::memory(), new_id());
        Self { config, store, id, destination, sending: Sending::default(), retries_max: 3 }
    }

    /// A courier as a process has it, and how far earlier ones came.
    pub async fn courier(&self) -> (Courier, Progress) {
        let wait = (Duration::from_millis(20), Duration::from_millis(200));
        let parts = CourierParts {
            rabbitmq: self.config.clone(),
            surroundings: surroundings(),
            store: self.store.clone(),
            publisher: PublisherLimits { in_flight_max: 100, confirm_timeout: Duration::from_secs(20) },
            retries_max: self.retries_max,
            backoff: Backoff::new(wait.0, wait.1, fastrand::Rng::with_seed(1)),
        };
        let (destination, sending) = (self.destination.clone(), self.sending.clone());
        let errand = Errand { job: self.id, run: new_id(), destination, sending, uri: None };
        Courier::begin(parts, errand).await.expect("the broker takes us")
    }

    /// Sends `letters` as one chunk, for the second attempt.
    pub async fn send(&self, letters: &[DeadLetter]) -> Vec<Fate> {
        let (mut courier, _) = self.courier().await;
        let fates = courier.send(&as_they_are(letters)).await.expect("the store takes it");
        courier.close().await;
        fates
    }
}

/// An id that nobody else has.
pub fn new_id() -> Ulid {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = chrono::Utc::now().timestamp_millis() as u64;
    let random = u128::from(std::process::id()) << 64 | u128::from(COUNT.fetch_add(1, Relaxed));
    Ulid::from_parts(now, random)
}

pub fn as_they_are(letters: &[DeadLetter]) -> Vec<Letter<'_>> {
    letters.iter().map(|letter| Letter { letter, message: Ok(&letter.message), attempt: 2 }).collect()
}

/// A dead letter of `message`, which came from `queue`.
pub fn letter(queue: &str, message: Message) -> DeadLetter {
    let origin = Origin { pipeline: "orders".into(), queue: queue.into(), ..Origin::default() };
    let now = chrono::Utc::now();
    let delivery = Delivery { tag: 1, received_at: now, message };
    let rejection = Issue::at(Code::ValidateType, "/amount", "number", "string").into();
    DeadLetter::new(new_id(), &Arc::new(origin), delivery, &rejection, AttemptSource::Queue, now)
}

/// What one publisher sent to exchange `events` with key `order.new`.
pub fn message(name: &str) -> Message {
    Message {
        body: format!("{{\"name\":\"{name}\"}}").into_bytes(),
        exchange: "events".into(),
        routing_key: "order.new".into(),
        properties: Properties { message_id: Some(name.into()), delivery_mode: Some(2), ..Properties::default() }
            .into(),
        ..Message::default()
    }
}

pub fn with(mut message: Message, change: impl FnOnce(&mut Properties)) -> Message {
    change(&mut message.properties);
    message
}

pub fn header(name: &str, value: HeaderValue) -> Option<Vec<(String, HeaderValue)>> {
    Some(vec![(name.to_owned(), value)])
}

pub fn text(text: &str) -> HeaderValue {
    HeaderValue::Text(text.as_bytes().to_vec())
}

pub fn to_queue(queue: &str) -> Destination {
    Destination::Queue { queue: Some(queue.to_owned()) }
}

/// Takes `count` messages out of `queue` for good, as the product's own consumer sees them.
pub async fn take(node: &Rabbit, queue: &str, count: usize) -> Vec<Message> {
    let consumer = Consumer::new(&node.config(), surroundings()).expect("a valid configuration");
    let subscription = Subscription { queue: queue.into(), prefetch: 2000, declare: None, name: "test".into() };
    let (mut intake, mut settler) = consumer.consume(&subscription).await.expect("consuming");
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), intake.next(count - messages.len())).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} messages came to {queue}", messages.len()));
        messages.extend(next.expect("the queue is there").into_iter().map(|delivery| delivery.message));
    }
    settler.ack_through(count as u64).await.expect("acked");
    settler.close().await;
    messages
}

/// Rejects the message at the head of `queue`, as a consumer would that cannot use it.
pub async fn reject(node: &Rabbit, queue: &str) {
    let (_connection, channel) = node.admin().await;
    let got = rabbit_get(&channel, queue).await;
    got.acker.reject(BasicRejectOptions { requeue: false }).await.expect("rejected");
    channel.close(200, "done".into()).await.expect("closed");
}

async fn rabbit_get(channel: &Channel, queue: &str) -> lapin::message::BasicGetMessage {
    for _ in 0..200 {
        let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await.expect("readable");
        if let Some(got) = got {
            return got;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing came to {queue} within 10 s");
}

/// A durable exchange whose name nobody else uses.
pub async fn exchange(node: &Rabbit, kind: ExchangeKind, internal: bool) -> String {
    let name = unique("exchange");
    let (_connection, channel) = node.admin().await;
    let options = ExchangeDeclareOptions { durable: true, internal, ..ExchangeDeclareOptions::default() };
    let made = channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default()).await;
    made.expect("an exchange of our own");
    name
}

pub async fn bind(node: &Rabbit, queue: &str, exchange: &str, key: &str) {
    let (_connection, channel): (Connection, Channel) = node.admin().await;
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await;
    bound.expect("bound");
}

pub fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A queue whose rejected messages go to a queue of its own, by the key they came with, which must begin with `order.`,
/// be empty or be `key`.
pub async fn queue_with_dead_letters(node: &Rabbit, keys: &[&str]) -> (String, String) {
    let dead_letters = exchange(node, ExchangeKind::Topic, false).await;
    let (queue, dead) = (unique("work"), node.queue("dead").await);
    node.declare(&queue, &[("x-dead-letter-exchange", long(&dead_letters))]).await;
    for key in keys {
        bind(node, &dead, &dead_letters, key).await;
    }
    (queue, dead)
}

/// Major version of the broker.
pub async fn release(node: &Rabbit) -> u32 {
    let inspected = inspect(&node.config(), surroundings(), &[], false).await.expect("a valid configuration");
    let found = inspected[0].outcome.as_ref().expect("the broker is there");
    let version = found.version.as_deref().expect("it tells its version");
    version.split('.').next().and_then(|major| major.parse().ok()).expect("a version")
}

pub fn lineage_of(message: &Message) -> Lineage {
    Lineage::of(message).unwrap_or_else(|| panic!("no lineage: {message:?}"))
}

/// The headers of a message without those of replays and those that the broker adds on delivery.
pub fn own_headers(message: &Message) -> Vec<(String, HeaderValue)> {
    let headers = message.properties.headers.clone().unwrap_or_default();
    let own = |name: &str| !name.starts_with(lineage::PREFIX) && name != "x-delivery-count";
    headers.into_iter().filter(|(name, _)| own(name)).collect()
}

pub fn confirmed(count: usize) -> Vec<Fate> {
    vec![Fate::Confirmed; count]
}

/// Whether there is an exchange of that name.
pub async fn is_exchange(node: &Rabbit, name: &str) -> bool {
    let (_connection, channel) = node.admin().await;
    let options = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default()).await.is_ok()
}

/// Runs a test within its time limit.
pub async fn within<T>(test: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, test).await.unwrap_or_else(|_| panic!("not done within {limit:?}"))
}

pub fn code_of(fate: &Fate) -> &str {
    match fate {
        Fate::Unfit { code, .. } => code,
        other => other.as_str(),
    }
}

/// The shared node with its management API in the configuration.
pub fn with_management(node: &Rabbit) -> RabbitMq {
    let url = format!("http://guest:guest@127.0.0.1:{}", node.management_port());
    RabbitMq { management: Some(parqueduct::config::Secret::new(url)), ..rabbit::config(&[node.uri()]) }
}
