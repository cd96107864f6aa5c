//! What a dead letter is known by, without its body: for recognising the same message when it comes again.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};

use super::columns;

/// The columns that [`identities`] reads.
pub const IDENTITY_COLUMNS: &[&str] = &[columns::EVENT_ID, columns::MESSAGE_ID, columns::BODY_HASH];

/// What names a message that became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub event_id: Option<&'a str>,
    pub message_id: Option<&'a str>,
    pub body_hash: [u8; 16],
}

/// The identity of each letter of a batch with (at least) the columns [`IDENTITY_COLUMNS`]; none without them.
pub fn identities(batch: &RecordBatch) -> impl Iterator<Item = Identity<'_>> {
    let texts = |name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let (event_ids, message_ids) = (texts(columns::EVENT_ID), texts(columns::MESSAGE_ID));
    let hashes = batch.column_by_name(columns::BODY_HASH).and_then(|column| column.as_fixed_size_binary_opt());
    (0..batch.num_rows()).filter_map(move |row| {
        Some(Identity {
            event_id: text(event_ids, row),
            message_id: text(message_ids, row),
            body_hash: hashes?.value(row).try_into().ok()?,
        })
    })
}

fn text(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}
