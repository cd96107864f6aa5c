//! The letters of one file that are wanted.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::files::Facts;
use super::scan::{Cursor, Rank, Read};
use super::{Order, ReadError, States, Unreadable};
use crate::dlq::filter::{Filter, LetterState};
use crate::dlq::footer;
use crate::dlq::groups::Groups;
use crate::dlq::record::{self, Blob, DeadLetter, DecodeError, File, Returnable, Summary};
use crate::event::Message;
use crate::store::columns::{self, Parts};
use crate::store::{Store, StoreError};

/// What is asked of each file.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub filter: Filter,
    /// Only this one.
    pub id: Option<Ulid>,
    /// These, wherever they are: of the filter only which files may hold them is asked.
    pub among: Option<Arc<HashSet<Ulid>>>,
    pub order: Order,
    /// Only those behind it.
    pub after: Option<Cursor>,
    /// No more than so many are of use, the first in order.
    pub most: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self::all(&Filter::default(), Order::OldestFirst)
    }
}

impl Wanted {
    pub fn all(filter: &Filter, order: Order) -> Self {
        Self { filter: filter.clone(), id: None, among: None, order, after: None, most: usize::MAX }
    }

    /// `false`: all of the file's letters lie before the place to begin behind.
    pub fn may_be_in(&self, facts: &Facts) -> bool {
        self.after.is_none_or(|after| self.order.end(facts) > self.order.rank(after))
    }

    fn rank(&self, letter: &Summary<'_>) -> Rank {
        self.order.rank(Cursor::of(letter.dead_at, letter.id))
    }

    fn ranked(&self, letter: DeadLetter) -> (Rank, Box<DeadLetter>) {
        (self.order.rank(Cursor::of(letter.dead_at, letter.id)), Box::new(letter))
    }

    /// The letter's rank, if its summary is as asked for.
    fn matched(&self, letter: &Summary<'_>, state: LetterState) -> Option<Rank> {
        if self.id.is_some_and(|id| id != letter.id) || !self.filter.matches(letter, state) {
            return None;
        }
        let rank = self.rank(letter);
        self.after.is_none_or(|after| rank > self.order.rank(after)).then_some(rank)
    }

    /// Keeps those that can still be among the first.
    fn cut<T>(&self, told: &mut Vec<(Rank, T)>) {
        told.sort_by_key(|(rank, _)| *rank);
        told.truncate(self.most);
    }
}

/// Reads files.
#[derive(Clone)]
pub struct Reader {
    store: Store,
    wanted: Arc<Wanted>,
    states: Arc<States>,
}

/// Letters of a file, before bodies in objects of their own are looked into.
type Letters = Vec<(Rank, Box<DeadLetter>)>;

impl Reader {
    pub fn new(store: Store, wanted: Arc<Wanted>, states: States) -> Self {
        Self { store, wanted, states: Arc::new(states) }
    }

    /// What `tell` tells of the wanted ones.
    pub async fn rows<T: Send + 'static>(
        self,
        facts: Arc<Facts>,
        tell: impl Fn(&Summary<'_>, LetterState) -> T + Send + 'static,
    ) -> Result<Read<Vec<(Rank, T)>>, StoreError> {
        if self.wanted.filter.asks_for_message() {
            let states = Arc::clone(&self.states);
            let letters = match self.letters(facts).await? {
                Read::Done(letters) => letters,
                Read::Gone(path) => return Ok(Read::Gone(path)),
                Read::Not(file) => return Ok(Read::Not(file)),
            };
            let tell = |(rank, letter): &(Rank, Box<DeadLetter>)| {
                let summary = letter.summary();
                (*rank, tell(&summary, states.of(summary.id)))
            };
            return Ok(Read::Done(letters.iter().map(tell).collect()));
        }
        let file = match self.summary_columns(&facts).await? {
            Read::Done(file) => file,
            Read::Gone(path) => return Ok(Read::Gone(path)),
            Read::Not(file) => return Ok(Read::Not(file)),
        };
        let (wanted, states) = (self.wanted, self.states);
        let told = blocking(&facts.path, move || {
            let mut told = Vec::new();
            file.summaries(|letter| {
                let state = states.of(letter.id);
                if let Some(rank) = wanted.matched(letter, state) {
                    told.push((rank, tell(letter, state)));
                    if told.len() / 2 > wanted.most {
                        wanted.cut(&mut told);
                    }
                }
            })?;
            wanted.cut(&mut told);
            Ok(told)
        });
        Ok(told.await)
    }

    pub fn asks_for_message(&self) -> bool {
        self.wanted.filter.asks_for_message()
    }

    /// The groups of the wanted ones, told by their summaries.
    pub async fn groups(self, facts: Arc<Facts>) -> Result<Read<Groups>, StoreError> {
        let file = match self.summary_columns(&facts).await? {
            Read::Done(file) => file,
            Read::Gone(path) => return Ok(Read::Gone(path)),
            Read::Not(file) => return Ok(Read::Not(file)),
        };
        let (wanted, states) = (self.wanted, self.states);
        let counted = blocking(&facts.path, move || {
            let mut groups = Groups::default();
            file.summaries(|letter| {
                let state = states.of(letter.id);
                if wanted.matched(letter, state).is_some() {
                    groups.add_as(letter, state == LetterState::Recovered);
                }
            })?;
            Ok(groups)
        });
        Ok(counted.await)
    }

    /// The wanted ones, whole but for bodies that lie elsewhere.
    pub async fn letters(self, facts: Arc<Facts>) -> Result<Read<Letters>, StoreError> {
        let bytes = match self.get(&facts.path).await? {
            Read::Done(bytes) => bytes,
            Read::Gone(path) => return Ok(Read::Gone(path)),
            Read::Not(file) => return Ok(Read::Not(file)),
        };
        let (wanted, states) = (Arc::clone(&self.wanted), Arc::clone(&self.states));
        let read = blocking(&facts.path, move || letters(&File::whole(bytes)?, &wanted, &states)).await;
        match read {
            Read::Done(letters) if self.wanted.filter.asks_for_body() => self.looked_into(&facts.path, letters).await,
            read => Ok(read),
        }
    }

    /// Those of `ids`, of which nothing else need be known, as far as it takes to give them back. Bodies that lie
    /// elsewhere are not read.
    pub async fn returnable(
        self,
        facts: Arc<Facts>,
        ids: Arc<HashSet<Ulid>>,
    ) -> Result<Read<Vec<(Rank, Box<Returnable>)>>, StoreError> {
        let bytes = match self.get(&facts.path).await? {
            Read::Done(bytes) => bytes,
            Read::Gone(path) => return Ok(Read::Gone(path)),
            Read::Not(file) => return Ok(Read::Not(file)),
        };
        let order = self.wanted.order;
        let read = move || {
            let file = File::whole(bytes)?;
            let picked = picked(&file, &ids)?;
            let mut found = Vec::new();
            let ranked = |letter: Returnable| (order.rank(Cursor::of(letter.dead_at, letter.id)), Box::new(letter));
            file.returnable(&picked, |letters| found.extend(letters.into_iter().map(ranked)))?;
            Ok(found)
        };
        Ok(blocking(&facts.path, read).await)
    }

    /// Without those letters whose body lies elsewhere and is not as asked for.
    async fn looked_into(&self, path: &str, letters: Letters) -> Result<Read<Letters>, StoreError> {
        let mut kept = Vec::with_capacity(letters.len());
        for (rank, letter) in letters {
            let Some(blob) = &letter.blob else {
                kept.push((rank, letter));
                continue;
            };
            let is_wanted = match self.get(&blob.path).await? {
                Read::Done(body) => self.wanted.filter.matches_body(&letter.document_of(&body)),
                Read::Gone(_) => false,
                Read::Not(file) => return Ok(Read::Not(Unreadable { path: path.to_owned(), ..file })),
            };
            if is_wanted {
                kept.push((rank, letter));
            }
        }
        self.wanted.cut(&mut kept);
        Ok(Read::Done(kept))
    }

    /// Puts a body that lies elsewhere into its message.
    pub async fn fill(
        &self,
        message: &mut Message,
        blob: &mut Option<Blob>,
        sha256: Option<[u8; 32]>,
    ) -> Result<Result<(), Unreadable>, StoreError> {
        let Some(Blob { path, .. }) = blob else { return Ok(Ok(())) };
        let not = |source| Ok(Err(Unreadable { path: path.clone(), source }));
        match self.get(path).await? {
            Read::Done(body) => {
                if sha256.is_some_and(|hash| Sha256::digest(&body)[..] != hash) {
                    return not(ReadError::OtherBody);
                }
                message.body = body.into();
                *blob = None;
                Ok(Ok(()))
            }
            Read::Gone(path) => not(ReadError::Refused(StoreError::Missing { path })),
            Read::Not(file) => Ok(Err(file)),
        }
    }

    /// As much of the file as summaries need.
    async fn summary_columns(&self, facts: &Facts) -> Result<Read<File>, StoreError> {
        let path = &facts.path;
        let fetched: Result<Result<File, DecodeError>, StoreError> = async {
            let metadata = match footer::read(&self.store, path, facts.bytes).await? {
                Ok(metadata) => metadata,
                Err(error) => return Ok(Err(error)),
            };
            let mask = record::summary_mask(&metadata);
            let parts: Parts = columns::fetch(&self.store, path, facts.bytes, &metadata, &mask).await?;
            Ok(File::in_part(metadata, parts))
        }
        .await;
        outcome(path, fetched)
    }

    async fn get(&self, path: &str) -> Result<Read<Bytes>, StoreError> {
        outcome(path, self.store.get(path).await.map(Ok))
    }
}

fn outcome<T>(path: &str, read: Result<Result<T, DecodeError>, StoreError>) -> Result<Read<T>, StoreError> {
    let not = |source| Read::Not(Unreadable { path: path.to_owned(), source });
    match read {
        Ok(Ok(read)) => Ok(Read::Done(read)),
        Ok(Err(error)) => Ok(not(error.into())),
        // Deleted since it was listed: its flush was aborted, and its letters are still in their queue; or it was merged.
        Err(StoreError::Missing { .. }) => Ok(Read::Gone(path.to_owned())),
        Err(error) if error.is_unavailable() => Err(error),
        Err(error) => Ok(not(ReadError::Refused(error))),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    path: &str,
    work: impl FnOnce() -> Result<T, DecodeError> + Send + 'static,
) -> Read<T> {
    let not = |source| Read::Not(Unreadable { path: path.to_owned(), source });
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Read::Done(done),
        Ok(Err(error)) => not(error.into()),
        Err(_) => not(ReadError::Panicked),
    }
}

/// For each letter of the file, whether it is one of `ids`.
fn picked(file: &File, ids: &HashSet<Ulid>) -> Result<Vec<bool>, DecodeError> {
    let mut picked = Vec::new();
    file.ids(|id| picked.push(ids.contains(&id)))?;
    Ok(picked)
}

/// Those of `ids`, of which nothing else need be known.
fn letters_among(file: &File, wanted: &Wanted, ids: &HashSet<Ulid>) -> Result<Letters, DecodeError> {
    let mut found = Letters::new();
    file.picked(&picked(file, ids)?, |letters| found.extend(letters.into_iter().map(|letter| wanted.ranked(letter))))?;
    wanted.cut(&mut found);
    Ok(found)
}

fn letters(file: &File, wanted: &Wanted, states: &States) -> Result<Letters, DecodeError> {
    if let Some(ids) = &wanted.among {
        return letters_among(file, wanted, ids);
    }
    let filter = &wanted.filter;
    let mut ranks: Vec<Option<Rank>> = Vec::new();
    file.summaries(|letter| ranks.push(wanted.matched(letter, states.of(letter.id))))?;
    if !filter.asks_for_message() {
        let mut first: Vec<Rank> = ranks.iter().flatten().copied().collect();
        if first.len() > wanted.most {
            let (_, last, _) = first.select_nth_unstable(wanted.most);
            let last = *last;
            ranks.iter_mut().for_each(|rank| *rank = rank.filter(|rank| *rank < last));
        }
    }
    let picked: Vec<bool> = ranks.iter().map(Option::is_some).collect();
    let mut found = Letters::new();
    file.picked(&picked, |letters| {
        // A body that lies elsewhere is looked into later.
        let is_wanted = |letter: &DeadLetter| {
            filter.matches_headers(letter) && (letter.blob.is_some() || filter.matches_body(&letter.document()))
        };
        let ranked = letters.into_iter().filter(is_wanted).map(|letter| wanted.ranked(letter));
        found.extend(ranked);
        if found.len() / 2 > wanted.most && !filter.asks_for_body() {
            wanted.cut(&mut found);
        }
    })?;
    if !filter.asks_for_body() {
        wanted.cut(&mut found);
    }
    Ok(found)
}
