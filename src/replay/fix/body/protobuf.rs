//! A document as a Protobuf message of a type, the inverse of what the decoder makes of one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::DateTime;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::super::tree::Tree;
use crate::decode::UNKNOWN_FIELDS;
use crate::schema::protobuf::{Types, WellKnown};

/// `tree` as a body; `None`: the type cannot hold it.
pub(super) fn body(types: &Types, tree: &Tree) -> Option<Vec<u8>> {
    let Tree::Object(members) = tree else { return None };
    Some(message(types.message(), members)?.encode_to_vec())
}

type Members = [(compact_str::CompactString, Tree)];

fn message(of: &MessageDescriptor, members: &Members) -> Option<DynamicMessage> {
    let mut message = DynamicMessage::new(of.clone());
    for (name, tree) in members {
        if name == UNKNOWN_FIELDS {
            message.merge(BASE64.decode(text(tree)?).ok()?.as_slice()).ok()?;
        } else if let Some(field) = of.get_field_by_name(name) {
            message.set_field(&field, field_value(&field, tree)?);
        } else {
            let extension = of.get_extension_by_json_name(name)?;
            let value = match (extension.is_list(), tree) {
                (true, Tree::Array(elements)) => list(&extension.kind(), elements)?,
                (false, tree) => value(&extension.kind(), tree)?,
                _ => return None,
            };
            message.set_extension(&extension, value);
        }
    }
    let is_missing = |field: FieldDescriptor| field.is_required() && !message.has_field(&field);
    (!of.fields().any(is_missing)).then_some(message)
}

fn text(tree: &Tree) -> Option<&str> {
    match tree {
        Tree::Text(text) => Some(text),
        _ => None,
    }
}

fn field_value(field: &FieldDescriptor, tree: &Tree) -> Option<Value> {
    match (field.kind(), tree) {
        (Kind::Message(entry), Tree::Object(members)) if field.is_map() => {
            let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
            let entry = |(name, tree): &(compact_str::CompactString, Tree)| {
                Some((key(&key_kind, name)?, value(&value_kind, tree)?))
            };
            members.iter().map(entry).collect::<Option<_>>().map(Value::Map)
        }
        (kind, Tree::Array(elements)) if field.is_list() => list(&kind, elements),
        (kind, tree) if !field.is_list() && !field.is_map() => value(&kind, tree),
        _ => None,
    }
}

fn list(kind: &Kind, elements: &[Tree]) -> Option<Value> {
    elements.iter().map(|element| value(kind, element)).collect::<Option<_>>().map(Value::List)
}

fn key(kind: &Kind, name: &str) -> Option<MapKey> {
    Some(match kind {
        Kind::Bool => MapKey::Bool(name.parse().ok()?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(name.parse().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(name.parse().ok()?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(name.parse().ok()?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(name.parse().ok()?),
        _ => MapKey::String(name.to_owned()),
    })
}

fn value(kind: &Kind, tree: &Tree) -> Option<Value> {
    Some(match (kind, tree) {
        (Kind::Bool, Tree::Bool(value)) => Value::Bool(*value),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32, Tree::Number(text)) => Value::I32(text.parse().ok()?),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64, Tree::Number(text)) => Value::I64(text.parse().ok()?),
        (Kind::Uint32 | Kind::Fixed32, Tree::Number(text)) => Value::U32(text.parse().ok()?),
        (Kind::Uint64 | Kind::Fixed64, Tree::Number(text)) => Value::U64(text.parse().ok()?),
        (Kind::Float, Tree::Number(text)) => Value::F32(text.parse().ok().filter(|value: &f32| value.is_finite())?),
        (Kind::Double, Tree::Number(text)) => Value::F64(text.parse().ok().filter(|value: &f64| value.is_finite())?),
        (Kind::String, Tree::Text(text)) => Value::String(text.to_string()),
        (Kind::Bytes, Tree::Text(text)) => Value::Bytes(BASE64.decode(text.as_str()).ok()?.into()),
        (Kind::Enum(of), Tree::Text(text)) => match of.get_value_by_name(text) {
            Some(value) => Value::EnumNumber(value.number()),
            None => Value::EnumNumber(text.parse().ok()?),
        },
        (Kind::Message(of), tree) => Value::Message(any_message(of, tree)?),
        _ => return None,
    })
}

fn any_message(of: &MessageDescriptor, tree: &Tree) -> Option<DynamicMessage> {
    let Some(known) = WellKnown::of(of) else {
        let Tree::Object(members) = tree else { return None };
        return message(of, members);
    };
    let mut message = DynamicMessage::new(of.clone());
    let mut set = |number: u32, value: Value| message.try_set_field_by_number(number, value).ok();
    match (known, tree) {
        (WellKnown::Timestamp, Tree::Text(text)) => {
            let time = DateTime::parse_from_rfc3339(text).ok()?;
            set(1, Value::I64(time.timestamp()))?;
            set(2, Value::I32(i32::try_from(time.timestamp_subsec_nanos()).ok()?))?;
        }
        (WellKnown::Duration, Tree::Text(text)) => {
            let (seconds, nanos) = duration(text)?;
            set(1, Value::I64(seconds))?;
            set(2, Value::I32(nanos))?;
        }
        (WellKnown::FieldMask, Tree::Text(text)) => {
            let paths = text.split(',').filter(|path| !path.is_empty()).map(|path| Value::String(path.to_owned()));
            set(1, Value::List(paths.collect()))?;
        }
        (WellKnown::Wrapper | WellKnown::Struct | WellKnown::ListValue, tree) => {
            set(1, field_value(&of.get_field(1)?, tree)?)?;
        }
        (WellKnown::Value, tree) => {
            let name = match tree {
                Tree::Null => "null_value",
                Tree::Bool(_) => "bool_value",
                Tree::Number(_) => "number_value",
                Tree::Text(_) => "string_value",
                Tree::Array(_) => "list_value",
                Tree::Object(_) => "struct_value",
            };
            let field = of.get_field_by_name(name)?;
            let value = match tree {
                Tree::Null => Value::EnumNumber(0),
                tree => value(&field.kind(), tree)?,
            };
            message.set_field(&field, value);
        }
        (WellKnown::Any, Tree::Object(members)) => {
            let (_, url) = members.iter().find(|(name, _)| name == "@type")?;
            let url = text(url)?;
            let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
            let rest: Vec<_> = members.iter().filter(|(name, _)| name != "@type").cloned().collect();
            let alone = || rest.iter().find(|(name, _)| name == "value").map(|(_, value)| value);
            let content = match of.parent_pool().get_message_by_name(name) {
                Some(inner) if WellKnown::of(&inner).is_some() => any_message(&inner, alone()?)?.encode_to_vec(),
                Some(inner) => self::message(&inner, &rest)?.encode_to_vec(),
                None => BASE64.decode(text(alone()?)?).ok()?,
            };
            set(1, Value::String(url.to_owned()))?;
            set(2, Value::Bytes(content.into()))?;
        }
        _ => return None,
    }
    Some(message)
}

/// Seconds and nanoseconds of `-1.5s`, which have one sign.
fn duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sign = if is_negative { -1 } else { 1 };
    let (seconds, nanos): (i64, i32) = (whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?);
    Some((seconds * sign, nanos * sign as i32))
}
