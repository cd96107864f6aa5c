//! `parqueduct ingest`: files of lines through the same path, without a broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::VERSION;
use crate::app::run::{committer, report_ledger, store_ready};
use crate::app::{self, files, machine};
use crate::config::{Config, PipelineKind};
use crate::ingest::{FileSource, ListParts, ListReport, Place, Stop, Watch, lines, take_list};
use crate::metrics::Metrics;
use crate::receipt::Tally;

/// What to take.
pub struct TakeOptions {
    pub pipeline: String,
    /// `-` is standard input.
    pub files: Vec<PathBuf>,
    pub line_bytes_max: usize,
}

/// What is told of one file while it is taken.
pub trait TakeWatcher: Sync {
    /// A file begins; `bytes` are those on disk, if known.
    fn begins(&self, name: &str, bytes: Option<u64>);
    /// `bytes_read` counts those on disk.
    fn advances(&self, place: Place, bytes_read: u64);
    fn ends(&self, name: &str, report: ListReport);
}

/// Takes the files one after the other; returns the totals of the ledger.
///
/// # Errors
/// At the first file that cannot be taken to its end. What was committed stays; the same call resumes after it.
pub async fn take(config: Config, options: TakeOptions, watcher: &dyn TakeWatcher) -> anyhow::Result<TakeTotals> {
    let pipeline = config.pipeline(&options.pipeline).with_context(|| {
        let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        format!("no pipeline {:?} in {}: there are {}", options.pipeline, config.file.display(), names.join(", "))
    })?;
    if pipeline.kind != PipelineKind::Events {
        anyhow::bail!(
            "pipeline {:?} is of dead letters, which come from RabbitMQ only: name one of events",
            pipeline.name
        );
    }
    let metrics = Arc::new(Metrics::new(VERSION));
    let store = app::open_store(&config, &metrics)?;
    let learned = app::Texts::read(&store, [pipeline]).await?;
    let plan = Arc::new(app::compile(&config, pipeline, &learned, app::schemas(&config, &metrics))?);
    let pipeline_metrics = metrics.pipeline(&pipeline.name, 1);
    let stop = Stop::default();
    stop_on_signals(&stop);
    let Some(capabilities) = store_ready(&store, &metrics, &stop).await else {
        return Ok(TakeTotals { stopped: true, ..TakeTotals::default() });
    };
    let parts = ListParts {
        committer: Arc::new(committer(&config, &plan, store, metrics, capabilities, None)),
        plan,
        surroundings: machine::surroundings(),
        metrics: Arc::clone(&pipeline_metrics),
        flush_grace: config.run.flush_grace,
        liveness: Arc::new(machine::liveness),
    };
    let mut totals = TakeTotals::default();
    for path in &options.files {
        let opened = tokio::task::spawn_blocking({
            let path = path.clone();
            move || files::open_lines(&path, true)
        });
        let input = opened.await?.with_context(|| format!("{}: cannot be read", path.display()))?;
        watcher.begins(&input.name, input.bytes);
        let name = input.name.clone();
        let source = FileSource {
            name: input.name,
            digest: input.digest,
            reader: input.reader,
            line_bytes_max: options.line_bytes_max,
            now: machine::now,
        };
        let watch = FileWatch { watcher, bytes_read: input.bytes_read };
        let taken = take_list(&parts, lines(source), &stop, &watch).await;
        if taken.is_err() {
            report_ledger(&pipeline_metrics);
        }
        let report = taken?;
        watcher.ends(&name, report);
        totals.stopped |= report.stopped;
        if report.stopped {
            break;
        }
    }
    let ledger = &pipeline_metrics.ledger;
    totals.received = ledger.received();
    totals.archived = ledger.archived();
    totals.dead_lettered = ledger.dead_lettered_all();
    report_ledger(&pipeline_metrics);
    Ok(totals)
}

struct FileWatch<'a> {
    watcher: &'a dyn TakeWatcher,
    /// Of the bytes on disk.
    bytes_read: Arc<AtomicU64>,
}

impl Watch for FileWatch<'_> {
    fn durable(&self, place: Place, _tally: &Tally) {
        self.watcher.advances(place, self.bytes_read.load(Relaxed));
    }
}

/// The ledger of an ingest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeTotals {
    pub received: u64,
    pub archived: u64,
    pub dead_lettered: u64,
    /// A signal ended it early; the same call goes on from there.
    pub stopped: bool,
}

/// The first signal stops after what is held is durable; the second ends the process, and the next run resumes.
pub fn stop_on_signals(stop: &Stop) {
    tokio::spawn(stop_on_signal(stop.clone()));
}

async fn stop_on_signal(stop: Stop) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    for _ in 0..2 {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        if stop.drain.is_cancelled() {
            std::process::exit(1);
        }
        stop.drain.cancel();
    }
}
