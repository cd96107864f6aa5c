//! From events to files and back, with the reader of the parquet crate.

mod back; // and back without the schema

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::column;
use crate::config::PartitionKey;
use crate::event::{HeaderValue, Message, Properties};
use crate::rejection::{Code, Rejection};
use crate::value::{Node, Pointer, Tape};

const FACTS: FileFacts<'static> = FileFacts {
    program_version: "0.1.0",
    pipeline: "flights",
    schema_label: "flight@1",
    schema_hash: "00ff",
    instance: "a",
    flush: "01HZX3V5T0000000000000000",
    compression_level: 1,
};

/// 2013-01-01T10:15:00Z
const TIME: i64 = 1_357_035_300_000_000;

fn marked(name: &str, data_type: DataType, key: &str, value: &str) -> Field {
    Field::new(name, data_type, true).with_metadata(HashMap::from([(key.to_owned(), value.to_owned())]))
}

/// One column of every kind, as `schema::columns` makes them.
fn columns() -> Fields {
    let plain = |name: &str, data_type| Field::new(name, data_type, true);
    let json = |name: &str| marked(name, DataType::Utf8, column::JSON_KEY, "true");
    let item =
        DataType::Struct(vec![plain("sku", DataType::Utf8), plain("count", DataType::Int64), json("any")].into());
    let list = |data_type| DataType::List(Arc::new(Field::new("element", data_type, true)));
    let route = vec![plain("origin", DataType::Utf8), plain("miles", DataType::Int64), plain("items", list(item))];
    vec![
        plain("text", DataType::Utf8),
        plain("integer", DataType::Int64),
        plain("number", DataType::Float64),
        plain("flag", DataType::Boolean),
        plain("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        plain("day", DataType::Date32),
        plain("price", DataType::Decimal128(10, 2)),
        json("open"),
        plain("route", DataType::Struct(route.into())),
        plain("lists", list(list(DataType::Int64))),
        marked("dotted_name", DataType::Utf8, column::PROPERTY_KEY, "dotted.name"),
    ]
    .into()
}

fn layout_by(partition_by: Vec<PartitionKey>) -> Arc<Layout> {
    let options = LayoutOptions {
        schema_label: "flight@1".to_owned(),
        partition_by,
        keep_raw: true,
        cloud_events: false,
        issues_max: 3,
        open_partitions_max: 3,
    };
    Arc::new(Layout::new(&columns(), options).expect("a layout"))
}

fn layout() -> Arc<Layout> {
    layout_by(vec![PartitionKey::Date])
}

/// The nodes a JSON decoder makes of `json`, numbers' texts appended to `source`.
fn decode<'a>(json: &'a Json, nodes: &mut Vec<Node<'a>>, source: &mut String) {
    let at = nodes.len();
    match json {
        Json::Null => nodes.push(Node::Null),
        Json::Bool(bit) => nodes.push(Node::Bool(*bit)),
        Json::Number(number) => nodes.push(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Node::I64(number),
            (_, Some(number), _) => Node::U64(number),
            (.., number) => {
                let (text, at) = (json.to_string(), source.len() as u32);
                source.push_str(&text);
                Node::F64 { value: number.expect("a number"), at, len: text.len() as u32 }
            }
        }),
        Json::String(text) => nodes.push(Node::Str(text)),
        Json::Array(elements) => {
            nodes.push(Node::Null);
            elements.iter().for_each(|element| decode(element, nodes, source));
            nodes[at] = Node::Array { elements: elements.len() as u32, end: nodes.len() as u32 };
        }
        Json::Object(members) => {
            nodes.push(Node::Null);
            for (name, member) in members {
                nodes.push(Node::Str(name));
                decode(member, nodes, source);
            }
            nodes[at] = Node::Object { members: members.len() as u32, end: nodes.len() as u32 };
        }
    }
}

fn push_at(batches: &mut Batches, delivery: u32, event: &Json, event_time_us: i64) -> Result<(), Refused> {
    let (mut nodes, mut source) = (Vec::new(), String::new());
    decode(event, &mut nodes, &mut source);
    let tape = Tape::new(nodes, source.as_bytes());
    let message = Message {
        body: event.to_string().into_bytes(),
        exchange: "events".to_owned(),
        routing_key: "flight.operated".to_owned(),
        redelivered: delivery.is_multiple_of(2),
        properties: Properties {
            headers: (delivery > 0).then(|| vec![("x-try".to_owned(), HeaderValue::I64(i64::from(delivery)))]),
            ..Properties::default()
        }
        .into(),
        ..Message::default()
    };
    let id = format!("id-{delivery}");
    batches
        .push(
            0,
            &Row {
                delivery,
                event: tape.root(),
                id: (delivery != 1).then_some(&id),
                body_hash: message.body_hash(),
                dead_letter_id: None,
                event_time_us,
                ingested_at_us: TIME + 1,
                queue: "flights",
                message: &message,
                cloud_event: None,
            },
        )
        .map(drop)
}

fn push(batches: &mut Batches, delivery: u32, event: &Json) -> Result<(), Refused> {
    push_at(batches, delivery, event, TIME)
}

fn rejection(event: &Json) -> Rejection {
    match push(&mut Batches::new([layout()]), 0, event) {
        Err(Refused::Row(rejection)) => rejection,
        other => panic!("{event} is not rejected: {other:?}"),
    }
}

fn read(file: &EncodedFile) -> (RecordBatch, Arc<ParquetMetaData>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).expect("a Parquet file");
    let metadata = Arc::clone(builder.metadata());
    let mut reader = builder.with_batch_size(1 << 20).build().expect("a reader");
    let batch = reader.next().expect("rows").expect("readable rows");
    assert!(reader.next().is_none());
    (batch, metadata)
}

/// One file of one event each.
fn write(events: &[Json]) -> EncodedFile {
    encode(&seal(events), &FACTS).expect("a file")
}

/// A batch of one event each.
fn seal(events: &[Json]) -> SealedBatch {
    let mut batches = Batches::new([layout()]);
    for (delivery, event) in events.iter().enumerate() {
        push(&mut batches, delivery as u32, event).unwrap_or_else(|refused| panic!("{event}: {refused:?}"));
    }
    let mut sealed = batches.seal();
    assert_eq!(sealed.len(), 1);
    sealed.remove(0)
}

/// The events back from their columns, of the types `fields` say, with what is in `_extra`.
fn events(batch: &RecordBatch, fields: &Fields) -> Vec<Json> {
    let extra = batch.column_by_name(column::EXTRA).expect("the column").as_string::<i32>();
    let rows = 0..batch.num_rows();
    rows.map(|row| {
        let extra = extra.is_valid(row).then(|| serde_json::from_str(extra.value(row)).expect("JSON"));
        let members = fields.iter().zip(batch.columns()).map(|(field, array)| (field, cell(field, array, row)));
        merge(object(members), extra, fields)
    })
    .collect()
}

fn object<'f>(members: impl Iterator<Item = (&'f FieldRef, Json)>) -> Json {
    Json::Object(members.filter(|(_, value)| !value.is_null()).map(|(field, value)| (property(field), value)).collect())
}

fn property(field: &Field) -> String {
    field.metadata().get(column::PROPERTY_KEY).unwrap_or(field.name()).clone()
}

fn cell(field: &Field, array: &ArrayRef, row: usize) -> Json {
    if array.is_null(row) {
        return Json::Null;
    }
    match field.data_type() {
        DataType::Utf8 if field.metadata().contains_key(column::JSON_KEY) => {
            serde_json::from_str(array.as_string::<i32>().value(row)).expect("JSON text")
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = chrono::DateTime::from_timestamp_micros(micros).expect("in range");
            json!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            json!(chrono::NaiveDate::from_epoch_days(days).expect("in range").to_string())
        }
        DataType::Decimal128(..) => {
            let digits = array.as_primitive::<Decimal128Type>().value(row);
            json!(format!("{}{}.{:02}", if digits < 0 { "-" } else { "" }, digits.abs() / 100, digits.abs() % 100))
        }
        DataType::Struct(members) => {
            let arrays = array.as_struct().columns();
            object(members.iter().zip(arrays).map(|(member, array)| (member, cell(member, array, row))))
        }
        DataType::List(element) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).map(|place| cell(element, &elements, place)).collect()
        }
        other => panic!("no column has type {other}"),
    }
}

fn merge(event: Json, extra: Option<Json>, fields: &Fields) -> Json {
    let Some(Json::Object(extra)) = extra else { return extra.unwrap_or(event) };
    let Json::Object(mut event) = event else { panic!("{extra:?} has no object to go to") };
    for (name, value) in extra {
        match (fields.iter().find(|field| property(field) == name).map(|field| field.data_type()), value) {
            (Some(DataType::Struct(members)), value) => {
                let inner = event.insert(name.clone(), Json::Null).expect("an object was there");
                event.insert(name, merge(inner, Some(value), members));
            }
            (Some(DataType::List(element)), Json::Array(values)) => {
                let DataType::Struct(members) = element.data_type() else {
                    panic!("only objects leave something over")
                };
                let Some(Json::Array(elements)) = event.get_mut(&name) else { panic!("an array was there") };
                for (element, value) in elements.iter_mut().zip(values) {
                    if !value.is_null() {
                        *element = merge(element.take(), Some(value), members);
                    }
                }
            }
            (None, value) => assert_eq!(event.insert(name, value), None, "what has a column is not in `_extra`"),
            (Some(_), value) => panic!("{value} is left over of a plain column"),
        }
    }
    Json::Object(event)
}

/// What is to come back of `event`: without the declared fields that are null.
fn kept(event: &Json, fields: &Fields) -> Json {
    let Json::Object(members) = event else { return event.clone() };
    let mut out = Map::new();
    for (name, value) in members {
        match fields.iter().find(|field| property(field) == *name) {
            Some(_) if value.is_null() => {}
            Some(field) => drop(out.insert(name.clone(), kept_value(value, field))),
            None => drop(out.insert(name.clone(), value.clone())),
        }
    }
    Json::Object(out)
}

fn kept_value(value: &Json, field: &Field) -> Json {
    match (field.data_type(), value) {
        (DataType::Struct(members), _) => kept(value, members),
        (DataType::List(element), Json::Array(elements)) => {
            elements.iter().map(|value| kept_value(value, element)).collect()
        }
        _ => value.clone(),
    }
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(|bit| json!(bit)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        prop::num::f64::NORMAL.prop_map(|number| json!(number)),
        "\\PC{0,8}|[\\x00-\\x7f]{0,4}".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|elements| json!(elements)),
            prop::collection::btree_map("[a-z]{0,3}|\\PC{1,3}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

/// A value that `field`'s column takes.
fn value_for(field: &FieldRef) -> BoxedStrategy<Json> {
    let some = match field.data_type() {
        DataType::Utf8 if field.metadata().contains_key(column::JSON_KEY) => json_value().boxed(),
        DataType::Utf8 => any::<String>().prop_map(|text| json!(text)).boxed(),
        DataType::Int64 => any::<i64>().prop_map(|number| json!(number)).boxed(),
        DataType::Float64 => prop::num::f64::NORMAL.prop_map(|number| json!(number)).boxed(),
        DataType::Boolean => any::<bool>().prop_map(|bit| json!(bit)).boxed(),
        DataType::Timestamp(..) => (-62_135_596_800_000_000_i64..253_402_300_800_000_000)
            .prop_map(|micros| {
                let time = chrono::DateTime::from_timestamp_micros(micros).expect("in range");
                json!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
            })
            .boxed(),
        DataType::Date32 => (-719_162..2_932_896)
            .prop_map(|days| json!(chrono::NaiveDate::from_epoch_days(days).expect("in range").to_string()))
            .boxed(),
        DataType::Decimal128(..) => (-9_999_999_999_i64..=9_999_999_999)
            .prop_map(|digits| {
                let sign = if digits < 0 { "-" } else { "" };
                json!(format!("{sign}{}.{:02}", digits.abs() / 100, digits.abs() % 100))
            })
            .boxed(),
        DataType::Struct(members) => event_for(members).boxed(),
        DataType::List(element) => {
            prop::collection::vec(value_for(element), 0..4).prop_map(|elements| json!(elements)).boxed()
        }
        other => panic!("no column has type {other}"),
    };
    prop_oneof![1 => Just(Json::Null), 8 => some].boxed()
}

/// An object with some of the fields, in some order, and some that are not declared.
fn event_for(fields: &Fields) -> BoxedStrategy<Json> {
    let declared: Vec<_> = fields.iter().map(|field| (Just(property(field)), value_for(field))).collect();
    let more = prop::collection::vec(("x-[a-z]{0,2}", json_value()), 0..3);
    (declared, more, any::<u64>())
        .prop_map(|(mut members, more, seed)| {
            members.extend(more);
            let count = members.len();
            members.rotate_left(seed as usize % count);
            members.truncate(count - (seed >> 32) as usize % count);
            Json::Object(members.into_iter().collect())
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_taken_reads_back_as_it_was(all in prop::collection::vec(event_for(&columns()), 1..12)) {
        let file = write(&all);
        let (batch, _) = read(&file);
        let expected: Vec<_> = all.iter().map(|event| kept(event, &columns())).collect();
        prop_assert_eq!(events(&batch, &columns()), expected);
    }

    #[test]
    fn a_rejected_event_leaves_no_trace(
        good in prop::collection::vec(event_for(&columns()), 1..6),
        bad in prop::collection::vec((event_for(&columns()), 0_usize..6), 1..6),
    ) {
        let mut mixed = Batches::new([layout()]);
        for (delivery, event) in good.iter().enumerate() {
            if let Some((bad, kind)) = bad.get(delivery) {
                let Json::Object(mut bad) = bad.clone() else { panic!("events are objects") };
                // Last, so that all before it is pushed already.
                let (name, value) = [
                    ("text", json!(1)), ("integer", json!(1.5)), ("lists", json!([[1], [2, "x"]])), ("day", json!("x")),
                    ("route", json!({"x-y": 1, "origin": "A", "items": [{"sku": "a", "x-z": 2}, {"count": "x"}]})),
                    ("flag", json!("true")),
                ][*kind].clone();
                bad.shift_remove(name);
                bad.insert(name.to_owned(), value);
                prop_assert!(matches!(push(&mut mixed, 99, &Json::Object(bad)), Err(Refused::Row(_))));
            }
            prop_assert_eq!(push(&mut mixed, delivery as u32, event), Ok(()));
        }
        prop_assert_eq!(mixed.rows(), good.len());
        let sealed = mixed.seal();
        let file = encode(&sealed[0], &FACTS).expect("a file");
        prop_assert_eq!(file.bytes, write(&good).bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn events_enough_for_dictionaries_read_back_as_they_were(
        some in prop::collection::vec(event_for(&columns()), 1..12),
        many in prop::collection::vec(event_for(&columns()), 0..80),
        repeats in 0_usize..20,
        part in 0_usize..100,
    ) {
        let all: Vec<_> = some.iter().cycle().take(some.len() * repeats).chain(&some).chain(&many).cloned().collect();
        let expected: Vec<_> = all.iter().map(|event| kept(event, &columns())).collect();
        let sealed = seal(&all);
        let whole = encode(&sealed, &FACTS).expect("a file");
        prop_assert_eq!(events(&read(&whole).0, &columns()), &*expected);
        let from = part.min(all.len() - 1);
        let rest = encode(&sealed.slice(from, all.len()), &FACTS).expect("a file");
        prop_assert_eq!(events(&read(&rest).0, &columns()), &expected[from..]);
    }
}

#[test]
fn a_flight_reads_back_with_its_system_columns() {
    let event = json!({"text": "UA", "integer": 1545, "at": "2013-01-01T11:15:00+01:00", "route": {"origin": "EWR", "gate": 7}});
    let mut batches = Batches::new([layout()]);
    for delivery in 0..3 {
        push(&mut batches, delivery, &event).expect("a row");
    }
    let file = encode(&batches.seal()[0], &FACTS).expect("a file");
    let (batch, metadata) = read(&file);
    let text = |name: &str, row| {
        let array = batch.column_by_name(name).expect("the column").as_string::<i32>();
        array.is_valid(row).then(|| array.value(row).to_owned())
    };
    assert_eq!(text("_event_id", 0).as_deref(), Some("id-0"));
    assert_eq!((text("_event_id", 1), text("_dead_letter_id", 1)), (None, None));
    assert_eq!(text("_queue", 1).as_deref(), Some("flights"));
    assert_eq!(text("_exchange", 1).as_deref(), Some("events"));
    assert_eq!(text("_routing_key", 1).as_deref(), Some("flight.operated"));
    assert_eq!(text("_schema", 2).as_deref(), Some("flight@1"));
    assert_eq!(text("_headers", 0), None);
    assert_eq!(text("_headers", 2).as_deref(), Some(r#"{"x-try":{"l":"2"}}"#));
    assert_eq!(text("_extra", 0).as_deref(), Some(r#"{"route":{"gate":7}}"#));
    let column = |name: &str| batch.column_by_name(name).expect("the column").clone();
    assert_eq!(column("_raw").as_binary::<i32>().value(0), event.to_string().as_bytes());
    let hash = Message { body: event.to_string().into_bytes(), ..Message::default() }.body_hash();
    assert_eq!(column("_body_hash").as_fixed_size_binary().value(2), hash);
    assert_eq!(column("_redelivered").as_boolean().iter().flatten().collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(column("_event_time").as_primitive::<TimestampMicrosecondType>().value(0), TIME);
    assert_eq!(column("_ingested_at").as_primitive::<TimestampMicrosecondType>().value(0), TIME + 1);
    assert_eq!(column("at").as_primitive::<TimestampMicrosecondType>().value(0), TIME);
    assert_eq!((file.rows(), file.event_time_min_us, file.event_time_max_us), (3, TIME, TIME));

    let footer = metadata.file_metadata().key_value_metadata().expect("footer keys");
    let value = |key: &str| footer.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    assert_eq!(value("parqueduct.format_version").as_deref(), Some("1"));
    assert_eq!(value("parqueduct.schema").as_deref(), Some("flight@1"));
    assert_eq!(value("parqueduct.rows").as_deref(), Some("3"));
    assert_eq!(
        value("parqueduct.json_columns").as_deref(),
        Some(r#"["open","route.items[].any","_headers","_extra"]"#)
    );
    assert_eq!(value("ARROW:schema"), None);
}

#[test]
fn files_have_field_ids_page_indexes_a_bloom_filter_and_fitting_encodings() {
    let all: Vec<_> = (0..1000)
        .map(|number| json!({"text": format!("unique {number}"), "integer": number % 7, "dotted.name": "same", "at": "2013-01-01T11:15:00Z"}))
        .collect();
    let file = write(&all);
    let (_, metadata) = read(&file);
    let group = metadata.row_group(0);
    let column = |name: &str| {
        let found = group.columns().iter().find(|column| column.column_path().string() == name);
        found.unwrap_or_else(|| panic!("no column {name}"))
    };
    let has_dictionary = |name: &str| column(name).dictionary_page_offset().is_some();
    assert!(
        !has_dictionary("text")
            && !has_dictionary("_event_id")
            && !has_dictionary("at")
            && !has_dictionary("_body_hash")
    );
    assert!(has_dictionary("integer") && has_dictionary("dotted_name") && has_dictionary("_queue"));
    assert!(column("at").encodings().any(|encoding| encoding == parquet::basic::Encoding::DELTA_BINARY_PACKED));
    assert!(column("_event_id").bloom_filter_offset().is_some() && column("text").bloom_filter_offset().is_none());
    assert!(column("integer").column_index_offset().is_some() && column("integer").offset_index_offset().is_some());
    assert!(column("integer").statistics().is_some());
    assert!(matches!(column("text").compression(), parquet::basic::Compression::ZSTD(_)));
    let root = metadata.file_metadata().schema_descr().root_schema();
    let id =
        root.get_fields().iter().find(|field| field.name() == "_event_id").map(|field| field.get_basic_info().id());
    assert_eq!(id, Some(1));
    let list = column("route.items.list.element.sku").column_descr().self_type().get_basic_info().has_id();
    assert!(!list, "these columns were made without ids; the schema's have them at every depth");
}

#[test]
fn every_column_is_written_even_when_no_event_has_it() {
    let file = write(&[json!({})]);
    let (batch, _) = read(&file);
    // All but that of CloudEvents, which these are not.
    assert_eq!(batch.num_columns(), columns().len() + column::SYSTEM.len() - 1);
    assert_eq!(events(&batch, &columns()), [json!({})]);
}

#[test]
fn an_event_that_is_no_object_is_kept_whole() {
    let all = [json!([1, "x"]), json!("text"), json!(7)];
    let file = write(&all);
    assert_eq!(events(&read(&file).0, &columns()), all);
}

#[test]
fn values_are_never_coerced() {
    for (event, code, path) in [
        (json!({"text": 1}), Code::EncodeType, "/text"),
        (json!({"integer": "1"}), Code::EncodeType, "/integer"),
        (json!({"integer": 1.7}), Code::EncodeType, "/integer"),
        (json!({"integer": true}), Code::EncodeType, "/integer"),
        (json!({"integer": u64::MAX}), Code::EncodeIntegerRange, "/integer"),
        (json!({"integer": 1e19}), Code::EncodeIntegerRange, "/integer"),
        (json!({"number": "1.5"}), Code::EncodeType, "/number"),
        (json!({"number": 9_007_199_254_740_993_i64}), Code::EncodeNumberPrecision, "/number"),
        (json!({"flag": 1}), Code::EncodeType, "/flag"),
        (json!({"at": 1_357_035_300}), Code::EncodeType, "/at"),
        (json!({"at": "2013-01-01"}), Code::EncodeType, "/at"),
        (json!({"at": "2013-01-01T10:15:00.0000001Z"}), Code::EncodeTimeRange, "/at"),
        (json!({"at": "2016-12-31T23:59:60Z"}), Code::EncodeTimeRange, "/at"),
        (json!({"day": "2013-02-30"}), Code::EncodeType, "/day"),
        (json!({"price": "1.001"}), Code::EncodeDecimalRange, "/price"),
        (json!({"price": 100_000_000}), Code::EncodeDecimalRange, "/price"),
        (json!({"price": "abc"}), Code::EncodeType, "/price"),
        (json!({"route": [1]}), Code::EncodeType, "/route"),
        (json!({"route": {"miles": "x"}}), Code::EncodeType, "/route/miles"),
        (json!({"lists": {}}), Code::EncodeType, "/lists"),
        (json!({"lists": [[1], [2, "x"]]}), Code::EncodeType, "/lists/[*]/[*]"),
        (json!({"dotted.name": 1}), Code::EncodeType, "/dotted.name"),
    ] {
        let rejection = rejection(&event);
        assert_eq!((rejection.code(), rejection.issues()[0].path.as_str()), (code, path), "{event}");
    }
    let issues = rejection(&json!({"lists": [[1], [2, "x"]]}));
    assert_eq!(issues.issues()[0].instance_path, "/lists/1/1");
}

#[test]
fn numbers_that_are_the_same_in_another_notation_are_taken() {
    let file =
        write(&[json!({"integer": 1.0, "number": 3, "price": 12.5}), json!({"integer": 1e3, "price": 99_999_999})]);
    let expected =
        [json!({"integer": 1, "number": 3.0, "price": "12.50"}), json!({"integer": 1000, "price": "99999999.00"})];
    assert_eq!(events(&read(&file).0, &columns()), expected);
}

#[test]
fn all_issues_of_an_event_are_reported_up_to_the_limit() {
    let rejection = rejection(&json!({"text": 1, "flag": 1, "route": {"origin": 1, "miles": "x"}, "day": 1}));
    let paths: Vec<_> = rejection.issues().iter().map(|issue| issue.path.as_str()).collect();
    assert_eq!(paths, ["/text", "/flag", "/route/origin"]);
    assert_eq!(rejection.issues()[0].expected, "string");
    assert_eq!(rejection.issues()[0].actual, "integer");
}

#[test]
fn what_is_left_over_keeps_its_nested_shape() {
    let event = json!({"new": [1, {"a": null}], "route": {"items": [{"sku": "a"}, {"sku": "b", "x": 1}, {"y": "\"q\""}], "z": 1.50}});
    let file = write(std::slice::from_ref(&event));
    let (batch, _) = read(&file);
    let extra = batch.column_by_name("_extra").expect("the column").as_string::<i32>().value(0);
    assert_eq!(extra, r#"{"new":[1,{"a":null}],"route":{"items":[null,{"x":1},{"y":"\"q\""}],"z":1.5}}"#);
    assert_eq!(events(&batch, &columns()), [event]);
}

#[test]
fn rows_go_to_the_batch_of_their_partition_and_seal_in_order() {
    const DAY: i64 = 86_400_000_000;
    let mut batches = Batches::new([layout()]);
    for (delivery, day) in [2, 0, 2, 1, 0].into_iter().enumerate() {
        push_at(&mut batches, delivery as u32, &json!({}), TIME + day * DAY).expect("a row");
    }
    assert_eq!((batches.rows(), batches.open_partitions()), (5, 3));
    assert!(batches.bytes() > 0);
    let sealed = batches.seal();
    let brief: Vec<_> = sealed.iter().map(|batch| (batch.partition.as_str(), batch.deliveries.as_slice())).collect();
    assert_eq!(
        brief,
        [("date=2013-01-01", &[1, 4][..]), ("date=2013-01-02", &[3][..]), ("date=2013-01-03", &[0, 2][..])]
    );
    assert_eq!((batches.rows(), batches.bytes(), batches.open_partitions()), (0, 0, 0));
    assert!(batches.seal().is_empty());
}

#[test]
fn a_row_that_would_open_one_partition_too_many_waits_for_the_flush() {
    const DAY: i64 = 86_400_000_000;
    let mut batches = Batches::new([layout()]);
    for day in 0..3 {
        push_at(&mut batches, 0, &json!({}), TIME + day * DAY).expect("a row");
    }
    assert_eq!(push_at(&mut batches, 1, &json!({}), TIME + 3 * DAY), Err(Refused::Full));
    assert_eq!(push_at(&mut batches, 1, &json!({}), TIME), Ok(()), "the open ones still take rows");
    batches.seal();
    assert_eq!(push_at(&mut batches, 1, &json!({}), TIME + 3 * DAY), Ok(()));
}

#[test]
fn a_rejected_event_opens_no_partition() {
    let mut batches = Batches::new([layout()]);
    assert!(matches!(push(&mut batches, 0, &json!({"text": 1})), Err(Refused::Row(_))));
    assert_eq!((batches.open_partitions(), batches.rows(), batches.bytes()), (0, 0, 0));
}

#[test]
fn a_key_that_is_also_a_column_gets_a_directory_of_another_name() {
    let pointer = Pointer::parse("/text").expect("a pointer");
    let mut batches = Batches::new([layout_by(vec![PartitionKey::Field { name: "text".to_owned(), pointer }])]);
    push(&mut batches, 0, &json!({"text": "UA"})).expect("a row");
    assert_eq!(batches.seal()[0].partition, "text_key=UA");
}
