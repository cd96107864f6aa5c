//! CloudEvents in both modes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::decode::cloudevents::{self, Attributes, Data, Mode};
use parqueduct::decode::{JsonDecoder, Limits};
use parqueduct::event::{HeaderValue, Message, Properties};
use parqueduct::value::Value;
use serde_json::{Map, Value as Json};

use super::bytes::Bytes;
use super::check_places;

const LIMITS: Limits = Limits { body_bytes_max: 1 << 20, depth_max: 20 };

/// Media types of bodies, by the first byte; those of the data are in the event. Beyond them it is any text.
const CONTENT_TYPES: [Option<&str>; 6] = [
    Some(cloudevents::STRUCTURED),
    None,
    Some("application/json"),
    Some("Application/CloudEvents+JSON; charset=utf-8"),
    Some("application/cloudevents-batch+json"),
    Some("application/cloudevents+avro"),
];

const PREFIXES: [&str; 5] = ["cloudEvents:", "cloudEvents_", "ce-", "CE_", ""];
const NAMES: [&str; 12] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "dataschema",
    "datacontenttype",
    "Trace",
    "data",
    "data_base64",
    "",
];
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
const TEXTS: [&str; 8] = ["specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype"];

/// By the first byte a body in the JSON format, or headers.
pub fn cloud_events(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let mut bytes = Bytes(rest);
    let content_type = match CONTENT_TYPES.get(usize::from(choice >> 1) % (CONTENT_TYPES.len() + 1)) {
        Some(content_type) => content_type.map(str::to_owned),
        None => Some(bytes.text()),
    };
    match choice % 2 {
        0 => structured(content_type, bytes.0),
        _ => binary(content_type, bytes),
    }
}

/// How a message carries its event, by another reading of what it says; `None`: in a way that is not taken.
fn plain_mode(content_type: Option<&str>, headers: &[(String, HeaderValue)]) -> Option<Mode> {
    let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match essence.as_deref() {
        Some("application/cloudevents" | cloudevents::STRUCTURED) => return Some(Mode::Structured),
        Some(essence) if essence.starts_with("application/cloudevents") => return None,
        _ => {}
    }
    let is_required = |header: &str| {
        let header = header.to_ascii_lowercase();
        let prefixes = ["cloudevents:", "cloudevents_", "ce-", "ce_"];
        prefixes.iter().any(|prefix| REQUIRED.iter().any(|name| header == format!("{prefix}{name}")))
    };
    match headers.iter().any(|(name, _)| is_required(name)) {
        true => Some(Mode::Binary),
        false => Some(Mode::Structured),
    }
}

fn check_mode(message: &Message) -> Option<Mode> {
    let headers = message.properties.headers.as_deref().unwrap_or_default();
    let expected = plain_mode(message.properties.content_type.as_deref(), headers);
    let mode = Mode::of(message);
    if let Err(rejection) = &mode {
        check_places(rejection, &message.body);
    }
    assert_eq!(mode.ok(), expected);
    expected
}

/// What is taken of a body is what serde_json finds in it, by the rules of the JSON format; and it is read again from what is
/// written of it.
fn structured(content_type: Option<String>, body: &[u8]) {
    let properties = Properties { content_type, ..Properties::default() };
    let message = Message { body: body.to_vec(), properties: properties.into(), ..Message::default() };
    let is_structured = check_mode(&message) == Some(Mode::Structured);
    let decoded = JsonDecoder::new(LIMITS).decode(body, |tape| {
        let theirs: Json = serde_json::from_slice(body).expect("what we decode is JSON");
        match Attributes::of_json(tape.root()) {
            Err(rejection) => {
                check_places(&rejection, body);
                assert!(plain(&theirs).is_none(), "{rejection:?}");
                None
            }
            Ok((attributes, data)) => {
                let (expected, theirs) = plain(&theirs).expect("what is taken keeps the rules");
                let found: Map<String, Json> = serde_json::from_str(&attributes.to_json()).expect("an object");
                assert_eq!(found, expected);
                check_data(&data, &theirs);
                check_again(&attributes, &data);
                Some(attributes.content_type().map(str::to_owned))
            }
        }
    });
    let expected = decoded.ok().flatten().filter(|_| is_structured);
    let data = cloudevents::structured_data(&message, body);
    // What stands there as bytes is found as them, too.
    let bytes = cloudevents::structured_bytes(&message, body);
    assert!(bytes.is_none_or(|bytes| data.as_ref().is_some_and(|(_, data)| *data == bytes)));
    assert_eq!(data.map(|(content_type, _)| content_type), expected);
    cloudevents::identity_hash(&message);
}

/// Data, by another reading.
enum Plain {
    Value(Json),
    Bytes(Vec<u8>),
}

/// The attributes that are set, and the data, if `event` keeps the rules of the JSON format.
fn plain(event: &Json) -> Option<(Map<String, Json>, Plain)> {
    let members = event.as_object()?;
    let data = ["data", "data_base64"];
    let attributes = members.iter().filter(|(name, value)| !data.contains(&&***name) && !value.is_null());
    let attributes: Map<String, Json> = attributes.map(|(name, value)| (name.clone(), value.clone())).collect();
    let is_attribute = |value: &Json| value.is_string() || value.is_boolean() || value.is_i64();
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9'));
    let is_text = |name: &&str| attributes.get(*name).is_none_or(Json::is_string);
    let is_set = |name: &&str| attributes.get(*name).and_then(Json::as_str).is_some_and(|text| !text.is_empty());
    let whole =
        attributes.iter().all(|(name, value)| is_name(name) && is_attribute(value)) && TEXTS.iter().all(is_text);
    if !whole || !REQUIRED.iter().all(is_set) || attributes["specversion"] != "1.0" {
        return None;
    }
    let base64 = members.get("data_base64").filter(|value| !value.is_null());
    let content_type = attributes.get("datacontenttype").and_then(Json::as_str).map(is_json);
    let data = match (members.get("data"), base64) {
        (Some(data), Some(_)) if !data.is_null() => return None,
        (None, None) => return None,
        (_, Some(text)) => Plain::Bytes(BASE64.decode(text.as_str()?).ok()?),
        (Some(Json::String(text)), None) if content_type == Some(false) => Plain::Bytes(text.clone().into_bytes()),
        (Some(data), None) => Plain::Value(data.clone()),
    };
    Some((attributes, data))
}

/// Whether data of that media type stand in an event as JSON (3.1.1 of the JSON format, and RFC 6839).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    subtype == "json" || subtype.ends_with("+json")
}

fn check_data(data: &Data<'_>, theirs: &Plain) {
    match (data, theirs) {
        (Data::Value(value), Plain::Value(theirs)) => {
            let ours: Json = serde_json::from_slice(&json(*value)).expect("JSON");
            assert_eq!(ours, *theirs);
        }
        (Data::Bytes(bytes, _), Plain::Bytes(theirs)) => assert_eq!(**bytes, theirs[..]),
        (ours, _) => panic!("data of another kind: {ours:?}"),
    }
}

fn json(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    value.write_json(&mut out);
    out
}

/// Attributes and data, written as an event in the JSON format, are read as what they are.
fn check_again(attributes: &Attributes, data: &Data<'_>) {
    let object: Json = serde_json::from_str(&attributes.to_json()).expect("an object");
    let body = match data {
        Data::Value(value) => cloudevents::wrapped(&object, "data", &json(*value)),
        Data::Bytes(bytes, _) => {
            cloudevents::wrapped(&object, "data_base64", Json::from(BASE64.encode(bytes)).to_string().as_bytes())
        }
    };
    let limits = Limits { depth_max: LIMITS.depth_max + 1, ..LIMITS };
    let again = JsonDecoder::new(limits).decode(&body, |tape| {
        let (again, data_again) = Attributes::of_json(tape.root()).expect("what was written is an event");
        assert_eq!(again, *attributes);
        match (data, data_again) {
            (Data::Value(value), Data::Value(again)) => assert_eq!(json(*value), json(again)),
            (Data::Bytes(bytes, _), Data::Bytes(again, _)) => assert_eq!(*bytes, again),
            (ours, again) => panic!("{ours:?} became {again:?}"),
        }
    });
    again.expect("what was written is JSON");
}

/// What headers say, the JSON format can say; and every event has what all must have.
fn binary(content_type: Option<String>, mut bytes: Bytes<'_>) {
    let headers = (0..bytes.byte() % 8).map(|_| header(&mut bytes)).collect();
    let properties = Properties { content_type, headers: Some(headers), ..Properties::default() };
    let message = Message { body: b"{}".to_vec(), properties: properties.into(), ..Message::default() };
    check_mode(&message);
    cloudevents::identity_hash(&message);
    match Attributes::of_headers(&message) {
        Err(rejection) => check_places(&rejection, &message.body),
        Ok(attributes) => {
            for name in REQUIRED {
                assert!(attributes.text(name).is_some_and(|text| !text.is_empty()), "{name}");
            }
            assert_eq!(attributes.text("specversion"), Some("1.0"));
            check_again(&attributes, &Data::Bytes(message.body[..].into(), ""));
        }
    }
}

fn header(bytes: &mut Bytes<'_>) -> (String, HeaderValue) {
    let choice = usize::from(bytes.byte());
    let (prefix, name) = (PREFIXES[choice % PREFIXES.len()], NAMES[choice / PREFIXES.len() % NAMES.len()]);
    let name = if name.is_empty() { bytes.text() } else { name.to_owned() };
    let value = match (name.as_str(), bytes.byte() % 3) {
        // What all must have is seldom met by chance.
        ("specversion", 0) => HeaderValue::Text(b"1.0".to_vec()),
        (_, 0) => HeaderValue::Text(b"x".to_vec()),
        _ => bytes.header(2),
    };
    (format!("{prefix}{name}"), value)
}
