//! The operations: each is named once, and from that come its route, its place in the OpenAPI document, the role it
//! needs and the forms of its answer.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use serde_json::json;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::Api;
use super::body::JSON;
use super::problem::{PROBLEM_TYPE, Problem};
use crate::config::Role;

/// What all paths begin with; the router of the API stands below it.
pub(super) const ROOT: &str = "/api";

/// The name of the security scheme.
const TOKEN: &str = "token";

/// In the document, the least role that an operation needs.
pub(super) const ROLE_KEY: &str = "x-parqueduct-role";

/// What the guard knows of an operation.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `None`: for everybody, without a token.
    pub(super) role: Option<Role>,
    /// The content types it can answer with, the preferred one first.
    pub(super) offers: Arc<[String]>,
}

/// Operations by method and path, as routes have it.
pub(super) type RulesByRoute = HashMap<(Method, String), Rules>;

/// Operations in the making.
pub(super) struct Operations {
    router: Router<Arc<Api>>,
    rules: RulesByRoute,
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Operations {
    pub(super) fn new() -> Self {
        let mut schemas = Vec::new();
        schemas.push((Problem::name().into_owned(), Problem::schema()));
        Problem::schemas(&mut schemas);
        Self { router: Router::new(), rules: HashMap::new(), paths: Paths::new(), schemas }
    }

    /// Adds the operation that `P` describes and `handler` carries out, for callers of at least `role`.
    pub(super) fn with<P, T>(mut self, role: Option<Role>, handler: impl Handler<T, Arc<Api>>) -> Self
    where
        P: utoipa::Path + utoipa::__dev::SchemaReferences,
        T: 'static,
    {
        let path = P::path();
        let operation = P::operation();
        let route = path.strip_prefix(ROOT).expect("every path is below the root");
        let offers: Arc<[String]> = offers(&operation).into();
        for method in P::methods() {
            let (filter, name) = match method {
                HttpMethod::Get => (MethodFilter::GET, Method::GET),
                HttpMethod::Post => (MethodFilter::POST, Method::POST),
                HttpMethod::Put => (MethodFilter::PUT, Method::PUT),
                HttpMethod::Delete => (MethodFilter::DELETE, Method::DELETE),
                _ => unreachable!("no operation has another method"),
            };
            self.router = self.router.route(route, on(filter, handler.clone()));
            self.rules.insert((name, path.clone()), Rules { role, offers: Arc::clone(&offers) });
            let item = PathItem::new(method, completed(operation.clone(), role));
            self.paths.paths.entry(path.clone()).or_default().merge_operations(item);
        }
        P::schemas(&mut self.schemas);
        self
    }

    /// The routes, what the guard knows of them, and the document.
    pub(super) fn finish(self, version: &str) -> (Router<Arc<Api>>, RulesByRoute, OpenApi) {
        let mut components = Components::new();
        components.schemas.extend(self.schemas);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of [[http.token]]. Without tokens in the configuration the API only reads."));
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
        let info = InfoBuilder::new()
            .title("Parqueduct")
            .version(version)
            .description(Some("The dead letters of Parqueduct: what failed and why, and giving it back."))
            .build();
        let document = OpenApiBuilder::new().info(info).paths(self.paths).components(Some(components)).build();
        (self.router, self.rules, document)
    }
}

/// The content types of what it answers when all is well.
fn offers(operation: &Operation) -> Vec<String> {
    let mut offers: Vec<String> = Vec::new();
    for (status, response) in &operation.responses.responses {
        if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
            let new = response.content.keys().filter(|offer| !offers.contains(*offer));
            offers.extend(new.cloned().collect::<Vec<_>>());
        }
    }
    // JSON is what is given to those who do not care.
    offers.sort_by_key(|offer| offer != JSON);
    offers
}

/// What can happen to any request, and who may ask.
fn completed(mut operation: Operation, role: Option<Role>) -> Operation {
    let mut answers = vec![
        (400, "The request cannot be understood, or asks for more than may be asked for."),
        (406, "It cannot be had in any form that Accept names."),
        (421, "Without tokens: the request names another host than this machine's own."),
        (429, "Too many requests; Retry-After says when to go on."),
        (500, "It failed; the program's log says why."),
        (503, "The store is unavailable, or it took too long; Retry-After says when to try again."),
    ];
    if role.is_some() {
        answers.push((401, "No token, or an unknown one."));
        answers.push((403, "The token's role does not allow it."));
    }
    if operation.request_body.is_some() {
        answers.push((413, "The body is larger than http.body_max."));
        answers.push((415, "The body is not application/json."));
        answers.push((422, "The body is JSON, but not of the shape that is asked for."));
    }
    let takes_id = operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == utoipa::openapi::path::ParameterIn::Path,
        RefOr::Ref(_) => false,
    });
    if takes_id {
        answers.push((404, "There is no such thing."));
    }
    for (status, description) in answers {
        let answer = || {
            let problem = Ref::from_schema_name(Problem::name());
            let content = ContentBuilder::new().schema(Some(RefOr::Ref(problem))).build();
            RefOr::T(ResponseBuilder::new().description(description).content(PROBLEM_TYPE, content).build())
        };
        operation.responses.responses.entry(status.to_string()).or_insert_with(answer);
    }
    let security = role.map(|_| SecurityRequirement::new(TOKEN, Vec::<String>::new()));
    operation.security = Some(security.into_iter().collect());
    let said =
        role.map_or("For everybody, without a token.".to_owned(), |role| format!("Needs the role {}.", role.as_str()));
    let description = operation.description.take().unwrap_or_default();
    operation.description = Some(format!("{description}\n\n{said}").trim().to_owned());
    let role = role.map_or(json!(null), |role| json!(role.as_str()));
    operation.extensions.get_or_insert_default().insert(ROLE_KEY.to_owned(), role);
    operation
}
