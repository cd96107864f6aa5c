//! One connection to a broker: which address, how encrypted, how long to try, and what a refusal means.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::Tokio;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::protocol::connection::AMQPMethod;
use lapin::protocol::{AMQPClass, AMQPError, parse_class};
use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::line::{self, Line};
use super::login::Logins;
use super::mender::Notes;
use super::{ConnectError, Ended, Surroundings};
use crate::config::RabbitMq;

/// Bytes of an AMQP frame we offer to take. Without it a broker that sets no limit would make the client library
/// allocate buffers of 32 times its own limit.
pub(super) const FRAME_BYTES_MAX: u32 = 131_072;

/// The brokers of one configuration, which stand for each other.
#[derive(Debug)]
pub(super) struct Brokers {
    /// As they were when the configuration was read; what a connection is opened with comes from `logins`.
    endpoints: Vec<Endpoint>,
    logins: Arc<Logins>,
    /// Where the next attempt begins: shards spread over the brokers.
    next: AtomicUsize,
    pub(super) connect_timeout: Duration,
    heartbeat: Duration,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// One address, with its credentials.
pub(super) struct Endpoint {
    pub(super) uri: AMQPUri,
    /// Host, port and virtual host, without the password: for people.
    pub(super) shown: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// An open connection with one channel. Both close when the last handle is dropped.
pub(super) struct Link {
    pub(super) connection: Arc<Connection>,
    pub(super) channel: Channel,
    /// Host, port and virtual host.
    pub(super) broker: String,
    /// What could not be read of deliveries.
    pub(super) notes: Arc<Notes>,
    /// Renews the token that the connection was opened with, if it was one.
    _keeper: JoinSet<()>,
}

/// What a broker says of itself in `connection.start` (AMQP 0-9-1, 1.4.2.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Greeting {
    pub(super) product: Option<String>,
    pub(super) version: Option<String>,
}

impl Brokers {
    pub(super) fn new(config: &RabbitMq, surroundings: Surroundings) -> Result<Self, ConnectError> {
        let endpoints = config.uris.iter().enumerate().map(|(index, uri)| {
            endpoint(uri.expose(), config.heartbeat).map_err(|reason| ConnectError::Refused {
                broker: format!("of rabbitmq.uris[{index}]"),
                reason,
                mend: "write amqp://user:password@host:5672/%2f, or amqps:// for TLS".into(),
            })
        });
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            logins: Arc::new(Logins::new(config, surroundings)),
            next: AtomicUsize::new(0),
            connect_timeout: config.connect_timeout,
            heartbeat: config.heartbeat,
            ca: config.ca.clone(),
            cert: config.cert.clone(),
            key: config.key.clone(),
        })
    }

    /// How long a request may take that the broker answers at once: by then a dead connection is found out.
    pub(super) fn patience(&self) -> Duration {
        self.heartbeat * 2 + Duration::from_secs(1)
    }

    /// Tries each broker once. Unavailable outweighs refused: it may be the one that would have us.
    pub(super) async fn connect(&self, name: &str) -> Result<Link, ConnectError> {
        self.connect_to_one(name, false).await.map(|(link, _)| link)
    }

    /// The same, with what the broker says of itself.
    pub(super) async fn connect_greeted(&self, name: &str) -> Result<(Link, Greeting), ConnectError> {
        let (link, dial) = self.connect_to_one(name, true).await?;
        Ok((link, take(&dial.greeting).unwrap_or_default()))
    }

    async fn connect_to_one(&self, name: &str, greeted: bool) -> Result<(Link, Arc<Dial>), ConnectError> {
        let first = self.next.fetch_add(1, Relaxed);
        let mut worst: Option<ConnectError> = None;
        for index in 0..self.endpoints.len() {
            match self.attempt((first + index) % self.endpoints.len(), name, greeted).await {
                Ok(opened) => return Ok(opened),
                Err(error) if worst.as_ref().is_none_or(ConnectError::needs_a_person) => worst = Some(error),
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or_else(|| ConnectError::Refused {
            broker: "(none)".into(),
            reason: "no address is configured".into(),
            mend: "set rabbitmq.uri".into(),
        }))
    }

    /// Connects to each broker, and tells what it says of itself.
    pub(super) async fn greet(&self, name: &str) -> Vec<(String, Result<(Link, Greeting), ConnectError>)> {
        let mut greetings = Vec::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let greeted = self.attempt(index, name, true).await;
            let greeted = greeted.map(|(link, dial)| (link, take(&dial.greeting).unwrap_or_default()));
            greetings.push((endpoint.shown.clone(), greeted));
        }
        greetings
    }

    /// Connects to one broker, with its credentials of this moment.
    async fn attempt(&self, index: usize, name: &str, greeted: bool) -> Result<(Link, Arc<Dial>), ConnectError> {
        let endpoint = self.logins.endpoint(index, &self.endpoints[index].shown).await?;
        let dial = self.dial(&endpoint, greeted).await?;
        let opened = self.open(&endpoint, name, Arc::clone(&dial)).await;
        if opened.as_ref().is_err_and(ConnectError::needs_a_person) {
            self.logins.distrust(&endpoint).await;
        }
        let mut link = opened?;
        link._keeper = self.logins.keep(index, &endpoint, &link.connection, self.patience());
        Ok((link, dial))
    }

    /// Opens a connection and a channel within the configured time.
    async fn open(&self, endpoint: &Endpoint, name: &str, dial: Arc<Dial>) -> Result<Link, ConnectError> {
        let open = async {
            let connection = connection(endpoint.uri.clone(), name, Arc::clone(&dial)).await?;
            let channel = connection.create_channel().await?;
            let (connection, broker) = (Arc::new(connection), endpoint.shown.clone());
            let notes = Arc::clone(&dial.notes);
            Ok(Link { connection, channel, broker, notes, _keeper: JoinSet::new() })
        };
        let opened = timeout(self.connect_timeout, open).await;
        let socket = take(&dial.socket);
        match opened {
            Ok(opened) => opened.map_err(|error| connect_error(&endpoint.shown, &error)),
            Err(_) => {
                // The client library's thread would wait for the silent peer for ever.
                let closed = socket.map(|socket| socket.shutdown(Shutdown::Both));
                tracing::debug!(broker = %endpoint.shown, ?closed, "gave up a connection that was not ready in time");
                let reason = format!("not ready within {:?}", self.connect_timeout);
                Err(ConnectError::Unavailable { broker: endpoint.shown.clone(), reason })
            }
        }
    }

    async fn dial(&self, endpoint: &Endpoint, greeted: bool) -> Result<Arc<Dial>, ConnectError> {
        let tls = match endpoint.uri.scheme {
            AMQPScheme::AMQP => OwnedTLSConfig::default(),
            AMQPScheme::AMQPS => self.tls(&endpoint.shown).await?,
        };
        let patience = self.connect_timeout;
        let (greeting, socket, notes) = Default::default();
        Ok(Arc::new(Dial { tls, patience, greeted, greeting, socket, notes }))
    }

    /// Reads the PEM files at each connection, so that renewed certificates are taken up.
    async fn tls(&self, broker: &str) -> Result<OwnedTLSConfig, ConnectError> {
        let cert_chain = match &self.ca {
            None => None,
            Some(path) => Some(String::from_utf8_lossy(&read("ca", path, broker).await?).into_owned()),
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 {
                pem: read("cert", cert, broker).await?,
                key: read("key", key, broker).await?,
            }),
            _ => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    }
}

/// How the client library is to get its socket, and what we learn on the way.
struct Dial {
    tls: OwnedTLSConfig,
    patience: Duration,
    /// Asks for the greeting too, at the price of a second connection: the client library keeps it to itself.
    greeted: bool,
    greeting: Mutex<Option<Greeting>>,
    /// A second handle on the socket, to close it behind the client library's back. Not for longer than the handshake:
    /// the peer would not see the socket close.
    socket: Mutex<Option<TcpStream>>,
    notes: Arc<Notes>,
}

/// Opens a connection over a socket that we dial, since the client library's own way knows no time limit.
async fn connection(uri: AMQPUri, name: &str, dial: Arc<Dial>) -> lapin::Result<Connection> {
    let tokio = Tokio::current();
    let properties = identity(name);
    let connecting = Connection::connector(
        uri,
        line::runtime(&tokio),
        async move |uri, _| {
            let open = async || {
                let host = (uri.authority.host.as_str(), uri.authority.port);
                let addresses: Vec<_> = tokio::net::lookup_host(host).await?.collect();
                let stream = AsyncTcpStream::connect(&tokio, addresses.as_slice()).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    put(&dial.socket, stream.get_ref().as_fd().try_clone_to_owned()?.into());
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, dial.tls.as_ref()).await,
                }
            };
            let attempt = async {
                if dial.greeted {
                    put(&dial.greeting, read_greeting(&mut open().await?).await?);
                }
                open().await
            };
            match timeout(dial.patience, attempt).await {
                Ok(stream) => Ok(AsyncTcpStream::Plain(Line::over(stream?, Arc::clone(&dial.notes)))),
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        },
        properties,
    );
    connecting.await
}

fn put<T>(slot: &Mutex<Option<T>>, value: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Sends the protocol header, and reads the `connection.start` that answers it; what is not understood is left out.
async fn read_greeting(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<Greeting> {
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    stream.flush().await?;
    // A frame: type (1 byte), channel (2), size (4), payload, end (1).
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]).min(FRAME_BYTES_MAX);
    let mut payload = vec![0; size as usize];
    stream.read_exact(&mut payload).await?;
    let mut greeting = Greeting::default();
    if let Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) = parse_class(payload.as_slice()) {
        let text = |name| Some(start.server_properties.inner().get(name)?.as_long_string()?.to_string());
        greeting = Greeting { product: text("product"), version: text("version") };
    }
    Ok(greeting)
}

async fn read(key: &str, path: &Path, broker: &str) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path).await.map_err(|error| ConnectError::Refused {
        broker: broker.to_owned(),
        reason: format!("cannot read {}: {error}", path.display()),
        mend: format!("put right rabbitmq.{key}"),
    })
}

/// Who we are, as operators see it.
fn identity(name: &str) -> ConnectionProperties {
    ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "parqueduct".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
}

pub(super) fn endpoint(uri: &str, heartbeat: Duration) -> Result<Endpoint, String> {
    let mut parsed: AMQPUri = uri.parse().map_err(|_| "the address is not a URI of AMQP".to_owned())?;
    // The parser takes an IPv6 address for no host at all, and falls back to localhost.
    let ipv6 = ipv6_literal(uri);
    if let Some(host) = ipv6 {
        parsed.authority.host = host.to_owned();
    }
    parsed.query.frame_max = Some(FRAME_BYTES_MAX);
    parsed.query.heartbeat = Some(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
    let host = ipv6.map_or_else(|| parsed.authority.host.clone(), |host| format!("[{host}]"));
    let shown = format!("{host}:{} (virtual host `{}`)", parsed.authority.port, parsed.vhost);
    Ok(Endpoint { uri: parsed, shown })
}

/// The address between the brackets of `scheme://user@[::1]:5672/`.
fn ipv6_literal(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

/// What a failed connection asks of the caller.
fn connect_error(broker: &str, error: &lapin::Error) -> ConnectError {
    let refused =
        |reason: String, mend: &str| ConnectError::Refused { broker: broker.to_owned(), reason, mend: mend.to_owned() };
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => match refusal.get_id() {
            // 541: something in the broker crashed, as when two channels declare a queue and consume it at the same instant.
            320 | 541 => ConnectError::Unavailable { broker: broker.to_owned(), reason: said(refusal) },
            403 => refused(said(refusal), "check user and password in rabbitmq.uri, or what takes their place"),
            530 => refused(said(refusal), "check the virtual host in rabbitmq.uri, and the user's permissions on it"),
            _ => refused(said(refusal), "see the broker's log"),
        },
        ErrorKind::IOError(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            refused(format!("TLS: {io}"), "check rabbitmq.ca, cert and key, and the name in the broker's certificate")
        }
        ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            refused(format!("TLS: {io}"), "check the PEM files of rabbitmq.ca, cert and key")
        }
        _ => ConnectError::Unavailable { broker: broker.to_owned(), reason: error.to_string() },
    }
}

/// What a refused request about `queue` asks of the caller.
pub(super) fn request_error(broker: &str, queue: &str, error: &lapin::Error) -> ConnectError {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return connect_error(broker, error) };
    let reason = said(refusal);
    let mend = match refusal.get_id() {
        // A queue on a node that is down is also "not found".
        404 if reason.contains("home node") => {
            return ConnectError::Unavailable { broker: broker.to_owned(), reason };
        }
        404 => format!("create the queue `{queue}` (or set declare), or name another in `queue`"),
        403 if reason.contains("exclusive") => format!("end the exclusive consumer of queue `{queue}`"),
        403 => format!("grant the user the permission named, on queue `{queue}`"),
        405 => format!("queue `{queue}` is exclusive to another connection: name another in `queue`"),
        406 => format!("queue `{queue}` exists in another shape: leave out declare, or delete the queue"),
        _ => return connect_error(broker, error),
    };
    ConnectError::Refused { broker: broker.to_owned(), reason, mend }
}

/// Why a live subscription ended, from the client library's error.
pub(super) fn ended(queue: &str, error: &lapin::Error) -> Ended {
    let (reason, mend) = match error.kind() {
        ErrorKind::ProtocolError(refusal) if refusal.get_id() == 320 => return Ended::Lost { reason: said(refusal) },
        ErrorKind::ProtocolError(refusal) if refusal.get_id() == 406 && text(refusal).contains("timeout") => {
            (said(refusal), "lower flush.age, or raise the broker's consumer_timeout")
        }
        ErrorKind::ProtocolError(refusal) => (said(refusal), "see the broker's log"),
        // What a message may hold is mended before it is parsed, so this is not expected. If it is a message all the same,
        // it comes back, and ends the next subscription as well.
        ErrorKind::ParsingError(_) => (
            "the broker sent a frame that cannot be read".into(),
            "if it comes again, take the message at the head of the queue off by other means, and report it",
        ),
        _ => return Ended::Lost { reason: error.to_string() },
    };
    Ended::Refused { queue: queue.to_owned(), reason, mend: mend.to_owned() }
}

/// The broker's own words, which begin with the name of the error.
fn text(refusal: &AMQPError) -> String {
    refusal.get_message().to_string()
}

fn said(refusal: &AMQPError) -> String {
    format!("{} {}", refusal.get_id(), text(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    #[test]
    fn an_address_is_shown_without_its_password() {
        let endpoint = endpoint("amqp://user:secret@broker.example/%2f", HEARTBEAT).expect("valid");
        assert_eq!(format!("{endpoint:?}"), "broker.example:5672 (virtual host `/`)");
        assert_eq!(endpoint.uri.query.heartbeat, Some(10));
        assert_eq!(endpoint.uri.query.frame_max, Some(FRAME_BYTES_MAX));
    }

    #[test]
    fn an_ipv6_address_is_not_taken_for_localhost() {
        let endpoint = endpoint("amqp://user:p%40ss@[2001:db8::1]:5673/v", HEARTBEAT).expect("valid");
        assert_eq!((endpoint.uri.authority.host.as_str(), endpoint.uri.authority.port), ("2001:db8::1", 5673));
        assert_eq!(endpoint.shown, "[2001:db8::1]:5673 (virtual host `v`)");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for uri in ["http://user:secret@host/", "user:secret@host"] {
            let reason = endpoint(uri, HEARTBEAT).expect_err("invalid");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
