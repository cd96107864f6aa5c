//! Decoded columns -> dead letters and summaries of them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{Array, BinaryArray, BooleanArray, LargeBinaryArray, ListArray, RecordBatch};
use ulid::Ulid;

use super::decode::{DecodeError, Summary, Wires};
use super::issues::Issues;
use super::{Attempt, AttemptSource, Blob, DeadLetter, Origin, Original, Returnable, columns};
use crate::dlq::arrays::{Columns, Numbers, Text, code_text, elements_of, foreign, group, stage_text, ulid};
use crate::event::{HeaderValue, Message, Properties, Unreadable};
use crate::headers;

/// Calls `each` for every row of `batch`.
pub(super) fn read_summaries(batch: &RecordBatch, each: &mut impl FnMut(&Summary<'_>)) -> Result<(), DecodeError> {
    let columns = Columns::of(batch);
    let ids = columns.text(columns::ID)?;
    let (pipelines, queues) = (columns.text(columns::PIPELINE)?, columns.text(columns::QUEUE)?);
    let originals = Originals::of(&columns)?;
    let (exchanges, routing_keys) = (columns.text(columns::EXCHANGE)?, columns.text(columns::ROUTING_KEY)?);
    let received_at = columns.instants(columns::RECEIVED_AT)?;
    let dead_at = columns.instants(columns::DEAD_AT)?;
    let (stages, codes) = (columns.text(columns::STAGE)?, columns.text(columns::CODE)?);
    let issues = Issues::of(&columns)?;
    let (schemas, event_ids) = (columns.text(columns::SCHEMA)?, columns.text(columns::EVENT_ID)?);
    let (message_ids, app_ids) = (columns.text(columns::MESSAGE_ID)?, columns.text(columns::APP_ID)?);
    let body_bytes = columns.numbers::<UInt64Type>(columns::BODY_BYTES)?;
    for row in 0..batch.num_rows() {
        each(&Summary {
            id: ulid(ids, row)?,
            pipeline: pipelines.or_empty(row),
            queue: queues.or_empty(row),
            exchange: exchanges.or_empty(row),
            routing_key: routing_keys.or_empty(row),
            original_queue: originals.queue.get(row),
            original_exchange: originals.exchange.get(row),
            original_routing_key: originals.routing_key.get(row),
            received_at: received_at.instant(row)?,
            dead_at: dead_at.instant(row)?,
            stage: stages.or_empty(row),
            code: codes.or_empty(row),
            issues: issues.at_least_one(row)?,
            schema: schemas.or_empty(row),
            event_id: event_ids.get(row),
            message_id: message_ids.get(row),
            app_id: app_ids.get(row),
            body_bytes: body_bytes.get(row).unwrap_or(0),
        });
    }
    Ok(())
}

/// Calls `each` for the id of every row of `batch`.
pub(super) fn read_ids(batch: &RecordBatch, each: &mut impl FnMut(Ulid)) -> Result<(), DecodeError> {
    let ids = Columns::of(batch).text(columns::ID)?;
    (0..batch.num_rows()).try_for_each(|row| {
        each(ulid(ids, row)?);
        Ok(())
    })
}

/// Adds every row of `batch` to `letters`.
pub(super) fn read_letters(
    batch: &RecordBatch,
    wires: &Wires,
    letters: &mut Vec<DeadLetter>,
) -> Result<(), DecodeError> {
    let columns = Columns::of(batch);
    let ids = columns.text(columns::ID)?;
    let origins = Origins::of(&columns)?;
    let messages = Messages::of(&columns)?;
    let originals = Originals::of(&columns)?;
    let (issues, attempts) = (Issues::of(&columns)?, Attempts::of(&columns)?);
    let tags = columns.numbers::<UInt64Type>(columns::DELIVERY_TAG)?;
    let received_at = columns.instants(columns::RECEIVED_AT)?;
    let dead_at = columns.instants(columns::DEAD_AT)?;
    let hashes = columns.fixed(columns::BODY_HASH)?;
    let sha256s = columns.fixed(columns::BODY_SHA256)?;
    let (blobs, lengths) = (columns.text(columns::BODY_BLOB)?, columns.numbers::<UInt64Type>(columns::BODY_BYTES)?);
    let (event_ids, event_times) = (columns.text(columns::EVENT_ID)?, columns.instants(columns::EVENT_TIME)?);
    let (stages, codes) = (columns.text(columns::STAGE)?, columns.text(columns::CODE)?);
    let issues_not_kept = columns.numbers::<UInt64Type>(columns::ISSUES_NOT_KEPT)?;
    let flush_ids = columns.text(columns::FLUSH_ID)?;
    let source_files = columns.text(columns::SOURCE_FILE)?;
    let source_lines = columns.numbers::<UInt64Type>(columns::SOURCE_LINE)?;
    for row in 0..batch.num_rows() {
        let message = messages.of_row(row)?;
        // Neighbours mostly come from one shard: they then share their origin.
        let blob = |path| Blob { path, bytes: lengths.get(row).unwrap_or(0) };
        let origin = origins.of_row(row, letters.last().map(|letter| &letter.origin), wires);
        letters.push(DeadLetter {
            id: ulid(ids, row)?,
            origin,
            delivery_tag: tags.get(row).unwrap_or(0),
            received_at: received_at.instant(row)?,
            dead_at: dead_at.instant(row)?,
            body_hash: hashes.bytes(row)?.unwrap_or_else(|| message.body_hash()),
            body_sha256: sha256s.bytes(row)?,
            blob: blobs.owned(row).map(blob),
            original: originals.of_row(row),
            message,
            event_id: event_ids.owned(row),
            event_time: event_times.instant_or_null(row)?,
            stage: stage_text(stages.or_empty(row)),
            code: code_text(codes.or_empty(row)),
            issues: issues.records_at_least_one(row)?,
            issues_not_kept: issues_not_kept.get(row).unwrap_or(0),
            attempts: attempts.of_row(row)?,
            flush_id: flush_ids.or_empty(row).to_owned(),
            source_file: source_files.owned(row),
            source_line: source_lines.get(row),
        });
    }
    Ok(())
}

/// Adds every row of `batch`, which has at least the columns [`columns::RETURNABLE`], to `letters`.
pub(super) fn read_returnable(
    batch: &RecordBatch,
    wires: &Wires,
    letters: &mut Vec<Returnable>,
) -> Result<(), DecodeError> {
    let columns = Columns::of(batch);
    let ids = columns.text(columns::ID)?;
    let (messages, issues) = (Messages::of(&columns)?, Issues::of(&columns)?);
    let (attempts, elements) = columns.list(columns::ATTEMPTS)?;
    let numbers = elements.numbers::<UInt32Type>("n")?;
    let received_at = columns.instants(columns::RECEIVED_AT)?;
    let dead_at = columns.instants(columns::DEAD_AT)?;
    let (sha256s, schema_hashes) = (columns.fixed(columns::BODY_SHA256)?, columns.text(columns::SCHEMA_HASH)?);
    let (blobs, lengths) = (columns.text(columns::BODY_BLOB)?, columns.numbers::<UInt64Type>(columns::BODY_BYTES)?);
    for row in 0..batch.num_rows() {
        let tried = attempts.map_or(0..0, |lists| elements_of(lists, row));
        letters.push(Returnable {
            id: ulid(ids, row)?,
            message: messages.of_row(row)?,
            received_at: received_at.instant(row)?,
            dead_at: dead_at.instant(row)?,
            groups: issues.groups(row)?,
            attempts: tried.filter_map(|at| numbers.get(at)).max().unwrap_or(1),
            blob: blobs.owned(row).map(|path| Blob { path, bytes: lengths.get(row).unwrap_or(0) }),
            body_sha256: sha256s.bytes(row)?,
            wire: schema_hashes.get(row).and_then(|hash| wires.get(hash)).cloned(),
        });
    }
    Ok(())
}

struct Origins<'a> {
    pipeline: Text<'a>,
    queue: Text<'a>,
    format: Text<'a>,
    schema: Text<'a>,
    schema_hash: Text<'a>,
    instance: Text<'a>,
    shard: Numbers<'a, UInt32Type>,
    version: Text<'a>,
}

impl<'a> Origins<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            pipeline: columns.text(columns::PIPELINE)?,
            queue: columns.text(columns::QUEUE)?,
            format: columns.text(columns::FORMAT)?,
            schema: columns.text(columns::SCHEMA)?,
            schema_hash: columns.text(columns::SCHEMA_HASH)?,
            instance: columns.text(columns::INSTANCE)?,
            shard: columns.numbers(columns::SHARD)?,
            version: columns.text(columns::VERSION)?,
        })
    }

    fn of_row(&self, row: usize, last: Option<&Arc<Origin>>, wires: &Wires) -> Arc<Origin> {
        let same = |origin: &Origin| {
            origin.pipeline == self.pipeline.or_empty(row)
                && origin.queue == self.queue.or_empty(row)
                && origin.format == self.format.or_empty(row)
                && origin.schema == self.schema.or_empty(row)
                && origin.schema_hash.as_deref() == self.schema_hash.get(row)
                && origin.instance == self.instance.or_empty(row)
                && origin.shard == self.shard.get(row).unwrap_or(0)
                && origin.version == self.version.or_empty(row)
        };
        if let Some(last) = last.filter(|last| same(last)) {
            return Arc::clone(last);
        }
        Arc::new(Origin {
            pipeline: self.pipeline.or_empty(row).to_owned(),
            queue: self.queue.or_empty(row).to_owned(),
            format: self.format.or_empty(row).to_owned(),
            schema: self.schema.or_empty(row).to_owned(),
            schema_hash: self.schema_hash.owned(row),
            wire: self.schema_hash.get(row).and_then(|hash| wires.get(hash)).cloned(),
            instance: self.instance.or_empty(row).to_owned(),
            shard: self.shard.get(row).unwrap_or(0),
            version: self.version.or_empty(row).to_owned(),
        })
    }
}

struct Originals<'a> {
    queue: Text<'a>,
    exchange: Text<'a>,
    routing_key: Text<'a>,
}

impl<'a> Originals<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            queue: columns.text(columns::ORIGINAL_QUEUE)?,
            exchange: columns.text(columns::ORIGINAL_EXCHANGE)?,
            routing_key: columns.text(columns::ORIGINAL_ROUTING_KEY)?,
        })
    }

    fn of_row(&self, row: usize) -> Option<Original> {
        Some(Original {
            queue: self.queue.owned(row)?,
            exchange: self.exchange.or_empty(row).to_owned(),
            routing_key: self.routing_key.or_empty(row).to_owned(),
        })
    }
}

struct Messages<'a> {
    exchange: Text<'a>,
    routing_key: Text<'a>,
    redelivered: Option<&'a BooleanArray>,
    body: &'a LargeBinaryArray,
    content_type: Text<'a>,
    content_encoding: Text<'a>,
    headers: Headers<'a>,
    delivery_mode: Numbers<'a, UInt8Type>,
    priority: Numbers<'a, UInt8Type>,
    correlation_id: Text<'a>,
    reply_to: Text<'a>,
    expiration: Text<'a>,
    message_id: Text<'a>,
    timestamp: Numbers<'a, UInt64Type>,
    kind: Text<'a>,
    user_id: Text<'a>,
    app_id: Text<'a>,
    cluster_id: Text<'a>,
    unreadable: UnreadableParts<'a>,
}

impl<'a> Messages<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        let body = columns.typed(columns::BODY, |array| array.as_binary_opt::<i64>())?;
        Ok(Self {
            exchange: columns.text(columns::EXCHANGE)?,
            routing_key: columns.text(columns::ROUTING_KEY)?,
            redelivered: columns.typed(columns::REDELIVERED, |array| array.as_boolean_opt())?,
            body: body.ok_or_else(|| foreign(columns::BODY, "is missing"))?,
            content_type: columns.text(columns::CONTENT_TYPE)?,
            content_encoding: columns.text(columns::CONTENT_ENCODING)?,
            headers: Headers::of(columns)?,
            delivery_mode: columns.numbers(columns::DELIVERY_MODE)?,
            priority: columns.numbers(columns::PRIORITY)?,
            correlation_id: columns.text(columns::CORRELATION_ID)?,
            reply_to: columns.text(columns::REPLY_TO)?,
            expiration: columns.text(columns::EXPIRATION)?,
            message_id: columns.text(columns::MESSAGE_ID)?,
            timestamp: columns.numbers(columns::TIMESTAMP)?,
            kind: columns.text(columns::TYPE)?,
            user_id: columns.text(columns::USER_ID)?,
            app_id: columns.text(columns::APP_ID)?,
            cluster_id: columns.text(columns::CLUSTER_ID)?,
            unreadable: UnreadableParts::of(columns)?,
        })
    }

    fn of_row(&self, row: usize) -> Result<Message, DecodeError> {
        Ok(Message {
            body: self.body.value(row).to_vec(),
            exchange: self.exchange.or_empty(row).to_owned(),
            routing_key: self.routing_key.or_empty(row).to_owned(),
            redelivered: self.redelivered.is_some_and(|redelivered| redelivered.value(row)),
            properties: Properties {
                content_type: self.content_type.owned(row),
                content_encoding: self.content_encoding.owned(row),
                headers: self.headers.of_row(row)?,
                delivery_mode: self.delivery_mode.get(row),
                priority: self.priority.get(row),
                correlation_id: self.correlation_id.owned(row),
                reply_to: self.reply_to.owned(row),
                expiration: self.expiration.owned(row),
                message_id: self.message_id.owned(row),
                timestamp: self.timestamp.get(row),
                kind: self.kind.owned(row),
                user_id: self.user_id.owned(row),
                app_id: self.app_id.owned(row),
                cluster_id: self.cluster_id.owned(row),
            }
            .into(),
            unreadable: self.unreadable.of_row(row),
        })
    }
}

struct Headers<'a> {
    lists: Option<&'a ListArray>,
    name: Text<'a>,
    kind: Text<'a>,
    value: Text<'a>,
}

impl<'a> Headers<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        let (lists, elements) = columns.list(columns::HEADERS)?;
        Ok(Self { lists, name: elements.text("name")?, kind: elements.text("type")?, value: elements.text("value")? })
    }

    fn of_row(&self, row: usize) -> Result<Option<Vec<(String, HeaderValue)>>, DecodeError> {
        let Some(lists) = self.lists.filter(|lists| lists.is_valid(row)) else { return Ok(None) };
        let header = |at: usize| {
            let value = headers::from_tagged(self.kind.or_empty(at), self.value.or_empty(at));
            let value = value.map_err(|_| foreign(columns::HEADERS, "holds a value that cannot be read"))?;
            Ok((self.name.or_empty(at).to_owned(), value))
        };
        elements_of(lists, row).map(header).collect::<Result<_, _>>().map(Some)
    }
}

struct UnreadableParts<'a> {
    lists: Option<&'a ListArray>,
    place: Text<'a>,
    bytes: Option<&'a BinaryArray>,
}

impl<'a> UnreadableParts<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        let (lists, elements) = columns.list(columns::UNREADABLE)?;
        let bytes = elements.typed("bytes", |array| array.as_binary_opt::<i32>())?;
        Ok(Self { lists, place: elements.text("place")?, bytes })
    }

    fn of_row(&self, row: usize) -> Vec<Unreadable> {
        let Some(lists) = self.lists.filter(|lists| lists.is_valid(row)) else { return Vec::new() };
        let bytes = |at| self.bytes.map_or(&[][..], |bytes| bytes.value(at));
        elements_of(lists, row).map(|at| Unreadable::new(self.place.or_empty(at), bytes(at))).collect()
    }
}

struct Attempts<'a> {
    lists: Option<&'a ListArray>,
    n: Numbers<'a, UInt32Type>,
    at: Numbers<'a, TimestampMicrosecondType>,
    stage: Text<'a>,
    code: Text<'a>,
    group: Text<'a>,
    instance: Text<'a>,
    version: Text<'a>,
    source: Text<'a>,
}

impl<'a> Attempts<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self, DecodeError> {
        let (lists, elements) = columns.list(columns::ATTEMPTS)?;
        Ok(Self {
            lists,
            n: elements.numbers("n")?,
            at: elements.instants("at")?,
            stage: elements.text("stage")?,
            code: elements.text("code")?,
            group: elements.text("group")?,
            instance: elements.text("instance")?,
            version: elements.text("version")?,
            source: elements.text("source")?,
        })
    }

    fn of_row(&self, row: usize) -> Result<Vec<Attempt>, DecodeError> {
        let Some(lists) = self.lists else { return Ok(Vec::new()) };
        let source = |at: usize| AttemptSource::parse(self.source.or_empty(at));
        let attempt = |at: usize| {
            Ok(Attempt {
                n: self.n.get(at).unwrap_or(0),
                at: self.at.instant(at)?,
                stage: stage_text(self.stage.or_empty(at)),
                code: code_text(self.code.or_empty(at)),
                group: group(self.group.or_empty(at))?,
                instance: self.instance.or_empty(at).to_owned(),
                version: self.version.or_empty(at).to_owned(),
                source: source(at).ok_or_else(|| foreign(columns::ATTEMPTS, "holds an unknown source"))?,
            })
        };
        elements_of(lists, row).map(attempt).collect()
    }
}
