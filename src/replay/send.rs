//! One run of a job whose letters go to a broker: chunk by chunk, while the log lets it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use ulid::Ulid;

use crate::broker::publish::PublisherLimits;
use crate::config::Secret;
use crate::dlq::attempts::Recovered;
use crate::dlq::log::JobCounts;
use crate::dlq::records::Found;
use crate::event::Message;
use crate::ingest::Stop;
use crate::receipt::Tally;
use crate::replay::broker::{
    CHUNK_LETTERS_MAX, ChunkError, Courier, CourierError, CourierParts, Errand, Fate, Letter, Progress, Unfit, progress,
};
use crate::replay::canary::{Canary, step_end};
use crate::replay::destination::Destination;
use crate::replay::fix::Fix;
use crate::replay::letters::{self, next_attempt};
use crate::replay::manifest::Line;
use crate::replay::pace::{Bucket, Pace};
use crate::replay::plan::Plan;
use crate::replay::reins::{Pass, Reins, Run, rest};
use crate::replay::{ReplayError, blocking};

/// How often a chunk is sent again that the broker did not answer for or did not take, before the job halts; and the wait
/// in between.
const RETRIES_MAX: u32 = 8;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long a chunk that is under way may take when the job is to stop. What is not answered for by then is owed.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// One run of such a job.
pub(super) struct SendRun<'a> {
    pub reins: Reins<'a>,
    pub plan: Plan,
    pub lines: Arc<Vec<Line>>,
    pub fix: Option<Arc<Fix>>,
    pub pace: Pace,
}

/// What is known of letters before a pass.
struct Known {
    progress: Progress,
    owed: HashMap<Ulid, u32>,
    /// Confirmed for another job of the same plan.
    sent: HashSet<Ulid>,
    recovered: Option<Arc<Recovered>>,
}

impl Known {
    /// Letters that this job passes over.
    fn skips(&self, letter: Ulid) -> bool {
        self.sent.contains(&letter) || self.recovered.as_ref().is_some_and(|recovered| recovered.contains(letter))
    }

    fn attempt(&self, found: &Found) -> u32 {
        self.owed.get(&found.letter.id).copied().unwrap_or_else(|| next_attempt(found))
    }
}

#[async_trait]
impl<'a> Run<'a> for SendRun<'a> {
    fn reins(&mut self) -> &mut Reins<'a> {
        &mut self.reins
    }

    async fn pass(&mut self) -> Result<Pass, ReplayError> {
        let (courier, progress) = match self.courier().await {
            Ok(begun) => begun,
            Err(CourierError::Connect(error)) => {
                return Ok(Pass::Halt(format!("the broker cannot be had: {error}")));
            }
            Err(error) => return Err(error.into()),
        };
        let known = self.known(progress).await?;
        let strict = !self.reins.halted_before().await?;
        let leave = self.reins.leave();
        match self.reins.while_it_runs(&leave, self.send_all(courier, known, strict, &leave)).await {
            // Another process sends as well: the log tells that it has the job, or that somebody is to look.
            Err(ReplayError::Courier(CourierError::Chunk(ChunkError::Taken { .. }))) => {
                Ok(Pass::Halt("another process sent letters of it as well".to_owned()))
            }
            passed => passed,
        }
    }

    async fn counts(&self) -> Result<JobCounts, ReplayError> {
        let progress = progress(&self.reins.replays.store, self.reins.id).await.map_err(CourierError::from)?;
        Ok(counts(&progress))
    }
}

impl SendRun<'_> {
    async fn courier(&self) -> Result<(Courier, Progress), CourierError> {
        let replays = self.reins.replays;
        let terms = &self.plan.terms;
        let parts = CourierParts {
            rabbitmq: replays.config.rabbitmq.clone(),
            surroundings: replays.broker,
            store: replays.store.clone(),
            publisher: PublisherLimits::default(),
            retries_max: RETRIES_MAX,
            backoff: replays.surroundings.backoff(BACKOFF),
        };
        let uri = match &terms.destination {
            Destination::Exchange { uri_file: Some(path), .. } => Some(self.uri(path).await?),
            _ => None,
        };
        let errand = Errand {
            job: self.reins.id,
            run: (replays.surroundings.ulid)(),
            destination: terms.destination.clone(),
            sending: terms.sending.clone(),
            uri,
        };
        Courier::begin(parts, errand).await
    }

    async fn uri(&self, path: &str) -> Result<Secret, CourierError> {
        let (read, file) = (self.reins.replays.broker.read, Path::new(path).to_owned());
        match blocking(move || read(&file)).await {
            Ok(content) => Ok(Secret::of_file(path.into(), &content)),
            Err(source) => Err(CourierError::Uri { path: path.to_owned(), source }),
        }
    }

    async fn known(&self, progress: Progress) -> Result<Known, ReplayError> {
        let replays = self.reins.replays;
        let owed = progress.owed.iter().copied().collect();
        let sent = replays.sent_for(&self.reins.state, &self.plan.hash, Some(self.reins.id)).await?;
        let recovered = replays.passed_over(&self.plan).await?;
        Ok(Known { progress, owed, sent, recovered })
    }

    /// Goes over all letters once, and sends those that are left.
    async fn send_all(
        &self,
        mut courier: Courier,
        known: Known,
        strict: bool,
        leave: &Stop,
    ) -> Result<Pass, ReplayError> {
        let total = self.lines.len();
        let mut canary = Canary::new(0, total as u64, BTreeSet::new(), strict);
        let (mut bucket, began) = (Bucket::new(self.pace), Instant::now());
        let mut so_far = counts(&known.progress);
        let mut at = 0;
        self.reins.watch.begins(known.progress.settled.len() as u64, total as u64);
        while at < total {
            let end = letters::window_end(&self.lines, at);
            let mut window = self.read(&self.lines[at..end], &known).await?;
            while at < end {
                let until = self.chunk_end(at, end);
                let lines = &self.lines[at..until];
                let chunk: Vec<Found> = lines.iter().filter_map(|line| window.remove(&line.letter)).collect();
                let bytes = chunk.iter().map(|found| found.letter.body_bytes()).sum();
                if !rest(bucket.take(chunk.len(), bytes, began.elapsed()), leave).await {
                    courier.close().await;
                    return Ok(Pass::Left);
                }
                let Some(fates) = self.send(&mut courier, chunk, &known, leave).await? else { return Ok(Pass::Left) };
                let owed = fates.iter().filter(|fate| fate.is_owed()).count();
                fates.iter().for_each(|fate| add(&mut so_far, fate));
                let passed_over = lines
                    .iter()
                    .filter(|line| !known.progress.settled.contains_key(&line.letter) && known.skips(line.letter));
                so_far.skipped += passed_over.count() as u64;
                at = until;
                self.reins.watch.advances(at as u64, &Tally::default());
                if owed > 0 {
                    courier.close().await;
                    return Ok(Pass::Halt(format!(
                        "the broker did not take {owed} letters, or did not say so, in {RETRIES_MAX} attempts: they are sent again when it goes on"
                    )));
                }
                let before =
                    lines.iter().filter_map(|line| known.progress.settled.get(&line.letter)).filter(|_| strict);
                let failed = before.chain(&fates).filter(|fate| **fate != Fate::Confirmed).count();
                if let (true, Err(why)) =
                    (self.plan.terms.canary, canary.judged(lines.len() as u64, &vec![Vec::new(); failed]))
                {
                    courier.close().await;
                    let example = fates.iter().find(|fate| **fate != Fate::Confirmed);
                    let example = example.map(|fate| format!(", such as one {fate}")).unwrap_or_default();
                    return Ok(Pass::Halt(format!("{why}{example}")));
                }
            }
        }
        courier.close().await;
        Ok(Pass::All(so_far))
    }

    fn chunk_end(&self, at: usize, window_end: usize) -> usize {
        let total = self.lines.len();
        let step = if self.plan.terms.canary { step_end(at as u64, total as u64) as usize } else { total };
        (at + CHUNK_LETTERS_MAX.min(self.pace.burst())).min(window_end).min(step)
    }

    async fn read(&self, lines: &[Line], known: &Known) -> Result<HashMap<Ulid, Found>, ReplayError> {
        let is_open = |line: &&Line| !known.progress.settled.contains_key(&line.letter) && !known.skips(line.letter);
        let open: Vec<Line> = lines.iter().filter(is_open).cloned().collect();
        Ok(letters::read(&self.reins.replays.records, &self.plan.terms.pipeline, &open).await?)
    }

    /// `None`: the job is to stop, and the broker did not answer for all of them in time.
    async fn send(
        &self,
        courier: &mut Courier,
        chunk: Vec<Found>,
        known: &Known,
        leave: &Stop,
    ) -> Result<Option<Vec<Fate>>, ReplayError> {
        let fix = self.fix.clone();
        let (chunk, mended) = blocking(move || {
            let mended = chunk.iter().map(|found| mend(fix.as_deref(), &found.letter.message)).collect::<Vec<_>>();
            (chunk, mended)
        })
        .await;
        let letters: Vec<Letter<'_>> = chunk
            .iter()
            .zip(&mended)
            .map(|(found, mended)| Letter {
                letter: &found.letter,
                message: match mended {
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => Ok(&found.letter.message),
                    Err(unfit) => Err(unfit),
                },
                attempt: known.attempt(found),
            })
            .collect();
        let out_of_time = async {
            leave.drain.cancelled().await;
            tokio::time::sleep(LEAVE_GRACE).await;
        };
        tokio::select! {
            fates = courier.send(&letters) => Ok(Some(fates?)),
            () = out_of_time => Ok(None),
        }
    }
}

/// The message as the fix makes it; `None`: as it is.
fn mend(fix: Option<&Fix>, message: &Message) -> Result<Option<Message>, Unfit> {
    let mended = fix.map(|fix| fix.apply(message)).transpose();
    mended.map_err(|failure| Unfit::Fix { what: failure.to_string() })
}

/// What became of the letters of a job so far; those that are owed are not among them.
pub(super) fn counts(progress: &Progress) -> JobCounts {
    let mut counts = JobCounts::default();
    progress.settled.values().for_each(|fate| add(&mut counts, fate));
    counts
}

fn add(counts: &mut JobCounts, fate: &Fate) {
    match fate {
        Fate::Confirmed => counts.sent += 1,
        Fate::Returned { .. } => counts.unroutable += 1,
        Fate::Unfit { .. } => counts.refused += 1,
        Fate::Nacked | Fate::Unknown => {}
    }
}
