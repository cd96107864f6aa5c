//! Parquet -> dead letters, this version's and older ones'. Columns are found by name; what an older file does not have
//! is absent or empty.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use ulid::Ulid;

use super::rows::{read_ids, read_letters, read_returnable, read_summaries};
use super::{DeadLetter, FORMAT, FORMAT_KEY, Returnable, WIRES_KEY, columns};
use crate::decode::Wire;
use crate::dlq::fingerprint::{GroupId, Signature};
use crate::dlq::{footer, sentence};
use crate::store::columns::Parts;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Why a file of dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is broken, or no Parquet at all.
    #[error("not a readable parquet file")]
    Unreadable(#[source] ParquetError),
    /// A newer program wrote it.
    #[error("written in format {0}, this program reads up to {FORMAT}: use a newer parqueduct")]
    Newer(u32),
    /// It is Parquet, but not of dead letters.
    #[error("not a file of dead letters: {0}")]
    Foreign(String),
}

/// What can be known of a search before any row is read; narrows it to the row groups that may hold it.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    pub id: Option<Ulid>,
    /// Among the issues, not only the primary one.
    pub group: Option<GroupId>,
}

/// What a listing knows of a dead letter; borrows from the decoded columns. It holds nothing of the body.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    pub id: Ulid,
    pub pipeline: &'a str,
    pub queue: &'a str,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// Where the broker dead-lettered it; see [`Original`](super::Original).
    pub original_queue: Option<&'a str>,
    pub original_exchange: Option<&'a str>,
    pub original_routing_key: Option<&'a str>,
    pub received_at: DateTime<Utc>,
    pub dead_at: DateTime<Utc>,
    pub stage: &'a str,
    pub code: &'a str,
    /// The first is the primary one.
    pub issues: Vec<IssueRef<'a>>,
    /// `name@version`.
    pub schema: &'a str,
    pub event_id: Option<&'a str>,
    pub message_id: Option<&'a str>,
    pub app_id: Option<&'a str>,
    pub body_bytes: u64,
}

/// An [`IssueRecord`](super::IssueRecord) that borrows.
#[derive(Clone, Copy, Debug)]
pub struct IssueRef<'a> {
    pub code: &'a str,
    pub path: &'a str,
    pub expected: &'a str,
    pub actual: &'a str,
    /// As written; the text of a [`GroupId`].
    pub group: &'a str,
    pub offset: Option<u64>,
    pub title: Option<&'a str>,
}

impl IssueRef<'_> {
    /// What is wrong, for people: what a rule calls it, or its sentence. The body is `body_bytes` long.
    pub fn told(&self, body_bytes: u64) -> String {
        let Self { code, path, expected, actual, offset, title, .. } = *self;
        let sentence = || sentence::of(&Signature::new(code, path, expected, actual, offset, body_bytes));
        title.map_or_else(sentence, str::to_owned)
    }
}

impl Summary<'_> {
    /// What is wrong in the first place, for people; holds no value of the event.
    pub fn sentence(&self) -> String {
        self.issues.first().map_or_else(String::new, |issue| issue.told(self.body_bytes))
    }
}

/// A file of dead letters, or as much of it as was fetched. Cloning is cheap.
#[derive(Clone)]
pub struct File {
    metadata: ArrowReaderMetadata,
    parts: Parts,
    wires: Arc<OnceLock<Wires>>,
}

/// How to read bodies, by the hash of their schema.
pub(super) type Wires = HashMap<String, Wire>;

impl File {
    /// All of a file.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn whole(file: Bytes) -> Result<Self, DecodeError> {
        let parts = Parts::whole(file);
        let metadata = ArrowReaderMetadata::load(&parts, ArrowReaderOptions::new()).map_err(unreadable)?;
        checked_format(metadata.metadata())?;
        Ok(Self { metadata, parts, wires: Arc::default() })
    }

    /// Those `parts` of a file with that footer.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn in_part(metadata: Arc<ParquetMetaData>, parts: Parts) -> Result<Self, DecodeError> {
        checked_format(&metadata)?;
        let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new()).map_err(unreadable)?;
        Ok(Self { metadata, parts, wires: Arc::default() })
    }

    /// What its footer has under `key`.
    pub(in crate::dlq) fn footer(&self, key: &str) -> Option<&str> {
        footer::value(self.metadata.metadata().file_metadata().key_value_metadata(), key)
    }

    /// Of letters whose format alone does not say how to read their bodies. What cannot be read is left out: such a body
    /// is shown as it is.
    fn wires(&self) -> &Wires {
        self.wires.get_or_init(|| {
            let texts: HashMap<String, String> =
                self.footer(WIRES_KEY).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            texts.into_iter().filter_map(|(hash, text)| Some((hash, Wire::parse(&text)?))).collect()
        })
    }

    /// Adds every letter to `letters`, in the file's order.
    ///
    /// # Errors
    /// [`DecodeError`]; some may have been added by then.
    pub fn all(&self, letters: &mut Vec<DeadLetter>) -> Result<(), DecodeError> {
        for batch in self.reader().with_batch_size(BATCH_ROWS).build().map_err(unreadable)? {
            read_letters(&batch.map_err(unreadable)?, self.wires(), letters)?;
        }
        Ok(())
    }

    fn reader(&self) -> Builder {
        Builder::new_with_metadata(self.parts.clone(), self.metadata.clone())
    }

    /// Calls `each` for every letter, in the file's order, without reading bodies or headers.
    ///
    /// # Errors
    /// [`DecodeError`]; `each` may have been called by then.
    pub fn summaries(&self, mut each: impl FnMut(&Summary<'_>)) -> Result<(), DecodeError> {
        summaries(self.reader(), self.all_row_groups(), &mut each)
    }

    /// Calls `each` for the id of every letter, in the file's order; nothing else is decoded.
    ///
    /// # Errors
    /// [`DecodeError`]; `each` may have been called by then.
    pub fn ids(&self, mut each: impl FnMut(Ulid)) -> Result<(), DecodeError> {
        let mask = ProjectionMask::columns(self.metadata.metadata().file_metadata().schema_descr(), [columns::ID]);
        let reader = self.reader().with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
        for batch in reader {
            read_ids(&batch.map_err(unreadable)?, &mut each)?;
        }
        Ok(())
    }

    /// Gives the letters that `picked` says, one for each of the file's in its order, some at a time; only their bodies
    /// are decoded.
    ///
    /// # Errors
    /// [`DecodeError`]; `each` may have been called by then.
    pub fn picked(&self, picked: &[bool], each: impl FnMut(Vec<DeadLetter>)) -> Result<(), DecodeError> {
        let read = |batch: &RecordBatch, letters: &mut Vec<DeadLetter>| read_letters(batch, self.wires(), letters);
        read_picked(self.reader(), self.all_row_groups(), picked, read, each)
    }

    /// As [`File::picked`], only what it takes to give them back.
    ///
    /// # Errors
    /// As [`File::picked`].
    pub fn returnable(&self, picked: &[bool], each: impl FnMut(Vec<Returnable>)) -> Result<(), DecodeError> {
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::columns(schema, columns::RETURNABLE.iter().copied());
        let reader = self.reader().with_projection(mask);
        let read = |batch: &RecordBatch, letters: &mut Vec<Returnable>| read_returnable(batch, self.wires(), letters);
        read_picked(reader, self.all_row_groups(), picked, read, each)
    }

    fn all_row_groups(&self) -> Vec<usize> {
        (0..self.metadata.metadata().num_row_groups()).collect()
    }
}

/// Every letter of a file, in the file's order.
///
/// # Errors
/// [`DecodeError`]: nothing of the file is given.
pub fn decode(file: Bytes) -> Result<Vec<DeadLetter>, DecodeError> {
    let mut letters = Vec::new();
    File::whole(file)?.all(&mut letters)?;
    Ok(letters)
}

/// Calls `each` for every letter of a file, in the file's order, without reading bodies or headers.
///
/// # Errors
/// [`DecodeError`]; `each` may have been called by then.
pub fn decode_summaries(
    file: Bytes,
    narrowing: &Narrowing,
    mut each: impl FnMut(&Summary<'_>),
) -> Result<(), DecodeError> {
    let builder = File::whole(file)?.reader();
    let row_groups = row_groups(&builder, narrowing)?;
    summaries(builder, row_groups, &mut each)
}

/// The letters of a file that `wanted` picks, in the file's order; the others' bodies are not read.
///
/// # Errors
/// [`DecodeError`]: nothing of the file is given.
pub fn decode_where(
    file: Bytes,
    narrowing: &Narrowing,
    wanted: impl Fn(&Summary<'_>) -> bool,
) -> Result<Vec<DeadLetter>, DecodeError> {
    let file = File::whole(file)?;
    let row_groups = row_groups(&file.reader(), narrowing)?;
    let mut picked = Vec::new();
    summaries(file.reader(), row_groups.clone(), &mut |summary| picked.push(wanted(summary)))?;
    let mut letters = Vec::new();
    let read = |batch: &RecordBatch, letters: &mut Vec<DeadLetter>| read_letters(batch, file.wires(), letters);
    read_picked(file.reader(), row_groups, &picked, read, |some| letters.extend(some))?;
    Ok(letters)
}

fn read_picked<T>(
    builder: Builder,
    row_groups: Vec<usize>,
    picked: &[bool],
    read: impl Fn(&RecordBatch, &mut Vec<T>) -> Result<(), DecodeError>,
    mut each: impl FnMut(Vec<T>),
) -> Result<(), DecodeError> {
    if !picked.contains(&true) {
        return Ok(());
    }
    let selectors: Vec<RowSelector> = picked
        .chunk_by(|one, other| one == other)
        .map(|run| if run[0] { RowSelector::select(run.len()) } else { RowSelector::skip(run.len()) })
        .collect();
    let reader = builder
        .with_row_groups(row_groups)
        .with_row_selection(RowSelection::from(selectors))
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(unreadable)?;
    for batch in reader {
        let batch = batch.map_err(unreadable)?;
        let mut letters = Vec::with_capacity(batch.num_rows());
        read(&batch, &mut letters)?;
        each(letters);
    }
    Ok(())
}

fn unreadable(error: impl Into<ParquetError>) -> DecodeError {
    DecodeError::Unreadable(error.into())
}

type Builder = ParquetRecordBatchReaderBuilder<Parts>;

/// Refuses what is not ours to read.
pub(in crate::dlq) fn checked_format(metadata: &ParquetMetaData) -> Result<(), DecodeError> {
    let format = footer::value(metadata.file_metadata().key_value_metadata(), FORMAT_KEY);
    let format: u32 = format
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| DecodeError::Foreign(format!("its footer has no {FORMAT_KEY}")))?;
    if format > FORMAT { Err(DecodeError::Newer(format)) } else { Ok(()) }
}

/// The columns that [`File::summaries`] reads.
pub(in crate::dlq) fn summary_mask(metadata: &ParquetMetaData) -> ProjectionMask {
    ProjectionMask::columns(metadata.file_metadata().schema_descr(), columns::SUMMARY.iter().copied())
}

/// The row groups that may hold what `narrowing` asks for.
fn row_groups(builder: &Builder, narrowing: &Narrowing) -> Result<Vec<usize>, DecodeError> {
    let id = narrowing.id.map(|id| id.to_string());
    let group = narrowing.group.as_ref().map(GroupId::as_str);
    let mut kept = Vec::new();
    for row_group in 0..builder.metadata().num_row_groups() {
        if may_hold(builder, row_group, columns::ID, id.as_deref())?
            && may_hold(builder, row_group, columns::ISSUES_GROUP_LEAF, group)?
        {
            kept.push(row_group);
        }
    }
    Ok(kept)
}

fn may_hold(builder: &Builder, row_group: usize, leaf: &str, value: Option<&str>) -> Result<bool, DecodeError> {
    let Some(value) = value else { return Ok(true) };
    let leaves = builder.parquet_schema().columns();
    let Some(leaf) = leaves.iter().position(|column| column.path().string() == leaf) else { return Ok(true) };
    let bloom = builder.get_row_group_column_bloom_filter(row_group, leaf).map_err(unreadable)?;
    Ok(bloom.is_none_or(|bloom| bloom.check(value)))
}

fn summaries(builder: Builder, row_groups: Vec<usize>, each: &mut impl FnMut(&Summary<'_>)) -> Result<(), DecodeError> {
    let mask = summary_mask(builder.metadata());
    let reader = builder
        .with_row_groups(row_groups)
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(unreadable)?;
    for batch in reader {
        read_summaries(&batch.map_err(unreadable)?, each)?;
    }
    Ok(())
}
