//! RabbitMQ in and back in, and an in-memory twin of it.
//!
//! A subscription lives on one connection and one channel, and dies with it: nothing reconnects behind the caller's
//! back, because delivery tags mean nothing on another channel. Its two halves are the [`Intake`], which hands
//! deliveries out, and the [`Settler`], which acks them or gives them back. Publishing ([`publish`]) has connections of
//! its own: RabbitMQ may stop reading those in an alarm, and acks must not wait behind that.
//!
//! There is no automatic recovery, no per-message ack, and, unless asked for, no declaration. `basic.get` is for a
//! [`Glance`] alone, which takes nothing.

mod backoff;
mod connect;
pub mod depth; // how many messages wait
pub mod inspect;
mod line; // the transport under the client library
mod login;
pub mod management;
pub mod memory;
pub mod mender; // frames that the client library would refuse, mended
mod peek; // what lies at the head of a queue
mod properties;
pub mod publish;
mod rabbit;
pub mod risk;
mod token;

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::config::{Declare, Secret};
use crate::event::{Delivery, Message};

pub use backoff::Backoff;
pub use properties::{TooLong, wire_bytes};
pub use rabbit::Rabbit;

/// The clock the caller lends; read once for each batch of deliveries.
pub type Clock = fn() -> DateTime<Utc>;

/// Reads the content of a file, for the caller that lends it.
pub type ReadFile = fn(&Path) -> io::Result<String>;

/// What the caller lends.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    pub now: Clock,
    /// Secrets that are files are read again when a connection is opened, off the async threads.
    pub read: ReadFile,
}

/// A secret as it is now: one that is a file is read again.
///
/// # Errors
/// Which file cannot be read, and why.
async fn fresh(secret: &Secret, read: ReadFile) -> Result<String, String> {
    let Some(path) = secret.file().map(Path::to_owned) else { return Ok(secret.expose().to_owned()) };
    let file = path.clone();
    let content = tokio::task::spawn_blocking(move || read(&file)).await.map_err(io::Error::other);
    match content.flatten() {
        Ok(content) => Ok(Secret::of_file(path, &content).expose().to_owned()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// What to consume, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub queue: String,
    /// Unacked deliveries the broker may send ahead, at least 1.
    pub prefetch: u16,
    /// `Some`: make the queue and bind it first. `None`: only read permission on the queue is needed.
    pub declare: Option<Declare>,
    /// What operators see as the connection's name, such as `parqueduct flights/0`.
    pub name: String,
}

/// What to look at without taking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    pub queue: String,
    pub messages_max: usize,
    /// Of all bodies; one message more may be looked at than they allow.
    pub bytes_max: usize,
    /// As a subscription's.
    pub name: String,
}

/// Where deliveries come from.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Opens a connection and a channel of their own, and starts consuming.
    ///
    /// Delivery tags count from 1 without a gap, in the order the intake hands them out.
    async fn consume(&self, subscription: &Subscription) -> Result<(Box<dyn Intake>, Box<dyn Settler>), ConnectError>;

    /// The messages at the head of a queue, oldest first, without waiting for any. Only read permission on it is needed.
    ///
    /// All are back in their places when this returns, and when it fails, is dropped, or the process ends. They are marked as
    /// redelivered then, a queue that counts deliveries has counted one more of each, and while they are looked at
    /// consumers get those behind them.
    async fn peek(&self, glance: &Glance) -> Result<Vec<Message>, ConnectError>;
}

/// The half of a subscription that hands deliveries out.
#[async_trait]
pub trait Intake: Send {
    /// Waits for a delivery, then takes what is there, at least 1 and at most `max`.
    ///
    /// Cancel-safe: a dropped call loses no delivery. Deliveries that surface after their channel died are not handed
    /// out: they are in the queue again.
    ///
    /// # Errors
    /// [`Ended`]: there will be no further delivery; every further call says the same.
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Ended>;

    /// Waits until the channel is gone, for a caller that takes nothing meanwhile: what it holds belongs to the queue
    /// again. A cancelled consumer is no end: its channel stands, and [`Intake::next`] tells of it.
    ///
    /// Cancel-safe; what arrives meanwhile is kept for [`Intake::next`].
    async fn lost(&mut self) -> Ended;

    /// Goes on with another prefetch window; what is held, handed out or not, stays as it is, and tags go on counting.
    ///
    /// # Errors
    /// [`Ended`]: as [`Intake::next`] says from then on.
    async fn widen(&mut self, prefetch: u16) -> Result<(), Ended>;

    /// Stops the flow, and hands out what the broker had sent before it stopped: at most the prefetch window.
    ///
    /// The channel stays, for the settler: what was handed out can still be acked or given back. Afterwards
    /// [`Intake::next`] ends with [`Ended::Cancelled`].
    async fn cancel(&mut self) -> Result<Vec<Delivery>, Ended>;
}

/// The half of a subscription that settles what the other half handed out. One call at a time, by `&mut`: acks that
/// overtake each other close the channel.
///
/// An error means that the settlement is not known to have reached the broker: count it as lost, and expect the
/// deliveries again. After an error only [`Settler::close`] is of use.
#[async_trait]
pub trait Settler: Send {
    /// Acks every delivery up to and with `tag`. A tag that is acked already is no error and does nothing.
    ///
    /// `Ok` means that the ack was written, not that the broker acted on it: AMQP 0-9-1 does not confirm acks.
    ///
    /// # Panics
    /// If the intake never handed out `tag`: such an ack could settle what nobody holds.
    async fn ack_through(&mut self, tag: u64) -> Result<(), Ended>;

    /// Gives back every delivery that is not acked, also those the intake has not handed out yet. Cancel the intake
    /// first, or they come straight back.
    ///
    /// For a stop: on a queue with a delivery limit, RabbitMQ 4.3 counts a lost connection as a failed delivery, and
    /// this not.
    async fn requeue_all(&mut self) -> Result<(), Ended>;

    /// What proves that the subscription stands, to whoever writes what it handed out.
    fn standing(&self) -> Arc<dyn Standing>;

    /// Closes channel and connection, within a bounded time. What is not acked goes back to the queue.
    async fn close(self: Box<Self>);
}

/// Proves that what a subscription handed out is still its own.
#[async_trait]
pub trait Standing: Send + Sync {
    /// Makes a round trip to the broker over the channel. `Ok`: the channel lived at some time after this was called, so
    /// nothing that it handed out and that was not settled had been given to anybody else by then.
    ///
    /// # Errors
    /// [`Ended`]: the channel is gone, or gives no answer in time; others may hold the same deliveries.
    async fn confirm(&self) -> Result<(), Ended>;
}

/// Why a subscription gave no further delivery or took no further settlement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// What was held is in the queue again. Consume again after a back-off.
    #[error("connection to the broker lost: {reason}")]
    Lost { reason: String },
    /// No more deliveries, but what is held can still be settled. Settle, close, and consume again after a back-off.
    #[error(
        "consumer of queue `{queue}` cancelled (by us, or the queue was deleted, moved, or held back for too long)"
    )]
    Cancelled { queue: String },
    /// It will not go better by itself; what was held is in the queue again. Consume again slowly, and tell a person.
    #[error("subscription to queue `{queue}` ended: {reason}; {mend}")]
    Refused { queue: String, reason: String, mend: String },
    /// What was taken came from no broker, and is no longer ours to make durable.
    #[error("{reason}")]
    Withdrawn { reason: String },
}

impl Ended {
    /// Whether a person must act before another subscription can last.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Ended::Refused { .. })
    }
}

/// Why nothing could be consumed or published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// May pass by itself. Try again after a back-off.
    #[error("broker {broker} unavailable: {reason}")]
    Unavailable { broker: String, reason: String },
    /// A person must act. Try again slowly, and tell them.
    #[error("broker {broker} refused: {reason}; {mend}")]
    Refused { broker: String, reason: String, mend: String },
}

impl ConnectError {
    /// Whether a person must act before another attempt can succeed.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, ConnectError::Refused { .. })
    }
}
