//! A cluster of three nodes loses the leader of a quorum queue.

use lapin::types::AMQPValue;

use super::{MINUTE, assert_calm_and_complete, publish, wait_for_orders};
use crate::harness::program::Program;
use crate::harness::rabbit::{self, Rabbit};
use crate::harness::setting::{Options, Setting};
use crate::harness::{now, orders};

/// The node that leads the setting's queue, as `asked` knows it.
fn leader(asked: &Rabbit, setting: &Setting) -> Option<String> {
    let listed = now(asked.ctl(&["list_queues", "--silent", "name", "leader"]));
    let line = listed.lines().find(|line| line.starts_with(&setting.queue))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

#[test]
fn a_crash_of_the_leaders_node_in_mid_flow_loses_nothing() {
    let first = now(Rabbit::own(&[]));
    let second = now(Rabbit::joined(&first));
    let third = now(Rabbit::joined(&first));
    let mut options = Options::orders(first.uri());
    options.pipeline = "";
    let setting = Setting::new(&options);
    now(first.declare(&setting.queue, &[("x-queue-type", AMQPValue::LongString("quorum".into()))]));
    assert_eq!(leader(&third, &setting), Some(first.name()), "it was declared there");

    // First the leader goes and the connection, to another node, stays.
    let all = format!("uris = [\"{}\", \"{}\", \"{}\"]", second.uri(), third.uri(), first.uri());
    setting.change(&format!("uri = \"{}\"", first.uri()), &all);
    // Small flushes take their time, so that the kills come between them.
    setting.change("rows = 1000", "rows = 50");
    publish(&third, &setting, 0..10_000);
    let program = Program::start(&setting.config);
    program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    now(first.kill());
    publish(&third, &setting, 10_000..11_000);
    wait_for_orders(&setting, 11_000);
    let elected = leader(&third, &setting).expect("a leader");
    assert_ne!(elected, first.name());

    // Then the node of the connection goes.
    now(first.start());
    let reconnects = program.metric("parqueduct_broker_reconnects_total");
    now(async {
        let messages = orders::messages(11_000..20_000);
        tokio::join!(third.publish(&setting.queue, &messages), async {
            // In mid-flow: while messages are on their way.
            rabbit::eventually("some of them", || async { program.metric("parqueduct_in_flight") > 0.0 }).await;
            second.kill().await;
        })
    });
    wait_for_orders(&setting, 20_000);
    program.wait_for_more("parqueduct_broker_reconnects_total", reconnects, MINUTE);
    assert_calm_and_complete(program, &setting, 20_000, 3);
}
