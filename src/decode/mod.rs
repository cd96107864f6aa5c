//! Bytes to values, pure. A decoder keeps its buffers from event to event and nothing else: what one body did to it
//! never shows in the next.

mod diagnose; // why a body is not JSON, with the offset
mod json; // JSON text -> tape
mod repeats; // names an object holds twice
#[cfg(test)]
mod tests;

pub use json::{JsonDecoder, JsonLimits};

use crate::rejection::Rejection;
use crate::value::Tape;

/// The decoder of a pipeline's format.
pub enum Decoder {
    Json(JsonDecoder),
}

impl Decoder {
    /// Decodes `body`, one whole event, and hands its tape to `then`; returns what `then` returns.
    ///
    /// # Errors
    /// The rejection of a body that is not exactly one document of the format, within the limits.
    pub fn decode<R>(&mut self, body: &[u8], then: impl FnOnce(&Tape<'_>) -> R) -> Result<R, Rejection> {
        match self {
            Decoder::Json(decoder) => decoder.decode(body, then),
        }
    }
}
