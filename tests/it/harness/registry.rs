//! A schema registry: the HTTP API of Confluent's as far as clients of schemas use it, with faults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// What the registry does instead of answering well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Takes so long for each answer.
    Slow(Duration),
    Error500,
    /// A page for people, with status 200.
    Page,
    /// The answer ends in the middle.
    CutOff,
    /// A schema that is none, and looks like one to those who do not look into it.
    NoSchema,
    /// Says that there is nothing, as a proxy does that does not know the path.
    Proxy404,
    Redirect,
    Unauthorized,
    /// More than anybody wants to read.
    Endless,
}

/// The API on a port of its own.
pub struct RegistryServer {
    pub address: SocketAddr,
    site: Arc<Site>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Default)]
struct Site {
    fault: Mutex<Option<Fault>>,
    /// By id: type, text, references, subjects.
    schemas: Mutex<BTreeMap<u32, Value>>,
    asked: AtomicU64,
    authorization: Mutex<Option<String>>,
}

impl RegistryServer {
    pub fn start() -> Self {
        Self::serve(Arc::default(), (Ipv4Addr::LOCALHOST, 0).into())
    }

    fn serve(site: Arc<Site>, address: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket can be");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&site));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, site, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a schema under a subject; `kind` is AVRO, PROTOBUF or JSON, and `references` are names and subjects.
    pub fn register(&self, id: u32, kind: &str, text: &str, subject: &str, references: &[(&str, &str)]) {
        let references: Vec<Value> =
            references.iter().map(|(name, subject)| json!({"name": name, "subject": subject, "version": 1})).collect();
        let mut schema = json!({"schema": text, "references": references, "subject": subject});
        if kind != "AVRO" {
            schema["schemaType"] = json!(kind);
        }
        self.site.schemas.lock().expect("not poisoned").insert(id, schema);
    }

    /// Does so from now on; `None`: answers well.
    pub fn fault(&self, fault: Option<Fault>) {
        *self.site.fault.lock().expect("not poisoned") = fault;
    }

    /// Asks for that header from now on.
    pub fn require(&self, authorization: &str) {
        *self.site.authorization.lock().expect("not poisoned") = Some(authorization.to_owned());
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.site.asked.load(Relaxed)
    }

    /// Goes away: nobody listens at the port.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// Comes back at the same port.
    pub fn come_back(&mut self) {
        *self = Self::serve(Arc::clone(&self.site), self.address);
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    site.asked.fetch_add(1, Relaxed);
    let fault = *site.fault.lock().expect("not poisoned");
    let respond = |status: StatusCode, body: Body| {
        let response = Response::builder().status(status);
        response.header(header::CONTENT_TYPE, "application/vnd.schemaregistry.v1+json").body(body).expect("a response")
    };
    let told = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let asked = site.authorization.lock().expect("not poisoned").clone();
    let status = match fault {
        Some(Fault::Slow(wait)) => {
            tokio::time::sleep(wait).await;
            StatusCode::OK
        }
        Some(Fault::Error500) => return respond(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error_code":50001}"#.into()),
        Some(Fault::Page) => return respond(StatusCode::OK, "<html>maintenance</html>".into()),
        Some(Fault::Proxy404) => return respond(StatusCode::NOT_FOUND, "no such route".into()),
        Some(Fault::Redirect) => {
            let moved = Response::builder().status(StatusCode::FOUND).header(header::LOCATION, "/elsewhere");
            return moved.body(Body::empty()).expect("a response");
        }
        Some(Fault::Endless) => {
            let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
            return respond(StatusCode::OK, Body::from_stream(chunks));
        }
        Some(Fault::Unauthorized) => StatusCode::UNAUTHORIZED,
        _ if asked.is_some() && asked.as_deref() != told => StatusCode::UNAUTHORIZED,
        _ => StatusCode::OK,
    };
    if status == StatusCode::UNAUTHORIZED {
        return respond(status, r#"{"error_code":40101,"message":"who are you"}"#.into());
    }
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let schemas = site.schemas.lock().expect("not poisoned").clone();
    let found = match parts[..] {
        ["schemas", "ids", id] => id.parse().ok().and_then(|id: u32| schemas.get(&id).cloned()).map(|mut schema| {
            schema.as_object_mut().expect("an object").remove("subject");
            schema
        }),
        ["schemas", "ids", id, "subjects"] => {
            id.parse().ok().and_then(|id: u32| schemas.get(&id)).map(|schema| json!([schema["subject"]]))
        }
        ["subjects", subject, "versions", "1"] => schemas.values().find(|schema| schema["subject"] == subject).cloned(),
        _ => None,
    };
    let Some(mut found) = found else {
        return respond(StatusCode::NOT_FOUND, r#"{"error_code":40403,"message":"Schema not found"}"#.into());
    };
    if fault == Some(Fault::NoSchema) && found.get("schema").is_some() {
        found["schema"] = json!("{\"type\": \"rec");
    }
    let mut text = found.to_string();
    if fault == Some(Fault::CutOff) {
        text.truncate(text.len() / 2);
    }
    respond(StatusCode::OK, text.into())
}
