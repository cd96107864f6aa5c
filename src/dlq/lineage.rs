//! The headers that a replayed message carries when it goes back through a broker: which dead letter it is, which attempt
//! at it, and where it was. Pure; what is no such header is no lineage.

use ulid::Ulid;

use super::fingerprint::GroupId;
use crate::event::{HeaderValue, Message};

/// The dead letter's id; what marks a message as a replay.
pub const ID: &str = "x-dlq-id";
/// Which attempt at it this is; the first death was attempt 1.
pub const ATTEMPT: &str = "x-dlq-attempt";
/// The job that sent it.
pub const JOB: &str = "x-dlq-job";
/// How often it was sent back by a replay, whoever's.
pub const HOPS: &str = "x-dlq-hops";
/// The queue where it died.
pub const SOURCE: &str = "x-dlq-src";
/// The exchange and the routing key with which it came there, separated by `|`.
pub const ORIGIN: &str = "x-dlq-origin";
/// The groups of the letter, the primary one first, separated by commas.
pub const GROUPS: &str = "x-dlq-groups";

/// What all of them begin with; nobody else's headers do.
pub const PREFIX: &str = "x-dlq-";

/// Groups that go along: headers must fit one frame, and a letter with more is counted by its first ones.
pub const GROUPS_MAX: usize = 16;

/// What a replayed delivery says of itself: its outcome is an attempt at that letter, and no letter of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub letter: Ulid,
    pub attempt: u32,
    pub job: Option<Ulid>,
    /// Of the letter, the primary one first; at most [`GROUPS_MAX`] when it came through a broker.
    pub groups: Vec<GroupId>,
}

impl Lineage {
    /// The lineage that `message` carries. `None`: it is no replay, or what it says cannot be one. Anybody can write such
    /// headers, so nothing is believed of them but what has the right form.
    pub fn of(message: &Message) -> Option<Self> {
        let letter = id(header(message, ID)?)?;
        let attempt = header(message, ATTEMPT).and_then(number).and_then(|number| u32::try_from(number).ok());
        let groups = header(message, GROUPS).and_then(text).unwrap_or_default();
        let groups = groups.split(',').filter_map(GroupId::parse).take(GROUPS_MAX).collect();
        Some(Self {
            letter,
            attempt: attempt.filter(|attempt| *attempt > 0)?,
            job: header(message, JOB).and_then(id),
            groups,
        })
    }
}

/// How often `message` was sent back by replays already.
pub fn hops(message: &Message) -> u64 {
    header(message, HOPS).and_then(number).unwrap_or(0)
}

/// The last header of that name: RabbitMQ keeps names that are repeated, and a writer that adds one adds it at the end.
fn header<'a>(message: &'a Message, name: &str) -> Option<&'a HeaderValue> {
    let headers = message.properties.headers.as_deref()?;
    headers.iter().rev().find(|(header, _)| header == name).map(|(_, value)| value)
}

fn text(value: &HeaderValue) -> Option<&str> {
    match value {
        HeaderValue::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn id(value: &HeaderValue) -> Option<Ulid> {
    text(value)?.parse().ok()
}

/// Any integer that is not negative, whatever its width: brokers change that on the way.
fn number(value: &HeaderValue) -> Option<u64> {
    match *value {
        HeaderValue::I8(number) => u64::try_from(number).ok(),
        HeaderValue::U8(number) => Some(number.into()),
        HeaderValue::I16(number) => u64::try_from(number).ok(),
        HeaderValue::U16(number) => Some(number.into()),
        HeaderValue::I32(number) => u64::try_from(number).ok(),
        HeaderValue::U32(number) => Some(number.into()),
        HeaderValue::I64(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Properties;

    fn message(headers: &[(&str, HeaderValue)]) -> Message {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Message {
            properties: Properties { headers: Some(headers), ..Properties::default() }.into(),
            ..Message::default()
        }
    }

    fn text(text: &str) -> HeaderValue {
        HeaderValue::Text(text.as_bytes().to_vec())
    }

    const LETTER: &str = "01J9ZK3V5E8W2Q4R6T8Y0A1B2C";

    #[test]
    fn what_a_replay_says_of_itself_is_read_whatever_the_width_of_its_numbers() {
        for attempt in [HeaderValue::I64(2), HeaderValue::I32(2), HeaderValue::U8(2)] {
            let groups = text("1-dc573f3993ed91d0,1-d140ff6410353417");
            let job = text("01J9ZK3V5E8W2Q4R6T8Y0A1B2D");
            let headers = [(ID, text(LETTER)), (ATTEMPT, attempt), (JOB, job), (GROUPS, groups)];
            let lineage = Lineage::of(&message(&headers)).expect("a replay");
            assert_eq!((lineage.letter.to_string().as_str(), lineage.attempt), (LETTER, 2));
            assert_eq!(lineage.job.map(|job| job.to_string()).as_deref(), Some("01J9ZK3V5E8W2Q4R6T8Y0A1B2D"));
            let groups: Vec<_> = lineage.groups.iter().map(GroupId::as_str).collect();
            assert_eq!(groups, ["1-dc573f3993ed91d0", "1-d140ff6410353417"]);
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_lineage_is_none() {
        let attempt = (ATTEMPT, HeaderValue::I64(2));
        let none: [&[(&str, HeaderValue)]; 6] = [
            &[],
            std::slice::from_ref(&attempt),
            &[(ID, text("no ulid")), attempt.clone()],
            &[(ID, HeaderValue::I64(1)), attempt.clone()],
            &[(ID, text(LETTER)), (ATTEMPT, HeaderValue::I64(-1))],
            &[(ID, text(LETTER)), (ATTEMPT, HeaderValue::I64(0))],
        ];
        for headers in none {
            assert_eq!(Lineage::of(&message(headers)), None, "{headers:?}");
        }
        assert_eq!(Lineage::of(&Message::default()), None);
    }

    #[test]
    fn without_job_and_groups_it_is_a_lineage_all_the_same() {
        let lineage = Lineage::of(&message(&[(ID, text(LETTER)), (ATTEMPT, HeaderValue::I64(1))]));
        let lineage = lineage.expect("a replay");
        assert_eq!((lineage.job, lineage.groups), (None, Vec::new()));
    }

    #[test]
    fn hops_that_cannot_be_read_are_none() {
        assert_eq!(hops(&message(&[(HOPS, HeaderValue::I32(4))])), 4);
        assert_eq!([hops(&message(&[(HOPS, text("4"))])), hops(&Message::default())], [0, 0]);
    }
}
