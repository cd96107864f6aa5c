//! What the files of attempts of a store say together. A cache: files never change, so each is read once, and what is
//! known is given up for nothing but a new process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ulid::Ulid;

use super::file::{self, Given};
use super::{AttemptRecord, PREFIX, parse_path};
use crate::dlq::footer;
use crate::dlq::record::DecodeError;
use crate::dlq::records::{ReadError, Unreadable};
use crate::store::flush::{FlushError, FlushLog};
use crate::store::{Entry, Store, StoreError};

/// Files read at the same time.
const READS_MAX: usize = 8;

/// Why attempts are not known.
#[derive(Debug, thiserror::Error)]
pub enum AttemptsError {
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Reads the attempts of a store. Those of flushes that are not committed do not count.
///
/// A letter may be given back to another pipeline than the one it is of: then its attempts lie with that pipeline's.
pub struct Attempts {
    store: Store,
    flushes: FlushLog,
    /// Only what this pipeline made.
    within: Option<String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    given: BTreeMap<String, Arc<Given>>,
    recovered: Arc<Recovered>,
}

/// The letters at which attempts were made. Holds 20 bytes an attempt.
#[derive(Debug, Default)]
pub struct Recovered {
    files: Vec<String>,
    /// Sorted.
    letters: Vec<u128>,
    /// Of the letter at the same place: twice the number of the file, and one more if it recovered the letter.
    marks: Vec<u32>,
}

impl Recovered {
    /// Whether the letter's row is in the archive.
    pub fn contains(&self, letter: Ulid) -> bool {
        self.marks_of(letter).any(|mark| mark & 1 == 1)
    }

    /// When the letter's row was committed, by the name of the flush that did.
    pub fn recovered_at(&self, letter: Ulid) -> Option<DateTime<Utc>> {
        let mark = self.marks_of(letter).find(|mark| mark & 1 == 1)?;
        let name = self.files[(mark >> 1) as usize].rsplit('/').next()?;
        let flush: Ulid = name.get(..26)?.parse().ok()?;
        DateTime::from_timestamp_millis(i64::try_from(flush.timestamp_ms()).ok()?)
    }

    /// Whether any letter from `first` to `last` was tried again.
    pub fn any_within(&self, first: Ulid, last: Ulid) -> bool {
        let place = self.letters.partition_point(|known| *known < u128::from(first));
        self.letters.get(place).is_some_and(|known| *known <= u128::from(last))
    }

    /// Whether any attempt was made at the letter.
    pub fn was_tried(&self, letter: Ulid) -> bool {
        self.marks_of(letter).next().is_some()
    }

    /// No attempt was made at all.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// The recovered letters, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ulid> {
        let marked = self.letters.iter().zip(&self.marks).filter(|(_, mark)| **mark & 1 == 1);
        marked.map(|(letter, _)| Ulid::from(*letter))
    }

    fn marks_of(&self, letter: Ulid) -> impl Iterator<Item = u32> {
        let letter = u128::from(letter);
        let first = self.letters.partition_point(|known| *known < letter);
        let same = self.letters[first..].iter().take_while(move |known| **known == letter).count();
        self.marks[first..first + same].iter().copied()
    }

    /// The files with attempts at any of `letters`.
    fn files_of(&self, letters: &[Ulid]) -> Vec<&str> {
        let mut numbers: Vec<u32> = letters.iter().flat_map(|letter| self.marks_of(*letter)).collect();
        numbers.iter_mut().for_each(|mark| *mark >>= 1);
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| self.files[number as usize].as_str()).collect()
    }

    fn and(&self, more: Vec<(String, Vec<(Ulid, bool)>)>) -> Self {
        let mut files = self.files.clone();
        let known = self.letters.iter().copied().zip(self.marks.iter().copied());
        let mut all: Vec<(u128, u32)> = known.collect();
        for (path, outcomes) in more {
            let number = u32::try_from(files.len()).expect("a store holds fewer than 2^31 files of attempts");
            files.push(path);
            all.extend(
                outcomes.iter().map(|(letter, recovered)| (u128::from(*letter), number << 1 | u32::from(*recovered))),
            );
        }
        all.sort_unstable();
        let (letters, marks) = all.into_iter().unzip();
        Self { files, letters, marks }
    }
}

impl Attempts {
    /// Those that any pipeline made.
    pub fn new(store: Store) -> Self {
        Self { flushes: FlushLog::reader(store.clone()), store, within: None, known: Mutex::default() }
    }

    /// Those that `pipeline` made.
    pub fn within(store: Store, pipeline: &str) -> Self {
        Self { within: Some(pipeline.to_owned()), ..Self::new(store) }
    }

    /// The letters that were tried again, as of now.
    ///
    /// # Errors
    /// [`AttemptsError`]: nothing is known then; a file that cannot be read may recover any letter.
    pub async fn recovered(&self) -> Result<Arc<Recovered>, AttemptsError> {
        let (recovered, unreadable) = self.recovered_if_readable().await?;
        unreadable.into_iter().next().map_or(Ok(recovered), |file| Err(file.into()))
    }

    /// As [`Attempts::recovered`], from the files that can be read, and the others.
    ///
    /// # Errors
    /// The store's.
    pub async fn recovered_if_readable(&self) -> Result<(Arc<Recovered>, Vec<Unreadable>), FlushError> {
        let known = Arc::clone(&self.known().recovered);
        let read: HashSet<&String> = known.files.iter().collect();
        let mut files = self.files().await?;
        files.retain(|entry| !read.contains(&entry.path));
        let (read, unreadable) = self.read(files, file::decode_outcomes).await?;
        if read.is_empty() {
            return Ok((known, unreadable));
        }
        let recovered = Arc::new(known.and(read));
        self.known().recovered = Arc::clone(&recovered);
        Ok((recovered, unreadable))
    }

    /// The attempts at `letters` that files of attempts hold, by letter, in order.
    ///
    /// # Errors
    /// [`AttemptsError`].
    pub async fn of(&self, letters: &[Ulid]) -> Result<HashMap<Ulid, Vec<AttemptRecord>>, AttemptsError> {
        let recovered = self.recovered().await?;
        let files = recovered.files_of(letters).into_iter().map(|path| Entry { path: path.to_owned(), bytes: 0 });
        let wanted: Arc<HashSet<Ulid>> = Arc::new(letters.iter().copied().collect());
        let decode = move |file| file::decode_where(file, |letter| wanted.contains(&letter));
        let (read, unreadable) = self.read(files.collect(), decode).await?;
        if let Some(file) = unreadable.into_iter().next() {
            return Err(file.into());
        }
        let mut attempts = HashMap::<_, Vec<_>>::new();
        for attempt in read.into_iter().flat_map(|(_, attempts)| attempts) {
            attempts.entry(attempt.letter).or_default().push(attempt);
        }
        attempts.values_mut().for_each(|of_letter| of_letter.sort_by_key(|attempt| (attempt.n, attempt.at)));
        Ok(attempts)
    }

    /// What the attempts made of groups, from footers only; and the files that cannot be read.
    ///
    /// # Errors
    /// The store's.
    pub async fn given(&self) -> Result<(Given, Vec<Unreadable>), FlushError> {
        let files = self.files().await?;
        let mut all = Given::default();
        let mut new = Vec::new();
        {
            let known = self.known();
            for entry in files {
                match known.given.get(&entry.path) {
                    Some(given) => all.merge(given),
                    None => new.push(entry),
                }
            }
        }
        let read = stream::iter(new).map(|entry| async move {
            let footer = footer::read(&self.store, &entry.path, entry.bytes).await;
            (entry.path, footer.map(|footer| footer.and_then(|metadata| file::given(&metadata))))
        });
        let read: Vec<_> = read.buffered(READS_MAX).collect().await;
        let (mut fresh, mut unreadable) = (Vec::new(), Vec::new());
        for (path, outcome) in read {
            match outcome {
                Ok(Ok(given)) => {
                    all.merge(&given);
                    fresh.push((path, Arc::new(given)));
                }
                Ok(Err(error)) => unreadable.push(Unreadable { path, source: error.into() }),
                Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.known().given.extend(fresh);
        Ok((all, unreadable))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files whose flushes are committed.
    async fn files(&self) -> Result<Vec<Entry>, FlushError> {
        let pipelines = match &self.within {
            Some(pipeline) => vec![pipeline.clone()],
            None => self.store.dirs(PREFIX).await?,
        };
        let mut all = Vec::new();
        for pipeline in pipelines {
            let entries: Vec<Entry> = self.store.list(&format!("{PREFIX}/{pipeline}"), None).try_collect().await?;
            let mut files: Vec<Entry> = entries.into_iter().filter(|entry| parse_path(&entry.path).is_some()).collect();
            if !files.is_empty() {
                // Listed after the files: a flush that is decided in between is counted as it was decided.
                let undecided = self.flushes.not_committed(&pipeline).await?;
                files.retain(|entry| !undecided.contains(&entry.path));
            }
            all.append(&mut files);
        }
        Ok(all)
    }

    async fn read<T: Send + 'static>(
        &self,
        files: Vec<Entry>,
        decode: impl Fn(Bytes) -> Result<T, DecodeError> + Clone + Send + 'static,
    ) -> Result<(Vec<(String, T)>, Vec<Unreadable>), FlushError> {
        let reads = stream::iter(files).map(|entry| {
            let decode = decode.clone();
            async move {
                let file = match self.store.get(&entry.path).await {
                    Ok(file) => file,
                    // Its flush was aborted since it was listed.
                    Err(StoreError::Missing { .. }) => return Ok(None),
                    Err(error) => return Err(FlushError::from(error)),
                };
                let decoded = tokio::task::spawn_blocking(move || decode(file)).await;
                let decoded = match decoded {
                    Ok(decoded) => decoded.map_err(ReadError::from),
                    Err(_) => Err(ReadError::Panicked),
                };
                Ok(Some((entry.path, decoded)))
            }
        });
        let mut reads = std::pin::pin!(reads.buffered(READS_MAX));
        let (mut read, mut unreadable) = (Vec::new(), Vec::new());
        while let Some(outcome) = reads.try_next().await? {
            match outcome {
                None => {}
                Some((path, Ok(decoded))) => read.push((path, decoded)),
                Some((path, Err(source))) => unreadable.push(Unreadable { path, source }),
            }
        }
        Ok((read, unreadable))
    }
}
