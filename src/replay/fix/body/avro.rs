//! A document as an Avro datum of a type, the inverse of what the decoder makes of one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use num_bigint::BigInt;

use super::super::tree::Tree;
use crate::config::Framing;
use crate::schema::avro::{Type, TypeId, Types, Unit, UuidForm};

/// `tree` as a body; `None`: the type cannot hold it.
pub(super) fn body(types: &Types, framing: Framing, tree: &Tree) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if framing == Framing::SingleObject {
        out.extend_from_slice(&[0xc3, 0x01]);
        out.extend_from_slice(&types.fingerprint());
    }
    Writer { types, out: &mut out }.value(types.root(), tree)?;
    Some(out)
}

struct Writer<'t, 'o> {
    types: &'t Types,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_> {
    fn value(&mut self, id: TypeId, tree: &Tree) -> Option<()> {
        let types = self.types;
        match (types.of(id), tree) {
            (Type::Null, Tree::Null) => {}
            (Type::Boolean, Tree::Bool(value)) => self.out.push((*value).into()),
            (Type::Int, Tree::Number(text)) => self.long(text.parse::<i32>().ok()?.into()),
            (Type::Long, Tree::Number(text)) => self.long(text.parse().ok()?),
            (Type::Float, Tree::Number(text)) => {
                let value: f32 = text.parse().ok()?;
                self.out.extend_from_slice(&value.is_finite().then(|| value.to_le_bytes())?);
            }
            (Type::Double, Tree::Number(text)) => {
                let value: f64 = text.parse().ok()?;
                self.out.extend_from_slice(&value.is_finite().then(|| value.to_le_bytes())?);
            }
            (Type::Bytes, Tree::Text(text)) => self.sized(&BASE64.decode(text.as_str()).ok()?),
            (Type::String | Type::Uuid(UuidForm::Text), Tree::Text(text)) => self.sized(text.as_bytes()),
            (Type::Fixed(len), Tree::Text(text)) => {
                let bytes = BASE64.decode(text.as_str()).ok()?;
                self.out.extend_from_slice((bytes.len() == *len).then_some(&bytes)?);
            }
            (Type::Enum(symbols), Tree::Text(text)) => {
                self.long(symbols.iter().position(|symbol| symbol.as_str() == text.as_str())? as i64);
            }
            (Type::Array(items), Tree::Array(elements)) => {
                self.block(elements.len());
                elements.iter().try_for_each(|element| self.value(*items, element))?;
                self.end_blocks(elements.len());
            }
            (Type::Map(values), Tree::Object(members)) => {
                self.block(members.len());
                for (name, value) in members {
                    self.sized(name.as_bytes());
                    self.value(*values, value)?;
                }
                self.end_blocks(members.len());
            }
            (Type::Union(branches), tree) => {
                let place = branches.iter().position(|branch| match (&branch.tag, tree) {
                    (None, Tree::Null) => *types.of(branch.of) == Type::Null,
                    (None, _) => *types.of(branch.of) != Type::Null,
                    (Some(tag), Tree::Object(members)) => {
                        matches!(members.as_slice(), [(name, _)] if name.as_str() == tag.as_str())
                    }
                    (Some(_), _) => false,
                })?;
                self.long(place as i64);
                match (&branches[place].tag, tree) {
                    (Some(_), Tree::Object(members)) => self.value(branches[place].of, &members[0].1)?,
                    _ => self.value(branches[place].of, tree)?,
                }
            }
            (Type::Record(fields), Tree::Object(members)) => {
                let mut written = 0;
                for field in fields {
                    let member = members.iter().find(|(name, _)| name.as_str() == field.name.as_str());
                    written += usize::from(member.is_some());
                    // Where there is no value, none is one that may be null.
                    self.value(field.of, member.map_or(&Tree::Null, |(_, value)| value))?;
                }
                // What the type does not declare has no place in it.
                if written != members.len() {
                    return None;
                }
            }
            (Type::Decimal { scale, fixed, .. }, Tree::Text(text)) => {
                let bytes = unscaled(text, *scale)?.to_signed_bytes_be();
                match fixed {
                    None => self.sized(&bytes),
                    Some(len) => {
                        let missing = len.checked_sub(bytes.len())?;
                        let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
                        self.out.extend(std::iter::repeat_n(sign, missing));
                        self.out.extend_from_slice(&bytes);
                    }
                }
            }
            (Type::BigDecimal, Tree::Text(text)) => {
                let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                let bytes = unscaled(text, scale)?.to_signed_bytes_be();
                let mut inner = Vec::new();
                let mut writer = Writer { types, out: &mut inner };
                writer.sized(&bytes);
                writer.long(scale as i64);
                self.sized(&inner);
            }
            (Type::Uuid(form), Tree::Text(text)) => {
                let digits: String = text.chars().filter(|letter| *letter != '-').collect();
                if digits.len() != 32 || !digits.is_ascii() {
                    return None;
                }
                if *form == UuidForm::Bytes {
                    self.long(16);
                }
                for at in (0..32).step_by(2) {
                    self.out.push(u8::from_str_radix(&digits[at..at + 2], 16).ok()?);
                }
            }
            (Type::Date, Tree::Text(text)) => {
                let date: NaiveDate = text.parse().ok()?;
                self.long(date.to_epoch_days().into());
            }
            (Type::Time(unit), Tree::Text(text)) => {
                let time: NaiveTime = text.parse().ok()?;
                let nanos = i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(time.nanosecond());
                self.long(whole(nanos, *unit)?);
            }
            (Type::Timestamp(unit), Tree::Text(text)) => {
                let time = DateTime::parse_from_rfc3339(text).ok()?;
                self.instant(time.to_utc(), *unit)?;
            }
            (Type::LocalTimestamp(unit), Tree::Text(text)) => {
                let time: NaiveDateTime = text.parse().ok()?;
                self.instant(time.and_utc(), *unit)?;
            }
            (Type::Duration, Tree::Object(members)) => {
                if members.len() != 3 {
                    return None;
                }
                for name in ["months", "days", "millis"] {
                    let (_, value) = members.iter().find(|(member, _)| member == name)?;
                    let Tree::Number(text) = value else { return None };
                    self.out.extend_from_slice(&text.parse::<u32>().ok()?.to_le_bytes());
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// As a variable-length zig-zag number.
    fn long(&mut self, value: i64) {
        let mut bits = ((value << 1) ^ (value >> 63)) as u64;
        while bits >= 0x80 {
            self.out.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        self.out.push(bits as u8);
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        self.out.extend_from_slice(bytes);
    }

    /// The one block of an array or a map, which ends with one of nothing.
    fn block(&mut self, len: usize) {
        self.long(len as i64);
    }

    fn end_blocks(&mut self, len: usize) {
        if len > 0 {
            self.long(0);
        }
    }

    fn instant(&mut self, time: DateTime<chrono::Utc>, unit: Unit) -> Option<()> {
        let nanos = i64::from(time.timestamp_subsec_nanos());
        let (per_second, fraction) = (per_second(unit), whole(nanos, unit)?);
        self.long(time.timestamp().checked_mul(per_second)?.checked_add(fraction)?);
        Some(())
    }
}

fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000,
        Unit::Micros => 1_000_000,
        Unit::Nanos => 1_000_000_000,
    }
}

/// Nanoseconds in that unit, if nothing is lost.
fn whole(nanos: i64, unit: Unit) -> Option<i64> {
    let nanos_per_unit = 1_000_000_000 / per_second(unit);
    (nanos % nanos_per_unit == 0).then_some(nanos / nanos_per_unit)
}

/// The digits of a decimal with exactly that scale, or one that gets there by zeros.
fn unscaled(text: &str, scale: usize) -> Option<BigInt> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = scale.checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()
}
