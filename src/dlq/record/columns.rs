//! The columns of a file of dead letters. Readers find them by name: a column may be added, none may change its meaning.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use crate::dlq::arrays::{element, instant};

pub(super) const ID: &str = "id";
pub(super) const PIPELINE: &str = "pipeline";
pub(super) const QUEUE: &str = "queue";
pub(super) const EXCHANGE: &str = "exchange";
pub(super) const ROUTING_KEY: &str = "routing_key";
/// Of a letter that the broker had dead-lettered before: where it died, and with what it had come there. Null of all
/// others. The columns above are how it came to us.
pub(super) const ORIGINAL_QUEUE: &str = "original_queue";
pub(super) const ORIGINAL_EXCHANGE: &str = "original_exchange";
pub(super) const ORIGINAL_ROUTING_KEY: &str = "original_routing_key";
pub(super) const REDELIVERED: &str = "redelivered";
pub(super) const DELIVERY_TAG: &str = "delivery_tag";
pub(super) const RECEIVED_AT: &str = "received_at";
pub(super) const DEAD_AT: &str = "dead_at";
pub(super) const STAGE: &str = "stage";
pub(super) const CODE: &str = "code";
/// The primary issue's group.
pub(super) const GROUP: &str = "group";
pub(in crate::dlq) const ISSUES: &str = "issues";
pub(super) const ISSUES_NOT_KEPT: &str = "issues_not_kept";
pub(super) const ATTEMPTS: &str = "attempts";
pub(super) const EVENT_ID: &str = "event_id";
pub(super) const EVENT_TIME: &str = "event_time";
pub(super) const FORMAT: &str = "format";
pub(super) const SCHEMA: &str = "schema";
pub(super) const SCHEMA_HASH: &str = "schema_hash";
pub(super) const INSTANCE: &str = "instance";
pub(super) const SHARD: &str = "shard";
pub(super) const VERSION: &str = "version";
pub(super) const FLUSH_ID: &str = "flush_id";
pub(super) const SOURCE_FILE: &str = "source_file";
pub(super) const SOURCE_LINE: &str = "source_line";
pub(super) const CONTENT_TYPE: &str = "content_type";
pub(super) const CONTENT_ENCODING: &str = "content_encoding";
pub(super) const DELIVERY_MODE: &str = "delivery_mode";
pub(super) const PRIORITY: &str = "priority";
pub(super) const CORRELATION_ID: &str = "correlation_id";
pub(super) const REPLY_TO: &str = "reply_to";
pub(super) const EXPIRATION: &str = "expiration";
pub(super) const MESSAGE_ID: &str = "message_id";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const TYPE: &str = "type";
pub(super) const USER_ID: &str = "user_id";
pub(super) const APP_ID: &str = "app_id";
pub(super) const CLUSTER_ID: &str = "cluster_id";
/// Null when the message has no header table; empty when it has an empty one.
pub(super) const HEADERS: &str = "headers";
/// What of the message could not be read, as it came on the wire; null when all of it could.
pub(super) const UNREADABLE: &str = "unreadable";
/// Empty where the body lies in an object of its own.
pub(super) const BODY: &str = "body";
/// The path of that object below the store's root; null where the body is in its column.
pub(super) const BODY_BLOB: &str = "body_blob";
/// The body's length, so that a listing can tell it without reading the body.
pub(super) const BODY_BYTES: &str = "body_bytes";
pub(super) const BODY_HASH: &str = "body_hash";
pub(super) const BODY_SHA256: &str = "body_sha256";

/// What a listing reads: all that is small and says what went wrong. The exact paths of issues are not: they differ
/// from event to event.
pub(super) const SUMMARY: &[&str] = &[
    ID,
    PIPELINE,
    QUEUE,
    EXCHANGE,
    ROUTING_KEY,
    ORIGINAL_QUEUE,
    ORIGINAL_EXCHANGE,
    ORIGINAL_ROUTING_KEY,
    RECEIVED_AT,
    DEAD_AT,
    STAGE,
    CODE,
    "issues.list.element.code",
    "issues.list.element.path",
    "issues.list.element.expected",
    "issues.list.element.actual",
    ISSUES_GROUP_LEAF,
    "issues.list.element.offset",
    "issues.list.element.title",
    EVENT_ID,
    SCHEMA,
    MESSAGE_ID,
    APP_ID,
    BODY_BYTES,
];

/// What it takes to give a letter back: the message, and what an attempt at it tells.
pub(super) const RETURNABLE: &[&str] = &[
    ID,
    RECEIVED_AT,
    DEAD_AT,
    SCHEMA_HASH,
    EXCHANGE,
    ROUTING_KEY,
    REDELIVERED,
    ISSUES_GROUP_LEAF,
    "attempts.list.element.n",
    CONTENT_TYPE,
    CONTENT_ENCODING,
    DELIVERY_MODE,
    PRIORITY,
    CORRELATION_ID,
    REPLY_TO,
    EXPIRATION,
    MESSAGE_ID,
    TIMESTAMP,
    TYPE,
    USER_ID,
    APP_ID,
    CLUSTER_ID,
    HEADERS,
    UNREADABLE,
    BODY,
    BODY_BLOB,
    BODY_BYTES,
    BODY_SHA256,
];

/// The bloom-filtered column that holds every group of every letter.
pub(super) const ISSUES_GROUP_LEAF: &str = "issues.list.element.group";

pub(in crate::dlq) fn issue_fields() -> Fields {
    Fields::from(vec![
        Field::new("code", DataType::Utf8, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("instance_path", DataType::Utf8, false),
        Field::new("expected", DataType::Utf8, false),
        Field::new("actual", DataType::Utf8, false),
        Field::new("group", DataType::Utf8, false),
        Field::new("offset", DataType::UInt64, true),
        Field::new("title", DataType::Utf8, true),
    ])
}

pub(super) fn attempt_fields() -> Fields {
    Fields::from(vec![
        Field::new("n", DataType::UInt32, false),
        Field::new("at", instant(), false),
        Field::new("stage", DataType::Utf8, false),
        Field::new("code", DataType::Utf8, false),
        Field::new("group", DataType::Utf8, false),
        Field::new("instance", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, false),
    ])
}

/// `type` is the AMQP field-table letter, `value` the JSON of [`headers`](crate::headers) without its tag.
pub(super) fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ])
}

/// `place` is [`Unreadable::place`](crate::event::Unreadable::place).
pub(super) fn unreadable_fields() -> Fields {
    Fields::from(vec![Field::new("place", DataType::Utf8, false), Field::new("bytes", DataType::Binary, false)])
}

/// The schema of a whole file, in the order a person would read it.
pub(super) fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let text_or_null = |name| Field::new(name, DataType::Utf8, true);
    let list = |name, fields, nullable| Field::new(name, DataType::List(element(fields)), nullable);
    Arc::new(Schema::new(vec![
        text(ID),
        text(PIPELINE),
        text(QUEUE),
        text(EXCHANGE),
        text(ROUTING_KEY),
        text_or_null(ORIGINAL_QUEUE),
        text_or_null(ORIGINAL_EXCHANGE),
        text_or_null(ORIGINAL_ROUTING_KEY),
        Field::new(REDELIVERED, DataType::Boolean, false),
        Field::new(DELIVERY_TAG, DataType::UInt64, false),
        Field::new(RECEIVED_AT, instant(), false),
        Field::new(DEAD_AT, instant(), false),
        text(STAGE),
        text(CODE),
        text(GROUP),
        list(ISSUES, issue_fields(), false),
        Field::new(ISSUES_NOT_KEPT, DataType::UInt64, false),
        list(ATTEMPTS, attempt_fields(), false),
        text_or_null(EVENT_ID),
        Field::new(EVENT_TIME, instant(), true),
        text(FORMAT),
        text(SCHEMA),
        text_or_null(SCHEMA_HASH),
        text(INSTANCE),
        Field::new(SHARD, DataType::UInt32, false),
        text(VERSION),
        text(FLUSH_ID),
        text_or_null(SOURCE_FILE),
        Field::new(SOURCE_LINE, DataType::UInt64, true),
        text_or_null(CONTENT_TYPE),
        text_or_null(CONTENT_ENCODING),
        Field::new(DELIVERY_MODE, DataType::UInt8, true),
        Field::new(PRIORITY, DataType::UInt8, true),
        text_or_null(CORRELATION_ID),
        text_or_null(REPLY_TO),
        text_or_null(EXPIRATION),
        text_or_null(MESSAGE_ID),
        Field::new(TIMESTAMP, DataType::UInt64, true),
        text_or_null(TYPE),
        text_or_null(USER_ID),
        text_or_null(APP_ID),
        text_or_null(CLUSTER_ID),
        list(HEADERS, header_fields(), true),
        list(UNREADABLE, unreadable_fields(), true),
        // 64-bit offsets: a batch of bodies may exceed 2 GiB. In the file it is a plain byte array.
        Field::new(BODY, DataType::LargeBinary, false),
        Field::new(BODY_BYTES, DataType::UInt64, false),
        Field::new(BODY_HASH, DataType::FixedSizeBinary(16), false),
        Field::new(BODY_SHA256, DataType::FixedSizeBinary(32), true),
        text_or_null(BODY_BLOB),
    ]))
}
