//! The commands against a store in memory: golden renderings, promised keys, exact bytes.

use bytes::Bytes;
use clap::Parser;
use serde_json::Value;

use super::*;
use crate::dlq::record::samples::{at, id, letter, nulls, truncated};
use crate::dlq::record::{self, DeadLetter};
use crate::dlq::records::Cursor;
use crate::event::{HeaderValue, Unreadable};

#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Three flights that are null where they may not be, and one cut off.
fn letters() -> Vec<DeadLetter> {
    vec![
        letter("flights", 10, 1, b"{\"id\":\"secret-1\",\"tailnum\":null}", &nulls()),
        letter("flights", 20, 2, b"{\"id\":\"secret-2\"", &truncated(16)),
        letter("flights", 30, 3, b"{\"id\":\"secret-3\"}", &nulls()),
        letter("flights", 40, 4, b"\xff\xfe", &nulls()),
    ]
}

async fn store_of(letters: &[DeadLetter]) -> Store {
    let store = Store::memory();
    for letter in letters {
        let path = record::path(&letter.origin.pipeline, letter.dead_at, letter.id, "host_1", 0);
        store.create(&path, record::encode(std::slice::from_ref(letter)).unwrap()).await.unwrap();
    }
    store
}

struct Ran {
    outcome: anyhow::Result<Outcome>,
    out: String,
    errors: String,
}

async fn run_in(store: &Store, width: Option<usize>, words: &[&str]) -> Ran {
    let words = std::iter::once("dlq").chain(words.iter().copied());
    let command = CommandLine::try_parse_from(words).unwrap().command;
    let surroundings = Surroundings { store: store.clone(), now: at(100), actor: "ann@tower".to_owned(), width };
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let outcome = run(&command, surroundings, &mut out, &mut errors).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { outcome, out: text(out), errors: text(errors) }
}

/// What a command writes that goes well.
async fn written(store: &Store, words: &[&str]) -> String {
    let ran = run_in(store, None, words).await;
    assert_eq!((ran.outcome.unwrap(), ran.errors.as_str()), (Outcome::Complete, ""));
    ran.out
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_list_is_a_table_newest_first_without_any_value_of_a_body() {
    let store = store_of(&letters()).await;
    let expected = "\
ID                          DEAD AT (UTC)        PIPELINE  GROUP               WHAT IS WRONG
ID-4  2013-01-01 00:00:40  flights   1-dc573f3993ed91d0  `/arrival/delay_min` is null, the schema asks for integer (+1)
ID-3  2013-01-01 00:00:30  flights   1-dc573f3993ed91d0  `/arrival/delay_min` is null, the schema asks for integer (+1)
ID-2  2013-01-01 00:00:20  flights   GROUP  the body ends in the middle of a JSON document
ID-1  2013-01-01 00:00:10  flights   1-dc573f3993ed91d0  `/arrival/delay_min` is null, the schema asks for integer (+1)
";
    let mut expected = expected.replace("GROUP  the", &format!("{}  the", letters()[1].group()));
    for letter in letters() {
        expected = expected.replace(&format!("ID-{}", letter.id.random()), &letter.id.to_string());
    }
    assert_eq!(written(&store, &["list"]).await, expected);

    let narrow = run_in(&store, Some(100), &["list", "--limit", "2"]).await.out;
    assert!(narrow.lines().all(|line| line.chars().count() <= 100), "{narrow}");
    assert!(narrow.contains("`/arrival/delay_min`…\n"), "{narrow}");
    let cursor = Cursor::of(at(30), letters()[2].id).to_string();
    let end = format!("\n\nthe newest 2; --limit shows more, --after {cursor} goes on\n");
    assert!(narrow.ends_with(&end), "{narrow}");
    let rest = written(&store, &["list", "--limit", "2", "--after", &cursor]).await;
    assert_eq!(rest.lines().skip(1).collect::<Vec<_>>(), expected.lines().skip(3).collect::<Vec<_>>());
}

#[tokio::test]
async fn groups_are_a_table_of_sentences() {
    let store = store_of(&letters()).await;
    let all = letters();
    let expected = "\
GROUP               PIPELINE  STATE  OPEN  COUNTED  SHOWING  FIRST SEEN (UTC)     LAST SEEN (UTC)      WHAT IS WRONG
DELAY  flights   open      3        3        3  2013-01-01 00:00:10  2013-01-01 00:00:40  `/arrival/delay_min` is null, the schema asks for integer
CUT  flights   open      1        1        1  2013-01-01 00:00:20  2013-01-01 00:00:20  the body ends in the middle of a JSON document
TAIL  flights   open      0        0        3  2013-01-01 00:00:10  2013-01-01 00:00:40  `/tailnum` is null, the schema asks for string

COUNTED adds up to all letters: each is counted by its first issue. SHOWING counts a letter in every group whose issue it has.
";
    let expected = expected
        .replace("DELAY", all[0].issues[0].group.as_str())
        .replace("TAIL", all[0].issues[1].group.as_str())
        .replace("CUT", all[1].group().as_str());
    assert_eq!(written(&store, &["groups"]).await, expected);
    let first = run_in(&store, Some(80), &["groups", "--limit", "1"]).await.out;
    assert!(first.ends_with("\n\nthe largest 1 of 3 groups; --limit shows more\n"), "{first}");
}

#[tokio::test]
async fn groups_as_json_have_the_promised_keys_and_add_up() {
    let store = store_of(&letters()).await;
    let groups = lines(&written(&store, &["groups", "--json"]).await);
    let promised = [
        "group",
        "pipeline",
        "code",
        "path",
        "title",
        "state",
        "count",
        "open",
        "showing",
        "first_seen",
        "last_seen",
        "samples",
        "producers",
        "producers_other",
        "minutes",
        "hours",
        "said",
    ];
    assert!(groups.iter().all(|group| keys(group) == promised));
    let hours = groups[0]["hours"].as_array().unwrap();
    assert_eq!(hours.iter().map(|hour| hour[1].as_u64().unwrap()).sum::<u64>(), 3, "as many as show it");
    assert_eq!(groups.iter().map(|group| group["count"].as_u64().unwrap()).sum::<u64>(), 4);
    assert_eq!(groups.iter().map(|group| group["showing"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 1, 3]);
    assert_eq!(groups[0]["group"], "1-dc573f3993ed91d0");
    assert_eq!(groups[0]["path"], "/arrival/delay_min");
    assert_eq!(groups[0]["first_seen"], "2013-01-01T00:00:10.000000Z");
}

#[tokio::test]
async fn list_and_export_as_json_have_the_promised_keys_and_the_exact_body() {
    let store = store_of(&letters()).await;
    let listed = lines(&written(&store, &["list", "--json"]).await);
    let exported = lines(&written(&store, &["export", "--json"]).await);
    assert_eq!(listed.iter().rev().collect::<Vec<_>>(), exported.iter().collect::<Vec<_>>());
    assert_eq!(lines(&written(&store, &["export"]).await), exported);
    let promised = [
        "id",
        "pipeline",
        "queue",
        "exchange",
        "routing_key",
        "message_id",
        "properties",
        "headers",
        "body_base64",
        "stage",
        "code",
        "issues",
        "attempts",
        "received_at",
        "dead_at",
        "state",
        "cursor",
    ];
    assert!(exported.iter().all(|letter| keys(letter) == promised));
    let first = &exported[0];
    assert_eq!(keys(&first["issues"][0]), ["path", "expected", "actual", "group", "code", "instance_path", "offset"]);
    assert_eq!(first["id"], letters()[0].id.to_string());
    assert_eq!(first["message_id"], "m-1");
    assert_eq!(first["properties"]["content_type"], "application/json");
    assert_eq!(first["headers"].to_string(), r#"{"x-source":{"S":"atc"},"x-attempt":{"l":"3"}}"#);
    assert_eq!(first["received_at"], "2013-01-01T00:00:08.500000Z");
    assert_eq!(first["attempts"][0]["source"], "queue");
    assert_eq!(exported[1]["issues"][0]["offset"], 16);
    assert_eq!(exported[3]["body_base64"], "//4=");
    let id = letters()[0].id.to_string();
    assert_eq!(lines(&written(&store, &["show", &id, "--json"]).await), exported[..1]);
}

#[tokio::test]
async fn conditions_choose_what_is_shown() {
    let store = store_of(&letters()).await;
    let chosen = async |words: &[&str]| {
        let listed = lines(&written(&store, &[&["export", "--json"], words].concat()).await);
        listed.iter().map(|letter| letter["message_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&["--code", "decode"]).await, ["m-2"]);
    assert_eq!(chosen(&["--group", "1-dc573f3993ed91d0", "--limit", "2"]).await, ["m-1", "m-3"]);
    assert_eq!(chosen(&["--since", "75s", "--until", "2013-01-01T00:00:40Z"]).await, ["m-3"]);
    assert_eq!(chosen(&["--pipeline", "flights", "--limit", "0"]).await, [""; 0]);
    assert_eq!(chosen(&["--message-id", "m-3"]).await, ["m-3"]);
    assert_eq!(chosen(&["--producer", "nobody"]).await, [""; 0]);
    assert_eq!(chosen(&["--header", "x-source=atc", "--text", "secret-2"]).await, ["m-2"]);
    assert_eq!(chosen(&["--where", "/id=secret-1"]).await, ["m-1"]);
    assert_eq!(chosen(&["--state", "recovered"]).await, [""; 0]);
    for wrong in [["--group", "mine"], ["--since", "soon"], ["--header", "x"], ["--where", "id=1"], ["--after", "1"]] {
        assert!(CommandLine::try_parse_from(["dlq", "list", wrong[0], wrong[1]]).is_err());
    }
}

#[tokio::test]
async fn show_tells_everything_about_one_letter() {
    let mut letter = letters().remove(0);
    letter.event_id = Some("secret-1".into());
    letter.flush_id = "01FLUSH".into();
    letter.message.properties.headers.as_mut().unwrap().push(("evil\u{1b}[2J".into(), HeaderValue::Void));
    let store = store_of(std::slice::from_ref(&letter)).await;
    let expected = r#"dead letter ID
  pipeline      flights
  queue         flights
  exchange      flights
  routing key   flight.jfk
  delivery tag  1
  redelivered   false
  received      2013-01-01T00:00:08.500000Z
  dead          2013-01-01T00:00:10.000000Z
  failed at     validate, validate.type
  format        json
  schema        flight@1
  instance      host_1, shard 0
  version       0.1.0
  flush         01FLUSH
  body hash     HASH
  event id      secret-1

issues
  `/arrival/delay_min` is null, the schema asks for integer
    validate.type  group 1-dc573f3993ed91d0
  `/tailnum` is null, the schema asks for string
    validate.type  group TAIL

properties
  content_type  application/json
  message_id    m-1
  app_id        tower

headers
  x-source       S "atc"
  x-attempt      l "3"
  evil\u{1b}[2J  V null

attempts
  1  2013-01-01T00:00:10.000000Z  from queue  validate.type  group 1-dc573f3993ed91d0  by host_1 0.1.0

body (32 bytes, JSON)
{
  "id": "secret-1",
  "tailnum": null
}
"#;
    let expected = expected
        .replace("ID\n", &format!("{}\n", letter.id))
        .replace("TAIL", letter.issues[1].group.as_str())
        .replace("HASH", &format!("{:032x}", u128::from_be_bytes(letter.body_hash)));
    assert_eq!(written(&store, &["show", &letter.id.to_string()]).await, expected);
}

#[tokio::test]
async fn what_could_not_be_read_is_exported_as_it_came_and_shown_in_hexadecimal() {
    let mut letter = letters().remove(0);
    let parts = [Unreadable::new("message_id", b"m-\xff"), Unreadable::new(Unreadable::HEADERS, &[7; 300])];
    letter.message.unreadable = parts.to_vec();
    let store = store_of(std::slice::from_ref(&letter)).await;
    let exported = lines(&written(&store, &["export", "--json"]).await).remove(0);
    assert_eq!(keys(&exported).last(), Some(&"unreadable"));
    let first = exported["unreadable"][0].to_string();
    assert_eq!(first, r#"{"place":"message_id","bytes_base64":"bS3/"}"#);
    let shown = written(&store, &["show", &letter.id.to_string()]).await;
    assert!(shown.contains("\nunreadable, as it came (? stands for it above)\n  message_id  6d2dff\n"), "{shown}");
    assert!(shown.contains("0707... and 44 bytes more; --json has all\n"), "{shown}");
}

#[tokio::test]
async fn show_marks_where_a_body_breaks_and_gives_raw_bytes() {
    let all = letters();
    let store = store_of(&all).await;
    let (cut, bytes) = (all[1].id.to_string(), all[3].id.to_string());
    let shown = written(&store, &["show", &cut]).await;
    assert!(shown.contains("decode.json.truncated  group"), "{shown}");
    assert!(shown.ends_with("it breaks at byte 16:\n  {\"id\":\"secret-2\"\n                  ^\n"), "{shown}");
    assert_eq!(written(&store, &["show", &cut, "--body", "raw"]).await, "{\"id\":\"secret-2\"");
    assert!(written(&store, &["show", &bytes]).await.contains("00000000  ff fe"));
}

#[tokio::test]
async fn an_id_that_is_not_there_is_an_error_with_a_way_on() {
    let store = store_of(&letters()).await;
    let missing = id(10, 99).to_string();
    let error = run_in(&store, None, &["show", &missing]).await.outcome.unwrap_err().to_string();
    let expected = format!("no dead letter {missing} in memory:; `parqueduct dlq list` shows which there are");
    assert_eq!(error, expected);
    assert!(CommandLine::try_parse_from(["dlq", "show", "short"]).is_err());
}

#[tokio::test]
async fn an_empty_result_says_so_to_people_and_nothing_to_programs() {
    let empty = Store::memory();
    for command in ["list", "groups"] {
        assert_eq!(written(&empty, &[command]).await, "no dead letters: memory: holds none\n");
        assert_eq!(written(&empty, &[command, "--json"]).await, "");
    }
    let store = store_of(&letters()).await;
    let told = written(&store, &["list", "--pipeline", "orders", "--since", "1h"]).await;
    let expected =
        "no dead letters: none in memory: is of pipeline orders and dead since 2012-12-31T23:01:40.000000Z\n";
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_broken_file_is_named_once_and_the_rest_is_shown() {
    let store = store_of(&letters()).await;
    let path = "dlq/records/v1/flights/date=2013-01-01/00000000000000000000000000-host_1-0.parquet";
    store.create(path, Bytes::from_static(b"broken")).await.unwrap();
    for (command, shown) in [("list", 5), ("groups", 6), ("export", 4)] {
        let ran = run_in(&store, None, &[command]).await;
        assert_eq!(ran.outcome.unwrap().exit_code(), 1);
        assert_eq!(ran.out.lines().count(), shown, "{}", ran.out);
        let expected = format!("dead letters in {path} cannot be read and are left out: not a readable parquet file");
        assert!(ran.errors.starts_with(&expected), "{}", ran.errors);
        assert_eq!(ran.errors.lines().count(), 1, "{}", ran.errors);
    }
}

#[tokio::test]
async fn bodies_and_files_are_exported_whole() {
    let all = letters();
    let store = store_of(&all).await;
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();

    let said = written(&store, &["export", "--bodies", &place("bodies")]).await;
    assert_eq!(said, format!("4 bodies written to {}\n", place("bodies")));
    for letter in &all {
        let body = std::fs::read(place(&format!("bodies/{}.body", letter.id))).unwrap();
        assert_eq!(body, letter.message.body);
    }

    let said = written(&store, &["export", "--output", &place("letters.parquet")]).await;
    assert_eq!(said, format!("4 dead letters written to {}\n", place("letters.parquet")));
    let file = std::fs::read(place("letters.parquet")).unwrap();
    assert_eq!(record::decode(file.into()).unwrap(), all);

    written(&store, &["export", "--output", &place("letters.ndjson")]).await;
    let file = std::fs::read_to_string(place("letters.ndjson")).unwrap();
    assert_eq!(file, written(&store, &["export", "--json"]).await);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no draft is left behind: {left:?}");

    let nowhere = run_in(&store, None, &["export", "--output", &place("no/where.parquet")]).await.outcome;
    assert!(nowhere.unwrap_err().to_string().starts_with("cannot write "));
}

/// A pipe whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_pipe_ends_quietly() {
    let store = store_of(&letters()).await;
    let show = letters()[0].id.to_string();
    for words in [vec!["list"], vec!["list", "--json"], vec!["groups"], vec!["export"], vec!["show", &show]] {
        let command = CommandLine::try_parse_from([vec!["dlq"], words].concat()).unwrap().command;
        let surroundings =
            Surroundings { store: store.clone(), now: at(100), actor: "ann@tower".to_owned(), width: None };
        let mut errors = Vec::new();
        let outcome = run(&command, surroundings, &mut Closed, &mut errors).await.unwrap();
        assert_eq!((outcome, errors.len()), (Outcome::Complete, 0));
    }
}

/// What is wrong with a command, in one line.
async fn refused(store: &Store, words: &[&str]) -> String {
    format!("{:#}", run_in(store, None, words).await.outcome.expect_err("it is refused"))
}

#[tokio::test]
async fn groups_are_decided_about_by_somebody_for_a_reason_and_the_audit_tells_it() {
    let store = store_of(&letters()).await;
    let (delay, cut) = (letters()[0].group().to_string(), letters()[1].group().to_string());
    let said = written(&store, &["acknowledge", &delay, "--why", "asked the tower", "--owner", "bob"]).await;
    assert_eq!(said, "1 group is acknowledged, says ann@tower\n");
    let said = written(&store, &["ignore", &delay, &cut, "--why", "a test", "--actor", "eve"]).await;
    assert_eq!(said, "2 groups are ignored, says eve\n");
    written(&store, &["resolve", &delay, "--why", "fixed", "--as-of", "flight@2"]).await;

    let told = lines(&written(&store, &["audit", "--json"]).await);
    let kinds: Vec<_> = told.iter().map(|entry| entry["event"]["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["group_acknowledged", "group_ignored", "group_ignored", "group_resolved"]);
    assert_eq!(keys(&told[0]), ["seq", "at", "actor", "reason", "event", "prev", "hash"]);
    assert_eq!((told[0]["actor"].as_str(), told[0]["reason"].as_str()), (Some("ann@tower"), Some("asked the tower")));
    assert_eq!(told[0]["event"]["owner"], "bob");
    assert_eq!(told[3]["event"]["as_of"]["schema"], "flight@2");
    assert_eq!(told[3]["prev"], told[2]["hash"]);
    assert_eq!(lines(&written(&store, &["audit", "--json", "--group", &cut]).await).len(), 1);
    assert_eq!(lines(&written(&store, &["audit", "--json", "--since", "1h"]).await).len(), 4);
    let table = written(&store, &["audit", "--group", &cut]).await;
    let expected = format!(
        "ENTRY  AT (UTC)             WHO  WHAT           ABOUT               WHY\n    3  2013-01-01 00:01:40  eve  group ignored  {cut}  a test\n"
    );
    assert_eq!(table, expected);
    let verified = written(&store, &["audit", "verify"]).await;
    assert_eq!(
        verified,
        format!("4 entries, whole and in order; the last one is {}\n", told[3]["hash"].as_str().unwrap())
    );
}

#[tokio::test]
async fn nothing_is_decided_without_a_reason_or_about_what_is_not_there() {
    let store = store_of(&letters()).await;
    let delay = letters()[0].group().to_string();
    for words in
        [["ignore", delay.as_str()].as_slice(), &["ignore", "--why", "because"], &["ignore", "x", "--why", "y"]]
    {
        assert!(CommandLine::try_parse_from(std::iter::once("dlq").chain(words.iter().copied())).is_err(), "{words:?}");
    }
    let no_group = refused(&store, &["ignore", &delay, "1-00ff", "--why", "because"]).await;
    assert!(no_group.contains("no dead letter was ever in group 1-00ff"), "{no_group}");
    let no_reason = refused(&store, &["ignore", &delay, "--why", " "]).await;
    assert!(no_reason.contains("no reason is given"), "{no_reason}");
    assert_eq!(written(&store, &["audit"]).await, "nothing of that kind was decided in memory:\n");
    assert!(written(&store, &["audit", "verify"]).await.starts_with("0 entries, whole"));
}

#[tokio::test]
async fn an_audit_that_was_changed_says_where() {
    let store = store_of(&letters()).await;
    let delay = letters()[0].group().to_string();
    for why in ["one", "two", "three"] {
        written(&store, &["ignore", &delay, "--why", why]).await;
    }
    let path = "dlq/log/v1/00000000000000000002.json";
    let entry = String::from_utf8(store.get(path).await.unwrap().to_vec()).unwrap();
    store.delete(path).await.unwrap();
    store.create(path, entry.replace("\"two\"", "\"too\"").into()).await.unwrap();
    let broken = refused(&store, &["audit", "verify"]).await;
    assert!(broken.contains("entry 3 of the log of dead letters cannot be trusted"), "{broken}");
    let undecided = refused(&store, &["reopen", &delay, "--why", "because"]).await;
    assert!(undecided.contains("nothing was decided") && undecided.contains("entry 3"), "{undecided}");
}

#[tokio::test]
async fn groups_are_shown_by_their_state() {
    let store = store_of(&letters()).await;
    let (delay, cut) = (letters()[0].group().to_string(), letters()[1].group().to_string());
    written(&store, &["acknowledge", &delay, "--why", "asked the tower", "--owner", "bob"]).await;
    // As of a time before its only letter, which is news then.
    written(&store, &["resolve", &cut, "--why", "fixed", "--as-of", "2013-01-01T00:00:15Z"]).await;
    let groups = lines(&written(&store, &["groups", "--json"]).await);
    let state = |id: &str| groups.iter().find(|group| group["group"] == id).unwrap();
    assert_eq!((&state(&delay)["state"], &state(&cut)["state"]), (&"acknowledged".into(), &"regressed".into()));
    let said = &state(&delay)["said"];
    assert_eq!(keys(said), ["at", "actor", "reason", "verdict"]);
    assert_eq!((&said["actor"], &said["reason"]), (&"ann@tower".into(), &"asked the tower".into()));
    assert_eq!(said["verdict"]["acknowledged"]["owner"], "bob");
    let of = async |words: &[&str]| {
        let shown = lines(&written(&store, &[&["groups", "--json"], words].concat()).await);
        shown.iter().map(|group| group["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&["--state", "regressed"]).await, ["regressed"]);
    assert_eq!(of(&["--state", "open", "--state", "acknowledged"]).await, ["acknowledged", "open"]);
    written(&store, &["resolve", &cut, "--why", "fixed again"]).await;
    assert_eq!(of(&["--state", "resolved"]).await, ["resolved"]);
    let none = written(&store, &["groups", "--state", "ignored"]).await;
    assert_eq!(none, "no group of those that are meant is ignored\n");
    let words = ["dlq", "groups", "--state", "shut"];
    assert!(CommandLine::try_parse_from(words).err().unwrap().to_string().contains("those are open, acknowledged"));
}

#[tokio::test]
async fn groups_are_shown_also_when_the_log_is_broken() {
    let store = store_of(&letters()).await;
    let delay = letters()[0].group().to_string();
    written(&store, &["acknowledge", &delay, "--why", "asked"]).await;
    written(&store, &["ignore", &delay, "--why", "a test"]).await;
    let path = "dlq/log/v1/00000000000000000002.json";
    store.delete(path).await.unwrap();
    store.create(path, Bytes::from_static(b"{")).await.unwrap();
    let ran = run_in(&store, None, &["groups", "--json"]).await;
    assert_eq!(lines(&ran.out)[0]["state"], "acknowledged", "{}", ran.out);
    let error = format!("{:#}", ran.outcome.unwrap_err());
    assert!(error.contains("entry 2 of the log of dead letters cannot be trusted"), "{error}");
}
