//! What AMQP does not tell, from the HTTP API of RabbitMQ's management plugin. It is only read.

pub mod routes; // which queues a message would reach

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use serde_json::{Map, Value};

use super::connect::endpoint;
use super::risk::{QueueSettings, Version};
use super::{Surroundings, fresh};
use crate::config::RabbitMq;
use crate::web::{Answer, Web};

/// A longer answer is none. That about one queue with ten thousand consumers has some 5 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What the API told.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// `None`: it is not RabbitMQ's, or not understood.
    pub version: Option<Version>,
    /// One for each queue asked about, in order; `Err` says why there is nothing about it, `None` that it is not there.
    pub queues: Vec<Result<Option<QueueSettings>, String>>,
}

/// Why the API told nothing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the management API {api} tells nothing: {reason}")]
pub struct Silent {
    /// Scheme, host and port.
    pub api: String,
    pub reason: String,
    pub mend: &'static str,
}

/// Asks the configured API about `queues`, which are in the virtual host of the first URI. `None`: none is configured.
///
/// # Errors
/// [`Silent`]: it cannot be reached, or does not take the user. No reason not to run.
pub async fn survey(
    config: &RabbitMq,
    surroundings: Surroundings,
    queues: &[String],
) -> Option<Result<Survey, Silent>> {
    match Api::of(config, surroundings).await? {
        Ok((api, vhost)) => Some(api.survey(&vhost, queues).await),
        Err(silent) => Some(Err(silent)),
    }
}

/// How many messages are ready in each of `queues`, as the API last counted; `None` of those that it tells nothing of. `None`
/// altogether: no API is configured.
///
/// # Errors
/// As [`survey`].
pub(super) async fn ready(
    config: &RabbitMq,
    surroundings: Surroundings,
    queues: &[String],
) -> Option<Result<Vec<Option<u64>>, Silent>> {
    match Api::of(config, surroundings).await? {
        Ok((api, vhost)) => Some(api.ready(&vhost, queues).await),
        Err(silent) => Some(Err(silent)),
    }
}

async fn vhost(config: &RabbitMq, surroundings: Surroundings) -> Result<String, String> {
    let uri = config.uris.first().ok_or_else(|| "no broker is configured".to_owned())?;
    let uri = fresh(uri, surroundings.read).await?;
    endpoint(&uri, config.heartbeat).map(|endpoint| endpoint.uri.vhost)
}

struct Api {
    web: Web,
    /// With user and password.
    url: Url,
}

impl Api {
    /// The configured API, and the virtual host to ask it about; `None`: none is configured.
    async fn of(config: &RabbitMq, surroundings: Surroundings) -> Option<Result<(Self, String), Silent>> {
        let url = config.management.as_ref()?;
        let silent =
            |reason| Silent { api: "of rabbitmq.management".into(), reason, mend: "put right rabbitmq.management" };
        let url = match fresh(url, surroundings.read).await.map(|text| text.parse::<Url>()) {
            Ok(Ok(url)) => url,
            Ok(Err(error)) => return Some(Err(silent(error.to_string()))),
            Err(reason) => return Some(Err(silent(reason))),
        };
        let api = Api { web: Web { ca: config.ca.clone(), patience: config.connect_timeout }, url };
        match vhost(config, surroundings).await {
            Ok(vhost) => Some(Ok((api, vhost))),
            Err(reason) => Some(Err(Silent { mend: "put right rabbitmq.uri", ..silent(reason) })),
        }
    }

    async fn survey(&self, vhost: &str, queues: &[String]) -> Result<Survey, Silent> {
        let overview = self.ask("overview").await?;
        let overview = match (overview.status, object(&overview)) {
            (200, Some(overview)) => overview,
            (401 | 403, _) => {
                return Err(self.silent(
                    "it does not take this user".into(),
                    "correct user and password, and give the user the tag monitoring",
                ));
            }
            (status, _) => {
                let reason = format!("it answered {status}, and not as RabbitMQ does");
                return Err(self.silent(reason, "see that the management plugin is enabled, and the URL its own"));
            }
        };
        let version = overview.get("rabbitmq_version").and_then(Value::as_str).and_then(version);
        let mut settings = Vec::new();
        for queue in queues {
            let answer = self.ask(&format!("queues/{}/{}", encoded(vhost), encoded(queue))).await?;
            settings.push(match answer.status {
                404 => Ok(None),
                200 => queue_settings(queue, &object(&answer).unwrap_or_default()).map(Some),
                401 | 403 => Err(format!("its user has no permission in the virtual host `{vhost}`")),
                status => Err(format!("it answered {status}")),
            });
        }
        Ok(Survey { version, queues: settings })
    }

    async fn ready(&self, vhost: &str, queues: &[String]) -> Result<Vec<Option<u64>>, Silent> {
        let mut lengths = Vec::new();
        for queue in queues {
            let answer = self.ask(&format!("queues/{}/{}", encoded(vhost), encoded(queue))).await?;
            let told = object(&answer).filter(|_| answer.status == 200);
            lengths.push(told.and_then(|told| told.get("messages_ready")?.as_u64()));
        }
        Ok(lengths)
    }

    async fn ask(&self, path: &str) -> Result<Answer, Silent> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (decoded(self.url.username()), self.url.password().map(decoded));
        let url = format!("{}{}/api/{path}", self.origin(), self.url.path().trim_end_matches('/'));
        let asked = self.web.ask(|client| client.get(&url).basic_auth(user, password), ANSWER_BYTES_MAX);
        asked.await.map_err(|reason| self.silent(reason, "see that it is there and can be reached"))
    }

    /// Scheme, host and port: what may be shown.
    fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    fn silent(&self, reason: String, mend: &'static str) -> Silent {
        Silent { api: self.origin(), reason, mend }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn object(answer: &Answer) -> Option<Map<String, Value>> {
    serde_json::from_slice(&answer.body).ok()
}

/// `4.2.0` is 4, 2.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn queue_settings(name: &str, answer: &Map<String, Value>) -> Result<QueueSettings, String> {
    // Erlang writes an empty map as an empty list at times.
    let map = |name: &str| answer.get(name).map(|value| value.as_object().cloned().unwrap_or_default());
    let Some(policy) = map("effective_policy_definition") else {
        return Err("it does not tell the queue's policies, as when the queue is but seconds old".to_owned());
    };
    let kind = answer.get("type").and_then(Value::as_str).unwrap_or("classic").to_owned();
    Ok(QueueSettings { name: name.to_owned(), kind, arguments: map("arguments").unwrap_or_default(), policy })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_read_by_major_and_minor() {
        assert_eq!(version("3.10.8"), Some((3, 10)));
        assert_eq!(version("4.0.0-rc.1"), Some((4, 0)));
        assert_eq!(version("LavinMQ"), None);
    }

    #[test]
    fn an_answer_without_policies_is_not_taken_for_one_with_none() {
        let read = |answer: Value| queue_settings("q", answer.as_object().expect("an object"));
        assert!(read(json!({ "type": "quorum", "arguments": {} })).is_err());
        let plain = read(json!({ "type": "quorum", "arguments": [], "effective_policy_definition": [] }));
        assert_eq!(plain, Ok(QueueSettings { name: "q".into(), kind: "quorum".into(), ..Default::default() }));
    }
}
