//! Which queues a message would reach: the bindings of an exchange, and of those behind it.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Api, encoded, object};
use crate::broker::Surroundings;
use crate::config::RabbitMq;

/// Exchanges that a message passes at most.
const EXCHANGES_MAX: usize = 100;

/// Finds the queues that messages would reach. What was asked once is remembered: a replay has many messages for few
/// exchanges.
pub struct Routes {
    config: RabbitMq,
    surroundings: Surroundings,
    /// `None` until the first question.
    api: Option<(Api, String)>,
    exchanges: HashMap<String, Exchange>,
}

/// An exchange, as the API tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exchange {
    kind: String,
    /// Where it passes on what matches no binding.
    alternate: Option<String>,
    bindings: Vec<Binding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    destination: String,
    is_queue: bool,
    key: String,
}

impl Routes {
    /// Asks nothing yet.
    pub fn new(config: RabbitMq, surroundings: Surroundings) -> Self {
        Self { config, surroundings, api: None, exchanges: HashMap::new() }
    }

    /// The queues that a message with these routing keys (its own, and those of its CC) reaches through `exchange`.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub async fn queues(&mut self, exchange: &str, keys: &[&str]) -> Result<BTreeSet<String>, String> {
        let mut queues = BTreeSet::new();
        let mut passed = HashSet::new();
        let mut ahead = vec![exchange.to_owned()];
        while let Some(name) = ahead.pop() {
            // The default exchange leads to the queue of the key's name.
            if name.is_empty() {
                queues.extend(keys.iter().map(|key| (*key).to_owned()));
                continue;
            }
            if !passed.insert(name.clone()) {
                continue;
            }
            if passed.len() > EXCHANGES_MAX {
                return Err(format!("more than {EXCHANGES_MAX} exchanges lie behind `{exchange}`"));
            }
            let found = self.exchange(&name).await?;
            let mut matched = false;
            for binding in &found.bindings {
                if !matches(&name, &found.kind, &binding.key, keys)? {
                    continue;
                }
                matched = true;
                if binding.is_queue {
                    queues.insert(binding.destination.clone());
                } else {
                    ahead.push(binding.destination.clone());
                }
            }
            if !matched {
                ahead.extend(found.alternate.clone());
            }
        }
        Ok(queues)
    }

    async fn exchange(&mut self, name: &str) -> Result<&Exchange, String> {
        if !self.exchanges.contains_key(name) {
            let exchange = self.ask(name).await?;
            self.exchanges.insert(name.to_owned(), exchange);
        }
        Ok(&self.exchanges[name])
    }

    async fn ask(&mut self, name: &str) -> Result<Exchange, String> {
        if self.api.is_none() {
            let api = Api::of(&self.config, self.surroundings).await;
            let api = api.ok_or_else(|| "rabbitmq.management is not set".to_owned())?;
            self.api = Some(api.map_err(|silent| silent.to_string())?);
        }
        let Some((api, vhost)) = &self.api else { unreachable!("it was set above") };
        let place = format!("exchanges/{}/{}", encoded(vhost), encoded(name));
        let answer = api.ask(&place).await.map_err(|silent| silent.to_string())?;
        let exchange = match (answer.status, object(&answer)) {
            (200, Some(exchange)) => exchange,
            (404, _) => return Err(format!("there is no exchange `{name}`")),
            (status, _) => return Err(format!("the management API answered {status} about exchange `{name}`")),
        };
        let answer = api.ask(&format!("{place}/bindings/source")).await.map_err(|silent| silent.to_string())?;
        let bindings: Vec<Map<String, Value>> = match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?,
            status => return Err(format!("the management API answered {status} about the bindings of `{name}`")),
        };
        Ok(read(&exchange, &bindings))
    }
}

fn read(exchange: &Map<String, Value>, bindings: &[Map<String, Value>]) -> Exchange {
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let arguments = exchange.get("arguments").and_then(Value::as_object);
    let binding = |binding: &Map<String, Value>| Binding {
        destination: text(binding, "destination").unwrap_or_default(),
        is_queue: text(binding, "destination_type").as_deref() == Some("queue"),
        key: text(binding, "routing_key").unwrap_or_default(),
    };
    Exchange {
        kind: text(exchange, "type").unwrap_or_default(),
        alternate: arguments.and_then(|arguments| text(arguments, "alternate-exchange")),
        bindings: bindings.iter().map(binding).collect(),
    }
}

/// Whether a binding with `binding_key` of an exchange of `kind` takes a message with one of `keys`.
fn matches(exchange: &str, kind: &str, binding_key: &str, keys: &[&str]) -> Result<bool, String> {
    match kind {
        "fanout" => Ok(true),
        "direct" => Ok(keys.contains(&binding_key)),
        "topic" => Ok(keys.iter().any(|key| topic_matches(binding_key, key))),
        other => Err(format!("exchange `{exchange}` is of type {other}, whose ways are not known here")),
    }
}

/// Whether the pattern of a topic binding (`*` for one word, `#` for any number of them) takes `key`.
fn topic_matches(pattern: &str, key: &str) -> bool {
    // RabbitMQ splits the empty key into no words.
    let words = |text: &'_ str| -> Vec<String> {
        if text.is_empty() { Vec::new() } else { text.split('.').map(str::to_owned).collect() }
    };
    let (pattern, key) = (words(pattern), words(key));
    // reached[n]: the pattern so far takes the first n words.
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for word in &pattern {
        let mut next = vec![false; key.len() + 1];
        for at in 0..=key.len() {
            next[at] = match word.as_str() {
                "#" => reached[at] || (at > 0 && next[at - 1]),
                "*" => at > 0 && reached[at - 1],
                word => at > 0 && reached[at - 1] && key[at - 1] == word,
            };
        }
        reached = next;
    }
    reached[key.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_as_in_the_documentation() {
        let matching = [
            ("#", ""),
            ("#", "a.b.c"),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("#.c", "a.b.c"),
            ("a.*.c", "a.b.c"),
            ("*.*", "a.b"),
            ("a.#.c", "a.c"),
            ("a.#.#", "a"),
            ("", ""),
            ("a..c", "a..c"),
        ];
        for (pattern, key) in matching {
            assert!(topic_matches(pattern, key), "{pattern} takes {key}");
        }
        let not = [("a", "b"), ("a.*", "a"), ("*", ""), ("a.#", "b.a"), ("a.*.c", "a.b.b.c"), ("", "a"), ("*", "a.b")];
        for (pattern, key) in not {
            assert!(!topic_matches(pattern, key), "{pattern} does not take {key}");
        }
    }

    #[test]
    fn each_kind_of_exchange_matches_in_its_own_way() {
        let matches = |kind, binding_key, keys: &[&str]| matches("e", kind, binding_key, keys);
        assert_eq!(matches("fanout", "x", &["y"]), Ok(true));
        assert_eq!(matches("direct", "x", &["y"]), Ok(false));
        assert_eq!(matches("direct", "x", &["y", "x"]), Ok(true));
        assert_eq!(matches("topic", "*.b", &["a.b"]), Ok(true));
        assert!(matches("headers", "", &["y"]).is_err());
        assert!(matches("x-consistent-hash", "1", &["y"]).is_err());
    }
}
