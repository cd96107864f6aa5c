//! What changes from one version of a schema to the next, in two parts: for those who write events, and for the files.
//!
//! A schema is *backward* compatible when it accepts every event of the old one, so that events in flight still pass;
//! *forward*, when the old one accepts every event of it, so that producers may be first. Both are told of the JSON Schema;
//! those of Avro and Protobuf are compared as the JSON Schema of their values. Where that cannot be told, as of
//! combinators that differ, it is said so, and never guessed.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::columns::{Columns, Reason};
use super::{Place, Schema, SchemaError};
use crate::value::push_segment;

/// Both parts.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What of the old one's events the new one does not accept.
    pub backward: Vec<Finding>,
    /// What of the new one's events the old one does not accept.
    pub forward: Vec<Finding>,
    pub storage: Vec<ColumnChange>,
}

/// Something that one schema accepts, and the other does not, or may not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, as a normalised JSON pointer.
    pub path: String,
    /// It is so; else it cannot be told.
    pub is_sure: bool,
    pub sentence: String,
}

/// What becomes of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnChange {
    /// As in [`Reason`].
    pub column: String,
    pub kind: ChangeKind,
}

/// Types as [`Reason::type_name`](super::columns::Reason::type_name) has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    New(String),
    Gone(String),
    Type {
        from: String,
        to: String,
    },
    /// It holds another property, by its pointer; so its field id is another.
    Property {
        from: String,
        to: String,
    },
}

impl ColumnChange {
    /// Whether files of both versions cannot be read as one: a column would hold two things.
    fn is_break(&self) -> bool {
        matches!(self.kind, ChangeKind::Type { .. } | ChangeKind::Property { .. })
    }
}

impl std::fmt::Display for ColumnChange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let column = &self.column;
        match &self.kind {
            ChangeKind::New(of) => write!(out, "{column}: new, {of}"),
            ChangeKind::Gone(of) => write!(out, "{column}: gone, was {of}"),
            ChangeKind::Type { from, to } => write!(out, "{column}: was {from}, is {to}"),
            ChangeKind::Property { from, to } => write!(out, "{column}: was {from}, is {to}, another property"),
        }
    }
}

/// Whether one schema accepts all that the other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    CannotTell,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// What the new version means for the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Files of both read as one.
    SameColumns,
    /// Files of both read as one by names; what one does not have is null.
    OtherColumns,
    /// A column cannot hold both: the new version needs a major of its own, and so a directory.
    NewMajor,
}

impl Comparison {
    /// # Errors
    /// A reference of a schema leads nowhere.
    pub fn of(
        (old, old_columns): (&Schema, &Columns),
        (new, new_columns): (&Schema, &Columns),
    ) -> Result<Self, SchemaError> {
        Ok(Self {
            backward: unaccepted(old, new)?,
            forward: unaccepted(new, old)?,
            storage: changes(old_columns, new_columns),
        })
    }

    pub fn backward(&self) -> Verdict {
        verdict(&self.backward)
    }

    pub fn forward(&self) -> Verdict {
        verdict(&self.forward)
    }

    pub fn consequence(&self) -> Consequence {
        if self.storage.iter().any(ColumnChange::is_break) {
            Consequence::NewMajor
        } else if self.storage.is_empty() {
            Consequence::SameColumns
        } else {
            Consequence::OtherColumns
        }
    }

    /// The first change with which the new version cannot write where the old one did, under the same number: a column
    /// that is gone, for nobody would notice, or that holds something else. New columns are no such change.
    pub fn unfit_for_one_version(&self) -> Option<&ColumnChange> {
        self.storage.iter().find(|change| change.is_break() || matches!(change.kind, ChangeKind::Gone(_)))
    }
}

fn verdict(findings: &[Finding]) -> Verdict {
    if findings.iter().any(|finding| finding.is_sure) {
        Verdict::No
    } else if findings.is_empty() {
        Verdict::Yes
    } else {
        Verdict::CannotTell
    }
}

fn changes(old: &Columns, new: &Columns) -> Vec<ColumnChange> {
    let columns = |columns: &Columns| -> BTreeMap<String, (String, String)> {
        let of = |reason: &Reason| (reason.column.clone(), (reason.type_name(), reason.path.clone()));
        columns.reasons.iter().map(of).collect()
    };
    let (before, after) = (columns(old), columns(new));
    let mut changes = Vec::new();
    for (column, (from, property)) in &before {
        let kind = match after.get(column) {
            Some((to, _)) if from != to => ChangeKind::Type { from: from.clone(), to: to.clone() },
            Some((_, to)) if property != to => ChangeKind::Property { from: property.clone(), to: to.clone() },
            Some(_) => continue,
            None => ChangeKind::Gone(from.clone()),
        };
        changes.push(ColumnChange { column: column.clone(), kind });
    }
    let is_new = |column: &str| !before.contains_key(column);
    changes.extend(
        after
            .iter()
            .filter(|(column, _)| is_new(column))
            .map(|(column, (of, _))| ColumnChange { column: column.clone(), kind: ChangeKind::New(of.clone()) }),
    );
    // What is within a column that holds something else goes with it.
    let turned: Vec<String> =
        changes.iter().filter(|change| change.is_break()).map(|change| change.column.clone()).collect();
    let is_within = |column: &str| {
        turned.iter().any(|outer| {
            column.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"))
        })
    };
    changes.retain(|change| !is_within(&change.column));
    changes
}

/// What of `from`'s events `to` does not accept.
fn unaccepted(from: &Schema, to: &Schema) -> Result<Vec<Finding>, SchemaError> {
    let mut walk = Walk { findings: BTreeSet::new(), path: String::new(), seen: Vec::new() };
    walk.compare(&from.root(), &to.root())?;
    Ok(walk.findings.into_iter().collect())
}

/// Keywords that are looked at one by one; of all others it is only seen whether they are the same.
const KNOWN: &[&str] = &[
    "type",
    "enum",
    "const",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "anyOf",
    "contentEncoding",
    "precision",
    "scale",
];

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

struct Walk {
    findings: BTreeSet<Finding>,
    path: String,
    /// Pairs of subschemas above or behind us: what refers to itself ends.
    seen: Vec<(*const Value, *const Value)>,
}

impl Walk {
    fn find(&mut self, is_sure: bool, sentence: String) {
        self.findings.insert(Finding { path: self.path.clone(), is_sure, sentence });
    }

    fn within(
        &mut self,
        segment: impl FnOnce(&mut String),
        (from, to): (&Place<'_>, &Place<'_>),
    ) -> Result<(), SchemaError> {
        let length = self.path.len();
        segment(&mut self.path);
        let done = self.compare(from, to);
        self.path.truncate(length);
        done
    }

    fn compare(&mut self, from: &Place<'_>, to: &Place<'_>) -> Result<(), SchemaError> {
        if from.value() == to.value() && is_closed(from) && is_closed(to) {
            return Ok(());
        }
        if beside_reference(to) != beside_reference(from) {
            self.find(false, "what is asked beside a $ref differs".to_owned());
        }
        let (from, to) = (resolved(from)?, resolved(to)?);
        let pair = (std::ptr::from_ref(from.value()), std::ptr::from_ref(to.value()));
        if self.seen.contains(&pair) {
            return Ok(());
        }
        self.seen.push(pair);
        match (from.value(), to.value()) {
            (_, Value::Bool(true)) | (Value::Bool(false), _) => return Ok(()),
            (_, Value::Bool(false)) => {
                self.find(true, "nothing is accepted any more".to_owned());
                return Ok(());
            }
            _ => {}
        }
        if let Some(branches) = from.keyword("anyOf").and_then(Value::as_array) {
            return self.each_branch(&from, branches, &to);
        }
        self.types(&from, &to);
        self.values(&from, &to);
        self.bounds(&from, &to);
        if may_be(&from, "object") {
            self.object(&from, &to)?;
        }
        if may_be(&from, "array") {
            match (from.keyword("items"), to.keyword("items")) {
                (_, None | Some(Value::Bool(true))) => {}
                (Some(one), Some(other)) => {
                    self.within(|path| path.push_str("/[*]"), (&from.child(one), &to.child(other)))?;
                }
                (None, Some(_)) => self.find(false, "elements are asked for something they were not before".to_owned()),
            }
        }
        if let Some(branches) = to.keyword("anyOf").and_then(Value::as_array) {
            self.nearest_branch(&from, &to, branches)?;
        }
        self.others(&from, &to);
        Ok(())
    }

    /// Each alternative of the one must be accepted.
    fn each_branch(&mut self, from: &Place<'_>, branches: &[Value], to: &Place<'_>) -> Result<(), SchemaError> {
        // What stands beside them narrows them.
        let narrowed = from
            .value()
            .as_object()
            .is_some_and(|members| members.keys().any(|keyword| keyword != "anyOf" && !is_note(keyword)));
        for branch in branches {
            let mut walk = Walk { findings: BTreeSet::new(), path: self.path.clone(), seen: self.seen.clone() };
            walk.compare(&from.child(branch), to)?;
            self.findings.extend(
                walk.findings.into_iter().map(|finding| Finding { is_sure: finding.is_sure && !narrowed, ..finding }),
            );
        }
        Ok(())
    }

    /// One alternative of the other must accept it; what the nearest does not is told.
    fn nearest_branch(&mut self, from: &Place<'_>, to: &Place<'_>, branches: &[Value]) -> Result<(), SchemaError> {
        let mut nearest: Option<BTreeSet<Finding>> = None;
        for branch in branches {
            let mut walk = Walk { findings: BTreeSet::new(), path: self.path.clone(), seen: self.seen.clone() };
            walk.compare(from, &to.child(branch))?;
            if nearest.as_ref().is_none_or(|found| score(&walk.findings) < score(found)) {
                nearest = Some(walk.findings);
            }
        }
        self.findings.extend(nearest.unwrap_or_default());
        Ok(())
    }

    fn types(&mut self, from: &Place<'_>, to: &Place<'_>) {
        let (was, is) = (types(from), types(to));
        let refused: Vec<&str> = TYPES
            .into_iter()
            .filter(|name| was.contains(name) && !is.contains(name) && !(*name == "integer" && is.contains(&"number")))
            .collect();
        if !refused.is_empty() && to.keyword("type").is_some() {
            self.find(true, format!("{} is not accepted", refused.join(" or ")));
        }
    }

    fn values(&mut self, from: &Place<'_>, to: &Place<'_>) {
        match (values(from), values(to)) {
            (Some(was), Some(is)) if was.iter().any(|value| !is.contains(value)) => {
                self.find(true, "values are gone from those allowed".to_owned());
            }
            (None, Some(_)) => self.find(true, "only certain values are accepted".to_owned()),
            _ => {}
        }
    }

    fn bounds(&mut self, from: &Place<'_>, to: &Place<'_>) {
        for (keyword, of, is_lower) in [
            ("minimum", "number", true),
            ("exclusiveMinimum", "number", true),
            ("minLength", "string", true),
            ("minItems", "array", true),
            ("minProperties", "object", true),
            ("maximum", "number", false),
            ("exclusiveMaximum", "number", false),
            ("maxLength", "string", false),
            ("maxItems", "array", false),
            ("maxProperties", "object", false),
        ] {
            let bound = |place: &Place<'_>| place.keyword(keyword).and_then(Value::as_f64);
            let Some(is) = bound(to) else { continue };
            let is_tighter = match bound(from) {
                Some(was) if is_lower => is > was,
                Some(was) => is < was,
                None => may_be(from, of) && !(is_lower && is <= 0.0 && of != "number"),
            };
            if is_tighter {
                // Values that are listed may well be within.
                let is_sure = values(from).is_none();
                self.find(is_sure, format!("{keyword} is {} now", to.keyword(keyword).unwrap_or(&Value::Null)));
            }
        }
    }

    fn object(&mut self, from: &Place<'_>, to: &Place<'_>) -> Result<(), SchemaError> {
        let required = |place: &Place<'_>| -> BTreeSet<String> {
            let names = place.keyword("required").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for name in required(to).difference(&required(from)) {
            self.find_at(name, "is required");
        }
        let is_closed = to.keyword("additionalProperties") == Some(&Value::Bool(false));
        for (name, value) in from.keyword("properties").and_then(Value::as_object).into_iter().flatten() {
            if *value == Value::Bool(false) {
                continue;
            }
            match to.keyword("properties").and_then(|all| all.get(name)) {
                Some(other) => {
                    self.within(|path| push_segment(path, name), (&from.child(value), &to.child(other)))?;
                }
                None if is_closed => self.find_at(name, "is not declared, and others are not allowed"),
                None => {}
            }
        }
        // Where others are allowed a name that is new may have been anything before; nobody means that.
        match (from.keyword("additionalProperties"), to.keyword("additionalProperties")) {
            (Some(Value::Bool(false)), _) | (_, None | Some(Value::Bool(true))) => {}
            (_, Some(Value::Bool(false))) => self.find(true, "other fields are not allowed".to_owned()),
            (Some(one), Some(other)) => {
                self.within(|path| path.push_str("/{*}"), (&from.child(one), &to.child(other)))?;
            }
            (None, Some(_)) => self.find(false, "other fields are asked for something they were not before".to_owned()),
        }
        Ok(())
    }

    fn find_at(&mut self, name: &str, sentence: &str) {
        let length = self.path.len();
        push_segment(&mut self.path, name);
        self.find(true, sentence.to_owned());
        self.path.truncate(length);
    }

    /// What is not understood is the same, or nothing is known.
    fn others(&mut self, from: &Place<'_>, to: &Place<'_>) {
        let Some(members) = to.value().as_object() else { return };
        for (keyword, value) in members {
            if KNOWN.contains(&keyword.as_str()) || is_note(keyword) || from.keyword(keyword) == Some(value) {
                continue;
            }
            match keyword == "format" && from.keyword("format").is_none() {
                true => self.find(true, format!("format {value} is asked for")),
                false => self.find(false, format!("{keyword} differs")),
            }
        }
    }
}

/// Sure findings weigh more.
fn score(findings: &BTreeSet<Finding>) -> (usize, usize) {
    (findings.iter().filter(|finding| finding.is_sure).count(), findings.len())
}

/// Whether the subschema refers to nothing, so that one that is written alike is alike.
fn is_closed(place: &Place<'_>) -> bool {
    !place.value().to_string().contains("\"$ref\"")
}

/// Keywords that ask nothing.
fn is_note(keyword: &str) -> bool {
    const NOTES: [&str; 13] = [
        "$schema",
        "$id",
        "id",
        "$defs",
        "definitions",
        "title",
        "description",
        "$comment",
        "examples",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
    ];
    NOTES.contains(&keyword) || keyword.starts_with("x-")
}

/// What a subschema asks beside its `$ref`; nothing, if it has none.
fn beside_reference<'s>(place: &Place<'s>) -> Vec<(&'s String, &'s Value)> {
    if place.keyword("$ref").is_none() {
        return Vec::new();
    }
    let members = place.value().as_object().into_iter().flatten();
    members.filter(|(keyword, _)| *keyword != "$ref" && !is_note(keyword)).collect()
}

/// What a reference points to, if the subschema is one; at most as often as a schema has files.
fn resolved<'s>(place: &Place<'s>) -> Result<Place<'s>, SchemaError> {
    let mut place = place.clone();
    for _ in 0..64 {
        match place.keyword("$ref").and_then(Value::as_str) {
            Some(reference) => place = place.follow(reference)?,
            None => break,
        }
    }
    Ok(place)
}

/// The values that the subschema lists.
fn values<'s>(place: &Place<'s>) -> Option<Vec<&'s Value>> {
    match (place.keyword("enum"), place.keyword("const")) {
        (_, Some(one)) => Some(vec![one]),
        (Some(Value::Array(values)), None) => Some(values.iter().collect()),
        _ => None,
    }
}

/// The types that the subschema itself allows.
fn types<'s>(place: &Place<'s>) -> Vec<&'s str> {
    match place.keyword("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => values(place).map_or_else(|| TYPES.to_vec(), |values| values.into_iter().map(type_of).collect()),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn may_be(place: &Place<'_>, name: &str) -> bool {
    let types = types(place);
    types.contains(&name) || (name == "number" && types.contains(&"integer"))
}
