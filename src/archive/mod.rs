//! Good events to Parquet files: rows, partitions, batches, bytes. No store and no clock here.
//!
//! A [`Layout`] is compiled once for a pipeline from its schema's columns. A shard pushes every good event as a [`Row`] into
//! its [`Batches`]; at a flush it seals them, [`encode`]s each and stores the bytes at [`path()`].
//!
//! Nothing is coerced: a value that is not of its column's type, or would lose a digit or a fraction of a second, is a
//! [`Rejection`](crate::rejection::Rejection), and the row leaves no trace. What no column takes is in `_extra`. Two
//! differences are not kept: a field that is null and one that is missing are both null, and a time's offset from UTC is
//! resolved.

mod batches;
mod buffers;
mod builders;
mod encode;
mod encodings;
mod layout;
mod numbers;
mod partition;
mod path;
mod plan;
mod read;
mod rows;
#[cfg(test)]
mod tests;
pub mod time;

pub use batches::{Batches, Refused, SealedBatch};
pub use encode::{EncodeError, EncodedFile, FORMAT_VERSION, FileFacts, encode, encode_isolating};
pub use layout::{Layout, LayoutError, LayoutOptions};
pub use partition::{Partitioner, VALUE_BYTES_MAX};
pub use path::{dataset, path};
pub use read::{GoodEvent, ReadError, rows};
pub use rows::Row;
