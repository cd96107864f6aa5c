//! MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec.md>) to a tape. How its types become JSON's is told in
//! `docs/formats.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat};
use rmp::Marker;
use rmp::decode::{RmpRead, ValueReadError};

use super::Limits;
use super::binary::{Bad, Cursor, within};
use super::writer::TapeWriter;
use crate::rejection::{Code, Rejection};
use crate::value::Tape;

/// The extension type of timestamps.
const TIMESTAMP: i8 = -1;

/// Decodes MessagePack bodies, one value each.
pub struct MsgpackDecoder {
    limits: Limits,
    writer: TapeWriter,
}

impl MsgpackDecoder {
    pub fn new(limits: Limits) -> Self {
        Self { limits: limits.within_offsets(), writer: TapeWriter::default() }
    }

    /// Decodes `body` and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// One issue saying why `body` is not exactly one value within the limits, with its offset: `frame.empty`,
    /// `frame.too_large`, or one of `decode.binary.*`.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        within(self.limits, body)?;
        self.writer.clear();
        let mut reader = Reader { cursor: Cursor::new(body, 0, "a whole MessagePack value"), writer: &mut self.writer };
        reader.value(self.limits.depth_max)?;
        reader.cursor.end()?;
        Ok(self.writer.read(then))
    }
}

struct Reader<'b, 'w> {
    cursor: Cursor<'b>,
    writer: &'w mut TapeWriter,
}

impl<'b> Reader<'b, '_> {
    /// What follows a marker: a number, read as its type is.
    fn number<T>(&mut self, read: impl FnOnce(&mut &'b [u8]) -> Result<T, ValueReadError>) -> Result<T, Bad> {
        read(&mut self.cursor.rest).map_err(|_| self.cursor.truncated())
    }

    fn length(&mut self, bytes: usize) -> Result<usize, Bad> {
        let length = match bytes {
            1 => self.number(|rest| rest.read_data_u8())?.into(),
            2 => self.number(|rest| rest.read_data_u16())?.into(),
            _ => self.number(|rest| rest.read_data_u32())?,
        };
        Ok(length as usize)
    }

    fn marker(&mut self) -> Result<Marker, Bad> {
        Ok(Marker::from_u8(self.cursor.take(1)?[0]))
    }

    /// One value, in which `depth_left` more may stand within each other.
    fn value(&mut self, depth_left: usize) -> Result<(), Bad> {
        match self.marker()? {
            Marker::Null => self.writer.null(),
            Marker::True => self.writer.bool(true),
            Marker::False => self.writer.bool(false),
            Marker::F32 => {
                let value = self.number(|rest| rest.read_data_f32())?;
                self.float(value.into())?;
            }
            Marker::F64 => {
                let value = self.number(|rest| rest.read_data_f64())?;
                self.float(value)?;
            }
            Marker::FixArray(len) => self.array(len.into(), depth_left)?,
            Marker::Array16 => {
                let len = self.length(2)?;
                self.array(len, depth_left)?;
            }
            Marker::Array32 => {
                let len = self.length(4)?;
                self.array(len, depth_left)?;
            }
            Marker::FixMap(len) => self.map(len.into(), depth_left)?,
            Marker::Map16 => {
                let len = self.length(2)?;
                self.map(len, depth_left)?;
            }
            Marker::Map32 => {
                let len = self.length(4)?;
                self.map(len, depth_left)?;
            }
            marker => match self.scalar(marker)? {
                Scalar::Text(text) => self.writer.text(text),
                Scalar::Binary(bytes) => self.writer.text_by(|out| BASE64.encode_string(bytes, out)),
                Scalar::Signed(number) => self.writer.i64(number),
                Scalar::Unsigned(number) => self.writer.u64(number),
                Scalar::Extension(TIMESTAMP, bytes) => {
                    let time = timestamp(bytes).ok_or_else(|| {
                        self.cursor.bad(Code::BinaryInvalid, "a timestamp of 4, 8 or 12 bytes, in range", "another one")
                    })?;
                    self.writer.text(&time);
                }
                Scalar::Extension(kind, bytes) => {
                    let object = self.writer.begin_object(2);
                    self.writer.text("ext");
                    self.writer.i64(kind.into());
                    self.writer.text("data");
                    self.writer.text_by(|out| BASE64.encode_string(bytes, out));
                    self.writer.end(object);
                }
            },
        }
        Ok(())
    }

    fn scalar(&mut self, marker: Marker) -> Result<Scalar<'b>, Bad> {
        Ok(match marker {
            Marker::FixPos(number) => Scalar::Signed(number.into()),
            Marker::FixNeg(number) => Scalar::Signed(number.into()),
            Marker::U8 => Scalar::Signed(self.number(|rest| rest.read_data_u8())?.into()),
            Marker::U16 => Scalar::Signed(self.number(|rest| rest.read_data_u16())?.into()),
            Marker::U32 => Scalar::Signed(self.number(|rest| rest.read_data_u32())?.into()),
            Marker::U64 => Scalar::Unsigned(self.number(|rest| rest.read_data_u64())?),
            Marker::I8 => Scalar::Signed(self.number(|rest| rest.read_data_i8())?.into()),
            Marker::I16 => Scalar::Signed(self.number(|rest| rest.read_data_i16())?.into()),
            Marker::I32 => Scalar::Signed(self.number(|rest| rest.read_data_i32())?.into()),
            Marker::I64 => Scalar::Signed(self.number(|rest| rest.read_data_i64())?),
            Marker::FixStr(len) => Scalar::Text(self.cursor.text(len.into())?),
            Marker::Str8 => {
                let len = self.length(1)?;
                Scalar::Text(self.cursor.text(len)?)
            }
            Marker::Str16 => {
                let len = self.length(2)?;
                Scalar::Text(self.cursor.text(len)?)
            }
            Marker::Str32 => {
                let len = self.length(4)?;
                Scalar::Text(self.cursor.text(len)?)
            }
            Marker::Bin8 => Scalar::Binary(self.sized(1)?),
            Marker::Bin16 => Scalar::Binary(self.sized(2)?),
            Marker::Bin32 => Scalar::Binary(self.sized(4)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => {
                let len = self.length(1)?;
                self.extension(len)?
            }
            Marker::Ext16 => {
                let len = self.length(2)?;
                self.extension(len)?
            }
            Marker::Ext32 => {
                let len = self.length(4)?;
                self.extension(len)?
            }
            // 0xc1, which the format never uses; what else there is was looked at before.
            _ => return Err(self.cursor.bad(Code::BinaryInvalid, "a MessagePack value", "a byte that begins none")),
        })
    }

    fn sized(&mut self, bytes: usize) -> Result<&'b [u8], Bad> {
        let length = self.length(bytes)?;
        self.cursor.take(length)
    }

    fn extension(&mut self, len: usize) -> Result<Scalar<'b>, Bad> {
        let kind = self.number(|rest| rest.read_data_i8())?;
        Ok(Scalar::Extension(kind, self.cursor.take(len)?))
    }

    fn float(&mut self, value: f64) -> Result<(), Bad> {
        let value = self.cursor.finite(value)?;
        self.writer.f64(value);
        Ok(())
    }

    fn array(&mut self, len: usize, depth_left: usize) -> Result<(), Bad> {
        let depth_left = self.cursor.deeper(depth_left)?;
        let array = self.writer.begin_array(len as u32);
        for _ in 0..len {
            self.value(depth_left)?;
        }
        self.writer.end(array);
        Ok(())
    }

    fn map(&mut self, len: usize, depth_left: usize) -> Result<(), Bad> {
        let depth_left = self.cursor.deeper(depth_left)?;
        let begins = self.cursor.offset();
        let object = self.writer.begin_object(len as u32);
        for _ in 0..len {
            self.key()?;
            self.value(depth_left)?;
        }
        let object = self.writer.end(object);
        if self.writer.repeats_a_name(&object) {
            let bad = self.cursor.bad(Code::BinaryDuplicateKey, "a name once", "the name again");
            return Err(Bad { offset: begins, ..bad });
        }
        Ok(())
    }

    /// A key becomes a name: texts as they are, whole numbers in decimal, booleans as words.
    fn key(&mut self) -> Result<(), Bad> {
        let no_name =
            |reader: &Self| reader.cursor.bad(Code::BinaryKey, "a text, a whole number or a boolean as key", "another");
        match self.marker()? {
            Marker::True => self.writer.text("true"),
            Marker::False => self.writer.text("false"),
            Marker::Null
            | Marker::F32
            | Marker::F64
            | Marker::FixArray(_)
            | Marker::Array16
            | Marker::Array32
            | Marker::FixMap(_)
            | Marker::Map16
            | Marker::Map32 => return Err(no_name(self)),
            marker => match self.scalar(marker)? {
                Scalar::Text(text) => self.writer.text(text),
                Scalar::Signed(number) => self.writer.text(&number.to_string()),
                Scalar::Unsigned(number) => self.writer.text(&number.to_string()),
                Scalar::Binary(_) | Scalar::Extension(..) => return Err(no_name(self)),
            },
        }
        Ok(())
    }
}

enum Scalar<'b> {
    Text(&'b str),
    Binary(&'b [u8]),
    Signed(i64),
    Unsigned(u64),
    Extension(i8, &'b [u8]),
}

/// RFC 3339 in UTC, with as many digits of a second as it needs.
fn timestamp(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = match bytes.len() {
        4 => (u32::from_be_bytes(bytes.try_into().ok()?).into(), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        12 => {
            let (nanos, seconds) = bytes.split_first_chunk::<4>()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanos))
        }
        _ => return None,
    };
    // Beyond these chrono has leap seconds, which the format does not.
    let time = DateTime::from_timestamp(seconds, nanos).filter(|_| nanos < 1_000_000_000)?;
    // RFC 3339 has years of four digits.
    let year = chrono::Datelike::year(&time);
    (0..=9999).contains(&year).then(|| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { body_bytes_max: 10_000, depth_max: 5 };

    fn decoded(body: &[u8]) -> Result<String, (Code, Option<u64>)> {
        let write = |tape: &Tape<'_>| {
            let mut out = Vec::new();
            tape.root().write_json(&mut out);
            String::from_utf8(out).expect("JSON is UTF-8")
        };
        MsgpackDecoder::new(LIMITS)
            .decode(body, write)
            .map_err(|rejection| (rejection.code(), rejection.issues()[0].offset))
    }

    #[test]
    fn every_type_becomes_what_the_guide_says() {
        for (body, json) in [
            (&[0xc0][..], "null"),
            (&[0xc2], "false"),
            (&[0xc3], "true"),
            (&[0x7f], "127"),
            (&[0xe0], "-32"),
            (&[0xcc, 0xff], "255"),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "18446744073709551615"),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0xca, 0x3f, 0x80, 0, 0], "1.0"),
            (&[0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0], "-0.0"),
            (&[0xa2, 0xc3, 0xa9], "\"é\""),
            (&[0xc4, 2, 0xff, 0x00], "\"/wA=\""),
            (&[0x92, 1, 0x91, 0xc0], "[1,[null]]"),
            (&[0x83, 0xa1, b'a', 1, 0xff, 2, 0xc3, 3], r#"{"a":1,"-1":2,"true":3}"#),
            (&[0xd4, 5, 9], r#"{"ext":5,"data":"CQ=="}"#),
            (&[0xd6, 0xff, 0, 0, 0, 1], "\"1970-01-01T00:00:01Z\""),
            (&[0xd7, 0xff, 0x77, 0x35, 0x94, 0, 0, 0, 0, 2], "\"1970-01-01T00:00:02.500Z\""),
            (
                &[0xc7, 12, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                "\"1969-12-31T23:59:59.000000001Z\"",
            ),
        ] {
            assert_eq!(decoded(body).as_deref(), Ok(json), "{body:02x?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wide = [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xc0; 100]].concat();
        let many: Vec<u8> = (0..40_u8).flat_map(|n| [0xa1, b'a' + n % 26, n]).collect();
        for (body, code, offset) in [
            (&[][..], Code::FrameEmpty, None),
            (&[0xc0; 10_001], Code::FrameTooLarge, None),
            (&[0x92, 1], Code::BinaryTruncated, Some(2)),
            (&[0xcd, 1], Code::BinaryTruncated, Some(2)),
            (&[0xa5, b'a'], Code::BinaryTruncated, Some(2)),
            (&wide, Code::BinaryTruncated, Some(105)),
            (&[0xc0, 0xc0], Code::BinaryTrailing, Some(1)),
            (&[0x91, 0xc1], Code::BinaryInvalid, Some(2)),
            (&[0xa3, b'a', 0xff, b'a'], Code::BinaryUtf8, Some(2)),
            (&[0x82, 0xa1, b'a', 1, 0xa1, b'a', 2], Code::BinaryDuplicateKey, Some(1)),
            // Different keys, the same name.
            (&[0x82, 1, 1, 0xa1, b'1', 2], Code::BinaryDuplicateKey, Some(1)),
            (&[&[0xde, 0, 40][..], &many].concat(), Code::BinaryDuplicateKey, Some(3)),
            (&[0x81, 0xc0, 1], Code::BinaryKey, Some(2)),
            (&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], Code::BinaryNumber, Some(9)),
            (&[0x91; 7], Code::BinaryDepth, Some(6)),
            (&[0xd4, 0xff, 1], Code::BinaryInvalid, Some(3)),
            (&[0xd7, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], Code::BinaryInvalid, Some(10)),
        ] {
            assert_eq!(decoded(body), Err((code, offset)), "{body:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(json) = decoded(&body) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }

        #[test]
        fn what_one_body_left_is_not_in_the_next(one in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = MsgpackDecoder::new(LIMITS);
            let _ = decoder.decode(&one, |_| ());
            let next = decoder.decode(&[0x91, 0xa1, b'x'], |tape| tape.view().nodes.len());
            prop_assert_eq!(next.ok(), Some(2));
        }
    }
}
