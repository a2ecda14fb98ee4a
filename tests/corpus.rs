//! The fuzz targets' properties, held against the committed inputs: a few of every kind, made from the documents of
//! tests/data, and whatever a fuzzer once found a fault with (`found-…`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of a test crate"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deskgate::grpc::pb;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};

#[path = "fuzz/properties.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are another crate")]
mod properties;

const UPDATE: &str = "DESKGATE_UPDATE_CORPUS";

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// Holds a property against each input of a target, and sees to it that the `made` ones are among them.
fn replay(target: &str, made: &BTreeMap<String, Vec<u8>>, property: fn(&[u8])) {
    let folder = folder(target);
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in made {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let inputs: BTreeMap<_, _> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for (name, bytes) in made {
        let same = inputs.get(&folder.join(name)) == Some(bytes);
        assert!(same, "{target}/{name} is out of date: run `{UPDATE}=1 cargo test --test corpus`");
    }
    for (path, bytes) in &inputs {
        println!("{}", path.display());
        property(bytes);
    }
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn text_in<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap()
}

#[test]
fn envelopes() {
    let mut made = BTreeMap::new();
    for line in lines(include_str!("data/webhooks.jsonl")) {
        made.insert(text_in(&line, "name").to_owned(), text_in(&line, "body").as_bytes().to_vec());
    }
    let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    let message = |content: &str, metadata: &str| {
        format!(
            r#"{{"id":"m","from":"t@desk.msging.net/Webhook","type":"application/json","content":{content},"metadata":{metadata}}}"#
        )
    };
    for (name, body) in [
        ("odd-deepest", deep(126)),
        ("odd-too-deep", deep(127)),
        ("odd-surrogate", r#"{"id":"fwd:\ud83d","type":"text/plain","content":"\udE00\ud83d"}"#.to_owned()),
        ("odd-byte-order-mark", "\u{feff}{\"a\":1}".to_owned()),
        ("odd-numbers", message("[1e400,-0,123456789012345678901234567890]", "{}")),
        (
            "odd-secret-name",
            message(r#"{"$serde_json::private::Number":"1"}"#, r#"{"$serde_json::private::Number":"1"}"#),
        ),
        ("odd-secret-name-alone", r#"{"$serde_json::private::Number":"1"}"#.to_owned()),
        (
            "odd-twice",
            r#"{"id":"a","ID":"b","id":null,"type":"text/plain","content":1,"content":{}}"#.to_owned(),
        ),
        ("odd-list", "[]".to_owned()),
        ("odd-cut", r#"{"id":"a"#.to_owned()),
    ] {
        made.insert(name.to_owned(), body.into_bytes());
    }
    replay("envelope", &made, properties::envelope);
}

#[test]
fn contents() {
    let mut made = BTreeMap::new();
    for line in lines(include_str!("data/content.jsonl")) {
        let input = format!("{}\n{}", text_in(&line, "type"), line["document"]);
        made.insert(text_in(&line, "name").to_owned(), input.into_bytes());
    }
    made.insert("odd-choices".to_owned(), (0..=255).rev().collect());
    replay("content", &made, properties::content);
}

#[test]
fn requests() {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let mut made = BTreeMap::new();
    let mut add = |name: &str, request: Value| {
        let descriptor = pool.get_message_by_name("deskgate.v1.SendRequest").unwrap();
        let request = DynamicMessage::deserialize(descriptor, request).unwrap();
        let request: pb::SendRequest = request.transcode_to().unwrap();
        made.insert(name.to_owned(), request.encode_to_vec());
    };
    for line in lines(include_str!("data/content.jsonl")) {
        add(text_in(&line, "name"), json!({"ticket_id": "t", "content": line["content"]}));
    }
    add(
        "odd-text",
        json!({"ticket_id": "T%40", "text": "Olá", "agent": "ana@empresa.com", "bot": "suporte",
               "metadata": {"$serde_json::private::Number": "1"},
               "options": {"request_id": "r", "if_ticket_sequence": "7", "validate_only": true}}),
    );
    let secret = json!({"$serde_json::private::Number": "1"});
    let content = json!({"media_type": "application/json", "json": secret, "more": {"a": secret}});
    add("odd-secret-name", json!({"ticket_id": "t", "content": content}));
    add("odd-nothing", json!({}));
    made.insert("odd-choices".to_owned(), (0..=255).rev().collect());
    replay("proto_to_lime", &made, properties::proto_to_lime);
}

#[test]
fn nodes() {
    let texts = [
        "",
        "@",
        "name",
        "@desk.msging.net",
        "76f5bc38-b476-4895-a0c6-016ed1288ba0@desk.msging.net/Webhook",
        "76F5BC38-B476-4895-A0C6-016ED1288BA0@DESK.msging.net",
        "postmaster@desk.msging.net/#az-1",
        "1654%40messenger.gw.msging.net@desk.msging.net",
        "5531999990000%40wa.gw.msging.net%2Fdefault",
        "bot%40msging.net@tunnel.msging.net/5531999990000%40wa.gw.msging.net",
        "ana@empresa.com",
        "ana%40empresa.com@blip.ai",
        "ana%2540empresa.com%40blip.ai",
        " a @ b /c@d/e ",
        "a@/b",
        "fwd: FWD:wamid.A=",
        "/tickets/a b?c#d%2Fe%zz",
        "%FF%00\u{0}é",
    ];
    let made = texts.iter().enumerate().map(|(number, text)| {
        let bytes = text.as_bytes().to_vec();
        (format!("text-{number:02}"), bytes)
    });
    replay("node", &made.collect(), properties::node);
}
