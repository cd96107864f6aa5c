//! What the broker would do to messages by itself is said by `check --connect`, and at the start of `run`.

use std::path::PathBuf;
use std::time::Duration;

use lapin::types::AMQPValue;
use serde_json::{Value, json};

use crate::harness::now;
use crate::harness::program::{Program, parqueduct, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::repository;

const MINUTE: Duration = Duration::from_secs(60);

/// A configuration with a pipeline for each of `queues`.
fn write(directory: &tempfile::TempDir, name: &str, rabbitmq: &str, queues: &[&str]) -> PathBuf {
    let mut text = format!(
        "[rabbitmq]\nconnect_timeout = \"60s\"\n{rabbitmq}\n[store]\nurl = \"file://{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        directory.path().join("store").display()
    );
    let schema = repository().join("tests/data/order.v1.json");
    for queue in queues {
        text.push_str(&format!(
            "[[pipeline]]\nname = \"{queue}\"\nqueue = \"{queue}\"\nformat = \"json\"\nschema = \"{}\"\n",
            schema.display()
        ));
    }
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// The exit code of `check --connect`, and its lines without the file's name.
fn check(config: &std::path::Path) -> (Option<i32>, Vec<String>) {
    let config = config.to_str().expect("a path in UTF-8");
    let output = parqueduct(&["check", "--config", config, "--connect"]);
    let said = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), said.lines().map(|line| line.replace(&format!("{config}:"), "")).collect())
}

const QUEUES: [&str; 7] = ["limited", "by-policy", "caught", "short-lived", "short", "pushing-back", "plain"];

async fn declare_all(node: &Rabbit, directory: &tempfile::TempDir) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let quorum = ("x-queue-type", text("quorum"));
    let limit = ("x-delivery-limit", AMQPValue::LongInt(5));
    node.declare("limited", &[quorum.clone(), limit.clone()]).await;
    node.declare("by-policy", std::slice::from_ref(&quorum)).await;
    node.declare("caught", &[quorum, limit, ("x-dead-letter-exchange", text("amq.fanout"))]).await;
    node.declare("short-lived", &[("x-message-ttl", AMQPValue::LongInt(60_000))]).await;
    node.declare("short", &[]).await;
    let bound = ("x-max-length", AMQPValue::LongInt(1000));
    node.declare("pushing-back", &[bound, ("x-overflow", text("reject-publish"))]).await;
    node.declare("plain", &[]).await;
    // In one call, for each takes seconds: two policies, and a user who may look and nothing else.
    let policy = |name: &str, definition: Value| {
        json!({ "vhost": "/", "name": name, "pattern": format!("^{name}$"), "apply-to": "queues", "priority": 0,
                "definition": definition })
    };
    let definitions = json!({
        "vhosts": [{ "name": "/" }],
        "policies": [policy("by-policy", json!({ "delivery-limit": 3 })),
                     policy("short", json!({ "max-length-bytes": 1_000_000 }))],
        "users": [{ "name": "monitor", "password": "wa/tch", "tags": "monitoring" }],
        "permissions": [{ "user": "monitor", "vhost": "/", "configure": "", "write": "", "read": "" }],
    });
    let file = directory.path().join("definitions.json");
    std::fs::write(&file, definitions.to_string()).expect("written");
    node.ctl(&["import_definitions", file.to_str().expect("a path in UTF-8")]).await;
}

#[test]
fn check_connect_and_run_tell_what_the_broker_would_do_to_messages() {
    let node = now(Rabbit::own(&["--plugins", "rabbitmq_management"]));
    let directory = tempfile::tempdir().expect("a temporary directory");
    now(declare_all(&node, &directory));
    let login = |login: &str| {
        let api = format!("http://{login}@127.0.0.1:{}", node.management_port());
        format!("uri = \"{}\"\nmanagement = \"{api}\"", node.uri())
    };
    let config = write(&directory, "all.toml", &login("monitor:wa%2Ftch"), &QUEUES);
    let expected = [
        ("limited", "has a delivery limit of 5 and no dead-letter exchange"),
        ("by-policy", "has a delivery limit of 3 and no dead-letter exchange"),
        ("short-lived", "expire after 1m (message-ttl): after an outage longer than that they are dropped"),
        ("short", "holds at most 1000000 bytes (max-length-bytes), and drops the oldest"),
    ];
    // A queue's policies are a part of the statistics, which are taken every five seconds.
    let warnings = |said: &[String]| -> Vec<String> {
        said.iter().filter(|line| line.contains("warning: pipeline.queue: ")).cloned().collect()
    };
    let (code, said) = wait_for("the policies of new queues", MINUTE, || {
        let (code, said) = check(&config);
        (warnings(&said).len() >= expected.len()).then_some((code, said))
    });
    assert_eq!(code, Some(0), "{said:#?}");
    let warnings = warnings(&said);
    assert_eq!(warnings.len(), expected.len(), "{said:#?}");
    for (queue, words) in expected {
        let told = |line: &&String| line.contains(&format!("`{queue}`")) && line.contains(words);
        assert_eq!(warnings.iter().filter(told).count(), 1, "{queue}: {said:#?}");
    }
    assert!(said.last().is_some_and(|line| line.ends_with("are fine")), "{said:#?}");

    let program = Program::start(&config);
    for (queue, words) in expected {
        wait_for(&format!("a warning about {queue}"), MINUTE, || {
            let told = |line: &&str| line.contains(" WARN ") && line.contains(words) && line.contains(queue);
            program.log().lines().any(|line| told(&line)).then_some(())
        });
    }
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains(" WARN ")).count(), expected.len(), "once each: {log}");

    let config = write(&directory, "refused.toml", &login("monitor:mistyped"), &["plain"]);
    let (code, said) = check(&config);
    assert_eq!(code, Some(0), "the API is not needed: {said:#?}");
    assert!(said.iter().any(|line| line.starts_with("4: warning: rabbitmq.management: ")), "{said:#?}");
    let told = said.iter().find(|line| line.contains("does not take this user")).expect("the reason");
    assert!(told.contains("tag monitoring") && !told.contains("mistyped"), "{told}");
    now(node.ctl(&["clear_permissions", "-p", "/", "monitor"]));
    let config = write(&directory, "blind.toml", &login("monitor:wa%2Ftch"), &["plain"]);
    let (code, said) = check(&config);
    assert!(
        code == Some(0) && said.iter().any(|line| line.contains("no permission in the virtual host `/`")),
        "{said:#?}"
    );
}

#[test]
fn a_management_api_that_is_away_is_warned_of_and_one_that_is_not_set_is_mentioned() {
    let node = now(Rabbit::shared());
    let queue = now(node.queue("unwatched"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let uri = format!("uri = \"{}\"", node.uri());
    let config = write(&directory, "without.toml", &uri, &[&queue]);
    let (code, said) = check(&config);
    assert!(code == Some(0) && said.iter().any(|line| line.starts_with("rabbitmq.management is not set")), "{said:#?}");

    let away = format!("{uri}\nmanagement = \"http://user:secret@127.0.0.1:1\"");
    let config = write(&directory, "away.toml", &away, &[&queue]);
    let (code, said) = check(&config);
    assert_eq!(code, Some(0), "{said:#?}");
    let told = said.iter().find(|line| line.starts_with("4: warning: rabbitmq.management: ")).expect("a warning");
    assert!(told.contains("the management API http://127.0.0.1:1 tells nothing") && !told.contains("secret"), "{told}");
    let program = Program::start(&config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    wait_for("the warning", MINUTE, || program.log().contains("tells nothing").then_some(()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && !log.contains("secret"), "{log}");
}
