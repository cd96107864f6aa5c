//! One dead letter as one line of JSON. The keys are a promise to programs: they may grow, none goes.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use super::attempts::{AttemptOutcome, AttemptRecord};
use super::record::{Attempt, AttemptSource, IssueRecord, Original};
use super::records::{Cursor, Found};
use crate::event::{Properties, Unreadable};
use crate::headers;

/// Writes `found` and a line break.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let letter = &found.letter;
    let message = &letter.message;
    let properties = &message.properties;
    let typed = properties.headers.as_ref().map(|headers| RawValue::from_string(headers::to_json(headers)));
    let line = Line {
        id: letter.id.to_string(),
        pipeline: &letter.origin.pipeline,
        queue: &letter.origin.queue,
        exchange: &message.exchange,
        routing_key: &message.routing_key,
        original: letter.original.as_ref().map(OriginalLine::from),
        message_id: properties.message_id.as_deref(),
        trace_id: message.trace_id(),
        properties: (&**properties).into(),
        headers: typed.transpose()?,
        body_base64: BASE64.encode(&message.body),
        stage: &letter.stage,
        code: &letter.code,
        issues: letter.issues.iter().map(IssueLine::from).collect(),
        attempts: attempts(found),
        received_at: exactly(letter.received_at),
        dead_at: exactly(letter.dead_at),
        state: found.state.as_str(),
        cursor: Cursor::of(letter.dead_at, letter.id).to_string(),
        unreadable: message.unreadable.iter().map(UnreadableLine::from).collect(),
    };
    write_line(out, &line)
}

/// Writes `line` as one line.
///
/// # Errors
/// Those of `out`.
pub fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// An instant as programs get it: RFC 3339 in UTC, to the microsecond.
pub fn exactly(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    pipeline: &'a str,
    queue: &'a str,
    exchange: &'a str,
    routing_key: &'a str,
    /// Left out unless the broker had dead-lettered it before it came to us.
    #[serde(flatten)]
    original: Option<OriginalLine<'a>>,
    message_id: Option<&'a str>,
    /// Of its header `traceparent`; left out without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    properties: PropertiesLine<'a>,
    /// Typed, as [`headers`] writes them; null when the message has no header table.
    headers: Option<Box<RawValue>>,
    body_base64: String,
    stage: &'a str,
    code: &'a str,
    issues: Vec<IssueLine<'a>>,
    attempts: Vec<AttemptLine<'a>>,
    received_at: String,
    dead_at: String,
    state: &'static str,
    /// For `--after`.
    cursor: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableLine<'a>>,
}

#[derive(Serialize)]
struct OriginalLine<'a> {
    original_queue: &'a str,
    original_exchange: &'a str,
    original_routing_key: &'a str,
}

impl<'a> From<&'a Original> for OriginalLine<'a> {
    fn from(original: &'a Original) -> Self {
        Self {
            original_queue: &original.queue,
            original_exchange: &original.exchange,
            original_routing_key: &original.routing_key,
        }
    }
}

#[derive(Serialize)]
struct UnreadableLine<'a> {
    place: &'a str,
    bytes_base64: String,
}

impl<'a> From<&'a Unreadable> for UnreadableLine<'a> {
    fn from(part: &'a Unreadable) -> Self {
        Self { place: &part.place, bytes_base64: BASE64.encode(&part.bytes) }
    }
}

/// Under their AMQP names; absent ones are left out.
#[derive(Serialize)]
struct PropertiesLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_mode: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<&'a str>,
}

impl<'a> From<&'a Properties> for PropertiesLine<'a> {
    fn from(properties: &'a Properties) -> Self {
        Self {
            content_type: properties.content_type.as_deref(),
            content_encoding: properties.content_encoding.as_deref(),
            delivery_mode: properties.delivery_mode,
            priority: properties.priority,
            correlation_id: properties.correlation_id.as_deref(),
            reply_to: properties.reply_to.as_deref(),
            expiration: properties.expiration.as_deref(),
            message_id: properties.message_id.as_deref(),
            timestamp: properties.timestamp,
            kind: properties.kind.as_deref(),
            user_id: properties.user_id.as_deref(),
            app_id: properties.app_id.as_deref(),
            cluster_id: properties.cluster_id.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct IssueLine<'a> {
    path: &'a str,
    expected: &'a str,
    actual: &'a str,
    group: &'a str,
    code: &'a str,
    instance_path: &'a str,
    offset: Option<u64>,
}

impl<'a> From<&'a IssueRecord> for IssueLine<'a> {
    fn from(issue: &'a IssueRecord) -> Self {
        Self {
            path: &issue.path,
            expected: &issue.expected,
            actual: &issue.actual,
            group: issue.group.as_str(),
            code: &issue.code,
            instance_path: &issue.instance_path,
            offset: issue.offset,
        }
    }
}

#[derive(Serialize)]
struct AttemptLine<'a> {
    n: u32,
    at: String,
    outcome: &'static str,
    stage: &'a str,
    code: &'a str,
    group: &'a str,
    instance: &'a str,
    version: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
}

/// The letter's own, then what became of it; what a recovery lacks is empty.
fn attempts(found: &Found) -> Vec<AttemptLine<'_>> {
    let own = found.letter.attempts.iter().map(AttemptLine::from);
    own.chain(found.later.iter().map(AttemptLine::from)).collect()
}

impl<'a> From<&'a Attempt> for AttemptLine<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            n: attempt.n,
            at: exactly(attempt.at),
            outcome: AttemptOutcome::Failed.as_str(),
            stage: &attempt.stage,
            code: &attempt.code,
            group: attempt.group.as_str(),
            instance: &attempt.instance,
            version: &attempt.version,
            source: attempt.source.as_str(),
            job: None,
        }
    }
}

impl<'a> From<&'a AttemptRecord> for AttemptLine<'a> {
    fn from(attempt: &'a AttemptRecord) -> Self {
        Self {
            n: attempt.n,
            at: exactly(attempt.at),
            outcome: attempt.outcome.as_str(),
            stage: &attempt.stage,
            code: &attempt.code,
            group: attempt.issues.first().map_or("", |issue| issue.group.as_str()),
            instance: &attempt.instance,
            version: &attempt.version,
            source: AttemptSource::Replay.as_str(),
            job: attempt.job.map(|job| job.to_string()),
        }
    }
}
