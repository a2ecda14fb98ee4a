//! What messages say, both ways. Inward it also makes the document that goes to Blip.

use serde_json::{Map, Value};

use super::{Faults, Invalid, InvalidField, value};
use crate::domain::{Content, ContentKind, Location, MediaLink, is_mime, translate};
use crate::grpc::pb;

/// The longest document, as JSON: what a webhook's body may have, so that its echo fits every client too.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The longest name of a type.
const MEDIA_TYPE_BYTES_MAX: usize = 512;

/// Content as readers see it.
pub(in crate::grpc) fn to_pb(content: &Content) -> pb::Content {
    let Content { media_type, kind, more } = content;
    let kind = match kind {
        ContentKind::Text(text) => pb::content::Kind::Text(text.clone()),
        ContentKind::Media(media) => pb::content::Kind::Media(media_to_pb(media)),
        ContentKind::Location(place) => pb::content::Kind::Location(location_to_pb(place)),
        ContentKind::Json(json) => pb::content::Kind::Json(value::to_pb(json)),
    };
    pb::Content { media_type: media_type.clone(), kind: Some(kind), more: value::struct_to_pb(more) }
}

fn media_to_pb(media: &MediaLink) -> pb::MediaLink {
    let MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    } = media.clone();
    pb::MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    }
}

fn location_to_pb(place: &Location) -> pb::Location {
    let Location { latitude, longitude, altitude, text } = place.clone();
    pb::Location { latitude, longitude, altitude, text }
}

/// Content as a caller gave it, and the same as the document for Blip.
pub(in crate::grpc) fn of_pb(content: pb::Content) -> Result<(Content, Value), Invalid> {
    let pb::Content { media_type, kind, more } = content;
    let mut faults = Faults::default();
    let mut more = faults
        .take(more.map_or_else(|| Ok(Map::new()), |object| value::struct_of_pb(object, "content.more")));
    let kind = match kind {
        None => {
            faults.add("content.kind", "is required: set one of text, media, location, json");
            ContentKind::default()
        }
        Some(pb::content::Kind::Text(text)) => {
            if text.is_empty() {
                faults.add("content.text", "must not be empty");
            }
            if !more.is_empty() {
                faults.add("content.more", "plain text has no members: leave it out, or use json");
            }
            ContentKind::Text(text)
        }
        Some(pb::content::Kind::Media(media)) => ContentKind::Media(media_of_pb(media, &mut faults)),
        Some(pb::content::Kind::Location(place)) => ContentKind::Location(location_of_pb(place, &mut faults)),
        Some(pb::content::Kind::Json(json)) => {
            let mut json = faults.take(value::of_pb(json, "content.json"));
            match &mut json {
                Value::Object(object) => object.append(&mut more),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)
                    if more.is_empty() => {}
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    faults.add("content.more", "can only be added to a JSON object");
                }
            }
            if media_type.trim().is_empty() {
                faults.add("content.media_type", "is required with json");
            }
            ContentKind::Json(json)
        }
    };
    if media_type.len() > MEDIA_TYPE_BYTES_MAX {
        faults.add("content.media_type", format!("must have at most {MEDIA_TYPE_BYTES_MAX} bytes"));
    }
    let field = field_of(&kind);
    let media_type = faults.done(typed(media_type, &kind))?;
    if let Err(description) = kind.check_media_type(&media_type) {
        return Err(Invalid::Content { media_type, description: description.to_owned() });
    }
    let content = Content { media_type, kind, more };
    let document = translate::content_document(&content);
    if json_bytes(&document) > DOCUMENT_BYTES_MAX {
        return Err(too_long(field));
    }
    Ok((content, document))
}

/// The member of `content` that a caller gave `kind` in.
fn field_of(kind: &ContentKind) -> &'static str {
    match kind {
        ContentKind::Text(_) => "content.text",
        ContentKind::Media(_) => "content.media",
        ContentKind::Location(_) => "content.location",
        ContentKind::Json(_) => "content.json",
    }
}

fn too_long(field: &str) -> Invalid {
    let description =
        format!("must have at most {DOCUMENT_BYTES_MAX} bytes as JSON: send a link to what is longer");
    InvalidField::new(field, description).into()
}

/// How long a value is as JSON.
pub(super) fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// The type the caller gave, or the one that goes with the kind.
fn typed(media_type: String, kind: &ContentKind) -> String {
    if media_type.trim().is_empty() { kind.media_type().to_owned() } else { media_type }
}

fn media_of_pb(media: pb::MediaLink, faults: &mut Faults) -> MediaLink {
    let pb::MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    } = media;
    if uri.trim().is_empty() {
        faults.add("content.media.uri", "is required: a link that Blip can fetch");
    } else if !is_absolute(&uri) {
        faults.add("content.media.uri", "must be a whole URL, such as \"https://example.com/a.jpg\"");
    }
    if mime_type.trim().is_empty() {
        faults.add("content.media.mime_type", "is required, such as \"image/jpeg\"");
    } else if !is_mime(&mime_type) {
        faults.add("content.media.mime_type", "must be a MIME type, such as \"image/jpeg\"");
    }
    if size_bytes < 0 {
        faults.add("content.media.size_bytes", "must not be negative; 0 means not known");
    }
    MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    }
}

/// Whether a text is `scheme:…`, in one piece.
fn is_absolute(uri: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let in_one_piece = !uri.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    in_one_piece && uri.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

fn location_of_pb(place: pb::Location, faults: &mut Faults) -> Location {
    let pb::Location { latitude, longitude, altitude, text } = place;
    let mut degrees = |name: &str, value: f64, most: f64| {
        if !(-most..=most).contains(&value) {
            faults.add(format!("content.location.{name}"), format!("must be from -{most} to {most}"));
        }
    };
    degrees("latitude", latitude, 90.0);
    degrees("longitude", longitude, 180.0);
    if altitude.is_some_and(|meters| !meters.is_finite()) {
        faults.add("content.location.altitude", "must be a finite number");
    }
    Location { latitude, longitude, altitude, text }
}

/// The message of a `Send`: either plain text or content.
pub(in crate::grpc) fn said(text: String, content: Option<pb::Content>) -> Result<(Content, Value), Invalid> {
    match (text.is_empty(), content) {
        (false, None) => {
            if json_bytes(&text) > DOCUMENT_BYTES_MAX {
                return Err(too_long("text"));
            }
            let kind = Some(pb::content::Kind::Text(text));
            of_pb(pb::Content { media_type: String::new(), kind, more: None })
        }
        (true, Some(content)) => of_pb(content),
        (false, Some(_)) => Err(InvalidField::new("text", "give either text or content, not both").into()),
        (true, None) => Err(InvalidField::new("text", "is required: give text or content").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(result: Result<(Content, Value), Invalid>) -> Vec<String> {
        match result {
            Err(Invalid::Fields(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
            other => panic!("no faults: {other:?}"),
        }
    }

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
}
