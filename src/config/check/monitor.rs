//! `[pipeline.monitor]`: what is asked of events beside their schema.

use regex::RegexBuilder;

use super::pipelines::{bounded, pipeline_name};
use crate::config::finding::Place;
use crate::config::monitor::{FieldRule, Monitor, OnPersonal, Personal};
use crate::config::raw;
use crate::config::read::{Given, Reader};
use crate::config::text::Text;
use crate::personal::Kinds;
use crate::value::Pointer;

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// `Some(None)` when there is no such section, `None` when something was refused.
pub(super) fn check(pipeline: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Option<Monitor>> {
    let Some(given) = &pipeline.monitor else { return Some(None) };
    let section = &given.value;
    let fits = band(section, reader);
    let rules = rules(section, pipeline, reader);
    let kinds: Kinds = section.personal_kinds.as_ref()?.value.iter().map(|given| given.value).collect();
    let personal = match section.personal_data.as_ref()?.value {
        OnPersonal::Off => None,
        act => Some(Personal {
            dead_letter: act == OnPersonal::DeadLetter,
            kinds,
            expected: Vec::new(),
            paths_max: bounded(&section.personal_paths_max)?,
        }),
    };
    if let Some(place) = section.personal_kinds.as_ref().map(|given| &given.place)
        && personal.is_none()
        && place.written
    {
        reader.notes.warning(place, "is not used", "add personal_data = \"count\", or remove it");
    }
    Some(Some(Monitor {
        rate_min: section.rate_min.as_ref().map(|given| given.value.per_second()),
        rate_max: section.rate_max.as_ref().map(|given| given.value.per_second()),
        rate_within: section.rate_within.as_ref()?.value,
        silence: section.silence.as_ref().map(|given| given.value),
        rules: rules.filter(|_| fits)?,
        personal,
        looks_max: section.sample_above.as_ref()?.value.per_second(),
    }))
}

fn band(section: &raw::Monitor, reader: &mut Reader<'_>) -> bool {
    let (Some(min), Some(max)) = (&section.rate_min, &section.rate_max) else { return true };
    if min.value.0 <= max.value.0 {
        return true;
    }
    reader.notes.error(&max.place, "is less than rate_min", "set it to rate_min or more");
    false
}

fn rules(section: &raw::Monitor, pipeline: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<Vec<FieldRule>> {
    let given: Vec<_> = section.field.iter().flat_map(|given| &given.value).collect();
    for (index, Given { value: rule, .. }) in given.iter().enumerate() {
        let Some(name) = &rule.name else { continue };
        let is_twin = |other: &&&Given<raw::MonitorField>| {
            other.value.name.as_ref().is_some_and(|other| other.value.value == name.value.value)
        };
        if let Some(twin) = given[..index].iter().find(is_twin) {
            let problem = format!("{} is also the rule of line {}", name.value, twin.place.line);
            reader.notes.error(&name.place, problem, "give each rule its own name");
            return None;
        }
    }
    let rules: Vec<_> = given.into_iter().map(|given| rule(&given.value, &given.place, pipeline, reader)).collect();
    rules.into_iter().collect()
}

fn rule(
    section: &raw::MonitorField,
    place: &Place,
    pipeline: &raw::Pipeline,
    reader: &mut Reader<'_>,
) -> Option<FieldRule> {
    let name = section.name.as_ref().and_then(|name| pipeline_name(name, reader));
    let event = match &section.event {
        Some(given) => Some(known_event(given, pipeline, reader)?),
        None => None,
    };
    let path = section.path.as_ref().and_then(|path| pointer(path, reader));
    let regex = match &section.regex {
        Some(given) => Some(regex(given, reader)?),
        None => None,
    };
    let one_of =
        section.one_of.as_ref().map(|given| given.value.iter().map(|each| each.value.0.value.clone()).collect());
    let rule = FieldRule {
        name: name?,
        event,
        path: path?,
        min: section.min.as_ref().map(|given| given.value),
        max: section.max.as_ref().map(|given| given.value),
        one_of,
        regex,
        not_empty: section.not_empty.as_ref()?.value,
        fresh: section
            .fresh
            .as_ref()
            .map(|given| given.value)
            .zip(section.fresh_format.as_ref().map(|given| given.value)),
    };
    let FieldRule { min, max, one_of, regex, not_empty, fresh, .. } = &rule;
    if min.is_none() && max.is_none() && one_of.is_none() && regex.is_none() && !not_empty && fresh.is_none() {
        reader.notes.error(place, "asks for nothing", "add min, max, one_of, regex, not_empty or fresh");
        return None;
    }
    if let (Some(min), Some(max), Some(given)) = (min, max, &section.max)
        && min > max
    {
        reader.notes.error(&given.place, "is less than min", "set it to min or more");
        return None;
    }
    Some(rule)
}

fn known_event(given: &Given<Text>, pipeline: &raw::Pipeline, reader: &mut Reader<'_>) -> Option<String> {
    let types = pipeline.event.iter().flat_map(|list| &list.value).filter_map(|event| event.value.name.as_ref());
    let name = &given.value.value;
    if types.into_iter().any(|known| known.value.value == *name) {
        return Some(name.clone());
    }
    let mend = "name a [[pipeline.event]] of this pipeline, or leave it out";
    reader.notes.error(&given.place, format!("there is no type of events {}", given.value), mend);
    None
}

fn pointer(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<Pointer> {
    let pointer = Pointer::parse(&given.value.value).ok();
    if pointer.is_none() {
        let mend = "it starts with \"/\", such as \"/items/*/amount\"";
        reader.notes.error(&given.place, format!("{} is not a JSON pointer", given.value), mend);
    }
    pointer
}

fn regex(given: &Given<Text>, reader: &mut Reader<'_>) -> Option<regex::Regex> {
    let compiled = RegexBuilder::new(&given.value.value).size_limit(REGEX_BYTES_MAX).build();
    if compiled.is_err() {
        let mend = "write it as the crate regex has it: no look-around, no back references";
        reader.notes.error(&given.place, format!("{} is not a regular expression that can be used", given.value), mend);
    }
    compiled.ok()
}
