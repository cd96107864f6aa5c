//! The broker is killed, out of reach, blocked, or changes its mind about a user.

use std::time::{Duration, Instant};

use super::{MINUTE, assert_calm_and_complete, assert_complete, orders_on, publish, wait_for_orders, with_backlog};
use crate::harness::program::{Program, wait_for};
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now};

#[test]
fn a_broker_crash_in_mid_flow_loses_nothing() {
    let rabbit = now(Rabbit::own(&[]));
    let setting = with_backlog(&rabbit, Options::orders(rabbit.uri()), 20_000);
    // Small flushes take their time, so that the kill comes between them.
    setting.change("rows = 1000", "rows = 50");
    let program = Program::start(&setting.config);
    program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    now(rabbit.kill());
    assert!(archive::event_ids(&setting.store()).len() < 20_000, "killed while there was more to do");
    now(rabbit.start());
    wait_for_orders(&setting, 20_000);
    assert!(program.metric("parqueduct_broker_reconnects_total") >= 1.0);
    assert_calm_and_complete(program, &setting, 20_000, 2);
}

#[test]
fn cuts_of_the_line_in_mid_flow_lose_nothing() {
    let rabbit = now(Rabbit::shared());
    let line = now(Proxy::to(rabbit.port()));
    let uri = line.uri(rabbit.uri(), rabbit.port());
    let setting = with_backlog(&rabbit, Options::orders(&uri), 20_000);
    let program = Program::start(&setting.config);
    for cut in 0..3 {
        let archived = program.metric("parqueduct_archived_total");
        program.wait_for_more("parqueduct_archived_total", archived, MINUTE);
        now(line.cut());
        program.wait_for_more("parqueduct_broker_reconnects_total", f64::from(cut), MINUTE);
    }
    wait_for_orders(&setting, 20_000);
    assert_calm_and_complete(program, &setting, 20_000, 4);
}

#[test]
fn a_line_that_goes_dead_is_noticed_within_the_heartbeat_and_made_up_for_by_another() {
    let rabbit = now(Rabbit::shared());
    let line = now(Proxy::to(rabbit.port()));
    let setting = with_backlog(&rabbit, Options::orders(rabbit.uri()), 20_000);
    let dead = line.uri(rabbit.uri(), rabbit.port());
    let both = format!("uris = [\"{dead}\", \"{}\"]\nheartbeat = \"2s\"", rabbit.uri());
    setting.change(&format!("uri = \"{}\"", rabbit.uri()), &both);
    let program = Program::start(&setting.config);
    program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    line.freeze();
    let frozen = Instant::now();
    program.wait_for_more("parqueduct_broker_reconnects_total", 0.0, MINUTE);
    // Twice the heartbeat, the half of one between looks, and a busy machine.
    assert!(frozen.elapsed() < Duration::from_secs(10), "noticed after {:?}", frozen.elapsed());
    wait_for_orders(&setting, 20_000);
    assert_calm_and_complete(program, &setting, 20_000, 2);
}

/// Whether the broker takes a message now; it is the order 0 once more.
fn takes_messages(rabbit: &Rabbit, setting: &Setting) -> bool {
    let message = crate::harness::orders::messages(0..1);
    let publishing = rabbit.publish(&setting.queue, &message);
    now(async { tokio::time::timeout(Duration::from_secs(2), publishing).await.is_ok() })
}

#[test]
fn alarms_of_the_broker_stop_publishers_but_neither_consuming_nor_acks() {
    let rabbit = now(Rabbit::own(&[]));
    let server = S3Server::start();
    let setting = with_backlog(&rabbit, Options::orders(rabbit.uri()).on(&server), 20_000);
    let program = Program::start(&setting.config);
    program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    // The flow waits for the alarm.
    server.outage(true);
    now(rabbit.ctl(&["set_vm_memory_high_watermark", "0.0000001"]));
    wait_for("publishers to be blocked", MINUTE, || (!takes_messages(&rabbit, &setting)).then_some(()));
    assert!(program.metric("parqueduct_archived_total") < 20_000.0, "the alarm came in mid-flow");
    server.outage(false);
    program.wait_until_settled(20_000, 2 * MINUTE);
    assert_eq!(program.metric("parqueduct_broker_reconnects_total"), 0.0, "the connection stood all the time");
    assert_ends_with_nothing_left(program, &rabbit, &setting);
    assert!(!takes_messages(&rabbit, &setting), "still");
    now(rabbit.ctl(&["set_vm_memory_high_watermark", "0.6"]));
    wait_for("the end of the alarm", MINUTE, || takes_messages(&rabbit, &setting).then_some(()));

    // A program that starts during an alarm consumes as well.
    publish(&rabbit, &setting, 20_000..22_000);
    now(rabbit.ctl(&["set_disk_free_limit", "mem_relative", "1000"]));
    wait_for("publishers to be blocked", MINUTE, || (!takes_messages(&rabbit, &setting)).then_some(()));
    let program = Program::start(&setting.config);
    wait_for("the other orders", 2 * MINUTE, || (orders_on(&server).len() == 22_000).then_some(()));
    assert!(!takes_messages(&rabbit, &setting), "still");
    assert_ends_with_nothing_left(program, &rabbit, &setting);
    let mut ids = orders_on(&server);
    // What asked whether publishers are blocked may have got through before or after.
    ids.insert("order-0".to_owned(), 1);
    archive::assert_orders(&ids, 22_000, 1);
}

/// Asserts that the program ends without having called anybody, and that all its acks reached the broker.
fn assert_ends_with_nothing_left(program: Program, rabbit: &Rabbit, setting: &Setting) {
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && !log.contains(" ERROR "), "{log}");
    assert_eq!(now(rabbit.ready(&setting.queue)), 0, "what is not acked is in the queue again");
}

#[test]
fn revoked_permissions_call_a_person_and_work_goes_on_once_they_are_given_back() {
    let rabbit = now(Rabbit::own(&[]));
    let setting = with_backlog(&rabbit, Options::orders(rabbit.uri()), 1000);
    let readable = format!("^{}$", setting.queue);
    let (user, password) = now(rabbit.user("reader", ["", "", &readable]));
    setting.change("guest:guest@", &format!("{user}:{password}@"));
    setting.change("reconnect_max = \"1s\"", "reconnect_max = \"4s\"");
    let program = Program::start(&setting.config);
    program.wait_until_settled(1000, MINUTE);

    now(async {
        rabbit.ctl(&["set_permissions", "-p", "/", &user, "", "", "^$"]).await;
        // The broker asks again only when somebody connects.
        rabbit.ctl(&["close_all_connections", "-p", "/", "permissions revoked"]).await;
    });
    publish(&rabbit, &setting, 1000..2000);
    wait_for("the refusal", MINUTE, || (!program.errors().is_empty()).then_some(()));
    assert_eq!(program.get("/readyz").0, 503);
    let before = program.errors().len();
    std::thread::sleep(Duration::from_secs(9));
    let refusals = program.errors();
    assert!((1..=5).contains(&(refusals.len() - before)), "slowly, 2 to 4 s apart: {refusals:#?}");
    let told = |line: &String| line.contains("a person must act") && line.contains("grant the user the permission");
    assert!(refusals.iter().all(told), "{refusals:#?}");
    assert_eq!(program.metric("parqueduct_archived_total"), 1000.0);

    now(rabbit.ctl(&["set_permissions", "-p", "/", &user, "", "", &readable]));
    wait_for_orders(&setting, 2000);
    assert!(program.errors().iter().all(told));
    assert_complete(program, &setting, 2000, 1);
}

#[test]
fn of_two_brokers_the_one_that_lives_is_used() {
    let (first, second) = now(async { (Rabbit::own(&[]).await, Rabbit::own(&[]).await) });
    let setting = Setting::new(&Options::orders(first.uri()));
    let both = format!("uris = [\"{}\", \"{}\"]", first.uri(), second.uri());
    setting.change(&format!("uri = \"{}\"", first.uri()), &both);
    now(first.kill());
    let program = Program::start_ready(&setting.config);
    publish(&second, &setting, 0..1000);
    program.wait_until_settled(1000, MINUTE);

    now(async {
        first.start().await;
        second.kill().await;
    });
    program.wait_for_more("parqueduct_broker_reconnects_total", 0.0, MINUTE);
    program.wait_for_more("parqueduct_broker_connected", 0.0, MINUTE);
    publish(&first, &setting, 1000..2000);
    program.wait_until_settled(2000, MINUTE);
    assert_calm_and_complete(program, &setting, 2000, 1);
}
