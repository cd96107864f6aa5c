//! The rules of the configuration, each by the line it gives.

mod generated;
mod monitor;
mod rules;
mod secrets;

use std::io;
use std::path::{Path, PathBuf};

use super::{Findings, Loaded, Surroundings, load};

/// A configuration that is all right, with each section on a line of its own.
const SOUND: &str = "\
[rabbitmq]
[store]
url = \"file:///var/lib/pq\"
[http]
[dlq]
[log]
[run]
[[pipeline]]
name = \"flights\"
queue = \"flights\"
format = \"json\"
schema = \"schemas/flight.v1.json\"
";

/// [`SOUND`] with `lines` below `[section]`, in place of what stood there under the same keys.
fn with(section: &str, lines: &str) -> String {
    let keys: Vec<_> = lines.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
    let mut text = String::new();
    let mut here = false;
    for line in SOUND.lines() {
        if line.starts_with('[') {
            here = line.trim_matches(['[', ']']) == section;
        } else if here && line.split_once(" = ").is_some_and(|(key, _)| keys.contains(&key)) {
            continue;
        }
        text.push_str(&format!("{line}\n"));
        if here && line.starts_with('[') {
            text.push_str(&format!("{lines}\n"));
        }
    }
    text
}

fn variable(name: &str) -> Option<String> {
    match name {
        "UNSET" => None,
        "HOST" => Some("rabbit".to_owned()),
        "OPS_TOKEN" => Some("0123456789abcdef".to_owned()),
        _ => Some("something".to_owned()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("missing") => Err(io::Error::from(io::ErrorKind::NotFound)),
        Some("empty") => Ok("\n".to_owned()),
        Some("der") => Ok("0...".to_owned()),
        _ => Ok(format!("{}\n{}\nsomething\n", super::check::CERTIFICATE, super::check::PRIVATE_KEY)),
    }
}

fn loaded(text: &str) -> Result<Loaded, Findings> {
    let surroundings = Surroundings { variable: &variable, read: &read, hostname: Some("host-1.example") };
    load(Path::new("/etc/pq/parqueduct.toml"), text, &surroundings)
}

fn sound(text: &str) -> Loaded {
    loaded(text).unwrap_or_else(|findings| panic!("{findings}\nin\n{text}"))
}

/// The findings of `text`, errors or warnings, as they are displayed.
fn lines(text: &str) -> Vec<String> {
    let findings = match loaded(text) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings.all().to_vec(),
    };
    findings.iter().map(|finding| finding.to_string().replace("/etc/pq/parqueduct.toml:", "")).collect()
}

#[test]
fn a_short_configuration_gets_the_defaults() {
    let loaded = sound(SOUND);
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.instance, "host_1_example");
    assert_eq!(config.rabbitmq.uris[0].expose(), "amqp://guest:guest@127.0.0.1:5672/%2f");
    assert_eq!(config.http.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:9410"));
    assert_eq!(config.log.level, "info,lapin=off", "the client library calls ends of channels errors");
    let pipeline = config.pipeline("flights").expect("there");
    let event = &pipeline.events[0];
    assert_eq!(event.schema, PathBuf::from("/etc/pq/schemas/flight.v1.json"));
    assert_eq!((event.schema_name.as_str(), event.schema_version), ("flight", 1));
    assert_eq!((pipeline.prefetch, pipeline.flush.rows, pipeline.flush.bytes), (50_000, 35_000, 64 << 20));
    assert_eq!((pipeline.body_bytes_max, pipeline.depth_max), (16 << 20, 64));
    assert!(pipeline.declare.is_none() && event.event_id.is_none() && event.event_time_behind_max.is_none());
    assert_eq!(event.partition_by, [super::PartitionKey::Date]);
}

#[test]
fn everything_wrong_is_found_at_once_by_line() {
    let text = "\
[rabbitmq]
heartbeat = 10
uri = \"amqp://[::1]:5672/%2f\"

[stor]
url = \"file:///a\"

[[pipeline]]
name = \"Flights\"
prefecth = 10
flush = { rows = 40000 }
format = \"xml\"
schema = \"missing\"
";
    assert_eq!(
        lines(text),
        [
            "1: store.url: is missing: add url = \"file:///var/lib/parqueduct\", or what it is here",
            "2: rabbitmq.heartbeat: is a number without a unit: give it its unit, such as \"10s\"",
            "3: rabbitmq.uri: has an IPv6 address as host, in whose place the client library would connect to \
             localhost: write a host name that resolves to the address",
            "5: stor: unknown key: did you mean \"store\"?",
            "8: pipeline.queue: is missing: add queue = \"flights\", or what it is here",
            "9: pipeline.name: \"Flights\" holds more than a-z, 0-9, _ and -: choose a name that can be a directory, \
             such as \"flights\"",
            "10: pipeline.prefecth: unknown key: did you mean \"prefetch\"?",
            "11: pipeline.flush.rows: 40000 is more than 70 % of prefetch 50000: set rows to at most 35000 or raise \
             prefetch",
            "12: pipeline.format: \"xml\" is not known: write \"json\" or \"msgpack\" or \"avro\" or \"protobuf\" or \"auto\"",
            "13: pipeline.schema: the file \"missing\" cannot be read (entity not found): create it, or correct the \
             path (it is relative to /etc/pq) or its permissions",
        ]
    );
}

#[test]
fn what_is_not_toml_is_named_by_line_without_its_text() {
    let found = lines("[rabbitmq]\nuri = \"amqp://user:hidden@host\nheartbeat = \"10s\"\nx == 1\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("2: not TOML: ") && found[0].ends_with(": correct the line"), "{found:?}");
    assert!(found.iter().all(|line| !line.contains("hidden")), "{found:?}");
    let twice = lines("[log]\nlevel = \"info\"\nlevel = \"warn\"\n");
    assert_eq!(twice, ["3: not TOML: duplicate key: correct the line"]);
}

#[test]
fn a_later_stage_places_its_findings_at_the_key() {
    let loaded = sound(SOUND);
    let finding =
        |pipeline, key: &str| loaded.finding(super::Severity::Error, pipeline, key, "is wrong", "mend it").to_string();
    let file = "/etc/pq/parqueduct.toml";
    assert_eq!(finding(Some("flights"), "pipeline.schema"), format!("{file}:12: pipeline.schema: is wrong: mend it"));
    assert_eq!(
        finding(Some("flights"), "pipeline.event_id"),
        format!("{file}:8: pipeline.event_id: is wrong: mend it")
    );
    assert_eq!(finding(None, "store.url"), format!("{file}:3: store.url: is wrong: mend it"));
}
