//! `[dlq] mask`: what viewers do not see.

use crate::config::checked::Masked;
use crate::config::raw;
use crate::config::read::Reader;
use crate::value::Pointer;

/// The properties that can be masked: all texts of AMQP's.
const PROPERTIES: &[&str] = &[
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
];

pub(super) fn check(dlq: &raw::Dlq, reader: &mut Reader<'_>) -> Option<Masked> {
    let mut masked = Masked::default();
    let mut sound = true;
    for given in dlq.mask.iter().flat_map(|mask| &mask.value) {
        let text = &given.value.value;
        if let Some(name) = text.strip_prefix("headers:") {
            masked.headers.push(name.to_owned());
            continue;
        }
        if let Some(name) = text.strip_prefix("properties:") {
            if PROPERTIES.contains(&name) {
                masked.properties.push(name.to_owned());
                continue;
            }
            let problem = format!("{} names no property of messages that could be masked", given.value);
            reader.notes.error(&given.place, problem, format!("name one of {}", PROPERTIES.join(", ")));
            sound = false;
            continue;
        }
        match Pointer::parse(text) {
            Ok(pointer) => masked.pointers.push(pointer),
            Err(problem) => {
                let problem = format!("{} is no JSON pointer, headers:NAME or properties:NAME: {problem}", given.value);
                reader.notes.error(
                    &given.place,
                    problem,
                    "write such as \"/customer/email\" or \"headers:authorization\"",
                );
                sound = false;
            }
        }
    }
    sound.then_some(masked)
}
