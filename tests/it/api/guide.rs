//! The commands of `docs/api.md`, run as they stand there.

use std::process::Command;

use super::document::Operation;
use super::place::{Place, token};

fn guide() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).expect("the guide is there")
}

/// The commands of its `sh` blocks that ask the API, continuation lines joined.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<String>();
    joined.lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_guide_work() {
    let place = Place::new();
    let commands = commands(&guide());
    assert!(commands.len() > 5, "the guide has commands: {commands:?}");
    let asked = serde_json::json!({"pipeline": "orders", "reason": "the guide says so"});
    let planned = place.send("POST", "/api/v1/plans", Some(&token("admin")), Some(&asked));
    let planned: serde_json::Value = serde_json::from_str(&planned.body).expect("JSON");
    let plan = planned["plan"].as_str().expect("a hash").to_owned();
    for command in commands {
        // The guide leaves out what scripts need: no progress, and an exit code for errors.
        let script = format!("curl() {{ command curl --silent --show-error --fail-with-body \"$@\"; }}\n{command}");
        let done = Command::new("sh")
            .args(["-eu", "-c", &script])
            .current_dir(place.setting.directory.path())
            .env("API", format!("{}/api/v1", place.url()))
            .env("TOKEN", token("admin"))
            .env("LETTER", &place.letters[0])
            .env("GROUP", &place.groups[0])
            .env("PIPELINE", "orders")
            .env("PLAN", &plan)
            .output()
            .expect("a shell starts");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{command}\n{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_guide_lists_every_operation() {
    let place = Place::new();
    let guide = guide();
    let mut rows = Vec::new();
    for Operation { method, path, role, .. } in Operation::all(&place.document()) {
        let path = path.strip_prefix("/api/v1").expect("below the root");
        rows.push(format!("| `{method} {path}` | {} |", role.as_deref().unwrap_or("everybody")));
    }
    let missing: Vec<_> = rows.iter().filter(|row| !guide.lines().any(|line| line.starts_with(row.as_str()))).collect();
    assert!(missing.is_empty(), "docs/api.md is to hold rows that begin so:\n{rows:#?}");
    let listed =
        guide.lines().filter(|line| ["| `GET /", "| `POST /"].iter().any(|start| line.starts_with(start))).count();
    assert_eq!(listed, rows.len(), "docs/api.md lists an operation twice, or one that is gone");
}
