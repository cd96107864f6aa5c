//! `dlq audit`: the log of what was decided, and whether it is whole.

use std::io::{self, Write};

use anyhow::Context;
use futures_util::TryStreamExt;
use serde::Serialize;
use serde_json::Value;
use ulid::Ulid;

use super::Session;
use super::arguments::{When, group};
use super::text::{clean, exactly, seconds};
use crate::cli::table::{Column, Table};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::Found;
use crate::dlq::records::Unreadable;

#[derive(Clone, Debug, Default, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArguments {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    /// Only what was said at that time or later: 2026-01-31, 2026-01-31T10:15:00Z (UTC), or 90s, 15m, 2h, 3d, 1w ago.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub since: Option<When>,
    /// Only what is about this group.
    #[arg(long, value_name = "ID", value_parser = group)]
    pub group: Option<GroupId>,
    /// Only what is about this job.
    #[arg(long, value_name = "ID")]
    pub job: Option<Ulid>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Read every entry, and say whether one was changed, or is missing.
    Verify,
}

impl<W: Write> Session<'_, W> {
    pub(super) async fn audit(&mut self, arguments: &AuditArguments) -> anyhow::Result<Vec<Unreadable>> {
        match arguments.command {
            Some(AuditCommand::Verify) => self.verify().await?,
            None => self.tell_audit(arguments).await?,
        }
        Ok(Vec::new())
    }

    async fn tell_audit(&mut self, arguments: &AuditArguments) -> anyhow::Result<()> {
        let since = arguments.since.map(|when| when.at(self.now)).transpose()?;
        let wanted = |found: &Found| {
            let Found { entry, .. } = found;
            since.is_none_or(|since| entry.said.at >= since)
                && arguments.group.as_ref().is_none_or(|group| entry.event.group() == Some(group))
                && arguments.job.is_none_or(|job| entry.event.job() == Some(job))
        };
        let mut table = audit_table();
        let mut entries = self.log.entries(0);
        while let Some(found) = entries.try_next().await? {
            if !wanted(&found) {
                continue;
            }
            match arguments.json {
                true => write_line(&mut self.out, &found)?,
                false => table.add(row_of(&found)),
            }
        }
        if table.rows() > 0 {
            table.write(&mut self.out, self.width)?;
        } else if !arguments.json {
            writeln!(self.out, "nothing of that kind was decided in {}", clean(&self.place))?;
        }
        Ok(())
    }

    async fn verify(&mut self) -> anyhow::Result<()> {
        let verified = self.log.verify().await.context("the audit is not whole")?;
        let (entries, head) = (verified.entries, verified.head);
        writeln!(self.out, "{entries} entries, whole and in order; the last one is {head}")?;
        Ok(())
    }
}

fn audit_table() -> Table<6> {
    Table::new([
        Column::number("ENTRY"),
        Column::whole("AT (UTC)"),
        Column::whole("WHO"),
        Column::whole("WHAT"),
        Column::whole("ABOUT"),
        Column::cut("WHY"),
    ])
}

fn row_of(found: &Found) -> [String; 6] {
    let entry = &found.entry;
    let texts = [
        &entry.seq.to_string(),
        &seconds(entry.said.at),
        &entry.said.actor,
        &entry.event.kind().replace('_', " "),
        &about(&entry.event.as_json()),
        entry.said.reason.as_deref().unwrap_or_default(),
    ];
    texts.map(|text| clean(text).into_owned())
}

/// What an event is about, whatever program wrote it.
fn about(event: &Value) -> String {
    let keys = ["group", "job", "letter", "plan", "pipeline"];
    keys.iter().find_map(|key| event[*key].as_str()).unwrap_or_default().to_owned()
}

#[derive(Serialize)]
struct AuditLine<'a> {
    seq: u64,
    at: String,
    actor: &'a str,
    reason: Option<&'a str>,
    event: Value,
    prev: &'a str,
    hash: &'a str,
}

fn write_line(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let Found { entry, hash } = found;
    let line = AuditLine {
        seq: entry.seq,
        at: exactly(entry.said.at),
        actor: &entry.said.actor,
        reason: entry.said.reason.as_deref(),
        event: entry.event.as_json(),
        prev: &entry.prev,
        hash,
    };
    crate::dlq::line::write_line(out, &line)
}
