//! The letters of a plan, read in their order. Memory is bounded by a window of them, whatever the order of their files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use ulid::Ulid;

use crate::dlq::filter::Filter;
use crate::dlq::records::{Found, Records, Unreadable};
use crate::replay::manifest::Line;
use crate::store::flush::FlushError;

/// Letters read at a time, and the bytes of their bodies.
const WINDOW_LETTERS: usize = 32_768;
const WINDOW_BYTES: u64 = 32 << 20;

/// Why letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("of the letters of the plan {missing} are gone, such as {example}: make a new plan")]
    Gone { missing: usize, example: Ulid },
}

/// Which attempt the next one at a letter is; its death was the first.
pub fn next_attempt(Found { letter, later, .. }: &Found) -> u32 {
    let own = letter.attempts.iter().map(|attempt| attempt.n);
    own.chain(later.iter().map(|attempt| attempt.n)).max().unwrap_or(1) + 1
}

/// Where the window ends that begins at the place `at`: at least one letter further.
pub fn window_end(lines: &[Line], at: usize) -> usize {
    let mut bytes = 0;
    let within = lines[at..].iter().take(WINDOW_LETTERS).take_while(|line| {
        bytes += line.body_bytes;
        bytes <= WINDOW_BYTES
    });
    at + within.count().max(1)
}

/// The letters of `lines` of one pipeline, by id, with what became of them.
///
/// # Errors
/// See [`LettersError`].
pub async fn read(records: &Records, pipeline: &str, lines: &[Line]) -> Result<HashMap<Ulid, Found>, LettersError> {
    let times = || lines.iter().map(|line| line.dead_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(HashMap::new()) };
    let filter = Filter {
        pipeline: Some(pipeline.to_owned()),
        since: Some(first),
        until: Some(last + TimeDelta::microseconds(1)),
        ..Filter::default()
    };
    let ids: HashSet<Ulid> = lines.iter().map(|line| line.letter).collect();
    let (found, unreadable) = records.among(&filter, Arc::new(ids)).await?;
    let found: HashMap<Ulid, Found> = found.into_iter().map(|found| (found.letter.id, found)).collect();
    let mut missing = lines.iter().map(|line| line.letter).filter(|letter| !found.contains_key(letter));
    let Some(example) = missing.next() else { return Ok(found) };
    // A file that cannot be read may hold them.
    match unreadable.into_iter().next() {
        Some(file) => Err(file.into()),
        None => Err(LettersError::Gone { missing: missing.count() + 1, example }),
    }
}
