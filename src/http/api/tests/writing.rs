//! What is sent with a body, and what viewers may not search by.

use serde_json::json;

use super::client::Answer;
use super::is_problem;
use super::world::{CARD, TOKENS, World};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

async fn post(world: &World, path: &str, body: &str) -> Answer {
    world.client.send("POST", path, Some("operator"), JSON, body.as_bytes()).await
}

/// The id of the group with most letters.
async fn group(world: &World) -> String {
    let groups = world.client.get("/api/v1/groups", Some("viewer")).await.json();
    groups["items"][0]["group"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_group_goes_through_its_life_and_the_audit_tells_who_and_why() {
    let world = World::new(&TOKENS).await;
    let group = group(&world).await;
    let act = |what: &str| format!("/api/v1/groups/{group}/{what}");
    let known = post(&world, &act("acknowledge"), r#"{"reason":"looking","note":"ask ann"}"#).await;
    assert_eq!((known.status, &known.json()["state"]), (200, &json!("acknowledged")));
    let listed = |state: &'static str| {
        let path = format!("/api/v1/groups?state={state}");
        let client = &world.client;
        async move { client.get(&path, Some("viewer")).await.json()["items"].as_array().expect("a list").len() }
    };
    assert_eq!((listed("acknowledged").await, listed("ignored").await), (1, 0));
    let over = post(&world, &act("resolve"), r#"{"reason":"fixed","as_of":"2999-01-01T00:00:00Z"}"#).await;
    assert_eq!((over.status, &over.json()["state"]), (200, &json!("resolved")));
    assert_eq!(post(&world, &act("ignore"), r#"{"reason":"noise"}"#).await.json()["state"], "ignored");
    assert_eq!(post(&world, &act("reopen"), r#"{"reason":"not noise"}"#).await.json()["state"], "open");
    let audit = world.client.get("/api/v1/audit", Some("operator")).await.json();
    let said: Vec<_> = audit["items"].as_array().expect("a list").iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(said, ["looking", "fixed", "noise", "not noise"]);
    assert!(audit["items"].as_array().expect("a list").iter().all(|entry| entry["actor"] == "operator"), "{audit}");
    assert_eq!(audit["items"][0]["event"]["owner"], "operator", "who says so deals with it");
}

#[tokio::test]
async fn an_act_without_a_group_a_reason_or_a_sound_body_changes_nothing() {
    let world = World::new(&TOKENS).await;
    let group = group(&world).await;
    let act = format!("/api/v1/groups/{group}/resolve");
    is_problem(&post(&world, "/api/v1/groups/1-00/ignore", r#"{"reason":"x"}"#).await, 404);
    is_problem(&post(&world, "/api/v1/groups/no/ignore", r#"{"reason":"x"}"#).await, 400);
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        ("{}", 422),
        (r#"{"reason":""}"#, 422),
        (r#"{"reason":" x"}"#, 422),
        (r#"{"reason":"a\u0007b"}"#, 422),
        (r#"{"reason":7}"#, 422),
        (r#"{"reason":"x","more":1}"#, 422),
        (r#"{"reason":"x","as_of":"soon"}"#, 400),
    ] {
        is_problem(&post(&world, &act, body).await, status);
    }
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(2001));
    is_problem(&post(&world, &act, &long).await, 422);
    let plain = world.client.send("POST", &act, Some("operator"), &[("Content-Type", "text/plain")], b"{}").await;
    is_problem(&plain, 415);
    let none = world.client.get("/api/v1/audit", Some("operator")).await.json();
    assert_eq!(none["items"], json!([]));
    let small = World::with(&TOKENS, |api| api.body_max = 64).await;
    is_problem(&post(&small, &act, &format!(r#"{{"reason":"{}"}}"#, "x".repeat(100))).await, 413);
}

#[tokio::test]
async fn letters_are_searched_by_all_that_is_known_of_them() {
    let world = World::new(&TOKENS).await;
    let found = async |query: &str| {
        let answer = world.client.get(&format!("/api/v1/letters?{query}"), Some("operator")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()["items"].as_array().expect("a list").len()
    };
    let all = found("").await;
    for (query, letters) in [
        ("pipeline=flights&where=/plain=seen", 1),
        ("where=/pan=4111", 3),
        ("text=seen", 1),
        ("header=x-source=atc", all),
        ("header=authorization=hunter2", 1),
        ("header=x-source=other", 0),
        ("event_id=4111", 1),
        ("queue=nowhere", 0),
        ("state=dead", all),
        ("state=recovered", 0),
    ] {
        assert_eq!(found(query).await, letters, "{query}");
    }
    for query in ["where=pan=4111", "where=/pan", "header=x-source", "state=lost"] {
        is_problem(&world.client.get(&format!("/api/v1/letters?{query}"), Some("operator")).await, 400);
    }
}

#[tokio::test]
async fn viewers_cannot_find_out_by_searching_what_is_masked() {
    assert!(CARD.starts_with(br#"{"pan""#), "the search below is for what the letter has");
    let world = World::new(&TOKENS).await;
    let status =
        async |query: &str, role: &str| world.client.get(&format!("/api/v1/letters?{query}"), Some(role)).await.status;
    for hidden in [
        "pipeline=flights&where=/pan=4111",
        "pipeline=flights&where=/marked=4111",
        "pipeline=flights&where=/nested=x",
        "pipeline=flights&where==x",
        "pipeline=flights&text=seen",
        "where=/plain=seen",
        "text=4111",
        "header=Authorization=hunter2",
        "pipeline=flights&event_id=4111",
        "pipeline=strangers&where=/plain=seen",
    ] {
        assert_eq!(status(hidden, "viewer").await, 403, "{hidden}");
        assert_eq!(status(hidden, "operator").await, 200, "{hidden}");
    }
    for shown in ["pipeline=flights&where=/plain=seen", "header=x-source=atc", "producer=x", "queue=flights"] {
        assert_eq!(status(shown, "viewer").await, 200, "{shown}");
    }
}

#[tokio::test]
async fn letters_go_elsewhere_only_for_an_admin() {
    let world = World::new(&TOKENS).await;
    let plan = |to: &str| json!({"pipeline": "flights", "reason": "again", "to": {"destination": to}}).to_string();
    for to in ["queue", "queue=other", "origin", "exchange=events", "file:/tmp/letters.parquet"] {
        is_problem(&post(&world, "/api/v1/plans", &plan(to)).await, 403);
    }
    for to in ["nowhere", "file:letters.parquet", "exchange=e,uri-file=uri"] {
        is_problem(&post(&world, "/api/v1/plans", &plan(to)).await, 400);
    }
    let both = r#"{"pipeline":"flights","reason":"again","to":{"keep_expiration":true}}"#;
    is_problem(&post(&world, "/api/v1/plans", both).await, 400);
}
