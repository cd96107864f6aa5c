//! Dead letters for tests: some by hand, any by chance.

use chrono::TimeDelta;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::event::{HeaderValue, Properties, Unreadable};
use crate::rejection::Code;

/// The instant `seconds` after 2013-01-01T00:00:00Z.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_356_998_400 + seconds, 0).expect("2013 can be told")
}

/// The id given at [`at`]`(seconds)`, distinct by `serial`.
pub(crate) fn id(seconds: i64, serial: u128) -> Ulid {
    Ulid::from_parts(at(seconds).timestamp_millis() as u64, serial)
}

/// A flight whose arrival delay and tail number are null.
pub(crate) fn nulls() -> Rejection {
    let mut delay = Issue::at(Code::ValidateType, "/arrival/delay_min", "integer", "null");
    delay.instance_path = "/arrival/delay_min".to_owned();
    Rejection::new(vec![delay, Issue::at(Code::ValidateType, "/tailnum", "string", "null")])
}

/// A body cut off at its end.
pub(crate) fn truncated(body_bytes: u64) -> Rejection {
    Issue { offset: Some(body_bytes), ..Issue::whole(Code::JsonTruncated) }.into()
}

/// A dead letter of `pipeline`, dead `seconds` after the start of 2013.
pub(crate) fn letter(pipeline: &str, seconds: i64, serial: u128, body: &[u8], rejection: &Rejection) -> DeadLetter {
    let origin = Origin {
        pipeline: pipeline.to_owned(),
        queue: pipeline.to_owned(),
        format: "json".to_owned(),
        schema: "flight@1".to_owned(),
        schema_hash: None,
        wire: None,
        instance: "host_1".to_owned(),
        shard: 0,
        version: "0.1.0".to_owned(),
    };
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        message_id: Some(format!("m-{serial}")),
        app_id: Some("tower".to_owned()),
        headers: Some(vec![
            ("x-source".to_owned(), HeaderValue::Text(b"atc".to_vec())),
            ("x-attempt".to_owned(), HeaderValue::I64(3)),
        ]),
        ..Properties::default()
    };
    let message = Message {
        body: body.to_vec(),
        exchange: "flights".to_owned(),
        routing_key: "flight.jfk".to_owned(),
        redelivered: false,
        properties: properties.into(),
        unreadable: Vec::new(),
    };
    let delivery = Delivery { tag: serial as u64, received_at: at(seconds) - TimeDelta::milliseconds(1500), message };
    DeadLetter::new(id(seconds, serial), &Arc::new(origin), delivery, rejection, AttemptSource::Queue, at(seconds))
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // Years 1 to 9999.
    (-62_135_596_800_000_000..253_402_300_800_000_000_i64)
        .prop_map(|micros| DateTime::from_timestamp_micros(micros).expect("these years can be told"))
}

fn header_value() -> impl Strategy<Value = HeaderValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::I8),
        any::<u8>().prop_map(HeaderValue::U8),
        any::<i16>().prop_map(HeaderValue::I16),
        any::<u16>().prop_map(HeaderValue::U16),
        any::<i32>().prop_map(HeaderValue::I32),
        any::<u32>().prop_map(HeaderValue::U32),
        any::<i64>().prop_map(HeaderValue::I64),
        any::<f32>().prop_map(HeaderValue::F32),
        any::<f64>().prop_map(HeaderValue::F64),
        any::<(u8, u32)>().prop_map(|(scale, value)| HeaderValue::Decimal { scale, value }),
        any::<Vec<u8>>().prop_map(HeaderValue::Text),
        any::<u64>().prop_map(HeaderValue::Timestamp),
        any::<Vec<u8>>().prop_map(HeaderValue::Bytes),
        Just(HeaderValue::Void),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(HeaderValue::Array),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(HeaderValue::Table),
        ]
    })
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn properties() -> impl Strategy<Value = Properties> {
    let headers = option::of(prop::collection::vec((any::<String>(), header_value()), 0..4));
    let texts = (text(), text(), text(), text(), text(), text());
    let more_texts = (text(), text(), text(), text());
    (headers, texts, more_texts, any::<(Option<u8>, Option<u8>, Option<u64>)>()).prop_map(
        |(headers, texts, more_texts, (delivery_mode, priority, timestamp))| {
            let (content_type, content_encoding, correlation_id, reply_to, expiration, message_id) = texts;
            let (kind, user_id, app_id, cluster_id) = more_texts;
            Properties {
                content_type,
                content_encoding,
                headers,
                delivery_mode,
                priority,
                correlation_id,
                reply_to,
                expiration,
                message_id,
                timestamp,
                kind,
                user_id,
                app_id,
                cluster_id,
            }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let part = any::<(String, Vec<u8>)>().prop_map(|(place, bytes)| Unreadable { place, bytes });
    let unreadable = prop::collection::vec(part, 0..3);
    (any::<Vec<u8>>(), any::<String>(), any::<String>(), any::<bool>(), properties(), unreadable).prop_map(
        |(body, exchange, routing_key, redelivered, properties, unreadable)| Message {
            body,
            exchange,
            routing_key,
            redelivered,
            properties: properties.into(),
            unreadable,
        },
    )
}

fn rejection() -> impl Strategy<Value = Rejection> {
    let code = (0..Code::ALL.len()).prop_map(|at| Code::ALL[at]);
    let issue = (code, any::<[String; 4]>(), any::<Option<u64>>()).prop_map(|(code, texts, offset)| {
        let [path, instance_path, expected, actual] = texts;
        Issue { code, path, instance_path, expected, actual, offset }
    });
    prop::collection::vec(issue, 1..4).prop_map(Rejection::new)
}

fn origin() -> impl Strategy<Value = Origin> {
    (any::<[String; 6]>(), text(), any::<u32>()).prop_map(|(texts, schema_hash, shard)| {
        let [pipeline, queue, format, schema, instance, version] = texts;
        Origin { pipeline, queue, format, schema, schema_hash, wire: None, instance, shard, version }
    })
}

/// Any dead letter at all.
pub(crate) fn any_letter() -> impl Strategy<Value = DeadLetter> {
    let source = (0..AttemptSource::ALL.len()).prop_map(|at| AttemptSource::ALL[at]);
    let place = (any::<(u128, u64, u64, String)>(), text(), any::<Option<u64>>());
    let original = option::of(any::<[String; 3]>().prop_map(|[queue, exchange, routing_key]| Original {
        queue,
        exchange,
        routing_key,
    }));
    let event = (text(), option::of(instant()), any::<Option<[u8; 32]>>(), original);
    (origin(), message(), rejection(), source, place, event, instant(), instant()).prop_map(
        |(origin, message, rejection, source, place, event, received_at, dead_at)| {
            let ((id, tag, issues_not_kept, flush_id), source_file, source_line) = place;
            let (event_id, event_time, body_sha256, original) = event;
            let delivery = Delivery { tag, received_at, message };
            let first = DeadLetter::new(id.into(), &Arc::new(origin), delivery, &rejection, source, dead_at);
            let again = Attempt { n: 2, source: AttemptSource::Replay, ..first.attempts[0].clone() };
            DeadLetter {
                body_sha256,
                original,
                event_id,
                event_time,
                issues_not_kept,
                attempts: vec![first.attempts[0].clone(), again],
                flush_id,
                source_file,
                source_line,
                ..first
            }
        },
    )
}
