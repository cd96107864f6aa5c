//! `parqueduct schema learned` and `schema adopt`: what a pipeline with `schema = "infer"` has learned, and a schema of one's
//! own in its place.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;

use crate::app;
use crate::cli::ConfigArgs;
use crate::config::{self, Config, show_duration};
use crate::ingest::learned::{Revision, Revisions};
use crate::metrics::Metrics;
use crate::schema::columns::COLUMNS_MAX;

#[derive(Debug, Args)]
pub struct LearnedArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: String,
    /// Another than the newest revision
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    revision: Option<u32>,
}

#[derive(Debug, Args)]
pub struct AdoptArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: String,
    /// The JSON Schema that is to follow what is learned; or to begin with, when nothing is
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The pipeline of that name, which learns its schema, and the revisions of it.
fn of<'c>(config: &'c Config, name: &str) -> anyhow::Result<(&'c config::Pipeline, Revisions)> {
    let pipeline =
        config.pipeline(name).with_context(|| format!("there is no pipeline {name:?} in the configuration"))?;
    if pipeline.infer.is_none() {
        bail!("pipeline {name:?} has a schema that is written, and learns none: see its file");
    }
    let store = app::open_store(config, &Arc::new(Metrics::new(crate::VERSION)))?;
    let revisions = Revisions::new(store, &pipeline.events[0]);
    Ok((pipeline, revisions))
}

/// Writes the schema to `out`, and where it is to `errors`.
///
/// # Errors
/// Nothing is learned yet, or the store cannot be read.
pub async fn show(
    args: &LearnedArgs,
    config: Config,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<()> {
    let (pipeline, revisions) = of(&config, &args.pipeline)?;
    let found = match args.revision {
        Some(number) => revisions.get(number).await?,
        None => revisions.newest().await?,
    };
    let Some(Revision { number, text }) = found else {
        match args.revision {
            Some(number) => bail!("there is no revision {number} of the schema of pipeline {}", pipeline.name),
            None => bail!("the schema of pipeline {} is not learned yet", pipeline.name),
        }
    };
    out.write_all(&text).context("cannot write the output")?;
    // Nobody may be listening there.
    let _ = writeln!(errors, "revision {number} of {}: {}", label(pipeline), revisions.path(number));
    // What is wrong with one that is broken, `run` tells.
    let plan = app::compile(&config, pipeline, &app::Texts::of(pipeline, text), None);
    let limit = match plan.map(|plan| plan.events[0].columns.reasons.len()) {
        Ok(0) => "it has no columns: all of an event is kept in _extra",
        Ok(COLUMNS_MAX..) => "it has as many columns as there may be: what is new stays in _extra",
        _ => return Ok(()),
    };
    let _ = writeln!(errors, "warning: {limit}");
    Ok(())
}

fn label(pipeline: &config::Pipeline) -> String {
    let event = &pipeline.events[0];
    format!("{}@{}", event.schema_name, event.schema_version)
}

/// Writes the file as the next revision, and what changes with it to `out`.
///
/// # Errors
/// It is no schema, or cannot follow the one before; or the store takes no writes.
pub async fn adopt(args: &AdoptArgs, config: Config, out: &mut impl Write) -> anyhow::Result<()> {
    let (pipeline, revisions) = of(&config, &args.pipeline)?;
    let shown = args.file.display();
    let text = std::fs::read(&args.file).with_context(|| format!("{shown}: cannot be read"))?;
    let newest = revisions.newest().await?;
    let compile = |text: Bytes| app::compile(&config, pipeline, &app::Texts::of(pipeline, text), None);
    let next = compile(text.clone().into()).with_context(|| shown.to_string())?;
    if let Some(newest) = &newest {
        // One that is broken is there to be mended.
        if let Ok(current) = compile(newest.text.clone()) {
            let differences = current.succeeded_by(&next).map_err(|reason| {
                let major = pipeline.events[0].schema_version + 1;
                anyhow::anyhow!("{shown}: {reason}; rows of one version lie together: set schema_version = {major}, which has revisions of its own")
            })?;
            if differences.is_empty() {
                bail!("{shown} says what revision {} says", newest.number);
            }
            for change in differences.iter().flat_map(|difference| &difference.comparison.storage) {
                writeln!(out, "{change}")?;
            }
        }
    }
    let number = newest.map_or(0, |newest| newest.number) + 1;
    if !revisions.create(&Revision { number, text: text.into() }).await? {
        bail!("somebody else wrote revision {number} meanwhile: look at it, and try again");
    }
    let when = match config.run.schema_reload {
        Some(every) => format!("running processes take it within {}", show_duration(every)),
        None => "processes take it when they are started, as run.schema_reload is \"0s\"".to_owned(),
    };
    writeln!(out, "revision {number} of {} is written to {}; {when}", label(pipeline), revisions.path(number))?;
    Ok(())
}
