//! From a document to its typed reading. Never fails: what does not fit is JSON.

use serde_json::{Map, Value};

use crate::domain::content::{Content, ContentKind, Location, MediaLink};
use crate::lime::document::{self, Members, Misfit};
use crate::lime::{MediaType, text_of};

/// The typed reading of a document; JSON where there is none, or where it does not fit.
pub fn content_of(media_type: &MediaType, value: Value) -> Content {
    let typed = match (media_type.essence(), &value) {
        (document::TEXT, _) => Some((ContentKind::Text(text_of(&value)), Map::new())),
        (document::MEDIA_LINK, Value::Object(object)) => media_of(object).ok(),
        (document::LOCATION, Value::Object(object)) => location_of(object).ok(),
        _ => None,
    };
    let (kind, more) = typed.unwrap_or((ContentKind::Json(value), Map::new()));
    Content { media_type: media_type.as_str().to_owned(), kind, more }
}

fn media_of(object: &Map<String, Value>) -> Result<(ContentKind, Map<String, Value>), Misfit> {
    let members = Members(object);
    let text = |name| members.text(name).map(Option::unwrap_or_default);
    let uri = text("uri")?;
    if uri.is_empty() {
        return Err(Misfit);
    }
    let media = MediaLink {
        uri,
        mime_type: text("type")?,
        title: text("title")?,
        text: text("text")?,
        size_bytes: members.integer("size")?.unwrap_or_default(),
        preview_uri: text("previewUri")?,
        preview_mime_type: text("previewType")?,
        aspect_ratio: text("aspectRatio")?,
        authorization_realm: text("authorizationRealm")?,
    };
    let known = [
        "uri",
        "type",
        "title",
        "text",
        "size",
        "previewUri",
        "previewType",
        "aspectRatio",
        "authorizationRealm",
    ];
    Ok((ContentKind::Media(media), members.rest(&known)))
}

fn location_of(object: &Map<String, Value>) -> Result<(ContentKind, Map<String, Value>), Misfit> {
    let members = Members(object);
    let location = Location {
        latitude: members.number("latitude")?.ok_or(Misfit)?,
        longitude: members.number("longitude")?.ok_or(Misfit)?,
        altitude: members.number("altitude")?,
        text: members.text("text")?.unwrap_or_default(),
    };
    Ok((ContentKind::Location(location), members.rest(&["latitude", "longitude", "altitude", "text"])))
}
