//! What is asked in the query, and answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::problem::Problem;
use super::shape::object;

pub(super) const JSON: &str = "application/json";
pub(super) const LINES: &str = "application/x-ndjson";

/// The query, whose every name must be known.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Problem::bad_request(format!("the query: {}", rejection.body_text()))),
        }
    }
}

/// The body, which is JSON of that shape, every name of it known.
pub(super) struct Posted<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(JSON) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send the body as {JSON}")));
        }
        let max = api.config.body_max;
        let body = axum::body::to_bytes(request.into_body(), max).await.map_err(|_| {
            let detail = format!("a body has at most {max} bytes (http.body_max), and all that its length promises");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        })?;
        let mut deserializer = serde_json::Deserializer::from_slice(&body);
        let read = object(&mut deserializer).and_then(|asked| deserializer.end().map(|()| asked));
        read.map(Self).map_err(|error| {
            let status = match error.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            Problem::new(status, format!("the body: {error}"))
        })
    }
}

/// The same with another status and the place of what it made or began.
pub(super) fn json_at<T: Serialize>(status: StatusCode, place: &str, value: &T) -> Response {
    let mut response = json(value);
    *response.status_mut() = status;
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// One value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    let text = serde_json::to_vec(value).expect("what we answer is JSON");
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// Values one a line, sent as they come. One that fails ends the answer in the middle, which the client notices.
pub(super) fn lines(lines: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    ([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response()
}

/// One value as a line of JSON.
pub(super) fn line<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, value).expect("what we answer is JSON, and a Vec takes all bytes");
    out.push(b'\n');
}

/// RFC 3339 in UTC, to the microsecond.
pub(super) fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An instant that was asked for.
pub(super) fn parse_instant(name: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match DateTime::parse_from_rfc3339(text) {
        Ok(instant) => Ok(Some(instant.to_utc())),
        Err(_) => Err(Problem::bad_request(format!("{name}: write an instant such as 2026-01-31T10:15:00Z"))),
    }
}
