//! `parqueduct publish`: lines of files to RabbitMQ, with confirms; for trying schemas and for load.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::Instant;

use crate::app;
use crate::broker::publish::{Publisher, PublisherLimits};
use crate::config::Config;
use crate::event::{Message, Properties};

/// Lines handed from the reading thread at once.
const LINES_PER_BATCH: usize = 1000;

/// RabbitMQ 3's own limit of a message; that of 4 is lower, and configurable.
const LINE_BYTES_MAX: u64 = 128 << 20;

#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    pub config: super::ConfigArgs,
    /// The exchange; empty for the default one, which routes by queue name
    #[arg(long, value_name = "NAME")]
    exchange: String,
    #[arg(long, value_name = "KEY")]
    routing_key: String,
    /// Messages a second at most
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// The content type of the messages
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// Messages that may await their confirm at once
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Files of newline-delimited events, plain, gzip or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub async fn run(config: Config, args: PublishArgs) -> anyhow::Result<()> {
    let limits = PublisherLimits { in_flight_max: args.in_flight.into(), ..PublisherLimits::default() };
    let mut publisher =
        Publisher::connect(&config.rabbitmq, app::broker_surroundings(), "parqueduct publish", limits).await?;
    // The queues to publish to may exist only because a pipeline declares them.
    for pipeline in &config.pipelines {
        if let Some(declare) = &pipeline.declare {
            publisher.declare(&pipeline.queue, declare).await?;
        }
    }
    let mut pace = Pace::new(args.rate);
    let mut template = Message {
        properties: Properties {
            content_type: Some(args.content_type.clone()),
            delivery_mode: Some(2),
            ..Properties::default()
        }
        .into(),
        ..Message::default()
    };
    for file in &args.files {
        let (batches_tx, mut batches) = tokio::sync::mpsc::channel(4);
        let path = file.clone();
        let reading = tokio::task::spawn_blocking(move || read_lines(&path, &batches_tx));
        while let Some(lines) = batches.recv().await {
            for line in lines {
                pace.wait().await;
                template.body = line;
                let sent = publisher.publish(&args.exchange, &args.routing_key, &template).await;
                sent.with_context(|| format!("{} messages were confirmed before", publisher.published().confirmed))?;
            }
        }
        reading.await?.with_context(|| format!("{}: cannot be read", file.display()))?;
    }
    let published = publisher.finish().await;
    let confirmed = publisher.published().confirmed;
    published.with_context(|| format!("{confirmed} messages were confirmed before"))?;
    publisher.close().await;
    super::print(&format!("published and confirmed: {confirmed}\n"));
    Ok(())
}

/// Sends the lines that are not blank to `batches`; ends early when nobody listens any more.
fn read_lines(path: &std::path::Path, batches: &tokio::sync::mpsc::Sender<Vec<Vec<u8>>>) -> std::io::Result<()> {
    let mut input = app::open_lines(path, false)?;
    let mut lines = Vec::with_capacity(LINES_PER_BATCH);
    loop {
        let mut line = Vec::new();
        let read = Read::take(&mut input.reader, LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
        if read as u64 > LINE_BYTES_MAX {
            return Err(std::io::Error::other("a line is longer than any message RabbitMQ takes"));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        if !line.trim_ascii().is_empty() {
            lines.push(line);
        }
        if lines.len() == LINES_PER_BATCH || (read == 0 && !lines.is_empty()) {
            let batch = std::mem::replace(&mut lines, Vec::with_capacity(LINES_PER_BATCH));
            if batches.blocking_send(batch).is_err() {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// Keeps to a rate by the schedule, so that a slow moment is made up for.
struct Pace {
    interval: Option<Duration>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let interval = rate.filter(|&rate| rate > 0).map(|rate| Duration::from_secs(1) / rate);
        Self { interval, next: Instant::now() }
    }

    async fn wait(&mut self) {
        let Some(interval) = self.interval else { return };
        // Sleeps are a millisecond coarse: sleep only once that much is due.
        if self.next > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(self.next).await;
        }
        self.next += interval;
    }
}
