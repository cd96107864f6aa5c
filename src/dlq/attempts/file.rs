//! Attempts -> Parquet, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{AttemptOutcome, AttemptRecord};
use crate::dlq::arrays::{
    Columns, code_text, element, elements_of, foreign, group, instant, instants, stage_text, text, text_or_null,
};
use crate::dlq::footer;
use crate::dlq::record::columns as letters;
use crate::dlq::record::issues::{self, Issues};
use crate::dlq::record::{DecodeError, EncodeError};

/// The version of the file written here, in its footer under [`FORMAT_KEY`].
const FORMAT: u32 = 1;
const FORMAT_KEY: &str = "parqueduct.attempts.format";

/// The footer key of [`Given`], so that groups are counted without reading rows.
const GIVEN_KEY: &str = "parqueduct.attempts.given";

const LETTER: &str = "letter";
const N: &str = "n";
const AT: &str = "at";
const JOB: &str = "job";
const OUTCOME: &str = "outcome";
const LETTER_GROUPS: &str = "letter_groups";
const STAGE: &str = "stage";
const CODE: &str = "code";
const EVENT_ID: &str = "event_id";
const INSTANCE: &str = "instance";
const VERSION: &str = "version";
const FLUSH_ID: &str = "flush_id";

/// Rows decoded at a time.
const BATCH_ROWS: usize = 4096;

/// What a file's attempts made of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Letters recovered, by the groups they were in.
    pub recovered: BTreeMap<String, Recoveries>,
    /// Attempts that failed, by the group of the primary issue found then.
    pub failed: BTreeMap<String, u64>,
}

/// Letters of one group that are recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recoveries {
    /// Those that the group counts: it is the group of their primary issue.
    pub counted: u64,
    /// Those that show it, as primary issue or beside another.
    pub showing: u64,
    /// Microseconds since 1970 of the last recovery.
    pub last_us: i64,
}

impl Given {
    fn of(attempts: &[AttemptRecord]) -> Self {
        let mut given = Self::default();
        for attempt in attempts {
            match attempt.outcome {
                AttemptOutcome::Recovered => given.recover(attempt),
                AttemptOutcome::Failed => {
                    let found = attempt.issues.first().map(|issue| issue.group.to_string());
                    found.into_iter().for_each(|group| *given.failed.entry(group).or_default() += 1);
                }
            }
        }
        given
    }

    fn recover(&mut self, attempt: &AttemptRecord) {
        for (place, group) in attempt.letter_groups.iter().enumerate() {
            if attempt.letter_groups[..place].contains(group) {
                continue;
            }
            let recoveries = self.recovered.entry(group.to_string()).or_default();
            recoveries.counted += u64::from(place == 0);
            recoveries.showing += 1;
            recoveries.last_us = recoveries.last_us.max(attempt.at.timestamp_micros());
        }
    }

    /// Adds what `other` says of other attempts.
    pub fn merge(&mut self, other: &Self) {
        for (group, more) in &other.recovered {
            let known = self.recovered.entry(group.clone()).or_default();
            known.counted += more.counted;
            known.showing += more.showing;
            known.last_us = known.last_us.max(more.last_us);
        }
        for (group, more) in &other.failed {
            *self.failed.entry(group.clone()).or_default() += more;
        }
    }
}

/// The file of `attempts`, sorted by letter.
///
/// # Errors
/// [`EncodeError`]: never for what an attempt holds.
pub fn encode(attempts: &[AttemptRecord]) -> Result<Bytes, EncodeError> {
    let mut sorted: Vec<&AttemptRecord> = attempts.iter().collect();
    sorted.sort_by_key(|attempt| (attempt.letter, attempt.n));
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties())).map_err(EncodeError)?;
    for some in sorted.chunks(BATCH_ROWS) {
        writer.write(&batch(some)?).map_err(EncodeError)?;
    }
    let given = serde_json::to_string(&Given::of(attempts)).expect("its keys are text");
    writer.append_key_value_metadata(KeyValue::new(GIVEN_KEY.to_owned(), given));
    Ok(writer.into_inner().map_err(EncodeError)?.into())
}

fn properties() -> WriterProperties {
    let ids = ColumnPath::from(LETTER);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a zstd level")))
        .set_key_value_metadata(Some(vec![KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_string())]))
        .set_column_dictionary_enabled(ids.clone(), false)
        .set_column_bloom_filter_enabled(ids, true)
        .build()
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let text_or_null = |name| Field::new(name, DataType::Utf8, true);
    let groups = DataType::List(Arc::new(Field::new("element", DataType::Utf8, false)));
    Arc::new(Schema::new(vec![
        text(LETTER),
        Field::new(N, DataType::UInt32, false),
        Field::new(AT, instant(), false),
        text_or_null(JOB),
        text(OUTCOME),
        Field::new(LETTER_GROUPS, groups, false),
        text(STAGE),
        text(CODE),
        Field::new(letters::ISSUES, DataType::List(element(letters::issue_fields())), false),
        text_or_null(EVENT_ID),
        text(INSTANCE),
        text(VERSION),
        text(FLUSH_ID),
    ]))
}

fn batch(attempts: &[&AttemptRecord]) -> Result<RecordBatch, ArrowError> {
    let ulids = attempts.iter().map(|attempt| attempt.letter.to_string());
    let arrays: Vec<ArrayRef> = vec![
        text(ulids),
        Arc::new(UInt32Array::from_iter_values(attempts.iter().map(|attempt| attempt.n))),
        instants(attempts.iter().map(|attempt| Some(attempt.at))),
        text_or_null(attempts.iter().map(|attempt| attempt.job.map(|job| job.to_string()))),
        text(attempts.iter().map(|attempt| attempt.outcome.as_str())),
        letter_groups(attempts)?,
        text(attempts.iter().map(|attempt| &attempt.stage)),
        text(attempts.iter().map(|attempt| &attempt.code)),
        issues::array(attempts.iter().map(|attempt| attempt.issues.as_slice()))?,
        text_or_null(attempts.iter().map(|attempt| attempt.event_id.as_ref())),
        text(attempts.iter().map(|attempt| &attempt.instance)),
        text(attempts.iter().map(|attempt| &attempt.version)),
        text(attempts.iter().map(|attempt| &attempt.flush_id)),
    ];
    RecordBatch::try_new(schema(), arrays)
}

fn letter_groups(attempts: &[&AttemptRecord]) -> Result<ArrayRef, ArrowError> {
    let all = attempts.iter().flat_map(|attempt| &attempt.letter_groups);
    let values = StringArray::from_iter_values(all.map(crate::dlq::fingerprint::GroupId::as_str));
    let offsets = OffsetBuffer::from_lengths(attempts.iter().map(|attempt| attempt.letter_groups.len()));
    let field = Arc::new(Field::new("element", DataType::Utf8, false));
    Ok(Arc::new(arrow_array::ListArray::try_new(field, offsets, Arc::new(values), None)?))
}

type Builder = ParquetRecordBatchReaderBuilder<Bytes>;

fn open(file: Bytes) -> Result<Builder, DecodeError> {
    let builder = Builder::try_new(file).map_err(DecodeError::Unreadable)?;
    check(builder.metadata())?;
    Ok(builder)
}

/// Refuses what is not ours to read.
fn check(metadata: &ParquetMetaData) -> Result<(), DecodeError> {
    let format = footer::value(metadata.file_metadata().key_value_metadata(), FORMAT_KEY);
    let format: u32 = format
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| DecodeError::Foreign(format!("its footer has no {FORMAT_KEY}")))?;
    if format > FORMAT { Err(DecodeError::Newer(format)) } else { Ok(()) }
}

/// What the footer of a file of attempts says of groups.
pub(super) fn given(metadata: &ParquetMetaData) -> Result<Given, DecodeError> {
    check(metadata)?;
    let text = footer::value(metadata.file_metadata().key_value_metadata(), GIVEN_KEY);
    text.and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| DecodeError::Foreign(format!("its footer has no {GIVEN_KEY}")))
}

/// Every attempt of a file, by letter.
///
/// # Errors
/// [`DecodeError`]: nothing of the file is given.
pub fn decode(file: Bytes) -> Result<Vec<AttemptRecord>, DecodeError> {
    decode_where(file, |_| true)
}

/// The attempts of a file at the letters that `wanted` picks.
pub(super) fn decode_where(file: Bytes, wanted: impl Fn(Ulid) -> bool) -> Result<Vec<AttemptRecord>, DecodeError> {
    let mut attempts = Vec::new();
    for batch in open(file)?.with_batch_size(BATCH_ROWS).build().map_err(DecodeError::Unreadable)? {
        let batch = batch.map_err(|error| DecodeError::Unreadable(ParquetError::from(error)))?;
        read(&batch, &wanted, &mut attempts)?;
    }
    Ok(attempts)
}

/// Each attempt's letter, and whether it recovered it.
pub(super) fn decode_outcomes(file: Bytes) -> Result<Vec<(Ulid, bool)>, DecodeError> {
    let builder = open(file)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [LETTER, OUTCOME]);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(DecodeError::Unreadable)?;
    let mut outcomes = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| DecodeError::Unreadable(ParquetError::from(error)))?;
        let columns = Columns::of(&batch);
        let (letters, ended) = (columns.text(LETTER)?, columns.text(OUTCOME)?);
        for row in 0..batch.num_rows() {
            let recovered = ended.or_empty(row) == AttemptOutcome::Recovered.as_str();
            outcomes.push((letter(letters.or_empty(row))?, recovered));
        }
    }
    Ok(outcomes)
}

fn letter(text: &str) -> Result<Ulid, DecodeError> {
    text.parse().map_err(|_| foreign(LETTER, "holds something that is no ULID"))
}

fn read(
    batch: &RecordBatch,
    wanted: &impl Fn(Ulid) -> bool,
    attempts: &mut Vec<AttemptRecord>,
) -> Result<(), DecodeError> {
    let columns = Columns::of(batch);
    let (letters, jobs) = (columns.text(LETTER)?, columns.text(JOB)?);
    let (numbers, at) = (columns.numbers::<UInt32Type>(N)?, columns.instants(AT)?);
    let (outcomes, issues) = (columns.text(OUTCOME)?, Issues::of(&columns)?);
    let (stages, codes) = (columns.text(STAGE)?, columns.text(CODE)?);
    let (event_ids, instances) = (columns.text(EVENT_ID)?, columns.text(INSTANCE)?);
    let (versions, flushes) = (columns.text(VERSION)?, columns.text(FLUSH_ID)?);
    let lists = columns.typed(LETTER_GROUPS, |array| array.as_list_opt::<i32>())?;
    let groups_of = |row| {
        let Some(lists) = lists else { return Ok(Vec::new()) };
        let texts = lists.values().as_string_opt::<i32>();
        let texts = texts.ok_or_else(|| foreign(LETTER_GROUPS, "is of another type"))?;
        elements_of(lists, row).map(|at| group(texts.value(at))).collect::<Result<Vec<_>, _>>()
    };
    for row in 0..batch.num_rows() {
        let letter = letter(letters.or_empty(row))?;
        if !wanted(letter) {
            continue;
        }
        let outcome = AttemptOutcome::parse(outcomes.or_empty(row));
        let job = jobs.get(row).map(|text| text.parse().map_err(|_| foreign(JOB, "holds something that is no ULID")));
        attempts.push(AttemptRecord {
            letter,
            n: numbers.get(row).unwrap_or(0),
            at: at.instant(row)?,
            job: job.transpose()?,
            outcome: outcome.ok_or_else(|| foreign(OUTCOME, "holds an unknown outcome"))?,
            letter_groups: groups_of(row)?,
            stage: stage_text(stages.or_empty(row)),
            code: code_text(codes.or_empty(row)),
            issues: issues.records(row)?,
            event_id: event_ids.owned(row),
            instance: instances.or_empty(row).into(),
            version: versions.or_empty(row).to_owned().into(),
            flush_id: flushes.or_empty(row).into(),
        });
    }
    Ok(())
}
