//! A decoded event: a tape of nodes in document order, whatever the wire format was. No parser and no schema here.
//!
//! Every decoder fills a [`Tape`]; validation and the column builders walk it. Strings borrow from the decoder's
//! scratch buffer, so a tape lives only as long as the decode call that made it.

/// One node of a [`Tape`].
///
/// A container is followed by its contents. An object's contents are `members` pairs: a [`Node::Str`] (the name), then
/// the value with its own contents. `end` is the index of the first node after the container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    /// An integer that fits `i64`.
    I64(i64),
    /// An integer above `i64::MAX`.
    U64(u64),
    /// A number written with a fraction or an exponent; `at` and `len` are where its text stands in the
    /// source.
    F64 {
        value: f64,
        at: u32,
        len: u32,
    },
    Str(&'a str),
    Object {
        members: u32,
        end: u32,
    },
    Array {
        elements: u32,
        end: u32,
    },
}

/// A whole event. The root is node 0; decoders never hand out an empty tape.
#[derive(Debug)]
pub struct Tape<'a> {
    nodes: Vec<Node<'a>>,
    source: &'a [u8],
}

impl<'a> Tape<'a> {
    /// `nodes` in document order, decoded from `source` (for text formats the body, so that a number's exact text can
    /// be had; for binary formats empty).
    ///
    /// # Panics
    /// If `nodes` is empty.
    pub fn new(nodes: Vec<Node<'a>>, source: &'a [u8]) -> Self {
        assert!(!nodes.is_empty(), "a tape has a root");
        Self { nodes, source }
    }

    /// The root value.
    pub fn root(&self) -> Value<'_> {
        Value { tape: self.view(), at: 0 }
    }

    /// The nodes and the source as one borrowed view.
    pub fn view(&self) -> View<'_> {
        View { nodes: &self.nodes, source: self.source }
    }

    /// Gives the allocation back for the next event, emptied.
    pub fn recycle<'b>(mut self) -> Vec<Node<'b>> {
        self.nodes.clear();
        // Collecting an empty vector in place keeps its allocation and frees it from `'a`.
        self.nodes.into_iter().map(|_| Node::Null).collect()
    }
}

/// A borrowed tape.
#[derive(Clone, Copy, Debug)]
pub struct View<'t> {
    pub nodes: &'t [Node<'t>],
    pub source: &'t [u8],
}

/// One value of a tape: cheap to copy, walks by index.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t> {
    tape: View<'t>,
    at: u32,
}

impl<'t> Value<'t> {
    /// The node itself.
    pub fn node(self) -> Node<'t> {
        self.tape.nodes[self.at as usize]
    }

    /// Its index in the tape: identifies it within one event.
    pub fn index(self) -> u32 {
        self.at
    }

    /// The tape it stands in.
    pub fn tape(self) -> View<'t> {
        self.tape
    }

    /// The index of the first node after this value and all it contains.
    pub fn end(self) -> u32 {
        match self.node() {
            Node::Object { end, .. } | Node::Array { end, .. } => end,
            _ => self.at + 1,
        }
    }

    pub fn as_str(self) -> Option<&'t str> {
        match self.node() {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_null(self) -> bool {
        matches!(self.node(), Node::Null)
    }

    /// The number's text as the producer wrote it, for a [`Node::F64`] decoded from text.
    pub fn number_text(self) -> Option<&'t str> {
        match self.node() {
            Node::F64 { at, len, .. } => {
                let bytes = self.tape.source.get(at as usize..(at + len) as usize)?;
                std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
            }
            _ => None,
        }
    }

    /// The members of an object in document order; empty for anything else.
    pub fn members(self) -> Members<'t> {
        let left = match self.node() {
            Node::Object { members, .. } => members,
            _ => 0,
        };
        Members { tape: self.tape, at: self.at + 1, left }
    }

    /// The elements of an array; empty for anything else.
    pub fn elements(self) -> Elements<'t> {
        let left = match self.node() {
            Node::Array { elements, .. } => elements,
            _ => 0,
        };
        Elements { tape: self.tape, at: self.at + 1, left }
    }

    /// The member `name` of an object. Names are unique: decoders refuse repeats.
    pub fn get(self, name: &str) -> Option<Value<'t>> {
        self.members().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The value at an RFC 6901 pointer split into its unescaped `segments`.
    pub fn pointer(self, segments: &[String]) -> Option<Value<'t>> {
        segments.iter().try_fold(self, |value, segment| match value.node() {
            Node::Object { .. } => value.get(segment),
            Node::Array { .. } => value.elements().nth(array_index(segment)?),
            _ => None,
        })
    }

    /// What kind of JSON value this is, as JSON Schema names it.
    pub fn type_name(self) -> &'static str {
        match self.node() {
            Node::Null => "null",
            Node::Bool(_) => "boolean",
            Node::I64(_) | Node::U64(_) => "integer",
            Node::F64 { .. } => "number",
            Node::Str(_) => "string",
            Node::Object { .. } => "object",
            Node::Array { .. } => "array",
        }
    }

    /// Appends the value as JSON text, numbers digit for digit as they came.
    pub fn write_json(self, out: &mut Vec<u8>) {
        match self.node() {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Bool(true) => out.extend_from_slice(b"true"),
            Node::Bool(false) => out.extend_from_slice(b"false"),
            Node::I64(number) => write_display(number, out),
            Node::U64(number) => write_display(number, out),
            Node::F64 { value, .. } => match self.number_text() {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => write_serde(&value, out),
            },
            Node::Str(text) => write_json_string(text, out),
            Node::Array { .. } => {
                out.push(b'[');
                for (position, element) in self.elements().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    element.write_json(out);
                }
                out.push(b']');
            }
            Node::Object { .. } => {
                out.push(b'{');
                for (position, (name, member)) in self.members().enumerate() {
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
}

/// Appends `text` as a JSON string with its quotes.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if !plain {
        return write_serde(&text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn write_serde<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("strings and finite numbers are JSON, and a Vec takes all bytes");
}

fn write_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{value}").expect("a Vec takes all bytes");
}

/// See [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'t> {
    tape: View<'t>,
    at: u32,
    left: u32,
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t str, Value<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Node::Str(name) = self.tape.nodes[self.at as usize] else {
            unreachable!("an object's contents alternate names and values");
        };
        let value = Value { tape: self.tape, at: self.at + 1 };
        self.at = value.end();
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

/// See [`Value::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'t> {
    tape: View<'t>,
    at: u32,
    left: u32,
}

impl<'t> Iterator for Elements<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = Value { tape: self.tape, at: self.at };
        self.at = value.end();
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

/// A JSON pointer (RFC 6901), split once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    segments: Vec<String>,
}

impl Pointer {
    /// Parses `/a/b~1c`; the empty string is the whole event.
    ///
    /// # Errors
    /// A sentence saying what is wrong: it must be empty or start with `/`, and `~` is written `~0`, `/` within a name `~1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { text: String::new(), segments: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            let mended = format!("/{text}");
            return Err(format!("a JSON pointer starts with \"/\": write {mended:?}"));
        };
        let segments = rest.split('/').map(unescape_segment).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.to_owned(), segments })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

fn unescape_segment(segment: &str) -> Result<String, String> {
    let mut name = String::with_capacity(segment.len());
    let mut characters = segment.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => {
                    return Err(format!(
                        "\"~\" in a JSON pointer is written \"~0\", and \"/\" within a name \"~1\": {segment:?}"
                    ));
                }
            },
            other => other,
        });
    }
    Ok(name)
}

/// The index that a JSON pointer's segment is (RFC 6901, section 4): decimal digits without a leading zero.
pub fn array_index(segment: &str) -> Option<usize> {
    let digits = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    let plain = segment == "0" || !segment.starts_with('0');
    (digits && plain).then(|| segment.parse().ok()).flatten()
}

/// Appends `name` to the pointer `path`, escaped as RFC 6901 asks.
pub fn push_segment(path: &mut String, name: &str) {
    path.push('/');
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            other => path.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape() -> Tape<'static> {
        let source = br#"{"a":[1,2.50],"b":{"c":"x\"y"},"d":null}"#;
        let nodes = vec![
            Node::Object { members: 3, end: 11 },
            Node::Str("a"),
            Node::Array { elements: 2, end: 5 },
            Node::I64(1),
            Node::F64 { value: 2.5, at: 8, len: 4 },
            Node::Str("b"),
            Node::Object { members: 1, end: 9 },
            Node::Str("c"),
            Node::Str("x\"y"),
            Node::Str("d"),
            Node::Null,
        ];
        Tape::new(nodes, source)
    }

    #[test]
    fn a_tape_writes_back_the_very_text_of_its_numbers() {
        let tape = tape();
        let mut out = Vec::new();
        tape.root().write_json(&mut out);
        assert_eq!(String::from_utf8(out).expect("JSON is UTF-8"), r#"{"a":[1,2.50],"b":{"c":"x\"y"},"d":null}"#);
    }

    #[test]
    fn pointers_walk_objects_and_arrays_and_unescape_names() {
        let tape = tape();
        let at = |text: &str| tape.root().pointer(Pointer::parse(text).expect("pointer").segments());
        assert_eq!(at("/a/0").map(Value::node), Some(Node::I64(1)));
        assert_eq!(at("/b/c").and_then(Value::as_str), Some("x\"y"));
        assert!(at("/b/z").is_none() && at("/a/9").is_none() && at("/d/x").is_none());
        assert!(["/a/+1", "/a/01", "/a/-", "/a/"].into_iter().all(|text| at(text).is_none()), "these are no indices");
        assert_eq!(Pointer::parse("/a~1b/c~0d").expect("pointer").segments(), ["a/b", "c~d"]);
        assert!(Pointer::parse("a").is_err() && Pointer::parse("/~2").is_err());
    }
}
