//! One consumer's life, called an epoch: one connection, one channel, its open batches, its flushes. All of it ends
//! together, so a lost connection never leaves half of a file owned by somebody.
//!
//! Three things go on at once, each at most once: waiting for deliveries, judging a batch of them on a blocking thread,
//! writing a sealed flush. While one flush is written the next fills; acks go out in the order of the flushes.

mod waits; // what it waits for

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use ulid::Ulid;

use crate::broker::{Ended, Intake, Settler};
use crate::dlq::attempts::AttemptRecord;
use crate::event::Delivery;
use crate::ingest::arrival::Arrival;
use crate::ingest::breaker::{Breaker, Consuming, PROBE_EVENTS, Turn, Verdict};
use crate::ingest::commit::{Committer, Fate, FlushOf, Unresolved, observe};
use crate::ingest::crashes::{Care, SharedJournal, Suspect};
use crate::ingest::learned::Sightings;
use crate::ingest::repeats::{GivenUp, LookBack};
use crate::ingest::worker::{Origin, Sealed, Worker};
use crate::ingest::{EventPlan, Plan, Plans, Surroundings};
use crate::metrics::{Owner, PipelineMetrics, ShardGauges};
use crate::receipt::{Receipt, RequeueCause};
use crate::rejection::Code;
use crate::store::flush::{Epoch as EpochName, FlushName, Source};
pub(super) use waits::{due, join};
use waits::{looked_up, next_plan, take, worked, written};

/// Deliveries judged in one go: enough to make the hop to the blocking thread cheap, few enough to keep acks prompt.
const BATCH_DELIVERIES_MAX: usize = 4096;

/// Flushes after which the one that ended the process is not looked for any more: it was not among those given back.
const STEPS_MAX: usize = 500;

/// Flushes with a small window after which this run got further than the one before: its end was another matter.
const STEPS_FORWARD: usize = 3;

/// How an epoch ended.
#[derive(Debug)]
pub enum EpochEnd {
    /// Drained as asked: everything taken was settled or given back.
    Drained,
    /// The channel is gone; what was not durable is back in the queue. Build a new one.
    Lost(Ended),
    /// Most events failed: what was held went back, or it was a probe and was settled. Wait for a turn.
    Paused,
    /// A flush was given up, by us or by a process that took us for dead: what we hold goes back, and the channel with it.
    Aborted,
}

/// Requests to stop, the second more urgent than the first.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Take no more, flush what is held, then end.
    pub drain: CancellationToken,
    /// End now: give back what is not durable.
    pub halt: CancellationToken,
}

/// What an epoch needs and outlives it.
pub struct ShardParts {
    /// As [`PipelineParts::plan`](crate::ingest::PipelineParts::plan).
    pub plan: Arc<Plan>,
    pub plans: Plans,
    pub surroundings: Surroundings,
    pub metrics: Arc<PipelineMetrics>,
    pub committer: Arc<Committer>,
    pub look_back: Arc<LookBack>,
    pub breaker: Arc<Breaker>,
    pub journal: SharedJournal,
    pub sightings: Option<Arc<Sightings>>,
    pub shard: u16,
    pub stop: Stop,
}

impl ShardParts {
    fn gauges(&self) -> &ShardGauges {
        &self.metrics.shards[usize::from(self.shard)]
    }
}

/// Gives back what is neither durable nor taken, in so many words: on some brokers that counts less against a delivery limit
/// than a channel that closes.
pub(super) async fn give_back(intake: &mut dyn Intake, settler: &mut dyn Settler) {
    let given_back = match intake.cancel().await {
        Ok(_) | Err(Ended::Cancelled { .. }) => settler.requeue_all().await,
        Err(ended) => Err(ended),
    };
    if let Err(ended) = given_back {
        debug!(reason = %ended, "nothing could be given back: the broker takes it back by itself");
    }
}

/// What an epoch came to.
#[derive(Debug)]
pub struct EpochReport {
    pub end: EpochEnd,
    /// Deliveries taken.
    pub received: u64,
    /// With how much care the next one is to begin.
    pub care: Care,
}

/// Runs one epoch to its end, which begins with `care`, as the subscription did, and with a `turn` to consume; flushes that
/// could not be given an outcome are added to `unresolved`.
pub async fn run_epoch(
    parts: &ShardParts,
    origin: Origin,
    (care, turn): (Care, Turn),
    intake: Box<dyn Intake>,
    settler: Box<dyn Settler>,
    unresolved: &mut Vec<Unresolved>,
) -> EpochReport {
    parts.gauges().set_connected(true);
    let repeats = Some(parts.look_back.view());
    let mut plans = parts.plans.clone();
    let plan = Arc::clone(&plans.borrow_and_update());
    let worker = Worker::new(plan, parts.surroundings.clone(), Arc::clone(&parts.metrics), origin, repeats);
    let mut worker = worker.showing(parts.sightings.clone());
    worker.set_rows_max(match turn {
        Turn::Free => rows_max(care, &parts.plan),
        // One flush settles the whole probe.
        Turn::Probe(_) => usize::from(care.window(parts.plan.config.prefetch)),
    });
    let instance = parts.plan.instance.clone();
    let name = EpochName { instance, shard: parts.shard, id: (parts.surroundings.ulid)() };
    let over = CancellationToken::new();
    // Also when this future is dropped: then the deliveries go back, and no flush of theirs may be committed any more.
    let _over_when_dropped = over.clone().drop_guard();
    let mut epoch = Epoch {
        parts,
        name,
        plans,
        intake,
        settler,
        over,
        look_up: None,
        worker: Some(Box::new(worker)),
        work: None,
        flush_at: None,
        sealed: VecDeque::new(),
        commit: None,
        acked: Vec::new(),
        unresolved,
        received: 0,
        care,
        turn,
        consuming: Some(parts.breaker.consuming()),
        paused: false,
        suspect: None,
        eased: None,
        steps: 0,
        draining: false,
        cancelled: None,
    };
    let end = epoch.run().await;
    let received = epoch.received;
    let care = epoch.care_for_the_next();
    epoch.wind_up(&end).await;
    parts.gauges().set_connected(false);
    parts.gauges().set_oldest_unacked(None);
    parts.gauges().set_open_partitions(0);
    Owner::ALL.iter().for_each(|owner| parts.gauges().set_held_bytes(*owner, 0));
    EpochReport { end, received, care }
}

/// Deliveries that fill a flush: at most 70 % of the window, as the configuration promises of the full one.
fn rows_max(care: Care, plan: &Plan) -> usize {
    usize::from(care.window(plan.config.prefetch)) * 7 / 10
}

type Work = JoinHandle<(Box<Worker>, Vec<Sealed>)>;

/// Deliveries, flagged ones among them, of which it is being found out what is durable already.
struct LookUp {
    arrivals: Vec<Arrival>,
    /// Of their bodies and what comes with them.
    bytes: usize,
    receipt: Receipt,
    task: JoinHandle<Result<Found, GivenUp>>,
}

/// What a durable flush says of the care that is to be taken.
#[derive(Clone, Copy, Debug)]
struct Durable {
    /// It held redelivered events.
    redelivered: bool,
    /// It held the event that ended the process.
    found: bool,
}

/// What a look-up found.
#[derive(Debug)]
enum Found {
    /// What is durable is known now, and what came of the letters that are given back.
    Known(HashMap<Ulid, Vec<AttemptRecord>>),
    /// The one delivery ended the process before, and is not to be judged.
    Condemned,
}

struct Commit {
    oldest: chrono::DateTime<chrono::Utc>,
    /// Of its files.
    bytes: u64,
    task: JoinHandle<Box<Written>>,
}

/// A flush whose writing has ended.
struct Written {
    of: FlushOf,
    sealed: Sealed,
    fate: Fate,
}

struct Epoch<'a> {
    parts: &'a ShardParts,
    name: EpochName,
    plans: Plans,
    intake: Box<dyn Intake>,
    settler: Box<dyn Settler>,
    /// Cancelled when the deliveries belong to the queue again.
    over: CancellationToken,
    /// The worker while it is idle, or its work on a blocking thread: one of the two.
    worker: Option<Box<Worker>>,
    work: Option<Work>,
    /// What waits to be judged.
    look_up: Option<LookUp>,
    /// When the oldest delivery in the open batches becomes too old.
    flush_at: Option<Instant>,
    /// Flushes waiting for the one being written.
    sealed: VecDeque<Sealed>,
    commit: Option<Commit>,
    /// Flushes whose intents can be forgotten.
    acked: Vec<FlushName>,
    /// Flushes that could not be given an outcome.
    unresolved: &'a mut Vec<Unresolved>,
    received: u64,
    /// How many deliveries are taken at a time.
    care: Care,
    turn: Turn,
    consuming: Option<Consuming>,
    /// A probe failed: the epoch ends once it is settled.
    paused: bool,
    /// The one delivery in hand, while each is processed alone.
    suspect: Option<Suspect>,
    /// What became durable last, since the last step of care.
    eased: Option<Durable>,
    /// Flushes that were durable since `care` is what it is.
    steps: usize,
    /// No more deliveries are taken; the epoch ends when nothing is left to flush.
    draining: bool,
    /// Why, when not because we were asked to stop.
    cancelled: Option<Ended>,
}

enum Step {
    Deliveries(Result<Vec<Delivery>, Ended>),
    LookedUp(Result<Found, GivenUp>),
    Worked(Box<Worker>, Vec<Sealed>),
    Written(Box<Written>),
    FlushDue,
    /// The schema changed.
    Planned(Arc<Plan>),
    /// The breaker opened over what another shard judged.
    Paused,
    Drain,
    Halt,
}

impl Epoch<'_> {
    async fn run(&mut self) -> EpochEnd {
        loop {
            self.start_commit();
            self.show();
            if self.draining && self.nothing_left() {
                if self.paused {
                    return EpochEnd::Paused;
                }
                return self.cancelled.take().map_or(EpochEnd::Drained, EpochEnd::Lost);
            }
            let step = self.next_step().await;
            if let Err(end) = self.take_step(step).await {
                return end;
            }
        }
    }

    async fn take_step(&mut self, step: Step) -> Result<(), EpochEnd> {
        match step {
            Step::Deliveries(Ok(deliveries)) => self.receive(deliveries),
            // The channel stands: what is held can be settled, and must be, for a deleted queue does not take it back.
            Step::Deliveries(Err(cancelled @ Ended::Cancelled { .. })) => {
                warn!(pipeline = %self.parts.plan.config.name, shard = self.parts.shard, reason = %cancelled, "no more deliveries come: what is held is flushed");
                self.cancelled = Some(cancelled);
                self.flush_the_rest();
            }
            Step::Deliveries(Err(ended)) => return Err(EpochEnd::Lost(ended)),
            Step::LookedUp(result) => self.looked_up(result)?,
            Step::Worked(worker, sealed) => {
                self.worked(worker, sealed);
                self.heed_breaker().await?;
            }
            Step::Written(written) => {
                self.written(*written).await?;
                self.ease().await.map_err(EpochEnd::Lost)?;
            }
            Step::FlushDue => self.seal(),
            Step::Planned(plan) => self.adopt(plan),
            Step::Paused => return Err(EpochEnd::Paused),
            Step::Drain => self.drain().await.map_err(EpochEnd::Lost)?,
            Step::Halt => return Err(EpochEnd::Drained),
        }
        Ok(())
    }

    async fn next_step(&mut self) -> Step {
        let accepting = self.accepting();
        let flush_at = self.flush_at.filter(|_| self.worker.is_some());
        let idle = self.worker.is_some();
        let free = matches!(self.turn, Turn::Free) && !self.draining;
        tokio::select! {
            biased;
            () = self.parts.stop.halt.cancelled() => Step::Halt,
            () = self.parts.stop.drain.cancelled(), if !self.draining => Step::Drain,
            () = self.parts.breaker.paused(), if free => Step::Paused,
            written = written(&mut self.commit) => Step::Written(written),
            (worker, sealed) = worked(&mut self.work) => Step::Worked(worker, sealed),
            // Before more is judged: what is held is no more than it must be.
            plan = next_plan(&mut self.plans), if idle && !self.draining => Step::Planned(plan),
            result = looked_up(&mut self.look_up), if idle => Step::LookedUp(result),
            () = due(flush_at) => Step::FlushDue,
            deliveries = take(self.intake.as_mut(), accepting) => Step::Deliveries(deliveries),
        }
    }

    /// Whether another batch may be taken: the worker is free, no batch waits for it, and no sealed flush waits behind the
    /// one being written.
    fn accepting(&self) -> bool {
        let wanted = matches!(self.turn, Turn::Free) || self.received < self.probe_events();
        wanted && !self.draining && self.sealed.is_empty() && self.worker.is_some() && self.look_up.is_none()
    }

    /// Deliveries of a probe.
    fn probe_events(&self) -> u64 {
        self.parts.plan.config.prefetch.min(PROBE_EVENTS).into()
    }

    /// Tells the breaker what was judged, and does what it says.
    async fn heed_breaker(&mut self) -> Result<(), EpochEnd> {
        let wanted = self.probe_events();
        let Some(worker) = &mut self.worker else { return Ok(()) };
        let (judged, now) = (worker.take_judged(), Instant::now());
        let probe = match &mut self.turn {
            // What is held while draining is flushed: nobody would give it a better end.
            Turn::Free if self.draining => return Ok(()),
            Turn::Free if self.parts.breaker.note(judged, now) => return Err(EpochEnd::Paused),
            Turn::Free => return Ok(()),
            Turn::Probe(probe) => probe,
        };
        match probe.note(judged, wanted, now) {
            Verdict::Pending => {}
            Verdict::Passed => self.turn = Turn::Free,
            Verdict::Failed => {
                self.paused = true;
                // Before it is settled, so that the broker sends no more.
                self.drain().await.map_err(EpochEnd::Lost)?;
            }
        }
        Ok(())
    }

    fn nothing_left(&self) -> bool {
        self.worker_is_empty() && self.look_up.is_none() && self.sealed.is_empty() && self.commit.is_none()
    }

    fn receive(&mut self, deliveries: Vec<Delivery>) {
        let Some(last) = deliveries.last() else { return };
        self.received += deliveries.len() as u64;
        let receipt = self.parts.metrics.ledger.receive(deliveries.len() as u64, last.tag);
        let kind = &self.parts.plan.config.kind;
        let arrivals: Vec<_> = deliveries.into_iter().map(|delivery| Arrival::of_queue(delivery, kind)).collect();
        let missing = self.parts.plan.missing(arrivals.iter().map(|arrival| &arrival.delivery.message));
        let may_repeat = arrivals.iter().any(|arrival| self.may_repeat(arrival));
        if !may_repeat && missing.is_empty() {
            return self.judge(arrivals, receipt);
        }
        self.suspect = (may_repeat && self.care == Care::Alone).then(|| Suspect::of(&arrivals[0].delivery.message));
        let letters: Vec<_> = arrivals.iter().filter_map(Arrival::letter).collect();
        let (look_back, name, over) = (Arc::clone(&self.parts.look_back), self.name.clone(), self.over.clone());
        let (journal, suspect) = (Arc::clone(&self.parts.journal), self.suspect.clone());
        let plan = Arc::clone(&self.parts.plan);
        let task = tokio::spawn(async move {
            if let (false, Some(schemas)) = (missing.is_empty(), &plan.schemas) {
                schemas.learn(&plan.config.name, &missing, Some(look_back.hold_max()), &over).await?;
            }
            if !may_repeat {
                return Ok(Found::Known(HashMap::new()));
            }
            look_back.refresh(&name, &over).await?;
            match suspect {
                Some(suspect) if look_back.held_against(&journal, &suspect, &over).await? => Ok(Found::Condemned),
                _ if letters.is_empty() => Ok(Found::Known(HashMap::new())),
                _ => Ok(Found::Known(look_back.attempts_at(&letters, &over).await?)),
            }
        });
        let bytes = arrivals.iter().map(|arrival| arrival.delivery.size()).sum();
        self.look_up = Some(LookUp { arrivals, bytes, receipt, task });
    }

    /// Whether its row or dead letter may be durable already, and could be recognised.
    fn may_repeat(&self, arrival: &Arrival) -> bool {
        let message = &arrival.delivery.message;
        let has_id = |event: &EventPlan| event.config.event_id.is_some();
        let has_name = message.properties.name().is_some() || self.parts.plan.events.iter().any(has_id);
        arrival.given.is_some() || (message.redelivered && (has_name || self.care == Care::Alone))
    }

    fn looked_up(&mut self, result: Result<Found, GivenUp>) -> Result<(), EpochEnd> {
        let Some(LookUp { mut arrivals, receipt, .. }) = self.look_up.take() else { return Ok(()) };
        match result {
            Ok(Found::Known(attempts)) => {
                arrivals.iter_mut().for_each(|arrival| arrival.consider(&attempts));
                self.judge(arrivals, receipt);
            }
            Ok(Found::Condemned) => self.lend_worker(|worker| {
                let condemned = arrivals.into_iter().next().expect("it was looked up alone");
                worker.condemn(condemned, receipt);
                worker.seal().into_iter().collect()
            }),
            Err(GivenUp) => {
                receipt.requeue(RequeueCause::StoreUnavailable);
                return Err(EpochEnd::Aborted);
            }
        }
        Ok(())
    }

    fn judge(&mut self, arrivals: Vec<Arrival>, receipt: Receipt) {
        self.flush_at.get_or_insert(Instant::now() + self.parts.plan.config.flush.age);
        let metrics = Arc::clone(&self.parts.metrics);
        self.lend_worker(move |worker| {
            let _timer = metrics.decode_seconds.start_timer();
            worker.take(arrivals, receipt)
        });
    }

    fn seal(&mut self) {
        self.flush_at = None;
        self.lend_worker(|worker| worker.seal().into_iter().collect());
    }

    /// What is held is flushed, and all that comes is judged by `plan`.
    fn adopt(&mut self, plan: Arc<Plan>) {
        debug!(pipeline = %plan.config.name, shard = self.parts.shard, "judging by the changed schema from here on");
        self.flush_at = None;
        self.lend_worker(|worker| worker.adopt(plan).into_iter().collect());
    }

    /// Runs `work` on a blocking thread; the worker must be idle.
    fn lend_worker(&mut self, work: impl FnOnce(&mut Worker) -> Vec<Sealed> + Send + 'static) {
        let mut worker = self.worker.take().expect("the worker is lent only while it is idle");
        self.work = Some(tokio::task::spawn_blocking(move || {
            let sealed = work(&mut worker);
            (worker, sealed)
        }));
    }

    fn worked(&mut self, worker: Box<Worker>, sealed: Vec<Sealed>) {
        if worker.held() == 0 {
            self.flush_at = None;
        } else if !sealed.is_empty() {
            // What is held arrived with the batch just judged.
            self.flush_at = Some(Instant::now() + self.parts.plan.config.flush.age);
        }
        self.work = None;
        self.worker = Some(worker);
        self.sealed.extend(sealed);
        if self.draining {
            self.flush_at = Some(Instant::now()).filter(|_| !self.worker_is_empty());
        }
    }

    fn worker_is_empty(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.held() == 0)
    }

    fn start_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let Some(sealed) = self.sealed.pop_front() else { return };
        let config = &self.parts.plan.config;
        let of = FlushOf {
            name: FlushName::queue(&config.name, sealed.flush, &self.name),
            source: Source::Queue { queue: config.queue.clone(), shard: self.parts.shard },
            end: None,
        };
        let (oldest, bytes) = (sealed.oldest, sealed.bytes());
        let (committer, over) = (Arc::clone(&self.parts.committer), self.over.clone());
        let standing = self.settler.standing();
        let acked = std::mem::take(&mut self.acked);
        let task = tokio::spawn(async move {
            let fate = committer.commit(&of, &sealed, Some(standing.as_ref()), &over).await;
            if fate == Fate::Durable {
                committer.close(&acked).await;
            }
            Box::new(Written { of, sealed, fate })
        });
        self.commit = Some(Commit { oldest, bytes, task });
    }

    async fn written(&mut self, written: Written) -> Result<(), EpochEnd> {
        let Written { of, sealed, fate } = written;
        self.commit = None;
        match fate {
            Fate::Durable => self.acknowledge(of, sealed).await.map_err(EpochEnd::Lost),
            // The deliveries after it must not be acked either: an ack is cumulative.
            Fate::Abandoned(abandoned) => {
                self.unresolved.extend(abandoned.unresolved);
                let (cause, end) = match abandoned.lost {
                    Some(lost) => (RequeueCause::ConnectionLost, EpochEnd::Lost(lost)),
                    None => (RequeueCause::StoreUnavailable, EpochEnd::Aborted),
                };
                sealed.receipt.requeue(cause);
                Err(end)
            }
        }
    }

    async fn acknowledge(&mut self, of: FlushOf, mut sealed: Sealed) -> Result<(), Ended> {
        if !sealed.objects.is_empty() {
            self.acked.push(of.name);
        }
        self.parts.look_back.remember(std::mem::take(&mut sealed.keys), (self.parts.surroundings.now)());
        let found = sealed.tally.dead_lettered.iter().any(|(code, _)| *code == Code::InternalCrash);
        self.eased = Some(Durable { redelivered: sealed.redelivered, found });
        if let Some(suspect) = self.suspect.take() {
            self.parts.journal.acquit(&suspect).await;
        }
        let acked = self.settler.ack_through(sealed.receipt.through()).await;
        observe(&self.parts.metrics, &self.parts.surroundings, &sealed);
        if acked.is_err() {
            // Durable all the same: they are archived, and will be delivered once more.
            self.parts.metrics.settlements_lost.inc_by(sealed.receipt.deliveries());
        }
        sealed.receipt.settle(&sealed.tally);
        acked
    }

    /// Takes more at a time, once something is durable.
    async fn ease(&mut self) -> Result<(), Ended> {
        // A worker that is away is asked after the next flush.
        let Some(worker) = &mut self.worker else { return Ok(()) };
        if self.care == Care::Full || self.draining || matches!(self.turn, Turn::Probe(_)) {
            return Ok(());
        }
        let Some(Durable { redelivered, found }) = self.eased.take() else { return Ok(()) };
        let prefetch = self.parts.plan.config.prefetch;
        let window_before = self.care.window(prefetch);
        self.steps += 1;
        let next = self.care.eased(prefetch, redelivered, found || self.steps >= STEPS_MAX);
        if next != self.care {
            (self.care, self.steps) = (next, 0);
        }
        if self.care == Care::Full || (self.care == Care::Small && self.steps == STEPS_FORWARD) {
            self.parts.journal.progressed().await;
        }
        let window = self.care.window(prefetch);
        if window == window_before {
            return Ok(());
        }
        worker.set_rows_max(rows_max(self.care, &self.parts.plan));
        match self.intake.widen(window).await {
            // What is held must be flushed; the next call for deliveries tells of it.
            Err(Ended::Cancelled { .. }) => return Ok(()),
            widened => widened?,
        }
        debug!(pipeline = %self.parts.plan.config.name, shard = self.parts.shard, window, "taking more deliveries at a time");
        Ok(())
    }

    /// What went badly is begun with care: each end of a channel may count against a delivery limit.
    fn care_for_the_next(&self) -> Care {
        match self.care {
            Care::Full if self.received > 0 && self.eased.is_none() => Care::GENTLE,
            care => care,
        }
    }

    async fn drain(&mut self) -> Result<(), Ended> {
        if !self.paused {
            info!(pipeline = %self.parts.plan.config.name, shard = self.parts.shard, "draining: no more deliveries are taken");
        }
        let buffered = self.intake.cancel().await?.len();
        debug!(buffered, "deliveries the client had buffered go back to the queue");
        self.flush_the_rest();
        Ok(())
    }

    /// From here on the epoch ends once all that is held is flushed.
    fn flush_the_rest(&mut self) {
        self.draining = true;
        if self.worker.as_ref().is_some_and(|worker| worker.held() > 0) {
            self.seal();
        }
    }

    /// Ends what still goes on: waits for the worker and the write in flight, gives everything not durable back.
    async fn wind_up(mut self, end: &EpochEnd) {
        let cause = match end {
            EpochEnd::Drained => RequeueCause::Shutdown,
            EpochEnd::Lost(_) => RequeueCause::ConnectionLost,
            EpochEnd::Aborted => RequeueCause::StoreUnavailable,
            EpochEnd::Paused => RequeueCause::BreakerOpen,
        };
        self.over.cancel();
        if matches!(end, EpochEnd::Paused) {
            // What is gone cannot be cancelled, and takes no more either.
            let _ = self.intake.cancel().await;
            self.consuming = None;
        }
        if let Some(suspect) = self.suspect.take() {
            // It goes back, but we live: nothing is to be held against it.
            self.parts.journal.release(&suspect).await;
        }
        if let Some(LookUp { receipt, task, .. }) = self.look_up.take() {
            task.abort();
            receipt.requeue(cause);
        }
        if self.work.is_some() {
            let (worker, sealed) = worked(&mut self.work).await;
            self.worked(worker, sealed);
        }
        if let Some(commit) = self.commit.take() {
            let Written { of, sealed, fate } = *join(commit.task).await;
            match fate {
                // The channel may be gone; then the rows stand, and their deliveries come once more.
                Fate::Durable => {
                    if let Err(ended) = self.acknowledge(of, sealed).await {
                        warn!(pipeline = %self.parts.plan.config.name, reason = %ended, "a durable flush could not be acked: its deliveries come once more");
                    }
                }
                Fate::Abandoned(abandoned) => {
                    sealed.receipt.requeue(cause);
                    self.unresolved.extend(abandoned.unresolved);
                }
            }
        }
        for sealed in self.sealed.drain(..) {
            sealed.receipt.requeue(cause);
        }
        if let Some(worker) = self.worker.take() {
            worker.abandon(cause);
        }
        if matches!(end, EpochEnd::Paused) {
            self.parts.breaker.all_stopped().await;
        }
        if !matches!(end, EpochEnd::Lost(_)) {
            give_back(self.intake.as_mut(), self.settler.as_mut()).await;
        }
        self.settler.close().await;
        self.parts.committer.close(&self.acked).await;
    }

    /// Publishes what the shard holds.
    fn show(&self) {
        let gauges = self.parts.gauges();
        let Some(worker) = &self.worker else { return };
        let written = self.commit.as_ref().map(|commit| commit.oldest);
        let waiting = self.sealed.front().map(|sealed| sealed.oldest);
        let looked_up = self.look_up.as_ref().and_then(|look_up| Some(look_up.arrivals.first()?.delivery.received_at));
        gauges.set_oldest_unacked([written, waiting, worker.oldest(), looked_up].into_iter().flatten().min());
        gauges.set_open_partitions(worker.open_partitions());
        let (bodies, batches) = worker.held_bytes();
        let bodies = bodies + self.look_up.as_ref().map_or(0, |look_up| look_up.bytes);
        let sealed: u64 =
            self.sealed.iter().map(Sealed::bytes).chain(self.commit.as_ref().map(|commit| commit.bytes)).sum();
        gauges.set_held_bytes(Owner::Bodies, bodies);
        gauges.set_held_bytes(Owner::Batches, batches);
        gauges.set_held_bytes(Owner::Files, usize::try_from(sealed).unwrap_or(usize::MAX));
    }
}
