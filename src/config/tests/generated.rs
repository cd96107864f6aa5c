//! The reference, the JSON Schema and the file in the repository say what the table of keys says.

use proptest::prelude::*;

use super::{loaded, sound};
use crate::config::keys::{Fallback, Key};
use crate::config::raw::Root;
use crate::config::read::Raw;
use crate::config::{json_schema, reference};

/// The reference with the `#` removed from the keys that `choose` names, given `section.key`.
fn uncommented(choose: impl Fn(&str) -> bool) -> String {
    let mut section = String::new();
    let mut text = String::new();
    for line in reference().lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
        let chosen = key.is_some_and(|key| !key.contains(' ') && choose(&format!("{section}.{key}")));
        text.push_str(if chosen { &line[1..] } else { line });
        text.push('\n');
    }
    text
}

/// Every key of every section, as `section.key`.
fn all_keys() -> Vec<(String, &'static Key)> {
    let of_section = |section: &'static Key| {
        section.kind.keys_within().iter().map(|key| (format!("{}.{}", section.name, key.name), key))
    };
    Root::KIND.keys().iter().flat_map(of_section).collect()
}

fn is_valid(text: &str) -> bool {
    let instance: serde_json::Value = toml::from_str(text).expect("TOML");
    jsonschema::is_valid(&json_schema(), &instance)
}

#[test]
fn the_file_in_the_repository_is_the_reference() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/parqueduct.toml");
    let kept = std::fs::read_to_string(file).expect("the file is there");
    assert_eq!(kept, reference(), "run: parqueduct config reference > config/parqueduct.toml");
}

#[test]
fn the_reference_names_every_key_once_in_short_lines() {
    let text = reference();
    for (path, key) in all_keys() {
        let once = uncommented(|candidate| candidate == path);
        let mark = if matches!(key.fallback, Fallback::Required(_) | Fallback::Expected(_)) { "" } else { "#" };
        assert!(text.contains(&format!("\n{mark}{} = ", key.name)), "{path}");
        assert!(mark.is_empty() || once != text, "{path}");
    }
    for line in text.lines().filter(|line| line.starts_with("# ")) {
        assert!(line.chars().count() <= 102, "{line}");
    }
}

#[test]
fn the_defaults_shown_are_the_defaults() {
    let defaults: Vec<_> =
        all_keys().into_iter().filter(|(_, key)| matches!(key.fallback, Fallback::Default(_))).collect();
    // Keys that ask for another store, or for declare = true, cannot be written beside the example.
    let shown = |path: &str| {
        path != "pipeline.queue_type" && defaults.iter().any(|(name, key)| name == path && key.only.is_empty())
    };
    let (bare, full) = (reference(), uncommented(shown));
    assert_ne!(bare, full);
    let (bare, full) = (sound(&bare), sound(&full));
    assert_eq!(bare.warnings, []);
    assert_eq!(format!("{:?}", bare.config), format!("{:?}", full.config));
}

#[test]
fn every_key_of_the_reference_loads_for_the_store_it_is_for() {
    let apart = [
        vec![
            "rabbitmq.uris",
            "rabbitmq.oauth2",
            "store.profile",
            "store.sas_token",
            "pipeline.event",
            "registry.token",
        ],
        vec![
            "rabbitmq.uri",
            "rabbitmq.password",
            "store.access_key_id",
            "store.secret_access_key",
            "store.session_token",
            "store.access_key",
            "registry.username",
            "registry.password",
            // What each type of events says itself.
            "pipeline.framing",
            "pipeline.message",
            "pipeline.rules",
            "pipeline.schema_name",
            "pipeline.schema_version",
        ],
    ];
    for (scheme, url) in [("file", "file:///a"), ("s3", "s3://b/p"), ("gs", "gs://b/p"), ("az", "az://c/p")] {
        for left_out in &apart {
            let text = uncommented(|path| {
                let (_, key) = all_keys().into_iter().find(|(name, _)| name == path).expect(path);
                !left_out.contains(&path) && (key.only.is_empty() || key.only.contains(&scheme))
            });
            let text = text
                .replace("url = \"file:///var/lib/parqueduct\"", &format!("url = \"{url}\""))
                .replace("declare = false", "declare = true");
            let text = match left_out.contains(&"pipeline.event") {
                // The one format with which all keys about formats can stand.
                true => text.replace("\nformat = \"json\"\n", "\nformat = \"protobuf\"\n"),
                false => text.replace("\nschema = \"schemas/flight.v1.json\"\n", "\n"),
            };
            sound(&text);
            assert!(is_valid(&text), "{text}");
        }
    }
}

#[test]
fn the_json_schema_is_one_and_refuses_what_the_check_refuses() {
    assert!(jsonschema::meta::is_valid(&json_schema()));
    assert!(is_valid(&reference()));
    assert!(is_valid(&super::with("log", "format = \"${FORMAT}\"")));
    for (section, line) in [
        ("log", "colour = true"),
        ("log", "format = \"xml\""),
        ("pipeline", "prefetch = 70000"),
        ("pipeline", "prefetch = \"50000\""),
        ("pipeline", "body_max = \"16\""),
        ("pipeline", "bind = [{ routing_key = \"a\" }]"),
        ("rabbitmq", "heartbeat = 10"),
        ("rabbitmq", "uri = { env = \"URI\" }"),
    ] {
        let text = super::with(section, line);
        assert!(!is_valid(&text) && loaded(&text).is_err(), "{line}");
    }
    assert!(!is_valid("[store]\nurl = \"file:///a\"\n"));
}

proptest! {
    /// Whatever stands in the file, the answer is a configuration or at least one error, and each is one line.
    #[test]
    fn any_file_gives_a_configuration_or_errors_of_one_line(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
    ) {
        const VALUES: &[&str] = &[
            "1", "0", "-1", "99999999999999999999", "1.5", "true", "\"\"", "\"a\"", "\"/a\"", "\"${UNSET}\"",
            "\"${X}\"", "\"10s\"",
            "\"1MiB\"", "\"date\"", "[]", "[[]]", "{}", "[\"a\", 1]", "{ file = \"missing\" }", "{ file = \"a\" }",
            "1979-05-27", "\"a\\nb\"", "\"s3://b\"", "\"az://c\"", "[{}]", "{ rows = 1, age = 1 }",
            "\"quorum\"", "\"aws:kms\"",
        ];
        let mut lines: Vec<String> = reference().lines().map(str::to_owned).collect();
        for (at, value) in changes {
            let at = at.index(lines.len());
            if let Some((key, _)) = lines[at].trim_start_matches('#').split_once(" = ") {
                lines[at] = format!("{key} = {}", value.get(VALUES));
            } else {
                lines[at] = format!("{value:?}").chars().take(2).collect();
            }
        }
        let text = lines.join("\n");
        match loaded(&text) {
            Ok(_) => {}
            Err(findings) => {
                prop_assert!(!findings.all().is_empty());
                for finding in findings.all() {
                    let line = finding.to_string();
                    prop_assert!(!line.contains('\n') && finding.line >= 1 && finding.line <= lines.len(), "{line}");
                    prop_assert!(!finding.mend.is_empty() && !finding.problem.is_empty());
                }
            }
        }
    }
}
