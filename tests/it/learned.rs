//! `schema = "infer"`: a schema that is learned of the first events, and what follows.

use std::path::PathBuf;
use std::time::Duration;

use parqueduct::event::{Message, Properties};
use serde_json::{Value, json};

use crate::harness::program::{Program, parqueduct, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, now, python};

const MINUTE: Duration = Duration::from_secs(60);
const FLIGHTS: u64 = 27_004;

/// A pipeline `things` that learns as `infer` says.
fn options<'a>(rabbit: &'a Rabbit, infer: &str) -> Options<'a> {
    let subject = format!(
        "name = \"things\"\nschema = \"infer\"\ninfer = {{ {infer} }}\nprefetch = 2000\n\
         flush = {{ rows = 1000, bytes = \"8MiB\", age = \"300ms\" }}"
    );
    Options { subject, more: "[run]\nschema_reload = \"100ms\"\n", ..Options::orders(rabbit.uri()) }
}

/// Events with the ids `<prefix>-0` and so on, and `more` fields.
fn events(prefix: &str, count: usize, more: &Value) -> Vec<Message> {
    let event = |n: usize| {
        let mut event = json!({"id": format!("{prefix}-{n}"), "occurred_at": "2026-01-01T10:00:00Z"});
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        event.to_string().into_bytes()
    };
    messages((0..count).map(event))
}

fn messages(bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<Message> {
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    bodies
        .into_iter()
        .map(|body| Message { body, properties: properties.clone().into(), ..Message::default() })
        .collect()
}

/// The revisions in the store.
fn revisions(setting: &Setting) -> Vec<PathBuf> {
    let directory = setting.store().join("meta/schemas/things/v1");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    found.sort();
    found
}

fn wait_for_revision(program: &Program, revision: f64) {
    wait_for(&format!("revision {revision}"), MINUTE, || {
        (program.metric("parqueduct_schema_revision") == revision).then_some(())
    });
}

/// Waits until it says that so many events are held to learn of.
fn wait_until_held(program: &Program, events: usize) {
    let line = format!("of {events} events of ");
    wait_for(&line, MINUTE, || {
        let (status, text) = program.get("/readyz");
        (status == 200 && text.contains(&line)).then_some(())
    });
}

/// What DuckDB says, as JSON.
fn queried(setting: &Setting, columns: &str) -> Value {
    let text = "import duckdb, json, sys\n\
                rows = f\"read_parquet('{sys.argv[1]}/**/*.parquet', union_by_name = true)\"\n\
                print(json.dumps(duckdb.sql(f'SELECT {sys.argv[2]} FROM {rows}').fetchall()[0]))";
    let tree = setting.store().join("data/things/v1");
    let told = python::run_text(text, &[tree.to_str().expect("UTF-8"), columns]);
    serde_json::from_str(&told).expect("JSON")
}

fn lines_with<'l>(log: &'l str, words: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(words)).collect()
}

fn learned(setting: &Setting) -> Value {
    let told = parqueduct_ok(&["schema", "learned", "--config", setting.config_text(), "--pipeline", "things"]);
    serde_json::from_str(&told).expect("a schema")
}

#[test]
fn flights_are_learned_of_the_first_thousand_and_all_are_archived() {
    let rabbit = now(Rabbit::shared());
    let mut options = options(&rabbit, "patience = \"1m\"");
    options.pipeline = "declare = true\nshards = 2";
    options.subject = options
        .subject
        .replace("prefetch = 2000", "prefetch = 10000")
        .replace("rows = 1000, bytes = \"8MiB\", age = \"300ms\"", "rows = 7000, bytes = \"64MiB\", age = \"2s\"");
    let setting = Setting::new(&options);
    let config = setting.config_text();
    let flights = repository().join("config/demo/flights-2013-01.ndjson.gz").display().to_string();

    // Before there is a schema, nothing judges.
    let ingest = ["ingest", "--config", config, "--pipeline", "things", &flights];
    let refused = parqueduct(&ingest);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("the schema of pipeline things is not learned yet"), "{told}");
    let program = Program::start_ready(&setting.config);
    wait_until_held(&program, 0);
    assert_eq!(program.get("/healthz").0, 200);
    let told = parqueduct_ok(&["check", "--config", config, "--connect"]);
    assert!(
        told.contains("its schema is learned of the first 1000 events") && told.contains("not learned yet"),
        "{told}"
    );

    let publish = ["publish", "--config", config, "--exchange", "", "--routing-key", &setting.queue, &flights];
    parqueduct_ok(&publish);
    program.wait_until_settled(FLIGHTS, MINUTE);
    for (name, value) in [
        ("parqueduct_archived_total", FLIGHTS as f64),
        ("parqueduct_dead_lettered_total", 0.0),
        ("parqueduct_requeued_total", 0.0),
        ("parqueduct_undeclared_fields_total", 0.0),
        ("parqueduct_schema_conflicts_total", 0.0),
        ("parqueduct_schema_new_fields_total", 0.0),
        ("parqueduct_schema_revision", 1.0),
    ] {
        assert_eq!(program.metric(name), value, "{name}");
    }
    assert_eq!(program.get("/readyz"), (200, "ready\n".to_owned()));
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(lines_with(&log, " WARN ").len() + lines_with(&log, " ERROR ").len(), 0, "{log}");

    let data = setting.store().join("data/things/v1");
    let script = repository().join("tests/engines/learned.py").display().to_string();
    let text = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])";
    assert_eq!(python::run_text(text, &[&script, data.to_str().expect("UTF-8"), &flights]).trim(), FLIGHTS.to_string());
    let columns = parqueduct_ok(&["schema", "columns", revisions(&setting)[0].to_str().expect("UTF-8"), "--json"]);
    let types: Vec<_> = columns
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| format!("{} {}", line["column"].as_str().expect("a name"), line["type"].as_str().expect("a type")))
        .collect();
    for expected in ["occurred_at Timestamp(µs, \"UTC\")", "flight Int64", "route struct", "route.distance_mi Int64"] {
        assert!(types.iter().any(|found| found == expected), "{types:?}");
    }
    let told = parqueduct_ok(&["check", "--config", config, "--connect"]);
    assert!(told.contains("in use is meta/schemas/things/v1/000001.json"), "{told}");
    let again = parqueduct_ok(&ingest);
    assert!(again.contains(&format!("received {FLIGHTS} = archived {FLIGHTS} + dead-lettered 0")), "{again}");
}

#[test]
fn another_type_is_a_dead_letter_and_a_new_field_becomes_a_column() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&options(&rabbit, "events = 10, patience = \"10m\""));
    let program = Program::start_ready(&setting.config);
    let publish = |messages: Vec<Message>| now(rabbit.publish(&setting.queue, &messages));
    publish(events("first", 10, &json!({"n": 1, "o": {"x": 1.5}, "later": null})));
    program.wait_until_settled(10, MINUTE);
    wait_for_revision(&program, 1.0);

    // Conflicts, each kind of them told of once.
    publish(events("text", 3, &json!({"n": "one"})));
    publish(events("fraction", 2, &json!({"n": 1.5, "o": {"x": []}})));
    program.wait_until_settled(15, MINUTE);
    assert_eq!(program.metric("parqueduct_schema_conflicts_total"), 5.0);
    let letters = setting.dead_letters();
    assert!(letters.len() == 5 && letters.iter().all(|letter| letter["code"] == "validate.type"), "{letters:#?}");
    let paths = ["/n", "/n", "/o/x"];
    let log = program.log();
    let told = lines_with(&log, "events have another type in a field than was learned");
    assert_eq!(told.len(), paths.len(), "{told:#?}");
    for path in paths {
        assert!(told.iter().any(|line| line.contains(&format!("path={path} "))), "{told:#?}");
    }

    // What is merely new is archived whole, and declared once enough events had it.
    publish(events("few", 9, &json!({"n": null, "color": "red", "o": {"x": 1, "deep": [{"y": 7}]}})));
    program.wait_until_settled(24, MINUTE);
    assert_eq!(program.metric("parqueduct_schema_new_fields_total"), 2.0);
    assert_eq!(revisions(&setting).len(), 1);
    let extra = "count(DISTINCT _extra), min(_extra) FILTER (_event_id = 'few-0')";
    assert_eq!(queried(&setting, extra), json!([2, r#"{"color":"red","o":{"deep":[{"y":7}]}}"#]));
    publish(events("more", 1, &json!({"color": "blue", "o": {"deep": [{"y": 8}]}, "later": 3})));
    wait_for_revision(&program, 2.0);
    publish(events("last", 4, &json!({"color": "green", "o": {"deep": [{"y": 9}]}})));
    program.wait_until_settled(29, MINUTE);
    let found = "count(*), count(color), min(color), count(o.deep), max(o.deep[1].y), sum(n)";
    assert_eq!(queried(&setting, found), json!([24, 4, "green", 4, 9, 10]));
    let log = program.log();
    let told = lines_with(&log, "events have a field that the learned schema does not declare");
    assert_eq!(told.len(), 3, "/color, /o/deep and /later, once: {told:#?}");
    assert!(log.contains("a changed schema is taken") && log.contains("color: new, Utf8"), "{log}");
    assert_eq!(program.metric("parqueduct_requeued_total"), 0.0);

    // Another start goes on with what was learned, and so does who looks at dead letters.
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    let program = Program::start_ready(&setting.config);
    assert_eq!(program.metric("parqueduct_schema_revision"), 2.0);
    publish(events("later", 10, &json!({"later": 4})));
    wait_for_revision(&program, 3.0);
    assert_eq!(learned(&setting)["properties"]["later"], json!({"type": ["integer", "null"]}));
    let dlq = |arguments: &[&str]| -> Value {
        let done = parqueduct(&[&["dlq"], arguments, &["--config", setting.config_text(), "--json"]].concat());
        serde_json::from_slice(&done.stdout).expect("an object")
    };
    let plan = dlq(&["plan", "--pipeline", "things", "--why", "a test"]);
    let tried = dlq(&["dry-run", plan["plan"].as_str().expect("a hash")]);
    assert_eq!(
        (&tried["schema"], &tried["pass"], &tried["fail"]),
        (&json!("things@1"), &json!(0), &json!(5)),
        "{tried:#}"
    );
    assert_eq!(tried["good"]["broken"], 0, "{tried:#}");
    assert_eq!(program.errors(), Vec::<String>::new());
}

#[test]
fn processes_that_start_at_once_agree_on_one_schema() {
    let rabbit = now(Rabbit::shared());
    let mut options = options(&rabbit, "events = 100, patience = \"300ms\"");
    options.more = "[run]\ninstance = \"a\"\nschema_reload = \"100ms\"\n";
    let setting = Setting::new(&options);
    let second = setting.variant("second", &[("instance = \"a\"", "instance = \"b\"")]);
    let programs = [Program::start_ready(&setting.config), Program::start_ready(&second)];
    programs.iter().for_each(|program| wait_until_held(program, 0));
    // They see other events, and so other fields.
    let bodies = (0..3000).map(|n| {
        let field = format!("f{}", n % 97);
        let value = if n % 97 % 2 == 0 { json!(n) } else { json!(n.to_string()) };
        json!({"id": format!("order-{n}"), "occurred_at": "2026-01-01T10:00:00Z", field: value})
            .to_string()
            .into_bytes()
    });
    now(rabbit.publish(&setting.queue, &messages(bodies)));
    let settled = |program: &Program| {
        program.metric("parqueduct_archived_total") + program.metric("parqueduct_dead_lettered_total")
    };
    wait_for("all to be settled", MINUTE, || (programs.iter().map(settled).sum::<f64>() >= 3000.0).then_some(()));
    let learners = programs.iter().filter(|program| program.log().contains("the schema is learned: ")).count();
    assert_eq!(learners, 1, "one of them writes the first revision");
    for program in programs {
        assert!(program.metric("parqueduct_schema_revision") >= 1.0);
        assert_eq!(program.errors(), Vec::<String>::new());
        let (status, log) = program.terminate(MINUTE);
        assert!(status.success() && log.contains("in_flight=0"), "{log}");
    }
    let archived = archive::event_ids(&setting.store());
    assert!(archived.values().all(|times| *times == 1));
    assert_eq!(archived.len() + setting.dead_letters().len(), 3000);
}

#[test]
fn a_process_that_ends_while_it_learns_loses_nothing() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&options(&rabbit, "patience = \"20m\""));
    let hasty = setting
        .variant("hasty", &[("patience = \"20m\"", "patience = \"100ms\""), ("age = \"300ms\"", "age = \"10m\"")]);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &events("order", 5, &json!({"n": 1}))));
    wait_until_held(&program, 5);

    // Asked to stop, it gives back what it holds.
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && log.contains("received=0"), "{log}");
    wait_for("all to be in the queue", MINUTE, || (now(rabbit.ready(&setting.queue)) == 5).then_some(()));

    // Killed before the schema is written.
    let program = Program::start_ready(&setting.config);
    wait_until_held(&program, 5);
    program.kill();
    assert_eq!(revisions(&setting).len(), 0);

    // Killed when it is, and no event is durable yet.
    let program = Program::start_ready(&hasty);
    wait_for_revision(&program, 1.0);
    wait_for("the events to be taken", MINUTE, || (program.metric("parqueduct_in_flight") == 5.0).then_some(()));
    program.kill();
    let first = std::fs::read(&revisions(&setting)[0]).expect("readable");

    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &events("later", 5, &json!({"n": 2}))));
    program.wait_until_settled(10, MINUTE);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && log.contains("archived=10 dead_lettered=0"), "{log}");
    assert_eq!((revisions(&setting).len(), std::fs::read(&revisions(&setting)[0]).expect("readable")), (1, first));
    assert_eq!(queried(&setting, "count(*), count(DISTINCT _event_id), sum(n)"), json!([10, 10, 15]));
}

#[test]
fn names_that_are_values_are_no_columns_and_nobody_is_told_them() {
    let rabbit = now(Rabbit::shared());
    let setting = Setting::new(&options(&rabbit, "events = 4, patience = \"10m\""));
    let program = Program::start_ready(&setting.config);
    let id = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
    let publish = |prefix: &str, mut more: Value| {
        more[format!("{prefix}@example.com")] = json!({"n": 1});
        more["by_mail"] = json!({format!("{prefix}@example.com"): 1});
        more[id] = json!(true);
        now(rabbit.publish(&setting.queue, &events(prefix, 4, &more)));
    };
    publish("first", json!({"n": 1}));
    program.wait_until_settled(4, MINUTE);
    publish("later", json!({"n": 2, "color": "red"}));
    wait_for_revision(&program, 2.0);
    publish("other", json!({"n": "three"}));
    program.wait_until_settled(12, MINUTE);

    assert_eq!(queried(&setting, "count(*), count(_extra), count(by_mail)"), json!([8, 8, 8]));
    let extra = json!({"first@example.com": {"n": 1}, id: true});
    let kept = queried(&setting, "min(_extra) FILTER (_event_id = 'first-0')");
    assert_eq!(serde_json::from_str::<Value>(kept[0].as_str().expect("text")).expect("JSON"), extra);
    let groups = parqueduct_ok(&["dlq", "groups", "--config", setting.config_text(), "--json"]);
    assert!(groups.contains("validate.type"), "{groups}");
    let schemas: Vec<_> =
        revisions(&setting).iter().map(|path| std::fs::read_to_string(path).expect("readable")).collect();
    assert_eq!(schemas.len(), 2);
    let log = program.log();
    assert_eq!(lines_with(&log, "fields whose names are values").len(), 2, "one for each type: {log}");
    for told in schemas.iter().chain([&log, &groups, &program.get("/metrics").1]) {
        assert!(!told.contains("example.com") && !told.contains(id), "{told}");
    }
    assert_eq!(program.errors(), Vec::<String>::new());
}

#[test]
fn what_is_only_reported_is_adopted_by_a_person() {
    let rabbit = now(Rabbit::shared());
    let mut options = options(&rabbit, "events = 4, new_fields = \"report\"");
    options.pipeline = "declare = true";
    let setting = Setting::new(&options);
    setting.change("format = \"json\"", "format = \"msgpack\"");
    let packed = |id: &str, more: &[u8]| {
        let mut body = vec![0x82 + u8::from(!more.is_empty()), 0xa2, b'i', b'd', 0xa0 + id.len() as u8];
        body.extend_from_slice(id.as_bytes());
        body.extend_from_slice(b"\xaboccurred_at\xb42026-01-01T10:00:00Z");
        body.extend_from_slice(more);
        body
    };
    let publish = |prefix: &str, more: &[u8]| {
        let bodies = (0..4).map(|n| packed(&format!("{prefix}{n}"), more));
        now(rabbit.publish(&setting.queue, &messages(bodies)));
    };
    let program = Program::start_ready(&setting.config);
    publish("a", b"");
    publish("b", b"\xa1n\x07");
    program.wait_until_settled(8, MINUTE);
    assert_eq!(program.metric("parqueduct_undeclared_fields_total"), 4.0);
    assert_eq!(program.metric("parqueduct_schema_new_fields_total"), 1.0);
    let log = program.log();
    let told = lines_with(&log, "does not declare");
    assert!(told.len() == 1 && told[0].contains("path=/n") && told[0].contains("schema adopt"), "{log}");

    let file = setting.directory.path().join("mended.json");
    let adopt = |schema: &Value| {
        std::fs::write(&file, schema.to_string()).expect("writable");
        let file = file.to_str().expect("UTF-8");
        parqueduct(&["schema", "adopt", "--config", setting.config_text(), "--pipeline", "things", file])
    };
    let before = learned(&setting);
    let mut schema = before.clone();
    schema["properties"]["id"]["type"] = json!("integer");
    let done = adopt(&schema);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && told.contains("column id: was Utf8, is Int64"), "{told}");
    assert!(told.contains("set schema_version = 2"), "{told}");
    let done = adopt(&before);
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("says what revision 1 says"));
    let mut schema = before;
    schema["properties"]["n"] = json!({"type": "integer", "maximum": 9});
    let done = adopt(&schema);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(told.contains("n: new, Int64") && told.contains("revision 2 of things@1 is written to"), "{told}");
    wait_for_revision(&program, 2.0);
    publish("c", b"\xa1n\x08");
    publish("d", b"\xa1n\x0a");
    program.wait_until_settled(16, MINUTE);
    assert_eq!(queried(&setting, "count(*), sum(n), count(_extra)"), json!([12, 32, 4]));
    assert_eq!(setting.dead_letters()[0]["code"], "validate.maximum");
    assert_eq!(program.errors(), Vec::<String>::new());
}
