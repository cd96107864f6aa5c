//! Finding letters: by every condition, in order, page by page, and past what is broken.

use bytes::Bytes;

use super::super::record;
use super::super::record::samples::{at, id, letter, nulls, truncated};
use super::*;

const DAY: i64 = 86_400;

/// Stores `letters` as one flush, and says where.
async fn flushed(store: &Store, letters: &[DeadLetter]) -> String {
    let newest = letters.iter().map(|letter| letter.dead_at).max().unwrap();
    let path = record::path(&letters[0].origin.pipeline, newest, letters[0].id, "host_1", 0);
    store.create(&path, record::encode(letters).unwrap()).await.unwrap();
    path
}

/// Flights of three days, one flush over midnight among them, and an order.
async fn records() -> (Records, Vec<DeadLetter>) {
    let store = Store::memory();
    let letters = vec![
        letter("flights", 10, 1, b"{\"a\":1}", &nulls()),
        letter("flights", DAY - 5, 2, b"{\"b\"", &truncated(4)),
        letter("flights", DAY + 5, 3, b"{\"c\":1}", &nulls()),
        letter("flights", 2 * DAY, 4, b"{\"d\":1}", &nulls()),
        letter("orders", DAY + 9, 5, b"{\"e\":1}", &nulls()),
    ];
    for flush in [&letters[..1], &letters[1..3], &letters[3..4], &letters[4..]] {
        flushed(&store, flush).await;
    }
    store.create("dlq/records/v1/flights/notes.txt", Bytes::from_static(b"not ours")).await.unwrap();
    (Records::new(store, 3), letters)
}

async fn serials(records: &Records, filter: &Filter, order: Order) -> Vec<u128> {
    let mut told = Vec::new();
    let each = |serial| {
        told.push(serial);
        ControlFlow::Continue(())
    };
    let unreadable = records.summaries(filter, order, |letter| letter.id.random(), each).await.unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    let mut whole = Vec::new();
    let each = |letter: DeadLetter| {
        whole.push(letter.id.random());
        ControlFlow::Continue(())
    };
    records.letters(filter, order, each).await.unwrap();
    assert_eq!(told, whole, "a summary and a letter are found alike");
    told
}

#[tokio::test]
async fn letters_come_by_time_in_either_direction() {
    let (records, _) = records().await;
    assert_eq!(serials(&records, &Filter::default(), Order::OldestFirst).await, [1, 2, 3, 5, 4]);
    assert_eq!(serials(&records, &Filter::default(), Order::NewestFirst).await, [4, 5, 3, 2, 1]);
}

#[tokio::test]
async fn each_condition_narrows_and_all_hold_together() {
    let (records, letters) = records().await;
    let oldest = async |filter: Filter| serials(&records, &filter, Order::OldestFirst).await;
    let all = Filter::default;
    assert_eq!(oldest(Filter { pipeline: Some("orders".into()), ..all() }).await, [5]);
    assert_eq!(oldest(Filter { pipeline: Some("nobody".into()), ..all() }).await, []);
    assert_eq!(oldest(Filter { code: Some("decode.json.truncated".into()), ..all() }).await, [2]);
    assert_eq!(oldest(Filter { code: Some("decode".into()), ..all() }).await, [2]);
    assert_eq!(oldest(Filter { code: Some("dec".into()), ..all() }).await, []);
    // The second issue of a letter counts as well; groups are a pipeline's own.
    let second = Some(letters[0].issues[1].group.clone());
    assert_eq!(oldest(Filter { group: second.clone(), ..all() }).await, [1, 3, 4]);
    // From the letter before midnight, though its file lies in the next day's directory, and up to but without one.
    let since = Some(at(DAY - 5));
    assert_eq!(oldest(Filter { since, ..all() }).await, [2, 3, 5, 4]);
    assert_eq!(oldest(Filter { until: since, ..all() }).await, [1]);
    assert_eq!(oldest(Filter { since, until: Some(at(DAY)), ..all() }).await, [2]);
    assert_eq!(oldest(Filter { since, until: Some(at(2 * DAY)), group: second, ..all() }).await, [3]);
}

#[tokio::test]
async fn a_letter_is_found_by_its_id() {
    let (records, letters) = records().await;
    for letter in &letters {
        let (found, unreadable) = records.find(letter.id).await.unwrap();
        assert_eq!((found.as_ref(), unreadable.len()), (Some(letter), 0));
    }
    assert_eq!(records.find(id(10, 99)).await.unwrap().0, None);
}

#[tokio::test]
async fn reading_stops_when_there_is_enough() {
    let (records, _) = records().await;
    let mut told = Vec::new();
    let each = |serial| {
        told.push(serial);
        if told.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tell = |letter: &Summary<'_>| letter.id.random();
    records.summaries(&Filter::default(), Order::NewestFirst, tell, each).await.unwrap();
    assert_eq!(told, [4, 5]);
}

#[tokio::test]
async fn groups_count_each_letter_once_and_show_all_issues() {
    let (records, letters) = records().await;
    let (groups, _) = records.groups(&Filter::default()).await.unwrap();
    let told: Vec<_> = groups.iter().map(|g| (g.pipeline.as_str(), g.title.as_str(), g.count, g.showing)).collect();
    let delay = "`/arrival/delay_min` is null, the schema asks for integer";
    let tail = "`/tailnum` is null, the schema asks for string";
    assert_eq!(told[0], ("flights", delay, 3, 3));
    assert!(told.contains(&("flights", tail, 0, 3)));
    assert!(told.contains(&("flights", "the body ends in the middle of a JSON document", 1, 1)));
    assert!(told.contains(&("orders", delay, 1, 1)));
    assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), letters.len() as u64);
    assert_eq!((groups[0].first_seen, groups[0].last_seen), (at(10), at(2 * DAY)));
    assert_eq!(groups[0].samples, [letters[3].id, letters[2].id, letters[0].id]);
    assert_eq!(groups[0].producers, [("tower".to_owned(), 3)]);
    let one = Filter { group: Some(groups[0].id.clone()), ..Filter::default() };
    assert_eq!(records.groups(&one).await.unwrap().0, [groups[0].clone()]);
}

#[tokio::test]
async fn a_broken_file_is_named_and_the_others_are_read() {
    let (records, letters) = records().await;
    let path = "dlq/records/v1/flights/date=2013-01-02/00000000000000000000000000-host_1-0.parquet";
    records.store.create(path, Bytes::from_static(b"PAR1 but no")).await.unwrap();
    let mut read = 0;
    let each = |_| {
        read += 1;
        ControlFlow::Continue(())
    };
    let unreadable = records.letters(&Filter::default(), Order::OldestFirst, each).await.unwrap();
    assert_eq!(read, letters.len());
    let told: Vec<_> = unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(told, [format!("dead letters in {path} cannot be read and are left out")]);
    assert!(matches!(unreadable[0].source, ReadError::Broken(DecodeError::Unreadable(_))));
    assert_eq!(records.groups(&Filter::default()).await.unwrap().1.len(), 1);
}

#[tokio::test]
async fn an_empty_store_has_no_dead_letters() {
    let records = Records::new(Store::memory(), 1);
    assert_eq!(serials(&records, &Filter::default(), Order::NewestFirst).await, []);
    assert_eq!(records.groups(&Filter::default()).await.unwrap().0, []);
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_in_either_direction() {
    let (records, _) = records().await;
    let tell = |letter: &Summary<'_>, _| letter.id.random();
    for (order, expected) in [(Order::OldestFirst, [1, 2, 3, 5, 4]), (Order::NewestFirst, [4, 5, 3, 2, 1])] {
        for limit in 1..7 {
            let (mut rows, mut whole, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let page = records.page_of_rows(&Filter::default(), order, after, limit, tell).await.unwrap();
                let letters = records.page(&Filter::default(), order, after, limit).await.unwrap();
                assert_eq!(page.next, letters.next);
                rows.extend(page.letters);
                whole.extend(letters.letters.into_iter().map(|found| found.letter.id.random()));
                after = page.next.map(|next| next.to_string().parse().expect("a cursor is read back"));
                if after.is_none() {
                    break;
                }
            }
            assert_eq!((rows.as_slice(), whole.as_slice()), (&expected[..], &expected[..]), "{limit} a page");
        }
    }
    assert_eq!("soon".parse::<Cursor>(), Err(NotACursor));
}

#[tokio::test]
async fn letters_of_overlapping_files_come_in_one_order() {
    let store = Store::memory();
    let pairs: Vec<_> = (0..20_u8)
        .map(|n| {
            let (seconds, serial) = (i64::from(n), u128::from(n));
            [letter("p", seconds, serial, b"1", &nulls()), letter("p", seconds + 15, serial + 100, b"2", &nulls())]
        })
        .collect();
    for pair in &pairs {
        flushed(&store, pair).await;
    }
    let mut expected: Vec<_> = pairs.iter().flatten().map(|letter| (letter.dead_at, letter.id)).collect();
    expected.sort();
    let records = Records::new(store, 3);
    for (order, turned) in [(Order::OldestFirst, false), (Order::NewestFirst, true)] {
        let page = records.page(&Filter::default(), order, None, 100).await.unwrap();
        let mut found: Vec<_> = page.letters.iter().map(|found| (found.letter.dead_at, found.letter.id)).collect();
        if turned {
            found.reverse();
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn headers_values_and_texts_are_searched_for() {
    let (records, letters) = records().await;
    let found = async |filter: Filter| serials(&records, &filter, Order::OldestFirst).await;
    let value = |path: &str, value: &str| ValueIs { path: path.into(), value: value.into() };
    let header = |name: &str, value: &str| HeaderIs { name: name.into(), value: value.into() };
    let all = Filter::default;
    assert_eq!(found(Filter { values: vec![value("/c", "1")], ..all() }).await, [3]);
    assert_eq!(found(Filter { values: vec![value("/c", "2")], ..all() }).await, []);
    assert_eq!(found(Filter { text: Some("\"b\"".into()), ..all() }).await, [2]);
    assert_eq!(found(Filter { headers: vec![header("x-attempt", "3")], ..all() }).await, [1, 2, 3, 5, 4]);
    assert_eq!(found(Filter { headers: vec![header("x-attempt", "3"), header("x-source", "?")], ..all() }).await, []);
    assert_eq!(found(Filter { routing_key: Some("flight.jfk".into()), text: Some("e".into()), ..all() }).await, [5]);
    assert_eq!(found(Filter { producer: Some("ground".into()), ..all() }).await, []);
    assert_eq!(found(Filter { message_id: Some("m-4".into()), ..all() }).await, [4]);
    let (groups, _) = records.groups(&Filter { text: Some("\"b\"".into()), ..all() }).await.unwrap();
    assert_eq!(groups.iter().map(|group| (&group.id, group.open)).collect::<Vec<_>>(), [(letters[1].group(), 1)]);
}

/// Stores that letter 1 was recovered.
async fn recover(store: &Store, letter: &DeadLetter) {
    use crate::dlq::attempts::{self, AttemptOutcome, AttemptRecord};
    let attempt = AttemptRecord {
        letter: letter.id,
        n: 2,
        at: at(5 * DAY),
        job: Some(id(4 * DAY, 1)),
        outcome: AttemptOutcome::Recovered,
        letter_groups: letter.issues.iter().map(|issue| issue.group.clone()).collect(),
        stage: "".into(),
        code: "".into(),
        issues: Vec::new(),
        event_id: None,
        instance: "host_1".into(),
        version: "0.1.0".into(),
        flush_id: id(5 * DAY, 1).to_string().into(),
    };
    let path = attempts::path("flights", at(5 * DAY), id(5 * DAY, 1), "host_1", 0);
    store.create(&path, attempts::encode(&[attempt]).unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_is_recovered_is_told_and_no_longer_open() {
    let (records, letters) = records().await;
    recover(&records.store, &letters[0]).await;
    let in_state = async |state| {
        let filter = Filter { state: Some(state), ..Filter::default() };
        serials(&records, &filter, Order::OldestFirst).await
    };
    assert_eq!(in_state(LetterState::Recovered).await, [1]);
    assert_eq!(in_state(LetterState::Dead).await, [2, 3, 5, 4]);
    let found = records.look_up(letters[0].id).await.unwrap().0.unwrap();
    assert_eq!((found.state, found.later.len(), found.later[0].n), (LetterState::Recovered, 1, 2));
    assert_eq!(records.look_up(letters[1].id).await.unwrap().0.unwrap().state, LetterState::Dead);
    let of_delay = Filter { pipeline: Some("flights".into()), ..Filter::default() };
    // By footers, and by rows.
    for filter in [of_delay.clone(), Filter { until: Some(at(9 * DAY)), ..of_delay }] {
        let (groups, _) = records.groups(&filter).await.unwrap();
        let told = (groups[0].count, groups[0].open, groups[0].recovered, groups[0].last_recovered);
        assert_eq!(told, (3, 2, 1, Some(at(5 * DAY))));
        let second = groups.iter().find(|group| group.id == letters[0].issues[1].group).unwrap();
        assert_eq!((second.count, second.open, second.recovered), (0, 0, 1));
    }
}

#[tokio::test]
async fn a_body_of_its_own_is_read_through_and_verified() {
    let store = Store::memory();
    let whole = letter("flights", 10, 1, b"{\"a\":\"needle\"}", &nulls());
    let mut taken = whole.clone();
    let (path, body) = taken.take_body(at(10).date_naive());
    assert!(path.starts_with("dlq/blobs/flights/date=2013-01-01/") && taken.message.body.is_empty());
    flushed(&store, std::slice::from_ref(&taken)).await;
    let records = Records::new(store.clone(), 1);
    let missing = records.look_up(whole.id).await.unwrap();
    assert_eq!((missing.0, missing.1.len()), (None, 1), "a letter without its body is named, not shown without");

    store.create(&path, body.into()).await.unwrap();
    let found = records.find(whole.id).await.unwrap().0.unwrap();
    assert_eq!((&found.message, found.body_hash, found.blob), (&whole.message, whole.body_hash, None));
    for (text, expected) in [("needle", 1), ("hay", 0)] {
        let filter = Filter { text: Some(text.into()), ..Filter::default() };
        assert_eq!(serials(&records, &filter, Order::NewestFirst).await.len(), expected);
    }
    store.delete(&path).await.unwrap();
    store.create(&path, Bytes::from_static(b"{\"a\":\"changed\"}")).await.unwrap();
    let (found, unreadable) = records.look_up(whole.id).await.unwrap();
    assert!(found.is_none() && matches!(unreadable[0].source, ReadError::OtherBody));
}

#[tokio::test]
async fn groups_and_pages_of_a_group_leave_files_without_it_unread() {
    let (records, letters) = records().await;
    let filter = Filter { group: Some(letters[1].group().clone()), ..Filter::default() };
    let (files, _, _) = records.may_hold(&Wanted::all(&filter, Order::NewestFirst)).await.unwrap();
    assert_eq!(files.len(), 1);
    let later = Filter { since: Some(at(2 * DAY)), ..Filter::default() };
    assert_eq!(records.may_hold(&Wanted::all(&later, Order::NewestFirst)).await.unwrap().0.len(), 1);
}
