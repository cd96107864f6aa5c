//! The end of a Parquet file, which says what the file holds, read without the rest.

use std::sync::Arc;

use parquet::file::metadata::{KeyValue, ParquetMetaData};

use super::record::DecodeError;
use crate::store::columns::{ColumnsError, read_footer};
use crate::store::{Store, StoreError};

/// The footer of the file of `bytes` bytes at `path`.
///
/// # Errors
/// The store's; within, [`DecodeError::Unreadable`].
pub async fn read(
    store: &Store,
    path: &str,
    bytes: u64,
) -> Result<Result<Arc<ParquetMetaData>, DecodeError>, StoreError> {
    match read_footer(store, path, bytes).await {
        Ok(footer) => Ok(Ok(footer)),
        Err(ColumnsError::Broken { source, .. }) => Ok(Err(DecodeError::Unreadable(source))),
        Err(ColumnsError::Store(error)) => Err(error),
    }
}

/// The value that a footer has under `key`.
pub fn value<'a>(pairs: Option<&'a Vec<KeyValue>>, key: &str) -> Option<&'a str> {
    pairs?.iter().find(|pair| pair.key == key)?.value.as_deref()
}
