//! What an S3 store does to us, and what we make of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use parqueduct::config;
use parqueduct::store::{Kind, Op, Report, Store, StoreError};

use super::open;
use crate::harness::s3::{Call, Fault, Rule, S3Server};

/// Notices a request without answer soon.
fn hasty(server: &S3Server) -> config::Store {
    config::Store { request_timeout: Duration::from_millis(400), ..server.config("") }
}

fn without_retries(server: &S3Server) -> config::Store {
    config::Store { retries_max: 0, ..hasty(server) }
}

#[tokio::test]
async fn a_create_survives_every_kind_of_failure_and_writes_once() {
    let kinds = [
        Fault::SlowDown,
        Fault::InternalError,
        Fault::Conflict,
        Fault::Precondition,
        Fault::Closed,
        Fault::NoAnswer,
        Fault::AnswerLost,
        Fault::AnswerNever,
        Fault::ErrorAfterEffect,
    ];
    for fault in kinds {
        let server = S3Server::start();
        let store = open(&hasty(&server));
        server.inject(Rule::next(2, Call::Put, fault));
        store.create("data/x", Bytes::from_static(b"ours")).await.unwrap();
        // Where the first attempt took effect, a look ends it.
        assert!((1..=2).contains(&server.injected()), "{fault:?} happened {} times", server.injected());
        assert_eq!((server.keys(), server.overwrites()), (vec!["data/x".to_owned()], 0), "{fault:?}");
        assert_eq!(server.object("data/x").unwrap(), "ours");
    }
}

#[tokio::test]
async fn a_create_in_doubt_finds_that_another_was_first() {
    let server = S3Server::start();
    let store = open(&hasty(&server));
    server.put("data/x", "theirs");
    server.inject(Rule::next(1, Call::Put, Fault::NoAnswer));
    let error = store.create("data/x", Bytes::from_static(b"ours")).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    assert_eq!(server.object("data/x").unwrap(), "theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_faults_loses_and_overwrites_nothing() {
    let server = S3Server::start();
    let store = open(&config::Store { retries_max: 50, ..hasty(&server) });
    for fault in [Fault::SlowDown, Fault::InternalError, Fault::AnswerLost, Fault::Closed, Fault::ErrorAfterEffect] {
        server.inject(Rule::each(0.08, Call::Put, fault));
    }
    for call in [Call::Head, Call::Get, Call::List] {
        server.inject(Rule::each(0.1, call, Fault::InternalError));
        server.inject(Rule::each(0.1, call, Fault::Closed));
    }
    server.page_max(10);
    let creates = (0..100).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.create(&format!("data/{n:03}"), format!("object {n}").into()).await })
    });
    for create in creates.collect::<Vec<_>>() {
        create.await.unwrap().unwrap();
    }
    assert!(server.injected() > 20, "only {} faults happened", server.injected());
    server.heal();
    let dumped = tempfile::TempDir::new().unwrap();
    server.dump("data/", dumped.path());
    assert_eq!(std::fs::read_dir(dumped.path().join("data")).unwrap().count(), 100);
    for call in [Call::Get, Call::List] {
        server.inject(Rule::each(0.1, call, Fault::InternalError));
        server.inject(Rule::each(0.1, call, Fault::Closed));
    }
    let listed: Vec<_> = store.list("data", None).map_ok(|entry| entry.path).try_collect().await.unwrap();
    assert_eq!(listed, (0..100).map(|n| format!("data/{n:03}")).collect::<Vec<_>>());
    for n in 0..100 {
        assert_eq!(store.get(&format!("data/{n:03}")).await.unwrap(), format!("object {n}"));
    }
    assert_eq!(server.overwrites(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again_and_a_slow_one_is_waited_for() {
    let server = S3Server::start();
    let store = open(&server.config(""));
    let body: Bytes = vec![7; 500_000].into();
    server.put("data/x", body.clone());
    server.inject(Rule::next(1, Call::Get, Fault::CutBody { after: 200_000 }));
    server.inject(Rule::next(1, Call::Get, Fault::SlowBody { per_chunk: Duration::from_millis(30) }));
    assert!(store.get("data/x").await.unwrap() == body);
    assert_eq!((server.injected(), server.requests(Call::Get)), (2, 2));
}

#[tokio::test]
async fn an_outage_is_unavailable_and_passes() {
    let server = S3Server::start();
    let patient = open(&server.config(""));
    let impatient = open(&without_retries(&server));
    impatient.create("data/before", Bytes::new()).await.unwrap();
    server.outage(true);
    let error = impatient.create("data/x", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { kind: Kind::Connection, .. }), "{error:?}");
    let waiting = tokio::spawn(async move { patient.create("data/y", Bytes::from_static(b"y")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    server.outage(false);
    waiting.await.unwrap().unwrap();
    impatient.create("data/x", Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(server.keys(), ["data/before", "data/x", "data/y"]);
}

#[tokio::test]
async fn each_failure_has_its_kind_and_says_whether_it_may_pass() {
    let server = S3Server::start();
    let store = open(&without_retries(&server));
    let passing = [
        (Fault::SlowDown, Kind::Throttled),
        (Fault::InternalError, Kind::Server),
        (Fault::NoAnswer, Kind::Timeout),
        (Fault::Closed, Kind::Connection),
    ];
    for (fault, expected) in passing {
        server.inject(Rule::next(1, Call::Put, fault));
        let error = store.create("data/x", Bytes::new()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable { kind, .. } if *kind == expected), "{fault:?}: {error:?}");
    }
    for call in [Call::Put, Call::Get, Call::Head, Call::List, Call::Delete] {
        server.inject(Rule::next(1, call, Fault::Forbidden));
    }
    let refused = [
        store.create("data/x", Bytes::new()).await.unwrap_err(),
        store.get("data/x").await.unwrap_err(),
        store.head("data/x").await.unwrap_err(),
        store.list("data", None).try_collect::<Vec<_>>().await.unwrap_err(),
        store.delete("data/x").await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::Refused { kind: Kind::Auth, .. }), "{error:?}");
    }
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn the_observer_hears_each_failure_and_each_retry() {
    let server = S3Server::start();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let observer = Arc::new(move |report| hear.lock().unwrap().push(report));
    let store = Store::open(&server.config(""), &|_| None, observer).unwrap();
    server.inject(Rule::next(1, Call::Put, Fault::SlowDown));
    store.create("data/x", Bytes::from_static(b"ours")).await.unwrap();
    store.create("data/x", Bytes::from_static(b"other")).await.unwrap_err();
    assert_eq!(store.get_if_exists("data/none").await.unwrap(), None);
    let expected = [
        Report::Failed { op: Op::Create, kind: Kind::Throttled },
        Report::Retried { op: Op::Create },
        Report::Created,
        Report::Failed { op: Op::Create, kind: Kind::Exists },
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_recognised() {
    let server = S3Server::start();
    server.ignore_conditions(true);
    let store = open(&server.config("p"));
    assert!(!store.probe("n1").await.unwrap().conditional_create);
    assert_eq!(server.keys(), [""; 0]);
    server.ignore_conditions(false);
    // The answer to the attempt that must be refused is lost: the bytes tell.
    server.inject(Rule::next(2, Call::Put, Fault::AnswerLost).on_path("n2"));
    assert!(store.probe("n2").await.unwrap().conditional_create);
}
