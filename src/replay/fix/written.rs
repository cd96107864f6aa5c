//! A fix as it is written, TOML or JSON: values with their lines, before anything is made of them.

use std::collections::HashSet;

use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{DEPTH_MAX, Tree};
use crate::headers::Members;

/// A fix is read by people; a longer one is something else.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;
/// Objects and arrays within each other in JSON; TOML's parser has a limit of its own near it.
const FILE_DEPTH_MAX: usize = 80;

/// A value with its line.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// 1-based; of a member, the line of its name where that is known.
    pub line: usize,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(String),
    /// What JSON cannot hold: `inf`, `nan`, and TOML's dates.
    Beyond(&'static str),
    Text(String),
    List(Vec<Written>),
    /// In the order of the text; names are unique.
    Table(Vec<(String, Written)>),
}

/// Why a text is neither TOML nor JSON: the line and the parser's word.
pub(super) struct Unreadable {
    pub line: usize,
    pub problem: String,
    pub mend: &'static str,
}

impl Written {
    /// Reads `text`: JSON if it begins with a brace, else TOML.
    pub(super) fn read(text: &str) -> Result<Self, Unreadable> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("more than {TEXT_BYTES_MAX} bytes");
            return Err(Unreadable { line: 1, problem, mend: "a fix is short: name the fields, not the letters" });
        }
        match text.trim_start().starts_with('{') {
            true => read_json(text),
            false => read_toml(text),
        }
    }

    /// The value as JSON; the line of what JSON cannot hold.
    pub(super) fn tree(&self) -> Result<Tree, (usize, &'static str)> {
        Ok(match &self.content {
            Content::Null => Tree::Null,
            Content::Bool(value) => Tree::Bool(*value),
            Content::Number(text) => Tree::Number(text.into()),
            Content::Beyond(what) => return Err((self.line, what)),
            Content::Text(text) => Tree::Text(text.into()),
            Content::List(elements) => Tree::Array(elements.iter().map(Written::tree).collect::<Result<_, _>>()?),
            Content::Table(members) => {
                let member = |(name, value): &(String, Written)| Ok((name.into(), value.tree()?));
                Tree::Object(members.iter().map(member).collect::<Result<_, _>>()?)
            }
        })
    }

    /// What it is, for messages.
    pub(super) fn noun(&self) -> &'static str {
        match self.content {
            Content::Null => "null",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Beyond(what) => what,
            Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Table(_) => "a table",
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn read_toml(text: &str) -> Result<Written, Unreadable> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let problem = format!("not TOML: {}", error.message().replace('\n', " "));
        return Err(Unreadable { line, problem, mend: "correct the line" });
    }
    Ok(Written { line: 1, content: toml_table(text, &table.into_inner()) })
}

fn toml_table(text: &str, table: &DeTable<'_>) -> Content {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    let member = |(name, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let written = Written { line: line_of(text, name.span().start), content: toml_value(text, value.get_ref()) };
        (name.get_ref().to_string(), written)
    };
    Content::Table(members.into_iter().map(member).collect())
}

fn toml_value(text: &str, value: &DeValue<'_>) -> Content {
    match value {
        DeValue::String(text) => Content::Text(text.to_string()),
        DeValue::Boolean(value) => Content::Bool(*value),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Content::Number(number.to_string()),
            Err(_) => Content::Beyond("an integer of more than 128 bits"),
        },
        DeValue::Float(number) => {
            let digits = number.as_str().trim_start_matches('+');
            match super::number::Decimal::parse(digits) {
                Some(_) => Content::Number(digits.to_owned()),
                None => Content::Beyond("no number of JSON"),
            }
        }
        DeValue::Datetime(_) => Content::Beyond("a date of TOML"),
        DeValue::Array(elements) => {
            let element = |element: &Spanned<DeValue<'_>>| Written {
                line: line_of(text, element.span().start),
                content: toml_value(text, element.get_ref()),
            };
            Content::List(elements.iter().map(element).collect())
        }
        DeValue::Table(table) => toml_table(text, table),
    }
}

fn read_json(text: &str) -> Result<Written, Unreadable> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| not_json(error.line(), &error))?;
    json_value(text, raw.get(), FILE_DEPTH_MAX)
}

fn not_json(line: usize, error: &serde_json::Error) -> Unreadable {
    Unreadable { line, problem: format!("not JSON: {error}"), mend: "correct the line" }
}

/// Reads `part`, which is a slice of `text`.
fn json_value(text: &str, part: &str, depth: usize) -> Result<Written, Unreadable> {
    let line = line_of(text, part.as_ptr() as usize - text.as_ptr() as usize);
    let wrong = |error: serde_json::Error| not_json(line, &error);
    let unreadable = |problem: String, mend| Unreadable { line, problem, mend };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(unreadable(format!("nested deeper than {FILE_DEPTH_MAX}"), "a fix is flat"));
    };
    let content = match part.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(part).map_err(wrong)?;
            let (mut names, mut read) = (HashSet::new(), Vec::with_capacity(members.len()));
            for (name, value) in members {
                if !names.insert(name.clone()) {
                    return Err(unreadable(format!("{name:?} stands here twice"), "remove one of them"));
                }
                read.push((name, json_value(text, value.get(), depth)?));
            }
            Content::Table(read)
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(part).map_err(wrong)?;
            let read = elements.into_iter().map(|element| json_value(text, element.get(), depth));
            Content::List(read.collect::<Result<_, _>>()?)
        }
        Some(b'"') => Content::Text(serde_json::from_str(part).map_err(wrong)?),
        Some(b't') => Content::Bool(true),
        Some(b'f') => Content::Bool(false),
        Some(b'n') => Content::Null,
        _ => Content::Number(part.to_owned()),
    };
    Ok(Written { line, content })
}

// What a fix puts into a letter is less deep than what letters may be.
const _: () = assert!(FILE_DEPTH_MAX < DEPTH_MAX);
