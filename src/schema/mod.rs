//! Values to events or why not, pure: a schema with the files it refers to, and the validator built from it.

pub mod avro; // an Avro schema -> types, and the JSON Schema of their values
mod catalog; // a schema and the files it refers to
pub mod columns; // a schema -> the columns of its files
pub mod compat; // what changes from one version to the next
mod hints; // what columns do not say
pub mod infer; // samples -> a schema
mod issues; // validation errors -> issues
mod json; // the tape as the validator sees it
mod location; // schema files as URIs, and back
mod paths; // places in an event, normalised
pub mod protobuf; // a message of Protobuf -> the same
mod sensitive; // which fields are not for everybody
#[cfg(test)]
mod tests;
mod validate; // the verdict

pub use catalog::{Language, Place, ReadFile, Schema, SchemaError, Types};
pub use columns::{FINER, STRUCT};
pub use hints::hints;
pub use sensitive::SENSITIVE;
pub use validate::Validator;
