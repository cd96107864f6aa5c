//! Schemas that bodies name by their ids in a registry: known before the bodies are judged. While the registry tells nothing
//! that can be used, deliveries wait, as they do for the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::broker::Backoff;
use crate::config::{self, Envelope};
use crate::content::{self, Encoding};
use crate::decode::{Writer, Writers, Written, cloudevents, id_of};
use crate::event::Message;
use crate::ingest::repeats::GivenUp;
use crate::registry::{Answer, Kind, Registered, Registry, Trouble};
use crate::schema::{avro, protobuf};

/// Bounds of the wait between two questions for the same id.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// What a process knows of the schemas in a registry.
pub struct Schemas {
    registry: Registry,
    writers: Arc<Writers>,
    /// How long a schema that cannot be used holds back its events.
    unusable_after: Duration,
    schemas_max: usize,
    /// Those that could not be used when they were last looked at, and since when.
    unusable: Mutex<HashMap<u32, (Instant, Arc<Registered>)>>,
    /// What was asked for in vain when deliveries were given back.
    failing: Mutex<Option<u32>>,
    seed: fn() -> u64,
}

/// Why the schema with an id is not known yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error("the schema registry: {0}")]
    Trouble(#[from] Trouble),
    #[error("schema {id} cannot be used: {problem}")]
    Unusable { id: u32, problem: String },
    #[error("there are more than {0} schemas: raise registry.schemas_max")]
    Full(usize),
}

impl Schemas {
    pub fn new(registry: Registry, config: &config::Registry, seed: fn() -> u64) -> Self {
        Self {
            registry,
            writers: Arc::default(),
            unusable_after: config.unusable_after,
            schemas_max: config.schemas_max,
            unusable: Mutex::default(),
            failing: Mutex::default(),
            seed,
        }
    }

    pub fn writers(&self) -> &Arc<Writers> {
        &self.writers
    }

    /// The ids in the bodies of `messages`, in that envelope, that the registry must be asked for. A body of more than
    /// `bytes_max` has none.
    pub fn missing<'m>(
        &self,
        messages: impl Iterator<Item = &'m Message>,
        envelope: Envelope,
        bytes_max: usize,
    ) -> Vec<u32> {
        let mut missing = BTreeSet::new();
        // Most bodies name the same.
        let mut last = None;
        let mut plain = Vec::new();
        for message in messages {
            let Some(id) = id_in(message, envelope, bytes_max, &mut plain).filter(|id| last != Some(*id)) else {
                continue;
            };
            last = Some(id);
            if self.writers.get(id).is_none() && self.registry.kept(id) != Some(Answer::Unknown) {
                missing.insert(id);
            }
        }
        missing.into_iter().collect()
    }

    /// Asks for `ids` until all are known, or known to be unknown.
    ///
    /// # Errors
    /// [`GivenUp`]: when `over`, or after `hold_max` without an answer.
    pub async fn learn(
        &self,
        pipeline: &str,
        ids: &[u32],
        hold_max: Option<Duration>,
        over: &CancellationToken,
    ) -> Result<(), GivenUp> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, fastrand::Rng::with_seed((self.seed)()));
        let began = Instant::now();
        for id in ids {
            loop {
                let not_yet = tokio::select! {
                    learnt = self.learn_one(*id) => match learnt {
                        Ok(()) => break,
                        Err(not_yet) => not_yet,
                    },
                    () = over.cancelled() => return Err(GivenUp),
                };
                let wait = backoff.next_wait();
                report(pipeline, *id, &not_yet, wait);
                *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(*id);
                if hold_max.is_some_and(|hold_max| began.elapsed() + wait > hold_max) {
                    return Err(GivenUp);
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = over.cancelled() => return Err(GivenUp),
                }
            }
        }
        Ok(())
    }

    /// Waits until what was asked for in vain is known, so that deliveries are not given back again and again.
    ///
    /// # Errors
    /// [`GivenUp`]: when `over`.
    pub async fn await_answers(&self, pipeline: &str, over: &CancellationToken) -> Result<(), GivenUp> {
        let failing = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = failing else { return Ok(()) };
        self.learn(pipeline, &[id], None, over).await?;
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).take_if(|failing| *failing == id);
        info!(%pipeline, id, "the schema registry answers again");
        Ok(())
    }

    async fn learn_one(&self, id: u32) -> Result<(), NotYet> {
        if self.writers.get(id).is_some() {
            return Ok(());
        }
        let Answer::Known(registered) = self.registry.schema(id).await? else { return Ok(()) };
        if self.writers.len() >= self.schemas_max {
            return Err(NotYet::Full(self.schemas_max));
        }
        let written = match compile(&registered) {
            Ok(written) => written,
            Err(problem) => {
                // It may be the registry that is broken, and not the schema.
                let mut unusable = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
                let (since, known) = unusable.entry(id).or_insert_with(|| (Instant::now(), Arc::clone(&registered)));
                if *known != registered {
                    (*since, *known) = (Instant::now(), Arc::clone(&registered));
                }
                if since.elapsed() < self.unusable_after {
                    self.registry.forget(id);
                    return Err(NotYet::Unusable { id, problem });
                }
                error!(id, problem, "a schema of the registry cannot be used: its events become dead letters");
                Written::Unusable
            }
        };
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.writers.learn(id, Writer { written, subjects: registered.subjects.clone() });
        Ok(())
    }
}

/// The id that the event begins with, once the body is opened, up to `bytes_max`.
pub(super) fn id_in(message: &Message, envelope: Envelope, bytes_max: usize, plain: &mut Vec<u8>) -> Option<u32> {
    let opened = match Encoding::of(message) {
        None => &message.body,
        Some(_) => content::open(message, bytes_max, plain).ok()?,
    };
    match envelope {
        Envelope::None => id_of(opened),
        Envelope::CloudEvents => id_of(opened).or_else(|| id_of(&cloudevents::structured_bytes(message, opened)?)),
    }
}

fn report(pipeline: &str, id: u32, not_yet: &NotYet, wait: Duration) {
    let needs_a_person = match not_yet {
        NotYet::Trouble(trouble) => trouble.needs_a_person(),
        NotYet::Unusable { .. } | NotYet::Full(_) => true,
    };
    match needs_a_person {
        true => error!(%pipeline, id, error = %not_yet, ?wait, "a person must act: deliveries wait for their schema"),
        false => warn!(%pipeline, id, error = %not_yet, ?wait, "deliveries wait for their schema"),
    }
}

/// What data consist of that were written with that schema.
fn compile(registered: &Registered) -> Result<Written, String> {
    let Registered { kind, text, references, .. } = registered;
    Ok(match kind {
        Kind::Json => {
            serde_json::from_str::<serde_json::Value>(text).map_err(|error| error.to_string())?;
            Written::Json
        }
        Kind::Avro => {
            let others: Vec<String> = references.iter().map(|(_, text)| text.clone()).collect();
            Written::Avro(Arc::new(avro::Types::parse(text, &others).map_err(|error| error.to_string())?))
        }
        Kind::Protobuf => {
            let source = protobuf::Source::parse(text, references).map_err(|error| error.to_string())?;
            Written::Protobuf(Arc::new(source))
        }
    })
}
