//! The law as a type: every delivery is settled once, and a forgotten one goes back to the queue.
//!
//! A [`Receipt`] stands for consecutive deliveries of one channel. It is settled by consuming it; dropping it counts its
//! deliveries as requeued, which is what the broker makes of them once their channel is gone. So the ledger closes
//! whatever path the code takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::rejection::Code;

/// Why deliveries went back to the queue; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequeueCause {
    /// The connection, the channel or the consumer ended while we held them.
    ConnectionLost,
    /// The process stopped before they were durable.
    Shutdown,
    /// The object store could not take them.
    StoreUnavailable,
    /// Most events failed, so nothing is consumed for a while.
    BreakerOpen,
    /// The code let go of them: a defect, though nothing is lost.
    Dropped,
}

impl RequeueCause {
    pub const ALL: [RequeueCause; 5] = [
        RequeueCause::ConnectionLost,
        RequeueCause::Shutdown,
        RequeueCause::StoreUnavailable,
        RequeueCause::BreakerOpen,
        RequeueCause::Dropped,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            RequeueCause::ConnectionLost => "connection_lost",
            RequeueCause::Shutdown => "shutdown",
            RequeueCause::StoreUnavailable => "store_unavailable",
            RequeueCause::BreakerOpen => "breaker_open",
            RequeueCause::Dropped => "dropped",
        }
    }
}

/// A pipeline's account of every delivery. Counters only grow; `in_flight` is their difference.
#[derive(Debug)]
pub struct Ledger {
    received: AtomicU64,
    archived: AtomicU64,
    suppressed: AtomicU64,
    dead_lettered: Box<[AtomicU64]>,
    requeued: [AtomicU64; RequeueCause::ALL.len()],
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            received: AtomicU64::default(),
            archived: AtomicU64::default(),
            suppressed: AtomicU64::default(),
            dead_lettered: Code::ALL.iter().map(|_| AtomicU64::default()).collect(),
            requeued: Default::default(),
        }
    }
}

impl Ledger {
    /// Takes the duty for `deliveries` more deliveries, the last of which has the tag `through`.
    pub fn receive(self: &Arc<Self>, deliveries: u64, through: u64) -> Receipt {
        self.received.fetch_add(deliveries, Relaxed);
        Receipt { through, deliveries, ledger: Arc::clone(self) }
    }

    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub fn archived(&self) -> u64 {
        self.archived.load(Relaxed)
    }

    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Relaxed)
    }

    pub fn dead_lettered(&self, code: Code) -> u64 {
        self.dead_lettered[code as usize].load(Relaxed)
    }

    pub fn dead_lettered_all(&self) -> u64 {
        self.dead_lettered.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub fn requeued(&self, cause: RequeueCause) -> u64 {
        self.requeued[cause as usize].load(Relaxed)
    }

    pub fn requeued_all(&self) -> u64 {
        self.requeued.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Received and not yet settled. Settled is read first, so a concurrent settlement never makes it negative.
    pub fn in_flight(&self) -> u64 {
        let settled = self.archived() + self.suppressed() + self.dead_lettered_all() + self.requeued_all();
        self.received().saturating_sub(settled)
    }
}

/// What became of the deliveries of a receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub archived: u64,
    pub suppressed: u64,
    /// Dead letters by code, each code once.
    pub dead_lettered: Vec<(Code, u64)>,
}

impl Tally {
    pub fn add_dead_letter(&mut self, code: Code) {
        match self.dead_lettered.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.dead_lettered.push((code, 1)),
        }
    }

    pub fn dead_letters(&self) -> u64 {
        self.dead_lettered.iter().map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.archived + self.suppressed + self.dead_letters()
    }
}

/// The duty to settle consecutive deliveries of one channel.
#[must_use = "a dropped receipt requeues its deliveries"]
#[derive(Debug)]
pub struct Receipt {
    through: u64,
    deliveries: u64,
    ledger: Arc<Ledger>,
}

impl Receipt {
    /// The tag of the last delivery it stands for: what a cumulative ack names.
    pub fn through(&self) -> u64 {
        self.through
    }

    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Takes over the duty of `later`, whose deliveries follow on this one's.
    pub fn join(&mut self, mut later: Receipt) {
        self.through = self.through.max(later.through);
        self.deliveries += std::mem::take(&mut later.deliveries);
    }

    /// Splits off the duty for its first `deliveries`, the last of which has the tag `through`.
    ///
    /// # Panics
    /// If it stands for fewer.
    pub fn split_first(&mut self, deliveries: u64, through: u64) -> Receipt {
        self.deliveries = self.deliveries.checked_sub(deliveries).expect("a part is not larger than the whole");
        Receipt { through, deliveries, ledger: Arc::clone(&self.ledger) }
    }

    /// Records that all its deliveries are durable as `tally` says.
    ///
    /// # Panics
    /// If `tally` does not account for every delivery: then nothing may be acked, and the shard must end.
    pub fn settle(mut self, tally: &Tally) {
        assert_eq!(tally.total(), self.deliveries, "a flush accounts for every delivery it settles");
        self.deliveries = 0;
        self.ledger.archived.fetch_add(tally.archived, Relaxed);
        self.ledger.suppressed.fetch_add(tally.suppressed, Relaxed);
        for (code, count) in &tally.dead_lettered {
            self.ledger.dead_lettered[*code as usize].fetch_add(*count, Relaxed);
        }
    }

    /// Records that its deliveries go back to the queue.
    pub fn requeue(mut self, cause: RequeueCause) {
        let deliveries = std::mem::take(&mut self.deliveries);
        self.ledger.requeued[cause as usize].fetch_add(deliveries, Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.ledger.requeued[RequeueCause::Dropped as usize].fetch_add(self.deliveries, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_receipt_goes_back_to_the_queue() {
        let ledger = Arc::new(Ledger::default());
        let mut receipt = ledger.receive(3, 3);
        drop(receipt.split_first(1, 1));
        assert_eq!((ledger.requeued(RequeueCause::Dropped), ledger.in_flight()), (1, 2));
        drop(receipt);
        assert_eq!((ledger.requeued(RequeueCause::Dropped), ledger.in_flight()), (3, 0));
    }

    #[test]
    fn the_ledger_closes_over_joined_and_settled_receipts() {
        let ledger = Arc::new(Ledger::default());
        let mut receipt = ledger.receive(2, 2);
        receipt.join(ledger.receive(3, 5));
        assert_eq!((receipt.through(), receipt.deliveries(), ledger.in_flight()), (5, 5, 5));
        let mut tally = Tally { archived: 3, ..Tally::default() };
        tally.add_dead_letter(Code::JsonSyntax);
        tally.add_dead_letter(Code::JsonSyntax);
        receipt.settle(&tally);
        assert_eq!((ledger.archived(), ledger.dead_lettered(Code::JsonSyntax)), (3, 2));
        assert_eq!((ledger.in_flight(), ledger.requeued_all()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "accounts for every delivery")]
    fn a_tally_that_forgets_a_delivery_is_refused() {
        let ledger = Arc::new(Ledger::default());
        ledger.receive(2, 2).settle(&Tally { archived: 1, ..Tally::default() });
    }
}
