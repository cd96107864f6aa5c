//! The store goes away and comes back: nothing becomes a dead letter, nothing is lost, and nobody has to act.

use std::time::Duration;

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

fn publish(rabbit: &Rabbit, setting: &Setting, orders: std::ops::Range<usize>) {
    let message = |n| parqueduct::event::Message { body: orders::good(n), ..Default::default() };
    let messages: Vec<_> = orders.map(message).collect();
    now(rabbit.publish(&setting.queue, &messages));
}

#[test]
fn a_store_outage_of_a_minute_is_survived_without_loss_or_dead_letters() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let setting = Setting::new(&Options::orders(rabbit.uri()).on(&server));
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    publish(&rabbit, &setting, 0..3000);
    program.wait_until_settled(3000, MINUTE);

    server.outage(true);
    publish(&rabbit, &setting, 3000..8000);
    wait_for("the outage to be seen", MINUTE, || (program.metric("parqueduct_store_up") == 0.0).then_some(()));
    assert_eq!(program.get("/readyz").0, 503, "not ready while the store is away");
    assert_eq!(program.get("/healthz").0, 200, "but alive");
    std::thread::sleep(MINUTE);
    assert!(program.metric("parqueduct_in_flight") <= 2000.0, "no more is held than the window");
    assert_eq!(program.metric("parqueduct_requeued_total"), 0.0, "what is held is held");
    assert!(program.metric("parqueduct_store_errors_total") > 0.0);
    server.outage(false);

    program.wait_until_settled(8000, MINUTE);
    publish(&rabbit, &setting, 8000..8100);
    program.wait_until_settled(8100, MINUTE);
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), 0.0);
    assert_eq!(program.errors(), Vec::<String>::new());
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    server.dump("archive/", setting.directory.path());
    let ids = archive::event_ids(&setting.directory.path().join("archive"));
    assert_eq!(ids.len(), 8100);
    assert!(ids.values().all(|&times| times == 1), "no row twice");
}

#[test]
fn a_program_that_starts_during_an_outage_of_the_store_waits_and_then_works() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let mut options = Options::orders(rabbit.uri()).on(&server);
    options.pipeline = "";
    let setting = Setting::new(&options);
    now(rabbit.declare(&setting.queue, &[]));
    server.outage(true);
    publish(&rabbit, &setting, 0..500);
    let program = Program::start(&setting.config);
    wait_for("the outage to be seen", MINUTE, || (program.metric("parqueduct_store_up") == 0.0).then_some(()));
    assert_eq!(program.metric("parqueduct_deliveries_total"), 0.0, "no delivery is taken that could not be written");
    server.outage(false);
    program.wait_until_settled(500, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
}

#[test]
fn resident_memory_is_bounded_by_the_configuration_however_much_flows() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    publish(&rabbit, &setting, 0..30_000);
    program.wait_until_settled(30_000, 2 * MINUTE);
    let (_, peak_early) = program.memory();
    for round in 1..4 {
        publish(&rabbit, &setting, round * 30_000..(round + 1) * 30_000);
    }
    program.wait_until_settled(120_000, 3 * MINUTE);
    let (_, peak) = program.memory();
    eprintln!("peak after 30,000 events {peak_early} bytes, after 120,000 {peak} bytes");
    // docs/operate.md: a base of the program and the client's buffers, and per shard three windows of deliveries.
    let window = 2000 * 4 * 1024;
    let bound = 96 * 1024 * 1024 + 3 * window;
    assert!(peak < bound, "peak {peak} bytes, bound {bound}");
    assert!(peak < peak_early + peak_early / 4, "flat: {peak_early} bytes early, {peak} late");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
}

#[test]
fn a_drain_during_an_outage_of_the_store_ends_in_time_and_gives_everything_back() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let mut options = Options::orders(rabbit.uri()).on(&server);
    options.more = "[run]\ndrain_timeout = \"3s\"\n";
    let setting = Setting::new(&options);
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    server.outage(true);
    publish(&rabbit, &setting, 0..1500);
    wait_for("the outage to be seen", MINUTE, || (program.metric("parqueduct_store_up") == 0.0).then_some(()));
    let (status, log) = program.terminate(Duration::from_secs(20));
    assert!(status.success(), "{log}");
    assert!(log.contains("in_flight=0") && log.contains("archived=0"), "{log}");
    wait_for("the queue to have everything again", MINUTE, || {
        (now(rabbit.ready(&setting.queue)) == 1500).then_some(())
    });

    server.outage(false);
    let program = Program::start(&setting.config);
    program.wait_until_settled(1500, MINUTE);
    program.terminate(MINUTE);
    server.dump("archive/", setting.directory.path());
    let ids = archive::event_ids(&setting.directory.path().join("archive"));
    assert_eq!(ids.len(), 1500);
    assert!(ids.values().all(|&times| times == 1), "no row twice");
}

#[test]
fn what_is_held_when_the_queue_is_deleted_is_archived_and_a_new_queue_is_taken_up() {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "";
    let setting = Setting::new(&options);
    // An age that only the end of the consumer can cut short.
    let text = std::fs::read_to_string(&setting.config).expect("readable").replace("age = \"500ms\"", "age = \"60s\"");
    std::fs::write(&setting.config, text).expect("writable");
    now(rabbit.declare(&setting.queue, &[]));
    publish(&rabbit, &setting, 0..300);
    let program = Program::start(&setting.config);
    wait_for("the deliveries", MINUTE, || (program.metric("parqueduct_in_flight") == 300.0).then_some(()));
    now(rabbit.delete(&setting.queue));
    wait_for("the rows", MINUTE, || (archive::event_ids(&setting.store()).len() == 300).then_some(()));
    now(rabbit.declare(&setting.queue, &[]));
    publish(&rabbit, &setting, 300..400);
    wait_for("the deliveries", MINUTE, || (program.metric("parqueduct_in_flight") == 100.0).then_some(()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(archive::event_ids(&setting.store()).len(), 400);
}
