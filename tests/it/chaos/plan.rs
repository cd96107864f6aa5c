//! How long and how hard: the short form of `make test`, or what the environment says (`make chaos`).

use std::path::PathBuf;
use std::str::FromStr;

use crate::harness::program::BINARY;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    S3,
    File,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub store: StoreKind,
    /// `classic` or `quorum`.
    pub queue_type: String,
    /// Events to be confirmed, at least.
    pub events: u64,
    /// Events a second while no fault is overdue.
    pub rate: u64,
    pub kills: usize,
    pub broker_kills: usize,
    pub outages: usize,
    /// Faults of each other kind.
    pub others: usize,
    pub seed: u64,
    pub binary: PathBuf,
    /// Where the report goes, if anywhere.
    pub report: Option<PathBuf>,
}

impl Plan {
    /// From `PARQUEDUCT_CHAOS_*`; what is not set is as `make test` has it.
    pub fn from_environment(store: StoreKind, queue_type: &str) -> Self {
        Self {
            store,
            queue_type: read("QUEUE").unwrap_or_else(|| queue_type.to_owned()),
            events: read("EVENTS").unwrap_or(20_000),
            rate: read("RATE").unwrap_or(1_500),
            kills: read("KILLS").unwrap_or(6),
            broker_kills: read("BROKER_KILLS").unwrap_or(1),
            outages: read("OUTAGES").unwrap_or(2),
            others: read("OTHERS").unwrap_or(1),
            seed: read("SEED").unwrap_or_else(|| fastrand::u64(..)),
            binary: read("BINARY").unwrap_or_else(|| PathBuf::from(BINARY)),
            report: read("REPORT"),
        }
    }

    /// Such as `quorum-s3`.
    pub fn name(&self) -> String {
        let store = match self.store {
            StoreKind::S3 => "s3",
            StoreKind::File => "file",
        };
        format!("{}-{store}", self.queue_type)
    }
}

fn read<T: FromStr>(name: &str) -> Option<T> {
    let name = format!("PARQUEDUCT_CHAOS_{name}");
    let text = std::env::var(&name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be read")))
}
