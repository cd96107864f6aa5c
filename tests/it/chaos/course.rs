//! How far a run has come, for the threads that make it: when one fails, all end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const LANES: usize = 2;

#[derive(Default)]
pub struct Course {
    pub published: AtomicU64,
    /// The mark of the next fault of each lane: beyond it, the publisher is ahead of the saboteur.
    next_fault: [AtomicU64; LANES],
    lanes_done: AtomicUsize,
    failed: AtomicBool,
}

impl Course {
    pub fn set_next_fault(&self, lane: usize, at: u64) {
        self.next_fault[lane].store(at, SeqCst);
    }

    pub fn lane_done(&self, lane: usize) {
        self.set_next_fault(lane, u64::MAX);
        self.lanes_done.fetch_add(1, SeqCst);
    }

    pub fn faults_are_over(&self) -> bool {
        self.lanes_done.load(SeqCst) == LANES
    }

    /// Whether a fault that is due has not happened yet.
    pub fn fault_is_overdue(&self) -> bool {
        let published = self.published.load(SeqCst);
        self.next_fault.iter().any(|at| published > at.load(SeqCst))
    }

    /// Waits for `condition`; false when it did not come about within `limit`.
    pub fn wait(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while !condition() {
            if start.elapsed() > limit {
                return false;
            }
            self.rest(Duration::from_millis(20));
        }
        true
    }

    /// Lets time pass.
    pub fn rest(&self, time: Duration) {
        assert!(!self.failed.load(SeqCst), "another part of the run failed");
        std::thread::sleep(time);
    }

    /// To be held by each thread of the run.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }
}

/// Tells the others when its thread panics.
pub struct Watch<'a>(&'a Course);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, SeqCst);
        }
    }
}
