//! What a file of dead letters says of itself in its footer, so that groups are listed, and files left aside, without
//! reading a row.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::fingerprint::GroupId;
use super::groups::{Gone, Group, Groups, State};
use super::record::{DeadLetter, Summary};

/// The footer key of an index.
pub const INDEX_KEY: &str = "parqueduct.groups";

/// The footer key of what a merged file stands for: a JSON array of the paths of files.
pub const REPLACES_KEY: &str = "parqueduct.replaces";

const VERSION: u32 = 1;

/// Bytes of JSON; a longer one is not written, and its file is read row by row.
const BYTES_MAX: usize = 8 << 20;

/// What is known of all letters of a file.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub letters: u64,
    /// Those whose body lies in an object of its own.
    pub blobs: u64,
    /// Of the letters; `None` when there are none.
    pub span: Option<Span>,
    /// With those that the file does not hold any more.
    pub groups: Groups,
}

/// From when to when letters died, and their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub oldest: DateTime<Utc>,
    pub newest: DateTime<Utc>,
    pub first: Ulid,
    pub last: Ulid,
}

impl Span {
    fn of(letter: &Summary<'_>) -> Self {
        Self { oldest: letter.dead_at, newest: letter.dead_at, first: letter.id, last: letter.id }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Index {
    pub fn add_letter(&mut self, letter: &DeadLetter) {
        self.blobs += u64::from(letter.blob.is_some());
        self.add(&letter.summary());
    }

    /// Adds a letter whose body is in the file.
    pub fn add(&mut self, letter: &Summary<'_>) {
        self.letters += 1;
        let span = Span::of(letter);
        self.span = Some(self.span.map_or(span, |known| known.and(span)));
        self.groups.add(letter);
    }

    /// Makes it that of these letters, but for what it says of groups.
    pub fn tell_of(&mut self, letters: &[DeadLetter]) {
        self.letters = letters.len() as u64;
        self.blobs = letters.iter().filter(|letter| letter.blob.is_some()).count() as u64;
        self.span = letters.iter().map(|letter| Span::of(&letter.summary())).reduce(Span::and);
    }

    /// Adds what another file says.
    pub fn merge(&mut self, other: Self) {
        self.letters += other.letters;
        self.blobs += other.blobs;
        self.span = match (self.span, other.span) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        self.groups.merge(other.groups);
    }

    /// As the footer has it; `None` when it is too long to be of use there.
    pub(super) fn to_text(&self) -> Option<String> {
        let written = Written {
            version: VERSION,
            letters: self.letters,
            blobs: self.blobs,
            span: self.span.map(|span| WrittenSpan {
                dead_us: [span.oldest, span.newest].map(|at| at.timestamp_micros()),
                ids: [span.first, span.last].map(|id| id.to_string()),
            }),
            groups: self.groups.sorted().map(WrittenGroup::of).collect(),
        };
        let text = serde_json::to_string(&written).expect("an index has text keys");
        (text.len() <= BYTES_MAX).then_some(text)
    }

    /// `None` for what this version cannot read: then the rows are to be read.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(text).ok()?;
        if written.version != VERSION {
            return None;
        }
        let span = match written.span {
            Some(WrittenSpan { dead_us: [oldest, newest], ids: [first, last] }) => Some(Span {
                oldest: DateTime::from_timestamp_micros(oldest)?,
                newest: DateTime::from_timestamp_micros(newest)?,
                first: first.parse().ok()?,
                last: last.parse().ok()?,
            }),
            None => None,
        };
        let groups = written.groups.into_iter().map(WrittenGroup::read).collect::<Option<_>>()?;
        Some(Self { letters: written.letters, blobs: written.blobs, span, groups })
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    letters: u64,
    blobs: u64,
    span: Option<WrittenSpan>,
    groups: Vec<WrittenGroup>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSpan {
    dead_us: [i64; 2],
    ids: [String; 2],
}

#[derive(Serialize, Deserialize)]
struct WrittenGroup {
    group: String,
    pipeline: String,
    code: String,
    path: String,
    title: String,
    count: u64,
    showing: u64,
    seen_us: [i64; 2],
    samples: Vec<String>,
    producers: Vec<(String, u64)>,
    producers_other: u64,
    /// By turns: how many minutes since the one before (the first: since 1970), letters.
    minutes: Vec<i64>,
    /// Label, and when it was last seen.
    schemas: Vec<(String, i64)>,
    #[serde(default, skip_serializing_if = "Gone::is_none")]
    gone: Gone,
}

impl WrittenGroup {
    fn of(group: &Group) -> Self {
        let mut minutes = Vec::with_capacity(group.minutes.len() * 2);
        let mut before = 0;
        for (minute, letters) in &group.minutes {
            minutes.extend([minute - before, i64::try_from(*letters).unwrap_or(i64::MAX)]);
            before = *minute;
        }
        Self {
            group: group.id.to_string(),
            pipeline: group.pipeline.clone(),
            code: group.code.clone(),
            path: group.path.clone(),
            title: group.title.clone(),
            count: group.count,
            showing: group.showing,
            seen_us: [group.first_seen, group.last_seen].map(|at| at.timestamp_micros()),
            samples: group.samples.iter().map(Ulid::to_string).collect(),
            producers: group.producers.clone(),
            producers_other: group.producers_other,
            minutes,
            schemas: group.schemas.iter().map(|(label, at)| (label.clone(), at.timestamp_micros())).collect(),
            gone: group.gone,
        }
    }

    fn read(self) -> Option<Group> {
        let instant = DateTime::from_timestamp_micros;
        let mut minute = 0;
        let minutes = self.minutes.chunks_exact(2).map(|pair| {
            minute += pair[0];
            (minute, pair[1].unsigned_abs())
        });
        Some(Group {
            id: GroupId::parse(&self.group)?,
            minutes: minutes.collect(),
            pipeline: self.pipeline,
            code: self.code,
            path: self.path,
            title: self.title,
            state: State::Open,
            count: self.count,
            open: self.count,
            showing: self.showing,
            recovered: 0,
            last_recovered: None,
            first_seen: instant(self.seen_us[0])?,
            last_seen: instant(self.seen_us[1])?,
            samples: self.samples.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?,
            producers: self.producers,
            producers_other: self.producers_other,
            schemas: self.schemas.into_iter().map(|(label, at)| Some((label, instant(at)?))).collect::<Option<_>>()?,
            gone: self.gone,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{at, letter, nulls, truncated};
    use super::*;

    #[test]
    fn an_index_is_written_and_read_back() {
        let letters = [
            letter("flights", 0, 1, b"{}", &nulls()),
            letter("flights", 130, 2, b"{}", &nulls()),
            letter("flights", 61, 3, b"{\"a\"", &truncated(4)),
        ];
        let mut index = Index::default();
        letters.iter().for_each(|letter| index.add(&letter.summary()));
        let back = Index::parse(&index.to_text().unwrap()).unwrap();
        let groups: Vec<&Group> = back.groups.sorted().collect();
        assert_eq!(groups, index.groups.sorted().collect::<Vec<_>>());
        assert_eq!((back.letters, back.span), (3, index.span));
        let span = back.span.unwrap();
        assert_eq!((span.oldest, span.newest), (at(0), at(130)));
        assert_eq!((span.first, span.last), (letters[0].id, letters[1].id));
        let delay = groups.iter().find(|group| group.count == 2).unwrap();
        let minute = at(0).timestamp() / 60;
        assert_eq!(delay.minutes.iter().collect::<Vec<_>>(), [(&minute, &1), (&(minute + 2), &1)]);
        assert_eq!(delay.schemas.iter().collect::<Vec<_>>(), [(&"flight@1".to_owned(), &at(130))]);
    }

    #[test]
    fn what_a_newer_program_wrote_is_not_guessed_at() {
        let text = Index::default().to_text().unwrap();
        assert!(Index::parse(&text).is_some());
        assert!(Index::parse(&text.replace("\"version\":1", "\"version\":2")).is_none());
        assert!(Index::parse("{}").is_none());
    }
}
