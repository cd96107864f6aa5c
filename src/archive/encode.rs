//! A batch to the bytes of a Parquet file.
//!
//! zstd at the configured level where it pays; page index and statistics; a dictionary where one makes a column smaller;
//! DELTA_BINARY_PACKED for integers and times; a bloom filter on `_event_id`. The types are Parquet's own alone: without
//! Arrow's copy of the schema in the footer, all readers read the same thing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::batches::SealedBatch;
use super::encodings;
use crate::column;
use crate::rejection::{Code, Issue, Rejection};

/// The version of what is written: columns, encodings and footer keys. A reader of ours reads all versions up to its own.
pub const FORMAT_VERSION: u32 = 1;

/// A row group's bounds. Most files are one row group, as a window of unacked deliveries is no more.
const ROW_GROUP_ROWS_MAX: usize = 1_000_000;
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;

/// What the files of a flush say of where they come from.
#[derive(Clone, Copy, Debug)]
pub struct FileFacts<'a> {
    pub program_version: &'a str,
    pub pipeline: &'a str,
    /// `name@version`.
    pub schema_label: &'a str,
    pub schema_hash: &'a str,
    pub instance: &'a str,
    /// The flush's ULID.
    pub flush: &'a str,
    /// zstd level, 1 to 22.
    pub compression_level: i32,
}

/// A whole file, not yet stored.
#[derive(Clone, Debug)]
pub struct EncodedFile {
    /// As [`SealedBatch::event`].
    pub event: usize,
    /// As [`super::Partitioner::write`] gives it.
    pub partition: String,
    pub bytes: Bytes,
    /// [`super::Row::delivery`] of each row, in order.
    pub deliveries: Vec<u32>,
    /// Earliest and latest event time, in microseconds since 1970.
    pub event_time_min_us: i64,
    pub event_time_max_us: i64,
    /// Rows with something in `_extra`.
    pub rows_with_extra: usize,
}

impl EncodedFile {
    pub fn rows(&self) -> usize {
        self.deliveries.len()
    }
}

/// Why a batch makes no file.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Some row of it never will; [`encode_isolating`] finds which.
    #[error("parquet refused a batch of {rows} rows")]
    Refused { rows: usize, source: ParquetError },
}

/// The file of `batch`. Takes CPU time in proportion: some microseconds a row.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(batch: &SealedBatch, facts: &FileFacts<'_>) -> Result<EncodedFile, EncodeError> {
    let rows = batch.deliveries.len();
    let times = event_times(&batch.rows);
    let bytes = write(&batch.rows, properties(&batch.rows, facts, times))
        .map_err(|source| EncodeError::Refused { rows, source })?;
    Ok(EncodedFile {
        event: batch.event,
        partition: batch.partition.clone(),
        bytes: bytes.into(),
        deliveries: batch.deliveries.clone(),
        event_time_min_us: times.0,
        event_time_max_us: times.1,
        rows_with_extra: batch.rows.column_by_name(column::EXTRA).map_or(0, |extra| extra.len() - extra.null_count()),
    })
}

/// The file of all rows of `batch` that Parquet can hold, `None` if there is no such row, and the others' deliveries with
/// their rejections: [`Code::EncodeRefused`], or [`Code::InternalPanic`] for a row that alone makes the encoder panic.
///
/// # Panics
/// As the encoder does, if it fails on rows together but on none alone: then it is not the rows' fault.
pub fn encode_isolating(batch: &SealedBatch, facts: &FileFacts<'_>) -> (Option<EncodedFile>, Vec<(u32, Rejection)>) {
    isolating(batch, &|batch| encode(batch, facts))
}

fn isolating(
    batch: &SealedBatch,
    encode: &dyn Fn(&SealedBatch) -> Result<EncodedFile, EncodeError>,
) -> (Option<EncodedFile>, Vec<(u32, Rejection)>) {
    if let Ok(Ok(file)) = catch_unwind(AssertUnwindSafe(|| encode(batch))) {
        return (Some(file), Vec::new());
    }
    let mut failing = Vec::new();
    find_failing(batch, 0, batch.deliveries.len(), encode, &mut failing);
    let places: Vec<_> = failing.iter().map(|(place, _)| *place).collect();
    let rejections = failing
        .into_iter()
        .map(|(place, code)| (batch.deliveries[place], Rejection::from(Issue::whole(code))))
        .collect();
    let rest = batch.without(&places);
    if rest.deliveries.is_empty() {
        return (None, rejections);
    }
    let file = encode(&rest).unwrap_or_else(|error| panic!("rows fail together that do not alone: {error}"));
    (Some(file), rejections)
}

/// Adds to `failing` the places from `from` to `to` of rows that fail alone, by halving.
fn find_failing(
    batch: &SealedBatch,
    from: usize,
    to: usize,
    encode: &dyn Fn(&SealedBatch) -> Result<EncodedFile, EncodeError>,
    failing: &mut Vec<(usize, Code)>,
) {
    let slice = batch.slice(from, to);
    let code = match catch_unwind(AssertUnwindSafe(|| encode(&slice))) {
        Ok(Ok(_)) => return,
        Ok(Err(_)) => Code::EncodeRefused,
        Err(_) => Code::InternalPanic,
    };
    if to - from == 1 {
        failing.push((from, code));
    } else {
        let middle = from + (to - from) / 2;
        find_failing(batch, from, middle, encode, failing);
        find_failing(batch, middle, to, encode, failing);
    }
}

fn write(rows: &RecordBatch, properties: WriterProperties) -> Result<Vec<u8>, ParquetError> {
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

/// Earliest and latest event time.
fn event_times(rows: &RecordBatch) -> (i64, i64) {
    let times = rows.column_by_name(column::EVENT_TIME).map(|times| times.as_primitive::<TimestampMicrosecondType>());
    let times = times.map_or(&[][..], |times| times.values());
    (times.iter().copied().min().unwrap_or(0), times.iter().copied().max().unwrap_or(0))
}

fn properties(rows: &RecordBatch, facts: &FileFacts<'_>, times: (i64, i64)) -> WriterProperties {
    let level = ZstdLevel::try_new(facts.compression_level).unwrap_or_default();
    let builder = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_key_value_metadata(Some(footer(rows, facts, times)));
    encodings::set(builder, Compression::ZSTD(level), rows).build()
}

fn footer(rows: &RecordBatch, facts: &FileFacts<'_>, times: (i64, i64)) -> Vec<KeyValue> {
    let mut json = Vec::new();
    for field in rows.schema().fields() {
        json_columns(field, field.name().clone(), &mut json);
    }
    let pairs = [
        ("format_version", FORMAT_VERSION.to_string()),
        ("program_version", facts.program_version.to_owned()),
        ("pipeline", facts.pipeline.to_owned()),
        ("schema", facts.schema_label.to_owned()),
        ("schema_hash", facts.schema_hash.to_owned()),
        ("instance", facts.instance.to_owned()),
        ("flush", facts.flush.to_owned()),
        ("rows", rows.num_rows().to_string()),
        ("event_time_min_us", times.0.to_string()),
        ("event_time_max_us", times.1.to_string()),
        ("json_columns", serde_json::to_string(&json).expect("strings are JSON")),
    ];
    pairs.into_iter().map(|(key, value)| KeyValue::new(format!("parqueduct.{key}"), value)).collect()
}

/// Adds the dotted names of the columns that hold JSON text.
fn json_columns(field: &Field, name: String, found: &mut Vec<String>) {
    if field.metadata().contains_key(column::JSON_KEY) {
        found.push(name);
        return;
    }
    match field.data_type() {
        DataType::Struct(members) => {
            members.iter().for_each(|member| json_columns(member, format!("{name}.{}", member.name()), found));
        }
        DataType::List(element) => json_columns(element, format!("{name}[]"), found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_array::types::Int64Type;
    use arrow_schema::Schema;

    use super::*;

    fn batch(rows: u32) -> SealedBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let numbers: Int64Array = (0..rows).map(i64::from).map(Some).collect();
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers)]).expect("a batch");
        SealedBatch {
            event: 0,
            partition: "date=2013-01-01".to_owned(),
            deliveries: (100..100 + rows.num_rows() as u32).collect(),
            rows,
        }
    }

    fn file_of(batch: &SealedBatch) -> EncodedFile {
        EncodedFile {
            event: batch.event,
            partition: batch.partition.clone(),
            bytes: Bytes::new(),
            deliveries: batch.deliveries.clone(),
            event_time_min_us: 0,
            event_time_max_us: 0,
            rows_with_extra: 0,
        }
    }

    /// An encoder that refuses one number and panics on another.
    fn picky(refused: i64, panics: i64) -> impl Fn(&SealedBatch) -> Result<EncodedFile, EncodeError> {
        move |batch| {
            let numbers = batch.rows.column(0).as_primitive::<Int64Type>().values();
            assert!(!numbers.contains(&panics), "this one cannot be");
            if numbers.contains(&refused) {
                let source = ParquetError::General("no".to_owned());
                return Err(EncodeError::Refused { rows: numbers.len(), source });
            }
            Ok(file_of(batch))
        }
    }

    #[test]
    fn a_row_that_cannot_be_written_costs_itself_alone() {
        let (file, rejected) = isolating(&batch(10), &picky(3, 7));
        let expected = [100, 101, 102, 104, 105, 106, 108, 109];
        assert_eq!(file.expect("the rest is a file").deliveries, expected);
        let brief: Vec<_> = rejected.iter().map(|(delivery, rejection)| (*delivery, rejection.code())).collect();
        assert_eq!(brief, [(103, Code::EncodeRefused), (107, Code::InternalPanic)]);
    }

    #[test]
    fn a_batch_of_nothing_else_makes_no_file() {
        let (file, rejected) = isolating(&batch(1), &picky(0, 7));
        assert!(file.is_none());
        assert_eq!(rejected.len(), 1);
    }

    #[test]
    fn a_good_batch_is_encoded_once() {
        let (file, rejected) = isolating(&batch(4), &picky(-1, -1));
        assert_eq!((file.map(|file| file.rows()), rejected.len()), (Some(4), 0));
    }

    #[test]
    #[should_panic(expected = "fail together")]
    fn rows_that_fail_only_together_are_not_blamed() {
        isolating(&batch(4), &|batch| match batch.deliveries.len() {
            0..3 => Ok(file_of(batch)),
            rows => Err(EncodeError::Refused { rows, source: ParquetError::General("no".to_owned()) }),
        });
    }
}
