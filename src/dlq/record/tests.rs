//! Records through their file and back: whole, in part, from other versions, and broken.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::rejection::Code;

#[test]
fn a_path_tells_its_pipeline_and_date() {
    let at = "2013-06-30T23:59:59Z".parse().unwrap();
    let path = path("flights", at, Ulid::from_parts(0, 7), "host_1", 2);
    assert_eq!(path, "dlq/records/v1/flights/date=2013-06-30/00000000000000000000000007-host_1-2.parquet");
    assert_eq!(parse_path(&path), Some(("flights", at.date_naive())));
    for other in [
        "dlq/records/v1/flights/x.parquet",
        "dlq/records/v1/flights/date=2013-06-30/x.json",
        "dlq/records/v1/flights/date=2013-06-30/more/x.parquet",
        "dlq/records/v1/flights/date=soon/x.parquet",
        "dlq/records/v10/flights/date=2013-06-30/x.parquet",
        "data/flights/v1/date=2013-06-30/x.parquet",
    ] {
        assert_eq!(parse_path(other), None, "{other}");
    }
}

#[test]
fn a_first_death_keeps_the_message_and_counts_by_its_first_issue() {
    let origin = Arc::new(Origin { pipeline: "flights".into(), ..Origin::default() });
    let message = Message { body: b"{}".to_vec(), ..Message::default() };
    let at = "2013-01-01T00:00:00Z".parse().unwrap();
    let delivery = Delivery { tag: 9, received_at: at, message: message.clone() };
    let type_issue = Issue::at(Code::ValidateType, "/a", "integer", "null");
    let missing = Issue::at(Code::ValidateRequired, "/b", "", "");
    let rejection = Rejection::new(vec![type_issue, missing]);
    let id = Ulid::from_parts(1, 1);
    let letter = DeadLetter::new(id, &origin, delivery, &rejection, AttemptSource::Queue, at);
    assert_eq!((letter.message.clone(), letter.delivery_tag), (message, 9));
    assert_eq!((&*letter.stage, &*letter.code), ("validate", "validate.type"));
    assert_eq!(letter.attempts.len(), 1);
    assert_eq!(&letter.attempts[0].group, letter.group());
    assert_ne!(letter.issues[0].group, letter.issues[1].group);
}

fn by_id(mut letters: Vec<DeadLetter>) -> Vec<DeadLetter> {
    letters.sort_by_key(|letter| letter.id);
    letters
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_came_in_is_given_back(letters in prop::collection::vec(samples::any_letter(), 0..4)) {
        let back = decode(encode(&letters).expect("letters are written")).expect("and read");
        prop_assert_eq!(by_id(back), by_id(letters));
    }

    #[test]
    fn what_it_takes_to_give_a_letter_back_is_what_the_letter_has(
        letters in prop::collection::vec(samples::any_letter(), 0..4),
        odd in any::<bool>(),
    ) {
        let file = File::whole(encode(&letters).expect("letters are written")).expect("and read");
        let (mut ids, mut whole, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        file.ids(|id| ids.push(id)).expect("ids are read");
        let picked: Vec<bool> = (0..ids.len()).map(|place| (place % 2 == 1) == odd).collect();
        file.picked(&picked, |some| whole.extend(some)).expect("whole ones are read");
        file.returnable(&picked, |some| parts.extend(some)).expect("parts are read");
        let wanted: Vec<Returnable> = whole.into_iter().map(returnable).collect();
        prop_assert_eq!(parts, wanted);
    }
}

fn returnable(letter: DeadLetter) -> Returnable {
    let mut groups: Vec<GroupId> = Vec::new();
    for issue in &letter.issues {
        if !groups.contains(&issue.group) {
            groups.push(issue.group.clone());
        }
    }
    let DeadLetter { id, message, received_at, dead_at, blob, body_sha256, attempts, .. } = letter;
    let attempts = attempts.iter().map(|attempt| attempt.n).max().unwrap_or(1);
    Returnable { id, message, received_at, dead_at, groups, attempts, blob, body_sha256, wire: None }
}

#[test]
fn every_byte_of_a_body_and_every_property_survives() {
    let body: Vec<u8> = (0..=255).collect();
    let mut letter = samples::letter("flights", 0, 1, &body, &samples::nulls());
    letter.message.properties.timestamp = Some((1 << 63) + 5);
    letter.message.properties.headers = Some(vec![]);
    let back = decode(encode(std::slice::from_ref(&letter)).unwrap()).unwrap();
    assert_eq!(back, [letter]);
}

/// Three letters in two groups, given in no order.
fn three() -> Vec<DeadLetter> {
    let nulls = samples::nulls();
    vec![
        samples::letter("flights", 20, 2, b"{\"b\":1}", &nulls),
        samples::letter("flights", 10, 3, b"{\"c\"", &samples::truncated(4)),
        samples::letter("flights", 10, 1, b"{\"a\":1}", &nulls),
    ]
}

#[test]
fn a_file_is_sorted_by_group_then_time_and_says_so() {
    let letters = three();
    let file = encode(&letters).unwrap();
    let back = decode(file.clone()).unwrap();
    let order: Vec<_> = back.iter().map(|letter| (letter.group().clone(), letter.dead_at)).collect();
    assert!(order.is_sorted(), "{order:?}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let sorting = builder.metadata().row_group(0).sorting_columns().unwrap();
    let leaf = |position: i32| builder.parquet_schema().column(position as usize).path().string();
    let names: Vec<_> = sorting.iter().map(|column| leaf(column.column_idx)).collect();
    assert_eq!(names, ["group", "dead_at", "id"]);
}

#[test]
fn a_footer_holds_no_byte_of_a_body() {
    let file = encode(&[samples::letter("flights", 0, 1, b"secret-value", &samples::nulls())]).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let body = builder.metadata().row_group(0).columns().iter().find(|column| column.column_path().string() == "body");
    assert!(body.expect("there is a body").statistics().is_none());
}

#[test]
fn a_summary_tells_all_but_the_body() {
    let mut told = Vec::new();
    decode_summaries(encode(&three()).unwrap(), &Narrowing::default(), |summary| {
        assert_eq!((summary.pipeline, summary.queue), ("flights", "flights"));
        assert_eq!((summary.exchange, summary.routing_key), ("flights", "flight.jfk"));
        assert_eq!(summary.app_id, Some("tower"));
        let paths: Vec<_> = summary.issues.iter().map(|issue| issue.path.to_owned()).collect();
        told.push((summary.message_id.unwrap().to_owned(), summary.code.to_owned(), paths, summary.body_bytes));
    })
    .unwrap();
    told.sort();
    let nulls = ["/arrival/delay_min".to_owned(), "/tailnum".to_owned()].to_vec();
    let expected = [
        ("m-1".to_owned(), "validate.type".to_owned(), nulls.clone(), 7),
        ("m-2".to_owned(), "validate.type".to_owned(), nulls, 7),
        ("m-3".to_owned(), "decode.json.truncated".to_owned(), vec![String::new()], 4),
    ];
    assert_eq!(told, expected);
}

#[test]
fn only_the_letters_asked_for_are_read() {
    let letters: Vec<_> = (0..5000).map(|n| samples::letter("p", n, n as u128, b"{}", &samples::nulls())).collect();
    let file = encode(&letters).unwrap();
    let wanted: HashSet<_> = letters.iter().step_by(1999).map(|letter| letter.id).collect();
    let found = decode_where(file.clone(), &Narrowing::default(), |summary| wanted.contains(&summary.id)).unwrap();
    assert_eq!(found.iter().map(|letter| letter.id).collect::<HashSet<_>>(), wanted);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|found| letters.contains(found)));
    assert_eq!(decode_where(file, &Narrowing::default(), |_| false).unwrap(), []);
}

#[test]
fn bloom_filters_spare_files_without_the_id_or_the_group() {
    let letters = three();
    let file = encode(&letters).unwrap();
    let summaries = |narrowing: Narrowing| {
        let mut count = 0;
        decode_summaries(file.clone(), &narrowing, |_| count += 1).unwrap();
        count
    };
    let id = |id| Narrowing { id: Some(id), group: None };
    assert_eq!(summaries(id(letters[0].id)), 3);
    assert_eq!(summaries(id(Ulid::from_parts(1, 1))), 0);
    let group = |group: &str| Narrowing { id: None, group: GroupId::parse(group) };
    // The second issue's group is no letter's primary one, and is found all the same.
    assert_eq!(summaries(group(letters[0].issues[1].group.as_str())), 3);
    assert_eq!(summaries(group("1-0123456789abcdef")), 0);
}

/// `letters` as a file without the columns `without`, which says that it has `format`.
fn file_of(letters: &[DeadLetter], without: &[&str], format: Option<&str>) -> Bytes {
    let builder = ParquetRecordBatchReaderBuilder::try_new(encode(letters).unwrap()).unwrap();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let fields = batches[0].schema_ref().fields().iter();
    let kept: Vec<usize> =
        fields.enumerate().filter(|(_, f)| !without.contains(&f.name().as_str())).map(|(at, _)| at).collect();
    let batch = batches[0].project(&kept).unwrap();
    let footer = format.map(|format| vec![KeyValue::new(FORMAT_KEY.to_owned(), format.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(footer).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

#[test]
fn a_file_that_lacks_newer_columns_is_read() {
    let letters = three();
    let file = file_of(
        &letters,
        &["original_queue", "body_sha256", "body_hash", "event_id", "headers", "unreadable", "attempts", "shard"],
        Some("1"),
    );
    let back = by_id(decode(file.clone()).unwrap());
    let mut expected = by_id(letters);
    for letter in &mut expected {
        letter.message.properties.headers = None;
        letter.attempts.clear();
    }
    assert_eq!(back, expected);
    let mut count = 0;
    decode_summaries(file, &Narrowing { id: Some(expected[0].id), group: None }, |_| count += 1).unwrap();
    assert_eq!(count, 3, "without bloom filters every row is looked at");
}

#[test]
fn a_file_of_a_newer_format_or_of_something_else_is_refused_by_name() {
    let letters = three();
    let refusal = |file: Bytes| decode(file).expect_err("it is refused").to_string();
    let newer = "written in format 2, this program reads up to 1: use a newer parqueduct";
    assert_eq!(refusal(file_of(&letters, &[], Some("2"))), newer);
    let foreign = "not a file of dead letters: its footer has no parqueduct.dead_letters.format";
    assert_eq!(refusal(file_of(&letters, &[], None)), foreign);
    let bodiless = "not a file of dead letters: column body is missing";
    assert_eq!(refusal(file_of(&letters, &["body"], Some("1"))), bodiless);
    assert_eq!(refusal(Bytes::from_static(b"PAR1 but no")), "not a readable parquet file");
    let whole = encode(&letters).unwrap();
    assert!(decode(whole.slice(..whole.len() - 9)).is_err());
}

#[test]
fn a_code_of_a_newer_program_is_kept() {
    let mut letter = samples::letter("flights", 0, 1, b"{}", &samples::nulls());
    letter.code = "decode.newer".into();
    letter.stage = "newer".into();
    letter.issues[0].code = letter.code.clone();
    let back = decode(encode(std::slice::from_ref(&letter)).unwrap()).unwrap();
    assert_eq!(back, [letter]);
}

#[test]
fn letters_are_written_bit_by_bit_as_well() {
    let letters = three();
    let mut encoder = Encoder::unsorted(Vec::new()).unwrap();
    for letter in &letters {
        encoder.write(&[letter]).unwrap();
    }
    assert_eq!(decode(encoder.finish().unwrap().into()).unwrap(), letters);
}
