//! Which type of events a message is of, and what is told of one that is of none. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{Envelope, EventType, Framing, When};
use crate::content;
use crate::decode::cloudevents::{Attributes, Mode};
use crate::decode::{Wire, Writers};
use crate::event::{HeaderValue, Message};
use crate::ingest::schemas::id_in;
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Value};

/// Whether a message is of the type, as far as it can be told without its data; `attributes` are those of the CloudEvent in
/// it. A body that is longer than `opened_max`, opened, is of no subject.
pub(super) fn fits_message(
    when: &When,
    message: &Message,
    attributes: Option<&Attributes>,
    writers: &Writers,
    opened_max: usize,
) -> bool {
    let is = |asked: &Option<String>, found: Option<&str>| asked.is_none() || asked.as_deref() == found;
    let attribute = |name: &str| attributes.and_then(|attributes| attributes.text(name));
    let content_type = |asked: &String| content_type(message, attributes).is_some_and(|found| same_media(asked, found));
    let subject = |asked: &String| {
        let writer = schema_id(message, attributes, opened_max).and_then(|id| writers.get(id));
        writer.is_some_and(|writer| writer.subjects.contains(asked))
    };
    is(&when.message_type, kind_of(message, attributes))
        && is(&when.source, attribute("source"))
        && is(&when.dataschema, attribute("dataschema"))
        && when.content_type.as_ref().is_none_or(content_type)
        && when.subject.as_ref().is_none_or(subject)
        && when.routing_key.as_ref().is_none_or(|pattern| fits_topic(pattern, &message.routing_key))
        && when.header.as_ref().is_none_or(|(name, value)| header(message, name).as_deref() == Some(value))
}

fn kind_of<'m>(message: &'m Message, attributes: Option<&'m Attributes>) -> Option<&'m str> {
    match attributes {
        Some(attributes) => attributes.text("type"),
        None => message.properties.kind.as_deref(),
    }
}

fn content_type<'m>(message: &'m Message, attributes: Option<&'m Attributes>) -> Option<&'m str> {
    match attributes {
        Some(attributes) => attributes.content_type(),
        None => message.properties.content_type.as_deref(),
    }
}

/// Whether the event in it is of the type, too.
pub(super) fn fits_event(when: &When, event: Value<'_>) -> bool {
    when.field
        .as_ref()
        .is_none_or(|(pointer, value)| event.pointer(pointer.segments()).and_then(text).as_deref() == Some(value))
}

fn schema_id(message: &Message, attributes: Option<&Attributes>, opened_max: usize) -> Option<u32> {
    let envelope = if attributes.is_some() { Envelope::CloudEvents } else { Envelope::None };
    id_in(message, envelope, opened_max, &mut Vec::new())
}

/// Two media types, in whatever case; parameters of the second do not count.
fn same_media(asked: &str, found: &str) -> bool {
    found.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(asked.trim())
}

fn header(message: &Message, name: &str) -> Option<String> {
    let headers = message.properties.headers.as_ref()?;
    let (_, value) = headers.iter().find(|(found, _)| found == name)?;
    match value {
        HeaderValue::Text(bytes) => String::from_utf8(bytes.clone()).ok(),
        HeaderValue::Bool(flag) => Some(flag.to_string()),
        HeaderValue::I8(number) => Some(number.to_string()),
        HeaderValue::U8(number) => Some(number.to_string()),
        HeaderValue::I16(number) => Some(number.to_string()),
        HeaderValue::U16(number) => Some(number.to_string()),
        HeaderValue::I32(number) => Some(number.to_string()),
        HeaderValue::U32(number) => Some(number.to_string()),
        HeaderValue::I64(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A string, a number or a boolean as text.
fn text(value: Value<'_>) -> Option<String> {
    match value.node() {
        Node::Str(text) => Some(text.to_owned()),
        Node::Bool(_) | Node::I64(_) | Node::U64(_) | Node::F64 { .. } => {
            let mut text = Vec::new();
            value.write_json(&mut text);
            String::from_utf8(text).ok()
        }
        _ => None,
    }
}

/// Whether a topic exchange would route `key` by `pattern`.
fn fits_topic(pattern: &str, key: &str) -> bool {
    fn fits(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => (0..=key.len()).any(|taken| fits(rest, &key[taken..])),
            (["*", pattern @ ..], [_, key @ ..]) => fits(pattern, key),
            ([word, pattern @ ..], [found, key @ ..]) => word == found && fits(pattern, key),
            _ => false,
        }
    }
    // A pattern of `#` after `#` says no more than one.
    let mut words: Vec<&str> = pattern.split('.').collect();
    words.dedup_by(|one, other| *one == "#" && *other == "#");
    let key: Vec<&str> = if key.is_empty() { Vec::new() } else { key.split('.').collect() };
    fits(&words, &key)
}

/// How the bodies of a pipeline are written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wires {
    types: Arc<[(When, Wire)]>,
    writers: Arc<Writers>,
    envelope: Envelope,
}

impl Wires {
    /// Of types that are asked in that order, at least one.
    pub(super) fn new(types: Vec<(When, Wire)>, writers: Arc<Writers>, envelope: Envelope) -> Self {
        Self { types: types.into(), writers, envelope }
    }

    /// Takes over what `other` knows of the schemas in a registry.
    pub fn join(&self, other: &Wire) {
        self.types.iter().for_each(|(_, wire)| wire.join(other));
    }

    /// How the body of `message`, opened, is written, as far as it can be told.
    pub fn of_body(&self, message: &Message, opened: &[u8]) -> Cow<'_, Wire> {
        if self.envelope == Envelope::None {
            return self.of(message, None).told(message, opened);
        }
        match (Mode::of(message), Attributes::of_headers(message)) {
            (Ok(Mode::Binary), Ok(attributes)) => {
                self.of(message, Some(&attributes)).told_as(attributes.content_type(), opened)
            }
            (Ok(Mode::Binary), Err(_)) => self.of(message, None).told(message, opened),
            // The event as a whole is.
            _ => Cow::Owned(Wire::Json),
        }
    }

    /// That of the first type the message can be of; of none: that of the first.
    fn of(&self, message: &Message, attributes: Option<&Attributes>) -> &Wire {
        let fits =
            |(when, _): &&(When, Wire)| fits_message(when, message, attributes, &self.writers, content::BYTES_MAX);
        &self.types.iter().find(fits).unwrap_or(&self.types[0]).1
    }
}

impl From<Wire> for Wires {
    fn from(wire: Wire) -> Self {
        Self::new(vec![(When::default(), wire)], Arc::default(), Envelope::None)
    }
}

/// Kinds of unknown events told apart; further ones are one.
const KINDS_MAX: usize = 256;

/// Characters of a value that tell a kind.
const KIND_CHARS_MAX: usize = 100;

/// Tells of events that are of no type: each kind by what the types are told by. Producers choose those values, so the
/// number of kinds is bounded.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    kinds: BTreeSet<String>,
}

impl Unknown {
    /// The rejection of an event of that [`kind`].
    pub(super) fn rejection(&mut self, mut kind: String) -> Rejection {
        if !self.kinds.contains(&kind) {
            match self.kinds.len() < KINDS_MAX {
                true => _ = self.kinds.insert(kind.clone()),
                false => kind = "another kind".to_owned(),
            }
        }
        Issue::at(Code::SchemaUnknown, "", "a type that is configured", kind).into()
    }
}

/// What the types are told apart by, as a message has it; its event is `event` if it was read. Of a body that is longer than
/// `opened_max`, opened, nobody knows the schema.
pub(super) fn kind(
    types: &[EventType],
    message: &Message,
    attributes: Option<&Attributes>,
    event: Option<Value<'_>>,
    opened_max: usize,
) -> String {
    let asked = |what: fn(&When) -> bool| types.iter().any(|event| what(&event.when));
    let mut parts = Vec::new();
    let mut tell = |name: &str, value: Option<&str>| match value {
        Some(value) => parts.push(format!("{name} {}", value.chars().take(KIND_CHARS_MAX).collect::<String>())),
        None => parts.push(format!("no {name}")),
    };
    if asked(|when| when.message_type.is_some()) {
        tell("type", kind_of(message, attributes));
    }
    for (name, is_asked) in
        [("source", asked(|when| when.source.is_some())), ("dataschema", asked(|when| when.dataschema.is_some()))]
    {
        if is_asked {
            tell(name, attributes.and_then(|attributes| attributes.text(name)));
        }
    }
    if asked(|when| when.content_type.is_some()) {
        tell("content_type", content_type(message, attributes));
    }
    if types.iter().any(|event| event.framing == Framing::Confluent) {
        let id = schema_id(message, attributes, opened_max).map(|id| id.to_string());
        tell("schema id", id.as_deref());
    }
    let headers: BTreeSet<&str> =
        types.iter().filter_map(|event| event.when.header.as_ref()).map(|(name, _)| name.as_str()).collect();
    for name in headers {
        tell(&format!("header {name}"), header(message, name).as_deref());
    }
    let fields: BTreeSet<_> =
        types.iter().filter_map(|event| event.when.field.as_ref()).map(|(field, _)| field.as_str()).collect();
    for field in fields {
        let pointer =
            types.iter().filter_map(|event| event.when.field.as_ref()).find(|(found, _)| found.as_str() == field);
        let value = event.zip(pointer).and_then(|(event, (pointer, _))| event.pointer(pointer.segments()));
        tell(field, value.and_then(text).as_deref());
    }
    if asked(|when| when.routing_key.is_some()) {
        tell("routing key", Some(&message.routing_key));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Encoding;
    use crate::decode::{Writer, Written};
    use crate::event::Properties;

    #[test]
    fn routing_keys_fit_patterns_as_topic_exchanges_have_it() {
        for (pattern, key, fits) in [
            ("order.placed", "order.placed", true),
            ("order.placed", "order.paid", false),
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.*", "order.placed.eu", false),
            ("order.#", "order", true),
            ("order.#", "order.placed.eu", true),
            ("#.eu", "order.placed.eu", true),
            ("#", "", true),
            ("*", "", false),
            ("#.#.#.#.x", "a.b.c.d", false),
        ] {
            assert_eq!(fits_topic(pattern, key), fits, "{pattern} {key}");
        }
    }

    #[test]
    fn all_that_is_asked_must_hold() {
        let message = Message {
            routing_key: "order.placed".to_owned(),
            properties: Properties {
                kind: Some("order".to_owned()),
                content_type: Some("Application/JSON; charset=utf-8".to_owned()),
                headers: Some(vec![("version".to_owned(), HeaderValue::Text(b"2".to_vec()))]),
                ..Properties::default()
            }
            .into(),
            ..Message::default()
        };
        let none = Writers::default();
        let asked = When {
            message_type: Some("order".to_owned()),
            content_type: Some("application/json".to_owned()),
            routing_key: Some("order.#".to_owned()),
            header: Some(("version".to_owned(), "2".to_owned())),
            ..When::default()
        };
        let fits = |when: &When| fits_message(when, &message, None, &none, 100);
        assert!(fits(&When::default()) && fits(&asked));
        let others = [
            When { message_type: Some("Order".to_owned()), ..asked.clone() },
            When { content_type: Some("text/json".to_owned()), ..asked.clone() },
            When { routing_key: Some("paid.#".to_owned()), ..asked.clone() },
            When { header: Some(("version".to_owned(), "3".to_owned())), ..asked.clone() },
            When { header: Some(("Version".to_owned(), "2".to_owned())), ..asked },
        ];
        assert!(!others.iter().any(fits));
    }

    #[test]
    fn a_body_is_opened_no_further_than_it_may_be_to_tell_its_subject() {
        let writers = Writers::default();
        writers.learn(7, Writer { written: Written::Json, subjects: vec!["a-value".to_owned()] });
        let plain = [&b"\0\0\0\0\x07"[..], &[b' '; 100]].concat();
        let properties = Properties { content_encoding: Some("gzip".to_owned()), ..Properties::default() };
        let message =
            Message { body: Encoding::Gzip.close(&plain), properties: properties.into(), ..Message::default() };
        let when = When { subject: Some("a-value".to_owned()), ..When::default() };
        let fits = |opened_max| fits_message(&when, &message, None, &writers, opened_max);
        assert!(fits(plain.len()) && !fits(plain.len() - 1));
        let types = [EventType { framing: Framing::Confluent, ..config_type(when.clone()) }];
        let kind = |opened_max| kind(&types, &message, None, None, opened_max);
        assert_eq!((&*kind(plain.len()), &*kind(plain.len() - 1)), ("schema id 7", "no schema id"));
    }

    #[test]
    fn kinds_that_producers_make_up_are_bounded() {
        let mut unknown = Unknown::default();
        let mut told = BTreeSet::new();
        let types = [config_type(When { message_type: Some("order".to_owned()), ..When::default() })];
        for number in 0..2 * KINDS_MAX {
            let properties = Properties { kind: Some(format!("t{number}")), ..Properties::default() };
            let message = Message { properties: properties.into(), ..Message::default() };
            let rejection = unknown.rejection(kind(&types, &message, None, None, 100));
            told.insert(rejection.issues()[0].actual.to_string());
        }
        assert_eq!(told.len(), KINDS_MAX + 1);
        assert!(told.contains("type t0") && told.contains("another kind"));
    }

    fn config_type(when: When) -> EventType {
        EventType {
            name: None,
            when,
            format: crate::config::Format::Json,
            framing: crate::config::Framing::None,
            schema: Default::default(),
            message: None,
            rules: None,
            schema_name: String::new(),
            schema_version: 1,
            event_id: None,
            event_time: None,
            event_time_format: crate::config::TimeFormat::Rfc3339,
            event_time_ahead_max: Default::default(),
            event_time_behind_max: None,
            partition_by: Vec::new(),
            keep_raw: false,
        }
    }
}
