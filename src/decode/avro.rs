//! Avro data (<https://avro.apache.org/docs/1.12.0/specification/>) to a tape, by the schema they were written with. How
//! its types become JSON's is told in `docs/formats.md`.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat};
use num_bigint::BigInt;

use super::Limits;
use super::binary::{Bad, Cursor, within};
use super::writer::TapeWriter;
use crate::config::Framing;
use crate::rejection::{Code, Issue, Rejection};
use crate::schema::avro::{Branch, Field, Type, TypeId, Types, Unit, UuidForm};
use crate::value::Tape;

/// What single-object encoding begins with; the schema's fingerprint follows.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// The longest decimal, in bytes: its digits cost the square of it.
const DECIMAL_BYTES_MAX: usize = 1024;

/// Nulls and records take no bytes of their own. For each byte of a body, and beside, there are at most so many of them:
/// what a value takes in memory is bounded by what it takes in a body.
const BARE_A_BYTE_MAX: u64 = 2;
const BARE_BESIDE_MAX: u64 = 65_536;

/// Decodes Avro bodies, one datum each.
pub struct AvroDecoder {
    types: Arc<Types>,
    framing: Framing,
    limits: Limits,
    writer: TapeWriter,
}

impl AvroDecoder {
    pub fn new(types: Arc<Types>, framing: Framing, limits: Limits) -> Self {
        Self { types, framing, limits: limits.within_offsets(), writer: TapeWriter::default() }
    }

    /// Decodes `body` and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// One issue saying why `body` is not exactly one datum within the limits, with its offset: `frame.empty`,
    /// `frame.too_large`, `decode.framing`, `schema.unknown`, or one of `decode.binary.*`.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        // A record without fields takes no bytes, but no message is meant to be empty.
        within(self.limits, body)?;
        self.decode_data(body, then)
    }

    /// The same of data that may be of no bytes, for a frame stood before them.
    pub(super) fn decode_data<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        let skipped = self.framed(body)?;
        self.writer.clear();
        let mut reader = Reader {
            cursor: Cursor::new(body, skipped, "a whole Avro datum"),
            bare_left: body.len() as u64 * BARE_A_BYTE_MAX + BARE_BESIDE_MAX,
            types: &self.types,
            writer: &mut self.writer,
        };
        reader.value(self.types.root(), self.limits.depth_max)?;
        reader.cursor.end()?;
        Ok(self.writer.read(then))
    }

    /// How `body` is framed, by its own showing.
    pub fn framing_of(types: &Types, body: &[u8]) -> Framing {
        match body.strip_prefix(&SINGLE_OBJECT).is_some_and(|rest| rest.starts_with(&types.fingerprint())) {
            true => Framing::SingleObject,
            false => Framing::None,
        }
    }

    /// Whether `body` begins as a single object, of whatever schema.
    pub(super) fn is_framed(body: &[u8]) -> bool {
        body.starts_with(&SINGLE_OBJECT)
    }

    /// Bytes of the frame before the datum.
    fn framed(&self, body: &[u8]) -> Result<usize, Rejection> {
        match self.framing {
            // Whoever reads that frame hands over what stands behind it.
            Framing::None | Framing::Confluent => Ok(0),
            Framing::SingleObject => {
                let Some((fingerprint, _)) = body.strip_prefix(&SINGLE_OBJECT).and_then(<[u8]>::split_first_chunk)
                else {
                    let expected = "c3 01 and the fingerprint of a schema";
                    return Err(Issue::at(Code::Framing, "", expected, "other bytes").into());
                };
                if *fingerprint != self.types.fingerprint() {
                    let hex: String = fingerprint.iter().rev().map(|byte| format!("{byte:02x}")).collect();
                    let actual = format!("fingerprint {hex}");
                    return Err(Issue::at(Code::SchemaUnknown, "", "a schema that is known", actual).into());
                }
                Ok(SINGLE_OBJECT.len() + fingerprint.len())
            }
        }
    }
}

struct Reader<'b, 't, 'w> {
    cursor: Cursor<'b>,
    bare_left: u64,
    types: &'t Types,
    writer: &'w mut TapeWriter,
}

impl Reader<'_, '_, '_> {
    #[cold]
    fn invalid(&self, expected: &'static str, actual: &'static str) -> Bad {
        self.cursor.bad(Code::BinaryInvalid, expected, actual)
    }

    /// One value, in which `depth_left` more may stand within each other.
    fn value(&mut self, id: TypeId, depth_left: usize) -> Result<(), Bad> {
        let types = self.types;
        match types.of(id) {
            Type::Null => {
                self.bare()?;
                self.writer.null();
            }
            Type::Boolean => match self.cursor.array()? {
                [0] => self.writer.bool(false),
                [1] => self.writer.bool(true),
                _ => return Err(self.invalid("a boolean", "another byte")),
            },
            Type::Int => {
                let value = self.int()?;
                self.writer.i64(value.into());
            }
            Type::Long => {
                let value = self.long()?;
                self.writer.i64(value);
            }
            Type::Float => {
                let value = f32::from_le_bytes(self.cursor.array()?);
                let value = self.cursor.finite(value.into())?;
                self.writer.f64(value);
            }
            Type::Double => {
                let value = f64::from_le_bytes(self.cursor.array()?);
                let value = self.cursor.finite(value)?;
                self.writer.f64(value);
            }
            Type::String | Type::Uuid(UuidForm::Text) => {
                let len = self.length()?;
                let text = self.cursor.text(len)?;
                self.writer.text(text);
            }
            Type::Bytes => {
                let len = self.length()?;
                self.bytes(len)?;
            }
            Type::Fixed(len) => {
                if *len == 0 {
                    self.bare()?;
                }
                self.bytes(*len)?;
            }
            Type::Enum(symbols) => {
                let at = self.long()?;
                let symbol = usize::try_from(at).ok().and_then(|at| symbols.get(at));
                let symbol = symbol.ok_or_else(|| self.invalid("a symbol of the enum", "another number"))?;
                self.writer.text(symbol);
            }
            Type::Array(items) => self.array(*items, depth_left)?,
            Type::Map(values) => self.map(*values, depth_left)?,
            Type::Union(branches) => self.union(branches, depth_left)?,
            Type::Record(fields) => self.record(fields, depth_left)?,
            Type::Decimal { scale, fixed, .. } => {
                let len = fixed.map_or_else(|| self.length(), Ok)?;
                let unscaled = self.big_integer(len)?;
                self.decimal(&unscaled, *scale);
            }
            Type::BigDecimal => self.big_decimal()?,
            Type::Uuid(UuidForm::Bytes) => {
                if self.length()? != 16 {
                    return Err(self.invalid("16 bytes of a UUID", "another length"));
                }
                self.uuid()?;
            }
            Type::Uuid(UuidForm::Fixed) => self.uuid()?,
            Type::Date => self.date()?,
            Type::Time(unit) => self.time_of_day(*unit)?,
            Type::Timestamp(unit) => {
                let time = self.instant(*unit)?;
                self.writer.text(&time.to_rfc3339_opts(digits(*unit), true));
            }
            Type::LocalTimestamp(unit) => {
                let time = self.instant(*unit)?.to_rfc3339_opts(digits(*unit), true);
                self.writer.text(time.trim_end_matches('Z'));
            }
            Type::Duration => {
                let object = self.writer.begin_object(3);
                for name in ["months", "days", "millis"] {
                    let count = u32::from_le_bytes(self.cursor.array()?);
                    self.writer.text(name);
                    self.writer.i64(count.into());
                }
                self.writer.end(object);
            }
        }
        Ok(())
    }

    /// Counts a value that takes no bytes of its own.
    fn bare(&mut self) -> Result<(), Bad> {
        match self.bare_left.checked_sub(1) {
            Some(left) => {
                self.bare_left = left;
                Ok(())
            }
            None => Err(self.invalid("values that take bytes", "far more values than bytes")),
        }
    }

    /// A variable-length zig-zag number.
    fn long(&mut self) -> Result<i64, Bad> {
        let mut value = 0_u64;
        for (at, byte) in self.cursor.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.cursor.rest = &self.cursor.rest[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        match self.cursor.rest.len() < 10 {
            true => Err(self.cursor.truncated()),
            false => Err(self.invalid("a number of 64 bits", "a longer one")),
        }
    }

    fn int(&mut self) -> Result<i32, Bad> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.invalid("a number of 32 bits", "a larger one"))
    }

    fn length(&mut self) -> Result<usize, Bad> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| self.invalid("a length", "a negative number"))
    }

    fn bytes(&mut self, len: usize) -> Result<(), Bad> {
        let bytes = self.cursor.take(len)?;
        self.writer.text_by(|out| BASE64.encode_string(bytes, out));
        Ok(())
    }

    fn big_integer(&mut self, len: usize) -> Result<BigInt, Bad> {
        if len > DECIMAL_BYTES_MAX {
            return Err(self.invalid("a decimal of at most 1,024 bytes", "a longer one"));
        }
        Ok(BigInt::from_signed_bytes_be(self.cursor.take(len)?))
    }

    fn decimal(&mut self, unscaled: &BigInt, scale: usize) {
        self.writer.text_by(|out| {
            let digits = unscaled.magnitude().to_string();
            if unscaled.sign() == num_bigint::Sign::Minus {
                out.push('-');
            }
            let whole = digits.len().saturating_sub(scale);
            out.push_str(if whole == 0 { "0" } else { &digits[..whole] });
            if scale > 0 {
                out.push('.');
                out.extend(std::iter::repeat_n('0', scale.saturating_sub(digits.len())));
                out.push_str(&digits[whole..]);
            }
        });
    }

    /// Bytes that hold the number, as bytes with their length, and its scale.
    fn big_decimal(&mut self) -> Result<(), Bad> {
        let len = self.length()?;
        let ends = self.cursor.rest.len().checked_sub(len).ok_or_else(|| self.cursor.truncated())?;
        let len = self.length()?;
        let unscaled = self.big_integer(len)?;
        let scale = self.long()?;
        match usize::try_from(scale) {
            Ok(scale) if scale <= DECIMAL_BYTES_MAX && self.cursor.rest.len() == ends => {
                self.decimal(&unscaled, scale);
                Ok(())
            }
            _ => Err(self.invalid("a decimal with a scale up to 1,024", "another one")),
        }
    }

    fn uuid(&mut self) -> Result<(), Bad> {
        let bytes: [u8; 16] = self.cursor.array()?;
        self.writer.text_by(|out| {
            for (at, byte) in bytes.iter().enumerate() {
                if matches!(at, 4 | 6 | 8 | 10) {
                    out.push('-');
                }
                write!(out, "{byte:02x}").expect("a String takes all text");
            }
        });
        Ok(())
    }

    fn date(&mut self) -> Result<(), Bad> {
        const EPOCH: i32 = 719_163; // 1970-01-01, where day 1 is 0001-01-01
        let days = self.int()?;
        let date = days.checked_add(EPOCH).and_then(NaiveDate::from_num_days_from_ce_opt);
        match date.filter(|date| in_range(date.year())) {
            Some(date) => self.writer.text_by(|out| write!(out, "{date}").expect("a String takes all text")),
            None => return Err(self.invalid("a date of the years 0001 to 9999", "another one")),
        }
        Ok(())
    }

    fn time_of_day(&mut self, unit: Unit) -> Result<(), Bad> {
        let (count, per_second) = match unit {
            Unit::Millis => (self.int()?.into(), 1_000),
            Unit::Micros => (self.long()?, 1_000_000),
            Unit::Nanos => (self.long()?, 1_000_000_000),
        };
        let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
        let seconds = u32::try_from(count.div_euclid(per_second)).ok();
        let time = seconds.and_then(|seconds| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos as u32));
        let time = time.ok_or_else(|| self.invalid("a time of a day", "more than a day"))?;
        let format = match unit {
            Unit::Millis => "%H:%M:%S%.3f",
            Unit::Micros => "%H:%M:%S%.6f",
            Unit::Nanos => "%H:%M:%S%.9f",
        };
        self.writer.text_by(|out| write!(out, "{}", time.format(format)).expect("a String takes all text"));
        Ok(())
    }

    fn instant(&mut self, unit: Unit) -> Result<DateTime<chrono::Utc>, Bad> {
        let count = self.long()?;
        let time = match unit {
            Unit::Millis => DateTime::from_timestamp_millis(count),
            Unit::Micros => DateTime::from_timestamp_micros(count),
            Unit::Nanos => Some(DateTime::from_timestamp_nanos(count)),
        };
        time.filter(|time| in_range(time.year()))
            .ok_or_else(|| self.invalid("an instant of the years 0001 to 9999", "another one"))
    }

    fn record(&mut self, fields: &[Field], depth_left: usize) -> Result<(), Bad> {
        self.bare()?;
        let depth_left = self.cursor.deeper(depth_left)?;
        let object = self.writer.begin_object(fields.len() as u32);
        for field in fields {
            self.writer.text(&field.name);
            self.value(field.of, depth_left)?;
        }
        self.writer.end(object);
        Ok(())
    }

    fn union(&mut self, branches: &[Branch], depth_left: usize) -> Result<(), Bad> {
        let at = self.long()?;
        let branch = usize::try_from(at).ok().and_then(|at| branches.get(at));
        let branch = branch.ok_or_else(|| self.invalid("a branch of the union", "another number"))?;
        let Some(tag) = &branch.tag else { return self.value(branch.of, depth_left) };
        let depth_left = self.cursor.deeper(depth_left)?;
        let object = self.writer.begin_object(1);
        self.writer.text(tag);
        self.value(branch.of, depth_left)?;
        self.writer.end(object);
        Ok(())
    }

    /// How many items the next block of an array or a map has; 0: there is none.
    fn block(&mut self) -> Result<u64, Bad> {
        let count = self.long()?;
        if count < 0 {
            // The size in bytes, for those who skip it.
            self.length()?;
        }
        Ok(count.unsigned_abs())
    }

    fn array(&mut self, items: TypeId, depth_left: usize) -> Result<(), Bad> {
        let depth_left = self.cursor.deeper(depth_left)?;
        let array = self.writer.begin_array(0);
        let mut elements = 0;
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                self.value(items, depth_left)?;
                elements += 1;
            }
        }
        self.writer.end_with(array, elements);
        Ok(())
    }

    fn map(&mut self, values: TypeId, depth_left: usize) -> Result<(), Bad> {
        let depth_left = self.cursor.deeper(depth_left)?;
        let begins = self.cursor.offset();
        let object = self.writer.begin_object(0);
        let mut members = 0;
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let len = self.length()?;
                let name = self.cursor.text(len)?;
                self.writer.text(name);
                self.value(values, depth_left)?;
                members += 1;
            }
        }
        let object = self.writer.end_with(object, members);
        if self.writer.repeats_a_name(&object) {
            let bad = self.cursor.bad(Code::BinaryDuplicateKey, "a name once", "the name again");
            return Err(Bad { offset: begins, ..bad });
        }
        Ok(())
    }
}

/// RFC 3339 has years of four digits, and engines none before the first.
fn in_range(year: i32) -> bool {
    (1..=9999).contains(&year)
}

fn digits(unit: Unit) -> SecondsFormat {
    match unit {
        Unit::Millis => SecondsFormat::Millis,
        Unit::Micros => SecondsFormat::Micros,
        Unit::Nanos => SecondsFormat::Nanos,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: Limits = Limits { body_bytes_max: 100_000, depth_max: 6 };

    fn decoder(of: Value) -> AvroDecoder {
        let schema = json!({"type": "record", "name": "R", "fields": [{"name": "x", "type": of}]});
        let types = Types::parse(&schema.to_string(), &[]).expect("a schema");
        AvroDecoder::new(Arc::new(types), Framing::None, LIMITS)
    }

    /// The JSON of the one field.
    fn decoded(of: Value, body: &[u8]) -> Result<String, (Code, Option<u64>)> {
        let write = |tape: &Tape<'_>| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            String::from_utf8(out).expect("JSON is UTF-8")
        };
        let json = decoder(of).decode(body, write).map_err(|found| (found.code(), found.issues()[0].offset))?;
        Ok(json.strip_prefix("{\"x\":").and_then(|json| json.strip_suffix('}')).expect("a record").to_owned())
    }

    #[test]
    fn every_type_becomes_what_the_guide_says() {
        let logical = |of: &str, name: &str| json!({"type": of, "logicalType": name});
        let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3});
        let long = |value: i64| {
            let mut bits = ((value << 1) ^ (value >> 63)) as u64;
            let mut out = Vec::new();
            while bits >= 0x80 {
                out.push(bits as u8 | 0x80);
                bits >>= 7;
            }
            out.push(bits as u8);
            out
        };
        for (of, body, json) in [
            (json!("boolean"), vec![1], "true"),
            (json!("int"), vec![1], "-1"),
            (json!("long"), long(i64::MIN), "-9223372036854775808"),
            (json!("long"), long(i64::MAX), "9223372036854775807"),
            (json!("float"), vec![0, 0, 0x80, 0x3f], "1.0"),
            (json!("double"), (-0.0_f64).to_le_bytes().to_vec(), "-0.0"),
            (json!("bytes"), vec![4, 0xff, 0], "\"/wA=\""),
            (json!("string"), vec![4, 0xc3, 0xa9], "\"é\""),
            (json!({"type": "fixed", "name": "F", "size": 2}), vec![0xff, 0], "\"/wA=\""),
            (json!({"type": "enum", "name": "E", "symbols": ["A", "B"]}), vec![2], "\"B\""),
            (json!({"type": "array", "items": "int"}), vec![4, 2, 4, 1, 2, 6, 0], "[1,2,3]"),
            (json!({"type": "map", "values": "int"}), vec![2, 2, b'a', 2, 0], "{\"a\":1}"),
            (json!(["null", "int"]), vec![0], "null"),
            (json!(["null", "int"]), vec![2, 8], "4"),
            (json!(["null", "int", "string"]), vec![4, 2, b'a'], "{\"string\":\"a\"}"),
            (decimal.clone(), vec![4, 0xff, 0x85], "\"-0.123\""),
            (decimal.clone(), vec![2, 5], "\"0.005\""),
            (decimal, vec![0], "\"0.000\""),
            (
                logical("string", "uuid"),
                [&[72][..], b"00000000-0000-0000-0000-000000000001"].concat(),
                "\"00000000-0000-0000-0000-000000000001\"",
            ),
            (logical("int", "date"), long(-1), "\"1969-12-31\""),
            (logical("int", "time-millis"), long(3_600_001), "\"01:00:00.001\""),
            (logical("long", "time-micros"), long(86_399_999_999), "\"23:59:59.999999\""),
            (logical("long", "timestamp-millis"), long(-1), "\"1969-12-31T23:59:59.999Z\""),
            (logical("long", "timestamp-micros"), long(1), "\"1970-01-01T00:00:00.000001Z\""),
            (logical("long", "timestamp-nanos"), long(1), "\"1970-01-01T00:00:00.000000001Z\""),
            (logical("long", "local-timestamp-millis"), long(0), "\"1970-01-01T00:00:00.000\""),
        ] {
            assert_eq!(decoded(of.clone(), &body).as_deref(), Ok(json), "{of} {body:02x?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let tree = json!({"type": "record", "name": "T", "fields": [{"name": "t", "type": ["null", "T"]}]});
        for (of, body, code, offset) in [
            (json!("int"), vec![], Code::FrameEmpty, None),
            (json!("string"), vec![8, b'a'], Code::BinaryTruncated, Some(2)),
            (json!("string"), vec![1], Code::BinaryInvalid, Some(1)),
            (json!("string"), vec![4, b'a', 0xff], Code::BinaryUtf8, Some(2)),
            (json!("int"), vec![0x80, 0x80], Code::BinaryTruncated, Some(2)),
            (json!("int"), vec![0xff; 12], Code::BinaryInvalid, Some(0)),
            (json!("int"), vec![0xff, 0xff, 0xff, 0xff, 0x7f], Code::BinaryInvalid, Some(5)),
            (json!("int"), vec![2, 2], Code::BinaryTrailing, Some(1)),
            (json!("boolean"), vec![2], Code::BinaryInvalid, Some(1)),
            (json!("double"), f64::NAN.to_le_bytes().to_vec(), Code::BinaryNumber, Some(8)),
            (json!(["null", "int"]), vec![4], Code::BinaryInvalid, Some(1)),
            (
                json!({"type": "map", "values": "int"}),
                vec![4, 2, b'a', 2, 2, b'a', 2, 0],
                Code::BinaryDuplicateKey,
                Some(0),
            ),
            // More values than there are bytes: no memory is taken for them.
            (
                json!({"type": "array", "items": "null"}),
                vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
                Code::BinaryInvalid,
                Some(7),
            ),
            (tree, vec![2; 50], Code::BinaryDepth, Some(5)),
        ] {
            assert_eq!(decoded(of.clone(), &body), Err((code, offset)), "{of} {body:02x?}");
        }
    }

    #[test]
    fn single_objects_bear_the_fingerprint_of_their_schema() {
        let schema = json!({"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}).to_string();
        let types = Arc::new(Types::parse(&schema, &[]).expect("a schema"));
        let mut decoder = AvroDecoder::new(Arc::clone(&types), Framing::SingleObject, LIMITS);
        let body = [&[0xc3, 0x01][..], &types.fingerprint(), &[2]].concat();
        assert_eq!(decoder.decode(&body, |tape| tape.view().nodes.len()).ok(), Some(3));
        let mut other = body.clone();
        other[2] ^= 1;
        for (body, code) in [(&other[..], Code::SchemaUnknown), (&[2], Code::Framing), (&body[..9], Code::Framing)] {
            assert_eq!(decoder.decode(body, |_| ()).expect_err("refused").code(), code);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_refused_leaves_no_trace(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let of = json!({"type": "record", "name": "N", "fields": [
                {"name": "n", "type": ["null", "N", "string", {"type": "map", "values": ["null", "N"]}]},
                {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
                {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                {"name": "a", "type": {"type": "array", "items": ["null", "int", "N"]}}]});
            let mut decoder = decoder(of);
            let _ = decoder.decode(&body, |tape| tape.view().nodes.len());
            let next = decoder.decode(&[0, 0, 0, 0], |tape| tape.view().nodes.len());
            prop_assert!(next.is_ok(), "{next:?}");
        }
    }
}
