//! The letters of a plan, read in their order. Memory is bounded by a window of them, whatever the order of their files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use ulid::Ulid;

use crate::dlq::filter::Filter;
use crate::dlq::record::Returnable;
use crate::dlq::records::{Found, Records, Unreadable};
use crate::replay::manifest::Line;
use crate::store::flush::FlushError;

/// Letters read at a time, and the bytes of their bodies.
const WINDOW_LETTERS: usize = 16_384;
const WINDOW_BYTES: u64 = 16 << 20;

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

/// The letters of `lines` of one pipeline, by id, whole and with what became of them.
///
/// # Errors
/// See [`LettersError`].
pub async fn read(records: &Records, pipeline: &str, lines: &[Line]) -> Result<HashMap<Ulid, Found>, LettersError> {
    if lines.is_empty() {
        return Ok(HashMap::new());
    }
    let (filter, ids) = (around(pipeline, lines), ids(lines));
    let (found, unreadable) = records.among(&filter, ids).await?;
    all_of(lines, found.into_iter().map(|found| (found.letter.id, found)), unreadable)
}

/// The same, as far as it takes to give them back.
///
/// # Errors
/// See [`LettersError`].
pub async fn returnable(
    records: &Records,
    pipeline: &str,
    lines: &[Line],
) -> Result<HashMap<Ulid, Box<Returnable>>, LettersError> {
    if lines.is_empty() {
        return Ok(HashMap::new());
    }
    let (filter, ids) = (around(pipeline, lines), ids(lines));
    let (found, unreadable) = records.returnable(&filter, ids).await?;
    all_of(lines, found.into_iter().map(|letter| (letter.id, letter)), unreadable)
}

/// Which files may hold them.
fn around(pipeline: &str, lines: &[Line]) -> Filter {
    let times = || lines.iter().map(|line| line.dead_at);
    Filter {
        pipeline: Some(pipeline.to_owned()),
        since: times().min(),
        until: times().max().map(|last| last + TimeDelta::microseconds(1)),
        ..Filter::default()
    }
}

fn ids(lines: &[Line]) -> Arc<HashSet<Ulid>> {
    Arc::new(lines.iter().map(|line| line.letter).collect())
}

fn all_of<T>(
    lines: &[Line],
    found: impl Iterator<Item = (Ulid, T)>,
    unreadable: Vec<Unreadable>,
) -> Result<HashMap<Ulid, T>, LettersError> {
    let found: HashMap<Ulid, T> = found.collect();
    let mut missing = lines.iter().map(|line| line.letter).filter(|letter| !found.contains_key(letter));
    let Some(example) = missing.next() else { return Ok(found) };
    // A file that cannot be read may hold them.
    match unreadable.into_iter().next() {
        Some(file) => Err(file.into()),
        None => Err(LettersError::Gone { missing: missing.count() + 1, example }),
    }
}
