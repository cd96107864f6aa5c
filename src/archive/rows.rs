//! The rows of one open partition, column by column.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::buffers::{Bits, Texts};
use super::builders::{ObjectBuilder, Place, Walk};
use super::layout::{Layout, LayoutOptions, instant_type};
use crate::event::Message;
use crate::headers;
use crate::rejection::Rejection;
use crate::value::{Node, Value};

/// One good event, as it goes into a file.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The delivery's place in the flush: what [`super::SealedBatch::deliveries`] gives back.
    pub delivery: u32,
    pub event: Value<'a>,
    pub id: Option<&'a str>,
    /// See [`Message::body_hash`].
    pub body_hash: [u8; 16],
    /// Of the dead letter that this event was, if it was replayed.
    pub dead_letter_id: Option<&'a str>,
    /// Microseconds since 1970.
    pub event_time_us: i64,
    /// When it reached us, in microseconds since 1970.
    pub ingested_at_us: i64,
    pub queue: &'a str,
    pub message: &'a Message,
    /// The attributes of a CloudEvent, as JSON.
    pub cloud_event: Option<&'a str>,
}

/// Rows that go into one file.
#[derive(Debug)]
pub(super) struct Rows {
    layout: Arc<Layout>,
    event: ObjectBuilder,
    system: System,
    deliveries: Vec<u32>,
}

/// The system columns but `_schema`, which is the same in every row.
#[derive(Debug, Default)]
struct System {
    event_id: Texts,
    body_hash: Vec<u8>,
    dead_letter_id: Texts,
    event_time: Vec<i64>,
    ingested_at: Vec<i64>,
    queue: Texts,
    exchange: Texts,
    routing_key: Texts,
    redelivered: Bits,
    headers: Texts,
    extra: Texts,
    trace_id: Texts,
    raw: Texts,
    cloud_event: Texts,
    /// Reused from row to row.
    headers_text: String,
}

impl Rows {
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        let event = ObjectBuilder::new(Arc::clone(&layout.plan));
        Self { layout, event, system: System::default(), deliveries: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Appends `row`; whether something of it is in `_extra`. On `Err` nothing is appended: all columns are as before.
    ///
    /// An event that is no object has no column; it is kept whole in `_extra`.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<bool, Rejection> {
        let rows = self.len();
        let mut walk =
            Walk { extra: self.system.extra.open(), issues: Vec::new(), issues_max: self.layout.options.issues_max };
        let wrote = if let Node::Object { .. } = row.event.node() {
            self.event.push(row.event, &Place::Root, &mut walk)
        } else {
            self.event.push_null();
            row.event.write_json(walk.extra);
            true
        };
        let issues = walk.issues;
        if !issues.is_empty() {
            self.event.truncate(rows);
            self.system.extra.truncate(rows);
            return Err(Rejection::new(issues));
        }
        self.system.extra.end(wrote);
        self.system.push(row, &self.layout.options);
        self.deliveries.push(row.delivery);
        Ok(wrote)
    }

    /// The rows, and [`Row::delivery`] of each.
    pub(super) fn finish(self) -> (RecordBatch, Vec<u32>) {
        let Self { layout, event, system, deliveries } = self;
        let mut columns = event.finish(layout.schema.fields());
        columns.extend(system.finish(&layout, deliveries.len()));
        let batch = RecordBatch::try_new(Arc::clone(&layout.schema), columns)
            .expect("builders and schema are made of the same fields, and every row fills every column");
        (batch, deliveries)
    }
}

impl System {
    /// Appends what the message and the flow say of `row`; `_extra` is filled already.
    fn push(&mut self, row: &Row<'_>, options: &LayoutOptions) {
        let message = row.message;
        self.event_id.push_option(row.id.map(str::as_bytes));
        self.body_hash.extend_from_slice(&row.body_hash);
        self.dead_letter_id.push_option(row.dead_letter_id.map(str::as_bytes));
        self.event_time.push(row.event_time_us);
        self.ingested_at.push(row.ingested_at_us);
        self.queue.push(row.queue.as_bytes());
        self.exchange.push(message.exchange.as_bytes());
        self.routing_key.push(message.routing_key.as_bytes());
        self.redelivered.push(message.redelivered);
        match &message.properties.headers {
            Some(all) => {
                self.headers_text.clear();
                headers::write_json(all, &mut self.headers_text);
                self.headers.push(self.headers_text.as_bytes());
            }
            None => self.headers.push_null(),
        }
        self.trace_id.push_option(message.trace_id().map(str::as_bytes));
        if options.keep_raw {
            self.raw.push(&message.body);
        }
        if options.cloud_events {
            self.cloud_event.push_option(row.cloud_event.map(str::as_bytes));
        }
    }

    /// The columns in the order of the layout.
    fn finish(self, layout: &Layout, rows: usize) -> Vec<ArrayRef> {
        let hashes = FixedSizeBinaryArray::new(16, Buffer::from_vec(self.body_hash), None);
        let mut columns: Vec<ArrayRef> = vec![
            text(self.event_id),
            Arc::new(hashes),
            text(self.dead_letter_id),
            instants(self.event_time),
            instants(self.ingested_at),
            text(self.queue),
            text(self.exchange),
            text(self.routing_key),
            repeated(&layout.options.schema_label, rows),
            Arc::new(BooleanArray::new(self.redelivered.finish(), None)),
            text(self.headers),
            text(self.extra),
            text(self.trace_id),
        ];
        if layout.options.keep_raw {
            let (offsets, bytes, nulls) = self.raw.finish();
            columns.push(Arc::new(BinaryArray::new(offsets, bytes, nulls)));
        }
        if layout.options.cloud_events {
            columns.push(text(self.cloud_event));
        }
        columns
    }
}

fn text(texts: Texts) -> ArrayRef {
    let (offsets, bytes, nulls) = texts.finish();
    Arc::new(StringArray::new(offsets, bytes, nulls))
}

/// A column of the same text in each row.
fn repeated(text: &str, rows: usize) -> ArrayRef {
    let offsets = OffsetBuffer::from_repeated_length(text.len(), rows);
    Arc::new(StringArray::new(offsets, Buffer::from_vec(text.as_bytes().repeat(rows)), None))
}

fn instants(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::new(ScalarBuffer::from(values), None).with_data_type(instant_type()))
}
