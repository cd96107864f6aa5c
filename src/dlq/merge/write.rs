//! The merged file of a plan.

use std::collections::HashSet;

use ulid::Ulid;

use super::plan::MERGED;
use super::{Done, MergeError, MergePlan, Merger, Removal};
use crate::dlq::index::{INDEX_KEY, Index, REPLACES_KEY};
use crate::dlq::record::{DeadLetter, DecodeError, Encoder, File};
use crate::store::StoreError;

impl Merger {
    pub(super) async fn write(&self, plan: &MergePlan) -> Result<Done, MergeError> {
        let mut merged = Merged::default();
        for source in &plan.sources {
            let bytes = self.get(source).await?;
            merged = self.work(source, move || merged.and(&File::whole(bytes)?)).await?;
        }
        let (removed, sources) = (plan.removed.clone(), plan.sources.clone());
        let encoded = tokio::task::spawn_blocking(move || merged.encode(&removed, &sources)).await;
        let encoded = encoded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        match self.store.create(&plan.merged, encoded.into()).await {
            // By another process, perhaps of another version, which writes other bytes of the same letters.
            Err(StoreError::Exists { .. }) => {}
            created => created?,
        }
        Ok(Done { files: plan.sources.len() as u64, removed: plan.removed.count() })
    }
}

/// Files read, in order.
#[derive(Default)]
struct Merged {
    letters: Vec<DeadLetter>,
    index: Index,
    /// Merged files that those read stand for: a process that was held up could yet write one again.
    ancestors: Vec<String>,
}

impl Merged {
    fn and(mut self, file: &File) -> Result<Self, DecodeError> {
        let replaced = file.footer(REPLACES_KEY).map(serde_json::from_str::<Vec<String>>);
        let replaced = replaced.and_then(Result::ok).unwrap_or_default();
        self.ancestors.extend(replaced.into_iter().filter(|path| path.contains(MERGED)));
        let before = self.letters.len();
        file.all(&mut self.letters)?;
        match file.footer(INDEX_KEY).and_then(Index::parse) {
            // It may tell of letters that were removed before.
            Some(index) => self.index.merge(index),
            None => self.letters[before..].iter().for_each(|letter| self.index.add_letter(letter)),
        }
        Ok(self)
    }

    /// The file of those not removed.
    fn encode(self, removal: &Removal, sources: &[String]) -> Result<Vec<u8>, crate::dlq::record::EncodeError> {
        let Self { letters, mut index, ancestors } = self;
        let recovered: HashSet<Ulid> = removal.recovered.iter().copied().collect();
        let others: HashSet<Ulid> = removal.resolved.iter().chain(&removal.ignored).copied().collect();
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| recovered.contains(&letter.id) || others.contains(&letter.id));
        gone.iter().for_each(|letter| index.groups.let_go(&letter.summary(), recovered.contains(&letter.id)));
        index.tell_of(&kept);
        kept.sort_by_cached_key(|letter| (letter.group().clone(), letter.dead_at, letter.id));
        let mut encoder = Encoder::sorted(Vec::new())?;
        encoder.write(&kept.iter().collect::<Vec<_>>())?;
        encoder.finish_as(&index, &[sources, &ancestors].concat())
    }
}
