//! The main job through the real binary, a real RabbitMQ and a real store: good and bad events, faults, and the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::harness::program::{Program, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

/// A message of this test: its `message_id` names it in the dead letters. Persistent: a classic queue loses others when its
/// broker is restarted.
fn message(name: String, body: Vec<u8>) -> parqueduct::event::Message {
    let properties = parqueduct::event::Properties {
        message_id: Some(name),
        content_type: Some("application/json".to_owned()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    parqueduct::event::Message { body, properties: properties.into(), ..Default::default() }
}

#[test]
fn a_thousand_bad_events_of_every_kind_become_exactly_those_dead_letters() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start(&setting.config);
    let mut messages: Vec<_> = (0..4000).map(|n| message(format!("good-{n}"), orders::good(n))).collect();
    messages.extend((0..1000).map(|n| message(format!("bad-{n}"), orders::bad(n).body)));
    fastrand::Rng::with_seed(7).shuffle(&mut messages);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(5000, MINUTE);
    assert_eq!(program.metric("parqueduct_archived_total"), 4000.0);
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), 1000.0);
    assert_eq!(program.metric("parqueduct_file_rows_sum"), 4000.0, "each row is in one file");
    assert_eq!(program.metric("parqueduct_encode_seconds_count"), program.metric("parqueduct_flush_seconds_count"));
    assert!(program.metric("parqueduct_last_commit_timestamp_seconds") > 1.7e9);
    assert_eq!(program.errors(), Vec::<String>::new());
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert!(log.contains("received=5000 archived=4000 dead_lettered=1000"), "{log}");

    let ids = archive::event_ids(&setting.store());
    assert_eq!(ids.len(), 4000);
    assert!((0..4000).all(|n| ids.get(&format!("order-{n}")) == Some(&1)));

    let letters = setting.dead_letters();
    let by_name: BTreeMap<_, _> = letters
        .iter()
        .map(|letter| (letter["message_id"].as_str().expect("a message id").to_owned(), letter))
        .collect();
    assert_eq!((letters.len(), by_name.len()), (1000, 1000));
    for n in 0..1000 {
        let bad = orders::bad(n);
        let letter = by_name[&format!("bad-{n}")];
        assert_eq!(letter["code"], bad.code, "{letter:#}");
        assert_eq!(letter["issues"][0]["path"], bad.path, "{letter:#}");
        let body = BASE64_STANDARD.decode(letter["body_base64"].as_str().expect("a body")).expect("base64");
        assert_eq!(body, bad.body, "bodies are byte for byte what was published");
    }
    let groups = parqueduct_ok(&["dlq", "groups", "--config", setting.config_text(), "--json"]);
    let groups: Vec<serde_json::Value> = groups.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let total: u64 = groups.iter().map(|group| group["count"].as_u64().expect("a count")).sum();
    assert_eq!(total, 1000, "primary counts add up: {groups:#?}");
    assert_eq!(groups.len(), orders::KINDS, "one group for each kind: {groups:#?}");
}

/// Publishes `count` good orders and starts the program on them, so that it has a backlog.
fn flowing(rabbit: &Rabbit, setting: &Setting, count: usize) -> Program {
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    program.terminate(MINUTE);
    let messages: Vec<_> = (0..count).map(|n| message(format!("good-{n}"), orders::good(n))).collect();
    now(rabbit.publish(&setting.queue, &messages));
    Program::start(&setting.config)
}

fn assert_all_there(setting: &Setting, count: usize) {
    let ids = archive::event_ids(&setting.store());
    let missing: Vec<_> = (0..count).filter(|n| !ids.contains_key(&format!("order-{n}"))).collect();
    assert!(missing.is_empty(), "{} missing, such as {:?}", missing.len(), &missing[..missing.len().min(5)]);
    assert_eq!(ids.len(), count);
    let repeated: Vec<_> = ids.iter().filter(|(_, found)| **found != 1).collect();
    assert!(repeated.is_empty(), "{} repeated, such as {:?}", repeated.len(), &repeated[..repeated.len().min(5)]);
    assert_eq!(setting.dead_letters().len(), 0);
}

#[test]
fn sigterm_during_flow_drains_and_nothing_is_lost_or_twice() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let count = 30_000;
    let program = flowing(&rabbit, &setting, count);
    wait_for("some rows", MINUTE, || (program.metric("parqueduct_archived_total") > 1000.0).then_some(()));
    let (status, log) = program.terminate(Duration::from_secs(40));
    assert!(status.success(), "{log}");
    let ledger = log.lines().last().expect("a last line");
    assert!(ledger.contains("in_flight=0"), "{ledger}");
    let first_part = archive::event_ids(&setting.store());
    assert!(first_part.len() > 1000 && first_part.values().all(|&found| found == 1));

    let program = Program::start(&setting.config);
    wait_for("all rows", MINUTE, || (archive::event_ids(&setting.store()).len() == count).then_some(()));
    let (_, log) = program.terminate(MINUTE);
    assert!(log.contains("in_flight=0"), "{log}");
    assert_all_there(&setting, count);
}

#[test]
fn kill_9_during_flow_loses_nothing_repeats_nothing_and_undecided_files_do_not_stay() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let count = 40_000;
    let mut program = flowing(&rabbit, &setting, count);
    for _ in 0..3 {
        wait_for("some rows", MINUTE, || (program.metric("parqueduct_archived_total") > 1500.0).then_some(()));
        program.kill();
        assert!(now(rabbit.ready(&setting.queue)) > 0, "killed while there was more to do");
        program = Program::start(&setting.config);
    }
    // Reading the whole archive each time would take longer than writing it.
    wait_for("the queue to empty", 2 * MINUTE, || {
        (now(rabbit.ready(&setting.queue)) == 0 && program.metric("parqueduct_in_flight") == 0.0).then_some(())
    });
    // What is on its way is counted nowhere: a stop now would give it back to the queue.
    wait_for("all rows", MINUTE, || (archive::event_ids(&setting.store()).len() == count).then_some(()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_all_there(&setting, count);
}

#[test]
fn a_broker_restart_loses_nothing_and_makes_no_dead_letter() {
    let rabbit = now(Rabbit::own(&[]));
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let count = 20_000;
    let program = flowing(&rabbit, &setting, count);
    wait_for("some rows", MINUTE, || (program.metric("parqueduct_archived_total") > 1000.0).then_some(()));
    now(async {
        rabbit.stop().await;
        rabbit.start().await;
    });
    wait_for("all rows", 2 * MINUTE, || (archive::event_ids(&setting.store()).len() == count).then_some(()));
    assert!(program.metric("parqueduct_broker_reconnects_total") >= 1.0, "the restart was seen");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_all_there(&setting, count);
}

#[test]
fn a_user_that_may_only_read_the_queue_can_run_it() {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "";
    let owner = Setting::new(&options);
    now(rabbit.declare(&owner.queue, &[]));
    let (user, password) = now(rabbit.user("reader", ["", "", &format!("^{}$", owner.queue)]));
    let uri = rabbit.uri().replace("guest:guest@", &format!("{user}:{password}@"));
    assert_ne!(uri, rabbit.uri());
    let text = std::fs::read_to_string(&owner.config).expect("readable").replace(rabbit.uri(), &uri);
    std::fs::write(&owner.config, text).expect("writable");
    let program = Program::start(&owner.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    let messages: Vec<_> = (0..100).map(|n| message(format!("good-{n}"), orders::good(n))).collect();
    now(rabbit.publish(&owner.queue, &messages));
    program.wait_until_settled(100, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_all_there(&owner, 100);
}
