//! Why an event cannot be archived. A rejection is data, not an error: `?` cannot carry it away.

use std::fmt;

/// Declares the closed set of rejection codes with their text and stage, so that a new code is one line.
macro_rules! codes {
    ($($variant:ident $text:literal $stage:ident $sentence:literal,)+) => {
        /// The closed set of reasons; a metric label and a part of every group. Texts never change once released.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $($variant,)+ }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The stable text, as in metrics, dead letters and the documentation.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }

            /// The stage of the way at which it arises.
            pub const fn stage(self) -> Stage {
                match self { $(Code::$variant => Stage::$stage,)+ }
            }

            /// What it means, for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Code::$variant => $sentence,)+ }
            }

            /// The code of that text.
            pub fn parse(text: &str) -> Option<Code> {
                match text { $($text => Some(Code::$variant),)+ _ => None }
            }
        }
    };
}

codes! {
    FrameEmpty "frame.empty" Frame "the message has no body",
    FrameTooLarge "frame.too_large" Frame "the body is larger than the pipeline allows",
    AmqpText "decode.amqp_text" Decode "a name or a property of the message is not UTF-8",
    AmqpProperties "decode.amqp_properties" Decode "the properties of the message cannot be read, or nest too deep",
    ContentEncoding "decode.content_encoding" Decode "the body is not compressed as its content_encoding says",
    Format "decode.format" Decode "nothing tells of which format the body is, or the schema is not for that",
    Framing "decode.framing" Decode "the body does not begin as the pipeline's framing does",
    CloudEventsAbsent "decode.cloudevents.absent" Decode "the message is no CloudEvent",
    CloudEventsBatch "decode.cloudevents.batch" Decode "the message is a batch of CloudEvents, and not one",
    CloudEventsFormat "decode.cloudevents.format" Decode "the CloudEvent is in an event format other than JSON",
    CloudEventsRequired "decode.cloudevents.required" Decode "a required attribute of the CloudEvent is missing",
    CloudEventsAttribute "decode.cloudevents.attribute" Decode "an attribute of the CloudEvent is not what it has to be",
    CloudEventsData "decode.cloudevents.data" Decode "the data of the CloudEvent are missing, doubled or not readable",
    JsonSyntax "decode.json.syntax" Decode "the body is not JSON",
    JsonTruncated "decode.json.truncated" Decode "the body ends in the middle of a JSON document",
    JsonTrailing "decode.json.trailing" Decode "the body holds something after its JSON document",
    JsonUtf8 "decode.json.utf8" Decode "the body is not valid UTF-8",
    JsonDuplicateKey "decode.json.duplicate_key" Decode "an object repeats a name",
    JsonDepth "decode.json.depth" Decode "the document is nested deeper than the pipeline allows",
    JsonNumberRange "decode.json.number_range" Decode "a number is beyond what 64 bits hold",
    BinaryTruncated "decode.binary.truncated" Decode "the body ends in the middle of a value",
    BinaryInvalid "decode.binary.invalid" Decode "the body is not of its format",
    BinaryTrailing "decode.binary.trailing" Decode "the body holds something after its value",
    BinaryUtf8 "decode.binary.utf8" Decode "a text in the body is not valid UTF-8",
    BinaryKey "decode.binary.key" Decode "a map has a key that cannot be a name",
    BinaryDuplicateKey "decode.binary.duplicate_key" Decode "a map repeats a key",
    BinaryDepth "decode.binary.depth" Decode "the value is nested deeper than the pipeline allows",
    BinaryNumber "decode.binary.number" Decode "a number is infinite, or not a number",
    SchemaUnknown "schema.unknown" Schema "no schema is known for the event",
    ValidateType "validate.type" Validate "a value has the wrong type",
    ValidateRequired "validate.required" Validate "a required field is missing",
    ValidateEnum "validate.enum" Validate "a value is not one of those allowed",
    ValidateConst "validate.const" Validate "a value is not the one allowed",
    ValidateFormat "validate.format" Validate "a string does not have the format the schema asks for",
    ValidatePattern "validate.pattern" Validate "a string does not match its pattern",
    ValidateMinLength "validate.minLength" Validate "a string is too short",
    ValidateMaxLength "validate.maxLength" Validate "a string is too long",
    ValidateMinimum "validate.minimum" Validate "a number is below its minimum",
    ValidateMaximum "validate.maximum" Validate "a number is above its maximum",
    ValidateExclusiveMinimum "validate.exclusiveMinimum" Validate "a number is not above its exclusive minimum",
    ValidateExclusiveMaximum "validate.exclusiveMaximum" Validate "a number is not below its exclusive maximum",
    ValidateMultipleOf "validate.multipleOf" Validate "a number is not a multiple of what the schema asks for",
    ValidateMinItems "validate.minItems" Validate "an array has too few elements",
    ValidateMaxItems "validate.maxItems" Validate "an array has too many elements",
    ValidateUniqueItems "validate.uniqueItems" Validate "an array repeats an element",
    ValidateContains "validate.contains" Validate "an array lacks an element the schema asks for",
    ValidateAdditionalProperties "validate.additionalProperties" Validate "a field is not declared, and the schema allows no others",
    ValidateUnevaluatedProperties "validate.unevaluatedProperties" Validate "a field is not covered by any part of the schema",
    ValidateUnevaluatedItems "validate.unevaluatedItems" Validate "an element is not covered by any part of the schema",
    ValidateAdditionalItems "validate.additionalItems" Validate "an array has elements beyond those declared",
    ValidatePropertyNames "validate.propertyNames" Validate "a field's name is not allowed",
    ValidateMinProperties "validate.minProperties" Validate "an object has too few fields",
    ValidateMaxProperties "validate.maxProperties" Validate "an object has too many fields",
    ValidateDependentRequired "validate.dependentRequired" Validate "a field that another one requires is missing",
    ValidateOneOf "validate.oneOf" Validate "not exactly one of the alternatives matches",
    ValidateAnyOf "validate.anyOf" Validate "none of the alternatives matches",
    ValidateNot "validate.not" Validate "the value is one the schema forbids",
    ValidateFalseSchema "validate.falseSchema" Validate "the schema allows no value here",
    ValidateContentEncoding "validate.contentEncoding" Validate "a string is not in its declared encoding",
    ValidateContentMediaType "validate.contentMediaType" Validate "a string does not hold its declared media type",
    ValidateOther "validate.other" Validate "the event breaks a rule of its schema",
    EventIdMissing "event.id_missing" Event "the event has no id where the pipeline looks for it",
    EventIdUnusable "event.id_unusable" Event "the event's id is neither a string nor an integer",
    EventTimeMissing "event.time_missing" Event "the event has no time where the pipeline looks for it",
    EventTimeUnreadable "event.time_unreadable" Event "the event's time cannot be read",
    EventTimeAhead "event.time_ahead" Event "the event's time lies too far in the future",
    EventTimeBehind "event.time_behind" Event "the event's time lies too far in the past",
    PartitionMissing "partition.missing" Partition "the field that names the partition is missing",
    PartitionUnusable "partition.unusable" Partition "the field that names the partition cannot be a directory name",
    MonitorPersonalData "monitor.personal_data" Monitor "the event holds personal data where none should be",
    EncodeIntegerRange "encode.integer_range" Encode "an integer does not fit its column",
    EncodeNumberPrecision "encode.number_precision" Encode "a number would lose digits in its column",
    EncodeDecimalRange "encode.decimal_range" Encode "a decimal does not fit its column",
    EncodeTimeRange "encode.time_range" Encode "a time does not fit its column",
    EncodeType "encode.type" Encode "a value is not of its column's type",
    EncodeRefused "encode.refused" Encode "Parquet cannot hold the row",
    BrokerRejected "broker.rejected" Broker "a consumer rejected the message",
    BrokerExpired "broker.expired" Broker "the message expired while it waited",
    BrokerMaxlen "broker.maxlen" Broker "the message was pushed out of a full queue",
    BrokerDeliveryLimit "broker.delivery_limit" Broker "the message was delivered as often as its queue allows",
    BrokerUnknown "broker.unknown" Broker "the message does not say why the broker dead-lettered it",
    InternalPanic "internal.panic" Internal "this event alone makes the program panic",
    InternalCrash "internal.crash" Internal "the process ended each time it had this event alone in hand",
    ReplayFix "replay.fix" Replay "the fix of its replay could not be done",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where on an event's way it was rejected; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Frame,
    Decode,
    Schema,
    Validate,
    Event,
    Partition,
    /// What the pipeline asks beside the schema.
    Monitor,
    Encode,
    /// Not ours: the broker had dead-lettered it before it came.
    Broker,
    Internal,
    /// Only of letters that are given back.
    Replay,
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Frame => "frame",
            Stage::Decode => "decode",
            Stage::Schema => "schema",
            Stage::Validate => "validate",
            Stage::Event => "event",
            Stage::Partition => "partition",
            Stage::Monitor => "monitor",
            Stage::Encode => "encode",
            Stage::Broker => "broker",
            Stage::Internal => "internal",
            Stage::Replay => "replay",
        }
    }
}

/// Whose trouble it is when an event fails; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The event is not what the schema says.
    Schema,
    /// We cannot hold or process it.
    Ours,
}

impl Class {
    pub const ALL: [Class; 2] = [Class::Schema, Class::Ours];

    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Schema => "schema",
            Class::Ours => "ours",
        }
    }
}

impl Code {
    /// Whose trouble it is.
    pub const fn class(self) -> Class {
        match self.stage() {
            Stage::Encode | Stage::Internal => Class::Ours,
            _ => Class::Schema,
        }
    }
}

/// One thing that is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub code: Code,
    /// Where, as a normalised JSON pointer: array indices are `[*]`, names the schema does not declare `{*}`; for a
    /// missing or surplus field its own pointer, with the name. Part of the group: never holds a value of the event.
    pub path: String,
    /// Where exactly, as an RFC 6901 pointer into this event.
    pub instance_path: String,
    /// What the schema asks for: types, a format, a bound. Empty when the code says it all. Part of the group.
    pub expected: String,
    /// What was found, as a type or a kind, never the value itself. Part of the group.
    pub actual: String,
    /// Byte offset into the body, for bodies that cannot be parsed.
    pub offset: Option<u64>,
}

impl Issue {
    /// An issue of the whole event, with nothing more to say than its code.
    pub fn whole(code: Code) -> Self {
        Self {
            code,
            path: String::new(),
            instance_path: String::new(),
            expected: String::new(),
            actual: String::new(),
            offset: None,
        }
    }

    /// An issue at `path`, which is both the normalised and the exact one.
    pub fn at(code: Code, path: &str, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self {
            code,
            path: path.to_owned(),
            instance_path: path.to_owned(),
            expected: expected.into(),
            actual: actual.into(),
            offset: None,
        }
    }
}

/// All that is wrong with one event, at the first stage that found anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    primary: Code,
    issues: Vec<Issue>,
    issues_dropped: usize,
}

impl Rejection {
    /// `issues` with the one that counts first.
    ///
    /// # Panics
    /// If `issues` is empty: a rejection has a reason.
    pub fn new(issues: Vec<Issue>) -> Self {
        let primary = issues.first().expect("a rejection has a reason").code;
        Self { primary, issues, issues_dropped: 0 }
    }

    /// The same, of a body whose bytes are not those that came.
    pub fn without_offsets(mut self) -> Self {
        self.issues.iter_mut().for_each(|issue| issue.offset = None);
        self
    }

    /// The same, of what begins so many bytes into the body.
    pub fn shifted(mut self, bytes: u64) -> Self {
        self.issues.iter_mut().for_each(|issue| issue.offset = issue.offset.map(|offset| offset + bytes));
        self
    }

    /// The same, of what stands at `at`, the beginning of a path.
    pub fn below(mut self, at: &str) -> Self {
        for issue in self.issues.iter_mut().filter(|_| !at.is_empty()) {
            issue.path.insert_str(0, at);
            issue.instance_path.insert_str(0, at);
        }
        self
    }

    /// The same, with `issues_dropped` more issues found than are kept.
    pub fn with_dropped(self, issues_dropped: usize) -> Self {
        Self { issues_dropped, ..self }
    }

    /// The same with `issues_max` issues, at least one; those beyond are counted.
    pub fn at_most(mut self, issues_max: usize) -> Self {
        let kept = issues_max.clamp(1, self.issues.len());
        self.issues_dropped += self.issues.len() - kept;
        self.issues.truncate(kept);
        self
    }

    /// The same, with the issue first that ranks highest; among equals the order stays.
    pub fn ranked(mut self, rank: impl Fn(&Issue) -> i64) -> Self {
        self.issues.sort_by_key(|issue| std::cmp::Reverse(rank(issue)));
        self.primary = self.issues[0].code;
        self
    }

    /// The code under which the event is counted: the first issue's.
    pub fn code(&self) -> Code {
        self.primary
    }

    /// Every issue found; the first is the primary one.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// Issues found beyond the limit, counted but not kept.
    pub fn issues_dropped(&self) -> usize {
        self.issues_dropped
    }
}

impl From<Issue> for Rejection {
    fn from(issue: Issue) -> Self {
        Self::new(vec![issue])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_text_and_begins_with_its_stage() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert_eq!(code.as_str().split('.').next(), Some(code.stage().as_str()));
        }
    }
}
