//! The payloads of `basic.deliver`, of `basic.get-ok` and of content headers, walked through as the client library does
//! (AMQP 0-9-1, 4.2.5, with RabbitMQ's types: <https://www.rabbitmq.com/amqp-0-9-1-errata>, section 3).

use std::ops::Range;

use super::DEPTH_MAX;
use crate::event::Unreadable;

/// Names of headers that are noted one by one; the table is noted as a whole as well.
const NAMES_MAX: usize = 16;

/// Class `connection` and method `tune`.
const TUNE: [u8; 4] = [0, 10, 0, 30];
/// Class `basic` and method `deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// Class `basic` and method `get-ok`: the same without a consumer, and with a count at its end.
const GET_OK: [u8; 4] = [0, 60, 0, 71];
const BASIC: [u8; 2] = [0, 60];
/// Class, weight and size of the body, before the properties.
pub(super) const BEFORE_PROPERTIES: usize = 12;
/// A header without properties: what is before them, and the flags.
pub(super) const STRIPPED_BYTES: usize = BEFORE_PROPERTIES + 2;

/// What a property is on the wire.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Table,
    Octet,
    Time,
}

/// The properties of class `basic` in the order of their flags, from the highest bit (AMQP 0-9-1, 1.8.3).
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Text),
    ("content_encoding", Kind::Text),
    (Unreadable::HEADERS, Kind::Table),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Text),
    ("reply_to", Kind::Text),
    ("expiration", Kind::Text),
    ("message_id", Kind::Text),
    ("timestamp", Kind::Time),
    ("type", Kind::Text),
    ("user_id", Kind::Text),
    ("app_id", Kind::Text),
    ("cluster_id", Kind::Text),
];
/// Flags without a property: none of RabbitMQ's messages has them.
const NO_PROPERTIES: u16 = 0b11;

/// Mends a `basic.deliver` or a `basic.get-ok`; returns its delivery tag. `None`: it is another method, or none that can be
/// read.
pub(super) fn mend_deliver(payload: &mut [u8], unreadable: &mut Vec<Unreadable>) -> Option<u64> {
    let has_consumer = payload.starts_with(&DELIVER);
    if !has_consumer && !payload.starts_with(&GET_OK) {
        return None;
    }
    let end = payload.len();
    let mut walk = Walk { bytes: payload, at: DELIVER.len(), original: None, found: unreadable, names: 0 };
    if has_consumer {
        // Its tag is the broker's own.
        walk.short(end)?;
    }
    let tag = u64::from_be_bytes(walk.number(end)?);
    walk.take(1, end)?;
    for place in ["exchange", "routing_key"] {
        let text = walk.short(end)?;
        walk.mend(text, |_| place.to_owned());
    }
    Some(tag)
}

/// Bytes of a frame at most, as a `connection.tune` says; `None`: it is another method, or sets no limit.
pub(super) fn frame_limit(payload: &[u8]) -> Option<usize> {
    // After the number of channels.
    let limit = payload.strip_prefix(&TUNE)?.get(2..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*limit)).ok().filter(|limit| *limit > 0)
}

/// Mends a content header of class `basic`. `false`: its properties cannot be read, or do not fit into a frame; they are
/// noted as a whole, and the header is to be stripped of them.
pub(super) fn mend_header(payload: &mut [u8], fits: bool, unreadable: &mut Vec<Unreadable>) -> bool {
    if !payload.starts_with(&BASIC) || payload.len() < STRIPPED_BYTES {
        return true;
    }
    let section = &mut payload[BEFORE_PROPERTIES..];
    let before = unreadable.len();
    let mut walk = Walk { bytes: section, at: 0, original: None, found: unreadable, names: 0 };
    let headers = walk.properties().filter(|_| fits);
    let (names, original) = (walk.names, walk.original.take());
    let original = original.as_deref().unwrap_or(section);
    match &headers {
        Some(headers) if names > 0 => {
            unreadable.push(Unreadable::new(Unreadable::HEADERS, &original[headers.clone()]));
        }
        Some(_) => {}
        None => {
            // All the places are in it.
            unreadable.truncate(before);
            unreadable.push(Unreadable::new(Unreadable::PROPERTIES, original));
        }
    }
    headers.is_some()
}

/// A walk through a payload. Every step is checked against the end of what it is in; `None` means that it goes beyond.
struct Walk<'p, 'f> {
    bytes: &'p mut [u8],
    at: usize,
    /// `bytes` before anything was mended.
    original: Option<Vec<u8>>,
    found: &'f mut Vec<Unreadable>,
    /// Names of headers that were mended.
    names: usize,
}

/// Where a header is: its name, and those of the tables around it.
struct Path<'p> {
    around: Option<&'p Path<'p>>,
    name: Range<usize>,
}

impl Walk<'_, '_> {
    fn take(&mut self, length: usize, end: usize) -> Option<Range<usize>> {
        let stop = self.at.checked_add(length).filter(|stop| *stop <= end)?;
        let taken = self.at..stop;
        self.at = stop;
        Some(taken)
    }

    fn number<const N: usize>(&mut self, end: usize) -> Option<[u8; N]> {
        let taken = self.take(N, end)?;
        self.bytes[taken].first_chunk().copied()
    }

    /// A short string.
    fn short(&mut self, end: usize) -> Option<Range<usize>> {
        let [length] = self.number(end)?;
        self.take(usize::from(length), end)
    }

    /// What has its length before it: a long string, bytes, a table, an array.
    fn long(&mut self, end: usize) -> Option<Range<usize>> {
        let length = u32::from_be_bytes(self.number(end)?);
        self.take(usize::try_from(length).ok()?, end)
    }

    /// All properties, which fill `bytes`; returns where the table of headers is, with its length.
    fn properties(&mut self) -> Option<Range<usize>> {
        let end = self.bytes.len();
        let flags = u16::from_be_bytes(self.number(end)?);
        let mut headers = 0..0;
        for (bit, (name, kind)) in PROPERTIES.into_iter().enumerate() {
            if flags & (0x8000 >> bit) == 0 {
                continue;
            }
            match kind {
                Kind::Text => {
                    let text = self.short(end)?;
                    self.mend(text, |_| name.to_owned());
                }
                Kind::Table => {
                    let start = self.at;
                    self.table(end, None, 0)?;
                    headers = start..self.at;
                }
                Kind::Octet => {
                    self.take(1, end)?;
                }
                Kind::Time => {
                    self.take(8, end)?;
                }
            }
        }
        (flags & NO_PROPERTIES == 0 && self.at == end).then_some(headers)
    }

    fn table(&mut self, end: usize, around: Option<&Path<'_>>, depth: usize) -> Option<()> {
        let inside = self.long(end)?;
        self.at = inside.start;
        while self.at < inside.end {
            let path = Path { around, name: self.short(inside.end)? };
            self.mend_name(&path);
            self.value(inside.end, Some(&path), depth)?;
        }
        Some(())
    }

    fn value(&mut self, end: usize, path: Option<&Path<'_>>, depth: usize) -> Option<()> {
        let [tag] = self.number(end)?;
        let length = match tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => return self.long(end).map(drop),
            b'A' | b'F' if depth == DEPTH_MAX => return None,
            b'F' => return self.table(end, path, depth + 1),
            b'A' => {
                let inside = self.long(end)?;
                self.at = inside.start;
                while self.at < inside.end {
                    self.value(inside.end, path, depth + 1)?;
                }
                return Some(());
            }
            _ => return None,
        };
        self.take(length, end).map(drop)
    }

    fn mend_name(&mut self, path: &Path<'_>) {
        if is_text(&self.bytes[path.name.clone()]) {
            return;
        }
        self.names += 1;
        let noted = self.found.len();
        self.mend(path.name.clone(), |bytes| path.place(bytes));
        if self.names > NAMES_MAX {
            self.found.truncate(noted);
        }
    }

    /// Mends the short string at `text`, and notes the bytes it had; `place` names it by the mended bytes.
    fn mend(&mut self, text: Range<usize>, place: impl FnOnce(&[u8]) -> String) {
        if is_text(&self.bytes[text.clone()]) {
            return;
        }
        self.original.get_or_insert_with(|| self.bytes.to_vec());
        let was = self.bytes[text.clone()].to_vec();
        replace(&mut self.bytes[text]);
        let place = place(self.bytes);
        self.found.push(Unreadable { place, bytes: was });
    }
}

/// Whether it is UTF-8. Most is ASCII, which is seen in half the time.
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || str::from_utf8(bytes).is_ok()
}

/// Makes `text` UTF-8 of the same length.
fn replace(text: &mut [u8]) {
    let mut at = 0;
    while let Err(error) = str::from_utf8(&text[at..]) {
        let start = at + error.valid_up_to();
        let stop = error.error_len().map_or(text.len(), |length| start + length);
        text[start..stop].fill(b'?');
        at = stop;
    }
}

impl Path<'_> {
    fn place(&self, bytes: &[u8]) -> String {
        let mut place = self.around.map_or_else(|| Unreadable::HEADERS.to_owned(), |around| around.place(bytes));
        place.push('/');
        place.push_str(&String::from_utf8_lossy(&bytes[self.name.clone()]));
        place
    }
}
