//! Good events back from the files they are in: their very bytes where `_raw` keeps them, else rebuilt from the columns and
//! `_extra`.
//!
//! A rebuilt event is the event as JSON value, but for what no column keeps: members that were null or missing look alike
//! (see [`Hints::required`]), times have the offset `Z`, and the order of members is that of the columns.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::column::{self, Hints};
use crate::event::{Message, Properties};
use crate::headers;
use crate::headers::Members;
use crate::value::{push_segment, write_json_string};

/// Rows that are in memory at once beside those that are given back.
const BATCH_ROWS: usize = 1024;

/// An event of the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct GoodEvent {
    /// With the body, exchange, routing key and headers; other properties are not archived.
    pub message: Message,
    pub event_id: Option<String>,
    pub event_time: DateTime<Utc>,
    pub queue: String,
    /// Whether the body is the one that was received, byte for byte, and not rebuilt.
    pub as_received: bool,
    /// The attributes of a CloudEvent, as JSON.
    pub cloud_event: Option<String>,
}

/// Why a file's rows cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file cannot be read as Parquet")]
    Parquet { source: ParquetError },
    #[error("the file has no column \"{column}\" as we write it, so it is none of ours")]
    Foreign { column: String },
    #[error("column \"{column}\" holds what we do not write there")]
    Content { column: String },
}

/// The first `limit` events of a data file, in its order. `columns` are those of the pipeline's schema, as
/// `schema::columns` gives them, for the names of properties that could be no names of columns; the file may have been written by
/// another version of it.
///
/// # Errors
/// See [`ReadError`]: the file is broken, or another's.
pub fn rows(file: Bytes, limit: usize, columns: &Fields, hints: &Hints) -> Result<Vec<GoodEvent>, ReadError> {
    let parquet = |source| ReadError::Parquet { source };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet)?;
    let marked = marked_columns(&builder, columns);
    let reader = builder.with_limit(limit).with_batch_size(BATCH_ROWS).build().map_err(parquet)?;
    let mut events = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| ReadError::Parquet { source: error.into() })?;
        let system = SystemColumns::of(&batch)?;
        let own: Vec<(&FieldRef, &ArrayRef)> = marked
            .iter()
            .zip(batch.columns())
            .filter(|(field, _)| !column::SYSTEM.contains(&field.name().as_str()))
            .collect();
        for row in 0..batch.num_rows() {
            events.push(system.event(&own, row, hints)?);
        }
    }
    Ok(events)
}

/// The file's columns with the marks of [`column`]: which hold JSON is in its footer, the names of properties nowhere in it.
fn marked_columns(builder: &ParquetRecordBatchReaderBuilder<Bytes>, columns: &Fields) -> Vec<FieldRef> {
    let footer = builder.metadata().file_metadata().key_value_metadata();
    let listed = footer.into_iter().flatten().find(|pair| pair.key == "parqueduct.json_columns");
    let listed = listed.and_then(|pair| serde_json::from_str::<HashSet<String>>(pair.value.as_deref()?).ok());
    let json = listed.unwrap_or_default();
    let known = |name: &str| columns.iter().find(|known| known.name() == name);
    builder.schema().fields().iter().map(|field| marked(field, field.name(), &json, known(field.name()))).collect()
}

fn marked(field: &Field, name: &str, json: &HashSet<String>, known: Option<&FieldRef>) -> FieldRef {
    let mut metadata = HashMap::new();
    if json.contains(name) {
        metadata.insert(column::JSON_KEY.to_owned(), "true".to_owned());
    }
    if let Some(property) = known.and_then(|known| known.metadata().get(column::PROPERTY_KEY)) {
        metadata.insert(column::PROPERTY_KEY.to_owned(), property.clone());
    }
    let data_type = match field.data_type() {
        DataType::Struct(members) => {
            let inside = |member: &FieldRef| match known.map(|known| known.data_type()) {
                Some(DataType::Struct(known)) => known.iter().find(|known| known.name() == member.name()),
                _ => None,
            };
            let mark = |member: &FieldRef| marked(member, &format!("{name}.{}", member.name()), json, inside(member));
            DataType::Struct(members.iter().map(mark).collect())
        }
        DataType::List(element) => {
            let inside = match known.map(|known| known.data_type()) {
                Some(DataType::List(known)) => Some(known),
                _ => None,
            };
            DataType::List(marked(element, &format!("{name}[]"), json, inside))
        }
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, true).with_metadata(metadata))
}

/// The columns that are needed beside the schema's.
struct SystemColumns<'b> {
    event_id: &'b ArrayRef,
    event_time: &'b ArrayRef,
    queue: &'b ArrayRef,
    exchange: &'b ArrayRef,
    routing_key: &'b ArrayRef,
    redelivered: &'b ArrayRef,
    headers: &'b ArrayRef,
    extra: &'b ArrayRef,
    raw: Option<&'b ArrayRef>,
    cloud_event: Option<&'b ArrayRef>,
}

impl<'b> SystemColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<Self, ReadError> {
        let column = |name: &str, fits: fn(&DataType) -> bool| {
            let found = batch.column_by_name(name).filter(|array| fits(array.data_type()));
            found.ok_or_else(|| ReadError::Foreign { column: name.to_owned() })
        };
        let text = |name| column(name, |data_type| *data_type == DataType::Utf8);
        Ok(Self {
            event_id: text(column::EVENT_ID)?,
            event_time: column(column::EVENT_TIME, |data_type| *data_type == super::layout::instant_type())?,
            queue: text(column::QUEUE)?,
            exchange: text(column::EXCHANGE)?,
            routing_key: text(column::ROUTING_KEY)?,
            redelivered: column(column::REDELIVERED, |data_type| *data_type == DataType::Boolean)?,
            headers: text(column::HEADERS)?,
            extra: text(column::EXTRA)?,
            raw: column(column::RAW, |data_type| *data_type == DataType::Binary).ok(),
            cloud_event: text(column::CLOUD_EVENT).ok(),
        })
    }

    fn event(&self, own: &[(&FieldRef, &ArrayRef)], row: usize, hints: &Hints) -> Result<GoodEvent, ReadError> {
        let content = |column: &str| ReadError::Content { column: column.to_owned() };
        let micros = self.event_time.as_primitive::<TimestampMicrosecondType>().value(row);
        let event_time = DateTime::from_timestamp_micros(micros).ok_or_else(|| content(column::EVENT_TIME))?;
        let headers = optional(self.headers, row).map(headers::from_json).transpose();
        let headers = headers.map_err(|_| content(column::HEADERS))?;
        let raw = self.raw.filter(|raw| raw.is_valid(row)).map(|raw| raw.as_binary::<i32>().value(row).to_vec());
        let as_received = raw.is_some();
        let body = match raw {
            Some(body) => body,
            None => rebuild(own, row, optional(self.extra, row), hints)?,
        };
        let message = Message {
            body,
            exchange: self.exchange.as_string::<i32>().value(row).to_owned(),
            routing_key: self.routing_key.as_string::<i32>().value(row).to_owned(),
            redelivered: self.redelivered.as_boolean().value(row),
            properties: Properties { headers, ..Properties::default() }.into(),
            unreadable: Vec::new(),
        };
        let event_id = optional(self.event_id, row).map(str::to_owned);
        let queue = self.queue.as_string::<i32>().value(row).to_owned();
        let cloud_event = self.cloud_event.and_then(|array| optional(array, row)).map(str::to_owned);
        Ok(GoodEvent { message, event_id, event_time, queue, as_received, cloud_event })
    }
}

fn optional(array: &ArrayRef, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.as_string::<i32>().value(row))
}

/// The event of a row as JSON.
fn rebuild(
    own: &[(&FieldRef, &ArrayRef)],
    row: usize,
    extra: Option<&str>,
    hints: &Hints,
) -> Result<Vec<u8>, ReadError> {
    // An event that is no object stands there whole.
    if let Some(whole) = extra.filter(|extra| !extra.starts_with('{')) {
        return Ok(whole.as_bytes().to_vec());
    }
    let mut writer = Writer { out: Vec::new(), path: String::new(), hints };
    match writer.object(own.iter().copied(), row, extra) {
        Ok(()) => Ok(writer.out),
        Err(Unexpected) => {
            let path = if writer.path.is_empty() { column::EXTRA.to_owned() } else { writer.path };
            Err(ReadError::Content { column: path })
        }
    }
}

/// A value or a type that we do not write.
#[derive(Debug)]
struct Unexpected;

struct Writer<'h> {
    out: Vec<u8>,
    /// Of the value that is being written; where it went wrong, of that.
    path: String,
    hints: &'h Hints,
}

impl Writer<'_> {
    /// Writes an object of its columns and of `extra`, what of it no column took.
    fn object<'f>(
        &mut self,
        columns: impl Iterator<Item = (&'f FieldRef, &'f ArrayRef)>,
        row: usize,
        extra: Option<&str>,
    ) -> Result<(), Unexpected> {
        let mut rest = match extra {
            Some(extra) => parse::<Members<'_>>(extra)?.0,
            None => Vec::new(),
        };
        let start = self.out.len();
        for (field, array) in columns {
            let property = field.metadata().get(column::PROPERTY_KEY).unwrap_or(field.name());
            let place = rest.iter().position(|(name, _)| name == property);
            let left_over = place.map(|place| rest.remove(place).1);
            let length = self.path.len();
            push_segment(&mut self.path, property);
            if array.is_valid(row) || self.hints.required.contains(&self.path) {
                self.separate(start);
                write_json_string(property, &mut self.out);
                self.out.push(b':');
                self.value(field, array, row, left_over)?;
            } else if left_over.is_some() {
                return Err(Unexpected);
            }
            self.path.truncate(length);
        }
        for (name, value) in rest {
            self.separate(start);
            write_json_string(&name, &mut self.out);
            self.out.push(b':');
            self.out.extend_from_slice(value.get().as_bytes());
        }
        if self.out.len() == start {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Opens the object that began at `start`, or goes on in it.
    fn separate(&mut self, start: usize) {
        self.out.push(if self.out.len() == start { b'{' } else { b',' });
    }

    fn value(
        &mut self,
        field: &Field,
        array: &ArrayRef,
        row: usize,
        extra: Option<&RawValue>,
    ) -> Result<(), Unexpected> {
        if array.is_null(row) {
            self.out.extend_from_slice(b"null");
            return if extra.is_none() { Ok(()) } else { Err(Unexpected) };
        }
        match field.data_type() {
            DataType::Struct(members) => {
                let columns = members.iter().zip(array.as_struct().columns());
                return self.object(columns, row, extra.map(RawValue::get));
            }
            DataType::List(element) => return self.list(element, &array.as_list::<i32>().value(row), extra),
            DataType::Timestamp(..) if extra.is_some() => {
                self.out.extend_from_slice(extra.map_or("", RawValue::get).as_bytes());
            }
            _ if extra.is_some() => return Err(Unexpected),
            DataType::Utf8 if field.metadata().contains_key(column::JSON_KEY) => {
                self.out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes());
            }
            DataType::Utf8 => write_json_string(array.as_string::<i32>().value(row), &mut self.out),
            DataType::Boolean => self.put(array.as_boolean().value(row)),
            DataType::Int64 => self.put(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => {
                let number = array.as_primitive::<Float64Type>().value(row);
                // As JSON writers do: the shortest text that reads back.
                serde_json::to_writer(&mut self.out, &number).map_err(|_| Unexpected)?;
            }
            DataType::Timestamp(..) => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                let time = DateTime::from_timestamp_micros(micros).ok_or(Unexpected)?;
                self.put(format_args!("\"{}\"", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
            }
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>().value(row);
                let date = NaiveDate::from_epoch_days(days).ok_or(Unexpected)?;
                self.put(format_args!("\"{date}\""));
            }
            DataType::Decimal128(_, scale) => {
                let digits = array.as_primitive::<Decimal128Type>().value(row);
                let text = decimal(digits, usize::try_from(*scale).map_err(|_| Unexpected)?);
                match self.hints.decimal_texts.contains(&self.path) {
                    true => self.put(format_args!("\"{text}\"")),
                    false => self.put(text),
                }
            }
            _ => return Err(Unexpected),
        }
        Ok(())
    }

    fn list(&mut self, element: &Field, elements: &ArrayRef, extra: Option<&RawValue>) -> Result<(), Unexpected> {
        // Of as many elements as leave something over; null for those between that do not.
        let rest: Vec<Option<&RawValue>> = extra.map_or(Ok(Vec::new()), |extra| parse(extra.get()))?;
        if rest.len() > elements.len() {
            return Err(Unexpected);
        }
        let length = self.path.len();
        push_segment(&mut self.path, "[*]");
        self.out.push(b'[');
        for place in 0..elements.len() {
            if place > 0 {
                self.out.push(b',');
            }
            self.value(element, elements, place, rest.get(place).copied().flatten())?;
        }
        self.out.push(b']');
        self.path.truncate(length);
        Ok(())
    }

    fn put(&mut self, value: impl fmt::Display) {
        use std::io::Write;
        write!(self.out, "{value}").expect("a Vec takes all bytes");
    }
}

/// `digits` with the point before the last `scale` of them.
fn decimal(digits: i128, scale: usize) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let text = format!("{:0width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Unexpected> {
    serde_json::from_str(text).map_err(|_| Unexpected)
}
