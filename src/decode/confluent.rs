//! Bodies that begin with the id of their schema in a registry, as Confluent's serializers write them
//! (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>): a zero, the
//! id as four bytes, big-endian; of Protobuf then which message of the schema it is; then the data.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::{Decoder, Limits, Wire};
use crate::config::{Format, Framing};
use crate::rejection::{Code, Issue, Rejection};
use crate::schema::protobuf::NoMessage;
use crate::schema::{avro, protobuf};
use crate::value::Tape;

/// Bytes of a zero and an id.
const HEADER_BYTES: usize = 5;

/// How deep a message may be nested in the messages of a file.
const INDEXES_MAX: usize = 32;

/// Decoders kept, each of a schema, or of a message of one.
const DECODERS_MAX: usize = 256;

/// What is known of the schemas that data were written with, by their ids. What is known once stays.
#[derive(Debug, Default)]
pub struct Writers {
    known: RwLock<HashMap<u32, Arc<Writer>>>,
}

/// A schema that data were written with.
#[derive(Debug)]
pub struct Writer {
    pub written: Written,
    /// The subjects it is registered under.
    pub subjects: Vec<String>,
}

/// What data consist of.
#[derive(Clone, Debug)]
pub enum Written {
    /// They say so themselves.
    Json,
    Avro(Arc<avro::Types>),
    Protobuf(Arc<protobuf::Source>),
    /// Nobody knows: the schema cannot be used.
    Unusable,
}

impl Writers {
    pub fn get(&self, id: u32) -> Option<Arc<Writer>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub fn learn(&self, id: u32, writer: Writer) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(writer));
    }

    pub fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over what `others` know and these do not: events are judged by what is known already, and a dead letter that
    /// says otherwise, of another registry or of one that was asked long ago, changes nothing of that.
    pub fn join(&self, others: &Writers) {
        let others = others.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (id, writer) in others {
            known.entry(id).or_insert(writer);
        }
    }

    /// All as text, for [`Writers::of_texts`].
    pub(super) fn to_texts(&self) -> Vec<WriterText> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut texts: Vec<WriterText> = known.iter().filter_map(|(id, writer)| WriterText::of(*id, writer)).collect();
        texts.sort_by_key(|text| text.id);
        texts
    }

    pub(super) fn of_texts(texts: Vec<WriterText>) -> Self {
        let known = texts.into_iter().filter_map(|text| Some((text.id, Arc::new(text.read()?))));
        Self { known: RwLock::new(known.collect()) }
    }
}

/// A schema as text.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WriterText {
    id: u32,
    format: String,
    /// Of Protobuf base64 of a descriptor set.
    schema: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    /// What types of events may be told by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
}

impl WriterText {
    /// `None`: there is none.
    fn of(id: u32, writer: &Writer) -> Option<Self> {
        let (format, schema, others) = match &writer.written {
            Written::Unusable => return None,
            // Data are read without it.
            Written::Json => (Format::Json, String::new(), Vec::new()),
            Written::Avro(types) => (Format::Avro, types.text().to_owned(), types.others().to_vec()),
            Written::Protobuf(source) => (Format::Protobuf, super::wire::base64(source.set()), Vec::new()),
        };
        Some(Self { id, format: format.as_str().to_owned(), schema, others, subjects: writer.subjects.clone() })
    }

    fn read(self) -> Option<Writer> {
        let written = match Format::parse(&self.format)? {
            Format::Avro => Written::Avro(Arc::new(avro::Types::parse(&self.schema, &self.others).ok()?)),
            Format::Protobuf => {
                let set = super::wire::of_base64(&self.schema)?;
                Written::Protobuf(Arc::new(protobuf::Source::of_set(&set).ok()?))
            }
            Format::Json => Written::Json,
            Format::Msgpack | Format::Auto => return None,
        };
        Some(Writer { written, subjects: self.subjects })
    }
}

/// The id that `body` begins with.
pub fn id_of(body: &[u8]) -> Option<u32> {
    let (header, _) = body.split_first_chunk::<HEADER_BYTES>()?;
    let [0, id @ ..] = header else { return None };
    Some(u32::from_be_bytes(*id))
}

/// What stands before the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u32,
    /// The place of the message, of Protobuf.
    indexes: Indexes,
    /// Bytes.
    pub len: usize,
}

/// Numbers of messages, each within the one before.
type Indexes = ([u32; INDEXES_MAX], usize);

impl Frame {
    /// The frame of a body of that format.
    ///
    /// # Errors
    /// `decode.framing`.
    pub fn read(format: Format, body: &[u8]) -> Result<Self, Rejection> {
        let bad = |expected: &str| -> Rejection { Issue::at(Code::Framing, "", expected, "other bytes").into() };
        let id = id_of(body).ok_or_else(|| bad("a zero and the id of a schema"))?;
        let (mut indexes, mut len) = (([0; INDEXES_MAX], 0), HEADER_BYTES);
        if format == Format::Protobuf {
            let expected = "which message of the schema it is";
            let mut next = || zigzag(body, &mut len).ok_or_else(|| bad(expected));
            let count = next()?;
            // A zero alone is short for the first message.
            let count = usize::try_from(count).ok().filter(|count| *count <= INDEXES_MAX);
            let count = count.ok_or_else(|| bad(expected))?;
            indexes.1 = count.max(1);
            for place in 0..count {
                indexes.0[place] = u32::try_from(next()?).map_err(|_| bad(expected))?;
            }
        }
        Ok(Self { id, indexes, len })
    }

    fn indexes(&self) -> &[u32] {
        &self.indexes.0[..self.indexes.1]
    }
}

/// A number as Avro and Protobuf's `sint64` write it, from `at` on.
fn zigzag(body: &[u8], at: &mut usize) -> Option<i64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let byte = *body.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

/// How the data of a body with that frame are written.
///
/// # Errors
/// `schema.unknown`.
pub fn wire_of(format: Format, writers: &Writers, frame: &Frame) -> Result<Wire, Rejection> {
    let unknown = |expected: &str, found: &str| -> Rejection {
        Issue::at(Code::SchemaUnknown, "", expected, format!("id {}{found}", frame.id)).into()
    };
    let Some(writer) = writers.get(frame.id) else { return Err(unknown("a schema that is known", "")) };
    match (format, &writer.written) {
        (_, Written::Unusable) => Err(unknown("a schema that can be used", ", which cannot be used")),
        (Format::Json, Written::Json) => Ok(Wire::Json),
        (Format::Avro, Written::Avro(types)) => Ok(Wire::Avro(Arc::clone(types), Framing::None)),
        (Format::Protobuf, Written::Protobuf(source)) => match source.message(frame.indexes()) {
            Ok(types) => Ok(Wire::Protobuf(Arc::new(types))),
            Err(NoMessage::Absent) => Err(unknown("a message of the schema", ", which has no such message")),
            Err(NoMessage::Ambiguous) => {
                Err(unknown("a message of the schema", ", of which producers count the messages in two ways"))
            }
        },
        _ => Err(unknown("a schema of the configured format", ", a schema of another")),
    }
}

/// The same of a dead letter's body, as far as it can be told: JSON is read without its schema, which may be why it is one.
pub fn wire_of_letter(format: Format, writers: &Writers, frame: &Frame) -> Option<Wire> {
    match format {
        Format::Json => Some(Wire::Json),
        format => wire_of(format, writers, frame).ok(),
    }
}

/// Decodes bodies that name their schemas.
pub struct ConfluentDecoder {
    format: Format,
    writers: Arc<Writers>,
    limits: Limits,
    decoders: HashMap<(u32, Box<[u32]>), Decoder>,
}

impl ConfluentDecoder {
    pub fn new(format: Format, writers: Arc<Writers>, limits: Limits) -> Self {
        Self { format, writers, limits, decoders: HashMap::new() }
    }

    /// As [`Decoder::decode`]. All that the registry knows of the ids of `body` is known to the writers.
    ///
    /// # Errors
    /// Those of the format, `decode.framing`, and `schema.unknown`.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        super::binary::within(self.limits, body)?;
        let frame = Frame::read(self.format, body)?;
        let key = (frame.id, frame.indexes().into());
        if !self.decoders.contains_key(&key) {
            let wire = wire_of(self.format, &self.writers, &frame)?;
            if self.decoders.len() >= DECODERS_MAX {
                self.decoders.clear();
            }
            self.decoders.insert(key.clone(), Decoder::new(&wire, self.limits));
        }
        let decoder = self.decoders.get_mut(&key).expect("it was put there");
        decoder.decode_data(&body[frame.len..], then).map_err(|rejection| rejection.shifted(frame.len as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_name_an_id_and_of_protobuf_a_message() {
        let read = |format, body: &[u8]| {
            Frame::read(format, body).map(|frame| (frame.id, frame.indexes().to_vec(), frame.len))
        };
        assert_eq!(read(Format::Avro, b"\0\0\0\x01\x02\x08").expect("a frame"), (258, vec![], 5));
        assert_eq!(read(Format::Protobuf, b"\0\0\0\0\x07\0\x0a").expect("a frame"), (7, vec![0], 6));
        // [1, 0], each zigzag: the first within the second message of the file.
        assert_eq!(read(Format::Protobuf, b"\0\0\0\0\x07\x04\x02\0\x0a").expect("a frame"), (7, vec![1, 0], 8));
        for body in [&b""[..], b"\0\0\0\x01", b"\x01\0\0\0\x01", b"{\"a\":1}"] {
            let refused = read(Format::Json, body).expect_err("no frame");
            assert_eq!(refused.code(), Code::Framing, "{body:?}");
        }
        for body in [
            &b"\0\0\0\0\x07"[..],
            b"\0\0\0\0\x07\x01",
            b"\0\0\0\0\x07\x7e",
            b"\0\0\0\0\x07\x04\x02",
            b"\0\0\0\0\x07\x02\x01",
        ] {
            assert_eq!(read(Format::Protobuf, body).expect_err("no frame").code(), Code::Framing, "{body:?}");
        }
    }

    #[test]
    fn data_are_read_by_the_schema_they_were_written_with() {
        let writers = Arc::new(Writers::default());
        let of = |schema: &str| Writer {
            written: Written::Avro(Arc::new(avro::Types::parse(schema, &[]).expect("a schema"))),
            subjects: Vec::new(),
        };
        writers.learn(1, of(r#"{"type":"record","name":"A","fields":[{"name":"a","type":"string"}]}"#));
        writers.learn(
            2,
            of(r#"{"type":"record","name":"A","fields":[{"name":"b","type":"int"},{"name":"a","type":"string"}]}"#),
        );
        writers.learn(3, Writer { written: Written::Json, subjects: vec!["a-value".to_owned()] });
        writers.learn(4, Writer { written: Written::Unusable, subjects: Vec::new() });
        let limits = Limits { body_bytes_max: 1000, depth_max: 8 };
        let mut decoder = ConfluentDecoder::new(Format::Avro, Arc::clone(&writers), limits);
        let mut json = |body: &[u8]| {
            let written = decoder.decode(body, |tape| {
                let mut out = Vec::new();
                tape.root().write_json(&mut out);
                String::from_utf8(out).expect("UTF-8")
            });
            written.map_err(|rejection| {
                (rejection.code(), rejection.issues()[0].actual.to_string(), rejection.issues()[0].offset)
            })
        };
        assert_eq!(json(b"\0\0\0\0\x01\x02x").as_deref(), Ok(r#"{"a":"x"}"#));
        assert_eq!(json(b"\0\0\0\0\x02\x0e\x02x").as_deref(), Ok(r#"{"b":7,"a":"x"}"#));
        let unknown = |actual: &str| Err((Code::SchemaUnknown, actual.to_owned(), None));
        assert_eq!(json(b"\0\0\0\0\x09\x02x"), unknown("id 9"));
        assert_eq!(json(b"\0\0\0\0\x03\x02x"), unknown("id 3, a schema of another"));
        assert_eq!(json(b"\0\0\0\0\x04\x02x"), unknown("id 4, which cannot be used"));
        let (code, _, offset) = json(b"\0\0\0\0\x01\x04x").expect_err("cut off");
        assert_eq!((code, offset), (Code::BinaryTruncated, Some(7)), "into the body as it came");

        // What goes along with dead letters says the same.
        let again = Writers::of_texts(writers.to_texts());
        assert_eq!(again.to_texts().len(), 3);
        let third = again.get(3).expect("known");
        assert!(matches!(third.written, Written::Json) && third.subjects == ["a-value"] && again.get(4).is_none());
        assert!(
            matches!(&again.get(2).expect("known").written, Written::Avro(types) if types.text().contains("\"b\""))
        );
    }

    #[test]
    fn what_letters_know_of_schemas_changes_nothing_of_what_is_known() {
        let of = |subject: &str| Writer { written: Written::Json, subjects: vec![subject.to_owned()] };
        let (live, letters) = (Writers::default(), Writers::default());
        live.learn(1, of("orders-value"));
        letters.learn(1, of("another"));
        letters.learn(2, of("paid-value"));
        live.join(&letters);
        let subjects = |id| live.get(id).expect("known").subjects.clone();
        assert_eq!((subjects(1), subjects(2)), (vec!["orders-value".to_owned()], vec!["paid-value".to_owned()]));
    }

    #[test]
    fn a_message_of_no_bytes_has_all_its_fields_unset() {
        let source = protobuf::Source::parse("syntax = \"proto3\"; message A { int64 n = 1; }", &[]).expect("a schema");
        let writers = Arc::new(Writers::default());
        writers.learn(1, Writer { written: Written::Protobuf(Arc::new(source)), subjects: Vec::new() });
        let limits = Limits { body_bytes_max: 1000, depth_max: 8 };
        let mut decoder = ConfluentDecoder::new(Format::Protobuf, writers, limits);
        let mut json = |body: &[u8]| {
            decoder.decode(body, |tape| {
                let mut out = Vec::new();
                tape.root().write_json(&mut out);
                String::from_utf8(out).expect("UTF-8")
            })
        };
        assert_eq!(json(b"\0\0\0\0\x01\0").expect("a message"), r#"{"n":0}"#);
        assert_eq!(json(b"\0\0\0\0\x01\0\x08\x07").expect("a message"), r#"{"n":7}"#);
        assert_eq!(json(b"").expect_err("no message").code(), Code::FrameEmpty);
    }
}
