//! Column builders: they walk an event's tape once, never coerce, and can take their last row back.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields};

use super::buffers::{Bits, Numbers, Present, Texts};
use super::numbers::{self, Misfit};
use super::plan::{Kind, ObjectPlan};
use super::time::{self, TimeError};
use crate::rejection::{Code, Issue};
use crate::value::{Node, Value, push_segment};

/// What one event's walk finds.
pub(super) struct Walk<'w> {
    /// Takes the JSON of the fields no column takes.
    pub(super) extra: &'w mut Vec<u8>,
    pub(super) issues: Vec<Issue>,
    /// Issues kept; more are still issues, but not recorded.
    pub(super) issues_max: usize,
}

/// Where in the event a value stands: a list from the value up to the root, on the stack of the walk.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Root,
    Member(&'p Place<'p>, &'p str),
    Element(&'p Place<'p>, usize),
}

impl Place<'_> {
    /// The normalised pointer and the exact one; see [`Issue`].
    fn write(&self, path: &mut String, instance: &mut String) {
        match self {
            Place::Root => {}
            Place::Member(parent, name) => {
                parent.write(path, instance);
                push_segment(path, name);
                push_segment(instance, name);
            }
            Place::Element(parent, index) => {
                parent.write(path, instance);
                path.push_str("/[*]");
                push_segment(instance, &index.to_string());
            }
        }
    }
}

impl Walk<'_> {
    fn issue(&mut self, place: &Place<'_>, code: Code, expected: &str, actual: &str) {
        if self.issues.len() < self.issues_max.max(1) {
            let mut issue = Issue::at(code, "", expected, actual);
            place.write(&mut issue.path, &mut issue.instance_path);
            self.issues.push(issue);
        }
    }
}

/// One column, or the elements of a list.
#[derive(Debug)]
enum Builder {
    Boolean(Bits, Present),
    Integer(Numbers<i64>),
    Double(Numbers<f64>),
    Instant { values: Numbers<i64>, finer: bool },
    Date(Numbers<i32>),
    Decimal { values: Numbers<i128>, precision: u8, scale: u8 },
    Text(Texts),
    Json(Texts),
    Struct(Present, Box<ObjectBuilder>),
    List(Box<ListBuilder>),
}

impl Builder {
    fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Boolean => Builder::Boolean(Bits::default(), Present::default()),
            Kind::Integer => Builder::Integer(Numbers::default()),
            Kind::Double => Builder::Double(Numbers::default()),
            Kind::Instant { finer } => Builder::Instant { values: Numbers::default(), finer: *finer },
            Kind::Date => Builder::Date(Numbers::default()),
            Kind::Decimal { precision, scale } => {
                Builder::Decimal { values: Numbers::default(), precision: *precision, scale: *scale }
            }
            Kind::Text => Builder::Text(Texts::default()),
            Kind::Json => Builder::Json(Texts::default()),
            Kind::Struct(plan) => Builder::Struct(Present::default(), Box::new(ObjectBuilder::new(Arc::clone(plan)))),
            Kind::List(element) => Builder::List(Box::new(ListBuilder {
                ends: vec![0],
                present: Present::default(),
                element: Builder::new(element),
                elements: 0,
            })),
        }
    }

    /// Appends `value`, or leaves an issue in `walk` and the column as it may be, to be truncated. True when it wrote to
    /// `walk.extra`: the JSON of what within `value` no column takes.
    fn push(&mut self, value: Value<'_>, place: &Place<'_>, walk: &mut Walk<'_>) -> bool {
        let node = value.node();
        if node == Node::Null {
            self.push_null();
            return false;
        }
        match (self, node) {
            (Builder::Text(texts), Node::Str(text)) => texts.push(text.as_bytes()),
            (Builder::Integer(numbers), Node::I64(number)) => numbers.push(number),
            (Builder::Integer(numbers), _) => match numbers::integer(value) {
                Ok(number) => numbers.push(number),
                Err(misfit) => issue_of_integer(misfit, value, place, walk),
            },
            (Builder::Double(numbers), _) => match numbers::double(value) {
                Ok(number) => numbers.push(number),
                Err(Misfit::Type) => walk.issue(place, Code::EncodeType, "number", value.type_name()),
                Err(_) => walk.issue(place, Code::EncodeNumberPrecision, "a 64-bit number", "more digits"),
            },
            (Builder::Instant { values, finer }, Node::Str(text)) => match time::parse_rfc3339_cut(text) {
                Ok((micros, false)) => values.push(micros),
                Ok((micros, true)) if *finer => {
                    values.push(micros);
                    value.write_json(walk.extra);
                    return true;
                }
                Ok((_, true)) => issue_of_time(TimeError::TooFine, "date-time", place, walk),
                Err(error) => issue_of_time(error, "date-time", place, walk),
            },
            (Builder::Date(numbers), Node::Str(text)) => match time::parse_date(text) {
                Ok(days) => numbers.push(days),
                Err(error) => issue_of_time(error, "date", place, walk),
            },
            (Builder::Boolean(values, present), Node::Bool(bit)) => {
                values.push(bit);
                present.push(true);
            }
            (Builder::Decimal { values, precision, scale }, _) => {
                let limit = 10_u128.pow(u32::from(*precision));
                match numbers::scaled(value, u32::from(*scale)) {
                    Ok(digits) if digits.unsigned_abs() < limit => values.push(digits),
                    Err(Misfit::Type) => walk.issue(place, Code::EncodeType, "decimal", value.type_name()),
                    _ => walk.issue(
                        place,
                        Code::EncodeDecimalRange,
                        &format!("{precision} digits, {scale} after the point"),
                        "more digits",
                    ),
                }
            }
            (Builder::Json(texts), _) => {
                value.write_json(texts.open());
                texts.end(true);
            }
            (Builder::Struct(present, object), Node::Object { .. }) => {
                present.push(true);
                return object.push(value, place, walk);
            }
            (Builder::List(list), Node::Array { .. }) => return list.push(value, place, walk),
            (builder, _) => walk.issue(place, Code::EncodeType, builder.expects(), value.type_name()),
        }
        false
    }

    fn push_null(&mut self) {
        match self {
            Builder::Boolean(values, present) => {
                values.push(false);
                present.push(false);
            }
            Builder::Integer(values) | Builder::Instant { values, .. } => values.push_null(),
            Builder::Double(numbers) => numbers.push_null(),
            Builder::Date(numbers) => numbers.push_null(),
            Builder::Decimal { values, .. } => values.push_null(),
            Builder::Text(texts) | Builder::Json(texts) => texts.push_null(),
            Builder::Struct(present, object) => {
                present.push(false);
                object.push_null();
            }
            Builder::List(list) => list.end(false),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Builder::Boolean(values, present) => {
                values.truncate(rows);
                present.truncate(rows);
            }
            Builder::Integer(values) | Builder::Instant { values, .. } => values.truncate(rows),
            Builder::Double(numbers) => numbers.truncate(rows),
            Builder::Date(numbers) => numbers.truncate(rows),
            Builder::Decimal { values, .. } => values.truncate(rows),
            Builder::Text(texts) | Builder::Json(texts) => texts.truncate(rows),
            Builder::Struct(present, object) => {
                present.truncate(rows);
                object.truncate(rows);
            }
            Builder::List(list) => list.truncate(rows),
        }
    }

    /// The type of value it takes, as JSON Schema names it.
    fn expects(&self) -> &'static str {
        match self {
            Builder::Boolean(..) => "boolean",
            Builder::Integer(_) => "integer",
            Builder::Double(_) => "number",
            Builder::Decimal { .. } => "decimal",
            Builder::Text(_) => "string",
            Builder::Instant { .. } => "date-time",
            Builder::Date(_) => "date",
            Builder::Struct(..) => "object",
            Builder::List(_) => "array",
            Builder::Json(_) => "any",
        }
    }

    fn finish(self, field: &Field) -> ArrayRef {
        match self {
            Builder::Boolean(values, present) => Arc::new(BooleanArray::new(values.finish(), present.finish())),
            Builder::Integer(numbers) => {
                let (values, nulls) = numbers.finish();
                Arc::new(Int64Array::new(values, nulls))
            }
            Builder::Double(numbers) => {
                let (values, nulls) = numbers.finish();
                Arc::new(Float64Array::new(values, nulls))
            }
            Builder::Instant { values, .. } => {
                let (values, nulls) = values.finish();
                Arc::new(TimestampMicrosecondArray::new(values, nulls).with_data_type(field.data_type().clone()))
            }
            Builder::Date(numbers) => {
                let (values, nulls) = numbers.finish();
                Arc::new(Date32Array::new(values, nulls))
            }
            Builder::Decimal { values, .. } => {
                let (values, nulls) = values.finish();
                Arc::new(Decimal128Array::new(values, nulls).with_data_type(field.data_type().clone()))
            }
            Builder::Text(texts) | Builder::Json(texts) => {
                let (offsets, bytes, nulls) = texts.finish();
                Arc::new(StringArray::new(offsets, bytes, nulls))
            }
            Builder::Struct(present, object) => {
                let DataType::Struct(fields) = field.data_type() else {
                    unreachable!("the plan is made of the fields")
                };
                Arc::new(StructArray::new(fields.clone(), object.finish(fields), present.finish()))
            }
            Builder::List(list) => list.finish(field),
        }
    }
}

#[cold]
fn issue_of_integer(misfit: Misfit, value: Value<'_>, place: &Place<'_>, walk: &mut Walk<'_>) {
    let (code, actual) = match (misfit, value.node()) {
        (Misfit::Range, _) => (Code::EncodeIntegerRange, "a larger integer"),
        // To a double, and so to validators, its fraction does not exist.
        (Misfit::Inexact, Node::F64 { value, .. }) if value.fract() == 0.0 => {
            (Code::EncodeNumberPrecision, "more digits")
        }
        _ => (Code::EncodeType, value.type_name()),
    };
    let expected = if code == Code::EncodeIntegerRange { "a 64-bit integer" } else { "integer" };
    walk.issue(place, code, expected, actual);
}

#[cold]
fn issue_of_time(error: TimeError, format: &'static str, place: &Place<'_>, walk: &mut Walk<'_>) {
    let (code, expected, actual) = match error {
        TimeError::Unreadable => (Code::EncodeType, format, "string"),
        TimeError::TooFine => (Code::EncodeTimeRange, "microseconds", "a finer fraction of a second"),
        TimeError::LeapSecond => (Code::EncodeTimeRange, "seconds from 00 to 59", "a leap second"),
        TimeError::OutOfRange => (Code::EncodeTimeRange, "years from 0001 to 9999", "another year"),
    };
    walk.issue(place, code, expected, actual);
}

/// The columns of an object's members.
#[derive(Debug)]
pub(super) struct ObjectBuilder {
    plan: Arc<ObjectPlan>,
    members: Vec<Member>,
    /// Which member followed which in the last event, the first place standing for the start: events of one producer have
    /// their fields in one order, so the next name is seldom searched for.
    follows: Vec<usize>,
    rows: usize,
}

#[derive(Debug)]
struct Member {
    rows: usize,
    builder: Builder,
}

impl ObjectBuilder {
    pub(super) fn new(plan: Arc<ObjectPlan>) -> Self {
        let members: Vec<_> =
            plan.members.iter().map(|member| Member { rows: 0, builder: Builder::new(&member.kind) }).collect();
        let follows = (0..=members.len()).collect();
        Self { plan, members, follows, rows: 0 }
    }

    /// Appends the members of `value`, an object; as [`Builder::push`].
    pub(super) fn push(&mut self, value: Value<'_>, parent: &Place<'_>, walk: &mut Walk<'_>) -> bool {
        let mut wrote = false;
        let mut last = 0;
        for (name, member) in value.members() {
            let Some(place) = self.find(last, name) else {
                walk.extra.push(if wrote { b',' } else { b'{' });
                crate::value::write_json_string(name, walk.extra);
                walk.extra.push(b':');
                member.write_json(walk.extra);
                wrote = true;
                continue;
            };
            last = place + 1;
            let column = &mut self.members[place];
            if column.rows > self.rows {
                walk.issue(&Place::Member(parent, name), Code::EncodeRefused, "names once", "a name twice");
                continue;
            }
            column.rows += 1;
            let mark = walk.extra.len();
            if column.builder.push(member, &Place::Member(parent, name), walk) {
                let separator = if wrote { b',' } else { b'{' };
                let key = &self.plan.members[place].key;
                walk.extra.splice(mark..mark, std::iter::once(separator).chain(key.iter().copied()));
                wrote = true;
            }
        }
        if wrote {
            walk.extra.push(b'}');
        }
        self.fill();
        wrote
    }

    /// The place of the member `name`, given that of the member before it plus one.
    fn find(&mut self, last: usize, name: &str) -> Option<usize> {
        let guess = self.follows[last];
        if self.plan.members.get(guess).is_some_and(|member| *member.property == *name) {
            return Some(guess);
        }
        let place = self.plan.find(name)?;
        self.follows[last] = place;
        Some(place)
    }

    /// Ends the row: members the event does not have are null.
    fn fill(&mut self) {
        self.rows += 1;
        for member in &mut self.members {
            if member.rows < self.rows {
                member.builder.push_null();
                member.rows = self.rows;
            }
        }
    }

    pub(super) fn push_null(&mut self) {
        self.fill();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        for member in &mut self.members {
            member.builder.truncate(rows);
            member.rows = rows;
        }
    }

    pub(super) fn finish(self, fields: &Fields) -> Vec<ArrayRef> {
        self.members.into_iter().zip(fields).map(|(member, field)| member.builder.finish(field)).collect()
    }
}

/// A column of arrays.
#[derive(Debug)]
struct ListBuilder {
    /// Where each array ends among the elements; the first is 0.
    ends: Vec<i32>,
    present: Present,
    element: Builder,
    elements: usize,
}

impl ListBuilder {
    /// As [`Builder::push`]. What it writes to `walk.extra` is an array of as many elements as are needed, null for those
    /// that leave nothing over.
    fn push(&mut self, value: Value<'_>, parent: &Place<'_>, walk: &mut Walk<'_>) -> bool {
        let mut written = 0;
        for (index, element) in value.elements().enumerate() {
            self.elements += 1;
            let mark = walk.extra.len();
            if self.element.push(element, &Place::Element(parent, index), walk) {
                let start: &[u8] = if written == 0 { b"[" } else { b"," };
                let skipped = b"null,".repeat(index - written);
                walk.extra.splice(mark..mark, start.iter().copied().chain(skipped));
                written = index + 1;
            }
        }
        if written > 0 {
            walk.extra.push(b']');
        }
        self.end(true);
        written > 0
    }

    fn end(&mut self, present: bool) {
        self.ends.push(i32::try_from(self.elements).expect("a batch's bytes, and so its elements, are bounded"));
        self.present.push(present);
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        let elements = self.ends.last().copied().unwrap_or(0);
        self.elements = usize::try_from(elements).expect("offsets are positive");
        self.present.truncate(rows);
        self.element.truncate(self.elements);
    }

    fn finish(self, field: &Field) -> ArrayRef {
        let DataType::List(element) = field.data_type() else { unreachable!("the plan is made of the fields") };
        let offsets = OffsetBuffer::new(self.ends.into());
        let elements = self.element.finish(element);
        Arc::new(ListArray::new(Arc::clone(element), offsets, elements, self.present.finish()))
    }
}
