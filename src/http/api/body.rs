//! What is asked in the query, and answers.

use axum::body::Body;
use axum::extract::{FromRequestParts, Query};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

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
