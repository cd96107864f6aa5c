//! Looking at the messages at the head of a queue, of which none is taken.

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions};
use tokio::time::timeout;

use super::connect::{Link, request_error};
use super::rabbit::{message_of, queue_name};
use super::{ConnectError, Glance};
use crate::event::Message;

/// Asks for one message after the other, then gives all back. What fails closes the connection, and so gives back, too.
pub(super) async fn peek(link: Link, glance: &Glance, patience: Duration) -> Result<Vec<Message>, ConnectError> {
    let queue = queue_name(&link, &glance.queue)?;
    let refused = |error| request_error(&link.broker, &glance.queue, &error);
    let slow = |what: &str| ConnectError::Unavailable {
        broker: link.broker.clone(),
        reason: format!("{what} not done within {patience:?}"),
    };
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while messages.len() < glance.messages_max && bytes < glance.bytes_max {
        let asked = link.channel.basic_get(queue.clone(), BasicGetOptions { no_ack: false });
        let got = timeout(patience, asked).await.map_err(|_| slow("basic.get"))?.map_err(refused)?;
        let Some(got) = got else { break };
        let note = link.notes.take_through(got.delivery.delivery_tag).pop_back();
        bytes += got.delivery.data.len();
        messages.push(message_of(got.delivery, note));
    }
    let give_back = async {
        // Tag 0 stands for all that is outstanding (AMQP 0-9-1 reference, basic.nack).
        link.channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true }).await?;
        // The answer to this comes after what was written before it was acted on.
        link.channel.close(200, "done".into()).await
    };
    timeout(patience, give_back).await.map_err(|_| slow("basic.nack"))?.map_err(refused)?;
    let closed = timeout(patience, link.connection.close(200, "done".into())).await;
    tracing::debug!(broker = %link.broker, queue = %glance.queue, looked_at = messages.len(), ?closed, "glance ended");
    Ok(messages)
}
