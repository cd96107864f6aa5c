//! A replay that is killed at several moments, and gone on with.

use std::time::Duration;

use super::{LIMIT, Orders, Running, dlq, job, job_id};
use crate::harness::archive;
use crate::harness::program::wait_for;

#[test]
fn kill_9_of_a_replay_of_a_hundred_thousand_letters_loses_none_and_repeats_none() {
    let letters = 100_000;
    let orders = Orders::quoted(letters);
    let setting = &orders.setting;
    let plan = orders.plan(&[]);
    let mut killed = 0;
    // By the flushes that are committed when it is killed, and how long after: within the first steps, within a flush,
    // within a commit.
    for (round, (flushes, pause)) in
        [(0, 0), (1, 0), (2, 3), (5, 40), (12, 17), (25, 90), (40, 0), (60, 55)].into_iter().enumerate()
    {
        let resumes = job(setting).is_some_and(|job| job["status"] == "running") && round % 2 == 0;
        let arguments = match resumes {
            true => vec!["resume".to_owned(), job_id(setting)],
            false => vec!["replay".to_owned(), plan.clone(), "--yes".to_owned()],
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut running = Running::start(setting, &arguments);
        wait_for("some flushes", LIMIT, || {
            let ended = running.0.try_wait().expect("it can be asked").is_some();
            (ended || orders.flushes(&plan) >= flushes).then_some(())
        });
        std::thread::sleep(Duration::from_millis(pause));
        killed += usize::from(running.kill_9());
    }
    assert!(killed >= 6, "killed {killed} times while there was more to do");
    assert!(orders.flushes(&plan) < letters / 1000, "the last one has something left to do");
    let said = dlq(setting, &["resume", &job_id(setting)]);
    assert!(said.contains("finished"), "{said}");
    let job = job(setting).expect("a job");
    let count = |name: &str| job["counts"][name].as_u64().expect("a number");
    assert_eq!((count("recovered"), count("failed"), count("skipped")), (letters as u64, 0, 0), "{job:#}");
    orders.assert_each_once(letters);
    // Objects of flushes that were left undecided are gone, and none is there that no flush names.
    assert_eq!(archive::strays(&setting.store()), Vec::<String>::new());
    assert!(super::recovered_rows(&setting.store()).len() == letters);
}
