//! The integration tests: one binary.

mod harness;
mod json_schema_suite;
mod store;
