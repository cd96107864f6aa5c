//! What a repeat is known by, and sets of it. Pure: the caller brings the time.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use twox_hash::XxHash3_128;
use ulid::Ulid;

/// An event's id and the hash of its body in one number, so that an event known costs 16 bytes whatever its id. Rows and
/// dead letters have keys apart: an event that became a row and one that became a letter are not the same outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

/// Seeds that keep what is alike in different places apart.
const ROW: u64 = 1;
const LETTER: u64 = 2;
const LETTER_WITHOUT_EVENT_ID: u64 = 3;
const GIVEN: u64 = 4;

impl Key {
    /// Of a row of the archive.
    pub fn row(event_id: &str, body_hash: &[u8; 16]) -> Self {
        Self::new(ROW, event_id, body_hash)
    }

    /// Of a dead letter: by the event's id, as far as it could be read, else by the message's. `None`: nothing names it,
    /// and letters alike may be of messages apart.
    pub fn letter(event_id: Option<&str>, message_id: Option<&str>, body_hash: &[u8; 16]) -> Option<Self> {
        match (event_id, message_id) {
            (Some(id), _) => Some(Self::new(LETTER, id, body_hash)),
            (None, Some(id)) => Some(Self::new(LETTER_WITHOUT_EVENT_ID, id, body_hash)),
            (None, None) => None,
        }
    }

    /// Of the row of a dead letter that was given back.
    pub fn given(letter: Ulid, event_id: &str) -> Self {
        Self::new(GIVEN, event_id, &XxHash3_128::oneshot(&letter.to_bytes()).to_be_bytes())
    }

    fn new(seed: u64, id: &str, body_hash: &[u8; 16]) -> Self {
        // The hash of the body is as good as random already.
        Self(XxHash3_128::oneshot_with_seed(seed, id.as_bytes()) ^ u128::from_be_bytes(*body_hash))
    }
}

/// The number of an id alone: tells that an id was used before, with whatever body.
fn id_number(event_id: &str) -> u64 {
    XxHash3_128::oneshot_with_seed(0, event_id.as_bytes()) as u64
}

// A key is a hash already.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Takes what is hashed already as it is.
#[derive(Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers that are hashes already are hashed so");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Numbers<T> = HashSet<T, BuildHasherDefault<AsItIs>>;

/// What is durable: a row or a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub key: Key,
    /// Of a row: tells that its id was used.
    id: Option<u64>,
}

impl Known {
    pub fn row(event_id: &str, body_hash: &[u8; 16]) -> Self {
        Self { key: Key::row(event_id, body_hash), id: Some(id_number(event_id)) }
    }

    pub fn letter(key: Key) -> Self {
        Self { key, id: None }
    }

    /// See [`Key::given`].
    pub fn given(letter: Ulid, event_id: &str) -> Self {
        Self { key: Key::given(letter, event_id), id: None }
    }
}

/// The keys of what is durable, the newest of them: two generations, of which the older is forgotten when the newer is
/// full. So it holds at least half of its bound, and never more than that.
pub struct Durable {
    generation_max: usize,
    generations: RwLock<[Generation; 2]>,
}

#[derive(Default)]
struct Generation {
    keys: Numbers<Key>,
    ids: Numbers<u64>,
}

impl Durable {
    /// Holds up to `keys_max`, about 40 bytes each.
    pub fn new(keys_max: usize) -> Self {
        Self { generation_max: (keys_max / 2).max(1), generations: RwLock::default() }
    }

    pub fn holds(&self, key: Key) -> bool {
        self.generations().iter().any(|generation| generation.keys.contains(&key))
    }

    /// Whether a durable row has that id.
    pub fn knows_id(&self, event_id: &str) -> bool {
        let id = id_number(event_id);
        self.generations().iter().any(|generation| generation.ids.contains(&id))
    }

    /// Adds what is newer than all before it. `false`: others had to be forgotten for it.
    pub fn add(&self, known: impl IntoIterator<Item = Known>) -> bool {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let mut kept_all = true;
        for Known { key, id } in known {
            if generations[0].keys.len() >= self.generation_max {
                kept_all &= generations[1].keys.is_empty();
                generations[1] = std::mem::take(&mut generations[0]);
            }
            generations[0].keys.insert(key);
            generations[0].ids.extend(id);
        }
        kept_all
    }

    fn generations(&self) -> std::sync::RwLockReadGuard<'_, [Generation; 2]> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parts a window of time is forgotten in.
const PARTS: i32 = 8;

/// The keys of a stretch of time up to now, and of up to an eighth more.
pub struct Window {
    part: Duration,
    keys_max: usize,
    /// When each part began, the oldest first.
    parts: VecDeque<(DateTime<Utc>, Numbers<Key>)>,
}

impl Window {
    /// Of the last `within`; of less, when there are more than `keys_max`.
    pub fn new(within: Duration, keys_max: usize) -> Self {
        Self { part: within / PARTS.unsigned_abs(), keys_max, parts: VecDeque::new() }
    }

    /// An empty one of the same size.
    pub fn emptied(&self) -> Self {
        Self { parts: VecDeque::new(), ..*self }
    }

    /// Whether `key` was added within the window that ends at `now`.
    pub fn holds(&self, key: Key, now: DateTime<Utc>) -> bool {
        self.parts.iter().any(|(began, keys)| !self.is_past(*began, now) && keys.contains(&key))
    }

    /// Adds `keys`, as of `now`; forgets what is past.
    pub fn add(&mut self, keys: impl IntoIterator<Item = Key>, now: DateTime<Utc>) {
        while self.parts.front().is_some_and(|(began, _)| self.is_past(*began, now)) || self.len() >= self.keys_max {
            if self.parts.pop_front().is_none() {
                break;
            }
        }
        match self.parts.back_mut() {
            Some((began, held))
                if (now - *began).to_std().is_ok_and(|age| age < self.part)
                    && held.len() < self.keys_max / PARTS.unsigned_abs() as usize =>
            {
                held.extend(keys);
            }
            _ => self.parts.push_back((now, keys.into_iter().collect())),
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|(_, keys)| keys.len()).sum()
    }

    /// All of the part that began then is older than the window.
    fn is_past(&self, began: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        (now - began).to_std().is_ok_and(|age| age > self.part * (PARTS.unsigned_abs() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: [u8; 16] = [7; 16];

    #[test]
    fn a_key_is_of_id_and_body_and_of_what_became_of_the_event() {
        let key = Key::row("a", &HASH);
        assert_eq!(key, Key::row("a", &HASH));
        let others = [
            Key::row("b", &HASH),
            Key::row("a", &[8; 16]),
            Key::letter(Some("a"), None, &HASH).expect("named"),
            Key::letter(None, Some("a"), &HASH).expect("named"),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != key && !others[..place].contains(other));
        }
        assert_eq!(Key::letter(Some("a"), Some("m"), &HASH), Key::letter(Some("a"), None, &HASH));
        assert_eq!(Key::letter(None, None, &HASH), None);
    }

    #[test]
    fn what_is_durable_is_known_up_to_the_bound_and_the_oldest_is_forgotten_first() {
        let durable = Durable::new(100);
        let rows = |range: std::ops::Range<usize>| range.map(|n| Known::row(&n.to_string(), &HASH));
        let holds = |n: usize| durable.holds(Key::row(&n.to_string(), &HASH));
        assert!(durable.add(rows(0..100)));
        assert!((0..100).all(holds));
        assert!(durable.knows_id("5") && !durable.knows_id("100"));
        assert!(!durable.add(rows(100..101)), "one too many");
        assert!(!holds(0) && (50..101).all(holds));
        durable.add([Known::letter(Key::letter(Some("x"), None, &HASH).expect("named"))]);
        assert!(!durable.knows_id("x"), "a dead letter uses no id up");
    }

    #[test]
    fn a_window_forgets_what_is_older() {
        let at = |seconds: i64| DateTime::from_timestamp(1_000_000 + seconds, 0).expect("a time");
        let mut window = Window::new(Duration::from_secs(80), 1000);
        let key = |n: i64| Key::row(&n.to_string(), &HASH);
        for second in 0..200 {
            window.add([key(second)], at(second));
            assert!((0.max(second - 80)..=second).all(|n| window.holds(key(n), at(second))), "{second}");
        }
        assert!(!window.holds(key(100), at(199)));
        assert!(window.len() <= 80 + 2 * 10 + 1, "{}", window.len());
        let mut small = Window::new(Duration::from_secs(80), 50);
        (0..200).for_each(|second| small.add([key(second)], at(second)));
        assert!(small.len() <= 51 && small.holds(key(199), at(199)));
    }
}
