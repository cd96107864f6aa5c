//! Letters back through a broker: to one queue, to where they came from, or to an exchange. Each message is looked at before
//! it is sent, so that one that the broker would refuse costs no other; what became of each is in the store before the next
//! are sent, so that a replay that was cut off goes on where it was.

mod chunks; // how far a job is, in the store
mod courier; // sends chunks, and knows what became of each letter
mod preflight; // a letter -> the message to send, or why not

pub use chunks::{ChunkError, Fate, PREFIX, Progress, progress};
pub use courier::{CHUNK_LETTERS_MAX, Courier, CourierError, CourierParts, Errand, Letter, detour_of};
pub use preflight::{Address, Limits, Outgoing, Unfit, home_address, prepare};
