//! Finding dead letters in the store. Reads are concurrent but bounded; a file that cannot be read is named, and the
//! others still count.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ulid::Ulid;

use super::fingerprint::GroupId;
use super::groups::{Group, Groups};
use super::record::{self, DeadLetter, DecodeError, Narrowing, PREFIX, Summary};
use crate::store::{Store, StoreError};

/// Which dead letters are meant. All conditions hold together; an absent one holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub pipeline: Option<String>,
    /// One of the issues is of that group.
    pub group: Option<GroupId>,
    /// One of the issues has that code, or a code below it: `validate` means `validate.type` too.
    pub code: Option<String>,
    /// Dead at that instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Dead before that instant.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    pub fn matches(&self, letter: &Summary<'_>) -> bool {
        self.pipeline.as_ref().is_none_or(|pipeline| pipeline == letter.pipeline)
            && self.since.is_none_or(|since| letter.dead_at >= since)
            && self.until.is_none_or(|until| letter.dead_at < until)
            && self.group.as_ref().is_none_or(|group| letter.issues.iter().any(|issue| issue.group == group.as_str()))
            && (self.matches_code(letter.code) || letter.issues.iter().any(|issue| self.matches_code(issue.code)))
    }

    fn matches_code(&self, code: &str) -> bool {
        let below =
            |wanted: &str| code.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.code.as_deref().is_none_or(below)
    }

    /// Whether the directory of `date` may hold a match. A file lies in the directory of its newest letter, and spans
    /// less than a day.
    fn may_hold(&self, date: NaiveDate) -> bool {
        let last = |until: DateTime<Utc>| until.date_naive().checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
        self.since.is_none_or(|since| date >= since.date_naive()) && self.until.is_none_or(|until| date <= last(until))
    }

    fn narrowing(&self) -> Narrowing {
        Narrowing { id: None, group: self.group.clone() }
    }
}

/// By the time of the flush that wrote them, and by `dead_at` within one flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// A file of dead letters that could not be read.
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
}

/// The dead letters of a store.
pub struct Records {
    store: Store,
    /// Files read at the same time; each is held in memory whole.
    reads_max: usize,
}

impl Records {
    /// # Panics
    /// If `reads_max` is 0.
    pub fn new(store: Store, reads_max: usize) -> Self {
        assert!(reads_max > 0, "nothing is read without a read");
        Self { store, reads_max }
    }

    /// Gives each matching letter, without its body, as `tell` tells it, until `each` has enough.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be listed, or is unavailable. Files that cannot be read are returned.
    pub async fn summaries<T: Send + 'static>(
        &self,
        filter: &Filter,
        order: Order,
        tell: impl Fn(&Summary<'_>) -> T + Clone + Send + 'static,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<Vec<Unreadable>, StoreError> {
        let wanted = filter.clone();
        let read = move |file: Bytes| {
            let mut told = Vec::new();
            record::decode_summaries(file, &wanted.narrowing(), |letter| {
                if wanted.matches(letter) {
                    told.push(((letter.dead_at, letter.id), tell(letter)));
                }
            })?;
            told.sort_by_key(|(when, _)| *when);
            Ok(told)
        };
        self.visit(filter, order, read, |mut told| {
            if order == Order::NewestFirst {
                told.reverse();
            }
            told.into_iter().try_for_each(|(_, told)| each(told))
        })
        .await
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
    ) -> Result<Vec<Unreadable>, StoreError> {
        let wanted = filter.clone();
        let read = move |file: Bytes| {
            let mut letters = record::decode_where(file, &wanted.narrowing(), |letter| wanted.matches(letter))?;
            letters.sort_by_key(|letter| (letter.dead_at, letter.id));
            Ok(letters)
        };
        self.visit(filter, order, read, |mut letters| {
            if order == Order::NewestFirst {
                letters.reverse();
            }
            letters.into_iter().try_for_each(&mut each)
        })
        .await
    }

    /// The groups of the matching letters, the largest first. With a group or a code to look for, only the groups of
    /// that id or code, not their letters' others.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn groups(&self, filter: &Filter) -> Result<(Vec<Group>, Vec<Unreadable>), StoreError> {
        let wanted = filter.clone();
        let read = move |file: Bytes| {
            let mut groups = Groups::default();
            record::decode_summaries(file, &wanted.narrowing(), |letter| {
                if wanted.matches(letter) {
                    groups.add(letter);
                }
            })?;
            Ok(groups)
        };
        let mut all = Groups::default();
        let each = |groups| {
            all.merge(groups);
            ControlFlow::Continue(())
        };
        let unreadable = self.visit(filter, Order::OldestFirst, read, each).await?;
        let mut groups = all.into_sorted();
        groups
            .retain(|group| filter.group.as_ref().is_none_or(|id| *id == group.id) && filter.matches_code(&group.code));
        Ok((groups, unreadable))
    }

    /// The letter `id`, if there is one. Only directories of the id's date and later are looked into.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn find(&self, id: Ulid) -> Result<(Option<DeadLetter>, Vec<Unreadable>), StoreError> {
        let born = DateTime::from_timestamp_millis(id.timestamp_ms() as i64);
        let since = Filter { since: born, ..Filter::default() };
        let narrowing = Narrowing { id: Some(id), group: None };
        let read = move |file: Bytes| record::decode_where(file, &narrowing, |letter| letter.id == id);
        let mut found = None;
        let each = |letters: Vec<DeadLetter>| match letters.into_iter().next() {
            Some(letter) => {
                found = Some(letter);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        };
        let unreadable = self.visit(&since, Order::OldestFirst, read, each).await?;
        Ok((found, unreadable))
    }

    /// Reads every file that may hold a match, day by day, and gives what `read` made of it to `each`, in order.
    async fn visit<T: Send + 'static>(
        &self,
        filter: &Filter,
        order: Order,
        read: impl Fn(Bytes) -> Result<T, DecodeError> + Clone + Send + 'static,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<Vec<Unreadable>, StoreError> {
        let mut unreadable = Vec::new();
        let mut days: Vec<(NaiveDate, Vec<String>)> = self.days(filter).await?.into_iter().collect();
        if order == Order::NewestFirst {
            days.reverse();
        }
        for (_, directories) in days {
            let paths = self.files(&directories, order).await?;
            let reads = stream::iter(paths).map(|path| self.read(path, read.clone()));
            let mut reads = std::pin::pin!(reads.buffered(self.reads_max));
            while let Some(outcome) = reads.try_next().await? {
                match outcome {
                    Read::Gone => {}
                    Read::Not(file) => unreadable.push(file),
                    Read::Done(done) => {
                        if each(done).is_break() {
                            return Ok(unreadable);
                        }
                    }
                }
            }
        }
        Ok(unreadable)
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

    /// The files in `directories`, by the ids they begin with, which is by time.
    async fn files(&self, directories: &[String], order: Order) -> Result<Vec<String>, StoreError> {
        let mut paths = Vec::new();
        for directory in directories {
            let mut entries = self.store.list(directory, None);
            while let Some(entry) = entries.try_next().await? {
                if record::parse_path(&entry.path).is_some() {
                    paths.push(entry.path);
                }
            }
        }
        paths.sort_by(|one, other| file_name(one).cmp(file_name(other)));
        if order == Order::NewestFirst {
            paths.reverse();
        }
        Ok(paths)
    }

    async fn read<T: Send + 'static>(
        &self,
        path: String,
        read: impl FnOnce(Bytes) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<Read<T>, StoreError> {
        let not = |source| Read::Not(Unreadable { path: path.clone(), source });
        let file = match self.store.get(&path).await {
            Ok(file) => file,
            // Deleted since it was listed: its flush was aborted, and its letters are still in their queue.
            Err(StoreError::Missing { .. }) => return Ok(Read::Gone),
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => return Ok(not(ReadError::Refused(error))),
        };
        Ok(match tokio::task::spawn_blocking(move || read(file)).await {
            Ok(Ok(done)) => Read::Done(done),
            Ok(Err(error)) => not(error.into()),
            Err(_) => not(ReadError::Panicked),
        })
    }
}

/// What became of reading one file.
enum Read<T> {
    Done(T),
    Gone,
    Not(Unreadable),
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{at, id, letter, nulls, truncated};
    use super::*;

    const DAY: i64 = 86_400;

    /// Stores `letters` as one flush, and says where.
    async fn flushed(store: &Store, letters: &[DeadLetter]) -> String {
        let newest = letters.iter().map(|letter| letter.dead_at).max().unwrap();
        let path = record::path(&letters[0].origin.pipeline, newest, letters[0].id, "host_1", 0);
        store.create(&path, record::encode(letters).unwrap()).await.unwrap();
        path
    }

    /// Flights of three days, one flush over midnight among them, and an order.
    async fn records() -> (Records, Vec<DeadLetter>) {
        let store = Store::memory();
        let letters = vec![
            letter("flights", 10, 1, b"{\"a\":1}", &nulls()),
            letter("flights", DAY - 5, 2, b"{\"b\"", &truncated(4)),
            letter("flights", DAY + 5, 3, b"{\"c\":1}", &nulls()),
            letter("flights", 2 * DAY, 4, b"{\"d\":1}", &nulls()),
            letter("orders", DAY + 9, 5, b"{\"e\":1}", &nulls()),
        ];
        for flush in [&letters[..1], &letters[1..3], &letters[3..4], &letters[4..]] {
            flushed(&store, flush).await;
        }
        store.create("dlq/records/v1/flights/notes.txt", Bytes::from_static(b"not ours")).await.unwrap();
        (Records::new(store, 3), letters)
    }

    async fn serials(records: &Records, filter: &Filter, order: Order) -> Vec<u128> {
        let mut told = Vec::new();
        let each = |serial| {
            told.push(serial);
            ControlFlow::Continue(())
        };
        let unreadable = records.summaries(filter, order, |letter| letter.id.random(), each).await.unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let mut whole = Vec::new();
        let each = |letter: DeadLetter| {
            whole.push(letter.id.random());
            ControlFlow::Continue(())
        };
        records.letters(filter, order, each).await.unwrap();
        assert_eq!(told, whole, "a summary and a letter are found alike");
        told
    }

    #[tokio::test]
    async fn letters_come_by_time_in_either_direction() {
        let (records, _) = records().await;
        assert_eq!(serials(&records, &Filter::default(), Order::OldestFirst).await, [1, 2, 3, 5, 4]);
        assert_eq!(serials(&records, &Filter::default(), Order::NewestFirst).await, [4, 5, 3, 2, 1]);
    }

    #[tokio::test]
    async fn each_condition_narrows_and_all_hold_together() {
        let (records, letters) = records().await;
        let oldest = async |filter: Filter| serials(&records, &filter, Order::OldestFirst).await;
        let all = Filter::default;
        assert_eq!(oldest(Filter { pipeline: Some("orders".into()), ..all() }).await, [5]);
        assert_eq!(oldest(Filter { pipeline: Some("nobody".into()), ..all() }).await, []);
        assert_eq!(oldest(Filter { code: Some("decode.json.truncated".into()), ..all() }).await, [2]);
        assert_eq!(oldest(Filter { code: Some("decode".into()), ..all() }).await, [2]);
        assert_eq!(oldest(Filter { code: Some("dec".into()), ..all() }).await, []);
        // The second issue of a letter counts as well; groups are a pipeline's own.
        let second = Some(letters[0].issues[1].group.clone());
        assert_eq!(oldest(Filter { group: second.clone(), ..all() }).await, [1, 3, 4]);
        // From the letter before midnight, though its file lies in the next day's directory, and up to but without one.
        let since = Some(at(DAY - 5));
        assert_eq!(oldest(Filter { since, ..all() }).await, [2, 3, 5, 4]);
        assert_eq!(oldest(Filter { until: since, ..all() }).await, [1]);
        assert_eq!(oldest(Filter { since, until: Some(at(DAY)), ..all() }).await, [2]);
        assert_eq!(oldest(Filter { since, until: Some(at(2 * DAY)), group: second, ..all() }).await, [3]);
    }

    #[tokio::test]
    async fn a_letter_is_found_by_its_id() {
        let (records, letters) = records().await;
        for letter in &letters {
            let (found, unreadable) = records.find(letter.id).await.unwrap();
            assert_eq!((found.as_ref(), unreadable.len()), (Some(letter), 0));
        }
        assert_eq!(records.find(id(10, 99)).await.unwrap().0, None);
    }

    #[tokio::test]
    async fn reading_stops_when_there_is_enough() {
        let (records, _) = records().await;
        let mut told = Vec::new();
        let each = |serial| {
            told.push(serial);
            if told.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let tell = |letter: &Summary<'_>| letter.id.random();
        records.summaries(&Filter::default(), Order::NewestFirst, tell, each).await.unwrap();
        assert_eq!(told, [4, 5]);
    }

    #[tokio::test]
    async fn groups_count_each_letter_once_and_show_all_issues() {
        let (records, letters) = records().await;
        let (groups, _) = records.groups(&Filter::default()).await.unwrap();
        let told: Vec<_> = groups.iter().map(|g| (g.pipeline.as_str(), g.title.as_str(), g.count, g.showing)).collect();
        let delay = "`/arrival/delay_min` is null, the schema asks for integer";
        let tail = "`/tailnum` is null, the schema asks for string";
        assert_eq!(told[0], ("flights", delay, 3, 3));
        assert!(told.contains(&("flights", tail, 0, 3)));
        assert!(told.contains(&("flights", "the body ends in the middle of a JSON document", 1, 1)));
        assert!(told.contains(&("orders", delay, 1, 1)));
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), letters.len() as u64);
        assert_eq!((groups[0].first_seen, groups[0].last_seen), (at(10), at(2 * DAY)));
        assert_eq!(groups[0].samples, [letters[3].id, letters[2].id, letters[0].id]);
        assert_eq!(groups[0].producers, [("tower".to_owned(), 3)]);
        let one = Filter { group: Some(groups[0].id.clone()), ..Filter::default() };
        assert_eq!(records.groups(&one).await.unwrap().0, [groups[0].clone()]);
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_the_others_are_read() {
        let (records, letters) = records().await;
        let path = "dlq/records/v1/flights/date=2013-01-02/00000000000000000000000000-host_1-0.parquet";
        records.store.create(path, Bytes::from_static(b"PAR1 but no")).await.unwrap();
        let mut read = 0;
        let each = |_| {
            read += 1;
            ControlFlow::Continue(())
        };
        let unreadable = records.letters(&Filter::default(), Order::OldestFirst, each).await.unwrap();
        assert_eq!(read, letters.len());
        let told: Vec<_> = unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("dead letters in {path} cannot be read and are left out")]);
        assert!(matches!(unreadable[0].source, ReadError::Broken(DecodeError::Unreadable(_))));
        assert_eq!(records.groups(&Filter::default()).await.unwrap().1.len(), 1);
    }

    #[tokio::test]
    async fn an_empty_store_has_no_dead_letters() {
        let records = Records::new(Store::memory(), 1);
        assert_eq!(serials(&records, &Filter::default(), Order::NewestFirst).await, []);
        assert_eq!(records.groups(&Filter::default()).await.unwrap().0, []);
    }
}
