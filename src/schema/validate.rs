//! Does an event keep its schema, and if not, where and how. The jsonschema crate judges; here its errors become issues.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Retrieve, Uri, ValidationError};
use serde_json::Value as Json;

use super::catalog::{Schema, SchemaError};
use super::issues;
use super::json::{TapeJson, TapeNode};
use crate::rejection::{Code, Issue, Rejection};
use crate::value::{Node, Value};

/// Of an event with more values than this only the first issue is looked for: the validator holds all errors at once, and a
/// body of millions of wrong values would make millions of them.
const VALUES_SEARCHED_MAX: usize = 1 << 16;

/// Judges events by one schema. Built once, used by any number of threads.
pub struct Validator {
    schema: Schema,
    compiled: jsonschema::Validator<TapeJson>,
    issues_max: usize,
}

impl Schema {
    /// A validator that records up to `issues_max` issues of an event, at least one. Formats are asserted.
    ///
    /// # Errors
    /// What the metaschema cannot see, such as a `pattern` that is no regular expression; see [`SchemaError`].
    pub fn validator(&self, issues_max: usize) -> Result<Validator, SchemaError> {
        let root = self.documents().first().expect("the root is always loaded");
        let compiled = jsonschema::options_for::<TapeJson>()
            .with_base_uri(root.uri.as_str())
            .with_retriever(Loaded::of(self))
            .should_validate_formats(true)
            .build(&root.contents)
            .map_err(|error| self.unusable(&error))?;
        Ok(Validator { schema: self.clone(), compiled, issues_max: issues_max.max(1) })
    }

    fn unusable(&self, error: &ValidationError<'_>) -> SchemaError {
        let path = self.path().to_owned();
        if let ValidationErrorKind::Referencing(problem) = error.kind() {
            return SchemaError::Reference { path, problem: problem.to_string() };
        }
        let place = [error.instance_path(), error.schema_path()].into_iter().find(|place| !place.is_empty());
        let pointer = place.map_or_else(String::new, |place| place.as_str().to_owned());
        SchemaError::Invalid { path, pointer, problem: error.to_string() }
    }
}

impl Validator {
    /// Whether `tape` is an event that keeps the schema: an object, whether or not the schema asks for one.
    ///
    /// # Errors
    /// Every issue found, the primary one first: by type, then missing fields, enumerations and constants, formats and
    /// patterns, ranges, surplus fields, all else; then by path. Of many issues of one kind at one place the first is kept
    /// before the second of another. Issues beyond the limit are counted.
    pub fn check(&self, root: Value<'_>) -> Result<(), Rejection> {
        match root.node() {
            Node::Object { .. } => self.check_value(root),
            _ => Err(Issue::at(Code::ValidateType, "", "object", root.type_name()).into()),
        }
    }

    /// The same for any JSON value: by the schema alone.
    ///
    /// # Errors
    /// As [`Validator::check`].
    pub fn check_value(&self, root: Value<'_>) -> Result<(), Rejection> {
        match self.compiled.is_valid(TapeNode::Value(root)) {
            true => Ok(()),
            false => Err(self.rejection(root)),
        }
    }

    /// The schema it judges by.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    #[cold]
    fn rejection(&self, value: Value<'_>) -> Rejection {
        let root = TapeNode::Value(value);
        let mut issues = Vec::new();
        if (value.end() - value.index()) as usize > VALUES_SEARCHED_MAX {
            if let Err(error) = self.compiled.validate(root) {
                issues::append(&self.schema, value, &error, &mut issues);
            }
        } else {
            for error in self.compiled.iter_errors(root) {
                issues::append(&self.schema, value, &error, &mut issues);
            }
        }
        if issues.is_empty() {
            // Both judge by the same rules; should they ever differ, an invalid event is not archived.
            issues.push(Issue::whole(Code::ValidateOther));
        }
        select(issues, self.issues_max)
    }
}

/// Sorts, drops repeats, and keeps `issues_max`: of each kind at each normalised path one, before a second of any.
fn select(mut issues: Vec<Issue>, issues_max: usize) -> Rejection {
    issues.sort_unstable_by(|left, right| order(left).cmp(&order(right)));
    issues.dedup();
    let found = issues.len();
    if found > issues_max {
        let mut kinds = BTreeSet::new();
        let (mut kept, again): (Vec<_>, Vec<_>) = issues.into_iter().partition(|issue| {
            kinds.insert((issue.code, issue.path.clone(), issue.expected.clone(), issue.actual.clone()))
        });
        kept.extend(again);
        kept.truncate(issues_max);
        kept.sort_unstable_by(|left, right| order(left).cmp(&order(right)));
        issues = kept;
    }
    let dropped = found - issues.len();
    Rejection::new(issues).with_dropped(dropped)
}

fn order(issue: &Issue) -> impl Ord {
    let Issue { code, path, instance_path, expected, actual, .. } = issue;
    (rank(*code), path, instance_path, *code, expected, actual)
}

/// What is told first of an event: the lower, the earlier. The primary issue's group counts the event.
fn rank(code: Code) -> u8 {
    use Code::*;
    match code {
        ValidateType => 0,
        ValidateRequired | ValidateDependentRequired => 1,
        ValidateEnum | ValidateConst => 2,
        ValidateFormat | ValidatePattern => 3,
        ValidateMinimum
        | ValidateMaximum
        | ValidateExclusiveMinimum
        | ValidateExclusiveMaximum
        | ValidateMultipleOf
        | ValidateMinLength
        | ValidateMaxLength
        | ValidateMinItems
        | ValidateMaxItems
        | ValidateMinProperties
        | ValidateMaxProperties => 4,
        ValidateAdditionalProperties | ValidateUnevaluatedProperties => 5,
        _ => 6,
    }
}

/// Hands the compiler the files the schema has already loaded.
struct Loaded(HashMap<String, Arc<Json>>);

impl Loaded {
    fn of(schema: &Schema) -> Self {
        Self(schema.documents().iter().map(|document| (document.uri.clone(), Arc::clone(&document.contents))).collect())
    }
}

impl Retrieve for Loaded {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        match self.0.get(uri.as_str()) {
            Some(contents) => Ok(contents.as_ref().clone()),
            None => Err("no local file of that name was loaded".into()),
        }
    }
}
