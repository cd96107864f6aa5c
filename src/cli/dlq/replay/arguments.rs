//! What can be asked of plans and replays.

use std::path::PathBuf;

use ulid::Ulid;

use crate::app;
use crate::cli::dlq::arguments::FilterArguments;
use crate::config;
use crate::replay::destination::Destination;
use crate::replay::{GOOD_EVENTS, Pace};

#[derive(Clone, Debug, clap::Subcommand)]
pub enum ReplayCommand {
    /// Freeze which dead letters go back, how they are mended, and where to; nothing is done yet.
    Plan(Box<PlanArguments>),
    /// Try a plan: the real way into nothing, and the same mend over good events.
    DryRun(DryRunArguments),
    /// Execute a plan, a few letters first.
    Replay(ReplayArguments),
    /// Plan to give back once more what a job recovered or sent, as it was before its fix.
    Revert(RevertArguments),
    /// The replays, newest first.
    Jobs(JobsArguments),
    /// Let a replay rest after what it has in hand.
    Pause(JobArguments),
    /// Go on with a replay that is paused, halted, or whose process is gone.
    Resume(ResumeArguments),
    /// End a replay: what it did not come to stays dead.
    Cancel(JobArguments),
}

#[derive(Clone, Debug, clap::Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Mend each letter by the fix in this file, TOML or JSON; see docs/fixes.md.
    #[arg(long, value_name = "FILE")]
    pub fix: Option<PathBuf>,
    /// Judge by this JSON Schema instead of the pipeline's own.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    #[command(flatten)]
    pub terms: TermsArguments,
}

/// What plans of every kind have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct TermsArguments {
    /// Where the letters go: pipeline, queue, queue=NAME, origin, exchange=NAME (with ,key=KEY and ,uri-file=FILE), file:PATH.
    #[arg(long, value_name = "DESTINATION", default_value = "pipeline")]
    pub to: Destination,
    /// To origin: also where a message would reach other queues than the one it died in.
    #[arg(long)]
    pub fan_out_ok: bool,
    /// To a broker: let messages expire as they did the first time.
    #[arg(long)]
    pub keep_expiration: bool,
    /// To a broker: this priority, in place of each message's own.
    #[arg(long, value_name = "N")]
    pub priority: Option<u8>,
    /// Give everything back at once, not a few letters first.
    #[arg(long)]
    pub no_canary: bool,
    #[command(flatten)]
    pub by: By,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Who does it, and why: kept in the audit.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct By {
    /// Why it is done.
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Who does it; by default the user and the host.
    #[arg(long, value_name = "NAME", env = "PARQUEDUCT_ACTOR")]
    pub actor: Option<String>,
}

impl By {
    pub fn actor(&self) -> String {
        self.actor.clone().filter(|actor| !actor.is_empty()).unwrap_or_else(app::actor)
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct DryRunArguments {
    /// The plan's hash, or the beginning of it.
    pub plan: String,
    /// Try the same mend on so many of the newest good events; 0 for none.
    #[arg(long, value_name = "N", default_value_t = GOOD_EVENTS)]
    pub good: usize,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArguments {
    /// The plan's hash, or the beginning of it.
    pub plan: String,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub pace: PaceArguments,
    #[command(flatten)]
    pub by: By,
    /// One JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct PaceArguments {
    /// No more than so many letters a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// No more bytes of bodies a second than that, such as 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub bytes_rate: Option<u64>,
}

impl From<PaceArguments> for Pace {
    fn from(arguments: PaceArguments) -> Self {
        Self { letters_per_second: arguments.rate, bytes_per_second: arguments.bytes_rate }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct RevertArguments {
    #[arg(value_parser = job)]
    pub job: Ulid,
    #[command(flatten)]
    pub terms: TermsArguments,
}

#[derive(Clone, Debug, clap::Args)]
pub struct JobsArguments {
    /// At most so many, the newest.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct JobArguments {
    #[arg(value_parser = job)]
    pub job: Ulid,
    #[command(flatten)]
    pub by: By,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ResumeArguments {
    #[arg(value_parser = job)]
    pub job: Ulid,
    /// Also when its process cannot be seen from here: should it live after all, it stops.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub pace: PaceArguments,
    #[command(flatten)]
    pub by: By,
    /// One JSON object at the end.
    #[arg(long)]
    pub json: bool,
}

fn job(text: &str) -> Result<Ulid, String> {
    text.parse().map_err(|_| "not a job's id; they are 26 letters and digits, as `dlq jobs` shows".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = config::parse_size(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "a size is a whole number and its unit, such as 1MiB".to_owned())
}
