//! Which directory an event belongs to. Pure: of the event and its time alone.
//!
//! A directory is named as Hive names it, `key=value`, and engines guess types from values: `00123` is a number to one and
//! text to the next; they disagree on zeros, exponents, booleans and escapes. So a field's value is written so that
//! every engine reads the same text, and no two values the same:
//!
//! - bytes but letters, digits, `_` and `-` become `.` and two upper-case hex digits: `eu/w.1` is `eu.2Fw.2E1`;
//! - what then does not start with a letter, or is a word that reads as a number, a date, a boolean or nothing (`nan`,
//!   `infinity`, `true`, `null`, `today`, ..), gets a `_` before it: `00123` is `_00123`, the empty text `_`.
//!
//! To read one back: drop the first `_`, then decode the escapes.

use std::fmt::Write as _;

use super::time;
use crate::config::PartitionKey;
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Value};

/// Bytes a field's value may take in a directory's name: file systems stop at 255 with the key.
pub const VALUE_BYTES_MAX: usize = 128;

/// Names the directories of one pipeline.
#[derive(Clone, Debug)]
pub struct Partitioner {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    /// With the `=`.
    prefix: String,
    source: PartitionKey,
}

impl Partitioner {
    /// A key of a field is named like the field, in letters, digits and `_`; one that `is_taken`, since a column or an
    /// earlier key has that name in whatever case, gets `_key` at its end. Readers turn directories into columns, and a column
    /// of two sources is an error in some and a surprise in all.
    pub fn new(keys: &[PartitionKey], is_taken: impl Fn(&str) -> bool) -> Self {
        let mut names: Vec<String> = Vec::new();
        for key in keys {
            let mut name = match key {
                PartitionKey::Date => "date".to_owned(),
                PartitionKey::Hour => "hour".to_owned(),
                PartitionKey::Field { name, .. } => plain_name(name),
            };
            let is_field = matches!(key, PartitionKey::Field { .. });
            while names.iter().any(|known| known.eq_ignore_ascii_case(&name)) || (is_field && is_taken(&name)) {
                name.push_str("_key");
            }
            names.push(name);
        }
        let keys = names.into_iter().zip(keys);
        Self { keys: keys.map(|(name, source)| Key { prefix: format!("{name}="), source: source.clone() }).collect() }
    }

    /// The directories' keys, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.prefix.trim_end_matches('='))
    }

    /// Writes the event's directory to `out`, emptied first: `date=2013-01-01/hour=7/tenant=acme`, without a slash at
    /// either end, and nothing when there are no keys.
    ///
    /// # Errors
    /// [`Code::PartitionMissing`] and [`Code::PartitionUnusable`] for a field; [`Code::EncodeTimeRange`] for a time beyond the
    /// years 1 to 9999.
    pub fn write(&self, event: Value<'_>, event_time_us: i64, out: &mut String) -> Result<(), Rejection> {
        out.clear();
        for (position, key) in self.keys.iter().enumerate() {
            if position > 0 {
                out.push('/');
            }
            out.push_str(&key.prefix);
            match &key.source {
                PartitionKey::Date => {
                    let (year, month, day, _) = civil(event_time_us)?;
                    push_digits(out, year, 4);
                    out.push('-');
                    push_digits(out, i64::from(month), 2);
                    out.push('-');
                    push_digits(out, i64::from(day), 2);
                }
                // Not `07`, which is text to one engine and a number to others.
                PartitionKey::Hour => {
                    write!(out, "{}", civil(event_time_us)?.3).expect("a String takes all text");
                }
                PartitionKey::Field { pointer, .. } => {
                    write_field(event.pointer(pointer.segments()), pointer.as_str(), out)?;
                }
            }
        }
        Ok(())
    }
}

/// Appends the last `width` decimal digits of `number`; this runs for every event, and formatting costs more.
fn push_digits(out: &mut String, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = u8::try_from(number / 10_i64.pow(place) % 10).expect("a digit of a number that is not negative");
        out.push(char::from(b'0' + digit));
    }
}

fn plain_name(name: &str) -> String {
    let plain: String =
        name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect();
    if plain.is_empty() { "key".to_owned() } else { plain }
}

fn civil(event_time_us: i64) -> Result<(i64, u8, u8, u8), Rejection> {
    if time::is_in_range(event_time_us) {
        return Ok(time::civil(event_time_us));
    }
    Err(Issue::at(Code::EncodeTimeRange, "", "an event time in the years 0001 to 9999", "another year").into())
}

fn write_field(value: Option<Value<'_>>, path: &str, out: &mut String) -> Result<(), Rejection> {
    let issue = |code, expected: &str, actual: &str| Err(Issue::at(code, path, expected, actual).into());
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return issue(Code::PartitionMissing, "a value", if value.is_some() { "null" } else { "missing" });
    };
    let start = out.len();
    match value.node() {
        Node::Str(text) => write_value(text, out),
        Node::Object { .. } | Node::Array { .. } | Node::Null => {
            return issue(Code::PartitionUnusable, "a string, a number or a boolean", value.type_name());
        }
        Node::Bool(_) | Node::I64(_) | Node::U64(_) | Node::F64 { .. } => {
            let mut text = Vec::new();
            value.write_json(&mut text);
            write_value(&String::from_utf8_lossy(&text), out);
        }
    }
    if out.len() - start > VALUE_BYTES_MAX {
        out.truncate(start);
        return issue(Code::PartitionUnusable, "at most 128 bytes as a directory name", "more");
    }
    Ok(())
}

/// Appends `text` as the module describes.
fn write_value(text: &str, out: &mut String) {
    /// What some engine's guess or cast makes of a bare word.
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "none",
        "nil",
        "na",
        "nan",
        "inf",
        "infinity",
        "epoch",
        "now",
        "today",
        "tomorrow",
        "yesterday",
        "allballs",
    ];
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if !is_word {
        out.push('_');
    }
    // One byte more than is allowed is enough to be refused, and bounds the work.
    for byte in text.bytes().take(VALUE_BYTES_MAX + 1) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            write!(out, ".{byte:02X}").expect("a String takes all text");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{Pointer, Tape};

    /// 2013-01-01T07:15:00Z
    const TIME: i64 = 1_357_024_500_000_000;

    fn field(pointer: &str) -> PartitionKey {
        let pointer = Pointer::parse(pointer).expect("a pointer");
        PartitionKey::Field { name: pointer.segments().last().expect("a name").clone(), pointer }
    }

    fn write(keys: &[PartitionKey], nodes: Vec<Node<'_>>) -> Result<String, Rejection> {
        let mut out = "left over".to_owned();
        let tape = Tape::new(nodes, b"");
        Partitioner::new(keys, |_| false).write(tape.root(), TIME, &mut out).map(|()| out)
    }

    fn with_value(node: Node<'_>) -> Result<String, Rejection> {
        let end = if matches!(node, Node::Object { .. }) { 3 } else { 2 };
        write(&[field("/k")], vec![Node::Object { members: 1, end }, Node::Str("k"), node])
    }

    #[test]
    fn dates_and_hours_are_of_the_event_s_time_in_utc() {
        let event = || vec![Node::Object { members: 0, end: 1 }];
        assert_eq!(write(&[PartitionKey::Date], event()), Ok("date=2013-01-01".to_owned()));
        assert_eq!(write(&[PartitionKey::Date, PartitionKey::Hour], event()), Ok("date=2013-01-01/hour=7".to_owned()));
        assert_eq!(write(&[], event()), Ok(String::new()));
    }

    #[test]
    fn values_are_safe_text_that_no_engine_takes_for_another_type() {
        for (value, expected) in [
            ("acme", "acme"),
            ("eu-west_1", "eu-west_1"),
            ("00123", "_00123"),
            ("1e5", "_1e5"),
            ("-7", "_-7"),
            ("", "_"),
            ("_x", "__x"),
            ("2013-01-01", "_2013-01-01"),
            ("True", "_True"),
            ("NaN", "_NaN"),
            ("a/b=c", "a.2Fb.3Dc"),
            ("v1.2", "v1.2E2"),
            ("São", "S.C3.A3o"),
            ("..", "_.2E.2E"),
        ] {
            assert_eq!(with_value(Node::Str(value)), Ok(format!("k={expected}")), "{value:?}");
        }
        assert_eq!(with_value(Node::I64(7)), Ok("k=_7".to_owned()));
        assert_eq!(with_value(Node::Bool(true)), Ok("k=_true".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_directory_is_rejected_with_its_path() {
        let code = |result: Result<String, Rejection>| {
            let rejection = result.expect_err("no directory");
            assert_eq!(rejection.issues()[0].path, "/k");
            rejection.code()
        };
        assert_eq!(code(with_value(Node::Null)), Code::PartitionMissing);
        assert_eq!(code(write(&[field("/k")], vec![Node::Object { members: 0, end: 1 }])), Code::PartitionMissing);
        assert_eq!(code(with_value(Node::Object { members: 0, end: 3 })), Code::PartitionUnusable);
        assert_eq!(code(with_value(Node::Array { elements: 0, end: 3 })), Code::PartitionUnusable);
        assert_eq!(code(with_value(Node::Str(&"x".repeat(129)))), Code::PartitionUnusable);
        with_value(Node::Str(&"x".repeat(128))).expect("the longest value");
    }

    #[test]
    fn a_time_engines_cannot_show_is_rejected() {
        let tape = Tape::new(vec![Node::Null], b"");
        let rejection = Partitioner::new(&[PartitionKey::Date], |_| false)
            .write(tape.root(), i64::MAX, &mut String::new())
            .expect_err("the year 294247");
        assert_eq!(rejection.code(), Code::EncodeTimeRange);
    }

    #[test]
    fn keys_give_way_to_columns_and_to_each_other() {
        let keys =
            [PartitionKey::Date, field("/carrier"), field("/route/Carrier"), field("/a b"), field("/event/date")];
        let partitioner = Partitioner::new(&keys, |name| name.eq_ignore_ascii_case("carrier"));
        let names: Vec<_> = partitioner.names().collect();
        assert_eq!(names, ["date", "carrier_key", "Carrier_key_key", "a_b", "date_key"]);
    }

    /// The inverse the module describes.
    fn read_value(text: &str) -> String {
        let text = text.strip_prefix('_').unwrap_or(text);
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, others @ ..] = rest {
            if *first == b'.' {
                let hex = std::str::from_utf8(&others[..2]).expect("hex");
                bytes.push(u8::from_str_radix(hex, 16).expect("hex"));
                rest = &others[2..];
            } else {
                bytes.push(*first);
                rest = others;
            }
        }
        String::from_utf8(bytes).expect("it was text")
    }

    proptest! {
        #[test]
        fn every_value_can_be_read_back(value in "\\PC{0,40}|[a-z_.0-9-]{0,12}") {
            let mut out = String::new();
            write_value(&value, &mut out);
            prop_assert!(out.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), "{}", out);
            prop_assert!(out.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_'));
            prop_assert!(out.parse::<f64>().is_err(), "{}", out);
            prop_assert_eq!(read_value(&out), value);
        }
    }
}
