//! Letters given back by other ways than straight into their pipeline: through a broker, into a file, into the pipeline of
//! those who lost them.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::types::AMQPValue;
use parqueduct::event::{HeaderValue, Message, Properties};
use serde_json::Value;

use super::{LIMIT, Orders, Running, dlq, dlq_json, dlq_refused, job, job_id, plan, recovered_rows, wait_for_job};
use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};
use crate::replay_broker;

const MINUTE: Duration = Duration::from_secs(60);

/// The fix for amounts in quotes.
const NUMBERS: &str = "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n";

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn letters_by_state(setting: &Setting, more: &[&str]) -> Vec<(String, String)> {
    let all = dlq_json(setting, &[&["list", "--state", "all"], more].concat());
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    all.iter().map(|letter| (text(&letter["id"]), text(&letter["state"]))).collect()
}

#[test]
fn a_mended_letter_goes_by_its_queue_and_is_recovered_when_its_row_is_committed() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start_ready(&setting.config);
    let bad = |n: usize| {
        let body = format!(
            "{{\"id\":\"order-{n}\",\"occurred_at\":\"2024-01-02T10:00:00Z\",\"amount\":\"{n}.5\",\"customer\":{{\"email\":\"c@example.com\"}}}}"
        );
        Message { body: body.into_bytes(), ..Message::default() }
    };
    now(rabbit.publish(&setting.queue, &(0..50).map(bad).collect::<Vec<_>>()));
    program.wait_until_settled(50, MINUTE);
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), 50.0);

    let fix = super::file(&setting, "fix.toml", NUMBERS);
    let hash = plan(&setting, &["--fix", &fix, "--to", "queue"])["plan"].as_str().expect("a hash").to_owned();
    dlq(&setting, &["dry-run", &hash]);
    let end = dlq_json(&setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!((&end["status"], &end["counts"]["sent"]), (&"finished".into(), &50.into()), "{end:#}");
    wait_for("all rows", MINUTE, || (archive::event_ids(&setting.store()).len() == 50).then_some(()));
    let letters = letters_by_state(&setting, &[]);
    assert_eq!(letters.len(), 50, "none is a second letter");
    assert!(letters.iter().all(|(_, state)| state == "recovered"), "{letters:?}");
    let rows: BTreeSet<String> = recovered_rows(&setting.store()).into_values().collect();
    assert_eq!(rows, letters.into_iter().map(|(id, _)| id).collect());
    let shown = dlq_json(&setting, &["list", "--state", "recovered", "--limit", "1"]).remove(0);
    assert_eq!(shown["attempts"][1]["job"], end["job"], "{shown:#}");

    let again = dlq_json(&setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!((&again["job"], &again["done"]), (&Value::Null, &50.into()), "{again:#}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    archive::assert_orders(&archive::event_ids(&setting.store()), 50, 1);
}

#[test]
fn a_letter_that_fails_again_behind_the_broker_stays_the_same_letter() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &[Message { body: orders::bad(16).body, ..Message::default() }]));
    program.wait_until_settled(1, MINUTE);
    let hash = plan(&setting, &["--to", "queue"])["plan"].as_str().expect("a hash").to_owned();
    let end = dlq_json(&setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!(end["counts"]["sent"], 1, "{end:#}");
    program.wait_until_settled(2, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    let all = dlq_json(&setting, &["list", "--state", "all"]);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((&all[0]["state"], all[0]["attempts"].as_array().map(Vec::len)), (&"dead".into(), Some(2)));
    // The plan is done; whoever wants to try once more says so by a new plan.
    let again = dlq_json(&setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!(again["job"], Value::Null, "{again:#}");
}

#[test]
fn kill_9_of_a_replay_through_the_queue_loses_none_and_none_is_archived_twice() {
    let letters = 6000;
    let rabbit = now(Rabbit::shared());
    let orders = Orders::at(rabbit.uri(), (0..letters).map(|n| format!("\"{n}.25\"")));
    let setting = &orders.setting;
    now(rabbit.declare(&setting.queue, &[]));
    let to = format!("queue={}", setting.queue);
    let hash = orders.plan(&["--to", &to]);
    for reached in [1000, 2500] {
        let running = match job(setting) {
            None => Running::start(setting, &["replay", &hash, "--yes", "--rate", "400"]),
            Some(job) => Running::start(setting, &["resume", job["job"].as_str().expect("an id"), "--rate", "400"]),
        };
        wait_for("some messages", LIMIT, || (now(rabbit.messages(&setting.queue)) > reached).then_some(()));
        assert!(running.kill_9(), "killed while there was more to do");
    }
    let said = dlq(setting, &["resume", &job_id(setting)]);
    assert!(said.contains("finished: 6000 sent"), "{said}");
    let published = now(rabbit.messages_at_rest(&setting.queue));
    assert!((letters as u64..=letters as u64 + 2000).contains(&published), "at most a chunk each time: {published}");

    setting.declares_nothing();
    let program = Program::start_ready(&setting.config);
    program.wait_until_settled(published, MINUTE);
    assert_eq!(program.metric("parqueduct_duplicates_suppressed_total"), (published - letters as u64) as f64);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    orders.assert_each_once(letters);
    assert_eq!(recovered_rows(&setting.store()).len(), letters);
    assert!(letters_by_state(setting, &[]).iter().all(|(_, state)| state == "recovered"));
}

#[test]
fn a_replay_through_the_broker_is_paused_resumed_and_cancelled() {
    let rabbit = now(Rabbit::shared());
    let orders = Orders::at(rabbit.uri(), (0..5000).map(|n| format!("\"{n}.25\"")));
    let setting = &orders.setting;
    let queue = now(rabbit.queue("paused"));
    let hash = orders.plan(&["--to", &format!("queue={queue}")]);
    let running = Running::start(setting, &["replay", &hash, "--yes", "--rate", "400"]);
    wait_for_job(setting, "some letters", |job| number(&job["done"]) >= 100);
    let id = job_id(setting);
    dlq(setting, &["pause", &id]);
    wait_for_job(setting, "a pause", |job| job["status"] == "paused");
    // What it had in hand is sent; then it rests.
    std::thread::sleep(Duration::from_secs(3));
    let rests_at = number(&job(setting).expect("a job")["done"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(number(&job(setting).expect("a job")["done"]), rests_at);
    assert!(rests_at < 5000);
    dlq(setting, &["resume", &id]);
    wait_for_job(setting, "more letters", |job| number(&job["done"]) > rests_at);
    dlq(setting, &["cancel", &id]);
    let (_, said) = running.end();
    assert!(said.contains("cancelled"), "{said}");
    let sent = number(&job(setting).expect("a job")["counts"]["sent"]);
    assert_eq!(now(rabbit.messages_at_rest(&queue)), sent, "all that was sent is known");
    assert!(sent < 5000);
    // The same plan goes on there.
    let end = dlq_json(setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!((&end["counts"]["sent"], &end["counts"]["skipped"]), (&(5000 - sent).into(), &sent.into()), "{end:#}");
    assert_eq!(now(rabbit.messages_at_rest(&queue)), 5000);
}

#[test]
fn a_replay_halts_at_the_first_letter_that_nobody_would_get_and_goes_on_when_somebody_does() {
    let rabbit = now(Rabbit::shared());
    let orders = Orders::at(rabbit.uri(), (0..20).map(|n| format!("\"{n}.25\"")));
    let setting = &orders.setting;
    let exchange = now(replay_broker::exchange(&rabbit, lapin::ExchangeKind::Topic, false));
    let hash = orders.plan(&["--to", &format!("exchange={exchange},key=orders.new"), "--priority", "3"]);
    let end = dlq_json(setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!((&end["status"], &end["counts"]["unroutable"]), (&"halted".into(), &1.into()), "{end:#}");
    let why = end["why"].as_str().expect("a reason");
    assert!(why.contains("of the first 1 letters 1 failed") && why.contains("NO_ROUTE"), "{why}");

    let queue = now(rabbit.queue("bound"));
    now(replay_broker::bind(&rabbit, &queue, &exchange, "orders.*"));
    let end = dlq_json(setting, &["resume", &job_id(setting)]).remove(0);
    let counts = &end["counts"];
    assert_eq!((&counts["sent"], &counts["unroutable"]), (&19.into(), &1.into()), "the one is told, not tried again");
    let mut got = now(replay_broker::take(&rabbit, &queue, 19));
    let message = got.remove(0);
    assert_eq!((message.routing_key.as_str(), message.properties.priority), ("orders.new", Some(3)));
    let header = |name: &str| {
        let headers = message.properties.headers.as_ref().expect("headers");
        headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
    };
    assert_eq!(header("x-dlq-job"), Some(HeaderValue::Text(job_id(setting).into_bytes())));
    // A plan of its own tries the one again.
    let rest = orders.plan(&["--to", &format!("exchange={exchange},key=orders.new"), "--no-canary"]);
    let end = dlq_json(setting, &["replay", &rest, "--yes"]).remove(0);
    assert_eq!(end["counts"]["sent"], 20, "confirmed is not recovered: they are dead until their rows are there");
}

#[test]
fn another_broker_is_named_by_the_file_that_holds_its_uri_and_a_broker_that_is_gone_halts() {
    let rabbit = now(Rabbit::shared());
    let orders = Orders::quoted(5);
    let setting = &orders.setting;
    let queue = now(rabbit.queue("other"));
    let here = orders.plan(&["--to", &format!("queue={queue}")]);
    let end = dlq_json(setting, &["replay", &here, "--yes"]).remove(0);
    assert_eq!(end["status"], "halted", "{end:#}");
    assert!(end["why"].as_str().expect("a reason").contains("the broker cannot be had"), "{end:#}");
    let secret = orders.file("uri", rabbit.uri());
    let there = orders.plan(&["--to", &format!("exchange=,key={queue},uri-file={secret}")]);
    let end = dlq_json(setting, &["replay", &there, "--yes"]).remove(0);
    assert_eq!(end["counts"]["sent"], 5, "{end:#}");
    assert_eq!(now(rabbit.messages_at_rest(&queue)), 5);
    let plans = std::fs::read_to_string(setting.store().join(format!("dlq/plans/v1/{there}/plan.json"))).expect("read");
    assert!(!plans.contains("amqp://"), "no secret is in the store: {plans}");
}

#[test]
fn letters_go_into_a_file_of_lines_or_parquet_mended_and_whole() {
    let orders = Orders::quoted(1200);
    let setting = &orders.setting;
    let lines = setting.directory.path().join("letters.ndjson");
    let to = format!("file:{}", lines.display());
    let hash = orders.plan(&["--to", &to]);
    let end = dlq_json(setting, &["replay", &hash, "--yes"]).remove(0);
    assert_eq!((&end["status"], &end["counts"]["sent"]), (&"finished".into(), &1200.into()), "{end:#}");
    let text = std::fs::read_to_string(&lines).expect("it is there");
    let bodies = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        use base64::Engine as _;
        let body = line["body_base64"].as_str().expect("text");
        let body = base64::engine::general_purpose::STANDARD.decode(body).expect("base64");
        serde_json::from_slice::<Value>(&body).expect("the body")
    });
    let ids: BTreeSet<String> = bodies
        .map(|body| {
            assert!(body["amount"].is_number(), "mended: {body}");
            body["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1200);
    // Another plan to the same file does not take its place.
    let other = plan(setting, &["--to", &to])["plan"].as_str().expect("a hash").to_owned();
    let end = dlq_json(setting, &["replay", &other, "--yes"]).remove(0);
    assert_eq!(end["status"], "halted", "{end:#}");
    assert_eq!(std::fs::read_to_string(&lines).expect("it is there"), text);
    dlq(setting, &["cancel", &job_id(setting)]);

    let parquet = setting.directory.path().join("letters.parquet");
    let hash = plan(setting, &["--to", &format!("file:{}", parquet.display())])["plan"].clone();
    dlq(setting, &["replay", hash.as_str().expect("a hash"), "--yes"]);
    let letters = parqueduct::dlq::record::decode(std::fs::read(&parquet).expect("it is there").into());
    let letters = letters.expect("a file of dead letters");
    assert_eq!(letters.len(), 1200);
    assert!(
        letters.iter().all(|letter| letter.message.body.windows(10).any(|part| part == b"\"amount\":\"")),
        "as they came"
    );
    let beside: Vec<_> = std::fs::read_dir(setting.directory.path()).expect("listed").flatten().collect();
    assert!(beside.iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn what_makes_no_sense_is_refused_when_it_is_planned() {
    let orders = Orders::quoted(1);
    let refused =
        |arguments: &[&str]| dlq_refused(&orders.setting, &[&["plan", "--why", "a test"], arguments].concat());
    assert!(refused(&["--fan-out-ok"]).contains("--to origin"));
    assert!(refused(&["--priority", "3"]).contains("go to a broker"));
    assert!(refused(&["--keep-expiration", "--to", "file:x"]).contains("go to a broker"));
}

/// Two pipelines: `orders`, and `dead`, which takes what other consumers gave up on.
fn beside_a_graveyard(rabbit: &Rabbit, replay_to: &str) -> (Setting, String) {
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let dead = now(rabbit.queue("dead"));
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let more = format!(
        "\n[[pipeline]]\nname = \"dead\"\nkind = \"dead-letter\"\nqueue = \"{dead}\"\n{replay_to}\nflush = {{ age = \"300ms\" }}\n"
    );
    std::fs::write(&setting.config, text + &more).expect("writable");
    (setting, dead)
}

#[test]
fn what_another_consumer_gave_up_on_is_recovered_in_the_pipeline_it_was_for() {
    let rabbit = now(Rabbit::shared());
    let (setting, dead) = beside_a_graveyard(&rabbit, "");
    // The queue of the orders, as another consumer had it: what it rejects goes to `dead`.
    let arguments = [
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString(dead.as_str().into())),
    ];
    now(rabbit.declare(&setting.queue, &arguments));
    setting.declares_nothing();
    let message = |n: usize| {
        let properties = Properties { app_id: Some(format!("shop-{}", n % 2)), ..Properties::default() };
        Message { body: orders::good(n), properties: properties.into(), ..Message::default() }
    };
    now(rabbit.publish(&setting.queue, &(0..20).map(message).collect::<Vec<_>>()));
    for _ in 0..20 {
        now(replay_broker::reject(&rabbit, &setting.queue));
    }
    let program = Program::start_ready(&setting.config);
    program.wait_until_settled(20, MINUTE);
    assert_eq!(letters_by_state(&setting, &["--pipeline", "dead"]).len(), 20);

    // Half of them straight into the pipeline, the others by the queue.
    let plan_of = |shop: &str, to: &str| {
        let made = plan(&setting, &["--pipeline", "dead", "--producer", shop, "--to", to]);
        assert_eq!((&made["judge"], &made["letters"]), (&"orders".into(), &10.into()), "{made:#}");
        made["plan"].as_str().expect("a hash").to_owned()
    };
    let straight = plan_of("shop-0", "pipeline");
    let tried = dlq_json(&setting, &["dry-run", &straight]).remove(0);
    assert_eq!(tried["pass"], 10, "{tried:#}");
    let end = dlq_json(&setting, &["replay", &straight, "--yes"]).remove(0);
    assert_eq!(end["counts"]["recovered"], 10, "{end:#}");
    let job = job_id(&setting);
    let end = dlq_json(&setting, &["replay", &plan_of("shop-1", "queue"), "--yes"]).remove(0);
    assert_eq!(end["counts"]["sent"], 10, "{end:#}");
    wait_for("all rows", MINUTE, || (archive::event_ids(&setting.store()).len() == 20).then_some(()));
    let letters = letters_by_state(&setting, &["--pipeline", "dead"]);
    assert!(letters.iter().all(|(_, state)| state == "recovered"), "{letters:?}");
    assert_eq!(recovered_rows(&setting.store()).len(), 20);
    let groups = dlq_json(&setting, &["groups", "--pipeline", "dead"]);
    assert_eq!(groups.iter().map(|group| number(&group["open"])).sum::<u64>(), 0, "{groups:#?}");
    // What was recovered can be given back once more.
    let again = dlq_json(&setting, &["revert", &job, "--why", "a test"]).remove(0);
    assert_eq!((&again["pipeline"], &again["letters"]), (&"dead".into(), &10.into()), "{again:#}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    archive::assert_orders(&archive::event_ids(&setting.store()), 20, 1);
}

#[test]
fn letters_that_no_pipeline_is_for_are_not_judged_but_can_be_sent() {
    let rabbit = now(Rabbit::shared());
    let (setting, dead) = beside_a_graveyard(&rabbit, "");
    now(rabbit.publish(&dead, &[Message { body: b"{}".to_vec(), ..Message::default() }]));
    let program = Program::start_ready(&setting.config);
    wait_for("the letter", MINUTE, || (letters_by_state(&setting, &["--pipeline", "dead"]).len() == 1).then_some(()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    let refused = dlq_refused(&setting, &["plan", "--pipeline", "dead", "--why", "a test"]);
    assert!(refused.contains("no pipeline takes from there") && refused.contains("replay_to"), "{refused}");
    let queue = now(rabbit.queue("elsewhere"));
    let made = plan(&setting, &["--pipeline", "dead", "--to", &format!("queue={queue}")]);
    let hash = made["plan"].as_str().expect("a hash");
    assert!(dlq_refused(&setting, &["dry-run", hash]).contains("only whoever takes them can tell"));
    let end = dlq_json(&setting, &["replay", hash, "--yes"]).remove(0);
    assert_eq!(end["counts"]["sent"], 1, "{end:#}");
    assert_eq!(now(rabbit.messages_at_rest(&queue)), 1);
}
