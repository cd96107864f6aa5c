//! Which format a body is of, where each says itself: by its content type, else by what it begins with. Only what the schema
//! can read is possible, and nothing is guessed: where two readings are, the content type decides or nothing does. The rule
//! is told in `docs/formats.md`.

use std::sync::Arc;

use super::binary::within;
use super::confluent::Writers;
use super::{AvroDecoder, Decoder, Limits, Wire, id_of};
use crate::config::{Format, Framing};
use crate::rejection::{Code, Issue, Rejection};
use crate::schema::Types;
use crate::value::Tape;

/// What the bodies of one type of events may be.
#[derive(Clone, Debug)]
pub struct Auto {
    /// What the schema makes of binary data.
    types: Types,
    framing: Framing,
    writers: Arc<Writers>,
}

/// Those that read alike.
impl PartialEq for Auto {
    fn eq(&self, other: &Self) -> bool {
        self.types == other.types && self.framing == other.framing && Arc::ptr_eq(&self.writers, &other.writers)
    }
}

/// One way to read a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Json,
    Msgpack,
    /// A datum of Avro with nothing before it.
    Bare,
    SingleObject,
    Protobuf,
    Confluent,
}

impl Reading {
    const COUNT: usize = Reading::Confluent as usize + 1;
}

impl Auto {
    /// Of bodies whose schema is of `types`; those of Avro may be framed so, and with [`Framing::Confluent`] all may name a
    /// schema of `writers`.
    pub fn new(types: Types, framing: Framing, writers: Arc<Writers>) -> Self {
        Self { types, framing, writers }
    }

    pub(super) fn types(&self) -> &Types {
        &self.types
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) fn writers(&self) -> &Arc<Writers> {
        &self.writers
    }

    /// The format of the schema's language.
    pub(super) fn native(&self) -> Format {
        match self.types {
            Types::Said => Format::Json,
            Types::Avro(_) => Format::Avro,
            Types::Protobuf(_) => Format::Protobuf,
        }
    }

    /// How bodies may be written so that they tell by themselves what they are.
    pub fn self_told(&self) -> Wire {
        self.wire(if self.native() == Format::Avro { Reading::SingleObject } else { Reading::Json })
    }

    /// How `body` is to be read.
    ///
    /// # Errors
    /// `decode.format`: nothing tells, or the schema cannot read what it is.
    pub fn tell(&self, content_type: Option<&str>, body: &[u8]) -> Result<Wire, Rejection> {
        self.reading(content_type, body).map(|reading| self.wire(reading))
    }

    fn wire(&self, reading: Reading) -> Wire {
        match (reading, &self.types) {
            (Reading::Msgpack, _) => Wire::Msgpack,
            (Reading::Bare, Types::Avro(types)) => Wire::Avro(Arc::clone(types), Framing::None),
            (Reading::SingleObject, Types::Avro(types)) => Wire::Avro(Arc::clone(types), Framing::SingleObject),
            (Reading::Protobuf, Types::Protobuf(types)) => Wire::Protobuf(Arc::clone(types)),
            (Reading::Confluent, _) => Wire::Confluent(self.native(), Arc::clone(&self.writers)),
            _ => Wire::Json,
        }
    }

    fn reading(&self, content_type: Option<&str>, body: &[u8]) -> Result<Reading, Rejection> {
        // Neither JSON nor a message of Protobuf begins with a zero, and what follows one of MessagePack is too much; a bare
        // datum of Avro may, and so is not read with this framing.
        if self.framing == Framing::Confluent && id_of(body).is_some() {
            return Ok(Reading::Confluent);
        }
        let said = content_type.and_then(format_of);
        let other = |said: Format| Err(self.refusal(said.document()));
        let unsaid = || Err(self.refusal("nothing that tells"));
        match (&self.types, said) {
            (_, Some(Format::Json)) => Ok(Reading::Json),
            (Types::Said, Some(Format::Msgpack)) => Ok(Reading::Msgpack),
            (Types::Said, None) if begins_msgpack(body) => Ok(Reading::Msgpack),
            (Types::Avro(types), said @ (None | Some(Format::Avro))) => match (said, self.framing) {
                // Its own fingerprint, of 64 bits, is no chance.
                _ if AvroDecoder::framing_of(types, body) == Framing::SingleObject => Ok(Reading::SingleObject),
                (Some(_), Framing::None) => Ok(Reading::Bare),
                (Some(_), Framing::SingleObject) => Ok(Reading::SingleObject),
                // It says itself what is wrong.
                (Some(_), Framing::Confluent) if AvroDecoder::is_framed(body) => Ok(Reading::SingleObject),
                (Some(_), Framing::Confluent) => Ok(Reading::Confluent),
                (None, _) if AvroDecoder::is_framed(body) => Ok(Reading::SingleObject),
                (None, _) if begins_json(body) => Ok(Reading::Json),
                (None, _) => unsaid(),
            },
            (Types::Protobuf(_), Some(Format::Protobuf)) => Ok(Reading::Protobuf),
            (_, None) if begins_json(body) => Ok(Reading::Json),
            (_, None) => unsaid(),
            (_, Some(said)) => other(said),
        }
    }

    #[cold]
    fn refusal(&self, actual: &str) -> Rejection {
        let expected = match self.types {
            Types::Said => "JSON or MessagePack",
            Types::Avro(_) => "Avro or JSON",
            Types::Protobuf(_) => "Protobuf or JSON",
        };
        Issue::at(Code::Format, "", expected, actual).into()
    }
}

/// What a media type says of a body (RFC 9110, 8.3.1), by registered names and those that senders use; `None`: nothing that
/// is known here.
fn format_of(content_type: &str) -> Option<Format> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, name) = essence.split_once('/')?;
    match (kind, name) {
        ("avro", "binary") => return Some(Format::Avro),
        ("text", "json") => return Some(Format::Json),
        ("application", _) => {}
        _ => return name.ends_with("+json").then_some(Format::Json),
    }
    // RFC 6839 tells of suffixes.
    let base = name.rsplit_once('+').map_or(name, |(_, suffix)| suffix);
    match base.strip_prefix("x-").unwrap_or(base) {
        "json" => return Some(Format::Json),
        "msgpack" | "messagepack" => return Some(Format::Msgpack),
        "avro" | "avro-binary" => return Some(Format::Avro),
        "protobuf" | "protobuffer" | "proto" => return Some(Format::Protobuf),
        _ => {}
    }
    match name {
        "vnd.msgpack" => Some(Format::Msgpack),
        "vnd.apache.avro" | "vnd.apache.avro+binary" => Some(Format::Avro),
        "vnd.google.protobuf" | "x-google-protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

/// Whether `body` begins as a JSON text (RFC 8259, 2 and 3), or is empty, which that decoder tells.
fn begins_json(body: &[u8]) -> bool {
    let begins = |byte: &u8| matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
    // A byte order mark is none of JSON's, but of no other format either: that decoder tells.
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    text.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).is_none_or(begins)
}

/// Whether `body` begins as a map, an array, a text, bytes or a longer number of MessagePack do; no JSON text begins so.
fn begins_msgpack(body: &[u8]) -> bool {
    matches!(body.first(), Some(0x80..=0xbf | 0xc4..=0xdf))
}

/// Decodes bodies of which each says itself what it is.
pub struct AutoDecoder {
    auto: Auto,
    limits: Limits,
    /// By [`Reading`], as they are needed.
    decoders: [Option<Decoder>; Reading::COUNT],
}

impl AutoDecoder {
    pub fn new(auto: Auto, limits: Limits) -> Self {
        Self { auto, limits, decoders: [const { None }; Reading::COUNT] }
    }

    /// As [`Decoder::decode_as`].
    ///
    /// # Errors
    /// Those of the formats, and `decode.format`.
    pub fn decode<R>(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        then: impl FnOnce(&Tape<'_>) -> R,
    ) -> Result<R, Rejection> {
        within(self.limits, body)?;
        let reading = self.auto.reading(content_type, body)?;
        let decoder =
            self.decoders[reading as usize].get_or_insert_with(|| Decoder::new(&self.auto.wire(reading), self.limits));
        decoder.decode(body, then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{avro, protobuf};

    fn auto(types: Types, framing: Framing) -> Auto {
        Auto::new(types, framing, Arc::default())
    }

    fn avro() -> Types {
        let text = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"string"}]}"#;
        Types::Avro(Arc::new(avro::Types::parse(text, &[]).expect("a schema")))
    }

    fn protobuf() -> Types {
        let text = "syntax = \"proto3\"; message A { string a = 1; }";
        let source = protobuf::Source::parse(text, &[]).expect("a schema");
        Types::Protobuf(Arc::new(source.message(&[0]).expect("it is there")))
    }

    fn json(auto: &Auto, content_type: Option<&str>, body: &[u8]) -> Result<String, (Code, String)> {
        let limits = Limits { body_bytes_max: 1000, depth_max: 8 };
        let decoded = AutoDecoder::new(auto.clone(), limits).decode(content_type, body, |tape| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            String::from_utf8(out).expect("UTF-8")
        });
        decoded.map_err(|rejection| (rejection.code(), rejection.issues()[0].actual.to_string()))
    }

    const A: &str = r#"{"a":"x"}"#;

    #[test]
    fn media_types_name_formats_however_they_are_written() {
        for (content_type, format) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON; charset=utf-8", Some(Format::Json)),
            ("text/json", Some(Format::Json)),
            ("application/vnd.shop.order+json", Some(Format::Json)),
            ("model/gltf+json", Some(Format::Json)),
            ("application/msgpack", Some(Format::Msgpack)),
            ("application/x-msgpack", Some(Format::Msgpack)),
            ("application/vnd.msgpack", Some(Format::Msgpack)),
            ("application/vnd.shop+msgpack", Some(Format::Msgpack)),
            ("avro/binary", Some(Format::Avro)),
            ("application/avro", Some(Format::Avro)),
            ("application/x-avro", Some(Format::Avro)),
            ("application/vnd.apache.avro", Some(Format::Avro)),
            ("application/vnd.apache.avro+binary", Some(Format::Avro)),
            ("application/vnd.apache.avro+json", Some(Format::Json)),
            ("application/protobuf", Some(Format::Protobuf)),
            ("application/x-protobuf; messageType=a.B", Some(Format::Protobuf)),
            ("application/vnd.google.protobuf", Some(Format::Protobuf)),
            ("application/octet-stream", None),
            ("avro/json", None),
            ("text/plain", None),
            ("json", None),
            ("", None),
        ] {
            assert_eq!(format_of(content_type), format, "{content_type}");
        }
    }

    #[test]
    fn events_of_a_json_schema_are_json_or_messagepack() {
        let auto = auto(Types::Said, Framing::None);
        let packed = b"\x81\xa1a\xa1x";
        for (content_type, body) in [
            (None, A.as_bytes()),
            (None, &packed[..]),
            (Some("application/octet-stream"), packed),
            (Some("text/plain"), b" \n{\"a\":\"x\"}"),
            (Some("application/x-msgpack"), packed),
            (Some("application/json"), A.as_bytes()),
        ] {
            assert_eq!(json(&auto, content_type, body).as_deref(), Ok(A), "{content_type:?}");
        }
        // What the sender says counts, and nothing else is tried.
        let code = |content_type, body: &[u8]| json(&auto, content_type, body).expect_err("refused").0;
        assert_eq!(code(Some("application/json"), packed), Code::JsonUtf8);
        assert_eq!(code(Some("application/msgpack"), A.as_bytes()), Code::BinaryTrailing);
        assert_eq!(code(None, b"\xef\xbb\xbf{}"), Code::JsonSyntax);
        assert_eq!(code(None, b""), Code::FrameEmpty);
        assert_eq!(code(None, &[b' '; 1001]), Code::FrameTooLarge);
        assert_eq!(json(&auto, Some("avro/binary"), b"\x02x"), Err((Code::Format, "Avro".to_owned())));
        for body in [&b"\x02x"[..], b"\0\0\0\0\x01{}", b"\x1f\x8b\x08", b"\xc3\x01", b"<a/>"] {
            assert_eq!(json(&auto, None, body), Err((Code::Format, "nothing that tells".to_owned())), "{body:?}");
        }
    }

    #[test]
    fn events_of_an_avro_schema_are_told_by_frame_or_content_type() {
        let types = avro();
        let Types::Avro(of) = &types else { unreachable!("it is made above") };
        let single = [&b"\xc3\x01"[..], &of.fingerprint(), b"\x02x"].concat();
        let none = auto(types.clone(), Framing::None);
        for (content_type, body) in [
            (None, &single[..]),
            (Some("application/avro"), &single),
            (Some("avro/binary"), b"\x02x"),
            (None, A.as_bytes()),
            (Some("application/json"), A.as_bytes()),
        ] {
            assert_eq!(json(&none, content_type, body).as_deref(), Ok(A), "{content_type:?} {body:?}");
        }
        // A datum may begin with any byte: by itself it tells nothing.
        assert_eq!(json(&none, None, b"\x02x"), Err((Code::Format, "nothing that tells".to_owned())));
        assert_eq!(json(&none, Some("application/msgpack"), b"\x81"), Err((Code::Format, "MessagePack".to_owned())));
        let mut foreign = single.clone();
        foreign[2] ^= 1;
        let code = |auto: &Auto, content_type, body: &[u8]| json(auto, content_type, body).expect_err("refused").0;
        assert_eq!(code(&none, None, &foreign), Code::SchemaUnknown);
        let framed = auto(types.clone(), Framing::SingleObject);
        assert_eq!(json(&framed, None, &single).as_deref(), Ok(A));
        assert_eq!(code(&framed, Some("avro/binary"), b"\x02x"), Code::Framing);
        let confluent = auto(types, Framing::Confluent);
        assert_eq!(json(&confluent, Some("avro/binary"), &single).as_deref(), Ok(A));
        assert_eq!(json(&confluent, None, A.as_bytes()).as_deref(), Ok(A));
        assert_eq!(code(&confluent, None, b"\0\0\0\0\x01\x02x"), Code::SchemaUnknown);
        assert_eq!(code(&confluent, Some("avro/binary"), b"\x02x"), Code::Framing);
        assert_eq!(code(&confluent, Some("avro/binary"), &foreign), Code::SchemaUnknown);
    }

    #[test]
    fn events_of_a_protobuf_schema_are_told_by_content_type_or_json() {
        let auto = auto(protobuf(), Framing::None);
        let body = b"\x0a\x01x";
        assert_eq!(json(&auto, Some("application/x-protobuf"), body).as_deref(), Ok(A));
        assert_eq!(json(&auto, None, A.as_bytes()).as_deref(), Ok(A));
        assert_eq!(json(&auto, None, body), Err((Code::Format, "nothing that tells".to_owned())));
        assert_eq!(json(&auto, Some("avro/binary"), body), Err((Code::Format, "Avro".to_owned())));
    }
}
