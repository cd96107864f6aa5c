//! What went wrong with a request, as `application/problem+json` (RFC 9457). Never a secret, and never a value of an
//! event: texts are ours, and what a part says goes to the log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use crate::dlq::attempts::AttemptsError;
use crate::replay::plan::PlanError;
use crate::replay::{LettersError, PlanningError, ReplayError, TaskError};
use crate::store::StoreError;
use crate::store::flush::FlushError;

/// The content type of every error.
pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

/// What went wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Which kind of problem, for programs: a URN that does not change.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What it is this time, and what to do about it.
    detail: String,
    /// By which the log of the program names the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (slug, title) = kind_of(status);
        Self {
            kind: format!("urn:parqueduct:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            request_id: String::new(),
            retry_after: None,
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_SECONDS)
    }

    /// The store failed; what it said is for the log, for it may name what is not for everybody.
    pub(super) fn of_store(error: &StoreError) -> Self {
        let chain = crate::ingest::chain(error);
        if error.is_unavailable() {
            warn!(error = %chain, "the API cannot read the store");
            return Self::unavailable("the object store is unavailable; try again");
        }
        warn!(error = %chain, "the store refuses what the API asks of it");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the object store refuses it; the log of the program says why")
    }

    /// Dead letters could not be looked for.
    pub(super) fn of_search(error: &FlushError) -> Self {
        match error {
            FlushError::Store(error) => Self::of_store(error),
            other => {
                warn!(error = %crate::ingest::chain(other), "the API cannot tell which letters are recovered");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "a record of a flush cannot be read; the log of the program says which",
                )
            }
        }
    }

    /// A plan, a dry run or a job could not be made, or not be done.
    pub(super) fn of_replay(error: &ReplayError) -> Self {
        let conflict = || Self::new(StatusCode::CONFLICT, line(error));
        let wrong = || Self::bad_request(line(error));
        match error {
            ReplayError::Planning(PlanningError::Unreadable(_)) => Self::failed(error),
            ReplayError::Planning(PlanningError::Empty { .. } | PlanningError::NothingOfJob(_)) => conflict(),
            ReplayError::Planning(_)
            | ReplayError::Candidate(_)
            | ReplayError::NoPipeline(_)
            | ReplayError::Unjudged(_)
            | ReplayError::Plan(PlanError::Ambiguous(..)) => wrong(),
            ReplayError::NoJob(_) | ReplayError::Plan(PlanError::Unknown(_)) => Self::not_found(line(error)),
            ReplayError::Outdated { .. } | ReplayError::Over { .. } => conflict(),
            ReplayError::Letters(LettersError::Gone { .. }) => conflict(),
            ReplayError::Log(error) => super::journal::of_log(error),
            ReplayError::Store(error) | ReplayError::Plan(PlanError::Store(error)) => Self::of_store(error),
            ReplayError::Flush(error)
            | ReplayError::Letters(LettersError::Flush(error))
            | ReplayError::Attempts(AttemptsError::Flush(error)) => Self::of_search(error),
            ReplayError::Stopped => Self::unavailable("the process is about to end"),
            _ => Self::failed(error),
        }
    }

    /// A task could not be begun.
    pub(super) fn of_task(error: &TaskError) -> Self {
        match error {
            TaskError::TooMany => {
                let detail = format!("{error} (http.tasks_max): wait for one to end");
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(RETRY_SECONDS)
            }
            TaskError::Replay(error) => Self::of_replay(error),
        }
    }

    fn failed(error: &ReplayError) -> Self {
        warn!(error = %crate::ingest::chain(error), "what the API was asked to do with dead letters failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "it failed; the log of the program says why")
    }

    /// Something of ours failed.
    pub(super) fn internal(error: &anyhow::Error) -> Self {
        warn!(error = %format!("{error:#}"), "a request to the API failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "it failed; the log of the program says why")
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn request_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.request_id);
        self
    }
}

/// What an error says, with its causes, on one line.
fn line(error: &ReplayError) -> String {
    crate::ingest::chain(error).replace('\n', "; ")
}

/// When to try again after trouble of ours.
const RETRY_SECONDS: u64 = 5;

/// The URN's end and the title of a status.
fn kind_of(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::BAD_REQUEST => ("bad-request", "the request cannot be understood"),
        StatusCode::UNAUTHORIZED => ("no-token", "a token is needed"),
        StatusCode::FORBIDDEN => ("not-allowed", "this is not for you"),
        StatusCode::NOT_FOUND => ("not-found", "there is no such thing"),
        StatusCode::METHOD_NOT_ALLOWED => ("method", "that cannot be done with it"),
        StatusCode::NOT_ACCEPTABLE => ("not-acceptable", "it cannot be had in that form"),
        StatusCode::CONFLICT => ("conflict", "not in its present state"),
        StatusCode::GONE => ("gone", "it is no longer there"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media-type", "bodies are JSON"),
        StatusCode::MISDIRECTED_REQUEST => ("misdirected", "the request was meant for another host"),
        StatusCode::UNPROCESSABLE_ENTITY => ("unprocessable", "the body is JSON, but not what is asked for"),
        StatusCode::TOO_MANY_REQUESTS => ("too-many-requests", "too many requests"),
        StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "not now"),
        _ if status.is_client_error() => ("refused", "the request is refused"),
        _ => ("internal", "it failed"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made of one");
        let body = serde_json::to_vec(&self).expect("texts and numbers are JSON");
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Kept beside the bytes, so that the request's id can still be added.
        response.extensions_mut().insert(self);
        response
    }
}
