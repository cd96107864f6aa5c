//! Letters of many files in one order, with no more of them in memory than overlap in time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use ulid::Ulid;

use super::files::{Facts, Files};
use super::{Order, Unreadable};
use crate::store::StoreError;

/// A place in the order of letters: the next page begins behind it, whatever was written or merged meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// `dead_at` in microseconds since 1970.
    at_us: i64,
    id: Ulid,
}

impl Cursor {
    pub fn of(dead_at: DateTime<Utc>, id: Ulid) -> Self {
        Self { at_us: dead_at.timestamp_micros(), id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at_us, self.id)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor; take the one that came with the page before")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (at_us, id) = text.split_once('.').ok_or(NotACursor)?;
        Ok(Self { at_us: at_us.parse().map_err(|_| NotACursor)?, id: id.parse().map_err(|_| NotACursor)? })
    }
}

/// What sorts as the order asks for.
pub type Rank = (i64, u128);

impl Order {
    pub(super) fn rank(self, cursor: Cursor) -> Rank {
        let id = u128::from(cursor.id);
        match self {
            Order::OldestFirst => (cursor.at_us, id),
            // Every bit turned is the order turned.
            Order::NewestFirst => (!cursor.at_us, !id),
        }
    }

    fn cursor(self, (at_us, id): Rank) -> Cursor {
        match self {
            Order::OldestFirst => Cursor { at_us, id: id.into() },
            Order::NewestFirst => Cursor { at_us: !at_us, id: (!id).into() },
        }
    }

    /// No letter of the file comes before it.
    pub(super) fn start(self, facts: &Facts) -> Rank {
        match self {
            Order::OldestFirst => (facts.oldest.timestamp_micros(), 0),
            Order::NewestFirst => (!facts.newest.timestamp_micros(), 0),
        }
    }

    /// No letter of the file comes behind it.
    pub(super) fn end(self, facts: &Facts) -> Rank {
        match self {
            Order::OldestFirst => (facts.newest.timestamp_micros(), u128::MAX),
            Order::NewestFirst => (!facts.oldest.timestamp_micros(), u128::MAX),
        }
    }
}

/// What became of reading one file.
pub enum Read<T> {
    Done(T),
    /// It is gone since it was listed.
    Gone(String),
    Not(Unreadable),
}

type Outcome<T> = Result<Read<Vec<(Rank, T)>>, StoreError>;

type ReadFile<T> = Arc<dyn Fn(Arc<Facts>) -> BoxFuture<'static, Outcome<T>> + Send + Sync>;

/// Times that one file is found to be merged into another while that is read.
const MERGED_MAX: usize = 8;

/// The letters of `files`, as their reads come in.
pub struct Scan<T> {
    order: Order,
    read: ReadFile<T>,
    reads: BoxStream<'static, Outcome<T>>,
    /// Where the files begin that are not read yet, in order.
    starts: VecDeque<Rank>,
    pending: BTreeMap<Rank, T>,
    /// The last one given.
    last: Option<Rank>,
    pub unreadable: Vec<Unreadable>,
}

impl<T: Send + 'static> Scan<T> {
    /// Reads `reads_max` of `files` at the same time.
    pub fn new<F>(
        order: Order,
        mut files: Vec<Arc<Facts>>,
        reads_max: usize,
        read: impl Fn(Arc<Facts>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        files.sort_by(|one, other| (order.start(one), &one.path).cmp(&(order.start(other), &other.path)));
        let read: ReadFile<T> = Arc::new(move |facts| read(facts).boxed());
        let each = Arc::clone(&read);
        Self {
            order,
            starts: files.iter().map(|facts| order.start(facts)).collect(),
            reads: stream::iter(files).map(move |facts| each(facts)).buffered(reads_max).boxed(),
            read,
            pending: BTreeMap::new(),
            last: None,
            unreadable: Vec::new(),
        }
    }

    /// The next letter, and where it is. What is merged meanwhile is found in `files`.
    pub async fn next(&mut self, files: &Files) -> Result<Option<(Cursor, T)>, StoreError> {
        loop {
            let start = self.starts.front();
            let is_next = |rank: &Rank| start.is_none_or(|start| rank < start);
            if let Some(first) = self.pending.first_entry().filter(|first| is_next(first.key())) {
                let (rank, told) = first.remove_entry();
                self.last = Some(rank);
                return Ok(Some((self.order.cursor(rank), told)));
            }
            let Some(outcome) = self.reads.try_next().await? else { return Ok(None) };
            self.starts.pop_front();
            match outcome {
                Read::Done(told) => self.pending.extend(told),
                Read::Gone(path) => self.follow(path, files).await?,
                Read::Not(file) => self.unreadable.push(file),
            }
        }
    }

    /// Reads what stands for a file that is gone, if anything does: else its flush was aborted.
    async fn follow(&mut self, mut path: String, files: &Files) -> Result<(), StoreError> {
        for _ in 0..MERGED_MAX {
            let Some(facts) = files.standing_for(&path).await? else { return Ok(()) };
            match (self.read)(facts).await? {
                Read::Done(told) => {
                    // What was given already is of the other files that were merged: those of this one come later.
                    let last = self.last;
                    self.pending.extend(told.into_iter().filter(|(rank, _)| last.is_none_or(|last| *rank > last)));
                    return Ok(());
                }
                Read::Gone(again) => path = again,
                Read::Not(file) => {
                    self.unreadable.push(file);
                    return Ok(());
                }
            }
        }
        self.unreadable.push(Unreadable { path, source: super::ReadError::Merged });
        Ok(())
    }
}
