//! Commands: arguments in, text out.

pub mod dlq; // the dead letters, for people and for programs
