//! Attempts through their file and back, and what a store's files say together.

use proptest::prelude::*;

use super::*;
use crate::dlq::record::samples::{at, id, letter, nulls, truncated};
use crate::store::Store;
use crate::store::flush::{Committed, Epoch, FlushLog, FlushName, Intent, Outcome, Owner, Source};

fn groups() -> Vec<GroupId> {
    letter("flights", 0, 1, b"{}", &nulls()).issues.into_iter().map(|issue| issue.group).collect()
}

/// The `n`th attempt at letter `serial`, which recovered it.
fn recovery(serial: u128, n: u32) -> AttemptRecord {
    AttemptRecord {
        letter: id(10, serial),
        n,
        at: at(100 + i64::from(n)),
        job: Some(id(90, 7)),
        outcome: AttemptOutcome::Recovered,
        letter_groups: groups(),
        stage: "".into(),
        code: "".into(),
        issues: Vec::new(),
        event_id: Some(format!("e-{serial}")),
        instance: "host_1".into(),
        version: "0.1.0".into(),
        flush_id: id(100, 3).to_string().into(),
    }
}

fn failure(serial: u128, n: u32) -> AttemptRecord {
    let issues = letter("flights", 0, 1, b"{\"a\"", &truncated(4)).issues;
    AttemptRecord {
        outcome: AttemptOutcome::Failed,
        stage: "decode".into(),
        code: issues[0].code.clone(),
        issues,
        event_id: None,
        job: None,
        ..recovery(serial, n)
    }
}

#[test]
fn a_path_tells_its_pipeline_and_date() {
    let path = path("flights", at(0), id(0, 7), "host_1", 2);
    assert_eq!(path, format!("dlq/attempts/v1/flights/date=2013-01-01/{}-host_1-2.parquet", id(0, 7)));
    assert_eq!(parse_path(&path), Some(("flights", at(0).date_naive())));
    assert_eq!(parse_path("dlq/records/v1/flights/date=2013-01-01/x.parquet"), None);
}

fn attempt() -> impl Strategy<Value = AttemptRecord> {
    (any::<bool>(), 0..50_u128, 2..9_u32).prop_map(|(recovered, serial, n)| match recovered {
        true => recovery(serial, n),
        false => failure(serial, n),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_written_is_given_back(attempts in prop::collection::vec(attempt(), 0..20)) {
        let mut sorted = attempts.clone();
        sorted.sort_by_key(|attempt| (attempt.letter, attempt.n));
        prop_assert_eq!(decode(encode(&attempts).expect("attempts are written")).expect("and read"), sorted);
    }
}

#[test]
fn a_file_of_letters_is_no_file_of_attempts() {
    let letters = crate::dlq::record::encode(&[letter("flights", 0, 1, b"{}", &nulls())]).unwrap();
    assert!(decode(letters).unwrap_err().to_string().contains("parqueduct.attempts.format"));
}

async fn stored(store: &Store, flush: u128, attempts: &[AttemptRecord]) -> String {
    let path = path("flights", at(100), id(100, flush), "host_1", 0);
    store.create(&path, encode(attempts).unwrap()).await.unwrap();
    path
}

#[tokio::test]
async fn a_letter_is_recovered_by_any_of_its_attempts() {
    let store = Store::memory();
    let attempts = Attempts::new(store.clone());
    assert!(attempts.recovered().await.unwrap().is_empty());
    stored(&store, 1, &[failure(1, 2), failure(2, 2)]).await;
    assert_eq!(attempts.recovered().await.unwrap().iter().count(), 0);
    stored(&store, 2, &[recovery(1, 3), recovery(3, 2)]).await;
    let recovered = attempts.recovered().await.unwrap();
    let told: Vec<bool> = (1..5).map(|serial| recovered.contains(id(10, serial))).collect();
    assert_eq!(told, [true, false, true, false]);
    assert_eq!(recovered.iter().collect::<Vec<_>>(), [id(10, 1), id(10, 3)]);
    assert!(Attempts::within(store.clone(), "orders").recovered().await.unwrap().is_empty());

    let of = attempts.of(&[id(10, 1), id(10, 2), id(10, 4)]).await.unwrap();
    assert_eq!(of[&id(10, 1)], [failure(1, 2), recovery(1, 3)]);
    assert_eq!(of[&id(10, 2)], [failure(2, 2)]);
    assert_eq!(of.len(), 2);
}

#[tokio::test]
async fn footers_tell_what_attempts_made_of_groups() {
    let store = Store::memory();
    let attempts = Attempts::new(store.clone());
    stored(&store, 1, &[recovery(1, 2), failure(2, 2)]).await;
    for _ in 0..2 {
        let (given, _) = attempts.given().await.unwrap();
        let [primary, second] = groups().try_into().unwrap();
        let counted = |group: &GroupId| given.recovered.get(group.as_str()).map(|group| (group.counted, group.showing));
        assert_eq!((counted(&primary), counted(&second)), (Some((1, 1)), Some((0, 1))));
        assert_eq!(given.failed[failure(2, 2).issues[0].group.as_str()], 1);
    }
    stored(&store, 2, &[recovery(3, 2)]).await;
    assert_eq!(attempts.given().await.unwrap().0.recovered[groups()[0].as_str()].counted, 2);
}

#[tokio::test]
async fn attempts_count_once_their_flush_is_committed() {
    let store = Store::memory();
    let attempts = Attempts::new(store.clone());
    let path = path("flights", at(100), id(100, 1), "host_1", 0);
    let log = FlushLog::reader(store.clone());
    let epoch = Epoch { instance: "host_1".to_owned(), shard: 0, id: id(0, 1) };
    let name = FlushName::queue("flights", id(100, 1), &epoch);
    let owner = Owner {
        instance: "host_1".into(),
        host: "h".to_owned(),
        boot_id: "b".to_owned(),
        pid_namespace: "n".to_owned(),
        pid: 1,
        pid_started: 1,
    };
    let intent = Intent {
        flush: id(100, 1),
        pipeline: "flights".to_owned(),
        owner,
        created_at: at(100),
        objects: vec![path],
        source: Source::Queue { queue: "flights".to_owned(), shard: 0 },
    };
    log.begin(&name, &intent).await.unwrap();
    stored(&store, 1, &[recovery(1, 2)]).await;
    assert!(attempts.recovered().await.unwrap().is_empty());
    assert!(attempts.given().await.unwrap().0.recovered.is_empty());
    log.commit(&name, &Outcome::committed(&intent, Committed::default(), at(101))).await.unwrap();
    assert!(attempts.recovered().await.unwrap().contains(id(10, 1)));
    assert_eq!(attempts.given().await.unwrap().0.recovered.len(), 2);
}

#[tokio::test]
async fn a_broken_file_is_named_and_recovers_nothing() {
    let store = Store::memory();
    let attempts = Attempts::new(store.clone());
    stored(&store, 1, &[recovery(1, 2)]).await;
    let path = path("flights", at(100), id(100, 2), "host_1", 0);
    store.create(&path, bytes::Bytes::from_static(b"broken")).await.unwrap();
    let error = attempts.recovered().await.unwrap_err().to_string();
    assert!(error.contains(&path), "{error}");
    let (recovered, unreadable) = attempts.recovered_if_readable().await.unwrap();
    assert_eq!((recovered.iter().count(), unreadable.len()), (1, 1));
    assert_eq!(attempts.given().await.unwrap().1.len(), 1);
}
