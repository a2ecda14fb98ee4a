//! The public API is a promise: nothing that was published goes or changes its number, and every element of
//! it has a comment. The promise is kept as text, `tests/data/api.txt`, so that a change can be read.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use std::collections::BTreeMap;
use std::fs;

use deskgate::grpc::pb::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::field_descriptor_proto::Label;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MessageOptions, ServiceDescriptorProto,
};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/api.txt");
const UPDATE: &str = "DESKGATE_UPDATE_API";

#[test]
fn api_keeps_what_was_published() {
    let now: Vec<String> = elements().into_iter().map(|element| element.line).collect();
    let snapshot = fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let published: Vec<&str> = snapshot.lines().collect();

    let gone: Vec<&&str> = published.iter().filter(|line| !now.iter().any(|own| own == *line)).collect();
    assert!(
        gone.is_empty(),
        "the API no longer has, or has under another number or type:\n{gone:#?}\n\
         If that is meant, delete these lines from tests/data/api.txt by hand.",
    );

    if std::env::var_os(UPDATE).is_some() {
        fs::write(SNAPSHOT, now.join("\n") + "\n").unwrap();
        return;
    }
    let new: Vec<&String> = now.iter().filter(|line| !published.contains(&line.as_str())).collect();
    assert!(
        new.is_empty(),
        "tests/data/api.txt does not have yet:\n{new:#?}\n\
         Run `{UPDATE}=1 cargo test --test api` to add these lines, and commit them.",
    );
}

#[test]
fn every_element_has_a_comment() {
    let bare: Vec<String> =
        elements().into_iter().filter(|element| !element.has_comment).map(|element| element.line).collect();
    assert!(bare.is_empty(), "without a comment in proto/:\n{bare:#?}");
}

#[test]
fn imports_are_our_own_or_googles() {
    let foreign: Vec<String> = files()
        .into_iter()
        .flat_map(|file| file.dependency)
        .filter(|path| !path.starts_with("deskgate/v1/") && !path.starts_with("google/protobuf/"))
        .collect();
    assert!(foreign.is_empty(), "stubs must build with plain protoc, without {foreign:?}");
}

/// One line of the snapshot: a message, field, oneof, enum, value, service or rpc.
struct Element {
    line: String,
    has_comment: bool,
}

/// Where an element stands in its file, as source info counts it.
type Path = Vec<i32>;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().filter(|file| file.package() == "deskgate.v1").collect()
}

fn elements() -> Vec<Element> {
    files().iter().flat_map(elements_of_file).collect()
}

fn elements_of_file(file: &FileDescriptorProto) -> Vec<Element> {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let comments: BTreeMap<&[i32], &str> =
        locations.map(|location| (location.path.as_slice(), location.leading_comments())).collect();

    let messages = numbered(&file.message_type)
        .flat_map(|(at, message)| lines_of_message(file.package(), &[4, at], message));
    let enums =
        numbered(&file.enum_type).flat_map(|(at, item)| lines_of_enum(file.package(), &[5, at], item));
    let services =
        numbered(&file.service).flat_map(|(at, service)| lines_of_service(file.package(), &[6, at], service));
    messages
        .chain(enums)
        .chain(services)
        .map(|(path, line)| {
            let has_comment = comments.get(path.as_slice()).is_some_and(|text| !text.trim().is_empty());
            Element { line, has_comment }
        })
        .collect()
}

fn lines_of_message(scope: &str, path: &[i32], message: &DescriptorProto) -> Vec<(Path, String)> {
    let name = format!("{scope}.{}", message.name());
    let mut lines = vec![(path.to_vec(), name.clone())];
    for (at, field) in numbered(&message.field) {
        let line = format!("{name}.{} = {} {}", field.name(), field.number(), type_of_field(message, field));
        lines.push((join(path, &[2, at]), line));
    }
    for (at, oneof) in numbered(&message.oneof_decl) {
        let belongs =
            |field: &FieldDescriptorProto| field.oneof_index == Some(at) && !field.proto3_optional();
        if message.field.iter().any(belongs) {
            lines.push((join(path, &[8, at]), format!("{name}.{} oneof", oneof.name())));
        }
    }
    for (at, nested) in numbered(&message.nested_type).filter(|(_, nested)| !is_map_entry(nested)) {
        lines.extend(lines_of_message(&name, &join(path, &[3, at]), nested));
    }
    for (at, nested) in numbered(&message.enum_type) {
        lines.extend(lines_of_enum(&name, &join(path, &[4, at]), nested));
    }
    lines
}

fn lines_of_enum(scope: &str, path: &[i32], item: &EnumDescriptorProto) -> Vec<(Path, String)> {
    let name = format!("{scope}.{}", item.name());
    let values = numbered(&item.value)
        .map(|(at, value)| (join(path, &[2, at]), format!("{name}.{} = {}", value.name(), value.number())));
    std::iter::once((path.to_vec(), format!("{name} enum"))).chain(values).collect()
}

fn lines_of_service(scope: &str, path: &[i32], service: &ServiceDescriptorProto) -> Vec<(Path, String)> {
    let name = format!("{scope}.{}", service.name());
    let stream = |streams: bool| if streams { "stream " } else { "" };
    let methods = numbered(&service.method).map(|(at, method)| {
        let line = format!(
            "{name}.{}({}{}) returns ({}{})",
            method.name(),
            stream(method.client_streaming()),
            method.input_type().trim_start_matches('.'),
            stream(method.server_streaming()),
            method.output_type().trim_start_matches('.'),
        );
        (join(path, &[2, at]), line)
    });
    std::iter::once((path.to_vec(), format!("{name} service"))).chain(methods).collect()
}

/// The field's type as the proto writes it, with the `oneof` it belongs to.
fn type_of_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let entry = field.type_name().rsplit('.').next().unwrap();
    let is_entry = |nested: &&DescriptorProto| is_map_entry(nested) && nested.name() == entry;
    if let Some([key, value]) = message.nested_type.iter().find(is_entry).map(|map| map.field.as_slice()) {
        return format!("map<{}, {}>", type_of_field(message, key), type_of_field(message, value));
    }
    let name = match field.type_name() {
        "" => field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        named => named.trim_start_matches('.').to_owned(),
    };
    let oneof = field.oneof_index.and_then(|at| message.oneof_decl.get(usize::try_from(at).unwrap()));
    match oneof {
        _ if field.proto3_optional() => format!("optional {name}"),
        _ if field.label() == Label::Repeated => format!("repeated {name}"),
        Some(oneof) => format!("{name} in {}", oneof.name()),
        None => name,
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}

fn join(path: &[i32], rest: &[i32]) -> Path {
    [path, rest].concat()
}
