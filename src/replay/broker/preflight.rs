//! A dead letter -> the message to send, or why it must not be sent. Pure. What is kept and what is left out is in
//! `docs/replay-to-a-broker.md`; the rules are those of RabbitMQ, which closes the channel for most of what breaks them.

use ulid::Ulid;

use crate::broker::{TooLong, wire_bytes};
use crate::dlq::death::Death;
use crate::dlq::lineage;
use crate::dlq::record::DeadLetter;
use crate::event::{HeaderValue, Message, Properties};
use crate::replay::destination::Sending;

/// How often a message may be sent back, by whomever: one that still comes again goes in a circle.
const HOPS_MAX: u64 = 5;

/// Bytes of a frame that a content header fills beside the list of properties: the frame's own 8, class, weight, size of
/// the body and flags (AMQP 0-9-1, 4.2.6.1).
const HEADER_OVERHEAD: usize = 8 + 2 + 2 + 8 + 2;

/// Headers that RabbitMQ, its plugins and dead-letter exchanges write. On brokers before 4.0 a message that is published
/// with `x-death` may be dropped as one that goes in a circle; elsewhere they would mislead consumers.
const DEATHS: &[&str] =
    &["x-death", "x-delivery-count", "x-acquired-count", "x-stream-offset", "timestamp_in_ms", "x-received-from"];
const DEATH_PREFIXES: &[&str] = &["x-first-death-", "x-last-death-", "x-shovelled", lineage::PREFIX];

/// Headers that add routing keys.
const CARBON_COPIES: [&str; 2] = ["CC", "BCC"];

/// Where one message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub exchange: String,
    pub routing_key: String,
    /// It goes where it came from, so its CC is sent, too.
    pub is_origin: bool,
}

/// What the broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// As negotiated for the connection.
    pub frame_bytes_max: usize,
    pub body_bytes_max: u64,
}

/// A message ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub exchange: String,
    pub routing_key: String,
    pub body: Vec<u8>,
    pub properties: Properties,
    /// Properties and headers that the message had and that are left out or set, by name, in no order.
    pub changed: Vec<String>,
}

/// Why a message must not be sent. The texts hold no value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It was sent back as often as may be.
    Loop {
        hops: u64,
    },
    /// The fix could not be applied.
    Fix {
        what: String,
    },
    /// Parts of it could not be read, so it could not be sent as it came.
    Unreadable,
    /// The letter does not say where it came from: it is from a file.
    NoOrigin,
    Body {
        bytes: u64,
        limit: u64,
    },
    /// Properties and headers must fit one frame; the connection would be closed.
    Headers {
        bytes: usize,
        limit: usize,
    },
    Text(TooLong),
    CarbonCopy {
        header: &'static str,
    },
    Expiration,
    /// The queue or the exchange is not there, or may not be written to.
    Gone {
        what: String,
    },
    /// Another number of queues than one would get it, or nobody can tell: `what` says it.
    FanOut {
        what: String,
    },
}

impl Unfit {
    /// A stable word for records and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Unfit::Loop { .. } => "replay.loop",
            Unfit::Fix { .. } => "replay.fix",
            Unfit::Unreadable => "replay.unreadable",
            Unfit::NoOrigin => "replay.no_origin",
            Unfit::Body { .. } => "replay.body_too_large",
            Unfit::Headers { .. } => "replay.headers_too_large",
            Unfit::Text(_) => "replay.text_too_long",
            Unfit::CarbonCopy { .. } => "replay.carbon_copy",
            Unfit::Expiration => "replay.expiration",
            Unfit::Gone { .. } => "replay.gone",
            Unfit::FanOut { .. } => "replay.fan_out",
        }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Loop { hops } => write!(f, "it was sent back {hops} times already: it goes in a circle"),
            Unfit::Unreadable => f.write_str("parts of it are not what AMQP says they are: send it by other means"),
            Unfit::NoOrigin => f.write_str("it came from a file, which has no exchange and no queue: name one"),
            Unfit::Body { bytes, limit } => write!(f, "its body has {bytes} bytes; the broker takes {limit}"),
            Unfit::Headers { bytes, limit } => {
                write!(f, "its properties and headers have {bytes} bytes; one frame of the connection holds {limit}")
            }
            Unfit::Text(error) => error.fmt(f),
            Unfit::CarbonCopy { header } => write!(f, "its header {header} is no array of texts"),
            Unfit::Expiration => f.write_str("its expiration is no number of milliseconds"),
            Unfit::Fix { what } | Unfit::Gone { what } | Unfit::FanOut { what } => f.write_str(what),
        }
    }
}

/// The message to send for attempt `attempt` at `letter`, by `job`. `message` is the letter's, or what a fix made of it.
///
/// # Errors
/// [`Unfit`]: why it must not be sent.
pub fn prepare(
    letter: &DeadLetter,
    message: &Message,
    (job, attempt): (Ulid, u32),
    address: &Address,
    sending: &Sending,
    limits: &Limits,
) -> Result<Outgoing, Unfit> {
    if !message.unreadable.is_empty() {
        return Err(Unfit::Unreadable);
    }
    let hops = lineage::hops(message).saturating_add(1);
    if hops > HOPS_MAX {
        return Err(Unfit::Loop { hops: hops - 1 });
    }
    let bytes = message.body.len() as u64;
    if bytes > limits.body_bytes_max {
        return Err(Unfit::Body { bytes, limit: limits.body_bytes_max });
    }
    let mut properties = properties(message, sending)?;
    let mut headers = headers(message, address)?;
    headers.extend(lineage_headers(letter, job, attempt, hops));
    properties.headers = Some(headers);
    fits(&properties, limits)?;
    short("the exchange", &address.exchange)?;
    short("the routing key", &address.routing_key)?;
    Ok(Outgoing {
        exchange: address.exchange.clone(),
        routing_key: address.routing_key.clone(),
        body: message.body.clone(),
        changed: changed(&message.properties, &properties),
        properties,
    })
}

/// The exchange and the routing key that `message` is to have: the letter's original ones, unless a fix changed them.
pub fn home_address<'a>(letter: &'a DeadLetter, message: &'a Message) -> (&'a str, &'a str) {
    let (exchange, routing_key) = letter.home_address();
    let edited = |now: &'a str, then: &str, original: &'a str| if now == then { original } else { now };
    (
        edited(&message.exchange, &letter.message.exchange, exchange),
        edited(&message.routing_key, &letter.message.routing_key, routing_key),
    )
}

/// All properties but the headers.
fn properties(message: &Message, sending: &Sending) -> Result<Properties, Unfit> {
    let came = &message.properties;
    Ok(Properties {
        headers: None,
        // A transient message would not survive a restart of the broker; 0 and others are refused by some.
        delivery_mode: Some(2),
        priority: sending.priority.or(came.priority),
        // Nobody waits for an answer any more.
        reply_to: None,
        expiration: if sending.keep_expiration { expiration(message)? } else { None },
        // Only its owner may send it.
        user_id: None,
        content_type: came.content_type.clone(),
        content_encoding: came.content_encoding.clone(),
        correlation_id: came.correlation_id.clone(),
        message_id: came.message_id.clone(),
        timestamp: came.timestamp,
        kind: came.kind.clone(),
        app_id: came.app_id.clone(),
        cluster_id: came.cluster_id.clone(),
    })
}

/// What the message had, or had before the broker dead-lettered it.
fn expiration(message: &Message) -> Result<Option<String>, Unfit> {
    let original = || Death::newest(message).and_then(|death| death.original_expiration);
    let Some(expiration) = message.properties.expiration.clone().or_else(original) else { return Ok(None) };
    let digits = !expiration.is_empty() && expiration.bytes().all(|byte| byte.is_ascii_digit());
    // RabbitMQ's own bound is 2^32 - 1 milliseconds.
    if digits && expiration.parse::<u32>().is_ok() { Ok(Some(expiration)) } else { Err(Unfit::Expiration) }
}

/// The headers without what brokers and replays wrote.
fn headers(message: &Message, address: &Address) -> Result<Vec<(String, HeaderValue)>, Unfit> {
    let mut kept = Vec::new();
    for (name, value) in message.properties.headers.iter().flatten() {
        if DEATHS.contains(&name.as_str()) || DEATH_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if let Some(header) = CARBON_COPIES.into_iter().find(|header| header == name) {
            if !address.is_origin {
                continue;
            }
            let text = |value: &HeaderValue| matches!(value, HeaderValue::Text(_));
            if !matches!(value, HeaderValue::Array(keys) if keys.iter().all(text)) {
                return Err(Unfit::CarbonCopy { header });
            }
        }
        kept.push((name.clone(), value.clone()));
    }
    Ok(kept)
}

fn lineage_headers(letter: &DeadLetter, job: Ulid, attempt: u32, hops: u64) -> Vec<(String, HeaderValue)> {
    let text = |text: String| HeaderValue::Text(text.into_bytes());
    let number = |number: u64| HeaderValue::I64(i64::try_from(number).unwrap_or(i64::MAX));
    let (exchange, routing_key) = letter.home_address();
    let mut groups: Vec<&str> = Vec::new();
    for issue in &letter.issues {
        let group = issue.group.as_str();
        if !groups.contains(&group) && groups.len() < lineage::GROUPS_MAX {
            groups.push(group);
        }
    }
    let headers = [
        (lineage::ID, text(letter.id.to_string())),
        (lineage::ATTEMPT, number(attempt.into())),
        (lineage::JOB, text(job.to_string())),
        (lineage::HOPS, number(hops)),
        (lineage::SOURCE, text(letter.home_queue().to_owned())),
        (lineage::ORIGIN, text(format!("{exchange}|{routing_key}"))),
        (lineage::GROUPS, text(groups.join(","))),
    ];
    headers.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn fits(properties: &Properties, limits: &Limits) -> Result<(), Unfit> {
    let bytes = wire_bytes(properties).map_err(Unfit::Text)?;
    let limit = limits.frame_bytes_max.saturating_sub(HEADER_OVERHEAD);
    if bytes > limit { Err(Unfit::Headers { bytes, limit }) } else { Ok(()) }
}

fn short(what: &str, text: &str) -> Result<(), Unfit> {
    match text.len() {
        0..=255 => Ok(()),
        bytes => Err(Unfit::Text(TooLong { what: what.to_owned(), bytes })),
    }
}

/// What is left out or set, by name.
fn changed(came: &Properties, sent: &Properties) -> Vec<String> {
    let mut changed = Vec::new();
    let properties = [
        ("delivery_mode", came.delivery_mode == sent.delivery_mode),
        ("priority", came.priority == sent.priority),
        ("reply_to", came.reply_to == sent.reply_to),
        ("expiration", came.expiration == sent.expiration),
        ("user_id", came.user_id == sent.user_id),
    ];
    changed.extend(properties.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()));
    let kept = sent.headers.as_deref().unwrap_or_default();
    for (name, _) in came.headers.iter().flatten() {
        if !name.starts_with(lineage::PREFIX) && !kept.iter().any(|(other, _)| other == name) {
            changed.push(format!("headers/{name}"));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::death::samples::entry;
    use crate::dlq::lineage::Lineage;
    use crate::dlq::record::Original;
    use crate::dlq::record::samples::{id, letter, nulls};
    use crate::event::Unreadable;

    const LIMITS: Limits = Limits { frame_bytes_max: 131_072, body_bytes_max: 1000 };

    fn job() -> Ulid {
        id(50, 50)
    }

    fn to_queue() -> Address {
        Address { exchange: "x-dlq.replay.flights".into(), routing_key: "flight.jfk".into(), is_origin: false }
    }

    fn to_origin() -> Address {
        Address { exchange: "flights".into(), routing_key: "flight.jfk".into(), is_origin: true }
    }

    fn sample() -> DeadLetter {
        letter("flights", 10, 1, b"{}", &nulls())
    }

    fn prepared(letter: &DeadLetter, address: &Address, sending: &Sending) -> Result<Outgoing, Unfit> {
        prepare(letter, &letter.message, (job(), 2), address, sending, &LIMITS)
    }

    fn sent(letter: &DeadLetter) -> Outgoing {
        prepared(letter, &to_queue(), &Sending::default()).expect("fit to be sent")
    }

    fn text(text: &str) -> HeaderValue {
        HeaderValue::Text(text.as_bytes().to_vec())
    }

    fn add(letter: &mut DeadLetter, name: &str, value: HeaderValue) {
        letter.message.properties.headers.get_or_insert_default().push((name.to_owned(), value));
    }

    fn header<'a>(outgoing: &'a Outgoing, name: &str) -> Option<&'a HeaderValue> {
        outgoing.properties.headers.iter().flatten().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    #[test]
    fn a_message_is_sent_as_it_came_but_for_what_a_broker_would_act_on() {
        let mut letter = sample();
        let came = &mut letter.message.properties;
        came.delivery_mode = Some(1);
        came.priority = Some(7);
        came.reply_to = Some("amq.rabbitmq.reply-to".into());
        came.expiration = Some("60000".into());
        came.user_id = Some("guest".into());
        came.correlation_id = Some("c-1".into());
        came.timestamp = Some((1 << 63) + 5);
        came.cluster_id = Some("c".into());
        let outgoing = sent(&letter);
        let expected = Properties {
            headers: outgoing.properties.headers.clone(),
            delivery_mode: Some(2),
            reply_to: None,
            expiration: None,
            user_id: None,
            ..letter.message.properties.clone().into_inner()
        };
        assert_eq!(outgoing.properties, expected);
        assert_eq!(outgoing.body, letter.message.body);
        assert_eq!((outgoing.exchange.as_str(), outgoing.routing_key.as_str()), ("x-dlq.replay.flights", "flight.jfk"));
        assert_eq!(header(&outgoing, "x-source"), Some(&text("atc")));
        assert_eq!(outgoing.changed, ["delivery_mode", "reply_to", "expiration", "user_id"]);
    }

    #[test]
    fn what_was_sent_says_which_letter_it_is() {
        let letter = sample();
        let outgoing = sent(&letter);
        let message = Message { properties: outgoing.properties.clone().into(), ..Message::default() };
        let groups = letter.issues.iter().map(|issue| issue.group.clone()).collect();
        assert_eq!(Lineage::of(&message), Some(Lineage { letter: letter.id, attempt: 2, job: Some(job()), groups }));
        assert_eq!(lineage::hops(&message), 1);
        assert_eq!(header(&outgoing, lineage::SOURCE), Some(&text("flights")));
        assert_eq!(header(&outgoing, lineage::ORIGIN), Some(&text("flights|flight.jfk")));
    }

    #[test]
    fn nothing_that_a_broker_or_an_earlier_replay_wrote_is_sent_again() {
        let mut letter = sample();
        let stale = [
            "x-death",
            "x-first-death-queue",
            "x-last-death-reason",
            "x-delivery-count",
            "x-acquired-count",
            "x-stream-offset",
            "timestamp_in_ms",
            "x-received-from",
            "x-shovelled",
            "x-shovelled-timestamp",
        ];
        for name in stale {
            add(&mut letter, name, text("stale"));
        }
        for name in [lineage::ID, lineage::JOB, "x-dlq-of-a-newer-program"] {
            add(&mut letter, name, text("stale"));
        }
        let outgoing = sent(&letter);
        let all = outgoing.properties.headers.as_deref().unwrap_or_default();
        assert!(all.iter().all(|(_, value)| *value != text("stale")), "{all:?}");
        assert_eq!(all.len(), 2 + 7);
        assert_eq!(outgoing.changed.iter().filter(|name| name.starts_with("headers/")).count(), stale.len());
    }

    #[test]
    fn a_message_sent_back_five_times_goes_in_a_circle() {
        let mut letter = sample();
        add(&mut letter, lineage::HOPS, HeaderValue::I64(4));
        let outgoing = sent(&letter);
        assert_eq!(header(&outgoing, lineage::HOPS), Some(&HeaderValue::I64(5)));
        add(&mut letter, lineage::HOPS, HeaderValue::I32(5));
        let unfit = prepared(&letter, &to_queue(), &Sending::default()).expect_err("a sixth time");
        assert_eq!((unfit.code(), &unfit), ("replay.loop", &Unfit::Loop { hops: 5 }));
    }

    #[test]
    fn carbon_copies_go_only_where_the_message_came_from() {
        let mut letter = sample();
        add(&mut letter, "CC", HeaderValue::Array(vec![text("audit")]));
        assert_eq!(header(&sent(&letter), "CC"), None);
        let outgoing = prepared(&letter, &to_origin(), &Sending::default()).expect("fit");
        assert_eq!(header(&outgoing, "CC"), Some(&HeaderValue::Array(vec![text("audit")])));
        for wrong in [text("audit"), HeaderValue::Array(vec![HeaderValue::I32(1)])] {
            let mut letter = sample();
            add(&mut letter, "CC", wrong);
            let unfit = prepared(&letter, &to_origin(), &Sending::default()).expect_err("the broker would refuse");
            assert_eq!(unfit, Unfit::CarbonCopy { header: "CC" });
            assert!(prepared(&letter, &to_queue(), &Sending::default()).is_ok(), "it is left out there");
        }
    }

    #[test]
    fn an_expiration_is_kept_only_when_asked_for_and_only_if_a_broker_takes_it() {
        let keep = Sending { keep_expiration: true, ..Sending::default() };
        let mut letter = sample();
        assert_eq!(prepared(&letter, &to_queue(), &keep).expect("fit").properties.expiration, None);
        for (expiration, fit) in [
            ("0", true),
            ("4294967295", true),
            ("4294967296", false),
            ("", false),
            ("-1", false),
            ("1.5", false),
            ("abc", false),
        ] {
            letter.message.properties.expiration = Some(expiration.to_owned());
            match prepared(&letter, &to_queue(), &keep) {
                Ok(outgoing) => assert!(fit && outgoing.properties.expiration.as_deref() == Some(expiration)),
                Err(unfit) => assert!(!fit && unfit == Unfit::Expiration, "{expiration}"),
            }
            assert_eq!(sent(&letter).properties.expiration, None);
        }
        let mut letter = sample();
        let HeaderValue::Table(mut death) = entry("flights", "expired", "e", &["k"]) else { panic!("a table") };
        death.push(("original-expiration".to_owned(), text("5000")));
        add(&mut letter, "x-death", HeaderValue::Array(vec![HeaderValue::Table(death)]));
        let outgoing = prepared(&letter, &to_queue(), &keep).expect("fit");
        assert_eq!(outgoing.properties.expiration.as_deref(), Some("5000"), "what it was before it died");
    }

    #[test]
    fn headers_must_fit_one_frame_and_bodies_the_broker() {
        let mut letter = sample();
        add(&mut letter, "x-large", text(""));
        let room = LIMITS.frame_bytes_max - HEADER_OVERHEAD;
        let bytes = wire_bytes(&sent(&letter).properties).expect("short texts");
        letter.message.properties.headers.get_or_insert_default().pop();
        add(&mut letter, "x-large", text(&"x".repeat(room - bytes)));
        assert_eq!(wire_bytes(&sent(&letter).properties), Ok(room));
        letter.message.properties.headers.get_or_insert_default().pop();
        add(&mut letter, "x-large", text(&"x".repeat(room - bytes + 1)));
        let unfit = prepared(&letter, &to_queue(), &Sending::default()).expect_err("one byte too many");
        assert_eq!(unfit, Unfit::Headers { bytes: room + 1, limit: room });

        let full = crate::dlq::record::samples::letter("flights", 10, 1, &[b'x'; 1000], &nulls());
        assert!(prepared(&full, &to_queue(), &Sending::default()).is_ok());
        let over = crate::dlq::record::samples::letter("flights", 10, 1, &[b'x'; 1001], &nulls());
        let unfit = prepared(&over, &to_queue(), &Sending::default()).expect_err("too large");
        assert_eq!(unfit, Unfit::Body { bytes: 1001, limit: 1000 });
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_and_named() {
        let mut letter = sample();
        letter.message.properties.app_id = Some("x".repeat(256));
        let unfit = prepared(&letter, &to_queue(), &Sending::default()).expect_err("too long");
        assert_eq!(
            (unfit.code(), unfit.to_string().as_str()),
            ("replay.text_too_long", "app_id has 256 bytes; AMQP carries at most 255")
        );
        let far = Address { routing_key: "k".repeat(256), ..to_queue() };
        assert!(matches!(prepared(&sample(), &far, &Sending::default()), Err(Unfit::Text(_))));
        let longest = Address { routing_key: "k".repeat(255), ..to_queue() };
        assert!(prepared(&sample(), &longest, &Sending::default()).is_ok());
        let empty = Address { routing_key: String::new(), ..to_queue() };
        assert!(prepared(&sample(), &empty, &Sending::default()).is_ok());
    }

    #[test]
    fn what_could_not_be_read_is_not_sent_as_something_else() {
        let mut letter = sample();
        letter.message.unreadable = vec![Unreadable::new("message_id", b"\xff")];
        assert_eq!(prepared(&letter, &to_queue(), &Sending::default()), Err(Unfit::Unreadable));
    }

    #[test]
    fn a_letter_that_the_broker_had_dead_lettered_goes_back_to_where_it_died() {
        let mut letter = sample();
        letter.message.exchange = "dlx".into();
        letter.message.routing_key = "dead".into();
        letter.original =
            Some(Original { queue: "orders".into(), exchange: "events".into(), routing_key: "order.new".into() });
        assert_eq!(home_address(&letter, &letter.message), ("events", "order.new"));
        let edited = Message { routing_key: "order.again".into(), ..letter.message.clone() };
        assert_eq!(home_address(&letter, &edited), ("events", "order.again"));
        let outgoing = sent(&letter);
        assert_eq!(header(&outgoing, lineage::SOURCE), Some(&text("orders")));
        assert_eq!(header(&outgoing, lineage::ORIGIN), Some(&text("events|order.new")));
    }

    #[test]
    fn a_letter_of_many_groups_names_the_first_sixteen_once() {
        let mut letter = sample();
        let one = letter.issues[0].clone();
        for n in 0..40 {
            let mut issue = one.clone();
            issue.group = crate::dlq::fingerprint::GroupId::parse(&format!("1-{:016x}", n / 2)).expect("an id");
            letter.issues.push(issue);
        }
        let outgoing = sent(&letter);
        let Some(HeaderValue::Text(groups)) = header(&outgoing, lineage::GROUPS) else { panic!("no groups") };
        let groups: Vec<_> = std::str::from_utf8(groups).expect("text").split(',').collect();
        assert_eq!(groups.len(), 16);
        assert_eq!(groups[0], letter.group().as_str());
        let mut distinct = groups.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 16);
    }
}
