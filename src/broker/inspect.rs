//! What `check --connect` asks of the brokers: are they there, is the queue there, may we read it? Nothing is made and
//! no message is taken.

use lapin::ErrorKind;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::time::timeout;

use super::connect::{Brokers, Link, request_error};
use super::properties::short;
use super::{ConnectError, Surroundings};
use crate::config::RabbitMq;

/// What one broker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Host, port and virtual host.
    pub broker: String,
    pub outcome: Result<Findings, ConnectError>,
}

/// What a broker that took the connection told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Such as `RabbitMQ`.
    pub product: Option<String>,
    pub version: Option<String>,
    /// One for each queue asked about, in order.
    pub queues: Vec<QueueFindings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFindings {
    pub queue: String,
    pub existence: Existence,
    /// Whether a consumer may be opened on it; `Err` says why not and what to do. `None`: not tried.
    pub readable: Option<Result<(), ConnectError>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existence {
    /// Messages waiting (without those held by consumers), and consumers.
    Present {
        messages: u32,
        consumers: u32,
    },
    Absent,
    /// The user may not ask (RabbitMQ 4.2.6 and 4.3.0 want configure permission for it), or another connection owns it.
    Hidden {
        reason: String,
    },
}

/// Asks every configured broker about `queues`.
///
/// With `consume`, a consumer with a window of one is opened on each queue that exists and cancelled at once, to learn
/// whether it may be read: a message may go out and come back, and is then marked as redelivered.
///
/// # Errors
/// [`ConnectError::Refused`]: a configured URI is none. What a broker refuses is in its [`Inspection`].
pub async fn inspect(
    config: &RabbitMq,
    surroundings: Surroundings,
    queues: &[String],
    consume: bool,
) -> Result<Vec<Inspection>, ConnectError> {
    let brokers = Brokers::new(config, surroundings)?;
    let mut inspections = Vec::new();
    for (broker, link) in brokers.greet("parqueduct check").await {
        let outcome = match link {
            Err(error) => Err(error),
            Ok((link, greeting)) => {
                let asked = timeout(brokers.connect_timeout, ask_all(&link, queues, consume)).await;
                let closed = timeout(brokers.connect_timeout, link.connection.close(200, "done".into())).await;
                tracing::debug!(%broker, ?closed, "inspection closed");
                asked.unwrap_or_else(|_| Err(slow(&brokers, &broker))).map(|queues| Findings {
                    product: greeting.product,
                    version: greeting.version,
                    queues,
                })
            }
        };
        inspections.push(Inspection { broker, outcome });
    }
    Ok(inspections)
}

fn slow(brokers: &Brokers, broker: &str) -> ConnectError {
    let reason = format!("no answer about the queues within {:?}", brokers.connect_timeout);
    ConnectError::Unavailable { broker: broker.to_owned(), reason }
}

async fn ask_all(link: &Link, queues: &[String], consume: bool) -> Result<Vec<QueueFindings>, ConnectError> {
    let mut findings = Vec::new();
    for queue in queues {
        let name = short("the name of the queue", queue).map_err(|error| ConnectError::Refused {
            broker: link.broker.clone(),
            reason: error.to_string(),
            mend: "choose a shorter one".into(),
        })?;
        let existence = existence(link, queue, &name).await?;
        let readable = match existence {
            Existence::Absent => None,
            _ if !consume => None,
            _ => Some(readable(link, queue, name).await),
        };
        findings.push(QueueFindings { queue: queue.clone(), existence, readable });
    }
    Ok(findings)
}

/// A refusal closes the channel: each question has one of its own.
pub(super) async fn existence(link: &Link, queue: &str, name: &ShortString) -> Result<Existence, ConnectError> {
    let refused = |error| request_error(&link.broker, queue, &error);
    let channel = link.connection.create_channel().await.map_err(refused)?;
    let options =
        QueueDeclareOptions { passive: true, durable: false, exclusive: false, auto_delete: false, nowait: false };
    match channel.queue_declare(name.clone(), options, FieldTable::default()).await {
        Ok(found) => Ok(Existence::Present { messages: found.message_count(), consumers: found.consumer_count() }),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(refusal) if refusal.get_id() == 404 => Ok(Existence::Absent),
            ErrorKind::ProtocolError(refusal) if matches!(refusal.get_id(), 403 | 405) => {
                Ok(Existence::Hidden { reason: refusal.get_message().to_string() })
            }
            _ => Err(refused(error)),
        },
    }
}

async fn readable(link: &Link, queue: &str, name: ShortString) -> Result<(), ConnectError> {
    let refused = |error| request_error(&link.broker, queue, &error);
    let channel = link.connection.create_channel().await.map_err(refused)?;
    channel.basic_qos(1, BasicQosOptions { global: false }).await.map_err(refused)?;
    let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: false, nowait: false };
    channel.basic_consume(name, ShortString::default(), options, FieldTable::default()).await.map_err(refused)?;
    channel.close(200, "done".into()).await.map_err(refused)
}
