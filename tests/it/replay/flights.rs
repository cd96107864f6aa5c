//! The real flights: the 606 without a delay of arrival, recovered by a schema that allows null.

use std::collections::BTreeSet;

use super::{NOWHERE, Running, dlq, dlq_json, dlq_refused, job, plan, recovered_rows};
use crate::harness::program::{parqueduct, parqueduct_ok};
use crate::harness::setting::{Options, Setting, repository};
use crate::harness::{archive, python};

const FLIGHTS: u64 = 27_004;
const GAPS: u64 = 606;

fn ingested() -> Setting {
    let setting = Setting::new(&Options::flights(NOWHERE));
    let flights = repository().join("config/demo/flights-2013-01.ndjson.gz").display().to_string();
    parqueduct_ok(&["ingest", "--config", setting.config_text(), "--pipeline", "flights", &flights]);
    setting
}

fn candidate() -> String {
    repository().join("config/demo/candidate/flight.v1.json").display().to_string()
}

/// The candidate with `old` replaced, as a file of its own.
fn altered(setting: &Setting, name: &str, old: &str, new: &str) -> String {
    let text = std::fs::read_to_string(candidate()).expect("readable");
    assert!(text.contains(old), "nothing to replace: {old}");
    super::file(setting, name, &text.replace(old, new))
}

#[test]
fn a_schema_that_allows_null_recovers_exactly_the_flights_without_arrival() {
    let setting = ingested();
    let dead: BTreeSet<String> =
        setting.dead_letters().iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(dead.len() as u64, GAPS);
    let made = plan(&setting, &["--schema", &candidate()]);
    assert_eq!((&made["letters"], &made["schema"]), (&GAPS.into(), &"flight@1".into()));
    let hash = made["plan"].as_str().expect("a hash");
    assert_eq!(plan(&setting, &["--schema", &candidate()])["plan"], hash, "the same plan is the same object");

    // Tried, it passes, and nothing is written.
    let report = &dlq_json(&setting, &["dry-run", &hash[..12], "--good", "0"])[0];
    assert_eq!((&report["pass"], &report["fail"]), (&GAPS.into(), &0.into()), "{report:#}");
    assert_eq!(report["archived_already"]["events"], 0);
    let rows: u64 = report["partitions"].as_array().expect("a list").iter().map(|p| p["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, GAPS);
    assert_eq!(archive::event_ids(&setting.store()).len() as u64, FLIGHTS - GAPS);

    // Without the candidate, it does not.
    let plain = plan(&setting, &[]);
    let report = &dlq_json(&setting, &["dry-run", plain["plan"].as_str().expect("a hash"), "--good", "0"])[0];
    assert_eq!((&report["pass"], &report["fail"]), (&0.into(), &GAPS.into()), "{report:#}");
    assert!(report["found"].as_array().expect("a list").iter().all(|group| group["new"] == false), "{report:#}");

    // Done, exactly those are recovered, and every flight is there once.
    let said = dlq(&setting, &["replay", hash, "--yes"]);
    assert!(said.contains("finished: 606 recovered"), "{said}");
    let ids = archive::event_ids(&setting.store());
    assert_eq!(ids.len() as u64, FLIGHTS);
    assert!(ids.values().all(|&times| times == 1), "no row twice");
    let recovered: BTreeSet<String> = recovered_rows(&setting.store()).into_values().collect();
    assert_eq!(recovered, dead, "the rows name the letters they were");
    assert_eq!(python::rows_all_engines_agree_on(&setting.store().join("data/flights/v1")), FLIGHTS);
    assert_eq!(archive::strays(&setting.store()), Vec::<String>::new());

    // Once more does nothing, and says so.
    let again = dlq(&setting, &["replay", hash, "--yes"]);
    assert!(again.contains("nothing to do") && again.contains("606 of them are recovered"), "{again}");
    assert_eq!(archive::event_ids(&setting.store()).len() as u64, FLIGHTS);
    let refused = dlq_refused(&setting, &["plan", "--schema", &candidate()]);
    assert!(refused.contains("nothing to plan"), "{refused}");
    let job = job(&setting).expect("a job");
    assert_eq!((&job["status"], &job["done"]), (&"finished".into(), &GAPS.into()));
    assert_eq!(job["counts"]["recovered"], GAPS);

    // What was recovered can be planned once more, as it was before; and it was not good then.
    let reverted = dlq_json(&setting, &["revert", job["job"].as_str().expect("an id"), "--why", "a test"]);
    assert_eq!(reverted[0]["letters"], GAPS);
    let report = &dlq_json(&setting, &["dry-run", reverted[0]["plan"].as_str().expect("a hash"), "--good", "0"])[0];
    assert_eq!(report["fail"], GAPS, "{report:#}");
}

#[test]
fn a_candidate_that_breaks_good_events_or_columns_is_found_before_anything_is_done() {
    let setting = ingested();
    // It takes the gaps, and refuses flights that came early.
    let strict = altered(&setting, "strict.v1.json", "\"minimum\": -240", "\"minimum\": 0");
    let made = plan(&setting, &["--schema", &strict]);
    let tried = parqueduct(&[
        "dlq",
        "dry-run",
        made["plan"].as_str().expect("a hash"),
        "--good",
        "2000",
        "--json",
        "--config",
        setting.config_text(),
    ]);
    let report: serde_json::Value = serde_json::from_slice(&tried.stdout).expect("a report");
    assert_eq!(report["pass"], GAPS, "{report:#}");
    assert!(report["good"]["events"].as_u64().expect("a number") >= 1000, "{report:#}");
    assert!(report["good"]["broken"].as_u64().expect("a number") > 100, "{report:#}");
    assert_eq!(report["good"]["found"][0]["code"], "validate.minimum");
    assert!(!tried.status.success(), "a script notices");
    // The right one breaks none.
    let made = plan(&setting, &["--schema", &candidate()]);
    let report = &dlq_json(&setting, &["dry-run", made["plan"].as_str().expect("a hash"), "--good", "2000"])[0];
    assert_eq!((&report["good"]["broken"], &report["good"]["unusable"]), (&0.into(), &0.into()), "{report:#}");

    // Its rows cannot lie beside those of the same version when a column is another.
    let other = altered(
        &setting,
        "flight.v1.json",
        "\"type\": [\"integer\", \"null\"],\n          \"minimum\": -240",
        "\"type\": [\"number\", \"null\"],\n          \"minimum\": -240",
    );
    let refused = dlq_refused(&setting, &["plan", "--schema", &other]);
    assert!(refused.contains("other columns") && refused.contains("flight.v2"), "{refused}");
    assert_eq!(archive::event_ids(&setting.store()).len() as u64, FLIGHTS - GAPS);
}

#[test]
fn a_plan_whose_ground_has_changed_is_refused_with_what_changed() {
    let setting = ingested();
    let made = plan(&setting, &["--schema", &candidate()]);
    let hash = made["plan"].as_str().expect("a hash");
    setting.change("partition_by = [\"date\"]", "partition_by = [\"hour\"]");
    for command in [&["dry-run", hash][..], &["replay", hash, "--yes"]] {
        let refused = dlq_refused(&setting, command);
        assert!(refused.contains("partition_by was date, and is hour"), "{refused}");
    }
    setting.change("partition_by = [\"hour\"]", "partition_by = [\"date\"]");
    // The pipeline may adopt the candidate meanwhile.
    let own = repository().join("config/schemas/flight.v1.json").display().to_string();
    setting.change(&own, &candidate());
    let (succeeded, said) = Running::start(&setting, &["replay", hash, "--yes"]).end();
    assert!(succeeded && said.contains("606 recovered"), "{said}");
}
