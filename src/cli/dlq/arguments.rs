//! What can be asked of the dead letters.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use ulid::Ulid;

use super::acts::{AcknowledgeArguments, ActArguments, ResolveArguments};
use super::audit::AuditArguments;
use super::text::exactly;
use crate::dlq::fingerprint::GroupId;
use crate::dlq::records::Filter;

/// See why events failed, and get them back.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// The dead letters, newest first.
    List(ListArguments),
    /// One dead letter: what is wrong, all its properties, its body.
    Show(ShowArguments),
    /// What the dead letters have in common: one line for each cause.
    Groups(GroupsArguments),
    /// Somebody deals with the groups: say who.
    Acknowledge(AcknowledgeArguments),
    /// The groups are over; should letters come later, they are regressed.
    Resolve(ResolveArguments),
    /// Nobody wants to hear of the groups; their letters are kept for a short time only.
    Ignore(ActArguments),
    /// The groups are open again, whatever was said before.
    Reopen(ActArguments),
    /// What was decided: who, when, and why; `audit verify` says whether that was changed.
    Audit(AuditArguments),
    /// The dead letters whole, oldest first: as JSON lines, as files of bodies, or as one Parquet file.
    Export(ExportArguments),
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterArguments {
    /// Only of this pipeline.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Only those that show the issue of this group.
    #[arg(long, value_name = "ID", value_parser = group)]
    pub group: Option<GroupId>,
    /// Only with this code (`validate.type`), or with a code below it (`validate`).
    #[arg(long)]
    pub code: Option<String>,
    /// Only those dead at that time or later: 2026-01-31, 2026-01-31T10:15:00Z (UTC), or 90s, 15m, 2h, 3d, 1w ago.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub since: Option<When>,
    /// Only those dead before that time.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub until: Option<When>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// At most so many; 100 for a table, all for JSON.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// One JSON object a line, bodies included.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ShowArguments {
    /// The dead letter's id.
    #[arg(value_parser = ulid)]
    pub id: Ulid,
    /// How the body is shown; raw writes its bytes and nothing else.
    #[arg(long, value_enum, default_value_t = BodyForm::Auto)]
    pub body: BodyForm,
    /// One JSON object.
    #[arg(long, conflicts_with = "body")]
    pub json: bool,
}

/// How to show a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BodyForm {
    /// JSON if it is, else text if it is, else hexadecimal; the beginning of a long one.
    Auto,
    Json,
    Text,
    Hex,
    Raw,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub struct GroupsArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// At most so many, the largest.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// At most so many, the oldest.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// One JSON object a line; the default.
    #[arg(long, conflicts_with = "bodies")]
    pub json: bool,
    /// Write each body, byte for byte, to `DIR/ID.body`.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub bodies: Option<PathBuf>,
    /// Write to FILE: Parquet if its name ends in .parquet and --json is not given, else JSON lines.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A time as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(DateTime<Utc>),
    Ago(TimeDelta),
}

impl When {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let ago = |unit: fn(i64) -> Option<TimeDelta>| {
            let digits = &text[..text.len() - 1];
            let count = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
            unit(count).map(When::Ago)
        };
        let when = match text.bytes().last() {
            Some(b's') => ago(TimeDelta::try_seconds),
            Some(b'm') => ago(TimeDelta::try_minutes),
            Some(b'h') => ago(TimeDelta::try_hours),
            Some(b'd') => ago(TimeDelta::try_days),
            Some(b'w') => ago(TimeDelta::try_weeks),
            _ => instant(text).map(When::At),
        };
        when.ok_or_else(|| "not a time; write 2026-01-31, 2026-01-31T10:15:00Z, or 90s, 15m, 2h, 3d, 1w ago".to_owned())
    }

    pub(super) fn at(self, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
        match self {
            When::At(instant) => Ok(instant),
            When::Ago(span) => now.checked_sub_signed(span).context("that long ago is before all time"),
        }
    }
}

/// RFC 3339, or a shorter form of it that is taken as UTC.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let local = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    local.map(|local| local.and_utc())
}

pub(super) fn group(text: &str) -> Result<GroupId, String> {
    GroupId::parse(text).ok_or_else(|| "not a group's id; they look like 1-0123456789abcdef".to_owned())
}

fn ulid(text: &str) -> Result<Ulid, String> {
    text.parse().map_err(|_| "not a dead letter's id; they are 26 letters and digits, as `dlq list` shows".to_owned())
}

impl FilterArguments {
    /// The filter they mean at `now`.
    pub(super) fn at(&self, now: DateTime<Utc>) -> anyhow::Result<Filter> {
        Ok(Filter {
            pipeline: self.pipeline.clone(),
            group: self.group.clone(),
            code: self.code.clone(),
            since: self.since.map(|when| when.at(now)).transpose()?,
            until: self.until.map(|when| when.at(now)).transpose()?,
        })
    }
}

/// `filter` in words.
pub(super) fn told(filter: &Filter) -> String {
    let Filter { pipeline, group, code, since, until } = filter;
    let mut told = Vec::new();
    told.extend(pipeline.as_ref().map(|pipeline| format!("of pipeline {pipeline}")));
    told.extend(group.as_ref().map(|group| format!("in group {group}")));
    told.extend(code.as_ref().map(|code| format!("with code {code}")));
    told.extend(since.map(|since| format!("dead since {}", exactly(since))));
    told.extend(until.map(|until| format!("dead before {}", exactly(until))));
    told.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let day: DateTime<Utc> = "2026-01-31T00:00:00Z".parse().unwrap();
        let quarter = day + TimeDelta::minutes(615);
        assert_eq!(When::parse("2026-01-31"), Ok(When::At(day)));
        for text in ["2026-01-31T10:15:00Z", "2026-01-31T11:15:00+01:00", "2026-01-31T10:15", "2026-01-31 10:15:00"] {
            assert_eq!(When::parse(text), Ok(When::At(quarter)), "{text}");
        }
        assert_eq!(When::parse("15m"), Ok(When::Ago(TimeDelta::minutes(15))));
        assert_eq!(When::parse("1w").unwrap().at(day).unwrap(), day - TimeDelta::days(7));
        for text in ["", "d", "-1h", "+1h", "1.5h", "2026-02-30", "yesterday", "9223372036854775807w", "é"] {
            assert!(When::parse(text).is_err(), "{text}");
        }
        assert!(When::parse("200000000d").unwrap().at(day).is_err());
    }
}
