//! Which dead letters are meant.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fingerprint::GroupId;
use super::record::{DeadLetter, Summary};
use crate::event::HeaderValue;
use crate::headers;
use crate::value::array_index;

/// Which dead letters are meant. All conditions hold together; an absent one holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// One of the issues is of that group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// One of the issues has that code, or a code below it: `validate` means `validate.type` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Dead at that instant or later.
    #[serde(with = "instant", skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Dead before that instant.
    #[serde(with = "instant", skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LetterState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// The `app_id` property.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Each of these is among the headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderIs>,
    /// Each of these holds for the body, which is JSON then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueIs>,
    /// The body holds these bytes somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Where a letter is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    Dead,
    /// Its row is in the archive.
    Recovered,
}

impl LetterState {
    pub const fn as_str(self) -> &'static str {
        match self {
            LetterState::Dead => "dead",
            LetterState::Recovered => "recovered",
        }
    }
}

/// A header of that name has that value: a text or a number as it is, anything else as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderIs {
    pub name: String,
    pub value: String,
}

/// What a JSON pointer (RFC 6901) points at is that value: a text as it is, anything else as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueIs {
    /// Empty, or begins with `/`.
    pub path: String,
    pub value: String,
}

impl Filter {
    /// Whether a letter in that state is meant, as far as its summary tells; the rest [`Filter::matches_message`] tells.
    pub fn matches(&self, letter: &Summary<'_>, state: LetterState) -> bool {
        fn is(wanted: &Option<String>, found: &str) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        }
        // Of a letter that the broker had dead-lettered, where that was counts as well.
        let is_either = |wanted: &Option<String>, found: &str, original: Option<&str>| {
            is(wanted, found) || original.is_some_and(|original| is(wanted, original))
        };
        let is_or_none =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_ref().is_none_or(|wanted| found == Some(wanted));
        is(&self.pipeline, letter.pipeline)
            && self.since.is_none_or(|since| letter.dead_at >= since)
            && self.until.is_none_or(|until| letter.dead_at < until)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.group.as_ref().is_none_or(|group| letter.issues.iter().any(|issue| issue.group == group.as_str()))
            && (self.matches_code(letter.code) || letter.issues.iter().any(|issue| self.matches_code(issue.code)))
            && is_either(&self.queue, letter.queue, letter.original_queue)
            && is_either(&self.exchange, letter.exchange, letter.original_exchange)
            && is_either(&self.routing_key, letter.routing_key, letter.original_routing_key)
            && is_or_none(&self.producer, letter.app_id)
            && is_or_none(&self.event_id, letter.event_id)
            && is_or_none(&self.message_id, letter.message_id)
    }

    pub fn matches_code(&self, code: &str) -> bool {
        let below =
            |wanted: &str| code.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.code.as_deref().is_none_or(below)
    }

    /// A summary does not tell whether a letter is meant.
    pub fn asks_for_message(&self) -> bool {
        !self.headers.is_empty() || self.asks_for_body()
    }

    /// Nor do headers.
    pub fn asks_for_body(&self) -> bool {
        !self.values.is_empty() || self.text.is_some()
    }

    /// Whether it can be answered from what is known of a whole file.
    pub(super) fn asks_for_rows(&self) -> bool {
        let texts = [&self.queue, &self.exchange, &self.routing_key, &self.producer, &self.event_id, &self.message_id];
        self.asks_for_message() || self.state.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Whether headers and body are as asked for.
    pub fn matches_message(&self, letter: &DeadLetter) -> bool {
        self.matches_headers(letter) && self.matches_body(&letter.document())
    }

    pub(super) fn matches_headers(&self, letter: &DeadLetter) -> bool {
        let found = letter.message.properties.headers.as_deref().unwrap_or_default();
        self.headers
            .iter()
            .all(|wanted| found.iter().any(|(name, value)| *name == wanted.name && is_header(value, &wanted.value)))
    }

    pub(super) fn matches_body(&self, body: &[u8]) -> bool {
        self.text.as_ref().is_none_or(|text| holds(body, text))
            && self.values.iter().all(|wanted| points_at(body, &wanted.path, &wanted.value))
    }

    /// Whether the directory of `date` may hold a match. A file lies in the directory of its newest letter, and spans
    /// less than a day.
    pub(super) fn may_hold(&self, date: NaiveDate) -> bool {
        let last = |until: DateTime<Utc>| until.date_naive().checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
        self.since.is_none_or(|since| date >= since.date_naive()) && self.until.is_none_or(|until| date <= last(until))
    }
}

fn is_header(value: &HeaderValue, wanted: &str) -> bool {
    match value {
        HeaderValue::Text(bytes) | HeaderValue::Bytes(bytes) => bytes == wanted.as_bytes(),
        other => {
            // Numbers are written as texts there, for JSON would round some.
            let json = headers::value_json(other);
            json == wanted || serde_json::from_str::<String>(&json).is_ok_and(|text| text == wanted)
        }
    }
}

/// Texts are compared by bytes: what a body writes with escapes is not found by what they stand for.
fn holds(body: &[u8], text: &str) -> bool {
    match std::str::from_utf8(body) {
        Ok(body) => body.contains(text),
        Err(_) => text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes()),
    }
}

/// Whether `path` points at `wanted` in the JSON document `body`; at any of them, where a name is doubled.
fn points_at(body: &[u8], path: &str, wanted: &str) -> bool {
    let segments: Vec<Cow<'_, str>> = path.split('/').skip(1).map(unescaped).collect();
    let mut parser = serde_json::Deserializer::from_slice(body);
    Follow { segments: &segments, wanted }.deserialize(&mut parser).unwrap_or(false)
}

fn unescaped(segment: &str) -> Cow<'_, str> {
    match segment.contains('~') {
        true => segment.replace("~1", "/").replace("~0", "~").into(),
        false => segment.into(),
    }
}

/// Goes down a document without keeping it.
#[derive(Clone, Copy)]
struct Follow<'f> {
    segments: &'f [Cow<'f, str>],
    wanted: &'f str,
}

impl<'de> DeserializeSeed<'de> for Follow<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        match self.segments {
            [] => Ok(is_value(<&RawValue>::deserialize(deserializer)?.get(), self.wanted)),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Follow<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let below = Follow { segments: &self.segments[1..], ..self };
        let mut found = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if *name == *self.segments[0] {
                found |= map.next_value_seed(below)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let below = Follow { segments: &self.segments[1..], ..self };
        let wanted = array_index(&self.segments[0]);
        let mut found = false;
        for place in 0_usize.. {
            let more = match wanted == Some(place) {
                true => elements.next_element_seed(below)?.inspect(|is| found = *is).is_some(),
                false => elements.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// Numbers are compared as they are written, and as what they are where a double holds them exactly.
fn is_value(found: &str, wanted: &str) -> bool {
    if found == wanted {
        return true;
    }
    if found.starts_with('"') {
        return serde_json::from_str::<String>(found).is_ok_and(|found| found == wanted);
    }
    let number = |text: &str| serde_json::from_str::<f64>(text).ok().filter(|_| text.len() <= 15);
    number(found).is_some_and(|found| number(wanted) == Some(found))
}

/// An optional instant as RFC 3339 in UTC, to the microsecond.
mod instant {
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(instant: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => serializer.serialize_str(&instant.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| de::Error::custom("not an instant of RFC 3339"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::{at, letter, nulls};
    use super::*;

    #[test]
    fn a_pointer_is_followed_to_a_value_as_it_is_written_or_meant() {
        let body = br#"{"a":{"b":[1,{"c":"x"},2.50]},"n":null,"t":"1","s~/":"y","e":"caf\u00e9","d":1,"d":2}"#;
        let holds = |path, value| points_at(body, path, value);
        for (path, value) in [
            ("/a/b/0", "1"),
            ("/a/b/0", "1.0"),
            ("/a/b/1/c", "x"),
            ("/a/b/1/c", "\"x\""),
            ("/a/b/2", "2.5"),
            ("/n", "null"),
            ("/t", "1"),
            ("/s~0~1", "y"),
            ("/e", "café"),
            ("/d", "1"),
            ("/d", "2"),
            ("/a/b/1", "{\"c\":\"x\"}"),
        ] {
            assert!(holds(path, value), "{path}={value}");
        }
        for (path, value) in [
            ("/a/b/3", "1"),
            ("/a/b/00", "1"),
            ("/a/b/+0", "1"),
            ("/a/c", "x"),
            ("/a", "x"),
            ("/t/x", "1"),
            ("/n", "0"),
            ("", "x"),
            ("/a/b/0", "01"),
        ] {
            assert!(!holds(path, value), "{path}={value}");
        }
        assert!(points_at(b" 7 ", "", "7"));
        assert!(!points_at(b"{\"a\":1", "/a", "1"), "what is cut off is no document");
    }

    #[test]
    fn headers_and_text_are_looked_for() {
        let letter = letter("flights", 0, 1, b"{\"a\":\"needle\"}\xff", &nulls());
        let header = |name: &str, value: &str| Filter {
            headers: vec![HeaderIs { name: name.to_owned(), value: value.to_owned() }],
            ..Filter::default()
        };
        let text = |text: &str| Filter { text: Some(text.to_owned()), ..Filter::default() };
        assert!(header("x-source", "atc").matches_message(&letter));
        assert!(header("x-attempt", "3").matches_message(&letter));
        assert!(!header("x-attempt", "4").matches_message(&letter));
        assert!(!header("atc", "x-source").matches_message(&letter));
        assert!(text("\"needle").matches_message(&letter));
        assert!(!text("Needle").matches_message(&letter));
        assert!(text("").matches_message(&letter));
    }

    #[test]
    fn a_filter_is_written_and_read_back() {
        let filter = Filter {
            pipeline: Some("flights".to_owned()),
            since: Some(at(5)),
            state: Some(LetterState::Dead),
            values: vec![ValueIs { path: "/a".to_owned(), value: "1".to_owned() }],
            ..Filter::default()
        };
        let text = serde_json::to_string(&filter).unwrap();
        let expected = r#"{"pipeline":"flights","since":"2013-01-01T00:00:05.000000Z","state":"dead","values":[{"path":"/a","value":"1"}]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        assert!(serde_json::from_str::<Filter>(r#"{"pipelines":"x"}"#).is_err());
    }
}
