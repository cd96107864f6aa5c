//! Bodies that name the schema of a registry they were written with.

use std::sync::{Arc, LazyLock};

use parqueduct::config::Format;
use parqueduct::decode::{ConfluentDecoder, Decoder, Frame, Limits, Writer, Writers, Written, id_of, wire_of};
use parqueduct::rejection::{Code, Rejection};
use parqueduct::schema::{avro, protobuf};

use super::{check_places, text_of};

const LIMITS: Limits = Limits { body_bytes_max: 200, depth_max: 8 };

const FORMATS: [Format; 3] = [Format::Json, Format::Avro, Format::Protobuf];

const RECORD: &str =
    r#"{"type":"record","name":"A","fields":[{"name":"a","type":"string"},{"name":"n","type":"int"}]}"#;
const FILE: &str = r#"syntax = "proto3"; message A { string a = 1; A next = 2; message B { int32 n = 1; message C { bool c = 1; } } }
    message D { enum E { ZERO = 0; } E e = 1; }"#;

static WRITERS: LazyLock<Arc<Writers>> = LazyLock::new(|| {
    let writers = Writers::default();
    let record = avro::Types::parse(RECORD, &[]).expect("a schema");
    let file = protobuf::Source::parse(FILE, &[]).expect("a file");
    let written =
        [Written::Json, Written::Avro(Arc::new(record)), Written::Protobuf(Arc::new(file)), Written::Unusable];
    for (id, written) in (0..).zip(written) {
        writers.learn(id, Writer { written, subjects: Vec::new() });
    }
    Arc::new(writers)
});

/// A body is what its data are by the schema that its frame names, or it is refused: for its frame, for a schema that is not
/// known, or for its data, at their place in the whole body. Both ways to say "the first message" say it.
pub fn confluent(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    if body.len() + 2 > LIMITS.body_bytes_max {
        // A body is held to the limit with its frame, and here we take that away.
        return;
    }
    let format = FORMATS[usize::from(*choice) % FORMATS.len()];
    let decoded = decode(format, body);
    if let Err(rejection) = &decoded {
        check_places(rejection, body);
    }
    match Frame::read(format, body) {
        Err(rejection) => {
            assert_eq!(rejection.code(), Code::Framing);
            assert!(decoded.is_err());
        }
        Ok(frame) => {
            assert_eq!(Some(frame.id), id_of(body));
            assert!(body[0] == 0 && (5..=body.len()).contains(&frame.len));
            let apart = wire_of(format, &WRITERS, &frame).and_then(|wire| {
                let data = &body[frame.len..];
                let decoded = Decoder::new(&wire, LIMITS).decode(data, |tape| text_of(tape, LIMITS.depth_max));
                decoded.map_err(|rejection| rejection.shifted(frame.len as u64))
            });
            match (&decoded, apart) {
                // By itself a body of no bytes is refused; behind a frame it is a value, or too short for one.
                _ if frame.len == body.len() && format != Format::Json => {}
                (Ok(text), apart) => assert_eq!(*text, apart.expect("the same apart")),
                (Err(rejection), apart) => {
                    let apart = apart.expect_err("the same apart");
                    assert_eq!(rejection.issues(), apart.issues());
                    let known = frame.id < 4;
                    assert!(known || rejection.code() == Code::SchemaUnknown, "{rejection:?}");
                }
            }
        }
    }
    // A zero alone is short for one index, which is zero.
    if let (Format::Protobuf, Some((header, [0, data @ ..]))) = (format, body.split_at_checked(5)) {
        let long = [header, &[2, 0], data].concat();
        match (decoded, decode(format, &long)) {
            (Ok(short), long) => assert_eq!(short, long.expect("the same at length")),
            (Err(short), long) => assert_eq!(short.code(), long.expect_err("the same at length").code()),
        }
    }
}

fn decode(format: Format, body: &[u8]) -> Result<String, Rejection> {
    let mut decoder = ConfluentDecoder::new(format, Arc::clone(&WRITERS), LIMITS);
    decoder.decode(body, |tape| text_of(tape, LIMITS.depth_max))
}
