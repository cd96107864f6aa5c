//! `[[pipeline]]`: each by itself, then all beside each other.

use super::events;
use super::rules::Rule;
use crate::config::checked::{Breaker, Declare, Dedupe, Flow, Flush, Infer, Pipeline, PipelineKind};
use crate::config::finding::Place;
use crate::config::raw;
use crate::config::read::{Given, Reader, Section};
use crate::config::text::Text;
use crate::config::units::{self, show_duration};

/// Deliveries held may take this much of the prefetch window, so that the broker goes on sending while a flush is
/// written.
const WINDOW_PERCENT: u64 = 70;
/// A flush age beyond this leaves little of the broker's 30 minutes for an outage of the store.
const AGE_CALM: &str = "5m";
/// The longest queue, exchange or routing key of AMQP 0-9-1: a short string, in bytes.
const SHORT_STRING_MAX: usize = 255;

/// All pipelines; `None` when one was refused.
pub(super) fn check(
    given: &Given<Vec<Given<raw::Pipeline>>>,
    rules: &[Rule],
    has_registry: bool,
    reader: &mut Reader<'_>,
) -> Option<Vec<Pipeline>> {
    if given.value.is_empty() {
        reader.notes.error(&given.place, "there is no pipeline", "add a section [[pipeline]]");
        return None;
    }
    neighbours(&given.value, reader);
    let pipelines: Vec<_> =
        given.value.iter().map(|section| pipeline(&section.value, rules, has_registry, reader)).collect();
    pipelines.into_iter().collect()
}

/// What holds between pipelines.
fn neighbours(pipelines: &[Given<raw::Pipeline>], reader: &mut Reader<'_>) {
    for (index, pipeline) in pipelines.iter().enumerate() {
        let earlier = &pipelines[..index];
        let same = |one: &Option<Given<Text>>, other: &Option<Given<Text>>| match (one, other) {
            (Some(one), Some(other)) => one.value.value == other.value.value,
            _ => false,
        };
        let twin = earlier.iter().find(|other| same(&other.value.name, &pipeline.value.name));
        if let (Some(twin), Some(name)) = (twin, &pipeline.value.name) {
            let problem = format!("{} is also the pipeline of line {}", name.value, twin.value.place.line);
            reader.notes.error(&name.place, problem, "give each pipeline its own name");
        }
        let rival = earlier.iter().find(|other| same(&other.value.queue, &pipeline.value.queue));
        if let (Some(rival), Some(queue)) = (rival, &pipeline.value.queue) {
            let line = rival.value.place.line;
            let problem =
                format!("{} is also consumed by the pipeline of line {line}, so each gets a part of it", queue.value);
            reader.notes.warning(&queue.place, problem, "give each pipeline its own queue, or raise shards");
        }
        replay_target(pipelines, &pipeline.value, reader);
    }
}

/// Dead letters are given back to a pipeline of events.
fn replay_target(pipelines: &[Given<raw::Pipeline>], pipeline: &raw::Pipeline, reader: &mut Reader<'_>) {
    let (Some(target), true) = (&pipeline.replay_to, is_dead_letter(pipeline)) else { return };
    let is_target = |other: &&Given<raw::Pipeline>| {
        other.value.name.as_ref().is_some_and(|name| name.value.value == target.value.value)
    };
    let problem = match pipelines.iter().find(is_target) {
        Some(other) if !is_dead_letter(&other.value) => return,
        Some(_) => format!("{} is a pipeline of dead letters itself", target.value),
        None => format!("there is no pipeline {}", target.value),
    };
    reader.notes.error(&target.place, problem, "name a pipeline of events, or leave it out");
}

pub(super) fn is_dead_letter(section: &raw::Pipeline) -> bool {
    section.kind.as_ref().is_some_and(|kind| kind.value == Flow::DeadLetter)
}

/// The keys that only tell of events; `schema` and `format` among them.
const ABOUT_EVENTS: &[&str] = &[
    "event",
    "envelope",
    "format",
    "framing",
    "schema",
    "infer",
    "message",
    "rules",
    "schema_name",
    "schema_version",
    "event_id",
    "dedupe",
    "dedupe_window",
    "event_time",
    "event_time_format",
    "event_time_ahead_max",
    "event_time_behind_max",
    "partition_by",
    "keep_raw",
    "body_max",
    "depth_max",
    "issues_max",
    "open_partitions_max",
    "compression_level",
    "breaker",
    "monitor",
];

/// What the section says of its kind; `None` when what it says does not fit it, or something is missing.
fn kind(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<PipelineKind> {
    let places = section.places();
    if section.kind.as_ref()?.value == Flow::DeadLetter {
        let odd = |(name, place): &&(&str, Place)| ABOUT_EVENTS.contains(name) && place.written;
        let mut fits = true;
        for (_, place) in places.iter().filter(odd) {
            reader.notes.error(place, "is not for a pipeline of dead letters", "remove it");
            fits = false;
        }
        let replay_to = section.replay_to.as_ref().map(|given| given.value.value.clone());
        return fits.then_some(PipelineKind::DeadLetters { replay_to });
    }
    if let Some(given) = &section.replay_to {
        reader.notes.warning(&given.place, "is not used", "add kind = \"dead-letter\", or remove it");
    }
    let mut is_whole = true;
    for (name, place) in places {
        // One that is written but was refused is not among these, and noted already.
        let absent = reader.absent.iter().find(|(absent, _)| *absent == place && section.event.is_none());
        if let Some((_, example)) = absent {
            reader.notes.error(&place, "is missing", format!("add {name} = {example}, or what it is here"));
            is_whole = false;
        }
    }
    is_whole.then_some(PipelineKind::Events)
}

fn pipeline(section: &raw::Pipeline, rules: &[Rule], has_registry: bool, reader: &mut Reader<'_>) -> Option<Pipeline> {
    let kind = kind(section, reader);
    let name = section.name.as_ref().and_then(|name| pipeline_name(name, reader));
    let queue = section.queue.as_ref().and_then(|queue| short_string(&queue.value, &queue.place, reader));
    let declare = declare(section, reader);
    let events = events::check(section, has_registry, reader);
    let infer = infer(section, reader);
    let dedupe_window = dedupe_window(section, reader);
    let flush = flush(section, reader);
    let monitor = super::monitor::check(section, reader);
    Some(Pipeline {
        name: name?,
        queue: queue?,
        declare: declare?,
        kind: kind?,
        events: events?,
        envelope: section.envelope.as_ref()?.value,
        infer: infer?,
        dedupe_window: dedupe_window?,
        prefetch: bounded(&section.prefetch)?,
        shards: bounded(&section.shards)?,
        flush: flush?,
        breaker: breaker(&section.breaker.as_ref()?.value)?,
        monitor: monitor?,
        dlq_rules: super::rules::of_pipeline(rules, &section.name.as_ref()?.value.value),
        body_bytes_max: usize::try_from(section.body_max.as_ref()?.value.0).expect("bounded by its key"),
        depth_max: bounded(&section.depth_max)?,
        issues_max: bounded(&section.issues_max)?,
        open_partitions_max: bounded(&section.open_partitions_max)?,
        compression_level: bounded(&section.compression_level)?,
    })
}

/// A number in the type its key's bounds fit.
pub(super) fn bounded<T: TryFrom<u64>>(given: &Option<Given<u64>>) -> Option<T> {
    given.as_ref().and_then(|given| T::try_from(given.value).ok())
}

pub(super) fn pipeline_name(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<String> {
    let name = &given.value;
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(letter);
    if name.value.chars().all(allowed) {
        return Some(name.value.clone());
    }
    let problem = format!("{name} holds more than a-z, 0-9, _ and -");
    reader.notes.error(&given.place, problem, "choose a name that can be a directory, such as \"flights\"");
    None
}

fn short_string(text: &Text, place: &Place, reader: &mut Reader<'_>) -> Option<String> {
    if text.value.len() <= SHORT_STRING_MAX {
        return Some(text.value.clone());
    }
    let problem = format!("is {} bytes long, more than AMQP's {SHORT_STRING_MAX}", text.value.len());
    reader.notes.error(place, problem, "shorten it");
    None
}

/// `Some(None)` when the queue is not to be declared, `None` when something was refused.
fn declare(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Option<Declare>> {
    let declare = section.declare.as_ref()?;
    if !declare.value {
        let asked =
            [section.queue_type.as_ref().map(|given| &given.place), section.bind.as_ref().map(|given| &given.place)];
        for place in asked.into_iter().flatten().filter(|place| place.written) {
            reader.notes.error(place, "is only for a queue that is declared", "add declare = true, or remove it");
        }
        return Some(None);
    }
    let mut bind = Vec::new();
    for given in section.bind.iter().flat_map(|bind| &bind.value) {
        let exchange = given.value.exchange.as_ref().and_then(|key| short_string(&key.value, &key.place, reader));
        let routing_key =
            given.value.routing_key.as_ref().and_then(|key| short_string(&key.value.0, &key.place, reader));
        bind.push((exchange?, routing_key?));
    }
    Some(Some(Declare { queue_type: section.queue_type.as_ref()?.value, bind }))
}

/// `Some(None)` when there is a schema, `None` when something was refused.
fn infer(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Option<Infer>> {
    let given = section.infer.as_ref()?;
    if !section.schema.as_ref().is_some_and(|schema| events::is_learned(&schema.value)) {
        if given.place.written && !is_dead_letter(section) {
            reader.notes.warning(&given.place, "is not used", "add schema = \"infer\", or remove it");
        }
        return Some(None);
    }
    Some(Some(Infer {
        events: bounded(&given.value.events)?,
        patience: given.value.patience.as_ref()?.value,
        new_fields: given.value.new_fields.as_ref()?.value,
        fields_max: bounded(&given.value.fields_max)?,
    }))
}

/// `Some(None)` when only redelivered messages are left out, `None` when something was refused.
fn dedupe_window(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Option<std::time::Duration>> {
    let (dedupe, window) = (section.dedupe.as_ref()?, section.dedupe_window.as_ref()?);
    if dedupe.value == Dedupe::Window {
        return Some(Some(window.value));
    }
    if window.place.written {
        reader.notes.warning(&window.place, "is not used", "add dedupe = \"window\", or remove it");
    }
    Some(None)
}

fn breaker(section: &raw::Breaker) -> Option<Breaker> {
    Some(Breaker {
        ratio: section.ratio.as_ref()?.value.0,
        events: section.events.as_ref()?.value,
        within: section.within.as_ref()?.value,
        schema: section.schema.as_ref()?.value,
        ours: section.ours.as_ref()?.value,
        pause: section.pause.as_ref()?.value,
    })
}

fn flush(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Flush> {
    let flush = &section.flush.as_ref()?.value;
    if let Some(age) = flush.age.as_ref().filter(|age| units::duration(AGE_CALM).is_some_and(|calm| age.value > calm)) {
        let problem = format!(
            "{} leaves little time for an outage of the store before the broker takes back what is held (30 minutes, \
             unless its consumer_timeout is set)",
            show_duration(age.value)
        );
        reader.notes.warning(&age.place, problem, format!("set it to \"{AGE_CALM}\" or less"));
    }
    let rows = flush.rows.as_ref();
    let rows = section.prefetch.as_ref().and_then(|prefetch| {
        let (rows, share) = (rows?, (prefetch.value * WINDOW_PERCENT / 100).max(1));
        if rows.place.written && rows.value > share {
            let (rows_asked, window) = (rows.value, prefetch.value);
            let problem = format!("{rows_asked} is more than {WINDOW_PERCENT} % of prefetch {window}");
            reader.notes.error(&rows.place, problem, format!("set rows to at most {share} or raise prefetch"));
            return None;
        }
        Some(rows.value.min(share))
    });
    Some(Flush {
        rows: usize::try_from(rows?).expect("bounded by its key"),
        bytes: usize::try_from(flush.bytes.as_ref()?.value.0).expect("bounded by its key"),
        age: flush.age.as_ref()?.value,
    })
}
