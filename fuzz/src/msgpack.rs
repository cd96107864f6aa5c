//! MessagePack bodies, held against rmpv.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike, SecondsFormat};
use parqueduct::decode::{Limits, MsgpackDecoder};
use parqueduct::rejection::Code;
use rmpv::Value as Theirs;
use serde_json::{Map, Value as Json, json};

use super::{check_places, text_of};

const LIMITS: Limits = Limits { body_bytes_max: 100, depth_max: 6 };

/// A body is taken exactly if rmpv reads all of it, and what it reads is such as `docs/formats.md` takes; then it becomes
/// what is written there.
pub fn msgpack(body: &[u8]) {
    let mut decoder = MsgpackDecoder::new(LIMITS);
    let decoded = decoder.decode(body, |tape| text_of(tape, LIMITS.depth_max));
    let mut rest = body;
    let theirs = rmpv::decode::read_value(&mut rest).ok();
    let expected = theirs.as_ref().filter(|_| rest.is_empty()).and_then(|theirs| expected(theirs, LIMITS.depth_max));
    match (decoded, expected) {
        (Ok(text), Some(expected)) => assert_eq!(text, expected.to_string()),
        (Ok(text), None) => panic!("{text} of {theirs:?}"),
        (Err(rejection), expected) => {
            check_places(&rejection, body);
            let code = rejection.code();
            let within = (1..=LIMITS.body_bytes_max).contains(&body.len());
            assert_eq!(within, !matches!(code, Code::FrameEmpty | Code::FrameTooLarge), "{code:?}");
            // What begins with a byte that the format never uses is null to rmpv.
            let lenient = code == Code::BinaryInvalid && body.contains(&0xc1);
            assert!(expected.is_none() || !within || lenient, "{code:?} of {theirs:?}");
            assert!(code != Code::BinaryTruncated || theirs.is_none(), "{theirs:?}");
        }
    }
    let next = decoder.decode(&[0x92, 0xa1, b'x', 0xc4, 1, 0xff], |tape| text_of(tape, LIMITS.depth_max));
    assert_eq!(next.expect("a value"), "[\"x\",\"/w==\"]");
}

/// What is made of a value; `None`: it is refused.
fn expected(value: &Theirs, depth_left: usize) -> Option<Json> {
    Some(match value {
        Theirs::Nil => Json::Null,
        Theirs::Boolean(value) => json!(value),
        Theirs::Integer(number) => number.as_u64().map(Json::from).or(number.as_i64().map(Json::from))?,
        Theirs::F32(value) => serde_json::Number::from_f64((*value).into())?.into(),
        Theirs::F64(value) => serde_json::Number::from_f64(*value)?.into(),
        Theirs::String(text) => json!(text.as_str()?),
        Theirs::Binary(bytes) => json!(BASE64.encode(bytes)),
        Theirs::Array(elements) => {
            let depth_left = depth_left.checked_sub(1)?;
            Json::Array(elements.iter().map(|element| expected(element, depth_left)).collect::<Option<_>>()?)
        }
        Theirs::Map(entries) => {
            let depth_left = depth_left.checked_sub(1)?;
            let mut members = Map::new();
            for (key, value) in entries {
                let name = match key {
                    Theirs::String(text) => text.as_str()?.to_owned(),
                    Theirs::Integer(number) => number.to_string(),
                    Theirs::Boolean(value) => value.to_string(),
                    _ => return None,
                };
                if members.insert(name, expected(value, depth_left)?).is_some() {
                    return None;
                }
            }
            Json::Object(members)
        }
        Theirs::Ext(-1, bytes) => json!(timestamp(bytes)?),
        Theirs::Ext(kind, bytes) => json!({"ext": kind, "data": BASE64.encode(bytes)}),
    })
}

/// The extension type -1 of the specification.
fn timestamp(bytes: &[u8]) -> Option<String> {
    let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::try_from(number).ok()?, 0),
        8 => ((number & ((1 << 34) - 1)) as i64, (number >> 34) as u32),
        12 => (number as u64 as i64, (number >> 64) as u32),
        _ => return None,
    };
    if nanos > 999_999_999 {
        return None;
    }
    let time = DateTime::from_timestamp(seconds, nanos).filter(|time| (0..=9999).contains(&time.year()))?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}
