//! What goes wrong, and the random schedules of it.

use std::fmt;
use std::time::Duration;

use parqueduct::broker::memory::AckFault;

/// Every kind of fault, so that a test can count that each happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All connections are cut while deliveries are held.
    BrokerCut,
    /// The broker takes back what connections hold, and their owners notice only later.
    BrokerHalfOpen,
    /// The broker ends all subscriptions while deliveries are held.
    BrokerObjects,
    ConsumerCancelled,
    ConnectRefused,
    AckUnsent,
    AckSwallowed,
    AckUnheard,
    /// An answer 5xx; nothing took effect.
    StoreRefuses,
    /// An answer 403; nothing took effect.
    StoreDenies,
    /// The request took effect, and the connection broke before the answer.
    StoreAnswerLost,
    /// The request takes effect after its client stopped waiting.
    StoreLate,
    /// The answer comes after seconds.
    StoreSlow,
    /// The request never arrives, and no answer comes.
    StoreSilent,
    /// SIGTERM, and a new start.
    Drained,
    /// A drain that took too long.
    Halted,
    /// SIGKILL while deliveries are held, and a new start.
    Killed,
}

impl Fault {
    pub const ALL: [Fault; 17] = [
        Fault::BrokerCut,
        Fault::BrokerHalfOpen,
        Fault::BrokerObjects,
        Fault::ConsumerCancelled,
        Fault::ConnectRefused,
        Fault::AckUnsent,
        Fault::AckSwallowed,
        Fault::AckUnheard,
        Fault::StoreRefuses,
        Fault::StoreDenies,
        Fault::StoreAnswerLost,
        Fault::StoreLate,
        Fault::StoreSlow,
        Fault::StoreSilent,
        Fault::Drained,
        Fault::Halted,
        Fault::Killed,
    ];
}

impl From<AckFault> for Fault {
    fn from(fault: AckFault) -> Self {
        match fault {
            AckFault::Unsent => Fault::AckUnsent,
            AckFault::Swallowed => Fault::AckSwallowed,
            AckFault::Unheard => Fault::AckUnheard,
        }
    }
}

/// How often each fault happened.
#[derive(Clone, Default)]
pub struct Tally([usize; Fault::ALL.len()]);

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Fault::ALL.iter().map(|&fault| (fault, self.of(fault)))).finish()
    }
}

impl Tally {
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub fn of(&self, fault: Fault) -> usize {
        self.0[fault as usize]
    }

    pub fn join(&mut self, other: &Tally) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }
}

/// Which parts of the world fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Family {
    pub broker: bool,
    pub store: bool,
    pub ends: bool,
}

/// One story: what runs, what is published, what goes wrong and when.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub shards: u16,
    pub processes: usize,
    pub prefetch: u16,
    pub flush_rows: usize,
    pub flush_bytes: usize,
    pub flush_age: Duration,
    pub by_date: bool,
    pub open_partitions_max: usize,
    /// How long a flush is held while the store is in trouble.
    pub hold_max: Duration,
    /// How long the flush of an owner that cannot be seen is left alone.
    pub grace: Duration,
    /// `dedupe = "window"`, of that length.
    pub dedupe_window: Option<Duration>,
    /// Whether processes can see each other live; else only the grace tells.
    pub visible: bool,
    /// When, counted from the start; in order.
    pub acts: Vec<(Duration, Act)>,
}

#[derive(Clone, Debug)]
pub enum Act {
    Publish { good: usize, bad: usize },
    Cut,
    HalfOpen,
    Object,
    Cancel,
    RefuseConnects(usize),
    FailAck(AckFault),
    Trouble { lasts: Duration, one_in: u32, faults: Vec<Fault> },
    End { process: usize, how: End, down: Duration },
}

/// How a process is ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Drain,
    /// Halted when it is not drained within that time.
    Halt(Duration),
    /// Killed when it is not drained within that time.
    Kill(Duration),
}

/// Longer than any request is under way.
pub const GRACE: Duration = Duration::from_secs(300);
/// Acts happen within this time.
const SPAN: Duration = Duration::from_secs(60);

impl Schedule {
    pub fn random(seed: u64, family: Family) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let prefetch = rng.u16(2..=40);
        let processes = rng.usize(1..=2);
        let mut acts: Vec<_> = (0..rng.usize(2..=4))
            .map(|_| {
                let bad = if rng.u8(0..3) == 0 { rng.usize(1..=5) } else { 0 };
                (moment(&mut rng, SPAN), Act::Publish { good: rng.usize(1..=16), bad })
            })
            .collect();
        for _ in 0..rng.usize(1..=6) {
            // Mostly soon after something was published: later there is nothing left to go wrong.
            let near = acts[rng.usize(0..acts.len())].0;
            let within = Duration::from_secs(if rng.bool() { 1 } else { 12 });
            let at = near + moment(&mut rng, within);
            acts.extend(family.act(&mut rng, processes).map(|act| (at, act)));
        }
        acts.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            shards: 1 + u16::from(rng.u8(0..3) == 0),
            processes,
            prefetch,
            flush_rows: rng.usize(1..=usize::from(prefetch)).max(6),
            flush_bytes: if rng.u8(0..4) == 0 { 3000 } else { 1 << 20 },
            flush_age: Duration::from_millis(rng.u64(200..=6000)),
            by_date: rng.u8(0..5) == 0,
            open_partitions_max: rng.usize(1..=3),
            hold_max: Duration::from_secs(if rng.bool() { 10 } else { 150 }),
            grace: GRACE,
            dedupe_window: None,
            visible: rng.bool(),
            acts,
        }
    }
}

impl Family {
    fn act(self, rng: &mut fastrand::Rng, processes: usize) -> Option<Act> {
        let kinds = [(self.broker, 0), (self.store, 1), (self.ends, 2)];
        let kinds: Vec<_> = kinds.iter().filter(|(fails, _)| *fails).map(|(_, kind)| *kind).collect();
        Some(match rng.choice(&kinds)? {
            0 => broker_act(rng),
            1 => store_act(rng),
            _ => end_act(rng, processes),
        })
    }
}

fn broker_act(rng: &mut fastrand::Rng) -> Act {
    match rng.u8(0..7) {
        0 => Act::Cut,
        6 => Act::HalfOpen,
        1 => Act::Object,
        2 => Act::Cancel,
        3 => Act::RefuseConnects(rng.usize(1..=4)),
        _ => Act::FailAck(*rng.choice(&[AckFault::Unsent, AckFault::Swallowed, AckFault::Unheard]).expect("three")),
    }
}

fn store_act(rng: &mut fastrand::Rng) -> Act {
    use Fault::{StoreAnswerLost, StoreDenies, StoreLate, StoreRefuses, StoreSilent, StoreSlow};
    const ALL: [Fault; 6] = [StoreRefuses, StoreDenies, StoreAnswerLost, StoreLate, StoreSlow, StoreSilent];
    let outage = rng.u8(0..3) == 0;
    // Also longer than a flush is held, and than its grace.
    let lasts = Duration::from_secs(match rng.u8(0..4) {
        0 => 400,
        1 => rng.u64(40..=150),
        _ => rng.u64(1..=40),
    });
    let faults = match (outage, rng.u8(0..3)) {
        (true, _) => vec![*rng.choice(&[StoreRefuses, StoreDenies, StoreSilent]).expect("three")],
        (false, 0) => vec![*rng.choice(&ALL).expect("six")],
        (false, _) => ALL.to_vec(),
    };
    Act::Trouble { lasts, one_in: if outage { 1 } else { rng.u32(2..=8) }, faults }
}

fn end_act(rng: &mut fastrand::Rng, processes: usize) -> Act {
    let patience = match rng.u8(0..3) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(rng.u64(1..=120)),
        _ => Duration::from_secs(rng.u64(1..=40)),
    };
    let how = match rng.u8(0..5) {
        0 => End::Drain,
        1 | 2 => End::Halt(patience),
        _ => End::Kill(patience),
    };
    Act::End { process: rng.usize(0..processes), how, down: moment(rng, Duration::from_secs(20)) }
}

fn moment(rng: &mut fastrand::Rng, within: Duration) -> Duration {
    Duration::from_millis(rng.u64(0..=within.as_millis() as u64))
}
