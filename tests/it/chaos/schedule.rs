//! Which fault happens when: drawn from a seed, so that a run can be had again.
//!
//! There are two lanes, which know nothing of each other, so that their faults overlap in all ways. A lane's faults come
//! one after another, each when so many events are published.

use std::collections::BTreeMap;

use super::plan::{Plan, StoreKind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL to a replica, which is then started again.
    Kill,
    /// SIGKILL to the broker's node, which is then started again.
    BrokerKill,
    /// Nothing can be written to the store.
    Outage,
    /// 503 SlowDown to writes.
    SlowDown,
    /// 500 InternalError to writes.
    InternalError,
    /// Writes that are never answered, and have no effect.
    Timeout,
    /// Writes that take effect, after which the connection closes.
    AnswerLost,
    /// Writes that take effect and are answered with 500.
    ErrorAfterEffect,
    /// A replica's connection to the broker is cut.
    Cut,
    /// A replica's connection to the broker gets slow.
    Slow,
    /// A replica's connection to the broker goes dead, and nobody is told.
    Freeze,
    /// Acks of a replica are swallowed, then its connection is cut.
    AcksLost,
    /// The publisher's connection is cut.
    PublisherCut,
}

impl Kind {
    const OF_S3: [Self; 5] =
        [Self::SlowDown, Self::InternalError, Self::Timeout, Self::AnswerLost, Self::ErrorAfterEffect];
    const OF_THE_NETWORK: [Self; 5] = [Self::Cut, Self::Slow, Self::Freeze, Self::AcksLost, Self::PublisherCut];

    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "program killed",
            Self::BrokerKill => "broker killed",
            Self::Outage => "store away",
            Self::SlowDown => "store: 503 SlowDown",
            Self::InternalError => "store: 500",
            Self::Timeout => "store: no answer",
            Self::AnswerLost => "store: done, answer lost",
            Self::ErrorAfterEffect => "store: done, answer 500",
            Self::Cut => "connection cut",
            Self::Slow => "connection slow",
            Self::Freeze => "connection half-open",
            Self::AcksLost => "acks lost",
            Self::PublisherCut => "publisher cut off",
        }
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub kind: Kind,
    /// Events published before it.
    pub at: u64,
    /// The replica it happens to, where it happens to one.
    pub replica: usize,
    /// How hard, from 0 to 1: how long it lasts, or how many requests it hits.
    pub force: f64,
}

pub const REPLICAS: usize = 2;

/// The faults of both lanes: those that end processes, and those of what is around them.
pub fn draw(plan: &Plan) -> [Vec<Planned>; 2] {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let processes = repeated([(Kind::Kill, plan.kills), (Kind::BrokerKill, plan.broker_kills)]);
    let mut around = repeated([(Kind::Outage, plan.outages)]);
    around.extend(repeated(Kind::OF_THE_NETWORK.map(|kind| (kind, plan.others))));
    if plan.store == StoreKind::S3 {
        around.extend(repeated(Kind::OF_S3.map(|kind| (kind, plan.others))));
    }
    [processes, around].map(|mut kinds| {
        random.shuffle(&mut kinds);
        let apart = plan.events / (kinds.len() as u64 + 1);
        let place = |(number, kind)| {
            let at = (number as u64 + 1) * apart - random.u64(0..=apart / 2);
            Planned { kind, at, replica: random.usize(0..REPLICAS), force: random.f64() }
        };
        kinds.into_iter().enumerate().map(place).collect()
    })
}

fn repeated<const N: usize>(kinds: [(Kind, usize); N]) -> Vec<Kind> {
    kinds.into_iter().flat_map(|(kind, times)| vec![kind; times]).collect()
}

/// How many of each kind there are.
pub fn count(faults: impl IntoIterator<Item = Kind>) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for kind in faults {
        *counts.entry(kind).or_default() += 1;
    }
    counts
}
