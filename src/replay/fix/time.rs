//! Points in time, from the shape a producer wrote to the shape a schema asks for, exactly or not at all.

use std::fmt;

use chrono::format::{self, Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use compact_str::ToCompactString;

use super::number::Decimal;
use super::tree::{Tree, kind};

/// How a point in time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Units since 1970-01-01T00:00:00Z, without leap seconds; the power of ten that makes nanoseconds of them.
    Unix {
        name: &'static str,
        nanoseconds: i64,
    },
    Rfc3339,
    /// `2026-11-25`: midnight in UTC.
    Date,
    /// A pattern of `strftime`; without an offset in UTC, without a time of day at midnight.
    Pattern(String),
}

const UNIX: [Shape; 4] = [
    Shape::Unix { name: "unix_seconds", nanoseconds: 9 },
    Shape::Unix { name: "unix_millis", nanoseconds: 6 },
    Shape::Unix { name: "unix_micros", nanoseconds: 3 },
    Shape::Unix { name: "unix_nanos", nanoseconds: 0 },
];

impl Shape {
    pub(super) const NAMES: &[&str] = &["unix_seconds", "unix_millis", "unix_micros", "unix_nanos", "rfc3339", "date"];

    /// The shape called `name`, or the pattern it is; `None` if it is neither.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "rfc3339" => Some(Shape::Rfc3339),
            "date" => Some(Shape::Date),
            _ if name.contains('%') => {
                let sound = StrftimeItems::new(name).all(|item| !matches!(item, Item::Error));
                sound.then(|| Shape::Pattern(name.to_owned()))
            }
            _ => UNIX.into_iter().find(|shape| shape.name() == name),
        }
    }

    fn name(&self) -> &str {
        match self {
            Shape::Unix { name, .. } => name,
            Shape::Rfc3339 => "rfc3339",
            Shape::Date => "date",
            Shape::Pattern(pattern) => pattern,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A point in time.
pub(super) struct Moment(DateTime<Utc>);

/// What was needed and what was found.
type Wrong = (String, String);

impl Moment {
    /// The time that `value` is in the shape `from`.
    pub(super) fn read(from: &Shape, value: &Tree) -> Result<Self, Wrong> {
        let wrong = |actual: &str| (format!("time as {from}"), actual.to_owned());
        let text = match (from, value) {
            (Shape::Unix { .. }, Tree::Number(text)) | (_, Tree::Text(text)) => text,
            (_, other) => return Err(wrong(other.kind())),
        };
        let time = match from {
            Shape::Unix { nanoseconds, .. } => {
                let number = Decimal::parse(text).ok_or_else(|| wrong("string that is no number"))?;
                let total = number.shifted(*nanoseconds).integer().ok_or_else(|| wrong("number out of range"))?;
                from_nanoseconds(total)
            }
            // A leap second is a nanosecond count of more than a second: no other shape could hold it.
            Shape::Rfc3339 => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
            Shape::Date => text.parse().ok().map(midnight),
            Shape::Pattern(pattern) => by_pattern(text, pattern),
        };
        let time = time.filter(|time| time.timestamp_subsec_nanos() < 1_000_000_000);
        time.map(Self).ok_or_else(|| wrong(&format!("{} that is none", value.kind())))
    }

    /// The value that it is in the shape `to`; refused where that shape cannot hold all of it.
    pub(super) fn write(&self, to: &Shape) -> Result<Tree, Wrong> {
        let Self(time) = self;
        let wrong = |actual: &str| (format!("time that fits {to}"), actual.to_owned());
        let year = time.format("%Y").to_string();
        match to {
            Shape::Unix { nanoseconds, .. } => {
                let total = i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos());
                let number = Decimal::from_integer(total).shifted(-nanoseconds);
                number.integer_text().map(|text| Tree::Number(text.into())).ok_or_else(|| wrong("fraction"))
            }
            // RFC 3339, section 5.6: four digits.
            Shape::Rfc3339 | Shape::Date if year.len() != 4 => Err(wrong("year of other than four digits")),
            Shape::Rfc3339 => Ok(Tree::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())),
            Shape::Date if time.time() != NaiveTime::MIN => Err(wrong("time of day")),
            Shape::Date => Ok(Tree::Text(time.format("%Y-%m-%d").to_compact_string())),
            Shape::Pattern(_) => Err((kind::STRING.to_owned(), "pattern".to_owned())),
        }
    }
}

fn from_nanoseconds(total: i128) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
    DateTime::from_timestamp(seconds, u32::try_from(total.rem_euclid(1_000_000_000)).ok()?)
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

fn by_pattern(text: &str, pattern: &str) -> Option<DateTime<Utc>> {
    let mut parsed = Parsed::new();
    format::parse(&mut parsed, text, StrftimeItems::new(pattern)).ok()?;
    if parsed.offset().is_some() || parsed.timestamp().is_some() {
        return parsed.to_datetime().ok().map(|time| time.to_utc());
    }
    let date = parsed.to_naive_date().ok()?;
    let timed = parsed.hour_div_12().is_some() || parsed.hour_mod_12().is_some() || parsed.minute().is_some();
    match timed {
        true => Some(date.and_time(parsed.to_naive_time().ok()?).and_utc()),
        false => Some(midnight(date)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(from: &str, to: &str, value: Tree) -> Result<Tree, Wrong> {
        let shape = |name| Shape::parse(name).expect("a shape");
        Moment::read(&shape(from), &value)?.write(&shape(to))
    }

    #[test]
    fn times_pass_from_shape_to_shape() {
        let text = |text: &str| Tree::Text(text.into());
        let number = |text: &str| Tree::Number(text.into());
        for (from, to, value, expected) in [
            ("unix_seconds", "rfc3339", number("1764110000"), text("2025-11-25T22:33:20Z")),
            ("unix_seconds", "rfc3339", text("1764110000.25"), text("2025-11-25T22:33:20.250Z")),
            ("unix_millis", "rfc3339", number("1764110000123"), text("2025-11-25T22:33:20.123Z")),
            ("unix_micros", "unix_millis", number("-1000"), number("-1")),
            ("unix_nanos", "rfc3339", number("1"), text("1970-01-01T00:00:00.000000001Z")),
            ("unix_seconds", "rfc3339", number("1.764110e9"), text("2025-11-25T22:33:20Z")),
            ("rfc3339", "unix_seconds", text("2025-11-25T23:33:20+01:00"), number("1764110000")),
            ("rfc3339", "date", text("2025-11-25T00:00:00Z"), text("2025-11-25")),
            ("date", "unix_millis", text("1970-01-02"), number("86400000")),
            ("%d.%m.%Y %H:%M", "rfc3339", text("25.11.2025 22:33"), text("2025-11-25T22:33:00Z")),
            ("%d/%m/%Y", "date", text("25/11/2025"), text("2025-11-25")),
            ("%Y-%m-%d %H:%M:%S %z", "rfc3339", text("2025-11-25 23:33:20 +0100"), text("2025-11-25T22:33:20Z")),
        ] {
            assert_eq!(convert(from, to, value.clone()), Ok(expected), "{from} to {to} of {value:?}");
        }
    }

    #[test]
    fn a_time_that_a_shape_cannot_hold_is_refused() {
        let text = |text: &str| Tree::Text(text.into());
        for (from, to, value) in [
            ("rfc3339", "unix_seconds", text("2025-11-25T23:33:20.5Z")),
            ("rfc3339", "date", text("2025-11-25T23:33:20Z")),
            ("rfc3339", "unix_seconds", text("2016-12-31T23:59:60Z")),
            ("rfc3339", "unix_seconds", text("yesterday")),
            ("rfc3339", "unix_seconds", Tree::Number("1764110000".into())),
            ("unix_seconds", "rfc3339", Tree::Number("253402300800".into())),
            ("unix_seconds", "rfc3339", Tree::Number("0.0000000001".into())),
            ("unix_seconds", "rfc3339", Tree::Number("1e400".into())),
            ("unix_seconds", "rfc3339", Tree::Null),
            ("date", "rfc3339", text("2025-02-30")),
            ("%H:%M", "rfc3339", text("22:33")),
        ] {
            assert!(convert(from, to, value.clone()).is_err(), "{from} to {to} of {value:?}");
        }
    }

    #[test]
    fn what_is_no_shape_is_none() {
        for name in ["", "unix", "seconds", "%Q", "RFC3339"] {
            assert_eq!(Shape::parse(name), None, "{name}");
        }
    }
}
