//! The proof: events flow while everything around the program fails, and afterwards each is in exactly one place, once.
//!
//! Two replicas on one queue are killed again and again, so is the broker's node; the store goes away and makes errors of
//! all kinds, and the lines to the broker are cut, slow, half-open, or lose acks. `make chaos` runs the same for longer.

mod course;
mod place;
mod plan;
mod publisher;
mod replicas;
mod saboteur;
mod schedule;
mod verdict;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lapin::types::AMQPValue;

use crate::harness::proxy::Proxy;
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, python};
use course::Course;
use place::Place;
use plan::{Plan, StoreKind};
use replicas::Replicas;
use saboteur::Saboteur;
use schedule::REPLICAS;
use verdict::{Verdict, census};

/// `run.flush_grace`: after it, nobody waits for a process that cannot be seen.
const FLUSH_GRACE: Duration = Duration::from_secs(10);
/// Seconds the broker's node lives at most, should this be killed.
const LEASE: &str = "3600";
/// Longest time from the last fault until the queue is empty.
const EMPTY_WITHIN: Duration = Duration::from_secs(180);
const DRAIN_WITHIN: Duration = Duration::from_secs(40);

#[test]
fn chaos_over_s3_loses_nothing_and_repeats_nothing() {
    run(Plan::from_environment(StoreKind::S3, "quorum"));
}

#[test]
fn chaos_over_file_loses_nothing_and_repeats_nothing() {
    run(Plan::from_environment(StoreKind::File, "classic"));
}

fn run(plan: Plan) {
    let begun = Instant::now();
    let report = |what: &str| eprintln!("{:>4} s: {what}", begun.elapsed().as_secs());
    // What is missing is missed before the run, not after it.
    python::interpreter();
    let lanes = schedule::draw(&plan);
    eprintln!("chaos {}: PARQUEDUCT_CHAOS_SEED={}", plan.name(), plan.seed);
    for fault in lanes.iter().flatten() {
        eprintln!("  after {:>8} events: {}, replica {}", fault.at, fault.kind.title(), fault.replica);
    }

    let rabbit = now(Rabbit::own(&["--lease", LEASE]));
    let lines: [Proxy; REPLICAS] = std::array::from_fn(|_| now(Proxy::to(rabbit.port())));
    let publisher_line = now(Proxy::to(rabbit.port()));
    let uris = lines.each_ref().map(|line| line.uri(rabbit.uri(), rabbit.port()));
    let (setting, place) = setting(&plan, &uris[0]);
    let configs = [setting.config.clone(), other_replica(&setting, &uris)];
    declare(&rabbit, &setting.queue, &plan.queue_type);

    let replicas = Replicas::start(&plan.binary, configs);
    let course = Course::default();
    let saboteur = Saboteur {
        course: &course,
        rabbit: &rabbit,
        place: &place,
        replicas: &replicas,
        lines: &lines,
        publisher_line: &publisher_line,
    };
    let publisher_uri = publisher_line.uri(rabbit.uri(), rabbit.port());
    report("events flow");
    let flowing = Instant::now();
    let (published, happened) = std::thread::scope(|scope| {
        let lanes = [0, 1].map(|lane| {
            course.set_next_fault(lane, lanes[lane].first().map_or(u64::MAX, |fault| fault.at));
            let (saboteur, faults) = (&saboteur, &lanes[lane]);
            scope.spawn(move || saboteur.work(lane, faults))
        });
        let published = publisher::publish(&course, &publisher_uri, &setting.queue, plan.events, plan.rate);
        let happened = lanes.map(|lane| lane.join().expect("the saboteur's own panic is reported"));
        (published, happened)
    });
    let publishing = flowing.elapsed();
    report("all are published, and all faults are over");

    let empty = || replicas.hold_nothing() && now(rabbit.messages(&setting.queue)) == 0;
    course.wait(EMPTY_WITHIN, empty);
    report("the queue is empty");
    // Only now is it decided what became of the flushes of those that were killed last.
    course.rest(FLUSH_GRACE + Duration::from_secs(2));
    let errors = replicas.drain(DRAIN_WITHIN);
    report("both replicas have drained");
    let left_in_queue = now(rabbit.messages(&setting.queue));

    let files = place.files(setting.directory.path());
    let verdict = Verdict {
        published: published.numbers,
        unconfirmed: published.unconfirmed.len() as u64,
        left_in_queue,
        suppressed: archive::suppressed(&files),
        census: census(&files, &published),
        strays: archive::strays(&files),
        open_flushes: archive::open_flushes(&files),
        planned: schedule::count(lanes.iter().flatten().map(|fault| fault.kind)),
        happened: schedule::count(happened.into_iter().flatten()),
        errors,
        publishing,
        whole: begun.elapsed(),
        plan,
    };
    eprintln!("{}", verdict.table());
    verdict.report();
    let violations = verdict.violations();
    assert!(violations.is_empty(), "{}: {:#}", violations.join(", "), verdict.json());
}

/// The pipeline of both replicas, and the store they share.
fn setting(plan: &Plan, uri: &str) -> (Setting, Place) {
    let mut options = Options::orders(uri);
    options.rabbitmq = "reconnect_max = \"1s\"\nheartbeat = \"2s\"\nconnect_timeout = \"3s\"";
    options.pipeline = "";
    let run = format!(
        "[run]\ninstance = \"replica_0\"\nflush_grace = \"{}s\"\ndrain_timeout = \"20s\"\n",
        FLUSH_GRACE.as_secs()
    );
    options.more = &run;
    match plan.store {
        StoreKind::S3 => {
            let place = Place::s3();
            let server = place.server().expect("it is one");
            (Setting::new(&options.on_within(server, "1s")), place)
        }
        StoreKind::File => {
            let setting = Setting::new(&options);
            let place = Place::Directory(setting.store());
            (setting, place)
        }
    }
}

fn other_replica(setting: &Setting, uris: &[String; REPLICAS]) -> PathBuf {
    setting.variant("replica_1", &[("replica_0", "replica_1"), (&uris[0], &uris[1])])
}

fn declare(rabbit: &Rabbit, queue: &str, queue_type: &str) {
    let mut arguments = vec![("x-queue-type", AMQPValue::LongString(queue_type.into()))];
    match queue_type {
        // From RabbitMQ 4.0 on, twenty returns are the default, and then the message is dropped.
        "quorum" => arguments.push(("x-delivery-limit", AMQPValue::LongInt(1_000_000))),
        // The first version of classic queues, the default of 3.x, may not recover from a SIGKILL: then the node never
        // starts again (function_clause in rabbit_queue_index:recover_journal, seen with 3.10.8).
        _ if now(rabbit.ctl(&["version"])).starts_with("3.") => {
            arguments.push(("x-queue-version", AMQPValue::LongInt(2)))
        }
        _ => {}
    }
    now(rabbit.declare(queue, &arguments));
}
