//! The log on a store in memory: writers that race, answers that are lost, hands that change what was written.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use ulid::Ulid;

use super::*;
use crate::dlq::fingerprint::GroupId;
use crate::store::flush::Owner;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_357_000_000 + seconds, 0).expect("a time")
}

fn said(seconds: i64, actor: &str) -> Said {
    Said { at: at(seconds), actor: actor.to_owned(), reason: Some("because".to_owned()) }
}

fn group(digits: u64) -> GroupId {
    GroupId::parse(&format!("1-{digits:016x}")).expect("is an id")
}

fn ignored(digits: u64) -> Event {
    Event::GroupIgnored { group: group(digits) }
}

fn owner(pid: u32) -> Owner {
    Owner {
        instance: "host_1".into(),
        host: "h".into(),
        boot_id: "b".into(),
        pid_namespace: "n".into(),
        pid,
        pid_started: 1,
    }
}

fn job(n: u64) -> Ulid {
    Ulid::from_parts(at(0).timestamp_millis() as u64 + n, 7)
}

fn started(n: u64, plan: &str, pipeline: &str, destination: &str) -> Event {
    Event::JobStarted {
        job: job(n),
        plan: plan.into(),
        pipeline: pipeline.into(),
        destination: destination.into(),
        letters: 3,
        owner: owner(1),
    }
}

/// A log with `count` entries, and the state after them.
async fn log_of(count: u64) -> (Store, Log, State) {
    let store = Store::memory();
    let log = Log::new(store.clone());
    let mut state = State::default();
    for n in 1..=count {
        assert_eq!(log.append(&mut state, &said(n as i64, "ann"), &ignored(n)).await.expect("appends"), n);
    }
    (store, log, state)
}

async fn replace(store: &Store, seq: u64, bytes: impl Into<Bytes>) {
    store.delete(&path(seq)).await.expect("deletes");
    store.create(&path(seq), bytes.into()).await.expect("creates");
}

#[tokio::test]
async fn what_was_appended_is_read_back_and_folded() {
    let (_, log, mut state) = log_of(0).await;
    assert_eq!(log.load().await.expect("loads"), State::default());
    let resolved = Event::GroupResolved { group: group(1), as_of: AsOf::Schema(SchemaVersion::parse("f@2").unwrap()) };
    let events = [ignored(1), started(1, "plan", "flights", PIPELINE), resolved.clone(), ignored(2)];
    for (n, event) in (0..).zip(&events) {
        log.append(&mut state, &said(n, "ann"), event).await.expect("appends");
    }
    assert_eq!(log.load().await.expect("loads"), state);
    assert_eq!(state.seq(), 4);
    let life = state.life(&group(1)).expect("something was said");
    let Event::GroupResolved { as_of, .. } = resolved else { unreachable!() };
    assert_eq!((&life.said, &life.verdict), (&said(2, "ann"), &Verdict::Resolved { as_of }));
    assert_eq!(state.life(&group(2)).expect("something was said").verdict, Verdict::Ignored);
    assert_eq!(state.job(job(1)).expect("was started").status, JobStatus::Running);
    let found: Vec<Found> = log.entries(1).try_collect().await.expect("reads");
    assert_eq!(
        found.iter().map(|found| &found.entry.event).collect::<Vec<_>>(),
        events[1..].iter().collect::<Vec<_>>()
    );
    assert_eq!((found[2].entry.prev.as_str(), found[2].hash.as_str()), (found[1].hash.as_str(), state.head()));
}

#[test]
fn an_entry_is_written_the_same_in_every_version() {
    let event = Event::GroupAcknowledged { group: group(1), owner: Some("ann".into()), note: None };
    let entry = Entry { seq: 7, prev: "ab".into(), said: said(0, "ann@host"), event };
    let text = r#"{"format":1,"seq":7,"prev":"ab","at":"2013-01-01T00:26:40Z","actor":"ann@host","reason":"because","event":{"type":"group_acknowledged","group":"1-0000000000000001","owner":"ann"}}"#;
    let written: serde_json::Value = serde_json::from_slice(&entry::encode(&entry)).expect("is JSON");
    assert_eq!(written.to_string(), text);
    assert_eq!(entry::decode(text.as_bytes()).expect("reads"), entry);
}

#[test]
fn every_event_of_this_fold_reads_back() {
    let (group, job, owner) = (group(1), job(1), owner(1));
    let events = [
        Event::GroupAcknowledged { group: group.clone(), owner: None, note: Some("n".into()) },
        Event::GroupResolved { group: group.clone(), as_of: AsOf::Time(at(0)) },
        Event::GroupIgnored { group: group.clone() },
        Event::GroupReopened { group },
        Event::Planned { plan: "p".into(), pipeline: "flights".into(), letters: 2 },
        started(1, "p", "flights", PIPELINE),
        Event::JobTaken { job, from: owner.clone(), owner: owner.clone() },
        Event::JobPaused { job },
        Event::JobResumed { job },
        Event::JobCancelled { job },
        Event::JobHalted { job, owner: owner.clone(), why: "w".into() },
        Event::JobFinished { job, owner, counts: JobCounts { recovered: 1, ..JobCounts::default() } },
        Event::PayloadRead { letter: job },
        Event::Removed { pipeline: "flights".into(), date: at(0).date_naive(), recovered: 1, resolved: 2, ignored: 3 },
    ];
    // One that changes the state and is not in this list makes a new fold.
    assert_eq!((FOLD, events.len()), (1, Event::KINDS.len()));
    for (event, kind) in events.into_iter().zip(Event::KINDS) {
        assert_eq!(event.kind(), kind);
        let entry = Entry { seq: 1, prev: String::new(), said: said(0, "ann"), event };
        assert_eq!(entry::decode(&entry::encode(&entry)).expect("reads"), entry);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_all_get_their_own_place() {
    let (store, log, _) = log_of(0).await;
    let writers = (0..4_u64).map(|writer| {
        let log = Log::new(store.clone());
        tokio::spawn(async move {
            let mut state = State::default();
            let mut own = Vec::new();
            for n in 0..20 {
                let said = said(n, &format!("writer {writer}"));
                own.push(log.append(&mut state, &said, &ignored(writer)).await.expect("appends"));
                tokio::task::yield_now().await;
            }
            own
        })
    });
    let mut all = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        all.extend(writer.await.expect("lives"));
    }
    all.sort_unstable();
    assert_eq!(all, (1..=80).collect::<Vec<_>>());
    assert_eq!(log.verify().await.expect("is whole").entries, 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_start_the_same_plan_one_is_told_of_the_other() {
    for _ in 0..50 {
        let (store, log, _) = log_of(3).await;
        let starts = [1, 2].map(|n| {
            let log = Log::new(store.clone());
            tokio::spawn(async move {
                let mut state = log.load().await.expect("loads");
                log.append(&mut state, &said(n as i64, "ann"), &started(n, "plan", "flights", PIPELINE)).await
            })
        });
        let mut won = 0;
        for start in starts {
            match start.await.expect("lives") {
                Ok(_) => won += 1,
                Err(LogError::Conflict(Conflict::PlanBusy(_))) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let state = log.load().await.expect("loads");
        assert_eq!((won, state.seq(), state.jobs().len()), (1, 4, 1));
    }
}

#[tokio::test]
async fn a_state_that_is_behind_is_brought_up_before_it_is_asked() {
    let (_, log, mut behind) = log_of(1).await;
    let mut ahead = behind.clone();
    log.append(&mut ahead, &said(5, "ann"), &started(1, "one", "flights", PIPELINE)).await.expect("appends");
    let again = started(2, "two", "flights", PIPELINE);
    let refused = log.append(&mut behind, &said(6, "bob"), &again).await.expect_err("one at a time");
    let LogError::Conflict(why) = refused else { panic!("{refused:?}") };
    assert_eq!(why, Conflict::PipelineBusy { job: job(1), pipeline: "flights".into() });
    assert_eq!(behind, ahead);
}

/// Writes, and does not say so, when told.
#[derive(Debug, Default)]
struct Silent {
    store: InMemory,
    lose_the_next_answer: AtomicBool,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("silent")
    }
}

#[async_trait]
impl ObjectStore for Silent {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.store.put_opts(path, payload, options).await?;
        if self.lose_the_next_answer.swap(false, SeqCst) {
            return Err(object_store::Error::Generic { store: "silent", source: "the connection broke".into() });
        }
        Ok(put)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("objects are created whole")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied")
    }
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_when_it_is_repeated() {
    let silent = Arc::new(Silent::default());
    let log = Log::new(Store::over(Arc::clone(&silent) as Arc<dyn ObjectStore>));
    let mut state = State::default();
    silent.lose_the_next_answer.store(true, SeqCst);
    let (ours, start) = (said(1, "ann"), started(1, "plan", "flights", PIPELINE));
    let lost = log.append(&mut state, &ours, &start).await.expect_err("nobody answered");
    assert!(matches!(lost, LogError::Store(_)), "{lost:?}");
    // Another comes in between.
    let mut other = log.load().await.expect("loads");
    log.append(&mut other, &said(2, "bob"), &ignored(1)).await.expect("appends");
    assert_eq!(log.append(&mut state, &ours, &start).await.expect("finds its own"), 1);
    assert_eq!((&state, state.seq()), (&log.load().await.expect("loads"), 2));
}

#[tokio::test]
async fn an_entry_that_is_torn_or_changed_stops_reading_and_appending_there() {
    let (store, log, _) = log_of(5).await;
    let fourth = store.get(&path(4)).await.expect("is there");
    let changed = String::from_utf8(fourth.to_vec()).expect("is text").replace("because", "by chance");
    let newer = String::from_utf8(fourth.to_vec()).expect("is text").replace("\"format\": 1", "\"format\": 2");
    let third = store.get(&path(3)).await.expect("is there");
    for (bytes, broken, says) in [
        (fourth.slice(..40), 4, "it cannot be read"),
        (Bytes::from_static(b"no JSON"), 4, "it cannot be read"),
        (newer.into(), 4, "it cannot be read"),
        (third, 4, "it says to be number 3"),
        // What was changed is still an entry; the next one knows.
        (changed.into(), 5, "it does not follow from the one before it: one of the two was changed"),
    ] {
        replace(&store, 4, bytes).await;
        let mut state = State::default();
        let errors = [
            log.verify().await.map(drop),
            log.load().await.map(drop),
            log.append(&mut state, &said(9, "ann"), &ignored(9)).await.map(drop),
        ];
        for error in errors {
            let Err(LogError::Broken { seq, source }) = error else { panic!("{says}: {error:?}") };
            assert_eq!((seq, source.to_string().as_str()), (broken, says));
        }
        assert_eq!(state.seq(), broken - 1, "{says}: what could be read counts");
    }
    replace(&store, 4, fourth).await;
    assert_eq!(log.verify().await.expect("is whole again").entries, 5);
}

#[tokio::test]
async fn an_entry_that_is_gone_is_named() {
    let (store, log, _) = log_of(5).await;
    store.delete(&path(3)).await.expect("deletes");
    for error in [log.verify().await.map(drop), log.load().await.map(drop)] {
        assert!(matches!(error, Err(LogError::Broken { seq: 3, source: Fault::Gone })), "{error:?}");
    }
    // Beyond what is read at once, a listing tells.
    let (store, log, _) = log_of(40).await;
    for seq in 3..30 {
        store.delete(&path(seq)).await.expect("deletes");
    }
    let error = log.verify().await;
    assert!(matches!(error, Err(LogError::Broken { seq: 3, source: Fault::Gone })), "{error:?}");
}

#[tokio::test]
async fn an_event_of_a_newer_program_is_kept_and_passed_over() {
    let (store, log, mut state) = log_of(2).await;
    let newer = serde_json::json!({
        "format": 1, "seq": 3, "prev": state.head(), "at": "2030-01-01T00:00:00Z", "actor": "ann",
        "event": {"type": "group_painted", "group": "1-0000000000000001", "colour": "blue"}, "mood": "fine",
    });
    store.create(&path(3), newer.to_string().into()).await.expect("creates");
    assert_eq!(log.append(&mut state, &said(4, "bob"), &ignored(3)).await.expect("appends"), 4);
    assert_eq!(log.verify().await.expect("is whole").entries, 4);
    let found: Vec<Found> = log.entries(2).try_collect().await.expect("reads");
    let painted = &found[0].entry.event;
    assert_eq!((painted.kind().as_str(), painted.as_json()["colour"].as_str()), ("group_painted", Some("blue")));
    assert_eq!(state.allows(painted), Err(Conflict::Unknown));
    // A known event that lacks what it must have is no newer one.
    let mut lacking = newer;
    lacking["event"] = serde_json::json!({"type": "group_ignored"});
    replace(&store, 3, lacking.to_string()).await;
    assert!(matches!(log.load().await, Err(LogError::Broken { seq: 3, source: Fault::Unreadable(_) })));
}

#[tokio::test]
async fn a_snapshot_shortens_the_way_and_is_believed_by_no_verification() {
    let (store, log, mut state) = log_of(SNAPSHOT_EVERY + 4).await;
    let verified = log.verify().await.expect("is whole");
    let head = state.head().to_owned();
    assert_eq!(verified, Verified { entries: SNAPSHOT_EVERY + 4, head, snapshots: 1 });
    assert_eq!(log.load().await.expect("loads"), state);

    // A load reads nothing before it ..
    let first = store.get(&path(1)).await.expect("is there");
    store.delete(&path(1)).await.expect("deletes");
    assert_eq!(log.load().await.expect("loads"), state);
    assert!(matches!(log.verify().await, Err(LogError::Broken { seq: 1, .. })));
    store.create(&path(1), first).await.expect("creates");

    // .. and without it, or with one that is none, reads everything.
    let snapshot = snapshot_path(SNAPSHOT_EVERY);
    let whole = store.get(&snapshot).await.expect("was made");
    store.delete(&snapshot).await.expect("deletes");
    assert_eq!(log.load().await.expect("loads"), state);
    store.create(&snapshot, Bytes::from_static(b"{\"fold\":1")).await.expect("creates");
    assert_eq!(log.load().await.expect("loads"), state);
    assert!(matches!(log.verify().await, Err(LogError::Broken { seq: SNAPSHOT_EVERY, source: Fault::Snapshot })));
    store.delete(&snapshot).await.expect("deletes");
    store.create(&snapshot, whole).await.expect("creates");

    // One that tells another history does not go with what follows.
    let forged = encode_snapshot(&State::default());
    store.delete(&snapshot).await.expect("deletes");
    let mut value: serde_json::Value = serde_json::from_slice(&forged).expect("is JSON");
    value["seq"] = SNAPSHOT_EVERY.into();
    store.create(&snapshot, value.to_string().into()).await.expect("creates");
    assert!(matches!(log.load().await, Err(LogError::Broken { source: Fault::Chain, .. })));
    let error = log.append(&mut state, &said(999, "ann"), &ignored(1)).await;
    assert_eq!(error.expect("a state that was read before goes on"), SNAPSHOT_EVERY + 5);
}

#[tokio::test]
async fn a_log_cut_at_its_end_is_told_by_a_snapshot_or_by_its_head() {
    let (store, log, state) = log_of(SNAPSHOT_EVERY).await;
    store.delete(&path(SNAPSHOT_EVERY)).await.expect("deletes");
    assert!(matches!(log.verify().await, Err(LogError::Broken { seq: SNAPSHOT_EVERY, source: Fault::Gone })));
    store.delete(&snapshot_path(SNAPSHOT_EVERY)).await.expect("deletes");
    assert_ne!(log.verify().await.expect("nothing here tells").head, state.head());
}

/// Folds `events` onto an empty state; each must be allowed.
fn folded(events: &[Event]) -> State {
    let mut state = State::default();
    for event in events {
        assert_eq!(state.allows(event), Ok(()), "{event:?}");
        let entry = Entry {
            seq: state.seq() + 1,
            prev: state.head().to_owned(),
            said: said(state.seq() as i64, "ann"),
            event: event.clone(),
        };
        let hash = entry::hash(&entry::encode(&entry));
        state.take(entry, hash);
    }
    state
}

fn finished(n: u64) -> Event {
    Event::JobFinished { job: job(n), owner: owner(1), counts: JobCounts::default() }
}

#[test]
fn of_jobs_through_one_pipeline_only_one_is_under_way() {
    let first = started(1, "one", "flights", PIPELINE);
    let state = folded(std::slice::from_ref(&first));
    assert_eq!(state.allows(&first), Err(Conflict::Started(job(1))));
    assert_eq!(state.allows(&started(2, "one", "orders", "queue=q")), Err(Conflict::PlanBusy(job(1))));
    let busy = Conflict::PipelineBusy { job: job(1), pipeline: "flights".into() };
    assert_eq!(state.allows(&started(2, "two", "flights", PIPELINE)), Err(busy.clone()));
    assert_eq!(state.allows(&started(2, "two", "orders", PIPELINE)), Ok(()));
    assert_eq!(state.allows(&started(2, "two", "flights", "queue=q")), Ok(()));
    // A halted or paused one is still there; one that is over is not.
    let halted = Event::JobHalted { job: job(1), owner: owner(1), why: "a failure".into() };
    let again = started(2, "one", "flights", PIPELINE);
    assert!(folded(&[first.clone(), halted]).allows(&again).is_err());
    assert!(folded(&[first.clone(), Event::JobPaused { job: job(1) }]).allows(&again).is_err());
    for over in [finished(1), Event::JobCancelled { job: job(1) }] {
        assert_eq!(folded(&[first.clone(), over]).allows(&again), Ok(()));
    }
}

#[test]
fn a_job_is_changed_only_as_its_status_allows() {
    let [pause, resume, cancel] =
        [Event::JobPaused { job: job(1) }, Event::JobResumed { job: job(1) }, Event::JobCancelled { job: job(1) }];
    let start = started(1, "one", "flights", PIPELINE);
    let is = |status| Err(Conflict::Is { job: job(1), status });
    for event in [&pause, &resume, &cancel, &finished(1)] {
        assert_eq!(State::default().allows(event), Err(Conflict::NoJob(job(1))));
    }
    let running = folded(std::slice::from_ref(&start));
    assert_eq!(running.allows(&resume), is("running"));
    let paused = folded(&[start.clone(), pause.clone()]);
    assert_eq!(paused.allows(&pause), is("paused"));
    assert_eq!(paused.allows(&finished(1)), Ok(()), "its last flush was under way");
    let resumed = folded(&[start.clone(), pause.clone(), resume.clone()]);
    assert_eq!(resumed.job(job(1)).expect("was started").status, JobStatus::Running);
    let cancelled = folded(&[start, cancel.clone()]);
    for event in [&pause, &resume, &cancel, &finished(1)] {
        assert_eq!(cancelled.allows(event), is("cancelled"));
    }
}

#[test]
fn a_job_is_taken_once_from_the_one_who_has_it() {
    let taken = |from, by| Event::JobTaken { job: job(1), from: owner(from), owner: owner(by) };
    let start = started(1, "one", "flights", PIPELINE);
    let state = folded(&[start, taken(1, 2)]);
    assert_eq!(state.job(job(1)).expect("was started").owner, owner(2));
    assert_eq!(state.allows(&taken(1, 3)), Err(Conflict::Taken(job(1))), "another was first");
    assert_eq!(state.allows(&finished(1)), Err(Conflict::Taken(job(1))), "it lives after all, and must stop");
    assert_eq!(state.allows(&taken(2, 3)), Ok(()));
}

#[test]
fn only_the_newest_jobs_that_are_over_stay_in_the_state() {
    let mut events = vec![started(0, "under way", "flights", "queue=q")];
    for n in 1..=JOBS_OVER_MAX as u64 + 5 {
        events.extend([started(n, "again", "flights", PIPELINE), finished(n)]);
    }
    let state = folded(&events);
    assert_eq!(state.jobs().len(), JOBS_OVER_MAX + 1);
    assert!(state.job(job(0)).is_some() && state.job(job(5)).is_none() && state.job(job(6)).is_some());
}
