//! Protobuf bodies and schemas, held against prost-reflect.

use std::sync::{Arc, LazyLock};

use parqueduct::decode::{Limits, ProtobufDecoder};
use parqueduct::rejection::{Code, Rejection};
use parqueduct::schema::protobuf::{Source, Types};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::{check_places, text_of};

const LIMITS: Limits = Limits { body_bytes_max: 120, depth_max: 8 };

/// Every kind of field, each as few bytes as may be; the first byte of an input chooses the file.
const FILES: [&str; 2] = [
    r#"
syntax = "proto3";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message All {
  bool b = 1; int32 i = 2; sint64 s = 3; fixed32 f = 4; sfixed64 g = 5; uint64 u = 6; float h = 7; double d = 8;
  string t = 9; bytes y = 10; Colour c = 11; All all = 12; repeated sint32 packed = 13; repeated string texts = 14;
  map<string, All> by_name = 15; map<int32, Colour> by_number = 16; optional int64 o = 17;
  oneof one { string left = 18; All right = 19; }
  google.protobuf.Any any = 20; google.protobuf.Duration duration = 21; google.protobuf.FieldMask mask = 22;
  google.protobuf.Struct struct = 23; google.protobuf.Value value = 24; google.protobuf.ListValue list = 25;
  google.protobuf.Timestamp at = 26; google.protobuf.Int64Value wrapped = 27; map<bool, bytes> by_bool = 28;
  enum Colour { RED = 0; GREEN = 1; BLUE = -1; }
}"#,
    r#"
syntax = "proto2";
message Old {
  required int32 id = 1; optional string name = 2 [default = "none"]; repeated int32 loose = 3;
  repeated group Part = 4 { optional int32 n = 5; optional Old old = 6; }
  extensions 100 to 199;
}
extend Old { optional string more = 100; repeated Old olds = 101; }"#,
];

static TYPES: LazyLock<Vec<Arc<Types>>> = LazyLock::new(|| {
    let types = |file: &&str| {
        let source = Source::parse(file, &[]).expect("a file");
        Arc::new(source.message(&[0]).expect("its first message"))
    };
    FILES.iter().map(types).collect()
});

/// What is taken prost-reflect takes, and it says the same once that has encoded it anew; what prost-reflect takes is
/// refused for what its types say, or for what JSON cannot hold.
pub fn protobuf(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let types = &TYPES[usize::from(*choice) % TYPES.len()];
    let mut decoder = ProtobufDecoder::new(Arc::clone(types), LIMITS);
    let decoded = decoder.decode(body, |tape| text_of(tape, LIMITS.depth_max));
    let theirs = DynamicMessage::decode(types.message().clone(), body);
    match decoded {
        Ok(text) => {
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            let anew = theirs.expect("what we take is a message").encode_to_vec();
            // Of defaults there is nothing left.
            if !anew.is_empty() {
                let wide = Limits { body_bytes_max: 4 * LIMITS.body_bytes_max, ..LIMITS };
                let again =
                    ProtobufDecoder::new(Arc::clone(types), wide).decode(&anew, |tape| text_of(tape, LIMITS.depth_max));
                // A zero below zero is the default to prost-reflect, which does not write that.
                let plain = |text: &str| text.replace("-0.0", "0.0");
                assert_eq!(plain(&again.expect("the same message")), plain(&text));
            }
        }
        Err(rejection) => check_refusal(&rejection, body, theirs.is_ok()),
    }
}

fn check_refusal(rejection: &Rejection, body: &[u8], is_message: bool) {
    check_places(rejection, body);
    let code = rejection.code();
    assert_eq!(code == Code::FrameEmpty, body.is_empty());
    assert_eq!(code == Code::FrameTooLarge, body.len() > LIMITS.body_bytes_max);
    assert!(!is_message || !matches!(code, Code::BinaryTruncated | Code::BinaryUtf8), "{rejection:?}");
}

/// A file or a descriptor set that is taken gives types that are taken again from the set that goes along with dead
/// letters; and the decoder takes them for whatever bytes.
pub fn protobuf_schema(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let set = match choice % 2 {
        0 => rest.to_vec(),
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let Ok(source) = Source::parse(text, &[]) else { return };
            let again = Source::of_set(source.set()).expect("what we write we read");
            for place in 0..4 {
                let (one, other) = (source.message(&[place]), again.message(&[place]));
                assert_eq!(one.map(|types| types.json_schema()), other.map(|types| types.json_schema()));
            }
            source.set().to_vec()
        }
    };
    // prost-reflect panics over any other syntax, and so it is not asked.
    let files = FileDescriptorSet::decode(set.as_slice()).map(|set| set.file).unwrap_or_default();
    if files.iter().any(|file| file.syntax.as_deref().is_some_and(|syntax| !matches!(syntax, "proto2" | "proto3"))) {
        assert!(Types::parse(&set, "M").is_err() && Source::of_set(&set).is_err());
        return;
    }
    let Ok(pool) = DescriptorPool::decode(set.as_slice()) else {
        assert!(Types::parse(&set, "M").is_err() && Source::of_set(&set).is_err());
        return;
    };
    for message in pool.all_messages().take(4) {
        let Ok(types) = Types::parse(&set, message.full_name()) else { continue };
        assert_eq!(types.set(), set);
        assert!(types.json_schema().is_object() && types.json_schema_of_others().is_object());
        let mut decoder = ProtobufDecoder::new(Arc::new(types), LIMITS);
        for body in [&[8, 1, 16, 1][..], &[10, 2, 8, 1], &[0x0d, 0, 0, 0x80, 0x3f]] {
            let decoded = decoder.decode(body, |tape| text_of(tape, LIMITS.depth_max));
            decoded.map_or_else(|rejection| check_places(&rejection, body), drop);
        }
    }
}
