//! Arrow arrays of the files of dead letters: made of values, and read by the names of their columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, TimeUnit};
use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::fingerprint::GroupId;
use super::record::DecodeError;
use crate::rejection::Code;

/// Microseconds of UTC. Written as an offset: the name `UTC` needs a time-zone database to read.
pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The element of a list; the name is the one the Parquet format asks for (LogicalTypes.md, "Lists").
pub fn element(fields: Fields) -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(fields), false))
}

pub fn list(
    fields: Fields,
    arrays: Vec<ArrayRef>,
    lengths: impl Iterator<Item = usize>,
    present: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let elements = StructArray::try_new(fields.clone(), arrays, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(element(fields), offsets, Arc::new(elements), present)?))
}

pub fn text(values: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub fn text_or_null(values: impl Iterator<Item = Option<impl AsRef<str>>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub fn instants(values: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let micros = values.map(|instant| instant.map(|instant| instant.timestamp_micros()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_data_type(instant()))
}

pub fn ulid(ids: Text<'_>, row: usize) -> Result<Ulid, DecodeError> {
    ids.or_empty(row).parse().map_err(|_| foreign("id", "holds something that is no ULID"))
}

pub fn group(text: &str) -> Result<GroupId, DecodeError> {
    GroupId::parse(text).ok_or_else(|| foreign("group", "holds something that is no group id"))
}

/// The code's own text where we know it, so that reading does not allocate one a row.
pub fn code_text(text: &str) -> Cow<'static, str> {
    match Code::parse(text) {
        Some(code) => code.as_str().into(),
        None => text.to_owned().into(),
    }
}

pub fn stage_text(text: &str) -> Cow<'static, str> {
    match Code::ALL.iter().map(|code| code.stage().as_str()).find(|stage| *stage == text) {
        Some(stage) => stage.into(),
        None => text.to_owned().into(),
    }
}

pub fn foreign(column: &str, what: &str) -> DecodeError {
    DecodeError::Foreign(format!("column {column} {what}"))
}

pub fn elements_of(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = lists.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The columns of a batch, or the fields of a list's elements, by name.
pub struct Columns<'a> {
    names: Option<&'a Fields>,
    arrays: &'a [ArrayRef],
}

impl<'a> Columns<'a> {
    pub fn of(batch: &'a RecordBatch) -> Self {
        Self { names: Some(batch.schema_ref().fields()), arrays: batch.columns() }
    }

    /// The column of that name as `cast` sees it; `None` when there is none.
    pub fn typed<T: ?Sized>(
        &self,
        name: &str,
        cast: impl Fn(&'a ArrayRef) -> Option<&'a T>,
    ) -> Result<Option<&'a T>, DecodeError> {
        let Some(at) = self.names.and_then(|names| names.find(name)).map(|(at, _)| at) else { return Ok(None) };
        cast(&self.arrays[at]).map(Some).ok_or_else(|| foreign(name, "is of another type"))
    }

    pub fn text(&self, name: &str) -> Result<Text<'a>, DecodeError> {
        Ok(Text(self.typed(name, |array| array.as_string_opt::<i32>())?))
    }

    pub fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Numbers<'a, T>, DecodeError> {
        Ok(Numbers(self.typed(name, |array| array.as_primitive_opt::<T>())?))
    }

    pub fn instants(&self, name: &str) -> Result<Numbers<'a, TimestampMicrosecondType>, DecodeError> {
        self.numbers(name)
    }

    pub fn fixed(&self, name: &str) -> Result<Fixed<'a>, DecodeError> {
        Ok(Fixed(self.typed(name, |array| array.as_fixed_size_binary_opt())?))
    }

    /// The lists of that column, and the fields of their elements.
    pub fn list(&self, name: &str) -> Result<(Option<&'a ListArray>, Columns<'a>), DecodeError> {
        let Some(lists) = self.typed(name, |array| array.as_list_opt::<i32>())? else {
            return Ok((None, Columns { names: None, arrays: &[] }));
        };
        let elements = lists.values().as_struct_opt().ok_or_else(|| foreign(name, "is of another type"))?;
        Ok((Some(lists), Columns { names: Some(elements.fields()), arrays: elements.columns() }))
    }
}

/// A column of text that may be absent.
#[derive(Clone, Copy)]
pub struct Text<'a>(Option<&'a StringArray>);

impl<'a> Text<'a> {
    pub fn get(self, row: usize) -> Option<&'a str> {
        self.0.filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    pub fn or_empty(self, row: usize) -> &'a str {
        self.get(row).unwrap_or_default()
    }

    pub fn owned(self, row: usize) -> Option<String> {
        self.get(row).map(str::to_owned)
    }
}

/// A column of numbers, or of microseconds of UTC, that may be absent.
pub struct Numbers<'a, T: ArrowPrimitiveType>(Option<&'a PrimitiveArray<T>>);

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    pub fn get(&self, row: usize) -> Option<T::Native> {
        self.0.filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }
}

impl Numbers<'_, TimestampMicrosecondType> {
    pub fn instant_or_null(&self, row: usize) -> Result<Option<DateTime<Utc>>, DecodeError> {
        let Some(micros) = self.get(row) else { return Ok(None) };
        let instant = DateTime::from_timestamp_micros(micros);
        instant.map(Some).ok_or_else(|| DecodeError::Foreign("a time is beyond what can be told".to_owned()))
    }

    pub fn instant(&self, row: usize) -> Result<DateTime<Utc>, DecodeError> {
        self.instant_or_null(row)?.ok_or_else(|| DecodeError::Foreign("a row lacks one of its times".to_owned()))
    }
}

/// A column of bytes of one length, that may be absent.
pub struct Fixed<'a>(Option<&'a FixedSizeBinaryArray>);

impl Fixed<'_> {
    pub fn bytes<const N: usize>(&self, row: usize) -> Result<Option<[u8; N]>, DecodeError> {
        let Some(array) = self.0.filter(|array| array.is_valid(row)) else { return Ok(None) };
        let bytes = array.value(row).try_into();
        bytes.map(Some).map_err(|_| DecodeError::Foreign(format!("a hash is not {N} bytes long")))
    }
}
