//! Raw sections -> checked ones: what no single key can know. Each function notes all it finds, and gives nothing
//! when a value it needs was refused.

mod events; // what a pipeline says of its events
mod http;
mod masked;
mod monitor; // `[pipeline.monitor]`
mod otlp;
mod pipelines;
mod rabbitmq;
mod registry;
mod rules; // `[[dlq.rule]]`
mod store;

pub use events::schema_identity;

use std::time::Duration;

use super::checked::{Config, Dlq, Log, Run};
use super::raw;
use super::read::{Given, Reader, unreadable_mend};
use super::text::{FilePath, Text};

/// The whole configuration; `None` when anything was refused.
pub(super) fn config(root: &raw::Root, reader: &mut Reader<'_>, file: &std::path::Path) -> Option<Config> {
    let run = root.run.as_ref().map(|run| &run.value);
    let instance = run.and_then(|run| instance(run, reader));
    let rabbitmq = root.rabbitmq.as_ref().and_then(|section| rabbitmq::check(&section.value, reader));
    let store = root.store.as_ref().and_then(|section| store::check(&section.value, reader));
    let registry = root.registry.as_ref().and_then(|section| registry::check(&section.value, root, reader));
    let otlp = root.otlp.as_ref().and_then(|section| otlp::check(&section.value, reader));
    let http = root.http.as_ref().and_then(|section| http::check(&section.value, reader));
    let dlq = root.dlq.as_ref().and_then(|section| dlq(&section.value, reader));
    let log = root.log.as_ref().and_then(|section| log(&section.value, reader));
    let rules = root.dlq.as_ref().and_then(|section| rules::check(&section.value, root, reader));
    let has_registry = root.registry.as_ref().is_some_and(|given| given.value.urls.is_some());
    let of_rules = rules.as_deref().unwrap_or_default();
    let pipelines = root.pipeline.as_ref().and_then(|given| pipelines::check(given, of_rules, has_registry, reader));
    relations(root, reader);
    rules.as_ref()?;
    let mut pipelines = pipelines?;
    // What is masked is known to be personal.
    for personal in pipelines.iter_mut().filter_map(|pipeline| pipeline.monitor.as_mut()?.personal.as_mut()) {
        personal.expected.clone_from(&dlq.as_ref()?.mask.pointers);
    }
    Some(Config {
        file: file.to_owned(),
        instance: instance?,
        rabbitmq: rabbitmq?,
        store: store?,
        registry: registry?,
        otlp: otlp?,
        http: http?,
        dlq: dlq?,
        log: log?,
        run: Run {
            drain_timeout: run?.drain_timeout.as_ref()?.value,
            flush_grace: run?.flush_grace.as_ref()?.value,
            look_back: run?.look_back.as_ref()?.value,
            look_back_rows: usize::try_from(run?.look_back_rows.as_ref()?.value).unwrap_or(usize::MAX),
            look_up_patience: run?.look_up_patience.as_ref()?.value,
            unacked_age_max: run?.unacked_age_max.as_ref()?.value,
            schema_reload: Some(run?.schema_reload.as_ref()?.value).filter(|every| !every.is_zero()),
        },
        pipelines,
    })
}

/// The name in the file, else the host's with `_` for what a name cannot hold.
fn instance(run: &raw::Run, reader: &mut Reader<'_>) -> Option<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if let Some(given) = &run.instance {
        let name = &given.value;
        if !name.value.chars().all(allowed) {
            let problem = format!("{name} holds more than letters, digits and _");
            reader.notes.error(&given.place, problem, "choose a name such as \"archiver_1\"");
            return None;
        }
        return Some(name.value.clone());
    }
    let host = reader.surroundings.hostname.unwrap_or_default();
    let name: String = host.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect();
    if !name.contains(|letter: char| letter.is_ascii_alphanumeric()) {
        let place = run.place.missing("instance");
        reader.notes.error(&place, "is not set, and the host has no name to take", "add instance = \"archiver_1\"");
        return None;
    }
    Some(name)
}

fn dlq(dlq: &raw::Dlq, reader: &mut Reader<'_>) -> Option<Dlq> {
    let mask = masked::check(dlq, reader);
    Some(Dlq {
        mask: mask?,
        blob_bytes: usize::try_from(dlq.blob_bytes.as_ref()?.value.0).unwrap_or(usize::MAX),
        index_bytes: usize::try_from(dlq.index_bytes.as_ref()?.value.0).unwrap_or(usize::MAX),
        merge: dlq.merge.as_ref()?.value,
        retain_resolved: dlq.retain_resolved.as_ref()?.value,
        retain_ignored: dlq.retain_ignored.as_ref()?.value,
        groups_every: Some(dlq.groups_every.as_ref()?.value).filter(|every| !every.is_zero()),
    })
}

fn log(log: &raw::Log, reader: &mut Reader<'_>) -> Option<Log> {
    let level = log.level.as_ref()?;
    // The parser takes a mistyped level for a module's name, and then logs nothing else.
    let mistyped = |part: &str| {
        let part = part.trim().to_ascii_lowercase();
        !part.contains(['=', '[']) && !["off", "error", "warn", "info", "debug", "trace"].contains(&part.as_str())
    };
    let filter = &level.value.value;
    if filter.split(',').any(mistyped) || tracing_subscriber::EnvFilter::builder().parse(filter).is_err() {
        let problem = format!("{} is not a log filter", level.value);
        let mend = "write error, warn, info, debug or trace, or such as \"info,parqueduct::broker=debug\"";
        reader.notes.error(&level.place, problem, mend);
        return None;
    }
    Some(Log { format: log.format.as_ref()?.value, level: level.value.value.clone() })
}

/// What holds between sections.
fn relations(root: &raw::Root, reader: &mut Reader<'_>) {
    let (Some(run), Some(store)) = (&root.run, &root.store) else { return };
    if let (Some(grace), Some(request), Some(retry)) =
        (&run.value.flush_grace, &store.value.request_timeout, &store.value.retry_timeout)
    {
        let needed = request.value + retry.value;
        if grace.value < needed {
            let shown = super::units::show_duration;
            let problem = format!(
                "{} is less than store.retry_timeout and store.request_timeout together, {}, so others may undo a \
                 flush that is still being written",
                shown(grace.value),
                shown(needed)
            );
            reader.notes.warning(&grace.place, problem, format!("set it to \"{}\" or more", shown(needed)));
        }
    }
    let ages = root.pipeline.iter().flat_map(|given| &given.value).filter_map(|pipeline| {
        let flush = pipeline.value.flush.as_ref()?;
        Some(flush.value.age.as_ref()?.value)
    });
    let age = ages.max();
    if let (Some(grace), Some(age)) = (&run.value.flush_grace, age) {
        consumer_timeout(grace, age, reader);
        root.pipeline.iter().flat_map(|given| &given.value).for_each(|pipeline| {
            patience(&pipeline.value, grace.value, reader);
        });
    }
    let Some(age_max) = &run.value.unacked_age_max else { return };
    if let Some(age) = age.filter(|age| *age >= age_max.value) {
        let shown = super::units::show_duration(age);
        let problem = format!("is not more than the flush age of a pipeline, {shown}, so /readyz will often say no");
        reader.notes.warning(&age_max.place, problem, format!("set it well above \"{shown}\""));
    }
}

/// What is held, and held on to while the store is away, goes back before the broker takes it back with the channel.
fn consumer_timeout(grace: &Given<Duration>, age: Duration, reader: &mut Reader<'_>) {
    let hold = grace.value / 2;
    if age + hold <= CONSUMER_TIMEOUT {
        return;
    }
    let shown = super::units::show_duration;
    let problem = format!(
        "half of it, {}, for which a flush is held while the store is away, and the flush age of a pipeline, {}, are \
         more than the 30 minutes after which the broker closes the channel of what is not acknowledged (unless its \
         consumer_timeout is raised)",
        shown(hold),
        shown(age)
    );
    // Ages end at 25 minutes.
    let mend = format!("set it to \"{}\" or less", shown((CONSUMER_TIMEOUT - age.min(CONSUMER_TIMEOUT)) * 2));
    reader.notes.warning(&grace.place, problem, mend);
}

/// The same of the first events of a pipeline that learns its schema: they wait for others before they wait for their flush.
fn patience(pipeline: &raw::Pipeline, grace: Duration, reader: &mut Reader<'_>) {
    let is_learned = pipeline.schema.as_ref().is_some_and(|schema| events::is_learned(&schema.value));
    let (Some(infer), Some(flush), true) = (&pipeline.infer, &pipeline.flush, is_learned) else { return };
    let (Some(patience), Some(age)) = (&infer.value.patience, &flush.value.age) else { return };
    let (age, hold) = (age.value, grace / 2);
    // What is too long without any patience is told of run.flush_grace.
    if age + hold > CONSUMER_TIMEOUT || patience.value + age + hold <= CONSUMER_TIMEOUT {
        return;
    }
    let shown = super::units::show_duration;
    let problem = format!(
        "{}, for which the first events are held to learn of, the flush age, {}, and half of run.flush_grace, {}, for which \
         they are held while the store is away, are more than the 30 minutes after which the broker closes the channel of \
         what is not acknowledged (unless its consumer_timeout is raised)",
        shown(patience.value),
        shown(age),
        shown(hold)
    );
    reader.notes.warning(
        &patience.place,
        problem,
        format!("set it to \"{}\" or less", shown(CONSUMER_TIMEOUT - age - hold)),
    );
}

/// What RabbitMQ allows a consumer for an acknowledgement by default (`consumer_timeout`).
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The path of a file that must be readable and hold `marker`, if any.
fn readable(given: &Given<FilePath>, marker: Option<&str>, reader: &mut Reader<'_>) -> Option<std::path::PathBuf> {
    let file = &given.value;
    match (reader.surroundings.read)(&file.path) {
        Err(error) => {
            let problem = format!("the file {} cannot be read ({})", file.written, error.kind());
            let mend = unreadable_mend(file, reader.directory);
            reader.notes.error(&given.place, problem, mend);
            None
        }
        Ok(content) => match marker {
            Some(marker) if !content.contains(marker) => {
                let problem = format!("the file {} holds no \"{marker}\"", file.written);
                let mend = match marker {
                    PRIVATE_KEY => "name a PEM file; openssl pkcs8 -topk8 -nocrypt -in KEY makes PKCS#8 of other keys",
                    _ => "name a PEM file; openssl x509 -inform der -in CERTIFICATE makes PEM of DER",
                };
                reader.notes.error(&given.place, problem, mend);
                None
            }
            _ => Some(file.path.clone()),
        },
    }
}

pub(super) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
pub(super) const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// An optional file: `Some(None)` when it is not named, `None` when it was refused.
fn readable_if(
    given: Option<&Given<FilePath>>,
    marker: Option<&str>,
    reader: &mut Reader<'_>,
) -> Option<Option<std::path::PathBuf>> {
    given.map_or(Some(None), |given| readable(given, marker, reader).map(Some))
}

/// The text of an optional key.
fn text_of(given: Option<&Given<Text>>) -> Option<String> {
    given.map(|given| given.value.value.clone())
}
