//! From the stored form to the domain.

use super::super::read::owned;
use super::{V1CarouselOption, V1Content, V1ContentKind, V1Earlier, V1MenuOption};
use crate::domain::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Earlier, Input,
    Location, MediaLink, Menu, MenuOption, Reaction, Reply, WebLink,
};

fn boxed(from: Option<Box<V1Content<'_>>>) -> Option<Box<Content>> {
    from.map(|content| Box::new((*content).into()))
}

fn all<From, To: std::convert::From<From>>(from: Vec<From>) -> Vec<To> {
    from.into_iter().map(To::from).collect()
}

impl From<V1Content<'_>> for Content {
    fn from(content: V1Content<'_>) -> Self {
        let V1Content { media_type, is, more } = content;
        Self { media_type: owned(media_type), kind: is.into(), more: more.0.into_owned() }
    }
}

impl From<V1ContentKind<'_>> for ContentKind {
    fn from(kind: V1ContentKind<'_>) -> Self {
        match kind {
            V1ContentKind::Text(said) => Self::Text(owned(said)),
            V1ContentKind::Media {
                uri,
                mime_type,
                title,
                text,
                size_bytes,
                preview_uri,
                preview_mime_type,
                aspect_ratio,
                authorization_realm,
            } => Self::Media(MediaLink {
                uri: owned(uri),
                mime_type: owned(mime_type),
                title: owned(title),
                text: owned(text),
                size_bytes,
                preview_uri: owned(preview_uri),
                preview_mime_type: owned(preview_mime_type),
                aspect_ratio: owned(aspect_ratio),
                authorization_realm: owned(authorization_realm),
            }),
            V1ContentKind::Contact { name, email, phone_number } => Self::Contact(Contact {
                name: owned(name),
                email: owned(email),
                phone_number: owned(phone_number),
            }),
            V1ContentKind::WebLink { uri, title, text, preview_uri, target } => Self::WebLink(WebLink {
                uri: owned(uri),
                title: owned(title),
                text: owned(text),
                preview_uri: owned(preview_uri),
                target: owned(target),
            }),
            V1ContentKind::Location { latitude, longitude, altitude, text } => Self::Location(Location {
                latitude: latitude.0,
                longitude: longitude.0,
                altitude: altitude.map(|meters| meters.0),
                text: owned(text),
            }),
            V1ContentKind::Menu { text, options, scope } => {
                Self::Menu(Menu { text: owned(text), options: all(options), scope: owned(scope) })
            }
            V1ContentKind::Carousel { header, options, scope } => {
                Self::Carousel(Carousel { header: boxed(header), options: all(options), scope: owned(scope) })
            }
            V1ContentKind::List { header, items } => {
                Self::List(DocumentList { header: boxed(header), items: all(items) })
            }
            V1ContentKind::Input { label, validation } => {
                Self::Input(Input { label: boxed(label), validation: validation.0.into_owned() })
            }
            V1ContentKind::Collection { item_media_type, items } => {
                Self::Collection(Collection { item_media_type: owned(item_media_type), items: all(items) })
            }
            V1ContentKind::Reply { replied, to } => {
                Self::Reply(Reply { replied: boxed(replied), in_reply_to: to.into() })
            }
            V1ContentKind::Reaction { emoji, to } => {
                Self::Reaction(Reaction { emoji: owned(emoji), in_reaction_to: to.into() })
            }
            V1ContentKind::Sensitive(content) => Self::Sensitive(Box::new((*content).into())),
            V1ContentKind::Json(json) => Self::Json(json.0.into_owned()),
        }
    }
}

impl From<V1MenuOption<'_>> for MenuOption {
    fn from(option: V1MenuOption<'_>) -> Self {
        let V1MenuOption { order, text, value } = option;
        Self { order, text: owned(text), value: value.map(Content::from) }
    }
}

impl From<V1CarouselOption<'_>> for CarouselOption {
    fn from(option: V1CarouselOption<'_>) -> Self {
        let V1CarouselOption { label, value, order } = option;
        Self { label: label.map(Content::from), value: value.map(Content::from), order }
    }
}

impl From<V1Earlier<'_>> for Earlier {
    fn from(earlier: V1Earlier<'_>) -> Self {
        let V1Earlier { id, content, direction } = earlier;
        Self { id: owned(id), content: boxed(content), direction: owned(direction) }
    }
}
