//! What a store really does, found by trying.

use bytes::Bytes;

use super::error::{Class, Fault};
use super::{Kind, Op, Store, StoreError};

/// What a store can do that not every store does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It refuses to create an object that exists, so that of several writers exactly one wins.
    pub conditional_create: bool,
}

impl Store {
    /// Finds out what the store does: creates `meta/probe/<nonce>`, creates it again with other bytes, deletes it. So it
    /// also shows that the store takes writes and deletions. `nonce` must be new.
    ///
    /// # Errors
    /// As [`Store::create`]; [`StoreError::Refused`] too when what was written does not read back.
    pub async fn probe(&self, nonce: &str) -> Result<Capabilities, StoreError> {
        let path = format!("meta/probe/{nonce}");
        self.create(&path, Bytes::from_static(b"first")).await?;
        let second = self.attempt(Op::Probe, &path, || self.create_second(&path)).await;
        let deleted = self.delete(&path).await;
        let capabilities = second?;
        deleted?;
        Ok(capabilities)
    }

    async fn create_second(&self, path: &str) -> Result<Capabilities, Fault> {
        let refused = match self.backend.create(path, Bytes::from_static(b"second")).await {
            Ok(()) => false,
            Err(fault) if fault.class == Class::Exists => true,
            Err(fault) => return Err(fault),
        };
        // Some stores say no and overwrite, or say yes and do nothing: the bytes decide.
        let found = self.backend.get(path).await?;
        match (&found[..], refused) {
            (b"first", true) => Ok(Capabilities { conditional_create: true }),
            // Refused after an attempt without answer that did overwrite.
            (b"second", _) => Ok(Capabilities { conditional_create: false }),
            (b"first", false) => {
                Err(Fault::new(Class::Never, Kind::Other, "the store said it wrote, but the old bytes stand there"))
            }
            _ => Err(Fault::new(Class::Never, Kind::Other, "the store gives back other bytes than were written")),
        }
    }
}
