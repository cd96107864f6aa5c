//! Merging and retention of dead letters, beside the pipelines: nothing waits for it, and it may be killed anywhere.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tracing::{debug, info, warn};

use crate::app::machine;
use crate::config::Config;
use crate::dlq::log::Log;
use crate::dlq::merge::{Keep, MergeError, Merger, Round, Settled, Step};
use crate::dlq::records::{Filter, Records};
use crate::ingest::{Stop, chain};
use crate::metrics::Metrics;
use crate::store::Store;

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// From the start to the first round: the pipelines have better to do.
const AT_FIRST: Duration = Duration::from_secs(60);

/// Files of dead letters read at the same time.
const READS_MAX: usize = 2;

/// Tends the dead letters of `pipeline` until told to stop. The store creates conditionally.
pub(super) async fn tend(pipeline: String, config: Config, store: Store, metrics: Arc<Metrics>, stop: Stop) {
    let merger = Merger::new(store.clone());
    let mut wait = AT_FIRST;
    loop {
        tokio::select! {
            () = stop.drain.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = EVERY;
        tokio::select! {
            () = stop.drain.cancelled() => return,
            () = tend_once(&pipeline, &config, &store, &merger, &metrics) => {}
        }
    }
}

async fn tend_once(pipeline: &str, config: &Config, store: &Store, merger: &Merger, metrics: &Metrics) {
    let settled = match settled(pipeline, store).await {
        Ok(settled) => settled,
        Err(error) => {
            warn!(
                pipeline,
                error = format!("{error:#}"),
                "what was decided about groups of dead letters cannot be read: of those none is removed for now"
            );
            Settled::default()
        }
    };
    let round = Round {
        now: machine::now(),
        look_back: config.run.look_back,
        keep: Keep {
            resolved: TimeDelta::from_std(config.dlq.retain_resolved).unwrap_or(TimeDelta::MAX),
            ignored: TimeDelta::from_std(config.dlq.retain_ignored).unwrap_or(TimeDelta::MAX),
        },
        settled: &settled,
        actor: &config.instance,
    };
    if let Err(error) = tend_pipeline(pipeline, &round, merger, metrics).await {
        metrics.dlq_merge_failed(pipeline);
        warn!(pipeline, error = chain(&error), "dead letters are not merged for now: trying again later");
    }
}

async fn tend_pipeline(
    pipeline: &str,
    round: &Round<'_>,
    merger: &Merger,
    metrics: &Metrics,
) -> Result<(), MergeError> {
    let Some(newest) = merger.newest(pipeline).await? else { return Ok(()) };
    let mut first_failure = None;
    for date in merger.dates(pipeline).await? {
        loop {
            let step = match merger.next(pipeline, date, newest, round).await {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    // Of this date only.
                    first_failure.get_or_insert(error);
                    break;
                }
            };
            if let Step::DeleteBlobs(date) = step {
                info!(pipeline, %date, "bodies of dead letters that are gone are removed");
            }
            let done = merger.take(pipeline, step).await?;
            metrics.dlq_merged(pipeline, done.files);
            let removed = done.removed;
            metrics.dlq_removed(pipeline, removed.recovered, removed.resolved, removed.ignored);
            if done.files > 0 {
                debug!(pipeline, %date, files = done.files, "files of dead letters merged");
            }
            if removed != Default::default() {
                info!(pipeline, %date, recovered = removed.recovered, resolved = removed.resolved, ignored = removed.ignored, "dead letters removed that were kept long enough");
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// Which groups were decided to need nobody any more.
async fn settled(pipeline: &str, store: &Store) -> anyhow::Result<Settled> {
    let state = Log::new(store.clone()).load().await?;
    if state.groups().is_empty() {
        return Ok(Settled::default());
    }
    let filter = Filter { pipeline: Some(pipeline.to_owned()), ..Filter::default() };
    let (groups, _) = Records::new(store.clone(), READS_MAX).groups(&filter).await?;
    Ok(Settled::of(&groups, &state))
}
