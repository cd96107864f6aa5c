//! CloudEvents 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>): the attributes of an event and its
//! data, of a message in structured mode (the JSON event format) or in binary mode (headers, as the bindings for AMQP and for
//! RabbitMQ name them). What the data are is not looked at here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};

use super::{JsonDecoder, Limits};
use crate::event::{HeaderValue, Message};
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Tape, Value, write_json_string};

/// Attributes that every event has, as texts.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Those of which the specification says what they are, the required ones first; all others are extensions.
const KNOWN: [&str; 8] = ["specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype"];

/// What the names of headers begin with that are attributes: those of the binding for AMQP, that of the binding for RabbitMQ,
/// and that of the binding for Kafka, which some senders take over. In whatever case.
const PREFIXES: [&str; 4] = ["cloudEvents:", "cloudEvents_", "ce-", "ce_"];

/// The path of attributes in binary mode.
const HEADERS: &str = "headers";

/// Members of the JSON format that are no attributes.
const DATA: [&str; 2] = ["data", "data_base64"];

/// What media types of event formats begin with.
const PREFIX: &str = "application/cloudevents";

/// The media type of the JSON format.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// Where in the JSON format data stand, as paths of issues say it.
pub const DATA_PATH: &str = "/data";
const BASE64_PATH: &str = "/data_base64";

/// How a message carries an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The body is the event, as JSON.
    Structured,
    /// The body is the data; headers are the attributes.
    Binary,
}

/// The attributes of an event: the required ones, then the others by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(String, Attribute)>);

#[derive(Clone, Debug, PartialEq)]
enum Attribute {
    Text(String),
    Bool(bool),
    /// The specification gives whole numbers 32 bits; some of its SDKs write larger ones, of which no digit is lost.
    Integer(i64),
}

/// The data of an event in structured mode.
#[derive(Clone, Debug)]
pub enum Data<'t> {
    Value(Value<'t>),
    /// With the path that issues give them.
    Bytes(Cow<'t, [u8]>, &'static str),
}

/// An attribute that is not what it has to be, as it is found out.
struct Odd {
    expected: &'static str,
    actual: &'static str,
}

impl Mode {
    /// How `message` carries its event. One that says of neither mode that it is so can only be in structured mode.
    ///
    /// # Errors
    /// `decode.cloudevents.batch` or `decode.cloudevents.format`.
    pub fn of(message: &Message) -> Result<Self, Rejection> {
        if let Some(rest) = media_type(message).as_deref().and_then(|essence| essence.strip_prefix(PREFIX)) {
            return match rest {
                "" | "+json" => Ok(Mode::Structured),
                _ if rest.starts_with("-batch") => Err(Issue::whole(Code::CloudEventsBatch).into()),
                _ => Err(Issue::at(Code::CloudEventsFormat, "", STRUCTURED, "another event format").into()),
            };
        }
        let is_required = |name: &str| attribute_name(name).is_some_and(|name| REQUIRED.contains(&name.as_str()));
        match headers(message).iter().any(|(name, _)| is_required(name)) {
            true => Ok(Mode::Binary),
            false => Ok(Mode::Structured),
        }
    }
}

/// Whether data of that media type stand in the JSON format as they are (section 3.1 of it).
fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

/// A media type in lower case, without parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type of the body, in lower case, without parameters.
fn media_type(message: &Message) -> Option<String> {
    message.properties.content_type.as_deref().map(essence)
}

/// The media type of the data in `message`, of a CloudEvent in binary mode by its attribute where the property says nothing.
pub(super) fn content_type_of(message: &Message) -> Option<&str> {
    let attribute = || {
        let is_asked = |name: &str| attribute_name(name).is_some_and(|name| name == "datacontenttype");
        headers(message).iter().find_map(|(name, value)| match value {
            HeaderValue::Text(text) if is_asked(name) => std::str::from_utf8(text).ok(),
            _ => None,
        })
    };
    let is_binary = || Mode::of(message).is_ok_and(|mode| mode == Mode::Binary);
    message.properties.content_type.as_deref().or_else(|| attribute().filter(|_| is_binary()))
}

/// Whether `message` says that its body is an event in the JSON format.
pub fn says_structured(message: &Message) -> bool {
    media_type(message).is_some_and(|essence| [PREFIX, STRUCTURED].contains(&essence.as_str()))
}

fn headers(message: &Message) -> &[(String, HeaderValue)] {
    message.properties.headers.as_deref().unwrap_or_default()
}

/// Whether an attribute may have that name (section "naming conventions" of the specification).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The attribute that a header of that name is. What no attribute may be called is a header and no more, such as
/// `ce-customer-id`.
fn attribute_name(header: &str) -> Option<String> {
    let rest = PREFIXES.iter().find_map(|prefix| {
        let (start, rest) = header.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    });
    rest.map(str::to_ascii_lowercase).filter(|name| is_name(name) || DATA.contains(&name.as_str()))
}

impl Attributes {
    /// Those of a message in binary mode.
    ///
    /// # Errors
    /// `decode.cloudevents.required` and `decode.cloudevents.attribute`, all that are found.
    pub fn of_headers(message: &Message) -> Result<Self, Rejection> {
        let mut found = Collected { at: HEADERS, ..Collected::default() };
        for (header, value) in headers(message) {
            match attribute_name(header) {
                // In the JSON format they are the data, which no attribute may be called for that reason.
                Some(name) if DATA.contains(&name.as_str()) => found.note(&name, "an attribute", "data"),
                Some(name) => found.add(&name, of_header(&name, value)),
                None => {}
            }
        }
        if let Some(content_type) = &message.properties.content_type {
            found.attributes.remove("datacontenttype");
            found.add("datacontenttype", Ok(Some(Attribute::Text(content_type.clone()))));
        }
        found.whole()
    }

    /// Those of an event in the JSON format, and its data.
    ///
    /// # Errors
    /// `decode.cloudevents.absent`, `.batch`, `.required`, `.attribute` or `.data`.
    pub fn of_json<'t>(event: Value<'t>) -> Result<(Self, Data<'t>), Rejection> {
        let is_event = |value: Value<'_>| value.get("specversion").is_some();
        match event.node() {
            Node::Array { .. } if event.elements().next().is_some_and(is_event) => {
                return Err(Issue::whole(Code::CloudEventsBatch).into());
            }
            Node::Object { .. } if is_event(event) || REQUIRED[1..].iter().all(|name| event.get(name).is_some()) => {}
            _ => return Err(Issue::whole(Code::CloudEventsAbsent).into()),
        }
        let mut found = Collected::default();
        for (name, value) in event.members().filter(|(name, _)| !DATA.contains(name)) {
            found.add(name, of_member(value));
        }
        let attributes = found.whole()?;
        let data = attributes.data(event)?;
        Ok((attributes, data))
    }

    fn data<'t>(&self, event: Value<'t>) -> Result<Data<'t>, Rejection> {
        let bad = |path: &str, expected: &str, actual: &str| -> Rejection {
            Issue::at(Code::CloudEventsData, path, expected, actual).into()
        };
        match (event.get("data"), event.get("data_base64").filter(|data| !data.is_null())) {
            (Some(data), Some(_)) if !data.is_null() => Err(bad(DATA_PATH, "data or data_base64", "both")),
            (None, None) => Err(bad(DATA_PATH, "data or data_base64", "nothing")),
            (_, Some(data)) => {
                let text = data.as_str().ok_or_else(|| bad(BASE64_PATH, "base64", data.type_name()))?;
                let bytes = BASE64.decode(text).map_err(|_| bad(BASE64_PATH, "base64", "another string"))?;
                Ok(Data::Bytes(Cow::Owned(bytes), BASE64_PATH))
            }
            // What is said to be no JSON stands there as text.
            (Some(data), None) => match (data.as_str(), self.content_type()) {
                (Some(text), Some(content_type)) if !is_json(content_type) => {
                    Ok(Data::Bytes(Cow::Borrowed(text.as_bytes()), DATA_PATH))
                }
                _ => Ok(Data::Value(data)),
            },
        }
    }

    fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// An attribute that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Attribute::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn id(&self) -> &str {
        self.text("id").unwrap_or_default()
    }

    /// When the event happened, as RFC 3339 if it is right.
    pub fn time(&self) -> Option<&str> {
        self.text("time")
    }

    /// The media type of the data.
    pub fn content_type(&self) -> Option<&str> {
        self.text("datacontenttype")
    }

    /// Where `time` stands in a message of that mode, as issues say it.
    pub fn time_path(mode: Mode) -> &'static str {
        match mode {
            Mode::Structured => "/time",
            Mode::Binary => "headers/time",
        }
    }

    /// All of them as one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(256);
        out.push(b'{');
        for (position, (name, value)) in self.0.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            write_json_string(name, &mut out);
            out.push(b':');
            match value {
                Attribute::Text(text) => write_json_string(text, &mut out),
                Attribute::Bool(flag) => out.extend_from_slice(flag.to_string().as_bytes()),
                Attribute::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            }
        }
        out.push(b'}');
        String::from_utf8(out).expect("texts are UTF-8")
    }
}

/// Attributes as they are met, and what is wrong with them. An event may have as many as fit in it, so each is looked up.
#[derive(Default)]
struct Collected {
    /// What paths begin with.
    at: &'static str,
    attributes: BTreeMap<String, Attribute>,
    /// Each once: of extensions only their kinds are told apart.
    issues: Vec<Issue>,
}

impl Collected {
    fn add(&mut self, name: &str, value: Result<Option<Attribute>, Odd>) {
        let value = match value {
            Ok(None) => return,
            Ok(Some(_)) if !is_name(name) => return self.note(name, "lower-case letters and digits", "another name"),
            Ok(Some(value)) => value,
            Err(Odd { expected, actual }) => return self.note(name, expected, actual),
        };
        match self.attributes.get(name) {
            Some(known) if *known != value => self.note(name, "one value", "several"),
            Some(_) => {}
            None => _ = self.attributes.insert(name.to_owned(), value),
        }
    }

    fn note(&mut self, name: &str, expected: &str, actual: &str) {
        self.add_issue(Issue::at(Code::CloudEventsAttribute, &self.path(name), expected, actual));
    }

    fn add_issue(&mut self, issue: Issue) {
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    fn path(&self, name: &str) -> String {
        // Senders make up the names of extensions: they are no part of a group.
        format!("{}/{}", self.at, if KNOWN.contains(&name) { name } else { "{*}" })
    }

    fn whole(mut self) -> Result<Attributes, Rejection> {
        for name in REQUIRED {
            let path = self.path(name);
            match self.attributes.get(name) {
                Some(Attribute::Text(text)) if text.is_empty() => self.note(name, "a text", "an empty one"),
                Some(Attribute::Text(text)) if name == "specversion" && text != "1.0" => {
                    self.note(name, "1.0", "another version");
                }
                Some(Attribute::Text(_)) => {}
                Some(Attribute::Bool(_)) => self.note(name, "a text", "a boolean"),
                Some(Attribute::Integer(_)) => self.note(name, "a text", "a number"),
                None if self.issues.iter().any(|issue| issue.path == path) => {}
                None => self.add_issue(Issue::at(Code::CloudEventsRequired, &path, "", "")),
            }
        }
        for name in &KNOWN[REQUIRED.len()..] {
            if self.attributes.get(*name).is_some_and(|value| !matches!(value, Attribute::Text(_))) {
                self.note(name, "a text", "another value");
            }
        }
        if !self.issues.is_empty() {
            // In an order of their own: the first names the group, which is not for the order of members or headers to say.
            let place = |issue: &Issue| {
                let is = |name: &&str| issue.path.rsplit('/').next() == Some(*name);
                KNOWN.iter().position(is).unwrap_or(KNOWN.len())
            };
            self.issues.sort_by(|one, two| {
                (place(one), &one.expected, &one.actual).cmp(&(place(two), &two.expected, &two.actual))
            });
            return Err(Rejection::new(self.issues));
        }
        let required = REQUIRED.into_iter().filter_map(|name| self.attributes.remove_entry(name));
        let mut attributes: Vec<_> = required.collect();
        attributes.extend(self.attributes);
        Ok(Attributes(attributes))
    }
}

/// As the JSON format writes it; `None`: it is not set.
fn of_member(value: Value<'_>) -> Result<Option<Attribute>, Odd> {
    match value.node() {
        Node::Null => Ok(None),
        Node::Str(text) => Ok(Some(Attribute::Text(text.to_owned()))),
        Node::Bool(flag) => Ok(Some(Attribute::Bool(flag))),
        Node::I64(number) => Ok(Some(Attribute::Integer(number))),
        _ => Err(Odd { expected: "a text, a boolean or a whole number", actual: value.type_name() }),
    }
}

/// As the bindings write it: in the type of AMQP, or as text.
fn of_header(name: &str, value: &HeaderValue) -> Result<Option<Attribute>, Odd> {
    let integer = |number: i64| -> Result<Option<Attribute>, Odd> {
        match name {
            // AMQP 1.0 counts milliseconds, which clients for 0-9-1 send as a number.
            "time" => instant(DateTime::from_timestamp_millis(number)),
            // Its canonical form, where a text is needed.
            _ if REQUIRED.contains(&name) || name == "subject" => Ok(Some(Attribute::Text(number.to_string()))),
            _ => Ok(Some(Attribute::Integer(number))),
        }
    };
    match value {
        HeaderValue::Void => Ok(None),
        HeaderValue::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(Attribute::Text(text.to_owned()))),
            Err(_) => Err(Odd { expected: "UTF-8", actual: "other bytes" }),
        },
        HeaderValue::Bool(flag) => Ok(Some(Attribute::Bool(*flag))),
        HeaderValue::I8(number) => integer((*number).into()),
        HeaderValue::U8(number) => integer((*number).into()),
        HeaderValue::I16(number) => integer((*number).into()),
        HeaderValue::U16(number) => integer((*number).into()),
        HeaderValue::I32(number) => integer((*number).into()),
        HeaderValue::U32(number) => integer((*number).into()),
        HeaderValue::I64(number) => integer(*number),
        // Seconds, by AMQP 0-9-1.
        HeaderValue::Timestamp(seconds) => {
            instant(i64::try_from(*seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)))
        }
        HeaderValue::Bytes(bytes) => Ok(Some(Attribute::Text(BASE64.encode(bytes)))),
        HeaderValue::F32(_) | HeaderValue::F64(_) | HeaderValue::Decimal { .. } => Err(Odd {
            expected: "a text, a boolean, a whole number, a time or bytes",
            actual: "a number with a fraction",
        }),
        HeaderValue::Array(_) | HeaderValue::Table(_) => {
            Err(Odd { expected: "a text, a boolean, a whole number, a time or bytes", actual: "several values" })
        }
    }
}

fn instant(time: Option<DateTime<Utc>>) -> Result<Option<Attribute>, Odd> {
    // RFC 3339 has four digits for the year.
    let time = time.filter(|time| (0..=9999).contains(&chrono::Datelike::year(time)));
    let time = time.ok_or(Odd { expected: "a time", actual: "a number beyond" })?;
    Ok(Some(Attribute::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))))
}

/// The event of those attributes in the JSON format, with `data`, which is JSON, as the member of that name.
pub fn wrapped(attributes: &serde_json::Value, member: &str, data: &[u8]) -> Vec<u8> {
    let mut out = attributes.to_string().into_bytes();
    // In place of the brace.
    out.pop();
    out.extend_from_slice(format!(",\"{member}\":").as_bytes());
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

/// The data of the event in structured mode that `message`, whose body is `opened`, carries, and their media type; data that
/// are a value of JSON as text. `None`: it is none.
pub fn structured_data(message: &Message, opened: &[u8]) -> Option<(Option<String>, Vec<u8>)> {
    let read = |attributes: &Attributes, data: Data<'_>| {
        let data = match data {
            Data::Bytes(bytes, _) => bytes.into_owned(),
            Data::Value(value) => {
                let mut out = Vec::new();
                value.write_json(&mut out);
                out
            }
        };
        Some((attributes.content_type().map(str::to_owned), data))
    };
    of_structured(message, opened, read)
}

/// The same of data that stand there as bytes, in base64 or as text.
pub fn structured_bytes(message: &Message, opened: &[u8]) -> Option<Vec<u8>> {
    let read = |_: &Attributes, data: Data<'_>| match data {
        Data::Bytes(bytes, _) => Some(bytes.into_owned()),
        Data::Value(_) => None,
    };
    of_structured(message, opened, read)
}

fn of_structured<R>(
    message: &Message,
    opened: &[u8],
    read: impl FnOnce(&Attributes, Data<'_>) -> Option<R>,
) -> Option<R> {
    Mode::of(message).ok().filter(|mode| *mode == Mode::Structured)?;
    let read = |tape: &Tape<'_>| {
        let (attributes, data) = Attributes::of_json(tape.root()).ok()?;
        read(&attributes, data)
    };
    JsonDecoder::new(WIDEST).decode(opened, read).ok()?
}

/// Limits where no pipeline sets others.
const WIDEST: Limits = Limits { body_bytes_max: 64 << 20, depth_max: 512 };

/// What a repeat of the event in `message` is known by, beside its id: ids are unique within a source only, and in binary mode
/// the body does not tell of it.
pub fn identity_hash(message: &Message) -> [u8; 16] {
    let is_source = |name: &str| attribute_name(name).is_some_and(|name| name == "source");
    let text = |(_, value): &(String, HeaderValue)| match value {
        HeaderValue::Text(source) => Some(source.clone()),
        other => match of_header("source", other) {
            Ok(Some(Attribute::Text(source))) => Some(source.into_bytes()),
            _ => None,
        },
    };
    let mut sources = headers(message).iter().filter(|(name, _)| is_source(name) && !says_structured(message));
    match sources.find_map(text) {
        Some(source) => {
            let of_source = Message { body: source, ..Message::default() }.body_hash();
            (u128::from_be_bytes(message.body_hash()) ^ u128::from_be_bytes(of_source)).to_be_bytes()
        }
        None => message.body_hash(),
    }
}

#[cfg(test)]
mod tests;
