//! `parqueduct dlq plan`, `dry-run`, `replay` and what belongs to them: arguments in, tables and JSON out.

pub mod arguments;
mod bar; // how far it is
mod told; // plans, dry runs and jobs as text and as JSON

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ulid::Ulid;

use crate::app;
use crate::cli::dlq::Outcome;
use crate::config;
use crate::dlq::log::Said;
use crate::ingest::Stop;
use crate::replay::candidate::Candidate;
use crate::replay::destination::{Destination, Sending};
use crate::replay::plan::{FixText, Plan};
use crate::replay::{DryRunOptions, JobEnd, Pace, PlanRequest, ReplayOptions, Replays, Resumed, Start};
use crate::schema::Language;
use arguments::{
    By, DryRunArguments, JobArguments, JobsArguments, PlanArguments, ReplayArguments, ReplayCommand, ResumeArguments,
    RevertArguments, TermsArguments,
};
use bar::Bar;

/// Runs one command.
///
/// # Errors
/// One line for a person.
pub async fn run(command: &ReplayCommand, replays: Replays, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match command {
        ReplayCommand::Plan(arguments) => plan(&replays, arguments, out).await,
        ReplayCommand::Revert(arguments) => revert(&replays, arguments, out).await,
        ReplayCommand::DryRun(arguments) => dry_run(&replays, arguments, out).await,
        ReplayCommand::Replay(arguments) => replay(&replays, arguments, out).await,
        ReplayCommand::Jobs(arguments) => jobs(&replays, arguments, out).await,
        ReplayCommand::Pause(arguments) => pause(&replays, arguments, out).await,
        ReplayCommand::Resume(arguments) => resume(&replays, arguments, out).await,
        ReplayCommand::Cancel(arguments) => cancel(&replays, arguments, out).await,
    }
}

fn said(replays: &Replays, by: &By) -> anyhow::Result<Said> {
    let now = (replays.surroundings.now)();
    Ok(match &by.why {
        Some(why) => Said::new(now, &by.actor(), why)?,
        None => Said::by(now, &by.actor()),
    })
}

async fn plan(replays: &Replays, arguments: &PlanArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let filter = arguments.filter.at((replays.surroundings.now)())?;
    let pipeline = match &filter.pipeline {
        Some(pipeline) => pipeline.clone(),
        None => only_pipeline(replays)?,
    };
    let language = |name: &str| replays.language_of(&pipeline, name);
    let request = PlanRequest {
        fix: arguments.fix.as_deref().map(read_fix).transpose()?,
        candidate: arguments.schema.as_deref().map(|path| read_schema(path, language)).transpose()?,
        filter,
        ..request(pipeline, &arguments.terms)?
    };
    freeze(replays, &request, &arguments.terms, out).await
}

async fn revert(replays: &Replays, arguments: &RevertArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let job = replays.job(arguments.job).await?;
    let pipeline = replays.read_plan(&job.job.plan).await?.terms.pipeline;
    let request = PlanRequest { of_job: Some(arguments.job), ..request(pipeline, &arguments.terms)? };
    freeze(replays, &request, &arguments.terms, out).await
}

fn request(pipeline: String, terms: &TermsArguments) -> anyhow::Result<PlanRequest> {
    let destination = destination(terms)?;
    let sending = Sending { keep_expiration: terms.keep_expiration, priority: terms.priority };
    if sending != Sending::default() && !destination.is_broker() {
        bail!("--keep-expiration and --priority are for messages that go to a broker (--to)");
    }
    Ok(PlanRequest {
        pipeline,
        destination,
        sending,
        canary: !terms.no_canary,
        why: terms.by.why.clone(),
        ..PlanRequest::default()
    })
}

/// Where it is to go. The plan may be executed in another directory: files are named from the root.
fn destination(terms: &TermsArguments) -> anyhow::Result<Destination> {
    let absolute = |path: &str| -> anyhow::Result<String> {
        let path = std::path::absolute(path).with_context(|| format!("{path}: is no path"))?;
        path.into_os_string().into_string().map_err(|path| anyhow!("{}: is not UTF-8", path.display()))
    };
    Ok(match terms.to.clone() {
        Destination::Origin { .. } => Destination::Origin { fan_out_ok: terms.fan_out_ok },
        _ if terms.fan_out_ok => bail!("--fan-out-ok is for --to origin"),
        Destination::File { path } => Destination::File { path: absolute(&path)? },
        Destination::Exchange { exchange, routing_key, uri_file } => {
            let uri_file = uri_file.as_deref().map(absolute).transpose()?;
            Destination::Exchange { exchange, routing_key, uri_file }
        }
        other => other,
    })
}

async fn freeze(
    replays: &Replays,
    request: &PlanRequest,
    terms: &TermsArguments,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let planned = replays.plan(request, &terms.by.actor()).await?;
    if terms.json {
        told::write_plan_json(out, &planned)?;
    } else {
        told::write_plan(out, &planned, &titles(replays, &planned.plan).await?)?;
    }
    Ok(Outcome::Complete)
}

/// What the groups of a plan are about.
async fn titles(replays: &Replays, plan: &Plan) -> anyhow::Result<told::Titles> {
    let filter = crate::dlq::filter::Filter { pipeline: Some(plan.terms.pipeline.clone()), ..Default::default() };
    let (groups, _) = replays.records.groups(&filter).await?;
    Ok(groups.into_iter().map(|group| (group.id, group.title)).collect())
}

fn only_pipeline(replays: &Replays) -> anyhow::Result<String> {
    match replays.config.pipelines.as_slice() {
        [only] => Ok(only.name.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|pipeline| pipeline.name.as_str()).collect();
            bail!("--pipeline is needed: there are {}", names.join(", "))
        }
    }
}

fn read_fix(path: &Path) -> anyhow::Result<FixText> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(FixText { name: file_name(path), text })
}

fn read_schema(path: &Path, language: impl Fn(&str) -> Language) -> anyhow::Result<Candidate> {
    let path = std::path::absolute(path).with_context(|| format!("{}: is no path", path.display()))?;
    let (name, version) = config::schema_identity(&file_name(&path));
    Ok(Candidate::freeze(&language(&name), &path, &name, version, &|path| std::fs::read(path))?)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

async fn dry_run(replays: &Replays, arguments: &DryRunArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let plan = replays.read_plan(&arguments.plan).await?;
    let (stop, bar) = (Stop::default(), Bar::new("letters tried"));
    app::stop_on_signals(&stop);
    let report = replays.dry_run(&plan, DryRunOptions { good: arguments.good }, &stop, &bar).await;
    bar.clear();
    let report = report?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        told::write_report(out, &report, &titles(replays, &plan).await?)?;
    }
    Ok(if report.passes() { Outcome::Complete } else { Outcome::Partial })
}

async fn replay(replays: &Replays, arguments: &ReplayArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let plan = replays.read_plan(&arguments.plan).await?;
    if !arguments.yes && !confirmed(&plan)? {
        bail!("nothing was done");
    }
    match replays.start(&plan, &said(replays, &arguments.by)?).await? {
        Start::Nothing { letters, recovered } => {
            if arguments.json {
                let nothing = serde_json::json!({"plan": plan.hash, "job": null, "letters": letters, "done": letters,
                    "recovered_already": recovered});
                writeln!(out, "{nothing}")?;
            } else {
                writeln!(
                    out,
                    "nothing to do: the {letters} letters of plan {} were given back already; {recovered} of them are recovered",
                    plan.short()
                )?;
            }
            Ok(Outcome::Complete)
        }
        Start::Begun(job) => go(replays, job, arguments.pace.into(), arguments.json, out).await,
        Start::Taken(job) => {
            if !arguments.json {
                writeln!(out, "job {job}: its process is gone; going on from there")?;
            }
            go(replays, job, arguments.pace.into(), arguments.json, out).await
        }
    }
}

fn confirmed(plan: &Plan) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("a replay sends or archives letters: say --yes where nobody can be asked");
    }
    let terms = &plan.terms;
    eprint!("Give back {} letters of pipeline {} to {}? [y/N] ", terms.letters, terms.pipeline, terms.destination);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn resume(replays: &Replays, arguments: &ResumeArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    match replays.resume(arguments.job, &said(replays, &arguments.by)?, arguments.force).await? {
        Resumed::Taken => go(replays, arguments.job, arguments.pace.into(), arguments.json, out).await,
        Resumed::There(owner) => {
            writeln!(out, "job {}: process {} on {} goes on with it", arguments.job, owner.pid, owner.host)?;
            Ok(Outcome::Complete)
        }
    }
}

/// Runs a job that is ours to its end.
async fn go(replays: &Replays, job: Ulid, pace: Pace, json: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (stop, bar) = (Stop::default(), Bar::new("letters durable"));
    app::stop_on_signals(&stop);
    if !json {
        bar.say(&format!("job {job}"));
    }
    let end = replays.run(job, ReplayOptions { pace }, &stop, &bar).await;
    bar.clear();
    let end = end.with_context(|| format!("job {job} can be gone on with by `parqueduct dlq resume {job}`"))?;
    if json {
        told::write_end_json(out, job, &end)?;
    } else {
        told::write_end(out, job, &end)?;
    }
    Ok(match end {
        JobEnd::Finished(counts) if counts.failed + counts.unroutable + counts.refused == 0 => Outcome::Complete,
        JobEnd::Taken => Outcome::Complete,
        _ => Outcome::Partial,
    })
}

async fn jobs(replays: &Replays, arguments: &JobsArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let jobs = replays.jobs(arguments.limit.unwrap_or(usize::MAX)).await?;
    if arguments.json {
        for job in &jobs {
            told::write_job_json(out, job)?;
        }
    } else if jobs.is_empty() {
        writeln!(out, "no replays: `parqueduct dlq plan` makes a plan of one")?;
    } else {
        told::write_jobs(out, &jobs)?;
    }
    Ok(Outcome::Complete)
}

async fn pause(replays: &Replays, arguments: &JobArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    replays.pause(arguments.job, &said(replays, &arguments.by)?).await?;
    writeln!(out, "job {}: paused; it rests once what it has in hand is durable", arguments.job)?;
    Ok(Outcome::Complete)
}

async fn cancel(replays: &Replays, arguments: &JobArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    replays.cancel(arguments.job, &said(replays, &arguments.by)?).await?;
    writeln!(out, "job {}: cancelled; what it did not come to stays dead", arguments.job)?;
    Ok(Outcome::Complete)
}
