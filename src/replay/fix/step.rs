//! The steps that change a body, each for itself. A step that does not apply leaves the value as it is; one that cannot be
//! done is refused, and then nothing is changed at all.

use std::fmt;

use compact_str::ToCompactString;

use super::number::{self, Decimal};
use super::path::{Bindings, Path};
use super::time::{Moment, Shape};
use super::tree::{DEPTH_MAX, Tree, kind};
use super::when::When;
use super::{article, shown};
use crate::event::Message;

/// One step of the list.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub action: Action,
    pub when: Option<When>,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Cast { path: Path, to: CastTo },
    Rename { from: Path, to: Path },
    Move { from: Path, to: Path },
    Default { path: Path, value: Tree },
    Remove { path: Path },
    Parse { path: Path, parse: Parse },
    Scale { path: Path, by: Decimal },
    Map { path: Path, values: Vec<(String, Tree)>, otherwise: Otherwise },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CastTo {
    Integer,
    Number,
    String,
    Boolean,
}

/// What is read from a value, and what is written in its place.
#[derive(Clone, Debug)]
pub(super) enum Parse {
    /// A point in time from one shape to another.
    Moment { from: Shape, to: Shape },
    /// Text such as `1,234.5` or `1.234,5`.
    Number { thousands: char, point: char },
    /// Text that holds a JSON document.
    Json,
    /// The other way round.
    ToJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    Keep,
    Fail,
}

/// Why a step cannot be done: where, what was needed, and the kind of what was found. Never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As the step writes it, wildcards included.
    pub path: String,
    pub expected: String,
    pub actual: String,
}

impl Refusal {
    pub(super) fn new(path: &Path, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { path: path.as_str().to_owned(), expected: expected.into(), actual: actual.into() }
    }
}

impl CastTo {
    pub(super) fn name(self) -> &'static str {
        match self {
            CastTo::Integer => kind::INTEGER,
            CastTo::Number => kind::NUMBER,
            CastTo::String => kind::STRING,
            CastTo::Boolean => kind::BOOLEAN,
        }
    }
}

impl Action {
    /// Its key in a fix.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Action::Cast { .. } => "cast",
            Action::Rename { .. } => "rename",
            Action::Move { .. } => "move",
            Action::Default { .. } => "default",
            Action::Remove { .. } => "remove",
            Action::Parse { .. } => "parse",
            Action::Scale { .. } => "scale",
            Action::Map { .. } => "map",
        }
    }

    /// The path whose wildcards say where the step is taken.
    fn path(&self) -> &Path {
        match self {
            Action::Cast { path, .. }
            | Action::Default { path, .. }
            | Action::Remove { path }
            | Action::Parse { path, .. }
            | Action::Scale { path, .. }
            | Action::Map { path, .. } => path,
            Action::Rename { from, .. } | Action::Move { from, .. } => from,
        }
    }
}

impl Step {
    /// Takes the step wherever it applies in `body`; tells whether that changed anything.
    pub(super) fn take(&self, message: &Message, body: &mut Tree) -> Result<bool, Refusal> {
        let path = self.action.path();
        let applies = |bindings: &Bindings| {
            self.when.as_ref().is_none_or(|when| when.holds(message, Some(body), Some((path, bindings))))
        };
        // Looked at before anything is changed, so that one element's step does not decide about another's.
        let mut places = path.bindings(body, &[]);
        places.retain(applies);
        if matches!(self.action, Action::Remove { .. } | Action::Move { .. }) {
            // From behind, so that places in front stay where they are.
            places.reverse();
        }
        places.iter().try_fold(false, |changed, bindings| Ok(self.action.at(body, bindings)? || changed))
    }
}

impl Action {
    fn at(&self, body: &mut Tree, bindings: &Bindings) -> Result<bool, Refusal> {
        match self {
            Action::Rename { from, to } => return rename(from, to, body, bindings),
            Action::Move { from, to } => return relocate(from, to, body, bindings),
            Action::Default { path, value } => return set_default(path, value, body, bindings),
            Action::Remove { path } => return Ok(path.remove(body, bindings).is_some()),
            _ => {}
        }
        let path = self.path();
        let Some(value) = path.get_mut(body, bindings) else { return Ok(false) };
        let changed = match self {
            Action::Cast { to, .. } => cast(value, *to),
            Action::Parse { parse, .. } => parse.apply(value),
            Action::Scale { by, .. } => scale(value, by),
            Action::Map { values, otherwise, .. } => map(value, values, *otherwise),
            _ => unreachable!("the others returned"),
        };
        let changed = changed.map_err(|(expected, actual)| Refusal::new(path, expected, actual))?;
        let Some(changed) = changed.filter(|changed| changed != value) else { return Ok(false) };
        *value = changed;
        // Only text that holds JSON makes a value deeper.
        match matches!(self, Action::Parse { parse: Parse::Json, .. }) && body.depth() > DEPTH_MAX {
            true => Err(Refusal::new(path, format!("at most {DEPTH_MAX} levels"), "more")),
            false => Ok(true),
        }
    }
}

/// What a value becomes, `None` where it stays; or what was needed and what was found.
type Changed = Result<Option<Tree>, (String, String)>;

fn refused<T>(expected: &str, actual: impl Into<String>) -> Result<T, (String, String)> {
    Err((expected.to_owned(), actual.into()))
}

/// Nothing is lost by it: what does not stand for the very same is refused.
fn cast(value: &Tree, to: CastTo) -> Changed {
    let text = match value {
        Tree::Text(text) | Tree::Number(text) => text.as_str(),
        Tree::Bool(value) => match to {
            CastTo::Boolean => return Ok(None),
            CastTo::String => return Ok(Some(Tree::Text(value.to_compact_string()))),
            _ => return refused(to.name(), kind::BOOLEAN),
        },
        other => return refused(to.name(), other.kind()),
    };
    let is_text = matches!(value, Tree::Text(_));
    let found = |what: &str| match is_text {
        true => format!("string that is {what}"),
        false => value.kind().to_owned(),
    };
    match to {
        CastTo::String => Ok((!is_text).then(|| Tree::Text(text.into()))),
        CastTo::Number if !is_text => Ok(None),
        CastTo::Number if Decimal::parse(text).is_some() => Ok(Some(Tree::Number(text.into()))),
        CastTo::Number => refused(kind::NUMBER, found("no number")),
        CastTo::Integer => match Decimal::parse(text) {
            None => refused(kind::INTEGER, found("no number")),
            // Digits alone stay as they are written.
            Some(_) if value.kind() == kind::INTEGER => Ok(None),
            Some(number) => match number.integer_text() {
                Some(integer) => Ok(Some(Tree::Number(integer.into()))),
                None if number.is_integer() => refused(kind::INTEGER, found("a number of too many digits")),
                None => refused(kind::INTEGER, found("a number with a fraction")),
            },
        },
        CastTo::Boolean => match (is_text, text) {
            (true, "true") => Ok(Some(Tree::Bool(true))),
            (true, "false") => Ok(Some(Tree::Bool(false))),
            _ => refused(kind::BOOLEAN, found("neither true nor false")),
        },
    }
}

fn scale(value: &Tree, by: &Decimal) -> Changed {
    let Tree::Number(text) = value else { return refused(kind::NUMBER, value.kind()) };
    let Some(number) = Decimal::parse(text) else { return refused("number in range", "exponent of many digits") };
    let product = number.times(by);
    Ok((product != number).then(|| Tree::Number(product.text().into())))
}

fn map(value: &Tree, values: &[(String, Tree)], otherwise: Otherwise) -> Changed {
    let name = match value {
        Tree::Text(text) | Tree::Number(text) => Some(text.as_str()),
        Tree::Bool(true) => Some("true"),
        Tree::Bool(false) => Some("false"),
        Tree::Null => Some("null"),
        Tree::Array(_) | Tree::Object(_) => None,
    };
    let known = name.and_then(|name| values.iter().find(|(old, _)| old == name));
    match (known, otherwise) {
        (Some((_, new)), _) => Ok(Some(new.clone())),
        (None, Otherwise::Keep) => Ok(None),
        (None, Otherwise::Fail) => refused("value of the map", format!("another {}", value.kind())),
    }
}

impl Parse {
    fn apply(&self, value: &Tree) -> Changed {
        match self {
            Parse::Moment { from, to } => {
                let moment = Moment::read(from, value)?;
                Ok(Some(moment.write(to)?))
            }
            Parse::Number { thousands, point } => match value {
                // So that a fix may be applied to what it mended.
                Tree::Number(_) => Ok(None),
                Tree::Text(text) => match number::grouped(text, *thousands, *point) {
                    Some(number) => Ok(Some(Tree::Number(number.into()))),
                    None => refused("digits in groups of three", "string that is none"),
                },
                other => refused(kind::STRING, other.kind()),
            },
            Parse::Json => match value {
                Tree::Text(text) => match super::decoded(text.as_bytes()) {
                    Some(tree) => Ok(Some(tree)),
                    None => refused("JSON document", "string that is none"),
                },
                other => refused(kind::STRING, other.kind()),
            },
            Parse::ToJson => {
                let text = String::from_utf8(value.to_json()).expect("JSON is UTF-8");
                Ok(Some(Tree::Text(text.into())))
            }
        }
    }
}

/// The member gets another name and keeps its place.
fn rename(from: &Path, to: &Path, body: &mut Tree, bindings: &Bindings) -> Result<bool, Refusal> {
    let ((parent, old), (_, new)) = from.split_last().zip(to.split_last()).expect("checked when the fix was read");
    let Some(Tree::Object(members)) = parent.get_mut(body, bindings) else { return Ok(false) };
    let Some(at) = members.iter().position(|(name, _)| name == old) else { return Ok(false) };
    match members.iter().find(|(name, _)| name == new) {
        Some((_, there)) => Err(Refusal::new(to, kind::MISSING, there.kind())),
        None => {
            members[at].0 = new.into();
            Ok(true)
        }
    }
}

fn relocate(from: &Path, to: &Path, body: &mut Tree, bindings: &Bindings) -> Result<bool, Refusal> {
    let (parent, name) = from.split_last().expect("checked when the fix was read");
    match parent.get(body, bindings) {
        Some(holder @ Tree::Object(_)) if holder.child(name).is_some() => {}
        // Taking an element would move those behind it, and with them what `to` means.
        Some(Tree::Array(_)) => return Err(Refusal::new(&parent, kind::OBJECT, kind::ARRAY)),
        _ => return Ok(false),
    }
    if let Some(there) = to.get(body, bindings) {
        return Err(Refusal::new(to, kind::MISSING, there.kind()));
    }
    let value = from.remove(body, bindings).expect("it is there");
    to.put(body, bindings, value).map_err(|found| Refusal::new(to, kind::OBJECT, found))?;
    match body.depth() > DEPTH_MAX {
        true => Err(Refusal::new(to, format!("at most {DEPTH_MAX} levels"), "more")),
        false => Ok(true),
    }
}

fn set_default(path: &Path, value: &Tree, body: &mut Tree, bindings: &Bindings) -> Result<bool, Refusal> {
    if let Some(there) = path.get_mut(body, bindings) {
        let fills = *there == Tree::Null && *value != Tree::Null;
        if fills {
            *there = value.clone();
        }
        return Ok(fills);
    }
    let Some((parent, _)) = path.split_last() else { return Ok(false) };
    match parent.get(body, bindings) {
        // What is not there lacks nothing.
        None | Some(Tree::Null | Tree::Array(_)) => return Ok(false),
        Some(Tree::Object(_)) => {}
        Some(other) => return Err(Refusal::new(&parent, kind::OBJECT, other.kind())),
    }
    path.put(body, bindings, value.clone()).map_err(|found| Refusal::new(path, kind::OBJECT, found))?;
    match body.depth() > DEPTH_MAX {
        true => Err(Refusal::new(path, format!("at most {DEPTH_MAX} levels"), "more")),
        false => Ok(true),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Cast { path, to } => write!(f, "cast {path} to {}", article(to.name()))?,
            Action::Rename { from, to } => write!(f, "rename {from} to {to}")?,
            Action::Move { from, to } => write!(f, "move {from} to {to}")?,
            Action::Default { path, value } => write!(f, "where {path} is missing or null, put {}", shown(value))?,
            Action::Remove { path } => write!(f, "remove {path}")?,
            Action::Parse { path, parse } => write!(f, "read {path} {parse}")?,
            Action::Scale { path, by } => write!(f, "multiply {path} by {}", by.text())?,
            Action::Map { path, values, otherwise } => {
                let pairs: Vec<String> =
                    values.iter().map(|(old, new)| format!("{old:?} becomes {}", shown(new))).collect();
                let otherwise = match otherwise {
                    Otherwise::Keep => "others stay",
                    Otherwise::Fail => "others fail",
                };
                write!(f, "in {path} {}; {otherwise}", pairs.join(", "))?;
            }
        }
        match &self.when {
            Some(when) => write!(f, ", when {when}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Parse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parse::Moment { from, to } => write!(f, "as {from} and write it as {to}"),
            Parse::Number { thousands: ',', .. } => f.write_str("as a number with commas between thousands"),
            Parse::Number { .. } => f.write_str("as a number with a decimal comma"),
            Parse::Json => f.write_str("as JSON text and put the value in its place"),
            Parse::ToJson => f.write_str("and write it as JSON text"),
        }
    }
}
