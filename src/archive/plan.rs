//! What the columns ask of an event, compiled once from their Arrow fields.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};

use crate::column;
use crate::value::write_json_string;

/// The fields of an object, at the root or within a struct.
#[derive(Debug)]
pub(super) struct ObjectPlan {
    pub(super) members: Vec<MemberPlan>,
    places: HashMap<Box<str>, usize, BuildHasherDefault<Fnv>>,
}

#[derive(Debug)]
pub(super) struct MemberPlan {
    /// The name of the property, which need not be the column's.
    pub(super) property: Box<str>,
    /// The name as JSON, with the colon.
    pub(super) key: Box<[u8]>,
    pub(super) kind: Kind,
}

/// What a column holds.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Double,
    Instant {
        /// Finer ones than it holds are taken, too.
        finer: bool,
    },
    Date,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Text,
    Json,
    Struct(Arc<ObjectPlan>),
    List(Box<Kind>),
}

impl ObjectPlan {
    /// The plan for columns such as `schema::columns` makes.
    ///
    /// # Errors
    /// The first field of a type that no property becomes.
    pub(super) fn new(fields: &Fields) -> Result<Self, Arc<Field>> {
        let mut members = Vec::with_capacity(fields.len());
        for field in fields {
            let property = field.metadata().get(column::PROPERTY_KEY).unwrap_or(field.name());
            let mut key = Vec::new();
            write_json_string(property, &mut key);
            key.push(b':');
            members.push(MemberPlan { property: property.as_str().into(), key: key.into(), kind: kind(field)? });
        }
        let places = members.iter().enumerate().map(|(place, member)| (member.property.clone(), place)).collect();
        Ok(Self { members, places })
    }

    /// The place of the member of that name.
    pub(super) fn find(&self, property: &str) -> Option<usize> {
        self.places.get(property).copied()
    }
}

fn kind(field: &Arc<Field>) -> Result<Kind, Arc<Field>> {
    Ok(match field.data_type() {
        DataType::Boolean => Kind::Boolean,
        DataType::Int64 => Kind::Integer,
        DataType::Float64 => Kind::Double,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            Kind::Instant { finer: field.metadata().contains_key(column::FINER_KEY) }
        }
        DataType::Date32 => Kind::Date,
        DataType::Decimal128(precision, scale) if *precision <= 38 => {
            let scale =
                u8::try_from(*scale).ok().filter(|scale| scale <= precision).ok_or_else(|| Arc::clone(field))?;
            Kind::Decimal { precision: *precision, scale }
        }
        DataType::Utf8 if field.metadata().contains_key(column::JSON_KEY) => Kind::Json,
        DataType::Utf8 => Kind::Text,
        DataType::Struct(members) if !members.is_empty() => Kind::Struct(Arc::new(ObjectPlan::new(members)?)),
        DataType::List(element) => Kind::List(Box::new(kind(element)?)),
        _ => return Err(Arc::clone(field)),
    })
}

/// FNV-1a, for short names. Only the schema's names are ever stored, so events cannot make them collide.
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
