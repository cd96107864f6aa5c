//! Twenty thousand failures from six causes, as producers make them: six groups count them, seven issues explain them, and
//! nothing that is told of them holds a value of theirs.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use parqueduct::event::{HeaderValue, Message, Properties};
use serde_json::{Value, json};

use crate::harness::now;
use crate::harness::program::{Program, parqueduct_ok};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};

const FAILURES: usize = 20_000;
const SEED: u64 = 2013;

/// What every text value of an event holds, and nothing else in the world.
const MARK: &str = "zqj";

/// What producers do wrong, each with the codes and paths that must be told of it, the primary one first.
const CAUSES: [&[(&str, &str)]; 6] = [
    &[("validate.type", "/amount")],
    &[("validate.required", "/currency"), ("validate.additionalProperties", "/ccy")],
    &[("validate.type", "/customer/email")],
    &[("validate.enum", "/status")],
    &[("validate.format", "/due")],
    &[("validate.minimum", "/lines/[*]/quantity")],
];

/// A payment with these causes, and each of its values that could be told from all others.
fn payment(n: usize, causes: &[usize], random: &mut fastrand::Rng, values: &mut HashSet<String>) -> Vec<u8> {
    let mut own = |what: &str| {
        let value = format!("{MARK}{what}{:08x}", random.u32(..));
        values.insert(value.clone());
        value
    };
    let lines = 1 + n % 4;
    let mut event = json!({
        "id": own("id"),
        "occurred_at": "2024-01-01T10:00:00Z",
        "amount": 0,
        "currency": own("currency"),
        "status": "new",
        "due": "2024-02-01",
        "customer": { "email": own("mail"), "name": own("name") },
        "lines": (0..lines).map(|_| json!({ "sku": own("sku"), "quantity": 1 })).collect::<Vec<_>>(),
    });
    let number = format!("7{:09}.25", random.u32(..1_000_000_000));
    event["amount"] = serde_json::from_str(&number).expect("a number");
    for cause in causes {
        match cause {
            0 => event["amount"] = number.as_str().into(),
            1 => {
                let moved = event.as_object_mut().expect("an object").remove("currency").expect("was there");
                event["ccy"] = moved;
            }
            2 => event["customer"]["email"] = Value::Null,
            3 => event["status"] = format!("{MARK}status{n}").into(),
            4 => event["due"] = format!("{MARK}due{n}").into(),
            _ => event["lines"][n % lines]["quantity"] = (-7_000_000_000_i64 - n as i64).into(),
        }
    }
    values.extend([number, format!("{MARK}status{n}"), format!("{MARK}due{n}"), format!("-{}", 7_000_000_000 + n)]);
    event.to_string().into_bytes()
}

/// The causes of each failure: one, or in 15 of 100 two or three at once.
fn draw(random: &mut fastrand::Rng) -> Vec<usize> {
    let count = if random.u32(..100) < 15 { 2 + random.usize(..2) } else { 1 };
    let mut causes: Vec<usize> = (0..CAUSES.len()).collect();
    random.shuffle(&mut causes);
    causes.truncate(count);
    causes
}

fn message(body: Vec<u8>, n: usize) -> Message {
    let header = HeaderValue::Text(format!("{MARK}header{n}").into_bytes());
    let properties = Properties {
        message_id: Some(format!("{MARK}message{n}")),
        correlation_id: Some(format!("{MARK}correlation{n}")),
        headers: Some(vec![("x-tenant".to_owned(), header)]),
        ..Properties::default()
    };
    Message { body, properties: properties.into(), ..Message::default() }
}

/// What is told holds none of the values, whole or in part.
fn assert_tells_nothing(what: &str, text: &str, values: &HashSet<String>) {
    assert!(!text.is_empty(), "{what} is there");
    let at = text.find(MARK).map(|at| &text[at.saturating_sub(60)..text.len().min(at + 60)]);
    assert_eq!(at, None, "{what} holds a value");
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
    let told: Vec<&str> = words.filter(|word| values.contains(*word)).collect();
    assert_eq!(told, Vec::<&str>::new(), "{what} holds a value");
}

#[test]
fn twenty_thousand_failures_from_six_causes_are_six_groups_and_seven_issues() {
    let rabbit = now(Rabbit::shared());
    let mut options = Options::orders(rabbit.uri());
    options.subject = format!(
        "name = \"payments\"\nschema = \"{}\"\nprefetch = 5000\nflush = {{ rows = 3000, age = \"500ms\" }}",
        repository().join("tests/data/payment.v1.json").display()
    );
    options.more = "[log]\nlevel = \"debug,lapin=off\"\n";
    let setting = Setting::new(&options);

    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut values, mut messages) = (HashSet::new(), Vec::with_capacity(FAILURES));
    let (mut showing, mut several) = (BTreeMap::<(&str, &str), u64>::new(), 0);
    for n in 0..FAILURES {
        let causes = draw(&mut random);
        several += usize::from(causes.len() > 1);
        for issue in causes.iter().flat_map(|cause| CAUSES[*cause]) {
            *showing.entry(*issue).or_default() += 1;
        }
        messages.push(message(payment(n, &causes, &mut random, &mut values), n));
    }
    assert!((2_800..3_200).contains(&several), "{several} have several causes");

    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(FAILURES as u64, Duration::from_secs(120));
    let (_, metrics) = program.get("/metrics");
    assert_eq!(program.metric("parqueduct_dead_lettered_total"), FAILURES as f64);
    let (status, log) = program.terminate(Duration::from_secs(60));
    assert!(status.success(), "{log}");

    let dlq = |words: &[&str]| {
        let config = ["--config", setting.config_text()];
        parqueduct_ok(&[&["dlq"], words, &config].concat())
    };
    let told = dlq(&["groups", "--json"]);
    let groups: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let count = |group: &Value, key: &str| group[key].as_u64().expect("a count");
    let primary = groups.iter().filter(|group| count(group, "count") > 0).count();
    assert_eq!((primary, groups.len()), (CAUSES.len(), 7), "{groups:#?}");
    assert_eq!(groups.iter().map(|group| count(group, "count")).sum::<u64>(), FAILURES as u64);
    let found = groups.iter().map(|group| {
        let text = |key: &str| group[key].as_str().expect("a text");
        ((text("code"), text("path")), count(group, "showing"))
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), showing, "each cause is in the group of each of its issues");
    assert_eq!(showing[&CAUSES[1][0]], showing[&CAUSES[1][1]], "as many miss one name as have the other: a rename");

    for (what, text) in [
        ("the metrics", metrics.as_str()),
        ("the log", &log),
        ("the groups", &told),
        ("the table of groups", &dlq(&["groups"])),
        ("the list", &dlq(&["list", "--limit", "20000"])),
    ] {
        assert_tells_nothing(what, text, &values);
    }
    // Had something been told, it would have been seen.
    assert!(messages.iter().all(|message| message.body.windows(MARK.len()).any(|part| part == MARK.as_bytes())));
    now(rabbit.delete(&setting.queue));
}
