//! Our tape as a JSON representation of the jsonschema crate, so that it validates the tape the decoder made and nothing
//! is parsed or built a second time.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node as JsonNode, NodeIdentity, Object, cmp};
use serde_json::{Number, Value as Expected};

use crate::value::{Elements, Members, Node, Value};

/// The representation.
pub(super) struct TapeJson;

impl Json for TapeJson {
    type Node<'a> = TapeNode<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    /// A look-up walks the members as well, so one pass for all names nearly always costs less.
    const KEYS_PER_LOOKUP: usize = 8;
    /// A tape is a tree.
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(TapeNode<'_>) -> T) -> T {
        f(TapeNode::Name(string))
    }
}

/// A value of the event, or the name of a member on its own, for `propertyNames`.
#[derive(Clone, Copy)]
pub(super) enum TapeNode<'a> {
    Value(Value<'a>),
    Name(&'a str),
}

impl<'a> TapeNode<'a> {
    #[inline]
    fn node(self) -> Node<'a> {
        match self {
            TapeNode::Value(value) => value.node(),
            TapeNode::Name(name) => Node::Str(name),
        }
    }
}

impl<'a> JsonNode<'a, TapeJson> for TapeNode<'a> {
    type Object = TapeObject<'a>;
    type Array = TapeArray<'a>;
    type Number = TapeNumber<'a>;

    #[inline]
    fn as_object(&self) -> Option<TapeObject<'a>> {
        match self {
            TapeNode::Value(value) if matches!(value.node(), Node::Object { .. }) => Some(TapeObject(*value)),
            _ => None,
        }
    }

    #[inline]
    fn as_array(&self) -> Option<TapeArray<'a>> {
        match self {
            TapeNode::Value(value) if matches!(value.node(), Node::Array { .. }) => Some(TapeArray(*value)),
            _ => None,
        }
    }

    #[inline]
    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self.node() {
            Node::Str(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    #[inline]
    fn as_number(&self) -> Option<TapeNumber<'a>> {
        match self {
            TapeNode::Value(value) if self.is_number() => Some(TapeNumber(*value)),
            _ => None,
        }
    }

    #[inline]
    fn is_number(&self) -> bool {
        matches!(self.node(), Node::I64(_) | Node::U64(_) | Node::F64 { .. })
    }

    #[inline]
    fn as_boolean(&self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn is_null(&self) -> bool {
        matches!(self.node(), Node::Null)
    }

    #[inline]
    fn json_type(&self) -> JsonType {
        match self.node() {
            Node::Null => JsonType::Null,
            Node::Bool(_) => JsonType::Boolean,
            Node::I64(_) | Node::U64(_) | Node::F64 { .. } => JsonType::Number,
            Node::Str(_) => JsonType::String,
            Node::Array { .. } => JsonType::Array,
            Node::Object { .. } => JsonType::Object,
        }
    }

    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let Node::Str(text) = self.node() else {
            return None;
        };
        // A code point takes one to four bytes, so most strings need no counting.
        let most = text.len() as u64;
        let fewest = most.div_ceil(4);
        if min <= fewest && most <= max {
            return Some(true);
        }
        if most < min || fewest > max {
            return Some(false);
        }
        Some((min..=max).contains(&(text.chars().count() as u64)))
    }

    fn equals_value(&self, expected: &Expected) -> bool {
        match self {
            TapeNode::Value(value) => equals(*value, expected),
            TapeNode::Name(name) => expected.as_str() == Some(name),
        }
    }

    /// Null, whatever the value: only asked for to put the value into an error, where we have no use for it and an event's
    /// content shall never be. All that decides validity is implemented without it.
    fn to_value(&self) -> Cow<'a, Expected> {
        Cow::Owned(Expected::Null)
    }

    #[inline]
    fn identity(&self) -> Option<NodeIdentity> {
        Some(match self {
            TapeNode::Value(value) => NodeIdentity::tagged(value.tape().nodes.as_ptr() as usize, value.index()),
            // No tape is that long, so this is never a value's.
            TapeNode::Name(name) => NodeIdentity::tagged(name.as_ptr() as usize, u32::MAX),
        })
    }
}

pub(super) struct TapeObject<'a>(Value<'a>);

impl<'a> Object<'a, TapeJson> for TapeObject<'a> {
    type Node = TapeNode<'a>;
    type MemberName = &'a str;
    type MembersIter = TapeMembers<'a>;

    #[inline]
    fn len(&self) -> usize {
        self.0.members().size_hint().0
    }

    #[inline]
    fn get(&self, key: &Box<str>) -> Option<TapeNode<'a>> {
        self.0.get(key).map(TapeNode::Value)
    }

    #[inline]
    fn members(&self) -> TapeMembers<'a> {
        TapeMembers(self.0.members())
    }
}

pub(super) struct TapeMembers<'a>(Members<'a>);

impl<'a> Iterator for TapeMembers<'a> {
    type Item = (&'a str, TapeNode<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name, TapeNode::Value(value)))
    }
}

pub(super) struct TapeArray<'a>(Value<'a>);

impl<'a> Array<'a, TapeJson> for TapeArray<'a> {
    type Node = TapeNode<'a>;
    type ElementsIter = TapeElements<'a>;

    #[inline]
    fn len(&self) -> usize {
        self.0.elements().size_hint().0
    }

    #[inline]
    fn elements(&self) -> TapeElements<'a> {
        TapeElements(self.0.elements())
    }

    fn is_unique(&self) -> bool {
        if self.len() < 2 {
            return true;
        }
        // Sorting bounds the cost for any content; equal elements have equal keys.
        let mut keys: Vec<_> = self
            .0
            .elements()
            .map(|element| {
                let mut key = Vec::new();
                write_key(element, &mut key);
                key
            })
            .collect();
        keys.sort_unstable();
        keys.windows(2).all(|pair| pair[0] != pair[1])
    }
}

pub(super) struct TapeElements<'a>(Elements<'a>);

impl<'a> Iterator for TapeElements<'a> {
    type Item = TapeNode<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(TapeNode::Value)
    }
}

/// A value that is a number.
pub(super) struct TapeNumber<'a>(Value<'a>);

impl JsonNumber for TapeNumber<'_> {
    #[inline]
    fn as_u64(&self) -> Option<u64> {
        match self.0.node() {
            Node::I64(value) => value.try_into().ok(),
            Node::U64(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn as_i64(&self) -> Option<i64> {
        match self.0.node() {
            Node::I64(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn as_f64(&self) -> Option<f64> {
        match self.0.node() {
            Node::I64(value) => Some(value as f64),
            Node::U64(value) => Some(value as f64),
            Node::F64 { value, .. } => Some(value),
            _ => None,
        }
    }

    fn as_str(&self) -> Cow<'_, str> {
        match self.0.number_text() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.to_number().to_string()),
        }
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(match self.0.node() {
            Node::I64(value) => Number::from(value),
            Node::U64(value) => Number::from(value),
            Node::F64 { value, .. } => Number::from_f64(value).expect("decoders refuse numbers that are not finite"),
            _ => unreachable!("only numbers are made into a TapeNumber"),
        })
    }

    #[inline]
    fn is_integer(&self) -> bool {
        match self.0.node() {
            Node::F64 { value, .. } => value.fract() == 0.0,
            _ => true,
        }
    }

    fn is_written_as_integer(&self) -> bool {
        match self.0.node() {
            Node::F64 { .. } => !self.as_str().contains(['.', 'e', 'E']),
            _ => true,
        }
    }
}

/// Equality as JSON Schema has it: numbers by their mathematical value, objects regardless of order.
fn equals(value: Value<'_>, expected: &Expected) -> bool {
    match (value.node(), expected) {
        (Node::Null, Expected::Null) => true,
        (Node::Bool(ours), Expected::Bool(theirs)) => ours == *theirs,
        (Node::Str(ours), Expected::String(theirs)) => ours == theirs,
        (Node::I64(_) | Node::U64(_) | Node::F64 { .. }, Expected::Number(theirs)) => {
            cmp::equal_numbers(&TapeNumber(value), theirs)
        }
        (Node::Array { elements, .. }, Expected::Array(theirs)) => {
            elements as usize == theirs.len() && value.elements().zip(theirs).all(|(ours, theirs)| equals(ours, theirs))
        }
        (Node::Object { members, .. }, Expected::Object(theirs)) => {
            // Names are unique on both sides, so as many found as there are is all.
            let same = |(name, ours): (&str, _)| theirs.get(name).is_some_and(|theirs| equals(ours, theirs));
            members as usize == theirs.len() && value.members().all(same)
        }
        _ => false,
    }
}

/// Appends bytes that two values share exactly when they are equal as [`equals`] has it.
fn write_key(value: Value<'_>, key: &mut Vec<u8>) {
    let sized = |tag: u8, bytes: &[u8], key: &mut Vec<u8>| {
        key.push(tag);
        key.extend_from_slice(&bytes.len().to_le_bytes());
        key.extend_from_slice(bytes);
    };
    match value.node() {
        Node::Null => key.push(b'n'),
        Node::Bool(value) => key.extend_from_slice(&[b'b', u8::from(value)]),
        Node::I64(value) => sized(b'i', &i128::from(value).to_le_bytes(), key),
        Node::U64(value) => sized(b'i', &i128::from(value).to_le_bytes(), key),
        // Below 2^64 a whole float may equal an integer; beyond, only another float, of which the cast is exact as well.
        Node::F64 { value, .. } if value.fract() == 0.0 && value.abs() < 1e38 => {
            sized(b'i', &(value as i128).to_le_bytes(), key);
        }
        Node::F64 { value, .. } => sized(b'f', &value.to_bits().to_le_bytes(), key),
        Node::Str(text) => sized(b's', text.as_bytes(), key),
        Node::Array { elements, .. } => {
            sized(b'a', &elements.to_le_bytes(), key);
            value.elements().for_each(|element| write_key(element, key));
        }
        Node::Object { members, .. } => {
            sized(b'o', &members.to_le_bytes(), key);
            let mut sorted: Vec<_> = value.members().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, member) in sorted {
                sized(b's', name.as_bytes(), key);
                write_key(member, key);
            }
        }
    }
}
