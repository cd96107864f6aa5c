//! Bodies as producers write them: compressed or not, in each format.

mod auto; // bodies that say themselves what they are
mod cloud_events; // CloudEvents, in both modes
mod mixed; // several types of events on one queue
mod typed; // formats whose schema is beside the bytes

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use parqueduct::event::{Message, Properties};
use serde_json::Value;

use crate::harness::program::{Program, parqueduct, parqueduct_ok};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders, python};

const MINUTE: Duration = Duration::from_secs(60);

fn message(body: Vec<u8>, encoding: &str) -> Message {
    let properties = Properties { content_encoding: Some(encoding.to_owned()), ..Properties::default() };
    Message { body, properties: properties.into(), ..Message::default() }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("a Vec takes all")
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.into_inner().expect("a Vec takes all")
}

fn snappy_block(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("it is short enough")
}

fn dlq(setting: &Setting, words: &[&str]) -> String {
    parqueduct_ok(&[&["dlq", words[0], "--config", setting.config_text()], &words[1..]].concat())
}

/// The one letter with that code.
fn letter(setting: &Setting, code: &str) -> Value {
    let listed = dlq(setting, &["list", "--code", code, "--json"]);
    assert_eq!(listed.lines().count(), 1, "{code}: {listed}");
    serde_json::from_str(listed.trim()).expect("JSON")
}

/// Plans a fix of all letters with that code, and gives back the report of its dry run, which may be told more, and the plan.
fn tried(setting: &Setting, code: &str, fix: &str, more: &[&str]) -> (Value, String) {
    let path = setting.directory.path().join("fix.toml");
    std::fs::write(&path, fix).expect("writable");
    let plan = dlq(setting, &["plan", "--code", code, "--fix", path.to_str().expect("UTF-8"), "--json"]);
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let plan = plan["plan"].as_str().expect("a hash").to_owned();
    let tried = parqueduct(&[&["dlq", "dry-run", "--config", setting.config_text(), &plan, "--json"], more].concat());
    (serde_json::from_slice(&tried.stdout).expect("JSON"), plan)
}

#[test]
fn compressed_bodies_are_archived_shown_searched_mended_and_given_back() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let program = Program::start_ready(&setting.config);
    let good = |n: usize| match n % 8 {
        0 => message(gzip(&orders::good(n)), "gzip"),
        1 => message(zlib(&orders::good(n)), "deflate"),
        2 => message(zstd(&orders::good(n)), "zstd"),
        // Such a name says nothing of compression.
        3 => message(orders::good(n), "utf-8"),
        4 => message(lz4(&orders::good(n)), "lz4"),
        5 => message(snappy(&orders::good(n)), "snappy"),
        6 => message(snappy_block(&orders::good(n)), "snappy"),
        _ => Message { body: orders::good(n), ..Message::default() },
    };
    let text_amount = br#"{"id":"order-100","occurred_at":"2024-01-02T10:00:00Z","amount":"12.5","customer":{"email":"c@example.com"}}"#;
    let mut cut = gzip(&orders::good(101));
    cut.truncate(cut.len() - 20);
    let bomb = gzip(&vec![b' '; 20 << 20]);
    assert!(bomb.len() < 40_000, "{} bytes", bomb.len());
    let mut ended = lz4(&orders::good(101));
    ended.truncate(ended.len() - 4);
    let bad = [
        message(gzip(text_amount), "gzip"),
        message(cut, "gzip"),
        message(zstd(&vec![b' '; orders::BODY_MAX + 1]), "zstd"),
        message(bomb, "gzip"),
        message(ended, "lz4"),
        message([snappy(&orders::good(101)), b"more".to_vec()].concat(), "snappy"),
        message(lz4(&vec![b' '; 20 << 20]), "lz4"),
        message(snappy(&vec![b' '; orders::BODY_MAX + 1]), "snappy"),
        message(snappy_block(&vec![b' '; orders::BODY_MAX + 1]), "snappy"),
    ];
    let messages: Vec<Message> = (0..100).map(good).chain(bad).collect();
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(109, MINUTE);
    archive::assert_orders(&archive::event_ids(&setting.store()), 100, 1);

    let broken = || dlq(&setting, &["list", "--code", "decode.content_encoding", "--json"]);
    let of_each = |listed: &str| {
        let expected = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["issues"][0]["expected"].as_str().expect("text").to_owned()
        };
        listed.lines().map(expected).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of_each(&broken()), ["gzip", "lz4", "snappy"]);
    let large = dlq(&setting, &["list", "--code", "frame.too_large", "--json"]);
    assert_eq!(large.lines().count(), 5, "{large}");

    // The body is JSON in gzip: shown as JSON, found by what is in it, given back byte for byte.
    let mendable = letter(&setting, "validate.type");
    let id = mendable["id"].as_str().expect("an id");
    let shown = dlq(&setting, &["show", id]);
    assert!(shown.contains("bytes of json in gzip") && shown.contains("\"amount\": \"12.5\""), "{shown}");
    assert_eq!(dlq(&setting, &["list", "--where", "/amount=12.5", "--json"]).lines().count(), 1);
    assert_eq!(dlq(&setting, &["list", "--text", "order-100", "--json"]).lines().count(), 1);

    let cast = "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n";
    let (_, plan) = tried(&setting, "validate.type", cast, &[]);
    dlq(&setting, &["replay", &plan, "--yes"]);
    archive::assert_orders(&archive::event_ids(&setting.store()), 101, 1);
    assert_eq!(broken().lines().count(), 3);
}

#[test]
fn a_mended_body_is_compressed_as_it_was() {
    let fix = parqueduct::replay::fix::Fix::parse("[[step]]\nremove = { path = \"/b\" }\n", "fix.toml").expect("a fix");
    for (body, encoding) in [
        (gzip(br#"{"a":1,"b":2}"#), "gzip"),
        (zlib(br#"{"a":1,"b":2}"#), "deflate"),
        (zstd(br#"{"a":1,"b":2}"#), "zstd"),
        (lz4(br#"{"a":1,"b":2}"#), "lz4"),
        (snappy(br#"{"a":1,"b":2}"#), "snappy"),
        (snappy_block(br#"{"a":1,"b":2}"#), "snappy"),
    ] {
        let mended = fix.apply(&message(body.clone(), encoding)).expect("it is done");
        assert_ne!(mended.body, body);
        assert_eq!(&*parqueduct::content::opened(&mended), br#"{"a":1}"#, "{encoding}");
        assert_eq!(mended.properties.content_encoding.as_deref(), Some(encoding));
    }
}

const ORDERS_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/msgpack_orders.py");

fn run(arguments: &[&str]) -> String {
    let done = Command::new(python::interpreter()).args(arguments).output().expect("Python starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// The order in `body` under a new number, its amount in quotes.
fn with_text_amount(body: &[u8]) -> Vec<u8> {
    let at = |part: &[u8]| body.windows(part.len()).position(|window| window == part).expect("it is there");
    let (id, amount) = (at(b"\xa7order-1"), at(b"\xa6amount\xcb") + 7);
    [&body[..id], b"\xa9order-600", &body[id + 8..amount], b"\xa40.25", &body[amount + 9..]].concat()
}

/// Values of every kind, by the library that producers in Python use; compared by what reads the Parquet there.
#[test]
fn messagepack_comes_back_as_the_json_it_was() {
    const ORDERS: usize = 600;
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    setting.change("format = \"json\"", "format = \"msgpack\"");
    setting.change(&format!("body_max = \"{}B\"", orders::BODY_MAX), "body_max = \"16MiB\"");
    let lines = run(&[ORDERS_PY, "make", &ORDERS.to_string()]);
    let made = setting.directory.path().join("orders.ndjson");
    std::fs::write(&made, &lines).expect("writable");
    let body = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        BASE64.decode(line["body"].as_str().expect("text")).expect("base64")
    };
    let mut messages: Vec<Message> =
        lines.lines().map(|line| Message { body: body(line), ..Message::default() }).collect();
    let whole = messages[1].body.clone();
    let of = |body: Vec<u8>| Message { body, ..Message::default() };
    let bad = [
        (whole[..whole.len() - 1].to_vec(), "decode.binary.truncated"),
        ([whole.clone(), vec![0xc0]].concat(), "decode.binary.trailing"),
        (vec![0xc1], "decode.binary.invalid"),
        (vec![0x82, 0xa1, b'a', 1, 0xa1, b'a', 2], "decode.binary.duplicate_key"),
        (vec![0x81, 0xc0, 1], "decode.binary.key"),
        (vec![0xa2, 0xff, 0xfe], "decode.binary.utf8"),
        (vec![0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], "decode.binary.number"),
        (vec![0x91; orders::DEPTH_MAX + 2], "decode.binary.depth"),
        (b"\x82\xa2id\xa1x\xa4note\xa1y".to_vec(), "validate.required"),
        (with_text_amount(&whole), "validate.type"),
    ];
    messages.extend(bad.iter().map(|(body, _)| of(body.clone())));
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(messages.len() as u64, MINUTE);
    let archived = run(&[ORDERS_PY, "check", setting.store().to_str().expect("UTF-8"), made.to_str().expect("UTF-8")]);
    assert_eq!(archived.trim(), ORDERS.to_string());

    for (body, code) in &bad {
        let letter = letter(&setting, code);
        assert_eq!(letter["body_base64"], BASE64.encode(body), "{code}");
    }
    // What can be decoded is shown as JSON, and found by what is in it; what cannot, as bytes.
    let unfit = letter(&setting, "validate.required");
    let shown = dlq(&setting, &["show", unfit["id"].as_str().expect("an id")]);
    assert!(shown.contains("came as 13 bytes of msgpack") && shown.contains("\"note\": \"y\""), "{shown}");
    assert_eq!(dlq(&setting, &["list", "--where", "/note=y", "--json"]).lines().count(), 1);
    let cast = "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n";
    let (report, plan) = tried(&setting, "validate.type", cast, &[]);
    // Good events are of the same format, and the fix leaves them good.
    assert_eq!(
        (&report["pass"], &report["good"]["broken"], &report["good"]["unusable"]),
        (&1.into(), &0.into(), &0.into())
    );
    assert!(report["good"]["events"].as_u64() > Some(ORDERS as u64 / 2), "{report}");
    dlq(&setting, &["replay", &plan, "--yes"]);
    archive::assert_orders(&archive::event_ids(&setting.store()), ORDERS + 1, 1);
    let broken = letter(&setting, "decode.binary.utf8");
    let shown = dlq(&setting, &["show", broken["id"].as_str().expect("an id")]);
    assert!(shown.contains("a2 ff fe"), "{shown}");
}
