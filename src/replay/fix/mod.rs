//! Fixes: what is changed in a dead letter before it goes back. Read from a file, applied to a message, described for
//! people. Pure but for `jq`, which runs in a process of its own.
//!
//! A fix is an ordered list of steps on the body, then a JSON Patch (RFC 6902), then a jq program, then steps on headers and
//! properties; each sees what those before it left. It is done whole or not at all. The guide is `docs/fixes.md`.

mod apply; // a fix on a message, whole or not at all
pub(super) mod body; // bodies of every format as documents, and back
mod diff; // which fields changed, by their kinds
mod envelope; // steps on headers and properties, and what is locked
pub mod jq; // jq programs, in a process of their own
mod json; // text -> tree
mod number; // decimal arithmetic on numbers as they are written
mod patch; // RFC 6902
mod path; // JSON pointers with wildcards
mod read; // a file -> a fix, or each line that is wrong
mod step; // steps on the body
mod time; // points in time, from shape to shape
mod tree; // a JSON document that can be changed
mod when; // conditions
mod written; // TOML or JSON with its lines

#[cfg(test)]
mod tests;

use std::fmt;

use crate::decode::Wire;
use crate::ingest::Wires;

pub use apply::{FixFailure, Part};
pub use diff::{FieldChange, Place, diff};
pub use tree::kind;

use tree::Tree;
use when::When;

/// A fix, checked: every message it meets is changed by the same rules.
#[derive(Clone, Debug)]
pub struct Fix {
    steps: Vec<step::Step>,
    patch: Vec<patch::Operation>,
    jq: Option<jq::Jq>,
    headers: Vec<Conditional<envelope::HeaderStep>>,
    properties: Vec<Conditional<envelope::PropertyStep>>,
    hash: String,
    /// What bodies are.
    wires: Wires,
}

#[derive(Clone, Debug)]
struct Conditional<T> {
    step: T,
    when: Option<When>,
}

/// One thing to mend in the text of a fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixFinding {
    /// 1-based.
    pub line: usize,
    /// Such as `step 2: cast.to`; steps are counted from 1. Empty when the text can be read as a whole not at all.
    pub key: String,
    pub problem: String,
    /// What to do about it.
    pub mend: String,
}

/// Why a text is no fix: all that was found, by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixError {
    /// Of the file, as it was given.
    pub name: String,
    pub findings: Vec<FixFinding>,
}

impl fmt::Display for FixError {
    /// One line each: `fix.toml:3: step 1: cast.to: "int" is no type: write ..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.findings.iter().enumerate() {
            let FixFinding { line, key, problem, mend } = finding;
            let (newline, colon) = (if position > 0 { "\n" } else { "" }, if key.is_empty() { "" } else { ": " });
            write!(f, "{newline}{}:{line}: {key}{colon}{problem}: {mend}", self.name)?;
        }
        Ok(())
    }
}

impl std::error::Error for FixError {}

impl Fix {
    /// Reads `text`, TOML or JSON; `name` is what its file is called in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line, its key and what to do.
    pub fn parse(text: &str, name: &str) -> Result<Self, FixError> {
        read::fix(text).map_err(|findings| FixError { name: name.to_owned(), findings })
    }

    /// The fix for bodies that are written so; else they are JSON.
    pub fn on(self, wires: Wires) -> Self {
        Self { wires, ..self }
    }

    /// Takes over what is known of the schemas that bodies name, from how one was written.
    pub fn learn(&self, wire: &Wire) {
        self.wires.join(wire);
    }

    /// The fix with other limits for its jq program, and another executable that knows [`jq::COMMAND`].
    pub fn with_jq(self, limits: jq::JqLimits, executable: std::path::PathBuf) -> Self {
        Self { jq: self.jq.map(|jq| jq.limited(limits, executable)), ..self }
    }

    /// SHA-256 of what it says, in hexadecimal: the same for the same fix however it is laid out or commented.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What it does, for people: a line a step, in their order.
    pub fn describe(&self) -> Vec<String> {
        let on_condition = |text: String, when: &Option<When>| match when {
            Some(when) => format!("{text}, when {when}"),
            None => text,
        };
        let steps = self.steps.iter().map(ToString::to_string);
        let patch = self.patch.iter().map(|operation| format!("patch: {operation}"));
        let jq =
            self.jq.iter().map(|jq| format!("jq: {}", jq.program().split_whitespace().collect::<Vec<_>>().join(" ")));
        let headers = self.headers.iter().map(|Conditional { step, when }| on_condition(step.to_string(), when));
        let properties = self.properties.iter().map(|Conditional { step, when }| on_condition(step.to_string(), when));
        let all = steps.chain(patch).chain(jq).chain(headers).chain(properties);
        all.map(|line| on_one_line(&line)).collect()
    }
}

/// `text` with control characters escaped: a name in a fix or an event may hold anything.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

/// The document in `bytes`, if it is one.
fn decoded(bytes: &[u8]) -> Option<Tree> {
    json::parse(bytes)
}

/// `noun` with its article.
fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    match noun {
        kind::NULL => noun.to_owned(),
        _ => format!("{} {noun}", if vowel { "an" } else { "a" }),
    }
}

/// A value of the fix itself, cut where it is long.
fn shown(value: &Tree) -> String {
    const LONG: usize = 60;
    let text = String::from_utf8(value.to_json()).expect("JSON is UTF-8");
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}
