//! The API, `/api/v1`: the dead letters over HTTP. Thin: it says who may ask and in what form the answer is given, and
//! calls what the command line calls. What it needs is lent by `app`.

mod accept; // in which form
mod access; // who asks, and how often
mod acts; // decisions about groups
mod audit;
mod body; // what is asked, and answered
mod cursor; // where a page ends
mod groups;
mod guard; // what every request passes
mod jobs; // plans carried out
mod journal; // what callers do, noted
mod letters;
mod operations; // what there is
mod pipelines;
mod plans; // what is to go back, and how; tried
mod problem; // what went wrong
mod shape; // what bodies look like, where that is not plain
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use ulid::Ulid;

use crate::config::{self, Role};
use crate::dlq::log::{Log, Said};
use crate::dlq::records::Records;
use crate::dlq::veil::Veil;
use crate::metrics::Metrics;
use crate::replay::Tasks;
use access::{Access, Caller};
use acts::Reason;
use journal::Journal;
use operations::{Operations, RulesByRoute};
use problem::Problem;

/// Where the document is, which is for everybody.
const DOCUMENT_PATH: &str = "/api/v1/openapi.json";

/// What the API is lent.
pub struct Parts {
    pub config: config::Api,
    pub pipelines: Vec<Pipeline>,
    pub records: Arc<Records>,
    pub log: Log,
    /// Plans, and what carries them out.
    pub tasks: Arc<Tasks>,
    /// What viewers do not see of letters whose pipeline is not configured any more.
    pub veil_of_unknown: Arc<Veil>,
    pub metrics: Arc<Metrics>,
    pub now: fn() -> DateTime<Utc>,
    /// A new identifier, later than every one before it in this process.
    pub ulid: Arc<dyn Fn() -> Ulid + Send + Sync>,
    /// Of this program.
    pub version: &'static str,
}

/// A pipeline as the API shows it.
pub struct Pipeline {
    pub config: config::Pipeline,
    /// `name@version` of each type of events; none of a pipeline of dead letters.
    pub schemas: Vec<String>,
    /// What viewers do not see of its letters, by the schema in use.
    pub veil: watch::Receiver<Arc<Veil>>,
}

impl Parts {
    fn veil(&self, pipeline: &str) -> Arc<Veil> {
        let known = self.pipelines.iter().find(|known| known.config.name == pipeline);
        known.map_or_else(|| Arc::clone(&self.veil_of_unknown), Pipeline::veil)
    }
}

impl Pipeline {
    fn veil(&self) -> Arc<Veil> {
        Arc::clone(&self.veil.borrow())
    }
}

/// What all requests share.
struct Api {
    parts: Parts,
    config: config::Api,
    access: Access,
    journal: Journal,
    rules: RulesByRoute,
    document: Bytes,
}

/// What that caller says, and why.
fn said(api: &Api, caller: &Caller, Reason(reason): &Reason) -> Result<Said, Problem> {
    if !reason.starts_with(|first: char| first.is_ascii_graphic()) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "reason: begin with a character that can be seen"));
    }
    let said = Said::new((api.parts.now)(), &caller.name, reason);
    said.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

/// The routes, all of them below `/api`.
pub(super) fn routes(parts: Parts) -> Router {
    let (router, rules, document) = operations().finish(parts.version);
    let document = serde_json::to_value(&document).expect("a document is JSON");
    let document = with_limits(document, &parts.config).to_string().into();
    let config = parts.config.clone();
    let access = Access::new(&config, Instant::now());
    let journal = Journal::new(parts.log.clone(), parts.now);
    let api = Arc::new(Api { parts, config, access, journal, rules, document });
    let routes = router
        .route_layer(from_fn_with_state(Arc::clone(&api), guard::admit))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND })
        .layer(from_fn_with_state(Arc::clone(&api), guard::frame))
        .with_state(api);
    Router::new().nest(operations::ROOT, routes)
}

/// Every operation of the API.
fn operations() -> Operations {
    use Role::{Admin, Operator, Viewer};
    Operations::new()
        .with::<__path_document, _>(None, document)
        .with::<groups::__path_list, _>(Some(Viewer), groups::list)
        .with::<groups::__path_one, _>(Some(Viewer), groups::one)
        .with::<acts::__path_acknowledge, _>(Some(Operator), acts::acknowledge)
        .with::<acts::__path_resolve, _>(Some(Operator), acts::resolve)
        .with::<acts::__path_ignore, _>(Some(Operator), acts::ignore)
        .with::<acts::__path_reopen, _>(Some(Operator), acts::reopen)
        .with::<letters::__path_list, _>(Some(Viewer), letters::list)
        .with::<letters::__path_one, _>(Some(Viewer), letters::one)
        .with::<letters::__path_body, _>(Some(Viewer), letters::body)
        .with::<plans::__path_make, _>(Some(Operator), plans::make)
        .with::<plans::__path_one, _>(Some(Operator), plans::one)
        .with::<plans::__path_try_out, _>(Some(Operator), plans::try_out)
        .with::<plans::__path_dry_run, _>(Some(Operator), plans::dry_run)
        .with::<jobs::__path_replay, _>(Some(Operator), jobs::replay)
        .with::<jobs::__path_list, _>(Some(Viewer), jobs::list)
        .with::<jobs::__path_one, _>(Some(Viewer), jobs::one)
        .with::<jobs::__path_pause, _>(Some(Operator), jobs::pause)
        .with::<jobs::__path_resume, _>(Some(Operator), jobs::resume)
        .with::<jobs::__path_cancel, _>(Some(Operator), jobs::cancel)
        .with::<plans::__path_revert, _>(Some(Admin), plans::revert)
        .with::<audit::__path_list, _>(Some(Operator), audit::list)
        .with::<audit::__path_verify, _>(Some(Operator), audit::verify)
        .with::<pipelines::__path_list, _>(Some(Viewer), pipelines::list)
        .with::<pipelines::__path_one, _>(Some(Viewer), pipelines::one)
}

/// The document, in which the limits that the configuration sets are told.
fn with_limits(mut document: Value, config: &config::Api) -> Value {
    // By `get_mut`: an index would add what is not there.
    for path in
        document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(|paths| paths.values_mut())
    {
        for operation in path.as_object_mut().into_iter().flat_map(|methods| methods.values_mut()) {
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                if parameter["name"] == "limit" {
                    parameter["schema"]["maximum"] = json!(config.page_max);
                }
            }
        }
    }
    document
}

/// This document
///
/// What the API can do, as OpenAPI 3.1.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "document", operation_id = "document",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = HashMap<String, Value>)),
)]
async fn document(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document.clone()).into_response()
}
