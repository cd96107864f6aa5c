//! What the dead letters have in common: one line for each cause, however many they are.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::fingerprint::{GroupId, Signature};
use super::record::{IssueRef, Summary};
use super::sentence;

/// Ids kept of a group, to look at.
pub const SAMPLES_MAX: usize = 3;

/// Producers counted apart in a group; the rest are counted together.
pub const PRODUCERS_MAX: usize = 16;

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
    /// Letters counted here: those whose primary issue it is. These counts add up to all letters.
    pub count: u64,
    /// Letters that show it, as primary issue or beside another.
    pub showing: u64,
    /// Earliest and latest `dead_at` of those that show it.
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// The newest that show it, at most [`SAMPLES_MAX`], newest first.
    pub samples: Vec<Ulid>,
    /// Letters by `app_id`, the largest first.
    pub producers: Vec<(String, u64)>,
    /// Of further producers, and of letters without `app_id`.
    pub producers_other: u64,
}

/// Groups in the making. Holds memory by the number of groups, not of letters.
#[derive(Clone, Debug, Default)]
pub struct Groups(HashMap<GroupId, Group>);

impl Groups {
    /// Counts one letter in every group it belongs to. Issues whose group cannot be read count nowhere.
    pub fn add(&mut self, letter: &Summary<'_>) {
        for (position, issue) in letter.issues.iter().enumerate() {
            // An array with a fault in every element shows that fault once.
            if letter.issues[..position].iter().any(|earlier| earlier.group == issue.group) {
                continue;
            }
            if let Some(group) = self.group(letter, issue) {
                group.count += u64::from(position == 0);
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

impl Group {
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
            showing: 0,
            first_seen: letter.dead_at,
            last_seen: letter.dead_at,
            samples: Vec::with_capacity(SAMPLES_MAX),
            producers: Vec::new(),
            producers_other: 0,
        }
    }

    fn see(&mut self, letter: &Summary<'_>) {
        self.showing += 1;
        self.first_seen = self.first_seen.min(letter.dead_at);
        self.last_seen = self.last_seen.max(letter.dead_at);
        self.sample(letter.id);
        match letter.app_id {
            Some(producer) => self.produced(producer, 1),
            None => self.producers_other += 1,
        }
    }

    fn sample(&mut self, id: Ulid) {
        let place = self.samples.partition_point(|sample| *sample > id);
        if place < SAMPLES_MAX && self.samples.get(place) != Some(&id) {
            self.samples.truncate(SAMPLES_MAX - 1);
            self.samples.insert(place, id);
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
        self.showing += other.showing;
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        other.samples.into_iter().for_each(|id| self.sample(id));
        other.producers.iter().for_each(|(name, letters)| self.produced(name, *letters));
        self.producers_other += other.producers_other;
    }
}
