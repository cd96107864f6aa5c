//! What is wrong, in a sentence a person understands. Made of what a group is made of: it never holds a value of an
//! event.

use super::fingerprint::{Place, Signature};
use crate::rejection::Code;

/// The sentence of a group or an issue: `` `/arrival/delay_min` is null, the schema asks for integer ``.
pub fn of(signature: &Signature<'_>) -> String {
    let Signature { code, path, expected, actual, place } = *signature;
    let Some(code) = Code::parse(code) else { return of_unknown(signature) };
    let subject = if path.is_empty() { "the event".to_owned() } else { format!("`{path}`") };
    match code {
        Code::ValidateType if !actual.is_empty() => with(&format!("{subject} is {actual}"), expected, ""),
        Code::ValidateRequired => format!("field {subject} is missing"),
        Code::ValidateDependentRequired => format!("field {subject} is missing, and another field requires it"),
        Code::ValidateAdditionalProperties | Code::ValidateUnevaluatedProperties => {
            format!("field {subject} is not declared, and the schema allows no others")
        }
        Code::ValidateEnum => format!("{subject} is not one of the values allowed"),
        Code::ValidateConst => format!("{subject} is not the value allowed"),
        Code::ValidatePattern => format!("{subject} does not match its pattern"),
        Code::ValidateFormat if !expected.is_empty() => format!("{subject} is not in the format {expected}"),
        Code::EventIdMissing | Code::EventTimeMissing | Code::PartitionMissing if !path.is_empty() => {
            format!("field {subject} is missing: {}", code.sentence())
        }
        _ => {
            let sentence = with(code.sentence(), expected, actual);
            let sentence = if path.is_empty() { sentence } else { format!("{subject}: {sentence}") };
            match place {
                Some(Place::Start) => format!("{sentence}, from its first byte"),
                Some(Place::End) => format!("{sentence}, at its end"),
                Some(Place::Middle) | None => sentence,
            }
        }
    }
}

fn with(sentence: &str, expected: &str, actual: &str) -> String {
    match (expected.is_empty(), actual.is_empty()) {
        (true, true) => sentence.to_owned(),
        (true, false) => format!("{sentence} (found {actual})"),
        (false, true) => format!("{sentence}, the schema asks for {expected}"),
        (false, false) => format!("{sentence} (expected {expected}, found {actual})"),
    }
}

/// Of a code that only a newer program knows.
fn of_unknown(signature: &Signature<'_>) -> String {
    let Signature { code, path, expected, actual, .. } = *signature;
    let sentence = with(code, expected, actual);
    if path.is_empty() { sentence } else { format!("`{path}`: {sentence}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(code: Code, path: &str, expected: &str, actual: &str) -> String {
        of(&Signature::new(code.as_str(), path, expected, actual, None, 0))
    }

    #[test]
    fn the_common_failures_read_as_sentences() {
        let delay = sentence(Code::ValidateType, "/arrival/delay_min", "integer", "null");
        assert_eq!(delay, "`/arrival/delay_min` is null, the schema asks for integer");
        assert_eq!(
            sentence(Code::ValidateType, "", "object", "array"),
            "the event is array, the schema asks for object"
        );
        assert_eq!(sentence(Code::ValidateRequired, "/tailnum", "", ""), "field `/tailnum` is missing");
        let surplus = sentence(Code::ValidateAdditionalProperties, "/ccy", "", "");
        assert_eq!(surplus, "field `/ccy` is not declared, and the schema allows no others");
        let format = sentence(Code::ValidateFormat, "/at", "date-time", "string");
        assert_eq!(format, "`/at` is not in the format date-time");
        let minimum = sentence(Code::ValidateMinimum, "/n", "0", "");
        assert_eq!(minimum, "`/n`: a number is below its minimum, the schema asks for 0");
        let id = sentence(Code::EventIdMissing, "/id", "", "");
        assert_eq!(id, "field `/id` is missing: the event has no id where the pipeline looks for it");
    }

    #[test]
    fn a_body_that_cannot_be_decoded_says_where_it_breaks() {
        let broken = |offset| of(&Signature::new("decode.json.syntax", "", "", "", Some(offset), 10));
        assert_eq!(broken(0), "the body is not JSON, from its first byte");
        assert_eq!(broken(5), "the body is not JSON");
        assert_eq!(broken(10), "the body is not JSON, at its end");
    }

    #[test]
    fn every_code_has_a_sentence_and_an_unknown_one_is_named() {
        for code in Code::ALL {
            let sentence = sentence(*code, "/a", "x", "y");
            assert!(sentence.contains("/a") && !sentence.contains("  "), "{sentence}");
        }
        let newer = Signature::new("decode.newer", "/a", "x", "y", None, 0);
        assert_eq!(of(&newer), "`/a`: decode.newer (expected x, found y)");
    }
}
