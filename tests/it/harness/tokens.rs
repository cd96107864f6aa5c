//! Tokens (JWT, HS256) and an endpoint that gives them, and what a node must be told to take them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::rabbit::Rabbit;

const KEY: &[u8] = b"a key that only this test and its node know";

/// The client of [`TokenEndpoint`]; characters that are encoded twice on their way.
pub const CLIENT_ID: &str = "archiver";
pub const CLIENT_SECRET: &str = "se cr:et+";

/// A private node that takes tokens signed with our key, and `guest` with its password. It looks again at every
/// connection's permissions within a second, rather than a minute.
pub async fn node() -> Rabbit {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let conf = "auth_backends.1 = rabbit_auth_backend_oauth2\nauth_backends.2 = internal\n";
    let key = BASE64_URL_SAFE_NO_PAD.encode(KEY);
    let advanced = format!(
        r#"[{{rabbit, [{{channel_tick_interval, 1000}}]}},
 {{rabbitmq_auth_backend_oauth2, [
  {{resource_server_id, <<"rabbitmq">>}},
  {{key_config, [
   {{default_key, <<"test">>}},
   {{signing_keys, #{{<<"test">> => {{map, #{{<<"kty">> => <<"oct">>, <<"alg">> => <<"HS256">>, <<"kid">> => <<"test">>,
    <<"k">> => <<"{key}">>}}}}}}}}]}}]}}].
"#
    );
    let (conf, advanced) =
        (write(directory.path(), "conf", conf), write(directory.path(), "advanced.config", &advanced));
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let plugin = "rabbitmq_auth_backend_oauth2";
    Rabbit::own(&["--plugins", plugin, "--conf", &text(&conf), "--advanced-config", &text(&advanced)]).await
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("writing a file");
    path
}

/// A token that allows everything for `life`.
pub fn token(life: Duration) -> String {
    signed_with(KEY, life)
}

fn signed_with(key: &[u8], life: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    // Claims are whole seconds: not less than `life` in all.
    let claims = json!({
        "sub": CLIENT_ID,
        "client_id": CLIENT_ID,
        "aud": ["rabbitmq"],
        "scope": ["rabbitmq.read:*/*", "rabbitmq.write:*/*", "rabbitmq.configure:*/*"],
        "iat": now.as_secs(),
        "exp": (now + life).as_secs() + 1,
    });
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT", "kid": "test" })), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac(key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// HMAC of RFC 2104 over SHA-256, with a key of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// Gives tokens by the client credentials grant, until it is dropped.
pub struct TokenEndpoint {
    address: SocketAddr,
    site: Arc<Site>,
    _server: JoinSet<()>,
}

struct Site {
    life: Duration,
    issued: AtomicUsize,
    failed: AtomicUsize,
    out_of_order: AtomicBool,
    wrong_key: AtomicBool,
}

impl TokenEndpoint {
    pub async fn start(life: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let site = Arc::new(Site {
            life,
            issued: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            out_of_order: AtomicBool::new(false),
            wrong_key: AtomicBool::new(false),
        });
        let router = Router::new().route("/token", post(give)).with_state(Arc::clone(&site));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("serving") });
        Self { address, site, _server: server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Tokens given.
    pub fn issued(&self) -> usize {
        self.site.issued.load(SeqCst)
    }

    /// Requests answered with an error.
    pub fn failed(&self) -> usize {
        self.site.failed.load(SeqCst)
    }

    /// From now on every request fails, or none.
    pub fn out_of_order(&self, out: bool) {
        self.site.out_of_order.store(out, SeqCst);
    }

    /// From now on tokens are signed with a key that no node knows, or with ours.
    pub fn wrong_key(&self, wrong: bool) {
        self.site.wrong_key.store(wrong, SeqCst);
    }
}

async fn give(State(site): State<Arc<Site>>, headers: HeaderMap, form: String) -> (StatusCode, Json<Value>) {
    let expected = BASE64_STANDARD.encode(format!("{CLIENT_ID}:se+cr%3Aet%2B"));
    let authorized = headers.get("authorization").is_some_and(|value| value == &format!("Basic {expected}"));
    let refused = |status, error: &str| {
        site.failed.fetch_add(1, SeqCst);
        (status, Json(json!({ "error": error })))
    };
    if site.out_of_order.load(SeqCst) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    }
    if !authorized {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    if form != "grant_type=client_credentials&scope=rabbitmq" {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    }
    site.issued.fetch_add(1, SeqCst);
    let key = if site.wrong_key.load(SeqCst) { &b"a key that no node knows"[..] } else { KEY };
    // Said to be shorter than it is: a busy machine may take seconds for what should take none.
    let told = site.life.as_secs() * 5 / 8;
    let answer = json!({ "access_token": signed_with(key, site.life), "token_type": "Bearer", "expires_in": told });
    (StatusCode::OK, Json(answer))
}
