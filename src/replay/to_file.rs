//! One run of a job whose letters go into a file. The file is whole or not there: a run that was stopped begins anew.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::dlq::line;
use crate::dlq::log::JobCounts;
use crate::dlq::record::Encoder;
use crate::dlq::records::Found;
use crate::ingest::{Stop, chain};
use crate::receipt::Tally;
use crate::replay::fix::Fix;
use crate::replay::letters;
use crate::replay::manifest::Line;
use crate::replay::pace::{Bucket, Pace};
use crate::replay::plan::Plan;
use crate::replay::reins::{Pass, Reins, Run, rest};
use crate::replay::{Draft, ReplayError, blocking};

/// Letters written in one go: what a stop may come late by.
const BATCH_LETTERS: usize = 512;

/// What a file's name ends with that is to be Parquet.
const PARQUET: &str = "parquet";

/// One run of such a job.
pub(super) struct FileRun<'a> {
    pub reins: Reins<'a>,
    pub plan: Plan,
    pub lines: Arc<Vec<Line>>,
    pub fix: Option<Arc<Fix>>,
    pub pace: Pace,
    pub path: String,
}

/// A file in the making.
enum Output {
    Lines(Box<dyn Draft>),
    Parquet(Box<Encoder<Box<dyn Draft>>>),
}

#[async_trait]
impl<'a> Run<'a> for FileRun<'a> {
    fn reins(&mut self) -> &mut Reins<'a> {
        &mut self.reins
    }

    async fn pass(&mut self) -> Result<Pass, ReplayError> {
        let leave = self.reins.leave();
        self.reins.while_it_runs(&leave, self.write_all(&leave)).await
    }

    /// Nothing, for there is no file until it is whole.
    async fn counts(&self) -> Result<JobCounts, ReplayError> {
        Ok(JobCounts::default())
    }
}

impl FileRun<'_> {
    async fn write_all(&self, leave: &Stop) -> Result<Pass, ReplayError> {
        let replays = self.reins.replays;
        let cannot = |error: &dyn std::error::Error| Ok(Pass::Halt(format!("cannot write {}: {error}", self.path)));
        let mut output = match self.begin() {
            Ok(output) => output,
            Err(error) => return cannot(&error),
        };
        let recovered = replays.passed_over(&self.plan).await?;
        let (mut counts, mut bucket, began) = (JobCounts::default(), Bucket::new(self.pace), Instant::now());
        let (mut at, total) = (0, self.lines.len());
        self.reins.watch.begins(0, total as u64);
        while at < total {
            let end = letters::window_end(&self.lines, at);
            let is_open = |line: &&Line| recovered.as_ref().is_none_or(|recovered| !recovered.contains(line.letter));
            let open: Vec<Line> = self.lines[at..end].iter().filter(is_open).cloned().collect();
            let mut window = letters::read(&replays.records, &self.plan.terms.pipeline, &open).await?;
            while at < end {
                let until = (at + BATCH_LETTERS.min(self.pace.burst())).min(end);
                let lines = &self.lines[at..until];
                let batch: Vec<Found> = lines.iter().filter_map(|line| window.remove(&line.letter)).collect();
                counts.skipped += (lines.len() - batch.len()) as u64;
                let bytes = batch.iter().map(|found| found.letter.body_bytes()).sum();
                if !rest(bucket.take(batch.len(), bytes, began.elapsed()), leave).await {
                    return Ok(Pass::Left);
                }
                let fix = self.fix.clone();
                let written = blocking(move || {
                    let (mended, refused) = mend(fix.as_deref(), batch);
                    let written = mended.len() as u64;
                    output.write(&mended).map(|()| (output, written, refused))
                });
                match written.await {
                    Ok((back, written, refused)) => {
                        output = back;
                        counts.sent += written;
                        counts.refused += refused;
                    }
                    Err(error) => return cannot(&error),
                }
                at = until;
                self.reins.watch.advances(at as u64, &Tally::default());
            }
        }
        match blocking(move || output.finish()).await {
            Ok(()) => Ok(Pass::All(counts)),
            Err(error) => cannot(&error),
        }
    }

    fn begin(&self) -> io::Result<Output> {
        let path = Path::new(&self.path);
        let draft = (self.reins.replays.draft)(path)?;
        if path.extension().is_some_and(|extension| extension == PARQUET) {
            let encoder = Encoder::unsorted(draft).map_err(io_error)?;
            return Ok(Output::Parquet(Box::new(encoder)));
        }
        Ok(Output::Lines(draft))
    }
}

impl Output {
    fn write(&mut self, batch: &[Found]) -> io::Result<()> {
        match self {
            Output::Lines(draft) => batch.iter().try_for_each(|found| line::write(draft, found)),
            Output::Parquet(encoder) => {
                let letters: Vec<_> = batch.iter().map(|found| &*found.letter).collect();
                encoder.write(&letters).map_err(io_error)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Output::Lines(draft) => draft.finish(),
            Output::Parquet(encoder) => encoder.finish().map_err(io_error)?.finish(),
        }
    }
}

/// The letters as the fix makes them, and how many it cannot be done for.
fn mend(fix: Option<&Fix>, mut batch: Vec<Found>) -> (Vec<Found>, u64) {
    let Some(fix) = fix else { return (batch, 0) };
    let before = batch.len();
    batch.retain_mut(|found| fix.change(&mut found.letter.message).is_ok());
    let refused = (before - batch.len()) as u64;
    (batch, refused)
}

fn io_error(error: impl std::error::Error) -> io::Error {
    io::Error::other(chain(&error))
}
