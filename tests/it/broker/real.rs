//! Consuming from a real RabbitMQ: permissions, declarations, encryption, and every way a connection ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapin::types::AMQPValue;
use parqueduct::broker::inspect::{Existence, inspect};
use parqueduct::broker::management::survey;
use parqueduct::broker::{Broker, ConnectError, Ended, Intake, Rabbit, Subscription};
use parqueduct::config::{Declare, QueueType, RabbitMq, Secret};
use parqueduct::event::{Delivery, Message, Properties, Unreadable};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use tokio::io::AsyncReadExt;

use super::within;
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::{self, config, eventually, surroundings, unique};
use crate::harness::wire::{self, Raw};

fn subscription(queue: &str) -> Subscription {
    Subscription { queue: queue.to_owned(), prefetch: 100, declare: None, name: "parqueduct test".into() }
}

fn rabbit(config: &RabbitMq) -> Rabbit {
    Rabbit::new(config, surroundings()).expect("a valid configuration")
}

fn message(body: &str) -> Message {
    let mut message = Message { body: body.as_bytes().to_vec(), ..Message::default() };
    message.properties.delivery_mode = Some(2);
    message
}

async fn take(intake: &mut Box<dyn Intake>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(intake.next(count - taken.len()).await.expect("deliveries"));
    }
    taken
}

async fn refusal(config: &RabbitMq, subscription: &Subscription) -> ConnectError {
    rabbit(config).consume(subscription).await.err().expect("refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_only_read_the_queue_can_consume_and_settle() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("readable").await;
        let (user, password) = node.user("reader", ["^$", "^$", &format!("^{queue}$")]).await;
        node.publish(&queue, &[message("one"), message("two")]).await;
        let broker = rabbit(&node.config_as(&user, &password));
        let (mut intake, mut settler) = broker.consume(&subscription(&queue)).await.expect("reading is enough");
        let first = intake.next(1).await.expect("a delivery");
        settler.ack_through(first[0].tag).await.expect("ack");
        intake.cancel().await.expect("cancelling");
        settler.requeue_all().await.expect("requeue");
        settler.close().await;
        eventually("one acked, one back", || async { node.ready(&queue).await == 1 }).await;
        let error = refusal(&node.config_as(&user, &password), &subscription(&node.queue("other").await)).await;
        assert!(error.needs_a_person() && error.to_string().contains("grant the user"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_queue_is_made_once_and_bound() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        for queue_type in [QueueType::Classic, QueueType::Quorum] {
            let queue = unique("declared");
            let bind = vec![("amq.topic".to_owned(), format!("{queue}.#"))];
            let declare = Some(Declare { queue_type, bind });
            let subscription = Subscription { declare, ..subscription(&queue) };
            let broker = rabbit(&node.config());
            let (mut intake, settler) = broker.consume(&subscription).await.expect("declaring");
            publish(&node, "amq.topic", &format!("{queue}.x"), "through the binding").await;
            assert_eq!(intake.next(9).await.expect("a delivery")[0].message.exchange, "amq.topic");
            settler.close().await;
            let (_intake, settler) = broker.consume(&subscription).await.expect("it is there already");
            settler.close().await;
            node.delete(&queue).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_shape_is_not_declared_again() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = unique("shaped");
        node.declare(&queue, &[("x-max-length", AMQPValue::LongInt(10))]).await;
        let declare = Some(Declare { queue_type: QueueType::Quorum, bind: Vec::new() });
        let error = refusal(&node.config(), &Subscription { declare, ..subscription(&queue) }).await;
        assert!(error.needs_a_person(), "{error:?}");
        assert!(error.to_string().contains("leave out declare"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_is_wrong_and_never_the_password() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let error = refusal(&node.config_as("guest", "mistyped"), &subscription("any")).await;
        assert!(error.needs_a_person() && error.to_string().contains("check user and password"), "{error}");
        assert!(!error.to_string().contains("mistyped"), "{error}");
        let nowhere = config(&[&node.uri().replace("%2f", "nowhere")]);
        let error = refusal(&nowhere, &subscription("any")).await;
        assert!(error.needs_a_person() && error.to_string().contains("virtual host"), "{error}");
        assert!(!error.to_string().contains("guest:guest"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_or_silent_is_unavailable_within_the_time_allowed() {
    within(60, async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let silent_port = silent.local_addr().expect("bound").port();
        let mut config = config(&[&format!("amqp://guest:guest@127.0.0.1:{silent_port}/%2f")]);
        config.connect_timeout = Duration::from_secs(1);
        let before = Instant::now();
        let error = refusal(&config, &subscription("any")).await;
        assert!(!error.needs_a_person() && before.elapsed() < Duration::from_secs(5), "{error}");
        let (mut peer, _) = silent.accept().await.expect("it did connect");
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.expect("and hung up afterwards");
        drop((peer, silent));
        let error = refusal(&config, &subscription("any")).await;
        assert!(!error.needs_a_person() && error.to_string().contains("refused"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_made_up_for_by_another() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("rotated").await;
        let broker = rabbit(&config(&["amqp://guest:guest@127.0.0.1:1/%2f", node.uri()]));
        for _ in 0..3 {
            let (_intake, settler) = broker.consume(&subscription(&queue)).await.expect("the other one");
            settler.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_is_noticed_by_the_heartbeat() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = node.queue("frozen").await;
        node.publish(&queue, &[message("held")]).await;
        let line = Proxy::to(node.port()).await;
        let mut config = config(&[&line.uri(node.uri(), node.port())]);
        config.heartbeat = Duration::from_secs(1);
        let (mut intake, mut settler) = rabbit(&config).consume(&subscription(&queue)).await.expect("consuming");
        let held = intake.next(1).await.expect("a delivery");
        line.freeze();
        let ended = within(20, intake.next(1)).await.expect_err("dead");
        assert!(matches!(ended, Ended::Lost { .. }), "{ended:?}");
        assert!(settler.ack_through(held[0].tag).await.is_err());
        within(20, settler.close()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_broker_ends_the_subscription_and_takes_a_new_one() {
    within(400, async {
        let node = rabbit::Rabbit::own(&[]).await;
        let queue = node.queue("survivor").await;
        node.publish(&queue, &[message("one"), message("two")]).await;
        let broker = rabbit(&node.config());
        for how in ["stop", "kill"] {
            let (mut intake, mut settler) = broker.consume(&subscription(&queue)).await.expect("consuming");
            take(&mut intake, 2).await;
            if how == "stop" {
                node.stop().await
            } else {
                node.kill().await
            }
            let ended = within(30, intake.next(9)).await.expect_err("the broker is gone");
            assert!(matches!(ended, Ended::Lost { .. }), "{how}: {ended:?}");
            assert!(settler.ack_through(1).await.is_err(), "{how}");
            within(30, settler.close()).await;
            let error = refusal(&node.config(), &subscription(&queue)).await;
            assert!(!error.needs_a_person(), "{how}: {error}");
            node.start().await;
            let (mut intake, settler) = broker.consume(&subscription(&queue)).await.expect("consuming again");
            let again = take(&mut intake, 2).await;
            assert_eq!(again.iter().map(|delivery| delivery.tag).collect::<Vec<_>>(), [1, 2], "{how}");
            settler.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_held_for_too_long_ends_the_subscription_and_says_what_to_do() {
    within(400, async {
        let node = rabbit::Rabbit::own(&[]).await;
        for setting in ["consumer_timeout", "channel_tick_interval"] {
            node.ctl(&["eval", &format!("application:set_env(rabbit, {setting}, 1000).")]).await;
        }
        let queue = unique("impatient");
        node.declare(&queue, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
        node.publish(&queue, &[message("one")]).await;
        let (mut intake, mut settler) = rabbit(&node.config()).consume(&subscription(&queue)).await.expect("consuming");
        intake.next(1).await.expect("a delivery");
        let ended = within(60, intake.next(1)).await.expect_err("held for too long");
        match &ended {
            Ended::Refused { reason, .. } => {
                assert!(reason.starts_with("406"), "{reason}");
                assert!(settler.ack_through(1).await.is_err());
            }
            // RabbitMQ 4.3 only takes the messages back.
            ended => assert!(matches!(ended, Ended::Cancelled { .. }), "{ended:?}"),
        }
        assert!(ended.to_string().contains("lower flush.age"), "{ended}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_private_authority_works_and_without_it_says_what_is_missing() {
    within(400, async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pem = Certificates::new(directory.path());
        let (ca, cert, key) = (text(&pem.ca), text(&pem.cert), text(&pem.key));
        let (api_port, api) = api_over_tls(&pem);
        let conf = write(directory.path(), "conf", &api);
        let tls = ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key];
        let with_api = ["--plugins", "rabbitmq_management", "--conf", text(&conf)];
        let node = rabbit::Rabbit::own(&[&tls[..], &with_api].concat()).await;
        let queue = node.queue("secret").await;
        node.publish(&queue, &[message("enciphered")]).await;
        let mut config = config(&[&format!("amqps://guest:guest@localhost:{}/%2f", node.tls_port())]);
        let error = refusal(&config, &subscription(&queue)).await;
        assert!(error.needs_a_person() && error.to_string().contains("rabbitmq.ca"), "{error}");
        config.management = Some(Secret::new(format!("https://guest:guest@localhost:{api_port}")));
        let silent = survey(&config, surroundings(), &[]).await.expect("configured").expect_err("an unknown authority");
        assert!(silent.reason.contains("certificate"), "{silent}");
        config.ca = Some(pem.ca.clone());
        let told = survey(&config, surroundings(), &[]).await.expect("configured").expect("over TLS");
        assert!(told.version.is_some(), "{told:?}");
        let (mut intake, settler) = rabbit(&config).consume(&subscription(&queue)).await.expect("over TLS");
        assert_eq!(intake.next(1).await.expect("a delivery")[0].message.body, b"enciphered");
        wire::publish(node.port(), &[broken_content_type(&queue)]).await;
        let mended = intake.next(1).await.expect("a delivery").remove(0).message;
        assert_eq!(mended.properties.content_type.as_deref(), Some("?"));
        assert_eq!(mended.unreadable, [Unreadable::new("content_type", &[0xff])]);
        settler.close().await;
        (config.cert, config.key) = (Some(pem.client_cert.clone()), Some(pem.client_key.clone()));
        let (_intake, settler) = rabbit(&config).consume(&subscription(&queue)).await.expect("showing a certificate");
        settler.close().await;
        let found = inspect(&config, surroundings(), std::slice::from_ref(&queue), false).await.expect("inspecting");
        assert!(found[0].outcome.is_ok(), "{found:?}");
        config.ca = Some(directory.path().join("nowhere.pem"));
        let error = refusal(&config, &subscription(&queue)).await;
        assert!(error.needs_a_person() && error.to_string().contains("nowhere.pem"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspection_tells_the_version_and_which_queues_can_be_read() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let (full, other, missing) = (node.queue("full").await, node.queue("other").await, unique("missing"));
        node.publish(&full, &[message("one"), message("two")]).await;
        let (user, password) = node.user("inspector", ["^$", "^$", &format!("^{full}$")]).await;
        let config = node.config_as(&user, &password);
        let queues = [full.clone(), other, missing];
        let found = inspect(&config, surroundings(), &queues, true)
            .await
            .expect("inspecting")
            .remove(0)
            .outcome
            .expect("connected");
        assert_eq!(found.product.as_deref(), Some("RabbitMQ"));
        assert!(found.version.expect("a version").starts_with(|first: char| first.is_ascii_digit()));
        let [full_found, other_found, missing_found] = found.queues.as_slice() else { panic!("three queues") };
        assert!(
            matches!(full_found.existence, Existence::Present { messages: 2, consumers: 0 } | Existence::Hidden { .. }),
            "{full_found:?}"
        );
        assert_eq!(full_found.readable, Some(Ok(())));
        assert!(matches!(other_found.readable, Some(Err(ConnectError::Refused { .. }))), "{other_found:?}");
        assert_eq!((&missing_found.existence, &missing_found.readable), (&Existence::Absent, &None));
        eventually("both messages are still there", || async { node.ready(&full).await == 2 }).await;
        let away = config_of_nobody();
        let found = inspect(&away, surroundings(), &queues, true).await.expect("inspecting");
        assert!(matches!(found[0].outcome, Err(ConnectError::Unavailable { .. })), "{found:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_that_the_broker_makes_larger_than_a_frame_are_handed_out_unread() {
    within(180, async {
        let node = rabbit::Rabbit::shared().await;
        let queue = unique("full");
        node.declare(&queue, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
        // A frame of 128 KiB: 8 bytes around it, 12 before the properties, flags, table, and a header with a long text.
        let value = vec![b'x'; (128 << 10) - 8 - 12 - 2 - 4 - 3 - 4];
        let table = wire::long(&[&b"\x01kS"[..], &wire::long(&value)].concat());
        let full = Raw { properties: wire::properties(wire::HEADERS, &[table]), ..broken_content_type(&queue) };
        wire::publish(node.port(), &[full, broken_content_type(&queue)]).await;
        let (mut intake, mut settler) = rabbit(&node.config()).consume(&subscription(&queue)).await.expect("consuming");
        let taken = take(&mut intake, 2).await;
        assert_eq!(taken[0].message.unreadable, []);
        assert_eq!(taken[0].message.properties.headers.as_ref().map(Vec::len), Some(1));
        // Quorum queues count deliveries in a header.
        settler.requeue_all().await.expect("requeue");
        let again = take(&mut intake, 2).await;
        assert_eq!((again[0].tag, &*again[0].message.body), (3, &b"{}"[..]));
        assert_eq!(again[0].message.properties, Properties::default());
        let [unread] = &*again[0].message.unreadable else { panic!("one part, all of it") };
        assert!(unread.place == "properties" && unread.bytes.len() > 128 << 10, "{}", unread.bytes.len());
        assert_eq!(again[1].message.unreadable, [Unreadable::new("content_type", &[0xff])]);
        settler.close().await;
        node.delete(&queue).await;
    })
    .await;
}

fn broken_content_type(queue: &str) -> Raw {
    Raw {
        exchange: Vec::new(),
        routing_key: queue.as_bytes().to_vec(),
        properties: wire::properties(wire::CONTENT_TYPE, &[wire::short(&[0xff])]),
        body: b"{}".to_vec(),
    }
}

fn config_of_nobody() -> RabbitMq {
    config(&["amqp://guest:guest@127.0.0.1:1/%2f"])
}

async fn publish(node: &rabbit::Rabbit, exchange: &str, routing_key: &str, body: &str) {
    use parqueduct::broker::publish::{Publisher, PublisherLimits};
    let mut publisher = Publisher::connect(&node.config(), surroundings(), "test", PublisherLimits::default())
        .await
        .expect("connecting");
    publisher.publish(exchange, routing_key, &message(body)).await.expect("publishing");
    publisher.finish().await.expect("publishing");
    publisher.close().await;
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A port, and what a node must be told to serve its management API there, encrypted.
fn api_over_tls(pem: &Certificates) -> (u16, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    let files = [("cacertfile", &pem.ca), ("certfile", &pem.cert), ("keyfile", &pem.key)];
    let mut conf = format!("management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {port}\n");
    for (name, file) in files {
        conf.push_str(&format!("management.ssl.{name} = {}\n", file.display()));
    }
    (port, conf)
}

/// An authority of our own, and what it signed, as PEM files.
struct Certificates {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    client_cert: PathBuf,
    client_key: PathBuf,
}

impl Certificates {
    fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let ca_key = KeyPair::generate().expect("a key");
        let ca = write(directory, "ca.pem", &params.self_signed(&ca_key).expect("a certificate").pem());
        let issuer = Issuer::new(params, ca_key);
        let signed = |name: &str, host: &str| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a valid name");
            params.distinguished_name.push(DnType::CommonName, host);
            let cert = params.signed_by(&key, &issuer).expect("a certificate").pem();
            let key = key.serialize_pem();
            (write(directory, &format!("{name}.pem"), &cert), write(directory, &format!("{name}.key"), &key))
        };
        let (cert, key) = signed("server", "localhost");
        let (client_cert, client_key) = signed("client", "parqueduct");
        Self { ca, cert, key, client_cert, client_key }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("writing a PEM file");
    path
}
