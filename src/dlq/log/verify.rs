//! Whether the log is whole: each entry names the hash of the one before, none is missing, and the snapshots say the same.

use std::collections::BTreeSet;

use futures_util::stream::TryStreamExt;

use super::entry::{self, EntryError};
use super::{Log, LogError, PREFIX, READS_AT_ONCE, State, encode_snapshot, follows, path, snapshot_path, snapshots};

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is missing, and later ones, or a snapshot of it, are there.
    #[error("it is gone")]
    Gone,
    #[error("it cannot be read")]
    Unreadable(#[from] EntryError),
    #[error("it says to be number {0}")]
    Number(u64),
    /// This one or the one before was changed after it was written.
    #[error("it does not follow from the one before it: one of the two was changed")]
    Chain,
    #[error("the snapshot of it says something else")]
    Snapshot,
}

/// A log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// SHA-256 of the last entry: kept elsewhere, it tells later whether the log was rewritten or cut at its end.
    pub head: String,
    pub snapshots: u64,
}

impl Log {
    /// Reads everything, in order, without believing any snapshot.
    ///
    /// # Errors
    /// [`LogError::Broken`] names the first entry that is not as it was; [`LogError::Store`].
    pub async fn verify(&self) -> Result<Verified, LogError> {
        let snapshots = self.numbers(&snapshots()).await?;
        let mut state = State::default();
        let mut seen = 0;
        loop {
            let found = self.after(state.seq(), READS_AT_ONCE).await?;
            if found.is_empty() {
                break;
            }
            for bytes in found {
                let entry = follows(&state, &bytes)?;
                state.take(entry, entry::hash(&bytes));
                if snapshots.contains(&state.seq()) {
                    self.compare(&state).await?;
                    seen += 1;
                }
            }
        }
        let last = self.numbers(PREFIX).await?.into_iter().chain(snapshots).max().unwrap_or_default();
        if last > state.seq() {
            let seq = state.seq() + 1;
            // Appended since, or missing.
            if self.store.get_if_exists(&path(seq)).await?.is_none() {
                return Err(LogError::Broken { seq, source: Fault::Gone });
            }
        }
        Ok(Verified { entries: state.seq(), head: state.head().to_owned(), snapshots: seen })
    }

    async fn compare(&self, state: &State) -> Result<(), LogError> {
        let standing = self.store.get(&snapshot_path(state.seq())).await?;
        if standing == encode_snapshot(state) {
            Ok(())
        } else {
            Err(LogError::Broken { seq: state.seq(), source: Fault::Snapshot })
        }
    }

    /// The numbers of the objects directly below `prefix`.
    async fn numbers(&self, prefix: &str) -> Result<BTreeSet<u64>, LogError> {
        let mut found = BTreeSet::new();
        let mut entries = self.store.list(prefix, None);
        while let Some(entry) = entries.try_next().await? {
            let name = entry.path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
            found
                .extend(name.and_then(|name| name.strip_suffix(".json")).and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(found)
    }
}
