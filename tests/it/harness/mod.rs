//! What the tests run against.

pub mod rabbit;
pub mod s3;
