//! The groups: what the dead letters have in common.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Caller;
use super::body::{Asked, instant, json, parse_instant};
use super::pipelines::pipeline_name;
use super::problem::Problem;
use super::{Api, cursor};
use crate::config::Role;
use crate::dlq::fingerprint::GroupId;
use crate::dlq::groups::{Group, State as GroupState};
use crate::dlq::records::Filter;

/// Rows of a page when nobody says how many.
const PAGE: usize = 100;

/// What keeps cursors of this list apart from others.
const KIND: &str = "groups";

/// What a group's id looks like.
pub(super) const GROUP_PATTERN: &str = "^[0-9]+-[0-9a-f]+$";

/// Dead letters with one cause.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
pub(super) struct GroupView {
    /// Its id.
    #[schema(pattern = "^[0-9]+-[0-9a-f]+$", example = "1-dc573f3993ed91d0")]
    group: String,
    pipeline: String,
    #[schema(example = "validate.type")]
    code: String,
    /// The place in the event: a JSON pointer, `[*]` for an array's elements.
    path: String,
    /// What is wrong, in a sentence.
    title: String,
    /// Where it is in its life: open, acknowledged, resolved, regressed or ignored.
    state: &'static str,
    /// Letters counted here: those whose first issue it is. These counts add up to all letters.
    count: u64,
    /// Letters that show it, beside another issue too.
    showing: u64,
    #[schema(format = DateTime)]
    first_seen: String,
    #[schema(format = DateTime)]
    last_seen: String,
    /// Ids of the newest letters that show it.
    samples: Vec<String>,
    /// Letters by app_id, the largest first; null where viewers do not see it.
    producers: Option<Vec<ProducerView>>,
    /// Letters of further producers, and of none.
    producers_other: u64,
}

/// Letters of one producer.
#[derive(Serialize, ToSchema)]
#[schema(as = Producer)]
pub(super) struct ProducerView {
    app_id: String,
    letters: u64,
}

/// A page of groups.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupsPage {
    items: Vec<GroupView>,
    /// Send it as cursor to get the next page; null on the last one.
    next_cursor: Option<String>,
    /// Files of dead letters that could not be read, and are not counted.
    unreadable: Vec<String>,
}

/// Which groups are meant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupsAsked {
    /// Only of this pipeline.
    #[param(pattern = "^[a-z0-9_-]+$")]
    pipeline: Option<String>,
    /// Only with this code (`validate.type`), or with a code below it (`validate`).
    code: Option<String>,
    /// Only of letters dead at that time or later.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only of letters dead before that time.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Only groups in that state.
    #[param(inline)]
    state: Option<StateAsked>,
    /// Rows of the page.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// From the page before.
    cursor: Option<String>,
}

/// Where a group is in its life.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateAsked {
    Open,
    Acknowledged,
    Resolved,
    Regressed,
    Ignored,
}

impl From<StateAsked> for GroupState {
    fn from(asked: StateAsked) -> Self {
        match asked {
            StateAsked::Open => GroupState::Open,
            StateAsked::Acknowledged => GroupState::Acknowledged,
            StateAsked::Resolved => GroupState::Resolved,
            StateAsked::Regressed => GroupState::Regressed,
            StateAsked::Ignored => GroupState::Ignored,
        }
    }
}

/// All groups
///
/// The largest first.
#[utoipa::path(
    get, path = "/api/v1/groups", tag = "groups", operation_id = "listGroups",
    params(GroupsAsked),
    responses((status = 200, description = "A page of groups.", body = GroupsPage)),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Asked(asked): Asked<GroupsAsked>,
) -> Result<Response, Problem> {
    let size = cursor::page_size(asked.limit, PAGE, api.config.page_max)?;
    let after = asked.cursor.map(|cursor| Key::read(&cursor)).transpose()?;
    let filter = Filter {
        pipeline: pipeline_name(asked.pipeline)?,
        group: None,
        code: asked.code,
        since: parse_instant("since", asked.since.as_deref())?,
        until: parse_instant("until", asked.until.as_deref())?,
        ..Filter::default()
    };
    let (mut groups, unreadable) =
        api.parts.records.groups(&filter).await.map_err(|error| Problem::of_search(&error))?;
    api.journal.stand(&mut groups).await?;
    if let Some(state) = asked.state {
        groups.retain(|group| group.state == state.into());
    }
    let mut rest = groups.into_iter().skip_while(|group| after.as_ref().is_some_and(|after| Key::of(group) <= *after));
    let page: Vec<Group> = rest.by_ref().take(size).collect();
    let next_cursor = page.last().filter(|_| rest.next().is_some()).map(|last| Key::of(last).write());
    Ok(json(&GroupsPage {
        items: page.into_iter().map(|group| view(&api, &caller, group)).collect(),
        next_cursor,
        unreadable: unreadable.into_iter().map(|file| file.path).collect(),
    }))
}

/// One group
#[utoipa::path(
    get, path = "/api/v1/groups/{group}", tag = "groups", operation_id = "showGroup",
    params(("group" = String, Path, description = "Its id.", pattern = "^[0-9]+-[0-9a-f]+$")),
    responses((status = 200, description = "The group.", body = GroupView)),
)]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
) -> Result<Response, Problem> {
    let group = find(&api, &group_id(&group)?).await?;
    Ok(json(&view(&api, &caller, group)))
}

/// The group of that id, with its state.
pub(super) async fn find(api: &Api, id: &GroupId) -> Result<Group, Problem> {
    let filter = Filter { group: Some(id.clone()), ..Filter::default() };
    let (mut groups, _) = api.parts.records.groups(&filter).await.map_err(|error| Problem::of_search(&error))?;
    groups.truncate(1);
    api.journal.stand(&mut groups).await?;
    groups.pop().ok_or_else(|| Problem::not_found("no dead letter is of that group"))
}

/// The id in a path or a query.
pub(super) fn group_id(text: &str) -> Result<GroupId, Problem> {
    GroupId::parse(text).ok_or_else(|| Problem::bad_request(format!("group: an id matches {GROUP_PATTERN}")))
}

pub(super) fn view(api: &Api, caller: &Caller, group: Group) -> GroupView {
    let veiled = caller.role == Role::Viewer;
    let veil = api.parts.veil(&group.pipeline);
    let producers =
        || group.producers.iter().map(|(app_id, letters)| ProducerView { app_id: app_id.clone(), letters: *letters });
    GroupView {
        group: group.id.to_string(),
        title: if veiled { veil.title(&group.title, &group.path) } else { group.title },
        path: if veiled { veil.path(&group.path).into_owned() } else { group.path },
        producers: (!veiled || !veil.hides_property("app_id")).then(|| producers().collect()),
        pipeline: group.pipeline,
        code: group.code,
        state: group.state.as_str(),
        count: group.count,
        showing: group.showing,
        first_seen: instant(group.first_seen),
        last_seen: instant(group.last_seen),
        samples: group.samples.iter().map(ToString::to_string).collect(),
        producers_other: group.producers_other,
    }
}

/// A group's place in the list: the largest first, equals by id.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    count: std::cmp::Reverse<u64>,
    showing: std::cmp::Reverse<u64>,
    id: String,
}

impl Key {
    fn of(group: &Group) -> Self {
        let (count, showing) = (std::cmp::Reverse(group.count), std::cmp::Reverse(group.showing));
        Self { count, showing, id: group.id.to_string() }
    }

    fn write(&self) -> String {
        cursor::write(KIND, &format!("{}:{}:{}", self.count.0, self.showing.0, self.id))
    }

    fn read(text: &str) -> Result<Self, Problem> {
        let key = cursor::read(KIND, text)?;
        let mut parts = key.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).map(std::cmp::Reverse);
        let (count, showing) = (number(), number());
        match (count, showing, parts.next()) {
            (Some(count), Some(showing), Some(id)) => Ok(Self { count, showing, id: id.to_owned() }),
            _ => Err(Problem::bad_request("cursor: not one that this list gave")),
        }
    }
}
