//! What a flush is called, and where its records lie.

use chrono::{DateTime, NaiveDate, Utc};
use ulid::Ulid;

const INTENT: &str = ".intent.json";
const OUTCOME: &str = ".outcome.json";
const DATE: &str = "%Y-%m-%d";

/// One life of a shard's channel: what a broker gives back together. Its flushes bear its name, so that a listing tells
/// which were the last before it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    pub instance: String,
    pub shard: u16,
    /// New for each channel.
    pub id: Ulid,
}

/// The name of a flush within the store. Names of one pipeline order queue flushes by time, those of one file by offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushName {
    pipeline: String,
    /// Two path segments; see the module.
    stem: String,
}

impl FlushName {
    /// A flush of a shard of a queue; `flush` carries the time it began.
    pub fn queue(pipeline: &str, flush: Ulid, epoch: &Epoch) -> Self {
        let date = time_of(flush).map_or_else(|| "1970-01-01".to_owned(), |time| time.format(DATE).to_string());
        let Epoch { instance, shard, id } = epoch;
        Self { pipeline: pipeline.to_owned(), stem: format!("{date}/{flush}-{instance}-{shard}-{id}") }
    }

    /// The `attempt`th flush that begins at byte `start` of the file with this SHA-256, in hex.
    pub fn file(pipeline: &str, digest: &str, start: u64, attempt: u16) -> Self {
        Self { pipeline: pipeline.to_owned(), stem: format!("file-{digest}/{start:020}-{attempt:04}") }
    }

    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// When the flush of a queue began, by its owner's clock; `None` for a file's.
    pub fn begun_at(&self) -> Option<DateTime<Utc>> {
        let (date, rest) = self.stem.split_once('/')?;
        date_of(date)?;
        time_of(Ulid::from_string(rest.get(..26)?).ok()?)
    }

    /// Whose flush of a queue it is; `None` for a file's.
    pub fn epoch(&self) -> Option<Epoch> {
        self.begun_at()?;
        let mut parts = self.stem.split_once('/')?.1.split('-').skip(1);
        let (instance, shard, id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Epoch { instance: instance.to_owned(), shard: shard.parse().ok()?, id: Ulid::from_string(id).ok()? })
    }

    /// The start offset and attempt of a file's flush; `None` for a queue's.
    pub fn file_start(&self) -> Option<(u64, u16)> {
        let (start, attempt) = self.stem.strip_prefix("file-")?.split_once('/')?.1.split_once('-')?;
        Some((start.parse().ok()?, attempt.parse().ok()?))
    }

    /// Where its intent lies while the flush is open.
    pub fn intent_path(&self) -> String {
        format!("{}/{}{INTENT}", open_dir(&self.pipeline), self.stem)
    }

    pub fn outcome_path(&self) -> String {
        format!("{}/{}{OUTCOME}", flushes_dir(&self.pipeline), self.stem)
    }

    /// The name whose intent lies at `path`; `None` for any other path.
    pub(super) fn of_intent(pipeline: &str, path: &str) -> Option<Self> {
        Self::of_record(pipeline, path, &open_dir(pipeline), INTENT)
    }

    pub(super) fn of_outcome(pipeline: &str, path: &str) -> Option<Self> {
        Self::of_record(pipeline, path, &flushes_dir(pipeline), OUTCOME)
    }

    fn of_record(pipeline: &str, path: &str, dir: &str, suffix: &str) -> Option<Self> {
        let stem = path.strip_prefix(dir)?.strip_prefix('/')?.strip_suffix(suffix)?;
        let whole = stem.matches('/').count() == 1;
        whole.then(|| Self { pipeline: pipeline.to_owned(), stem: stem.to_owned() })
    }
}

impl std::fmt::Display for FlushName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.stem)
    }
}

pub(super) fn flushes_dir(pipeline: &str) -> String {
    format!("meta/flushes/{pipeline}")
}

pub(super) fn open_dir(pipeline: &str) -> String {
    format!("meta/flushes/{pipeline}/open")
}

pub(super) fn date_dir(pipeline: &str, date: NaiveDate) -> String {
    format!("meta/flushes/{pipeline}/{}", date.format(DATE))
}

pub(super) fn file_dir(pipeline: &str, digest: &str) -> String {
    format!("meta/flushes/{pipeline}/file-{digest}")
}

/// The directory name of a day's flushes, read back.
pub(super) fn date_of(name: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(name, DATE).ok()
}

/// A path before that of every flush of that day begun at `since` or later.
pub(super) fn floor(pipeline: &str, since: DateTime<Utc>) -> String {
    let ulid = Ulid::from_parts(u64::try_from(since.timestamp_millis()).unwrap_or_default(), 0);
    format!("{}/{ulid}", date_dir(pipeline, since.date_naive()))
}

fn time_of(ulid: Ulid) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(ulid.timestamp_ms()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_the_paths_of_its_records() {
        let at = DateTime::parse_from_rfc3339("2013-01-05T23:59:59.999Z").expect("a time").to_utc();
        let ulid = Ulid::from_parts(at.timestamp_millis() as u64, 42);
        let epoch = Epoch { instance: "host_1".to_owned(), shard: 3, id: Ulid::from_parts(7, 8) };
        for name in [FlushName::queue("flights", ulid, &epoch), FlushName::file("flights", "ab12", 77, 2)] {
            assert_eq!(FlushName::of_intent("flights", &name.intent_path()), Some(name.clone()));
            assert_eq!(FlushName::of_outcome("flights", &name.outcome_path()), Some(name.clone()));
            assert_eq!(FlushName::of_outcome("flights", &name.intent_path()), None);
        }
        let queue = FlushName::queue("flights", ulid, &epoch);
        let stem = format!("2013-01-05/{ulid}-host_1-3-{}", epoch.id);
        assert_eq!(queue.outcome_path(), format!("meta/flushes/flights/{stem}.outcome.json"));
        assert_eq!((queue.begun_at(), queue.epoch()), (Some(at), Some(epoch)));
        let file = FlushName::file("flights", "ab12", 77, 2);
        assert_eq!(file.intent_path(), "meta/flushes/flights/open/file-ab12/00000000000000000077-0002.intent.json");
        assert_eq!((file.begun_at(), file.epoch(), file.file_start()), (None, None, Some((77, 2))));
        assert_eq!(queue.file_start(), None);
        assert!(floor("flights", at) < queue.outcome_path());
    }
}
