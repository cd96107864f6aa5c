//! An event that ends the process each time: too large for the memory it is allowed. A supervisor starts the program again
//! and again; the event must be found, and the others must arrive.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);
/// What the program may allocate: several times what it needs for the others.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Each becomes a node of some tens of bytes, so that the event needs far more than that.
const NUMBERS: usize = 6_000_000;
/// Crashes it may take until the event is found: with the whole window, a growing one, a small one, and twice alone.
const CRASHES_MAX: usize = 5;

fn message(name: &str, body: Vec<u8>) -> parqueduct::event::Message {
    let properties = parqueduct::event::Properties { message_id: Some(name.to_owned()), ..Default::default() };
    parqueduct::event::Message { body, properties: properties.into(), ..Default::default() }
}

#[test]
fn a_crash_loop_ends_with_the_event_that_caused_it_as_a_dead_letter_and_all_others_archived() {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "";
    options.subject = options.subject.replace(&format!("body_max = \"{}B\"", orders::BODY_MAX), "body_max = \"16MiB\"");
    let setting = Setting::new(&options);
    now(rabbit.declare(&setting.queue, &[]));
    let fatal = format!("{{\"id\":\"fatal\",\"numbers\":[0{}]}}", ",0".repeat(NUMBERS)).into_bytes();
    let mut messages: Vec<_> = (0..3000).map(|n| message(&format!("good-{n}"), orders::good(n))).collect();
    messages.insert(60, message("fatal", fatal.clone()));
    now(rabbit.publish(&setting.queue, &messages));

    let mut crashes = 0;
    let program = loop {
        let mut program = Program::start_limited(&setting.config, MEMORY_BYTES_MAX);
        let crashed = wait_for("a crash or the end of the queue", 2 * MINUTE, || {
            let settled = || {
                now(rabbit.ready(&setting.queue)) == 0 && program.metric_if_alive("parqueduct_in_flight") == Some(0.0)
            };
            match settled() {
                true => Some(false),
                false => program.ended().map(|_| true),
            }
        });
        if !crashed {
            break program;
        }
        crashes += 1;
        assert!(crashes <= CRASHES_MAX, "the event is not found:\n{}", program.log());
    };
    assert!(crashes >= 2, "the event did end the process: {crashes} crashes");
    let log = program.log();
    assert!(log.contains("it becomes a dead letter, unread"), "{log}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");

    let ids = archive::event_ids(&setting.store());
    assert_eq!((ids.len(), ids.values().filter(|&&times| times != 1).count()), (3000, 0));
    let letters = setting.dead_letters();
    let codes: Vec<_> = letters.iter().map(|letter| letter["code"].as_str().expect("a code")).collect();
    assert_eq!(codes, ["internal.crash"]);
    let body = BASE64_STANDARD.decode(letters[0]["body_base64"].as_str().expect("a body")).expect("base64");
    assert!(body == fatal, "the body is byte for byte what was published");
}
