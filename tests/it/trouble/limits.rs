//! The broker's limits on what a consumer holds: for how long, and how often it is given back.

use std::time::Duration;

use lapin::types::AMQPValue;

use super::{MINUTE, assert_complete, orders_on, publish, wait_for_orders};
use crate::harness::program::{Program, answer_within, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now};

/// Sets the broker's consumer timeout for channels to come, and lets it look every half second rather than every minute.
fn limit_holding(rabbit: &Rabbit, timeout_ms: u32) {
    let set = format!(
        "application:set_env(rabbit, consumer_timeout, {timeout_ms}), \
         application:set_env(rabbit, channel_tick_interval, 500)."
    );
    now(rabbit.ctl(&["eval", &set]));
}

#[test]
fn what_is_held_beyond_the_consumer_timeout_comes_back_and_a_person_is_told_what_to_do() {
    let rabbit = now(Rabbit::own(&[]));
    limit_holding(&rabbit, 2000);
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    setting.change("age = \"500ms\"", "age = \"10s\"");
    let program = Program::start_ready(&setting.config);
    publish(&rabbit, &setting, 0..300);
    program.wait_for_more("parqueduct_requeued_total", 299.0, MINUTE);
    wait_for("the reason", MINUTE, || (!program.errors().is_empty()).then_some(()));
    assert!(archive::event_ids(&setting.store()).is_empty(), "nothing was flushed before");

    // What the log says is done.
    limit_holding(&rabbit, 1_800_000);
    wait_for_orders(&setting, 300);
    let told = |line: &String| line.contains("lower flush.age, or raise the broker's consumer_timeout");
    assert!(program.errors().iter().all(told), "{:#?}", program.errors());
    assert_complete(program, &setting, 300, 1);
}

#[test]
fn two_outages_of_the_store_in_a_row_stay_below_a_delivery_limit_that_drops() {
    const LIMIT: i32 = 3;
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let mut options = Options::orders(rabbit.uri()).on(&server);
    (options.pipeline, options.more) = ("", "[run]\nflush_grace = \"6s\"\n");
    let setting = Setting::new(&options);
    let quorum = AMQPValue::LongString("quorum".into());
    now(rabbit.declare(&setting.queue, &[("x-queue-type", quorum), ("x-delivery-limit", AMQPValue::LongInt(LIMIT))]));
    let program = Program::start_ready(&setting.config);
    let requeued = || program.metric("parqueduct_requeued_total");
    server.outage(true);
    publish(&rabbit, &setting, 0..1500);
    program.wait_for_more("parqueduct_requeued_total", 0.0, MINUTE);
    wait_for("the first return", MINUTE, || (now(rabbit.ready(&setting.queue)) == 1500).then_some(()));
    let first = requeued();
    assert!(first <= 1500.0, "nothing was given back twice, but {first} were");
    std::thread::sleep(Duration::from_secs(40));
    assert_eq!(requeued(), first, "one return for the whole outage");

    // Back until the same deliveries are taken again, and away once more.
    let deliveries = program.metric("parqueduct_deliveries_total");
    server.outage(false);
    program.wait_for_more("parqueduct_deliveries_total", deliveries, MINUTE);
    server.outage(true);
    program.wait_for_more("parqueduct_requeued_total", first, MINUTE);
    wait_for("the second return", MINUTE, || (program.metric("parqueduct_in_flight") == 0.0).then_some(()));
    let second = requeued() - first;
    std::thread::sleep(Duration::from_secs(10));
    assert!(second > 0.0 && second <= 1500.0 && requeued() == first + second, "one return again, not {second}");

    server.outage(false);
    let all = answer_within(2 * MINUTE, || (orders_on(&server).len() == 1500).then_some(()));
    let told = |what: &str| program.metric(&format!("parqueduct_{what}"));
    assert!(
        all.is_some(),
        "{} of 1500 orders; {} ready, {} delivered, {} archived, {} given back, {} in flight",
        orders_on(&server).len(),
        now(rabbit.ready(&setting.queue)),
        told("deliveries_total"),
        told("archived_total"),
        requeued(),
        told("in_flight"),
    );
    assert_eq!(program.errors(), Vec::<String>::new(), "nobody has to act");
    assert_eq!(now(rabbit.ready(&setting.queue)), 0);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    archive::assert_orders(&orders_on(&server), 1500, 1);
    assert_eq!(setting.dead_letters().len(), 0);
}
