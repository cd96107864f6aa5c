//! Merges stopped between any two steps, and letters that are due: whoever reads sees each letter once.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::*;
use crate::dlq::attempts::{self, AttemptOutcome, AttemptRecord};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::record::samples::{at, id, letter, nulls, truncated};
use crate::dlq::record::{DeadLetter, encode};
use crate::dlq::records::{Filter, Order, Records};

const DAY: i64 = 86_400;
const HOUR: Duration = Duration::from_secs(3_600);

async fn flushed(store: &Store, letters: &[DeadLetter]) {
    let newest = letters.iter().map(|letter| letter.dead_at).max().unwrap();
    let path = record::path("flights", newest, letters[0].id, "host_1", 0);
    store.create(&path, encode(letters).unwrap()).await.unwrap();
}

/// Five small files of one day, and the pipeline's newest file three days later.
async fn store() -> (Store, Vec<DeadLetter>) {
    let store = Store::memory();
    let mut letters: Vec<_> = (1..=5_u8)
        .flat_map(|n| {
            let (seconds, serial) = (i64::from(n) * 60, u128::from(n) * 2);
            let body = [b'{', b'"', n];
            [
                letter("flights", seconds, serial, &[b'[', n, b']'], &nulls()),
                letter("flights", seconds + 90, serial + 1, &body, &truncated(3)),
            ]
        })
        .collect();
    for flush in letters.chunks(2) {
        flushed(&store, flush).await;
    }
    letters.push(letter("flights", 3 * DAY, 99, b"[]", &nulls()));
    flushed(&store, &letters[10..]).await;
    letters.sort_by_key(|letter| (letter.dead_at, letter.id));
    (store, letters)
}

fn round<'a>(seconds: i64, settled: &'a Settled) -> Round<'a> {
    Round {
        now: at(seconds),
        look_back: HOUR,
        keep: Keep { resolved: TimeDelta::days(30), ignored: TimeDelta::days(7) },
        settled,
        actor: "host_1",
    }
}

async fn all(store: &Store) -> Vec<DeadLetter> {
    let records = Records::new(store.clone(), 2);
    let page = records.page(&Filter::default(), Order::OldestFirst, None, 1000).await.unwrap();
    assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
    page.letters.into_iter().map(|found| *found.letter).collect()
}

async fn counts(store: &Store) -> BTreeMap<GroupId, (u64, u64, u64)> {
    let (groups, unreadable) = Records::new(store.clone(), 2).groups(&Filter::default()).await.unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    groups.into_iter().map(|group| (group.id, (group.count, group.showing, group.open))).collect()
}

async fn files(store: &Store) -> usize {
    let entries: Vec<Entry> = store.list(PREFIX, None).try_collect().await.unwrap();
    entries.len()
}

/// The next step of a process that has just begun and does not wait.
async fn next(store: &Store, round: &Round<'_>) -> Option<(Merger, Step)> {
    let merger = Merger::settling(store.clone(), Duration::ZERO);
    let newest = merger.newest("flights").await.unwrap().unwrap();
    let step = merger.next("flights", at(0).date_naive(), newest, round).await.unwrap()?;
    Some((merger, step))
}

/// Takes all steps there are, each by another process; `look` looks after each.
async fn merged(store: &Store, round: &Round<'_>, mut look: impl AsyncFnMut(&Step)) -> usize {
    let mut steps = 0;
    while let Some((merger, step)) = next(store, round).await {
        merger.take("flights", step.clone()).await.unwrap();
        look(&step).await;
        steps += 1;
        assert!(steps < 20, "it comes to an end");
    }
    steps
}

#[tokio::test]
async fn killed_between_any_two_steps_a_merge_shows_each_letter_once_and_is_finished_by_the_next_process() {
    let (store, letters) = store().await;
    let before = counts(&store).await;
    let settled = Settled::default();
    let round = round(4 * DAY, &settled);
    let mut kinds = Vec::new();
    let steps = merged(&store, &round, async |step| {
        assert_eq!(all(&store).await, letters);
        assert_eq!(counts(&store).await, before);
        if let Step::Write(plan) = step {
            // Killed within the deletions, too.
            store.delete(&plan.sources[2]).await.unwrap();
            assert_eq!(all(&store).await, letters);
            assert_eq!(counts(&store).await, before);
        }
        kinds.push(std::mem::discriminant(step));
    })
    .await;
    assert_eq!((steps, files(&store).await), (3, 2));
    kinds.dedup();
    assert_eq!(kinds.len(), 3, "it is planned, written and deleted, each once");
    for wanted in &letters {
        assert_eq!(Records::new(store.clone(), 2).find(wanted.id).await.unwrap().0.as_ref(), Some(wanted));
    }
}

#[tokio::test]
async fn two_processes_that_carry_out_a_plan_write_one_file() {
    let (store, letters) = store().await;
    let settled = Settled::default();
    let round = round(4 * DAY, &settled);
    let (one, step) = next(&store, &round).await.unwrap();
    let (other, later) = next(&store, &self::round(4 * DAY + 5, &settled)).await.unwrap();
    one.take("flights", step).await.unwrap();
    other.take("flights", later).await.unwrap();
    let (_, write) = next(&store, &round).await.unwrap();
    let (first, second) = (one.take("flights", write.clone()).await, other.take("flights", write).await);
    assert_eq!((first.unwrap().files, second.unwrap().files), (5, 5));
    assert_eq!(files(&store).await, 7);
    assert_eq!(all(&store).await, letters);
}

#[tokio::test]
async fn what_a_look_up_may_read_stays_as_it_is() {
    let (store, _) = store().await;
    let settled = Settled::default();
    let week = Round { look_back: HOUR * 24 * 7, ..round(4 * DAY, &settled) };
    assert!(next(&store, &week).await.is_none());
}

#[tokio::test]
async fn a_merged_file_is_left_to_be_seen_before_those_it_stands_for_go() {
    let (store, _) = store().await;
    let settled = Settled::default();
    let round = round(4 * DAY, &settled);
    for _ in 0..2 {
        let (merger, step) = next(&store, &round).await.unwrap();
        merger.take("flights", step).await.unwrap();
    }
    let patient = Merger::settling(store.clone(), HOUR);
    let step = patient.next("flights", at(0).date_naive(), at(3 * DAY), &round).await.unwrap();
    assert!(matches!(step, Some(Step::Wait(_))), "{step:?}");
}

#[tokio::test]
async fn a_file_merged_while_letters_are_read_costs_none_of_them() {
    let (store, letters) = store().await;
    // It knows the files by their footers, and reads them once they are gone.
    let records = Records::new(store.clone(), 1);
    let filter = Filter::default();
    assert_eq!(records.groups(&filter).await.unwrap().0.len(), 3);
    let mut seen = Vec::new();
    let mut after = None;
    let settled = Settled::default();
    loop {
        let page = records.page(&filter, Order::OldestFirst, after, 3).await.unwrap();
        seen.extend(page.letters.into_iter().map(|found| *found.letter));
        if after.is_none() {
            merged(&store, &round(4 * DAY, &settled), async |_| ()).await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, letters);
}

fn recovery(letter: &DeadLetter, seconds: i64) -> AttemptRecord {
    AttemptRecord {
        letter: letter.id,
        n: 2,
        at: at(seconds),
        job: None,
        outcome: AttemptOutcome::Recovered,
        letter_groups: letter.issues.iter().map(|issue| issue.group.clone()).collect(),
        stage: "".into(),
        code: "".into(),
        issues: Vec::new(),
        event_id: None,
        instance: "host_1".into(),
        version: "0.1.0".into(),
        flush_id: "".into(),
    }
}

#[tokio::test]
async fn letters_go_once_they_were_kept_long_enough_and_open_ones_never() {
    let (store, letters) = store().await;
    // One is recovered after five days, and the group of those cut off is resolved after six.
    let path = attempts::path("flights", at(5 * DAY), id(5 * DAY, 1), "host_1", 0);
    store.create(&path, attempts::encode(&[recovery(&letters[0], 5 * DAY)]).unwrap()).await.unwrap();
    let cut = letters.iter().find(|letter| letter.code == "decode.json.truncated").unwrap().group().clone();
    let settled = Settled { resolved: [(cut.clone(), at(6 * DAY))].into(), ..Settled::default() };
    let before = counts(&store).await;

    merged(&store, &round(34 * DAY, &settled), async |_| ()).await;
    assert_eq!(all(&store).await, letters, "nothing is due yet");
    assert_eq!(counts(&store).await, before);

    merged(&store, &round(36 * DAY, &settled), async |_| ()).await;
    assert_eq!(all(&store).await, letters[1..], "the recovered one goes first");
    assert_eq!(counts(&store).await, before, "what was counted stays counted");

    merged(&store, &round(37 * DAY, &settled), async |_| ()).await;
    let left: Vec<_> = letters[1..].iter().filter(|letter| *letter.group() != cut).cloned().collect();
    assert_eq!(all(&store).await, left);
    let after = counts(&store).await;
    assert_eq!(after[&cut], (5, 5, 0));
    let others = |counts: &BTreeMap<GroupId, (u64, u64, u64)>| {
        counts
            .iter()
            .filter(|(group, _)| **group != cut)
            .map(|(group, count)| (group.clone(), *count))
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));

    merged(&store, &round(4000 * DAY, &settled), async |_| ()).await;
    assert_eq!(all(&store).await, left, "open letters are kept for ever");
    let entries: Vec<_> = Log::new(store.clone()).entries(0).try_collect().await.unwrap();
    let told: Vec<_> = entries.into_iter().map(|found| found.entry.event).collect();
    let removed = |recovered, resolved| Event::Removed {
        pipeline: "flights".to_owned(),
        date: at(0).date_naive(),
        recovered,
        resolved,
        ignored: 0,
    };
    assert_eq!(told, [removed(1, 0), removed(0, 5)], "each is told once, whoever was killed");
}

#[tokio::test]
async fn bodies_of_their_own_go_when_no_letter_needs_them() {
    let store = Store::memory();
    let mut large = letter("flights", 60, 1, &[b'7'; 5000], &nulls());
    let whole = large.clone();
    let (path, body) = large.take_body(at(0).date_naive());
    store.create(&path, body.into()).await.unwrap();
    flushed(&store, &[large.clone()]).await;
    flushed(&store, &[letter("flights", 120, 2, b"[]", &nulls())]).await;
    flushed(&store, &[letter("flights", 3 * DAY, 99, b"[]", &nulls())]).await;
    let ignored = |since| Settled { ignored: [(large.group().clone(), since)].into(), ..Settled::default() };

    merged(&store, &round(4 * DAY, &Settled::default()), async |_| ()).await;
    assert_eq!(all(&store).await[0].message.body, whole.message.body, "it is read through the merged file");
    assert_eq!(files(&store).await, 2);

    let settled = ignored(at(4 * DAY));
    merged(&store, &round(12 * DAY, &settled), async |_| ()).await;
    assert_eq!(all(&store).await.len(), 1);
    assert!(store.exists(&path).await.unwrap(), "the date is not past yet");
    merged(&store, &round(40 * DAY, &settled), async |_| ()).await;
    assert!(!store.exists(&path).await.unwrap());
}
