//! Parquet objects, fetched in part: the footer, some columns, some row groups.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::{Buf, Bytes, buf::Reader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::{Store, StoreError};

/// Bytes from the end that are fetched first: nearly every footer is within them.
const TAIL_BYTES: u64 = 64 * 1024;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Why columns cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read {path}")]
    Broken { path: String, source: ParquetError },
}

/// The columns `wanted` of the object at `path`, which is `bytes` long.
///
/// # Errors
/// See [`ColumnsError`].
pub async fn read_columns(
    store: &Store,
    path: &str,
    bytes: u64,
    wanted: &'static [&'static str],
) -> Result<Vec<RecordBatch>, ColumnsError> {
    let broken = |source| ColumnsError::Broken { path: path.to_owned(), source };
    let metadata = read_footer(store, path, bytes).await?;
    let schema = metadata.file_metadata().schema_descr();
    let leaves: Vec<usize> = (0..schema.num_columns())
        .filter(|&leaf| wanted.contains(&schema.column(leaf).path().parts()[0].as_str()))
        .collect();
    let mask = ProjectionMask::leaves(schema, leaves);
    let file = fetch(store, path, bytes, &metadata, &mask).await?;
    let decoded = tokio::task::spawn_blocking(move || decode(file, metadata, mask)).await;
    let decoded = decoded.unwrap_or_else(|panic| Err(ParquetError::External(panic.into())));
    decoded.map_err(broken)
}

/// What is needed of the object at `path`, whose footer is `metadata`, to read the columns of `mask`.
///
/// # Errors
/// The store's.
pub async fn fetch(
    store: &Store,
    path: &str,
    bytes: u64,
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
) -> Result<Parts, StoreError> {
    let columns = metadata.row_groups().iter().flat_map(|group| {
        let wanted = (0..group.num_columns()).filter(|&leaf| mask.leaf_included(leaf));
        wanted.map(|leaf| group.column(leaf).byte_range())
    });
    let chunks: Vec<Range<u64>> = columns.map(|(start, length)| start..start + length).collect();
    let fetched = store.get_ranges(path, &chunks).await?;
    Ok(Parts { bytes, parts: chunks.iter().map(|chunk| chunk.start).zip(fetched).collect() })
}

/// The footer of the object at `path`, which is `bytes` long.
///
/// # Errors
/// See [`ColumnsError`].
pub async fn read_footer(store: &Store, path: &str, bytes: u64) -> Result<Arc<ParquetMetaData>, ColumnsError> {
    let mut wanted = TAIL_BYTES.min(bytes);
    loop {
        let tail = bytes - wanted..bytes;
        let tail = store.get_ranges(path, std::slice::from_ref(&tail)).await?.pop().unwrap_or_default();
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, bytes) {
            Ok(()) => {
                let metadata = reader.finish().map_err(|source| broken(path, source))?;
                return Ok(Arc::new(metadata));
            }
            Err(ParquetError::NeedMoreData(needed)) if (needed as u64) > wanted && (needed as u64) <= bytes => {
                wanted = needed as u64;
            }
            Err(source) => return Err(broken(path, source)),
        }
    }
}

fn broken(path: &str, source: ParquetError) -> ColumnsError {
    ColumnsError::Broken { path: path.to_owned(), source }
}

fn decode(file: Parts, metadata: Arc<ParquetMetaData>, mask: ProjectionMask) -> Result<Vec<RecordBatch>, ParquetError> {
    let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// The parts of a file that were fetched, each with where it begins.
#[derive(Clone)]
pub struct Parts {
    bytes: u64,
    parts: Vec<(u64, Bytes)>,
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Parts {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let part = self.from(start)?;
        if part.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} were not fetched")));
        }
        Ok(part.slice(..length))
    }
}

impl Parts {
    /// All of a file.
    pub fn whole(file: Bytes) -> Self {
        Self { bytes: file.len() as u64, parts: vec![(0, file)] }
    }

    /// What was fetched from `start` on.
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let within = |(at, part): &&(u64, Bytes)| (*at..*at + part.len() as u64).contains(&start);
        match self.parts.iter().find(within) {
            Some((at, part)) => Ok(part.slice((start - at) as usize..)),
            None => Err(ParquetError::EOF(format!("what begins at {start} was not fetched"))),
        }
    }
}
