//! The record of every flush in the store, and the one place where flushes are decided.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;

use super::decide::{Action, Liveness, Round};
use super::name::{self, FlushName};
use super::record::{self, Intent, Outcome, Owner, RecordError, Verdict};
use crate::store::{Capabilities, Cause, Store, StoreError};

/// Records fetched at once.
const READS_AT_ONCE: usize = 16;

/// Reads and writes the intents and outcomes of flushes. Cloning is cheap.
#[derive(Clone)]
pub struct FlushLog {
    store: Store,
    conditional_create: bool,
    instance: String,
}

/// Who decided a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The outcome we brought stands.
    Won,
    /// The flush is aborted: its owner must [`FlushLog::discard`] it and must not ack.
    AlreadyAborted,
    /// The flush is committed: it cannot be aborted any more. To a commit: another flush has this name, with the same
    /// consequences as [`Decision::AlreadyAborted`].
    AlreadyCommitted,
}

/// A flush and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    pub name: FlushName,
    pub state: FlushState,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FlushState {
    /// An intent without outcome.
    Open(Intent),
    Decided(Outcome),
}

/// What a round of [`FlushLog::resolve`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Flushes this round aborted.
    pub aborted: usize,
    /// Objects deleted of flushes aborted now or earlier, counted though they may have been missing.
    pub objects_deleted: usize,
    /// Intents deleted: their flushes need nobody's attention any more.
    pub closed: usize,
    /// Open flushes left to their owners.
    pub left_alone: usize,
    /// Records that could not be read, with why; their flushes are left alone.
    pub unreadable: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another flush has this name: for a file, another process works on it.
    #[error("flush {0} is another's")]
    Taken(FlushName),
    /// The record is of a newer format or was made by other hands: a person has to look.
    #[error("cannot read {path}")]
    Unreadable { path: String, source: Cause },
    /// The intent names an object outside `data/` and `dlq/`.
    #[error("flush {name} may not write {object}: flushes write below data/ and dlq/")]
    Astray { name: FlushName, object: String },
}

impl FlushLog {
    /// `instance` is ours: on a store without conditional creation only its flushes are resolved.
    pub fn new(store: Store, capabilities: Capabilities, instance: &str) -> Self {
        Self { store, conditional_create: capabilities.conditional_create, instance: instance.to_owned() }
    }

    /// For looking only, on any store.
    pub fn reader(store: Store) -> Self {
        Self::new(store, Capabilities { conditional_create: true }, "")
    }

    /// Announces a flush. Its objects may be written once this returned, and no later than the grace of
    /// [`FlushLog::resolve`] from `created_at`: after that others may be cleaning up behind it.
    ///
    /// # Errors
    /// [`FlushError::Taken`]: the name is in use or was decided. [`FlushError::Astray`]; [`FlushError::Store`].
    pub async fn begin(&self, name: &FlushName, intent: &Intent) -> Result<(), FlushError> {
        if let Some(object) = intent.objects.iter().find(|object| !is_ours_to_delete(object)) {
            return Err(FlushError::Astray { name: name.clone(), object: object.clone() });
        }
        match self.store.create(&name.intent_path(), record::encode(intent)).await {
            Err(StoreError::Exists { .. }) => return Err(FlushError::Taken(name.clone())),
            created => created?,
        }
        // Names of queue flushes hold a new ULID. Those of files repeat, and a decided one may be closed already: after
        // the intent stands, no other can begin, commit and close under the same name, so looking now is enough.
        let repeats = name.begun_at().is_none();
        if repeats && self.store.exists(&name.outcome_path()).await? {
            self.store.delete(&name.intent_path()).await?;
            return Err(FlushError::Taken(name.clone()));
        }
        Ok(())
    }

    /// Decides a flush whose objects are all durable; `outcome` is [`Outcome::committed`]. Only on [`Decision::Won`] may
    /// its deliveries be acked. May be repeated with the same outcome, and must be after an error: until then, it may
    /// have been decided either way.
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`] when what decided before cannot be read.
    pub async fn commit(&self, name: &FlushName, outcome: &Outcome) -> Result<Decision, FlushError> {
        match self.decide(name, outcome).await? {
            None => Ok(Decision::Won),
            Some(standing) => Ok(match standing.verdict {
                // Ours from an earlier attempt, made at another time: only the owner commits a flush.
                Verdict::Committed(_) if standing.flush == outcome.flush => Decision::Won,
                Verdict::Committed(_) => Decision::AlreadyCommitted,
                Verdict::Aborted { .. } => Decision::AlreadyAborted,
            }),
        }
    }

    /// Decides that none of the flush's objects count; `outcome` is [`Outcome::aborted`]. On [`Decision::Won`] or
    /// [`Decision::AlreadyAborted`], [`FlushLog::discard`] it.
    ///
    /// # Errors
    /// As [`FlushLog::commit`].
    pub async fn abort(&self, name: &FlushName, outcome: &Outcome) -> Result<Decision, FlushError> {
        Ok(match self.decide(name, outcome).await? {
            None => Decision::Won,
            Some(Outcome { verdict: Verdict::Aborted { .. }, .. }) => Decision::AlreadyAborted,
            Some(_) => Decision::AlreadyCommitted,
        })
    }

    /// `None`: `outcome` stands. `Some`: the one that stood before it.
    async fn decide(&self, name: &FlushName, outcome: &Outcome) -> Result<Option<Outcome>, FlushError> {
        let path = name.outcome_path();
        // Such a store would overwrite. Looking first leaves a gap that only our own epochs could fall into.
        if !self.conditional_create
            && let Some(standing) = self.read(&path).await?
        {
            return Ok(Some(standing));
        }
        match self.store.create(&path, record::encode(outcome)).await {
            Ok(()) => Ok(None),
            Err(StoreError::Exists { .. }) => match self.read(&path).await? {
                Some(standing) => Ok(Some(standing)),
                None => Err(StoreError::Missing { path }.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the intent of a committed flush; after the ack, since nothing depends on it: what is forgotten here is
    /// closed by the next [`FlushLog::resolve`].
    ///
    /// # Errors
    /// [`FlushError::Store`].
    pub async fn close(&self, name: &FlushName) -> Result<(), FlushError> {
        Ok(self.store.delete(&name.intent_path()).await?)
    }

    /// Deletes the objects of an aborted flush. Its intent stays until a [`FlushLog::resolve`] after the grace deletes
    /// them again: a request without answer may still arrive. Gives the number of objects.
    ///
    /// # Errors
    /// [`FlushError::Store`]: some objects may be left; the next resolve deletes them.
    pub async fn discard(&self, intent: &Intent) -> Result<usize, FlushError> {
        self.delete_objects(intent, &HashSet::new()).await
    }

    async fn delete_objects(&self, intent: &Intent, except: &HashSet<&str>) -> Result<usize, FlushError> {
        let deletable = |object: &&String| is_ours_to_delete(object) && !except.contains(object.as_str());
        let objects: Vec<_> = intent.objects.iter().filter(deletable).cloned().collect();
        let count = objects.len();
        self.store.delete_all(objects).await?;
        Ok(count)
    }

    /// Settles what crashed owners left open in a pipeline, and finishes what a crashed resolve began. A flush without
    /// outcome is aborted at once when its owner is dead, and `grace` after its creation otherwise; then, and only then,
    /// its objects are deleted. `grace` must exceed what the clocks of instances differ by and what a flush may take.
    ///
    /// Costs one listing of the open flushes and two reads for each; settled flushes cost nothing.
    ///
    /// # Errors
    /// [`FlushError::Store`]: what was done stays done; call again.
    pub async fn resolve(
        &self,
        pipeline: &str,
        now: DateTime<Utc>,
        grace: Duration,
        is_alive: &(dyn Fn(&Owner) -> Liveness + Sync),
    ) -> Result<Resolved, FlushError> {
        let round = Round { now, grace, conditional_create: self.conditional_create, instance: &self.instance };
        let mut resolved = Resolved::default();
        for name in self.open_names(pipeline).await? {
            match self.resolve_one(&name, round, is_alive, &mut resolved).await {
                Err(FlushError::Unreadable { path, source }) => {
                    resolved.left_alone += 1;
                    resolved.unreadable.push((path, source.to_string()));
                }
                result => result?,
            }
        }
        Ok(resolved)
    }

    async fn resolve_one(
        &self,
        name: &FlushName,
        round: Round<'_>,
        is_alive: &(dyn Fn(&Owner) -> Liveness + Sync),
        resolved: &mut Resolved,
    ) -> Result<(), FlushError> {
        let Some(intent) = self.read::<Intent>(&name.intent_path()).await? else { return Ok(()) };
        let mut outcome = self.read::<Outcome>(&name.outcome_path()).await?;
        let mut action = round.action(&intent, outcome.as_ref(), is_alive(&intent.owner));
        if action == Action::Abort {
            let aborted = Outcome::aborted(&intent, &self.instance, "left without outcome by its owner", round.now);
            outcome = self.decide(name, &aborted).await?;
            resolved.aborted += usize::from(outcome.is_none());
            let standing = outcome.get_or_insert(aborted);
            action = round.action(&intent, Some(standing), Liveness::Dead);
        }
        match (action, &outcome) {
            (Action::Clean { last }, Some(outcome)) => {
                resolved.objects_deleted += self.delete_objects(&intent, &committed_objects(outcome)).await?;
                if last {
                    self.close(name).await?;
                    resolved.closed += 1;
                }
            }
            (Action::Close, _) => {
                self.close(name).await?;
                resolved.closed += 1;
            }
            _ => resolved.left_alone += 1,
        }
        Ok(())
    }

    /// The flushes of a pipeline's queues that began at `since` or later by their owners' clocks, by time; open ones
    /// too. Reads every outcome: for a long time read them one by one, by [`FlushLog::names`].
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`].
    pub async fn list(&self, pipeline: &str, since: DateTime<Utc>) -> Result<Vec<Flush>, FlushError> {
        // Open ones first: one that is decided in between is then seen twice, not missed.
        let open = self.open(pipeline).await?;
        let mut flushes = self.read_outcomes(self.names(pipeline, since).await?).await?;
        let decided: HashSet<_> = flushes.iter().map(|flush| flush.name.clone()).collect();
        let recent = |flush: &Flush| flush.name.begun_at().is_some_and(|begun| begun >= since);
        flushes.extend(open.into_iter().filter(|flush| recent(flush) && !decided.contains(&flush.name)));
        flushes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(flushes)
    }

    /// The names of the decided flushes of a pipeline's queues that began at `since` or later, by time: one listing for
    /// each day that has any, no reads.
    ///
    /// # Errors
    /// [`FlushError::Store`].
    pub async fn names(&self, pipeline: &str, since: DateTime<Utc>) -> Result<Vec<FlushName>, FlushError> {
        let floor = name::floor(pipeline, since);
        let mut names = Vec::new();
        for day in self.days(pipeline).await?.into_iter().filter(|day| *day >= since.date_naive()) {
            let after = (day == since.date_naive()).then_some(floor.as_str());
            names.extend(self.decided_below(pipeline, &name::date_dir(pipeline, day), after).await?);
        }
        Ok(names)
    }

    /// When the newest flush of the pipeline's queues began: what a look-back counts from.
    ///
    /// # Errors
    /// [`FlushError::Store`].
    pub async fn newest(&self, pipeline: &str) -> Result<Option<DateTime<Utc>>, FlushError> {
        let mut newest = self.open_names(pipeline).await?.iter().filter_map(FlushName::begun_at).max();
        for day in self.days(pipeline).await?.into_iter().rev() {
            let names = self.decided_below(pipeline, &name::date_dir(pipeline, day), None).await?;
            if let Some(begun) = names.iter().filter_map(FlushName::begun_at).max() {
                newest = newest.max(Some(begun));
                break;
            }
        }
        Ok(newest)
    }

    /// The flushes of a file, by start offset, then attempt; open ones too. [`Resume::of`](super::Resume::of) makes sense of them.
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`].
    pub async fn of_file(&self, pipeline: &str, digest: &str) -> Result<Vec<Flush>, FlushError> {
        let dir = name::file_dir(pipeline, digest);
        let open = self.open(pipeline).await?;
        let names = self.decided_below(pipeline, &dir, None).await?;
        let mut flushes = self.read_outcomes(names).await?;
        let decided: HashSet<_> = flushes.iter().map(|flush| flush.name.clone()).collect();
        let of_file = |flush: &Flush| flush.name.outcome_path().starts_with(&format!("{dir}/"));
        flushes.extend(open.into_iter().filter(|flush| of_file(flush) && !decided.contains(&flush.name)));
        flushes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(flushes)
    }

    /// The names of the flushes of a pipeline that have an intent, those whose outcome stands already among them.
    ///
    /// # Errors
    /// [`FlushError::Store`].
    pub async fn open_names(&self, pipeline: &str) -> Result<Vec<FlushName>, FlushError> {
        let entries: Vec<_> = self.store.list(&name::open_dir(pipeline), None).try_collect().await?;
        Ok(entries.iter().filter_map(|entry| FlushName::of_intent(pipeline, &entry.path)).collect())
    }

    /// The intent of a flush, or `None` when it has none any more: then its outcome stands.
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`].
    pub async fn intent(&self, name: &FlushName) -> Result<Option<Intent>, FlushError> {
        self.read(&name.intent_path()).await
    }

    /// What flushes have announced that are not committed: whatever stands there does not count, or not yet.
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`].
    pub async fn not_committed(&self, pipeline: &str) -> Result<HashSet<String>, FlushError> {
        let open = stream::iter(self.open(pipeline).await?).map(|flush| async move {
            let outcome = self.outcome(&flush.name).await?;
            let FlushState::Open(intent) = flush.state else { return Ok(Vec::new()) };
            match outcome {
                Some(outcome) if outcome.flush == intent.flush && outcome.is_committed() => Ok(Vec::new()),
                _ => Ok::<_, FlushError>(intent.objects),
            }
        });
        open.buffered(READS_AT_ONCE)
            .try_fold(HashSet::new(), |mut all, objects| async move {
                all.extend(objects);
                Ok(all)
            })
            .await
    }

    /// Whether of several who decide a flush exactly one wins.
    pub fn decides_once(&self) -> bool {
        self.conditional_create
    }

    /// The outcome of a flush, or `None` while it has none.
    ///
    /// # Errors
    /// [`FlushError::Store`]; [`FlushError::Unreadable`].
    pub async fn outcome(&self, name: &FlushName) -> Result<Option<Outcome>, FlushError> {
        self.read(&name.outcome_path()).await
    }

    /// The flushes that have an intent, those whose outcome stands already among them.
    async fn open(&self, pipeline: &str) -> Result<Vec<Flush>, FlushError> {
        let names = self.open_names(pipeline).await?;
        let read = stream::iter(names).map(|name| async move {
            let intent = self.read(&name.intent_path()).await?;
            Ok::<_, FlushError>(intent.map(|intent| Flush { name, state: FlushState::Open(intent) }))
        });
        read.buffered(READS_AT_ONCE).try_filter_map(|flush| async { Ok(flush) }).try_collect().await
    }

    async fn days(&self, pipeline: &str) -> Result<Vec<NaiveDate>, FlushError> {
        let dirs = self.store.dirs(&name::flushes_dir(pipeline)).await?;
        Ok(dirs.iter().filter_map(|dir| name::date_of(dir)).collect())
    }

    async fn decided_below(
        &self,
        pipeline: &str,
        dir: &str,
        after: Option<&str>,
    ) -> Result<Vec<FlushName>, FlushError> {
        let entries: Vec<_> = self.store.list(dir, after).try_collect().await?;
        let mut names: Vec<_> =
            entries.iter().filter_map(|entry| FlushName::of_outcome(pipeline, &entry.path)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn read_outcomes(&self, names: Vec<FlushName>) -> Result<Vec<Flush>, FlushError> {
        let read = stream::iter(names).map(|name| async move {
            let outcome = self.outcome(&name).await?;
            Ok::<_, FlushError>(outcome.map(|outcome| Flush { name, state: FlushState::Decided(outcome) }))
        });
        read.buffered(READS_AT_ONCE).try_filter_map(|flush| async { Ok(flush) }).try_collect().await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, FlushError> {
        let Some(bytes): Option<Bytes> = self.store.get_if_exists(path).await? else { return Ok(None) };
        let unreadable = |error: RecordError| FlushError::Unreadable { path: path.to_owned(), source: error.into() };
        record::decode(&bytes).map(Some).map_err(unreadable)
    }
}

/// What an intent may name, whoever wrote it: nothing else is ever deleted on its word.
fn is_ours_to_delete(object: &str) -> bool {
    object.starts_with("data/") || object.starts_with("dlq/")
}

fn committed_objects(outcome: &Outcome) -> HashSet<&str> {
    match &outcome.verdict {
        Verdict::Committed(committed) => committed.objects.iter().map(|object| object.path.as_str()).collect(),
        Verdict::Aborted { .. } => HashSet::new(),
    }
}
