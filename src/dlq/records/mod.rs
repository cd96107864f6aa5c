//! Finding dead letters in the store. Reads are concurrent but bounded; a file that cannot be read is named, and the
//! others still count.

mod files; // what footers say: the index
mod groups; // groups, by footers where they suffice
mod read; // one file's letters
mod scan; // the letters of many files in one order
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::DateTime;
use ulid::Ulid;

use super::attempts::{AttemptRecord, Attempts, AttemptsError, Recovered};
use super::record::{DeadLetter, DecodeError, Returnable, Summary};
use crate::store::flush::FlushError;
use crate::store::{Store, StoreError};

pub use super::filter::{Filter, HeaderIs, LetterState, ValueIs};
pub use scan::{Cursor, NotACursor};

pub(super) use files::{Facts, Files};

use read::{Reader, Wanted};
use scan::Scan;

/// Bytes of memory for what footers say, when nobody says how many.
pub const INDEX_BYTES: usize = 256 << 20;

/// Letters, and bytes of them, that [`Records::found`] completes at a time.
const COMPLETED_AT_ONCE: usize = 4096;
const COMPLETED_BYTES_MAX: u64 = 32 << 20;

/// Times that groups are counted again because files were merged under them.
const AGAIN_MAX: usize = 3;

/// By `dead_at`, and by the id at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Dead letters, or attempts at them, in a file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("dead letters in {path} cannot be read and are left out")]
pub struct Unreadable {
    pub path: String,
    pub source: ReadError,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Refused(StoreError),
    #[error(transparent)]
    Broken(#[from] DecodeError),
    /// The Parquet reader gave up on it; a broken file can do that.
    #[error("the file is broken in a way that stops its reader")]
    Panicked,
    /// Its letters lie in another file by now.
    #[error("the file is merged again and again while it is read: ask again")]
    Merged,
    #[error("its body is not what was stored: its hash differs")]
    OtherBody,
}

/// A letter and all that became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Whole, wherever its body lies.
    /// Boxed, for it is large and handed on often.
    pub letter: Box<DeadLetter>,
    pub state: LetterState,
    /// The attempts after those of the letter itself, in order.
    pub later: Vec<AttemptRecord>,
}

/// Some letters in order.
#[derive(Debug)]
pub struct Page<T> {
    pub letters: Vec<T>,
    /// Where the next page begins; `None`: there are no more.
    pub next: Option<Cursor>,
    pub unreadable: Vec<Unreadable>,
}

/// The dead letters of a store. Keep one for as long as possible: it remembers what footers say.
pub struct Records {
    store: Store,
    files: Files,
    attempts: Attempts,
    /// Files read at the same time; each is held in memory whole.
    reads_max: usize,
}

/// Which letters are recovered.
#[derive(Clone, Debug, Default)]
struct States(Arc<Recovered>);

impl States {
    fn of(&self, letter: Ulid) -> LetterState {
        if self.0.contains(letter) { LetterState::Recovered } else { LetterState::Dead }
    }
}

impl Records {
    /// # Panics
    /// If `reads_max` is 0.
    pub fn new(store: Store, reads_max: usize) -> Self {
        Self::remembering(store, reads_max, INDEX_BYTES)
    }

    /// As [`Records::new`], with that many bytes of memory for what footers say.
    ///
    /// # Panics
    /// If `reads_max` is 0.
    pub fn remembering(store: Store, reads_max: usize, index_bytes: usize) -> Self {
        assert!(reads_max > 0, "nothing is read without a read");
        let (files, attempts) = (Files::new(store.clone(), index_bytes), Attempts::new(store.clone()));
        Self { store, files, attempts, reads_max }
    }

    /// What became of letters that were given back.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Gives each matching letter, without its body, as `tell` tells it, until `each` has enough.
    ///
    /// # Errors
    /// [`FlushError`]: the store cannot be listed, or is unavailable. Files that cannot be read are returned.
    pub async fn summaries<T: Send + 'static>(
        &self,
        filter: &Filter,
        order: Order,
        tell: impl Fn(&Summary<'_>) -> T + Clone + Send + Sync + 'static,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<Vec<Unreadable>, FlushError> {
        let wanted = Wanted::all(filter, order);
        let (mut scan, _) = self.scan_rows(wanted, move |letter, _| tell(letter)).await?;
        while let Some((_, told)) = scan.next(&self.files).await? {
            if each(told).is_break() {
                break;
            }
        }
        Ok(scan.unreadable)
    }

    /// Gives each matching letter, whole, until `each` has enough.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn letters(
        &self,
        filter: &Filter,
        order: Order,
        mut each: impl FnMut(DeadLetter) -> ControlFlow<()>,
    ) -> Result<Vec<Unreadable>, FlushError> {
        self.found(filter, order, None, usize::MAX, |found| each(*found.letter)).await
    }

    /// Gives at most `most` matching letters behind `after`, whole and with what became of them, until `each` has
    /// enough. Holds a few files in memory, however many letters there are.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn found(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Cursor>,
        most: usize,
        mut each: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<Vec<Unreadable>, FlushError> {
        let wanted = Wanted { after, most, ..Wanted::all(filter, order) };
        let (mut scan, states) = self.scan_letters(wanted).await?;
        let mut unreadable = Vec::new();
        let mut left = most;
        'all: while left > 0 {
            let mut letters = Vec::new();
            let mut bytes = 0;
            while letters.len() < COMPLETED_AT_ONCE.min(left) && bytes < COMPLETED_BYTES_MAX {
                let Some((_, letter)) = scan.next(&self.files).await? else { break };
                bytes += letter.size() as u64 + letter.body_bytes();
                letters.push(letter);
            }
            if letters.is_empty() {
                break;
            }
            left -= letters.len();
            let (completed, broken) = self.completed(letters, &states).await?;
            unreadable.extend(broken);
            for found in completed {
                if each(found).is_break() {
                    break 'all;
                }
            }
        }
        unreadable.extend(scan.unreadable);
        Ok(unreadable)
    }

    /// The letters `ids`, whole and with what became of them. They are looked for in the files that may hold a match of
    /// `filter`, of which no more is asked.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn among(
        &self,
        filter: &Filter,
        ids: Arc<HashSet<Ulid>>,
    ) -> Result<(Vec<Found>, Vec<Unreadable>), FlushError> {
        let wanted = Wanted { among: Some(ids), ..Wanted::all(filter, Order::OldestFirst) };
        let (mut scan, states) = self.scan_letters(wanted).await?;
        let mut letters = Vec::new();
        while let Some((_, letter)) = scan.next(&self.files).await? {
            letters.push(letter);
        }
        let (found, mut unreadable) = self.completed(letters, &states).await?;
        unreadable.append(&mut scan.unreadable);
        Ok((found, unreadable))
    }

    /// As [`Records::among`], as far as it takes to give the letters back; the later attempts count among theirs.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn returnable(
        &self,
        filter: &Filter,
        ids: Arc<HashSet<Ulid>>,
    ) -> Result<(Vec<Box<Returnable>>, Vec<Unreadable>), FlushError> {
        let wanted = Wanted::all(filter, Order::OldestFirst);
        let (files, states, mut unreadable) = self.may_hold(&wanted).await?;
        let reader = Reader::new(self.store.clone(), Arc::new(wanted), states.clone());
        let each = reader.clone();
        let read = move |facts| each.clone().returnable(facts, Arc::clone(&ids));
        let mut scan = Scan::new(Order::OldestFirst, files, self.reads_max, read);
        let mut letters = Vec::new();
        while let Some((_, letter)) = scan.next(&self.files).await? {
            letters.push(letter);
        }
        let later = self.later(letters.iter().map(|letter| letter.id), &states).await?;
        let mut filled = Vec::with_capacity(letters.len());
        for mut letter in letters {
            let Returnable { message, blob, body_sha256, .. } = &mut *letter;
            if let Err(file) = reader.fill(message, blob, *body_sha256).await? {
                unreadable.push(file);
                continue;
            }
            let tried = later.get(&letter.id).into_iter().flatten().map(|attempt| attempt.n);
            letter.attempts = tried.fold(letter.attempts, u32::max);
            filled.push(letter);
        }
        unreadable.append(&mut scan.unreadable);
        Ok((filled, unreadable))
    }

    /// At most `limit` matching letters behind `after`, whole and with what became of them.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn page(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Found>, FlushError> {
        let wanted = Wanted { after, most: limit.saturating_add(1), ..Wanted::all(filter, order) };
        let (scan, states) = self.scan_letters(wanted).await?;
        let page = self.page_of(scan, limit).await?;
        let (letters, broken) = self.completed(page.letters, &states).await?;
        Ok(Page { letters, next: page.next, unreadable: page.unreadable.into_iter().chain(broken).collect() })
    }

    /// The same of summaries, as `tell` tells them: nothing of bodies is read unless the filter asks for them.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn page_of_rows<T: Send + 'static>(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Cursor>,
        limit: usize,
        tell: impl Fn(&Summary<'_>, LetterState) -> T + Clone + Send + Sync + 'static,
    ) -> Result<Page<T>, FlushError> {
        let wanted = Wanted { after, most: limit.saturating_add(1), ..Wanted::all(filter, order) };
        let (scan, _) = self.scan_rows(wanted, tell).await?;
        self.page_of(scan, limit).await
    }

    /// The letter `id`, if there is one. Only directories of the id's date and later are looked into.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn find(&self, id: Ulid) -> Result<(Option<DeadLetter>, Vec<Unreadable>), FlushError> {
        let (found, unreadable) = self.look_up(id).await?;
        Ok((found.map(|found| *found.letter), unreadable))
    }

    /// As [`Records::find`], with what became of it.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn look_up(&self, id: Ulid) -> Result<(Option<Found>, Vec<Unreadable>), FlushError> {
        let since = DateTime::from_timestamp_millis(i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX));
        let born = Filter { since, ..Filter::default() };
        let (mut files, mut unreadable) = self.files.list(&born).await?;
        files.retain(|facts| facts.newest >= since.unwrap_or_default() && facts.may_hold_id(id));
        let wanted = Wanted { id: Some(id), ..Wanted::all(&Filter::default(), Order::OldestFirst) };
        let reader = Reader::new(self.store.clone(), Arc::new(wanted), States::default());
        let read = move |facts| reader.clone().letters(facts);
        let mut scan = Scan::new(Order::OldestFirst, files, self.reads_max, read);
        let next = scan.next(&self.files).await?;
        unreadable.append(&mut scan.unreadable);
        let Some((_, letter)) = next else { return Ok((None, unreadable)) };
        let (states, broken) = self.states().await?;
        unreadable.extend(broken);
        let (found, broken) = self.completed(vec![letter], &states).await?;
        unreadable.extend(broken);
        Ok((found.into_iter().next(), unreadable))
    }

    async fn scan_rows<T: Send + 'static>(
        &self,
        wanted: Wanted,
        tell: impl Fn(&Summary<'_>, LetterState) -> T + Clone + Send + Sync + 'static,
    ) -> Result<(Scan<T>, States), FlushError> {
        let (files, states, unreadable) = self.may_hold(&wanted).await?;
        let order = wanted.order;
        let reader = Reader::new(self.store.clone(), Arc::new(wanted), states.clone());
        let read = move |facts| reader.clone().rows(facts, tell.clone());
        let mut scan = Scan::new(order, files, self.reads_max, read);
        scan.unreadable.extend(unreadable);
        Ok((scan, states))
    }

    async fn scan_letters(&self, wanted: Wanted) -> Result<(Scan<Box<DeadLetter>>, States), FlushError> {
        let (files, states, unreadable) = self.may_hold(&wanted).await?;
        let order = wanted.order;
        let reader = Reader::new(self.store.clone(), Arc::new(wanted), states.clone());
        let mut scan = Scan::new(order, files, self.reads_max, move |facts| reader.clone().letters(facts));
        scan.unreadable.extend(unreadable);
        Ok((scan, states))
    }

    /// The files in which there may be what is wanted.
    async fn may_hold(&self, wanted: &Wanted) -> Result<(Vec<Arc<Facts>>, States, Vec<Unreadable>), FlushError> {
        // Before the files: a letter that is recovered meanwhile is then shown as dead, not left out.
        let (states, mut unreadable) = self.states().await?;
        let (mut files, broken) = self.files.list(&wanted.filter).await?;
        files.retain(|facts| facts.may_hold(&wanted.filter) && wanted.may_be_in(facts));
        unreadable.extend(broken);
        Ok((files, states, unreadable))
    }

    async fn states(&self) -> Result<(States, Vec<Unreadable>), FlushError> {
        let (recovered, unreadable) = self.attempts.recovered_if_readable().await?;
        Ok((States(recovered), unreadable))
    }

    async fn page_of<T: Send + 'static>(&self, mut scan: Scan<T>, limit: usize) -> Result<Page<T>, FlushError> {
        let mut letters = Vec::new();
        let (mut last, mut more) = (None, false);
        while let Some((cursor, told)) = scan.next(&self.files).await? {
            if letters.len() == limit {
                more = true;
                break;
            }
            last = Some(cursor);
            letters.push(told);
        }
        Ok(Page { letters, next: last.filter(|_| more), unreadable: scan.unreadable })
    }

    async fn was_merged(&self, gone: &[String]) -> Result<bool, FlushError> {
        for path in gone {
            if self.files.standing_for(path).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `letters` with their bodies, states and attempts; without those whose bodies cannot be had.
    #[expect(clippy::vec_box, reason = "letters are large, and sorted and handed on often")]
    async fn completed(
        &self,
        letters: Vec<Box<DeadLetter>>,
        states: &States,
    ) -> Result<(Vec<Found>, Vec<Unreadable>), FlushError> {
        let mut later = self.later(letters.iter().map(|letter| letter.id), states).await?;
        let reader = Reader::new(self.store.clone(), Arc::default(), States::default());
        let (mut completed, mut unreadable) = (Vec::with_capacity(letters.len()), Vec::new());
        for mut letter in letters {
            let DeadLetter { message, blob, body_sha256, .. } = &mut *letter;
            if let Err(file) = reader.fill(message, blob, *body_sha256).await? {
                unreadable.push(file);
                continue;
            }
            let state = states.of(letter.id);
            let later = later.remove(&letter.id).unwrap_or_default();
            completed.push(Found { letter, state, later });
        }
        Ok((completed, unreadable))
    }

    async fn later(
        &self,
        letters: impl Iterator<Item = Ulid>,
        states: &States,
    ) -> Result<HashMap<Ulid, Vec<AttemptRecord>>, FlushError> {
        let tried: Vec<Ulid> = letters.filter(|letter| states.0.was_tried(*letter)).collect();
        if tried.is_empty() {
            return Ok(HashMap::new());
        }
        match self.attempts.of(&tried).await {
            Ok(attempts) => Ok(attempts),
            Err(AttemptsError::Flush(error)) => Err(error),
            // Named when the states were read.
            Err(AttemptsError::Unreadable(_)) => Ok(HashMap::new()),
        }
    }
}
