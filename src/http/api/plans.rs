//! Plans: which letters go back, how they are mended, and where to; and trying them.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;
use utoipa::ToSchema;

use super::access::Caller;
use super::acts::Reason;
use super::body::{Posted, instant, json, json_at, parse_instant};
use super::groups::group_id;
use super::pipelines::pipeline_name;
use super::problem::Problem;
use super::shape::{object, object_or_null, whole_or_null};
use super::{Api, said};
use crate::config::{self, Role};
use crate::dlq::records::{Filter, HeaderIs, ValueIs};
use crate::replay::candidate::Candidate;
use crate::replay::destination::{Destination, Sending};
use crate::replay::plan::{FixText, Plan};
use crate::replay::{DryRun, DryRunOptions, GOOD_EVENTS, PlanRequest, Planned};
use crate::schema::Language;

/// The most good events that a dry run tries.
const GOOD_MAX: u64 = 1_000_000;

/// Which letters are meant; all that is written must hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Selected {
    /// Those that show the issue of this group.
    #[schema(pattern = "^[0-9]+-[0-9a-f]+$")]
    group: Option<String>,
    /// With this code (`validate.type`), or with a code below it (`validate`).
    code: Option<String>,
    /// Dead at that time or later.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Dead before that time.
    #[schema(format = DateTime)]
    until: Option<String>,
    queue: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    /// The property app_id.
    producer: Option<String>,
    event_id: Option<String>,
    message_id: Option<String>,
    /// With each of these headers, by name.
    headers: BTreeMap<String, String>,
    /// Where each of these JSON pointers into the body points at that value.
    values: BTreeMap<String, String>,
    /// Where the body holds this text.
    text: Option<String>,
}

impl Selected {
    fn filter(self) -> Result<Filter, Problem> {
        if self.values.keys().any(|path| !path.is_empty() && !path.starts_with('/')) {
            return Err(Problem::bad_request("letters.values: a JSON pointer is empty or begins with /"));
        }
        Ok(Filter {
            pipeline: None,
            group: self.group.as_deref().map(group_id).transpose()?,
            code: self.code,
            since: parse_instant("letters.since", self.since.as_deref())?,
            until: parse_instant("letters.until", self.until.as_deref())?,
            state: None,
            queue: self.queue,
            exchange: self.exchange,
            routing_key: self.routing_key,
            producer: self.producer,
            event_id: self.event_id,
            message_id: self.message_id,
            headers: self.headers.into_iter().map(|(name, value)| HeaderIs { name, value }).collect(),
            values: self.values.into_iter().map(|(path, value)| ValueIs { path, value }).collect(),
            text: self.text,
        })
    }
}

/// Where letters go.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct To {
    /// pipeline (which is where they go when nothing is said), queue, queue=NAME, origin, exchange=NAME (with ,key=KEY and
    /// ,uri-file=FILE) or file:PATH; files are on the machine of the process. All but pipeline need the role admin.
    #[schema(example = "pipeline")]
    destination: Option<String>,
    /// To origin: also where a message would reach other queues than the one it died in.
    fan_out_ok: bool,
    /// To a broker: let messages expire as they did the first time.
    keep_expiration: bool,
    /// To a broker: this priority, in place of each message's own.
    #[schema(minimum = 0, maximum = 255)]
    #[serde(deserialize_with = "whole_or_null")]
    priority: Option<u8>,
}

impl To {
    fn read(self, caller: &Caller) -> Result<(Destination, Sending), Problem> {
        let written = self.destination.as_deref().unwrap_or("pipeline");
        let destination: Destination =
            written.parse().map_err(|wrong| Problem::bad_request(format!("to.destination: {wrong}")))?;
        let sending = Sending { keep_expiration: self.keep_expiration, priority: self.priority };
        if sending != Sending::default() && !destination.is_broker() {
            let detail = "to: keep_expiration and priority are for messages that go to a broker";
            return Err(Problem::bad_request(detail));
        }
        let destination = match destination {
            Destination::Origin { .. } => Destination::Origin { fan_out_ok: self.fan_out_ok },
            _ if self.fan_out_ok => return Err(Problem::bad_request("to.fan_out_ok: is for origin")),
            other => other,
        };
        let file = match &destination {
            Destination::File { path } => Some(path),
            Destination::Exchange { uri_file, .. } => uri_file.as_ref(),
            _ => None,
        };
        if file.is_some_and(|path| !FilePath::new(path).is_absolute()) {
            return Err(Problem::bad_request("to.destination: write the path from the root"));
        }
        may_send(caller, &destination)?;
        Ok((destination, sending))
    }
}

/// Whether that caller may let letters go there.
pub(super) fn may_send(caller: &Caller, destination: &Destination) -> Result<(), Problem> {
    match destination {
        Destination::Pipeline => Ok(()),
        _ if caller.role == Role::Admin => Ok(()),
        elsewhere => Err(Problem::forbidden(format!("letters that go to {elsewhere} need the role admin"))),
    }
}

/// A schema that is tried in place of the pipeline's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaAsked {
    /// What its file would be called, which tells its name and version.
    #[schema(example = "order.v2.json")]
    file: String,
    /// Written as the pipeline's own is, a JSON Schema or an Avro schema; it refers to no other file. Of Protobuf
    /// `base64:` and the descriptor set in base64.
    text: String,
}

impl SchemaAsked {
    fn freeze(&self, language: impl Fn(&str) -> Language) -> Result<Candidate, Problem> {
        let (name, version) = config::schema_identity(&self.file);
        let frozen = Candidate::of_text(&language(&name), &self.text, &name, version);
        frozen.map_err(|error| Problem::bad_request(format!("schema: {}", crate::ingest::chain(&error))))
    }
}

/// What is to be planned.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanAsked {
    #[schema(example = "orders")]
    pipeline: String,
    reason: Reason,
    /// Which of its letters that are not recovered; all, if nothing is said.
    #[serde(default, deserialize_with = "object")]
    letters: Selected,
    /// Mend each letter by this fix: TOML or JSON, as text; see docs/fixes.md.
    fix: Option<String>,
    /// Judge by this schema instead of the pipeline's own.
    #[serde(default, deserialize_with = "object_or_null")]
    schema: Option<SchemaAsked>,
    /// Where they go; into the pipeline, if nothing is said.
    #[serde(default, deserialize_with = "object")]
    to: To,
    /// A few letters first, and failures among them stop the rest; so it is if nothing is said.
    canary: Option<bool>,
}

/// A frozen plan.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(super) struct PlanView {
    /// Its hash; the beginning of it is enough to name it.
    plan: String,
    pipeline: String,
    /// The pipeline that judges the letters.
    judge: String,
    letters: u64,
    body_bytes: u64,
    /// The groups that the letters show, with the number of letters in each.
    groups: BTreeMap<String, u64>,
    /// `name@version` of the schema that is tried; null: the pipeline's own.
    schema: Option<String>,
    /// What the fix does, a line a step.
    steps: Vec<String>,
    destination: String,
    canary: bool,
    #[schema(format = DateTime)]
    created_at: String,
    by: String,
    why: Option<String>,
}

/// A plan that was asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct PlannedView {
    #[serde(flatten)]
    plan: PlanView,
    /// The very same was planned before.
    known: bool,
    /// Letters left out, for they were given back too often already with the same mend.
    exhausted: u64,
}

impl PlanView {
    fn of(plan: Plan, steps: Vec<String>) -> Self {
        let judge = plan.terms.judge().to_owned();
        Self {
            plan: plan.hash,
            judge,
            pipeline: plan.terms.pipeline,
            letters: plan.terms.letters,
            body_bytes: plan.terms.body_bytes,
            groups: plan.terms.groups.into_iter().map(|(group, letters)| (group.to_string(), letters)).collect(),
            schema: plan.terms.candidate.map(|candidate| candidate.label()),
            steps,
            destination: plan.terms.destination.to_string(),
            canary: plan.terms.canary,
            created_at: instant(plan.created_at),
            by: plan.by,
            why: plan.why,
        }
    }
}

/// Make a plan
///
/// Freezes which letters go back, how they are mended, and where to. Nothing is done with them yet.
#[utoipa::path(
    post, path = "/api/v1/plans", tag = "plans", operation_id = "makePlan",
    request_body = PlanAsked,
    responses(
        (status = 201, description = "The plan.", body = PlannedView),
        (status = 409, description = "No letter is meant.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Posted(asked): Posted<PlanAsked>,
) -> Result<Response, Problem> {
    said(&api, &caller, &asked.reason)?;
    let (destination, sending) = asked.to.read(&caller)?;
    let pipeline = pipeline_name(Some(asked.pipeline))?.unwrap_or_default();
    let language = |name: &str| api.parts.tasks.replays().language_of(&pipeline, name);
    let request = PlanRequest {
        filter: asked.letters.filter()?,
        fix: asked.fix.map(|text| FixText { name: "fix".to_owned(), text }),
        candidate: asked.schema.map(|schema| schema.freeze(language)).transpose()?,
        destination,
        sending,
        canary: asked.canary.unwrap_or(true),
        why: Some(asked.reason.0),
        pipeline,
        of_job: None,
    };
    planned(&api, &caller, &request).await
}

/// Freezes what is asked for.
async fn planned(api: &Api, caller: &Caller, request: &PlanRequest) -> Result<Response, Problem> {
    let planned = api.parts.tasks.replays().plan(request, &caller.name).await;
    let Planned { plan, known, exhausted, steps } = planned.map_err(|error| Problem::of_replay(&error))?;
    let place = format!("/api/v1/plans/{}", plan.hash);
    let view = PlannedView { plan: PlanView::of(plan, steps), known, exhausted };
    Ok(json_at(StatusCode::CREATED, &place, &view))
}

/// How what a job gave back is to be given back once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevertAsked {
    reason: Reason,
    /// Where they go; into the pipeline, if nothing is said.
    #[serde(default, deserialize_with = "object")]
    to: To,
    /// A few letters first, and failures among them stop the rest; so it is if nothing is said.
    canary: Option<bool>,
}

/// Revert a job
///
/// Makes a plan to give back once more what the job recovered or sent, as it was before its fix.
#[utoipa::path(
    post, path = "/api/v1/jobs/{job}/revert", tag = "jobs", operation_id = "revertJob",
    params(("job" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    request_body = RevertAsked,
    responses(
        (status = 201, description = "The plan.", body = PlannedView),
        (status = 409, description = "It gave back nothing.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn revert(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<String>,
    Posted(asked): Posted<RevertAsked>,
) -> Result<Response, Problem> {
    said(&api, &caller, &asked.reason)?;
    let job = super::jobs::job_id(&job)?;
    let (destination, sending) = asked.to.read(&caller)?;
    let replays = api.parts.tasks.replays();
    let view = replays.job(job).await.map_err(|error| Problem::of_replay(&error))?;
    let plan = replays.read_plan(&view.job.plan).await.map_err(|error| Problem::of_replay(&error))?;
    let request = PlanRequest {
        pipeline: plan.terms.pipeline,
        of_job: Some(job),
        destination,
        sending,
        canary: asked.canary.unwrap_or(true),
        why: Some(asked.reason.0),
        ..PlanRequest::default()
    };
    planned(&api, &caller, &request).await
}

/// One plan
#[utoipa::path(
    get, path = "/api/v1/plans/{plan}", tag = "plans", operation_id = "showPlan",
    params(("plan" = String, Path, description = "Its hash, or the beginning of it.", pattern = "^[0-9a-f]{4,64}$")),
    responses((status = 200, description = "The plan.", body = PlanView)),
)]
pub(super) async fn one(State(api): State<Arc<Api>>, Path(plan): Path<String>) -> Result<Response, Problem> {
    let plan = find(&api, &plan).await?;
    let fix = plan.read_fix().map_err(|error| Problem::of_replay(&error.into()))?;
    let steps = fix.map(|fix| fix.describe()).unwrap_or_default();
    Ok(json(&PlanView::of(plan, steps)))
}

/// The plan whose hash begins so.
pub(super) async fn find(api: &Api, plan: &str) -> Result<Plan, Problem> {
    api.parts.tasks.replays().read_plan(plan).await.map_err(|error| Problem::of_replay(&error))
}

/// What a dry run is to try.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunAsked {
    /// So many of the newest good events besides; 10000, if nothing is said, and 0 for none.
    #[schema(minimum = 0, maximum = 1000000, example = 100)]
    #[serde(default, deserialize_with = "whole_or_null")]
    good: Option<u64>,
}

/// A dry run, under way or over.
#[derive(Serialize, ToSchema)]
#[schema(as = DryRun)]
pub(super) struct DryRunView {
    id: String,
    plan: String,
    /// running, done or failed.
    state: &'static str,
    letters: u64,
    /// Letters tried so far.
    tried: u64,
    /// What was found, once it is done; as `parqueduct dlq dry-run --json` tells it.
    #[schema(value_type = Option<HashMap<String, Value>>)]
    report: Option<Value>,
    /// Why it failed.
    why: Option<String>,
}

impl DryRunView {
    fn of(run: &DryRun) -> Self {
        let (state, report, why) = match run.outcome() {
            None => ("running", None, None),
            Some(Ok(report)) => ("done", Some(serde_json::to_value(&*report).expect("plain data")), None),
            Some(Err(why)) => ("failed", None, Some(why)),
        };
        let (id, plan) = (run.id.to_string(), run.plan.clone());
        Self { id, plan, state, letters: run.letters, tried: run.tried(), report, why }
    }
}

/// Try a plan
///
/// The real way into nothing, and the same mend over good events. It runs in the process, and is told of by its id until 32
/// later ones are over.
#[utoipa::path(
    post, path = "/api/v1/plans/{plan}/dry-runs", tag = "plans", operation_id = "tryPlan",
    params(("plan" = String, Path, description = "Its hash, or the beginning of it.", pattern = "^[0-9a-f]{4,64}$")),
    request_body = DryRunAsked,
    responses((status = 202, description = "It runs.", body = DryRunView)),
)]
pub(super) async fn try_out(
    State(api): State<Arc<Api>>,
    Path(plan): Path<String>,
    Posted(asked): Posted<DryRunAsked>,
) -> Result<Response, Problem> {
    let good = asked.good.unwrap_or(GOOD_EVENTS as u64);
    if good > GOOD_MAX {
        return Err(Problem::bad_request(format!("good: at most {GOOD_MAX}")));
    }
    let plan = find(&api, &plan).await?;
    let options = DryRunOptions { good: usize::try_from(good).unwrap_or(usize::MAX) };
    let run = api.parts.tasks.try_out(plan, options).map_err(|error| Problem::of_task(&error))?;
    let place = format!("/api/v1/dry-runs/{}", run.id);
    Ok(json_at(StatusCode::ACCEPTED, &place, &DryRunView::of(&run)))
}

/// One dry run
#[utoipa::path(
    get, path = "/api/v1/dry-runs/{run}", tag = "plans", operation_id = "showDryRun",
    params(("run" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses((status = 200, description = "The dry run.", body = DryRunView)),
)]
pub(super) async fn dry_run(State(api): State<Arc<Api>>, Path(run): Path<String>) -> Result<Response, Problem> {
    let id: Ulid = run.parse().map_err(|_| Problem::bad_request("run: an id has 26 letters and digits"))?;
    let run = api.parts.tasks.dry_run(id).ok_or_else(|| Problem::not_found("there is no dry run of that id"))?;
    Ok(json(&DryRunView::of(&run)))
}
