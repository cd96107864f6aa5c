//! What is decided about groups: acknowledged, resolved, ignored, reopened.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::body::{Posted, json, parse_instant};
use super::groups::{self, GroupView, group_id};
use super::problem::Problem;
use super::{Api, said};
use crate::dlq::decide::Decision;
use crate::dlq::log::{AsOf, SchemaVersion};

/// Why something is done, for the audit; begins with a character that can be seen.
#[derive(Deserialize, ToSchema)]
#[schema(min_length = 1, max_length = 2000, pattern = r"^[!-~][^\x00-\x1f\x7f-\x9f]*$", example = "fixed upstream")]
pub(super) struct Reason(pub(super) String);

/// Nothing but why something is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) reason: Reason,
}

/// Who deals with a group.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledgement {
    reason: Reason,
    /// Who deals with it; by default who says so.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[!-~][^\x00-\x1f\x7f-\x9f]*$")]
    owner: Option<String>,
    /// What others should know.
    #[schema(min_length = 1, max_length = 2000, pattern = r"^[!-~][^\x00-\x1f\x7f-\x9f]*$")]
    note: Option<String>,
}

/// From when on a group is over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    reason: Reason,
    /// From when on new letters are news: an instant (2026-01-31T10:15:00Z), or a version of the schema (flight@2), older
    /// ones of which are then expected to go on failing; by default now.
    #[schema(example = "flight@2")]
    as_of: Option<String>,
}

/// Acknowledge a group
///
/// Somebody deals with it.
#[utoipa::path(
    post, path = "/api/v1/groups/{group}/acknowledge", tag = "groups", operation_id = "acknowledgeGroup",
    params(("group" = String, Path, description = "Its id.", pattern = "^[0-9]+-[0-9a-f]+$")),
    request_body = Acknowledgement,
    responses((status = 200, description = "The group as it is now.", body = GroupView)),
)]
pub(super) async fn acknowledge(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    Posted(asked): Posted<Acknowledgement>,
) -> Result<Response, Problem> {
    let owner = asked.owner.unwrap_or_else(|| caller.name.to_string());
    let decision = Decision::Acknowledge { owner: Some(owner), note: asked.note };
    decide(&api, &caller, &group, &decision, &asked.reason).await
}

/// Resolve a group
///
/// It is over; should letters come later, it is regressed.
#[utoipa::path(
    post, path = "/api/v1/groups/{group}/resolve", tag = "groups", operation_id = "resolveGroup",
    params(("group" = String, Path, description = "Its id.", pattern = "^[0-9]+-[0-9a-f]+$")),
    request_body = Resolution,
    responses((status = 200, description = "The group as it is now.", body = GroupView)),
)]
pub(super) async fn resolve(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    Posted(asked): Posted<Resolution>,
) -> Result<Response, Problem> {
    let as_of = match asked.as_of.as_deref().map(|text| (text, SchemaVersion::parse(text))) {
        Some((_, Some(version))) => AsOf::Schema(version),
        Some((text, None)) => AsOf::Time(parse_instant("as_of", Some(text))?.expect("there is one")),
        None => AsOf::Time((api.parts.now)()),
    };
    decide(&api, &caller, &group, &Decision::Resolve { as_of }, &asked.reason).await
}

/// Ignore a group
///
/// Nobody wants to hear of it; its letters are kept for a short time only.
#[utoipa::path(
    post, path = "/api/v1/groups/{group}/ignore", tag = "groups", operation_id = "ignoreGroup",
    params(("group" = String, Path, description = "Its id.", pattern = "^[0-9]+-[0-9a-f]+$")),
    request_body = Why,
    responses((status = 200, description = "The group as it is now.", body = GroupView)),
)]
pub(super) async fn ignore(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    Posted(asked): Posted<Why>,
) -> Result<Response, Problem> {
    decide(&api, &caller, &group, &Decision::Ignore, &asked.reason).await
}

/// Reopen a group
///
/// Whatever was said of it before.
#[utoipa::path(
    post, path = "/api/v1/groups/{group}/reopen", tag = "groups", operation_id = "reopenGroup",
    params(("group" = String, Path, description = "Its id.", pattern = "^[0-9]+-[0-9a-f]+$")),
    request_body = Why,
    responses((status = 200, description = "The group as it is now.", body = GroupView)),
)]
pub(super) async fn reopen(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    Posted(asked): Posted<Why>,
) -> Result<Response, Problem> {
    decide(&api, &caller, &group, &Decision::Reopen, &asked.reason).await
}

async fn decide(
    api: &Api,
    caller: &Caller,
    group: &str,
    decision: &Decision,
    reason: &Reason,
) -> Result<Response, Problem> {
    let id = group_id(group)?;
    // Before anything is decided: a group that nobody has is told apart from one that cannot be shown now.
    groups::find(api, &id).await?;
    api.journal.decide(&id, decision, &said(api, caller, reason)?).await?;
    let group = groups::find(api, &id).await?;
    Ok(json(&groups::view(api, caller, group)))
}
