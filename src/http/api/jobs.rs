//! Jobs: plans that are carried out.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::acts::{Reason, Why};
use super::body::{Asked, Posted, instant, json, json_at};
use super::problem::Problem;
use super::shape::whole_or_null;
use super::{Api, cursor, plans, said};
use crate::dlq::log::JobStatus;
use crate::replay::{JobView, Pace, Start};
use crate::store::flush::Liveness;

/// Jobs that are shown when nobody says how many.
const PAGE: usize = 100;

/// How a plan is to be carried out, or to go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayAsked {
    reason: Reason,
    /// No more than so many letters a second.
    #[schema(minimum = 1, maximum = 4294967295_u64)]
    #[serde(default, deserialize_with = "whole_or_null")]
    letters_per_second: Option<u32>,
    /// No more bytes of bodies a second.
    #[schema(minimum = 1, maximum = 9007199254740991_u64)]
    #[serde(default, deserialize_with = "whole_or_null")]
    bytes_per_second: Option<u64>,
    /// To resume: also when its process cannot be seen from here; should it live after all, it stops.
    #[serde(default)]
    force: bool,
}

impl ReplayAsked {
    fn pace(&self) -> Result<Pace, Problem> {
        if self.letters_per_second == Some(0) || self.bytes_per_second == Some(0) {
            return Err(Problem::bad_request("letters_per_second, bytes_per_second: at least 1"));
        }
        Ok(Pace { letters_per_second: self.letters_per_second, bytes_per_second: self.bytes_per_second })
    }
}

/// A job as it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobShown {
    /// Its id.
    job: String,
    plan: String,
    /// The pipeline that judges the letters, or whose letters they are.
    pipeline: String,
    destination: String,
    /// running, paused, halted, cancelled or finished.
    status: &'static str,
    /// Why it halted.
    why: Option<String>,
    letters: u64,
    /// Letters that are dealt with.
    done: u64,
    counts: Counts,
    #[schema(format = DateTime)]
    started_at: String,
    by: String,
    reason: Option<String>,
    #[schema(format = DateTime)]
    changed_at: String,
    /// Of a job that is not over, whether its process lives: alive, gone or unknown.
    process: Option<&'static str>,
}

/// What became of letters.
#[derive(Serialize, ToSchema)]
pub(super) struct Counts {
    /// Their rows are in the archive.
    recovered: u64,
    /// They failed again.
    failed: u64,
    /// They were recovered before.
    skipped: u64,
    /// The broker took them, or a file has them.
    sent: u64,
    /// The broker had no queue for them.
    unroutable: u64,
    /// They could not be sent as they are.
    refused: u64,
}

impl From<JobView> for JobShown {
    fn from(view: JobView) -> Self {
        let JobView { id, job, done, counts, process } = view;
        let status = job.status.as_str();
        Self {
            job: id.to_string(),
            plan: job.plan,
            pipeline: job.pipeline,
            destination: job.destination,
            status,
            why: match job.status {
                JobStatus::Halted { why } => Some(why),
                _ => None,
            },
            letters: job.letters,
            done,
            counts: Counts {
                recovered: counts.recovered,
                failed: counts.failed,
                skipped: counts.skipped,
                sent: counts.sent,
                unroutable: counts.unroutable,
                refused: counts.refused,
            },
            started_at: instant(job.started.at),
            by: job.started.actor,
            reason: job.started.reason,
            changed_at: instant(job.changed.at),
            process: process.map(|process| match process {
                Liveness::Alive => "alive",
                Liveness::Dead => "gone",
                Liveness::Unknown => "unknown",
            }),
        }
    }
}

/// What became of asking for a replay.
#[derive(Serialize, ToSchema)]
pub(super) struct Started {
    /// It runs; null: there is nothing to do.
    job: Option<JobShown>,
    /// Letters of the plan.
    letters: u64,
    /// Those of them that were recovered already, when there is nothing to do.
    recovered_already: Option<u64>,
}

/// Carry a plan out
///
/// As a job of this process, a few letters first. A plan whose letters were all given back already does nothing, and says so.
#[utoipa::path(
    post, path = "/api/v1/plans/{plan}/replays", tag = "jobs", operation_id = "replayPlan",
    params(("plan" = String, Path, description = "Its hash, or the beginning of it.", pattern = "^[0-9a-f]{4,64}$")),
    request_body = ReplayAsked,
    responses(
        (status = 200, description = "There is nothing to do.", body = Started),
        (status = 202, description = "It runs.", body = Started),
        (status = 409, description = "The plan is outdated, or another job is in the way.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(plan): Path<String>,
    Posted(asked): Posted<ReplayAsked>,
) -> Result<Response, Problem> {
    let (said, pace) = (said(&api, &caller, &asked.reason)?, asked.pace()?);
    let plan = plans::find(&api, &plan).await?;
    plans::may_send(&caller, &plan.terms.destination)?;
    let letters = plan.terms.letters;
    let tasks = &api.parts.tasks;
    match tasks.start(plan, said, pace).await.map_err(|error| Problem::of_task(&error))? {
        Start::Nothing { recovered, .. } => {
            Ok(json(&Started { job: None, letters, recovered_already: Some(recovered) }))
        }
        Start::Begun(id) | Start::Taken(id) => {
            let job = find(&api, id).await?;
            let started = Started { job: Some(job.into()), letters, recovered_already: None };
            Ok(json_at(StatusCode::ACCEPTED, &format!("/api/v1/jobs/{id}"), &started))
        }
    }
}

/// The newest jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct Jobs {
    items: Vec<JobShown>,
}

/// How many jobs are shown.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JobsAsked {
    /// At most so many.
    #[param(minimum = 1)]
    limit: Option<u64>,
}

/// The jobs
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(JobsAsked),
    responses((status = 200, description = "The newest jobs.", body = Jobs)),
)]
pub(super) async fn list(State(api): State<Arc<Api>>, Asked(asked): Asked<JobsAsked>) -> Result<Response, Problem> {
    let size = cursor::page_size(asked.limit, PAGE, api.config.page_max)?;
    let jobs = api.parts.tasks.replays().jobs(size).await.map_err(|error| Problem::of_replay(&error))?;
    Ok(json(&Jobs { items: jobs.into_iter().map(JobShown::from).collect() }))
}

/// One job
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", tag = "jobs", operation_id = "showJob",
    params(("job" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses((status = 200, description = "The job.", body = JobShown)),
)]
pub(super) async fn one(State(api): State<Arc<Api>>, Path(job): Path<String>) -> Result<Response, Problem> {
    Ok(json(&JobShown::from(find(&api, job_id(&job)?).await?)))
}

/// Pause a job
///
/// It rests once what it has in hand is durable.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/pause", tag = "jobs", operation_id = "pauseJob",
    params(("job" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    request_body = Why,
    responses(
        (status = 200, description = "The job.", body = JobShown),
        (status = 409, description = "It does not run.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    Posted(asked): Posted<Why>,
) -> Result<Response, Problem> {
    let (id, said) = (job_id(&job)?, said(&api, &caller, &asked.reason)?);
    api.parts.tasks.replays().pause(id, &said).await.map_err(|error| Problem::of_replay(&error))?;
    Ok(json(&JobShown::from(find(&api, id).await?)))
}

/// Cancel a job
///
/// What it did not come to stays dead.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("job" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    request_body = Why,
    responses(
        (status = 200, description = "The job.", body = JobShown),
        (status = 409, description = "It is over.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    Posted(asked): Posted<Why>,
) -> Result<Response, Problem> {
    let (id, said) = (job_id(&job)?, said(&api, &caller, &asked.reason)?);
    api.parts.tasks.replays().cancel(id, &said).await.map_err(|error| Problem::of_replay(&error))?;
    Ok(json(&JobShown::from(find(&api, id).await?)))
}

/// Resume a job
///
/// One that is paused or halted, or whose process is gone. This process runs it, unless it rests in one that lives, where it
/// keeps its pace.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/resume", tag = "jobs", operation_id = "resumeJob",
    params(("job" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    request_body = ReplayAsked,
    responses(
        (status = 202, description = "It goes on.", body = JobShown),
        (status = 409, description = "It runs, or is over.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    Posted(asked): Posted<ReplayAsked>,
) -> Result<Response, Problem> {
    let (id, said, pace) = (job_id(&job)?, said(&api, &caller, &asked.reason)?, asked.pace()?);
    let plan = plans::find(&api, &find(&api, id).await?.job.plan).await?;
    plans::may_send(&caller, &plan.terms.destination)?;
    let resumed = api.parts.tasks.resume(id, said, asked.force, pace).await;
    resumed.map_err(|error| Problem::of_task(&error))?;
    let place = format!("/api/v1/jobs/{id}");
    Ok(json_at(StatusCode::ACCEPTED, &place, &JobShown::from(find(&api, id).await?)))
}

async fn find(api: &Api, id: Ulid) -> Result<JobView, Problem> {
    api.parts.tasks.replays().job(id).await.map_err(|error| Problem::of_replay(&error))
}

/// The id in a path.
pub(super) fn job_id(text: &str) -> Result<Ulid, Problem> {
    text.parse().map_err(|_| Problem::bad_request("job: an id has 26 letters and digits"))
}
