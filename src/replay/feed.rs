//! Dead letters as a list of deliveries: the place of a letter in the plan is its tag, and letters that are recovered
//! already are passed through as repeats.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use ulid::Ulid;

use crate::dlq::attempts::Recovered;
use crate::dlq::lineage::Lineage;
use crate::dlq::record::Returnable;
use crate::dlq::records::Records;
use crate::event::{Delivery, Message};
use crate::ingest::{Arrival, Batch, Before, Given, Place};
use crate::rejection::{Code, Issue, Rejection};
use crate::replay::blocking;
use crate::replay::canary::step_end;
use crate::replay::fix::{Fix, FixFailure};
use crate::replay::letters::{self, LettersError};
use crate::replay::manifest::Line;
use crate::replay::pace::{Bucket, Pace};

/// Letters judged in one go: what a stop may come late by.
const BATCH_LETTERS: usize = 512;

/// Batches that may wait to be judged.
const BATCHES_AHEAD: usize = 2;

/// Told of every letter that a fix was tried on: as it was, and as it is.
pub type Told = Arc<dyn Fn(&Message, Result<&Message, &FixFailure>) + Send + Sync>;

/// What letters are given back from.
#[derive(Clone)]
pub struct Feed {
    pub records: Arc<Records>,
    pub pipeline: String,
    pub lines: Arc<Vec<Line>>,
    /// Letters that are not given back, for they were.
    pub recovered: Option<Arc<Recovered>>,
    pub fix: Option<Arc<Fix>>,
    pub told: Option<Told>,
    pub job: Option<Ulid>,
    /// A few first; see [`step_end`].
    pub canary: bool,
    pub pace: Pace,
    pub now: fn() -> DateTime<Utc>,
}

/// Why no more letters come.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Letters(#[from] LettersError),
}

/// Some letters.
type Window = HashMap<Ulid, Box<Returnable>>;

impl Feed {
    /// Gives the letters after a place.
    pub fn open(self, from: Place) -> mpsc::Receiver<Batch> {
        let (batches_tx, batches) = mpsc::channel(BATCHES_AHEAD);
        tokio::spawn(async move {
            if let Err(failure) = self.give(from, &batches_tx).await {
                let batch = Batch { failure: Some(failure.into()), ..Batch::default() };
                // Nobody listens any more when the run was stopped.
                batches_tx.send(batch).await.ok();
            }
        });
        batches
    }

    async fn give(&self, from: Place, batches: &mpsc::Sender<Batch>) -> Result<(), FeedError> {
        let total = self.lines.len();
        let (mut at, mut next) = (usize::try_from(from.items).unwrap_or(total), None);
        let (mut bucket, began) = (Bucket::new(self.pace), Instant::now());
        while at < total {
            let end = letters::window_end(&self.lines, at);
            let reading: JoinHandle<_> = next.take().unwrap_or_else(|| self.start_reading(at, end));
            // The next ones are read while these are given.
            let window = tokio::select! {
                read = reading => read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?,
                () = batches.closed() => return Ok(()),
            };
            if end < total {
                next = Some(self.start_reading(end, letters::window_end(&self.lines, end)));
            }
            let mut window = Some(window);
            while at < end {
                let until = self.batch_end(at, end);
                let (feed, given) = (self.clone(), window.take().expect("it is put back below"));
                let (batch, rest) = blocking(move || feed.batch(at, until, given)).await;
                window = Some(rest);
                let bytes = self.lines[at..until].iter().map(|line| line.body_bytes).sum();
                let wait = bucket.take(until - at, bytes, began.elapsed());
                tokio::select! {
                    () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                    () = std::future::ready(()), if wait.is_zero() => {}
                    () = batches.closed() => return Ok(()),
                }
                if batches.send(batch).await.is_err() {
                    return Ok(());
                }
                at = until;
            }
        }
        Ok(())
    }

    fn batch_end(&self, at: usize, window_end: usize) -> usize {
        let longest = BATCH_LETTERS.min(self.pace.burst());
        (at + longest).min(window_end).min(self.step_end(at))
    }

    fn step_end(&self, at: usize) -> usize {
        let total = self.lines.len();
        if self.canary { step_end(at as u64, total as u64) as usize } else { total }
    }

    fn start_reading(&self, at: usize, end: usize) -> JoinHandle<Result<Window, FeedError>> {
        let feed = self.clone();
        tokio::spawn(async move {
            let open: Vec<Line> =
                feed.lines[at..end].iter().filter(|line| !feed.is_recovered(line.letter)).cloned().collect();
            Ok(letters::returnable(&feed.records, &feed.pipeline, &open).await?)
        })
    }

    fn is_recovered(&self, letter: Ulid) -> bool {
        self.recovered.as_ref().is_some_and(|recovered| recovered.contains(letter))
    }

    /// The letters from the place `at` up to `end`, mended; they leave `window`.
    fn batch(&self, at: usize, end: usize, mut window: Window) -> (Batch, Window) {
        let mut batch = Batch { flush: end == self.step_end(at) && end < self.lines.len(), ..Batch::default() };
        for place in at..end {
            let id = self.lines[place].letter;
            let after = place as u64 + 1;
            batch.ends.push(Place { offset: after, items: after });
            let given = window.remove(&id).map(|letter| self.given(*letter));
            let (message, given) = given.unwrap_or_else(|| (Message::default(), recovered(id)));
            let delivery = Delivery { tag: after, received_at: (self.now)(), message };
            batch.arrivals.push(Arrival { delivery, event: None, given: Some(Box::new(given)) });
        }
        (batch, window)
    }

    fn given(&self, letter: Returnable) -> (Message, Given) {
        let Returnable { id, message, received_at, groups, attempts, wire, .. } = letter;
        if let (Some(fix), Some(wire)) = (&self.fix, &wire) {
            fix.learn(wire);
        }
        let lineage = Lineage { letter: id, attempt: attempts + 1, job: self.job, groups };
        let (message, before) = self.mend(message);
        (message, Given { lineage, first_arrived: Some(received_at), before })
    }

    fn mend(&self, mut message: Message) -> (Message, Before) {
        let Some(fix) = &self.fix else { return (message, Before::Open) };
        let outcome = match &self.told {
            None => fix.change(&mut message),
            Some(told) => {
                let before = message.clone();
                let outcome = fix.change(&mut message);
                told(&before, outcome.as_ref().map(|()| &message));
                outcome
            }
        };
        match outcome {
            Ok(()) => (message, Before::Open),
            Err(failure) => (message, Before::Unmended(rejection(&failure))),
        }
    }
}

/// A letter that is passed over: nothing of it is read.
fn recovered(letter: Ulid) -> Given {
    let lineage = Lineage { letter, attempt: 0, job: None, groups: Vec::new() };
    Given { lineage, first_arrived: None, before: Before::Recovered }
}

fn rejection(failure: &FixFailure) -> Rejection {
    Issue::at(Code::ReplayFix, &failure.path, failure.expected.as_str(), failure.actual.as_str()).into()
}
