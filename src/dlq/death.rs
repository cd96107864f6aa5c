//! What RabbitMQ wrote on a message that it dead-lettered: the header `x-death`, an array with an entry for each queue and
//! reason, the newest first (<https://www.rabbitmq.com/docs/dlx#effects>). Pure.

use crate::event::{HeaderValue, Message};
use crate::rejection::{Code, Issue, Rejection};

/// The header.
pub const HEADER: &str = "x-death";

/// The newest death of a message, as the broker tells it. A client may have written it, too, on brokers before 4.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Text that is not UTF-8 stands with a replacement character; the header itself has what it was.
    pub queue: String,
    /// `rejected`, `expired`, `maxlen`, `delivery_limit`, or what a newer broker says.
    pub reason: String,
    /// With which the message had come to that queue; the key is the first of its keys.
    pub exchange: String,
    pub routing_key: String,
    /// What `expiration` was; the broker takes the property away so that the message cannot expire again.
    pub original_expiration: Option<String>,
}

impl Death {
    /// The newest death of `message`; `None` when it tells of none.
    pub fn newest(message: &Message) -> Option<Self> {
        let headers = message.properties.headers.as_deref()?;
        let Some(HeaderValue::Array(deaths)) = member(headers, HEADER) else { return None };
        let HeaderValue::Table(death) = deaths.first()? else { return None };
        let said = |name| member(death, name).and_then(text);
        let keys = match member(death, "routing-keys") {
            Some(HeaderValue::Array(keys)) => keys.first().and_then(text),
            _ => None,
        };
        Some(Self {
            queue: said("queue")?,
            reason: said("reason")?,
            exchange: said("exchange").unwrap_or_default(),
            routing_key: keys.unwrap_or_default(),
            original_expiration: said("original-expiration"),
        })
    }
}

/// Why a message of a dead-letter queue is dead; `death` is its newest.
pub fn rejection(death: Option<&Death>) -> Rejection {
    let code = match death.map(|death| death.reason.as_str()) {
        Some("rejected") => Code::BrokerRejected,
        Some("expired") => Code::BrokerExpired,
        Some("maxlen") => Code::BrokerMaxlen,
        Some("delivery_limit") => Code::BrokerDeliveryLimit,
        _ => Code::BrokerUnknown,
    };
    // The queue is the operator's word, no value of the event: a part of the group.
    let queue = death.map(|death| death.queue.clone()).unwrap_or_default();
    Issue { actual: queue, ..Issue::whole(code) }.into()
}

fn member<'a>(members: &'a [(String, HeaderValue)], name: &str) -> Option<&'a HeaderValue> {
    members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
}

fn text(value: &HeaderValue) -> Option<String> {
    match value {
        HeaderValue::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::event::Properties;

    fn said(text: &str) -> HeaderValue {
        HeaderValue::Text(text.as_bytes().to_vec())
    }

    /// An entry as RabbitMQ 3.10 and 4.0 write it.
    pub(crate) fn entry(queue: &str, reason: &str, exchange: &str, routing_keys: &[&str]) -> HeaderValue {
        let keys = routing_keys.iter().map(|key| said(key)).collect();
        let members = [
            ("count", HeaderValue::I64(1)),
            ("reason", said(reason)),
            ("queue", said(queue)),
            ("time", HeaderValue::Timestamp(1_357_000_000)),
            ("exchange", said(exchange)),
            ("routing-keys", HeaderValue::Array(keys)),
        ];
        HeaderValue::Table(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A message with these deaths, the newest first.
    pub(crate) fn message(deaths: Vec<HeaderValue>) -> Message {
        let headers = Some(vec![(HEADER.to_owned(), HeaderValue::Array(deaths))]);
        Message { properties: Properties { headers, ..Properties::default() }.into(), ..Message::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{entry, message};
    use super::*;

    #[test]
    fn the_newest_death_is_the_first_entry() {
        let older = entry("waiting", "expired", "retry", &["flight.lga"]);
        let message = message(vec![entry("flights", "rejected", "events", &["flight.jfk", "copy"]), older]);
        let death = Death::newest(&message).expect("it died");
        assert_eq!((death.queue.as_str(), death.reason.as_str()), ("flights", "rejected"));
        assert_eq!((death.exchange.as_str(), death.routing_key.as_str()), ("events", "flight.jfk"));
        assert_eq!(death.original_expiration, None);
    }

    #[test]
    fn every_reason_has_its_code_and_another_is_unknown() {
        let codes = ["rejected", "expired", "maxlen", "delivery_limit", "bored"].map(|reason| {
            let death = Death::newest(&message(vec![entry("q", reason, "", &["q"])]));
            rejection(death.as_ref()).code().as_str()
        });
        let expected =
            ["broker.rejected", "broker.expired", "broker.maxlen", "broker.delivery_limit", "broker.unknown"];
        assert_eq!(codes, expected);
        assert_eq!(rejection(None).code(), Code::BrokerUnknown);
    }

    #[test]
    fn a_header_of_another_form_is_no_death() {
        let headers = |value| Some(vec![(HEADER.to_owned(), value)]);
        for value in [HeaderValue::Void, HeaderValue::Array(vec![]), HeaderValue::Array(vec![HeaderValue::Void])] {
            let mut message = Message::default();
            message.properties.headers = headers(value);
            assert_eq!(Death::newest(&message), None);
        }
        assert_eq!(Death::newest(&message(vec![HeaderValue::Table(vec![])])), None);
    }
}
