//! What a broker may do to messages on its own: drop them, let them expire, take them back too soon. Pure: what a queue
//! is set up with comes from the management API.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::show_duration;

/// The limit that quorum queues have since 4.0 where none is set (`DEFAULT_DELIVERY_LIMIT`).
const DELIVERY_LIMIT_DEFAULT: i64 = 20;

/// Of RabbitMQ: major and minor.
pub type Version = (u32, u32);

/// What a queue is set up with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSettings {
    pub name: String,
    /// `classic`, `quorum` or `stream`.
    pub kind: String,
    /// What it was declared with, by names that begin with `x-`.
    pub arguments: Map<String, Value>,
    /// What its policy and operator policy give it together, by the same names without `x-`.
    pub policy: Map<String, Value>,
}

impl QueueSettings {
    fn numbers(&self, name: &str) -> (Option<i64>, Option<i64>) {
        let argument = self.arguments.get(&format!("x-{name}")).and_then(Value::as_i64);
        (argument, self.policy.get(name).and_then(Value::as_i64))
    }

    /// The lower of argument and policy, as the broker takes it.
    fn number(&self, name: &str) -> Option<u64> {
        let (argument, policy) = self.numbers(name);
        argument.into_iter().chain(policy).min().and_then(|number| u64::try_from(number).ok())
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    /// The argument, else the policy's.
    fn text(&self, name: &str) -> Option<&str> {
        let argument = self.arguments.get(&format!("x-{name}")).and_then(Value::as_str);
        argument.or_else(|| self.policy.get(name).and_then(Value::as_str))
    }

    /// Returns of a message after which the broker gives it up (<https://www.rabbitmq.com/docs/quorum-queues>).
    fn delivery_limit(&self, version: Option<Version>) -> Option<u64> {
        if self.kind != "quorum" {
            return None;
        }
        let limit = match self.numbers("delivery-limit") {
            (None, None) => version.filter(|version| *version >= (4, 0)).map(|_| DELIVERY_LIMIT_DEFAULT)?,
            (Some(one), None) | (None, Some(one)) => one,
            // Less than nothing is no limit, and counts as more than any.
            (Some(one), Some(other)) if one < 0 || other < 0 => one.max(other),
            (Some(one), Some(other)) => one.min(other),
        };
        u64::try_from(limit).ok()
    }

    /// How long this queue lets a consumer hold a delivery, if it has a time of its own: since 3.12, and since 4.3 in
    /// quorum queues only.
    fn consumer_timeout(&self, version: Option<Version>) -> Option<Duration> {
        let version = version?;
        let heeded = version >= (3, 12) && (version < (4, 3) || self.kind == "quorum");
        self.millis("consumer-timeout").filter(|_| heeded)
    }
}

/// How long deliveries are held by a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The flush age.
    pub age: Duration,
    /// On top of that while the store is away.
    pub outage: Duration,
}

/// Something that can go wrong by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    pub problem: String,
    pub mend: &'static str,
}

/// What the broker would do to the messages of a queue, sooner or later.
pub fn risks(queue: &QueueSettings, version: Option<Version>, held: Held) -> Vec<Risk> {
    // Reading a stream removes nothing, and its bounds are its retention.
    if queue.kind == "stream" {
        return Vec::new();
    }
    let found = [
        delivery_limit(queue, version),
        message_ttl(queue),
        expires(queue),
        max_length(queue),
        consumer_timeout(queue, version, held),
    ];
    found.into_iter().flatten().collect()
}

fn delivery_limit(queue: &QueueSettings, version: Option<Version>) -> Option<Risk> {
    let limit = queue.delivery_limit(version)?;
    if queue.text("dead-letter-exchange").is_some() {
        return None;
    }
    let default = if queue.numbers("delivery-limit") == (None, None) { ", RabbitMQ's default since 4.0," } else { "" };
    let problem = format!(
        "queue `{}` has a delivery limit of {limit}{default} and no dead-letter exchange, so a message that is returned \
         more often, as by a process that crashes again and again, is dropped",
        queue.name
    );
    Some(Risk { problem, mend: "give the queue a dead-letter-exchange by a policy" })
}

fn message_ttl(queue: &QueueSettings) -> Option<Risk> {
    let ttl = queue.millis("message-ttl")?;
    let (name, after) = (&queue.name, show_duration(ttl));
    let fate = match queue.text("dead-letter-exchange") {
        None => "are dropped".to_owned(),
        Some(exchange) => format!("go to the dead-letter exchange `{exchange}`, not to the archive"),
    };
    let problem = format!(
        "messages of queue `{name}` expire after {after} (message-ttl): after an outage longer than that they {fate}"
    );
    Some(Risk { problem, mend: "remove message-ttl, or set it well beyond the longest outage" })
}

fn expires(queue: &QueueSettings) -> Option<Risk> {
    let after = show_duration(queue.millis("expires")?);
    let problem = format!(
        "queue `{}` is deleted, with all that waits in it, once it has had no consumer for {after} (expires)",
        queue.name
    );
    Some(Risk { problem, mend: "consume a queue without expires, or set it well beyond the longest outage" })
}

fn max_length(queue: &QueueSettings) -> Option<Risk> {
    if queue.text("overflow").is_some_and(|overflow| overflow.starts_with("reject-publish")) {
        return None;
    }
    let length = queue.number("max-length").map(|count| format!("{count} messages (max-length)"));
    let bytes = queue.number("max-length-bytes").map(|count| format!("{count} bytes (max-length-bytes)"));
    let bound = length.into_iter().chain(bytes).collect::<Vec<_>>().join(" and ");
    if bound.is_empty() {
        return None;
    }
    let fate = match queue.text("dead-letter-exchange") {
        None => "drops the oldest".to_owned(),
        Some(exchange) => format!("sends the oldest to the dead-letter exchange `{exchange}`, not to the archive,"),
    };
    let problem = format!("queue `{}` holds at most {bound}, and {fate} when the archive is behind", queue.name);
    Some(Risk { problem, mend: "set overflow to reject-publish, which pushes back on publishers" })
}

fn consumer_timeout(queue: &QueueSettings, version: Option<Version>, held: Held) -> Option<Risk> {
    let timeout = queue.consumer_timeout(version).filter(|timeout| held.age + held.outage > *timeout)?;
    let problem = format!(
        "the flush age, {}, and half of run.flush_grace, {}, for which a flush is held while the store is away, are more \
         than the {} after which queue `{}` takes back what is not acknowledged (consumer-timeout)",
        show_duration(held.age),
        show_duration(held.outage),
        show_duration(timeout),
        queue.name
    );
    Some(Risk { problem, mend: "lower flush.age or run.flush_grace, or raise consumer-timeout" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HELD: Held = Held { age: Duration::from_secs(60), outage: Duration::from_secs(450) };

    fn queue(kind: &str, arguments: Value, policy: Value) -> QueueSettings {
        let map = |value: Value| value.as_object().expect("an object").clone();
        QueueSettings { name: "q".into(), kind: kind.into(), arguments: map(arguments), policy: map(policy) }
    }

    fn problems(queue: &QueueSettings, version: Version) -> Vec<String> {
        risks(queue, Some(version), HELD).into_iter().map(|risk| risk.problem).collect()
    }

    #[track_caller]
    fn one(queue: &QueueSettings, version: Version, words: &str) {
        let found = problems(queue, version);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?} lacks {words}");
    }

    #[test]
    fn a_plain_queue_has_no_risk_before_a_default_limit_came() {
        assert_eq!(problems(&queue("classic", json!({}), json!({})), (4, 3)), [""; 0]);
        assert_eq!(problems(&queue("quorum", json!({}), json!({})), (3, 13)), [""; 0]);
        assert_eq!(risks(&queue("quorum", json!({}), json!({})), None, HELD), []);
        assert_eq!(problems(&queue("stream", json!({ "x-max-length-bytes": 5 }), json!({})), (4, 0)), [""; 0]);
    }

    #[test]
    fn a_delivery_limit_without_a_dead_letter_exchange_drops() {
        one(&queue("quorum", json!({}), json!({})), (4, 0), "limit of 20, RabbitMQ's default since 4.0, and no");
        one(&queue("quorum", json!({ "x-delivery-limit": 5 }), json!({})), (3, 10), "limit of 5 and no");
        one(&queue("quorum", json!({}), json!({ "delivery-limit": 7 })), (3, 10), "limit of 7 and");
        let both = |argument: i64, policy: i64| {
            queue("quorum", json!({ "x-delivery-limit": argument }), json!({ "delivery-limit": policy }))
        };
        one(&both(9, 8), (4, 1), "limit of 8 and");
        one(&both(-1, 8), (4, 1), "limit of 8 and");
        assert_eq!(problems(&both(-1, -1), (4, 1)), [""; 0]);
        assert_eq!(problems(&queue("quorum", json!({ "x-delivery-limit": -1 }), json!({})), (4, 0)), [""; 0]);
    }

    #[test]
    fn a_dead_letter_exchange_catches_what_the_limit_gives_up() {
        let policy = json!({ "dead-letter-exchange": "dead" });
        assert_eq!(problems(&queue("quorum", json!({}), policy), (4, 0)), [""; 0]);
        // The default exchange has the empty name.
        let argument = json!({ "x-delivery-limit": 5, "x-dead-letter-exchange": "" });
        assert_eq!(problems(&queue("quorum", argument, json!({})), (4, 0)), [""; 0]);
    }

    #[test]
    fn bounds_in_time_and_length_are_told_with_their_effect() {
        let classic = |arguments: Value, policy: Value| queue("classic", arguments, policy);
        one(&classic(json!({ "x-message-ttl": 60_000 }), json!({})), (3, 10), "after 1m (message-ttl)");
        one(&classic(json!({ "x-message-ttl": 60_000 }), json!({ "message-ttl": 5_000 })), (3, 10), "they are dropped");
        let caught = json!({ "message-ttl": 5_000, "dead-letter-exchange": "dead" });
        one(&classic(json!({}), caught), (3, 10), "go to the dead-letter exchange `dead`");
        one(&classic(json!({}), json!({ "expires": 1_800_000 })), (3, 10), "no consumer for 30m (expires)");
        one(
            &classic(json!({ "x-max-length": 9 }), json!({})),
            (3, 10),
            "9 messages (max-length), and drops the oldest",
        );
        one(&classic(json!({}), json!({ "max-length-bytes": 9 })), (3, 10), "9 bytes (max-length-bytes), and drops");
        let rejecting = json!({ "max-length": 9, "overflow": "reject-publish-dlx" });
        assert_eq!(problems(&classic(json!({}), rejecting), (3, 10)), [""; 0]);
    }

    #[test]
    fn a_consumer_timeout_of_the_queue_is_held_against_what_a_pipeline_holds() {
        let timed = |kind| queue(kind, json!({ "x-consumer-timeout": 500_000 }), json!({}));
        one(&timed("classic"), (3, 12), "1m, and half of run.flush_grace, 450s");
        assert_eq!(problems(&timed("classic"), (3, 11)), [""; 0], "it is not heeded");
        assert_eq!(problems(&timed("classic"), (4, 3)), [""; 0], "it is not heeded");
        assert_eq!(problems(&queue("classic", json!({}), json!({ "consumer-timeout": 510_000 })), (4, 0)), [""; 0]);
        let quorum = queue("quorum", json!({ "x-dead-letter-exchange": "d" }), json!({ "consumer-timeout": 1_000 }));
        one(&quorum, (4, 3), "than the 1s after which queue `q`");
    }
}
