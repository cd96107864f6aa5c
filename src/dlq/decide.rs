//! What people decide about groups: acknowledged, resolved, ignored, reopened. Each group is one entry of the log.

use std::collections::HashSet;

use super::fingerprint::GroupId;
use super::log::{AsOf, Event, Log, LogError, Said, State};

/// Groups in one decision.
pub const GROUPS_MAX: usize = 1_000;

/// Characters of an owner, and of a note.
const OWNER_MAX: usize = 200;
const NOTE_MAX: usize = 2_000;

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Acknowledge { owner: Option<String>, note: Option<String> },
    Resolve { as_of: AsOf },
    Ignore,
    Reopen,
}

impl Decision {
    fn about(&self, group: GroupId) -> Event {
        match self.clone() {
            Decision::Acknowledge { owner, note } => Event::GroupAcknowledged { group, owner, note },
            Decision::Resolve { as_of } => Event::GroupResolved { group, as_of },
            Decision::Ignore => Event::GroupIgnored { group },
            Decision::Reopen => Event::GroupReopened { group },
        }
    }

    fn texts(&self) -> [(&'static str, Option<&str>, usize); 2] {
        match self {
            Decision::Acknowledge { owner, note } => {
                [("owner", owner.as_deref(), OWNER_MAX), ("note", note.as_deref(), NOTE_MAX)]
            }
            _ => [("owner", None, OWNER_MAX), ("note", None, NOTE_MAX)],
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Nothing was decided.
    #[error("no dead letter was ever in group {0}; `parqueduct dlq groups` shows which there are")]
    NoGroup(GroupId),
    /// Nothing was decided.
    #[error("at most {GROUPS_MAX} groups at once")]
    TooMany,
    /// Nothing was decided.
    #[error("the {what} is empty, longer than {max} characters, or holds control characters")]
    Text { what: &'static str, max: usize },
    /// Some may be decided: say the same again.
    #[error("{done} of {all} groups are decided, then the log could not be written")]
    Log { done: usize, all: usize, source: LogError },
}

/// Decides about `groups`, all of which `known` must know, and brings `state` up to date. Each is named once, however often
/// it is given; gives the number of entries.
///
/// # Errors
/// [`DecideError`].
pub async fn decide(
    log: &Log,
    state: &mut State,
    known: impl Fn(&GroupId) -> bool,
    groups: &[GroupId],
    decision: &Decision,
    said: &Said,
) -> Result<usize, DecideError> {
    if groups.len() > GROUPS_MAX {
        return Err(DecideError::TooMany);
    }
    for (what, text, max) in decision.texts() {
        if text.is_some_and(|text| !super::log::is_sayable(text, max)) {
            return Err(DecideError::Text { what, max });
        }
    }
    if let Some(stranger) = groups.iter().find(|group| !known(group)) {
        return Err(DecideError::NoGroup(stranger.clone()));
    }
    let mut named = HashSet::new();
    let groups: Vec<&GroupId> = groups.iter().filter(|group| named.insert(*group)).collect();
    let all = groups.len();
    log.refresh(state).await.map_err(|source| DecideError::Log { done: 0, all, source })?;
    for (done, group) in groups.iter().enumerate() {
        // Said before, when an answer was lost.
        if state.life(group).is_some_and(|life| life.said == *said) {
            continue;
        }
        let appended = log.append(state, said, &decision.about((*group).clone())).await;
        appended.map_err(|source| DecideError::Log { done, all, source })?;
    }
    Ok(groups.len())
}

#[cfg(test)]
mod tests {
    use super::super::log::Verdict;
    use super::super::record::samples::at;
    use super::*;
    use crate::store::Store;

    fn group(text: &str) -> GroupId {
        GroupId::parse(text).expect("is an id")
    }

    fn said() -> Said {
        Said::new(at(0), "ann", "fixed upstream").expect("can be said")
    }

    #[tokio::test]
    async fn several_groups_are_decided_at_once_each_with_its_entry() {
        let (log, mut state) = (Log::new(Store::memory()), State::default());
        let groups = ["1-0a", "1-0b", "1-0a"].map(group);
        let decision = Decision::Acknowledge { owner: Some("bob".into()), note: None };
        let decided = decide(&log, &mut state, |_| true, &groups, &decision, &said()).await.expect("decides");
        assert_eq!((decided, state.seq()), (2, 2));
        let life = log.load().await.expect("loads").life(&groups[1]).cloned().expect("was decided");
        assert_eq!(life.verdict, Verdict::Acknowledged { owner: Some("bob".into()), note: None });
        assert_eq!(life.said, said());
        // Said again after an answer was lost, it is not said twice.
        decide(&log, &mut State::default(), |_| true, &groups, &decision, &said()).await.expect("decides");
        assert_eq!(log.load().await.expect("loads").seq(), 2);
    }

    #[tokio::test]
    async fn nothing_is_decided_when_one_group_is_not_there_or_a_text_is_none() {
        let (log, mut state) = (Log::new(Store::memory()), State::default());
        let groups = ["1-0a", "1-0b"].map(group);
        let knows = |id: &GroupId| id.as_str() == "1-0a";
        let none = decide(&log, &mut state, knows, &groups, &Decision::Ignore, &said()).await;
        assert!(matches!(none, Err(DecideError::NoGroup(id)) if id == groups[1]));
        let note = Decision::Acknowledge { owner: None, note: Some("a\u{7}b".into()) };
        let none = decide(&log, &mut state, |_| true, &groups, &note, &said()).await;
        assert!(matches!(none, Err(DecideError::Text { what: "note", .. })));
        assert_eq!(log.load().await.expect("loads").seq(), 0);
    }
}
