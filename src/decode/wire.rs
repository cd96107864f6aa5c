//! How bodies are written: the format, and what a reader of it needs beside the bytes. As text it goes along with dead
//! letters, so that they can be read when the schema's file is long gone.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::auto::{Auto, AutoDecoder};
use super::cloudevents;
use super::confluent::{ConfluentDecoder, Frame, WriterText, Writers, wire_of_letter};
use super::{AvroDecoder, JsonDecoder, Limits, MsgpackDecoder, ProtobufDecoder};
use crate::config::{Format, Framing};
use crate::event::Message;
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
    /// Each body says itself how it is.
    Auto(Box<Auto>),
}

/// Those that read alike.
impl PartialEq for Wire {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Wire::Avro(one, framing), Wire::Avro(two, other)) => framing == other && one == two,
            (Wire::Protobuf(one), Wire::Protobuf(two)) => one == two,
            (Wire::Confluent(one, writers), Wire::Confluent(two, others)) => one == two && Arc::ptr_eq(writers, others),
            (Wire::Auto(one), Wire::Auto(two)) => one == two,
            (Wire::Confluent(..) | Wire::Auto(_), _) | (_, Wire::Confluent(..) | Wire::Auto(_)) => false,
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
        if format == Format::Auto {
            return Wire::Auto(Box::new(Auto::new(types.clone(), framing, Arc::clone(writers))));
        }
        if framing == Framing::Confluent {
            return Wire::Confluent(format, Arc::clone(writers));
        }
        match (format, types) {
            (Format::Json, _) => Wire::Json,
            (Format::Msgpack, _) => Wire::Msgpack,
            (Format::Avro, Types::Avro(types)) => Wire::Avro(Arc::clone(types), framing),
            (Format::Protobuf, Types::Protobuf(types)) => Wire::Protobuf(Arc::clone(types)),
            (Format::Auto | Format::Avro | Format::Protobuf, _) => {
                panic!("the schema of {} is loaded as one", format.as_str())
            }
        }
    }

    pub fn format(&self) -> Format {
        match self {
            Wire::Json => Format::Json,
            Wire::Msgpack => Format::Msgpack,
            Wire::Avro(..) => Format::Avro,
            Wire::Protobuf(_) => Format::Protobuf,
            Wire::Confluent(format, _) => *format,
            Wire::Auto(_) => Format::Auto,
        }
    }

    /// How `body`, that of `message`, opened, is written; of one that tells nothing it is said to be JSON.
    pub fn told(&self, message: &Message, body: &[u8]) -> Cow<'_, Wire> {
        // Whatever its data are.
        if cloudevents::says_structured(message) {
            return Cow::Owned(Wire::Json);
        }
        self.told_as(cloudevents::content_type_of(message), body)
    }

    /// The same of one that is said to be of that media type.
    pub fn told_as(&self, content_type: Option<&str>, body: &[u8]) -> Cow<'_, Wire> {
        match self {
            Wire::Auto(auto) => Cow::Owned(auto.tell(content_type, body).unwrap_or(Wire::Json)),
            other => Cow::Borrowed(other),
        }
    }

    /// Takes over what `other`, of the same pipeline at another time, knows of the schemas in a registry.
    pub fn join(&self, other: &Wire) {
        if let (Some(writers), Some(others)) = (self.writers(), other.writers())
            && !Arc::ptr_eq(writers, others)
        {
            writers.join(others);
        }
    }

    fn writers(&self) -> Option<&Arc<Writers>> {
        match self {
            Wire::Confluent(_, writers) => Some(writers),
            Wire::Auto(auto) => Some(auto.writers()),
            _ => None,
        }
    }

    /// `body`, of which it is told how it is written, as JSON text, for people and searches; `None` where it is JSON, or cannot be decoded.
    pub fn as_json(&self, body: &[u8]) -> Option<Vec<u8>> {
        if let Wire::Json | Wire::Auto(_) = self {
            return None;
        }
        let write = |tape: &Tape<'_>| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            out
        };
        let (seen, data) = match self {
            Wire::Confluent(format, writers) => {
                let frame = Frame::read(*format, body).ok()?;
                (wire_of_letter(*format, writers, &frame)?, &body[frame.len..])
            }
            // Two pipelines, or one at two times, may frame the same data differently; a frame is told by its fingerprint.
            Wire::Avro(types, _) => (Wire::Avro(Arc::clone(types), AvroDecoder::framing_of(types, body)), body),
            other => (other.clone(), body),
        };
        Decoder::new(&seen, WIDEST).decode(data, write).ok()
    }

    /// As text that [`Wire::parse`] reads, without the framing, which bodies tell themselves; `None` where the format's
    /// name says it all.
    pub fn to_text(&self) -> Option<String> {
        let said = match self {
            Wire::Json | Wire::Msgpack => return None,
            Wire::Avro(types, _) => Said::of(&Types::Avro(Arc::clone(types))),
            Wire::Protobuf(types) => Said::of(&Types::Protobuf(Arc::clone(types))),
            Wire::Confluent(format, writers) => Said {
                format: format.as_str().to_owned(),
                framing: Some(Framing::Confluent.as_str().to_owned()),
                writers: writers.to_texts(),
                ..Said::default()
            },
            Wire::Auto(auto) => Said {
                format: Format::Auto.as_str().to_owned(),
                framing: Some(auto.framing().as_str().to_owned()),
                writers: auto.writers().to_texts(),
                types: Some(auto.native().as_str().to_owned()),
                ..Said::of(auto.types())
            },
        };
        Some(serde_json::to_string(&said).expect("it is text"))
    }

    /// What [`Wire::to_text`] wrote; `None`: something else, or something newer.
    pub fn parse(text: &str) -> Option<Self> {
        let mut said: Said = serde_json::from_str(text).ok()?;
        let format = Format::parse(&said.format)?;
        if format == Format::Auto {
            let framing = Framing::parse(said.framing.as_deref()?)?;
            let writers = Arc::new(Writers::of_texts(std::mem::take(&mut said.writers)));
            let types = said.types(Format::parse(said.types.as_deref()?)?)?;
            return Some(Wire::Auto(Box::new(Auto::new(types, framing, writers))));
        }
        match said.framing.as_deref() {
            None => {}
            Some(framing) if framing == Framing::Confluent.as_str() => {
                return Some(Wire::Confluent(format, Arc::new(Writers::of_texts(said.writers))));
            }
            Some(_) => return None,
        }
        match said.types(format)? {
            Types::Avro(types) => Some(Wire::Avro(types, Framing::None)),
            Types::Protobuf(types) => Some(Wire::Protobuf(types)),
            Types::Said => None,
        }
    }
}

/// A wire as text.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    format: String,
    /// The format of the schema, where bodies may be of others, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    types: Option<String>,
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

impl Said {
    fn of(types: &Types) -> Self {
        match types {
            Types::Said => Said::default(),
            Types::Avro(types) => Said {
                format: Format::Avro.as_str().to_owned(),
                schema: types.text().to_owned(),
                others: types.others().to_vec(),
                ..Said::default()
            },
            Types::Protobuf(types) => Said {
                format: Format::Protobuf.as_str().to_owned(),
                schema: BASE64.encode(types.set()),
                message: Some(types.message().full_name().to_owned()),
                ..Said::default()
            },
        }
    }

    /// The types of a schema of that format.
    fn types(&self, format: Format) -> Option<Types> {
        match format {
            Format::Avro => Some(Types::Avro(Arc::new(avro::Types::parse(&self.schema, &self.others).ok()?))),
            Format::Protobuf => {
                let set = BASE64.decode(&self.schema).ok()?;
                Some(Types::Protobuf(Arc::new(protobuf::Types::parse(&set, self.message.as_deref()?).ok()?)))
            }
            Format::Json | Format::Msgpack | Format::Auto => Some(Types::Said),
        }
    }
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
    Auto(Box<AutoDecoder>),
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
            Wire::Auto(auto) => Decoder::Auto(Box::new(AutoDecoder::new(Auto::clone(auto), limits))),
        }
    }

    /// Decodes `body`, one whole event, and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// The rejection of a body that is not exactly one document of the format, within the limits.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        self.decode_as(None, body, then)
    }

    /// The same of a body that is said to be of that media type, where it says itself what it is.
    ///
    /// # Errors
    /// As [`Decoder::decode`], and `decode.format`.
    pub fn decode_as<R>(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        then: impl FnOnce(&Tape<'_>) -> R,
    ) -> Result<R, Rejection> {
        match self {
            Decoder::Json(decoder) => decoder.decode(body, then),
            Decoder::Msgpack(decoder) => decoder.decode(body, then),
            Decoder::Avro(decoder) => decoder.decode(body, then),
            Decoder::Protobuf(decoder) => decoder.decode(body, then),
            Decoder::Confluent(decoder) => decoder.decode(body, then),
            Decoder::Auto(decoder) => decoder.decode(content_type, body, then),
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
