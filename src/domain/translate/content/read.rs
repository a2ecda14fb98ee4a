//! From a document to its typed reading. Never fails: what does not fit is JSON.

use serde_json::{Map, Value};

use super::parts;
use crate::domain::content::{Contact, Content, ContentKind, Location, MediaLink, PARTS_MAX, WebLink};
use crate::lime::document::{self, Members, Misfit};
use crate::lime::{MediaType, text_of};

/// The typed reading of a document; JSON where there is none, or where it does not fit.
pub fn content_of(media_type: &MediaType, value: Value) -> Content {
    let (kind, more) = if media_type.essence() == document::TEXT {
        let text = match value {
            Value::String(text) => text,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                text_of(&value)
            }
        };
        (ContentKind::Text(text), Map::new())
    } else {
        let mut reader = Reader { level: 1, parts_left: PARTS_MAX };
        match reader.kind(media_type, &value) {
            Ok(Some(typed)) => typed,
            Ok(None) | Err(TooMany) => (ContentKind::Json(value), Map::new()),
        }
    };
    Content { media_type: media_type.as_str().to_owned(), kind, more }
}

/// A kind, and the members that have no place in it.
pub(super) type Typed = (ContentKind, Map<String, Value>);

/// The document has more parts than a reading may have.
#[derive(Debug)]
pub(super) struct TooMany;

/// Why a document is not read as its type says.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is something else: this document is JSON.
    Misfit,
    /// It is too large: the outermost document is JSON.
    TooMany,
}

impl From<Misfit> for Unfit {
    fn from(Misfit: Misfit) -> Self {
        Self::Misfit
    }
}

impl From<TooMany> for Unfit {
    fn from(TooMany: TooMany) -> Self {
        Self::TooMany
    }
}

/// Where in a document a reading is.
pub(super) struct Reader {
    /// 1 for the outermost.
    pub(super) level: usize,
    parts_left: usize,
}

impl Reader {
    /// Counts a part.
    pub(super) fn part(&mut self) -> Result<(), TooMany> {
        self.parts_left = self.parts_left.checked_sub(1).ok_or(TooMany)?;
        Ok(())
    }

    /// A document inside the one being read.
    pub(super) fn content(&mut self, media_type: &MediaType, value: &Value) -> Result<Content, TooMany> {
        self.part()?;
        self.level = self.level.saturating_add(1);
        let typed = self.kind(media_type, value)?;
        self.level = self.level.saturating_sub(1);
        let (kind, more) = typed.unwrap_or_else(|| (ContentKind::Json(value.clone()), Map::new()));
        Ok(Content { media_type: media_type.as_str().to_owned(), kind, more })
    }

    /// The reading of a document, if there is one.
    fn kind(&mut self, media_type: &MediaType, value: &Value) -> Result<Option<Typed>, TooMany> {
        let typed = match (media_type.essence(), value) {
            (document::TEXT, _) => Ok((ContentKind::Text(text_of(value)), Map::new())),
            (document::MEDIA_LINK, Value::Object(object)) => media_of(object).map_err(Unfit::from),
            (document::LOCATION, Value::Object(object)) => location_of(object).map_err(Unfit::from),
            (document::CONTACT, Value::Object(object)) => contact_of(object).map_err(Unfit::from),
            (document::WEB_LINK, Value::Object(object)) => web_link_of(object).map_err(Unfit::from),
            (essence, Value::Object(object)) => parts::read(self, essence, object),
            (_, Value::String(text)) if !media_type.is_json() => {
                Ok((ContentKind::Text(text.clone()), Map::new()))
            }
            (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Err(Unfit::Misfit)
            }
        };
        match typed {
            Ok(typed) => Ok(Some(typed)),
            Err(Unfit::Misfit) => Ok(None),
            Err(Unfit::TooMany) => Err(TooMany),
        }
    }
}

/// A text that a document should have: what is absent is empty.
pub(super) fn text(members: Members<'_>, name: &str) -> Result<String, Misfit> {
    Ok(members.text(name)?.unwrap_or_default())
}

/// A text that a document must have.
fn required(members: Members<'_>, name: &str) -> Result<String, Misfit> {
    members.text(name)?.filter(|text| !text.is_empty()).ok_or(Misfit)
}

fn media_of(object: &Map<String, Value>) -> Result<Typed, Misfit> {
    let members = Members(object);
    let size_bytes = members.integer("size")?.unwrap_or_default();
    if size_bytes < 0 {
        return Err(Misfit);
    }
    let media = MediaLink {
        uri: required(members, "uri")?,
        mime_type: text(members, "type")?,
        title: text(members, "title")?,
        text: text(members, "text")?,
        size_bytes,
        preview_uri: text(members, "previewUri")?,
        preview_mime_type: text(members, "previewType")?,
        aspect_ratio: text(members, "aspectRatio")?,
        authorization_realm: text(members, "authorizationRealm")?,
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

fn location_of(object: &Map<String, Value>) -> Result<Typed, Misfit> {
    let members = Members(object);
    let location = Location {
        latitude: members.number("latitude")?.ok_or(Misfit)?,
        longitude: members.number("longitude")?.ok_or(Misfit)?,
        altitude: members.number("altitude")?,
        text: text(members, "text")?,
    };
    Ok((ContentKind::Location(location), members.rest(&["latitude", "longitude", "altitude", "text"])))
}

fn contact_of(object: &Map<String, Value>) -> Result<Typed, Misfit> {
    let members = Members(object);
    let contact = Contact {
        name: text(members, "name")?,
        email: text(members, "email")?,
        phone_number: text(members, "phoneNumber")?,
    };
    Ok((ContentKind::Contact(contact), members.rest(&["name", "email", "phoneNumber"])))
}

fn web_link_of(object: &Map<String, Value>) -> Result<Typed, Misfit> {
    let members = Members(object);
    let link = WebLink {
        uri: required(members, "uri")?,
        title: text(members, "title")?,
        text: text(members, "text")?,
        preview_uri: text(members, "previewUri")?,
        target: text(members, "target")?,
    };
    Ok((ContentKind::WebLink(link), members.rest(&["uri", "title", "text", "previewUri", "target"])))
}
