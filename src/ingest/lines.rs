//! Lines of a file as a list of deliveries: the number of a line is its tag, and places are bytes.

use std::io::{self, BufRead};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::dlq::record::AttemptSource;
use crate::event::{Delivery, Message};
use crate::ingest::arrival::Arrival;
use crate::ingest::list::{Batch, List, Place};
use crate::ingest::worker::Origin;

const LINES_PER_BATCH: usize = 4096;
const BYTES_PER_BATCH: usize = 4 * 1024 * 1024;
/// Batches that may wait for the worker.
const BATCHES_AHEAD: usize = 2;
/// Room made for a line before its length is known.
const LINE_BYTES_USUAL: usize = 512;

/// Lines to take, decompressed already.
pub struct FileSource {
    pub name: String,
    /// Digest of the file's bytes as they lie on disk, in hex: what a repeat is known by. `None` (standard input): never resumed.
    pub digest: Option<String>,
    pub reader: Box<dyn BufRead + Send>,
    /// Longer lines end the list with an error: they could not even be kept as dead letters.
    pub line_bytes_max: usize,
    pub now: fn() -> DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("{file}: reading failed after {bytes} bytes")]
    Unreadable { file: String, bytes: u64, source: io::Error },
    #[error("{file}: line {line} is longer than {limit} bytes: is this newline-delimited JSON?")]
    TooLong { file: String, line: u64, limit: usize },
}

/// The lines that are not blank.
pub fn lines(source: FileSource) -> List {
    let (name, digest) = (source.name.clone(), source.digest.clone());
    let origin = Origin { shard: 0, source: AttemptSource::File, file: Some(name.clone()) };
    let open = move |skip| {
        let (batches_tx, batches) = mpsc::channel(BATCHES_AHEAD);
        let lines = Lines { source, at: Place::default(), skip };
        // Not awaited at the end: a read of standard input may wait for ever, and nothing read there is taken any more.
        tokio::task::spawn_blocking(move || lines.read_all(&batches_tx));
        batches
    };
    List { name, digest, origin, standing: None, open: Box::new(open) }
}

struct Lines {
    source: FileSource,
    at: Place,
    /// What is durable already and passed over.
    skip: Place,
}

impl Lines {
    /// Sends every line that is not blank and not durable yet: at once while somebody waits for lines, so that a slow pipe
    /// is not held up, and in large batches while nobody does.
    fn read_all(mut self, batches: &mpsc::Sender<Batch>) {
        let mut batch = Batch::default();
        let mut bytes = 0;
        loop {
            let body = match self.next_line() {
                Ok(Some(body)) => body,
                Ok(None) => break,
                Err(failure) => {
                    batch.failure = Some(failure.into());
                    break;
                }
            };
            if self.at.offset <= self.skip.offset || body.trim_ascii().is_empty() {
                continue;
            }
            bytes += body.len();
            batch.ends.push(self.at);
            let message = Message { body, ..Message::default() };
            let delivery = Delivery { tag: self.at.items, received_at: (self.source.now)(), message };
            batch.arrivals.push(Arrival::new(delivery));
            let full = batch.arrivals.len() >= LINES_PER_BATCH || bytes >= BYTES_PER_BATCH;
            if full {
                bytes = 0;
                if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            } else if let Ok(free) = batches.try_reserve() {
                bytes = 0;
                free.send(std::mem::take(&mut batch));
            }
        }
        // Nobody listens any more when the run was stopped: then these lines are read again by the next.
        batches.blocking_send(batch).ok();
    }

    /// The next line without its end; `None` after the last.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let mut line = Vec::with_capacity(LINE_BYTES_USUAL);
        let limit = self.source.line_bytes_max as u64 + 2;
        let read = io::Read::take(&mut self.source.reader, limit).read_until(b'\n', &mut line);
        let file = || self.source.name.clone();
        let read = read.map_err(|source| LineError::Unreadable { file: file(), bytes: self.at.offset, source })?;
        if read == 0 {
            return Ok(None);
        }
        self.at.offset += read as u64;
        self.at.items += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if read as u64 == limit {
            return Err(LineError::TooLong { file: file(), line: self.at.items, limit: self.source.line_bytes_max });
        }
        Ok(Some(line))
    }
}
