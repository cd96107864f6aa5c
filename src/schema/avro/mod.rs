//! An Avro schema (<https://avro.apache.org/docs/1.12.0/specification/>): the types of its data as a flat table that a
//! decoder walks, and the same as a JSON Schema, of which columns are made. How its types become JSON's is told in
//! `docs/formats.md`.

mod canonical; // the form that fingerprints are made of
mod json_schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};
use serde_json::Value;

use super::SENSITIVE;

/// A type by its place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

/// What a value is, and how its bytes are laid out.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// Of so many bytes.
    Fixed(usize),
    /// One of these symbols.
    Enum(Vec<String>),
    Array(TypeId),
    /// Keys are strings.
    Map(TypeId),
    Union(Vec<Branch>),
    Record(Vec<Field>),
    Decimal {
        precision: usize,
        scale: usize,
        /// `Some`: of so many bytes, without a length before them.
        fixed: Option<usize>,
    },
    /// Its scale is in the value.
    BigDecimal,
    Uuid(UuidForm),
    Date,
    /// Of a day.
    Time(Unit),
    Timestamp(Unit),
    /// Without a time zone.
    LocalTimestamp(Unit),
    /// Months, days and milliseconds.
    Duration,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// How a UUID is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidForm {
    Text,
    /// Sixteen bytes with their length before them.
    Bytes,
    Fixed,
}

/// One type of a union.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    pub of: TypeId,
    /// In a union of more than null and one other type, what tells its value from others: the value is the only member,
    /// by that name, of an object.
    pub tag: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub of: TypeId,
    doc: Option<String>,
    /// Data that other schemas wrote need not have it.
    has_default: bool,
    sensitive: bool,
}

/// The types of a schema whose root is a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Types {
    types: Vec<Type>,
    /// Those that have names, by place, in the order they were met.
    names: Vec<(TypeId, String)>,
    root: TypeId,
    fingerprint: [u8; 8],
    text: String,
    others: Vec<String>,
}

/// Why an Avro schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    #[error("{0}")]
    Invalid(String),
    #[error("the root is no record, so there are no columns to make of it: wrap it in a record")]
    NoRecord,
    #[error("a record contains itself without a union, an array or a map between, so no value of it ends")]
    Endless,
}

impl Types {
    /// Parses the schema that is `text`. Types that it names and does not define are looked for in `others`.
    ///
    /// # Errors
    /// See [`AvroError`].
    pub fn parse(text: &str, others: &[String]) -> Result<Self, AvroError> {
        let invalid = |error: apache_avro::Error| AvroError::Invalid(error.to_string());
        let (root, definitions_besides) = Schema::parse_str_with_list(text, others).map_err(invalid)?;
        let mut compiler = Compiler { known: HashMap::new(), types: Vec::new(), names: Vec::new() };
        // What is referred to may itself refer to what comes later; so all names are known first.
        let mut definitions = HashMap::new();
        for schema in definitions_besides.iter().chain([&root]) {
            define(schema, None, &mut definitions);
        }
        let id = compiler.compile(&root, None, &definitions)?;
        if !matches!(compiler.types[id.0 as usize], Type::Record(_)) {
            return Err(AvroError::NoRecord);
        }
        let Compiler { types, names, .. } = compiler;
        let (text, others) = (text.to_owned(), others.to_vec());
        let mut types = Self { types, names, root: id, fingerprint: [0; 8], text, others };
        if types.is_endless() {
            return Err(AvroError::Endless);
        }
        types.fingerprint = canonical::rabin(&canonical::of(&types));
        Ok(types)
    }

    /// The schema's own text, and those that define what it names besides.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn others(&self) -> &[String] {
        &self.others
    }

    pub fn root(&self) -> TypeId {
        self.root
    }

    pub fn of(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// CRC-64-AVRO of the canonical form, little-endian, as single-object encoding has it.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }

    /// The same as a JSON Schema, of the values that a decoder makes.
    pub fn json_schema(&self) -> Value {
        json_schema::of(self, false)
    }

    /// The same of values that other versions of the schema made: they may have more members, and lack those that have a
    /// default.
    pub fn json_schema_of_others(&self) -> Value {
        json_schema::of(self, true)
    }

    /// Whether some record holds itself in every value of it.
    fn is_endless(&self) -> bool {
        /// 0: not looked at, 1: above us, 2: ends.
        fn visit(types: &Types, id: TypeId, seen: &mut [u8]) -> bool {
            let at = id.0 as usize;
            if seen[at] != 0 {
                return seen[at] == 1;
            }
            seen[at] = 1;
            let endless = match types.of(id) {
                Type::Record(fields) => fields.iter().any(|field| visit(types, field.of, seen)),
                _ => false,
            };
            seen[at] = 2;
            endless
        }
        let mut seen = vec![0; self.types.len()];
        (0..self.types.len()).any(|at| visit(self, TypeId(at as u32), &mut seen))
    }
}

/// Notes every named type within `schema`.
fn define<'s>(schema: &'s Schema, enclosing: Option<&str>, into: &mut HashMap<String, &'s Schema>) {
    if let Some(name) = schema.name().filter(|_| !matches!(schema, Schema::Ref { .. })) {
        let name = full_name(name, enclosing);
        let namespace = namespace_of(&name).map(str::to_owned);
        into.entry(name).or_insert(schema);
        if let Schema::Record(record) = schema {
            record.fields.iter().for_each(|field| define(&field.schema, namespace.as_deref(), into));
        }
        return;
    }
    match schema {
        Schema::Array(array) => define(&array.items, enclosing, into),
        Schema::Map(map) => define(&map.types, enclosing, into),
        Schema::Union(union) => union.variants().iter().for_each(|branch| define(branch, enclosing, into)),
        _ => {}
    }
}

fn full_name(name: &Name, enclosing: Option<&str>) -> String {
    match (name.namespace(), enclosing) {
        (None, Some(enclosing)) if !enclosing.is_empty() => format!("{enclosing}.{}", name.name()),
        (None, _) => name.name().to_owned(),
        (Some(namespace), _) => format!("{namespace}.{}", name.name()),
    }
}

fn namespace_of(full_name: &str) -> Option<&str> {
    full_name.rsplit_once('.').map(|(namespace, _)| namespace)
}

fn last_name(full_name: &str) -> &str {
    full_name.rsplit_once('.').map_or(full_name, |(_, name)| name)
}

struct Compiler {
    known: HashMap<String, TypeId>,
    types: Vec<Type>,
    names: Vec<(TypeId, String)>,
}

impl Compiler {
    fn add(&mut self, of: Type) -> TypeId {
        self.types.push(of);
        TypeId(self.types.len() as u32 - 1)
    }

    fn compile(
        &mut self,
        schema: &Schema,
        enclosing: Option<&str>,
        definitions: &HashMap<String, &Schema>,
    ) -> Result<TypeId, AvroError> {
        let Some(name) = schema.name() else {
            let of = self.unnamed(schema, enclosing, definitions)?;
            return Ok(self.add(of));
        };
        let name = full_name(name, enclosing);
        if let Some(known) = self.known.get(&name) {
            return Ok(*known);
        }
        let schema =
            *definitions.get(&name).ok_or_else(|| AvroError::Invalid(format!("type {name} is not defined")))?;
        let id = self.add(Type::Null);
        self.known.insert(name.clone(), id);
        self.names.push((id, name.clone()));
        self.types[id.0 as usize] = self.named(schema, namespace_of(&name), definitions)?;
        Ok(id)
    }

    fn named(
        &mut self,
        schema: &Schema,
        namespace: Option<&str>,
        definitions: &HashMap<String, &Schema>,
    ) -> Result<Type, AvroError> {
        Ok(match schema {
            Schema::Record(record) => {
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    fields.push(Field {
                        name: field.name.clone(),
                        of: self.compile(&field.schema, namespace, definitions)?,
                        doc: field.doc.clone(),
                        has_default: field.default.is_some(),
                        sensitive: field.custom_attributes.get(SENSITIVE).and_then(Value::as_bool) == Some(true),
                    });
                }
                Type::Record(fields)
            }
            Schema::Enum(symbols) => Type::Enum(symbols.symbols.clone()),
            Schema::Fixed(fixed) => Type::Fixed(fixed.size),
            other => self.unnamed(other, namespace, definitions)?,
        })
    }

    fn unnamed(
        &mut self,
        schema: &Schema,
        enclosing: Option<&str>,
        definitions: &HashMap<String, &Schema>,
    ) -> Result<Type, AvroError> {
        Ok(match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int => Type::Int,
            Schema::Long => Type::Long,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes => Type::Bytes,
            Schema::String => Type::String,
            Schema::Array(array) => Type::Array(self.compile(&array.items, enclosing, definitions)?),
            Schema::Map(map) => Type::Map(self.compile(&map.types, enclosing, definitions)?),
            Schema::Union(union) => {
                let variants = union.variants();
                let tags = tags(variants, enclosing);
                let mut branches = Vec::with_capacity(variants.len());
                for (variant, tag) in variants.iter().zip(tags) {
                    branches.push(Branch { of: self.compile(variant, enclosing, definitions)?, tag });
                }
                Type::Union(branches)
            }
            Schema::Decimal(decimal) => Type::Decimal {
                precision: decimal.precision,
                scale: decimal.scale,
                fixed: match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                },
            },
            Schema::BigDecimal => Type::BigDecimal,
            Schema::Uuid(form) => Type::Uuid(match form {
                UuidSchema::String => UuidForm::Text,
                UuidSchema::Bytes => UuidForm::Bytes,
                UuidSchema::Fixed(_) => UuidForm::Fixed,
            }),
            Schema::Date => Type::Date,
            Schema::TimeMillis => Type::Time(Unit::Millis),
            Schema::TimeMicros => Type::Time(Unit::Micros),
            Schema::TimestampMillis => Type::Timestamp(Unit::Millis),
            Schema::TimestampMicros => Type::Timestamp(Unit::Micros),
            Schema::TimestampNanos => Type::Timestamp(Unit::Nanos),
            Schema::LocalTimestampMillis => Type::LocalTimestamp(Unit::Millis),
            Schema::LocalTimestampMicros => Type::LocalTimestamp(Unit::Micros),
            Schema::LocalTimestampNanos => Type::LocalTimestamp(Unit::Nanos),
            Schema::Duration(_) => Type::Duration,
            Schema::Record(_) | Schema::Enum(_) | Schema::Fixed(_) | Schema::Ref { .. } => {
                unreachable!("they have names")
            }
        })
    }
}

/// What tells the branches of a union apart: nothing where at most one is not null; else the names of their types, as in
/// Avro's own JSON encoding, without the namespace where that does not matter.
fn tags(variants: &[Schema], enclosing: Option<&str>) -> Vec<Option<String>> {
    if variants.iter().filter(|variant| !matches!(variant, Schema::Null)).count() < 2 {
        return vec![None; variants.len()];
    }
    let full: Vec<String> = variants.iter().map(|variant| type_name(variant, enclosing)).collect();
    let short = |name: &str| full.iter().filter(|other| last_name(other) == last_name(name)).count() == 1;
    let tag = |(variant, name): (&Schema, &String)| match variant {
        Schema::Null => None,
        _ if short(name) => Some(last_name(name).to_owned()),
        _ => Some(name.clone()),
    };
    variants.iter().zip(&full).map(tag).collect()
}

/// The name of a type as a branch of a union.
fn type_name(schema: &Schema, enclosing: Option<&str>) -> String {
    if let Some(name) = schema.name() {
        return full_name(name, enclosing);
    }
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "boolean",
        Schema::Int | Schema::Date | Schema::TimeMillis => "int",
        Schema::Float => "float",
        Schema::Double => "double",
        Schema::Bytes | Schema::Decimal(_) | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => "bytes",
        Schema::String | Schema::Uuid(_) => "string",
        Schema::Array(_) => "array",
        Schema::Map(_) => "map",
        _ => "long",
    }
    .to_owned()
}
