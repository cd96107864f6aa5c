//! `parqueduct ingest`: arguments, progress bar, totals.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::{self, TakeOptions, TakeWatcher};
use crate::config::{self, Config};
use crate::ingest::{ListReport, Place};

#[derive(Debug, Args)]
pub struct IngestArgs {
    #[command(flatten)]
    pub config: super::ConfigArgs,
    /// The pipeline whose schema, archive and dead letters are used
    #[arg(long, value_name = "NAME")]
    pub pipeline: String,
    /// Longest line taken; a longer one ends the run
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = parse_size)]
    line_max: usize,
    /// Files of newline-delimited events, plain, gzip or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn parse_size(text: &str) -> Result<usize, String> {
    let bytes = config::parse_size(text).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| "a size is a whole number and its unit, such as 128MiB".to_owned())
}

pub async fn run(config: Config, args: IngestArgs) -> anyhow::Result<()> {
    let options = TakeOptions { pipeline: args.pipeline, files: args.files, line_bytes_max: args.line_max };
    let watcher = Terminal { bar: progress_bar() };
    let totals = app::take(config, options, &watcher).await?;
    watcher.bar.finish_and_clear();
    super::print(&format!(
        "received {} = archived {} + dead-lettered {}\n",
        totals.received, totals.archived, totals.dead_lettered
    ));
    if totals.stopped {
        anyhow::bail!("stopped before the end: the same command goes on from there");
    }
    Ok(())
}

/// What to say of a pipeline that is not there.
pub fn no_pipeline(config: &Config, name: &str) -> String {
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    format!("{}: no pipeline is called {name:?}: there is {}", config.file.display(), names.join(", "))
}

struct Terminal {
    bar: ProgressBar,
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{prefix} {wide_bar} {binary_bytes} of {binary_total_bytes}, {msg}, {elapsed}";
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::no_length().with_style(style)
}

impl TakeWatcher for Terminal {
    fn begins(&self, name: &str, bytes: Option<u64>) {
        self.bar.reset();
        self.bar.set_prefix(name.to_owned());
        match bytes {
            Some(bytes) => self.bar.set_length(bytes),
            None => self.bar.unset_length(),
        }
    }

    fn advances(&self, place: Place, bytes_read: u64) {
        self.bar.set_position(bytes_read);
        self.bar.set_message(format!("{} lines durable", place.items));
    }

    fn ends(&self, name: &str, report: ListReport) {
        let skipped = match report.skipped {
            0 => String::new(),
            lines => format!(", {lines} lines were durable already"),
        };
        self.bar.suspend(|| super::print(&format!("{name}: {} lines taken{skipped}\n", report.taken)));
    }
}
