//! Commands: arguments in, text out. Exit codes: 0 fine, 1 failed at run time, 2 bad usage or configuration.

mod check; // `check`
pub mod dlq; // `dlq ...`
mod publish; // `publish`
mod schema; // `schema ...`
mod table; // aligned columns
mod take; // `ingest`, with its progress bar

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{self, Config, Severity};
use crate::metrics::Metrics;
use crate::replay::fix;

/// Carries events from RabbitMQ into partitioned Parquet, and keeps every event that fails, with the reason.
#[derive(Debug, Parser)]
#[command(name = "parqueduct", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipelines until SIGTERM or Ctrl-C, then drain
    Run(ConfigArgs),
    /// Check the configuration and the schemas; with --connect also the broker and the store
    Check(check::CheckArgs),
    /// Take lines of files (plain, gzip, zstd) or of standard input through a pipeline, without a broker
    Ingest(take::IngestArgs),
    /// Publish lines of files to RabbitMQ, with confirms
    Publish(publish::PublishArgs),
    /// Look at dead letters
    Dlq(Box<DlqArgs>),
    /// What a schema gives, and what it says of samples
    #[command(subcommand)]
    Schema(schema::Command),
    /// Print the commented default configuration, or its JSON Schema for editors
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The process that runs the jq program of a fix for another of this program's processes
    #[command(name = fix::jq::COMMAND, hide = true)]
    JqWorker,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// The configuration file with every key, its default and its unit
    Reference,
    /// The JSON Schema of the configuration file
    Schema,
}

#[derive(Debug, Args)]
struct DlqArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: dlq::Command,
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "PARQUEDUCT_CONFIG", default_value = "parqueduct.toml")]
    pub config: PathBuf,
}

/// Runs the command; what went wrong is one line on standard error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(text)) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
        Err(Failure::Findings) => ExitCode::from(2),
        Err(Failure::Partial) => ExitCode::from(1),
        Err(Failure::Runtime(error)) => {
            eprintln!("parqueduct: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Why a command failed, which is its exit code.
enum Failure {
    /// 2: the findings, one a line.
    Configuration(String),
    /// 1.
    Runtime(anyhow::Error),
    /// 2, and the findings were printed already.
    Findings,
    /// 1, and what could not be read was printed already.
    Partial,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Runtime(error)
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => {
            let config = load_compiling(&args.config)?;
            app::start_logs(&config.log)?;
            block_on(app::run(config))
        }
        Command::Check(args) => check::run(&args),
        Command::Ingest(args) => {
            let config = load_compiling(&args.config.config)?;
            if config.pipeline(&args.pipeline).is_none() {
                return Err(Failure::Configuration(take::no_pipeline(&config, &args.pipeline)));
            }
            app::start_logs(&config.log)?;
            block_on(take::run(config, args))
        }
        Command::Publish(args) => {
            let config = load(&args.config.config)?;
            app::start_logs(&config.log)?;
            block_on(publish::run(config, args))
        }
        Command::Dlq(args) => run_dlq(&args),
        Command::Schema(schema::Command::Infer(args)) => {
            let config = if args.needs_config() { Some(load(&args.config.config)?) } else { None };
            if let Some(config) = &config {
                app::start_logs(&config.log)?;
            }
            block_on(async { schema::infer(&args, config, &mut std::io::stdout(), &mut std::io::stderr()).await })
        }
        Command::Schema(schema::Command::Learned(args)) => {
            let config = load(&args.config.config)?;
            app::start_logs(&config.log)?;
            block_on(async { schema::learned(&args, config, &mut std::io::stdout(), &mut std::io::stderr()).await })
        }
        Command::Schema(schema::Command::Adopt(args)) => {
            let config = load(&args.config.config)?;
            app::start_logs(&config.log)?;
            block_on(async { schema::adopt(&args, config, &mut std::io::stdout()).await })
        }
        Command::Schema(command) => {
            let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
            match schema::run(&command, width, &mut std::io::stdout().lock())? {
                true => Ok(()),
                false => Err(Failure::Partial),
            }
        }
        Command::JqWorker => {
            // Stops quietly when the other side goes away.
            let _closed_pipe = fix::jq::serve(std::io::stdin().lock(), std::io::stdout().lock());
            Ok(())
        }
        Command::Config(command) => {
            let text = match command {
                ConfigCommand::Reference => config::reference(),
                ConfigCommand::Schema => format!("{:#}\n", config::json_schema()),
            };
            print(&text);
            Ok(())
        }
    }
}

fn run_dlq(args: &DlqArgs) -> Result<(), Failure> {
    let config = load(&args.config.config)?;
    app::start_logs(&config.log)?;
    let outcome = block_on(async {
        if let dlq::Command::Replay(command) = &args.command {
            return dlq::replay::run(command, app::replays(config).await?, &mut std::io::stdout().lock()).await;
        }
        let store = app::open_store(&config, &Arc::new(Metrics::new(crate::VERSION)))?;
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let surroundings = dlq::Surroundings { store, now: app::now(), actor: app::actor(), width };
        dlq::run(&args.command, surroundings, &mut std::io::stdout().lock(), &mut std::io::stderr()).await
    })?;
    match outcome {
        dlq::Outcome::Complete => Ok(()),
        dlq::Outcome::Partial => Err(Failure::Partial),
    }
}

/// Reads the configuration; its warnings go to standard error.
fn load(path: &Path) -> Result<Config, Failure> {
    let loaded = app::read_config(path).map_err(|error| Failure::Configuration(format!("{error:#}")))?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    Ok(loaded.config)
}

/// Reads the configuration and compiles its schemas, for commands that run pipelines.
fn load_compiling(path: &Path) -> Result<Config, Failure> {
    let loaded = app::read_config(path).map_err(|error| Failure::Configuration(format!("{error:#}")))?;
    let mut findings = loaded.warnings.clone();
    findings.extend(app::check_schemas(&loaded));
    let text = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Failure::Configuration(text));
    }
    if !text.is_empty() {
        eprintln!("{text}");
    }
    Ok(loaded.config)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let done = runtime.block_on(work);
    // A blocking read of standard input may never end: do not wait for it.
    runtime.shutdown_background();
    Ok(done?)
}

/// Writes to standard output; a reader that went away ends it quietly.
pub(crate) fn print(text: &str) {
    let _closed_pipe = std::io::stdout().lock().write_all(text.as_bytes());
}
