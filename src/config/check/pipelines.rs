//! `[[pipeline]]`: each by itself, then all beside each other.

use super::rules::Rule;
use crate::config::checked::{
    Breaker, Declare, Dedupe, Flow, Flush, Format, Framing, PartitionKey, Pipeline, PipelineKind,
};
use crate::config::finding::Place;
use crate::config::raw;
use crate::config::read::{Given, Reader, Section};
use crate::config::text::Text;
use crate::config::units::{self, show_duration};
use crate::value::Pointer;

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
    reader: &mut Reader<'_>,
) -> Option<Vec<Pipeline>> {
    if given.value.is_empty() {
        reader.notes.error(&given.place, "there is no pipeline", "add a section [[pipeline]]");
        return None;
    }
    neighbours(&given.value, reader);
    let pipelines: Vec<_> = given.value.iter().map(|section| pipeline(&section.value, rules, reader)).collect();
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

fn is_dead_letter(section: &raw::Pipeline) -> bool {
    section.kind.as_ref().is_some_and(|kind| kind.value == Flow::DeadLetter)
}

/// The keys that only tell of events; `schema` and `format` among them.
const ABOUT_EVENTS: &[&str] = &[
    "format",
    "framing",
    "schema",
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
        let absent = reader.absent.iter().find(|(absent, _)| *absent == place);
        if let Some((_, example)) = absent {
            reader.notes.error(&place, "is missing", format!("add {name} = {example}, or what it is here"));
            is_whole = false;
        }
    }
    is_whole.then_some(PipelineKind::Events)
}

fn pipeline(section: &raw::Pipeline, rules: &[Rule], reader: &mut Reader<'_>) -> Option<Pipeline> {
    let kind = kind(section, reader);
    let is_dead_letter = is_dead_letter(section);
    let name = section.name.as_ref().and_then(|name| pipeline_name(name, reader));
    let queue = section.queue.as_ref().and_then(|queue| short_string(&queue.value, &queue.place, reader));
    let declare = declare(section, reader);
    let format = section.format.as_ref().map(|given| given.value).or(is_dead_letter.then_some(Format::Json));
    let schema = match format {
        // It is no text.
        Some(Format::Protobuf) => section.schema.as_ref().map(|given| given.value.path.clone()),
        _ => section.schema.as_ref().and_then(|schema| super::readable(schema, None, reader)),
    };
    let binary = binary(section, format, reader);
    let (schema_name, schema_version) = match is_dead_letter {
        true => (Some(String::new()), Some(0)),
        false => identity(section, reader),
    };
    let event_id = pointer_if(section.event_id.as_ref(), reader);
    let event_time = pointer_if(section.event_time.as_ref(), reader);
    if let (None, Some(format)) = (&section.event_time, &section.event_time_format)
        && format.place.written
    {
        reader.notes.warning(&format.place, "is not used", "add event_time, or remove it");
    }
    let dedupe_window = dedupe_window(section, reader);
    let partition_by = partition_by(section, reader);
    let flush = flush(section, reader);
    Some(Pipeline {
        name: name?,
        queue: queue?,
        declare: declare?,
        kind: kind?,
        format: format?,
        framing: section.framing.as_ref()?.value,
        schema: schema.or(is_dead_letter.then(Default::default))?,
        message: binary.as_ref()?.0.clone(),
        rules: binary?.1,
        schema_name: schema_name?,
        schema_version: schema_version?,
        event_id: event_id?,
        dedupe_window: dedupe_window?,
        event_time: event_time?,
        event_time_format: section.event_time_format.as_ref()?.value,
        event_time_ahead_max: section.event_time_ahead_max.as_ref()?.value,
        event_time_behind_max: section.event_time_behind_max.as_ref().map(|given| given.value),
        partition_by: partition_by?,
        prefetch: bounded(&section.prefetch)?,
        shards: bounded(&section.shards)?,
        flush: flush?,
        breaker: breaker(&section.breaker.as_ref()?.value)?,
        dlq_rules: super::rules::of_pipeline(rules, &section.name.as_ref()?.value.value),
        keep_raw: section.keep_raw.as_ref()?.value,
        body_bytes_max: usize::try_from(section.body_max.as_ref()?.value.0).expect("bounded by its key"),
        depth_max: bounded(&section.depth_max)?,
        issues_max: bounded(&section.issues_max)?,
        open_partitions_max: bounded(&section.open_partitions_max)?,
        compression_level: bounded(&section.compression_level)?,
    })
}

/// The message and the rules of a pipeline whose schema is no JSON Schema; `None` when something was refused.
fn binary(
    section: &raw::Pipeline,
    format: Option<Format>,
    reader: &mut Reader<'_>,
) -> Option<(Option<String>, Option<std::path::PathBuf>)> {
    let format = format?;
    let mut fits = true;
    let mut only = |place: Option<&Place>, fitting: &[Format], mend: &str, reader: &mut Reader<'_>| {
        if let Some(place) = place.filter(|_| !fitting.contains(&format)) {
            let problem = format!("is not for format = \"{}\"", format.as_str());
            reader.notes.error(place, problem, mend);
            fits = false;
        }
    };
    let framing = section.framing.as_ref().filter(|given| given.value != Framing::None).map(|given| &given.place);
    only(framing, &[Format::Avro], "remove it", reader);
    only(section.message.as_ref().map(|given| &given.place), &[Format::Protobuf], "remove it", reader);
    let rules = section.rules.as_ref().map(|given| &given.place);
    only(rules, &[Format::Avro, Format::Protobuf], "put what it says into the schema", reader);
    if format == Format::Protobuf && section.message.is_none() {
        let mend = "add message = \"shop.v1.Order\", or what it is here";
        reader.notes.error(&section.place.missing("message"), "is missing", mend);
        fits = false;
    }
    let rules = match &section.rules {
        Some(rules) => Some(super::readable(rules, None, reader)?),
        None => None,
    };
    let message = section.message.as_ref().map(|given| given.value.value.clone());
    fits.then_some((message, rules))
}

/// A number in the type its key's bounds fit.
fn bounded<T: TryFrom<u64>>(given: &Option<Given<u64>>) -> Option<T> {
    given.as_ref().and_then(|given| T::try_from(given.value).ok())
}

fn pipeline_name(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<String> {
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

/// The schema's name and version: own keys, else what the file's name says.
fn identity(section: &raw::Pipeline, reader: &mut Reader<'_>) -> (Option<String>, Option<u32>) {
    let file_name = section.schema.as_ref().and_then(|given| Some(given.value.path.file_name()?.to_str()?.to_owned()));
    let (derived_name, derived_version) = file_name.as_deref().map(schema_identity).unzip();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let name = match (&section.schema_name, derived_name) {
        (Some(given), _) if !given.value.value.chars().all(allowed) => {
            let problem = format!("{} holds more than letters, digits, _ . and -", given.value);
            reader.notes.error(&given.place, problem, "choose a name such as \"flight\"");
            None
        }
        (Some(given), _) => Some(given.value.value.clone()),
        (None, Some(derived)) if derived.is_empty() || !derived.chars().all(allowed) => {
            let problem = "is not set, and the schema's file name gives none of letters, digits, _ . and -";
            reader.notes.error(&section.place.missing("schema_name"), problem, "add schema_name");
            None
        }
        (None, derived) => derived,
    };
    (name, bounded(&section.schema_version).or(derived_version))
}

/// `flight.v2.json` is flight, 2; any other file its name without `.json`, 1. The same of `.avsc` and `.desc`.
pub fn schema_identity(file_name: &str) -> (String, u32) {
    let stem = [".json", ".avsc", ".desc"].iter().find_map(|ending| file_name.strip_suffix(ending));
    let stem = stem.unwrap_or(file_name);
    let versioned = stem.rsplit_once(".v").and_then(|(name, version)| {
        let plain = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        Some((name.to_owned(), version.parse().ok().filter(|_| plain)?))
    });
    versioned.unwrap_or_else(|| (stem.to_owned(), 1))
}

/// An optional pointer: `Some(None)` when it is not written, `None` when it was refused.
fn pointer_if(given: Option<&Given<Text>>, reader: &mut Reader<'_>) -> Option<Option<Pointer>> {
    given.map_or(Some(None), |given| pointer(given, reader).map(Some))
}

fn pointer(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<Pointer> {
    match Pointer::parse(&given.value.value) {
        Ok(pointer) => Some(pointer),
        Err(sentence) => {
            let mend = if given.value.is_literal() { sentence } else { "it starts with \"/\"".to_owned() };
            reader.notes.error(&given.place, format!("{} is not a JSON pointer", given.value), mend);
            None
        }
    }
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

fn partition_by(section: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Vec<PartitionKey>> {
    let given = section.partition_by.as_ref()?;
    let mut keys: Vec<(String, PartitionKey)> = Vec::new();
    let mut usable = true;
    for element in &given.value {
        let Some((name, key)) = partition_key(element, reader) else {
            usable = false;
            continue;
        };
        // Engines and some file systems do not tell names apart that differ in case only.
        if keys.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(&name)) {
            let problem = format!("{} gives a directory {name}= that another entry gives already", element.value);
            reader.notes.error(&element.place, problem, "keep one of the two");
            usable = false;
        }
        keys.push((name, key));
    }
    usable.then(|| keys.into_iter().map(|(_, key)| key).collect())
}

/// The directory's name and what fills it.
fn partition_key(element: &Given<Text>, reader: &mut Reader<'_>) -> Option<(String, PartitionKey)> {
    const MEND: &str = "write \"date\", \"hour\" or a JSON pointer such as \"/origin\"";
    match element.value.value.as_str() {
        "date" => return Some(("date".to_owned(), PartitionKey::Date)),
        "hour" => return Some(("hour".to_owned(), PartitionKey::Hour)),
        text if !text.starts_with('/') => {
            reader.notes.error(&element.place, format!("{} is not known", element.value), MEND);
            return None;
        }
        _ => {}
    }
    let pointer = pointer(element, reader)?;
    let name = pointer.segments().last().cloned().unwrap_or_default();
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if !starts || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        let problem = format!("the last name of {} cannot be that of a directory", element.value);
        reader.notes.error(&element.place, problem, "it must be letters, digits and _, not starting with a digit");
        return None;
    }
    if name.eq_ignore_ascii_case("date") || name.eq_ignore_ascii_case("hour") {
        let problem = format!("{} would give a directory {name}=, which is that of the event's time", element.value);
        reader.notes.error(&element.place, problem, "partition by another field, or by \"date\" and \"hour\"");
        return None;
    }
    Some((name.clone(), PartitionKey::Field { name, pointer }))
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
