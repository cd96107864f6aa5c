//! `parqueduct schema`: what a schema gives, and what it says of samples.

use serde_json::Value;

use crate::harness::program::{parqueduct, parqueduct_ok};
use crate::harness::python;
use crate::harness::setting::repository;

fn path(name: &str) -> String {
    repository().join(name).to_str().expect("UTF-8").to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn columns_are_shown_with_the_reason_for_their_type() {
    let schema = path("config/schemas/flight.v1.json");
    let table = parqueduct_ok(&["schema", "columns", &schema]);
    assert!(table.starts_with("COLUMN") && table.contains("Timestamp(µs, \"UTC\")"), "{table}");
    let told = lines(&parqueduct_ok(&["schema", "columns", &schema, "--json"]));
    assert_eq!(told.len() + 1, table.lines().count());
    let reason = |column: &str| {
        let found = told.iter().find(|line| line["column"] == column).unwrap_or_else(|| panic!("{column}: {told:?}"));
        (found["type"].as_str().expect("text"), found["because"].as_str().expect("text"))
    };
    assert_eq!(reason("id"), ("Utf8", "a string"));
    assert_eq!(reason("arrival").0, "struct");
    assert_eq!(reason("arrival.delay_min").0, "Int64");
}

#[test]
fn samples_that_a_schema_refuses_are_told_with_all_that_is_wrong() {
    let (schema, flights) = (path("config/schemas/flight.v1.json"), path("config/demo/flights-2013-01.ndjson.gz"));
    let done = parqueduct(&["schema", "check", &schema, &flights]);
    let told = String::from_utf8(done.stdout).expect("UTF-8");
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert_eq!(told.lines().last(), Some("26398 good, 606 bad"));
    let first = told.lines().next().expect("a line");
    assert!(first.contains("flights-2013-01.ndjson.gz:") && first.contains("(validate.type)"), "{first}");
    let done = parqueduct(&["schema", "check", &schema, &flights, "--json", "--issues-max", "1"]);
    let told = lines(&String::from_utf8(done.stdout).expect("UTF-8"));
    assert_eq!(told.len(), 606);
    assert!(told.iter().all(|line| line["code"] == "validate.type" && line["line"].is_u64()), "{}", told[0]);
}

#[test]
fn schemas_of_other_languages_are_read_by_the_ending_of_their_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let (avro, protobuf) = (place("order.v1.avsc"), place("order.v1.desc"));
    let run = |script: &str, words: &[&str]| {
        let made = std::process::Command::new(python::interpreter()).arg(path(script)).args(words).output();
        made.expect("Python starts").stdout
    };
    std::fs::write(&avro, run("tests/formats/avro_orders.py", &["schema"])).expect("writable");
    run("tests/formats/protobuf_orders.py", &["schema", &protobuf]);
    let columns = parqueduct_ok(&["schema", "columns", &avro]);
    assert!(columns.contains("Decimal128(38, 4)") && columns.contains("either.Point.x"), "{columns}");
    let columns = parqueduct_ok(&["schema", "columns", &protobuf, "--message", "shop.v1.Order"]);
    assert!(columns.contains("Decimal128(20, 0)") && columns.contains("nested.inner"), "{columns}");
    assert!(!parqueduct(&["schema", "columns", &protobuf]).status.success());

    // Each file is one event.
    let (good, cut) = (place("good"), place("cut"));
    std::fs::write(&good, b"\x0a\x07order-1").expect("writable");
    std::fs::write(&cut, b"\x0a\x07order").expect("writable");
    let done = parqueduct(&["schema", "check", &protobuf, "--message", "shop.v1.Order", &good, &cut]);
    let told = String::from_utf8(done.stdout).expect("UTF-8");
    assert!(told.contains("(decode.binary.truncated)") && told.ends_with("1 good, 1 bad\n"), "{told}");
}

#[test]
fn two_versions_are_compared_for_producers_and_for_the_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = path("config/schemas/flight.v1.json");
    let text = std::fs::read_to_string(&old).expect("readable");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    schema["properties"]["gate"] = serde_json::json!({"type": "string"});
    let new = directory.path().join("flight.v2.json");
    let write = |schema: &Value| std::fs::write(&new, schema.to_string()).expect("writable");
    write(&schema);
    let new = new.to_str().expect("UTF-8");
    let told = parqueduct_ok(&["schema", "diff", &old, new, "--require", "backward"]);
    assert!(told.contains("old one's events? yes") && told.contains("gate: new, Utf8"), "{told}");

    schema["required"].as_array_mut().expect("names").push("gate".into());
    schema["properties"]["id"] = serde_json::json!({"type": "integer"});
    write(&schema);
    let done = parqueduct(&["schema", "diff", &old, new, "--require", "backward"]);
    let told = String::from_utf8(done.stdout).expect("UTF-8");
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("/gate: is required") && told.contains("id: was Utf8, is Int64"), "{told}");
    let told: Value = serde_json::from_str(&parqueduct_ok(&["schema", "diff", &old, new, "--json"])).expect("JSON");
    assert_eq!((&told["backward"]["verdict"], &told["storage"]["consequence"]), (&"no".into(), &"new_major".into()));
}
