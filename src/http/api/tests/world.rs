//! A store with dead letters of every kind, and the API over it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use ulid::Ulid;

use super::super::{Parts, Pipeline};
use super::client::Client;
use crate::config::{self, Config, HttpToken, Role, Secret};
use crate::dlq::record::samples::{letter, nulls, truncated};
use crate::dlq::record::{self, DeadLetter};
use crate::dlq::veil::Veil;
use crate::event::{HeaderValue, Unreadable};
use crate::http::{Limits, Shown, serve};
use crate::ingest::Stop;
use crate::metrics::Metrics;
use crate::receipt::Receipt;
use crate::replay::Tasks;
use crate::schema::{Language, Schema};
use crate::store::Store;

/// A token for each role, called after it.
pub(super) const TOKENS: [(&str, Role); 3] =
    [("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)];

/// An id that no letter has.
pub(super) const NOBODY: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A body with fields that the configuration masks, and some that the schema marks.
pub(super) const CARD: &[u8] = br#"{"pan":"4111","marked":4111,"nested":[{"secret":"4111","n":1.50}],"plain":"seen"}"#;

const SCHEMA: &str = r#"{"properties": {"marked": {"x-parqueduct-sensitive": true}}}"#;

const CONFIG: &str = r#"
[store]
url = "file:///nowhere"
[dlq]
mask = ["/pan", "/nested/*/secret", "headers:authorization", "properties:user_id"]
[[pipeline]]
name = "flights"
queue = "flights"
format = "json"
schema = "flight.v1.json"
event_id = "/pan"
"#;

/// The token of that name.
pub(super) fn token(name: &str) -> String {
    format!("the-token-of-{name}-0123456789")
}

pub(super) struct World {
    pub(super) client: Client,
    /// Ids of letters: with [`CARD`], cut off, with a name twice, and of a pipeline that is not configured.
    pub(super) card: Ulid,
    pub(super) broken: Ulid,
    pub(super) repeated: Ulid,
    pub(super) stranger: Ulid,
    _pending: Receipt,
    _serving: JoinSet<()>,
}

impl World {
    pub(super) async fn new(tokens: &[(&str, Role)]) -> Self {
        Self::with(tokens, |_| {}).await
    }

    /// The same with other limits.
    pub(super) async fn with(tokens: &[(&str, Role)], change: impl FnOnce(&mut config::Api)) -> Self {
        let store = Store::memory();
        let letters = letters();
        for flush in letters.chunks(2) {
            // Of one pipeline a file.
            for letter in flush {
                let pipeline = &letter.origin.pipeline;
                let path = record::path(pipeline, letter.dead_at, letter.id, "host_1", 0);
                store.create(&path, record::encode(std::slice::from_ref(letter)).unwrap()).await.unwrap();
            }
        }
        let metrics = Arc::new(Metrics::new("0"));
        let pending = metrics.pipeline("flights", 1).ledger.receive(3, 3);
        let parts = parts(store, &metrics, tokens, change);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client = Client { address: listener.local_addr().expect("bound") };
        let shown = Shown { metrics, now: parts.now, unacked_age_max: Duration::from_secs(60) };
        let limits = Limits { connections_max: 16, silence_max: Duration::from_secs(60) };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            serve(listener, shown, Some(parts), limits, std::future::pending()).await.expect("it is served");
        });
        let [card, broken, repeated, stranger, ..] = letters.as_slice() else { unreachable!("there are more") };
        Self {
            client,
            card: card.id,
            broken: broken.id,
            repeated: repeated.id,
            stranger: stranger.id,
            _pending: pending,
            _serving: serving,
        }
    }
}

fn letters() -> Vec<DeadLetter> {
    let mut card = letter("flights", 10, 1, CARD, &nulls());
    let headers = [("authorization", "hunter2"), ("x-source", "atc")];
    let headers = headers.map(|(name, value)| (name.to_owned(), HeaderValue::Text(value.into())));
    card.message.properties.headers = Some(headers.to_vec());
    card.message.properties.user_id = Some("eve".to_owned());
    card.message.unreadable = vec![Unreadable::new("headers", b"hunter2 \xff")];
    card.event_id = Some("4111".to_owned());
    vec![
        card,
        letter("flights", 20, 2, br#"{"pan":"4111"#, &truncated(12)),
        letter("flights", 30, 3, br#"{"pan":"4111","pan":"4111"}"#, &nulls()),
        letter("strangers", 40, 4, br#"{"pan":"4111"}"#, &nulls()),
        letter("flights", 50, 5, b"{}", &nulls()),
    ]
}

fn configuration() -> Config {
    let surroundings =
        config::Surroundings { variable: &|_| None, read: &|_| Ok(SCHEMA.to_owned()), hostname: Some("host") };
    config::load(Path::new("/parqueduct.toml"), CONFIG, &surroundings).expect("a configuration").config
}

fn parts(
    store: Store,
    metrics: &Arc<Metrics>,
    tokens: &[(&str, Role)],
    change: impl FnOnce(&mut config::Api),
) -> Parts {
    let config = configuration();
    let of = |(name, role): &(&str, Role)| HttpToken {
        name: (*name).to_owned(),
        role: *role,
        token: Secret::new(token(name)),
    };
    let mut api = config::Api { page_max: 10, ..config.http.api.clone().expect("it is served") };
    api.tokens = tokens.iter().map(of).collect();
    change(&mut api);
    let pipeline = config.pipelines[0].clone();
    let schema = Schema::load(&Language::JsonSchema, Path::new("/flight.v1.json"), "flight", 1, &|_| Ok(SCHEMA.into()))
        .expect("a schema");
    let veil = Veil::new(&config.dlq.mask, [(schema.sensitive(), pipeline.events[0].event_id.clone())]);
    let veil = tokio::sync::watch::channel(Arc::new(veil)).1;
    let requests = AtomicU64::new(0);
    let replays = crate::app::replays_over(Arc::new(config.clone()), store, crate::app::Texts::default());
    Parts {
        config: api,
        pipelines: vec![Pipeline { config: pipeline, schemas: vec![schema.label()], veil }],
        records: Arc::clone(&replays.records),
        log: replays.log.clone(),
        tasks: Tasks::new(replays, 1, Stop::default()),
        veil_of_unknown: Arc::new(Veil::of_unknown(&config.dlq.mask)),
        metrics: Arc::clone(metrics),
        now: || DateTime::from_timestamp(1_000, 0).expect("in range"),
        ulid: Arc::new(move || Ulid::from_parts(1, u128::from(requests.fetch_add(1, Ordering::Relaxed)))),
        version: "0",
    }
}
