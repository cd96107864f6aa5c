//! The groups of dead letters in the store, counted for metrics beside the pipelines: how many are in which state, when the
//! newest began, and how many rise.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::MissedTickBehavior;
use tracing::debug;

use crate::app::machine;
use crate::config::Config;
use crate::dlq::groups::{Group, State};
use crate::dlq::life;
use crate::dlq::log::{self, Log};
use crate::dlq::records::{Filter, Records};
use crate::metrics::Metrics;
use crate::store::Store;

/// Files of dead letters read at the same time, of those that do not say which groups they hold.
const READS_MAX: usize = 2;

/// From the start to the first look: what the pipelines ask of the store comes first.
const AT_FIRST: Duration = Duration::from_secs(10);

/// Counts until it is dropped.
pub(super) async fn watch(config: Config, every: Duration, store: Store, metrics: Arc<Metrics>) {
    let log = Log::new(store.clone());
    let records = Records::remembering(store, READS_MAX, config.dlq.index_bytes);
    let mut state = log::State::default();
    let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + every.min(AT_FIRST), every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match look(&log, &records, &mut state).await {
            Ok(groups) => show(&config, &groups, &metrics),
            // What is shown is as of the look before; a store that is down is told by others.
            Err(error) => debug!(error = format!("{error:#}"), "groups of dead letters cannot be counted now"),
        }
    }
}

async fn look(log: &Log, records: &Records, state: &mut log::State) -> anyhow::Result<Vec<Group>> {
    if state.seq() == 0 {
        *state = log.load().await?;
    } else {
        log.refresh(state).await?;
    }
    let (mut groups, _) = records.groups(&Filter::default()).await?;
    life::stand(&mut groups, state);
    Ok(groups)
}

fn show(config: &Config, groups: &[Group], metrics: &Metrics) {
    let now = machine::now();
    for pipeline in &config.pipelines {
        let own: Vec<&Group> = groups.iter().filter(|group| group.pipeline == pipeline.name).collect();
        let Figures { states, newest, rising } = figures(&own, now);
        metrics.set_dlq_groups(&pipeline.name, &states, newest, rising);
    }
}

/// What is shown of the groups of a pipeline.
struct Figures {
    states: Vec<(&'static str, u64)>,
    newest: Option<DateTime<Utc>>,
    rising: u64,
}

fn figures(groups: &[&Group], now: DateTime<Utc>) -> Figures {
    let of = |state| groups.iter().filter(|group| group.state == state).count() as u64;
    let open = groups.iter().filter(|group| group.state == State::Open);
    let heard = groups.iter().filter(|group| group.state != State::Ignored);
    Figures {
        states: State::ALL.iter().map(|state| (state.as_str(), of(*state))).collect(),
        newest: open.map(|group| group.first_seen).max(),
        rising: heard.filter(|group| is_rising(group, now)).count() as u64,
    }
}

/// Letters within an hour that are worth a look, whatever there was before.
const RISING_LETTERS: u64 = 50;
const RISING_FACTOR: u64 = 10;
const HOURS_BEFORE: i64 = 24;

/// Whether the last hour brought ten times as many letters as any hour of the day before that.
fn is_rising(group: &Group, now: DateTime<Utc>) -> bool {
    let minute = now.timestamp().div_euclid(60);
    let letters = |hours_ago: i64| -> u64 {
        let end = minute - hours_ago * 60;
        group.minutes.range(end - 59..=end).map(|(_, letters)| letters).sum()
    };
    let before = (1..=HOURS_BEFORE).map(letters).max().unwrap_or(0);
    // One that is new is told as such.
    before > 0 && letters(0) >= RISING_LETTERS.max(RISING_FACTOR * before)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dlq::fingerprint::GroupId;
    use crate::dlq::groups::Gone;

    const NOW: i64 = 1_800_000_000;

    fn at(hours_ago: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(NOW - hours_ago * 3600, 0).expect("in range")
    }

    /// With so many letters so many hours ago.
    fn group(state: State, letters: &[(i64, u64)]) -> Group {
        let minutes: BTreeMap<i64, u64> = letters.iter().map(|(ago, n)| (at(*ago).timestamp() / 60, *n)).collect();
        Group {
            id: GroupId::parse("1-dc573f3993ed91d0").expect("an id"),
            pipeline: "orders".to_owned(),
            code: "validate.type".to_owned(),
            path: "/a".to_owned(),
            title: "a".to_owned(),
            state,
            count: 1,
            open: 1,
            showing: 1,
            recovered: 0,
            last_recovered: None,
            first_seen: at(letters.iter().map(|(ago, _)| *ago).max().unwrap_or(0)),
            last_seen: at(0),
            samples: Vec::new(),
            producers: Vec::new(),
            producers_other: 0,
            minutes,
            schemas: BTreeMap::new(),
            gone: Gone::default(),
        }
    }

    #[test]
    fn groups_are_counted_by_state_and_the_newest_open_one_is_told() {
        let groups =
            [group(State::Open, &[(30, 1), (0, 1)]), group(State::Open, &[(5, 1)]), group(State::Regressed, &[(1, 1)])];
        let found = figures(&groups.iter().collect::<Vec<_>>(), at(0));
        let of = |state: &str| found.states.iter().find(|(name, _)| *name == state).expect("every state").1;
        assert_eq!((of("open"), of("regressed"), of("resolved")), (2, 1, 0));
        assert_eq!((found.newest, found.rising), (Some(at(5)), 0));
        assert_eq!(figures(&[], at(0)).newest, None);
    }

    #[test]
    fn a_group_rises_when_an_hour_brings_ten_times_what_any_hour_before_did() {
        let rises = |letters: &[(i64, u64)]| is_rising(&group(State::Open, letters), at(0));
        assert!(rises(&[(3, 6), (0, 60)]) && rises(&[(20, 1), (0, 50)]));
        assert!(!rises(&[(3, 6), (0, 59)]) && !rises(&[(20, 1), (0, 49)]), "too few");
        assert!(!rises(&[(3, 6), (2, 90), (0, 60)]), "as many a while ago");
        assert!(!rises(&[(0, 1000)]) && !rises(&[(30, 1), (0, 1000)]), "new, or as good as new");
    }
}
