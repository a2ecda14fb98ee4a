//! What can be sent, what readers see, and the documents in between.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::json;

use super::super::tests::fields;
use super::*;

fn of(media_type: &str, kind: pb::content::Kind) -> pb::Content {
    pb::Content { media_type: media_type.to_owned(), kind: Some(kind), more: None }
}

#[test]
fn text_is_enough() {
    let (content, document) = said("Olá".to_owned(), None).unwrap();
    assert_eq!(content.media_type, "text/plain");
    assert_eq!(document, json!("Olá"));
    assert_eq!(fields(said(String::new(), None)), ["text"]);
    assert_eq!(fields(said("a".to_owned(), Some(pb::Content::default()))), ["text"]);
}

#[test]
fn every_fault_is_named_at_once() {
    let media = pb::content::Kind::Media(pb::MediaLink { size_bytes: -1, ..pb::MediaLink::default() });
    assert_eq!(
        fields(of_pb(of("", media))),
        ["content.media.uri", "content.media.mime_type", "content.media.size_bytes"]
    );
    let place = pb::Location { latitude: 91.0, longitude: f64::NAN, ..pb::Location::default() };
    assert_eq!(
        fields(of_pb(of("", pb::content::Kind::Location(place)))),
        ["content.location.latitude", "content.location.longitude"]
    );
    assert_eq!(fields(of_pb(pb::Content::default())), ["content.kind"]);
}

#[test]
fn links_are_whole_and_typed() {
    let media = |uri: &str, mime_type: &str| {
        let (uri, mime_type) = (uri.to_owned(), mime_type.to_owned());
        of("", pb::content::Kind::Media(pb::MediaLink { uri, mime_type, ..pb::MediaLink::default() }))
    };
    for uri in ["https://a/b", "lime://a@b/c", "data:,a"] {
        assert!(of_pb(media(uri, "image/png; q=1")).is_ok(), "{uri}");
    }
    for uri in ["a.png", "/a.png", "//a/b", "https:", ":a", "https://a/b c"] {
        assert_eq!(fields(of_pb(media(uri, "image/png"))), ["content.media.uri"], "{uri}");
    }
    assert_eq!(fields(of_pb(media("https://a/b", "png"))), ["content.media.mime_type"]);
}

#[test]
fn the_type_must_go_with_the_kind() {
    let text = || pb::content::Kind::Text("a".to_owned());
    assert!(of_pb(of("text/plain; charset=utf-8", text())).is_ok());
    for media_type in ["application/json", "image/png", "plain", "a/b/c", "text/"] {
        assert!(matches!(of_pb(of(media_type, text())), Err(Invalid::Content { .. })), "{media_type}");
    }
    let json = || pb::content::Kind::Json(value::to_pb(&json!({"text": "a"})));
    assert_eq!(fields(of_pb(of("", json()))), ["content.media_type"]);
    assert!(of_pb(of("application/vnd.lime.select+json", json())).is_ok());
    assert!(matches!(of_pb(of("text/plain", json())), Err(Invalid::Content { .. })));
}

#[test]
fn what_is_too_long_for_an_event_is_named() {
    let fits = "x".repeat(DOCUMENT_BYTES_MAX - 2);
    assert!(said(fits.clone(), None).is_ok());
    assert_eq!(fields(said(fits.clone() + "x", None)), ["text"]);
    // As JSON, a control character has six bytes.
    assert_eq!(fields(said("\u{1}".repeat(DOCUMENT_BYTES_MAX / 6 + 1), None)), ["text"]);
    assert_eq!(fields(of_pb(of("", pb::content::Kind::Text(fits.clone() + "x")))), ["content.text"]);
    let json = pb::content::Kind::Json(value::to_pb(&json!({"text": fits})));
    assert_eq!(fields(of_pb(of("application/json", json))), ["content.json"]);
    let media = pb::content::Kind::Media(pb::MediaLink {
        uri: format!("https://example.com/{fits}"),
        mime_type: "image/png".to_owned(),
        ..pb::MediaLink::default()
    });
    assert_eq!(fields(of_pb(of("", media))), ["content.media"]);
    let text = pb::content::Kind::Text("a".to_owned());
    assert_eq!(fields(of_pb(of(&format!("text/{}", "x".repeat(600)), text))), ["content.media_type"]);
}

#[test]
fn more_is_added_as_it_stands() {
    let media = pb::MediaLink {
        uri: "https://a/b".to_owned(),
        mime_type: "image/png".to_owned(),
        ..pb::MediaLink::default()
    };
    let more = value::struct_to_pb(json!({"alt": 1}).as_object().unwrap());
    let content = pb::Content { more, ..of("", pb::content::Kind::Media(media)) };
    let (content, document) = of_pb(content).unwrap();
    assert_eq!(document, json!({"uri": "https://a/b", "type": "image/png", "alt": 1}));
    assert_eq!(content.media_type, "application/vnd.lime.media-link+json");
    assert_eq!(of_pb(to_pb(&content)).unwrap().0, content, "what readers get can be sent");
}

/// A `Content` from Protocol Buffers' JSON, as grpcurl makes one.
fn parsed(json: &str) -> pb::Content {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let descriptor = pool.get_message_by_name("deskgate.v1.Content").unwrap();
    // A parser straight from text hands out numbers in a form of its own.
    let json: Value = serde_json::from_str(json).unwrap();
    DynamicMessage::deserialize(descriptor, json).unwrap().transcode_to().unwrap()
}

/// Content that Blip would not take, as grpcurl would give it, and the fields that are to blame.
const REFUSED: &[(&str, &[&str])] = &[
    // A menu asks something, and has an answer to choose.
    (r#"{"menu": {}}"#, &["menu.text", "menu.options"]),
    (
        r#"{"menu": {"text": "a", "scope": "x", "options": [{"text": "b"}, {"order": 2}]}}"#,
        &["menu.scope", "menu.options[1].text"],
    ),
    (
        r#"{"menu": {"text": "a", "options": [{"text": "b", "value": {"json": {}}}]}}"#,
        &["menu.options[0].value.media_type"],
    ),
    (
        r#"{"menu": {"text": "a", "options": [{"text": "b", "value": {}}, {"text": "c", "value": {"text": ""}}]}}"#,
        &["menu.options[0].value.kind", "menu.options[1].value.text"],
    ),
    (r#"{"menu": {"text": "a", "options": [{"text": "b"}]}, "more": {"text": "c"}}"#, &["more.text"]),
    (r#"{"menu": {"text": "a", "options": [{"text": "b"}]}, "more": {"TEXT": "c"}}"#, &["more.TEXT"]),
    (
        r#"{"menu": {"text": "a", "options": [{"text": "b"}]}, "more": {"options": [{"Text": "c"}]}}"#,
        &["more.options[0].Text"],
    ),
    (
        r#"{"media": {"uri": "https://a/b", "mime_type": "a/b"}, "more": {"URI": "https://c/d"}}"#,
        &["more.URI"],
    ),
    (r#"{"media": {"uri": "https://a/b", "mime_type": "a/b"}, "more": {"Type": "c/d"}}"#, &["more.Type"]),
    (
        r#"{"menu": {"text": "a", "options": [{"text": "b"}]}, "more": {"options": [{"text": "c"}]}}"#,
        &["more.options[0].text"],
    ),
    // A card shows something, and each of its buttons says something.
    (r#"{"carousel": {}}"#, &["carousel.header"]),
    (
        r#"{"carousel": {"header": {"media": {"uri": "a.png"}}, "scope": "x", "options": [{}]}}"#,
        &[
            "carousel.header.media.uri",
            "carousel.header.media.mime_type",
            "carousel.scope",
            "carousel.options[0].label",
        ],
    ),
    (
        r#"{"carousel": {"header": {"text": "a"}, "options": [{"label": {"text": "b"}}, {"label": {}, "value": {"location": {"latitude": 91}}}]}}"#,
        &["carousel.options[1].label.kind", "carousel.options[1].value.location.latitude"],
    ),
    // An input asks something, and its rule is one that Blip knows.
    (r#"{"input": {}}"#, &["input.label"]),
    (
        r#"{"input": {"label": {"text": ""}, "validation": {"error": "a"}}}"#,
        &["input.label.text", "input.validation.rule"],
    ),
    (r#"{"input": {"label": {"text": "a"}, "validation": {"rule": "x"}}}"#, &["input.validation.rule"]),
    (r#"{"input": {"label": {"text": "a"}, "validation": {"rule": "regex"}}}"#, &["input.validation.regex"]),
    (
        r#"{"input": {"label": {"text": "a"}, "validation": {"rule": "Type", "type": "png"}}}"#,
        &["input.validation.type"],
    ),
    // A reply says something, and to what.
    (r#"{"reply": {}}"#, &["reply.replied", "reply.in_reply_to_id"]),
    (
        r#"{"reply": {"replied": {"text": ""}, "in_reply_to_id": "m", "direction": "x"}}"#,
        &["reply.replied.text", "reply.direction"],
    ),
    (
        r#"{"reply": {"replied": {"web_link": {"uri": "a", "target": "x"}}, "in_reply_to": {}}}"#,
        &["reply.replied.web_link.uri", "reply.replied.web_link.target", "reply.in_reply_to.kind"],
    ),
    // A reaction is one emoji, or none.
    (r#"{"reaction": {}}"#, &["reaction.emoji", "reaction.in_reaction_to_id"]),
    (r#"{"reaction": {"emoji": "a", "in_reaction_to_id": "m"}}"#, &["reaction.emoji"]),
    (r#"{"reaction": {"emoji": "👍 👍", "in_reaction_to_id": "m"}}"#, &["reaction.emoji"]),
    (
        r#"{"reaction": {"emoji": "👍", "removed": true, "in_reaction_to_id": "m", "direction": "x"}}"#,
        &["reaction.removed", "reaction.direction"],
    ),
    // Others that hold content.
    (r#"{"list": {"items": []}}"#, &["list.items"]),
    (r#"{"list": {"header": {"text": ""}, "items": [{}]}}"#, &["list.header.text", "list.items[0].kind"]),
    (r#"{"collection": {}}"#, &["collection.items"]),
    (
        r#"{"collection": {"item_media_type": "text/plain", "items": [{"text": "a"}, {"contact": {"name": "b"}}]}}"#,
        &["collection.items[1].media_type"],
    ),
    (
        r#"{"media_type": "application/vnd.lime.container+json", "collection": {"item_media_type": "text/plain", "items": [{"text": "a"}, {"text": "b"}]}}"#,
        &["collection.items", "collection.item_media_type"],
    ),
    (r#"{"sensitive": {"contact": {}}}"#, &["sensitive.contact"]),
];

#[test]
fn what_blip_would_not_take_is_refused_by_its_path() {
    for (content, paths) in REFUSED {
        let expected: Vec<_> = paths.iter().map(|path| format!("content.{path}")).collect();
        assert_eq!(fields(of_pb(parsed(content))), expected, "{content}");
    }
    let quick = |count: usize| {
        let options = vec![json!({"text": "a"}); count];
        parsed(&json!({"menu": {"text": "?", "scope": "immediate", "options": options}}).to_string())
    };
    assert!(of_pb(quick(11)).is_ok());
    assert_eq!(fields(of_pb(quick(12))), ["content.menu.options"]);
    let reply = |id: usize| {
        parsed(&json!({"reply": {"replied": {"text": "a"}, "in_reply_to_id": "m".repeat(id)}}).to_string())
    };
    assert!(of_pb(reply(1_024)).is_ok());
    assert_eq!(fields(of_pb(reply(1_025))), ["content.reply.in_reply_to_id"]);
    let nested = |levels: usize| {
        let text = of("", pb::content::Kind::Text("a".to_owned()));
        (1..levels).fold(text, |inner, _| of("", pb::content::Kind::Sensitive(Box::new(inner))))
    };
    assert!(of_pb(nested(8)).is_ok());
    assert_eq!(fields(of_pb(nested(9))), [format!("content{}", ".sensitive".repeat(7))]);
}

/// A quotation is repeated as it was told, sound or not.
#[test]
fn what_is_quoted_is_not_judged() {
    let quoted = r#"{"in_reply_to": {"menu": {}}, "replied": {"text": "a"}}"#;
    assert!(of_pb(parsed(&format!(r#"{{"reply": {quoted}}}"#))).is_ok());
}

#[test]
fn what_only_blip_says_is_refused() {
    for media_type in [
        "application/vnd.lime.deleted-content+json",
        "Application/vnd.iris.ticket+json; a=b",
        "application/vnd.iris.ticket+json",
    ] {
        let json = pb::content::Kind::Json(value::to_pb(&json!({"id": "t"})));
        let refused = of_pb(of(media_type, json));
        assert!(
            matches!(&refused, Err(Invalid::Content { media_type: told, .. }) if told == media_type),
            "{refused:?}"
        );
    }
}

/// JSON with every number as a double: `1` is `1.0`.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Each document that Blip shows is made from the `Content` that a caller would write, and reads as that.
#[test]
fn documents_are_made_from_content_and_read_as_it() {
    let mut kinds = BTreeSet::new();
    for line in include_str!("../../../../tests/data/content.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (name, media_type) = (&line["name"], line["type"].as_str().unwrap());
        let (content, document) = of_pb(parsed(&line["content"].to_string())).unwrap();
        assert_eq!(content.media_type, media_type, "{name}");
        // Only the number that came as text is written as a number.
        let expected = line["document"].to_string().replace(r#""order":"2""#, r#""order":2"#);
        let expected: Value = serde_json::from_str(&expected.replace("fwd:", "")).unwrap();
        assert_eq!(plain(&document), plain(&without_empty(expected)), "{name}");
        let read = translate::reading(media_type, line["document"].clone());
        assert_eq!(to_pb(&read), to_pb(&content), "{name}");
        kinds.insert(field_of(&read.kind));
    }
    assert_eq!(kinds.len(), 14, "a kind without a document: {kinds:?}");
}

fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| *value != "");
            Value::Object(members.map(|(name, value)| (name, without_empty(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The table of docs/CONTENT.md, row by row.
#[test]
fn the_table_of_kinds_is_true() {
    let mut fields = BTreeSet::new();
    let page = include_str!("../../../../docs/CONTENT.md");
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> =
            row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let [media_type, direction, field, example, document] = cells[..] else {
            panic!("not five cells: {row}")
        };
        let media_type = media_type
            .strip_prefix("vnd.lime.")
            .map_or_else(|| media_type.to_owned(), |rest| format!("application/vnd.lime.{rest}"));
        let document: Value = serde_json::from_str(document).unwrap();
        let example = parsed(example);
        assert!(["in", "out", "both"].contains(&direction), "{row}");
        let read = translate::reading(&media_type, document.clone());
        if direction != "out" {
            assert_eq!(field_of(&read.kind), field, "{row}");
            fields.insert(field.to_owned());
        }
        if direction == "in" {
            assert_eq!(to_pb(&read), example, "{row}");
        } else {
            let (content, made) = of_pb(example).unwrap();
            assert_eq!(
                (content.media_type.as_str(), plain(&made)),
                (media_type.as_str(), plain(&document)),
                "{row}"
            );
            assert_eq!(to_pb(&content), to_pb(&read), "{row}");
        }
    }
    assert_eq!(fields.len(), 14, "a kind without a row: {fields:?}");
}

#[test]
fn words_go_out_as_they_are_documented() {
    use pb::content::Kind;
    let text = |text: &str| pb::Content { kind: Some(Kind::Text(text.to_owned())), ..pb::Content::default() };
    let document = |kind: Kind| of_pb(of("", kind)).unwrap().1;
    let options = vec![pb::MenuOption { text: "Sim".to_owned(), ..pb::MenuOption::default() }];
    let menu = pb::Menu { text: "Ok?".to_owned(), options, scope: "IMMEDIATE".to_owned() };
    assert_eq!(document(Kind::Menu(menu.clone()))["scope"], "immediate");
    let carousel =
        pb::Carousel { header: Some(Box::new(text("a"))), options: vec![], scope: "Persistent".to_owned() };
    assert_eq!(document(Kind::Carousel(Box::new(carousel)))["scope"], "persistent");
    let link =
        pb::WebLink { uri: "https://a/".to_owned(), target: "SELFTALL".to_owned(), ..pb::WebLink::default() };
    assert_eq!(document(Kind::WebLink(link))["target"], "selfTall");
    let quoted = pb::Content { kind: Some(Kind::Menu(menu)), ..pb::Content::default() };
    let reply = pb::Reply {
        replied: Some(Box::new(text("a"))),
        in_reply_to: Some(Box::new(quoted)),
        direction: "Sent".to_owned(),
        ..pb::Reply::default()
    };
    let reply = document(Kind::Reply(Box::new(reply)));
    assert_eq!(reply["inReplyTo"]["direction"], "sent");
    assert_eq!(reply["inReplyTo"]["value"]["scope"], "IMMEDIATE", "a quotation is repeated as it was told");
    let rule = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("Number".to_owned())) };
    let validation = prost_types::Struct { fields: [("rule".to_owned(), rule)].into() };
    let input = pb::Input { label: Some(Box::new(text("a"))), validation: Some(validation) };
    assert_eq!(document(Kind::Input(Box::new(input)))["validation"]["rule"], "number");
}
