//! The groups of the letters that are meant: by footers where they suffice, else row by row.

use std::sync::Arc;

use chrono::DateTime;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::files::Facts;
use super::read::{Reader, Wanted, blocking};
use super::scan::Read;
use super::{AGAIN_MAX, Filter, LetterState, Order, Records, States, Unreadable};
use crate::dlq::attempts::Given;
use crate::dlq::groups::{Group, Groups};
use crate::store::StoreError;
use crate::store::flush::FlushError;

impl Records {
    /// The groups of the matching letters, the largest first. With a group or a code to look for, only the groups of
    /// that id or code, not their letters' others.
    ///
    /// # Errors
    /// As [`Records::summaries`].
    pub async fn groups(&self, filter: &Filter) -> Result<(Vec<Group>, Vec<Unreadable>), FlushError> {
        let mut merged_under_us = 0;
        let (groups, unreadable) = loop {
            let (groups, unreadable, gone) = self.groups_once(filter).await?;
            merged_under_us += 1;
            if merged_under_us == AGAIN_MAX || !self.was_merged(&gone).await? {
                break (groups, unreadable);
            }
        };
        let mut groups = groups.into_sorted();
        groups
            .retain(|group| filter.group.as_ref().is_none_or(|id| *id == group.id) && filter.matches_code(&group.code));
        Ok((groups, unreadable))
    }

    async fn groups_once(&self, filter: &Filter) -> Result<(Groups, Vec<Unreadable>, Vec<String>), FlushError> {
        let (given, mut unreadable) = self.attempts.given().await?;
        // Footers tell how many letters of a group are recovered, not when those died.
        let times = filter.since.is_some() || filter.until.is_some();
        let by_rows = filter.asks_for_rows() || (times && !given.recovered.is_empty());
        let (mut files, broken) = self.files.list(filter).await?;
        unreadable.extend(broken);
        files.retain(|facts| facts.may_hold(filter) || (!times && !by_rows));
        let states = match by_rows {
            true => self.states().await?.0,
            false => States::default(),
        };
        let mut all = Groups::default();
        let mut to_read = Vec::new();
        for facts in files {
            match &facts.index {
                Some(index) if !by_rows && facts.is_within(filter) => all.merge(index.groups.clone()),
                _ => to_read.push(facts),
            }
        }
        if !by_rows {
            all.iter_mut().for_each(|group| recover(group, &given));
        }
        let tell_when = |group: &mut Group| {
            let last_us = given.recovered.get(group.id.as_str()).map(|recoveries| recoveries.last_us);
            group.last_recovered = last_us.and_then(DateTime::from_timestamp_micros);
        };
        let wanted = Wanted::all(filter, Order::OldestFirst);
        let reader = Reader::new(self.store.clone(), Arc::new(wanted), states.clone());
        let reads = stream::iter(to_read).map(|facts| self.groups_of(reader.clone(), facts, states.clone()));
        let mut reads = std::pin::pin!(reads.buffered(self.reads_max));
        let mut gone = Vec::new();
        while let Some(outcome) = reads.try_next().await? {
            match outcome {
                Read::Done(groups) => all.merge(groups),
                Read::Gone(path) => gone.push(path),
                Read::Not(file) => unreadable.push(file),
            }
        }
        all.iter_mut().for_each(tell_when);
        Ok((all, unreadable, gone))
    }

    async fn groups_of(&self, reader: Reader, facts: Arc<Facts>, states: States) -> Result<Read<Groups>, StoreError> {
        let path = facts.path.clone();
        if reader.asks_for_message() {
            return Ok(match reader.letters(facts).await? {
                Read::Done(letters) => {
                    let count = move || {
                        let mut groups = Groups::default();
                        for (_, letter) in &letters {
                            let summary = letter.summary();
                            let state = states.of(summary.id);
                            groups.add_as(&summary, state == LetterState::Recovered);
                        }
                        Ok(groups)
                    };
                    blocking(&path, count).await
                }
                Read::Gone(path) => Read::Gone(path),
                Read::Not(file) => Read::Not(file),
            });
        }
        reader.groups(facts).await
    }
}

/// Takes away from what footers of letters say is open what those of attempts say is recovered.
fn recover(group: &mut Group, given: &Given) {
    let recoveries = given.recovered.get(group.id.as_str()).copied().unwrap_or_default();
    group.recovered = recoveries.showing;
    let kept_recovered = recoveries.counted.saturating_sub(group.gone.recovered_counted);
    group.open = group.count.saturating_sub(group.gone.counted).saturating_sub(kept_recovered);
}
