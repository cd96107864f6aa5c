//! Dead letters as the program stores and finds them.

use crate::harness::program::parqueduct_ok;
use crate::harness::setting::{Options, Setting};

/// Where nobody is: these tests take files.
const NOWHERE: &str = "amqp://nobody:nothing@127.0.0.1:1/%2f";

fn setting() -> Setting {
    Setting::new(&Options { more: "[dlq]\nblob_bytes = \"1KiB\"", ..Options::flights(NOWHERE) })
}

/// Takes `lines` through the pipeline.
fn ingest(setting: &Setting, name: &str, lines: &[String]) {
    let file = setting.directory.path().join(name);
    std::fs::write(&file, lines.join("\n") + "\n").expect("writable");
    let file = file.to_str().expect("a path of text");
    parqueduct_ok(&["ingest", "--config", setting.config_text(), "--pipeline", "flights", file]);
}

fn dlq(setting: &Setting, words: &[&str]) -> String {
    parqueduct_ok(&[&["dlq", "--config", setting.config_text()], words].concat())
}

#[test]
fn a_large_body_lies_by_itself_once_and_comes_back_whole() {
    let setting = setting();
    let large = format!("{{\"id\":\"large\",\"carrier\":\"{}\"}}", "x".repeat(5_000));
    ingest(&setting, "events.ndjson", &[large.clone(), "{\"id\":\"small\"}".to_owned(), large.clone()]);

    let blobs = setting.store().join("dlq/blobs/flights");
    let dates: Vec<_> =
        std::fs::read_dir(&blobs).expect("there are bodies").map(|entry| entry.unwrap().path()).collect();
    assert_eq!(dates.len(), 1);
    let stored: Vec<_> = std::fs::read_dir(&dates[0]).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(stored.len(), 1, "the same body is stored once: {stored:?}");
    assert_eq!(std::fs::read(&stored[0]).unwrap(), large.as_bytes());

    let letters = setting.dead_letters();
    assert_eq!(letters.len(), 3);
    let listed = dlq(&setting, &["search", "--where", "/id=large", "--json"]);
    assert_eq!(listed.lines().count(), 2);
    for line in listed.lines() {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(dlq(&setting, &["show", letter["id"].as_str().unwrap(), "--body", "raw"]), large);
    }
    assert_eq!(dlq(&setting, &["search", "--text", "small", "--json"]).lines().count(), 1);
}

#[test]
fn pages_of_a_search_join_into_all_of_it() {
    let setting = setting();
    let lines: Vec<String> = (0..250).map(|n| format!("{{\"id\":\"{n}\",\"flight\":{}}}", n % 10)).collect();
    ingest(&setting, "events.ndjson", &lines);
    let all = dlq(&setting, &["search", "--where", "/flight=7", "--json"]);
    assert_eq!(all.lines().count(), 25);
    let mut pages = String::new();
    let mut after: Option<String> = None;
    loop {
        let mut words = vec!["search", "--where", "/flight=7", "--json", "--limit", "10"];
        words.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
        let page = dlq(&setting, &words);
        let Some(last) = page.lines().last() else { break };
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        after = Some(last["cursor"].as_str().unwrap().to_owned());
        pages += &page;
    }
    assert_eq!(pages, all);
}
