//! What a message says: a typed reading where there is one, the JSON itself where not.

use serde_json::{Map, Value};

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
