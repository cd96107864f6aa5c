//! One delivery -> a row of the open batches, or why not. Pure: the delivery brings its time of arrival.

use std::sync::Arc;

use crate::archive::{Batches, Refused, Row, time};
use crate::config::{Envelope, PipelineKind, TimeFormat};
use crate::content::{self, Closed, Encoding};
use crate::decode::cloudevents::{self, Attributes, Data, Mode};
use crate::decode::{Decoder, JsonDecoder, Limits, Wire, Writers};
use crate::dlq::death::{self, Death};
use crate::event::{Delivery, Message, Unreadable};
use crate::ingest::arrival::Arrival;
use crate::ingest::learned::Sightings;
use crate::ingest::select::{self, Unknown, fits_event, fits_message};
use crate::ingest::{EventPlan, Plan};
use crate::monitor::{Times, Watcher};
use crate::personal::Kind;
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Pointer, Value};

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
    /// Of CloudEvents that are JSON as a whole; `None`: events come by themselves.
    envelopes: Option<JsonDecoder>,
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
        let envelopes = match plan.config.envelope {
            Envelope::None => None,
            // Data nest one deeper in it than they do by themselves.
            Envelope::CloudEvents => Some(JsonDecoder::new(Limits { depth_max: limits.depth_max + 1, ..limits })),
        };
        let (writers, unknown) = (plan.writers(), Unknown::default());
        Self { writers, decoders, decoder_of, envelopes, unknown, sightings: None, plain: Vec::new(), plan }
    }

    /// The same, which shows `sightings` what good events have beside their columns.
    pub fn showing(self, sightings: Option<Arc<Sightings>>) -> Self {
        Self { sightings, ..self }
    }

    /// Decodes and validates `arrival` and appends it to `batches` as the row of the flush's delivery `number`. With
    /// `is_repeat`, a good event is first shown to it, by its id and the hash of its body; with a `watcher`, what is archived is
    /// shown to that, which may also forbid it.
    ///
    /// # Errors
    /// Why it cannot be archived; then `batches` are as they were.
    pub fn judge(
        &mut self,
        number: u32,
        arrival: &Arrival,
        batches: &mut Batches,
        mut is_repeat: Option<IsRepeat<'_>>,
        mut watcher: Option<&mut Watcher>,
    ) -> Result<Verdict, Rejected> {
        let (plan, delivery) = (Arc::clone(&self.plan), &arrival.delivery);
        let undecoded = |Unread { rejection, event, id }: Unread| {
            let by_message = event.is_none_or(|place| plan.events[place].config.event_id.is_none());
            let id = match plan.config.envelope {
                Envelope::None => delivery.message.properties.name().map(str::to_owned),
                Envelope::CloudEvents => id,
            };
            Rejected { rejection, event_id: id.filter(|_| by_message), event }
        };
        if plan.config.kind != PipelineKind::Events {
            let rejection = death::rejection(Death::newest(&delivery.message).as_ref());
            return Err(undecoded(Unread { rejection, event: None, id: None }));
        }
        if !delivery.message.unreadable.is_empty() {
            let rejection = unreadable(&delivery.message.unreadable);
            let event = plan.candidate(&delivery.message, None, 0, &self.writers);
            return Err(undecoded(Unread { rejection, event, id: None }));
        }
        let sightings = self.sightings.clone();
        let judged = self.read(&delivery.message, arrival.event, &mut |place, event| {
            // By a closure of its own: the borrow is as short as one call.
            let mut asked = is_repeat.as_mut().map(|is_repeat| |id: &str, hash: &[u8; 16]| is_repeat(id, hash));
            let is_repeat = asked.as_mut().map(|asked| asked as IsRepeat<'_>);
            let row = Judged { plan: &plan, place, number, arrival, event };
            let archived = row.archive(batches, is_repeat, watcher.as_deref_mut());
            let (verdict, has_extra) = archived.map_err(|rejection| Rejected {
                rejection,
                event_id: readable_id(&plan.events[place], delivery, event),
                event: Some(place),
            })?;
            if let (true, Some(sightings)) = (has_extra, &sightings) {
                sightings.observe(event.root, delivery.received_at);
            }
            Ok(verdict)
        });
        judged.map_err(undecoded)?
    }

    /// The id of an event that was judged good before, and the place of its type.
    pub fn event_id(&mut self, arrival: &Arrival) -> (Option<String>, Option<usize>) {
        let (plan, delivery) = (Arc::clone(&self.plan), &arrival.delivery);
        let read = self.read(&delivery.message, arrival.event, &mut |place, event| {
            (readable_id(&plan.events[place], delivery, event), Some(place))
        });
        read.unwrap_or_default()
    }

    /// Decodes the event in `message`, which is of the type `known`, or of the first that it fits, and hands it to `then` with
    /// the place of that type.
    fn read<R>(
        &mut self,
        message: &Message,
        known: Option<usize>,
        then: &mut impl FnMut(usize, Event<'_>) -> R,
    ) -> Result<R, Unread> {
        let Self { plan, writers, decoders, decoder_of, envelopes, unknown, plain, .. } = self;
        let mut reading = Reading { plan, writers, decoders, decoder_of, unknown, message, known };
        let read = match opened(message, plan.config.body_bytes_max, plain) {
            Err(rejection) => Err(Unread { rejection, event: reading.candidate(None, 0), id: None }),
            Ok(body) => match envelopes {
                Some(decoder) => reading.cloud_event(decoder, body, then),
                None => {
                    let content_type = message.properties.content_type.as_deref();
                    reading.bytes(Bytes { body, content_type, envelope: None, at: "" }, then)
                }
            },
        };
        if plain.capacity() > KEPT_BYTES_MAX {
            *plain = Vec::new();
        }
        match Encoding::of(message) {
            None => read,
            // Offsets are into the body as it came; of what is in it none can be told.
            Some(_) => read.map_err(Unread::without_offsets),
        }
    }
}

/// An event as it is judged.
#[derive(Clone, Copy)]
struct Event<'e> {
    root: Value<'e>,
    /// What a CloudEvent says of it, and how that came.
    envelope: Option<(&'e Attributes, Mode)>,
    /// Where it stands in the body, as paths begin.
    at: &'static str,
}

/// An event that is not decoded yet.
#[derive(Clone, Copy)]
struct Bytes<'e> {
    body: &'e [u8],
    content_type: Option<&'e str>,
    envelope: Option<(&'e Attributes, Mode)>,
    at: &'static str,
}

/// What it takes to read the event in one message.
struct Reading<'j> {
    plan: &'j Plan,
    writers: &'j Writers,
    decoders: &'j mut [Decoder],
    decoder_of: &'j [usize],
    unknown: &'j mut Unknown,
    message: &'j Message,
    known: Option<usize>,
}

impl Reading<'_> {
    /// The place of the type it is known to be of, or of the first from `from` on that it can be of.
    fn candidate(&self, envelope: Option<(&Attributes, Mode)>, from: usize) -> Option<usize> {
        let attributes = envelope.map(|(attributes, _)| attributes);
        self.known.or_else(|| self.plan.candidate(self.message, attributes, from, self.writers))
    }

    /// Reads the CloudEvent whose message has that body.
    fn cloud_event<R>(
        &mut self,
        decoder: &mut JsonDecoder,
        body: &[u8],
        then: &mut impl FnMut(usize, Event<'_>) -> R,
    ) -> Result<R, Unread> {
        // Of which type an event is that cannot be read, is known where there is one only.
        let event = (self.plan.events.len() == 1).then_some(0);
        let issues_max = self.plan.config.issues_max;
        let unread = |rejection: Rejection| Unread { rejection: rejection.at_most(issues_max), event, id: None };
        let mode = Mode::of(self.message).map_err(unread)?;
        if mode == Mode::Binary {
            let attributes = Attributes::of_headers(self.message).map_err(unread)?;
            let (content_type, envelope) = (attributes.content_type(), Some((&attributes, mode)));
            return self.bytes(Bytes { body, content_type, envelope, at: "" }, then);
        }
        let begins = body.trim_ascii_start().first();
        if !cloudevents::says_structured(self.message) && begins.is_some_and(|byte| !matches!(byte, b'{' | b'[')) {
            return Err(unread(Issue::whole(Code::CloudEventsAbsent).into()));
        }
        let read = decoder.decode(body, |tape| {
            let (attributes, data) = Attributes::of_json(tape.root()).map_err(unread)?;
            let envelope = Some((&attributes, mode));
            match data {
                Data::Value(root) => self.value(Event { root, envelope, at: cloudevents::DATA_PATH }, then),
                Data::Bytes(body, at) => {
                    let content_type = attributes.content_type();
                    let read = self.bytes(Bytes { body: &body, content_type, envelope, at }, then);
                    read.map_err(|unread| match unread.event {
                        // Of no type is an event as a whole, in whichever form its data are.
                        None => unread,
                        Some(_) => unread.without_offsets().below(at),
                    })
                }
            }
        });
        read.unwrap_or_else(|rejection| Err(unread(rejection)))
    }

    /// Tells the type of an event that is decoded already.
    fn value<R>(&mut self, event: Event<'_>, then: &mut impl FnMut(usize, Event<'_>) -> R) -> Result<R, Unread> {
        let types = &self.plan.config.events;
        let id = || event.envelope.map(|(attributes, _)| attributes.id().to_owned());
        let mut candidate = self.candidate(event.envelope, 0);
        while let Some(place) = candidate {
            if self.known.is_none() && !fits_event(&types[place].when, event.root) {
                candidate = self.candidate(event.envelope, place + 1);
                continue;
            }
            if !self.plan.events[place].reads_json {
                let expected = match types[place].framing {
                    crate::config::Framing::Confluent => "the id of a schema",
                    _ => types[place].native().document(),
                };
                let rejection = Issue::at(Code::Format, event.at, expected, "JSON").into();
                return Err(Unread { rejection, event: Some(place), id: id() });
            }
            return Ok(then(place, event));
        }
        let attributes = event.envelope.map(|(attributes, _)| attributes);
        let opened_max = self.plan.config.body_bytes_max;
        let kind = select::kind(types, self.message, attributes, Some(event.root), opened_max);
        Err(Unread { rejection: self.unknown.rejection(kind), event: None, id: id() })
    }

    /// Decodes an event as its type says, or as the first that it fits.
    fn bytes<R>(&mut self, bytes: Bytes<'_>, then: &mut impl FnMut(usize, Event<'_>) -> R) -> Result<R, Unread> {
        let Bytes { body, content_type, envelope, at } = bytes;
        let Self { plan, writers, decoder_of, message, known, .. } = *self;
        let (types, opened_max) = (&plan.config.events, plan.config.body_bytes_max);
        let attributes = envelope.map(|(attributes, _)| attributes);
        let id = || attributes.map(|attributes| attributes.id().to_owned());
        // What the first that could be decoded is told by, and why the first that could not be was refused.
        let (mut kind, mut refused) = (None, None);
        let mut candidate = self.candidate(envelope, 0);
        while let Some(first) = candidate {
            let decoder = &mut self.decoders[decoder_of[first]];
            let read = decoder.decode_as(content_type, body, |tape| {
                let event = Event { root: tape.root(), envelope, at };
                let mut place = first;
                // Types whose bodies are written alike are told apart without decoding twice.
                loop {
                    if known.is_some() || fits_event(&types[place].when, event.root) {
                        return Ok(then(place, event));
                    }
                    match plan.candidate(message, attributes, place + 1, writers) {
                        Some(next) if decoder_of[next] == decoder_of[first] => place = next,
                        next => {
                            return Err((next, select::kind(types, message, attributes, Some(event.root), opened_max)));
                        }
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
                    refused.get_or_insert_with(|| Unread { rejection, event: Some(first), id: id() });
                    // Only what a field decides may be of a type whose bodies are written otherwise.
                    let by_field = known.is_none() && types[first].when.field.is_some();
                    let mut others = (first + 1..types.len()).filter(|place| decoder_of[*place] != decoder_of[first]);
                    others.find(|place| {
                        by_field && fits_message(&types[*place].when, message, attributes, writers, opened_max)
                    })
                }
            };
        }
        Err(match (kind, refused) {
            (None, Some(refused)) => refused,
            (kind, _) => {
                let kind = kind.unwrap_or_else(|| select::kind(types, message, attributes, None, opened_max));
                Unread { rejection: self.unknown.rejection(kind), event: None, id: id() }
            }
        })
    }
}

/// Why there is no event to judge, the type that it was taken for, and the id that its envelope has.
struct Unread {
    rejection: Rejection,
    event: Option<usize>,
    id: Option<String>,
}

impl Unread {
    fn without_offsets(self) -> Self {
        Self { rejection: self.rejection.without_offsets(), ..self }
    }

    fn below(self, at: &str) -> Self {
        Self { rejection: self.rejection.below(at), ..self }
    }
}

impl Plan {
    /// The place of the first type from `from` on that the message can be of.
    fn candidate(
        &self,
        message: &Message,
        attributes: Option<&Attributes>,
        from: usize,
        writers: &Writers,
    ) -> Option<usize> {
        let fits = |place: &usize| {
            fits_message(&self.config.events[*place].when, message, attributes, writers, self.config.body_bytes_max)
        };
        (from..self.config.events.len()).find(fits)
    }
}

/// The body of `message`, decompressed into `plain` where it says that it is compressed.
pub(super) fn opened<'b>(
    message: &'b Message,
    bytes_max: usize,
    plain: &'b mut Vec<u8>,
) -> Result<&'b [u8], Rejection> {
    content::open(message, bytes_max, plain).map_err(|closed| match closed {
        Closed::TooLarge => {
            let expected = format!("at most {bytes_max} bytes, decompressed");
            Issue::at(Code::FrameTooLarge, "", expected, "more").into()
        }
        Closed::Broken(encoding) => Issue::at(Code::ContentEncoding, "", encoding.as_str(), "other bytes").into(),
    })
}

/// The event's id, if it has one where its type says.
fn readable_id(plan: &EventPlan, delivery: &Delivery, event: Event<'_>) -> Option<String> {
    let mut digits = String::new();
    let id = event_id(plan, delivery, event, &mut digits).ok()?;
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

/// An event in hand.
struct Judged<'a> {
    plan: &'a Plan,
    /// Of its type.
    place: usize,
    number: u32,
    arrival: &'a Arrival,
    event: Event<'a>,
}

impl Judged<'_> {
    /// The verdict, and whether something of the event is in `_extra`.
    fn archive(
        &self,
        batches: &mut Batches,
        is_repeat: Option<IsRepeat<'_>>,
        mut watcher: Option<&mut Watcher>,
    ) -> Result<(Verdict, bool), Rejection> {
        let Self { plan: pipeline, place, number, arrival, event } = *self;
        let plan = &pipeline.events[place];
        let in_body = |rejection: Rejection| rejection.below(event.at);
        if let Some(of_others) = &plan.of_others {
            of_others.check(event.root).map_err(in_body)?;
        }
        if let Some(validator) = &plan.validator {
            validator.check(event.root).map_err(in_body)?;
        }
        let delivery = &arrival.delivery;
        let mut digits = String::new();
        let id = event_id(plan, delivery, event, &mut digits).map_err(in_body)?;
        let event_time_us = event_time(plan, arrival, event)?;
        let name = |pointer: &str| plan.schema.normalised(event.root, pointer);
        if let Some(watcher) = watcher.as_deref_mut() {
            self.forbid(watcher, &name).map_err(in_body)?;
        }
        let body_hash = pipeline.identity_hash(&delivery.message);
        if let (Some(is_repeat), Some(id)) = (is_repeat, id)
            && is_repeat(id, &body_hash)
        {
            return Ok((Verdict::Repeat, false));
        }
        let letter = arrival.letter().map(|letter| letter.to_string());
        let attributes = event.envelope.map(|(attributes, _)| attributes.to_json());
        let row = Row {
            delivery: number,
            event: event.root,
            id,
            body_hash,
            dead_letter_id: letter.as_deref(),
            event_time_us,
            ingested_at_us: delivery.received_at.timestamp_micros(),
            queue: &pipeline.config.queue,
            message: &delivery.message,
            cloud_event: attributes.as_deref(),
        };
        let has_extra = match batches.push(place, &row) {
            Ok(has_extra) => has_extra,
            Err(Refused::Full) => return Ok((Verdict::Full, false)),
            Err(Refused::Row(rejection)) => return Err(in_body(rejection)),
        };
        if let Some(watcher) = watcher {
            let times = Times { event_us: event_time_us, arrived_us: arrival.first_arrived().timestamp_micros() };
            watcher.archived(place, event.root, times, &name);
        }
        Ok((Verdict::Archived, has_extra))
    }

    fn forbid(&self, watcher: &mut Watcher, name: &dyn Fn(&str) -> String) -> Result<(), Rejection> {
        let found = watcher.forbidden(self.place, self.event.root, name);
        if found.is_empty() {
            return Ok(());
        }
        let issues_max = self.plan.config.issues_max;
        let dropped = found.len().saturating_sub(issues_max);
        // Both paths in the schema's words: a name on the way may be somebody's, too.
        let issue = |(kind, path): (Kind, String)| Issue::at(Code::MonitorPersonalData, &path, "none", kind.as_str());
        let issues = found.into_iter().take(issues_max).map(issue).collect();
        Err(Rejection::new(issues).with_dropped(dropped))
    }
}

fn event_id<'a>(
    plan: &EventPlan,
    delivery: &'a Delivery,
    event: Event<'a>,
    digits: &'a mut String,
) -> Result<Option<&'a str>, Rejection> {
    let Some(pointer) = &plan.config.event_id else {
        return Ok(match event.envelope {
            Some((attributes, _)) => Some(attributes.id()),
            None => delivery.message.properties.name(),
        });
    };
    let Some(value) = event.root.pointer(pointer.segments()) else {
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
fn event_time(plan: &EventPlan, arrival: &Arrival, event: Event<'_>) -> Result<i64, Rejection> {
    let (config, delivery) = (&plan.config, &arrival.delivery);
    // What lies ahead comes nearer while a letter waits; what lay behind does not get older by it.
    let (now_us, arrived_us) = (delivery.received_at.timestamp_micros(), arrival.first_arrived().timestamp_micros());
    let in_body = |rejection: Rejection| rejection.below(event.at);
    let of_envelope = event.envelope.and_then(|(attributes, mode)| Some((attributes.time()?, mode)));
    // Where it stands: put together only for an issue.
    let (time_us, at, path) = match (&config.event_time, of_envelope) {
        (Some(pointer), _) => {
            let time_us = time_at(event.root, pointer, config.event_time_format).map_err(in_body)?;
            (time_us, event.at, pointer.as_str())
        }
        (None, Some((text, mode))) => {
            let path = Attributes::time_path(mode);
            // The column of attributes has it whole.
            let (time_us, _) = time::parse_rfc3339_cut(text).map_err(|_| {
                Rejection::from(Issue::at(Code::EventTimeUnreadable, path, "an RFC 3339 date-time", "another text"))
            })?;
            (time_us, "", path)
        }
        (None, None) => match delivery.message.properties.timestamp {
            Some(seconds) => (seconds_to_micros(seconds)?, "", ""),
            None => return Ok(arrived_us),
        },
    };
    let issue = |code, expected, actual| Err(Issue::at(code, &format!("{at}{path}"), expected, actual).into());
    if time_us.saturating_sub(now_us) > micros(config.event_time_ahead_max) {
        return issue(Code::EventTimeAhead, "a time not far ahead of now", "a later time");
    }
    match config.event_time_behind_max {
        Some(behind_max) if arrived_us.saturating_sub(time_us) > micros(behind_max) => {
            issue(Code::EventTimeBehind, "a time not far behind now", "an earlier time")
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
