//! What messages say, both ways. Inward it also makes the document that goes to Blip.

use prost::Message as _;
use serde_json::Value;

use super::{Invalid, InvalidField, value};
use crate::domain::{Content, ContentKind, translate};
use crate::grpc::pb;

mod inward;
mod inward_parts;
mod outward;

/// The longest document, as JSON: what a webhook's body may have, so that its echo fits every client too.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of an encoded reading from which it must not be longer than its JSON by more than a quarter.
const READING_BYTES_MAX: usize = 1 << 20;

/// Content as readers see it. Whatever it holds, they can decode it: it is bounded in depth and in length.
pub(in crate::grpc) fn to_pb(content: &Content) -> pb::Content {
    let whole = outward::to_pb(content, 1);
    if matches!(content.kind, ContentKind::Text(_) | ContentKind::Json(_)) {
        return whole;
    }
    let length = whole.encoded_len();
    if length <= READING_BYTES_MAX {
        return whole;
    }
    let document = translate::content_document(content);
    let json = json_bytes(&document);
    if length.saturating_sub(json) <= json / 4 { whole } else { outward::as_json(content) }
}

/// Content as a caller gave it, and the same as the document for Blip.
pub(in crate::grpc) fn of_pb(content: pb::Content) -> Result<(Content, Value), Invalid> {
    let mut reader = inward::Reader::default();
    let content = reader.outermost(content);
    let content = reader.done(content)?;
    if let Err(description) = content.kind.check_media_type(&content.media_type) {
        let media_type = content.media_type;
        return Err(Invalid::Content { media_type, description: description.to_owned() });
    }
    let document = translate::content_document(&content);
    if json_bytes(&document) > DOCUMENT_BYTES_MAX {
        return Err(too_long(&format!("content.{}", field_of(&content.kind))));
    }
    if let ContentKind::Text(_) = content.kind {
        return Ok((content, document));
    }
    // As readers will see it when it comes back from Blip.
    Ok((translate::reading(&content.media_type, document.clone()), document))
}

/// The member of `Content` that a kind is given in.
fn field_of(kind: &ContentKind) -> &'static str {
    match kind {
        ContentKind::Text(_) => "text",
        ContentKind::Media(_) => "media",
        ContentKind::Location(_) => "location",
        ContentKind::Contact(_) => "contact",
        ContentKind::WebLink(_) => "web_link",
        ContentKind::Menu(_) => "menu",
        ContentKind::Carousel(_) => "carousel",
        ContentKind::List(_) => "list",
        ContentKind::Input(_) => "input",
        ContentKind::Collection(_) => "collection",
        ContentKind::Reply(_) => "reply",
        ContentKind::Reaction(_) => "reaction",
        ContentKind::Sensitive(_) => "sensitive",
        ContentKind::Json(_) => "json",
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
mod tests;
