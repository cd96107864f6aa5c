//! Bodies of every format as documents that a fix can change, and back: what is not changed keeps the very type it had.

mod avro;
mod protobuf;

use rmpv::Value;

use super::json;
use super::tree::Tree;
use crate::decode::{Frame, Wire, wire_of_letter};

/// The document in `body`, if it is one.
pub(super) fn read(wire: &Wire, body: &[u8]) -> Option<Tree> {
    match wire {
        Wire::Json => json::parse(body),
        wire => json::parse(&wire.as_json(body)?),
    }
}

/// `tree`, which was made of `before`, as a body; `None`: the format cannot hold it.
pub(super) fn write(wire: &Wire, tree: &Tree, before: &[u8]) -> Option<Vec<u8>> {
    match wire {
        Wire::Json => Some(tree.to_json_of(before.len() + ROOM_BYTES)),
        Wire::Avro(types, framing) => avro::body(types, *framing, tree),
        Wire::Protobuf(types) => protobuf::body(types, tree),
        Wire::Confluent(format, writers) => {
            // As it was: by the schema it names.
            let frame = Frame::read(*format, before).ok()?;
            let (head, data) = before.split_at(frame.len);
            let body = write(&wire_of_letter(*format, writers, &frame)?, tree, data)?;
            Some([head, &body].concat())
        }
        // Nobody told how the body is written.
        Wire::Auto(_) => None,
        Wire::Msgpack => {
            let before = rmpv::decode::read_value(&mut &before[..]).ok()?;
            Some(packed(&changed(&before, tree)?))
        }
    }
}

/// The JSON document `text` as a body of that format; `None`: it is none, or the format cannot hold it.
pub(in crate::replay) fn of_json(wire: &Wire, text: &[u8]) -> Option<Vec<u8>> {
    match wire {
        Wire::Json => Some(text.to_vec()),
        Wire::Auto(auto) => of_json(&auto.self_told(), text),
        Wire::Msgpack => Some(packed(&fresh(&json::parse(text)?)?)),
        wire => write(wire, &json::parse(text)?, &[]),
    }
}

/// What a body may grow by before its buffer does.
const ROOM_BYTES: usize = 64;

fn packed(value: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    rmpv::encode::write_value(&mut body, value).expect("a Vec takes all bytes");
    body
}

/// `tree` as MessagePack; what is as it was in `before` is written as it was there.
fn changed(before: &Value, tree: &Tree) -> Option<Value> {
    match (before, tree) {
        (Value::Map(pairs), Tree::Object(members)) => {
            let member = |(name, child): &(compact_str::CompactString, Tree)| {
                let old = pairs.iter().find(|(key, _)| key_name(key).as_deref() == Some(name.as_str()));
                match old {
                    Some((key, value)) => Some((key.clone(), changed(value, child)?)),
                    None => Some((name.as_str().into(), fresh(child)?)),
                }
            };
            members.iter().map(member).collect::<Option<_>>().map(Value::Map)
        }
        (Value::Array(old), Tree::Array(elements)) => {
            let element = |(at, element): (usize, &Tree)| match old.get(at) {
                Some(old) => changed(old, element),
                None => fresh(element),
            };
            elements.iter().enumerate().map(element).collect::<Option<_>>().map(Value::Array)
        }
        (old, tree) if read(&Wire::Msgpack, &packed(old)).as_ref() == Some(tree) => Some(old.clone()),
        (_, tree) => fresh(tree),
    }
}

/// The name that a key becomes; see `docs/formats.md`.
fn key_name(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => text.as_str().map(str::to_owned),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

fn fresh(tree: &Tree) -> Option<Value> {
    Some(match tree {
        Tree::Null => Value::Nil,
        Tree::Bool(value) => Value::Boolean(*value),
        Tree::Number(text) => match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(number), _) if text != "-0" => number.into(),
            (_, Ok(number)) => number.into(),
            _ => {
                let number: f64 = text.parse().ok()?;
                // Whole numbers of more than 64 bits would be rounded.
                let is_whole = !text.contains(['.', 'e', 'E']) && text != "-0";
                (number.is_finite() && !is_whole).then_some(Value::F64(number))?
            }
        },
        Tree::Text(text) => text.as_str().into(),
        Tree::Array(elements) => Value::Array(elements.iter().map(fresh).collect::<Option<_>>()?),
        Tree::Object(members) => {
            let member =
                |(name, value): &(compact_str::CompactString, Tree)| Some((name.as_str().into(), fresh(value)?));
            Value::Map(members.iter().map(member).collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f32>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::F32),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::F64),
            "\\PC{0,8}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Binary),
            (0..100_i8, prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(kind, data)| Value::Ext(kind, data)),
            any::<u32>().prop_map(|seconds| Value::Ext(-1, seconds.to_be_bytes().to_vec())),
        ];
        let key = prop_oneof!["[a-z]{1,3}".prop_map(Value::from), (100..200_i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(key.clone().prop_map(|key| packed(&key)), inner, 0..4).prop_map(|pairs| {
                    let key = |bytes: Vec<u8>| rmpv::decode::read_value(&mut &bytes[..]).expect("a key");
                    Value::Map(pairs.into_iter().map(|(name, value)| (key(name), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_not_changed_keeps_its_type(value in any_value(), other in any_value()) {
            let body = packed(&value);
            let tree = read(&Wire::Msgpack, &body).expect("a document");
            prop_assert_eq!(write(&Wire::Msgpack, &tree, &body), Some(body.clone()));
            // Beside a member that is new.
            let both = Value::Map(vec![("kept".into(), value.clone()), ("other".into(), other)]);
            let mut tree = read(&Wire::Msgpack, &packed(&both)).expect("a document");
            *tree.child_mut("other").expect("it is there") = Tree::Text("new".into());
            let changed = write(&Wire::Msgpack, &tree, &packed(&both)).expect("it can be held");
            let expected = Value::Map(vec![("kept".into(), value), ("other".into(), "new".into())]);
            prop_assert_eq!(changed, packed(&expected));
        }

        #[test]
        fn documents_become_bodies_that_read_the_same(value in any_value()) {
            let json = Wire::Msgpack.as_json(&packed(&value)).expect("a document");
            let body = of_json(&Wire::Msgpack, &json).expect("it can be held");
            prop_assert_eq!(Wire::Msgpack.as_json(&body), Some(json));
        }
    }

    #[test]
    fn what_messagepack_cannot_hold_is_not_rounded() {
        for (text, held) in [
            ("18446744073709551615", true),
            ("18446744073709551616", false),
            ("-9223372036854775809", false),
            ("1e400", false),
            ("-0", true),
            ("1.5", true),
        ] {
            assert_eq!(of_json(&Wire::Msgpack, text.as_bytes()).is_some(), held, "{text}");
        }
    }
}
