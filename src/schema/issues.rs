//! A validation error as issues: its code, where it is, and what was expected, never what the event holds.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, JsonTypeSet, ValidationError};

use super::catalog::Schema;
use super::paths;
use crate::rejection::{Code, Issue};
use crate::value::{self, Value};

/// Appends the issues of `error`: one, or one for each field concerned, or those of the alternative that was meant.
pub(super) fn append(schema: &Schema, root: Value<'_>, error: &ValidationError<'_>, issues: &mut Vec<Issue>) {
    let at = error.instance_path().as_str();
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            if let Some(meant) = meant(context, at) {
                return context[meant].iter().for_each(|error| append(schema, root, error, issues));
            }
        }
        _ => {}
    }
    let (path, found) = paths::normalise(schema, root, at);
    let mut issue = Issue {
        code: code(error),
        path,
        instance_path: at.to_owned(),
        expected: expected(error.kind(), at),
        actual: found.map_or("nothing", Value::type_name).to_owned(),
        offset: None,
    };
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            issues.push(of_field(&issue, name, "present", "absent"));
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            issues.extend(unexpected.iter().map(|name| of_field(&issue, name, "absent", "present")));
        }
        Kind::PropertyNames { .. } => {
            issue.path.push_str("/{*}");
            issue.actual = "another name".to_owned();
            issues.push(issue);
        }
        Kind::OneOfMultipleValid { .. } => {
            issue.actual = "several".to_owned();
            issues.push(issue);
        }
        _ => issues.push(issue),
    }
}

/// `issue`, of the member `name` of the object it is about.
fn of_field(issue: &Issue, name: &str, expected: &str, actual: &str) -> Issue {
    let mut issue = Issue { expected: expected.to_owned(), actual: actual.to_owned(), ..issue.clone() };
    value::push_segment(&mut issue.path, name);
    value::push_segment(&mut issue.instance_path, name);
    issue
}

/// The alternative that was meant, by its errors: the only one whose type and discriminators fit, else the one with the
/// fewest errors among those that fit. `None` when none fits or several are as near.
///
/// A discriminator is a `const`, or an `enum` of one, of the value at `at` or of one of its members.
fn meant(alternatives: &[Vec<ValidationError<'_>>], at: &str) -> Option<usize> {
    if alternatives.len() == 1 {
        return Some(0);
    }
    let fits = |errors: &[ValidationError<'_>]| !errors.iter().any(|error| rules_out(error, at));
    let fitting = alternatives.iter().enumerate().filter(|(_, errors)| fits(errors));
    let mut nearest: Vec<_> = fitting.map(|(index, errors)| (errors.len(), index)).collect();
    nearest.sort_unstable();
    match nearest[..] {
        [(_, index)] => Some(index),
        [(fewest, index), (next, _), ..] if fewest < next => Some(index),
        _ => None,
    }
}

fn rules_out(error: &ValidationError<'_>, at: &str) -> bool {
    let Some(below) = error.instance_path().as_str().strip_prefix(at) else {
        return false;
    };
    match error.kind() {
        Kind::Type { .. } => below.is_empty(),
        Kind::Constant { .. } => below.matches('/').count() <= 1,
        Kind::Enum { options } => {
            options.as_array().is_some_and(|options| options.len() == 1) && below.matches('/').count() <= 1
        }
        _ => false,
    }
}

fn code(error: &ValidationError<'_>) -> Code {
    match error.kind() {
        Kind::Type { .. } => Code::ValidateType,
        Kind::Required { .. } if error.schema_path().as_str().ends_with("/required") => Code::ValidateRequired,
        Kind::Required { .. } => Code::ValidateDependentRequired,
        Kind::Enum { .. } => Code::ValidateEnum,
        Kind::Constant { .. } => Code::ValidateConst,
        Kind::Format { .. } => Code::ValidateFormat,
        Kind::Pattern { .. } | Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            Code::ValidatePattern
        }
        Kind::MinLength { .. } => Code::ValidateMinLength,
        Kind::MaxLength { .. } => Code::ValidateMaxLength,
        Kind::Minimum { .. } => Code::ValidateMinimum,
        Kind::Maximum { .. } => Code::ValidateMaximum,
        Kind::ExclusiveMinimum { .. } => Code::ValidateExclusiveMinimum,
        Kind::ExclusiveMaximum { .. } => Code::ValidateExclusiveMaximum,
        Kind::MultipleOf { .. } => Code::ValidateMultipleOf,
        Kind::MinItems { .. } => Code::ValidateMinItems,
        Kind::MaxItems { .. } => Code::ValidateMaxItems,
        Kind::UniqueItems => Code::ValidateUniqueItems,
        Kind::Contains => Code::ValidateContains,
        Kind::AdditionalProperties { .. } => Code::ValidateAdditionalProperties,
        Kind::UnevaluatedProperties { .. } => Code::ValidateUnevaluatedProperties,
        Kind::UnevaluatedItems { .. } => Code::ValidateUnevaluatedItems,
        Kind::AdditionalItems { .. } => Code::ValidateAdditionalItems,
        Kind::PropertyNames { .. } => Code::ValidatePropertyNames,
        Kind::MinProperties { .. } => Code::ValidateMinProperties,
        Kind::MaxProperties { .. } => Code::ValidateMaxProperties,
        Kind::OneOfMultipleValid { .. } | Kind::OneOfNotValid { .. } => Code::ValidateOneOf,
        Kind::AnyOf { .. } => Code::ValidateAnyOf,
        Kind::Not { .. } => Code::ValidateNot,
        Kind::FalseSchema => Code::ValidateFalseSchema,
        Kind::ContentEncoding { .. } | Kind::FromUtf8 { .. } => Code::ValidateContentEncoding,
        Kind::ContentMediaType { .. } => Code::ValidateContentMediaType,
        Kind::Custom { .. } | Kind::Referencing(_) => Code::ValidateOther,
    }
}

/// What the schema asks for, in its own terms; empty where the code says it all.
fn expected(kind: &Kind, at: &str) -> String {
    match kind {
        Kind::Type { kind } => types(kind_types(kind)),
        Kind::Enum { options } => match options.as_array() {
            Some(options) => format!("one of {} values", options.len()),
            None => String::new(),
        },
        Kind::Constant { .. } => "one value".to_owned(),
        Kind::Format { format } => format.clone(),
        Kind::Pattern { pattern } => pattern.clone(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "a pattern matched within bounds".to_owned()
        }
        Kind::MinLength { limit } => format!(">= {limit} characters"),
        Kind::MaxLength { limit } => format!("<= {limit} characters"),
        Kind::Minimum { limit } => format!(">= {limit}"),
        Kind::Maximum { limit } => format!("<= {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("> {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("< {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinItems { limit } => format!(">= {limit} elements"),
        Kind::MaxItems { limit } => format!("<= {limit} elements"),
        Kind::AdditionalItems { limit } => format!("<= {limit} elements"),
        Kind::MinProperties { limit } => format!(">= {limit} fields"),
        Kind::MaxProperties { limit } => format!("<= {limit} fields"),
        Kind::PropertyNames { error } => expected(error.kind(), at),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(context, at),
        Kind::OneOfMultipleValid { context } => format!("exactly one of {} alternatives", context.len()),
        Kind::ContentEncoding { content_encoding } => content_encoding.clone(),
        Kind::ContentMediaType { content_media_type } => content_media_type.clone(),
        Kind::Custom { keyword, .. } => keyword.clone(),
        _ => String::new(),
    }
}

/// The types of all alternatives when it was the type that ruled each of them out, else their number.
fn alternatives(context: &[Vec<ValidationError<'_>>], at: &str) -> String {
    let type_of = |errors: &Vec<ValidationError<'_>>| {
        errors.iter().find_map(|error| match error.kind() {
            Kind::Type { kind } if error.instance_path().as_str() == at => Some(kind_types(kind)),
            _ => None,
        })
    };
    let all: Option<Vec<_>> = context.iter().map(type_of).collect();
    match all {
        Some(all) if !all.is_empty() => types(all.into_iter().fold(JsonTypeSet::empty(), JsonTypeSet::union)),
        _ => format!("one of {} alternatives", context.len()),
    }
}

fn kind_types(kind: &TypeKind) -> JsonTypeSet {
    match kind {
        TypeKind::Single(single) => JsonTypeSet::from(*single),
        TypeKind::Multiple(several) => *several,
    }
}

/// `integer or null`: sorted by name.
fn types(types: JsonTypeSet) -> String {
    let mut names: Vec<_> = types.iter().map(JsonType::as_str).collect();
    names.sort_unstable();
    names.join(" or ")
}
