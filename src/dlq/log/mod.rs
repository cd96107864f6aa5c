//! The log of the dead letters: what people and replays decided, one small object an entry, each created conditionally
//! under the next number and naming the hash of the one before. It is the state of groups and jobs, and the audit.
//!
//! ```text
//! dlq/log/v1/<number, 20 digits>.json              an entry; never changed, never removed
//! dlq/log/v1/snapshots/v1/<number, 20 digits>.json the state up to that entry; a short cut, and no more
//! ```
//!
//! Two who append at once want the same number: the store lets one have it. The other reads on, and asks again whether its
//! event is still allowed. So what [`State::allows`] forbids never comes about, whoever races.

mod entry;
mod state;
#[cfg(test)]
mod tests;
mod verify;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

pub(in crate::dlq) use entry::is_sayable;
pub use entry::{AsOf, Entry, EntryError, Event, JobCounts, Said, SchemaVersion, Unsayable};
pub use state::{Conflict, JOBS_OVER_MAX, Job, JobStatus, Life, PIPELINE, State, Verdict};
pub use verify::{Fault, Verified};

use crate::store::{Store, StoreError};

/// Below the store's root: the entries.
pub const PREFIX: &str = "dlq/log/v1";

/// The version of folding: snapshots of another one are not used. An event that changes the state, added, is a new
/// version; the tests hold the list of those known.
const FOLD: u32 = 1;

/// Entries after which a snapshot is made.
const SNAPSHOT_EVERY: u64 = 256;

/// Entries fetched at once.
const READS_AT_ONCE: u64 = 16;

/// Reads and appends. Cloning is cheap.
#[derive(Clone)]
pub struct Log {
    store: Store,
}

/// An entry as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub entry: Entry,
    /// SHA-256 of its bytes, in hex.
    pub hash: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// To an append: the entry may stand all the same. Append the same again, with the same [`Said`]: it is then found.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be appended is not allowed now.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A person has to look: what came after is not known, so nothing is appended.
    #[error("entry {seq} of the log of dead letters cannot be trusted")]
    Broken { seq: u64, source: Fault },
}

impl Log {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The state as of now: from the newest snapshot on.
    ///
    /// # Errors
    /// [`LogError::Store`]; [`LogError::Broken`].
    pub async fn load(&self) -> Result<State, LogError> {
        let mut state = self.newest_snapshot().await?.unwrap_or_default();
        self.refresh(&mut state).await?;
        Ok(state)
    }

    /// Brings `state` up to now.
    ///
    /// # Errors
    /// As [`Log::load`]; `state` is then as of the last entry that could be read.
    pub async fn refresh(&self, state: &mut State) -> Result<(), LogError> {
        self.read_on(state, None).await.map(drop)
    }

    /// Appends `event` to the log and to `state`, and gives its number. When another entry came first, reads on and asks
    /// [`State::allows`] again.
    ///
    /// On a store that ignores conditional creation, two who append at the very same instant can both believe to have
    /// done it, and one entry is lost.
    ///
    /// # Errors
    /// [`LogError::Conflict`]: not allowed now; `state` is up to date. Else as [`Log::load`].
    pub async fn append(&self, state: &mut State, said: &Said, event: &Event) -> Result<u64, LogError> {
        let mut taken = None;
        loop {
            let before = state.seq();
            if let Some(seq) = self.read_on(state, Some((said, event))).await? {
                return Ok(seq);
            }
            if let Some(error) = taken.take_if(|_| state.seq() == before) {
                // Something stands there that cannot be read: no use in going round.
                return Err(StoreError::into(error));
            }
            state.allows(event)?;
            let seq = state.seq() + 1;
            let entry = Entry { seq, prev: state.head().to_owned(), said: said.clone(), event: event.clone() };
            let bytes = entry::encode(&entry);
            match self.store.create(&path(seq), bytes.clone()).await {
                Ok(()) => {
                    state.take(entry, entry::hash(&bytes));
                    self.snapshot(state).await;
                    return Ok(seq);
                }
                Err(error @ StoreError::Exists { .. }) => taken = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The entries after number `after`, in order. The chain between them is not checked: see [`Log::verify`].
    ///
    /// # Errors
    /// As [`Log::load`].
    pub fn entries(&self, after: u64) -> BoxStream<'static, Result<Found, LogError>> {
        let log = self.clone();
        let next = stream::try_unfold(after, move |after| {
            let log = log.clone();
            async move {
                let found = log.after(after, READS_AT_ONCE).await?;
                let mut entries = Vec::with_capacity(found.len());
                for (seq, bytes) in (after + 1..).zip(found) {
                    let entry = readable(seq, &bytes)?;
                    entries.push(Ok::<_, LogError>(Found { entry, hash: entry::hash(&bytes) }));
                }
                let last = after + entries.len() as u64;
                Ok::<_, LogError>((last > after).then(|| (stream::iter(entries), last)))
            }
        });
        next.try_flatten().boxed()
    }

    /// Reads on to the end. When `ours` is among the new entries, goes no further than necessary to know, and gives its
    /// number.
    async fn read_on(&self, state: &mut State, ours: Option<(&Said, &Event)>) -> Result<Option<u64>, LogError> {
        // Mostly there is nothing new.
        let mut at_once = 1;
        let mut own = None;
        loop {
            let found = self.after(state.seq(), at_once).await?;
            if found.is_empty() {
                return Ok(own);
            }
            at_once = READS_AT_ONCE;
            for bytes in found {
                let entry = follows(state, &bytes)?;
                if ours.is_some_and(|(said, event)| entry.said == *said && entry.event == *event) {
                    own = Some(entry.seq);
                }
                state.take(entry, entry::hash(&bytes));
            }
        }
    }

    /// The bytes of up to `at_once` entries after number `after`, without a gap.
    async fn after(&self, after: u64, at_once: u64) -> Result<Vec<Bytes>, LogError> {
        let read = |seq: u64| async move { self.store.get_if_exists(&path(seq)).await };
        let reads = stream::iter((after + 1..).take(at_once as usize)).map(read);
        let mut found: Vec<Option<Bytes>> = reads.buffered(READS_AT_ONCE as usize).try_collect().await?;
        let missing = found.iter().position(Option::is_none).unwrap_or(found.len());
        if found[missing..].iter().any(Option::is_some) {
            // Appended while we read, or gone.
            let seq = after + 1 + missing as u64;
            match read(seq).await? {
                Some(bytes) => found[missing] = Some(bytes),
                None => return Err(LogError::Broken { seq, source: Fault::Gone }),
            }
        }
        Ok(found.into_iter().map_while(|bytes| bytes).collect())
    }

    /// Of those made by the same rule; one that cannot be read is passed over.
    async fn newest_snapshot(&self) -> Result<Option<State>, LogError> {
        let mut paths: Vec<String> = Vec::new();
        let mut entries = self.store.list(&snapshots(), None);
        while let Some(entry) = entries.try_next().await? {
            paths.push(entry.path);
        }
        paths.sort();
        for path in paths.into_iter().rev() {
            let bytes = match self.store.get(&path).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_unavailable() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, path, "snapshot cannot be read: an older one is taken");
                    continue;
                }
            };
            match read_snapshot(&path, &bytes) {
                Some(state) => return Ok(Some(state)),
                None => tracing::warn!(path, "snapshot is none of ours: an older one is taken"),
            }
        }
        Ok(None)
    }

    /// Best effort: what it would have told is in the entries.
    async fn snapshot(&self, state: &State) {
        if !state.seq().is_multiple_of(SNAPSHOT_EVERY) {
            return;
        }
        let path = snapshot_path(state.seq());
        if let Err(error) = self.store.create(&path, encode_snapshot(state)).await {
            tracing::warn!(%error, path, "snapshot not written: the log is read from an older one");
        }
    }
}

/// The entry in `bytes`, which claims to be number `seq`.
fn readable(seq: u64, bytes: &[u8]) -> Result<Entry, LogError> {
    let broken = |source| LogError::Broken { seq, source };
    let entry = entry::decode(bytes).map_err(|error| broken(Fault::Unreadable(error)))?;
    if entry.seq == seq { Ok(entry) } else { Err(broken(Fault::Number(entry.seq))) }
}

/// The entry in `bytes`, which is to come right after `state`.
fn follows(state: &State, bytes: &[u8]) -> Result<Entry, LogError> {
    let entry = readable(state.seq() + 1, bytes)?;
    if entry.prev == state.head() { Ok(entry) } else { Err(LogError::Broken { seq: entry.seq, source: Fault::Chain }) }
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    fold: u32,
    #[serde(flatten)]
    state: State,
}

/// The same state always gives the same bytes.
fn encode_snapshot(state: &State) -> Bytes {
    let json = serde_json::to_vec(&Snapshot { fold: FOLD, state: state.clone() });
    json.expect("states have text keys and finite numbers").into()
}

/// The state in the snapshot at `path`, if it is what it claims to be.
fn read_snapshot(path: &str, bytes: &[u8]) -> Option<State> {
    let Snapshot { fold, state } = serde_json::from_slice(bytes).ok()?;
    (fold == FOLD && path == snapshot_path(state.seq())).then_some(state)
}

fn path(seq: u64) -> String {
    format!("{PREFIX}/{seq:020}.json")
}

fn snapshots() -> String {
    format!("{PREFIX}/snapshots/v{FOLD}")
}

fn snapshot_path(seq: u64) -> String {
    format!("{}/{seq:020}.json", snapshots())
}
