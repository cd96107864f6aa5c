//! What fuzzing holds the program to: a function for each target, which takes any bytes and panics where a promise is
//! broken. `fuzz_targets/` hands them to libFuzzer, and `tests/it/fuzz.rs` replays the corpora with them. Pure.
//!
//! A promise is checked against another implementation wherever there is one, and else against itself: what was written is
//! read back, what came in pieces is what came at once.

pub mod avro;
pub mod bytes; // parts of any bytes
pub mod cloud_events;
pub mod config;
pub mod confluent;
pub mod content;
pub mod fix;
pub mod headers;
pub mod json;
pub mod json_schema;
pub mod mender;
pub mod msgpack;
pub mod pointer;
pub mod protobuf;
pub mod registry;

use parqueduct::rejection::Rejection;
use parqueduct::value::{Node, Tape, Value};

/// What a target does with any bytes.
pub type Run = fn(&[u8]);

/// Each target with the longest input that is tried, in bytes; `scripts/fuzz` reads this list, too. What a target can meet
/// is met in inputs that are short, and short ones are fast.
pub const TARGETS: &[(&str, Run, usize)] = &[
    ("json", json::json, 192),
    ("msgpack", msgpack::msgpack, 128),
    ("avro", avro::avro, 128),
    ("avro_schema", avro::avro_schema, 512),
    ("protobuf", protobuf::protobuf, 128),
    ("protobuf_schema", protobuf::protobuf_schema, 512),
    ("confluent", confluent::confluent, 96),
    ("cloud_events", cloud_events::cloud_events, 256),
    ("content", content::content, 160),
    ("json_schema", json_schema::json_schema, 128),
    ("mender", mender::mender, 256),
    ("headers", headers::headers, 192),
    ("pointer", pointer::pointer, 96),
    ("registry", registry::registry, 256),
    ("fix", fix::fix, 384),
    ("config", config::config, 768),
];

/// The tape as JSON text, once it is seen to hold together: containers end where their contents do, and no name stands
/// twice. No deeper than `depth_max`, save that one value of a format may become an object.
fn text_of(tape: &Tape<'_>, depth_max: usize) -> String {
    assert_eq!(walk(tape.root(), depth_max + 1) as usize, tape.view().nodes.len(), "one value is the whole tape");
    let mut out = Vec::new();
    tape.root().write_json(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The first node after `value`.
fn walk(value: Value<'_>, depth_left: usize) -> u32 {
    let mut end = value.index() + 1;
    match value.node() {
        Node::Array { .. } => {
            assert!(depth_left > 0, "as deep as the limit allows");
            for element in value.elements() {
                assert_eq!(element.index(), end);
                end = walk(element, depth_left - 1);
            }
        }
        Node::Object { .. } => {
            assert!(depth_left > 0, "as deep as the limit allows");
            let mut names = Vec::new();
            for (name, member) in value.members() {
                assert!(!names.contains(&name), "a name once");
                names.push(name);
                assert_eq!(member.index(), end + 1);
                end = walk(member, depth_left - 1);
            }
        }
        _ => {}
    }
    assert_eq!(end, value.end());
    end
}

/// A place of a rejected body lies in that body.
fn check_places(rejection: &Rejection, body: &[u8]) {
    for issue in rejection.issues() {
        assert!(issue.offset.is_none_or(|offset| offset <= body.len() as u64), "{issue:?}");
    }
}
