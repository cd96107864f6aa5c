//! A message as the broker handed it over, and nothing that was made of it.

use chrono::{DateTime, Utc};

/// One message, exactly as it came: what a dead letter keeps and a replay sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The body as received, untouched.
    pub body: Vec<u8>,
    /// Empty for the default exchange.
    pub exchange: String,
    pub routing_key: String,
    /// The broker may have delivered it before.
    pub redelivered: bool,
    /// Texts that are not UTF-8 stand here with a `?` for each byte that is not; `unreadable` has what they were.
    pub properties: CarriedProperties,
    /// What of its names and properties is beyond AMQP's text; empty but for messages that will be dead letters.
    pub unreadable: Vec<Unreadable>,
}

/// A part of a message that cannot be read as what AMQP says it is, with the bytes it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `exchange`, `routing_key`, a property by its AMQP name, or, for the name of a header, `headers/outer/inner`; with a
    /// `?` for each byte that is not UTF-8.
    ///
    /// Where the name of a header cannot be read, one more, [`Unreadable::HEADERS`], has the whole table: mended names may
    /// run into each other. Where the properties cannot be read at all, [`Unreadable::PROPERTIES`] has all of them.
    pub place: String,
    /// As on the wire; of a table with its length, of all properties with their flags.
    pub bytes: Vec<u8>,
}

impl Unreadable {
    /// The place that is the whole table of headers.
    pub const HEADERS: &str = "headers";
    /// The place that is the whole list of properties; the message then has none that can be read.
    pub const PROPERTIES: &str = "properties";

    pub fn new(place: &str, bytes: &[u8]) -> Self {
        Self { place: place.to_owned(), bytes: bytes.to_vec() }
    }
}

impl Message {
    /// XXH3-128 of the body as received, big-endian as its authors print it: with the id, what a repeat is known by.
    pub fn body_hash(&self) -> [u8; 16] {
        twox_hash::XxHash3_128::oneshot(&self.body).to_be_bytes()
    }

    /// What its header `traceparent` says, or that of the CloudEvent in it; `None` where neither is what it has to be.
    pub fn trace_parent(&self) -> Option<TraceParent<'_>> {
        let headers = self.properties.headers.as_ref()?;
        let parent = |asked: &&str| {
            let mut values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(asked));
            values.find_map(|(_, value)| match value {
                HeaderValue::Text(text) | HeaderValue::Bytes(text) => {
                    TraceParent::parse(std::str::from_utf8(text).ok()?)
                }
                _ => None,
            })
        };
        TRACE_HEADERS.iter().find_map(parent)
    }

    /// The trace it is part of, 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_parent().map(|parent| parent.trace_id)
    }
}

/// What names a trace, in whatever case, the first first: the header of W3C, which tells of this message, and the extension of
/// CloudEvents in binary mode, which tells of where the event began
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/distributed-tracing.md>).
const TRACE_HEADERS: [&str; 5] =
    ["traceparent", "cloudEvents:traceparent", "cloudEvents_traceparent", "ce-traceparent", "ce_traceparent"];

/// A place in a trace (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'m> {
    /// 32 hexadecimal digits, not all of them zero.
    pub trace_id: &'m str,
    /// 16 of them.
    pub span_id: &'m str,
}

impl<'m> TraceParent<'m> {
    fn parse(text: &'m str) -> Option<Self> {
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let named = |part: &str| part.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Versions to come may say more behind it; the first does not.
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let well_formed = hex(version, 2) && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
        (known && well_formed && named(trace_id) && named(span_id)).then_some(Self { trace_id, span_id })
    }
}

/// The AMQP 0-9-1 basic properties (specification 1.8.3), with what was absent kept apart from what was empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// Typed headers, in the order the client library gives them (by name); `None` when the message has none.
    pub headers: Option<Vec<(String, HeaderValue)>>,
    /// 1 transient, 2 persistent; other values are kept as they came.
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    pub expiration: Option<String>,
    pub message_id: Option<String>,
    /// Seconds since 1970 by the specification; kept as it came.
    pub timestamp: Option<u64>,
    pub kind: Option<String>,
    pub user_id: Option<String>,
    pub app_id: Option<String>,
    pub cluster_id: Option<String>,
}

impl Properties {
    /// Those of a message that has none.
    pub const NONE: Self = Self {
        content_type: None,
        content_encoding: None,
        headers: None,
        delivery_mode: None,
        priority: None,
        correlation_id: None,
        reply_to: None,
        expiration: None,
        message_id: None,
        timestamp: None,
        kind: None,
        user_id: None,
        app_id: None,
        cluster_id: None,
    };

    /// The message's id; an empty one names nothing.
    pub fn name(&self) -> Option<&str> {
        self.message_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// The properties that a message carries. They are large, most messages have few, and messages are moved and kept by the ten
/// thousand: so they lie apart, and those of a message without any take no memory.
#[derive(Clone, Default)]
pub struct CarriedProperties(Option<Box<Properties>>);

impl CarriedProperties {
    /// The same as a value of its own.
    pub fn into_inner(self) -> Properties {
        self.0.map(|carried| *carried).unwrap_or_default()
    }
}

impl From<Properties> for CarriedProperties {
    fn from(properties: Properties) -> Self {
        Self((properties != Properties::NONE).then(|| Box::new(properties)))
    }
}

impl std::ops::Deref for CarriedProperties {
    type Target = Properties;

    fn deref(&self) -> &Properties {
        static NONE: Properties = Properties::NONE;
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl std::ops::DerefMut for CarriedProperties {
    fn deref_mut(&mut self) -> &mut Properties {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for CarriedProperties {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<Properties> for CarriedProperties {
    fn eq(&self, other: &Properties) -> bool {
        **self == *other
    }
}

impl std::fmt::Debug for CarriedProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// A typed AMQP header value; the letters are RabbitMQ's field-table type tags
/// (<https://www.rabbitmq.com/amqp-0-9-1-errata>, section 3).
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: `value` divided by ten to the power of `scale`.
    Decimal { scale: u8, value: u32 },
    /// `S`: bytes that are UTF-8 by custom, not by rule.
    Text(Vec<u8>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `A`
    Array(Vec<HeaderValue>),
    /// `F`
    Table(Vec<(String, HeaderValue)>),
    /// `x`
    Bytes(Vec<u8>),
    /// `V`
    Void,
}

/// A message with its place on its channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The channel's delivery tag; for a file the 1-based number of the line.
    pub tag: u64,
    /// When it reached us.
    pub received_at: DateTime<Utc>,
    pub message: Message,
}

impl Delivery {
    /// Bytes of memory it holds, near enough to bound a window by.
    pub fn size(&self) -> usize {
        std::mem::size_of::<Delivery>() + self.message.size()
    }
}

impl Message {
    /// Bytes of its body, names, properties and headers, with an allowance for what each of them costs beside its bytes.
    pub fn size(&self) -> usize {
        let Properties { headers, content_type, content_encoding, correlation_id, reply_to, .. } = &*self.properties;
        let Properties { expiration, message_id, kind, user_id, app_id, cluster_id, .. } = &*self.properties;
        let texts = [
            content_type,
            content_encoding,
            correlation_id,
            reply_to,
            expiration,
            message_id,
            kind,
            user_id,
            app_id,
            cluster_id,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let headers = headers.as_deref().map_or(0, table_size);
        let unreadable = |part: &Unreadable| ALLOWANCE + part.place.len() + part.bytes.len();
        let unreadable: usize = self.unreadable.iter().map(unreadable).sum();
        let apart = self.properties.0.as_ref().map_or(0, |_| std::mem::size_of::<Properties>());
        ALLOWANCE
            + self.body.len()
            + self.exchange.len()
            + self.routing_key.len()
            + texts
            + headers
            + unreadable
            + apart
    }
}

/// Bytes that a message or a header costs beside what it holds.
const ALLOWANCE: usize = 64;

fn table_size(members: &[(String, HeaderValue)]) -> usize {
    members.iter().map(|(name, value)| name.len() + header_size(value)).sum()
}

fn header_size(value: &HeaderValue) -> usize {
    let held = match value {
        HeaderValue::Text(bytes) | HeaderValue::Bytes(bytes) => bytes.len(),
        HeaderValue::Array(values) => values.iter().map(header_size).sum(),
        HeaderValue::Table(members) => table_size(members),
        _ => 0,
    };
    ALLOWANCE + held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_by_a_header_that_keeps_to_its_form() {
        let trace = |value: &str| {
            let headers = vec![("traceparent".to_owned(), HeaderValue::Text(value.as_bytes().to_vec()))];
            let properties = Properties { headers: Some(headers), ..Properties::default() };
            Message { properties: properties.into(), ..Message::default() }.trace_id().map(str::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace(&format!("cc-{id}-00f067aa0ba902b7-01-what-comes")).as_deref(), Some(id));
        for broken in [
            "",
            id,
            &format!("00-{id}-00f067aa0ba902b7"),
            &format!("00-{id}-00f067aa0ba902b7-01-more"),
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{id}-0000000000000000-01"),
        ] {
            assert_eq!(trace(broken), None, "{broken}");
        }
        assert_eq!(Message::default().trace_id(), None);
    }

    #[test]
    fn the_header_of_a_message_counts_before_that_of_the_cloud_event_in_it() {
        let trace = |headers: &[(&str, &str)]| {
            let header =
                |(name, value): &(&str, &str)| ((*name).to_owned(), HeaderValue::Text(value.as_bytes().into()));
            let headers = Some(headers.iter().map(header).collect());
            let properties = Properties { headers, ..Properties::default() };
            Message { properties: properties.into(), ..Message::default() }.trace_id().map(str::to_owned)
        };
        let (hop, event) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
        let of = |id: &str| format!("00-{id}-00f067aa0ba902b7-01");
        let (of_hop, of_event) = (of(hop), of(event));
        // In the order in which the client library gives them.
        let both = [("cloudEvents:traceparent", &*of_event), ("traceparent", &of_hop)];
        assert_eq!(trace(&both).as_deref(), Some(hop));
        assert_eq!(trace(&[both[0], ("traceparent", "none")]).as_deref(), Some(event));
        for name in ["cloudEvents_traceparent", "ce-traceparent", "ce_traceparent", "CE-TraceParent", "TraceParent"] {
            assert_eq!(trace(&[(name, &of_event)]).as_deref(), Some(event), "{name}");
        }
    }

    #[test]
    fn the_hash_of_a_body_is_the_published_xxh3_128_digest() {
        // `XXH128` of nothing and of "hello", as `xxhsum -H2` prints them.
        let hash = |body: &[u8]| u128::from_be_bytes(Message { body: body.to_vec(), ..Message::default() }.body_hash());
        assert_eq!(hash(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(hash(b"hello"), 0xb5e9_c1ad_071b_3e7f_c779_cfaa_5e52_3818);
    }
}
