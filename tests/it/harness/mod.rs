//! What the tests run against.

pub mod s3;
