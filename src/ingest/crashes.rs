//! How earlier runs of this instance ended, and which event was being processed alone when they did. A process that is
//! killed gives back all that it held, and on a queue with a delivery limit that counts; so after an unclean end the window
//! is small at first and grows, after two it stays small while redelivered events come, and after three each of those is
//! processed alone, with a note of it in the store. An event that was alone twice when the process ended is its own dead
//! letter, unread.
//!
//! ```text
//! meta/runs/<pipeline>/<instance>/<ulid>.json       while a run lasts; a clean end, or progress, removes it
//! meta/suspects/<pipeline>/<message>/<ulid>.json    while a redelivered event is processed alone
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tracing::{debug, warn};
use ulid::Ulid;

use crate::event::Message;
use crate::ingest::commit::chain;
use crate::ingest::pipeline::LookAt;
use crate::store::flush::{Liveness, Owner};
use crate::store::{Store, StoreError};

/// Deliveries a shard takes at first after an unclean end, if its window is wider.
const WINDOW_AFTER_CRASH: u16 = 500;

/// How often the process ended while an event was processed alone, until that is no coincidence.
const SUSPICIONS_MAX: usize = 2;

/// How many deliveries a shard takes at a time. It goes from one step to the next once something is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// The configured window.
    Full,
    /// A window that doubles with each step: little is given back if this run soon ends like the one before.
    Growing(u16),
    /// A small window, for as long as redelivered events come: the one that ended the process is among them.
    Small,
    /// One delivery at a time, for as long as they are redelivered ones.
    Alone,
}

impl Care {
    /// After that many runs in a row that ended uncleanly and got nowhere.
    fn after(crashes: usize) -> Self {
        match crashes {
            0 => Care::Full,
            1 => Care::GENTLE,
            2 => Care::Small,
            _ => Care::Alone,
        }
    }

    /// The first step of those that lead to the full window by themselves.
    pub const GENTLE: Care = Care::Growing(WINDOW_AFTER_CRASH);

    /// Deliveries taken at once, of at most `prefetch`.
    pub fn window(self, prefetch: u16) -> u16 {
        match self {
            Care::Full => prefetch,
            Care::Growing(window) => prefetch.min(window),
            Care::Small => prefetch.min(WINDOW_AFTER_CRASH),
            Care::Alone => 1,
        }
    }

    /// The next step once a flush is durable; `redelivered` when it held such events, `found` when it held the one that
    /// ended the process, or when that is not to be found.
    pub fn eased(self, prefetch: u16, redelivered: bool, found: bool) -> Self {
        match self {
            Care::Alone | Care::Small if found => Care::GENTLE,
            Care::Alone | Care::Small if redelivered => self,
            Care::Alone | Care::Small => Care::GENTLE,
            Care::Growing(window) if window < prefetch / 2 => Care::Growing(window * 2),
            Care::Growing(_) | Care::Full => Care::Full,
        }
    }
}

/// The notes of one run of a pipeline.
pub struct Journal {
    store: Store,
    pipeline: String,
    /// This run's own note.
    run: String,
    id: Ulid,
    /// Notes of runs that ended uncleanly; forgotten once this one got somewhere.
    earlier: Mutex<Vec<String>>,
    care: Care,
}

/// What a message is called in the notes: by all that tells one from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect(String);

impl Suspect {
    pub fn of(message: &Message) -> Self {
        let mut name = format!("{:032x}", u128::from_be_bytes(message.body_hash()));
        if let Some(id) = &message.properties.message_id {
            // An id may be anything; a path may not.
            let id = Message { body: id.clone().into_bytes(), ..Message::default() };
            name.push_str(&format!("-{:032x}", u128::from_be_bytes(id.body_hash())));
        }
        Self(name)
    }
}

impl Journal {
    /// Looks at the notes of earlier runs, and begins that of this one.
    ///
    /// # Errors
    /// The store's; try again later.
    pub async fn open(
        store: &Store,
        pipeline: &str,
        owner: &Owner,
        id: Ulid,
        liveness: &LookAt,
    ) -> Result<Self, StoreError> {
        let directory = format!("meta/runs/{pipeline}/{}", owner.instance);
        let notes: Vec<_> = store.list(&directory, None).try_collect().await?;
        let mut earlier = Vec::new();
        let run = format!("{directory}/{id}.json");
        // Our own may be there from an attempt that failed after it.
        for note in notes.into_iter().filter(|note| note.path != run) {
            let Some(bytes) = store.get_if_exists(&note.path).await? else { continue };
            match serde_json::from_slice::<Owner>(&bytes).map(|owner| liveness(&owner)) {
                Ok(Liveness::Alive) => {
                    warn!(pipeline, instance = %owner.instance, "another process of this instance's name runs: give each its own run.instance");
                }
                // One that cannot be seen had our name: it is gone, or should not be.
                _ => earlier.push(note.path),
            }
        }
        let care = Care::after(earlier.len());
        if care != Care::Full {
            warn!(
                pipeline,
                crashes = earlier.len(),
                ?care,
                "the last run of this instance ended uncleanly: beginning with care, so that little is given back should it happen again"
            );
        }
        let note = serde_json::to_vec(owner).expect("an owner has text keys and whole numbers");
        store.create(&run, note.into()).await?;
        let pipeline = pipeline.to_owned();
        Ok(Self { store: store.clone(), pipeline, run, id, earlier: Mutex::new(earlier), care })
    }

    /// How a shard is to begin.
    pub fn care(&self) -> Care {
        self.care
    }

    /// This run got somewhere: earlier ones need not be remembered.
    pub async fn progressed(&self) {
        let earlier = std::mem::take(&mut *self.earlier.lock().unwrap_or_else(PoisonError::into_inner));
        self.forget(earlier).await;
    }

    /// The run ends as it should.
    pub async fn close(&self) {
        self.forget(vec![self.run.clone()]).await;
    }

    /// Notes that a message is now processed alone. `true`: it was so too often when the process ended; do not.
    ///
    /// # Errors
    /// The store's; try again later.
    pub async fn suspect(&self, suspect: &Suspect) -> Result<bool, StoreError> {
        let earlier = self.notes_on(suspect).await?;
        let own = format!("{}/{}.json", self.directory(suspect), self.id);
        let runs = earlier.iter().filter(|note| **note != own).count();
        if runs >= SUSPICIONS_MAX {
            return Ok(true);
        }
        if !earlier.contains(&own) {
            self.store.create(&own, Bytes::from_static(b"{}")).await?;
        }
        Ok(false)
    }

    /// The message goes back to the queue, and the process lives.
    pub async fn release(&self, suspect: &Suspect) {
        self.forget(vec![format!("{}/{}.json", self.directory(suspect), self.id)]).await;
    }

    /// The message is durable, and the process lives.
    pub async fn acquit(&self, suspect: &Suspect) {
        match self.notes_on(suspect).await {
            Ok(notes) => self.forget(notes.into_iter().collect()).await,
            Err(error) => debug!(pipeline = %self.pipeline, error = chain(&error), "notes on a message stay"),
        }
    }

    async fn notes_on(&self, suspect: &Suspect) -> Result<BTreeSet<String>, StoreError> {
        let entries = self.store.list(&self.directory(suspect), None);
        entries.map_ok(|entry| entry.path).try_collect().await
    }

    fn directory(&self, suspect: &Suspect) -> String {
        format!("meta/suspects/{}/{}", self.pipeline, suspect.0)
    }

    /// What cannot be removed makes the next start more careful than it need be.
    async fn forget(&self, notes: Vec<String>) {
        if let Err(error) = self.store.delete_all(notes).await {
            debug!(pipeline = %self.pipeline, error = chain(&error), "notes of earlier runs stay");
        }
    }
}

/// Shared by the shards of a pipeline.
pub type SharedJournal = Arc<Journal>;

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32) -> Owner {
        let text = |text: &str| text.to_owned();
        Owner {
            instance: text("us"),
            host: text("h"),
            boot_id: text("b"),
            pid_namespace: text("n"),
            pid,
            pid_started: 1,
        }
    }

    async fn open(store: &Store, run: u32) -> Journal {
        let dead: LookAt = Arc::new(|_| Liveness::Dead);
        Journal::open(store, "orders", &owner(run), Ulid::from_parts(run.into(), 1), &dead).await.expect("a store")
    }

    async fn notes(store: &Store) -> usize {
        store.list("meta", None).try_collect::<Vec<_>>().await.expect("a store").len()
    }

    #[tokio::test]
    async fn the_more_runs_end_uncleanly_the_more_careful_is_the_next_until_one_gets_somewhere() {
        let store = Store::memory();
        let mut cares = Vec::new();
        for run in 0..4 {
            cares.push(open(&store, run).await.care());
        }
        assert_eq!(cares, [Care::Full, Care::GENTLE, Care::Small, Care::Alone]);
        let run = open(&store, 4).await;
        run.progressed().await;
        assert_eq!(notes(&store).await, 1, "its own");
        assert_eq!(open(&store, 5).await.care(), Care::GENTLE, "it ended uncleanly, too");
        let run = open(&store, 6).await;
        run.progressed().await;
        run.close().await;
        assert_eq!(notes(&store).await, 0);
        assert_eq!(open(&store, 7).await.care(), Care::Full);
    }

    #[tokio::test]
    async fn a_living_process_of_the_same_name_is_no_crash() {
        let store = Store::memory();
        let _lives = open(&store, 1).await;
        let alive: LookAt = Arc::new(|_| Liveness::Alive);
        let second = Journal::open(&store, "orders", &owner(2), Ulid::from_parts(2, 1), &alive).await.expect("a store");
        assert_eq!(second.care(), Care::Full);
    }

    #[tokio::test]
    async fn a_message_that_was_alone_twice_when_the_process_ended_is_not_tried_again() {
        let store = Store::memory();
        let poison = Suspect::of(&Message { body: b"poison".to_vec(), ..Message::default() });
        let other = Suspect::of(&Message { body: b"other".to_vec(), ..Message::default() });
        for run in 0..2 {
            let journal = open(&store, run).await;
            for _ in 0..3 {
                assert!(!journal.suspect(&poison).await.expect("a store"), "run {run}: one run counts once");
            }
            assert!(!journal.suspect(&other).await.expect("a store"));
            journal.acquit(&other).await;
        }
        let journal = open(&store, 2).await;
        assert!(journal.suspect(&poison).await.expect("a store"));
        assert!(!journal.suspect(&other).await.expect("a store"), "it was acquitted each time");
        journal.acquit(&poison).await;
        assert!(!open(&store, 3).await.suspect(&poison).await.expect("a store"), "nothing is held against it for ever");
    }

    #[test]
    fn messages_that_differ_in_body_or_id_are_apart() {
        let message = |body: &[u8], id: Option<&str>| {
            let properties = crate::event::Properties { message_id: id.map(str::to_owned), ..Default::default() };
            Suspect::of(&Message { body: body.to_vec(), properties: properties.into(), ..Message::default() })
        };
        let one = message(b"a", Some("x/../y"));
        assert_eq!(one, message(b"a", Some("x/../y")));
        assert!(one != message(b"b", Some("x/../y")) && one != message(b"a", None) && one != message(b"a", Some("z")));
        assert!(one.0.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-'));
    }

    #[test]
    fn a_window_widens_step_by_step() {
        let windows = |prefetch: u16| {
            let steps = std::iter::successors(Some(Care::Alone), |care| Some(care.eased(prefetch, false, false)));
            steps.take(5).map(|care| care.window(prefetch)).collect::<Vec<_>>()
        };
        assert_eq!(windows(3000), [1, 500, 1000, 2000, 3000]);
        assert_eq!(windows(20), [1, 20, 20, 20, 20]);
    }

    #[test]
    fn while_redelivered_events_come_the_culprit_is_among_them() {
        for care in [Care::Alone, Care::Small] {
            assert_eq!(care.eased(1000, true, false), care);
            assert_eq!(care.eased(1000, false, false), Care::GENTLE);
        }
        assert_eq!(Care::Alone.eased(1000, true, true), Care::GENTLE, "it is found");
        assert_eq!(Care::Growing(2000).eased(50_000, true, false), Care::Growing(4000));
    }
}
