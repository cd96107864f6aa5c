//! Monitors, from configuration to `/metrics`: events that break each of them, over a real broker. No value of an event is told.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parqueduct::event::{Message, Properties};
use serde_json::json;

use crate::harness::now;
use crate::harness::program::{Program, parqueduct_ok, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::S3Server;
use crate::harness::setting::{Options, Setting};

const MINUTE: Duration = Duration::from_secs(60);
const CARD: &str = "4111 1111 1111 1111";
const VIEWER: &str = "token-of-the-viewer";

/// An order with these members beside what each has.
fn order(n: usize, more: &str) -> Message {
    let at = chrono::Utc::now() - chrono::TimeDelta::seconds(10);
    let text = format!(
        r#"{{"id":"order-{n}","occurred_at":"{}","amount":{n},"customer":{{"email":"ann@example.com"}}{more}}}"#,
        at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    );
    Message { body: text.into(), ..Message::default() }
}

/// A pipeline with that monitor, in one line of TOML.
fn setting(rabbit: &Rabbit, rabbitmq: &str, monitor: &str) -> Setting {
    setting_on(rabbit, rabbitmq, monitor, None)
}

/// The same with its objects in `server`.
fn setting_on(rabbit: &Rabbit, rabbitmq: &str, monitor: &str, server: Option<&S3Server>) -> Setting {
    let pipeline = format!("declare = true\nmonitor = {{ {monitor} }}");
    let rabbitmq = format!("reconnect_max = \"1s\"\n{rabbitmq}");
    let more = format!(
        "[dlq]\nmask = [\"/customer/email\"]\ngroups_every = \"1s\"\n[[http.token]]\nname = \"v\"\nrole = \"viewer\"\ntoken = \"{VIEWER}\"\n"
    );
    let options = Options { rabbitmq: &rabbitmq, pipeline: &pipeline, more: &more, ..Options::orders(rabbit.uri()) };
    Setting::new(&match server {
        Some(server) => options.on(server),
        None => options,
    })
}

/// The value of the series that is written exactly so.
fn series(program: &Program, series: &str) -> Option<f64> {
    let (_, text) = program.get("/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

fn wait_for_series(program: &Program, name: &str, value: f64) {
    wait_for(&format!("{name} {value}"), MINUTE, || (series(program, name) == Some(value)).then_some(()));
}

#[test]
fn events_that_break_rules_or_hold_personal_data_are_counted_and_archived_and_no_value_is_told() {
    let rabbit = now(Rabbit::shared());
    let monitor = r#"personal_data = "count", field = [
        { name = "amount", path = "/amount", max = 2 },
        { name = "sku", path = "/items/*/sku", regex = "^AB-" },
        { name = "status", path = "/status", one_of = ["new"], not_empty = true },
        { name = "fresh", path = "/occurred_at", fresh = "1h" }]"#;
    let setting = setting(&rabbit, "", &monitor.replace('\n', " "));
    let program = Program::start_ready(&setting.config);
    let found = "parqueduct_monitor_broken_total{pipeline=\"orders\",rule=\"amount\"}";
    assert_eq!(series(&program, found), Some(0.0), "a rate begins at 0");
    let note = format!(r#","note":"pay with {CARD}","status":"new""#);
    let messages = [
        order(1, r#","status":"new","items":[{"sku":"AB-1"}]"#),
        order(2, &note),
        order(3, r#","items":[{"sku":"AB-1"},{"sku":"CD-1"}],"note":{"who":["ben@example.com"]}"#),
    ];
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(3, MINUTE);
    assert_eq!(program.metric("parqueduct_archived_total"), 3.0);
    for (rule, checked, broken) in [("amount", 3.0, 1.0), ("sku", 2.0, 1.0), ("status", 3.0, 1.0), ("fresh", 3.0, 0.0)]
    {
        let of = |name: &str| {
            series(&program, &format!("parqueduct_monitor_{name}_total{{pipeline=\"orders\",rule=\"{rule}\"}}"))
        };
        assert_eq!((of("checked"), of("broken")), (Some(checked), Some(broken)), "{rule}");
    }
    let of = |kind: &str, path: &str| {
        series(
            &program,
            &format!("parqueduct_personal_data_total{{kind=\"{kind}\",path=\"{path}\",pipeline=\"orders\"}}"),
        )
    };
    // Where dlq.mask expects an address, there is nothing to tell.
    assert_eq!(
        (of("card", "/note"), of("email", "/note/{*}/[*]"), of("email", "/customer/email")),
        (Some(1.0), Some(1.0), None)
    );
    let looked_at = "parqueduct_monitor_events_total{outcome=\"looked_at\",pipeline=\"orders\"}";
    assert_eq!(series(&program, looked_at), Some(3.0));
    let delay = program.metric("parqueduct_event_delay_seconds_sum");
    assert!((30.0..180.0).contains(&delay), "three times ten seconds and a little: {delay}");
    let (_, text) = program.get("/metrics");
    assert!(program.metric("process_resident_memory_bytes") > 1e6, "{text}");
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    for told in [&text, &log] {
        assert!(!told.contains("4111") && !told.contains("ben@") && !told.contains("order-2"), "{told}");
    }
}

#[test]
fn an_event_with_personal_data_is_a_dead_letter_that_shows_it_to_no_viewer() {
    let rabbit = now(Rabbit::shared());
    let setting = setting(
        &rabbit,
        "",
        "personal_data = \"dead-letter\", personal_kinds = [\"card\", \"email\"], sample_above = \"1/s\"",
    );
    let program = Program::start_ready(&setting.config);
    let note = format!(r#","note":"pay with {CARD}, 123-45-6789""#);
    let messages: Vec<Message> = (0..40).map(|n| order(n, if n % 4 == 0 { &note } else { "" })).collect();
    now(rabbit.publish(&setting.queue, &messages));
    program.wait_until_settled(40, MINUTE);
    // All of them, whatever sample_above says.
    let dead = "parqueduct_dead_lettered_total{code=\"monitor.personal_data\",pipeline=\"orders\",stage=\"monitor\"}";
    assert_eq!((series(&program, dead), program.metric("parqueduct_archived_total")), (Some(10.0), 30.0));
    let found = "parqueduct_personal_data_total{kind=\"card\",path=\"/note\",pipeline=\"orders\"}";
    assert_eq!((series(&program, found), program.metric("parqueduct_personal_data_total")), (Some(10.0), 10.0));

    let letters = setting.dead_letters();
    let issues = letters[0]["issues"].to_string();
    assert!(
        issues.contains("monitor.personal_data") && issues.contains("card") && !issues.contains("4111"),
        "{issues}"
    );
    let groups = parqueduct_ok(&["dlq", "groups", "--config", setting.config_text(), "--json"]);
    assert!(groups.lines().count() == 1 && !groups.contains("4111"), "{groups}");
    let id = letters[0]["id"].as_str().expect("an id");
    let (status, body) = program.get_as(&format!("/api/v1/letters/{id}/body"), VIEWER);
    assert!(status == 200 && body.contains("[masked]") && body.contains("order-"), "{status} {body}");
    let (_, letter) = program.get_as(&format!("/api/v1/letters/{id}"), VIEWER);
    let (_, shown) = program.get_as("/api/v1/groups", VIEWER);
    let (refused, _) = program.get_as("/api/v1/letters?text=4111", VIEWER);
    assert_eq!(refused, 403, "nothing is searched for in such bodies");
    let (_, metrics) = program.get("/metrics");
    let log = program.log();
    for told in [&body, &letter, &shown, &metrics, &log] {
        assert!(!told.contains("4111") && !told.contains(CARD), "{told}");
    }

    // The group is new, and told as such.
    wait_for_series(&program, "parqueduct_dlq_groups{pipeline=\"orders\",state=\"open\"}", 1.0);
    let newest = program.metric("parqueduct_dlq_newest_group_timestamp_seconds");
    assert!((chrono::Utc::now().timestamp() as f64 - newest).abs() < 120.0, "{newest}");
    let group = letters[0]["issues"][0]["group"].as_str().expect("a group");
    parqueduct_ok(&["dlq", "resolve", group, "--why", "the producer was told", "--config", setting.config_text()]);
    wait_for_series(&program, "parqueduct_dlq_groups{pipeline=\"orders\",state=\"resolved\"}", 1.0);
    assert!(!program.get("/metrics").1.contains("parqueduct_dlq_newest_group_timestamp_seconds{"));
    now(rabbit.publish(&setting.queue, &[order(100, &note)]));
    wait_for_series(&program, "parqueduct_dlq_groups{pipeline=\"orders\",state=\"regressed\"}", 1.0);
}

#[test]
fn of_a_cloud_event_its_data_are_searched_and_hidden_in_whichever_form_they_are_and_its_envelope_is_not() {
    let rabbit = now(Rabbit::shared());
    let setting = setting(&rabbit, "", "personal_data = \"dead-letter\", personal_kinds = [\"card\", \"email\"]");
    setting.change("format = \"json\"", "format = \"json\"\nenvelope = \"cloudevents\"");
    // An address in the envelope is where the event comes from, not what it tells.
    let envelope = r#""specversion":"1.0","source":"mailto:shop@example.com","type":"order""#;
    let event = |n: usize, data: &dyn Fn(String) -> String, more: &str| {
        let order = String::from_utf8(order(n, more).body).expect("text");
        let body = format!(r#"{{{envelope},"id":"{n}",{}}}"#, data(order)).into_bytes();
        let content_type = Some("application/cloudevents+json".to_owned());
        let properties = Properties { content_type, ..Properties::default() };
        Message { body, properties: properties.into(), ..Message::default() }
    };
    let plain = |order: String| format!(r#""data":{order}"#);
    let text = |order: String| format!(r#""datacontenttype":"text/plain","data":{}"#, json!(order));
    let base64 = |order: String| format!(r#""data_base64":"{}""#, BASE64.encode(order));
    let note = format!(r#","note":"pay with {CARD}""#);
    let forms: [&dyn Fn(String) -> String; 3] = [&plain, &text, &base64];
    let events = forms.iter().enumerate().flat_map(|(n, form)| [event(n, form, ""), event(n + 3, form, &note)]);
    let program = Program::start_ready(&setting.config);
    now(rabbit.publish(&setting.queue, &events.collect::<Vec<_>>()));
    program.wait_until_settled(6, MINUTE);
    assert_eq!(
        (program.metric("parqueduct_archived_total"), program.metric("parqueduct_dead_lettered_total")),
        (3.0, 3.0)
    );
    let secret = BASE64.encode(CARD);
    for letter in setting.dead_letters() {
        let id = letter["id"].as_str().expect("an id");
        let (status, body) = program.get_as(&format!("/api/v1/letters/{id}/body"), VIEWER);
        assert!(status == 200 && body.contains("[masked]") && body.contains("mailto:"), "{status} {body}");
        assert!(
            !body.contains("4111") && !body.contains(&secret[4..16]) && !body.contains("data_base64\":\"ey"),
            "{body}"
        );
    }
}

#[test]
fn rate_and_silence_are_told_and_how_many_messages_wait() {
    let rabbit = now(Rabbit::shared());
    let setting = setting(
        &rabbit,
        "depth_every = \"1s\"",
        "rate_min = \"1/s\", rate_max = \"5/s\", rate_within = \"3s\", silence = \"4s\"",
    );
    setting.change("prefetch = 2000", "prefetch = 10");
    setting
        .change("flush = { rows = 1000, bytes = \"8MiB\", age = \"500ms\" }", "flush = { rows = 7, age = \"500ms\" }");
    let program = Program::start_ready(&setting.config);
    let bound = |bound: &str| format!("parqueduct_monitor_rate_bound{{bound=\"{bound}\",pipeline=\"orders\"}}");
    assert_eq!((series(&program, &bound("min")), series(&program, &bound("max"))), (Some(1.0), Some(5.0)));
    now(rabbit.publish(&setting.queue, &(0..400).map(|n| order(n, "")).collect::<Vec<_>>()));
    wait_for_series(&program, "parqueduct_monitor_out_of_band{bound=\"max\",pipeline=\"orders\"}", 1.0);
    assert!(series(&program, "parqueduct_monitor_rate{pipeline=\"orders\"}").is_some_and(|rate| rate > 5.0));
    program.wait_until_settled(400, MINUTE);
    wait_for_series(&program, "parqueduct_monitor_silent{pipeline=\"orders\"}", 1.0);
    wait_for_series(&program, "parqueduct_monitor_out_of_band{bound=\"min\",pipeline=\"orders\"}", 1.0);
    wait_for_series(&program, "parqueduct_queue_messages{pipeline=\"orders\"}", 0.0);
    let last = program.metric("parqueduct_monitor_last_delivery_timestamp_seconds");
    assert!((1.0..60.0).contains(&(chrono::Utc::now().timestamp() as f64 - last)), "{last}");
    now(rabbit.publish(&setting.queue, &[order(400, "")]));
    wait_for_series(&program, "parqueduct_monitor_silent{pipeline=\"orders\"}", 0.0);
}

#[test]
fn a_queue_that_grows_while_nothing_is_written_is_told_by_its_length() {
    let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
    let setting = setting_on(&rabbit, "depth_every = \"1s\"", "silence = \"10m\"", Some(&server));
    setting.change("prefetch = 2000", "prefetch = 10");
    setting.change("flush = { rows = 1000, bytes = \"8MiB\"", "flush = { rows = 7, bytes = \"8MiB\"");
    let program = Program::start_ready(&setting.config);
    server.outage(true);
    now(rabbit.publish(&setting.queue, &(0..100).map(|n| order(n, "")).collect::<Vec<_>>()));
    program.wait_for_more("parqueduct_queue_messages", 70.0, MINUTE);
    let held =
        |owner: &str| series(&program, &format!("parqueduct_held_bytes{{owner=\"{owner}\",pipeline=\"orders\"}}"));
    wait_for("files that are held", MINUTE, || held("files").filter(|bytes| *bytes > 0.0));
    server.outage(false);
    program.wait_until_settled(100, MINUTE);
    wait_for_series(&program, "parqueduct_queue_messages{pipeline=\"orders\"}", 0.0);
    wait_for("nothing held", MINUTE, || (held("bodies") == Some(0.0) && held("files") == Some(0.0)).then_some(()));
}
