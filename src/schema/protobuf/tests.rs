use prost_reflect::prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use super::*;
use crate::schema::columns::columns;
use crate::schema::{Language, Schema};

fn field(name: &str, number: i32, of: Type, type_name: Option<&str>, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(of.into()),
        type_name: type_name.map(str::to_owned),
        ..FieldDescriptorProto::default()
    }
}

fn set(fields: Vec<FieldDescriptorProto>) -> Vec<u8> {
    let message = DescriptorProto { name: Some("Order".to_owned()), field: fields, ..DescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some("order.proto".to_owned()),
        package: Some("shop.v1".to_owned()),
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        ..FileDescriptorProto::default()
    };
    // The library knows the files of google.protobuf.
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto(file.clone()).expect("a file");
    let known = pool.get_file_by_name("google/protobuf/timestamp.proto").expect("a file");
    FileDescriptorSet { file: vec![known.file_descriptor_proto().clone(), file] }.encode_to_vec()
}

#[test]
fn fields_become_columns_in_the_order_of_the_file() {
    let set = set(vec![
        field("id", 7, Type::String, None, Label::Optional),
        field("count", 1, Type::Uint64, None, Label::Optional),
        field("at", 3, Type::Message, Some(".google.protobuf.Timestamp"), Label::Optional),
        field("tags", 2, Type::String, None, Label::Repeated),
        field("again", 4, Type::Message, Some(".shop.v1.Order"), Label::Optional),
    ]);
    let language = Language::Protobuf { message: "shop.v1.Order".to_owned() };
    let read = |_: &std::path::Path| Ok(set.clone());
    let schema = Schema::load(&language, std::path::Path::new("/o.v1.desc"), "o", 1, &read).expect("a schema");
    let columns = columns(&schema).expect("columns");
    let told: Vec<_> = columns.fields.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(told[..3], ["id Utf8", "count Decimal128(20, 0)", "at Timestamp(µs, \"UTC\")"]);
    assert!(told[3].starts_with("tags List(") && told[4].starts_with("again "), "{told:?}");
    assert!(columns.fields[2].metadata().contains_key(crate::column::FINER_KEY));
}

#[test]
fn what_is_no_descriptor_set_or_has_no_such_message_is_refused_by_name() {
    let set = set(vec![field("id", 1, Type::String, None, Label::Optional)]);
    assert!(matches!(Types::parse(b"syntax = \"proto3\";", "x"), Err(ProtobufError::Invalid(_))));
    let error = Types::parse(&set, "shop.v1.Ordre").expect_err("no such message").to_string();
    assert!(error.contains("it has shop.v1.Order"), "{error}");
    let error = Types::parse(&set, "google.protobuf.Timestamp").expect_err("no object").to_string();
    assert!(error.contains("no object"), "{error}");
    Types::parse(&set, ".shop.v1.Order").expect("a leading dot is of no matter");
}

#[test]
fn a_set_of_another_syntax_is_refused_by_the_name_of_its_file() {
    let of = |syntax: Option<&str>| {
        let message = DescriptorProto { name: Some("Order".to_owned()), ..DescriptorProto::default() };
        let file = FileDescriptorProto {
            name: Some("order.proto".to_owned()),
            message_type: vec![message],
            syntax: syntax.map(str::to_owned),
            ..FileDescriptorProto::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec()
    };
    for syntax in [None, Some("proto2"), Some("proto3")] {
        Types::parse(&of(syntax), "Order").expect("a set");
    }
    for syntax in ["editions", "proto1", ""] {
        let set = of(Some(syntax));
        let error = Types::parse(&set, "Order").expect_err("refused").to_string();
        assert_eq!(
            error,
            format!("file order.proto is of syntax {syntax:?}, and what can be read is proto2 and proto3")
        );
        assert!(matches!(Source::of_set(&set), Err(ProtobufError::Syntax { .. })), "{syntax:?}");
    }
}
