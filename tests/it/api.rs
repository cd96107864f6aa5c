//! The API of a running program: what its document says is what it does, and nobody changes or sees what is not for
//! them.

mod acts;
mod document;
mod guide;
mod place;

use std::process::Command;
use std::time::Duration;

use crate::harness::python;
use document::Operation;
use place::{Place, ROLES};

/// What the API may write: whatever is said, planned or replayed is kept below it.
fn said(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![place.setting.store()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => todo.push(path),
                false => found.push((path.display().to_string(), std::fs::read(&path).expect("it can be read"))),
            }
        }
    }
    found.sort();
    found
}

/// Walks the document rather than a list, so that an operation that is new is tried without being named here.
#[test]
fn nobody_changes_anything_without_the_role_that_the_document_names() {
    let place = Place::new();
    let operations = Operation::all(&place.document());
    assert!(operations.len() > 5, "the document has operations: {operations:?}");
    let before = said(&place);
    for operation in &operations {
        let Some(needed) = operation.role.as_deref() else { continue };
        let needed = ROLES.iter().position(|role| *role == needed).expect("a role");
        for token in [None, Some("nobody-knows-this-token")] {
            let answer = place.ask(operation, token);
            assert_eq!(answer.status, 401, "{operation:?} with {token:?}: {answer:?}");
        }
        for role in &ROLES[..needed] {
            let answer = place.ask(operation, Some(&place::token(role)));
            assert_eq!(answer.status, 403, "{operation:?} as {role}: {answer:?}");
        }
        // Whatever a viewer may do changes nothing, either.
        if needed == 0 {
            let answer = place.ask(operation, Some(&place::token("viewer")));
            assert!(![401, 403].contains(&answer.status) || operation.is_body(), "{operation:?}: {answer:?}");
            assert!(answer.status < 500, "{operation:?}: {answer:?}");
        }
    }
    assert_eq!(said(&place), before, "a viewer, or nobody, changed something");
    // The same requests of somebody who may do change something: what was held up was no empty shell.
    for operation in &operations {
        let answer = place.ask(operation, Some(&place::token("admin")));
        assert!(![401, 403].contains(&answer.status) && answer.status < 500, "{operation:?}: {answer:?}");
    }
    assert!(said(&place) != before, "an admin changed nothing");
}

#[test]
fn a_viewer_sees_no_masked_value_by_any_operation() {
    let place = Place::new();
    for operation in Operation::all(&place.document()) {
        for letter in &place.letters {
            let answer = place.ask_about(&operation, letter, Some(&place::token("viewer")));
            assert!(!answer.body.contains("secret-4111"), "{operation:?}: {answer:?}");
        }
    }
    let shown = |role: &str| {
        let path = format!("/api/v1/letters/{}/body", place.letters[0]);
        place.get(&path, Some(&place::token(role))).body
    };
    assert!(shown("operator").contains("secret-4111") && shown("viewer").contains("[masked]"));
}

/// Asks whatever the document allows and forbids; first of anything, then of a letter and a group that are there.
#[test]
fn the_answers_are_what_the_document_promises() {
    let place = Place::new();
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml");
    let settings = std::fs::read_to_string(settings).expect("the settings are there");
    let there = format!(
        "\n[parameters]\n\"path.id\" = \"{}\"\n\"path.group\" = \"{}\"\n\"path.name\" = \"orders\"\n",
        place.letters[0], place.groups[0]
    );
    for more in ["", &there] {
        let config = place.setting.directory.path().join("schemathesis.toml");
        std::fs::write(&config, format!("{settings}{more}")).expect("it can be written");
        let done = Command::new(python::interpreter().with_file_name("schemathesis"))
            .arg("--config-file")
            .arg(&config)
            .args(["run", &format!("{}/api/v1/openapi.json", place.url()), "--checks", "all"])
            .args(["--header", &format!("Authorization: Bearer {}", place::token("admin"))])
            .current_dir(place.setting.directory.path())
            .output()
            .expect("schemathesis starts");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let log = place.program.log();
    assert!(!log.contains("made the program panic"), "{log}");
}

#[test]
fn the_api_is_off_when_it_is_told_to_be() {
    let place = Place::with("api = \"off\"");
    assert_eq!(place.get("/api/v1/openapi.json", None).status, 404);
    assert_eq!(place.get("/healthz", None).status, 200);
}

#[test]
fn a_stop_ends_the_api_in_time_though_a_client_reads_nothing() {
    use std::io::Write;
    let place = Place::new();
    let mut silent = std::net::TcpStream::connect(place.program.address()).expect("it is served");
    write!(silent, "GET /api/v1/letters HTTP/1.1\r\n").expect("it is sent");
    let begun = std::time::Instant::now();
    let (status, _) = place.end(Duration::from_secs(20));
    assert!(status.success() && begun.elapsed() < Duration::from_secs(15), "{status} after {:?}", begun.elapsed());
}
