//! The integration tests: one binary.

mod json_schema_suite;
