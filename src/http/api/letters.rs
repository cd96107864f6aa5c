//! The letters: a list of them, one whole, and its body.

mod view;

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use ulid::Ulid;
use utoipa::{IntoParams, ToSchema};

use super::accept::choose;
use super::access::Caller;
use super::body::{Asked, JSON, LINES, json, line, lines, parse_instant};
use super::guard::Form;
use super::pipelines::pipeline_name;
use super::problem::Problem;
use super::{Api, Pipeline, cursor, groups};
use crate::config::Role;
use crate::decode::{JsonDecoder, Limits};
use crate::dlq::record::DeadLetter;
use crate::dlq::record::Summary;
use crate::dlq::records::{Cursor, Filter, HeaderIs, LetterState, Order, Page, ValueIs};
use crate::dlq::veil::Veil;
use crate::mask::Mask;
use crate::value::Pointer;
use view::{LetterRow, LetterView, LettersPage, Row};

/// Rows of a page when nobody says how many.
const PAGE: usize = 100;

/// What keeps cursors of this list apart from others.
const KIND: &str = "letters";

/// The content type of a body as it came: it is nobody's page or script.
const BYTES: &str = "application/octet-stream";

/// Bodies are taken for JSON within these, which no pipeline goes beyond.
const BODY_LIMITS: Limits = Limits { body_bytes_max: 512 << 20, depth_max: 512 };

/// Which letters are meant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LettersAsked {
    /// Only of this pipeline.
    #[param(pattern = "^[a-z0-9_-]+$")]
    pipeline: Option<String>,
    /// Only those that show the issue of this group.
    #[param(pattern = "^[0-9]+-[0-9a-f]+$")]
    group: Option<String>,
    /// Only with this code (`validate.type`), or with a code below it (`validate`).
    code: Option<String>,
    /// Only those dead at that time or later.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only those dead before that time.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Only those of which this became.
    #[param(inline)]
    state: Option<StateAsked>,
    /// Only from this queue.
    queue: Option<String>,
    /// Only from this exchange.
    exchange: Option<String>,
    /// Only with this routing key.
    routing_key: Option<String>,
    /// Only with this app_id property.
    producer: Option<String>,
    /// Only with this event id.
    event_id: Option<String>,
    /// Only with this message_id property.
    message_id: Option<String>,
    /// Only with this header: NAME=VALUE.
    header: Option<String>,
    /// Only where a JSON pointer into the body points at this value: /carrier=AA.
    r#where: Option<String>,
    /// Only where the body holds this text.
    text: Option<String>,
    /// Rows of the page; of application/x-ndjson rows in all, where none means all there are.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// From the page before.
    cursor: Option<String>,
}

/// What became of a letter.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateAsked {
    Dead,
    Recovered,
}

impl LettersAsked {
    fn filter(&self) -> Result<Filter, Problem> {
        let pair = |name: &str, text: &Option<String>| match text.as_deref().map(|text| text.split_once('=')) {
            None => Ok(None),
            Some(Some((left, right))) => Ok(Some((left.to_owned(), right.to_owned()))),
            Some(None) => Err(Problem::bad_request(format!("{name}: write what is looked at, =, and its value"))),
        };
        let header = pair("header", &self.header)?.map(|(name, value)| HeaderIs { name, value });
        let value = pair("where", &self.r#where)?.map(|(path, value)| ValueIs { path, value });
        if value.as_ref().is_some_and(|value| Pointer::parse(&value.path).is_err()) {
            return Err(Problem::bad_request("where: write a JSON pointer, =, and a value: /carrier=AA"));
        }
        Ok(Filter {
            state: self.state.map(|state| match state {
                StateAsked::Dead => LetterState::Dead,
                StateAsked::Recovered => LetterState::Recovered,
            }),
            queue: self.queue.clone(),
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            producer: self.producer.clone(),
            event_id: self.event_id.clone(),
            message_id: self.message_id.clone(),
            headers: header.into_iter().collect(),
            values: value.into_iter().collect(),
            text: self.text.clone(),
            pipeline: pipeline_name(self.pipeline.clone())?,
            group: self.group.as_deref().map(groups::group_id).transpose()?,
            code: self.code.clone(),
            since: parse_instant("since", self.since.as_deref())?,
            until: parse_instant("until", self.until.as_deref())?,
        })
    }
}

/// Refuses a search by which a viewer could find out, by trying, what is masked.
fn may_search(api: &Api, caller: &Caller, filter: &Filter) -> Result<(), Problem> {
    if caller.role != Role::Viewer {
        return Ok(());
    }
    match veils(api, filter.pipeline.as_deref()).find_map(|veil| veil.hides_from(filter)) {
        None => Ok(()),
        Some(what) => {
            let detail = format!("viewers cannot search by {what}, for it is masked; naming one pipeline may help");
            Err(Problem::forbidden(detail))
        }
    }
}

/// What hides things of the letters of `pipeline`, or of any.
fn veils<'a>(api: &'a Api, pipeline: Option<&str>) -> impl Iterator<Item = Arc<Veil>> + 'a {
    let (one, all) = match pipeline {
        Some(pipeline) => (api.parts.veil(pipeline), &[][..]),
        None => (Arc::clone(&api.parts.veil_of_unknown), &api.parts.pipelines[..]),
    };
    std::iter::once(one).chain(all.iter().map(Pipeline::veil))
}

/// All letters
///
/// The newest first, without their bodies. As application/x-ndjson: one a line, sent as they are read.
#[utoipa::path(
    get, path = "/api/v1/letters", tag = "letters", operation_id = "listLetters",
    params(LettersAsked),
    responses((status = 200, description = "A page of letters, or one letter a line.", content(
        (LettersPage = "application/json"),
        (LetterRow = "application/x-ndjson"),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(form): Extension<Form>,
    Asked(asked): Asked<LettersAsked>,
) -> Result<Response, Problem> {
    let size = cursor::page_size(asked.limit, PAGE, api.config.page_max)?;
    let filter = asked.filter()?;
    may_search(&api, &caller, &filter)?;
    let after = asked.cursor.as_deref().map(read_cursor).transpose()?;
    if &*form.0 == LINES {
        let left = asked.limit.map_or(usize::MAX, |_| size);
        return Ok(stream_lines(api, caller, filter, after, left));
    }
    let page = page(&api, &filter, after, size).await?;
    Ok(json(&LettersPage {
        next_cursor: page.next.map(|last| cursor::write(KIND, &last.to_string())),
        unreadable: page.unreadable.into_iter().map(|file| file.path).collect(),
        items: page.letters.into_iter().map(|row| row.shown(&api, &caller)).collect(),
    }))
}

fn read_cursor(text: &str) -> Result<Cursor, Problem> {
    let key = cursor::read(KIND, text)?;
    key.parse().map_err(|_| Problem::bad_request("cursor: not one that this list gave"))
}

/// The next `size` rows behind `after`.
async fn page(api: &Api, filter: &Filter, after: Option<Cursor>, size: usize) -> Result<Page<Row>, Problem> {
    let tell = |letter: &Summary<'_>, _| Row::of(letter);
    let read = api.parts.records.page_of_rows(filter, Order::NewestFirst, after, size, tell).await;
    read.map_err(|error| Problem::of_search(&error))
}

/// What is left to send of a list.
struct Rest {
    api: Arc<Api>,
    caller: Caller,
    filter: Filter,
    after: Option<Cursor>,
    left: usize,
}

fn stream_lines(api: Arc<Api>, caller: Caller, filter: Filter, after: Option<Cursor>, left: usize) -> Response {
    let rest = Rest { api, caller, filter, after, left };
    lines(stream::try_unfold(Some(rest), |rest| async {
        let Some(mut rest) = rest else { return Ok(None) };
        let size = rest.left.min(rest.api.config.page_max);
        let page = page(&rest.api, &rest.filter, rest.after, size).await;
        // The status is sent already: an answer that breaks off is how the client sees it.
        let page = page.map_err(|_| std::io::Error::other("the list cannot be read to its end"))?;
        rest.after = page.next;
        rest.left -= page.letters.len();
        let mut out = Vec::new();
        page.letters.into_iter().for_each(|row| line(&row.shown(&rest.api, &rest.caller), &mut out));
        let goes_on = rest.after.is_some() && rest.left > 0;
        Ok(Some((Bytes::from(out), goes_on.then_some(rest))))
    }))
}

/// One letter
///
/// All that is known of it, without its body. Viewers do not see what is masked; that others were shown it is an entry of
/// the audit.
#[utoipa::path(
    get, path = "/api/v1/letters/{id}", tag = "letters", operation_id = "showLetter",
    params(("id" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses((status = 200, description = "The letter.", body = LetterView)),
)]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let letter = find(&api, &id).await?;
    api.journal.read(&caller, letter.id).await?;
    Ok(json(&LetterView::of(&letter, &api, &caller)))
}

/// The body of a letter
///
/// Byte for byte as it came, as application/octet-stream; as application/json only if it is JSON, decompressed if need be. Viewers get it as JSON
/// with `[masked]` in place of what is masked, and nothing of a body that is not JSON. That others were shown it is an entry
/// of the audit.
#[utoipa::path(
    get, path = "/api/v1/letters/{id}/body", tag = "letters", operation_id = "letterBody",
    params(("id" = String, Path, description = "Its id, a ULID.", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")),
    responses((status = 200, description = "The body.", content(
        (Vec<u8> = "application/octet-stream"),
        (serde_json::Value = "application/json"),
    ))),
)]
pub(super) async fn body(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let letter = find(&api, &id).await?;
    let plain = letter.document().into_owned();
    if caller.role == Role::Viewer {
        let hidden = || Problem::forbidden("viewers see bodies that are JSON only, with what is masked left out");
        let mask = api.parts.veil(&letter.origin.pipeline).body_of(&letter).ok_or_else(hidden)?;
        let shown = masked(plain, mask).await?.ok_or_else(hidden)?;
        return as_chosen(&headers, None, Some(shown), letter.id);
    }
    let json = masked(plain.clone(), Mask::default()).await?.map(|_| plain);
    let answer = as_chosen(&headers, letter.message.body, json, letter.id)?;
    api.journal.read(&caller, letter.id).await?;
    Ok(answer)
}

/// The form that is liked best of those there are: the bytes as they came, or JSON.
fn as_chosen(
    headers: &HeaderMap,
    bytes: impl Into<Option<Vec<u8>>>,
    json: Option<Vec<u8>>,
    id: Ulid,
) -> Result<Response, Problem> {
    let mut forms = [(BYTES, bytes.into()), (JSON, json)];
    let names: Vec<String> =
        forms.iter().filter(|(_, body)| body.is_some()).map(|(name, _)| (*name).to_owned()).collect();
    let Some(chosen) = choose(headers, &names) else {
        let detail = format!("this body can be had as {}", names.join(", "));
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail));
    };
    let (form, body) = forms.iter_mut().find(|(name, _)| *name == chosen).expect("it is one of them");
    let file = format!("attachment; filename=\"{id}.body\"");
    let body = body.take().unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, (*form).to_owned()), (header::CONTENT_DISPOSITION, file)], body).into_response())
}

/// `body` without what `mask` masks; `None` when it is not JSON.
async fn masked(body: Vec<u8>, mask: Mask) -> Result<Option<Vec<u8>>, Problem> {
    let work = move || {
        let decoded = JsonDecoder::new(BODY_LIMITS).decode(&body, |tape| mask.to_json(tape.root()));
        decoded.ok()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::internal(&anyhow::Error::from(error)))
}

/// The letter of that id.
async fn find(api: &Api, id: &str) -> Result<DeadLetter, Problem> {
    let id: Ulid = id.parse().map_err(|_| Problem::bad_request("id: a letter's id has 26 letters and digits"))?;
    let (letter, unreadable) = api.parts.records.find(id).await.map_err(|error| Problem::of_search(&error))?;
    match letter {
        Some(letter) => Ok(letter),
        None if unreadable.is_empty() => Err(Problem::not_found("there is no letter of that id")),
        None => {
            let detail = format!("not in the files that can be read; {} cannot", unreadable.len());
            Err(Problem::not_found(detail))
        }
    }
}
