//! What a message says: a typed reading where there is one, the JSON itself where not.

use serde_json::{Map, Value};

use crate::lime::document::{self, MediaType};

/// Content and its type. Never lossy: what the typed reading has no place for is in `more`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// Blip's MIME type, as it came.
    pub media_type: String,
    /// The typed reading.
    pub kind: ContentKind,
    /// Members without a place in the typed reading.
    pub more: Map<String, Value>,
}

/// The readings there are.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentKind {
    /// Plain text.
    Text(String),
    /// A file by link.
    Media(MediaLink),
    /// A place.
    Location(Location),
    /// Every other type, and content that does not fit its type.
    Json(Value),
}

impl ContentKind {
    /// The type that goes with this reading; empty for JSON, which can be of any.
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Text(_) => document::TEXT,
            Self::Media(_) => document::MEDIA_LINK,
            Self::Location(_) => document::LOCATION,
            Self::Json(_) => "",
        }
    }

    /// Whether content of this kind can be sent as `media_type`, and why not.
    pub fn check_media_type(&self, media_type: &str) -> Result<(), &'static str> {
        if !is_mime(media_type) {
            return Err("media_type is not a MIME type, such as \"text/plain\"");
        }
        let media_type = MediaType::new(media_type);
        match self {
            Self::Text(_) if media_type.is_json() => Err("text cannot be sent as a JSON type: use json"),
            Self::Text(_) if !media_type.essence().starts_with("text/") => {
                Err("text can only be sent as a type of text, such as \"text/plain\"")
            }
            Self::Json(value) if !media_type.is_json() && !value.is_string() => {
                Err("json can be sent as a type that is not JSON only if it is a string")
            }
            Self::Media(_) | Self::Location(_) if media_type != MediaType::new(self.media_type()) => {
                Err("media_type does not go with the kind of content: leave it empty")
            }
            Self::Text(_) | Self::Json(_) | Self::Media(_) | Self::Location(_) => Ok(()),
        }
    }
}

/// Whether a text is `type/subtype`, of the characters RFC 6838 allows, with parameters or without.
pub fn is_mime(text: &str) -> bool {
    let media_type = MediaType::new(text);
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte))
    };
    media_type.essence().split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

impl Default for ContentKind {
    fn default() -> Self {
        Self::Json(Value::Null)
    }
}

/// A file by link. Empty texts are absent members.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaLink {
    /// Where it is.
    pub uri: String,
    /// The MIME type of the file.
    pub mime_type: String,
    /// Often the file's name.
    pub title: String,
    /// The caption.
    pub text: String,
    /// Bytes; 0 when not told.
    pub size_bytes: i64,
    /// A small picture of it.
    pub preview_uri: String,
    /// The MIME type of the preview.
    pub preview_mime_type: String,
    /// Such as `1:1`.
    pub aspect_ratio: String,
    /// `blip` when the link needs the bot's key.
    pub authorization_realm: String,
}

/// A place on Earth.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location {
    /// Degrees, north positive.
    pub latitude: f64,
    /// Degrees, east positive.
    pub longitude: f64,
    /// Meters.
    pub altitude: Option<f64>,
    /// What it is called.
    pub text: String,
}
