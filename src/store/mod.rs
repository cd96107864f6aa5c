//! Object stores: a directory, S3, Google Cloud Storage, Azure, memory. Objects are created whole and never overwritten.
//!
//! Every operation is tried again as often as the configuration allows; each failure and retry is reported to the
//! observer. Paths are relative to the store's URL, segments joined by `/`, and mean the same bytes everywhere: nothing
//! is encoded or decoded.

mod aws_profile;
mod classify;
pub mod columns;
mod error;
mod file;
pub mod flush;
mod object;
mod open;
mod probe;
mod retry;
mod staging;
pub mod texts; // ids and instants in JSON

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

pub use error::{Cause, Kind, Observer, Op, Report, StoreError, unobserved};
pub use probe::Capabilities;

use error::{Class, Fault};
use file::FileStore;
use object::Remote;
use retry::{Attempts, RetryLimits};
use tokio::time::Instant;

/// Deletions under way at once in [`Store::delete_all`].
const DELETES_AT_ONCE: usize = 8;

/// An object store. Cloning is cheap and shares connections.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    limits: RetryLimits,
    observer: Observer,
    /// What messages call it, such as `s3://bucket/prefix`.
    name: Arc<str>,
}

#[derive(Clone)]
enum Backend {
    File(Arc<FileStore>),
    Remote(Remote),
}

/// An object found by listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub bytes: u64,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub bytes: u64,
}

/// What stands where we wanted to create.
enum Standing {
    Nothing,
    Ours,
    Other,
}

impl Store {
    /// A store in memory, for tests: no retries, nobody observes.
    pub fn memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()))
    }

    /// Any store that object_store speaks to, as [`Store::memory`]: for tests, which wrap one in faults, and for programs
    /// that embed this one and bring their own.
    pub fn over(store: Arc<dyn object_store::ObjectStore>) -> Self {
        Self {
            backend: Backend::Remote(Remote::new(store, "")),
            limits: RetryLimits { retries_max: 0, within: Duration::ZERO },
            observer: unobserved(),
            name: "memory:".into(),
        }
    }

    /// What messages call it, such as `s3://bucket/prefix`; no credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates an object, durable when this returns, and never overwrites another.
    ///
    /// Idempotent: when the store says the object exists, or does not say what became of the request, the bytes that
    /// stand there decide. On an error, or when the future is dropped, the object may exist or come to exist: create the
    /// same bytes again, or delete it.
    ///
    /// # Errors
    /// [`StoreError::Exists`]: other bytes stand there. [`StoreError::Unavailable`]: try again later.
    /// [`StoreError::Refused`]: never will work as is.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.check(Op::Create, path)?;
        let mut attempts = self.limits.start(Instant::now(), path);
        let mut in_doubt = false;
        loop {
            let fault = match self.create_once(path, &bytes, in_doubt).await {
                Ok(Standing::Other) => {
                    self.failed(Op::Create, Kind::Exists);
                    return Err(StoreError::Exists { path: path.to_owned() });
                }
                Ok(_) => {
                    (self.observer)(Report::Created);
                    return Ok(());
                }
                Err(fault) => fault,
            };
            in_doubt = true;
            self.pause(Op::Create, path, fault, &mut attempts).await?;
        }
    }

    /// Looks before it writes when an earlier attempt may have taken effect.
    async fn create_once(&self, path: &str, bytes: &Bytes, in_doubt: bool) -> Result<Standing, Fault> {
        // A directory is not asked: only a creation makes what stands there durable.
        if in_doubt && matches!(self.backend, Backend::Remote(_)) {
            match self.standing(path, bytes).await? {
                Standing::Nothing => {}
                found => return Ok(found),
            }
        }
        match self.backend.create(path, bytes.clone()).await {
            Ok(()) => Ok(Standing::Ours),
            Err(fault) if fault.class == Class::Exists => match self.standing(path, bytes).await? {
                // S3 answers 409 while another request for the same key is under way.
                Standing::Nothing => Err(Fault { class: Class::Later, ..fault }),
                found => Ok(found),
            },
            Err(fault) => Err(fault),
        }
    }

    async fn standing(&self, path: &str, bytes: &Bytes) -> Result<Standing, Fault> {
        let found = match self.backend.head(path).await {
            Ok(meta) if meta.bytes != bytes.len() as u64 => return Ok(Standing::Other),
            Ok(_) => self.backend.get(path).await,
            Err(fault) => Err(fault),
        };
        match found {
            Ok(found) if found == *bytes => Ok(Standing::Ours),
            Ok(_) => Ok(Standing::Other),
            Err(fault) if fault.class == Class::Missing => Ok(Standing::Nothing),
            Err(fault) => Err(fault),
        }
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; else as [`Store::create`].
    pub async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.attempt(Op::Get, path, || self.backend.get(path)).await
    }

    /// The bytes of an object, or `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::get`], but never [`StoreError::Missing`].
    pub async fn get_if_exists(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.attempt(Op::Get, path, || async { or_none(self.backend.get(path).await) }).await
    }

    /// Parts of an object, in the order asked for; near parts are fetched together.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a range beyond the end; else as [`Store::get`].
    pub async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        self.attempt(Op::Get, path, || self.backend.get_ranges(path, ranges)).await
    }

    /// What is known of an object, or `None` when there is none.
    ///
    /// # Errors
    /// As [`Store::get_if_exists`]. Where the store does not tell a missing bucket from a missing object, `None`.
    pub async fn head(&self, path: &str) -> Result<Option<Meta>, StoreError> {
        self.attempt(Op::Head, path, || async { or_none(self.backend.head(path).await) }).await
    }

    /// # Errors
    /// As [`Store::head`].
    pub async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.head(path).await?.is_some())
    }

    /// Removes an object; one that is missing is fine.
    ///
    /// # Errors
    /// As [`Store::get_if_exists`].
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.attempt(Op::Delete, path, || async { or_none(self.backend.delete(path).await).map(drop) }).await
    }

    /// Removes objects, several at once; stops at the first error.
    ///
    /// # Errors
    /// As [`Store::delete`]; which objects are gone is then unknown.
    pub async fn delete_all(&self, paths: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let deletes = stream::iter(paths).map(|path| async move { self.delete(&path).await });
        deletes.buffer_unordered(DELETES_AT_ONCE).try_collect().await
    }

    /// The objects below the directory `prefix` whose path is greater than `after`, in the byte order of their paths
    /// wherever the store sorts (all but S3 directory buckets do). Lazy: pages are fetched as they are read.
    ///
    /// # Errors
    /// As [`Store::get_if_exists`]; a listing that fails between pages goes on where it was.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> BoxStream<'static, Result<Entry, StoreError>> {
        let listing = Listing {
            store: self.clone(),
            prefix: prefix.to_owned(),
            last: after.map(str::to_owned),
            sorted: true,
            pages: None,
            attempts: self.limits.start(Instant::now(), prefix),
        };
        stream::try_unfold(
            listing,
            |mut listing| async move { Ok(listing.next().await?.map(|entry| (entry, listing))) },
        )
        .boxed()
    }

    /// The names of the directories directly below `prefix`, sorted.
    ///
    /// # Errors
    /// As [`Store::get_if_exists`].
    pub async fn dirs(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.attempt(Op::List, prefix, || self.backend.dirs(prefix)).await
    }

    async fn attempt<T, F>(&self, op: Op, path: &str, mut once: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.check(op, path)?;
        let mut attempts = self.limits.start(Instant::now(), path);
        loop {
            match once().await {
                Ok(done) => return Ok(done),
                Err(fault) => self.pause(op, path, fault, &mut attempts).await?,
            }
        }
    }

    /// Waits before the next attempt, or gives the error when there is none.
    async fn pause(&self, op: Op, path: &str, fault: Fault, attempts: &mut Attempts) -> Result<(), StoreError> {
        self.failed(op, fault.kind);
        let wait = if fault.class == Class::Later { attempts.next_wait(Instant::now()) } else { None };
        let Some(wait) = wait else { return Err(fault.into_error(op, path)) };
        tracing::debug!(op = op.as_str(), kind = fault.kind.as_str(), path, ?wait, error = %fault.source, "trying again");
        tokio::time::sleep(wait).await;
        (self.observer)(Report::Retried { op });
        Ok(())
    }

    fn failed(&self, op: Op, kind: Kind) {
        (self.observer)(Report::Failed { op, kind });
    }

    /// A path that could leave the store's root, or that some store would change, is refused everywhere.
    fn check(&self, op: Op, path: &str) -> Result<(), StoreError> {
        let bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(|c| c.is_ascii_control());
        let root = path.is_empty() && op == Op::List;
        if root || !path.split('/').any(bad) {
            return Ok(());
        }
        self.failed(op, Kind::Other);
        Err(Fault::never("not a path: empty, `.`, `..` or control characters in a segment").into_error(op, path))
    }
}

fn or_none<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.class == Class::Missing => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A listing under way.
struct Listing {
    store: Store,
    prefix: String,
    /// The last path given, or the one to begin after.
    last: Option<String>,
    /// Only a sorted listing can go on after a failure.
    sorted: bool,
    pages: Option<BoxStream<'static, Result<Entry, Fault>>>,
    attempts: Attempts,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        self.store.check(Op::List, &self.prefix)?;
        loop {
            let fault = match self.advance().await {
                Ok(Some(entry)) => {
                    self.sorted &= self.last.as_ref().is_none_or(|last| *last < entry.path);
                    self.last = Some(entry.path.clone());
                    return Ok(Some(entry));
                }
                Ok(None) => return Ok(None),
                Err(fault) if fault.class == Class::Missing => return Ok(None),
                Err(fault) => fault,
            };
            self.pages = None;
            if !self.sorted {
                self.store.failed(Op::List, fault.kind);
                return Err(fault.into_error(Op::List, &self.prefix));
            }
            self.store.pause(Op::List, &self.prefix, fault, &mut self.attempts).await?;
        }
    }

    async fn advance(&mut self) -> Result<Option<Entry>, Fault> {
        let pages = match &mut self.pages {
            Some(pages) => pages,
            None => self.pages.insert(self.store.backend.list(&self.prefix, self.last.as_deref())?),
        };
        let entry = pages.try_next().await?;
        if entry.is_some() {
            // The attempts are those of one page, not of a whole listing.
            self.attempts = self.store.limits.start(Instant::now(), &self.prefix);
        }
        Ok(entry)
    }
}

impl Backend {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), Fault> {
        match self {
            Backend::Remote(remote) => remote.create(path, bytes).await,
            Backend::File(file) => blocking(file, path, move |file, path| file.create(path, &bytes)).await,
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes, Fault> {
        match self {
            Backend::Remote(remote) => remote.get(path).await,
            Backend::File(file) => blocking(file, path, |file, path| file.get(path)).await,
        }
    }

    async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Fault> {
        match self {
            Backend::Remote(remote) => remote.get_ranges(path, ranges).await,
            Backend::File(file) => {
                let ranges = ranges.to_vec();
                blocking(file, path, move |file, path| file.get_ranges(path, &ranges)).await
            }
        }
    }

    async fn head(&self, path: &str) -> Result<Meta, Fault> {
        match self {
            Backend::Remote(remote) => remote.head(path).await,
            Backend::File(file) => blocking(file, path, |file, path| file.head(path)).await,
        }
    }

    async fn delete(&self, path: &str) -> Result<(), Fault> {
        match self {
            Backend::Remote(remote) => remote.delete(path).await,
            Backend::File(file) => blocking(file, path, |file, path| file.delete(path)).await,
        }
    }

    async fn dirs(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        match self {
            Backend::Remote(remote) => remote.dirs(prefix).await,
            Backend::File(file) => blocking(file, prefix, |file, prefix| file.dirs(prefix)).await,
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Result<BoxStream<'static, Result<Entry, Fault>>, Fault> {
        match self {
            Backend::Remote(remote) => remote.list(prefix, after),
            Backend::File(file) => Ok(walk(Arc::clone(file), prefix.to_owned(), after.map(str::to_owned))),
        }
    }
}

async fn blocking<T, F>(file: &Arc<FileStore>, path: &str, work: F) -> Result<T, Fault>
where
    T: Send + 'static,
    F: FnOnce(&FileStore, &str) -> Result<T, Fault> + Send + 'static,
{
    let (file, path) = (Arc::clone(file), path.to_owned());
    let done = tokio::task::spawn_blocking(move || work(&file, &path)).await;
    done.unwrap_or_else(|gone| Err(Fault::new(Class::Later, Kind::Other, gone)))
}

/// Walks on a blocking thread, a bounded number of entries ahead of the reader.
fn walk(file: Arc<FileStore>, prefix: String, after: Option<String>) -> BoxStream<'static, Result<Entry, Fault>> {
    let (entries, found) = tokio::sync::mpsc::channel(256);
    tokio::task::spawn_blocking(move || {
        let mut each = |entry| entries.blocking_send(Ok(entry)).is_ok();
        if let Err(fault) = file.walk(&prefix, after.as_deref(), &mut each) {
            // Fails when nobody reads any more.
            let _ = entries.blocking_send(Err(fault));
        }
    });
    stream::unfold(found, |mut found| async move { found.recv().await.map(|entry| (entry, found)) }).boxed()
}
