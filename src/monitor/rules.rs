//! A rule for a field: what must hold of each value there.

use chrono::DateTime;

use crate::config::{FieldRule, TimeFormat};
use crate::value::{Node, Value};

/// Any name or element, in a path.
const ANY: &str = "*";

#[derive(Debug)]
pub(super) struct Rule(FieldRule);

impl Rule {
    pub(super) fn new(config: FieldRule) -> Self {
        Self(config)
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it holds of an event that arrived at that time, in microseconds since 1970; `None`: there is no value to hold
    /// it against.
    pub(super) fn holds(&self, event: Value<'_>, arrived_us: i64) -> Option<bool> {
        let mut verdict = None;
        self.walk(event, self.0.path.segments(), arrived_us, &mut verdict);
        verdict
    }

    fn walk(&self, value: Value<'_>, segments: &[String], arrived_us: i64, verdict: &mut Option<bool>) {
        let mut note = |holds: bool| *verdict = Some(verdict.unwrap_or(true) && holds);
        let Some((first, rest)) = segments.split_first() else {
            match (value.is_null(), self.0.not_empty) {
                (true, true) => note(false),
                (true, false) => {}
                (false, _) => note(self.holds_of(value, arrived_us)),
            }
            return;
        };
        match value.node() {
            Node::Object { .. } if first == ANY => {
                value.members().for_each(|(_, value)| self.walk(value, rest, arrived_us, verdict));
            }
            Node::Array { .. } if first == ANY => {
                value.elements().for_each(|value| self.walk(value, rest, arrived_us, verdict));
            }
            _ => match value.pointer(std::slice::from_ref(first)) {
                Some(value) => self.walk(value, rest, arrived_us, verdict),
                None if self.0.not_empty => note(false),
                None => {}
            },
        }
    }

    /// A value of another type than is asked about does not hold.
    fn holds_of(&self, value: Value<'_>, arrived_us: i64) -> bool {
        let FieldRule { min, max, one_of, regex, not_empty, fresh, .. } = &self.0;
        let bounded = min.is_none() && max.is_none()
            || number(value).is_some_and(|n| min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max));
        bounded
            && one_of.as_ref().is_none_or(|allowed| is_one_of(value, allowed))
            && regex.as_ref().is_none_or(|regex| value.as_str().is_some_and(|text| regex.is_match(text)))
            && !(*not_empty && is_empty(value))
            && fresh.is_none_or(|(age_max, format)| {
                let age_max = i64::try_from(age_max.as_micros()).unwrap_or(i64::MAX);
                time_us(value, format).is_some_and(|time_us| arrived_us.saturating_sub(time_us) <= age_max)
            })
    }
}

fn number(value: Value<'_>) -> Option<f64> {
    match value.node() {
        Node::I64(number) => Some(number as f64),
        Node::U64(number) => Some(number as f64),
        Node::F64 { value, .. } => Some(value),
        _ => None,
    }
}

fn is_one_of(value: Value<'_>, allowed: &[String]) -> bool {
    let mut written = String::new();
    let text = match value.node() {
        Node::Str(text) => text,
        Node::Bool(flag) => {
            if flag {
                "true"
            } else {
                "false"
            }
        }
        Node::I64(number) => {
            written.push_str(&number.to_string());
            &written
        }
        Node::U64(number) => {
            written.push_str(&number.to_string());
            &written
        }
        Node::F64 { value: number, .. } => match value.number_text() {
            Some(text) => text,
            None => {
                written.push_str(&number.to_string());
                &written
            }
        },
        _ => return false,
    };
    allowed.iter().any(|allowed| allowed == text)
}

fn is_empty(value: Value<'_>) -> bool {
    match value.node() {
        Node::Null => true,
        Node::Str(text) => text.trim().is_empty(),
        Node::Object { members, .. } => members == 0,
        Node::Array { elements, .. } => elements == 0,
        _ => false,
    }
}

/// Microseconds since 1970.
fn time_us(value: Value<'_>, format: TimeFormat) -> Option<i64> {
    let micros_per_unit = match format {
        TimeFormat::Rfc3339 => {
            return DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.timestamp_micros());
        }
        TimeFormat::UnixSeconds => 1_000_000,
        TimeFormat::UnixMillis => 1_000,
        TimeFormat::UnixMicros => 1,
    };
    match value.node() {
        Node::I64(number) => number.checked_mul(micros_per_unit),
        _ => None,
    }
}
