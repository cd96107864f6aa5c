//! Replays that stop by themselves, and those that people stop.

use super::{Orders, Running, dlq, dlq_json, dlq_refused, dlq_whatever, job, job_id, wait_for_job};

/// Letters with a number in quotes as amount, but for the one at `bad`, which no cast makes a number of.
fn with_a_bad_one(count: usize, bad: usize) -> Orders {
    Orders::with((0..count).map(move |n| if n == bad { "\"much\"".to_owned() } else { format!("\"{n}.5\"") }))
}

#[test]
fn a_failure_among_the_first_eleven_halts_there_and_somebody_may_go_on() {
    for (bad, done) in [(0, 1), (1, 11), (10, 11)] {
        let orders = with_a_bad_one(300, bad);
        let setting = &orders.setting;
        let plan = orders.plan(&[]);
        let said = dlq_refused(setting, &["replay", &plan, "--yes"]);
        assert!(said.contains("halted"), "{said}");
        let halted = job(setting).expect("a job");
        assert_eq!((&halted["status"], &halted["done"]), (&"halted".into(), &done.into()), "{halted:#}");
        assert_eq!((&halted["counts"]["failed"], &halted["counts"]["recovered"]), (&1.into(), &(done - 1).into()));
        assert_eq!(orders.ids().len(), done - 1);
        // Nothing else of the pipeline is replayed meanwhile.
        assert!(dlq_refused(setting, &["replay", &plan, "--yes"]).contains("resume or cancel it"));

        // Somebody looked, and goes on.
        let output = dlq_whatever(setting, &["resume", &job_id(setting)]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("finished: 299 recovered, 1 failed again"), "{said}");
        assert_eq!(orders.ids().len(), 299);
        assert!(!orders.ids().contains_key(&format!("order-{bad}")));
        // The letter that failed is no second letter: it is the same, with one attempt more.
        let dead = dlq_json(setting, &["list"]);
        assert_eq!(dead.len(), 1);
        assert_eq!((&dead[0]["code"], &dead[0]["state"]), (&"validate.type".into(), &"dead".into()));
        let attempts = dead[0]["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 2, "{attempts:#?}");
        assert_eq!(attempts[1]["code"], "replay.fix");
    }
}

#[test]
fn a_new_way_of_failing_later_halts_within_its_step() {
    let orders = with_a_bad_one(3000, 1500);
    let setting = &orders.setting;
    let plan = orders.plan(&[]);
    let said = dlq_refused(setting, &["replay", &plan, "--yes"]);
    assert!(said.contains("none of the letters had failed before"), "{said}");
    let halted = job(setting).expect("a job");
    let done = halted["done"].as_u64().expect("a number");
    assert!((1501..=2100).contains(&done), "{halted:#}");
    assert_eq!(orders.ids().len() as u64, done - 1);
    // Without canary, it is one failure among many.
    dlq(setting, &["cancel", &job_id(setting)]);
    let rest = orders.plan(&["--no-canary"]);
    let output = dlq_whatever(setting, &["replay", &rest, "--yes"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 failed again"), "{output:?}");
    assert_eq!(orders.ids().len(), 2999);
    assert!(orders.ids().values().all(|&times| times == 1));
}

#[test]
fn a_replay_is_paused_gone_on_with_and_cancelled_while_it_runs() {
    let letters = 3000;
    let orders = Orders::quoted(letters);
    let setting = &orders.setting;
    let plan = orders.plan(&[]);
    let running = Running::start(setting, &["replay", &plan, "--yes", "--rate", "300"]);
    wait_for_job(setting, "some letters", |job| job["done"].as_u64() > Some(100));
    let id = job_id(setting);

    dlq(setting, &["pause", &id, "--why", "a test"]);
    // At rest: what is durable stays as it is for longer than it would take to go on.
    let mut before = 0;
    wait_for_job(setting, "the replay to rest", |job| {
        let done = job["done"].as_u64().expect("a number");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        std::mem::replace(&mut before, done) == done && job["status"] == "paused"
    });
    assert!(before < letters as u64, "it rests before its end");
    assert!(dlq_refused(setting, &["pause", &id]).contains("paused already"));

    let said = dlq(setting, &["resume", &id]);
    assert!(said.contains("goes on with it"), "{said}");
    wait_for_job(setting, "more letters", |job| job["done"].as_u64() > Some(before));

    dlq(setting, &["cancel", &id]);
    let (succeeded, said) = running.end();
    assert!(!succeeded && said.contains("cancelled"), "{said}");
    let cancelled = job(setting).expect("a job");
    assert_eq!(cancelled["status"], "cancelled");
    let recovered = cancelled["counts"]["recovered"].as_u64().expect("a number");
    assert!(recovered < letters as u64);
    assert_eq!(orders.ids().len() as u64, recovered, "what was in hand stays dead");
    assert!(dlq_refused(setting, &["resume", &id]).contains("cancelled already"));

    // The same plan goes on where the cancelled job was.
    let said = dlq(setting, &["replay", &plan, "--yes"]);
    assert!(said.contains(&format!("finished: {} recovered", letters as u64 - recovered)), "{said}");
    orders.assert_each_once(letters);
}

#[test]
fn of_two_replays_on_overlapping_letters_one_is_refused() {
    let letters = 1500;
    let orders = Orders::quoted(letters);
    let setting = &orders.setting;
    let (one, other) = (orders.plan(&[]), orders.plan(&["--no-canary"]));
    assert_ne!(one, other);
    let running = Running::start(setting, &["replay", &one, "--yes", "--rate", "300"]);
    wait_for_job(setting, "the first to begin", |job| job["done"].as_u64() > Some(0));
    for plan in [&one, &other] {
        let refused = dlq_refused(setting, &["replay", plan, "--yes"]);
        assert!(refused.contains("is not over"), "{refused}");
    }
    let (succeeded, said) = running.end();
    assert!(succeeded && said.contains("1500 recovered"), "{said}");
    // Then the other finds nothing left.
    let said = dlq(setting, &["replay", &other, "--yes"]);
    assert!(said.contains("nothing to do"), "{said}");
    orders.assert_each_once(letters);
}

#[test]
fn letters_that_failed_three_times_with_the_same_mend_are_left_out() {
    let orders = Orders::with(["\"much\"".to_owned()].into_iter());
    let setting = &orders.setting;
    let fix = |name: &str, more: &str| {
        orders.file(name, &format!("[[step]]\ncast = {{ path = \"/amount\", to = \"number\" }}\n{more}"))
    };
    for round in 0..3 {
        // The plans differ, what mends the letters does not.
        let name = format!("fix-{round}.toml");
        let plan = super::plan(setting, &["--fix", &fix(&name, "")])["plan"].as_str().expect("a hash").to_owned();
        let said = dlq_refused(setting, &["replay", &plan, "--yes"]);
        assert!(said.contains("halted"), "{said}");
        dlq(setting, &["cancel", &job_id(setting)]);
    }
    let refused = dlq_refused(setting, &["plan", "--why", "a test", "--fix", &fix("fix-3.toml", "")]);
    assert!(refused.contains("3 times already with the same mend"), "{refused}");
    let other = "[[step]]\nremove = { path = \"/note\" }\n";
    assert_eq!(super::plan(setting, &["--fix", &fix("other.toml", other)])["letters"], 1);
}
