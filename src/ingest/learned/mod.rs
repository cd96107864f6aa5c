//! Schemas that are learned of the events themselves: what stands in the store, how the first comes about, and what events
//! have that it does not say.
//!
//! ```text
//! meta/schemas/<pipeline>/v<major>/<revision>.json    JSON Schemas, each in the place of the one before
//! ```
//!
//! Each revision is created once, so whoever comes second reads what the first wrote: all processes judge by the same.

mod first; // the first events -> the first revision
mod sightings; // fields that are new, and those whose type changed
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::config;
use crate::store::{Store, StoreError};

pub use first::{Held, Learned, Lesson, Over, learn};
pub use sightings::{Ripe, Sightings};

/// The revisions of one schema.
#[derive(Clone)]
pub struct Revisions {
    store: Store,
    directory: String,
}

/// One of them; they count from 1 without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub number: u32,
    pub text: Bytes,
}

impl Revisions {
    /// Those of `event`, whose schema is learned.
    pub fn new(store: Store, event: &config::EventType) -> Self {
        let directory = event.schema.to_string_lossy().trim_start_matches('/').to_owned();
        Self { store, directory }
    }

    /// Where one of them is, below the store's root.
    pub fn path(&self, number: u32) -> String {
        format!("{}/{number:06}.json", self.directory)
    }

    /// One of them, if there is.
    ///
    /// # Errors
    /// The store's.
    pub async fn get(&self, number: u32) -> Result<Option<Revision>, StoreError> {
        let found = self.store.get_if_exists(&self.path(number)).await?;
        Ok(found.map(|text| Revision { number, text }))
    }

    /// The newest; `None`: nothing was learned yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(&self) -> Result<Option<Revision>, StoreError> {
        let mut newest = 0;
        let mut listed = self.store.list(&self.directory, None);
        while let Some(entry) = listed.try_next().await? {
            let name = entry.path.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
            newest = newest.max(name.and_then(|name| name.parse().ok()).unwrap_or(0));
        }
        // A listing may lag behind.
        let mut found = self.get(newest).await?;
        while let Some(next) = self.get(newest + 1).await? {
            newest = next.number;
            found = Some(next);
        }
        Ok(found)
    }

    /// Creates one; `false`: there is another of that number.
    ///
    /// # Errors
    /// The store's.
    pub async fn create(&self, revision: &Revision) -> Result<bool, StoreError> {
        match self.store.create(&self.path(revision.number), revision.text.clone()).await {
            Ok(()) => Ok(true),
            Err(StoreError::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
