//! One delivery -> a row of the open batches, or why not. Pure: the delivery brings its time of arrival.

use std::sync::Arc;

use crate::archive::{Batches, Refused, Row, time};
use crate::config::{PipelineKind, TimeFormat};
use crate::content::{self, Closed, Encoding};
use crate::decode::{Decoder, Limits, Wire, Writers};
use crate::dlq::death::{self, Death};
use crate::event::{Delivery, Message, Unreadable};
use crate::ingest::arrival::Arrival;
use crate::ingest::learned::Sightings;
use crate::ingest::select::{self, Unknown, fits_event, fits_message};
use crate::ingest::{EventPlan, Plan};
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Pointer, Tape, Value};

/// What became of a good event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a row of the batches.
    Archived,
    /// Nothing was added: the batches have no room for it. Seal them, then judge it again.
    Full,
    /// Nothing was added: its row is durable, or held, already.
    Repeat,
}

/// Why a delivery cannot be archived, and what could be read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub rejection: Rejection,
    /// The event's id, if it could be read.
    pub event_id: Option<String>,
    /// The place of its type of events; `None`: it is of none, or cannot be read.
    pub event: Option<usize>,
}

/// Judges deliveries; keeps only buffers between two, and which kinds of unknown events it saw.
pub struct Judge {
    plan: Arc<Plan>,
    writers: Arc<Writers>,
    /// One for each way in which bodies are written.
    decoders: Vec<Decoder>,
    /// The decoder of each type of events.
    decoder_of: Vec<usize>,
    unknown: Unknown,
    /// Looks at good events that have more than their learned schema says.
    sightings: Option<Arc<Sightings>>,
    /// A body that came compressed.
    plain: Vec<u8>,
}

/// Room for a decompressed body beyond this is given up, so that one giant does not hold memory for ever. In bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Judge {
    pub fn new(plan: Arc<Plan>) -> Self {
        let limits = Limits { body_bytes_max: plan.config.body_bytes_max, depth_max: plan.config.depth_max };
        let mut wires: Vec<&Wire> = Vec::new();
        let decoder_of = plan.events.iter().map(|event| {
            wires.iter().position(|wire| **wire == event.wire).unwrap_or_else(|| {
                wires.push(&event.wire);
                wires.len() - 1
            })
        });
        let decoder_of = decoder_of.collect();
        let decoders = wires.into_iter().map(|wire| Decoder::new(wire, limits)).collect();
        let (writers, unknown) = (plan.writers(), Unknown::default());
        Self { writers, decoders, decoder_of, unknown, sightings: None, plain: Vec::new(), plan }
    }

    /// The same, which shows `sightings` what good events have beside their columns.
    pub fn showing(self, sightings: Option<Arc<Sightings>>) -> Self {
        Self { sightings, ..self }
    }

    /// Decodes and validates `arrival` and appends it to `batches` as the row of the flush's delivery `number`. With
    /// `is_repeat`, a good event is first shown to it, by its id and the hash of its body.
    ///
    /// # Errors
    /// Why it cannot be archived; then `batches` are as they were.
    pub fn judge(
        &mut self,
        number: u32,
        arrival: &Arrival,
        batches: &mut Batches,
        mut is_repeat: Option<IsRepeat<'_>>,
    ) -> Result<Verdict, Rejected> {
        let (plan, delivery) = (Arc::clone(&self.plan), &arrival.delivery);
        let undecoded = |Unread { rejection, event }: Unread| {
            let by_message = event.is_none_or(|place| plan.events[place].config.event_id.is_none());
            let event_id = delivery.message.properties.name().filter(|_| by_message).map(str::to_owned);
            Rejected { rejection, event_id, event }
        };
        if plan.config.kind != PipelineKind::Events {
            let rejection = death::rejection(Death::newest(&delivery.message).as_ref());
            return Err(undecoded(Unread { rejection, event: None }));
        }
        if !delivery.message.unreadable.is_empty() {
            let rejection = unreadable(&delivery.message.unreadable);
            return Err(undecoded(Unread { rejection, event: plan.candidate(&delivery.message, 0, &self.writers) }));
        }
        let sightings = self.sightings.clone();
        let judged = self.read(&delivery.message, arrival.event, |place, tape| {
            // By a closure of its own: the borrow is as short as one call.
            let mut asked = is_repeat.as_mut().map(|is_repeat| |id: &str, hash: &[u8; 16]| is_repeat(id, hash));
            let is_repeat = asked.as_mut().map(|asked| asked as IsRepeat<'_>);
            let archived = archive_event(&plan, place, number, arrival, tape, batches, is_repeat);
            let (verdict, has_extra) = archived.map_err(|rejection| Rejected {
                rejection,
                event_id: readable_id(&plan.events[place], delivery, tape),
                event: Some(place),
            })?;
            if let (true, Some(sightings)) = (has_extra, &sightings) {
                sightings.observe(tape.root(), delivery.received_at);
            }
            Ok(verdict)
        });
        judged.map_err(undecoded)?
    }

    /// The id of an event that was judged good before, and the place of its type.
    pub fn event_id(&mut self, arrival: &Arrival) -> (Option<String>, Option<usize>) {
        let (plan, delivery) = (Arc::clone(&self.plan), &arrival.delivery);
        let read = self.read(&delivery.message, arrival.event, |place, tape| {
            (readable_id(&plan.events[place], delivery, tape), Some(place))
        });
        read.unwrap_or_default()
    }

    /// Decodes the event in `message`, which is of the type `known`, or of the first that it fits, and hands it to `then` with
    /// the place of that type.
    fn read<R>(
        &mut self,
        message: &Message,
        known: Option<usize>,
        mut then: impl FnMut(usize, &Tape<'_>) -> R,
    ) -> Result<R, Unread> {
        let Self { plan, writers, decoders, decoder_of, unknown, plain, .. } = self;
        let types = &plan.config.events;
        // What the first that could be decoded is told by, and why the first that could not be was refused.
        let (mut kind, mut refused) = (None, None);
        let mut candidate = known.or_else(|| plan.candidate(message, 0, writers));
        while let Some(first) = candidate {
            let decoder = &mut decoders[decoder_of[first]];
            let read = decode(decoder, plain, message, plan.config.body_bytes_max, |tape| {
                let mut place = first;
                // Types whose bodies are written alike are told apart without decoding twice.
                loop {
                    if known.is_some() || fits_event(&types[place].when, tape.root()) {
                        return Ok(then(place, tape));
                    }
                    match plan.candidate(message, place + 1, writers) {
                        Some(next) if decoder_of[next] == decoder_of[first] => place = next,
                        next => return Err((next, select::kind(types, message, Some(tape.root())))),
                    }
                }
            });
            candidate = match read {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err((next, told))) => {
                    kind.get_or_insert(told);
                    next
                }
                Err(rejection) => {
                    refused.get_or_insert(Unread { rejection, event: Some(first) });
                    // Only what a field decides may be of a type whose bodies are written otherwise.
                    let by_field = known.is_none() && types[first].when.field.is_some();
                    let mut others = (first + 1..types.len()).filter(|place| decoder_of[*place] != decoder_of[first]);
                    others.find(|place| by_field && fits_message(&types[*place].when, message, writers))
                }
            };
        }
        Err(match (kind, refused) {
            (None, Some(refused)) => refused,
            (kind, _) => {
                let kind = kind.unwrap_or_else(|| select::kind(types, message, None));
                Unread { rejection: unknown.rejection(kind), event: None }
            }
        })
    }
}

/// Why there is no event to judge, and the type that it was taken for.
struct Unread {
    rejection: Rejection,
    event: Option<usize>,
}

impl Plan {
    /// The place of the first type from `from` on that the message can be of.
    fn candidate(&self, message: &Message, from: usize, writers: &Writers) -> Option<usize> {
        (from..self.config.events.len()).find(|place| fits_message(&self.config.events[*place].when, message, writers))
    }
}

/// Decodes the body of `message`, decompressed into `plain` where it says that it is compressed.
pub(super) fn decode<R>(
    decoder: &mut Decoder,
    plain: &mut Vec<u8>,
    message: &Message,
    bytes_max: usize,
    then: impl FnOnce(&Tape<'_>) -> R,
) -> Result<R, Rejection> {
    if Encoding::of(message).is_none() {
        return decoder.decode(&message.body, then);
    }
    let opened = content::open(message, bytes_max, plain);
    let result = match opened {
        // Offsets are into the body as it came; of what is in it none can be told.
        Ok(body) => decoder.decode(body, then).map_err(Rejection::without_offsets),
        Err(Closed::TooLarge) => {
            let expected = format!("at most {bytes_max} bytes, decompressed");
            Err(Issue::at(Code::FrameTooLarge, "", expected, "more").into())
        }
        Err(Closed::Broken(encoding)) => {
            Err(Issue::at(Code::ContentEncoding, "", encoding.as_str(), "other bytes").into())
        }
    };
    if plain.capacity() > KEPT_BYTES_MAX {
        *plain = Vec::new();
    }
    result
}

/// The event's id, if it has one where its type says.
fn readable_id(plan: &EventPlan, delivery: &Delivery, tape: &Tape<'_>) -> Option<String> {
    let mut digits = String::new();
    let id = event_id(plan, delivery, tape.root(), &mut digits).ok()?;
    id.map(str::to_owned)
}

/// Tells of a good event, by its id and the hash of its body, whether its row is there already.
pub type IsRepeat<'a> = &'a mut dyn FnMut(&str, &[u8; 16]) -> bool;

/// One issue for each part of the message that cannot be read; for all names of headers one, the first. What it found
/// stays with the message.
fn unreadable(parts: &[Unreadable]) -> Rejection {
    let mut issues: Vec<Issue> = Vec::new();
    for part in parts {
        // The names of headers are the event's own; so they are no part of a group.
        let path = part.place.split('/').next().unwrap_or_default();
        if issues.iter().any(|issue| issue.path == path) {
            continue;
        }
        let issue = match path {
            Unreadable::PROPERTIES => Issue::whole(Code::AmqpProperties),
            _ => Issue::at(Code::AmqpText, path, "UTF-8", "other bytes"),
        };
        issues.push(Issue { instance_path: part.place.clone(), ..issue });
    }
    Rejection::new(issues)
}

/// The verdict, and whether something of the event is in `_extra`.
fn archive_event(
    pipeline: &Plan,
    place: usize,
    number: u32,
    arrival: &Arrival,
    tape: &Tape<'_>,
    batches: &mut Batches,
    is_repeat: Option<IsRepeat<'_>>,
) -> Result<(Verdict, bool), Rejection> {
    let plan = &pipeline.events[place];
    if let Some(of_others) = &plan.of_others {
        of_others.check(tape)?;
    }
    if let Some(validator) = &plan.validator {
        validator.check(tape)?;
    }
    let (event, delivery) = (tape.root(), &arrival.delivery);
    let mut digits = String::new();
    let id = event_id(plan, delivery, event, &mut digits)?;
    let event_time_us = event_time(plan, arrival, event)?;
    let body_hash = delivery.message.body_hash();
    if let (Some(is_repeat), Some(id)) = (is_repeat, id)
        && is_repeat(id, &body_hash)
    {
        return Ok((Verdict::Repeat, false));
    }
    let letter = arrival.letter().map(|letter| letter.to_string());
    let row = Row {
        delivery: number,
        event,
        id,
        body_hash,
        dead_letter_id: letter.as_deref(),
        event_time_us,
        ingested_at_us: delivery.received_at.timestamp_micros(),
        queue: &pipeline.config.queue,
        message: &delivery.message,
    };
    match batches.push(place, &row) {
        Ok(has_extra) => Ok((Verdict::Archived, has_extra)),
        Err(Refused::Full) => Ok((Verdict::Full, false)),
        Err(Refused::Row(rejection)) => Err(rejection),
    }
}

fn event_id<'a>(
    plan: &EventPlan,
    delivery: &'a Delivery,
    event: Value<'a>,
    digits: &'a mut String,
) -> Result<Option<&'a str>, Rejection> {
    let Some(pointer) = &plan.config.event_id else {
        return Ok(delivery.message.properties.name());
    };
    let Some(value) = event.pointer(pointer.segments()) else {
        return Err(at_pointer(Code::EventIdMissing, pointer, "string or integer", "nothing"));
    };
    match value.node() {
        Node::Str("") | Node::Null => Err(at_pointer(Code::EventIdMissing, pointer, "string or integer", "nothing")),
        Node::Str(text) => Ok(Some(text)),
        Node::I64(number) => {
            *digits = number.to_string();
            Ok(Some(digits))
        }
        Node::U64(number) => {
            *digits = number.to_string();
            Ok(Some(digits))
        }
        _ => Err(at_pointer(Code::EventIdUnusable, pointer, "string or integer", value.type_name())),
    }
}

/// Microseconds since 1970.
fn event_time(plan: &EventPlan, arrival: &Arrival, event: Value<'_>) -> Result<i64, Rejection> {
    let (config, delivery) = (&plan.config, &arrival.delivery);
    // What lies ahead comes nearer while a letter waits; what lay behind does not get older by it.
    let (now_us, arrived_us) = (delivery.received_at.timestamp_micros(), arrival.first_arrived().timestamp_micros());
    let (time_us, path) = match &config.event_time {
        Some(pointer) => (time_at(event, pointer, config.event_time_format)?, pointer.as_str()),
        None => match delivery.message.properties.timestamp {
            Some(seconds) => (seconds_to_micros(seconds)?, ""),
            None => return Ok(arrived_us),
        },
    };
    if time_us.saturating_sub(now_us) > micros(config.event_time_ahead_max) {
        return Err(Issue::at(Code::EventTimeAhead, path, "a time not far ahead of now", "a later time").into());
    }
    match config.event_time_behind_max {
        Some(behind_max) if arrived_us.saturating_sub(time_us) > micros(behind_max) => {
            Err(Issue::at(Code::EventTimeBehind, path, "a time not far behind now", "an earlier time").into())
        }
        _ => Ok(time_us),
    }
}

fn time_at(event: Value<'_>, pointer: &Pointer, format: TimeFormat) -> Result<i64, Rejection> {
    let unreadable =
        |value: Value<'_>, expected: &str| at_pointer(Code::EventTimeUnreadable, pointer, expected, value.type_name());
    let value = match event.pointer(pointer.segments()) {
        None => return Err(at_pointer(Code::EventTimeMissing, pointer, "a time", "nothing")),
        Some(value) if value.is_null() => return Err(at_pointer(Code::EventTimeMissing, pointer, "a time", "null")),
        Some(value) => value,
    };
    let micros_per_unit = match format {
        TimeFormat::Rfc3339 => {
            // Its own column, or `_extra`, has the time whole.
            let parsed = value.as_str().and_then(|text| time::parse_rfc3339_cut(text).ok());
            return parsed.map(|(micros, _)| micros).ok_or_else(|| unreadable(value, "an RFC 3339 date-time"));
        }
        TimeFormat::UnixSeconds => 1_000_000,
        TimeFormat::UnixMillis => 1_000,
        TimeFormat::UnixMicros => 1,
    };
    match value.node() {
        Node::I64(number) => number.checked_mul(micros_per_unit).ok_or_else(|| unreadable(value, "an integer of time")),
        _ => Err(unreadable(value, "an integer of time")),
    }
}

fn seconds_to_micros(seconds: u64) -> Result<i64, Rejection> {
    let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    micros.ok_or_else(|| {
        Issue::at(Code::EventTimeUnreadable, "", "seconds since 1970 as timestamp", "a larger number").into()
    })
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn at_pointer(code: Code, pointer: &Pointer, expected: &str, actual: &str) -> Rejection {
    Issue::at(code, pointer.as_str(), expected, actual).into()
}
