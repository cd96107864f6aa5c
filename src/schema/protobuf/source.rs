//! Messages of a `.proto` file, as schema registries keep them: its text and those that it imports.

use std::collections::HashMap;
use std::sync::Arc;

use prost_reflect::{FileDescriptor, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::{ProtobufError, Types};

/// What the file is called that others do not import.
const ROOT: &str = "registered.proto";

/// A compiled file with all that it imports.
#[derive(Clone, Debug)]
pub struct Source {
    file: FileDescriptor,
    set: Arc<[u8]>,
}

/// Why there is no message at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {
    Absent,
    /// It depends on how one counts.
    Ambiguous,
}

/// Brackets within each other in a text that is compiled: the compiler calls itself for each.
const DEPTH_MAX: usize = 100;

impl Source {
    /// Compiles `text`; `imports` are the names of files and their texts. Those of `google.protobuf` are there already.
    ///
    /// # Errors
    /// [`ProtobufError::Source`]: where it cannot be understood.
    pub fn parse(text: &str, imports: &[(String, String)]) -> Result<Self, ProtobufError> {
        let refused = |error: protox::Error| ProtobufError::Source(error.to_string());
        if imports.iter().map(|(_, text)| text.as_str()).chain([text]).any(|text| depth(text) > DEPTH_MAX) {
            return Err(ProtobufError::Source(format!("it has more than {DEPTH_MAX} brackets within each other")));
        }
        let mut files: HashMap<String, String> = imports.iter().cloned().collect();
        files.insert(ROOT.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_file(ROOT).map_err(refused)?;
        let set = compiler.encode_file_descriptor_set();
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(ROOT).expect("it was compiled just now");
        Ok(Self { file, set: set.into() })
    }

    /// The type of message at that place: the number of a message of the file, then of one within it, and so on. The
    /// serializers of Java count the messages that are written; those of Python, Go and .NET also those that the compiler
    /// makes of maps.
    ///
    /// # Errors
    /// [`NoMessage`]: also where the two ways lead to different messages, for data of one may be read as the other.
    pub fn message(&self, indexes: &[u32]) -> Result<Types, NoMessage> {
        let message = match (self.counted(indexes, false), self.counted(indexes, true)) {
            (Some(one), Some(other)) if one != other => return Err(NoMessage::Ambiguous),
            (Some(message), _) | (None, Some(message)) => message,
            (None, None) => return Err(NoMessage::Absent),
        };
        match super::WellKnown::of(&message) {
            None => Ok(Types { message, set: Arc::clone(&self.set) }),
            Some(_) => Err(NoMessage::Absent),
        }
    }

    fn counted(&self, indexes: &[u32], entries: bool) -> Option<MessageDescriptor> {
        let (first, within) = indexes.split_first()?;
        let mut message: MessageDescriptor = self.file.messages().nth(*first as usize)?;
        for index in within {
            let written = |child: &MessageDescriptor| entries || !child.is_map_entry();
            let child = message.child_messages().filter(written).nth(*index as usize)?;
            message = child;
        }
        (!message.is_map_entry()).then_some(message)
    }

    /// The same of a descriptor set, as [`Source::set`] gives it.
    ///
    /// # Errors
    /// [`ProtobufError::Invalid`] or [`ProtobufError::Syntax`].
    pub fn of_set(set: &[u8]) -> Result<Self, ProtobufError> {
        let pool = super::pool(set)?;
        let no_file = || ProtobufError::Invalid(format!("it has no file {ROOT}"));
        let file = pool.get_file_by_name(ROOT).ok_or_else(no_file)?;
        Ok(Self { file, set: set.into() })
    }

    /// As a descriptor set.
    pub fn set(&self) -> &[u8] {
        &self.set
    }
}

/// The most brackets that are open at once, those of comments and strings among them.
fn depth(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => open += 1,
            b'}' | b']' | b')' | b'>' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_where_both_ways_of_counting_lead() {
        let text = "syntax = \"proto3\";
            message A { message B { string b = 1; } map<string, int32> m = 1; message C { string c = 1; } }
            message D { message E { string e = 1; } }";
        let source = Source::parse(text, &[]).expect("a schema");
        let name = |indexes: &[u32]| source.message(indexes).map(|types| types.message().full_name().to_owned());
        let children: Vec<_> =
            source.file.messages().next().expect("A").child_messages().map(|child| child.name().to_owned()).collect();
        assert_eq!(children, ["B", "MEntry", "C"], "as the compilers order them");
        assert_eq!(name(&[1, 0]).as_deref(), Ok("D.E"));
        assert_eq!(name(&[0, 0]).as_deref(), Ok("A.B"));
        // The second by Java's count; by the other it would be what the compiler made of the map, and nobody sends that.
        assert_eq!(name(&[0, 1]).as_deref(), Ok("A.C"));
        assert_eq!(name(&[0, 2]).as_deref(), Ok("A.C"));
        for indexes in [&[][..], &[2], &[0, 3], &[1, 1], &[1, 0, 0]] {
            assert_eq!(name(indexes), Err(NoMessage::Absent), "{indexes:?}");
        }
        let text = "syntax = \"proto3\";
            message A { map<string, int32> m = 1; message B { string b = 1; } message C { string c = 1; } }";
        let source = Source::parse(text, &[]).expect("a schema");
        assert_eq!(source.message(&[0, 1]), Err(NoMessage::Ambiguous), "C, or B");
    }

    #[test]
    fn texts_that_nest_without_end_are_refused() {
        let text = format!("syntax = \"proto3\"; {} {}", "message A {".repeat(100_000), "}".repeat(100_000));
        let refused = Source::parse(&text, &[]).expect_err("too deep").to_string();
        assert_eq!(refused, "it has more than 100 brackets within each other");
    }
}
