//! Good events back from their files.

use super::*;
use crate::column::Hints;
use crate::decode::{JsonDecoder, Limits};

/// Only `integer` and `route.miles` must be there; decimals are strings, as the events of these tests have them.
fn hints() -> Hints {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Hints { required: paths(&["/integer", "/route/miles"]), decimal_texts: paths(&["/price"]) }
}

fn unraw_layout() -> Arc<Layout> {
    let options = LayoutOptions {
        schema_label: "flight@1".to_owned(),
        partition_by: vec![PartitionKey::Date],
        keep_raw: false,
        cloud_events: false,
        issues_max: 3,
        open_partitions_max: 3,
    };
    Arc::new(Layout::new(&columns(), options).expect("a layout"))
}

fn file(layout: Arc<Layout>, events: &[Json]) -> bytes::Bytes {
    let mut batches = Batches::new([layout]);
    for (delivery, event) in events.iter().enumerate() {
        push(&mut batches, delivery as u32, event).unwrap_or_else(|refused| panic!("{event}: {refused:?}"));
    }
    encode(&batches.seal()[0], &FACTS).expect("a file").bytes
}

fn bodies(events: &[GoodEvent]) -> Vec<Json> {
    events.iter().map(|event| serde_json::from_slice(&event.message.body).expect("JSON")).collect()
}

/// `event` without the declared members that are null, but with those that are required and not there as null.
fn normal(event: &Json) -> Json {
    let mut event = kept(event, &columns());
    if let Some(members) = event.as_object_mut() {
        members.entry("integer").or_insert(Json::Null);
        if let Some(route) = members.get_mut("route").and_then(Json::as_object_mut) {
            route.entry("miles").or_insert(Json::Null);
        }
    }
    // Times are written as short as they are.
    if let Some(at) = event.get_mut("at") {
        let time = chrono::DateTime::parse_from_rfc3339(at.as_str().expect("a time")).expect("a time");
        *at = json!(time.to_utc().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
    }
    event
}

#[test]
fn an_event_comes_back_with_all_that_the_file_says_of_it() {
    let event = json!({"text": "a", "integer": 9_007_199_254_740_993_i64, "extra": [1.5, null]});
    let rebuilt = rows(file(unraw_layout(), std::slice::from_ref(&event)), 10, &columns(), &hints()).expect("our file");
    let [first] = rebuilt.as_slice() else { panic!("one row") };
    assert_eq!(first.message.body, br#"{"text":"a","integer":9007199254740993,"extra":[1.5,null]}"#);
    assert_eq!((first.event_id.as_deref(), first.queue.as_str()), (Some("id-0"), "flights"));
    assert_eq!((first.message.exchange.as_str(), first.message.routing_key.as_str()), ("events", "flight.operated"));
    assert_eq!(first.event_time.timestamp_micros(), TIME);
    assert_eq!((first.as_received, first.message.redelivered, &first.message.properties.headers), (false, true, &None));
}

#[test]
fn the_bytes_that_were_received_come_back_where_they_are_kept() {
    let events = [json!({"text": "a", "price": "1.00"}), json!({"integer": 1.0, "x": 1})];
    let read = rows(file(layout(), &events), 10, &columns(), &hints()).expect("our file");
    for (read, event) in read.iter().zip(&events) {
        assert_eq!(read.message.body, event.to_string().into_bytes());
        assert!(read.as_received);
    }
    assert_eq!(read[1].event_id, None);
    assert_eq!(read[1].message.properties.headers, Some(vec![("x-try".to_owned(), HeaderValue::I64(1))]));
}

#[test]
fn no_more_rows_are_read_than_asked_for() {
    let events: Vec<Json> = (0..20).map(|integer| json!({ "integer": integer })).collect();
    let file = file(unraw_layout(), &events);
    let read = rows(file.clone(), 3, &columns(), &hints()).expect("our file");
    assert_eq!(bodies(&read), events[..3]);
    assert!(rows(file, 0, &columns(), &hints()).expect("our file").is_empty());
}

#[test]
fn events_that_are_no_objects_come_back_whole() {
    let events = [json!([1, {"a": null}]), json!("text"), json!(7), json!(null), json!({})];
    let read = rows(file(unraw_layout(), &events), 10, &columns(), &Hints::default()).expect("our file");
    assert_eq!(bodies(&read), events);
}

#[test]
fn decimals_come_back_as_numbers_or_texts_as_the_schema_has_them() {
    let file = file(unraw_layout(), &[json!({"price": "-0.05", "integer": 1})]);
    let body = |hints: &Hints| rows(file.clone(), 1, &columns(), hints).expect("our file").remove(0).message.body;
    assert_eq!(body(&hints()), br#"{"integer":1,"price":"-0.05"}"#);
    assert_eq!(body(&Hints::default()), br#"{"integer":1,"price":-0.05}"#);
}

#[test]
fn what_is_none_of_our_files_is_refused() {
    assert!(matches!(
        rows(bytes::Bytes::from_static(b"PAR1"), 1, &columns(), &hints()),
        Err(ReadError::Parquet { .. })
    ));
    let schema = Arc::new(arrow_schema::Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
    let array: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["x"]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array]).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema, None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    let refused = rows(bytes.into(), 1, &columns(), &hints());
    assert!(matches!(refused, Err(ReadError::Foreign { column }) if column == "_event_id"));
}

#[test]
fn what_comes_back_is_good_by_the_same_schema_and_makes_the_same_row() {
    let document = json!({
        "type": "object",
        "required": ["id", "tail", "price", "legs"],
        "properties": {
            "id": {"type": "string"},
            "tail": {"type": ["string", "null"]},
            "note": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
            "price": {"type": "string", "format": "decimal", "scale": 2},
            "fee": {"type": "number", "multipleOf": 0.01, "format": "decimal"},
            "legs": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["gate"],
                "properties": {"gate": {"type": ["integer", "null"]}, "day": {"type": "string", "format": "date"}},
            }},
        },
    });
    let files = |_: &std::path::Path| Ok(document.to_string().into_bytes());
    let schema =
        crate::schema::Schema::load(&Default::default(), std::path::Path::new("order.json"), "order", 1, &files)
            .expect("a schema");
    let validator = schema.validator(10).expect("a validator");
    let columns = crate::schema::columns::columns(&schema).expect("columns").fields;
    let hints = crate::schema::hints(&schema);
    assert!(hints.required.contains("/legs/[*]/gate") && hints.decimal_texts.contains("/price"));
    assert!(!hints.decimal_texts.contains("/fee"));
    let options = LayoutOptions {
        schema_label: "order@1".to_owned(),
        partition_by: Vec::new(),
        keep_raw: false,
        cloud_events: false,
        issues_max: 3,
        open_partitions_max: 3,
    };
    let layout = Arc::new(Layout::new(&columns, options).expect("a layout"));
    let event = br#"{"legs":[{"gate":null,"day":"2026-11-25"},{"gate":7}],"price":"10.50","fee":0.25,"tail":null,"id":"a","at":"2026-11-25T11:00:00+01:00","more":{"z":1}}"#;
    let archive = |body: &[u8]| {
        let mut decoder = JsonDecoder::new(Limits { body_bytes_max: 1 << 20, depth_max: 64 });
        let mut batches = Batches::new([Arc::clone(&layout)]);
        let message = Message { body: body.to_vec(), ..Message::default() };
        decoder
            .decode(body, |tape| {
                validator.check(tape.root()).expect("good by its schema");
                let row = Row {
                    delivery: 0,
                    event: tape.root(),
                    id: Some("a"),
                    body_hash: [0; 16],
                    dead_letter_id: None,
                    event_time_us: TIME,
                    ingested_at_us: TIME,
                    queue: "q",
                    message: &message,
                    cloud_event: None,
                };
                batches.push(0, &row).expect("a row");
            })
            .expect("JSON");
        encode(&batches.seal()[0], &FACTS).expect("a file").bytes
    };
    let file = archive(event);
    let back = rows(file.clone(), 1, &columns, &hints).expect("our file").remove(0).message.body;
    assert_eq!(
        String::from_utf8_lossy(&back),
        r#"{"id":"a","tail":null,"at":"2026-11-25T10:00:00Z","price":"10.50","fee":0.25,"legs":[{"gate":null,"day":"2026-11-25"},{"gate":7}],"more":{"z":1}}"#
    );
    assert_eq!(archive(&back), file);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_comes_back_as_the_value_it_was(all in prop::collection::vec(event_for(&columns()), 1..12)) {
        let file = file(unraw_layout(), &all);
        let back = rows(file, all.len(), &columns(), &hints()).expect("our file");
        let expected: Vec<_> = all.iter().map(normal).collect();
        prop_assert_eq!(bodies(&back), expected);
    }
}
