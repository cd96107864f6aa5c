//! Credentials that change while connections are open: passwords in files, and tokens that end.

use std::path::Path;
use std::time::{Duration, Instant};

use parqueduct::broker::publish::{PublishError, Publisher, PublisherLimits};
use parqueduct::broker::{Broker, ConnectError, Rabbit, Subscription};
use parqueduct::config::{OAuth2, RabbitMq, Secret};
use parqueduct::event::Message;

use super::within;
use crate::harness::rabbit::{self, config, eventually, surroundings};
use crate::harness::tokens::{self, CLIENT_ID, CLIENT_SECRET, TokenEndpoint, token};

/// As long as a token of these tests lives.
const LIFE: Duration = Duration::from_secs(8);

fn subscription(queue: &str) -> Subscription {
    Subscription { queue: queue.to_owned(), prefetch: 10, declare: None, name: "parqueduct test".into() }
}

/// The secret in a file, as the configuration reads it.
fn in_file(path: &Path) -> Option<Secret> {
    Some(Secret::of_file(path.to_owned(), &std::fs::read_to_string(path).expect("the file is there")))
}

fn oauth2(endpoint: &TokenEndpoint) -> Option<OAuth2> {
    Some(OAuth2 {
        token_url: endpoint.url(),
        client_id: CLIENT_ID.into(),
        client_secret: Secret::new(CLIENT_SECRET),
        scope: Some("rabbitmq".into()),
    })
}

fn without_user(node: &rabbit::Rabbit) -> RabbitMq {
    config(&[&format!("amqp://127.0.0.1:{}/%2f", node.port())])
}

async fn consumes(broker: &Rabbit, queue: &str) -> Result<(), ConnectError> {
    let (_intake, settler) = broker.consume(&subscription(queue)).await?;
    settler.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_changed_in_its_file_is_taken_up_by_the_next_connection() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("rotated").await;
        let (user, _) = node.user("rotating", ["^$", "^$", &format!("^{queue}$")]).await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("password");
        std::fs::write(&file, "test\n").expect("written");
        let config = RabbitMq { username: Some(Secret::new(&user)), password: in_file(&file), ..without_user(&node) };
        let broker = Rabbit::new(&config, surroundings()).expect("a valid configuration");
        consumes(&broker, &queue).await.expect("with the first password");
        node.ctl(&["change_password", &user, "p@ss/w:rd"]).await;
        let error = consumes(&broker, &queue).await.expect_err("the password is not that of the file any more");
        assert!(error.needs_a_person() && error.to_string().contains("check user and password"), "{error}");
        std::fs::write(&file, "p@ss/w:rd\n").expect("written");
        consumes(&broker, &queue).await.expect("with the second password");
        std::fs::remove_file(&file).expect("removed");
        let error = consumes(&broker, &queue).await.expect_err("no password");
        assert!(error.needs_a_person() && error.to_string().contains("put right rabbitmq.password"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uri_changed_in_its_file_is_taken_up_by_the_next_connection() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("moved").await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("uri");
        std::fs::write(&file, "amqp://guest:guest@127.0.0.1:1/%2f").expect("written");
        let config = RabbitMq { uris: in_file(&file).into_iter().collect(), ..without_user(&node) };
        let broker = Rabbit::new(&config, surroundings()).expect("a valid configuration");
        let error = consumes(&broker, &queue).await.expect_err("nobody is there");
        assert!(!error.needs_a_person(), "{error}");
        std::fs::write(&file, node.uri()).expect("written");
        consumes(&broker, &queue).await.expect("somebody is there");
        std::fs::write(&file, "secret nonsense").expect("written");
        let error = consumes(&broker, &queue).await.expect_err("no URI");
        assert!(error.needs_a_person() && !error.to_string().contains("nonsense"), "{error}");
    })
    .await;
}

/// Publishes every 300 ms for `time`, each message confirmed before the next.
async fn publishes(config: &RabbitMq, queue: &str, time: Duration) -> Result<u64, PublishError> {
    let limits = PublisherLimits { in_flight_max: 1, ..PublisherLimits::default() };
    let mut publisher = Publisher::connect(config, surroundings(), "test", limits).await.expect("connecting");
    let start = Instant::now();
    while start.elapsed() < time {
        publisher.publish("", queue, &Message { body: b"x".to_vec(), ..Message::default() }).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(publisher.finish().await?.confirmed)
}

/// The broker asks for permission, which an ended token does not give, at each publication; a consumer it asks but once.
/// So publishers show whether an open connection has a token that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_its_token_if_that_is_renewed_and_only_then() {
    within(400, async {
        let node = tokens::node().await;
        let queue = node.queue("tokens").await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (kept, renewed) = (directory.path().join("kept"), directory.path().join("renewed"));
        let endpoint = TokenEndpoint::start(LIFE).await;
        let four_lives = LIFE * 4;
        for file in [&kept, &renewed] {
            std::fs::write(file, token(LIFE)).expect("written");
        }
        let by_endpoint = RabbitMq { oauth2: oauth2(&endpoint), ..without_user(&node) };
        let by_file = |file| RabbitMq { password: in_file(file), ..without_user(&node) };
        let (left, renewing, fetching) = (by_file(&kept), by_file(&renewed), by_endpoint.clone());
        let sidecar = async {
            // Replaced as a whole, as whoever renews tokens does it.
            let next = directory.path().join("next");
            loop {
                tokio::time::sleep(LIFE / 2).await;
                std::fs::write(&next, token(LIFE)).expect("written");
                std::fs::rename(&next, &renewed).expect("renamed");
            }
        };
        let publishing = async {
            tokio::join!(
                publishes(&left, &queue, four_lives),
                publishes(&renewing, &queue, four_lives),
                publishes(&fetching, &queue, four_lives),
            )
        };
        let (left, renewing, fetching) = tokio::select! { done = publishing => done, never = sidecar => never };
        let error = left.expect_err("a token that ended and was not renewed");
        assert!(matches!(&error, PublishError::Refused { reason, .. } if reason.contains("expired")), "{error:?}");
        assert!(renewing.expect("with what stands in the file") > 20);
        assert!(fetching.expect("with what the endpoint gives") > 20);
        let fetched = endpoint.issued();
        assert!((4..=12).contains(&fetched), "{fetched} tokens in four lives");
        let broker = Rabbit::new(&by_file(&kept), surroundings()).expect("a valid configuration");
        assert!(consumes(&broker, &queue).await.is_err(), "an ended token opens nothing");
        let broker = Rabbit::new(&by_endpoint, surroundings()).expect("a valid configuration");
        consumes(&broker, &queue).await.expect("a new one does");

        // A token that lasts but is refused, as when keys were replaced, is not kept for all of its life.
        let endpoint = TokenEndpoint::start(Duration::from_secs(3600)).await;
        endpoint.wrong_key(true);
        let config = RabbitMq { oauth2: oauth2(&endpoint), ..without_user(&node) };
        let broker = Rabbit::new(&config, surroundings()).expect("a valid configuration");
        let error = consumes(&broker, &queue).await.expect_err("signed by nobody it knows");
        assert!(error.needs_a_person(), "{error}");
        endpoint.wrong_key(false);
        eventually("another token", || async { consumes(&broker, &queue).await.is_ok() }).await;
        assert_eq!(endpoint.issued(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_gives_no_token_is_told_from_one_that_is_away() {
    within(60, async {
        let endpoint = TokenEndpoint::start(LIFE).await;
        let connecting = async |oauth2: OAuth2| {
            let config = RabbitMq { oauth2: Some(oauth2), ..config(&["amqp://127.0.0.1:1/%2f"]) };
            let broker = Rabbit::new(&config, surroundings()).expect("a valid configuration");
            consumes(&broker, "any").await.expect_err("no token, or no broker")
        };
        let right = oauth2(&endpoint).expect("some");
        let error = connecting(OAuth2 { client_secret: Secret::new("mistyped"), ..right.clone() }).await;
        assert!(error.needs_a_person() && error.to_string().contains("401, invalid_client"), "{error}");
        assert!(error.to_string().contains("put right rabbitmq.oauth2") && !error.to_string().contains("mistyped"));
        endpoint.out_of_order(true);
        let error = connecting(right.clone()).await;
        assert!(
            !error.needs_a_person() && error.to_string().contains("no token: the endpoint answered 503"),
            "{error}"
        );
        let error = connecting(OAuth2 { token_url: "http://127.0.0.1:1/token".into(), ..right.clone() }).await;
        assert!(!error.needs_a_person() && error.to_string().contains("no token"), "{error}");
        endpoint.out_of_order(false);
        let error = connecting(right).await;
        assert!(!error.needs_a_person() && !error.to_string().contains("token"), "{error}");
    })
    .await;
}
