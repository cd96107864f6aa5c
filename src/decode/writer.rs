//! Writes a tape value by value, for formats whose texts cannot be borrowed from a body: they are kept in one buffer, and
//! only at the end do nodes point into it.

use crate::value::{Node, Tape};

/// A node in the making; a text by its place in the buffer.
#[derive(Clone, Copy, Debug)]
enum Draft {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text { at: u32, len: u32 },
    Object { members: u32, end: u32 },
    Array { elements: u32, end: u32 },
}

/// A container that was begun, by the place of its node.
#[derive(Debug)]
#[must_use = "a container is ended"]
pub struct Open(usize);

/// A container that was ended.
#[derive(Debug)]
pub struct Ended(usize);

/// Writes one tape after another; between two only the buffers are kept. An event has fewer than 2^32 nodes and bytes of
/// text, as bodies are limited to less.
#[derive(Debug, Default)]
pub struct TapeWriter {
    drafts: Vec<Draft>,
    text: String,
    nodes: Vec<Node<'static>>,
}

/// Buffers larger than this are given up after an event, so that one giant does not hold memory for ever. In bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Members up to which it is cheaper to compare names than to sort them.
const COMPARED_MAX: usize = 24;

impl TapeWriter {
    /// Begins a new event.
    pub fn clear(&mut self) {
        self.drafts.clear();
        self.text.clear();
    }

    pub fn null(&mut self) {
        self.drafts.push(Draft::Null);
    }

    pub fn bool(&mut self, value: bool) {
        self.drafts.push(Draft::Bool(value));
    }

    pub fn i64(&mut self, value: i64) {
        self.drafts.push(Draft::I64(value));
    }

    pub fn u64(&mut self, value: u64) {
        self.drafts.push(i64::try_from(value).map_or(Draft::U64(value), Draft::I64));
    }

    /// A finite number.
    pub fn f64(&mut self, value: f64) {
        debug_assert!(value.is_finite(), "JSON has no other numbers");
        self.drafts.push(Draft::F64(value));
    }

    pub fn text(&mut self, text: &str) {
        self.text_by(|out| out.push_str(text));
    }

    /// A text that `write` appends.
    pub fn text_by(&mut self, write: impl FnOnce(&mut String)) {
        let at = self.text.len();
        write(&mut self.text);
        let len = (self.text.len() - at) as u32;
        self.drafts.push(Draft::Text { at: at as u32, len });
    }

    /// Begins an object: `members` pairs of a text and a value follow.
    pub fn begin_object(&mut self, members: u32) -> Open {
        self.drafts.push(Draft::Object { members, end: 0 });
        Open(self.drafts.len() - 1)
    }

    /// Begins an array: `elements` values follow.
    pub fn begin_array(&mut self, elements: u32) -> Open {
        self.drafts.push(Draft::Array { elements, end: 0 });
        Open(self.drafts.len() - 1)
    }

    /// Ends what was begun.
    pub fn end(&mut self, open: Open) -> Ended {
        let now = self.drafts.len() as u32;
        match &mut self.drafts[open.0] {
            Draft::Object { end, .. } | Draft::Array { end, .. } => *end = now,
            _ => unreachable!("only containers are begun"),
        }
        Ended(open.0)
    }

    /// Ends a container that was begun with whatever length: it has `len` members or elements.
    pub fn end_with(&mut self, open: Open, len: u32) -> Ended {
        match &mut self.drafts[open.0] {
            Draft::Object { members: begun, .. } | Draft::Array { elements: begun, .. } => *begun = len,
            _ => unreachable!("only containers are begun"),
        }
        self.end(open)
    }

    /// Whether a name stands twice in an object.
    pub fn repeats_a_name(&self, object: &Ended) -> bool {
        let Draft::Object { members, .. } = self.drafts[object.0] else { return false };
        let mut at = object.0 + 1;
        let mut names = (0..members).map(|_| {
            let name = self.text_at(at);
            at = self.end_of(at + 1);
            name
        });
        if members as usize <= COMPARED_MAX {
            let mut seen = [""; COMPARED_MAX];
            let mut known = 0;
            return names.any(|name| {
                let twice = seen[..known].contains(&name);
                seen[known] = name;
                known += 1;
                twice
            });
        }
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    fn text_at(&self, at: usize) -> &str {
        match self.drafts[at] {
            Draft::Text { at, len } => &self.text[at as usize..(at + len) as usize],
            _ => unreachable!("names are texts"),
        }
    }

    fn end_of(&self, at: usize) -> usize {
        match self.drafts[at] {
            Draft::Object { end, .. } | Draft::Array { end, .. } => end as usize,
            _ => at + 1,
        }
    }

    /// Hands the tape that was written to `then`.
    ///
    /// # Panics
    /// If nothing was written.
    pub fn read<R>(&mut self, then: impl FnOnce(&Tape<'_>) -> R) -> R {
        let mut nodes: Vec<Node<'_>> = std::mem::take(&mut self.nodes);
        let text = self.text.as_str();
        nodes.extend(self.drafts.iter().map(|draft| match *draft {
            Draft::Null => Node::Null,
            Draft::Bool(value) => Node::Bool(value),
            Draft::I64(value) => Node::I64(value),
            Draft::U64(value) => Node::U64(value),
            Draft::F64(value) => Node::F64 { value, at: 0, len: 0 },
            Draft::Text { at, len } => Node::Str(&text[at as usize..(at + len) as usize]),
            Draft::Object { members, end } => Node::Object { members, end },
            Draft::Array { elements, end } => Node::Array { elements, end },
        }));
        let tape = Tape::new(nodes, &[]);
        let result = then(&tape);
        self.nodes = tape.recycle();
        if self.text.capacity().max(self.drafts.capacity() * size_of::<Draft>()) > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        result
    }
}
