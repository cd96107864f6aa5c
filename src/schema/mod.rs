//! Values to events or why not, pure: a schema with the files it refers to, and the validator built from it.

mod catalog;
mod location;

pub use catalog::{Place, Schema, SchemaError};
