//! What is wrong, in a sentence a person understands. Made of what a group is made of: it never holds a value of an
//! event.

use super::fingerprint::{Place, Signature};
use crate::event::Unreadable;
use crate::rejection::Code;

/// The sentence of a group or an issue: `` `/arrival/delay_min` is null, the schema asks for integer ``.
pub fn of(signature: &Signature<'_>) -> String {
    let Signature { code, path, expected, actual, place } = *signature;
    let Some(code) = Code::parse(code) else { return of_unknown(signature) };
    let subject = if path.is_empty() { "the event".to_owned() } else { format!("`{path}`") };
    match code {
        Code::ValidateType if !actual.is_empty() => {
            let is = format!("{subject} is {}", article(actual));
            if expected.is_empty() { is } else { format!("{is}, the schema asks for {expected}") }
        }
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
        Code::AmqpText if path == Unreadable::HEADERS => "the name of a header is not UTF-8".to_owned(),
        Code::AmqpText => format!("{subject} of the message is not UTF-8"),
        Code::JsonTruncated | Code::JsonDuplicateKey => code.sentence().to_owned(),
        Code::JsonSyntax | Code::JsonTrailing if !expected.is_empty() && !actual.is_empty() => {
            placed(format!("{}: {actual} where {expected} should stand", code.sentence()), place)
        }
        Code::BrokerRejected | Code::BrokerExpired | Code::BrokerMaxlen | Code::BrokerDeliveryLimit
            if path.is_empty() =>
        {
            format!("{}, in queue `{actual}`", code.sentence())
        }
        _ if path.is_empty() => placed(with(code.sentence(), expected, actual), place),
        _ => format!("{subject}: {}", with(code.sentence(), expected, actual)),
    }
}

/// `sentence` of a body, with where in it.
fn placed(sentence: String, place: Option<Place>) -> String {
    match place {
        Some(Place::Start) => sentence + ", at its first byte",
        Some(Place::End) => sentence + ", at its end",
        Some(Place::Middle) | None => sentence,
    }
}

/// `actual` as a noun: `null`, `an array`.
fn article(actual: &str) -> String {
    match actual {
        "array" | "integer" | "object" => format!("an {actual}"),
        "boolean" | "number" | "string" => format!("a {actual}"),
        _ => actual.to_owned(),
    }
}

fn with(sentence: &str, expected: &str, actual: &str) -> String {
    match (expected.is_empty(), actual.is_empty()) {
        (true, true) => sentence.to_owned(),
        (true, false) => format!("{sentence} (found {actual})"),
        (false, true) => format!("{sentence} (expected {expected})"),
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
            "the event is an array, the schema asks for object"
        );
        assert_eq!(sentence(Code::ValidateRequired, "/tailnum", "", ""), "field `/tailnum` is missing");
        let surplus = sentence(Code::ValidateAdditionalProperties, "/ccy", "", "");
        assert_eq!(surplus, "field `/ccy` is not declared, and the schema allows no others");
        let format = sentence(Code::ValidateFormat, "/at", "date-time", "string");
        assert_eq!(format, "`/at` is not in the format date-time");
        let minimum = sentence(Code::ValidateMinimum, "/n", "0", "");
        assert_eq!(minimum, "`/n`: a number is below its minimum (expected 0)");
        let id = sentence(Code::EventIdMissing, "/id", "", "");
        assert_eq!(id, "field `/id` is missing: the event has no id where the pipeline looks for it");
    }

    #[test]
    fn a_body_that_cannot_be_decoded_says_where_it_breaks() {
        let broken =
            |actual, offset| of(&Signature::new("decode.json.syntax", "/x", "a value", actual, Some(offset), 10));
        let page = "the body is not JSON: an HTML page where a value should stand, at its first byte";
        assert_eq!(broken("an HTML page", 0), page);
        assert_eq!(broken("a word", 5), "the body is not JSON: a word where a value should stand");
        assert_eq!(broken("", 10), "the body is not JSON (expected a value), at its end");
        let cut = Signature::new("decode.json.truncated", "", "a colon", "the end of the body", Some(10), 10);
        assert_eq!(of(&cut), "the body ends in the middle of a JSON document");
    }

    #[test]
    fn names_beyond_utf8_are_told_by_where_they_are() {
        let broken = |path| sentence(Code::AmqpText, path, "UTF-8", "other bytes");
        assert_eq!(broken("message_id"), "`message_id` of the message is not UTF-8");
        assert_eq!(broken("headers"), "the name of a header is not UTF-8");
        let all = sentence(Code::AmqpProperties, "", "", "");
        assert_eq!(all, "the properties of the message cannot be read, or nest too deep");
    }

    #[test]
    fn every_code_has_a_sentence_and_an_unknown_one_is_named() {
        for code in Code::ALL {
            let sentence = sentence(*code, "/a", "x", "y");
            let of_a_body = code.as_str().starts_with("decode.") && *code != Code::AmqpText;
            assert_ne!(sentence.contains("/a"), of_a_body, "{sentence}");
            assert!(!sentence.is_empty() && !sentence.contains("  "), "{sentence}");
        }
        let newer = Signature::new("validate.newer", "/a", "x", "y", None, 0);
        assert_eq!(of(&newer), "`/a`: validate.newer (expected x, found y)");
    }
}
