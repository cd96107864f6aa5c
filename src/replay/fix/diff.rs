//! Which fields differ between two messages: paths and kinds, never values.

use std::collections::HashSet;

use super::body;
use super::envelope::{Property, header_kind};
use super::tree::{Tree, kind};
use crate::content;
use crate::event::{HeaderValue, Message};
use crate::ingest::Wires;
use crate::value::push_segment;

/// More fields than these are no longer told apart.
const CHANGES_MAX: usize = 1000;

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Body,
    Header,
    Property,
}

impl Place {
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Body => "body",
            Place::Header => "header",
            Place::Property => "property",
        }
    }
}

/// One field that differs, as [`kind`] names what it was and what it is; both the same where only the value differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldChange {
    pub place: Place,
    /// In the body a JSON pointer with `[*]` for every index, and empty for the whole; else the name.
    pub path: String,
    pub from: &'static str,
    pub to: &'static str,
}

/// The fields that differ, of bodies that are written so, each once, in the order of `before`; at most a thousand.
pub fn diff(before: &Message, after: &Message, wires: &Wires) -> Vec<FieldChange> {
    let mut changes = Changes::default();
    if before.body != after.body {
        let read = |message: &Message| {
            let opened = content::opened(message);
            body::read(&wires.of_body(message, &opened), &opened)
        };
        match (read(before), read(after)) {
            (Some(before), Some(after)) => changes.compare(&before, &after, &mut String::new()),
            (before, after) => {
                let kind = |tree: Option<Tree>| tree.map_or(kind::NOT_JSON, |tree| tree.kind());
                changes.note(Place::Body, "", kind(before), kind(after));
            }
        }
    }
    let (old, new) = (headers(before), headers(after));
    let repeated =
        |headers: &[(String, HeaderValue)], at: usize| headers[..at].iter().any(|(name, _)| *name == headers[at].0);
    for (_, (name, value)) in old.iter().enumerate().filter(|(at, _)| !repeated(old, *at)) {
        match new.iter().find(|(there, _)| there == name) {
            None => changes.note(Place::Header, name, header_kind(value), kind::MISSING),
            Some((_, now)) if now != value => {
                changes.note(Place::Header, name, header_kind(value), header_kind(now));
            }
            Some(_) => {}
        }
    }
    let added = |name: &str| !old.iter().any(|(there, _)| there == name);
    for (_, (name, value)) in new.iter().enumerate().filter(|(at, (name, _))| added(name) && !repeated(new, *at)) {
        changes.note(Place::Header, name, kind::MISSING, header_kind(value));
    }
    for property in Property::ALL {
        let (old, new) = (property.get(&before.properties), property.get(&after.properties));
        if old != new {
            let kind = |value: Option<Tree>| value.map_or(kind::MISSING, |value| value.kind());
            changes.note(Place::Property, property.name(), kind(old), kind(new));
        }
    }
    changes.found
}

fn headers(message: &Message) -> &[(String, HeaderValue)] {
    message.properties.headers.as_deref().unwrap_or_default()
}

#[derive(Default)]
struct Changes {
    found: Vec<FieldChange>,
    known: HashSet<FieldChange>,
}

impl Changes {
    fn note(&mut self, place: Place, path: &str, from: &'static str, to: &'static str) {
        let change = FieldChange { place, path: path.to_owned(), from, to };
        if self.found.len() < CHANGES_MAX && self.known.insert(change.clone()) {
            self.found.push(change);
        }
    }

    fn compare(&mut self, before: &Tree, after: &Tree, path: &mut String) {
        match (before, after) {
            (Tree::Object(old), Tree::Object(new)) => {
                for (name, value) in old {
                    self.inside(path, name, |changes, path| match after.child(name) {
                        Some(now) => changes.compare(value, now, path),
                        None => changes.note(Place::Body, path, value.kind(), kind::MISSING),
                    });
                }
                for (name, value) in new.iter().filter(|(name, _)| before.child(name).is_none()) {
                    self.inside(path, name, |changes, path| {
                        changes.note(Place::Body, path, kind::MISSING, value.kind());
                    });
                }
            }
            (Tree::Array(old), Tree::Array(new)) => {
                self.inside(path, "[*]", |changes, path| {
                    for at in 0..old.len().max(new.len()) {
                        match (old.get(at), new.get(at)) {
                            (Some(old), Some(new)) => changes.compare(old, new, path),
                            (Some(old), None) => changes.note(Place::Body, path, old.kind(), kind::MISSING),
                            (None, Some(new)) => changes.note(Place::Body, path, kind::MISSING, new.kind()),
                            (None, None) => {}
                        }
                    }
                });
            }
            _ if before == after => {}
            _ => self.note(Place::Body, path, before.kind(), after.kind()),
        }
    }

    fn inside(&mut self, path: &mut String, name: &str, look: impl FnOnce(&mut Self, &mut String)) {
        let length = path.len();
        push_segment(path, name);
        look(self, path);
        path.truncate(length);
    }
}
