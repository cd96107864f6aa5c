//! What a plan would do, without doing it: the real way from body to Parquet, into nothing. And the same mend over good
//! events, which it must leave good.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use crate::column;
use crate::config::PipelineKind;
use crate::dlq::attempts::{self, AttemptOutcome};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::record::{self, AttemptSource, DeadLetter};
use crate::event::Message;
use crate::ingest::{self, Batch, ListError, Origin, Place, Sealed, Stop, Wires, Worker};
use crate::metrics::{Metrics, PipelineMetrics};
use crate::replay::feed::{Feed, Told};
use crate::replay::fix::{FixFailure, diff};
use crate::replay::pace::Pace;
use crate::replay::plan::Plan;
use crate::replay::report::{ArchivedAlready, DryRunReport, Found, Mended, OldGroup, PartitionCount, example};
use crate::replay::{ReplayError, Replays, blocking};
use crate::store::columns::read_columns;

/// Files of the archive that are looked into for ids, at most.
const FILES_MAX: usize = 2_000;

/// Good events tried when nobody says how many.
pub const GOOD_EVENTS: usize = 10_000;

/// What a dry run tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRunOptions {
    /// Good events of the archive, the newest; 0: none.
    pub good: usize,
}

impl Default for DryRunOptions {
    fn default() -> Self {
        Self { good: GOOD_EVENTS }
    }
}

/// What is told while it runs.
pub trait DryRunWatch: Send + Sync {
    /// `done` of `letters` are tried.
    fn advances(&self, _done: u64, _letters: u64) {}
}

impl Replays {
    /// Tries `plan`; nothing is written.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn dry_run(
        &self,
        plan: &Plan,
        options: DryRunOptions,
        stop: &Stop,
        watch: &dyn DryRunWatch,
    ) -> Result<DryRunReport, ReplayError> {
        let compiled = self.still_meant(plan)?;
        let lines = Arc::new(plan.lines(&self.store).await?);
        let judge = plan.terms.judge();
        if compiled.config.kind != PipelineKind::Events {
            return Err(ReplayError::Unjudged(judge.to_owned()));
        }
        let mended = Arc::new(Mutex::new(Mended::default()));
        let wires = compiled.wires();
        let fix = plan.read_fix()?.map(|fix| Arc::new(fix.on(wires.clone())));
        let feed = Feed {
            records: Arc::clone(&self.records),
            pipeline: plan.terms.pipeline.clone(),
            lines: Arc::clone(&lines),
            recovered: self.passed_over(plan).await?,
            fix: fix.clone(),
            told: Some(telling(&mended, wires)),
            job: None,
            canary: false,
            pace: Pace::default(),
            now: self.surroundings.now,
        };
        let mut letters = Letters::new(&plan.terms.groups);
        let mut trial = Trial::new(self, Arc::clone(&compiled));
        let total = lines.len() as u64;
        trial.take(feed.open(Place::default()), stop, &mut letters, &|done| watch.advances(done, total)).await?;
        let archived_already = self.archived_already(&letters).await?;
        let mut report = letters.report(archived_already);
        report.plan.clone_from(&plan.hash);
        report.pipeline.clone_from(&plan.terms.pipeline);
        report.schema = compiled.schema_labels();
        report.letters = total;
        {
            let mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
            (report.changes, report.unmended) = (mended.changes(), mended.unmended());
        }
        if options.good > 0 {
            let current = self.compiled(judge)?;
            let events = self.recent_good(&current, options.good).await?;
            report.good = Some(self.try_good(current, compiled, fix, events, stop).await?);
        }
        Ok(report)
    }

    /// Which of the events are in the archive, in the partitions their rows would go to.
    async fn archived_already(&self, letters: &Letters<'_>) -> Result<ArchivedAlready, ReplayError> {
        let mut already = ArchivedAlready::default();
        let mut seen = HashSet::new();
        for partition in letters.partitions.keys() {
            let mut entries = self.store.list(partition, None);
            while let Some(entry) = entries.try_next().await? {
                if already.files as usize >= FILES_MAX {
                    already.partly = true;
                    return Ok(already);
                }
                already.files += 1;
                let Ok(batches) = read_columns(&self.store, &entry.path, entry.bytes, &[column::EVENT_ID]).await else {
                    already.partly = true;
                    continue;
                };
                for batch in batches {
                    let Some(ids) = batch.column_by_name(column::EVENT_ID) else { continue };
                    for id in ids.as_string::<i32>().iter().flatten() {
                        if letters.event_ids.contains(id) && seen.insert(id.to_owned()) {
                            already.events += 1;
                            example(&mut already.examples, id);
                        }
                    }
                }
            }
        }
        Ok(already)
    }
}

/// Notes what a fix does to each message, whose bodies are written so.
pub(super) fn telling(mended: &Arc<Mutex<Mended>>, wires: Wires) -> Told {
    let mended = Arc::clone(mended);
    Arc::new(move |before: &Message, after: Result<&Message, &FixFailure>| {
        let changes = after.map(|after| diff(before, after, &wires));
        let mut mended = mended.lock().unwrap_or_else(PoisonError::into_inner);
        match changes {
            Ok(changes) => mended.change(changes),
            Err(failure) => mended.fail(failure.to_string()),
        }
    })
}

/// Takes what a trial makes, in the place of a store.
pub(super) trait Sink {
    fn flush(&mut self, sealed: Sealed);
}

/// The worker of a pipeline whose flushes go nowhere.
pub(super) struct Trial {
    plan: Arc<ingest::Plan>,
    worker: Option<Worker>,
    metrics: Arc<PipelineMetrics>,
}

impl Trial {
    pub fn new(replays: &Replays, plan: Arc<ingest::Plan>) -> Self {
        // A ledger of its own: nothing is delivered, and nothing kept.
        let metrics = Metrics::new(crate::VERSION).pipeline(&plan.config.name, 1);
        let origin = Origin { shard: 0, source: AttemptSource::Replay, file: None };
        let worker = Worker::new(Arc::clone(&plan), replays.surroundings.clone(), Arc::clone(&metrics), origin, None);
        Self { plan, worker: Some(worker), metrics }
    }

    /// Judges and encodes everything; `sink` gets what would be written.
    pub async fn take(
        &mut self,
        mut batches: mpsc::Receiver<Batch>,
        stop: &Stop,
        sink: &mut impl Sink,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<(), ReplayError> {
        loop {
            let batch = tokio::select! {
                batch = batches.recv() => batch,
                () = stop.drain.cancelled() => return Err(ReplayError::Stopped),
            };
            let Some(batch) = batch else { break };
            if let Some(failure) = batch.failure {
                return Err(ListError::Source(failure).into());
            }
            let Some(last) = batch.arrivals.last().map(|last| last.delivery.tag) else { continue };
            if self.plan.learn(&batch.arrivals, &stop.drain).await.is_err() {
                return Err(ReplayError::Stopped);
            }
            let receipt = self.metrics.ledger.receive(batch.arrivals.len() as u64, last);
            let sealed = self.lend(move |worker| worker.take(batch.arrivals, receipt)).await;
            sealed.into_iter().for_each(|sealed| sink.flush(sealed));
            done(last);
        }
        let sealed = self.lend(|worker| worker.seal().into_iter().collect()).await;
        sealed.into_iter().for_each(|sealed| sink.flush(sealed));
        Ok(())
    }

    async fn lend(&mut self, work: impl FnOnce(&mut Worker) -> Vec<Sealed> + Send + 'static) -> Vec<Sealed> {
        let mut worker = self.worker.take().expect("it is given back below");
        let (worker, sealed) = blocking(move || {
            let sealed = work(&mut worker);
            (worker, sealed)
        })
        .await;
        self.worker = Some(worker);
        sealed
    }
}

/// What became of letters.
struct Letters<'a> {
    known: &'a BTreeMap<GroupId, u64>,
    pass: u64,
    fail: u64,
    recovered: u64,
    groups: BTreeMap<GroupId, OldGroup>,
    found: Found,
    partitions: BTreeMap<String, PartitionCount>,
    bytes: u64,
    event_ids: HashSet<String>,
}

impl<'a> Letters<'a> {
    fn new(known: &'a BTreeMap<GroupId, u64>) -> Self {
        Self {
            known,
            pass: 0,
            fail: 0,
            recovered: 0,
            groups: BTreeMap::new(),
            found: Found::default(),
            partitions: BTreeMap::new(),
            bytes: 0,
            event_ids: HashSet::new(),
        }
    }

    fn report(self, archived_already: ArchivedAlready) -> DryRunReport {
        let mut groups: Vec<_> = self.groups.into_values().collect();
        groups.sort_by(|one, other| (other.pass + other.fail, &one.group).cmp(&(one.pass + one.fail, &other.group)));
        DryRunReport {
            pass: self.pass,
            fail: self.fail,
            recovered_already: self.recovered,
            groups,
            found: self.found.into_sorted(),
            partitions: self.partitions.into_values().collect(),
            bytes: self.bytes,
            archived_already,
            ..DryRunReport::default()
        }
    }
}

impl Sink for Letters<'_> {
    fn flush(&mut self, sealed: Sealed) {
        self.recovered += sealed.tally.suppressed;
        for object in &sealed.objects {
            if attempts::parse_path(&object.path).is_some() {
                let attempts = attempts::decode(object.bytes.clone()).expect("it was encoded just now");
                for attempt in attempts {
                    let passes = attempt.outcome == AttemptOutcome::Recovered;
                    self.pass += u64::from(passes);
                    self.fail += u64::from(!passes);
                    if let Some(group) = attempt.letter_groups.first() {
                        let old = self.groups.entry(group.clone());
                        let old = old.or_insert_with(|| OldGroup { group: group.clone(), pass: 0, fail: 0 });
                        old.pass += u64::from(passes);
                        old.fail += u64::from(!passes);
                    }
                    self.found.add(&attempt.issues, u64::MAX, self.known);
                    self.event_ids.extend(attempt.event_id.filter(|_| passes));
                }
            } else if let Some((partition, _)) = object.path.rsplit_once('/') {
                let none = || PartitionCount { path: partition.to_owned(), rows: 0, bytes: 0 };
                let count = self.partitions.entry(partition.to_owned()).or_insert_with(none);
                count.rows += object.rows;
                count.bytes += object.bytes.len() as u64;
                self.bytes += object.bytes.len() as u64;
            }
        }
        sealed.receipt.settle(&sealed.tally);
    }
}

/// The dead letters among what a flush would write.
pub(super) fn dead_letters(sealed: &Sealed) -> Vec<DeadLetter> {
    let records = sealed.objects.iter().filter(|object| record::parse_path(&object.path).is_some());
    records.flat_map(|object| record::decode(object.bytes.clone()).expect("it was encoded just now")).collect()
}
