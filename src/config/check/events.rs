//! What a pipeline says of its events: of all of them, or of each type in a section `[[pipeline.event]]`.

use std::path::PathBuf;

use super::pipelines::{bounded, is_dead_letter, pipeline_name};
use crate::config::checked::{Envelope, EventType, Format, Framing, PartitionKey, TimeFormat, When};
use crate::config::finding::Place;
use crate::config::raw;
use crate::config::read::{Given, Reader};
use crate::config::text::{FilePath, Text};
use crate::value::Pointer;

/// The types of a pipeline's events; `None` when something was refused.
pub(super) fn check(section: &raw::Pipeline, has_registry: bool, reader: &mut Reader<'_>) -> Option<Vec<EventType>> {
    if is_dead_letter(section) {
        return Some(vec![unjudged()]);
    }
    let Some(given) = &section.event else {
        let section = framed(section.clone(), has_registry);
        return event(&section, None, When::default(), reader).map(|event| vec![event]);
    };
    let fits = belongs_to_types(section, reader);
    if given.value.is_empty() {
        reader.notes.error(&given.place, "is empty", "add a section [[pipeline.event]], or remove it");
        return None;
    }
    neighbours(&given.value, reader);
    let events: Vec<_> = given.value.iter().map(|given| named(section, &given.value, has_registry, reader)).collect();
    events.into_iter().collect::<Option<Vec<_>>>().filter(|_| fits)
}

/// Of messages that are dead already.
fn unjudged() -> EventType {
    EventType {
        name: None,
        when: When::default(),
        format: Format::Json,
        framing: Framing::None,
        schema: PathBuf::new(),
        message: None,
        rules: None,
        schema_name: String::new(),
        schema_version: 0,
        event_id: None,
        event_time: None,
        event_time_format: TimeFormat::Rfc3339,
        event_time_ahead_max: std::time::Duration::MAX,
        event_time_behind_max: None,
        partition_by: Vec::new(),
        keep_raw: false,
    }
}

/// What is said of one schema is not said of all types.
fn belongs_to_types(section: &raw::Pipeline, reader: &mut Reader<'_>) -> bool {
    let places = [
        section.schema.as_ref().map(|given| &given.place),
        section.message.as_ref().map(|given| &given.place),
        section.rules.as_ref().map(|given| &given.place),
        section.schema_name.as_ref().map(|given| &given.place),
        section.schema_version.as_ref().map(|given| &given.place),
    ];
    let mut fits = true;
    for place in places.into_iter().flatten() {
        reader.notes.error(place, "is said by each [[pipeline.event]]", "move it there");
        fits = false;
    }
    fits
}

/// What holds between types.
fn neighbours(events: &[Given<raw::Event>], reader: &mut Reader<'_>) {
    for (index, Given { value: event, place }) in events.iter().enumerate() {
        let Some(name) = &event.name else { continue };
        let is_twin = |other: &&Given<raw::Event>| {
            other.value.name.as_ref().is_some_and(|other| other.value.value == name.value.value)
        };
        if let Some(twin) = events[..index].iter().find(is_twin) {
            let problem = format!("{} is also the type of line {}", name.value, twin.value.place.line);
            reader.notes.error(&name.place, problem, "give each type its own name");
        }
        if event.when.is_none() && index + 1 < events.len() {
            let problem = format!("{} takes all messages, so that none is left for the types below it", name.value);
            reader.notes.error(
                &place.missing("when"),
                problem,
                "add when = { type = \"order.placed\" }, or put it last",
            );
        }
    }
}

/// One type, with what the pipeline says of all.
fn named(
    pipeline: &raw::Pipeline,
    section: &raw::Event,
    has_registry: bool,
    reader: &mut Reader<'_>,
) -> Option<EventType> {
    let name = section.name.as_ref().and_then(|given| pipeline_name(given, reader).map(|name| (name, &given.place)));
    if let Some((name, place)) = &name
        && name.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let problem = format!("\"{name}\" is what the directory of a version is called");
        reader.notes.error(place, problem, "choose another name, such as \"placed\"");
        return None;
    }
    let name = name.map(|(name, _)| name);
    let inherited_framing = pipeline.framing.as_ref().filter(|_| section.format.is_none());
    let none = || Given { value: Framing::None, place: section.place.missing("framing") };
    let merged = raw::Pipeline {
        place: section.place.clone(),
        format: section.format.clone().or(pipeline.format.clone()),
        framing: Some(section.framing.clone().or(inherited_framing.cloned()).unwrap_or_else(none)),
        schema: section.schema.clone(),
        message: section.message.clone(),
        rules: section.rules.clone(),
        schema_name: section.schema_name.clone(),
        schema_version: section.schema_version.clone(),
        event_id: section.event_id.clone().or(pipeline.event_id.clone()),
        event_time: section.event_time.clone().or(pipeline.event_time.clone()),
        event_time_format: section.event_time_format.clone().or(pipeline.event_time_format.clone()),
        event_time_ahead_max: section.event_time_ahead_max.clone().or(pipeline.event_time_ahead_max.clone()),
        event_time_behind_max: section.event_time_behind_max.clone().or(pipeline.event_time_behind_max.clone()),
        partition_by: section.partition_by.clone().or(pipeline.partition_by.clone()),
        keep_raw: section.keep_raw.clone().or(pipeline.keep_raw.clone()),
        ..pipeline.clone()
    };
    let merged = framed(merged, has_registry);
    let Some(format) = &merged.format else {
        // One that was refused is noted already.
        if reader.absent.iter().any(|(absent, _)| *absent == pipeline.place.missing("format")) {
            let mend = "add format = \"json\", or what it is here";
            reader.notes.error(&section.place.missing("format"), "is missing", mend);
        }
        return None;
    };
    let when = match &section.when {
        Some(given) => when(&given.value, &merged, native(&merged, format.value), reader),
        None => Some(When::default()),
    };
    let event = event(&merged, Some(name.clone()?), when.clone().unwrap_or_default(), reader);
    when.and(event)
}

/// Bodies that say themselves what they are may name a schema wherever there is a registry, unless it is said otherwise.
fn framed(section: raw::Pipeline, has_registry: bool) -> raw::Pipeline {
    let is_auto = section.format.as_ref().is_some_and(|given| given.value == Format::Auto);
    let framing = section.framing.map(|given| match is_auto && has_registry && !given.place.written {
        true => Given { value: Framing::Confluent, ..given },
        false => given,
    });
    raw::Pipeline { framing, ..section }
}

/// See [`Format::native`].
fn native(section: &raw::Pipeline, format: Format) -> Format {
    section.schema.as_ref().map_or(format, |given| format.native(&given.value.path))
}

fn when(section: &raw::When, event: &raw::Pipeline, format: Format, reader: &mut Reader<'_>) -> Option<When> {
    let text = |given: &Option<Given<Text>>| given.as_ref().map(|given| given.value.value.clone());
    let pair = |given: &Option<Given<raw::Named>>| match given {
        Some(given) => {
            let named = &given.value;
            Some(Some((named.name.clone()?, named.value.as_ref()?.value.0.value.clone())))
        }
        None => Some(None),
    };
    let field = match pair(&section.field)? {
        Some((name, value)) => Some((pointer(&name, reader)?, value)),
        None => None,
    };
    if let (Some(given), Format::Avro | Format::Protobuf) = (&section.field, format) {
        let what = match event.format.as_ref().is_some_and(|given| given.value == Format::Auto) {
            true => format!("a schema of {}", format.document()),
            false => format!("format = \"{}\"", format.as_str()),
        };
        let problem = format!("is not for {what}, which cannot be read before its schema is known");
        reader.notes.error(&given.place, problem, "tell the type by a property, a header or the routing key");
        return None;
    }
    let is_framed = event.framing.as_ref().is_some_and(|given| given.value == Framing::Confluent);
    if let (Some(given), false) = (&section.subject, is_framed) {
        reader.notes.error(&given.place, "is only for bodies that name their schema", "add framing = \"confluent\"");
        return None;
    }
    let is_wrapped = event.envelope.as_ref().is_some_and(|given| given.value == Envelope::CloudEvents);
    let mut fits = true;
    for given in [&section.source, &section.dataschema].into_iter().flatten().filter(|_| !is_wrapped) {
        reader.notes.error(&given.place, "is only for CloudEvents", "add envelope = \"cloudevents\" to the pipeline");
        fits = false;
    }
    fits.then_some(())?;
    let when = When {
        message_type: text(&section.r#type),
        source: text(&section.source),
        dataschema: text(&section.dataschema),
        content_type: text(&section.content_type),
        subject: text(&section.subject),
        routing_key: text(&section.routing_key),
        header: pair(&section.header)?.map(|(name, value)| (name.value.value, value)),
        field,
    };
    if when == When::default() {
        reader.notes.error(&section.place, "says nothing", "write such as { type = \"order.placed\" }, or remove it");
        return None;
    }
    Some(when)
}

fn event(section: &raw::Pipeline, name: Option<String>, when: When, reader: &mut Reader<'_>) -> Option<EventType> {
    let format = section.format.as_ref().map(|given| given.value);
    let is_learned = section.schema.as_ref().is_some_and(|schema| is_learned(&schema.value));
    let schema = match format.map(|format| native(section, format)) {
        Some(_) if is_learned => learned(section, format?, name.is_some(), reader),
        // It is no text.
        Some(Format::Protobuf) => section.schema.as_ref().map(|given| given.value.path.clone()),
        _ => section.schema.as_ref().and_then(|schema| super::readable(schema, None, reader)),
    };
    let binary = binary(section, format, reader);
    let (schema_name, schema_version) = identity(section, reader);
    let event_id = pointer_if(section.event_id.as_ref(), reader);
    let event_time = pointer_if(section.event_time.as_ref(), reader);
    if let (None, Some(format)) = (&section.event_time, &section.event_time_format)
        && format.place.written
    {
        reader.notes.warning(&format.place, "is not used", "add event_time, or remove it");
    }
    let partition_by = partition_by(section, reader);
    Some(EventType {
        name,
        when,
        format: format?,
        framing: section.framing.as_ref()?.value,
        schema: schema?,
        message: binary.as_ref()?.0.clone(),
        rules: binary?.1,
        schema_name: schema_name?,
        schema_version: schema_version?,
        event_id: event_id?,
        event_time: event_time?,
        event_time_format: section.event_time_format.as_ref()?.value,
        event_time_ahead_max: section.event_time_ahead_max.as_ref()?.value,
        event_time_behind_max: section.event_time_behind_max.as_ref().map(|given| given.value),
        partition_by: partition_by?,
        keep_raw: section.keep_raw.as_ref()?.value,
    })
}

/// Whether there is no file, for the schema is learned. A file of that name is `./infer`.
pub(super) fn is_learned(schema: &FilePath) -> bool {
    schema.written.value == "infer"
}

/// Where a learned schema is; `None` when events like these need one that is written.
fn learned(section: &raw::Pipeline, format: Format, is_type: bool, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let place = section.schema.as_ref().map(|given| &given.place)?;
    let is_framed = section.framing.as_ref().is_some_and(|given| given.value == Framing::Confluent);
    let problem = match format {
        Format::Avro | Format::Protobuf => {
            format!(
                "\"infer\" is not for format = \"{}\", of which only a schema tells what bytes mean",
                format.as_str()
            )
        }
        Format::Auto => "\"infer\" is not for format = \"auto\", which goes by the schema".to_owned(),
        Format::Json | Format::Msgpack
            if section.envelope.as_ref().is_some_and(|envelope| envelope.value != Envelope::None) =>
        {
            "\"infer\" is not for envelope = \"cloudevents\": a schema of its data has to be written".to_owned()
        }
        Format::Json | Format::Msgpack if is_framed => {
            "\"infer\" is not for framing = \"confluent\", where bodies name their schema in the registry".to_owned()
        }
        Format::Json | Format::Msgpack if is_type => "\"infer\" is not for one of several types of events".to_owned(),
        Format::Json | Format::Msgpack => {
            let name = &section.name.as_ref()?.value.value;
            let version = section.schema_version.as_ref().map_or(1, |given| given.value);
            return Some(PathBuf::from(format!("/meta/schemas/{name}/v{version}")));
        }
    };
    let mend = match is_type {
        true => "name the file of one; `parqueduct schema infer` proposes it",
        false => "name the file of the schema",
    };
    reader.notes.error(place, problem, mend);
    None
}

/// The message and the rules of a pipeline whose schema is no JSON Schema; `None` when something was refused.
fn binary(
    section: &raw::Pipeline,
    format: Option<Format>,
    reader: &mut Reader<'_>,
) -> Option<(Option<String>, Option<std::path::PathBuf>)> {
    let written = format?;
    let format = native(section, written);
    let mut fits = true;
    let mut only = |place: Option<&Place>, fitting: &[Format], mend: &str, reader: &mut Reader<'_>| {
        if let Some(place) = place.filter(|_| !fitting.contains(&format)) {
            let problem = match written {
                Format::Auto => format!("is not for a schema of {}", format.document()),
                written => format!("is not for format = \"{}\"", written.as_str()),
            };
            reader.notes.error(place, problem, mend);
            fits = false;
        }
    };
    if let Some(framing) = &section.framing {
        let fitting: &[Format] = match framing.value {
            Framing::None => &Format::ALL,
            Framing::SingleObject => &[Format::Avro],
            Framing::Confluent => &[Format::Json, Format::Avro, Format::Protobuf],
        };
        only(Some(&framing.place), fitting, "remove it", reader);
    }
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

/// The schema's name and version: own keys, else what the file's name says.
fn identity(section: &raw::Pipeline, reader: &mut Reader<'_>) -> (Option<String>, Option<u32>) {
    let file_name = section.schema.as_ref().and_then(|given| Some(given.value.path.file_name()?.to_str()?.to_owned()));
    let is_learned = section.schema.as_ref().is_some_and(|given| is_learned(&given.value));
    let (derived_name, derived_version) = match &section.name {
        Some(name) if is_learned => (Some(name.value.value.clone()), Some(1)),
        _ => file_name.as_deref().map(schema_identity).unzip(),
    };
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
