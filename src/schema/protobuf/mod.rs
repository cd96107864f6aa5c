//! A Protobuf message of a descriptor set (what `protoc --include_imports --descriptor_set_out` writes): its type, and the
//! same as a JSON Schema, of which columns are made. How its types become JSON's is told in `docs/formats.md`.

mod json_schema;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::Value;

pub use source::{NoMessage, Source};

/// A type of message, with all that it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Types {
    message: MessageDescriptor,
    set: Arc<[u8]>,
}

/// Why a descriptor set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProtobufError {
    #[error("{0}; it is what protoc --include_imports --descriptor_set_out=FILE writes")]
    Invalid(String),
    #[error("file {file} is of syntax {syntax:?}, and what can be read is proto2 and proto3")]
    Syntax { file: String, syntax: String },
    #[error("{0}")]
    Source(String),
    #[error("it has no message {message}; it has {known}")]
    NoMessage { message: String, known: String },
    #[error("message {message} is one of google.protobuf that is no object, so there are no columns to make of it")]
    NoObject { message: String },
}

/// Messages named when one is not found.
const NAMED_MAX: usize = 8;

impl Types {
    /// The message of that full name in the descriptor set that `set` is.
    ///
    /// # Errors
    /// See [`ProtobufError`].
    pub fn parse(set: &[u8], message: &str) -> Result<Self, ProtobufError> {
        let pool = pool(set)?;
        let Some(found) = pool.get_message_by_name(message.trim_start_matches('.')) else {
            let own = pool.all_messages().filter(|known| known.package_name() != "google.protobuf");
            let mut known: Vec<String> = own.map(|known| known.full_name().to_owned()).collect();
            known.truncate(NAMED_MAX);
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(ProtobufError::NoMessage { message: message.to_owned(), known });
        };
        if WellKnown::of(&found).is_some() {
            return Err(ProtobufError::NoObject { message: message.to_owned() });
        }
        Ok(Self { message: found, set: set.into() })
    }

    pub fn message(&self) -> &MessageDescriptor {
        &self.message
    }

    /// The descriptor set it was parsed of.
    pub fn set(&self) -> &[u8] {
        &self.set
    }

    /// The same as a JSON Schema, of the values that a decoder makes.
    pub fn json_schema(&self) -> Value {
        json_schema::of(&self.message, false)
    }

    /// The same of values that other versions of the schema made, which may have more members.
    pub fn json_schema_of_others(&self) -> Value {
        json_schema::of(&self.message, true)
    }
}

/// The files of a descriptor set.
fn pool(set: &[u8]) -> Result<DescriptorPool, ProtobufError> {
    let files = FileDescriptorSet::decode(set).map_err(|error| ProtobufError::Invalid(error.to_string()))?;
    // The library panics over any other syntax, that of editions among them.
    let is_odd = |syntax: &&str| !matches!(*syntax, "proto2" | "proto3");
    for file in &files.file {
        if let Some(syntax) = file.syntax.as_deref().filter(is_odd) {
            return Err(ProtobufError::Syntax { file: file.name().to_owned(), syntax: syntax.to_owned() });
        }
    }
    // Of the bytes, not of what was made of them: that lacks the options that extensions are.
    DescriptorPool::decode(set).map_err(|error| ProtobufError::Invalid(error.to_string()))
}

/// Messages of `google.protobuf` whose JSON is not that of other messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    /// `Int64Value` and the like: what they hold, or nothing.
    Wrapper,
}

impl WellKnown {
    pub fn of(message: &MessageDescriptor) -> Option<Self> {
        let name = message.full_name().strip_prefix("google.protobuf.")?;
        Some(match name {
            "Any" => WellKnown::Any,
            "Timestamp" => WellKnown::Timestamp,
            "Duration" => WellKnown::Duration,
            "FieldMask" => WellKnown::FieldMask,
            "Struct" => WellKnown::Struct,
            "Value" => WellKnown::Value,
            "ListValue" => WellKnown::ListValue,
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue" => WellKnown::Wrapper,
            _ => return None,
        })
    }
}
