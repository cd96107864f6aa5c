//! The open batches of one shard, one for each partition of each type of events. Pure: when to close them is the flow's to say.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};

use super::layout::Layout;
use super::rows::{Row, Rows};
use crate::rejection::{Code, Issue, Rejection};

/// Bytes of events one batch takes. Columns count their bytes in 32 bits, and an event's text may grow sixfold as JSON (a
/// control character becomes `\u0001`).
const BATCH_BYTES_MAX: usize = i32::MAX as usize / 6;

/// The open batches of one shard.
#[derive(Debug)]
pub struct Batches {
    /// Of each type of events.
    layouts: Vec<Arc<Layout>>,
    open: Vec<Open>,
    /// Of each type, by partition.
    places: Vec<HashMap<Box<str>, usize>>,
    /// The place of the last row's partition: events mostly come from one.
    last: usize,
    rows: usize,
    bytes: usize,
    /// Reused from row to row.
    partition: String,
}

#[derive(Debug)]
struct Open {
    event: usize,
    partition: Box<str>,
    rows: Rows,
    bytes: usize,
}

/// Why a row was not taken. The batches are as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The event cannot be archived: its dead letter.
    Row(Rejection),
    /// No fault of the event: close the batches, then push it again. Empty batches never say this.
    Full,
}

/// A closed batch: the rows of one partition, ready to be a file.
#[derive(Clone, Debug)]
pub struct SealedBatch {
    /// The place of the rows' type among the layouts.
    pub event: usize,
    /// As [`super::Partitioner::write`] gives it.
    pub partition: String,
    pub rows: RecordBatch,
    /// [`Row::delivery`] of each row, in order.
    pub deliveries: Vec<u32>,
}

impl Batches {
    /// For rows of types of events with these layouts, at least one.
    pub fn new(layouts: impl IntoIterator<Item = Arc<Layout>>) -> Self {
        let layouts: Vec<_> = layouts.into_iter().collect();
        let places = vec![HashMap::new(); layouts.len()];
        Self { layouts, open: Vec::new(), places, last: 0, rows: 0, bytes: 0, partition: String::new() }
    }

    /// Appends `row`, of the type at the place `event`, to the batch of its partition, opening one if need be. Whether
    /// something of it is in `_extra`.
    ///
    /// # Errors
    /// See [`Refused`]; on either, nothing is appended.
    pub fn push(&mut self, event: usize, row: &Row<'_>) -> Result<bool, Refused> {
        let mut partition = std::mem::take(&mut self.partition);
        let result = self.push_to(event, row, &mut partition);
        self.partition = partition;
        result
    }

    fn push_to(&mut self, event: usize, row: &Row<'_>, partition: &mut String) -> Result<bool, Refused> {
        let layout = &self.layouts[event];
        layout.partitioner.write(row.event, row.event_time_us, partition).map_err(Refused::Row)?;
        let bytes = size(row);
        if bytes > BATCH_BYTES_MAX {
            let limit = format!("at most {BATCH_BYTES_MAX} bytes");
            return Err(Refused::Row(Issue::at(Code::EncodeRefused, "", limit, "more").into()));
        }
        let place = self.find(event, partition);
        match place {
            Some(place) if self.open[place].bytes + bytes > BATCH_BYTES_MAX => return Err(Refused::Full),
            None if self.open.len() >= layout.options.open_partitions_max.max(1) => return Err(Refused::Full),
            _ => {}
        }
        let (place, has_extra) = match place {
            Some(place) => (place, self.open[place].rows.push(row).map_err(Refused::Row)?),
            None => {
                let mut rows = Rows::new(Arc::clone(layout));
                let has_extra = rows.push(row).map_err(Refused::Row)?;
                self.places[event].insert(partition.as_str().into(), self.open.len());
                self.open.push(Open { event, partition: partition.as_str().into(), rows, bytes: 0 });
                (self.open.len() - 1, has_extra)
            }
        };
        self.last = place;
        self.open[place].bytes += bytes;
        self.bytes += bytes;
        self.rows += 1;
        Ok(has_extra)
    }

    fn find(&self, event: usize, partition: &str) -> Option<usize> {
        match self.open.get(self.last) {
            Some(open) if open.event == event && *open.partition == *partition => Some(self.last),
            _ => self.places[event].get(partition).copied(),
        }
    }

    /// Rows in all open batches.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the events in all open batches: bodies, names and headers. Memory is near that, and below three times it
    /// while buffers double.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn open_partitions(&self) -> usize {
        self.open.len()
    }

    /// Closes all batches, in the order of types and of their partitions' names, and leaves none open.
    pub fn seal(&mut self) -> Vec<SealedBatch> {
        let mut open = std::mem::take(&mut self.open);
        *self = Self::new(std::mem::take(&mut self.layouts));
        open.sort_unstable_by(|one, other| (one.event, &one.partition).cmp(&(other.event, &other.partition)));
        open.into_iter().map(Open::seal).collect()
    }
}

impl Open {
    fn seal(self) -> SealedBatch {
        let (rows, deliveries) = self.rows.finish();
        SealedBatch { event: self.event, partition: self.partition.into(), rows, deliveries }
    }
}

/// Bytes of memory a row costs, near enough to bound by.
fn size(row: &Row<'_>) -> usize {
    row.message.size() + row.queue.len()
}

impl SealedBatch {
    /// The rows `from` to `to`, not included.
    pub(super) fn slice(&self, from: usize, to: usize) -> SealedBatch {
        SealedBatch {
            event: self.event,
            partition: self.partition.clone(),
            rows: self.rows.slice(from, to - from),
            deliveries: self.deliveries[from..to].to_vec(),
        }
    }

    /// The batch without the rows at those places.
    pub(super) fn without(&self, places: &[usize]) -> SealedBatch {
        let stays = |place: &usize| !places.contains(place);
        let mask: BooleanArray = (0..self.deliveries.len()).map(|place| Some(stays(&place))).collect();
        let rows = arrow_select::filter::filter_record_batch(&self.rows, &mask)
            .expect("the mask is as long as the batch, and filtering shrinks every column");
        let deliveries = (0..self.deliveries.len()).filter(stays).map(|place| self.deliveries[place]).collect();
        SealedBatch { event: self.event, partition: self.partition.clone(), rows, deliveries }
    }
}
