//! A fix on a message: whole, or not at all.

use std::fmt;

use super::envelope::InTheWay;
use super::jq::Stopped;
use super::tree::{Tree, kind};
use super::{Conditional, Fix, body, patch};
use crate::content::{self, Encoding};
use crate::event::Message;

/// The part of a fix that could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The body is none that steps can work on.
    Body,
    /// The step of that number, from 1.
    Step(usize),
    Patch(usize),
    Jq,
    Header(usize),
    Property(usize),
}

/// Why a fix could not be done for a message: kinds and paths, never values. Displayed as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixFailure {
    pub part: Part,
    /// What the part does, as its key is called: `cast`, `test`, `rename`.
    pub action: &'static str,
    /// The path as the fix writes it, wildcards included; of headers and properties their name.
    pub path: String,
    pub expected: String,
    pub actual: String,
    /// Nothing is wrong with the message: the machine did not have what the fix needs. To be tried again later.
    pub is_ours: bool,
}

impl FixFailure {
    /// A word for the kind of part, as codes of rejections are written.
    pub fn code(&self) -> &'static str {
        match self.part {
            Part::Body => "fix.body",
            Part::Step(_) => "fix.step",
            Part::Patch(_) => "fix.patch",
            Part::Jq => "fix.jq",
            Part::Header(_) => "fix.header",
            Part::Property(_) => "fix.property",
        }
    }
}

impl fmt::Display for FixFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, path, expected, actual, .. } = self;
        match self.part {
            Part::Body => return write!(f, "the body: expected {expected}, found {actual}"),
            Part::Step(number) => write!(f, "step {number}")?,
            Part::Patch(number) => write!(f, "patch {number}")?,
            Part::Jq => return write!(f, "jq: expected {expected}, found {actual}"),
            Part::Header(number) => write!(f, "header {number}")?,
            Part::Property(number) => write!(f, "property {number}")?,
        }
        let path = if path.is_empty() { "the whole body".to_owned() } else { super::on_one_line(path) };
        write!(f, " ({action}) at {path}: expected {expected}, found {actual}")
    }
}

impl std::error::Error for FixFailure {}

impl Fix {
    /// `message` with everything done to it that applies; see [`Fix::change`].
    ///
    /// # Errors
    /// As [`Fix::change`].
    pub fn apply(&self, message: &Message) -> Result<Message, FixFailure> {
        let mut changed = message.clone();
        self.change(&mut changed)?;
        Ok(changed)
    }

    /// Does everything to `message` that applies. A body in which nothing is changed keeps its very bytes.
    ///
    /// # Errors
    /// What could not be done; then nothing was done to the message.
    ///
    /// A jq program blocks the thread, for as long as its limits allow.
    pub fn change(&self, message: &mut Message) -> Result<(), FixFailure> {
        let opened = content::opened(message);
        let wire = self.wires.of_body(message, &opened).into_owned();
        let mut body = body::read(&wire, &opened);
        let mut text = None;
        if self.changes_bodies() {
            let tree = body.as_mut().ok_or_else(|| FixFailure {
                part: Part::Body,
                action: "decode",
                path: String::new(),
                expected: wire.format().document().to_owned(),
                actual: format!("not {}", wire.format().document()),
                is_ours: false,
            })?;
            if self.mend(message, tree)? {
                text = Some(body::write(&wire, tree, &opened).ok_or_else(|| FixFailure {
                    part: Part::Body,
                    action: "encode",
                    path: String::new(),
                    expected: format!("what {} can hold", wire.format().as_str()),
                    actual: "another value".to_owned(),
                    is_ours: false,
                })?);
            }
        }
        if !self.headers.is_empty() || !self.properties.is_empty() {
            // Whole or not at all.
            let mut envelope = message.clone();
            self.mend_envelope(&mut envelope, body.as_ref())?;
            *message = envelope;
        }
        if let Some(text) = text {
            // With what it says by now.
            message.body = match Encoding::of(message) {
                Some(encoding) => encoding.close_as(&text, &message.body),
                None => text,
            };
        }
        Ok(())
    }

    fn changes_bodies(&self) -> bool {
        !self.steps.is_empty() || !self.patch.is_empty() || self.jq.is_some()
    }

    /// Whether anything is changed.
    fn mend(&self, message: &Message, body: &mut Tree) -> Result<bool, FixFailure> {
        let mut changed = false;
        for (number, step) in (1..).zip(&self.steps) {
            changed |= step.take(message, body).map_err(|refusal| FixFailure {
                part: Part::Step(number),
                action: step.action.name(),
                path: refusal.path,
                expected: refusal.expected,
                actual: refusal.actual,
                is_ours: false,
            })?;
        }
        if self.patch.is_empty() && self.jq.is_none() {
            return Ok(changed);
        }
        let before = body.clone();
        patch::apply(&self.patch, body).map_err(|(position, refusal)| FixFailure {
            part: Part::Patch(position + 1),
            action: self.patch[position].name(),
            path: refusal.path,
            expected: refusal.expected.to_owned(),
            actual: refusal.actual.to_owned(),
            is_ours: false,
        })?;
        self.run_jq(body)?;
        Ok(changed || *body != before)
    }

    fn run_jq(&self, body: &mut Tree) -> Result<(), FixFailure> {
        let Some(jq) = &self.jq else { return Ok(()) };
        let limits = jq.limits();
        let failure = |expected: String, actual: &str, is_ours| FixFailure {
            part: Part::Jq,
            action: "run",
            path: String::new(),
            expected,
            actual: actual.to_owned(),
            is_ours,
        };
        let one = || "one value".to_owned();
        let output = jq.run(&body.to_json()).map_err(|stopped| match stopped {
            Stopped::Raised => failure(one(), "an error of the program", false),
            Stopped::None => failure(one(), "none", false),
            Stopped::Several => failure(one(), "more than one", false),
            Stopped::TooLarge => failure(format!("at most {} bytes", limits.output_bytes), "more", false),
            Stopped::TooLong => failure(format!("an end within {} ms", limits.time.as_millis()), "none", false),
            Stopped::TooMuch => failure(
                format!("at most {} bytes of memory", limits.memory_bytes),
                "more, or too many calls within each other",
                false,
            ),
            Stopped::Unreadable => failure("JSON that jq reads".to_owned(), "none", false),
            Stopped::Ours(why) => failure("a process to run it".to_owned(), &why, true),
        })?;
        // Among what jaq writes are values that JSON does not have.
        *body = super::decoded(&output).ok_or_else(|| failure("JSON".to_owned(), kind::NOT_JSON, false))?;
        Ok(())
    }

    fn mend_envelope(&self, message: &mut Message, body: Option<&Tree>) -> Result<(), FixFailure> {
        let in_the_way = |part, action, InTheWay { name, actual }| FixFailure {
            part,
            action,
            path: name,
            expected: kind::MISSING.to_owned(),
            actual: actual.to_owned(),
            is_ours: false,
        };
        for (number, Conditional { step, when }) in (1..).zip(&self.headers) {
            if when.as_ref().is_none_or(|when| when.holds(message, body, None)) {
                step.take(message).map_err(|way| in_the_way(Part::Header(number), step.name(), way))?;
            }
        }
        for (number, Conditional { step, when }) in (1..).zip(&self.properties) {
            if when.as_ref().is_none_or(|when| when.holds(message, body, None)) {
                step.take(message).map_err(|way| in_the_way(Part::Property(number), step.name(), way))?;
            }
        }
        Ok(())
    }
}
