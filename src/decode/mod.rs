//! Bytes to values, pure. A decoder keeps its buffers from event to event and nothing else: what one body did to it
//! never shows in the next.

mod diagnose; // why a body is not JSON, with the offset
mod json; // JSON text -> tape
mod msgpack; // MessagePack -> tape
mod repeats; // names an object holds twice
#[cfg(test)]
mod tests;
mod writer; // a tape, value by value

pub use json::JsonDecoder;
pub use msgpack::MsgpackDecoder;

use crate::config::Format;
use crate::rejection::Rejection;
use crate::value::Tape;

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Larger bodies are refused unread. Above 4 GiB - 1 the limit is that: offsets have 32 bits.
    pub body_bytes_max: usize,
    /// Objects and arrays within each other; a scalar has depth 0, `{}` depth 1.
    pub depth_max: usize,
}

/// Limits where no pipeline sets others. A value takes up to forty times its bytes while it is read.
const WIDEST: Limits = Limits { body_bytes_max: 16 << 20, depth_max: 512 };

/// `body` as JSON text, for people and searches; `None` where it is JSON, or cannot be decoded.
pub fn as_json(format: Format, body: &[u8]) -> Option<Vec<u8>> {
    let write = |tape: &Tape<'_>| {
        let mut out = Vec::new();
        tape.root().write_json(&mut out);
        out
    };
    match format {
        Format::Json => None,
        Format::Msgpack => MsgpackDecoder::new(WIDEST).decode(body, write).ok(),
    }
}

impl Limits {
    fn within_offsets(self) -> Self {
        Self { body_bytes_max: self.body_bytes_max.min(u32::MAX as usize), ..self }
    }
}

/// The decoder of a pipeline's format.
pub enum Decoder {
    Json(JsonDecoder),
    Msgpack(MsgpackDecoder),
}

impl Decoder {
    pub fn new(format: Format, limits: Limits) -> Self {
        match format {
            Format::Json => Decoder::Json(JsonDecoder::new(limits)),
            Format::Msgpack => Decoder::Msgpack(MsgpackDecoder::new(limits)),
        }
    }

    /// Decodes `body`, one whole event, and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// The rejection of a body that is not exactly one document of the format, within the limits.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        match self {
            Decoder::Json(decoder) => decoder.decode(body, then),
            Decoder::Msgpack(decoder) => decoder.decode(body, then),
        }
    }
}
