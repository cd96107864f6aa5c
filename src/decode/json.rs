//! JSON text (RFC 8259) to a tape. The hot path: simd-json parses a copy of the body into buffers that are kept, and one
//! pass turns its nodes into ours. Only a body that is refused is looked at again, by [`super::diagnose`].

use simd_json::{Buffers, Node as Parsed, StaticNode};

use super::{Limits, diagnose, repeats};
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{self, Node, Tape};

/// After a body larger than this the buffers are given up, so that one giant does not hold memory for ever. In bytes.
const KEPT_BODY_BYTES_MAX: usize = 1 << 20;

/// Decodes JSON bodies, one document each.
///
/// Strict and lossless: UTF-8 only, no byte order mark, nothing after the document, no name twice in an object; integers
/// are `i64` or `u64`, all other numbers `f64` with their text kept, `-0` among them; a number beyond those is refused
/// rather than rounded to infinity. Any JSON value may be the root.
pub struct JsonDecoder {
    limits: Limits,
    buffers: Buffers,
    /// A copy of the body with room behind it: simd-json unescapes strings in place and reads past the end.
    scratch: Vec<u8>,
    /// Both are empty between events; only their allocation is kept.
    parsed: Vec<Parsed<'static>>,
    nodes: Vec<Node<'static>>,
}

impl JsonDecoder {
    pub fn new(limits: Limits) -> Self {
        let limits = limits.within_offsets();
        Self {
            limits,
            buffers: Buffers::with_max_depth(0, limits.depth_max),
            scratch: Vec::new(),
            parsed: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Decodes `body` and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// One issue saying why `body` is not exactly one JSON document within the limits, with its offset: `frame.empty` (also
    /// for nothing but white space), `frame.too_large`, or one of `decode.json.*`.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        if body.len() > self.limits.body_bytes_max {
            return Err(too_large(body.len(), self.limits.body_bytes_max));
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(body);
        self.scratch.resize(body.len() + simd_json::INPUT_PADDING, b' ');
        let mut parsed = simd_json::Tape(std::mem::take(&mut self.parsed));
        let result = match simd_json::fill_tape_padded(&mut self.scratch, body.len(), &mut self.buffers, &mut parsed) {
            Err(_) => Err(diagnose::issue(body, self.limits.depth_max).into()),
            Ok(()) => {
                let mut nodes: Vec<Node<'_>> = std::mem::take(&mut self.nodes);
                let mut places = Places::new(body, self.buffers.structural_indexes());
                match convert(&parsed.0, &mut places, &mut nodes) {
                    Err(Repeat { name }) => Err(repeat_issue(&parsed.0, name, body, &self.buffers).into()),
                    Ok(()) => {
                        let tape = Tape::new(nodes, body);
                        let result = then(&tape);
                        self.nodes = tape.recycle();
                        Ok(result)
                    }
                }
            }
        };
        self.parsed = parsed.reset().0;
        if body.len() > KEPT_BODY_BYTES_MAX {
            *self = Self::new(self.limits);
        }
        result
    }
}

/// An object holds the name at this node for the second time.
struct Repeat {
    name: usize,
}

/// Appends `parsed` to `nodes`, node for node.
fn convert<'a>(parsed: &[Parsed<'a>], places: &mut Places<'_>, nodes: &mut Vec<Node<'a>>) -> Result<(), Repeat> {
    nodes.reserve(parsed.len());
    for (index, node) in parsed.iter().enumerate() {
        // Each arm pushes for itself: a node put together first and copied then costs a stalled load, half of all time here.
        // No count is larger than the body, whose length fits 32 bits.
        match *node {
            Parsed::String(text) => nodes.push(Node::Str(text)),
            Parsed::Object { len, count } => {
                let contents = &parsed[index + 1..];
                if repeats::any(contents, len)
                    && let Some(name) = repeats::first(contents, len)
                {
                    return Err(Repeat { name: index + 1 + name });
                }
                nodes.push(Node::Object { members: len as u32, end: (index + 1 + count) as u32 });
            }
            Parsed::Array { len, count } => {
                nodes.push(Node::Array { elements: len as u32, end: (index + 1 + count) as u32 });
            }
            Parsed::Static(StaticNode::Null) => nodes.push(Node::Null),
            Parsed::Static(StaticNode::Bool(value)) => nodes.push(Node::Bool(value)),
            // simd-json gives `i64` to numbers with a minus only, so this is `-0`, which no integer holds.
            Parsed::Static(StaticNode::I64(0)) => nodes.push(places.float(-0.0, index)),
            Parsed::Static(StaticNode::I64(value)) => nodes.push(Node::I64(value)),
            Parsed::Static(StaticNode::U64(value)) => match i64::try_from(value) {
                Ok(value) => nodes.push(Node::I64(value)),
                Err(_) => nodes.push(Node::U64(value)),
            },
            Parsed::Static(StaticNode::F64(value)) => nodes.push(places.float(value, index)),
        }
    }
    Ok(())
}

/// Finds where in the body a node stands, by walking simd-json's structural indices in step with the nodes. Asked for
/// ascending nodes only; costs nothing until asked.
struct Places<'b> {
    body: &'b [u8],
    structurals: std::slice::Iter<'b, u32>,
    /// Nodes passed so far.
    passed: usize,
}

impl<'b> Places<'b> {
    fn new(body: &'b [u8], structurals: &'b [u32]) -> Self {
        Self { body, structurals: structurals.iter(), passed: 0 }
    }

    /// The offset of the first byte of `node`: of its quote, its bracket, its first digit.
    fn of(&mut self, node: usize) -> u32 {
        loop {
            let place = *self.structurals.next().expect("every node has its structural index");
            if !matches!(self.body[place as usize], b':' | b',' | b'}' | b']') {
                self.passed += 1;
                if self.passed > node {
                    return place;
                }
            }
        }
    }

    fn float(&mut self, value: f64, node: usize) -> Node<'static> {
        let at = self.of(node);
        let text = self.body[at as usize..].iter();
        let len = text.take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        Node::F64 { value, at, len: len as u32 }
    }
}

#[cold]
pub(super) fn too_large(bytes: usize, bytes_max: usize) -> Rejection {
    // In powers of two, so that bodies of many sizes make few groups.
    let class = 1usize << bytes.ilog2();
    let expected = format!("at most {bytes_max} bytes");
    Issue::at(Code::FrameTooLarge, "", expected, format!("{class} bytes or more")).into()
}

#[cold]
fn repeat_issue(parsed: &[Parsed<'_>], name: usize, body: &[u8], buffers: &Buffers) -> Issue {
    let (path, instance_path) = paths(parsed, name);
    Issue {
        code: Code::JsonDuplicateKey,
        path,
        instance_path,
        expected: "a name once".to_owned(),
        actual: "the name again".to_owned(),
        offset: Some(u64::from(Places::new(body, buffers.structural_indexes()).of(name))),
    }
}

/// The pointers to the member whose name is the node `name`: with `[*]` for indices, and exact.
fn paths(parsed: &[Parsed<'_>], name: usize) -> (String, String) {
    let (mut normalised, mut exact) = (String::new(), String::new());
    let mut container = 0;
    'descend: loop {
        let is_object = matches!(parsed[container], Parsed::Object { .. });
        let mut at = container + 1;
        for index in 0.. {
            let value = if is_object { at + 1 } else { at };
            let end = value + repeats::size(&parsed[value]);
            if name >= end {
                at = end;
                continue;
            }
            match parsed[at] {
                Parsed::String(key) if is_object => {
                    value::push_segment(&mut normalised, key);
                    value::push_segment(&mut exact, key);
                }
                _ => {
                    normalised.push_str("/[*]");
                    value::push_segment(&mut exact, &usize::to_string(&index));
                }
            }
            if at == name {
                break 'descend;
            }
            container = value;
            continue 'descend;
        }
    }
    (normalised, exact)
}
