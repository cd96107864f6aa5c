//! Avro bodies and schemas, held against apache-avro.

use std::sync::{Arc, LazyLock};

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Theirs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use num_bigint::BigInt;
use parqueduct::config::Framing;
use parqueduct::decode::{AvroDecoder, Limits};
use parqueduct::rejection::Code;
use parqueduct::schema::avro::Types;
use parqueduct::value::{Node, Value};
use serde_json::Value as Json;

use super::{check_places, text_of};

const LIMITS: Limits = Limits { body_bytes_max: 120, depth_max: 8 };

/// Of each kind of type at least one; the first byte of an input chooses. Corpora know them by their places: add at the end.
const FIELD_TYPES: &[&str] = &[
    r#""boolean""#,
    r#""int""#,
    r#""long""#,
    r#""float""#,
    r#""double""#,
    r#""bytes""#,
    r#""string""#,
    r#"{"type":"fixed","name":"F","size":3}"#,
    r#"{"type":"enum","name":"E","symbols":["A","B","C"]}"#,
    r#"{"type":"array","items":"int"}"#,
    r#"{"type":"map","values":["null","string"]}"#,
    r#"["null","int","string",{"type":"array","items":"null"}]"#,
    r#"{"type":"record","name":"N","fields":[{"name":"n","type":["null","N","string",{"type":"map","values":"N"}]}]}"#,
    r#"{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}"#,
    r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}"#,
    r#"{"type":"fixed","name":"D","size":5,"logicalType":"decimal","precision":9,"scale":0}"#,
    r#"{"type":"bytes","logicalType":"big-decimal"}"#,
    r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
    r#"{"type":"int","logicalType":"date"}"#,
    r#"{"type":"int","logicalType":"time-millis"}"#,
    r#"{"type":"long","logicalType":"time-micros"}"#,
    r#"{"type":"long","logicalType":"timestamp-millis"}"#,
    r#"{"type":"long","logicalType":"timestamp-micros"}"#,
    r#"{"type":"long","logicalType":"timestamp-nanos"}"#,
    r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
    r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
    r#"{"type":"fixed","name":"P","size":12,"logicalType":"duration"}"#,
    r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"count","type":"long"},
        {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
            {"name":"sku","type":"string"},{"name":"price","type":["null","double"]}]}}},
        {"name":"tags","type":{"type":"map","values":"string"}}]}"#,
];

struct Kind {
    types: Arc<Types>,
    theirs: GenericDatumReader<'static>,
    /// It has lists of values that take no bytes.
    is_bare: bool,
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    // What a body of a few bytes may claim to hold is not to take gigabytes of the fuzzer.
    apache_avro::util::max_allocation_bytes(8 << 20);
    let kind = |of: &&str| {
        let text = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x","type":{of}}}]}}"#);
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(&text).expect("a schema")));
        let theirs = GenericDatumReader::builder(schema).build().expect("a schema with all that it names");
        let is_bare = of.contains(r#""items":"null""#) || of.contains(r#""fields":[]"#);
        Kind { types: Arc::new(Types::parse(&text, &[]).expect("a schema")), theirs, is_bare }
    };
    FIELD_TYPES.iter().map(kind).collect()
});

/// What is taken apache-avro takes, all of it, and it holds the same; what is refused for its texts it refuses, too, and
/// it sees the end of the value where we see more than a value. A body framed as a single object says what it says without the frame.
pub fn avro(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let Kind { types, theirs, is_bare } = &KINDS[usize::from(*choice) % KINDS.len()];
    if *is_bare && body.iter().any(|byte| *byte >= 0x80) {
        // Few bytes make 65,536 values then, which takes thousands of times as long; the decoder's own tests do that.
        return;
    }
    let mut decoder = AvroDecoder::new(Arc::clone(types), Framing::None, LIMITS);
    let mut rest = body;
    let decoded = decoder.decode(body, |tape| {
        let theirs = theirs.read_value(&mut rest).expect("what we take is a datum");
        assert!(rest.is_empty(), "of the whole body");
        check_same(tape.root(), &theirs);
        text_of(tape, LIMITS.depth_max)
    });
    if let Err(rejection) = &decoded {
        check_places(rejection, body);
        // A text that is cut off is null to theirs, so that it does not tell those.
        let mut rest = body;
        match rejection.code() {
            Code::BinaryUtf8 => assert!(theirs.read_value(&mut rest).is_err(), "{rejection:?}"),
            Code::BinaryTrailing => {
                assert!(theirs.read_value(&mut rest).is_ok() && !rest.is_empty(), "{rejection:?}");
            }
            _ => {}
        }
    }
    let framed = [&[0xc3, 0x01][..], &types.fingerprint(), body].concat();
    assert_eq!(AvroDecoder::framing_of(types, &framed), Framing::SingleObject);
    let wide = Limits { body_bytes_max: LIMITS.body_bytes_max + 10, ..LIMITS };
    let again = AvroDecoder::new(Arc::clone(types), Framing::SingleObject, wide)
        .decode(&framed, |tape| text_of(tape, LIMITS.depth_max));
    match (decoded, again) {
        (Ok(text), again) => assert_eq!(again.expect("the same without a frame"), text),
        (Err(rejection), Ok(text)) => {
            // A value may take no bytes, but a message is never empty.
            assert!(rejection.code() == Code::FrameEmpty, "{rejection:?}, framed {text}");
        }
        (Err(rejection), Err(again)) if rejection.code() != Code::FrameEmpty => {
            let place = |rejection: &parqueduct::rejection::Rejection| rejection.issues()[0].offset;
            assert_eq!(again.code(), rejection.code());
            assert_eq!(place(&again), place(&rejection).map(|offset| offset + 10));
        }
        (Err(_), Err(_)) => {}
    }
}

fn check_same(ours: Value<'_>, theirs: &Theirs) {
    assert!(is_same(ours, theirs), "{ours:?} is not {theirs:?}");
}

fn is_same(ours: Value<'_>, theirs: &Theirs) -> bool {
    let integer = |number: i64| ours.node() == Node::I64(number);
    let float = |number: f64| matches!(ours.node(), Node::F64 { value, .. } if value.to_bits() == number.to_bits());
    let text = ours.as_str();
    let day = || NaiveTime::parse_from_str(text?, "%H:%M:%S%.f").ok().map(|time| time - NaiveTime::MIN);
    let instant = || DateTime::parse_from_rfc3339(text?).ok();
    let local = || NaiveDateTime::parse_from_str(text?, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc());
    match theirs {
        Theirs::Null => ours.is_null(),
        Theirs::Boolean(value) => ours.node() == Node::Bool(*value),
        Theirs::Int(number) => integer((*number).into()),
        Theirs::Long(number) => integer(*number),
        Theirs::Float(number) => float((*number).into()),
        Theirs::Double(number) => float(*number),
        Theirs::Bytes(bytes) | Theirs::Fixed(_, bytes) => text == Some(&*BASE64.encode(bytes)),
        Theirs::String(theirs) | Theirs::Enum(_, theirs) => text == Some(theirs),
        // Where more than one branch is not null, ours tells which it is.
        Theirs::Union(_, theirs) => {
            let mut members = ours.members();
            let tagged = members.next().filter(|_| members.next().is_none());
            is_same(ours, theirs) || tagged.is_some_and(|(_, ours)| is_same(ours, theirs))
        }
        Theirs::Array(theirs) => {
            ours.elements().count() == theirs.len()
                && ours.elements().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        }
        Theirs::Map(theirs) => {
            ours.members().count() == theirs.len()
                && ours.members().all(|(name, ours)| theirs.get(name).is_some_and(|theirs| is_same(ours, theirs)))
        }
        Theirs::Record(theirs) => {
            matches!(ours.node(), Node::Object { .. })
                && ours.members().count() == theirs.len()
                && ours.members().zip(theirs).all(|((name, ours), (theirs, of))| name == theirs && is_same(ours, of))
        }
        Theirs::Decimal(theirs) => unscaled(text) == Some(BigInt::from(theirs.clone())),
        Theirs::BigDecimal(theirs) => unscaled(text) == Some(theirs.as_bigint_and_exponent().0),
        Theirs::Uuid(theirs) => text == Some(&*theirs.to_string()),
        Theirs::Date(days) => {
            let date = text.and_then(|text| text.parse::<NaiveDate>().ok());
            date.map(|date| date - NaiveDate::default()) == Some(TimeDelta::days((*days).into()))
        }
        Theirs::TimeMillis(count) => day() == Some(TimeDelta::milliseconds((*count).into())),
        Theirs::TimeMicros(count) => day() == Some(TimeDelta::microseconds(*count)),
        Theirs::TimestampMillis(count) => instant().map(|time| time.timestamp_millis()) == Some(*count),
        Theirs::TimestampMicros(count) => instant().map(|time| time.timestamp_micros()) == Some(*count),
        Theirs::TimestampNanos(count) => instant().and_then(|time| time.timestamp_nanos_opt()) == Some(*count),
        Theirs::LocalTimestampMillis(count) => local().map(|time| time.timestamp_millis()) == Some(*count),
        Theirs::LocalTimestampMicros(count) => local().map(|time| time.timestamp_micros()) == Some(*count),
        Theirs::LocalTimestampNanos(count) => local().and_then(|time| time.timestamp_nanos_opt()) == Some(*count),
        Theirs::Duration(theirs) => {
            let parts: [u32; 3] = [theirs.months().into(), theirs.days().into(), theirs.millis().into()];
            ours.members().map(|(_, count)| count.node()).eq(parts.map(|count| Node::I64(count.into())))
        }
    }
}

/// A decimal without its point.
fn unscaled(text: Option<&str>) -> Option<BigInt> {
    text?.replace('.', "").parse().ok()
}

/// A schema that is taken is taken again, alike; apache-avro gives it the same fingerprint; and the decoder takes its types
/// for whatever bytes.
pub fn avro_schema(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(types) = Types::parse(text, &[]) else { return };
    assert_eq!(types.text(), text);
    assert!(Types::parse(text, &[]).is_ok_and(|again| again == types), "the same text is the same schema");
    assert!(types.json_schema().is_object() && types.json_schema_of_others().is_object());
    // Theirs keeps what belongs to other kinds of types than the one at hand, which the specification strips; leaves types
    // within one of a namespace without it, which fastavro does not; and panics over a size beyond 63 bits.
    let json: Json = serde_json::from_str(text).expect("a schema is JSON");
    if is_plain(&json) {
        let theirs = Schema::parse_str(text).expect("we take no other").fingerprint::<Rabin>();
        assert_eq!(types.fingerprint()[..], theirs.bytes[..]);
    }
    let mut decoder = AvroDecoder::new(Arc::new(types), Framing::None, LIMITS);
    for byte in [0, 2] {
        let decoded = decoder.decode(&[byte; 40], |tape| text_of(tape, LIMITS.depth_max));
        decoded.map_or_else(|rejection| check_places(&rejection, &[byte; 40]), drop);
    }
}

/// Whether each type and each field of a schema says only what is its own.
fn is_plain(schema: &Json) -> bool {
    match schema {
        Json::Array(branches) => branches.iter().all(is_plain),
        Json::Object(members) => {
            let own: &[&str] = match members.get("type").and_then(Json::as_str) {
                Some("record") => &["fields"],
                Some("enum") => &["symbols", "default"],
                Some("fixed") => &["size"],
                Some("array") => &["items"],
                Some("map") => &["values"],
                _ => &["default", "order"],
            };
            let all = ["type", "name", "doc", "aliases"];
            let parts = ["type", "fields", "items", "values"];
            members.keys().all(|key| all.contains(&&**key) || own.contains(&&**key))
                && members.get("size").is_none_or(Json::is_i64)
                && members.get("name").and_then(Json::as_str).is_none_or(|name| !name.contains('.'))
                && parts.iter().filter_map(|part| members.get(*part)).all(is_plain)
        }
        _ => true,
    }
}
