//! What messages say, in version 1: the names in here are stored.

use serde::{Deserialize, Serialize};

use super::super::{Foreign, Members, Real, Text};
use super::is_zero;

mod read;
mod write;

#[derive(Serialize, Deserialize)]
pub(super) struct V1Content<'a> {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    media_type: Text<'a>,
    is: V1ContentKind<'a>,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    more: Members<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum V1ContentKind<'a> {
    Text(Text<'a>),
    Media {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        uri: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        mime_type: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        title: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        text: Text<'a>,
        #[serde(default, skip_serializing_if = "is_zero")]
        size_bytes: i64,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        preview_uri: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        preview_mime_type: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        aspect_ratio: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        authorization_realm: Text<'a>,
    },
    Location {
        latitude: Real,
        longitude: Real,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        altitude: Option<Real>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        text: Text<'a>,
    },
    Contact {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        name: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        email: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        phone_number: Text<'a>,
    },
    WebLink {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        uri: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        title: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        text: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        preview_uri: Text<'a>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        target: Text<'a>,
    },
    Menu {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        text: Text<'a>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<V1MenuOption<'a>>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        scope: Text<'a>,
    },
    Carousel {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<Box<V1Content<'a>>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<V1CarouselOption<'a>>,
        #[serde(default, skip_serializing_if = "str::is_empty")]
        scope: Text<'a>,
    },
    List {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<Box<V1Content<'a>>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<V1Content<'a>>,
    },
    Input {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Box<V1Content<'a>>>,
        #[serde(default, skip_serializing_if = "Members::is_empty")]
        validation: Members<'a>,
    },
    Collection {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        item_media_type: Text<'a>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<V1Content<'a>>,
    },
    Reply {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replied: Option<Box<V1Content<'a>>>,
        to: V1Earlier<'a>,
    },
    Reaction {
        #[serde(default, skip_serializing_if = "str::is_empty")]
        emoji: Text<'a>,
        to: V1Earlier<'a>,
    },
    Sensitive(Box<V1Content<'a>>),
    Json(Foreign<'a>),
}

#[derive(Serialize, Deserialize)]
struct V1MenuOption<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<i32>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    text: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<V1Content<'a>>,
}

#[derive(Serialize, Deserialize)]
struct V1CarouselOption<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<V1Content<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<V1Content<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<i32>,
}

#[derive(Serialize, Deserialize)]
struct V1Earlier<'a> {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    id: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Box<V1Content<'a>>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    direction: Text<'a>,
}
