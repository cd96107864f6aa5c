//! Bytes to values, pure. A decoder keeps its buffers from event to event and nothing else: what one body did to it
//! never shows in the next.

mod auto; // which format a body is of
mod avro; // Avro -> tape
mod binary; // what binary formats have in common
pub mod cloudevents; // CloudEvents: attributes and data
mod confluent; // bodies that name their schema in a registry
mod diagnose; // why a body is not JSON, with the offset
mod json; // JSON text -> tape
mod msgpack; // MessagePack -> tape
mod protobuf; // Protobuf -> tape
mod repeats; // names an object holds twice
#[cfg(test)]
mod tests;
mod wire; // which format, with the schema a body was written with
mod writer; // a tape, value by value

pub use auto::Auto;
pub use avro::AvroDecoder;
pub use confluent::{ConfluentDecoder, Frame, Writer, Writers, Written, id_of, wire_of, wire_of_letter};
pub use json::JsonDecoder;
pub use msgpack::MsgpackDecoder;
pub use protobuf::{ProtobufDecoder, UNKNOWN_FIELDS};
pub use wire::{Decoder, Wire};

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Larger bodies are refused unread. Above 4 GiB - 1 the limit is that: offsets have 32 bits.
    pub body_bytes_max: usize,
    /// Objects and arrays within each other; a scalar has depth 0, `{}` depth 1.
    pub depth_max: usize,
}

impl Limits {
    fn within_offsets(self) -> Self {
        Self { body_bytes_max: self.body_bytes_max.min(u32::MAX as usize), ..self }
    }
}
