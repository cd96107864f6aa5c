//! Dead letters -> Parquet.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, LargeBinaryArray, RecordBatch, StringArray, UInt8Array, UInt32Array,
    UInt64Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{Attempt, DeadLetter, FORMAT, FORMAT_KEY, Origin, WIRES_KEY, columns, issues};
use crate::decode::Wire;
use crate::dlq::arrays::{instants, list, text, text_or_null};
use crate::dlq::index::{INDEX_KEY, Index, REPLACES_KEY};
use crate::event::{HeaderValue, Properties, Unreadable};
use crate::headers;

/// Letters, and bytes of letters, turned into columns at a time: bounds the copy that is held beside them.
const BATCH_LETTERS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Bytes of a row group before compression.
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;

/// The letters could not be written as Parquet. Nothing of them is lost; the same letters will fail again.
#[derive(Debug, thiserror::Error)]
#[error("cannot write dead letters as parquet")]
pub struct EncodeError(#[source] pub(in crate::dlq) ParquetError);

impl From<ArrowError> for EncodeError {
    fn from(error: ArrowError) -> Self {
        Self(error.into())
    }
}

/// The file of `letters`, sorted by group, then time, then id, so that a group lies together.
///
/// # Errors
/// [`EncodeError`]: never for what a message holds.
pub fn encode(letters: &[DeadLetter]) -> Result<Bytes, EncodeError> {
    let mut sorted: Vec<&DeadLetter> = letters.iter().collect();
    sorted.sort_by_cached_key(|letter| (letter.group().clone(), letter.dead_at, letter.id));
    let mut encoder = Encoder::new(Vec::new(), Order::Sorted)?;
    encoder.write(&sorted)?;
    Ok(encoder.finish()?.into())
}

/// Whether a file says of itself that it is sorted as [`encode`] sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sorted,
    AsGiven,
}

/// Writes a file of dead letters bit by bit, holding one row group.
pub struct Encoder<W: Write + Send> {
    writer: ArrowWriter<W>,
    index: Index,
    /// How to read bodies, by the hash of their schema, where the format alone does not say it.
    wires: BTreeMap<String, Wire>,
    /// What was noted last: letters of one origin mostly come together.
    noted: Option<Arc<Origin>>,
}

impl<W: Write + Send> Encoder<W> {
    /// Begins a file in `out`, in whatever order the letters come.
    ///
    /// # Errors
    /// [`EncodeError`]: `out` cannot be written.
    pub fn unsorted(out: W) -> Result<Self, EncodeError> {
        Self::new(out, Order::AsGiven)
    }

    /// Begins a file in `out`, whose letters come in the order of [`encode`].
    ///
    /// # Errors
    /// [`EncodeError`]: `out` cannot be written.
    pub fn sorted(out: W) -> Result<Self, EncodeError> {
        Self::new(out, Order::Sorted)
    }

    fn new(out: W, order: Order) -> Result<Self, EncodeError> {
        let writer = ArrowWriter::try_new(out, columns::schema(), Some(properties(order))).map_err(EncodeError)?;
        Ok(Self { writer, index: Index::default(), wires: BTreeMap::new(), noted: None })
    }

    /// # Errors
    /// [`EncodeError`]: the file is to be thrown away.
    pub fn write(&mut self, letters: &[&DeadLetter]) -> Result<(), EncodeError> {
        let mut rest = letters;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch_letters(rest));
            self.writer.write(&batch(now)?).map_err(EncodeError)?;
            for letter in now {
                self.index.add_letter(letter);
                self.note_wire(&letter.origin);
            }
            rest = later;
        }
        Ok(())
    }

    fn note_wire(&mut self, origin: &Arc<Origin>) {
        let (Some(wire), Some(hash)) = (&origin.wire, &origin.schema_hash) else { return };
        if self.noted.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, origin)) {
            return;
        }
        match self.wires.get(hash) {
            Some(known) => known.join(wire),
            None => _ = self.wires.insert(hash.clone(), wire.clone()),
        }
        self.noted = Some(Arc::clone(origin));
    }

    /// Ends the file and gives `out` back.
    ///
    /// # Errors
    /// [`EncodeError`]: the file is to be thrown away.
    pub fn finish(self) -> Result<W, EncodeError> {
        let index = self.index.clone();
        self.finish_as(&index, &[])
    }

    /// Ends a file that stands for the files `replaces`, of whose letters `index` tells.
    ///
    /// # Errors
    /// [`EncodeError`]: the file is to be thrown away.
    pub fn finish_as(mut self, index: &Index, replaces: &[String]) -> Result<W, EncodeError> {
        if let Some(text) = index.to_text() {
            self.writer.append_key_value_metadata(KeyValue::new(INDEX_KEY.to_owned(), text));
        }
        if !self.wires.is_empty() {
            let texts: BTreeMap<&String, String> =
                self.wires.iter().filter_map(|(hash, wire)| Some((hash, wire.to_text()?))).collect();
            let text = serde_json::to_string(&texts).expect("it is text");
            self.writer.append_key_value_metadata(KeyValue::new(WIRES_KEY.to_owned(), text));
        }
        if !replaces.is_empty() {
            let text = serde_json::to_string(replaces).expect("paths are text");
            self.writer.append_key_value_metadata(KeyValue::new(REPLACES_KEY.to_owned(), text));
        }
        self.writer.into_inner().map_err(EncodeError)
    }
}

/// How many of `letters` make the next batch; at least one.
fn batch_letters(letters: &[&DeadLetter]) -> usize {
    let mut bytes = 0;
    let fits = letters.iter().take(BATCH_LETTERS_MAX).take_while(|letter| {
        bytes += letter.size();
        bytes <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

fn properties(order: Order) -> WriterProperties {
    let path = |name: &str| ColumnPath::new(name.split('.').map(str::to_owned).collect());
    let schema = columns::schema();
    let position = |name: &str| schema.index_of(name).expect("the schema has its own columns") as i32;
    // The leaves before `group` are flat, so a column's position is its leaf's.
    let sorting = (order == Order::Sorted).then(|| {
        // The group's leaf precedes every list; `dead_at` and `id` do as well.
        let ascending = |name| SortingColumn { column_idx: position(name), descending: false, nulls_first: false };
        vec![ascending(columns::GROUP), ascending(columns::DEAD_AT), ascending(columns::ID)]
    });
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a zstd level")))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_statistics_truncate_length(Some(64))
        .set_key_value_metadata(Some(vec![KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_string())]))
        .set_sorting_columns(sorting)
        // Unlike each other: a dictionary would be built and thrown away.
        .set_column_dictionary_enabled(path(columns::ID), false)
        .set_column_dictionary_enabled(path(columns::BODY), false)
        .set_column_dictionary_enabled(path(columns::BODY_HASH), false)
        .set_column_dictionary_enabled(path(columns::BODY_SHA256), false)
        // Nobody looks a body up by its least and greatest, and they would repeat payloads in the footer.
        .set_column_statistics_enabled(path(columns::BODY), EnabledStatistics::None);
    for name in [columns::RECEIVED_AT, columns::DEAD_AT, columns::DELIVERY_TAG] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [columns::ID, columns::GROUP, columns::ISSUES_GROUP_LEAF] {
        properties = properties.set_column_bloom_filter_enabled(path(name), true);
    }
    properties.build()
}

fn batch(letters: &[&DeadLetter]) -> Result<RecordBatch, ArrowError> {
    let mut arrays = classification(letters)?;
    arrays.extend(context(letters));
    arrays.extend(properties_of_messages(letters));
    arrays.extend(message(letters)?);
    RecordBatch::try_new(columns::schema(), arrays)
}

/// `id` to `attempts`.
fn classification(letters: &[&DeadLetter]) -> Result<Vec<ArrayRef>, ArrowError> {
    let origins = || letters.iter().map(|letter| &*letter.origin);
    let originals = || letters.iter().map(|letter| letter.original.as_ref());
    Ok(vec![
        Arc::new(StringArray::from_iter_values(letters.iter().map(|letter| letter.id.to_string()))),
        text(origins().map(|origin| &origin.pipeline)),
        text(origins().map(|origin| &origin.queue)),
        text(letters.iter().map(|letter| &letter.message.exchange)),
        text(letters.iter().map(|letter| &letter.message.routing_key)),
        text_or_null(originals().map(|original| original.map(|original| &original.queue))),
        text_or_null(originals().map(|original| original.map(|original| &original.exchange))),
        text_or_null(originals().map(|original| original.map(|original| &original.routing_key))),
        Arc::new(letters.iter().map(|letter| Some(letter.message.redelivered)).collect::<BooleanArray>()),
        Arc::new(UInt64Array::from_iter_values(letters.iter().map(|letter| letter.delivery_tag))),
        instants(letters.iter().map(|letter| Some(letter.received_at))),
        instants(letters.iter().map(|letter| Some(letter.dead_at))),
        text(letters.iter().map(|letter| &letter.stage)),
        text(letters.iter().map(|letter| &letter.code)),
        text(letters.iter().map(|letter| letter.group().as_str())),
        issues::array(letters.iter().map(|letter| letter.issues.as_slice()))?,
        Arc::new(UInt64Array::from_iter_values(letters.iter().map(|letter| letter.issues_not_kept))),
        attempts(letters)?,
    ])
}

/// `event_id` to `source_line`.
fn context(letters: &[&DeadLetter]) -> Vec<ArrayRef> {
    fn origins<'a>(letters: &'a [&'a DeadLetter]) -> impl Iterator<Item = &'a Origin> {
        letters.iter().map(|letter| &*letter.origin)
    }
    vec![
        text_or_null(letters.iter().map(|letter| letter.event_id.as_ref())),
        instants(letters.iter().map(|letter| letter.event_time)),
        text(origins(letters).map(|origin| &origin.format)),
        text(origins(letters).map(|origin| &origin.schema)),
        text_or_null(origins(letters).map(|origin| origin.schema_hash.as_ref())),
        text(origins(letters).map(|origin| &origin.instance)),
        Arc::new(UInt32Array::from_iter_values(origins(letters).map(|origin| origin.shard))),
        text(origins(letters).map(|origin| &origin.version)),
        text(letters.iter().map(|letter| &letter.flush_id)),
        text_or_null(letters.iter().map(|letter| letter.source_file.as_ref())),
        Arc::new(letters.iter().map(|letter| letter.source_line).collect::<UInt64Array>()),
    ]
}

/// `content_type` to `cluster_id`.
fn properties_of_messages(letters: &[&DeadLetter]) -> Vec<ArrayRef> {
    let texts = |of: fn(&Properties) -> &Option<String>| {
        text_or_null(letters.iter().map(|letter| of(&letter.message.properties).as_ref()))
    };
    let bytes = |of: fn(&Properties) -> Option<u8>| -> ArrayRef {
        Arc::new(letters.iter().map(|letter| of(&letter.message.properties)).collect::<UInt8Array>())
    };
    let timestamps = letters.iter().map(|letter| letter.message.properties.timestamp);
    vec![
        texts(|properties| &properties.content_type),
        texts(|properties| &properties.content_encoding),
        bytes(|properties| properties.delivery_mode),
        bytes(|properties| properties.priority),
        texts(|properties| &properties.correlation_id),
        texts(|properties| &properties.reply_to),
        texts(|properties| &properties.expiration),
        texts(|properties| &properties.message_id),
        Arc::new(timestamps.collect::<UInt64Array>()),
        texts(|properties| &properties.kind),
        texts(|properties| &properties.user_id),
        texts(|properties| &properties.app_id),
        texts(|properties| &properties.cluster_id),
    ]
}

/// `headers` to `body_sha256`.
fn message(letters: &[&DeadLetter]) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut hashes = FixedSizeBinaryBuilder::with_capacity(letters.len(), 16);
    let mut sha256s = FixedSizeBinaryBuilder::with_capacity(letters.len(), 32);
    for letter in letters {
        hashes.append_value(letter.body_hash)?;
        match letter.body_sha256 {
            Some(sha256) => sha256s.append_value(sha256)?,
            None => sha256s.append_null(),
        }
    }
    Ok(vec![
        headers(letters)?,
        unreadable(letters)?,
        Arc::new(LargeBinaryArray::from_iter_values(letters.iter().map(|letter| &letter.message.body))),
        Arc::new(UInt64Array::from_iter_values(letters.iter().map(|letter| letter.body_bytes()))),
        Arc::new(hashes.finish()),
        Arc::new(sha256s.finish()),
        text_or_null(letters.iter().map(|letter| letter.blob.as_ref().map(|blob| &blob.path))),
    ])
}

fn attempts(letters: &[&DeadLetter]) -> Result<ArrayRef, ArrowError> {
    let all: Vec<&Attempt> = letters.iter().flat_map(|letter| &letter.attempts).collect();
    let arrays = vec![
        Arc::new(UInt32Array::from_iter_values(all.iter().map(|attempt| attempt.n))),
        instants(all.iter().map(|attempt| Some(attempt.at))),
        text(all.iter().map(|attempt| &attempt.stage)),
        text(all.iter().map(|attempt| &attempt.code)),
        text(all.iter().map(|attempt| attempt.group.as_str())),
        text(all.iter().map(|attempt| &attempt.instance)),
        text(all.iter().map(|attempt| &attempt.version)),
        text(all.iter().map(|attempt| attempt.source.as_str())),
    ];
    list(columns::attempt_fields(), arrays, letters.iter().map(|letter| letter.attempts.len()), None)
}

fn headers(letters: &[&DeadLetter]) -> Result<ArrayRef, ArrowError> {
    let tables = || letters.iter().map(|letter| letter.message.properties.headers.as_deref());
    let all: Vec<&(String, HeaderValue)> = tables().flatten().flatten().collect();
    let arrays = vec![
        text(all.iter().map(|(name, _)| name)),
        text(all.iter().map(|(_, value)| headers::tag(value))),
        text(all.iter().map(|(_, value)| headers::value_json(value))),
    ];
    let lengths = tables().map(|headers| headers.map_or(0, <[_]>::len));
    let present = NullBuffer::from_iter(tables().map(|headers| headers.is_some()));
    list(columns::header_fields(), arrays, lengths, Some(present))
}

fn unreadable(letters: &[&DeadLetter]) -> Result<ArrayRef, ArrowError> {
    let lists = || letters.iter().map(|letter| &letter.message.unreadable);
    let all: Vec<&Unreadable> = lists().flatten().collect();
    let arrays = vec![
        text(all.iter().map(|part| &part.place)),
        Arc::new(BinaryArray::from_iter_values(all.iter().map(|part| &part.bytes))),
    ];
    let present = NullBuffer::from_iter(lists().map(|parts| !parts.is_empty()));
    list(columns::unreadable_fields(), arrays, lists().map(Vec::len), Some(present))
}
