//! The columns of a pipeline's files: those of its schema, then the system columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use super::partition::Partitioner;
use super::plan::ObjectPlan;
use crate::column;
use crate::config::PartitionKey;

/// What a pipeline's files and batches look like; compiled once.
#[derive(Debug)]
pub struct Layout {
    pub(super) schema: SchemaRef,
    pub(super) plan: Arc<ObjectPlan>,
    pub(super) partitioner: Partitioner,
    pub(super) options: LayoutOptions,
}

/// What a layout needs beside the schema's columns.
#[derive(Clone, Debug)]
pub struct LayoutOptions {
    /// `name@version`: the `_schema` column.
    pub schema_label: String,
    pub partition_by: Vec<PartitionKey>,
    /// Whether there is a `_raw` column.
    pub keep_raw: bool,
    /// Whether there is a `_cloudevent` column.
    pub cloud_events: bool,
    /// Issues recorded of one event; see [`crate::config::Pipeline`].
    pub issues_max: usize,
    pub open_partitions_max: usize,
}

/// Why columns make no files. Columns from a JSON Schema always do; this is for columns from elsewhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("column \"{column}\" has type {data_type}, which no event's field becomes")]
    Unsupported { column: String, data_type: DataType },
    #[error("column \"{column}\" has a name that a system column, a date directory or another column has")]
    Taken { column: String },
    #[error("column \"{column}\" may not be null, but any field may be missing")]
    Required { column: String },
}

impl Layout {
    /// The layout for `columns`, as `schema::columns` gives them.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(columns: &Fields, options: LayoutOptions) -> Result<Self, LayoutError> {
        let mut names = HashSet::new();
        for field in columns {
            let column = field.name().clone();
            if column::is_reserved(&column) || !names.insert(column.to_lowercase()) {
                return Err(LayoutError::Taken { column });
            }
            check_nullable(field)?;
        }
        let plan = ObjectPlan::new(columns).map_err(|field| LayoutError::Unsupported {
            column: field.name().clone(),
            data_type: field.data_type().clone(),
        })?;
        let partitioner = Partitioner::new(&options.partition_by, |name| {
            column::is_reserved(name) || names.contains(&name.to_lowercase())
        });
        let fields: Vec<FieldRef> = columns.iter().cloned().chain(system_fields(&options)).collect();
        Ok(Self { schema: Arc::new(Schema::new(fields)), plan: Arc::new(plan), partitioner, options })
    }

    /// The columns of the files, in order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How directories are named.
    pub fn partitioner(&self) -> &Partitioner {
        &self.partitioner
    }
}

fn check_nullable(field: &Field) -> Result<(), LayoutError> {
    if !field.is_nullable() {
        return Err(LayoutError::Required { column: field.name().clone() });
    }
    match field.data_type() {
        DataType::Struct(members) => members.iter().try_for_each(|member| check_nullable(member)),
        DataType::List(element) => check_nullable(element),
        _ => Ok(()),
    }
}

/// A timestamp in microseconds whose instants are UTC: `isAdjustedToUTC` in Parquet, which every engine reads so.
pub(super) fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The system columns, in the order in which [`super::rows`] fills them.
fn system_fields(options: &LayoutOptions) -> impl Iterator<Item = FieldRef> {
    let (keep_raw, cloud_events) = (options.keep_raw, options.cloud_events);
    let fields = [
        (column::EVENT_ID, DataType::Utf8, true),
        (column::BODY_HASH, DataType::FixedSizeBinary(16), false),
        (column::DEAD_LETTER_ID, DataType::Utf8, true),
        (column::EVENT_TIME, instant_type(), false),
        (column::INGESTED_AT, instant_type(), false),
        (column::QUEUE, DataType::Utf8, false),
        (column::EXCHANGE, DataType::Utf8, false),
        (column::ROUTING_KEY, DataType::Utf8, false),
        (column::SCHEMA, DataType::Utf8, false),
        (column::REDELIVERED, DataType::Boolean, false),
        (column::HEADERS, DataType::Utf8, true),
        (column::EXTRA, DataType::Utf8, true),
        (column::TRACE_ID, DataType::Utf8, true),
        (column::RAW, DataType::Binary, true),
        (column::CLOUD_EVENT, DataType::Utf8, true),
    ];
    let is_wanted =
        move |name: &str| (keep_raw || name != column::RAW) && (cloud_events || name != column::CLOUD_EVENT);
    fields.into_iter().filter(move |(name, ..)| is_wanted(name)).map(|(name, data_type, nullable)| {
        let id = column::system_field_id(name).expect("every system column has an id");
        let mut metadata = HashMap::from([(column::FIELD_ID_KEY.to_owned(), id.to_string())]);
        if [column::HEADERS, column::EXTRA, column::CLOUD_EVENT].contains(&name) {
            metadata.insert(column::JSON_KEY.to_owned(), "true".to_owned());
        }
        Arc::new(Field::new(name, data_type, nullable).with_metadata(metadata))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(keep_raw: bool) -> LayoutOptions {
        LayoutOptions {
            schema_label: "test@1".to_owned(),
            partition_by: vec![PartitionKey::Date],
            keep_raw,
            cloud_events: false,
            issues_max: 10,
            open_partitions_max: 4,
        }
    }

    fn layout(fields: Vec<Field>) -> Result<Layout, LayoutError> {
        Layout::new(&Fields::from(fields), options(true))
    }

    #[test]
    fn the_system_columns_follow_the_schema_s_and_have_fixed_ids() {
        let fields = Fields::from(vec![Field::new("id", DataType::Utf8, true)]);
        let layout = Layout::new(&fields, options(false)).expect("a layout");
        let names: Vec<_> = layout.schema().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names[0], "id");
        assert_eq!(names[1..13], column::SYSTEM[..12], "in the order of their ids");
        assert_eq!(names[13..], ["_trace_id"], "and without `_raw`");
        let id = |name: &str| {
            layout.schema().field_with_name(name).expect("the column").metadata()[column::FIELD_ID_KEY].clone()
        };
        assert_eq!((id("_event_id"), id("_extra")), ("1".to_owned(), "12".to_owned()));
        assert_eq!(id("_trace_id"), "14");
    }

    #[test]
    fn columns_that_no_file_can_have_are_refused() {
        let taken = |name: &str| layout(vec![Field::new(name, DataType::Utf8, true)]).err();
        assert_eq!(taken("_Queue"), Some(LayoutError::Taken { column: "_Queue".to_owned() }));
        assert_eq!(taken("date"), Some(LayoutError::Taken { column: "date".to_owned() }));
        assert_eq!(taken("id"), None);
        let twice = layout(vec![Field::new("a", DataType::Utf8, true), Field::new("A", DataType::Utf8, true)]);
        assert_eq!(twice.err(), Some(LayoutError::Taken { column: "A".to_owned() }));
        let type_of = |data_type: DataType, nullable| layout(vec![Field::new("a", data_type, nullable)]).err();
        assert!(matches!(type_of(DataType::Int32, true), Some(LayoutError::Unsupported { .. })));
        assert!(matches!(type_of(DataType::Int64, false), Some(LayoutError::Required { .. })));
    }
}
