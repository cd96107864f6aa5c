//! Plans, dry runs and jobs, for people and for programs.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::json;
use ulid::Ulid;

use crate::cli::dlq::text::{clean, exactly, seconds};
use crate::cli::table::{Column, Table};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::{JobCounts, JobStatus};
use crate::replay::{ChangeCount, DryRunReport, GoodReport, GroupCount, JobEnd, JobView, Planned, ReasonCount};
use crate::store::flush::Liveness;

/// What groups are about.
pub type Titles = HashMap<GroupId, String>;

fn title<'a>(titles: &'a Titles, group: &GroupId) -> &'a str {
    titles.get(group).map_or("", String::as_str)
}

pub fn write_plan(out: &mut impl Write, planned: &Planned, titles: &Titles) -> io::Result<()> {
    let Planned { plan, known, exhausted, steps } = planned;
    let terms = &plan.terms;
    writeln!(
        out,
        "plan {}: {} letters of pipeline {}, {} bytes of bodies, to {}",
        plan.short(),
        terms.letters,
        terms.pipeline,
        terms.body_bytes,
        terms.destination
    )?;
    if *known {
        writeln!(out, "the same plan was made by {} at {}", clean(&plan.by), seconds(plan.created_at))?;
    }
    if *exhausted > 0 {
        writeln!(out, "{exhausted} more letters failed with the same mend three times, and are left out")?;
    }
    if let Some(judge) = &terms.into {
        writeln!(out, "judged by pipeline {judge}")?;
    }
    if let Some(candidate) = &terms.candidate {
        writeln!(
            out,
            "judged by schema {} of the plan, not by the pipeline's {}",
            candidate.label(),
            terms.against.schema
        )?;
    }
    for (number, step) in (1..).zip(steps) {
        writeln!(out, "fix {number}: {}", clean(step))?;
    }
    writeln!(out)?;
    let mut table = Table::new([Column::number("LETTERS"), Column::whole("GROUP"), Column::cut("WHAT IS WRONG")]);
    let mut groups: Vec<_> = terms.groups.iter().collect();
    groups.sort_by(|one, other| (other.1, one.0).cmp(&(one.1, other.0)));
    for (group, letters) in groups {
        table.add([letters.to_string(), group.to_string(), clean(title(titles, group)).into_owned()]);
    }
    table.write(out, None)?;
    writeln!(
        out,
        "\nNothing is done yet: `parqueduct dlq dry-run {0}` tries it, `parqueduct dlq replay {0}` does it.",
        plan.short()
    )
}

pub fn write_plan_json(out: &mut impl Write, planned: &Planned) -> io::Result<()> {
    let Planned { plan, known, exhausted, steps } = planned;
    let terms = &plan.terms;
    let line = json!({
        "plan": plan.hash,
        "pipeline": terms.pipeline,
        "judge": terms.judge(),
        "letters": terms.letters,
        "body_bytes": terms.body_bytes,
        "groups": terms.groups,
        "schema": terms.candidate.as_ref().map(|candidate| candidate.label()),
        "steps": steps,
        "destination": terms.destination.to_string(),
        "canary": terms.canary,
        "created_at": exactly(plan.created_at),
        "by": plan.by,
        "why": plan.why,
        "known": known,
        "exhausted": exhausted,
    });
    writeln!(out, "{line}")
}

pub fn write_report(out: &mut impl Write, report: &DryRunReport, titles: &Titles) -> io::Result<()> {
    writeln!(
        out,
        "{} letters by schema {}: {} pass, {} fail, {} are recovered already\n",
        report.letters, report.schema, report.pass, report.fail, report.recovered_already
    )?;
    let mut table = Table::new([
        Column::number("PASS"),
        Column::number("FAIL"),
        Column::whole("GROUP"),
        Column::cut("WHAT WAS WRONG"),
    ]);
    for old in &report.groups {
        let title = clean(title(titles, &old.group)).into_owned();
        table.add([old.pass.to_string(), old.fail.to_string(), old.group.to_string(), title]);
    }
    table.write(out, None)?;
    write_found(out, "letters would fail", &report.found)?;
    write_mended(out, &report.changes, &report.unmended)?;
    let rows: u64 = report.partitions.iter().map(|partition| partition.rows).sum();
    writeln!(out, "\n{rows} rows in {} partitions, {} bytes of Parquet", report.partitions.len(), report.bytes)?;
    let already = &report.archived_already;
    let partly = if already.partly { ", and some were not looked into" } else { "" };
    writeln!(out, "{} of the events have a row there already ({} files{partly})", already.events, already.files)?;
    match &report.good {
        Some(good) => write_good(out, good),
        None => Ok(()),
    }
}

fn write_good(out: &mut impl Write, good: &GoodReport) -> io::Result<()> {
    writeln!(
        out,
        "\n{} good events of the archive by the same mend: {} would break, {} would change",
        good.events, good.broken, good.changed
    )?;
    if good.rebuilt > 0 {
        writeln!(out, "{} of them are made from columns, {} cannot be tried", good.rebuilt, good.unusable)?;
    }
    write_found(out, "good events would fail", &good.found)?;
    write_mended(out, &good.changes, &good.unmended)?;
    if !good.examples.is_empty() {
        writeln!(out, "such as {}", clean(&good.examples.join(", ")))?;
    }
    Ok(())
}

fn write_found(out: &mut impl Write, what: &str, found: &[GroupCount]) -> io::Result<()> {
    for count in found {
        let new = if count.new { ", which none of the letters had" } else { "" };
        writeln!(out, "{} {what}: {} (group {}{new})", count.events, clean(&count.title), count.group)?;
    }
    Ok(())
}

fn write_mended(out: &mut impl Write, changes: &[ChangeCount], unmended: &[ReasonCount]) -> io::Result<()> {
    for ChangeCount { place, path, from, to, events } in changes {
        let path = if path.is_empty() { "as a whole" } else { path };
        writeln!(out, "the fix changes {place} {} in {events}: {from} to {to}", clean(path))?;
    }
    for ReasonCount { reason, events } in unmended {
        writeln!(out, "the fix cannot be done in {events}: {}", clean(reason))?;
    }
    Ok(())
}

fn counted(counts: &JobCounts) -> String {
    let JobCounts { recovered, failed, skipped, sent, unroutable, refused } = *counts;
    let parts = [
        (recovered, "recovered"),
        (sent, "sent"),
        (failed, "failed again"),
        (skipped, "recovered before"),
        (unroutable, "unroutable"),
        (refused, "refused"),
    ];
    let told: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if told.is_empty() { "nothing done".to_owned() } else { told.join(", ") }
}

pub fn write_end(out: &mut impl Write, job: Ulid, end: &JobEnd) -> io::Result<()> {
    match end {
        JobEnd::Finished(counts) => writeln!(out, "job {job}: finished: {}", counted(counts)),
        JobEnd::Cancelled(counts) => writeln!(out, "job {job}: cancelled: {}", counted(counts)),
        JobEnd::Halted { why, counts } => writeln!(
            out,
            "job {job}: halted: {}: {}\n`parqueduct dlq resume {job}` goes on all the same, `parqueduct dlq cancel {job}` ends it",
            clean(why),
            counted(counts)
        ),
        JobEnd::Stopped(counts) => {
            writeln!(out, "job {job}: stopped: {}; `parqueduct dlq resume {job}` goes on", counted(counts))
        }
        JobEnd::Taken => writeln!(out, "job {job}: another process goes on with it"),
    }
}

pub fn write_end_json(out: &mut impl Write, job: Ulid, end: &JobEnd) -> io::Result<()> {
    let (status, why, counts) = match end {
        JobEnd::Finished(counts) => ("finished", None, Some(counts)),
        JobEnd::Cancelled(counts) => ("cancelled", None, Some(counts)),
        JobEnd::Halted { why, counts } => ("halted", Some(why), Some(counts)),
        JobEnd::Stopped(counts) => ("stopped", None, Some(counts)),
        JobEnd::Taken => ("taken", None, None),
    };
    writeln!(out, "{}", json!({"job": job.to_string(), "status": status, "why": why, "counts": counts}))
}

pub fn write_jobs(out: &mut impl Write, jobs: &[JobView]) -> io::Result<()> {
    let mut table = Table::new([
        Column::whole("JOB"),
        Column::whole("PIPELINE"),
        Column::whole("STATUS"),
        Column::number("DONE"),
        Column::number("LETTERS"),
        Column::whole("STARTED (UTC)"),
        Column::whole("BY"),
        Column::cut("RESULT"),
    ]);
    for JobView { id, job, done, counts, process } in jobs {
        let why = match (&job.status, process) {
            (JobStatus::Halted { why }, _) => format!("{why}; {}", counted(counts)),
            (JobStatus::Running, Some(Liveness::Dead)) => format!("its process is gone; {}", counted(counts)),
            _ => counted(counts),
        };
        table.add([
            id.to_string(),
            job.pipeline.clone(),
            job.status.as_str().to_owned(),
            done.to_string(),
            job.letters.to_string(),
            seconds(job.started.at),
            clean(&job.started.actor).into_owned(),
            clean(&why).into_owned(),
        ]);
    }
    table.write(out, None)
}

pub fn write_job_json(out: &mut impl Write, view: &JobView) -> io::Result<()> {
    writeln!(out, "{}", view.as_json())
}
