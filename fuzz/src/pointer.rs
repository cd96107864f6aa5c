//! JSON pointers (RFC 6901), held against serde_json.

use parqueduct::decode::{JsonDecoder, Limits};
use parqueduct::value::{Pointer, push_segment};

const LIMITS: Limits = Limits { body_bytes_max: 1000, depth_max: 32 };

/// A pointer that is taken is made of its segments again, and leads where serde_json says that it leads.
pub fn pointer(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, document) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(pointer) = Pointer::parse(text) else {
        assert!(!text.is_empty() && (!text.starts_with('/') || text.contains('~')), "{text:?}");
        return;
    };
    let mut again = String::new();
    pointer.segments().iter().for_each(|segment| push_segment(&mut again, segment));
    assert_eq!(again, text);
    assert_eq!(pointer.as_str(), text);
    let Ok(theirs) = serde_json::from_str::<serde_json::Value>(document) else { return };
    let _refused = JsonDecoder::new(LIMITS).decode(document.as_bytes(), |tape| {
        let ours = tape.root().pointer(pointer.segments());
        let theirs = theirs.pointer(text);
        assert_eq!(ours.is_some(), theirs.is_some(), "{text:?} in {document:?}");
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            super::json::check_same(ours, theirs);
        }
    });
}
