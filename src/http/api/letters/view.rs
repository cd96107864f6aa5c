//! A letter as it is shown, by who asks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::access::Caller;
use super::super::body::instant;
use super::super::{Api, Parts};
use crate::config::Role;
use crate::dlq::record::{Attempt, DeadLetter, IssueRecord, Summary};
use crate::dlq::veil::Veil;
use crate::event::{HeaderValue, Properties};
use crate::headers;
use crate::mask::MASKED;

/// What hides things from that caller; `None`: nothing does.
fn veil(parts: &Parts, pipeline: &str, caller: &Caller) -> Option<Arc<Veil>> {
    (caller.role == Role::Viewer).then(|| parts.veil(pipeline))
}

/// What a list knows of a letter.
pub(super) struct Row {
    dead_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    path: String,
    row: LetterRow,
}

impl Row {
    pub(super) fn of(letter: &Summary<'_>) -> Self {
        let first = letter.issues.first();
        let row = LetterRow {
            id: letter.id.to_string(),
            pipeline: letter.pipeline.to_owned(),
            queue: letter.queue.to_owned(),
            exchange: letter.exchange.to_owned(),
            routing_key: letter.routing_key.to_owned(),
            message_id: letter.message_id.map(str::to_owned),
            app_id: letter.app_id.map(str::to_owned),
            stage: letter.stage.to_owned(),
            code: letter.code.to_owned(),
            group: first.map_or("", |issue| issue.group).to_owned(),
            title: letter.sentence(),
            issues: letter.issues.len() as u64,
            body_bytes: letter.body_bytes,
            received_at: String::new(),
            dead_at: String::new(),
        };
        let path = first.map_or("", |issue| issue.path).to_owned();
        Self { dead_at: letter.dead_at, received_at: letter.received_at, path, row }
    }

    /// The row as that caller may see it.
    pub(super) fn shown(self, api: &Api, caller: &Caller) -> LetterRow {
        let Self { mut row, path, .. } = self;
        row.received_at = instant(self.received_at);
        row.dead_at = instant(self.dead_at);
        if let Some(veil) = veil(&api.parts, &row.pipeline, caller) {
            row.title = veil.title(&row.title, &path);
            for (name, value) in [("message_id", &mut row.message_id), ("app_id", &mut row.app_id)] {
                if let Some(value) = value.as_mut().filter(|_| veil.hides_property(name)) {
                    MASKED.clone_into(value);
                }
            }
        }
        row
    }
}

/// A letter in a list.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct LetterRow {
    /// A ULID.
    #[schema(pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    id: String,
    pipeline: String,
    /// Empty of a letter that came from a file.
    queue: String,
    exchange: String,
    routing_key: String,
    message_id: Option<String>,
    app_id: Option<String>,
    stage: String,
    code: String,
    /// The group it is counted in.
    group: String,
    /// What is wrong in the first place, in a sentence.
    title: String,
    /// How many issues it shows.
    issues: u64,
    body_bytes: u64,
    #[schema(format = DateTime)]
    received_at: String,
    #[schema(format = DateTime)]
    dead_at: String,
}

/// A page of letters.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct LettersPage {
    pub(super) items: Vec<LetterRow>,
    /// Send it as cursor to get the next page; null on the last one.
    pub(super) next_cursor: Option<String>,
    /// Files of dead letters that could not be read, and are left out.
    pub(super) unreadable: Vec<String>,
}

/// A letter, without its body.
#[derive(Serialize, ToSchema)]
#[schema(as = Letter)]
pub(in super::super) struct LetterView {
    /// A ULID.
    #[schema(pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    id: String,
    pipeline: String,
    /// Empty of a letter that came from a file.
    queue: String,
    exchange: String,
    routing_key: String,
    redelivered: bool,
    /// Of AMQP, those that the message has.
    properties: PropertiesView,
    /// By name, each value under RabbitMQ's letter for its type, such as `{"S": "text"}`; null: the message has none.
    #[schema(value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    headers: Option<Box<RawValue>>,
    body_bytes: u64,
    stage: String,
    code: String,
    /// Every issue found; the first is the one it is counted by.
    issues: Vec<IssueView>,
    /// Issues found beyond those kept.
    issues_not_kept: u64,
    /// The first is the first death.
    attempts: Vec<AttemptView>,
    /// As far as the event came.
    event_id: Option<String>,
    #[schema(format = DateTime)]
    event_time: Option<String>,
    /// `name@version`.
    schema: String,
    #[schema(format = DateTime)]
    received_at: String,
    #[schema(format = DateTime)]
    dead_at: String,
    instance: String,
    /// Of the program that made it.
    version: String,
    flush_id: String,
    /// Of a letter that came from a file.
    source_file: Option<String>,
    source_line: Option<u64>,
    /// Parts of the message that are beyond AMQP's text.
    unreadable: Vec<UnreadableView>,
}

/// The basic properties of AMQP 0-9-1.
#[derive(Serialize, ToSchema)]
#[schema(as = Properties)]
struct PropertiesView {
    content_type: Option<String>,
    content_encoding: Option<String>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    expiration: Option<String>,
    message_id: Option<String>,
    timestamp: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    user_id: Option<String>,
    app_id: Option<String>,
    cluster_id: Option<String>,
}

/// One thing that is wrong with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Issue)]
struct IssueView {
    code: String,
    /// A JSON pointer, `[*]` for an array's elements.
    path: String,
    /// The same with the elements' indices.
    instance_path: String,
    expected: String,
    actual: String,
    group: String,
    /// The byte of the body at which decoding failed.
    offset: Option<u64>,
}

/// One time the message went through a pipeline and failed.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    /// From 1.
    n: u32,
    #[schema(format = DateTime)]
    at: String,
    stage: String,
    code: String,
    group: String,
    instance: String,
    version: String,
    source: &'static str,
}

/// A part of the message that cannot be read as what AMQP says it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Unreadable)]
struct UnreadableView {
    place: String,
    /// Null for viewers.
    bytes_base64: Option<String>,
}

impl LetterView {
    pub(super) fn of(letter: &DeadLetter, api: &Api, caller: &Caller) -> Self {
        let message = &letter.message;
        let veil = veil(&api.parts, &letter.origin.pipeline, caller);
        let veil = veil.as_deref();
        let typed = message.properties.headers.as_ref().map(|headers| shown_headers(headers, veil));
        Self {
            id: letter.id.to_string(),
            pipeline: letter.origin.pipeline.clone(),
            queue: letter.origin.queue.clone(),
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            redelivered: message.redelivered,
            properties: PropertiesView::of(&message.properties, veil),
            headers: typed,
            body_bytes: message.body.len() as u64,
            stage: letter.stage.to_string(),
            code: letter.code.to_string(),
            issues: letter.issues.iter().map(|issue| IssueView::of(issue, veil)).collect(),
            issues_not_kept: letter.issues_not_kept,
            attempts: letter.attempts.iter().map(AttemptView::of).collect(),
            event_id: veil.map_or(letter.event_id.as_deref(), |veil| veil.event_id_of(letter)).map(str::to_owned),
            event_time: letter.event_time.map(instant),
            schema: letter.origin.schema.clone(),
            received_at: instant(letter.received_at),
            dead_at: instant(letter.dead_at),
            instance: letter.origin.instance.clone(),
            version: letter.origin.version.clone(),
            flush_id: letter.flush_id.clone(),
            source_file: letter.source_file.clone(),
            source_line: letter.source_line,
            unreadable: message
                .unreadable
                .iter()
                .map(|part| UnreadableView {
                    place: part.place.clone(),
                    bytes_base64: veil.is_none().then(|| BASE64.encode(&part.bytes)),
                })
                .collect(),
        }
    }
}

fn shown_headers(headers: &[(String, HeaderValue)], veil: Option<&Veil>) -> Box<RawValue> {
    let shown = |(name, value): &(String, HeaderValue)| {
        let hidden = veil.is_some_and(|veil| veil.hides_header(name));
        let value = if hidden { HeaderValue::Text(MASKED.as_bytes().to_vec()) } else { value.clone() };
        (name.clone(), value)
    };
    let shown: Vec<_> = headers.iter().map(shown).collect();
    RawValue::from_string(headers::to_json(&shown)).expect("typed headers are JSON")
}

impl PropertiesView {
    fn of(properties: &Properties, veil: Option<&Veil>) -> Self {
        let text = |name: &str, value: &Option<String>| {
            let value = value.as_deref();
            veil.map_or(value, |veil| veil.property(name, value)).map(str::to_owned)
        };
        Self {
            content_type: text("content_type", &properties.content_type),
            content_encoding: text("content_encoding", &properties.content_encoding),
            delivery_mode: properties.delivery_mode,
            priority: properties.priority,
            correlation_id: text("correlation_id", &properties.correlation_id),
            reply_to: text("reply_to", &properties.reply_to),
            expiration: text("expiration", &properties.expiration),
            message_id: text("message_id", &properties.message_id),
            timestamp: properties.timestamp,
            kind: text("type", &properties.kind),
            user_id: text("user_id", &properties.user_id),
            app_id: text("app_id", &properties.app_id),
            cluster_id: text("cluster_id", &properties.cluster_id),
        }
    }
}

impl IssueView {
    fn of(issue: &IssueRecord, veil: Option<&Veil>) -> Self {
        let path = |path: &str| veil.map_or(path.to_owned(), |veil| veil.path(path).into_owned());
        Self {
            code: issue.code.to_string(),
            path: path(&issue.path),
            instance_path: path(&issue.instance_path),
            expected: issue.expected.clone(),
            actual: issue.actual.clone(),
            group: issue.group.to_string(),
            offset: issue.offset,
        }
    }
}

impl AttemptView {
    fn of(attempt: &Attempt) -> Self {
        Self {
            n: attempt.n,
            at: instant(attempt.at),
            stage: attempt.stage.to_string(),
            code: attempt.code.to_string(),
            group: attempt.group.to_string(),
            instance: attempt.instance.clone(),
            version: attempt.version.clone(),
            source: attempt.source.as_str(),
        }
    }
}
