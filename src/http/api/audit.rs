//! The audit: who did what, when and why.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::body::{Asked, LINES, instant, json, line, lines};
use super::guard::Form;
use super::journal::of_log;
use super::problem::Problem;
use super::{Api, cursor};
use crate::dlq::log::{Found, LogError};

/// Rows of a page when nobody says how many.
const PAGE: usize = 100;

/// The greatest number that every reader of JSON holds exactly.
const AFTER_MAX: u64 = 9_007_199_254_740_991;

/// An entry of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct EntryView {
    /// From 1, without a gap.
    seq: u64,
    #[schema(format = DateTime)]
    at: String,
    /// A token's name, or somebody at a command line, or an instance.
    actor: String,
    /// Why, where it was asked for.
    reason: Option<String>,
    /// What happened: its `type`, and what belongs to it.
    #[schema(value_type = HashMap<String, Value>)]
    event: Value,
    /// SHA-256 of the entry, in hex.
    hash: String,
    /// The hash of the entry before it.
    prev: String,
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage {
    items: Vec<EntryView>,
    /// Send it as after to get the next page; null on the last one.
    next_after: Option<u64>,
}

/// Which entries are meant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditAsked {
    /// Only those after this number.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// Rows of the page; of application/x-ndjson rows in all, where none means all there are.
    #[param(minimum = 1)]
    limit: Option<u64>,
}

/// The audit
///
/// Every entry, the oldest first: decisions about groups, replays, and who was shown which letter. As
/// application/x-ndjson: one a line, sent as they are read.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", operation_id = "listAudit",
    params(AuditAsked),
    responses((status = 200, description = "A page of entries, or one entry a line.", content(
        (AuditPage = "application/json"),
        (EntryView = "application/x-ndjson"),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(form): Extension<Form>,
    Asked(asked): Asked<AuditAsked>,
) -> Result<Response, Problem> {
    let size = cursor::page_size(asked.limit, PAGE, api.config.page_max)?;
    let after = asked.after.unwrap_or_default();
    if after > AFTER_MAX {
        return Err(Problem::bad_request(format!("after: at most {AFTER_MAX}")));
    }
    let entries = api.journal.log().entries(after);
    if &*form.0 == LINES {
        let left = asked.limit.map_or(usize::MAX, |_| size);
        let shown = entries.take(left).map_ok(|found| {
            let mut out = Vec::new();
            line(&view(found), &mut out);
            Bytes::from(out)
        });
        // The status is sent already: an answer that breaks off is how the client sees it.
        return Ok(lines(shown.map_err(|_| std::io::Error::other("the log cannot be read to its end"))));
    }
    let mut items: Vec<EntryView> =
        entries.take(size + 1).map_ok(view).try_collect().await.map_err(|error| of_log(&error))?;
    let more = items.len() > size;
    items.truncate(size);
    Ok(json(&AuditPage { next_after: items.last().filter(|_| more).map(|last| last.seq), items }))
}

fn view(found: Found) -> EntryView {
    let Found { entry, hash } = found;
    EntryView {
        seq: entry.seq,
        at: instant(entry.said.at),
        actor: entry.said.actor,
        reason: entry.said.reason,
        event: entry.event.as_json(),
        hash,
        prev: entry.prev,
    }
}

/// Whether the log is whole.
#[derive(Serialize, ToSchema)]
pub(super) struct Verification {
    /// Every entry is there, and follows from the one before it.
    sound: bool,
    /// Entries, of a log that is whole.
    entries: Option<u64>,
    /// SHA-256 of the last entry: kept elsewhere, it tells later whether the log was rewritten.
    head: Option<String>,
    /// The first entry that is not as it was.
    broken_at: Option<u64>,
    /// What is wrong with it.
    why: Option<String>,
}

/// Verify the audit
///
/// Reads every entry and says whether the log is as it was written.
#[utoipa::path(
    get, path = "/api/v1/audit/verification", tag = "audit", operation_id = "verifyAudit",
    responses((status = 200, description = "What was found.", body = Verification)),
)]
pub(super) async fn verify(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let found = match api.journal.log().verify().await {
        Ok(verified) => Verification {
            sound: true,
            entries: Some(verified.entries),
            head: Some(verified.head),
            broken_at: None,
            why: None,
        },
        Err(LogError::Broken { seq, source }) => Verification {
            sound: false,
            entries: None,
            head: None,
            broken_at: Some(seq),
            why: Some(source.to_string()),
        },
        Err(error) => return Err(of_log(&error)),
    };
    Ok(json(&found))
}
