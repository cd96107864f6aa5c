//! Fixes of dead letters.

use parqueduct::decode::Wire;
use parqueduct::event::{HeaderValue, Message, Properties};
use parqueduct::replay::fix::{Fix, diff};
use serde::de::IgnoredAny;

/// What is wrong with a fix is said by line; a fix is what it is each time it is read; it is done whole or not at all, the
/// same way each time, and what comes out is JSON.
pub fn fix(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, body) = text.split_once('\u{1}').unwrap_or((text, "{\"a\":[1,\"2\",{\"b\":null}],\"c\":\"1.50\"}"));
    let fix = match Fix::parse(text, "fix.toml") {
        Ok(fix) => fix,
        Err(error) => {
            assert!(!error.findings.is_empty());
            let lines = text.split('\n').count();
            for finding in &error.findings {
                assert!((1..=lines).contains(&finding.line), "{finding:?}");
            }
            assert_eq!(error.to_string().lines().count(), error.findings.len(), "{error}");
            return;
        }
    };
    let again = Fix::parse(text, "fix.toml").expect("it was one before");
    assert_eq!(again.hash(), fix.hash());
    let steps = fix.describe();
    assert!(steps.iter().all(|step| !step.contains('\n')), "{steps:?}");
    if steps.iter().any(|step| step.starts_with("jq: ")) {
        // Programs run in a process of their own.
        return;
    }
    let before = message(body);
    let mut after = before.clone();
    match fix.change(&mut after) {
        Err(failure) => {
            assert_eq!(after, before, "not at all");
            assert!(!failure.to_string().contains('\n'), "{failure}");
            assert_eq!(fix.apply(&before), Err(failure));
        }
        Ok(()) => {
            assert_eq!(fix.apply(&before).as_ref(), Ok(&after));
            if after.body != before.body {
                // Deeper ones serde_json does not read.
                let depth = after.body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
                assert!(depth > 100 || serde_json::from_slice::<IgnoredAny>(&after.body).is_ok());
            }
            let changes = diff(&before, &after, &Wire::Json.into());
            assert!(after != before || changes.is_empty(), "{changes:?}");
        }
    }
}

fn message(body: &str) -> Message {
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        headers: Some(vec![
            ("x-source".to_owned(), HeaderValue::Text(b"atc".to_vec())),
            ("x-attempt".to_owned(), HeaderValue::I64(3)),
        ]),
        message_id: Some("m-1".to_owned()),
        timestamp: Some(1_356_998_400),
        ..Properties::default()
    };
    let body = body.as_bytes().to_vec();
    Message {
        body,
        exchange: "flights".to_owned(),
        routing_key: "jfk".to_owned(),
        properties: properties.into(),
        ..Message::default()
    }
}
