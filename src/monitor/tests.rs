//! What monitors find, on events as they come.

use std::time::Duration;

use super::*;
use crate::config::FieldRule;
use crate::decode::{JsonDecoder, Limits};
use crate::metrics::Metrics;
use crate::personal::Kinds;

const NOW_US: i64 = 1_800_000_000_000_000;

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

fn rule(name: &str, path: &str) -> FieldRule {
    let (name, path) = (name.to_owned(), pointer(path));
    FieldRule {
        name,
        event: None,
        path,
        min: None,
        max: None,
        one_of: None,
        regex: None,
        not_empty: false,
        fresh: None,
    }
}

fn config(rules: Vec<FieldRule>, personal: Option<bool>) -> config::Monitor {
    config::Monitor {
        rate_min: None,
        rate_max: None,
        rate_within: Duration::from_secs(60),
        silence: None,
        rules,
        personal: personal.map(|dead_letter| config::Personal {
            dead_letter,
            kinds: Kinds::ALL,
            expected: vec![pointer("/customer/email")],
            paths_max: 2,
        }),
        looks_max: 1000.0,
    }
}

fn on<R>(event: &str, then: impl FnOnce(Value<'_>) -> R) -> R {
    let limits = Limits { body_bytes_max: 1 << 20, depth_max: 64 };
    JsonDecoder::new(limits).decode(event.as_bytes(), |tape| then(tape.root())).expect("JSON")
}

/// Whether the rule holds of an event that arrives now.
fn holds(rule: FieldRule, event: &str) -> Option<bool> {
    on(event, |event| Rule::new(rule).holds(event, NOW_US))
}

#[test]
fn numbers_are_held_against_their_range() {
    let amount = || FieldRule { min: Some(0.0), max: Some(99.5), ..rule("amount", "/amount") };
    for (event, verdict) in [
        (r#"{"amount":0}"#, Some(true)),
        (r#"{"amount":99.5}"#, Some(true)),
        (r#"{"amount":99.51}"#, Some(false)),
        (r#"{"amount":-1}"#, Some(false)),
        (r#"{"amount":18446744073709551615}"#, Some(false)),
        (r#"{"amount":"5"}"#, Some(false)),
        (r#"{"amount":null}"#, None),
        (r#"{}"#, None),
        (r#"[1]"#, None),
    ] {
        assert_eq!(holds(amount(), event), verdict, "{event}");
    }
}

#[test]
fn values_are_held_against_a_list_a_pattern_and_emptiness() {
    let allowed = |values: &[&str]| Some(values.iter().map(|value| (*value).to_owned()).collect());
    let currency = || FieldRule { one_of: allowed(&["EUR", "7", "true", "1.50"]), ..rule("currency", "/a") };
    for (value, verdict) in
        [("\"EUR\"", true), ("7", true), ("true", true), ("1.50", true), ("1.5", false), ("{}", false)]
    {
        assert_eq!(holds(currency(), &format!("{{\"a\":{value}}}")), Some(verdict), "{value}");
    }
    let code = || FieldRule { regex: Some(regex::Regex::new("^[A-Z]{3}$").expect("one")), ..rule("code", "/a") };
    for (value, verdict) in [("\"ABC\"", true), ("\"ABCD\"", false), ("7", false)] {
        assert_eq!(holds(code(), &format!("{{\"a\":{value}}}")), Some(verdict), "{value}");
    }
    let there = || FieldRule { not_empty: true, ..rule("there", "/a") };
    for (event, verdict) in [
        (r#"{"a":"x"}"#, true),
        (r#"{"a":0}"#, true),
        (r#"{"a":" "}"#, false),
        (r#"{"a":[]}"#, false),
        (r#"{"a":{}}"#, false),
        (r#"{"a":null}"#, false),
        (r#"{}"#, false),
    ] {
        assert_eq!(holds(there(), event), Some(verdict), "{event}");
    }
}

#[test]
fn times_are_to_be_fresh_when_they_arrive() {
    let fresh = |format| {
        let fresh = Some((Duration::from_secs(900), format));
        FieldRule { fresh, ..rule("fresh", "/at") }
    };
    use crate::config::TimeFormat::{Rfc3339, UnixMillis, UnixSeconds};
    for (format, value, verdict) in [
        (UnixSeconds, "1799999100".to_owned(), true),
        (UnixSeconds, "1799999099".to_owned(), false),
        (UnixMillis, "1799999100000".to_owned(), true),
        (Rfc3339, "\"2027-01-15T08:00:00Z\"".to_owned(), true),
        (Rfc3339, "\"2027-01-15T07:44:59Z\"".to_owned(), false),
        (Rfc3339, "\"yesterday\"".to_owned(), false),
        (Rfc3339, "1799999100".to_owned(), false),
    ] {
        assert_eq!(holds(fresh(format), &format!("{{\"at\":{value}}}")), Some(verdict), "{value}");
    }
}

#[test]
fn a_rule_with_a_star_is_held_against_each_element_and_member() {
    let each = || FieldRule { min: Some(1.0), ..rule("each", "/items/*/n") };
    assert_eq!(holds(each(), r#"{"items":[{"n":1},{"n":2}]}"#), Some(true));
    assert_eq!(holds(each(), r#"{"items":[{"n":0},{"n":2}]}"#), Some(false));
    assert_eq!(holds(each(), r#"{"items":{"a":{"n":2},"b":{"n":0}}}"#), Some(false));
    assert_eq!(holds(each(), r#"{"items":[]}"#), None);
}

/// What was counted after `events`, which arrive together, as lines of the metrics.
fn counted(config: &config::Monitor, events: &[&str]) -> String {
    let metrics = Metrics::new("1");
    let pipeline = metrics.pipeline("orders", 1);
    let monitor = Arc::new(Monitor::new(config, None, Mask::default()));
    let mut watcher = Watcher::new(Some(config), [Some(monitor)], pipeline.delays());
    for event in events {
        on(event, |event| {
            if watcher.forbidden(0, event, &str::to_owned).is_empty() {
                let times = Times { event_us: NOW_US - 2_000_000, arrived_us: NOW_US };
                watcher.archived(0, event, times, &str::to_owned);
            }
        });
    }
    watcher.report(&pipeline);
    let now = chrono::DateTime::from_timestamp_micros(NOW_US).expect("in range");
    String::from_utf8(metrics.render(now)).expect("text")
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} not in\n{text}");
    }
}

#[test]
fn what_was_found_is_counted_by_rule_kind_and_path_and_no_value_is_told() {
    let rules = vec![
        FieldRule { min: Some(0.0), ..rule("amount", "/amount") },
        FieldRule { max: Some(1.0), ..rule("idle", "/x") },
    ];
    let events = [
        r#"{"amount":-5,"note":"card 4111 1111 1111 1111","customer":{"email":"ann@example.com"}}"#,
        r#"{"amount":5,"note":"ben@example.com","notes":["DE89370400440532013000"]}"#,
        r#"{"by":{"cat@example.com":1},"third":"12345678Z"}"#,
    ];
    let text = counted(&config(rules, Some(false)), &events);
    assert_lines(
        &text,
        &[
            "parqueduct_monitor_events_total{outcome=\"looked_at\",pipeline=\"orders\"} 3",
            "parqueduct_monitor_events_total{outcome=\"left_out\",pipeline=\"orders\"} 0",
            "parqueduct_monitor_checked_total{pipeline=\"orders\",rule=\"amount\"} 2",
            "parqueduct_monitor_broken_total{pipeline=\"orders\",rule=\"amount\"} 1",
            "parqueduct_monitor_broken_total{pipeline=\"orders\",rule=\"idle\"} 0",
            "parqueduct_event_delay_seconds_sum{pipeline=\"orders\"} 6",
        ],
    );
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("parqueduct_personal_data_total{")).collect();
    // Two paths are told apart.
    let other = found.iter().filter(|line| line.contains("path=\"other\"")).count();
    assert_eq!((found.len(), other), (5, 2), "{found:?}");
    for value in ["4111", "example.com", "DE89", "12345678Z"] {
        assert!(!text.contains(value), "{text}");
    }
}

#[test]
fn personal_data_forbids_an_event_where_it_is_to_be_a_dead_letter() {
    let config = config(Vec::new(), Some(true));
    let monitor = Arc::new(Monitor::new(&config, None, Mask::default()));
    let delays = Metrics::new("1").pipeline("orders", 1).delays();
    let mut watcher = Watcher::new(Some(&config), [Some(monitor)], delays);
    let mut found = |event: &str| on(event, |event| watcher.forbidden(0, event, &str::to_owned));
    assert_eq!(found(r#"{"customer":{"email":"ann@example.com"},"n":4111111111111111}"#), []);
    assert_eq!(
        found(r#"{"a":["x","123-45-6789"],"b":{"ann@example.com":1}}"#),
        [(Kind::Email, "/b".to_owned()), (Kind::UsSsn, "/a/1".to_owned())]
    );
}

#[test]
fn above_its_rate_only_so_many_are_looked_at_evenly_spread() {
    let mut sampler = Sampler::new(10.0);
    let mut second = |at: i64, events: usize| -> Vec<usize> {
        (0..events).filter(|n| sampler.takes(at * 1_000_000 + *n as i64)).collect()
    };
    assert_eq!(second(1, 10).len(), 10, "as many as are allowed");
    assert_eq!(second(2, 100), (0..10).collect::<Vec<_>>(), "nobody knew");
    assert_eq!(second(3, 100), (0..100).step_by(10).collect::<Vec<_>>());
    assert_eq!(second(4, 3), [0]);
    assert_eq!(second(5, 3).len(), 3);
    assert_eq!(second(9, 5).len(), 5);
}

#[test]
fn a_rate_out_of_its_band_and_silence_are_told_once_they_are_known() {
    let limits = config::Monitor {
        rate_min: Some(1.0),
        rate_max: Some(10.0),
        rate_within: Duration::from_secs(10),
        silence: Some(Duration::from_secs(5)),
        ..config(Vec::new(), None)
    };
    let mut flow = FlowWatch::new(&limits);
    let mut received = 0;
    let mut at = 0;
    let mut run = |seconds: u64, each: u64, idle: bool| {
        let mut last = None;
        for _ in 0..seconds {
            (at, received) = (at + 1, received + each);
            last = Some(flow.look(received, idle, Duration::from_secs(at)));
        }
        last.expect("a look")
    };
    let (came, early) = run(9, 5, true);
    assert!(came && early.rate.is_none() && early.too_few == Some(false) && early.silent == Some(false));
    let (_, known) = run(3, 5, true);
    assert_eq!((known.rate, known.too_few, known.too_many), (Some(5.0), Some(false), Some(false)));
    assert_eq!(run(10, 20, true).1.too_many, Some(true));
    let (came, quiet) = run(4, 0, true);
    assert!(!came && quiet.silent == Some(false));
    assert_eq!(run(1, 0, true).1.silent, Some(true));
    assert_eq!(run(10, 0, true).1.too_few, Some(true));
    assert_eq!(run(1, 0, false).1.silent, Some(false), "we hold some, or do not consume");
    assert_eq!(run(4, 0, true).1.silent, Some(false));
    assert_eq!(run(1, 0, true).1.silent, Some(true));
}
