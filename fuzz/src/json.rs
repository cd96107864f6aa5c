//! JSON bodies, held against serde_json.

use std::fmt;

use parqueduct::decode::{JsonDecoder, Limits};
use parqueduct::rejection::Code;
use parqueduct::value::{Node, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{check_places, text_of};

const LIMITS: Limits = Limits { body_bytes_max: 150, depth_max: 8 };

/// What is accepted says the same to serde_json, and is written back as JSON that says it again; what is refused is refused
/// by serde_json, or for a reason of our own that is really there.
pub fn json(body: &[u8]) {
    let mut decoder = JsonDecoder::new(LIMITS);
    let decoded = decoder.decode(body, |tape| {
        let theirs: Json = serde_json::from_slice(body).expect("what we take is JSON");
        check_same(tape.root(), &theirs);
        text_of(tape, LIMITS.depth_max - 1)
    });
    match decoded {
        Ok(text) => {
            let wide = Limits { body_bytes_max: 6 * LIMITS.body_bytes_max, ..LIMITS };
            let again = JsonDecoder::new(wide).decode(text.as_bytes(), |tape| text_of(tape, LIMITS.depth_max));
            assert_eq!(again.expect("what we write we take"), text);
        }
        Err(rejection) => {
            check_places(&rejection, body);
            check_reason(rejection.code(), body);
        }
    }
    // Whatever it was, nothing is left of it.
    let next = decoder.decode(b"{\"a\":[-1.50]}", |tape| text_of(tape, LIMITS.depth_max));
    assert_eq!(next.expect("a document"), "{\"a\":[-1.50]}");
}

fn check_reason(code: Code, body: &[u8]) {
    let mut facts = Facts::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let theirs =
        Reading { facts: &mut facts, depth: 0 }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let there = match code {
        Code::FrameTooLarge => body.len() > LIMITS.body_bytes_max,
        Code::FrameEmpty => body.iter().all(u8::is_ascii_whitespace),
        Code::JsonDuplicateKey => theirs.is_ok() && facts.repeats,
        Code::JsonDepth => theirs.is_err() || facts.depth > LIMITS.depth_max,
        Code::JsonNumberRange => theirs.is_err() || facts.is_wide,
        _ => theirs.is_err(),
    };
    assert!(there, "{code:?}: {theirs:?}");
}

pub(super) fn check_same(ours: Value<'_>, theirs: &Json) {
    match (ours.node(), theirs) {
        (Node::Null, Json::Null) => {}
        (Node::Bool(ours), Json::Bool(theirs)) => assert_eq!(ours, *theirs),
        (Node::Str(ours), Json::String(theirs)) => assert_eq!(ours, theirs),
        (Node::I64(ours), Json::Number(theirs)) => assert_eq!(Some(ours), theirs.as_i64()),
        (Node::U64(ours), Json::Number(theirs)) => assert_eq!(Some(ours), theirs.as_u64()),
        (Node::F64 { value, .. }, Json::Number(theirs)) => {
            let text = ours.number_text().expect("it is kept");
            assert_eq!(text.parse::<f64>().expect("a number").to_bits(), value.to_bits(), "{text}");
            // Which may round by the way.
            let theirs = theirs.as_f64().expect("a number");
            assert!((theirs - value).abs() <= value.abs() * 1e-14 + 1e-300, "{value} {theirs}");
        }
        (Node::Array { .. }, Json::Array(theirs)) => {
            assert_eq!(ours.elements().count(), theirs.len());
            ours.elements().zip(theirs).for_each(|(ours, theirs)| check_same(ours, theirs));
        }
        (Node::Object { .. }, Json::Object(theirs)) => {
            assert_eq!(ours.members().count(), theirs.len());
            for ((name, ours), (their_name, theirs)) in ours.members().zip(theirs) {
                assert_eq!(name, their_name);
                check_same(ours, theirs);
            }
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs}"),
    }
}

/// What serde_json sees in a document and does not mind.
#[derive(Default)]
struct Facts {
    depth: usize,
    repeats: bool,
    /// There is a number that may be an integer of more than 64 bits.
    is_wide: bool,
}

struct Reading<'f> {
    facts: &'f mut Facts,
    depth: usize,
}

impl Reading<'_> {
    fn deeper(&mut self) -> Reading<'_> {
        self.facts.depth = self.facts.depth.max(self.depth + 1);
        Reading { facts: self.facts, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.facts.is_wide |= value.abs() >= 9.2e18;
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        // An empty one counts.
        self.deeper();
        while elements.next_element_seed(self.deeper())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.deeper();
        let mut names: Vec<String> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            self.facts.repeats |= names.contains(&name);
            names.push(name);
            members.next_value_seed(self.deeper())?;
        }
        Ok(())
    }
}
