//! The text of a fix -> a fix. Everything that is wrong is found, not only the first.

use regex::Regex;
use sha2::{Digest, Sha256};

use super::envelope::{HeaderStep, LOCKED_HEADERS, Property, PropertyStep, is_locked_header, short};
use super::jq::{self, Jq};
use super::number::Decimal;
use super::patch::Operation;
use super::path::Path;
use super::step::{Action, CastTo, Otherwise, Parse, Step};
use super::time::Shape;
use super::tree::Tree;
use super::when::{Is, Subject, When};
use super::written::{Content, Written};
use super::{Conditional, Fix, FixFinding};
use crate::config::nearest;
use crate::decode::Wire;
use crate::event::HeaderValue;
use crate::headers;
use crate::value::Pointer;

/// Steps, operations and conditions of a fix, each kind for itself.
const STEPS_MAX: usize = 1000;
/// Compiled patterns are held to this, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bumped when the meaning of what is written changes.
const HASH_VERSION: &str = "parqueduct.fix.1\n";

pub(super) const ACTIONS: &[&str] = &["cast", "rename", "move", "default", "remove", "parse", "scale", "map"];

/// Reads a fix.
pub(super) fn fix(text: &str) -> Result<Fix, Vec<FixFinding>> {
    let written = Written::read(text).map_err(|wrong| {
        let mend = wrong.mend.to_owned();
        vec![FixFinding { line: wrong.line, key: String::new(), problem: wrong.problem, mend }]
    })?;
    let mut reader = Reader { findings: Vec::new() };
    let fix = reader.fix(&written);
    match (fix, reader.findings.is_empty()) {
        (Some(fix), true) => Ok(fix),
        _ => {
            reader.findings.sort_by_key(|finding| finding.line);
            Err(reader.findings)
        }
    }
}

/// A table that is being read: its members, and where it is.
#[derive(Clone, Copy)]
struct Table<'w> {
    members: &'w [(String, Written)],
    line: usize,
    key: &'w str,
}

impl<'w> Table<'w> {
    fn get(&self, name: &str) -> Option<&'w Written> {
        self.members.iter().find(|(there, _)| there == name).map(|(_, value)| value)
    }

    fn at(&self, name: &str) -> String {
        // `step 2` is a place, `cast` in it a key.
        let separator = if self.key.is_empty() {
            ""
        } else if self.key.ends_with(|last: char| last.is_ascii_digit()) {
            ": "
        } else {
            "."
        };
        format!("{}{separator}{name}", self.key)
    }
}

struct Reader {
    findings: Vec<FixFinding>,
}

impl Reader {
    fn note<T>(&mut self, line: usize, key: &str, problem: impl Into<String>, mend: impl Into<String>) -> Option<T> {
        // A name may hold anything, a line break too.
        let key = key.escape_debug().to_string();
        self.findings.push(FixFinding { line, key, problem: problem.into(), mend: mend.into() });
        None
    }

    fn table<'w>(&mut self, written: &'w Written, key: &'w str, known: &[&str]) -> Option<Table<'w>> {
        let Content::Table(members) = &written.content else {
            return self.note(written.line, key, format!("is {}", written.noun()), "write a table");
        };
        let table = Table { members, line: written.line, key };
        for (name, value) in members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let mend = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("remove it; the keys here are {}", known.join(", ")),
            };
            self.note::<()>(value.line, &table.at(name), "unknown key", mend);
        }
        Some(table)
    }

    fn required<'w>(&mut self, table: Table<'w>, name: &str, example: &str) -> Option<&'w Written> {
        match table.get(name) {
            Some(value) => Some(value),
            None => self.note(table.line, &table.at(name), "is missing", format!("add {name} = {example}")),
        }
    }

    fn text<'w>(&mut self, table: Table<'w>, name: &str, example: &str) -> Option<(&'w str, usize)> {
        let written = self.required(table, name, example)?;
        match &written.content {
            Content::Text(text) => Some((text, written.line)),
            _ => self.note(written.line, &table.at(name), format!("is {}", written.noun()), "write text"),
        }
    }

    /// One of a few words, and what it stands for.
    fn word<T: Copy>(&mut self, table: Table<'_>, name: &str, words: &[(&str, T)]) -> Option<T> {
        let (text, line) = self.text(table, name, &format!("{:?}", words[0].0))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.note(line, &table.at(name), format!("{text:?} is not known"), format!("write {}", known.join(" or ")))
    }

    fn path(&mut self, table: Table<'_>, name: &str) -> Option<Path> {
        let (text, line) = self.text(table, name, "\"/field\"")?;
        match Path::parse(text) {
            Ok(path) => Some(path),
            Err(wrong) => self.note(line, &table.at(name), format!("{text:?} is no path"), wrong),
        }
    }

    fn tree(&mut self, written: &Written, key: &str) -> Option<Tree> {
        match written.tree() {
            Ok(tree) => Some(tree),
            Err((line, what)) => self.note(line, key, format!("is {what}, which JSON does not have"), "write text"),
        }
    }

    /// The value of `name`, or of `json`, which holds it as JSON text.
    fn value(&mut self, table: Table<'_>, name: &str) -> Option<Tree> {
        match (table.get(name), table.get("json")) {
            (Some(_), Some(json)) => {
                self.note(json.line, &table.at("json"), format!("stands beside {name}"), "remove one of them")
            }
            (Some(value), None) => self.tree(value, &table.at(name)),
            (None, Some(json)) => match &json.content {
                Content::Text(text) => match super::decoded(text.as_bytes()) {
                    Some(tree) => Some(tree),
                    None => self.note(json.line, &table.at("json"), "is no JSON", "write a value as JSON text"),
                },
                _ => self.note(json.line, &table.at("json"), format!("is {}", json.noun()), "write JSON as text"),
            },
            (None, None) => self.note(table.line, &table.at(name), "is missing", format!("add {name} = ..")),
        }
    }

    fn fix(&mut self, written: &Written) -> Option<Fix> {
        let root = self.table(written, "", &["step", "patch", "jq", "header", "property"])?;
        let steps = self.list(root, "step", Self::step);
        let patch = self.list(root, "patch", Self::operation);
        let headers = self.list(root, "header", Self::header);
        let properties = self.list(root, "property", Self::property);
        let jq = root.get("jq").map(|written| self.jq(written));
        if self.findings.is_empty()
            && steps.is_empty()
            && patch.is_empty()
            && jq.is_none()
            && headers.is_empty()
            && properties.is_empty()
        {
            self.note::<()>(
                1,
                "",
                "nothing to do",
                "add a [[step]], such as cast = { path = \"/amount\", to = \"number\" }",
            );
        }
        let (jq, hash) = (jq.flatten(), hash(written));
        Some(Fix { steps, patch, jq, headers, properties, hash, wires: Wire::Json.into() })
    }

    fn jq(&mut self, written: &Written) -> Option<Jq> {
        let Content::Text(program) = &written.content else {
            return self.note(written.line, "jq", format!("is {}", written.noun()), "write the program as text");
        };
        match jq::check(program) {
            Ok(()) => Some(Jq::own(program.clone())),
            Err(wrong) => {
                let line = if program.contains('\n') {
                    format!(" (line {} of the program)", wrong.line)
                } else {
                    String::new()
                };
                self.note(written.line, "jq", format!("{}{line}", wrong.problem), "correct the program")
            }
        }
    }

    fn list<T>(
        &mut self,
        root: Table<'_>,
        name: &str,
        read: impl Fn(&mut Self, &Written, &str) -> Option<T>,
    ) -> Vec<T> {
        let Some(written) = root.get(name) else { return Vec::new() };
        let Content::List(elements) = &written.content else {
            self.note::<()>(written.line, name, format!("is {}", written.noun()), format!("write [[{name}]]"));
            return Vec::new();
        };
        if elements.len() > STEPS_MAX {
            let problem = format!("{} of them, more than {STEPS_MAX}", elements.len());
            self.note::<()>(written.line, name, problem, "make more than one fix of it");
            return Vec::new();
        }
        let read = |(number, element): (usize, &Written)| read(self, element, &format!("{name} {number}"));
        (1..).zip(elements).filter_map(read).collect()
    }

    fn step(&mut self, written: &Written, key: &str) -> Option<Step> {
        let known: Vec<&str> = ACTIONS.iter().copied().chain(["when"]).collect();
        let table = self.table(written, key, &known)?;
        let when = self.when(table);
        let given: Vec<&(String, Written)> =
            table.members.iter().filter(|(name, _)| ACTIONS.contains(&name.as_str())).collect();
        if given.is_empty() && table.members.iter().any(|(name, _)| !known.contains(&name.as_str())) {
            return None;
        }
        let [(name, value)] = given.as_slice() else {
            let problem = match given.len() {
                0 => "does nothing".to_owned(),
                count => format!("does {count} things"),
            };
            return self.note(table.line, key, problem, format!("write one of {}", ACTIONS.join(", ")));
        };
        let action = self.action(name, value, &table.at(name))?;
        Some(Step { action, when: when? })
    }

    fn action(&mut self, name: &str, written: &Written, key: &str) -> Option<Action> {
        match name {
            "cast" => {
                let table = self.table(written, key, &["path", "to"])?;
                const TYPES: [(&str, CastTo); 4] = [
                    ("integer", CastTo::Integer),
                    ("number", CastTo::Number),
                    ("string", CastTo::String),
                    ("boolean", CastTo::Boolean),
                ];
                let (path, to) = (self.path(table, "path"), self.word(table, "to", &TYPES));
                Some(Action::Cast { path: path?, to: to? })
            }
            "rename" | "move" => self.relocation(name == "rename", written, key),
            "default" => {
                let table = self.table(written, key, &["path", "value", "json"])?;
                let (path, value) = (self.path(table, "path"), self.value(table, "value"));
                Some(Action::Default { path: path?, value: value? })
            }
            "remove" => {
                let table = self.table(written, key, &["path"])?;
                let path = self.path(table, "path")?;
                match path.is_root() {
                    true => self.note(table.line, &table.at("path"), "is the whole body", "name a field in it"),
                    false => Some(Action::Remove { path }),
                }
            }
            "parse" => self.parse(written, key),
            "scale" => {
                let table = self.table(written, key, &["path", "by"])?;
                let path = self.path(table, "path");
                let by = self.required(table, "by", "\"0.01\"")?;
                let number = match &by.content {
                    Content::Text(text) | Content::Number(text) => Decimal::parse(text),
                    _ => None,
                };
                if number.is_none() {
                    return self.note(by.line, &table.at("by"), "is no number", "write it such as \"0.01\"");
                }
                Some(Action::Scale { path: path?, by: number? })
            }
            _ => self.map(written, key),
        }
    }

    fn relocation(&mut self, renames: bool, written: &Written, key: &str) -> Option<Action> {
        let table = self.table(written, key, &["from", "to"])?;
        let (from, to) = (self.path(table, "from"), self.path(table, "to"));
        let (from, to) = (from?, to?);
        let (Some((old, _)), Some((new, _))) = (from.split_last(), to.split_last()) else {
            let problem = "begins or ends at no field with a name";
            return self.note(table.line, key, problem, "let both paths end with the name of a field");
        };
        if renames && old != new {
            return self.note(table.line, &table.at("to"), "is not beside from", "use move for another place");
        }
        if to.shared_wildcards(&from) < to.wildcards() || to.wildcards() < from.wildcards() {
            let problem = "has not the wildcards of from at the same place";
            return self.note(
                table.line,
                &table.at("to"),
                problem,
                "write both paths the same up to the last wildcard",
            );
        }
        if from.contains(&to) {
            return self.note(table.line, &table.at("to"), "is from, or within it", "write another place");
        }
        Some(if renames { Action::Rename { from, to } } else { Action::Move { from, to } })
    }

    fn parse(&mut self, written: &Written, key: &str) -> Option<Action> {
        const NUMBERS: &[(&str, char, char)] = &[("number_comma", ',', '.'), ("number_decimal_comma", '.', ',')];
        let table = self.table(written, key, &["path", "as", "to"])?;
        let path = self.path(table, "path");
        let (from, line) = self.text(table, "as", "\"unix_seconds\"")?;
        let plain = match from {
            "json" => Some(Parse::Json),
            "value" => {
                self.word(table, "to", &[("json", ())])?;
                return Some(Action::Parse { path: path?, parse: Parse::ToJson });
            }
            _ => {
                let number = NUMBERS.iter().find(|(name, ..)| *name == from);
                number.map(|(_, thousands, point)| Parse::Number { thousands: *thousands, point: *point })
            }
        };
        if let Some(parse) = plain {
            return match table.get("to") {
                Some(to) => self.note(to.line, &table.at("to"), format!("does not go with {from:?}"), "remove it"),
                None => Some(Action::Parse { path: path?, parse }),
            };
        }
        let Some(from) = Shape::parse(from) else {
            let names = Shape::NAMES.iter().chain(NUMBERS.iter().map(|(name, ..)| name)).copied();
            let mend = match nearest(from, names.clone()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => {
                    let names: Vec<&str> = names.chain(["json", "value"]).collect();
                    format!("write one of {}, or a pattern such as \"%d.%m.%Y\"", names.join(", "))
                }
            };
            return self.note(line, &table.at("as"), format!("{from:?} is no shape"), mend);
        };
        let (to, line) = match table.get("to") {
            None => ("rfc3339", table.line),
            Some(_) => self.text(table, "to", "\"rfc3339\"")?,
        };
        match Shape::parse(to) {
            Some(Shape::Pattern(_)) | None => {
                let mend = format!("write one of {}", Shape::NAMES.join(", "));
                self.note(line, &table.at("to"), format!("{to:?} is no shape to write"), mend)
            }
            Some(to) => Some(Action::Parse { path: path?, parse: Parse::Moment { from, to } }),
        }
    }

    fn map(&mut self, written: &Written, key: &str) -> Option<Action> {
        let table = self.table(written, key, &["path", "values", "otherwise"])?;
        let path = self.path(table, "path");
        let otherwise = match table.get("otherwise") {
            None => Some(Otherwise::Keep),
            Some(_) => self.word(table, "otherwise", &[("keep", Otherwise::Keep), ("fail", Otherwise::Fail)]),
        };
        let given = self.required(table, "values", "{ old = \"new\" }")?;
        let Content::Table(members) = &given.content else {
            return self.note(given.line, &table.at("values"), format!("is {}", given.noun()), "write a table");
        };
        let mut values = Vec::with_capacity(members.len());
        for (old, new) in members {
            values.push((old.clone(), self.tree(new, &table.at("values"))?));
        }
        Some(Action::Map { path: path?, values, otherwise: otherwise? })
    }

    /// The condition beside an action; `None` if it is wrong, `Some(None)` if there is none.
    fn when(&mut self, step: Table<'_>) -> Option<Option<When>> {
        let Some(written) = step.get("when") else { return Some(None) };
        let key = step.at("when");
        let table = self.table(written, &key, &["path", "header", "property", "is", "equals", "json", "matches"])?;
        let subjects = ["path", "header", "property"].into_iter().filter(|name| table.get(name).is_some());
        let subject = match subjects.collect::<Vec<_>>().as_slice() {
            ["path"] => Subject::Body(self.path(table, "path")?),
            ["header"] => Subject::Header(self.text(table, "header", "\"x-source\"")?.0.to_owned()),
            ["property"] => {
                let (name, line) = self.text(table, "property", "\"app_id\"")?;
                Subject::Property(self.property_called(name, line, &table.at("property"))?)
            }
            _ => return self.note(table.line, &key, "looks at nothing or at more than one", "give it one path"),
        };
        let is = match table.get("is") {
            None => None,
            Some(_) => {
                let words: Vec<(&str, Is)> =
                    Is::NAMES.iter().filter_map(|name| Some((*name, Is::parse(name)?))).collect();
                Some(self.word(table, "is", &words)?)
            }
        };
        let equals = match table.get("equals").or(table.get("json")) {
            None => None,
            Some(_) => Some(self.value(table, "equals")?),
        };
        let matches = match table.get("matches") {
            None => None,
            Some(_) => {
                let (text, line) = self.text(table, "matches", "\"^[0-9]+$\"")?;
                match regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
                    Ok(pattern) => Some::<Regex>(pattern),
                    Err(error) => {
                        let error = error.to_string();
                        let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                        return self.note(line, &table.at("matches"), "is no regular expression", last);
                    }
                }
            }
        };
        if is.is_none() && equals.is_none() && matches.is_none() {
            return self.note(table.line, &key, "asks nothing", "add is, equals or matches");
        }
        Some(Some(When { subject, is, equals, matches }))
    }

    fn operation(&mut self, written: &Written, key: &str) -> Option<Operation> {
        const OPERATIONS: [(&str, &str); 6] = [
            ("add", "add"),
            ("remove", "remove"),
            ("replace", "replace"),
            ("move", "move"),
            ("copy", "copy"),
            ("test", "test"),
        ];
        // Members that are not defined for an operation must be ignored (RFC 6902, section 4); a mistyped key should not be,
        // and a fix is written for us.
        let table = self.table(written, key, &["op", "path", "from", "value", "json"])?;
        let (op, path) = (self.word(table, "op", &OPERATIONS), self.pointer(table, "path"));
        let (op, path) = (op?, path?);
        Some(match op {
            "add" => Operation::Add { path, value: self.value(table, "value")? },
            "replace" => Operation::Replace { path, value: self.value(table, "value")? },
            "test" => Operation::Test { path, value: self.value(table, "value")? },
            "move" => Operation::Move { from: self.pointer(table, "from")?, path },
            "copy" => Operation::Copy { from: self.pointer(table, "from")?, path },
            _ => Operation::Remove { path },
        })
    }

    fn pointer(&mut self, table: Table<'_>, name: &str) -> Option<Pointer> {
        let (text, line) = self.text(table, name, "\"/field\"")?;
        match Pointer::parse(text) {
            Ok(pointer) => Some(pointer),
            Err(wrong) => self.note(line, &table.at(name), format!("{text:?} is no path"), wrong),
        }
    }

    fn header(&mut self, written: &Written, key: &str) -> Option<Conditional<HeaderStep>> {
        let (table, when, (name, value)) = self.change(written, key)?;
        let at = table.at(name);
        let step = match name {
            "set" => {
                let inner = self.table(value, &at, &["name", "value", "type"])?;
                let (name, line) = self.text(inner, "name", "\"x-source\"")?;
                self.header_name(name, line, &inner.at("name"))?;
                let given = self.required(inner, "value", "\"text\"")?;
                HeaderStep::Set { name: name.to_owned(), value: self.header_value(inner, given)? }
            }
            "remove" => HeaderStep::Remove { name: self.named_header(value, &at)? },
            _ => {
                let inner = self.table(value, &at, &["from", "to"])?;
                let (from, to) = (inner.get("from"), inner.get("to"));
                let (Some(from), Some(to)) = (from, to) else {
                    return self.note(inner.line, &at, "lacks from or to", "write { from = \"a\", to = \"b\" }");
                };
                let (from, to) = (self.named_header(from, &inner.at("from")), self.named_header(to, &inner.at("to")));
                HeaderStep::Rename { from: from?, to: to? }
            }
        };
        Some(Conditional { step, when })
    }

    fn property(&mut self, written: &Written, key: &str) -> Option<Conditional<PropertyStep>> {
        let (table, when, (name, value)) = self.change(written, key)?;
        let at = table.at(name);
        let step = match name {
            "set" => {
                let inner = self.table(value, &at, &["name", "value"])?;
                let (name, line) = self.text(inner, "name", "\"content_type\"")?;
                let property = self.property_called(name, line, &inner.at("name"))?;
                let given = self.required(inner, "value", "\"text\"")?;
                let value = self.tree(given, &inner.at("value"))?;
                if let Err((problem, mend)) = property.check(&value) {
                    return self.note(given.line, &inner.at("value"), problem, mend);
                }
                PropertyStep::Set { property, value }
            }
            "remove" => PropertyStep::Remove { property: self.named_property(value, &at)? },
            _ => {
                let inner = self.table(value, &at, &["from", "to"])?;
                let (Some(from), Some(to)) = (inner.get("from"), inner.get("to")) else {
                    return self.note(inner.line, &at, "lacks from or to", "write { from = \"a\", to = \"b\" }");
                };
                let from = self.named_property(from, &inner.at("from"));
                let to = self.named_property(to, &inner.at("to"));
                let (from, to) = (from?, to?);
                if !from.is_text() || !to.is_text() || to == Property::Expiration {
                    let problem = "may not hold what the other holds";
                    return self.note(inner.line, &at, problem, "rename texts, or set the value");
                }
                PropertyStep::Rename { from, to }
            }
        };
        Some(Conditional { step, when })
    }

    /// The one change that a step on headers or properties makes.
    #[allow(clippy::type_complexity)]
    fn change<'w>(
        &mut self,
        written: &'w Written,
        key: &'w str,
    ) -> Option<(Table<'w>, Option<When>, (&'static str, &'w Written))> {
        const CHANGES: [&str; 3] = ["set", "remove", "rename"];
        let table = self.table(written, key, &["set", "remove", "rename", "when"])?;
        let when = self.when(table);
        let given = CHANGES.into_iter().filter_map(|name| Some((name, table.get(name)?)));
        match given.collect::<Vec<_>>().as_slice() {
            [change] => Some((table, when?, *change)),
            _ => self.note(table.line, key, "does nothing or more than one thing", "write set, remove or rename"),
        }
    }

    fn named_header(&mut self, written: &Written, key: &str) -> Option<String> {
        let Content::Text(name) = &written.content else {
            return self.note(written.line, key, format!("is {}", written.noun()), "write the name of a header");
        };
        self.header_name(name, written.line, key)?;
        Some(name.clone())
    }

    fn header_name(&mut self, name: &str, line: usize, key: &str) -> Option<()> {
        if is_locked_header(name) {
            let mend = format!("leave it: brokers and replays write {}", LOCKED_HEADERS.join(", "));
            return self.note(line, key, format!("{name:?} is locked"), mend);
        }
        match short(name) {
            Ok(()) => Some(()),
            Err((problem, mend)) => self.note(line, key, problem, mend),
        }
    }

    /// A typed value: by the kind of what is written, or of the AMQP type that stands beside it.
    fn header_value(&mut self, table: Table<'_>, given: &Written) -> Option<HeaderValue> {
        let key = table.at("value");
        let value = self.tree(given, &key)?;
        let tag = match table.get("type") {
            Some(_) => self.text(table, "type", "\"l\"")?.0,
            None => match &value {
                Tree::Bool(_) => "t",
                Tree::Number(_) if value.kind() == super::kind::INTEGER => "l",
                Tree::Number(_) => "d",
                Tree::Null => "V",
                Tree::Text(_) => "S",
                Tree::Array(_) | Tree::Object(_) => {
                    let problem = format!("is {}", given.noun());
                    return self.note(given.line, &key, problem, "write text, a number, or true or false");
                }
            },
        };
        // 64-bit numbers are text there, as in the columns of the archive.
        let json = match (&value, tag) {
            (Tree::Number(text), "l" | "T") => format!("{text:?}"),
            _ => String::from_utf8(value.to_json()).expect("JSON is UTF-8"),
        };
        match headers::from_tagged(tag, &json) {
            Ok(value) => Some(value),
            Err(_) => {
                let mend = "types are those of RabbitMQ: S text, l integer, d float, t boolean, T timestamp";
                self.note(given.line, &key, format!("is no value of type {tag:?}"), mend)
            }
        }
    }

    fn named_property(&mut self, written: &Written, key: &str) -> Option<Property> {
        let Content::Text(name) = &written.content else {
            return self.note(written.line, key, format!("is {}", written.noun()), "write the name of a property");
        };
        self.property_called(name, written.line, key)
    }

    fn property_called(&mut self, name: &str, line: usize, key: &str) -> Option<Property> {
        if let Some(property) = Property::parse(name) {
            return Some(property);
        }
        let known: Vec<&str> = Property::ALL.iter().map(|property| property.name()).collect();
        let (problem, mend) = match name {
            "user_id" => ("is locked", "leave it: the broker checks it against who publishes".to_owned()),
            "headers" => ("is a table", "use [[header]]".to_owned()),
            _ => match nearest(name, known.iter().copied()) {
                Some(near) => ("is no property", format!("did you mean {near:?}?")),
                None => ("is no property", format!("write one of {}", known.join(", "))),
            },
        };
        self.note(line, key, format!("{name:?} {problem}"), mend)
    }
}

/// SHA-256 of what is written, without its lines, comments and white space.
fn hash(written: &Written) -> String {
    let mut text = HASH_VERSION.as_bytes().to_vec();
    if let Ok(tree) = written.tree() {
        text.extend(tree.to_json());
    }
    Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}
