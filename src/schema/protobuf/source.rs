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

impl Source {
    /// Compiles `text`; `imports` are the names of files and their texts. Those of `google.protobuf` are there already.
    ///
    /// # Errors
    /// [`ProtobufError::Source`]: where it cannot be understood.
    pub fn parse(text: &str, imports: &[(String, String)]) -> Result<Self, ProtobufError> {
        let refused = |error: protox::Error| ProtobufError::Source(error.to_string());
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

    /// The type of message at that place: the number of a message of the file, then of one within it, and so on.
    pub fn message(&self, indexes: &[u32]) -> Option<Types> {
        let mut indexes = indexes.iter().map(|index| *index as usize);
        let mut message: MessageDescriptor = self.file.messages().nth(indexes.next()?)?;
        for index in indexes {
            let within = message.child_messages().nth(index)?;
            message = within;
        }
        super::WellKnown::of(&message).is_none().then(|| Types { message, set: Arc::clone(&self.set) })
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

struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}
