//! Publishing batches, with the outcome of each message: for a replay, which must know what became of every letter.
//!
//! The broker tells of a message that no queue takes before it confirms it, but the client library hands that out with
//! some confirm, not always the message's own. So every message carries its name in a header, and a returned one is known
//! by it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::FutureExt;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Confirmation, ErrorKind, ExchangeKind, PublisherConfirm};
use tokio::time::timeout;

use super::{PublishError, PublisherLimits, refused_or_lost, with_confirms};
use crate::broker::connect::{Brokers, Link, request_error};
use crate::broker::properties::{TooLong, short, to_amqp};
use crate::broker::rabbit::queue_name;
use crate::broker::{ConnectError, Surroundings};
use crate::config::RabbitMq;
use crate::event::Properties;

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Parcel<'a> {
    /// What it is known by: the text of one of its headers. No two of a batch have the same.
    pub name: &'a str,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub body: &'a [u8],
    pub properties: &'a Properties,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has taken it over, into at least one queue.
    Confirmed,
    /// No queue is bound for it; it is nowhere.
    Returned { reason: String },
    /// A queue is full and rejects, or the broker is in trouble; it is nowhere for certain only with one queue.
    Nacked,
    /// It may or may not be with the broker: the connection ended before the answer.
    Unknown,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// One for each message, in order.
    pub outcomes: Vec<Outcome>,
    /// Why some are unknown; the connection is of no use any more.
    pub trouble: Option<PublishError>,
}

/// Sends batches over a connection of its own.
pub struct BatchPublisher {
    link: Link,
    limits: PublisherLimits,
    close_timeout: Duration,
    /// The header that has each message's name.
    name_header: &'static str,
    body_bytes_max: u64,
}

impl BatchPublisher {
    /// Connects. `name` is what operators see as the connection's name, `name_header` the header by which messages are
    /// known.
    pub async fn connect(
        config: &RabbitMq,
        surroundings: Surroundings,
        name: &str,
        limits: PublisherLimits,
        name_header: &'static str,
    ) -> Result<Self, ConnectError> {
        let (link, greeting) = Brokers::new(config, surroundings)?.connect_greeted(name).await?;
        let link = with_confirms(config, link).await?;
        let body_bytes_max = body_bytes_max(greeting.version.as_deref().unwrap_or_default());
        Ok(Self { body_bytes_max, link, limits, close_timeout: config.connect_timeout, name_header })
    }

    /// Host, port and virtual host, for people.
    pub fn broker(&self) -> &str {
        &self.link.broker
    }

    /// Bytes of a frame, as negotiated: what properties and headers must fit.
    pub fn frame_bytes_max(&self) -> usize {
        self.link.connection.configuration().frame_max() as usize
    }

    /// Bytes of a body that the broker takes, unless it is configured otherwise.
    pub fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// Whether there is such an exchange; `true` where that may not be asked.
    ///
    /// # Errors
    /// [`ConnectError`]: the connection is of no use any more.
    pub async fn has_exchange(&mut self, exchange: &str) -> Result<bool, ConnectError> {
        // The default exchange is everywhere, and may not be asked about.
        let Ok(name) = short("the exchange", exchange) else { return Ok(false) };
        if exchange.is_empty() {
            return Ok(true);
        }
        let passive = ExchangeDeclareOptions { passive: true, ..durable_exchange() };
        let asking = async {
            let channel = self.link.connection.create_channel().await?;
            let asked = channel.exchange_declare(name, ExchangeKind::Topic, passive, FieldTable::default()).await;
            if asked.is_ok() {
                channel.close(200, "done".into()).await?;
            }
            asked
        };
        let asked = timeout(self.close_timeout, asking).await.map_err(|_| self.too_slow_to("tell of an exchange"))?;
        match asked.as_ref().map_err(lapin::Error::kind) {
            Err(ErrorKind::ProtocolError(said)) if said.get_id() == 404 => Ok(false),
            Err(ErrorKind::ProtocolError(_)) | Ok(()) => Ok(true),
            Err(_) => asked.map(|()| true).map_err(|error| request_error(&self.link.broker, exchange, &error)),
        }
    }

    fn too_slow_to(&self, what: &str) -> ConnectError {
        let reason = format!("it did not {what} within {:?}", self.close_timeout);
        ConnectError::Unavailable { broker: self.link.broker.clone(), reason }
    }

    /// Makes a durable topic exchange that leads to `queue` whatever the routing key, and to no other. Does nothing where
    /// it is there already.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]: there is no such queue, the user may not, or another exchange has the name.
    pub async fn declare_detour(&mut self, exchange: &str, queue: &str) -> Result<(), ConnectError> {
        let making = self.make_detour(exchange, queue);
        let made = timeout(self.close_timeout, making).await;
        made.unwrap_or_else(|_| Err(self.too_slow_to("make an exchange")))
    }

    async fn make_detour(&self, exchange: &str, queue: &str) -> Result<(), ConnectError> {
        let refused = |error| request_error(&self.link.broker, queue, &error);
        let queue_name = queue_name(&self.link, queue)?;
        let too_long = |error: TooLong| ConnectError::Refused {
            broker: self.link.broker.clone(),
            reason: error.to_string(),
            mend: format!("queue `{queue}` has too long a name for an exchange of its own: name an exchange"),
        };
        let exchange = short("the name of the exchange", exchange).map_err(too_long)?;
        // First whether the queue is there, on a channel of its own, so that none is made for nothing. Some versions do not
        // let everybody ask; then the binding tells.
        let asking = self.link.connection.create_channel().await.map_err(refused)?;
        let passive =
            QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };
        match asking.queue_declare(queue_name.clone(), passive, FieldTable::default()).await {
            Ok(_) => drop(asking.close(200, "done".into()).await),
            Err(error) if matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == 403) => {}
            Err(error) => return Err(refused(error)),
        }
        let channel = &self.link.channel;
        let made = channel
            .exchange_declare(exchange.clone(), ExchangeKind::Topic, durable_exchange(), FieldTable::default())
            .await;
        made.map_err(refused)?;
        let options = QueueBindOptions { nowait: false };
        let bound = channel.queue_bind(queue_name, exchange, "#".into(), options, FieldTable::default()).await;
        bound.map_err(refused)
    }

    /// Sends all of `parcels`, and waits until the broker has answered for each, for as long as it is in an alarm.
    ///
    /// Dropping the call leaves open what became of those under way; the connection is then of no use any more.
    pub async fn send(&mut self, parcels: &[Parcel<'_>]) -> Sent {
        let mut under_way = UnderWay::new(parcels);
        let mut trouble = None;
        for (place, parcel) in parcels.iter().enumerate() {
            if let Err(error) = self.publish(place, parcel, &mut under_way).await {
                trouble = Some(error);
                break;
            }
        }
        while trouble.is_none() && !under_way.confirms.is_empty() {
            trouble = self.await_oldest(&mut under_way).await.err();
        }
        if trouble.is_some() {
            // What was answered before the end counts, and the reason for the end is told to those under way: who sends
            // on only learns that the channel is closed.
            while let Some((place, mut confirm)) = under_way.confirms.pop_front() {
                match (&mut confirm).now_or_never() {
                    Some(Ok(confirm)) => under_way.take(place, confirm, self.name_header),
                    Some(Err(error)) if matches!(trouble, Some(PublishError::Lost { .. })) => {
                        trouble = Some(self.failure(under_way.exchange, &error));
                    }
                    _ => {}
                }
            }
        }
        Sent { outcomes: under_way.outcomes, trouble }
    }

    /// Closes the connection, within a bounded time.
    pub async fn close(self) {
        let closed = timeout(self.close_timeout, self.link.connection.close(200, "done".into())).await;
        tracing::debug!(broker = %self.link.broker, ?closed, "publisher closed");
    }

    async fn publish<'p>(
        &self,
        place: usize,
        parcel: &Parcel<'p>,
        under_way: &mut UnderWay<'p>,
    ) -> Result<(), PublishError> {
        while under_way.confirms.len() >= self.limits.in_flight_max {
            self.await_oldest(under_way).await?;
        }
        let exchange = short("the exchange", parcel.exchange)?;
        let routing_key = short("the routing key", parcel.routing_key)?;
        let properties = to_amqp(parcel.properties)?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let channel = &self.link.channel;
        let mut sending =
            std::pin::pin!(channel.basic_publish(exchange, routing_key, options, parcel.body, properties));
        let confirm = loop {
            match timeout(self.limits.confirm_timeout, &mut sending).await {
                Ok(sent) => break sent.map_err(|error| self.failure(parcel.exchange, &error))?,
                Err(_) if self.is_blocked() => {}
                Err(_) => return Err(self.too_slow()),
            }
        };
        under_way.confirms.push_back((place, confirm));
        under_way.exchange = parcel.exchange;
        Ok(())
    }

    async fn await_oldest(&self, under_way: &mut UnderWay<'_>) -> Result<(), PublishError> {
        let Some((place, oldest)) = under_way.confirms.front_mut() else { return Ok(()) };
        let place = *place;
        let confirm = loop {
            match timeout(self.limits.confirm_timeout, &mut *oldest).await {
                Ok(confirm) => break confirm,
                Err(_) if self.is_blocked() => {}
                Err(_) => return Err(self.too_slow()),
            }
        };
        under_way.confirms.pop_front();
        under_way.take(place, confirm.map_err(|error| self.failure(under_way.exchange, &error))?, self.name_header);
        Ok(())
    }

    /// In a memory or disk alarm the broker takes nothing from publishers, for as long as it lasts.
    fn is_blocked(&self) -> bool {
        let status = self.link.connection.status();
        status.blocked() && status.connected()
    }

    fn failure(&self, exchange: &str, error: &lapin::Error) -> PublishError {
        refused_or_lost(&self.link.broker, exchange, error)
    }

    fn too_slow(&self) -> PublishError {
        let reason = format!("no confirm within {:?}", self.limits.confirm_timeout);
        PublishError::Lost { broker: self.link.broker.clone(), reason }
    }
}

/// The messages of a batch that await their confirm, and what became of the others.
struct UnderWay<'a> {
    places: HashMap<&'a str, usize>,
    confirms: VecDeque<(usize, PublisherConfirm)>,
    outcomes: Vec<Outcome>,
    /// Of the message sent last, for errors that do not name it.
    exchange: &'a str,
}

impl<'a> UnderWay<'a> {
    fn new(parcels: &[Parcel<'a>]) -> Self {
        let places: HashMap<_, _> = parcels.iter().enumerate().map(|(place, parcel)| (parcel.name, place)).collect();
        assert_eq!(places.len(), parcels.len(), "no two messages of a batch have the same name");
        Self { places, confirms: VecDeque::new(), outcomes: vec![Outcome::Unknown; parcels.len()], exchange: "" }
    }

    /// Takes one confirm into the account, and the returned message that may come with it.
    fn take(&mut self, place: usize, confirm: Confirmation, name_header: &str) {
        let (outcome, returned) = match confirm {
            Confirmation::Ack(returned) => (Outcome::Confirmed, returned),
            Confirmation::Nack(returned) => (Outcome::Nacked, returned),
            Confirmation::NotRequested => (Outcome::Unknown, None),
        };
        // A message known to be returned is confirmed as well: that it was returned is what counts.
        if !matches!(self.outcomes[place], Outcome::Returned { .. }) {
            self.outcomes[place] = outcome;
        }
        let Some(returned) = returned else { return };
        let place = name_of(&returned, name_header).and_then(|name| self.places.get(name)).copied();
        let reason = format!("{} {}", returned.reply_code, returned.reply_text);
        match place {
            Some(place) => self.outcomes[place] = Outcome::Returned { reason },
            None => tracing::debug!(reason, "a message that was not of this batch was returned"),
        }
    }
}

fn durable_exchange() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { passive: false, durable: true, auto_delete: false, internal: false, nowait: false }
}

/// RabbitMQ's default for `max_message_size`: 128 MiB, and 16 MiB from 4.0 on.
fn body_bytes_max(version: &str) -> u64 {
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_some_and(|major| major >= 4) { 16 << 20 } else { 128 << 20 }
}

fn name_of<'m>(returned: &'m BasicReturnMessage, name_header: &str) -> Option<&'m str> {
    match returned.delivery.properties.headers().as_ref()?.inner().get(name_header)? {
        AMQPValue::LongString(name) => std::str::from_utf8(name.as_bytes()).ok(),
        _ => None,
    }
}
