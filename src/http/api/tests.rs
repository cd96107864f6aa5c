//! The API over a real connection: what each caller gets, what nobody gets, and that the document tells the truth.

mod client;
mod world;
mod writing;

use std::collections::BTreeSet;

use serde_json::Value;

use client::{Answer, Client};
use world::{TOKENS, World};

const PROBLEM: &str = "application/problem+json";

/// Asserts that it is an error of that status, told as a problem.
#[track_caller]
fn is_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some(PROBLEM), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem}");
    for key in ["type", "title", "detail", "request_id"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {problem}");
    }
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
}

/// Every operation of the document: method, path with its parameters filled in, and the role it needs.
async fn operations(client: &Client) -> Vec<(String, String, Option<String>)> {
    let document = client.get("/api/v1/openapi.json", None).await.json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let filled = path.replace("{group}", "1-00").replace("{name}", "flights").replace("{id}", world::NOBODY);
            let filled =
                filled.replace("{job}", world::NOBODY).replace("{run}", world::NOBODY).replace("{plan}", "abcd");
            assert!(!filled.contains('{'), "{path} has a parameter that the tests do not know");
            let role = operation[super::operations::ROLE_KEY].as_str().map(str::to_owned);
            found.push((method.to_uppercase(), filled, role));
        }
    }
    found
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let (_, rules, _) = super::operations().finish("1");
    let routed: BTreeSet<_> = rules.keys().map(|(method, path)| format!("{method} {path}")).collect();
    let world = World::new(&TOKENS).await;
    let document = world.client.get("/api/v1/openapi.json", None).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut told = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            told.insert(format!("{} {path}", method.to_uppercase()));
            let name = operation["operationId"].as_str().expect("a name").to_owned();
            assert!(names.insert(name.clone()), "{name} is the name of two operations");
            assert!(operation["summary"].is_string() && operation["description"].is_string(), "{name} is explained");
        }
    }
    assert_eq!(told, routed);
    for (method, path, _) in operations(&world.client).await {
        let answer = world.client.send(&method, &path, Some("admin"), &[], b"").await;
        let known = answer.status != 405 && !answer.text().contains("has no such path");
        assert!(known, "{method} {path} is in the document, and the router answers {answer:?}");
    }
}

#[tokio::test]
async fn references_of_the_document_lead_somewhere() {
    let world = World::new(&TOKENS).await;
    let document = world.client.get("/api/v1/openapi.json", None).await.json();
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "$ref" => found.push(text.clone()),
                value => references(value, found),
            }),
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn nothing_but_the_document_is_answered_without_a_token() {
    let world = World::new(&TOKENS).await;
    for (method, path, role) in operations(&world.client).await {
        for token in [None, Some("nobody")] {
            let answer = world.client.send(&method, &path, token, &[], b"").await;
            match role {
                Some(_) => {
                    is_problem(&answer, 401);
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                }
                None => assert_eq!(answer.status, 200),
            }
        }
    }
    is_problem(&world.client.get("/api/v1/nothing", None).await, 401);
}

#[tokio::test]
async fn a_role_that_is_not_enough_is_refused() {
    let world = World::new(&TOKENS).await;
    let roles = ["viewer", "operator", "admin"];
    for (method, path, needed) in operations(&world.client).await {
        let Some(needed) = needed else { continue };
        let needed = roles.iter().position(|role| *role == needed).expect("a role");
        for role in &roles[..needed] {
            is_problem(&world.client.send(&method, &path, Some(role), &[], b"").await, 403);
        }
        let answer = world.client.send(&method, &path, Some(roles[needed]), &[], b"").await;
        assert!(answer.status != 401 && answer.status != 403, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn without_tokens_everything_that_is_not_reading_is_refused_and_so_are_foreign_names() {
    let world = World::new(&[]).await;
    for (method, path, needed) in operations(&world.client).await {
        let answer = world.client.send(&method, &path, None, &[], b"").await;
        match needed.as_deref() {
            None | Some("viewer") => assert!(answer.status == 200 || answer.status == 404, "{answer:?}"),
            Some(_) => is_problem(&answer, 403),
        }
    }
    let rebound = world.client.send("GET", "/api/v1/groups", None, &[("Host", "evil.example.org")], b"").await;
    is_problem(&rebound, 421);
}

#[tokio::test]
async fn what_http_says_of_requests_is_said() {
    let world = World::new(&TOKENS).await;
    let client = &world.client;
    is_problem(&client.get("/api/v1/nothing", Some("viewer")).await, 404);
    is_problem(&client.get("/api/nothing", Some("viewer")).await, 404);
    let wrong = client.send("DELETE", "/api/v1/groups", Some("viewer"), &[], b"").await;
    is_problem(&wrong, 405);
    assert!(wrong.header("allow").is_some_and(|allow| allow.contains("GET")), "{wrong:?}");
    let html = client.send("GET", "/api/v1/groups", Some("viewer"), &[("Accept", "text/html")], b"").await;
    is_problem(&html, 406);
    for query in [
        "limit=0",
        "limit=11",
        "limit=x",
        "colour=1",
        "since=yesterday",
        "cursor=!!",
        "cursor=YTpi",
        "pipeline=../x",
        "pipeline=",
    ] {
        is_problem(&client.get(&format!("/api/v1/letters?{query}"), Some("viewer")).await, 400);
    }
    is_problem(&client.get("/api/v1/letters?group=x", Some("viewer")).await, 400);
    is_problem(&client.get(&format!("/api/v1/audit?after={}", u64::MAX), Some("operator")).await, 400);
    is_problem(&client.get("/api/v1/letters/x", Some("viewer")).await, 400);
    is_problem(&client.get(&format!("/api/v1/letters/{}", world::NOBODY), Some("viewer")).await, 404);
    is_problem(&client.get("/api/v1/groups/1-00", Some("viewer")).await, 404);
    is_problem(&client.get("/api/v1/groups/%ff", Some("viewer")).await, 400);
    let (head, get) = (
        client.send("HEAD", "/api/v1/groups", Some("viewer"), &[], b"").await,
        client.get("/api/v1/groups", Some("viewer")).await,
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[tokio::test]
async fn every_answer_is_named_kept_out_of_caches_and_no_page() {
    let world = World::new(&TOKENS).await;
    for path in ["/api/v1/groups", "/api/v1/nothing", "/api/v1/openapi.json"] {
        let answer = world.client.send("GET", path, Some("viewer"), &[("X-Request-Id", "mine-1")], b"").await;
        for (name, value) in [
            ("x-request-id", "mine-1"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_go_on() {
    let world = World::with(&TOKENS, |api| api.requests_max = 2).await;
    for _ in 0..2 {
        assert_eq!(world.client.get("/api/v1/groups", Some("viewer")).await.status, 200);
    }
    let answer = world.client.get("/api/v1/groups", Some("viewer")).await;
    is_problem(&answer, 429);
    assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok_and(|wait| wait > 0)));
    assert_eq!(world.client.get("/api/v1/groups", Some("operator")).await.status, 200);
}

#[tokio::test]
async fn a_list_by_pages_is_the_list_at_once() {
    let world = World::new(&TOKENS).await;
    for list in ["/api/v1/letters", "/api/v1/groups"] {
        let key = if list.ends_with("letters") { "id" } else { "group" };
        let names = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().expect("items");
            items.iter().map(|item| item[key].as_str().expect("a name").to_owned()).collect()
        };
        let whole = names(&world.client.get(&format!("{list}?limit=10"), Some("viewer")).await.json());
        assert!(whole.len() > 3, "{list}: {whole:?}");
        for size in 1..=whole.len() {
            let (mut paged, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = world.client.get(&format!("{list}?limit={size}{cursor}"), Some("viewer")).await.json();
                paged.extend(names(&page));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(paged, whole, "{list} by {size}");
        }
    }
    let accept = [("Accept", "application/x-ndjson")];
    let lines = world.client.send("GET", "/api/v1/letters", Some("viewer"), &accept, b"").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let whole = world.client.get("/api/v1/letters?limit=10", Some("viewer")).await.json();
    assert_eq!(Value::from(lines), whole["items"]);
    let two = world.client.send("GET", "/api/v1/letters?limit=2", Some("viewer"), &accept, b"").await;
    assert_eq!(two.text().lines().count(), 2);
}

#[tokio::test]
async fn viewers_see_bodies_without_what_is_masked_and_operators_as_they_came() {
    let world = World::new(&TOKENS).await;
    let path = format!("/api/v1/letters/{}/body", world.card);
    let shown = world.client.get(&path, Some("viewer")).await;
    assert_eq!(shown.header("content-type"), Some("application/json"));
    assert_eq!(
        shown.text(),
        r#"{"pan":"[masked]","marked":"[masked]","nested":[{"secret":"[masked]","n":1.50}],"plain":"seen"}"#
    );
    for role in ["operator", "admin"] {
        let whole = world.client.get(&path, Some(role)).await;
        assert_eq!(
            (whole.header("content-type"), whole.body.as_slice()),
            (Some("application/octet-stream"), world::CARD)
        );
        assert!(whole.header("content-disposition").is_some_and(|said| said.starts_with("attachment")));
        let json = world.client.send("GET", &path, Some(role), &[("Accept", "application/json")], b"").await;
        assert_eq!((json.header("content-type"), json.body.as_slice()), (Some("application/json"), world::CARD));
    }
    let bytes = [("Accept", "application/octet-stream")];
    is_problem(&world.client.send("GET", &path, Some("viewer"), &bytes, b"").await, 406);
}

#[tokio::test]
async fn viewers_see_nothing_of_bodies_that_are_no_json_or_of_pipelines_nobody_knows() {
    let world = World::new(&TOKENS).await;
    for letter in [&world.broken, &world.repeated, &world.stranger] {
        let path = format!("/api/v1/letters/{letter}/body");
        let refused = world.client.get(&path, Some("viewer")).await;
        is_problem(&refused, 403);
        assert!(!refused.text().contains("4111"), "{refused:?}");
        let whole = world.client.get(&path, Some("operator")).await;
        assert!(whole.text().contains("4111"), "{whole:?}");
    }
    let path = format!("/api/v1/letters/{}/body", world.broken);
    is_problem(&world.client.send("GET", &path, Some("operator"), &[("Accept", "application/json")], b"").await, 406);
}

#[tokio::test]
async fn viewers_see_headers_properties_and_ids_without_what_is_masked() {
    let world = World::new(&TOKENS).await;
    let path = format!("/api/v1/letters/{}", world.card);
    let shown = world.client.get(&path, Some("viewer")).await.json();
    assert_eq!(shown["headers"]["authorization"]["S"], "[masked]");
    assert_eq!(shown["headers"]["x-source"]["S"], "atc");
    assert_eq!(shown["properties"]["user_id"], "[masked]");
    assert_eq!(shown["event_id"], "[masked]");
    assert_eq!(shown["unreadable"][0]["bytes_base64"], Value::Null);
    assert!(!shown.to_string().contains("4111") && !shown.to_string().contains("hunter2"), "{shown}");
    let whole = world.client.get(&path, Some("operator")).await.json();
    assert_eq!(whole["headers"]["authorization"]["S"], "hunter2");
    assert_eq!(whole["properties"]["user_id"], "eve");
    assert_eq!(whole["event_id"], "4111");
    assert!(whole["unreadable"][0]["bytes_base64"].is_string());
}

#[tokio::test]
async fn whoever_is_shown_a_letter_is_noted_and_viewers_are_not() {
    let world = World::new(&TOKENS).await;
    let (letter, body) = (format!("/api/v1/letters/{}", world.card), format!("/api/v1/letters/{}/body", world.card));
    for role in ["viewer", "operator", "admin"] {
        for path in [&letter, &body] {
            assert_eq!(world.client.get(path, Some(role)).await.status, 200);
        }
    }
    let audit = world.client.get("/api/v1/audit", Some("operator")).await.json();
    let told = |entry: &Value| {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&entry["actor"]), text(&entry["event"]["type"]), text(&entry["event"]["letter"]))
    };
    let entries: Vec<_> = audit["items"].as_array().expect("items").iter().map(told).collect();
    let read = |actor: &str| (actor.to_owned(), "payload_read".to_owned(), world.card.to_string());
    assert_eq!(entries, ["operator", "operator", "admin", "admin"].map(read));
    let verified = world.client.get("/api/v1/audit/verification", Some("operator")).await.json();
    assert_eq!((verified["sound"].as_bool(), verified["entries"].as_u64()), (Some(true), Some(4)));
    let rest = world.client.get("/api/v1/audit?after=2&limit=1", Some("operator")).await.json();
    assert_eq!((rest["items"][0]["seq"].as_u64(), rest["next_after"].as_u64()), (Some(3), Some(3)));
    let accept = [("Accept", "application/x-ndjson")];
    let lines = world.client.send("GET", "/api/v1/audit", Some("operator"), &accept, b"").await;
    assert_eq!(lines.text().lines().count(), 4);
}

#[tokio::test]
async fn pipelines_are_told_with_their_ledgers() {
    let world = World::new(&TOKENS).await;
    let all = world.client.get("/api/v1/pipelines", Some("viewer")).await.json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    let one = world.client.get("/api/v1/pipelines/flights", Some("viewer")).await.json();
    assert_eq!(one, all["items"][0]);
    assert_eq!((one["queue"].as_str(), one["events"][0]["schema"].as_str()), (Some("flights"), Some("flight@1")));
    assert_eq!((one["ledger"]["received"].as_u64(), one["ledger"]["in_flight"].as_u64()), (Some(3), Some(3)));
    is_problem(&world.client.get("/api/v1/pipelines/nobody", Some("viewer")).await, 404);
}
