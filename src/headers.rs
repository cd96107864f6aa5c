//! AMQP headers as JSON text that keeps every type, and back. The one convention for the archive and the dead letters.
//!
//! Headers are an object; every value is an object with one member, whose name is RabbitMQ's type tag
//! (<https://www.rabbitmq.com/amqp-0-9-1-errata>, section 3) and whose value is:
//!
//! | tag | is | written as |
//! |---|---|---|
//! | `t` | boolean | `true`, `false` |
//! | `b` `B` `s` `u` `I` `i` | integers of 8, 16 and 32 bits | a number |
//! | `l` `T` | 64-bit integer, time in seconds since 1970 | a string of decimal digits: many readers hold numbers as doubles |
//! | `f` `d` | floats | a number; if not finite, a string of its bits such as `"0x7ff0000000000000"` |
//! | `D` | decimal | `{"scale":2,"value":1234}` for 12.34 |
//! | `S` | text | a string; if not UTF-8, `{"base64":".."}` |
//! | `x` | bytes | a string of base64 |
//! | `A` | array | an array of values |
//! | `F` | table | an object of values |
//! | `V` | void | `null` |
//!
//! So `{"x-source":{"S":"atc"},"x-attempt":{"l":"3"}}`. Order is kept, and so are repeated names: those are legal in
//! AMQP, and in JSON text they are written as often as they came.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::HeaderValue;

/// Deeper tables and arrays are not read back. RabbitMQ's frames bound what can be sent, so this only bounds the stack.
const DEPTH_MAX: usize = 256;

/// What is wrong with text that should be headers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not typed headers: {0}")]
pub struct HeadersError(String);

/// `headers` as one JSON object, in order.
pub fn to_json(headers: &[(String, HeaderValue)]) -> String {
    let mut out = String::with_capacity(32 * headers.len() + 2);
    write_json(headers, &mut out);
    out
}

/// Appends `headers` to `out` as one JSON object, in order.
pub fn write_json(headers: &[(String, HeaderValue)], out: &mut String) {
    out.push('{');
    for (position, (name, value)) in headers.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write_tagged(value, out);
    }
    out.push('}');
}

/// The headers that [`to_json`] wrote as `text`.
///
/// # Errors
/// `text` is no JSON object of typed values, or nests deeper than any broker passes on.
pub fn from_json(text: &str) -> Result<Vec<(String, HeaderValue)>, HeadersError> {
    read_table(text, DEPTH_MAX)
}

/// RabbitMQ's type tag of `value`, as in [`to_json`].
pub fn tag(value: &HeaderValue) -> &'static str {
    match value {
        HeaderValue::Bool(_) => "t",
        HeaderValue::I8(_) => "b",
        HeaderValue::U8(_) => "B",
        HeaderValue::I16(_) => "s",
        HeaderValue::U16(_) => "u",
        HeaderValue::I32(_) => "I",
        HeaderValue::U32(_) => "i",
        HeaderValue::I64(_) => "l",
        HeaderValue::F32(_) => "f",
        HeaderValue::F64(_) => "d",
        HeaderValue::Decimal { .. } => "D",
        HeaderValue::Text(_) => "S",
        HeaderValue::Timestamp(_) => "T",
        HeaderValue::Array(_) => "A",
        HeaderValue::Table(_) => "F",
        HeaderValue::Bytes(_) => "x",
        HeaderValue::Void => "V",
    }
}

/// `value` as JSON without its tag; with the tag [`from_tagged`] reads it back.
pub fn value_json(value: &HeaderValue) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// The value that [`value_json`] wrote as `text`, of the type [`tag`] gave.
///
/// # Errors
/// The tag is unknown, or `text` is no value of it.
pub fn from_tagged(tag: &str, text: &str) -> Result<HeaderValue, HeadersError> {
    read_value(tag, text, DEPTH_MAX)
}

fn write_tagged(value: &HeaderValue, out: &mut String) {
    out.push_str("{\"");
    out.push_str(tag(value));
    out.push_str("\":");
    write_value(value, out);
    out.push('}');
}

fn write_value(value: &HeaderValue, out: &mut String) {
    match value {
        HeaderValue::Bool(value) => put(out, value),
        HeaderValue::I8(value) => put(out, value),
        HeaderValue::U8(value) => put(out, value),
        HeaderValue::I16(value) => put(out, value),
        HeaderValue::U16(value) => put(out, value),
        HeaderValue::I32(value) => put(out, value),
        HeaderValue::U32(value) => put(out, value),
        HeaderValue::I64(value) => put(out, format_args!("\"{value}\"")),
        HeaderValue::Timestamp(value) => put(out, format_args!("\"{value}\"")),
        HeaderValue::F32(value) if value.is_finite() => put(out, format_args!("{value:?}")),
        HeaderValue::F32(value) => put(out, format_args!("\"{:#010x}\"", value.to_bits())),
        HeaderValue::F64(value) if value.is_finite() => put(out, format_args!("{value:?}")),
        HeaderValue::F64(value) => put(out, format_args!("\"{:#018x}\"", value.to_bits())),
        HeaderValue::Decimal { scale, value } => put(out, format_args!("{{\"scale\":{scale},\"value\":{value}}}")),
        HeaderValue::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => write_string(text, out),
            Err(_) => put(out, format_args!("{{\"base64\":\"{}\"}}", BASE64.encode(bytes))),
        },
        HeaderValue::Bytes(bytes) => put(out, format_args!("\"{}\"", BASE64.encode(bytes))),
        HeaderValue::Array(values) => {
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_tagged(value, out);
            }
            out.push(']');
        }
        HeaderValue::Table(members) => write_json(members, out),
        HeaderValue::Void => out.push_str("null"),
    }
}

fn put(out: &mut String, value: impl fmt::Display) {
    write!(out, "{value}").expect("a String takes all text");
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("every string is JSON"));
}

/// An object's members one level deep, in order, repeats kept.
pub(crate) struct Members<'t>(pub(crate) Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

fn read_table(text: &str, depth: usize) -> Result<Vec<(String, HeaderValue)>, HeadersError> {
    let Members(members) = parse(text)?;
    members.into_iter().map(|(name, value)| Ok((name, read_tagged(value.get(), depth)?))).collect()
}

fn read_tagged(text: &str, depth: usize) -> Result<HeaderValue, HeadersError> {
    let depth = depth.checked_sub(1).ok_or_else(|| HeadersError(format!("nested deeper than {DEPTH_MAX}")))?;
    let Members(members) = parse(text)?;
    let [(tag, value)] = members.as_slice() else {
        return Err(HeadersError(format!("a value has one member named by its type, this has {}", members.len())));
    };
    read_value(tag, value.get(), depth)
}

fn read_value(tag: &str, value: &str, depth: usize) -> Result<HeaderValue, HeadersError> {
    Ok(match tag {
        "t" => HeaderValue::Bool(parse(value)?),
        "b" => HeaderValue::I8(parse(value)?),
        "B" => HeaderValue::U8(parse(value)?),
        "s" => HeaderValue::I16(parse(value)?),
        "u" => HeaderValue::U16(parse(value)?),
        "I" => HeaderValue::I32(parse(value)?),
        "i" => HeaderValue::U32(parse(value)?),
        "l" => HeaderValue::I64(from_text(parse(value)?)?),
        "T" => HeaderValue::Timestamp(from_text(parse(value)?)?),
        "f" if value.starts_with('"') => HeaderValue::F32(f32::from_bits(from_bits(value)?)),
        "f" => HeaderValue::F32(from_text(value)?),
        "d" if value.starts_with('"') => HeaderValue::F64(f64::from_bits(from_bits(value)?)),
        "d" => HeaderValue::F64(from_text(value)?),
        "D" => {
            let Decimal { scale, value } = parse(value)?;
            HeaderValue::Decimal { scale, value }
        }
        "S" if value.starts_with('{') => HeaderValue::Text(from_base64(&parse::<Base64>(value)?.base64)?),
        "S" => HeaderValue::Text(parse::<String>(value)?.into_bytes()),
        "x" => HeaderValue::Bytes(from_base64(parse(value)?)?),
        "A" => {
            let values: Vec<&RawValue> = parse(value)?;
            HeaderValue::Array(values.iter().map(|value| read_tagged(value.get(), depth)).collect::<Result<_, _>>()?)
        }
        "F" => HeaderValue::Table(read_table(value, depth)?),
        "V" => {
            parse::<()>(value)?;
            HeaderValue::Void
        }
        other => return Err(HeadersError(format!("unknown type {other:?}"))),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decimal {
    scale: u8,
    value: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, HeadersError> {
    serde_json::from_str(text).map_err(|error| HeadersError(error.to_string()))
}

fn from_text<T: std::str::FromStr>(text: &str) -> Result<T, HeadersError> {
    text.parse().map_err(|_| HeadersError("a number is not one of its type".to_owned()))
}

fn from_bits<T: TryFrom<u64>>(value: &str) -> Result<T, HeadersError> {
    let text: &str = parse(value)?;
    let bits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    bits.and_then(|bits| T::try_from(bits).ok()).ok_or_else(|| HeadersError("a float's bits cannot be read".to_owned()))
}

fn from_base64(text: &str) -> Result<Vec<u8>, HeadersError> {
    BASE64.decode(text).map_err(|error| HeadersError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_read_as_name_type_and_value() {
        let headers = vec![
            ("x-source".to_owned(), HeaderValue::Text(b"a\"tc".to_vec())),
            ("x-attempt".to_owned(), HeaderValue::I64(3)),
            ("x-attempt".to_owned(), HeaderValue::Table(vec![("on".to_owned(), HeaderValue::Bool(true))])),
            ("raw".to_owned(), HeaderValue::Text(vec![0xff])),
            ("price".to_owned(), HeaderValue::Decimal { scale: 2, value: 1234 }),
            ("ratio".to_owned(), HeaderValue::F64(1.0)),
            ("list".to_owned(), HeaderValue::Array(vec![HeaderValue::Void, HeaderValue::Bytes(vec![1, 2])])),
        ];
        let text = to_json(&headers);
        assert_eq!(
            text,
            r#"{"x-source":{"S":"a\"tc"},"x-attempt":{"l":"3"},"x-attempt":{"F":{"on":{"t":true}}},"raw":{"S":{"base64":"/w=="}},"price":{"D":{"scale":2,"value":1234}},"ratio":{"d":1.0},"list":{"A":[{"V":null},{"x":"AQI="}]}}"#
        );
        assert_eq!(from_json(&text).expect("what was written is read"), headers);
    }

    #[test]
    fn no_headers_are_an_empty_object() {
        assert_eq!(to_json(&[]), "{}");
        assert_eq!(from_json("{}"), Ok(vec![]));
    }

    #[test]
    fn text_that_is_not_typed_headers_is_refused() {
        for text in ["", "[]", r#"{"a":1}"#, r#"{"a":{"S":"x","l":"1"}}"#, r#"{"a":{"q":1}}"#, r#"{"a":{"b":300}}"#] {
            assert!(from_json(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", r#"{"a":{"A":["#.to_owned() + &r#"{"A":["#.repeat(300), "]}".repeat(301) + "}");
        assert!(from_json(&deep).expect_err("too deep").to_string().contains("deeper"));
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::I8),
            any::<u8>().prop_map(HeaderValue::U8),
            any::<i16>().prop_map(HeaderValue::I16),
            any::<u16>().prop_map(HeaderValue::U16),
            any::<i32>().prop_map(HeaderValue::I32),
            any::<u32>().prop_map(HeaderValue::U32),
            any::<i64>().prop_map(HeaderValue::I64),
            any::<u32>().prop_map(|bits| HeaderValue::F32(f32::from_bits(bits))),
            any::<u64>().prop_map(|bits| HeaderValue::F64(f64::from_bits(bits))),
            any::<(u8, u32)>().prop_map(|(scale, value)| HeaderValue::Decimal { scale, value }),
            any::<String>().prop_map(|text| HeaderValue::Text(text.into_bytes())),
            any::<Vec<u8>>().prop_map(HeaderValue::Text),
            any::<u64>().prop_map(HeaderValue::Timestamp),
            any::<Vec<u8>>().prop_map(HeaderValue::Bytes),
            Just(HeaderValue::Void),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(HeaderValue::Array),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(HeaderValue::Table),
            ]
        })
    }

    proptest! {
        #[test]
        fn all_headers_come_back_bit_for_bit(headers in prop::collection::vec((any::<String>(), value()), 0..6)) {
            let text = to_json(&headers);
            let back = from_json(&text).expect("what was written is read");
            // Compared as text too: a float that is not a number equals nothing, itself included.
            prop_assert_eq!(to_json(&back), text);
            prop_assert_eq!(format!("{back:?}"), format!("{headers:?}"));
            for (_, value) in &headers {
                let back = from_tagged(tag(value), &value_json(value)).expect("what was written is read");
                prop_assert_eq!(format!("{back:?}"), format!("{value:?}"));
            }
        }
    }
}
