//! Orders as events: good ones, and bad ones of every kind with what must be said of each.

use std::path::Path;
use std::time::Duration;

use parqueduct::config::{EventType, Format, Framing, PartitionKey, TimeFormat, When};
use parqueduct::event::{Message, Properties};
use parqueduct::value::Pointer;

/// Good orders as messages that survive the broker, on a queue that does.
pub fn messages(numbers: std::ops::Range<usize>) -> Vec<Message> {
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    numbers.map(|n| Message { body: good(n), properties: properties.clone().into(), ..Message::default() }).collect()
}

/// A good order; its time is within the hour of `n` seconds after the start of 2024.
pub fn good(n: usize) -> Vec<u8> {
    let (minute, second) = (n / 60 % 60, n % 60);
    format!(
        r#"{{"id":"order-{n}","occurred_at":"2024-01-0{day}T10:{minute:02}:{second:02}Z","amount":{amount},"count":{n},"status":"paid","customer":{{"email":"c{n}@example.com","name":null}},"items":[{{"sku":"AB-{n}","price":0.5}}],"note":{{"free":["text",{n},1.50]}}}}"#,
        day = 1 + n % 3,
        amount = n as f64 / 4.0,
    )
    .into_bytes()
}

/// A bad order: its body, and the code and path it must get.
pub struct Bad {
    pub body: Vec<u8>,
    pub code: &'static str,
    pub path: &'static str,
}

/// Bytes the pipeline of these tests allows a body to have.
pub const BODY_MAX: usize = 64 * 1024;
/// Nesting the pipeline of these tests allows.
pub const DEPTH_MAX: usize = 16;

/// How many kinds [`bad`] knows.
pub const KINDS: usize = 22;

/// The bad order number `n`, of kind `n % KINDS`; bodies of different `n` differ, but for the empty one.
pub fn bad(n: usize) -> Bad {
    let text = |body: String, code, path| Bad { body: body.into_bytes(), code, path };
    let order = |fields: &str| format!(r#"{{"id":"bad-{n}","occurred_at":"2024-01-01T10:00:00Z",{fields}}}"#);
    let customer = r#""customer":{"email":"a@example.com"}"#;
    match n % KINDS {
        0 => text(format!("order {n}: this is not JSON"), "decode.json.syntax", ""),
        1 => {
            let mut body = good(n);
            body.truncate(body.len() - 20);
            Bad { body, code: "decode.json.truncated", path: "" }
        }
        2 => Bad { body: [good(n), good(n + 1)].concat(), code: "decode.json.trailing", path: "" },
        3 => {
            let mut body = order(&format!(r#""amount":1,{customer},"status":"paid","note":"x""#)).into_bytes();
            let end = body.len() - 3;
            body[end] = 0xff;
            Bad { body, code: "decode.json.utf8", path: "" }
        }
        4 => text(order(&format!(r#""amount":"12",{customer}"#)), "validate.type", "/amount"),
        5 => text(order(customer), "validate.required", "/amount"),
        6 => text(
            order(&format!(r#""amount":1,"surprise":true,{customer}"#)),
            "validate.additionalProperties",
            "/surprise",
        ),
        7 => text(order(r#""amount":1,"customer":{"email":"nobody"}"#), "validate.format", "/customer/email"),
        8 => text(
            order(&format!(r#""amount":1,"count":9223372036854775808,{customer}"#)),
            "encode.integer_range",
            "/count",
        ),
        9 => text(
            order(&format!(r#""amount":1,"count":1180591620717411303424,{customer}"#)),
            "decode.json.number_range",
            "/count",
        ),
        10 => {
            let nested = format!("{}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
            text(order(&format!(r#""amount":1,"note":{nested},{customer}"#)), "decode.json.depth", "")
        }
        11 => {
            text(order(&format!(r#""amount":1,"note":"{}",{customer}"#, "x".repeat(BODY_MAX))), "frame.too_large", "")
        }
        12 => Bad { body: Vec::new(), code: "frame.empty", path: "" },
        13 => text(format!(r#"{{"id":"bad-{n}","amount":1,{customer}}}"#), "event.time_missing", "/occurred_at"),
        14 => text(
            format!(r#"{{"id":"bad-{n}","occurred_at":"yesterday","amount":1,{customer}}}"#),
            "event.time_unreadable",
            "/occurred_at",
        ),
        15 => text(
            format!(r#"{{"id":"bad-{n}","occurred_at":"2999-01-01T00:00:00Z","amount":1,{customer}}}"#),
            "event.time_ahead",
            "/occurred_at",
        ),
        16 => text(order(&format!(r#""amount":-1,{customer}"#)), "validate.minimum", "/amount"),
        17 => text(order(&format!(r#""amount":1,"status":"lost",{customer}"#)), "validate.enum", "/status"),
        18 => text(order(&format!(r#""amount":1,"amount":2,{customer}"#)), "decode.json.duplicate_key", "/amount"),
        19 => text(
            order(&format!(r#""amount":1,"items":[{{"sku":"AB-1"}},{{"sku":"ab"}}],{customer}"#)),
            "validate.pattern",
            "/items/[*]/sku",
        ),
        20 => text(order(&format!(r#""amount":1,"count":1.5,{customer}"#)), "validate.type", "/count"),
        _ => text(format!("[{n}]"), "validate.type", ""),
    }
}

/// What a pipeline of orders is told of them.
pub fn event_type() -> EventType {
    let pointer = |text: &str| Some(Pointer::parse(text).expect("a pointer"));
    EventType {
        name: None,
        when: When::default(),
        format: Format::Json,
        framing: Framing::None,
        message: None,
        rules: None,
        schema: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/order.v1.json"),
        schema_name: "order".to_owned(),
        schema_version: 1,
        event_id: pointer("/id"),
        event_time: pointer("/occurred_at"),
        event_time_format: TimeFormat::Rfc3339,
        event_time_ahead_max: Duration::from_secs(86_400),
        event_time_behind_max: None,
        partition_by: vec![PartitionKey::Date],
        keep_raw: false,
    }
}
