//! What users were told is so: metric names in documentation, dashboards and alert rules, the codes of dead letters, the
//! commands of the README, links, and the files of the deployment.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use parqueduct::metrics::{Bound, Definition, FileKind, Flow, Kind, Metrics, TABLE};
use parqueduct::personal;
use parqueduct::receipt::Tally;
use parqueduct::rejection::{Code, Stage};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths from the root of the files below `directory` whose name ends with `ending`, sorted.
fn files(directory: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}")) {
        let path = format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy());
        if root().join(&path).is_dir() {
            found.extend(files(&path, ending));
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn guides() -> Vec<String> {
    let mut found = files("docs", ".md");
    found.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "config/demo/README.md"].map(str::to_owned));
    found
}

/// The environment that `make test` hands over, or the one that it left behind.
fn python() -> PathBuf {
    let venv =
        std::env::var_os("PARQUEDUCT_TEST_VENV").map_or_else(|| root().join(".parqueduct/venv/test"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    python
}

/// The one that `make test` hands over, the one that it left behind, or one that is installed.
fn promtool() -> PathBuf {
    let handed_over = std::env::var_os("PARQUEDUCT_TEST_PROMTOOL").map(PathBuf::from);
    let left_behind = root().join(".parqueduct/tools/prometheus/usr/bin/promtool");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|place| place.join("promtool"));
    let mut candidates = handed_over.into_iter().chain([left_behind]).chain(installed);
    candidates.find(|path| path.is_file()).expect("promtool is missing: run `make test`")
}

// Logs

/// The names of fields in the macros of `tracing` that `code` calls.
fn log_fields(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for (at, _) in code
            .match_indices(level)
            .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        {
            for argument in arguments(&code[at + level.len()..]) {
                let name = argument.trim_start_matches(['%', '?']).trim_start_matches("r#");
                let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                found.extend((!name.is_empty()).then_some(name));
            }
        }
    }
    found
}

/// The arguments of a call, from behind its bracket to where it closes, that come before the first text.
fn arguments(code: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut found) = (0, 0, Vec::new());
    for (at, c) in code.char_indices() {
        match c {
            // The message, raw or not.
            '"' if depth == 0 && matches!(code[begin..at].trim(), "" | "r" | "r#") => return found,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(code[begin..at].trim());
                begin = at + 1;
            }
            ')' => return found,
            _ => {}
        }
    }
    found
}

#[test]
fn every_field_of_a_log_line_is_in_the_table_and_none_else() {
    let code: Vec<String> = files("src", ".rs").iter().map(|path| read(path)).collect();
    let used: BTreeSet<String> = code.iter().flat_map(|code| log_fields(code)).collect();
    let guide = read("docs/logs.md");
    let table = guide.split("| field | is |").nth(1).expect("a table of fields").split("\n\n").next().expect("a table");
    let names = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<String> =
        names.flat_map(|names| names.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect();
    let differing: Vec<_> = used.symmetric_difference(&told).collect();
    assert!(differing.is_empty() && used.len() > 40, "in the code or in docs/logs.md, not in both: {differing:?}");
}

// Metrics

/// The names of `text` that look like our metrics.
fn metric_names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("parqueduct_") && !word.ends_with('_'))
        .collect()
}

/// The metric that a series of that name belongs to.
fn definition(series: &str) -> Option<&'static Definition> {
    let of_histogram = |definition: &&Definition| {
        let suffix = series.strip_prefix(definition.name);
        matches!(definition.kind, Kind::Histogram(_)) && matches!(suffix, Some("_bucket" | "_sum" | "_count"))
    };
    let named = TABLE.iter().find(|definition| definition.name == series);
    named.or_else(|| TABLE.iter().find(of_histogram))
}

#[test]
fn every_metric_that_is_spoken_of_exists() {
    let mut spoken_of = guides();
    spoken_of.extend(files("dashboards", ""));
    spoken_of.push("scripts/demo.py".to_owned());
    spoken_of.extend(files("scripts/watch", ".py"));
    let mut findings = Vec::new();
    for path in spoken_of {
        let text = read(&path);
        let unknown = metric_names(&text).into_iter().filter(|name| definition(name).is_none());
        findings.extend(unknown.map(|name| format!("{path}: {name} is no metric")));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_guide_lists_every_metric_as_the_table_does() {
    let guide = read("docs/metrics.md");
    let rows: Vec<String> = TABLE.iter().map(row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !guide.lines().any(|line| line == row.as_str())).collect();
    assert!(missing.is_empty(), "docs/metrics.md is to hold these rows:\n{}", rows.join("\n"));
    let listed = guide.lines().filter(|line| line.starts_with("| `parqueduct_")).count();
    assert_eq!(listed, TABLE.len(), "docs/metrics.md lists a metric twice, or one that is gone");
}

fn row(metric: &Definition) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    format!("| `{}` | {kind} | {} | {} |", metric.name, metric.labels.join(", "), metric.help)
}

/// A scrape of so many pipelines, each of which met `codes` codes and everything else that a label can say, and the time of
/// the processor that it takes; with monitors, each of which has five rules and finds more paths than are told apart.
fn fullest_scrape(pipelines: usize, codes: usize, monitors: bool) -> (Vec<u8>, Duration) {
    let metrics = Metrics::new("1.2.3");
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    for n in 0..pipelines {
        let pipeline = metrics.pipeline(&format!("pipeline-of-flights-{n:02}"), 4);
        let mut tally = Tally::default();
        // Those of the broker only a pipeline of dead letters meets, and no other; and no pipeline is of all formats.
        let is_met = |code: &&Code| code.stage() != Stage::Broker && !code.as_str().starts_with("decode.json.");
        let met = Code::ALL.iter().filter(is_met).take(codes);
        let received = met.clone().count() as u64;
        met.for_each(|code| tally.add_dead_letter(*code));
        pipeline.ledger.receive(received, received).settle(&tally);
        FileKind::ALL.iter().for_each(|kind| pipeline.file_written(*kind, 10_000, 40));
        pipeline.committed(now);
        let states = ["open", "acknowledged", "resolved", "regressed", "ignored"].map(|state| (state, 200));
        metrics.set_dlq_groups(&pipeline.name, &states, Some(now), 20);
        metrics.set_queue_messages(&pipeline.name, Some(1_000_000));
        if monitors {
            let monitors = &pipeline.monitors;
            monitors.set_last_delivery(now);
            let yes = Some(true);
            monitors.set_flow(Flow { rate: Some(12.5), too_few: yes, too_many: yes, silent: yes });
            [Bound::Min, Bound::Max].into_iter().for_each(|bound| monitors.set_bound(bound, 10.0));
            monitors.looked(1_000, 1_000);
            (0..5).for_each(|rule| monitors.held_against(&format!("rule-of-a-field-{rule}"), 1_000, 10));
            for path in 0..60 {
                let kind = personal::Kind::ALL[path % personal::Kind::ALL.len()];
                monitors.found_personal(kind.as_str(), &format!("/items/[*]/field-{path}"), 20, 3);
            }
        }
    }
    // The first time makes what later ones find.
    metrics.render(now);
    let began = on_processor();
    let text = metrics.render(now);
    let took = on_processor() - began;
    println!("{pipelines} pipelines, {codes} codes: {} bytes in {took:?}", text.len());
    (text, took)
}

/// How long this thread has been on a processor: what others do to the machine is no part of it (the first figure of
/// /proc/thread-self/schedstat, in nanoseconds).
fn on_processor() -> Duration {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    Duration::from_nanos(figures.split(' ').next().and_then(|first| first.parse().ok()).expect("a number"))
}

/// Fifty pipelines with a thousand groups of dead letters each. Without optimisation, as here, four times the 50 ms are
/// allowed that a program as it is released has for it.
#[test]
fn a_scrape_of_fifty_pipelines_that_met_everything_is_below_a_megabyte_and_quick() {
    for (codes, monitors) in [(Code::ALL.len(), false), (12, true)] {
        let (text, took) = fullest_scrape(50, codes, monitors);
        assert!(text.len() < 1_000_000, "{} bytes", text.len());
        assert!(took < Duration::from_millis(200), "{took:?}");
    }
}

#[test]
fn promtool_finds_nothing_in_a_scrape() {
    let mut check = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(&fullest_scrape(1, Code::ALL.len(), true).0).unwrap();
    let done = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn files_and_the_last_commit_are_counted_by_what_they_hold() {
    let metrics = Metrics::new("1.2.3");
    let pipeline = metrics.pipeline("flights", 1);
    let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    let render = || String::from_utf8(metrics.render(at(2_000))).unwrap();
    let timestamp = "parqueduct_last_commit_timestamp_seconds{pipeline=\"flights\"}";
    assert!(!render().contains(timestamp), "nothing was committed yet");

    pipeline.file_written(FileKind::Data, 5_000, 40);
    pipeline.file_written(FileKind::Letters, 9_000, 2);
    pipeline.committed(at(1_000));
    pipeline.committed(at(900)); // another shard, whose news come late
    let text = render();
    for line in [
        "parqueduct_files_total{kind=\"data\",pipeline=\"flights\"} 1",
        "parqueduct_files_total{kind=\"letters\",pipeline=\"flights\"} 1",
        "parqueduct_files_total{kind=\"body\",pipeline=\"flights\"} 0",
        "parqueduct_file_bytes_sum{pipeline=\"flights\"} 5000",
        "parqueduct_file_rows_sum{pipeline=\"flights\"} 40",
        &format!("{timestamp} 1000"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
    }
}

/// The label names that a PromQL expression asks of each of our series: the keys inside `series{..}`.
fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for name in metric_names(expression) {
        for (at, _) in expression.match_indices(name) {
            let Some(inside) = expression[at + name.len()..].strip_prefix('{') else { continue };
            let inside = inside.split('}').next().unwrap_or_default();
            let keys = inside.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim);
            found.push((name, keys.filter(|key| !key.is_empty()).collect()));
        }
    }
    found
}

/// Whether an expression asks for what our rules record, for our alerts, for what RabbitMQ's own plugin tells, or for what every
/// process tells of itself.
fn is_about_us(expression: &str) -> bool {
    let mut names = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    !recorded_names(expression).is_empty()
        || names.any(|name| name == "ALERTS" || name.starts_with("rabbitmq_") || name.starts_with("process_"))
}

fn unknown_labels(expression: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (series, keys) in selectors(expression) {
        let Some(metric) = definition(series) else { continue };
        let scraped = ["job", "instance", "le"];
        let unknown = keys.into_iter().filter(|key| !metric.labels.contains(key) && !scraped.contains(key));
        findings.extend(unknown.map(|key| format!("{series} has no label {key}")));
    }
    findings
}

#[test]
fn a_label_that_a_metric_lacks_is_found() {
    assert_eq!(unknown_labels("sum(rate(parqueduct_archived_total{queue=\"q\"}[5m]))").len(), 1);
    assert!(unknown_labels("parqueduct_flush_seconds_bucket{pipeline=~\"$pipeline\", le=\"1\"}").is_empty());
}

// Dashboards and alerts

#[test]
fn every_panel_has_an_id_a_title_and_expressions_over_labels_that_exist() {
    let dashboards = files("dashboards/grafana", ".json");
    assert!(!dashboards.is_empty(), "there is a dashboard");
    for path in dashboards {
        let dashboard: Value = serde_json::from_str(&read(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(dashboard["uid"].is_string() && dashboard["title"].is_string(), "{path}: uid and title");
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap_or_else(|| panic!("{path}: panels")) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty() && ids.insert(panel["id"].as_u64()), "{path}: `{title}`: id and title");
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{path}: `{title}`: targets"));
            assert!(!targets.is_empty(), "{path}: `{title}` asks for nothing");
            for target in targets {
                let expression = target["expr"].as_str().unwrap_or_default();
                assert!(
                    !metric_names(expression).is_empty() || is_about_us(expression),
                    "{path}: `{title}`: `{expression}` names no metric of ours, of our rules or of RabbitMQ"
                );
                assert_eq!(unknown_labels(expression), Vec::<String>::new(), "{path}: `{title}`");
            }
        }
    }
}

const RULES: &str = "dashboards/alerts/parqueduct.rules.yml";

/// Where runbooks are, up to the anchor of their heading.
const RUNBOOK: &str = "docs/operate.md#";

/// Who hears of an alert.
const SEVERITIES: [&str; 3] = ["page", "notify", "ticket"];

/// The alerts of `rules`: each with its name and the lines up to the next rule or group.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let of_rule = |rest| {
        let rule = str::split(rest, "\n      - ").next().unwrap_or_default();
        rule.split_once('\n').map(|(name, rule)| (name.trim(), rule))
    };
    rules.split("\n      - alert: ").skip(1).filter_map(of_rule).collect()
}

/// The value of the first line of `rule` that has that key.
fn value<'a>(rule: &'a str, key: &str) -> Option<&'a str> {
    let found = rule.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))?;
    Some(found.trim().trim_matches('"')).filter(|found| !found.is_empty())
}

/// What keeps an alert from being of use: whom it is for, what it says, and where it leads.
fn shortcomings(alert: &str, rule: &str, guide: &str) -> Vec<String> {
    let mut found = Vec::new();
    let labels = value(rule, "labels").unwrap_or_default();
    if !SEVERITIES.iter().any(|severity| labels == format!("{{ severity: {severity} }}")) {
        found.push(format!("{alert}: `{labels}` is no severity of {SEVERITIES:?}"));
    }
    for key in ["summary", "description"] {
        if value(rule, key).is_none() {
            found.push(format!("{alert} has no {key}"));
        }
    }
    let anchor = value(rule, "runbook").and_then(|runbook| runbook.strip_prefix(RUNBOOK)).unwrap_or_default();
    if anchor != alert.to_lowercase() || !guide.contains(&format!("\n### {alert}\n")) {
        found.push(format!("{alert}: its runbook is to be {RUNBOOK}{}, and to exist", alert.to_lowercase()));
    }
    found
}

#[test]
fn an_alert_that_lacks_something_is_found() {
    let rules = "rules:\n      - alert: Late\n        labels: { severity: page }\n        annotations:\n          \
                 summary: late\n          description: \"{{ $value }}\"\n          runbook: docs/operate.md#late\n";
    let guide = "\n### Late\n";
    let found = |rules: &str, guide: &str| -> usize {
        alerts(rules).into_iter().map(|(alert, rule)| shortcomings(alert, rule, guide).len()).sum()
    };
    assert_eq!((alerts(rules).len(), found(rules, guide)), (1, 0));
    assert_eq!(found(rules, "\n### Lately\n"), 1);
    for (whole, lacking) in [("page", "critical"), ("summary: late", ""), ("description: ", ""), ("#late", "#never")] {
        assert_eq!(found(&rules.replace(whole, lacking), guide), 1, "{whole}");
    }
}

#[test]
fn every_alert_says_whom_it_is_for_and_what_to_do() {
    let (rules, guide) = (read(RULES), read("docs/operate.md"));
    let alerts = alerts(&rules);
    assert!(!alerts.is_empty(), "there are alerts");
    assert_eq!(alerts.len(), rules.matches("alert: ").count(), "{RULES}: an alert that is not read");
    let found: Vec<String> = alerts.iter().flat_map(|(alert, rule)| shortcomings(alert, rule, &guide)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for (alert, rule) in alerts {
        let severity = SEVERITIES.iter().find(|severity| rule.contains(&format!("{{ severity: {severity} }}")));
        let row = format!("| `{}` |", severity.expect("found above"));
        let named =
            guide.lines().filter(|line| line.starts_with(&row)).any(|line| line.contains(&format!("`{alert}`")));
        assert!(named, "docs/operate.md does not name {alert} in the row `{row}`");
    }
}

#[test]
fn every_severity_has_a_route() {
    let routes = read("deploy/alertmanager/alertmanager.yml");
    for severity in SEVERITIES {
        let route = format!("- matchers: ['severity = \"{severity}\"']\n      receiver: {severity}\n");
        assert!(routes.contains(&route), "deploy/alertmanager/alertmanager.yml: no route of {severity}");
    }
}

/// An alert fires in one test at least, with its labels and texts, and is silent in one that comes close.
#[test]
fn every_alert_is_tested_as_firing_and_as_silent() {
    let tests: String = files("dashboards/alerts", ".test.yml").iter().map(|path| read(path)).collect();
    let rules = read(RULES);
    for (alert, _) in alerts(&rules) {
        let fires = format!("\n        alertname: {alert}\n        exp_alerts:\n          - exp_labels: ");
        assert!(tests.contains(&fires), "{alert} fires in no test");
        assert!(tests.contains(&format!(", alertname: {alert} }}\n")), "{alert} is silent in no test");
    }
}

/// What rules record: `level:metric:operations`, where the metric is ours.
fn recorded_names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains(":parqueduct_") && word.matches(':').count() == 2)
        .collect()
}

#[test]
fn what_is_asked_of_recording_rules_is_recorded() {
    let rules = read(RULES);
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ").map(str::trim)).collect();
    let mut spoken_of = guides();
    spoken_of.extend(files("dashboards", ""));
    for path in spoken_of {
        let text = read(&path);
        let unknown: Vec<&str> = recorded_names(&text).difference(&recorded).copied().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?} is recorded nowhere");
    }
}

#[test]
fn the_alert_rules_pass_their_tests() {
    let promtool = promtool();
    let tests = files("dashboards/alerts", ".test.yml");
    assert!(!tests.is_empty(), "there are tests");
    let run = |what: &str, path: &str| {
        let mut command = Command::new(&promtool);
        command.args([what, "rules"]).arg(root().join(path)).stdout(Stdio::piped()).stderr(Stdio::piped());
        (format!("promtool {what} rules {path}"), command.spawn().unwrap())
    };
    // Side by side: together they take half a minute of processor time.
    let mut running = vec![run("check", RULES)];
    running.extend(tests.iter().map(|path| run("test", path)));
    for (command, child) in running {
        let done = child.wait_with_output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{command}:\n{}", String::from_utf8_lossy(&said));
    }
    for line in read(RULES).lines() {
        assert_eq!(unknown_labels(line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn the_compose_file_refers_to_what_exists() {
    let done = Command::new(python()).arg("tests/deploy/check_compose.py").current_dir(root()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
}

// Words

#[test]
fn the_guide_explains_every_code() {
    let guide = read("docs/dead-letters.md");
    let rows: Vec<String> = Code::ALL.iter().map(|code| format!("| `{code}` | {} |", code.sentence())).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !guide.lines().any(|line| line == row.as_str())).collect();
    assert!(missing.is_empty(), "docs/dead-letters.md is to hold these rows:\n{}", rows.join("\n"));
}

#[test]
fn links_lead_to_files_that_exist() {
    let mut findings = Vec::new();
    for path in guides() {
        let text = read(&path);
        let directory = root().join(&path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !link.is_empty() && !link.contains("://") && !directory.join(link).exists() {
                findings.push(format!("{path}: no {link}"));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// The commands of the fenced `sh` blocks of `text`, continuation lines joined, comments left out.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<Vec<_>>();
    let lines = joined.iter().flat_map(|block| block.lines());
    lines
        .map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn every_make_target_of_the_guides_exists() {
    let makefile = read("Makefile");
    let mut seen = 0;
    for path in guides() {
        for command in commands(&read(&path)) {
            let Some(target) = command.strip_prefix("make ") else { continue };
            let target = target.split(' ').next().unwrap_or_default();
            assert!(makefile.contains(&format!("\n{target}: ")), "{path}: `make {target}` does not exist");
            seen += 1;
        }
    }
    assert!(seen > 0, "the guides name targets");
}

/// Every command of ours in the guides is asked for its help, which must know the flags used.
#[test]
fn every_command_of_the_guides_exists_with_its_flags() {
    let mut findings = Vec::new();
    for path in guides() {
        for command in commands(&read(&path)) {
            let Some(arguments) = command.strip_prefix("parqueduct ") else { continue };
            let words: Vec<&str> = arguments.split_whitespace().collect();
            let nested = matches!(words[0], "dlq" | "schema" | "config");
            let names = &words[..if nested { 2 } else { 1 }];
            let help = Command::new(env!("CARGO_BIN_EXE_parqueduct")).args(names).arg("--help").output().unwrap();
            let text = String::from_utf8_lossy(&help.stdout);
            if !help.status.success() || text.is_empty() {
                findings.push(format!("{path}: `parqueduct {}` does not exist", names.join(" ")));
            }
            let flags = words.iter().filter(|word| word.starts_with("--"));
            let unknown = flags.filter(|flag| !text.contains(flag.split('=').next().unwrap_or_default()));
            findings.extend(unknown.map(|flag| format!("{path}: `parqueduct {}` has no {flag}", names.join(" "))));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_configurations_we_ship_pass_the_check() {
    for config in ["config/parqueduct.toml", "config/demo/parqueduct.toml", "deploy/parqueduct/parqueduct.toml"] {
        let done = Command::new(env!("CARGO_BIN_EXE_parqueduct"))
            .args(["check", "--config", config])
            .current_dir(root())
            .env("PARQUEDUCT_DEMO_URI", "amqp://guest:guest@127.0.0.1:5672/%2f")
            .env("PARQUEDUCT_DEMO_STORE", "file:///tmp/parqueduct-demo")
            .env("PARQUEDUCT_DEMO_LISTEN", "127.0.0.1:0")
            .env("S3_ACCESS_KEY", "key")
            .env("S3_SECRET_KEY", "secret")
            .env("RABBITMQ_PASSWORD", "password")
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{config}:\n{}", String::from_utf8_lossy(&said));
    }
}
