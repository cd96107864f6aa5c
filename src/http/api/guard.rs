//! What every request passes before its operation and after it: an id, a token, an allowance, a role, a form of the
//! answer, a time limit; and headers that keep what is answered out of the wrong hands.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{Instrument, debug, error, info_span};

use super::accept::choose;
use super::access::{Caller, Refusal};
use super::problem::{PROBLEM_TYPE, Problem};
use super::{Api, DOCUMENT_PATH};
use crate::config::Role;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a request that is taken over from its sender.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What is sent with every answer: it is nobody's page, frame or script, and no cache keeps it.
const PROTECTION: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// The content type that an operation is to answer with.
#[derive(Clone, Debug)]
pub(super) struct Form(pub(super) Arc<str>);

/// The outermost: every answer of the API leaves through it.
pub(super) async fn frame(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| (api.parts.ulid)().to_string());
    let (method, path) = (request.method().clone(), path_of(&request));
    let span = info_span!("request", id);
    let limit = api.config.request_timeout;
    let answered = async {
        let answer = AssertUnwindSafe(enter(&api, request, next)).catch_unwind();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(_panic)) => {
                error!(%method, path, "a request made the program panic; it goes on without it");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it failed; the log of the program says why")
                    .into_response()
            }
            Err(_) => {
                Problem::unavailable(format!("it took longer than {} s; ask for less", limit.as_secs())).into_response()
            }
        }
    };
    let mut response = answered.instrument(span).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = explained(response, &id);
    }
    debug!(id, %method, path, status = status.as_u16(), "answered");
    let headers = response.headers_mut();
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Whether the sender may come in at all.
async fn enter(api: &Api, mut request: Request, next: Next) -> Response {
    if api.access.is_open() && !names_this_machine(request.headers()) {
        let detail = "without tokens the API answers to the names of this machine only: localhost, 127.0.0.1, [::1]";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response();
    }
    let now = Instant::now();
    let admitted = match path_of(&request) == DOCUMENT_PATH {
        true => api.access.admit_stranger(now),
        false => {
            let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
            api.access.admit(authorization, now)
        }
    };
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refused(&refusal).into_response(),
    }
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::NoToken => {
            Problem::new(StatusCode::UNAUTHORIZED, "send a token of [[http.token]]: Authorization: Bearer TOKEN")
        }
        Refusal::UnknownToken => Problem::new(StatusCode::UNAUTHORIZED, "the token is not one of [[http.token]]"),
        Refusal::TooMany { retry_after } => {
            let seconds = whole_seconds(*retry_after);
            let detail = format!("more requests than http.requests_max; go on in {seconds} s");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds)
        }
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

/// Around each operation: whether this caller may, and in which form the answer is given.
pub(super) async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // A method that the path does not have: the router says so.
    let Some(rules) = api.rules.get(&(method, route)) else { return next.run(request).await };
    let caller = request.extensions().get::<Caller>().cloned().expect("who comes here was admitted");
    if let Some(needed) = rules.role.filter(|needed| caller.role < *needed) {
        return lacking(&api, &caller, needed).into_response();
    }
    let Some(form) = choose(request.headers(), &rules.offers) else {
        let detail = format!("it can be had as {}", rules.offers.join(", "));
        return Problem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response();
    };
    request.extensions_mut().insert(Form(form.into()));
    next.run(request).await
}

fn lacking(api: &Api, caller: &Caller, needed: Role) -> Problem {
    if api.access.is_open() {
        return Problem::forbidden("without tokens the API only reads: add [[http.token]] to the configuration");
    }
    Problem::forbidden(format!(
        "it needs the role {}, and {} is a {}",
        needed.as_str(),
        caller.name,
        caller.role.as_str()
    ))
}

/// An error as a problem with the request's id, also where the router said it.
fn explained(response: Response, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| unexplained(parts.status)).request_id(id);
    let mut response = problem.into_response();
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = parts.headers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    debug_assert_eq!(
        response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
        Some(PROBLEM_TYPE.as_bytes())
    );
    response
}

/// What the router refuses without a word of ours.
fn unexplained(status: StatusCode) -> Problem {
    let detail = match status {
        StatusCode::NOT_FOUND => format!("the API has no such path; {DOCUMENT_PATH} lists those it has"),
        StatusCode::METHOD_NOT_ALLOWED => "the header Allow says what can be done with it".to_owned(),
        StatusCode::BAD_REQUEST => "the path or the query cannot be read".to_owned(),
        _ => "the request is refused".to_owned(),
    };
    Problem::new(status, detail)
}

/// As the sender wrote it: the router of the API sees paths without their root.
fn path_of(request: &Request) -> String {
    let original = request.extensions().get::<axum::extract::OriginalUri>();
    original.map_or_else(|| request.uri().path(), |original| original.path()).to_owned()
}

/// The id that the sender gave, if it can stand in a log.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(fine)).then(|| id.to_owned())
}

/// Whether `Host` is a name of this machine: a page from elsewhere can make a browser ask us under a name of its own
/// (DNS rebinding), but not under one of these.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_taken_for_it() {
        let named = |host: &'static str| {
            names_this_machine(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]))
        };
        for host in ["localhost", "LOCALHOST:9410", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:9410"] {
            assert!(named(host), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "192.0.2.1:9410", "[2001:db8::1]", "127.0.0.1.example.org"]
        {
            assert!(!named(host), "{host}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn an_id_that_cannot_stand_in_a_log_is_not_taken_over() {
        let id = |id: &'static str| request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(id))]));
        assert_eq!(id("a-1_b.C").as_deref(), Some("a-1_b.C"));
        assert_eq!([id(""), id("a b"), id("a=\"b\"")], [None, None, None]);
        assert_eq!(id(concat!("0123456789012345678901234567890123456789", "01234567890123456789012345")), None);
    }
}
