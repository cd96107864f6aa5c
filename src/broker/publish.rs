//! Publishing with confirms, on a connection of its own.

pub mod batch; // with an outcome for each message

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Confirmation, ErrorKind, PublisherConfirm};
use tokio::time::timeout;

use super::connect::{Brokers, Link, request_error};
use super::properties::{TooLong, short, to_amqp};
use super::rabbit::{declare_queue, queue_name};
use super::{ConnectError, Surroundings};
use crate::config::{Declare, RabbitMq};
use crate::event::Message;

/// How a publisher behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherLimits {
    /// Messages that may await their confirm at once.
    pub in_flight_max: usize,
    /// Longest wait for one confirm. A broker in a memory or disk alarm takes nothing for as long as that lasts.
    pub confirm_timeout: Duration,
}

impl Default for PublisherLimits {
    fn default() -> Self {
        Self { in_flight_max: 2000, confirm_timeout: Duration::from_secs(60) }
    }
}

/// What became of the messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Handed to the broker.
    pub sent: u64,
    /// The broker has taken them over; with those it then returned.
    pub confirmed: u64,
    /// No queue was bound for them.
    pub returned: u64,
    /// The broker could not keep them.
    pub nacked: u64,
}

/// Why not all messages are with the broker. Those that [`Publisher::published`] does not count as confirmed may or may
/// not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message cannot be sent as it is; nothing was.
    #[error("message cannot be published: {0}")]
    Unsendable(#[from] TooLong),
    /// Nothing is bound there. Messages in flight may be told apart only by the returned one's exchange and key.
    #[error("no queue takes messages of exchange `{exchange}` with routing key `{routing_key}` ({reason}); bind one")]
    Unroutable { exchange: String, routing_key: String, reason: String },
    /// The broker could not keep a message (a queue that is full and rejects, or its own trouble). Try again later.
    #[error(
        "broker {broker} rejected a message for exchange `{exchange}`: the queue is full, or the broker in trouble"
    )]
    Rejected { broker: String, exchange: String },
    /// The broker does not allow it. A person must act.
    #[error("broker {broker} refused to publish to exchange `{exchange}`: {reason}")]
    Refused { broker: String, exchange: String, reason: String },
    /// The connection is gone, or the broker takes nothing. Connect again and publish what is not confirmed.
    #[error("broker {broker} lost while publishing: {reason}")]
    Lost { broker: String, reason: String },
}

/// Sends messages one after another, and keeps account of what the broker has confirmed.
pub struct Publisher {
    link: Link,
    limits: PublisherLimits,
    close_timeout: Duration,
    in_flight: VecDeque<PublisherConfirm>,
    published: Published,
    /// The exchange of the last message, for errors that do not name it.
    exchange: String,
}

impl Publisher {
    /// Connects. `name` is what operators see as the connection's name.
    pub async fn connect(
        config: &RabbitMq,
        surroundings: Surroundings,
        name: &str,
        limits: PublisherLimits,
    ) -> Result<Self, ConnectError> {
        let link = with_confirms(config, Brokers::new(config, surroundings)?.connect(name).await?).await?;
        let in_flight = VecDeque::with_capacity(limits.in_flight_max);
        let close_timeout = config.connect_timeout;
        Ok(Self { link, limits, close_timeout, in_flight, published: Published::default(), exchange: String::new() })
    }

    /// Makes the durable queue and binds it, as a pipeline with `declare = true` does.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]: another queue of that name is there, or the user may not.
    pub async fn declare(&mut self, queue: &str, declare: &Declare) -> Result<(), ConnectError> {
        let name = queue_name(&self.link, queue)?;
        declare_queue(&self.link, &name, declare).await
    }

    /// Sends `message` with its properties exactly as they are, and waits only while the window is full.
    ///
    /// The exchange and routing key that `message` came with are not looked at.
    ///
    /// # Errors
    /// Any trouble so far, also with an earlier message. Afterwards only [`Publisher::published`] is of use, except
    /// after [`PublishError::Unsendable`].
    pub async fn publish(&mut self, exchange: &str, routing_key: &str, message: &Message) -> Result<(), PublishError> {
        let exchange_name = short("the exchange", exchange)?;
        let key = short("the routing key", routing_key)?;
        let properties = to_amqp(&message.properties)?;
        self.exchange.clear();
        self.exchange.push_str(exchange);
        while let Some(confirm) = self.in_flight.front_mut().and_then(|confirm| confirm.now_or_never()) {
            self.in_flight.pop_front();
            self.confirm(confirm)?;
        }
        while self.in_flight.len() >= self.limits.in_flight_max {
            self.await_oldest().await?;
        }
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sending = self.link.channel.basic_publish(exchange_name, key, options, &message.body, properties);
        let sent = match timeout(self.limits.confirm_timeout, sending).await {
            Ok(sent) => sent.map_err(|error| self.failure(&error))?,
            Err(_) => return Err(self.too_slow()),
        };
        self.in_flight.push_back(sent);
        self.published.sent += 1;
        Ok(())
    }

    /// Waits until the broker has answered for every message sent.
    pub async fn finish(&mut self) -> Result<Published, PublishError> {
        while !self.in_flight.is_empty() {
            self.await_oldest().await?;
        }
        Ok(self.published)
    }

    /// What became of the messages so far.
    pub fn published(&self) -> Published {
        self.published
    }

    /// Closes the connection, within a bounded time.
    pub async fn close(self) {
        let closed = timeout(self.close_timeout, self.link.connection.close(200, "done".into())).await;
        tracing::debug!(broker = %self.link.broker, ?closed, "publisher closed");
    }

    async fn await_oldest(&mut self) -> Result<(), PublishError> {
        let Some(oldest) = self.in_flight.front_mut() else { return Ok(()) };
        match timeout(self.limits.confirm_timeout, oldest).await {
            Ok(confirm) => {
                self.in_flight.pop_front();
                self.confirm(confirm)
            }
            Err(_) => Err(self.too_slow()),
        }
    }

    /// Takes one confirm into the account. A returned message may come with the confirm of another.
    fn confirm(&mut self, confirm: lapin::Result<Confirmation>) -> Result<(), PublishError> {
        let confirm = confirm.map_err(|error| self.failure(&error))?;
        let (taken, returned) = match confirm {
            Confirmation::Ack(returned) => (true, returned),
            Confirmation::Nack(returned) => (false, returned),
            Confirmation::NotRequested => (true, None),
        };
        self.published.confirmed += u64::from(taken);
        self.published.nacked += u64::from(!taken);
        match returned {
            Some(returned) => {
                self.published.returned += 1;
                Err(unroutable(&returned))
            }
            None if taken => Ok(()),
            None => Err(PublishError::Rejected { broker: self.link.broker.clone(), exchange: self.exchange.clone() }),
        }
    }

    fn failure(&self, error: &lapin::Error) -> PublishError {
        refused_or_lost(&self.link.broker, &self.exchange, error)
    }

    fn too_slow(&self) -> PublishError {
        let blocked = if self.link.connection.status().blocked() {
            " (it is in a memory or disk alarm, and takes nothing from publishers)"
        } else {
            ""
        };
        let reason = format!("no confirm within {:?}{blocked}", self.limits.confirm_timeout);
        PublishError::Lost { broker: self.link.broker.clone(), reason }
    }
}

/// Has the channel of `link` confirm.
async fn with_confirms(config: &RabbitMq, link: Link) -> Result<Link, ConnectError> {
    let options = ConfirmSelectOptions { nowait: false };
    let selected = timeout(config.connect_timeout, link.channel.confirm_select(options)).await;
    match selected {
        Ok(Ok(())) => Ok(link),
        Ok(Err(error)) => Err(request_error(&link.broker, "(none)", &error)),
        Err(_) => {
            let reason = format!("no confirms within {:?}", config.connect_timeout);
            Err(ConnectError::Unavailable { broker: link.broker, reason })
        }
    }
}

fn refused_or_lost(broker: &str, exchange: &str, error: &lapin::Error) -> PublishError {
    let broker = broker.to_owned();
    match error.kind() {
        ErrorKind::ProtocolError(refusal) if refusal.get_id() != 320 => PublishError::Refused {
            broker,
            exchange: exchange.to_owned(),
            reason: format!("{} {}", refusal.get_id(), refusal.get_message()),
        },
        _ => PublishError::Lost { broker, reason: error.to_string() },
    }
}

fn unroutable(returned: &BasicReturnMessage) -> PublishError {
    PublishError::Unroutable {
        exchange: returned.delivery.exchange.to_string(),
        routing_key: returned.delivery.routing_key.to_string(),
        reason: format!("{} {}", returned.reply_code, returned.reply_text),
    }
}
