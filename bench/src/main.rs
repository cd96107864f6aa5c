//! The parts of `make bench` that must not cost more than what is measured: a consumer that throws events away, a
//! publisher, and a store.
//!
//! `parqueduct-bench drain URI QUEUE EVENTS PREFETCH`, `publish URI EXCHANGE FILE TIMES`, `s3`.

mod s3;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Connection, ConnectionProperties, PublisherConfirm};

/// As the documentation of RabbitMQ advises: a few percent of the window.
const ACK_EVERY: u64 = 1000;
/// Transient: the broker need not write the message to a disk.
const DELIVERY_MODE: u8 = 1;
/// More would only wait in this process.
const IN_FLIGHT_MAX: usize = 1000;

/// Two threads, as there are in the program's own runtime on the two cores that are measured with.
#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["drain", uri, queue, events, prefetch] => drain(uri, queue, events.parse()?, prefetch.parse()?).await,
        ["publish", uri, exchange, file, times] => publish(uri, exchange, file, times.parse()?).await,
        ["s3"] => s3::serve().await,
        _ => bail!("usage: drain URI QUEUE EVENTS PREFETCH | publish URI EXCHANGE FILE TIMES | s3"),
    }
}

async fn connect(uri: &str) -> Result<Connection> {
    Connection::connect(uri, ConnectionProperties::default()).await.context("no connection to the broker")
}

/// Takes so many messages, acks them by the thousand, and looks at none.
async fn drain(uri: &str, queue: &str, events: u64, prefetch: u16) -> Result<()> {
    let connection = connect(uri).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions { no_local: false, no_ack: false, exclusive: false, nowait: false };
    let mut consumer =
        channel.basic_consume(queue.into(), ShortString::default(), options, FieldTable::default()).await?;
    let (mut received, mut bytes) = (0, 0);
    while received < events {
        // All that is there at once: one wake for a batch.
        let mut next = consumer.next().await;
        while let Some(delivery) = next {
            let delivery = delivery?;
            received += 1;
            bytes += delivery.data.len();
            if received % ACK_EVERY == 0 || received == events {
                delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
            next = if received < events { consumer.next().now_or_never().flatten() } else { None };
        }
    }
    channel.close(200, "done".into()).await?;
    connection.close(200, "done".into()).await?;
    println!("{received} events of {bytes} bytes");
    Ok(())
}

/// Sends each line of a file as a transient message, so many times over, and waits until the broker has all.
async fn publish(uri: &str, exchange: &str, file: &str, times: usize) -> Result<()> {
    let lines = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let connection = connect(uri).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default().with_delivery_mode(DELIVERY_MODE);
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
    let each = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for line in std::iter::repeat_n(each, times).flatten() {
        if in_flight.len() == IN_FLIGHT_MAX {
            confirmed(in_flight.pop_front()).await?;
        }
        in_flight
            .push_back(channel.basic_publish(exchange.into(), "".into(), options, line, properties.clone()).await?);
    }
    while !in_flight.is_empty() {
        confirmed(in_flight.pop_front()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn confirmed(next: Option<PublisherConfirm>) -> Result<()> {
    let Some(next) = next else { return Ok(()) };
    let confirmation =
        tokio::time::timeout(Duration::from_secs(60), next).await.context("the broker confirms nothing")??;
    if confirmation.is_nack() || confirmation.take_message().is_some() {
        bail!("the broker did not take a message: is a queue bound?");
    }
    Ok(())
}
