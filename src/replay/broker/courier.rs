//! Sends the letters of one job, chunk by chunk, over one connection at a time.
//!
//! A chunk is claimed in the store before its first message is sent, and what became of each letter is recorded after the
//! last confirm. What the broker does not answer for is sent again, with the same id and attempt: at least once, never
//! lost, and a repeat can be told by its headers.

use std::collections::HashMap;

use tracing::warn;
use ulid::Ulid;

use super::chunks::{ChunkError, Chunks, Fate, Progress};
use super::preflight::{Address, Limits, Outgoing, Unfit, home_address, prepare};
use crate::broker::management::routes::Routes;
use crate::broker::publish::batch::{BatchPublisher, Parcel};
use crate::broker::publish::{PublishError, PublisherLimits};
use crate::broker::{Backoff, ConnectError, Surroundings};
use crate::config::{RabbitMq, Secret};
use crate::dlq::lineage;
use crate::dlq::record::DeadLetter;
use crate::event::{HeaderValue, Message};
use crate::replay::destination::{Destination, Sending};
use crate::store::Store;

/// Letters of a chunk at most: what is sent again, at worst, after a crash.
pub const CHUNK_LETTERS_MAX: usize = 1_000;

/// What a courier works with.
#[derive(Clone)]
pub struct CourierParts {
    /// The configured broker; of another one only its URI is taken.
    pub rabbitmq: RabbitMq,
    pub surroundings: Surroundings,
    pub store: Store,
    pub publisher: PublisherLimits,
    /// How often a chunk is tried again that the broker did not answer for or did not take, before its letters are owed.
    pub retries_max: u32,
    /// Between two tries.
    pub backoff: Backoff,
}

/// Which job sends what where.
#[derive(Clone, Debug)]
pub struct Errand {
    pub job: Ulid,
    /// New for each process that goes on with the job.
    pub run: Ulid,
    /// One with a broker.
    pub destination: Destination,
    pub sending: Sending,
    /// The URI of another broker, if the destination names one.
    pub uri: Option<Secret>,
}

/// A letter to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub letter: &'a DeadLetter,
    /// The letter's own, or what a fix made of it; or why it must not be sent.
    pub message: Result<&'a Message, &'a Unfit>,
    pub attempt: u32,
}

/// Why a job cannot go on. What was claimed and not recorded is owed when it goes on again.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the URI of the other broker cannot be read from {path}")]
    Uri { path: String, source: std::io::Error },
}

/// See the module.
pub struct Courier {
    parts: CourierParts,
    errand: Errand,
    chunks: Chunks,
    line: Option<BatchPublisher>,
    /// By queue: why no letter can be sent to it, if so.
    detours: HashMap<String, Option<Unfit>>,
    /// By exchange: whether it is there.
    exchanges: HashMap<String, bool>,
    routes: Routes,
}

impl Courier {
    /// Reads how far the job is, and connects.
    ///
    /// # Errors
    /// [`CourierError`]: the store does not answer, or the broker does not take us.
    ///
    /// # Panics
    /// If the destination needs no broker.
    pub async fn begin(mut parts: CourierParts, errand: Errand) -> Result<(Self, Progress), CourierError> {
        assert!(errand.destination.is_broker(), "a courier goes to a broker");
        if let Some(uri) = &errand.uri {
            // User, password, tokens and the management API are those of the configured one.
            let RabbitMq { username, password, oauth2, management, .. } = &mut parts.rabbitmq;
            (*username, *password, *oauth2, *management) = (None, None, None, None);
            parts.rabbitmq.uris = vec![uri.clone()];
        }
        let (chunks, progress) = Chunks::open(&parts.store, errand.job, errand.run).await?;
        let routes = Routes::new(parts.rabbitmq.clone(), parts.surroundings);
        let (detours, exchanges) = (HashMap::new(), HashMap::new());
        let mut courier = Self { parts, errand, chunks, line: None, detours, exchanges, routes };
        courier.connect().await?;
        Ok((courier, progress))
    }

    /// Sends `letters`, which become one chunk, and tells what became of each, in order.
    ///
    /// Letters whose fate is owed ([`Fate::is_owed`]) are to be given again; a job that gets such is best halted. Dropping
    /// the call leaves the chunk claimed: its letters are owed when the job goes on.
    ///
    /// # Errors
    /// [`CourierError`]: the store does not answer, or another process works on the job.
    ///
    /// # Panics
    /// If there are more than [`CHUNK_LETTERS_MAX`].
    pub async fn send(&mut self, letters: &[Letter<'_>]) -> Result<Vec<Fate>, CourierError> {
        assert!(letters.len() <= CHUNK_LETTERS_MAX, "a chunk is what may be sent again");
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let chunk = self.chunks.claim(letters.iter().map(|letter| (letter.letter.id, letter.attempt))).await?;
        let mut fates = vec![Fate::Unknown; letters.len()];
        self.deliver(letters, &mut fates).await;
        let ids = letters.iter().map(|letter| letter.letter.id);
        self.chunks.sent(chunk, ids.zip(&fates)).await?;
        Ok(fates)
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Some(line) = self.line {
            line.close().await;
        }
    }

    /// Tries until nothing is owed, or as often as it may without getting further.
    async fn deliver(&mut self, letters: &[Letter<'_>], fates: &mut [Fate]) {
        let owed = |fates: &[Fate]| fates.iter().filter(|fate| fate.is_owed()).count();
        let mut backoff = self.parts.backoff.clone();
        // After a message that the broker refuses, and the whole channel with it, one at a time tells which it is.
        let mut singly = false;
        let mut in_vain = 0;
        loop {
            let before = owed(fates);
            let trouble = match self.connect().await {
                Ok(()) => self.deliver_once(letters, fates, singly).await,
                Err(error) if error.needs_a_person() => return self.give_up(&error.to_string(), owed(fates)),
                Err(error) => Err(Trouble::Lost(error.to_string())),
            };
            let left = owed(fates);
            if left == 0 {
                return;
            }
            singly = matches!(trouble, Err(Trouble::Refused(_)));
            let reason = match trouble {
                Ok(()) => "a queue is full and rejects, or the broker is in trouble".to_owned(),
                Err(Trouble::Lost(reason) | Trouble::Refused(reason)) => reason,
            };
            if left < before {
                in_vain = 0;
                backoff.reset();
            } else {
                in_vain += 1;
            }
            if in_vain > self.parts.retries_max {
                return self.give_up(&reason, left);
            }
            let wait = backoff.next_wait();
            warn!(job = %self.errand.job, reason, left, ?wait, "messages of a replay are not with the broker: sending them again");
            tokio::time::sleep(wait).await;
        }
    }

    fn give_up(&self, reason: &str, left: usize) {
        warn!(job = %self.errand.job, reason, left, "messages of a replay are not known to be with the broker: they are owed");
    }

    /// Sends what is owed once. What the broker answered for is in `fates`, whatever the outcome.
    async fn deliver_once(&mut self, letters: &[Letter<'_>], fates: &mut [Fate], singly: bool) -> Result<(), Trouble> {
        let mut ready: Vec<(usize, String, Outgoing)> = Vec::new();
        for (place, letter) in letters.iter().enumerate() {
            if !fates[place].is_owed() {
                continue;
            }
            match self.prepare(letter).await? {
                Ok(message) => ready.push((place, letter.letter.id.to_string(), message)),
                Err(unfit) => fates[place] = Fate::of_unfit(&unfit),
            }
        }
        let size = if singly { 1 } else { ready.len().max(1) };
        for part in ready.chunks(size) {
            let line = self.line.as_mut().ok_or_else(|| Trouble::Lost("the connection is closed".to_owned()))?;
            let parcels: Vec<_> = part.iter().map(|(_, name, message)| parcel(name, message)).collect();
            let sent = line.send(&parcels).await;
            for ((place, ..), outcome) in part.iter().zip(sent.outcomes) {
                fates[*place] = Fate::of_outcome(outcome);
            }
            let Some(trouble) = sent.trouble else { continue };
            self.line = None;
            let PublishError::Refused { reason, .. } = &trouble else {
                return Err(Trouble::Lost(trouble.to_string()));
            };
            if let [(place, ..)] = part {
                fates[*place] = Fate::Unfit { code: "replay.refused".to_owned(), reason: reason.clone() };
            }
            return Err(Trouble::Refused(trouble.to_string()));
        }
        Ok(())
    }

    /// Connects if there is no connection.
    async fn connect(&mut self) -> Result<(), ConnectError> {
        if self.line.is_some() {
            return Ok(());
        }
        let (name, limits) = (format!("parqueduct replay {}", self.errand.job), self.parts.publisher.clone());
        let CourierParts { rabbitmq, surroundings, .. } = &self.parts;
        self.line = Some(BatchPublisher::connect(rabbitmq, *surroundings, &name, limits, lineage::ID).await?);
        Ok(())
    }

    /// The message to send for `letter`, or why not.
    async fn prepare(&mut self, letter: &Letter<'_>) -> Result<Result<Outgoing, Unfit>, Trouble> {
        let message = match letter.message {
            Ok(message) => message,
            Err(unfit) => return Ok(Err(unfit.clone())),
        };
        let address = match self.address(letter.letter, message).await? {
            Ok(address) => address,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let line = self.line.as_ref().ok_or_else(|| Trouble::Lost("the connection is closed".to_owned()))?;
        let limits = Limits { frame_bytes_max: line.frame_bytes_max(), body_bytes_max: line.body_bytes_max() };
        let Letter { letter, attempt, .. } = *letter;
        Ok(prepare(letter, message, (self.errand.job, attempt), &address, &self.errand.sending, &limits))
    }

    async fn address(&mut self, letter: &DeadLetter, message: &Message) -> Result<Result<Address, Unfit>, Trouble> {
        let (home_exchange, home_key) = home_address(letter, message);
        let address = match self.errand.destination.clone() {
            Destination::Queue { queue } => {
                let queue = queue.unwrap_or_else(|| letter.home_queue().to_owned());
                if queue.is_empty() {
                    return Ok(Err(Unfit::NoOrigin));
                }
                if let Some(unfit) = self.detour(&queue).await? {
                    return Ok(Err(unfit));
                }
                Address { exchange: detour_of(&queue), routing_key: home_key.to_owned(), is_origin: false }
            }
            Destination::Exchange { exchange, routing_key, .. } => {
                let routing_key = routing_key.unwrap_or_else(|| home_key.to_owned());
                Address { exchange, routing_key, is_origin: false }
            }
            Destination::Origin { .. } if letter.home_queue().is_empty() => return Ok(Err(Unfit::NoOrigin)),
            Destination::Origin { fan_out_ok } => {
                if let Some(unfit) = self.fan_out(message, home_exchange, home_key, fan_out_ok).await {
                    return Ok(Err(unfit));
                }
                let (exchange, routing_key) = (home_exchange.to_owned(), home_key.to_owned());
                Address { exchange, routing_key, is_origin: true }
            }
            Destination::Pipeline | Destination::File { .. } => unreachable!("a courier goes to a broker"),
        };
        if !self.has_exchange(&address.exchange).await? {
            let what = format!("there is no exchange `{}`", address.exchange);
            return Ok(Err(Unfit::Gone { what }));
        }
        Ok(Ok(address))
    }

    /// Makes the way to `queue` and no other; why it cannot be made, if it cannot.
    async fn detour(&mut self, queue: &str) -> Result<Option<Unfit>, Trouble> {
        if let Some(known) = self.detours.get(queue) {
            return Ok(known.clone());
        }
        let line = self.line.as_mut().ok_or_else(|| Trouble::Lost("the connection is closed".to_owned()))?;
        match line.declare_detour(&detour_of(queue), queue).await {
            Ok(()) => {
                self.detours.insert(queue.to_owned(), None);
                self.exchanges.insert(detour_of(queue), true);
                Ok(None)
            }
            Err(error) => {
                // A refusal may have closed the channel.
                self.line = None;
                if error.needs_a_person() {
                    self.detours.insert(queue.to_owned(), Some(Unfit::Gone { what: error.to_string() }));
                }
                Err(Trouble::Lost(error.to_string()))
            }
        }
    }

    async fn has_exchange(&mut self, exchange: &str) -> Result<bool, Trouble> {
        if let Some(known) = self.exchanges.get(exchange) {
            return Ok(*known);
        }
        let line = self.line.as_mut().ok_or_else(|| Trouble::Lost("the connection is closed".to_owned()))?;
        match line.has_exchange(exchange).await {
            Ok(is_there) => {
                self.exchanges.insert(exchange.to_owned(), is_there);
                Ok(is_there)
            }
            Err(error) => {
                self.line = None;
                Err(Trouble::Lost(error.to_string()))
            }
        }
    }

    /// Why the message must not go where it came from: others would get it, too.
    async fn fan_out(&mut self, message: &Message, exchange: &str, key: &str, is_ok: bool) -> Option<Unfit> {
        if is_ok {
            return None;
        }
        let copies = carbon_copies(message);
        let keys: Vec<&str> = std::iter::once(key).chain(copies.iter().map(String::as_str)).collect();
        let what = match self.routes.queues(exchange, &keys).await {
            Ok(queues) if queues.len() == 1 => return None,
            Ok(queues) => {
                let names: Vec<_> = queues.iter().take(5).map(|queue| format!("`{queue}`")).collect();
                let shown = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
                format!("{} queues would get it{shown}", queues.len())
            }
            Err(reason) => format!("how many queues would get it cannot be told: {reason}"),
        };
        Some(Unfit::FanOut { what: format!("{what}; send it to one queue, or say that this is meant (--fan-out-ok)") })
    }
}

/// Why a pass over a chunk ended early; there is no connection any more.
enum Trouble {
    Lost(String),
    /// For what the broker closes a channel.
    Refused(String),
}

/// The exchange that leads to `queue` only.
pub fn detour_of(queue: &str) -> String {
    format!("x-dlq.replay.{queue}")
}

fn parcel<'a>(name: &'a str, message: &'a Outgoing) -> Parcel<'a> {
    let Outgoing { exchange, routing_key, body, properties, .. } = message;
    Parcel { name, exchange, routing_key, body, properties }
}

/// The keys that the header CC adds.
fn carbon_copies(message: &Message) -> Vec<String> {
    let text = |value: &HeaderValue| match value {
        HeaderValue::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    let headers = message.properties.headers.iter().flatten().filter(|(name, _)| name == "CC" || name == "BCC");
    let arrays = headers.filter_map(|(_, value)| match value {
        HeaderValue::Array(keys) => Some(keys.iter().filter_map(text)),
        _ => None,
    });
    arrays.flatten().collect()
}
