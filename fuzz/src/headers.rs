//! AMQP headers as JSON, and back.

use parqueduct::event::HeaderValue;
use parqueduct::headers::{from_json, from_tagged, tag, to_json, value_json};

use super::bytes::Bytes;

/// Any headers are written as JSON and come back bit for bit; any text that is read as headers is written as a text that
/// says the same.
pub fn headers(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let headers = match choice % 2 {
        0 => Bytes(rest).table(4),
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let Ok(headers) = from_json(text) else { return };
            headers
        }
    };
    let text = to_json(&headers);
    let shape = serde_json::from_str::<serde_json::Value>(&text);
    assert!(shape.is_ok_and(|shape| shape.is_object()), "{text}");
    let back = from_json(&text).expect("what was written is read");
    check_same(&back, &headers);
    assert_eq!(to_json(&back), text);
    for (_, value) in &headers {
        let back = from_tagged(tag(value), &value_json(value)).expect("what was written is read");
        check_same(&[(String::new(), back)], &[(String::new(), value.clone())]);
    }
}

/// Compared as text, for a float that is not a number equals nothing, itself included.
fn check_same(ours: &[(String, HeaderValue)], theirs: &[(String, HeaderValue)]) {
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}
