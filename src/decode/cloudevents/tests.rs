use super::*;
use crate::event::Properties;

fn text(value: &str) -> HeaderValue {
    HeaderValue::Text(value.as_bytes().to_vec())
}

fn message(content_type: Option<&str>, headers: &[(&str, HeaderValue)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let content_type = content_type.map(str::to_owned);
    let properties = Properties { content_type, headers: Some(headers), ..Properties::default() };
    Message { properties: properties.into(), body: b"{}".to_vec(), ..Message::default() }
}

fn issues(rejection: &Rejection) -> Vec<(&str, &str, &str)> {
    rejection.issues().iter().map(|issue| (issue.code.as_str(), issue.path.as_str(), issue.actual.as_str())).collect()
}

#[test]
fn the_content_type_tells_the_mode_and_else_the_headers() {
    let binary = [("cloudEvents:id", text("1"))];
    for (content_type, headers, mode) in [
        (Some("application/cloudevents+json; charset=utf-8"), &binary[..], Ok(Mode::Structured)),
        (Some("Application/CloudEvents+JSON"), &[], Ok(Mode::Structured)),
        (Some("application/json"), &binary, Ok(Mode::Binary)),
        (None, &binary, Ok(Mode::Binary)),
        (None, &[("CE-Source", text("/a"))], Ok(Mode::Binary)),
        // Only what is an event by itself can be one without a word of it.
        (Some("application/json"), &[("ce-region", text("eu"))], Ok(Mode::Structured)),
        (None, &[], Ok(Mode::Structured)),
        (Some("application/cloudevents-batch+json"), &[], Err(Code::CloudEventsBatch)),
        (Some("application/cloudevents+avro"), &binary, Err(Code::CloudEventsFormat)),
    ] {
        let found = Mode::of(&message(content_type, headers)).map_err(|rejection| rejection.code());
        assert_eq!(found, mode, "{content_type:?} {headers:?}");
    }
}

#[test]
fn headers_become_attributes_in_one_order_whatever_their_types() {
    let found = Attributes::of_headers(&message(
        Some("application/json"),
        &[
            ("ce-type", text("order.placed")),
            ("ce_source", text("/shop")),
            ("cloudEvents_id", HeaderValue::I32(17)),
            ("cloudEvents:specversion", text("1.0")),
            ("cloudEvents:time", HeaderValue::I64(1_704_103_200_123)),
            ("ce-TraceParent", text("00-ab")),
            ("ce-retries", HeaderValue::I32(3)),
            ("ce-urgent", HeaderValue::Bool(true)),
            ("ce-blob", HeaderValue::Bytes(vec![1, 2])),
            ("ce-void", HeaderValue::Void),
            ("ce-datacontenttype", text("text/plain")),
            ("other", text("x")),
        ],
    ));
    assert_eq!(
        found.expect("attributes").to_json(),
        r#"{"specversion":"1.0","id":"17","source":"/shop","type":"order.placed","blob":"AQI=","datacontenttype":"application/json","retries":3,"time":"2024-01-01T10:00:00.123Z","traceparent":"00-ab","urgent":true}"#
    );
    let timed = |value| {
        let required =
            REQUIRED.map(|name| (format!("ce-{name}"), text(if name == "specversion" { "1.0" } else { "x" })));
        let mut message = message(None, &[("ce-time", value)]);
        message.properties.headers.as_mut().expect("headers").extend(required);
        Attributes::of_headers(&message).map(|found| found.time().map(str::to_owned))
    };
    assert_eq!(timed(HeaderValue::Timestamp(1_704_103_200)), Ok(Some("2024-01-01T10:00:00Z".to_owned())));
    assert_eq!(timed(text("as it is")), Ok(Some("as it is".to_owned())));
    let beyond = timed(HeaderValue::Timestamp(u64::MAX)).expect_err("no time");
    assert_eq!(issues(&beyond), [("decode.cloudevents.attribute", "headers/time", "a number beyond")]);
}

#[test]
fn each_attribute_that_is_missing_or_odd_is_told() {
    let refused = Attributes::of_headers(&message(
        None,
        &[
            ("ce-specversion", text("0.3")),
            ("ce-id", text("")),
            ("ce-type", text("a")),
            ("cloudEvents:type", text("b")),
            ("ce-mine", HeaderValue::F64(0.5)),
            ("ce-data", text("x")),
        ],
    ));
    let refused = refused.expect_err("refused");
    assert_eq!(
        issues(&refused),
        [
            ("decode.cloudevents.attribute", "headers/specversion", "another version"),
            ("decode.cloudevents.attribute", "headers/id", "an empty one"),
            ("decode.cloudevents.required", "headers/source", ""),
            ("decode.cloudevents.attribute", "headers/type", "several"),
            ("decode.cloudevents.attribute", "headers/{*}", "a number with a fraction"),
            ("decode.cloudevents.attribute", "headers/{*}", "data"),
        ]
    );
}

#[test]
fn names_of_attributes_are_lower_case_letters_and_digits() {
    let event = |members: &str| {
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,{members}}}"#);
        structured(&event).map(|(attributes, _)| attributes).map_err(|told| told[0].clone())
    };
    let odd =
        |path: &str, actual: &str| Err(("decode.cloudevents.attribute".to_owned(), path.to_owned(), actual.to_owned()));
    for name in ["customerId", "customer_id", "customer-id", "", "ü"] {
        assert_eq!(event(&format!(r#""{name}":"x""#)), odd("/{*}", "another name"), "{name}");
        assert!(event(&format!(r#""{name}":null"#)).is_ok(), "not set: {name}");
    }
    assert!(event(r#""n2":2147483648"#).expect("an event").ends_with(r#","n2":2147483648}"#));
    let headers = |name: &str, value| {
        let required = REQUIRED.map(|name| (name, text(if name == "specversion" { "1.0" } else { "x" })));
        let mut headers: Vec<_> = required.map(|(name, value)| (format!("ce-{name}"), value)).to_vec();
        headers.push((name.to_owned(), value));
        let properties = Properties { headers: Some(headers), ..Properties::default() };
        Attributes::of_headers(&Message { properties: properties.into(), ..Message::default() })
    };
    // It says of no attribute that it is one: a header among others.
    let beside = headers("ce-customer-id", text("7")).expect("an event");
    assert_eq!(beside, headers("customer-id", text("7")).expect("an event"));
}

#[test]
fn what_is_wrong_is_told_alike_in_whatever_order_it_stands() {
    let event = |members: &str| structured(&format!(r#"{{"specversion":"1.0","id":"1",{members},"data":1}}"#));
    let one = event(r#""x":[],"type":7,"y":1.5,"source":{}"#);
    assert_eq!(one, event(r#""y":1.5,"source":{},"type":7,"x":[]"#));
    let told = one.expect_err("refused");
    let paths: Vec<&str> = told.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/source", "/type", "/{*}", "/{*}"]);
}

#[test]
fn attributes_without_number_neither_take_hours_nor_make_issues_without_number() {
    const COUNT: usize = 300_000;
    let event = |value: &str| {
        let members: String = (0..COUNT).map(|number| format!(r#","x{number}":{value}"#)).collect();
        structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1{members}}}"#))
    };
    let (attributes, _) = event("1").expect("an event");
    assert!(attributes.starts_with(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x0":1,"x1":1,"#));
    assert_eq!(event("[]").expect_err("refused").len(), 1);
}

/// Code, path and what was found of an issue.
type Told = (String, String, String);

fn structured(body: &str) -> Result<(String, String), Vec<Told>> {
    let read = |tape: &Tape<'_>| {
        let (attributes, data) = Attributes::of_json(tape.root())?;
        let data = match data {
            Data::Value(value) => {
                let mut out = Vec::new();
                value.write_json(&mut out);
                String::from_utf8(out).expect("UTF-8")
            }
            Data::Bytes(bytes, path) => format!("{path} {}", String::from_utf8_lossy(&bytes)),
        };
        Ok((attributes.to_json(), data))
    };
    let read = JsonDecoder::new(WIDEST).decode(body.as_bytes(), read).expect("JSON");
    read.map_err(|rejection: Rejection| {
        let owned =
            |(code, path, actual): &(&str, &str, &str)| ((*code).to_owned(), (*path).to_owned(), (*actual).to_owned());
        issues(&rejection).iter().map(owned).collect()
    })
}

#[test]
fn the_json_format_gives_attributes_and_data() {
    let event =
        |more: &str| structured(&format!(r#"{{"type":"t","id":"1","source":"/s","specversion":"1.0",{more}}}"#));
    let plain = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#.to_owned();
    assert_eq!(event(r#""data":{"a":1.50}"#), Ok((plain.clone(), r#"{"a":1.50}"#.to_owned())));
    for (media_type, is_json) in
        [("image/json", true), ("a/b+json; c=d", true), ("application/x-json", false), ("json", false)]
    {
        let (_, data) = event(&format!(r#""datacontenttype":"{media_type}","data":"1""#)).expect("an event");
        assert_eq!(data == r#""1""#, is_json, "{media_type}: {data}");
    }
    assert_eq!(event(r#""data":null"#), Ok((plain.clone(), "null".to_owned())));
    assert_eq!(event(r#""data":null,"data_base64":"e30=","subject":null"#), Ok((plain, "/data_base64 {}".to_owned())));
    let said = event(r#""datacontenttype":"text/xml","data":"<a/>""#).expect("an event");
    assert_eq!(said.1, "/data <a/>");
    let said = event(r#""datacontenttype":"application/json","data":"<a/>","n":3"#).expect("an event");
    assert_eq!(said.1, r#""<a/>""#);
    assert!(said.0.ends_with(r#""datacontenttype":"application/json","n":3}"#), "{}", said.0);
}

#[test]
fn what_is_no_event_says_why() {
    let code = |body: &str| structured(body).expect_err("refused").remove(0);
    let told = |code: &str, path: &str, actual: &str| (code.to_owned(), path.to_owned(), actual.to_owned());
    assert_eq!(code(r#"{"order":1}"#), told("decode.cloudevents.absent", "", ""));
    assert_eq!(code("3"), told("decode.cloudevents.absent", "", ""));
    assert_eq!(code(r#"[{"specversion":"1.0"}]"#), told("decode.cloudevents.batch", "", ""));
    let event = |more: &str| code(&format!(r#"{{"type":"t","id":"1","specversion":"1.0"{more}}}"#));
    assert_eq!(event(r#","data":{}"#), told("decode.cloudevents.required", "/source", ""));
    assert_eq!(event(r#","data":{},"source":3"#), told("decode.cloudevents.attribute", "/source", "a number"));
    assert_eq!(event(r#","source":"/s","x":[]"#), told("decode.cloudevents.attribute", "/{*}", "array"));
    assert_eq!(event(r#","source":"/s""#), told("decode.cloudevents.data", "/data", "nothing"));
    assert_eq!(event(r#","source":"/s","data":1,"data_base64":"""#), told("decode.cloudevents.data", "/data", "both"));
    let broken = event(r#","source":"/s","data_base64":"%""#);
    assert_eq!(broken, told("decode.cloudevents.data", "/data_base64", "another string"));
}

#[test]
fn the_data_are_of_the_type_that_the_attribute_says_where_the_property_says_nothing() {
    let attribute = ("ce-datacontenttype", text("avro/binary"));
    let of = |content_type, headers: &[(&str, HeaderValue)]| {
        content_type_of(&message(content_type, headers)).map(str::to_owned)
    };
    let binary = [("ce-id", text("1")), attribute.clone()];
    assert_eq!(of(None, &binary).as_deref(), Some("avro/binary"));
    assert_eq!(of(Some("application/json"), &binary).as_deref(), Some("application/json"));
    // No event, whatever one of its headers is called.
    assert_eq!(of(None, &[attribute]), None);
}

#[test]
fn events_of_two_sources_are_two_whatever_their_bodies() {
    let of = |source: &str| message(None, &[("ce-id", text("1")), ("ce-source", text(source))]);
    assert_ne!(identity_hash(&of("/a")), identity_hash(&of("/b")));
    assert_eq!(identity_hash(&of("/a")), identity_hash(&of("/a")));
    let structured = message(Some("application/cloudevents+json"), &[("ce-source", text("/a"))]);
    assert_eq!(identity_hash(&structured), structured.body_hash());
    // As what they become, whatever their types.
    let typed = |source| message(None, &[("ce-id", text("1")), ("ce-source", source)]);
    assert_ne!(identity_hash(&typed(HeaderValue::I32(1))), identity_hash(&typed(HeaderValue::I32(2))));
    assert_eq!(identity_hash(&typed(HeaderValue::I32(1))), identity_hash(&typed(text("1"))));
    let (one, two) = (HeaderValue::Bytes(b"/a".to_vec()), HeaderValue::Bytes(b"/b".to_vec()));
    assert_ne!(identity_hash(&typed(one)), identity_hash(&typed(two)));
    let unset = message(None, &[("ce-source", HeaderValue::Void), ("cloudEvents:source", text("/a"))]);
    assert_eq!(identity_hash(&unset), identity_hash(&of("/a")));
}

#[test]
fn data_within_the_event_are_found_without_judging_it() {
    let of = |content_type, body: &str| Message { body: body.into(), ..message(content_type, &[]) };
    let event = |data: &str| format!(r#"{{"type":"t","id":"1","source":"/s","specversion":"1.0",{data}}}"#);
    let bytes = |message: Message| structured_bytes(&message, &message.body);
    for content_type in [Some(STRUCTURED), Some("application/json"), None] {
        let found = bytes(of(content_type, &event(r#""data_base64":"AAAAAAc=""#)));
        assert_eq!(found.as_deref(), Some(&b"\0\0\0\0\x07"[..]), "{content_type:?}");
    }
    let said = bytes(of(None, &event(r#""datacontenttype":"text/plain","data":"a""#)));
    assert_eq!(said.as_deref(), Some(&b"a"[..]));
    assert_eq!(bytes(of(None, &event(r#""data":"a""#))), None);
    let binary = message(None, &[("ce-id", text("1"))]);
    assert_eq!(structured_bytes(&binary, event(r#""data_base64":"AAAAAAc=""#).as_bytes()), None);
    let plain = of(None, &event(r#""data":{"a":1.50}"#));
    assert_eq!(structured_data(&plain, &plain.body), Some((None, br#"{"a":1.50}"#.to_vec())));
    let none = of(None, r#"{"data_base64":"AAAAAAc="}"#);
    assert_eq!((structured_data(&none, &none.body), structured_bytes(&none, &none.body)), (None, None));
}
