//! Mends what the broker sends where the client library would refuse it, so that one message costs one dead letter and not
//! the connection or, by tables nested thousands deep, the process. Pure: bytes in, bytes out, and notes of what was
//! changed.
//!
//! RabbitMQ passes on names and texts that are not UTF-8; the client library keeps them as `String`s. So every
//! `basic.deliver`, `basic.get-ok` and content header is looked through (AMQP 0-9-1, 2.3.5 and 4.2) before the library sees
//! it:
//!
//! - each byte of a short string that is not UTF-8 becomes `?`;
//! - a header whose properties cannot be read at all, nest deeper than `DEPTH_MAX`, or are more than a frame may hold,
//!   becomes one without properties.
//!
//! Bodies and all other frames pass as they are. What cannot be understood as frames passes unseen: the client library
//! then says what is wrong.

mod payload;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::connect::FRAME_BYTES_MAX;
use crate::event::Unreadable;

/// Tables and arrays within each other, beyond which properties are not read: far below what overflows the client
/// library's stack (2,000), and within what readers of JSON take.
const DEPTH_MAX: usize = 64;

/// A header larger than any frame should be, which RabbitMQ sends all the same: it adds to the headers of messages, and
/// its own limit may be above ours. Larger ones pass unseen.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// A frame: type (1 byte), channel (2), size (4), payload, end (1).
const HEAD_BYTES: usize = 7;
const END: u8 = 0xce;
const METHOD: u8 = 1;
const HEADER: u8 = 2;

/// What could not be read of one delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    pub tag: u64,
    /// Never empty.
    pub unreadable: Vec<Unreadable>,
}

/// The notes on their way from the connection's thread to the intake. Each is there before its delivery is; they are as
/// many at most as deliveries are unacked.
#[derive(Debug, Default)]
pub struct Notes(Mutex<VecDeque<Note>>);

impl Notes {
    fn add(&self, note: Note) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(note);
    }

    /// Takes the notes of deliveries up to and with `tag`, in their order.
    pub fn take_through(&self, tag: u64) -> VecDeque<Note> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = notes.partition_point(|note| note.tag <= tag);
        let later = notes.split_off(count);
        std::mem::replace(&mut notes, later)
    }
}

/// One connection's incoming bytes, in the order they come.
#[derive(Debug)]
pub struct Mender {
    notes: Arc<Notes>,
    /// Bytes of a frame that the client library takes: what it offers, or the broker's own limit if that is less.
    frame_bytes_max: usize,
    /// Bytes still to come of a frame that passes as it is.
    passing: usize,
    /// The beginning of a frame that must be whole to be looked through, or, once `given` is `Some`, that frame.
    held: Vec<u8>,
    /// How much of the finished frame in `held` is handed on.
    given: Option<usize>,
    /// The delivery whose content header comes next on that channel: what RabbitMQ sends in one piece.
    announced: Option<Announced>,
}

#[derive(Debug)]
struct Announced {
    channel: [u8; 2],
    tag: u64,
    unreadable: Vec<Unreadable>,
}

/// How a frame is dealt with, by its head.
enum Manner {
    /// So many bytes pass as they are.
    Pass(usize),
    /// So many bytes must be there together.
    Look(usize),
}

fn manner(head: &[u8; HEAD_BYTES]) -> Manner {
    let [kind, _, _, size @ ..] = head;
    // No overflow: `usize` has 64 bits where this runs, and elsewhere such a frame never ends.
    let whole = HEAD_BYTES.saturating_add(u32::from_be_bytes(*size) as usize).saturating_add(1);
    match *kind {
        METHOD if whole <= FRAME_BYTES_MAX as usize => Manner::Look(whole),
        HEADER if whole <= HEADER_BYTES_MAX => Manner::Look(whole),
        _ => Manner::Pass(whole),
    }
}

/// Takes the properties out of a header's frame, which has some; returns how many bytes are left.
fn strip(frame: &mut [u8]) -> usize {
    let end = HEAD_BYTES + payload::STRIPPED_BYTES;
    frame[3..HEAD_BYTES].copy_from_slice(&(payload::STRIPPED_BYTES as u32).to_be_bytes());
    frame[HEAD_BYTES + payload::BEFORE_PROPERTIES..end].fill(0);
    frame[end] = END;
    end + 1
}

impl Mender {
    pub fn new(notes: Arc<Notes>) -> Self {
        let frame_bytes_max = FRAME_BYTES_MAX as usize;
        Self { notes, frame_bytes_max, passing: 0, held: Vec::new(), given: None, announced: None }
    }

    /// Hands on what was held and is whole now, as much as `out` takes.
    pub fn give(&mut self, out: &mut [u8]) -> usize {
        let Some(given) = self.given else { return 0 };
        let rest = &self.held[given..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        if count == rest.len() {
            self.held.clear();
            self.given = None;
        } else {
            self.given = Some(given + count);
        }
        count
    }

    /// How many bytes the next [`Mender::take`] may bring: no more than complete the frame that is held.
    pub fn wanted(&self) -> usize {
        match self.held.first_chunk() {
            None if self.held.is_empty() => usize::MAX,
            None => HEAD_BYTES - self.held.len(),
            Some(head) => match manner(head) {
                Manner::Look(whole) | Manner::Pass(whole) => whole - self.held.len(),
            },
        }
    }

    /// Looks at what came, mends it in place, and returns how many of the first of `bytes` are fit to be handed on. Of the
    /// others some are held, and [`Mender::give`] hands them on later.
    pub fn take(&mut self, bytes: &mut [u8]) -> usize {
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            self.finish();
            return 0;
        }
        let (mut at, mut end) = (0, bytes.len());
        loop {
            let passing = self.passing.min(end - at);
            self.passing -= passing;
            at += passing;
            let rest = &mut bytes[at..end];
            match rest.first_chunk().map(manner) {
                None if rest.is_empty() => return at,
                Some(Manner::Pass(whole)) => self.passing = whole,
                Some(Manner::Look(whole)) if whole <= rest.len() => {
                    let left = self.look(&mut rest[..whole]);
                    if left < whole {
                        rest.copy_within(whole.., left);
                        end -= whole - left;
                    }
                    at += left;
                }
                None | Some(Manner::Look(_)) => {
                    self.held.extend_from_slice(rest);
                    return at;
                }
            }
        }
    }

    /// Sees whether what is held is enough to go on.
    fn finish(&mut self) {
        match self.held.first_chunk().map(manner) {
            Some(Manner::Pass(whole)) => {
                self.passing = whole - self.held.len();
                self.given = Some(0);
            }
            Some(Manner::Look(whole)) if whole == self.held.len() => {
                let mut frame = std::mem::take(&mut self.held);
                let left = self.look(&mut frame);
                frame.truncate(left);
                self.held = frame;
                self.given = Some(0);
            }
            None | Some(Manner::Look(_)) => {}
        }
    }

    /// Mends a whole frame, and returns how many of its bytes are left: all, or a header without properties.
    fn look(&mut self, frame: &mut [u8]) -> usize {
        let whole = frame.len();
        let [kind, high, low, _, _, _, _, payload @ .., END] = frame else { return whole };
        let channel = [*high, *low];
        if *kind == METHOD {
            let mut unreadable = Vec::new();
            if let Some(tag) = payload::mend_deliver(payload, &mut unreadable) {
                self.announced = Some(Announced { channel, tag, unreadable });
            } else if let Some(limit) = payload::frame_limit(payload) {
                self.frame_bytes_max = self.frame_bytes_max.min(limit);
            }
        } else if let Some(announced) = self.announced.take_if(|announced| announced.channel == channel) {
            let Announced { tag, mut unreadable, .. } = announced;
            let mendable = payload::mend_header(payload, whole <= self.frame_bytes_max, &mut unreadable);
            if !unreadable.is_empty() {
                self.notes.add(Note { tag, unreadable });
            }
            if !mendable {
                return strip(frame);
            }
        }
        whole
    }
}
