//! Protobuf messages (<https://protobuf.dev/programming-guides/encoding/>) to a tape, by their type. How its types become
//! JSON's is told in `docs/formats.md`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike, SecondsFormat};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::Limits;
use super::binary::within;
use super::writer::TapeWriter;
use crate::rejection::{Code, Issue, Rejection};
use crate::schema::protobuf::{Types, WellKnown};
use crate::value::{Tape, push_segment};

/// The member that holds, as base64, the fields that a message's type does not know, as they were encoded.
pub const UNKNOWN_FIELDS: &str = "$unknown";

/// Decodes Protobuf bodies, one message each.
pub struct ProtobufDecoder {
    types: Arc<Types>,
    limits: Limits,
    writer: TapeWriter,
}

impl ProtobufDecoder {
    pub fn new(types: Arc<Types>, limits: Limits) -> Self {
        Self { types, limits: limits.within_offsets(), writer: TapeWriter::default() }
    }

    /// Decodes `body` and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// One issue saying why `body` is no message of the type within the limits: `frame.empty`, `frame.too_large`,
    /// `validate.required`, or one of `decode.binary.*`. The library does not tell offsets.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        within(self.limits, body)?;
        self.decode_data(body, then)
    }

    /// The same of data that may be of no bytes, for a frame stood before them: a message all of whose fields are unset.
    pub(super) fn decode_data<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        let message = DynamicMessage::decode(self.types.message().clone(), body).map_err(|error| undecoded(&error))?;
        self.writer.clear();
        let mut walk = Walk { writer: &mut self.writer, path: String::new() };
        walk.message(&message, self.limits.depth_max)?;
        Ok(self.writer.read(then))
    }
}

/// The library's errors are texts; those that tell more than that the body is wrong are known by them.
#[cold]
fn undecoded(error: &prost_reflect::prost::DecodeError) -> Rejection {
    let text = error.to_string();
    let (code, expected, actual) = match () {
        () if text.ends_with("buffer underflow") => (Code::BinaryTruncated, "a whole message", "the end of the body"),
        () if text.contains("not UTF-8") => (Code::BinaryUtf8, "UTF-8", "other bytes"),
        () if text.ends_with("recursion limit reached") => (Code::BinaryDepth, "less depth", "more"),
        () if text.contains("invalid wire type:") => {
            (Code::BinaryInvalid, "fields as their type is encoded", "another wire type")
        }
        () => (Code::BinaryInvalid, "a message of the type", "other bytes"),
    };
    Issue::at(code, "", expected, actual).into()
}

struct Walk<'w> {
    writer: &'w mut TapeWriter,
    /// Of the message that is being written, normalised.
    path: String,
}

impl Walk<'_> {
    #[cold]
    fn bad(&self, code: Code, expected: &str, actual: &str) -> Rejection {
        Issue::at(code, &self.path, expected, actual).into()
    }

    fn deeper(&self, depth_left: usize) -> Result<usize, Rejection> {
        depth_left.checked_sub(1).ok_or_else(|| self.bad(Code::BinaryDepth, "less depth", "more"))
    }

    /// The fields of `message` as an object, in which `depth_left` more may stand within each other.
    fn message(&mut self, message: &DynamicMessage, depth_left: usize) -> Result<(), Rejection> {
        let depth_left = self.deeper(depth_left)?;
        let object = self.writer.begin_object(0);
        let members = self.members(message, depth_left)?;
        self.writer.end_with(object, members);
        Ok(())
    }

    /// The members of `message`; returns how many.
    fn members(&mut self, message: &DynamicMessage, depth_left: usize) -> Result<u32, Rejection> {
        let descriptor = message.descriptor();
        let mut members = 0;
        for field in descriptor.fields() {
            if field.supports_presence() && !message.has_field(&field) {
                if field.is_required() {
                    let mut path = self.path.clone();
                    push_segment(&mut path, field.name());
                    return Err(Issue::at(Code::ValidateRequired, &path, "", "").into());
                }
                continue;
            }
            let length = self.path.len();
            push_segment(&mut self.path, field.name());
            self.writer.text(field.name());
            self.field(&field, &message.get_field(&field), depth_left)?;
            self.path.truncate(length);
            members += 1;
        }
        for (extension, value) in message.extensions() {
            self.writer.text(extension.json_name());
            self.extension(&extension.kind(), value, depth_left)?;
            members += 1;
        }
        let mut unknown = Vec::new();
        message.unknown_fields().for_each(|field| field.encode(&mut unknown));
        if !unknown.is_empty() {
            self.writer.text(UNKNOWN_FIELDS);
            self.bytes(&unknown);
            members += 1;
        }
        Ok(members)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.writer.text_by(|out| BASE64.encode_string(bytes, out));
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value, depth_left: usize) -> Result<(), Rejection> {
        match value {
            Value::Map(entries) => {
                let depth_left = self.deeper(depth_left)?;
                let Kind::Message(entry) = field.kind() else { unreachable!("a map's entries are messages") };
                let kind = entry.map_entry_value_field().kind();
                let object = self.writer.begin_object(entries.len() as u32);
                let mut sorted: Vec<_> = entries.iter().collect();
                // The library has them in no order.
                sorted.sort_unstable_by_key(|(key, _)| *key);
                let length = self.path.len();
                self.path.push_str("/{*}");
                for (key, value) in sorted {
                    self.key(key);
                    self.value(&kind, value, depth_left)?;
                }
                self.path.truncate(length);
                self.writer.end(object);
                Ok(())
            }
            Value::List(elements) => self.list(&field.kind(), elements, depth_left),
            value => self.value(&field.kind(), value, depth_left),
        }
    }

    fn extension(&mut self, kind: &Kind, value: &Value, depth_left: usize) -> Result<(), Rejection> {
        match value {
            Value::List(elements) => self.list(kind, elements, depth_left),
            value => self.value(kind, value, depth_left),
        }
    }

    fn list(&mut self, kind: &Kind, elements: &[Value], depth_left: usize) -> Result<(), Rejection> {
        let depth_left = self.deeper(depth_left)?;
        let array = self.writer.begin_array(elements.len() as u32);
        let length = self.path.len();
        self.path.push_str("/[*]");
        for element in elements {
            self.value(kind, element, depth_left)?;
        }
        self.path.truncate(length);
        self.writer.end(array);
        Ok(())
    }

    fn key(&mut self, key: &MapKey) {
        match key {
            MapKey::Bool(key) => self.writer.text(if *key { "true" } else { "false" }),
            MapKey::I32(key) => self.writer.text(&key.to_string()),
            MapKey::I64(key) => self.writer.text(&key.to_string()),
            MapKey::U32(key) => self.writer.text(&key.to_string()),
            MapKey::U64(key) => self.writer.text(&key.to_string()),
            MapKey::String(key) => self.writer.text(key),
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value, depth_left: usize) -> Result<(), Rejection> {
        match value {
            Value::Bool(value) => self.writer.bool(*value),
            Value::I32(value) => self.writer.i64((*value).into()),
            Value::I64(value) => self.writer.i64(*value),
            Value::U32(value) => self.writer.i64((*value).into()),
            Value::U64(value) => self.writer.u64(*value),
            Value::F32(value) => self.float((*value).into())?,
            Value::F64(value) => self.float(*value)?,
            Value::String(value) => self.writer.text(value),
            Value::Bytes(value) => self.bytes(value),
            Value::EnumNumber(number) => self.enumerated(kind.as_enum(), *number),
            Value::Message(message) => return self.any_message(message, depth_left),
            Value::List(_) | Value::Map(_) => unreachable!("neither holds the other"),
        }
        Ok(())
    }

    fn float(&mut self, value: f64) -> Result<(), Rejection> {
        if !value.is_finite() {
            return Err(self.bad(Code::BinaryNumber, "a finite number", "an infinite one, or none"));
        }
        self.writer.f64(value);
        Ok(())
    }

    fn enumerated(&mut self, of: Option<&EnumDescriptor>, number: i32) {
        match of.and_then(|of| of.get_value(number)) {
            Some(value) => self.writer.text(value.name()),
            None => self.writer.text(&number.to_string()),
        }
    }

    fn any_message(&mut self, message: &DynamicMessage, depth_left: usize) -> Result<(), Rejection> {
        let Some(known) = WellKnown::of(&message.descriptor()) else { return self.message(message, depth_left) };
        match known {
            WellKnown::Timestamp => self.timestamp(message),
            WellKnown::Duration => self.duration(message),
            WellKnown::FieldMask => {
                let paths = number_field(message, 1);
                let paths: Vec<&str> = paths.as_list().unwrap_or_default().iter().filter_map(Value::as_str).collect();
                self.writer.text(&paths.join(","));
                Ok(())
            }
            WellKnown::Wrapper => {
                let field = message.descriptor().get_field(1).expect("wrappers have a value");
                self.value(&field.kind(), &message.get_field(&field), depth_left)
            }
            WellKnown::Struct => match message.descriptor().get_field(1) {
                Some(fields) => self.field(&fields, &message.get_field(&fields), depth_left),
                None => self.message(message, depth_left),
            },
            WellKnown::ListValue => match message.descriptor().get_field(1) {
                Some(values) => self.field(&values, &message.get_field(&values), depth_left),
                None => self.message(message, depth_left),
            },
            WellKnown::Value => self.json_value(message, depth_left),
            WellKnown::Any => self.any(message, depth_left),
        }
    }

    /// `google.protobuf.Value`: what is set of it; null, when nothing is.
    fn json_value(&mut self, message: &DynamicMessage, depth_left: usize) -> Result<(), Rejection> {
        let mut set = message.fields();
        match set.next() {
            // A null is an enumeration with one value.
            None | Some((_, Value::EnumNumber(_))) => {
                self.writer.null();
                Ok(())
            }
            Some((field, value)) => self.value(&field.kind(), value, depth_left),
        }
    }

    /// The message within, by the descriptor set, with the type beside its fields; as base64 where that is not known.
    fn any(&mut self, message: &DynamicMessage, depth_left: usize) -> Result<(), Rejection> {
        let depth_left = self.deeper(depth_left)?;
        let (url, content) = (number_field(message, 1), number_field(message, 2));
        let (url, content) = (url.as_str().unwrap_or_default(), content.as_bytes().cloned().unwrap_or_default());
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        let inner = message.descriptor().parent_pool().get_message_by_name(name);
        let inner = inner.and_then(|inner: MessageDescriptor| DynamicMessage::decode(inner, content.clone()).ok());
        let object = self.writer.begin_object(0);
        self.writer.text("@type");
        self.writer.text(url);
        let members = match inner {
            Some(inner) if WellKnown::of(&inner.descriptor()).is_none() => self.members(&inner, depth_left)?,
            Some(inner) => {
                self.writer.text("value");
                self.any_message(&inner, depth_left)?;
                1
            }
            None => {
                self.writer.text("value");
                self.bytes(&content);
                1
            }
        };
        self.writer.end_with(object, members + 1);
        Ok(())
    }

    fn timestamp(&mut self, message: &DynamicMessage) -> Result<(), Rejection> {
        let (seconds, nanos) = seconds_and_nanos(message);
        let time = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        let time = time.and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
        match time.filter(|time| (1..=9999).contains(&time.year())) {
            Some(time) => self.writer.text(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => return Err(self.bad(Code::BinaryInvalid, "an instant of the years 0001 to 9999", "another one")),
        }
        Ok(())
    }

    /// As the JSON mapping of Protobuf has it: `1.5s`.
    fn duration(&mut self, message: &DynamicMessage) -> Result<(), Rejection> {
        let (seconds, nanos) = seconds_and_nanos(message);
        let agree = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
        if !agree || nanos.unsigned_abs() >= 1_000_000_000 {
            return Err(self.bad(Code::BinaryInvalid, "a duration with nanoseconds of its sign", "another one"));
        }
        self.writer.text_by(|out| {
            if seconds < 0 || nanos < 0 {
                out.push('-');
            }
            out.push_str(&seconds.unsigned_abs().to_string());
            if nanos != 0 {
                let digits = format!(".{:09}", nanos.unsigned_abs());
                out.push_str(digits.trim_end_matches('0'));
            }
            out.push('s');
        });
        Ok(())
    }
}

/// A field of a well-known type.
fn number_field(message: &DynamicMessage, number: u32) -> Value {
    message.get_field_by_number(number).map_or(Value::Bool(false), std::borrow::Cow::into_owned)
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let (seconds, nanos) = (number_field(message, 1), number_field(message, 2));
    (seconds.as_i64().unwrap_or_default(), nanos.as_i32().unwrap_or_default())
}
