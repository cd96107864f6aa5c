//! An S3 API over HTTP, in process, on a random port of 127.0.0.1, with an atomic conditional PUT, signed requests, and
//! faults on demand. It runs on threads of its own, so a test may pause its time, block or end as it likes.

mod bucket;
mod faults;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parqueduct::config::{self, S3, S3Encryption, Secret, StorePlace};
use s3s::auth::SimpleAuth;
use s3s::dto::StreamingBlob;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use bucket::Bucket;
use faults::Faults;
pub use faults::{Call, Fault, Rule};

pub const BUCKET: &str = "lake";
pub const ACCESS_KEY: &str = "AKIDTEST";
pub const SECRET_KEY: &str = "SECRETTEST";

/// A running server; ends when dropped.
pub struct S3Server {
    address: SocketAddr,
    bucket: Arc<Bucket>,
    faults: Arc<Faults>,
    away: watch::Sender<bool>,
    is_away: watch::Receiver<bool>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl S3Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("threads can be started");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("is bound");
        listener.set_nonblocking(true).expect("can be set");
        let (bucket, faults) = (Arc::new(Bucket::default()), Arc::new(Faults::default()));
        let mut builder = S3ServiceBuilder::new(bucket::Api(Arc::clone(&bucket)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let site = Site { service: builder.build(), faults: Arc::clone(&faults) };
        let (away, wanted) = watch::channel(false);
        let (told, is_away) = watch::channel(false);
        runtime.spawn(accept(address, listener, site, wanted, told));
        Self { address, bucket, faults, away, is_away, runtime: Some(runtime) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A store in this server, below `prefix`, that gives up within seconds.
    pub fn config(&self, prefix: &str) -> config::Store {
        config(&self.endpoint(), prefix)
    }

    /// Adds a fault. Rules are asked in the order they were added; the first that applies is the one that happens.
    pub fn inject(&self, rule: Rule) {
        self.faults.add(rule);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.faults.clear();
    }

    /// While `true`, nothing listens on the port and all connections are cut. Returns when that is so.
    pub fn outage(&self, away: bool) {
        self.away.send_replace(away);
        while *self.is_away.borrow() != away {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// While `true`, `If-None-Match` is accepted and ignored, as Garage does.
    pub fn ignore_conditions(&self, ignore: bool) {
        self.bucket.ignore_conditions(ignore);
    }

    /// Keys a listing gives at once; 1000 unless told.
    pub fn page_max(&self, keys: usize) {
        self.bucket.set_page_max(keys);
    }

    /// Requests that arrived, whatever became of them.
    pub fn requests(&self, call: Call) -> usize {
        self.faults.requests(call)
    }

    /// Faults that happened.
    pub fn injected(&self) -> usize {
        self.faults.injected()
    }

    /// How often that fault happened; of those with an effect, once they had it.
    pub fn happened(&self, fault: Fault) -> usize {
        self.faults.happened(fault)
    }

    /// Times an object was replaced by other bytes.
    pub fn overwrites(&self) -> usize {
        self.bucket.overwrites()
    }

    /// The keys that hold an object, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.bucket.keys()
    }

    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.bucket.object(key)
    }

    /// The server-side encryption the object was put with: `<algorithm>/<key>/<bucket key>`.
    pub fn encryption(&self, key: &str) -> Option<String> {
        self.bucket.encryption(key)
    }

    /// Puts an object without a request.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.bucket.put(key, bytes.into());
    }

    /// Writes every object below `prefix` to a file of its key below `dir`; one that is deleted meanwhile is left out.
    pub fn dump(&self, prefix: &str, dir: &Path) {
        for key in self.keys().into_iter().filter(|key| key.starts_with(prefix)) {
            let Some(bytes) = self.object(&key) else { continue };
            let file = dir.join(&key);
            std::fs::create_dir_all(file.parent().expect("a key is below the directory")).expect("can be made");
            std::fs::write(file, bytes).expect("can be written");
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A store at any S3 endpoint with this module's bucket and keys.
pub fn config(endpoint: &str, prefix: &str) -> config::Store {
    let s3 = S3 {
        bucket: BUCKET.into(),
        prefix: prefix.into(),
        endpoint: Some(endpoint.into()),
        region: Some("us-east-1".into()),
        access_key_id: Some(Secret::new(ACCESS_KEY)),
        secret_access_key: Some(Secret::new(SECRET_KEY)),
        session_token: None,
        profile: None,
        path_style: true,
        encryption: S3Encryption::Default,
    };
    config::Store {
        place: StorePlace::S3(s3),
        request_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        retries_max: 6,
        retry_timeout: Duration::from_secs(20),
        put_concurrency: 4,
        ca: None,
        allow_http: true,
    }
}

#[derive(Clone)]
struct Site {
    service: S3Service,
    faults: Arc<Faults>,
}

/// Serves until the runtime ends; during an outage the port is closed.
async fn accept(
    address: SocketAddr,
    listener: std::net::TcpListener,
    site: Site,
    mut wanted: watch::Receiver<bool>,
    told: watch::Sender<bool>,
) {
    let mut listener = Some(TcpListener::from_std(listener).expect("is a listener"));
    let mut connections = JoinSet::new();
    loop {
        let away = *wanted.borrow_and_update();
        if away {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("nobody takes the port meanwhile"));
        }
        told.send_replace(away);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            Some(accepted) = next(&listener) => {
                let site = site.clone();
                connections.spawn(serve(accepted, site));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn next(listener: &Option<TcpListener>) -> Option<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn serve(stream: tokio::net::TcpStream, site: Site) {
    let service = hyper::service::service_fn(move |request| respond(site.clone(), request));
    // Ends with an error when a fault cut the connection: that is what was asked for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection without an answer.
async fn respond(site: Site, request: Request<Incoming>) -> Result<Response<s3s::Body>, std::io::Error> {
    let cut = || std::io::Error::other("cut by the test");
    let call = Call::of(request.method(), request.uri());
    let fault = site.faults.next(call, request.uri().path());
    if let Some(fault) = fault.filter(|fault| !fault.has_effect()) {
        site.faults.count(fault);
    }
    match fault {
        Some(Fault::SlowDown) => return Ok(refuse(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::InternalError) => return Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::Conflict) => return Ok(refuse(StatusCode::CONFLICT, "ConditionalRequestConflict")),
        Some(Fault::Precondition) => return Ok(refuse(StatusCode::PRECONDITION_FAILED, "PreconditionFailed")),
        Some(Fault::Forbidden) => return Ok(refuse(StatusCode::FORBIDDEN, "AccessDenied")),
        Some(Fault::Closed) => return Err(cut()),
        Some(Fault::NoAnswer) => return std::future::pending().await,
        _ => {}
    }
    let response = hyper::service::Service::call(&site.service, request).await.map_err(std::io::Error::other)?;
    if let Some(fault) = fault {
        site.faults.count(fault);
    }
    match fault {
        Some(Fault::AnswerLost) => Err(cut()),
        Some(Fault::AnswerNever) => std::future::pending().await,
        Some(Fault::ErrorAfterEffect) => Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::SlowBody { per_chunk }) => Ok(response.map(|body| rechunk(body, per_chunk, usize::MAX))),
        Some(Fault::CutBody { after }) => Ok(response.map(|body| rechunk(body, Duration::ZERO, after))),
        _ => Ok(response),
    }
}

fn refuse(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the test</Message></Error>");
    let mut response = Response::new(s3s::Body::from(xml));
    *response.status_mut() = status;
    response
}

/// Sends `body` in chunks of 64 KiB, each after a wait, and breaks off after `bytes_max`.
fn rechunk(body: s3s::Body, wait: Duration, bytes_max: usize) -> s3s::Body {
    const CHUNK: usize = 64 * 1024;
    let pieces = StreamingBlob::from(body).flat_map(|bytes| {
        let bytes = bytes.unwrap_or_default();
        let starts: Vec<_> = (0..bytes.len()).step_by(CHUNK).collect();
        futures_util::stream::iter(starts).map(move |start| bytes.slice(start..bytes.len().min(start + CHUNK)))
    });
    let mut left = bytes_max;
    let limited = pieces.then(move |piece| {
        let cut = piece.len() > left;
        left = left.saturating_sub(piece.len());
        async move {
            tokio::time::sleep(wait).await;
            if cut { Err(std::io::Error::other("cut by the test")) } else { Ok(piece) }
        }
    });
    s3s::Body::from(StreamingBlob::wrap(limited))
}
