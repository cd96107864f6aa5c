//! The first revision of a learned schema: the first events of the queue are held, unacked, until they are enough; what
//! they have becomes the schema, and they are the first that are judged by it.
//!
//! So nothing is given back, flagged or counted only because it was looked at. When the connection, the store or the process
//! ends meanwhile, what is held is back in the queue, and the next attempt begins anew.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use super::{Revision, Revisions};
use crate::broker::{Backoff, Broker, Ended, Intake, Settler, Subscription};
use crate::config::{self, Infer};
use crate::decode::{Decoder, Limits, Wire};
use crate::event::Delivery;
use crate::ingest::Surroundings;
use crate::ingest::commit::{await_store, chain};
use crate::ingest::judge::opened;
use crate::ingest::shard::{Stop, due, give_back, join};
use crate::metrics::{Learning, Metrics, PipelineMetrics};
use crate::schema::infer::{self, Learner};

/// How often it is looked, while events are waited for, whether another process has learned the schema.
const LOOK: Duration = Duration::from_secs(2);

/// What is looked at of the first events.
const LIMITS: infer::Limits = infer::Limits::for_columns(50_000);

/// What a first schema is learned with.
pub struct Lesson {
    pub config: config::Pipeline,
    pub infer: Infer,
    pub instance: String,
    pub revisions: Revisions,
    pub surroundings: Surroundings,
    /// Those of the process, which tell whether the store takes writes.
    pub all_metrics: Arc<Metrics>,
    pub metrics: Arc<PipelineMetrics>,
    pub broker: Arc<dyn Broker>,
    /// Bounds of the wait between attempts to connect, and to reach the store.
    pub reconnect: (Duration, Duration),
    /// How long events are held while the store is away.
    pub hold_max: Duration,
}

/// A schema that was learned, here or elsewhere.
pub struct Learned {
    pub revision: Revision,
    /// What is held, if it was waited for events: they are to be judged by it.
    pub held: Option<Held>,
}

/// Events that are held, on a subscription of their own.
pub struct Held {
    intake: Box<dyn Intake>,
    settler: Box<dyn Settler>,
    deliveries: Vec<Delivery>,
    /// How long they may be, once they are enough.
    until: Option<Instant>,
    /// Those of the pipeline, whose first shard shows what is held.
    metrics: Arc<PipelineMetrics>,
}

/// Why events are to be held no longer.
pub enum Over {
    TimeIsUp,
    /// They are in the queue again.
    Ended(Ended),
}

/// Why nothing was learned: what is held goes back.
enum Failure {
    Stopped,
    /// The store does not take what was learned. Try again.
    Unwritten,
    /// The consumer ended. Try again.
    Lost(Ended),
}

/// The newest revision of the schema; when there is none, learns the first. `None`: asked to stop.
pub async fn learn(lesson: &Lesson, stop: &Stop) -> Option<Learned> {
    let pipeline = &lesson.config.name;
    let mut backoff = lesson.surroundings.backoff(lesson.reconnect);
    loop {
        let wait = match lesson.revisions.newest().await {
            Ok(Some(revision)) => return Some(Learned { revision, held: None }),
            Ok(None) => lesson.attempt(stop, &mut backoff).await?,
            Err(error) => {
                let wait = backoff.next_wait();
                warn!(%pipeline, error = chain(&error), ?wait, "the store cannot be read: no delivery is taken yet");
                Err(wait)
            }
        };
        match wait {
            Ok(learned) => return Some(learned),
            Err(wait) => tokio::select! {
                () = stop.drain.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            },
        }
    }
}

impl Lesson {
    /// Learns, or tells how long to wait until that is tried again; `None`: asked to stop.
    async fn attempt(&self, stop: &Stop, backoff: &mut Backoff) -> Option<Result<Learned, Duration>> {
        let pipeline = &self.config.name;
        // What is learned is written down before events are settled: each that is taken in vain is delivered once more.
        let (store, metrics) = (&self.revisions.store, &self.all_metrics);
        await_store(store, metrics, &self.surroundings, self.reconnect, stop).await?;
        let subscription = Subscription {
            queue: self.config.queue.clone(),
            prefetch: self.window(),
            declare: self.config.declare.clone(),
            name: format!("parqueduct {pipeline}/0 of {}", self.instance),
        };
        let connected = tokio::select! {
            () = stop.drain.cancelled() => return None,
            connected = self.broker.consume(&subscription) => connected,
        };
        let (intake, settler) = match connected {
            Ok(halves) => halves,
            Err(failure) if failure.needs_a_person() => {
                error!(%pipeline, error = chain(&failure), "the broker refuses: a person must act; trying again");
                return Some(Err(backoff.next_slow_wait()));
            }
            Err(failure) => {
                warn!(%pipeline, error = chain(&failure), "cannot connect, trying again");
                return Some(Err(backoff.next_wait()));
            }
        };
        info!(%pipeline, queue = %self.config.queue, events = self.window(), patience = ?self.infer.patience, "consuming: the schema is learned of the first events");
        self.metrics.shards[0].set_connected(true);
        let metrics = Arc::clone(&self.metrics);
        let mut held = Held { intake, settler, deliveries: Vec::new(), until: None, metrics };
        let failure = match self.attend(&mut held, stop).await {
            Ok(revision) => return Some(Ok(Learned { revision, held: Some(held) })),
            Err(failure) => failure,
        };
        held.give_back().await;
        match failure {
            Failure::Stopped => None,
            Failure::Unwritten => Some(Err(backoff.next_wait())),
            Failure::Lost(ended) => {
                self.metrics.broker_reconnects.inc();
                if ended.needs_a_person() {
                    error!(%pipeline, reason = %ended, "the broker ended the consumer: a person must act; what it held is back in the queue, trying again");
                    return Some(Err(backoff.next_slow_wait()));
                }
                warn!(%pipeline, reason = %ended, "the consumer ended before the schema was learned: what it held is back in the queue, connecting again");
                Some(Err(backoff.next_wait()))
            }
        }
    }

    /// Events that are waited for.
    fn window(&self) -> u16 {
        u16::try_from(self.infer.events).unwrap_or(u16::MAX).min(self.config.prefetch)
    }

    /// Waits until events are enough, and learns of them; or until another process has learned of others.
    async fn attend(&self, held: &mut Held, stop: &Stop) -> Result<Revision, Failure> {
        let wanted = usize::from(self.window());
        let (mut deadline, mut bytes) = (None, 0);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let events = held.deliveries.len() as u64;
            let patience = self.infer.patience;
            self.metrics.set_learning(Learning::Waits { events, wanted: wanted as u64, patience });
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_late || held.deliveries.len() >= wanted || bytes >= self.config.flush.bytes {
                return self.conclude(held, stop).await;
            }
            let left = wanted - held.deliveries.len();
            tokio::select! {
                biased;
                () = stop.drain.cancelled() => return Err(Failure::Stopped),
                () = due(deadline) => {}
                taken = held.intake.next(left) => match taken {
                    Ok(deliveries) => {
                        deadline.get_or_insert(Instant::now() + self.infer.patience);
                        bytes += deliveries.iter().map(Delivery::size).sum::<usize>();
                        held.deliveries.extend(deliveries);
                        self.metrics.shards[0].set_oldest_unacked(held.deliveries.first().map(|first| first.received_at));
                    }
                    // The channel stands, and a queue that was deleted does not take them back.
                    Err(Ended::Cancelled { .. }) if !held.deliveries.is_empty() => return self.conclude(held, stop).await,
                    Err(ended) => return Err(Failure::Lost(ended)),
                },
                _ = looks.tick() => match self.revisions.newest().await {
                    Ok(Some(revision)) => {
                        held.until = Some(Instant::now() + self.hold_max);
                        return Ok(revision);
                    }
                    Ok(None) => {}
                    Err(error) => debug!(pipeline = %self.config.name, error = chain(&error), "whether the schema is known cannot be told"),
                },
            }
        }
    }

    /// Learns of what is held, and writes that down, unless somebody else did; the revision that is used then.
    async fn conclude(&self, held: &mut Held, stop: &Stop) -> Result<Revision, Failure> {
        let pipeline = &self.config.name;
        let until = *held.until.insert(Instant::now() + self.hold_max);
        let First { mut schema, samples, left_out, is_too_wide } = self.first_of(held).await;
        let unreadable = held.deliveries.len() as u64 - samples;
        if samples == 0 {
            warn!(%pipeline, unreadable, "none of the first events can be read: the learned schema has no columns until later ones have fields");
        }
        let mut limit = String::new();
        if is_too_wide {
            warn!(%pipeline, events = samples, "events have more than {} names: the learned schema has no columns, and all is kept in _extra", LIMITS.names_max);
            limit = format!("; they have more than {} names, so none is a column", LIMITS.names_max);
        }
        for name in left_out {
            warn!(%pipeline, path = %name, "a field cannot be a column beside the others: it is kept in _extra");
        }
        let (by, at) = (&self.instance, (self.surroundings.now)().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        schema["$comment"] = json!(format!("revision 1, learned of {samples} events by {by} at {at}{limit}"));
        let revision = Revision { number: 1, text: Bytes::from(format!("{schema:#}\n")) };
        let mut backoff = self.surroundings.backoff(self.reconnect);
        loop {
            let written = async {
                let is_ours = self.revisions.create(&revision).await?;
                Ok::<_, crate::store::StoreError>((is_ours, self.revisions.newest().await?))
            };
            let error = tokio::select! {
                biased;
                () = stop.drain.cancelled() => return Err(Failure::Stopped),
                ended = held.intake.lost() => return Err(Failure::Lost(ended)),
                written = written => match written {
                    Ok((is_ours, Some(newest))) => {
                        self.all_metrics.set_store_up(true);
                        let (path, events) = (self.revisions.path(newest.number), held.events());
                        match is_ours {
                            true => info!(%pipeline, path, events, unreadable, "the schema is learned: `parqueduct schema learned` shows it"),
                            false => info!(%pipeline, path, "another process has learned the schema: that one is used"),
                        }
                        return Ok(newest);
                    }
                    Ok((_, None)) => "it is not there after it was written".to_owned(),
                    Err(error) => chain(&error),
                },
            };
            self.all_metrics.set_store_up(false);
            let wait = backoff.next_wait();
            if Instant::now() + wait > until {
                warn!(%pipeline, error, "the learned schema could not be written: what is held goes back to the queue, trying again");
                return Err(Failure::Unwritten);
            }
            warn!(%pipeline, error, ?wait, "the learned schema cannot be written: events are held, trying again");
            tokio::select! {
                biased;
                () = stop.drain.cancelled() => return Err(Failure::Stopped),
                ended = held.intake.lost() => return Err(Failure::Lost(ended)),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// What is learned of what is held.
    async fn first_of(&self, held: &mut Held) -> First {
        let (config, deliveries) = (self.config.clone(), std::mem::take(&mut held.deliveries));
        let learned = tokio::task::spawn_blocking(move || (schema_of(&config, &deliveries), deliveries));
        let (first, deliveries) = join(learned).await;
        held.deliveries = deliveries;
        first
    }
}

/// What was learned of events.
pub(super) struct First {
    pub(super) schema: serde_json::Value,
    /// Of how many.
    samples: u64,
    /// Names that cannot be columns.
    left_out: Vec<String>,
    /// Whether they are too many for any to be one.
    is_too_wide: bool,
}

/// Learns of those that can be read.
pub(super) fn schema_of(config: &config::Pipeline, deliveries: &[Delivery]) -> First {
    let event = &config.events[0];
    let limits = Limits { body_bytes_max: config.body_bytes_max, depth_max: config.depth_max };
    let wire = if event.format == config::Format::Msgpack { Wire::Msgpack } else { Wire::Json };
    let decoder = || Decoder::new(&wire, limits);
    let (mut learner, mut reader, mut plain) = (Learner::new(LIMITS), decoder(), Vec::new());
    for delivery in deliveries.iter().filter(|delivery| delivery.message.unreadable.is_empty()) {
        // An event that makes the decoder panic is found when it is judged.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let body = opened(&delivery.message, config.body_bytes_max, &mut plain)?;
            reader.decode(body, |tape| learner.observe(tape.root()))
        }));
        if read.is_err() {
            (reader, plain) = (decoder(), Vec::new());
        }
    }
    let (schema, left_out) = infer::with_columns(learner.fixed(&event.schema_name));
    First { schema, samples: learner.samples(), left_out, is_too_wide: learner.is_too_wide() }
}

impl Held {
    /// How many they are.
    pub fn events(&self) -> usize {
        self.deliveries.len()
    }

    /// Waits until they may be held no longer.
    pub async fn over(&mut self) -> Over {
        tokio::select! {
            biased;
            ended = self.intake.lost() => Over::Ended(ended),
            () = due(self.until) => Over::TimeIsUp,
        }
    }

    /// Gives all back, in so many words if that goes.
    pub async fn give_back(mut self) {
        give_back(self.intake.as_mut(), self.settler.as_mut()).await;
        self.settler.close().await;
        self.metrics.shards[0].set_connected(false);
        self.metrics.shards[0].set_oldest_unacked(None);
    }

    /// The subscription, with another window, as if nobody had looked at its events.
    pub async fn resume(mut self, prefetch: u16) -> (Box<dyn Intake>, Box<dyn Settler>) {
        // What is lost is told by the next call.
        let _ = self.intake.widen(prefetch).await;
        (Box::new(Resumed { first: self.deliveries.into(), intake: self.intake }), self.settler)
    }
}

/// Hands out what was held first.
struct Resumed {
    first: VecDeque<Delivery>,
    intake: Box<dyn Intake>,
}

#[async_trait]
impl Intake for Resumed {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Ended> {
        if self.first.is_empty() {
            return self.intake.next(max).await;
        }
        let count = max.min(self.first.len());
        Ok(self.first.drain(..count).collect())
    }

    async fn lost(&mut self) -> Ended {
        self.intake.lost().await
    }

    async fn widen(&mut self, prefetch: u16) -> Result<(), Ended> {
        self.intake.widen(prefetch).await
    }

    async fn cancel(&mut self) -> Result<Vec<Delivery>, Ended> {
        let rest = self.intake.cancel().await?;
        Ok(std::mem::take(&mut self.first).into_iter().chain(rest).collect())
    }
}
