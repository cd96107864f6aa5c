//! Secrets are used, and never shown.

use std::io;
use std::path::Path;

use crate::config::checked::{Secret, StorePlace};
use crate::config::keys::{Key, Kind};
use crate::config::raw::{Pipeline, RabbitMq, Store};
use crate::config::read::Raw;
use crate::config::{Findings, Loaded, Surroundings, load};

const MARKER: &str = "hunter2";

fn load_marked(text: &str) -> Result<Loaded, Findings> {
    let surroundings = Surroundings {
        variable: &|name| (name == "MARKED").then(|| MARKER.to_owned()),
        read: &|path: &Path| match path.ends_with("marked") {
            true => Ok(format!("{MARKER}\n")),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        },
        hostname: Some("host"),
    };
    load(Path::new("parqueduct.toml"), text, &surroundings)
}

/// Everything that can be printed of the outcome.
fn printed(text: &str) -> String {
    match load_marked(text) {
        Ok(loaded) => format!("{loaded:?} {:#?}", loaded.config),
        Err(findings) => {
            let each: Vec<_> = findings.all().iter().map(|finding| format!("{finding} {finding:?}")).collect();
            format!("{findings} {findings:?} {}", each.join(" "))
        }
    }
}

fn pipeline() -> &'static str {
    "\n[[pipeline]]\nname = \"a\"\nqueue = \"a\"\nformat = \"json\"\nschema = \"marked\"\n"
}

fn s3(lines: &str) -> String {
    format!("[store]\nurl = \"s3://bucket\"\n{lines}{}", pipeline())
}

fn rabbitmq(line: &str) -> String {
    format!("[rabbitmq]\n{line}\n[store]\nurl = \"file:///a\"\n{}", pipeline())
}

#[test]
fn secrets_come_from_the_text_a_variable_or_a_file() {
    let text = s3("access_key_id = \"plain\"\nsecret_access_key = { file = \"secrets/marked\" }\n\
         session_token = \"t-${MARKED}\"\n");
    let loaded = load_marked(&text).expect("sound");
    let StorePlace::S3(s3) = &loaded.config.store.place else { panic!("{:?}", loaded.config.store) };
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    assert_eq!(exposed(&s3.access_key_id).as_deref(), Some("plain"));
    assert_eq!(exposed(&s3.secret_access_key).as_deref(), Some("hunter2"));
    assert_eq!(exposed(&s3.session_token).as_deref(), Some("t-hunter2"));
    let loaded = load_marked(&rabbitmq("uri = \"amqp://u:${MARKED}@h/%2f\"")).expect("sound");
    assert_eq!(loaded.config.rabbitmq.uris[0].expose(), "amqp://u:hunter2@h/%2f");
    let loaded = load_marked(&rabbitmq("username = \"u\"\npassword = { file = \"secrets/marked\" }")).expect("sound");
    let password = loaded.config.rabbitmq.password.expect("set");
    assert_eq!((password.expose(), password.file()), ("hunter2", Some(Path::new("secrets/marked"))));
    assert_eq!(loaded.config.rabbitmq.username.expect("set").file(), None);
}

#[test]
fn a_missing_or_empty_source_of_a_secret_is_named() {
    let of = |line: &str| printed(&rabbitmq(line));
    let found = of("uri = \"amqp://u:${ABSENT}@h/%2f\"");
    assert!(
        found.starts_with("parqueduct.toml:2: rabbitmq.uri: the environment variable ABSENT is not set: set ABSENT"),
        "{found}"
    );
    let found = of("uri = { file = \"secrets/absent\" }");
    assert!(
        found.starts_with("parqueduct.toml:2: rabbitmq.uri: the file \"secrets/absent\" cannot be read"),
        "{found}"
    );
    let found = of("uri = { env = \"MARKED\" }");
    assert!(
        found.contains("rabbitmq.uri.env: unknown key") && found.contains("rabbitmq.uri.file: is missing"),
        "{found}"
    );
}

#[test]
fn no_secret_is_ever_printed_whether_it_is_usable_or_not() {
    let secret_keys = |keys: &'static [Key]| keys.iter().filter(|key| matches!(key.kind, Kind::Secret));
    for key in secret_keys(Store::KIND.keys()) {
        for value in [format!("\"{MARKER}\""), "\"${MARKED}\"".to_owned(), "{ file = \"marked\" }".to_owned()] {
            for url in ["s3://b", "az://c", "gs://b", "file:///a"] {
                let text = format!("[store]\nurl = \"{url}\"\n{} = {value}\n{}", key.name, pipeline());
                let shown = printed(&text);
                assert!(!shown.contains(MARKER), "{} = {value} of {url}: {shown}", key.name);
            }
        }
    }
    assert_eq!(secret_keys(Store::KIND.keys()).count(), 5);
    for key in secret_keys(RabbitMq::KIND.keys()) {
        for value in [format!("\"{MARKER}\""), "\"${MARKED}\"".to_owned(), "{ file = \"marked\" }".to_owned()] {
            let shown = printed(&rabbitmq(&format!("{} = {value}", key.name)));
            assert!(!shown.contains(MARKER), "{} = {value}: {shown}", key.name);
        }
    }
    assert_eq!(secret_keys(RabbitMq::KIND.keys()).count(), 4);
    let tokens = |url: &str| {
        printed(&rabbitmq(&format!(
            "oauth2 = {{ token_url = \"{url}\", client_id = \"a\", client_secret = \"{MARKER}\" }}"
        )))
    };
    for url in ["https://host/token", "http://host/token", "https://u:hunter2@host/token", "hunter2", "amqp://hunter2"]
    {
        let shown = tokens(url);
        assert!(!shown.contains(MARKER), "{url}: {shown}");
    }
}

#[test]
fn no_uri_is_quoted_however_broken() {
    let uris = [
        "amqp://u:hunter2@h/%2f",
        "amqps://u:hunter2@h/",
        "http://u:hunter2@h/",
        "amqp://u:hunter2@[::1]/%2f",
        "amqp://u:hunter2@:5672/",
        "amqp://u:hunter2@h:port/",
        "amqp://u:p@ss/hunter2@h/%2f",
        "amqp://u:pa?hunter2=1@h/%2f",
        "amqp://u:pa#hunter2@h/%2f",
        "amqp://u:hunter2@h/%2f?heartbeat=hunter2",
        "amqp://u:hunter2@h/%2f?frame_max=hunter2",
        "amqp://u:hunter2@h/%2f?auth_mechanism=hunter2",
        "amqp://u:hunter2%ff@h/%2f",
        "amqp://u:hunter2 @h/%2f",
        "amqp:hunter2",
        "hunter2",
        "${MARKED}",
        "amqp://u:hunter2@h/${",
        "amqp://u:${hunter2@h/",
        "amqp://u:\\u0007hunter2@h/",
    ];
    for uri in uris {
        for line in [format!("uri = \"{uri}\""), format!("uris = [\"{uri}\", \"{uri}\"]"), format!("uri = \"{uri}")] {
            let shown = printed(&rabbitmq(&line));
            assert!(!shown.contains(MARKER), "{line}: {shown}");
        }
    }
}

#[test]
fn a_secret_in_a_url_is_refused_and_not_quoted() {
    for text in [
        "[store]\nurl = \"az://container?sig=hunter2\"\n".to_owned(),
        "[store]\nurl = \"s3://id:hunter2@bucket/p\"\n".to_owned(),
        "[store]\nurl = \"hunter2\"\n".to_owned(),
        "[store]\nurl = \"s3://b\"\nendpoint = \"https://id:hunter2@host\"\n".to_owned(),
        "[store]\nurl = \"s3://b\"\nendpoint = \"https://host?sig=hunter2\"\n".to_owned(),
    ] {
        let shown = printed(&(text + pipeline()));
        assert!(shown.contains("parqueduct.toml:") && !shown.contains(MARKER), "{shown}");
    }
}

#[test]
fn what_a_variable_held_is_in_no_finding_of_any_key() {
    let keys = |section: &str, keys: &'static [Key]| -> Vec<(String, &'static Key)> {
        keys.iter().map(|key| (section.to_owned(), key)).collect()
    };
    for (section, key) in [keys("store", Store::KIND.keys()), keys("pipeline", Pipeline::KIND.keys())].concat() {
        for value in ["\"${MARKED}\"", "\"/${MARKED}/\"", "[\"x${MARKED}\"]", "[\"/${MARKED}-\"]"] {
            let header = if section == "pipeline" { "[[pipeline]]" } else { "[store]" };
            let shown = match load_marked(&format!("{header}\n{} = {value}\n", key.name)) {
                Ok(_) => panic!("it lacks a section"),
                Err(findings) => format!("{findings} {findings:?}"),
            };
            assert!(!shown.contains(MARKER), "{section}.{} = {value}: {shown}", key.name);
        }
    }
}
