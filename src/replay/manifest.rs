//! Which letters a plan is about, in the order in which they are given back: frozen when the plan is made.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};
use ulid::Ulid;

/// Rows decoded or written at a time.
const BATCH_ROWS: usize = 16_384;

const LETTER: &str = "letter";
const DEAD_AT: &str = "dead_at";
const BODY_BYTES: &str = "body_bytes";

/// One letter of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub letter: Ulid,
    /// To the microsecond: where its record is looked for.
    pub dead_at: DateTime<Utc>,
    /// Of its body.
    pub body_bytes: u64,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("not a readable parquet file")]
    Parquet(#[from] ParquetError),
    #[error("not a manifest: {0}")]
    Foreign(&'static str),
}

/// SHA-256 in hex over the letters in their order.
pub fn hash(lines: &[Line]) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.letter.to_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn schema() -> SchemaRef {
    let fields = [(LETTER, DataType::Utf8), (DEAD_AT, instant()), (BODY_BYTES, DataType::UInt64)];
    let fields: Vec<_> = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, false)).collect();
    Arc::new(Schema::new(fields))
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The file of `lines`.
///
/// # Errors
/// Never for what a manifest holds.
pub fn encode(lines: &[Line]) -> Result<Bytes, ParquetError> {
    let level = ZstdLevel::try_new(1).expect("1 is a zstd level");
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
    for some in lines.chunks(BATCH_ROWS) {
        writer.write(&batch(some)?)?;
    }
    Ok(writer.into_inner()?.into())
}

fn batch(lines: &[Line]) -> Result<RecordBatch, ArrowError> {
    let dead_at = TimestampMicrosecondArray::from_iter_values(lines.iter().map(|line| line.dead_at.timestamp_micros()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(lines.iter().map(|line| line.letter.to_string()))),
        Arc::new(dead_at.with_timezone("UTC")),
        Arc::new(UInt64Array::from_iter_values(lines.iter().map(|line| line.body_bytes))),
    ];
    RecordBatch::try_new(schema(), columns)
}

/// The letters of a manifest, in their order.
///
/// # Errors
/// See [`ManifestError`].
pub fn decode(file: Bytes) -> Result<Vec<Line>, ManifestError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()?;
    let mut lines = Vec::new();
    for batch in reader {
        let batch = batch.map_err(ParquetError::from)?;
        let column = |name| batch.column_by_name(name).ok_or(ManifestError::Foreign("a column is missing"));
        let letters = column(LETTER)?.as_string_opt::<i32>();
        let dead_at = column(DEAD_AT)?.as_primitive_opt::<TimestampMicrosecondType>();
        let bytes = column(BODY_BYTES)?.as_primitive_opt::<UInt64Type>();
        let (Some(letters), Some(dead_at), Some(bytes)) = (letters, dead_at, bytes) else {
            return Err(ManifestError::Foreign("a column has another type"));
        };
        for row in 0..batch.num_rows() {
            let letter = letters.value(row).parse().map_err(|_| ManifestError::Foreign("a letter has no id"))?;
            let dead_at = DateTime::from_timestamp_micros(dead_at.value(row));
            let dead_at = dead_at.ok_or(ManifestError::Foreign("an instant is beyond all time"))?;
            lines.push(Line { letter, dead_at, body_bytes: bytes.value(row) });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u128) -> Line {
        let dead_at = DateTime::from_timestamp_micros(1_357_000_000_123_456 + n as i64).expect("a time");
        Line { letter: Ulid::from_parts(7, n), dead_at, body_bytes: n as u64 }
    }

    #[test]
    fn a_manifest_is_read_back_in_its_order() {
        let lines = [line(3), line(1), line(2)];
        assert_eq!(decode(encode(&lines).expect("written")).expect("read"), lines);
        assert_eq!(decode(encode(&[]).expect("written")).expect("read"), []);
    }

    #[test]
    fn the_hash_is_of_letters_and_their_order() {
        let lines = [line(1), line(2)];
        assert_eq!(hash(&lines), hash(&lines.clone()));
        assert_ne!(hash(&lines), hash(&[line(2), line(1)]));
        assert_ne!(hash(&lines), hash(&lines[..1]));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        assert!(matches!(decode(Bytes::from_static(b"PAR1")), Err(ManifestError::Parquet(_))));
    }
}
