//! Trouble of brokers and stores, through the real binary: each fault is seen to happen, nothing is missing afterwards,
//! and an ERROR is logged only where a person must act.

mod broker;
mod cluster;
mod limits;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends the good orders `numbers` to the setting's queue, as messages that survive the broker.
fn publish(rabbit: &Rabbit, setting: &Setting, numbers: std::ops::Range<usize>) {
    now(rabbit.publish(&setting.queue, &orders::messages(numbers)));
}

/// A setting whose queue holds the good orders 0 to `count` already, so that there is a flow to be disturbed.
fn with_backlog(rabbit: &Rabbit, mut options: Options<'_>, count: usize) -> Setting {
    options.pipeline = "";
    let setting = Setting::new(&options);
    now(rabbit.declare(&setting.queue, &[]));
    publish(rabbit, &setting, 0..count);
    setting
}

/// Waits until the setting's own store holds `count` orders.
fn wait_for_orders(setting: &Setting, count: usize) {
    wait_for(&format!("{count} orders in the archive"), 2 * MINUTE, || {
        (archive::event_ids(&setting.store()).len() == count).then_some(())
    });
}

/// How often each order is in the archive on `server`.
fn orders_on(server: &S3Server) -> BTreeMap<String, usize> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    server.dump("archive/data/", directory.path());
    archive::event_ids(&directory.path().join("archive"))
}

/// Stops the program, and asserts that it called nobody and left the orders 0 to `count` in the setting's own store.
fn assert_calm_and_complete(program: Program, setting: &Setting, count: usize, times_max: usize) {
    assert_eq!(program.errors(), Vec::<String>::new(), "nobody has to act");
    assert_complete(program, setting, count, times_max);
}

/// The same where errors are as they should be.
fn assert_complete(program: Program, setting: &Setting, count: usize, times_max: usize) {
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    archive::assert_orders(&archive::event_ids(&setting.store()), count, times_max);
    assert_eq!(setting.dead_letters().len(), 0);
}
