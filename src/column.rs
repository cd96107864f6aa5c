//! How a column is named and marked: what `schema`, which makes columns, and `archive`, which fills them, agree on.

use std::collections::HashSet;

/// Marks a text column (or list element) that holds JSON text; the value is `"true"`.
pub const JSON_KEY: &str = "parqueduct.json";

/// Marks a column of instants that takes finer ones, too: cut to the microsecond, while `_extra` has them whole. The value
/// is `"true"`.
pub const FINER_KEY: &str = "parqueduct.finer";

/// The name of the property a column is filled from, where it differs from the column's own name.
pub const PROPERTY_KEY: &str = "parqueduct.property";

/// Parquet's field id, under the key the Parquet writer reads it from.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

pub const EVENT_ID: &str = "_event_id";
pub const BODY_HASH: &str = "_body_hash";
pub const DEAD_LETTER_ID: &str = "_dead_letter_id";
pub const EVENT_TIME: &str = "_event_time";
pub const INGESTED_AT: &str = "_ingested_at";
pub const QUEUE: &str = "_queue";
pub const EXCHANGE: &str = "_exchange";
pub const ROUTING_KEY: &str = "_routing_key";
pub const SCHEMA: &str = "_schema";
pub const REDELIVERED: &str = "_redelivered";
pub const HEADERS: &str = "_headers";
pub const EXTRA: &str = "_extra";
pub const RAW: &str = "_raw";
pub const TRACE_ID: &str = "_trace_id";
pub const CLOUD_EVENT: &str = "_cloudevent";

/// The columns every file has beside those of its schema (`_raw` only if asked for, `_cloudevent` of CloudEvents). A
/// column's field id is its place here plus one, so new ones go to the end.
pub const SYSTEM: [&str; 15] = [
    EVENT_ID,
    BODY_HASH,
    DEAD_LETTER_ID,
    EVENT_TIME,
    INGESTED_AT,
    QUEUE,
    EXCHANGE,
    ROUTING_KEY,
    SCHEMA,
    REDELIVERED,
    HEADERS,
    EXTRA,
    RAW,
    TRACE_ID,
    CLOUD_EVENT,
];

/// What a schema says that columns do not: by the pointers of properties, `[*]` for an array's elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Those that must be there: where their column is null, the event had `null`, and not nothing.
    pub required: HashSet<String>,
    /// Decimals that are strings in an event, and not numbers.
    pub decimal_texts: HashSet<String>,
}

/// Names no property's column may have, in whatever case: the system columns, and the directories `date=` and `hour=`,
/// which readers turn into columns. Independent of the configuration, so that a schema always gives the same columns.
pub fn is_reserved(name: &str) -> bool {
    SYSTEM.iter().chain(&["date", "hour"]).any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Field ids below this are the system columns'.
const FIRST_PROPERTY_ID: u32 = 1000;

/// The field id of a system column.
pub fn system_field_id(name: &str) -> Option<i32> {
    let place = SYSTEM.iter().position(|system| *system == name)?;
    i32::try_from(place + 1).ok()
}

/// The field id of the property at `path`, a JSON pointer with `[*]` for array elements: positive, and the same whatever
/// else the schema holds. 31 bits of FNV-1a (64 bits, <http://www.isthe.com/chongo/tech/comp/fnv/>), above the ids of
/// the system columns. Two paths may collide; who builds columns must check.
pub fn property_field_id(path: &str) -> i32 {
    let hash = fnv1a(path.as_bytes());
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    let range = u64::from(i32::MAX.unsigned_abs() - FIRST_PROPERTY_ID);
    let id = u64::from(FIRST_PROPERTY_ID) + folded % range;
    i32::try_from(id).expect("below 2^31 by the range it was folded into")
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_ids_never_change() {
        // Files in the field carry these.
        assert_eq!(system_field_id(EVENT_ID), Some(1));
        assert_eq!(system_field_id(RAW), Some(13));
        assert_eq!(system_field_id(TRACE_ID), Some(14));
        assert_eq!(system_field_id(CLOUD_EVENT), Some(15));
        assert_eq!(property_field_id("/id"), 140_633_468);
        assert_eq!(property_field_id("/route/origin"), 679_615_000);
    }

    #[test]
    fn property_ids_are_positive_and_above_the_system_columns() {
        for number in 0..10_000 {
            assert!(property_field_id(&format!("/field{number}")) >= 1000);
        }
    }

    #[test]
    fn reserved_names_are_so_in_any_case() {
        assert!(is_reserved("_event_id") && is_reserved("_Event_ID") && is_reserved("DATE") && is_reserved("hour"));
        assert!(!is_reserved("_mine") && !is_reserved("id"));
    }
}
