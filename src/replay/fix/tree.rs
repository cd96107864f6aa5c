//! A JSON document that can be changed: numbers stay as they are written, members in their order.

use compact_str::CompactString;

use crate::value::{array_index, push_segment, write_json_string};

/// Objects and arrays within each other; what `pipeline.depth_max` may be at most.
pub(super) const DEPTH_MAX: usize = 512;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// As JSON writes it (RFC 8259, section 6), digit for digit.
    Number(CompactString),
    Text(CompactString),
    Array(Vec<Tree>),
    /// Names are unique.
    Object(Vec<(CompactString, Tree)>),
}

/// What a value is, as JSON Schema names it; or that there is none.
pub mod kind {
    pub const MISSING: &str = "missing";
    pub const NULL: &str = "null";
    pub const BOOLEAN: &str = "boolean";
    pub const INTEGER: &str = "integer";
    pub const NUMBER: &str = "number";
    pub const STRING: &str = "string";
    pub const ARRAY: &str = "array";
    pub const OBJECT: &str = "object";
    /// Of a body that is not JSON.
    pub const NOT_JSON: &str = "not JSON";
    /// Of headers alone.
    pub const BYTES: &str = "bytes";
    pub const TIMESTAMP: &str = "timestamp";
}

impl Tree {
    /// The value as JSON text without white space.
    pub(super) fn to_json(&self) -> Vec<u8> {
        self.to_json_of(0)
    }

    /// The same, into `bytes` of room: about what it takes, so that it need not grow.
    pub(super) fn to_json_of(&self, bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes);
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Tree::Null => out.extend_from_slice(b"null"),
            Tree::Bool(true) => out.extend_from_slice(b"true"),
            Tree::Bool(false) => out.extend_from_slice(b"false"),
            Tree::Number(text) => out.extend_from_slice(text.as_bytes()),
            Tree::Text(text) => write_json_string(text, out),
            Tree::Array(elements) => {
                out.push(b'[');
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    element.write_json(out);
                }
                out.push(b']');
            }
            Tree::Object(members) => {
                out.push(b'{');
                for (position, (name, member)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_json_string(name, out);
                    out.push(b':');
                    member.write_json(out);
                }
                out.push(b'}');
            }
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Tree::Null => kind::NULL,
            Tree::Bool(_) => kind::BOOLEAN,
            Tree::Number(text) if text.contains(['.', 'e', 'E']) => kind::NUMBER,
            Tree::Number(_) => kind::INTEGER,
            Tree::Text(_) => kind::STRING,
            Tree::Array(_) => kind::ARRAY,
            Tree::Object(_) => kind::OBJECT,
        }
    }

    /// Whether it is of the kind that is called `name`; an integer is also a number.
    pub(super) fn is(&self, name: &str) -> bool {
        self.kind() == name || (name == kind::NUMBER && self.kind() == kind::INTEGER)
    }

    /// The member or element called `name` by a JSON pointer.
    pub(super) fn child(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Tree::Array(elements) => elements.get(array_index(name)?),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, name: &str) -> Option<&mut Tree> {
        match self {
            Tree::Object(members) => members.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value),
            Tree::Array(elements) => elements.get_mut(array_index(name)?),
            _ => None,
        }
    }

    /// Equal as JSON values: numbers by what they are, objects whatever their order.
    pub(super) fn same(&self, other: &Tree) -> bool {
        match (self, other) {
            (Tree::Number(left), Tree::Number(right)) => left == right || super::number::equal(left, right),
            (Tree::Array(left), Tree::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.same(right))
            }
            (Tree::Object(left), Tree::Object(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(name, value)| other.child(name).is_some_and(|there| value.same(there)))
            }
            _ => self == other,
        }
    }

    /// Objects and arrays within each other; a scalar has depth 0.
    pub(super) fn depth(&self) -> usize {
        match self {
            Tree::Array(elements) => 1 + elements.iter().map(Tree::depth).max().unwrap_or(0),
            Tree::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Bytes of its JSON text, but for what is escaped.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Tree::Null | Tree::Bool(_) => 5,
            Tree::Number(text) => text.len() + 1,
            Tree::Text(text) => text.len() + 3,
            Tree::Array(elements) => 3 + elements.iter().map(Tree::bytes).sum::<usize>(),
            Tree::Object(members) => {
                3 + members.iter().map(|(name, value)| name.len() + 3 + value.bytes()).sum::<usize>()
            }
        }
    }
}

/// The pointer of `segments`, escaped.
pub(super) fn pointer<'s>(segments: impl IntoIterator<Item = &'s str>) -> String {
    let mut path = String::new();
    for segment in segments {
        push_segment(&mut path, segment);
    }
    path
}
