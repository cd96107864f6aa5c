//! How far a job is, in the store: a claim of each chunk before its first message is sent, and a record of what became of
//! it after the last confirm. A chunk that was claimed and has no record may have been sent, or not: its letters are owed,
//! and go again with the same attempt.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::preflight::Unfit;
use crate::broker::publish::batch::Outcome;
use crate::store::{Store, StoreError};

/// Below the store's root: the chunks of all jobs.
pub const PREFIX: &str = "dlq/jobs/v1";

/// The version of the objects written here.
const FORMAT: u32 = 1;

const CLAIM: &str = ".claim.json";
const SENT: &str = ".sent.json";

/// What became of a letter that was to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Fate {
    /// The broker has taken it over, or it is in the file.
    Confirmed,
    /// No queue was bound for it.
    Returned { reason: String },
    /// It was not sent, or the broker refuses this message: `code` as of [`Unfit`](super::Unfit), or `replay.refused`.
    Unfit { code: String, reason: String },
    /// A queue was full and rejects, or the broker in trouble, as often as it was tried.
    Nacked,
    /// It may or may not be with the broker.
    Unknown,
}

impl Fate {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Fate::Confirmed => "confirmed",
            Fate::Returned { .. } => "returned",
            Fate::Unfit { .. } => "unfit",
            Fate::Nacked => "nacked",
            Fate::Unknown => "unknown",
        }
    }

    pub(super) fn of_unfit(unfit: &Unfit) -> Self {
        Fate::Unfit { code: unfit.code().to_owned(), reason: unfit.to_string() }
    }

    pub(super) fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Confirmed => Fate::Confirmed,
            Outcome::Returned { reason } => Fate::Returned { reason },
            Outcome::Nacked => Fate::Nacked,
            Outcome::Unknown => Fate::Unknown,
        }
    }

    /// It is to be sent again, with the same attempt.
    pub const fn is_owed(&self) -> bool {
        matches!(self, Fate::Nacked | Fate::Unknown)
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::Returned { reason } => write!(f, "returned: {reason}"),
            Fate::Unfit { code, reason } => write!(f, "unfit, {code}: {reason}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// Where an earlier run of a job stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Letters of which nothing more is to be done.
    pub settled: HashMap<Ulid, Fate>,
    /// Letters to be sent again, with the attempt they were claimed with, in the order of their claims.
    pub owed: Vec<(Ulid, u32)>,
}

/// Why the progress of a job cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error(transparent)]
    Store(StoreError),
    /// Another process claimed the same chunk: it works on the job as well.
    #[error("another process sends letters of job {job} as well: chunk {chunk} is claimed")]
    Taken { job: Ulid, chunk: u32 },
    #[error("{path} is no record of a job's progress that this program can read: {reason}")]
    Foreign { path: String, reason: String },
}

/// What every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Claim {
    format: u32,
    /// Whose claim it is: two processes that claim the same letters are told apart by it.
    run: String,
    letters: Vec<Claimed>,
}

#[derive(Serialize, Deserialize)]
struct Claimed {
    id: String,
    attempt: u32,
}

#[derive(Serialize, Deserialize)]
struct SentRecord {
    format: u32,
    letters: Vec<SentLetter>,
}

#[derive(Serialize, Deserialize)]
struct SentLetter {
    id: String,
    #[serde(flatten)]
    fate: Fate,
}

/// How far a job is.
///
/// # Errors
/// [`ChunkError`].
pub async fn progress(store: &Store, job: Ulid) -> Result<Progress, ChunkError> {
    Ok(Chunks::open(store, job, Ulid::nil()).await?.1)
}

/// The chunks of one job.
pub(super) struct Chunks {
    store: Store,
    job: Ulid,
    run: Ulid,
    next: u32,
}

impl Chunks {
    /// Reads how far the job is. `run` is new for each process that goes on with it.
    pub async fn open(store: &Store, job: Ulid, run: Ulid) -> Result<(Self, Progress), ChunkError> {
        let mut chunks = Self { store: store.clone(), job, run, next: 0 };
        let mut progress = Progress::default();
        let mut owed: Vec<(Ulid, u32)> = Vec::new();
        let mut entries = store.list(&format!("{PREFIX}/{job}"), None);
        let mut names = Vec::new();
        while let Some(entry) = entries.try_next().await.map_err(ChunkError::Store)? {
            names.push(entry.path);
        }
        // A claim sorts before its record, and both before the next chunk, wherever a store does not sort.
        names.sort();
        for path in names {
            let Some((chunk, is_claim)) = parse_name(&path) else { continue };
            chunks.next = chunks.next.max(chunk + 1);
            let bytes = store.get(&path).await.map_err(ChunkError::Store)?;
            if is_claim {
                let claim: Claim = read(&path, &bytes)?;
                for Claimed { id, attempt } in claim.letters {
                    owed.push((letter(&path, &id)?, attempt));
                }
                continue;
            }
            let record: SentRecord = read(&path, &bytes)?;
            for SentLetter { id, fate } in record.letters {
                progress.settled.insert(letter(&path, &id)?, fate);
            }
        }
        progress.settled.retain(|_, fate| !fate.is_owed());
        let mut seen = HashSet::new();
        owed.retain(|(id, _)| !progress.settled.contains_key(id) && seen.insert(*id));
        progress.owed = owed;
        Ok((chunks, progress))
    }

    /// Claims the next chunk for these letters, with their attempts; durable when this returns.
    pub async fn claim(&mut self, letters: impl Iterator<Item = (Ulid, u32)>) -> Result<u32, ChunkError> {
        let chunk = self.next;
        let letters = letters.map(|(id, attempt)| Claimed { id: id.to_string(), attempt }).collect();
        self.create(chunk, CLAIM, &Claim { format: FORMAT, run: self.run.to_string(), letters }).await?;
        self.next += 1;
        Ok(chunk)
    }

    /// Records what became of a chunk; durable when this returns.
    pub async fn sent<'f>(&self, chunk: u32, fates: impl Iterator<Item = (Ulid, &'f Fate)>) -> Result<(), ChunkError> {
        let letters = fates.map(|(id, fate)| SentLetter { id: id.to_string(), fate: fate.clone() }).collect();
        self.create(chunk, SENT, &SentRecord { format: FORMAT, letters }).await
    }

    async fn create(&self, chunk: u32, kind: &str, content: &impl Serialize) -> Result<(), ChunkError> {
        let path = format!("{PREFIX}/{}/{chunk:08}{kind}", self.job);
        let bytes = Bytes::from(serde_json::to_vec(content).expect("names and numbers are JSON"));
        match self.store.create(&path, bytes).await {
            Err(StoreError::Exists { .. }) => Err(ChunkError::Taken { job: self.job, chunk }),
            created => created.map_err(ChunkError::Store),
        }
    }
}

/// The chunk, and whether it is its claim.
fn parse_name(path: &str) -> Option<(u32, bool)> {
    let name = path.rsplit('/').next()?;
    match name.strip_suffix(CLAIM) {
        Some(chunk) => Some((chunk.parse().ok()?, true)),
        None => Some((name.strip_suffix(SENT)?.parse().ok()?, false)),
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &str, bytes: &[u8]) -> Result<T, ChunkError> {
    let foreign = |reason: String| ChunkError::Foreign { path: path.to_owned(), reason };
    let unreadable = |error: serde_json::Error| foreign(error.to_string());
    // A newer format may have none of the fields we know.
    let Version { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if format > FORMAT {
        return Err(foreign(format!("it has format {format}, this program reads {FORMAT}")));
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

fn letter(path: &str, id: &str) -> Result<Ulid, ChunkError> {
    id.parse().map_err(|_| ChunkError::Foreign { path: path.to_owned(), reason: "an id is no ULID".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Ulid {
        Ulid::from_parts(1, number)
    }

    async fn progress(store: &Store) -> Progress {
        Chunks::open(store, id(99), id(1)).await.expect("readable").1
    }

    #[tokio::test]
    async fn what_was_claimed_and_not_recorded_is_owed_with_its_attempt() {
        let store = Store::memory();
        let (mut chunks, nothing) = Chunks::open(&store, id(99), id(1)).await.expect("nothing there");
        assert_eq!(nothing, Progress::default());
        let first = chunks.claim([(id(1), 2), (id(2), 3)].into_iter()).await.expect("claimed");
        assert_eq!(progress(&store).await.owed, [(id(1), 2), (id(2), 3)]);
        chunks.sent(first, [(id(1), &Fate::Confirmed), (id(2), &Fate::Nacked)].into_iter()).await.expect("recorded");
        let so_far = progress(&store).await;
        assert_eq!(so_far.owed, [(id(2), 3)], "what the broker did not take is owed");
        assert_eq!(so_far.settled, HashMap::from([(id(1), Fate::Confirmed)]));
        // A run that was killed after its claim, and the next, which sends the same letters in a chunk of its own.
        chunks.claim([(id(2), 3), (id(3), 2)].into_iter()).await.expect("claimed");
        let (mut chunks, so_far) = Chunks::open(&store, id(99), id(1)).await.expect("readable");
        assert_eq!(so_far.owed, [(id(2), 3), (id(3), 2)]);
        let third = chunks.claim(so_far.owed.iter().copied()).await.expect("claimed");
        assert_eq!(third, 2);
        let returned = Fate::Returned { reason: "312 NO_ROUTE".into() };
        chunks.sent(third, [(id(2), &Fate::Confirmed), (id(3), &returned)].into_iter()).await.expect("recorded");
        let so_far = progress(&store).await;
        assert_eq!(so_far.owed, []);
        assert_eq!(so_far.settled.len(), 3);
        assert_eq!(so_far.settled[&id(3)], returned);
    }

    #[tokio::test]
    async fn two_processes_do_not_send_the_same_chunk() {
        let store = Store::memory();
        let (mut one, _) = Chunks::open(&store, id(99), id(1)).await.expect("readable");
        let (mut other, _) = Chunks::open(&store, id(99), id(2)).await.expect("readable");
        one.claim([(id(1), 2)].into_iter()).await.expect("claimed");
        let refused = other.claim([(id(1), 2)].into_iter()).await.expect_err("claimed already");
        assert!(matches!(refused, ChunkError::Taken { chunk: 0, .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn the_record_of_a_newer_program_is_refused_by_name() {
        let store = Store::memory();
        let path = format!("{PREFIX}/{}/00000000.claim.json", id(99));
        store.create(&path, Bytes::from_static(b"{\"format\":2,\"letters\":[]}")).await.expect("written");
        let error = Chunks::open(&store, id(99), id(1)).await.err().expect("refused").to_string();
        assert!(error.contains("has format 2") && error.contains(&path), "{error}");
    }
}
