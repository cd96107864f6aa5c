//! The 27,004 real flights from RabbitMQ into Parquet, on every kind of store, read by every engine of the tests.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::harness::program::{Program, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, python};

const FLIGHTS: u64 = 27_004;
/// Flights without an arrival delay, which the demo's schema requires; 155 of them lack a tail number as well.
const GAPS: u64 = 606;
const LIMIT: Duration = Duration::from_secs(100);

fn flights() -> String {
    repository().join("config/demo/flights-2013-01.ndjson.gz").display().to_string()
}

fn published_ids() -> BTreeSet<String> {
    let file = std::fs::File::open(flights()).expect("the flights");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let id =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].as_str().map(str::to_owned);
    text.lines().map(|line| id(line).expect("an id")).collect()
}

/// Publishes the flights by the command, runs the program over them, and stops it.
fn carry(setting: &Setting) {
    let program = Program::start(&setting.config);
    wait_for("the queue", LIMIT, || (program.get("/readyz").0 == 200).then_some(()));
    let arguments = ["publish", "--config", setting.config_text(), "--exchange", "", "--routing-key", &setting.queue];
    let said = parqueduct_ok(&[&arguments[..], &[&flights()]].concat());
    assert_eq!(said.trim(), format!("published and confirmed: {FLIGHTS}"));
    program.wait_until_settled(FLIGHTS, LIMIT);
    assert_eq!(program.errors(), Vec::<String>::new());
    let (status, log) = program.terminate(LIMIT);
    assert!(status.success(), "{log}");
    let ledger = format!("received={FLIGHTS} archived={} dead_lettered={GAPS}", FLIGHTS - GAPS);
    assert!(log.contains(&ledger), "{log}");
}

/// Every id is in exactly one of both places.
fn assert_complete(setting: &Setting, store: &Path) {
    let archived = archive::event_ids(store);
    assert!(archived.values().all(|&times| times == 1), "no row twice");
    let dead: Vec<String> = setting.dead_letters().iter().map(id_of_body).collect();
    assert_eq!((archived.len() as u64, dead.len() as u64), (FLIGHTS - GAPS, GAPS));
    let everywhere: BTreeSet<String> = archived.into_keys().chain(dead).collect();
    assert_eq!(everywhere, published_ids());
}

/// DuckDB, Polars and PyArrow read the same rows and types, as one file and as a tree.
fn assert_readable(store: &Path) {
    assert_eq!(python::rows_all_engines_agree_on(&store.join("data/flights/v1")), FLIGHTS - GAPS);
}

fn id_of_body(letter: &serde_json::Value) -> String {
    use base64::Engine;
    let body = letter["body_base64"].as_str().expect("a body");
    let body = base64::prelude::BASE64_STANDARD.decode(body).expect("base64");
    serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")["id"].as_str().expect("an id").to_owned()
}

#[test]
fn real_flights_land_in_a_directory_and_every_engine_reads_them() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::flights(rabbit.uri()));
    carry(&setting);
    assert_complete(&setting, &setting.store());
    assert_readable(&setting.store());
}

#[test]
fn real_flights_land_in_s3_and_every_engine_reads_them() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let setting = Setting::new(&Options::flights(rabbit.uri()).on(&server));
    carry(&setting);
    server.dump("archive/", setting.directory.path());
    let dumped = setting.directory.path().join("archive");
    assert_complete(&setting, &dumped);
    assert_readable(&dumped);
}

#[test]
fn a_file_is_taken_without_a_broker_and_the_same_file_again_adds_nothing() {
    let setting = Setting::new(&Options::flights("amqp://nobody:nothing@127.0.0.1:1/%2f"));
    let ingest = || parqueduct_ok(&["ingest", "--config", setting.config_text(), "--pipeline", "flights", &flights()]);
    let first = ingest();
    assert!(
        first.contains(&format!("received {FLIGHTS} = archived {} + dead-lettered {GAPS}", FLIGHTS - GAPS)),
        "{first}"
    );
    assert_complete(&setting, &setting.store());
    let again = ingest();
    assert!(again.contains("received 0 = archived 0 + dead-lettered 0"), "{again}");
    assert_complete(&setting, &setting.store());
}

#[test]
fn a_file_whose_ingest_was_killed_resumes_and_no_row_is_lost_or_twice() {
    let setting = Setting::new(&Options::flights("amqp://nobody:nothing@127.0.0.1:1/%2f"));
    // Small flushes, so that the kill lands between and within them.
    let text = std::fs::read_to_string(&setting.config).expect("readable").replace("rows = 7000", "rows = 300");
    std::fs::write(&setting.config, text).expect("writable");
    let arguments = ["ingest", "--config", setting.config_text(), "--pipeline", "flights", &flights()];
    let mut killed = 0;
    for pause in [700, 1000, 1300, 900, 1100] {
        let mut child = std::process::Command::new(crate::harness::program::BINARY)
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(pause));
        killed += usize::from(child.try_wait().expect("it can be asked").is_none());
        child.kill().ok();
        child.wait().expect("it ends");
    }
    assert!(killed > 0, "at least one run was killed before its end");
    parqueduct_ok(&arguments);
    assert_complete(&setting, &setting.store());
}

#[test]
fn standard_input_is_taken_as_lines() {
    let setting = Setting::new(&Options::flights("amqp://nobody:nothing@127.0.0.1:1/%2f"));
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &format!(
                "zcat '{}' | head -n 100 | '{}' ingest --config '{}' --pipeline flights -",
                flights(),
                crate::harness::program::BINARY,
                setting.config_text()
            ),
        ])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let archived = archive::event_ids(&setting.store()).len();
    assert_eq!(archived + setting.dead_letters().len(), 100);
}
