//! Consuming from RabbitMQ over AMQP 0-9-1.
//!
//! One connection, one channel and one consumer for each subscription, without the client library's recovery: it would
//! cross a reconnect silently, and an old tag would then ack a message that nobody holds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer, message};
use tokio::time::timeout;

use super::connect::{Brokers, Link, ended, request_error};
use super::mender::Note;
use super::properties::{self, TooLong, short};
use super::{Broker, Clock, ConnectError, Ended, Glance, Intake, Settler, Standing, Subscription, Surroundings, peek};
use crate::config::{Declare, QueueType, RabbitMq};
use crate::event::{Delivery, Message};

/// RabbitMQ 3.10 or newer, or whatever speaks AMQP 0-9-1 as it does.
#[derive(Debug)]
pub struct Rabbit {
    brokers: Brokers,
    clock: Clock,
}

impl Rabbit {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]: a URI is none.
    pub fn new(config: &RabbitMq, surroundings: Surroundings) -> Result<Self, ConnectError> {
        Ok(Self { brokers: Brokers::new(config, surroundings)?, clock: surroundings.now })
    }
}

#[async_trait]
impl Broker for Rabbit {
    async fn consume(&self, subscription: &Subscription) -> Result<(Box<dyn Intake>, Box<dyn Settler>), ConnectError> {
        let link = self.brokers.connect(&subscription.name).await?;
        let broker = link.broker.clone();
        // Several round trips, each of which the broker may take its time for.
        let started = timeout(self.brokers.connect_timeout, start(&link, subscription)).await;
        let consumer = started.map_err(|_| ConnectError::Unavailable {
            broker,
            reason: format!("no consumer within {:?}", self.brokers.connect_timeout),
        })??;
        let shared = Arc::new(Shared {
            link,
            queue: subscription.queue.clone(),
            prefetch: AtomicU16::new(subscription.prefetch),
            patience: self.brokers.patience(),
            close_timeout: self.brokers.connect_timeout,
            handed_out: AtomicU64::new(0),
        });
        let intake = RabbitIntake {
            shared: Arc::clone(&shared),
            consumer,
            clock: self.clock,
            kept: VecDeque::new(),
            ended: None,
        };
        let settler = RabbitSettler { shared, acked: 0 };
        Ok((Box::new(intake), Box::new(settler)))
    }

    async fn peek(&self, glance: &Glance) -> Result<Vec<Message>, ConnectError> {
        let link = self.brokers.connect(&glance.name).await?;
        peek::peek(link, glance, self.brokers.patience()).await
    }
}

async fn start(link: &Link, subscription: &Subscription) -> Result<Consumer, ConnectError> {
    let queue = queue_name(link, &subscription.queue)?;
    if let Some(declare) = &subscription.declare {
        declare_queue(link, &queue, declare).await?;
    }
    let consumer = consume(&link.channel, queue.as_str(), subscription.prefetch).await;
    consumer.map_err(|error| request_error(&link.broker, &subscription.queue, &error))
}

/// Starts a consumer with a window of its own.
async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> lapin::Result<Consumer> {
    // On quorum queues 0 would mean 2,000, elsewhere without bound.
    channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: false, nowait: false };
    // The broker names the consumer: RabbitMQ 4.3 closes a connection that uses a name again.
    let tag = ShortString::default();
    channel.basic_consume(queue.into(), tag, options, FieldTable::default()).await
}

/// Makes the durable queue, and binds it. Both do nothing where it is as asked already.
pub(super) async fn declare_queue(link: &Link, queue: &ShortString, declare: &Declare) -> Result<(), ConnectError> {
    let refused = |error| request_error(&link.broker, queue.as_str(), &error);
    let mut arguments = FieldTable::default();
    let kind = match declare.queue_type {
        QueueType::Classic => "classic",
        QueueType::Quorum => "quorum",
    };
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    let options =
        QueueDeclareOptions { passive: false, durable: true, exclusive: false, auto_delete: false, nowait: false };
    link.channel.queue_declare(queue.clone(), options, arguments).await.map_err(refused)?;
    for (exchange, routing_key) in &declare.bind {
        let exchange = short("the exchange of declare.bind", exchange).map_err(|error| too_long(link, &error))?;
        let routing_key = short("the key of declare.bind", routing_key).map_err(|error| too_long(link, &error))?;
        let options = QueueBindOptions { nowait: false };
        let bound = link.channel.queue_bind(queue.clone(), exchange, routing_key, options, FieldTable::default()).await;
        bound.map_err(refused)?;
    }
    Ok(())
}

pub(super) fn queue_name(link: &Link, queue: &str) -> Result<ShortString, ConnectError> {
    short("the name of the queue", queue).map_err(|error| too_long(link, &error))
}

fn too_long(link: &Link, error: &TooLong) -> ConnectError {
    ConnectError::Refused {
        broker: link.broker.clone(),
        reason: error.to_string(),
        mend: "choose a shorter one".into(),
    }
}

/// What both halves of a subscription stand on. Dropping the last of them closes the connection.
struct Shared {
    link: Link,
    queue: String,
    /// What the consumer was started with.
    prefetch: AtomicU16,
    /// Longest wait for a request that the broker answers at once.
    patience: Duration,
    close_timeout: Duration,
    /// The highest tag the intake handed out.
    handed_out: AtomicU64,
}

impl Shared {
    fn too_slow(&self, what: &str) -> Ended {
        Ended::Lost { reason: format!("{what} not done within {:?}", self.patience) }
    }
}

/// Does not keep the connection open: who writes a flush may outlive its subscription.
struct RabbitStanding(Weak<Shared>);

#[async_trait]
impl Standing for RabbitStanding {
    async fn confirm(&self) -> Result<(), Ended> {
        let gone = || Ended::Lost { reason: "the subscription is closed".into() };
        let shared = self.0.upgrade().ok_or_else(gone)?;
        // Asks for what is set already: the one request that changes nothing, needs no permission and is answered. The
        // channel's process at the broker answers, and while it lives the queue gives nothing of it to others.
        let asked =
            shared.link.channel.basic_qos(shared.prefetch.load(Relaxed).max(1), BasicQosOptions { global: false });
        match timeout(shared.patience, asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ended(&shared.queue, &error)),
            Err(_) => Err(shared.too_slow("basic.qos")),
        }
    }
}

struct RabbitIntake {
    shared: Arc<Shared>,
    consumer: Consumer,
    clock: Clock,
    /// What came while nobody took anything; at most the prefetch window, which lapin would hold otherwise.
    kept: VecDeque<message::Delivery>,
    /// Once set, every call answers it.
    ended: Option<Ended>,
}

impl RabbitIntake {
    /// Takes what is buffered, until `batch` holds `max` or nothing more is there. Never waits: a call that is dropped
    /// has lost nothing.
    fn fill(&mut self, batch: &mut Vec<message::Delivery>, max: usize) {
        while batch.len() < max
            && let Some(delivery) = self.kept.pop_front()
        {
            batch.push(delivery);
        }
        while batch.len() < max && self.ended.is_none() {
            match self.consumer.next().now_or_never() {
                None => break,
                Some(Some(Ok(delivery))) => batch.push(delivery),
                Some(end) => self.ended = Some(self.end(end)),
            }
        }
    }

    /// Why the stream ended: by an error, or (`None`) because the consumer was cancelled.
    fn end(&self, item: Option<lapin::Result<message::Delivery>>) -> Ended {
        match item {
            Some(Err(error)) => ended(&self.shared.queue, &error),
            _ if self.shared.link.channel.status().connected() => Ended::Cancelled { queue: self.shared.queue.clone() },
            _ => Ended::Lost { reason: "the channel closed".into() },
        }
    }

    /// Asks the broker to send no more, and waits until it has confirmed that.
    async fn stop_consumer(&mut self) {
        let options = BasicCancelOptions { nowait: false };
        let cancelled = self.shared.link.channel.basic_cancel(self.consumer.tag(), options);
        match timeout(self.shared.patience, cancelled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.ended = Some(ended(&self.shared.queue, &error)),
            Err(_) => self.ended = Some(self.shared.too_slow("basic.cancel")),
        }
    }

    /// `batch` as ours, if its channel still lives; else its deliveries are in the queue again.
    fn hand_out(&mut self, batch: Vec<message::Delivery>) -> Result<Vec<Delivery>, Ended> {
        // All deliveries of a channel become unusable together, a moment after the channel does.
        let lives = self.shared.link.channel.status().connected();
        if batch.last().is_some_and(|last| !last.acker.usable() || !lives) {
            let lost = || Ended::Lost { reason: "the channel closed under deliveries not handed out yet".into() };
            return Err(self.ended.get_or_insert_with(lost).clone());
        }
        let received_at = (self.clock)();
        let mut notes = match batch.last() {
            Some(last) => self.shared.link.notes.take_through(last.delivery_tag),
            None => VecDeque::new(),
        };
        let noted = |delivery: message::Delivery| {
            let note = notes.pop_front_if(|note| note.tag == delivery.delivery_tag);
            received(delivery, received_at, note)
        };
        let batch: Vec<_> = batch.into_iter().map(noted).collect();
        if let Some(last) = batch.last() {
            self.shared.handed_out.store(last.tag, Relaxed);
        }
        Ok(batch)
    }
}

#[async_trait]
impl Intake for RabbitIntake {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Ended> {
        let mut batch = Vec::new();
        self.fill(&mut batch, max);
        if batch.is_empty() && self.ended.is_none() {
            match self.consumer.next().await {
                Some(Ok(delivery)) => batch.push(delivery),
                end => self.ended = Some(self.end(end)),
            }
            self.fill(&mut batch, max);
        }
        // What came before a cancellation is handed out first; what came before an error is lost.
        match &self.ended {
            Some(ended) if batch.is_empty() || !matches!(ended, Ended::Cancelled { .. }) => Err(ended.clone()),
            _ => self.hand_out(batch),
        }
    }

    async fn lost(&mut self) -> Ended {
        while self.ended.is_none() {
            match self.consumer.next().await {
                Some(Ok(delivery)) => self.kept.push_back(delivery),
                end => self.ended = Some(self.end(end)),
            }
        }
        match &self.ended {
            Some(ended) if !matches!(ended, Ended::Cancelled { .. }) => ended.clone(),
            // The stream says no more; a later end of the channel shows when something is settled.
            _ => std::future::pending().await,
        }
    }

    async fn widen(&mut self, prefetch: u16) -> Result<(), Ended> {
        // An end that came before we ask for one is the broker's.
        while self.ended.is_none()
            && let Some(item) = self.consumer.next().now_or_never()
        {
            match item {
                Some(Ok(delivery)) => self.kept.push_back(delivery),
                end => self.ended = Some(self.end(end)),
            }
        }
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        self.stop_consumer().await;
        // The broker has confirmed: all it ever sent to this consumer is buffered.
        while self.ended.is_none()
            && let Some(Some(item)) = self.consumer.next().now_or_never()
        {
            match item {
                Ok(delivery) => self.kept.push_back(delivery),
                Err(error) => self.ended = Some(ended(&self.shared.queue, &error)),
            }
        }
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let started = consume(&self.shared.link.channel, &self.shared.queue, prefetch);
        match timeout(self.shared.patience, started).await {
            Ok(Ok(consumer)) => {
                self.consumer = consumer;
                self.shared.prefetch.store(prefetch, Relaxed);
                return Ok(());
            }
            Ok(Err(error)) => self.ended = Some(ended(&self.shared.queue, &error)),
            Err(_) => self.ended = Some(self.shared.too_slow("basic.consume")),
        }
        Err(self.ended.clone().expect("it has just ended"))
    }

    async fn cancel(&mut self) -> Result<Vec<Delivery>, Ended> {
        if self.ended.is_none() {
            self.stop_consumer().await;
        }
        let mut batch = Vec::new();
        // The broker has confirmed: all it ever sent is buffered.
        self.fill(&mut batch, usize::MAX);
        let cancelled = Ended::Cancelled { queue: self.shared.queue.clone() };
        match self.ended.get_or_insert(cancelled) {
            Ended::Cancelled { .. } => self.hand_out(batch),
            ended => Err(ended.clone()),
        }
    }
}

fn received(delivery: message::Delivery, received_at: chrono::DateTime<chrono::Utc>, note: Option<Note>) -> Delivery {
    Delivery { tag: delivery.delivery_tag, received_at, message: message_of(delivery, note) }
}

pub(super) fn message_of(delivery: message::Delivery, note: Option<Note>) -> Message {
    Message {
        body: delivery.data,
        exchange: delivery.exchange.into(),
        routing_key: delivery.routing_key.into(),
        redelivered: delivery.redelivered,
        properties: properties::from_amqp(&delivery.properties).into(),
        unreadable: note.map(|note| note.unreadable).unwrap_or_default(),
    }
}

struct RabbitSettler {
    shared: Arc<Shared>,
    acked: u64,
}

impl RabbitSettler {
    /// Waits for a settlement to be written.
    ///
    /// Through the channel, not through a delivery's own handle: the channel writes in the order of calls, and once
    /// closed it never opens again, so that a tag of this channel can reach no other.
    async fn written(&self, what: &str, writing: impl Future<Output = lapin::Result<()>>) -> Result<(), Ended> {
        match timeout(self.shared.patience, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ended(&self.shared.queue, &error)),
            Err(_) => Err(self.shared.too_slow(what)),
        }
    }
}

#[async_trait]
impl Settler for RabbitSettler {
    async fn ack_through(&mut self, tag: u64) -> Result<(), Ended> {
        let handed_out = self.shared.handed_out.load(Relaxed);
        assert!(tag <= handed_out, "ack of delivery {tag}, but the intake handed out only up to {handed_out}");
        if tag <= self.acked {
            return Ok(());
        }
        self.written("basic.ack", self.shared.link.channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
        self.acked = tag;
        Ok(())
    }

    async fn requeue_all(&mut self) -> Result<(), Ended> {
        // Tag 0 stands for all that is outstanding (AMQP 0-9-1 reference, basic.nack).
        let options = BasicNackOptions { multiple: true, requeue: true };
        self.written("basic.nack", self.shared.link.channel.basic_nack(0, options)).await?;
        self.acked = self.shared.handed_out.load(Relaxed);
        Ok(())
    }

    fn standing(&self) -> Arc<dyn Standing> {
        Arc::new(RabbitStanding(Arc::downgrade(&self.shared)))
    }

    async fn close(self: Box<Self>) {
        let link = &self.shared.link;
        let close = async {
            link.channel.close(200, "done".into()).await?;
            link.connection.close(200, "done".into()).await
        };
        // A connection that is gone already is as good as closed.
        let closed = timeout(self.shared.close_timeout, close).await;
        tracing::debug!(broker = %link.broker, queue = %self.shared.queue, ?closed, "subscription closed");
    }
}
