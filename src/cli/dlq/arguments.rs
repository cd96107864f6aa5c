//! What can be asked of the dead letters.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use ulid::Ulid;

use super::acts::{AcknowledgeArguments, ActArguments, ResolveArguments};
use super::audit::AuditArguments;
use super::replay::arguments::ReplayCommand;
use super::text::exactly;
use crate::dlq::fingerprint::GroupId;
use crate::dlq::groups::State;
use crate::dlq::records::{Cursor, Filter, HeaderIs, LetterState, ValueIs};

/// See why events failed, and get them back.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// The dead letters, newest first: all, or those that are searched for.
    #[command(visible_alias = "search")]
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
    #[command(flatten)]
    Replay(ReplayCommand),
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
    /// Only from this queue.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Only from this exchange.
    #[arg(long, value_name = "NAME")]
    pub exchange: Option<String>,
    /// Only with this routing key.
    #[arg(long, value_name = "KEY")]
    pub routing_key: Option<String>,
    /// Only with this `app_id` property.
    #[arg(long, value_name = "NAME")]
    pub producer: Option<String>,
    /// Only with this event id.
    #[arg(long, value_name = "ID")]
    pub event_id: Option<String>,
    /// Only with this `message_id` property.
    #[arg(long, value_name = "ID")]
    pub message_id: Option<String>,
    /// Only with this header; repeat it to ask for several.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<HeaderIs>,
    /// Only where a JSON pointer into the body points at this value, such as /carrier=AA; repeat it to ask for several.
    #[arg(long = "where", value_name = "POINTER=VALUE", value_parser = value)]
    pub values: Vec<ValueIs>,
    /// Only where the body holds this text.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
}

/// Which letters by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum StateArgument {
    /// Not recovered.
    #[default]
    Dead,
    /// Their rows are in the archive.
    Recovered,
    All,
}

impl StateArgument {
    fn wanted(self) -> Option<LetterState> {
        match self {
            StateArgument::Dead => Some(LetterState::Dead),
            StateArgument::Recovered => Some(LetterState::Recovered),
            StateArgument::All => None,
        }
    }
}

#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListArguments {
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Only those of which this became.
    #[arg(long, value_enum, default_value_t = StateArgument::Dead)]
    pub state: StateArgument,
    /// At most so many; 100 for a table, all for JSON.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only those behind this one: the cursor that a table ends with, or that of a JSON line.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<Cursor>,
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
    /// Only those in this state: open, acknowledged, resolved, regressed or ignored; may be given several times.
    #[arg(long = "state", value_name = "STATE", value_parser = group_state)]
    pub states: Vec<State>,
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
    /// Only those of which this became.
    #[arg(long, value_enum, default_value_t = StateArgument::All)]
    pub state: StateArgument,
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

fn group_state(text: &str) -> Result<State, String> {
    let names = || State::ALL.map(State::as_str).join(", ");
    State::parse(text).ok_or_else(|| format!("not the state of a group; those are {}", names()))
}

pub(super) fn group(text: &str) -> Result<GroupId, String> {
    GroupId::parse(text).ok_or_else(|| "not a group's id; they look like 1-0123456789abcdef".to_owned())
}

fn ulid(text: &str) -> Result<Ulid, String> {
    text.parse().map_err(|_| "not a dead letter's id; they are 26 letters and digits, as `dlq list` shows".to_owned())
}

fn header(text: &str) -> Result<HeaderIs, String> {
    let (name, value) = text.split_once('=').ok_or("not a header; write NAME=VALUE")?;
    Ok(HeaderIs { name: name.to_owned(), value: value.to_owned() })
}

fn value(text: &str) -> Result<ValueIs, String> {
    let not = "not a JSON pointer and a value; write /carrier=AA";
    let (path, value) = text.split_once('=').ok_or(not)?;
    if !path.is_empty() && !path.starts_with('/') {
        return Err(not.to_owned());
    }
    Ok(ValueIs { path: path.to_owned(), value: value.to_owned() })
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
            state: None,
            queue: self.queue.clone(),
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            producer: self.producer.clone(),
            event_id: self.event_id.clone(),
            message_id: self.message_id.clone(),
            headers: self.headers.clone(),
            values: self.values.clone(),
            text: self.text.clone(),
        })
    }

    /// The same, of letters in that state.
    pub(in crate::cli) fn with(&self, state: StateArgument, now: DateTime<Utc>) -> anyhow::Result<Filter> {
        Ok(Filter { state: state.wanted(), ..self.at(now)? })
    }
}

/// `filter` in words.
pub(super) fn told(filter: &Filter) -> String {
    let named = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
    let mut told = Vec::new();
    told.extend(named("of pipeline", &filter.pipeline));
    told.extend(filter.group.as_ref().map(|group| format!("in group {group}")));
    told.extend(named("with code", &filter.code));
    told.extend(filter.since.map(|since| format!("dead since {}", exactly(since))));
    told.extend(filter.until.map(|until| format!("dead before {}", exactly(until))));
    told.extend(named("of queue", &filter.queue));
    told.extend(named("of exchange", &filter.exchange));
    told.extend(named("with routing key", &filter.routing_key));
    told.extend(named("by producer", &filter.producer));
    told.extend(named("with event id", &filter.event_id));
    told.extend(named("with message id", &filter.message_id));
    told.extend(filter.headers.iter().map(|header| format!("with header {}={}", header.name, header.value)));
    told.extend(filter.values.iter().map(|value| format!("with {}={} in its body", value.path, value.value)));
    told.extend(named("with this in its body:", &filter.text));
    told.extend(filter.state.filter(|state| *state == LetterState::Recovered).map(|_| "recovered".to_owned()));
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
