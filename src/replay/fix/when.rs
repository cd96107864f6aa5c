//! When a step is taken: a condition on the body, a header or a property of the message.

use std::fmt;

use regex::Regex;

use super::envelope::{Property, header_text};
use super::path::{Bindings, Path};
use super::tree::{Tree, kind};
use crate::event::Message;

/// All parts that are given must hold.
#[derive(Clone, Debug)]
pub(super) struct When {
    pub subject: Subject,
    pub is: Option<Is>,
    pub equals: Option<Tree>,
    pub matches: Option<Regex>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Body(Path),
    Header(String),
    Property(Property),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Present,
    /// One of [`kind`]'s names.
    Kind(&'static str),
}

impl Is {
    pub(super) const NAMES: &[&str] =
        &["missing", "present", "null", "boolean", "integer", "number", "string", "array", "object"];

    pub(super) fn parse(name: &str) -> Option<Self> {
        const KINDS: [&str; 8] = [
            kind::MISSING,
            kind::NULL,
            kind::BOOLEAN,
            kind::INTEGER,
            kind::NUMBER,
            kind::STRING,
            kind::ARRAY,
            kind::OBJECT,
        ];
        match name {
            "present" => Some(Is::Present),
            _ => KINDS.into_iter().find(|kind| *kind == name).map(Is::Kind),
        }
    }
}

impl When {
    /// Whether it holds for `body`, which is `None` where the body is not JSON, and for the step's `place` there.
    ///
    /// Wildcards that the condition shares with the step's path stand for the same; of others one element that fits is
    /// enough.
    pub(super) fn holds(&self, message: &Message, body: Option<&Tree>, place: Option<(&Path, &Bindings)>) -> bool {
        match &self.subject {
            Subject::Body(path) => {
                let Some(body) = body else { return self.fits(None) };
                let bound = place.map_or(&[][..], |(step, bindings)| &bindings[..path.shared_wildcards(step)]);
                path.bindings(body, bound).iter().any(|bindings| self.fits(path.get(body, bindings)))
            }
            Subject::Header(name) => self.fits(header_text(message, name).as_ref()),
            Subject::Property(property) => self.fits(property.get(&message.properties).as_ref()),
        }
    }

    fn fits(&self, value: Option<&Tree>) -> bool {
        let is = match self.is {
            None => true,
            Some(Is::Present) => value.is_some(),
            Some(Is::Kind(kind::MISSING)) => value.is_none(),
            Some(Is::Kind(kind)) => value.is_some_and(|value| value.is(kind)),
        };
        let equals = self.equals.as_ref().is_none_or(|wanted| value.is_some_and(|value| value.same(wanted)));
        let matches = self
            .matches
            .as_ref()
            .is_none_or(|pattern| matches!(value, Some(Tree::Text(text)) if pattern.is_match(text)));
        is && equals && matches
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Body(path) => write!(f, "{path}")?,
            Subject::Header(name) => write!(f, "header {name}")?,
            Subject::Property(property) => write!(f, "property {}", property.name())?,
        }
        let is = self.is.map(|is| match is {
            Is::Present => "is there".to_owned(),
            Is::Kind(kind::MISSING) => "is missing".to_owned(),
            Is::Kind(kind) => format!("is {}", super::article(kind)),
        });
        let equals = self.equals.as_ref().map(|value| format!("equals {}", super::shown(value)));
        let matches = self.matches.as_ref().map(|pattern| format!("matches {:?}", pattern.as_str()));
        let parts: Vec<String> = [is, equals, matches].into_iter().flatten().collect();
        write!(f, " {}", parts.join(" and "))
    }
}
