//! What the dead letters have in common: one line for each cause, however many they are.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::fingerprint::{GroupId, Signature};
use super::record::{IssueRef, Summary};
use super::sentence;

/// Ids kept of a group, to look at: the first, the newest, and some of those in between, drawn by lot.
pub const SAMPLES_MAX: usize = 5;

/// Producers counted apart in a group; the rest are counted together.
pub const PRODUCERS_MAX: usize = 16;

/// Schemas told apart in a group; of further ones nothing is kept.
pub const SCHEMAS_MAX: usize = 64;

/// Where a group is in its life; [`super::life::standing`] tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has dealt with it.
    Open,
    /// Somebody knows of it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// It was over, and came back.
    Regressed,
    /// Nobody wants to hear of it.
    Ignored,
}

impl State {
    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub const ALL: [State; 5] = [State::Open, State::Acknowledged, State::Resolved, State::Regressed, State::Ignored];

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Acknowledged => "acknowledged",
            State::Resolved => "resolved",
            State::Regressed => "regressed",
            State::Ignored => "ignored",
        }
    }
}

/// The dead letters that show one issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub pipeline: String,
    pub code: String,
    /// Normalised.
    pub path: String,
    /// A sentence; holds no value of an event.
    pub title: String,
    pub state: State,
    /// Letters counted here: those whose primary issue it is. These counts add up to all letters ever kept.
    pub count: u64,
    /// Those of them that are still dead letters: neither recovered nor removed since.
    pub open: u64,
    /// Letters that show it, as primary issue or beside another.
    pub showing: u64,
    /// Those of them that are recovered, and when the last one was.
    pub recovered: u64,
    pub last_recovered: Option<DateTime<Utc>>,
    /// Earliest and latest `dead_at` of those that show it.
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// Some that show it, at most [`SAMPLES_MAX`], newest first.
    pub samples: Vec<Ulid>,
    /// Letters by `app_id`, the largest first.
    pub producers: Vec<(String, u64)>,
    /// Of further producers, and of letters without `app_id`.
    pub producers_other: u64,
    /// Letters that show it, by the minute of `dead_at`, counted from 1970.
    pub minutes: BTreeMap<i64, u64>,
    /// The schemas (`name@version`) whose events show it, and when each last did; at most [`SCHEMAS_MAX`].
    pub schemas: BTreeMap<String, DateTime<Utc>>,
    /// What of the above is kept no longer.
    pub gone: Gone,
}

/// Letters of a group that were removed by retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub counted: u64,
    pub showing: u64,
    /// Those among them that were recovered before.
    pub recovered_counted: u64,
    pub recovered_showing: u64,
}

impl Gone {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn merge(&mut self, other: Self) {
        self.counted += other.counted;
        self.showing += other.showing;
        self.recovered_counted += other.recovered_counted;
        self.recovered_showing += other.recovered_showing;
    }
}

/// Groups in the making. Holds memory by the number of groups, not of letters.
#[derive(Clone, Debug, Default)]
pub struct Groups(HashMap<GroupId, Group>);

impl Groups {
    /// Counts one dead letter in every group it belongs to. Issues whose group cannot be read count nowhere.
    pub fn add(&mut self, letter: &Summary<'_>) {
        self.add_as(letter, false);
    }

    /// As [`Groups::add`], of a letter that may be recovered.
    pub fn add_as(&mut self, letter: &Summary<'_>, recovered: bool) {
        for (position, issue) in letter.issues.iter().enumerate() {
            // An array with a fault in every element shows that fault once.
            if letter.issues[..position].iter().any(|earlier| earlier.group == issue.group) {
                continue;
            }
            if let Some(group) = self.group(letter, issue) {
                group.count += u64::from(position == 0);
                group.open += u64::from(position == 0 && !recovered);
                group.recovered += u64::from(recovered);
                group.see(letter);
            }
        }
    }

    fn group(&mut self, letter: &Summary<'_>, issue: &IssueRef<'_>) -> Option<&mut Group> {
        // Looked up by text first, so that the many letters of a known group cost no allocation.
        if !self.0.contains_key(issue.group) {
            let id = GroupId::parse(issue.group)?;
            self.0.insert(id.clone(), Group::new(id, letter, issue));
        }
        self.0.get_mut(issue.group)
    }

    /// Adds what `other` counted, of other letters.
    pub fn merge(&mut self, other: Groups) {
        for (id, group) in other.0 {
            match self.0.get_mut(&id) {
                Some(known) => known.merge(group),
                None => {
                    self.0.insert(id, group);
                }
            }
        }
    }

    /// Notes that a letter counted before is kept no longer.
    pub fn let_go(&mut self, letter: &Summary<'_>, recovered: bool) {
        for (position, issue) in letter.issues.iter().enumerate() {
            if letter.issues[..position].iter().any(|earlier| earlier.group == issue.group) {
                continue;
            }
            let Some(group) = self.0.get_mut(issue.group) else { continue };
            let (counted, recovered) = (u64::from(position == 0), u64::from(recovered));
            group.gone.merge(Gone {
                counted,
                showing: 1,
                recovered_counted: counted * recovered,
                recovered_showing: recovered,
            });
            group.samples.retain(|sample| *sample != letter.id);
        }
    }

    /// By the id.
    pub fn sorted(&self) -> impl Iterator<Item = &Group> {
        let mut groups: Vec<&Group> = self.0.values().collect();
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        groups.into_iter()
    }

    pub fn get(&self, id: &GroupId) -> Option<&Group> {
        self.0.get(id)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.0.values_mut()
    }

    /// The largest first; equals by the id.
    pub fn into_sorted(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().collect();
        for group in &mut groups {
            group.producers.sort_by(|(one, more), (other, less)| (less, one).cmp(&(more, other)));
        }
        groups.sort_by(|one, other| (other.count, other.showing, &one.id).cmp(&(one.count, one.showing, &other.id)));
        groups
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Self(groups.into_iter().map(|group| (group.id.clone(), group)).collect())
    }
}

/// Keeps `id` among `samples`, which are newest first, if it is the first, the newest, or has one of the lowest lots between.
fn keep_sample(samples: &mut Vec<Ulid>, id: Ulid) {
    let place = samples.partition_point(|sample| *sample > id);
    if samples.get(place) == Some(&id) {
        return;
    }
    samples.insert(place, id);
    if samples.len() > SAMPLES_MAX {
        let between = 1..samples.len() - 1;
        let last = between.max_by_key(|place| lot(samples[*place])).expect("more than two are kept");
        samples.remove(last);
    }
}

/// What decides whether a letter is kept as a sample: the lowest lots are. It depends on the letter alone, so that the same
/// ones are kept in whatever order letters, or groups of them, come together.
fn lot(id: Ulid) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    let mixed = |bits: u64| {
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let bits = u128::from(id);
    mixed(mixed((bits >> 64) as u64).wrapping_add(bits as u64))
}

impl Group {
    /// Letters that show it and are kept.
    pub fn kept(&self) -> u64 {
        self.showing.saturating_sub(self.gone.showing)
    }

    fn new(id: GroupId, letter: &Summary<'_>, issue: &IssueRef<'_>) -> Self {
        let IssueRef { code, path, expected, actual, offset, title, .. } = *issue;
        let signature = Signature::new(code, path, expected, actual, offset, letter.body_bytes);
        Self {
            id,
            pipeline: letter.pipeline.to_owned(),
            code: code.to_owned(),
            path: signature.path.to_owned(),
            title: title.map_or_else(|| sentence::of(&signature), str::to_owned),
            state: State::Open,
            count: 0,
            open: 0,
            showing: 0,
            recovered: 0,
            last_recovered: None,
            first_seen: letter.dead_at,
            last_seen: letter.dead_at,
            samples: Vec::with_capacity(SAMPLES_MAX),
            producers: Vec::new(),
            producers_other: 0,
            minutes: BTreeMap::new(),
            schemas: BTreeMap::new(),
            gone: Gone::default(),
        }
    }

    /// Letters that show it, by spans of `span_minutes` minutes: the newest `most` spans in which there were any, oldest first,
    /// each with its start.
    ///
    /// # Panics
    /// If `span_minutes` is not positive.
    pub fn course(&self, span_minutes: i64, most: usize) -> Vec<(DateTime<Utc>, u64)> {
        assert!(span_minutes > 0, "a span has a length");
        let mut spans = BTreeMap::<i64, u64>::new();
        for (minute, letters) in self.minutes.iter().rev() {
            let start = minute.div_euclid(span_minutes) * span_minutes;
            if spans.len() == most && !spans.contains_key(&start) {
                break;
            }
            *spans.entry(start).or_default() += letters;
        }
        let start = |minute: i64| DateTime::from_timestamp(minute * 60, 0);
        spans.into_iter().filter_map(|(minute, letters)| Some((start(minute)?, letters))).collect()
    }

    fn see(&mut self, letter: &Summary<'_>) {
        self.showing += 1;
        self.first_seen = self.first_seen.min(letter.dead_at);
        self.last_seen = self.last_seen.max(letter.dead_at);
        keep_sample(&mut self.samples, letter.id);
        *self.minutes.entry(letter.dead_at.timestamp().div_euclid(60)).or_default() += 1;
        self.saw_schema(letter.schema, letter.dead_at);
        match letter.app_id {
            Some(producer) => self.produced(producer, 1),
            None => self.producers_other += 1,
        }
    }

    fn saw_schema(&mut self, label: &str, at: DateTime<Utc>) {
        let known = self.schemas.len();
        match self.schemas.get_mut(label) {
            Some(last) => *last = at.max(*last),
            None if known < SCHEMAS_MAX && !label.is_empty() => {
                self.schemas.insert(label.to_owned(), at);
            }
            None => {}
        }
    }

    fn produced(&mut self, producer: &str, letters: u64) {
        match self.producers.iter().position(|(name, _)| name == producer) {
            Some(known) => self.producers[known].1 += letters,
            None if self.producers.len() < PRODUCERS_MAX => self.producers.push((producer.to_owned(), letters)),
            None => self.producers_other += letters,
        }
    }

    fn merge(&mut self, other: Group) {
        self.count += other.count;
        self.open += other.open;
        self.showing += other.showing;
        self.recovered += other.recovered;
        self.last_recovered = self.last_recovered.max(other.last_recovered);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        other.samples.into_iter().for_each(|id| keep_sample(&mut self.samples, id));
        other.producers.iter().for_each(|(name, letters)| self.produced(name, *letters));
        self.producers_other += other.producers_other;
        other.minutes.into_iter().for_each(|(minute, letters)| *self.minutes.entry(minute).or_default() += letters);
        other.schemas.iter().for_each(|(label, at)| self.saw_schema(label, *at));
        self.gone.merge(other.gone);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{self, id};
    use super::*;

    #[test]
    fn samples_are_the_first_the_newest_and_some_between_in_whatever_order_they_come_together() {
        let ids: Vec<Ulid> = (0..200).map(|n| id(n, n as u128)).collect();
        let kept = |order: &mut dyn Iterator<Item = usize>| {
            let mut samples = Vec::new();
            order.for_each(|at| keep_sample(&mut samples, ids[at]));
            samples
        };
        let forwards = kept(&mut (0..200));
        assert_eq!((forwards.len(), forwards[0], forwards[SAMPLES_MAX - 1]), (SAMPLES_MAX, ids[199], ids[0]));
        assert!(forwards.is_sorted_by(|newer, older| newer > older), "{forwards:?}");
        assert_eq!(kept(&mut (0..200).rev()), forwards);
        assert_eq!(kept(&mut (0..200).map(|n| n * 77 % 200)), forwards);
        let mut merged = kept(&mut (90..200));
        for part in [kept(&mut (0..40)), kept(&mut (40..90))] {
            part.into_iter().for_each(|id| keep_sample(&mut merged, id));
        }
        assert_eq!(merged, forwards);
        // What lies between is drawn from all of it, and not from one end.
        let mut middle = 0;
        for begin in 0..150_usize {
            let between = kept(&mut (begin..begin + 50));
            middle += between[1..SAMPLES_MAX - 1].iter().filter(|sample| **sample < ids[begin + 25]).count();
        }
        assert!((150..300).contains(&middle), "{middle} of 450 are of the older half");
    }

    #[test]
    fn the_course_of_a_group_is_told_by_spans_and_the_newest_of_them_are_kept() {
        let mut groups = Groups::default();
        for minute in [0, 0, 1, 59, 60, 61, 300] {
            let mut letter = samples::letter("flights", 0, 1, b"{}", &samples::nulls());
            letter.dead_at = DateTime::from_timestamp(minute * 60 + 5, 0).expect("in range");
            groups.add(&letter.summary());
        }
        let group = groups.into_sorted().remove(0);
        let told = |span, most| {
            let course = group.course(span, most).into_iter();
            course.map(|(start, letters)| (start.timestamp() / 60, letters)).collect::<Vec<_>>()
        };
        assert_eq!(told(60, 10), [(0, 4), (60, 2), (300, 1)]);
        assert_eq!(told(60, 2), [(60, 2), (300, 1)]);
        assert_eq!(told(1, 3), [(60, 1), (61, 1), (300, 1)]);
    }
}
