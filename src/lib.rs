//! Parqueduct carries events from RabbitMQ into partitioned Parquet on object storage. The modules, in the order data
//! flows; a module may use those of its own line and above, the parts in the middle never each other.

// The words all parts share.
pub mod column; // how a column is named and marked
pub mod content; // what bodies are compressed with
pub mod event; // a message as it came
pub mod headers; // its headers as typed JSON
pub mod mask; // which fields are not for everybody
pub mod metrics; // what is counted, in one table
pub mod personal; // what texts hold that is about a person
pub mod receipt; // the duty to settle it, and the ledger
pub mod rejection; // why an event is not archived
pub mod value; // a decoded event: a tape of nodes
pub mod web; // questions over HTTP

pub mod config; // what to run, checked

// The parts.
pub mod archive; // good events: partition, batch, Parquet
pub mod broker; // RabbitMQ, and an in-memory twin
pub mod decode; // bytes -> value
pub mod dlq; // bad events: record, fingerprint, groups
pub mod monitor; // what is asked of events beside their schema
pub mod registry; // schemas by their ids, from a registry
pub mod schema; // value -> event or why not; schema -> columns
pub mod store; // object stores; intents and outcomes of flushes

// The flows, then the rim.
pub mod ingest; // FLOW 1: broker -> decode -> validate -> archive | dlq -> settle
pub mod replay; // FLOW 2: dead letters -> fix -> pipeline or broker

pub mod app; // wiring; the only reader of clock, environment and files
pub mod cli; // commands
pub mod http; // metrics and health

/// This program's version, as in records and metrics.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
