//! From a typed reading to the document that Blip documents.

use serde_json::Value;

use crate::domain::content::{Content, ContentKind, MediaLink};

/// Content as LIME's `content` member, in the documented form.
pub fn content_document(content: &Content) -> Value {
    let mut object = content.more.clone();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    match &content.kind {
        ContentKind::Text(text) => return text.as_str().into(),
        ContentKind::Json(value) => return value.clone(),
        ContentKind::Media(media) => {
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
            } = media;
            let texts = [
                ("uri", uri),
                ("type", mime_type),
                ("title", title),
                ("text", text),
                ("previewUri", preview_uri),
                ("previewType", preview_mime_type),
                ("aspectRatio", aspect_ratio),
                ("authorizationRealm", authorization_realm),
            ];
            texts
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .for_each(|(name, value)| put(name, value.as_str().into()));
            if *size_bytes > 0 {
                put("size", (*size_bytes).into());
            }
        }
        ContentKind::Location(location) => {
            put("latitude", location.latitude.into());
            put("longitude", location.longitude.into());
            if let Some(altitude) = location.altitude {
                put("altitude", altitude.into());
            }
            if !location.text.is_empty() {
                put("text", location.text.as_str().into());
            }
        }
    }
    Value::Object(object)
}
