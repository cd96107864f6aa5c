//! Letters that come back through their queue, with our headers.

use std::time::Duration;

use parqueduct::event::{HeaderValue, Message, Properties};

use super::{dlq_json, recovered_rows};
use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

/// `body` as a replay would send it, as the attempt `n` at `letter`.
fn replayed(letter: &str, n: i64, body: &[u8]) -> Message {
    let headers = vec![
        ("x-dlq-attempt".to_owned(), HeaderValue::I64(n)),
        ("x-dlq-id".to_owned(), HeaderValue::Text(letter.as_bytes().to_vec())),
    ];
    let properties = Properties { headers: Some(headers), ..Properties::default() };
    Message { body: body.to_vec(), properties: properties.into(), ..Message::default() }
}

#[test]
fn a_letter_that_comes_back_through_its_queue_is_recovered_once_and_fails_as_the_same_letter() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start_ready(&setting.config);
    let publish = |messages: &[Message]| now(rabbit.publish(&setting.queue, messages));
    let bad = |n: usize| Message { body: orders::bad(n).body, ..Message::default() };
    publish(&[bad(4), bad(16)]);
    program.wait_until_settled(2, MINUTE);
    let letter = |code: &str| {
        let letters = dlq_json(&setting, &["list", "--code", code]);
        letters[0]["id"].as_str().expect("an id").to_owned()
    };
    let (quoted, negative) = (letter("validate.type"), letter("validate.minimum"));

    // Sent twice, as after a crash of the sender, mended; and one that fails again.
    let mended = orders::good(7);
    publish(&[
        replayed(&quoted, 2, &mended),
        replayed(&quoted, 2, &mended),
        replayed(&negative, 2, &orders::bad(16).body),
    ]);
    program.wait_until_settled(5, MINUTE);
    // And once more, long after.
    publish(&[replayed(&quoted, 2, &mended)]);
    program.wait_until_settled(6, MINUTE);
    assert_eq!(program.metric("parqueduct_duplicates_suppressed_total"), 2.0);
    assert_eq!(recovered_rows(&setting.store()).get("order-7"), Some(&quoted));
    // Headers that were copied to another event do not make it a repeat.
    publish(&[replayed(&quoted, 2, &orders::good(8))]);
    wait_for("the other event", MINUTE, || archive::event_ids(&setting.store()).contains_key("order-8").then_some(()));
    assert_eq!(recovered_rows(&setting.store()).get("order-8"), None);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(archive::event_ids(&setting.store()).values().sum::<usize>(), 2);

    let all = dlq_json(&setting, &["list", "--state", "all"]);
    assert_eq!(all.len(), 2, "no letter is a second one: {all:#?}");
    let of = |id: &str| all.iter().find(|letter| letter["id"] == id).expect("the letter");
    assert_eq!((&of(&quoted)["state"], &of(&negative)["state"]), (&"recovered".into(), &"dead".into()));
    assert_eq!(of(&negative)["attempts"].as_array().expect("a list").len(), 2);
}
