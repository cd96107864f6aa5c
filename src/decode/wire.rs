//! How bodies are written: the format, and what a reader of it needs beside the bytes. As text it goes along with dead
//! letters, so that they can be read when the schema's file is long gone.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::confluent::{ConfluentDecoder, WriterText, Writers};
use super::{AvroDecoder, JsonDecoder, Limits, MsgpackDecoder, ProtobufDecoder};
use crate::config::{Format, Framing};
use crate::rejection::Rejection;
use crate::schema::{Types, avro, protobuf};
use crate::value::Tape;

/// How bodies are written.
#[derive(Clone, Debug)]
pub enum Wire {
    Json,
    Msgpack,
    Avro(Arc<avro::Types>, Framing),
    Protobuf(Arc<protobuf::Types>),
    /// Each body names the schema of a registry it was written with.
    Confluent(Format, Arc<Writers>),
}

/// Those that read alike.
impl PartialEq for Wire {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Wire::Avro(one, framing), Wire::Avro(two, other)) => framing == other && one == two,
            (Wire::Protobuf(one), Wire::Protobuf(two)) => one == two,
            (Wire::Confluent(one, writers), Wire::Confluent(two, others)) => one == two && Arc::ptr_eq(writers, others),
            (Wire::Confluent(..), _) | (_, Wire::Confluent(..)) => false,
            (one, other) => one.format() == other.format(),
        }
    }
}

impl Eq for Wire {}

impl Wire {
    /// Of a format whose bodies consist of `types`, or say by their framing of which of `writers`' schemas.
    ///
    /// # Panics
    /// If the types are of another format.
    pub fn new(format: Format, framing: Framing, types: &Types, writers: &Arc<Writers>) -> Self {
        if framing == Framing::Confluent {
            return Wire::Confluent(format, Arc::clone(writers));
        }
        match (format, types) {
            (Format::Json, _) => Wire::Json,
            (Format::Msgpack, _) => Wire::Msgpack,
            (Format::Avro, Types::Avro(types)) => Wire::Avro(Arc::clone(types), framing),
            (Format::Protobuf, Types::Protobuf(types)) => Wire::Protobuf(Arc::clone(types)),
            (Format::Avro | Format::Protobuf, _) => panic!("the schema of {} is loaded as one", format.as_str()),
        }
    }

    pub fn format(&self) -> Format {
        match self {
            Wire::Json => Format::Json,
            Wire::Msgpack => Format::Msgpack,
            Wire::Avro(..) => Format::Avro,
            Wire::Protobuf(_) => Format::Protobuf,
            Wire::Confluent(format, _) => *format,
        }
    }

    /// Takes over what `other`, of the same pipeline at another time, knows of the schemas in a registry.
    pub fn join(&self, other: &Wire) {
        if let (Wire::Confluent(_, writers), Wire::Confluent(_, others)) = (self, other)
            && !Arc::ptr_eq(writers, others)
        {
            writers.join(others);
        }
    }

    /// `body` as JSON text, for people and searches; `None` where it is JSON, or cannot be decoded.
    pub fn as_json(&self, body: &[u8]) -> Option<Vec<u8>> {
        if let Wire::Json = self {
            return None;
        }
        let write = |tape: &Tape<'_>| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            out
        };
        let seen = match self {
            // Two pipelines, or one at two times, may frame the same data differently; a frame is told by its fingerprint.
            Wire::Avro(types, _) => Wire::Avro(Arc::clone(types), AvroDecoder::framing_of(types, body)),
            other => other.clone(),
        };
        Decoder::new(&seen, WIDEST).decode(body, write).ok()
    }

    /// As text that [`Wire::parse`] reads, without the framing, which bodies tell themselves; `None` where the format's
    /// name says it all.
    pub fn to_text(&self) -> Option<String> {
        let said = match self {
            Wire::Json | Wire::Msgpack => return None,
            Wire::Avro(types, _) => Said {
                format: Format::Avro.as_str().to_owned(),
                schema: types.text().to_owned(),
                others: types.others().to_vec(),
                message: None,
                framing: None,
                writers: Vec::new(),
            },
            Wire::Protobuf(types) => Said {
                format: Format::Protobuf.as_str().to_owned(),
                schema: BASE64.encode(types.set()),
                others: Vec::new(),
                message: Some(types.message().full_name().to_owned()),
                framing: None,
                writers: Vec::new(),
            },
            Wire::Confluent(format, writers) => Said {
                format: format.as_str().to_owned(),
                schema: String::new(),
                others: Vec::new(),
                message: None,
                framing: Some(Framing::Confluent.as_str().to_owned()),
                writers: writers.to_texts(),
            },
        };
        Some(serde_json::to_string(&said).expect("it is text"))
    }

    /// What [`Wire::to_text`] wrote; `None`: something else, or something newer.
    pub fn parse(text: &str) -> Option<Self> {
        let Said { format, schema, others, message, framing, writers } = serde_json::from_str(text).ok()?;
        let format = Format::parse(&format)?;
        match framing.as_deref() {
            None => {}
            Some(framing) if framing == Framing::Confluent.as_str() => {
                return Some(Wire::Confluent(format, Arc::new(Writers::of_texts(writers))));
            }
            Some(_) => return None,
        }
        match format {
            Format::Avro => Some(Wire::Avro(Arc::new(avro::Types::parse(&schema, &others).ok()?), Framing::None)),
            Format::Protobuf => {
                let set = BASE64.decode(schema).ok()?;
                Some(Wire::Protobuf(Arc::new(protobuf::Types::parse(&set, message.as_deref()?).ok()?)))
            }
            Format::Json | Format::Msgpack => None,
        }
    }
}

/// A wire as text.
#[derive(Serialize, Deserialize)]
struct Said {
    format: String,
    /// As it was read; base64 of what is no text.
    schema: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Where it is not what an older version of the program knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    framing: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    writers: Vec<WriterText>,
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn of_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Limits where no pipeline sets others. A value takes up to forty times its bytes while it is read.
const WIDEST: Limits = Limits { body_bytes_max: 16 << 20, depth_max: 512 };

/// Decodes the bodies of a pipeline.
pub enum Decoder {
    Json(JsonDecoder),
    Msgpack(MsgpackDecoder),
    Avro(AvroDecoder),
    Protobuf(ProtobufDecoder),
    Confluent(Box<ConfluentDecoder>),
}

impl Decoder {
    pub fn new(wire: &Wire, limits: Limits) -> Self {
        match wire {
            Wire::Json => Decoder::Json(JsonDecoder::new(limits)),
            Wire::Msgpack => Decoder::Msgpack(MsgpackDecoder::new(limits)),
            Wire::Avro(types, framing) => Decoder::Avro(AvroDecoder::new(Arc::clone(types), *framing, limits)),
            Wire::Protobuf(types) => Decoder::Protobuf(ProtobufDecoder::new(Arc::clone(types), limits)),
            Wire::Confluent(format, writers) => {
                Decoder::Confluent(Box::new(ConfluentDecoder::new(*format, Arc::clone(writers), limits)))
            }
        }
    }

    /// Decodes `body`, one whole event, and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// The rejection of a body that is not exactly one document of the format, within the limits.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        match self {
            Decoder::Json(decoder) => decoder.decode(body, then),
            Decoder::Msgpack(decoder) => decoder.decode(body, then),
            Decoder::Avro(decoder) => decoder.decode(body, then),
            Decoder::Protobuf(decoder) => decoder.decode(body, then),
            Decoder::Confluent(decoder) => decoder.decode(body, then),
        }
    }

    /// The same of data that stood behind a frame: what has no bytes is a value where the format has one of none.
    pub(super) fn decode_data<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        match self {
            Decoder::Avro(decoder) => decoder.decode_data(body, then),
            Decoder::Protobuf(decoder) => decoder.decode_data(body, then),
            other => other.decode(body, then),
        }
    }
}
