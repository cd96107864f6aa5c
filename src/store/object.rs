//! Any store that object_store speaks to, below a prefix. One attempt per call: retries are the caller's.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::classify::fault;
use super::error::{Class, Fault};
use super::{Entry, Meta};

#[derive(Clone, Debug)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// Without slashes at its ends; may be empty.
    prefix: String,
}

impl Remote {
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.trim_matches('/').to_owned() }
    }

    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<(), Fault> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.key(path)?, bytes.into(), options).await.map_err(fault) {
            // There is nothing to be missing in a create but the bucket.
            Err(Fault { class: Class::Missing, kind, source }) => Err(Fault { class: Class::Never, kind, source }),
            created => created.map(drop),
        }
    }

    pub async fn get(&self, path: &str) -> Result<Bytes, Fault> {
        let answer = self.store.get_opts(&self.key(path)?, GetOptions::default()).await.map_err(fault)?;
        answer.bytes().await.map_err(fault)
    }

    pub async fn get_ranges(&self, path: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Fault> {
        self.store.get_ranges(&self.key(path)?, ranges).await.map_err(fault)
    }

    pub async fn head(&self, path: &str) -> Result<Meta, Fault> {
        let meta = self.store.head(&self.key(path)?).await.map_err(fault)?;
        Ok(Meta { bytes: meta.size })
    }

    pub async fn delete(&self, path: &str) -> Result<(), Fault> {
        self.store.delete(&self.key(path)?).await.map_err(fault)
    }

    /// In the order the store gives them, page by page.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Result<BoxStream<'static, Result<Entry, Fault>>, Fault> {
        let key = self.key(prefix)?;
        let listed = match after {
            Some(after) => self.store.list_with_offset(Some(&key), &self.key(after)?),
            None => self.store.list(Some(&key)),
        };
        let this = self.clone();
        let entry = move |meta: object_store::Result<object_store::ObjectMeta>| {
            let meta = meta.map_err(fault)?;
            Ok(Entry { path: this.path(&meta.location).to_owned(), bytes: meta.size })
        };
        Ok(listed.map(entry).boxed())
    }

    pub async fn dirs(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let listed = self.store.list_with_delimiter(Some(&self.key(prefix)?)).await.map_err(fault)?;
        let mut names: Vec<_> =
            listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Parsed, not converted: a conversion would encode `%` once more.
    fn key(&self, path: &str) -> Result<Path, Fault> {
        let whole = match (self.prefix.as_str(), path) {
            ("", path) => Path::parse(path),
            (prefix, "") => Path::parse(prefix),
            (prefix, path) => Path::parse(format!("{prefix}/{path}")),
        };
        whole.map_err(Fault::never)
    }

    fn path<'a>(&self, key: &'a Path) -> &'a str {
        let key = key.as_ref();
        key.strip_prefix(&self.prefix).map_or(key, |path| path.trim_start_matches('/'))
    }
}
