//! What a schema registry answers.

use parqueduct::registry::answer::{SchemaAnswer, read};

/// Only what a registry says in its own words is a verdict; what is none tells the status, and nothing of the body.
pub fn registry(input: &[u8]) {
    let Some((status, body)) = input.split_first_chunk() else { return };
    let status = match u16::from_be_bytes(*status) {
        // Most of what can be told apart is in these.
        odd if odd % 4 == 1 => 404,
        odd if odd % 4 == 2 => odd % 700,
        _ => 200,
    };
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match read::<SchemaAnswer>(status, body) {
        Ok(Some(answer)) => {
            assert_eq!(status, 200);
            let json = json.expect("an answer is JSON");
            assert_eq!(json["schema"].as_str(), Some(&*answer.text));
            let references = json.get("references").and_then(|references| references.as_array());
            assert_eq!(references.map_or(0, Vec::len), answer.references.len());
        }
        Ok(None) => {
            assert_eq!(status, 404);
            assert!(json.is_some_and(|json| matches!(json["error_code"].as_u64(), Some(40401..=40403))));
        }
        Err(trouble) => {
            let bare = read::<SchemaAnswer>(status, b"").expect_err("nothing is no answer");
            assert_eq!(trouble, bare);
        }
    }
}
