//! The steps that change properties and headers of a message. What the broker, its dead-lettering and our own replays
//! write is locked.

use std::fmt;

use super::tree::{Tree, kind};
use compact_str::ToCompactString;

use crate::event::{HeaderValue, Message, Properties};

/// Headers that a fix may not touch: they tell brokers and replays where a message has been. A `*` at the end is any rest.
/// Sources: <https://www.rabbitmq.com/docs/dlx#effects>, <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>,
/// <https://www.rabbitmq.com/docs/sender-selected>.
pub(super) const LOCKED_HEADERS: &[&str] = &[
    "x-death*",
    "x-first-death-*",
    "x-last-death-*",
    "x-delivery-count",
    "x-acquired-count",
    "x-stream-offset",
    "x-received-from",
    "x-shovelled*",
    "x-dlq-*",
    "CC",
    "BCC",
];

/// Whether `name` is one of [`LOCKED_HEADERS`], whatever its case.
pub(super) fn is_locked_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    LOCKED_HEADERS.iter().any(|locked| {
        let locked = locked.to_ascii_lowercase();
        locked.strip_suffix('*').map_or(name == locked, |start| name.starts_with(start))
    })
}

/// A property that a fix may change: all but `headers`, which have steps of their own, and `user_id`, which the broker
/// checks against who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    ContentType,
    ContentEncoding,
    DeliveryMode,
    Priority,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Timestamp,
    Type,
    AppId,
    ClusterId,
}

impl Property {
    pub(super) const ALL: &[Property] = &[
        Property::ContentType,
        Property::ContentEncoding,
        Property::DeliveryMode,
        Property::Priority,
        Property::CorrelationId,
        Property::ReplyTo,
        Property::Expiration,
        Property::MessageId,
        Property::Timestamp,
        Property::Type,
        Property::AppId,
        Property::ClusterId,
    ];

    /// Its name in AMQP, with `_`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Property::ContentType => "content_type",
            Property::ContentEncoding => "content_encoding",
            Property::DeliveryMode => "delivery_mode",
            Property::Priority => "priority",
            Property::CorrelationId => "correlation_id",
            Property::ReplyTo => "reply_to",
            Property::Expiration => "expiration",
            Property::MessageId => "message_id",
            Property::Timestamp => "timestamp",
            Property::Type => "type",
            Property::AppId => "app_id",
            Property::ClusterId => "cluster_id",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|property| property.name() == name)
    }

    /// Whether it is text; the others are numbers.
    pub(super) fn is_text(self) -> bool {
        !matches!(self, Property::DeliveryMode | Property::Priority | Property::Timestamp)
    }

    /// The value, or why `value` is none that it may have, with the mend.
    pub(super) fn check(self, value: &Tree) -> Result<(), (String, &'static str)> {
        let number = |text: &str| text.parse::<u64>().ok();
        match (self, value) {
            (Property::DeliveryMode, Tree::Number(text)) if matches!(number(text), Some(1 | 2)) => Ok(()),
            (Property::DeliveryMode, _) => {
                Err(("is no delivery mode".to_owned(), "write 1 for transient or 2 for persistent"))
            }
            (Property::Priority, Tree::Number(text)) if number(text).is_some_and(|number| number <= 255) => Ok(()),
            (Property::Priority, _) => Err(("is no priority".to_owned(), "write a whole number from 0 to 255")),
            (Property::Timestamp, Tree::Number(text)) if number(text).is_some() => Ok(()),
            (Property::Timestamp, _) => Err(("is no timestamp".to_owned(), "write seconds since 1970 as a number")),
            // RabbitMQ closes the channel over others.
            (Property::Expiration, Tree::Text(text)) if number(text).is_none() => {
                Err((format!("{text:?} is no expiration"), "write milliseconds as text, such as \"60000\""))
            }
            (_, Tree::Text(text)) => short(text),
            _ => Err((format!("is {}", super::article(value.kind())), "write text")),
        }
    }

    pub(super) fn get(self, properties: &Properties) -> Option<Tree> {
        let number = |number: u64| Tree::Number(number.to_compact_string());
        match self {
            Property::DeliveryMode => properties.delivery_mode.map(|mode| number(mode.into())),
            Property::Priority => properties.priority.map(|priority| number(priority.into())),
            Property::Timestamp => properties.timestamp.map(number),
            _ => {
                let mut properties = properties.clone();
                self.text_mut(&mut properties).take().map(|text| Tree::Text(text.into()))
            }
        }
    }

    /// Sets it to a value that [`Property::check`] took, or takes it away.
    fn set(self, properties: &mut Properties, value: Option<&Tree>) {
        let number = |value: &Tree| match value {
            Tree::Number(text) => text.parse::<u64>().ok(),
            _ => None,
        };
        let small = |value: &Tree| number(value).and_then(|number| u8::try_from(number).ok());
        match self {
            Property::DeliveryMode => properties.delivery_mode = value.and_then(small),
            Property::Priority => properties.priority = value.and_then(small),
            Property::Timestamp => properties.timestamp = value.and_then(number),
            _ => {
                *self.text_mut(properties) = match value {
                    Some(Tree::Text(text)) => Some(text.to_string()),
                    _ => None,
                };
            }
        }
    }

    fn text_mut(self, properties: &mut Properties) -> &mut Option<String> {
        match self {
            Property::ContentType => &mut properties.content_type,
            Property::ContentEncoding => &mut properties.content_encoding,
            Property::CorrelationId => &mut properties.correlation_id,
            Property::ReplyTo => &mut properties.reply_to,
            Property::Expiration => &mut properties.expiration,
            Property::MessageId => &mut properties.message_id,
            Property::Type => &mut properties.kind,
            Property::AppId => &mut properties.app_id,
            Property::ClusterId => &mut properties.cluster_id,
            Property::DeliveryMode | Property::Priority | Property::Timestamp => {
                unreachable!("numbers were told apart before")
            }
        }
    }
}

/// AMQP's short strings have at most 255 bytes (0-9-1, section 4.2.5.3).
pub(super) fn short(text: &str) -> Result<(), (String, &'static str)> {
    match text.len() > 255 {
        true => Err((format!("has {} bytes", text.len()), "AMQP allows at most 255: shorten it")),
        false => Ok(()),
    }
}

/// A header's value as a condition sees it; `None` if the message has no such header.
pub(super) fn header_text(message: &Message, name: &str) -> Option<Tree> {
    let headers = message.properties.headers.as_deref()?;
    headers.iter().find(|(there, _)| there == name).map(|(_, value)| as_tree(value))
}

fn as_tree(value: &HeaderValue) -> Tree {
    let number = |number: &dyn fmt::Display| Tree::Number(number.to_compact_string());
    match value {
        HeaderValue::Bool(value) => Tree::Bool(*value),
        HeaderValue::I8(value) => number(value),
        HeaderValue::U8(value) => number(value),
        HeaderValue::I16(value) => number(value),
        HeaderValue::U16(value) => number(value),
        HeaderValue::I32(value) => number(value),
        HeaderValue::U32(value) => number(value),
        HeaderValue::I64(value) => number(value),
        HeaderValue::Timestamp(value) => number(value),
        HeaderValue::F32(value) if value.is_finite() => number(&format_args!("{value:?}")),
        HeaderValue::F64(value) if value.is_finite() => number(&format_args!("{value:?}")),
        HeaderValue::F32(_) | HeaderValue::F64(_) | HeaderValue::Void => Tree::Null,
        HeaderValue::Decimal { scale, value } => number(&format_args!("{value}e-{scale}")),
        HeaderValue::Text(bytes) | HeaderValue::Bytes(bytes) => Tree::Text(String::from_utf8_lossy(bytes).into()),
        HeaderValue::Array(values) => Tree::Array(values.iter().map(as_tree).collect()),
        HeaderValue::Table(members) => {
            Tree::Object(members.iter().map(|(name, value)| (name.into(), as_tree(value))).collect())
        }
    }
}

/// What a header is, for [`super::diff`].
pub(super) fn header_kind(value: &HeaderValue) -> &'static str {
    match value {
        HeaderValue::Bytes(_) => kind::BYTES,
        HeaderValue::Timestamp(_) => kind::TIMESTAMP,
        HeaderValue::Decimal { .. } | HeaderValue::F32(_) | HeaderValue::F64(_) => kind::NUMBER,
        other => as_tree(other).kind(),
    }
}

/// One change of a header.
#[derive(Clone, Debug)]
pub(super) enum HeaderStep {
    Set { name: String, value: HeaderValue },
    Remove { name: String },
    Rename { from: String, to: String },
}

/// One change of a property.
#[derive(Clone, Debug)]
pub(super) enum PropertyStep {
    Set { property: Property, value: Tree },
    Remove { property: Property },
    Rename { from: Property, to: Property },
}

/// Why a step cannot be taken: the name that is in the way, and what it is.
pub(super) struct InTheWay {
    pub name: String,
    pub actual: &'static str,
}

impl HeaderStep {
    pub(super) fn name(&self) -> &'static str {
        match self {
            HeaderStep::Set { .. } => "set",
            HeaderStep::Remove { .. } => "remove",
            HeaderStep::Rename { .. } => "rename",
        }
    }

    pub(super) fn take(&self, message: &mut Message) -> Result<(), InTheWay> {
        match self {
            HeaderStep::Set { name, value } => {
                let headers = message.properties.headers.get_or_insert_default();
                let place = headers.iter().position(|(there, _)| there == name);
                match place {
                    Some(place) => headers[place].1 = value.clone(),
                    None => headers.push((name.clone(), value.clone())),
                }
                // A name may stand there more than once: the first one counts.
                let first = place.unwrap_or(headers.len() - 1);
                let mut at = 0..;
                headers.retain(|(there, _)| at.next() == Some(first) || there != name);
                forgive_header(message, name);
            }
            HeaderStep::Remove { name } => {
                if let Some(headers) = &mut message.properties.headers {
                    headers.retain(|(there, _)| there != name);
                }
                forgive_header(message, name);
            }
            HeaderStep::Rename { from, to } => {
                let Some(headers) = &mut message.properties.headers else { return Ok(()) };
                if !headers.iter().any(|(there, _)| there == from) {
                    return Ok(());
                }
                if let Some((_, there)) = headers.iter().find(|(there, _)| there == to) {
                    return Err(InTheWay { name: to.clone(), actual: header_kind(there) });
                }
                headers.iter_mut().filter(|(there, _)| there == from).for_each(|header| header.0.clone_from(to));
                forgive_header(message, from);
            }
        }
        Ok(())
    }
}

/// What could not be read of the header `name` is no longer there.
fn forgive_header(message: &mut Message, name: &str) {
    use crate::event::Unreadable;
    let own = format!("{}/{name}", Unreadable::HEADERS);
    let inside = format!("{own}/");
    let before = message.unreadable.len();
    message.unreadable.retain(|part| part.place != own && !part.place.starts_with(&inside));
    let others = message.unreadable.iter().any(|part| part.place.starts_with("headers/"));
    if message.unreadable.len() < before && !others {
        message.unreadable.retain(|part| part.place != Unreadable::HEADERS);
    }
}

impl PropertyStep {
    pub(super) fn name(&self) -> &'static str {
        match self {
            PropertyStep::Set { .. } => "set",
            PropertyStep::Remove { .. } => "remove",
            PropertyStep::Rename { .. } => "rename",
        }
    }

    pub(super) fn take(&self, message: &mut Message) -> Result<(), InTheWay> {
        match self {
            PropertyStep::Set { property, value } => {
                property.set(&mut message.properties, Some(value));
                message.unreadable.retain(|part| part.place != property.name());
            }
            PropertyStep::Remove { property } => {
                property.set(&mut message.properties, None);
                message.unreadable.retain(|part| part.place != property.name());
            }
            PropertyStep::Rename { from, to } => {
                let Some(value) = from.get(&message.properties) else { return Ok(()) };
                if let Some(there) = to.get(&message.properties) {
                    return Err(InTheWay { name: to.name().to_owned(), actual: there.kind() });
                }
                to.set(&mut message.properties, Some(&value));
                from.set(&mut message.properties, None);
                // Its bytes come along.
                let moved = message.unreadable.iter_mut().filter(|part| part.place == from.name());
                moved.for_each(|part| to.name().clone_into(&mut part.place));
            }
        }
        Ok(())
    }
}

impl fmt::Display for HeaderStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderStep::Set { name, value } => {
                let (tag, json) = (crate::headers::tag(value), crate::headers::value_json(value));
                write!(f, "set header {name} to {json} of type {tag}")
            }
            HeaderStep::Remove { name } => write!(f, "remove header {name}"),
            HeaderStep::Rename { from, to } => write!(f, "rename header {from} to {to}"),
        }
    }
}

impl fmt::Display for PropertyStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PropertyStep::Set { property, value } => {
                write!(f, "set property {} to {}", property.name(), super::shown(value))
            }
            PropertyStep::Remove { property } => write!(f, "remove property {}", property.name()),
            PropertyStep::Rename { from, to } => write!(f, "rename property {} to {}", from.name(), to.name()),
        }
    }
}
