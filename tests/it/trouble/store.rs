//! The store fails in mid-flow: throttled, in conflict, silent, full, or without conditional creation.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{MINUTE, assert_calm_and_complete, orders_on, publish, with_backlog};
use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::{Call, Fault, Rule, S3Server};
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now};

/// Asserts that the store of `server` holds the orders 0 to `count`.
fn assert_orders(server: &S3Server, setting: &Setting, count: usize, times_max: usize) {
    archive::assert_orders(&orders_on(server), count, times_max);
    assert_eq!(setting.dead_letters().len(), 0);
}

#[test]
fn every_failure_of_an_s3_store_in_mid_flow_is_survived() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let setting = Setting::new(&Options::orders(rabbit.uri()).on(&server));
    setting.change("request_timeout = \"5s\"", "request_timeout = \"1s\"");
    let program = Program::start_ready(&setting.config);
    let troubles = [
        Rule::one_of(2, Call::Put, Fault::SlowDown),
        Rule::one_of(3, Call::Put, Fault::Conflict),
        Rule::one_of(3, Call::Put, Fault::Precondition),
        Rule::one_of(3, Call::Put, Fault::AnswerLost),
        Rule::next(4, Call::Put, Fault::NoAnswer),
        Rule::next(4, Call::Put, Fault::AnswerNever),
    ];
    let mut published = 0;
    for trouble in troubles {
        let (fault, before) = (trouble.fault, server.injected());
        server.inject(trouble);
        // Reads answer a write in doubt: they break off, too.
        server.inject(Rule::one_of(3, Call::Get, Fault::CutBody { after: 10 }));
        publish(&rabbit, &setting, published..published + 3000);
        published += 3000;
        program.wait_until_settled(published as u64, MINUTE);
        assert!(server.injected() - before >= 2, "{fault:?} happened {} times", server.injected() - before);
        server.heal();
    }
    assert_eq!(program.errors(), Vec::<String>::new(), "nobody has to act");
    assert!(program.metric("parqueduct_store_errors_total") > 0.0);
    assert_eq!(program.metric("parqueduct_requeued_total"), 0.0, "what is held is held");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_orders(&server, &setting, published, 1);
}

/// A file system of a few megabytes, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted_on(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("it can be made");
        as_root(&["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", text(directory)]);
        Self(directory.to_owned())
    }

    /// Takes all the space there is, until the file is removed.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).expect("it can be made");
        let mut chunk = vec![0; 64 * 1024];
        while !chunk.is_empty() {
            if file.write_all(&chunk).is_err() {
                chunk.truncate(chunk.len() / 2);
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy", text(&self.0)]);
    }
}

fn as_root(command: &[&str]) {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let sudo: &[&str] = if is_root { &[] } else { &["sudo", "-n"] };
    let all = [sudo, command].concat();
    let done = Command::new(all[0]).args(&all[1..]).status();
    assert!(done.is_ok_and(|status| status.success()), "{all:?} failed: it takes root, or sudo without a password");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_full_disk_is_waited_out() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&Options::orders(rabbit.uri()));
    let disk = SmallDisk::mounted_on(&setting.store());
    let program = Program::start_ready(&setting.config);
    publish(&rabbit, &setting, 0..2000);
    program.wait_until_settled(2000, MINUTE);
    let filler = disk.fill();
    publish(&rabbit, &setting, 2000..4000);
    wait_for("the full disk to be told", MINUTE, || program.log().contains("No space left on device").then_some(()));
    assert_eq!(program.metric("parqueduct_store_up"), 0.0);
    assert_eq!(program.metric("parqueduct_archived_total"), 2000.0);
    std::fs::remove_file(filler).expect("it is there");
    program.wait_until_settled(4000, MINUTE);
    assert_eq!(program.metric("parqueduct_requeued_total"), 0.0, "what is held is held");
    assert_calm_and_complete(program, &setting, 4000, 1);
}

#[test]
fn a_store_that_ignores_conditions_is_told_of_and_two_instances_and_a_kill_lose_nothing() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    server.ignore_conditions(true);
    let mut options = Options::orders(rabbit.uri()).on(&server);
    options.more = "[run]\ninstance = \"one\"\n";
    let setting = with_backlog(&rabbit, options, 30_000);
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let other = setting.config.with_file_name("other.toml");
    std::fs::write(&other, text.replace("instance = \"one\"", "instance = \"two\"")).expect("writable");

    let first = Program::start_ready(&setting.config);
    let second = Program::start_ready(&other);
    for program in [&first, &second] {
        let told = program.log().lines().any(|line| {
            line.contains(" WARN ") && line.contains("ignores conditional create") && line.contains("own flushes")
        });
        assert!(told, "{}", program.log());
    }
    for program in [&first, &second] {
        program.wait_for_more("parqueduct_archived_total", 0.0, MINUTE);
    }
    first.kill();
    assert!(now(rabbit.ready(&setting.queue)) > 0, "killed while there was more to do");
    let first = Program::start_ready(&setting.config);
    wait_for("all orders", 2 * MINUTE, || (orders_on(&server).len() == 30_000).then_some(()));
    for program in [first, second] {
        assert_eq!(program.errors(), Vec::<String>::new(), "nobody has to act");
        let (status, log) = program.terminate(MINUTE);
        assert!(status.success(), "{log}");
    }
    assert_orders(&server, &setting, 30_000, 2);
}
