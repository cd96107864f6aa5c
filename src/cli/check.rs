//! `parqueduct check`: every finding names file, line, key and mend.

use clap::Args;

use super::{ConfigArgs, Failure, block_on, print};
use crate::app;
use crate::config::Severity;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also connect to the broker and the store, and look at the queues
    #[arg(long)]
    connect: bool,
}

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = app::read_config(&args.config.config).map_err(|error| Failure::Configuration(format!("{error:#}")))?;
    let mut findings = loaded.warnings.clone();
    findings.extend(app::check_schemas(&loaded));
    if args.connect {
        app::start_logs(&loaded.config.log)?;
        findings.extend(block_on(async { Ok(app::check_connections(&loaded).await) })?);
    }
    findings.sort_by_key(|finding| finding.line);
    for finding in &findings {
        print(&format!("{finding}\n"));
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Failure::Findings);
    }
    for line in block_on(async { Ok(app::told_of_learned(&loaded.config, args.connect).await) })? {
        print(&format!("{line}\n"));
    }
    if args.connect && loaded.config.rabbitmq.management.is_none() {
        print("rabbitmq.management is not set: delivery limits, expiry and bounds of the queues were not looked at\n");
    }
    let pipelines = loaded.config.pipelines.len();
    let checked = if args.connect { "configuration, schemas, broker and store" } else { "configuration and schemas" };
    print(&format!("{}: {pipelines} pipeline(s), {checked} are fine\n", args.config.config.display()));
    Ok(())
}
