//! Tokens of OAuth 2.0 as passwords: what a token says of its own end, and the client credentials grant (RFC 6749, 4.4).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};
use url::form_urlencoded;

use super::{Clock, ReadFile, fresh};
use crate::config::OAuth2;
use crate::web::Web;

/// A longer answer of the endpoint is none.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Assumed of a token that neither the endpoint nor the token itself gives an end.
const LIFE_ASSUMED: Duration = Duration::from_secs(300);
/// The shortest and the longest wait before a failed request is made again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A token younger than this is not replaced because a broker refuses it.
const DISTRUST_AFTER: Duration = Duration::from_secs(5);

/// When a JSON Web Token ends (`exp`, RFC 7519, 4.1.4). `None`: the text is no such token, or one without end.
pub(super) fn end(text: &str) -> Option<DateTime<Utc>> {
    let mut parts = text.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    DateTime::from_timestamp(seconds as i64, 0)
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// May pass by itself.
    Unavailable(String),
    /// A person must act.
    Refused(String),
}

/// The token of the process: fetched when it is first asked for, and again after 80 % of its life.
pub(super) struct Tokens {
    oauth2: OAuth2,
    web: Web,
    clock: Clock,
    read: ReadFile,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The last request failed, and is not made again before then.
    failure: Option<Failure>,
}

struct Token {
    text: String,
    fetched_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

struct Failure {
    why: NoToken,
    wait: Duration,
    retry_at: Instant,
}

impl Tokens {
    pub(super) fn new(oauth2: OAuth2, web: Web, clock: Clock, read: ReadFile) -> Self {
        Self { oauth2, web, clock, read, state: Mutex::default() }
    }

    /// A token that has not ended, a new one if it is time. A new one that cannot be had is no failure as long as the
    /// old one lasts.
    pub(super) async fn current(&self) -> Result<String, NoToken> {
        // Held while the endpoint is asked: whoever else needs the token waits for that one.
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.text.clone());
        }
        let lasting = |state: &State| state.token.as_ref().filter(|token| now < token.ends_at).map(|t| t.text.clone());
        if let Some(failure) = state.failure.as_ref().filter(|failure| now < failure.retry_at) {
            return lasting(&state).ok_or_else(|| failure.why.clone());
        }
        match self.fetch().await {
            Ok((text, life)) => {
                let now = Instant::now();
                if state.failure.is_some() || state.token.is_none() {
                    info!(seconds = life.as_secs(), "a token was fetched");
                }
                let token = Token { text, fetched_at: now, renew_at: now + life.mul_f64(0.8), ends_at: now + life };
                *state = State { token: Some(token), failure: None };
                Ok(state.token.as_ref().map(|token| token.text.clone()).unwrap_or_default())
            }
            Err(why) => {
                let wait = state.failure.as_ref().map_or(RETRY.0, |failure| (failure.wait * 2).min(RETRY.1));
                let lasting = lasting(&state);
                if let Some(token) = &state.token {
                    let seconds_left = token.ends_at.saturating_duration_since(now).as_secs();
                    let (NoToken::Unavailable(reason) | NoToken::Refused(reason)) = &why;
                    warn!(%reason, seconds_left, retry_seconds = wait.as_secs(), "the token could not be renewed");
                }
                state.failure = Some(Failure { why: why.clone(), wait, retry_at: Instant::now() + wait });
                lasting.ok_or(why)
            }
        }
    }

    /// A broker does not take `refused`: another token is fetched when one is next asked for, but not at each refusal.
    pub(super) async fn distrust(&self, refused: &str) {
        let mut state = self.state.lock().await;
        let doubtful = |token: &&mut Token| token.text == refused && token.fetched_at.elapsed() >= DISTRUST_AFTER;
        if let Some(token) = state.token.as_mut().filter(doubtful) {
            token.renew_at = Instant::now();
        }
    }

    /// How long until there may be another token than `held`.
    pub(super) async fn due(&self, held: &str) -> Duration {
        let state = self.state.lock().await;
        let at = match (&state.failure, &state.token) {
            (Some(failure), _) => failure.retry_at,
            (None, Some(token)) if token.text == held => token.renew_at,
            _ => Instant::now(),
        };
        at.saturating_duration_since(Instant::now())
    }

    /// A new token, and how long it lives.
    async fn fetch(&self) -> Result<(String, Duration), NoToken> {
        let secret = fresh(&self.oauth2.client_secret, self.read).await.map_err(NoToken::Refused)?;
        let asked = self.web.ask(|client| request(&self.oauth2, &secret, client), ANSWER_BYTES_MAX);
        let answer = asked.await.map_err(NoToken::Unavailable)?;
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let text = |name: &str| body.as_ref()?.get(name)?.as_str();
        match (answer.status, text("access_token")) {
            (200, Some(token)) => {
                Ok((token.to_owned(), life(token, body.as_ref().and_then(|b| b.get("expires_in")), (self.clock)())))
            }
            (200, None) => Err(NoToken::Refused("the endpoint answered 200 without an access_token".into())),
            (status @ 400..=499, _) if status != 429 => {
                let code: String = text("error").unwrap_or("no reason").escape_debug().take(100).collect();
                Err(NoToken::Refused(format!("the endpoint answered {status}, {code}")))
            }
            (status, _) => Err(NoToken::Unavailable(format!("the endpoint answered {status}"))),
        }
    }
}

/// The request of RFC 6749, 4.4.2.
fn request(oauth2: &OAuth2, secret: &str, client: &Client) -> RequestBuilder {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &oauth2.scope {
        form.append_pair("scope", scope);
    }
    // Both are encoded as in a form first (RFC 6749, 2.3.1).
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    client
        .post(&oauth2.token_url)
        .basic_auth(encoded(&oauth2.client_id), Some(encoded(secret)))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(form.finish())
}

/// How long a token lives: by what came with it (RFC 6749, 5.1), else by its own end.
fn life(token: &str, expires_in: Option<&Value>, now: DateTime<Utc>) -> Duration {
    // Some endpoints write the number as text.
    let told = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let life = told.map(Duration::from_secs).or_else(|| end(token).map(|end| (end - now).to_std().unwrap_or_default()));
    // No life is as odd as an endless one: neither is believed.
    life.unwrap_or(LIFE_ASSUMED).clamp(Duration::from_secs(1), Duration::from_secs(366 * 86_400))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2lnbmF0dXJl", part(&json!({ "alg": "HS256" })), part(claims))
    }

    #[test]
    fn a_token_tells_its_end_and_a_password_none() {
        let at = DateTime::from_timestamp(1_795_568_404, 0);
        assert_eq!(end(&token(&json!({ "exp": 1_795_568_404 }))), at);
        assert_eq!(end(&token(&json!({ "exp": 1_795_568_404.7 }))), at);
        for text in ["", "password", "a.b.c", "a.b.c.d", &token(&json!({ "sub": "a" })), &token(&json!([1]))] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn a_life_is_what_the_endpoint_says_then_what_the_token_says_and_never_nothing() {
        let now = DateTime::from_timestamp(1_000, 0).expect("a time");
        let lives = |token: &str, told: Value| life(token, Some(&told).filter(|told| !told.is_null()), now).as_secs();
        let ending = token(&json!({ "exp": 1_060 }));
        assert_eq!(lives(&ending, json!(30)), 30);
        assert_eq!(lives(&ending, json!("30")), 30);
        assert_eq!(lives(&ending, Value::Null), 60);
        assert_eq!(lives("opaque", Value::Null), LIFE_ASSUMED.as_secs());
        assert_eq!(lives("opaque", json!(0)), 1);
        assert_eq!(lives(&token(&json!({ "exp": 10 })), Value::Null), 1);
        assert_eq!(lives("opaque", json!(u64::MAX)), 366 * 86_400);
    }
}
