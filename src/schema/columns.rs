//! A JSON Schema to Parquet columns: which property becomes a column of which type, and why. Pure, and the same for the
//! same schema whatever the configuration.
//!
//! A property of one plain type becomes a typed column; an object that allows no other fields becomes a struct, and so does
//! one with `"x-parqueduct-struct": true`, whose other fields are in `_extra`; an array
//! of such elements becomes a list. All else is kept as JSON text, and never guessed at: an open object, a map, values
//! of several types, a schema that refers to itself, nesting beyond [`NESTING_MAX`].
//!
//! Every column may be null: a field that is missing and one that is null read the same. Field ids depend on a
//! property's path alone ([`column::property_field_id`]), so they hold when a later version adds or moves properties.
//!
//! Names are the properties' own, but for two: characters engines trip over (`.` and control characters) become `_`, and
//! a name [reserved](column::is_reserved) for a system column or a date directory gets a `_` at its end.
//!
//! An instant is kept to the microsecond, and a finer one is refused, unless `"x-parqueduct-finer": true` stands beside its
//! format: then the column has it cut, and `_extra` whole.
//!
//! A decimal column is asked for with `"format": "decimal"` on a number or a string, its scale by `"scale"` or by a
//! `"multipleOf"` such as 0.01, its digits by `"precision"` (38 when absent).

mod infer;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};

use self::shape::{Elements, Object, Opening, Shape, Text, Types};
use super::{Schema, SchemaError};
use crate::column;
use crate::value::push_segment;

/// Structs and lists nest at most this deep; what lies deeper is JSON text.
pub const NESTING_MAX: usize = 8;

/// The keyword that, beside `"format": "date-time"`, lets a column of instants take finer ones than it holds.
pub const FINER: &str = "x-parqueduct-finer";

/// The keyword that makes an object a struct of the fields it declares, though it allows others: those are in `_extra`.
pub const STRUCT: &str = "x-parqueduct-struct";

/// Columns a schema may give, those within structs and lists counted each: what a batch and its file cost grows with it.
pub const COLUMNS_MAX: usize = 2_000;

/// The columns a schema gives, without the system columns.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Top-level columns in the schema's order, all nullable, each with its field id; see [`crate::column`] for the marks.
    pub fields: Fields,
    /// Why each column has its type: every top-level column, followed by those within it.
    pub reasons: Vec<Reason>,
}

/// Why a column has its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its name, those within structs with their parents' names and dots before it, an array's elements `[]`.
    pub column: String,
    /// The property's JSON pointer, `[*]` for an array's elements.
    pub path: String,
    pub data_type: DataType,
    /// It is text that holds JSON.
    pub is_json: bool,
    /// One sentence for people.
    pub sentence: String,
}

impl Reason {
    /// The column's type in a word; what is in a struct or a list has reasons of its own.
    pub fn type_name(&self) -> String {
        match &self.data_type {
            _ if self.is_json => "JSON text".to_owned(),
            DataType::Struct(_) => "struct".to_owned(),
            DataType::List(_) => "list".to_owned(),
            plain => plain.to_string(),
        }
    }
}

/// Why a schema gives no columns; mended in the schema.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    #[error(
        "properties \"{first}\" and \"{second}\" would be columns that differ at most by case, which many engines \
             cannot tell apart: rename one"
    )]
    NameClash { first: String, second: String },
    #[error("properties {first} and {second} hash to the same Parquet field id {id}: rename one")]
    FieldIdClash { first: String, second: String, id: i32 },
    #[error(
        "the schema gives more than {COLUMNS_MAX} columns: leave parts of it open, so that they are kept as JSON text"
    )]
    TooMany,
    #[error("a reference of the schema leads nowhere")]
    Reference { source: SchemaError },
}

/// The columns of `schema`, those of all its root's branches together.
///
/// # Errors
/// See [`ColumnsError`].
pub fn columns(schema: &Schema) -> Result<Columns, ColumnsError> {
    let root = infer::infer(schema.root()).map_err(|source| ColumnsError::Reference { source })?;
    let mut builder = Builder::default();
    let mut fields = Vec::with_capacity(root.object.fields.len());
    for (property, field) in root.object.fields {
        let (shape, everywhere) = field.settle();
        if shape.types.is_empty() {
            continue; // The schema forbids it: there is never a value.
        }
        fields.push(builder.column(&Place::root(&property), &property, &shape, everywhere, 1)?);
    }
    check_names(&fields)?;
    Ok(Columns { fields: fields.into(), reasons: builder.reasons })
}

/// Columns' names must differ by more than case.
fn check_names(fields: &[FieldRef]) -> Result<(), ColumnsError> {
    let mut seen = HashMap::new();
    for field in fields {
        if let Some(first) = seen.insert(field.name().to_lowercase(), property_of(field)) {
            return Err(ColumnsError::NameClash { first: first.to_owned(), second: property_of(field).to_owned() });
        }
    }
    Ok(())
}

fn property_of(field: &Field) -> &str {
    field.metadata().get(column::PROPERTY_KEY).map_or(field.name(), String::as_str)
}

/// Where a column stands.
struct Place {
    /// As in [`Reason::path`].
    path: String,
    /// As in [`Reason::column`].
    column: String,
}

impl Place {
    fn root(property: &str) -> Self {
        let mut path = String::new();
        push_segment(&mut path, property);
        Self { path, column: column_name(property, true) }
    }

    fn member(&self, property: &str) -> Self {
        let mut path = self.path.clone();
        push_segment(&mut path, property);
        Self { path, column: format!("{}.{}", self.column, column_name(property, false)) }
    }

    fn element(&self) -> Self {
        Self { path: format!("{}/[*]", self.path), column: format!("{}[]", self.column) }
    }
}

/// The name of the column of `property`.
fn column_name(property: &str, top_level: bool) -> String {
    let plain = |character: char| if character == '.' || character.is_control() { '_' } else { character };
    let mut name: String = property.chars().map(plain).collect();
    if name.is_empty() || (top_level && column::is_reserved(&name)) {
        name.push('_');
    }
    name
}

/// What a shape becomes: a type with the reason, or JSON text and why.
enum Kind {
    Plain(DataType, &'static str),
    List(Box<Shape>),
    Struct(Object),
    Json(String),
}

#[derive(Default)]
struct Builder {
    reasons: Vec<Reason>,
    /// Field ids given so far, with their paths.
    ids: HashMap<i32, String>,
}

impl Builder {
    /// The column of `property`; `everywhere`: its type holds in every branch of the schema.
    fn column(
        &mut self,
        place: &Place,
        property: &str,
        shape: &Shape,
        everywhere: bool,
        level: usize,
    ) -> Result<FieldRef, ColumnsError> {
        let name = column_name(property, level == 1);
        let mut notes = String::new();
        if !everywhere {
            notes.push_str("; declared only in some branches, values of another type are dead letters");
        }
        if name != property {
            notes.push_str("; renamed, as the property's name is reserved or trips engines");
        }
        let field = self.field(place, &name, shape, &notes, level)?;
        if name == property {
            return Ok(Arc::new(field));
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(column::PROPERTY_KEY.to_owned(), property.to_owned());
        Ok(Arc::new(field.with_metadata(metadata)))
    }

    fn field(
        &mut self,
        place: &Place,
        name: &str,
        shape: &Shape,
        notes: &str,
        level: usize,
    ) -> Result<Field, ColumnsError> {
        let mut metadata = HashMap::from([(column::FIELD_ID_KEY.to_owned(), self.field_id(&place.path)?.to_string())]);
        // Reserved, so that a column stands before those within it.
        let reason = self.reasons.len();
        self.reasons.push(Reason {
            column: place.column.clone(),
            path: place.path.clone(),
            data_type: DataType::Null,
            is_json: false,
            sentence: String::new(),
        });
        if self.reasons.len() > COLUMNS_MAX {
            return Err(ColumnsError::TooMany);
        }
        let (data_type, sentence) = match kind(shape, level) {
            Kind::Plain(data_type, sentence) => {
                if shape.text == Text::FinerDateTime && matches!(data_type, DataType::Timestamp(..)) {
                    metadata.insert(column::FINER_KEY.to_owned(), "true".to_owned());
                }
                (data_type, sentence.to_owned())
            }
            Kind::List(element) => {
                let element = self.field(&place.element(), "element", &element, "", level + 1)?;
                (DataType::List(Arc::new(element)), "an array whose elements have one type".to_owned())
            }
            Kind::Struct(object) => {
                let mut members = Vec::with_capacity(object.fields.len());
                for (property, member) in object.fields {
                    let (shape, everywhere) = member.settle();
                    if !shape.types.is_empty() {
                        members.push(self.column(
                            &place.member(&property),
                            &property,
                            &shape,
                            everywhere,
                            level + 1,
                        )?);
                    }
                }
                let sentence = match object.opening {
                    Opening::Kept => "an object, whose other fields are in _extra",
                    _ => "an object that allows no other fields",
                };
                (DataType::Struct(members.into()), sentence.to_owned())
            }
            Kind::Json(why) => {
                metadata.insert(column::JSON_KEY.to_owned(), "true".to_owned());
                (DataType::Utf8, format!("JSON text: {why}"))
            }
        };
        self.reasons[reason].data_type = data_type.clone();
        self.reasons[reason].is_json = metadata.contains_key(column::JSON_KEY);
        self.reasons[reason].sentence = sentence + notes;
        Ok(Field::new(name, data_type, true).with_metadata(metadata))
    }

    fn field_id(&mut self, path: &str) -> Result<i32, ColumnsError> {
        let id = column::property_field_id(path);
        match self.ids.insert(id, path.to_owned()) {
            Some(first) => Err(ColumnsError::FieldIdClash { first, second: path.to_owned(), id }),
            None => Ok(id),
        }
    }
}

/// What `shape` becomes at that depth of nesting, the top level being 1.
fn kind(shape: &Shape, level: usize) -> Kind {
    let types = shape.types.without(Types::NULL);
    if let Some(decimal) = shape.decimal
        && types.within(Types::NUMBER.or(Types::STRING))
    {
        return Kind::Plain(DataType::Decimal128(decimal.precision, decimal.scale), "a decimal, by its format");
    }
    match types {
        Types::BOOLEAN => Kind::Plain(DataType::Boolean, "a boolean"),
        Types::INTEGER => Kind::Plain(DataType::Int64, "an integer; one beyond 64 bits is a dead letter"),
        Types::NUMBER | Types::FRACTION => {
            Kind::Plain(DataType::Float64, "a number; one that would lose digits as a double is a dead letter")
        }
        Types::STRING => match shape.text {
            Text::Plain => Kind::Plain(DataType::Utf8, "a string"),
            Text::DateTime => Kind::Plain(
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                "a string of format date-time, as the instant in UTC; finer than microseconds is a dead letter",
            ),
            Text::FinerDateTime => Kind::Plain(
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                "a string of format date-time, as the instant in UTC; what is finer than microseconds is cut, and whole in _extra",
            ),
            Text::Date => Kind::Plain(DataType::Date32, "a string of format date"),
        },
        Types::ARRAY => array_kind(shape, level),
        Types::OBJECT => object_kind(shape, level),
        types if types.is_empty() => Kind::Json("the schema allows no value but null".to_owned()),
        types if types == Types::ALL.without(Types::NULL) => {
            Kind::Json(shape.note.unwrap_or("the schema does not say its type").to_owned())
        }
        types => Kind::Json(format!("it may be {types}")),
    }
}

fn array_kind(shape: &Shape, level: usize) -> Kind {
    let Elements::Of(element) = &shape.array else {
        return Kind::Json("an array whose elements have no one type".to_owned());
    };
    if level >= NESTING_MAX {
        return Kind::Json(format!("nested deeper than {NESTING_MAX} levels"));
    }
    match kind(element, level + 1) {
        Kind::Json(why) => Kind::Json(format!("an array, of whose elements: {why}")),
        _ => Kind::List(element.clone()),
    }
}

fn object_kind(shape: &Shape, level: usize) -> Kind {
    let object = &shape.object;
    let mut names: Vec<_> = object.fields.iter().map(|(name, _)| column_name(name, false).to_lowercase()).collect();
    names.sort_unstable();
    let possible = |field: &shape::Field| !field.clone().settle().0.types.is_empty();
    if object.opening > Opening::Kept {
        Kind::Json("an object that allows fields the schema does not declare".to_owned())
    } else if !object.fields.iter().any(|(_, field)| possible(field)) {
        Kind::Json("an object without fields, which Parquet cannot hold".to_owned())
    } else if names.windows(2).any(|pair| pair[0] == pair[1]) {
        Kind::Json("fields of the object differ only by case".to_owned())
    } else if level >= NESTING_MAX {
        Kind::Json(format!("nested deeper than {NESTING_MAX} levels"))
    } else {
        Kind::Struct(object.clone())
    }
}
