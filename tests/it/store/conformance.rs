//! What every store promises, whatever it stands on.

use bytes::Bytes;
use futures_util::TryStreamExt;
use parqueduct::store::{Kind, Store, StoreError};

/// Makes one test of each promise for a store; `$open` gives an `Opened`.
macro_rules! suite {
    ($backend:ident, $open:path) => {
        mod $backend {
            $crate::store::conformance::suite! { $open,
                what_is_created_reads_back
                an_object_is_never_overwritten
                of_many_creators_exactly_one_wins
                the_same_bytes_may_be_created_again
                what_is_missing_is_told_apart
                parts_of_an_object_read_as_asked
                a_listing_is_sorted_and_goes_on_after_a_path
                directories_are_found_by_name
                deleting_is_idempotent
                odd_names_are_kept_byte_for_byte
                a_large_object_survives
                a_path_that_could_leave_the_store_is_refused
                the_probe_finds_conditional_creation_and_leaves_nothing
                a_flush_is_decided_once
            }
        }
    };
    ($open:path, $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let opened = $open();
                $crate::store::conformance::$promise(&opened.store).await;
            }
        )*
    };
}
pub(super) use suite;

/// Every promise but the race, one after the other.
pub async fn all_but_the_race(store: &Store) {
    what_is_created_reads_back(store).await;
    an_object_is_never_overwritten(store).await;
    the_same_bytes_may_be_created_again(store).await;
    what_is_missing_is_told_apart(store).await;
    parts_of_an_object_read_as_asked(store).await;
    a_listing_is_sorted_and_goes_on_after_a_path(store).await;
    directories_are_found_by_name(store).await;
    deleting_is_idempotent(store).await;
    odd_names_are_kept_byte_for_byte(store).await;
    a_large_object_survives(store).await;
    a_path_that_could_leave_the_store_is_refused(store).await;
    the_probe_finds_conditional_creation_and_leaves_nothing(store).await;
    a_flush_is_decided_once(store).await;
}

async fn create(store: &Store, path: &str, text: &str) {
    store.create(path, Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
}

async fn paths(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    store.list(prefix, after).map_ok(|entry| entry.path).try_collect().await.unwrap()
}

pub async fn what_is_created_reads_back(store: &Store) {
    create(store, "data/reads/back", "bytes").await;
    assert_eq!(store.get("data/reads/back").await.unwrap(), "bytes");
    assert_eq!(store.get_if_exists("data/reads/back").await.unwrap().unwrap(), "bytes");
    assert_eq!(store.head("data/reads/back").await.unwrap().unwrap().bytes, 5);
    create(store, "data/reads/empty", "").await;
    assert_eq!(store.get("data/reads/empty").await.unwrap(), "");
}

pub async fn an_object_is_never_overwritten(store: &Store) {
    create(store, "data/once", "first").await;
    for other in ["other", "longer than the first"] {
        let error = store.create("data/once", Bytes::from_static(other.as_bytes())).await.unwrap_err();
        assert!(matches!(&error, StoreError::Exists { path } if path == "data/once"), "{error:?}");
        assert_eq!(error.kind(), Kind::Exists);
    }
    assert_eq!(store.get("data/once").await.unwrap(), "first");
}

pub async fn of_many_creators_exactly_one_wins(store: &Store) {
    for round in 0..20 {
        let path = format!("data/race/{round}");
        let creators = (0..16).map(|creator| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move { (creator, store.create(&path, format!("creator {creator}").into()).await) })
        });
        let mut winners = Vec::new();
        for creator in creators.collect::<Vec<_>>() {
            match creator.await.unwrap() {
                (creator, Ok(())) => winners.push(creator),
                (_, Err(StoreError::Exists { .. })) => {}
                (_, Err(error)) => panic!("{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_eq!(store.get(&path).await.unwrap(), format!("creator {}", winners[0]));
    }
}

pub async fn the_same_bytes_may_be_created_again(store: &Store) {
    create(store, "data/again", "same").await;
    create(store, "data/again", "same").await;
    assert_eq!(paths(store, "data", Some("data/aga")).await[0], "data/again");
}

pub async fn what_is_missing_is_told_apart(store: &Store) {
    let error = store.get("data/nowhere/to/be/found").await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert_eq!(store.get_if_exists("data/nowhere").await.unwrap(), None);
    assert_eq!(store.head("data/nowhere").await.unwrap(), None);
    assert!(!store.exists("data/nowhere").await.unwrap());
    assert_eq!(paths(store, "data/nowhere", None).await, [""; 0]);
    // A directory, or a path below an object, is no object.
    create(store, "data/tree/leaf", "leaf").await;
    assert!(!store.exists("data/tree").await.unwrap());
    assert!(!store.exists("data/tree/leaf/below").await.unwrap());
}

pub async fn parts_of_an_object_read_as_asked(store: &Store) {
    create(store, "data/parts", "0123456789").await;
    let parts = store.get_ranges("data/parts", &[7..10, 0..2, 4..5]).await.unwrap();
    assert_eq!(parts, ["789", "01", "4"].map(Bytes::from));
    let error = store.get_ranges("data/missing", &[0..1, 1..2]).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
}

pub async fn a_listing_is_sorted_and_goes_on_after_a_path(store: &Store) {
    // `.` and `-` sort before `/`, digits after it: a walk of directories has to mind that.
    let mut all: Vec<String> = (0..30).map(|n| format!("meta/list/a/{n:02}")).collect();
    all.extend(["meta/list/a-b", "meta/list/a.txt", "meta/list/a0", "meta/list/b/c/d"].map(String::from));
    for path in &all {
        create(store, path, path).await;
    }
    create(store, "meta/listless", "").await;
    all.sort();
    assert_eq!(paths(store, "meta/list", None).await, all);
    for after in ["meta/list/a", "meta/list/a-b", "meta/list/a/03", "meta/list/a/29", "meta/list/a0", "meta/list/b/z"] {
        let expected: Vec<_> = all.iter().filter(|path| path.as_str() > after).cloned().collect();
        assert_eq!(paths(store, "meta/list", Some(after)).await, expected, "after {after}");
    }
}

pub async fn directories_are_found_by_name(store: &Store) {
    for path in ["meta/dirs/2013-01-02/x", "meta/dirs/2013-01-01/y/z", "meta/dirs/plain"] {
        create(store, path, "").await;
    }
    assert_eq!(store.dirs("meta/dirs").await.unwrap(), ["2013-01-01", "2013-01-02"]);
    assert_eq!(store.dirs("meta/none").await.unwrap(), [""; 0]);
}

pub async fn deleting_is_idempotent(store: &Store) {
    create(store, "data/gone", "soon").await;
    store.delete("data/gone").await.unwrap();
    store.delete("data/gone").await.unwrap();
    assert!(!store.exists("data/gone").await.unwrap());
    create(store, "data/gone", "other bytes").await;
    let many: Vec<_> = (0..20).map(|n| format!("data/many/{n}")).collect();
    for path in &many {
        create(store, path, "").await;
    }
    store.delete_all(many.into_iter().chain(["data/never/was".into()])).await.unwrap();
    assert_eq!(paths(store, "data/many", None).await, [""; 0]);
}

pub async fn odd_names_are_kept_byte_for_byte(store: &Store) {
    let names = [
        "key=a%2Fb",
        "%",
        "100%25",
        "a b",
        "plus+",
        "é漢😀",
        "q?x&y=z",
        "hash#1",
        "[b]{c}~^`|<>",
        "quote'\"",
        "dots..ok",
    ];
    for name in names {
        let path = format!("data/odd/{name}/x");
        create(store, &path, name).await;
        assert_eq!(store.get(&path).await.unwrap(), name);
    }
    let mut expected = names.map(|name| format!("data/odd/{name}/x"));
    expected.sort();
    assert_eq!(paths(store, "data/odd", None).await, expected);
    for path in expected {
        store.delete(&path).await.unwrap();
    }
    assert_eq!(paths(store, "data/odd", None).await, [""; 0]);
}

pub async fn a_large_object_survives(store: &Store) {
    let mut state = 1_u64;
    let large: Bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20_000_000)
    .collect();
    store.create("data/large", large.clone()).await.unwrap();
    assert!(store.get("data/large").await.unwrap() == large, "20 MB read back differ");
    assert_eq!(
        store.get_ranges("data/large", &[0..9, 19_999_990..20_000_000]).await.unwrap()[1],
        large.slice(19_999_990..)
    );
}

pub async fn a_path_that_could_leave_the_store_is_refused(store: &Store) {
    for path in ["", "/", "data//x", "../x", "data/../x", "data/./x", "data/x/", "data/new\nline"] {
        let error = store.create(path, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{path:?}: {error:?}");
    }
}

pub async fn the_probe_finds_conditional_creation_and_leaves_nothing(store: &Store) {
    assert!(store.probe("a-nonce").await.unwrap().conditional_create);
    assert_eq!(paths(store, "meta/probe", None).await, [""; 0]);
}

/// The protocol itself is tested beside its code; here, that each store carries it.
pub async fn a_flush_is_decided_once(store: &Store) {
    use chrono::DateTime;
    use parqueduct::store::Capabilities;
    use parqueduct::store::flush::*;
    use std::time::Duration;
    use ulid::Ulid;

    let log = FlushLog::new(store.clone(), Capabilities { conditional_create: true }, "us");
    let at = DateTime::from_timestamp(1_357_000_000, 0).unwrap();
    let owner = Owner {
        instance: "us".into(),
        host: "h".into(),
        boot_id: "b".into(),
        pid_namespace: "n".into(),
        pid: 1,
        pid_started: 1,
    };
    let intent = |flush: Ulid| Intent {
        flush,
        pipeline: "flights".into(),
        owner: owner.clone(),
        created_at: at,
        objects: vec![format!("data/flights/{flush}.parquet")],
        source: Source::Queue { queue: "q".into(), shard: 0 },
    };
    let [first, second] = [1, 2].map(|n| intent(Ulid::from_parts(at.timestamp_millis() as u64 + n, 0)));
    let epoch = Epoch { instance: "us".into(), shard: 0, id: Ulid::from_parts(1, 1) };
    let [kept, left] = [&first, &second].map(|intent| FlushName::queue("flights", intent.flush, &epoch));
    for (name, intent) in [(&kept, &first), (&left, &second)] {
        log.begin(name, intent).await.unwrap();
        create(store, &intent.objects[0], "rows").await;
    }
    let committed = |intent: &Intent| Outcome::committed(intent, Committed::default(), at);
    assert_eq!(log.commit(&kept, &committed(&first)).await.unwrap(), Decision::Won);
    let resolved = log.resolve("flights", at, Duration::from_secs(60), &|_| Liveness::Dead).await.unwrap();
    assert_eq!((resolved.aborted, resolved.objects_deleted, resolved.closed), (1, 1, 1), "{resolved:?}");
    assert_eq!(log.commit(&left, &committed(&second)).await.unwrap(), Decision::AlreadyAborted);
    let flushes = log.list("flights", at).await.unwrap();
    assert_eq!(flushes.iter().map(|flush| &flush.name).collect::<Vec<_>>(), [&kept, &left]);
    assert_eq!(paths(store, "data/flights", None).await, [first.objects[0].clone()]);
}
