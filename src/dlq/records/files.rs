//! The files of dead letters, and what their footers say: the index. A cache: files never change, so a footer is read
//! once, and the least that is lost with it is time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use ulid::Ulid;

use super::Unreadable;
use crate::dlq::filter::Filter;
use crate::dlq::footer;
use crate::dlq::index::{INDEX_KEY, Index, REPLACES_KEY};
use crate::dlq::record::{self, DecodeError, PREFIX};
use crate::store::{Entry, Store, StoreError};

/// Footers read at the same time; they are short.
const FOOTERS_AT_ONCE: usize = 16;

/// Listings of what changes while it is listed.
const LISTS_MAX: usize = 5;

/// What is known of a file without reading its rows.
#[derive(Clone, Debug)]
pub struct Facts {
    pub path: String,
    /// Of the object.
    pub bytes: u64,
    pub letters: u64,
    /// `None` for files of older programs: then the rows are to be read.
    pub index: Option<Index>,
    /// No letter in it died earlier, and none later.
    pub oldest: DateTime<Utc>,
    pub newest: DateTime<Utc>,
    /// Files for whose letters it stands: they do not count beside it.
    pub replaces: Vec<String>,
    /// Bytes of memory, roughly.
    weight: usize,
}

impl Facts {
    fn of(path: &str, bytes: u64, date: NaiveDate, metadata: &ParquetMetaData) -> Result<Self, DecodeError> {
        record::checked_format(metadata)?;
        let pairs = metadata.file_metadata().key_value_metadata();
        let text = footer::value(pairs, INDEX_KEY);
        let index = text.and_then(Index::parse);
        let (oldest, newest) = match index.as_ref().and_then(|index| index.span) {
            Some(span) => (span.oldest, span.newest),
            None => died_between(metadata).unwrap_or_else(|| within(date)),
        };
        let replaces = footer::value(pairs, REPLACES_KEY).map(serde_json::from_str).transpose();
        let replaces: Vec<String> =
            replaces.map_err(|_| DecodeError::Foreign(format!("its {REPLACES_KEY} is no list")))?.unwrap_or_default();
        let weight = 512 + 4 * text.map_or(0, str::len) + replaces.iter().map(String::len).sum::<usize>();
        let letters = metadata.file_metadata().num_rows().unsigned_abs();
        Ok(Self { path: path.to_owned(), bytes, letters, index, oldest, newest, replaces, weight })
    }

    /// `false`: no letter in it is meant by `filter`.
    pub fn may_hold(&self, filter: &Filter) -> bool {
        if filter.since.is_some_and(|since| self.newest < since)
            || filter.until.is_some_and(|until| self.oldest >= until)
        {
            return false;
        }
        let Some(index) = &self.index else { return true };
        let group = |id| index.groups.get(id).is_some_and(|group| group.kept() > 0);
        let code = || index.groups.sorted().any(|group| group.kept() > 0 && filter.matches_code(&group.code));
        index.letters > 0 && filter.group.as_ref().is_none_or(group) && (filter.code.is_none() || code())
    }

    /// Every letter in it is within the times of `filter`.
    pub fn is_within(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.oldest >= since) && filter.until.is_none_or(|until| self.newest < until)
    }

    /// `false`: the letter `id` is not in it.
    pub fn may_hold_id(&self, id: Ulid) -> bool {
        match &self.index {
            Some(index) => index.span.is_some_and(|span| (span.first..=span.last).contains(&id)),
            None => true,
        }
    }
}

/// By the statistics of the column.
fn died_between(metadata: &ParquetMetaData) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let schema = metadata.file_metadata().schema_descr();
    let column = schema.columns().iter().position(|column| column.path().string() == "dead_at")?;
    let mut span: Option<(i64, i64)> = None;
    for row_group in metadata.row_groups() {
        let Statistics::Int64(statistics) = row_group.column(column).statistics()? else { return None };
        let (low, high) = (*statistics.min_opt()?, *statistics.max_opt()?);
        span = Some(span.map_or((low, high), |(least, most)| (least.min(low), most.max(high))));
    }
    let (low, high) = span?;
    Some((DateTime::from_timestamp_micros(low)?, DateTime::from_timestamp_micros(high)?))
}

/// What the directory of `date` says of times.
fn within(date: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let before = date.checked_sub_days(Days::new(1)).unwrap_or(date);
    let after = date.checked_add_days(Days::new(1)).unwrap_or(date);
    (midnight(before), midnight(after))
}

/// Lists files, and remembers their footers.
pub struct Files {
    store: Store,
    known: Mutex<Known>,
    /// Bytes of memory for what is remembered.
    index_bytes: usize,
}

#[derive(Default)]
struct Known {
    facts: HashMap<String, Arc<Facts>>,
    weight: usize,
}

impl Files {
    pub fn new(store: Store, index_bytes: usize) -> Self {
        Self { store, known: Mutex::default(), index_bytes }
    }

    /// The files that lie where a match of `filter` may be, those left out that others stand for; and those whose
    /// footers cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<(Vec<Arc<Facts>>, Vec<Unreadable>), StoreError> {
        let directories: Vec<String> = self.days(filter).await?.into_values().flatten().collect();
        let (mut files, mut unreadable) = self.all_in(&directories).await?;
        let replaced: HashSet<String> = files.iter().flat_map(|facts: &Arc<Facts>| &facts.replaces).cloned().collect();
        files.retain(|facts| !replaced.contains(&facts.path));
        unreadable.retain(|file| !replaced.contains(&file.path));
        Ok((files, unreadable))
    }

    /// Every file in `directories`, those among them that others stand for.
    pub async fn all_in(&self, directories: &[String]) -> Result<(Vec<Arc<Facts>>, Vec<Unreadable>), StoreError> {
        let mut again = 0;
        loop {
            let mut entries = Vec::new();
            for directory in directories {
                let mut listed: Vec<Entry> = self.store.list(directory, None).try_collect().await?;
                listed.retain(|entry| record::parse_path(&entry.path).is_some());
                entries.extend(listed);
            }
            let reads = stream::iter(entries).map(|entry| self.facts(entry));
            let read: Vec<_> = reads.buffered(FOOTERS_AT_ONCE).try_collect().await?;
            let (mut files, mut unreadable, mut gone) = (Vec::new(), Vec::new(), false);
            for outcome in read {
                match outcome {
                    Some(Ok(facts)) => files.push(facts),
                    Some(Err(file)) => unreadable.push(file),
                    None => gone = true,
                }
            }
            again += 1;
            // What went since it was listed may have been merged into what was not there then.
            if !gone || again == LISTS_MAX {
                return Ok((files, unreadable));
            }
        }
    }

    /// The file that stands for the one that was at `path`.
    pub async fn standing_for(&self, path: &str) -> Result<Option<Arc<Facts>>, StoreError> {
        let Some((pipeline, date)) = record::parse_path(path) else { return Ok(None) };
        let (files, _) = self.all_in(&[format!("{PREFIX}/{pipeline}/date={date}")]).await?;
        Ok(files.into_iter().find(|facts| facts.replaces.iter().any(|replaced| replaced == path)))
    }

    /// The directories that may hold a match, by their date.
    async fn days(&self, filter: &Filter) -> Result<BTreeMap<NaiveDate, Vec<String>>, StoreError> {
        let pipelines = match &filter.pipeline {
            Some(pipeline) => vec![pipeline.clone()],
            None => self.store.dirs(PREFIX).await?,
        };
        let mut days = BTreeMap::<_, Vec<_>>::new();
        for pipeline in pipelines {
            for name in self.store.dirs(&format!("{PREFIX}/{pipeline}")).await? {
                let date = name.strip_prefix("date=").and_then(|date| date.parse().ok());
                if let Some(date) = date.filter(|date| filter.may_hold(*date)) {
                    days.entry(date).or_default().push(format!("{PREFIX}/{pipeline}/{name}"));
                }
            }
        }
        Ok(days)
    }

    /// `None`: it is gone since it was listed.
    async fn facts(&self, entry: Entry) -> Result<Option<Result<Arc<Facts>, Unreadable>>, StoreError> {
        if let Some(known) = self.known(&entry.path) {
            return Ok(Some(Ok(known)));
        }
        let not = |source| Some(Err(Unreadable { path: entry.path.clone(), source }));
        let metadata = match footer::read(&self.store, &entry.path, entry.bytes).await {
            Ok(metadata) => metadata,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => return Ok(not(super::ReadError::Refused(error))),
        };
        let date = record::parse_path(&entry.path).map(|(_, date)| date).unwrap_or_default();
        let facts = metadata.and_then(|metadata| Facts::of(&entry.path, entry.bytes, date, &metadata));
        Ok(match facts {
            Ok(facts) => Some(Ok(self.remember(facts))),
            Err(error) => not(error.into()),
        })
    }

    fn known(&self, path: &str) -> Option<Arc<Facts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).facts.get(path).cloned()
    }

    fn remember(&self, facts: Facts) -> Arc<Facts> {
        let facts = Arc::new(facts);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.weight + facts.weight > self.index_bytes {
            *known = Known::default();
        }
        known.weight += facts.weight;
        known.facts.insert(facts.path.clone(), Arc::clone(&facts));
        facts
    }
}
