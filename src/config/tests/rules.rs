//! Each rule by the line it gives.

use super::{lines, loaded, sound, with};
use crate::config::checked::{
    Declare, Flush, NewFields, OnTrip, PartitionKey, QueueType, Role, RuleAction, S3Encryption, SplitBy, StorePlace,
};

/// `lines` below `[section]` give exactly one finding, at `key`, that says `problem` and `mend`.
#[track_caller]
fn finds(section: &str, below: &str, key: &str, problem: &str, mend: &str) {
    let found = lines(&with(section, below));
    let [line] = found.as_slice() else { panic!("{below}: {found:#?}") };
    let (at, rest) = line.split_once(": ").expect("a line's number");
    let rest = rest.strip_prefix("warning: ").unwrap_or(rest);
    assert!(at.parse::<usize>().is_ok() && rest.starts_with(&format!("{key}: ")), "{line}");
    assert!(rest.contains(problem) && rest.contains(mend), "{line}");
}

fn is_warning(section: &str, below: &str) -> bool {
    loaded(&with(section, below)).is_ok_and(|loaded| !loaded.warnings.is_empty())
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_the_right_one() {
    finds("rabbitmq", "uri = 5", "rabbitmq.uri", "is a number", "write text in quotes or { file");
    finds(
        "rabbitmq",
        "connect_timeout = \"10 s\"",
        "rabbitmq.connect_timeout",
        "\"10 s\" is not a duration",
        "\"60s\"",
    );
    finds("pipeline", "keep_raw = \"yes\"", "pipeline.keep_raw", "is text", "write true or false");
    finds("pipeline", "shards = 1.5", "pipeline.shards", "with a fraction", "write a whole number");
    finds("pipeline", "shards = -1", "pipeline.shards", "-1 is out of range", "not negative");
    finds("pipeline", "body_max = 1024", "pipeline.body_max", "is a number without a unit", "\"1024B\"");
    finds("pipeline", "body_max = \"16mb\"", "pipeline.body_max", "\"16mb\" is not a size", "MiB");
    finds("pipeline", "partition_by = \"date\"", "pipeline.partition_by", "is text", "write a list");
    finds("pipeline", "flush = 5", "pipeline.flush", "is a number", "write a table");
    finds("log", "level = \"\"", "log.level", "is empty", "remove the line");
    finds("log", "format = \"jsn\"", "log.format", "\"jsn\" is not known", "did you mean \"json\"?");
    finds("log", "format = \"xml\"", "log.format", "\"xml\" is not known", "write \"text\" or \"json\"");
    let single = with("log", "").replace("[[pipeline]]", "[pipeline]");
    assert_eq!(lines(&single), ["9: pipeline: is a table: write [[pipeline]]"]);
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one_or_their_home() {
    finds("rabbitmq", "heart_beat = \"1s\"", "rabbitmq.heart_beat", "unknown key", "did you mean \"heartbeat\"?");
    finds("http", "prefetch = 5", "http.prefetch", "unknown key", "it belongs in [[pipeline]]");
    finds("pipeline", "age = \"5s\"", "pipeline.age", "unknown key", "it belongs in flush of [[pipeline]]");
    finds("http", "colour = 1", "http.colour", "unknown key", "remove it; the keys here are listen");
    finds("pipeline", "flush = { row = 5 }", "pipeline.flush.row", "unknown key", "did you mean \"rows\"?");
    finds("http", "\"a\\nb\" = 1", "http.a\\nb", "unknown key", "remove it");
}

#[test]
fn bounds_are_held_and_say_why() {
    finds(
        "pipeline",
        "prefetch = 65536",
        "pipeline.prefetch",
        "65536 is more than 65535 (16 bits in the protocol",
        "65535 or less",
    );
    finds(
        "pipeline",
        "prefetch = 0",
        "pipeline.prefetch",
        "0 is less than 1 (16 bits in the protocol, where 0 means 2,000 on a quorum queue",
        "1 or more",
    );
    finds("pipeline", "compression_level = 23", "pipeline.compression_level", "23 is more than 22", "22 or less");
    finds("store", "put_concurrency = 0", "store.put_concurrency", "0 is less than 1", "1 or more");
    finds(
        "pipeline",
        "body_max = \"1GiB\"",
        "pipeline.body_max",
        "1GiB is more than 512MiB (RabbitMQ",
        "\"512MiB\" or less",
    );
    finds(
        "rabbitmq",
        "reconnect_max = \"1h\"",
        "rabbitmq.reconnect_max",
        "1h is more than 10m",
        "set it to \"10m\" or less",
    );
}

#[test]
fn rabbitmq_uris_are_refused_where_the_library_would_make_something_else_of_them() {
    let uri = |uri: &str, problem, mend| finds("rabbitmq", &format!("uri = \"{uri}\""), "rabbitmq.uri", problem, mend);
    uri("http://h/%2f", "neither amqp:// nor amqps://", "amqp://user");
    uri("amqp://u:p@[::1]:5672/%2f", "IPv6", "write a host name");
    uri("amqp:///v", "names no host", "amqp://user");
    uri("amqp:h", "names no host", "amqp://user");
    uri("h", "is not a URI", "amqp://user");
    uri("amqp://u:p@h:99999/", "is not a URI (invalid port number)", "amqp://user");
    uri("amqp://u:p@ss/w@h/%2f", "\"@\" after its host", "%40");
    uri("amqp://u:a#b@h/%2f", "is not a URI", "amqp://user");
    uri("amqp://h/%2f#b", "\"#\"", "%23");
    uri("amqp://h/ v", "white space", "amqp://user");
    uri("amqp://u:%ff@h/%2f", "not UTF-8", "amqp://user");
    uri("amqp://h/%2f?heartbeat=30", "has heartbeat in its query", "set rabbitmq.heartbeat");
    uri("amqp://h/%2f?verify=verify_none", "has verify in its query", "always verified");
    uri("amqp://h/%2f?colour=1", "unknown key in its query", "frame_max, channel_max and auth_mechanism");
    uri("amqp://h/%2f?frame_max=4096", "unusable frame_max", "between 8192 and");
    uri("amqp://h/%2f?channel_max=0", "unusable channel_max", "between 1 and");
    uri("amqp://h/%2f?auth_mechanism=magic", "unusable auth_mechanism", "external");
    uri("amqp://h/", "names the vhost \"\"", "/%2f");
    assert!(is_warning("rabbitmq", "uri = \"amqp://h/\""));
    for good in ["amqp://h", "amqps://u:p%40@h:5671/v?frame_max=131072&auth_mechanism=external", "amqp://${HOST}/%2f"] {
        assert_eq!(lines(&with("rabbitmq", &format!("uri = \"{good}\""))), [""; 0], "{good}");
    }
}

#[test]
fn several_uris_are_each_checked_and_stand_alone() {
    let config = sound(&with("rabbitmq", "uris = [\"amqp://a/%2f\", \"amqp://b/%2f\"]")).config;
    assert_eq!(
        config.rabbitmq.uris.iter().map(|uri| uri.expose()).collect::<Vec<_>>(),
        ["amqp://a/%2f", "amqp://b/%2f"]
    );
    finds("rabbitmq", "uris = [\"amqp://a\", \"b\"]", "rabbitmq.uris[1]", "is not a URI", "amqp://user");
    finds("rabbitmq", "uris = [\"${UNSET}\"]", "rabbitmq.uris[0]", "UNSET is not set", "set UNSET");
    finds("rabbitmq", "uris = []", "rabbitmq.uris", "names no broker", "at least one");
    finds("rabbitmq", "uri = \"amqp://a\"\nuris = [\"amqp://b\"]", "rabbitmq.uri", "beside uris", "keep one");
    let spread = lines(&with("rabbitmq", "uris = [\n  \"amqp://a\",\n  \"amqp://[::1]\",\n]"));
    assert!(spread.len() == 1 && spread[0].starts_with("4: rabbitmq.uris[1]: "), "{spread:?}");
}

#[test]
fn certificates_need_their_key_and_encryption() {
    let tls = "uri = \"amqps://h/%2f\"\n";
    finds("rabbitmq", &format!("{tls}cert = \"a\""), "rabbitmq.cert", "no private key", "add key");
    finds("rabbitmq", &format!("{tls}key = \"a\""), "rabbitmq.key", "no certificate", "add cert");
    finds("rabbitmq", &format!("{tls}ca = \"missing\""), "rabbitmq.ca", "cannot be read", "relative to /etc/pq");
    finds("rabbitmq", &format!("{tls}ca = \"/x/missing\""), "rabbitmq.ca", "cannot be read", "correct the path or");
    finds("rabbitmq", &format!("{tls}ca = \"der\""), "rabbitmq.ca", "BEGIN CERTIFICATE", "openssl x509");
    finds(
        "rabbitmq",
        &format!("{tls}cert = \"a\"\nkey = \"der\""),
        "rabbitmq.key",
        "BEGIN PRIVATE KEY",
        "openssl pkcs8",
    );
    finds("rabbitmq", "ca = \"a\"", "rabbitmq.ca", "not encrypted", "amqps://");
    assert!(is_warning("rabbitmq", "ca = \"a\""));
    let config = sound(&with("rabbitmq", &format!("{tls}cert = \"c\"\nkey = \"k\""))).config;
    assert_eq!(config.rabbitmq.cert.as_deref(), Some(std::path::Path::new("/etc/pq/c")));
}

#[test]
fn credentials_come_from_one_place_and_travel_in_secret() {
    let oauth2 = |url: &str, more: &str| {
        format!("oauth2 = {{ token_url = \"{url}\", client_id = \"a\", client_secret = \"b\"{more} }}")
    };
    let refuses = |url: &str, problem, mend| {
        finds("rabbitmq", &oauth2(url, ""), "rabbitmq.oauth2.token_url", problem, mend);
    };
    refuses("id.example.org", "is not a URL", "https://host/path");
    refuses("ftp://id.example.org", "is not a URL of HTTP", "https://host/path");
    refuses("https://u:p@h/token", "more than a place", "client_secret");
    refuses("http://h/token", "clear text", "allow_http = true");
    let both = format!("{}\npassword = \"p\"", oauth2("https://h/token", ""));
    finds("rabbitmq", &both, "rabbitmq.password", "beside oauth2", "keep one");
    finds(
        "rabbitmq",
        "oauth2 = { token_url = \"https://h\", client_id = \"a\" }",
        "rabbitmq.oauth2.client_secret",
        "is missing",
        "add client_secret",
    );
    let config = sound(&with("rabbitmq", &oauth2("http://h/token", ", allow_http = true, scope = \"s\""))).config;
    let oauth2 = config.rabbitmq.oauth2.expect("set");
    assert_eq!((oauth2.client_id.as_str(), oauth2.scope.as_deref()), ("a", Some("s")));
    assert!(oauth2.client_secret.expose() == "b" && oauth2.token_url == "http://h/token");
}

#[test]
fn the_management_api_is_a_url_with_user_and_password() {
    let refuses = |url: &str, problem| {
        finds("rabbitmq", &format!("management = \"{url}\""), "rabbitmq.management", problem, "http://user:password@");
    };
    refuses("rabbit-1", "is not a URL");
    refuses("amqp://u:p@h", "neither http:// nor https://");
    refuses("http://h:15672", "names no user");
    refuses("http://u@h:15672", "names no user");
    refuses("http://u:p@h:15672/?a=b", "more than user");
    let config = sound(&with("rabbitmq", "management = \"https://u:p@h:15671/rabbit/\"\nca = \"a\"")).config;
    assert!(config.rabbitmq.management.is_some() && config.rabbitmq.ca.is_some());
}

#[test]
fn timings_of_the_connection_make_sense() {
    finds("rabbitmq", "heartbeat = \"1500ms\"", "rabbitmq.heartbeat", "whole number of seconds", "\"10s\"");
    finds("rabbitmq", "heartbeat = \"2s\"", "rabbitmq.heartbeat", "so short", "\"5s\" or more");
    finds(
        "rabbitmq",
        "reconnect_max = \"100ms\"",
        "rabbitmq.reconnect_max",
        "200ms is more than reconnect_max 100ms",
        "the shorter",
    );
    assert!(is_warning("rabbitmq", "heartbeat = \"2s\""));
}

#[test]
fn the_store_is_taken_from_its_url() {
    let place = |below: &str| sound(&with("store", below)).config.store.place;
    let root = |url: &str| match place(&format!("url = \"{url}\"")) {
        StorePlace::File { root } => root.display().to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(root("file:///var/lib/pq/"), "/var/lib/pq");
    assert_eq!(root("file://./archive"), "/etc/pq/archive");
    assert_eq!(root("file://../archive"), "/etc/pq/../archive");
    assert_eq!(root("file:///a%20b"), "/a b");
    let StorePlace::S3(s3) = place("url = \"s3://bucket/a/b/\"\nencryption = \"aws:kms\"\nkms_key = \"k\"") else {
        panic!()
    };
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str(), s3.path_style), ("bucket", "a/b", false));
    assert_eq!(s3.encryption, S3Encryption::Kms { key: Some("k".into()), bucket_key: false });
    let minio = "url = \"s3://bucket\"\nendpoint = \"http://127.0.0.1:9000/\"\nallow_http = true";
    let StorePlace::S3(s3) = place(minio) else { panic!() };
    assert_eq!((s3.endpoint.as_deref(), s3.path_style), (Some("http://127.0.0.1:9000"), true));
    assert_eq!((s3.prefix.as_str(), s3.encryption), ("", S3Encryption::Default));
    let StorePlace::Azure(azure) = place("url = \"az://container/p\"\nemulator = true") else { panic!() };
    assert_eq!((azure.container.as_str(), azure.prefix.as_str(), azure.emulator), ("container", "p", true));
    let StorePlace::Gcs(gcs) = place("url = \"gs://bucket/p\"\nservice_account = \"a.json\"") else { panic!() };
    assert_eq!(gcs.service_account.as_deref(), Some(std::path::Path::new("/etc/pq/a.json")));
}

#[test]
fn a_url_that_names_no_store_is_refused() {
    let url = |url: &str, problem, mend| finds("store", &format!("url = \"{url}\""), "store.url", problem, mend);
    url("/var/lib/pq", "is not a URL", "file:///directory");
    url("file://archive", "names a host", "file://./directory");
    url("file:///", "names no directory", "file:///directory");
    url("ftp://a", "unknown kind", "s3://bucket");
    url("https://s3.example.org/bucket", "an address, not a bucket", "endpoint");
    url("s3://", "names no bucket", "s3://bucket");
    url("s3://b/a//c", "has a prefix", "single slashes");
    url("s3://b/a/../c", "has a prefix", "single slashes");
    url("s3://b/a b", "has a prefix", "single slashes");
    url("az://c?sig=1", "more than a place", "own keys");
}

#[test]
fn keys_of_another_kind_of_store_are_refused() {
    finds("store", "region = \"eu\"", "store.region", "is only for s3://, and url is file://", "remove it");
    finds("store", "allow_http = true", "store.allow_http", "is only for s3://, gs://, az://", "remove it");
    finds(
        "store",
        "url = \"gs://b\"\nprofile = \"p\"",
        "store.profile",
        "is only for s3://, and url is gs://",
        "remove",
    );
    finds("store", "url = \"s3://b\"\naccount = \"a\"", "store.account", "is only for az://", "correct url");
}

#[test]
fn credentials_and_encryption_of_a_store_fit_together() {
    let s3 =
        |below: &str, key, problem, mend| finds("store", &format!("url = \"s3://b\"\n{below}"), key, problem, mend);
    s3("access_key_id = \"a\"", "store.access_key_id", "has no secret", "secret_access_key");
    s3("secret_access_key = \"a\"", "store.secret_access_key", "has no id", "access_key_id");
    s3("session_token = \"a\"", "store.session_token", "not there", "access_key_id");
    s3("access_key_id = \"a\"\nsecret_access_key = \"a\"\nprofile = \"p\"", "store.profile", "beside", "keep one");
    s3("kms_key = \"k\"", "store.kms_key", "only for SSE-KMS", "aws:kms");
    s3("bucket_key = true\nencryption = \"AES256\"", "store.bucket_key", "only for SSE-KMS", "aws:kms");
    s3("endpoint = \"http://h\"", "store.endpoint", "clear text", "allow_http = true");
    s3("endpoint = \"h:9000\"", "store.endpoint", "neither http:// nor https://", "https://host:port");
    s3("endpoint = \"h\"", "store.endpoint", "is not a URL", "https://host:port");
    finds("store", "url = \"az://c\"\naccess_key = \"a\"\nsas_token = \"b\"", "store.sas_token", "beside", "keep one");
}

#[test]
fn http_listens_on_any_address_and_port() {
    finds("http", "listen = \"localhost:9410\"", "http.listen", "not an address and a port", "127.0.0.1:9410");
    assert!(sound(&with("http", "listen = \"off\"")).config.http.listen.is_none());
    for address in ["[::1]:0", "0.0.0.0:9410", "[::]:9410"] {
        let listen = sound(&with("http", &format!("listen = \"{address}\"\napi = \"off\""))).config.http.listen;
        assert_eq!(listen.map(|listen| listen.to_string()).as_deref(), Some(address));
    }
}

const TOKEN: &str = "token = [{ name = \"ops\", role = \"operator\", token = \"0123456789abcdef\" }]";

#[test]
fn the_api_is_not_opened_to_other_machines_without_tokens() {
    for address in ["0.0.0.0:9410", "[::]:9410", "192.0.2.1:9410", "[::ffff:192.0.2.1]:9410"] {
        let listen = format!("listen = \"{address}\"");
        finds("http", &listen, "http.listen", "can be reached from other machines", "[[http.token]]");
        finds("http", &format!("{listen}\ntoken = []"), "http.listen", "can be reached", "api = \"off\"");
        let api = sound(&with("http", &format!("{listen}\n{TOKEN}"))).config.http.api.expect("it is served");
        assert_eq!((api.tokens[0].name.as_str(), api.tokens[0].role), ("ops", Role::Operator));
        assert!(sound(&with("http", &format!("{listen}\napi = \"off\""))).config.http.api.is_none());
    }
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let api = sound(&with("http", &format!("listen = \"{address}\""))).config.http.api.expect("it is served");
        assert!(api.tokens.is_empty());
    }
}

#[test]
fn tokens_are_long_and_each_its_owners_own() {
    let token = |name: &str, token: &str| format!("{{ name = \"{name}\", role = \"admin\", token = \"{token}\" }}");
    let refuses = |tokens: &[String], key: &str, problem: &str, mend: &str| {
        finds("http", &format!("token = [{}]", tokens.join(", ")), key, problem, mend);
    };
    let sixteen = "0123456789abcdef";
    refuses(&[token("a b", sixteen)], "http.token.name", "holds more than letters", "dashboard");
    refuses(&[token("a", "0123456789abcde")], "http.token.token", "shorter than 16", "openssl rand");
    refuses(&[token("a", "0123456789 abcdef")], "http.token.token", "visible ASCII", "openssl rand");
    let twice = [token("a", sixteen), token("a", "fedcba9876543210")];
    refuses(&twice, "http.token.name", "the name of another token", "audit");
    refuses(&[token("a", sixteen), token("b", sixteen)], "http.token.token", "of another, too", "its own");
    let found = lines(&with("http", &format!("token = [{}]", token("a", "hidden"))));
    assert!(!found[0].contains("hidden"), "{found:?}");
}

#[test]
fn what_viewers_do_not_see_is_a_pointer_a_header_or_a_property() {
    let mask = "mask = [\"/cards/*/pan\", \"headers:authorization\", \"properties:user_id\"]";
    let masked = sound(&with("dlq", mask)).config.dlq.mask;
    assert_eq!(masked.pointers[0].segments(), ["cards", "*", "pan"]);
    assert_eq!((masked.headers, masked.properties), (vec!["authorization".to_owned()], vec!["user_id".to_owned()]));
    finds("dlq", "mask = [\"pan\"]", "dlq.mask[0]", "is no JSON pointer", "/customer/email");
    finds("dlq", "mask = [\"properties:priority\"]", "dlq.mask[0]", "names no property", "user_id");
}

#[test]
fn a_mistyped_log_level_is_not_taken_for_a_module() {
    finds("log", "level = \"inof\"", "log.level", "\"inof\" is not a log filter", "info");
    finds("log", "level = \"info,parqueduct=loud\"", "log.level", "is not a log filter", "info");
    let own = sound(&with("log", "level = \"warn,parqueduct::broker=debug\""));
    assert_eq!(own.config.log.level, "warn,parqueduct::broker=debug", "it is taken as it stands");
}

#[test]
fn the_process_has_a_name_and_times_that_fit() {
    finds("run", "instance = \"a-b\"", "run.instance", "\"a-b\" holds more", "archiver_1");
    assert_eq!(sound(&with("run", "instance = \"a_1\"")).config.instance, "a_1");
    finds("run", "flush_grace = \"49s\"", "run.flush_grace", "less than store.retry_timeout", "\"50s\" or more");
    finds("run", "unacked_age_max = \"60s\"", "run.unacked_age_max", "flush age", "well above");
    finds("run", "flush_grace = \"59m\"", "run.flush_grace", "1770s", "set it to \"58m\" or less");
    assert!(!is_warning("run", "flush_grace = \"58m\"") && is_warning("run", "flush_grace = \"59m\""));
    assert!(is_warning("run", "flush_grace = \"49s\"") && is_warning("run", "unacked_age_max = \"60s\""));
    let nameless = super::Surroundings { variable: &super::variable, read: &super::read, hostname: Some("---") };
    let found = super::load(std::path::Path::new("f"), super::SOUND, &nameless).expect_err("no name");
    assert_eq!(
        found.to_string(),
        "f:7: run.instance: is not set, and the host has no name to take: add instance = \"archiver_1\""
    );
}

#[test]
fn pipelines_are_named_once_and_keep_to_their_queues() {
    let second = |name: &str, queue: &str| {
        let text = format!("{}[[pipeline]]\nname = \"{name}\"\nqueue = \"{queue}\"\n", super::SOUND);
        lines(&(text + "format = \"json\"\nschema = \"a.json\"\n"))
    };
    assert_eq!(second("b", "b"), [""; 0]);
    assert_eq!(
        second("flights", "b"),
        ["14: pipeline.name: \"flights\" is also the pipeline of line 8: give each pipeline its own name"]
    );
    let rival = second("b", "flights");
    assert!(
        rival.len() == 1 && rival[0].starts_with("15: warning: pipeline.queue: \"flights\" is also consumed"),
        "{rival:?}"
    );
    assert_eq!(lines("[store]\nurl = \"file:///a\"\n"), ["1: pipeline: is missing: add a section [[pipeline]]"]);
    finds("pipeline", &format!("queue = \"{}\"", "q".repeat(256)), "pipeline.queue", "256 bytes", "shorten");
}

#[test]
fn a_queue_is_declared_only_when_asked() {
    let declare = |below: &str| sound(&with("pipeline", below)).config.pipelines[0].declare.clone();
    assert_eq!(declare("declare = false"), None);
    assert_eq!(declare("declare = true"), Some(Declare { queue_type: QueueType::Quorum, bind: vec![] }));
    let classic = "declare = true\nqueue_type = \"classic\"";
    let bound = format!("{classic}\nbind = [{{ exchange = \"e\", routing_key = \"k\" }}, {{ exchange = \"f\" }}]");
    let bind = vec![("e".to_owned(), "k".to_owned()), ("f".to_owned(), String::new())];
    assert_eq!(declare(&bound), Some(Declare { queue_type: QueueType::Classic, bind }));
    finds(
        "pipeline",
        "queue_type = \"quorum\"",
        "pipeline.queue_type",
        "only for a queue that is declared",
        "declare = true",
    );
    finds("pipeline", "bind = [{ exchange = \"e\" }]", "pipeline.bind", "only for a queue that is declared", "declare");
    finds("pipeline", "declare = true\nbind = [{ exchange = \"\" }]", "pipeline.bind.exchange", "is empty", "value");
}

#[test]
fn the_schemas_name_and_version_come_from_keys_or_the_file() {
    let identity = |below: &str| {
        let pipeline = sound(&with("pipeline", below)).config.pipelines.remove(0);
        (pipeline.events[0].schema_name.clone(), pipeline.events[0].schema_version)
    };
    let of = |name: &str, version| (name.to_owned(), version);
    assert_eq!(identity("schema = \"a/order.v12.json\""), of("order", 12));
    assert_eq!(identity("schema = \"order.json\""), of("order", 1));
    assert_eq!(identity("schema = \"order.vx.json\""), of("order.vx", 1));
    assert_eq!(identity("schema = \"order.v1.json\"\nschema_name = \"o\"\nschema_version = 3"), of("o", 3));
    finds("pipeline", "schema = \"or der.json\"", "pipeline.schema_name", "is not set", "add schema_name");
    finds("pipeline", "schema_name = \"o@1\"", "pipeline.schema_name", "holds more", "\"flight\"");
    finds("pipeline", "schema = \"missing\"", "pipeline.schema", "cannot be read", "create it");
}

#[test]
fn a_schema_that_is_learned_has_a_place_in_the_store() {
    let pipeline = |below: &str| {
        let loaded = sound(&with("pipeline", below));
        assert_eq!(loaded.warnings, [], "{below}");
        loaded.config.pipelines[0].clone()
    };
    let learned = pipeline("schema = \"infer\"");
    let event = &learned.events[0];
    assert_eq!(event.schema, std::path::Path::new("/meta/schemas/flights/v1"));
    assert_eq!((event.schema_name.as_str(), event.schema_version), ("flights", 1));
    let infer = learned.infer.expect("it learns");
    assert_eq!((infer.events, infer.patience.as_secs(), infer.new_fields), (1_000, 120, NewFields::Adopt));
    let learned = pipeline(
        "schema = \"infer\"\nformat = \"msgpack\"\nschema_name = \"f\"\nschema_version = 3\n\
         infer = { events = 7, patience = \"0s\", new_fields = \"report\" }",
    );
    let event = &learned.events[0];
    assert_eq!((event.schema.to_str(), event.schema_name.as_str()), (Some("/meta/schemas/flights/v3"), "f"));
    assert_eq!(learned.infer.map(|infer| (infer.events, infer.new_fields)), Some((7, NewFields::Report)));
    assert!(pipeline("schema = \"./infer\"").infer.is_none(), "a file of that name");

    finds("pipeline", "infer = { events = 7 }", "pipeline.infer", "is not used", "add schema = \"infer\"");
    let of = |more: &str| format!("schema = \"infer\"\n{more}");
    finds("pipeline", &of("format = \"avro\""), "pipeline.schema", "is not for format = \"avro\"", "name the file");
    let text = with("pipeline", &of("framing = \"confluent\""));
    let found = lines(&text.replace("[log]", "[registry]\nurls = [\"http://r\"]\n[log]"));
    assert!(found.len() == 1 && found[0].contains("bodies name their schema in the registry"), "{found:?}");
    let types = with("pipeline", "event = [{ name = \"placed\", schema = \"infer\" }]");
    let found = lines(&types.replace("schema = \"schemas/flight.v1.json\"\n", ""));
    assert!(found.len() == 1 && found[0].contains("not for one of several types of events"), "{found:?}");
    finds("pipeline", &of("infer = { patience = \"26m\" }"), "pipeline.infer.patience", "is more than 25m", "25m");
    // With a flush age of 60 s, and 7 m 30 s for which events are held while the store is away.
    let patient = |text: &str| of(&format!("infer = {{ patience = \"{text}\" }}"));
    assert!(!is_warning("pipeline", &patient("1290s")) && is_warning("pipeline", &patient("1291s")));
    finds("pipeline", &patient("25m"), "pipeline.infer.patience", "more than the 30 minutes", "\"1290s\" or less");
}

#[test]
fn pointers_and_partitions_are_understood() {
    finds("pipeline", "event_id = \"id\"", "pipeline.event_id", "\"id\" is not a JSON pointer", "write \"/id\"");
    finds("pipeline", "event_time = \"/a~\"", "pipeline.event_time", "is not a JSON pointer", "~0");
    finds(
        "pipeline",
        "event_time_format = \"unix_millis\"",
        "pipeline.event_time_format",
        "is not used",
        "add event_time",
    );
    let keys = |list: &str| {
        sound(&with("pipeline", &format!("partition_by = {list}"))).config.pipelines[0].events[0].partition_by.clone()
    };
    assert_eq!(keys("[]"), []);
    let [PartitionKey::Date, PartitionKey::Hour, PartitionKey::Field { name, pointer }] =
        &keys("[\"date\", \"hour\", \"/a/b\"]")[..]
    else {
        panic!()
    };
    assert_eq!((name.as_str(), pointer.as_str()), ("b", "/a/b"));
    let refuses = |entry: &str, problem, mend| {
        finds("pipeline", &format!("partition_by = [{entry}]"), "pipeline.partition_by[0]", problem, mend);
    };
    refuses("\"day\"", "\"day\" is not known", "\"date\", \"hour\" or a JSON pointer");
    refuses("\"/a b\"", "cannot be that of a directory", "letters, digits and _");
    refuses("\"/0\"", "cannot be that of a directory", "not starting with a digit");
    refuses("\"/\"", "cannot be that of a directory", "letters");
    refuses("\"/x/date\"", "of the event's time", "another field");
    finds("pipeline", "partition_by = [\"/a/b\", \"/c/B\"]", "pipeline.partition_by[1]", "another entry", "keep one");
}

#[test]
fn flushes_leave_room_in_the_window_and_time_for_the_broker() {
    let flush = |below: &str| sound(&with("pipeline", below)).config.pipelines[0].flush.clone();
    let age = std::time::Duration::from_secs(60);
    assert_eq!(flush("prefetch = 1000"), Flush { rows: 700, bytes: 64 << 20, age });
    assert_eq!(flush("prefetch = 1").rows, 1);
    assert_eq!(flush("prefetch = 65535\nflush = { bytes = \"1MB\" }"), Flush { rows: 35_000, bytes: 1_000_000, age });
    assert_eq!(flush("prefetch = 65535\nflush.rows = 45874").rows, 45_874);
    finds(
        "pipeline",
        "flush = { rows = 35001 }",
        "pipeline.flush.rows",
        "35001 is more than 70 % of prefetch 50000",
        "35000",
    );
    finds(
        "pipeline",
        "flush = { age = \"26m\" }",
        "pipeline.flush.age",
        "26m is more than 25m (the broker takes back",
        "25m",
    );
    finds("pipeline", "flush = { age = \"6m\" }", "pipeline.flush.age", "leaves little time", "\"5m\" or less");
    assert!(is_warning("pipeline", "flush = { age = \"6m\" }") && !is_warning("pipeline", "flush = { age = \"5m\" }"));
}

#[test]
fn group_rules_match_something_and_do_one_thing() {
    let rule = |text: &str| format!("rule = [{{ {text} }}]");
    let finds = |text: &str, key: &str, problem: &str, mend: &str| {
        let found = lines(&with("dlq", &rule(text)));
        let [line] = found.as_slice() else { panic!("{text}: {found:#?}") };
        assert!(line.starts_with(&format!("6: dlq.{key}: ")), "{line}");
        assert!(line.contains(problem) && line.contains(mend), "{line}");
    };
    finds("merge = \"a\"", "rule", "is for every issue there is", "add pipeline, code or path");
    finds("code = \"validate\"", "rule", "does nothing", "add merge, split or primary");
    finds(
        "code = \"validate\", merge = \"a\", primary = 5",
        "rule.primary",
        "stands beside another thing to do",
        "keep one of them",
    );
    finds(
        "code = \"validate.tpye\", merge = \"a\"",
        "rule.code",
        "there is no code",
        "did you mean \"validate.type\"?",
    );
    finds("code = \"val\", merge = \"a\"", "rule.code", "there is no code \"val\"", "docs/dead-letters.md");
    finds("pipeline = \"fligths\", primary = 1", "rule.pipeline", "there is no pipeline", "did you mean \"flights\"?");
    finds("path = \"tailnum\", primary = 1", "rule.path", "\"tailnum\" is not a path", "starts with \"/\"");
    finds("path = \"/a\", primary = 101", "rule.primary", "101 is out of range", "between -100 and 100");
    finds("path = \"/a\", merge = \"a\\nb\"", "rule.merge", "is no title", "short title");
}

#[test]
fn a_group_rule_is_for_its_pipeline_or_for_all() {
    let text = "[[dlq.rule]]\ncode = \"validate\"\npath = \"/legs/*/gate\"\nmerge = \"gates\"\n\
                [[dlq.rule]]\npipeline = \"orders\"\npath = \"/a\"\nsplit = \"routing_key\"\n\
                [[dlq.rule]]\npath = \"/tailnum\"\nprimary = -100\n";
    let orders = with("pipeline", "").replace("\"flights\"", "\"orders\"");
    let orders = &orders[orders.find("[[pipeline]]").expect("a section")..];
    let config = sound(&format!("{}{orders}{text}", with("log", ""))).config;
    let rules = |name: &str| config.pipeline(name).expect("there").dlq_rules.clone();
    let segments = |path: &[&str]| Some(path.iter().map(|segment| (*segment).to_owned()).collect::<Vec<_>>());
    let [gates, tail] = &rules("flights")[..] else { panic!("two rules are for flights") };
    assert_eq!(gates.code.as_deref(), Some("validate"));
    assert_eq!(gates.path, segments(&["legs", "*", "gate"]));
    assert_eq!(gates.action, RuleAction::Merge("gates".to_owned()));
    assert_eq!((tail.action.clone(), tail.code.clone()), (RuleAction::Primary(-100), None));
    assert_eq!(rules("orders").len(), 3);
    assert_eq!(rules("orders")[1].action, RuleAction::Split(SplitBy::RoutingKey));
}

#[test]
fn a_breaker_is_read_and_its_ratio_is_one() {
    let breaker = |text: &str| format!("breaker = {{ {text} }}");
    let config = sound(&with("pipeline", &breaker("ratio = 1, events = 50, schema = \"pause\""))).config;
    let found = &config.pipelines[0].breaker;
    assert_eq!((found.ratio, found.events, found.schema, found.ours), (1.0, 50, OnTrip::Pause, OnTrip::Pause));
    assert_eq!(found.pause, std::time::Duration::from_secs(30));
    let finds = |text: &str, key: &str, problem: &str, mend: &str| {
        finds("pipeline", &breaker(text), &format!("pipeline.breaker.{key}"), problem, mend);
    };
    finds("ratio = 1.5", "ratio", "is no ratio", "a number from 0 to 1, such as 0.5");
    finds("ratio = 0", "ratio", "0 is less than 0.01", "set it to 0.01 or more");
    finds("ratio = \"half\"", "ratio", "is text", "a number from 0 to 1");
    finds("schema = \"stop\"", "schema", "\"stop\" is not known", "\"divert\" or \"pause\"");
    finds("pause = 30", "pause", "without a unit", "\"30s\"");
}

/// [`SOUND`](super::SOUND) and a pipeline of dead letters with `lines`.
fn beside_events(lines: &str) -> String {
    format!("{}[[pipeline]]\nname = \"dead\"\nqueue = \"dead\"\nkind = \"dead-letter\"\n{lines}", super::SOUND)
}

#[test]
fn a_pipeline_of_dead_letters_needs_no_schema_and_knows_whom_its_letters_are_given_back_to() {
    let target = |lines: &str, queue: &str| {
        let loaded = sound(&beside_events(lines));
        assert_eq!(loaded.warnings, []);
        loaded.config.replay_target("dead", queue).map(|pipeline| pipeline.name.clone())
    };
    assert_eq!(target("", "flights"), Some("flights".to_owned()), "whose queue it is");
    assert_eq!(target("", "other"), None);
    assert_eq!(target("replay_to = \"flights\"\nprefetch = 100\n", "other"), Some("flights".to_owned()));
    let config = sound(&beside_events("")).config;
    assert_eq!(config.replay_target("flights", "any").map(|pipeline| pipeline.name.as_str()), Some("flights"));
    assert!(config.replay_target("none", "any").is_none());
}

#[test]
fn what_a_pipeline_of_dead_letters_cannot_use_is_refused() {
    assert_eq!(
        lines(&beside_events("format = \"json\"\nevent_id = \"/id\"\n")),
        [
            "17: pipeline.format: is not for a pipeline of dead letters: remove it",
            "18: pipeline.event_id: is not for a pipeline of dead letters: remove it",
        ]
    );
    assert_eq!(
        lines(&beside_events("replay_to = \"dead\"\n")),
        [
            "17: pipeline.replay_to: \"dead\" is a pipeline of dead letters itself: name a pipeline of events, or leave it out"
        ]
    );
    assert_eq!(
        lines(&beside_events("replay_to = \"gone\"\n")),
        ["17: pipeline.replay_to: there is no pipeline \"gone\": name a pipeline of events, or leave it out"]
    );
    assert_eq!(
        lines(&with("pipeline", "replay_to = \"flights\"")),
        ["9: warning: pipeline.replay_to: is not used: add kind = \"dead-letter\", or remove it"]
    );
    let text = super::SOUND.replace("format = \"json\"\nschema = \"schemas/flight.v1.json\"\n", "");
    assert_eq!(
        lines(&text),
        [
            "8: pipeline.format: is missing: add format = \"json\", or what it is here",
            "8: pipeline.schema: is missing: add schema = \"schemas/flight.v1.json\", or what it is here",
        ]
    );
}
