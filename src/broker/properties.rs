//! AMQP properties and header tables, between the client library's types and ours; nothing is lost either way.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};

use crate::event::{HeaderValue, Properties};

/// Takes over everything the message came with.
pub(super) fn from_amqp(properties: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    Properties {
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        headers: properties.headers().as_ref().map(table_from_amqp),
        delivery_mode: *properties.delivery_mode(),
        priority: *properties.priority(),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        expiration: text(properties.expiration()),
        message_id: text(properties.message_id()),
        timestamp: *properties.timestamp(),
        kind: text(properties.kind()),
        user_id: text(properties.user_id()),
        app_id: text(properties.app_id()),
        cluster_id: text(properties.cluster_id()),
    }
}

fn table_from_amqp(table: &FieldTable) -> Vec<(String, HeaderValue)> {
    table.inner().iter().map(|(name, value)| (name.as_str().to_owned(), value_from_amqp(value))).collect()
}

fn value_from_amqp(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(value) => HeaderValue::Bool(*value),
        AMQPValue::ShortShortInt(value) => HeaderValue::I8(*value),
        AMQPValue::ShortShortUInt(value) => HeaderValue::U8(*value),
        AMQPValue::ShortInt(value) => HeaderValue::I16(*value),
        AMQPValue::ShortUInt(value) => HeaderValue::U16(*value),
        AMQPValue::LongInt(value) => HeaderValue::I32(*value),
        AMQPValue::LongUInt(value) => HeaderValue::U32(*value),
        AMQPValue::LongLongInt(value) => HeaderValue::I64(*value),
        AMQPValue::Float(value) => HeaderValue::F32(*value),
        AMQPValue::Double(value) => HeaderValue::F64(*value),
        AMQPValue::DecimalValue(value) => HeaderValue::Decimal { scale: value.scale, value: value.value },
        // Cannot come off the wire: RabbitMQ's `s` is a 16-bit integer.
        AMQPValue::ShortString(value) => HeaderValue::Text(value.as_str().as_bytes().to_vec()),
        AMQPValue::LongString(value) => HeaderValue::Text(value.as_bytes().to_vec()),
        AMQPValue::FieldArray(values) => HeaderValue::Array(values.as_slice().iter().map(value_from_amqp).collect()),
        AMQPValue::Timestamp(value) => HeaderValue::Timestamp(*value),
        AMQPValue::FieldTable(table) => HeaderValue::Table(table_from_amqp(table)),
        AMQPValue::ByteArray(value) => HeaderValue::Bytes(value.as_slice().to_vec()),
        AMQPValue::Void => HeaderValue::Void,
    }
}

/// A text that AMQP cannot carry: a short string holds at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {bytes} bytes; AMQP carries at most 255")]
pub struct TooLong {
    pub what: String,
    pub bytes: usize,
}

/// `text` as a short string; `what` names it in the error.
pub(super) fn short(what: &str, text: &str) -> Result<ShortString, TooLong> {
    ShortString::try_new(text).map_err(|_| TooLong { what: what.to_owned(), bytes: text.len() })
}

/// The properties exactly as they are, for sending.
pub(super) fn to_amqp(properties: &Properties) -> Result<BasicProperties, TooLong> {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&str, &Option<String>, Set); 10] = [
        ("content_type", &properties.content_type, BasicProperties::with_content_type),
        ("content_encoding", &properties.content_encoding, BasicProperties::with_content_encoding),
        ("correlation_id", &properties.correlation_id, BasicProperties::with_correlation_id),
        ("reply_to", &properties.reply_to, BasicProperties::with_reply_to),
        ("expiration", &properties.expiration, BasicProperties::with_expiration),
        ("message_id", &properties.message_id, BasicProperties::with_message_id),
        ("type", &properties.kind, BasicProperties::with_type),
        ("user_id", &properties.user_id, BasicProperties::with_user_id),
        ("app_id", &properties.app_id, BasicProperties::with_app_id),
        ("cluster_id", &properties.cluster_id, BasicProperties::with_cluster_id),
    ];
    let mut amqp = BasicProperties::default();
    for (what, text, set) in texts {
        if let Some(text) = text {
            amqp = set(amqp, short(what, text)?);
        }
    }
    if let Some(headers) = &properties.headers {
        amqp = amqp.with_headers(table_to_amqp(headers)?);
    }
    if let Some(mode) = properties.delivery_mode {
        amqp = amqp.with_delivery_mode(mode);
    }
    if let Some(priority) = properties.priority {
        amqp = amqp.with_priority(priority);
    }
    if let Some(timestamp) = properties.timestamp {
        amqp = amqp.with_timestamp(timestamp);
    }
    Ok(amqp)
}

/// Bytes that `properties` take on the wire behind their flags (AMQP 0-9-1, 4.2.6.1),
///
/// # Errors
/// [`TooLong`]: AMQP cannot carry one of the texts.
pub fn wire_bytes(properties: &Properties) -> Result<usize, TooLong> {
    to_amqp(properties)?;
    let Properties { content_type, content_encoding, correlation_id, reply_to, expiration, .. } = properties;
    let Properties { message_id, kind, user_id, app_id, cluster_id, .. } = properties;
    let texts = [content_type, content_encoding, correlation_id, reply_to, expiration];
    let texts = texts.into_iter().chain([message_id, kind, user_id, app_id, cluster_id]);
    let texts: usize = texts.flatten().map(|text| 1 + text.len()).sum();
    let octets = usize::from(properties.delivery_mode.is_some()) + usize::from(properties.priority.is_some());
    let timestamp = properties.timestamp.map_or(0, |_| 8);
    Ok(texts + octets + timestamp + properties.headers.as_deref().map_or(0, table_bytes))
}

fn table_bytes(members: &[(String, HeaderValue)]) -> usize {
    let member = |(name, value): &(String, HeaderValue)| 1 + name.len() + 1 + value_bytes(value);
    4 + members.iter().map(member).sum::<usize>()
}

fn value_bytes(value: &HeaderValue) -> usize {
    match value {
        HeaderValue::Void => 0,
        HeaderValue::Bool(_) | HeaderValue::I8(_) | HeaderValue::U8(_) => 1,
        HeaderValue::I16(_) | HeaderValue::U16(_) => 2,
        HeaderValue::I32(_) | HeaderValue::U32(_) | HeaderValue::F32(_) => 4,
        HeaderValue::Decimal { .. } => 5,
        HeaderValue::I64(_) | HeaderValue::F64(_) | HeaderValue::Timestamp(_) => 8,
        HeaderValue::Text(bytes) | HeaderValue::Bytes(bytes) => 4 + bytes.len(),
        HeaderValue::Array(values) => 4 + values.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        HeaderValue::Table(members) => table_bytes(members),
    }
}

fn table_to_amqp(headers: &[(String, HeaderValue)]) -> Result<FieldTable, TooLong> {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short("a header's name", name)?, value_to_amqp(value)?);
    }
    Ok(table)
}

fn value_to_amqp(value: &HeaderValue) -> Result<AMQPValue, TooLong> {
    Ok(match value {
        HeaderValue::Bool(value) => AMQPValue::Boolean(*value),
        HeaderValue::I8(value) => AMQPValue::ShortShortInt(*value),
        HeaderValue::U8(value) => AMQPValue::ShortShortUInt(*value),
        HeaderValue::I16(value) => AMQPValue::ShortInt(*value),
        HeaderValue::U16(value) => AMQPValue::ShortUInt(*value),
        HeaderValue::I32(value) => AMQPValue::LongInt(*value),
        HeaderValue::U32(value) => AMQPValue::LongUInt(*value),
        HeaderValue::I64(value) => AMQPValue::LongLongInt(*value),
        HeaderValue::F32(value) => AMQPValue::Float(*value),
        HeaderValue::F64(value) => AMQPValue::Double(*value),
        HeaderValue::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue { scale: *scale, value: *value }),
        HeaderValue::Text(bytes) => AMQPValue::LongString(bytes.clone().into()),
        HeaderValue::Timestamp(value) => AMQPValue::Timestamp(*value),
        HeaderValue::Array(values) => {
            AMQPValue::FieldArray(values.iter().map(value_to_amqp).collect::<Result<Vec<_>, _>>()?.into())
        }
        HeaderValue::Table(headers) => AMQPValue::FieldTable(table_to_amqp(headers)?),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(bytes.clone().into()),
        HeaderValue::Void => AMQPValue::Void,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::I8),
            any::<u8>().prop_map(HeaderValue::U8),
            any::<i16>().prop_map(HeaderValue::I16),
            any::<u16>().prop_map(HeaderValue::U16),
            any::<i32>().prop_map(HeaderValue::I32),
            any::<u32>().prop_map(HeaderValue::U32),
            any::<i64>().prop_map(HeaderValue::I64),
            (-1e9f32..1e9).prop_map(HeaderValue::F32),
            (-1e9f64..1e9).prop_map(HeaderValue::F64),
            (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| HeaderValue::Decimal { scale, value }),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(HeaderValue::Text),
            any::<u64>().prop_map(HeaderValue::Timestamp),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(HeaderValue::Bytes),
            Just(HeaderValue::Void),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(HeaderValue::Array),
                prop::collection::btree_map("[a-z]{1,8}", inner, 0..4)
                    .prop_map(|table| HeaderValue::Table(table.into_iter().collect())),
            ]
        })
    }

    fn any_properties() -> impl Strategy<Value = Properties> {
        let text = || prop::option::of(".{0,20}");
        let headers = prop::option::of(prop::collection::btree_map("[a-z-]{1,12}", any_value(), 0..5));
        let numbers = (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>());
        let texts = [(); 10].map(|()| text());
        (texts, headers, numbers).prop_map(|(texts, headers, (delivery_mode, priority, timestamp))| {
            let [content_type, content_encoding, correlation_id, reply_to, expiration, rest @ ..] = texts;
            let [message_id, kind, user_id, app_id, cluster_id] = rest;
            Properties {
                content_type,
                content_encoding,
                headers: headers.map(|table| table.into_iter().collect()),
                delivery_mode,
                priority,
                correlation_id,
                reply_to,
                expiration,
                message_id,
                timestamp,
                kind,
                user_id,
                app_id,
                cluster_id,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_received(properties in any_properties()) {
            prop_assert_eq!(from_amqp(&to_amqp(&properties).expect("all texts are short")), properties);
        }
    }

    #[test]
    fn the_bytes_on_the_wire_are_those_of_the_specification() {
        let array = HeaderValue::Array(vec![HeaderValue::Bool(true), HeaderValue::I64(1)]);
        let decimal = HeaderValue::Decimal { scale: 2, value: 1234 };
        let headers =
            [("a", array), ("bc", HeaderValue::Text(b"xyz".to_vec())), ("d", decimal), ("e", HeaderValue::Void)];
        let properties = Properties {
            content_type: Some("text".to_owned()),
            headers: Some(headers.map(|(name, value)| (name.to_owned(), value)).to_vec()),
            priority: Some(1),
            timestamp: Some(1),
            ..Properties::default()
        };
        let of_headers = (2 + 1 + 4 + 2 + 9) + (3 + 1 + 4 + 3) + (2 + 1 + 5) + (2 + 1);
        assert_eq!(wire_bytes(&properties), Ok(5 + 4 + of_headers + 1 + 8));
        assert_eq!(wire_bytes(&Properties::default()), Ok(0));
    }

    #[test]
    fn a_text_that_amqp_cannot_carry_is_named() {
        let properties = Properties { message_id: Some("x".repeat(256)), ..Properties::default() };
        let error = to_amqp(&properties).expect_err("256 bytes are too many");
        assert_eq!(error.to_string(), "message_id has 256 bytes; AMQP carries at most 255");
    }
}
