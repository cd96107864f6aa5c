//! One group as one line of JSON. The keys are a promise to programs: they may grow, none goes.

use std::io::{self, Write};

use chrono::SecondsFormat;
use serde::Serialize;

use super::text::exactly;
use crate::dlq::groups::Group;
use crate::dlq::line::write_line;
use crate::dlq::log::{Life, Verdict};

/// So many of the newest minutes and hours in which letters died.
const MINUTES: usize = 60;
const HOURS: usize = 7 * 24;

fn course(group: &Group, span_minutes: i64, most: usize) -> Vec<(String, u64)> {
    let spans = group.course(span_minutes, most).into_iter();
    spans.map(|(start, letters)| (start.to_rfc3339_opts(SecondsFormat::Secs, true), letters)).collect()
}

/// Writes `group`, of which `life` was said last, and a line break.
pub(super) fn write(out: &mut impl Write, group: &Group, life: Option<&Life>) -> io::Result<()> {
    let line = GroupLine {
        group: group.id.as_str(),
        pipeline: &group.pipeline,
        code: &group.code,
        path: &group.path,
        title: &group.title,
        state: group.state.as_str(),
        count: group.count,
        open: group.open,
        showing: group.showing,
        first_seen: exactly(group.first_seen),
        last_seen: exactly(group.last_seen),
        samples: group.samples.iter().map(ToString::to_string).collect(),
        producers: group.producers.iter().map(|(name, letters)| (name.as_str(), *letters)).collect(),
        producers_other: group.producers_other,
        minutes: course(group, 1, MINUTES),
        hours: course(group, 60, HOURS),
        said: life.map(SaidLine::from),
    };
    write_line(out, &line)
}

#[derive(Serialize)]
struct GroupLine<'a> {
    group: &'a str,
    pipeline: &'a str,
    code: &'a str,
    path: &'a str,
    title: &'a str,
    state: &'a str,
    count: u64,
    open: u64,
    showing: u64,
    first_seen: String,
    last_seen: String,
    samples: Vec<String>,
    /// By `app_id`; the largest first.
    producers: Vec<(&'a str, u64)>,
    producers_other: u64,
    /// Letters that show it, by the minute and the hour in which they died, with when that began; the oldest first.
    minutes: Vec<(String, u64)>,
    hours: Vec<(String, u64)>,
    said: Option<SaidLine<'a>>,
}

/// What was said of a group last.
#[derive(Serialize)]
struct SaidLine<'a> {
    at: String,
    actor: &'a str,
    reason: Option<&'a str>,
    verdict: &'a Verdict,
}

impl<'a> From<&'a Life> for SaidLine<'a> {
    fn from(life: &'a Life) -> Self {
        let Life { said, verdict } = life;
        Self { at: exactly(said.at), actor: &said.actor, reason: said.reason.as_deref(), verdict }
    }
}
