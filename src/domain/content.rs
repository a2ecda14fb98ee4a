//! What a message says: a typed reading where there is one, the JSON itself where not.

use serde_json::{Map, Value};

use crate::lime::document::{self, MediaType};

/// How deep content may hold content; what is deeper is JSON. An event of this depth, with a JSON value in the
/// deepest, is still within the 100 messages to which readers follow it.
pub const LEVELS_MAX: usize = 8;

/// How many parts content may have, itself, content inside it and options counted; what has more is JSON. A
/// part takes far more room than the one byte that can make one.
pub const PARTS_MAX: usize = 1_000;

/// The longest type that a part may name, in bytes.
pub const MEDIA_TYPE_BYTES_MAX: usize = 512;

/// Content and its type. Never lossy: what the typed reading has no place for is in `more`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// Blip's MIME type, as it came.
    pub media_type: String,
    /// The typed reading.
    pub kind: ContentKind,
    /// Members without a place in the typed reading; those of a part stand where the part does.
    pub more: Map<String, Value>,
}

/// The readings there are.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentKind {
    /// Plain text, and every other type that is not JSON.
    Text(String),
    /// A file by link.
    Media(MediaLink),
    /// A place.
    Location(Location),
    /// Somebody's card.
    Contact(Contact),
    /// A link to a page.
    WebLink(WebLink),
    /// A question with answers to choose from.
    Menu(Menu),
    /// A card with buttons.
    Carousel(Carousel),
    /// A list of contents.
    List(DocumentList),
    /// A question to which the answer is typed.
    Input(Input),
    /// Several contents, or a single one in its container.
    Collection(Collection),
    /// An answer to an earlier message.
    Reply(Reply),
    /// An emoji on an earlier message.
    Reaction(Reaction),
    /// What Blip does not store.
    Sensitive(Box<Content>),
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
            Self::Contact(_) => document::CONTACT,
            Self::WebLink(_) => document::WEB_LINK,
            Self::Menu(_) => document::SELECT,
            Self::Carousel(_) => document::DOCUMENT_SELECT,
            Self::List(_) => document::LIST,
            Self::Input(_) => document::INPUT,
            Self::Collection(_) => document::COLLECTION,
            Self::Reply(_) => document::REPLY,
            Self::Reaction(_) => document::REACTION,
            Self::Sensitive(_) => document::SENSITIVE,
            Self::Json(_) => "",
        }
    }

    /// Whether content of this kind can be sent as `media_type`, and why not.
    pub fn check_media_type(&self, media_type: &str) -> Result<(), &'static str> {
        if !is_mime(media_type) {
            return Err("media_type is not a MIME type, such as \"text/plain\"");
        }
        let media_type = MediaType::new(media_type);
        if let document::DELETED | document::TICKET = media_type.essence() {
            return Err("Blip sends this type and takes it from no agent");
        }
        match self {
            Self::Text(_) if media_type.is_json() => Err("text cannot be sent as a JSON type: use json"),
            Self::Text(_) if !media_type.essence().starts_with("text/") => {
                Err("text can only be sent as a type of text, such as \"text/plain\"")
            }
            Self::Json(value) if !media_type.is_json() && !value.is_string() => {
                Err("json can be sent as a type that is not JSON only if it is a string")
            }
            Self::Collection(_) if media_type.essence() == document::CONTAINER => Ok(()),
            Self::Text(_) | Self::Json(_) => Ok(()),
            Self::Media(_)
            | Self::Location(_)
            | Self::Contact(_)
            | Self::WebLink(_)
            | Self::Menu(_)
            | Self::Carousel(_)
            | Self::List(_)
            | Self::Input(_)
            | Self::Collection(_)
            | Self::Reply(_)
            | Self::Reaction(_)
            | Self::Sensitive(_) => {
                let goes = media_type.essence() == self.media_type();
                goes.then_some(()).ok_or("media_type does not go with the kind of content: leave it empty")
            }
        }
    }
}

/// Whether two types are one, parameters and case aside.
pub fn same_type(one: &str, other: &str) -> bool {
    MediaType::new(one) == MediaType::new(other)
}

/// The type of a collection whose items name their own.
pub const CONTAINER: &str = document::CONTAINER;

/// Whether a type is that of a container: of a document with its type.
pub fn is_container(media_type: &str) -> bool {
    MediaType::new(media_type).essence() == document::CONTAINER
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

/// Somebody's card. Empty texts are absent members, as everywhere below.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contact {
    /// The whole name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// The telephone number, as written.
    pub phone_number: String,
}

/// A link to a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WebLink {
    /// The address.
    pub uri: String,
    /// What to show in its place.
    pub title: String,
    /// A line about it.
    pub text: String,
    /// A picture of it.
    pub preview_uri: String,
    /// How to open it.
    pub target: String,
}

/// A question with answers to choose from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Menu {
    /// The question.
    pub text: String,
    /// The answers.
    pub options: Vec<MenuOption>,
    /// How long it can be answered; `immediate` makes quick replies.
    pub scope: String,
}

/// An answer to choose.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MenuOption {
    /// Its number.
    pub order: Option<i32>,
    /// What it says.
    pub text: String,
    /// What choosing it answers.
    pub value: Option<Content>,
}

/// A card with buttons.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carousel {
    /// What it shows.
    pub header: Option<Box<Content>>,
    /// The buttons.
    pub options: Vec<CarouselOption>,
    /// How long it can be answered.
    pub scope: String,
}

/// A button of a card.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CarouselOption {
    /// What it says.
    pub label: Option<Content>,
    /// What pressing it answers.
    pub value: Option<Content>,
    /// Its number.
    pub order: Option<i32>,
}

/// A list of contents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DocumentList {
    /// What stands above it.
    pub header: Option<Box<Content>>,
    /// The list.
    pub items: Vec<Content>,
}

/// A question to which the answer is typed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// The question.
    pub label: Option<Box<Content>>,
    /// What an answer must be, in Blip's members.
    pub validation: Map<String, Value>,
}

/// Several contents, or a single one in its container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collection {
    /// The type of every item, or a container's; empty for a single container.
    pub item_media_type: String,
    /// The contents.
    pub items: Vec<Content>,
}

/// An answer to an earlier message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The answer.
    pub replied: Option<Box<Content>>,
    /// The earlier message.
    pub in_reply_to: Earlier,
}

/// An emoji on an earlier message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reaction {
    /// The emoji; empty where it was taken back.
    pub emoji: String,
    /// The earlier message.
    pub in_reaction_to: Earlier,
}

/// An earlier message, as far as it is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Earlier {
    /// Its canonical id.
    pub id: String,
    /// What it said.
    pub content: Option<Box<Content>>,
    /// `sent` by bot or agent, or `received`.
    pub direction: String,
}
