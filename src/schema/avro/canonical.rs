//! The Parsing Canonical Form and its fingerprint, as the specification has them. The library's form keeps what logical
//! types add, and so gives other fingerprints than producers do.

use std::fmt::Write;

use super::{Type, TypeId, Types, UuidForm};

/// The form of the whole schema.
pub(super) fn of(types: &Types) -> String {
    let mut out = String::new();
    let mut defined = vec![false; types.types.len()];
    write(types, types.root, &mut defined, &mut out).expect("a String takes all text");
    out
}

/// CRC-64-AVRO, little-endian.
pub(super) fn rabin(canonical: &str) -> [u8; 8] {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    let step = |bits: u64| (bits >> 1) ^ (EMPTY & (bits & 1).wrapping_neg());
    let table = |byte: u64| (0..8).fold(byte, |bits, _| step(bits));
    canonical.bytes().fold(EMPTY, |bits, byte| (bits >> 8) ^ table((bits ^ u64::from(byte)) & 0xff)).to_le_bytes()
}

/// Names are letters, digits, `_` and dots, which JSON needs not escape.
fn write(types: &Types, id: TypeId, defined: &mut [bool], out: &mut String) -> std::fmt::Result {
    let name = types.names.iter().find(|(named, _)| *named == id).map(|(_, name)| name.as_str());
    if let Some(name) = name {
        if std::mem::replace(&mut defined[id.0 as usize], true) {
            return write!(out, "\"{name}\"");
        }
        write!(out, "{{\"name\":\"{name}\",\"type\":")?;
    }
    match types.of(id) {
        Type::Record(fields) => {
            out.push_str("\"record\",\"fields\":[");
            for (place, field) in fields.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                write!(out, "{comma}{{\"name\":\"{}\",\"type\":", field.name)?;
                write(types, field.of, defined, out)?;
                out.push('}');
            }
            out.push(']');
        }
        Type::Enum(symbols) => write!(out, "\"enum\",\"symbols\":[\"{}\"]", symbols.join("\",\""))?,
        Type::Fixed(size) | Type::Decimal { fixed: Some(size), .. } => write!(out, "\"fixed\",\"size\":{size}")?,
        Type::Uuid(UuidForm::Fixed) => out.push_str("\"fixed\",\"size\":16"),
        Type::Duration => out.push_str("\"fixed\",\"size\":12"),
        Type::Array(items) => {
            out.push_str("{\"type\":\"array\",\"items\":");
            write(types, *items, defined, out)?;
            out.push('}');
        }
        Type::Map(values) => {
            out.push_str("{\"type\":\"map\",\"values\":");
            write(types, *values, defined, out)?;
            out.push('}');
        }
        Type::Union(branches) => {
            out.push('[');
            for (place, branch) in branches.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(types, branch.of, defined, out)?;
            }
            out.push(']');
        }
        Type::Null => out.push_str("\"null\""),
        Type::Boolean => out.push_str("\"boolean\""),
        Type::Int | Type::Date | Type::Time(super::Unit::Millis) => out.push_str("\"int\""),
        Type::Long | Type::Time(_) | Type::Timestamp(_) | Type::LocalTimestamp(_) => out.push_str("\"long\""),
        Type::Float => out.push_str("\"float\""),
        Type::Double => out.push_str("\"double\""),
        Type::String | Type::Uuid(UuidForm::Text) => out.push_str("\"string\""),
        Type::Bytes | Type::Decimal { fixed: None, .. } | Type::BigDecimal | Type::Uuid(UuidForm::Bytes) => {
            out.push_str("\"bytes\"");
        }
    }
    if name.is_some() {
        out.push('}');
    }
    Ok(())
}
