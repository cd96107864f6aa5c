//! One dead letter for a person: what is wrong, where it came from, the message as it was.

use std::borrow::Cow;
use std::io::{self, Write};

use super::arguments::BodyForm;
use super::body;
use super::text::{clean, exactly};
use crate::content::Encoding;
use crate::dlq::fingerprint::Signature;
use crate::dlq::record::{DeadLetter, IssueRecord, Original};
use crate::dlq::records::{Found, LetterState};
use crate::dlq::sentence;
use crate::event::{Properties, Unreadable};
use crate::headers;

/// Writes all that is known of a letter, with its body in `form`.
pub(super) fn write(out: &mut impl Write, found: &Found, form: BodyForm) -> io::Result<()> {
    let letter = &found.letter;
    let recovered = if found.state == LetterState::Recovered { ", recovered" } else { "" };
    writeln!(out, "dead letter {}{recovered}", letter.id)?;
    write_pairs(out, &context(letter))?;
    write_issues(out, letter)?;
    section(out, "properties", &properties(&letter.message.properties))?;
    section(out, "headers", &headers(&letter.message.properties))?;
    section(out, "unreadable, as it came (? stands for it above)", &unreadable(&letter.message.unreadable))?;
    write_attempts(out, found)?;
    writeln!(out)?;
    let broken_at = letter.issues.iter().find_map(|issue| issue.offset);
    let document = letter.document();
    if let Cow::Owned(_) = &document {
        let encoding = Encoding::of(&letter.message).map(|encoding| format!(" in {}", encoding.as_str()));
        let (bytes, format) = (letter.message.body.len(), &letter.origin.format);
        writeln!(out, "the body came as {bytes} bytes of {format}{}", encoding.unwrap_or_default())?;
    }
    body::write(out, &document, form, broken_at)
}

/// Bytes shown of a part that could not be read.
const UNREADABLE_BYTES_MAX: usize = 256;

type Pairs = Vec<(String, String)>;

fn context(letter: &DeadLetter) -> Pairs {
    let (origin, message) = (&letter.origin, &letter.message);
    let exchange = if message.exchange.is_empty() { "(default)" } else { &message.exchange };
    let mut pairs = vec![
        ("pipeline", origin.pipeline.clone()),
        ("queue", origin.queue.clone()),
        ("exchange", exchange.to_owned()),
        ("routing key", message.routing_key.clone()),
        ("delivery tag", letter.delivery_tag.to_string()),
        ("redelivered", message.redelivered.to_string()),
        ("received", exactly(letter.received_at)),
        ("dead", exactly(letter.dead_at)),
        ("failed at", format!("{}, {}", letter.stage, letter.code)),
        ("format", origin.format.clone()),
        ("schema", origin.schema.clone()),
        ("instance", format!("{}, shard {}", origin.instance, origin.shard)),
        ("version", origin.version.clone()),
        ("flush", letter.flush_id.clone()),
        ("body hash", hexadecimal(&letter.body_hash)),
    ];
    if let Some(Original { queue, exchange, routing_key }) = &letter.original {
        let exchange = if exchange.is_empty() { "(default)" } else { exchange };
        let died = [("died in queue", queue.clone()), ("its exchange", exchange.to_owned())];
        pairs.splice(4..4, died.into_iter().chain([("its routing key", routing_key.clone())]));
    }
    pairs.extend(letter.event_id.clone().map(|id| ("event id", id)));
    pairs.extend(letter.message.trace_id().map(|id| ("trace", id.to_owned())));
    pairs.extend(letter.event_time.map(|time| ("event time", exactly(time))));
    pairs.extend(origin.schema_hash.clone().map(|hash| ("schema hash", hash)));
    pairs.extend(letter.body_sha256.map(|hash| ("body sha256", hexadecimal(&hash))));
    pairs.extend(letter.source_file.clone().map(|file| ("file", file)));
    pairs.extend(letter.source_line.map(|line| ("line", line.to_string())));
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_issues(out: &mut impl Write, letter: &DeadLetter) -> io::Result<()> {
    writeln!(out, "\nissues")?;
    let body_bytes = letter.message.body.len() as u64;
    for issue in &letter.issues {
        let signature = issue.signature(body_bytes);
        writeln!(out, "  {}", clean(&sentence::of(&signature)))?;
        writeln!(out, "    {}  group {}{}", clean(&issue.code), issue.group, more(issue, &signature))?;
    }
    match letter.issues_not_kept {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more that were not kept"),
    }
}

/// What this event's issue has beyond its group's sentence.
fn more(issue: &IssueRecord, signature: &Signature<'_>) -> String {
    let mut more = String::new();
    if issue.instance_path != signature.path && !issue.instance_path.is_empty() {
        more.push_str(&format!("  at {}", clean(&issue.instance_path)));
    }
    if let Some(offset) = issue.offset {
        more.push_str(&format!("  at byte {offset}"));
    }
    if issue.expected != signature.expected {
        more.push_str(&format!("  expected {}", clean(&issue.expected)));
    }
    more
}

/// Under their AMQP names, those the message has.
fn properties(properties: &Properties) -> Pairs {
    let Properties {
        content_type,
        content_encoding,
        headers: _,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        kind,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let all = [
        ("content_type", content_type.clone()),
        ("content_encoding", content_encoding.clone()),
        ("delivery_mode", delivery_mode.map(|mode| mode.to_string())),
        ("priority", priority.map(|priority| priority.to_string())),
        ("correlation_id", correlation_id.clone()),
        ("reply_to", reply_to.clone()),
        ("expiration", expiration.clone()),
        ("message_id", message_id.clone()),
        ("timestamp", timestamp.map(|timestamp| timestamp.to_string())),
        ("type", kind.clone()),
        ("user_id", user_id.clone()),
        ("app_id", app_id.clone()),
        ("cluster_id", cluster_id.clone()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn headers(properties: &Properties) -> Pairs {
    let headers = properties.headers.iter().flatten();
    headers
        .map(|(name, value)| (name.clone(), format!("{} {}", headers::tag(value), headers::value_json(value))))
        .collect()
}

/// In hexadecimal: what it is made of is not text.
fn unreadable(parts: &[Unreadable]) -> Pairs {
    let shown = |part: &Unreadable| match part.bytes.split_at_checked(UNREADABLE_BYTES_MAX) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{}... and {} bytes more; --json has all", hexadecimal(first), rest.len())
        }
        _ => hexadecimal(&part.bytes),
    };
    parts.iter().map(|part| (part.place.clone(), shown(part))).collect()
}

fn write_attempts(out: &mut impl Write, found: &Found) -> io::Result<()> {
    writeln!(out, "\nattempts")?;
    for attempt in &found.letter.attempts {
        let (n, at, source) = (attempt.n, exactly(attempt.at), attempt.source.as_str());
        let by = format!("{} {}", attempt.instance, attempt.version);
        writeln!(out, "  {n}  {at}  from {source}  {}  group {}  by {}", attempt.code, attempt.group, clean(&by))?;
    }
    for attempt in &found.later {
        let (n, at) = (attempt.n, exactly(attempt.at));
        let ended = match attempt.issues.first() {
            Some(issue) => format!("{}  group {}", clean(&attempt.code), issue.group),
            None => attempt.outcome.as_str().to_owned(),
        };
        let job = attempt.job.map(|job| format!("  job {job}")).unwrap_or_default();
        let by = format!("{} {}", attempt.instance, attempt.version);
        writeln!(out, "  {n}  {at}  from replay  {ended}{job}  by {}", clean(&by))?;
    }
    Ok(())
}

/// A headline and its pairs; nothing when there are none.
fn section(out: &mut impl Write, name: &str, pairs: &Pairs) -> io::Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{name}")?;
    write_pairs(out, pairs)
}

fn write_pairs(out: &mut impl Write, pairs: &Pairs) -> io::Result<()> {
    let cleaned: Vec<_> = pairs.iter().map(|(name, value)| (clean(name), clean(value))).collect();
    let width = cleaned.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in cleaned {
        writeln!(out, "  {name:<width$}  {value}")?;
    }
    Ok(())
}
